//! Comparison of frames, globals, memories and tables.
//!
//! At every stop the innermost frame and all globals are compared in full,
//! memories and tables where the oracle has written since the last stop, and by
//! size. What Wasmtime alone has written shows when everything is compared: at
//! regular stops, and at the end of every call.

use crate::lockstep::{Halt, Host, Session, cannot};
use crate::outcome::count;
use crate::value::{self, Verdict};
use oracle_interp::Module;
use wasm_view::{Boundary, FuncIdx, GlobalId, MemoryId, TableId, ValType, Value, WasmOffset};
use wasmtime::{
    AsContextMut, FrameHandle, Global, Instance, Memory, SharedMemory, StoreContextMut, Table, Val,
};

/// How many waiting frames are compared when the depth changes.
const PARENTS: usize = 8;

/// Wasmtime's instance with its definitions, by index.
pub(crate) struct Native {
    globals: Vec<(GlobalId, Global)>,
    memories: Vec<(MemoryId, AnyMemory)>,
    tables: Vec<(TableId, Table)>,
}

/// A memory of Wasmtime's.
pub(crate) enum AnyMemory {
    Own(Memory),
    /// Its bytes cannot be read without `unsafe`.
    Shared(SharedMemory),
}

impl Native {
    /// The memory of this index, unless it is shared.
    pub(crate) fn memory(&self, index: usize) -> Option<Memory> {
        match self.memories.get(index)? {
            (_, AnyMemory::Own(memory)) => Some(*memory),
            (_, AnyMemory::Shared(_)) => None,
        }
    }
}

impl Session {
    /// Finds the definitions of Wasmtime's instance, and pairs the exported
    /// functions.
    pub(crate) fn know_instance(
        &mut self,
        instance: Instance,
        store: &mut StoreContextMut<'_, Host>,
    ) {
        let ours = self.oracle.instance(self.instance);
        let globals = ours.globals.iter().enumerate().filter_map(|(index, id)| {
            Some((*id, instance.debug_global(store.as_context_mut(), index as u32)?))
        });
        let globals = globals.collect();
        let memories = ours.memories.iter().enumerate().filter_map(|(index, id)| {
            let index = index as u32;
            let own = instance.debug_memory(store.as_context_mut(), index).map(AnyMemory::Own);
            let memory = own.or_else(|| {
                let shared = instance.debug_shared_memory(store.as_context_mut(), index);
                shared.map(AnyMemory::Shared)
            });
            Some((*id, memory?))
        });
        let memories = memories.collect();
        let tables = ours.tables.iter().enumerate().filter_map(|(index, id)| {
            Some((*id, instance.debug_table(store.as_context_mut(), index as u32)?))
        });
        let tables = tables.collect();
        for export in self.module.exports() {
            if let Some(func) = instance.get_func(store.as_context_mut(), &export.name) {
                let addr = ours.resolve(FuncIdx::new(export.index));
                let pointer = func.to_raw(store.as_context_mut()).addr();
                self.functions.know(addr, pointer, func);
            }
        }
        self.native = Some(Native { globals, memories, tables });
    }

    /// Compares a value, and records a difference.
    fn compare_value(
        &mut self,
        what: impl FnOnce() -> String,
        ours: Value,
        theirs: &Val,
        store: &mut StoreContextMut<'_, Host>,
    ) -> Result<(), Halt> {
        self.outcome.values += 1;
        match value::compare(ours, theirs, &mut self.functions, store) {
            Verdict::Same => Ok(()),
            Verdict::Partly(name) => {
                count(&mut self.outcome.not_compared, name);
                Ok(())
            }
            Verdict::Different => {
                self.differ(what(), value::show(ours), value::show_wasmtime(theirs))
            }
        }
    }

