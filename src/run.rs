//! `wdiff run`: a program in lockstep, and a verdict.

use crate::availability;
use crate::cli::{BackendArgs, Format, RunArgs};
use crate::compile;
use crate::core_file::CoreRequest;
use crate::describe;
use crate::error::CommandError;
use crate::inject::Fault;
use crate::invoke;
use crate::lockstep::finding::Watch;
use crate::lockstep::stats::{Stats, Summary};
use crate::lockstep::stops::{self, Control, Phase, Where};
use crate::lockstep::{Ending, Finding, follow::Requests};
use crate::output;
use crate::program::{self, Program};
use crate::refuse;
use crate::session::{Executed, Session, Traced};
use crate::watch;
use crate::witness;
use crate::world;
use aot_backend::{Anchors, CompileError, CompileOptions, CpuSpec, Image, Isa};
use dwarf_map::Producer;
use reports::{Inconclusive, InconclusiveReason, Outcome, Report, Witness, WitnessVerdict};
use std::fs::File;
use std::io::{BufReader, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasi_host::{OperationLog, World, WorldConfig};
use wasm_view::Value;

/// How reports name an exception that ends a call, among traps.
pub const UNCAUGHT: &str = "uncaught exception";

/// Runs the subcommand.
///
/// # Errors
/// Whatever ends without a report.
pub fn main(args: &RunArgs) -> Result<u8, CommandError> {
    refuse::run(args)?;
    output::probe(args.output.as_deref())?;
    let control = Control::new();
    let concluded = watch::supervise(&control, args.timeout, || execute(args, &control))?;
    let Concluded { report, results } = concluded;
    let mut out = std::io::stdout().lock();
    for value in results {
        let _ = writeln!(out, "{value}");
    }
    output::report(&report, args.format, args.output.as_deref())?;
    Ok(report.exit_code())
}

/// What is left to print when the subject is gone.
struct Concluded {
    report: Report,
    /// Results of an invoked function.
    results: Vec<Value>,
}

/// The whole run, on the tracing thread.
fn execute(args: &RunArgs, control: &Arc<Control>) -> Result<Concluded, CommandError> {
    let mut program = program::load(&args.program)?;
    let mut compiling = None;
    let mut image = match program.image.take() {
        Some(image) => image,
        None => {
            let mut options = options(&program, &args.backend, args.core.is_some())?;
            options.dump_state = args.paranoid;
            if let Some(core) = &args.core {
                compile::set_listing(&mut options, &CoreRequest::listing_path(core));
            }
            options.apart = compile::apart(args.opt_of.as_deref(), &program)?;
            let began = processor_time();
            let image = compile_with(&program, &options)?;
            compiling = Some(processor_time().saturating_sub(began));
            image
        }
    };
    refuse::run_of(args, &image.map.producer)?;
    refuse::opt_of(args, compiling.is_some())?;
    refuse::paranoid(args.paranoid, &image.map.producer.stable)?;
    refuse::paranoid_image(args.paranoid, &image.map)?;
    if let Some(text) = &args.inject {
        let fault = Fault::parse(text, &program.module, &image)?;
        let injected = fault.inject(&mut image)?;
        output::note(&format!("injected {fault}: {}", injected.change));
    }
    let calls = invoke::calls(&args.world, &program)?;
    let mut places = stops::parse_breaks(&args.breaks, &program, &image.map)?;
    let core = match (&args.core, &args.at) {
        (Some(path), Some(at)) => Some(
            CoreRequest::parse(path, at, &program.module, &image)
                .map_err(|error| error.about("--at"))?,
        ),
        _ => None,
    };
    if let Some(core) = &core {
        core.write_image(&image)?;
    }
    let session = Session { program: &program, image: &image, calls: &calls };
    let mut world = open_world(args, &program, control)?;
    let began = Instant::now();
    let sparse = !places.is_empty() && !args.break_every_insn;
    if sparse && let Some(core) = &core {
        places.push(Where::Boundary(core.at.0, core.at.1));
    }
    let requests = Requests {
        places,
        every: !sparse,
        max_stops: args.max_stops,
        watch: Watch::default(),
        cores: core.into_iter().collect(),
        paranoid: args.paranoid,
        ..Requests::default()
    };
    control.enter(Phase::Comparing);
    let mut executed = session.execute(&mut world, requests, control)?;
    let wall = began.elapsed();
    let early = matches!(executed.ending, Ending::Diverged(_) | Ending::Inconclusive { .. });
    if executed.core_missing && !early {
        return Err(CommandError::input(format_args!(
            "--at {}: the program did not execute that boundary that often; no core written",
            args.at.as_deref().unwrap_or_default()
        )));
    }
    if args.replay.is_some() {
        unfinished_replay(&mut executed, &world);
    }
    control.enter(Phase::Concluding);
    let ran = Ran { wall, compiling, ..conclude(&session, executed, sparse, &world, control)? };
    let results = match &ran.executed.ending {
        Ending::Returned(values) if calls.shows_results => values.clone(),
        _ => Vec::new(),
    };
    Ok(Concluded { report: report(args, &session, &ran), results })
}

/// A replay in which the program ends before the log does is no repetition.
fn unfinished_replay(executed: &mut Executed, world: &World) {
    let ended = matches!(
        executed.ending,
        Ending::Returned(_) | Ending::Exited(_) | Ending::Trapped(..) | Ending::Thrown(_)
    );
    if ended && world.remaining() > 0 {
        let (made, left) = (world.calls(), world.remaining());
        let next = world.log().get(made).map(|entry| entry.function()).unwrap_or_default();
        executed.ending = Ending::Inconclusive {
            reason: InconclusiveReason::Replay,
            detail: format!(
                "the program ended after {made} host calls; the log has {left} more, the next is {next}"
            ),
        };
    }
}

/// Compiles a program as the options say.
///
/// # Errors
/// What the backend does not support, by name and byte offset.
pub fn compile_program(
    program: &Program,
    args: &BackendArgs,
    debug_info: bool,
) -> Result<Image, CommandError> {
    compile_with(program, &options(program, args, debug_info)?)
}

/// Compiles a program with the backend's own options.
///
/// # Errors
/// As [`compile_program`].
pub fn compile_with(program: &Program, options: &CompileOptions) -> Result<Image, CommandError> {
    aot_backend::compile(&program.wasm, options).map_err(|error| {
        let path = program.path.display();
        match error {
            CompileError::Unsupported { offset, feature } => {
                // It may have more to say of what is there.
                let named = program.module.first_beyond(aot_backend::features());
                let named = named.filter(|(at, _)| *at == offset);
                let (offset, feature) = named.unwrap_or((offset, feature));
                CommandError::unsupported(format_args!(
                    "{path}: not supported yet, at byte offset {offset}: {feature}"
                ))
            }
            CompileError::Invalid { .. } => CommandError::input(format_args!("{path}: {error}")),
            CompileError::TooLarge { .. } => {
                CommandError::Inconclusive { reason: "limit", detail: format!("{path}: {error}") }
            }
            CompileError::UnknownCpuFeature { .. } => CommandError::input(error),
            error => CommandError::bug(format_args!("{path}: {error}")),
        }
    })
}

/// The backend's options.
///
/// # Errors
/// An unknown CPU feature.
pub fn options(
    program: &Program,
    args: &BackendArgs,
    debug_info: bool,
) -> Result<CompileOptions, CommandError> {
    options_for(&program.path, args, debug_info)
}

/// The backend's options for what a file holds.
///
/// # Errors
/// As [`options`].
pub fn options_for(
    path: &Path,
    args: &BackendArgs,
    debug_info: bool,
) -> Result<CompileOptions, CommandError> {
    Ok(CompileOptions {
        isa: refuse::target(args)?,
        opt: args.opt.level(),
        anchors: anchors(&args.anchors)?,
        cpu: args
            .cpu
            .parse::<CpuSpec>()
            .map_err(|error| CommandError::input(format_args!("--cpu {}: {error}", args.cpu)))?,
        stable: args.stable,
        debug_info,
        program: path.display().to_string(),
        ..CompileOptions::default()
    })
}

/// Reads `--anchors`.
///
/// # Errors
/// Anything else.
pub fn anchors(text: &str) -> Result<Anchors, CommandError> {
    let known = [Anchors::Trap, Anchors::Srcloc].into_iter().find(|each| each.name() == text);
    known.ok_or_else(|| {
        CommandError::input(format_args!("--anchors {text}: expected one of trap, srcloc"))
    })
}

pub(crate) fn open_world(
    args: &RunArgs,
    program: &Program,
    control: &Control,
) -> Result<World, CommandError> {
    if let Some(path) = &args.replay {
        let file = File::open(path).map_err(|e| CommandError::file("read", path, e))?;
        let bad = |error| CommandError::input(format_args!("{}: {error}", path.display()));
        let log = OperationLog::read(BufReader::new(file)).map_err(bad)?;
        log.check_module(&program.sha256).map_err(bad)?;
        return Ok(World::replaying(log, true));
    }
    let config = WorldConfig {
        cancel: control.cancel.clone(),
        ..world::config(&args.world, &program.path)?
    };
    match &args.record {
        Some(path) => {
            let file = File::create(path).map_err(|e| CommandError::file("write", path, e))?;
            World::recording(config, file, program.sha256)
        }
        None => World::live(config),
    }
    .map_err(CommandError::input)
}

/// A run that has come to an end.
pub struct Ran {
    /// The execution that has the earliest divergence, if there is one.
    pub executed: Executed,
    /// That divergence.
    pub finding: Option<Finding>,
    witness: Option<Witness>,
    /// How long the first execution took.
    pub wall: Duration,
    /// Processor time of the compilation, if there was one.
    compiling: Option<Duration>,
}

impl Ran {
    fn new(executed: Executed, finding: Option<Finding>, witness: Option<Witness>) -> Ran {
        Ran { executed, finding, witness, wall: Duration::ZERO, compiling: None }
    }
}

/// Processor time that this thread has used.
fn processor_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(now).unwrap_or_default()
}

