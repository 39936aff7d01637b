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
use crate::expression::{BinaryOp, UnaryOp};
use crate::{DwarfReg, Expression, FunctionMap, Input, Isa, Location, Step, SubjectAddr};
use gimli::{
    DW_LLE_base_address, DW_LLE_end_of_list, DW_LLE_offset_pair, DW_OP_and, DW_OP_bra, DW_OP_breg0,
    DW_OP_bregx, DW_OP_constu, DW_OP_deref, DW_OP_drop, DW_OP_eq, DW_OP_fbreg,
    DW_OP_implicit_value, DW_OP_le, DW_OP_lit0, DW_OP_lt, DW_OP_minus, DW_OP_mul, DW_OP_ne,
    DW_OP_neg, DW_OP_not, DW_OP_or, DW_OP_plus, DW_OP_reg0, DW_OP_regx, DW_OP_shl, DW_OP_shr,
    DW_OP_shra, DW_OP_skip, DW_OP_stack_value, DW_OP_swap, DW_OP_xor, DwOp,
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
    isa: Isa,
}

impl LocLists {
    /// An empty one for code at `text`.
    pub fn new(text: SubjectAddr, isa: Isa) -> Self {
        LocLists { bytes: vec![0; HEADER], text, isa }
    }

    /// A number's bytes in the order of the instruction set.
    fn ordered<const N: usize>(&self, mut little: [u8; N]) -> [u8; N] {
        if self.isa.is_big_endian() {
            little.reverse();
        }
        little
    }

    /// Adds the list of a variable: where it is at each point that has it.
    /// Returns the list's offset in the section, or `None` when it is nowhere.
    pub fn add(
        &mut self,
        ty: ValType,
        function: &FunctionMap,
        places: &[(Point, Location)],
    ) -> Result<Option<usize>, DwarfError> {
        if places.is_empty() {
            return Ok(None);
        }
        let at = self.bytes.len();
        let mut base = 0;
        if places.len() >= WORTH_A_BASE {
            base = function.code.start.get();
            self.bytes.push(DW_LLE_base_address.0);
            let base = function.code.start.at(self.text).get();
            self.bytes.extend(self.ordered(base.to_le_bytes()));
        }
        for (point, location) in places {
            self.bytes.push(DW_LLE_offset_pair.0);
            self.unsigned(u64::from(point.begin.wrapping_sub(base)));
            self.unsigned(u64::from(point.end.wrapping_sub(base)));
            let begin = self.bytes.len();
            self.description(ty, *location, &function.expressions);
            self.prefix_length(begin);
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
        let version = self.ordered(5_u16.to_le_bytes());
        let header = [&self.ordered(length.to_le_bytes())[..], &version, &[8, 0], &[0; 4]].concat();
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

    /// Puts the number of bytes from `begin` on in front of them.
    fn prefix_length(&mut self, begin: usize) {
        let content = self.bytes.split_off(begin);
        self.unsigned(content.len() as u64);
        self.bytes.extend(content);
    }

    /// A location description.
    fn description(&mut self, ty: ValType, location: Location, expressions: &[Expression]) {
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
                let bytes = u128::from(cell.0).to_le_bytes();
                let mut bytes = bytes.get(..width).unwrap_or(&bytes).to_vec();
                if self.isa.is_big_endian() {
                    bytes.reverse();
                }
                self.bytes.extend(bytes);
            }
            Location::Derived(index) => {
                if let Some(expression) = expressions.get(index.index()) {
                    for step in expression.steps() {
                        self.step(*step);
                    }
                    self.op(DW_OP_stack_value);
                }
            }
            // An empty description: the value does not exist here.
            Location::Unavailable(_) => {}
        }
    }

    fn op(&mut self, op: DwOp) {
        self.bytes.push(op.0);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Input(Input::Register(DwarfReg(number))) => {
                match u8::try_from(number).ok().filter(|number| *number < 32) {
                    Some(number) => self.bytes.push(DW_OP_breg0.0 + number),
                    None => {
                        self.op(DW_OP_bregx);
                        self.unsigned(u64::from(number));
                    }
                }
                self.signed(0);
            }
            Step::Input(Input::Frame(offset)) => {
                self.op(DW_OP_fbreg);
                self.signed(i64::from(offset));
                self.op(DW_OP_deref);
            }
            Step::Constant(word @ 0..32) => self.bytes.push(DW_OP_lit0.0 + word as u8),
            Step::Constant(word) => {
                self.op(DW_OP_constu);
                self.unsigned(word);
            }
            Step::Unary(op) => self.op(match op {
                UnaryOp::Not => DW_OP_not,
                UnaryOp::Neg => DW_OP_neg,
            }),
            Step::Binary(op) => self.op(match op {
                BinaryOp::Add => DW_OP_plus,
                BinaryOp::Sub => DW_OP_minus,
                BinaryOp::Mul => DW_OP_mul,
                BinaryOp::And => DW_OP_and,
                BinaryOp::Or => DW_OP_or,
                BinaryOp::Xor => DW_OP_xor,
                BinaryOp::Shl => DW_OP_shl,
                BinaryOp::ShrU => DW_OP_shr,
                BinaryOp::ShrS => DW_OP_shra,
                BinaryOp::Eq => DW_OP_eq,
                BinaryOp::Ne => DW_OP_ne,
                BinaryOp::Lt => DW_OP_lt,
                BinaryOp::Le => DW_OP_le,
            }),
            // DWARF has no such operation: the one that is not wanted is
            // dropped, on one of two ways.
            Step::Select => {
                self.op(DW_OP_bra);
                self.bytes.extend(self.ordered(4_i16.to_le_bytes()));
                self.op(DW_OP_drop);
                self.op(DW_OP_skip);
                self.bytes.extend(self.ordered(2_i16.to_le_bytes()));
                self.op(DW_OP_swap);
                self.op(DW_OP_drop);
            }
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
