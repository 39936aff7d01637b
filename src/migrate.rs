//! `wdiff migrate`: a program handed from one executor to the next.
//!
//! ```text
//!   side A: lockstep, or the oracle alone  -- n-th stable point -->  capture
//!      capture == the oracle's view --> snapshot: written, read, loaded
//!   side B: restore --> every frame compared --> capture again == snapshot --> goes on
//! ```
//! Sides take turns until the program ends. The oracle that goes on is always one
//! that was loaded from the snapshot, so that what the file cannot carry is lost
//! to both. The world outside stays: host calls go on where they were. At the end
//! the program is run once more, on an oracle that nobody ever stopped, over the
//! log of its host calls: arguments, output and ending must be the same.

use crate::cli::{MigrateArgs, Opt};
use crate::describe;
use crate::error::CommandError;
use crate::invoke;
use crate::lockstep::handover::{Progress, RestoreFault, clear_dead};
use crate::lockstep::stats::Stats;
use crate::lockstep::stops::{Control, Phase};
use crate::lockstep::{Ending, Lockstep, follow::Requests};
use crate::output;
use crate::program::{self, Program};
use crate::refuse;
use crate::run;
use crate::session::{Instantiated, Session, limits};
use crate::watch;
use crate::witness::Called;
use crate::world::{self, OracleMemory};
use aot_backend::{Image, Isa, StablePoints};
use dwarf_map::check::stable_kinds;
use oracle_interp::{Event, Liveness, Oracle, StopSet};
use reports::{
    Inconclusive, InconclusiveReason, Migration, Outcome, Report, Witness, WitnessVerdict,
};
use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasi_host::{HostError, Outcome as HostOutcome, World, WorldConfig};
use wasm_view::snapshot::{self, Snapshot};
use wasm_view::{FuncAddr, FuncIdx, InstanceId, Value};

/// Most bytes of linear memory in a snapshot that is read.
pub const MOST_MEMORY: u64 = 4 << 30;

/// Instructions that the oracle executes before it looks up.
const FUEL: u64 = 10_000_000;

/// Where a program can be executed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Side {
    Oracle,
    Native(Isa, Opt),
}

impl Side {
    fn parse(text: &str) -> Result<Side, CommandError> {
        if text == "oracle" {
            return Ok(Side::Oracle);
        }
        let native = text.split_once(':').and_then(|(target, opt)| {
            let isa = Isa::from_name(target)?;
            let opt = [Opt::None, Opt::Speed, Opt::SpeedAndSize]
                .into_iter()
                .find(|each| each.as_str() == opt)?;
            Some(Side::Native(isa, opt))
        });
        native.ok_or_else(|| {
            let targets = Isa::ALL.map(Isa::name).join("|");
            CommandError::input(format_args!(
                "--relay {text}: no such side; expected oracle or TARGET:none|speed, TARGET one of {targets}"
            ))
        })
    }

    fn name(&self) -> String {
        match self {
            Side::Oracle => "oracle".to_owned(),
            Side::Native(isa, opt) => format!("{}:{}", isa.name(), opt.as_str()),
        }
    }
}

/// After how many stable points the next hand-over comes.
enum Gaps {
    Every(u64),
    /// Once.
    At(u64),
    Random(u64),
}

impl Gaps {
    fn of(args: &MigrateArgs) -> Gaps {
        match (args.every, args.at, args.random) {
            (_, Some(at), _) => Gaps::At(at),
            (_, _, Some(seed)) => Gaps::Random(seed ^ 0x9e37_79b9_7f4a_7c15),
            (every, ..) => Gaps::Every(every.unwrap_or(1)),
        }
    }

    fn next(&mut self) -> u64 {
        match self {
            Gaps::Every(every) => *every,
            Gaps::At(at) => std::mem::replace(at, u64::MAX),
            Gaps::Random(state) => {
                // xorshift64 (Marsaglia, "Xorshift RNGs", 2003).
                *state ^= *state << 13;
                *state ^= *state >> 7;
                *state ^= *state << 17;
                1 + *state % 32
            }
        }
    }
}

/// Runs the subcommand.
///
/// # Errors
/// Whatever ends without a report.
pub fn main(args: &MigrateArgs) -> Result<u8, CommandError> {
    refuse::migrate(args)?;
    output::probe(args.output.as_deref())?;
    let control = Control::new();
    let (report, results) = watch::supervise(&control, args.timeout, || execute(args, &control))?;
    let mut out = std::io::stdout().lock();
    for value in results {
        let _ = writeln!(out, "{value}");
    }
    output::report(&report, args.format, args.output.as_deref())?;
    Ok(report.exit_code())
}

