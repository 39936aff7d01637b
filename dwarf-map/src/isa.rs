//! What the map has to know about an instruction set.
//!
//! Registers have DWARF numbers, which each psABI hands out as it likes; a trap
//! instruction has a length, and the processor reports its own address for it or
//! the one behind it; a return address is on the stack or in a register. All of
//! that is in this table, and nothing else in the crate tells instruction sets
//! apart by name. The conventions are those of Cranelift's code: System V of the
//! instruction set with the differences that `tail` makes.
//!
//! | | stack pointer | return address | vectors | trap | reported |
//! |---|---|---|---|---|---|
//! | x86_64 | 7 | on the stack | 17-32 | `CC` | behind it |
//! | aarch64 | 31 | 30 | 64-95 | `brk #0xf000` | at it |
//! | riscv64 | 2 | 1 | 32-63 (floats), 96-127 | `ebreak` | at it |
//! | s390x | 15 | 14 | 16-31, 68-83 | `00 01` | behind it |

use crate::{CodeOffset, DwarfReg};

/// An instruction set that images are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Isa {
    /// x86-64, System V.
    #[default]
    X86_64,
    /// Armv8-A, AAPCS64.
    Aarch64,
    /// RV64GC, LP64D.
    Riscv64,
    /// z/Architecture, from z14 on. Big-endian.
    S390x,
}

impl Isa {
    /// An instruction of x86-64 that is none (Intel SDM volume 2, `UD`).
    pub const UD2: [u8; 2] = [0x0f, 0x0b];

    /// Every one.
    pub const ALL: [Isa; 4] = [Isa::X86_64, Isa::Aarch64, Isa::Riscv64, Isa::S390x];

    /// Most general registers of any of them.
    pub const MOST_GENERAL: usize = 32;

