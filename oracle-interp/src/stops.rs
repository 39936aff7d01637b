//! Sets of boundaries to stop at.
//!
//! Stops are sparse compared with executed instructions, so testing for one at
//! every instruction would be the larger part of the cost. Instead a set owns
//! a copy of the module's instructions in which those at a stop are overwritten
//! with [`Op::Stop`], as a debugger puts a breakpoint into machine code.

use crate::module::Module;
use crate::op::Op;
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
    In { module: Arc<Module>, ops: Vec<Op> },
}

impl StopSet {
    /// The empty set of stops in `module`.
    pub fn new(module: &Arc<Module>) -> StopSet {
        let ops = module.code.ops.clone();
        StopSet { stops: Stops::In { module: Arc::clone(module), ops } }
    }

    /// Every boundary of every module.
    pub fn all() -> StopSet {
        StopSet { stops: Stops::All }
    }

    /// Adds a boundary. Answers whether the module has such a boundary.
    pub fn insert(&mut self, func: FuncIdx, offset: WasmOffset) -> bool {
        let Stops::In { module, ops } = &mut self.stops else {
            return true;
        };
        let position = module.function(func).and_then(|function| function.position(offset));
        match position.and_then(|position| ops.get_mut(position.index())) {
            Some(op) => {
                *op = Op::Stop;
                true
            }
            None => false,
        }
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

    fn insert_nan(&mut self, distance: usize) {
        let Stops::In { module, ops } = &mut self.stops else {
            return;
        };
        // None of them is its function's last instruction.
        for (op, original) in ops.iter_mut().skip(distance).zip(&module.code.ops) {
            if crate::choice::has_freedom(*original) {
                *op = Op::Stop;
            }
        }
    }

    /// Takes a boundary out again. Answers whether the module has it.
    pub fn remove(&mut self, func: FuncIdx, offset: WasmOffset) -> bool {
        let Stops::In { module, ops } = &mut self.stops else {
            return false;
        };
        let position = module.function(func).and_then(|function| function.position(offset));
        match position.and_then(|position| ops.get_mut(position.index()).zip(Some(position))) {
            Some((op, position)) => {
                *op = module.code.ops[position.index()];
                true
            }
            None => false,
        }
    }

    /// Whether a boundary is in the set.
    pub fn contains(&self, func: FuncIdx, offset: WasmOffset) -> bool {
        let Stops::In { module, ops } = &self.stops else { return true };
        let position = module.function(func).and_then(|function| function.position(offset));
        position.and_then(|position| ops.get(position.index())).is_some_and(|op| *op == Op::Stop)
    }

    pub(crate) fn is_all(&self) -> bool {
        matches!(self.stops, Stops::All)
    }

    /// The instructions to execute for `module`.
    pub(crate) fn ops_for<'a>(&'a self, module: &'a Module) -> &'a [Op] {
        match &self.stops {
            Stops::In { module: own, ops } if own.identity == module.identity => ops,
            _ => &module.code.ops,
        }
    }
}
