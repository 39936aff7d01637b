//! Instructions on structures and arrays (core spec, "Aggregate Instructions").

use super::Oracle;
use crate::heap::{Target, target};
use crate::objects::object_of;
use crate::rare::{Extend, Rare};
use crate::store::{Store, range_within};
use crate::types::StorageType;
use std::ops::Range;
use wasm_view::{Cell, DataIdx, InstanceId, ObjectId, Trap, TypeIdx, ValType};

/// A packed field's value, extended as the instruction says.
fn extended(storage: StorageType, extend: Extend, cells: [Cell; 2]) -> [Cell; 2] {
    let bits = cells[0].0;
    let value = match (storage, extend) {
        (StorageType::I8, Extend::Signed) => u64::from(bits as i8 as u32),
        (StorageType::I16, Extend::Signed) => u64::from(bits as i16 as u32),
        _ => bits,
    };
    [Cell(value), cells[1]]
}

/// A limit's name, or nothing.
type Limited = Option<&'static str>;

impl Oracle {
    /// Executes one. Answers the name of the limit that forbids it, if one
    /// does.
    pub(super) fn object_instruction(
        &mut self,
        instance: InstanceId,
        rare: Rare,
    ) -> Result<Limited, Trap> {
        let id = |oracle: &Oracle, ty: TypeIdx| oracle.instance(instance).type_ids[ty.index()];
        match rare {
            Rare::StructNew(ty) => {
                let ty = id(self, ty);
                let cells = self.store.struct_cells(ty);
                return Ok(self.new_struct(ty, Some(cells)));
            }
            Rare::StructNewDefault(ty) => return Ok(self.new_struct(id(self, ty), None)),
            Rare::StructGet { ty, field, extend } => {
                let object = object_of(self.top_cell()).ok_or(Trap::NullStructureReference)?;
                let (_, storage) = self.store.layout(id(self, ty)).fields[field as usize];
                let value = self.store.field(object, field as usize, 0);
                let count = storage.unpacked().cells();
                self.replace(1, &extended(storage, extend, value)[..count]);
            }
            Rare::StructSet { ty, field } => {
                let (_, storage) = self.store.layout(id(self, ty)).fields[field as usize];
                let count = storage.unpacked().cells();
                let at = self.sp - count;
                let object = object_of(self.stack[at - 1]).ok_or(Trap::NullStructureReference)?;
                self.store.set_field(object, field as usize, 0, &self.stack[at..self.sp]);
                self.sp = at - 1;
            }
            Rare::ArrayNew(ty) => {
                let ty = id(self, ty);
                let length = self.top_cell().0 as u32;
                let count = self.store.element_cells(ty);
                let value = self.sp - 1 - count;
                return Ok(self.new_array(ty, length, count + 1, |oracle, array| {
                    let cells = &oracle.stack[value..value + count];
                    oracle.store.fill_array(array, 0..length, cells);
                }));
            }
            Rare::ArrayNewDefault(ty) => {
                let length = self.top_cell().0 as u32;
                return Ok(self.new_array(id(self, ty), length, 1, |_, _| ()));
            }
            Rare::ArrayNewFixed { ty, count } => {
                let ty = id(self, ty);
                let cells = self.store.element_cells(ty) * count as usize;
                return Ok(self.new_array(ty, count, cells, |oracle, array| {
                    let values = &oracle.stack[oracle.sp - cells..oracle.sp];
                    oracle.store.set_elements(array, 0, values);
                }));
            }
            Rare::ArrayNewData { ty, data } => {
                let ty = id(self, ty);
                let [from, length] = self.operands();
                let bytes = self.data_range(instance, data, ty, from, length)?;
                return Ok(self.new_array(ty, length as u32, 2, |oracle, array| {
                    oracle.copy_data(instance, data, bytes, array, 0);
                }));
            }
            Rare::ArrayNewElem { ty, elem } => {
                let [from, length] = self.operands();
                let segment = self.instance(instance).element_segment(elem);
                let range =
                    range_within(segment.len(), from, length).ok_or(Trap::TableOutOfBounds)?;
                let cells = segment[range].to_vec();
                return Ok(self.new_array(id(self, ty), length as u32, 2, |oracle, array| {
                    oracle.store.set_elements(array, 0, &cells);
                }));
            }
            Rare::ArrayGet { ty, extend } => {
                let [array, index] = self.operands();
                let (object, range) = self.elements(array, index, 1)?;
                let storage = self.store.element(id(self, ty));
                let value = self.store.field(object, 0, range.start as usize);
                let count = storage.unpacked().cells();
                self.replace(2, &extended(storage, extend, value)[..count]);
            }
            Rare::ArraySet(ty) => {
                let value = self.sp - self.store.element_cells(id(self, ty));
                let (array, index) = (self.stack[value - 2].0, self.stack[value - 1].0);
                let (object, range) = self.elements(array, index, 1)?;
                let cells = &self.stack[value..self.sp];
                self.store.set_field(object, 0, range.start as usize, cells);
                self.sp = value - 2;
            }
            Rare::ArrayLen => {
                let [array] = self.operands();
                let (_, length) = self.array(array)?;
                self.replace(1, &[Cell(u64::from(length))]);
            }
            Rare::ArrayFill(ty) => {
                let count = self.store.element_cells(id(self, ty));
                let value = self.sp - 1 - count;
                let (array, index) = (self.stack[value - 2], self.stack[value - 1].0);
                let (_, range) = self.elements(array.0, index, self.top_cell().0)?;
                self.store.fill_array(array, range, &self.stack[value..value + count]);
                self.sp = value - 2;
            }
            Rare::ArrayCopy { .. } => self.array_copy()?,
            Rare::ArrayInitData { ty, data } => {
                let [array, at, from, length] = self.operands();
                let (_, range) = self.elements(array, at, length)?;
                let bytes = self.data_range(instance, data, id(self, ty), from, length)?;
                self.copy_data(instance, data, bytes, Cell(array), range.start);
                self.sp -= 4;
            }
            Rare::ArrayInitElem { elem, .. } => {
                let [array, at, from, length] = self.operands();
                let (_, range) = self.elements(array, at, length)?;
                let segment = self.store.instances[instance.index()].element_segment(elem);
                let cells =
                    range_within(segment.len(), from, length).ok_or(Trap::TableOutOfBounds)?;
                let cells = segment[cells].to_vec();
                self.store.set_elements(Cell(array), range.start, &cells);
                self.sp -= 4;
            }
            other => debug_assert!(false, "{other:?} is about no object"),
        }
        Ok(None)
    }

