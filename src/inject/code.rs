//! Native instructions made wrong.
//!
//! One valid instruction becomes another of the same length, or a shorter one and NOPs,
//! as a compiler would have it that selects, allocates or encodes wrongly. Which
//! instruction of another form is "the same, wrong" is a table for each kind.

use super::pad;
use iced_x86::{
    Code, ConditionCode, Decoder, DecoderOptions, Encoder, FlowControl, Instruction, Mnemonic,
    OpKind, Register,
};

/// What a code fault does to an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CodeFault {
    /// A source operand is read from another register.
    Operand,
    /// The result goes to another register.
    Destination,
    /// The instruction is not there.
    Drop,
    /// A sign extension becomes a zero extension or the other way round.
    Extension,
    /// The two operands change places.
    Swap,
    /// An immediate is one more.
    Constant,
    /// A memory operand lies eight bytes, or one, further on.
    Displacement,
    /// A condition is inverted.
    Condition,
    /// Another operation of the same form.
    Operation,
    /// The upper half of a 64-bit operation is lost.
    Width,
    /// An index is scaled otherwise.
    Scale,
    /// A load stores: what it was to fill is written where it was to read.
    Store,
}

impl CodeFault {
    /// Every kind.
    pub const ALL: [CodeFault; 12] = [
        CodeFault::Operand,
        CodeFault::Destination,
        CodeFault::Drop,
        CodeFault::Extension,
        CodeFault::Swap,
        CodeFault::Constant,
        CodeFault::Displacement,
        CodeFault::Condition,
        CodeFault::Operation,
        CodeFault::Width,
        CodeFault::Scale,
        CodeFault::Store,
    ];

    /// The spelling on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            CodeFault::Operand => "operand",
            CodeFault::Destination => "destination",
            CodeFault::Drop => "drop",
            CodeFault::Extension => "extension",
            CodeFault::Swap => "swap",
            CodeFault::Constant => "constant",
            CodeFault::Displacement => "displacement",
            CodeFault::Condition => "condition",
            CodeFault::Operation => "operation",
            CodeFault::Width => "width",
            CodeFault::Scale => "scale",
            CodeFault::Store => "store",
        }
    }
}

/// The bytes of a changed instruction, as long as the old one; `None` when the
/// kind does not apply or the result would not fit.
pub fn mutate(old: &Instruction, kind: CodeFault) -> Option<Vec<u8>> {
    // Frames and stacks stay intact: those faults end in a crash, not in a
    // wrong value.
    if touches_stack(old) || old.mnemonic() == Mnemonic::Nop || old.mnemonic() == Mnemonic::Ud2 {
        return None;
    }
    if kind == CodeFault::Drop {
        return (old.flow_control() == FlowControl::Next).then(|| pad(Vec::new(), old.len()));
    }
    let mut new = *old;
    match kind {
        CodeFault::Operand => change_source(&mut new)?,
        CodeFault::Destination => {
            let plain = old.op_count() >= 1 && old.op0_kind() == OpKind::Register;
            let writes = !matches!(
                old.mnemonic(),
                Mnemonic::Cmp | Mnemonic::Test | Mnemonic::Ucomisd | Mnemonic::Ucomiss
            );
            if !plain || !writes || old.flow_control() != FlowControl::Next {
                return None;
            }
            new.set_op0_register(neighbour(old.op0_register())?);
        }
        CodeFault::Extension => new.set_code(other_extension(old.code())?),
        CodeFault::Swap => {
            let registers = old.op_count() == 2
                && old.op0_kind() == OpKind::Register
                && old.op1_kind() == OpKind::Register;
            let commutes = matches!(old.mnemonic(), Mnemonic::Test | Mnemonic::Xchg);
            let same_class = old.op0_register().size() == old.op1_register().size();
            if !registers || commutes || !same_class || old.op0_register() == old.op1_register() {
                return None;
            }
            new.set_op0_register(old.op1_register());
            new.set_op1_register(old.op0_register());
        }
        CodeFault::Constant => {
            let at = (0..old.op_count()).find(|op| is_immediate(old.op_kind(*op)))?;
            if old.flow_control() != FlowControl::Next {
                return None;
            }
            let value = old.immediate(at).wrapping_add(1);
            new.try_set_immediate_u64(at, value).ok()?;
        }
        CodeFault::Displacement => {
            let memory = (0..old.op_count()).any(|op| old.op_kind(op) == OpKind::Memory);
            if !memory
                || old.memory_base() == Register::RIP
                || old.mnemonic() == Mnemonic::Lea && old.memory_displ_size() == 0
            {
                return None;
            }
            let by = if old.memory_displ_size() == 0 { 1 } else { 8 };
            new.set_memory_displacement64(old.memory_displacement64().wrapping_add(by));
            if old.memory_displ_size() == 0 {
                new.set_memory_displ_size(1);
            }
        }
        CodeFault::Condition => {
            if old.condition_code() == ConditionCode::None {
                return None;
            }
            new.negate_condition_code();
        }
        CodeFault::Operation => new.set_code(other_operation(old.code())?),
        CodeFault::Width => new = narrowed(old)?,
        CodeFault::Scale => {
            if old.memory_index() == Register::None {
                return None;
            }
            new.set_memory_index_scale(if old.memory_index_scale() == 1 { 2 } else { 1 });
        }
        CodeFault::Store => new = stored(old)?,
        CodeFault::Drop => return None,
    }
    let mut encoder = Encoder::new(64);
    encoder.encode(&new, old.ip()).ok()?;
    let bytes = encoder.take_buffer();
    let changed = bytes.len() <= old.len();
    let again = Decoder::with_ip(64, &bytes, old.ip(), DecoderOptions::NONE).decode();
    (changed && !again.is_invalid() && again != *old).then(|| pad(bytes, old.len()))
}

