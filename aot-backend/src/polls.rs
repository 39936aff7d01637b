//! Polls in machine code: found, and made silent.
//!
//! Cranelift emits a poll as a load of the flag, perhaps within a comparison,
//! and a conditional branch. The code between the poll's mark and the branch is
//! decoded, and what belongs to the poll becomes NOPs; register moves that the
//! allocator put there stay. Where the cold path is a trap alone, the branch leads to
//! that trap, and the poll is marked by its source location. The bytes as they were go into the map: whoever
//! wants the poll to look at the flag writes them back.
//!
//! Branches that lead to a poll may lead past the NOPs that it begins with; which
//! they are is found as well, and written down for whoever loads the code
//! (`dwarf_map::detour`).
//!
//! Where the cold path follows the branch, which then skips it, the silent
//! branch is one that always does.
//!
//! In the code of other instruction sets than x86-64 polls stay armed: it is
//! emulated, and an emulator has translated it long before anybody could arm them.

use crate::anchors::{next_ahead, trap_after};
use crate::error::CompileError;
use crate::translate::StablePart;
use dwarf_map::detour::DISPLACEMENT;
use dwarf_map::{CodeOffset, Detour, InstanceLayout, Isa};
use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// A stable point in the code of a function; offsets count from its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Poll {
    /// First byte of the poll.
    pub start: u32,
    /// Its bytes as they were compiled.
    pub armed: Vec<u8>,
    /// As many, that do nothing.
    pub silent: Vec<u8>,
    /// How to get past it while it is silent.
    pub detour: Detour,
    /// Its first instruction that looks at the flag, behind what the register
    /// allocator put before it.
    pub looks: u32,
    /// Its branch.
    pub branch: u32,
    /// Where the branch leads that does not lead to the cold path.
    pub next: u32,
    /// First byte of the cold path.
    pub cold: u32,
    /// The cold path's trap instruction. Where the path is that alone, it does not lead
    /// back to `next`.
    pub trap: u32,
}

impl Poll {
    /// Finds the poll whose parts are marked there; `None` if it has no code.
    pub fn find(
        isa: Isa,
        code: &[u8],
        marks: [Option<u32>; 3],
    ) -> Result<Option<Poll>, CompileError> {
        let bug = |what: &str| CompileError::bug(format!("a poll {what}, {marks:x?}"));
        let part = |part: StablePart| marks[part as usize];
        let (start, inner, exit) =
            match (part(StablePart::Poll), part(StablePart::Cold), part(StablePart::Exit)) {
                (Some(poll), Some(cold), Some(exit)) => (poll, cold, Some(exit)),
                (Some(poll), None, None) => (poll, poll, None),
                (None, None, None) => return Ok(None),
                _ => return Err(bug("without one of its parts")),
            };
        let trap = match exit {
            Some(exit) => {
                let trap = trap_after(isa, code, exit);
                Some(trap.ok_or_else(|| bug("whose path has no trap"))?)
            }
            None => None,
        };
        if isa != Isa::X86_64 {
            let trap = trap.ok_or_else(|| bug("without a path"))?;
            return foreign(isa, code, (start, inner, trap)).map(Some).map_err(bug);
        }
        let mut silent = Silent::default();
        let mut looks = None;
        for instruction in decode(code, start) {
            let at = instruction.ip() as usize;
            let bytes = code.get(at..at + instruction.len()).unwrap_or_default();
            match instruction.flow_control() {
                FlowControl::Next if looks_at_flag(&instruction) => {
                    looks.get_or_insert(at as u32);
                    silent.nothing(bytes.len());
                }
                FlowControl::Next if is_move(&instruction) => silent.keep(bytes),
                FlowControl::ConditionalBranch => {
                    let end = instruction.next_ip() as u32;
                    let target = instruction.near_branch_target() as u32;
                    let lone = trap.is_none() && is_trap_alone(code, target);
                    let (cold, next) = if lone || trap.is_some() && leads_to(code, target, inner) {
                        silent.nothing(bytes.len());
                        (target, end)
                    } else if trap.is_some() && leads_to(code, end, inner) {
                        silent.keep(&always(bytes).ok_or_else(|| bug("with an odd branch"))?);
                        (end, target)
                    } else {
                        return Err(bug("that does not lead to its path"));
                    };
                    let armed = code.get(start as usize..end as usize).unwrap_or_default().to_vec();
                    let looks = looks.ok_or_else(|| bug("that does not look at the flag"))?;
                    let branch = at as u32;
                    let (silent, idle) = silent.finish();
                    return Ok(Some(Poll {
                        start,
                        armed,
                        silent,
                        detour: Detour { idle, ways: Vec::new() },
                        looks,
                        branch,
                        next,
                        cold,
                        trap: trap.unwrap_or(cold),
                    }));
                }
                _ => return Err(bug(&format!("with `{instruction}`"))),
            }
        }
        Err(bug("without a branch"))
    }

