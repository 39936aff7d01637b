//! Vector instructions (128-bit SIMD and relaxed SIMD).
//!
//! To Wasm a vector is 128 bits, and each instruction says what lanes it sees
//! in them; CLIF types vectors by their lanes. So every slot holds `i8x16`,
//! and an instruction looks at its operands through `bitcast`, which costs no
//! code.
//!
//! What CLIF computes for each instruction, and what a relaxed one picks of
//! the results that it may have, follows Wasmtime's translator
//! (`code_translator.rs` and `func_environ.rs` of `wasmtime-cranelift` 48)
//! where it does not ask for determinism, so that findings carry over.

use super::{Outcome, Translator};
use crate::error::CompileError;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32, F32X4, F64, F64X2, I8, I8X16, I16, I16X8, I32, I32X4};
use cranelift_codegen::ir::types::{I64, I64X2};
use cranelift_codegen::ir::{ConstantData, Endianness, InstBuilder, MemFlagsData, Type, Value};
use cranelift_frontend::{FuncInstBuilder, FunctionBuilder};
use wasm_view::ValType;
use wasmparser::Operator;

/// A CLIF instruction with one, two or three operands.
type Make1 = fn(FuncInstBuilder<'_, '_>, Value) -> Value;
type Make2 = fn(FuncInstBuilder<'_, '_>, Value, Value) -> Value;

impl Translator<'_, '_> {
    pub(super) fn vector_operator(
        &mut self,
        operator: &Operator<'_>,
    ) -> Result<bool, CompileError> {
        Ok(self.lane_operator(operator)?
            || self.integer_vector_operator(operator)?
            || self.float_vector_operator(operator)?
            || self.widening_operator(operator)?
            || self.relaxed_operator(operator)?)
    }

