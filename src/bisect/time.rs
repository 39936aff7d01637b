//! When the two sides first differ.
//!
//! A stop at every boundary costs some microseconds each, so a long run is
//! narrowed down first: it is followed from one function's entry to the next. At
//! the first entry where the two differ the place is known up to the entry
//! before. A second run, over the log of the first one's host calls, goes up to
//! there in the same way and stops at every boundary from there on. A run that
//! is not long is followed at every boundary from the beginning instead, and so
//! is one in which no entry differs: what differs in between may be gone again
//! by the next entry.

use super::Case;
use crate::cli::RunArgs;
use crate::error::CommandError;
use crate::lockstep::Ending;
use crate::lockstep::follow::Requests;
use crate::lockstep::stops::{Control, Phase, Where};
use crate::run::{self, Ran};
use crate::session::Session;
use reports::SlotName;
use std::sync::Arc;
use std::time::Instant;
use wasi_host::World;
use wasm_view::{Boundary, FuncIdx};
use wasmparser::Operator;

/// Instructions beyond which a run is long: some seconds of stops.
pub const LONG: u64 = 500_000;

/// Stops before a divergence at which all suspended frames are compared.
const NEAR: u64 = 200_000;

/// Who spoilt a value that was seen to be wrong only later.
#[derive(Clone, Debug)]
pub struct Culprit {
    /// The instruction after which it was wrong.
    pub at: Boundary,
    /// The functions on the stack then, the one that holds the value last, the
    /// one at fault first.
    pub chain: Vec<FuncIdx>,
}

/// The first divergence, if there is one, and how it was found.
pub struct First {
    /// The run that has it.
    pub ran: Ran,
    /// How, for people.
    pub how: String,
    /// Subjects executed.
    pub executions: u64,
    /// Stops at entries of functions up to the last one that was equal, if that
    /// is how it was found.
    pub entries: Option<u64>,
    /// Whether it was not asked for how to follow it.
    pub narrowable: bool,
    /// Where the two differ if only entries are looked at, and instructions
    /// executed until then.
    pub coarse: Option<(Boundary, u64)>,
}

/// Finds it. `places` are those of `--break`.
///
/// # Errors
/// Whatever has no verdict.
pub fn first(
    session: &Session<'_>,
    args: &RunArgs,
    world: &mut World,
    places: Vec<Where>,
    control: &Arc<Control>,
) -> Result<First, CommandError> {
    control.enter(Phase::Comparing);
    let began = Instant::now();
    let asked = !places.is_empty() || args.break_every_insn;
    if asked || args.max_stops.is_some() || args.paranoid {
        let sparse = !places.is_empty() && !args.break_every_insn;
        let (max_stops, paranoid) = (args.max_stops, args.paranoid);
        let requests =
            Requests { places, every: !sparse, max_stops, paranoid, ..Requests::default() };
        let executed = session.execute(world, requests, control)?;
        let wall = began.elapsed();
        control.enter(Phase::Concluding);
        let mut ran = run::conclude(session, executed, sparse, world, control)?;
        ran.wall = wall;
        let how = "followed as asked".to_owned();
        let (entries, coarse) = (None, None);
        return Ok(First { ran, how, executions: 1, entries, narrowable: false, coarse });
    }
    let entries = || Requests { places: vec![Where::Entries], ..Requests::default() };
    let coarse = session.execute(world, entries(), control)?;
    let (boundaries, stops) = (coarse.stats.boundaries, coarse.stats.stops);
    if matches!(coarse.ending, Ending::Inconclusive { .. }) {
        let ran = run::conclude(session, coarse, true, world, control)?;
        let how = "followed from entry to entry".to_owned();
        let (entries, coarse) = (None, None);
        return Ok(First { ran, how, executions: 1, entries, narrowable: false, coarse });
    }
    let place = match &coarse.ending {
        Ending::Diverged(found) => Some((found.at, boundaries)),
        _ => None,
    };
    let diverged = place.is_some();
    let from = stops.saturating_sub(1);
    let narrow = diverged && boundaries > LONG && from > 0;
    let requests = if narrow {
        Requests { every_from: Some(from), ..entries() }
    } else {
        Requests { every: true, ..Requests::default() }
    };
    let mut replay = World::replaying(world.log().clone(), false);
    let fine = session.execute(&mut replay, requests, control)?;
    let wall = began.elapsed();
    let how = match narrow {
        true => format!(
            "followed for {from} entries of functions, then at every boundary of a second run"
        ),
        false => "followed at every boundary".to_owned(),
    };
    control.enter(Phase::Concluding);
    let lost = diverged && !matches!(fine.ending, Ending::Diverged(_));
    let mut ran = match lost {
        // Between entries nobody sees a freedom being used.
        true => run::conclude(session, coarse, true, world, control)?,
        false => run::conclude(session, fine, false, world, control)?,
    };
    ran.wall = wall;
    // A run followed everywhere may have found something that no entry sees.
    let entries = narrow.then_some(from);
    let coarse = place.filter(|_| !lost);
    Ok(First { ran, how, executions: 2, entries, narrowable: true, coarse })
}

impl Case<'_> {
    /// Whether a value that was wrong behind a call was spoilt by somebody who
    /// had returned long before: a register that belongs to a function further
    /// out is saved by those who use it, and only they can restore it wrongly.
    /// For that all suspended frames are compared at each stop before.
    ///
    /// # Errors
    /// What the host refuses; bugs of ours.
    pub fn culprit(&self) -> Result<Option<Culprit>, CommandError> {
        let at = self.finding.at;
        let Some(after) = self.finding.after else { return Ok(None) };
        let operator = self.program.module.operator(after.func, after.offset);
        let calls = matches!(
            operator,
            Some(Operator::Call { .. } | Operator::CallIndirect { .. } | Operator::CallRef { .. })
        );
        let locals = self.finding.slots.iter();
        let mut locals =
            locals.filter(|slot| matches!(slot.slot, SlotName::Local { frame: 0, .. }));
        if calls || after.func == at.func || locals.next().is_none() {
            return Ok(None);
        }
        let session = Session { program: self.program, image: self.image, calls: self.calls };
        let mut world = World::replaying(self.log.clone(), false);
        let requests = Requests {
            max_boundaries: Some(self.executed + 1),
            walk_from: Some(self.finding.index.saturating_sub(NEAR)),
            ..self.requests()
        };
        self.executions.set(self.executions.get() + 1);
        let Ending::Diverged(found) = session.execute(&mut world, requests, self.control)?.ending
        else {
            return Ok(None);
        };
        let Some(spoilt) = found.after.filter(|_| found.index < self.finding.index) else {
            return Ok(None);
        };
        let holder = found.slots.iter().find_map(|slot| match slot.slot {
            SlotName::Local { frame, .. } | SlotName::Stack { frame, .. } => Some(frame as usize),
            _ => None,
        });
        let chain = [spoilt].into_iter().chain(found.frames.iter().copied());
        let chain = chain.take(holder.unwrap_or(0) + 2).map(|frame| frame.func).collect();
        Ok(Some(Culprit { at: spoilt, chain }))
    }
}
