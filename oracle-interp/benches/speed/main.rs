//! Millions of Wasm instructions a second: the oracle and its peers, in one run.
//!
//! What else the machine does changes from second to second, so engines that
//! are timed one after the other cannot be compared. Here every sample of one
//! engine runs all engines of the program once, in turn, and takes its own time
//! out of that; the table at the end is of each engine's fastest run. All
//! engines must come to the same results and the same output.
//!
//! The oracle runs without a log of writes, as nobody asks for it; `observed` is
//! the oracle with an observer that reads every slot at every boundary, and
//! `step` is nanoseconds a single step takes, with the log, on less work.
//!
//! Two programs are real ones and not part of this repository: name a Lua and a
//! bzip2 for WASI preview 1 in `WDIFF_LUA_WASM` and `WDIFF_BZIP2_WASM`.

mod engines;
mod wasi;

use criterion::{Criterion, SamplingMode};
use engines::{Engine, Job, OracleEngine, Outcome, TinywasmEngine, WasmiEngine};
use oracle_interp::{At, Event, Observer, Oracle, StopSet};
use std::cell::Cell;
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;
use wasi::Wasi;

fn wat(name: &'static str, text: &str, argument: i32) -> Job {
    Job {
        name,
        bytes: wat::parse_str(text).expect("the program is valid"),
        export: "run",
        arguments: vec![argument],
        world: Wasi::default(),
    }
}

