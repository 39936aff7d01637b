//! What the specification leaves open, and its adoption.

use oracle_interp::{AdoptError, ChoiceKind, Event, Extern, Limits, Module, Oracle};
use std::sync::Arc;
use wasm_view::{Cell, FuncAddr, FuncIdx, MemoryId, SlotIdx, TableId, Value};

fn oracle(wat: &str) -> (Oracle, FuncAddr) {
    let bytes = wat::parse_str(wat).expect("the test's text is valid");
    let module = Arc::new(Module::decode(&bytes).expect("the test's module is supported"));
    let mut oracle = Oracle::new(Limits::default());
    let imports = vec![Extern::HostFunc; module.imports().len()];
    let func = FuncIdx::new(module.num_imported_funcs());
    let instance = oracle.instantiate(module, &imports).expect("it links");
    let addr = oracle.instance(instance).resolve(func);
    (oracle, addr)
}

/// Steps until a choice was taken, or the call is over.
fn step_to_choice(oracle: &mut Oracle) -> Event {
    loop {
        let event = oracle.step();
        if oracle.choice().is_some() || event != Event::Boundary {
            return event;
        }
    }
}

const F32_NAN: Value = Value::F32(0x7fc0_0000);
const F32_PAYLOAD: Value = Value::F32(0xffc0_0123);
const F32_SIGNALLING: Value = Value::F32(0x7fa0_0000);

#[test]
fn canonical_inputs_give_a_canonical_nan_of_either_sign() {
    let (mut oracle, add) =
        oracle("(module (func (param f32 f32) (result f32) local.get 0 local.get 1 f32.add))");
    oracle.begin_call(add, &[F32_NAN, Value::F32(0)]).unwrap();
    assert_eq!(step_to_choice(&mut oracle), Event::Boundary);
    let choice = oracle.choice().unwrap();
    assert_eq!(choice.slot, SlotIdx::new(2));
    assert_eq!(choice.kind, ChoiceKind::NanF32 { canonical_only: true });
    assert_eq!(choice.kind.name(), "nan_payload");
    assert!(choice.allows(Cell(0x7fc0_0000)));
    assert!(choice.allows(Cell(0xffc0_0000)));
    assert!(!choice.allows(Cell(0x7fc0_0001)));
    assert!(!choice.allows(Cell(0x1_7fc0_0000)));
    assert_eq!(
        oracle.adopt(&choice, Cell(0x7f80_0001)),
        Err(AdoptError::NotAllowed(Cell(0x7f80_0001)))
    );
    oracle.adopt(&choice, Cell(0xffc0_0000)).unwrap();
    assert_eq!(oracle.step(), Event::Finished(vec![Value::F32(0xffc0_0000)]));
    assert_eq!(oracle.choice(), None);
}

#[test]
fn other_inputs_give_any_arithmetic_nan() {
    let (mut oracle, add) =
        oracle("(module (func (param f32 f32) (result f32) local.get 0 local.get 1 f32.add))");
    for nan in [F32_PAYLOAD, F32_SIGNALLING] {
        oracle.begin_call(add, &[nan, F32_NAN]).unwrap();
        step_to_choice(&mut oracle);
        let choice = oracle.choice().unwrap();
        assert_eq!(choice.kind, ChoiceKind::NanF32 { canonical_only: false });
        assert!(choice.allows(Cell(0xffc0_0123)));
        assert!(!choice.allows(Cell(0x7fa0_0000)), "a signalling NaN is never a result");
        oracle.abandon();
    }
}

#[test]
fn an_invalid_operation_has_no_nan_input() {
    let (mut oracle, sqrt) =
        oracle("(module (func (param f64) (result f64) local.get 0 f64.sqrt))");
    oracle.begin_call(sqrt, &[Value::F64((-1.0f64).to_bits())]).unwrap();
    step_to_choice(&mut oracle);
    let choice = oracle.choice().unwrap();
    assert_eq!(choice.kind, ChoiceKind::NanF64 { canonical_only: true });
    assert!(choice.allows(Cell(0xfff8_0000_0000_0000)));
}

