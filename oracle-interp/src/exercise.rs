//! Whatever the bytes, no panic and a named outcome: the logic of a fuzz target.
//!
//! [`exercise`] decodes arbitrary bytes and executes what comes out within tight
//! limits, with the self-check at every boundary. A smoke run of it is a test;
//! `cargo run --release --example exercise` does it at length, and the fuzz
//! target in `fuzz/` for as long as one likes.

use crate::error::{DecodeError, InstantiateError};
use crate::instantiate::Extern;
use crate::liveness::Liveness;
use crate::module::{ExportKind, ImportKind, Module};
use crate::oracle::{Event, Limits, Oracle};
use crate::selfcheck::{Inconsistency, check, check_branches};
use std::collections::BTreeMap;
use std::sync::Arc;
use wasm_view::{FuncAddr, FuncIdx, Value};

/// What came of some bytes, or of many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exercised {
    /// Modules, and calls of those that were executed, by how they ended.
    pub outcomes: BTreeMap<String, u64>,
    /// Instructions executed.
    pub instructions: u64,
}

impl Exercised {
    fn count(&mut self, outcome: impl Into<String>) {
        *self.outcomes.entry(outcome.into()).or_default() += 1;
    }

    /// Adds another one.
    pub fn add(&mut self, other: Exercised) {
        self.instructions += other.instructions;
        for (outcome, count) in other.outcomes {
            *self.outcomes.entry(outcome).or_default() += count;
        }
    }
}

/// Decodes arbitrary bytes and, if that gives a module that needs nothing but
/// functions from its host, executes its start function and all its exported
/// functions, `fuel` instructions each. Host functions return zeroes and nulls.
///
/// # Errors
///
/// See [`check`] and [`check_branches`].
pub fn exercise(bytes: &[u8], fuel: u64) -> Result<Exercised, Inconsistency> {
    let mut done = Exercised::default();
    let module = match Module::decode(bytes) {
        Ok(module) => {
            check_branches(&module)?;
            Arc::new(module)
        }
        Err(error) => {
            done.count(match error {
                DecodeError::Invalid { .. } => "module: invalid",
                DecodeError::Unsupported { .. } => "module: unsupported",
                DecodeError::Limit { .. } => "module: limit",
            });
            return Ok(done);
        }
    };
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
        done.count("module: needs imports");
        return Ok(done);
    }
    let imports = vec![Extern::HostFunc; module.imports().len()];
    let instance = match oracle.instantiate(Arc::clone(&module), &imports) {
        Ok(instance) => instance,
        Err(error) => {
            done.count(match error {
                InstantiateError::Trap { trap, .. } => format!("instantiation trapped: {trap}"),
                InstantiateError::Limit(limit) => format!("instantiation: limit of {limit}"),
                _ => "instantiation: not linked".to_string(),
            });
            return Ok(done);
        }
    };
    done.count("module: executed");
    let exported = module.exports().iter().filter(|export| export.kind == ExportKind::Func);
    for func in module.start().into_iter().chain(exported.map(|e| FuncIdx::new(e.index))) {
        let outcome = call(&mut oracle, FuncAddr { instance, func }, fuel)?;
        done.count(outcome);
    }
    done.instructions = oracle.instructions_executed();
    Ok(done)
}

/// Zeroes and nulls of a function's parameters or results.
fn zeroes(types: &[wasm_view::ValType]) -> Vec<Value> {
    types.iter().map(|&ty| Value::default_of(ty)).collect()
}

fn call(oracle: &mut Oracle, func: FuncAddr, fuel: u64) -> Result<String, Inconsistency> {
    let args = oracle.func_type(func).map_or(Vec::new(), |ty| zeroes(&ty.params));
    // A reference that may not be null has no default.
    let Ok(mut event) = oracle.begin_call(func, &args) else {
        return Ok("call: no such arguments".to_string());
    };
    let mut left = fuel;
    let outcome = loop {
        check(oracle, &event)?;
        event = match event {
            Event::Boundary if left == 0 => break "call: out of fuel".to_string(),
            Event::Boundary => {
                left -= 1;
                oracle.step()
            }
            Event::HostCall(call) => {
                let callee = FuncAddr { instance: call.instance, func: call.func };
                let results = oracle.func_type(callee).map_or(Vec::new(), |ty| zeroes(&ty.results));
                match oracle.finish_host_call(&results) {
                    Ok(event) => event,
                    Err(_) => break "call: no such results".to_string(),
                }
            }
            Event::Finished(_) => break "call: returned".to_string(),
            Event::Trapped(trap) => break format!("call trapped: {trap}"),
            Event::Thrown(_) => break "call: threw".to_string(),
            Event::OutOfFuel => break "call: out of fuel".to_string(),
            Event::LimitReached(limit) => break format!("call: limit of {limit}"),
        };
    };
    oracle.abandon();
    Ok(outcome)
}
