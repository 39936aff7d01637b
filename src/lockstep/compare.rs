//! The comparator: one stop's slots, written bytes, tables and globals.
//!
//! Every function here returns the differences it found, empty when there is
//! none. Nothing is skipped without a count: a slot without a location is
//! counted by its reason in [`super::stats`].

use super::finding::Watch;
use super::follow::Lockstep;
use super::plan::{BoundaryId, Check, FunctionPlan, Width};
use super::space::{Space, read_u128};
use super::stops::Selection;
use crate::error::CommandError;
use dwarf_map::expression::formula;
use dwarf_map::{DwarfReg, Expression, Input, Isa, Location, SubjectAddr};
use oracle_interp::{AdoptError, Choice, ChoiceKind};
use reports::{Slot, SlotName, SlotType};
use tracer::{SharedRegion, Subject, VectorRegs};
use wasm_view::{
    Cell, GlobalIdx, InstanceId, MemoryId, MemoryIdx, SlotIdx, TableId, ValType, Value,
};

/// Most single differences listed of one region: enough to see a pattern.
const LISTED: usize = 8;
/// Most bytes shown of one differing range.
const LISTED_BYTES: u64 = 16;

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

    /// Compares the bytes and table elements that the oracle wrote since the
    /// last stop, and every mutable global.
    pub(super) fn compare_writes(&mut self) -> Result<Vec<Slot>, CommandError> {
        self.settle_store()?;
        let mut differences = Vec::new();
        let mut compared = 0;
        for (memory, address, length) in self.oracle.writes() {
            let bytes = self.oracle.memory(memory);
            let range = address as usize..(address + length).min(bytes.len() as u64) as usize;
            let Some(bytes) = bytes.get(range) else { continue };
            compared += bytes.len() as u64;
            let equal = self.memory_region(memory).compare(address, bytes);
            if !matches!(equal, Ok(None)) {
                differences.extend(self.memory_differences(memory, address, bytes));
            }
        }
        self.stats.memory_bytes += compared;
        for (table, first, count) in self.oracle.table_writes() {
            differences.extend(self.table_differences(table, first, count)?);
        }
        self.oracle.clear_writes();
        // Only the instance that executed can have set a global since.
        let here = self.oracle.top().map(|top| top.boundary.instance);
        let before = self.last.map(|last| last.instance).filter(|before| Some(*before) != here);
        let all = matches!(self.selection, Selection::Shipped(_));
        let all = if all { 0..self.oracle.instances().len() } else { 0..0 };
        let here = here.filter(|_| all.is_empty());
        let before = before.filter(|_| all.is_empty());
        let all = all.map(InstanceId::from_index);
        for instance in here.into_iter().chain(before).chain(all) {
            for at in 0..self.mutable_globals[instance.index()].len() {
                let (index, ty) = self.mutable_globals[instance.index()][at];
                if let Some(found) = self.global_difference(instance, index, ty)? {
                    differences.push(found);
                }
            }
        }
        Ok(differences)
    }

    /// Compares whole memories and their sizes, tables and globals.
    ///
    /// Returns the differences and, for memory, what to watch in order to find
    /// the boundary at which they arose.
    pub(super) fn compare_whole(&mut self) -> Result<(Vec<Slot>, Option<Watch>), CommandError> {
        self.settle_store()?;
        let mut differences = Vec::new();
        let mut watch = None;
        for memory in (0..self.oracle.num_memories()).map(MemoryId::from_index) {
            let bytes = self.oracle.memory(memory);
            self.stats.memory_bytes += bytes.len() as u64;
            let region = self.memory_region(memory);
            if region.len() != bytes.len() as u64 {
                let page = self.page_bytes(memory);
                let pages = |bytes: u64| Some(bytes / page);
                let (want, got) = (pages(bytes.len() as u64), pages(region.len()));
                let name = SlotName::MemorySize(self.memory_index(memory).get());
                differences.push(Slot::number(name, SlotType::U64, want, got));
                continue;
            }
            if !matches!(region.compare(0, bytes), Ok(None)) {
                differences.extend(self.memory_differences(memory, 0, bytes));
                watch.get_or_insert(self.watch_of(memory, bytes));
            }
        }
        for table in (0..self.oracle.num_tables()).map(TableId::from_index) {
            let count = self.oracle.table(table).len() as u64;
            differences.extend(self.table_differences(table, 0, count)?);
        }
        for instance in self.oracle.instances() {
            let defined = instance.module.num_imported_globals() as usize;
            for (at, global) in instance.globals.iter().enumerate().skip(defined) {
                let (index, ty) = (GlobalIdx::from_index(at), self.oracle.global(*global).0);
                differences.extend(self.global_difference(instance.id(), index, ty)?);
            }
        }
        differences.extend(self.dropped_differences());
        Ok((differences, watch))
    }

    /// Bytes of memory that differ, whether or not anything looked at them yet:
    /// what led to a divergence may have been written long before it.
    pub(super) fn differing_memory(&self) -> Option<Watch> {
        (0..self.oracle.num_memories()).map(MemoryId::from_index).find_map(|memory| {
            let bytes = self.oracle.memory(memory);
            let region = self.memory_region(memory);
            let differs =
                region.len() == bytes.len() as u64 && !matches!(region.compare(0, bytes), Ok(None));
            differs.then(|| self.watch_of(memory, bytes))
        })
    }

    /// The first bytes of a memory that differ from the oracle's.
    fn watch_of(&self, memory: MemoryId, bytes: &[u8]) -> Watch {
        let region = self.memory_region(memory);
        let differences = region.differences(0, bytes, LISTED).unwrap_or_default();
        let addresses =
            differences.into_iter().flat_map(|range| range.take(LISTED_BYTES as usize)).collect();
        Watch { memory, addresses }
    }

    /// Compares single bytes that an earlier run found to differ in the end.
    pub(super) fn compare_watched(&mut self) -> Vec<Slot> {
        let Some(watch) = &self.watch else { return Vec::new() };
        if watch.memory.index() >= self.oracle.num_memories() {
            return Vec::new();
        }
        let bytes = self.oracle.memory(watch.memory);
        let mut differences = Vec::new();
        let region = self.memory_region(watch.memory);
        for &address in &watch.addresses {
            let Some(byte) = bytes.get(address as usize).map(std::slice::from_ref) else {
                continue;
            };
            // A memory that has not grown so far yet has no such byte.
            if address < region.len() && !matches!(region.compare(address, byte), Ok(None)) {
                differences.extend(self.memory_differences(watch.memory, address, byte));
            }
        }
        differences
    }

    /// The subject's form of a memory of the oracle's.
    #[inline]
    pub(super) fn memory_region(&self, memory: MemoryId) -> &SharedRegion {
        let (owner, index) = self.owners.memories[memory.index()];
        self.subject.region(self.spaces[owner.index()].memories[index.index()])
    }

    /// The index of a memory in the instance that defines it.
    fn memory_index(&self, memory: MemoryId) -> MemoryIdx {
        self.owners.memories[memory.index()].1
    }

    /// What differs in a range of memory that is known to differ.
    fn memory_differences(&self, memory: MemoryId, address: u64, expected: &[u8]) -> Vec<Slot> {
        let region = self.memory_region(memory);
        let page = self.page_bytes(memory);
        let memory = self.memory_index(memory);
        let slot = |at: u64, want: &[u8], got: &[u8]| {
            Slot::bytes(memory.get(), at, want, got)
                .read_from(region.address().offset(at as i64).to_string())
        };
        let mut found = Vec::new();
        for range in region.differences(address, expected, LISTED).unwrap_or_default() {
            let length = (range.end - range.start).min(LISTED_BYTES) as usize;
            let from = (range.start - address) as usize;
            let mut actual = vec![0; length];
            if let Some(want) = expected.get(from..from + length)
                && region.read(range.start, &mut actual).is_ok()
            {
                found.push(slot(range.start, want, &actual));
            }
        }
        if found.is_empty() {
            // The subject's memory ends before what the oracle wrote.
            let pages = expected.len() as u64 + address;
            let (want, got) = (pages.div_ceil(page), region.len() / page);
            let name = SlotName::MemorySize(memory.get());
            found.push(Slot::number(name, SlotType::U64, Some(want), Some(got)));
        }
        found
    }

    fn page_bytes(&self, memory: MemoryId) -> u64 {
        let (owner, index) = self.owners.memories[memory.index()];
        self.spaces[owner.index()].memory_types[index.index()].page_bytes()
    }

    fn table_differences(
        &self,
        table: TableId,
        first: u64,
        count: u64,
    ) -> Result<Vec<Slot>, CommandError> {
        let (owner, index) = self.owners.tables[table.index()];
        let space = &self.spaces[owner.index()];
        let elements = self.oracle.table(table);
        let ty = self.oracle.instance(owner).module.tables()[index.index()].element;
        let ty = ValType::Ref(ty);
        let region = self.subject.region(space.tables[index.index()]);
        let mut found = Vec::new();
        let size = space.table_size(&self.subject, index)?;
        if size != elements.len() as u64 {
            let name = SlotName::TableSize(index.get());
            let want = Some(elements.len() as u64);
            found.push(Slot::number(name, SlotType::U64, want, Some(size)));
        }
        let end = first.saturating_add(count).min(elements.len() as u64);
        for position in first..end {
            let native = region.read_u64(position * 8).map_err(CommandError::bug)?;
            let (want, got) = (elements[position as usize], space.cell(ty, native));
            if want != got && found.len() < LISTED {
                found.push(difference(
                    SlotName::Table { table: index.get(), element: position },
                    Value::from_cell(ty, want),
                    Some(Value::from_cell(ty, got)),
                    format!("table {} element {position}, native {native:#x}", index.get()),
                ));
            }
        }
        Ok(found)
    }

    fn global_difference(
        &self,
        instance: InstanceId,
        index: GlobalIdx,
        ty: ValType,
    ) -> Result<Option<Slot>, CommandError> {
        let id = self.oracle.instance(instance).globals[index.index()];
        let expected = match ty {
            ValType::V128 => self.oracle.global_value(id),
            _ => Value::from_cell(ty, self.oracle.global(id).1),
        };
        let actual = self.spaces[instance.index()].global(&self.subject, index, ty)?;
        Ok((!same(actual, expected)).then(|| {
            difference(
                SlotName::Global(index.get()),
                expected,
                Some(actual),
                "instance data".into(),
            )
        }))
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
