//! Which functions a result of a relaxed instruction is compatible with.
//!
//! An implementation has chosen one function per parameter for the whole run
//! (core spec, "Relaxed Operations": "These choices are fixed"). One result seldom
//! tells which: often all functions agree. So each result gives a set, and the
//! sets of a run have to have an element in common:
//!
//! ```text
//! known[parameter] = Choices::all(parameter)
//! for each executed relaxed instruction:
//!     known[parameter] = known[parameter].meet(implementation(op, operands, result))
//!     empty: the implementation contradicts itself
//! ```
//!
//! A set that is empty by itself means that no function gives this result.

use super::lanes::{Lanes, read};
use super::op::SimdOp;
use super::relaxed;
use crate::choice::{is_arithmetic_f32, is_arithmetic_f64, is_canonical_f32, is_canonical_f64};
use std::fmt;
use wasm_view::Cell;

/// A global parameter of the specification. Its functions: see `relaxed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Parameter {
    /// `R_swizzle`.
    Swizzle,
    /// `R_trunc_s`, of both float types.
    TruncS,
    /// `R_trunc_u`, of both float types.
    TruncU,
    /// `R_fmadd`, of both float types and with and without negation.
    Madd,
    /// `R_laneselect` for i8x16.
    LaneSelect8,
    /// `R_laneselect` for i16x8.
    LaneSelect16,
    /// `R_laneselect` for i32x4.
    LaneSelect32,
    /// `R_laneselect` for i64x2.
    LaneSelect64,
    /// `R_fmin`, of both float types.
    Min,
    /// `R_fmax`, of both float types.
    Max,
    /// `R_iq15mulr`.
    Q15,
    /// `R_idot`, with and without addition.
    Dot,
}

impl Parameter {
    /// All of them, in the order of their numbers.
    #[cfg(test)]
    pub(crate) const ALL: [Parameter; 12] = [
        Parameter::Swizzle,
        Parameter::TruncS,
        Parameter::TruncU,
        Parameter::Madd,
        Parameter::LaneSelect8,
        Parameter::LaneSelect16,
        Parameter::LaneSelect32,
        Parameter::LaneSelect64,
        Parameter::Min,
        Parameter::Max,
        Parameter::Q15,
        Parameter::Dot,
    ];

    /// The parameter that decides about this instruction. `None` unless it is a
    /// relaxed one.
    pub(crate) const fn of(op: SimdOp) -> Option<Parameter> {
        use SimdOp::*;
        Some(match op {
            I8x16RelaxedSwizzle => Parameter::Swizzle,
            I32x4RelaxedTruncF32x4S | I32x4RelaxedTruncF64x2SZero => Parameter::TruncS,
            I32x4RelaxedTruncF32x4U | I32x4RelaxedTruncF64x2UZero => Parameter::TruncU,
            F32x4RelaxedMadd | F32x4RelaxedNmadd | F64x2RelaxedMadd | F64x2RelaxedNmadd => {
                Parameter::Madd
            }
            I8x16RelaxedLaneselect => Parameter::LaneSelect8,
            I16x8RelaxedLaneselect => Parameter::LaneSelect16,
            I32x4RelaxedLaneselect => Parameter::LaneSelect32,
            I64x2RelaxedLaneselect => Parameter::LaneSelect64,
            F32x4RelaxedMin | F64x2RelaxedMin => Parameter::Min,
            F32x4RelaxedMax | F64x2RelaxedMax => Parameter::Max,
            I16x8RelaxedQ15mulrS => Parameter::Q15,
            I16x8RelaxedDotI8x16I7x16S | I32x4RelaxedDotI8x16I7x16AddS => Parameter::Dot,
            _ => return None,
        })
    }

    /// The names of the functions; the position is the choice's number.
    pub(crate) const fn functions(self) -> &'static [&'static str] {
        match self {
            Parameter::Swizzle => &["zero", "modulo"],
            Parameter::TruncS => &["saturating", "-2^31"],
            Parameter::TruncU => &["saturating", "2^32-1", "2^32-2", "2^31"],
            Parameter::Madd => &["rounded twice", "fused"],
            Parameter::LaneSelect8 | Parameter::LaneSelect32 | Parameter::LaneSelect64 => {
                &["by bits", "by top bits"]
            }
            Parameter::LaneSelect16 => &["by bits", "by top bits", "by top bits of bytes"],
            Parameter::Min | Parameter::Max => &["strict", "first", "second", "number"],
            Parameter::Q15 => &["saturating", "wrapping"],
            Parameter::Dot => &[
                "signed",
                "by unsigned",
                "signed, wrapping",
                "by unsigned, wide sum",
                "signed, wrapping, wide sum",
            ],
        }
    }

    /// The choice that this interpreter makes: Wasmtime's on x86-64.
    pub(in crate::simd) const fn own(self) -> u8 {
        match self {
            Parameter::TruncU | Parameter::LaneSelect16 => 0,
            Parameter::Swizzle
            | Parameter::TruncS
            | Parameter::Madd
            | Parameter::LaneSelect8
            | Parameter::LaneSelect32
            | Parameter::LaneSelect64
            | Parameter::Min
            | Parameter::Max
            | Parameter::Q15
            | Parameter::Dot => 1,
        }
    }
}

