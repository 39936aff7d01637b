//! Stopping, host calls, frames, writes and refusals, as a user of the crate
//! sees them.

use oracle_interp::{CallError, DecodeError, Event, Extern, Limits, Module, Oracle, StopSet};
use std::sync::Arc;
use wasm_view::{Cell, FuncAddr, FuncIdx, MemoryId, Trap, Value, WasmOffset};

fn module(wat: &str) -> Arc<Module> {
    let bytes = wat::parse_str(wat).expect("the test's text is valid");
    Arc::new(Module::decode(&bytes).expect("the test's module is supported"))
}

fn oracle(wat: &str) -> (Oracle, Arc<Module>, FuncAddr) {
    let module = module(wat);
    let mut oracle = Oracle::new(Limits::default());
    let imports = vec![Extern::HostFunc; module.imports().len()];
    let instance = oracle.instantiate(Arc::clone(&module), &imports).expect("it links");
    let func = FuncIdx::new(module.num_imported_funcs());
    (oracle, module, FuncAddr { instance, func })
}

/// The boundaries that a call passes, as positions among those of function 0.
fn path(wat: &str, args: &[Value]) -> Vec<usize> {
    let (mut oracle, module, func) = oracle(wat);
    let offsets: Vec<WasmOffset> = module.function(func.func).unwrap().boundaries().collect();
    let mut event = oracle.begin_call(func, args).unwrap();
    let mut path = Vec::new();
    while event == Event::Boundary {
        let at = oracle.top().unwrap().boundary.offset;
        path.push(offsets.binary_search(&at).unwrap());
        event = oracle.step();
    }
    path
}

#[test]
fn if_without_else_continues_at_its_end() {
    //                                  0           1  2   3   4
    let wat = "(module (func (param i32) local.get 0 if nop end))";
    assert_eq!(path(wat, &[Value::I32(1)]), [0, 1, 2, 3, 4]);
    assert_eq!(path(wat, &[Value::I32(0)]), [0, 1, 3, 4]);
}

#[test]
fn the_end_of_an_if_is_a_boundary_even_after_unreachable_code() {
    //                                  0           1  2      3   4
    let wat = "(module (func (param i32) local.get 0 if return end))";
    assert_eq!(path(wat, &[Value::I32(0)]), [0, 1, 3, 4]);
    assert_eq!(path(wat, &[Value::I32(1)]), [0, 1, 2]);
}

#[test]
fn if_with_else_takes_one_arm() {
    //                                  0           1  2   3    4   5   6
    let wat = "(module (func (param i32) local.get 0 if nop else nop end))";
    assert_eq!(path(wat, &[Value::I32(1)]), [0, 1, 2, 3, 6]);
    assert_eq!(path(wat, &[Value::I32(0)]), [0, 1, 4, 5, 6]);
}

#[test]
fn branches_continue_after_the_end_and_after_the_loop() {
    //                                  0     1           2        3   4   5
    let wat = "(module (func (param i32) block local.get 0 br_if 0 nop end))";
    assert_eq!(path(wat, &[Value::I32(1)]), [0, 1, 2, 5]);
    assert_eq!(path(wat, &[Value::I32(0)]), [0, 1, 2, 3, 4, 5]);
    let wat = "(module (func (param i32)
        loop
          local.get 0 i32.const 1 i32.sub local.tee 0
          br_if 0
        end))";
    assert_eq!(path(wat, &[Value::I32(2)]), [0, 1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn branches_to_the_outermost_label_return_at_once() {
    //                                  0           1        2   3
    let wat = "(module (func (param i32) local.get 0 br_if 0 nop))";
    assert_eq!(path(wat, &[Value::I32(1)]), [0, 1]);
    assert_eq!(path(wat, &[Value::I32(0)]), [0, 1, 2, 3]);
}

#[test]
fn unreachable_code_has_no_boundaries() {
    let module = module("(module (func block br 0 i32.const 1 drop block end end))");
    let function = module.function(FuncIdx::new(0)).unwrap();
    // block, br, and the function's end.
    assert_eq!(function.boundaries().len(), 3);
}

#[test]
fn a_trap_leaves_its_instruction_as_it_was() {
    let (mut oracle, module, func) = oracle(
        "(module (memory 1) (func (param i32)
            i32.const 9 local.get 0 i64.const -1 i64.store drop))",
    );
    let mut event = oracle.begin_call(func, &[Value::I32(65_529)]).unwrap();
    while event == Event::Boundary {
        event = oracle.step();
    }
    assert_eq!(event, Event::Trapped(Trap::MemoryOutOfBounds));
    let top = oracle.top().unwrap();
    assert_eq!(top.operands, [Cell(9), Cell(65_529), Cell(u64::MAX)]);
    let store = module.function(func.func).unwrap().boundaries().nth(3);
    assert_eq!(Some(top.boundary.offset), store);
    assert!(oracle.memory(MemoryId::new(0)).iter().all(|byte| *byte == 0));
    assert_eq!(oracle.writes().count(), 0);
    assert_eq!(oracle.step(), Event::Trapped(Trap::MemoryOutOfBounds));
    assert_eq!(oracle.begin_call(func, &[Value::I32(0)]), Ok(Event::Boundary));
}

