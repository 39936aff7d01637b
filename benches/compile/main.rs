//! What maps cost the compiler, and how large they are.
//!
//! Each module is compiled in one run, on one thread, as
//!
//! | line | what |
//! |---|---|
//! | code | nothing but the code |
//! | map | with `.wasm_map` and call frame information |
//! | dwarf | the same with DWARF for debuggers, and for it the listing |
//! | stored | the same with map and DWARF compressed, as `wdiff compile` writes them |
//! | wasmtime | what Wasmtime makes of it at the same level, with cargo's `--features peer` |
//!
//! In each round all of them take their turn, in an order that rotates, so that
//! whatever else the machine is doing weighs on all. Times are the processor's,
//! not the clock's: the shortest of the rounds, and the medians of the ratios to the
//! first line's, and to Wasmtime's, in the same round. Sizes are those of the functions' code, and of the
//! sections that describe it, as they are and as `wdiff compile` stores them, compressed; the static checker
//! must find them right.
//!
//! `cargo bench --bench compile -- [--rounds N] [--opt none] [--anchors trap] FILE...`
//!
//! Run without `--bench`, as `cargo test` does, it compiles one small module once.

use aot_backend::{Anchors, CompileOptions, Image, OptLevel};
use clap::{Parser, ValueEnum};
use object::{Object, ObjectSection};
use rustix::time::{ClockId, clock_gettime};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Parser)]
struct Arguments {
    /// Rounds of measurement.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Level of optimisation.
    #[arg(long, value_enum, default_value_t = Opt::Speed)]
    opt: Opt,
    /// Where execution can be halted.
    #[arg(long, value_enum, default_value_t = At::Srcloc)]
    anchors: At,
    /// Given by `cargo bench`.
    #[arg(long)]
    bench: bool,
    /// Modules in the binary format.
    files: Vec<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Opt {
    None,
    Speed,
}

#[derive(Clone, Copy, ValueEnum)]
enum At {
    Trap,
    Srcloc,
}

/// What is made, in the order of the lines.
const LINES: &[&str] = if cfg!(feature = "peer") {
    &["code", "map", "dwarf", "stored", "wasmtime"]
} else {
    &["code", "map", "dwarf", "stored"]
};

fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    if arguments.files.is_empty() {
        let own = "corpus/programs/quicksort/quicksort.wasm";
        arguments.files.push(Path::new(env!("CARGO_MANIFEST_DIR")).join(own));
    }
    if !arguments.bench {
        arguments.rounds = 1;
    }
    for file in &arguments.files {
        if let Err(error) = measure(&arguments, file) {
            eprintln!("{}: {error}", file.display());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn measure(arguments: &Arguments, file: &Path) -> Result<(), Box<dyn Error>> {
    let wasm = std::fs::read(file)?;
    let options = CompileOptions {
        opt: match arguments.opt {
            Opt::None => OptLevel::None,
            Opt::Speed => OptLevel::Speed,
        },
        anchors: match arguments.anchors {
            At::Trap => Anchors::Trap,
            At::Srcloc => Anchors::Srcloc,
        },
        ..CompileOptions::default()
    };
    let with_dwarf = CompileOptions { debug_info: true, ..options.clone() };
    let stored = CompileOptions { compress: true, ..with_dwarf.clone() };
    let compile = |line: usize| -> Result<f64, Box<dyn Error>> {
        let start = seconds();
        match line {
            0 => drop(aot_backend::code(&wasm, &options)?),
            1 => drop(aot_backend::compile(&wasm, &options)?),
            2 => drop(aot_backend::compile(&wasm, &with_dwarf)?),
            3 => drop(aot_backend::compile(&wasm, &stored)?),
            _ => peer(&wasm, arguments.opt)?,
        }
        Ok(seconds() - start)
    };
    let mut rounds = vec![vec![0.0; LINES.len()]; arguments.rounds.max(1)];
    for (number, round) in rounds.iter_mut().enumerate() {
        for turn in 0..LINES.len() {
            let line = (turn + number) % LINES.len();
            round[line] = compile(line)?;
        }
    }
    println!("{}", file.display());
    for (line, name) in LINES.iter().enumerate() {
        let least = rounds.iter().map(|round| round[line]).fold(f64::INFINITY, f64::min);
        print!("  {name:<8} {:>9.1} ms", least * 1000.0);
        for base in [Some(0), LINES.iter().position(|name| *name == "wasmtime")] {
            let Some(base) = base else { continue };
            let mut ratios: Vec<f64> =
                rounds.iter().map(|round| round[line] / round[base]).collect();
            ratios.sort_by(f64::total_cmp);
            print!(" {:>6.2}", ratios[ratios.len() / 2]);
        }
        println!();
    }
    sizes(&aot_backend::compile(&wasm, &stored)?)
}

/// Wasmtime's way from the module to its image, on this thread.
#[cfg(feature = "peer")]
fn peer(wasm: &[u8], opt: Opt) -> Result<(), Box<dyn Error>> {
    let mut config = wasmtime::Config::new();
    config.cranelift_opt_level(match opt {
        Opt::None => wasmtime::OptLevel::None,
        Opt::Speed => wasmtime::OptLevel::Speed,
    });
    let engine = wasmtime::Engine::new(&config).map_err(|error| error.to_string())?;
    engine.precompile_module(wasm).map_err(|error| error.to_string())?;
    Ok(())
}

#[cfg(not(feature = "peer"))]
fn peer(_: &[u8], _: Opt) -> Result<(), Box<dyn Error>> {
    Err("built without Wasmtime".into())
}

/// Bytes as they are and as they are stored, with how many times the code's they are.
fn print_size(name: &str, size: u64, stored: u64, code: u64) {
    let times = |bytes: u64| bytes as f64 / code as f64;
    println!(
        "  {name:<17} {size:>12} bytes {:>6.2}  stored {stored:>12} bytes {:>6.2}",
        times(size),
        times(stored)
    );
}

/// Processor time of this process so far.
fn seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn sizes(image: &Image) -> Result<(), Box<dyn Error>> {
    let code: u64 = image
        .map
        .functions
        .iter()
        .map(|function| u64::from(function.code.end.get() - function.code.start.get()))
        .sum();
    let file = object::File::parse(&*image.elf)?;
    let (mut described, mut kept) = (0, 0);
    println!("  code of functions {code:>12} bytes");
    for section in file.sections() {
        let name = section.name()?;
        if name == ".wasm_map" || name.starts_with(".debug") {
            let stored = section.compressed_data()?;
            print_size(name, stored.uncompressed_size, stored.data.len() as u64, code);
            described += stored.uncompressed_size;
            kept += stored.data.len() as u64;
        }
    }
    print_size("map and DWARF", described, kept, code);
    let boundaries = image.map.functions.iter().flat_map(|each| &each.boundaries);
    let (all, anchored) = boundaries.fold((0, 0), |(all, anchored), boundary| {
        (all + 1, anchored + usize::from(boundary.anchor.pc().is_some()))
    });
    println!("  {all} boundaries, {anchored} anchored");
    let violations = wdiff::map::violations(image, true)?;
    match violations.first() {
        None => Ok(()),
        Some(first) => Err(format!("{} rules broken, first: {first}", violations.len()).into()),
    }
}
