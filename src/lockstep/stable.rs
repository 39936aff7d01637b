//! Stable points: nothing that is live may be out of reach.
//!
//! At most boundaries a value without a location is counted and that is all. A
//! stable point that was compiled in promises more: that the whole state can be
//! taken from there. So it is held against four things.
//!
//! 1. *It is there*: the Wasm has a stable point here, of this kind, and the map
//!    says so, poll and cold path included; and the map has no others.
//! 2. *Every live slot has a location*, live by the oracle's analysis of the
//!    Wasm, and is one that the map calls live. The same holds for frames suspended
//!    in calls, where calls are stable points. (That what the location holds is
//!    right is the comparison that is made at every boundary.)
//! 3. *All frames are there*: the stack is unwound to its end, every frame held
//!    against the oracle's. A walk takes as long as the stack is deep, so each
//!    stable point pays for `FRAMES_PER_POINT` frames and a walk is made when
//!    enough has been paid: at every one of them as long as the stack is not
//!    deeper than that, else at every so many.
//! 4. With `--paranoid`, for which code is compiled that stores the whole state on
//!    its cold paths, *the cold path agrees*: the flag is set, the subject
//!    runs through its poll into the cold path, halts at that path's trap, and
//!    what it wrote into the state buffer must be what the oracle has. Then it
//!    rejoins and goes on from there. That is every second execution of each
//!    stable point, the first one included; the others take the usual path.

use super::compare::{describe_location, difference, same};
use super::follow::{Lockstep, Next};
use super::frames::FrameFinding;
use super::plan::{BoundaryId, Site, Width};
use super::space::Polls;
use super::space::read_u128;
use crate::error::CommandError;
use aot_backend::{Image, StablePoints};
use dwarf_map::check::{StableKinds, stable_kinds};
use dwarf_map::{
    Anchor, BoundaryMap, CallSite, FunctionMap, Location, StableKind, StablePoint, SubjectAddr,
};
use oracle_interp::Event;
use oracle_interp::liveness::Liveness;
use reports::{DivergenceKind, Slot, SlotName};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use tracer::{Stop, Subject};
use wasm_view::{Cell, InstanceId, SlotIdx, ValType, Value, WasmOffset};

/// Frames that each stable point pays for.
const FRAMES_PER_POINT: usize = 8;

/// What a run knows of its stable points.
pub(super) struct Points {
    choice: StablePoints,
    /// Whether cold paths are run.
    paranoid: bool,
    /// By position in the map, once a function was stopped in.
    functions: Vec<Option<Box<OfFunction>>>,
    modules: HashMap<InstanceId, StableKinds>,
    /// Frames paid for since the last walk.
    paid: usize,
}

/// What is known of a function's boundaries.
struct OfFunction {
    states: Vec<State>,
    liveness: Option<Liveness>,
}

#[derive(Clone)]
enum State {
    /// No stable point, and none is due.
    Plain,
    /// All that can be said without executing it is well.
    Stable,
    /// What is wrong, and the slots that are lost.
    Broken(String, Vec<SlotIdx>),
}

impl Points {
    /// Of an image; arms its polls if cold paths are to be run.
    ///
    /// # Errors
    /// A map that names code outside the text.
    pub fn new(image: &Image, paranoid: bool, subject: &Subject) -> Result<Points, CommandError> {
        let choice = StablePoints::from_name(&image.map.producer.stable);
        let choice = choice.ok_or_else(|| {
            let name = &image.map.producer.stable;
            CommandError::input(format_args!("the image has stable points {name:?}, unknown here"))
        })?;
        if paranoid {
            let functions = image.map.functions.iter();
            for point in functions.flat_map(|function| &function.stable_points) {
                subject.text().write_code(point.poll, &point.armed).map_err(CommandError::input)?;
            }
        }
        let functions = image.map.functions.iter().map(|_| None).collect();
        Ok(Points { choice, paranoid, functions, modules: HashMap::new(), paid: 0 })
    }

    /// Whether the image has any.
    #[inline]
    pub fn any(&self) -> bool {
        self.choice != StablePoints::Off
    }

    /// Whether frames suspended in calls must be recoverable.
    fn suspended(&self) -> bool {
        self.choice >= StablePoints::Calls
    }
}

