//! How much memory wdiff takes: at most 150 MB above the program's own.

mod common;

use std::fmt::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Bytes that wdiff may take at its peak, besides the program's linear memory.
const MOST: u64 = 150 << 20;

/// Runs a command to its end and answers its peak resident set, in bytes, the
/// pages that it shares with the subject included.
fn peak(mut command: Command) -> u64 {
    command.stdout(Stdio::null());
    let mut child = command.spawn().expect("wdiff starts");
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let ended = loop {
        // The high-water mark only rises: the last one read is nearly the last.
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        peak = peak.max(kilobytes.unwrap_or(0) << 10);
        if let Some(ended) = child.try_wait().expect("a child of ours") {
            break ended;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    assert!(ended.success(), "{ended}");
    assert!(peak > 1 << 20, "no peak was read");
    peak
}

/// A program of the size of an interpreter in C: some 120,000 boundaries with
/// twenty slots or so each, all of which are executed.
fn large() -> String {
    let mut text = String::from("(module (memory 1)\n");
    let names: Vec<String> = ('a'..='p').map(String::from).collect();
    let locals = names.join(" $");
    for function in 0..500 {
        let _ = write!(text, "(func $f{function} (param $x i32) (result i32)");
        for local in locals.split(" $") {
            let _ = write!(text, " (local ${local} i32)");
        }
        text.push('\n');
        for step in 0..40 {
            let (to, from) = (&names[step % 16], &names[(step + 1) % 16]);
            let _ = writeln!(
                text,
                "(local.set ${to} (i32.xor (i32.add (local.get $x) (local.get ${from})) (i32.const {step})))"
            );
        }
        let _ = writeln!(text, "(local.get $a))");
    }
    text.push_str("(func (export \"_start\")\n");
    for function in 0..500 {
        let _ = writeln!(text, "(drop (call $f{function} (i32.const {function})))");
    }
    text.push_str("))");
    text
}

#[test]
fn a_large_program_takes_little() {
    let scratch = common::scratch();
    let file = scratch.path().join("large.wat");
    std::fs::write(&file, large()).expect("a file");
    let report = scratch.path().join("report.json");
    let mut command = common::wdiff();
    command.arg("run").arg(&file).args(["--format", "json", "--output"]).arg(&report);
    let peak = peak(command);
    let report = std::fs::read_to_string(&report).expect("a report");
    let report = reports::json::from_str(&report).expect("a report");
    assert!(report.boundaries.executed > 100_000, "{:?}", report.boundaries);
    println!("{} MB for {} boundaries", peak >> 20, report.boundaries.r#static);
    assert!(peak <= MOST + (64 << 10), "{} MB", peak >> 20);
}

#[test]
fn a_large_memory_that_is_hardly_used_takes_nothing() {
    let scratch = common::scratch();
    let file = scratch.path().join("sparse.wat");
    // 2 GiB, of which four bytes are written.
    let text = r#"(module (memory 32768)
      (func (export "_start") (i32.store (i32.const 0x70000000) (i32.const 7))))"#;
    std::fs::write(&file, text).expect("a file");
    let mut command = common::wdiff();
    command.arg("run").arg(&file).stderr(Stdio::null());
    let peak = peak(command);
    assert!(peak <= MOST, "{} MB", peak >> 20);
}

#[test]
fn programs_of_the_corpus_take_little() {
    for name in ["vm", "word-count", "printf"] {
        let program = corpus::program(name).expect("a corpus program");
        let scratch = common::scratch();
        let mut command = common::wdiff();
        command.arg("run").args(common::arguments(&program, &scratch)).stderr(Stdio::null());
        let peak = peak(command);
        println!("{name}: {} MB", peak >> 20);
        // Their memories are of two pages or three.
        assert!(peak <= MOST, "{name}: {} MB", peak >> 20);
    }
}
