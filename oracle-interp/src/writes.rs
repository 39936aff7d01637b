//! What was written to memories and tables since somebody last asked.
//!
//! Comparing two stores after every instruction is affordable only if what did
//! not change is not looked at. The log is exact for the first
//! [`Writes::EXACT`] memory writes; after that, ranges are rounded out to
//! pages of 4 KiB and kept as a set, so that its size is bounded by the size
//! of the memories however long nobody asks.

use std::collections::BTreeMap;
use wasm_view::{MemoryId, TableId};

/// The log of writes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writes {
    off: bool,
    /// The last memory write, of which only the slow path makes use.
    last: Option<(MemoryId, u64, u64)>,
    exact: Vec<(MemoryId, u64, u64)>,
    /// Empty while the log is exact.
    pages: Vec<PageSet>,
    coalesced: bool,
    tables: Vec<(TableId, u64, u64)>,
    /// Once there are too many table writes: the hull per table.
    table_hulls: BTreeMap<TableId, (u64, u64)>,
}

/// A set of pages of one memory.
#[derive(Clone, Debug, Default)]
struct PageSet {
    bits: Vec<u64>,
    members: Vec<u32>,
}

impl PageSet {
    #[inline]
    fn insert(&mut self, page: u32) {
        let word = (page / 64) as usize;
        if word >= self.bits.len() {
            self.bits.resize(word + 1, 0);
        }
        let bit = 1 << (page % 64);
        if self.bits[word] & bit == 0 {
            self.bits[word] |= bit;
            self.members.push(page);
        }
    }
}

impl Writes {
    /// Memory writes, and table writes, that are kept exactly.
    pub(crate) const EXACT: usize = 4096;
    /// log2 of the bytes of a page of the coalesced log.
    const PAGE_SHIFT: u32 = 12;

    /// Switches the log on or off; off, it is empty and stays so.
    pub(crate) fn set_on(&mut self, on: bool) {
        if !on {
            self.clear();
        }
        self.off = !on;
    }

    /// Whether writes are logged.
    pub(crate) fn is_on(&self) -> bool {
        !self.off
    }

    /// Takes the last write that [`Writes::note`] was told, logged or not.
    pub(crate) fn take_last(&mut self) -> Option<(MemoryId, u64, u64)> {
        self.last.take()
    }

    /// As [`Writes::memory`], if the log is on, and remembers it as the last.
    pub(crate) fn note(&mut self, memory: MemoryId, address: u64, length: u64) {
        self.last = Some((memory, address, length));
        if !self.off {
            self.memory(memory, address, length);
        }
    }

    /// Logs `length > 0` bytes at `address`, which lie within the memory.
    #[inline]
    pub(crate) fn memory(&mut self, memory: MemoryId, address: u64, length: u64) {
        if !self.coalesced && self.exact.len() < Self::EXACT {
            self.exact.push((memory, address, length));
        } else {
            self.memory_pages(memory, address, length);
        }
    }

    #[inline]
    fn memory_pages(&mut self, memory: MemoryId, address: u64, length: u64) {
        if !self.coalesced {
            self.coalesce();
        }
        self.insert_pages(memory, address, length);
    }

    fn insert_pages(&mut self, memory: MemoryId, address: u64, length: u64) {
        if self.pages.len() <= memory.index() {
            self.pages.resize_with(memory.index() + 1, PageSet::default);
        }
        // A 32-bit memory has 2^20 such pages.
        let first = (address >> Self::PAGE_SHIFT) as u32;
        let last = ((address + length - 1) >> Self::PAGE_SHIFT) as u32;
        for page in first..=last {
            self.pages[memory.index()].insert(page);
        }
    }

    #[cold]
    fn coalesce(&mut self) {
        self.coalesced = true;
        for (memory, address, length) in std::mem::take(&mut self.exact) {
            self.insert_pages(memory, address, length);
        }
    }

    /// Logs `count > 0` elements from `first` on.
    pub(crate) fn table(&mut self, table: TableId, first: u64, count: u64) {
        if self.off {
            return;
        }
        if self.table_hulls.is_empty() && self.tables.len() < Self::EXACT {
            self.tables.push((table, first, count));
            return;
        }
        for (table, first, count) in self.tables.drain(..).chain([(table, first, count)]) {
            let hull = self.table_hulls.entry(table).or_insert((first, first));
            *hull = (hull.0.min(first), hull.1.max(first + count));
        }
    }

    /// Forgets everything.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.exact.clear();
        self.tables.clear();
        if self.coalesced {
            self.coalesced = false;
            for set in &mut self.pages {
                for page in set.members.drain(..) {
                    set.bits[(page / 64) as usize] = 0;
                }
            }
        }
        // Called after every instruction: clearing an empty tree is not free.
        if !self.table_hulls.is_empty() {
            self.table_hulls.clear();
        }
    }

    /// Memory writes as (memory, address, length).
    pub(crate) fn memory_writes(&self) -> impl Iterator<Item = (MemoryId, u64, u64)> {
        let pages = self.pages.iter().enumerate().flat_map(|(memory, set)| {
            let page_bytes = 1 << Self::PAGE_SHIFT;
            set.members.iter().map(move |&page| {
                (MemoryId::from_index(memory), u64::from(page) << Self::PAGE_SHIFT, page_bytes)
            })
        });
        self.exact.iter().copied().chain(pages)
    }

    /// Table writes as (table, first element, count).
    pub(crate) fn table_writes(&self) -> impl Iterator<Item = (TableId, u64, u64)> {
        let hulls =
            self.table_hulls.iter().map(|(&table, &(first, end))| (table, first, end - first));
        self.tables.iter().copied().chain(hulls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_writes_become_pages() {
        let memory = MemoryId::new(1);
        let mut writes = Writes::default();
        for n in 0..Writes::EXACT as u64 {
            writes.memory(memory, n * 2, 1);
        }
        assert_eq!(writes.memory_writes().count(), Writes::EXACT);
        writes.memory(memory, 5 * 4096 - 1, 2);
        let pages: Vec<_> = writes.memory_writes().collect();
        let page = |n: u64| (memory, n * 4096, 4096);
        assert_eq!(pages, [page(0), page(1), page(4), page(5)]);
        writes.clear();
        assert_eq!(writes.memory_writes().count(), 0);
        writes.memory(memory, 7, 1);
        assert_eq!(writes.memory_writes().collect::<Vec<_>>(), [(memory, 7, 1)]);
    }

    #[test]
    fn many_table_writes_become_a_hull() {
        let table = TableId::new(0);
        let mut writes = Writes::default();
        for n in 0..=Writes::EXACT as u64 {
            writes.table(table, n, 1);
        }
        assert_eq!(
            writes.table_writes().collect::<Vec<_>>(),
            [(table, 0, Writes::EXACT as u64 + 1)]
        );
    }
}