    fn new_struct(&mut self, ty: TypeIdx, cells: Option<usize>) -> Limited {
        self.collect_garbage_if_due();
        let count = cells.unwrap_or(0);
        let fields = cells.map(|cells| &self.stack[self.sp - cells..self.sp]);
        match self.store.new_struct(ty, fields, &self.limits) {
            Ok(object) => {
                self.replace(count, &[object]);
                None
            }
            Err(limit) => Some(limit),
        }
    }

    /// Replaces `pops` cells by a new array, once `fill` has filled it.
    fn new_array(
        &mut self,
        ty: TypeIdx,
        length: u32,
        pops: usize,
        fill: impl FnOnce(&mut Oracle, Cell),
    ) -> Limited {
        self.collect_garbage_if_due();
        match self.store.new_array(ty, length, &self.limits) {
            Ok(array) => {
                fill(self, array);
                self.replace(pops, &[array]);
                None
            }
            Err(limit) => Some(limit),
        }
    }

    /// An array and its length.
    fn array(&self, cell: u64) -> Result<(ObjectId, u32), Trap> {
        let object = object_of(Cell(cell)).ok_or(Trap::NullArrayReference)?;
        Ok((object, self.store.heap.object(object).map_or(0, |object| object.length)))
    }

    /// An array and some of its elements, if they exist.
    fn elements(&self, array: u64, first: u64, count: u64) -> Result<(ObjectId, Range<u32>), Trap> {
        let (object, length) = self.array(array)?;
        let range = range_within(length as usize, first, count).ok_or(Trap::ArrayOutOfBounds)?;
        Ok((object, range.start as u32..range.end as u32))
    }

