//! The guest's memory as a host function sees it.
//!
//! A host call only ever reads and writes byte ranges. That is the whole trait,
//! so that an interpreter's memory, a shared mapping and a test's vector serve
//! alike, and every range is checked by whoever owns the bytes.

use thiserror::Error;

/// A range that does not lie in the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{length} bytes at {address:#x} are not in the memory")]
pub struct OutOfBounds {
    /// First byte of the range.
    pub address: u64,
    /// Bytes in the range.
    pub length: u64,
}

/// Linear memory of a guest.
pub trait GuestMemory {
    /// Its size in bytes.
    fn len(&self) -> u64;

    /// Copies the bytes from `address` on into `into`, or nothing.
    ///
    /// # Errors
    /// The range does not lie in the memory.
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), OutOfBounds>;

    /// Copies `bytes` to `address`, or nothing.
    ///
    /// # Errors
    /// The range does not lie in the memory.
    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), OutOfBounds>;

    /// Whether there is no byte in it.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Bytes that a host call put into guest memory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MemoryWrite {
    /// Where the first byte went.
    pub address: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl GuestMemory for Vec<u8> {
    fn len(&self) -> u64 {
        self.as_slice().len() as u64
    }

    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), OutOfBounds> {
        let range = range(self.as_slice().len(), address, into.len())?;
        into.copy_from_slice(&self[range]);
        Ok(())
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), OutOfBounds> {
        let range = range(self.as_slice().len(), address, bytes.len())?;
        self[range].copy_from_slice(bytes);
        Ok(())
    }
}

fn range(size: usize, address: u64, length: usize) -> Result<std::ops::Range<usize>, OutOfBounds> {
    usize::try_from(address)
        .ok()
        .and_then(|start| Some(start..start.checked_add(length)?))
        .filter(|range| range.end <= size)
        .ok_or(OutOfBounds { address, length: length as u64 })
}

/// Whether `length` bytes at `address` lie in `memory`. A range of no bytes
/// does wherever it does not begin beyond the end.
pub(crate) fn holds(memory: &dyn GuestMemory, address: u64, length: u64) -> bool {
    address.checked_add(length).is_some_and(|end| end <= memory.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_checks_its_ends() {
        let mut memory = vec![1u8, 2, 3, 4];
        let mut two = [0; 2];
        assert_eq!(GuestMemory::read(&memory, 2, &mut two), Ok(()));
        assert_eq!(two, [3, 4]);
        let beyond = OutOfBounds { address: 3, length: 2 };
        assert_eq!(GuestMemory::read(&memory, 3, &mut two), Err(beyond));
        assert!(GuestMemory::write(&mut memory, u64::MAX, &[1, 2]).is_err());
        assert!(GuestMemory::write(&mut memory, 4, &[]).is_ok());
        assert!(holds(&memory, 4, 0) && !holds(&memory, 5, 0) && !holds(&memory, u64::MAX, 2));
    }
}
