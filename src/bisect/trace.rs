//! What an activation of a function read, and what its callees answered.
//!
//! ```text
//!   executed:   entry  load  call f  load  call g  ..  the wrong value
//!   kept:       state  bytes answer  bytes answer      how often it came there
//! ```
//! A whole function can be executed again elsewhere if whatever it takes from
//! outside is there: arguments, globals, the bytes that it reads, and of each
//! call what the callee left behind. Some callees are executed again as well
//! (the *real* ones); what they take from outside is kept likewise. Of what the
//! others wrote only that is kept which is read later.

use super::body::{Body, Op};
use super::encode::{self, is_number};
use super::replay::{Reached, Replay, Standing};
use crate::error::CommandError;
use oracle_interp::{Module, StopSet};
use std::collections::{BTreeMap, HashMap, HashSet};
use wasm_view::{AddressType, Cell, FuncIdx, TypeIdx, ValType, Value, WasmOffset};
use wasmparser::Operator;

/// Most instructions of real functions.
const REAL: u64 = 300_000;
/// Of those, most behind the divergence.
const BEHIND: u64 = 5_000;
/// Most calls that are answered.
const ANSWERS: usize = 400;
/// Instructions of a callee between two looks at what it wrote.
const CHUNK: u64 = 100_000;
/// Most bytes that one instruction reads.
const LONGEST: u64 = 1024;

/// What a call left behind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Its results.
    pub results: Vec<Value>,
    /// What it wrote to memory 0 that is read later.
    pub wrote: BTreeMap<u64, u8>,
    /// Globals that it changed.
    pub globals: Vec<(u32, Value)>,
    /// Pages by which it grew memory 0.
    pub grown: u64,
}

/// A place where something is called that is not executed again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Site {
    /// The answers, in order.
    pub answers: Vec<Answer>,
}

/// What is known of an instruction that was executed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seen {
    /// How often it was.
    pub count: u64,
    /// The topmost operand behind it, the last time.
    pub value: Option<Value>,
    /// Whether that was another one at some time.
    pub varied: bool,
}

/// An activation.
pub struct Trace {
    /// The function.
    pub root: FuncIdx,
    /// Its locals in the beginning, arguments first.
    pub locals: Vec<Value>,
    /// The globals in the beginning.
    pub globals: Vec<Value>,
    /// Bytes of memory 0 in the beginning.
    pub memory_len: u64,
    /// Those of its bytes that are read.
    pub reads: BTreeMap<u64, u8>,
    /// Instructions of real functions that were executed.
    pub seen: HashMap<WasmOffset, Seen>,
    /// Calls that are answered, by the place of the call.
    pub sites: BTreeMap<WasmOffset, Site>,
    /// Places of indirect calls of a real function.
    pub direct: BTreeMap<WasmOffset, FuncIdx>,
    /// How often the activation came to the place asked for, up to the divergence.
    pub reached: u64,
}

/// What to follow.
pub struct Wanted<'a> {
    /// The functions that are executed again, the activation's own first.
    pub real: &'a [(FuncIdx, Body<'a>)],
    /// Frames on the stack while it is the innermost one.
    pub depth: usize,
    /// Instructions executed before the divergence.
    pub last: u64,
    /// Where the wrong value is looked at.
    pub place: Option<WasmOffset>,
    /// Bytes of memory 0 that are looked at there.
    pub memory: Option<u64>,
}

impl Wanted<'_> {
    fn body(&self, func: FuncIdx) -> Option<&Body<'_>> {
        self.real.iter().find(|(real, _)| *real == func).map(|(_, body)| body)
    }
}

/// Who wrote a byte last.
#[derive(Clone, Copy)]
enum Writer {
    /// A function that is executed again.
    Real,
    /// The answer to a call.
    Answer(WasmOffset, usize),
}

struct Recorder<'a> {
    trace: Trace,
    memory: Vec<u8>,
    writers: HashMap<u64, Writer>,
    needed: HashSet<(WasmOffset, usize, u64)>,
    answers: usize,
    module: &'a Module,
}

/// Follows an activation. `None` if it is too long, or does what cannot be done
/// again.
///
/// # Errors
/// What the host refuses; bugs of ours.
pub fn follow(replay: &Replay<'_>, wanted: &Wanted<'_>) -> Result<Option<Trace>, CommandError> {
    let Some((root, _)) = wanted.real.first() else { return Ok(None) };
    let module = &*replay.session.program.module;
    let Some(entry) = replay.entry(*root, wanted.depth, wanted.last)? else { return Ok(None) };
    let Some(mut standing) = replay.to(entry)? else { return Ok(None) };
    standing.oracle.set_write_log(true);
    standing.oracle.clear_writes();
    let (Some(top), Some(function)) = (standing.oracle.top(), module.function(*root)) else {
        return Ok(None);
    };
    let locals = Value::list_from_cells(function.locals(), top.locals);
    let memory = standing.memory().to_vec();
    let trace = Trace {
        root: *root,
        locals,
        globals: standing.globals(),
        memory_len: memory.len() as u64,
        reads: BTreeMap::new(),
        seen: HashMap::new(),
        sites: BTreeMap::new(),
        direct: BTreeMap::new(),
        reached: 0,
    };
    let mut recorder = Recorder {
        trace,
        memory,
        writers: HashMap::new(),
        needed: HashSet::new(),
        answers: 0,
        module,
    };
    let complete = recorder.record(replay, &mut standing, wanted)?;
    Ok(complete.then(|| recorder.finish()))
}

