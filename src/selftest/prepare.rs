//! A program made ready to have faults put into it.
//!
//! It is compiled once and run once as it is: in lockstep, which must end in a
//! match and leaves the log that answers all later runs, and alone, which says
//! which boundaries execution comes to and in what order. Everything after
//! that changes copies of the image.

use super::machine::{End, Machine, Seen};
use super::watchdog::Watchdog;
use crate::cli::{BackendArgs, Cli, Command, RunArgs, WorldArgs};
use crate::error::CommandError;
use crate::invoke::{self, Calls};
use crate::lockstep::follow::Requests;
use crate::lockstep::plan::{BoundaryId, Plan, Site};
use crate::lockstep::stops::Control;
use crate::lockstep::{Ending, Finding};
use crate::program::{self, Program};
use crate::run;
use crate::session::Session;
use crate::world;
use aot_backend::{Image, StablePoints};
use clap::Parser;
use std::collections::HashSet;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasi_host::{OperationLog, Output, Stdin, World};
use wasm_view::{InternalRef, Value};

/// What an execution may take, as a multiple of what it took to run the program as
/// it is, in lockstep and alone: a fault may make code endless. Judging one takes
/// several passes with whole stores compared in between, none of them as long as this.
const PATIENCE: u32 = 40;
/// Within these bounds: the shortest programs take some milliseconds, which says
/// nothing about a machine that has other things to do.
const PATIENCE_BOUNDS: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(300));

/// A program of the self-test: how `wdiff run` would run it.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its name in the table: that in the corpus, or the path.
    pub name: String,
    /// `PROG` and its options, as `wdiff run` takes them.
    arguments: Vec<OsString>,
}

impl Candidate {
    /// A program of the corpus.
    ///
    /// # Errors
    /// A program that is given directories: it writes there, and a command line
    /// that runs it again would find them changed.
    pub fn of_corpus(program: &corpus::Program) -> Result<Candidate, CommandError> {
        if !program.dirs.is_empty() {
            return Err(CommandError::unsupported(format_args!(
                "{}: faults are not put into programs that are given directories",
                program.name
            )));
        }
        let mut arguments: Vec<OsString> = vec![program.wasm_path().into()];
        for pair in &program.env {
            arguments.extend(["--env".into(), pair.into()]);
        }
        if let Some(file) = &program.stdin {
            arguments.extend(["--stdin".into(), corpus::path(file).into_os_string()]);
        }
        let rest: Vec<OsString> = match &program.invoke {
            Some(invoke) => {
                arguments.extend(["--invoke".into(), (&invoke.function).into()]);
                invoke.params.iter().map(parameter).collect()
            }
            None => program.args.iter().map(OsString::from).collect(),
        };
        if !rest.is_empty() {
            arguments.push("--".into());
            arguments.extend(rest);
        }
        Ok(Candidate { name: program.name.clone(), arguments })
    }

    /// A program from a file, and what it is given. What it does to directories it
    /// does once: later executions are answered from the log of the first.
    pub fn of_path(path: &Path, world: &WorldArgs) -> Candidate {
        Candidate { name: path.display().to_string(), arguments: world.command_line(path) }
    }

    /// The command line that runs it with a fault.
    pub fn rerun(&self, fault: &str, backend: &BackendArgs) -> Vec<String> {
        let mut words: Vec<String> =
            ["wdiff", "run", "--inject", fault].map(str::to_string).to_vec();
        if backend.opt != crate::cli::Opt::None {
            words.extend(["--opt".into(), backend.opt.as_str().into()]);
        }
        if backend.stable != StablePoints::Off {
            words.extend(["--stable".into(), backend.stable.name().into()]);
        }
        if backend.cpu != "native" {
            words.extend(["--cpu".into(), backend.cpu.clone()]);
        }
        words.extend(self.arguments.iter().map(|word| word.to_string_lossy().into_owned()));
        words
    }

    /// The options of `wdiff run`.
    fn options(&self) -> Result<RunArgs, CommandError> {
        let words = ["wdiff", "run"].map(OsString::from).into_iter();
        match Cli::try_parse_from(words.chain(self.arguments.iter().cloned())).map(|c| c.command) {
            Ok(Command::Run(args)) => Ok(*args),
            Ok(_) => Err(CommandError::bug("`run` is not run")),
            Err(error) => Err(CommandError::input(format_args!("{}: {error}", self.name))),
        }
    }
}

/// A value as `--invoke` reads it.
fn parameter(value: &Value) -> OsString {
    match value {
        Value::ExternRef(Some(InternalRef::Host(handle))) => handle.to_string().into(),
        Value::FuncRef(_) | Value::ExternRef(_) => "null".into(),
        number => number.hex().into(),
    }
}

