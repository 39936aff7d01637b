//! What executes an instruction: a function for it alone, or one for it and
//! some that follow.
//!
//! A jump from one instruction to the next costs more than most instructions
//! do. So sequences that are frequent in compiled programs have functions of
//! their own. The decoded instructions know nothing of this: beside each lies
//! its *route*, the number of the function, together with what that needs of it. One that stands in the middle of a
//! sequence has its own route too, since a branch may go there, and so may a
//! stop be there: a stop set has routes of its own, in which no sequence runs
//! over a stop.
//!
//! The sequences are those which showed up most often in what clang makes of
//! Lua, bzip2 and small kernels.

use crate::module::{Code, OpIdx};
use crate::op::{Op, Tag};
use std::sync::LazyLock;

/// Number of a function that executes one or several instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route(u16);

/// Numbers that there may be.
pub(crate) const ROUTES: usize = 1024;

/// Numbers of single ops, by [`Tag`], and of [`Route::STOP`], lie below it.
const SINGLES: u16 = 256;

/// Calls `$callback!` with the sequences, by all but their last op.
macro_rules! for_each_sequence {
    ($callback:ident) => {
        $callback! {
            (LocalGet): LocalGet ConstI32 ConstI64 ConstPool LocalSet LocalTee GlobalSet Call If
                BrIfPlain I32Load I32Load8U I64Load I32Load8S I32Load16U Store8 Store32 Store64
                I32Add I32Sub I32And I32Or I32Xor I32Mul I32Shl I32ShrU I32ShrS I32Eq I32Ne I32LtS
                I32LtU I32GtS I32GtU I32LeS I32LeU I32GeS I32GeU I32Eqz I64Eqz I64Add I64Sub
                I64Mul I64And I64Or I64Xor I64Shl I64ShrU F64Add F64Sub F64Mul F64Div;
            (ConstI32): LocalSet LocalGet Store8 Store32 ConstI32 I32RemU I32Add I32Sub I32And
                I32Or I32Xor I32Mul I32Shl I32ShrU I32ShrS I32Eq I32Ne I32LtS I32LtU I32GtS I32GtU
                I32LeS I32LeU I32GeS I32GeU;
            (ConstI64): I64Add I64Sub I64Mul I64And I64Or I64Xor I64Shl I64ShrU I64Eq I64Ne
                LocalSet;
            (ConstPool): F64Add F64Sub F64Mul F64Div LocalSet;
            (LocalGet ConstI32): I32Add I32Sub I32And I32Or I32Xor I32Mul I32Shl I32ShrU I32ShrS
                I32Eq I32Ne I32LtS I32LtU I32GtS I32GtU I32LeS I32LeU I32GeS I32GeU Store8 Store32;
            (LocalGet ConstI64): I64Add I64Sub I64Mul I64And I64Or I64Xor I64Shl I64ShrU;
            (LocalGet ConstPool): F64Add F64Sub F64Mul F64Div;
            (LocalGet LocalGet): LocalGet ConstI32 Store8 Store32 Store64 I32Load I32Load8U
                I64Load I32Add I32Sub I32And I32Or I32Xor I32Mul I32Shl I32ShrU I32ShrS I32Eq
                I32Ne I32LtS I32LtU I32GtS I32GtU I32LeS I32LeU I32GeS I32GeU I64Add I64Sub I64Mul
                I64Xor F64Add F64Sub F64Mul F64Div;
            (LocalGet LocalGet ConstI32): I32Add I32Sub I32And I32Or I32Xor I32Mul I32Shl I32ShrU
                I32ShrS;
            (I32Add): LocalSet LocalTee I32Load I32Load8U I64Load LocalGet ConstI32 Store32 I32Add;
            (ConstI32 I32Add): LocalSet LocalTee I32Load I32Load8U I64Load GlobalSet;
            (LocalGet I32Add): LocalSet LocalTee I32Load I32Load8U I64Load;
            (LocalGet ConstI32 I32Add): LocalSet LocalTee I32Load I32Load8U I64Load GlobalSet;
            (LocalGet LocalGet I32Add): LocalSet LocalTee;
            (I32Sub): LocalSet LocalTee;
            (ConstI32 I32Sub): LocalSet LocalTee BrTable;
            (LocalGet I32Sub): LocalSet LocalTee;
            (LocalGet ConstI32 I32Sub): LocalSet LocalTee;
            (LocalGet LocalGet I32Sub): LocalSet LocalTee;
            (I32And): LocalSet LocalTee ConstI32 I32Add I32Eqz I32Or If BrIfPlain;
            (ConstI32 I32And): LocalSet LocalTee ConstI32 I32Eqz I32Add If BrIfPlain I32Or;
            (LocalGet I32And): LocalSet LocalTee;
            (LocalGet ConstI32 I32And): LocalSet LocalTee;
            (LocalGet LocalGet I32And): LocalSet LocalTee;
            (I32Or): LocalSet LocalTee;
            (ConstI32 I32Or): LocalSet LocalTee;
            (LocalGet I32Or): LocalSet LocalTee;
            (LocalGet ConstI32 I32Or): LocalSet LocalTee;
            (LocalGet LocalGet I32Or): LocalSet LocalTee;
            (I32Xor): LocalSet LocalTee;
            (ConstI32 I32Xor): LocalSet LocalTee;
            (LocalGet I32Xor): LocalSet LocalTee;
            (LocalGet ConstI32 I32Xor): LocalSet LocalTee;
            (LocalGet LocalGet I32Xor): LocalSet LocalTee;
            (I32Mul): LocalSet LocalTee;
            (I32Shl): LocalSet LocalTee I32Add ConstI32 I32Or LocalGet;
            (ConstI32 I32Shl): LocalSet LocalTee I32Add I32Or ConstI32;
            (LocalGet I32Shl): LocalSet LocalTee;
            (LocalGet ConstI32 I32Shl): LocalSet LocalTee I32Add I32Or;
            (LocalGet LocalGet I32Shl): LocalSet LocalTee;
            (I32ShrU): LocalSet LocalTee;
            (ConstI32 I32ShrU): LocalSet LocalTee ConstI32 I32Add;
            (LocalGet I32ShrU): LocalSet LocalTee;
            (LocalGet ConstI32 I32ShrU): LocalSet LocalTee;
            (LocalGet LocalGet I32ShrU): LocalSet LocalTee;
            (I32ShrS): LocalSet LocalTee;
            (I32Eq): BrIfPlain If;
            (ConstI32 I32Eq): BrIfPlain If;
            (LocalGet I32Eq): BrIfPlain If;
            (LocalGet ConstI32 I32Eq): BrIfPlain If;
            (LocalGet LocalGet I32Eq): BrIfPlain If;
            (I32Ne): BrIfPlain If;
            (ConstI32 I32Ne): BrIfPlain If;
            (LocalGet I32Ne): BrIfPlain If;
            (LocalGet ConstI32 I32Ne): BrIfPlain If;
            (LocalGet LocalGet I32Ne): BrIfPlain If;
            (I32LtS): BrIfPlain If;
            (ConstI32 I32LtS): BrIfPlain If;
            (LocalGet I32LtS): BrIfPlain If;
            (LocalGet ConstI32 I32LtS): BrIfPlain If;
            (LocalGet LocalGet I32LtS): BrIfPlain If;
            (I32LtU): BrIfPlain If;
            (ConstI32 I32LtU): BrIfPlain If;
            (LocalGet I32LtU): BrIfPlain If;
            (LocalGet ConstI32 I32LtU): BrIfPlain If;
            (LocalGet LocalGet I32LtU): BrIfPlain If;
            (I32GtS): BrIfPlain If;
            (ConstI32 I32GtS): BrIfPlain If;
            (LocalGet I32GtS): BrIfPlain If;
            (LocalGet ConstI32 I32GtS): BrIfPlain If;
            (LocalGet LocalGet I32GtS): BrIfPlain If;
            (I32GtU): BrIfPlain If;
            (ConstI32 I32GtU): BrIfPlain If;
            (LocalGet I32GtU): BrIfPlain If;
            (LocalGet ConstI32 I32GtU): BrIfPlain If;
            (LocalGet LocalGet I32GtU): BrIfPlain If;
            (I32LeS): BrIfPlain If;
            (I32LeU): BrIfPlain If;
            (I32GeS): BrIfPlain If;
            (ConstI32 I32GeS): BrIfPlain If;
            (LocalGet I32GeS): BrIfPlain If;
            (LocalGet ConstI32 I32GeS): BrIfPlain If;
            (LocalGet LocalGet I32GeS): BrIfPlain If;
            (I32GeU): BrIfPlain If;
            (ConstI32 I32GeU): BrIfPlain If;
            (LocalGet I32GeU): BrIfPlain If;
            (LocalGet ConstI32 I32GeU): BrIfPlain If;
            (LocalGet LocalGet I32GeU): BrIfPlain If;
            (I64Add): LocalSet LocalTee;
            (ConstI64 I64Add): LocalSet LocalTee;
            (LocalGet I64Add): LocalSet LocalTee;
            (I64Sub): LocalSet LocalTee;
            (ConstI64 I64Sub): LocalSet LocalTee;
            (LocalGet I64Sub): LocalSet LocalTee;
            (I64Mul): LocalSet LocalTee;
            (ConstI64 I64Mul): LocalSet LocalTee;
            (LocalGet I64Mul): LocalSet LocalTee;
            (I64Xor): LocalSet LocalTee;
            (ConstI64 I64Xor): LocalSet LocalTee;
            (LocalGet I64Xor): LocalSet LocalTee;
            (F64Add): LocalSet LocalTee;
            (ConstPool F64Add): LocalSet LocalTee;
            (LocalGet F64Add): LocalSet LocalTee;
            (LocalGet LocalGet F64Add): LocalSet LocalTee;
            (F64Sub): LocalSet LocalTee;
            (ConstPool F64Sub): LocalSet LocalTee;
            (LocalGet F64Sub): LocalSet LocalTee;
            (LocalGet LocalGet F64Sub): LocalSet LocalTee;
            (F64Mul): LocalSet LocalTee F64Add F64Sub;
            (ConstPool F64Mul): LocalSet LocalTee;
            (LocalGet F64Mul): LocalSet LocalTee F64Add F64Sub;
            (LocalGet LocalGet F64Mul): LocalSet LocalTee;
            (LocalGet ConstI32 I32Add LocalTee): BrIfPlain LocalGet ConstI32;
            (LocalGet ConstI32 I32Add LocalSet): LocalGet BrPlain;
            (ConstI32 I32Add LocalTee): BrIfPlain LocalGet ConstI32;
            (ConstI32 I32Add LocalSet): LocalGet BrPlain;
            (LocalGet ConstI32 I32Sub LocalTee): BrIfPlain LocalGet ConstI32;
            (LocalGet ConstI32 I32Sub LocalSet): LocalGet BrPlain;
            (ConstI32 I32Sub LocalTee): BrIfPlain LocalGet ConstI32;
            (ConstI32 I32Sub LocalSet): LocalGet BrPlain;
            (LocalTee): LocalGet ConstI32 If BrIfPlain I32Load I32Load8U GlobalSet LocalTee;
            (LocalTee ConstI32): I32Add I32And I32ShrU I32Eq I32Ne I32LtU;
            (LocalSet): LocalGet ConstI32 Block BrPlain LocalSet;
            (LocalSet LocalGet): LocalGet ConstI32 If I32Load;
            (I32Load): LocalTee LocalSet LocalGet ConstI32 I32Add;
            (LocalGet I32Load): LocalTee LocalSet LocalGet ConstI32 I32Add I32Load;
            (I32Load8U): LocalTee ConstI32 LocalGet I32Eqz;
            (LocalGet I32Load8U): LocalTee LocalSet ConstI32 LocalGet;
            (I32Load8U ConstI32): I32And I32Eq I32Ne;
            (I64Load): LocalGet LocalSet F64Add F64Mul Store64;
            (ConstI32 I32Shl I32Add): LocalTee LocalSet I32Load;
            (ConstI32 I32And I32Eqz): BrIfPlain If;
            (ConstI32 I32ShrU ConstI32): I32And;
            (GlobalGet): ConstI32 LocalGet LocalSet;
            (GlobalGet ConstI32 I32Sub): LocalTee;
            (GlobalGet ConstI32 I32Sub LocalTee): GlobalSet;
            (I32Eqz): BrIfPlain If;
            (LocalGet I32Eqz): BrIfPlain If;
            (I64Eqz): BrIfPlain If;
            (If): LocalGet ConstI32;
            (If LocalGet): LocalGet ConstI32 I32Load;
            (BrIfPlain): LocalGet End;
            (BrIfPlain LocalGet): LocalGet ConstI32 I32Load;
            (BrIfPlain End): LocalGet;
            (BrIfPlain End LocalGet): LocalGet ConstI32 I32Load;
            (End): LocalGet ConstI32;
            (End LocalGet): LocalGet ConstI32 I32Load;
            (Block): LocalGet;
            (Block LocalGet): ConstI32 LocalGet I32Load;
            (Loop): LocalGet;
            (Loop LocalGet): LocalGet ConstI32;
            (Store32): LocalGet;
            (Store32 LocalGet): LocalGet ConstI32;
            (Store8): LocalGet;
            (Store64): LocalGet;
        }
    };
}
pub(crate) use for_each_sequence;

