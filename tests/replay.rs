//! Recorded runs replayed: the same report without the world, and the first
//! host call that differs named.

mod common;

use reports::{InconclusiveReason, Verdict};
use serde_json::Value;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Prints what nobody can guess: eight random bytes and the time.
const UNIQUE: &str = r#"(module
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get"
    (func $clock (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (drop (call $random (i32.const 64) (i32.const 8)))
    (drop (call $clock (i32.const 0) (i64.const 1) (i32.const 72)))
    (i32.store (i32.const 0) (i32.const 64))
    (i32.store (i32.const 4) (i32.const 16))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

/// A program with its surroundings, all of which can be taken away.
struct Subject {
    args: Vec<OsString>,
    scratch: TempDir,
}

/// What a run printed, and its report as a tree.
struct Ran {
    code: Option<i32>,
    stdout: Vec<u8>,
    stderr: String,
    report: Option<Value>,
}

impl Subject {
    fn of(program: &corpus::Program) -> Subject {
        let scratch = common::scratch();
        let mut program = program.clone();
        // Standard input too is a file that can be taken away.
        let stdin = program.stdin.take().map(|file| {
            let copy = scratch.path().join("dir-stdin");
            std::fs::copy(corpus::path(&file), &copy).expect("a copy");
            copy
        });
        let mut args = Vec::new();
        if let Some(file) = stdin {
            args.extend(["--stdin".into(), file.into_os_string()]);
        }
        args.extend(common::arguments(&program, &scratch));
        Subject { args, scratch }
    }

    fn text(program: &str) -> Subject {
        let scratch = common::scratch();
        let file = scratch.path().join("program.wat");
        std::fs::write(&file, program).expect("a file");
        Subject { args: vec![file.into_os_string()], scratch }
    }

    fn log(&self) -> PathBuf {
        self.scratch.path().join("log")
    }

    fn run(&self, option: &str, log: &Path) -> Ran {
        let file = self.scratch.path().join("report.json");
        let _ = std::fs::remove_file(&file);
        let mut command = common::wdiff();
        command.arg("run").arg(option).arg(log);
        command.args(["--format", "json", "--output"]).arg(&file).args(&self.args);
        let output = command.output().expect("wdiff starts");
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let report = (!text.is_empty()).then(|| {
            reports::json::from_str(&text).expect("a report");
            serde_json::from_str(&text).expect("JSON")
        });
        Ran {
            code: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            report,
        }
    }

    fn record(&self) -> Ran {
        let ran = self.run("--record", &self.log());
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        ran
    }

    /// Takes away everything that the program was given.
    fn clear(&self) {
        for entry in std::fs::read_dir(self.scratch.path()).expect("scratch") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                std::fs::remove_dir_all(&path).expect("removed");
            } else if path.ends_with("dir-stdin") {
                std::fs::remove_file(&path).expect("removed");
            }
        }
    }
}

/// A report without the one key that may differ.
fn timeless(report: Option<Value>) -> Value {
    let mut report = report.expect("a report");
    report.as_object_mut().expect("an object").remove("time").expect("a time");
    report
}

#[track_caller]
fn repeats(subject: &Subject, who: &str) -> Value {
    let first = subject.record();
    subject.clear();
    let second = subject.run("--replay", &subject.log());
    assert_eq!(second.code, Some(0), "{who}: {}", second.stderr);
    assert_eq!(first.stdout, second.stdout, "{who}: standard output");
    assert_eq!(first.stderr, second.stderr, "{who}: standard error");
    let (first, second) = (timeless(first.report), timeless(second.report));
    assert_eq!(first, second, "{who}: the report");
    let left: Vec<_> = std::fs::read_dir(subject.scratch.path())
        .expect("scratch")
        .filter(|entry| entry.as_ref().is_ok_and(|entry| entry.path().is_dir()))
        .collect();
    assert!(left.is_empty(), "{who}: the replay made a directory again");
    first
}

#[test]
fn a_replay_needs_no_world_and_gives_the_same_report() {
    let mut with_calls = 0;
    for program in corpus::quick().iter().filter(|program| program.invoke.is_none()) {
        let report = repeats(&Subject::of(program), &program.name);
        with_calls += usize::from(report["host_calls"].as_u64() > Some(0));
    }
    assert!(with_calls >= 8, "only {with_calls} programs call the host");
}

#[test]
fn clocks_and_random_numbers_come_from_the_log() {
    let subject = Subject::text(UNIQUE);
    repeats(&subject, "unique");
    // They do differ otherwise.
    assert_ne!(subject.record().stdout, subject.record().stdout);
}

