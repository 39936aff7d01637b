//! The programs that `wdiff` is tried on, what each of them must do, and
//! generators of bad and of bulky input.
//!
//! ```text
//! programs/NAME/   source (.c or .wat), the built .wasm, expected stdout
//! programs/traps/  one tiny program for each way to trap
//! manifest.json    how each was built, how it is run, what must come out
//! scripts/         input for third-party programs, and what must come out
//! recipes/         how third-party programs are built
//! ```
//!
//! [`manifest`] lists the programs, [`mutants`] damages a module in
//! reproducible ways, [`altered`] makes valid modules of valid ones,
//! [`pressure()`] modules with many live values, [`text()`] compressible text of
//! any length.
//!
//! Invariant: nothing here depends on time, on the machine or on a source of
//! randomness; the same seed gives the same bytes everywhere.
#![forbid(unsafe_code)]

mod alter;
pub mod mutate;
mod pressure;
mod program;
mod rng;
mod sections;
mod text;

pub use alter::altered;
pub use mutate::{Mutant, Mutants, Mutation, mutants};
pub use pressure::pressure;
pub use program::{
    CorpusError, Dir, Expected, Invoke, Program, manifest, parse_manifest, path, program, quick,
};
pub use rng::SplitMix64;
pub use text::text;
