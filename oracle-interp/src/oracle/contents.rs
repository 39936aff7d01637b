//! What is in the store, for whoever looks at it from outside, and the log of
//! what was written.

use super::Oracle;
use crate::error::HostAccessError;
use wasm_view::{Cell, ExnId, GlobalId, InstanceId, MemoryId, TableId, TagId, ValType, Value};

impl Oracle {
    /// The contents of a memory.
    pub fn memory(&self, memory: MemoryId) -> &[u8] {
        &self.store.memories[memory.index()].data
    }

    /// How many memories the store has.
    pub fn num_memories(&self) -> usize {
        self.store.memories.len()
    }

    /// The elements of a table.
    pub fn table(&self, table: TableId) -> &[Cell] {
        &self.store.tables[table.index()].elements
    }

    /// Every exception of the store, with its tag and arguments.
    pub fn exceptions(&self) -> Vec<(ExnId, TagId, Vec<Value>)> {
        let heap = &self.store.heap;
        heap.exceptions()
            .map(|(id, exception)| {
                (id, exception.tag, self.store.values(&exception.types, &exception.args))
            })
            .collect()
    }

    /// How many tables the store has.
    pub fn num_tables(&self) -> usize {
        self.store.tables.len()
    }

    /// Type and first cell of a global, see [`Oracle::global_value`] for the
    /// whole of a vector.
    pub fn global(&self, global: GlobalId) -> (ValType, Cell) {
        let global = &self.store.globals[global.index()];
        (global.ty.content, global.value)
    }

    /// The value of a global.
    pub fn global_value(&self, global: GlobalId) -> Value {
        let global = &self.store.globals[global.index()];
        self.store.value(global.ty.content, &[global.value, global.high])
    }

    /// An element of a table, if it exists.
    pub fn table_value(&self, table: TableId, index: u64) -> Option<Value> {
        let table = &self.store.tables[table.index()];
        let cell = table.elements.get(usize::try_from(index).ok()?)?;
        Some(self.store.value(ValType::Ref(table.ty.element), &[*cell]))
    }

    /// The value that cells hold which are of a type of an instance's module.
    ///
    /// # Panics
    ///
    /// If there are fewer than [`ValType::cells`].
    pub fn value(&self, instance: InstanceId, ty: ValType, cells: &[Cell]) -> Value {
        self.store.value(self.store.localise(instance, ty), cells)
    }

    /// Whether a cell is a reference of this type of an instance's module.
    pub(crate) fn is_reference(&self, instance: InstanceId, ty: ValType, cell: Cell) -> bool {
        let ty = self.store.localise(instance, ty);
        self.store.is_of(self.store.value(ty, &[cell]), ty)
    }

    /// Tag and arguments of an exception that the store has.
    pub fn exception(&self, exn: ExnId) -> Option<(TagId, Vec<Value>)> {
        let exception = self.store.heap.exception(exn)?;
        Some((exception.tag, self.store.values(&exception.types, &exception.args)))
    }

    /// The values of a structure's fields or an array's elements, packed ones
    /// zero-extended.
    pub fn object(&self, object: wasm_view::ObjectId) -> Option<Vec<Value>> {
        let found = self.store.heap.object(object)?;
        let fields = &self.store.layout(found.ty).fields;
        let is_array = matches!(
            self.store.types.get(found.ty).definition.composite,
            crate::types::CompositeType::Array(_)
        );
        let value = |field: usize, element: usize| {
            let ty = fields[field].1.unpacked();
            self.store.value(ty, &self.store.field(object, field, element))
        };
        Some(if is_array {
            (0..found.length as usize).map(|element| value(0, element)).collect()
        } else {
            (0..fields.len()).map(|field| value(field, 0)).collect()
        })
    }

    /// Whether a reference is a structure, rather than an array or a number.
    pub fn is_struct(&self, object: wasm_view::ObjectId) -> bool {
        self.store.heap.object(object).is_some_and(|object| {
            matches!(
                self.store.types.get(object.ty).definition.composite,
                crate::types::CompositeType::Struct(_)
            )
        })
    }

    /// How many globals the store has.
    pub fn num_globals(&self) -> usize {
        self.store.globals.len()
    }

    /// Writes to a memory for the host; logged like a write of the program's.
    pub fn host_write(
        &mut self,
        memory: MemoryId,
        address: u64,
        bytes: &[u8],
    ) -> Result<(), HostAccessError> {
        let length = bytes.len() as u64;
        let target = &mut self.store.memories[memory.index()];
        let range = target.range(address, length).map_err(|_| HostAccessError {
            memory,
            address,
            length,
        })?;
        target.data[range].copy_from_slice(bytes);
        if length > 0 {
            self.store.writes.note(memory, address, length);
        }
        Ok(())
    }

    /// Overwrites a global's number or vector, as a debugger would; a value of
    /// another type, or a reference, changes nothing.
    pub fn set_global(&mut self, global: GlobalId, value: Value) {
        let of_type = self.global(global).0 == value.ty();
        if of_type && !matches!(value.ty(), ValType::Ref(_)) {
            let target = &mut self.store.globals[global.index()];
            let mut cells = value.to_cells();
            target.value = cells.next().unwrap_or_default();
            target.high = cells.next().unwrap_or_default();
        }
    }

    /// Memory written since [`Oracle::clear_writes`], by the program, by
    /// [`Oracle::host_write`] or by instantiation: (memory, address, length in
    /// bytes). Exact up to some thousand writes, then rounded out to 4 KiB.
    /// Memory that was grown is not listed: it shows by the memory's size.
    pub fn writes(&self) -> impl Iterator<Item = (MemoryId, u64, u64)> + '_ {
        self.store.writes.memory_writes().filter_map(|(memory, address, length)| {
            let size = self.memory(memory).len() as u64;
            let length = length.min(size.checked_sub(address)?);
            (length > 0).then_some((memory, address, length))
        })
    }

    /// Table elements written since [`Oracle::clear_writes`]: (table, first
    /// element, count).
    pub fn table_writes(&self) -> impl Iterator<Item = (TableId, u64, u64)> + '_ {
        self.store.writes.table_writes().filter_map(|(table, first, count)| {
            let size = self.table(table).len() as u64;
            let count = count.min(size.checked_sub(first)?);
            (count > 0).then_some((table, first, count))
        })
    }

    /// Whether writes are logged, as they are from the beginning. Who never
    /// asks for [`Oracle::writes`] runs faster without.
    pub fn set_write_log(&mut self, on: bool) {
        self.store.writes.set_on(on);
    }

    /// Forgets which memory and table elements were written.
    pub fn clear_writes(&mut self) {
        self.store.writes.clear();
    }
}
