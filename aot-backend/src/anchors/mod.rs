//! Where execution can be halted for each boundary.
//!
//! With traps in the code the compiler's tags say it ([`Tags`]). In code as it
//! ships there are no traps, and an anchor is an instruction of which it is
//! *proven*, from the control flow of the final bytes, that it is executed
//! exactly when the Wasm execution is at the boundary. The rule:
//!
//! 1. *Marks.* Some native instructions do what only one Wasm instruction does
//!    and no compiler may do at another time, twice or not at all: the call of
//!    a call instruction, an access that may fault, a write outside the frame,
//!    the jump of a conditional branch, the return of a function with a single
//!    way out. Such an instruction, found by its entry in the compiler's tables
//!    *and* by what it is, marks its boundary. Of several the first counts.
//! 2. *Runs.* Native instructions that are always executed one after the other,
//!    traps aside, form a run; boundaries that always follow each other form a
//!    *chain*. If a run has a mark of a chain, then all of the run is executed
//!    when that chain is, and each boundary of the chain may have any
//!    instruction of the run for its anchor, as long as the order of the anchors
//!    in the run is that of the boundaries in the chain and no mark lies
//!    otherwise. Those take the place that the source locations say.
//! 3. *Check.* From every anchor the native code is followed to the next ones,
//!    and the Wasm to the next anchored boundaries. What the native code
//!    reaches, the Wasm must; a trap or a mark on the way must be that of a
//!    boundary on the way; the function returns only where the Wasm does. Jumps that were
//!    threaded through blocks, code that was moved, and marks that are not what
//!    they seem contradict that, and the anchors concerned are given up, those
//!    of rule 2 first, until nothing does.
//!
//! An anchor is always the first instruction with a source location, where the
//! register allocator's ranges are exact.

mod check;
mod choose;
mod facts;
mod native;
mod scopes;
mod sunk;
mod tags;
#[cfg(test)]
mod tests;
mod wasm;

pub(crate) use choose::Found;
pub(crate) use facts::find;
pub(crate) use sunk::locate;
pub(crate) use tags::{Tags, next_ahead, trap_after};
pub(crate) use wasm::Graph;
