//! The interpreter's own invariants, checked from outside.
//!
//! An interpreter that is the reference for something else has nobody to check
//! it against at each step. But validation has computed, independently of
//! execution, what the stack looks like at every instruction; this observer
//! compares the two. It can be switched on around any execution: call
//! [`check`] after every event.

use crate::instantiate::Extern;
use crate::liveness::Liveness;
use crate::module::{ExportKind, ImportKind, Module};
use crate::oracle::{Event, FrameView, Limits, Oracle};
use std::sync::Arc;
use wasm_view::{Boundary, Cell, FuncAddr, FuncIdx, ValType, Value};

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

/// Decodes arbitrary bytes and, if that gives a module that needs nothing but
/// functions from its host, executes all its exported functions, `fuel`
/// instructions each, with [`check`] at every boundary. The logic of a fuzz
/// target: whatever the bytes, it must not panic.
///
/// Host functions return zeroes and nulls. Answers how many instructions were
/// executed.
///
/// # Errors
///
/// See [`check`].
pub fn exercise(bytes: &[u8], fuel: u64) -> Result<u64, Inconsistency> {
    let Ok(module) = Module::decode(bytes) else {
        return Ok(0);
    };
    let module = Arc::new(module);
    for func in (0..module.num_funcs()).map(FuncIdx::new) {
        let _ = Liveness::compute(&module, func);
    }
    let limits = Limits {
        max_frames: 100,
        max_value_cells: 100_000,
        max_memory_pages: 100,
        max_table_elements: 100_000,
        max_heap_bytes: 10_000_000,
    };
    let mut oracle = Oracle::new(limits);
    if !module.imports().iter().all(|import| matches!(import.kind, ImportKind::Func(_))) {
        return Ok(0);
    }
    let imports = vec![Extern::HostFunc; module.imports().len()];
    let Ok(instance) = oracle.instantiate(Arc::clone(&module), &imports) else {
        return Ok(0);
    };
    let exported = module.exports().iter().filter(|export| export.kind == ExportKind::Func);
    for func in module.start().into_iter().chain(exported.map(|e| FuncIdx::new(e.index))) {
        call_with_zeroes(&mut oracle, FuncAddr { instance, func }, fuel)?;
    }
    Ok(oracle.instructions_executed())
}

fn call_with_zeroes(oracle: &mut Oracle, func: FuncAddr, fuel: u64) -> Result<(), Inconsistency> {
    let zeroes = |types: &[ValType]| types.iter().map(|&ty| Value::default_of(ty)).collect();
    let args: Vec<Value> = oracle.func_type(func).map_or(Vec::new(), |ty| zeroes(&ty.params));
    let Ok(mut event) = oracle.begin_call(func, &args) else {
        return Ok(());
    };
    for _ in 0..fuel {
        check(oracle, &event)?;
        event = match event {
            Event::Boundary => oracle.step(),
            Event::HostCall(call) => {
                let callee = FuncAddr { instance: call.instance, func: call.func };
                let results: Vec<Value> =
                    oracle.func_type(callee).map_or(Vec::new(), |ty| zeroes(&ty.results));
                match oracle.finish_host_call(&results) {
                    Ok(event) => event,
                    Err(_) => break,
                }
            }
            _ => break,
        };
    }
    oracle.abandon();
    Ok(())
}