/// The report, and the results of an invoked function.
fn execute(
    args: &MigrateArgs,
    control: &Arc<Control>,
) -> Result<(Report, Vec<Value>), CommandError> {
    let sides: Vec<Side> =
        args.relay.iter().map(|side| Side::parse(side)).collect::<Result<_, _>>()?;
    let fault = match &args.inject {
        None => None,
        Some(text) => Some(RestoreFault::parse(text).ok_or_else(|| {
            CommandError::input(format_args!(
                "--inject {text}: expected restore:KIND:SEED, KIND one of flip, swap, stale, order, frame"
            ))
        })?),
    };
    let program = program::load(&args.program)?;
    if program.image.is_some() {
        return Err(CommandError::input(
            "migrate compiles its sides itself: it takes a .wasm or .wat, not an image",
        ));
    }
    let run_args = args.as_run();
    let mut images = Vec::new();
    for side in &sides {
        let Side::Native(isa, opt) = side else {
            images.push(None);
            continue;
        };
        let mut backend = args.backend.clone();
        backend.opt = *opt;
        backend.target = isa.name().to_owned();
        let mut options = run::options(&program, &backend, false)?;
        if options.stable == StablePoints::Off {
            options.stable = StablePoints::Calls;
        }
        options.restorable = true;
        let image = run::compile_with(&program, &options)?;
        refuse::image(&image.map.producer)?;
        images.push(Some(image));
    }
    let stable = match args.backend.stable {
        StablePoints::Off => StablePoints::Calls,
        chosen => chosen,
    };
    let calls = invoke::calls(&run_args, &program)?;
    let config =
        WorldConfig { cancel: control.cancel.clone(), ..world::config(&run_args, &program.path)? };
    let world = World::live(config).map_err(CommandError::input)?;
    control.enter(Phase::Comparing);
    let Some(first) = images.iter().flatten().next() else {
        return Err(CommandError::input(
            "--relay with the oracle alone hands nothing over; add x86_64:none or x86_64:speed",
        ));
    };
    let session = Session { program: &program, image: first, calls: &calls };
    let mut relay = Relay {
        program: &program,
        sides: &sides,
        images: &images,
        stats: images.iter().map(|image| image.as_ref().map(|i| Stats::new(&i.map))).collect(),
        stops: stops(&program, stable)?,
        calls: &calls.list,
        world,
        control,
        gaps: Gaps::of(args),
        liveness: HashMap::new(),
        figures: Migration {
            relay: sides.iter().map(|side| side.name()).collect(),
            stable: stable.name().to_owned(),
            ..Migration::default()
        },
        save: args.save.clone(),
        fault,
        host_calls: 0,
    };
    let began = Instant::now();
    let ending = relay.run(&session)?;
    let wall = began.elapsed();
    let ended = matches!(
        ending,
        Ending::Returned(_) | Ending::Exited(_) | Ending::Trapped(..) | Ending::Thrown(_)
    );
    if ended {
        relay.compare_unmigrated(&session, &ending)?;
    }
    let report = relay.report(&ending, first, wall, calls.shows_results);
    let results = match ending {
        Ending::Returned(values) if calls.shows_results => values,
        _ => Vec::new(),
    };
    Ok((report, results))
}

/// The program's stable points, for the oracle.
fn stops(program: &Program, stable: StablePoints) -> Result<StopSet, CommandError> {
    let mut stops = StopSet::new(&program.module);
    for (func, offset) in
        stable_kinds(&program.wasm, stable).map_err(CommandError::input)?.into_keys()
    {
        stops.insert(func, offset);
    }
    Ok(stops)
}

/// Who executes the program at the moment, and what goes with it.
struct Relay<'a> {
    program: &'a Program,
    sides: &'a [Side],
    /// By side.
    images: &'a [Option<Image>],
    stats: Vec<Option<Stats>>,
    stops: StopSet,
    /// Those still to be made.
    calls: &'a [Called],
    world: World,
    control: &'a Arc<Control>,
    gaps: Gaps,
    liveness: HashMap<FuncIdx, Option<Liveness>>,
    figures: Migration,
    save: Option<PathBuf>,
    fault: Option<RestoreFault>,
    host_calls: u64,
}

/// Where the program stands between two sides.
enum Standing {
    /// Not begun, apart from its instantiation by the oracle.
    Fresh(Box<Instantiated>),
    /// At a stable point.
    Halted(Box<Oracle>, InstanceId, Box<Snapshot>),
}