fn touches_stack(instruction: &Instruction) -> bool {
    let stack =
        |register: Register| matches!(register.full_register(), Register::RSP | Register::RBP);
    let writes_stack = instruction.op_count() > 0
        && instruction.op0_kind() == OpKind::Register
        && stack(instruction.op0_register());
    writes_stack
        || matches!(
            instruction.mnemonic(),
            Mnemonic::Push | Mnemonic::Pop | Mnemonic::Call | Mnemonic::Ret | Mnemonic::Leave
        )
}

fn is_immediate(kind: OpKind) -> bool {
    matches!(
        kind,
        OpKind::Immediate8
            | OpKind::Immediate16
            | OpKind::Immediate32
            | OpKind::Immediate64
            | OpKind::Immediate8to16
            | OpKind::Immediate8to32
            | OpKind::Immediate8to64
            | OpKind::Immediate32to64
    )
}

/// The last register that is only read becomes another.
fn change_source(new: &mut Instruction) -> Option<()> {
    let count = new.op_count();
    let at = (1..count).rev().find(|op| new.op_kind(*op) == OpKind::Register)?;
    new.set_op_register(at, neighbour(new.op_register(at))?);
    Some(())
}

/// Another register of the same class that needs no longer encoding; never one
/// that holds the frame.
fn neighbour(register: Register) -> Option<Register> {
    const GROUPS: [&[Register]; 6] = [
        &[Register::RAX, Register::RCX, Register::RDX, Register::RBX, Register::RSI, Register::RDI],
        &[Register::EAX, Register::ECX, Register::EDX, Register::EBX, Register::ESI, Register::EDI],
        &[
            Register::R8,
            Register::R9,
            Register::R10,
            Register::R11,
            Register::R12,
            Register::R13,
            Register::R14,
            Register::R15,
        ],
        &[
            Register::R8D,
            Register::R9D,
            Register::R10D,
            Register::R11D,
            Register::R12D,
            Register::R13D,
            Register::R14D,
            Register::R15D,
        ],
        &[
            Register::XMM0,
            Register::XMM1,
            Register::XMM2,
            Register::XMM3,
            Register::XMM4,
            Register::XMM5,
            Register::XMM6,
            Register::XMM7,
        ],
        &[
            Register::XMM8,
            Register::XMM9,
            Register::XMM10,
            Register::XMM11,
            Register::XMM12,
            Register::XMM13,
            Register::XMM14,
            Register::XMM15,
        ],
    ];
    GROUPS.iter().find_map(|group| {
        let at = group.iter().position(|other| *other == register)?;
        Some(group[(at + 1) % group.len()])
    })
}

