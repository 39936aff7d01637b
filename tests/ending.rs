//! Runs that somebody or something ends: limits, signals, SIGKILL of either
//! side. wdiff ends in time and says how far it came, and no subject survives.

mod common;

use common::processes::{Process, signal};
use reports::{InconclusiveReason, Report, Verdict};
use rustix::process::Signal;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Within this a run must have answered; the machine may be busy.
const SOON: Duration = Duration::from_secs(8);

/// Never ends, and writes to memory all the while. `$idle` is never called.
const ENDLESS: &str = r#"(module
  (memory 1)
  (func $idle (drop (i32.const 1)))
  (func $count (param i32) (result i32)
    (i32.store (i32.const 8) (local.get 0))
    (i32.add (local.get 0) (i32.const 1)))
  (func (export "_start") (local $i i32)
    (loop (local.set $i (call $count (local.get $i))) (br 0))))"#;

/// Counts to 1000, reads standard input, counts for ever.
const READER: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_read"
    (func $read (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start") (local $i i32)
    (loop
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if 0 (i32.lt_u (local.get $i) (i32.const 1000))))
    (i32.store (i32.const 0) (i32.const 64))
    (i32.store (i32.const 4) (i32.const 16))
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    (loop (br 0))))"#;

/// Sleeps for an hour.
const SLEEPER: &str = r#"(module
  (import "wasi_snapshot_preview1" "poll_oneoff"
    (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (i32.store (i32.const 16) (i32.const 1))
    (i64.store (i32.const 24) (i64.const 3600000000000))
    (drop (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))))"#;

/// Writes to standard output for ever.
const WRITER: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 64))
    (i32.store (i32.const 4) (i32.const 32768))
    (loop (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))) (br 0))))"#;

/// A run under way, killed should its test fail.
struct Running {
    child: Child,
    report: std::path::PathBuf,
    scratch: TempDir,
}

/// How it ended.
struct Ended {
    code: Option<i32>,
    /// For messages: the signal, where there is no code.
    status: String,
    stderr: String,
    report: Option<Report>,
    took: Duration,
}

impl Running {
    fn start(program: &str, options: &[&str]) -> Running {
        let scratch = common::scratch();
        let file = scratch.path().join("program.wat");
        std::fs::write(&file, program).expect("a file");
        let report = scratch.path().join("report.json");
        let mut command = common::wdiff_for_signals();
        command.args(["run", "--format", "json", "--output"]).arg(&report);
        command.args(options).arg(&file);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Running { child: command.spawn().expect("wdiff starts"), report, scratch }
    }

    fn process(&self) -> Process {
        Process::of(self.child.id()).expect("a child not waited for")
    }

    /// Waits until its subject executes the image.
    fn subject(&self) -> Process {
        let began = Instant::now();
        loop {
            let child = self.process().children().into_iter().find(Process::is_subject);
            if let Some(child) = child {
                return child;
            }
            assert!(began.elapsed() < SOON, "no subject after {SOON:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn signal(&self, which: Signal) {
        signal(self.child.id(), which);
    }

    /// Waits for the end, which must come soon.
    fn end(mut self) -> Ended {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                break status;
            }
            assert!(began.elapsed() < SOON, "it did not end within {SOON:?}");
            std::thread::sleep(Duration::from_millis(1));
        };
        let took = began.elapsed();
        let mut stderr = String::new();
        let mut pipe = self.child.stderr.take().expect("a pipe");
        std::io::Read::read_to_string(&mut pipe, &mut stderr).expect("text");
        let text = std::fs::read_to_string(&self.report).unwrap_or_default();
        let report = (!text.is_empty()).then(|| reports::json::from_str(&text).expect("a report"));
        Ended { code: status.code(), status: status.to_string(), stderr, report, took }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = self.scratch.path();
    }
}

impl Ended {
    /// Inconclusive, with figures of a run that came somewhere.
    #[track_caller]
    fn partial(&self, reason: InconclusiveReason) -> &Report {
        let said = &self.stderr;
        assert_eq!(self.code, Some(3), "{}: {said}", self.status);
        assert!(!said.contains("panicked"), "{said}");
        let report = self.report.as_ref().expect("a report");
        assert_eq!(report.verdict, Verdict::Inconclusive);
        let why = report.inconclusive.as_ref().expect("a reason");
        assert_eq!(why.reason, reason, "{}", why.detail);
        assert!(report.boundaries.executed > 0, "no partial figures");
        report.check_invariants().expect("figures that add up");
        report
    }
}

