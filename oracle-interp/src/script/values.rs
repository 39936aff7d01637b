//! Arguments and expected results of scripts.

use crate::choice::{is_arithmetic_f32, is_arithmetic_f64, is_canonical_f32, is_canonical_f64};
use crate::oracle::Oracle;
use wasm_view::{HeapType, InternalRef, Value};
use wast::WastArg;
use wast::core::{AbstractHeapType, NanPattern, V128Pattern, WastArgCore, WastRetCore};
use wast::token::{F32, F64};

/// An argument's value; the error is what it would need.
pub(super) fn argument(arg: &WastArg<'_>) -> Result<Value, String> {
    let WastArg::Core(arg) = arg else {
        return Err("component model (argument)".to_string());
    };
    Ok(match arg {
        WastArgCore::I32(value) => Value::I32(*value as u32),
        WastArgCore::I64(value) => Value::I64(*value as u64),
        WastArgCore::F32(value) => Value::F32(value.bits),
        WastArgCore::F64(value) => Value::F64(value.bits),
        WastArgCore::V128(value) => Value::V128(u128::from_le_bytes(value.to_le_bytes())),
        WastArgCore::RefExtern(handle) => Value::host(*handle),
        WastArgCore::RefHost(handle) => Value::AnyRef(Some(InternalRef::Host(*handle))),
        WastArgCore::RefNull(heap) => match heap_type(heap) {
            Some(HeapType::Func) => Value::FuncRef(None),
            Some(HeapType::Extern) => Value::ExternRef(None),
            Some(HeapType::Exn) => Value::ExnRef(None),
            Some(_) => Value::AnyRef(None),
            None => return Err(format!("ref.null {heap:?}")),
        },
    })
}

/// The top of the hierarchy that a heap type belongs to.
fn heap_type(heap: &wast::core::HeapType<'_>) -> Option<HeapType> {
    use AbstractHeapType as A;
    let wast::core::HeapType::Abstract { shared: false, ty } = heap else { return None };
    Some(match ty {
        A::Func | A::NoFunc => HeapType::Func,
        A::Extern | A::NoExtern => HeapType::Extern,
        A::Exn | A::NoExn => HeapType::Exn,
        A::Any | A::Eq | A::Struct | A::Array | A::I31 | A::None => HeapType::Any,
        _ => return None,
    })
}

fn matches_f32(actual: u32, expected: &NanPattern<F32>) -> bool {
    match expected {
        NanPattern::CanonicalNan => is_canonical_f32(actual),
        NanPattern::ArithmeticNan => is_arithmetic_f32(actual),
        NanPattern::Value(value) => actual == value.bits,
    }
}

fn matches_f64(actual: u64, expected: &NanPattern<F64>) -> bool {
    match expected {
        NanPattern::CanonicalNan => is_canonical_f64(actual),
        NanPattern::ArithmeticNan => is_arithmetic_f64(actual),
        NanPattern::Value(value) => actual == value.bits,
    }
}

fn matches_vector(actual: u128, expected: &V128Pattern) -> bool {
    let bits = |at: usize, width: usize| (actual >> (at * width)) as u64;
    match expected {
        V128Pattern::I8x16(lanes) => (0..16).all(|at| bits(at, 8) as i8 == lanes[at]),
        V128Pattern::I16x8(lanes) => (0..8).all(|at| bits(at, 16) as i16 == lanes[at]),
        V128Pattern::I32x4(lanes) => (0..4).all(|at| bits(at, 32) as i32 == lanes[at]),
        V128Pattern::I64x2(lanes) => (0..2).all(|at| bits(at, 64) as i64 == lanes[at]),
        V128Pattern::F32x4(lanes) => (0..4).all(|at| matches_f32(bits(at, 32) as u32, &lanes[at])),
        V128Pattern::F64x2(lanes) => (0..2).all(|at| matches_f64(bits(at, 64), &lanes[at])),
    }
}

/// Whether a result is what a script expects.
pub(super) fn matches_result(oracle: &Oracle, actual: Value, expected: &WastRetCore<'_>) -> bool {
    match (actual, expected) {
        (_, WastRetCore::Either(cases)) => {
            cases.iter().any(|case| matches_result(oracle, actual, case))
        }
        (Value::I32(actual), WastRetCore::I32(expected)) => actual == *expected as u32,
        (Value::I64(actual), WastRetCore::I64(expected)) => actual == *expected as u64,
        (Value::F32(actual), WastRetCore::F32(expected)) => matches_f32(actual, expected),
        (Value::F64(actual), WastRetCore::F64(expected)) => matches_f64(actual, expected),
        (Value::V128(actual), WastRetCore::V128(expected)) => matches_vector(actual, expected),
        (actual, WastRetCore::RefNull(_)) => actual.is_null(),
        (Value::ExternRef(Some(actual)), WastRetCore::RefExtern(expected)) => {
            expected.is_none_or(|expected| actual == InternalRef::Host(expected))
        }
        (Value::AnyRef(Some(actual)), WastRetCore::RefHost(expected)) => {
            actual == InternalRef::Host(*expected)
        }
        (Value::FuncRef(Some(_)), WastRetCore::RefFunc(_)) => true,
        (Value::AnyRef(Some(actual)), expected) => match (expected, actual) {
            (WastRetCore::RefAny, _)
            | (WastRetCore::RefEq | WastRetCore::RefI31, InternalRef::I31(_))
            | (WastRetCore::RefEq, InternalRef::Object(_)) => true,
            (WastRetCore::RefStruct, InternalRef::Object(object)) => oracle.is_struct(object),
            (WastRetCore::RefArray, InternalRef::Object(object)) => !oracle.is_struct(object),
            _ => false,
        },
        _ => false,
    }
}
