//! Bits that the specification leaves open and that nobody saw being chosen.
//!
//! Code without traps makes NaNs where it cannot be halted. Which one it made is
//! not known then, and the oracle goes on with one of its own. What is known is
//! which bits of it may be otherwise: the sign, and perhaps the payload
//! ([`oracle_interp::Choice::open_bits`]). These *open bits* are followed through
//! all that the oracle executes, in cells of frames, in globals and in memory, by
//! the rules of `rules`. Then
//!
//! - a difference from the subject in open bits only is none: the subject's bits
//!   are allowed, the oracle takes them over where it can, and they are open no
//!   longer;
//! - what was compared and is equal is open no longer either;
//! - a difference in any other bit is a divergence, as if there were no NaNs.
//!
//! As long as nothing is open, which is nearly always, this costs a look at a
//! flag for each instruction. An open bit may decide where control goes, which
//! address is accessed, or what an instruction is given that is not followed
//! here. From there on the two may rightly do different things: the place is
//! remembered, and a later difference makes the run inconclusive.

mod lanes;
mod rules;

use oracle_interp::{Event, Oracle};
use rules::{Bits, loaded, numeric, selected, takes_two};
use std::collections::{BTreeMap, HashMap};
use wasm_view::{Boundary, Cell, FuncIdx, GlobalId, InstanceId, MemoryId, ValType};
use wasmparser::{MemArg, Operator};

/// Bytes that a vector access touches at most.
const VECTOR: u64 = 16;

/// What is open, by where it is.
#[derive(Default)]
pub struct Open {
    /// By frame, the outermost being 0, and cell of it.
    cells: BTreeMap<(usize, usize), u64>,
    globals: HashMap<GlobalId, [u64; 2]>,
    bytes: BTreeMap<(MemoryId, u64), u8>,
    /// Of what the last event gives away: arguments of a host call, or results.
    pub given: Vec<u64>,
    /// Where an open bit first decided what happens.
    pub decided: Option<Boundary>,
}

/// What is needed to know of an instruction before it is executed.
pub struct Before {
    at: Boundary,
    depth: usize,
    /// Cells of the frame.
    height: usize,
    locals: usize,
    /// Cells of the frame that waits for this one.
    caller: usize,
    /// The topmost operands, the last pushed last.
    top: Vec<Bits>,
}

