//! Instructions that the fast loop does not execute: those that change what it
//! has borrowed, and those too long for it to matter.
//!
//! Each is executed at the present position, which moves on only on success.
//! Bulk operations check all bounds before they write anything (core spec,
//! "Memory Instructions", "Table Instructions").

use super::calls::Return;
use super::{Event, Grown, Limits, Oracle};
use crate::choice::{Choice, ChoiceKind, GROW_FAILED, GROW_FAILED_64};
use crate::module::OpIdx;
use crate::op::Op;
use wasm_view::{
    AddressType, Cell, DataIdx, ElemIdx, FuncAddr, FuncIdx, InstanceId, MemoryId, MemoryType,
    TableId, Trap, TypeIdx,
};

impl Oracle {
    /// Executes the instruction at the position. `None` means that execution
    /// goes on.
    pub(super) fn slow_instruction(&mut self) -> Result<Option<Event>, Trap> {
        let Some(frame) = self.frames.last() else {
            return Ok(None);
        };
        let instance = frame.instance;
        let module = &self.store.instances[instance.index()].module;
        let op = module.code.ops[self.pc.index()];
        let imported = module.num_imported_funcs();
        let local = |func: u32| FuncAddr { instance, func: FuncIdx::new(func) };
        match op {
            Op::Rare(index) => {
                let rare = module.code.rare[index as usize].rare;
                return self.rare_instruction(instance, rare);
            }
            Op::Call(defined) => {
                return Ok(self.call(local(imported + defined), 0, Return::ToCaller));
            }
            Op::CallImport(func) => {
                let target = self.instance(instance).resolve(FuncIdx::new(func));
                return Ok(self.call(target, 0, Return::ToCaller));
            }
            Op::CallIndirect { table, ty } => {
                let ty = TypeIdx::new(ty);
                let target = self.indirect_target(instance, u32::from(table), ty)?;
                return Ok(self.call(target, 1, Return::ToCaller));
            }
            Op::MemoryGrow(memory) => {
                let memory = self.memory_of(instance, memory);
                if let Some(limit) = self.memory_grow(memory) {
                    return Ok(Some(Event::LimitReached(limit)));
                }
            }
            Op::MemoryCopy { destination, source } => {
                self.memory_copy(instance, u32::from(destination), source)?;
            }
            Op::MemoryFill(memory) => self.memory_fill(instance, memory)?,
            Op::MemoryInit { memory, data } => {
                let operands = self.operands();
                let memory = self.memory_of(instance, u32::from(memory));
                self.store.memory_init(instance, memory, DataIdx::new(data), operands)?;
                self.sp -= 3;
            }
            Op::DataDrop(data) => self.store.data_drop(instance, DataIdx::new(data)),
            Op::TableSet(table) => {
                let table = self.table_of(instance, table);
                let [index, value] = self.operands();
                let elements = &mut self.store.tables[table.index()].elements;
                let index_in = usize::try_from(index).ok();
                let element = index_in.and_then(|index| elements.get_mut(index));
                *element.ok_or(Trap::TableOutOfBounds)? = Cell(value);
                self.store.writes.table(table, index, 1);
                self.sp -= 2;
            }
            Op::TableGrow(table) => {
                let table = self.table_of(instance, table);
                if let Some(limit) = self.table_grow(table) {
                    return Ok(Some(Event::LimitReached(limit)));
                }
            }
            Op::TableFill(table) => {
                let table = self.table_of(instance, table);
                let [first, value, count] = self.operands();
                let target = &mut self.store.tables[table.index()];
                let range = target.range(first, count)?;
                target.elements[range].fill(Cell(value));
                if count > 0 {
                    self.store.writes.table(table, first, count);
                }
                self.sp -= 3;
            }
            Op::TableCopy { destination, source } => {
                self.table_copy(instance, u32::from(destination), source)?;
            }
            Op::TableInit { table, elem } => {
                let operands = self.operands();
                let table = self.table_of(instance, u32::from(table));
                self.store.table_init(instance, table, ElemIdx::new(elem), operands)?;
                self.sp -= 3;
            }
            Op::ElemDrop(elem) => self.store.elem_drop(instance, ElemIdx::new(elem)),
            other => debug_assert!(false, "{other:?} belongs to the fast loop"),
        }
        self.pc = OpIdx(self.pc.0 + 1);
        Ok(None)
    }

    /// The topmost `N` cells, bottom first.
    pub(super) fn operands<const N: usize>(&self) -> [u64; N] {
        let first = self.sp - N;
        std::array::from_fn(|index| self.stack[first + index].0)
    }

    pub(super) fn memory_of(&self, instance: InstanceId, memory: u32) -> MemoryId {
        self.instance(instance).memories[memory as usize]
    }

    pub(super) fn table_of(&self, instance: InstanceId, table: u32) -> TableId {
        self.instance(instance).tables[table as usize]
    }

    /// Writes the result of a `grow` that took `pops` operands, and records
    /// the freedom if it succeeded.
    fn grow_result(&mut self, pops: usize, result: Cell, success: Option<(ChoiceKind, Grown)>) {
        self.replace(pops, &[result]);
        if let (Some((kind, grown)), Some(frame)) = (success, self.frames.last()) {
            let cell = self.sp - 1 - frame.base;
            self.choice = Some(Choice { slot: self.slot_of_cell(cell), kind });
            self.grown = Some(grown);
        }
    }

