//! From a location to the value that is there.
//!
//! The one definition of what a [`Location`] means, kept simple. A comparator
//! that evaluates millions of them compiles its own form first, and can be
//! tested against this.

use crate::{DwarfReg, Expression, ExpressionIdx, Input, Location, Reason, SubjectAddr};
use wasm_view::ValType;

/// What a frame of the subject looks like to the evaluation of locations.
pub trait FrameState {
    /// A register, zero-extended; `None` when it is not known.
    fn register(&self, register: DwarfReg) -> Option<u128>;
    /// The frame's canonical frame address.
    fn cfa(&self) -> SubjectAddr;
    /// `bytes` (4, 8 or 16) bytes of memory, little-endian; `None` when there
    /// is none.
    fn memory(&self, address: SubjectAddr, bytes: usize) -> Option<u128>;
}

/// Why a value could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocateError {
    /// The map says that it is nowhere.
    #[error("the value is not available: {}", .0.key())]
    Unavailable(Reason),
    /// It is in a register whose value is not known in this frame.
    #[error("DWARF register {} is not known in this frame", .0.0)]
    Register(DwarfReg),
    /// It is on the stack where nothing can be read.
    #[error("no stack memory at {0}")]
    Memory(SubjectAddr),
    /// It follows from an expression that the function does not have.
    #[error("the function has no expression {}", .0.get())]
    Expression(ExpressionIdx),
}

/// The bits that a value of this type uses of a constant's cell. A vector's
/// cell is its low half, the other half is 0.
pub const fn width_mask(ty: ValType) -> u64 {
    if ty.bytes() == 4 { u32::MAX as u64 } else { u64::MAX }
}

/// Whether values of this type live in vector registers.
pub const fn in_vector_register(ty: ValType) -> bool {
    matches!(ty, ValType::F32 | ValType::F64 | ValType::V128)
}

/// Reads the value of a slot of type `ty`, in a function with these
/// expressions. The bits are the native ones: a reference is the word that
/// native code holds, not its identity.
pub fn read(
    location: Location,
    ty: ValType,
    expressions: &[Expression],
    frame: &dyn FrameState,
) -> Result<u128, LocateError> {
    let register = |register| frame.register(register).ok_or(LocateError::Register(register));
    let memory = |offset: i32, bytes| {
        let address = frame.cfa().offset(i64::from(offset));
        frame.memory(address, bytes).ok_or(LocateError::Memory(address))
    };
    let bits = match location {
        Location::Register(number) => register(number)?,
        Location::CfaOffset(offset) => memory(offset, ty.bytes())?,
        Location::Constant(cell) => u128::from(cell.0),
        Location::Derived(index) => {
            let expression = expressions.get(index.index());
            let word = expression.ok_or(LocateError::Expression(index))?.evaluate(|input| {
                let whole = match input {
                    Input::Register(number) => register(number),
                    Input::Frame(offset) => memory(offset, 8),
                };
                // Of a general register, and of eight bytes, all of it.
                whole.map(|whole| whole as u64)
            })?;
            u128::from(word)
        }
        Location::Unavailable(reason) => return Err(LocateError::Unavailable(reason)),
    };
    let unused = 128 - 8 * ty.bytes();
    Ok(bits << unused >> unused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_view::Cell;

    struct Fixed;

    impl FrameState for Fixed {
        fn register(&self, register: DwarfReg) -> Option<u128> {
            (register.0 != 0).then_some(0x5555_6666_7777_8888_1111_2222_3333_4444)
        }
        fn cfa(&self) -> SubjectAddr {
            SubjectAddr::new(0x1000)
        }
        fn memory(&self, address: SubjectAddr, bytes: usize) -> Option<u128> {
            let value = u128::from(address.get()) << 32 | bytes as u128;
            (address.get() < 0x1000).then_some(value)
        }
    }

    #[test]
    fn reads_each_kind_at_the_width_of_its_type() {
        let at = |location, ty| read(location, ty, &[], &Fixed);
        let register = Location::Register(DwarfReg(3));
        assert_eq!(at(register, ValType::I32), Ok(0x3333_4444));
        assert_eq!(at(register, ValType::F64), Ok(0x1111_2222_3333_4444));
        assert_eq!(at(Location::CfaOffset(-16), ValType::I32), Ok(4));
        assert_eq!(at(Location::CfaOffset(-16), ValType::FUNCREF), Ok(0xff0 << 32 | 8));
        assert_eq!(at(Location::Constant(Cell(u64::MAX)), ValType::F32), Ok(0xffff_ffff));
        let whole = 0x5555_6666_7777_8888_1111_2222_3333_4444;
        assert_eq!(at(register, ValType::V128), Ok(whole));
        assert_eq!(at(Location::CfaOffset(-16), ValType::V128), Ok(0xff0 << 32 | 16));
        assert_eq!(at(Location::Constant(Cell(7)), ValType::V128), Ok(7));
    }

    #[test]
    fn says_why_there_is_no_value() {
        let at = |location| read(location, ValType::I64, &[], &Fixed);
        assert_eq!(at(Location::Register(DwarfReg(0))), Err(LocateError::Register(DwarfReg(0))));
        assert_eq!(at(Location::CfaOffset(0)), Err(LocateError::Memory(SubjectAddr::new(0x1000))));
        assert_eq!(
            at(Location::Unavailable(Reason::Folded)),
            Err(LocateError::Unavailable(Reason::Folded))
        );
        let derived = ExpressionIdx::new(0);
        assert_eq!(at(Location::Derived(derived)), Err(LocateError::Expression(derived)));
    }

    #[test]
    fn computes_what_is_derived() {
        let steps = |register| {
            use crate::expression::{BinaryOp, Step};
            let register = Step::Input(Input::Register(DwarfReg(register)));
            let frame = Step::Input(Input::Frame(-16));
            Expression::new(vec![register, frame, Step::Binary(BinaryOp::Add)])
        };
        let expressions = [steps(3).expect("well formed"), steps(0).expect("well formed")];
        let at = |index, ty| {
            read(Location::Derived(ExpressionIdx::new(index)), ty, &expressions, &Fixed)
        };
        assert_eq!(at(0, ValType::I32), Ok(0x3333_4444 + 8));
        assert_eq!(at(0, ValType::I64), Ok(0x1111_2222_3333_4444 + (0xff0 << 32 | 8)));
        assert_eq!(at(1, ValType::I64), Err(LocateError::Register(DwarfReg(0))));
    }
}
