//! The ways execution of core WebAssembly can trap.

use std::fmt;

macro_rules! traps {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// A trap. The texts are those of the specification's test suite, the
        /// codes are wdiff's own and stable: images store them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Trap { $($(#[$doc])* $name,)* }

        impl Trap {
            /// Every trap, in code order.
            pub const ALL: &'static [Trap] = &[$(Trap::$name,)*];
            /// The stable code, never 0.
            pub const fn code(self) -> u8 { match self { $(Trap::$name => $code,)* } }
            /// The trap of a code; `None` for a code of a newer version.
            pub const fn from_code(code: u8) -> Option<Trap> {
                match code { $($code => Some(Trap::$name),)* _ => None }
            }
            /// The specification suite's wording.
            pub const fn text(self) -> &'static str { match self { $(Trap::$name => $text,)* } }
        }
    };
}

traps! {
    /// `unreachable` was executed.
    Unreachable = 1, "unreachable";
    /// A load, store or bulk operation reached beyond a memory's size.
    MemoryOutOfBounds = 2, "out of bounds memory access";
    /// A table access reached beyond a table's size.
    TableOutOfBounds = 3, "out of bounds table access";
    /// `call_indirect` with an index beyond the table's size.
    UndefinedElement = 4, "undefined element";
    /// `call_indirect` of a null element.
    UninitializedElement = 5, "uninitialized element";
    /// `call_indirect` of a function of another type.
    IndirectCallTypeMismatch = 6, "indirect call type mismatch";
    /// Integer division or remainder by zero.
    IntegerDivideByZero = 7, "integer divide by zero";
    /// `i32.div_s` / `i64.div_s` of the minimum by -1, or a float too large
    /// for the integer type.
    IntegerOverflow = 8, "integer overflow";
    /// Conversion of a NaN to an integer.
    InvalidConversionToInteger = 9, "invalid conversion to integer";
    /// Too many frames, or frames too large.
    CallStackExhausted = 10, "call stack exhausted";
    /// Null where `ref.as_non_null` wants something.
    NullReference = 11, "null reference";
    /// `call_ref` of null.
    NullFunctionReference = 12, "null function reference";
    /// A structure access through null.
    NullStructureReference = 13, "null structure reference";
    /// An array access through null.
    NullArrayReference = 14, "null array reference";
    /// `i31.get` of null.
    NullI31Reference = 15, "null i31 reference";
    /// `throw_ref` of null.
    NullExceptionReference = 16, "null exception reference";
    /// `ref.cast` to a type that the value does not have.
    CastFailure = 17, "cast failure";
    /// An array access reached beyond the array's length.
    ArrayOutOfBounds = 18, "out of bounds array access";
    /// An atomic access to an address that its width does not divide.
    UnalignedAtomic = 19, "unaligned atomic";
    /// `memory.atomic.wait` on a memory that is not shared.
    ExpectedSharedMemory = 20, "expected shared memory";
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::Trap;

    #[test]
    fn codes_are_a_bijection() {
        for &trap in Trap::ALL {
            assert_eq!(Trap::from_code(trap.code()), Some(trap));
        }
        assert_eq!(Trap::from_code(0), None);
    }
}
