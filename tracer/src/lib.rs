//! Subject processes: native code, alone in a sandbox, stopped at its traps.
//!
//! The code under verification runs in a process of its own that has nothing
//! but the code and the memory it is meant to use. This crate makes such a
//! process, halts it at trap instructions, shows and changes its registers,
//! plants and removes traps, and sees to it that it never outlives wdiff. What
//! the stops and the bytes *mean* is none of its business: it decodes neither
//! Wasm nor maps.
//!
//! ```text
//!            wdiff                                        subject
//!   .-----------------------.    ptrace: CONT,     .------------------------.
//!   | Subject               |--- GETREGS, SETREGS->| registers              |
//!   |   regs(), vectors()   |<-- wait: SIGTRAP, ---|                        |
//!   |   resume() -> Stop    |    SIGSEGV, SIGSYS.. | no system calls (every |
//!   |                       |                      |   one is a SIGSYS stop)|
//!   | Interrupter           |--- pidfd: SIGURG --->| no descriptors, no     |
//!   |   (any thread)        |                      |   environment, no vdso |
//!   |                       |                      |                        |
//!   | Text       rw-  - - - - - image memfd - - - - -> r-x  gadgets, .text  |
//!   | SharedRegion rw-  - - - - region memfd  - - - -> rw-  data, memories, |
//!   |   (holds the file:    |   (its size is what  |        tables, stack   |
//!   |    resize() = grow)   |    may be touched)   |                        |
//!   '-----------------------'                      '------------------------'
//! ```
//!
//! - [`spawn`](Subject::spawn) makes the process: `spawn` forks and executes
//!   the image, `inject` has it make its last system calls.
//! - `subject` runs it from stop to stop and names what halted it.
//! - `region` and `text` are the two kinds of shared memory. A page is never
//!   writable and executable in one process.
//! - `displace` makes what is executed instead of an instruction under a trap.
//! - `interrupt` halts a running subject from any thread.
//! - `remote` has qemu run code of other instruction sets, and asks its stub for
//!   stops and registers instead of the kernel.
//!
//! Invariant: memory shared with the subject is hostile. It is copied in and
//! out with bounds checks; no reference into it exists anywhere.
//!
//! Invariant: the subject changes memory only inside [`Subject::resume`] and
//! [`Subject::step`]; whenever other code of wdiff's runs, it is halted.

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
compile_error!("native subjects need Linux on x86-64: build wdiff there");

mod displace;
mod error;
mod inject;
mod interrupt;
mod mapping;
mod maps;
mod pin;
mod region;
mod regs;
mod remote;
mod spawn;
mod subject;
mod sys;
mod text;

pub use displace::DisplaceError;
pub use error::TracerError;
pub use interrupt::Interrupter;
pub use mapping::OutOfRegion;
pub use pin::Pin;
pub use region::{RegionId, RegionSpec, SharedRegion};
pub use regs::{Regs, VectorRegs};
pub use remote::RemoteError;
pub use spawn::SubjectConfig;
pub use subject::{FaultSignal, Stop, Subject};
pub use text::Text;
