//! `wdiff selftest`: what it says, and that it would say otherwise.
//!
//! What makes it fail is tested on fabricated outcomes beside the decision
//! itself (`src/selftest/verdict.rs`); here the command runs.

mod common;

use reports::{Report, Selftest, SelftestOutcome, Verdict};
use std::collections::BTreeSet;
use std::path::Path;

/// Runs the command; the report must be there.
fn selftest(args: &[&str], scratch: &Path) -> (Option<i32>, Report) {
    let file = scratch.join("report.json");
    let output = common::wdiff()
        .arg("selftest")
        .args(["--format", "json", "--output"])
        .arg(&file)
        .args(args)
        .output()
        .expect("wdiff starts");
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let report = reports::json::from_str(&text).unwrap_or_else(|error| {
        panic!("{error}\n{text}\n{}", String::from_utf8_lossy(&output.stderr))
    });
    (output.status.code(), report)
}

fn section(report: &Report) -> &Selftest {
    report.selftest.as_ref().expect("a section selftest")
}

#[test]
fn every_effective_fault_is_caught_where_it_shows() {
    let scratch = common::scratch();
    let programs =
        ["mem-ops", "control", "many-locals", "br-table", "string-hash", "traps/deep-trap"];
    let mut args = vec!["--seed", "3", "--count", "12"];
    args.extend(programs);
    let (code, report) = selftest(&args, scratch.path());
    let counted = section(&report);
    for fault in &counted.faults {
        assert!(!fault.outcome.is_failure(), "{fault:#?}");
        assert_ne!(fault.outcome, SelftestOutcome::Unknown, "{fault:#?}");
    }
    assert_eq!((code, report.verdict), (Some(0), Verdict::Match));
    assert_eq!((counted.injected, counted.delay), (24, 0));
    assert_eq!(counted.caught, counted.effective);
    // All are drawn among what is executed; most of them must do something.
    assert_eq!(counted.reached, counted.injected);
    assert!(counted.effective * 2 > counted.injected, "{counted:#?}");
    let kinds = |sort: &str| counted.kinds.iter().filter(|k| k.kind.starts_with(sort)).count();
    assert!(kinds("code:") >= 8, "{:#?}", counted.kinds);
    assert!(kinds("map:") >= 3, "{:#?}", counted.kinds);
    let spread = |of: fn(&reports::SelftestFault) -> &str| {
        counted.faults.iter().map(of).collect::<BTreeSet<_>>().len()
    };
    assert_eq!(spread(|fault| &fault.program), programs.len());
    assert!(spread(|fault| &fault.instruction) >= 12);
}

#[test]
fn the_seed_determines_the_faults() {
    let scratch = common::scratch();
    let faults = |seed| {
        let (_, report) = selftest(&["--seed", seed, "--count", "3", "control"], scratch.path());
        section(&report).faults.iter().map(|fault| fault.fault.clone()).collect::<Vec<_>>()
    };
    assert_eq!(faults("7"), faults("7"));
    assert_ne!(faults("7"), faults("8"));
}

#[test]
fn a_fault_can_be_run_again_by_the_command_line_given() {
    let scratch = common::scratch();
    let (_, report) = selftest(&["--count", "2", "globals"], scratch.path());
    let caught = |fault: &&reports::SelftestFault| fault.outcome == SelftestOutcome::Caught;
    let fault = section(&report).faults.iter().find(caught).expect("a fault that was caught");
    let status = common::wdiff().args(&fault.rerun[1..]).output().expect("wdiff starts");
    assert_eq!(status.status.code(), Some(1), "{}", String::from_utf8_lossy(&status.stderr));
}

/// In a loop the place of a fault is come to again before what the first time left is
/// gone. Those times count: else the judge dates the effect a hundred boundaries too
/// early, and the report is called late.
#[test]
fn an_effect_in_a_loop_is_dated_where_it_is() {
    let scratch = common::scratch();
    let fault = "code:#7:0x380:constant";
    let args = ["--opt", "speed", "--fault", fault, "throw-vectors"];
    let (code, report) = selftest(&args, scratch.path());
    let counted = section(&report);
    assert_eq!((code, counted.faults[0].outcome), (Some(0), SelftestOutcome::Caught));
    assert_eq!(counted.faults[0].delay, Some(0));
}

