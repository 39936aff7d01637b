//! The witness on the command line: `smith` and `corpus`.
//!
//! Exit code 0 without and 1 with a difference; 2 when it could not be run.
#![forbid(unsafe_code)]

use clap::{Parser, Subcommand};
use oracle_witness::programs::{self, ProgramError};
use oracle_witness::smith::{self, Features};
use oracle_witness::{Options, Outcome, compare, engine};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Compares the oracle with Wasmtime's guest debugger, instruction by instruction.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Generated modules
    Smith {
        /// Seed of the first module; the others follow
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Number of seeds
        #[arg(long, default_value_t = 2000)]
        count: u64,
        /// Instructions after which a call is abandoned
        #[arg(long, default_value_t = 20_000)]
        budget: u64,
        /// Also generate what the oracle may not support yet
        #[arg(long)]
        all_features: bool,
        /// Print the line of every module
        #[arg(long)]
        verbose: bool,
    },
    /// Modules under a directory, or one file; those of the manifest as it says
    Corpus {
        /// Directory or file
        #[arg(default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../corpus"))]
        path: PathBuf,
        /// Instructions after which a call is abandoned
        #[arg(long, default_value_t = 300_000)]
        budget: u64,
    },
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error("Wasmtime: {0}")]
    Engine(#[from] wasmtime::Error),
    #[error("cannot keep {0}: {1}")]
    Keep(PathBuf, std::io::Error),
}

fn main() -> ExitCode {
    let begun = Instant::now();
    let outcome = match Cli::parse().command {
        Command::Smith { seed, count, budget, all_features, verbose } => {
            let features = if all_features { Features::ALL } else { Features::SUPPORTED };
            let options = Options { instructions_per_call: budget, ..Options::default() };
            run_smith(seed..seed.saturating_add(count), features, &options, verbose)
        }
        Command::Corpus { path, budget } => {
            let options = Options { instructions_per_call: budget, ..Options::default() };
            run_corpus(&path, &options)
        }
    };
    match outcome {
        Ok(outcome) => {
            print!("{outcome}");
            println!("{:<28} {:>12.1} s", "time", begun.elapsed().as_secs_f64());
            ExitCode::from(u8::from(!outcome.differences.is_empty()))
        }
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(2)
        }
    }
}

/// Where modules with a difference are kept.
const FOUND: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../corpus/found");

fn run_smith(
    seeds: std::ops::Range<u64>,
    features: Features,
    options: &Options,
    verbose: bool,
) -> Result<Outcome, Failure> {
    let engine = engine::engine()?;
    let mut total = Outcome::default();
    for seed in seeds {
        let Some(wasm) = smith::module(seed, features) else {
            *total.refused.entry("wasm-smith wants other bytes".to_string()).or_default() += 1;
            continue;
        };
        let options = Options { seed, ..options.clone() };
        let outcome = compare(&engine, &wasm, &options);
        if verbose {
            let (stops, differences) = (outcome.stops, outcome.differences.len());
            println!("seed {seed}: {stops} stops, {differences} differences {:?}", outcome.refused);
        }
        if !outcome.differences.is_empty() {
            let path = Path::new(FOUND).join(format!("witness-{seed}.wasm"));
            let kept = fs::create_dir_all(FOUND).and_then(|()| fs::write(&path, &wasm));
            kept.map_err(|error| Failure::Keep(path.clone(), error))?;
            for difference in &outcome.differences {
                println!("DIFFERENCE seed {seed}, {}: {difference}", path.display());
            }
        }
        total.add(outcome);
    }
    Ok(total)
}

fn run_corpus(path: &Path, options: &Options) -> Result<Outcome, Failure> {
    let engine = engine::engine()?;
    let mut total = Outcome::default();
    let files = if path.is_dir() { programs::modules_under(path)? } else { vec![path.to_owned()] };
    for file in files {
        let wasm = programs::load(&file)?;
        for prepared in programs::prepare(&file, options)? {
            let outcome = compare(&engine, &wasm, &prepared.options);
            for difference in &outcome.differences {
                println!("DIFFERENCE {}, {}: {difference}", prepared.name, file.display());
            }
            total.add(outcome);
        }
    }
    Ok(total)
}
