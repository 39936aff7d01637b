//! What stable points cost a program that nobody stops.
//!
//! Each program is compiled as it ships (`--anchors srcloc`, opt speed), without stable
//! points and with `--stable calls`, and runs natively: no stop is made but for
//! what the code asks its kernel for. Four versions of it are timed:
//!
//! | version | what it pays for |
//! |---|---|
//! | off | nothing: the time the others are divided by |
//! | silent | values that are kept, NOPs where polls are, unless a branch leads past them |
//! | armed | the same and a look at the flag at each stable point |
//! | restorable | as silent, and a way in at each stable point with a state from elsewhere |
//!
//! They run by turns (`timing`). The median over
//! the rounds of the ratios within a round counts for a program, the geometric
//! mean for all. How far chance reaches is said by bootstrap: the rounds of each
//! program are drawn anew, with replacement, and between the bounds lie 95 of 100
//! results. It is not Criterion's way to measure, which times one thing for
//! a while and then the other: on a machine that others use too the difference
//! that is looked for is smaller than what changes in between.
//!
//! `cargo bench --bench stable`, or with `-- --rounds N` (30). Programs of yours:
//! `-- --program "PATH [OPTIONS OF wdiff run] [-- ARGS]"`, any number of times; their
//! host calls are recorded beforehand and answered from the log. With `-- --density`
//! stable points of each kind, and how soon a program halts that is asked to.
//! Run without `--bench`, as `cargo test` does, it makes one round of little of both.

mod density;
mod programs;
mod statistics;
mod timing;

use aot_backend::StablePoints;
use programs::Bench;
use statistics::{median, percent};
use std::process::ExitCode;
use timing::{Times, Version};

/// The versions of a program.
const VERSIONS: [Version; 4] = [
    Version::OFF,
    Version::silent("silent", StablePoints::Calls),
    Version::armed("armed", StablePoints::Calls),
    Version { restorable: true, ..Version::silent("restorable", StablePoints::Calls) },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let values = |name: &str| {
        let at = arguments.iter().enumerate().filter(move |(_, each)| *each == name);
        at.filter_map(|(at, _)| arguments.get(at + 1)).cloned().collect::<Vec<_>>()
    };
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let rounds = values("--rounds").first().and_then(|text| text.parse().ok());
    let rounds: usize = rounds.unwrap_or(30).max(1);
    let programs = values("--program");
    let done = match (has("--bench"), has("--density")) {
        (true, false) => benches(true, &programs).and_then(|all| report(&all, rounds)),
        (true, true) => benches(true, &programs).and_then(|all| density::report(&all, rounds)),
        (false, _) => benches(false, &programs)
            .and_then(|all| report(&all, 1).and_then(|()| density::report(&all, 1))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The bench's own programs, and those of the command line.
fn benches(measures: bool, more: &[String]) -> Result<Vec<Bench>, String> {
    let scratch = tempfile::tempdir().map_err(text)?;
    let mut benches = Bench::own(scratch.path(), measures)?;
    for line in more {
        benches.push(Bench::of_line(line)?);
    }
    Ok(benches)
}

/// Measures all programs and prints a table.
fn report(benches: &[Bench], rounds: usize) -> Result<(), String> {
    println!(
        "{:<16} {:>9}   {:>7} {:>7} {:>10}   {:>9} {:>6} {:>10}",
        "program", "off ms", "silent", "armed", "restorable", "code", "silent", "restorable"
    );
    let mut ratios = vec![Vec::new(); VERSIONS.len() - 1];
    for bench in benches {
        let times = timing::measure(bench, &VERSIONS, rounds)?;
        line(&bench.name, &times);
        for (all, own) in ratios.iter_mut().zip(times.ratios) {
            all.push(own);
        }
    }
    for (version, ratios) in VERSIONS[1..].iter().zip(&ratios) {
        println!("{}: {}", version.name, statistics::line(ratios));
    }
    Ok(())
}

/// The line of a program.
fn line(name: &str, times: &Times) {
    let slower = |version: usize| percent(median(times.ratios[version - 1].clone()));
    println!(
        "{name:<16} {:>9.2}   {:>+6.1}% {:>+6.1}% {:>+9.1}%   {:>9} {:>6.2} {:>10.2}",
        1e3 * times.first,
        slower(1),
        slower(2),
        slower(3),
        times.sizes[0],
        times.size(1),
        times.size(3),
    );
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
