//! The comparator of the store: memories, tables, globals, and what the instance data
//! hold besides.
//!
//! At each stop only what the oracle wrote is compared, and every global that may change.
//! What nobody was to write is compared at calls to the host and at the end, as a whole:
//! a wild store shows then, and a second run [watches](Watch) its place to find out when
//! it was made.

use super::compare::{difference, same};
use super::finding::Watch;
use super::follow::Lockstep;
use super::space::Kept;
use super::stops::Selection;
use crate::error::CommandError;
use oracle_interp::Instance;
use reports::{Slot, SlotName, SlotType};
use tracer::SharedRegion;
use wasm_view::{GlobalIdx, InstanceId, MemoryId, MemoryIdx, TableId, ValType, Value};

/// Most single differences listed of one region: enough to see a pattern.
const LISTED: usize = 8;
/// Most bytes shown of one differing range.
const LISTED_BYTES: u64 = 16;

impl Lockstep<'_> {
    /// Compares the bytes and table elements that the oracle wrote since the
    /// last stop, and every mutable global.
    pub(super) fn compare_writes(&mut self) -> Result<Vec<Slot>, CommandError> {
        self.settle_store()?;
        let mut differences = Vec::new();
        let mut compared = 0;
        for (memory, address, length) in self.oracle.writes() {
            let bytes = self.oracle.memory(memory);
            let range = address as usize..(address + length).min(bytes.len() as u64) as usize;
            let Some(bytes) = bytes.get(range) else { continue };
            compared += bytes.len() as u64;
            let equal = self.memory_region(memory).compare(address, bytes);
            if !matches!(equal, Ok(None)) {
                differences.extend(self.memory_differences(memory, address, bytes));
            }
        }
        self.stats.memory_bytes += compared;
        for (table, first, count) in self.oracle.table_writes() {
            differences.extend(self.table_differences(table, first, count)?);
        }
        self.oracle.clear_writes();
        // Only the instance that executed can have set a global since.
        let here = self.oracle.top().map(|top| top.boundary.instance);
        let before = self.last.map(|last| last.instance).filter(|before| Some(*before) != here);
        let all = matches!(self.selection, Selection::Shipped(_));
        let all = if all { 0..self.oracle.instances().len() } else { 0..0 };
        let here = here.filter(|_| all.is_empty());
        let before = before.filter(|_| all.is_empty());
        let all = all.map(InstanceId::from_index);
        for instance in here.into_iter().chain(before).chain(all) {
            for at in 0..self.mutable_globals[instance.index()].len() {
                let (index, ty) = self.mutable_globals[instance.index()][at];
                if let Some(found) = self.global_difference(instance, index, ty)? {
                    differences.push(found);
                }
            }
        }
        Ok(differences)
    }

    /// Compares whole memories and their sizes, tables, globals, and what else the
    /// instance data hold.
    ///
    /// Returns the differences and what to watch in order to find the boundary at
    /// which they arose.
    pub(super) fn compare_whole(&mut self) -> Result<(Vec<Slot>, Watch), CommandError> {
        self.settle_store()?;
        let memories = (0..self.oracle.num_memories()).map(MemoryId::from_index);
        let bytes: u64 = memories.map(|memory| self.oracle.memory(memory).len() as u64).sum();
        self.stats.memory_bytes += bytes;
        self.differing_store()
    }

    /// The same of a store that is as it is, compared or not: what led to a divergence
    /// may have been written long before it.
    pub(super) fn differing_store(&self) -> Result<(Vec<Slot>, Watch), CommandError> {
        let mut differences = Vec::new();
        let mut watch = Watch::default();
        for memory in (0..self.oracle.num_memories()).map(MemoryId::from_index) {
            let bytes = self.oracle.memory(memory);
            let region = self.memory_region(memory);
            if region.len() != bytes.len() as u64 {
                let page = self.page_bytes(memory);
                let pages = |bytes: u64| Some(bytes / page);
                let (want, got) = (pages(bytes.len() as u64), pages(region.len()));
                let name = SlotName::MemorySize(self.memory_index(memory).get());
                differences.push(Slot::number(name, SlotType::U64, want, got));
                continue;
            }
            if !matches!(region.compare(0, bytes), Ok(None)) {
                differences.extend(self.memory_differences(memory, 0, bytes));
                watch.memory.get_or_insert_with(|| self.differing_bytes(memory, bytes));
            }
        }
        for table in (0..self.oracle.num_tables()).map(TableId::from_index) {
            let count = self.oracle.table(table).len() as u64;
            let found = self.table_differences(table, 0, count)?;
            watch.elements.extend(found.iter().filter_map(|slot| match slot.slot {
                SlotName::Table { element, .. } => Some((table, element)),
                _ => None,
            }));
            differences.extend(found);
        }
        for instance in self.oracle.instances() {
            let defined = instance.module.num_imported_globals() as usize;
            for (at, global) in instance.globals.iter().enumerate().skip(defined) {
                let (index, ty) = (GlobalIdx::from_index(at), self.oracle.global(*global).0);
                if let Some(found) = self.global_difference(instance.id(), index, ty)? {
                    differences.push(found);
                    watch.globals.push((instance.id(), index, ty));
                }
            }
        }
        for id in self.oracle.instances().iter().map(Instance::id) {
            for at in 0..self.spaces[id.index()].kept().len() {
                if let Some(found) = self.kept_difference(id, at)? {
                    watch.kept.push((id, at));
                    // A table's size may be among them already.
                    if watch.kept.len() <= LISTED
                        && differences.iter().all(|other| other.slot != found.slot)
                    {
                        differences.push(found);
                    }
                }
            }
        }
        differences.extend(self.dropped_differences());
        Ok((differences, watch))
    }

    /// The first bytes of a memory that differ from the oracle's.
    fn differing_bytes(&self, memory: MemoryId, bytes: &[u8]) -> (MemoryId, Vec<u64>) {
        let region = self.memory_region(memory);
        let differences = region.differences(0, bytes, LISTED).unwrap_or_default();
        let addresses =
            differences.into_iter().flat_map(|range| range.take(LISTED_BYTES as usize)).collect();
        (memory, addresses)
    }

    /// Compares what an earlier run found to differ in the end.
    pub(super) fn compare_watched(&mut self) -> Result<Vec<Slot>, CommandError> {
        let mut differences = Vec::new();
        if let Some((memory, addresses)) = &self.watch.memory
            && memory.index() < self.oracle.num_memories()
        {
            let bytes = self.oracle.memory(*memory);
            let region = self.memory_region(*memory);
            for &address in addresses {
                let Some(byte) = bytes.get(address as usize).map(std::slice::from_ref) else {
                    continue;
                };
                // A memory that has not grown so far yet has no such byte.
                if address < region.len() && !matches!(region.compare(address, byte), Ok(None)) {
                    differences.extend(self.memory_differences(*memory, address, byte));
                }
            }
        }
        // What is not there yet, in a script that is being linked, is not looked at.
        for &(table, element) in &self.watch.elements {
            if table.index() < self.oracle.num_tables() {
                differences.extend(self.table_differences(table, element, 1)?);
            }
        }
        let linked = self.oracle.instances().len();
        for &(instance, index, ty) in &self.watch.globals {
            if instance.index() < linked {
                differences.extend(self.global_difference(instance, index, ty)?);
            }
        }
        for &(instance, at) in &self.watch.kept {
            if instance.index() < linked {
                differences.extend(self.kept_difference(instance, at)?);
            }
        }
        Ok(differences)
    }

    /// The subject's form of a memory of the oracle's.
    #[inline]
    pub(super) fn memory_region(&self, memory: MemoryId) -> &SharedRegion {
        let (owner, index) = self.owners.memories[memory.index()];
        self.subject.region(self.spaces[owner.index()].memories[index.index()])
    }

    /// The index of a memory in the instance that defines it.
    fn memory_index(&self, memory: MemoryId) -> MemoryIdx {
        self.owners.memories[memory.index()].1
    }

    /// What differs in a range of memory that is known to differ.
    fn memory_differences(&self, memory: MemoryId, address: u64, expected: &[u8]) -> Vec<Slot> {
        let region = self.memory_region(memory);
        let page = self.page_bytes(memory);
        let memory = self.memory_index(memory);
        let slot = |at: u64, want: &[u8], got: &[u8]| {
            Slot::bytes(memory.get(), at, want, got)
                .read_from(region.address().offset(at as i64).to_string())
        };
        let mut found = Vec::new();
        for range in region.differences(address, expected, LISTED).unwrap_or_default() {
            let length = (range.end - range.start).min(LISTED_BYTES) as usize;
            let from = (range.start - address) as usize;
            let mut actual = vec![0; length];
            if let Some(want) = expected.get(from..from + length)
                && region.read(range.start, &mut actual).is_ok()
            {
                found.push(slot(range.start, want, &actual));
            }
        }
        if found.is_empty() {
            // The subject's memory ends before what the oracle wrote.
            let pages = expected.len() as u64 + address;
            let (want, got) = (pages.div_ceil(page), region.len() / page);
            let name = SlotName::MemorySize(memory.get());
            found.push(Slot::number(name, SlotType::U64, Some(want), Some(got)));
        }
        found
    }

    fn page_bytes(&self, memory: MemoryId) -> u64 {
        let (owner, index) = self.owners.memories[memory.index()];
        self.spaces[owner.index()].memory_types[index.index()].page_bytes()
    }

    fn table_differences(
        &self,
        table: TableId,
        first: u64,
        count: u64,
    ) -> Result<Vec<Slot>, CommandError> {
        let (owner, index) = self.owners.tables[table.index()];
        let space = &self.spaces[owner.index()];
        let elements = self.oracle.table(table);
        let ty = self.oracle.instance(owner).module.tables()[index.index()].element;
        let ty = ValType::Ref(ty);
        let region = self.subject.region(space.tables[index.index()]);
        let mut found = Vec::new();
        let size = space.table_size(&self.subject, index)?;
        if size != elements.len() as u64 {
            let name = SlotName::TableSize(index.get());
            let want = Some(elements.len() as u64);
            found.push(Slot::number(name, SlotType::U64, want, Some(size)));
        }
        let end = first.saturating_add(count).min(elements.len() as u64);
        for position in first..end {
            let native = region.read_u64(position * 8).map_err(CommandError::bug)?;
            let (want, got) = (elements[position as usize], space.cell(ty, native));
            if want != got && found.len() < LISTED {
                found.push(difference(
                    SlotName::Table { table: index.get(), element: position },
                    Value::from_cell(ty, want),
                    Some(Value::from_cell(ty, got)),
                    format!("table {} element {position}, native {native:#x}", index.get()),
                ));
            }
        }
        Ok(found)
    }

    /// One of the words in the instance data that code only reads.
    fn kept_difference(
        &self,
        instance: InstanceId,
        at: usize,
    ) -> Result<Option<Slot>, CommandError> {
        let space = &self.spaces[instance.index()];
        let store = self.oracle.instance(instance);
        let Some(&(offset, kept)) = space.kept().get(at) else { return Ok(None) };
        let (name, expected) = match kept {
            Kept::Constant(word) => (SlotName::InstanceData(offset), word),
            // What the region has is compared with the oracle's size elsewhere.
            Kept::MemorySize(index) => {
                let bytes = self.memory_region(store.memories[index.index()]).len();
                (SlotName::InstanceData(offset), bytes)
            }
            Kept::TableSize(index) => {
                let elements = self.oracle.table(store.tables[index.index()]).len() as u64;
                (SlotName::TableSize(index.get()), elements)
            }
        };
        let region = self.subject.region(space.data);
        let actual = region.read_u64(u64::from(offset)).map_err(CommandError::bug)?;
        Ok((actual != expected).then(|| {
            let place = region.address().offset(i64::from(offset)).to_string();
            Slot::number(name, SlotType::U64, Some(expected), Some(actual)).read_from(place)
        }))
    }

    fn global_difference(
        &self,
        instance: InstanceId,
        index: GlobalIdx,
        ty: ValType,
    ) -> Result<Option<Slot>, CommandError> {
        let id = self.oracle.instance(instance).globals[index.index()];
        let expected = match ty {
            ValType::V128 => self.oracle.global_value(id),
            _ => Value::from_cell(ty, self.oracle.global(id).1),
        };
        let actual = self.spaces[instance.index()].global(&self.subject, index, ty)?;
        Ok((!same(actual, expected)).then(|| {
            difference(
                SlotName::Global(index.get()),
                expected,
                Some(actual),
                "instance data".into(),
            )
        }))
    }
}
