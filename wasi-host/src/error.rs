//! What can go wrong, by whose fault.
//!
//! An error number that the guest gets is none of these: it is a result. A
//! [`WorldError`] is a configuration that cannot be had. A [`HostError`] ends
//! the run: the call cannot be served, or a replayed program does something
//! else than the recorded one.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// The world cannot be set up as asked.
#[derive(Debug, Error)]
pub enum WorldError {
    /// A directory to hand to the guest cannot be opened.
    #[error("cannot open directory {}: {source}", path.display())]
    Directory {
        /// The host's path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What should be handed to the guest as a directory is none.
    #[error("{} is not a directory", path.display())]
    NotADirectory {
        /// The host's path.
        path: PathBuf,
    },
    /// There are more directories than descriptors.
    #[error("more directories than a guest can have descriptors ({most})")]
    TooManyDirectories {
        /// Most descriptors a guest can have.
        most: usize,
    },
    /// The file for standard input cannot be opened.
    #[error("cannot open {} for standard input: {source}", path.display())]
    Stdin {
        /// The host's path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A string that a guest gets ends at a NUL byte, so it may hold none.
    #[error("{what} {text:?} contains a NUL byte")]
    NulByte {
        /// "argument", "environment variable" or "directory name".
        what: &'static str,
        /// The string.
        text: String,
    },
    /// The name of an environment variable is empty or contains `=`.
    #[error("{name:?} cannot name an environment variable")]
    VariableName {
        /// The name.
        name: String,
    },
    /// The operation log's header cannot be written.
    #[error("cannot write the operation log: {0}")]
    Log(#[source] io::Error),
}

/// A host call cannot be served; the run is over.
#[derive(Debug, Error)]
pub enum HostError {
    /// Replay: this call is not the one in the log. The first host call that
    /// differs is the one at `index`.
    #[error("host call {index} differs from the log in {what}: expected {expected}, got {actual}")]
    Diverged {
        /// Number of the call, from 0.
        index: u64,
        /// What the log says.
        expected: String,
        /// What the program did.
        actual: String,
        /// Which part of the call differs.
        what: Difference,
    },
    /// Replay: the program calls the host once more than the recorded one did.
    #[error("host call {index} ({function}) is beyond the end of the log")]
    LogExhausted {
        /// Number of the call, from 0; also the number of calls in the log.
        index: u64,
        /// The function called.
        function: String,
    },
    /// Replay: the log's entry does not fit this program's memory.
    #[error("the log's entry {index} cannot be applied: {what}")]
    BadEntry {
        /// Number of the call, from 0.
        index: u64,
        /// What does not fit.
        what: String,
    },
    /// The call was waiting when somebody used the [`Cancel`](crate::Cancel).
    #[error("the call was waiting and was given up")]
    Cancelled,
    /// This host does not offer the function.
    #[error("host function {name} is not supported: {why}")]
    Unsupported {
        /// Module and name, joined by a dot.
        name: String,
        /// Why not.
        why: String,
    },
    /// The caller handed over arguments that do not fit the signature.
    #[error("host function {name} has type {expected}, called with ({actual})")]
    Arguments {
        /// Module and name, joined by a dot.
        name: String,
        /// The function's type.
        expected: String,
        /// The types of the arguments.
        actual: String,
    },
    /// The guest's memory refused a write within its own bounds.
    #[error("host call {index}: {source}")]
    Memory {
        /// Number of the call, from 0.
        index: u64,
        /// What it refused.
        source: crate::OutOfBounds,
    },
    /// The operation log cannot be written, or output cannot be re-emitted.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

/// The part of a host call in which a replayed program differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Another function is called.
    Function,
    /// An argument has another value.
    Argument {
        /// Its index, from 0.
        index: usize,
    },
    /// Guest memory that the host reads holds other bytes.
    Memory {
        /// First byte of the range read.
        address: u64,
        /// Bytes in the range.
        length: u64,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Function => f.write_str("the function called"),
            Difference::Argument { index } => write!(f, "argument {index}"),
            Difference::Memory { address, length } => {
                write!(f, "the {length} bytes of guest memory at {address:#x}")
            }
        }
    }
}
