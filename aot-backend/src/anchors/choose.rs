//! Choosing anchors, by the rules 1 and 2 of the module above.

use super::check::{Anchors, Check, Proof};
use super::native::{Flow, Inst, Known, Native};
use super::wasm::{Class, Graph};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeMap;

/// Rounds of giving up anchors. Each gives up one at least; a function that
/// needs more has none.
const MOST_ROUNDS: usize = 64;

/// What the compiler says about a function's code. PCs count from its start.
pub(crate) struct CodeFacts<'a> {
    pub code: &'a [u8],
    /// Fields to be filled in by the linker.
    pub relocated: FxHashSet<u32>,
    /// Ranges of code with the Wasm instruction that they belong to.
    pub locations: Vec<(u32, u32, u32)>,
    /// PCs that may fault, with the Wasm instruction.
    pub traps: FxHashMap<u32, u32>,
    /// Return addresses of calls, with the Wasm instruction.
    pub calls: FxHashMap<u32, u32>,
    /// Handlers of the calls out of which an exception may come, by return
    /// address.
    pub handlers: FxHashMap<u32, Vec<u32>>,
    /// Polls: what looks at the flag, with the Wasm instruction.
    pub polls: Vec<(u32, u32)>,
    /// Their branches, and where those go on if they are not taken.
    pub poll_branches: FxHashMap<u32, u32>,
    /// The first PC at which the parameters have locations.
    pub parameters: Option<u32>,
    /// Where an instruction of the compiler's begins, so that what it says
    /// about locations is exact there: before and behind it, but not among the
    /// moves of the register allocator in between. By PC.
    pub starts: Vec<bool>,
}

/// What was found for a boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// An anchor at this PC.
    At(u32),
    /// The next boundary that has one is always reached through this one.
    Merged,
    /// The next one may be reached otherwise.
    Threaded,
    /// No path leads to it.
    Eliminated,
}

/// Finds what can be said of the boundaries at these offsets.
pub(crate) fn choose(graph: &Graph, facts: &CodeFacts<'_>, boundaries: &[u32]) -> Vec<Found> {
    let none = || Anchors::none(graph.offsets.len());
    let mut anchors = Chooser::new(graph, facts).map_or_else(none, Chooser::run);
    let mut listed = vec![false; graph.offsets.len()];
    for at in boundaries.iter().filter_map(|offset| graph.at(*offset)) {
        listed[at] = true;
    }
    anchors.retain(|at, _| listed[at]);
    // The last place of each chain that has an anchor.
    let mut last: FxHashMap<usize, usize> = FxHashMap::default();
    for (at, ..) in anchors.iter() {
        let (chain, place) = graph.chains[at];
        let known = last.entry(chain).or_insert(place);
        *known = place.max(*known);
    }
    let find = |offset: &u32| {
        let Some(at) = graph.at(*offset) else { return Found::Threaded };
        if let Some((pc, _)) = anchors.get(at) {
            return Found::At(pc);
        }
        if !graph.live[at] {
            return Found::Eliminated;
        }
        let (chain, place) = graph.chains[at];
        match last.get(&chain) {
            Some(last) if place < *last => Found::Merged,
            _ => Found::Threaded,
        }
    };
    boundaries.iter().map(find).collect()
}

struct Chooser<'a> {
    graph: &'a Graph,
    facts: &'a CodeFacts<'a>,
    native: Native,
    /// The boundary that each instruction marks, by number.
    marked_by: Vec<Option<usize>>,
    /// Marks of each run: place and position in the graph, in order.
    marks: Vec<Vec<(usize, usize)>>,
    /// The boundaries that have some.
    marked: Vec<bool>,
}