/// For a divergence: finds the boundary at which it arose, if that was passed
/// by or is one of a difference in memory, and asks the second witness.
pub(crate) fn conclude(
    session: &Session<'_>,
    executed: Executed,
    sparse: bool,
    world: &World,
    control: &Arc<Control>,
) -> Result<Ran, CommandError> {
    if !matches!(executed.ending, Ending::Diverged(_)) {
        return Ok(Ran::new(executed, None, None));
    }
    let log = world.log();
    let Traced { mut executed, lost } = session.trace_back(executed, sparse, log, control)?;
    let Ending::Diverged(finding) = &mut executed.ending else {
        return Err(CommandError::bug("a divergence vanished"));
    };
    let mut finding = finding.as_ref().clone();
    match lost {
        // Between stops nobody sees a freedom being used.
        Some(freedoms) if sparse && !freedoms.is_empty() => {
            executed.ending = Ending::Inconclusive {
                reason: InconclusiveReason::Limit,
                detail: format!(
                    "{}, but not with --break-every-insn, which adopts what the specification leaves open: {}",
                    finding.what,
                    freedoms.join(", ")
                ),
            };
            return Ok(Ran::new(executed, None, None));
        }
        Some(_) => {
            finding.what.push_str("; the replay to its exact boundary did not find it again");
        }
        None => {}
    }
    let event = executed.event.clone();
    // Whoever was followed less closely may have gone on for a while: the witness
    // is to come to where this one stands.
    let log = log.first(executed.stats.host_calls);
    let mut witness = witness::ask(
        session.program,
        &log,
        &executed.calls,
        &mut executed.oracle,
        executed.instance,
        event,
    );
    // The oracle then holds what the subject chose, the witness what it chose.
    if !executed.stats.adoptions.is_empty() && witness.verdict == WitnessVerdict::Contradicts {
        witness.verdict = WitnessVerdict::Cannot;
        let why = witness.reason.take().unwrap_or_default();
        witness.reason =
            Some(format!("{why}, perhaps since the oracle adopted the subject's choices"));
    }
    Ok(Ran::new(executed, Some(finding), Some(witness)))
}