impl Open {
    /// Whether nothing is.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty() && self.bytes.is_empty() && self.globals.is_empty()
    }

    /// A call begins from outside: there are no frames.
    pub fn begin(&mut self) {
        self.cells.clear();
        self.given.clear();
    }

    /// Open bits of a cell.
    pub fn cell(&self, frame: usize, cell: usize) -> u64 {
        self.cells.get(&(frame, cell)).copied().unwrap_or_default()
    }

    /// Says which bits of a cell are open.
    pub fn set_cell(&mut self, frame: usize, cell: usize, open: u64) {
        if open == 0 {
            self.cells.remove(&(frame, cell));
        } else {
            self.cells.insert((frame, cell), open);
        }
    }

    /// Bytes of memory with open bits.
    pub fn bytes(&self) -> impl Iterator<Item = (MemoryId, u64, u8)> + '_ {
        self.bytes.iter().map(|(&(memory, address), &open)| (memory, address, open))
    }

    /// Whether neither memory nor globals hold open bits.
    pub fn is_store_known(&self) -> bool {
        self.bytes.is_empty() && self.globals.is_empty()
    }

    /// What memory and globals hold has been compared, and is known.
    pub fn settle_store(&mut self) {
        self.bytes.clear();
        self.globals.clear();
    }

    /// Globals with open bits.
    pub fn globals(&self) -> impl Iterator<Item = (GlobalId, [u64; 2])> + '_ {
        self.globals.iter().map(|(id, open)| (*id, *open))
    }

    /// The last instruction's result, the topmost cells, has these open bits
    /// besides those that follow from its operands.
    pub fn choose(&mut self, oracle: &Oracle, cells: usize, bits: [u64; 2]) {
        let (Some(top), Some(frame)) = (oracle.top(), oracle.depth().checked_sub(1)) else {
            return;
        };
        let first = top.slots.len().saturating_sub(cells);
        for (at, bits) in bits.into_iter().take(cells).enumerate() {
            self.set_cell(frame, first + at, self.cell(frame, first + at) | bits);
        }
    }

    /// Looks at the oracle before it executes the instruction where it stands.
    pub fn before(&self, oracle: &Oracle) -> Option<Before> {
        let top = oracle.top()?;
        let (depth, height) = (oracle.depth(), top.slots.len());
        let frame = depth.checked_sub(1)?;
        let from = height - top.operands.len().min(6);
        let bits = |cell: usize| Bits { value: top.slots[cell].0, open: self.cell(frame, cell) };
        Some(Before {
            at: top.boundary,
            depth,
            height,
            locals: top.locals.len(),
            caller: frame
                .checked_sub(1)
                .and_then(|caller| oracle.frame(caller))
                .map_or(0, |caller| caller.slots.len()),
            top: (from..height).map(bits).collect(),
        })
    }

    /// Follows what the oracle has just executed.
    pub fn after(&mut self, before: &Before, oracle: &Oracle, event: &Event) {
        self.given.clear();
        let module = &oracle.instance(before.at.instance).module;
        let Some(operator) = module.operator(before.at.func, before.at.offset) else { return };
        match event {
            Event::Boundary => {}
            Event::Finished(values) => {
                let cells = values.iter().map(|value| value.ty().cells()).sum();
                self.given = self.topmost(before, popped_by_branch(&operator), cells);
                return self.cells.clear();
            }
            Event::HostCall(call) => {
                let cells = call.args.iter().map(|value| value.ty().cells()).sum();
                self.given = self.topmost(before, 0, cells);
                // Fewer frames if it is called in place of its caller.
                let (end, depth) = (oracle.top().map_or(0, |top| top.slots.len()), oracle.depth());
                self.cells.split_off(&(depth, 0));
                return self.cut(depth.saturating_sub(1), end);
            }
            _ => return,
        }
        let Some(top) = oracle.top() else { return };
        let (depth, height) = (oracle.depth(), top.slots.len());
        let frame = before.depth - 1;
        if is_tail_call(&operator) {
            self.tail_call(before, oracle, &operator, (depth, height));
        } else if depth > before.depth {
            let caller = oracle.frame(frame).map_or(0, |caller| caller.slots.len());
            let extra = usize::from(!matches!(operator, Operator::Call { .. }));
            let arguments = (before.height - caller).saturating_sub(extra);
            self.decides(before, if extra > 0 { 1 } else { 0 });
            let open: Vec<u64> = (0..arguments).map(|at| self.cell(frame, caller + at)).collect();
            self.cut(frame, caller);
            self.put(depth - 1, 0, &open);
        } else if throws(&operator) {
            if before.top.iter().any(|x| x.open != 0) {
                self.decided.get_or_insert(before.at);
            }
            self.cells.split_off(&(depth, 0));
            self.cut(depth - 1, height);
        } else if depth < before.depth {
            let results = height.saturating_sub(before.caller);
            self.decides(before, popped_by_branch(&operator));
            let open = self.topmost(before, popped_by_branch(&operator), results);
            self.cells.split_off(&(depth, 0));
            self.cut(depth - 1, before.caller);
            self.put(depth - 1, before.caller, &open);
        } else {
            self.within(before, oracle, &operator, height);
        }
    }

    /// An instruction that stays in its frame.
    fn within(&mut self, before: &Before, oracle: &Oracle, operator: &Operator<'_>, height: usize) {
        use Operator as O;
        let frame = before.depth - 1;
        match *operator {
            O::Nop
            | O::Block { .. }
            | O::Loop { .. }
            | O::Else
            | O::End
            | O::TryTable { .. }
            | O::Try { .. }
            | O::Catch { .. }
            | O::CatchAll
            | O::Delegate { .. } => return self.cut(frame, height),
            O::Br { .. }
            | O::BrIf { .. }
            | O::BrTable { .. }
            | O::BrOnNull { .. }
            | O::BrOnNonNull { .. }
            | O::If { .. } => {
                let pops = popped_by_branch(operator);
                self.decides(before, pops);
                return self.branch(before, before.height - pops, height);
            }
            O::LocalGet { local_index }
            | O::LocalSet { local_index }
            | O::LocalTee { local_index } => {
                return self.local(before, oracle, operator, local_index, height);
            }
            O::GlobalGet { global_index } | O::GlobalSet { global_index } => {
                let instance = oracle.instance(before.at.instance);
                let Some(&id) = instance.globals.get(global_index as usize) else { return };
                let cells = height.abs_diff(before.height);
                if matches!(operator, O::GlobalGet { .. }) {
                    let open = self.globals.get(&id).copied().unwrap_or_default();
                    return self.put(frame, before.height, &open[..cells.min(2)]);
                }
                let mut open = self.topmost(before, 0, cells);
                open.resize(2, 0);
                self.globals.remove(&id);
                if open.iter().any(|bits| *bits != 0) {
                    self.globals.insert(id, [open[0], open[1]]);
                }
                return self.cut(frame, height);
            }
            O::Drop => return self.cut(frame, height),
            O::Select | O::TypedSelect { .. } => {
                let cells = before.height - 1 - height;
                let [.., condition] = before.top[..] else { return };
                let place = |at: usize| Bits {
                    value: before.value(before.height - 1 - 2 * cells + at),
                    open: self.cell(frame, before.height - 1 - 2 * cells + at),
                };
                let open: Vec<u64> = (0..cells)
                    .map(|at| selected(place(at), place(at + cells), condition))
                    .collect();
                self.cut(frame, height - cells);
                return self.put(frame, height - cells, &open);
            }
            O::I32Const { .. } | O::I64Const { .. } | O::F32Const { .. } | O::F64Const { .. } => {
                return;
            }
            _ => {}
        }
        if let Some(access) = Access::of(operator) {
            return self.access(before, oracle, access, height);
        }
        if let O::MemoryCopy { .. } | O::MemoryFill { .. } | O::MemoryInit { .. } = operator {
            return self.bulk(before, oracle, operator, height);
        }
        let is_open = |x: &Bits| x.open != 0;
        let two = takes_two(operator);
        let operands = match before.top[..] {
            [.., x, y] if two => [x, y],
            [.., y] => [Bits::default(), y],
            [] => [Bits::default(); 2],
        };
        if let Some(open) = numeric(operator, operands)
            && height > 0
            && before.height - height == usize::from(two)
        {
            let open = if operands.iter().any(is_open) { open } else { 0 };
            self.cut(frame, height - 1);
            return self.put(frame, height - 1, &[open]);
        }
        self.unknown(before, oracle, operator, height);
    }

    /// What is not followed bit by bit: where an operand has open bits, all of
    /// the result does, or of a vector the lane.
    fn unknown(&mut self, before: &Before, oracle: &Oracle, op: &Operator<'_>, height: usize) {
        let frame = before.depth - 1;
        let name = format!("{op:?}");
        let Some(top) = oracle.top() else { return };
        let result = top.operand_types().last().copied().filter(|_| !pushes_nothing(&name));
        let results = match result {
            Some(_) if makes_two(&name) => 2,
            Some(ty) => ty.cells(),
            None => 0,
        };
        let first = height.saturating_sub(results).max(before.locals.min(height));
        let operands = first..before.height;
        let any = operands.clone().any(|at| self.cell(frame, at) != 0);
        if !any {
            return self.cut(frame, first);
        }
        let bits = |at: usize| Bits { value: before.value(at), open: self.cell(frame, at) };
        let lanes = lanes::Lanes::of(&name).filter(|_| operands.len().is_multiple_of(2));
        let all = match result {
            Some(ValType::I32 | ValType::F32) => u64::from(u32::MAX),
            _ => u64::MAX,
        };
        let open = match lanes {
            Some(lanes) if results == 2 => [0, 1]
                .map(|half| {
                    let halves: Vec<Bits> =
                        operands.clone().skip(half).step_by(2).map(bits).collect();
                    lanes.open(&halves, top.slots[first + half].0)
                })
                .to_vec(),
            _ => vec![all; results],
        };
        self.cut(frame, first);
        self.put(frame, first, &open);
        // These compute, and trap by nothing but their last operand at most.
        let traps = before.top.last().is_some_and(|x| x.open != 0);
        if !lanes::is_vector(&name) && (!is_division(&name) || traps) {
            self.decided.get_or_insert(before.at);
        }
    }

    fn local(
        &mut self,
        before: &Before,
        oracle: &Oracle,
        operator: &Operator<'_>,
        local: u32,
        height: usize,
    ) {
        let frame = before.depth - 1;
        let Some(top) = oracle.top() else { return };
        let types = top.local_types();
        let Some(ty) = types.get(local as usize) else { return };
        let first = types[..local as usize].iter().map(|ty| ty.cells()).sum();
        if let Operator::LocalGet { .. } = operator {
            let open: Vec<u64> =
                (first..first + ty.cells()).map(|at| self.cell(frame, at)).collect();
            return self.put(frame, before.height, &open);
        }
        let open = self.topmost(before, 0, ty.cells());
        self.put(frame, first, &open);
        self.cut(frame, height);
    }

    fn access(&mut self, before: &Before, oracle: &Oracle, access: Access, height: usize) {
        let frame = before.depth - 1;
        let instance = oracle.instance(before.at.instance);
        let Some(&memory) = instance.memories.get(access.argument.memory as usize) else { return };
        let operands = access.operand_cells;
        let [address, ..] = before.top[before.top.len().saturating_sub(operands)..] else { return };
        let known = address.open == 0;
        if !known {
            self.decided.get_or_insert(before.at);
        }
        let start = address.value.wrapping_add(access.argument.offset);
        let range = (memory, start)..(memory, start.saturating_add(access.bytes));
        if access.is_store {
            let value = self.topmost(before, 0, operands - 1);
            for at in 0..access.bytes {
                let open = match access.kind {
                    // Which lane does not matter.
                    Kind::Whole if value.iter().any(|bits| *bits != 0) => 0xff,
                    Kind::Whole => 0,
                    _ => {
                        (value.get(at as usize / 8).copied().unwrap_or_default() >> (8 * (at % 8)))
                            as u8
                    }
                };
                let place = (memory, start.saturating_add(at));
                if open == 0 {
                    self.bytes.remove(&place);
                } else {
                    self.bytes.insert(place, open);
                }
            }
            return self.cut(frame, height);
        }
        let mut open = [0_u64; 2];
        for (&(_, address), &bits) in self.bytes.range(range) {
            let at = address - start;
            open[at as usize / 8] |= u64::from(bits) << (8 * (at % 8));
        }
        let vector = self.topmost(before, 0, operands - 1).iter().any(|bits| *bits != 0);
        let cells = (height + operands).saturating_sub(before.height);
        let open = match access.kind {
            _ if !known => [u64::MAX; 2],
            Kind::Number { signed, wide } => {
                [loaded(open[0], access.bytes as u32, signed, wide), 0]
            }
            Kind::Bytes => open,
            Kind::Whole if vector || open != [0; 2] => [u64::MAX; 2],
            Kind::Whole => [0; 2],
        };
        self.cut(frame, height - cells);
        self.put(frame, height - cells, &open[..cells.min(2)]);
    }

    fn bulk(&mut self, before: &Before, oracle: &Oracle, operator: &Operator<'_>, height: usize) {
        let frame = before.depth - 1;
        let [.., to, from, length] = before.top[..] else { return };
        let memories = &oracle.instance(before.at.instance).memories;
        let id = |index: u32| memories.get(index as usize).copied();
        let is_fill = matches!(operator, Operator::MemoryFill { .. });
        if to.open | length.open != 0 || !is_fill && from.open != 0 {
            self.decided.get_or_insert(before.at);
        }
        let (target, source) = match *operator {
            Operator::MemoryCopy { dst_mem, src_mem } => (id(dst_mem), id(src_mem)),
            Operator::MemoryFill { mem } | Operator::MemoryInit { mem, .. } => (id(mem), None),
            _ => (None, None),
        };
        let Some(target) = target else { return };
        let range = |memory, start: u64| (memory, start)..(memory, start + length.value);
        let moved: Vec<(u64, u8)> = match source {
            Some(source) => {
                let bytes = self.bytes.range(range(source, from.value));
                bytes.map(|(&(_, at), open)| (to.value + (at - from.value), *open)).collect()
            }
            None if is_fill && from.open & 0xff != 0 => {
                let open = from.open as u8;
                (0..length.value).map(|at| (to.value + at, open)).collect()
            }
            None => Vec::new(),
        };
        let gone: Vec<_> = self.bytes.range(range(target, to.value)).map(|(at, _)| *at).collect();
        for place in gone {
            self.bytes.remove(&place);
        }
        self.bytes.extend(moved.into_iter().map(|(at, open)| ((target, at), open)));
        self.cut(frame, height);
    }

    /// A branch may have dropped operands below those that it took along. How
    /// many it took is not looked up: a cell may be either.
    fn branch(&mut self, before: &Before, from: usize, height: usize) {
        let frame = before.depth - 1;
        if let Some(dropped) = from.checked_sub(height).filter(|dropped| *dropped > 0) {
            for cell in before.locals..height {
                let open = self.cell(frame, cell) | self.cell(frame, cell + dropped);
                self.set_cell(frame, cell, open);
            }
        }
        self.cut(frame, height);
    }

    fn tail_call(
        &mut self,
        before: &Before,
        oracle: &Oracle,
        operator: &Operator<'_>,
        (depth, height): (usize, usize),
    ) {
        let frame = before.depth - 1;
        let extra = usize::from(!matches!(operator, Operator::ReturnCall { .. }));
        self.decides(before, extra);
        let callee = oracle.top().map(|top| top.boundary);
        let params = callee.and_then(|at| cells_of_params(oracle, at.instance, at.func));
        let open = self.topmost(before, extra, params.unwrap_or_default());
        self.cut(frame, 0);
        self.put(depth - 1, 0, &open);
        self.cut(depth - 1, height);
    }

    /// An open bit among the operands that decide what happens.
    fn decides(&mut self, before: &Before, operands: usize) {
        let deciding = before.top.iter().rev().take(operands);
        if deciding.into_iter().any(|x| x.open != 0) {
            self.decided.get_or_insert(before.at);
        }
    }

    /// Open bits of the topmost cells below `skipped` others.
    fn topmost(&self, before: &Before, skipped: usize, cells: usize) -> Vec<u64> {
        let end = before.height.saturating_sub(skipped);
        (end.saturating_sub(cells)..end).map(|at| self.cell(before.depth - 1, at)).collect()
    }

    fn put(&mut self, frame: usize, first: usize, open: &[u64]) {
        for (at, bits) in open.iter().enumerate() {
            self.set_cell(frame, first + at, *bits);
        }
    }

    /// Forgets the cells of a frame from here on, and those of frames inside it.
    fn cut(&mut self, frame: usize, end: usize) {
        self.cells.split_off(&(frame, end));
    }
}

