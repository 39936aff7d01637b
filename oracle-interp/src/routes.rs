//! What executes an instruction: a function for it alone, or one for it and
//! some that follow.
//!
//! A jump from one instruction to the next costs more than most instructions
//! do. So sequences that are frequent in compiled programs have functions of
//! their own. The decoded instructions know nothing of this: beside each lies
//! its *route*, the number of the function, together with what that needs of
//! it. One that stands in the middle of a sequence has its own route too, since
//! a branch may go there, and so may a stop be there: a stop set has routes of
//! its own, in which no sequence runs over a stop.
//!
//! Which sequences there are is in [`sequences`].

mod sequences;

pub(crate) use sequences::for_each_sequence;

use crate::module::{Code, OpIdx};
use crate::op::{Op, Tag};
use aho_corasick::Anchored;
use aho_corasick::automaton::Automaton;
use aho_corasick::dfa::DFA;
use std::sync::LazyLock;

/// Number of a function that executes one or several instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route(u16);

/// Numbers that there may be.
pub(crate) const ROUTES: usize = 2048;

/// Numbers of single ops, by [`Tag`], and of [`Route::STOP`], lie below it.
const SINGLES: u16 = 256;

macro_rules! tags_of {
    (($($op:ident)+) $last:ident) => { &[$(Tag::$op,)+ Tag::$last] };
}

macro_rules! tags_of_sequences {
    ($($prefix:tt : $($last:ident)+;)+) => { &[$($(tags_of!($prefix $last),)+)+] };
}

/// The sequences, from the list above, in its order.
const SEQUENCES: &[&[Tag]] = for_each_sequence!(tags_of_sequences);

/// Instructions that do nothing, such as `block`, come in long runs: one
/// function executes them all, at most so many. None of them has an immediate,
/// so that the slot has room for the length.
pub(crate) const LONGEST_SKIP: usize = 128;

const _: () = assert!(SINGLES as usize + SEQUENCES.len() < ROUTES);

impl Route {
    /// Of a boundary at which to stop.
    pub(crate) const STOP: Route = Route(SINGLES - 1);

    /// Of a sequence of the list.
    pub(crate) const fn sequence(index: usize) -> Route {
        Route(SINGLES + index as u16)
    }

    /// Of a run of instructions that do nothing; the slot's immediate is how many.
    pub(crate) const SKIP: Route = Route(ROUTES as u16 - 1);

    /// Of an instruction alone.
    fn single(op: Op) -> Route {
        Route(op.tag() as u16)
    }

    /// The number. The mask says what is true anyway, to the compiler.
    #[inline(always)]
    pub(crate) const fn index(self) -> usize {
        self.0 as usize & (ROUTES - 1)
    }
}

/// Finds the sequence that begins at an instruction by what follows it: an
/// automaton (Aho and Corasick, "Efficient string matching", 1975) over the
/// tags of the sequences read backwards, which takes one step an instruction
/// however long the sequences are. Of those that end (begin) at one, it names
/// the longest first.
static BACKWARDS: LazyLock<DFA> = LazyLock::new(|| {
    let backwards = SEQUENCES.iter().map(|tags| tags.iter().rev().map(|tag| *tag as u8));
    DFA::new(backwards.map(Vec::from_iter)).expect("the list of sequences is short")
});

/// An instruction as it is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) route: Route,
    /// As of [`Op::immediate`].
    pub(crate) immediate: u32,
}

impl Slot {
    /// Instructions that its route executes.
    fn length(self) -> usize {
        if self.route == Route::SKIP {
            return self.immediate as usize;
        }
        let sequence = self.route.0.checked_sub(SINGLES).map(usize::from);
        sequence.and_then(|index| SEQUENCES.get(index)).map_or(1, |tags| tags.len())
    }
}

/// What decoded instructions are executed as: by the longest route from each.
pub(crate) fn slots(ops: &[Op]) -> Vec<Slot> {
    let single = |op: &Op| Slot { route: Route::single(*op), immediate: op.immediate() };
    let mut slots: Vec<Slot> = ops.iter().map(single).collect();
    let automaton = &*BACKWARDS;
    let start = automaton.start_state(Anchored::No).expect("it was built for this");
    let mut state = start;
    // Instructions from here on that do nothing.
    let mut idle = 0;
    for (op, slot) in ops.iter().zip(&mut slots).rev() {
        state = automaton.next_state(Anchored::No, state, op.tag() as u8);
        if automaton.is_match(state) {
            slot.route = Route::sequence(automaton.match_pattern(state, 0).as_usize());
        }
        idle = if is_idle(*op) { LONGEST_SKIP.min(idle + 1) } else { 0 };
        if idle > 1 {
            *slot = Slot { route: Route::SKIP, immediate: idle as u32 };
        }
    }
    slots
}

