//! Millions of Wasm instructions a second, and nanoseconds a step.
//!
//! Four programs: calls (`fib`), a tight loop on 64-bit integers, a sieve over
//! memory, and floating point. Each through the fast path, and by single steps.
//! The best of many short runs, so that other load on the machine matters less.

use oracle_interp::{Event, Limits, Module, Oracle, StopSet};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasm_view::{FuncAddr, FuncIdx, Value};

const FIB: &str = "(module (func $fib (param i32) (result i32)
    local.get 0 i32.const 2 i32.lt_u
    if (result i32)
      local.get 0
    else
      local.get 0 i32.const 1 i32.sub call $fib
      local.get 0 i32.const 2 i32.sub call $fib
      i32.add
    end))";

const LOOP: &str = "(module (func (param i32) (result i64) (local i64)
    loop
      local.get 1 i64.const 3 i64.mul i64.const 7 i64.add local.set 1
      local.get 0 i32.const 1 i32.sub local.tee 0
      br_if 0
    end
    local.get 1))";

const SIEVE: &str = "(module (memory 16) (func (param $n i32) (result i32)
    (local $i i32) (local $j i32) (local $count i32)
    (local.set $i (i32.const 2))
    (loop $outer
      (if (i32.eqz (i32.load8_u (local.get $i)))
        (then
          (local.set $count (i32.add (local.get $count) (i32.const 1)))
          (local.set $j (i32.add (local.get $i) (local.get $i)))
          (block $done
            (loop $inner
              (br_if $done (i32.ge_u (local.get $j) (local.get $n)))
              (i32.store8 (local.get $j) (i32.const 1))
              (local.set $j (i32.add (local.get $j) (local.get $i)))
              (br $inner)))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $outer (i32.lt_u (local.get $i) (local.get $n))))
    local.get $count))";

const FLOAT: &str = "(module (func (param i32) (result f64) (local f64)
    loop
      local.get 1 f64.const 1.5 f64.mul f64.const 0.25 f64.add
      f64.const 1e9 f64.min local.set 1
      local.get 0 i32.const 1 i32.sub local.tee 0
      br_if 0
    end
    local.get 1))";

struct Measured {
    instructions: u64,
    time: Duration,
}

fn call(
    wat: &str,
    argument: u32,
    execute: impl Fn(&mut Oracle, &Arc<Module>) -> Event,
) -> Measured {
    let bytes = wat::parse_str(wat).expect("the program is valid");
    let module = Arc::new(Module::decode(&bytes).expect("the program is supported"));
    let mut oracle = Oracle::new(Limits::default());
    let instance = oracle.instantiate(Arc::clone(&module), &[]).expect("it has no imports");
    let func = FuncAddr { instance, func: FuncIdx::new(0) };
    oracle.begin_call(func, &[Value::I32(argument)]).expect("it takes one i32");
    let start = Instant::now();
    let event = execute(&mut oracle, &module);
    let time = start.elapsed();
    assert!(matches!(black_box(event), Event::Finished(_)));
    Measured { instructions: oracle.instructions_executed(), time }
}

fn run(oracle: &mut Oracle, module: &Arc<Module>) -> Event {
    oracle.run(&StopSet::new(module), u64::MAX)
}

fn step(oracle: &mut Oracle, _: &Arc<Module>) -> Event {
    loop {
        let event = oracle.step();
        if event != Event::Boundary {
            return event;
        }
        black_box(oracle.top());
    }
}

fn main() {
    let programs = [
        ("fib", FIB, 20, 14),
        ("loop", LOOP, 50_000, 5_000),
        ("sieve", SIEVE, 50_000, 1_000),
        ("float", FLOAT, 50_000, 5_000),
    ];
    for (name, wat, long, short) in programs {
        let best = |measure: &dyn Fn() -> Measured| {
            (0..200).map(|_| measure()).min_by_key(|m| m.time).expect("some were measured")
        };
        let fast = best(&|| call(wat, long, run));
        let slow = best(&|| call(wat, short, step));
        println!(
            "{name:6} run {:7.0} M instructions/s   step {:6.1} ns",
            fast.instructions as f64 / fast.time.as_secs_f64() / 1e6,
            slow.time.as_secs_f64() * 1e9 / slow.instructions as f64,
        );
    }
}
