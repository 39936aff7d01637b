//! Stable points: a poll behind the trap, and a path that stores the state.
//!
//! ```text
//!   sequence_point, debugtrap         the boundary, as everywhere
//!   sequence_point                    (POLL)
//!   brif load(flag) & instance, cold, next
//! next:                               cold:
//!   the Wasm instruction                sequence_point             (COLD)
//!                                       buffer := offset, live slots
//!                                       sequence_point, debugtrap  (EXIT)
//!                                       jump next
//! ```
//! In code as it ships the first line is missing, and the poll itself is where the
//! boundary's state is read. Most cold paths then have nothing to store, and are a trap alone:
//!
//! ```text
//!   trapnz load(flag + n) & instance  (POLL) the boundary
//!   the Wasm instruction
//! ```
//!
//! What the cold path stores it must be able to reach, so that every live value
//! is somewhere at the trap or poll: in a register, on the stack, or in what it is
//! computed from. In code as it ships nothing is stored that is somewhere anyway,
//! which is nearly all, unless another witness of the state is asked for.
//!
//! The sequence point before each poll keeps Cranelift from merging the loads of
//! the flag; without, 81 polls became one. Where the cold path is a trap alone they
//! look at different bytes of the flag instead.
//!
//! **Restore edges**, where they are asked for, are the way back: see
//! [`Translator::restore_edges`]. They make a stable point a place where values
//! come together, from the execution that went before or from the state buffer,
//! so that what is live there is held somewhere in any case.
//!
//! **Keeping what is lost.** Optimised code may compute a value on the cold
//! path and once more where it is needed, and not have it at the trap. Mostly
//! the map can derive it. Where it cannot, the function is translated again
//! with the value stored to a stack slot right before the trap, or before the
//! call for a value that a suspended frame needs. Few are: only those pay. (Where
//! the cold path does not store everything, it is first translated again with
//! the value stored there.)

use super::{Outcome, STABLE_TAG, Translator};
use crate::abi::{self, POINTER};
use crate::error::CompileError;
use crate::options::Anchors;
use crate::translate::field;
use cranelift_codegen::ir::{
    Block, BlockCall, DebugTag, Endianness, InstBuilder, JumpTableData, MemFlagsData, SourceLoc,
    StackSlot, StackSlotData, StackSlotKind, Value, types,
};
use dwarf_map::{InstanceLayout, StablePoint, StablePoints, buffer_bytes};
use std::collections::BTreeMap;
use wasm_view::{SlotIdx, ValType, WasmOffset};

/// Values that the map would lose: slots by number of the boundary, and of the
/// call site, in the order of translation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keep {
    /// Stored before the trap or poll of a boundary.
    pub boundaries: BTreeMap<u32, Vec<usize>>,
    /// Stored before a call.
    pub calls: BTreeMap<u32, Vec<usize>>,
    /// Stored on the cold path of a boundary, which is enough for most to be
    /// somewhere at the poll.
    pub cold: BTreeMap<u32, Vec<usize>>,
    /// Whether there has to be a fence at each poll: two were taken for one.
    pub fenced: bool,
}

/// Polls in sequence that look at different bytes of the flag.
const POLL_OFFSETS: u32 = InstanceLayout::FLAG_SIZE - 7;

/// Set in the source location of a poll that is a trap alone, the number of the
/// stable point being the rest: all that says which instructions it is.
pub(super) const POLL_LOCATION: u32 = 1 << 31;

fn poll_location(point: u32) -> SourceLoc {
    SourceLoc::new(POLL_LOCATION | point)
}

/// The number of the stable point whose poll has this source location.
pub(crate) fn polled(location: SourceLoc) -> Option<usize> {
    let bits = location.bits();
    let is_poll = !location.is_default() && bits & POLL_LOCATION != 0;
    is_poll.then_some((bits & !POLL_LOCATION) as usize)
}

