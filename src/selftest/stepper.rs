//! Is a fault reached, and does it do anything?
//!
//! A *code* fault is judged by two machines side by side, one with the image
//! as it was compiled and one with the fault, every compiler trap of both a
//! NOP. Both run to the faulty instruction and are stepped from there, one
//! native instruction at a time:
//!
//! ```text
//!   run ---> hit ---> step, step, ... boundary, step, ... boundary
//!                        |                 |
//!                        |                 '- other boundary, service or end,
//!                        |                    other store?      -> effective
//!                        '- same registers, flags and stack at a boundary?
//!                           this hit left nothing: run to the next
//! ```
//!
//! Values in registers and on the stack that differ are no effect by
//! themselves: nobody may ever read them. When the steps are used up with only
//! such differences, both machines run to their ends and those are compared.
//!
//! A *map* fault changes no code. It has an effect where, at some execution of
//! its boundary, the place that it names holds other bits than the right one;
//! one machine that halts there alone tells. So has a frame address that is said to be
//! elsewhere.
//!
//! Neither the oracle nor the comparator takes part in any of this.

use super::machine::{End, Machine, Seen, same_native_state, store_difference};
use crate::error::CommandError;
use crate::inject::map::displaced_frame;
use crate::lockstep::plan::{BoundaryId, Plan, Site};
use aot_backend::Image;
use dwarf_map::unwind::{CfaRule, Unwinder};
use dwarf_map::{
    Anchor, BoundaryMap, CodeOffset, DwarfReg, FunctionMap, Input, Location, SubjectAddr,
};
use std::collections::HashMap;
use wasm_view::{SlotIdx, ValType};

/// Native instructions stepped for one fault, on either side, before the two
/// run to their ends.
const STEPS: u64 = 20_000;
/// Most steps between two boundaries; one instruction of Wasm takes fewer.
const STEPS_TO_BOUNDARY: u64 = 2_000;

/// What a fault does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Execution never came to it.
    NotReached,
    /// It was executed and nothing came of it.
    Nothing,
    /// It changed something.
    Changed(Change),
}

/// The first effect seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// How often execution had come to the fault by then, that time included.
    pub hit: u64,
    /// For a code fault, boundaries between that and the effect, the one where
    /// it shows included; `None` when it was seen only in the end.
    pub boundaries: Option<u64>,
    /// What differed.
    pub what: String,
}

fn changed(hit: u64, boundaries: Option<u64>, what: String) -> Effect {
    Effect::Changed(Change { hit, boundaries, what })
}

/// Judges a code fault at `at`.
///
/// # Errors
/// What the host refuses; a clean machine that does not run as it did before.
pub fn code(
    mut clean: Machine<'_>,
    mut faulty: Machine<'_>,
    plan: &Plan,
    at: CodeOffset,
) -> Result<Effect, CommandError> {
    for machine in [&clean, &faulty] {
        machine.silence()?;
    }
    let mut left = STEPS;
    let mut hits = 0;
    loop {
        for machine in [&clean, &faulty] {
            machine.plant(at)?;
        }
        let (ours, theirs) = (clean.run_on(plan)?, faulty.run_on(plan)?);
        if ours != theirs {
            if hits == 0 {
                return Err(CommandError::bug("two runs of one program differ before the fault"));
            }
            return Ok(changed(hits, None, clean.differs(&ours, &theirs)));
        }
        match ours {
            Seen::Trap(pc) if pc == at => hits += 1,
            Seen::Over(End::Stuck) => return Err(stuck()),
            Seen::Over(_) if hits == 0 => return Ok(Effect::NotReached),
            Seen::Over(_) => return at_the_end(&clean, &faulty, hits),
            other => return Err(CommandError::bug(format_args!("a machine came to {other:?}"))),
        }
        clean.back_to(at)?;
        faulty.back_to(at)?;
        let mut boundaries = 0;
        loop {
            let span = clean.step_to_boundary(plan, left.min(STEPS_TO_BOUNDARY), at)?;
            let (ours, theirs) =
                (span.seen, faulty.step_to_boundary(plan, STEPS_TO_BOUNDARY, at)?.seen);
            left = left.saturating_sub(span.taken);
            // In a loop the fault is come to again before what it left is gone.
            if span.passed > 0 {
                (hits, boundaries) = (hits + span.passed, 0);
            }
            if ours == Seen::Over(End::Stuck) || theirs == Seen::Over(End::Stuck) {
                return Err(stuck());
            }
            if ours == Seen::Spent || left == 0 {
                // Where the two stand is not the same kind of place.
                return run_to_end(clean, faulty, plan, hits);
            }
            if ours != theirs {
                return Ok(changed(hits, Some(boundaries + 1), clean.differs(&ours, &theirs)));
            }
            boundaries += u64::from(matches!(ours, Seen::Boundary(_)));
            if let Some(what) = store_difference(&clean, &faulty)? {
                return Ok(changed(hits, Some(boundaries), what));
            }
            match ours {
                Seen::Over(_) => return Ok(Effect::Nothing),
                Seen::Boundary(_) if same_native_state(&clean, &faulty)? => break,
                _ => {}
            }
        }
    }
}

