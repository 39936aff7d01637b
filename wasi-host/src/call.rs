//! One host call while it runs: its arguments, and the only way to the guest's
//! memory.
//!
//! Problem: a call must be replayable, and must not half-happen when a pointer
//! is bad. Idea: a handler reads the memory as it was when the call began, and
//! what it writes is held back until it has succeeded. Every read is noted with
//! its bytes or their digest, so the log knows what the host looked at; every
//! held-back write has been checked against the memory's size, so applying them
//! cannot fail halfway. A handler checks the places for its results before it
//! touches the world.

use sha2::{Digest, Sha256};
use wasm_view::Value;

use crate::abi::{self, IOVEC};
use crate::errno::Errno;
use crate::log::{Content, Emitted, MemoryRead, Stream};
use crate::memory::{GuestMemory, MemoryWrite, holds};

/// Most bytes that one call moves between guest and world. What is more than
/// this is a short read or a short write, which preview 1 allows.
pub(crate) const MAX_TRANSFER: u32 = 64 << 20;

/// Most vectors with bytes in them that one call fills or empties, as on Linux.
/// More make a short transfer too, so that what a call costs to run and to log
/// does not depend on how finely a guest cuts its buffers.
const MAX_VECTORS: usize = 1024;

/// How a handler that did not fail ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// It returns `success`.
    Success,
    /// The program ends with this code.
    Exit(u32),
}

/// A range of guest memory, checked to lie in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    pub(crate) address: u32,
    pub(crate) length: u32,
}

pub(crate) struct Call<'a> {
    args: &'a [Value],
    memory: &'a dyn GuestMemory,
    pub(crate) reads: Vec<MemoryRead>,
    pub(crate) writes: Vec<MemoryWrite>,
    pub(crate) emitted: Vec<Emitted>,
}

impl<'a> Call<'a> {
    pub(crate) fn new(args: &'a [Value], memory: &'a dyn GuestMemory) -> Call<'a> {
        Call { args, memory, reads: Vec::new(), writes: Vec::new(), emitted: Vec::new() }
    }

    /// Argument `index` as 64 bits. The dispatcher has compared the arguments
    /// with the signature, so the zero for a missing one is never seen.
    pub(crate) fn u64(&self, index: usize) -> u64 {
        self.args.get(index).map_or(0, |value| value.to_cell().0)
    }

    /// Argument `index` as 32 bits.
    pub(crate) fn u32(&self, index: usize) -> u32 {
        self.u64(index) as u32
    }

    /// Argument `index` as a 16-bit set of flags, handed over in 32 bits.
    pub(crate) fn u16(&self, index: usize) -> Result<u16, Errno> {
        u16::try_from(self.u32(index)).map_err(|_| Errno::INVAL)
    }

    /// Whether the range lies in the memory: `fault` if not.
    pub(crate) fn check(&self, address: u32, length: u32) -> Result<Range, Errno> {
        if holds(self.memory, u64::from(address), u64::from(length)) {
            Ok(Range { address, length })
        } else {
            Err(Errno::FAULT)
        }
    }

    /// Appends the bytes of a range to `into`, and notes that they were read.
    /// Allocates no more than the memory holds.
    pub(crate) fn read_into(&mut self, range: Range, into: &mut Vec<u8>) -> Result<(), Errno> {
        self.check(range.address, range.length)?;
        if range.length == 0 {
            return Ok(());
        }
        let start = into.len();
        into.resize(start + range.length as usize, 0);
        let fresh = into.get_mut(start..).unwrap_or_default();
        self.memory.read(u64::from(range.address), fresh).map_err(|_| Errno::FAULT)?;
        self.reads.push(MemoryRead {
            address: u64::from(range.address),
            length: u64::from(range.length),
            content: Content::of(fresh),
        });
        Ok(())
    }

    /// The bytes of a range.
    pub(crate) fn read(&mut self, address: u32, length: u32) -> Result<Vec<u8>, Errno> {
        let range = self.check(address, length)?;
        let mut bytes = Vec::new();
        self.read_into(range, &mut bytes)?;
        Ok(bytes)
    }

    /// The array of `count` vectors at `address`, each checked.
    pub(crate) fn iovecs(&mut self, address: u32, count: u32) -> Result<Vec<Range>, Errno> {
        let length = count.checked_mul(IOVEC).ok_or(Errno::FAULT)?;
        let bytes = self.read(address, length)?;
        bytes
            .chunks_exact(IOVEC as usize)
            .map(|one| self.check(abi::get_u32(one, 0), abi::get_u32(one, 4)))
            .collect()
    }

    /// Holds back a write until the call has succeeded.
    pub(crate) fn write(&mut self, address: u32, bytes: impl Into<Vec<u8>>) -> Result<(), Errno> {
        let bytes = bytes.into();
        let length = u32::try_from(bytes.len()).map_err(|_| Errno::FAULT)?;
        self.check(address, length)?;
        if !bytes.is_empty() {
            self.writes.push(MemoryWrite { address: u64::from(address), bytes });
        }
        Ok(())
    }

    /// Holds back the write of a 32-bit result.
    pub(crate) fn write_u32(&mut self, address: u32, value: u32) -> Result<(), Errno> {
        self.write(address, value.to_le_bytes())
    }

    /// Holds back the write of a 64-bit result.
    pub(crate) fn write_u64(&mut self, address: u32, value: u64) -> Result<(), Errno> {
        self.write(address, value.to_le_bytes())
    }

    /// Notes that the bytes of a range went to standard output or error.
    pub(crate) fn emit(&mut self, stream: Stream, range: Range) {
        self.emitted.push(Emitted {
            stream,
            address: u64::from(range.address),
            length: u64::from(range.length),
        });
    }
}

/// The first bytes that `ranges` name, range by range: no more than `limit`, in
/// no more than [`MAX_VECTORS`] pieces.
pub(crate) fn limited(ranges: &[Range], limit: u32) -> Vec<Range> {
    let mut left = limit;
    let mut out = Vec::new();
    for range in ranges.iter().filter(|range| range.length > 0) {
        if left == 0 || out.len() == MAX_VECTORS {
            break;
        }
        let length = range.length.min(left);
        left -= length;
        out.push(Range { length, ..*range });
    }
    out
}

impl Content {
    /// Short content is kept, long content is digested: a log stays readable,
    /// and small.
    pub(crate) fn of(bytes: &[u8]) -> Content {
        if bytes.len() <= Content::KEPT {
            Content::Bytes(bytes.to_vec())
        } else {
            Content::Sha256(Sha256::digest(bytes).into())
        }
    }
}