fn pair(code: Code, pairs: &[(Code, Code)]) -> Option<Code> {
    pairs.iter().find_map(|(a, b)| match code {
        _ if code == *a => Some(*b),
        _ if code == *b => Some(*a),
        _ => None,
    })
}

fn other_extension(code: Code) -> Option<Code> {
    pair(
        code,
        &[
            (Code::Movzx_r32_rm8, Code::Movsx_r32_rm8),
            (Code::Movzx_r32_rm16, Code::Movsx_r32_rm16),
            (Code::Movzx_r64_rm8, Code::Movsx_r64_rm8),
            (Code::Movzx_r64_rm16, Code::Movsx_r64_rm16),
            (Code::Movsxd_r64_rm32, Code::Mov_r64_rm64),
        ],
    )
}

fn other_operation(code: Code) -> Option<Code> {
    pair(
        code,
        &[
            (Code::Add_rm32_r32, Code::Sub_rm32_r32),
            (Code::Add_rm64_r64, Code::Sub_rm64_r64),
            (Code::Add_r32_rm32, Code::Sub_r32_rm32),
            (Code::Add_r64_rm64, Code::Sub_r64_rm64),
            (Code::Add_rm32_imm8, Code::Sub_rm32_imm8),
            (Code::Add_rm64_imm8, Code::Sub_rm64_imm8),
            (Code::Add_rm32_imm32, Code::Sub_rm32_imm32),
            (Code::Add_rm64_imm32, Code::Sub_rm64_imm32),
            (Code::And_rm32_r32, Code::Or_rm32_r32),
            (Code::And_rm64_r64, Code::Or_rm64_r64),
            (Code::And_r32_rm32, Code::Or_r32_rm32),
            (Code::And_r64_rm64, Code::Or_r64_rm64),
            (Code::And_rm32_imm8, Code::Or_rm32_imm8),
            (Code::And_rm64_imm8, Code::Or_rm64_imm8),
            (Code::And_rm32_imm32, Code::Or_rm32_imm32),
            (Code::Xor_r32_rm32, Code::Add_r32_rm32),
            (Code::Shl_rm32_CL, Code::Shr_rm32_CL),
            (Code::Shl_rm64_CL, Code::Shr_rm64_CL),
            (Code::Shl_rm32_imm8, Code::Shr_rm32_imm8),
            (Code::Shl_rm64_imm8, Code::Shr_rm64_imm8),
            (Code::Sar_rm32_CL, Code::Shr_rm32_CL),
            (Code::Sar_rm32_imm8, Code::Shr_rm32_imm8),
            (Code::Rol_rm32_CL, Code::Ror_rm32_CL),
            (Code::Addsd_xmm_xmmm64, Code::Subsd_xmm_xmmm64),
            (Code::Mulsd_xmm_xmmm64, Code::Divsd_xmm_xmmm64),
            (Code::Addss_xmm_xmmm32, Code::Subss_xmm_xmmm32),
            (Code::Mulss_xmm_xmmm32, Code::Divss_xmm_xmmm32),
            (Code::VEX_Vaddsd_xmm_xmm_xmmm64, Code::VEX_Vsubsd_xmm_xmm_xmmm64),
            (Code::VEX_Vmulsd_xmm_xmm_xmmm64, Code::VEX_Vdivsd_xmm_xmm_xmmm64),
            (Code::VEX_Vaddss_xmm_xmm_xmmm32, Code::VEX_Vsubss_xmm_xmm_xmmm32),
            (Code::VEX_Vmulss_xmm_xmm_xmmm32, Code::VEX_Vdivss_xmm_xmm_xmmm32),
            (Code::VEX_Vpaddb_xmm_xmm_xmmm128, Code::VEX_Vpsubb_xmm_xmm_xmmm128),
            (Code::Paddb_xmm_xmmm128, Code::Psubb_xmm_xmmm128),
            (Code::VEX_Vpaddw_xmm_xmm_xmmm128, Code::VEX_Vpsubw_xmm_xmm_xmmm128),
            (Code::Paddw_xmm_xmmm128, Code::Psubw_xmm_xmmm128),
            (Code::VEX_Vpaddd_xmm_xmm_xmmm128, Code::VEX_Vpsubd_xmm_xmm_xmmm128),
            (Code::Paddd_xmm_xmmm128, Code::Psubd_xmm_xmmm128),
            (Code::VEX_Vpaddq_xmm_xmm_xmmm128, Code::VEX_Vpsubq_xmm_xmm_xmmm128),
            (Code::Paddq_xmm_xmmm128, Code::Psubq_xmm_xmmm128),
            (Code::VEX_Vpand_xmm_xmm_xmmm128, Code::VEX_Vpor_xmm_xmm_xmmm128),
            (Code::Pand_xmm_xmmm128, Code::Por_xmm_xmmm128),
            (Code::VEX_Vpcmpeqb_xmm_xmm_xmmm128, Code::VEX_Vpcmpgtb_xmm_xmm_xmmm128),
            (Code::Pcmpeqb_xmm_xmmm128, Code::Pcmpgtb_xmm_xmmm128),
            (Code::VEX_Vpcmpeqd_xmm_xmm_xmmm128, Code::VEX_Vpcmpgtd_xmm_xmm_xmmm128),
            (Code::Pcmpeqd_xmm_xmmm128, Code::Pcmpgtd_xmm_xmmm128),
            (Code::VEX_Vpminsw_xmm_xmm_xmmm128, Code::VEX_Vpmaxsw_xmm_xmm_xmmm128),
            (Code::Pminsw_xmm_xmmm128, Code::Pmaxsw_xmm_xmmm128),
            (Code::VEX_Vaddps_xmm_xmm_xmmm128, Code::VEX_Vsubps_xmm_xmm_xmmm128),
            (Code::Addps_xmm_xmmm128, Code::Subps_xmm_xmmm128),
            (Code::VEX_Vaddpd_xmm_xmm_xmmm128, Code::VEX_Vsubpd_xmm_xmm_xmmm128),
            (Code::Addpd_xmm_xmmm128, Code::Subpd_xmm_xmmm128),
            (Code::VEX_Vmulps_xmm_xmm_xmmm128, Code::VEX_Vdivps_xmm_xmm_xmmm128),
            (Code::Mulps_xmm_xmmm128, Code::Divps_xmm_xmmm128),
            (Code::VEX_Vminps_xmm_xmm_xmmm128, Code::VEX_Vmaxps_xmm_xmm_xmmm128),
            (Code::Minps_xmm_xmmm128, Code::Maxps_xmm_xmmm128),
            (Code::VEX_Vpunpcklbw_xmm_xmm_xmmm128, Code::VEX_Vpunpckhbw_xmm_xmm_xmmm128),
            (Code::Punpcklbw_xmm_xmmm128, Code::Punpckhbw_xmm_xmmm128),
            (Code::VEX_Vpacksswb_xmm_xmm_xmmm128, Code::VEX_Vpackuswb_xmm_xmm_xmmm128),
            (Code::Packsswb_xmm_xmmm128, Code::Packuswb_xmm_xmmm128),
            (Code::Lzcnt_r32_rm32, Code::Tzcnt_r32_rm32),
            (Code::Lzcnt_r64_rm64, Code::Tzcnt_r64_rm64),
        ],
    )
}