/// How a side's turn ends.
enum Turn {
    Over(Ending),
    HandOver(Box<Oracle>, InstanceId, Box<Snapshot>),
}

impl Relay<'_> {
    fn run(&mut self, session: &Session<'_>) -> Result<Ending, CommandError> {
        let mut standing = Standing::Fresh(Box::new(session.instantiate()?));
        for side in (0..self.sides.len()).cycle() {
            let turn = match &self.sides[side] {
                Side::Oracle => self.alone(standing)?,
                Side::Native(..) => self.native(side, standing)?,
            };
            standing = match turn {
                Turn::Over(ending) => return Ok(ending),
                Turn::HandOver(oracle, instance, snapshot) => {
                    self.hand_over(&oracle, instance, *snapshot)?
                }
            };
        }
        Err(CommandError::bug("a relay without sides"))
    }

    fn next_call(&mut self) -> Option<Called> {
        let (next, rest) = self.calls.split_first()?;
        self.calls = rest;
        Some(next.clone())
    }

    /// A turn in lockstep.
    fn native(&mut self, side: usize, standing: Standing) -> Result<Turn, CommandError> {
        let Some(image) = &self.images[side] else {
            return Err(CommandError::bug("a side without an image"));
        };
        let taken_by = self.sides[side].name();
        let began = Instant::now();
        let (oracle, instance, snapshot, trap) = match standing {
            Standing::Fresh(fresh) => (fresh.oracle, fresh.instance, None, Some(fresh.trap)),
            Standing::Halted(oracle, instance, snapshot) => {
                (*oracle, instance, Some(snapshot), None)
            }
        };
        let mut gap = self.gaps.next();
        let control = self.control.clone();
        // Calls still to be made while the world is lent to the lockstep.
        let mut calls = self.calls;
        let mut lockstep =
            Lockstep::new(image, oracle, instance, &mut self.world, Requests::default(), control)?;
        lockstep.fault = self.fault.filter(|_| self.figures.fault.is_none());
        let mut progress = match (&snapshot, trap) {
            (Some(snapshot), _) => match lockstep.restore()? {
                Progress::Ended(ending) => Progress::Ended(ending),
                Progress::Paused => {
                    self.figures.restore_s += began.elapsed().as_secs_f64();
                    match lockstep.recapture(snapshot)? {
                        Some(ending) => Progress::Ended(ending),
                        None => lockstep.proceed(gap)?,
                    }
                }
            },
            (None, trap) => match lockstep.instantiate(instance, trap.flatten())? {
                Some(ending) => Progress::Ended(ending),
                None => Progress::Ended(Ending::Returned(Vec::new())),
            },
        };
        while let (Progress::Ended(Ending::Returned(_)), Some((call, rest))) =
            (&progress, calls.split_first())
        {
            calls = rest;
            gap = lockstep.pause.unwrap_or(gap);
            let func = FuncAddr { instance, func: call.func };
            progress = lockstep.call_until(func, &call.args, gap)?;
        }
        let turn = match progress {
            Progress::Ended(ending) => Err(ending),
            Progress::Paused => {
                let began = Instant::now();
                let captured = lockstep.capture()?;
                self.figures.capture_s += began.elapsed().as_secs_f64();
                captured
            }
        };
        if let Some(spoilt) = lockstep.spoilt.take() {
            self.figures.fault = Some(spoilt);
        }
        let (stats, oracle, _) = lockstep.into_parts();
        self.calls = calls;
        self.host_calls += stats.host_calls;
        if let Some(total) = &mut self.stats[side] {
            total.add(&stats);
        }
        Ok(match turn {
            Err(ending) => Turn::Over(ending),
            Ok(captured) => {
                let snapshot = Snapshot {
                    taken_by,
                    modules: vec![self.program.sha256],
                    store: captured.view,
                    dead: captured.dead,
                    host_calls: self.world.calls(),
                    host: Vec::new(),
                };
                Turn::HandOver(Box::new(oracle), instance, Box::new(snapshot))
            }
        })
    }

    /// A turn of the oracle alone.
    fn alone(&mut self, standing: Standing) -> Result<Turn, CommandError> {
        let mut gap = self.gaps.next();
        let (mut oracle, instance, mut event) = match standing {
            Standing::Fresh(fresh) => {
                let Instantiated { oracle, instance, trap } = *fresh;
                if let Some(trap) = trap {
                    return Ok(Turn::Over(Ending::Trapped(trap, None)));
                }
                (oracle, instance, Event::Finished(Vec::new()))
            }
            // The stable point at which it stands is the last hand-over's.
            Standing::Halted(oracle, instance, _) => {
                let mut oracle = *oracle;
                let event = oracle.run(&self.stops, FUEL);
                (oracle, instance, event)
            }
        };
        loop {
            event = match event {
                Event::Boundary if oracle.is_at(&self.stops) => {
                    gap -= 1;
                    if gap == 0 {
                        let began = Instant::now();
                        let snapshot = self.capture_oracle(&mut oracle)?;
                        self.figures.capture_s += began.elapsed().as_secs_f64();
                        return Ok(Turn::HandOver(Box::new(oracle), instance, Box::new(snapshot)));
                    }
                    oracle.run(&self.stops, FUEL)
                }
                Event::Boundary => oracle.run(&self.stops, FUEL),
                Event::OutOfFuel => match self.control.request() {
                    Some(_) => {
                        return Ok(Turn::Over(Ending::Inconclusive {
                            reason: InconclusiveReason::Timeout,
                            detail: "ended while the oracle was executing".to_owned(),
                        }));
                    }
                    None => oracle.run(&self.stops, FUEL),
                },
                Event::Finished(values) => match self.next_call() {
                    None => return Ok(Turn::Over(Ending::Returned(values))),
                    Some(call) => {
                        let func = FuncAddr { instance, func: call.func };
                        oracle.begin_call(func, &call.args).map_err(CommandError::input)?
                    }
                },
                Event::HostCall(_) => {
                    self.host_calls += 1;
                    match serve(&mut oracle, &mut self.world)? {
                        Ok(event) => event,
                        Err(ending) => return Ok(Turn::Over(ending)),
                    }
                }
                other => return Ok(Turn::Over(ended(other))),
            };
        }
    }

    /// The oracle's state, without what is dead.
    fn capture_oracle(&mut self, oracle: &mut Oracle) -> Result<Snapshot, CommandError> {
        let mut store = oracle.view();
        let mut dead = Vec::with_capacity(store.frames.len());
        for frame in &mut store.frames {
            let func = frame.boundary.func;
            let module = &self.program.module;
            let known =
                self.liveness.entry(func).or_insert_with(|| Liveness::compute(module, func));
            // At a call, what is dead before it is dead behind it too.
            let live = known.iter().flat_map(|known| known.slots(frame.boundary.offset));
            let mut flags: Vec<bool> = live.take(frame.locals.len()).map(|live| !live).collect();
            flags.resize(frame.locals.len() + frame.operands.len(), false);
            clear_dead(frame, &flags);
            dead.push(flags);
        }
        Ok(Snapshot {
            taken_by: Side::Oracle.name(),
            modules: vec![self.program.sha256],
            store,
            dead,
            host_calls: self.world.calls(),
            host: Vec::new(),
        })
    }

    /// Through the file: what was captured is written, read and loaded.
    fn hand_over(
        &mut self,
        oracle: &Oracle,
        instance: InstanceId,
        captured: Snapshot,
    ) -> Result<Standing, CommandError> {
        let began = Instant::now();
        let bytes = snapshot::write(&captured);
        let read = snapshot::read(&bytes, MOST_MEMORY).map_err(CommandError::bug)?;
        if read != captured {
            return Err(CommandError::bug("a snapshot that reads otherwise than it was written"));
        }
        self.figures.transfer_s += began.elapsed().as_secs_f64();
        if let Some(path) = &self.save {
            std::fs::write(path, &bytes).map_err(|e| CommandError::file("write", path, e))?;
        }
        let modules: Vec<_> =
            oracle.instances().iter().map(|instance| instance.module.clone()).collect();
        let mut loaded =
            Oracle::load(limits(), &modules, &read.store).map_err(CommandError::bug)?;
        if loaded.view() != read.store {
            return Err(CommandError::bug("the oracle has loaded another view than it was given"));
        }
        let figures = &mut self.figures;
        figures.hand_overs += 1;
        figures.frames += read.store.frames.len() as u64;
        figures.deepest = figures.deepest.max(read.store.frames.len() as u64);
        figures.snapshot_bytes += bytes.len() as u64;
        figures.largest_snapshot = figures.largest_snapshot.max(bytes.len() as u64);
        Ok(Standing::Halted(Box::new(loaded), instance, Box::new(read)))
    }

    /// Runs the program again, unmigrated, over the log of its host calls.
    fn compare_unmigrated(
        &mut self,
        session: &Session<'_>,
        ending: &Ending,
    ) -> Result<(), CommandError> {
        let Instantiated { mut oracle, instance, trap } = session.instantiate()?;
        let mut world = World::replaying(self.world.log().clone(), false);
        let never = StopSet::new(&self.program.module);
        let mut calls = session.calls.list.iter();
        let mut event = match trap {
            Some(trap) => Event::Trapped(trap),
            None => Event::Finished(Vec::new()),
        };
        let again = loop {
            event = match event {
                Event::Boundary | Event::OutOfFuel if self.control.request().is_none() => {
                    oracle.run(&never, FUEL)
                }
                Event::Finished(values) => match calls.next() {
                    None => break Ending::Returned(values),
                    Some(call) => {
                        let func = FuncAddr { instance, func: call.func };
                        oracle.begin_call(func, &call.args).map_err(CommandError::input)?
                    }
                },
                Event::HostCall(_) => match serve(&mut oracle, &mut world)? {
                    Ok(event) => event,
                    Err(ending) => break ending,
                },
                other => break ended(other),
            }
        };
        self.figures.unmigrated = Some(
            match (ending, &again) {
                (Ending::Returned(a), Ending::Returned(b)) => a == b,
                (Ending::Exited(a), Ending::Exited(b)) => a == b,
                (Ending::Trapped(a, _), Ending::Trapped(b, _)) => a == b,
                (Ending::Thrown(_), Ending::Thrown(_)) => true,
                _ => false,
            } && world.remaining() == 0,
        );
        Ok(())
    }

    /// What came of it.
    fn outcome(&self, ending: &Ending, image: &Image) -> Outcome {
        let adopted = self.stats.iter().flatten().any(|stats| !stats.adoptions.is_empty());
        match ending {
            Ending::Diverged(finding) => {
                let witness = Witness {
                    verdict: WitnessVerdict::Cannot,
                    engine: "wasmi".to_owned(),
                    reason: Some("it cannot hand a program over".to_owned()),
                };
                let rerun = run::rerun_command();
                let found =
                    describe::divergence(finding, self.program, image, Some(witness), rerun);
                Outcome::Divergence(Box::new(found))
            }
            Ending::Inconclusive { reason, detail } => {
                Outcome::Inconclusive(Inconclusive { reason: *reason, detail: detail.clone() })
            }
            _ if self.figures.unmigrated == Some(false) => {
                let detail = if adopted {
                    "run again without hand-overs, the program behaves otherwise, perhaps since the oracle had adopted the subject's choices"
                } else {
                    "run again without hand-overs, the program behaves otherwise"
                };
                Outcome::Inconclusive(Inconclusive {
                    reason: InconclusiveReason::Environment,
                    detail: detail.to_owned(),
                })
            }
            _ if self.figures.hand_overs == 0 => Outcome::Inconclusive(Inconclusive {
                reason: InconclusiveReason::Limit,
                detail:
                    "the program ended before it came to the stable point of the first hand-over"
                        .to_owned(),
            }),
            _ => Outcome::Match,
        }
    }

    fn report(
        &self,
        ending: &Ending,
        image: &Image,
        wall: Duration,
        shows_results: bool,
    ) -> Report {
        let (mut exit_code, mut trap) = (None, None);
        match ending {
            Ending::Returned(_) if !shows_results => exit_code = Some(0),
            Ending::Exited(code) => exit_code = Some(*code),
            Ending::Trapped(which, _) => trap = Some(which.text().to_string()),
            Ending::Thrown(_) => trap = Some(run::UNCAUGHT.to_string()),
            _ => {}
        }
        let producer = &image.map.producer;
        let program = reports::Program {
            path: self.program.path.display().to_string(),
            sha256: self.program.sha256_hex(),
            functions: self.program.module.num_funcs(),
            exit_code,
            trap,
        };
        let blank = |outcome| {
            let subject = run::subject(producer, "int3");
            Report::new(run::tool(producer), program.clone(), subject, outcome)
        };
        let mut report = blank(self.outcome(ending, image));
        for (image, stats) in self.images.iter().zip(&self.stats) {
            let (Some(image), Some(stats)) = (image, stats) else { continue };
            let mut side = blank(Outcome::Match);
            let summary = stats.summary(&image.map, |_| &*self.program.module);
            run::fill(&mut side, stats, &summary);
            report.add_figures(&side);
        }
        report.host_calls = self.host_calls;
        let stops = report.boundaries.stops;
        report.time = reports::Time::new(wall, stops, stops);
        report.migration = Some(self.figures.clone());
        run::check(&mut report);
        report
    }
}

/// Answers the host call that the oracle waits for.
fn serve(oracle: &mut Oracle, world: &mut World) -> Result<Result<Event, Ending>, CommandError> {
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
fn ended(event: Event) -> Ending {
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
