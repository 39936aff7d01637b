//! Instructions that the fast loop does not execute: those that change what it
//! has borrowed, and those too long for it to matter.
//!
//! Each is executed at the present position, which moves on only on success.
//! Bulk operations check all bounds before they write anything (core spec,
//! "Memory Instructions", "Table Instructions").

use super::{Event, Grown, HostCall, Limits, Oracle, State};
use crate::choice::{Choice, ChoiceKind, GROW_FAILED};
use crate::module::OpIdx;
use crate::op::Op;
use wasm_view::{
    Cell, DataIdx, ElemIdx, FuncAddr, FuncIdx, InstanceId, MemoryId, MemoryType, SlotIdx, TableId,
    Trap, Value,
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
            Op::Call(defined) => return Ok(self.call(local(imported + defined), 0)),
            Op::CallImport(func) => {
                let target = self.instance(instance).resolve(FuncIdx::new(func));
                return Ok(self.call(target, 0));
            }
            Op::CallIndirect { table, ty } => {
                let target = self.indirect_target(instance, table, ty)?;
                return Ok(self.call(target, 1));
            }
            Op::MemoryGrow => {
                let memory = self.memory_of(instance);
                if let Some(limit) = self.memory_grow(memory) {
                    return Ok(Some(Event::LimitReached(limit)));
                }
            }
            Op::MemoryCopy => self.memory_copy(instance)?,
            Op::MemoryFill => self.memory_fill(instance)?,
            Op::MemoryInit(data) => {
                let operands = self.operands();
                let memory = self.memory_of(instance);
                self.store.memory_init(instance, memory, DataIdx::new(data), operands)?;
                self.sp -= 3;
            }
            Op::DataDrop(data) => self.store.data_drop(instance, DataIdx::new(data)),
            Op::TableSet(table) => {
                let table = self.table_of(instance, table);
                let [index, value] = self.operands();
                let elements = &mut self.store.tables[table.index()].elements;
                *elements.get_mut(index as usize).ok_or(Trap::TableOutOfBounds)? = Cell(value);
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
                self.table_copy(instance, destination, source)?;
            }
            Op::TableInit { table, elem } => {
                let operands = self.operands();
                let table = self.table_of(instance, table);
                self.store.table_init(instance, table, ElemIdx::new(elem), operands)?;
                self.sp -= 3;
            }
            Op::ElemDrop(elem) => self.store.elem_drop(instance, ElemIdx::new(elem)),
            other => debug_assert!(false, "{other:?} belongs to the fast loop"),
        }
        self.pc = OpIdx(self.pc.0 + 1);
        Ok(None)
    }

    /// The topmost `N` operands, bottom first.
    fn operands<const N: usize>(&self) -> [u64; N] {
        let first = self.sp - N;
        std::array::from_fn(|index| self.stack[first + index].0)
    }

    fn memory_of(&self, instance: InstanceId) -> MemoryId {
        self.instance(instance).memories[0]
    }

    fn table_of(&self, instance: InstanceId, table: u8) -> TableId {
        self.instance(instance).tables[usize::from(table)]
    }

    /// What `call_indirect` calls. Checked in the order bounds, null, type.
    fn indirect_target(&self, instance: InstanceId, table: u8, ty: u32) -> Result<FuncAddr, Trap> {
        let [index] = self.operands();
        let elements = self.table(self.table_of(instance, table));
        let element = *elements.get(index as usize).ok_or(Trap::UndefinedElement)?;
        let target = FuncAddr::from_cell(element).ok_or(Trap::UninitializedElement)?;
        let expected = self.instance(instance).module.types().get(ty as usize);
        if self.func_type(target) == expected {
            Ok(target)
        } else {
            Err(Trap::IndirectCallTypeMismatch)
        }
    }

    /// Calls a function of any instance or of the host, after dropping the
    /// `index` operand of an indirect call.
    fn call(&mut self, target: FuncAddr, index: usize) -> Option<Event> {
        let pc = self.pc;
        if self.is_host_function(target) {
            let params = self.func_type(target).map_or(Vec::new(), |ty| ty.params.clone());
            self.sp -= index + params.len();
            let args = params
                .iter()
                .zip(&self.stack[self.sp..])
                .map(|(&ty, &cell)| Value::from_cell(ty, cell))
                .collect();
            let call = HostCall { instance: target.instance, func: target.func, args };
            self.state = State::HostCall(call.clone());
            return Some(Event::HostCall(call));
        }
        if let Some(frame) = self.frames.last_mut() {
            frame.pc = pc;
        }
        self.sp -= index;
        match self.push_frame(target) {
            Ok(()) => None,
            Err(limit) => {
                self.sp += index;
                Some(Event::LimitReached(limit))
            }
        }
    }

    /// Writes the result of a `grow` that took `pops` operands, and records
    /// the freedom if it succeeded.
    fn grow_result(&mut self, pops: usize, result: Cell, success: Option<(ChoiceKind, Grown)>) {
        self.sp -= pops;
        self.stack[self.sp] = result;
        if let (Some((kind, grown)), Some(frame)) = (success, self.frames.last()) {
            let slot = SlotIdx::from_index(self.sp - frame.base);
            self.choice = Some(Choice { slot, kind });
            self.grown = Some(grown);
        }
        self.sp += 1;
    }

    /// The name of the limit that prevents it, if one does.
    fn memory_grow(&mut self, memory: MemoryId) -> Option<&'static str> {
        let [delta] = self.operands();
        let total = self.store.total_pages();
        let target = &mut self.store.memories[memory.index()];
        let previous = target.pages();
        let maximum = target.ty.maximum.unwrap_or(MemoryType::MAX_PAGES).min(MemoryType::MAX_PAGES);
        if previous + delta > maximum {
            self.grow_result(1, GROW_FAILED, None);
            return None;
        }
        let bytes = (delta * MemoryType::PAGE) as usize;
        if total + delta > self.limits.max_memory_pages
            || target.data.try_reserve_exact(bytes).is_err()
        {
            return Some(Limits::MEMORY_PAGES);
        }
        target.data.resize(target.data.len() + bytes, 0);
        let kind = ChoiceKind::MemoryGrow { previous: previous as u32 };
        self.grow_result(1, Cell(previous), Some((kind, Grown::Memory(memory))));
        None
    }

    /// The name of the limit that prevents it, if one does.
    fn table_grow(&mut self, table: TableId) -> Option<&'static str> {
        let [value, delta] = self.operands();
        let total = self.store.total_elements();
        let target = &mut self.store.tables[table.index()];
        let previous = target.elements.len() as u64;
        let maximum = target.ty.maximum.unwrap_or(u64::from(u32::MAX));
        if previous + delta > maximum.min(u64::from(u32::MAX)) {
            self.grow_result(2, GROW_FAILED, None);
            return None;
        }
        if total + delta > self.limits.max_table_elements
            || target.elements.try_reserve(delta as usize).is_err()
        {
            return Some(Limits::TABLE_ELEMENTS);
        }
        target.elements.resize((previous + delta) as usize, Cell(value));
        if delta > 0 {
            self.store.writes.table(table, previous, delta);
        }
        let kind = ChoiceKind::TableGrow { previous: previous as u32 };
        self.grow_result(2, Cell(previous), Some((kind, Grown::Table(table))));
        None
    }

    fn memory_copy(&mut self, instance: InstanceId) -> Result<(), Trap> {
        let [destination, source, length] = self.operands();
        let memory = self.memory_of(instance);
        let target = &mut self.store.memories[memory.index()];
        let from = target.range(source, length)?;
        let to = target.range(destination, length)?;
        target.data.copy_within(from, to.start);
        if length > 0 {
            self.store.writes.note(memory, destination, length);
        }
        self.sp -= 3;
        Ok(())
    }

    fn memory_fill(&mut self, instance: InstanceId) -> Result<(), Trap> {
        let [destination, value, length] = self.operands();
        let memory = self.memory_of(instance);
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
        destination: u8,
        source: u8,
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
