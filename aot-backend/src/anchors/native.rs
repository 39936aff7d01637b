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
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

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

/// What is known of code beforehand.
pub(super) struct Known<'a> {
    pub code: &'a [u8],
    /// Fields that are filled in later, by their offsets.
    pub relocated: &'a HashSet<u32>,
    /// Handlers of calls, by return address.
    pub handlers: &'a HashMap<u32, Vec<u32>>,
    /// Branches into cold paths, which come back, and where they go on if they
    /// are not taken.
    pub polls: &'a HashMap<u32, u32>,
}

/// A function's code.
pub(super) struct Native {
    /// By PC.
    pub insts: BTreeMap<u32, Inst>,
    /// PCs of each run, in the order of execution.
    pub runs: Vec<Vec<u32>>,
    /// The run of each PC and its place there.
    pub place: HashMap<u32, (usize, usize)>,
}

impl Native {
    /// Decodes code. `entries` says how many entries the jump table has that the
    /// instruction at a PC uses.
    pub fn of(known: &Known<'_>, entries: impl Fn(u32) -> Option<usize>) -> Option<Native> {
        let (code, relocated) = (known.code, known.relocated);
        let mut info = InstructionInfoFactory::new();
        let mut insts: BTreeMap<u32, Inst> = BTreeMap::new();
        let mut leaders = BTreeSet::from([0]);
        let mut work: Vec<u32> = vec![0];
        while let Some(mut pc) = work.pop() {
            let mut table = None;
            while !insts.contains_key(&pc) {
                let bytes = code.get(pc as usize..)?;
                let decoded =
                    Decoder::with_ip(64, bytes, u64::from(pc), DecoderOptions::NONE).decode();
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
                    None => flow(&decoded, code, relocated, table, &entries)?,
                };
                let handlers = known.handlers.get(&next).cloned().unwrap_or_default();
                leaders.extend(&handlers);
                work.extend(&handlers);
                let inst = Inst {
                    pc,
                    next,
                    is_return: decoded.flow_control() == FlowControl::Return,
                    writes: writes(&decoded, &mut info),
                    flow: flow.clone(),
                    handlers,
                };
                insts.insert(pc, inst);
                match flow {
                    Flow::Next => {
                        if insts.get(&pc).is_some_and(|inst| !inst.handlers.is_empty()) {
                            leaders.insert(next);
                        }
                        pc = next;
                    }
                    Flow::Jump(to) => {
                        leaders.insert(to);
                        work.push(to);
                        break;
                    }
                    Flow::Branch(to) => {
                        leaders.extend([to, next]);
                        work.extend([to, next]);
                        break;
                    }
                    Flow::Table(targets) => {
                        leaders.extend(&targets);
                        work.extend(&targets);
                        break;
                    }
                    Flow::Leave | Flow::Trap => break,
                }
            }
        }
        // Instructions that overlap are none of a compiler's.
        let mut end = 0;
        for inst in insts.values() {
            if inst.pc < end {
                return None;
            }
            end = inst.next;
        }
        let mut native = Native { insts, runs: Vec::new(), place: HashMap::new() };
        native.find_runs(&leaders);
        Some(native)
    }

    /// Where control goes from an instruction.
    pub fn after(&self, pc: u32) -> Vec<u32> {
        let Some(inst) = self.insts.get(&pc) else { return Vec::new() };
        let mut after = match &inst.flow {
            Flow::Next => vec![inst.next],
            Flow::Jump(to) => vec![*to],
            Flow::Branch(to) => vec![*to, inst.next],
            Flow::Table(targets) => targets.clone(),
            Flow::Leave | Flow::Trap => Vec::new(),
        };
        after.extend(&inst.handlers);
        after
    }

    fn is_trap(&self, pc: u32) -> bool {
        self.insts.get(&pc).is_some_and(|inst| inst.flow == Flow::Trap)
    }

    fn find_runs(&mut self, leaders: &BTreeSet<u32>) {
        // Basic blocks by their first PC.
        let mut blocks: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        let mut first = 0;
        let mut falls = false;
        for (&pc, inst) in &self.insts {
            if leaders.contains(&pc) || !falls {
                first = pc;
            }
            blocks.entry(first).or_default().push(pc);
            falls = inst.flow == Flow::Next;
        }
        let ways: HashMap<u32, Vec<u32>> = blocks
            .iter()
            .map(|(first, pcs)| {
                let mut after = pcs.last().map(|pc| self.after(*pc)).unwrap_or_default();
                after.sort_unstable();
                after.dedup();
                (*first, after)
            })
            .collect();
        let mut reached: HashMap<u32, u32> = HashMap::from([(0, 1)]);
        for to in ways.values().flatten() {
            *reached.entry(*to).or_default() += 1;
        }
        let follower = |first: u32| {
            let mut after = ways[&first].iter().filter(|to| !self.is_trap(**to));
            let one = *after.next()?;
            (after.next().is_none() && reached.get(&one) == Some(&1) && one != first).then_some(one)
        };
        let followers: HashSet<u32> = blocks.keys().filter_map(|first| follower(*first)).collect();
        let mut runs = Vec::new();
        for first in blocks.keys().filter(|first| !followers.contains(first)) {
            let mut run = Vec::new();
            let mut at = Some(*first);
            while let Some(block) = at {
                run.extend_from_slice(&blocks[&block]);
                at = follower(block);
            }
            runs.push(run);
        }
        for (number, run) in runs.iter().enumerate() {
            for (place, pc) in run.iter().enumerate() {
                self.place.insert(*pc, (number, place));
            }
        }
        self.runs = runs;
    }
}

fn flow(
    inst: &Instruction,
    code: &[u8],
    relocated: &HashSet<u32>,
    table: Option<u32>,
    entries: &impl Fn(u32) -> Option<usize>,
) -> Option<Flow> {
    let pc = inst.ip() as u32;
    let leaves_by_relocation = (1..inst.len() as u32).any(|at| relocated.contains(&(pc + at)));
    let target = || u32::try_from(inst.near_branch_target()).ok();
    Some(match inst.flow_control() {
        FlowControl::Next | FlowControl::Call | FlowControl::IndirectCall => Flow::Next,
        FlowControl::UnconditionalBranch if leaves_by_relocation => Flow::Leave,
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
    let info = info.info(inst);
    !in_frame
        && (0..inst.op_count()).any(|operand| {
            inst.op_kind(operand) == OpKind::Memory
                && matches!(
                    info.op_access(operand),
                    OpAccess::Write
                        | OpAccess::CondWrite
                        | OpAccess::ReadWrite
                        | OpAccess::ReadCondWrite
                )
        })
}