/// A program that matches, and what its executions have in common.
pub struct Prepared {
    /// Where it came from.
    pub candidate: Candidate,
    /// The program.
    pub program: Program,
    /// Its code and map, without a fault.
    pub image: Image,
    /// What is called.
    pub calls: Calls,
    /// The host's answers.
    pub log: OperationLog,
    /// The boundaries in the order of their execution.
    pub trace: Vec<BoundaryId>,
    /// Those that are executed, each once, in the order of the map.
    pub executed: Vec<BoundaryId>,
    /// Freedoms of the specification that it uses by itself.
    pub adoptions: u64,
    /// What an execution with a fault may take at most.
    pub patience: Duration,
}

/// Compiles a program and runs it as it is.
///
/// # Errors
/// A program that does not match as it is has nothing to say about faults.
pub fn prepare(
    candidate: &Candidate,
    backend: &BackendArgs,
    all: &Arc<Control>,
) -> Result<Prepared, CommandError> {
    let args = candidate.options()?;
    let mut program = program::load(&args.program)?;
    let image = match program.image.take() {
        Some(image) => image,
        None => run::compile_program(&program, backend, false)?,
    };
    let calls = invoke::calls(&args.world, &program)?;
    let mut config = world::config(&args.world, &program.path)?;
    if args.world.stdin.is_none() {
        config.stdin = Stdin::Empty;
    }
    (config.stdout, config.stderr) = (Output::Discard, Output::Discard);
    let mut world = World::live(config).map_err(CommandError::input)?;
    let session = Session { program: &program, image: &image, calls: &calls };
    let control = Control::new();
    let began = Instant::now();
    let watchdog = Watchdog::new(all, &[&control], PATIENCE_BOUNDS.1);
    let executed = session.execute(&mut world, Requests::default(), &control)?;
    drop(watchdog);
    unchanged(&candidate.name, &executed.ending)?;
    let log = world.log().clone();
    let trace = trace(&session, &log, all)?;
    if trace.len() as u64 != executed.stats.stops {
        return Err(CommandError::bug(format_args!(
            "{}: {} stops in lockstep, {} alone",
            candidate.name,
            executed.stats.stops,
            trace.len()
        )));
    }
    let adoptions = executed.stats.adoptions.values().sum();
    let candidate = candidate.clone();
    let (shortest, longest) = PATIENCE_BOUNDS;
    let patience = (began.elapsed() * PATIENCE).clamp(shortest, longest);
    let executed = each_once(&trace);
    Ok(Prepared { candidate, program, image, calls, log, trace, executed, adoptions, patience })
}

/// The boundaries of a trace, each once, in the order of the map.
pub fn each_once(trace: &[BoundaryId]) -> Vec<BoundaryId> {
    let all: HashSet<BoundaryId> = trace.iter().copied().collect();
    let mut all: Vec<BoundaryId> = all.into_iter().collect();
    all.sort_unstable_by_key(|id| (id.function, id.index));
    all
}

/// Refuses an ending that is no match.
fn unchanged(name: &str, ending: &Ending) -> Result<(), CommandError> {
    let why = match ending {
        Ending::Returned(_)
        | Ending::Exited(_)
        | Ending::Thrown(_)
        | Ending::Trapped(_, Some(_)) => return Ok(()),
        Ending::Trapped(trap, None) => format!("its instantiation traps: {trap}"),
        Ending::Diverged(finding) => diverges(finding),
        Ending::Inconclusive { detail, .. } => detail.clone(),
    };
    Err(CommandError::Inconclusive {
        reason: "unusable",
        detail: format!("{name}: without any fault, {why}"),
    })
}

fn diverges(finding: &Finding) -> String {
    format!(
        "it diverges at {} of function {}: {}",
        finding.at.offset, finding.at.func, finding.what
    )
}

/// The boundaries that the program executes, in order.
fn trace(
    session: &Session<'_>,
    log: &OperationLog,
    all: &Arc<Control>,
) -> Result<Vec<BoundaryId>, CommandError> {
    let control = Control::new();
    let _watchdog = Watchdog::new(all, &[&control], PATIENCE_BOUNDS.1);
    let plan = Plan::new(session.image)?;
    let mut machine = Machine::new(session, log, &control)?;
    let mut trace = Vec::new();
    loop {
        match machine.run_on(&plan)? {
            Seen::Trap(pc) => match plan.site(pc.at(session.image.text_address)) {
                Some(Site::Boundary(id)) => trace.push(id),
                _ => return Err(CommandError::bug("a stop at no boundary")),
            },
            Seen::Over(End::Stuck) => {
                return Err(CommandError::Inconclusive {
                    reason: "timeout",
                    detail: "the program without a fault did not end in time".into(),
                });
            }
            _ => return Ok(trace),
        }
    }
}
