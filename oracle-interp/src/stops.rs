//! Sets of boundaries to stop at.
//!
//! Stops are sparse compared with executed instructions, so testing for one at
//! every instruction would be the larger part of the cost. Instead a set owns
//! a copy of the module's [slots](crate::routes) in which those at a stop are
//! overwritten, as a debugger puts a breakpoint into machine code.

use crate::module::{Module, OpIdx};
use crate::routes::{Slot, SlotsWithStops};
use std::sync::Arc;
use wasm_view::{FuncIdx, WasmOffset};

/// Boundaries of one module at which [`Oracle::run`](crate::Oracle::run) stops,
/// whichever instance of it executes. Other modules' code runs through.
#[derive(Clone, Debug)]
pub struct StopSet {
    stops: Stops,
}

#[derive(Clone, Debug)]
enum Stops {
    All,
    In { module: Arc<Module>, slots: SlotsWithStops },
}

impl StopSet {
    /// The empty set of stops in `module`.
    pub fn new(module: &Arc<Module>) -> StopSet {
        let slots = SlotsWithStops::new(&module.code);
        StopSet { stops: Stops::In { module: Arc::clone(module), slots } }
    }

    /// Every boundary of every module.
    pub fn all() -> StopSet {
        StopSet { stops: Stops::All }
    }

    /// Adds a boundary. Answers whether the module has such a boundary.
    pub fn insert(&mut self, func: FuncIdx, offset: WasmOffset) -> bool {
        self.set(func, offset, true).unwrap_or(true)
    }

    /// `None` if the set is of all boundaries.
    fn set(&mut self, func: FuncIdx, offset: WasmOffset, stop: bool) -> Option<bool> {
        let Stops::In { module, slots } = &mut self.stops else {
            return None;
        };
        let position = module.function(func).and_then(|function| function.position(offset));
        Some(position.is_some_and(|position| slots.set_stop(&module.code, position, stop)))
    }

    /// Adds every instruction whose result may be of the executor's choice,
    /// such as a NaN, so that none passes unseen (see [`crate::Oracle::choice`]).
    pub fn insert_nan_freedoms(&mut self) {
        self.insert_nan(0);
    }

    /// Adds the boundary behind each such instruction, where its result is the
    /// topmost operand.
    pub fn insert_behind_nan_freedoms(&mut self) {
        self.insert_nan(1);
    }

    fn insert_nan(&mut self, distance: u32) {
        let Stops::In { module, slots } = &mut self.stops else {
            return;
        };
        // None of them is its function's last instruction.
        for (position, op) in (0..).zip(&module.code.ops) {
            if crate::choice::has_freedom(*op) {
                slots.set_stop(&module.code, OpIdx(position + distance), true);
            }
        }
    }

    /// Takes a boundary out again. Answers whether the module has it.
    pub fn remove(&mut self, func: FuncIdx, offset: WasmOffset) -> bool {
        self.set(func, offset, false).unwrap_or(false)
    }

    /// Whether a boundary is in the set.
    pub fn contains(&self, func: FuncIdx, offset: WasmOffset) -> bool {
        let Stops::In { module, slots } = &self.stops else { return true };
        let position = module.function(func).and_then(|function| function.position(offset));
        position.is_some_and(|position| slots.is_stop(position))
    }

    pub(crate) fn is_all(&self) -> bool {
        matches!(self.stops, Stops::All)
    }

    /// The instructions of `module` as they are to be executed.
    pub(crate) fn slots_for<'a>(&'a self, module: &'a Module) -> &'a [Slot] {
        match &self.stops {
            Stops::In { module: own, slots } if own.identity == module.identity => slots.as_slice(),
            _ => module.code.slots(),
        }
    }
}
