//! Values, typed and untyped.
//!
//! Two forms exist because two readers exist. People and reports want a
//! [`Value`], which knows its type. Inner loops want [`Cell`]s, the same bits
//! in 64-bit words, so that a slot is compared with one integer comparison:
//!
//! | type | cell |
//! |---|---|
//! | i32, f32 | the bits, zero-extended |
//! | i64, f64 | the bits |
//! | v128 | two cells, the low half first |
//! | references to functions | 0 for null, else `(instance + 1) << 32 \| function` |
//! | other references | 0 for null, else see [`InternalRef`] |
//! | exnref | 0 for null, else the exception + 1 |
//!
//! A reference converted between the `any` and `extern` hierarchies keeps its
//! cell. Floats are always carried as bits: a round trip through a
//! floating-point register may change a signalling NaN.

use crate::{ExnId, FuncIdx, HeapType, InstanceId, ObjectId, RefType, ValType};
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

/// What a reference of the `any` or `extern` hierarchy refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InternalRef {
    /// Something of the host's, by its handle. Cell: handle + 1.
    Host(u32),
    /// An unboxed integer of 31 bits. Cell: that and bit 62.
    I31(u32),
    /// A structure or array. Cell: its number and bit 63.
    Object(ObjectId),
}

impl InternalRef {
    const I31_BIT: u64 = 1 << 62;
    const OBJECT_BIT: u64 = 1 << 63;

    /// What a cell refers to; `None` for null and for cells that are no
    /// reference.
    pub fn from_cell(cell: Cell) -> Option<InternalRef> {
        let low = cell.0 as u32;
        match cell.0 & !0xffff_ffff {
            Self::I31_BIT => Some(InternalRef::I31(low)),
            Self::OBJECT_BIT => Some(InternalRef::Object(ObjectId::new(low))),
            _ => Some(InternalRef::Host(u32::try_from(cell.0.checked_sub(1)?).ok()?)),
        }
    }

    /// The cell.
    pub fn to_cell(self) -> Cell {
        Cell(match self {
            InternalRef::Host(handle) => u64::from(handle) + 1,
            InternalRef::I31(bits) => u64::from(bits) | Self::I31_BIT,
            InternalRef::Object(object) => u64::from(object.get()) | Self::OBJECT_BIT,
        })
    }
}

impl fmt::Display for InternalRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InternalRef::Host(handle) => write!(f, "extern@{handle}"),
            // Signed, as `i31.get_s` gives it.
            InternalRef::I31(bits) => write!(f, "i31@{}", (*bits << 1) as i32 >> 1),
            InternalRef::Object(object) => object.fmt(f),
        }
    }
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
    /// 128-bit vector, lane 0 in the low bits.
    V128(u128),
    /// Function reference, `None` is null.
    FuncRef(Option<FuncAddr>),
    /// External reference, `None` is null.
    ExternRef(Option<InternalRef>),
    /// Reference of the `any` hierarchy, `None` is null.
    AnyRef(Option<InternalRef>),
    /// Exception reference, `None` is null.
    ExnRef(Option<ExnId>),
}

impl Value {
    /// External reference by the host's handle.
    pub const fn host(handle: u32) -> Value {
        Value::ExternRef(Some(InternalRef::Host(handle)))
    }

    /// The value of `ty` that the cell's bits stand for. Bits above a 32-bit
    /// type's width are ignored; of a vector the cell is the low half and the
    /// other is 0, see [`Value::from_cells`].
    pub fn from_cell(ty: ValType, cell: Cell) -> Value {
        match ty {
            ValType::I32 => Value::I32(cell.0 as u32),
            ValType::I64 => Value::I64(cell.0),
            ValType::F32 => Value::F32(cell.0 as u32),
            ValType::F64 => Value::F64(cell.0),
            ValType::V128 => Value::V128(u128::from(cell.0)),
            ValType::Ref(RefType { heap, .. }) => match heap {
                HeapType::Func | HeapType::NoFunc => Value::FuncRef(FuncAddr::from_cell(cell)),
                HeapType::Extern | HeapType::NoExtern => {
                    Value::ExternRef(InternalRef::from_cell(cell))
                }
                HeapType::Exn | HeapType::NoExn => {
                    // No store has this last one: what does not fit is none.
                    let exn = |exn| ExnId::new(u32::try_from(exn).unwrap_or(u32::MAX));
                    Value::ExnRef(cell.0.checked_sub(1).map(exn))
                }
                // A function's cell has its instance in bits 32 to 61.
                HeapType::Concrete(_) if matches!(cell.0 >> 32, 1..0x4000_0000) => {
                    Value::FuncRef(FuncAddr::from_cell(cell))
                }
                _ => Value::AnyRef(InternalRef::from_cell(cell)),
            },
        }
    }

    /// The value of `ty` in its cells, the first ones of `cells`.
    ///
    /// # Panics
    /// If there are too few of them.
    pub fn from_cells(ty: ValType, cells: &[Cell]) -> Value {
        match ty {
            ValType::V128 => Value::V128(u128::from(cells[1].0) << 64 | u128::from(cells[0].0)),
            _ => Value::from_cell(ty, cells[0]),
        }
    }

