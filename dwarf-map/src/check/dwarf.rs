//! The rules that compare an image's DWARF with its map.
//!
//! The comparison does not share the writer's idea of ranges. It asks of each
//! code byte that a debugger may look up (an anchor, the byte after it, the
//! last byte of a call instruction) what DWARF says there. At any other byte
//! DWARF may say something only between two of those at which it says the same,
//! and only if the code from one to the other leaves that place alone.

use super::{Findings, Rule, Violation};
use crate::dwarf::points::Source;
use crate::dwarf::quiet::Changes;
use crate::dwarf::variables::{self, Stacks};
use crate::expression::{BinaryOp, UnaryOp};
use crate::locate::width_mask;
use crate::unwind::endian;
use crate::{
    Anchor, CodeOffset, DwarfReg, Expression as Derivation, ExpressionIdx, FunctionMap, ImageMap,
    Input, Isa, Location, Step, SubjectAddr,
};
use gimli::{
    AttributeValue, DW_AT_byte_size, DW_AT_frame_base, DW_AT_high_pc, DW_AT_location, DW_AT_low_pc,
    DW_AT_name, DW_AT_type, DW_TAG_base_type, DW_TAG_formal_parameter, DW_TAG_subprogram,
    DW_TAG_variable, Dwarf, EndianSlice, Expression, Operation, RunTimeEndian, SectionId, Unit,
    UnitOffset,
};
use iced_x86::InstructionInfoFactory;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;
use wasm_view::{Cell, ValType};

type Slice<'a> = EndianSlice<'a, RunTimeEndian>;

/// Compares the DWARF of an image with its map.
///
/// `section` gives the content of a section by ELF name, empty when there is
/// none; `text` is the address of `.text`.
pub fn check_dwarf<'a>(
    map: &ImageMap,
    text: SubjectAddr,
    section: &dyn Fn(&str) -> &'a [u8],
) -> Vec<Violation> {
    let mut findings = Findings::default();
    let result = Described::read(map.isa(), text, section)
        .map_err(|error| error.to_string())
        .and_then(|described| described.compare(map, &mut findings));
    if let Err(message) = result {
        findings.image(Rule::DwarfReadable, message);
    }
    findings.list
}

/// A variable as DWARF describes it.
#[derive(Debug)]
struct DescribedVariable<'a> {
    name: String,
    ty: String,
    parameter: bool,
    /// Absolute ranges, and what holds there.
    ranges: Vec<(Range<u64>, Expression<Slice<'a>>)>,
}

/// A subprogram as DWARF describes it.
#[derive(Debug)]
struct Subprogram<'a> {
    length: u64,
    frame_base_is_cfa: bool,
    variables: Vec<DescribedVariable<'a>>,
}

struct Described<'a> {
    isa: Isa,
    text: SubjectAddr,
    /// The bytes at `text`.
    code: &'a [u8],
    encoding: Option<gimli::Encoding>,
    /// By address.
    subprograms: BTreeMap<u64, Subprogram<'a>>,
    /// Addresses that have a line.
    lines: BTreeSet<u64>,
}