impl<'a> Chooser<'a> {
    fn new(graph: &'a Graph, facts: &'a CodeFacts<'a>) -> Option<Self> {
        let table = |pc: u32| {
            let class = graph.classes[graph.at(location(facts, pc)?.2)?];
            if let Class::Table(entries) = class { Some(entries) } else { None }
        };
        let known = Known {
            code: facts.code,
            relocated: &facts.relocated,
            handlers: &facts.handlers,
            polls: &facts.poll_branches,
        };
        let native = Native::of(&known, table)?;
        let marked_by: Vec<Option<usize>> =
            native.insts.iter().map(|inst| mark(graph, facts, inst)).collect();
        let mut marked = vec![false; graph.offsets.len()];
        let marks_of = |run: &Vec<u32>| {
            let marks = run.iter().enumerate().filter_map(|(place, pc)| {
                let at = marked_by[native.number(*pc)?].filter(|at| graph.live[*at])?;
                Some((place, at))
            });
            marks.inspect(|(_, at)| marked[*at] = true).collect()
        };
        let marks = native.runs.iter().map(marks_of).collect();
        Some(Chooser { graph, facts, native, marked_by, marks, marked })
    }

    fn run(self) -> Anchors {
        let polls = self.polls();
        let mut anchors = polls.clone();
        self.marked(&mut anchors);
        self.enter(&mut anchors);
        self.fill(&mut anchors);
        let mut check = Check::new(self.graph, &self.native, self.done());
        let mut from: Vec<Option<usize>> =
            std::iter::once(None).chain(anchors.iter().map(|(at, ..)| Some(at))).collect();
        for _ in 0..MOST_ROUNDS {
            let wrong = check.contradictions(&anchors, &from);
            if wrong.is_empty() {
                return anchors;
            }
            anchors.retain(|at, proof| !wrong.contains(&at) || proof == Proof::Poll);
            from = check.concerned(&wrong, &anchors);
        }
        polls
    }

    /// The boundary whose trap or mark each instruction is.
    fn done(&self) -> Vec<Option<usize>> {
        let done = self.native.insts.iter().zip(&self.marked_by).map(|(inst, mark)| {
            let trap = self.facts.traps.get(&inst.pc).and_then(|offset| self.graph.at(*offset));
            trap.or(*mark)
        });
        done.collect()
    }

    fn polls(&self) -> Anchors {
        let mut polls = Anchors::none(self.graph.offsets.len());
        for &(pc, offset) in &self.facts.polls {
            if let Some(at) = self.graph.at(offset) {
                polls.insert(at, pc, Proof::Poll);
            }
        }
        polls
    }

    /// The first mark of each boundary, and from there back to where its own
    /// code begins.
    fn marked(&self, anchors: &mut Anchors) {
        let mut first: Vec<Option<(u32, usize, usize)>> = vec![None; self.graph.offsets.len()];
        for (number, marks) in self.marks.iter().enumerate() {
            for &(place, at) in marks {
                let pc = self.native.runs[number][place];
                let known = first[at].get_or_insert((pc, number, place));
                if pc < known.0 {
                    *known = (pc, number, place);
                }
            }
        }
        let mut taken: FxHashSet<u32> = anchors.iter().map(|(_, pc, _)| pc).collect();
        for (at, first) in first.into_iter().enumerate() {
            let Some((pc, number, place)) = first.filter(|_| !anchors.has(at)) else { continue };
            let Some((begin, ..)) = location(self.facts, pc) else { continue };
            let start = match self.native.place(begin) {
                Some((run, from)) if run == number && from <= place => {
                    let run = &self.native.runs[number][from..place];
                    let between = |mark: &&(usize, usize)| (from..place).contains(&mark.0);
                    let marked = self.marks[number].iter().find(between).is_some()
                        || run.iter().any(|pc| taken.contains(pc));
                    (!marked).then_some(begin)
                }
                _ => None,
            };
            // Elsewhere the ranges of locations are not exact.
            if let Some(pc) = start.filter(|pc| taken.insert(*pc)) {
                anchors.insert(at, pc, Proof::Mark);
            }
        }
    }

