//! The oracle by itself: from one stable point to the next, or to the end.

use crate::error::CommandError;
use crate::lockstep::Ending;
use crate::lockstep::stops::Control;
use crate::session::{Instantiated, Session};
use crate::world::OracleMemory;
use oracle_interp::{Event, Oracle, StopSet};
use reports::InconclusiveReason;
use wasi_host::{HostError, OperationLog, Outcome as HostOutcome, World};
use wasm_view::FuncAddr;

/// Instructions that the oracle executes before it looks up.
const FUEL: u64 = 10_000_000;

/// A run from the beginning to the end.
pub struct Whole {
    /// How it ended.
    pub ending: Ending,
    /// Instructions executed.
    pub instructions: u64,
}

/// Runs a program from its beginning to its end, on an oracle that nobody stops
/// for long: `at_stop` sees it, and the world, at each of `stops`.
///
/// # Errors
/// What has no verdict; what `at_stop` answers.
pub fn whole(
    session: &Session<'_>,
    world: &mut World,
    stops: &StopSet,
    control: &Control,
    mut at_stop: impl FnMut(&Oracle, &mut World) -> Result<(), CommandError>,
) -> Result<Whole, CommandError> {
    let Instantiated { mut oracle, instance, trap } = session.instantiate()?;
    let whole = |ending, oracle: &Oracle| {
        Ok(Whole { ending, instructions: oracle.instructions_executed() })
    };
    let mut calls = session.calls.list.iter();
    let mut event = match trap {
        Some(trap) => Event::Trapped(trap),
        None => Event::Finished(Vec::new()),
    };
    loop {
        event = match event {
            Event::Boundary | Event::OutOfFuel if control.request().is_none() => {
                if oracle.is_at(stops) {
                    at_stop(&oracle, world)?;
                }
                oracle.run(stops, FUEL)
            }
            Event::Finished(values) => match calls.next() {
                None => return whole(Ending::Returned(values), &oracle),
                Some(call) => {
                    let func = FuncAddr { instance, func: call.func };
                    oracle.begin_call(func, &call.args).map_err(CommandError::input)?
                }
            },
            Event::HostCall(_) => match serve(&mut oracle, world)? {
                Ok(event) => event,
                Err(ending) => return whole(ending, &oracle),
            },
            other => return whole(ended(other), &oracle),
        };
    }
}

/// Runs the program again, over the log of its host calls. Answers the ending
/// and how many calls of the log were not made.
///
/// # Errors
/// What has no verdict.
pub fn again(
    session: &Session<'_>,
    log: OperationLog,
    control: &Control,
) -> Result<(Ending, u64), CommandError> {
    let mut world = World::replaying(log, false);
    let never = StopSet::new(&session.program.module);
    let Whole { ending, .. } = whole(session, &mut world, &never, control, |_, _| Ok(()))?;
    Ok((ending, world.remaining()))
}

/// Whether two runs ended alike.
pub fn alike(one: &Ending, other: &Ending) -> bool {
    match (one, other) {
        (Ending::Returned(a), Ending::Returned(b)) => a == b,
        (Ending::Exited(a), Ending::Exited(b)) => a == b,
        (Ending::Trapped(a, _), Ending::Trapped(b, _)) => a == b,
        (Ending::Thrown(_), Ending::Thrown(_)) => true,
        _ => false,
    }
}

/// Answers the host call that the oracle waits for.
///
/// # Errors
/// A call that is none.
pub fn serve(
    oracle: &mut Oracle,
    world: &mut World,
) -> Result<Result<Event, Ending>, CommandError> {
    let Event::HostCall(call) = oracle.step() else {
        return Err(CommandError::bug("no host call to answer"));
    };
    let module = oracle.instance(call.instance).module.clone();
    let Some(import) = module.function_import(call.func) else {
        return Err(CommandError::bug("a host call of no import"));
    };
    let memory = oracle.instance(call.instance).memories.first().copied();
    let mut guest = OracleMemory::new(oracle, memory);
    let returned = match world.call(&import.module, &import.name, &call.args, &mut guest) {
        Ok(returned) => returned,
        Err(error) => {
            let reason = match &error {
                HostError::Diverged { .. } | HostError::LogExhausted { .. } => {
                    InconclusiveReason::Replay
                }
                HostError::Unsupported { .. } => InconclusiveReason::Unsupported,
                _ => InconclusiveReason::Environment,
            };
            let detail = format!("host call {}.{}: {error}", import.module, import.name);
            return Ok(Err(Ending::Inconclusive { reason, detail }));
        }
    };
    match returned.outcome {
        HostOutcome::Exit(code) => Ok(Err(Ending::Exited(code))),
        HostOutcome::Return(values) => {
            Ok(Ok(oracle.finish_host_call(&values).map_err(CommandError::bug)?))
        }
    }
}

/// The ending that an event of the oracle's is.
pub fn ended(event: Event) -> Ending {
    match event {
        Event::Finished(values) => Ending::Returned(values),
        Event::Trapped(trap) => Ending::Trapped(trap, None),
        Event::Thrown(exn) => Ending::Thrown(exn),
        other => Ending::Inconclusive {
            reason: InconclusiveReason::Limit,
            detail: format!("the oracle alone: {other:?}"),
        },
    }
}
