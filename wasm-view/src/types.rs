//! Value types and the types of definitions (core spec, "Types").

use crate::TypeIdx;
use std::fmt;

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ValType {
    /// 32-bit integer.
    I32,
    /// 64-bit integer.
    I64,
    /// 32-bit IEEE 754 number.
    F32,
    /// 64-bit IEEE 754 number.
    F64,
    /// 128-bit vector.
    V128,
    /// A reference.
    Ref(RefType),
}

/// The type of a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RefType {
    /// Whether null belongs to it.
    pub nullable: bool,
    /// What it refers to.
    pub heap: HeapType,
}

/// What a reference refers to (core spec, "Heap Types").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HeapType {
    /// Any function.
    Func,
    /// No function.
    NoFunc,
    /// Something of the host's.
    Extern,
    /// Nothing of the host's.
    NoExtern,
    /// Any internal value.
    Any,
    /// Any internal value that can be compared by identity.
    Eq,
    /// An unboxed 31-bit integer.
    I31,
    /// Any structure.
    Struct,
    /// Any array.
    Array,
    /// No internal value.
    None,
    /// An exception.
    Exn,
    /// No exception.
    NoExn,
    /// A defined type, in the type index space of a module, or of a store.
    Concrete(TypeIdx),
}

impl ValType {
    /// Nullable function reference.
    pub const FUNCREF: ValType = ValType::Ref(RefType::FUNC);
    /// Nullable external reference.
    pub const EXTERNREF: ValType = ValType::Ref(RefType::EXTERN);

    /// Bytes that a value of this type takes in a 64-bit subject's registers
    /// and stack slots.
    pub const fn bytes(self) -> usize {
        match self {
            ValType::I32 | ValType::F32 => 4,
            ValType::I64 | ValType::F64 | ValType::Ref(_) => 8,
            ValType::V128 => 16,
        }
    }

    /// [`Cell`](crate::Cell)s that a value of this type takes: two for a
    /// vector, else one.
    pub const fn cells(self) -> usize {
        match self {
            ValType::V128 => 2,
            _ => 1,
        }
    }

    /// Cells that values of these types take one after the other.
    pub fn cells_of(types: &[ValType]) -> usize {
        types.iter().map(|ty| ty.cells()).sum()
    }
}

impl RefType {
    /// Nullable function reference.
    pub const FUNC: RefType = RefType::nullable(HeapType::Func);
    /// Nullable external reference.
    pub const EXTERN: RefType = RefType::nullable(HeapType::Extern);

    /// A reference to `heap`, or null.
    pub const fn nullable(heap: HeapType) -> RefType {
        RefType { nullable: true, heap }
    }

    /// A reference to `heap` that is not null.
    pub const fn non_null(heap: HeapType) -> RefType {
        RefType { nullable: false, heap }
    }
}

impl fmt::Display for ValType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValType::I32 => f.write_str("i32"),
            ValType::I64 => f.write_str("i64"),
            ValType::F32 => f.write_str("f32"),
            ValType::F64 => f.write_str("f64"),
            ValType::V128 => f.write_str("v128"),
            ValType::Ref(ty) => ty.fmt(f),
        }
    }
}

impl fmt::Display for RefType {
    /// The text format's spelling, abbreviated where it has an abbreviation.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.nullable, self.heap) {
            (true, HeapType::Concrete(_)) => write!(f, "(ref null {})", self.heap),
            (true, HeapType::None) => f.write_str("nullref"),
            (true, HeapType::NoFunc) => f.write_str("nullfuncref"),
            (true, HeapType::NoExtern) => f.write_str("nullexternref"),
            (true, HeapType::NoExn) => f.write_str("nullexnref"),
            (true, heap) => write!(f, "{heap}ref"),
            (false, heap) => write!(f, "(ref {heap})"),
        }
    }
}

impl fmt::Display for HeapType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HeapType::Func => "func",
            HeapType::NoFunc => "nofunc",
            HeapType::Extern => "extern",
            HeapType::NoExtern => "noextern",
            HeapType::Any => "any",
            HeapType::Eq => "eq",
            HeapType::I31 => "i31",
            HeapType::Struct => "struct",
            HeapType::Array => "array",
            HeapType::None => "none",
            HeapType::Exn => "exn",
            HeapType::NoExn => "noexn",
            HeapType::Concrete(index) => return write!(f, "{}", index.get()),
        })
    }
}

/// Parameters and results of a function. Between modules without recursive
/// types two function types are the same exactly when they are equal.
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

/// What indexes a memory or table (core spec, "Address Types").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum AddressType {
    /// 32-bit addresses.
    #[default]
    I32,
    /// 64-bit addresses.
    I64,
}

impl AddressType {
    /// The type of addresses and sizes.
    pub const fn val_type(self) -> ValType {
        match self {
            AddressType::I32 => ValType::I32,
            AddressType::I64 => ValType::I64,
        }
    }
}

/// A linear memory's type. Limits are in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemoryType {
    /// Pages at instantiation.
    pub minimum: u64,
    /// Most pages it may grow to; `None` means the address space.
    pub maximum: Option<u64>,
    /// Type of its addresses.
    pub address: AddressType,
    /// Whether threads may share it.
    pub shared: bool,
    /// log2 of the bytes of a page: 16 or, with custom page sizes, 0.
    pub page_log2: u8,
}

impl MemoryType {
    /// Bytes of a page where the module does not say otherwise.
    pub const PAGE: u64 = 65_536;
    /// Most pages of that size that a 32-bit memory can have.
    pub const MAX_PAGES: u64 = 65_536;

    /// An unshared 32-bit memory with pages of the usual size.
    pub const fn plain(minimum: u64, maximum: Option<u64>) -> MemoryType {
        MemoryType { minimum, maximum, address: AddressType::I32, shared: false, page_log2: 16 }
    }

    /// Whether nothing about it goes beyond WebAssembly 2.0.
    pub fn is_plain(&self) -> bool {
        *self == MemoryType::plain(self.minimum, self.maximum)
    }

    /// Bytes of a page.
    pub const fn page_bytes(&self) -> u64 {
        1 << self.page_log2
    }

    /// Most pages it may have: its own maximum and what can be addressed, and
    /// counted in its address type.
    pub fn most_pages(&self) -> u64 {
        let bits = match self.address {
            AddressType::I32 => 32,
            AddressType::I64 => 64,
        };
        let space = 1_u128 << (bits - u32::from(self.page_log2));
        let space = space.min((1 << bits) - 1) as u64;
        self.maximum.unwrap_or(space).min(space)
    }
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
    /// Type of its indices.
    pub address: AddressType,
}

/// A global's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GlobalType {
    /// Type of the content.
    pub content: ValType,
    /// Whether `global.set` may change it.
    pub mutable: bool,
}