/// A subject that has got some way.
fn busy(options: &[&str]) -> (Running, Process) {
    let running = Running::start(ENDLESS, options);
    let subject = running.subject();
    std::thread::sleep(Duration::from_millis(150));
    (running, subject)
}

#[test]
fn a_timeout_ends_a_run_at_every_instruction() {
    let running = Running::start(ENDLESS, &["--timeout", "0.5"]);
    let subject = running.subject();
    let ended = running.end();
    let report = ended.partial(InconclusiveReason::Timeout);
    assert!(report.boundaries.stops > 100 && report.values.compared > 100);
    assert_eq!(report.values.wrong, 0);
    subject.assert_gone();
}

#[test]
fn a_timeout_ends_a_run_without_stops() {
    let running = Running::start(ENDLESS, &["--timeout", "0.5", "--break", "idle"]);
    let subject = running.subject();
    let ended = running.end();
    assert_eq!(ended.partial(InconclusiveReason::Timeout).boundaries.stops, 0);
    subject.assert_gone();
}

#[test]
fn max_stops_are_exact() {
    for options in [&["--max-stops", "1234"][..], &["--max-stops", "1234", "--break", "stable"]] {
        let ended = Running::start(ENDLESS, options).end();
        let report = ended.partial(InconclusiveReason::Limit);
        assert_eq!(report.boundaries.stops, 1234, "{options:?}");
    }
}

#[test]
fn signals_that_ask_to_end_are_answered_with_figures() {
    for which in [Signal::INT, Signal::TERM, Signal::HUP] {
        for options in [&[][..], &["--break", "idle"]] {
            let (running, subject) = busy(options);
            running.signal(which);
            let ended = running.end();
            ended.partial(InconclusiveReason::Interrupted);
            assert!(ended.took < Duration::from_secs(5), "{which:?} after {:?}", ended.took);
            subject.assert_gone();
        }
    }
}

#[test]
fn a_signal_at_any_moment_is_answered() {
    let mut rng = corpus::SplitMix64::new(3);
    for _ in 0..20 {
        let running = Running::start(ENDLESS, &[]);
        std::thread::sleep(Duration::from_millis(5 + rng.below(60) as u64));
        let children = running.process().children();
        running.signal(Signal::INT);
        let ended = running.end();
        // Before anything was compared there is a line instead of a report.
        if ended.report.is_none() {
            let said = &ended.stderr;
            assert!(ended.code == Some(3) || said.is_empty(), "{:?} {said}", ended.code);
            assert!(!said.contains("panicked"), "{said}");
        } else {
            assert_eq!(ended.code, Some(3));
        }
        children.iter().for_each(Process::assert_gone);
    }
}

#[test]
fn a_host_call_that_waits_for_input_is_given_up() {
    let running = Running::start(READER, &["--timeout", "0.7"]);
    let subject = running.subject();
    let ended = running.end();
    let report = ended.partial(InconclusiveReason::Timeout);
    assert!(report.boundaries.stops > 1000 && report.host_calls == 1);
    subject.assert_gone();

    let running = Running::start(READER, &[]);
    let subject = running.subject();
    std::thread::sleep(Duration::from_millis(400));
    running.signal(Signal::INT);
    let ended = running.end();
    ended.partial(InconclusiveReason::Interrupted);
    assert!(ended.took < Duration::from_secs(5));
    subject.assert_gone();
}

#[test]
fn a_host_call_that_sleeps_is_given_up() {
    let running = Running::start(SLEEPER, &["--timeout", "0.5"]);
    let subject = running.subject();
    running.end().partial(InconclusiveReason::Timeout);
    subject.assert_gone();
}

#[test]
fn a_host_call_that_cannot_be_given_up_ends_all_the_same() {
    // Nobody reads what it prints, and the pipe is soon full.
    let running = Running::start(WRITER, &["--timeout", "0.5"]);
    let subject = running.subject();
    let ended = running.end();
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(ended.stderr.contains("host call that blocks"), "{}", ended.stderr);
    assert_eq!(ended.stderr.trim_end().lines().count(), 1);
    assert!(ended.took < Duration::from_secs(6), "{:?}", ended.took);
    subject.assert_gone();
}