macro_rules! tags_of {
    (($($op:ident)+) $last:ident) => { &[$(Tag::$op,)+ Tag::$last] };
}

macro_rules! tags_of_sequences {
    ($($prefix:tt : $($last:ident)+;)+) => { &[$($(tags_of!($prefix $last),)+)+] };
}

/// The sequences, from the list above, in its order.
const SEQUENCES: &[&[Tag]] = for_each_sequence!(tags_of_sequences);

/// Instructions that do nothing, such as `block`, come in long runs: of these
/// lengths one function executes them all.
pub(crate) const SKIPS: [usize; 6] = [2, 4, 8, 16, 32, 64];

const _: () = assert!(SINGLES as usize + SEQUENCES.len() + SKIPS.len() <= ROUTES);

impl Route {
    /// Of a boundary at which to stop.
    pub(crate) const STOP: Route = Route(SINGLES - 1);

    /// Of a sequence of the list.
    pub(crate) const fn sequence(index: usize) -> Route {
        Route(SINGLES + index as u16)
    }

    /// Of a run of [`SKIPS`]`[which]` instructions that do nothing.
    pub(crate) const fn skip(which: usize) -> Route {
        Route(SINGLES + (SEQUENCES.len() + which) as u16)
    }

    /// Of an instruction alone.
    fn single(op: Op) -> Route {
        Route(op.tag() as u16)
    }

