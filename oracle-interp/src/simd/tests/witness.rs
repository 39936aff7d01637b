//! Every instruction against wasmi, another interpreter.
//!
//! One function per instruction is compiled into a small module; it takes all
//! operands as i64 pairs and returns the result as one. Where the specification
//! leaves the result open, wasmi's must be among the allowed ones; what wasmi has
//! chosen for relaxed instructions is known and must be recognised.

use super::table::{ALL, encoded, lanes};
use super::*;
use wasm_encoder::{
    CodeSection, ExportKind, ExportSection, Function, FunctionSection, Instruction, MemArg,
    MemorySection, MemoryType, Module, TypeSection, ValType,
};

const ROUNDS: usize = 300;
type Pairs = (i64, i64, i64, i64, i64, i64);

/// A module with a memory and one function of this body, with a v128 local 6.
fn module(body: &[Instruction<'_>], results: usize) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([ValType::I64; 6], vec![ValType::I64; results]);
    let mut functions = FunctionSection::new();
    functions.function(0);
    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: 1,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let mut exports = ExportSection::new();
    exports.export("f", ExportKind::Func, 0).export("m", ExportKind::Memory, 0);
    let mut function = Function::new([(1, ValType::V128)]);
    for instruction in body {
        function.instruction(instruction);
    }
    function.instruction(&Instruction::End);
    let mut code = CodeSection::new();
    code.function(&function);
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&memories).section(&exports);
    module.section(&code);
    module.finish()
}

/// Pushes an operand out of the two parameters from `param` on.
fn push(ty: Ty, param: u32, body: &mut Vec<Instruction<'static>>) {
    use Instruction as I;
    body.push(I::LocalGet(param));
    match ty {
        Ty::I32 => body.push(I::I32WrapI64),
        Ty::I64 => {}
        Ty::F32 => body.extend([I::I32WrapI64, I::F32ReinterpretI32]),
        Ty::F64 => body.push(I::F64ReinterpretI64),
        Ty::V128 => {
            body.extend([I::I64x2Splat, I::LocalGet(param + 1), I::I64x2ReplaceLane(1)]);
        }
    }
}

/// Takes the result apart into two i64.
fn pop(ty: Ty, body: &mut Vec<Instruction<'static>>) {
    use Instruction as I;
    match ty {
        Ty::I32 => body.extend([I::I64ExtendI32U, I::I64Const(0)]),
        Ty::I64 => body.push(I::I64Const(0)),
        Ty::F32 => body.extend([I::I32ReinterpretF32, I::I64ExtendI32U, I::I64Const(0)]),
        Ty::F64 => body.extend([I::I64ReinterpretF64, I::I64Const(0)]),
        Ty::V128 => body.extend([
            I::LocalTee(6),
            I::I64x2ExtractLane(0),
            I::LocalGet(6),
            I::I64x2ExtractLane(1),
        ]),
    }
}

fn instantiate(wasm: &[u8]) -> (wasmi::Store<()>, wasmi::Instance) {
    let engine = wasmi::Engine::default();
    let module = wasmi::Module::new(&engine, wasm).expect("valid");
    let mut store = wasmi::Store::new(&engine, ());
    let instance =
        wasmi::Linker::new(&engine).instantiate_and_start(&mut store, &module).expect("no imports");
    (store, instance)
}

fn params(operands: &[u128]) -> Pairs {
    let half = |i: usize, shift: u32| {
        operands.get(i).map_or(0, |operand| (operand >> shift) as u64 as i64)
    };
    (half(0, 0), half(0, 64), half(1, 0), half(1, 64), half(2, 0), half(2, 64))
}

fn joined((low, high): (i64, i64)) -> u128 {
    u128::from(low as u64) | u128::from(high as u64) << 64
}

/// What wasmi has chosen: the deterministic profile, except that it fuses and
/// that its dot products wrap.
fn choice_of_wasmi(parameter: Parameter) -> u8 {
    match parameter {
        Parameter::Madd => 1,
        Parameter::Dot => 2,
        _ => 0,
    }
}