    /// The first boundary is where the function is entered. Anywhere in the
    /// first run will do; best is where the parameters have locations, surest
    /// the very first instruction.
    fn enter(&self, anchors: &mut Anchors) {
        if anchors.has(0) {
            return;
        }
        let Some((run, _)) = self.native.place(0) else { return };
        let others = anchors.iter().filter_map(|(_, pc, _)| self.native.place(pc));
        let others = others.filter(|(number, _)| *number == run).map(|(_, place)| place);
        let marks = self.marks[run].iter().map(|(place, _)| *place);
        let limit = others.chain(marks).min().unwrap_or(usize::MAX);
        let named = self.facts.locations.iter().find(|(.., offset)| *offset != u32::MAX);
        let wanted = [self.facts.parameters, named.map(|(begin, ..)| *begin), Some(0)];
        let fits = |pc: &u32| {
            self.native.place(*pc).is_some_and(|(number, at)| number == run && at < limit)
        };
        if let Some(pc) = wanted.into_iter().flatten().find(fits) {
            anchors.insert(0, pc, Proof::Entry);
        }
    }

    /// Rule 2.
    fn fill(&self, anchors: &mut Anchors) {
        let mut taken: FxHashMap<u32, usize> = anchors.iter().map(|(at, pc, _)| (pc, at)).collect();
        let jumps = |number: usize| matches!(self.native.insts[number].flow, Flow::Jump(_));
        for (number, run) in self.native.runs.iter().enumerate() {
            let mut marks = self.marks[number].clone();
            for (place, pc) in run.iter().enumerate() {
                if let Some(at) = taken.get(pc).filter(|at| !marks.contains(&(place, **at))) {
                    marks.push((place, *at));
                }
            }
            if marks.is_empty() {
                continue;
            }
            marks.sort_unstable();
            // In front of a jump the register allocator has put the values where
            // its target wants them.
            let free: Vec<usize> = run
                .iter()
                .enumerate()
                .filter(|(_, pc)| {
                    let starts = self.facts.starts[**pc as usize] && !taken.contains_key(pc);
                    starts && !self.native.number(**pc).is_some_and(jumps)
                })
                .map(|(place, _)| place)
                .collect();
            let named: Vec<(usize, usize)> = free
                .iter()
                .filter_map(|&place| {
                    let (begin, _, offset) = location(self.facts, run[place])?;
                    let at = self.graph.at(offset)?;
                    (begin == run[place] && self.graph.live[at] && !anchors.has(at))
                        .then_some((place, at))
                })
                .collect();
            for (place, at) in self.in_order(&marks, &named) {
                if anchors.has(at) {
                    continue;
                }
                anchors.insert(at, run[place], Proof::Place);
                taken.insert(run[place], at);
                marks.push((place, at));
            }
            marks.sort_unstable();
            // A poll or the entry is only where its boundary begins. If what the
            // boundary does lies in another run, nothing behind it is here.
            let own = &self.marks[number];
            let is_pending =
                |at: usize| self.marked[at] && !own.iter().any(|(_, marked)| *marked == at);
            for (place, at) in self.between(&marks, &free, anchors, is_pending) {
                anchors.insert(at, run[place], Proof::Place);
                taken.insert(run[place], at);
            }
        }
    }

    /// Boundaries for the places that are left: those just before the next mark
    /// of their chain, in order, else those just behind the last one.
    fn between(
        &self,
        marks: &[(usize, usize)],
        free: &[usize],
        anchors: &Anchors,
        is_pending: impl Fn(usize) -> bool,
    ) -> Vec<(usize, usize)> {
        let mut chosen = Vec::new();
        for gap in 0..=marks.len() {
            let before = gap.checked_sub(1).map(|gap| marks[gap]);
            let after = marks.get(gap).copied();
            let first = before.map_or(0, |mark| free.partition_point(|place| *place <= mark.0));
            let end = after.map_or(free.len(), |mark| free.partition_point(|at| *at < mark.0));
            let places = free.get(first..end).unwrap_or_default();
            let unplaced = |at: &usize| !anchors.has(*at);
            match (before, after) {
                (before, Some((_, next))) => {
                    let (chain, end) = self.graph.chains[next];
                    let begin = match before {
                        Some((_, at)) if self.graph.chains[at].0 == chain => {
                            self.graph.chains[at].1 + 1
                        }
                        _ => 0,
                    };
                    let members = self.graph.members(chain);
                    let Some(members) = members.get(begin..end) else { continue };
                    let last_first = members.iter().rev().copied().filter(unplaced);
                    chosen.extend(places.iter().rev().copied().zip(last_first));
                }
                (Some((_, at)), None) if is_pending(at) => {}
                (Some((_, at)), None) => {
                    let (chain, begin) = self.graph.chains[at];
                    let members = self.graph.members(chain);
                    let members = members.get(begin + 1..).unwrap_or_default();
                    let unplaced = members.iter().copied().filter(unplaced);
                    chosen.extend(places.iter().copied().zip(unplaced));
                }
                (None, None) => {}
            }
        }
        chosen
    }

