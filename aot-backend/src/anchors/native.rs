//! Control flow of one function's code, decoded from its final bytes.
//!
//! Only what the entry leads to is decoded: behind the last instruction lie
//! constants, behind a jump through a table lies the table. Basic blocks that
//! always follow each other, but for ways into a trap, are put together into
//! *runs*: whoever executes one instruction of a run executes all of them, or
//! traps on the way.

use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess,
    OpKind, Register,
};
use rustc_hash::{FxHashMap, FxHashSet};
use std::ops::Range;

/// Where control goes from a native instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// To the next one.
    Next,
    /// There.
    Jump(u32),
    /// There or to the next one.
    Branch(u32),
    /// To one of these.
    Table(Vec<u32>),
    /// Out of the function.
    Leave,
    /// Nowhere.
    Trap,
}

/// A native instruction.
#[derive(Clone, Debug)]
pub(super) struct Inst {
    pub pc: u32,
    pub next: u32,
    pub flow: Flow,
    /// Whether it is a return, not a call in its function's place.
    pub is_return: bool,
    /// Whether it writes memory that is not its frame's.
    pub writes: bool,
    /// Of a call, where what is thrown in it may be caught.
    pub handlers: Vec<u32>,
}

impl Inst {
    /// Where control goes.
    pub fn after(&self) -> impl Iterator<Item = u32> {
        let (first, second, others) = match &self.flow {
            Flow::Next => (Some(self.next), None, &[][..]),
            Flow::Jump(to) => (Some(*to), None, &[][..]),
            Flow::Branch(to) => (Some(*to), Some(self.next), &[][..]),
            Flow::Table(targets) => (None, None, targets.as_slice()),
            Flow::Leave | Flow::Trap => (None, None, &[][..]),
        };
        first.into_iter().chain(second).chain(others.iter().chain(&self.handlers).copied())
    }
}

/// What is known of code beforehand.
pub(super) struct Known<'a> {
    pub code: &'a [u8],
    /// Fields that are filled in later, by their offsets.
    pub relocated: &'a FxHashSet<u32>,
    /// Handlers of calls, by return address.
    pub handlers: &'a FxHashMap<u32, Vec<u32>>,
    /// Branches into cold paths, which come back, and where they go on if they
    /// are not taken.
    pub polls: &'a FxHashMap<u32, u32>,
}

/// A function's code.
///
/// All of it is asked for many times over: what belongs to an instruction is found
/// by its *number*, and that by its PC in a table as long as the code.
pub(super) struct Native {
    /// By number, which is the order of their PCs.
    pub insts: Vec<Inst>,
    /// Of each PC one more than the number of the instruction there; 0 for none.
    numbers: Vec<u32>,
    /// PCs of each run, in the order of execution.
    pub runs: Vec<Vec<u32>>,
    /// The run of each instruction and its place there, by number.
    places: Vec<Option<(usize, usize)>>,
}

impl Native {
    /// Decodes code. `entries` says how many entries the jump table has that the
    /// instruction at a PC uses.
    pub fn of(known: &Known<'_>, entries: impl Fn(u32) -> Option<usize>) -> Option<Native> {
        let code = known.code;
        let mut info = InstructionInfoFactory::new();
        let mut decoder = Decoder::new(64, code, DecoderOptions::NONE);
        let mut decoded = Instruction::default();
        let mut insts: Vec<Inst> = Vec::new();
        let mut numbers = vec![0_u32; code.len()];
        // What is not within the code is not decoded either.
        let mut leaders = vec![false; code.len()];
        let mut work: Vec<u32> = vec![0];
        while let Some(first) = work.pop() {
            if let Some(leader) = leaders.get_mut(first as usize) {
                *leader = true;
            }
            let mut pc = first;
            let mut table = None;
            while *numbers.get(pc as usize)? == 0 {
                decoder.set_position(pc as usize).ok()?;
                decoder.set_ip(u64::from(pc));
                decoder.decode_out(&mut decoded);
                if decoded.is_invalid() {
                    return None;
                }
                if decoded.mnemonic() == Mnemonic::Lea && decoded.memory_base() == Register::RIP {
                    table = u32::try_from(decoded.memory_displacement64()).ok();
                }
                let next = pc + decoded.len() as u32;
                let flow = match known.polls.get(&pc) {
                    Some(&to) if to == next => Flow::Next,
                    Some(&to) => Flow::Jump(to),
                    None => flow(&decoded, code, known.relocated, table, &entries)?,
                };
                let inst = Inst {
                    pc,
                    next,
                    is_return: decoded.flow_control() == FlowControl::Return,
                    writes: writes(&decoded, &mut info),
                    flow,
                    handlers: known.handlers.get(&next).cloned().unwrap_or_default(),
                };
                let goes_on = inst.flow == Flow::Next && inst.handlers.is_empty();
                if !goes_on {
                    work.extend(inst.after());
                }
                insts.push(inst);
                numbers[pc as usize] = insts.len() as u32;
                if !goes_on {
                    break;
                }
                pc = next;
            }
        }
        insts.sort_unstable_by_key(|inst| inst.pc);
        // Instructions that overlap are none of a compiler's.
        if insts.windows(2).any(|pair| pair[1].pc < pair[0].next) {
            return None;
        }
        for (number, inst) in (1..).zip(&insts) {
            numbers[inst.pc as usize] = number;
        }
        let places = vec![None; insts.len()];
        let mut native = Native { insts, numbers, runs: Vec::new(), places };
        native.find_runs(&leaders);
        Some(native)
    }

