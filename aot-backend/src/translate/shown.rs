//! Showing what the specification leaves open.
//!
//! At opt speed keeping operands alive would defeat the purpose. But where the
//! specification leaves the bits of a result open, whoever follows must see the
//! bits that the code chose before it goes on, and Cranelift may compute a float
//! only much later. So the results of such instructions, and only those, are
//! stored to a stack slot, where the next boundary finds them.

use super::{Outcome, Translator};
use cranelift_codegen::ir::{StackSlotData, StackSlotKind};
use wasmparser::Operator;

/// Whether the specification leaves the bits of the instruction's result open:
/// those of a NaN (core spec, "NaN Propagation"), or which function a relaxed
/// vector instruction computes ("Relaxed Operations"). Sign operations and what
/// only moves bits leave nothing open.
pub(super) fn is_open(operator: &Operator<'_>) -> bool {
    use Operator as O;
    matches!(
        operator,
        O::F32Ceil
            | O::F32Floor
            | O::F32Trunc
            | O::F32Nearest
            | O::F32Sqrt
            | O::F32Add
            | O::F32Sub
            | O::F32Mul
            | O::F32Div
            | O::F32Min
            | O::F32Max
            | O::F64Ceil
            | O::F64Floor
            | O::F64Trunc
            | O::F64Nearest
            | O::F64Sqrt
            | O::F64Add
            | O::F64Sub
            | O::F64Mul
            | O::F64Div
            | O::F64Min
            | O::F64Max
            | O::F32x4Ceil
            | O::F32x4Floor
            | O::F32x4Trunc
            | O::F32x4Nearest
            | O::F32x4Sqrt
            | O::F32x4Add
            | O::F32x4Sub
            | O::F32x4Mul
            | O::F32x4Div
            | O::F32x4Min
            | O::F32x4Max
            | O::F64x2Ceil
            | O::F64x2Floor
            | O::F64x2Trunc
            | O::F64x2Nearest
            | O::F64x2Sqrt
            | O::F64x2Add
            | O::F64x2Sub
            | O::F64x2Mul
            | O::F64x2Div
            | O::F64x2Min
            | O::F64x2Max
            | O::F32DemoteF64
            | O::F64PromoteF32
            | O::F32x4DemoteF64x2Zero
            | O::F64x2PromoteLowF32x4
            | O::I8x16RelaxedSwizzle
            | O::I32x4RelaxedTruncF32x4S
            | O::I32x4RelaxedTruncF32x4U
            | O::I32x4RelaxedTruncF64x2SZero
            | O::I32x4RelaxedTruncF64x2UZero
            | O::F32x4RelaxedMadd
            | O::F32x4RelaxedNmadd
            | O::F64x2RelaxedMadd
            | O::F64x2RelaxedNmadd
            | O::I8x16RelaxedLaneselect
            | O::I16x8RelaxedLaneselect
            | O::I32x4RelaxedLaneselect
            | O::I64x2RelaxedLaneselect
            | O::F32x4RelaxedMin
            | O::F32x4RelaxedMax
            | O::F64x2RelaxedMin
            | O::F64x2RelaxedMax
            | O::I16x8RelaxedQ15mulrS
            | O::I16x8RelaxedDotI8x16I7x16S
            | O::I32x4RelaxedDotI8x16I7x16AddS
    )
}

impl Translator<'_, '_> {
    /// Stores the topmost operand where the next boundary finds it.
    pub(super) fn show_top(&mut self) -> Outcome {
        let slot = *self.shown.get_or_insert_with(|| {
            // Room for a vector.
            let data = StackSlotData::new(StackSlotKind::ExplicitSlot, 16, 4);
            self.builder.create_sized_stack_slot(data)
        });
        let (ty, value) = self.pop_typed()?;
        self.store_whole(value, slot);
        self.push(ty, value);
        self.top_is_shown = true;
        Ok(())
    }
}
