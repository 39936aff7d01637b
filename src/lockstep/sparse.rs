//! Runs that halt the subject at some boundaries only.
//!
//! With `--break` the traps at all other boundaries are NOPs, and both sides
//! run through them: the oracle to its next stop, then the subject. Two things
//! that a stop at every boundary gives for nothing need care here.
//!
//! *Freedoms.* An instruction on the way may produce a NaN of the subject's
//! choice, which the oracle must adopt or it follows another execution. So the
//! oracle pauses at every instruction that can do so, and when the result is
//! a NaN the two meet right behind it: the trap there is planted for as many
//! passes as the oracle has made there since the last stop.
//!
//! *Frames.* Between two stops the stack may have been left and entered any
//! number of times. The oracle knows how far it shrank; what lies above is
//! found by unwinding, each frame held against the oracle's: function, call
//! site and the values of its slots.
//!
//! A run that is to halt nowhere but where it pauses ([`Where::Pauses`](super::stops::Where))
//! meets there in the same way: the oracle counts stable points, and the trap of the
//! one to pause at is planted for as many passes as it has made.

use super::follow::Lockstep;
use super::frames::{FrameFinding, NativeFrame};
use super::plan::BoundaryId;
use super::stops::Selection;
use crate::error::CommandError;
use dwarf_map::unwind::Registers;
use dwarf_map::{Anchor, CodeOffset, SubjectAddr};
use oracle_interp::{Event, Module, StopSet};
use std::collections::HashMap;
use std::sync::Arc;
use wasm_view::{FuncIdx, WasmOffset};

/// Instructions that the oracle executes between two looks at the control.
const SLICE: u64 = 1 << 20;
/// Times that the subject may halt at a stable point on its way to the pass at which
/// the two meet there.
const MOST_PASSES: u64 = 64;

/// The stops of a sparse run.
pub struct Sparse {
    /// Where the subject halts.
    stops: StopSet,
    /// Behind instructions whose result may be a NaN.
    behind: StopSet,
    /// Both, and those instructions: where the oracle pauses.
    pauses: StopSet,
    /// The stable points, where the subject halts at the one to pause at alone.
    points: Option<StopSet>,
    /// How often the oracle came by since the last stop, for those behind and for
    /// stable points that are counted.
    passes: HashMap<(FuncIdx, WasmOffset), u64>,
    meeting: Option<Meeting>,
}

/// A boundary at which the two meet although it is no stop.
struct Meeting {
    at: BoundaryId,
    pc: CodeOffset,
    /// Times that the subject still comes by, the last of which counts.
    left: u64,
}

impl Sparse {
    /// A run that stops at these boundaries, and pauses at some of the points.
    pub fn new(stops: StopSet, points: Option<StopSet>, module: &Arc<Module>) -> Sparse {
        let mut behind = StopSet::new(module);
        behind.insert_behind_nan_freedoms();
        let mut pauses = points.clone().unwrap_or_else(|| stops.clone());
        pauses.insert_nan_freedoms();
        pauses.insert_behind_nan_freedoms();
        Sparse { stops, behind, pauses, points, passes: HashMap::new(), meeting: None }
    }
}

