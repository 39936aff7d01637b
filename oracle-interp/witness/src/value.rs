//! Values of one side as values of the other.
//!
//! The one place to extend when the vocabulary gains a type: every match over
//! [`Value`] or [`ValType`] of the oracle's is in this file, and exhaustive.
//!
//! Numbers and vectors are compared bit for bit. References have identities
//! that mean nothing on the other side; a host reference is the number that
//! the oracle knows it by, a function reference is compared by [`Functions`].

use crate::lockstep::Host;
use std::collections::HashMap;
use wasm_view::{FuncAddr, InternalRef, RefType, ValType, Value};
use wasmtime::{AsContext, AsContextMut, ExternRef, Func, Ref, StoreContextMut, Val};

/// Which function of Wasmtime's is which of the oracle's. Exported functions
/// are known beforehand. The others are paired when they are first met; any
/// later pair that contradicts an earlier one is a difference.
#[derive(Debug, Default)]
pub(crate) struct Functions {
    by_addr: HashMap<FuncAddr, usize>,
    by_pointer: HashMap<usize, FuncAddr>,
    funcs: HashMap<FuncAddr, Func>,
}

impl Functions {
    /// Pairs two functions, or finds that they are not each other.
    pub(crate) fn agree(&mut self, addr: FuncAddr, pointer: usize) -> bool {
        match (self.by_addr.get(&addr), self.by_pointer.get(&pointer)) {
            (None, None) => {
                self.by_addr.insert(addr, pointer);
                self.by_pointer.insert(pointer, addr);
                true
            }
            (Some(theirs), Some(ours)) => *theirs == pointer && *ours == addr,
            _ => false,
        }
    }

    /// Pairs two functions that are known to be each other.
    pub(crate) fn know(&mut self, addr: FuncAddr, pointer: usize, func: Func) {
        self.by_addr.insert(addr, pointer);
        self.by_pointer.insert(pointer, addr);
        self.funcs.insert(addr, func);
    }
}

/// What comparing two values gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Same,
    Different,
    /// Type and nullness agree; this name's kind of contents is not compared.
    Partly(&'static str),
}

impl Verdict {
    fn of(same: bool) -> Verdict {
        if same { Verdict::Same } else { Verdict::Different }
    }
}

/// Compares a value of the oracle's with one of Wasmtime's.
pub(crate) fn compare(
    ours: Value,
    theirs: &Val,
    functions: &mut Functions,
    store: &mut StoreContextMut<'_, Host>,
) -> Verdict {
    match (ours, theirs) {
        (Value::I32(ours), Val::I32(theirs)) => Verdict::of(ours == *theirs as u32),
        (Value::I64(ours), Val::I64(theirs)) => Verdict::of(ours == *theirs as u64),
        (Value::F32(ours), Val::F32(theirs)) => Verdict::of(ours == *theirs),
        (Value::F64(ours), Val::F64(theirs)) => Verdict::of(ours == *theirs),
        (Value::FuncRef(ours), Val::FuncRef(theirs)) => match (ours, theirs) {
            (None, None) => Verdict::Same,
            (Some(addr), Some(func)) => {
                let pointer = func.to_raw(store.as_context_mut()).addr();
                Verdict::of(functions.agree(addr, pointer))
            }
            _ => Verdict::Different,
        },
        (Value::ExternRef(ours), Val::ExternRef(theirs)) => match (ours, theirs) {
            (None, None) => Verdict::Same,
            (Some(ours), Some(theirs)) => {
                let data = theirs.data(store.as_context_mut()).ok().flatten();
                match data.and_then(|data| data.downcast_ref::<u32>()) {
                    Some(theirs) => Verdict::of(ours == InternalRef::Host(*theirs)),
                    // Made inside of Wasm (`extern.convert_any`).
                    None => Verdict::Partly("identity of an internal external reference"),
                }
            }
            _ => Verdict::Different,
        },
        (Value::V128(ours), Val::V128(theirs)) => Verdict::of(ours == theirs.as_u128()),
        (Value::AnyRef(ours), Val::AnyRef(theirs)) => match (ours, theirs) {
            (None, None) => Verdict::Same,
            (Some(InternalRef::I31(ours)), Some(theirs)) => {
                let theirs = theirs.as_i31(store.as_context()).ok().flatten();
                Verdict::of(theirs.is_some_and(|theirs| theirs.get_u32() == ours))
            }
            (Some(_), Some(theirs)) => match theirs.is_i31(store.as_context()) {
                Ok(false) => Verdict::Partly("contents of an object"),
                _ => Verdict::Different,
            },
            _ => Verdict::Different,
        },
        (Value::ExnRef(ours), Val::ExnRef(theirs)) => match (ours, theirs) {
            (None, None) => Verdict::Same,
            (Some(_), Some(_)) => Verdict::Partly("contents of an exception"),
            _ => Verdict::Different,
        },
        // Wasmtime lists a converted reference with the type that it had before.
        (Value::ExternRef(ours), Val::AnyRef(theirs)) => match (ours, theirs) {
            (None, None) => Verdict::Same,
            (Some(_), Some(_)) => Verdict::Partly("a converted reference"),
            _ => Verdict::Different,
        },
        (Value::AnyRef(ours), Val::ExternRef(theirs)) => match (ours, theirs) {
            (None, None) => Verdict::Same,
            (Some(_), Some(_)) => Verdict::Partly("a converted reference"),
            _ => Verdict::Different,
        },
        // Null of a defined type, which the oracle does not tell apart.
        (Value::AnyRef(None), Val::FuncRef(None)) => Verdict::Same,
        (
            Value::I32(_)
            | Value::I64(_)
            | Value::F32(_)
            | Value::F64(_)
            | Value::V128(_)
            | Value::FuncRef(_)
            | Value::ExternRef(_)
            | Value::AnyRef(_)
            | Value::ExnRef(_),
            _,
        ) => Verdict::Different,
    }
}

