//! What a gate runs: programs from files, directories and manifests, times the
//! matrix of configurations.
//!
//! The plan follows from the command line and the files alone, so that every
//! shard, on whatever machine, has the same one, job by job. Its digest says
//! whether two gates are the same.

use crate::cli::GateArgs;
use crate::error::CommandError;
use crate::run::engine_for;
use aot_backend::Isa;
use corpus::{Expected, Program};
use itertools::{Itertools, iproduct};
use reports::{Config, GateJob, JobOutcome};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A gate's plan.
pub struct Plan {
    /// All jobs, each program's configurations one after the other.
    pub jobs: Vec<Job>,
    /// Digest of everything that decides what is run.
    pub digest: String,
    /// Digest of the programs.
    pub programs_sha256: String,
}

/// One program in one configuration.
pub struct Job {
    /// Its position in the plan.
    pub index: u64,
    /// The program.
    pub task: std::sync::Arc<Task>,
    /// The configuration.
    pub config: Config,
}

/// A program or a script, and how to run it.
pub struct Task {
    /// What reports and baselines call it.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
    /// How it is run.
    pub how: How,
}

/// How something is run.
pub enum How {
    /// A file by itself.
    Plain,
    /// As its manifest says; paths there are relative to the directory. The
    /// program's `expected` counts only if the manifest has it.
    Entry {
        /// The manifest's directory.
        base: PathBuf,
        /// The entry.
        program: Box<Program>,
        /// Whether the entry says how it must end.
        expects: bool,
    },
    /// A script.
    Script {
        /// The version of WebAssembly that it was written for.
        standard: Option<u8>,
    },
}

impl Job {
    /// A report of it that says why it was not run.
    pub fn not_run(&self, why: &str) -> GateJob {
        self.with(JobOutcome::NotRun, Some(why.to_string()))
    }

    /// A job without a report.
    pub fn with(&self, outcome: JobOutcome, detail: Option<String>) -> GateJob {
        GateJob {
            index: self.index,
            program: self.task.name.clone(),
            config: self.config.clone(),
            outcome,
            detail,
            accepted: false,
            new: false,
            failures: Vec::new(),
            report: None,
        }
    }

    /// What a baseline calls it.
    pub fn key(&self) -> String {
        self.not_run("").key()
    }

    /// The options that are the configuration.
    pub fn options(&self) -> Vec<OsString> {
        let Config { backend, opt, stable, anchors, target, engine, cpu } = &self.config;
        let pairs = [
            ("--backend", backend, "cranelift"),
            ("--opt", opt, "none"),
            ("--stable", stable, "off"),
            ("--anchors", anchors, "trap"),
            ("--target", target, "x86_64"),
            ("--engine", engine, "int3"),
            ("--cpu", cpu, "native"),
        ];
        let given = pairs.into_iter().filter(|(_, value, default)| value != default);
        given.flat_map(|(option, value, _)| [option.into(), value.into()]).collect()
    }
}

/// Makes the plan.
///
/// # Errors
/// Paths that are not there or hold nothing to run; manifests that are none;
/// two programs of one name.
pub fn plan(args: &GateArgs) -> Result<Plan, CommandError> {
    let paths = paths(args);
    let mut tasks = Vec::new();
    for path in &paths {
        collect(path, args, &mut tasks)?;
    }
    let mut names = BTreeSet::new();
    if let Some(twice) = tasks.iter().find(|task| !names.insert(task.name.as_str())) {
        return Err(CommandError::input(format_args!(
            "two of the programs are called {}; run them in different gates",
            twice.name
        )));
    }
    let mut programs = Sha256::new();
    let mut jobs = Vec::new();
    let configs = configs(args);
    for task in tasks.into_iter().map(std::sync::Arc::new) {
        programs.update(task.sha256);
        for config in &configs {
            let index = jobs.len() as u64;
            jobs.push(Job { index, task: task.clone(), config: config.clone() });
        }
    }
    let programs_sha256 = hex(&programs.finalize());
    let mut digest = Sha256::new();
    digest.update(env!("CARGO_PKG_VERSION"));
    digest.update(&programs_sha256);
    for job in &jobs {
        digest.update(job.key());
        digest.update([0]);
        if let How::Entry { program, .. } = &job.task.how {
            digest.update(format!("{program:?}"));
        }
    }
    let options = (args.paranoid, args.standard, args.max_stops, args.timeout, &args.inject);
    digest.update(format!("{options:?}"));
    Ok(Plan { jobs, digest: hex(&digest.finalize()), programs_sha256 })
}

/// The paths that were asked for; the corpus if none were.
pub fn paths(args: &GateArgs) -> Vec<PathBuf> {
    if !args.paths.is_empty() {
        return args.paths.clone();
    }
    let manifest = corpus::path("manifest.json");
    let here = std::env::current_dir().unwrap_or_default();
    vec![manifest.strip_prefix(here).map(Path::to_path_buf).unwrap_or(manifest)]
}

/// Every combination of what the options list.
fn configs(args: &GateArgs) -> Vec<Config> {
    let GateArgs { backend, target, engine, cpu, anchors, opt, stable, .. } = args;
    iproduct!(backend, target, engine, cpu, anchors, opt, stable)
        .map(|(backend, target, engine, cpu, anchors, opt, stable)| Config {
            backend: backend.clone(),
            opt: opt.as_str().to_string(),
            stable: stable.name().to_string(),
            anchors: anchors.clone(),
            engine: Isa::from_name(target)
                .map_or(engine.as_str(), |isa| engine_for(isa, engine))
                .to_string(),
            target: target.clone(),
            cpu: cpu.clone(),
        })
        .unique()
        .collect()
}