    /// Of the places between marks a longest sequence in the order of the
    /// boundaries, gap by gap.
    fn in_order(&self, marks: &[(usize, usize)], starts: &[(usize, usize)]) -> Vec<(usize, usize)> {
        let mut gaps: BTreeMap<usize, Vec<(usize, usize)>> = BTreeMap::new();
        for &(place, at) in starts {
            let gap = marks.partition_point(|(mark, _)| *mark < place);
            let before = gap.checked_sub(1).map(|gap| marks[gap].1);
            let after = marks.get(gap).map(|mark| mark.1);
            let chain = |node: usize| self.graph.chains[node].0;
            let own = chain(at);
            let fits = match (before, after) {
                (Some(x), Some(y)) if chain(x) == own && chain(y) == own => {
                    self.graph.precedes(x, at) && self.graph.precedes(at, y)
                }
                (Some(x), _) if chain(x) == own => self.graph.precedes(x, at),
                (_, Some(y)) if chain(y) == own => self.graph.precedes(at, y),
                _ => false,
            };
            if fits {
                gaps.entry(gap).or_default().push((place, at));
            }
        }
        let mut chosen = Vec::new();
        for candidates in gaps.into_values() {
            // Longest chain of candidates; gaps are short.
            let candidates = &candidates[..candidates.len().min(256)];
            let mut best: Vec<(usize, Option<usize>)> = Vec::with_capacity(candidates.len());
            for (index, &(_, at)) in candidates.iter().enumerate() {
                let before = (0..index).filter(|&other| {
                    let other = candidates[other].1;
                    other != at
                        && (self.graph.precedes(other, at)
                            || self.graph.chains[other].0 != self.graph.chains[at].0)
                });
                // Two chains in one gap: the first one's tail, the second one's head.
                let before = before.max_by_key(|&other| best[other].0);
                best.push((before.map_or(1, |other| best[other].0 + 1), before));
            }
            let mut last = (0..best.len()).max_by_key(|&index| best[index].0);
            while let Some(index) = last {
                chosen.push(candidates[index]);
                last = best[index].1;
            }
        }
        chosen
    }
}

/// The boundary that an instruction marks.
fn mark(graph: &Graph, facts: &CodeFacts<'_>, inst: &Inst) -> Option<usize> {
    if let Some(&offset) = facts.traps.get(&inst.pc) {
        let at = graph.at(offset)?;
        // A trap of another instruction is a way out of it.
        let is_own = graph.classes[at] == Class::Unreachable;
        return (inst.flow != Flow::Trap || is_own).then_some(at);
    }
    if let Some(offset) = facts.calls.get(&inst.next) {
        return graph.at(*offset);
    }
    let at = graph.at(location(facts, inst.pc)?.2)?;
    let marks = match graph.classes[at] {
        Class::Branch => matches!(inst.flow, Flow::Branch(_)),
        Class::Table(_) => matches!(inst.flow, Flow::Table(_)),
        Class::Writes => inst.writes,
        Class::End => inst.is_return && graph.returns_at_end_only,
        Class::Plain | Class::Unreachable | Class::TailCall => false,
    };
    marks.then_some(at)
}

/// The range of code with one source location that holds a PC.
fn location(facts: &CodeFacts<'_>, pc: u32) -> Option<(u32, u32, u32)> {
    let next = facts.locations.partition_point(|(begin, ..)| *begin <= pc);
    let range = facts.locations.get(next.checked_sub(1)?)?;
    (pc < range.1 && range.2 != u32::MAX).then_some(*range)
}
