//! A WebAssembly interpreter that can be stopped at every instruction.
//!
//! It is what compiled code is compared with, so it is exact first and fast
//! second: one operation per Wasm instruction, nothing fused or reordered,
//! every freedom that the specification leaves reported instead of silently
//! decided.
//!
//! ```text
//!  bytes --decode--> Module (ops, offsets, stack shapes) --instantiate--> Oracle
//!                        |                                  | step, run(StopSet)
//!                        `--> Liveness                      v
//!                                          Event: Boundary, HostCall, Finished, ..
//! ```
//!
//! | module | subject |
//! |---|---|
//! | `decode` | validation and translation of the binary format |
//! | [`Module`] | the result: types, names, boundaries and their static types |
//! | [`Oracle`] | store and stack; [`Oracle::step`], [`Oracle::run`] |
//! | [`StopSet`] | where `run` stops |
//! | [`Observer`] | what wants to see every instruction that `run_observed` executes |
//! | [`choice`] | what the specification leaves open |
//! | [`liveness`] | which slots matter at a boundary |
//! | `script` | scripts of the specification's suite, with feature `script` |
//! | [`exercise`] | arbitrary bytes, executed: the logic of a fuzz target |
//! | [`selfcheck`] | the interpreter's own invariants, checked from outside |
//!
//! Invariant: knows nothing of native code.
#![forbid(unsafe_code)]

pub mod choice;
mod decode;
mod error;
pub mod exercise;
mod heap;
mod instantiate;
pub mod liveness;
mod mnemonic;
mod module;
mod numeric;
mod objects;
mod op;
mod oracle;
mod rare;
mod routes;
#[cfg(feature = "script")]
pub mod script;
pub mod selfcheck;
mod shapes;
mod simd;
mod stops;
mod store;
mod types;
mod writes;

pub use choice::{Choice, ChoiceKind, VectorChoice};
pub use error::{
    AdoptError, CallError, DecodeError, HostAccessError, ImportMismatch, InstantiateError,
};
pub use instantiate::Extern;
pub use liveness::Liveness;
pub use module::{Export, ExportKind, Function, Import, ImportKind, Module};
pub use oracle::{
    At, Event, FrameView, HostCall, Limits, LoadError, Observer, Oracle, Thrown, Top,
};
pub use stops::StopSet;
pub use store::Instance;
pub use types::{CompositeType, DefinedType, FieldType, StorageType};