/// Builds the report of a run.
pub(crate) fn report(args: &RunArgs, session: &Session<'_>, ran: &Ran) -> Report {
    let producer = &session.image.map.producer;
    let executed = &ran.executed;
    let (mut exit_code, mut trap) = (None, None);
    match &executed.ending {
        Ending::Returned(_) if !session.calls.shows_results => exit_code = Some(0),
        Ending::Exited(code) => exit_code = Some(*code),
        Ending::Trapped(which, _) => trap = Some(which.text().to_string()),
        Ending::Thrown(_) => trap = Some(UNCAUGHT.to_string()),
        _ => {}
    }
    let program = reports::Program {
        path: session.program.path.display().to_string(),
        sha256: session.program.sha256_hex(),
        functions: session.program.module.num_funcs(),
        exit_code,
        trap,
    };
    let outcome = match (&executed.ending, &ran.finding) {
        (_, Some(finding)) => Outcome::Divergence(Box::new(describe::divergence(
            finding,
            session.program,
            session.image,
            ran.witness.clone(),
            rerun_command(),
        ))),
        (Ending::Inconclusive { reason, detail }, None) => {
            Outcome::Inconclusive(Inconclusive { reason: *reason, detail: detail.clone() })
        }
        _ => Outcome::Match,
    };
    let mut report = Report::new(tool(producer), program, subject(producer, &args.engine), outcome);
    fill(&mut report, &executed.stats, &executed.summary);
    let stats = &executed.stats;
    report.time = reports::Time::new(ran.wall, stats.stops, stats.stops);
    if let Some(compiling) = ran.compiling {
        report.time = report.time.compiled_in(compiling);
    }
    report.code = Some(availability::code(&session.image.map));
    if args.functions || args.format == Format::Html {
        let module = &session.program.module;
        let all = availability::functions(&session.image.map, &executed.stats, |_| (0, module));
        report.functions = Some(all);
    }
    check(&mut report);
    report
}

