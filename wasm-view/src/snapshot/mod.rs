//! Snapshots: a whole program between two processes, as a file.
//!
//! A checkpoint is worth something only if another compiler, another
//! instruction set or another tool can go on from it. So a snapshot is the Wasm
//! view and nothing native: frames with typed slots, the store, and what the
//! world outside has to remember. It is a sequence of *records*, each with its
//! kind, length and checksum, so that it can be written and read as a stream
//! and a reader knows at once what it does not understand. Its layout is
//! described in `docs/snapshot.md`.
//!
//! ```text
//!   header | PROG | INST .. | MEMO PAGE .. | TABL | GLOB | TAGS | HEAP | FRAM | .. | END!
//! ```
//! Memory is cut into chunks; pages that are all zero are left out and the rest
//! is compressed. All numbers are little-endian or LEB128, whatever the machine.
//!
//! Nothing in a file is trusted: [`read()`] refuses what is damaged, cut short,
//! too large or of another version, by name, and what it returns has the right
//! *shape* only. Whether it fits a module is found out by whoever loads it.
//!
//! Invariant: [`read()`] of what [`write()`] wrote is equal to what was written.

mod read;
mod write;

pub use read::read;
pub use write::write;

use crate::{FuncAddr, StoreView, Value};

/// First bytes of every snapshot.
pub const MAGIC: [u8; 8] = *b"\x7fwdiffsn";

/// Version of the format. A reader knows one.
pub const VERSION: u32 = 1;

/// Bytes of linear memory in one record, at most.
pub const CHUNK: usize = 1 << 20;

/// Bytes that are left out together when all of them are 0.
pub const PAGE: usize = 4096;

/// A program that was halted.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Who took it, for people: `x86_64:speed`, `oracle`.
    pub taken_by: String,
    /// SHA-256 of each instance's module file.
    pub modules: Vec<[u8; 32]>,
    /// Store and frames. Slots that are dead hold the default of their type.
    pub store: StoreView,
    /// Of each frame, which of its slots (locals, then operands) are dead: they
    /// are not carried.
    pub dead: Vec<Vec<bool>>,
    /// Functions that are to be called when the present call has returned, with
    /// their arguments: a command's `_start` after a module's start function.
    pub next: Vec<(FuncAddr, Vec<Value>)>,
    /// Calls of host functions that were answered before: the position in the
    /// operation log.
    pub host_calls: u64,
    /// State of the host, in its own format; empty if there is none.
    pub host: Vec<u8>,
}

/// Why bytes are not a snapshot that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Another kind of file.
    #[error("not a snapshot: it does not begin with the magic number of one")]
    NotASnapshot,
    /// A version that this reader does not know.
    #[error("format version {0}; this reader knows version {VERSION}")]
    Version(u32),
    /// It ends too early.
    #[error("cut short at byte {at}: {what} is missing")]
    Truncated {
        /// Offset in the file.
        at: usize,
        /// What should be there.
        what: &'static str,
    },
    /// A record whose checksum does not fit.
    #[error("record {kind} at byte {at} is damaged: its checksum is another")]
    Damaged {
        /// Its kind.
        kind: String,
        /// Offset in the file.
        at: usize,
    },
    /// A record of something that only other readers understand.
    #[error("record {kind} at byte {at} holds {what}, which this version cannot restore")]
    Unsupported {
        /// Its kind.
        kind: String,
        /// Offset in the file.
        at: usize,
        /// What it is for.
        what: &'static str,
    },
    /// A record whose contents make no sense.
    #[error("record {kind} at byte {at}: {what}")]
    Malformed {
        /// Its kind.
        kind: String,
        /// Offset in the file.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// More than the reader was asked to accept.
    #[error("memories of more than {0} bytes")]
    TooLarge(u64),
}

/// Kinds of records, four letters each.
pub(crate) mod kind {
    pub const PROGRAM: [u8; 4] = *b"PROG";
    pub const INSTANCE: [u8; 4] = *b"INST";
    pub const MEMORY: [u8; 4] = *b"MEMO";
    pub const PAGES: [u8; 4] = *b"PAGE";
    pub const TABLE: [u8; 4] = *b"TABL";
    pub const GLOBALS: [u8; 4] = *b"GLOB";
    pub const TAGS: [u8; 4] = *b"TAGS";
    pub const HEAP: [u8; 4] = *b"HEAP";
    pub const FRAME: [u8; 4] = *b"FRAM";
    pub const CAUGHT: [u8; 4] = *b"CAUG";
    pub const HOST_CALL: [u8; 4] = *b"CALL";
    pub const NEXT: [u8; 4] = *b"NEXT";
    pub const HOST: [u8; 4] = *b"HOST";
    pub const END: [u8; 4] = *b"END!";

    /// Kinds that are set aside for what nothing here can restore yet.
    pub const RESERVED: &[([u8; 4], &str)] = &[
        (*b"SOCK", "sockets"),
        (*b"THRD", "threads"),
        (*b"WAIT", "queues of waiting threads"),
        (*b"IPC ", "channels between processes"),
    ];
}

/// Bytes before the first record.
pub(crate) const HEADER: usize = 16;
/// Bytes of a record before its payload: kind, flags, stored length, length
/// when unpacked, CRC-32 of these and of the payload as it is stored.
pub(crate) const RECORD: usize = 20;
/// Flag of a record whose payload is a Zstandard frame (RFC 8878).
pub(crate) const COMPRESSED: u32 = 1;

/// Tags of values and types. Types are those of the binary format of
/// WebAssembly (core spec, "Types").
pub(crate) mod tag {
    pub const I32: u8 = 0x7f;
    pub const I64: u8 = 0x7e;
    pub const F32: u8 = 0x7d;
    pub const F64: u8 = 0x7c;
    pub const V128: u8 = 0x7b;
    pub const NON_NULL: u8 = 0x64;
    pub const NULLABLE: u8 = 0x63;
    pub const FUNC: u8 = 0x70;
    pub const EXTERN: u8 = 0x6f;
    pub const ANY: u8 = 0x6e;
    pub const EQ: u8 = 0x6d;
    pub const I31: u8 = 0x6c;
    pub const STRUCT: u8 = 0x6b;
    pub const ARRAY: u8 = 0x6a;
    pub const EXN: u8 = 0x69;
    pub const NO_FUNC: u8 = 0x73;
    pub const NO_EXTERN: u8 = 0x72;
    pub const NONE: u8 = 0x71;
    pub const NO_EXN: u8 = 0x74;
    pub const CONCRETE: u8 = 0x40;
    /// Behind the tag of a reference: what it refers to.
    pub const NULL: u8 = 0;
    pub const FUNCTION: u8 = 1;
    pub const HOST: u8 = 2;
    pub const UNBOXED: u8 = 3;
    pub const OBJECT: u8 = 4;
    pub const EXCEPTION: u8 = 5;
}

#[cfg(test)]
mod tests;
