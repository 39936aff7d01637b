//! Model to bytes: see the parent module and `docs/wasm-map.md`.

use super::{GONE, MAGIC, STABLE_KINDS, VALUE_TYPES, VERSION, flags, step, tag, thunk};
use crate::expression::{BinaryOp, UnaryOp};
use crate::{
    Anchor, BoundaryMap, CallSite, CodeOffset, EntryMap, Expression, FunctionMap, ImageMap, Input,
    InstanceLayout, Location, Producer, Reason, StablePoint, Step, ThunkKind, ThunkMap, TrapSite,
};
use std::num::NonZeroU32;
use std::ops::Range;
use wasm_view::{FuncType, ValType};

/// Writes a map as the content of `.wasm_map`.
///
/// [`super::read()`] gives an equal map back, provided that functions,
/// boundaries, call sites and traps are in the order that the model demands,
/// ranges do not end before they start and the instance layout fits its limit;
/// otherwise it refuses the bytes.
pub fn write(map: &ImageMap) -> Vec<u8> {
    let mut out = Writer { bytes: Vec::new() };
    out.bytes.extend_from_slice(&MAGIC);
    out.bytes.extend_from_slice(&VERSION.to_le_bytes());
    out.producer(&map.producer);
    out.layout(&map.layout);
    out.functions(&map.functions);
    out.count(map.thunks.len());
    for thunk in &map.thunks {
        out.thunk(thunk);
    }
    out.count(map.entries.len());
    for entry in &map.entries {
        out.entry(entry);
    }
    out.bytes
}

struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    fn unsigned(&mut self, mut value: u64) {
        loop {
            let low = (value & 0x7f) as u8;
            value >>= 7;
            if value == 0 {
                return self.byte(low);
            }
            self.byte(low | 0x80);
        }
    }

    fn count(&mut self, count: usize) {
        self.unsigned(count as u64);
    }

    /// A forward distance; a backward one wraps and the reader refuses it.
    fn forward(&mut self, from: u32, to: u32) {
        self.unsigned(u64::from(to.wrapping_sub(from)));
    }

    /// A distance in either direction.
    fn either_way(&mut self, from: u32, to: u32) {
        self.unsigned(zigzag(i64::from(to) - i64::from(from)));
    }

    fn string(&mut self, text: &str) {
        self.count(text.len());
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// 0 for no string, else the string with its length counted one higher.
    fn optional_string(&mut self, text: Option<&str>) {
        match text {
            None => self.byte(0),
            Some(text) => {
                self.unsigned(text.len() as u64 + 1);
                self.bytes.extend_from_slice(text.as_bytes());
            }
        }
    }

    fn val_type(&mut self, ty: ValType) {
        let code = VALUE_TYPES.iter().find(|(_, each)| *each == ty).map_or(0, |(code, _)| *code);
        self.byte(code);
    }

    fn val_types(&mut self, types: &[ValType]) {
        self.count(types.len());
        for &ty in types {
            self.val_type(ty);
        }
    }

    fn func_type(&mut self, ty: &FuncType) {
        self.val_types(&ty.params);
        self.val_types(&ty.results);
    }

    fn code_range(&mut self, from: CodeOffset, range: &Range<CodeOffset>) {
        self.either_way(from.get(), range.start.get());
        self.forward(range.start.get(), range.end.get());
    }

    fn producer(&mut self, producer: &Producer) {
        let Producer { backend, version, opt, stable, anchors, target, cpu_features } = producer;
        for text in [backend, version, opt, stable, anchors, target.name()] {
            self.string(text);
        }
        self.count(cpu_features.len());
        for feature in cpu_features {
            self.string(feature);
        }
    }

    fn layout(&mut self, layout: &InstanceLayout) {
        let counts = layout.counts();
        for count in [
            counts.argument_cells,
            counts.memories,
            counts.tables,
            counts.imported_globals,
            counts.defined_globals,
            counts.imported_functions,
            counts.types,
            counts.functions,
        ] {
            self.unsigned(u64::from(count));
        }
    }

    fn functions(&mut self, functions: &[FunctionMap]) {
        self.count(functions.len());
        let mut func = 0;
        let mut code = CodeOffset::new(0);
        let mut body = 0;
        for function in functions {
            self.forward(func, function.func.get());
            self.unsigned(u64::from(function.ty.get()));
            self.unsigned(u64::from(function.params));
            self.optional_string(function.name.as_deref());
            self.code_range(code, &function.code);
            self.either_way(body, function.body.start.get());
            self.forward(function.body.start.get(), function.body.end.get());
            self.unsigned(u64::from(function.frame_size));
            self.unsigned(u64::from(function.stack_arguments));
            self.forward(function.stack_arguments, function.argument_area);
            self.locals(&function.locals);
            self.count(function.local_names.len());
            for name in &function.local_names {
                self.optional_string(name.as_deref());
            }
            self.count(function.expressions.len());
            for expression in &function.expressions {
                self.expression(expression);
            }
            self.boundaries(function);
            self.call_sites(function);
            self.traps(function);
            self.stable_points(function);
            func = function.func.get();
            code = function.code.end;
            body = function.body.end.get();
        }
    }

    /// Runs of equal types, as in the Wasm binary format.
    fn locals(&mut self, locals: &[ValType]) {
        let runs = || locals.chunk_by(|a, b| a == b);
        self.count(runs().count());
        for run in runs() {
            self.count(run.len());
            if let Some(&ty) = run.first() {
                self.val_type(ty);
            }
        }
    }

    fn expression(&mut self, expression: &Expression) {
        fn position<T: PartialEq>(all: &[T], one: &T) -> u8 {
            all.iter().position(|each| each == one).unwrap_or(0) as u8
        }
        self.count(expression.steps().len());
        for each in expression.steps() {
            match *each {
                Step::Input(Input::Register(register)) => {
                    self.byte(step::REGISTER);
                    self.unsigned(u64::from(register.0));
                }
                Step::Input(Input::Frame(offset)) => {
                    self.byte(step::FRAME);
                    self.unsigned(zigzag(i64::from(offset)));
                }
                Step::Constant(word) => {
                    self.byte(step::CONSTANT);
                    self.unsigned(zigzag(word.cast_signed()));
                }
                Step::Select => self.byte(step::SELECT),
                Step::Unary(op) => self.byte(step::UNARY + position(UnaryOp::ALL, &op)),
                Step::Binary(op) => self.byte(step::BINARY + position(BinaryOp::ALL, &op)),
            }
        }
    }

    fn boundaries(&mut self, function: &FunctionMap) {
        self.count(function.boundaries.len());
        let mut offset = function.body.start.get();
        let mut pc = function.code.start.get();
        let mut operands: &[ValType] = &[];
        let mut locations: &[Location] = &[];
        // Of the operands that `locations` are of, those that are still there.
        let mut still = 0;
        for boundary in &function.boundaries {
            let BoundaryMap { offset: at, anchor, stable, operands: types, locations: slots } =
                boundary;
            let kept = common_prefix(operands, types);
            let popped = operands.len() - kept;
            let pushed = &types[kept..];
            still = still.min(kept);
            // What the reader can keep: the slots that both boundaries have
            // and whose type did not change.
            let inherited = (function.locals.len() + still).min(locations.len()).min(slots.len());
            let moved = moved(&locations[..inherited], slots);
            let expected = function.locals.len() + types.len();
            let is_nowhere = anchor.pc().is_none()
                && slots.len() == expected
                && slots.iter().all(|location| *location == GONE);

            let mut head = match anchor {
                Anchor::Trap(_) => flags::ANCHOR_TRAP,
                Anchor::Eliminated => flags::ANCHOR_ELIMINATED,
                Anchor::Instruction(_) => flags::ANCHOR_INSTRUCTION,
                Anchor::Merged | Anchor::Threaded => flags::ANCHOR_NONE,
            };
            let code = stable
                .and_then(|kind| STABLE_KINDS.iter().position(|each| *each == kind))
                .map_or(0, |position| position as u8 + 1);
            head |= code << flags::STABLE_SHIFT;
            if popped > 0 || !pushed.is_empty() {
                head |= flags::OPERANDS;
            }
            if !is_nowhere && (!moved.is_empty() || anchor.pc().is_none()) {
                head |= flags::MOVED;
            }
            if slots.len() != expected {
                head |= flags::COUNT;
            }
            self.byte(head);
            self.forward(offset, at.get());
            match anchor {
                Anchor::Trap(at) | Anchor::Instruction(at) => {
                    self.either_way(pc, at.get());
                    pc = at.get();
                }
                Anchor::Merged => self.byte(flags::NONE_MERGED),
                Anchor::Threaded => self.byte(flags::NONE_THREADED),
                Anchor::Eliminated => {}
            }
            if head & flags::OPERANDS != 0 {
                self.operand_change(popped, pushed);
            }
            if head & flags::COUNT != 0 {
                self.count(slots.len());
            }
            if head & flags::MOVED != 0 {
                self.moved(&moved);
            }
            offset = at.get();
            operands = types;
            if is_nowhere {
                continue;
            }
            for &location in &slots[inherited..] {
                self.location(location);
            }
            locations = slots;
            still = types.len();
        }
    }

    /// How many operands go and which come: a byte with both counts as
    /// nibbles, a nibble of 15 standing for a count that follows, then the
    /// types.
    fn operand_change(&mut self, popped: usize, pushed: &[ValType]) {
        let nibble = |count: usize| count.min(15) as u8;
        self.byte(nibble(popped) | nibble(pushed.len()) << 4);
        for count in [popped, pushed.len()] {
            if count >= 15 {
                self.count(count);
            }
        }
        for &ty in pushed {
            self.val_type(ty);
        }
    }

    /// Slots that changed place: their number, then for each the distance from
    /// the slot after the last one, and its new location.
    fn moved(&mut self, moved: &[(usize, Location)]) {
        self.count(moved.len());
        let mut next = 0;
        for &(slot, location) in moved {
            self.count(slot - next);
            self.location(location);
            next = slot + 1;
        }
    }

    fn location(&mut self, location: Location) {
        let tagged = |tag: u64, operand: u64| tag | operand << 3;
        match location {
            Location::Register(register) => {
                self.unsigned(tagged(tag::REGISTER, u64::from(register.0)));
            }
            Location::CfaOffset(offset) if offset % 8 == 0 => {
                self.unsigned(tagged(tag::CFA_WORDS, zigzag(i64::from(offset / 8))));
            }
            Location::CfaOffset(offset) => {
                self.unsigned(tagged(tag::CFA_BYTES, zigzag(i64::from(offset))));
            }
            // Up to seven bytes inline; beyond that eight plain ones are shorter.
            Location::Constant(cell) if cell.0 < 1 << 53 => {
                self.unsigned(tagged(tag::CONSTANT, cell.0));
            }
            Location::Constant(cell) => {
                self.unsigned(tagged(tag::WIDE_CONSTANT, 0));
                self.bytes.extend_from_slice(&cell.0.to_le_bytes());
            }
            Location::Derived(index) => self.unsigned(tagged(tag::DERIVED, u64::from(index.get()))),
            Location::Unavailable(reason) => {
                let code = Reason::ALL.iter().position(|each| *each == reason).unwrap_or(0);
                self.unsigned(tagged(tag::UNAVAILABLE, code as u64));
            }
        }
    }

    fn call_sites(&mut self, function: &FunctionMap) {
        self.count(function.call_sites.len());
        let mut pc = function.code.start.get();
        let mut offset = function.body.start.get();
        let mut locations: &[Location] = &[];
        for CallSite { return_address, offset: at, locations: slots, handlers } in
            &function.call_sites
        {
            self.forward(pc, return_address.get());
            self.either_way(offset, at.get());
            self.count(slots.len());
            let inherited = locations.len().min(slots.len());
            self.moved(&moved(&locations[..inherited], slots));
            for &location in &slots[inherited..] {
                self.location(location);
            }
            self.count(handlers.len());
            for handler in handlers {
                self.unsigned(handler.tag.map_or(0, |tag| u64::from(tag.get()) + 1));
                self.either_way(return_address.get(), handler.pc.get());
            }
            pc = return_address.get();
            offset = at.get();
            locations = slots;
        }
    }

    fn traps(&mut self, function: &FunctionMap) {
        self.count(function.traps.len());
        let mut pc = function.code.start.get();
        let mut offset = function.body.start.get();
        for TrapSite { pc: at, offset: insn, trap } in &function.traps {
            self.forward(pc, at.get());
            self.either_way(offset, insn.get());
            self.byte(trap.code());
            pc = at.get();
            offset = insn.get();
        }
    }

    fn stable_points(&mut self, function: &FunctionMap) {
        self.count(function.stable_points.len());
        let mut offset = function.body.start.get();
        let mut pc = function.code.start.get();
        for StablePoint { offset: at, poll, armed, detour, cold, trap, restore, stores, slots } in
            &function.stable_points
        {
            self.forward(offset, at.get());
            self.either_way(pc, poll.get());
            self.count(armed.len());
            self.bytes.extend_from_slice(armed);
            self.count(detour.ways.len());
            let mut way = function.code.start.get();
            for next in &detour.ways {
                self.forward(way, next.get());
                way = next.get();
            }
            if !detour.ways.is_empty() {
                self.unsigned(u64::from(detour.idle));
            }
            self.either_way(poll.get(), cold.get());
            self.forward(cold.get(), trap.get());
            self.unsigned(u64::from(restore.map_or(0, NonZeroU32::get)));
            self.bytes.push(u8::from(*stores));
            self.count(slots.len());
            let (mut next, mut place) = (0, StablePoint::HEADER);
            for &(slot, offset) in slots {
                self.forward(next, slot.get());
                self.forward(place, offset);
                (next, place) = (slot.get().wrapping_add(1), offset.wrapping_add(4));
            }
            offset = at.get();
            pc = poll.get();
        }
    }

    fn thunk(&mut self, map: &ThunkMap) {
        let (code, operands): (u8, [Option<u32>; 2]) = match map.kind {
            ThunkKind::Import(func) => (thunk::IMPORT, [Some(func.get()), None]),
            ThunkKind::MemoryGrow(memory) => (thunk::MEMORY_GROW, [Some(memory.get()), None]),
            ThunkKind::MemoryCopy { destination, source } => {
                (thunk::MEMORY_COPY, [Some(destination.get()), Some(source.get())])
            }
            ThunkKind::MemoryFill(memory) => (thunk::MEMORY_FILL, [Some(memory.get()), None]),
            ThunkKind::MemoryInit { memory, data } => {
                (thunk::MEMORY_INIT, [Some(memory.get()), Some(data.get())])
            }
            ThunkKind::DataDrop(data) => (thunk::DATA_DROP, [Some(data.get()), None]),
            ThunkKind::TableGrow(table) => (thunk::TABLE_GROW, [Some(table.get()), None]),
            ThunkKind::TableFill(table) => (thunk::TABLE_FILL, [Some(table.get()), None]),
            ThunkKind::TableCopy { destination, source } => {
                (thunk::TABLE_COPY, [Some(destination.get()), Some(source.get())])
            }
            ThunkKind::TableInit { table, elem } => {
                (thunk::TABLE_INIT, [Some(table.get()), Some(elem.get())])
            }
            ThunkKind::ElemDrop(elem) => (thunk::ELEM_DROP, [Some(elem.get()), None]),
            ThunkKind::MemoryNotify(memory) => (thunk::MEMORY_NOTIFY, [Some(memory.get()), None]),
            ThunkKind::MemoryWait32(memory) => (thunk::MEMORY_WAIT32, [Some(memory.get()), None]),
            ThunkKind::MemoryWait64(memory) => (thunk::MEMORY_WAIT64, [Some(memory.get()), None]),
            ThunkKind::Throw(tag) => (thunk::THROW, [Some(tag.get()), None]),
            ThunkKind::ThrowRef => (thunk::THROW_REF, [None, None]),
        };
        self.byte(code);
        for operand in operands.into_iter().flatten() {
            self.unsigned(u64::from(operand));
        }
        self.func_type(&map.ty);
        self.code_range(CodeOffset::new(0), &map.code);
        self.either_way(map.code.start.get(), map.trap.get());
    }

    fn entry(&mut self, map: &EntryMap) {
        self.func_type(&map.ty);
        self.code_range(CodeOffset::new(0), &map.code);
        self.either_way(map.code.start.get(), map.finish.get());
    }
}

/// 0, -1, 1, -2, .. as 0, 1, 2, 3, ..
fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn common_prefix(a: &[ValType], b: &[ValType]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Slots whose location is not what it was.
fn moved(before: &[Location], now: &[Location]) -> Vec<(usize, Location)> {
    let both = before.iter().zip(now).enumerate();
    both.filter(|(_, (before, now))| before != now).map(|(slot, (_, now))| (slot, *now)).collect()
}