/// The 32-bit form of a 64-bit instruction on registers.
fn narrowed(old: &Instruction) -> Option<Instruction> {
    let code = match old.code() {
        Code::Mov_r64_rm64 => Code::Mov_r32_rm32,
        Code::Mov_rm64_r64 => Code::Mov_rm32_r32,
        Code::Add_r64_rm64 => Code::Add_r32_rm32,
        Code::Add_rm64_r64 => Code::Add_rm32_r32,
        Code::Sub_r64_rm64 => Code::Sub_r32_rm32,
        Code::Sub_rm64_r64 => Code::Sub_rm32_r32,
        Code::And_r64_rm64 => Code::And_r32_rm32,
        Code::Or_r64_rm64 => Code::Or_r32_rm32,
        Code::Xor_r64_rm64 => Code::Xor_r32_rm32,
        Code::Imul_r64_rm64 => Code::Imul_r32_rm32,
        Code::Shl_rm64_imm8 => Code::Shl_rm32_imm8,
        Code::Shr_rm64_imm8 => Code::Shr_rm32_imm8,
        Code::Cmp_r64_rm64 => Code::Cmp_r32_rm32,
        Code::Cmp_rm64_r64 => Code::Cmp_rm32_r32,
        _ => return None,
    };
    let mut new = *old;
    new.set_code(code);
    for op in 0..old.op_count() {
        if old.op_kind(op) == OpKind::Register {
            new.set_op_register(op, old.op_register(op).full_register32());
        }
    }
    Some(new)
}

