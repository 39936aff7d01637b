//! The copy of one instruction that does elsewhere what it does in its place.
//!
//! Where a trap lies over an instruction's first byte, the instruction itself is
//! executed from a copy, and no single step is needed:
//!
//! ```text
//!   original                     copy
//!   add rax, [rip+d]             add rax, [rip+d']      the same address
//!                                jmp behind the original
//!   call f                       push behind the original; jmp f
//!   call [rsp+8]                 push behind the original; jmp [rsp+16]
//!   jcc there                    jcc there; jmp behind the original
//!   jmp, ret, ud2                the same
//! ```
//! So no address of the copy ever gets into a register or onto the stack. If the
//! copy faults, its program counter is that of the original
//! ([`crate::Subject::plant`]).

use iced_x86::{
    BlockEncoder, BlockEncoderOptions, Code, Decoder, DecoderOptions, FlowControl, Instruction,
    InstructionBlock, OpKind, Register,
};

/// Bytes that a copy may have.
pub(crate) const COPY_BYTES: usize = dwarf_map::COPY_BYTES as usize;

/// Why there can be no copy of an instruction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DisplaceError {
    /// The bytes are no instruction, or a trap.
    #[error("there is no instruction that could be executed elsewhere")]
    NoInstruction,
    /// It cannot be encoded there.
    #[error("it cannot be executed elsewhere: {0}")]
    Encode(String),
    /// Its copy would be too long.
    #[error("its copy has {0} bytes")]
    TooLong(usize),
    /// The code lies where 32 bits with sign do not reach.
    #[error("it lies too high for its address to be pushed")]
    TooHigh,
}

/// The code that, executed at `place`, does what the first instruction of
/// `bytes` does at `original`.
pub(crate) fn copy(bytes: &[u8], original: u64, place: u64) -> Result<Vec<u8>, DisplaceError> {
    let encode = |error: iced_x86::IcedError| DisplaceError::Encode(error.to_string());
    let old = Decoder::with_ip(64, bytes, original, DecoderOptions::NONE).decode();
    if old.is_invalid() || old.flow_control() == FlowControl::Interrupt {
        return Err(DisplaceError::NoInstruction);
    }
    let next = old.next_ip();
    let back = || Instruction::with_branch(Code::Jmp_rel32_64, next).map_err(encode);
    let mut code = Vec::with_capacity(2);
    match old.flow_control() {
        FlowControl::Call | FlowControl::IndirectCall => {
            let pushed = i32::try_from(next).map_err(|_| DisplaceError::TooHigh)?;
            code.push(Instruction::with1(Code::Pushq_imm32, pushed).map_err(encode)?);
            code.push(jump_of(&old)?);
        }
        FlowControl::UnconditionalBranch
        | FlowControl::IndirectBranch
        | FlowControl::Return
        | FlowControl::Exception => code.push(old),
        _ => {
            code.push(old);
            code.push(back()?);
        }
    }
    // Where the instructions come from must not matter: an instruction that
    // jumps to itself is to meet the trap, not its copy.
    for (number, instruction) in code.iter_mut().enumerate() {
        instruction.set_ip(place + number as u64);
    }
    let block = InstructionBlock::new(&code, place);
    let encoded = BlockEncoder::encode(64, block, BlockEncoderOptions::NONE).map_err(encode)?;
    let bytes = encoded.code_buffer;
    if bytes.len() > COPY_BYTES {
        return Err(DisplaceError::TooLong(bytes.len()));
    }
    Ok(bytes)
}