impl Lockstep<'_> {
    /// Halts the subject at every boundary from the one on at which it stands.
    pub(super) fn stop_everywhere(&mut self) -> Result<(), CommandError> {
        if !matches!(self.selection, Selection::Some(_)) {
            return Ok(());
        }
        for boundary in self.image.map.functions.iter().flat_map(|function| &function.boundaries) {
            if let Anchor::Trap(pc) = boundary.anchor {
                self.subject.set_trap(pc, true).map_err(CommandError::bug)?;
            }
        }
        self.selection = Selection::Every;
        // What runs that stop at some boundaries do not keep.
        for frame in &mut self.frames {
            let area = self.image.map.functions[frame.function as usize].argument_area;
            frame.end = frame.cfa.offset(i64::from(area));
        }
        Ok(())
    }

    /// Halts the subject at a boundary, once, if it does not halt there anyway. The
    /// two then meet there next.
    pub(super) fn meet_at(&mut self, at: BoundaryId) -> Result<(), CommandError> {
        let Selection::Some(sparse) = &mut self.selection else { return Ok(()) };
        let function = &self.image.map.functions[at.function as usize];
        let boundary = &function.boundaries[at.index as usize];
        let Anchor::Trap(pc) = boundary.anchor else { return Ok(()) };
        if !sparse.stops.contains(function.func, boundary.offset) {
            self.subject.set_trap(pc, true).map_err(CommandError::host)?;
            sparse.meeting = Some(Meeting { at, pc, left: 1 });
        }
        Ok(())
    }

    /// Makes the trap of a boundary silent again that [`Lockstep::meet_at`] planted.
    pub(super) fn met(&mut self) -> Result<(), CommandError> {
        let Selection::Some(sparse) = &mut self.selection else { return Ok(()) };
        match sparse.meeting.take() {
            Some(meeting) => self.subject.set_trap(meeting.pc, false).map_err(CommandError::host),
            None => Ok(()),
        }
    }

    /// Runs the oracle to its next stop or event. With `here` the boundary at
    /// which it stands counts: it was not stopped at yet.
    pub(super) fn advance_sparse(&mut self, here: bool) -> Event {
        let before = self.oracle.instructions_executed();
        let event = self.run_oracle(here);
        self.stats.boundaries += self.oracle.instructions_executed() - before;
        event
    }

    fn run_oracle(&mut self, mut here: bool) -> Event {
        let Selection::Some(sparse) = &mut self.selection else { return self.oracle.step() };
        sparse.passes.clear();
        loop {
            if here && self.oracle.is_at(&sparse.stops) {
                return Event::Boundary;
            }
            here = true;
            // A step says what was chosen; only a run is quick.
            let event = if self.oracle.is_at(&sparse.pauses) {
                self.oracle.step()
            } else {
                self.oracle.run(&sparse.pauses, SLICE)
            };
            match event {
                Event::Boundary => {}
                Event::OutOfFuel if self.control.request().is_none() => continue,
                event => return event,
            }
            let counts = match (&sparse.points, self.pause) {
                (Some(points), Some(left)) if self.oracle.is_at(points) => Some(left),
                _ => None,
            };
            let is_behind = self.oracle.is_at(&sparse.behind);
            if counts.is_none() && !is_behind || self.oracle.is_at(&sparse.stops) {
                continue;
            }
            let Some(top) = self.oracle.top().map(|top| top.boundary) else { continue };
            let passes = sparse.passes.entry((top.func, top.offset)).or_default();
            *passes += 1;
            let left = *passes;
            let mut pauses = false;
            if let Some(count) = counts {
                let count = count.saturating_sub(1);
                pauses = count == 0 && left <= MOST_PASSES;
                // Where it would come by often, a later one will do.
                self.pause = Some(count.max(1));
            }
            if !pauses && (!is_behind || self.oracle.choice().is_none()) {
                continue;
            }
            // A boundary that is not in the code cannot be met at; a
            // difference will show at the next stop.
            let Some(function) = self.plan.position(top.instance, top.func) else { continue };
            let boundaries = &self.image.map.functions[function as usize].boundaries;
            let Ok(index) = boundaries.binary_search_by_key(&top.offset, |b| b.offset) else {
                continue;
            };
            let Anchor::Trap(pc) = boundaries[index].anchor else { continue };
            if self.subject.set_trap(pc, true).is_ok() {
                let at = BoundaryId { function, index: index as u32 };
                sparse.meeting = Some(Meeting { at, pc, left });
                return Event::Boundary;
            }
        }
    }

    /// Whether the subject has only come by a boundary at which the two meet
    /// later.
    pub(super) fn passes_by(&mut self, at: BoundaryId) -> Result<bool, CommandError> {
        let Selection::Some(sparse) = &mut self.selection else { return Ok(false) };
        let Some(meeting) = sparse.meeting.as_mut().filter(|meeting| meeting.at == at) else {
            return Ok(false);
        };
        meeting.left -= 1;
        if meeting.left == 0 {
            self.met()?;
            return Ok(false);
        }
        Ok(true)
    }

    /// Brings the native frames to the oracle's, for runs that skip stops.
    pub(super) fn follow_frames_sparse(
        &mut self,
        at: BoundaryId,
        cfa: SubjectAddr,
    ) -> Result<Option<FrameFinding>, CommandError> {
        let depth = self.oracle.depth();
        let kept = self.oracle.lowest_depth().min(self.frames.len());
        self.oracle.mark_depth();
        self.frames.truncate(kept);
        if kept == depth {
            let same = self.frames.last().is_some_and(|frame| frame.cfa == cfa);
            return Ok((!same).then(|| {
                FrameFinding::of_stack(format!(
                    "the frame returned to lies at {cfa}, where it was not entered"
                ))
            }));
        }
        // Where frames end matters to runs that stop everywhere.
        let mut found = vec![NativeFrame { cfa, function: at.function, end: cfa }];
        let mut inner = self.innermost();
        // Down to the outermost new frame, and the one that called it.
        for index in (kept.saturating_sub(1)..depth - 1).rev() {
            let registers = match self.step_out(&inner) {
                Ok(Some(registers)) => registers,
                Ok(None) => {
                    return Ok(Some(FrameFinding::of_stack(format!(
                        "unwinding finds {} frames, the oracle has {depth}",
                        depth - 1 - index
                    ))));
                }
                Err(error) => return Ok(Some(FrameFinding::of_stack(error))),
            };
            let frame = match self.suspended_frame(index, &registers)? {
                Ok(frame) => frame,
                Err(finding) => return Ok(Some(finding)),
            };
            match self.frames.get(index) {
                None => found.push(frame),
                Some(old) if old.cfa == frame.cfa => {}
                Some(old) => {
                    return Ok(Some(FrameFinding::of_stack(format!(
                        "a suspended frame lies at {}, it was entered at {}",
                        frame.cfa, old.cfa
                    ))));
                }
            }
            inner = registers;
        }
        // Behind the outermost frame lies the entry, which is no function.
        let outside = |registers: &Registers| self.function_at(registers.pc).is_none();
        if kept == 0 && !self.step_out(&inner).is_ok_and(|outer| outer.as_ref().is_none_or(outside))
        {
            return Ok(Some(FrameFinding::of_stack(format!(
                "unwinding finds more than the {depth} frames that the oracle has"
            ))));
        }
        self.frames.extend(found.into_iter().rev());
        Ok(None)
    }

    /// Position in the map of the function whose code holds an address.
    pub(super) fn function_at(&self, pc: SubjectAddr) -> Option<u32> {
        super::throw::function_at(&self.image.map, self.plan.code_offset(pc)?)
    }

    pub(super) fn step_out(&self, inner: &Registers) -> Result<Option<Registers>, String> {
        let mut read = |address: SubjectAddr| self.read_stack(address);
        self.unwinder.step(inner, &mut read).map_err(|error| format!("unwinding fails: {error}"))
    }

    /// Holds a frame found by unwinding against the oracle's frame `index`.
    pub(super) fn suspended_frame(
        &mut self,
        index: usize,
        registers: &Registers,
    ) -> Result<Result<NativeFrame, FrameFinding>, CommandError> {
        let Some(call) = self.oracle.frame(index).map(|frame| frame.boundary) else {
            return Err(CommandError::bug("the oracle's caller has no frame"));
        };
        let wrong = |what: String| Ok(Err(FrameFinding::of_stack(what)));
        let Some(function) = self.plan.position(call.instance, call.func) else {
            return Err(CommandError::bug("the oracle executes a function without code"));
        };
        let map = &self.image.map.functions[function as usize];
        let code = self.plan.code_offset(registers.pc);
        let site = code.and_then(|code| super::frames::find_site(&map.call_sites, code));
        let Some(site) = site.filter(|site| site.offset == call.offset) else {
            return wrong(format!(
                "the return address {} is not that of the call at {}",
                registers.pc, call.offset
            ));
        };
        let cfa = match self.unwinder.cfa(registers) {
            Ok(cfa) => cfa,
            Err(error) => return wrong(format!("unwinding fails: {error}")),
        };
        let frame = NativeFrame { cfa, function, end: cfa };
        let site = site.clone();
        Ok(match self.compare_suspended(&site, frame, index, Some(*registers))? {
            Some(finding) => Err(finding),
            None => Ok(frame),
        })
    }
}
