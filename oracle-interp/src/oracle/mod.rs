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

mod accesses;
mod calls;
mod exceptions;
mod interpret;
mod objects;
mod observer;
mod rare;
mod save;
mod slow;
mod view;

pub use observer::{At, Observer};
pub use save::LoadError;
pub use view::{FrameView, Top};

use crate::choice::{self, Choice, ChoiceKind, Freedom, GROW_FAILED, GROW_FAILED_64};
use crate::error::{AdoptError, CallError, HostAccessError};
use crate::module::OpIdx;
use crate::routes::Route;
use crate::simd::Choices;
use crate::stops::StopSet;
use crate::store::{Instance, Store};
use exceptions::Caught;
use interpret::Exit;
use std::collections::VecDeque;
use wasm_view::{
    Cell, ExnId, FuncAddr, FuncIdx, FuncType, GlobalId, InstanceId, MemoryId, MemoryType, SlotIdx,
    TableId, TagId, Trap, ValType, Value,
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
    /// Bytes of all structures, arrays and exceptions together, roughly.
    pub max_heap_bytes: u64,
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
    /// What [`Event::LimitReached`] says of `max_heap_bytes`.
    pub const HEAP_BYTES: &'static str = "heap_bytes";
    /// What [`Event::LimitReached`] says of a wait for other threads, of which
    /// there are none, that has no timeout.
    pub const WAITING: &'static str = "waiting for another thread";
}

impl Default for Limits {
    /// One whole 32-bit memory, and a stack of some hundred megabytes.
    fn default() -> Self {
        Self {
            max_frames: 1 << 20,
            max_value_cells: 1 << 24,
            max_memory_pages: MemoryType::MAX_PAGES,
            max_table_elements: 10_000_000,
            max_heap_bytes: 1 << 30,
        }
    }
}

/// An exception on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thrown {
    /// The exception.
    pub exn: ExnId,
    /// Its tag.
    pub tag: TagId,
    /// Its arguments.
    pub args: Vec<Value>,
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
    /// The call ended with an exception that nobody caught: see
    /// [`Oracle::exception`].
    Thrown(ExnId),
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
    /// Cells of the locals.
    locals: u32,
    /// Cells of the results.
    results: u32,
}

#[derive(Clone, Debug)]
enum State {
    Running,
    HostCall(HostCall),
    Finished(Vec<Value>),
    Trapped(Trap),
    Thrown(ExnId),
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
    /// What relaxed instructions may still be, by parameter.
    relaxed: Vec<Choices>,
    /// What handlers of the legacy kind have caught.
    caught: Vec<Caught>,
    /// What was thrown and not asked for yet, if anybody asks.
    thrown: Option<VecDeque<Thrown>>,
    /// Fewest frames since [`Oracle::mark_depth`].
    lowest: usize,
    /// The slow path has entered a function.
    entered: bool,
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
            relaxed: Vec::new(),
            caught: Vec::new(),
            thrown: None,
            lowest: 0,
            entered: false,
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

    /// Type and first cell of a global, see [`Oracle::global_value`] for the
    /// whole of a vector.
    pub fn global(&self, global: GlobalId) -> (ValType, Cell) {
        let global = &self.store.globals[global.index()];
        (global.ty.content, global.value)
    }

    /// The value of a global.
    pub fn global_value(&self, global: GlobalId) -> Value {
        let global = &self.store.globals[global.index()];
        self.store.value(global.ty.content, &[global.value, global.high])
    }

    /// An element of a table, if it exists.
    pub fn table_value(&self, table: TableId, index: u64) -> Option<Value> {
        let table = &self.store.tables[table.index()];
        let cell = table.elements.get(usize::try_from(index).ok()?)?;
        Some(self.store.value(ValType::Ref(table.ty.element), &[*cell]))
    }

    /// The value that cells hold which are of a type of an instance's module.
    ///
    /// # Panics
    ///
    /// If there are fewer than [`ValType::cells`].
    pub fn value(&self, instance: InstanceId, ty: ValType, cells: &[Cell]) -> Value {
        self.store.value(self.store.localise(instance, ty), cells)
    }

