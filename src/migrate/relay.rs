//! A relay: sides that take turns with one program.
//!
//! Each side's subject lives as long as the relay: what it is given is written
//! over what it had, page by page where they differ. Only where a memory would
//! have to shrink, which none can, another subject takes its place.

use super::alone::{ended, serve};
use super::{Gaps, Setup, Side};
use crate::describe;
use crate::error::CommandError;
use crate::lockstep::finding::Watch;
use crate::lockstep::follow::{Host, Requests};
use crate::lockstep::handover::{Progress, RestoreFault, RestoreFaultKind, clear_dead};
use crate::lockstep::stats::Stats;
use crate::lockstep::stops::Control;
use crate::lockstep::{Ending, Finding, Lockstep};
use crate::migrate::MOST_MEMORY;
use crate::run;
use crate::session::{Instantiated, limits};
use crate::witness::Called;
use aot_backend::Image;
use oracle_interp::{Event, Liveness, Oracle};
use reports::{
    Divergence, DivergenceKind, Inconclusive, InconclusiveReason, Migration, Outcome, Report,
    Witness, WitnessVerdict,
};
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasi_host::{World, WorldConfig, WorldState};
use wasm_view::snapshot::{self, Snapshot};
use wasm_view::{Frame, FuncAddr, FuncIdx, InstanceId};

/// Boundaries that the oracle executes before it looks up.
const PATIENCE: u64 = 1 << 20;

/// What a relay is to do.
pub struct Asked {
    /// When to hand over.
    pub gaps: Gaps,
    /// How often at most.
    pub most: u64,
    /// Where to write the last snapshot.
    pub save: Option<PathBuf>,
    /// Whether to end at the first hand-over.
    pub halt: bool,
    /// What to do wrong once.
    pub fault: Option<RestoreFault>,
    /// Whether to end when the program has been restored for the first time.
    pub ends_restored: bool,
}

impl Default for Asked {
    fn default() -> Asked {
        Asked {
            gaps: Gaps::Never,
            most: u64::MAX,
            save: None,
            halt: false,
            fault: None,
            ends_restored: false,
        }
    }
}

/// Where the program stands between two sides.
pub enum Standing {
    /// Not begun, apart from its instantiation by the oracle.
    Fresh(Box<Instantiated>),
    /// At a stable point.
    Halted(Box<Oracle>, InstanceId, Box<Snapshot>),
}

/// How a side's turn ends.
enum Turn {
    Over(Ending),
    HandOver(InstanceId, Box<Snapshot>),
    /// As far as was asked.
    Enough,
}

/// Who executes the program at the moment, and what goes with it.
pub struct Relay<'a> {
    setup: &'a Setup<'a>,
    world: &'a RefCell<World>,
    config: WorldConfig,
    control: &'a Arc<Control>,
    /// By side, once it has had a turn.
    executors: Vec<Option<Lockstep<'a>>>,
    /// Of executors that are gone, by side.
    stats: Vec<Option<Stats>>,
    /// Those still to be made.
    calls: &'a [Called],
    asked: Asked,
    liveness: HashMap<FuncIdx, Option<Liveness>>,
    /// What came of it.
    pub figures: Migration,
    /// Host calls that the oracle made.
    host_calls: u64,
}

