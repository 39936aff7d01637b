//! Wasm to native code, with a trap at every boundary and a map of every value.
//!
//! ```text
//!  Wasm bytes
//!     | wasmparser: validate, function by function        compile, features, module
//!     v
//!  CLIF with a trap per boundary,                          translate/
//!  the SSA values of locals and operands written down
//!     | mid-end, labels, instruction selection,            lower, equal
//!     | register allocation (cranelift-codegen as released)
//!     v
//!  machine code + where each label is
//!     | tags -> PCs of traps, labels -> locations          anchors, locations, derive, polls
//!     v
//!  map of the function        code --.   thunks, entries, libcalls
//!     |                              v   (CLIF as well)
//!     |                            text with calls resolved           link
//!     '------------> image <---------'                                image
//!                    ELF: code, gadgets, .wasm_map, .wasm, DWARF, symbols
//! ```
//! The compiler is the released `cranelift-codegen`, untouched: it is what is
//! being verified. What is ours is the translation in front of it, which
//! follows Wasmtime's default tunables so that findings carry over, and the
//! bookkeeping behind it.
//!
//! Invariants: this crate knows nothing of processes. It executes nothing. The
//! same input gives the same bytes. No input makes it panic.
#![forbid(unsafe_code)]

mod abi;
mod anchors;
mod cfi;
mod combine;
mod compile;
mod compressed;
mod derive;
mod equal;
mod error;
mod features;
mod image;
mod libcalls;
mod link;
mod listing;
mod locations;
mod lower;
mod module;
mod options;
mod polls;
mod source;
mod thunks;
mod translate;

pub use abi::instance_register;
pub use combine::{Part, combine};
pub use compile::{code, compile};
pub use dwarf_map::{Isa, StablePoints};
pub use error::{CompileError, ImageError};
pub use features::features;
pub use image::Image;
pub use listing::Listing;
pub use options::{
    Anchors, CRANELIFT_VERSION, CompileOptions, CpuEdit, CpuSpec, CpuSpecError, HAS_CHAOS,
    OptLevel, Restorable, STACK_GUARD_LOG2, cpu_features,
};

/// Bytes of address space that a 32-bit memory has, mapped or not: Wasmtime's
/// `memory_reservation` for 64-bit targets (`Tunables::default_u64`). No index
/// leaves it without a constant offset.
pub const MEMORY_RESERVATION: u64 = 1 << 32;

/// Inaccessible bytes behind the reservation: Wasmtime's `memory_guard_size`
/// (`Tunables::default_u64`). Accesses whose constant offset and width fit
/// have no bounds check in code; they fault in reservation or guard.
pub const MEMORY_GUARD: u64 = 32 << 20;

/// Most slots (locals and operands, over all boundaries and calls) that one
/// module's map may have. Memory is proportional to it, and a module of a few
/// kilobytes could ask for billions.
pub const MAX_SLOTS: usize = 1 << 26;