#[test]
fn conversions_look_at_the_input_of_the_other_width() {
    let (mut oracle, demote) =
        oracle("(module (func (param f64) (result f32) local.get 0 f32.demote_f64))");
    oracle.begin_call(demote, &[Value::F64(0x7ff8_0000_0000_0001)]).unwrap();
    step_to_choice(&mut oracle);
    assert_eq!(oracle.choice().unwrap().kind, ChoiceKind::NanF32 { canonical_only: false });
}

#[test]
fn moving_a_nan_is_exact() {
    for body in [
        "local.get 0 f32.neg f32.neg f32.abs",
        "local.get 0 f32.const 1 f32.copysign",
        "local.get 0 i32.reinterpret_f32 f32.reinterpret_i32",
        "local.get 0 f32.const 1 i32.const 1 select",
        "i32.const 0 local.get 0 f32.store i32.const 0 f32.load",
    ] {
        let (mut oracle, func) =
            oracle(&format!("(module (memory 1) (func (param f32) (result f32) {body}))"));
        oracle.begin_call(func, &[F32_SIGNALLING]).unwrap();
        assert_eq!(step_to_choice(&mut oracle), Event::Finished(vec![F32_SIGNALLING]), "{body}");
    }
}

#[test]
fn no_choice_without_a_nan() {
    let (mut oracle, add) =
        oracle("(module (func (param f32 f32) (result f32) local.get 0 local.get 1 f32.add))");
    oracle.begin_call(add, &[Value::F32(0), Value::F32(0)]).unwrap();
    assert!(matches!(step_to_choice(&mut oracle), Event::Finished(_)));
}

#[test]
fn a_failed_grow_is_adopted() {
    let (mut oracle, grow) = oracle(
        "(module (memory 1) (table 1 funcref)
            (func (param i32) (result i32) local.get 0 memory.grow)
            (func (export \"t\") (param i32) (result i32)
                ref.null func local.get 0 table.grow 0))",
    );
    let memory = MemoryId::new(0);
    oracle.begin_call(grow, &[Value::I32(2)]).unwrap();
    step_to_choice(&mut oracle);
    let choice = oracle.choice().unwrap();
    assert_eq!(choice.kind, ChoiceKind::MemoryGrow { previous: 1 });
    assert_eq!(oracle.memory(memory).len(), 3 * 65_536);
    assert!(choice.allows(Cell(1)) && !choice.allows(Cell(3)) && !choice.allows(Cell(u64::MAX)));
    oracle.adopt(&choice, Cell(0xffff_ffff)).unwrap();
    assert_eq!(oracle.memory(memory).len(), 65_536);
    assert_eq!(oracle.adopt(&choice, Cell(1)), Err(AdoptError::Stale));
    assert_eq!(oracle.step(), Event::Finished(vec![Value::I32(u32::MAX)]));

    let table_grow = FuncAddr { instance: grow.instance, func: FuncIdx::new(1) };
    oracle.begin_call(table_grow, &[Value::I32(3)]).unwrap();
    step_to_choice(&mut oracle);
    let choice = oracle.choice().unwrap();
    assert_eq!(choice.kind.name(), "table_grow");
    assert_eq!(oracle.table_writes().collect::<Vec<_>>(), [(TableId::new(0), 1, 3)]);
    oracle.adopt(&choice, Cell(0xffff_ffff)).unwrap();
    assert_eq!(oracle.table(TableId::new(0)).len(), 1);
    assert_eq!(oracle.table_writes().count(), 0);
}

#[test]
fn growing_beyond_the_maximum_is_no_choice() {
    let (mut oracle, grow) =
        oracle("(module (memory 1 2) (func (param i32) (result i32) local.get 0 memory.grow))");
    oracle.begin_call(grow, &[Value::I32(2)]).unwrap();
    assert_eq!(step_to_choice(&mut oracle), Event::Finished(vec![Value::I32(u32::MAX)]));
}
