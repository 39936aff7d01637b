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
//! In each round all run one after the other, in an order that rotates, so
//! that whatever else the machine is doing weighs on all of them; and from round
//! to round the code lies elsewhere, because a loop may take half as long again
//! only for the bytes it lies at (a branch that meets the end of a 32-byte line,
//! on Intel's processors before Ice Lake), and that is nobody's cost. The median over
//! the rounds of the ratios within a round counts for a program, the geometric
//! mean for all. How far chance reaches is said by bootstrap: the rounds of each
//! program are drawn anew, with replacement, and between the bounds lie 95 of 100
//! results. It is not Criterion's way to measure, which times one thing for
//! a while and then the other: on a machine that others use too the difference
//! that is looked for is smaller than what changes in between.
//!
//! `cargo bench --bench stable`, or with `-- --rounds N` (30). Programs of yours:
//! `-- --program "PATH [OPTIONS OF wdiff run] [-- ARGS]"`, any number of times; their
//! host calls are recorded beforehand and answered from the log.
//! Run without `--bench`, as `cargo test` does, it makes one round of little.

use aot_backend::{Anchors, CompileOptions, Image, OptLevel, Restorable, StablePoints};
use clap::Parser;
use corpus::SplitMix64;
use dwarf_map::detour;
use std::process::ExitCode;
use wasi_host::{OperationLog, Output, Stdin, World};
use wdiff::cli::{Cli, Command, RunArgs};
use wdiff::invoke::{self, Calls};
use wdiff::lockstep::follow::Requests;
use wdiff::lockstep::plan::Plan;
use wdiff::lockstep::stops::{Control, Where};
use wdiff::program::{self, Program};
use wdiff::selftest::machine::{End, Machine, Seen};
use wdiff::session::Session;
use wdiff::world;

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
const VERSIONS: [&str; 4] = ["off", "silent", "armed", "restorable"];

/// Which of a bench's images a version runs.
const IMAGES: [usize; 4] = [0, 1, 1, 2];

/// One program, ready to run.
struct Bench {
    name: String,
    program: Program,
    calls: Calls,
    log: OperationLog,
}

