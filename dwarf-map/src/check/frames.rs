//! The rules that hold call frame information against the code it describes.
//!
//! The code of a function is followed from its first instruction, with what is
//! known of each register and stack cell: that it is still the caller's value
//! of some register, the return address, or so many bytes from where the stack
//! stood on entry. Wherever a frame may be looked at (at anchors, at
//! instructions that may trap, at calls), the frame address, the return address
//! and the caller's registers must then be where the information says.
//!
//! What is followed is the x86-64 that compilers use for frames: moves, pushes
//! and additions to the stack pointer. Anything else only makes what it writes
//! unknown. Where control comes from a jump table, what holds at all indirect
//! jumps of the function is taken to hold.
//!
//! What it cannot tell it does not accuse: a place that no path leads to, a frame
//! address counted from an rsp that a callee may have moved, a register that was
//! stored through a pointer whose place in the frame is unknown. Lockstep, which
//! unwinds by the same information, is the check there.

use super::{Findings, Rule};
use crate::unwind::{ReturnAddress, Saved, Unwinder};
use crate::{CodeOffset, DwarfReg, FunctionMap, Isa};
use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, MemorySize,
    Mnemonic, OpAccess, OpKind, Register,
};
use std::collections::{BTreeMap, BTreeSet};
use wasm_view::WasmOffset;

/// DWARF number of rsp.
const RSP: usize = 7;
/// Registers that a function leaves as it found them.
const CALLEE_SAVED: &[u16] = Isa::X86_64.callee_saved();

/// What is known of eight bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// The caller's value of the register with this DWARF number.
    Callers(usize),
    ReturnAddress,
    /// The stack pointer as it was before the call, plus this.
    Stack(i64),
    Nothing,
}

/// What is known before an instruction.
#[derive(Clone, PartialEq, Eq)]
struct State {
    registers: [Known; 16],
    /// Cells of eight bytes, by the distance from the stack pointer before the
    /// call. What is not listed is unknown.
    cells: BTreeMap<i64, Known>,
    /// Registers whose callers' values were stored, but who knows where.
    adrift: u16,
}

impl State {
    fn entry() -> State {
        let mut registers = [Known::Nothing; 16];
        for number in CALLEE_SAVED.iter().map(|number| usize::from(*number)) {
            registers[number] = Known::Callers(number);
        }
        registers[RSP] = Known::Stack(-8);
        State { registers, cells: [(-8, Known::ReturnAddress)].into(), adrift: 0 }
    }

    /// What is known on both ways to a place.
    fn join(&mut self, other: &State) -> bool {
        let before = self.clone();
        for (known, other) in self.registers.iter_mut().zip(&other.registers) {
            if known != other {
                *known = Known::Nothing;
            }
        }
        self.cells.retain(|at, known| other.cells.get(at) == Some(known));
        self.adrift |= other.adrift;
        *self != before
    }

    fn forget(&mut self, at: i64, bytes: i64) {
        self.cells.retain(|&cell, _| cell + 8 <= at || at + bytes <= cell);
    }

    fn store(&mut self, at: Option<i64>, known: Known) {
        match (at, known) {
            (Some(at), _) => {
                self.forget(at, 8);
                if known != Known::Nothing {
                    self.cells.insert(at, known);
                }
            }
            (None, Known::Callers(number)) => self.adrift |= 1 << number,
            (None, _) => {}
        }
    }

    fn load(&self, at: Option<i64>) -> Known {
        at.and_then(|at| self.cells.get(&at)).copied().unwrap_or(Known::Nothing)
    }

    fn read(&self, register: Register) -> Known {
        number(register).map_or(Known::Nothing, |number| self.registers[number])
    }

    fn write(&mut self, register: Register, known: Known) {
        if let Some(number) = number(register) {
            self.registers[number] = known;
        }
    }