#[test]
fn writes_are_logged() {
    let (mut oracle, _, func) = oracle(
        "(module (memory 1) (data (i32.const 100) \"abc\") (func
            i32.const 8 i32.const 1 i32.store16
            i32.const 16 i32.const 2 i32.const 5 memory.fill))",
    );
    let memory = MemoryId::new(0);
    assert_eq!(oracle.writes().collect::<Vec<_>>(), [(memory, 100, 3)]);
    oracle.clear_writes();
    let mut event = oracle.begin_call(func, &[]).unwrap();
    while event == Event::Boundary {
        event = oracle.step();
    }
    oracle.host_write(memory, 65_535, &[7]).unwrap();
    assert!(oracle.host_write(memory, 65_535, &[7, 7]).is_err());
    assert_eq!(
        oracle.writes().collect::<Vec<_>>(),
        [(memory, 8, 2), (memory, 16, 5), (memory, 65_535, 1)]
    );
}

const CALLS: &str = "(module
    (import \"env\" \"host\" (func $host (param i32 i64) (result i32)))
    (func $outer (param i32) (result i32)
        i32.const 5
        local.get 0
        call $inner
        i32.add)
    (func $inner (param i32) (result i32) (local f64)
        i32.const 3
        local.get 0
        i64.const 7
        call $host
        i32.mul))";

#[test]
fn host_calls_suspend_with_all_frames_visible() {
    let (mut oracle, module, outer) = oracle(CALLS);
    let mut event = oracle.begin_call(outer, &[Value::I32(2)]).unwrap();
    while event == Event::Boundary {
        event = oracle.step();
    }
    let Event::HostCall(call) = event else { panic!("{event:?}") };
    assert_eq!(call.func, FuncIdx::new(0));
    assert_eq!(call.args, [Value::I32(2), Value::I64(7)]);
    assert_eq!(oracle.depth(), 2);
    let frame = oracle.frame(0).unwrap();
    assert_eq!(frame.locals, [Cell(2)]);
    assert_eq!(frame.operands, [Cell(5)], "the argument is popped");
    let frames = oracle.frames();
    assert_eq!(frames[1].operands, [(wasm_view::ValType::I32, Value::I32(3))]);
    assert_eq!(frames[1].locals.len(), 2);
    let call_offset = module.function(outer.func).unwrap().boundaries().nth(2);
    assert_eq!(Some(frames[0].boundary.offset), call_offset);

    assert!(matches!(oracle.step(), Event::HostCall(_)), "still pending");
    assert_eq!(oracle.begin_call(outer, &[Value::I32(2)]), Err(CallError::Busy));
    assert!(matches!(oracle.finish_host_call(&[]), Err(CallError::Types { .. })));
    assert_eq!(oracle.finish_host_call(&[Value::I32(10)]), Ok(Event::Boundary));
    let mut event = Event::Boundary;
    while event == Event::Boundary {
        event = oracle.step();
    }
    assert_eq!(event, Event::Finished(vec![Value::I32(35)]));
    assert_eq!(oracle.depth(), 0);
    assert_eq!(oracle.finish_host_call(&[]), Err(CallError::NoHostCall));
}

#[test]
fn a_host_function_can_be_called_directly() {
    let (mut oracle, _, outer) = oracle(CALLS);
    let host = FuncAddr { instance: outer.instance, func: FuncIdx::new(0) };
    let event = oracle.begin_call(host, &[Value::I32(1), Value::I64(2)]).unwrap();
    assert!(matches!(event, Event::HostCall(_)));
    assert_eq!(oracle.top().map(|top| top.boundary), None);
    assert_eq!(oracle.finish_host_call(&[Value::I32(4)]), Ok(Event::Finished(vec![Value::I32(4)])));
}

