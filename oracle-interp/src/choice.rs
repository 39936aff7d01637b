//! Results that the specification does not determine.
//!
//! Three kinds concern us: the sign and payload of a NaN that arithmetic
//! produced (core spec, "NaN Propagation"), which function a relaxed vector
//! instruction computes (core spec, "Relaxed Operations"), and whether a memory
//! or table grows. The oracle picks one allowed result and says so with a [`Choice`];
//! whoever follows another execution checks that execution's result with
//! [`Choice::allows`] and makes the oracle adopt it.
//!
//! The rule for NaN: if every NaN among the inputs is canonical, or there is
//! none, the result is canonical, of either sign. Otherwise it may be any
//! arithmetic NaN, that is, one whose most significant payload bit is set.

use crate::op::{Nature, Op};
use crate::simd::{self, Choices, VectorFreedom};
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// The same of a memory or table with 64-bit addresses.
    Grow64 {
        /// Size before: the result of success.
        previous: u64,
        /// Whether it is a table.
        table: bool,
    },
    /// A vector with NaNs, or the result of a relaxed instruction.
    Vector(VectorChoice),
}

/// What was free about a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VectorChoice {
    own: u128,
    freedom: VectorFreedom,
}

impl VectorChoice {
    /// The functions of a relaxed instruction that give this result.
    pub(crate) fn functions(&self, result: u128) -> Option<Choices> {
        match self.freedom {
            VectorFreedom::Relaxed { op, operands } => {
                let cells = operands.map(|bits| [Cell(bits as u64), Cell((bits >> 64) as u64)]);
                let count = op.operand_cells();
                simd::implementation(op, &cells.as_flattened()[..count], result)
            }
            _ => None,
        }
    }
}

impl Choice {
    /// The bits of the result that another allowed one may have otherwise; low
    /// cell first. None of a `grow`, of which the result is one number or another.
    /// Of a relaxed instruction any bit.
    pub fn open_bits(&self) -> [u64; 2] {
        let single = |canonical| if canonical { 0x8000_0000 } else { 0x803f_ffff_u64 };
        let double = |canonical| if canonical { 1 << 63 } else { 0x8007_ffff_ffff_ffff_u64 };
        match self.kind {
            ChoiceKind::NanF32 { canonical_only } => [single(canonical_only), 0],
            ChoiceKind::NanF64 { canonical_only } => [double(canonical_only), 0],
            ChoiceKind::MemoryGrow { .. }
            | ChoiceKind::TableGrow { .. }
            | ChoiceKind::Grow64 { .. } => [0, 0],
            ChoiceKind::Vector(VectorChoice { own, freedom }) => {
                let own = [own as u64, (own >> 64) as u64];
                match freedom {
                    VectorFreedom::NanF32 { canonical_only } => std::array::from_fn(|half| {
                        let lane = |at: usize| match is_nan_f32((own[half] >> (32 * at)) as u32) {
                            true => single(canonical_only[2 * half + at]) << (32 * at),
                            false => 0,
                        };
                        lane(0) | lane(1)
                    }),
                    VectorFreedom::NanF64 { canonical_only } => std::array::from_fn(|half| {
                        if is_nan_f64(own[half]) { double(canonical_only[half]) } else { 0 }
                    }),
                    VectorFreedom::Relaxed { .. } => [u64::MAX; 2],
                }
            }
        }
    }
}

/// The cell of -1, the result of a failed `grow`.
pub(crate) const GROW_FAILED: Cell = Cell(u32::MAX as u64);
/// The same with 64-bit addresses.
pub(crate) const GROW_FAILED_64: Cell = Cell(u64::MAX);

impl ChoiceKind {
    /// The name under which adoptions of this kind are counted.
    pub const fn name(self) -> &'static str {
        match self {
            ChoiceKind::NanF32 { .. } | ChoiceKind::NanF64 { .. } => "nan_payload",
            ChoiceKind::MemoryGrow { .. } | ChoiceKind::Grow64 { table: false, .. } => {
                "memory_grow"
            }
            ChoiceKind::TableGrow { .. } | ChoiceKind::Grow64 { table: true, .. } => "table_grow",
            ChoiceKind::Vector(VectorChoice { freedom: VectorFreedom::Relaxed { .. }, .. }) => {
                "relaxed_simd"
            }
            ChoiceKind::Vector(_) => "nan_payload",
        }
    }
}

impl Choice {
    /// Whether the specification allows this vector.
    pub fn allows_vector(&self, result: u128) -> bool {
        match self.kind {
            ChoiceKind::Vector(VectorChoice { own, freedom }) => freedom.allows(own, result),
            _ => false,
        }
    }

    /// Whether the specification allows this result, which is not a vector.
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
            ChoiceKind::Grow64 { previous, .. } => {
                result == GROW_FAILED_64 || result == Cell(previous)
            }
            ChoiceKind::Vector(_) => false,
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

/// What `op`, applied to these operands, leaves open; to be asked before it is
/// executed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Freedom {
    Scalar(ChoiceKind),
    Vector(VectorFreedom),
}

/// The freedom that `op`, applied to these operands, has if its result is a NaN
/// or, of a relaxed instruction, at all.
#[inline]
pub(crate) fn freedom(op: Op, operands: &[Cell]) -> Option<Freedom> {
    if let Op::Simd { op, .. } = op {
        return simd::freedom(op, 0, operands).map(Freedom::Vector);
    }
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
    .map(Freedom::Scalar)
}

/// Whether the instruction's result may be of the executor's choice.
pub(crate) fn has_freedom(op: Op) -> bool {
    match op {
        Op::Simd { op, .. } => op.nature() != simd::Nature::Exact,
        op => {
            op.simple().is_some_and(|(_, nature)| !matches!(nature, Nature::Exact | Nature::Traps))
        }
    }
}

impl Freedom {
    /// The choice that was made if the result, the topmost cells, used it.
    pub(crate) fn choice(self, cells: &[Cell]) -> Option<ChoiceKind> {
        let low = cells.last()?.0;
        match self {
            Freedom::Scalar(kind) => {
                let is_nan = match kind {
                    ChoiceKind::NanF32 { .. } => is_nan_f32(low as u32),
                    _ => is_nan_f64(low),
                };
                is_nan.then_some(kind)
            }
            Freedom::Vector(freedom) => {
                let [.., low, high] = cells else { return None };
                let own = u128::from(high.0) << 64 | u128::from(low.0);
                let used = freedom.is_used(own);
                used.then_some(ChoiceKind::Vector(VectorChoice { own, freedom }))
            }
        }
    }
}
