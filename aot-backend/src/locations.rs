//! Where the value of each slot is at a PC.
//!
//! The register allocator reports for each label, that is for each SSA value,
//! ranges of code with a register or a stack place. A slot's value is located
//! if such a range of it, or of an equal value, covers the PC. Constants are
//! often not kept anywhere; then the map states the constant. What optimised
//! code does not keep is derived, if it can be ([`crate::derive`]).
//!
//! The map asks for every slot at every boundary, millions of times, and most
//! slots are where they were at the boundary before. So every answer comes with
//! the stretch of code over which it cannot be another ([`Span`]), and is
//! remembered for it.

use crate::derive::Deriver;
use crate::lower::Lowered;
use crate::options::Anchors;
use cranelift_codegen::entity::EntitySet;
use cranelift_codegen::ir::{Function, Inst, InstructionData, Opcode, Value, ValueDef, types};
use cranelift_codegen::isa::TargetIsa;
use cranelift_codegen::{LabelValueLoc, ValueLocRange};
use dwarf_map::{DwarfReg, Expression, Isa, Location, Reason};
use wasm_view::Cell;

/// Which registers a location may be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

/// Code `from..to`, in bytes from the function's start, over which something
/// stays the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    from: u32,
    to: u32,
}

impl Span {
    /// All code there is.
    pub const ALL: Span = Span { from: 0, to: u32::MAX };

    pub fn contains(self, pc: u32) -> bool {
        self.from <= pc && pc < self.to
    }

    /// Leaves what is in the other one too.
    pub fn cut(&mut self, other: Span) {
        self.from = self.from.max(other.from);
        self.to = self.to.min(other.to);
    }
}

/// Finds locations within one compiled function.
pub(crate) struct Locator<'a> {
    places: Places<'a>,
    /// Of optimised code only: otherwise what is needed is kept.
    deriver: Option<Deriver>,
    /// What was found last for each value, by its number: in a running frame, in
    /// a suspended one.
    known: [Vec<Option<(Span, Location)>>; 2],
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
    /// Where any of them starts or ends, ascending.
    changes: Vec<u32>,
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
        let mut changes: Vec<u32> =
            by_start.iter().flat_map(|range| [range.start, range.end]).collect();
        changes.sort_unstable();
        changes.dedup();
        Ranges { by_start, reach, changes }
    }

    /// The code around a PC that the same ranges cover.
    fn unchanged(&self, pc: u32) -> Span {
        let after = self.changes.partition_point(|at| *at <= pc);
        let before = after.checked_sub(1).and_then(|at| self.changes.get(at));
        Span {
            from: before.map_or(0, |at| *at),
            to: self.changes.get(after).map_or(u32::MAX, |at| *at),
        }
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
        let optimised = lowered.optimised;
        let deriver = optimised.then(|| Deriver::new(&places));
        let known = [(); 2].map(|()| vec![None; places.ranges.len()]);
        Locator { places, deriver, known }
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
        let known = &mut self.known[usize::from(registers.preserved_only)];
        let known = known.get_mut(value.as_u32() as usize);
        if let Some(Some((span, location))) = &known
            && span.contains(pc)
        {
            return *location;
        }
        let mut span = Span::ALL;
        let mut found = self.places.find(value, pc, registers, &mut span);
        if let (Location::Unavailable(_), Some(deriver)) = (&found, &mut self.deriver) {
            let derived = deriver.derive(&self.places, value, pc, registers, &mut span);
            found = derived.unwrap_or(found);
        }
        found = self.places.seen(value, found);
        if let Some(known) = known {
            *known = Some((span, found));
        }
        found
    }
}

/// The register of a block parameter that nothing uses holds it only until the
/// block's first instruction, and that one's inputs may be moved there before.
/// (With traps in the code the first instruction is a trap, without inputs.)
/// Nothing: not even an instruction that is left out because nothing uses it.
fn forget_unused_params(function: &Function, ranges: &mut [Ranges]) {
    let used = used(function);
    for block in function.layout.blocks() {
        for param in function.dfg.block_params(block).iter().filter(|param| !used.contains(**param))
        {
            if let Some(ranges) = ranges.get_mut(param.as_u32() as usize) {
                *ranges = Ranges::default();
            }
        }
    }
}

/// Values that the instructions need which are lowered: those that do something,
/// and those whose results are needed.
fn used(function: &Function) -> EntitySet<Value> {
    let dfg = &function.dfg;
    let mut work: Vec<Inst> = Vec::new();
    for block in function.layout.blocks() {
        work.extend(function.layout.block_insts(block).filter(|inst| {
            let opcode = dfg.insts[*inst].opcode();
            opcode.is_terminator()
                || opcode.is_call()
                || opcode.can_trap()
                || opcode.can_load()
                || opcode.can_store()
                || opcode.other_side_effects()
        }));
    }
    let mut used: EntitySet<Value> = EntitySet::with_capacity(dfg.num_values());
    while let Some(inst) = work.pop() {
        let lanes = match dfg.insts[inst] {
            // Of a shuffle perhaps the lanes of one operand only.
            InstructionData::Shuffle { imm, .. } => dfg.immediates.get(imm).map(|mask| {
                let first = mask.iter().any(|lane| *lane < 16);
                [first, mask.iter().any(|lane| *lane >= 16)]
            }),
            _ => None,
        };
        for (at, value) in dfg.inst_values(inst).enumerate() {
            let needed = lanes.is_none_or(|needed| needed.get(at).copied().unwrap_or(true));
            let value = dfg.resolve_aliases(value);
            if needed && used.insert(value) {
                work.extend(dfg.value_def(value).inst());
            }
        }
    }
    used
}

impl Places<'_> {
    /// The first of the values equal to one.
    pub fn first(&self, value: Value) -> Value {
        self.lowered.classes.first(value)
    }

    /// A register if there is one, since that is what the code will use next;
    /// else a stack place, else a constant. Cuts `span` to where the answer is
    /// the same.
    pub fn find(&self, value: Value, pc: u32, registers: Registers, span: &mut Span) -> Location {
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
                span.cut(ranges.unchanged(pc));
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
                // Cranelift numbers the vectors of riscv64 from 64; the psABI, from 96.
                let number = match self.lowered.isa {
                    Isa::Riscv64 if number >= 64 => number + 32,
                    _ => number,
                };
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