/// What verified, as reports name it.
pub fn tool(producer: &Producer) -> reports::Tool {
    reports::Tool {
        version: env!("CARGO_PKG_VERSION").to_string(),
        cranelift: Some(producer.version.clone()),
        cpu_features: producer.cpu_features.clone(),
    }
}

/// What halts the subject: code of another instruction set implies the emulator where nobody
/// asked for another engine. One that is asked for stays, to be refused by name.
pub fn engine_for(target: Isa, asked: &str) -> &str {
    if target != Isa::X86_64 && asked == "int3" { "rsp" } else { asked }
}

/// What was verified, as reports name it.
pub fn subject(producer: &Producer, engine: &str) -> reports::Subject {
    let foreign = producer.target != Isa::X86_64;
    let sandbox = if foreign { "none" } else { "seccomp" };
    reports::Subject {
        backend: producer.backend.clone(),
        opt: producer.opt.clone(),
        stable: producer.stable.clone(),
        target: producer.target.name().to_owned(),
        engine: engine_for(producer.target, engine).to_string(),
        anchors: producer.anchors.clone(),
        sandbox: sandbox.to_string(),
    }
}

/// A report whose figures do not add up has no verdict.
pub fn check(report: &mut Report) {
    if let Err(broken) = report.check_invariants() {
        let why = Inconclusive {
            reason: InconclusiveReason::Environment,
            detail: format!("wdiff's own figures do not add up: {broken}"),
        };
        report.set_outcome(Outcome::Inconclusive(why));
    }
}

/// The figures of an execution.
pub fn fill(report: &mut Report, stats: &Stats, summary: &Summary) {
    report.boundaries = reports::Boundaries {
        r#static: summary.boundaries,
        anchored: summary.anchored,
        merged: summary.merged,
        threaded: summary.threaded,
        eliminated: summary.eliminated,
        executed: stats.boundaries,
        stops: stats.stops,
        longest_merged_run: stats.longest_run,
    };
    let compared = summary.all.compared();
    report.values = reports::Values {
        compared,
        equal: compared.saturating_sub(stats.wrong),
        wrong: stats.wrong,
        located: summary.all.located,
        derived: summary.all.derived,
        constant: summary.all.constant,
        unavailable: summary.all.unavailable,
        reasons: summary.reasons.clone(),
        live: reports::Live {
            located: summary.live.located,
            derived: summary.live.derived,
            constant: summary.live.constant,
            unavailable: summary.live.unavailable,
        },
    };
    report.adoptions =
        stats.adoptions.iter().map(|(name, count)| ((*name).to_string(), *count)).collect();
    report.stable_points = reports::StablePoints {
        r#static: summary.stable,
        executed: summary.stable_executed,
        full: summary.stable_full,
        unavailable_live: summary.stable_unavailable,
        walks: stats.walks,
        walked: stats.walked,
        witnessed: stats.witnessed,
        restored: stats.restored,
    };
    report.memory =
        reports::Memory { bytes_compared: stats.memory_bytes, deferred: stats.deferred };
    report.host_calls = stats.host_calls;
}

/// This command line.
pub fn rerun_command() -> Vec<String> {
    std::iter::once("wdiff".to_string()).chain(std::env::args().skip(1)).collect()
}