/// Whether the instruction does nothing when it is executed.
fn is_idle(op: Op) -> bool {
    matches!(op, Op::Nop | Op::Block | Op::Loop | Op::End)
}

/// A module as it is executed with some boundaries at which to stop.
#[derive(Clone, Debug)]
pub(crate) struct SlotsWithStops {
    slots: Vec<Slot>,
}

impl SlotsWithStops {
    /// Without stops.
    pub(crate) fn new(code: &Code) -> SlotsWithStops {
        SlotsWithStops { slots: code.slots().to_vec() }
    }

    /// Of each instruction; its route is [`Route::STOP`] at a stop.
    pub(crate) fn as_slice(&self) -> &[Slot] {
        &self.slots
    }

    /// Whether a position is a stop.
    pub(crate) fn is_stop(&self, position: OpIdx) -> bool {
        self.slots.get(position.index()).is_some_and(|slot| slot.route == Route::STOP)
    }

    /// Makes a position a stop, or one no more. Answers whether there is such.
    pub(crate) fn set_stop(&mut self, code: &Code, position: OpIdx, stop: bool) -> bool {
        let position = position.index();
        if position >= self.slots.len() {
            return false;
        }
        self.slots[position].route =
            if stop { Route::STOP } else { Route::single(code.ops[position]) };
        // What stands before must not run over a stop, and may run over what
        // is one no longer.
        for position in (position.saturating_sub(LONGEST - 1)..=position).rev() {
            if self.slots[position].route == Route::STOP {
                continue;
            }
            let slot = code.slots()[position];
            let covered = &self.slots[position..position + slot.length()];
            // (An instruction that does nothing does not mind a length.)
            self.slots[position].route = if covered.iter().any(|slot| slot.route == Route::STOP) {
                Route::single(code.ops[position])
            } else {
                slot.route
            };
        }
        true
    }
}

/// Instructions of the longest route.
const LONGEST: usize = LONGEST_SKIP;

#[cfg(test)]
mod tests {
    use super::*;

    /// An instruction's route is its own, begins where it stands, and there is
    /// no longer one.
    #[test]
    fn routes_execute_what_is_there() {
        let ops = [
            Op::Block,
            Op::Block,
            Op::Loop,
            Op::LocalGet(0),
            Op::ConstI32(1),
            Op::I32Add,
            Op::LocalSet(0),
            Op::Unreachable,
            Op::End,
            Op::FuncEnd,
        ];
        let lengths: Vec<usize> = slots(&ops).iter().map(|slot| slot.length()).collect();
        assert_eq!(lengths, [3, 2, 3, 4, 3, 2, 1, 1, 2, 1]);
    }

    #[test]
    fn no_route_runs_over_a_stop() {
        let mut ops = vec![Op::Block; 100];
        ops.extend([Op::LocalGet(0), Op::ConstI32(1), Op::I32Add, Op::LocalSet(0), Op::FuncEnd]);
        let code = Code { ops, ..Code::default() };
        let mut with = SlotsWithStops::new(&code);
        let stops = [40, 41, 100, 102];
        for (done, stop) in stops.into_iter().enumerate() {
            assert!(with.set_stop(&code, OpIdx(stop), true));
            for (position, slot) in with.as_slice().iter().enumerate() {
                let stopped = stops[..=done].contains(&(position as u32));
                assert_eq!(slot.route == Route::STOP, stopped);
                for covered in position + 1..position + slot.length() {
                    assert!(!stops[..=done].contains(&(covered as u32)), "{position}");
                }
            }
        }
        for stop in stops {
            assert!(with.set_stop(&code, OpIdx(stop), false));
        }
        assert_eq!(with.as_slice(), code.slots());
        assert!(!with.set_stop(&code, OpIdx(1000), true));
    }

    /// A sequence goes on behind an op only if that neither always jumps nor
    /// is executed elsewhere; and the list names none twice.
    #[test]
    fn the_list_makes_sense() {
        for (index, tags) in SEQUENCES.iter().enumerate() {
            for tag in &tags[..tags.len() - 1] {
                let jumps = [Tag::BrPlain, Tag::Br, Tag::Call, Tag::Return, Tag::FuncEnd];
                assert!(!jumps.contains(tag), "{tags:?}");
            }
            assert!(!SEQUENCES[..index].contains(tags), "{tags:?}");
            assert!(tags.len() <= LONGEST);
        }
    }
}
