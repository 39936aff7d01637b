//! Loads and stores of vectors and of single lanes.

use super::memory::memory_flags;
use super::{Outcome, Translator};
use crate::error::CompileError;
use cranelift_codegen::ir::types::{I8X16, I16X8, I32X4, I64X2};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Type, Value};
use cranelift_frontend::FuncInstBuilder;
use wasmparser::{MemArg, Operator};

impl Translator<'_, '_> {
    pub(super) fn vector_memory_operator(
        &mut self,
        operator: &Operator<'_>,
    ) -> Result<bool, CompileError> {
        use Operator as O;
        match *operator {
            O::V128Load { memarg } => {
                self.load_vector(&memarg, 16, |b, f, p, o| b.load(I8X16, f, p, o))?
            }
            O::V128Store { memarg } => self.store(&memarg, 16, |b, f, v, p, o| {
                b.store(f, v, p, o);
            })?,
            O::V128Load8x8S { memarg } => {
                self.load_vector(&memarg, 8, |b, f, p, o| b.sload8x8(f, p, o))?
            }
            O::V128Load8x8U { memarg } => {
                self.load_vector(&memarg, 8, |b, f, p, o| b.uload8x8(f, p, o))?
            }
            O::V128Load16x4S { memarg } => {
                self.load_vector(&memarg, 8, |b, f, p, o| b.sload16x4(f, p, o))?
            }
            O::V128Load16x4U { memarg } => {
                self.load_vector(&memarg, 8, |b, f, p, o| b.uload16x4(f, p, o))?
            }
            O::V128Load32x2S { memarg } => {
                self.load_vector(&memarg, 8, |b, f, p, o| b.sload32x2(f, p, o))?
            }
            O::V128Load32x2U { memarg } => {
                self.load_vector(&memarg, 8, |b, f, p, o| b.uload32x2(f, p, o))?
            }
            O::V128Load8Splat { memarg } => self.load_splat(&memarg, I8X16)?,
            O::V128Load16Splat { memarg } => self.load_splat(&memarg, I16X8)?,
            O::V128Load32Splat { memarg } => self.load_splat(&memarg, I32X4)?,
            O::V128Load64Splat { memarg } => self.load_splat(&memarg, I64X2)?,
            O::V128Load32Zero { memarg } => self.load_zero(&memarg, I32X4)?,
            O::V128Load64Zero { memarg } => self.load_zero(&memarg, I64X2)?,
            O::V128Load8Lane { memarg, lane } => self.load_lane(&memarg, I8X16, lane)?,
            O::V128Load16Lane { memarg, lane } => self.load_lane(&memarg, I16X8, lane)?,
            O::V128Load32Lane { memarg, lane } => self.load_lane(&memarg, I32X4, lane)?,
            O::V128Load64Lane { memarg, lane } => self.load_lane(&memarg, I64X2, lane)?,
            O::V128Store8Lane { memarg, lane } => self.store_lane(&memarg, I8X16, lane)?,
            O::V128Store16Lane { memarg, lane } => self.store_lane(&memarg, I16X8, lane)?,
            O::V128Store32Lane { memarg, lane } => self.store_lane(&memarg, I32X4, lane)?,
            O::V128Store64Lane { memarg, lane } => self.store_lane(&memarg, I64X2, lane)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn load_vector(
        &mut self,
        memarg: &MemArg,
        size: u64,
        make: impl FnOnce(FuncInstBuilder<'_, '_>, MemFlagsData, Value, i32) -> Value,
    ) -> Outcome {
        let index = self.operand()?;
        let (address, offset) = self.address(memarg, size, index)?;
        let value = make(self.builder.ins(), memory_flags(), address, offset);
        self.push_vector(value);
        Ok(())
    }

    /// Loads what one lane of this vector type holds.
    fn load_one(&mut self, memarg: &MemArg, ty: Type) -> Result<Value, CompileError> {
        let lane = ty.lane_type();
        let index = self.operand()?;
        let (address, offset) = self.address(memarg, u64::from(lane.bytes()), index)?;
        Ok(self.builder.ins().load(lane, memory_flags(), address, offset))
    }

    fn load_splat(&mut self, memarg: &MemArg, ty: Type) -> Outcome {
        let lane = self.load_one(memarg, ty)?;
        let value = self.builder.ins().splat(ty, lane);
        self.push_vector(value);
        Ok(())
    }

    fn load_zero(&mut self, memarg: &MemArg, ty: Type) -> Outcome {
        let lane = self.load_one(memarg, ty)?;
        let value = self.builder.ins().scalar_to_vector(ty, lane);
        self.push_vector(value);
        Ok(())
    }

    fn load_lane(&mut self, memarg: &MemArg, ty: Type, lane: u8) -> Outcome {
        let vector = self.vector(ty)?;
        let value = self.load_one(memarg, ty)?;
        let value = self.builder.ins().insertlane(vector, value, lane);
        self.push_vector(value);
        Ok(())
    }

    fn store_lane(&mut self, memarg: &MemArg, ty: Type, lane: u8) -> Outcome {
        let vector = self.vector(ty)?;
        let index = self.operand()?;
        let value = self.builder.ins().extractlane(vector, lane);
        let size = u64::from(ty.lane_type().bytes());
        let (address, offset) = self.address(memarg, size, index)?;
        self.builder.ins().store(memory_flags(), value, address, offset);
        Ok(())
    }
}