impl<'a> Described<'a> {
    fn read(
        isa: Isa,
        text: SubjectAddr,
        section: &dyn Fn(&str) -> &'a [u8],
    ) -> Result<Described<'a>, gimli::Error> {
        let load = |id: SectionId| {
            Ok::<_, gimli::Error>(EndianSlice::new(section(id.name()), endian(isa)))
        };
        let dwarf: Dwarf<Slice<'a>> = Dwarf::load(load)?;
        let mut described = Described {
            isa,
            text,
            code: section(".text"),
            encoding: None,
            subprograms: BTreeMap::new(),
            lines: BTreeSet::new(),
        };
        let mut units = dwarf.units();
        while let Some(header) = units.next()? {
            let unit = dwarf.unit(header)?;
            described.encoding = Some(unit.encoding());
            described.unit(&dwarf, &unit)?;
            if let Some(program) = unit.line_program.clone() {
                let mut rows = program.rows();
                while let Some((_, row)) = rows.next_row()? {
                    if !row.end_sequence() {
                        described.lines.insert(row.address());
                    }
                }
            }
        }
        Ok(described)
    }

    fn unit(
        &mut self,
        dwarf: &Dwarf<Slice<'a>>,
        unit: &Unit<Slice<'a>>,
    ) -> Result<(), gimli::Error> {
        let name =
            |entry: &gimli::DebuggingInformationEntry<Slice<'a>>| {
                let value = entry.attr_value(DW_AT_name);
                let text = value.map(|value| dwarf.attr_string(unit, value)).transpose()?;
                Ok::<_, gimli::Error>(text.map_or(String::new(), |text| {
                    String::from_utf8_lossy(text.slice()).into_owned()
                }))
            };
        let mut types: HashMap<UnitOffset, String> = HashMap::new();
        let mut entries = unit.entries();
        while let Some(entry) = entries.next_dfs()? {
            if entry.tag() == DW_TAG_base_type {
                let size = entry.attr_value(DW_AT_byte_size).and_then(|size| size.udata_value());
                types.insert(entry.offset(), format!("{}:{}", name(entry)?, size.unwrap_or(0)));
            }
        }
        let mut current: Option<(u64, Subprogram<'a>)> = None;
        let mut entries = unit.entries();
        while let Some(entry) = entries.next_dfs()? {
            let tag = entry.tag();
            if tag == DW_TAG_subprogram {
                self.subprograms.extend(current.take());
                let Some(low) = entry.attr_value(DW_AT_low_pc) else {
                    continue;
                };
                let Some(low) = dwarf.attr_address(unit, low)? else {
                    continue;
                };
                let high = entry.attr_value(DW_AT_high_pc).and_then(|high| high.udata_value());
                let frame_base_is_cfa = match entry.attr_value(DW_AT_frame_base) {
                    Some(AttributeValue::Exprloc(Expression(mut bytes))) => matches!(
                        Operation::parse(&mut bytes, unit.encoding()),
                        Ok(Operation::CallFrameCFA)
                    ),
                    _ => false,
                };
                let length = high.unwrap_or(0);
                let variables = Vec::new();
                current = Some((low, Subprogram { length, frame_base_is_cfa, variables }));
            } else if let Some((_, subprogram)) = &mut current
                && (tag == DW_TAG_variable || tag == DW_TAG_formal_parameter)
            {
                let ty = match entry.attr_value(DW_AT_type) {
                    Some(AttributeValue::UnitRef(offset)) => types.get(&offset).cloned(),
                    _ => None,
                };
                let mut ranges = Vec::new();
                let location = entry.attr_value(DW_AT_location);
                let list = location.map(|value| dwarf.attr_locations(unit, value)).transpose()?;
                if let Some(mut list) = list.flatten() {
                    while let Some(each) = list.next()? {
                        ranges.push((each.range.begin..each.range.end, each.data));
                    }
                }
                subprogram.variables.push(DescribedVariable {
                    name: name(entry)?,
                    ty: ty.unwrap_or_default(),
                    parameter: tag == DW_TAG_formal_parameter,
                    ranges,
                });
            }
        }
        self.subprograms.extend(current);
        Ok(())
    }

    fn compare(&self, map: &ImageMap, findings: &mut Findings) -> Result<(), String> {
        let mut known: HashSet<u64> = HashSet::new();
        let functions = map.functions.iter().map(|each| (Some(each), &each.code));
        let thunks = map.thunks.iter().map(|each| (None, &each.code));
        let entries = map.entries.iter().map(|each| (None, &each.code));
        for (function, code) in functions.chain(thunks).chain(entries) {
            let start = code.start.at(self.text).get();
            known.insert(start);
            let length = u64::from(code.end.get()).checked_sub(u64::from(code.start.get()));
            let func = function.map(|function| function.func);
            let Some(subprogram) = self.subprograms.get(&start) else {
                let message = format!("no subprogram begins at {start:#x}");
                findings.add(Rule::DwarfFunction, func, None, message);
                continue;
            };
            if Some(subprogram.length) != length || !subprogram.frame_base_is_cfa {
                let message = format!(
                    "the subprogram at {start:#x} has {:#x} bytes, expected {:#x}; frame base is \
                     the canonical frame address: {}",
                    subprogram.length,
                    length.unwrap_or(0),
                    subprogram.frame_base_is_cfa,
                );
                findings.add(Rule::DwarfFunction, func, None, message);
            }
            if let Some(function) = function {
                self.function(function, subprogram, findings)?;
            }
        }
        for start in self.subprograms.keys().filter(|start| !known.contains(start)) {
            let message = format!("the subprogram at {start:#x} is nothing in the map");
            findings.image(Rule::DwarfFunction, message);
        }
        Ok(())
    }

    fn function(
        &self,
        function: &FunctionMap,
        subprogram: &Subprogram<'a>,
        findings: &mut Findings,
    ) -> Result<(), String> {
        let bytes = lookups(function, self.isa);
        let between = self.between(function, &bytes);
        let known = Known::of(function);
        let stacks = Stacks::new(function);
        let expected = variables::of(function);
        let mut described: BTreeMap<&str, &DescribedVariable<'a>> = BTreeMap::new();
        for variable in &subprogram.variables {
            if described.insert(&variable.name, variable).is_some() {
                let message = format!("two variables are called {}", variable.name);
                findings.add(Rule::DwarfVariable, Some(function.func), None, message);
            }
        }
        for variable in &expected {
            let Some(found) = described.remove(variable.name.as_str()) else {
                let message = format!("no variable is called {}", variable.name);
                findings.add(Rule::DwarfVariable, Some(function.func), None, message);
                continue;
            };
            let ty = format!("{}:{}", variable.ty, variable.ty.bytes());
            if found.ty != ty || found.parameter != variable.parameter {
                let message = format!("{} has type {:?}, expected {ty:?}", found.name, found.ty);
                findings.add(Rule::DwarfVariable, Some(function.func), None, message);
                continue;
            }
            let said = self.ranges(found, variable.ty, &known)?;
            let meant = |at: usize| {
                let &(_, source) = bytes.get(at)?;
                known.located(stacks.location(variable, source)?, variable.ty)
            };
            let unfounded = |gap: usize, location| {
                let changes = between.get(gap).and_then(Option::as_ref);
                !changes.is_some_and(|changes| changes.leave(location, &function.expressions))
            };
            if let Some((pc, said, meant)) = first_difference(&said, &bytes, meant, unfounded) {
                let message = format!(
                    "{} at {}: {said:?} by DWARF, {meant:?} by the map",
                    variable.name,
                    CodeOffset::new(pc),
                );
                let offset = bytes.binary_search_by_key(&pc, |(pc, _)| *pc).ok();
                let offset = offset.and_then(|at| bytes.get(at)).and_then(|(_, source)| {
                    Some(match source {
                        Source::Boundary(at) => function.boundaries.get(*at)?.offset,
                        Source::CallSite(at) => function.call_sites.get(*at)?.offset,
                    })
                });
                findings.add(Rule::DwarfLocation, Some(function.func), offset, message);
            }
        }
        for name in described.keys() {
            let message = format!("{name} is no slot of the function");
            findings.add(Rule::DwarfVariable, Some(function.func), None, message);
        }
        self.lines(function, findings);
        Ok(())
    }

    /// What the code between each byte that is looked up and the next one changes;
    /// `None` where it does not lead there.
    fn between(&self, function: &FunctionMap, bytes: &[(u32, Source)]) -> Vec<Option<Changes>> {
        let mut info = InstructionInfoFactory::new();
        let pairs = bytes.iter().zip(bytes.iter().skip(1));
        let changes = |(&(from, source), &(to, next)): (&(u32, Source), &(u32, Source))| {
            let start = match source {
                Source::CallSite(_) => from.checked_add(1)?,
                Source::Boundary(at) => match function.boundaries.get(at)?.anchor {
                    Anchor::Trap(pc) => pc.get().checked_add(1)?,
                    _ => from,
                },
            };
            // To the end of the call instruction, the last byte of which is looked up.
            let end = to.checked_add(u32::from(matches!(next, Source::CallSite(_))))?;
            Changes::of(self.isa, self.code, start..end, function, &mut info)
        };
        pairs.map(changes).collect()
    }

    /// What DWARF says about a variable, in ascending order, nothing twice.
    fn ranges(
        &self,
        variable: &DescribedVariable<'a>,
        ty: ValType,
        known: &Known<'_>,
    ) -> Result<Vec<Said>, String> {
        let mut said: Vec<Said> = Vec::new();
        for (range, expression) in &variable.ranges {
            let location = self.location(*expression, ty, known).map_err(|what| {
                format!("{} at {:#x}..{:#x}: {what}", variable.name, range.start, range.end)
            })?;
            let offset = |address| {
                let offset = SubjectAddr::new(address).since(self.text);
                offset.and_then(|offset| u32::try_from(offset).ok())
            };
            let (Some(start), Some(end)) = (offset(range.start), offset(range.end)) else {
                return Err(format!("{} is located outside the text", variable.name));
            };
            if start < end {
                said.push((start..end, location));
            }
        }
        said.sort_by_key(|(range, _)| (range.start, range.end));
        said.dedup();
        match said.windows(2).find(|pair| pair[1].0.start < pair[0].0.end) {
            Some(pair) => {
                let pc = CodeOffset::new(pair[1].0.start);
                Err(format!("{} is in two places at {pc}", variable.name))
            }
            None => Ok(said),
        }
    }

    fn location(
        &self,
        expression: Expression<Slice<'a>>,
        ty: ValType,
        known: &Known<'_>,
    ) -> Result<Location, String> {
        let encoding = self.encoding.ok_or("there is no unit")?;
        let Expression(mut bytes) = expression;
        let mut operations = Vec::new();
        while !bytes.is_empty() {
            let operation = Operation::parse(&mut bytes, encoding);
            operations.push(operation.map_err(|error| error.to_string())?);
        }
        let [operation] = operations.as_slice() else {
            let derivation = derivation(&operations)?;
            let index = known.first.get(&derivation).copied();
            return index.map(Location::Derived).ok_or_else(|| {
                format!("the function has no such expression: {:?}", derivation.steps())
            });
        };
        match *operation {
            Operation::Register { register } => Ok(Location::Register(DwarfReg(register.0))),
            Operation::FrameOffset { offset } => i32::try_from(offset)
                .map(Location::CfaOffset)
                .map_err(|_| format!("frame offset {offset}")),
            Operation::ImplicitValue { data } if data.len() == ty.bytes() => {
                let fold = |value, byte: &u8| value << 8 | u128::from(*byte);
                let value = u64::try_from(match self.isa.is_big_endian() {
                    true => data.iter().fold(0_u128, fold),
                    false => data.iter().rev().fold(0_u128, fold),
                });
                let value = value.map_err(|_| "a vector whose high half is not 0".to_owned())?;
                Ok(Location::Constant(Cell(value)))
            }
            other => Err(format!("{other:?}")),
        }
    }

    fn lines(&self, function: &FunctionMap, findings: &mut Findings) {
        let code = &function.code;
        let start = code.start.at(self.text).get();
        let end = code.end.at(self.text).get();
        if start > end || self.lines.range(start..end).next().is_none() {
            return;
        }
        for boundary in &function.boundaries {
            if let Some(pc) = boundary.anchor.pc()
                && !self.lines.contains(&pc.at(self.text).get())
            {
                let message = format!("no line begins at {pc}");
                findings.add(Rule::DwarfLine, Some(function.func), Some(boundary.offset), message);
            }
        }
    }
}