    /// Compares arguments or results.
    pub(crate) fn compare_values(
        &mut self,
        what: &str,
        ours: &[Value],
        theirs: &[Val],
        store: &mut StoreContextMut<'_, Host>,
    ) -> Result<(), Halt> {
        if ours.len() != theirs.len() {
            let (ours, theirs) = (ours.len().to_string(), theirs.len().to_string());
            return self.differ(format!("number of {what}s"), ours, theirs);
        }
        for (index, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
            self.compare_value(|| format!("{what} {index}"), *ours, theirs, store)?;
        }
        Ok(())
    }

    /// Compares locals and operands of the innermost frame.
    pub(crate) fn compare_frame(
        &mut self,
        frame: &FrameHandle,
        store: &mut StoreContextMut<'_, Host>,
    ) -> Result<(), Halt> {
        let Some(top) = self.oracle.top().map(|top| top.to_frame()) else {
            return Err(Halt::Cannot("a boundary without a frame".to_string()));
        };
        let locals = frame.num_locals(store.as_context_mut()).map_err(cannot)?;
        let operands = frame.num_stacks(store.as_context_mut()).map_err(cannot)?;
        if locals as usize != top.locals.len() {
            let ours = top.locals.len().to_string();
            return self.differ("number of locals", ours, locals.to_string());
        }
        let offset = top.boundary.offset;
        let ours = top.operands.len();
        let mut arrangements = self.copies.arrangements(offset, ours, operands as usize);
        if arrangements.len() > 1 {
            arrangements.retain(|arrangement| {
                top.operands.iter().enumerate().all(|(index, (_, ours))| {
                    let position = arrangement.position(index) as u32;
                    let theirs = frame.stack(store.as_context_mut(), position);
                    theirs.is_ok_and(|theirs| value::could_be(*ours, &theirs))
                })
            });
        }
        let Some(arrangement) = arrangements.first() else {
            let (ours, theirs) = (format!("{ours} operands"), format!("{operands} operands"));
            return self.differ("operand stack", ours, theirs);
        };
        if arrangement.extra() > 0 {
            count(
                &mut self.outcome.not_compared,
                "parameters of an `if` that Wasmtime lists twice",
            );
        }
        for (index, (ty, ours)) in (0..).zip(&top.locals) {
            // No instruction can read it; Wasmtime's frame has what was there.
            if is_unset(*ty, *ours) {
                count(&mut self.outcome.not_compared, "a local without default before it is set");
                continue;
            }
            let theirs = frame.local(store.as_context_mut(), index).map_err(cannot)?;
            self.compare_value(|| format!("local {index}"), *ours, &theirs, store)?;
        }
        for (index, (_, ours)) in top.operands.iter().enumerate() {
            let position = arrangement.position(index) as u32;
            let theirs = frame.stack(store.as_context_mut(), position).map_err(cannot)?;
            self.compare_value(|| format!("operand {index}"), *ours, &theirs, store)?;
        }
        Ok(())
    }

    /// Compares where the frames wait that wait for this one, when there was a
    /// call or return since the last stop. The oracle names the call, Wasmtime
    /// the instruction behind it.
    pub(crate) fn compare_parents(
        &mut self,
        frame: &FrameHandle,
        store: &mut StoreContextMut<'_, Host>,
    ) -> Result<(), Halt> {
        let depth = self.oracle.depth();
        if std::mem::replace(&mut self.depth, depth) == depth {
            return Ok(());
        }
        let mut handle = frame.clone();
        for distance in 1..=PARENTS {
            let ours = depth
                .checked_sub(1 + distance)
                .and_then(|index| self.oracle.frame(index))
                .and_then(|frame| {
                    let Boundary { func, offset, .. } = frame.boundary;
                    Some((func, following(&self.module, func, offset)?))
                });
            let parent = handle.parent(store.as_context_mut()).map_err(cannot)?;
            let theirs = match &parent {
                None => None,
                Some(parent) => parent
                    .wasm_function_index_and_pc(store.as_context_mut())
                    .map_err(cannot)?
                    .map(|(func, pc)| {
                        let func = func.as_u32() + self.module.num_imported_funcs();
                        (FuncIdx::new(func), WasmOffset::new(pc.raw()))
                    }),
            };
            if ours.is_none() && theirs.is_some() && self.starting {
                // Wasmtime calls the start function from one of its own, has no
                // records of that, and takes it for the function compiled before.
                count(&mut self.outcome.not_compared, "caller of the start function");
                return Ok(());
            }
            let calling = depth
                .checked_sub(1 + distance)
                .and_then(|index| self.oracle.frame(index))
                .map(|frame| (frame.boundary.func, frame.boundary.offset));
            // Inside of `try_table` Wasmtime names the call itself.
            if ours != theirs && (theirs.is_none() || calling != theirs) {
                let (ours, theirs) = (format!("{ours:?}"), format!("{theirs:?}"));
                return self.differ(format!("caller {distance} frames up"), ours, theirs);
            }
            match parent {
                Some(parent) => handle = parent,
                None => return Ok(()),
            }
        }
        if depth > 1 + PARENTS {
            count(&mut self.outcome.not_compared, "callers more than 8 frames up");
        }
        Ok(())
    }