    /// The stack cell that a memory operand names.
    fn place(&self, instruction: &Instruction) -> Option<i64> {
        if instruction.memory_index() != Register::None {
            return None;
        }
        match self.read(instruction.memory_base()) {
            Known::Stack(base) => {
                Some(base.wrapping_add(instruction.memory_displacement64().cast_signed()))
            }
            _ => None,
        }
    }

    fn push(&mut self, known: Known) {
        let top = match self.registers[RSP] {
            Known::Stack(top) => Some(top - 8),
            _ => None,
        };
        self.registers[RSP] = top.map_or(Known::Nothing, Known::Stack);
        self.store(top, known);
    }

    fn pop(&mut self) -> Known {
        let Known::Stack(top) = self.registers[RSP] else {
            return Known::Nothing;
        };
        self.registers[RSP] = Known::Stack(top + 8);
        self.load(Some(top))
    }
}

/// DWARF number of a general register, whatever part of it is named.
fn number(register: Register) -> Option<usize> {
    const BY_ENCODING: [usize; 16] = [0, 2, 1, 3, 7, 6, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15];
    let full = register.full_register();
    full.is_gpr64().then(|| BY_ENCODING.get(full.number()).copied()).flatten()
}

/// A place where a frame may be looked at.
struct Look {
    /// The instruction.
    pc: u32,
    /// By which the information is looked up: of calls their last byte.
    rules_at: u32,
    offset: WasmOffset,
}

/// Checks the frames of a function.
pub(super) fn check(
    function: &FunctionMap,
    text: &[u8],
    unwinder: &Unwinder,
    findings: &mut Findings,
) {
    let code = function.code.start.get()..function.code.end.get();
    let (Ok(start), Ok(end)) = (usize::try_from(code.start), usize::try_from(code.end)) else {
        return;
    };
    // Other rules tell of code that is not in the text.
    let Some(bytes) = text.get(start..end) else { return };
    let mut flow = Flow {
        bytes,
        start: code.start,
        states: BTreeMap::new(),
        calls: BTreeMap::new(),
        handlers: function
            .call_sites
            .iter()
            .map(|site| {
                let handlers = site.handlers.iter().map(|handler| handler.pc.get());
                (site.return_address.get(), handlers.collect())
            })
            .collect(),
        indirect: None,
        info: InstructionInfoFactory::new(),
    };
    flow.follow(code.start, State::entry());
    let anchors = function
        .boundaries
        .iter()
        .filter_map(|boundary| Some((boundary.anchor.pc()?.get(), boundary.offset)));
    let anchors: Vec<(u32, WasmOffset)> = anchors.collect();
    flow.follow_tables(&anchors.iter().map(|(pc, _)| *pc).collect());
    let mut looks: Vec<Look> =
        anchors.into_iter().map(|(pc, offset)| Look { pc, rules_at: pc, offset }).collect();
    looks.extend(function.traps.iter().map(|site| {
        let pc = site.pc.get();
        Look { pc, rules_at: pc, offset: site.offset }
    }));
    looks.extend(function.call_sites.iter().filter_map(|site| {
        let after = site.return_address.get();
        let pc = *flow.calls.get(&after)?;
        Some(Look { pc, rules_at: after - 1, offset: site.offset })
    }));
    for look in looks {
        // Where no execution gets to nothing is demanded.
        let Some(state) = flow.states.get(&look.pc) else { continue };
        if let Some((rule, message)) = wrong(state, unwinder, CodeOffset::new(look.rules_at)) {
            let message = format!("at {}: {message}", CodeOffset::new(look.pc));
            findings.add(rule, Some(function.func), Some(look.offset), message);
        }
    }
}

