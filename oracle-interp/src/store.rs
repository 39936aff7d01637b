//! Memories, tables, globals and instances, each with an identity.
//!
//! What two instances share by import exists once here, under one id; an
//! instance holds the ids that its module's index spaces stand for.

use crate::heap::Heap;
use crate::module::Module;
use crate::types::{Types, map_val};
use crate::writes::Writes;
use std::sync::Arc;
use wasm_view::{
    Cell, DataIdx, ElemIdx, FuncAddr, FuncIdx, FuncType, GlobalId, GlobalType, HeapType,
    InstanceId, InternalRef, MemoryId, MemoryType, RefType, TableId, TableType, TagId, Trap,
    TypeIdx, ValType, Value,
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
        self.data.len() as u64 >> self.ty.page_log2
    }

    /// The positions of `length` bytes at `address`, if they exist.
    pub(crate) fn range(&self, address: u64, length: u64) -> Result<std::ops::Range<usize>, Trap> {
        range_within(self.data.len(), address, length).ok_or(Trap::MemoryOutOfBounds)
    }
}

/// A table. The type of its elements is one of the store's.
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

/// A global. Its type is one of the store's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Global {
    pub(crate) ty: GlobalType,
    pub(crate) value: Cell,
    /// The second cell of a vector.
    pub(crate) high: Cell,
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
    /// Its exception tags, by index.
    pub tags: Vec<TagId>,
    /// The module's types in the store's table.
    pub(crate) type_ids: Vec<TypeIdx>,
    /// What its imported functions are.
    pub(crate) imported_funcs: Vec<FuncAddr>,
    pub(crate) dropped_data: Vec<bool>,
    /// Contents of the element segments; dropped ones are empty.
    pub(crate) elements: Vec<Vec<Cell>>,
    pub(crate) dropped_elements: Vec<bool>,
}

impl Instance {
    /// An instance that nothing has been linked to yet.
    pub(crate) fn without_definitions(
        id: InstanceId,
        module: &Arc<Module>,
        type_ids: Vec<TypeIdx>,
    ) -> Instance {
        Instance {
            id,
            module: Arc::clone(module),
            memories: Vec::new(),
            tables: Vec::new(),
            globals: Vec::new(),
            tags: Vec::new(),
            type_ids,
            imported_funcs: Vec::new(),
            dropped_data: Vec::new(),
            elements: Vec::new(),
            dropped_elements: Vec::new(),
        }
    }

    /// Its place in the store.
    pub fn id(&self) -> InstanceId {
        self.id
    }

    /// The number that the store has for a type of the module: two types are
    /// the same exactly when their numbers are, across modules too.
    pub fn type_id(&self, ty: TypeIdx) -> Option<TypeIdx> {
        self.type_ids.get(ty.index()).copied()
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

    /// Contents of a data segment; a dropped one is empty.
    pub fn data_segment(&self, data: DataIdx) -> &[u8] {
        match self.dropped_data.get(data.index()) {
            Some(false) => self.module.data_segment(data).unwrap_or_default(),
            _ => &[],
        }
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
    /// Type of every tag.
    pub(crate) tags: Vec<TypeIdx>,
    pub(crate) types: Types,
    pub(crate) heap: Heap,
    pub(crate) writes: Writes,
}

impl Store {
    /// The instance that defines a function, if there is such a function.
    pub(crate) fn instance_of(&self, addr: FuncAddr) -> Option<&Instance> {
        let instance = self.instances.get(addr.instance.index())?;
        (addr.func.get() < instance.module.num_funcs()).then_some(instance)
    }

    /// The type of a function, in the store's table.
    pub(crate) fn func_type_id(&self, addr: FuncAddr) -> Option<TypeIdx> {
        let instance = self.instance_of(addr)?;
        let ty = instance.module.func_type_index(addr.func)?;
        instance.type_ids.get(ty.index()).copied()
    }

    /// The type of a function, with types of the store's table.
    pub(crate) fn func_type(&self, addr: FuncAddr) -> Option<&FuncType> {
        self.types.func(self.func_type_id(addr)?)
    }

    /// A type of a module as one of the store's.
    pub(crate) fn localise(&self, instance: InstanceId, ty: ValType) -> ValType {
        let ids = &self.instances[instance.index()].type_ids;
        map_val(ty, &|index| ids[index.index()])
    }

    /// The value in these cells, of a type of the store's.
    pub(crate) fn value(&self, ty: ValType, cells: &[Cell]) -> Value {
        match ty {
            ValType::Ref(RefType { heap: HeapType::Concrete(index), .. }) => {
                let abstraction = match self.types.func(index) {
                    Some(_) => HeapType::Func,
                    None => HeapType::Any,
                };
                Value::from_cells(ValType::Ref(RefType::nullable(abstraction)), cells)
            }
            ty => Value::from_cells(ty, cells),
        }
    }

    /// The values of these types in their cells, one after the other.
    pub(crate) fn values(&self, types: &[ValType], cells: &[Cell]) -> Vec<Value> {
        let mut rest = cells;
        let mut values = Vec::with_capacity(types.len());
        for &ty in types {
            values.push(self.value(ty, rest));
            rest = &rest[ty.cells()..];
        }
        values
    }

    /// Whether a value is one of this type of the store's.
    pub(crate) fn is_of(&self, value: Value, ty: ValType) -> bool {
        let ValType::Ref(expected) = ty else { return value.ty() == ty };
        let is_func = |heap| match heap {
            HeapType::Func | HeapType::NoFunc => true,
            HeapType::Concrete(index) => self.types.func(index).is_some(),
            _ => false,
        };
        let (is_extern, is_exn) = (
            matches!(expected.heap, HeapType::Extern | HeapType::NoExtern),
            matches!(expected.heap, HeapType::Exn | HeapType::NoExn),
        );
        if value.is_null() {
            return expected.nullable
                && match value {
                    Value::FuncRef(_) => is_func(expected.heap),
                    Value::ExternRef(_) => is_extern,
                    Value::ExnRef(_) => is_exn,
                    _ => !is_func(expected.heap) && !is_extern && !is_exn,
                };
        }
        match value {
            Value::FuncRef(Some(addr)) => self
                .func_type_id(addr)
                .is_some_and(|ty| self.types.is_sub_heap(HeapType::Concrete(ty), expected.heap)),
            Value::ExternRef(Some(target)) => {
                expected.heap == HeapType::Extern && self.heap_type(target).is_some()
            }
            Value::AnyRef(Some(target)) => self
                .heap_type(target)
                .is_some_and(|heap| self.types.is_sub_heap(heap, expected.heap)),
            Value::ExnRef(Some(exn)) => {
                expected.heap == HeapType::Exn && self.heap.exception(exn).is_some()
            }
            _ => false,
        }
    }

    /// The most special type of something internal; `None` if it does not
    /// exist.
    pub(crate) fn heap_type(&self, target: InternalRef) -> Option<HeapType> {
        Some(match target {
            InternalRef::Host(_) => HeapType::Any,
            InternalRef::I31(_) => HeapType::I31,
            InternalRef::Object(object) => HeapType::Concrete(self.heap.object(object)?.ty),
        })
    }

    /// Bytes of all memories.
    pub(crate) fn total_bytes(&self) -> u64 {
        self.memories.iter().map(|memory| memory.data.len() as u64).sum()
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
}
