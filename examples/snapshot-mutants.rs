//! Damaged snapshots, as many as are wanted: each is refused, or resumed exactly.
//!
//! ```text
//! cargo run --release --example snapshot-mutants -- [COUNT [SEED]]
//! ```
//! Snapshots are taken of programs of the corpus, at several stable points each;
//! see `wdiff::snapshot::mutants`. Prints what became of them, and ends with 1 if one
//! panicked, or was accepted and did not go on as the oracle did.

#[path = "../tests/common/arguments.rs"]
mod arguments;

use clap::Parser;
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Instant;
use wdiff::cli::{Cli, Command};
use wdiff::snapshot::mutants::{Tally, try_all};

/// Programs with one thing or another in their state, and the code to resume in.
const PROGRAMS: &[(&str, &str)] = &[
    ("n-queens", "x86_64:speed"),
    ("vm", "x86_64:none"),
    ("tables", "x86_64:speed"),
    ("globals", "x86_64:speed"),
    ("simd-ops", "x86_64:speed"),
    ("throw-references", "x86_64:speed"),
    ("linked-list", "x86_64:none"),
    ("quicksort", "x86_64:speed"),
];

fn main() -> ExitCode {
    let mut numbers = std::env::args().skip(1).map(|word| word.parse::<u64>());
    let mut next = |default| numbers.next().unwrap_or(Ok(default));
    let (Ok(count), Ok(seed)) = (next(10_000), next(1)) else {
        eprintln!("usage: snapshot-mutants [COUNT [SEED]]");
        return ExitCode::from(2);
    };
    let began = Instant::now();
    let mut tally = Tally::default();
    for (at, (name, side)) in (0..).zip(PROGRAMS) {
        let shares = PROGRAMS.len() as u64;
        let share = count / shares + u64::from(at < count % shares);
        match of_program(name, side, share, seed) {
            Ok(tried) => tally.add(tried),
            Err(error) => {
                eprintln!("{name}: {error}");
                return ExitCode::from(2);
            }
        }
        eprintln!("{name}: {share} tried, {:.0} s", began.elapsed().as_secs_f64());
    }
    for failure in &tally.failures {
        println!("{failure}");
    }
    println!("{count} damaged snapshots of {} programs, seed {seed}", PROGRAMS.len());
    for (fate, number) in &tally.fates {
        println!("{number:8}  {fate}");
    }
    println!("{} failures; {:.0} s in all", tally.failures.len(), began.elapsed().as_secs_f64());
    ExitCode::from(u8::from(!tally.failures.is_empty()))
}

fn of_program(name: &str, side: &str, count: u64, seed: u64) -> Result<Tally, String> {
    let program = corpus::program(name).map_err(|error| error.to_string())?;
    let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut words: Vec<OsString> = ["wdiff", "migrate", "--relay", side].map(Into::into).to_vec();
    words.extend(arguments::arguments(&program, &scratch));
    let parsed = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
    let Command::Migrate(args) = parsed.command else {
        return Err("`migrate` is not migrate".to_owned());
    };
    try_all(&args, count, seed).map_err(|error| error.to_string())
}