    /// The number of the instruction at a PC.
    pub fn number(&self, pc: u32) -> Option<usize> {
        self.numbers.get(pc as usize)?.checked_sub(1).map(|number| number as usize)
    }

    /// The run of the instruction at a PC, and its place there.
    pub fn place(&self, pc: u32) -> Option<(usize, usize)> {
        self.places[self.number(pc)?]
    }

    fn is_trap(&self, pc: u32) -> bool {
        self.number(pc).is_some_and(|number| self.insts[number].flow == Flow::Trap)
    }

    fn find_runs(&mut self, leaders: &[bool]) {
        // Basic blocks in the order of their PCs, and of each leader the number of its.
        let mut blocks: Vec<Range<usize>> = Vec::new();
        let mut led = vec![0; self.insts.len()];
        let mut falls = false;
        for (number, inst) in self.insts.iter().enumerate() {
            match blocks.last_mut() {
                Some(block) if falls && !leaders[inst.pc as usize] => block.end = number + 1,
                _ => {
                    led[number] = blocks.len();
                    blocks.push(number..number + 1);
                }
            }
            falls = inst.flow == Flow::Next && inst.handlers.is_empty();
        }
        // Where control goes from the end of a block, each place once.
        let after = |block: &Range<usize>, into: &mut Vec<u32>| {
            into.clear();
            into.extend(self.insts[block.end - 1].after());
            into.sort_unstable();
            into.dedup();
        };
        let mut ways = Vec::new();
        let mut reached = vec![0_u32; blocks.len()];
        reached[0] = 1;
        for block in &blocks {
            after(block, &mut ways);
            for to in ways.iter().filter_map(|to| self.number(*to)) {
                reached[led[to]] += 1;
            }
        }
        let mut followers: Vec<Option<usize>> = Vec::with_capacity(blocks.len());
        let mut follows = vec![false; blocks.len()];
        for (number, block) in blocks.iter().enumerate() {
            after(block, &mut ways);
            let mut ways = ways.iter().filter(|to| !self.is_trap(**to));
            let one = ways.next().and_then(|to| self.number(*to)).map(|to| led[to]);
            let one = one.filter(|to| ways.next().is_none() && reached[*to] == 1 && *to != number);
            if let Some(to) = one {
                follows[to] = true;
            }
            followers.push(one);
        }
        for first in (0..blocks.len()).filter(|block| !follows[*block]) {
            let mut run = Vec::new();
            let mut at = Some(first);
            while let Some(block) = at {
                for number in blocks[block].clone() {
                    self.places[number] = Some((self.runs.len(), run.len()));
                    run.push(self.insts[number].pc);
                }
                at = followers[block];
            }
            self.runs.push(run);
        }
    }
}

fn flow(
    inst: &Instruction,
    code: &[u8],
    relocated: &FxHashSet<u32>,
    table: Option<u32>,
    entries: &impl Fn(u32) -> Option<usize>,
) -> Option<Flow> {
    let pc = inst.ip() as u32;
    let leaves_by_relocation = || (1..inst.len() as u32).any(|at| relocated.contains(&(pc + at)));
    let target = || u32::try_from(inst.near_branch_target()).ok();
    Some(match inst.flow_control() {
        FlowControl::Next | FlowControl::Call | FlowControl::IndirectCall => Flow::Next,
        FlowControl::UnconditionalBranch if leaves_by_relocation() => Flow::Leave,
        FlowControl::UnconditionalBranch => Flow::Jump(target()?),
        FlowControl::ConditionalBranch => Flow::Branch(target()?),
        FlowControl::IndirectBranch => match entries(pc) {
            Some(entries) => Flow::Table(targets(code, table?, entries)?),
            None => Flow::Leave,
        },
        FlowControl::Return => Flow::Leave,
        FlowControl::Exception if inst.mnemonic() == Mnemonic::Ud2 => Flow::Trap,
        _ => return None,
    })
}

/// Targets of a jump table: displacements from its start.
fn targets(code: &[u8], start: u32, entries: usize) -> Option<Vec<u32>> {
    let bytes = code.get(start as usize..)?.get(..entries.checked_mul(4)?)?;
    let mut targets = Vec::with_capacity(entries);
    for entry in bytes.as_chunks::<4>().0 {
        targets.push(start.checked_add_signed(i32::from_le_bytes(*entry))?);
    }
    targets.sort_unstable();
    targets.dedup();
    Some(targets)
}

/// Whether an instruction writes memory outside of its frame.
fn writes(inst: &Instruction, info: &mut InstructionInfoFactory) -> bool {
    let in_frame = matches!(inst.memory_base(), Register::RSP | Register::RBP);
    let mut in_memory = (0..inst.op_count()).filter(|at| inst.op_kind(*at) == OpKind::Memory);
    let Some(first) = in_memory.next().filter(|_| !in_frame) else { return false };
    let info = info.info(inst);
    std::iter::once(first).chain(in_memory).any(|operand| {
        matches!(
            info.op_access(operand),
            OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
        )
    })
}