/// Lets both machines run to their ends, wherever each of them is now, and
/// compares what is done for them on the way, how they end and what they leave.
fn run_to_end(
    mut clean: Machine<'_>,
    mut faulty: Machine<'_>,
    plan: &Plan,
    hits: u64,
) -> Result<Effect, CommandError> {
    loop {
        let (ours, theirs) = (clean.run(plan)?, faulty.run(plan)?);
        if ours == Seen::Over(End::Stuck) {
            return Err(stuck());
        }
        if ours != theirs {
            return Ok(changed(hits, None, clean.differs(&ours, &theirs)));
        }
        if matches!(ours, Seen::Over(_)) {
            return at_the_end(&clean, &faulty, hits);
        }
    }
}

fn at_the_end(
    clean: &Machine<'_>,
    faulty: &Machine<'_>,
    hits: u64,
) -> Result<Effect, CommandError> {
    Ok(match store_difference(clean, faulty)? {
        Some(what) => changed(hits, None, format!("{what}, in the end")),
        None => Effect::Nothing,
    })
}

/// That the time is over.
pub(super) fn stuck() -> CommandError {
    CommandError::Inconclusive {
        reason: "timeout",
        detail: "the single-stepper did not come to an end in time".into(),
    }
}

/// Judges a map fault: at boundary `id`, `slot` is said to be at `wrong`.
///
/// # Errors
/// What the host refuses.
pub fn map(
    mut clean: Machine<'_>,
    places: &Places<'_>,
    id: BoundaryId,
    slot: SlotIdx,
    wrong: Location,
) -> Result<Effect, CommandError> {
    let function = &places.image.map.functions[id.function as usize];
    let boundary = &function.boundaries[id.index as usize];
    let (Some(ty), Anchor::Trap(pc), Some(right)) = (
        function.locals.iter().chain(&boundary.operands).nth(slot.index()),
        boundary.anchor,
        boundary.locations.get(slot.index()),
    ) else {
        return Err(CommandError::bug("a map fault at no slot"));
    };
    clean.silence()?;
    clean.plant(pc)?;
    let mut hits = 0;
    loop {
        match clean.run_on(&places.plan)? {
            Seen::Trap(at) if at == pc => hits += 1,
            Seen::Over(End::Stuck) => return Err(stuck()),
            Seen::Over(_) if hits == 0 => return Ok(Effect::NotReached),
            Seen::Over(_) => return Ok(Effect::Nothing),
            other => return Err(CommandError::bug(format_args!("a machine came to {other:?}"))),
        }
        let cfa = places.frame_address(&clean, id)?;
        let expected = bits(&clean, function, *right, *ty, cfa)?;
        let actual = bits(&clean, function, wrong, *ty, cfa)?;
        if expected != actual {
            let what = format!("{} instead of {}", text(actual), text(expected));
            return Ok(changed(hits, None, what));
        }
    }
}

/// Judges a fault of the frame address: in the function at this position of the map it
/// is said to be elsewhere. Answers also at which execution of which boundary a slot is
/// first read otherwise.
///
/// # Errors
/// What the host refuses.
pub fn frame(
    mut clean: Machine<'_>,
    places: &Places<'_>,
    function: u32,
) -> Result<(Effect, Option<(BoundaryId, u64)>), CommandError> {
    let map = &places.image.map.functions[function as usize];
    clean.silence()?;
    for boundary in &map.boundaries {
        if let Anchor::Trap(pc) = boundary.anchor {
            clean.plant(pc)?;
        }
    }
    let mut hits: HashMap<u32, u64> = HashMap::new();
    loop {
        let pc = match clean.run_on(&places.plan)? {
            Seen::Trap(pc) => pc,
            Seen::Over(End::Stuck) => return Err(stuck()),
            Seen::Over(_) if hits.is_empty() => return Ok((Effect::NotReached, None)),
            Seen::Over(_) => return Ok((Effect::Nothing, None)),
            other => return Err(CommandError::bug(format_args!("a machine came to {other:?}"))),
        };
        let Some(Site::Boundary(id)) = places.plan.site(pc.at(clean.text_address())) else {
            return Err(CommandError::bug("a machine halted at no boundary"));
        };
        let hit = hits.entry(id.index).or_default();
        *hit += 1;
        let right = places.frame_rule(id)?;
        let [ours, theirs] =
            [right, displaced_frame(right)].map(|rule| frame_address(&clean, rule));
        let boundary = places.boundary(id);
        let types = map.locals.iter().chain(&boundary.operands);
        for (location, ty) in boundary.locations.iter().zip(types) {
            let (expected, actual) = (
                bits(&clean, map, *location, *ty, ours)?,
                bits(&clean, map, *location, *ty, theirs)?,
            );
            if expected != actual {
                let what = format!("{} instead of {}", text(actual), text(expected));
                return Ok((changed(*hit, None, what), Some((id, *hit))));
            }
        }
    }
}