/// A set of the functions of one parameter.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Choices {
    parameter: Parameter,
    /// Bit `k` is choice `k`.
    set: u8,
}

impl Choices {
    /// Every function: nothing is known yet.
    #[cfg(test)]
    pub(crate) const fn all(parameter: Parameter) -> Choices {
        Choices { parameter, set: u8::MAX >> (8 - parameter.functions().len()) }
    }

    /// Whose functions these are.
    pub(crate) const fn parameter(self) -> Parameter {
        self.parameter
    }

    /// The functions that are in both sets. Of different parameters there are
    /// none.
    pub(crate) fn meet(self, other: Choices) -> Choices {
        let set = if self.parameter == other.parameter { self.set & other.set } else { 0 };
        Choices { parameter: self.parameter, set }
    }

    /// Whether no function is left.
    pub(crate) const fn is_empty(self) -> bool {
        self.set == 0
    }

    /// Whether a function, by its number, is in the set.
    pub(crate) const fn contains(self, choice: u8) -> bool {
        self.set >> choice & 1 != 0
    }

    /// The names of the functions in the set.
    pub(crate) fn names(self) -> impl Iterator<Item = &'static str> {
        let functions = self.parameter.functions().iter().enumerate();
        functions.filter(move |(i, _)| self.contains(*i as u8)).map(|(_, name)| *name)
    }
}

impl fmt::Debug for Choices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.parameter)?;
        f.debug_set().entries(self.names()).finish()
    }
}

/// The functions that give `result` for these operands, which are the cells that
/// the instruction takes or end with them. `None` unless it is a relaxed
/// instruction.
pub(crate) fn implementation(op: SimdOp, operands: &[Cell], result: u128) -> Option<Choices> {
    let parameter = Parameter::of(op)?;
    Some(compatible(op, parameter, vectors(op, operands)?, result))
}

pub(super) fn compatible(
    op: SimdOp,
    parameter: Parameter,
    operands: [u128; 3],
    result: u128,
) -> Choices {
    let set = (0..parameter.functions().len())
        .filter(|&choice| gives(op, choice as u8, operands, result))
        .fold(0, |set, choice| set | 1 << choice);
    Choices { parameter, set }
}

/// The operands of an instruction that takes only vectors; zero for those it
/// does not have. `None` if there are not enough cells.
pub(super) fn vectors(op: SimdOp, operands: &[Cell]) -> Option<[u128; 3]> {
    let count = op.operand_cells();
    let cells = operands.get(operands.len().checked_sub(count)?..)?;
    let mut vectors = [0; 3];
    for (i, vector) in vectors.iter_mut().enumerate().take(count / 2) {
        *vector = read(cells, 2 * i);
    }
    Some(vectors)
}

/// Which lanes of a relaxed instruction's result may be NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FloatLanes {
    None,
    F32,
    F64,
}

impl FloatLanes {
    pub(super) const fn of(op: SimdOp) -> FloatLanes {
        use SimdOp::*;
        match op {
            F32x4RelaxedMadd | F32x4RelaxedNmadd | F32x4RelaxedMin | F32x4RelaxedMax => {
                FloatLanes::F32
            }
            F64x2RelaxedMadd | F64x2RelaxedNmadd | F64x2RelaxedMin | F64x2RelaxedMax => {
                FloatLanes::F64
            }
            _ => FloatLanes::None,
        }
    }
}

/// Whether this function may give this result.
fn gives(op: SimdOp, choice: u8, operands: [u128; 3], result: u128) -> bool {
    let expected = relaxed::result(op, choice, operands);
    // `min` and `max` but for the strict ones pass an operand through.
    let passes = choice != 0 && matches!(Parameter::of(op), Some(Parameter::Min | Parameter::Max));
    macro_rules! lanewise {
        ($lanes:ty, $float:ty, $sign:expr, $is_canonical:ident, $is_arithmetic:ident) => {{
            let [a, b, c] = operands.map(<$lanes>::of);
            let (expected, result) = (<$lanes>::of(expected), <$lanes>::of(result));
            let is_nan = |bits| <$float>::from_bits(bits).is_nan();
            (0..expected.len()).all(|i| {
                let inputs = [a[i], b[i], c[i]];
                if !is_nan(expected[i]) {
                    result[i] == expected[i]
                } else if passes {
                    // "NaN(n)" for an operand that was "±NaN(n)": the payload is
                    // kept, nothing is said of the sign. Of two NaNs both rules
                    // of choice 3 apply.
                    let same = |input| (input ^ result[i]) & !$sign == 0;
                    same(expected[i]) || choice == 3 && (same(a[i]) || same(b[i]))
                } else if inputs.iter().all(|&x| !is_nan(x) || $is_canonical(x)) {
                    $is_canonical(result[i])
                } else {
                    $is_arithmetic(result[i])
                }
            })
        }};
    }
    match FloatLanes::of(op) {
        FloatLanes::None => result == expected,
        FloatLanes::F32 => {
            lanewise!([u32; 4], f32, (1 << 31), is_canonical_f32, is_arithmetic_f32)
        }
        FloatLanes::F64 => {
            lanewise!([u64; 2], f64, (1 << 63), is_canonical_f64, is_arithmetic_f64)
        }
    }
}
