//! Code as it ships: the two sides meet at anchors only.
//!
//! Without traps in the code, only some boundaries have an instruction that is
//! executed exactly when the Wasm is there. The subject halts at those, with a
//! trap over the instruction and a copy of it to go on with; the oracle steps
//! to the next one of them and counts what lies between. Four things that come
//! for nothing with a trap at every boundary need care here.
//!
//! *Stores.* A compiler may drop or move a store as long as nobody can tell:
//! until a call, a trap, an atomic access, a return. Memory, globals and tables
//! are compared there, with all that the oracle wrote since the last time, and
//! what waited in between is counted as deferred.
//!
//! *Operations* that the code asks its kernel for. The oracle halts behind each
//! until the subject has asked for it too, with the same arguments, and takes
//! over whether a memory or table could grow.
//!
//! *Traps.* The code may find out that an instruction traps before it comes to
//! the anchor of that instruction; never before that of an earlier one.
//!
//! *Freedoms.* A NaN whose bits the specification leaves open may be made where
//! nobody looks. The oracle then takes what this processor's own instruction
//! would make of the operands, which is allowed but need not be what the code
//! does; the NaN is counted, and its open bits are followed ([`super::open`]).

use super::blueprint::Blueprint;
use super::finding::Finding;
use super::follow::{Ending, Lockstep};
use super::nan;
use super::open::Open;
use super::plan::{BoundaryId, Plan};
use super::stops::{Selection, Where};
use super::thunks::operation;
use crate::error::CommandError;
use dwarf_map::{Anchor, BoundaryMap, FunctionMap, ImageMap, Location};
use oracle_interp::{ChoiceKind, Event, Module};
use reports::{DivergenceKind, InconclusiveReason};
use tracer::Subject;
use wasm_view::{Boundary, Cell};
use wasmparser::Operator;

/// What images of such code say of their anchors.
pub const SRCLOC: &str = "srcloc";
/// Steps of the oracle between two looks at the control.
const SLICE: u64 = 1 << 16;
/// Under this name NaNs are counted that nobody saw being made.
pub const UNSEEN_NAN: &str = "nan_unseen";
/// The same of results of relaxed vector instructions.
pub const UNSEEN_RELAXED: &str = "relaxed_unseen";

/// The two halt there.
const STOP: u8 = 1;
/// The code must have published what it wrote.
const PUBLISHES: u8 = 2;
/// An operation that the code asks its kernel for.
const OPERATION: u8 = 4;

/// The stops of a run of code as it ships.
pub struct Shipped {
    /// By position of the function and of the boundary.
    roles: Vec<Vec<u8>>,
    /// The oracle has executed an operation that the subject is yet to ask for.
    pub(super) awaiting: bool,
    /// Bytes written that waited at the last stop.
    waiting: u64,
    /// Boundaries executed since the last stop.
    skipped: u64,
    /// Bits that nobody saw being chosen.
    pub(super) open: Open,
}

impl Shipped {
    /// Plants the stops of an image's code: all of them, or those at some places.
    ///
    /// # Errors
    /// A place that has no anchor; an instruction that cannot be executed
    /// elsewhere.
    pub fn plant(
        map: &ImageMap,
        plan: &Plan,
        blueprint: &Blueprint,
        places: &[Where],
        subject: &mut Subject,
    ) -> Result<Shipped, CommandError> {
        let mut roles = Vec::with_capacity(map.functions.len());
        for (position, function) in map.functions.iter().enumerate() {
            let owner = plan.owner(position as u32);
            let Some(planned) = blueprint.instances.get(owner.index()) else {
                return Err(CommandError::bug("a function of no instance"));
            };
            let role = |at: (usize, &BoundaryMap)| role(function, at, &planned.module, places);
            let own: Vec<u8> = function.boundaries.iter().enumerate().map(role).collect();
            let halts = function.boundaries.iter().zip(&own);
            let mut copies = function.copies();
            for (boundary, role) in halts {
                let Anchor::Instruction(_) = boundary.anchor else { continue };
                let Some((pc, place)) = copies.next() else {
                    return Err(CommandError::input("the image has no room for copies"));
                };
                if role & STOP != 0 {
                    subject.plant(pc, place).map_err(CommandError::input)?;
                }
            }
            roles.push(own);
        }
        for place in places {
            let Where::Boundary(func, offset) = *place else { continue };
            let functions = map.functions.iter().filter(|function| function.func == func);
            let mut boundaries = functions.flat_map(|function| &function.boundaries);
            let anchor = boundaries.find(|each| each.offset == offset).map(|each| each.anchor);
            let why = match anchor {
                Some(Anchor::Merged) => "merged with the next one",
                Some(Anchor::Threaded) => "threaded: the code may come to the next one without it",
                Some(Anchor::Eliminated) => "eliminated",
                Some(Anchor::Trap(_) | Anchor::Instruction(_)) | None => continue,
            };
            return Err(CommandError::input(format_args!(
                "{offset} of function {func} has no place in this code; it is {why}"
            )));
        }
        Ok(Shipped { roles, awaiting: false, waiting: 0, skipped: 0, open: Open::default() })
    }

