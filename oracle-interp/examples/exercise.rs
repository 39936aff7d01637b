//! Generated and damaged modules on the oracle, as many as are wanted.
//!
//! ```text
//! cargo run --release -p oracle-interp --example exercise -- smith COUNT [SEED]
//! cargo run --release -p oracle-interp --example exercise -- damage COUNT [SEED] FILE...
//! ```
//!
//! Prints how many ended how, and ends with 1 at the first that breaks an
//! invariant of the interpreter, with the seed that makes it again.

#[path = "../tests/support/generate.rs"]
mod generate;

use oracle_interp::exercise::{Exercised, exercise};
use std::process::ExitCode;

/// Instructions per call.
const FUEL: u64 = 2_000;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (mode, rest) = match args.split_first() {
        Some((mode, rest)) if mode == "smith" || mode == "damage" => (mode.as_str(), rest),
        _ => return usage(),
    };
    let Some(Ok(count)) = rest.first().map(|word| word.parse::<u64>()) else { return usage() };
    let (first, files) = match rest.get(1).map(|word| word.parse::<u64>()) {
        Some(Ok(seed)) => (seed, &rest[2..]),
        _ => (0, &rest[1..]),
    };
    let modules: Result<Vec<Vec<u8>>, _> = files.iter().map(std::fs::read).collect();
    let modules = match modules {
        Ok(modules) if mode == "smith" || !modules.is_empty() => modules,
        Ok(_) => return usage(),
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let mut all = Exercised::default();
    for seed in first..first + count {
        let bytes = match mode {
            "smith" => generate::generate(seed),
            _ => generate::damage(&modules[seed as usize % modules.len()], seed),
        };
        match exercise(&bytes, FUEL) {
            Ok(done) => all.add(done),
            Err(error) => {
                eprintln!("seed {seed}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    println!("{count} modules, {} instructions executed", all.instructions);
    for (outcome, number) in &all.outcomes {
        println!("{number:9}  {outcome}");
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("usage: exercise smith COUNT [SEED] | exercise damage COUNT [SEED] FILE...");
    ExitCode::from(2)
}
