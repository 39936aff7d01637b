//! One job: `wdiff run` or `wdiff wast` as a process of its own.
//!
//! A process per job keeps jobs apart: what one does to its memory, its working
//! files or its time cannot change another's result, and one that is killed
//! takes its subject with it. It dies with the gate, whatever the gate dies of.

use super::plan::{How, Job, expectation};
use crate::cli::GateArgs;
use crate::error::CommandError;
use crate::output;
use reports::{Failure, FailureKind, GateJob, JobOutcome, Report};
use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use wasm_view::{InternalRef, Value};

/// Holds the number of the process that a job's process must not outlive.
const PARENT: &str = "WDIFF_PARENT";
/// How often a job's end is looked for.
const TICK: Duration = Duration::from_millis(4);
/// How much longer than its `--timeout` a job may take before it is killed.
const GRACE: Duration = Duration::from_secs(20);
/// Most bytes of a job's own messages that are kept.
const MESSAGE: usize = 600;

/// In a job's process: sees to it that it ends when the gate does.
pub fn die_with_parent() {
    let Some(parent) = std::env::var(PARENT).ok().and_then(|text| text.parse::<i32>().ok()) else {
        return;
    };
    let asked = set_parent_process_death_signal(Some(Signal::KILL));
    // It may have ended before that.
    if asked.is_err() || getppid().is_none_or(|now| now.as_raw_nonzero().get() != parent) {
        std::process::exit(3);
    }
}

/// Why a job is not run to its end.
pub type Stop<'a> = &'a (dyn Fn() -> Option<String> + Sync);

/// Runs a job. `stop` is asked all along.
///
/// # Errors
/// Scratch files that cannot be made, and a process that cannot be started.
pub fn run(job: &Job, args: &GateArgs, stop: Stop<'_>) -> Result<GateJob, CommandError> {
    let scratch = tempfile::tempdir().map_err(CommandError::host)?;
    let file = |name: &str| scratch.path().join(name);
    let (report, stdout, stderr) = (file("report"), file("stdout"), file("stderr"));
    let create = |path: &Path| File::create(path).map_err(|e| CommandError::file("write", path, e));
    let line = command_line(job, args, scratch.path())?;
    let exe = std::env::current_exe().map_err(CommandError::host)?;
    let mut command = Command::new(exe);
    command.args(&line.actual[..1]);
    command.args(["--functions", "--format", "json", "--output"]).arg(&report);
    command.args(&line.actual[1..]);
    command.env(PARENT, std::process::id().to_string()).stdin(Stdio::null());
    command.stdout(create(&stdout)?).stderr(create(&stderr)?);
    let mut child = command.spawn().map_err(CommandError::host)?;
    let deadline = Instant::now() + Duration::from_secs_f64(args.timeout) + GRACE;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(CommandError::host)? {
            break status;
        }
        let late = (Instant::now() >= deadline).then(|| "it does not end".to_string());
        let asked = stop();
        if asked.is_some() || late.is_some() {
            let _ = child.kill();
            let _ = child.wait();
            return Ok(match asked {
                Some(why) => job.not_run(&why),
                None => job.with(JobOutcome::Error, late),
            });
        }
        std::thread::sleep(TICK);
    };
    let said = message(&stderr);
    let Some(mut report) = read_report(&report) else {
        return Ok(without_report(job, status, said));
    };
    if let Some(divergence) = &mut report.divergence {
        divergence.rerun = Some(line.shown);
    }
    let detail = report.inconclusive.as_ref().map(|why| why.detail.clone());
    let mut result = job.with(report.verdict.into(), detail);
    if let How::Entry { base, program, expects: true } = &job.task.how
        && result.outcome == JobOutcome::Match
    {
        let printed = std::fs::read(&stdout).unwrap_or_default();
        if let Err(why) = expectation(program, base, &report, &printed) {
            result.failures.push(Failure::new(FailureKind::Expectation, why));
        }
    }
    result.report = Some(Box::new(report));
    Ok(result)
}

fn read_report(path: &Path) -> Option<Report> {
    let text = std::fs::read_to_string(path).ok()?;
    reports::json::from_str(&text).ok()
}

fn without_report(job: &Job, status: ExitStatus, said: String) -> GateJob {
    let detail = match (status.code(), said.is_empty()) {
        (Some(_), false) => said,
        (Some(code), true) => format!("exit code {code} and no report"),
        (None, _) => format!("{status}; {said}"),
    };
    let outcome =
        if status.code() == Some(3) { JobOutcome::Inconclusive } else { JobOutcome::Error };
    job.with(outcome, Some(detail))
}