const COUNT: &str = "(module (func (param i32) (result i32) (local i32)
    loop
      local.get 1 i32.const 1 i32.add local.tee 1
      local.get 0
      i32.lt_u
      br_if 0
    end
    local.get 1))";

#[test]
fn run_stops_at_stops_and_out_of_fuel() {
    let (mut oracle, module, func) = oracle(COUNT);
    let offsets: Vec<WasmOffset> = module.function(func.func).unwrap().boundaries().collect();
    let mut stops = StopSet::new(&module);
    assert!(stops.insert(func.func, offsets[4]));
    assert!(!stops.insert(func.func, WasmOffset::new(1)));
    oracle.begin_call(func, &[Value::I32(3)]).unwrap();
    for round in 1..=3 {
        assert_eq!(oracle.run(&stops, u64::MAX), Event::Boundary);
        let top = oracle.top().unwrap();
        assert_eq!(top.boundary.offset, offsets[4]);
        assert_eq!(top.operands, [Cell(round)]);
    }
    let executed = oracle.instructions_executed();
    assert_eq!(oracle.run(&stops, 2), Event::OutOfFuel);
    assert_eq!(oracle.instructions_executed(), executed + 2);
    assert!(stops.remove(func.func, offsets[4]));
    assert_eq!(oracle.run(&stops, u64::MAX), Event::Finished(vec![Value::I32(3)]));
}

#[test]
fn fuel_that_ends_at_a_stop_is_a_stop() {
    let (mut oracle, module, func) = oracle(COUNT);
    let offsets: Vec<WasmOffset> = module.function(func.func).unwrap().boundaries().collect();
    let mut stops = StopSet::new(&module);
    stops.insert(func.func, offsets[3]);
    oracle.begin_call(func, &[Value::I32(3)]).unwrap();
    assert_eq!(oracle.run(&stops, 3), Event::Boundary);
    assert_eq!(oracle.run(&StopSet::all(), 3), Event::Boundary);
    assert_eq!(oracle.top().unwrap().boundary.offset, offsets[4]);
}

#[test]
fn a_stack_limit_is_no_trap_and_a_trap_can_be_adopted() {
    let module = module("(module (func $f call $f))");
    let mut oracle = Oracle::new(Limits { max_frames: 3, ..Limits::default() });
    let instance = oracle.instantiate(module, &[]).unwrap();
    let func = FuncAddr { instance, func: FuncIdx::new(0) };
    oracle.begin_call(func, &[]).unwrap();
    for _ in 0..2 {
        assert_eq!(oracle.step(), Event::Boundary);
    }
    let executed = oracle.instructions_executed();
    assert_eq!(oracle.step(), Event::LimitReached("frames"));
    assert_eq!(oracle.instructions_executed(), executed);
    assert!(oracle.is_at_call());
    assert_eq!(oracle.depth(), 3);
    assert_eq!(oracle.trap_now(Trap::CallStackExhausted), Event::Trapped(Trap::CallStackExhausted));
}

#[test]
fn a_view_holds_everything() {
    let (mut oracle, _, outer) = oracle(CALLS);
    oracle.begin_call(outer, &[Value::I32(2)]).unwrap();
    for _ in 0..3 {
        oracle.step();
    }
    let view = oracle.view();
    assert_eq!(view.instances.len(), 1);
    assert_eq!(view.frames.len(), 2);
    assert_eq!(view.frames[1].boundary.func, FuncIdx::new(2));
}

fn refusal(wat: &str) -> DecodeError {
    let bytes = wat::parse_str(wat).expect("the test's text is valid");
    Module::decode(&bytes).expect_err("it is refused")
}

#[test]
fn what_is_unsupported_is_named() {
    let cases = [
        ("(module (type $f (func)) (type (cont $f)))", "stack switching"),
        ("(module (type (shared (func))))", "shared-everything threads"),
        ("(module (global (shared mut i32) (i32.const 0)))", "shared-everything threads"),
        ("(module (memory 1) (func i32.const 0 i32.const 0 memory.discard))", "memory control"),
        ("(component)", "component model (component)"),
    ];
    for (wat, expected) in cases {
        match refusal(wat) {
            DecodeError::Unsupported { feature, .. } => {
                assert!(
                    feature.contains(expected) || feature.contains(&expected.replace('_', " ")),
                    "{feature}, expected {expected}"
                );
            }
            other => panic!("{wat}: {other}"),
        }
    }
}

