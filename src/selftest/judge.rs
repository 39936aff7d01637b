//! The judge: what a fault does, and when a report of it is due.
//!
//! Faults of code are executed beside the code as it was compiled. Of a wrong map nothing
//! is executed: it is wrong where its location, or its frame address, gives other bits than
//! the right one, and a wrong anchor or stable point is wrong whenever execution comes there
//! (unless what it lacks is a value that nobody needs).

use super::draw::Drawn;
use super::locate::{FaultyCode, locate};
use super::machine::Machine;
use super::prepare::Prepared;
use super::stepper::{self, Change, Effect, Places};
use super::verdict::{Due, Said};
use super::watchdog::Watchdog;
use crate::error::CommandError;
use crate::inject::map::{BoundaryFault, anchored_after};
use crate::inject::stable::StableFault;
use crate::inject::{Fault, Injected};
use crate::lockstep::plan::BoundaryId;
use crate::lockstep::stops::Control;
use crate::session::Session;
use aot_backend::Image;
use dwarf_map::{CodeOffset, Location};
use oracle_interp::Liveness;
use std::sync::Arc;
use wasm_view::SlotIdx;

/// A fault that was put into an image.
pub struct Case<'a> {
    /// The program as it is.
    pub prepared: &'a Prepared,
    /// With the fault.
    pub image: &'a Image,
    /// The fault.
    pub drawn: &'a Drawn,
    /// What was changed.
    pub injected: &'a Injected,
    /// What the whole self-test is asked.
    pub all: &'a Arc<Control>,
}

/// What keeps two machines from running for ever.
struct Clock {
    controls: [Arc<Control>; 2],
    _watchdog: Watchdog,
}