    /// Makes it silent in the code that it was found in.
    pub fn silence(&self, code: &mut [u8]) -> Result<(), CompileError> {
        let start = self.start as usize;
        let place = code.get_mut(start..start + self.silent.len());
        place
            .ok_or_else(|| CompileError::bug("a poll outside of the code"))?
            .copy_from_slice(&self.silent);
        Ok(())
    }
}

/// Finds the branches that lead to silent polls, in the code as it was compiled.
///
/// `sources` are the pieces of the code that have a source location. Each begins
/// with an instruction; behind a jump through a table the rest of a piece is the
/// table. A way that is not found is none the worse: it leads through the NOPs.
/// `relocated` are the fields that the linker fills in: the jump of a tail call goes to
/// the next instruction until then.
pub(crate) fn find_ways(
    code: &[u8],
    sources: &[Range<u32>],
    relocated: &HashSet<u32>,
    polls: &mut [Option<Poll>],
) {
    let mut by_start: HashMap<u64, &mut Detour> = polls
        .iter_mut()
        .flatten()
        .filter(|poll| poll.detour.idle > 0)
        .map(|poll| (u64::from(poll.start), &mut poll.detour))
        .collect();
    for piece in sources {
        let bytes = code.get(..piece.end as usize).unwrap_or_default();
        for instruction in decode(bytes, piece.start) {
            let long = match instruction.flow_control() {
                FlowControl::ConditionalBranch => instruction.len() == 2 + DISPLACEMENT,
                FlowControl::UnconditionalBranch => instruction.len() == 1 + DISPLACEMENT,
                FlowControl::IndirectBranch => break,
                _ => false,
            };
            let way = (instruction.next_ip() as u32).saturating_sub(DISPLACEMENT as u32);
            let long = long && !relocated.contains(&way);
            if long && let Some(detour) = by_start.get_mut(&instruction.near_branch_target()) {
                detour.ways.push(CodeOffset::new(way));
            }
        }
    }
    for poll in polls.iter_mut().flatten() {
        poll.detour.ways.sort_unstable();
        poll.detour.ways.dedup();
        if poll.detour.ways.is_empty() {
            poll.detour.idle = 0;
        }
    }
}

/// A poll between its mark and the conditional branch behind, in code of another
/// instruction set than x86-64. It stays as it is.
fn foreign(
    isa: Isa,
    code: &[u8],
    (start, inner, trap): (u32, u32, u32),
) -> Result<Poll, &'static str> {
    let mut start = start;
    let mut branch = start;
    let distance = loop {
        let rest = code.get(branch as usize..).unwrap_or_default();
        let length = isa.instruction_length(rest).ok_or("without a branch")?;
        let instruction = rest.get(..length).unwrap_or_default();
        if let Some(distance) = isa.conditional_branch(instruction) {
            break distance;
        }
        let next = next_ahead(isa, code, branch).filter(|next| *next > branch);
        let next = next.ok_or("that goes elsewhere")?;
        // What is before an island of veneers is left out.
        if (next - branch) as usize != length {
            start = next;
        }
        branch = next;
    };
    let rest = code.get(branch as usize..).unwrap_or_default();
    let end = branch + isa.instruction_length(rest).unwrap_or_default() as u32;
    let target = branch.checked_add_signed(distance).ok_or("with an odd branch")?;
    let (cold, next) = if runs_to(isa, code, target, inner) {
        (target, end)
    } else if runs_to(isa, code, end, inner) {
        (end, target)
    } else {
        return Err("that does not lead to its path");
    };
    let armed = code.get(start as usize..end as usize).unwrap_or_default().to_vec();
    let (silent, detour) = (armed.clone(), Detour::default());
    Ok(Poll { start, silent, armed, detour, looks: start, branch, next, cold, trap })
}

/// Most instructions from a branch to the mark of a cold path: jumps over islands of
/// veneers, and what the register allocator put there.
const MOST_BEFORE_MARK: usize = 1000;

/// Whether execution comes from `from` to `to` without a choice.
fn runs_to(isa: Isa, code: &[u8], from: u32, to: u32) -> bool {
    let mut at = Some(from);
    for _ in 0..MOST_BEFORE_MARK {
        match at {
            Some(here) if here != to => at = next_ahead(isa, code, here),
            here => return here.is_some(),
        }
    }
    false
}