#[test]
fn every_instruction() {
    let mut source = Source(4);
    let (mut compared, mut open, mut used) = (0, 0, 0);
    for &op in ALL {
        let (types, result) = op.signature();
        for lane in 0..lanes(op) {
            let variants = if op == SimdOp::I8x16Shuffle { 20 } else { 1 };
            for _ in 0..variants {
                let shuffle: [u8; 16] = std::array::from_fn(|_| (source.next() % 32) as u8);
                let mut body = Vec::new();
                for (i, &ty) in types.iter().enumerate() {
                    push(ty, 2 * i as u32, &mut body);
                }
                body.push(encoded(op, lane, shuffle));
                pop(result, &mut body);
                let (mut store, instance) = instantiate(&module(&body, 2));
                let function =
                    instance.get_typed_func::<Pairs, (i64, i64)>(&store, "f").expect("exported");
                for _ in 0..ROUNDS / variants {
                    let operands = source.operands(op);
                    let theirs = joined(
                        function.call(&mut store, params(&operands)).expect("does not trap"),
                    );
                    let ours = call(op, lane, Some(&shuffle), &operands);
                    let cells = cells(op, &operands);
                    let at = || {
                        format!("{op:?} {lane} {operands:#x?}: {ours:#034x}, wasmi {theirs:#034x}")
                    };
                    compared += 1;
                    let Some(freedom) = freedom(op, lane, &cells) else {
                        assert_eq!(ours, theirs, "{}", at());
                        continue;
                    };
                    open += 1;
                    assert!(freedom.allows(ours, ours), "{}", at());
                    assert!(freedom.allows(ours, theirs), "{}", at());
                    if freedom.is_used(ours) {
                        used += 1;
                    } else {
                        assert_eq!(ours, theirs, "{}", at());
                    }
                    if let Some(parameter) = Parameter::of(op) {
                        let own = implementation(op, &cells, ours).expect("relaxed");
                        assert!(own.contains(parameter.own()), "{} {own:?}", at());
                        let other = implementation(op, &cells, theirs).expect("relaxed");
                        assert!(other.contains(choice_of_wasmi(parameter)), "{} {other:?}", at());
                    } else {
                        assert_eq!(implementation(op, &cells, ours), None);
                    }
                }
            }
        }
    }
    // The inputs are such that all of this is exercised.
    assert!(compared > 90_000 && open > 13_000 && used > 7_000, "{compared} {open} {used}");
}

macro_rules! memory_ops {
    (whole $($whole:ident)*; lane $($lane:ident)*;) => {
        const MEMORY: &[MemOp] = &[$(MemOp::$whole,)* $(MemOp::$lane,)*];
        fn encoded_memory(op: MemOp, lane: u8, memarg: MemArg) -> Instruction<'static> {
            match op {
                $(MemOp::$whole => Instruction::$whole(memarg),)*
                $(MemOp::$lane => Instruction::$lane { memarg, lane },)*
            }
        }
    };
}
memory_ops! {
    whole V128Load V128Load8x8S V128Load8x8U V128Load16x4S V128Load16x4U V128Load32x2S
        V128Load32x2U V128Load8Splat V128Load16Splat V128Load32Splat V128Load64Splat
        V128Load32Zero V128Load64Zero V128Store;
    lane V128Load8Lane V128Load16Lane V128Load32Lane V128Load64Lane V128Store8Lane
        V128Store16Lane V128Store32Lane V128Store64Lane;
}

#[test]
fn every_access() {
    const AT: usize = 65536 - 16;
    let mut source = Source(5);
    for &op in MEMORY {
        let count = op.bytes();
        let has_lane = format!("{op:?}").ends_with("Lane");
        for lane in 0..if has_lane { 16 / count as u8 } else { 1 } {
            let memarg = MemArg { offset: 0, align: 0, memory_index: 0 };
            // The last address at which the access is within bounds tells how
            // many bytes it has.
            for address in [AT, 65536 - count, 65536 - count + 1] {
                let mut body = vec![Instruction::I32Const(address as i32)];
                if op.has_vector_operand() {
                    push(Ty::V128, 0, &mut body);
                }
                body.push(encoded_memory(op, lane, memarg));
                let results = if op.is_store() { 0 } else { 2 };
                if !op.is_store() {
                    pop(Ty::V128, &mut body);
                }
                let (mut store, instance) = instantiate(&module(&body, results));
                let memory = instance.get_memory(&store, "m").expect("exported");
                for _ in 0..20 {
                    let (before, vector) = (source.vector().to_le_bytes(), source.vector());
                    memory.write(&mut store, AT, &before).expect("within bounds");
                    let mut results = vec![wasmi::Val::I64(0); results];
                    let values = params(&[vector]);
                    let values = [values.0, values.1, 0, 0, 0, 0].map(wasmi::Val::I64);
                    let done = instance.get_func(&store, "f").expect("exported").call(
                        &mut store,
                        &values,
                        &mut results,
                    );
                    assert_eq!(done.is_ok(), address + count <= 65536, "{op:?} {address}");
                    if done.is_err() {
                        continue;
                    }
                    let mut after = [0; 16];
                    memory.read(&store, AT, &mut after).expect("within bounds");
                    let from = address - AT;
                    let mut expected = before;
                    if op.is_store() {
                        let (bytes, length) = super::store(op, lane, vector);
                        expected[from..from + length].copy_from_slice(&bytes[..length]);
                    } else {
                        let found = &before[from..from + count];
                        let theirs = match results[..] {
                            [wasmi::Val::I64(low), wasmi::Val::I64(high)] => joined((low, high)),
                            _ => panic!("{results:?}"),
                        };
                        assert_eq!(load(op, lane, found, vector), theirs, "{op:?} {lane}");
                        assert_eq!(super::store(op, lane, vector).1, 0);
                    }
                    assert_eq!(after, expected, "{op:?} {lane}");
                }
            }
        }
    }
}
