//! The `.wasm_map` section: the map as bytes inside an image.
//!
//! DWARF cannot say where a Wasm instruction begins in native code, how deep
//! the operand stack is there, which points are stable, what a fault means or
//! where thunks trap. This section says it, for readers that know Wasm. Its
//! byte format is described in `docs/wasm-map.md`; the two halves here are
//!
//! | module | subject |
//! |---|---|
//! | [`write()`] | model to bytes |
//! | [`read()`] | bytes to model, trusting none of them |
//!
//! Most bytes are spent on boundaries, of which there is one per Wasm
//! instruction, so a boundary is coded as what changed since the one before:
//! a flags byte, the distance in the module, the distance in the code, and
//! only those parts of the operand stack and of the locations that differ. One
//! without anchor has no locations, and the next one that has an anchor goes on
//! from those of the last.
//!
//! A model that the format's rules forbid (offsets that go backwards, a range
//! that ends before it starts) is written without complaint, as differences
//! modulo 2^32, and refused by the reader: the writer needs no error path, and
//! a broken map cannot reach anyone who would believe it.

mod read;
mod write;

pub use read::{SectionError, read};
pub use write::write;

/// The ELF section's name.
pub const NAME: &str = ".wasm_map";

/// First eight bytes of the section.
const MAGIC: [u8; 8] = *b"wasm_map";

/// The version of the format that this module writes and reads, a little-endian
/// u32 after the magic.
pub const VERSION: u32 = 7;

/// A boundary's first byte.
mod flags {
    /// Bits 0-1: kind of anchor. 0 is a trap instruction, 1 is none.
    pub const ANCHOR: u8 = 0b11;
    /// Value of the anchor bits for a trap instruction.
    pub const ANCHOR_TRAP: u8 = 0;
    /// Value of the anchor bits for an eliminated boundary.
    pub const ANCHOR_ELIMINATED: u8 = 1;
    /// Anchored at an instruction that is patched.
    pub const ANCHOR_INSTRUCTION: u8 = 2;
    /// Without anchor; a byte says why.
    pub const ANCHOR_NONE: u8 = 3;
    /// That byte: the next boundary with an anchor is reached through this one.
    pub const NONE_MERGED: u8 = 0;
    /// That byte: it may be reached otherwise.
    pub const NONE_THREADED: u8 = 1;
    /// Bits 2-4: 0, or one more than the position in `STABLE_KINDS`.
    pub const STABLE_SHIFT: u32 = 2;
    /// The stable bits, shifted down.
    pub const STABLE: u8 = 0b111;
    /// The operand stack differs from the boundary before.
    pub const OPERANDS: u8 = 1 << 5;
    /// Slots that both have are elsewhere than at the boundary before; without an
    /// anchor, that there are locations at all.
    pub const MOVED: u8 = 1 << 6;
    /// The number of locations is not that of the slots and follows.
    pub const COUNT: u8 = 1 << 7;
}

/// Where everything is at a boundary without anchor.
const GONE: crate::Location = crate::Location::Unavailable(crate::Reason::NoLongerLive);

/// Stable kinds in the order of their codes.
const STABLE_KINDS: [crate::StableKind; 4] = [
    crate::StableKind::Entry,
    crate::StableKind::LoopHeader,
    crate::StableKind::Label,
    crate::StableKind::Call,
];

/// Low three bits of a coded location; the rest is its operand `n`.
mod tag {
    /// Register `n`.
    pub const REGISTER: u64 = 0;
    /// CFA + 8 × zigzag⁻¹(n).
    pub const CFA_WORDS: u64 = 1;
    /// CFA + zigzag⁻¹(n).
    pub const CFA_BYTES: u64 = 2;
    /// The constant `n`.
    pub const CONSTANT: u64 = 3;
    /// A constant of eight bytes that follow; `n` is 0.
    pub const WIDE_CONSTANT: u64 = 4;
    /// Unavailable for the reason of code `n`.
    pub const UNAVAILABLE: u64 = 5;
    /// Derived by the function's expression `n`.
    pub const DERIVED: u64 = 6;
}

/// First byte of a step of an expression.
mod step {
    /// A register; its number follows.
    pub const REGISTER: u8 = 0;
    /// Eight bytes of the frame; the zigzag of their offset follows.
    pub const FRAME: u8 = 1;
    /// A constant that follows.
    pub const CONSTANT: u8 = 2;
    /// A choice between two words.
    pub const SELECT: u8 = 3;
    /// This and what follows are unary operations.
    pub const UNARY: u8 = 0x10;
    /// This and what follows are binary operations.
    pub const BINARY: u8 = 0x20;
}

/// Codes of the kinds of thunks.
mod thunk {
    pub const IMPORT: u8 = 0;
    pub const MEMORY_GROW: u8 = 1;
    pub const MEMORY_COPY: u8 = 2;
    pub const MEMORY_FILL: u8 = 3;
    pub const MEMORY_INIT: u8 = 4;
    pub const DATA_DROP: u8 = 5;
    pub const TABLE_GROW: u8 = 6;
    pub const TABLE_FILL: u8 = 7;
    pub const TABLE_COPY: u8 = 8;
    pub const TABLE_INIT: u8 = 9;
    pub const ELEM_DROP: u8 = 10;
    pub const MEMORY_NOTIFY: u8 = 11;
    pub const MEMORY_WAIT32: u8 = 12;
    pub const MEMORY_WAIT64: u8 = 13;
    pub const THROW: u8 = 14;
    pub const THROW_REF: u8 = 15;
}

/// Value types by code: those of the Wasm binary format.
const VALUE_TYPES: [(u8, wasm_view::ValType); 8] = [
    (0x7f, wasm_view::ValType::I32),
    (0x7e, wasm_view::ValType::I64),
    (0x7d, wasm_view::ValType::F32),
    (0x7c, wasm_view::ValType::F64),
    (0x7b, wasm_view::ValType::V128),
    (0x70, wasm_view::ValType::FUNCREF),
    (0x6f, wasm_view::ValType::EXTERNREF),
    (0x69, wasm_view::ValType::Ref(wasm_view::RefType::nullable(wasm_view::HeapType::Exn))),
];