    /// The name on the command line, in reports and in maps.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::X86_64 => "x86_64",
            Isa::Aarch64 => "aarch64",
            Isa::Riscv64 => "riscv64",
            Isa::S390x => "s390x",
        }
    }

    /// The instruction set with a name.
    pub fn from_name(name: &str) -> Option<Isa> {
        Self::ALL.into_iter().find(|isa| isa.name() == name)
    }

    /// Whether words in registers' order lie in memory with the highest byte
    /// first. That concerns the native stack and DWARF; instance data and linear
    /// memories are little-endian everywhere.
    pub const fn is_big_endian(self) -> bool {
        matches!(self, Isa::S390x)
    }

    /// DWARF number of the stack pointer.
    pub const fn stack_pointer(self) -> DwarfReg {
        DwarfReg(match self {
            Isa::X86_64 => 7,
            Isa::Aarch64 => 31,
            Isa::Riscv64 => 2,
            Isa::S390x => 15,
        })
    }

    /// DWARF number of the frame pointer; s390x has none.
    pub const fn frame_pointer(self) -> Option<DwarfReg> {
        match self {
            Isa::X86_64 => Some(DwarfReg(6)),
            Isa::Aarch64 => Some(DwarfReg(29)),
            Isa::Riscv64 => Some(DwarfReg(8)),
            Isa::S390x => None,
        }
    }

    /// Column of the return address in call frame information. But for x86-64 it
    /// is the register that calls leave it in.
    pub const fn return_column(self) -> u16 {
        match self {
            Isa::X86_64 => 16,
            Isa::Aarch64 => 30,
            Isa::Riscv64 => 1,
            Isa::S390x => 14,
        }
    }

    /// Where a function's return address is once its frame is set up, in bytes
    /// from the canonical frame address.
    pub const fn return_address_at(self) -> i64 {
        match self {
            Isa::X86_64 | Isa::Aarch64 | Isa::Riscv64 => -8,
            // The slot of r14 in the register save area.
            Isa::S390x => -48,
        }
    }

    /// The canonical frame address, less the stack pointer that a function
    /// leaves behind when it has returned and removed its arguments.
    pub const fn cfa_above_stack(self) -> i64 {
        match self {
            Isa::X86_64 | Isa::Aarch64 | Isa::Riscv64 => 0,
            // The register save area belongs to the caller's frame.
            Isa::S390x => 160,
        }
    }

    /// Bytes below the canonical frame address that never hold a value of the
    /// program's: return address, frame pointer, register save area.
    pub const fn linkage(self) -> i64 {
        match self {
            Isa::X86_64 => 8,
            Isa::Aarch64 | Isa::Riscv64 => 16,
            Isa::S390x => 160,
        }
    }

    /// DWARF numbers of the general registers, the stack pointer included.
    pub const fn general_registers(self) -> std::ops::Range<u16> {
        match self {
            Isa::X86_64 | Isa::S390x => 0..16,
            Isa::Aarch64 => 0..32,
            // x0 is no register.
            Isa::Riscv64 => 1..32,
        }
    }

    /// Whether a value can be in this general register: it is one, and not the
    /// stack pointer.
    pub fn is_general(self, register: DwarfReg) -> bool {
        self.general_registers().contains(&register.0) && register != self.stack_pointer()
    }

    /// The number of a register for floats or vectors, 0-31, that the instruction set
    /// gives it; `None` for other DWARF numbers. On riscv64, which has both apart,
    /// vectors follow the floats: 32-63.
    pub const fn vector_register(self, register: DwarfReg) -> Option<u16> {
        /// DWARF numbers of f0 to f15: even ones first (s390x ELF ABI supplement).
        const FLOATS: [u16; 16] = [0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15];
        match (self, register.0) {
            (Isa::X86_64, number @ 17..=32) => Some(number - 17),
            (Isa::Aarch64, number @ 64..=95) => Some(number - 64),
            (Isa::Riscv64, number @ 32..=63) => Some(number - 32),
            (Isa::Riscv64, number @ 96..=127) => Some(number - 64),
            (Isa::S390x, number @ 16..=31) => Some(FLOATS[number as usize - 16]),
            (Isa::S390x, number @ 68..=83) => Some(FLOATS[number as usize - 68] + 16),
            _ => None,
        }
    }

    /// General registers that a function hands back unchanged, by DWARF number,
    /// without the stack pointer.
    pub const fn callee_saved(self) -> &'static [u16] {
        match self {
            Isa::X86_64 => &[3, 6, 12, 13, 14, 15],
            Isa::Aarch64 => &[19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29],
            Isa::Riscv64 => &[8, 9, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27],
            Isa::S390x => &[8, 9, 10, 11, 12, 13],
        }
    }

    /// Whether a general register keeps its value across a call.
    pub fn is_callee_saved(self, register: DwarfReg) -> bool {
        self.callee_saved().contains(&register.0)
    }

    /// The registers in which an entry takes its three operands.
    pub const fn parameters(self) -> [DwarfReg; 3] {
        match self {
            Isa::X86_64 => [DwarfReg(5), DwarfReg(4), DwarfReg(1)],
            Isa::Aarch64 => [DwarfReg(0), DwarfReg(1), DwarfReg(2)],
            Isa::Riscv64 => [DwarfReg(10), DwarfReg(11), DwarfReg(12)],
            Isa::S390x => [DwarfReg(2), DwarfReg(3), DwarfReg(4)],
        }
    }

    /// The register in which a handler takes the reference to the exception.
    pub const fn payload(self) -> DwarfReg {
        DwarfReg(match self {
            Isa::X86_64 | Isa::Aarch64 => 0,
            Isa::Riscv64 => 10,
            Isa::S390x => 6,
        })
    }

    /// The trap instruction of anchors, thunks and entries.
    pub const fn trap(self) -> &'static [u8] {
        match self {
            Isa::X86_64 => &[0xcc],
            Isa::Aarch64 => &[0x00, 0x00, 0x3e, 0xd4],
            Isa::Riscv64 => &[0x73, 0x00, 0x10, 0x00],
            Isa::S390x => &[0x00, 0x01],
        }
    }

    /// Bytes from a trap instruction to the PC that is reported when it was
    /// executed.
    pub const fn trap_reported_at(self) -> u32 {
        match self {
            Isa::X86_64 => 1,
            Isa::Aarch64 | Isa::Riscv64 => 0,
            Isa::S390x => 2,
        }
    }

    /// What fills the gaps between functions: running into one stops at once.
    pub fn filler(self, bytes: usize) -> impl Iterator<Item = u8> {
        self.trap().iter().copied().cycle().take(bytes)
    }

    /// An instruction that does nothing and is as long as [`Isa::trap`].
    pub const fn silent_trap(self) -> &'static [u8] {
        match self {
            Isa::X86_64 => &[0x90],
            // nop; addi x0, x0, 0; bcr 0, %r0
            Isa::Aarch64 => &[0x1f, 0x20, 0x03, 0xd5],
            Isa::Riscv64 => &[0x13, 0x00, 0x00, 0x00],
            Isa::S390x => &[0x07, 0x00],
        }
    }

    /// Whether there is a trap at an offset of the code that can be all of a cold path:
    /// a trap instruction, or the one that compilers end dead ends with.
    pub fn is_lone_trap(self, text: &[u8], at: CodeOffset) -> bool {
        let rest = usize::try_from(at.get()).ok().and_then(|at| text.get(at..));
        self.is_trap(text, at)
            || self == Isa::X86_64 && rest.is_some_and(|rest| rest.starts_with(&Self::UD2))
    }

    /// Whether there is a trap instruction at an offset of the code.
    pub fn is_trap(self, text: &[u8], at: CodeOffset) -> bool {
        let rest = usize::try_from(at.get()).ok().and_then(|at| text.get(at..));
        rest.is_some_and(|rest| rest.starts_with(self.trap()))
    }

    /// Bytes of the instruction at the start of `code`; `None` where that takes
    /// decoding (x86-64), or bytes are missing.
    pub fn instruction_length(self, code: &[u8]) -> Option<usize> {
        let first = *code.first()?;
        let length = match self {
            Isa::X86_64 => return None,
            Isa::Aarch64 => 4,
            Isa::Riscv64 if first & 3 == 3 => 4,
            Isa::Riscv64 => 2,
            Isa::S390x => match first >> 6 {
                0 => 2,
                1 | 2 => 4,
                _ => 6,
            },
        };
        (code.len() >= length).then_some(length)
    }

    /// Whether a call instruction, direct ones to an address in the text, ends
    /// right before a return address. x86-64 takes decoding and is not answered
    /// here.
    pub(crate) fn follows_call(self, text: &[u8], return_address: CodeOffset) -> Option<bool> {
        let before = text.get(..return_address.get() as usize)?;
        let in_text = |from: usize, distance: i64| {
            let target = (from as i64).checked_add(distance);
            target.and_then(|at| usize::try_from(at).ok()).is_some_and(|at| at < text.len())
        };
        Some(match self {
            Isa::X86_64 => return None,
            Isa::Aarch64 => before.split_last_chunk().is_some_and(|(rest, word)| {
                let word = u32::from_le_bytes(*word);
                // `bl`, 26 bits of words; `blr`.
                let distance = i64::from((word << 6).cast_signed() >> 6) * 4;
                word & 0xfffffc1f == 0xd63f0000
                    || word >> 26 == 0b100101 && in_text(rest.len(), distance)
            }),
            Isa::Riscv64 => before.split_last_chunk().is_some_and(|(rest, word)| {
                // `jalr ra, offset(register)`, behind an `auipc` of the same
                // register if it is a direct call.
                let word = u32::from_le_bytes(*word);
                let low = i64::from(word.cast_signed() >> 20);
                let page = rest.split_last_chunk().map(|(_, word)| u32::from_le_bytes(*word));
                let direct = page.filter(|page| {
                    page & 0x7f == 0x17 && page >> 7 & 31 == word >> 15 & 31 && low != 0
                });
                word & 0x7fff == 0x00e7
                    && direct.is_none_or(|page| {
                        let high = i64::from((page & 0xfffff000).cast_signed());
                        in_text(rest.len().saturating_sub(4), high + low)
                    })
            }),
            Isa::S390x => {
                let long = before.split_last_chunk::<6>().is_some_and(|(rest, code)| match *code {
                    // brasl %r14, 32 bits of halfwords
                    [0xc0, 0xe5, a, b, c, d] => {
                        let distance = i64::from(i32::from_be_bytes([a, b, c, d])) * 2;
                        in_text(rest.len(), distance)
                    }
                    _ => false,
                });
                // basr %r14, register
                long || before.split_last_chunk::<2>().is_some_and(|(_, code)| {
                    code[0] == 0x0d && code[1] >> 4 == 14 && code[1] & 15 != 0
                })
            }
        })
    }

    /// Whether an instruction leaves control anywhere but behind itself: jumps,
    /// calls, returns. Of x86-64 nothing is answered here.
    pub fn transfers_control(self, instruction: &[u8]) -> bool {
        match (self, instruction) {
            // Branches, exceptions and system instructions are one class of the
            // encoding.
            (Isa::Aarch64, [.., high]) => high >> 2 & 7 == 0b101,
            (Isa::Riscv64, [low, _, _, _]) => {
                matches!(low & 0x7f, 0x63 | 0x67 | 0x6f | 0x73)
            }
            (Isa::Riscv64, [low, high]) => {
                let (quadrant, function) = (low & 3, high >> 5);
                let jumps_by_register =
                    quadrant == 2 && function == 4 && low & 0x7c == 0 && high & 15 | low >> 7 != 0;
                quadrant == 1 && matches!(function, 5..=7) || jumps_by_register
            }
            (Isa::S390x, [operation, second, ..]) => match (operation, second & 15) {
                (0x05 | 0x06 | 0x07 | 0x0a | 0x0b | 0x0c | 0x0d | 0x45 | 0x46 | 0x47, _)
                | (0x4d | 0x84 | 0x85, _)
                | (0xa7, 4..=7)
                | (0xc0, 4 | 5)
                | (0xcc, 6) => true,
                (0xec, _) => matches!(
                    instruction.last(),
                    Some(0x44 | 0x45 | 0x64 | 0x65 | 0x76 | 0x77 | 0x7c..=0x7f)
                ),
                (0xe5, _) => false,
                _ => false,
            },
            _ => false,
        }
    }

    /// Bytes from a conditional branch to where it leads when it is taken; `None`
    /// for what is none. Of x86-64 nothing is answered here.
    pub fn conditional_branch(self, instruction: &[u8]) -> Option<i32> {
        let word = little_word(instruction);
        match (self, instruction) {
            // b.cond, cbz, cbnz; tbz, tbnz
            (Isa::Aarch64, _) if word? >> 24 == 0x54 || word? >> 25 & 0x3f == 0b01_1010 => {
                Some(signed(word? >> 5, 19) * 4)
            }
            (Isa::Aarch64, _) if word? >> 25 & 0x3f == 0b01_1011 => {
                Some(signed(word? >> 5, 14) * 4)
            }
            (Isa::Riscv64, _) if word? & 0x7f == 0x63 => {
                let word = word?;
                let field =
                    |from: u32, bits: u32, to: u32| (word >> from & ((1 << bits) - 1)) << to;
                let distance =
                    field(31, 1, 12) | field(7, 1, 11) | field(25, 6, 5) | field(8, 4, 1);
                Some(signed(distance, 13))
            }
            // brc and brcl but with the masks of never and of always; compare and branch
            (Isa::S390x, &[0xa7, mask @ 0x10..=0xef, high, low]) if mask & 15 == 4 => {
                Some(i32::from(i16::from_be_bytes([high, low])) * 2)
            }
            (Isa::S390x, &[0xc0, mask @ 0x10..=0xef, a, b, c, d]) if mask & 15 == 4 => {
                i32::from_be_bytes([a, b, c, d]).checked_mul(2)
            }
            (Isa::S390x, &[0xec, _, high, low, _, 0x64 | 0x65 | 0x76 | 0x77 | 0x7c..=0x7f]) => {
                Some(i32::from(i16::from_be_bytes([high, low])) * 2)
            }
            _ => None,
        }
    }

    /// Likewise, of a direct jump that is always taken and is no call.
    pub fn jump(self, instruction: &[u8]) -> Option<i32> {
        let word = little_word(instruction);
        match (self, instruction) {
            // b
            (Isa::Aarch64, _) if word? >> 26 == 0b00_0101 => Some(signed(word?, 26) * 4),
            // jal zero
            (Isa::Riscv64, _) if word? & 0xfff == 0x06f => {
                let word = word?;
                let field =
                    |from: u32, bits: u32, to: u32| (word >> from & ((1 << bits) - 1)) << to;
                let distance =
                    field(31, 1, 20) | field(12, 8, 12) | field(20, 1, 11) | field(21, 10, 1);
                Some(signed(distance, 21))
            }
            (Isa::S390x, &[0xa7, 0xf4, high, low]) => {
                Some(i32::from(i16::from_be_bytes([high, low])) * 2)
            }
            (Isa::S390x, &[0xc0, 0xf4, a, b, c, d]) => {
                i32::from_be_bytes([a, b, c, d]).checked_mul(2)
            }
            _ => None,
        }
    }

    /// Bytes from the call instruction that `code` begins with to what it calls;
    /// `None` for anything but a call of a fixed place.
    pub(crate) fn direct_call(self, code: &[u8]) -> Option<i32> {
        let word = little_word(code.get(..4)?)?;
        match (self, code) {
            (Isa::X86_64, &[0xe8, a, b, c, d, ..]) => {
                i32::from_le_bytes([a, b, c, d]).checked_add(5)
            }
            // bl
            (Isa::Aarch64, _) if word >> 26 == 0b10_0101 => Some(signed(word, 26) * 4),
            // auipc ra, high; jalr ra, low(ra)
            (Isa::Riscv64, _) if word & 0xfff == 0x097 => {
                let jump = little_word(code.get(4..8)?)?;
                let low = jump.cast_signed() >> 20;
                let high = (word & 0xffff_f000).cast_signed();
                (jump & 0xf_ffff == 0x0_80e7).then_some(high.wrapping_add(low))
            }
            // brasl %r14
            (Isa::S390x, &[0xc0, 0xe5, a, b, c, d, ..]) => {
                i32::from_be_bytes([a, b, c, d]).checked_mul(2)
            }
            _ => None,
        }
    }

    /// How people call a register with a DWARF number; `None` for x86-64 and
    /// numbers that are no register's.
    pub fn register_name(self, register: DwarfReg) -> Option<String> {
        let vector = self.vector_register(register);
        Some(match (self, register.0, vector) {
            (Isa::X86_64, ..) => return None,
            (Isa::Aarch64, 31, _) => "sp".to_owned(),
            (Isa::Aarch64, number @ 0..=30, _) => format!("x{number}"),
            (Isa::Riscv64, number @ 0..=31, _) => {
                const NAMES: [&str; 32] = [
                    "zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2",
                    "a3", "a4", "a5", "a6", "a7", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9",
                    "s10", "s11", "t3", "t4", "t5", "t6",
                ];
                NAMES[usize::from(number)].to_owned()
            }
            (Isa::S390x, number @ 0..=15, _) => format!("r{number}"),
            (Isa::Riscv64, _, Some(number @ 0..=31)) => format!("f{number}"),
            (Isa::Riscv64, _, Some(number)) => format!("v{}", number - 32),
            (_, _, Some(number)) => format!("v{number}"),
            _ => return None,
        })
    }
}

