//! What stable points cost a program that nobody stops.
//!
//! Each program is compiled without stable points and with `--stable calls`,
//! at opt speed, and runs natively: every boundary's trap is a NOP, no stop is
//! made but for what the code asks its kernel for. Three versions of it are timed:
//!
//! | version | what it pays for |
//! |---|---|
//! | off | nothing: the time the others are divided by |
//! | silent | values that are kept, NOPs where polls are |
//! | armed | the same and a look at the flag at each stable point |
//!
//! In each round all three run one after the other, in an order that rotates, so
//! that whatever else the machine is doing weighs on all of them. The median over
//! the rounds of the ratios within a round counts for a program, the geometric
//! mean for all. It is not Criterion's way to measure, which times one thing for
//! a while and then the other: on a machine that others use too the difference
//! that is looked for is smaller than what changes in between.
//!
//! The traps, NOPs here, are still barriers to the optimiser in all versions,
//! so this is not the cost in code as it ships.
//!
//! `cargo bench --bench stable`, or with `-- --rounds N`.
//! Run without `--bench`, as `cargo test` does, it makes one round of little.

use aot_backend::{CompileOptions, Image, OptLevel, StablePoints};
use clap::Parser;
use std::process::ExitCode;
use std::time::Instant;
use wasi_host::OperationLog;
use wdiff::cli::{Cli, Command, RunArgs};
use wdiff::invoke::{self, Calls};
use wdiff::lockstep::plan::Plan;
use wdiff::lockstep::stops::Control;
use wdiff::program::{self, Program};
use wdiff::selftest::machine::{End, Machine, Seen};
use wdiff::session::Session;

/// Calls, in a tree.
const FIB: &str = r#"(module (func $fib (export "run") (param i32) (result i32)
  (if (result i32) (i32.lt_u (local.get 0) (i32.const 2))
    (then (local.get 0))
    (else (i32.add
      (call $fib (i32.sub (local.get 0) (i32.const 1)))
      (call $fib (i32.sub (local.get 0) (i32.const 2))))))))"#;

/// A loop that does next to nothing, within a loop.
const SIEVE: &str = r#"(module (memory 64)
  (func (export "run") (param $n i32) (result i32) (local $i i32) (local $j i32) (local $c i32)
    (local.set $i (i32.const 2))
    (loop $outer
      (if (i32.eqz (i32.load8_u (local.get $i)))
        (then
          (local.set $c (i32.add (local.get $c) (i32.const 1)))
          (local.set $j (i32.shl (local.get $i) (i32.const 1)))
          (block $done
            (loop $inner
              (br_if $done (i32.ge_u (local.get $j) (local.get $n)))
              (i32.store8 (local.get $j) (i32.const 1))
              (local.set $j (i32.add (local.get $j) (local.get $i)))
              (br $inner)))))
      (br_if $outer (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n))))
    (local.get $c)))"#;

/// Floats in three nested loops.
const GEMM: &str = r#"(module (memory 64)
  (func (export "run") (param $n i32) (result f64)
    (local $i i32) (local $j i32) (local $k i32) (local $s f64) (local $t f64)
    (loop $is
      (local.set $j (i32.const 0))
      (loop $js
        (local.set $k (i32.const 0))
        (local.set $s (f64.const 0))
        (loop $ks
          (local.set $s (f64.add (local.get $s) (f64.mul
            (f64.load (i32.shl (i32.add (i32.mul (local.get $i) (local.get $n)) (local.get $k)) (i32.const 3)))
            (f64.load offset=1048576 (i32.shl (i32.add (i32.mul (local.get $k) (local.get $n)) (local.get $j)) (i32.const 3))))))
          (br_if $ks (i32.lt_u (local.tee $k (i32.add (local.get $k) (i32.const 1))) (local.get $n))))
        (f64.store offset=2097152
          (i32.shl (i32.add (i32.mul (local.get $i) (local.get $n)) (local.get $j)) (i32.const 3))
          (local.get $s))
        (local.set $t (f64.add (local.get $t) (local.get $s)))
        (br_if $js (i32.lt_u (local.tee $j (i32.add (local.get $j) (i32.const 1))) (local.get $n))))
      (br_if $is (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n))))
    (local.get $t)))"#;

/// Name, text, and the parameter: of a measurement and of a trial.
const OWN: [(&str, &str, u32, u32); 3] =
    [("fib", FIB, 32, 12), ("sieve", SIEVE, 4_000_000, 1000), ("gemm", GEMM, 320, 8)];

/// The versions of a program, by position in its results.
const VERSIONS: [&str; 3] = ["off", "silent", "armed"];

