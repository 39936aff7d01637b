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

/// What a program has open cannot be carried to another process, or not be had
/// there.
#[derive(Debug, Error)]
pub enum StateError {
    /// A file that no directory leads to any more.
    #[error("descriptor {fd} is a file that was deleted; nothing leads to it in another process")]
    Deleted {
        /// The descriptor.
        fd: u32,
    },
    /// A file outside of the directories that the guest was given, or that is no
    /// longer where it was opened.
    #[error("descriptor {fd} is {}, which no directory of the guest's leads to", path.display())]
    OutOfReach {
        /// The descriptor.
        fd: u32,
        /// Where the host has it.
        path: PathBuf,
    },
    /// Neither a file nor a directory.
    #[error("descriptor {fd} is neither a file nor a directory; it cannot be opened again")]
    Special {
        /// The descriptor.
        fd: u32,
    },
    /// A name that is not UTF-8, in a listing that is being read.
    #[error("descriptor {fd} is a directory being listed, with a name that is not UTF-8")]
    Listing {
        /// The descriptor.
        fd: u32,
    },
    /// The host refuses.
    #[error("{}: {source}", fd.map_or("the directories".to_owned(), |fd| format!("descriptor {fd}")))]
    Host {
        /// The descriptor, if it is one's.
        fd: Option<u32>,
        /// Why.
        source: io::Error,
    },
    /// A directory that is not given here.
    #[error(
        "the program has the directory {guest}, which is not given here; add --dir HOST::{guest}"
    )]
    Directory {
        /// The guest's name.
        guest: String,
    },
    /// A descriptor below a directory that the state does not have.
    #[error("descriptor {fd} lies in a directory that is not named")]
    NoDirectory {
        /// The descriptor.
        fd: u32,
    },
    /// A file that cannot be opened again.
    #[error("descriptor {fd}, {path}, cannot be opened again: {errno}")]
    Open {
        /// The descriptor.
        fd: u32,
        /// The guest's path.
        path: String,
        /// Why not.
        errno: String,
    },
    /// A file that is another one now.
    #[error("descriptor {fd}, {path}, had {was} bytes; {}", is.map_or("it is no file now".to_owned(), |is| format!("now it has {is}")))]
    Changed {
        /// The descriptor.
        fd: u32,
        /// The guest's path.
        path: String,
        /// Bytes then.
        was: u64,
        /// Bytes now; `None` if it is no file.
        is: Option<u64>,
    },
    /// Standard input was a file and is none here.
    #[error(
        "standard input was a file, read up to byte {offset}; it cannot be positioned here: name the file with --stdin"
    )]
    Stdin {
        /// Where it stood.
        offset: u64,
    },
    /// A second descriptor of standard input.
    #[error("descriptor {fd} is standard input once more")]
    Input {
        /// The descriptor.
        fd: u32,
    },
    /// Rights or flags that do not exist.
    #[error("descriptor {fd} has rights or flags that do not exist")]
    Rights {
        /// The descriptor.
        fd: u32,
    },
    /// More descriptors than a guest can have.
    #[error("more than {most} descriptors")]
    TooMany {
        /// Most that there can be.
        most: usize,
    },
    /// Descriptors out of order, or one twice.
    #[error("descriptors that are not in order")]
    Order,
    /// A string with a NUL byte.
    #[error("an argument or environment variable with a NUL byte")]
    NulByte,
    /// Bytes that are no state.
    #[error("not the state of a world: {0}")]
    NotAState(#[source] serde_json::Error),
    /// The directories and streams cannot be had.
    #[error(transparent)]
    World(#[from] WorldError),
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