/// The bytes of a function's code at which its slots can be looked up, and
/// whose locations hold there: anchors first, then what follows them, then
/// the last bytes of call instructions, each where the ones before have no
/// claim.
fn lookups(function: &FunctionMap, isa: Isa) -> Vec<(u32, Source)> {
    let code = function.code.start.get()..function.code.end.get();
    let mut bytes: BTreeMap<u32, Source> = BTreeMap::new();
    let mut claim = |pc: u32, source| {
        if code.contains(&pc) {
            bytes.entry(pc).or_insert(source);
        }
    };
    for after in 0..=isa.trap_reported_at() {
        for (position, boundary) in function.boundaries.iter().enumerate() {
            let reaches = after == 0 || matches!(boundary.anchor, Anchor::Trap(_));
            if let Some(pc) = boundary.anchor.pc().filter(|_| reaches)
                && code.contains(&pc.get())
            {
                claim(pc.get().saturating_add(after), Source::Boundary(position));
            }
        }
    }
    for (position, site) in function.call_sites.iter().enumerate() {
        if let Some(last) = site.return_address.get().checked_sub(1) {
            claim(last, Source::CallSite(position));
        }
    }
    bytes.into_iter().collect()
}

/// The expressions of a function, by what they say.
struct Known<'a> {
    expressions: &'a [Derivation],
    /// The first one of those that are equal.
    first: HashMap<&'a Derivation, ExpressionIdx>,
}