/// One program, ready to run.
struct Bench {
    name: String,
    program: Program,
    calls: Calls,
    log: OperationLog,
    /// Without stable points, and with.
    images: [Image; 2],
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let values = |name: &str| {
        let at = arguments.iter().enumerate().filter(move |(_, each)| *each == name);
        at.filter_map(|(at, _)| arguments.get(at + 1)).cloned().collect::<Vec<_>>()
    };
    let measures = arguments.iter().any(|argument| argument == "--bench");
    let rounds = values("--rounds").first().and_then(|text| text.parse().ok());
    let rounds: usize = if measures { rounds.unwrap_or(11) } else { 1 };
    match run(measures, rounds.max(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(measures: bool, rounds: usize) -> Result<(), String> {
    let scratch = tempfile::tempdir().map_err(text)?;
    let mut benches = Vec::new();
    for (name, module, long, short) in OWN {
        let path = scratch.path().join(format!("{name}.wat"));
        std::fs::write(&path, module).map_err(text)?;
        let parameter = if measures { long } else { short }.to_string();
        let path = path.display().to_string();
        let words = [&path, "--invoke", "run", "--", &parameter].map(str::to_owned);
        benches.push(Bench::new(name.to_owned(), &words)?);
    }
    println!(
        "{:<16} {:>9} {:>9} {:>9}   {:>7} {:>7}   {:>7}",
        "program", "off ms", "silent", "armed", "silent", "armed", "code"
    );
    let mut logarithms = [0.0; 2];
    for bench in &benches {
        let ratios = bench.measure(rounds)?;
        for (sum, ratio) in logarithms.iter_mut().zip(ratios) {
            *sum += ratio.ln();
        }
    }
    let [silent, armed] = logarithms.map(|sum| 100.0 * ((sum / benches.len() as f64).exp() - 1.0));
    println!("geometric mean of {}: silent {silent:+.1} %, armed {armed:+.1} %", benches.len());
    Ok(())
}

impl Bench {
    /// `words` are those of a command line of `wdiff run`.
    fn new(name: String, words: &[String]) -> Result<Bench, String> {
        let args = options(words)?;
        let program = program::load(&args.program).map_err(text)?;
        let calls = invoke::calls(&args, &program).map_err(text)?;
        let image = |stable| {
            let options =
                CompileOptions { opt: OptLevel::Speed, stable, ..CompileOptions::default() };
            aot_backend::compile(&program.wasm, &options).map_err(text)
        };
        let images = [image(StablePoints::Off)?, image(StablePoints::Calls)?];
        // They have no imports: there is nothing to answer.
        Ok(Bench { name, program, calls, log: OperationLog::default(), images })
    }

    /// Measures, prints a line, and answers what the two versions with stable
    /// points take in terms of the one without.
    fn measure(&self, rounds: usize) -> Result<[f64; 2], String> {
        let mut times: [Vec<f64>; 3] = Default::default();
        for round in 0..rounds {
            for turn in 0..VERSIONS.len() {
                let version = (round + turn) % VERSIONS.len();
                times[version].push(self.time(version)?);
            }
        }
        let ratio = |version: usize| {
            let pairs = times[version].iter().zip(&times[0]);
            median(pairs.map(|(with, without)| with / without).collect())
        };
        let ratios = [ratio(1), ratio(2)];
        let [off, silent, armed] = times.map(|times| 1e3 * median(times));
        let percent = |ratio: f64| 100.0 * (ratio - 1.0);
        let size = |image: &Image| image.text.len() as f64;
        println!(
            "{:<16} {off:>9.2} {silent:>9.2} {armed:>9.2}   {:>+6.1}% {:>+6.1}%   {:>+6.0}%",
            self.name,
            percent(ratios[0]),
            percent(ratios[1]),
            percent(size(&self.images[1]) / size(&self.images[0])),
        );
        Ok(ratios)
    }

    /// Seconds that one run of a version takes, from its first instruction on.
    fn time(&self, version: usize) -> Result<f64, String> {
        let image = &self.images[usize::from(version > 0)];
        let session = Session { program: &self.program, image, calls: &self.calls };
        let control = Control::new();
        let plan = Plan::new(image).map_err(text)?;
        let mut machine = Machine::new(&session, &self.log, &control).map_err(text)?;
        machine.silence().map_err(text)?;
        if version == 2 {
            for point in image.map.functions.iter().flat_map(|function| &function.stable_points) {
                machine.subject.text().write_code(point.poll, &point.armed).map_err(text)?;
            }
        }
        let began = Instant::now();
        let seen = machine.run_on(&plan).map_err(text)?;
        let elapsed = began.elapsed().as_secs_f64();
        match seen {
            Seen::Over(End::Returned(_) | End::Exited(_)) => Ok(elapsed),
            other => Err(format!("{}, {}: {other:?}", self.name, VERSIONS[version])),
        }
    }
}

/// The options of a run.
fn options(words: &[String]) -> Result<RunArgs, String> {
    let command = ["wdiff", "run"].map(str::to_owned).into_iter().chain(words.iter().cloned());
    match Cli::try_parse_from(command).map_err(text)?.command {
        Command::Run(args) => Ok(*args),
        _ => Err("`run` is not run".into()),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
