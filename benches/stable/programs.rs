//! The programs that are measured: three of the bench's own, and those it is given.

use crate::text;
use aot_backend::CompileOptions;
use clap::Parser;
use std::path::Path;
use wasi_host::{OperationLog, Output, Stdin, World};
use wdiff::cli::{Cli, Command, RunArgs};
use wdiff::invoke::{self, Calls};
use wdiff::lockstep::follow::Requests;
use wdiff::lockstep::stops::{Control, Where};
use wdiff::program::{self, Program};
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

/// One program, ready to run.
pub struct Bench {
    /// Its file's name.
    pub name: String,
    /// The module.
    pub program: Program,
    /// What is called.
    pub calls: Calls,
    /// What the host answers.
    pub log: OperationLog,
}

impl Bench {
    /// The bench's own programs, written to `directory`: with work for a measurement, or
    /// for a trial.
    pub fn own(directory: &Path, measures: bool) -> Result<Vec<Bench>, String> {
        let bench = |(name, module, long, short): (&str, &str, u32, u32)| {
            let path = directory.join(format!("{name}.wat"));
            std::fs::write(&path, module).map_err(text)?;
            let parameter = if measures { long } else { short }.to_string();
            let path = path.display().to_string();
            let words = [&path, "--invoke", "run", "--", &parameter].map(str::to_owned);
            Bench::new(name.to_owned(), &words)
        };
        OWN.into_iter().map(bench).collect()
    }

    /// The program of a command line of `wdiff run`, without the first two words.
    pub fn of_line(line: &str) -> Result<Bench, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let name = words.first().and_then(|path| path.rsplit('/').next());
        Bench::new(name.unwrap_or_default().to_owned(), &words)
    }

    fn new(name: String, words: &[String]) -> Result<Bench, String> {
        let args = options(words)?;
        let program = program::load(&args.program).map_err(text)?;
        let calls = invoke::calls(&args.world, &program).map_err(text)?;
        let log = record(&args, &program, &calls)?;
        Ok(Bench { name, program, calls, log })
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