fn decode(code: &[u8], from: u32) -> impl Iterator<Item = Instruction> + '_ {
    let bytes = code.get(from as usize..).unwrap_or_default();
    let mut decoder = Decoder::with_ip(64, bytes, u64::from(from), DecoderOptions::NONE);
    std::iter::from_fn(move || {
        let instruction = decoder.can_decode().then(|| decoder.decode())?;
        (!instruction.is_invalid()).then_some(instruction)
    })
}

/// A test of the flag, or its load and a test of what was loaded.
fn looks_at_flag(instruction: &Instruction) -> bool {
    let flag = u64::from(InstanceLayout::FLAG);
    let flag = flag..flag + u64::from(InstanceLayout::FLAG_SIZE);
    let flag = flag.contains(&instruction.memory_displacement64())
        && instruction.memory_index() == Register::None
        && !matches!(instruction.memory_base(), Register::RSP | Register::RBP | Register::None);
    let memory = (0..instruction.op_count()).any(|op| instruction.op_kind(op) == OpKind::Memory);
    match instruction.mnemonic() {
        Mnemonic::Mov => {
            memory
                && flag
                && instruction.op0_kind() == OpKind::Register
                && instruction.op0_register().size() == 8
        }
        Mnemonic::Test => !memory || flag,
        _ => false,
    }
}

/// Moves between registers and the frame, which set no flags.
fn is_move(instruction: &Instruction) -> bool {
    matches!(
        instruction.mnemonic(),
        Mnemonic::Mov
            | Mnemonic::Movaps
            | Mnemonic::Movapd
            | Mnemonic::Movups
            | Mnemonic::Movupd
            | Mnemonic::Movdqa
            | Mnemonic::Movdqu
            | Mnemonic::Movss
            | Mnemonic::Movsd
            | Mnemonic::Vmovaps
            | Mnemonic::Vmovapd
            | Mnemonic::Vmovups
            | Mnemonic::Vmovupd
            | Mnemonic::Vmovdqa
            | Mnemonic::Vmovdqu
            | Mnemonic::Vmovss
            | Mnemonic::Vmovsd
    ) && (0..instruction.op_count()).all(|op| match instruction.op_kind(op) {
        OpKind::Register => true,
        OpKind::Memory => matches!(instruction.memory_base(), Register::RSP | Register::RBP),
        _ => false,
    })
}

/// Whether there is what Cranelift makes of a trap (`ud2`).
fn is_trap_alone(code: &[u8], at: u32) -> bool {
    code.get(at as usize..).is_some_and(|rest| rest.starts_with(&Isa::UD2))
}

/// Whether execution goes from `from` straight to `to`.
fn leads_to(code: &[u8], from: u32, to: u32) -> bool {
    if from > to {
        return false;
    }
    decode(code, from)
        .take_while(|instruction| {
            instruction.ip() < u64::from(to) && instruction.flow_control() == FlowControl::Next
        })
        .last()
        .map_or(from, |last| last.next_ip() as u32)
        == to
}

/// The bytes of a silent poll. What does nothing is gathered, so that it becomes
/// as few NOPs as can be: in a short loop each of them counts.
#[derive(Default)]
struct Silent {
    bytes: Vec<u8>,
    /// Bytes behind them that are to do nothing.
    nothing: usize,
    /// Bytes before the first that does something, once there is one.
    idle: Option<usize>,
}

impl Silent {
    fn nothing(&mut self, length: usize) {
        self.nothing += length;
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.idle.get_or_insert(self.nothing);
        self.bytes.extend(nops(std::mem::take(&mut self.nothing)));
        self.bytes.extend(bytes);
    }

    /// The bytes, and how many of the first do nothing.
    fn finish(mut self) -> (Vec<u8>, u32) {
        self.keep(&[]);
        (self.bytes, self.idle.unwrap_or(0) as u32)
    }
}

