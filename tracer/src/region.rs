//! Data memory that wdiff and the subject share.
//!
//! A region is a file in memory, mapped once over its whole reservation in both
//! processes (of an emulated one only as far as needed, `remote/windows.rs`). The file's size is what may be touched: an access beyond it, but
//! inside the reservation, is a SIGBUS in the subject and an [`OutOfRegion`]
//! here. A native subject has the file no longer open, so only wdiff can make it grow.

use crate::error::TracerError;
use crate::mapping::{Mapping, OutOfRegion};
use crate::sys;
use dwarf_map::SubjectAddr;
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{Whence, lseek};
use std::ops::Range;
use std::os::fd::OwnedFd;

/// Bytes in a page.
pub(crate) const PAGE: u64 = 4096;

/// No region lies below: a null pointer, and what is near, must lead nowhere,
/// also where the kernel would let a privileged process map it.
const LOWEST: u64 = 0x1_0000;

/// End of the addresses a process may use.
pub(crate) const ADDRESS_LIMIT: u64 = 0x7fff_ffff_f000;

/// A region to be shared with a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionSpec {
    /// What it is called in messages and in `/proc/PID/maps`.
    pub name: String,
    /// Where the subject has it; a multiple of the page size.
    pub address: SubjectAddr,
    /// Bytes of address space, rounded up to whole pages; none of them is
    /// committed before it is touched.
    pub reserve: u64,
    /// Bytes that may be touched at first. The hardware knows whole pages only:
    /// the subject can touch the rest of the last one, wdiff cannot.
    pub length: u64,
}

/// A region of one subject: its place in the list the subject was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegionId(pub(crate) u32);

impl RegionId {
    /// The place in [`SubjectConfig::regions`](crate::SubjectConfig::regions).
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A region as wdiff sees it.
///
/// Its content is whatever the subject left there: never trust it.
#[derive(Debug)]
pub struct SharedRegion {
    name: String,
    address: u64,
    reserve: u64,
    file: OwnedFd,
    mapping: Mapping,
}

impl SharedRegion {
    /// Makes the file and wdiff's mapping of it.
    pub(crate) fn new(spec: &RegionSpec) -> Result<Self, TracerError> {
        let wrong = |problem: String| TracerError::Region {
            name: spec.name.clone(),
            address: spec.address.get(),
            problem,
        };
        let address = spec.address.get();
        if !address.is_multiple_of(PAGE) {
            return Err(wrong(format!("the address is no multiple of {PAGE}")));
        }
        if address < LOWEST {
            return Err(wrong(format!(
                "regions begin at {LOWEST:#x}, so that null pointers fault"
            )));
        }
        if spec.reserve == 0 {
            return Err(wrong("it reserves no bytes".into()));
        }
        if spec.length > spec.reserve {
            return Err(wrong(format!(
                "{:#x} bytes do not fit in a reservation of {:#x}",
                spec.length, spec.reserve
            )));
        }
        let reserve = spec.reserve.checked_next_multiple_of(PAGE);
        let Some(reserve) =
            reserve.filter(|r| address.checked_add(*r).is_some_and(|end| end <= ADDRESS_LIMIT))
        else {
            return Err(wrong(format!("{:#x} bytes reach beyond the address space", spec.reserve)));
        };
        let file = sys::memory_file(&file_name(&spec.name), false)
            .map_err(|errno| wrong(format!("making a file in memory: {errno}")))?;
        set_size(&file, spec.length).map_err(|problem| wrong(problem.to_string()))?;
        let mapping = Mapping::new(&file, reserve, spec.length).map_err(|errno| {
            wrong(format!(
                "mapping {reserve:#x} bytes: {errno} (raise the address space limit, `ulimit -v`)"
            ))
        })?;
        Ok(Self { name: spec.name.clone(), address, reserve, file, mapping })
    }

    /// The name it was made with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it lies in the subject.
    pub fn address(&self) -> SubjectAddr {
        SubjectAddr::new(self.address)
    }

    /// Bytes of address space, whole pages.
    pub fn reserve(&self) -> u64 {
        self.reserve
    }