impl Lockstep<'_> {
    /// Looks at a boundary where everything compared was equal; answers how the
    /// run ends if it is a stable point that does not hold what it promises.
    pub(super) fn stable_point(
        &mut self,
        at: BoundaryId,
        cfa: SubjectAddr,
    ) -> Result<Option<Next>, CommandError> {
        self.know(at.function)?;
        match self.state(at) {
            State::Plain => return Ok(None),
            State::Stable => {}
            State::Broken(what, lost) => {
                let slots = self.lost_slots(at, cfa, &lost)?;
                return self.diverged(DivergenceKind::StablePoint, what, slots).map(Some);
            }
        }
        if let Some(found) = self.walk()? {
            return self.diverged(found.kind, found.what, found.slots).map(Some);
        }
        if self.points.paranoid && self.stats.executions(at) % 2 == 1 {
            return self.run_cold_path(at);
        }
        Ok(None)
    }

    fn state(&self, at: BoundaryId) -> State {
        let function = self.points.functions[at.function as usize].as_ref();
        let state = function.and_then(|function| function.states.get(at.index as usize));
        state.cloned().unwrap_or(State::Plain)
    }

    /// Finds out what there is to know about a function's stable points.
    fn know(&mut self, position: u32) -> Result<(), CommandError> {
        if self.points.functions[position as usize].is_some() {
            return Ok(());
        }
        let image = self.image;
        let function = &image.map.functions[position as usize];
        let instance = self.plan.owner(position);
        let module = &self.oracle.instance(instance).module;
        let choice = self.points.choice;
        let expected = match self.points.modules.entry(instance) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(empty) => {
                let kinds = stable_kinds(module.bytes(), choice);
                empty.insert(kinds.map_err(CommandError::input)?)
            }
        };
        let liveness = Liveness::compute(module, function.func);
        let states = function.boundaries.iter().map(|boundary| {
            let kind = expected.get(&(function.func, boundary.offset)).copied();
            if let Some(what) = mismatch(boundary, kind) {
                return State::Broken(what, Vec::new());
            }
            if kind.is_none() || boundary.anchor == Anchor::Eliminated {
                return State::Plain;
            }
            let Some(point) = function.stable_point(boundary.offset) else {
                return State::Broken("nothing was compiled in at a stable point".into(), vec![]);
            };
            let live = live_slots(function, point, liveness.as_ref());
            let lost: Vec<SlotIdx> = live
                .iter()
                .copied()
                .filter(|slot| is_lost(boundary.locations.get(slot.index())))
                .collect();
            if !lost.is_empty() {
                let what = format!("{} cannot be recovered at a stable point", count(&lost));
                return State::Broken(what, lost);
            }
            let stored = |slot: &SlotIdx| point.slots.iter().any(|(each, _)| each == slot);
            let missing: Vec<SlotIdx> = live.into_iter().filter(|slot| !stored(slot)).collect();
            if !missing.is_empty() {
                let what = format!("the cold path does not store {}", count(&missing));
                return State::Broken(what, missing);
            }
            State::Stable
        });
        let states = states.collect();
        self.points.functions[position as usize] = Some(Box::new(OfFunction { states, liveness }));
        Ok(())
    }

    /// Has the whole stack walked at the next stable point.
    pub(super) fn force_walk(&mut self) {
        self.points.paid = usize::MAX / 2;
    }

    /// Which of a boundary's first `slots` slots are live. Where the analysis
    /// gave up all are; operands always are.
    pub(super) fn live_flags(
        &mut self,
        position: u32,
        offset: WasmOffset,
        slots: usize,
    ) -> Result<Vec<bool>, CommandError> {
        self.know(position)?;
        let locals = self.image.map.functions[position as usize].locals.len();
        let known = self.points.functions[position as usize].as_ref();
        let liveness = known.and_then(|known| known.liveness.as_ref());
        let mut live: Vec<bool> = liveness
            .into_iter()
            .flat_map(|liveness| liveness.slots(offset))
            .take(locals.min(slots))
            .collect();
        live.resize(slots, true);
        Ok(live)
    }

    /// The lost slots of a boundary, as a report has them.
    fn lost_slots(
        &mut self,
        at: BoundaryId,
        cfa: SubjectAddr,
        lost: &[SlotIdx],
    ) -> Result<Vec<Slot>, CommandError> {
        let mut slots = Vec::new();
        for &slot in lost {
            let (expected, actual) = self.slot_value(at, cfa, slot)?;
            let function = &self.image.map.functions[at.function as usize];
            let boundary = &function.boundaries[at.index as usize];
            let place = boundary.locations.get(slot.index());
            let place = place.map(|place| {
                describe_location(self.image.map.isa(), *place, &function.expressions, cfa)
            });
            let name = name(0, slot, function.locals.len());
            slots.push(difference(name, expected, actual, place.unwrap_or_default()));
        }
        Ok(slots)
    }

    /// What is live where a call goes on and has no location while it runs.
    pub(super) fn lost_while_suspended(
        &mut self,
        site: &CallSite,
        position: u32,
    ) -> Result<Vec<SlotIdx>, CommandError> {
        if !self.points.any() || !self.points.suspended() {
            return Ok(Vec::new());
        }
        self.know(position)?;
        let known = self.points.functions[position as usize].as_ref();
        let Some(liveness) = known.and_then(|known| known.liveness.as_ref()) else {
            // Too large for the analysis: nobody can say what is live.
            return Ok(Vec::new());
        };
        // What is live before the call and is no argument is needed behind it, or
        // where something that is thrown lands.
        let slots = site.locations.iter().enumerate();
        let lost = slots
            .zip(liveness.slots(site.offset))
            .filter(|((_, place), live)| *live && is_lost(Some(place)))
            .map(|((slot, _), _)| SlotIdx::from_index(slot));
        Ok(lost.collect())
    }

    /// Unwinds the stack to its end if enough stable points have been met since
    /// the last time.
    pub(super) fn walk(&mut self) -> Result<Option<FrameFinding>, CommandError> {
        let depth = self.oracle.depth();
        self.points.paid += FRAMES_PER_POINT;
        if self.points.paid < depth {
            return Ok(None);
        }
        self.points.paid = 0;
        self.stats.walks += 1;
        let mut inner = self.innermost();
        for index in (0..depth.saturating_sub(1)).rev() {
            let outer = match self.step_out(&inner) {
                Ok(Some(outer)) => outer,
                Ok(None) => {
                    return Ok(Some(FrameFinding::of_stack(format!(
                        "unwinding finds {} frames, the oracle has {depth}",
                        depth - 1 - index
                    ))));
                }
                Err(error) => return Ok(Some(FrameFinding::of_stack(error))),
            };
            let frame = match self.suspended_frame(index, &outer)? {
                Ok(frame) => frame,
                Err(finding) => return Ok(Some(finding)),
            };
            let entered = self.frames.get(index).map(|entered| entered.cfa);
            if entered != Some(frame.cfa) {
                return Ok(Some(FrameFinding::of_stack(format!(
                    "a suspended frame lies at {}, where it was not entered",
                    frame.cfa
                ))));
            }
            self.stats.walked += 1;
            inner = outer;
        }
        Ok(match self.step_out(&inner) {
            Ok(Some(entry)) if self.function_at(entry.pc).is_some() => {
                Some(FrameFinding::of_stack(format!("unwinding finds more than {depth} frames")))
            }
            Ok(_) => None,
            Err(error) => Some(FrameFinding::of_stack(error)),
        })
    }

    /// Has the subject run the cold path, and compares what that stored.
    fn run_cold_path(&mut self, at: BoundaryId) -> Result<Option<Next>, CommandError> {
        let image = self.image;
        let function = &image.map.functions[at.function as usize];
        let boundary = &function.boundaries[at.index as usize];
        let Some(point) = function.stable_point(boundary.offset) else { return Ok(None) };
        let owner = self.plan.owner(at.function).index();
        // What is not stored must not look right because it was there before.
        for &(_, offset) in &point.slots {
            self.spaces[owner].spoil_state(&self.subject, offset)?;
        }
        self.spaces[owner].send(&self.subject, Polls::ToColdPath)?;
        let stop = loop {
            match self.subject.resume().map_err(CommandError::host)? {
                Stop::Interrupted => {
                    if let Some(request) = self.control.request() {
                        return Ok(Some(Next::End(self.asked(request))));
                    }
                }
                stop => break stop,
            }
        };
        // What the registers hold now is not the boundary's.
        self.here = None;
        match stop {
            Stop::Trap { pc } if pc == point.trap.at(image.text_address) => self.pc = pc,
            Stop::Killed { .. } | Stop::Exited { .. } => {
                return self.meet_otherwise(Event::Boundary, stop).map(Some);
            }
            stop => {
                if let Stop::Trap { pc } | Stop::Fault { pc, .. } | Stop::Syscall { pc, .. } = stop
                {
                    self.pc = pc;
                }
                let what = match self.plan.site(self.pc) {
                    Some(Site::Boundary(other)) => format!("it came to {}", self.name(other)),
                    _ => format!("{stop:x?}"),
                };
                let what =
                    format!("sent into its cold path, the subject did not halt there: {what}");
                return self.diverged(DivergenceKind::StablePoint, what, Vec::new()).map(Some);
            }
        }
        self.spaces[owner].send(&self.subject, Polls::Past(0))?;
        self.stats.witnessed += 1;
        let header = self.spaces[owner].state_word(&self.subject, 0)?;
        let expected = u64::from(boundary.offset.get());
        if header != expected {
            let what = format!("the state buffer begins with {header:#x}, not {expected:#x}");
            return self.diverged(DivergenceKind::StablePoint, what, Vec::new()).map(Some);
        }
        let wrong = self.buffer_differences(at, point)?;
        if wrong.is_empty() {
            return Ok(None);
        }
        let what = "the state that the cold path stored differs".to_string();
        self.diverged(DivergenceKind::StablePoint, what, wrong).map(Some)
    }

    fn buffer_differences(
        &self,
        at: BoundaryId,
        point: &StablePoint,
    ) -> Result<Vec<Slot>, CommandError> {
        let function = &self.image.map.functions[at.function as usize];
        let boundary = &function.boundaries[at.index as usize];
        let space = &self.spaces[self.plan.owner(at.function).index()];
        let Some(top) = self.oracle.top() else {
            return Err(CommandError::bug("the oracle has no frame at a stable point"));
        };
        let types = function.locals.iter().chain(&boundary.operands).copied();
        let mut stored = point.slots.iter().peekable();
        let mut cells: &[Cell] = top.slots;
        let mut wrong = Vec::new();
        for (slot, ty) in types.enumerate() {
            let Some((mine, rest)) = cells.split_at_checked(Width::of(ty).cells()) else { break };
            cells = rest;
            let slot = SlotIdx::from_index(slot);
            let Some((_, offset)) = stored.next_if(|(each, _)| *each == slot) else { continue };
            let actual = self.buffer_value(space, *offset, ty)?;
            let expected = Value::from_cells(ty, mine);
            if !same(actual, expected) {
                let place = format!("byte {offset} of the state buffer");
                let name = name(0, slot, function.locals.len());
                wrong.push(difference(name, expected, Some(actual), place));
            }
        }
        match stored.next() {
            None => Ok(wrong),
            Some((slot, _)) => Err(CommandError::input(format_args!(
                "the image's map has slot {} stored at {}, which is no slot there",
                slot.get(),
                boundary.offset
            ))),
        }
    }

    fn buffer_value(
        &self,
        space: &super::space::Space,
        offset: u32,
        ty: ValType,
    ) -> Result<Value, CommandError> {
        let native = match ty {
            ValType::V128 => {
                let data = self.subject.region(space.data);
                read_u128(data, space.state_offset(offset)).map_err(CommandError::input)?
            }
            _ => u128::from(space.state_word(&self.subject, offset)?),
        };
        Ok(space.value(ty, native))
    }
}

