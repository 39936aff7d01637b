//! Where the value of each slot is at a PC.
//!
//! The register allocator reports for each label, that is for each SSA value,
//! ranges of code with a register or a stack place. A slot's value is located
//! if such a range of it, or of an equal value, covers the PC. Constants are
//! often not kept anywhere; then the map states the constant. What optimised
//! code does not keep is derived, if it can be ([`crate::derive`]).

use crate::derive::Deriver;
use crate::lower::Lowered;
use crate::options::Anchors;
use cranelift_codegen::ir::{Function, InstructionData, Opcode, Value, ValueDef, types};
use cranelift_codegen::isa::TargetIsa;
use cranelift_codegen::settings::OptLevel;
use cranelift_codegen::{LabelValueLoc, ValueLocRange};
use dwarf_map::{DwarfReg, Expression, Isa, Location, Reason};
use std::collections::HashSet;
use wasm_view::Cell;

/// Which registers a location may be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Registers {
    /// Only those that a callee hands back unchanged.
    pub preserved_only: bool,
    /// No vector registers.
    pub general_only: bool,
}

impl Registers {
    const ALL: Registers = Registers { preserved_only: false, general_only: false };
    const SUSPENDED: Registers = Registers { preserved_only: true, general_only: false };

    fn hold(self, isa: Isa, register: DwarfReg) -> bool {
        (!self.preserved_only || isa.is_callee_saved(register))
            && (!self.general_only || isa.is_general(register))
    }
}

/// Finds locations within one compiled function.
pub(crate) struct Locator<'a> {
    places: Places<'a>,
    /// Of optimised code only: otherwise what is needed is kept.
    deriver: Option<Deriver>,
}

/// Where values are in one compiled function.
pub(crate) struct Places<'a> {
    pub lowered: &'a Lowered,
    isa: &'a dyn TargetIsa,
    /// Bytes by which the frame lies lower than it was entered.
    moved: u32,
    /// Ranges of each value, by its number.
    ranges: Vec<Ranges>,
}

/// Where one value is, over the function's code.
#[derive(Clone, Default)]
struct Ranges {
    /// By start. They may overlap: a spilled value is in its stack place
    /// throughout and in a register around a use.
    by_start: Vec<ValueLocRange>,
    /// The last end among the ranges up to each position.
    reach: Vec<u32>,
}

impl Ranges {
    fn new(found: &[ValueLocRange]) -> Self {
        let mut by_start = found.to_vec();
        by_start.sort_by_key(|range| (range.start, range.end));
        let mut furthest = 0;
        let reach = by_start.iter().map(|range| {
            furthest = range.end.max(furthest);
            furthest
        });
        let reach = reach.collect();
        Ranges { by_start, reach }
    }

    /// All places at a PC, the one taken latest first.
    fn covering(&self, pc: u32) -> impl Iterator<Item = LabelValueLoc> {
        let started = self.by_start.partition_point(|range| range.start <= pc);
        (0..started)
            .rev()
            .map_while(move |at| (*self.reach.get(at)? > pc).then(|| self.by_start.get(at))?)
            .filter(move |range| pc < range.end)
            .map(|range| range.loc)
    }
}

impl<'a> Locator<'a> {
    /// `moved`: bytes by which the frame lies lower than it was entered.
    pub fn new(lowered: &'a Lowered, isa: &'a dyn TargetIsa, moved: u32, anchors: Anchors) -> Self {
        let mut ranges = vec![Ranges::default(); lowered.function.dfg.num_values()];
        for (label, found) in &lowered.code.value_labels_ranges {
            if let Some(place) = ranges.get_mut(label.as_u32() as usize) {
                *place = Ranges::new(found);
            }
        }
        if anchors == Anchors::Srcloc {
            forget_unused_params(&lowered.function, &mut ranges);
        }
        let places = Places { lowered, isa, moved, ranges };
        let optimised = isa.flags().opt_level() != OptLevel::None;
        let deriver = optimised.then(|| Deriver::new(&places));
        Locator { places, deriver }
    }

    /// The location of a value when the PC is at `pc`.
    pub fn at(&mut self, value: Value, pc: u32) -> Location {
        self.locate(value, pc, Registers::ALL)
    }

    /// The location of a value in a frame suspended at a call that returns to
    /// `pc`: what the callee may overwrite does not count.
    pub fn suspended(&mut self, value: Value, pc: u32) -> Location {
        self.locate(value, pc, Registers::SUSPENDED)
    }

    /// What the derived locations refer to.
    pub fn into_expressions(self) -> Vec<Expression> {
        self.deriver.map(Deriver::into_expressions).unwrap_or_default()
    }

    fn locate(&mut self, value: Value, pc: u32, registers: Registers) -> Location {
        let found = self.places.find(value, pc, registers);
        match (&found, &mut self.deriver) {
            (Location::Unavailable(_), Some(deriver)) => {
                deriver.derive(&self.places, value, pc, registers).unwrap_or(found)
            }
            _ => self.places.seen(value, found),
        }
    }
}

