//! Mutants of the corpus's modules through the whole of the library: decoded,
//! compiled, run in lockstep. Shared by the test and by `examples/mutants.rs`.

use clap::Parser;
use corpus::{Mutant, Program};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use wasi_host::{Output, Stdin, World, WorldConfig};
use wdiff::cli::{Cli, Command, RunArgs};
use wdiff::error::CommandError;
use wdiff::lockstep::Ending;
use wdiff::lockstep::follow::Requests;
use wdiff::lockstep::stops::Control;
use wdiff::session::Session;
use wdiff::{invoke, program, run, watch, world};

/// Longest that a mutant may take, all in all.
pub const HANG: Duration = Duration::from_secs(10);
/// Stops after which a run ends.
const MAX_STOPS: u64 = 2_000;
const TIMEOUT_S: f64 = 4.0;

/// What became of the mutants.
#[derive(Default)]
pub struct Tally {
    /// How many ended how.
    pub fates: BTreeMap<String, u64>,
    /// What must never happen, each with how to meet it again.
    pub failures: Vec<String>,
    /// How many were run, not only refused.
    pub executed: u64,
    /// The slowest one.
    pub slowest: Duration,
}

/// Modules to be mutated: of all sizes and kinds, and none twice.
pub fn programs() -> Vec<Program> {
    let mut programs = corpus::manifest();
    let mut seen = std::collections::BTreeSet::new();
    programs
        .retain(|program| !program.name.starts_with("traps/") && seen.insert(program.wasm.clone()));
    programs
}

/// The mutant that comes `index`th when every program gives one in turn.
pub fn nth(programs: &[Program], modules: &[Vec<u8>], seed: u64, index: usize) -> (usize, Mutant) {
    let which = index % programs.len();
    let mutant = corpus::mutants(seed, &modules[which]).nth(index / programs.len());
    (which, mutant.expect("the sequence does not end"))
}

/// Tries mutants `range` of a seed; `execute` says, by the time that has
/// passed, whether valid ones are still to be run.
pub fn try_all(
    seed: u64,
    range: std::ops::Range<usize>,
    execute: impl Fn(Duration) -> bool,
    mut progress: impl FnMut(usize, &Tally),
) -> Tally {
    let programs = programs();
    let modules: Vec<Vec<u8>> =
        programs.iter().map(|program| program.wasm().expect("a corpus module")).collect();
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let began = Instant::now();
    let mut tally = Tally::default();
    for index in range {
        let (which, mutant) = nth(&programs, &modules, seed, index);
        let file = scratch.path().join("mutant.wasm");
        std::fs::write(&file, &mutant.bytes).expect("scratch file");
        let start = Instant::now();
        let run = execute(began.elapsed());
        let fate = catch_unwind(AssertUnwindSafe(|| {
            try_one(&programs[which], &file, &scratch, run, &mut tally.executed)
        }));
        let took = start.elapsed();
        tally.slowest = tally.slowest.max(took);
        let bad = match fate {
            Ok(Ok(fate)) => {
                let bad = fate.starts_with("1 ").then(|| fate.clone());
                let key = if bad.is_some() { "1 divergence".to_string() } else { fate };
                *tally.fates.entry(key).or_default() += 1;
                bad
            }
            Ok(Err(error)) => {
                let code = error.exit_code();
                let key = match &error {
                    CommandError::Inconclusive { reason, .. } => {
                        format!("{code} before a run: {reason}")
                    }
                    _ => format!("{code} refused"),
                };
                *tally.fates.entry(key).or_default() += 1;
                (code == 4).then(|| error.to_string())
            }
            Err(_) => Some("it panicked".to_string()),
        };
        let bad = bad.or_else(|| (took > HANG).then(|| format!("it took {took:?}")));
        if let Some(what) = bad {
            tally.failures.push(format!(
                "mutant {index} of seed {seed} ({}, {:?}): {what}",
                programs[which].name, mutant.mutations
            ));
        }
        progress(index, &tally);
    }
    tally
}

fn try_one(
    program: &Program,
    file: &Path,
    scratch: &TempDir,
    execute: bool,
    executed: &mut u64,
) -> Result<String, CommandError> {
    let args = arguments(program, file);
    let loaded = program::load(file)?;
    if !execute {
        return Ok("- valid, not run".to_string());
    }
    let image = run::compile_program(&loaded, &args.backend, false)?;
    let calls = invoke::calls(&args.world, &loaded)?;
    let session = Session { program: &loaded, image: &image, calls: &calls };
    *executed += 1;
    let control = Control::new();
    let ending = watch::supervise(&control, Some(TIMEOUT_S), || {
        let config = WorldConfig {
            stdin: Stdin::Bytes(program.stdin_bytes().unwrap_or_default()),
            stdout: Output::Discard,
            stderr: Output::Discard,
            dirs: program
                .dirs
                .iter()
                .map(|dir| (scratch.path().to_owned(), dir.guest.clone()))
                .collect(),
            cancel: control.cancel.clone(),
            ..world::config(&args.world, file)?
        };
        let mut world = World::live(config).map_err(CommandError::input)?;
        let requests = Requests { every: true, max_stops: Some(MAX_STOPS), ..Requests::default() };
        Ok(session.execute(&mut world, requests, &control)?.ending)
    })?;
    Ok(match ending {
        Ending::Returned(_) => "0 returned".to_string(),
        Ending::Exited(_) => "0 exited".to_string(),
        Ending::Trapped(..) => "0 trapped".to_string(),
        Ending::Thrown(_) => "0 threw".to_string(),
        Ending::Diverged(finding) => {
            format!("1 {} at {:?}: {}", finding.kind, finding.at, finding.what)
        }
        Ending::Inconclusive { reason, .. } => format!("3 after a run: {}", reason.key()),
    })
}

/// The options of the program's run.
pub fn arguments(program: &Program, file: &Path) -> RunArgs {
    let mut words = vec!["wdiff".into(), "run".into(), file.as_os_str().to_owned()];
    for pair in &program.env {
        words.extend(["--env".into(), pair.into()]);
    }
    let mut rest: Vec<String> = program.args.clone();
    if let Some(invoke) = &program.invoke {
        words.extend(["--invoke".into(), (&invoke.function).into()]);
        rest = invoke.params.iter().map(parameter).collect();
    }
    words.push("--".into());
    words.extend(rest.into_iter().map(Into::into));
    match Cli::parse_from(words).command {
        Command::Run(args) => *args,
        _ => unreachable!("`run` is what was written"),
    }
}

fn parameter(value: &wasm_view::Value) -> String {
    use wasm_view::{InternalRef, Value};
    match value {
        Value::ExternRef(Some(InternalRef::Host(handle))) => handle.to_string(),
        Value::FuncRef(_) | Value::ExternRef(_) => "null".into(),
        number => number.hex(),
    }
}