/// NOPs of up to eleven bytes each: the forms that Intel recommends (SDM volume 2,
/// `NOP`), the longest with two more operand-size prefixes, which decoders of
/// this century take at full speed (AMD's optimisation guides list them).
fn nops(length: usize) -> Vec<u8> {
    const NOPS: [&[u8]; 11] = [
        &[0x90],
        &[0x66, 0x90],
        &[0x0f, 0x1f, 0x00],
        &[0x0f, 0x1f, 0x40, 0x00],
        &[0x0f, 0x1f, 0x44, 0x00, 0x00],
        &[0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00],
        &[0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00],
        &[0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
        &[0x66, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
        &[0x66, 0x66, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
        &[0x66, 0x66, 0x66, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
    ];
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let next = (length - bytes.len()).min(NOPS.len());
        bytes.extend(NOPS[next - 1]);
    }
    bytes
}

/// A jump that ends where the conditional one does, and goes where it goes.
fn always(conditional: &[u8]) -> Option<Vec<u8>> {
    match *conditional {
        [0x0f, 0x80..=0x8f, a, b, c, d] => Some(vec![0x90, 0xe9, a, b, c, d]),
        [0x70..=0x7f, distance] => Some(vec![0xeb, distance]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// test [rdi + 24], rdi; jne or je; and what follows.
    fn code(branch: u8, distance: i32, behind: &[u8]) -> Vec<u8> {
        let mut code = vec![0x48, 0x85, 0x7f, 0x18, 0x0f, branch];
        code.extend(distance.to_le_bytes());
        code.extend(behind);
        code
    }

    #[test]
    fn a_branch_to_the_path_becomes_a_nop() {
        // nop; ret | mov eax, eax; int3
        let code = code(0x85, 2, &[0x90, 0xc3, 0x89, 0xc0, 0xcc]);
        let poll = Poll::find(Isa::X86_64, &code, [Some(0), Some(14), Some(14)])
            .expect("found")
            .expect("code");
        assert_eq!((poll.start, poll.cold, poll.trap), (0, 12, 14));
        assert_eq!((poll.looks, poll.branch, poll.next), (0, 4, 10));
        assert_eq!(poll.armed, code[..10]);
        let mut silent = code.clone();
        poll.silence(&mut silent).expect("in the code");
        let all: Vec<Instruction> = decode(&silent, 0).take(1).collect();
        assert_eq!((all[0].mnemonic(), all[0].len()), (Mnemonic::Nop, 10));
        assert_eq!(silent[10..], code[10..]);
    }

    #[test]
    fn a_branch_around_the_path_becomes_a_jump() {
        // int3 | ret
        let code = code(0x84, 1, &[0xcc, 0xc3]);
        let poll = Poll::find(Isa::X86_64, &code, [Some(0), Some(10), Some(10)])
            .expect("found")
            .expect("code");
        assert_eq!((poll.cold, poll.trap, poll.next), (10, 10, 11));
        let mut silent = code.clone();
        poll.silence(&mut silent).expect("in the code");
        let jump = decode(&silent, 0).find(|i| i.mnemonic() == Mnemonic::Jmp).expect("a jump");
        assert_eq!(jump.near_branch_target(), 11);
    }

    #[test]
    fn a_poll_without_a_path_leads_to_its_trap() {
        // nop; ret | ud2
        let code = code(0x85, 2, &[0x90, 0xc3, 0x0f, 0x0b]);
        let lone = [Some(0), None, None];
        let poll = Poll::find(Isa::X86_64, &code, lone).expect("found").expect("code");
        assert_eq!((poll.start, poll.looks, poll.branch, poll.next), (0, 0, 4, 10));
        assert_eq!((poll.cold, poll.trap), (12, 12));
        let mut silent = code.clone();
        poll.silence(&mut silent).expect("in the code");
        assert_eq!(silent[..10], nops(10));
        assert_eq!(silent[10..], code[10..]);
        // A branch around the trap, and one past it, are no such polls.
        for (branch, behind) in [(0x84, [0x0f, 0x0b, 0xc3, 0x90]), (0x85, [0xc3, 0x90, 0x0f, 0x0b])]
        {
            let distance = if branch == 0x84 { 2 } else { 1 };
            let code = self::code(branch, distance, &behind);
            assert!(Poll::find(Isa::X86_64, &code, lone).is_err());
        }
    }

    #[test]
    fn branches_lead_past_what_does_nothing() {
        // The poll; jb to it; jmp to it; a short one; jmp rax, and bytes like a jump to it.
        let mut bytes = code(0x85, 33, &[]);
        bytes.extend([0x0f, 0x82]);
        bytes.extend((-16_i32).to_le_bytes());
        bytes.push(0xe9);
        bytes.extend((-21_i32).to_le_bytes());
        bytes.extend([0xeb, (-23_i8).cast_unsigned(), 0xff, 0xe0, 0xe9]);
        bytes.extend((-30_i32).to_le_bytes());
        bytes.resize(43, 0xcc);
        bytes.extend(Isa::UD2);
        let find = |sources: &[Range<u32>], relocated: &[u32]| {
            let lone = [Some(0), None, None];
            let mut polls = [Poll::find(Isa::X86_64, &bytes, lone).expect("found"), None];
            find_ways(&bytes, sources, &relocated.iter().copied().collect(), &mut polls);
            let [Some(poll), None] = polls else { panic!("no poll") };
            (poll.detour.idle, poll.detour.ways.iter().map(|way| way.get()).collect::<Vec<_>>())
        };
        assert_eq!(find(&[0..10, 10..16, 16..30], &[]), (10, vec![12, 17]));
        assert_eq!(find(&[0..10, 16..21, 16..30], &[]), (10, vec![17]));
        assert_eq!(find(&[0..10, 21..30], &[]), (0, vec![]));
        // What the linker fills in leads elsewhere then.
        assert_eq!(find(&[0..10, 10..16, 16..30], &[17]), (10, vec![12]));
        assert_eq!(find(&[0..10, 10..16, 16..30], &[12, 17]), (0, vec![]));
    }

    #[test]
    fn what_is_no_poll_is_refused() {
        let ret = [0xc3];
        assert!(Poll::find(Isa::X86_64, &ret, [Some(0), Some(0), Some(0)]).is_err());
        assert!(Poll::find(Isa::X86_64, &ret, [Some(0), None, None]).is_err());
        assert!(matches!(Poll::find(Isa::X86_64, &ret, [None; 3]), Ok(None)));
        // A branch that leads elsewhere.
        let code = code(0x85, 1, &[0x90, 0xcc, 0x90, 0xcc]);
        assert!(Poll::find(Isa::X86_64, &code, [Some(0), Some(13), Some(13)]).is_err());
        // An addition before the branch.
        assert!(
            Poll::find(Isa::X86_64, &[0x01, 0xc0, 0x75, 0, 0xcc], [Some(0), Some(4), Some(4)])
                .is_err()
        );
    }

    #[test]
    fn polls_of_other_instruction_sets_stay_as_they_are() {
        let words = |words: &[u32]| -> Vec<u8> {
            words.iter().flat_map(|word| word.to_le_bytes()).collect()
        };
        // ldr w1, [x0, #8]; cbnz w1, +12; ret; nop | mov x0, x1; brk
        let mut code = words(&[0xb940_0801, 0x3500_0061, 0xd65f_03c0, 0xd503_201f, 0xaa01_03e0]);
        code.extend(Isa::Aarch64.trap());
        let find = |isa, code: &[u8], marks: [u32; 3]| Poll::find(isa, code, marks.map(Some));
        let poll = find(Isa::Aarch64, &code, [0, 20, 20]).expect("found").expect("code");
        assert_eq!((poll.start, poll.branch, poll.next, poll.cold, poll.trap), (0, 4, 8, 16, 20));
        assert_eq!(poll.armed, code[..8]);
        let mut silent = code.clone();
        poll.silence(&mut silent).expect("in the code");
        assert_eq!(silent, code);
        // Through a veneer: lw a1, 8(a0); bnez a1, +8; ret; auipc t0, 0; jr 12(t0); ret | ebreak
        let mut code =
            words(&[0x0085_2583, 0x0005_9463, 0x0000_8067, 0x0000_0297, 0x00c2_8067, 0x0000_8067]);
        code.extend(Isa::Riscv64.trap());
        let poll = find(Isa::Riscv64, &code, [0, 24, 24]).expect("found").expect("code");
        assert_eq!((poll.cold, poll.trap, poll.next), (12, 24, 8));
        // An island between load and branch: lw; j +12; two words; bnez a1, +4; ebreak
        let mut code = words(&[0x0085_2583, 0x00c0_006f, 0, 0, 0x0005_9263]);
        code.extend(Isa::Riscv64.trap());
        let poll = find(Isa::Riscv64, &code, [0, 20, 20]).expect("found").expect("code");
        assert_eq!((poll.start, poll.branch, poll.cold, poll.trap), (16, 16, 20, 20));
        let mut code =
            words(&[0x0085_2583, 0x0005_9463, 0x0000_8067, 0x0000_0297, 0x00c2_8067, 0x0000_8067]);
        code.extend(Isa::Riscv64.trap());
        // A branch that leads elsewhere, a return before the branch, no branch.
        assert!(find(Isa::Riscv64, &code, [0, 20, 24]).is_err());
        assert!(find(Isa::Riscv64, &code, [8, 24, 24]).is_err());
        assert!(find(Isa::Aarch64, Isa::Aarch64.trap(), [0, 0, 0]).is_err());
    }

    #[test]
    fn nops_have_any_length() {
        for length in 0..40 {
            let bytes = nops(length);
            assert_eq!(bytes.len(), length);
            assert!(decode(&bytes, 0).all(|i| i.mnemonic() == Mnemonic::Nop));
        }
    }
}