    /// Compares globals, sizes, and what the oracle has written.
    pub(crate) fn compare_changes(
        &mut self,
        store: &mut StoreContextMut<'_, Host>,
    ) -> Result<(), Halt> {
        let Some(native) = self.native.take() else { return Ok(()) };
        let compared = self
            .compare_globals(&native, store)
            .and_then(|()| self.compare_sizes(&native, store))
            .and_then(|()| self.compare_writes(&native, store));
        self.native = Some(native);
        compared
    }

    /// Compares all of all memories and tables too.
    pub(crate) fn compare_everything(
        &mut self,
        store: &mut StoreContextMut<'_, Host>,
    ) -> Result<(), Halt> {
        self.compare_changes(store)?;
        let Some(native) = self.native.take() else {
            count(&mut self.outcome.not_compared, "state of an instance that was never seen");
            return Ok(());
        };
        let compared = self.compare_whole(&native, store);
        self.native = Some(native);
        compared
    }

    fn compare_globals(
        &mut self,
        native: &Native,
        store: &mut StoreContextMut<'_, Host>,
    ) -> Result<(), Halt> {
        for (index, (id, global)) in native.globals.iter().enumerate() {
            let ours = self.oracle.global_value(*id);
            let theirs = global.get(store.as_context_mut());
            self.compare_value(|| format!("global {index}"), ours, &theirs, store)?;
        }
        Ok(())
    }

    fn compare_sizes(
        &mut self,
        native: &Native,
        store: &mut StoreContextMut<'_, Host>,
    ) -> Result<(), Halt> {
        for (index, (id, memory)) in native.memories.iter().enumerate() {
            let ours = self.oracle.memory(*id).len();
            let theirs = match memory {
                AnyMemory::Own(memory) => memory.data_size(store.as_context_mut()),
                AnyMemory::Shared(memory) => memory.data_size(),
            };
            if ours != theirs {
                let what = format!("bytes of memory {index}");
                return self.differ(what, ours.to_string(), theirs.to_string());
            }
        }
        for (index, (id, table)) in native.tables.iter().enumerate() {
            let ours = self.oracle.table(*id).len() as u64;
            let theirs = table.size(store.as_context_mut());
            if ours != theirs {
                let what = format!("elements of table {index}");
                return self.differ(what, ours.to_string(), theirs.to_string());
            }
        }
        Ok(())
    }

    fn compare_writes(
        &mut self,
        native: &Native,
        store: &mut StoreContextMut<'_, Host>,
    ) -> Result<(), Halt> {
        let writes: Vec<_> = self.oracle.writes().collect();
        let table_writes: Vec<_> = self.oracle.table_writes().collect();
        if writes.is_empty() && table_writes.is_empty() {
            return Ok(());
        }
        for (memory, address, length) in writes {
            for (index, (id, theirs)) in native.memories.iter().enumerate() {
                if *id == memory {
                    self.compare_bytes(index, *id, theirs, address as usize, length, store)?;
                }
            }
        }
        for (table, first, elements) in table_writes {
            for (index, (id, theirs)) in native.tables.iter().enumerate() {
                if *id == table {
                    self.compare_elements(index, *id, theirs, first, elements, store)?;
                }
            }
        }
        self.oracle.clear_writes();
        Ok(())
    }