/// Stores to what code only reads, the address of a table or its size. Nobody looks there
/// at each stop: in the end it is seen, and a second run finds out where it was spoilt.
#[test]
fn wild_stores_are_found_where_they_are_made() {
    let scratch = common::scratch();
    for (options, fault, program) in [
        (&["--opt", "speed"][..], "code:#4:0x1a8:store", "vectors"),
        (&["--opt", "speed"], "code:#4:0xd8:store", "multi-results"),
        (&["--stable", "calls"], "code:#2:0xb4:store", "globals"),
        (&["--stable", "calls"], "code:#22:0x6a5:store", "throw-tail"),
        (&["--stable", "calls"], "code:#9:0x408:store", "throw-rethrow"),
    ] {
        let (code, report) =
            selftest(&[options, &["--fault", fault, program]].concat(), scratch.path());
        let tried = &section(&report).faults[0];
        let effect = tried.effect.as_deref().unwrap_or_default();
        assert!(effect.contains("instance data"), "{tried:#?}");
        assert_eq!((code, tried.delay), (Some(0), Some(0)), "{tried:#?}");
    }
}

/// What a stable point lacks is missed by nobody if it is never read again.
#[test]
fn a_dead_value_need_not_be_there() {
    let scratch = common::scratch();
    let options = ["--opt", "speed", "--stable", "calls"];
    let fault = ["--fault", "stable:#5:0x285:missing", "throw-frames"];
    let (code, report) = selftest(&[&options[..], &fault].concat(), scratch.path());
    assert_eq!((code, section(&report).faults[0].outcome), (Some(0), SelftestOutcome::NoEffect));
}

#[test]
fn faults_of_each_sort_are_judged() {
    let scratch = common::scratch();
    let args = ["--stable", "calls", "--seed", "5", "--count", "36", "fib", "even", "globals"];
    let (code, report) = selftest(&args, scratch.path());
    let counted = section(&report);
    assert_eq!((code, counted.caught), (Some(0), counted.effective), "{:#?}", counted.faults);
    for sort in ["code:store", "boundary:missing", "boundary:swapped", "frame:cfa"] {
        assert!(counted.kinds.iter().any(|kind| kind.kind == sort), "{sort}: {counted:#?}");
    }
    let sorts = counted.kinds.iter().filter(|kind| kind.kind.starts_with("stable:"));
    assert_eq!(sorts.filter(|kind| kind.caught > 0).count(), 4, "{:#?}", counted.kinds);
}

#[test]
fn the_text_is_a_table() {
    let output = common::wdiff()
        .args(["selftest", "--count", "1", "globals"])
        .output()
        .expect("wdiff starts");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}");
    for word in ["injected", "reached", "effective", "caught", "delay", "map:"] {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn what_cannot_be_tried_is_refused() {
    let scratch = common::scratch();
    let empty = scratch.path().join("empty.wat");
    std::fs::write(&empty, "(module (func (export \"_start\")))").expect("a file");
    let empty = empty.to_str().expect("a path in UTF-8");
    for (args, code, says) in [
        (&["no-such-program"][..], 2, "no-such-program"),
        (&["--count", "0"], 2, "--count"),
        (&["--count", "5000", empty], 2, "--count"),
        (&["--format", "html", "fib"], 3, "html"),
        (&["--anchors", "srcloc", "fib"], 3, "srcloc"),
        (&["files"], 3, "directories"),
        (&["--fault", "label:fib:0x2b:0", "fib"], 3, "no judge"),
        (&["--fault", "every:i32.add:swap", "fib"], 3, "no judge"),
        (&["--fault", "every:i32.add:swap"], 2, "PROG"),
        (&["traps/active-data-out-of-bounds"], 3, "without any fault"),
        (&["fib", "--invoke", "fib", "--", "3"], 2, "the corpus says"),
        (&["--stdin", "/dev/null"], 2, "beside a PROG"),
    ] {
        let output = common::wdiff().arg("selftest").args(args).output().expect("wdiff starts");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
        assert!(text.contains(says), "{args:?}: {text}");
    }
}

/// A program from a file is run as `wdiff run` would run it, with what follows.
#[test]
fn a_program_is_given_what_is_said() {
    let scratch = common::scratch();
    let program = corpus::program("ackermann").expect("a program of the corpus").wasm_path();
    let program = program.to_str().expect("a path in UTF-8");
    let call = [program, "--invoke", "ackermann", "--", "2", "3"];
    let (code, report) = selftest(&[&["--count", "4"], &call[..]].concat(), scratch.path());
    let drawn = section(&report);
    assert_eq!((code, drawn.injected, drawn.seed), (Some(0), 8, Some(1)), "{drawn:#?}");
    assert_eq!(drawn.caught, drawn.effective);
    for fault in &drawn.faults {
        assert!(fault.rerun.ends_with(&call.map(str::to_owned)), "{:?}", fault.rerun);
    }
    // The same of one that is named: nothing was drawn.
    let named = ["--fault", &drawn.faults[0].fault];
    let (_, report) = selftest(&[&named[..], &call[..]].concat(), scratch.path());
    assert_eq!(section(&report).faults[0].outcome, drawn.faults[0].outcome);
    assert_eq!(section(&report).seed, None);
}