    /// Whether a cell is a reference of this type of an instance's module.
    pub(crate) fn is_reference(&self, instance: InstanceId, ty: ValType, cell: Cell) -> bool {
        let ty = self.store.localise(instance, ty);
        self.store.is_of(self.store.value(ty, &[cell]), ty)
    }

    /// Tag and arguments of an exception that the store has.
    pub fn exception(&self, exn: ExnId) -> Option<(TagId, Vec<Value>)> {
        let exception = self.store.heap.exception(exn)?;
        Some((exception.tag, self.store.values(&exception.types, &exception.args)))
    }

    /// Whether to keep what is thrown, in order, for [`Oracle::take_thrown`].
    pub fn set_throw_log(&mut self, on: bool) {
        self.thrown = on.then(VecDeque::new);
    }

    /// What was thrown first of what has not been asked for yet.
    pub fn take_thrown(&mut self) -> Option<Thrown> {
        self.thrown.as_mut()?.pop_front()
    }

    /// The values of a structure's fields or an array's elements, packed ones
    /// zero-extended.
    pub fn object(&self, object: wasm_view::ObjectId) -> Option<Vec<Value>> {
        let found = self.store.heap.object(object)?;
        let fields = &self.store.layout(found.ty).fields;
        let is_array = matches!(
            self.store.types.get(found.ty).definition.composite,
            crate::types::CompositeType::Array(_)
        );
        let value = |field: usize, element: usize| {
            let ty = fields[field].1.unpacked();
            self.store.value(ty, &self.store.field(object, field, element))
        };
        Some(if is_array {
            (0..found.length as usize).map(|element| value(0, element)).collect()
        } else {
            (0..fields.len()).map(|field| value(field, 0)).collect()
        })
    }

