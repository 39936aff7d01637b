//! Ten thousand damaged modules: none may panic, hang, diverge or meet a bug.
//!
//! All are decoded, and those that are still valid are compiled and run in
//! lockstep while the budget lasts; `examples/mutants.rs` runs all. A sample
//! goes through the command itself, whose words and exit code count then.

mod common;
#[path = "common/mutants.rs"]
mod mutants;

use std::time::Duration;

const SEED: u64 = 1;
const COUNT: usize = 10_000;
/// Parts that may run side by side.
const PARTS: usize = 4;
/// Time in which a part still runs valid mutants.
const BUDGET: Duration = Duration::from_secs(45);
/// Every so manieth mutant goes through the command too.
const SAMPLED: usize = 50;

fn part(number: usize) {
    let size = COUNT / PARTS;
    let range = number * size..(number + 1) * size;
    let tally = mutants::try_all(SEED, range, |passed| passed < BUDGET, |_, _| ());
    println!("{:#?}; {} run", tally.fates, tally.executed);
    assert!(tally.failures.is_empty(), "{}", tally.failures.join("\n"));
    assert!(tally.executed >= 50, "only {} mutants were run", tally.executed);
}

#[test]
fn part_0() {
    part(0);
}

#[test]
fn part_1() {
    part(1);
}

#[test]
fn part_2() {
    part(2);
}

#[test]
fn part_3() {
    part(3);
}

#[test]
fn the_command_answers_each_in_one_line_or_with_a_report() {
    let programs = mutants::programs();
    let modules: Vec<Vec<u8>> = programs.iter().map(|program| program.wasm().unwrap()).collect();
    let scratch = common::scratch();
    for index in (0..COUNT).step_by(SAMPLED) {
        let (which, mutant) = mutants::nth(&programs, &modules, SEED, index);
        let file = scratch.path().join("mutant.wasm");
        std::fs::write(&file, &mutant.bytes).unwrap();
        let program = &programs[which];
        let mut command = common::wdiff();
        command.arg("run").arg(&file).args(["--max-stops", "2000", "--timeout", "5"]);
        let args = mutants::arguments(program, &file);
        if let Some(function) = &args.world.invoke {
            command.args(["--invoke", function]);
        }
        command.arg("--").args(&args.world.args);
        let ran = common::within(command, mutants::HANG);
        let who = format!("mutant {index} of seed {SEED}, {}", program.name);
        let said = &ran.stderr;
        assert!(matches!(ran.code, Some(0 | 2 | 3)), "{who}: exit {:?}\n{said}", ran.code);
        assert!(!said.contains("panicked"), "{who}: {said}");
        // A program that is run may say something of its own before the report.
        let reported = said.contains("What was looked at");
        if ran.code == Some(2) || !reported {
            assert_eq!(said.trim_end().lines().count(), 1, "{who}: {said}");
            assert!(said.starts_with("wdiff: "), "{who}: {said}");
        }
    }
}