impl<'a> Relay<'a> {
    /// A relay that has not begun. `config` is what the world was made from.
    pub fn new(
        setup: &'a Setup<'a>,
        world: &'a RefCell<World>,
        config: WorldConfig,
        control: &'a Arc<Control>,
        asked: Asked,
    ) -> Relay<'a> {
        Relay {
            setup,
            world,
            config,
            control,
            executors: setup.sides.iter().map(|_| None).collect(),
            stats: setup
                .images
                .iter()
                .map(|image| image.as_ref().map(|i| Stats::new(&i.map)))
                .collect(),
            calls: &[],
            asked,
            liveness: HashMap::new(),
            figures: Migration {
                relay: setup.sides.iter().map(|side| side.name()).collect(),
                stable: setup.stable.name().to_owned(),
                ..Migration::default()
            },
            host_calls: 0,
        }
    }

    /// Asks for something else from now on.
    pub fn ask(&mut self, asked: Asked) {
        self.asked = asked;
        self.figures.fault = None;
    }

    /// Runs a program from where it stands, beginning with a side. Answers `None`
    /// if it ends as far as was asked, before the program does.
    ///
    /// # Errors
    /// What has no verdict.
    pub fn run(
        &mut self,
        standing: Standing,
        first: usize,
        calls: &'a [Called],
    ) -> Result<Option<Ending>, CommandError> {
        self.calls = calls;
        let mut standing = standing;
        let count = self.setup.sides.len();
        for side in (0..count).cycle().skip(first) {
            let turn = match &self.setup.sides[side] {
                Side::Oracle => self.alone(standing)?,
                Side::Native(..) => self.native(side, standing)?,
            };
            standing = match turn {
                Turn::Over(ending) => return Ok(Some(ending)),
                Turn::Enough => return Ok(None),
                Turn::HandOver(instance, snapshot) => match self.hand_over(instance, *snapshot)? {
                    Ok(standing) if !self.asked.halt => standing,
                    Ok(_) => return Ok(None),
                    Err(ending) => return Ok(Some(ending)),
                },
            };
        }
        Err(CommandError::bug("a relay without sides"))
    }

    fn next_gap(&mut self) -> u64 {
        match self.figures.hand_overs < self.asked.most {
            true => self.asked.gaps.next(),
            false => u64::MAX,
        }
    }

    /// A turn in lockstep.
    fn native(&mut self, side: usize, standing: Standing) -> Result<Turn, CommandError> {
        let setup = self.setup;
        let image = match &standing {
            Standing::Fresh(_) => setup.images[side].as_ref(),
            Standing::Halted(_, _, snapshot) => {
                let frames = snapshot.store.frames.iter();
                let functions = frames.map(|frame| frame.boundary.func).collect();
                Some(setup.landing(side, &functions)?)
            }
        };
        let Some(image) = image else {
            return Err(CommandError::bug("a side without an image"));
        };
        let began = Instant::now();
        let (mut oracle, instance, snapshot, trap) = match standing {
            Standing::Fresh(fresh) => (fresh.oracle, fresh.instance, None, Some(fresh.trap)),
            Standing::Halted(oracle, instance, snapshot) => {
                (*oracle, instance, Some(snapshot), None)
            }
        };
        let mut gap = self.next_gap();
        let ready = match self.executors[side].take() {
            Some(ready)
                if snapshot.is_some() && ready.runs(image) && ready.has_room_for(&oracle) =>
            {
                Some(ready)
            }
            Some(other) => {
                self.retire(side, other);
                None
            }
            None => None,
        };
        let mut lockstep = match ready {
            Some(mut ready) => {
                ready.exchange_oracle(&mut oracle);
                ready
            }
            None => {
                let (host, control) = (Host::Shared(self.world), self.control.clone());
                let places = self.setup.places.clone();
                let requests = Requests { places, ..Requests::default() };
                Lockstep::new(image, oracle, instance, host, requests, control)?
            }
        };
        let fault = self.asked.fault.filter(|fault| fault.kind != RestoreFaultKind::Fd);
        lockstep.fault = fault.filter(|_| self.figures.fault.is_none());
        let mut progress = match (&snapshot, trap) {
            (Some(snapshot), _) => match lockstep.restore()? {
                Progress::Ended(ending) => Progress::Ended(ending),
                Progress::Paused => {
                    self.figures.restore_s += began.elapsed().as_secs_f64();
                    match lockstep.recapture(snapshot)? {
                        Some(ending) => Progress::Ended(ending),
                        None if self.asked.ends_restored => {
                            self.figures.fault =
                                self.figures.fault.take().or(lockstep.spoilt.take());
                            self.keep(side, lockstep);
                            return Ok(Turn::Enough);
                        }
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
            (&progress, self.calls.split_first())
        {
            self.calls = rest;
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
        // A subject that went astray is in a state that nobody knows.
        match &turn {
            Err(Ending::Diverged(_)) => self.retire(side, lockstep),
            _ => self.keep(side, lockstep),
        }
        match turn {
            Err(ending) => Ok(Turn::Over(ending)),
            Ok(captured) => {
                let taken_by = self.setup.sides[side].name();
                self.halted(instance, taken_by, captured.view, captured.dead)
            }
        }
    }

    /// Keeps an executor for its side's next turn.
    fn keep(&mut self, side: usize, lockstep: Lockstep<'a>) {
        if let Some(old) = self.executors[side].replace(lockstep) {
            self.retire(side, old);
        }
    }

    /// Ends a subject; its figures stay.
    fn retire(&mut self, side: usize, lockstep: Lockstep<'a>) {
        let (stats, _, _) = lockstep.into_parts();
        if let Some(total) = &mut self.stats[side] {
            total.add(&stats);
        }
    }

    /// A snapshot of a program that stands at a stable point, with all that it
    /// has open.
    fn halted(
        &mut self,
        instance: InstanceId,
        taken_by: String,
        mut store: wasm_view::StoreView,
        dead: Vec<Vec<bool>>,
    ) -> Result<Turn, CommandError> {
        // What only dead slots refer to is gone.
        store.collect();
        let world = self.world.borrow();
        let state = match world.state() {
            Ok(state) => state,
            Err(error) => {
                return Ok(Turn::Over(Ending::Inconclusive {
                    reason: InconclusiveReason::Unsupported,
                    detail: format!("the program cannot be handed over where it stands: {error}"),
                }));
            }
        };
        let call = |call: &Called| (FuncAddr { instance, func: call.func }, call.args.clone());
        let snapshot = Snapshot {
            taken_by,
            modules: vec![self.setup.program.sha256],
            store,
            dead,
            next: self.calls.iter().map(call).collect(),
            host_calls: world.calls(),
            host: state.map(|state| state.encode()).unwrap_or_default(),
        };
        Ok(Turn::HandOver(instance, Box::new(snapshot)))
    }

    /// A turn of the oracle alone.
    fn alone(&mut self, standing: Standing) -> Result<Turn, CommandError> {
        let mut gap = self.next_gap();
        let stops = &self.setup.stops;
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
                if self.asked.ends_restored {
                    return Ok(Turn::Enough);
                }
                let mut oracle = *oracle;
                let event = oracle.step();
                (oracle, instance, event)
            }
        };
        let mut executed = 0;
        loop {
            if let Some(choice) = oracle.choice() {
                let name = choice.kind.name().to_owned();
                *self.figures.choices.entry(name).or_default() += 1;
            }
            event = match event {
                Event::Boundary => {
                    if oracle.is_at(stops) {
                        gap -= 1;
                        if gap == 0 {
                            let began = Instant::now();
                            let (store, dead) = self.capture_oracle(&mut oracle);
                            self.figures.capture_s += began.elapsed().as_secs_f64();
                            return self.halted(instance, Side::Oracle.name(), store, dead);
                        }
                    }
                    executed += 1;
                    if executed % PATIENCE == 0 && self.control.request().is_some() {
                        return Ok(Turn::Over(Ending::Inconclusive {
                            reason: InconclusiveReason::Timeout,
                            detail: "ended while the oracle was executing".to_owned(),
                        }));
                    }
                    oracle.step()
                }
                Event::Finished(values) => match self.calls.split_first() {
                    None => return Ok(Turn::Over(Ending::Returned(values))),
                    Some((call, rest)) => {
                        self.calls = rest;
                        let func = FuncAddr { instance, func: call.func };
                        oracle.begin_call(func, &call.args).map_err(CommandError::input)?
                    }
                },
                Event::HostCall(_) => {
                    self.host_calls += 1;
                    match serve(&mut oracle, &mut self.world.borrow_mut())? {
                        Ok(event) => event,
                        Err(ending) => return Ok(Turn::Over(ending)),
                    }
                }
                other => return Ok(Turn::Over(ended(other))),
            };
        }
    }

    /// The oracle's state, without what is dead.
    fn capture_oracle(&mut self, oracle: &mut Oracle) -> (wasm_view::StoreView, Vec<Vec<bool>>) {
        let mut store = oracle.view();
        let mut dead = Vec::with_capacity(store.frames.len());
        for frame in &mut store.frames {
            let func = frame.boundary.func;
            let module = &self.setup.program.module;
            let known =
                self.liveness.entry(func).or_insert_with(|| Liveness::compute(module, func));
            let flags = dead_slots(known.as_ref(), frame);
            clear_dead(frame, &flags);
            dead.push(flags);
        }
        (store, dead)
    }

    /// Through the file: what was captured is written, read and loaded, and all
    /// that the program has open is opened again.
    fn hand_over(
        &mut self,
        instance: InstanceId,
        captured: Snapshot,
    ) -> Result<Result<Standing, Ending>, CommandError> {
        let began = Instant::now();
        let bytes = snapshot::write(&captured);
        let read = snapshot::read(&bytes, MOST_MEMORY).map_err(CommandError::bug)?;
        if read != captured {
            return Err(CommandError::bug("a snapshot that reads otherwise than it was written"));
        }
        self.figures.transfer_s += began.elapsed().as_secs_f64();
        if let Some(path) = &self.asked.save {
            std::fs::write(path, &bytes).map_err(|e| CommandError::file("write", path, e))?;
        }
        let modules = vec![Arc::clone(&self.setup.program.module); read.modules.len()];
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
        if !read.host.is_empty() && !self.asked.halt {
            let began = Instant::now();
            if let Some(ending) = self.reopen(&read)? {
                return Ok(Err(ending));
            }
            self.figures.restore_s += began.elapsed().as_secs_f64();
        }
        Ok(Ok(Standing::Halted(Box::new(loaded), instance, Box::new(read))))
    }

    /// Closes what the program has open, and opens it again as the snapshot says.
    fn reopen(&mut self, snapshot: &Snapshot) -> Result<Option<Ending>, CommandError> {
        let expected = WorldState::decode(&snapshot.host).map_err(CommandError::bug)?;
        let mut given = expected.clone();
        let fault = self.asked.fault.filter(|fault| fault.kind == RestoreFaultKind::Fd);
        if let Some(fault) = fault.filter(|_| self.figures.fault.is_none()) {
            self.figures.fault = given.misplace(fault.seed);
        }
        let mut world = self.world.borrow_mut();
        if let Err(error) = world.reopen(&given, self.config.clone()) {
            return Ok(Some(Ending::Inconclusive {
                reason: InconclusiveReason::Unsupported,
                detail: format!("what the program has open cannot be opened again: {error}"),
            }));
        }
        let actual = world.state().map_err(CommandError::host)?;
        let difference = actual.and_then(|actual| expected.difference(&actual));
        Ok(difference.map(|what| {
            let frames: Vec<_> =
                snapshot.store.frames.iter().rev().map(|frame| frame.boundary).collect();
            let what = format!("what the program has open differs after restoring: {what}");
            Ending::Diverged(Box::new(Finding {
                kind: DivergenceKind::Snapshot,
                at: frames[0],
                after: None,
                index: 0,
                what,
                slots: Vec::new(),
                native_pc: None,
                expected_state: Vec::new(),
                actual_state: Vec::new(),
                frames,
                recent: Vec::new(),
                watch: Watch::default(),
            }))
        }))
    }

    /// What came of it.
    fn outcome(&self, ending: Option<&Ending>, image: &Image, adopted: bool) -> Outcome {
        match ending {
            Some(Ending::Diverged(finding)) => {
                let witness = Witness {
                    verdict: WitnessVerdict::Cannot,
                    engine: "wasmi".to_owned(),
                    reason: Some("it cannot hand a program over".to_owned()),
                };
                let rerun = run::rerun_command();
                let program = self.setup.program;
                let found = describe::divergence(finding, program, image, Some(witness), rerun);
                Outcome::Divergence(Box::new(found))
            }
            Some(Ending::Inconclusive { reason, detail }) => {
                Outcome::Inconclusive(Inconclusive { reason: *reason, detail: detail.clone() })
            }
            _ if self.figures.unmigrated == Some(false) && adopted => {
                Outcome::Inconclusive(Inconclusive {
                    reason: InconclusiveReason::Environment,
                    detail: "run again without hand-overs, the program behaves otherwise, perhaps since the oracle had adopted the subject's choices".to_owned(),
                })
            }
            _ if self.figures.unmigrated == Some(false) => {
                let mut divergence = Divergence::new(DivergenceKind::Exit);
                divergence.summary =
                    "run again without hand-overs, the program behaves otherwise".to_owned();
                divergence.rerun = Some(run::rerun_command());
                Outcome::Divergence(Box::new(divergence))
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

    /// The report; `image` is one side's.
    pub fn report(
        &mut self,
        ending: Option<&Ending>,
        image: &Image,
        wall: Duration,
        shows_results: bool,
    ) -> Report {
        for side in 0..self.executors.len() {
            if let Some(executor) = self.executors[side].take() {
                self.retire(side, executor);
            }
        }
        let (mut exit_code, mut trap) = (None, None);
        match ending {
            Some(Ending::Returned(_)) if !shows_results => exit_code = Some(0),
            Some(Ending::Exited(code)) => exit_code = Some(*code),
            Some(Ending::Trapped(which, _)) => trap = Some(which.text().to_string()),
            Some(Ending::Thrown(_)) => trap = Some(run::UNCAUGHT.to_string()),
            _ => {}
        }
        let producer = &image.map.producer;
        let program = reports::Program {
            path: self.setup.program.path.display().to_string(),
            sha256: self.setup.program.sha256_hex(),
            functions: self.setup.program.module.num_funcs(),
            exit_code,
            trap,
        };
        let blank = |outcome| {
            let subject = run::subject(producer, "int3");
            Report::new(run::tool(producer), program.clone(), subject, outcome)
        };
        let adopted = self.stats.iter().flatten().any(|stats| !stats.adoptions.is_empty());
        let mut report = blank(self.outcome(ending, image, adopted));
        let mut host_calls = self.host_calls;
        for (image, stats) in self.setup.images.iter().zip(&self.stats) {
            let (Some(image), Some(stats)) = (image, stats) else { continue };
            let mut side = blank(Outcome::Match);
            let summary = stats.summary(&image.map, |_| &*self.setup.program.module);
            run::fill(&mut side, stats, &summary);
            report.add_figures(&side);
            host_calls += stats.host_calls;
        }
        report.host_calls = host_calls;
        let stops = report.boundaries.stops;
        report.time = reports::Time::new(wall, stops, stops);
        report.migration = Some(self.figures.clone());
        run::check(&mut report);
        report
    }
}

/// Which slots of a frame are dead, by the analysis of its function. At a call,
/// what is dead before it is dead behind it too; operands never are.
pub fn dead_slots(known: Option<&Liveness>, frame: &Frame) -> Vec<bool> {
    let live = known.into_iter().flat_map(|known| known.slots(frame.boundary.offset));
    let mut flags: Vec<bool> = live.take(frame.locals.len()).map(|live| !live).collect();
    flags.resize(frame.locals.len() + frame.operands.len(), false);
    flags
}
