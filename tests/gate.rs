//! `wdiff gate`: what it catches, and that shards, budgets and kills change
//! nothing about the result.

mod common;

use reports::{JobOutcome, Report};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A place with a manifest of small programs, its own cache, and the command.
struct Place {
    scratch: TempDir,
}

impl Place {
    fn new() -> Place {
        let scratch = common::scratch();
        let file = |relative: &str| common::corpus_file(relative).display().to_string();
        let invoke = |export: &str, params: &[&str]| serde_json::json!({"function": export, "params": params});
        std::fs::write(
            scratch.path().join("small.wast"),
            "(module (func (export \"f\") (param i32) (result i32) local.get 0 i32.const 1 i32.add))\n\
             (assert_return (invoke \"f\" (i32.const 4)) (i32.const 5))\n",
        )
        .expect("a script");
        let manifest = serde_json::json!([
            {"name": "quicksort", "wasm": file("programs/quicksort/quicksort.wasm"),
             "expected": {"exit_code": 0}},
            {"name": "fib", "wasm": file("programs/fib/fib.wasm"),
             "invoke": invoke("fib", &["i32:8"]), "expected": {"results": ["i64:21"]}},
            {"name": "chain", "wasm": file("programs/recursion/recursion.wasm"),
             "invoke": invoke("ackermann", &["i32:1", "i32:3"])},
            {"wast": "small.wast", "name": "script"},
        ]);
        let text = manifest.to_string();
        std::fs::write(scratch.path().join("manifest.json"), text).expect("a manifest");
        Place { scratch }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = common::wdiff();
        command.current_dir(self.scratch.path()).env("XDG_CACHE_HOME", self.path("cache"));
        command.arg("gate").arg("manifest.json").args(args);
        command
    }

    fn gate(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("wdiff starts")
    }

    /// A gate with a JSON report.
    fn report(&self, args: &[&str]) -> (Option<i32>, Report) {
        let file = self.path("report.json");
        let _ = std::fs::remove_file(&file);
        let mut all = vec!["--format", "json", "--output", "report.json"];
        all.extend(args);
        let output = self.gate(&all);
        let said = String::from_utf8_lossy(&output.stderr);
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let report = reports::json::from_str(&text)
            .unwrap_or_else(|error| panic!("{error}: {:?}: {said}", output.status));
        (output.status.code(), report)
    }
}

/// The report without what depends on when and where it was made.
fn timeless(report: &Report) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.remove("time");
                map.values_mut().for_each(strip);
            }
            Value::Array(list) => list.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let text = reports::json::to_string(report).expect("JSON");
    let mut value = serde_json::from_str(&text).expect("JSON");
    strip(&mut value);
    value
}

fn outcomes(report: &Report) -> Vec<JobOutcome> {
    report.gate.iter().flat_map(|gate| &gate.jobs).map(|job| job.outcome).collect()
}

const ALL: &[&str] = &["--opt", "none"];

/// A wrong condition in one instruction, as a patched lowering would have it: every
/// form names program, function and boundary.
#[test]
fn a_patched_lowering_fails_everywhere() {
    let place = Place::new();
    let base = ["--baseline", "baseline.json"];
    let output = place.gate(&[ALL, &base, &["--update-baseline"]].concat());
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.starts_with("passed: 4 jobs, 4 match"), "{text}");
    assert!(text.lines().count() < 12, "short when all is well: {text}");
    let output = place.gate(&[ALL, &base].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));

    let fault = ["--inject", "quicksort@code:sort:0x361:condition"];
    let places = ["quicksort", "sort", "0x362", "br_if 0"];
    for (form, also) in [
        ("text", &["failed: 4 jobs, 3 match, 1 diverge", "Native", "stack0"][..]),
        ("junit", &["<failure type=\"divergence\"", "failures=\"1\"", "stack0"]),
        ("markdown", &["## wdiff: failed", "| divergence |", "stack0"]),
        ("html", &["<!DOCTYPE html>", "\"kind\":\"operand\"", "timeline"]),
        (
            "sarif",
            &["divergence/operand", "\"startLine\": 18", "quicksort.c", "\"byteOffset\": 866"],
        ),
    ] {
        let file = place.path("out");
        let output = ["--format", form, "--output", "out"];
        let ran = place.gate(&[ALL, &base, &fault, &output].concat());
        let said = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(1), "{form}: {said}");
        let text = std::fs::read_to_string(file).expect("a report");
        for word in places.iter().chain(also) {
            assert!(text.contains(word), "{form} does not say {word}:\n{text}");
        }
    }
}