/// Whether two values can be the same, as far as is known without learning
/// anything: references only by being null or not.
pub(crate) fn could_be(ours: Value, theirs: &Val) -> bool {
    match (ours, theirs) {
        (Value::FuncRef(ours), Val::FuncRef(theirs)) => ours.is_some() == theirs.is_some(),
        (Value::ExternRef(ours), Val::ExternRef(theirs)) => ours.is_some() == theirs.is_some(),
        (Value::I32(ours), Val::I32(theirs)) => ours == *theirs as u32,
        (Value::I64(ours), Val::I64(theirs)) => ours == *theirs as u64,
        (Value::F32(ours), Val::F32(theirs)) => ours == *theirs,
        (Value::F64(ours), Val::F64(theirs)) => ours == *theirs,
        (Value::V128(ours), Val::V128(theirs)) => ours == theirs.as_u128(),
        (Value::AnyRef(ours), Val::AnyRef(theirs)) => ours.is_some() == theirs.is_some(),
        (Value::ExnRef(ours), Val::ExnRef(theirs)) => ours.is_some() == theirs.is_some(),
        (Value::AnyRef(None), Val::FuncRef(None)) => true,
        (Value::ExternRef(ours), Val::AnyRef(theirs)) => ours.is_some() == theirs.is_some(),
        (Value::AnyRef(ours), Val::ExternRef(theirs)) => ours.is_some() == theirs.is_some(),
        (
            Value::I32(_)
            | Value::I64(_)
            | Value::F32(_)
            | Value::F64(_)
            | Value::V128(_)
            | Value::FuncRef(_)
            | Value::ExternRef(_)
            | Value::AnyRef(_)
            | Value::ExnRef(_),
            _,
        ) => false,
    }
}

/// A number or vector of Wasmtime's, for [`oracle_interp::Oracle::adopt`];
/// `None` for what the specification never leaves open.
pub(crate) fn number(theirs: &Val) -> Option<Value> {
    Some(match theirs {
        Val::I32(bits) => Value::I32(*bits as u32),
        Val::I64(bits) => Value::I64(*bits as u64),
        Val::F32(bits) => Value::F32(*bits),
        Val::F64(bits) => Value::F64(*bits),
        Val::V128(bits) => Value::V128(bits.as_u128()),
        _ => return None,
    })
}

/// The same value for Wasmtime.
///
/// # Errors
/// Wasmtime's heap is full, or a function is given whose counterpart is not
/// known: only exported functions are given.
pub(crate) fn to_wasmtime(
    value: Value,
    functions: &Functions,
    store: &mut StoreContextMut<'_, Host>,
) -> wasmtime::Result<Val> {
    Ok(match value {
        Value::I32(bits) => Val::I32(bits as i32),
        Value::I64(bits) => Val::I64(bits as i64),
        Value::F32(bits) => Val::F32(bits),
        Value::F64(bits) => Val::F64(bits),
        Value::FuncRef(None) => Val::FuncRef(None),
        Value::FuncRef(Some(addr)) => match functions.funcs.get(&addr) {
            Some(func) => Val::FuncRef(Some(*func)),
            None => wasmtime::bail!("{addr} is not exported"),
        },
        Value::ExternRef(None) => Val::ExternRef(None),
        Value::ExternRef(Some(InternalRef::Host(handle))) => {
            Val::ExternRef(Some(ExternRef::new(store.as_context_mut(), handle)?))
        }
        Value::V128(bits) => Val::V128(bits.into()),
        Value::AnyRef(None) => Val::AnyRef(None),
        Value::ExnRef(None) => Val::ExnRef(None),
        other => wasmtime::bail!("{other} has no counterpart"),
    })
}