/// An instruction of four bytes, low ones first.
fn little_word(instruction: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(instruction.try_into().ok()?))
}

/// The low bits of a word as a signed number.
const fn signed(word: u32, bits: u32) -> i32 {
    (word << (32 - bits)).cast_signed() >> (32 - bits)
}

impl crate::ImageMap {
    /// The instruction set of the code.
    pub fn isa(&self) -> Isa {
        self.producer.target
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back() {
        for isa in Isa::ALL {
            assert_eq!(Isa::from_name(isa.name()), Some(isa));
            assert!(!isa.is_general(isa.stack_pointer()));
            assert!(isa.callee_saved().iter().all(|number| isa.is_general(DwarfReg(*number))));
            assert!(isa.parameters().into_iter().all(|register| isa.is_general(register)));
        }
        assert_eq!(Isa::from_name("mips"), None);
    }

    #[test]
    fn each_vector_register_has_one_number() {
        for (isa, count) in
            [(Isa::X86_64, 16), (Isa::Aarch64, 32), (Isa::Riscv64, 64), (Isa::S390x, 32)]
        {
            let mut found: Vec<u16> =
                (0..200).filter_map(|number| isa.vector_register(DwarfReg(number))).collect();
            found.sort_unstable();
            assert_eq!(found, (0..count).collect::<Vec<u16>>(), "{isa:?}");
        }
        assert_eq!(Isa::S390x.vector_register(DwarfReg(17)), Some(2));
        assert_eq!(Isa::S390x.vector_register(DwarfReg(72)), Some(17));
    }

    #[test]
    fn calls_are_known_by_their_bytes() {
        let after = |isa: Isa, code: &[u8]| {
            let text = [code, &[0; 32]].concat();
            isa.follows_call(&text, CodeOffset::new(code.len() as u32))
        };
        let words = |words: &[u32]| -> Vec<u8> {
            words.iter().flat_map(|word| word.to_le_bytes()).collect()
        };
        for (isa, code, is_call) in [
            (Isa::Aarch64, words(&[0x9400_0002]), true),  // bl +8
            (Isa::Aarch64, words(&[0x9700_0000]), false), // bl far before the text
            (Isa::Aarch64, words(&[0xd63f_0120]), true),  // blr x9
            (Isa::Aarch64, words(&[0xd61f_0120]), false), // br x9
            (Isa::Riscv64, words(&[0x0000_0097, 0x0100_80e7]), true), // auipc ra; jalr 16(ra)
            (Isa::Riscv64, words(&[0x7000_0097, 0x0100_80e7]), false),
            (Isa::Riscv64, words(&[0x0005_80e7]), true), // jalr a1
            (Isa::Riscv64, words(&[0x0000_8067]), false), // ret
            (Isa::S390x, vec![0xc0, 0xe5, 0, 0, 0, 8], true), // brasl %r14, .+16
            (Isa::S390x, vec![0xc0, 0xe5, 0x7f, 0, 0, 8], false),
            (Isa::S390x, vec![0x0d, 0xe1], true), // basr %r14, %r1
            (Isa::S390x, vec![0x07, 0xfe], false), // br %r14
        ] {
            assert_eq!(after(isa, &code), Some(is_call), "{isa:?} {code:x?}");
        }
        assert_eq!(after(Isa::X86_64, &[0xe8, 0, 0, 0, 0]), None);
    }

    #[test]
    fn direct_calls_have_targets() {
        for (isa, code, target) in [
            (Isa::X86_64, &[0xe8, 0xf8, 0xff, 0xff, 0xff][..], Some(-3)),
            (Isa::X86_64, &[0xff, 0x50, 0x10, 0x90, 0x90], None),
            (Isa::Aarch64, &[0xff, 0xff, 0xff, 0x97], Some(-4)), // bl .-4
            (Isa::Aarch64, &[0x20, 0x01, 0x3f, 0xd6], None),     // blr x9
            (Isa::Riscv64, &[0x97, 0x10, 0, 0, 0xe7, 0x80, 0xc0, 0xff], Some(0xffc)),
            (Isa::Riscv64, &[0x97, 0x10, 0, 0, 0x67, 0x80, 0xc0, 0xff], None),
            (Isa::S390x, &[0xc0, 0xe5, 0xff, 0xff, 0xff, 0xfe], Some(-4)),
            (Isa::S390x, &[0x0d, 0xe1, 0x07, 0x07], None),
        ] {
            assert_eq!(isa.direct_call(code), target, "{isa:?} {code:x?}");
        }
    }

    #[test]
    fn branches_have_targets() {
        for (isa, code, conditional, always) in [
            (Isa::Aarch64, &[0x40, 0x00, 0x00, 0x54][..], Some(8), None), // b.eq .+8
            (Isa::Aarch64, &[0xe0, 0xff, 0xff, 0xb5], Some(-4), None),    // cbnz x0, .-4
            (Isa::Aarch64, &[0x40, 0x00, 0x00, 0x35], Some(8), None),     // cbnz w0, .+8
            (Isa::Aarch64, &[0x40, 0x00, 0x08, 0x37], Some(8), None),     // tbnz w0, #1, .+8
            (Isa::Aarch64, &[0xff, 0xff, 0xff, 0x17], None, Some(-4)),    // b .-4
            (Isa::Aarch64, &[0xff, 0xff, 0xff, 0x97], None, None),        // bl .-4
            (Isa::Riscv64, &[0x63, 0x14, 0x05, 0x00], Some(8), None),     // bnez a0, .+8
            (Isa::Riscv64, &[0xe3, 0x1e, 0x05, 0xfe], Some(-4), None),    // bnez a0, .-4
            (Isa::Riscv64, &[0x6f, 0x00, 0x80, 0x00], None, Some(8)),     // j .+8
            (Isa::Riscv64, &[0x6f, 0xf0, 0xdf, 0xff], None, Some(-4)),    // j .-4
            (Isa::Riscv64, &[0xef, 0x00, 0x80, 0x00], None, None),        // jal ra, .+8
            (Isa::S390x, &[0xa7, 0x74, 0x00, 0x04], Some(8), None),       // jne .+8
            (Isa::S390x, &[0xc0, 0x74, 0xff, 0xff, 0xff, 0xfe], Some(-4), None), // jgne .-4
            (Isa::S390x, &[0xc0, 0xf4, 0, 0, 0, 4], None, Some(8)),       // jg .+8
            (Isa::S390x, &[0xec, 0x23, 0, 4, 0x80, 0x64], Some(8), None), // cgrje
            (Isa::S390x, &[0xc0, 0x04, 0, 0, 0, 4], None, None),          // never
            (Isa::X86_64, &[0x75, 0x02], None, None),
        ] {
            assert_eq!(isa.conditional_branch(code), conditional, "{isa:?} {code:x?}");
            assert_eq!(isa.jump(code), always, "{isa:?} {code:x?}");
        }
    }

    #[test]
    fn jumps_are_told_from_moves() {
        for (isa, code, jumps) in [
            (Isa::Aarch64, &[0xe0, 0x03, 0x01, 0xaa][..], false), // mov x0, x1
            (Isa::Aarch64, &[0x02, 0x00, 0x00, 0x54], true),      // b.hs
            (Isa::Aarch64, &[0xc0, 0x03, 0x5f, 0xd6], true),      // ret
            (Isa::Aarch64, &[0x60, 0x00, 0x00, 0xb4], true),      // cbz
            (Isa::Riscv64, &[0x13, 0x05, 0x05, 0x00], false),     // mv a0, a0
            (Isa::Riscv64, &[0x63, 0x04, 0xb5, 0x00], true),      // beq
            (Isa::Riscv64, &[0x2e, 0x85], false),                 // c.mv a0, a1
            (Isa::Riscv64, &[0x82, 0x80], true),                  // c.jr ra
            (Isa::S390x, &[0xb9, 0x04, 0x00, 0x23], false),       // lgr
            (Isa::S390x, &[0xc0, 0xf4, 0, 0, 0, 4], true),        // jg
            (Isa::S390x, &[0xec, 0x23, 0, 4, 0, 0x64], true),     // cgrj
            (Isa::S390x, &[0x07, 0xfe], true),                    // br %r14
        ] {
            assert_eq!(isa.transfers_control(code), jumps, "{isa:?} {code:x?}");
            assert_eq!(isa.instruction_length(code), Some(code.len()), "{isa:?} {code:x?}");
        }
    }
}
