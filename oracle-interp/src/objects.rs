//! Making and changing structures and arrays.
//!
//! Common to instructions and constant expressions. Operands come as cells in
//! the order of the stack.

use crate::heap::{Object, read_field, write_field};
use crate::oracle::Limits;
use crate::store::Store;
use crate::types::{Layout, StorageType};
use std::ops::Range;
use wasm_view::{Cell, InternalRef, ObjectId, TypeIdx};

/// The object that a reference's cell leads to.
pub(crate) fn object_of(cell: Cell) -> Option<ObjectId> {
    match InternalRef::from_cell(cell) {
        Some(InternalRef::Object(object)) => Some(object),
        _ => None,
    }
}

impl Store {
    pub(crate) fn layout(&self, ty: TypeIdx) -> &Layout {
        &self.types.get(ty).layout
    }

    /// Cells of all fields of a structure.
    pub(crate) fn struct_cells(&self, ty: TypeIdx) -> usize {
        self.layout(ty).fields.iter().map(|(_, storage)| storage.unpacked().cells()).sum()
    }

    /// Type of an array's elements.
    pub(crate) fn element(&self, ty: TypeIdx) -> StorageType {
        self.layout(ty).fields.first().map_or(StorageType::I8, |(_, storage)| *storage)
    }

    /// Cells of one element of an array.
    pub(crate) fn element_cells(&self, ty: TypeIdx) -> usize {
        self.element(ty).unpacked().cells()
    }

    fn allocate(
        &mut self,
        ty: TypeIdx,
        length: u32,
        bytes: u64,
        limits: &Limits,
    ) -> Result<ObjectId, &'static str> {
        if self.heap.used() as u64 + bytes > limits.max_heap_bytes {
            return Err(Limits::HEAP_BYTES);
        }
        let bytes = vec![0; bytes as usize].into_boxed_slice();
        Ok(self.heap.new_object(Object { ty, length, bytes }))
    }

    /// A structure of these fields, or of zeroes and nulls.
    pub(crate) fn new_struct(
        &mut self,
        ty: TypeIdx,
        fields: Option<&[Cell]>,
        limits: &Limits,
    ) -> Result<Cell, &'static str> {
        let id = self.allocate(ty, 0, self.layout(ty).size as u64, limits)?;
        if let (Some(mut cells), Some(object)) = (fields, self.heap.object_mut(id)) {
            for &(start, storage) in &self.types.get(ty).layout.fields {
                write_field(&mut object.bytes[start..], storage, cells);
                cells = &cells[storage.unpacked().cells()..];
            }
        }
        Ok(InternalRef::Object(id).to_cell())
    }

    /// An array of zeroes or nulls.
    pub(crate) fn new_array(
        &mut self,
        ty: TypeIdx,
        length: u32,
        limits: &Limits,
    ) -> Result<Cell, &'static str> {
        let bytes = u64::from(length) * self.layout(ty).size as u64;
        let id = self.allocate(ty, length, bytes, limits)?;
        Ok(InternalRef::Object(id).to_cell())
    }

    /// Sets elements of an array, which exist, to one value.
    pub(crate) fn fill_array(&mut self, array: Cell, range: Range<u32>, value: &[Cell]) {
        let Some(object) = object_of(array).and_then(|id| self.heap.object_mut(id)) else { return };
        let layout = &self.types.get(object.ty).layout;
        for at in range {
            let start = at as usize * layout.size;
            write_field(&mut object.bytes[start..], layout.fields[0].1, value);
        }
    }

    /// Sets elements of an array, which exist, from `first` on.
    pub(crate) fn set_elements(&mut self, array: Cell, first: u32, values: &[Cell]) {
        let Some(object) = object_of(array).and_then(|id| self.heap.object_mut(id)) else { return };
        let layout = &self.types.get(object.ty).layout;
        let storage = layout.fields[0].1;
        for (at, value) in values.chunks_exact(storage.unpacked().cells()).enumerate() {
            let start = (first as usize + at) * layout.size;
            write_field(&mut object.bytes[start..], storage, value);
        }
    }

    /// The cells of one field or element; packed ones zero-extended.
    pub(crate) fn field(&self, object: ObjectId, field: usize, element: usize) -> [Cell; 2] {
        let Some(object) = self.heap.object(object) else { return [Cell(0); 2] };
        let layout = &self.types.get(object.ty).layout;
        let (start, storage) = layout.fields[field];
        read_field(&object.bytes[start + element * layout.size..], storage)
    }

    /// Sets one field or element.
    pub(crate) fn set_field(
        &mut self,
        object: ObjectId,
        field: usize,
        element: usize,
        value: &[Cell],
    ) {
        let Some(object) = self.heap.object_mut(object) else { return };
        let layout = &self.types.get(object.ty).layout;
        let (start, storage) = layout.fields[field];
        write_field(&mut object.bytes[start + element * layout.size..], storage, value);
    }
}