fn collect(path: &Path, args: &GateArgs, tasks: &mut Vec<Task>) -> Result<(), CommandError> {
    let metadata = std::fs::metadata(path).map_err(|e| CommandError::file("read", path, e))?;
    if !metadata.is_dir() {
        return match extension(path) {
            "json" => manifest(path, args, tasks),
            "wast" => script(path, args.standard, None, tasks),
            _ => {
                let name = path.display().to_string();
                tasks.push(task(name, path, How::Plain)?);
                Ok(())
            }
        };
    }
    let own = path.join("manifest.json");
    if own.is_file() {
        return manifest(&own, args, tasks);
    }
    let before = tasks.len();
    directory(path, args, tasks)?;
    if tasks.len() == before {
        return Err(CommandError::input(format_args!(
            "{}: no .wasm, .wat or .wast in this directory, and no manifest.json",
            path.display()
        )));
    }
    Ok(())
}

/// What a directory holds, in the order of names.
fn directory(path: &Path, args: &GateArgs, tasks: &mut Vec<Task>) -> Result<(), CommandError> {
    let failed = |error| CommandError::file("read", path, error);
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // Links could go in circles.
        entries.push((entry.path(), entry.file_type().map_err(failed)?));
    }
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (entry, kind) in entries {
        if kind.is_dir() {
            directory(&entry, args, tasks)?;
        } else if matches!(extension(&entry), "wasm" | "wat" | "wast") {
            collect(&entry, args, tasks)?;
        }
    }
    Ok(())
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}

fn task(name: String, path: &Path, how: How) -> Result<Task, CommandError> {
    let bytes = std::fs::read(path).map_err(|e| CommandError::file("read", path, e))?;
    let sha256 = Sha256::digest(&bytes).into();
    Ok(Task { name, path: path.to_owned(), size: bytes.len() as u64, sha256, how })
}

fn script(
    path: &Path,
    standard: Option<u8>,
    name: Option<String>,
    tasks: &mut Vec<Task>,
) -> Result<(), CommandError> {
    let name = name.unwrap_or_else(|| path.display().to_string());
    tasks.push(task(name, path, How::Script { standard })?);
    Ok(())
}

/// The programs of a manifest: of the corpus's form, in which only `wasm` is
/// needed, or scripts, `{"wast": FILE, "standard": N}`.
fn manifest(path: &Path, args: &GateArgs, tasks: &mut Vec<Task>) -> Result<(), CommandError> {
    let bad = |what: String| CommandError::input(format_args!("{}: {what}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|e| CommandError::file("read", path, e))?;
    let list: Vec<Map<String, Value>> =
        serde_json::from_str(&text).map_err(|error| bad(format!("not a manifest: {error}")))?;
    let base = path.parent().unwrap_or(Path::new("")).to_owned();
    for (number, mut entry) in (1..).zip(list) {
        let wrong = |what: &str| bad(format!("entry {number}: {what}"));
        let text = |entry: &Map<String, Value>, key: &str| {
            entry.get(key).and_then(Value::as_str).map(str::to_owned)
        };
        if let Some(file) = text(&entry, "wast") {
            let standard = entry.get("standard").map(|standard| {
                let number = standard.as_u64().and_then(|n| u8::try_from(n).ok());
                number.filter(|n| (1..=3).contains(n)).ok_or_else(|| wrong("standard is 1, 2 or 3"))
            });
            let standard = standard.transpose()?.or(args.standard);
            script(&base.join(file), standard, text(&entry, "name"), tasks)?;
            continue;
        }
        let wasm = text(&entry, "wasm").ok_or_else(|| wrong("neither `wasm` nor `wast`"))?;
        let expects = entry.contains_key("expected");
        for (key, default) in [
            ("name", Value::from(wasm)),
            ("source", "".into()),
            ("exercises", "".into()),
            ("build", Value::Array(Vec::new())),
            ("expected", serde_json::json!({"exit_code": 0})),
        ] {
            entry.entry(key).or_insert(default);
        }
        let one = Value::Array(vec![Value::Object(entry)]).to_string();
        let mut parsed = corpus::parse_manifest(&one).map_err(|error| wrong(&error.to_string()))?;
        let program = Box::new(parsed.remove(0));
        let how = |program| How::Entry { base: base.clone(), program, expects };
        tasks.push(task(program.name.clone(), &base.join(&program.wasm), how(program))?);
    }
    Ok(())
}

/// Whether a manifest's program ended and printed as it must. `stdout` is what
/// it printed, or the results of the function that was called.
pub fn expectation(
    program: &Program,
    base: &Path,
    report: &reports::Report,
    stdout: &[u8],
) -> Result<(), String> {
    let same = |what: &str, expected: &str, actual: &str| {
        if expected == actual {
            return Ok(());
        }
        let short = |text: &str| text.trim_end().chars().take(120).collect::<String>();
        Err(format!("{what}: {:?}, the manifest expects {:?}", short(actual), short(expected)))
    };
    let shown = |code: Option<u32>| code.map_or("none".to_string(), |code| code.to_string());
    let ended = &report.program;
    match &program.expected {
        Expected::ExitCode(code) => {
            if let Some(trap) = &ended.trap {
                return Err(format!("it traps ({trap}), the manifest expects exit code {code}"));
            }
            same("exit code", &shown(Some(*code)), &shown(ended.exit_code))?;
            let Some(file) = &program.stdout else { return Ok(()) };
            let expected = std::fs::read(base.join(file)).map_err(|e| format!("{file}: {e}"))?;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            same("standard output", &text(&expected), &text(stdout))
        }
        Expected::Trap(trap) => same("trap", trap, ended.trap.as_deref().unwrap_or("none")),
        Expected::Results(values) => {
            let lines: String = values.iter().map(|value| format!("{value}\n")).collect();
            same("results", &lines, &String::from_utf8_lossy(stdout))
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