    /// Whether a reference is a structure, rather than an array or a number.
    pub fn is_struct(&self, object: wasm_view::ObjectId) -> bool {
        self.store.heap.object(object).is_some_and(|object| {
            matches!(
                self.store.types.get(object.ty).definition.composite,
                crate::types::CompositeType::Struct(_)
            )
        })
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

    /// The type of a function of the store. Indices in it are those of the
    /// store's types, not of a module's.
    pub fn func_type(&self, func: FuncAddr) -> Option<&FuncType> {
        self.store.func_type(func)
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
        self.pin(args);
        if self.is_host_function(func) {
            let call = HostCall { instance: func.instance, func: func.func, args: args.to_vec() };
            self.state = State::HostCall(call.clone());
            return Ok(Event::HostCall(call));
        }
        if let Err(limit) = self.reserve_cells(2 * args.len()) {
            return Ok(Event::LimitReached(limit));
        }
        self.sp = 0;
        self.push_values(args);
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
        self.caught.clear();
        self.state = State::Finished(Vec::new());
    }

    fn is_busy(&self) -> bool {
        matches!(self.state, State::Running | State::HostCall(_))
    }

    /// Whether values are of these types of the store's.
    fn check_values(&self, expected: &[ValType], given: &[Value]) -> Result<(), CallError> {
        let fit = expected.len() == given.len()
            && expected.iter().zip(given).all(|(&ty, &value)| self.store.is_of(value, ty));
        if fit {
            return Ok(());
        }
        Err(CallError::Types {
            expected: expected.to_vec(),
            given: given.iter().map(|value| value.ty()).collect(),
        })
    }

    /// Keeps what the host has references to.
    fn pin(&mut self, values: &[Value]) {
        for value in values {
            self.store.heap.pin(value.ty(), value.to_cell());
        }
    }

    fn push_values(&mut self, values: &[Value]) {
        for value in values {
            for cell in value.to_cells() {
                self.stack[self.sp] = cell;
                self.sp += 1;
            }
        }
    }

    /// The values of these types that begin at a position of the stack; the
    /// host gets them.
    fn take_out(&mut self, types: &[ValType], from: usize) -> Vec<Value> {
        let values = self.store.values(types, &self.stack[from..]);
        self.pin(&values);
        values
    }

    /// What to answer when asked to go on while not running.
    fn standing_event(&self) -> Event {
        match &self.state {
            State::Running => Event::Boundary,
            State::HostCall(call) => Event::HostCall(call.clone()),
            State::Finished(results) => Event::Finished(results.clone()),
            State::Trapped(trap) => Event::Trapped(*trap),
            State::Thrown(exn) => Event::Thrown(*exn),
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
        let freedom = self.freedom();
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
            self.record_choice(freedom);
        }
        Event::Boundary
    }

    /// The freedom of the instruction at the present boundary, should its
    /// result turn out to use it.
    fn freedom(&self) -> Option<Freedom> {
        let frame = self.frames.last()?;
        let op = *self.instance(frame.instance).module.code.ops.get(self.pc.index())?;
        choice::freedom(op, &self.stack[frame.base..self.sp])
    }

    /// Records that the instruction just executed used `freedom`, if it did.
    fn record_choice(&mut self, freedom: Freedom) {
        if let Some(frame) = self.frames.last()
            && let Some(kind) = freedom.choice(&self.stack[..self.sp])
        {
            let last = self.sp - 1 - frame.base;
            self.choice = Some(Choice { slot: self.slot_of_cell(last), kind });
        }
    }

    /// The slot of the innermost frame that a cell of it belongs to.
    fn slot_of_cell(&self, cell: usize) -> SlotIdx {
        let Some(top) = self.top() else { return SlotIdx::new(0) };
        let mut end = 0;
        let types = top.local_types().iter().copied().chain(top.operand_types());
        let slot = types.take_while(|ty| {
            end += ty.cells();
            end <= cell
        });
        SlotIdx::from_index(slot.count())
    }

    /// The first cell of a slot of the innermost frame, and its type.
    fn cell_of_slot(&self, slot: SlotIdx) -> Option<(usize, ValType)> {
        let top = self.top()?;
        let mut first = 0;
        let mut types = top.local_types().iter().copied().chain(top.operand_types());
        for _ in 0..slot.index() {
            first += types.next()?.cells();
        }
        types.next().map(|ty| (first, ty))
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
            stops
                .slots_for(module)
                .get(self.pc.index())
                .is_some_and(|slot| slot.route == Route::STOP)
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
        self.entered = false;
        self.store.writes.take_last();
        let event = self.slow_instruction()?;
        if let Some((memory, address, length)) = self.store.writes.take_last() {
            observer.memory_write(memory, address, length);
        }
        match (&event, self.frames.last()) {
            (Some(Event::HostCall(call)), _) => {
                observer.call(FuncAddr { instance: call.instance, func: call.func });
            }
            (_, Some(frame)) if self.entered => {
                observer.call(FuncAddr { instance: frame.instance, func: frame.func });
            }
            _ => {}
        }
        Ok(event)
    }

    /// Returns from the outermost frame: its results are the topmost operands.
    fn finish(&mut self) -> Event {
        let types = self.frames.pop().map_or_else(Vec::new, |frame| {
            let addr = FuncAddr { instance: frame.instance, func: frame.func };
            self.func_type(addr).map_or(Vec::new(), |ty| ty.results.clone())
        });
        let results = self.take_out(&types, self.sp - ValType::cells_of(&types));
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
        self.pin(results);
        if self.frames.is_empty() {
            self.state = State::Finished(results.to_vec());
            return Ok(Event::Finished(results.to_vec()));
        }
        // The caller's frame has room for whatever its call returns.
        self.push_values(results);
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
        let frame = self.frames.last().ok_or(CallError::NoSuchSlot(slot))?;
        let (cell, ty) = self.cell_of_slot(slot).ok_or(CallError::NoSuchSlot(slot))?;
        let (ty, at) = (self.store.localise(frame.instance, ty), frame.base + cell);
        self.check_values(&[ty], &[value])?;
        for (offset, cell) in value.to_cells().enumerate() {
            self.stack[at + offset] = cell;
        }
        Ok(())
    }

    /// Overwrites every slot of the innermost frame for which there is a new
    /// value, given its type in the module, with that. Null is of every
    /// nullable type.
    ///
    /// # Errors
    ///
    /// A value of another type; the slots before it are overwritten.
    pub fn set_slots(
        &mut self,
        mut new: impl FnMut(SlotIdx, ValType) -> Option<Value>,
    ) -> Result<(), CallError> {
        let Some(top) = self.top() else { return Ok(()) };
        let types: Vec<ValType> =
            top.local_types().iter().copied().chain(top.operand_types()).collect();
        let instance = top.boundary.instance;
        let mut at = self.frames.last().map_or(0, |frame| frame.base);
        for (slot, ty) in types.into_iter().enumerate() {
            if let Some(value) = new(SlotIdx::from_index(slot), ty) {
                let is_null = matches!(ty, ValType::Ref(ty) if ty.nullable) && value.is_null();
                if !is_null {
                    self.check_values(&[self.store.localise(instance, ty)], &[value])?;
                }
                for (offset, cell) in value.to_cells().enumerate() {
                    self.stack[at + offset] = cell;
                }
            }
            at += ty.cells();
        }
        Ok(())
    }

    /// The freedom of the specification that the last [`Oracle::step`] used.
    pub fn choice(&self) -> Option<Choice> {
        self.choice
    }

    /// Replaces the result of the last step by another one that its choice
    /// allows. A failed `grow` is undone.
    ///
    /// # Errors
    ///
    /// A choice that is not the last step's, and a result that it does not
    /// allow.
    pub fn adopt(&mut self, choice: &Choice, result: Cell) -> Result<(), AdoptError> {
        self.check_choice(choice)?;
        if !choice.allows(result) {
            return Err(AdoptError::NotAllowed(result));
        }
        let (Some((cell, _)), Some(frame)) = (self.cell_of_slot(choice.slot), self.frames.last())
        else {
            return Err(AdoptError::Stale);
        };
        self.stack[frame.base + cell] = result;
        if let Some(grown) = self.grown
            && (result == GROW_FAILED || result == GROW_FAILED_64)
        {
            self.undo_growth(grown, choice.kind);
            self.choice = None;
            self.grown = None;
        }
        Ok(())
    }

    /// [`Oracle::adopt`] of a vector. What a relaxed instruction computes must
    /// be the same all through a run: to have that checked, call this also for
    /// a result that is the oracle's own.
    ///
    /// # Errors
    ///
    /// As [`Oracle::adopt`]; and a result that the specification allows here,
    /// but not together with those adopted before.
    pub fn adopt_vector(&mut self, choice: &Choice, result: u128) -> Result<(), AdoptError> {
        self.check_choice(choice)?;
        let low = Cell(result as u64);
        if !choice.allows_vector(result) {
            return Err(AdoptError::NotAllowed(low));
        }
        if let ChoiceKind::Vector(vector) = choice.kind
            && let Some(functions) = vector.functions(result)
        {
            let parameter = functions.parameter();
            let known = self.relaxed.iter_mut().find(|known| known.parameter() == parameter);
            let met = known.as_ref().map_or(functions, |known| known.meet(functions));
            if met.is_empty() {
                return Err(AdoptError::Inconsistent);
            }
            match known {
                Some(known) => *known = met,
                None => self.relaxed.push(met),
            }
        }
        let (Some((cell, _)), Some(frame)) = (self.cell_of_slot(choice.slot), self.frames.last())
        else {
            return Err(AdoptError::Stale);
        };
        self.stack[frame.base + cell] = low;
        self.stack[frame.base + cell + 1] = Cell((result >> 64) as u64);
        Ok(())
    }

    fn check_choice(&self, choice: &Choice) -> Result<(), AdoptError> {
        match self.choice {
            Some(current) if current == *choice => Ok(()),
            _ => Err(AdoptError::Stale),
        }
    }

    fn undo_growth(&mut self, grown: Grown, kind: ChoiceKind) {
        let previous = match kind {
            ChoiceKind::MemoryGrow { previous } | ChoiceKind::TableGrow { previous } => {
                u64::from(previous)
            }
            ChoiceKind::Grow64 { previous, .. } => previous,
            _ => {
                debug_assert!(false, "a choice of another kind than what grew");
                return;
            }
        };
        match grown {
            Grown::Memory(memory) => {
                let memory = &mut self.store.memories[memory.index()];
                memory.data.truncate((previous << memory.ty.page_log2) as usize);
            }
            Grown::Table(table) => {
                self.store.tables[table.index()].elements.truncate(previous as usize);
            }
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
        let (params, locals) = (def.param_cells as usize, def.local_cells as usize);
        let (cells, results) = (def.cells as usize, def.result_cells);
        let first = OpIdx(def.ops.start);
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
        self.entered = true;
        Ok(())
    }
}
