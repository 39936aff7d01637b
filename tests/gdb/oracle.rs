//! The oracle by itself: which boundaries a program executes, and all frames
//! at chosen ones.

use corpus::SplitMix64;
use oracle_interp::{Event, Extern, ImportKind, Limits, Oracle};
use std::collections::HashMap;
use wasi_host::{OperationLog, Outcome, World, WorldConfig};
use wasm_view::{Boundary, Frame, FuncAddr, FuncIdx, WasmOffset};
use wdiff::invoke::Calls;
use wdiff::program::Program;
use wdiff::world::OracleMemory;

/// A boundary's execution in a run.
pub struct Moment {
    /// The boundary.
    pub at: (FuncIdx, WasmOffset),
    /// Which of its executions, from 1.
    pub occurrence: u64,
    /// The oracle's frames, outermost first.
    pub frames: Vec<Frame>,
}

/// Runs a program and notes its frames at `count` boundaries spread over the
/// run; also gives the log of what it asked the world.
pub fn moments(
    program: &Program,
    calls: &Calls,
    world: WorldConfig,
    count: usize,
) -> Result<(Vec<Moment>, OperationLog), String> {
    let mut world = World::live(world).map_err(text)?;
    let mut executed = 0u64;
    run(program, calls, &mut world, |_, _| executed += 1)?;
    let log = world.log().clone();

    let chosen = spread(executed, count);
    let mut replay = World::replaying(log.clone(), false);
    let (mut index, mut moments) = (0, Vec::new());
    let mut occurrences: HashMap<Boundary, u64> = HashMap::new();
    run(program, calls, &mut replay, |oracle, at| {
        let occurrence = occurrences.entry(at).or_default();
        *occurrence += 1;
        if chosen.binary_search(&index).is_ok() {
            let frames = oracle.frames();
            moments.push(Moment { at: (at.func, at.offset), occurrence: *occurrence, frames });
        }
        index += 1;
    })?;
    Ok((moments, log))
}

/// One number out of each of `count` equal parts of `0..total`, drawn by a
/// fixed seed: equal distances would fall in step with the program's loops.
fn spread(total: u64, count: usize) -> Vec<u64> {
    let mut random = SplitMix64::new(0x676462);
    let count = (count as u64).min(total);
    (0..count)
        .map(|part| {
            let (from, to) = (part * total / count, (part + 1) * total / count);
            from + random.next_u64() % (to - from)
        })
        .collect()
}

/// Runs the calls one after the other, looking at each boundary.
fn run(
    program: &Program,
    calls: &Calls,
    world: &mut World,
    mut look: impl FnMut(&Oracle, Boundary),
) -> Result<(), String> {
    let module = &program.module;
    let imports = module.imports().iter().map(|import| match import.kind {
        ImportKind::Func(_) => Ok(Extern::HostFunc),
        _ => Err(format!("{}.{} is no function", import.module, import.name)),
    });
    let imports = imports.collect::<Result<Vec<_>, _>>()?;
    let mut oracle = Oracle::new(Limits::default());
    let instance = oracle.instantiate(module.clone(), &imports).map_err(text)?;
    for call in &calls.list {
        let mut event =
            oracle.begin_call(FuncAddr { instance, func: call.func }, &call.args).map_err(text)?;
        event = loop {
            event = match event {
                Event::Boundary => {
                    let top = oracle.top().map(|top| top.boundary);
                    look(&oracle, top.ok_or("a boundary without a frame")?);
                    oracle.step()
                }
                Event::HostCall(call) => {
                    let import = module.function_import(call.func).ok_or("no such import")?;
                    let memory = oracle.instance(instance).memories.first().copied();
                    let mut guest = OracleMemory::new(&mut oracle, memory);
                    let returned = world
                        .call(&import.module, &import.name, &call.args, &mut guest)
                        .map_err(text)?;
                    match returned.outcome {
                        Outcome::Exit(_) => return Ok(()),
                        Outcome::Return(values) => {
                            oracle.finish_host_call(&values).map_err(text)?
                        }
                    }
                }
                other => break other,
            };
        };
        if !matches!(event, Event::Finished(_)) {
            return Err(format!("the oracle ended with {event:?}"));
        }
    }
    Ok(())
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