impl Keep {
    /// Adds others, behind those of the same boundary or call.
    pub fn extend(&mut self, more: Keep) {
        let Keep { boundaries, calls, cold, fenced } = more;
        self.fenced |= fenced;
        for (mine, more) in
            [(&mut self.boundaries, boundaries), (&mut self.calls, calls), (&mut self.cold, cold)]
        {
            for (number, slots) in more {
                mine.entry(number).or_default().extend(slots);
            }
        }
    }
}

/// A part of a stable point that a debug tag marks; its low bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StablePart {
    /// Before the poll.
    Poll = 0,
    /// At the beginning of the cold path.
    Cold = 1,
    /// Before the cold path's trap.
    Exit = 2,
}

impl StablePart {
    /// Bits of a tag that say which part it is.
    pub const BITS: u32 = 2;

    fn tag(self, point: u32) -> u32 {
        STABLE_TAG | point << Self::BITS | self as u32
    }
}

/// A stable point, as far as the translator knows it.
#[derive(Debug)]
pub(crate) struct StableDraft {
    /// Number of its boundary.
    pub boundary: u32,
    /// What the cold path stores where.
    pub slots: Vec<(SlotIdx, u32)>,
}

impl Translator<'_, '_> {
    /// Places the poll of the stable point whose trap was placed last.
    pub(super) fn poll(&mut self, offset: WasmOffset, boundary: u32) -> Outcome {
        let point = u32::try_from(self.stable.len()).unwrap_or(STABLE_TAG);
        if point >= STABLE_TAG >> StablePart::BITS {
            return Err(CompileError::too_large("a function has too many stable points"));
        }
        let slots = self.layout(offset)?;
        let kept = self.keep.cold.get(&boundary).map_or(&[][..], Vec::as_slice);
        let dumps = self.env.dumps;
        // Nothing to store, and nothing behind: a trap for whoever asks for it. It
        // does not end a block, which a branch to a path of its own does.
        let alone = !dumps && kept.is_empty();
        // A sequence point is a fence: what was read from memory before would be read
        // once more. So polls are told apart by what they read, as long as that will do.
        let fenced = !alone || self.keep.fenced;
        if fenced {
            self.mark(StablePart::Poll, point);
        }
        let flag = InstanceLayout::FLAG + if fenced { 0 } else { point % POLL_OFFSETS };
        if alone {
            self.builder.set_srcloc(poll_location(point));
        }
        // In this order it is one instruction on x86-64, without a register for the flag.
        let flag = self.load_field(types::I64, flag, false)?;
        let flag = self.builder.ins().band(self.instance, flag);
        if alone {
            self.builder.ins().trapnz(flag, abi::STABLE_TRAP);
            self.builder.set_srcloc(SourceLoc::new(offset.get()));
            self.stable.push(StableDraft { boundary, slots });
            return Ok(());
        }
        let mut stored = Vec::new();
        for &(slot, place) in &slots {
            if dumps || kept.contains(&slot.index()) {
                let value = self.state.value(&mut self.builder, slot.index());
                stored.push((value.ok_or_else(|| CompileError::bug("a slot vanished"))?, place));
            }
        }
        let [cold, next] = [(); 2].map(|()| self.builder.create_block());
        self.builder.ins().brif(flag, cold, &[], next, &[]);
        self.builder.set_cold_block(cold);
        self.builder.seal_block(cold);
        self.builder.switch_to_block(cold);

        self.mark(StablePart::Cold, point);
        if dumps || !stored.is_empty() {
            let buffer = self.load_field(POINTER, InstanceLayout::STATE_BUFFER, false)?;
            let flags = super::instance_flags(false);
            if dumps {
                // The offset names the function too; and four bytes can be
                // stored without a register for them.
                let name = i64::from(offset.get().cast_signed());
                let name = self.builder.ins().iconst(types::I32, name);
                self.builder.ins().store(flags, name, buffer, 0);
            }
            for (value, place) in stored {
                self.builder.ins().store(flags, value, buffer, field(place)?);
            }
        }
        self.mark(StablePart::Exit, point);
        self.builder.ins().debugtrap();
        if point == 0 && self.restorable {
            let number = self.load_field(types::I32, InstanceLayout::RESTORE, false)?;
            let edges = self.builder.create_block();
            self.builder.set_cold_block(edges);
            self.builder.ins().brif(number, edges, &[], next, &[]);
            self.builder.seal_block(edges);
            self.restore = Some((edges, number));
        } else {
            self.builder.ins().jump(next, &[]);
        }

        self.builder.seal_block(next);
        self.builder.switch_to_block(next);
        if self.env.anchors == Anchors::Trap {
            // Something to put instructions behind (see `keep_undecided`).
            self.builder.ins().sequence_point();
        }
        self.stable.push(StableDraft { boundary, slots });
        Ok(())
    }