fn text(bits: Option<u128>) -> String {
    bits.map_or("nothing".into(), |bits| format!("{bits:#x}"))
}

/// The bits of a slot, as wide as its type; `None` where there is none. Read
/// in the plainest way there is, and not as the comparator reads.
fn bits(
    machine: &Machine<'_>,
    function: &FunctionMap,
    location: Location,
    ty: ValType,
    cfa: SubjectAddr,
) -> Result<Option<u128>, CommandError> {
    let (subject, space) = (&machine.subject, &machine.space);
    let width = ty.bytes();
    let memory = |offset: i32, width: usize| {
        let mut bytes = [0; 16];
        let at = space.stack_offset(cfa.offset(i64::from(offset)));
        at.filter(|at| subject.region(space.stack).read(*at, &mut bytes[..width]).is_ok())
            .map(|_| u128::from_le_bytes(bytes))
    };
    let whole = match location {
        Location::Register(DwarfReg(number)) if number < 16 => {
            subject.regs().dwarf(number).map(u128::from)
        }
        Location::Register(DwarfReg(number)) => {
            subject.vectors().map_err(CommandError::host)?.dwarf(number)
        }
        Location::CfaOffset(offset) => memory(offset, width),
        Location::Derived(index) => function.expressions.get(index.index()).and_then(|derived| {
            let word = derived.evaluate(|input| match input {
                Input::Register(DwarfReg(number)) => subject.regs().dwarf(number).ok_or(()),
                Input::Frame(offset) => memory(offset, 8).map(|word| word as u64).ok_or(()),
            });
            word.ok().map(u128::from)
        }),
        Location::Constant(cell) => Some(u128::from(cell.0)),
        Location::Unavailable(_) => None,
    };
    let unused = 128 - 8 * width;
    Ok(whole.map(|whole| whole << unused >> unused))
}

fn frame_address(machine: &Machine<'_>, rule: CfaRule) -> SubjectAddr {
    let base = machine.subject.regs().dwarf(rule.reg.0).unwrap_or_default();
    SubjectAddr::new(base).offset(rule.offset)
}

/// Where the unchanged map says that state is. Used to find out *when* state
/// changes, and to read what a map fault is about.
pub struct Places<'a> {
    /// What is at which PC.
    pub plan: Plan,
    unwinder: Unwinder,
    image: &'a Image,
}

impl<'a> Places<'a> {
    /// Those of an image.
    ///
    /// # Errors
    /// An image that contradicts itself.
    pub fn new(image: &'a Image) -> Result<Places<'a>, CommandError> {
        let unwinder = Unwinder::new(&image.frames, image.text_address, image.text.len() as u32);
        let unwinder = unwinder.map_err(CommandError::input)?;
        Ok(Places { plan: Plan::new(image)?, unwinder, image })
    }

    /// The canonical frame address of a machine that halted at a boundary.
    fn frame_address(
        &self,
        machine: &Machine<'_>,
        id: BoundaryId,
    ) -> Result<SubjectAddr, CommandError> {
        Ok(frame_address(machine, self.frame_rule(id)?))
    }

    /// How the canonical frame address is found at a boundary.
    fn frame_rule(&self, id: BoundaryId) -> Result<CfaRule, CommandError> {
        self.unwinder.cfa_rule(self.trap(id)?).map_err(CommandError::input)
    }

    /// The trap instruction of a boundary that is executed.
    ///
    /// # Errors
    /// It has none.
    pub fn trap(&self, id: BoundaryId) -> Result<CodeOffset, CommandError> {
        match self.boundary(id).anchor {
            Anchor::Trap(pc) => Ok(pc),
            _ => Err(CommandError::bug("a machine halted at an eliminated boundary")),
        }
    }

    fn boundary(&self, id: BoundaryId) -> &'a BoundaryMap {
        &self.image.map.functions[id.function as usize].boundaries[id.index as usize]
    }

    /// Whether two machines that halted at one boundary hold other values in
    /// the slots of its frame, or have the frame elsewhere.
    ///
    /// # Errors
    /// A boundary without frame information.
    pub fn frames_differ(
        &self,
        a: &Machine<'_>,
        b: &Machine<'_>,
        id: BoundaryId,
    ) -> Result<bool, CommandError> {
        let (ours, theirs) = (self.frame_address(a, id)?, self.frame_address(b, id)?);
        if ours != theirs {
            return Ok(true);
        }
        let boundary = self.boundary(id);
        let function = &self.image.map.functions[id.function as usize];
        let types = function.locals.iter().chain(&boundary.operands);
        for (location, ty) in boundary.locations.iter().zip(types) {
            let (of_a, of_b) = (
                bits(a, function, *location, *ty, ours)?,
                bits(b, function, *location, *ty, theirs)?,
            );
            if of_a != of_b {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
