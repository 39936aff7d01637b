//! `wdiff fuzz`: generated modules in lockstep.
//!
//! A case is all that a seed determines: a module, how it is compiled (how well
//! optimised, with traps or as it ships, for which CPU features, with which
//! stable points) and what is called with which arguments ([`draw`]). Its image
//! goes through the static checker, then every exported function runs in
//! lockstep up to a number of stops ([`execute`]). Generated programs mean
//! nothing and terminate or trap by chance; what they are good for is that
//! nobody chose what they do.
//!
//! Seeds are worked on in batches, by one thread per CPU, each with subjects
//! of its own; between batches the figures are added up in the order of the
//! seeds and written down, so the same command says the same on every machine.
//! What goes wrong is written to a directory: the module, and beside it what
//! was found and the commands that show it again. [`run_case`] does the work
//! for the command, for the tests, which let it run into damaged images, and for
//! fuzzers that are guided by coverage, which choose the bytes that a module is
//! made of ([`try_bytes`]; `fuzz/` has the target for cargo-fuzz).

pub mod draw;
pub mod execute;
mod progress;

pub use draw::{Case, Wishes, case, case_of_bytes};
pub use execute::{Outcome, run_case};

use crate::cli::{Chaos, FuzzArgs};
use crate::error::CommandError;
use crate::lockstep::stops::{Control, Phase};
use crate::selftest::watchdog::Watchdog;
use crate::{output, run, watch};
use aot_backend::HAS_CHAOS;
use oracle_interp::ExportKind;
use progress::Progress;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Failures after which there is no use in more.
const MOST_FAILURES: u64 = 100;
/// Modules kept of what looks like one cause.
const MOST_ALIKE: u64 = 3;
/// Seeds of a batch, for each thread.
const BATCH: u64 = 64;
/// Bytes of a thread's stack: it compiles.
const STACK: usize = 64 << 20;
/// Longer than any run.
const FOR_EVER: Duration = Duration::from_secs(1 << 30);

/// Runs the subcommand.
///
/// # Errors
/// Whatever ends without a result.
pub fn main(args: &FuzzArgs) -> Result<u8, CommandError> {
    if args.chaos == Some(Chaos::On) && !HAS_CHAOS {
        return Err(CommandError::unsupported(
            "--chaos on needs Cranelift's chaos mode, which this build is without: build wdiff with `--features chaos`",
        ));
    }
    let control = Control::new();
    let failed = watch::supervise(&control, args.timeout, || run(args, &control))?;
    Ok(u8::from(failed > 0))
}

/// What decides what the seeds stand for, as the command line has it.
fn options(args: &FuzzArgs) -> String {
    let mut text = format!("--seed {}", args.seed);
    let mut add = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            text.push_str(&format!(" --{name} {value}"));
        }
    };
    add("source", args.source.map(|source| source.as_str()));
    add("opt", args.opt.map(|opt| opt.as_str()));
    add("anchors", args.anchors.as_deref());
    add("cpu", args.cpu.as_deref());
    add("stable", args.stable.map(|stable| stable.name()));
    // Drawn or not, with this it is another sequence.
    add(
        "chaos",
        match (args.chaos, HAS_CHAOS) {
            (Some(Chaos::On), _) => Some("on"),
            (None, true) => None,
            (Some(Chaos::Off), _) | (None, false) => Some("off"),
        },
    );
    text
}

/// Tries all seeds; answers how many modules something was wrong with.
fn run(args: &FuzzArgs, control: &Arc<Control>) -> Result<u64, CommandError> {
    let wishes = Wishes {
        source: args.source,
        opt: args.opt.map(|opt| opt.level()),
        anchors: args.anchors.as_deref().map(run::anchors).transpose()?,
        cpu: args.cpu.clone(),
        stable: args.stable,
        chaos: args.chaos.map(|chaos| chaos == Chaos::On),
    };
    let mut sum = Progress::open(args.state.as_deref(), options(args))?;
    control.enter(Phase::Comparing);
    let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get().min(8) as u16);
    let jobs = u64::from(args.jobs.unwrap_or(cpus));
    let (began, already) = (Instant::now(), sum.modules);
    while sum.tried < args.count && sum.failed < MOST_FAILURES && control.request().is_none() {
        let size = (BATCH * jobs).min(args.count - sum.tried);
        let first = args.seed.saturating_add(sum.tried);
        for done in batch(first, size, jobs, &wishes, control)? {
            // Of a batch that was interrupted, what came before.
            let Some(done) = done else { break };
            sum.tried += 1;
            match done {
                Done::NoModule => {}
                Done::Unsupported => sum.unsupported += 1,
                Done::Case(case, outcome) => {
                    let seen = sum.add(case.source.as_str(), &outcome);
                    if seen.is_some_and(|times| times < MOST_ALIKE) {
                        keep(&case, &outcome, &args.failures)?;
                    }
                }
            }
        }
        control.stops.store(sum.stops, Ordering::Relaxed);
        if let Some(path) = &args.state {
            sum.save(path)?;
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let rate = (sum.modules - already) as f64 / seconds.max(1e-3);
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{}\n{seconds:.1} s, {rate:.0} modules/s", sum.summary());
    Ok(sum.failed)
}

/// What came of a seed.
enum Done {
    NoModule,
    Unsupported,
    Case(Box<Case>, Box<Outcome>),
}

/// Works on `size` seeds from `first`; `None` for those not begun.
fn batch(
    first: u64,
    size: u64,
    jobs: u64,
    wishes: &Wishes,
    control: &Arc<Control>,
) -> Result<Vec<Option<Done>>, CommandError> {
    let controls: Vec<Arc<Control>> = (0..jobs).map(|_| Control::new()).collect();
    let _watchdog = Watchdog::new(control, &controls.iter().collect::<Vec<_>>(), FOR_EVER);
    let next = AtomicU64::new(0);
    let next = &next;
    let work = |own: Arc<Control>| {
        let mut all = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let seed = first.checked_add(number).filter(|_| number < size);
            let Some(seed) = seed.filter(|_| own.request().is_none()) else { return Ok(all) };
            let done = match case(seed, wishes) {
                None => Done::NoModule,
                Some(Err(CommandError::Inconclusive { .. })) => Done::Unsupported,
                Some(Err(error)) => return Err(error),
                Some(Ok(case)) => {
                    let outcome = run_case(&case, |_| {}, &own)?;
                    Done::Case(Box::new(case), Box::new(outcome))
                }
            };
            // One that was cut short is not done.
            if own.request().is_none() {
                all.push((number, done));
            }
        }
    };
    let mut found: Vec<Option<Done>> = (0..size).map(|_| None).collect();
    std::thread::scope(|scope| {
        let builder = || std::thread::Builder::new().name("fuzz".into()).stack_size(STACK);
        let threads: Vec<_> = controls
            .iter()
            .map(|own| builder().spawn_scoped(scope, || work(own.clone())))
            .collect();
        for thread in threads {
            let thread = thread.map_err(|error| {
                CommandError::host(format_args!("cannot start a thread: {error}"))
            })?;
            let panicked = |_| Err(CommandError::bug("a thread of the fuzzer panicked"));
            for (number, done) in thread.join().unwrap_or_else(panicked)? {
                if let Some(place) = found.get_mut(number as usize) {
                    *place = Some(done);
                }
            }
        }
        Ok(found)
    })
}

