//! The innermost frame's slots: which cells they are, and overwriting them.

use super::Oracle;
use crate::error::CallError;
use wasm_view::{SlotIdx, ValType, Value};

impl Oracle {
    /// The slot of the innermost frame that a cell of it belongs to.
    pub(super) fn slot_of_cell(&self, cell: usize) -> SlotIdx {
        let Some(top) = self.top() else { return SlotIdx::new(0) };
        let mut end = 0;
        let types = top.local_types().iter().copied().chain(top.operand_types());
        let slot = types.take_while(|ty| {
            end += ty.cells();
            end <= cell
        });
        SlotIdx::from_index(slot.count())
    }

    /// The first cell of a slot of the innermost frame, and its type.
    pub(super) fn cell_of_slot(&self, slot: SlotIdx) -> Option<(usize, ValType)> {
        let top = self.top()?;
        let mut first = 0;
        let mut types = top.local_types().iter().copied().chain(top.operand_types());
        for _ in 0..slot.index() {
            first += types.next()?.cells();
        }
        types.next().map(|ty| (first, ty))
    }

    /// Overwrites a slot of the innermost frame, as a debugger would.
    pub fn set_slot(&mut self, slot: SlotIdx, value: Value) -> Result<(), CallError> {
        let frame = self.frames.last().ok_or(CallError::NoSuchSlot(slot))?;
        let (cell, ty) = self.cell_of_slot(slot).ok_or(CallError::NoSuchSlot(slot))?;
        let (ty, at) = (self.store.localise(frame.instance, ty), frame.base + cell);
        self.check_values(&[ty], &[value])?;
        for (offset, cell) in value.to_cells().enumerate() {
            self.stack[at + offset] = cell;
        }
        Ok(())
    }

    /// Overwrites every slot of the innermost frame for which there is a new
    /// value, given its type in the module, with that. Null is of every
    /// nullable type.
    ///
    /// # Errors
    ///
    /// A value of another type; the slots before it are overwritten.
    pub fn set_slots(
        &mut self,
        mut new: impl FnMut(SlotIdx, ValType) -> Option<Value>,
    ) -> Result<(), CallError> {
        let Some(top) = self.top() else { return Ok(()) };
        let types: Vec<ValType> =
            top.local_types().iter().copied().chain(top.operand_types()).collect();
        let instance = top.boundary.instance;
        let mut at = self.frames.last().map_or(0, |frame| frame.base);
        for (slot, ty) in types.into_iter().enumerate() {
            if let Some(value) = new(SlotIdx::from_index(slot), ty) {
                let is_null = matches!(ty, ValType::Ref(ty) if ty.nullable) && value.is_null();
                if !is_null {
                    self.check_values(&[self.store.localise(instance, ty)], &[value])?;
                }
                for (offset, cell) in value.to_cells().enumerate() {
                    self.stack[at + offset] = cell;
                }
            }
            at += ty.cells();
        }
        Ok(())
    }
}