/// Another instruction set implies the emulator. The one script is not for it, by name.
#[test]
fn another_instruction_set_has_its_engine() {
    let place = Place::new();
    let fib = common::corpus_file("programs/fib/fib.wasm").display().to_string();
    let invoke = serde_json::json!({"function": "fib", "params": ["i32:8"]});
    let manifest = serde_json::json!([
        {"name": "fib", "wasm": fib, "invoke": invoke, "expected": {"results": ["i64:21"]}},
        {"wast": "small.wast", "name": "script"},
    ]);
    std::fs::write(place.path("manifest.json"), manifest.to_string()).expect("a manifest");
    let (code, report) = place.report(&["--opt", "none", "--target", "x86_64,aarch64"]);
    let jobs = report.gate.iter().flat_map(|gate| &gate.jobs);
    let seen: Vec<_> = jobs
        .map(|job| (job.program.as_str(), &*job.config.target, &*job.config.engine, job.outcome))
        .collect();
    assert_eq!(
        seen,
        [
            ("fib", "x86_64", "int3", JobOutcome::Match),
            ("fib", "aarch64", "rsp", JobOutcome::Match),
            ("script", "x86_64", "int3", JobOutcome::Match),
            ("script", "aarch64", "rsp", JobOutcome::Inconclusive),
        ]
    );
    assert_eq!(code, Some(3));
    // An engine that is asked for is not replaced.
    let (code, report) =
        place.report(&["--opt", "none", "--target", "aarch64", "--engine", "probe"]);
    assert_eq!(outcomes(&report), [JobOutcome::Inconclusive; 2]);
    assert_eq!(code, Some(3));
}

/// A value whose label the compiler lost: nothing diverges, and the gate fails.
#[test]
fn a_dropped_label_fails() {
    let place = Place::new();
    let base = ["--baseline", "baseline.json", "--stable", "off"];
    let updated = place.gate(&[ALL, &base, &["--update-baseline"]].concat());
    assert_eq!(updated.status.code(), Some(0));
    let fault = ["--inject", "quicksort@label:sort:0x362:stack0"];
    let (code, report) = place.report(&[ALL, &base, &fault].concat());
    assert_eq!(code, Some(1));
    let gate = report.gate.as_ref().expect("a gate");
    assert_eq!(outcomes(&report), vec![JobOutcome::Match; 4]);
    let failures: Vec<_> = gate.jobs.iter().flat_map(|job| &job.failures).collect();
    assert_eq!(failures.len(), 1, "{failures:?}");
    let failure = failures[0];
    assert_eq!(failure.kind.key(), "unavailable");
    assert_eq!((failure.func, failure.name.as_deref()), (Some(7), Some("sort")));
    assert_eq!(failure.offset, Some(0x362));
    assert!(failure.detail.contains("stack0 (no_longer_live)"), "{}", failure.detail);
    // Where it is accepted, it is part of the baseline.
    let accepted = place.gate(&[ALL, &base, &fault, &["--update-baseline"]].concat());
    assert_eq!(accepted.status.code(), Some(0));
    assert_eq!(place.gate(&[ALL, &base, &fault].concat()).status.code(), Some(0));
}

/// Code that grew, a job that is gone, a program that changed, one that no
/// longer does what the manifest expects.
#[test]
fn what_is_worse_than_the_baseline_fails() {
    let place = Place::new();
    let base = ["--baseline", "baseline.json"];
    place.gate(&[ALL, &base, &["--update-baseline"]].concat());
    let path = place.path("baseline.json");
    let text = std::fs::read_to_string(&path).expect("a baseline");
    let good: Value = serde_json::from_str(&text).expect("JSON");
    let config = "cranelift none, stable calls, trap, x86_64 baseline, int3";
    let check = |change: &dyn Fn(&mut Value), says: &str| {
        let mut bad = good.clone();
        change(&mut bad["jobs"]);
        std::fs::write(&path, bad.to_string()).expect("a baseline");
        let ran = place.gate(&[ALL, &base].concat());
        let text = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert_eq!(ran.status.code(), Some(1), "{text}");
        assert!(text.contains(says), "{says}: {text}");
    };
    let fib = format!("fib [{config}]");
    check(&|jobs| jobs[&fib]["code_bytes"] = 100.into(), "bytes of code, 100 in the baseline");
    check(&|jobs| jobs[&fib]["sha256"] = "00".repeat(32).into(), "other bytes of this program");
    check(&|jobs| jobs["x [y]"] = jobs[&fib].clone(), "x [y]: in the baseline, not in this gate");
    check(&|jobs| jobs[&fib]["stable_points"] = 1000.into(), "1000 in the baseline");
    let manifest = place.path("manifest.json");
    let text = std::fs::read_to_string(&manifest).expect("a manifest");
    std::fs::write(&manifest, text.replace("i64:21", "i64:22")).expect("a manifest");
    check(&|_| {}, "results: \"21\", the manifest expects \"22\"");
}