/// What a coverage-guided fuzzer calls. Bytes that make no module, or one with
/// something that is not supported, are well. With `failures`, a module that is
/// not is written there, too.
///
/// # Errors
/// What is wrong, line by line, and the commands that show it again.
pub fn try_bytes(bytes: &[u8], failures: Option<&Path>) -> Result<(), String> {
    let attempt = || -> Result<(), CommandError> {
        let case = match case_of_bytes(bytes) {
            None | Some(Err(CommandError::Inconclusive { .. })) => return Ok(()),
            Some(case) => case?,
        };
        let outcome = run_case(&case, |_| {}, &Control::new())?;
        if outcome.wrong.is_empty() {
            return Ok(());
        }
        let wasm = failures.map(|directory| directory.join(format!("{}.wasm", case.seed)));
        if let Some(path) = &wasm {
            std::fs::write(path, &*case.program.wasm)
                .map_err(|error| CommandError::file("write", path, error))?;
        }
        let wasm = wasm.map_or("MODULE".to_owned(), |path| path.display().to_string());
        let program = format!("{wasm} {}", options_of(&case));
        let text = format!("{}\n\n{}", outcome.wrong.join("\n"), runs(&case, &program));
        Err(CommandError::bug(text))
    };
    // The fuzzer's own stack is too small for a compiler.
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, attempt);
        let thread = thread.map_err(|error| format!("cannot start a thread: {error}"))?;
        let ended = thread.join().map_err(|_| "a panic".to_owned())?;
        ended.map_err(|error| error.to_string())
    })
}

/// Writes down what is wrong and how to see it again.
fn keep(case: &Case, outcome: &Outcome, directory: &Path) -> Result<(), CommandError> {
    let write = |path: &Path, bytes: &[u8]| {
        std::fs::write(path, bytes).map_err(|error| CommandError::file("write", path, error))
    };
    std::fs::create_dir_all(directory)
        .map_err(|error| CommandError::file("create", directory, error))?;
    let wasm = directory.join(format!("{}.wasm", case.seed));
    write(&wasm, &case.program.wasm)?;
    let options = options_of(case);
    // Code made by chance is made again by the same seed only.
    let program = match &outcome.image {
        Some(image) => {
            let path = directory.join(format!("{}.image", case.seed));
            write(&path, image)?;
            path.display().to_string()
        }
        None => format!("{} {options}", wasm.display()),
    };
    let source = case.source.as_str();
    let chaos = if case.chaos.is_some() { "on" } else { "off" };
    let text = format!(
        "{}\n\nwdiff fuzz --seed {} --count 1 --source {source} {options} --chaos {chaos}\n{}",
        outcome.wrong.join("\n"),
        case.seed,
        runs(case, &program)
    );
    write(&directory.join(format!("{}.txt", case.seed)), text.as_bytes())?;
    let first = outcome.wrong.first().map(String::as_str).unwrap_or_default();
    output::note(&format!("seed {}, {source}, {options}, chaos {chaos}: {first}", case.seed));
    Ok(())
}

/// How a case is compiled, as options.
fn options_of(case: &Case) -> String {
    format!(
        "--opt {} --anchors {} --cpu {} --stable {}",
        case.opt.name(),
        case.anchors.name(),
        case.cpu,
        case.stable.name()
    )
}

/// The commands that make a case's calls of `program`, a line each.
fn runs(case: &Case, program: &str) -> String {
    let paranoid = if case.paranoid { " --paranoid" } else { "" };
    let mut text = String::new();
    for call in &case.calls {
        let mut exports =
            case.program.module.exports().iter().filter(|export| {
                export.kind == ExportKind::Func && export.index == call.func.get()
            });
        let name = exports.next().map(|export| export.name.as_str()).unwrap_or_default();
        let args: Vec<String> = call.args.iter().map(|value| value.hex()).collect();
        let args = args.join(" ");
        text.push_str(&format!("wdiff run {program}{paranoid} --invoke {name:?} -- {args}\n"));
    }
    text
}
