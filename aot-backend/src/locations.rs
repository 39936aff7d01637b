//! Where the value of each slot is at a PC.
//!
//! The register allocator reports for each label, that is for each SSA value,
//! ranges of code with a register or a stack place. A slot's value is located
//! if such a range of it, or of an equal value, covers the PC. Constants are
//! often not kept anywhere; then the map states the constant.

use crate::lower::Lowered;
use cranelift_codegen::ir::{InstructionData, Opcode, Value, ValueDef, types};
use cranelift_codegen::isa::TargetIsa;
use cranelift_codegen::{LabelValueLoc, ValueLocRange};
use dwarf_map::{DwarfReg, Location, Reason};
use wasm_view::Cell;

/// Registers that a System V callee hands back unchanged, by DWARF number:
/// rbx, rbp, r12-r15.
const CALLEE_SAVED: [u16; 6] = [3, 6, 12, 13, 14, 15];

/// Finds locations within one compiled function.
pub(crate) struct Locator<'a> {
    lowered: &'a Lowered,
    isa: &'a dyn TargetIsa,
    /// Ranges of each value by its number, in code order.
    ranges: Vec<Vec<ValueLocRange>>,
}

impl<'a> Locator<'a> {
    pub fn new(lowered: &'a Lowered, isa: &'a dyn TargetIsa) -> Self {
        let mut ranges = vec![Vec::new(); lowered.function.dfg.num_values()];
        for (label, found) in &lowered.code.value_labels_ranges {
            if let Some(place) = ranges.get_mut(label.as_u32() as usize) {
                place.clone_from(found);
                place.sort_by_key(|range| (range.start, range.end));
            }
        }
        Locator {
            lowered,
            isa,
            ranges,
        }
    }

    /// The location of a value when the PC is at `pc`.
    pub fn at(&self, value: Value, pc: u32) -> Location {
        self.find(value, pc, |_| true)
    }

    /// The location of a value in a frame suspended at a call that returns to
    /// `pc`: what the callee may overwrite does not count.
    pub fn suspended(&self, value: Value, pc: u32) -> Location {
        self.find(value, pc, |register| CALLEE_SAVED.contains(&register.0))
    }

    fn find(&self, value: Value, pc: u32, usable: impl Fn(DwarfReg) -> bool) -> Location {
        let mut reason = Reason::Folded;
        for member in self.lowered.classes.members(&value) {
            let Some(ranges) = self.ranges.get(member.as_u32() as usize) else {
                continue;
            };
            if !ranges.is_empty() {
                reason = reason_max(reason, Reason::NoLongerLive);
            }
            match covering(ranges, pc).map(|place| self.translate(place)) {
                Some(Some(Location::Register(register))) if !usable(register) => {
                    reason = reason_max(reason, Reason::Clobbered);
                }
                Some(Some(location)) => return location,
                Some(None) => reason = reason_max(reason, Reason::NotExpressible),
                None => {}
            }
        }
        let constant = self
            .lowered
            .classes
            .members(&value)
            .iter()
            .find_map(|&v| self.constant(v));
        constant.map_or(Location::Unavailable(reason), Location::Constant)
    }

    /// A place in the map's terms.
    fn translate(&self, place: LabelValueLoc) -> Option<Location> {
        match place {
            LabelValueLoc::Reg(register) => {
                let number = self.isa.map_regalloc_reg_to_dwarf(register).ok()?;
                Some(Location::Register(DwarfReg(number)))
            }
            // Relative to the caller's stack pointer at the call, which is the
            // canonical frame address on x86-64: rbp + 16 in the body.
            LabelValueLoc::CFAOffset(offset) => i32::try_from(offset).ok().map(Location::CfaOffset),
        }
    }

    /// The value itself, if it is a constant.
    fn constant(&self, value: Value) -> Option<Cell> {
        let dfg = &self.lowered.function.dfg;
        let ValueDef::Result(inst, _) = dfg.value_def(value) else {
            return None;
        };
        match dfg.insts[inst] {
            InstructionData::UnaryImm {
                opcode: Opcode::Iconst,
                imm,
            } => {
                let bits = imm.bits().cast_unsigned();
                let narrow = dfg.value_type(value) == types::I32;
                Some(Cell(if narrow { bits & 0xffff_ffff } else { bits }))
            }
            InstructionData::UnaryIeee32 { imm, .. } => Some(Cell(u64::from(imm.bits()))),
            InstructionData::UnaryIeee64 { imm, .. } => Some(Cell(imm.bits())),
            _ => None,
        }
    }
}

/// The place of a value at a PC. Its ranges do not overlap, one place at a
/// time, so only the last one that starts early enough can cover it.
fn covering(ranges: &[ValueLocRange], pc: u32) -> Option<LabelValueLoc> {
    let next = ranges.partition_point(|range| range.start <= pc);
    let range = ranges.get(next.checked_sub(1)?)?;
    (pc < range.end).then_some(range.loc)
}

/// The more telling of two reasons.
fn reason_max(x: Reason, y: Reason) -> Reason {
    let rank = |reason| match reason {
        Reason::Folded => 0,
        Reason::NoLongerLive => 1,
        Reason::Clobbered => 2,
        Reason::NotExpressible => 3,
    };
    if rank(y) > rank(x) { y } else { x }
}