#[test]
fn what_is_invalid_is_not_called_unsupported() {
    let error =
        refusal("(module (type $f (func)) (type (cont $f)) (func (result i32) i64.const 0))");
    assert!(matches!(error, DecodeError::Invalid { .. }), "{error}");
}

#[test]
fn names_and_bodies_are_found() {
    let module = module("(module (func $a (param $x i32) (local $y i64)) (func (export \"b\")))");
    assert_eq!(module.func_name(FuncIdx::new(0)), Some("a"));
    assert_eq!(module.func_name(FuncIdx::new(1)), Some("b"));
    assert_eq!(module.find_func("b"), [FuncIdx::new(1)]);
    assert_eq!(module.local_name(FuncIdx::new(0), wasm_view::LocalIdx::new(1)), Some("y"));
    let body = module.body(FuncIdx::new(1)).unwrap();
    assert_eq!(module.func_at(body.start), Some(FuncIdx::new(1)));
    assert_eq!(module.func_at(WasmOffset::new(0)), None);
    assert!(module.code_section_start().unwrap() < module.body(FuncIdx::new(0)).unwrap().start);
}

#[test]
fn the_depth_that_was_fallen_to_is_known() {
    let wat = "(module
        (func (call $a) (call $a))
        (func $a (call $b) (call $b))
        (func $b (nop)))";
    let (mut oracle, module, func) = oracle(wat);
    let mut stops = StopSet::new(&module);
    let b = module.find_func("b")[0];
    assert!(stops.insert(b, module.function(b).unwrap().boundaries().next().unwrap()));
    oracle.begin_call(func, &[]).unwrap();
    oracle.mark_depth();
    let mut lowest = Vec::new();
    while oracle.run(&stops, 1000) == Event::Boundary {
        assert!(oracle.is_at(&stops));
        assert_eq!(oracle.depth(), 3);
        lowest.push(oracle.lowest_depth());
        oracle.mark_depth();
        assert_eq!(oracle.lowest_depth(), 3);
    }
    assert_eq!(lowest, [1, 2, 1, 2]);
}

#[test]
fn a_run_can_pause_wherever_a_nan_may_arise() {
    //                         0           1           2           3       4
    let wat = "(module (func f32.const 0 f32.const 0 f32.const 1 f32.copysign f32.div drop nop))";
    let (mut oracle, module, func) = oracle(wat);
    let offsets: Vec<WasmOffset> = module.function(func.func).unwrap().boundaries().collect();
    let mut pauses = StopSet::new(&module);
    pauses.insert_nan_freedoms();
    let mut behind = StopSet::new(&module);
    behind.insert_behind_nan_freedoms();
    oracle.begin_call(func, &[]).unwrap();
    assert_eq!(oracle.run(&pauses, 1000), Event::Boundary);
    assert_eq!(oracle.top().unwrap().boundary.offset, offsets[4]);
    assert!(!oracle.is_at(&behind));
    assert_eq!(oracle.step(), Event::Boundary);
    assert!(oracle.choice().is_some() && oracle.is_at(&behind));
    assert!(matches!(oracle.run(&pauses, 1000), Event::Finished(_)));
}

#[test]
fn indirect_calls_with_locals_recurse_deeply() {
    // Beyond whatever room for frames there is at first.
    let wat = "(module
        (type $t (func (param i32) (result i32)))
        (table funcref (elem $f $f $f))
        (func $f (type $t) (local i32 i64 i64)
            local.get 0
            i32.eqz
            if (result i32)
                local.get 1
            else
                (call_indirect (type $t)
                    (i32.sub (local.get 0) (i32.const 1))
                    (i32.add (i32.const 1) (i32.and (local.get 0) (i32.const 1))))
                (local.set 1 (i32.const 7))
                local.get 0
                i32.add
            end))";
    let (mut oracle, module, func) = oracle(wat);
    oracle.begin_call(func, &[Value::I32(3000)]).unwrap();
    let event = oracle.run(&StopSet::new(&module), u64::MAX);
    assert_eq!(event, Event::Finished(vec![Value::I32(3000 * 3001 / 2)]));
}
