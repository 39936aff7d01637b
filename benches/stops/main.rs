//! What a stop costs, here and in gdb, on the same machine code.
//!
//! The program is the corpus's matrix multiplication without imports. In each
//! round four things are timed one after the other, so that whatever else the
//! machine is doing weighs on all of them; the medians over the rounds count.
//!
//! - wdiff: a lockstep run with full comparison, from starting the subject on;
//! - the tracer alone: resume, general registers, nothing else;
//! - gdb's command interface: `info registers`, `continue`;
//! - gdb's Python: a breakpoint's `stop()` that reads registers and stack.
//!
//! gdb runs the same code as a program of its own (see [`standalone`]) with a
//! breakpoint at every address at which wdiff stops.
//!
//! `cargo bench --bench stops`, or with `-- --rounds N`; `-- --without-gdb` is
//! for working on the loop. Run without `--bench`, as `cargo test` does, it
//! makes one short round and judges nothing.

mod gdb;
mod standalone;

use aot_backend::{CompileOptions, Image};
use dwarf_map::Anchor;
use oracle_interp::{Limits, Oracle};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;
use tracer::Stop;
use wasi_host::{World, WorldConfig};
use wasm_view::{FuncAddr, Value};
use wdiff::invoke::Calls;
use wdiff::lockstep::follow::Requests;
use wdiff::lockstep::stops::Control;
use wdiff::lockstep::{Ending, entry, space};
use wdiff::program::{self, Program};
use wdiff::session::Session;
use wdiff::witness::Called;

/// The program, in the corpus.
const PROGRAM: &str = "gemm-kernel";
/// What is asked of wdiff: so many times gdb's rate.
const COMMANDS_FLOOR: f64 = 50.0;
const PYTHON_FLOOR: f64 = 15.0;

/// How much is measured.
struct Plan {
    rounds: usize,
    wdiff: u64,
    commands: u64,
    python: u64,
    gdb: bool,
    judged: bool,
}

/// Everything that is the same in each round.
struct Bench {
    program: Program,
    image: Image,
    calls: Calls,
    standalone: tempfile::TempDir,
    addresses: Vec<u64>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)?.parse::<usize>().ok()
    };
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let gdb = !has("--without-gdb");
    let plan = if has("--bench") {
        let rounds = number("--rounds").unwrap_or(5).max(1);
        Plan { rounds, wdiff: 300_000, commands: 2_000, python: 10_000, gdb, judged: gdb }
    } else {
        Plan { rounds: 1, wdiff: 20_000, commands: 50, python: 500, gdb, judged: false }
    };
    let Some(version) = gdb::version() else {
        eprintln!("gdb is missing: there is nothing to compare with (apt-get install gdb)");
        return ExitCode::FAILURE;
    };
    match measure(&plan, &version) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) if !plan.judged => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("below {COMMANDS_FLOOR}x gdb's commands or {PYTHON_FLOOR}x its Python");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures, prints the table, and answers whether the floors are met.
