//! No vector instruction is missing, and each has the immediate it should.

use super::super::table::with_simd_ops;
use super::*;
use wasm_encoder::Encode;
use wasmparser::{BinaryReader, FrameKind, FrameStack, Operator};

macro_rules! list {
    (
        plain { $($plain:ident: [$($in:ident),*] -> $out:ident, $nature:ident;)* }
        lane { $($lane:ident: [$($lane_in:ident),*] -> $lane_out:ident, $lane_nature:ident;)* }
        shuffle { $shuffle:ident: [$($sh_in:ident),*] -> $sh_out:ident, $sh_nature:ident; }
    ) => {
        /// Every instruction.
        pub(super) const ALL: &[SimdOp] =
            &[$(SimdOp::$plain,)* $(SimdOp::$lane,)* SimdOp::$shuffle];

        /// The instruction as `wasm-encoder` knows it.
        pub(super) fn encoded(
            op: SimdOp,
            lane: u8,
            shuffle: [u8; 16],
        ) -> wasm_encoder::Instruction<'static> {
            match op {
                $(SimdOp::$plain => wasm_encoder::Instruction::$plain,)*
                $(SimdOp::$lane => wasm_encoder::Instruction::$lane(lane),)*
                SimdOp::$shuffle => wasm_encoder::Instruction::$shuffle(shuffle),
            }
        }
    };
}
with_simd_ops!(list);

/// How many lanes a lane index chooses from; 1 if there is no such index.
pub(super) fn lanes(op: SimdOp) -> u8 {
    let name = format!("{op:?}");
    match name.split_once('x') {
        Some((_, rest)) if name.contains("ExtractLane") || name.contains("ReplaceLane") => rest
            .trim_start_matches('x')
            .chars()
            .take_while(char::is_ascii_digit)
            .collect::<String>()
            .parse()
            .expect("a shape"),
        _ => 1,
    }
}

struct NoContext;

impl FrameStack for NoContext {
    fn current_frame(&self) -> Option<FrameKind> {
        Some(FrameKind::Block)
    }
}

#[test]
fn what_is_encoded_is_recognised() {
    assert_eq!(lanes(SimdOp::I8x16ExtractLaneS), 16);
    assert_eq!(lanes(SimdOp::F64x2ReplaceLane), 2);
    for &op in ALL {
        for lane in 0..lanes(op) {
            let mut bytes = Vec::new();
            encoded(op, lane, [31; 16]).encode(&mut bytes);
            let operator = BinaryReader::new(&bytes, 0).peek_operator(&NoContext).expect("valid");
            assert_eq!(simd_op(&operator), Some((op, lane)), "{operator:?}");
            assert!(simd_mem_op(&operator).is_none());
        }
    }
}

macro_rules! list_operators {
    ($(
        @$proposal:ident $name:ident $({ $($arg:ident: $ty:ty),* })?
        => $visit:ident (arity $takes:literal -> $gives:literal)
    )*) => {
        /// Every vector operator of the parser, with the numbers of operands and
        /// results that it states.
        fn operators() -> Vec<(Operator<'static>, usize, usize)> {
            vec![$((
                Operator::$name $({ $($arg: <$ty as Any>::any()),* })?,
                $takes,
                $gives,
            )),*]
        }
    };
}
wasmparser::for_each_visit_simd_operator!(list_operators);

/// Some value of an immediate's type.
trait Any {
    fn any() -> Self;
}
impl Any for u8 {
    fn any() -> u8 {
        1
    }
}
impl Any for [u8; 16] {
    fn any() -> [u8; 16] {
        [3; 16]
    }
}
impl Any for wasmparser::MemArg {
    fn any() -> Self {
        wasmparser::MemArg { align: 0, max_align: 0, offset: 5, memory: 0 }
    }
}
impl Any for wasmparser::V128 {
    fn any() -> Self {
        let mut bytes = [0; 18];
        bytes[..2].copy_from_slice(&[0xfd, 12]);
        match BinaryReader::new(&bytes, 0).peek_operator(&NoContext) {
            Ok(Operator::V128Const { value }) => value,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn every_operator_is_known() {
    let (mut plain, mut memory, mut constants) = (0, 0, 0);
    for (operator, takes, gives) in operators() {
        match (simd_op(&operator), simd_mem_op(&operator)) {
            (Some((op, lane)), None) => {
                plain += 1;
                let (operands, result) = op.signature();
                assert_eq!((operands.len(), 1), (takes, gives), "{op:?}");
                assert_eq!(lane, u8::from(lanes(op) > 1), "{op:?}");
                assert_eq!(op.nature() == Nature::Relaxed, format!("{op:?}").contains("Relaxed"));
                if op.nature() != Nature::Exact {
                    assert_eq!(result, Ty::V128);
                    assert!(operands.iter().all(|&ty| ty == Ty::V128));
                }
            }
            (None, Some((op, memarg, lane))) => {
                memory += 1;
                assert_eq!(memarg.offset, 5);
                assert_eq!(lane, u8::from(format!("{op:?}").contains("Lane")), "{op:?}");
                let operands = 1 + usize::from(op.has_vector_operand());
                assert_eq!((operands, usize::from(!op.is_store())), (takes, gives), "{op:?}");
            }
            (None, None) => {
                constants += 1;
                assert!(matches!(operator, Operator::V128Const { .. }), "{operator:?}");
            }
            both => panic!("{operator:?} is {both:?}"),
        }
    }
    assert_eq!((plain, memory, constants), (ALL.len(), 22, 1));
}