/// A load with the direction reversed.
fn stored(old: &Instruction) -> Option<Instruction> {
    let code = match old.code() {
        Code::Mov_r32_rm32 => Code::Mov_rm32_r32,
        Code::Mov_r64_rm64 => Code::Mov_rm64_r64,
        Code::Movss_xmm_xmmm32 => Code::Movss_xmmm32_xmm,
        Code::Movsd_xmm_xmmm64 => Code::Movsd_xmmm64_xmm,
        Code::Movups_xmm_xmmm128 => Code::Movups_xmmm128_xmm,
        Code::Movdqu_xmm_xmmm128 => Code::Movdqu_xmmm128_xmm,
        Code::VEX_Vmovss_xmm_m32 => Code::VEX_Vmovss_m32_xmm,
        Code::VEX_Vmovsd_xmm_m64 => Code::VEX_Vmovsd_m64_xmm,
        Code::VEX_Vmovups_xmm_xmmm128 => Code::VEX_Vmovups_xmmm128_xmm,
        Code::VEX_Vmovdqu_xmm_xmmm128 => Code::VEX_Vmovdqu_xmmm128_xmm,
        _ => return None,
    };
    // Not to the frame and not to constants beside the code.
    let elsewhere = matches!(old.memory_base(), Register::RSP | Register::RBP | Register::RIP);
    if old.op1_kind() != OpKind::Memory || elsewhere {
        return None;
    }
    let mut new = *old;
    new.set_code(code);
    new.set_op0_kind(OpKind::Memory);
    new.set_op1_kind(OpKind::Register);
    new.set_op1_register(old.op0_register());
    Some(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(bytes: &[u8]) -> Instruction {
        Decoder::with_ip(64, bytes, 0x40_1000, DecoderOptions::NONE).decode()
    }

    fn text(bytes: &[u8]) -> String {
        one(bytes).to_string()
    }

    #[test]
    fn each_kind_makes_a_valid_instruction_of_the_same_length() {
        // add eax,ecx; mov rax,[rdi+rcx*4+8]; jl; movsxd rax,ecx; add eax,5
        let cases: [(&[u8], CodeFault, &str); 7] = [
            (&[0x01, 0xc8], CodeFault::Operation, "sub eax,ecx"),
            (&[0x01, 0xc8], CodeFault::Swap, "add ecx,eax"),
            (&[0x48, 0x8b, 0x44, 0x8f, 0x08], CodeFault::Displacement, "mov rax,[rdi+rcx*4+10h]"),
            (&[0x48, 0x8b, 0x44, 0x8f, 0x08], CodeFault::Scale, "mov rax,[rdi+rcx+8]"),
            (&[0x48, 0x8b, 0x44, 0x8f, 0x08], CodeFault::Store, "mov [rdi+rcx*4+8],rax"),
            (&[0x7c, 0x10], CodeFault::Condition, "jge short 0000000000401012h"),
            (&[0x83, 0xc0, 0x05], CodeFault::Constant, "add eax,6"),
        ];
        for (bytes, kind, expected) in cases {
            let new = mutate(&one(bytes), kind).unwrap_or_else(|| panic!("{kind:?}"));
            assert_eq!(new.len(), bytes.len());
            assert_eq!(text(&new), expected);
        }
    }

    #[test]
    fn the_stack_stays_intact() {
        // push rbp; sub rsp,16
        for bytes in [&[0x55][..], &[0x48, 0x83, 0xec, 0x10]] {
            for kind in CodeFault::ALL {
                assert_eq!(mutate(&one(bytes), kind), None, "{kind:?}");
            }
        }
    }
}
