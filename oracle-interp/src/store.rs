//! Memories, tables, globals and instances, each with an identity.
//!
//! What two instances share by import exists once here, under one id; an
//! instance holds the ids that its module's index spaces stand for.

use crate::module::Module;
use crate::writes::Writes;
use std::sync::Arc;
use wasm_view::{
    Cell, DataIdx, ElemIdx, FuncAddr, FuncIdx, GlobalId, GlobalType, InstanceId, MemoryId,
    MemoryType, TableId, TableType, Trap, ValType, Value,
};

/// A linear memory.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    pub(crate) ty: MemoryType,
    pub(crate) data: Vec<u8>,
}

impl Memory {
    /// Present size.
    pub(crate) fn pages(&self) -> u64 {
        self.data.len() as u64 / MemoryType::PAGE
    }

    /// The positions of `length` bytes at `address`, if they exist.
    pub(crate) fn range(&self, address: u64, length: u64) -> Result<std::ops::Range<usize>, Trap> {
        range_within(self.data.len(), address, length).ok_or(Trap::MemoryOutOfBounds)
    }
}

/// A table.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) ty: TableType,
    pub(crate) elements: Vec<Cell>,
}

impl Table {
    /// The positions of `count` elements from `first` on, if they exist.
    pub(crate) fn range(&self, first: u64, count: u64) -> Result<std::ops::Range<usize>, Trap> {
        range_within(self.elements.len(), first, count).ok_or(Trap::TableOutOfBounds)
    }
}

/// `first..first + count`, if that lies within `len`; also an empty range at
/// the end does.
pub(crate) fn range_within(len: usize, first: u64, count: u64) -> Option<std::ops::Range<usize>> {
    let end = first.checked_add(count)?;
    (end <= len as u64).then_some(first as usize..end as usize)
}

/// A global.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Global {
    pub(crate) ty: GlobalType,
    pub(crate) value: Cell,
}

/// An instance of a module.
#[derive(Clone, Debug)]
pub struct Instance {
    pub(crate) id: InstanceId,
    /// The module.
    pub module: Arc<Module>,
    /// Its memories, by index.
    pub memories: Vec<MemoryId>,
    /// Its tables, by index.
    pub tables: Vec<TableId>,
    /// Its globals, by index.
    pub globals: Vec<GlobalId>,
    /// What its imported functions are.
    pub(crate) imported_funcs: Vec<FuncAddr>,
    pub(crate) dropped_data: Vec<bool>,
    /// Contents of the element segments; dropped ones are empty.
    pub(crate) elements: Vec<Vec<Cell>>,
    pub(crate) dropped_elements: Vec<bool>,
}

impl Instance {
    /// Its place in the store.
    pub fn id(&self) -> InstanceId {
        self.id
    }

    /// The identity of a function of the module's index space: an import is
    /// named by the instance that defines it, a host function by the instance
    /// that first imported it.
    pub fn resolve(&self, func: FuncIdx) -> FuncAddr {
        self.imported_funcs
            .get(func.index())
            .copied()
            .unwrap_or(FuncAddr { instance: self.id, func })
    }

    /// Contents of an element segment; a dropped one is empty.
    pub fn element_segment(&self, elem: ElemIdx) -> &[Cell] {
        self.elements.get(elem.index()).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether a data segment was dropped.
    pub fn is_data_dropped(&self, data: DataIdx) -> bool {
        self.dropped_data.get(data.index()) == Some(&true)
    }

    /// Data segments that were dropped. Instantiation drops the active ones.
    pub fn dropped_data(&self) -> impl Iterator<Item = DataIdx> + '_ {
        dropped(&self.dropped_data).map(DataIdx::from_index)
    }

    /// Element segments that were dropped. Instantiation drops the active and
    /// the declared ones.
    pub fn dropped_elements(&self) -> impl Iterator<Item = ElemIdx> + '_ {
        dropped(&self.dropped_elements).map(ElemIdx::from_index)
    }
}

fn dropped(flags: &[bool]) -> impl Iterator<Item = usize> + '_ {
    flags.iter().enumerate().filter(|(_, dropped)| **dropped).map(|(index, _)| index)
}

/// Everything but the stack.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    pub(crate) instances: Vec<Instance>,
    pub(crate) memories: Vec<Memory>,
    pub(crate) tables: Vec<Table>,
    pub(crate) globals: Vec<Global>,
    pub(crate) writes: Writes,
}

impl Store {
    /// The instance that defines a function, if there is such a function.
    pub(crate) fn instance_of(&self, addr: FuncAddr) -> Option<&Instance> {
        let instance = self.instances.get(addr.instance.index())?;
        (addr.func.get() < instance.module.num_funcs()).then_some(instance)
    }

    /// The function reference that values stand for, if they are references,
    /// is one that the store has.
    pub(crate) fn check_reference(&self, value: Value) -> Result<(), FuncAddr> {
        match value {
            Value::FuncRef(Some(addr)) if self.instance_of(addr).is_none() => Err(addr),
            _ => Ok(()),
        }
    }

    /// Pages of all memories.
    pub(crate) fn total_pages(&self) -> u64 {
        self.memories.iter().map(Memory::pages).sum()
    }

    /// Elements of all tables.
    pub(crate) fn total_elements(&self) -> u64 {
        self.tables.iter().map(|table| table.elements.len() as u64).sum()
    }

    /// `memory.init`, also for active segments.
    pub(crate) fn memory_init(
        &mut self,
        instance: InstanceId,
        memory: MemoryId,
        data: DataIdx,
        [destination, source, length]: [u64; 3],
    ) -> Result<(), Trap> {
        let instance = &self.instances[instance.index()];
        let segment = if instance.dropped_data[data.index()] {
            &[]
        } else {
            instance.module.data_segment(data).unwrap_or(&[])
        };
        let from = range_within(segment.len(), source, length).ok_or(Trap::MemoryOutOfBounds)?;
        let target = &mut self.memories[memory.index()];
        let to = target.range(destination, length)?;
        target.data[to].copy_from_slice(&segment[from]);
        if length > 0 {
            self.writes.note(memory, destination, length);
        }
        Ok(())
    }

    /// `table.init`, also for active segments.
    pub(crate) fn table_init(
        &mut self,
        instance: InstanceId,
        table: TableId,
        elem: ElemIdx,
        [destination, source, length]: [u64; 3],
    ) -> Result<(), Trap> {
        let segment = &self.instances[instance.index()].elements[elem.index()];
        let from = range_within(segment.len(), source, length).ok_or(Trap::TableOutOfBounds)?;
        let target = &mut self.tables[table.index()];
        let to = target.range(destination, length)?;
        target.elements[to].copy_from_slice(&segment[from]);
        if length > 0 {
            self.writes.table(table, destination, length);
        }
        Ok(())
    }

    /// `data.drop`.
    pub(crate) fn data_drop(&mut self, instance: InstanceId, data: DataIdx) {
        self.instances[instance.index()].dropped_data[data.index()] = true;
    }

    /// `elem.drop`.
    pub(crate) fn elem_drop(&mut self, instance: InstanceId, elem: ElemIdx) {
        let instance = &mut self.instances[instance.index()];
        instance.elements[elem.index()] = Vec::new();
        instance.dropped_elements[elem.index()] = true;
    }

    /// Type and value of a global.
    pub(crate) fn global(&self, global: GlobalId) -> (ValType, Cell) {
        let global = &self.globals[global.index()];
        (global.ty.content, global.value)
    }
}
