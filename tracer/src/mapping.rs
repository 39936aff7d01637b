//! Memory mapped from a file that the subject maps too.
//!
//! The one place where shared bytes are touched. A [`Mapping`] is a pointer
//! and how many bytes behind it may be accessed without a SIGBUS in wdiff
//! itself; every access is checked against that and copies. Whatever the
//! subject wrote is data, so nothing here can be misled by it.

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;

/// An access outside what may be accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bytes {offset:#x}..+{len:#x} do not lie in a region of {size:#x} bytes")]
pub struct OutOfRegion {
    /// Where the access begins, in bytes from the region's start.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
    /// How many bytes the region has.
    pub size: u64,
}

/// Bytes compared at a time.
const BLOCK: usize = 4096;

/// A shared, writable mapping of the start of a file, unmapped on drop.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<c_void>,
    /// Bytes mapped.
    reserved: usize,
    /// Bytes that the file has, so that may be accessed: at most `reserved`.
    accessible: usize,
}

impl Mapping {
    /// Maps `reserved` bytes of a file that has `accessible` bytes.
    pub fn new(file: &OwnedFd, reserved: u64, accessible: u64) -> Result<Self, Errno> {
        let (Ok(reserved), Ok(accessible)) =
            (usize::try_from(reserved), usize::try_from(accessible))
        else {
            return Err(Errno::EOVERFLOW);
        };
        let length = NonZeroUsize::new(reserved).ok_or(Errno::EINVAL)?;
        if accessible > reserved {
            return Err(Errno::EINVAL);
        }
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice replaces
        // nothing; it is reached through this struct only.
        let start = unsafe { mmap(None, length, protection, flags, file, 0) }?;
        let mapping = Self { start, reserved, accessible };
        // A subject's memory has no business in wdiff's own core file, nor in
        // its other children. Both are savings only.
        for advice in [libc::MADV_DONTDUMP, libc::MADV_DONTFORK] {
            // SAFETY: the range is the mapping just made; neither advice
            // changes what this process sees in it.
            let _ = unsafe { libc::madvise(mapping.start.as_ptr(), reserved, advice) };
        }
        Ok(mapping)
    }

    /// Bytes that may be accessed.
    #[inline]
    pub fn len(&self) -> u64 {
        self.accessible as u64
    }

    /// Tells the mapping that its file has grown.
    pub fn grown(&mut self, accessible: u64) {
        debug_assert!(accessible <= self.reserved as u64);
        self.accessible =
            usize::try_from(accessible).map_or(self.reserved, |bytes| bytes.min(self.reserved));
    }

    /// The start of `len` accessible bytes at `offset`.
    #[inline]
    fn at(&self, offset: u64, len: usize) -> Result<*mut u8, OutOfRegion> {
        let out = OutOfRegion { offset, len: len as u64, size: self.accessible as u64 };
        let Ok(from) = usize::try_from(offset) else {
            return Err(out);
        };
        if from.checked_add(len).is_none_or(|end| end > self.accessible) {
            return Err(out);
        }
        // SAFETY: `from` is at most `accessible`, so the result lies in the
        // mapping or one past its end.
        Ok(unsafe { self.start.cast::<u8>().as_ptr().add(from) })
    }

    /// Copies bytes out.
    #[inline]
    pub fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), OutOfRegion> {
        let from = self.at(offset, into.len())?;
        // SAFETY: `at` checked that all bytes are mapped and backed by the
        // file; `into` is no part of the mapping, since no reference into it
        // is ever made; the subject is halted, so nobody writes meanwhile.
        unsafe { std::ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) };
        Ok(())
    }

    /// Copies bytes in.
    #[inline]
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), OutOfRegion> {
        let to = self.at(offset, bytes.len())?;
        // SAFETY: as in `read`; `Mapping` is not `Sync`, so no other thread
        // reads or writes through it at the same time.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
        Ok(())
    }

    /// Reads eight bytes, little-endian, at any alignment.
    #[inline]
    pub fn read_u64(&self, offset: u64) -> Result<u64, OutOfRegion> {
        let from = self.at(offset, 8)?;
        // SAFETY: as in `read`; alignment is not assumed.
        Ok(u64::from_le(unsafe { from.cast::<u64>().read_unaligned() }))
    }

    /// Writes eight bytes, little-endian, at any alignment.
    #[inline]
    pub fn write_u64(&self, offset: u64, value: u64) -> Result<(), OutOfRegion> {
        let to = self.at(offset, 8)?;
        // SAFETY: as in `write`; alignment is not assumed.
        unsafe { to.cast::<u64>().write_unaligned(value.to_le()) };
        Ok(())
    }

    /// Whether `len` bytes at `offset` are all equal to `bytes`, without
    /// copying them. In bounds or an error.
    pub fn same(&self, offset: u64, bytes: &[u8]) -> Result<bool, OutOfRegion> {
        let ours = self.at(offset, bytes.len())?;
        // SAFETY: both sides have `bytes.len()` readable bytes.
        let order = unsafe { libc::memcmp(ours.cast(), bytes.as_ptr().cast(), bytes.len()) };
        Ok(order == 0)
    }

    /// Calls `visit` with the offset of each differing byte, in order, until it
    /// answers false; answers whether it never did.
    pub fn visit_differences(
        &self,
        offset: u64,
        expected: &[u8],
        visit: &mut dyn FnMut(u64) -> bool,
    ) -> Result<bool, OutOfRegion> {
        // Nearly always; the copy below costs more than the look.
        if self.same(offset, expected)? {
            return Ok(true);
        }
        let mut copy = [0; BLOCK];
        let mut at = offset;
        for block in expected.chunks(BLOCK) {
            if !self.same(at, block)? {
                let (copy, _) = copy.split_at_mut(block.len());
                self.read(at, copy)?;
                for (index, (actual, expected)) in copy.iter().zip(block).enumerate() {
                    if actual != expected && !visit(at + index as u64) {
                        return Ok(false);
                    }
                }
            }
            at += block.len() as u64;
        }
        Ok(true)
    }

    /// An error if `len` bytes at `offset` may not be accessed.
    pub fn check(&self, offset: u64, len: usize) -> Result<(), OutOfRegion> {
        self.at(offset, len).map(drop)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is the mapping made in `new`, and nothing of it was
        // ever handed out.
        let _ = unsafe { munmap(self.start, self.reserved) };
    }
}