impl Case<'_> {
    /// Says what the fault does, and when a report is due. `said` is what was reported: of
    /// a fault that has no effect the place matters only if something was.
    ///
    /// # Errors
    /// What the host refuses; a machine that does not come to an end in time.
    pub fn judge(&self, said: &Said) -> Result<(Effect, Due), CommandError> {
        match (self.injected.code, self.drawn.wrong, &self.drawn.fault) {
            (Some((at, _)), _, _) => self.code(at, said),
            (None, Some(wrong), Fault::Map { slot, .. }) => self.place(*slot, wrong),
            (None, None, Fault::Frame { .. }) => self.frame(),
            (None, None, Fault::Boundary { .. } | Fault::Stable { .. }) => Ok(self.anchor()),
            _ => Err(CommandError::bug("a fault that is nowhere")),
        }
    }

    fn clock(&self) -> Clock {
        let controls = [Control::new(), Control::new()];
        let watched = [&controls[0], &controls[1]];
        let watchdog = Watchdog::new(self.all, &watched, self.prepared.patience);
        Clock { controls, _watchdog: watchdog }
    }

    fn machine<'m>(
        &'m self,
        image: &'m Image,
        control: &Arc<Control>,
    ) -> Result<Machine<'m>, CommandError> {
        let Prepared { program, calls, log, .. } = self.prepared;
        Machine::new(&Session { program, image, calls }, log, control)
    }

    fn code(&self, at: CodeOffset, said: &Said) -> Result<(Effect, Due), CommandError> {
        let places = Places::new(&self.prepared.image)?;
        let pair = |clock: &Clock| {
            let [ours, theirs] = &clock.controls;
            let clean = self.machine(&self.prepared.image, ours)?;
            Ok((clean, self.machine(self.image, theirs)?))
        };
        let clock = self.clock();
        let (clean, faulty) = pair(&clock)?;
        let effect = stepper::code(clean, faulty, &places.plan, at)?;
        let change = match &effect {
            Effect::Changed(change) => Some(change),
            Effect::Nothing if matches!(said, Said::Divergence { .. }) => None,
            _ => return Ok((effect, Due { from: 0, by: None })),
        };
        // Code that is come to from elsewhere alone is not skipped to.
        let first = self.first_of(&[self.drawn.at]).unwrap_or_default();
        let fault = FaultyCode { at, boundary: self.drawn.at, first };
        // What never ended has used up the time of the first one.
        drop(clock);
        let clock = self.clock();
        let when = locate(|| pair(&clock), &places, fault, change)?;
        Ok((effect, Due { from: when.reached, by: when.first }))
    }

    fn place(&self, slot: SlotIdx, wrong: Location) -> Result<(Effect, Due), CommandError> {
        let places = Places::new(&self.prepared.image)?;
        let clock = self.clock();
        let machine = self.machine(&self.prepared.image, &clock.controls[0])?;
        let effect = stepper::map(machine, &places, self.drawn.at, slot, wrong)?;
        let Effect::Changed(change) = &effect else {
            // No execution gives another value: no report is right.
            return Ok((effect, Due { from: u64::MAX, by: None }));
        };
        let due = self.position(self.drawn.at, change.hit)?;
        Ok((effect, Due { from: due, by: Some(due) }))
    }

    fn frame(&self) -> Result<(Effect, Due), CommandError> {
        let places = Places::new(&self.prepared.image)?;
        let clock = self.clock();
        let machine = self.machine(&self.prepared.image, &clock.controls[0])?;
        let (effect, seen) = stepper::frame(machine, &places, self.drawn.at.function)?;
        // A frame that is found in the wrong place may be seen before a slot in it is.
        let mut trace = self.prepared.trace.iter();
        let from = trace.position(|id| id.function == self.drawn.at.function);
        let by = seen.map(|(id, hit)| self.position(id, hit)).transpose()?;
        Ok((effect, Due { from: from.unwrap_or_default() as u64, by }))
    }

    fn anchor(&self) -> (Effect, Due) {
        let wrong: Vec<BoundaryId> =
            std::iter::once(self.drawn.at).chain(self.swapped_with()).collect();
        let Some(due) = self.first_of(&wrong) else {
            return (Effect::NotReached, Due { from: u64::MAX, by: None });
        };
        if !self.is_wanted() {
            return (Effect::Nothing, Due { from: u64::MAX, by: None });
        }
        let what = format!("execution comes to {}", self.injected.change);
        let change = Change { hit: 1, boundaries: None, what };
        // That something else was reached is said of the boundary it was reached from.
        let from = due.saturating_sub(1);
        (Effect::Changed(change), Due { from, by: Some(due) })
    }

    /// Whether anybody needs what the fault took away: a value that is missing at a stable
    /// point may be one that is never read again.
    fn is_wanted(&self) -> bool {
        let Fault::Stable { func, offset, kind: StableFault::Missing } = self.drawn.fault else {
            return true;
        };
        let Prepared { program, image, .. } = self.prepared;
        let function = &image.map.functions[self.drawn.at.function as usize];
        let slot = function.stable_point(offset).and_then(|point| point.slots.last());
        let liveness = Liveness::compute(&program.module, func);
        slot.zip(liveness).is_none_or(|((slot, _), live)| live.is_live(offset, *slot))
    }

    /// Where execution first comes to one of these boundaries.
    fn first_of(&self, boundaries: &[BoundaryId]) -> Option<u64> {
        let mut trace = self.prepared.trace.iter();
        trace.position(|id| boundaries.contains(id)).map(|position| position as u64)
    }

    /// The position of an execution of a boundary, counted from 1.
    fn position(&self, at: BoundaryId, hit: u64) -> Result<u64, CommandError> {
        let executions = (0..).zip(&self.prepared.trace).filter(|(_, id)| **id == at);
        let mut positions = executions.map(|(position, _)| position);
        let found = positions.nth((hit - 1) as usize);
        found.ok_or_else(|| CommandError::bug("a boundary executed more often than traced"))
    }

    /// The boundary whose anchor is taken for that of the faulty one.
    fn swapped_with(&self) -> Option<BoundaryId> {
        let Fault::Boundary { func, offset, kind: BoundaryFault::Swapped } = self.drawn.fault
        else {
            return None;
        };
        let image = &self.prepared.image;
        let (next, _) = anchored_after(image, func, offset)?;
        let function = self.drawn.at.function;
        let boundaries = &image.map.functions[function as usize].boundaries;
        let index = boundaries.iter().position(|boundary| boundary.offset == next)? as u32;
        Some(BoundaryId { function, index })
    }
}
