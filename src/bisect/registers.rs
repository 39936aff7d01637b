//! Registers that a function has to restore and does not.
//!
//! A function that spoils a register of its caller's shows in nothing that it
//! computes itself. What its caller keeps in that register need not even be a
//! Wasm value: the base of a memory, say. So the code is looked at. Cranelift
//! saves what it is going to use at the entry and restores it before each
//! return:
//!
//! ```text
//!   push rbp; mov rbp,rsp; sub rsp,N; mov [rsp+X],rbx ..
//!   .. mov rbx,[rsp+X]; add rsp,N; pop rbp; ret
//! ```
//! A function with a `ret` before which a register that was saved is not loaded
//! from where it was saved is suspect. That is no proof: it is compiled otherwise
//! then, alone, as every suspect is.

use super::Case;
use super::mix::Repeated;
use super::replay::{Reached, Replay};
use super::time::Culprit;
use crate::cli::Opt;
use crate::error::CommandError;
use aot_backend::Image;
use dwarf_map::{CodeOffset, FunctionMap, Isa};
use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register,
};
use oracle_interp::StopSet;
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;
use wasm_view::{Boundary, FuncIdx};

/// Registers that a callee has to leave as they were, but for the frame's.
const KEPT: [Register; 5] =
    [Register::RBX, Register::R12, Register::R13, Register::R14, Register::R15];

/// Functions whose code does not restore what it saved.
pub fn suspects(image: &Image) -> Vec<FuncIdx> {
    if image.map.isa() != Isa::X86_64 {
        return Vec::new();
    }
    let suspect = |function: &&FunctionMap| !restores(&instructions(image, function));
    image.map.functions.iter().filter(suspect).map(|function| function.func).collect()
}

/// The instructions of a function that can be executed, by address: between them
/// lie tables and constants, which are none.
fn instructions(image: &Image, function: &FunctionMap) -> Vec<Instruction> {
    let address = |pc: CodeOffset| pc.at(image.text_address).get();
    let (start, end) = (address(function.code.start), address(function.code.end));
    let anchors = function.boundaries.iter().filter_map(|boundary| boundary.anchor.pc());
    // Through tables of branches nobody follows, but every target is a boundary's.
    let mut open: Vec<u64> = anchors.map(address).chain([start]).collect();
    let mut found: BTreeMap<u64, Instruction> = BTreeMap::new();
    while let Some(at) = open.pop() {
        if !(start..end).contains(&at) || found.contains_key(&at) {
            continue;
        }
        let from = (at - image.text_address.get()) as usize;
        let to = function.code.end.get() as usize;
        let bytes = image.text.get(from..to).unwrap_or_default();
        let instruction = Decoder::with_ip(64, bytes, at, DecoderOptions::NONE).decode();
        match instruction.flow_control() {
            FlowControl::UnconditionalBranch => open.push(instruction.near_branch_target()),
            FlowControl::ConditionalBranch => {
                open.extend([instruction.next_ip(), instruction.near_branch_target()]);
            }
            FlowControl::Return | FlowControl::IndirectBranch | FlowControl::Exception => {}
            _ => open.push(instruction.next_ip()),
        }
        found.insert(at, instruction);
    }
    found.into_values().collect()
}

/// Whether each `ret` is behind loads of all that was saved.
fn restores(code: &[Instruction]) -> bool {
    // Traps of boundaries are no instructions of the function.
    let trap = |instruction: &&Instruction| instruction.mnemonic() != Mnemonic::Int3;
    let mut saved = BTreeMap::new();
    for instruction in code.iter().filter(trap) {
        let prologue = matches!(instruction.mnemonic(), Mnemonic::Push | Mnemonic::Sub);
        match slot(instruction, Code::Mov_rm64_r64) {
            Some((register, at)) => {
                saved.entry(register).or_insert(at);
            }
            None if prologue || instruction.code() == Code::Mov_r64_rm64 => {}
            None if instruction.flow_control() == FlowControl::Next && saved.is_empty() => {}
            None => break,
        }
    }
    code.iter().enumerate().filter(|(_, each)| each.mnemonic() == Mnemonic::Ret).all(|(at, _)| {
        let before = code[..at].iter().rev().filter(trap);
        let epilogue = before.take_while(|each| each.flow_control() == FlowControl::Next);
        let mut loaded = BTreeMap::new();
        for instruction in epilogue {
            // The last one counts.
            if let Some((register, at)) = slot(instruction, Code::Mov_r64_rm64) {
                loaded.entry(register).or_insert(at);
            }
        }
        saved.iter().all(|(register, at)| loaded.get(register) == Some(at))
    })
}

/// Of a `mov` between a register to keep and the frame: which, and where.
fn slot(instruction: &Instruction, code: Code) -> Option<(Register, u64)> {
    let memory = (0..instruction.op_count()).any(|op| instruction.op_kind(op) == OpKind::Memory);
    let frame =
        instruction.memory_base() == Register::RSP && instruction.memory_index() == Register::None;
    let register = (0..instruction.op_count())
        .find(|op| instruction.op_kind(*op) == OpKind::Register)
        .map(|op| instruction.op_register(op))?;
    let fits = instruction.code() == code && memory && frame && KEPT.contains(&register);
    fits.then(|| (register, instruction.memory_displacement64()))
}

