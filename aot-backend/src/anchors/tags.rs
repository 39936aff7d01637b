//! From debug tags to the PCs of trap instructions.
//!
//! A tag marks the place before its trap instruction, but the register
//! allocator may have put moves between the two, at which values are not yet
//! where the map says. So the code is decoded forward from the tag to the
//! trap, and anything but plain data movement on the way is a bug.

use crate::error::CompileError;
use crate::translate::{CallDraft, StablePart, polled};
use cranelift_codegen::CompiledCode;
use cranelift_codegen::FinalizedMachExceptionHandler;
use cranelift_codegen::MachDebugTagPos;
use cranelift_codegen::ir::DebugTag;
use dwarf_map::{CodeOffset, Isa};
use iced_x86::{Code, Decoder, DecoderOptions, FlowControl};
use std::collections::{HashMap, HashSet};

/// What the tags of a function's code say.
#[derive(Default)]
pub(crate) struct Tags {
    /// PC of the trap of each boundary, by its tag; `None` if it has no code.
    pub traps: Vec<Option<u32>>,
    /// Return address of each call site, by its tag; likewise.
    pub calls: Vec<Option<u32>>,
    /// PC of each handler, by its number.
    pub handlers: HashMap<u32, u32>,
    /// Of each stable point, by its tag, where its parts are marked; likewise.
    pub stable: Vec<[Option<u32>; 3]>,
}

impl Tags {
    /// Reads the tags of a function with that many boundaries and stable
    /// points.
    pub fn of(
        isa: Isa,
        code: &CompiledCode,
        boundaries: usize,
        drafts: &[CallDraft],
        stable: usize,
    ) -> Result<Self, CompileError> {
        let mut tags = Tags {
            traps: vec![None; boundaries],
            calls: vec![None; drafts.len()],
            handlers: HashMap::new(),
            stable: vec![[None; 3]; stable],
        };
        // A call that ends its block carries no tag; its handlers tell which
        // it is.
        let owners: HashMap<u32, usize> = drafts
            .iter()
            .enumerate()
            .flat_map(|(call, draft)| draft.handlers.iter().map(move |each| (each.number, call)))
            .collect();
        let frame = code.buffer.frame_layout().map(|layout| layout.frame_to_fp_offset);
        for site in code.buffer.call_sites() {
            // A handler expects the stack pointer of the function's body.
            if !site.exception_handlers.is_empty() && site.frame_offset != frame {
                return Err(CompileError::bug("a call with another frame than its function's"));
            }
            for handler in site.exception_handlers {
                let &FinalizedMachExceptionHandler::Tag(tag, pc) = handler else { continue };
                let number = tag.as_u32();
                let call = owners.get(&number).and_then(|call| tags.calls.get_mut(*call));
                let Some(call) = call else {
                    return Err(CompileError::bug(format!("handler {number} belongs to no call")));
                };
                *call = Some(site.ret_addr);
                tags.handlers.insert(number, pc);
            }
        }
        // The trap that a poll leads to has the same location.
        let traps: HashSet<u32> = code.buffer.traps().iter().map(|trap| trap.offset).collect();
        for range in code.buffer.get_srclocs_sorted() {
            let Some(point) = polled(range.loc) else { continue };
            if traps.contains(&range.start) {
                continue;
            }
            match tags.stable.get_mut(point) {
                Some([place @ None, _, _]) => *place = Some(range.start),
                // A move may have come between.
                Some([Some(place), _, _]) => *place = (*place).min(range.start),
                None => return Err(CompileError::bug(format!("a poll of stable point {point}"))),
            }
        }
        let returns: Vec<u32> = code.buffer.call_sites().map(|site| site.ret_addr).collect();
        let mut seen = HashSet::new();
        for list in code.buffer.debug_tags() {
            for tag in list.tags {
                let &DebugTag::User(tag) = tag else { continue };
                let is_call = tag & crate::translate::CALL_TAG != 0;
                if !is_call && tag & crate::translate::STABLE_TAG != 0 {
                    let tag = tag & !crate::translate::STABLE_TAG;
                    let (point, part) = (tag >> StablePart::BITS, tag & 3);
                    let parts = tags.stable.get_mut(point as usize);
                    match parts.and_then(|parts| parts.get_mut(part as usize)) {
                        Some(place @ None) => *place = Some(list.offset),
                        _ => return Err(CompileError::bug(format!("stable tag {tag:#x}"))),
                    }
                    continue;
                }
                // Cranelift tags all that a call is lowered to; only the call
                // itself is tagged behind it.
                if is_call && list.pos != MachDebugTagPos::Post {
                    continue;
                }
                let (place, pc) = if is_call {
                    // The tag follows the call and what unpacks its results.
                    let after = returns.partition_point(|&address| address <= list.offset);
                    let address = after.checked_sub(1).and_then(|at| returns.get(at));
                    let number = (tag & !crate::translate::CALL_TAG) as usize;
                    (tags.calls.get_mut(number), address.copied())
                } else {
                    let trap = trap_after(isa, code.buffer.data(), list.offset);
                    (tags.traps.get_mut(tag as usize), trap)
                };
                let (Some(place), Some(pc)) = (place, pc) else {
                    return Err(CompileError::bug(format!("tag {tag:#x} leads nowhere")));
                };
                if place.replace(pc).is_some() || !seen.insert((is_call, pc)) {
                    return Err(CompileError::bug(format!("tag {tag:#x} shares its place")));
                }
            }
        }
        Ok(tags)
    }
}

