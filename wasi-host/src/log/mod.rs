//! The operation log: what the world answered, so that a run can be repeated
//! without it.
//!
//! Problem: a file, a clock or a random number is not the same twice, and a
//! side effect must not happen twice. Idea: for every host call the log keeps
//! what the call was (function, arguments, and what the host read of the guest's
//! memory) and what came of it (results, bytes written into the guest's memory,
//! bytes that went to standard output and error). A replay compares the first
//! half with the program's call and answers with the second, touching nothing
//! outside.
//!
//! `format` is the log on disk, `replay` the comparison. A log in memory
//! shares its entries when it is cloned.

mod format;
mod hex;
mod replay;

use std::io;
use std::sync::Arc;

use thiserror::Error;
use wasm_view::Value;

use crate::dispatch::Function;
use crate::memory::MemoryWrite;

pub(crate) use format::Writer;
pub(crate) use replay::Replayer;

/// What came of a host call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The function returned these values.
    Return(Vec<Value>),
    /// The program asked to end with this code.
    Exit(u32),
}

/// A standard stream that a guest writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A range of guest memory that the host read during a call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MemoryRead {
    /// First byte.
    pub address: u64,
    /// Number of bytes.
    pub length: u64,
    /// What was there.
    pub content: Content,
}

/// The bytes of a range: kept, or digested when there are many.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    /// The bytes themselves.
    Bytes(Vec<u8>),
    /// Their SHA-256.
    Sha256([u8; 32]),
}

impl Content {
    /// Most bytes that are kept rather than digested.
    pub const KEPT: usize = 64;
}

/// Guest memory whose bytes went to a standard stream. The bytes are not kept:
/// a replay takes them from the guest, which it has found to hold the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Emitted {
    /// Where they went.
    pub stream: Stream,
    /// First byte.
    pub address: u64,
    /// Number of bytes.
    pub length: u64,
}

/// One host call.
#[derive(Clone, Debug)]
pub struct Entry {
    pub(crate) module: &'static str,
    pub(crate) function: &'static Function,
    /// The arguments.
    pub args: Vec<Value>,
    /// What the host read of the guest's memory, in order.
    pub reads: Vec<MemoryRead>,
    /// What came of it.
    pub outcome: Outcome,
    /// What the host wrote into the guest's memory, in order.
    pub writes: Vec<MemoryWrite>,
    /// What went to standard output and error, in order.
    pub emitted: Vec<Emitted>,
}

impl Entry {
    /// The module name under which the function was imported.
    pub fn module(&self) -> &'static str {
        self.module
    }

    /// The function's name.
    pub fn function(&self) -> &'static str {
        self.function.name
    }
}

/// All host calls of a run, or of its beginning.
#[derive(Clone, Debug, Default)]
pub struct OperationLog {
    module_sha256: Option<[u8; 32]>,
    entries: Vec<Arc<Entry>>,
}

impl OperationLog {
    /// Version of the format on disk.
    pub const VERSION: u32 = 1;

    pub(crate) fn new(module_sha256: Option<[u8; 32]>) -> OperationLog {
        OperationLog { module_sha256, entries: Vec::new() }
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        self.entries.push(Arc::new(entry));
    }

    /// Reads a log. The text may come from anywhere: every entry is checked
    /// against the signatures of the host functions.
    ///
    /// # Errors
    /// The text cannot be read or is not a log; the line is named.
    pub fn read(input: impl io::BufRead) -> Result<OperationLog, LogError> {
        format::read(input)
    }

    /// Writes the log in the form that [`OperationLog::read`] reads.
    ///
    /// # Errors
    /// Those of `output`.
    pub fn write(&self, output: impl io::Write) -> io::Result<()> {
        let mut writer = Writer::new(output, self.module_sha256)?;
        self.entries.iter().try_for_each(|entry| writer.entry(entry))
    }

    /// SHA-256 of the module whose run this is, where known.
    pub fn module_sha256(&self) -> Option<[u8; 32]> {
        self.module_sha256
    }

    /// Refuses the log of another module. A log that names no module fits all.
    ///
    /// # Errors
    /// [`LogError::OtherModule`].
    pub fn check_module(&self, sha256: &[u8; 32]) -> Result<(), LogError> {
        match &self.module_sha256 {
            Some(logged) if logged != sha256 => Err(LogError::OtherModule {
                logged: hex::encode(logged),
                given: hex::encode(sha256),
            }),
            _ => Ok(()),
        }
    }

    /// The calls in order.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.entries.iter().map(AsRef::as_ref)
    }

    /// Call number `index`.
    pub fn get(&self, index: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(index).ok()?).map(AsRef::as_ref)
    }

    /// The log as it was after so many calls.
    pub fn first(&self, calls: u64) -> OperationLog {
        let count = usize::try_from(calls).unwrap_or(usize::MAX).min(self.entries.len());
        let entries = self.entries[..count].to_vec();
        OperationLog { module_sha256: self.module_sha256, entries }
    }

    /// Number of calls.
    pub fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Whether there is no call in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// A log cannot be used.
#[derive(Debug, Error)]
pub enum LogError {
    /// It cannot be read.
    #[error("cannot read line {line} of the operation log: {source}")]
    Io {
        /// Number of the line, from 1.
        line: u64,
        /// Why not.
        source: io::Error,
    },
    /// A line is longer than any that is written.
    #[error("line {line} of the operation log is too long")]
    TooLong {
        /// Number of the line, from 1.
        line: u64,
    },
    /// A line is not what the format demands.
    #[error("line {line} of the operation log: {what}")]
    Malformed {
        /// Number of the line, from 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
    /// The log has another version than this program's.
    #[error("the operation log has version {found}, this program reads version {known}")]
    Version {
        /// The log's version.
        found: u64,
        /// The version that is read and written.
        known: u32,
    },
    /// The log is of another module's run.
    #[error("the operation log is of module {logged}, not of {given}")]
    OtherModule {
        /// SHA-256 in the log, hexadecimal.
        logged: String,
        /// SHA-256 of the module given, hexadecimal.
        given: String,
    },
}
