//! The subject's code, as wdiff reads and patches it.
//!
//! The image is a file in memory. The subject executes a private, read-only
//! mapping of it; wdiff has the same pages mapped writable, but not
//! executable. What wdiff writes here the subject executes next, as long as the
//! subject's pages are never copied: so nothing may ever be poked into them by
//! `PTRACE_POKETEXT` or `/proc/PID/mem`.

use crate::error::TracerError;
use crate::mapping::{Mapping, OutOfRegion};
use crate::spawn::SubjectConfig;
use crate::sys;
use dwarf_map::{CodeOffset, SubjectAddr};
use nix::errno::Errno;
use std::ops::Range;
use std::os::fd::OwnedFd;

/// One byte of `int3`.
pub(crate) const INT3: u8 = 0xcc;

/// The subject's code.
#[derive(Debug)]
pub struct Text {
    alias: Mapping,
    /// Where `.text` lies in the subject.
    start: u64,
    /// Where `.text` lies in the image file.
    file_offset: u64,
    size: u64,
    /// Bytes between the loaded segment's start and `.text`: the gadgets.
    before: u64,
}

impl Text {
    /// Puts the image into a file and maps that; also answers the file, to be
    /// executed.
    pub(crate) fn new(
        config: &SubjectConfig<'_>,
        before: u64,
    ) -> Result<(Self, OwnedFd), TracerError> {
        let host = |call, errno, hint| TracerError::Host { call, errno, hint };
        let file = sys::memory_file("wdiff-subject", true).map_err(|errno| {
            let hint = match errno {
                Errno::EACCES => "executable files in memory are forbidden here: set sysctl vm.memfd_noexec to 0 or 1",
                _ => "",
            };
            host("making a file in memory for the image", errno, hint)
        })?;
        let length = config.image.len() as u64;
        let size =
            i64::try_from(length).map_err(|_| host("sizing the image's file", Errno::EFBIG, ""))?;
        nix::unistd::ftruncate(&file, size)
            .map_err(|errno| host("sizing the image's file", errno, ""))?;
        let alias = Mapping::new(&file, length, length)
            .map_err(|errno| host("mapping the image", errno, ""))?;
        alias.write(0, config.image)?;
        let text = Self {
            alias,
            start: config.text.get(),
            file_offset: config.text_file_offset,
            size: config.text_size,
            before,
        };
        Ok((text, file))
    }

    /// Bytes of `.text`.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Where `.text` lies in the subject.
    pub fn address(&self) -> SubjectAddr {
        SubjectAddr::new(self.start)
    }

    /// The offset in `.text` of an address; `None` when it lies elsewhere.
    #[inline]
    pub fn offset_of(&self, address: SubjectAddr) -> Option<CodeOffset> {
        let offset = address.get().checked_sub(self.start).filter(|offset| *offset < self.size)?;
        u32::try_from(offset).ok().map(CodeOffset::new)
    }

    /// Where `len` bytes of `.text` lie in the image file.
    #[inline]
    fn place(&self, offset: CodeOffset, len: usize) -> Result<u64, OutOfRegion> {
        let (offset, len) = (u64::from(offset.get()), len as u64);
        if len > self.size || offset > self.size - len {
            return Err(OutOfRegion { offset, len, size: self.size });
        }
        Ok(self.file_offset + offset)
    }

    /// Copies `len` bytes of code, traps included.
    pub fn read_code(&self, offset: CodeOffset, len: usize) -> Result<Vec<u8>, OutOfRegion> {
        let place = self.place(offset, len)?;
        let mut bytes = vec![0; len];
        self.alias.read(place, &mut bytes)?;
        Ok(bytes)
    }

    /// Replaces code; the subject executes it from its next resumption on.
    #[inline]
    pub fn write_code(&self, offset: CodeOffset, code: &[u8]) -> Result<(), OutOfRegion> {
        self.alias.write(self.place(offset, code.len())?, code)
    }

    /// Addresses that the loaded segment covers: gadgets and `.text`.
    pub(crate) fn loaded(&self) -> Range<u64> {
        self.start - self.before..self.start + self.size
    }

    /// Where bytes of the loaded segment lie in the image file.
    #[inline]
    fn loaded_place(&self, address: u64, len: usize) -> Option<u64> {
        let offset = address.checked_sub(self.start - self.before)?;
        let size = self.before + self.size;
        let len = len as u64;
        (len <= size && offset <= size - len).then(|| self.file_offset - self.before + offset)
    }

    /// Bytes of the loaded segment, gadgets included, at an address.
    #[inline]
    pub(crate) fn loaded_bytes<const N: usize>(&self, address: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.alias.read(self.loaded_place(address, N)?, &mut bytes).ok()?;
        Some(bytes)
    }

    /// Likewise, as many as are asked for.
    pub(crate) fn loaded_slice(&self, address: u64, len: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.alias.read(self.loaded_place(address, len)?, &mut bytes).ok()?;
        Some(bytes)
    }

    /// Replaces bytes of the loaded segment, gadgets included; answers whether
    /// they lie in it.
    pub(crate) fn write_loaded(&self, address: u64, bytes: &[u8]) -> bool {
        self.loaded_place(address, bytes.len())
            .is_some_and(|place| self.alias.write(place, bytes).is_ok())
    }
}
