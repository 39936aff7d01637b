//! Bytes to model, trusting none of them.
//!
//! Every read is bounded by the bytes that are left, and no count allocates
//! more than those bytes could describe. What remains is amplification: a
//! boundary of four bytes repeats all the locations of the one before. The
//! reader therefore has a budget of slots ([`slot_budget`]) and refuses a map
//! that wants more.

use super::{GONE, MAGIC, STABLE_KINDS, VALUE_TYPES, VERSION, flags, step, tag, thunk};
use crate::Isa;
use crate::expression::{BinaryOp, MAX_STEPS, UnaryOp};
use crate::{
    Anchor, BoundaryMap, CallSite, CodeOffset, Detour, DwarfReg, EntryMap, Expression,
    ExpressionIdx, FunctionMap, Handler, ImageMap, Input, InstanceCounts, InstanceLayout, Location,
    Producer, Reason, StableKind, StablePoint, Step, ThunkKind, ThunkMap, TrapSite,
};
use std::num::NonZeroU32;
use std::ops::Range;
use wasm_view::{
    Cell, DataIdx, ElemIdx, FuncIdx, FuncType, MemoryIdx, SlotIdx, TableIdx, TagIdx, Trap, TypeIdx,
    ValType, WasmOffset,
};

/// Why bytes are not a map. Offsets are bytes from the start of the section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SectionError {
    /// The section does not begin with the magic.
    #[error(".wasm_map does not begin with its magic `wasm_map`")]
    NotAMap,
    /// It is a map in a format that this reader does not know.
    #[error(".wasm_map has format version {found}, this reader knows version {VERSION} only")]
    UnknownVersion {
        /// The version it says it has.
        found: u32,
    },
    /// The bytes end in the middle of something.
    #[error(".wasm_map ends at {at:#x} in the middle of {what}")]
    Truncated {
        /// Where more bytes were needed.
        at: usize,
        /// What they would have been.
        what: &'static str,
    },
    /// The bytes mean something that a map cannot hold.
    #[error(".wasm_map, byte {at:#x}: {what}")]
    Malformed {
        /// The byte after the offending one.
        at: usize,
        /// The rule that is broken.
        what: &'static str,
    },
    /// The map would take more memory than a map of this size may.
    #[error(".wasm_map, byte {at:#x}: more than {budget} slots in a map of this size")]
    TooLarge {
        /// Where the budget ran out.
        at: usize,
        /// Slots that were allowed.
        budget: u64,
    },
}

/// Reads the content of `.wasm_map`.
pub fn read(bytes: &[u8]) -> Result<ImageMap, SectionError> {
    let budget = slot_budget(bytes.len());
    let mut reader = Reader { bytes, at: 0, budget, slots: 0, expressions: 0 };
    if reader.take(MAGIC.len(), "the magic") != Ok(&MAGIC[..]) {
        return Err(SectionError::NotAMap);
    }
    let found = u32::from_le_bytes(reader.array("the version")?);
    if found != VERSION {
        return Err(SectionError::UnknownVersion { found });
    }
    let producer = reader.producer()?;
    let layout = reader.layout()?;
    let functions = reader.functions()?;
    let thunks = reader.list("thunks", Reader::thunk)?;
    let entries = reader.list("entries", Reader::entry)?;
    if reader.at != bytes.len() {
        return Err(reader.malformed("bytes follow the last entry"));
    }
    Ok(ImageMap { functions, thunks, entries, layout, producer })
}

/// Operands and locations, together, that a map of this many bytes may have:
/// enough for boundaries with thousands of slots.
fn slot_budget(bytes: usize) -> u64 {
    const BASE: u64 = 1 << 24;
    const PER_BYTE: u64 = 512;
    const MOST: u64 = 1 << 27;
    (BASE + PER_BYTE.saturating_mul(bytes as u64)).min(MOST)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    budget: u64,
    slots: u64,
    /// How many expressions the present function has.
    expressions: usize,
}