    /// The program is given to the subject anew, all of it known.
    pub(super) fn restore(&mut self) {
        self.awaiting = false;
        self.waiting = 0;
        self.skipped = 0;
        self.open = Open::default();
    }

    fn role(&self, at: BoundaryId) -> u8 {
        let own = self.roles.get(at.function as usize);
        own.and_then(|own| own.get(at.index as usize)).copied().unwrap_or_default()
    }
}

fn role(
    function: &FunctionMap,
    (index, boundary): (usize, &BoundaryMap),
    module: &Module,
    places: &[Where],
) -> u8 {
    let mut role = 0;
    let at = |place: &Where| match *place {
        Where::Stable => boundary.stable.is_some(),
        Where::Entries => function.boundaries.first().is_some_and(|b| b.offset == boundary.offset),
        Where::Function(func) => func == function.func,
        Where::Boundary(func, offset) => func == function.func && offset == boundary.offset,
        Where::Pauses => false,
    };
    if boundary.anchor.pc().is_some() && (places.is_empty() || places.iter().any(at)) {
        role |= STOP;
    }
    let here = Boundary {
        instance: wasm_view::InstanceId::new(0),
        func: function.func,
        offset: boundary.offset,
    };
    if operation(module, here).is_some() {
        role |= OPERATION;
    }
    let is_last = boundary.offset.get() + 1 == function.body.end.get();
    let operator = module.operator(function.func, boundary.offset);
    let is_stable = function.stable_point(boundary.offset).is_some();
    if index == 0 || is_last || is_stable || operator.is_some_and(|operator| publishes(&operator)) {
        role |= PUBLISHES;
    }
    role
}

/// Whether all that was written before an instruction must be visible then.
fn publishes(operator: &Operator<'_>) -> bool {
    use Operator as O;
    matches!(
        operator,
        O::Call { .. }
            | O::CallIndirect { .. }
            | O::CallRef { .. }
            | O::Return
            | O::Unreachable
            | O::MemoryGrow { .. }
            | O::MemoryFill { .. }
            | O::MemoryCopy { .. }
            | O::MemoryInit { .. }
            | O::TableGrow { .. }
            | O::TableFill { .. }
            | O::TableCopy { .. }
            | O::TableInit { .. }
    ) || format!("{operator:?}").contains("Atomic")
}

