//! What can go wrong, with the system's reason and what to do about it.
//!
//! A subject that misbehaves is no error but a [`Stop`](crate::Stop). Errors
//! are what keeps wdiff from running it at all: a host that forbids a call, an
//! image or region that cannot be, or a subject that is no more.

use crate::mapping::OutOfRegion;
use nix::errno::Errno;

/// Why the tracer could not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum TracerError {
    /// The image does not look as the configuration says.
    #[error("the image cannot be run: {0}")]
    Image(String),

    /// A region cannot be shared with the subject.
    #[error("region `{name}` at {address:#x}: {problem}")]
    Region {
        /// The region's name.
        name: String,
        /// Its address in the subject.
        address: u64,
        /// What is wrong with it.
        problem: String,
    },

    /// The calling thread cannot run on the CPU asked for.
    #[error("cannot run the subject on CPU {cpu}: {problem}")]
    Cpu {
        /// The CPU's number.
        cpu: usize,
        /// Why not.
        problem: String,
    },

    /// A system call of wdiff's own failed.
    #[error("{call}: {errno}{hint}", hint = tail(.hint))]
    Host {
        /// What was tried.
        call: &'static str,
        /// The system's answer.
        errno: Errno,
        /// What to do about it; may be empty.
        hint: &'static str,
    },

    /// The new process could not become the subject.
    #[error("starting the subject: {call}: {errno}{hint}", hint = tail(.hint))]
    Start {
        /// What the new process tried.
        call: &'static str,
        /// The system's answer.
        errno: Errno,
        /// What to do about it; may be empty.
        hint: &'static str,
    },

    /// A system call that the subject was made to do failed.
    #[error("setting up the subject: {call}: {errno}{hint}", hint = tail(.hint))]
    Setup {
        /// The call.
        call: String,
        /// The system's answer.
        errno: Errno,
        /// What to do about it; may be empty.
        hint: &'static str,
    },

    /// The subject halted where it should not have while being set up.
    #[error("setting up the subject: expected {expected}, got {found}")]
    UnexpectedStop {
        /// What should have happened.
        expected: &'static str,
        /// What did.
        found: String,
    },

    /// The emulator of another instruction set's code cannot be used, or not any more.
    #[error("{program}: {problem}")]
    Emulator {
        /// The emulator.
        program: &'static str,
        /// Why not.
        problem: String,
    },

    /// The emulator does not do what it was asked.
    #[error(transparent)]
    Remote(#[from] crate::remote::RemoteError),

    /// Something that only native subjects can do.
    #[error("an emulated subject cannot be {0}")]
    NotEmulated(&'static str),

    /// After set-up the subject has more than it should.
    #[error("the subject's sandbox is not tight: {0}")]
    NotTight(String),

    /// The subject has ended, so it can be neither resumed nor asked.
    #[error("the subject has ended")]
    Ended,

    /// The subject ended and somebody else took its exit status.
    #[error(
        "the subject ended, but another part of this process, which waits for any child, took its exit status"
    )]
    Unwaited,

    /// A region cannot grow to this size.
    #[error("region `{name}` cannot have {asked:#x} bytes: {problem}")]
    Resize {
        /// The region's name.
        name: String,
        /// The size asked for, in bytes.
        asked: u64,
        /// Why not.
        problem: String,
    },

    /// No trap can be put over an instruction.
    #[error("halting at {pc}: {problem}")]
    Plant {
        /// The instruction.
        pc: dwarf_map::SubjectAddr,
        /// Why not.
        problem: crate::displace::DisplaceError,
    },

    /// An access outside a region or outside `.text`.
    #[error(transparent)]
    OutOfRegion(#[from] OutOfRegion),
}

/// A hint as the tail of a message.
fn tail(hint: &str) -> String {
    if hint.is_empty() { String::new() } else { format!(" ({hint})") }
}
