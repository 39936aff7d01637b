//! Call frame information of functions that move their frame.
//!
//! A function whose tail calls need more arguments on the stack than it was
//! given moves its return address down to make room (`gen_clobber_save` in
//! `cranelift-codegen`, `isa/x64/abi.rs`). Its frame address goes with it, but
//! Cranelift 0.135.8 still counts the places of saved registers from where the
//! frame was: they are stated too low by the distance. Nobody noticed, since
//! Wasmtime restores no registers when it unwinds; a debugger shows wrong
//! values in callers. Here the places are put right.

use crate::error::CompileError;
use gimli::write::{
    Address, CallFrameInstruction, CommonInformationEntry, DebugFrame, EndianVec,
    FrameDescriptionEntry, FrameTable,
};
use gimli::{CallFrameInstruction as Read, LittleEndian, UnwindSection};

/// Bytes above which nothing but return address and frame pointer is saved.
const LINKAGE: i64 = 16;

/// The same entry with the places of saved registers `distance` bytes higher.
pub(crate) fn moved(
    entry: FrameDescriptionEntry,
    address: Address,
    common: &CommonInformationEntry,
    distance: u32,
) -> Result<FrameDescriptionEntry, CompileError> {
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
            Read::Offset { register, factored_offset } => {
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