#[test]
fn a_second_wait_for_a_pipe_that_nobody_opens_is_ended() {
    let scratch = common::scratch();
    let fifo = scratch.path().join("fifo");
    let made = Command::new("mkfifo").arg(&fifo).status().expect("mkfifo");
    assert!(made.success());
    let fifo = fifo.to_str().expect("a path");
    let ended = Running::start(ENDLESS, &["--timeout", "0.3", "--stdin", fifo]).end();
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(ended.stderr.starts_with("wdiff: inconclusive: "), "{}", ended.stderr);
}

#[test]
fn a_killed_subject_is_reported_with_figures() {
    let mut rng = corpus::SplitMix64::new(5);
    for round in 0..30 {
        let running = Running::start(ENDLESS, &[]);
        let subject = running.subject();
        std::thread::sleep(Duration::from_micros(rng.below(100_000) as u64));
        signal(subject.id(), Signal::KILL);
        let ended = running.end();
        match &ended.report {
            Some(report) if report.boundaries.executed > 0 => {
                ended.partial(InconclusiveReason::Environment);
            }
            // Killed while it was set up.
            _ => {
                let said = &ended.stderr;
                assert_eq!(ended.code, Some(3), "round {round}: {said}");
                assert!(!said.contains("panicked"), "{said}");
            }
        }
        subject.assert_gone();
    }
}

#[test]
fn no_subject_survives_a_wdiff_that_is_killed() {
    let mut rng = corpus::SplitMix64::new(11);
    let mut seen = 0;
    for round in 0..100 {
        // Every other run spins natively, the others stop all the time.
        let options = if round % 2 == 0 { &[][..] } else { &["--break", "idle"] };
        let mut running = Running::start(ENDLESS, options);
        std::thread::sleep(Duration::from_micros(rng.below(80_000) as u64));
        // Halted, it cannot have a child that is not in the list.
        running.signal(Signal::STOP);
        running.process().wait_for("T");
        let children = running.process().children();
        running.signal(Signal::KILL);
        running.child.wait().expect("a child of ours");
        seen += children.len();
        children.iter().for_each(Process::assert_gone);
    }
    assert!(seen > 30, "hardly any was killed with a subject: {seen}");
}

#[test]
fn nobody_need_read_what_is_printed() {
    let program = corpus::program("printf").expect("a corpus program");
    let scratch = common::scratch();
    let args = common::arguments(&program, &scratch);
    let run = |close_stdout: bool, close_stderr: bool| {
        let mut command = common::wdiff_for_signals();
        command.arg("run").args(&args).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("wdiff starts");
        drop(child.stdout.take_if(|_| close_stdout));
        drop(child.stderr.take_if(|_| close_stderr));
        let output = child.wait_with_output().expect("it ends");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (stdout, stderr) in [(true, false), (false, true), (true, true)] {
        let (code, said) = run(stdout, stderr);
        assert_eq!(code, Some(0), "{said}");
        assert!(!said.contains("panicked"), "{said}");
    }
    assert_eq!(shell("exec \"$0\" \"$@\" >&- 2>&- <&-", &args), Some(0));
    assert_eq!(shell("\"$0\" \"$@\" 2>&1 | head -c 1 >/dev/null", &args), Some(0));
    let map = ["map".into(), program.wasm_path().into_os_string()];
    assert_eq!(shell_with("\"$0\" \"$@\" | head -n 1 >/dev/null", &map), Some(0));
}

fn shell(script: &str, args: &[OsString]) -> Option<i32> {
    let words: Vec<OsString> = std::iter::once("run".into()).chain(args.iter().cloned()).collect();
    shell_with(script, &words)
}

fn shell_with(script: &str, words: &[OsString]) -> Option<i32> {
    let wdiff = Path::new(env!("CARGO_BIN_EXE_wdiff"));
    let mut command = Command::new("bash");
    command.args(["-o", "pipefail", "-c", script]).arg(wdiff).args(words);
    command.stdin(Stdio::null()).status().expect("bash").code()
}