/// The jump to where a call goes, once its return address has been pushed.
fn jump_of(call: &Instruction) -> Result<Instruction, DisplaceError> {
    let encode = |error: iced_x86::IcedError| DisplaceError::Encode(error.to_string());
    let mut jump = *call;
    match call.code() {
        Code::Call_rel32_64 => {
            return Instruction::with_branch(Code::Jmp_rel32_64, call.near_branch_target())
                .map_err(encode);
        }
        Code::Call_rm64 => jump.set_code(Code::Jmp_rm64),
        other => return Err(DisplaceError::Encode(format!("{other:?}"))),
    }
    let stack = |register: Register| register == Register::RSP;
    if call.op0_kind() == OpKind::Register && stack(call.op0_register()) {
        return Err(DisplaceError::Encode("a call through rsp".into()));
    }
    if call.op0_kind() == OpKind::Memory && stack(call.memory_base()) {
        jump.set_memory_displacement64(call.memory_displacement64().wrapping_add(8));
        // A displacement of an address of 64 bits; it takes as many bytes as it needs.
        jump.set_memory_displ_size(8);
    }
    Ok(jump)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: u64 = 0x40_2000;
    const PLACE: u64 = 0x40_3010;

    fn text(bytes: &[u8]) -> Vec<String> {
        let code = copy(bytes, AT, PLACE).expect("a copy");
        let mut decoder = Decoder::with_ip(64, &code, PLACE, DecoderOptions::NONE);
        let mut list = Vec::new();
        while decoder.can_decode() {
            list.push(decoder.decode().to_string());
        }
        list
    }

    #[test]
    fn each_form_of_instruction() {
        let behind = |length: u64| format!("jmp {:016x}h", AT + length).to_uppercase();
        let upper = |bytes: &[u8]| -> Vec<String> {
            text(bytes).into_iter().map(|line| line.to_uppercase()).collect()
        };
        // mov eax, [rdi]
        assert_eq!(upper(b"\x8b\x07"), ["MOV EAX,[RDI]".to_owned(), behind(2)]);
        // add rax, [rip+0x100]: the same address
        let target = format!("ADD RAX,[{:X}h]", AT + 7 + 0x100).to_uppercase();
        assert_eq!(upper(b"\x48\x03\x05\x00\x01\x00\x00"), [target, behind(7)]);
        // jz +0x10, two bytes
        let target = format!("JE {:016X}H", AT + 2 + 0x10);
        assert_eq!(upper(b"\x74\x10"), [target, behind(2)]);
        // jmp +0x10; ret; ret 16; ud2
        assert_eq!(upper(b"\xeb\x10"), [format!("JMP {:016X}H", AT + 2 + 0x10)]);
        assert_eq!(upper(b"\xc3"), ["RET"]);
        assert_eq!(upper(b"\xc2\x10\x00"), ["RET 10H"]);
        assert_eq!(upper(b"\x0f\x0b"), ["UD2"]);
        // jmp rax; jmp [rax+8]
        assert_eq!(upper(b"\xff\xe0"), ["JMP RAX"]);
        assert_eq!(upper(b"\xff\x60\x08"), ["JMP QWORD PTR [RAX+8]"]);
        // call +0x100; call r11; call [rsp+8]; call [rsp]; call [rip+0x100]
        let push = |length: u64| format!("PUSH {:X}H", AT + length);
        let target = format!("JMP {:016X}H", AT + 5 + 0x100);
        assert_eq!(upper(b"\xe8\x00\x01\x00\x00"), [push(5), target]);
        assert_eq!(upper(b"\x41\xff\xd3"), [push(3), "JMP R11".into()]);
        assert_eq!(upper(b"\xff\x54\x24\x08"), [push(4), "JMP QWORD PTR [RSP+10H]".into()]);
        assert_eq!(upper(b"\xff\x14\x24"), [push(3), "JMP QWORD PTR [RSP+8]".into()]);
        let target = format!("JMP QWORD PTR [{:X}H]", AT + 6 + 0x100);
        assert_eq!(upper(b"\xff\x15\x00\x01\x00\x00"), [push(6), target]);
    }

    /// `jmp self` leads to the original, where the trap is.
    #[test]
    fn a_jump_to_itself_meets_the_trap() {
        assert_eq!(text(b"\xeb\xfe"), [format!("jmp {AT:016x}h")]);
    }

    #[test]
    fn what_has_no_copy() {
        assert_eq!(copy(b"\xcc", AT, PLACE), Err(DisplaceError::NoInstruction));
        assert_eq!(copy(b"", AT, PLACE), Err(DisplaceError::NoInstruction));
        let high = 0x1_0000_0000;
        let call = b"\xe8\x00\x00\x00\x00";
        assert_eq!(copy(call, high, high + 64), Err(DisplaceError::TooHigh));
    }
}
