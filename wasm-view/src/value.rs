//! Values, typed and untyped.
//!
//! Two forms exist because two readers exist. People and reports want a
//! [`Value`], which knows its type. Inner loops want a [`Cell`], the same bits
//! in one 64-bit word, so that a slot is compared with one integer comparison:
//!
//! | type | cell |
//! |---|---|
//! | i32, f32 | the bits, zero-extended |
//! | i64, f64 | the bits |
//! | funcref | 0 for null, else `(instance + 1) << 32 \| function` |
//! | externref | 0 for null, else `handle + 1` |
//!
//! Floats are always carried as bits: a round trip through a floating-point
//! register may change a signalling NaN.

use crate::{FuncIdx, InstanceId, RefType, ValType};
use std::fmt;

/// The untyped 64-bit form of a value; see the module's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Cell(pub u64);

/// The identity of a function in a store. Imported functions are named by
/// where they are defined; a host function by the instance that imports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FuncAddr {
    /// The instance whose index space `func` belongs to.
    pub instance: InstanceId,
    /// The function in that instance's module.
    pub func: FuncIdx,
}

/// A value and its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    /// 32-bit integer, sign-agnostic.
    I32(u32),
    /// 64-bit integer, sign-agnostic.
    I64(u64),
    /// Bits of a 32-bit float.
    F32(u32),
    /// Bits of a 64-bit float.
    F64(u64),
    /// Function reference, `None` is null.
    FuncRef(Option<FuncAddr>),
    /// External reference by the host's handle, `None` is null.
    ExternRef(Option<u32>),
}

impl Value {
    /// The value of `ty` that the cell's bits stand for. Bits above a 32-bit
    /// type's width are ignored.
    pub fn from_cell(ty: ValType, cell: Cell) -> Value {
        match ty {
            ValType::I32 => Value::I32(cell.0 as u32),
            ValType::I64 => Value::I64(cell.0),
            ValType::F32 => Value::F32(cell.0 as u32),
            ValType::F64 => Value::F64(cell.0),
            ValType::Ref(RefType::Func) => Value::FuncRef(FuncAddr::from_cell(cell)),
            ValType::Ref(RefType::Extern) => {
                Value::ExternRef(cell.0.checked_sub(1).map(|handle| handle as u32))
            }
        }
    }

    /// The bits; inverse of [`Value::from_cell`].
    pub fn to_cell(self) -> Cell {
        match self {
            Value::I32(bits) | Value::F32(bits) => Cell(u64::from(bits)),
            Value::I64(bits) | Value::F64(bits) => Cell(bits),
            Value::FuncRef(address) => address.map_or(Cell(0), FuncAddr::to_cell),
            Value::ExternRef(handle) => Cell(handle.map_or(0, |h| u64::from(h) + 1)),
        }
    }

    /// The type of this value.
    pub fn ty(self) -> ValType {
        match self {
            Value::I32(_) => ValType::I32,
            Value::I64(_) => ValType::I64,
            Value::F32(_) => ValType::F32,
            Value::F64(_) => ValType::F64,
            Value::FuncRef(_) => ValType::FUNCREF,
            Value::ExternRef(_) => ValType::EXTERNREF,
        }
    }

    /// What a local or a table element of this type holds before it is set.
    pub fn default_of(ty: ValType) -> Value {
        Value::from_cell(ty, Cell(0))
    }

    /// The bits as hexadecimal digits of the type's full width, with `0x`.
    pub fn hex(self) -> String {
        let width = 2 * self.ty().bytes();
        format!("0x{:0width$x}", self.to_cell().0)
    }
}

impl fmt::Display for Value {
    /// Decimal, as a person would write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Value::I32(bits) => write!(f, "{}", bits as i32),
            Value::I64(bits) => write!(f, "{}", bits as i64),
            Value::F32(bits) => write!(f, "{:?}", f32::from_bits(bits)),
            Value::F64(bits) => write!(f, "{:?}", f64::from_bits(bits)),
            Value::FuncRef(None) | Value::ExternRef(None) => f.write_str("null"),
            Value::FuncRef(Some(address)) => write!(f, "{address}"),
            Value::ExternRef(Some(handle)) => write!(f, "extern@{handle}"),
        }
    }
}

impl FuncAddr {
    /// The function that a non-null funcref cell names.
    pub fn from_cell(cell: Cell) -> Option<FuncAddr> {
        let instance = ((cell.0 >> 32) as u32).checked_sub(1)?;
        Some(FuncAddr { instance: InstanceId::new(instance), func: FuncIdx::new(cell.0 as u32) })
    }

    /// The cell of a reference to this function.
    pub fn to_cell(self) -> Cell {
        Cell((u64::from(self.instance.get()) + 1) << 32 | u64::from(self.func.get()))
    }
}

impl fmt::Display for FuncAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.instance, self.func)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_keep_every_value() {
        let address = FuncAddr { instance: InstanceId::new(0), func: FuncIdx::new(7) };
        for value in [
            Value::I32(u32::MAX),
            Value::I64(u64::MAX),
            Value::F32(0x7fa0_0001),
            Value::F64(0x7ff4_0000_0000_0001),
            Value::FuncRef(None),
            Value::FuncRef(Some(address)),
            Value::ExternRef(None),
            Value::ExternRef(Some(0)),
        ] {
            assert_eq!(Value::from_cell(value.ty(), value.to_cell()), value);
        }
    }

    #[test]
    fn hex_has_the_width_of_the_type() {
        assert_eq!(Value::I32(1).hex(), "0x00000001");
        assert_eq!(Value::F64(1).hex(), "0x0000000000000001");
    }
}
