//! Capture, destroy, restore: a stable point in one process.
//!
//! A program that runs in lockstep anyway can be asked at each stable point whether
//! it could be moved from there. Its state is captured and goes through the
//! snapshot format; then everything that the subject had is destroyed (registers,
//! stack, memories, tables, globals), and what was read back is restored and
//! captured once more. The oracle that goes on is loaded from it, too.
//!
//! Each stable point is restored when it is executed first. But a loop of a million turns
//! is not restored a million times: of each point the first `FIRST` executions count,
//! then every second one until there are twice as many, then every fourth, and so on. And
//! as it takes as long as the stack is deep and memories are large, each that counts pays
//! for `FRAMES_PER_POINT` frames, as for [walks](crate::lockstep::stable), or as many
//! times `BYTES_PER_FRAME`: all of them are restored as long as there is not more than
//! that, else every so many. How many it was is in the report.

use super::Progress;
use crate::error::CommandError;
use crate::lockstep::follow::{Ending, Lockstep};
use crate::lockstep::plan::BoundaryId;
use dwarf_map::SubjectAddr;
use oracle_interp::{Limits, Oracle};
use std::collections::HashMap;
use std::sync::Arc;
use tracer::{RegionId, Subject};
use wasm_view::snapshot::{self, Snapshot};
use wasm_view::{FuncAddr, Value};

/// The first executions of a stable point, all of which count.
const FIRST: u64 = 512;
/// Frames that each one that counts pays for.
const FRAMES_PER_POINT: u64 = 32;
/// Bytes of memories that take as long as a frame.
const BYTES_PER_FRAME: u64 = 1 << 15;
/// What a register holds that nobody has set.
const LOST: u64 = 0xbad0_bad0_bad0_bad0;
/// Bytes at the beginning and the end of a memory that are destroyed; what lies
/// between them in a larger one is not worth the time.
const DESTROYED: u64 = 1 << 20;
/// Elements of a table that are destroyed.
const ELEMENTS: u64 = 4096;
/// DWARF number of the stack pointer.
const RSP: u16 = 7;

/// When the next stable point is restored.
#[derive(Default)]
pub struct Cycles {
    /// How often each was executed.
    executions: HashMap<BoundaryId, u64>,
    /// Frames paid for since the last time.
    paid: u64,
}

impl Cycles {
    /// Whether it is one that is executed now, where that takes as long as so many
    /// frames.
    fn is_due(&mut self, at: BoundaryId, frames: u64) -> bool {
        let executions = self.executions.entry(at).or_default();
        let is_first = *executions == 0;
        let apart = (2 * *executions / FIRST).checked_ilog2().unwrap_or(0);
        let counts = executions.is_multiple_of(1 << apart);
        *executions += 1;
        self.paid += if counts { FRAMES_PER_POINT } else { 0 };
        let is_due = is_first || counts && self.paid >= frames;
        if is_due {
            self.paid = 0;
        }
        is_due
    }
}

impl Lockstep<'_> {
    /// As [`Lockstep::call`], with the program's state captured, destroyed and
    /// restored at stable points on the way, see above. `limits` are the oracle's.
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
        loop {
            match progress {
                Progress::Ended(ending) => {
                    self.pause = None;
                    return Ok(ending);
                }
                Progress::Paused => {
                    let frames = self.oracle.depth() as u64 + self.bytes() / BYTES_PER_FRAME;
                    let here = self.here.map(|(here, _)| here);
                    if here.is_none_or(|here| self.cycles.is_due(here, frames))
                        && let Some(ending) = self.cycle(limits)?
                    {
                        self.pause = None;
                        return Ok(ending);
                    }
                    progress = self.proceed(1)?;
                }
            }
        }
    }

    /// How large all memories are.
    fn bytes(&self) -> u64 {
        let memories = self.owners.memories.iter().take(self.oracle.num_memories());
        let sizes = memories.map(|(owner, index)| {
            self.subject.region(self.spaces[owner.index()].memories[index.index()]).len()
        });
        sizes.sum()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn times(executions: u64, frames: u64) -> u64 {
        let at = BoundaryId { function: 0, index: 0 };
        let mut cycles = Cycles::default();
        (0..executions).filter(|_| cycles.is_due(at, frames)).count() as u64
    }

    #[test]
    fn what_is_executed_often_is_restored_at_every_so_many() {
        assert_eq!(times(1, 1 << 40), 1);
        assert_eq!(times(FIRST, FRAMES_PER_POINT), FIRST);
        assert_eq!(times(2 * FIRST, 1), FIRST + FIRST / 2);
        assert_eq!(times(FIRST << 11, 1), FIRST + 11 * FIRST / 2);
        // The first one has not been paid for.
        assert_eq!(times(FIRST, 4 * FRAMES_PER_POINT), 1 + (FIRST - 1) / 4);
    }
}
