//! The world outside a module: WASI preview 1, and the log of what it said.
//!
//! A program's only doors to the outside are the functions it imports. Behind
//! them are files, clocks and chance: things that differ from one run to the
//! next and that must not be touched twice for one run. So a host call happens
//! once, here, on the memory of one engine; its results and its writes come back
//! as data for every other engine, and go into an *operation log* from which the
//! same run can be had again.
//!
//! ```text
//!            World::call(module, name, arguments, memory)
//!                      |
//!                dispatch (one table: names, types, handlers)
//!              live /                      \ replay
//!      handler reads memory,         log entry compared with the call,
//!      acts on the system,           its writes taken from the log
//!      writes held back                    |
//!                   \                      /
//!           writes applied to memory, returned as data
//!                   |
//!           entry appended to the log (memory, and file if recording)
//! ```
//!
//! | module | subject |
//! |---|---|
//! | [`memory`] | the guest's memory as a trait |
//! | [`config`] | what a guest is given |
//! | [`world`] | live, recording, replaying |
//! | [`dispatch`] | the 46 functions |
//! | [`errno`], `abi` | numbers and memory layouts of preview 1 |
//! | `call` | one call while it runs: reads noted, writes held back |
//! | `fd`, `system` | descriptors and their rights |
//! | `file`, `attributes`, `readdir`, `path` | files and directories |
//! | `stdio`, `clock`, `poll`, `process` | streams, time, waiting, the rest |
//! | [`state`] | what is open, for another process |
//! | [`log`] | the operation log: model, format on disk, replay |
//!
//! Invariant: knows nothing of any engine, Wasm or native. A guest reaches only
//! the directories it was given, whatever paths and links say. A replay touches
//! no file, clock or random source.
#![forbid(unsafe_code)]

mod abi;
mod attributes;
mod call;
mod cancel;
mod clock;
pub mod config;
pub mod dispatch;
pub mod errno;
pub mod error;
mod fd;
mod file;
pub mod log;
pub mod memory;
mod path;
mod poll;
mod process;
mod readdir;
pub mod state;
mod stdio;
mod system;
pub mod world;

pub use cancel::Cancel;
pub use config::{Output, Stdin, WorldConfig};
pub use dispatch::{function_names, refusal, signature};
pub use errno::Errno;
pub use error::{Difference, HostError, StateError, WorldError};
pub use log::{Entry, LogError, OperationLog, Outcome};
pub use memory::{GuestMemory, MemoryWrite, OutOfBounds};
pub use state::WorldState;
pub use world::{HostReturn, World};
