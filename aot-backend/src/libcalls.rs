//! What old CPUs lack, as code of the image itself.
//!
//! Without SSE4.1 Cranelift calls a runtime library for `ceil`, `floor`,
//! `trunc` and `nearest`, without SSSE3 for the instruction PSHUFB. The
//! subject has no runtime, so the image brings these, in CLIF made of
//! operations that SSE2 has.
//!
//! The roundings use that a float of magnitude 2^p or more (p bits of fraction)
//! is an integer already. `x + 0.0` returns such a value unchanged, and turns
//! a signalling NaN into the quiet one that Wasm wants. Below it, conversion
//! to an integer and back truncates, and adding and subtracting 2^p rounds to
//! nearest, ties to even. The sign of zero is put back at the end.

use crate::abi::POINTER;
use crate::error::CompileError;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{
    AbiParam, Function, InstBuilder, LibCall, MemFlagsData, Signature, StackSlotData,
    StackSlotKind, Type, UserFuncName, Value, types,
};
use cranelift_codegen::isa::{CallConv, TargetFrontendConfig};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};

#[derive(Clone, Copy)]
enum Rounding {
    Ceil,
    Floor,
    Trunc,
    Nearest,
}

/// Those that this module has, in the order in which images hold them.
pub(crate) const PROVIDED: [LibCall; 9] = [
    LibCall::CeilF32,
    LibCall::CeilF64,
    LibCall::FloorF32,
    LibCall::FloorF64,
    LibCall::TruncF32,
    LibCall::TruncF64,
    LibCall::NearestF32,
    LibCall::NearestF64,
    LibCall::X86Pshufb,
];

fn rounding(call: LibCall) -> Option<(Rounding, Type)> {
    Some(match call {
        LibCall::CeilF32 => (Rounding::Ceil, types::F32),
        LibCall::CeilF64 => (Rounding::Ceil, types::F64),
        LibCall::FloorF32 => (Rounding::Floor, types::F32),
        LibCall::FloorF64 => (Rounding::Floor, types::F64),
        LibCall::TruncF32 => (Rounding::Trunc, types::F32),
        LibCall::TruncF64 => (Rounding::Trunc, types::F64),
        LibCall::NearestF32 => (Rounding::Nearest, types::F32),
        LibCall::NearestF64 => (Rounding::Nearest, types::F64),
        _ => return None,
    })
}

/// CLIF of a library function.
pub(crate) fn function(
    call: LibCall,
    context: &mut FunctionBuilderContext,
    frontend: TargetFrontendConfig,
) -> Result<Function, CompileError> {
    if call == LibCall::X86Pshufb {
        return shuffle_bytes(context, frontend);
    }
    let (rounding, ty) =
        rounding(call).ok_or_else(|| CompileError::bug(format!("no library function {call}")))?;
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.push(AbiParam::new(ty));
    signature.returns.push(AbiParam::new(ty));
    let mut function = Function::with_name_signature(UserFuncName::default(), signature);
    let mut builder = FunctionBuilder::new(&mut function, context);
    let [entry, small, large] = [(); 3].map(|()| builder.create_block());
    builder.append_block_params_for_function_params(entry);
    builder.switch_to_block(entry);
    let Some(&x) = builder.block_params(entry).first() else {
        return Err(CompileError::bug("a library function without parameter"));
    };
    let magnitude = builder.ins().fabs(x);
    let limit = constant(&mut builder, ty, if ty == types::F32 { TWO_23 } else { TWO_52 });
    // False for NaN.
    let has_fraction = builder.ins().fcmp(FloatCC::LessThan, magnitude, limit);
    builder.ins().brif(has_fraction, small, &[], large, &[]);

    builder.switch_to_block(large);
    let zero = constant(&mut builder, ty, 0.0);
    let same = builder.ins().fadd(x, zero);
    builder.ins().return_(&[same]);

    builder.switch_to_block(small);
    let rounded = match rounding {
        Rounding::Nearest => {
            let shifted = builder.ins().fadd(magnitude, limit);
            builder.ins().fsub(shifted, limit)
        }
        Rounding::Trunc => truncate(&mut builder, ty, x),
        Rounding::Ceil => {
            let low = truncate(&mut builder, ty, x);
            let short = builder.ins().fcmp(FloatCC::LessThan, low, x);
            let step = one_if(&mut builder, ty, short);
            builder.ins().fadd(low, step)
        }
        Rounding::Floor => {
            let high = truncate(&mut builder, ty, x);
            let beyond = builder.ins().fcmp(FloatCC::GreaterThan, high, x);
            let step = one_if(&mut builder, ty, beyond);
            builder.ins().fsub(high, step)
        }
    };
    let signed = builder.ins().fcopysign(rounded, x);
    builder.ins().return_(&[signed]);
    builder.seal_all_blocks();
    builder.finalize(frontend);
    Ok(function)
}