/// The live slots of a stable point's boundary. Where the analysis gave up, the
/// compiler's are all that there is.
fn live_slots(
    function: &FunctionMap,
    point: &StablePoint,
    liveness: Option<&Liveness>,
) -> Vec<SlotIdx> {
    debug_assert!(function.stable_point(point.offset).is_some());
    match liveness {
        Some(liveness) => {
            let slots = liveness.slots(point.offset).enumerate();
            slots.filter(|(_, live)| *live).map(|(slot, _)| SlotIdx::from_index(slot)).collect()
        }
        None => point.slots.iter().map(|(slot, _)| *slot).collect(),
    }
}

/// What is wrong with the kind that the map has for a boundary, if anything.
fn mismatch(boundary: &BoundaryMap, expected: Option<StableKind>) -> Option<String> {
    match (expected, boundary.stable) {
        (expected, found) if expected == found => None,
        (Some(kind), None) => {
            Some(format!("a stable point of the Wasm ({kind:?}) is not one of the map"))
        }
        (Some(kind), Some(found)) => {
            Some(format!("a stable point of the Wasm ({kind:?}) is another of the map ({found:?})"))
        }
        (None, found) => Some(format!(
            "a stable point of the map ({}) is none of the Wasm",
            found.map(|kind| format!("{kind:?}")).unwrap_or_default()
        )),
    }
}

fn is_lost(location: Option<&Location>) -> bool {
    location.is_none_or(|location| matches!(location, Location::Unavailable(_)))
}

fn count(slots: &[SlotIdx]) -> String {
    match slots.len() {
        1 => "a live value".into(),
        more => format!("{more} live values"),
    }
}

/// A slot's name in a frame, counted from the innermost.
pub(super) fn name(frame: u32, slot: SlotIdx, locals: usize) -> SlotName {
    match slot.index().checked_sub(locals) {
        None => SlotName::Local { frame, index: slot.get() },
        Some(depth) => SlotName::Stack { frame, index: depth as u32 },
    }
}