    /// The name of the limit that prevents it, if one does.
    fn memory_grow(&mut self, memory: MemoryId) -> Option<&'static str> {
        let [delta] = self.operands();
        let total = self.store.total_bytes();
        let target = &mut self.store.memories[memory.index()];
        let previous = target.pages();
        let ty = target.ty;
        let new = previous.checked_add(delta).filter(|&pages| pages <= ty.most_pages());
        // No machine has more address space.
        let new =
            new.filter(|&pages| pages.checked_mul(ty.page_bytes()).is_some_and(|b| b >> 48 == 0));
        let Some(new) = new else {
            let failed = match ty.address {
                AddressType::I32 => GROW_FAILED,
                AddressType::I64 => GROW_FAILED_64,
            };
            self.grow_result(1, failed, None);
            return None;
        };
        let bytes = (new - previous) * ty.page_bytes();
        if total + bytes > self.limits.max_memory_pages.saturating_mul(MemoryType::PAGE)
            || target.data.try_reserve_exact(bytes as usize).is_err()
        {
            return Some(Limits::MEMORY_PAGES);
        }
        target.data.resize(target.data.len() + bytes as usize, 0);
        let kind = match ty.address {
            AddressType::I32 => ChoiceKind::MemoryGrow { previous: previous as u32 },
            AddressType::I64 => ChoiceKind::Grow64 { previous, table: false },
        };
        self.grow_result(1, Cell(previous), Some((kind, Grown::Memory(memory))));
        None
    }

    /// The name of the limit that prevents it, if one does.
    fn table_grow(&mut self, table: TableId) -> Option<&'static str> {
        let [value, delta] = self.operands();
        let total = self.store.total_elements();
        let target = &mut self.store.tables[table.index()];
        let previous = target.elements.len() as u64;
        let (space, failed) = match target.ty.address {
            AddressType::I32 => (u64::from(u32::MAX), GROW_FAILED),
            // No machine has more address space.
            AddressType::I64 => (1 << 45, GROW_FAILED_64),
        };
        let maximum = target.ty.maximum.unwrap_or(space).min(space);
        let new = previous.checked_add(delta).filter(|&elements| elements <= maximum);
        let Some(new) = new else {
            self.grow_result(2, failed, None);
            return None;
        };
        if total + delta > self.limits.max_table_elements
            || target.elements.try_reserve(delta as usize).is_err()
        {
            return Some(Limits::TABLE_ELEMENTS);
        }
        target.elements.resize(new as usize, Cell(value));
        let kind = match target.ty.address {
            AddressType::I32 => ChoiceKind::TableGrow { previous: previous as u32 },
            AddressType::I64 => ChoiceKind::Grow64 { previous, table: true },
        };
        if delta > 0 {
            self.store.writes.table(table, previous, delta);
        }
        self.grow_result(2, Cell(previous), Some((kind, Grown::Table(table))));
        None
    }

    fn memory_copy(
        &mut self,
        instance: InstanceId,
        destination: u32,
        source: u32,
    ) -> Result<(), Trap> {
        let [to, from, length] = self.operands();
        let target = self.memory_of(instance, destination);
        let origin = self.memory_of(instance, source);
        let from = self.store.memories[origin.index()].range(from, length)?;
        let range = self.store.memories[target.index()].range(to, length)?;
        if target == origin {
            self.store.memories[target.index()].data.copy_within(from, range.start);
        } else if let Ok([target, origin]) =
            self.store.memories.get_disjoint_mut([target.index(), origin.index()])
        {
            target.data[range].copy_from_slice(&origin.data[from]);
        }
        if length > 0 {
            self.store.writes.note(target, to, length);
        }
        self.sp -= 3;
        Ok(())
    }

    fn memory_fill(&mut self, instance: InstanceId, memory: u32) -> Result<(), Trap> {
        let [destination, value, length] = self.operands();
        let memory = self.memory_of(instance, memory);
        let target = &mut self.store.memories[memory.index()];
        let range = target.range(destination, length)?;
        target.data[range].fill(value as u8);
        if length > 0 {
            self.store.writes.note(memory, destination, length);
        }
        self.sp -= 3;
        Ok(())
    }

    fn table_copy(
        &mut self,
        instance: InstanceId,
        destination: u32,
        source: u32,
    ) -> Result<(), Trap> {
        let [first, from, count] = self.operands();
        let destination = self.table_of(instance, destination);
        let source = self.table_of(instance, source);
        let from = self.store.tables[source.index()].range(from, count)?;
        let to = self.store.tables[destination.index()].range(first, count)?;
        if source == destination {
            self.store.tables[source.index()].elements.copy_within(from, to.start);
        } else {
            // Two tables: what is copied is taken out first.
            let elements = self.store.tables[source.index()].elements[from].to_vec();
            self.store.tables[destination.index()].elements[to].copy_from_slice(&elements);
        }
        if count > 0 {
            self.store.writes.table(destination, first, count);
        }
        self.sp -= 3;
        Ok(())
    }
}