/// The first trap instruction at or after `start`, straight ahead.
pub(crate) fn trap_after(isa: Isa, code: &[u8], start: u32) -> Option<u32> {
    if isa != Isa::X86_64 {
        return foreign_trap_after(isa, code, start);
    }
    let bytes = code.get(start as usize..)?;
    let mut decoder = Decoder::with_ip(64, bytes, u64::from(start), DecoderOptions::NONE);
    while decoder.can_decode() {
        let instruction = decoder.decode();
        if instruction.code() == Code::Int3 {
            return u32::try_from(instruction.ip()).ok();
        }
        if instruction.is_invalid() || instruction.flow_control() != FlowControl::Next {
            return None;
        }
    }
    None
}

/// Likewise, for the instruction sets that say of each instruction how long it is.
fn foreign_trap_after(isa: Isa, code: &[u8], start: u32) -> Option<u32> {
    let mut at = start;
    while !isa.is_trap(code, CodeOffset::new(at)) {
        let next = next_ahead(isa, code, at)?;
        // Around islands; only ahead, so that this comes to an end.
        if next <= at {
            return None;
        }
        at = next;
    }
    Some(at)
}

/// Where execution goes from the instruction at `at`, if that is one place: behind
/// it, or where it jumps. (Conditional branches reach no further than 4 KiB on riscv64,
/// some of aarch64 32 KiB. Behind any instruction Cranelift may put an island of
/// veneers for them, and a jump around it before.)
pub(crate) fn next_ahead(isa: Isa, code: &[u8], at: u32) -> Option<u32> {
    let rest = code.get(at as usize..)?;
    let length = isa.instruction_length(rest)?;
    let instruction = rest.get(..length)?;
    if let Some(distance) = isa.jump(instruction).or_else(|| long_jump(isa, rest)) {
        return at.checked_add_signed(distance);
    }
    if isa.transfers_control(instruction) {
        return None;
    }
    at.checked_add(u32::try_from(length).ok()?)
}

/// A jump of riscv64 that reaches anywhere: `auipc t, high; jalr zero, low(t)`.
fn long_jump(isa: Isa, code: &[u8]) -> Option<i32> {
    let (&upper, rest) = code.split_first_chunk()?;
    let (upper, jump) = (u32::from_le_bytes(upper), u32::from_le_bytes(*rest.first_chunk()?));
    let is_pair = isa == Isa::Riscv64
        && upper & 0x7f == 0x17
        && jump & 0x7fff == 0x0067
        && jump >> 15 & 31 == upper >> 7 & 31;
    let high = (upper & 0xffff_f000).cast_signed();
    is_pair.then(|| high.wrapping_add(jump.cast_signed() >> 20))
}
