//! Numeric instructions: one CLIF instruction each, or nearly.
//!
//! CLIF's integer and float instructions were made for Wasm: shift counts are
//! taken modulo the width, `fmin`/`fmax`/`nearest` follow Wasm's rules for
//! NaN and zero, divisions and conversions trap where Wasm traps.

use super::Translator;
use crate::error::CompileError;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Type, Value, types};
use cranelift_frontend::FuncInstBuilder;
use wasm_view::ValType;
use wasmparser::Operator;

const I32: ValType = ValType::I32;
const I64: ValType = ValType::I64;
const F32: ValType = ValType::F32;
const F64: ValType = ValType::F64;

type Outcome = Result<(), CompileError>;

impl Translator<'_, '_> {
    pub(super) fn numeric_operator(
        &mut self,
        operator: &Operator<'_>,
    ) -> Result<bool, CompileError> {
        use Operator as O;
        match *operator {
            O::I32Const { value } => {
                let value = self.builder.ins().iconst(types::I32, i64::from(value as u32));
                self.push(I32, value);
            }
            O::I64Const { value } => {
                let value = self.builder.ins().iconst(types::I64, value);
                self.push(I64, value);
            }
            O::F32Const { value } => {
                let bits = cranelift_codegen::ir::immediates::Ieee32::with_bits(value.bits());
                let value = self.builder.ins().f32const(bits);
                self.push(F32, value);
            }
            O::F64Const { value } => {
                let bits = cranelift_codegen::ir::immediates::Ieee64::with_bits(value.bits());
                let value = self.builder.ins().f64const(bits);
                self.push(F64, value);
            }

            O::I32Eqz => self.equal_zero(types::I32)?,
            O::I64Eqz => self.equal_zero(types::I64)?,
            O::I32Eq | O::I64Eq => self.compare(IntCC::Equal)?,
            O::I32Ne | O::I64Ne => self.compare(IntCC::NotEqual)?,
            O::I32LtS | O::I64LtS => self.compare(IntCC::SignedLessThan)?,
            O::I32LtU | O::I64LtU => self.compare(IntCC::UnsignedLessThan)?,
            O::I32GtS | O::I64GtS => self.compare(IntCC::SignedGreaterThan)?,
            O::I32GtU | O::I64GtU => self.compare(IntCC::UnsignedGreaterThan)?,
            O::I32LeS | O::I64LeS => self.compare(IntCC::SignedLessThanOrEqual)?,
            O::I32LeU | O::I64LeU => self.compare(IntCC::UnsignedLessThanOrEqual)?,
            O::I32GeS | O::I64GeS => self.compare(IntCC::SignedGreaterThanOrEqual)?,
            O::I32GeU | O::I64GeU => self.compare(IntCC::UnsignedGreaterThanOrEqual)?,
            O::F32Eq | O::F64Eq => self.compare_floats(FloatCC::Equal)?,
            O::F32Ne | O::F64Ne => self.compare_floats(FloatCC::NotEqual)?,
            O::F32Lt | O::F64Lt => self.compare_floats(FloatCC::LessThan)?,
            O::F32Gt | O::F64Gt => self.compare_floats(FloatCC::GreaterThan)?,
            O::F32Le | O::F64Le => self.compare_floats(FloatCC::LessThanOrEqual)?,
            O::F32Ge | O::F64Ge => self.compare_floats(FloatCC::GreaterThanOrEqual)?,

            O::I32Clz => self.unary(I32, |b, x| b.clz(x))?,
            O::I64Clz => self.unary(I64, |b, x| b.clz(x))?,
            O::I32Ctz => self.unary(I32, |b, x| b.ctz(x))?,
            O::I64Ctz => self.unary(I64, |b, x| b.ctz(x))?,
            O::I32Popcnt => self.unary(I32, |b, x| b.popcnt(x))?,
            O::I64Popcnt => self.unary(I64, |b, x| b.popcnt(x))?,

            O::I32Add => self.binary(I32, |b, x, y| b.iadd(x, y))?,
            O::I64Add => self.binary(I64, |b, x, y| b.iadd(x, y))?,
            O::I32Sub => self.binary(I32, |b, x, y| b.isub(x, y))?,
            O::I64Sub => self.binary(I64, |b, x, y| b.isub(x, y))?,
            O::I32Mul => self.binary(I32, |b, x, y| b.imul(x, y))?,
            O::I64Mul => self.binary(I64, |b, x, y| b.imul(x, y))?,
            O::I32DivS => self.binary(I32, |b, x, y| b.sdiv(x, y))?,
            O::I64DivS => self.binary(I64, |b, x, y| b.sdiv(x, y))?,
            O::I32DivU => self.binary(I32, |b, x, y| b.udiv(x, y))?,
            O::I64DivU => self.binary(I64, |b, x, y| b.udiv(x, y))?,
            O::I32RemS => self.binary(I32, |b, x, y| b.srem(x, y))?,
            O::I64RemS => self.binary(I64, |b, x, y| b.srem(x, y))?,
            O::I32RemU => self.binary(I32, |b, x, y| b.urem(x, y))?,
            O::I64RemU => self.binary(I64, |b, x, y| b.urem(x, y))?,
            O::I32And => self.binary(I32, |b, x, y| b.band(x, y))?,
            O::I64And => self.binary(I64, |b, x, y| b.band(x, y))?,
            O::I32Or => self.binary(I32, |b, x, y| b.bor(x, y))?,
            O::I64Or => self.binary(I64, |b, x, y| b.bor(x, y))?,
            O::I32Xor => self.binary(I32, |b, x, y| b.bxor(x, y))?,
            O::I64Xor => self.binary(I64, |b, x, y| b.bxor(x, y))?,
            O::I32Shl => self.binary(I32, |b, x, y| b.ishl(x, y))?,
            O::I64Shl => self.binary(I64, |b, x, y| b.ishl(x, y))?,
            O::I32ShrS => self.binary(I32, |b, x, y| b.sshr(x, y))?,
            O::I64ShrS => self.binary(I64, |b, x, y| b.sshr(x, y))?,
            O::I32ShrU => self.binary(I32, |b, x, y| b.ushr(x, y))?,
            O::I64ShrU => self.binary(I64, |b, x, y| b.ushr(x, y))?,
            O::I32Rotl => self.binary(I32, |b, x, y| b.rotl(x, y))?,
            O::I64Rotl => self.binary(I64, |b, x, y| b.rotl(x, y))?,
            O::I32Rotr => self.binary(I32, |b, x, y| b.rotr(x, y))?,
            O::I64Rotr => self.binary(I64, |b, x, y| b.rotr(x, y))?,

            O::F32Abs => self.unary(F32, |b, x| b.fabs(x))?,
            O::F64Abs => self.unary(F64, |b, x| b.fabs(x))?,
            O::F32Neg => self.unary(F32, |b, x| b.fneg(x))?,
            O::F64Neg => self.unary(F64, |b, x| b.fneg(x))?,
            O::F32Ceil => self.unary(F32, |b, x| b.ceil(x))?,
            O::F64Ceil => self.unary(F64, |b, x| b.ceil(x))?,
            O::F32Floor => self.unary(F32, |b, x| b.floor(x))?,
            O::F64Floor => self.unary(F64, |b, x| b.floor(x))?,
            O::F32Trunc => self.unary(F32, |b, x| b.trunc(x))?,
            O::F64Trunc => self.unary(F64, |b, x| b.trunc(x))?,
            O::F32Nearest => self.unary(F32, |b, x| b.nearest(x))?,
            O::F64Nearest => self.unary(F64, |b, x| b.nearest(x))?,
            O::F32Sqrt => self.unary(F32, |b, x| b.sqrt(x))?,
            O::F64Sqrt => self.unary(F64, |b, x| b.sqrt(x))?,
            O::F32Add => self.binary(F32, |b, x, y| b.fadd(x, y))?,
            O::F64Add => self.binary(F64, |b, x, y| b.fadd(x, y))?,
            O::F32Sub => self.binary(F32, |b, x, y| b.fsub(x, y))?,
            O::F64Sub => self.binary(F64, |b, x, y| b.fsub(x, y))?,
            O::F32Mul => self.binary(F32, |b, x, y| b.fmul(x, y))?,
            O::F64Mul => self.binary(F64, |b, x, y| b.fmul(x, y))?,
            O::F32Div => self.binary(F32, |b, x, y| b.fdiv(x, y))?,
            O::F64Div => self.binary(F64, |b, x, y| b.fdiv(x, y))?,
            O::F32Min => self.binary(F32, |b, x, y| b.fmin(x, y))?,
            O::F64Min => self.binary(F64, |b, x, y| b.fmin(x, y))?,
            O::F32Max => self.binary(F32, |b, x, y| b.fmax(x, y))?,
            O::F64Max => self.binary(F64, |b, x, y| b.fmax(x, y))?,
            O::F32Copysign => self.binary(F32, |b, x, y| b.fcopysign(x, y))?,
            O::F64Copysign => self.binary(F64, |b, x, y| b.fcopysign(x, y))?,

            O::I32WrapI64 => self.unary(I32, |b, x| b.ireduce(types::I32, x))?,
            O::I64ExtendI32S => self.unary(I64, |b, x| b.sextend(types::I64, x))?,
            O::I64ExtendI32U => self.unary(I64, |b, x| b.uextend(types::I64, x))?,
            O::I32Extend8S => self.sign_extend(I32, types::I8)?,
            O::I32Extend16S => self.sign_extend(I32, types::I16)?,
            O::I64Extend8S => self.sign_extend(I64, types::I8)?,
            O::I64Extend16S => self.sign_extend(I64, types::I16)?,
            O::I64Extend32S => self.sign_extend(I64, types::I32)?,

            O::I32TruncF32S | O::I32TruncF64S => {
                self.unary(I32, |b, x| b.fcvt_to_sint(types::I32, x))?
            }
            O::I32TruncF32U | O::I32TruncF64U => {
                self.unary(I32, |b, x| b.fcvt_to_uint(types::I32, x))?
            }
            O::I64TruncF32S | O::I64TruncF64S => {
                self.unary(I64, |b, x| b.fcvt_to_sint(types::I64, x))?
            }
            O::I64TruncF32U | O::I64TruncF64U => {
                self.unary(I64, |b, x| b.fcvt_to_uint(types::I64, x))?
            }
            O::I32TruncSatF32S | O::I32TruncSatF64S => {
                self.unary(I32, |b, x| b.fcvt_to_sint_sat(types::I32, x))?
            }
            O::I32TruncSatF32U | O::I32TruncSatF64U => {
                self.unary(I32, |b, x| b.fcvt_to_uint_sat(types::I32, x))?
            }
            O::I64TruncSatF32S | O::I64TruncSatF64S => {
                self.unary(I64, |b, x| b.fcvt_to_sint_sat(types::I64, x))?
            }
            O::I64TruncSatF32U | O::I64TruncSatF64U => {
                self.unary(I64, |b, x| b.fcvt_to_uint_sat(types::I64, x))?
            }
            O::F32ConvertI32S | O::F32ConvertI64S => {
                self.unary(F32, |b, x| b.fcvt_from_sint(types::F32, x))?
            }
            O::F32ConvertI32U | O::F32ConvertI64U => {
                self.unary(F32, |b, x| b.fcvt_from_uint(types::F32, x))?
            }
            O::F64ConvertI32S | O::F64ConvertI64S => {
                self.unary(F64, |b, x| b.fcvt_from_sint(types::F64, x))?
            }
            O::F64ConvertI32U | O::F64ConvertI64U => {
                self.unary(F64, |b, x| b.fcvt_from_uint(types::F64, x))?
            }
            O::F32DemoteF64 => self.unary(F32, |b, x| b.fdemote(types::F32, x))?,
            O::F64PromoteF32 => self.unary(F64, |b, x| b.fpromote(types::F64, x))?,
            O::I32ReinterpretF32 => self.reinterpret(I32, types::I32)?,
            O::I64ReinterpretF64 => self.reinterpret(I64, types::I64)?,
            O::F32ReinterpretI32 => self.reinterpret(F32, types::F32)?,
            O::F64ReinterpretI64 => self.reinterpret(F64, types::F64)?,

            O::I64Add128 => self.wide_sum(|b, x, y| b.iadd(x, y))?,
            O::I64Sub128 => self.wide_sum(|b, x, y| b.isub(x, y))?,
            O::I64MulWideS => self.wide_product(|b, x| b.sextend(types::I128, x))?,
            O::I64MulWideU => self.wide_product(|b, x| b.uextend(types::I128, x))?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn unary(
        &mut self,
        ty: ValType,
        make: impl FnOnce(FuncInstBuilder<'_, '_>, Value) -> Value,
    ) -> Outcome {
        let x = self.operand()?;
        let value = make(self.builder.ins(), x);
        self.push(ty, value);
        Ok(())
    }

    fn binary(
        &mut self,
        ty: ValType,
        make: impl FnOnce(FuncInstBuilder<'_, '_>, Value, Value) -> Value,
    ) -> Outcome {
        let y = self.operand()?;
        let x = self.operand()?;
        let value = make(self.builder.ins(), x, y);
        self.push(ty, value);
        Ok(())
    }

    /// Pushes an 8-bit truth value as the i32 that Wasm has for it.
    pub(super) fn push_bool(&mut self, value: Value) {
        let value = self.builder.ins().uextend(types::I32, value);
        self.push(I32, value);
    }

    fn compare(&mut self, condition: IntCC) -> Outcome {
        let y = self.operand()?;
        let x = self.operand()?;
        let value = self.builder.ins().icmp(condition, x, y);
        self.push_bool(value);
        Ok(())
    }

    fn compare_floats(&mut self, condition: FloatCC) -> Outcome {
        let y = self.operand()?;
        let x = self.operand()?;
        let value = self.builder.ins().fcmp(condition, x, y);
        self.push_bool(value);
        Ok(())
    }

    fn equal_zero(&mut self, ty: Type) -> Outcome {
        let x = self.operand()?;
        let zero = self.builder.ins().iconst(ty, 0);
        let value = self.builder.ins().icmp(IntCC::Equal, x, zero);
        self.push_bool(value);
        Ok(())
    }

    /// Takes the low bits and extends their sign over the whole type.
    fn sign_extend(&mut self, ty: ValType, from: Type) -> Outcome {
        let x = self.operand()?;
        let low = self.builder.ins().ireduce(from, x);
        let value = self.builder.ins().sextend(crate::abi::native_type(ty), low);
        self.push(ty, value);
        Ok(())
    }

    /// Two 128-bit numbers in two i64 each, low halves first, to one.
    fn wide_sum(
        &mut self,
        make: impl FnOnce(FuncInstBuilder<'_, '_>, Value, Value) -> Value,
    ) -> Outcome {
        let [mut x, mut y] = [[Value::from_u32(0); 2]; 2];
        for half in y.iter_mut().rev().chain(x.iter_mut().rev()) {
            *half = self.operand()?;
        }
        let x = self.builder.ins().iconcat(x[0], x[1]);
        let y = self.builder.ins().iconcat(y[0], y[1]);
        let value = make(self.builder.ins(), x, y);
        self.push_wide(value);
        Ok(())
    }

    fn wide_product(&mut self, widen: impl Fn(FuncInstBuilder<'_, '_>, Value) -> Value) -> Outcome {
        let y = self.operand()?;
        let x = self.operand()?;
        let x = widen(self.builder.ins(), x);
        let y = widen(self.builder.ins(), y);
        let value = self.builder.ins().imul(x, y);
        self.push_wide(value);
        Ok(())
    }

    fn push_wide(&mut self, value: Value) {
        let (low, high) = self.builder.ins().isplit(value);
        self.push(I64, low);
        self.push(I64, high);
    }

    fn reinterpret(&mut self, ty: ValType, native: Type) -> Outcome {
        let x = self.operand()?;
        let value = self.builder.ins().bitcast(native, MemFlagsData::new(), x);
        self.push(ty, value);
        Ok(())
    }
}
