//! An observer is told what single steps show.

use oracle_interp::{At, Event, Extern, Limits, Module, Observer, Oracle, StopSet};
use std::sync::Arc;
use wasm_view::{Boundary, Cell, FuncAddr, FuncIdx, MemoryId, Trap, Value};

/// Everything that an execution shows.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    boundaries: Vec<(Boundary, Vec<Cell>)>,
    writes: Vec<(MemoryId, u64, u64)>,
    calls: Vec<FuncAddr>,
    trap: Option<Trap>,
}

impl Observer for Seen {
    const EACH_OP: bool = true;

    fn before(&mut self, at: &At<'_>, slots: &[Cell]) {
        assert_eq!(at.boundary().offset, at.offset());
        assert_eq!((at.func().instance, at.func().func), {
            let boundary = at.boundary();
            (boundary.instance, boundary.func)
        });
        self.boundaries.push((at.boundary(), slots.to_vec()));
    }

    fn memory_write(&mut self, memory: MemoryId, address: u64, length: u64) {
        self.writes.push((memory, address, length));
    }

    fn call(&mut self, callee: FuncAddr) {
        self.calls.push(callee);
    }

    fn trap(&mut self, trap: Trap) {
        self.trap = Some(trap);
    }
}

/// Direct, indirect, host and multi-value calls, locals to be zeroed, branches
/// that carry operands, stores of all widths, bulk writes, in a loop that is
/// longer than what is executed in one go; a trap at the end.
const PROGRAM: &str = r#"(module
  (import "host" "f" (func $host (param i32) (result i32)))
  (type $pair (func (param i32) (result i32 i32)))
  (memory 1)
  (table funcref (elem $two $two))
  (global $g (mut i64) (i64.const 5))
  (func $two (type $pair) (local i64 i32)
    (block (result i32 i32)
      local.get 0
      local.get 0
      i32.const 1
      i32.add
      local.get 0
      i32.const 1
      i32.and
      br_if 0
      (drop (drop))
      i32.const 7
      i32.const 8
      local.get 0
      br_if 1
      return))
  (func (export "run") (param $n i32) (result i32) (local $sum i32)
    (loop
      (i32.store8 (local.get $n) (local.get $n))
      (i32.store16 offset=1000 (local.get $n) (local.get $sum))
      (i64.store offset=2000 (local.get $n) (global.get $g))
      (global.set $g (i64.add (global.get $g) (i64.const -3)))
      (call $two (local.get $n))
      i32.add
      (call_indirect (type $pair) (local.get $n) (i32.and (local.get $n) (i32.const 1)))
      i32.add
      i32.add
      (call $host (local.get $n))
      local.get $sum
      i32.add
      i32.add
      local.set $sum
      (memory.fill (i32.const 3000) (local.get $n) (local.get $n))
      (memory.copy (i32.const 4000) (i32.const 3000) (i32.const 16))
      (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (i32.div_u (i32.const 1) (local.get $n))))"#;

fn start() -> (Oracle, Arc<Module>) {
    let bytes = wat::parse_str(PROGRAM).expect("the program is valid");
    let module = Arc::new(Module::decode(&bytes).expect("the program is supported"));
    let mut oracle = Oracle::new(Limits::default());
    let instance = oracle.instantiate(Arc::clone(&module), &[Extern::HostFunc]).expect("it links");
    let func = FuncAddr { instance, func: FuncIdx::new(2) };
    oracle.begin_call(func, &[Value::I32(60)]).expect("it takes an i32");
    oracle.clear_writes();
    (oracle, module)
}

fn answer(oracle: &mut Oracle) {
    oracle.finish_host_call(&[Value::I32(3)]).expect("a host call is pending");
}

/// What single steps show.
fn stepped() -> (Seen, u64) {
    let (mut oracle, _) = start();
    let mut seen = Seen::default();
    loop {
        let top = oracle.top().expect("it runs");
        seen.boundaries.push((top.boundary, top.slots.to_vec()));
        let depth = oracle.depth();
        let event = oracle.step();
        seen.writes.extend(oracle.writes());
        oracle.clear_writes();
        match event {
            Event::HostCall(call) => {
                seen.calls.push(FuncAddr { instance: call.instance, func: call.func });
                answer(&mut oracle);
            }
            Event::Trapped(trap) => {
                seen.trap = Some(trap);
                return (seen, oracle.instructions_executed());
            }
            Event::Boundary if oracle.depth() > depth => {
                let callee = oracle.top().expect("it runs").boundary;
                seen.calls.push(FuncAddr { instance: callee.instance, func: callee.func });
            }
            Event::Boundary => {}
            other => panic!("{other:?}"),
        }
    }
}

/// The same through `run_observed`, with this much fuel at a time.
fn observed(fuel: u64, stops: impl Fn(&Arc<Module>) -> StopSet) -> (Seen, u64) {
    let (mut oracle, module) = start();
    let stops = stops(&module);
    let mut seen = Seen::default();
    loop {
        match oracle.run_observed(&mut seen, &stops, fuel) {
            Event::HostCall(_) => answer(&mut oracle),
            Event::OutOfFuel | Event::Boundary => {}
            Event::Trapped(trap) => {
                assert_eq!(seen.trap, Some(trap));
                return (seen, oracle.instructions_executed());
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_observer_sees_what_steps_show() {
    let expected = stepped();
    assert!(expected.1 > 2000 && expected.0.writes.len() > 250 && expected.0.calls.len() == 180);
    assert_eq!(expected.0.trap, Some(Trap::IntegerDivideByZero));
    for fuel in [u64::MAX, 1, 7, 511, 512, 513, 1024] {
        assert!(observed(fuel, StopSet::new) == expected, "fuel {fuel}");
    }
}

#[test]
fn stops_hide_nothing_from_an_observer() {
    let expected = stepped();
    let some = |module: &Arc<Module>| {
        let mut stops = StopSet::new(module);
        let func = FuncIdx::new(1);
        let boundaries = module.function(func).expect("it is there").boundaries();
        for offset in boundaries.step_by(2) {
            assert!(stops.insert(func, offset));
        }
        stops
    };
    assert!(observed(u64::MAX, some) == expected);
    assert!(observed(u64::MAX, |_| StopSet::all()) == expected);
}

#[test]
fn fuel_is_exact() {
    let (expected, total) = stepped();
    for fuel in (1..40).chain(505..520).chain(1020..1030).chain([total - 1]) {
        let (mut oracle, module) = start();
        let stops = StopSet::new(&module);
        let event = loop {
            let left = fuel - oracle.instructions_executed();
            match oracle.run(&stops, left) {
                Event::HostCall(_) => answer(&mut oracle),
                event => break event,
            }
            if oracle.instructions_executed() == fuel {
                break Event::OutOfFuel;
            }
        };
        assert_eq!(event, Event::OutOfFuel);
        assert_eq!(oracle.instructions_executed(), fuel);
        let top = oracle.top().expect("it runs");
        assert_eq!((top.boundary, top.slots.to_vec()), expected.boundaries[fuel as usize]);
    }
}

#[test]
fn no_log_no_writes() {
    let (mut oracle, module) = start();
    oracle.set_write_log(false);
    let stops = StopSet::new(&module);
    while let Event::HostCall(_) = oracle.run(&stops, u64::MAX) {
        answer(&mut oracle);
    }
    assert_eq!(oracle.writes().count(), 0);
    oracle.set_write_log(true);
    oracle.host_write(MemoryId::new(0), 9, &[1]).expect("it is within the memory");
    assert_eq!(oracle.writes().collect::<Vec<_>>(), [(MemoryId::new(0), 9, 1)]);
}