    /// The number. The mask says what is true anyway, to the compiler.
    #[inline(always)]
    pub(crate) const fn index(self) -> usize {
        self.0 as usize & (ROUTES - 1)
    }

    /// Instructions that it executes.
    fn length(self) -> usize {
        let Some(index) = self.0.checked_sub(SINGLES).map(usize::from) else { return 1 };
        match SEQUENCES.get(index) {
            Some(tags) => tags.len(),
            None => SKIPS[index - SEQUENCES.len()],
        }
    }
}

/// The sequences as a tree of their tags.
struct Tree {
    /// By tag, its column, or 0 if no sequence has it. Few tags are in
    /// sequences, and a table that is small stays in the cache.
    columns: [u8; SINGLES as usize],
    /// Columns, of which the first is empty.
    width: usize,
    /// By node and column, the number of the next node, or 0 where no sequence
    /// goes on.
    next: Vec<u16>,
    /// The sequence that ends at the node.
    ends: Vec<Option<Route>>,
}

impl Tree {
    #[inline(always)]
    fn next(&self, node: u16, op: Op) -> u16 {
        let column = usize::from(self.columns[op.tag() as usize]);
        self.next[usize::from(node) * self.width + column]
    }
}

static TREE: LazyLock<Tree> = LazyLock::new(|| {
    let mut columns = [0; SINGLES as usize];
    let mut width = 1;
    for tag in SEQUENCES.iter().copied().flatten() {
        if columns[*tag as usize] == 0 {
            columns[*tag as usize] = width as u8;
            width += 1;
        }
    }
    let mut next = vec![0; width];
    let mut ends = vec![None];
    for (index, tags) in SEQUENCES.iter().enumerate() {
        let mut node = 0;
        for tag in *tags {
            let place = node * width + usize::from(columns[*tag as usize]);
            if next[place] == 0 {
                next[place] = ends.len() as u16;
                next.resize(next.len() + width, 0);
                ends.push(None);
            }
            node = usize::from(next[place]);
        }
        ends[node] = Some(Route::sequence(index));
    }
    Tree { columns, width, next, ends }
});