    /// The values of these types in their cells, one after the other.
    ///
    /// # Panics
    /// If there are too few cells.
    pub fn list_from_cells(types: &[ValType], cells: &[Cell]) -> Vec<Value> {
        let mut rest = cells;
        let mut values = Vec::with_capacity(types.len());
        for &ty in types {
            values.push(Value::from_cells(ty, rest));
            rest = &rest[ty.cells()..];
        }
        values
    }

    /// The bits; inverse of [`Value::from_cell`]. Of a vector the low half
    /// only, see [`Value::to_cells`].
    pub fn to_cell(self) -> Cell {
        match self {
            Value::I32(bits) | Value::F32(bits) => Cell(u64::from(bits)),
            Value::I64(bits) | Value::F64(bits) => Cell(bits),
            Value::V128(bits) => Cell(bits as u64),
            Value::FuncRef(address) => address.map_or(Cell(0), FuncAddr::to_cell),
            Value::ExternRef(target) | Value::AnyRef(target) => {
                target.map_or(Cell(0), InternalRef::to_cell)
            }
            Value::ExnRef(exn) => Cell(exn.map_or(0, |exn| u64::from(exn.get()) + 1)),
        }
    }

    /// All cells of the value, inverse of [`Value::from_cells`].
    pub fn to_cells(self) -> impl ExactSizeIterator<Item = Cell> {
        let high = match self {
            Value::V128(bits) => Cell((bits >> 64) as u64),
            _ => Cell(0),
        };
        let count = if matches!(self, Value::V128(_)) { 2 } else { 1 };
        [self.to_cell(), high].into_iter().take(count)
    }

    /// The most general type of this value.
    pub fn ty(self) -> ValType {
        match self {
            Value::I32(_) => ValType::I32,
            Value::I64(_) => ValType::I64,
            Value::F32(_) => ValType::F32,
            Value::F64(_) => ValType::F64,
            Value::V128(_) => ValType::V128,
            Value::FuncRef(_) => ValType::FUNCREF,
            Value::ExternRef(_) => ValType::EXTERNREF,
            Value::AnyRef(_) => ValType::Ref(RefType::nullable(HeapType::Any)),
            Value::ExnRef(_) => ValType::Ref(RefType::nullable(HeapType::Exn)),
        }
    }

    /// Whether it is a null reference.
    pub fn is_null(self) -> bool {
        matches!(
            self,
            Value::FuncRef(None)
                | Value::ExternRef(None)
                | Value::AnyRef(None)
                | Value::ExnRef(None)
        )
    }

    /// What a local or a table element of this type holds before it is set.
    pub fn default_of(ty: ValType) -> Value {
        Value::from_cell(ty, Cell(0))
    }

    /// The bits as hexadecimal digits of the type's full width, with `0x`.
    pub fn hex(self) -> String {
        let width = 2 * self.ty().bytes();
        match self {
            Value::V128(bits) => format!("0x{bits:0width$x}"),
            value => format!("0x{:0width$x}", value.to_cell().0),
        }
    }
}

impl fmt::Display for Value {
    /// Decimal, as a person would write it; a vector as two 64-bit lanes in
    /// hexadecimal, the low one first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Value::I32(bits) => write!(f, "{}", bits as i32),
            Value::I64(bits) => write!(f, "{}", bits as i64),
            Value::F32(bits) => write!(f, "{:?}", f32::from_bits(bits)),
            Value::F64(bits) => write!(f, "{:?}", f64::from_bits(bits)),
            Value::V128(bits) => {
                write!(f, "i64x2 {:#018x} {:#018x}", bits as u64, (bits >> 64) as u64)
            }
            Value::FuncRef(Some(address)) => write!(f, "{address}"),
            Value::ExternRef(Some(target)) | Value::AnyRef(Some(target)) => target.fmt(f),
            Value::ExnRef(Some(exn)) => exn.fmt(f),
            Value::FuncRef(None)
            | Value::ExternRef(None)
            | Value::AnyRef(None)
            | Value::ExnRef(None) => f.write_str("null"),
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
            Value::host(0),
            Value::host(u32::MAX),
            Value::AnyRef(Some(InternalRef::I31(0x7fff_ffff))),
            Value::AnyRef(Some(InternalRef::I31(0))),
            Value::AnyRef(Some(InternalRef::Object(ObjectId::new(0)))),
            Value::ExternRef(Some(InternalRef::Object(ObjectId::new(u32::MAX)))),
            Value::ExnRef(Some(ExnId::new(0))),
            Value::V128(u128::MAX - 5),
        ] {
            let cells: Vec<Cell> = value.to_cells().collect();
            assert_eq!(cells.len(), value.ty().cells());
            assert_eq!(Value::from_cells(value.ty(), &cells), value);
        }
    }

    #[test]
    fn hex_has_the_width_of_the_type() {
        assert_eq!(Value::I32(1).hex(), "0x00000001");
        assert_eq!(Value::F64(1).hex(), "0x0000000000000001");
    }
}
