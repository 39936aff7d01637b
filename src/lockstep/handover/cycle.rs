//! Capture, destroy, restore: a stable point in one process.
//!
//! A program that runs in lockstep anyway can be asked at each stable point whether
//! it could be moved from there. Its state is captured and goes through the
//! snapshot format; then everything that the subject had is destroyed (registers,
//! stack, memories, tables, globals), and what was read back is restored and
//! captured once more. The oracle that goes on is loaded from it, too.
//!
//! That takes as long as the stack is deep, so each stable point pays for
//! `FRAMES_PER_POINT` frames, as for [walks](crate::lockstep::stable): at every one of
//! them as long as the stack is not deeper than that, else at every so many.

use super::Progress;
use crate::error::CommandError;
use crate::lockstep::follow::{Ending, Lockstep};
use dwarf_map::SubjectAddr;
use oracle_interp::{Limits, Oracle};
use std::sync::Arc;
use tracer::{RegionId, Subject};
use wasm_view::snapshot::{self, Snapshot};
use wasm_view::{FuncAddr, Value};

/// Frames that each stable point pays for.
const FRAMES_PER_POINT: usize = 32;
/// What a register holds that nobody has set.
const LOST: u64 = 0xbad0_bad0_bad0_bad0;
/// Bytes at the beginning and the end of a memory that are destroyed; what lies
/// between them in a larger one is not worth the time.
const DESTROYED: u64 = 1 << 20;
/// Elements of a table that are destroyed.
const ELEMENTS: u64 = 4096;
/// DWARF number of the stack pointer.
const RSP: u16 = 7;

impl Lockstep<'_> {
    /// As [`Lockstep::call`], with the program's state captured, destroyed and
    /// restored at each stable point on the way. `limits` are the oracle's.
    ///
    /// # Errors
    /// As [`Lockstep::call`].
    pub fn call_restoring(
        &mut self,
        func: FuncAddr,
        args: &[Value],
        limits: &Limits,
    ) -> Result<Ending, CommandError> {
        let mut progress = self.call_until(func, args, 1)?;
        let mut paid = 0;
        loop {
            match progress {
                Progress::Ended(ending) => {
                    self.pause = None;
                    return Ok(ending);
                }
                Progress::Paused => {
                    paid += FRAMES_PER_POINT;
                    if paid >= self.oracle.depth() {
                        paid = 0;
                        if let Some(ending) = self.cycle(limits)? {
                            self.pause = None;
                            return Ok(ending);
                        }
                    }
                    progress = self.proceed(1)?;
                }
            }
        }
    }

    /// Takes the program's state from the subject, and gives it back.
    fn cycle(&mut self, limits: &Limits) -> Result<Option<Ending>, CommandError> {
        let captured = match self.capture()? {
            Err(ending) => return Ok(Some(ending)),
            Ok(captured) => captured,
        };
        let mut store = captured.view;
        store.collect();
        let snapshot = Snapshot { store, dead: captured.dead, ..Snapshot::default() };
        let modules: Vec<_> =
            self.oracle.instances().iter().map(|instance| Arc::clone(&instance.module)).collect();
        let snapshot = Snapshot { modules: vec![[0; 32]; modules.len()], ..snapshot };
        let bytes = snapshot::write(&snapshot);
        let read = snapshot::read(&bytes, u64::MAX).map_err(CommandError::bug)?;
        if read != snapshot {
            return Err(CommandError::bug("a snapshot that reads otherwise than it was written"));
        }
        let mut loaded = Oracle::load(*limits, &modules, &read.store).map_err(CommandError::bug)?;
        if loaded.view() != read.store {
            return Err(CommandError::bug("the oracle has loaded another view than it was given"));
        }
        self.oracle = loaded;
        self.destroy()?;
        match self.restore()? {
            Progress::Ended(ending) => return Ok(Some(ending)),
            Progress::Paused => {}
        }
        self.stats.restored += 1;
        self.recapture(&read)
    }

    /// Overwrites what the subject has.
    fn destroy(&mut self) -> Result<(), CommandError> {
        let top = self.subject.regs().dwarf(RSP).unwrap_or_default();
        let space = self.space();
        let used = space.stack_top().since(SubjectAddr::new(top)).unwrap_or_default();
        let size = self.subject.region(space.stack).len();
        fill(&self.subject, space.stack, size.saturating_sub(used)..size)?;
        // What instances have that are still to come is not there yet.
        let memories = self.owners.memories.iter().take(self.oracle.num_memories());
        for (owner, index) in memories {
            let memory = self.spaces[owner.index()].memories[index.index()];
            let size = self.subject.region(memory).len();
            fill(&self.subject, memory, 0..size.min(DESTROYED))?;
            fill(&self.subject, memory, size.saturating_sub(DESTROYED)..size)?;
        }
        for (owner, index) in self.owners.tables.iter().take(self.oracle.num_tables()) {
            let space = &self.spaces[owner.index()];
            let elements = space.table_size(&self.subject, *index)?;
            let table = space.tables[index.index()];
            fill(&self.subject, table, 0..8 * elements.min(ELEMENTS))?;
        }
        for (owner, index) in self.defined_globals() {
            let space = &self.spaces[owner.index()];
            space.set_global(&self.subject, index, u128::from(LOST))?;
        }
        let mut regs = *self.subject.regs();
        for register in 0..16 {
            regs.set_dwarf(register, LOST);
        }
        self.subject.set_regs(&regs);
        Ok(())
    }
}

/// Overwrites bytes of a region.
fn fill(
    subject: &Subject,
    region: RegionId,
    range: std::ops::Range<u64>,
) -> Result<(), CommandError> {
    const BLOCK: [u8; 4096] = [0x5c; 4096];
    let mut at = range.start;
    while at < range.end {
        let count = (range.end - at).min(BLOCK.len() as u64);
        let block = &BLOCK[..count as usize];
        subject.region(region).write(at, block).map_err(CommandError::bug)?;
        at += count;
    }
    Ok(())
}
