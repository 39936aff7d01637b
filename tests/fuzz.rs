//! Generated modules in lockstep: a short run, and that it can fail.

mod common;

use dwarf_map::Location;
use std::time::Duration;
use wdiff::fuzz::{Wishes, case, case_of_bytes, run_case, try_bytes};
use wdiff::inject::map::displaced;
use wdiff::lockstep::stops::Control;

#[test]
fn generated_modules_agree() {
    let scratch = common::scratch();
    let mut command = common::wdiff();
    command.args(["fuzz", "--seed", "1", "--count", "60", "--failures"]).arg(scratch.path());
    let ran = common::within(command, Duration::from_secs(120));
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert_eq!(ran.code, Some(0), "{said}\n{}", ran.stderr);
    assert!(said.starts_with("60 seeds:"), "{said}");
    assert_eq!(std::fs::read_dir(scratch.path()).expect("a directory").count(), 0);
}

/// Killed at any time, a run goes on where it was, with figures that fit.
#[test]
fn what_was_killed_goes_on() {
    let scratch = common::scratch();
    let state = scratch.path().join("state");
    let start = || {
        let mut command = common::wdiff();
        command.args(["fuzz", "--seed", "301", "--count", "600", "--state"]).arg(&state);
        command.args(["--jobs", "2", "--failures"]).arg(scratch.path().join("failures"));
        command
    };
    let mut first = start().stdout(std::process::Stdio::null()).spawn().expect("wdiff starts");
    let began = std::time::Instant::now();
    while !state.exists() && began.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(20));
    }
    first.kill().expect("it is ours");
    first.wait().expect("it is ours");
    let written = std::fs::read_to_string(&state).expect("written between batches");
    assert!(written.contains("\"tried\""), "{written}");
    let lines = |stdout: &[u8]| {
        let text = String::from_utf8_lossy(stdout).into_owned();
        let lines = text.lines().filter(|line| !line.ends_with("modules/s"));
        lines.collect::<Vec<_>>().join("\n")
    };
    let resumed = common::within(start(), Duration::from_secs(120));
    assert_eq!(resumed.code, Some(0), "{}", resumed.stderr);
    std::fs::remove_file(&state).expect("it is there");
    let whole = common::within(start(), Duration::from_secs(120));
    assert_eq!(lines(&resumed.stdout), lines(&whole.stdout));
    // Other seeds are another run.
    let mut other = start();
    other.args(["--opt", "none"]);
    let other = common::within(other, Duration::from_secs(10));
    assert_eq!(other.code, Some(2), "{}", other.stderr);
}

/// Bytes that a coverage-guided fuzzer would choose: modules come of them, and agree.
#[test]
fn modules_of_given_bytes_agree() {
    let mut random = corpus::SplitMix64::new(7);
    let mut modules = 0;
    for length in (0..40).map(|step| step * 40) {
        let bytes: Vec<u8> = (0..length).map(|_| random.next_u64() as u8).collect();
        modules += usize::from(matches!(case_of_bytes(&bytes), Some(Ok(_))));
        assert_eq!(try_bytes(&bytes, None), Ok(()), "{bytes:?}");
    }
    assert!(modules > 20, "{modules}");
}

/// Whatever location of a map is displaced, with enough modules it shows.
#[test]
fn a_wrong_map_is_found() {
    // All ptrace calls of a subject come from one thread: this one.
    for sort in ["register or frame", "derived"] {
        let mut found = 0;
        for seed in 1..60 {
            let Some(Ok(case)) = case(seed, &Wishes::default()) else { continue };
            let outcome = run_case(
                &case,
                |image| {
                    for function in &mut image.map.functions {
                        for location in
                            function.boundaries.iter_mut().flat_map(|b| &mut b.locations)
                        {
                            let is_derived = matches!(location, Location::Derived(_));
                            let is_constant = matches!(location, Location::Constant(_));
                            if is_derived == (sort == "derived")
                                && !is_constant
                                && let Some(wrong) = displaced(*location, &function.expressions)
                            {
                                *location = wrong;
                            }
                        }
                    }
                },
                &Control::new(),
            );
            found += usize::from(!outcome.expect("the host allows it").wrong.is_empty());
        }
        assert!(found > 10, "{sort}: only {found} wrong maps were found");
    }
}