    /// Begins the block at which a stable point stands: it is entered from what
    /// comes before, and by the restore edge.
    pub(super) fn stand(&mut self) {
        let stand = self.builder.create_block();
        self.builder.ins().jump(stand, &[]);
        self.builder.switch_to_block(stand);
        self.stands.push(stand);
    }

    /// Compiles the restore edges, once all stable points are known: behind the
    /// trap of the entry's cold path, to each of them.
    ///
    /// ```text
    ///   COLD, EXIT of the entry
    ///   brif load(restore), edges, next
    /// edges:
    ///   br_table restore - 1, edge 0, edge 1, ..
    /// edge n:
    ///   live slots := buffer, dead ones := 0
    ///   jump stand n
    /// ```
    pub(super) fn restore_edges(&mut self) -> Outcome {
        let Some((edges, number)) = self.restore.take() else { return Ok(()) };
        let stands = std::mem::take(&mut self.stands);
        if stands.len() != self.stable.len() {
            return Err(CompileError::bug("a stable point without its place"));
        }
        let blocks: Vec<Block> = stands.iter().map(|_| self.builder.create_block()).collect();
        self.builder.switch_to_block(edges);
        self.builder.set_srcloc(SourceLoc::default());
        let pool = &mut self.builder.func.dfg.value_lists;
        let mut calls: Vec<BlockCall> =
            blocks.iter().map(|block| BlockCall::new(*block, [], pool)).collect();
        let Some(last) = calls.pop() else {
            return Err(CompileError::bug("restore edges without a stable point"));
        };
        let table = self.builder.create_jump_table(JumpTableData::new(last, &calls));
        let index = self.builder.ins().iadd_imm_s(number, -1);
        self.builder.ins().br_table(index, table);
        for (at, (block, stand)) in blocks.into_iter().zip(stands).enumerate() {
            self.builder.seal_block(block);
            self.builder.set_cold_block(block);
            self.builder.switch_to_block(block);
            self.load_state(at)?;
            self.builder.ins().jump(stand, &[]);
            self.builder.seal_block(stand);
        }
        Ok(())
    }

    /// Loads what a stable point's cold path stores.
    fn load_state(&mut self, point: usize) -> Outcome {
        let draft = &self.stable[point];
        let operands = self.boundaries[draft.boundary as usize].operands.clone();
        let slots = draft.slots.clone();
        let buffer = self.load_field(POINTER, InstanceLayout::STATE_BUFFER, false)?;
        let locals = self.state.local_types();
        let all: Vec<ValType> = locals.chain(operands.iter().copied()).collect();
        let mut stored = slots.into_iter().peekable();
        let mut values = Vec::with_capacity(all.len());
        for (slot, ty) in all.into_iter().enumerate() {
            values.push(match stored.next_if(|(stored, _)| stored.index() == slot) {
                Some((_, place)) => {
                    let flags = super::instance_flags(false);
                    self.builder.ins().load(abi::native_type(ty), flags, buffer, field(place)?)
                }
                None => super::zero(&mut self.builder, ty),
            });
        }
        self.state.assume(&mut self.builder, &operands, &values);
        Ok(())
    }

