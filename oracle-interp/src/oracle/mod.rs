//! Execution that can be stopped at every instruction.
//!
//! An [`Oracle`] is a store and one stack. Frames are explicit and lie on one
//! contiguous array of cells, a callee's locals where its caller pushed the
//! arguments, so that a frame's slots are a slice and nothing recurses:
//!
//! ```text
//!   cells  | locals | operands ....| locals | operands ..|
//!   frames ^ base of frame 0       ^ base of frame 1     ^ sp
//! ```
//!
//! Invariant: whenever control is outside of this module the position (`pc`,
//! `sp`, frames) is that of a boundary. An instruction that traps or runs into
//! a limit leaves it where it was, operands included.

mod interpret;
mod observer;
mod slow;
mod view;

pub use observer::{At, Observer};
pub use view::{FrameView, Top};

use crate::choice::{self, Choice, ChoiceKind, GROW_FAILED};
use crate::error::{AdoptError, CallError, HostAccessError};
use crate::module::OpIdx;
use crate::op::Op;
use crate::stops::StopSet;
use crate::store::{Instance, Store};
use interpret::Exit;
use wasm_view::{
    Cell, FuncAddr, FuncIdx, FuncType, GlobalId, InstanceId, MemoryId, MemoryType, SlotIdx,
    TableId, Trap, ValType, Value,
};

/// How large the oracle may become. Running into one of these is reported as
/// [`Event::LimitReached`], never as an outcome of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Frames on the stack.
    pub max_frames: usize,
    /// Cells of all frames together: their locals and the highest operand
    /// stacks they can have.
    pub max_value_cells: usize,
    /// Pages of 64 KiB of all memories together.
    pub max_memory_pages: u64,
    /// Elements of all tables together.
    pub max_table_elements: u64,
}

impl Limits {
    /// What [`Event::LimitReached`] says of `max_frames`.
    pub const FRAMES: &'static str = "frames";
    /// What [`Event::LimitReached`] says of `max_value_cells`.
    pub const VALUE_CELLS: &'static str = "value_cells";
    /// What [`Event::LimitReached`] says of `max_memory_pages`.
    pub const MEMORY_PAGES: &'static str = "memory_pages";
    /// What [`Event::LimitReached`] says of `max_table_elements`.
    pub const TABLE_ELEMENTS: &'static str = "table_elements";
}

impl Default for Limits {
    /// One whole 32-bit memory, and a stack of some hundred megabytes.
    fn default() -> Self {
        Self {
            max_frames: 1 << 20,
            max_value_cells: 1 << 24,
            max_memory_pages: MemoryType::MAX_PAGES,
            max_table_elements: 10_000_000,
        }
    }
}

/// Where execution stands after having been asked to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// At a boundary: [`Oracle::top`].
    Boundary,
    /// In a function of the host's, until [`Oracle::finish_host_call`].
    HostCall(HostCall),
    /// The function that was called has returned these results.
    Finished(Vec<Value>),
    /// The instruction at the present boundary trapped, with no effect.
    Trapped(Trap),
    /// At a boundary; the fuel is used up.
    OutOfFuel,
    /// The instruction at the present boundary was not executed, as it would
    /// exceed the limit of this name (see [`Limits`]).
    LimitReached(&'static str),
}

/// A call of a function that the host provides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostCall {
    /// The instance that imports it.
    pub instance: InstanceId,
    /// The import, in that instance's index space.
    pub func: FuncIdx,
    /// The arguments.
    pub args: Vec<Value>,
}

/// An activation record.
#[derive(Clone, Copy, Debug)]
struct FrameRecord {
    instance: InstanceId,
    func: FuncIdx,
    /// Position of local 0 on the stack.
    base: usize,
    /// For all but the innermost frame: the call instruction.
    pc: OpIdx,
    locals: u32,
    results: u32,
}

#[derive(Clone, Debug)]
enum State {
    Running,
    HostCall(HostCall),
    Finished(Vec<Value>),
    Trapped(Trap),
}

/// What the last step's successful `grow` grew.
#[derive(Clone, Copy, Debug)]
enum Grown {
    Memory(MemoryId),
    Table(TableId),
}

/// An interpreter: a store and a stack.
#[derive(Clone, Debug)]
pub struct Oracle {
    limits: Limits,
    store: Store,
    /// Cells of all frames; longer than the part in use.
    stack: Vec<Cell>,
    frames: Vec<FrameRecord>,
    pc: OpIdx,
    sp: usize,
    state: State,
    executed: u64,
    choice: Option<Choice>,
    grown: Option<Grown>,
    /// Fewest frames since [`Oracle::mark_depth`].
    lowest: usize,
}

