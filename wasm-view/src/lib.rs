//! The vocabulary of wdiff: indices, offsets, values, traps and the *Wasm view*.
//!
//! Every other crate speaks about a running WebAssembly program, and each of
//! them sees it differently: the interpreter as decoded operations, the
//! backend as SSA values, the tracer as registers and shared pages. This crate
//! holds the words they share, and nothing that executes. Its types exist to
//! make the usual mix-ups impossible: an index of one index space is not an
//! index of another, an index inside a module ([`MemoryIdx`]) is not an
//! identity inside a store ([`MemoryId`]), and a byte offset in a module file
//! ([`WasmOffset`]) is not an offset in machine code.
//!
//! | module | subject |
//! |---|---|
//! | [`index`] | module index spaces, store identities |
//! | [`types`] | value, function, memory, table and global types |
//! | [`value`] | typed values, and *cells*, their untyped 64-bit form |
//! | [`trap`] | the traps of the core specification |
//! | [`snapshot`] | a whole program as a file |
//! | [`view`] | boundaries, frames and the whole store at one moment |
//!
//! Invariant: depends on no other crate of this workspace.
#![forbid(unsafe_code)]

pub mod index;
pub mod snapshot;
pub mod trap;
pub mod types;
pub mod value;
pub mod view;

pub use index::{
    DataIdx, ElemIdx, ExnId, FuncIdx, GlobalId, GlobalIdx, InstanceId, LocalIdx, MemoryId,
    MemoryIdx, ObjectId, SlotIdx, TableId, TableIdx, TagId, TagIdx, TypeIdx, WasmOffset,
};
pub use trap::Trap;
pub use types::{
    AddressType, FuncType, GlobalType, HeapType, MemoryType, RefType, TableType, ValType,
};
pub use value::{Cell, FuncAddr, InternalRef, Value};
pub use view::{Boundary, Frame, StoreView};