    /// Bytes that may be accessed.
    #[allow(
        clippy::len_without_is_empty,
        reason = "the size of a memory, not the fill of a container"
    )]
    #[inline]
    pub fn len(&self) -> u64 {
        self.mapping.len()
    }

    pub(crate) fn file(&self) -> &OwnedFd {
        &self.file
    }

    /// The offset of `len` bytes at an address, if the reservation holds them.
    #[inline]
    pub(crate) fn offset_of(&self, address: SubjectAddr, len: u64) -> Option<u64> {
        let offset = address.get().checked_sub(self.address)?;
        (len <= self.reserve && offset <= self.reserve - len).then_some(offset)
    }

    /// Copies bytes at an offset out of the region.
    #[inline]
    pub fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), OutOfRegion> {
        self.mapping.read(offset, into)
    }

    /// Copies bytes to an offset in the region.
    #[inline]
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), OutOfRegion> {
        self.mapping.write(offset, bytes)
    }

    /// Reads eight bytes, little-endian, at any alignment.
    #[inline]
    pub fn read_u64(&self, offset: u64) -> Result<u64, OutOfRegion> {
        self.mapping.read_u64(offset)
    }

    /// Writes eight bytes, little-endian, at any alignment.
    #[inline]
    pub fn write_u64(&self, offset: u64, value: u64) -> Result<(), OutOfRegion> {
        self.mapping.write_u64(offset, value)
    }

    /// The offset in the region of the first byte that differs from
    /// `expected`, laid at `offset`; `None` when all are equal.
    pub fn compare(&self, offset: u64, expected: &[u8]) -> Result<Option<u64>, OutOfRegion> {
        let mut first = None;
        self.visit_differences(offset, expected, &mut |at| {
            first = Some(at);
            false
        })?;
        Ok(first)
    }

    /// The first `limit` runs of bytes that differ from `expected`, laid at
    /// `offset`, as offsets in the region.
    pub fn differences(
        &self,
        offset: u64,
        expected: &[u8],
        limit: usize,
    ) -> Result<Vec<Range<u64>>, OutOfRegion> {
        let mut runs: Vec<Range<u64>> = Vec::new();
        self.visit_differences(offset, expected, &mut |at| {
            let full = runs.len() >= limit;
            match runs.last_mut() {
                Some(run) if run.end == at => run.end += 1,
                _ if full => return false,
                _ => runs.push(at..at + 1),
            }
            true
        })?;
        Ok(runs)
    }

    /// Calls `visit` with the offset of each differing byte, in order, until it
    /// answers false.
    fn visit_differences(
        &self,
        offset: u64,
        expected: &[u8],
        visit: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), OutOfRegion> {
        self.mapping.check(offset, expected.len())?;
        if expected.len() < HOLES_FROM {
            return self.mapping.visit_differences(offset, expected, visit).map(drop);
        }
        let mut rest = expected;
        let mut at = offset;
        while !rest.is_empty() {
            let extent = next_extent(&self.file, at);
            let len = usize::try_from(extent.len).map_or(rest.len(), |len| len.min(rest.len()));
            let (part, behind) = rest.split_at(len);
            let go_on = if extent.hole {
                visit_nonzero(at, part, visit)
            } else {
                self.mapping.visit_differences(at, part, visit)?
            };
            if !go_on {
                break;
            }
            at += len as u64;
            rest = behind;
        }
        Ok(())
    }

    /// Makes the bytes at `offset` those given. Pages that hold them already are
    /// not written, so that what was never touched stays unallocated.
    pub fn update(&self, offset: u64, bytes: &[u8]) -> Result<(), OutOfRegion> {
        const ZEROS: [u8; PAGE as usize] = [0; PAGE as usize];
        self.mapping.check(offset, bytes.len())?;
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let extent = match bytes.len() {
                0..HOLES_FROM => Extent { hole: false, len: u64::MAX },
                _ => next_extent(&self.file, at),
            };
            let len = usize::try_from(extent.len).map_or(rest.len(), |len| len.min(rest.len()));
            let (part, behind) = rest.split_at(len);
            for (at, page) in (at..).step_by(ZEROS.len()).zip(part.chunks(ZEROS.len())) {
                let same = if extent.hole {
                    ZEROS.get(..page.len()) == Some(page)
                } else {
                    self.mapping.same(at, page)?
                };
                if !same {
                    self.mapping.write(at, page)?;
                }
            }
            at += len as u64;
            rest = behind;
        }
        Ok(())
    }

    /// Lets the subject and wdiff access more bytes; new ones are zero. A
    /// region never shrinks, nor outgrows its reservation.
    pub(crate) fn resize(&mut self, length: u64) -> Result<(), TracerError> {
        let wrong = |problem: String| TracerError::Resize {
            name: self.name.clone(),
            asked: length,
            problem,
        };
        if length < self.len() {
            return Err(wrong(format!("it has {:#x} and never shrinks", self.len())));
        }
        if length > self.reserve {
            return Err(wrong(format!("its reservation is {:#x}", self.reserve)));
        }
        set_size(&self.file, length).map_err(|problem| wrong(problem.to_string()))?;
        self.mapping.grown(length);
        Ok(())
    }
}