    /// Constants, splats, access to single lanes, and what moves lanes.
    fn lane_operator(&mut self, operator: &Operator<'_>) -> Result<bool, CompileError> {
        use Operator as O;
        match *operator {
            O::V128Const { value } => {
                let value = constant(&mut self.builder, I8X16, *value.bytes());
                self.push(ValType::V128, value);
            }
            O::I8x16Splat => self.splat(I8X16)?,
            O::I16x8Splat => self.splat(I16X8)?,
            O::I32x4Splat => self.splat(I32X4)?,
            O::I64x2Splat => self.splat(I64X2)?,
            O::F32x4Splat => self.splat(F32X4)?,
            O::F64x2Splat => self.splat(F64X2)?,
            O::I8x16ExtractLaneS { lane } => self.extract(I8X16, lane, Some(true))?,
            O::I8x16ExtractLaneU { lane } => self.extract(I8X16, lane, Some(false))?,
            O::I16x8ExtractLaneS { lane } => self.extract(I16X8, lane, Some(true))?,
            O::I16x8ExtractLaneU { lane } => self.extract(I16X8, lane, Some(false))?,
            O::I32x4ExtractLane { lane } => self.extract(I32X4, lane, None)?,
            O::I64x2ExtractLane { lane } => self.extract(I64X2, lane, None)?,
            O::F32x4ExtractLane { lane } => self.extract(F32X4, lane, None)?,
            O::F64x2ExtractLane { lane } => self.extract(F64X2, lane, None)?,
            O::I8x16ReplaceLane { lane } => self.replace(I8X16, lane)?,
            O::I16x8ReplaceLane { lane } => self.replace(I16X8, lane)?,
            O::I32x4ReplaceLane { lane } => self.replace(I32X4, lane)?,
            O::I64x2ReplaceLane { lane } => self.replace(I64X2, lane)?,
            O::F32x4ReplaceLane { lane } => self.replace(F32X4, lane)?,
            O::F64x2ReplaceLane { lane } => self.replace(F64X2, lane)?,
            O::I8x16Shuffle { lanes } => {
                // Its lanes may all be of one of the two.
                let y = self.kept_operand()?;
                let x = self.kept_operand()?;
                let mask = self.builder.func.dfg.immediates.push(ConstantData::from(&lanes[..]));
                let value = self.builder.ins().shuffle(x, y, mask);
                self.push_vector(value);
            }
            O::I8x16Swizzle => self.vector2(I8X16, |b, x, y| b.swizzle(x, y))?,
            O::V128Not => self.vector1(I8X16, |b, x| b.bnot(x))?,
            O::V128And => self.vector2(I8X16, |b, x, y| b.band(x, y))?,
            O::V128AndNot => self.vector2(I8X16, |b, x, y| b.band_not(x, y))?,
            O::V128Or => self.vector2(I8X16, |b, x, y| b.bor(x, y))?,
            O::V128Xor => self.vector2(I8X16, |b, x, y| b.bxor(x, y))?,
            O::V128Bitselect => {
                let [x, y, mask] = self.vectors(I8X16)?;
                let value = self.builder.ins().bitselect(mask, x, y);
                self.push_vector(value);
            }
            O::V128AnyTrue => {
                let x = self.vector(I8X16)?;
                let any = self.builder.ins().vany_true(x);
                self.push_bool(any);
            }
            O::I8x16AllTrue => self.all_true(I8X16)?,
            O::I16x8AllTrue => self.all_true(I16X8)?,
            O::I32x4AllTrue => self.all_true(I32X4)?,
            O::I64x2AllTrue => self.all_true(I64X2)?,
            O::I8x16Bitmask => self.bitmask(I8X16)?,
            O::I16x8Bitmask => self.bitmask(I16X8)?,
            O::I32x4Bitmask => self.bitmask(I32X4)?,
            O::I64x2Bitmask => self.bitmask(I64X2)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Arithmetic on integer lanes that keeps their width, and comparisons.
    fn integer_vector_operator(&mut self, operator: &Operator<'_>) -> Result<bool, CompileError> {
        use Operator as O;
        if let Some((ty, condition)) = integer_comparison(operator) {
            let [x, y] = self.vectors(ty)?;
            let value = self.builder.ins().icmp(condition, x, y);
            self.push_vector(value);
            return Ok(true);
        }
        let shape = integer_shape(operator);
        match operator {
            O::I8x16Add | O::I16x8Add | O::I32x4Add | O::I64x2Add => {
                self.vector2(shape, |b, x, y| b.iadd(x, y))?
            }
            O::I8x16Sub | O::I16x8Sub | O::I32x4Sub | O::I64x2Sub => {
                self.vector2(shape, |b, x, y| b.isub(x, y))?
            }
            O::I16x8Mul | O::I32x4Mul | O::I64x2Mul => {
                self.vector2(shape, |b, x, y| b.imul(x, y))?
            }
            O::I8x16AddSatS | O::I16x8AddSatS => self.vector2(shape, |b, x, y| b.sadd_sat(x, y))?,
            O::I8x16AddSatU | O::I16x8AddSatU => self.vector2(shape, |b, x, y| b.uadd_sat(x, y))?,
            O::I8x16SubSatS | O::I16x8SubSatS => self.vector2(shape, |b, x, y| b.ssub_sat(x, y))?,
            O::I8x16SubSatU | O::I16x8SubSatU => self.vector2(shape, |b, x, y| b.usub_sat(x, y))?,
            O::I8x16MinS | O::I16x8MinS | O::I32x4MinS => {
                self.vector2(shape, |b, x, y| b.smin(x, y))?
            }
            O::I8x16MinU | O::I16x8MinU | O::I32x4MinU => {
                self.vector2(shape, |b, x, y| b.umin(x, y))?
            }
            O::I8x16MaxS | O::I16x8MaxS | O::I32x4MaxS => {
                self.vector2(shape, |b, x, y| b.smax(x, y))?
            }
            O::I8x16MaxU | O::I16x8MaxU | O::I32x4MaxU => {
                self.vector2(shape, |b, x, y| b.umax(x, y))?
            }
            O::I8x16AvgrU | O::I16x8AvgrU => self.vector2(shape, |b, x, y| b.avg_round(x, y))?,
            O::I8x16Neg | O::I16x8Neg | O::I32x4Neg | O::I64x2Neg => {
                self.vector1(shape, |b, x| b.ineg(x))?
            }
            O::I8x16Abs | O::I16x8Abs | O::I32x4Abs | O::I64x2Abs => {
                self.vector1(shape, |b, x| b.iabs(x))?
            }
            O::I8x16Popcnt => self.vector1(shape, |b, x| b.popcnt(x))?,
            O::I16x8Q15MulrSatS => self.vector2(I16X8, |b, x, y| b.sqmul_round_sat(x, y))?,
            // CLIF takes shift counts modulo the lane's width, as Wasm does.
            O::I8x16Shl | O::I16x8Shl | O::I32x4Shl | O::I64x2Shl => {
                self.vector_shift(shape, |b, x, n| b.ishl(x, n))?
            }
            O::I8x16ShrS | O::I16x8ShrS | O::I32x4ShrS | O::I64x2ShrS => {
                self.vector_shift(shape, |b, x, n| b.sshr(x, n))?
            }
            O::I8x16ShrU | O::I16x8ShrU | O::I32x4ShrU | O::I64x2ShrU => {
                self.vector_shift(shape, |b, x, n| b.ushr(x, n))?
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Arithmetic on float lanes, comparisons and conversions.
    fn float_vector_operator(&mut self, operator: &Operator<'_>) -> Result<bool, CompileError> {
        use Operator as O;
        if let Some((ty, condition)) = float_comparison(operator) {
            let [x, y] = self.vectors(ty)?;
            let value = self.builder.ins().fcmp(condition, x, y);
            self.push_vector(value);
            return Ok(true);
        }
        match operator {
            O::F32x4Add => self.vector2(F32X4, |b, x, y| b.fadd(x, y))?,
            O::F64x2Add => self.vector2(F64X2, |b, x, y| b.fadd(x, y))?,
            O::F32x4Sub => self.vector2(F32X4, |b, x, y| b.fsub(x, y))?,
            O::F64x2Sub => self.vector2(F64X2, |b, x, y| b.fsub(x, y))?,
            O::F32x4Mul => self.vector2(F32X4, |b, x, y| b.fmul(x, y))?,
            O::F64x2Mul => self.vector2(F64X2, |b, x, y| b.fmul(x, y))?,
            O::F32x4Div => self.vector2(F32X4, |b, x, y| b.fdiv(x, y))?,
            O::F64x2Div => self.vector2(F64X2, |b, x, y| b.fdiv(x, y))?,
            O::F32x4Min => self.vector2(F32X4, |b, x, y| b.fmin(x, y))?,
            O::F64x2Min => self.vector2(F64X2, |b, x, y| b.fmin(x, y))?,
            O::F32x4Max => self.vector2(F32X4, |b, x, y| b.fmax(x, y))?,
            O::F64x2Max => self.vector2(F64X2, |b, x, y| b.fmax(x, y))?,
            O::F32x4PMin => self.pseudo_min(F32X4)?,
            O::F64x2PMin => self.pseudo_min(F64X2)?,
            O::F32x4PMax => self.pseudo_max(F32X4)?,
            O::F64x2PMax => self.pseudo_max(F64X2)?,
            O::F32x4Abs => self.vector1(F32X4, |b, x| b.fabs(x))?,
            O::F64x2Abs => self.vector1(F64X2, |b, x| b.fabs(x))?,
            O::F32x4Neg => self.vector1(F32X4, |b, x| b.fneg(x))?,
            O::F64x2Neg => self.vector1(F64X2, |b, x| b.fneg(x))?,
            O::F32x4Sqrt => self.vector1(F32X4, |b, x| b.sqrt(x))?,
            O::F64x2Sqrt => self.vector1(F64X2, |b, x| b.sqrt(x))?,
            O::F32x4Ceil => self.vector1(F32X4, |b, x| b.ceil(x))?,
            O::F64x2Ceil => self.vector1(F64X2, |b, x| b.ceil(x))?,
            O::F32x4Floor => self.vector1(F32X4, |b, x| b.floor(x))?,
            O::F64x2Floor => self.vector1(F64X2, |b, x| b.floor(x))?,
            O::F32x4Trunc => self.vector1(F32X4, |b, x| b.trunc(x))?,
            O::F64x2Trunc => self.vector1(F64X2, |b, x| b.trunc(x))?,
            O::F32x4Nearest => self.vector1(F32X4, |b, x| b.nearest(x))?,
            O::F64x2Nearest => self.vector1(F64X2, |b, x| b.nearest(x))?,
            O::F32x4ConvertI32x4S => self.vector1(I32X4, |b, x| b.fcvt_from_sint(F32X4, x))?,
            O::F32x4ConvertI32x4U => self.vector1(I32X4, |b, x| b.fcvt_from_uint(F32X4, x))?,
            O::F64x2ConvertLowI32x4S => {
                let x = self.vector(I32X4)?;
                let x = self.builder.ins().swiden_low(x);
                let value = self.builder.ins().fcvt_from_sint(F64X2, x);
                self.push_vector(value);
            }
            O::F64x2ConvertLowI32x4U => {
                let x = self.vector(I32X4)?;
                let x = self.builder.ins().uwiden_low(x);
                let value = self.builder.ins().fcvt_from_uint(F64X2, x);
                self.push_vector(value);
            }
            O::F64x2PromoteLowF32x4 => self.vector1(F32X4, |b, x| b.fvpromote_low(x))?,
            O::F32x4DemoteF64x2Zero => self.vector1(F64X2, |b, x| b.fvdemote(x))?,
            O::I32x4TruncSatF32x4S => self.vector1(F32X4, |b, x| b.fcvt_to_sint_sat(I32X4, x))?,
            // Relaxed truncation to unsigned has no shorter form on x86-64.
            O::I32x4TruncSatF32x4U | O::I32x4RelaxedTruncF32x4U => {
                self.vector1(F32X4, |b, x| b.fcvt_to_uint_sat(I32X4, x))?
            }
            O::I32x4TruncSatF64x2SZero => {
                let x = self.vector(F64X2)?;
                let wide = self.builder.ins().fcvt_to_sint_sat(I64X2, x);
                let zero = constant(&mut self.builder, I64X2, [0; 16]);
                let value = self.builder.ins().snarrow(wide, zero);
                self.push_vector(value);
            }
            O::I32x4TruncSatF64x2UZero | O::I32x4RelaxedTruncF64x2UZero => {
                self.truncate_unsigned_doubles()?
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What makes lanes wider or narrower, and sums of products.
    fn widening_operator(&mut self, operator: &Operator<'_>) -> Result<bool, CompileError> {
        use Operator as O;
        let [sign_low, sign_high]: [Make1; 2] = [|b, x| b.swiden_low(x), |b, x| b.swiden_high(x)];
        let [zero_low, zero_high]: [Make1; 2] = [|b, x| b.uwiden_low(x), |b, x| b.uwiden_high(x)];
        match operator {
            O::I8x16NarrowI16x8S => self.vector2(I16X8, |b, x, y| b.snarrow(x, y))?,
            O::I8x16NarrowI16x8U => self.vector2(I16X8, |b, x, y| b.unarrow(x, y))?,
            O::I16x8NarrowI32x4S => self.vector2(I32X4, |b, x, y| b.snarrow(x, y))?,
            O::I16x8NarrowI32x4U => self.vector2(I32X4, |b, x, y| b.unarrow(x, y))?,

            O::I16x8ExtendLowI8x16S => self.vector1(I8X16, sign_low)?,
            O::I16x8ExtendHighI8x16S => self.vector1(I8X16, sign_high)?,
            O::I16x8ExtendLowI8x16U => self.vector1(I8X16, zero_low)?,
            O::I16x8ExtendHighI8x16U => self.vector1(I8X16, zero_high)?,
            O::I32x4ExtendLowI16x8S => self.vector1(I16X8, sign_low)?,
            O::I32x4ExtendHighI16x8S => self.vector1(I16X8, sign_high)?,
            O::I32x4ExtendLowI16x8U => self.vector1(I16X8, zero_low)?,
            O::I32x4ExtendHighI16x8U => self.vector1(I16X8, zero_high)?,
            O::I64x2ExtendLowI32x4S => self.vector1(I32X4, sign_low)?,
            O::I64x2ExtendHighI32x4S => self.vector1(I32X4, sign_high)?,
            O::I64x2ExtendLowI32x4U => self.vector1(I32X4, zero_low)?,
            O::I64x2ExtendHighI32x4U => self.vector1(I32X4, zero_high)?,

            O::I16x8ExtMulLowI8x16S => self.multiply_widened(I8X16, sign_low)?,
            O::I16x8ExtMulHighI8x16S => self.multiply_widened(I8X16, sign_high)?,
            O::I16x8ExtMulLowI8x16U => self.multiply_widened(I8X16, zero_low)?,
            O::I16x8ExtMulHighI8x16U => self.multiply_widened(I8X16, zero_high)?,
            O::I32x4ExtMulLowI16x8S => self.multiply_widened(I16X8, sign_low)?,
            O::I32x4ExtMulHighI16x8S => self.multiply_widened(I16X8, sign_high)?,
            O::I32x4ExtMulLowI16x8U => self.multiply_widened(I16X8, zero_low)?,
            O::I32x4ExtMulHighI16x8U => self.multiply_widened(I16X8, zero_high)?,
            O::I64x2ExtMulLowI32x4S => self.multiply_widened(I32X4, sign_low)?,
            O::I64x2ExtMulHighI32x4S => self.multiply_widened(I32X4, sign_high)?,
            O::I64x2ExtMulLowI32x4U => self.multiply_widened(I32X4, zero_low)?,
            O::I64x2ExtMulHighI32x4U => self.multiply_widened(I32X4, zero_high)?,

            O::I16x8ExtAddPairwiseI8x16S => self.add_widened(I8X16, sign_low, sign_high)?,
            O::I16x8ExtAddPairwiseI8x16U => self.add_widened(I8X16, zero_low, zero_high)?,
            O::I32x4ExtAddPairwiseI16x8S => self.add_widened(I16X8, sign_low, sign_high)?,
            O::I32x4ExtAddPairwiseI16x8U => self.add_widened(I16X8, zero_low, zero_high)?,
            O::I32x4DotI16x8S => {
                let [x, y] = self.vectors(I16X8)?;
                let [low, high] = self.signed_products(x, y);
                let value = self.builder.ins().iadd_pairwise(low, high);
                self.push_vector(value);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Relaxed instructions, but for those that are translated like the
    /// strict ones they relax.
    fn relaxed_operator(&mut self, operator: &Operator<'_>) -> Result<bool, CompileError> {
        use Operator as O;
        match operator {
            O::I8x16RelaxedSwizzle if self.env.isa.has_x86_pshufb_lowering() => {
                self.vector2(I8X16, |b, x, y| b.x86_pshufb(x, y))?
            }
            O::I8x16RelaxedSwizzle => self.vector2(I8X16, |b, x, y| b.swizzle(x, y))?,
            O::F32x4RelaxedMin => self.pseudo_min(F32X4)?,
            O::F64x2RelaxedMin => self.pseudo_min(F64X2)?,
            O::F32x4RelaxedMax => self.pseudo_max(F32X4)?,
            O::F64x2RelaxedMax => self.pseudo_max(F64X2)?,
            O::F32x4RelaxedMadd => self.multiply_add(F32X4, false)?,
            O::F64x2RelaxedMadd => self.multiply_add(F64X2, false)?,
            O::F32x4RelaxedNmadd => self.multiply_add(F32X4, true)?,
            O::F64x2RelaxedNmadd => self.multiply_add(F64X2, true)?,
            O::I8x16RelaxedLaneselect => self.lane_select(I8X16)?,
            O::I16x8RelaxedLaneselect => self.lane_select(I16X8)?,
            O::I32x4RelaxedLaneselect => self.lane_select(I32X4)?,
            O::I64x2RelaxedLaneselect => self.lane_select(I64X2)?,
            O::I32x4RelaxedTruncF32x4S => self.vector1(F32X4, |b, x| b.x86_cvtt2dq(I32X4, x))?,
            O::I32x4RelaxedTruncF64x2SZero => {
                let x = self.vector(F64X2)?;
                let wide = self.builder.ins().x86_cvtt2dq(I64X2, x);
                let zero = constant(&mut self.builder, I64X2, [0; 16]);
                let value = self.builder.ins().snarrow(wide, zero);
                self.push_vector(value);
            }
            O::I16x8RelaxedQ15mulrS if self.env.isa.has_x86_pmulhrsw_lowering() => {
                self.vector2(I16X8, |b, x, y| b.x86_pmulhrsw(x, y))?
            }
            O::I16x8RelaxedQ15mulrS => self.vector2(I16X8, |b, x, y| b.sqmul_round_sat(x, y))?,
            O::I16x8RelaxedDotI8x16I7x16S => {
                let [x, y] = self.vectors(I8X16)?;
                let value = if self.env.isa.has_x86_pmaddubsw_lowering() {
                    self.builder.ins().x86_pmaddubsw(x, y)
                } else {
                    let [low, high] = self.signed_products(x, y);
                    self.builder.ins().iadd_pairwise(low, high)
                };
                self.push_vector(value);
            }
            O::I32x4RelaxedDotI8x16I7x16AddS => {
                let sum = self.vector(I32X4)?;
                let [x, y] = self.vectors(I8X16)?;
                let dot = self.dot_words(x, y);
                let value = self.builder.ins().iadd(dot, sum);
                self.push_vector(value);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Pops a vector and looks at it as lanes of this type.
    pub(super) fn vector(&mut self, ty: Type) -> Result<Value, CompileError> {
        let value = self.operand()?;
        Ok(self.as_lanes(value, ty))
    }

    /// Pops vectors, the one pushed first in front.
    fn vectors<const N: usize>(&mut self, ty: Type) -> Result<[Value; N], CompileError> {
        let mut values = [Value::from_u32(0); N];
        for value in values.iter_mut().rev() {
            *value = self.vector(ty)?;
        }
        Ok(values)
    }

    fn as_lanes(&mut self, value: Value, ty: Type) -> Value {
        if self.builder.func.dfg.value_type(value) == ty {
            return value;
        }
        let flags = MemFlagsData::new().with_endianness(Endianness::Little);
        self.builder.ins().bitcast(ty, flags, value)
    }

    /// Pushes a vector of any lanes.
    pub(super) fn push_vector(&mut self, value: Value) {
        let value = self.as_lanes(value, I8X16);
        self.push(ValType::V128, value);
    }

    fn vector1(&mut self, ty: Type, make: Make1) -> Outcome {
        let x = self.vector(ty)?;
        let value = make(self.builder.ins(), x);
        self.push_vector(value);
        Ok(())
    }

    fn vector2(&mut self, ty: Type, make: Make2) -> Outcome {
        let [x, y] = self.vectors(ty)?;
        let value = make(self.builder.ins(), x, y);
        self.push_vector(value);
        Ok(())
    }

    fn vector_shift(&mut self, ty: Type, make: Make2) -> Outcome {
        let count = self.operand()?;
        let x = self.vector(ty)?;
        let value = make(self.builder.ins(), x, count);
        self.push_vector(value);
        Ok(())
    }

    /// A number as a lane of a vector.
    fn as_lane(&mut self, ty: Type, value: Value) -> Value {
        let lane = ty.lane_type();
        if lane == I8 || lane == I16 { self.builder.ins().ireduce(lane, value) } else { value }
    }

    fn splat(&mut self, ty: Type) -> Outcome {
        let value = self.operand()?;
        let lane = self.as_lane(ty, value);
        let value = self.builder.ins().splat(ty, lane);
        self.push_vector(value);
        Ok(())
    }

    /// `signed`: how a lane that is narrower than an i32 becomes one.
    fn extract(&mut self, ty: Type, lane: u8, signed: Option<bool>) -> Outcome {
        let x = self.vector(ty)?;
        let value = self.builder.ins().extractlane(x, lane);
        let value = match signed {
            Some(true) => self.builder.ins().sextend(I32, value),
            Some(false) => self.builder.ins().uextend(I32, value),
            None => value,
        };
        let number = match ty.lane_type() {
            I64 => ValType::I64,
            F32 => ValType::F32,
            F64 => ValType::F64,
            _ => ValType::I32,
        };
        self.push(number, value);
        Ok(())
    }

    fn replace(&mut self, ty: Type, lane: u8) -> Outcome {
        let value = self.operand()?;
        let x = self.vector(ty)?;
        let value = self.as_lane(ty, value);
        let value = self.builder.ins().insertlane(x, value, lane);
        self.push_vector(value);
        Ok(())
    }

    fn all_true(&mut self, ty: Type) -> Outcome {
        let x = self.vector(ty)?;
        let all = self.builder.ins().vall_true(x);
        self.push_bool(all);
        Ok(())
    }

    fn bitmask(&mut self, ty: Type) -> Outcome {
        let x = self.vector(ty)?;
        let mask = self.builder.ins().vhigh_bits(I32, x);
        self.push(ValType::I32, mask);
        Ok(())
    }

    /// `y` where it is less than `x`, else `x`: also where either is a NaN.
    fn pseudo_min(&mut self, ty: Type) -> Outcome {
        let [x, y] = self.vectors(ty)?;
        let less = self.builder.ins().fcmp(FloatCC::LessThan, y, x);
        let less = self.as_lanes(less, ty);
        let value = self.builder.ins().bitselect(less, y, x);
        self.push_vector(value);
        Ok(())
    }

    /// `y` where `x` is less than it, else `x`.
    fn pseudo_max(&mut self, ty: Type) -> Outcome {
        let [x, y] = self.vectors(ty)?;
        let less = self.builder.ins().fcmp(FloatCC::LessThan, x, y);
        let less = self.as_lanes(less, ty);
        let value = self.builder.ins().bitselect(less, y, x);
        self.push_vector(value);
        Ok(())
    }

    fn truncate_unsigned_doubles(&mut self) -> Outcome {
        let x = self.vector(F64X2)?;
        let value = if self.env.isa.has_round() {
            let wide = self.builder.ins().fcvt_to_uint_sat(I64X2, x);
            let zero = constant(&mut self.builder, I64X2, [0; 16]);
            self.builder.ins().uunarrow(wide, zero)
        } else {
            // The vector form needs the rounding of SSE4.1.
            let mut value = constant(&mut self.builder, I32X4, [0; 16]);
            for lane in 0..2 {
                let double = self.builder.ins().extractlane(x, lane);
                let word = self.builder.ins().fcvt_to_uint_sat(I32, double);
                value = self.builder.ins().insertlane(value, word, lane);
            }
            value
        };
        self.push_vector(value);
        Ok(())
    }

    fn multiply_widened(&mut self, ty: Type, widen: Make1) -> Outcome {
        let [x, y] = self.vectors(ty)?;
        let x = widen(self.builder.ins(), x);
        let y = widen(self.builder.ins(), y);
        let value = self.builder.ins().imul(x, y);
        self.push_vector(value);
        Ok(())
    }

    fn add_widened(&mut self, ty: Type, low: Make1, high: Make1) -> Outcome {
        let x = self.vector(ty)?;
        let low = low(self.builder.ins(), x);
        let high = high(self.builder.ins(), x);
        let value = self.builder.ins().iadd_pairwise(low, high);
        self.push_vector(value);
        Ok(())
    }

    /// Products of all signed lanes, twice as wide: those of the low half and
    /// those of the high half.
    fn signed_products(&mut self, x: Value, y: Value) -> [Value; 2] {
        let halves: [Make1; 2] = [|b, x| b.swiden_low(x), |b, x| b.swiden_high(x)];
        halves.map(|half| {
            let x = half(self.builder.ins(), x);
            let y = half(self.builder.ins(), y);
            self.builder.ins().imul(x, y)
        })
    }

    /// The sums of four neighbouring products of bytes.
    fn dot_words(&mut self, x: Value, y: Value) -> Value {
        if self.env.isa.has_x86_pmaddubsw_lowering() {
            let pairs = self.builder.ins().x86_pmaddubsw(x, y);
            return self.add_neighbours(pairs);
        }
        let products = self.signed_products(x, y);
        let [low, high] = products.map(|half| self.add_neighbours(half));
        self.builder.ins().iadd_pairwise(low, high)
    }

    /// Sums of two neighbouring signed lanes, twice as wide.
    fn add_neighbours(&mut self, x: Value) -> Value {
        let low = self.builder.ins().swiden_low(x);
        let high = self.builder.ins().swiden_high(x);
        self.builder.ins().iadd_pairwise(low, high)
    }

    /// `x * y + z` or `-(x * y) + z`: rounded once where the CPU can.
    fn multiply_add(&mut self, ty: Type, negate: bool) -> Outcome {
        let [x, y, z] = self.vectors(ty)?;
        let x = if negate { self.builder.ins().fneg(x) } else { x };
        let value = if self.env.isa.has_native_fma() {
            self.builder.ins().fma(x, y, z)
        } else {
            let product = self.builder.ins().fmul(x, y);
            self.builder.ins().fadd(product, z)
        };
        self.push_vector(value);
        Ok(())
    }

    /// By the top bits of the mask's lanes where the CPU can, else by bits.
    fn lane_select(&mut self, ty: Type) -> Outcome {
        let [x, y, mask] = self.vectors(ty)?;
        let value = if self.env.isa.has_blendv_lowering(ty) {
            self.builder.ins().blendv(mask, x, y)
        } else {
            self.builder.ins().bitselect(mask, x, y)
        };
        self.push_vector(value);
        Ok(())
    }
}

/// A vector constant, lane 0 in the first bytes.
pub(super) fn constant(builder: &mut FunctionBuilder<'_>, ty: Type, bytes: [u8; 16]) -> Value {
    let handle = builder.func.dfg.constants.insert(ConstantData::from(&bytes[..]));
    builder.ins().vconst(ty, handle)
}

/// The lanes of an instruction on integers, by its name.
fn integer_shape(operator: &Operator<'_>) -> Type {
    let name = super::operator_name(operator);
    [("I8x16", I8X16), ("I16x8", I16X8), ("I32x4", I32X4), ("I64x2", I64X2)]
        .iter()
        .find(|(prefix, _)| name.starts_with(prefix))
        .map_or(I8X16, |&(_, ty)| ty)
}

fn integer_comparison(operator: &Operator<'_>) -> Option<(Type, IntCC)> {
    use IntCC as C;
    use Operator as O;
    let condition = match operator {
        O::I8x16Eq | O::I16x8Eq | O::I32x4Eq | O::I64x2Eq => C::Equal,
        O::I8x16Ne | O::I16x8Ne | O::I32x4Ne | O::I64x2Ne => C::NotEqual,
        O::I8x16LtS | O::I16x8LtS | O::I32x4LtS | O::I64x2LtS => C::SignedLessThan,
        O::I8x16LtU | O::I16x8LtU | O::I32x4LtU => C::UnsignedLessThan,
        O::I8x16GtS | O::I16x8GtS | O::I32x4GtS | O::I64x2GtS => C::SignedGreaterThan,
        O::I8x16GtU | O::I16x8GtU | O::I32x4GtU => C::UnsignedGreaterThan,
        O::I8x16LeS | O::I16x8LeS | O::I32x4LeS | O::I64x2LeS => C::SignedLessThanOrEqual,
        O::I8x16LeU | O::I16x8LeU | O::I32x4LeU => C::UnsignedLessThanOrEqual,
        O::I8x16GeS | O::I16x8GeS | O::I32x4GeS | O::I64x2GeS => C::SignedGreaterThanOrEqual,
        O::I8x16GeU | O::I16x8GeU | O::I32x4GeU => C::UnsignedGreaterThanOrEqual,
        _ => return None,
    };
    Some((integer_shape(operator), condition))
}

fn float_comparison(operator: &Operator<'_>) -> Option<(Type, FloatCC)> {
    use FloatCC as C;
    use Operator as O;
    Some(match operator {
        O::F32x4Eq => (F32X4, C::Equal),
        O::F64x2Eq => (F64X2, C::Equal),
        O::F32x4Ne => (F32X4, C::NotEqual),
        O::F64x2Ne => (F64X2, C::NotEqual),
        O::F32x4Lt => (F32X4, C::LessThan),
        O::F64x2Lt => (F64X2, C::LessThan),
        O::F32x4Gt => (F32X4, C::GreaterThan),
        O::F64x2Gt => (F64X2, C::GreaterThan),
        O::F32x4Le => (F32X4, C::LessThanOrEqual),
        O::F64x2Le => (F64X2, C::LessThanOrEqual),
        O::F32x4Ge => (F32X4, C::GreaterThanOrEqual),
        O::F64x2Ge => (F64X2, C::GreaterThanOrEqual),
        _ => return None,
    })
}
