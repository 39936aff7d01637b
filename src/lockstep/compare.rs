//! The comparator of frames: one stop's locals and operands.
//!
//! Every function here returns the differences it found, empty when there is
//! none. Nothing is skipped without a count: a slot without a location is
//! counted by its reason in [`super::stats`].

use super::follow::Lockstep;
use super::plan::{BoundaryId, Check, FunctionPlan, Width};
use super::space::{Space, read_u128};
use super::stops::Selection;
use crate::error::CommandError;
use dwarf_map::expression::formula;
use dwarf_map::{DwarfReg, Expression, Input, Isa, Location, SubjectAddr};
use oracle_interp::{AdoptError, Choice, ChoiceKind};
use reports::{Slot, SlotName};
use tracer::{SharedRegion, Subject, VectorRegs};
use wasm_view::{Cell, SlotIdx, Value};

/// Reads the slots of one boundary at which the subject stands.
pub struct SlotReader<'a> {
    general: [u64; Isa::MOST_GENERAL],
    isa: Isa,
    /// Fetched only for boundaries that need them: a system call.
    vectors: Option<&'a VectorRegs>,
    stack: &'a SharedRegion,
    space: &'a Space,
    constants: &'a [u64],
    expressions: &'a [Expression],
    cfa: SubjectAddr,
}

impl<'a> SlotReader<'a> {
    /// Of a boundary of a function, by its position there.
    #[inline]
    pub fn new(
        subject: &'a Subject,
        space: &'a Space,
        plan: &'a FunctionPlan,
        index: u32,
        cfa: SubjectAddr,
    ) -> Self {
        let vectors = plan.vectors(index);
        SlotReader {
            general: subject.regs().general(),
            isa: plan.isa,
            vectors: if vectors != 0 { subject.vectors_among(vectors).ok() } else { None },
            stack: subject.region(space.stack),
            space,
            constants: &plan.constants,
            expressions: &plan.expressions,
            cfa,
        }
    }

    /// A slot in native form; `Ok(None)` when the map has no location, an
    /// address or 0 when what the map says cannot be read.
    #[inline]
    pub fn read(&self, check: Check) -> Result<Option<(u64, Width)>, SubjectAddr> {
        Ok(Some(match check {
            Check::Gpr(reg, width) => (self.general[usize::from(reg & 31)], width),
            Check::Xmm(reg, width) => match self.vectors {
                Some(vectors) => {
                    let bytes = if width == Width::Word { 4 } else { 8 };
                    (vectors.float(reg, bytes).ok_or(SubjectAddr::new(0))?, width)
                }
                None => return Err(SubjectAddr::new(0)),
            },
            Check::Cfa(offset, width) => {
                let address = self.cfa.offset(i64::from(offset));
                let at = self.space.stack_offset(address).ok_or(address)?;
                (native_word(self.stack, at, width, self.isa).map_err(|_| address)?, width)
            }
            Check::Constant(index, width) => match self.constants.get(index as usize) {
                Some(value) => (*value, width),
                None => return Ok(None),
            },
            Check::Derived(index, width) => match self.expressions.get(index as usize) {
                Some(expression) => (self.derive(expression)?, width),
                None => return Err(SubjectAddr::new(0)),
            },
            Check::None(..) => return Ok(None),
        }))
    }

    /// The same of any slot, vectors included; zero-extended.
    pub fn read_whole(&self, check: Check) -> Result<Option<u128>, SubjectAddr> {
        Ok(Some(match check {
            Check::Xmm(reg, Width::Vector) => match self.vectors {
                Some(vectors) => vectors.xmm(u16::from(reg)).ok_or(SubjectAddr::new(0))?,
                None => return Err(SubjectAddr::new(0)),
            },
            Check::Cfa(offset, Width::Vector) => {
                let address = self.cfa.offset(i64::from(offset));
                let at = self.space.stack_offset(address).ok_or(address)?;
                native_vector(self.stack, at, self.isa).map_err(|_| address)?
            }
            narrow => return Ok(self.read(narrow)?.map(|(bits, _)| u128::from(bits))),
        }))
    }

