//! Which results the specification allows a vector instruction.
//!
//! The freedom of one execution follows from its operands: for every float lane
//! the NaNs that it may be if it is one, as for scalars (see
//! [`choice`](crate::choice)), and for a relaxed instruction the functions among
//! which implementations choose. It must be taken before the operands are
//! overwritten.

use super::choices::{FloatLanes, Parameter, compatible, vectors};
use super::lanes::{Lanes, map};
use super::op::{Nature, SimdOp};
use super::relaxed;
use crate::choice::{is_arithmetic_f32, is_arithmetic_f64, is_canonical_f32, is_canonical_f64};
use wasm_view::Cell;

/// What is open about the result of one executed vector instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VectorFreedom {
    /// Sign, and perhaps payload, of each f32 lane that is NaN.
    NanF32 {
        /// The lane may only be a canonical NaN.
        canonical_only: [bool; 4],
    },
    /// Sign, and perhaps payload, of each f64 lane that is NaN.
    NanF64 {
        /// The lane may only be a canonical NaN.
        canonical_only: [bool; 2],
    },
    /// The function that is computed, and within it NaNs as above.
    Relaxed {
        /// The relaxed instruction.
        op: SimdOp,
        /// Its operands, and zero for those it does not have.
        operands: [u128; 3],
    },
}

/// The freedom that `op` has with these operands: the cells that the instruction
/// takes, or more cells that end with them. `None` if its result is determined
/// whatever the operands. No instruction with a lane index leaves anything open.
pub(crate) fn freedom(op: SimdOp, _lane: u8, operands: &[Cell]) -> Option<VectorFreedom> {
    let nature = op.nature();
    if nature == Nature::Exact {
        return None;
    }
    let operands = vectors(op, operands)?;
    // Operands that the instruction does not have are zero, which is no NaN.
    let f32_inputs = |lane: usize| {
        operands.iter().map(|&vector| <[u32; 4]>::of(vector)[lane]).all(is_harmless_f32)
    };
    let f64_inputs = |lane: usize| {
        operands.iter().map(|&vector| <[u64; 2]>::of(vector)[lane]).all(is_harmless_f64)
    };
    Some(match nature {
        Nature::Exact => return None,
        Nature::NanF32 => VectorFreedom::NanF32 { canonical_only: std::array::from_fn(f32_inputs) },
        Nature::NanF64 => VectorFreedom::NanF64 { canonical_only: std::array::from_fn(f64_inputs) },
        // The upper lanes are zero.
        Nature::Demote => {
            VectorFreedom::NanF32 { canonical_only: [f64_inputs(0), f64_inputs(1), true, true] }
        }
        Nature::Promote => VectorFreedom::NanF64 { canonical_only: [f32_inputs(0), f32_inputs(1)] },
        Nature::Relaxed => VectorFreedom::Relaxed { op, operands },
    })
}

impl VectorFreedom {
    /// Whether the freedom was used: a lane of the result is a NaN of free
    /// choice, or the relaxed instruction allows more than this one result.
    pub(crate) fn is_used(&self, result: u128) -> bool {
        match *self {
            VectorFreedom::NanF32 { .. } => any_nan_f32(result),
            VectorFreedom::NanF64 { .. } => any_nan_f64(result),
            VectorFreedom::Relaxed { op, operands } => {
                let count = Parameter::of(op).map_or(0, |p| p.functions().len() as u8);
                let strict = relaxed::result(op, 0, operands);
                // A NaN of the strict function is of free choice.
                let free_nan = match FloatLanes::of(op) {
                    FloatLanes::None => false,
                    FloatLanes::F32 => any_nan_f32(strict),
                    FloatLanes::F64 => any_nan_f64(strict),
                };
                free_nan || (1..count).any(|k| relaxed::result(op, k, operands) != strict)
            }
        }
    }

    /// Whether the specification allows `other` where our result is `own`.
    pub(crate) fn allows(&self, own: u128, other: u128) -> bool {
        match *self {
            VectorFreedom::NanF32 { canonical_only } => {
                let (own, other) = (<[u32; 4]>::of(own), <[u32; 4]>::of(other));
                (0..4).all(|i| match (f32::from_bits(own[i]).is_nan(), canonical_only[i]) {
                    (false, _) => own[i] == other[i],
                    (true, true) => is_canonical_f32(other[i]),
                    (true, false) => is_arithmetic_f32(other[i]),
                })
            }
            VectorFreedom::NanF64 { canonical_only } => {
                let (own, other) = (<[u64; 2]>::of(own), <[u64; 2]>::of(other));
                (0..2).all(|i| match (f64::from_bits(own[i]).is_nan(), canonical_only[i]) {
                    (false, _) => own[i] == other[i],
                    (true, true) => is_canonical_f64(other[i]),
                    (true, false) => is_arithmetic_f64(other[i]),
                })
            }
            VectorFreedom::Relaxed { op, operands } => Parameter::of(op)
                .is_some_and(|parameter| !compatible(op, parameter, operands, other).is_empty()),
        }
    }
}

/// Not a NaN, or a canonical one.
fn is_harmless_f32(bits: u32) -> bool {
    !f32::from_bits(bits).is_nan() || is_canonical_f32(bits)
}

/// Not a NaN, or a canonical one.
fn is_harmless_f64(bits: u64) -> bool {
    !f64::from_bits(bits).is_nan() || is_canonical_f64(bits)
}

fn any_nan_f32(vector: u128) -> bool {
    map(<[f32; 4]>::of(vector), f32::is_nan).contains(&true)
}

fn any_nan_f64(vector: u128) -> bool {
    map(<[f64; 2]>::of(vector), f64::is_nan).contains(&true)
}