/// The last complaint of a job's process.
fn message(path: &Path) -> String {
    let text = String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
    let complaint = text.lines().rev().find_map(|line| {
        let rest = line.strip_prefix("wdiff: ")?;
        ["error: ", "inconclusive: ", "bug: "].iter().find_map(|kind| rest.strip_prefix(kind))
    });
    complaint.or(text.lines().last()).unwrap_or_default().chars().take(MESSAGE).collect()
}

/// A job's command line, without what makes it report to the gate.
struct Line {
    /// With scratch copies of directories.
    actual: Vec<OsString>,
    /// As somebody would type it.
    shown: Vec<String>,
}

impl Line {
    fn new(subcommand: &str) -> Line {
        Line { actual: vec![subcommand.into()], shown: vec!["wdiff".into(), subcommand.into()] }
    }

    fn push(&mut self, word: impl Into<OsString>) {
        let word = word.into();
        self.shown.push(word.to_string_lossy().into_owned());
        self.actual.push(word);
    }

    fn both(&mut self, actual: impl Into<OsString>, shown: String) {
        self.actual.push(actual.into());
        self.shown.push(shown);
    }
}

fn command_line(job: &Job, args: &GateArgs, scratch: &Path) -> Result<Line, CommandError> {
    let script = matches!(job.task.how, How::Script { .. });
    let mut line = Line::new(if script { "wast" } else { "run" });
    for word in job.options() {
        line.push(word);
    }
    if args.paranoid && job.config.stable != "off" {
        line.push("--paranoid");
    }
    if let Some(most) = args.max_stops {
        line.push("--max-stops");
        line.push(most.to_string());
    }
    line.actual.extend(["--timeout".into(), args.timeout.to_string().into()]);
    if let Some((program, fault)) = args.inject.as_deref().and_then(|text| text.split_once('@'))
        && program == job.task.name
    {
        line.push("--inject");
        line.push(fault);
    }
    match &job.task.how {
        How::Plain => line.push(&job.task.path),
        How::Script { standard } => {
            if let Some(standard) = standard {
                line.push("--standard");
                line.push(standard.to_string());
            }
            line.push(&job.task.path);
        }
        How::Entry { base, program, .. } => {
            line.push(&job.task.path);
            entry(program, base, scratch, &mut line)?;
        }
    }
    Ok(line)
}

/// What a manifest says of how a program is run.
fn entry(
    program: &corpus::Program,
    base: &Path,
    scratch: &Path,
    line: &mut Line,
) -> Result<(), CommandError> {
    for pair in &program.env {
        line.push("--env");
        line.push(pair);
    }
    for (index, dir) in program.dirs.iter().enumerate() {
        // Programs write into their directories.
        let host = scratch.join(format!("dir{index}"));
        std::fs::create_dir(&host).map_err(|e| CommandError::file("create", &host, e))?;
        let original = dir.from.as_ref().map(|from| base.join(from));
        if let Some(original) = &original {
            copy(original, &host)?;
        }
        let shown = original.unwrap_or_else(|| PathBuf::from("EMPTY"));
        let mut actual = host.into_os_string();
        actual.push("::");
        actual.push(&dir.guest);
        line.push("--dir");
        line.both(actual, format!("{}::{}", shown.display(), dir.guest));
    }
    if let Some(file) = &program.stdin {
        line.push("--stdin");
        line.push(base.join(file));
    }
    match &program.invoke {
        Some(invoke) => {
            line.push("--invoke");
            line.push(&invoke.function);
            line.push("--");
            for value in &invoke.params {
                line.push(match value {
                    Value::ExternRef(Some(InternalRef::Host(handle))) => handle.to_string(),
                    Value::FuncRef(_) | Value::ExternRef(_) => "null".to_string(),
                    number => number.hex(),
                });
            }
        }
        None if program.args.is_empty() => {}
        None => {
            line.push("--");
            for word in &program.args {
                line.push(word);
            }
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<(), CommandError> {
    let failed = |error| CommandError::file("copy", from, error);
    for entry in std::fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let target = to.join(entry.file_name());
        if entry.file_type().map_err(failed)?.is_dir() {
            std::fs::create_dir(&target).map_err(failed)?;
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target).map_err(failed)?;
        }
    }
    Ok(())
}

/// CPUs that this process may use.
pub fn cpus() -> Vec<usize> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let mut cpus = Vec::new();
    for range in list.unwrap_or_default().trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        if let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) {
            cpus.extend(first..=last.min(first + 4096));
        }
    }
    cpus
}

/// Warns once where pinning is not possible; jobs then share CPUs as they come.
pub fn pin(cpu: Option<usize>) -> Option<tracer::Pin> {
    match tracer::Pin::new(Some(cpu?)) {
        Ok(pin) => Some(pin),
        Err(error) => {
            output::note(&format!("jobs are not kept on CPUs of their own: {error}"));
            None
        }
    }
}