impl Recorder<'_> {
    /// Whether everything up to the divergence was recorded.
    fn record(
        &mut self,
        replay: &Replay<'_>,
        standing: &mut Standing,
        wanted: &Wanted<'_>,
    ) -> Result<bool, CommandError> {
        let session = replay.session;
        let mut last_memory_read = false;
        for steps in 0.. {
            let executed = standing.oracle.instructions_executed();
            let past = executed > wanted.last;
            let depth = standing.oracle.depth();
            if depth < wanted.depth {
                return Ok(past);
            }
            if let (true, false, Some(address)) = (past, last_memory_read, wanted.memory) {
                self.read(address, 8);
                last_memory_read = true;
            }
            let too_many = steps > REAL || self.answers > ANSWERS;
            if too_many || past && executed > wanted.last + BEHIND {
                return Ok(past);
            }
            let Some(top) = standing.oracle.top() else { return Ok(past) };
            let at = top.boundary;
            let slots = top.slots.to_vec();
            if depth == wanted.depth
                && Some(at.offset) == wanted.place
                && executed <= wanted.last + 1
            {
                self.trace.reached += 1;
            }
            let Some(op) = wanted.body(at.func).and_then(|body| body.at(at.offset)) else {
                return Ok(past);
            };
            if let Some((address, length)) = self.read_by(op, &slots) {
                if length > LONGEST {
                    return Ok(past);
                }
                self.read(address, length);
            }
            let callee = self.callee(op);
            let before = (standing.globals(), standing.memory().len() as u64);
            standing.oracle.clear_writes();
            // The log ends where the divergence was.
            match standing.go(session, None, executed + 1) {
                Ok(true) => {}
                Ok(false) | Err(CommandError::Inconclusive { .. }) => {
                    self.trace.seen.entry(at.offset).or_default().count += 1;
                    return Ok(executed >= wanted.last);
                }
                Err(error) => return Err(error),
            }
            let Some(ty) = callee else {
                self.seen(at.offset, at.func, depth, standing);
                for (address, length) in standing.written() {
                    for byte in address..address + length {
                        self.writers.insert(byte, Writer::Real);
                    }
                }
                continue;
            };
            let entered = standing.oracle.top().map(|top| top.boundary.func);
            let real = entered.is_some_and(|func| wanted.body(func).is_some());
            if standing.oracle.depth() == depth + 1 && real {
                let seen = self.trace.seen.entry(at.offset).or_default();
                seen.count += 1;
                if let (Operator::CallIndirect { .. }, Some(func)) = (&op.operator, entered) {
                    let known = self.trace.direct.insert(at.offset, func);
                    if known.is_some_and(|known| known != func) {
                        return Ok(false);
                    }
                }
                if self.trace.sites.contains_key(&at.offset) {
                    return Ok(false);
                }
                continue;
            }
            if self.trace.direct.contains_key(&at.offset) {
                return Ok(false);
            }
            let Some(wrote) = self.through(replay, standing, wanted, (at.func, op, depth))? else {
                self.trace.seen.entry(at.offset).or_default().count += 1;
                return Ok(standing.oracle.instructions_executed() > wanted.last);
            };
            self.answer(standing, at.offset, &ty, before, wrote);
            self.seen(at.offset, at.func, depth, standing);
        }
        Ok(false)
    }

    /// Lets a callee run to its end; what it wrote, or `None` if it does not
    /// come back.
    fn through(
        &mut self,
        replay: &Replay<'_>,
        standing: &mut Standing,
        wanted: &Wanted<'_>,
        (func, op, depth): (FuncIdx, &Op<'_>, usize),
    ) -> Result<Option<Vec<(u64, u64)>>, CommandError> {
        let behind = WasmOffset::new(op.offset.get() + op.bytes.len() as u32);
        let mut stops = StopSet::new(&replay.session.program.module);
        stops.insert(func, behind);
        let mut wrote = Vec::new();
        loop {
            wrote.extend(standing.written());
            standing.oracle.clear_writes();
            let deep = standing.oracle.depth();
            if deep == depth && standing.oracle.is_at(&stops) {
                return Ok(Some(wrote));
            }
            let executed = standing.oracle.instructions_executed();
            if deep < depth || executed > wanted.last + 100 * CHUNK {
                return Ok(None);
            }
            match standing.until(replay.session, &stops, executed + CHUNK) {
                Ok(Reached::Stop | Reached::Count) => {}
                Ok(Reached::End) | Err(CommandError::Inconclusive { .. }) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    fn answer(
        &mut self,
        standing: &Standing,
        site: WasmOffset,
        results: &[ValType],
        (globals, memory_len): (Vec<Value>, u64),
        wrote: Vec<(u64, u64)>,
    ) {
        let slots = standing.oracle.top().map(|top| top.slots.to_vec()).unwrap_or_default();
        let at = slots.len().saturating_sub(ValType::cells_of(results));
        let changed = (0..).zip(globals.iter().zip(standing.globals()));
        let memory = standing.memory();
        let page = self.module.memories().first().map_or(16, |ty| ty.page_log2);
        let mut answer = Answer {
            results: Value::list_from_cells(results, &slots[at..]),
            wrote: BTreeMap::new(),
            globals: changed
                .filter(|(_, (before, after))| *before != after)
                .map(|(index, (_, after))| (index, after))
                .collect(),
            grown: (memory.len() as u64 - memory_len) >> page,
        };
        let known = self.trace.sites.entry(site).or_default();
        let index = known.answers.len();
        for (address, length) in wrote {
            for byte in address..address + length {
                let Some(value) = memory.get(byte as usize) else { break };
                answer.wrote.insert(byte, *value);
                self.writers.insert(byte, Writer::Answer(site, index));
            }
        }
        known.answers.push(answer);
        self.answers += 1;
    }

    fn seen(&mut self, offset: WasmOffset, func: FuncIdx, depth: usize, standing: &Standing) {
        let seen = self.trace.seen.entry(offset).or_default();
        seen.count += 1;
        let Some(top) = standing.oracle.top() else { return };
        if standing.oracle.depth() != depth || top.boundary.func != func {
            return;
        }
        let types = self.module.function(func);
        let types = types.and_then(|function| function.operand_types(top.boundary.offset));
        let Some(ty) = types.and_then(|types| types.last().copied()) else { return };
        let Some(at) = top.operands.len().checked_sub(ty.cells()) else { return };
        if is_number(ty) {
            let value = Value::from_cells(ty, &top.operands[at..]);
            seen.varied |= seen.value.is_some_and(|known| known != value);
            seen.value = Some(value);
        }
    }

    /// The result types of what an instruction calls, if it calls.
    fn callee(&self, op: &Op<'_>) -> Option<Vec<ValType>> {
        let ty = match op.operator {
            Operator::Call { function_index } => {
                self.module.func_type(FuncIdx::new(function_index))
            }
            Operator::CallIndirect { type_index, .. } => {
                self.module.func_type_of(TypeIdx::new(type_index))
            }
            _ => None,
        };
        ty.map(|ty| ty.results.clone())
    }

    /// Bytes are read: whoever wrote them is needed.
    fn read(&mut self, address: u64, length: u64) {
        for byte in address..address.saturating_add(length) {
            match self.writers.get(&byte) {
                Some(Writer::Real) => {}
                Some(Writer::Answer(site, index)) => {
                    self.needed.insert((*site, *index, byte));
                }
                None => {
                    if let Some(value) = self.memory.get(byte as usize) {
                        self.trace.reads.insert(byte, *value);
                    }
                }
            }
        }
    }

    /// What an instruction reads from memory 0: an address and a length.
    fn read_by(&self, op: &Op<'_>, slots: &[Cell]) -> Option<(u64, u64)> {
        let ty = self.module.memories().first()?.address;
        let cell = |above: usize| {
            let cell = slots.get(slots.len().checked_sub(above + 1)?)?.0;
            Some(match ty {
                AddressType::I32 => u64::from(cell as u32),
                AddressType::I64 => cell,
            })
        };
        let at = |above| cell(above)?.checked_add(encode::memarg_offset(op.bytes)?);
        let opcode = *op.bytes.first()?;
        if let Some(width) = encode::load_width(opcode) {
            return Some((at(0)?, width));
        }
        match (opcode, &op.operator) {
            (0xfc, Operator::MemoryCopy { .. }) => Some((cell(1)?, cell(0)?)),
            (0xfd, _) => match encode::sub_opcode(op.bytes)? {
                0..=10 | 92 | 93 => Some((at(0)?, 16)),
                84..=87 => Some((at(2)?, 8)),
                _ => None,
            },
            _ => None,
        }
    }

    /// Forgets what was written and never read.
    fn finish(mut self) -> Trace {
        for (offset, site) in &mut self.trace.sites {
            for (index, answer) in site.answers.iter_mut().enumerate() {
                let needed = &self.needed;
                answer.wrote.retain(|byte, _| needed.contains(&(*offset, index, *byte)));
            }
        }
        self.trace
    }
}

impl Standing {
    /// Memory 0.
    pub fn memory(&self) -> &[u8] {
        let memories = &self.oracle.instance(self.instance).memories;
        memories.first().map(|id| self.oracle.memory(*id)).unwrap_or_default()
    }

    /// Where memory 0 was written.
    fn written(&self) -> Vec<(u64, u64)> {
        let memory = self.oracle.instance(self.instance).memories.first().copied();
        let writes = self.oracle.writes().filter(|(id, ..)| Some(*id) == memory);
        writes.map(|(_, address, length)| (address, length)).collect()
    }
}
