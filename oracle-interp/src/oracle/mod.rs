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
mod adopt;
mod calls;
mod contents;
mod exceptions;
mod frames;
mod interpret;
mod objects;
mod observer;
mod rare;
mod run;
mod save;
mod slots;
mod slow;
mod view;

pub use observer::{At, Observer};
pub use save::LoadError;
pub use view::{FrameView, Top};

use crate::choice::Choice;
use crate::error::CallError;
use crate::module::OpIdx;
use crate::simd::Choices;
use crate::store::{Instance, Store};
use adopt::Grown;
use exceptions::Caught;
use frames::Frames;
use std::collections::VecDeque;
use wasm_view::{
    Cell, ExnId, FuncAddr, FuncIdx, FuncType, InstanceId, MemoryType, TagId, Trap, ValType, Value,
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

/// An interpreter: a store and a stack.
#[derive(Clone, Debug)]
pub struct Oracle {
    limits: Limits,
    store: Store,
    /// Cells of all frames; longer than the part in use.
    stack: Vec<Cell>,
    frames: Frames,
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
            frames: Frames::default(),
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
