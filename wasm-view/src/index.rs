//! Index spaces as types.
//!
//! The specification gives each kind of definition an index space of its own
//! (core spec, "Indices"); a plain integer would let one be used for another.
//! All of them are 32-bit, as in the binary format.

use std::fmt;

macro_rules! define_index {
    ($($(#[$doc:meta])* $name:ident, $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(u32);

        impl $name {
            /// Wraps a raw index.
            pub const fn new(raw: u32) -> Self { Self(raw) }
            /// The raw index, as the binary format writes it.
            pub const fn get(self) -> u32 { self.0 }
            /// The index as a position in a `Vec`.
            pub const fn index(self) -> usize { self.0 as usize }
            /// Wraps a position in a `Vec`. Positions beyond `u32::MAX` do not
            /// occur: every limit of the binary format is below it.
            pub const fn from_index(position: usize) -> Self {
                debug_assert!(position <= u32::MAX as usize);
                Self(position as u32)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    )*};
}

define_index! {
    /// A defined type of a module, or of a store.
    TypeIdx, "type#";
    /// A function of a module, imports first.
    FuncIdx, "#";
    /// A table of a module, imports first.
    TableIdx, "table#";
    /// A linear memory of a module, imports first.
    MemoryIdx, "memory#";
    /// A global of a module, imports first.
    GlobalIdx, "global#";
    /// An exception tag of a module, imports first.
    TagIdx, "tag#";
    /// An element segment of a module.
    ElemIdx, "elem#";
    /// A data segment of a module.
    DataIdx, "data#";
    /// A local of a function, parameters first.
    LocalIdx, "local#";
    /// A slot of a frame: its locals in order, then its operand stack from the
    /// bottom up. Slot `n` with `n >= number of locals` is operand `n - locals`.
    SlotIdx, "slot#";
    /// An instance of a store, in order of instantiation.
    InstanceId, "instance#";
    /// A linear memory of a store: two instances that share a memory name the
    /// same `MemoryId` under their own [`MemoryIdx`].
    MemoryId, "mem@";
    /// A table of a store.
    TableId, "tab@";
    /// A global of a store.
    GlobalId, "glob@";
    /// An exception tag of a store.
    TagId, "tag@";
    /// A structure or array of a store.
    ObjectId, "object@";
    /// An exception of a store.
    ExnId, "exn@";
}

/// A byte offset in a module file: the address of a Wasm instruction
/// everywhere in wdiff (command line, reports, listing, DWARF lines).
///
/// Shown in hexadecimal, accepted in decimal or `0x` form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WasmOffset(u32);

impl WasmOffset {
    /// Wraps a byte offset from the start of the module file.
    pub const fn new(raw: u32) -> Self {
        Self(raw)
    }
    /// Bytes from the start of the module file.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for WasmOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}