/// What is wrong about the information for a place, if anything is.
fn wrong(state: &State, unwinder: &Unwinder, pc: CodeOffset) -> Option<(Rule, String)> {
    // That there is some is another rule.
    let cfa = unwinder.cfa_rule(pc).ok()?;
    let base = match state.registers.get(usize::from(cfa.reg.0)) {
        Some(Known::Stack(base)) => *base,
        // After a call whose callee took arguments away; counted from rbp in
        // code that has a frame.
        Some(Known::Nothing) if usize::from(cfa.reg.0) == RSP => return None,
        _ => {
            let message = format!("DWARF register {} does not point into the frame", cfa.reg.0);
            return Some((Rule::CfiFrame, message));
        }
    };
    let address = base + cfa.offset;
    let place = unwinder.return_address(pc).ok()?;
    if let ReturnAddress::At(place) = place
        && state.load(Some(address + place)) != Known::ReturnAddress
    {
        let message = format!("no return address at the frame address {place:+}");
        return Some((Rule::CfiFrame, message));
    }
    for &register in CALLEE_SAVED {
        let wanted = Known::Callers(usize::from(register));
        let (found, place) = match unwinder.saved(pc, DwarfReg(register)).ok()? {
            Saved::At(offset) => {
                (state.load(Some(address + offset)), format!("at the frame address {offset:+}"))
            }
            Saved::Same => {
                (state.read_number(usize::from(register)), "still in its register".to_owned())
            }
            Saved::Lost => continue,
        };
        let adrift = state.adrift >> register & 1 == 1;
        if found != wanted && !adrift {
            let message = format!("the caller's DWARF register {register} is not {place}");
            return Some((Rule::CfiSaved, message));
        }
    }
    None
}

impl State {
    fn read_number(&self, number: usize) -> Known {
        self.registers.get(number).copied().unwrap_or(Known::Nothing)
    }
}

/// The code of a function as it is followed.
struct Flow<'a> {
    bytes: &'a [u8],
    start: u32,
    /// What is known before each instruction that was reached.
    states: BTreeMap<u32, State>,
    /// Call instructions by return address.
    calls: BTreeMap<u32, u32>,
    /// Where exceptions go that a call ends with, by its return address.
    handlers: BTreeMap<u32, Vec<u32>>,
    /// What is known at every indirect jump.
    indirect: Option<State>,
    info: InstructionInfoFactory,
}

