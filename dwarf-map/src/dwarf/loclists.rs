//! `.debug_loclists`, written directly.
//!
//! There is an entry for every slot of every boundary: millions in a real
//! program. The writer library keeps each as a tree of allocations until the
//! end; this writes the bytes as they come (DWARF 5, sections 2.6.2 and
//! 7.29), a list of offset pairs per variable. Pairs count from the unit's
//! base address, or from the function's start where a list is long enough to
//! repay the nine bytes of saying so.

use super::DwarfError;
use super::points::Point;
use crate::{CodeOffset, Location, SubjectAddr};
use gimli::{
    DW_LLE_base_address, DW_LLE_end_of_list, DW_LLE_offset_pair, DW_OP_breg0, DW_OP_fbreg,
    DW_OP_implicit_value, DW_OP_reg0, DW_OP_regx,
};
use wasm_view::ValType;

/// Entries from which on a list gets a base address of its own.
const WORTH_A_BASE: usize = 8;

/// Bytes of the header of the section's only contribution.
const HEADER: usize = 12;

/// The section in the making.
pub(super) struct LocLists {
    bytes: Vec<u8>,
    text: SubjectAddr,
}

impl LocLists {
    /// An empty one for code at `text`.
    pub fn new(text: SubjectAddr) -> Self {
        LocLists { bytes: vec![0; HEADER], text }
    }

    /// Adds the list of a variable: where it is at each point that has it.
    /// Returns the list's offset in the section, or `None` when it is nowhere.
    pub fn add(
        &mut self,
        ty: ValType,
        function: CodeOffset,
        places: &[(Point, Location)],
    ) -> Result<Option<usize>, DwarfError> {
        if places.is_empty() {
            return Ok(None);
        }
        let at = self.bytes.len();
        let mut base = 0;
        if places.len() >= WORTH_A_BASE {
            base = function.get();
            self.bytes.push(DW_LLE_base_address.0);
            self.bytes.extend_from_slice(&function.at(self.text).get().to_le_bytes());
        }
        for (point, location) in places {
            self.bytes.push(DW_LLE_offset_pair.0);
            self.unsigned(u64::from(point.begin.wrapping_sub(base)));
            self.unsigned(u64::from(point.end.wrapping_sub(base)));
            self.expression(ty, *location);
        }
        self.bytes.push(DW_LLE_end_of_list.0);
        if u32::try_from(self.bytes.len()).is_err() {
            return Err(DwarfError::TooLarge(".debug_loclists"));
        }
        Ok(Some(at))
    }

    /// The section's bytes; `None` when there is no list.
    pub fn finish(mut self) -> Option<Vec<u8>> {
        if self.bytes.len() == HEADER {
            return None;
        }
        // `add` keeps the whole below 4 GiB.
        let length = (self.bytes.len() - 4) as u32;
        // version 5, address size 8, no segment selectors, no offset table
        let header = [&length.to_le_bytes()[..], &[5, 0, 8, 0], &[0; 4]].concat();
        for (place, byte) in self.bytes.iter_mut().zip(header) {
            *place = byte;
        }
        Some(self.bytes)
    }

    fn unsigned(&mut self, mut value: u64) {
        while value > 0x7f {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    /// The length and bytes of a location description.
    fn expression(&mut self, ty: ValType, location: Location) {
        let length_at = self.bytes.len();
        self.bytes.push(0);
        match location {
            Location::Register(register) => match u8::try_from(register.0) {
                Ok(number) if number < DW_OP_breg0.0 - DW_OP_reg0.0 => {
                    self.bytes.push(DW_OP_reg0.0 + number);
                }
                _ => {
                    self.bytes.push(DW_OP_regx.0);
                    self.unsigned(u64::from(register.0));
                }
            },
            Location::CfaOffset(offset) => {
                self.bytes.push(DW_OP_fbreg.0);
                self.signed(i64::from(offset));
            }
            Location::Constant(cell) => {
                let width = ty.bytes();
                self.bytes.push(DW_OP_implicit_value.0);
                self.bytes.push(width as u8);
                self.bytes.extend(u128::from(cell.0).to_le_bytes().iter().take(width));
            }
            // An empty description: the value does not exist here.
            Location::Unavailable(_) => {}
        }
        // At most 18 bytes, so one byte of length.
        let length = self.bytes.len() - length_at - 1;
        if let Some(place) = self.bytes.get_mut(length_at) {
            *place = length as u8;
        }
    }

    fn signed(&mut self, mut value: i64) {
        loop {
            let low = value as u8 & 0x7f;
            value >>= 7;
            if value == 0 && low & 0x40 == 0 || value == -1 && low & 0x40 != 0 {
                return self.bytes.push(low);
            }
            self.bytes.push(low | 0x80);
        }
    }
}