impl Before {
    fn value(&self, cell: usize) -> u64 {
        let from = self.height - self.top.len();
        cell.checked_sub(from).and_then(|at| self.top.get(at)).map_or(0, |x| x.value)
    }
}

/// How the bytes of an access become a value.
#[derive(Clone, Copy)]
enum Kind {
    Number {
        signed: bool,
        wide: bool,
    },
    /// A vector, byte by byte.
    Bytes,
    /// A part of a vector, or many copies of one.
    Whole,
}

/// A load or a store.
struct Access {
    argument: MemArg,
    bytes: u64,
    is_store: bool,
    operand_cells: usize,
    kind: Kind,
}

impl Access {
    fn of(operator: &Operator<'_>) -> Option<Access> {
        use Operator as O;
        let load = |argument: MemArg, bytes, signed, wide| {
            let kind = Kind::Number { signed, wide };
            Access { argument, bytes, is_store: false, operand_cells: 1, kind }
        };
        let store = |argument: MemArg, bytes| {
            let kind = Kind::Number { signed: false, wide: true };
            Access { argument, bytes, is_store: true, operand_cells: 2, kind }
        };
        let part = |argument: MemArg, bytes, is_store| {
            let kind = Kind::Whole;
            Access { argument, bytes, is_store, operand_cells: 3, kind }
        };
        let spread = |argument: MemArg, bytes| {
            let kind = Kind::Whole;
            Access { argument, bytes, is_store: false, operand_cells: 1, kind }
        };
        Some(match *operator {
            O::I32Load { memarg } | O::F32Load { memarg } => load(memarg, 4, false, false),
            O::I64Load { memarg } | O::F64Load { memarg } => load(memarg, 8, false, true),
            O::I32Load8S { memarg } => load(memarg, 1, true, false),
            O::I32Load8U { memarg } => load(memarg, 1, false, false),
            O::I32Load16S { memarg } => load(memarg, 2, true, false),
            O::I32Load16U { memarg } => load(memarg, 2, false, false),
            O::I64Load8S { memarg } => load(memarg, 1, true, true),
            O::I64Load8U { memarg } => load(memarg, 1, false, true),
            O::I64Load16S { memarg } => load(memarg, 2, true, true),
            O::I64Load16U { memarg } => load(memarg, 2, false, true),
            O::I64Load32S { memarg } => load(memarg, 4, true, true),
            O::I64Load32U { memarg } => load(memarg, 4, false, true),
            O::I32Store8 { memarg } | O::I64Store8 { memarg } => store(memarg, 1),
            O::I32Store16 { memarg } | O::I64Store16 { memarg } => store(memarg, 2),
            O::I32Store { memarg } | O::F32Store { memarg } | O::I64Store32 { memarg } => {
                store(memarg, 4)
            }
            O::I64Store { memarg } | O::F64Store { memarg } => store(memarg, 8),
            O::V128Load { memarg } => Access {
                argument: memarg,
                bytes: VECTOR,
                is_store: false,
                operand_cells: 1,
                kind: Kind::Bytes,
            },
            O::V128Store { memarg } => Access {
                argument: memarg,
                bytes: VECTOR,
                is_store: true,
                operand_cells: 3,
                kind: Kind::Bytes,
            },
            O::V128Load8Lane { memarg, .. } => part(memarg, 1, false),
            O::V128Load16Lane { memarg, .. } => part(memarg, 2, false),
            O::V128Load32Lane { memarg, .. } => part(memarg, 4, false),
            O::V128Load64Lane { memarg, .. } => part(memarg, 8, false),
            O::V128Store8Lane { memarg, .. } => part(memarg, 1, true),
            O::V128Store16Lane { memarg, .. } => part(memarg, 2, true),
            O::V128Store32Lane { memarg, .. } => part(memarg, 4, true),
            O::V128Store64Lane { memarg, .. } => part(memarg, 8, true),
            O::V128Load8Splat { memarg } => spread(memarg, 1),
            O::V128Load16Splat { memarg } => spread(memarg, 2),
            O::V128Load32Splat { memarg } | O::V128Load32Zero { memarg } => spread(memarg, 4),
            O::V128Load64Splat { memarg }
            | O::V128Load64Zero { memarg }
            | O::V128Load8x8S { memarg }
            | O::V128Load8x8U { memarg }
            | O::V128Load16x4S { memarg }
            | O::V128Load16x4U { memarg }
            | O::V128Load32x2S { memarg }
            | O::V128Load32x2U { memarg } => spread(memarg, 8),
            _ => return None,
        })
    }
}

