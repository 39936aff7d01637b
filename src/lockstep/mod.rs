//! The subject beside the oracle: wdiff's central relation.
//!
//! ```text
//!            step()                            resume()
//!   oracle ---------> event          subject ----------> stop
//!      |                |                                  |
//!      |                '-------- must be the same --------'
//!      |                                                   |
//!      '- locals, operands, writes  ==  what the map finds in
//!         globals, tables               registers and shared memory
//! ```
//!
//! Both sides stand at the same boundary. The oracle executes one instruction,
//! which yields an *event*: the next boundary, a host call, a trap, the end.
//! The subject is resumed until it halts, which yields a *stop*. The relation
//! holds when
//!
//! 1. event and stop are of the same kind and name the same boundary, host
//!    function or trap ([`follow`]);
//! 2. at a boundary, each slot that the map locates has the oracle's bits, or
//!    bits that the specification allows there and the oracle adopts, and the
//!    bytes, table elements and globals that the oracle wrote since the last
//!    stop are the same in the subject ([`compare`]);
//! 3. on entry to a function, its return address is the call site's, the frame
//!    lies where the caller's frame size says, and the suspended caller's
//!    slots hold what the oracle's do ([`frames`]);
//! 4. what the code asks its host or its kernel for is the same, with the same
//!    arguments ([`thunks`]);
//! 5. at host calls and at the end, whole memories, tables and globals agree,
//!    and which segments are dropped.
//!
//! What stable points promise besides is looked at in [`stable`]; how a program
//! is handed from one subject to the next there, in [`handover`].
//! Runs that stop at some boundaries only are the business of [`sparse`], code
//! without traps that of [`shipped`], bits that are open there that of [`open`] and
//! [`settle`].
//!
//! The first time it does not hold is the divergence. What AOT code asks its
//! kernel for is served by [`kernel`], exceptions by [`throw`]; where everything lies
//! in the subject is decided in [`space`] for the instances of a [`blueprint`];
//! [`plan`] turns the map into what the loop reads.

pub mod blueprint;
pub mod compare;
pub mod entry;
pub mod faults;
pub mod finding;
pub mod follow;
pub mod frames;
pub mod handover;
pub mod instantiate;
pub mod kernel;
pub mod nan;
pub mod open;
pub mod plan;
pub mod settle;
pub mod shipped;
pub mod space;
pub mod sparse;
pub mod stable;
pub mod stats;
pub mod stops;
mod store;
pub mod throw;
pub mod thunks;

pub use finding::Finding;
pub use follow::{Ending, Lockstep};