fn measure(plan: &Plan, version: &str) -> Result<bool, String> {
    let bench = Bench::new()?;
    let file = bench.standalone.path().join("standalone");
    let debugged = gdb::Debugged {
        program: &file,
        addresses: &bench.addresses,
        scratch: bench.standalone.path(),
    };
    println!(
        "{PROGRAM}, kernel({}), {} breakpoints; {version}; {} rounds",
        argument(&bench.calls),
        bench.addresses.len(),
        plan.rounds
    );
    let mut rates: [Vec<f64>; 4] = Default::default();
    let gdb_rate = |way, stops| match plan.gdb {
        true => gdb::rate(&debugged, way, stops),
        false => Ok(f64::NAN),
    };
    for round in 0..plan.rounds {
        let measured = [
            bench.lockstep(plan.wdiff)?,
            bench.tracer(plan.wdiff)?,
            gdb_rate(gdb::Way::Commands, plan.commands)?,
            gdb_rate(gdb::Way::Python, plan.python)?,
        ];
        let [ours, tracer, commands, python] = measured;
        println!(
            "round {}: wdiff {ours:.0}, tracer alone {tracer:.0}, gdb commands {commands:.0}, gdb Python {python:.0} stops/s",
            round + 1
        );
        for (all, rate) in rates.iter_mut().zip(measured) {
            all.push(rate);
        }
    }
    let [ours, tracer, commands, python] = rates.map(median);
    let line = |what: &str, stops: u64, rate: f64| {
        println!("{what:<34} {stops:>8} {rate:>12.0} {:>10.2} {:>10.1}x", 1e6 / rate, ours / rate);
    };
    println!(
        "\n{:<34} {:>8} {:>12} {:>10} {:>11}",
        "median", "stops", "stops/s", "us/stop", "wdiff is"
    );
    line("wdiff, full comparison", plan.wdiff, ours);
    line("wdiff's tracer alone", plan.wdiff, tracer);
    line("gdb: info registers; continue", plan.commands, commands);
    line("gdb: Python, registers and stack", plan.python, python);
    Ok(ours / commands >= COMMANDS_FLOOR && ours / python >= PYTHON_FLOOR)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn argument(calls: &Calls) -> u32 {
    match calls.list.last().and_then(|call| call.args.first()) {
        Some(Value::I32(argument)) => *argument,
        _ => 0,
    }
}

impl Bench {
    fn new() -> Result<Bench, String> {
        let entry = corpus::program(PROGRAM).map_err(text)?;
        let program = program::load(&entry.wasm_path()).map_err(text)?;
        let options = CompileOptions { debug_info: false, ..CompileOptions::default() };
        let image = aot_backend::compile(&program.wasm, &options).map_err(text)?;
        let invoke = entry.invoke.as_ref().ok_or("the kernel is called by name")?;
        let func = program.module.export(&invoke.function).ok_or("no such export")?.index;
        let called = Called { func: wasm_view::FuncIdx::new(func), args: invoke.params.clone() };
        let calls = Calls { list: vec![called], shows_results: true };
        let corpus::Expected::Results(expected) = &entry.expected else {
            return Err("the kernel has a result".into());
        };
        let Some(Value::F64(expected)) = expected.first() else {
            return Err("the kernel returns an f64".into());
        };
        let mut addresses: Vec<u64> = image
            .map
            .functions
            .iter()
            .flat_map(|function| &function.boundaries)
            .filter_map(|boundary| match boundary.anchor {
                Anchor::Trap(pc) => Some(pc.at(image.text_address).get()),
                _ => None,
            })
            .collect();
        addresses.sort_unstable();
        let standalone = tempfile::tempdir().map_err(text)?;
        let bench = Bench { program, image, calls, standalone, addresses };
        bench.write_standalone(*expected)?;
        Ok(bench)
    }

    /// Writes the program that gdb runs, and runs it once without: its result
    /// must be right.
    fn write_standalone(&self, expected: u64) -> Result<(), String> {
        let (oracle, instance) = self.oracle()?;
        let (subject, space) = space::start(&self.image, &oracle, instance).map_err(text)?;
        let func = self.calls.list[0].func;
        let function = self.image.map.functions.iter().find(|function| function.func == func);
        let call = standalone::Call {
            function: function.ok_or("no code for the kernel")?,
            argument: argument(&self.calls),
            expected,
            instance: space.instance_data().get(),
            stack_top: space.stack_top().get(),
        };
        let path = self.standalone.path().join("standalone");
        std::fs::write(&path, standalone::elf(&self.image, &subject, &call)).map_err(text)?;
        make_executable(&path)?;
        let status = Command::new(&path).status().map_err(text)?;
        if status.success() {
            return Ok(());
        }
        Err(format!("the stand-alone program does not compute what the corpus expects: {status}"))
    }

    fn oracle(&self) -> Result<(Oracle, wasm_view::InstanceId), String> {
        let mut oracle = Oracle::new(Limits::default());
        let instance = oracle.instantiate(self.program.module.clone(), &[]).map_err(text)?;
        Ok((oracle, instance))
    }

    /// Stops a second of a lockstep run.
    fn lockstep(&self, stops: u64) -> Result<f64, String> {
        let session = Session { program: &self.program, image: &self.image, calls: &self.calls };
        let mut world = World::live(WorldConfig::default()).map_err(text)?;
        let requests = Requests { every: true, max_stops: Some(stops), ..Requests::default() };
        let began = Instant::now();
        let executed = session.execute(&mut world, requests, &Control::new()).map_err(text)?;
        let elapsed = began.elapsed().as_secs_f64();
        match executed.ending {
            Ending::Inconclusive { .. } if executed.stats.stops == stops => {
                Ok(stops as f64 / elapsed)
            }
            other => Err(format!("the run ended early, after {}: {other:?}", executed.stats.stops)),
        }
    }

    /// Stops a second of the tracer with nobody looking at them.
    fn tracer(&self, stops: u64) -> Result<f64, String> {
        let (oracle, instance) = self.oracle()?;
        let (mut subject, space) = space::start(&self.image, &oracle, instance).map_err(text)?;
        let call = &self.calls.list[0];
        let ty = oracle.func_type(FuncAddr { instance, func: call.func });
        let ty = ty.ok_or("the kernel has a type")?;
        entry::enter(&mut subject, &space, &self.image, call.func, ty, &call.args).map_err(text)?;
        let began = Instant::now();
        for _ in 0..stops {
            match subject.resume().map_err(text)? {
                Stop::Trap { .. } => {}
                other => return Err(format!("an unexpected stop: {other:?}")),
            }
        }
        Ok(stops as f64 / began.elapsed().as_secs_f64())
    }
}

fn make_executable(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).map_err(text)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