    /// Computes what is nowhere from what is somewhere.
    fn derive(&self, expression: &Expression) -> Result<u64, SubjectAddr> {
        expression.evaluate(|input| match input {
            Input::Register(register) => {
                let general = self.general.get(usize::from(register.0));
                general.copied().ok_or(SubjectAddr::new(0))
            }
            Input::Frame(offset) => {
                let address = self.cfa.offset(i64::from(offset));
                let at = self.space.stack_offset(address).ok_or(address)?;
                native_word(self.stack, at, Width::Double, self.isa).map_err(|_| address)
            }
        })
    }
}

/// A slot of the native stack that is no vector, with bits that do not count above
/// its width.
#[inline]
pub(super) fn native_word(
    stack: &SharedRegion,
    at: u64,
    width: Width,
    isa: Isa,
) -> Result<u64, tracer::OutOfRegion> {
    if !isa.is_big_endian() {
        return stack.read_u64(at);
    }
    if width == Width::Word {
        let mut bytes = [0; 4];
        stack.read(at, &mut bytes)?;
        return Ok(u64::from(u32::from_be_bytes(bytes)));
    }
    stack.read_u64(at).map(u64::swap_bytes)
}

/// A vector on the native stack.
pub(super) fn native_vector(
    stack: &SharedRegion,
    at: u64,
    isa: Isa,
) -> Result<u128, tracer::OutOfRegion> {
    let bits = read_u128(stack, at)?;
    Ok(if isa.is_big_endian() { bits.swap_bytes() } else { bits })
}

