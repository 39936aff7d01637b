//! Value types and the types of definitions (core spec, "Types").

use std::fmt;

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValType {
    /// 32-bit integer.
    I32,
    /// 64-bit integer.
    I64,
    /// 32-bit IEEE 754 number.
    F32,
    /// 64-bit IEEE 754 number.
    F64,
    /// A reference.
    Ref(RefType),
}

/// The type of a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefType {
    /// A nullable reference to a function.
    Func,
    /// A nullable reference to something of the host's.
    Extern,
}

impl ValType {
    /// Nullable function reference.
    pub const FUNCREF: ValType = ValType::Ref(RefType::Func);
    /// Nullable external reference.
    pub const EXTERNREF: ValType = ValType::Ref(RefType::Extern);

    /// Bytes that a value of this type takes in a 64-bit subject's registers
    /// and stack slots.
    pub const fn bytes(self) -> usize {
        match self {
            ValType::I32 | ValType::F32 => 4,
            ValType::I64 | ValType::F64 | ValType::Ref(_) => 8,
        }
    }
}

impl fmt::Display for ValType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ValType::I32 => "i32",
            ValType::I64 => "i64",
            ValType::F32 => "f32",
            ValType::F64 => "f64",
            ValType::Ref(RefType::Func) => "funcref",
            ValType::Ref(RefType::Extern) => "externref",
        })
    }
}

impl fmt::Display for RefType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        ValType::Ref(*self).fmt(f)
    }
}

/// Parameters and results of a function. Two function types are equal exactly
/// when they are structurally equal, which is also when `call_indirect`
/// accepts one for the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct FuncType {
    /// Parameter types, first parameter first.
    pub params: Vec<ValType>,
    /// Result types, first result first.
    pub results: Vec<ValType>,
}

impl fmt::Display for FuncType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list =
            |types: &[ValType]| types.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        write!(f, "[{}] -> [{}]", list(&self.params), list(&self.results))
    }
}

/// A linear memory's type. Limits are in pages of 64 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemoryType {
    /// Pages at instantiation.
    pub minimum: u64,
    /// Most pages it may grow to; `None` means the address space (65,536).
    pub maximum: Option<u64>,
}

impl MemoryType {
    /// Bytes of a page.
    pub const PAGE: u64 = 65_536;
    /// Most pages a 32-bit memory can have.
    pub const MAX_PAGES: u64 = 65_536;
}

/// A table's type. Limits are in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TableType {
    /// What the elements are.
    pub element: RefType,
    /// Elements at instantiation.
    pub minimum: u64,
    /// Most elements it may grow to.
    pub maximum: Option<u64>,
}

/// A global's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GlobalType {
    /// Type of the content.
    pub content: ValType,
    /// Whether `global.set` may change it.
    pub mutable: bool,
}