/// Bytes from which on a comparison looks for holes. Pages never touched are
/// zero; to read them through a mapping would allocate every one.
const HOLES_FROM: usize = 1 << 20;

/// Bytes of a file that are alike in having pages behind them or not.
struct Extent {
    hole: bool,
    /// At least 1; to the end of the file there may be fewer.
    len: u64,
}

/// The extent at an offset inside a file. What cannot be told is no hole.
fn next_extent(file: &OwnedFd, at: u64) -> Extent {
    let seek = |whence| {
        let at = i64::try_from(at).map_err(|_| Errno::EOVERFLOW)?;
        lseek(file, at, whence).map(|found| found.unsigned_abs())
    };
    match seek(Whence::SeekData) {
        // No data up to the end.
        Err(Errno::ENXIO) => Extent { hole: true, len: u64::MAX },
        Ok(data) if data > at => Extent { hole: true, len: data - at },
        _ => match seek(Whence::SeekHole) {
            Ok(hole) if hole > at => Extent { hole: false, len: hole - at },
            _ => Extent { hole: false, len: u64::MAX },
        },
    }
}

/// Calls `visit` with the offset of each byte that is not zero, `bytes` being
/// laid at `at`, until it answers false; answers whether it never did.
fn visit_nonzero(at: u64, bytes: &[u8], visit: &mut dyn FnMut(u64) -> bool) -> bool {
    const ZEROS: [u8; PAGE as usize] = [0; PAGE as usize];
    let pages = (at..).step_by(ZEROS.len()).zip(bytes.chunks(ZEROS.len()));
    let different = pages.filter(|(_, page)| ZEROS.get(..page.len()) != Some(page));
    let mut offsets = different.flat_map(|(at, page)| {
        (at..).zip(page).filter_map(|(at, byte)| (*byte != 0).then_some(at))
    });
    offsets.all(visit)
}

/// Why a file could not be given a size.
#[derive(Debug, thiserror::Error)]
enum SizeError {
    #[error("the file size limit is {0:#x} (raise it, `ulimit -f`)")]
    Limit(u64),
    #[error("setting the file's size: {0}")]
    Failed(Errno),
}

/// Sets a file's size. The limit is looked at first, since the kernel would
/// not only refuse to exceed it but also send wdiff a deadly signal.
fn set_size(file: &OwnedFd, length: u64) -> Result<(), SizeError> {
    let (limit, _) = getrlimit(Resource::RLIMIT_FSIZE).map_err(SizeError::Failed)?;
    if length > limit {
        return Err(SizeError::Limit(limit));
    }
    let length = i64::try_from(length).map_err(|_| SizeError::Failed(Errno::EFBIG))?;
    nix::unistd::ftruncate(file, length).map_err(SizeError::Failed)
}

/// A name that a file in memory may have: no NUL, and not too long.
fn file_name(name: &str) -> String {
    let name = name.chars().filter(|c| c.is_ascii_graphic()).take(100);
    format!("wdiff-{}", name.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A large memory that is hardly touched costs hardly anything.
    #[test]
    fn holes_are_compared_without_filling_them() {
        let size = 256 << 20;
        let mut region = SharedRegion::new(&RegionSpec {
            name: "large".into(),
            address: SubjectAddr::new(LOWEST),
            reserve: size,
            length: PAGE,
        })
        .unwrap();
        region.resize(size).unwrap();
        let mut expected = vec![0; size as usize];
        assert_eq!(region.compare(0, &expected), Ok(None));

        for at in [5, 3 << 20, (3 << 20) + PAGE, 200 << 20] {
            region.write(at, &[9]).unwrap();
            expected[at as usize] = 9;
        }
        assert_eq!(region.compare(0, &expected), Ok(None));
        assert_eq!(region.compare(3, &expected[3..]), Ok(None));
        let (a, b, last) = (100 << 20, 200 << 20, size - 1);
        for at in [6, a, a + 1, b - 1, b, b + 1, last] {
            expected[at as usize] = 1;
        }
        let runs = [6..7, a..a + 2, b - 1..b + 2, last..size];
        assert_eq!(region.differences(0, &expected, 9).unwrap(), runs);
        assert_eq!(region.differences(1, &expected[1..], 2).unwrap(), runs[..2]);
        assert_eq!(region.compare(7, &expected[7..]), Ok(Some(a)));
        assert!(region.compare(1, &expected).is_err());

        let pages = nix::sys::stat::fstat(&region.file).unwrap().st_blocks * 512 / PAGE as i64;
        assert_eq!(pages, 4);
    }
}
