//! The vector instruction as a value.

use super::table::with_simd_ops;
use wasm_view::ValType;
use wasmparser::Operator;

/// The type of an operand or a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ty {
    I32,
    I64,
    F32,
    F64,
    V128,
}

impl Ty {
    /// How many stack cells a value of this type takes.
    pub(crate) const fn cells(self) -> usize {
        match self {
            Ty::I32 | Ty::I64 | Ty::F32 | Ty::F64 => 1,
            Ty::V128 => 2,
        }
    }
}

impl From<Ty> for ValType {
    fn from(ty: Ty) -> ValType {
        match ty {
            Ty::I32 => ValType::I32,
            Ty::I64 => ValType::I64,
            Ty::F32 => ValType::F32,
            Ty::F64 => ValType::F64,
            Ty::V128 => ValType::V128,
        }
    }
}

/// What the specification leaves open about an instruction's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nature {
    /// Nothing.
    Exact,
    /// Sign and perhaps payload of NaN lanes. Operands and result are f32x4.
    NanF32,
    /// The same with f64x2.
    NanF64,
    /// The same; the operand is f64x2, the result's two low lanes are f32.
    Demote,
    /// The same; the operand's two low lanes are f32, the result is f64x2.
    Promote,
    /// One of several functions that an implementation has chosen for good, and
    /// within that NaNs as above (core spec, "Relaxed Operations").
    Relaxed,
}

macro_rules! define {
    (
        plain { $($plain:ident: [$($in:ident),*] -> $out:ident, $nature:ident;)* }
        lane { $($lane:ident: [$($lane_in:ident),*] -> $lane_out:ident, $lane_nature:ident;)* }
        shuffle { $shuffle:ident: [$($sh_in:ident),*] -> $sh_out:ident, $sh_nature:ident; }
    ) => {
        /// A vector instruction that does not access memory, named as in
        /// `wasmparser::Operator`. Its immediate, if any, is kept elsewhere.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub(crate) enum SimdOp {
            $($plain,)*
            $($lane,)*
            $shuffle,
        }

        /// The vector instruction that this operator is, and its lane index or
        /// zero. The sixteen indices of `i8x16.shuffle` are the caller's to take.
        pub(crate) fn simd_op(operator: &Operator<'_>) -> Option<(SimdOp, u8)> {
            Some(match operator {
                $(Operator::$plain => (SimdOp::$plain, 0),)*
                $(Operator::$lane { lane } => (SimdOp::$lane, *lane),)*
                Operator::$shuffle { .. } => (SimdOp::$shuffle, 0),
                _ => return None,
            })
        }

        impl SimdOp {
            /// The types of the operands, first pushed first, and of the result.
            pub(crate) const fn signature(self) -> (&'static [Ty], Ty) {
                match self {
                    $(SimdOp::$plain => (&[$(Ty::$in),*], Ty::$out),)*
                    $(SimdOp::$lane => (&[$(Ty::$lane_in),*], Ty::$lane_out),)*
                    SimdOp::$shuffle => (&[$(Ty::$sh_in),*], Ty::$sh_out),
                }
            }

            /// What is open about the result.
            pub(crate) const fn nature(self) -> Nature {
                match self {
                    $(SimdOp::$plain => Nature::$nature,)*
                    $(SimdOp::$lane => Nature::$lane_nature,)*
                    SimdOp::$shuffle => Nature::$sh_nature,
                }
            }
        }
    };
}
with_simd_ops!(define);

impl SimdOp {
    /// How many cells the operands take together.
    pub(crate) fn operand_cells(self) -> usize {
        self.signature().0.iter().map(|ty| ty.cells()).sum()
    }
}