#[test]
fn the_log_of_another_module_is_refused() {
    let (args, files) = (program("args"), program("files"));
    args.record();
    let ran = files.run("--replay", &args.log());
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.starts_with("wdiff: error: "), "{}", ran.stderr);
    assert!(ran.stderr.contains("is of module"), "{}", ran.stderr);
    assert_eq!(ran.stderr.lines().count(), 1);
}

fn program(name: &str) -> Subject {
    Subject::of(&corpus::program(name).expect("a corpus program"))
}

/// Replays a changed log and answers what is said of it.
fn tampered(subject: &Subject, change: impl FnOnce(&mut Vec<Value>)) -> String {
    let text = std::fs::read_to_string(subject.log()).expect("the log");
    let mut lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    change(&mut lines);
    let file = subject.scratch.path().join("tampered");
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(&file, text).expect("a log");
    let ran = subject.run("--replay", &file);
    assert_eq!(ran.code, Some(3), "{} {:?}", ran.stderr, ran.report);
    let report = ran.report.expect("a report");
    let report = reports::json::from_str(&report.to_string()).expect("a report");
    assert_eq!(report.verdict, Verdict::Inconclusive);
    assert_eq!(report.values.wrong, 0);
    let why = report.inconclusive.expect("a reason");
    assert_eq!(why.reason, InconclusiveReason::Replay, "{}", why.detail);
    why.detail
}

/// The line of the first call of a function, and the call's number.
fn find(lines: &[Value], function: &str) -> (usize, u64) {
    let at = lines.iter().position(|line| line["function"] == function).expect("such a call");
    (at, lines[at]["index"].as_u64().expect("a number"))
}

#[test]
fn the_first_host_call_that_differs_is_named() {
    let subject = program("files");
    subject.record();
    let mut number = 0;

    let said = tampered(&subject, |lines| {
        let (at, index) = find(lines, "fd_write");
        lines[at]["args"][2] = Value::from("0x00000077");
        number = index;
    });
    assert!(said.contains(&format!("host call {number} differs")), "{said}");
    assert!(said.contains("argument 2") && said.contains("fd_write"), "{said}");

    let said = tampered(&subject, |lines| {
        let (at, index) = find(lines, "path_open");
        let bytes = lines[at]["reads"][0]["bytes"].as_str().expect("a path").to_string();
        let flipped = if bytes.starts_with('6') { "7" } else { "6" };
        lines[at]["reads"][0]["bytes"] = Value::from(flipped.to_string() + &bytes[1..]);
        number = index;
    });
    assert!(said.contains(&format!("host call {number} differs")), "{said}");
    assert!(said.contains("bytes of guest memory"), "{said}");

    // Another answer than the recorded one: the program then goes another way.
    let said = tampered(&subject, |lines| {
        let (at, index) = find(lines, "path_open");
        lines[at]["results"][0] = Value::from("0x0000002c");
        lines[at].as_object_mut().expect("an entry").remove("writes");
        number = index;
    });
    assert!(said.contains("host call"), "{said}");
    let named = said.split_whitespace().find_map(|word| word.parse::<u64>().ok());
    assert!(named.is_some_and(|named| named > number), "{said}");

    let mut count = 0;
    let said = tampered(&subject, |lines| {
        lines.pop();
        count = lines.len() - 1;
    });
    assert!(said.contains(&format!("host call {count} ")), "{said}");
    assert!(said.contains("beyond the end of the log"), "{said}");

    // More calls than the program makes.
    let said = tampered(&program_that_returns(), |lines| {
        let mut more = lines.last().expect("an entry").clone();
        more["index"] = Value::from(lines.len() - 1);
        lines.push(more);
    });
    assert!(said.contains("1 more") && said.contains("fd_write"), "{said}");
}

/// A recorded program whose last host call is not its end.
fn program_that_returns() -> Subject {
    let subject = Subject::text(UNIQUE);
    subject.record();
    subject
}

#[test]
fn a_log_that_was_cut_off_is_refused() {
    let subject = program("args");
    subject.record();
    let text = std::fs::read_to_string(subject.log()).expect("the log");
    let file = subject.scratch.path().join("cut");
    std::fs::write(&file, &text[..text.len() - 5]).expect("a file");
    let ran = subject.run("--replay", &file);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains("cut off") && ran.stderr.contains("line"), "{}", ran.stderr);
}