    fn mark(&mut self, part: StablePart, point: u32) {
        let marker = self.builder.ins().sequence_point();
        self.builder.func.debug_tags.set(marker, [DebugTag::User(part.tag(point))]);
    }

    /// Live slots of a boundary with their places in the state buffer.
    fn layout(&self, offset: WasmOffset) -> Result<Vec<(SlotIdx, u32)>, CompileError> {
        let locals = self.state.slots() - self.state.height();
        let mut free = StablePoint::HEADER;
        let mut slots = Vec::new();
        for slot in 0..self.state.slots() {
            let ty = match slot.checked_sub(locals) {
                None if !self.is_live(offset, slot) => continue,
                None => self.local_type(u32::try_from(slot).map_err(CompileError::bug)?)?,
                Some(depth) => self.state.types()[depth],
            };
            let place = free.next_multiple_of(buffer_bytes(ty));
            slots.push((SlotIdx::from_index(slot), place));
            free = place
                .checked_add(buffer_bytes(ty))
                .ok_or_else(|| CompileError::too_large("the state of a stable point"))?;
        }
        Ok(slots)
    }

    fn is_live(&self, offset: WasmOffset, local: usize) -> bool {
        self.live.as_ref().is_none_or(|live| live.is_live(offset, local))
    }

    /// Notes what must be recoverable while the call made last runs: what is
    /// live where it returns.
    pub(super) fn mark_live_behind(&mut self) {
        if matches!(self.env.stable, StablePoints::Calls | StablePoints::Labels)
            && let Some(values) = self.calls.last().map(|call| call.values.clone())
        {
            let locals = values.len() - self.state.height();
            let live = (0..values.len())
                .filter(|slot| *slot >= locals || self.is_live(self.next_offset, *slot));
            let live = live.collect();
            if let Some(call) = self.calls.last_mut() {
                call.live = live;
            }
        }
    }

    /// Stores what the next boundary would lose.
    pub(super) fn keep_for_boundary(&mut self, boundary: u32) {
        let keep = self.keep;
        if let Some(slots) = keep.boundaries.get(&boundary) {
            self.keep_values(slots);
        }
    }

    /// Stores what the next call site would lose.
    pub(super) fn keep_for_call(&mut self) {
        let keep = self.keep;
        let next = u32::try_from(self.calls.len()).unwrap_or(u32::MAX);
        if let Some(slots) = keep.calls.get(&next) {
            self.keep_values(slots);
        }
    }

    fn keep_values(&mut self, slots: &[usize]) {
        for (position, slot) in slots.iter().enumerate() {
            let Some(value) = self.state.value(&mut self.builder, *slot) else { continue };
            let place = self.kept_slot(position);
            self.store_whole(value, place);
        }
    }

    /// Stores a value as the register allocator would: where words lie in memory with
    /// the highest byte first, a vector does as one word.
    pub(super) fn store_whole(&mut self, value: Value, place: StackSlot) {
        let is_vector = self.builder.func.dfg.value_type(value).is_vector();
        let value = if is_vector && self.env.isa.endianness() == Endianness::Big {
            let flags = MemFlagsData::new().with_endianness(Endianness::Little);
            self.builder.ins().bitcast(types::I128, flags, value)
        } else {
            value
        };
        self.builder.ins().stack_store(abi::POINTER, value, place, 0);
    }

    fn kept_slot(&mut self, position: usize) -> StackSlot {
        while self.kept.len() <= position {
            // Room for a vector.
            let data = StackSlotData::new(StackSlotKind::ExplicitSlot, 16, 4);
            let slot = self.builder.create_sized_stack_slot(data);
            self.kept.push(slot);
        }
        self.kept[position]
    }
}