/// The register of a block parameter that nothing uses holds it only until the
/// block's first instruction, and that one's inputs may be moved there before.
/// (With traps in the code the first instruction is a trap, without inputs.)
fn forget_unused_params(function: &Function, ranges: &mut [Ranges]) {
    let mut used: HashSet<Value> = HashSet::new();
    for block in function.layout.blocks() {
        for inst in function.layout.block_insts(block) {
            used.extend(function.dfg.inst_values(inst));
        }
    }
    for block in function.layout.blocks() {
        for param in function.dfg.block_params(block).iter().filter(|param| !used.contains(param)) {
            if let Some(ranges) = ranges.get_mut(param.as_u32() as usize) {
                *ranges = Ranges::default();
            }
        }
    }
}

impl Places<'_> {
    /// The first of the values equal to one.
    pub fn first(&self, value: Value) -> Value {
        self.lowered.classes.first(value)
    }

    /// A register if there is one, since that is what the code will use next;
    /// else a stack place, else a constant.
    pub fn find(&self, value: Value, pc: u32, registers: Registers) -> Location {
        let classes = &self.lowered.classes;
        let mut reason = Reason::Folded;
        let mut on_stack = None;
        let wider = classes.wider(value).iter().flat_map(|wide| classes.members(wide));
        for member in classes.members(&value).iter().chain(wider) {
            let Some(ranges) = self.ranges.get(member.as_u32() as usize) else {
                continue;
            };
            if !ranges.by_start.is_empty() {
                reason = reason_max(reason, Reason::NoLongerLive);
            }
            for place in ranges.covering(pc) {
                match self.translate(place) {
                    Some(Location::Register(register))
                        if !registers.hold(self.lowered.isa, register) =>
                    {
                        reason = reason_max(reason, Reason::Clobbered);
                    }
                    Some(location @ Location::Register(_)) => return location,
                    Some(location) => {
                        on_stack.get_or_insert(location);
                    }
                    None => reason = reason_max(reason, Reason::NotExpressible),
                }
            }
        }
        let constants = || classes.members(&value).iter();
        on_stack
            .or_else(|| constants().find_map(|&v| self.constant(v)).map(Location::Constant))
            .unwrap_or(Location::Unavailable(reason))
    }

    /// A location as a reader of the value sees it: where words have their high
    /// byte first, a number of four bytes is at the end of the eight it was spilled
    /// to. (A float is at their start, as it is in its register.)
    fn seen(&self, value: Value, location: Location) -> Location {
        let ty = self.lowered.function.dfg.value_type(value);
        match location {
            Location::CfaOffset(offset)
                if self.lowered.isa.is_big_endian() && ty.is_int() && ty.bytes() < 8 =>
            {
                Location::CfaOffset(offset + (8 - ty.bytes()).cast_signed())
            }
            other => other,
        }
    }

    /// A place in the map's terms.
    fn translate(&self, place: LabelValueLoc) -> Option<Location> {
        match place {
            LabelValueLoc::Reg(register) => {
                let number = self.isa.map_regalloc_reg_to_dwarf(register).ok()?;
                Some(Location::Register(DwarfReg(number)))
            }
            // Relative to the caller's stack pointer at the call, which was the
            // canonical frame address, on x86-64 rbp + 16 in the body, before the
            // frame moved.
            LabelValueLoc::CFAOffset(offset) => {
                let offset = offset + i64::from(self.moved) - self.lowered.isa.cfa_above_stack();
                let offset = i32::try_from(offset);
                offset.ok().map(Location::CfaOffset)
            }
        }
    }

    /// The value itself, if it is a constant.
    fn constant(&self, value: Value) -> Option<Cell> {
        let dfg = &self.lowered.function.dfg;
        let ValueDef::Result(inst, _) = dfg.value_def(value) else {
            return None;
        };
        match dfg.insts[inst] {
            InstructionData::UnaryImm { opcode: Opcode::Iconst, imm } => {
                let bits = imm.bits().cast_unsigned();
                let narrow = dfg.value_type(value) == types::I32;
                Some(Cell(if narrow { bits & 0xffff_ffff } else { bits }))
            }
            InstructionData::UnaryIeee32 { imm, .. } => Some(Cell(u64::from(imm.bits()))),
            InstructionData::UnaryIeee64 { imm, .. } => Some(Cell(imm.bits())),
            InstructionData::UnaryConst { opcode: Opcode::Vconst, constant_handle } => {
                let bytes = dfg.constants.get(constant_handle).as_slice();
                vector_constant(bytes.try_into().ok()?)
            }
            // The same bits seen as other lanes.
            InstructionData::LoadNoOffset { opcode: Opcode::Bitcast, arg, .. }
                if dfg.value_type(value).is_vector() && dfg.value_type(arg).is_vector() =>
            {
                self.constant(arg)
            }
            _ => None,
        }
    }
}

/// A vector constant as the map has it: only its low half can be other than 0.
fn vector_constant(bytes: [u8; 16]) -> Option<Cell> {
    u64::try_from(u128::from_le_bytes(bytes)).ok().map(Cell)
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