type Result<T, E = SectionError> = std::result::Result<T, E>;

impl<'a> Reader<'a> {
    fn malformed(&self, what: &'static str) -> SectionError {
        SectionError::Malformed { at: self.at, what }
    }

    fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8]> {
        let end = self.at.checked_add(count);
        let Some(taken) = end.and_then(|end| self.bytes.get(self.at..end)) else {
            return Err(SectionError::Truncated { at: self.at, what });
        };
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    fn byte(&mut self, what: &'static str) -> Result<u8> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    /// LEB128; bits beyond the 64th are refused.
    fn unsigned(&mut self, what: &'static str) -> Result<u64> {
        let mut value = 0_u64;
        let mut shift = 0;
        loop {
            let byte = self.byte(what)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 || shift > 63 {
                return Err(self.malformed("an integer has more than 64 bits"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
            shift += 7;
        }
    }

    fn u32(&mut self, what: &'static str) -> Result<u32> {
        u32::try_from(self.unsigned(what)?)
            .map_err(|_| self.malformed("an integer has more than 32 bits"))
    }

    /// A number of things that take at least a byte each.
    fn count(&mut self, what: &'static str) -> Result<usize> {
        let count = self.unsigned(what)?;
        usize::try_from(count)
            .ok()
            .filter(|count| *count <= self.left())
            .ok_or_else(|| self.malformed("a count is larger than the bytes that are left"))
    }

    /// Accounts for operands and locations.
    fn spend(&mut self, slots: usize) -> Result<()> {
        self.slots = self.slots.saturating_add(slots as u64);
        if self.slots > self.budget {
            return Err(SectionError::TooLarge { at: self.at, budget: self.budget });
        }
        Ok(())
    }

    fn list<T>(
        &mut self,
        what: &'static str,
        mut item: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        let count = self.count(what)?;
        // Grown as items are read: an item may be far larger in memory than
        // the byte that a count promises.
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(item(self)?);
        }
        list.shrink_to_fit();
        Ok(list)
    }

    fn forward(&mut self, from: u32, what: &'static str) -> Result<u32> {
        let distance = self.u32(what)?;
        from.checked_add(distance).ok_or_else(|| self.malformed("an offset goes backwards"))
    }

    /// Like `forward`, but at least one byte on unless this is the first.
    fn ascending(&mut self, from: u32, first: bool, what: &'static str) -> Result<u32> {
        let to = self.forward(from, what)?;
        if to == from && !first {
            return Err(self.malformed("offsets are not in ascending order"));
        }
        Ok(to)
    }

    fn either_way(&mut self, from: u32, what: &'static str) -> Result<u32> {
        let distance = unzigzag(self.unsigned(what)?);
        i64::from(from)
            .checked_add(distance)
            .and_then(|to| u32::try_from(to).ok())
            .ok_or_else(|| self.malformed("an offset has more than 32 bits"))
    }

    fn text(&mut self, length: usize) -> Result<String> {
        let bytes = self.take(length, "a string")?;
        let text = std::str::from_utf8(bytes);
        text.map(str::to_owned).map_err(|_| self.malformed("a string is not UTF-8"))
    }

    fn string(&mut self) -> Result<String> {
        let length = self.count("a string's length")?;
        self.text(length)
    }

    fn optional_string(&mut self) -> Result<Option<String>> {
        match self.unsigned("a string's length")? {
            0 => Ok(None),
            // Cut to the address space: far beyond the bytes in any case.
            length => self.text(usize::try_from(length - 1).unwrap_or(usize::MAX)).map(Some),
        }
    }

    fn val_type(&mut self) -> Result<ValType> {
        let byte = self.byte("a value type")?;
        let known = VALUE_TYPES.iter().find(|(code, _)| *code == byte);
        known.map(|(_, ty)| *ty).ok_or_else(|| self.malformed("unknown value type"))
    }

    fn func_type(&mut self) -> Result<FuncType> {
        let params = self.list("parameter types", Self::val_type)?;
        let results = self.list("result types", Self::val_type)?;
        Ok(FuncType { params, results })
    }

    fn code_range(&mut self, from: u32) -> Result<Range<CodeOffset>> {
        let start = self.either_way(from, "a code range")?;
        let end = self.forward(start, "a code range")?;
        Ok(CodeOffset::new(start)..CodeOffset::new(end))
    }

    fn producer(&mut self) -> Result<Producer> {
        Ok(Producer {
            backend: self.string()?,
            version: self.string()?,
            opt: self.string()?,
            stable: self.string()?,
            anchors: self.string()?,
            target: {
                let name = self.string()?;
                let isa = Isa::from_name(&name);
                isa.ok_or_else(|| self.malformed("an instruction set that is not known"))?
            },
            cpu_features: self.list("CPU features", Self::string)?,
        })
    }

    fn layout(&mut self) -> Result<InstanceLayout> {
        let mut count = || self.u32("the instance layout");
        let counts = InstanceCounts {
            argument_cells: count()?,
            memories: count()?,
            tables: count()?,
            imported_globals: count()?,
            defined_globals: count()?,
            imported_functions: count()?,
            types: count()?,
            functions: count()?,
        };
        if !fits(&counts) {
            return Err(self.malformed("the instance data is larger than 2 GiB"));
        }
        Ok(InstanceLayout::new(counts))
    }

    fn functions(&mut self) -> Result<Vec<FunctionMap>> {
        let mut first = true;
        let (mut func, mut code, mut body) = (0, 0, 0);
        self.list("functions", |reader| {
            let function = reader.function(func, first, code, body)?;
            first = false;
            func = function.func.get();
            code = function.code.end.get();
            body = function.body.end.get();
            Ok(function)
        })
    }

    fn function(&mut self, func: u32, first: bool, code: u32, body: u32) -> Result<FunctionMap> {
        let func = FuncIdx::new(self.ascending(func, first, "a function index")?);
        let ty = TypeIdx::new(self.u32("a type index")?);
        let params = self.u32("a number of parameters")?;
        let name = self.optional_string()?;
        let code = self.code_range(code)?;
        let body_start = self.either_way(body, "a function body")?;
        let body_end = self.forward(body_start, "a function body")?;
        let body = WasmOffset::new(body_start)..WasmOffset::new(body_end);
        let frame_size = self.u32("a frame size")?;
        let stack_arguments = self.u32("an argument area")?;
        let argument_area = self.forward(stack_arguments, "an argument area")?;
        let locals = self.locals()?;
        if params as usize > locals.len() {
            return Err(self.malformed("more parameters than locals"));
        }
        let local_names = self.list("names of locals", Self::optional_string)?;
        let expressions = self.list("expressions", Self::expression)?;
        self.expressions = expressions.len();
        let boundaries = self.boundaries(&locals, code.start, body.start)?;
        let call_sites = self.call_sites(code.start, body.start)?;
        let traps = self.traps(code.start, body.start)?;
        let stable_points = self.stable_points(code.start, body.start)?;
        Ok(FunctionMap {
            func,
            ty,
            params,
            name,
            code,
            body,
            locals,
            local_names,
            frame_size,
            stack_arguments,
            argument_area,
            expressions,
            boundaries,
            call_sites,
            traps,
            stable_points,
        })
    }

    fn locals(&mut self) -> Result<Vec<ValType>> {
        let runs = self.count("runs of locals")?;
        let mut locals = Vec::new();
        for _ in 0..runs {
            let length = self.unsigned("a run of locals")?;
            let ty = self.val_type()?;
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            self.spend(length)?;
            locals.resize(locals.len() + length, ty);
        }
        Ok(locals)
    }

    fn expression(&mut self) -> Result<Expression> {
        let count = self.count("an expression")?;
        if count > MAX_STEPS {
            return Err(self.malformed("an expression has too many steps"));
        }
        let mut steps = Vec::with_capacity(count);
        for _ in 0..count {
            let code = self.byte("a step of an expression")?;
            let operation = |base: u8| code.checked_sub(base).map(usize::from);
            let unary = operation(step::UNARY).and_then(|at| UnaryOp::ALL.get(at));
            let binary = operation(step::BINARY).and_then(|at| BinaryOp::ALL.get(at));
            steps.push(match (code, unary, binary) {
                (step::REGISTER, ..) => Step::Input(Input::Register(self.register()?)),
                (step::FRAME, ..) => {
                    let offset = i32::try_from(unzigzag(self.unsigned("a CFA offset")?));
                    let offset =
                        offset.map_err(|_| self.malformed("a CFA offset has more than 32 bits"))?;
                    Step::Input(Input::Frame(offset))
                }
                (step::CONSTANT, ..) => {
                    Step::Constant(unzigzag(self.unsigned("a constant")?).cast_unsigned())
                }
                (step::SELECT, ..) => Step::Select,
                (_, Some(op), _) => Step::Unary(*op),
                (_, _, Some(op)) => Step::Binary(*op),
                _ => return Err(self.malformed("unknown step of an expression")),
            });
        }
        Expression::new(steps).map_err(|_| self.malformed("an expression is not balanced"))
    }

    fn register(&mut self) -> Result<DwarfReg> {
        let number = u16::try_from(self.unsigned("a register number")?);
        number.map(DwarfReg).map_err(|_| self.malformed("a register number has more than 16 bits"))
    }

    fn boundaries(
        &mut self,
        locals: &[ValType],
        code: CodeOffset,
        body: WasmOffset,
    ) -> Result<Vec<BoundaryMap>> {
        let (mut offset, mut pc, mut first) = (body.get(), code.get(), true);
        let mut operands: Vec<ValType> = Vec::new();
        let mut locations: Vec<Location> = Vec::new();
        // Of the operands that `locations` are of, those that are still there.
        let mut still = 0;
        self.list("boundaries", |reader| {
            let head = reader.byte("a boundary")?;
            offset = reader.ascending(offset, first, "a boundary's offset")?;
            first = false;
            let anchor = match head & flags::ANCHOR {
                flags::ANCHOR_TRAP => {
                    pc = reader.either_way(pc, "an anchor")?;
                    Anchor::Trap(CodeOffset::new(pc))
                }
                flags::ANCHOR_ELIMINATED => Anchor::Eliminated,
                flags::ANCHOR_INSTRUCTION => {
                    pc = reader.either_way(pc, "an anchor")?;
                    Anchor::Instruction(CodeOffset::new(pc))
                }
                _ => match reader.byte("a kind of anchor")? {
                    flags::NONE_MERGED => Anchor::Merged,
                    flags::NONE_THREADED => Anchor::Threaded,
                    _ => return Err(reader.malformed("unknown kind of anchor")),
                },
            };
            let stable = reader.stable(head)?;
            let mut kept = operands.len();
            if head & flags::OPERANDS != 0 {
                kept = reader.operand_change(&mut operands)?;
            }
            still = kept.min(still);
            let inherited = locations.len().min(locals.len() + still);
            let slots = if head & flags::COUNT != 0 {
                reader.location_count(inherited)?
            } else {
                locals.len() + operands.len()
            };
            reader.spend(operands.len().saturating_add(slots))?;
            let moved = head & flags::MOVED != 0;
            let found = if anchor.pc().is_none() && !moved {
                if head & flags::COUNT != 0 {
                    return Err(reader.malformed("a number of locations where there are none"));
                }
                vec![GONE; slots]
            } else {
                reader.locations(&mut locations, inherited, slots, moved)?;
                still = operands.len();
                locations.clone()
            };
            Ok(BoundaryMap {
                offset: WasmOffset::new(offset),
                anchor,
                stable,
                operands: operands.clone(),
                locations: found,
            })
        })
    }

    /// A number of locations: at least a byte for each that is not inherited.
    fn location_count(&mut self, inherited: usize) -> Result<usize> {
        usize::try_from(self.unsigned("a number of locations")?)
            .ok()
            .filter(|slots| slots.saturating_sub(inherited) <= self.left())
            .ok_or_else(|| self.malformed("more locations than bytes"))
    }

    fn stable(&self, head: u8) -> Result<Option<StableKind>> {
        match (head >> flags::STABLE_SHIFT & flags::STABLE).checked_sub(1) {
            None => Ok(None),
            Some(position) => STABLE_KINDS
                .get(usize::from(position))
                .map(|kind| Some(*kind))
                .ok_or_else(|| self.malformed("unknown kind of stable point")),
        }
    }

    /// Applies a change of the operand stack; returns how many stayed.
    fn operand_change(&mut self, operands: &mut Vec<ValType>) -> Result<usize> {
        let nibbles = self.byte("a change of the operand stack")?;
        let mut count = |nibble: u8| match nibble {
            15 => self.count("a change of the operand stack"),
            count => Ok(usize::from(count)),
        };
        let popped = count(nibbles & 0xf)?;
        let pushed = count(nibbles >> 4)?;
        let kept = operands
            .len()
            .checked_sub(popped)
            .ok_or_else(|| self.malformed("more operands popped than there are"))?;
        operands.truncate(kept);
        for _ in 0..pushed {
            operands.push(self.val_type()?);
        }
        Ok(kept)
    }

    /// Turns the list before into the list now: the first `inherited` stay
    /// except those that moved, the rest of `slots` follows.
    fn locations(
        &mut self,
        locations: &mut Vec<Location>,
        inherited: usize,
        slots: usize,
        moved: bool,
    ) -> Result<()> {
        locations.truncate(inherited.min(slots));
        let mut next = 0_usize;
        let moved = if moved { self.count("moved slots")? } else { 0 };
        for _ in 0..moved {
            let gap = self.unsigned("a moved slot")?;
            let location = self.location()?;
            let slot = usize::try_from(gap).ok().and_then(|gap| next.checked_add(gap));
            let place = slot.and_then(|slot| locations.get_mut(slot).zip(Some(slot)));
            let Some((place, slot)) = place else {
                return Err(self.malformed("a slot moved that was not there"));
            };
            *place = location;
            next = slot + 1;
        }
        for _ in locations.len()..slots {
            locations.push(self.location()?);
        }
        Ok(())
    }

    fn location(&mut self) -> Result<Location> {
        let tagged = self.unsigned("a location")?;
        let operand = tagged >> 3;
        let cfa = |scale: i64| {
            unzigzag(operand).checked_mul(scale).and_then(|offset| i32::try_from(offset).ok())
        };
        let offset = |offset: Option<i32>| {
            offset
                .map(Location::CfaOffset)
                .ok_or_else(|| self.malformed("a CFA offset has more than 32 bits"))
        };
        match tagged & 7 {
            tag::REGISTER => u16::try_from(operand)
                .map(|number| Location::Register(DwarfReg(number)))
                .map_err(|_| self.malformed("a register number has more than 16 bits")),
            tag::CFA_WORDS => offset(cfa(8)),
            tag::CFA_BYTES => offset(cfa(1)),
            tag::CONSTANT => Ok(Location::Constant(Cell(operand))),
            tag::WIDE_CONSTANT if operand == 0 => {
                Ok(Location::Constant(Cell(u64::from_le_bytes(self.array("a constant")?))))
            }
            tag::DERIVED => u32::try_from(operand)
                .ok()
                .map(ExpressionIdx::new)
                .filter(|index| index.index() < self.expressions)
                .map(Location::Derived)
                .ok_or_else(|| self.malformed("the function has no such expression")),
            tag::UNAVAILABLE => usize::try_from(operand)
                .ok()
                .and_then(|code| Reason::ALL.get(code))
                .map(|reason| Location::Unavailable(*reason))
                .ok_or_else(|| self.malformed("unknown reason for having no location")),
            _ => Err(self.malformed("unknown kind of location")),
        }
    }

    fn call_sites(&mut self, code: CodeOffset, body: WasmOffset) -> Result<Vec<CallSite>> {
        let mut first = true;
        let (mut pc, mut offset) = (code.get(), body.get());
        let mut locations: Vec<Location> = Vec::new();
        self.list("call sites", |reader| {
            pc = reader.ascending(pc, first, "a return address")?;
            first = false;
            offset = reader.either_way(offset, "a call site's offset")?;
            let slots = reader.location_count(locations.len())?;
            reader.spend(slots)?;
            let inherited = locations.len();
            reader.locations(&mut locations, inherited, slots, true)?;
            let handlers = reader.list("handlers", |reader| {
                let tag = reader.u32("a handler's tag")?.checked_sub(1).map(TagIdx::new);
                let at = reader.either_way(pc, "a handler")?;
                Ok(Handler { tag, pc: CodeOffset::new(at) })
            })?;
            Ok(CallSite {
                handlers,
                return_address: CodeOffset::new(pc),
                offset: WasmOffset::new(offset),
                locations: locations.clone(),
            })
        })
    }

    fn traps(&mut self, code: CodeOffset, body: WasmOffset) -> Result<Vec<TrapSite>> {
        let mut first = true;
        let (mut pc, mut offset) = (code.get(), body.get());
        self.list("trap sites", |reader| {
            pc = reader.ascending(pc, first, "a trap site")?;
            first = false;
            offset = reader.either_way(offset, "a trap site's offset")?;
            let trap = Trap::from_code(reader.byte("a trap code")?)
                .ok_or_else(|| reader.malformed("unknown trap code"))?;
            Ok(TrapSite { pc: CodeOffset::new(pc), offset: WasmOffset::new(offset), trap })
        })
    }

    fn stable_points(&mut self, code: CodeOffset, body: WasmOffset) -> Result<Vec<StablePoint>> {
        let mut first = true;
        let (mut offset, mut pc) = (body.get(), code.get());
        self.list("stable points", |reader| {
            offset = reader.ascending(offset, first, "a stable point's offset")?;
            first = false;
            pc = reader.either_way(pc, "a poll")?;
            let length = reader.count("a poll")?;
            let armed = reader.take(length, "a poll")?.to_vec();
            let mut way = code.get();
            let mut first_way = true;
            let ways = reader.list("ways to a poll", |reader| {
                way = reader.ascending(way, first_way, "a way to a poll")?;
                first_way = false;
                Ok(CodeOffset::new(way))
            })?;
            let idle = if ways.is_empty() { 0 } else { reader.u32("the idle bytes of a poll")? };
            let cold = reader.either_way(pc, "a cold path")?;
            let trap = reader.forward(cold, "the trap of a cold path")?;
            let restore = NonZeroU32::new(reader.u32("a restore edge")?);
            let stores = match reader.byte("whether a cold path stores")? {
                stores @ 0..=1 => stores == 1,
                _ => return Err(reader.malformed("a cold path stores or does not")),
            };
            let (mut slot, mut place) = (0, StablePoint::HEADER);
            let slots = reader.list("stored slots", |reader| {
                let this = reader.forward(slot, "a stored slot")?;
                let offset = reader.forward(place, "an offset in the state buffer")?;
                let after = this.checked_add(1).zip(offset.checked_add(4));
                let limit = || reader.malformed("a stored slot has more than 32 bits");
                (slot, place) = after.ok_or_else(limit)?;
                Ok((SlotIdx::new(this), offset))
            })?;
            Ok(StablePoint {
                offset: WasmOffset::new(offset),
                poll: CodeOffset::new(pc),
                armed,
                detour: Detour { idle, ways },
                cold: CodeOffset::new(cold),
                trap: CodeOffset::new(trap),
                restore,
                stores,
                slots,
            })
        })
    }

    fn thunk(&mut self) -> Result<ThunkMap> {
        let code = self.byte("a thunk")?;
        let mut index = || self.u32("a thunk's operand");
        let kind = match code {
            thunk::IMPORT => ThunkKind::Import(FuncIdx::new(index()?)),
            thunk::MEMORY_GROW => ThunkKind::MemoryGrow(MemoryIdx::new(index()?)),
            thunk::MEMORY_COPY => ThunkKind::MemoryCopy {
                destination: MemoryIdx::new(index()?),
                source: MemoryIdx::new(index()?),
            },
            thunk::MEMORY_FILL => ThunkKind::MemoryFill(MemoryIdx::new(index()?)),
            thunk::MEMORY_INIT => ThunkKind::MemoryInit {
                memory: MemoryIdx::new(index()?),
                data: DataIdx::new(index()?),
            },
            thunk::DATA_DROP => ThunkKind::DataDrop(DataIdx::new(index()?)),
            thunk::TABLE_GROW => ThunkKind::TableGrow(TableIdx::new(index()?)),
            thunk::TABLE_FILL => ThunkKind::TableFill(TableIdx::new(index()?)),
            thunk::TABLE_COPY => ThunkKind::TableCopy {
                destination: TableIdx::new(index()?),
                source: TableIdx::new(index()?),
            },
            thunk::TABLE_INIT => ThunkKind::TableInit {
                table: TableIdx::new(index()?),
                elem: ElemIdx::new(index()?),
            },
            thunk::ELEM_DROP => ThunkKind::ElemDrop(ElemIdx::new(index()?)),
            thunk::MEMORY_NOTIFY => ThunkKind::MemoryNotify(MemoryIdx::new(index()?)),
            thunk::MEMORY_WAIT32 => ThunkKind::MemoryWait32(MemoryIdx::new(index()?)),
            thunk::MEMORY_WAIT64 => ThunkKind::MemoryWait64(MemoryIdx::new(index()?)),
            thunk::THROW => ThunkKind::Throw(TagIdx::new(index()?)),
            thunk::THROW_REF => ThunkKind::ThrowRef,
            _ => return Err(self.malformed("unknown kind of thunk")),
        };
        let ty = self.func_type()?;
        let code = self.code_range(0)?;
        let trap = CodeOffset::new(self.either_way(code.start.get(), "a thunk's trap")?);
        Ok(ThunkMap { kind, ty, code, trap })
    }

    fn entry(&mut self) -> Result<EntryMap> {
        let ty = self.func_type()?;
        let code = self.code_range(0)?;
        let finish = CodeOffset::new(self.either_way(code.start.get(), "an entry's trap")?);
        Ok(EntryMap { ty, code, finish })
    }
}

/// Inverse of the writer's `zigzag`.
fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Whether every offset in instance data with these counts is a positive i32,
/// the range of a native displacement. The products below cannot overflow:
/// 32-bit counts times at most 32.
fn fits(counts: &InstanceCounts) -> bool {
    let groups = [
        (counts.argument_cells, InstanceLayout::ARGUMENT_SIZE),
        (counts.memories, InstanceLayout::MEMORY_SIZE),
        (counts.tables, InstanceLayout::MEMORY_SIZE),
        (counts.imported_globals, 8),
        (counts.defined_globals, InstanceLayout::GLOBAL_SIZE),
        (counts.imported_functions, InstanceLayout::IMPORT_SIZE),
        (counts.types, 4),
        (counts.functions, InstanceLayout::DESCRIPTOR_SIZE),
    ];
    // 32 bytes of header, and two roundings up to 16.
    let size: u64 =
        64 + groups.iter().map(|(n, size)| u64::from(*n) * u64::from(*size)).sum::<u64>();
    size <= i32::MAX as u64
}
