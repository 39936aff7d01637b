//! The interpreter's own invariants, checked from outside.
//!
//! An interpreter that is the reference for something else has nobody to check
//! it against at each step. But validation has computed, independently of
//! execution, what the stack looks like at every instruction; this observer
//! compares the two. It can be switched on around any execution: call
//! [`check`] after every event. Where branches lead is compared with the
//! module's bytes, once per module: [`check_branches`].

mod branches;

pub use branches::{BranchEffect, check_branches};

use crate::oracle::{Event, FrameView, Oracle};
use wasm_view::{Boundary, Cell, ValType, WasmOffset};

/// A broken invariant: a bug in the interpreter or decoder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Inconsistency {
    /// The operand stack does not have the cells that validation gives it.
    #[error("{boundary:?}: {actual} cells of operands, validation says {expected}")]
    Height {
        /// Where.
        boundary: Boundary,
        /// According to validation.
        expected: usize,
        /// On the stack.
        actual: usize,
    },
    /// A slot holds a cell that is no value of its type.
    #[error("{boundary:?}: slot {slot} holds {cell:?}, which is no {ty}")]
    Value {
        /// Where.
        boundary: Boundary,
        /// Slot index.
        slot: usize,
        /// Its type.
        ty: ValType,
        /// Its contents.
        cell: Cell,
    },
    /// A branch does something else than the module's bytes say.
    #[error("the branch at {offset}: {actual:?}, the bytes say {expected:?}")]
    Branch {
        /// Of the instruction.
        offset: WasmOffset,
        /// According to the bytes.
        expected: BranchEffect,
        /// As decoded.
        actual: BranchEffect,
    },
    /// An entry of the side table that no branch uses.
    #[error("no branch uses entry {entry} of the side table")]
    UnusedBranch {
        /// Its number.
        entry: usize,
    },
    /// The decoded instructions are not those that are reachable.
    #[error("decoded instruction {position} is not at {offset:?}")]
    Boundary {
        /// Among the module's instructions.
        position: u32,
        /// Of the instruction that should be there, if there is one.
        offset: Option<WasmOffset>,
    },
    /// An instruction was decoded as one of another kind.
    #[error("the instruction at {offset} is decoded as another one")]
    Op {
        /// Of the instruction.
        offset: WasmOffset,
    },
    /// The operand stack before an instruction is not the validator's.
    #[error("the operands before {offset} are not {types:?}")]
    Operands {
        /// Of the instruction.
        offset: WasmOffset,
        /// As decoded.
        types: Vec<ValType>,
    },
    /// The module's bytes are not valid any more.
    #[error("the module cannot be read again: {0}")]
    Unreadable(String),
}

/// Checks the innermost frame at a boundary; frames that wait for a callee,
/// whose arguments are gone, only hold fewer operands.
///
/// # Errors
///
/// The first invariant that does not hold.
pub fn check(oracle: &Oracle, event: &Event) -> Result<(), Inconsistency> {
    let Some(top) = oracle.top() else {
        return Ok(());
    };
    let expected = top.static_cells();
    let actual = top.operands.len();
    let waiting = matches!(event, Event::HostCall(_));
    if if waiting { actual > expected } else { actual != expected } {
        return Err(Inconsistency::Height { boundary: top.boundary, expected, actual });
    }
    check_values(oracle, &top)
}

fn check_values(oracle: &Oracle, frame: &FrameView<'_>) -> Result<(), Inconsistency> {
    let types = frame.local_types().iter().copied().chain(frame.operand_types());
    let mut cells = frame.slots;
    for (slot, ty) in types.enumerate() {
        let (own, rest) = cells.split_at(ty.cells());
        cells = rest;
        let well_formed = match ty {
            ValType::I32 | ValType::F32 => u32::try_from(own[0].0).is_ok(),
            ValType::I64 | ValType::F64 | ValType::V128 => true,
            // A local that may not be null is unset before its first use.
            ValType::Ref(_) => {
                own[0].0 == 0 && slot < frame.local_types().len()
                    || oracle.is_reference(frame.boundary.instance, ty, own[0])
            }
        };
        if !well_formed {
            return Err(Inconsistency::Value { boundary: frame.boundary, slot, ty, cell: own[0] });
        }
    }
    Ok(())
}