    fn compare_whole(
        &mut self,
        native: &Native,
        store: &mut StoreContextMut<'_, Host>,
    ) -> Result<(), Halt> {
        let imported = self.module.num_imported_memories() as usize;
        for (index, (id, theirs)) in native.memories.iter().enumerate() {
            if self.unmade && index >= imported {
                count(&mut self.outcome.not_compared, "memory of an instance that was not made");
                continue;
            }
            let length = self.oracle.memory(*id).len() as u64;
            self.compare_bytes(index, *id, theirs, 0, length, store)?;
        }
        for (index, (id, theirs)) in native.tables.iter().enumerate() {
            let elements = self.oracle.table(*id).len() as u64;
            self.compare_elements(index, *id, theirs, 0, elements, store)?;
        }
        Ok(())
    }

    fn compare_bytes(
        &mut self,
        index: usize,
        id: MemoryId,
        theirs: &AnyMemory,
        address: usize,
        length: u64,
        store: &mut StoreContextMut<'_, Host>,
    ) -> Result<(), Halt> {
        let AnyMemory::Own(memory) = theirs else {
            count(&mut self.outcome.not_compared, "bytes of a shared memory");
            return Ok(());
        };
        let range = address..address + length as usize;
        let ours = &self.oracle.memory(id)[range.clone()];
        let Some(theirs) = memory.data(store.as_context_mut()).get(range) else {
            return self.differ(format!("memory {index}"), "larger".into(), "smaller".into());
        };
        self.outcome.bytes += length;
        if ours == theirs {
            return Ok(());
        }
        let at = ours.iter().zip(theirs).position(|(ours, theirs)| ours != theirs);
        let at = at.unwrap_or(0);
        let (ours, theirs) = (format!("{:#04x}", ours[at]), format!("{:#04x}", theirs[at]));
        self.differ(format!("memory {index} at {:#x}", address + at), ours, theirs)
    }

    fn compare_elements(
        &mut self,
        index: usize,
        id: TableId,
        theirs: &Table,
        first: u64,
        elements: u64,
        store: &mut StoreContextMut<'_, Host>,
    ) -> Result<(), Halt> {
        let ty = self.table_type(id);
        for element in first..first + elements {
            let Some(theirs) = theirs.get(store.as_context_mut(), element) else {
                return self.differ(format!("table {index}"), "larger".into(), "smaller".into());
            };
            let ours = Value::from_cell(ty, self.oracle.table(id)[element as usize]);
            let what = || format!("table {index} element {element}");
            self.compare_value(what, ours, &value::of_ref(theirs), store)?;
        }
        Ok(())
    }

    /// What a table's elements are.
    fn table_type(&self, id: TableId) -> ValType {
        let tables = &self.oracle.instance(self.instance).tables;
        let index = tables.iter().position(|table| *table == id).unwrap_or(0);
        ValType::Ref(self.module.tables()[index].element)
    }
}

/// The boundary behind another one, in the order of the file.
fn following(module: &Module, func: FuncIdx, offset: WasmOffset) -> Option<WasmOffset> {
    let function = module.function(func)?;
    let at = |index| function.boundaries().nth(index);
    let (mut low, mut high) = (0, function.boundaries().len());
    while low < high {
        let middle = low.midpoint(high);
        if at(middle)? <= offset { low = middle + 1 } else { high = middle }
    }
    at(low)
}

/// Whether a local holds what its type does not have: null, until it is set
/// (core spec, "Validation Contexts", initialised locals).
fn is_unset(ty: ValType, value: Value) -> bool {
    let null = matches!(
        value,
        Value::FuncRef(None) | Value::ExternRef(None) | Value::AnyRef(None) | Value::ExnRef(None)
    );
    null && matches!(ty, ValType::Ref(ty) if !ty.nullable)
}