impl Case<'_> {
    /// The last activation before the divergence of a function that does not restore
    /// what it saved. Somebody further out holds what it spoilt: a frame that is
    /// still there when the two differ, the innermost one that will do.
    ///
    /// # Errors
    /// What the host refuses; bugs of ours.
    pub fn spoiler(&self, replay: &Replay<'_>) -> Result<Option<Culprit>, CommandError> {
        let entered = self.entered(replay, &suspects(self.image))?;
        let mut innocent: HashSet<FuncIdx> = HashSet::new();
        for (holder, entry) in entered.iter().rev() {
            if innocent.contains(&entry.func()) {
                continue;
            }
            if !self.gone_without(entry.func())? {
                innocent.insert(entry.func());
            } else if let Some(at) = self.last_instruction(replay, entry)? {
                let chain = entry.stack.iter().skip(*holder).rev().copied().collect();
                return Ok(Some(Culprit { at, chain }));
            }
        }
        Ok(None)
    }

    /// By the depth of each frame that is there at the divergence, the last activation
    /// of a suspect above it.
    fn entered(
        &self,
        replay: &Replay<'_>,
        suspects: &[FuncIdx],
    ) -> Result<BTreeMap<usize, Entry>, CommandError> {
        let module = &self.program.module;
        let mut stops = StopSet::new(module);
        for func in suspects {
            if let Some(first) = module.function(*func).and_then(|func| func.boundaries().next()) {
                stops.insert(*func, first);
            }
        }
        let mut entered = BTreeMap::new();
        let Some(mut standing) = replay.to(0)?.filter(|_| !suspects.is_empty()) else {
            return Ok(entered);
        };
        let stack: Vec<FuncIdx> =
            self.finding.frames.iter().rev().map(|frame| frame.func).collect();
        loop {
            if standing.oracle.is_at(&stops) {
                let frames = standing.oracle.frames();
                let now: Rc<[FuncIdx]> = frames.iter().map(|frame| frame.boundary.func).collect();
                let executed = standing.oracle.instructions_executed();
                let below = now.len().saturating_sub(1);
                let common = now.iter().zip(&stack).take_while(|(a, b)| a == b).count();
                for holder in 0..common.min(below) {
                    entered.insert(holder, Entry { executed, stack: now.clone() });
                }
            }
            if standing.until(replay.session, &stops, self.executed)? != Reached::Stop {
                return Ok(entered);
            }
        }
    }

    /// The last instruction of an activation: where the fault is seen to have been.
    fn last_instruction(
        &self,
        replay: &Replay<'_>,
        entry: &Entry,
    ) -> Result<Option<Boundary>, CommandError> {
        let Some(mut standing) = replay.to(entry.executed)? else { return Ok(None) };
        let depth = entry.stack.len();
        let mut at = None;
        for executed in entry.executed.. {
            if executed > self.executed || !standing.go(replay.session, None, executed)? {
                return Ok(None);
            }
            match standing.oracle.depth() {
                deep if deep < depth => break,
                deep if deep == depth => at = standing.oracle.top().map(|top| top.boundary),
                _ => {}
            }
        }
        Ok(at)
    }

    /// Suspect is not guilty: without its code the divergence has to be gone.
    fn gone_without(&self, func: FuncIdx) -> Result<bool, CommandError> {
        let level = self.args.run.backend.opt;
        let other = if level == Opt::None { Opt::Speed } else { Opt::None };
        let image = match self.bad.compile(self.program, Some((func, other))) {
            Ok(image) => image,
            Err(CommandError::Inconclusive { .. } | CommandError::Input { .. }) => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        Ok(matches!(self.repeat(&image)?, Repeated::Gone))
    }
}

/// A suspect that has just been called.
struct Entry {
    /// Instructions executed until then.
    executed: u64,
    /// The functions on the stack, outermost first, itself the last.
    stack: Rc<[FuncIdx]>,
}

impl Entry {
    fn func(&self) -> FuncIdx {
        self.stack.last().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8]) -> Vec<Instruction> {
        Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE).into_iter().collect()
    }

    #[test]
    fn a_register_that_is_not_restored_is_found() {
        // push rbp; mov rbp,rsp; sub rsp,16; mov [rsp],rbx; mov rbx,rdi
        let before: &[u8] = &[
            0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x10, 0x48, 0x89, 0x1c, 0x24, 0x48, 0x89,
            0xfb,
        ];
        // add rsp,16; pop rbp; ret
        let behind: &[u8] = &[0x48, 0x83, 0xc4, 0x10, 0x5d, 0xc3];
        let with = |restore: &[u8]| restores(&decoded(&[before, restore, behind].concat()));
        assert!(with(&[0x48, 0x8b, 0x1c, 0x24]), "mov rbx,[rsp]");
        assert!(!with(&[0x48, 0x8b, 0x34, 0x24]), "mov rsi,[rsp]");
        assert!(!with(&[0x48, 0x8b, 0x5c, 0x24, 0x08]), "mov rbx,[rsp+8]");
        assert!(!with(&[0x90]), "nothing");
        // A trap of a boundary in between.
        assert!(with(&[0xcc, 0x48, 0x8b, 0x1c, 0x24]), "int3; mov rbx,[rsp]");
    }
}