/// Operands that decide whether and where to branch.
fn popped_by_branch(operator: &Operator<'_>) -> usize {
    use Operator as O;
    usize::from(matches!(
        operator,
        O::BrIf { .. }
            | O::BrTable { .. }
            | O::BrOnNull { .. }
            | O::BrOnNonNull { .. }
            | O::If { .. }
    ))
}

fn is_tail_call(operator: &Operator<'_>) -> bool {
    use Operator as O;
    matches!(
        operator,
        O::ReturnCall { .. } | O::ReturnCallIndirect { .. } | O::ReturnCallRef { .. }
    )
}

fn throws(operator: &Operator<'_>) -> bool {
    matches!(operator, Operator::Throw { .. } | Operator::ThrowRef | Operator::Rethrow { .. })
}

/// Of the instructions that are not followed, those without a result.
fn pushes_nothing(name: &str) -> bool {
    let words = ["TableSet", "TableFill", "TableCopy", "TableInit", "ElemDrop", "DataDrop"];
    words.iter().any(|word| name.starts_with(word))
        || name.contains("AtomicStore")
        || name.starts_with("AtomicFence")
}

/// Wide arithmetic.
fn makes_two(name: &str) -> bool {
    ["I64Add128", "I64Sub128", "I64MulWide"].iter().any(|word| name.starts_with(word))
}

/// Divisions trap by their last operand. The quotient of the least number and -1
/// traps by both.
fn is_division(name: &str) -> bool {
    ["I32DivU", "I64DivU", "I32Rem", "I64Rem"].iter().any(|word| name.starts_with(word))
}

fn cells_of_params(oracle: &Oracle, instance: InstanceId, func: FuncIdx) -> Option<usize> {
    let ty = oracle.instance(instance).module.func_type(func)?;
    Some(ty.params.iter().map(|ty| ty.cells()).sum())
}

/// Whether cells differ in no bits but open ones.
pub fn agree(expected: &[Cell], actual: &[Cell], open: impl IntoIterator<Item = u64>) -> bool {
    expected.len() == actual.len()
        && expected.iter().zip(actual).zip(open).all(|((x, y), open)| (x.0 ^ y.0) & !open == 0)
}