/// Draws an argument. Half of the numbers are ones that arithmetic treats
/// specially, among them NaNs of all kinds.
pub(crate) fn draw(ty: ValType, rng: &mut corpus::SplitMix64, exported: &[FuncAddr]) -> Value {
    const INTEGERS: [u64; 10] = [
        0,
        1,
        2,
        u64::MAX,
        7,
        0x7fff_ffff,
        0x8000_0000,
        0x7fff_ffff_ffff_ffff,
        0x8000_0000_0000_0000,
        65_536,
    ];
    const F32: [u32; 10] = [
        0,
        0x8000_0000,
        0x3f80_0000,
        0x7f80_0000,
        0xff80_0000,
        0x7fc0_0000,
        0xffc0_0123,
        0x7fa0_0001,
        1,
        0x4f00_0000,
    ];
    const F64: [u64; 10] = [
        0,
        0x8000_0000_0000_0000,
        0x3ff0_0000_0000_0000,
        0x7ff0_0000_0000_0000,
        0xfff0_0000_0000_0000,
        0x7ff8_0000_0000_0000,
        0xfff8_0000_0000_0123,
        0x7ff4_0000_0000_0001,
        1,
        0x43e0_0000_0000_0000,
    ];
    let random = rng.next_u64();
    let special = (random >> 32) as usize % 20;
    let integer = INTEGERS.get(special).copied().unwrap_or(random);
    match ty {
        ValType::I32 => Value::I32(integer as u32),
        ValType::I64 => Value::I64(integer),
        ValType::F32 => Value::F32(F32.get(special).copied().unwrap_or(random as u32)),
        ValType::F64 => Value::F64(F64.get(special).copied().unwrap_or(random)),
        ValType::V128 => Value::V128(u128::from(integer) << 64 | u128::from(rng.next_u64())),
        ValType::Ref(RefType::FUNC) => {
            let some = (random % 2 == 1).then(|| rng.pick(exported)).flatten();
            Value::FuncRef(some.copied())
        }
        ValType::Ref(RefType::EXTERN) => match random % 2 {
            0 => Value::ExternRef(None),
            _ => Value::host((random >> 8) as u32 % 1000),
        },
        // Others are null, where they can be.
        ty => Value::default_of(ty),
    }
}

/// A table element as the value it is.
pub(crate) fn of_ref(element: Ref) -> Val {
    match element {
        Ref::Func(func) => Val::FuncRef(func),
        Ref::Extern(reference) => Val::ExternRef(reference),
        Ref::Any(reference) => Val::AnyRef(reference),
        Ref::Exn(reference) => Val::ExnRef(reference),
    }
}

/// A value of the oracle's with type and bits, for a report.
pub(crate) fn show(value: Value) -> String {
    match value {
        Value::FuncRef(_) | Value::ExternRef(_) | Value::AnyRef(_) | Value::ExnRef(_) => {
            format!("{} {value}", value.ty())
        }
        _ => format!("{} {value} ({})", value.ty(), value.hex()),
    }
}

/// A value of Wasmtime's with type and bits, for a report.
pub(crate) fn show_wasmtime(value: &Val) -> String {
    match value {
        Val::I32(bits) => show(Value::I32(*bits as u32)),
        Val::I64(bits) => show(Value::I64(*bits as u64)),
        Val::F32(bits) => show(Value::F32(*bits)),
        Val::F64(bits) => show(Value::F64(*bits)),
        Val::V128(bits) => show(Value::V128(bits.as_u128())),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_view::{FuncIdx, InstanceId};

    #[test]
    fn functions_are_paired_once() {
        let addr = |func| FuncAddr { instance: InstanceId::new(0), func: FuncIdx::new(func) };
        let mut functions = Functions::default();
        assert!(functions.agree(addr(0), 0x10));
        assert!(functions.agree(addr(1), 0x20));
        assert!(functions.agree(addr(0), 0x10));
        assert!(!functions.agree(addr(0), 0x20));
        assert!(!functions.agree(addr(0), 0x30));
        assert!(!functions.agree(addr(2), 0x20));
    }

    #[test]
    fn arguments_are_drawn_reproducibly_and_of_all_kinds() {
        let draw = |seed| {
            let mut rng = corpus::SplitMix64::new(seed);
            let draw = |_| draw(ValType::F32, &mut rng, &[]);
            (0..200).map(draw).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert!(draw(7).contains(&Value::F32(0x7fa0_0001)));
    }
}