    /// The bytes of a data segment that `count` elements come from.
    fn data_range(
        &self,
        instance: InstanceId,
        data: DataIdx,
        ty: TypeIdx,
        from: u64,
        count: u64,
    ) -> Result<Range<usize>, Trap> {
        let length = count * self.store.layout(ty).size as u64;
        let segment = self.instance(instance).data_segment(data);
        range_within(segment.len(), from, length).ok_or(Trap::MemoryOutOfBounds)
    }

    fn copy_data(
        &mut self,
        instance: InstanceId,
        data: DataIdx,
        bytes: Range<usize>,
        array: Cell,
        first: u32,
    ) {
        let segment = self.store.instances[instance.index()].data_segment(data);
        let Some(object) = object_of(array).and_then(|id| self.store.heap.object_mut(id)) else {
            return;
        };
        // Elements have the layout that they have in a segment: little endian.
        let start = first as usize * self.store.types.get(object.ty).layout.size;
        object.bytes[start..start + bytes.len()].copy_from_slice(&segment[bytes]);
    }

    fn array_copy(&mut self) -> Result<(), Trap> {
        let [destination, to, source, from, length] = self.operands();
        let (_, to) = self.elements(destination, to, length)?;
        let (source, from) = self.elements(source, from, length)?;
        let Some(object) = self.store.heap.object(source) else { return Ok(()) };
        let size = self.store.layout(object.ty).size;
        let scaled = |range: Range<u32>| range.start as usize * size..range.end as usize * size;
        let from = scaled(from);
        let (to, destination) = (scaled(to), object_of(Cell(destination)));
        if destination == Some(source) {
            if let Some(object) = self.store.heap.object_mut(source) {
                object.bytes.copy_within(from, to.start);
            }
        } else {
            let bytes = object.bytes[from].to_vec();
            if let Some(target) = destination.and_then(|id| self.store.heap.object_mut(id)) {
                target.bytes[to].copy_from_slice(&bytes);
            }
        }
        self.sp -= 5;
        Ok(())
    }

    /// Frees objects that nothing refers to, when there are many new ones.
    pub(super) fn collect_garbage_if_due(&mut self) {
        if self.store.heap.is_due() {
            self.collect_garbage();
        }
    }

    /// Frees objects and exceptions that neither the store nor the stack nor
    /// the host refers to.
    pub fn collect_garbage(&mut self) {
        let mut roots: Vec<Target> = Vec::new();
        for index in 0..self.depth() {
            let Some(frame) = self.frame(index) else { continue };
            let mut cells = frame.slots;
            let types = frame.local_types().iter().copied().chain(frame.operand_types());
            for ty in types {
                roots.extend(target(ty, cells[0]));
                cells = &cells[ty.cells()..];
            }
        }
        roots.extend(self.caught.iter().map(|caught| Target::Exception(caught.exn)));
        let store = &self.store;
        roots.extend(store.globals.iter().filter_map(|g| target(g.ty.content, g.value)));
        for table in &store.tables {
            let ty = ValType::Ref(table.ty.element);
            roots.extend(table.elements.iter().filter_map(|&cell| target(ty, cell)));
        }
        for instance in &store.instances {
            for (segment, cells) in instance.module.elements.iter().zip(&instance.elements) {
                let ty = ValType::Ref(segment.ty);
                roots.extend(cells.iter().filter_map(|&cell| target(ty, cell)));
            }
        }
        let Store { heap, types, .. } = &mut self.store;
        heap.collect(types, roots.into_iter());
    }
}
