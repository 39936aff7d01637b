//! Addresses of native code and of the subject, as types.
//!
//! [`CodeOffset`] counts bytes from the start of an image's `.text`;
//! [`SubjectAddr`] is a virtual address in the subject's process. Turning one
//! into the other needs the image's load address, so only what knows it can.

use std::fmt;

/// Bytes from the start of an image's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct CodeOffset(u32);

impl CodeOffset {
    /// Wraps an offset in bytes.
    pub const fn new(raw: u32) -> Self {
        Self(raw)
    }
    /// The offset in bytes.
    pub const fn get(self) -> u32 {
        self.0
    }
    /// The address of this code in a process that has `.text` at `text`.
    pub const fn at(self, text: SubjectAddr) -> SubjectAddr {
        SubjectAddr(text.0.wrapping_add(self.0 as u64))
    }
}

impl fmt::Display for CodeOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, ".text+{:#x}", self.0)
    }
}

/// A virtual address in the subject. Never dereferenced by wdiff.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SubjectAddr(u64);

impl SubjectAddr {
    /// Wraps a virtual address.
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }
    /// The virtual address.
    pub const fn get(self) -> u64 {
        self.0
    }
    /// The address `bytes` further on, wrapping.
    pub const fn offset(self, bytes: i64) -> Self {
        Self(self.0.wrapping_add_signed(bytes))
    }
    /// Bytes from `base` up to this address; `None` when it lies below.
    pub const fn since(self, base: SubjectAddr) -> Option<u64> {
        self.0.checked_sub(base.0)
    }
}

impl fmt::Display for SubjectAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}