impl Oracle {
    /// An empty store.
    pub fn new(limits: Limits) -> Oracle {
        Oracle {
            limits,
            store: Store::default(),
            stack: Vec::new(),
            frames: Vec::new(),
            pc: OpIdx(0),
            sp: 0,
            state: State::Finished(Vec::new()),
            executed: 0,
            choice: None,
            grown: None,
            lowest: 0,
        }
    }

    /// The limits it was made with.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn store_mut(&mut self) -> &mut Store {
        &mut self.store
    }

    /// An instance.
    ///
    /// # Panics
    ///
    /// If the id is not from this store; this holds for all accessors by id.
    pub fn instance(&self, instance: InstanceId) -> &Instance {
        &self.store.instances[instance.index()]
    }

    /// All instances, by id.
    pub fn instances(&self) -> &[Instance] {
        &self.store.instances
    }

    /// The contents of a memory.
    pub fn memory(&self, memory: MemoryId) -> &[u8] {
        &self.store.memories[memory.index()].data
    }

    /// How many memories the store has.
    pub fn num_memories(&self) -> usize {
        self.store.memories.len()
    }

    /// The elements of a table.
    pub fn table(&self, table: TableId) -> &[Cell] {
        &self.store.tables[table.index()].elements
    }

    /// How many tables the store has.
    pub fn num_tables(&self) -> usize {
        self.store.tables.len()
    }

    /// Type and value of a global.
    pub fn global(&self, global: GlobalId) -> (ValType, Cell) {
        self.store.global(global)
    }

    /// How many globals the store has.
    pub fn num_globals(&self) -> usize {
        self.store.globals.len()
    }

    /// Writes to a memory for the host; logged like a write of the program's.
    pub fn host_write(
        &mut self,
        memory: MemoryId,
        address: u64,
        bytes: &[u8],
    ) -> Result<(), HostAccessError> {
        let length = bytes.len() as u64;
        let target = &mut self.store.memories[memory.index()];
        let range = target.range(address, length).map_err(|_| HostAccessError {
            memory,
            address,
            length,
        })?;
        target.data[range].copy_from_slice(bytes);
        if length > 0 {
            self.store.writes.note(memory, address, length);
        }
        Ok(())
    }

    /// Memory written since [`Oracle::clear_writes`], by the program, by
    /// [`Oracle::host_write`] or by instantiation: (memory, address, length in
    /// bytes). Exact up to some thousand writes, then rounded out to 4 KiB.
    /// Memory that was grown is not listed: it shows by the memory's size.
    pub fn writes(&self) -> impl Iterator<Item = (MemoryId, u64, u64)> + '_ {
        self.store.writes.memory_writes().filter_map(|(memory, address, length)| {
            let size = self.memory(memory).len() as u64;
            let length = length.min(size.checked_sub(address)?);
            (length > 0).then_some((memory, address, length))
        })
    }

    /// Table elements written since [`Oracle::clear_writes`]: (table, first
    /// element, count).
    pub fn table_writes(&self) -> impl Iterator<Item = (TableId, u64, u64)> + '_ {
        self.store.writes.table_writes().filter_map(|(table, first, count)| {
            let size = self.table(table).len() as u64;
            let count = count.min(size.checked_sub(first)?);
            (count > 0).then_some((table, first, count))
        })
    }

    /// Whether writes are logged, as they are from the beginning. Who never
    /// asks for [`Oracle::writes`] runs faster without.
    pub fn set_write_log(&mut self, on: bool) {
        self.store.writes.set_on(on);
    }

    /// Forgets which memory and table elements were written.
    pub fn clear_writes(&mut self) {
        self.store.writes.clear();
    }

    /// Instructions executed so far, those that trapped included.
    pub fn instructions_executed(&self) -> u64 {
        self.executed
    }

    /// The type of a function of the store.
    pub fn func_type(&self, func: FuncAddr) -> Option<&FuncType> {
        self.store.instance_of(func)?.module.func_type(func.func)
    }

    /// Starts a call: positions at the function's first boundary, or in the
    /// host if the function is the host's. Whatever an earlier call that
    /// finished or trapped left on the stack is dropped.
    pub fn begin_call(&mut self, func: FuncAddr, args: &[Value]) -> Result<Event, CallError> {
        if self.is_busy() {
            return Err(CallError::Busy);
        }
        let instance = self.store.instance_of(func).ok_or(CallError::NoSuchFunction(func))?;
        let func = instance.resolve(func.func);
        let ty = self.func_type(func).ok_or(CallError::NoSuchFunction(func))?;
        self.check_values(&ty.params, args)?;
        self.abandon();
        if self.is_host_function(func) {
            let call = HostCall { instance: func.instance, func: func.func, args: args.to_vec() };
            self.state = State::HostCall(call.clone());
            return Ok(Event::HostCall(call));
        }
        if let Err(limit) = self.reserve_cells(args.len()) {
            return Ok(Event::LimitReached(limit));
        }
        for (cell, value) in self.stack.iter_mut().zip(args) {
            *cell = value.to_cell();
        }
        self.sp = args.len();
        if let Err(limit) = self.push_frame(func) {
            self.abandon();
            return Ok(Event::LimitReached(limit));
        }
        self.state = State::Running;
        Ok(Event::Boundary)
    }

    /// Drops all frames: the call in progress will not be continued.
    pub fn abandon(&mut self) {
        self.frames.clear();
        self.sp = 0;
        self.choice = None;
        self.grown = None;
        self.state = State::Finished(Vec::new());
    }

    fn is_busy(&self) -> bool {
        matches!(self.state, State::Running | State::HostCall(_))
    }

    fn check_values(&self, expected: &[ValType], given: &[Value]) -> Result<(), CallError> {
        if !given.iter().map(|value| value.ty()).eq(expected.iter().copied()) {
            return Err(CallError::Types {
                expected: expected.to_vec(),
                given: given.iter().map(|value| value.ty()).collect(),
            });
        }
        given.iter().try_for_each(|&value| {
            self.store.check_reference(value).map_err(CallError::DanglingReference)
        })
    }

    /// What to answer when asked to go on while not running.
    fn standing_event(&self) -> Event {
        match &self.state {
            State::Running => Event::Boundary,
            State::HostCall(call) => Event::HostCall(call.clone()),
            State::Finished(results) => Event::Finished(results.clone()),
            State::Trapped(trap) => Event::Trapped(*trap),
        }
    }

    /// Executes exactly the instruction at the present boundary. When a host
    /// call is pending, or there is nothing to execute, says so again.
    pub fn step(&mut self) -> Event {
        self.step_observed(&mut ())
    }

    fn step_observed(&mut self, observer: &mut impl Observer) -> Event {
        self.choice = None;
        self.grown = None;
        let State::Running = self.state else {
            return self.standing_event();
        };
        let freedom = self.nan_freedom();
        // Nearly every instruction stays in the fast loop.
        let mut left = 1;
        let exit = self.interpret(None, &mut left, observer);
        if exit != Exit::Fuel {
            return match self.leave_loop(exit, None, 1, left, observer) {
                Event::OutOfFuel => Event::Boundary,
                event => event,
            };
        }
        self.executed += 1;
        if let Some(freedom) = freedom {
            self.record_nan(freedom);
        }
        Event::Boundary
    }

    /// The freedom of the instruction at the present boundary, should its
    /// result turn out to be a NaN.
    fn nan_freedom(&self) -> Option<ChoiceKind> {
        let frame = self.frames.last()?;
        let op = *self.instance(frame.instance).module.code.ops.get(self.pc.index())?;
        choice::nan_freedom(op, &self.stack[frame.base..self.sp])
    }

    /// Records that the instruction just executed used `freedom`, if it did.
    fn record_nan(&mut self, freedom: ChoiceKind) {
        if let Some(frame) = self.frames.last()
            && let Some(&result) = self.stack[..self.sp].last()
            && choice::is_used(freedom, result)
        {
            let slot = SlotIdx::from_index(self.sp - 1 - frame.base);
            self.choice = Some(Choice { slot, kind: freedom });
        }
    }

    /// Executes at least one instruction, and at most `fuel`; stops at the
    /// next boundary of `stops`. Freedoms used on the way are not reported.
    pub fn run(&mut self, stops: &StopSet, fuel: u64) -> Event {
        self.run_observed(&mut (), stops, fuel)
    }

    /// As [`Oracle::run`], telling `observer` what is executed.
    pub fn run_observed(
        &mut self,
        observer: &mut impl Observer,
        stops: &StopSet,
        fuel: u64,
    ) -> Event {
        if fuel == 0 && matches!(self.state, State::Running) {
            return Event::OutOfFuel;
        }
        if stops.is_all() {
            return self.step_observed(observer);
        }
        // The first one is executed even at a stop.
        let mut event = self.go(None, 1, observer);
        if event == Event::OutOfFuel && fuel > 1 {
            event = self.go(Some(stops), fuel - 1, observer);
        }
        if event == Event::OutOfFuel && self.is_at(stops) {
            event = Event::Boundary;
        }
        self.choice = None;
        self.grown = None;
        event
    }

    /// Whether the present boundary is one of `stops`.
    pub fn is_at(&self, stops: &StopSet) -> bool {
        if stops.is_all() {
            return !self.frames.is_empty();
        }
        self.frames.last().is_some_and(|frame| {
            let module = &self.instance(frame.instance).module;
            stops.ops_for(module).get(self.pc.index()) == Some(&Op::Stop)
        })
    }

    fn go(&mut self, stops: Option<&StopSet>, fuel: u64, observer: &mut impl Observer) -> Event {
        let State::Running = self.state else {
            return self.standing_event();
        };
        let mut left = fuel;
        let exit = self.interpret(stops, &mut left, observer);
        self.leave_loop(exit, stops, fuel, left, observer)
    }

    /// The loop around the fast loop, entered when that has returned: executes
    /// what it leaves to others. `left` of `fuel` is left.
    fn leave_loop(
        &mut self,
        exit: Exit,
        stops: Option<&StopSet>,
        fuel: u64,
        mut left: u64,
        observer: &mut impl Observer,
    ) -> Event {
        let mut exit = exit;
        let event = loop {
            match exit {
                Exit::Fuel => break Event::OutOfFuel,
                Exit::Stop => break Event::Boundary,
                Exit::OtherInstance => {}
                Exit::Slow => match self.slow_observed(observer) {
                    Ok(None) => left -= 1,
                    Ok(Some(event)) => {
                        // At a limit nothing was executed.
                        if !matches!(event, Event::LimitReached(_)) {
                            left -= 1;
                        }
                        break event;
                    }
                    Err(trap) => {
                        left -= 1;
                        observer.trap(trap);
                        break self.trap_now(trap);
                    }
                },
                Exit::Finished => break self.finish(),
                Exit::Broken => panic!("decoded code is not as validation left it"),
                Exit::Trap(trap) => {
                    observer.trap(trap);
                    break self.trap_now(trap);
                }
            }
            exit = self.interpret(stops, &mut left, observer);
        };
        self.executed += fuel - left;
        event
    }

    /// Executes what the fast loop does not, and tells of it.
    fn slow_observed(&mut self, observer: &mut impl Observer) -> Result<Option<Event>, Trap> {
        let depth = self.frames.len();
        self.store.writes.take_last();
        let event = self.slow_instruction()?;
        if let Some((memory, address, length)) = self.store.writes.take_last() {
            observer.memory_write(memory, address, length);
        }
        match (&event, self.frames.last()) {
            (Some(Event::HostCall(call)), _) => {
                observer.call(FuncAddr { instance: call.instance, func: call.func });
            }
            (_, Some(frame)) if self.frames.len() > depth => {
                observer.call(FuncAddr { instance: frame.instance, func: frame.func });
            }
            _ => {}
        }
        Ok(event)
    }

    /// Returns from the outermost frame: its results are the topmost operands.
    fn finish(&mut self) -> Event {
        let results = self.frames.pop().map_or_else(Vec::new, |frame| {
            let addr = FuncAddr { instance: frame.instance, func: frame.func };
            let types = self.func_type(addr).map_or(&[][..], |ty| &ty.results);
            let cells = &self.stack[self.sp - types.len()..self.sp];
            types.iter().zip(cells).map(|(&ty, &cell)| Value::from_cell(ty, cell)).collect()
        });
        self.sp = 0;
        self.state = State::Finished(results.clone());
        Event::Finished(results)
    }

    /// Stops execution with a trap at the present boundary, or instead of a
    /// pending host call's results: for a trap that another execution met and
    /// that is to be adopted, such as stack exhaustion at a call.
    pub fn trap_now(&mut self, trap: Trap) -> Event {
        self.state = State::Trapped(trap);
        Event::Trapped(trap)
    }

    /// Returns from a pending host call.
    pub fn finish_host_call(&mut self, results: &[Value]) -> Result<Event, CallError> {
        let State::HostCall(call) = &self.state else {
            return Err(CallError::NoHostCall);
        };
        let addr = FuncAddr { instance: call.instance, func: call.func };
        let ty = self.func_type(addr).ok_or(CallError::NoSuchFunction(addr))?;
        self.check_values(&ty.results, results)?;
        if self.frames.is_empty() {
            self.state = State::Finished(results.to_vec());
            return Ok(Event::Finished(results.to_vec()));
        }
        for value in results {
            // The caller's frame has room for whatever its call returns.
            self.stack[self.sp] = value.to_cell();
            self.sp += 1;
        }
        self.pc = OpIdx(self.pc.0 + 1);
        self.state = State::Running;
        Ok(Event::Boundary)
    }

    /// Begins to observe how far the stack shrinks.
    pub fn mark_depth(&mut self) {
        self.lowest = self.frames.len();
    }

    /// Fewest frames that there have been since [`Oracle::mark_depth`]: so many
    /// of the outermost ones are still the same activations.
    pub fn lowest_depth(&self) -> usize {
        self.lowest.min(self.frames.len())
    }

    /// Overwrites a slot of the innermost frame, as a debugger would.
    pub fn set_slot(&mut self, slot: SlotIdx, value: Value) -> Result<(), CallError> {
        let top = self.top().ok_or(CallError::NoSuchSlot(slot))?;
        let types = [top.local_types(), &top.operand_types()].concat();
        let &expected = types.get(slot.index()).ok_or(CallError::NoSuchSlot(slot))?;
        self.check_values(&[expected], &[value])?;
        if let Some(frame) = self.frames.last() {
            self.stack[frame.base + slot.index()] = value.to_cell();
        }
        Ok(())
    }

    /// The freedom of the specification that the last [`Oracle::step`] used.
    pub fn choice(&self) -> Option<Choice> {
        self.choice
    }

    /// Replaces the result of the last step by another one that its choice
    /// allows. A failed `grow` is undone.
    pub fn adopt(&mut self, choice: &Choice, result: Cell) -> Result<(), AdoptError> {
        let (Some(current), Some(frame)) = (self.choice, self.frames.last()) else {
            return Err(AdoptError::Stale);
        };
        if current != *choice {
            return Err(AdoptError::Stale);
        }
        if !choice.allows(result) {
            return Err(AdoptError::NotAllowed(result));
        }
        let position = frame.base + choice.slot.index();
        self.stack[position] = result;
        if let Some(grown) = self.grown
            && result == GROW_FAILED
        {
            self.undo_growth(grown, choice.kind);
            self.choice = None;
            self.grown = None;
        }
        Ok(())
    }

    fn undo_growth(&mut self, grown: Grown, kind: ChoiceKind) {
        match (grown, kind) {
            (Grown::Memory(memory), ChoiceKind::MemoryGrow { previous }) => {
                let bytes = u64::from(previous) * MemoryType::PAGE;
                self.store.memories[memory.index()].data.truncate(bytes as usize);
            }
            (Grown::Table(table), ChoiceKind::TableGrow { previous }) => {
                self.store.tables[table.index()].elements.truncate(previous as usize);
            }
            _ => debug_assert!(false, "a choice of another kind than what grew"),
        }
    }

    fn is_host_function(&self, func: FuncAddr) -> bool {
        func.func.get() < self.instance(func.instance).module.num_imported_funcs()
    }

    /// Makes sure that the stack has `cells` cells.
    fn reserve_cells(&mut self, cells: usize) -> Result<(), &'static str> {
        if cells > self.limits.max_value_cells {
            return Err(Limits::VALUE_CELLS);
        }
        if cells > self.stack.len() {
            let roomy = cells.max(2 * self.stack.len()).max(1024);
            self.stack.resize(roomy.min(self.limits.max_value_cells), Cell(0));
        }
        Ok(())
    }

    /// Enters a function that a module defines, its arguments on the stack.
    /// The caller's position must have been saved.
    fn push_frame(&mut self, func: FuncAddr) -> Result<(), &'static str> {
        let module = &self.instance(func.instance).module;
        let defined = (func.func.get() - module.num_imported_funcs()) as usize;
        let def = &module.functions[defined];
        let (params, locals, cells) = (def.params as usize, def.locals.len(), def.cells as usize);
        let (results, first) = (def.results, OpIdx(def.ops.start));
        if self.frames.len() >= self.limits.max_frames {
            return Err(Limits::FRAMES);
        }
        let base = self.sp - params;
        self.reserve_cells(base + cells)?;
        self.stack[self.sp..base + locals].fill(Cell(0));
        self.frames.push(FrameRecord {
            instance: func.instance,
            func: func.func,
            base,
            pc: first,
            locals: locals as u32,
            results,
        });
        self.pc = first;
        self.sp = base + locals;
        Ok(())
    }
}