/// Where the code lies: bytes behind where it would.
const SHIFTS: [u32; 15] = [0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let values = |name: &str| {
        let at = arguments.iter().enumerate().filter(move |(_, each)| *each == name);
        at.filter_map(|(at, _)| arguments.get(at + 1)).cloned().collect::<Vec<_>>()
    };
    let measures = arguments.iter().any(|argument| argument == "--bench");
    let rounds = values("--rounds").first().and_then(|text| text.parse().ok());
    let rounds: usize = if measures { rounds.unwrap_or(30) } else { 1 };
    match run(measures, rounds.max(1), &values("--program")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(measures: bool, rounds: usize, more: &[String]) -> Result<(), String> {
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
    for line in more {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let name = words.first().map(|path| path.rsplit('/').next().unwrap_or(path).to_owned());
        benches.push(Bench::new(name.unwrap_or_default(), &words)?);
    }
    println!(
        "{:<16} {:>9}   {:>7} {:>7} {:>10}   {:>9} {:>6} {:>10}",
        "program", "off ms", "silent", "armed", "restorable", "code", "silent", "restorable"
    );
    let mut ratios: [Vec<Vec<f64>>; 3] = Default::default();
    for bench in &benches {
        for (all, own) in ratios.iter_mut().zip(bench.measure(rounds)?) {
            all.push(own);
        }
    }
    for (name, ratios) in VERSIONS[1..].iter().zip(&ratios) {
        let [low, high] = bounds(ratios);
        println!(
            "{name}: geometric mean of {} programs {:+.1} %, 95 % within {:+.1} .. {:+.1} %",
            benches.len(),
            percent(mean(ratios)),
            percent(low),
            percent(high)
        );
    }
    Ok(())
}

/// The geometric mean of the programs' medians.
fn mean(programs: &[Vec<f64>]) -> f64 {
    let logarithms = programs.iter().map(|ratios| median(ratios.clone()).ln());
    (logarithms.sum::<f64>() / programs.len() as f64).exp()
}

/// Between what 95 of 100 such means lie, by drawing the rounds anew.
fn bounds(programs: &[Vec<f64>]) -> [f64; 2] {
    const DRAWS: usize = 2000;
    let mut random = SplitMix64::new(1);
    let mut draw = |ratios: &Vec<f64>| -> Vec<f64> {
        ratios.iter().map(|_| ratios[random.below(ratios.len())]).collect()
    };
    let mut means: Vec<f64> =
        (0..DRAWS).map(|_| mean(&programs.iter().map(&mut draw).collect::<Vec<_>>())).collect();
    means.sort_by(f64::total_cmp);
    [means[DRAWS / 40], means[DRAWS - 1 - DRAWS / 40]]
}

fn percent(ratio: f64) -> f64 {
    100.0 * (ratio - 1.0)
}

impl Bench {
    /// `words` are those of a command line of `wdiff run`.
    fn new(name: String, words: &[String]) -> Result<Bench, String> {
        let args = options(words)?;
        let program = program::load(&args.program).map_err(text)?;
        let calls = invoke::calls(&args.world, &program).map_err(text)?;
        let log = record(&args, &program, &calls)?;
        Ok(Bench { name, program, calls, log })
    }

    /// Without stable points, with them, and restorable, all at one place.
    fn images(&self, shift: u32) -> Result<[Image; 3], String> {
        let image = |stable, restorable| {
            let options = CompileOptions {
                opt: OptLevel::Speed,
                anchors: Anchors::Srcloc,
                stable,
                restorable,
                shift,
                ..CompileOptions::default()
            };
            aot_backend::compile(&self.program.wasm, &options).map_err(text)
        };
        Ok([
            image(StablePoints::Off, Restorable::None)?,
            image(StablePoints::Calls, Restorable::None)?,
            image(StablePoints::Calls, Restorable::All)?,
        ])
    }

    /// Measures, prints a line, and answers what the versions with stable points
    /// take in terms of the one without, by round.
    fn measure(&self, rounds: usize) -> Result<[Vec<f64>; 3], String> {
        let mut times: [Vec<f64>; 4] = Default::default();
        let mut sizes = [0.0; 3];
        // The rounds of one place follow each other: an image of a large program
        // has a map of hundreds of megabytes.
        for (place, shift) in SHIFTS.iter().enumerate().take(rounds) {
            let images = self.images(*shift)?;
            sizes = images.each_ref().map(|image| code_size(image) as f64);
            for round in (place..rounds).step_by(SHIFTS.len()) {
                for turn in 0..VERSIONS.len() {
                    let version = (round + turn) % VERSIONS.len();
                    times[version].push(self.time(version, &images)?);
                }
            }
        }
        let ratios = [1, 2, 3].map(|version| {
            let pairs = times[version].iter().zip(&times[0]);
            pairs.map(|(with, without)| with / without).collect::<Vec<f64>>()
        });
        let off = 1e3 * median(times[0].clone());
        let [silent, armed, restorable] =
            ratios.each_ref().map(|ratios| percent(median(ratios.clone())));
        println!(
            "{:<16} {off:>9.2}   {silent:>+6.1}% {armed:>+6.1}% {restorable:>+9.1}%   {:>9} {:>6.2} {:>10.2}",
            self.name,
            sizes[0],
            sizes[1] / sizes[0],
            sizes[2] / sizes[0],
        );
        Ok(ratios)
    }

    /// Seconds of the processor that one run of a version takes, from its first
    /// instruction on.
    fn time(&self, version: usize, images: &[Image; 3]) -> Result<f64, String> {
        let image = &images[IMAGES[version]];
        let session = Session { program: &self.program, image, calls: &self.calls };
        let control = Control::new();
        let plan = Plan::new(image).map_err(text)?;
        let mut machine = Machine::new(&session, &self.log, &control).map_err(text)?;
        machine.silence().map_err(text)?;
        if VERSIONS[version] == "armed" {
            for point in image.map.functions.iter().flat_map(|function| &function.stable_points) {
                machine.subject.text().write_code(point.poll, &point.armed).map_err(text)?;
            }
        } else {
            for (way, displacement) in detour::past(&image.map, &image.text) {
                machine.subject.text().write_code(way, &displacement).map_err(text)?;
            }
        }
        let pid = machine.subject.pid();
        let began = on_cpu(pid)?;
        let seen = machine.run_on(&plan).map_err(text)?;
        let elapsed = on_cpu(pid)? - began;
        match seen {
            Seen::Over(End::Returned(_) | End::Exited(_)) => Ok(elapsed),
            other => Err(format!("{}, {}: {other:?}", self.name, VERSIONS[version])),
        }
    }
}

/// Seconds that a process has been executed for, which do not include those in
/// which another one was (proc(5), `schedstat`).
fn on_cpu(pid: u32) -> Result<f64, String> {
    let path = format!("/proc/{pid}/schedstat");
    let line = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let nanoseconds: f64 =
        line.split_whitespace().next().and_then(|n| n.parse().ok()).ok_or(path)?;
    Ok(nanoseconds * 1e-9)
}

/// The options of a run.
fn options(words: &[String]) -> Result<RunArgs, String> {
    let command = ["wdiff", "run"].map(str::to_owned).into_iter().chain(words.iter().cloned());
    match Cli::try_parse_from(command).map_err(text)?.command {
        Command::Run(args) => Ok(*args),
        _ => Err("`run` is not run".into()),
    }
}

/// Bytes of the functions' code, without what is reserved between them.
fn code_size(image: &Image) -> u64 {
    let sizes = image.map.functions.iter();
    sizes.map(|function| u64::from(function.code.end.get() - function.code.start.get())).sum()
}

/// What the host answers: from a run beside the oracle that stops at nearly no
/// boundary.
fn record(args: &RunArgs, program: &Program, calls: &Calls) -> Result<OperationLog, String> {
    // Without imports there is nothing to answer.
    if program.module.num_imported_funcs() == 0 {
        return Ok(OperationLog::default());
    }
    let image = aot_backend::compile(&program.wasm, &CompileOptions::default()).map_err(text)?;
    let mut config = world::config(&args.world, &program.path).map_err(text)?;
    if args.world.stdin.is_none() {
        config.stdin = Stdin::Empty;
    }
    (config.stdout, config.stderr) = (Output::Discard, Output::Discard);
    let mut world = World::live(config).map_err(text)?;
    let first = calls.list.first().map(|call| call.func).ok_or("nothing to call")?;
    let function = image.map.functions.iter().find(|function| function.func == first);
    let entry = function.and_then(|function| function.boundaries.first());
    let entry = entry.ok_or("the first function is imported")?.offset;
    let requests = Requests { places: vec![Where::Boundary(first, entry)], ..Requests::default() };
    let session = Session { program, image: &image, calls };
    session.execute(&mut world, requests, &Control::new()).map_err(text)?;
    Ok(world.log().clone())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
