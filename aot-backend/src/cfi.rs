//! Call frame information that Cranelift 0.135.8 states wrong, put right.
//!
//! On x86-64, a function whose tail calls need more arguments on the stack than it was
//! given moves its return address down to make room (`gen_clobber_save` in
//! `cranelift-codegen`, `isa/x64/abi.rs`). Its frame address goes with it, but
//! the places of saved registers are still counted from where the
//! frame was: they are stated too low by the distance.
//!
//! On riscv64, a function with handlers of exceptions saves every register that its
//! caller may rely on, and the frame pointer is one of them (`isa/riscv64/abi.rs`). It has
//! been saved as the caller's already; what is saved the second time is the function's
//! own, and that place is stated as the caller's.
//!
//! Nobody noticed, since Wasmtime restores no registers when it unwinds; a debugger shows
//! wrong values in callers, or loses them.

use crate::error::CompileError;
use dwarf_map::Isa;
use gimli::write::{
    Address, CallFrameInstruction, CommonInformationEntry, DebugFrame, EndianVec,
    FrameDescriptionEntry, FrameTable,
};
use gimli::{CallFrameInstruction as Read, LittleEndian, UnwindSection};

/// Bytes above which nothing but return address and frame pointer is saved.
const LINKAGE: i64 = 16;

/// The same entry as it should be, for a function that moves its frame by `moved` bytes.
pub(crate) fn corrected(
    entry: FrameDescriptionEntry,
    address: Address,
    common: &CommonInformationEntry,
    (isa, moved): (Isa, u32),
) -> Result<FrameDescriptionEntry, CompileError> {
    let distance = match isa {
        Isa::X86_64 => moved,
        // Counted from where the frame has moved to.
        Isa::Aarch64 | Isa::Riscv64 | Isa::S390x => 0,
    };
    let saved_once = isa.frame_pointer().filter(|_| isa == Isa::Riscv64);
    if distance == 0 && saved_once.is_none() {
        return Ok(entry);
    }
    let mut is_saved = false;
    // The library keeps what it was given to itself, but it can be written and
    // read back.
    let mut table = FrameTable::default();
    let cie = table.add_cie(common.clone());
    table.add_fde(cie, entry);
    let mut bytes = DebugFrame::from(EndianVec::new(LittleEndian));
    table.write_debug_frame(&mut bytes).map_err(CompileError::bug)?;
    let section = gimli::DebugFrame::new(bytes.slice(), LittleEndian);
    let Address::Constant(start) = address else {
        return Err(CompileError::bug("code without an address"));
    };
    let bases = gimli::BaseAddresses::default();
    let entry = section
        .fde_for_address(&bases, start, gimli::DebugFrame::cie_from_offset)
        .map_err(CompileError::bug)?;
    let length = u32::try_from(entry.len()).map_err(CompileError::bug)?;
    let scale = entry.cie().data_alignment_factor();
    let advance = entry.cie().code_alignment_factor();
    let mut corrected = FrameDescriptionEntry::new(address, length);
    let mut at = 0_u32;
    let mut instructions = entry.instructions(&section, &bases);
    while let Some(instruction) = instructions.next().map_err(CompileError::bug)? {
        let offset = |offset: u64| i32::try_from(offset).map_err(CompileError::bug);
        let same = match instruction {
            Read::AdvanceLoc { delta } => {
                at += u32::try_from(u64::from(delta) * advance).map_err(CompileError::bug)?;
                continue;
            }
            Read::Nop => continue,
            Read::DefCfa { register, offset: to } => {
                CallFrameInstruction::Cfa(register, offset(to)?)
            }
            Read::DefCfaRegister { register } => CallFrameInstruction::CfaRegister(register),
            Read::DefCfaOffset { offset: to } => CallFrameInstruction::CfaOffset(offset(to)?),
            Read::Offset { register, .. }
                if is_saved && saved_once.is_some_and(|own| own.0 == register.0) =>
            {
                continue;
            }
            Read::Offset { register, factored_offset } => {
                is_saved |= saved_once.is_some_and(|own| own.0 == register.0);
                let place = i64::try_from(factored_offset).map_err(CompileError::bug)? * scale;
                let place = if place < -LINKAGE { place + i64::from(distance) } else { place };
                let place = i32::try_from(place).map_err(CompileError::bug)?;
                CallFrameInstruction::Offset(register, place)
            }
            Read::RememberState => CallFrameInstruction::RememberState,
            Read::RestoreState => CallFrameInstruction::RestoreState,
            other => return Err(CompileError::bug(format!("frame information: {other:?}"))),
        };
        corrected.add_instruction(at, same);
    }
    Ok(corrected)
}
