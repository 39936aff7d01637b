//! An independent witness for the oracle: Wasmtime's guest debugger, single
//! stepped over the same module, its Wasm state compared at every stop.
//!
//! What compiled code is compared with must itself be right, and the
//! specification's suite only looks at results. Wasmtime's guest debugging
//! keeps every local and operand in memory at every instruction, computed by a
//! decoder, a translator and a code generator that share nothing with the
//! oracle (nor with wdiff's own backend but the code generator). Two
//! implementations that agree on every value of every instruction of
//! thousands of generated modules leave little room for a common error.
//!
//! ```text
//!   smith / corpus / caller ---- module, calls
//!                                  |
//!                         run: compare()
//!                        /                \
//!    Wasmtime, a stop before each       Oracle, Oracle::step
//!    instruction ---- stop: DebugHandler ---+
//!                      |  advance, settle choices, compare
//!                      v
//!            lockstep: Session ---> Outcome: counts, passed, not compared, Difference
//! ```
//!
//! | module | subject |
//! |---|---|
//! | [`engine`] | Wasmtime's configuration |
//! | [`run`] | one module: instantiation, start function, calls |
//! | `lockstep` | the two sides and how they advance together |
//! | `state` | comparison of frames, globals, memories, tables |
//! | `host` | imported functions, called once and mirrored |
//! | `imports` | imported memories, tables and globals, from a module made for them |
//! | `copies` | operands that only Wasmtime's stack has |
//! | `value` | values of one side as values of the other |
//! | [`smith`] | generated modules |
//! | [`programs`] | files and the corpus |
//! | [`outcome`] | what was found, compared, and not compared |
//!
//! # Positions
//! Wasmtime names a stop by a *module PC*: the byte offset of the instruction
//! in the module file that is about to be executed. That is exactly
//! [`wasm_view::WasmOffset`]; no adjustment is needed. Function indices count
//! the functions that the module defines; adding the imported ones gives
//! [`wasm_view::FuncIdx`].
//!
//! A frame that waits for a callee is named by its call in the oracle, by the
//! instruction behind the call in Wasmtime.
//!
//! Wasmtime stops before every instruction, except that an `if` without `else`
//! whose condition is false continues behind its `end`, which the oracle passes.
//! [`PASSABLE`] lists what the oracle may execute without a stop of Wasmtime's:
//! it has no effect on any state, and is counted by name. Anything else is a
//! difference.
//!
//! Invariant: nothing is skipped silently. What could not be compared is
//! counted under a name in [`Outcome::not_compared`], what was refused in
//! `refused` there.
//!
//! # What is not looked into
//! - Structures, arrays and exceptions: that there is one where the other side
//!   has one is compared, not its type, nor its fields, nor its identity.
//!   Wasmtime would answer (`StructRef::field`, `ArrayRef::get`,
//!   `ExnRef::field`, on a reference found in a frame); nothing here asks yet.
//!   What a program reads out of them is an operand and compared as that.
//! - Bytes of shared memories: `SharedMemory::data` gives cells that only
//!   `unsafe` code can read. Their sizes and what is loaded are compared.
//! - A reference that `any.convert_extern` or its inverse made: Wasmtime lists
//!   it with the type that it had before. Null is told from others.
#![forbid(unsafe_code)]

mod copies;
pub mod engine;
mod host;
mod imports;
mod lockstep;
pub mod outcome;
pub mod programs;
pub mod run;
pub mod smith;
mod state;
mod value;

pub use lockstep::PASSABLE;
pub use outcome::{Counts, Difference, Outcome, Place};
pub use run::{Invocation, Options, Perturbation, Wasi, compare};