fn corpus(path: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus").join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A program that the environment names, unless it does not.
fn command(
    name: &'static str,
    variable: &str,
    args: &[&'static str],
    stdin: Vec<u8>,
) -> Option<Job> {
    let Some(path) = std::env::var_os(variable) else {
        eprintln!("WARNING: {variable} is not set, {name} is NOT MEASURED");
        return None;
    };
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let world = Wasi::new(args, &stdin);
    Some(Job { name, bytes, export: "_start", arguments: Vec::new(), world })
}

/// Text that compresses neither well nor badly.
fn prose(bytes: usize) -> Vec<u8> {
    const WORDS: [&str; 12] = [
        "the ",
        "stack ",
        "of ",
        "a ",
        "frame ",
        "is ",
        "slice, ",
        "and ",
        "nothing ",
        "recurses ",
        "here;\n",
        "so ",
    ];
    let mut seed = 1_u32;
    let mut text = Vec::new();
    while text.len() < bytes {
        seed = seed.wrapping_mul(1_103_515_245).wrapping_add(12345);
        text.extend_from_slice(WORDS[(seed >> 16) as usize % WORDS.len()].as_bytes());
    }
    text
}

fn jobs() -> Vec<Job> {
    let mut jobs = vec![
        wat("fib", include_str!("fib.wat"), 25),
        wat("sieve", include_str!("sieve.wat"), 300_000),
        wat("loop", include_str!("loop.wat"), 600_000),
        wat("float", include_str!("float.wat"), 500_000),
        Job {
            name: "gemm",
            bytes: corpus("programs/gemm-kernel/gemm-kernel.wasm"),
            export: "kernel",
            arguments: vec![60],
            world: Wasi::default(),
        },
    ];
    let script = corpus("scripts/workout.lua");
    jobs.extend(command("lua", "WDIFF_LUA_WASM", &["lua", "-"], script));
    let text = prose(20_000);
    jobs.extend(command("bzip2", "WDIFF_BZIP2_WASM", &["bzip2", "-c"], text));
    jobs
}

fn run(oracle: &mut Oracle, stops: &StopSet) -> Event {
    oracle.set_write_log(false);
    oracle.run(stops, u64::MAX)
}

/// Reads everything that there is to see.
#[derive(Default)]
struct Reader {
    sum: u64,
}

impl Observer for Reader {
    const EACH_OP: bool = true;

    fn before(&mut self, at: &At<'_>, slots: &[wasm_view::Cell]) {
        self.sum ^= at.index() as u64;
        for slot in slots {
            self.sum = self.sum.wrapping_add(slot.0);
        }
    }
}

fn observed(oracle: &mut Oracle, stops: &StopSet) -> Event {
    let mut reader = Reader::default();
    oracle.set_write_log(false);
    let event = oracle.run_observed(&mut reader, stops, u64::MAX);
    black_box(reader.sum);
    event
}

fn step(oracle: &mut Oracle, _: &StopSet) -> Event {
    loop {
        let event = oracle.step();
        if event != Event::Boundary {
            return event;
        }
        black_box(oracle.top());
    }
}

/// The fastest runs of one program.
struct Measured {
    program: &'static str,
    instructions: u64,
    best: Vec<(&'static str, Duration)>,
    /// What a thousand single steps take.
    step: Option<Duration>,
}

impl Measured {
    /// Millions of instructions a second.
    fn speed(&self, engine: &str) -> Option<f64> {
        let (_, time) = self.best.iter().find(|(name, _)| *name == engine)?;
        Some(self.instructions as f64 / time.as_secs_f64() / 1e6)
    }
}

/// `None` if the command line's filter excludes the program.
fn measure(criterion: &mut Criterion, job: &Job) -> Option<Measured> {
    let (ran, instructions) = OracleEngine::new(job, run).execute(job);
    let expected: Outcome = ran.outcome;
    let engines: [(&str, Box<dyn Engine>); 4] = [
        ("oracle", Box::new(OracleEngine::new(job, run))),
        ("observed", Box::new(OracleEngine::new(job, observed))),
        ("wasmi", Box::new(WasmiEngine::new(job))),
        ("tinywasm", Box::new(TinywasmEngine::new(job))),
    ];
    let best: Vec<Cell<Duration>> = engines.iter().map(|_| Cell::new(Duration::MAX)).collect();
    let round = |mine: usize| {
        let mut time = Duration::ZERO;
        for (index, (name, engine)) in engines.iter().enumerate() {
            let ran = engine.run(job);
            assert!(ran.outcome == expected, "{name} comes to another outcome of {}", job.name);
            best[index].set(best[index].get().min(ran.time));
            if index == mine {
                time = ran.time;
            }
        }
        time
    };
    let mut group = criterion.benchmark_group(job.name);
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.warm_up_time(Duration::from_millis(50)).measurement_time(Duration::from_millis(500));
    group.throughput(criterion::Throughput::Elements(instructions));
    for (index, (name, _)) in engines.iter().enumerate() {
        group.bench_function(*name, |bencher| {
            bencher.iter_custom(|rounds| (0..rounds).map(|_| round(index)).sum());
        });
    }
    group.finish();
    let best: Vec<_> =
        engines.iter().zip(&best).map(|((name, _), time)| (*name, time.get())).collect();
    let measured = best.iter().all(|(_, time)| *time < Duration::MAX);
    measured.then(|| Measured { program: job.name, instructions, best, step: step_time(job) })
}

/// What a thousand steps take in the fastest of some short runs; only of programs that
/// can be made short.
fn step_time(job: &Job) -> Option<Duration> {
    let &[argument] = &job.arguments[..] else { return None };
    let short = if job.name == "gemm" { 8 } else { (argument / 100).max(14) };
    let job = Job { arguments: vec![short], ..job.clone() };
    let engine = OracleEngine::new(&job, step);
    let runs = (0..50).map(|_| engine.execute(&job));
    runs.map(|(ran, steps)| ran.time.mul_f64(1e3 / steps as f64)).min()
}

fn print(rows: &[Measured]) {
    println!("\nmillions of Wasm instructions a second, fastest run of each");
    println!(
        "{:8}{:>13}{:>9}{:>9}{:>10}{:>9}{:>11}{:>11}{:>9}",
        "",
        "instructions",
        "oracle",
        "wasmi",
        "tinywasm",
        "/wasmi",
        "/tinywasm",
        "observed",
        "step"
    );
    for row in rows {
        let speed = |engine| row.speed(engine).unwrap_or(f64::NAN);
        let (oracle, wasmi, tinywasm) = (speed("oracle"), speed("wasmi"), speed("tinywasm"));
        let step =
            row.step.map_or(String::new(), |time| format!("{:.1} ns", time.as_secs_f64() * 1e6));
        println!(
            "{:8}{:>13}{oracle:>9.0}{wasmi:>9.0}{tinywasm:>10.0}{:>9.2}{:>11.2}{:>11.0}{step:>9}",
            row.program,
            row.instructions,
            oracle / wasmi,
            oracle / tinywasm,
            speed("observed"),
        );
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args().without_plots();
    let rows: Vec<Measured> =
        jobs().iter().filter_map(|job| measure(&mut criterion, job)).collect();
    criterion.final_summary();
    if !rows.is_empty() {
        print(&rows);
    }
}