/// An instruction as it is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) route: Route,
    /// As of [`Op::immediate`].
    pub(crate) immediate: u32,
}

/// What decoded instructions are executed as: by the longest route from each.
pub(crate) fn slots(ops: &[Op]) -> Vec<Slot> {
    let tree = &*TREE;
    let mut slots: Vec<Slot> = Vec::with_capacity(ops.len());
    // Up to where a run of instructions that do nothing goes on.
    let mut idle = 0;
    for (position, op) in ops.iter().enumerate() {
        let mut route = Route::single(*op);
        if is_idle(*op) {
            if idle <= position {
                let busy = ops[position..].iter().position(|op| !is_idle(*op));
                idle = busy.map_or(ops.len(), |busy| position + busy);
            }
            if let Some(which) = SKIPS.iter().rposition(|length| *length <= idle - position) {
                route = Route::skip(which);
                slots.push(Slot { route, immediate: op.immediate() });
                continue;
            }
        }
        let mut node = tree.next(0, *op);
        for op in &ops[position + 1..] {
            if node == 0 {
                break;
            }
            node = tree.next(node, *op);
            route = tree.ends[usize::from(node)].unwrap_or(route);
        }
        slots.push(Slot { route, immediate: op.immediate() });
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
            let route = code.slots()[position].route;
            let covered = &self.slots[position..position + route.length()];
            self.slots[position].route = if covered.iter().any(|slot| slot.route == Route::STOP) {
                Route::single(code.ops[position])
            } else {
                route
            };
        }
        true
    }
}

/// Instructions of the longest route.
const LONGEST: usize = SKIPS[SKIPS.len() - 1];

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
        let lengths: Vec<usize> = slots(&ops).iter().map(|slot| slot.route.length()).collect();
        assert_eq!(lengths, [2, 2, 3, 4, 3, 2, 1, 1, 1, 1]);
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
            for (position, Slot { route, .. }) in with.as_slice().iter().enumerate() {
                let stopped = stops[..=done].contains(&(position as u32));
                assert_eq!(*route == Route::STOP, stopped);
                for covered in position + 1..position + route.length() {
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
