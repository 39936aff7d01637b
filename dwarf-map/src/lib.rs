//! The map from Wasm to native code, in its three forms.
//!
//! An image claims: when the Wasm program stands just before this instruction,
//! native code stands at this PC, and the values of the locals and of the
//! operand stack are in these places. The claim has a model and two written
//! forms, and everything here exists to make it, to keep it or to test it:
//!
//! ```text
//!                 .--> section ----> .wasm_map ----> section --.
//!   backend --> model                                         model --> tracer's side
//!                 '--> dwarf ------> .debug_* --.               |
//!                                        |      '---> check <---+--- code, unwind
//!                                        v
//!                                     debuggers
//! ```
//!
//! | module | subject |
//! |---|---|
//! | [`addr`] | offsets in code and addresses in the subject, as types |
//! | [`model`] | boundaries, anchors, slots, locations, call sites, traps, thunks |
//! | [`expression`] | values that follow from others, as programs |
//! | [`isa`] | what is different about instruction sets |
//! | [`layout`] | instance data: what native code finds behind its instance pointer |
//! | [`section`] | the model as the bytes of `.wasm_map` and back |
//! | [`dwarf`] | the model as DWARF 5, for debuggers |
//! | [`unwind`] | call frame information: the frame address, and the caller's registers |
//! | [`locate`] | the value at a location in a frame |
//! | [`check`] | static rules that hold the forms, the code and each other to account |
//!
//! Invariants: nothing here executes Wasm, and only the checker reads a module
//! (it validates it) or decodes machine code; offsets in the module,
//! in the code and addresses in the subject never mix; bytes and stacks that
//! are read here may be hostile and lead to errors, never to panics.
#![forbid(unsafe_code)]

pub mod addr;
pub mod check;
pub mod detour;
pub mod dwarf;
pub mod expression;
pub mod isa;
pub mod layout;
pub mod locate;
pub mod model;
pub mod section;
pub mod unwind;

pub use addr::{CodeOffset, SubjectAddr};
pub use detour::Detour;
pub use expression::{Expression, ExpressionIdx, Input, Step};
pub use isa::Isa;
pub use layout::{InstanceCounts, InstanceLayout};
pub use model::*;