impl Flow<'_> {
    /// Follows control from `pc`, where `state` holds.
    fn follow(&mut self, pc: u32, state: State) {
        let mut work = vec![(pc, state)];
        while let Some((pc, state)) = work.pop() {
            let state = match self.states.get_mut(&pc) {
                Some(known) => {
                    if !known.join(&state) {
                        continue;
                    }
                    known.clone()
                }
                None => {
                    self.states.insert(pc, state.clone());
                    state
                }
            };
            let Some(instruction) = self.decode(pc) else { continue };
            let mut after = state;
            self.execute(&instruction, &mut after);
            let next = instruction.next_ip32();
            let target = u32::try_from(instruction.near_branch_target());
            match instruction.flow_control() {
                FlowControl::Next | FlowControl::Interrupt => work.push((next, after)),
                FlowControl::Call | FlowControl::IndirectCall => {
                    self.calls.insert(next, pc);
                    // Whoever throws puts the registers back that a return
                    // would leave alone.
                    let handlers = self.handlers.get(&next).into_iter().flatten();
                    work.extend(handlers.map(|handler| (*handler, after.clone())));
                    work.push((next, after));
                }
                FlowControl::ConditionalBranch => {
                    work.extend(target.map(|target| (target, after.clone())));
                    work.push((next, after));
                }
                FlowControl::UnconditionalBranch => {
                    // To the function's own start it is a tail call.
                    let inside = target.ok().filter(|target| *target != self.start);
                    work.extend(inside.map(|target| (target, after)));
                }
                FlowControl::IndirectBranch => match &mut self.indirect {
                    Some(known) => {
                        known.join(&after);
                    }
                    None => self.indirect = Some(after),
                },
                _ => {}
            }
        }
    }

    /// Goes on at anchors that nothing but a jump table can lead to.
    fn follow_tables(&mut self, anchors: &BTreeSet<u32>) {
        loop {
            let Some(state) = self.indirect.clone() else { return };
            let unreached = anchors.iter().find(|pc| !self.states.contains_key(pc));
            let Some(&pc) = unreached else { return };
            self.follow(pc, state);
        }
    }

    fn decode(&self, pc: u32) -> Option<Instruction> {
        let bytes = self.bytes.get(pc.checked_sub(self.start)? as usize..)?;
        let mut decoder = Decoder::with_ip(64, bytes, u64::from(pc), DecoderOptions::NONE);
        let instruction = decoder.decode();
        (!instruction.is_invalid()).then_some(instruction)
    }

    /// What an instruction does to what is known.
    fn execute(&mut self, instruction: &Instruction, state: &mut State) {
        let is_register = |at| {
            instruction.op_count() > at
                && instruction.op_kind(at) == OpKind::Register
                && instruction.op_register(at).is_gpr64()
        };
        let is_cell = |at| {
            instruction.op_count() > at
                && instruction.op_kind(at) == OpKind::Memory
                && matches!(instruction.memory_size(), MemorySize::UInt64 | MemorySize::Int64)
        };
        let first = instruction.op0_register();
        match instruction.mnemonic() {
            Mnemonic::Push if is_register(0) => {
                let known = state.read(first);
                return state.push(known);
            }
            Mnemonic::Push if is_cell(0) => {
                let known = state.load(state.place(instruction));
                return state.push(known);
            }
            Mnemonic::Pop if is_register(0) => {
                let known = state.pop();
                return state.write(first, known);
            }
            Mnemonic::Mov if is_register(0) && is_register(1) => {
                let known = state.read(instruction.op1_register());
                return state.write(first, known);
            }
            Mnemonic::Mov if is_register(0) && is_cell(1) => {
                let known = state.load(state.place(instruction));
                return state.write(first, known);
            }
            Mnemonic::Mov if is_cell(0) && is_register(1) => {
                let known = state.read(instruction.op1_register());
                return state.store(state.place(instruction), known);
            }
            Mnemonic::Lea if is_register(0) => {
                let known = state.place(instruction).map_or(Known::Nothing, Known::Stack);
                return state.write(first, known);
            }
            Mnemonic::Add | Mnemonic::Sub if is_register(0) => {
                let by = instruction.try_immediate(1).ok().map(u64::cast_signed);
                let known = match (state.read(first), by, instruction.mnemonic()) {
                    (Known::Stack(at), Some(by), Mnemonic::Add) => Known::Stack(at + by),
                    (Known::Stack(at), Some(by), _) => Known::Stack(at - by),
                    _ => Known::Nothing,
                };
                return state.write(first, known);
            }
            _ => {}
        }
        if matches!(instruction.flow_control(), FlowControl::Call | FlowControl::IndirectCall) {
            // The callee preserves what it must, and may have taken its
            // arguments from the stack.
            for (number, known) in state.registers.iter_mut().enumerate() {
                if !CALLEE_SAVED.iter().any(|&saved| usize::from(saved) == number) {
                    *known = Known::Nothing;
                }
            }
            return;
        }
        let writes = |access| {
            matches!(
                access,
                OpAccess::Write
                    | OpAccess::CondWrite
                    | OpAccess::ReadWrite
                    | OpAccess::ReadCondWrite
            )
        };
        let info = self.info.info(instruction);
        for memory in info.used_memory().iter().filter(|memory| writes(memory.access())) {
            // Through other registers code writes to memories, not to what its
            // frame is made of.
            if memory.index() == Register::None
                && let Known::Stack(base) = state.read(memory.base())
            {
                let at = base.wrapping_add(memory.displacement().cast_signed());
                // Without a size of its own (`fxsave` and the like) it is large.
                let bytes = i64::try_from(memory.memory_size().size()).unwrap_or(i64::MAX);
                state.forget(at, if bytes == 0 { 1024 } else { bytes });
            }
        }
        for register in info.used_registers().iter().filter(|it| writes(it.access())) {
            state.write(register.register(), Known::Nothing);
        }
    }
}
