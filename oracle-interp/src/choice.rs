//! Results that the specification does not determine.
//!
//! Two kinds concern us: the sign and payload of a NaN that arithmetic
//! produced (core spec, "NaN Propagation"), and whether a memory or table
//! grows. The oracle picks one allowed result and says so with a [`Choice`];
//! whoever follows another execution checks that execution's result with
//! [`Choice::allows`] and makes the oracle adopt it.
//!
//! The rule for NaN: if every NaN among the inputs is canonical, or there is
//! none, the result is canonical, of either sign. Otherwise it may be any
//! arithmetic NaN, that is, one whose most significant payload bit is set.

use crate::op::{Nature, Op};
use wasm_view::{Cell, SlotIdx};

/// A freedom that the last instruction used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Where the result is, at the boundary after the instruction.
    pub slot: SlotIdx,
    /// What was free.
    pub kind: ChoiceKind,
}

/// The freedoms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChoiceKind {
    /// Sign, and perhaps payload, of an f32 NaN.
    NanF32 {
        /// Only the canonical payload is allowed.
        canonical_only: bool,
    },
    /// Sign, and perhaps payload, of an f64 NaN.
    NanF64 {
        /// Only the canonical payload is allowed.
        canonical_only: bool,
    },
    /// `memory.grow` succeeded and might have failed.
    MemoryGrow {
        /// Size before, in pages: the result of success.
        previous: u32,
    },
    /// `table.grow` succeeded and might have failed.
    TableGrow {
        /// Size before, in elements: the result of success.
        previous: u32,
    },
}

/// The cell of -1, the result of a failed `grow`.
pub(crate) const GROW_FAILED: Cell = Cell(u32::MAX as u64);

impl ChoiceKind {
    /// The name under which adoptions of this kind are counted.
    pub const fn name(self) -> &'static str {
        match self {
            ChoiceKind::NanF32 { .. } | ChoiceKind::NanF64 { .. } => "nan_payload",
            ChoiceKind::MemoryGrow { .. } => "memory_grow",
            ChoiceKind::TableGrow { .. } => "table_grow",
        }
    }
}

impl Choice {
    /// Whether the specification allows this result.
    pub fn allows(&self, result: Cell) -> bool {
        match self.kind {
            ChoiceKind::NanF32 { canonical_only } => u32::try_from(result.0).is_ok_and(|bits| {
                if canonical_only { is_canonical_f32(bits) } else { is_arithmetic_f32(bits) }
            }),
            ChoiceKind::NanF64 { canonical_only } => {
                if canonical_only {
                    is_canonical_f64(result.0)
                } else {
                    is_arithmetic_f64(result.0)
                }
            }
            ChoiceKind::MemoryGrow { previous } | ChoiceKind::TableGrow { previous } => {
                result == GROW_FAILED || result == Cell(u64::from(previous))
            }
        }
    }
}

/// Canonical NaN of either sign: only the most significant payload bit is set.
pub fn is_canonical_f32(bits: u32) -> bool {
    bits & 0x7fff_ffff == 0x7fc0_0000
}

/// Canonical NaN of either sign: only the most significant payload bit is set.
pub fn is_canonical_f64(bits: u64) -> bool {
    bits & 0x7fff_ffff_ffff_ffff == 0x7ff8_0000_0000_0000
}

/// Arithmetic ("quiet") NaN: the most significant payload bit is set.
pub fn is_arithmetic_f32(bits: u32) -> bool {
    bits & 0x7fc0_0000 == 0x7fc0_0000
}

/// Arithmetic ("quiet") NaN: the most significant payload bit is set.
pub fn is_arithmetic_f64(bits: u64) -> bool {
    bits & 0x7ff8_0000_0000_0000 == 0x7ff8_0000_0000_0000
}

fn is_nan_f32(bits: u32) -> bool {
    f32::from_bits(bits).is_nan()
}

fn is_nan_f64(bits: u64) -> bool {
    f64::from_bits(bits).is_nan()
}

/// The freedom that `op`, applied to these operands, has if its result is a NaN.
pub(crate) fn nan_freedom(op: Op, operands: &[Cell]) -> Option<ChoiceKind> {
    let (pops, nature) = op.simple()?;
    if matches!(nature, Nature::Exact | Nature::Traps) {
        return None;
    }
    let inputs = operands.get(operands.len().checked_sub(pops as usize)?..)?;
    let f32_inputs =
        || inputs.iter().all(|c| !is_nan_f32(c.0 as u32) || is_canonical_f32(c.0 as u32));
    let f64_inputs = || inputs.iter().all(|c| !is_nan_f64(c.0) || is_canonical_f64(c.0));
    match nature {
        Nature::Exact | Nature::Traps => None,
        Nature::NanF32 => Some(ChoiceKind::NanF32 { canonical_only: f32_inputs() }),
        Nature::NanF64 => Some(ChoiceKind::NanF64 { canonical_only: f64_inputs() }),
        Nature::Demote => Some(ChoiceKind::NanF32 { canonical_only: f64_inputs() }),
        Nature::Promote => Some(ChoiceKind::NanF64 { canonical_only: f32_inputs() }),
    }
}

/// Whether the instruction's result may be a NaN of the executor's choice.
pub(crate) fn has_nan_freedom(op: Op) -> bool {
    op.simple().is_some_and(|(_, nature)| !matches!(nature, Nature::Exact | Nature::Traps))
}

/// Whether the freedom was used: the result is a NaN.
pub(crate) fn is_used(kind: ChoiceKind, result: Cell) -> bool {
    match kind {
        ChoiceKind::NanF32 { .. } => is_nan_f32(result.0 as u32),
        ChoiceKind::NanF64 { .. } => is_nan_f64(result.0),
        ChoiceKind::MemoryGrow { .. } | ChoiceKind::TableGrow { .. } => true,
    }
}