impl Lockstep<'_> {
    /// Whether what was written must be in memory at a boundary where the two
    /// stand.
    pub(super) fn is_published(&mut self, at: BoundaryId) -> bool {
        let Some(shipped) = self.selection.shipped_mut() else { return true };
        shipped.skipped = 0;
        if shipped.role(at) & PUBLISHES != 0 {
            self.stats.deferred += shipped.waiting;
            shipped.waiting = 0;
            return true;
        }
        shipped.waiting = self.oracle.writes().map(|(.., length)| length).sum();
        false
    }

    /// Steps the oracle to its next stop or event. With `here` the boundary at
    /// which it stands counts: it was not stopped at yet.
    pub(super) fn advance_shipped(&mut self, mut here: bool) -> Event {
        let mut steps = 0;
        loop {
            let Some(top) = self.oracle.top() else { return self.oracle.step() };
            let at = top.boundary;
            let place = self.plan.boundary(at, &self.image.map);
            let Some(shipped) = self.selection.shipped_mut() else { return self.oracle.step() };
            let role = place.map_or(0, |place| shipped.role(place));
            if here && role & STOP != 0 {
                return Event::Boundary;
            }
            here = true;
            steps += 1;
            let enough = self.max_boundaries.is_some_and(|most| self.stats.boundaries >= most);
            if enough || steps % SLICE == 0 && self.control.request().is_some() {
                return Event::OutOfFuel;
            }
            shipped.skipped += 1;
            self.stats.longest_run = self.stats.longest_run.max(shipped.skipped - 1);
            self.stats.boundaries += 1;
            let from = top.operands.len().saturating_sub(2);
            let operands = match top.operands.get(from..) {
                Some(&[x, y]) => [x, y],
                Some(&[y]) => [Cell(0), y],
                _ => [Cell(0); 2],
            };
            if role & OPERATION != 0 {
                self.last = Some(at);
                self.keep_operands();
            }
            let event = self.step_open();
            if role & OPERATION != 0 {
                if let Some(shipped) = self.selection.shipped_mut() {
                    shipped.awaiting = true;
                }
                return event;
            }
            if !matches!(event, Event::Boundary) {
                return event;
            }
            if self.oracle.choice().is_some() && !self.sees_choice() {
                self.choose_unseen(at, operands);
            }
        }
    }

    /// Whether the oracle's choice can be compared where it stands now.
    fn sees_choice(&mut self) -> bool {
        let (Some(choice), Some(top)) = (self.oracle.choice(), self.oracle.top()) else {
            return true;
        };
        let Some(place) = self.plan.boundary(top.boundary, &self.image.map) else { return false };
        let Some(shipped) = self.selection.shipped_mut() else { return true };
        let function = &self.image.map.functions[place.function as usize];
        let location = function.boundaries[place.index as usize].locations.get(choice.slot.index());
        let is_read = location.is_some_and(|each| !matches!(each, Location::Unavailable(_)));
        shipped.role(place) & STOP != 0 && is_read
    }

    /// Nobody sees what the subject made of the instruction at a boundary: takes
    /// what the processor would.
    fn choose_unseen(&mut self, at: Boundary, operands: [Cell; 2]) {
        let Some(choice) = self.oracle.choice() else { return };
        // Whether something grows is settled where the subject asks for it.
        if matches!(
            choice.kind,
            ChoiceKind::MemoryGrow { .. }
                | ChoiceKind::TableGrow { .. }
                | ChoiceKind::Grow64 { .. }
        ) {
            return;
        }
        let module = &self.oracle.instance(at.instance).module;
        let operator = module.operator(at.func, at.offset);
        let likely = operator.and_then(|operator| nan::of_processor(&operator, operands));
        if let Some(cell) = likely.filter(|cell| choice.allows(*cell)) {
            let _ = self.oracle.adopt(&choice, cell);
        }
        let (vector, name) = match choice.kind {
            ChoiceKind::Vector(_) if choice.kind.name() == "relaxed_simd" => (true, UNSEEN_RELAXED),
            ChoiceKind::Vector(_) => (true, UNSEEN_NAN),
            _ => (false, UNSEEN_NAN),
        };
        self.stats.adopt(name);
        if let Selection::Shipped(shipped) = &mut self.selection {
            let cells = if vector { 2 } else { 1 };
            shipped.open.choose(&self.oracle, cells, choice.open_bits());
        }
    }

    /// Executes one instruction and follows what is open.
    fn step_open(&mut self) -> Event {
        let Selection::Shipped(shipped) = &mut self.selection else { return self.oracle.step() };
        if shipped.open.is_empty() {
            shipped.open.given.clear();
            return self.oracle.step();
        }
        let before = shipped.open.before(&self.oracle);
        let event = self.oracle.step();
        if let Some(before) = before {
            shipped.open.after(&before, &self.oracle, &event);
        }
        event
    }

    /// A divergence of code as it ships, unless bits that the specification leaves
    /// open, and that nobody saw being chosen, may be the reason.
    pub(super) fn judged(&mut self, ending: Ending) -> Ending {
        let decided = self.open().and_then(|open| open.decided);
        match (ending, decided) {
            (Ending::Diverged(finding), Some(place)) if can_be_of_nan(&finding) => {
                if let Some((at, _)) = self.here.filter(|_| self.stats.wrong > 0) {
                    self.stats.forget(at);
                }
                Ending::Inconclusive {
                    reason: InconclusiveReason::Unsupported,
                    detail: format!(
                        "{} at {} of function {}, but at {} of function {} bits of a NaN, which the specification leaves open, decided what happens, and it was made where code without traps cannot be halted ({UNSEEN_NAN}); --anchors trap sees it",
                        finding.what, finding.at.offset, finding.at.func, place.offset, place.func
                    ),
                }
            }
            (ending, _) => ending,
        }
    }
}

/// A wild jump or a wrong map is never the work of a NaN.
fn can_be_of_nan(finding: &Finding) -> bool {
    !matches!(finding.kind, DivergenceKind::Sandbox | DivergenceKind::Map)
}