impl Lockstep<'_> {
    /// Compares every slot of the boundary at which both sides stand.
    ///
    /// Adopts what the specification leaves open and the oracle chose freely
    /// in its last step.
    #[inline]
    pub(super) fn compare_slots(
        &mut self,
        at: BoundaryId,
        cfa: SubjectAddr,
    ) -> Result<Vec<Slot>, CommandError> {
        let wrong = self.differing_slots(at, cfa)?;
        match &self.selection {
            Selection::Shipped(_) => self.settle_slots(at, cfa, wrong),
            _ => Ok(wrong),
        }
    }

    fn differing_slots(
        &mut self,
        at: BoundaryId,
        cfa: SubjectAddr,
    ) -> Result<Vec<Slot>, CommandError> {
        let Self { oracle, subject, plan, image, unwinder, spaces, .. } = self;
        let space = &spaces[0];
        let plan = plan.function(at.function, &image.map, unwinder)?;
        let Some(top) = oracle.top() else {
            return Err(CommandError::bug("the oracle has no frame at a boundary"));
        };
        let checks = plan.checks(at.index);
        let cells = plan.cells(at.index);
        if cells != top.slots.len() {
            return Err(CommandError::input(format_args!(
                "the image's map has {cells} cells at {}, validation says {}; it was made from another module, or its compiler is wrong",
                top.boundary.offset,
                top.slots.len(),
            )));
        }
        let reader = SlotReader::new(subject, space, plan, at.index, cfa);
        let mut wrong: Vec<SlotIdx> = Vec::new();
        if cells != checks.len() {
            wrong_among_vectors(&reader, space, checks, top.slots, &mut wrong);
            let free = |choice: Choice| matches!(choice.kind, ChoiceKind::Vector(_));
            if let Some(choice) = oracle.choice().filter(|choice| free(*choice)) {
                return self.adopt_vector(at, cfa, choice, wrong);
            }
            return if wrong.is_empty() {
                Ok(Vec::new())
            } else {
                self.adopt_or_report(at, cfa, wrong)
            };
        }
        for (index, (check, expected)) in checks.iter().zip(top.slots).enumerate() {
            let same = match reader.read(*check) {
                Ok(Some((native, Width::Word))) => native as u32 as u64 == expected.0,
                Ok(Some((native, Width::Double))) => native == expected.0,
                Ok(Some((native, Width::FuncRef))) => space.funcref(native) == Some(*expected),
                // Not here: the cells would be more than the slots.
                Ok(Some((_, Width::Vector))) | Err(_) => false,
                Ok(None) => true,
            };
            if !same {
                wrong.push(SlotIdx::from_index(index));
            }
        }
        if wrong.is_empty() {
            return Ok(Vec::new());
        }
        self.adopt_or_report(at, cfa, wrong)
    }

    /// The slow path: something differs.
    fn adopt_or_report(
        &mut self,
        at: BoundaryId,
        cfa: SubjectAddr,
        mut wrong: Vec<SlotIdx>,
    ) -> Result<Vec<Slot>, CommandError> {
        if let Some(choice) = self.oracle.choice()
            && wrong.contains(&choice.slot)
            && let (_, Some(native)) = self.slot_value(at, cfa, choice.slot)?
        {
            let cell = native.to_cell();
            if choice.allows(cell) {
                self.oracle.adopt(&choice, cell).map_err(CommandError::bug)?;
                self.stats.adopt(choice.kind.name());
                wrong.retain(|slot| *slot != choice.slot);
            }
        }
        self.slot_differences(at, cfa, &wrong)
    }

    /// Adopts the subject's vector where the specification leaves a choice,
    /// also if it is the oracle's: what a relaxed instruction computes must be
    /// the same all through a run.
    fn adopt_vector(
        &mut self,
        at: BoundaryId,
        cfa: SubjectAddr,
        choice: Choice,
        mut wrong: Vec<SlotIdx>,
    ) -> Result<Vec<Slot>, CommandError> {
        let differed = wrong.contains(&choice.slot);
        let mut contradicts = false;
        if let (_, Some(Value::V128(bits))) = self.slot_value(at, cfa, choice.slot)? {
            match self.oracle.adopt_vector(&choice, bits) {
                Ok(()) => {
                    wrong.retain(|slot| *slot != choice.slot);
                    if differed {
                        self.stats.adopt(choice.kind.name());
                    }
                }
                Err(AdoptError::Inconsistent) => {
                    contradicts = true;
                    if !differed {
                        wrong.push(choice.slot);
                    }
                }
                Err(AdoptError::NotAllowed(_)) => {}
                Err(error) => return Err(CommandError::bug(error)),
            }
        }
        let mut differences = self.slot_differences(at, cfa, &wrong)?;
        if contradicts && let Some(last) = differences.last_mut() {
            let place = last.location.take().unwrap_or_default();
            last.location =
                Some(format!("{place}; allowed, but this instruction chose otherwise before"));
        }
        Ok(differences)
    }

    /// The slots of the innermost frame that differ, described.
    fn slot_differences(
        &mut self,
        at: BoundaryId,
        cfa: SubjectAddr,
        wrong: &[SlotIdx],
    ) -> Result<Vec<Slot>, CommandError> {
        let mut differences = Vec::new();
        for &slot in wrong {
            let (expected, actual) = self.slot_value(at, cfa, slot)?;
            let function = &self.image.map.functions[at.function as usize];
            let boundary = &function.boundaries[at.index as usize];
            let locals = function.locals.len();
            let name = match slot.index().checked_sub(locals) {
                None => SlotName::local(slot.get()),
                Some(depth) => SlotName::stack(depth as u32),
            };
            let location = boundary.locations.get(slot.index());
            let place = location.map(|location| {
                let isa = self.image.map.isa();
                describe_location(isa, *location, &function.expressions, cfa)
            });
            let place = place.unwrap_or_default();
            differences.push(difference(name, expected, actual, place));
        }
        Ok(differences)
    }

    /// A slot as the oracle and as the subject has it.
    pub(super) fn slot_value(
        &mut self,
        at: BoundaryId,
        cfa: SubjectAddr,
        slot: SlotIdx,
    ) -> Result<(Value, Option<Value>), CommandError> {
        let Self { oracle, subject, plan, image, unwinder, spaces, .. } = self;
        let space = &spaces[0];
        let function = &image.map.functions[at.function as usize];
        let boundary = &function.boundaries[at.index as usize];
        let plan = plan.function(at.function, &image.map, unwinder)?;
        let (Some(top), Some(ty)) =
            (oracle.top(), function.locals.iter().chain(&boundary.operands).nth(slot.index()))
        else {
            return Err(CommandError::bug("a slot beyond the frame"));
        };
        let checks = plan.checks(at.index);
        let before = checks.iter().take(slot.index());
        let first: usize = before.map(|check| check.width().cells()).sum();
        let Some(cells) = top.slots.get(first..first + ty.cells()) else {
            return Err(CommandError::bug("a slot beyond the frame's cells"));
        };
        let expected = Value::from_cells(*ty, cells);
        let reader = SlotReader::new(subject, space, plan, at.index, cfa);
        let check = checks.get(slot.index()).copied();
        let native = check.and_then(|check| reader.read_whole(check).ok().flatten());
        Ok((expected, native.map(|bits| space.value(*ty, bits))))
    }
}