/// PSHUFB (Intel SDM): byte `i` of the result is 0 where the top bit of the
/// mask's byte `i` is set, else the byte that its low four bits number.
fn shuffle_bytes(
    context: &mut FunctionBuilderContext,
    frontend: TargetFrontendConfig,
) -> Result<Function, CompileError> {
    const BYTES: u8 = 16;
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.extend([AbiParam::new(types::I8X16); 2]);
    signature.returns.push(AbiParam::new(types::I8X16));
    let mut function = Function::with_name_signature(UserFuncName::default(), signature);
    let mut builder = FunctionBuilder::new(&mut function, context);
    let entry = builder.create_block();
    builder.append_block_params_for_function_params(entry);
    builder.switch_to_block(entry);
    let &[source, mask] = builder.block_params(entry) else {
        return Err(CompileError::bug("PSHUFB without its operands"));
    };
    let [from, to] = [(); 2].map(|()| {
        let data = StackSlotData::new(StackSlotKind::ExplicitSlot, u32::from(BYTES), 4);
        builder.create_sized_stack_slot(data)
    });
    builder.ins().stack_store(POINTER, source, from, 0);
    let base = builder.ins().stack_addr(POINTER, from, 0);
    let zero = builder.ins().iconst(types::I8, 0);
    for lane in 0..BYTES {
        let index = builder.ins().extractlane(mask, lane);
        let clear = builder.ins().icmp(IntCC::SignedLessThan, index, zero);
        let low = builder.ins().band_imm_u(index, i64::from(BYTES - 1));
        let distance = builder.ins().uextend(POINTER, low);
        let address = builder.ins().iadd(base, distance);
        let byte = builder.ins().load(types::I8, MemFlagsData::trusted(), address, 0);
        let byte = builder.ins().select(clear, zero, byte);
        builder.ins().stack_store(POINTER, byte, to, i32::from(lane));
    }
    let result = builder.ins().stack_load(POINTER, types::I8X16, to, 0);
    builder.ins().return_(&[result]);
    builder.seal_all_blocks();
    builder.finalize(frontend);
    Ok(function)
}

const TWO_23: f64 = 8_388_608.0;
const TWO_52: f64 = 4_503_599_627_370_496.0;

fn constant(builder: &mut FunctionBuilder<'_>, ty: Type, value: f64) -> Value {
    if ty == types::F32 {
        builder.ins().f32const(value as f32)
    } else {
        builder.ins().f64const(value)
    }
}

/// Towards zero, for a magnitude that fits an integer of the same width.
fn truncate(builder: &mut FunctionBuilder<'_>, ty: Type, x: Value) -> Value {
    let integer = if ty == types::F32 { types::I32 } else { types::I64 };
    let integer = builder.ins().fcvt_to_sint_sat(integer, x);
    builder.ins().fcvt_from_sint(ty, integer)
}

fn one_if(builder: &mut FunctionBuilder<'_>, ty: Type, condition: Value) -> Value {
    let one = constant(builder, ty, 1.0);
    let zero = constant(builder, ty, 0.0);
    builder.ins().select(condition, one, zero)
}
