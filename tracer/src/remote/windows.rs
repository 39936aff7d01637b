//! Of a region only a window is mapped.
//!
//! qemu's user mode keeps a record of each page that the code has mapped, and
//! looks at all of them whenever it throws away what it has translated: at each
//! stop. A memory's reservation of four gigabytes makes that milliseconds. So a
//! region is mapped as far as it may be touched and some way ahead, and further
//! when it grows, by a system call of the code's own. The addresses behind are
//! nobody's: qemu is told to reserve them all (`-R`), so that it puts nothing
//! there itself and an access is a SIGSEGV, where it would be a SIGBUS inside the
//! window.

use super::{Remote, RemoteError, calls};
use crate::region::{PAGE, SharedRegion};
use std::os::fd::AsRawFd;

/// Bytes of the smallest window.
const LEAST: u64 = 1 << 20;

/// Bytes in one operand of a system call.
const OPERAND: u64 = 8;

/// Bytes of the window of a region of which so many may be touched.
fn window(length: u64, reserve: u64) -> u64 {
    length.max(LEAST).checked_next_power_of_two().unwrap_or(reserve).min(reserve)
}

/// What `-R` reserves: all regions, and the image below them.
pub(super) fn address_space(regions: &[SharedRegion]) -> u64 {
    let ends = regions.iter().map(|region| region.address().get() + region.reserve());
    ends.max().unwrap_or(0).next_multiple_of(1 << 30)
}

impl Remote {
    /// Maps the first window of each region.
    pub(super) fn open_windows(&mut self, regions: &[SharedRegion]) -> Result<(), RemoteError> {
        for region in regions {
            let end = window(region.len(), region.reserve());
            let place = self.spare_place()?;
            self.map(region, 0..end, |remote, operands| {
                remote.store(place, operands)?;
                Ok(place)
            })?;
            self.windows.push(end);
        }
        Ok(())
    }

    /// Makes the window of a region, by its place in the list, as wide as the region
    /// has become. The registers that the subject has are afterwards other ones.
    pub fn widen(&mut self, place: usize, region: &SharedRegion) -> Result<(), RemoteError> {
        let Some(begin) = self.windows.get(place).copied() else { return Ok(()) };
        let end = window(region.len(), region.reserve());
        if end <= begin {
            return Ok(());
        }
        // Its flags are no part of what wdiff knows of its registers.
        let block = self.block.clone();
        let mut covered = Vec::new();
        let mapped = self.map(region, begin..end, |remote, operands| {
            // The region is longer than a window, so this is mapped.
            covered = vec![0; operands.len() * OPERAND as usize];
            let bytes: Vec<u8> = operands.iter().flat_map(|word| remote.ordered(*word)).collect();
            let beyond = |_| RemoteError::protocol("a region that is shorter than it was");
            region.read(0, &mut covered).map_err(beyond)?;
            region.write(0, &bytes).map_err(beyond)?;
            Ok(region.address().get())
        });
        if !covered.is_empty() {
            let _ = region.write(0, &covered);
        }
        self.block = block;
        mapped?;
        if let Some(window) = self.windows.get_mut(place) {
            *window = end;
        }
        Ok(())
    }

    /// Maps a part of a region. Where mmap takes the address of its operands, `put`
    /// writes them somewhere and says where.
    fn map(
        &mut self,
        region: &SharedRegion,
        part: std::ops::Range<u64>,
        put: impl FnOnce(&mut Remote, &[u64]) -> Result<u64, RemoteError>,
    ) -> Result<(), RemoteError> {
        let protection = (libc::PROT_READ | libc::PROT_WRITE) as u64;
        let flags = (libc::MAP_SHARED | libc::MAP_FIXED | libc::MAP_NORESERVE) as u64;
        let address = region.address().get() + part.start;
        let length = (part.end - part.start).next_multiple_of(PAGE);
        let file = region.file().as_raw_fd() as u64;
        let operands = [address, length, protection, flags, file, part.start];
        let calls = calls(self.isa);
        let mapped = if calls.indirect {
            let place = put(self, &operands)?;
            self.call(calls.mmap, &[place])?
        } else {
            self.call(calls.mmap, &operands)?
        };
        if mapped == address {
            return Ok(());
        }
        Err(RemoteError::protocol(format!(
            "mmap of region `{}`, {length:#x} bytes at {address:#x}, answers {mapped:#x}",
            region.name()
        )))
    }
}