/// Whether two values of one type have the same bits.
pub fn same(a: Value, b: Value) -> bool {
    a.to_cells().eq(b.to_cells())
}

/// Finds the slots that differ at a boundary where some are vectors.
fn wrong_among_vectors(
    reader: &SlotReader<'_>,
    space: &Space,
    checks: &[Check],
    mut cells: &[Cell],
    wrong: &mut Vec<SlotIdx>,
) {
    for (index, check) in checks.iter().enumerate() {
        let (expected, rest) = cells.split_at(check.width().cells());
        cells = rest;
        let same = match (reader.read_whole(*check), expected) {
            (Ok(None), _) => true,
            (Err(_), _) => false,
            (Ok(Some(native)), &[low, high]) => {
                native == u128::from(high.0) << 64 | u128::from(low.0)
            }
            (Ok(Some(native)), cells) => match check.width() {
                Width::Word => cells == [Cell(u64::from(native as u32))],
                Width::FuncRef => space.funcref(native as u64).as_ref() == cells.first(),
                _ => cells == [Cell(native as u64)],
            },
        };
        if !same {
            wrong.push(SlotIdx::from_index(index));
        }
    }
}

/// A difference of two values; `None` is a value that could not be read.
pub fn difference(
    slot: SlotName,
    expected: Value,
    actual: Option<Value>,
    location: String,
) -> Slot {
    let shown = actual.unwrap_or(Value::default_of(expected.ty()));
    let mut found = Slot::value(slot, expected, shown, location);
    if actual.is_none() {
        found.actual = None;
    }
    found
}

/// Names of the general registers by DWARF number.
pub const REGISTERS: [&str; 16] = [
    "rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15",
];

/// The location of a value that is a constant in the map.
pub const CONSTANT: &str = "constant";

/// A register as people write it.
pub fn describe_register(isa: Isa, register: DwarfReg) -> String {
    if let Some(name) = isa.register_name(register) {
        return name;
    }
    match (REGISTERS.get(usize::from(register.0)), register.0) {
        (Some(name), _) => (*name).to_string(),
        (None, number @ 17..=32) => format!("xmm{}", number - 17),
        (None, other) => format!("DWARF register {other}"),
    }
}

/// An expression of a function's as people write it.
pub fn describe_expression(isa: Isa, expression: Option<&Expression>) -> String {
    let input = |input| match input {
        Input::Register(register) => describe_register(isa, register),
        Input::Frame(offset) => format!("[CFA{offset:+}]"),
    };
    match expression {
        Some(expression) => format!("derived: {}", formula(expression, input)),
        None => "derived by no expression".into(),
    }
}

/// A location as people write it, in a function with these expressions.
pub fn describe_location(
    isa: Isa,
    location: Location,
    expressions: &[Expression],
    cfa: SubjectAddr,
) -> String {
    match location {
        Location::Register(register) => describe_register(isa, register),
        Location::Derived(index) => describe_expression(isa, expressions.get(index.index())),
        Location::CfaOffset(offset) => {
            format!("[CFA{offset:+}] = [{}]", cfa.offset(i64::from(offset)))
        }
        Location::Constant(_) => CONSTANT.into(),
        Location::Unavailable(reason) => format!("unavailable: {}", reason.key()),
    }
}