impl<'a> Known<'a> {
    fn of(function: &'a FunctionMap) -> Known<'a> {
        let mut first = HashMap::new();
        for (index, expression) in (0..).zip(&function.expressions) {
            first.entry(expression).or_insert(ExpressionIdx::new(index));
        }
        Known { expressions: &function.expressions, first }
    }

    /// What DWARF can say about a location: constants at the width of the
    /// type, nothing for what is unavailable.
    fn located(&self, location: Location, ty: ValType) -> Option<Location> {
        match location {
            Location::Unavailable(_) => None,
            Location::Constant(cell) => Some(Location::Constant(Cell(cell.0 & width_mask(ty)))),
            Location::Derived(index) => {
                let expression = self.expressions.get(index.index())?;
                self.first.get(expression).copied().map(Location::Derived)
            }
            other => Some(other),
        }
    }
}

/// The program that DWARF operations are, read back without regard to how they
/// are written.
fn derivation(operations: &[Operation<Slice<'_>>]) -> Result<Derivation, String> {
    let Some((Operation::StackValue, mut rest)) = operations.split_last() else {
        return Err("an expression that is not a stack value".to_owned());
    };
    let mut steps = Vec::new();
    while let Some((operation, after)) = rest.split_first() {
        rest = after;
        let binary = |op| Step::Binary(op);
        steps.push(match (operation, after) {
            (&Operation::RegisterOffset { register, offset: 0, .. }, _) => {
                Step::Input(Input::Register(DwarfReg(register.0)))
            }
            (
                &Operation::FrameOffset { offset },
                [Operation::Deref { size: 8, space: false, .. }, after @ ..],
            ) => {
                rest = after;
                let offset = i32::try_from(offset).map_err(|_| format!("frame offset {offset}"))?;
                Step::Input(Input::Frame(offset))
            }
            (&Operation::UnsignedConstant { value }, _) => Step::Constant(value),
            (Operation::Not, _) => Step::Unary(UnaryOp::Not),
            (Operation::Neg, _) => Step::Unary(UnaryOp::Neg),
            (Operation::Plus, _) => binary(BinaryOp::Add),
            (Operation::Minus, _) => binary(BinaryOp::Sub),
            (Operation::Mul, _) => binary(BinaryOp::Mul),
            (Operation::And, _) => binary(BinaryOp::And),
            (Operation::Or, _) => binary(BinaryOp::Or),
            (Operation::Xor, _) => binary(BinaryOp::Xor),
            (Operation::Shl, _) => binary(BinaryOp::Shl),
            (Operation::Shr, _) => binary(BinaryOp::ShrU),
            (Operation::Shra, _) => binary(BinaryOp::ShrS),
            (Operation::Eq, _) => binary(BinaryOp::Eq),
            (Operation::Ne, _) => binary(BinaryOp::Ne),
            (Operation::Lt, _) => binary(BinaryOp::Lt),
            (Operation::Le, _) => binary(BinaryOp::Le),
            // `bra` to the `swap`; the `skip` passes both that follow it.
            (
                Operation::Bra { target: 4 },
                [
                    Operation::Drop,
                    Operation::Skip { target: 2 },
                    Operation::Swap,
                    Operation::Drop,
                    after @ ..,
                ],
            ) => {
                rest = after;
                Step::Select
            }
            (other, _) => return Err(format!("{other:?} in an expression")),
        });
    }
    Derivation::new(steps).map_err(|error| error.to_string())
}

/// A range of code and where DWARF says that a variable is there.
type Said = (Range<u32>, Location);

/// The lowest byte about which DWARF says something else than it should, and what
/// each says of it. `bytes` are those that are looked up, of which `meant` knows
/// by position what the map says; `unfounded` whether a location may not be given
/// for what lies behind one of them, up to the next.
fn first_difference(
    said: &[Said],
    bytes: &[(u32, Source)],
    meant: impl Fn(usize) -> Option<Location>,
    unfounded: impl Fn(usize, Location) -> bool,
) -> Option<(u32, Option<Location>, Option<Location>)> {
    let mut ranges = said.iter().peekable();
    // The byte after the last one that is accounted for.
    let mut done = 0;
    for (at, &(pc, _)) in bytes.iter().enumerate() {
        // What begins before this byte and after the last one speaks of neither.
        while let Some((range, location)) = ranges.next_if(|(range, _)| range.end <= pc) {
            if range.end > done {
                return Some((range.start.max(done), Some(*location), None));
            }
        }
        let here = ranges.peek().filter(|(range, _)| range.contains(&pc));
        let here = here.map(|(range, location)| (range, *location));
        let expected = meant(at);
        if here.map(|(_, location)| location) != expected {
            return Some((pc, here.map(|(_, location)| location), expected));
        }
        if let Some((range, location)) = here {
            let came_from_before = at > 0 && range.start < done;
            if range.start < pc && done < pc {
                // It covers what lies between the byte before and this one.
                if !came_from_before || unfounded(at - 1, location) {
                    return Some((range.start.max(done), Some(location), None));
                }
            }
        }
        done = pc.saturating_add(1);
    }
    ranges
        .find(|(range, _)| range.end > done)
        .map(|(range, location)| (range.start.max(done), Some(*location), None))
}