/// Four machines, four shards: the same report but for `time`.
#[test]
fn shards_merge_to_the_whole() {
    let place = Place::new();
    let base = ["--baseline", "baseline.json"];
    place.gate(&[&base[..], &["--update-baseline"]].concat());
    let (code, whole) = place.report(&base);
    assert_eq!(code, Some(0));
    let mut files = Vec::new();
    for shard in ["3/4", "1/4", "4/4", "2/4"] {
        let file = format!("shard-{}.json", &shard[..1]);
        let out = ["--shard", shard, "--format", "json", "--output", &file];
        let ran = place.gate(&[&base[..], &out].concat());
        assert_eq!(ran.status.code(), Some(0), "{}", String::from_utf8_lossy(&ran.stderr));
        files.push(file);
    }
    let merge = |files: &[String]| {
        let mut command = common::wdiff();
        command.current_dir(place.scratch.path()).args(["report", "merge"]).args(files);
        command.args(["--format", "json", "--output", "merged.json"]);
        let ran = command.output().expect("wdiff starts");
        let text = std::fs::read_to_string(place.path("merged.json")).unwrap_or_default();
        (ran.status.code(), reports::json::from_str(&text).ok())
    };
    let (code, merged) = merge(&files);
    assert_eq!(code, Some(0));
    assert_eq!(timeless(&merged.expect("a report")), timeless(&whole));
    // A shard that is missing is no match; one that is there twice is an error.
    let (code, partial) = merge(&files[..3]);
    assert_eq!(code, Some(3));
    let why = partial.and_then(|report| report.inconclusive).expect("a reason");
    assert!(why.detail.contains("2 of 8 jobs are in none of the shards"), "{}", why.detail);
    assert_eq!(merge(&[files.clone(), files[..1].to_vec()].concat()).0, Some(2));
}

/// What the budget or a failure leaves is reported as not run.
#[test]
fn what_was_not_run_is_said() {
    let place = Place::new();
    let (code, report) = place.report(&["--time-budget", "0.001"]);
    assert_eq!(code, Some(3));
    assert_eq!(outcomes(&report), vec![JobOutcome::NotRun; 8]);
    let why = report.inconclusive.expect("a reason");
    assert!(why.detail.contains("8 of 8 jobs have no answer"), "{}", why.detail);
    assert!(why.detail.contains("--time-budget"), "{}", why.detail);

    let fault = ["--inject", "quicksort@code:sort:0x361:condition"];
    let (code, report) = place.report(&[ALL, &fault, &["--fail-fast", "--jobs", "1"]].concat());
    assert_eq!(code, Some(1));
    let gate = report.gate.expect("a gate");
    // The largest runs first.
    assert_eq!(gate.counts.divergence, 1);
    assert_eq!(gate.counts.not_run, 3);
    let why = gate.jobs[1].detail.as_deref().unwrap_or_default();
    assert!(why.starts_with("--fail-fast: quicksort"), "{why}");
}

/// Killed without warning, a gate goes on where it was, leaves no process
/// behind, and comes to the same report.
#[test]
fn a_killed_gate_goes_on() {
    let place = Place::new();
    let (_, whole) = place.report(&[]);
    let mut command = place.command(&["--jobs", "1"]);
    let mut child = command.stderr(Stdio::null()).spawn().expect("wdiff starts");
    let journal = || -> Option<usize> {
        let file = std::fs::read_dir(place.path("cache/wdiff")).ok()?.next()?.ok()?;
        Some(std::fs::read_to_string(file.path()).ok()?.lines().count())
    };
    let began = Instant::now();
    while journal().unwrap_or(0) < 2 {
        assert!(began.elapsed() < Duration::from_secs(120), "no job ends");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().expect("a child of ours");
    child.wait().expect("a child of ours");
    let before = journal().expect("a journal");
    // As if the kill had cut a line short.
    let file = std::fs::read_dir(place.path("cache/wdiff")).unwrap().next().unwrap().unwrap();
    let mut text = std::fs::read_to_string(file.path()).unwrap();
    text.push_str("{\"index\":7,\"prog");
    std::fs::write(file.path(), text).unwrap();
    let output = place.gate(&["--resume", "--format", "json", "--output", "report.json"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&format!("{before} of 8 jobs were done before")), "{said}");
    let text = std::fs::read_to_string(place.path("report.json")).expect("a report");
    let resumed = reports::json::from_str(&text).expect("a report");
    assert_eq!(timeless(&resumed), timeless(&whole));
    assert!(journal().is_none(), "the journal of a finished gate is removed");
    assert_no_process(&place.scratch);
}

/// No process has a working directory or file there.
fn assert_no_process(scratch: &TempDir) {
    let began = Instant::now();
    let left = || {
        let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
        let inside = |path: &Path| {
            std::fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd.starts_with(scratch.path()))
        };
        entries.filter(|entry| inside(&entry.path())).count()
    };
    while left() > 0 {
        assert!(began.elapsed() < Duration::from_secs(10), "{} processes are left", left());
        std::thread::sleep(Duration::from_millis(20));
    }
}
