//! Choosing anchors, by the rule of the module above.

use super::native::{Flow, Known, Native};
use super::wasm::{Class, Graph};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Rounds of giving up anchors. Each gives up one at least; a function that
/// needs more has none.
const MOST_ROUNDS: usize = 64;

/// What the compiler says about a function's code. PCs count from its start.
pub(crate) struct CodeFacts<'a> {
    pub code: &'a [u8],
    /// Fields to be filled in by the linker.
    pub relocated: HashSet<u32>,
    /// Ranges of code with the Wasm instruction that they belong to.
    pub locations: Vec<(u32, u32, u32)>,
    /// PCs that may fault, with the Wasm instruction.
    pub traps: HashMap<u32, u32>,
    /// Return addresses of calls, with the Wasm instruction.
    pub calls: HashMap<u32, u32>,
    /// Handlers of the calls out of which an exception may come, by return
    /// address.
    pub handlers: HashMap<u32, Vec<u32>>,
    /// Polls: what looks at the flag, with the Wasm instruction.
    pub polls: Vec<(u32, u32)>,
    /// Their branches, and where those go on if they are not taken.
    pub poll_branches: HashMap<u32, u32>,
    /// The first PC at which the parameters have locations.
    pub parameters: Option<u32>,
    /// PCs at which an instruction of the compiler's begins, so that what it says
    /// about locations is exact there: before and behind it, but not among the
    /// moves of the register allocator in between.
    pub starts: BTreeSet<u32>,
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
    let mut anchors = Chooser::new(graph, facts).map(Chooser::run).unwrap_or_default();
    let listed: HashSet<u32> = boundaries.iter().copied().collect();
    anchors.retain(|at, _| listed.contains(&graph.offsets[*at]));
    let find = |offset: &u32| {
        let Some(at) = graph.at(*offset) else { return Found::Threaded };
        if let Some(&(pc, _)) = anchors.get(&at) {
            return Found::At(pc);
        }
        if !graph.live[at] {
            return Found::Eliminated;
        }
        let mut here = at;
        while let [next] = graph.next[here].nodes.as_slice()
            && graph.precedes(here, *next)
        {
            if anchors.contains_key(next) {
                return Found::Merged;
            }
            here = *next;
        }
        Found::Threaded
    };
    boundaries.iter().map(find).collect()
}

/// How an anchor was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Proof {
    /// By its place between marks.
    Place,
    /// By a mark.
    Mark,
    /// The function's entry.
    Entry,
    /// The poll of a stable point, which is never given up.
    Poll,
}

/// PC and proof, by position in the graph.
type Anchors = BTreeMap<usize, (u32, Proof)>;

/// From which anchors, or the entry, each anchor was met.
type Met = HashMap<usize, BTreeSet<Option<usize>>>;

struct Chooser<'a> {
    graph: &'a Graph,
    facts: &'a CodeFacts<'a>,
    native: Native,
    /// Marks of each run: place and position in the graph, in order.
    marks: Vec<Vec<(usize, usize)>>,
    /// The boundaries that have some.
    marked: HashSet<usize>,
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
        let marks = vec![Vec::new(); native.runs.len()];
        Some(Chooser { graph, facts, native, marks, marked: HashSet::new() })
    }

    fn run(mut self) -> Anchors {
        self.find_marks();
        let polls = self.polls();
        let mut anchors = polls.clone();
        self.marked(&mut anchors);
        self.enter(&mut anchors);
        self.fill(&mut anchors);
        // From an anchor something else is seen only when one that was met from
        // there, or accused, is given up.
        let mut met = Met::new();
        let mut from: BTreeSet<Option<usize>> =
            std::iter::once(None).chain(anchors.keys().copied().map(Some)).collect();
        for _ in 0..MOST_ROUNDS {
            let wrong = self.contradictions(&anchors, &from, &mut met);
            if wrong.is_empty() {
                return anchors;
            }
            anchors.retain(|at, (_, proof)| !wrong.contains(at) || *proof == Proof::Poll);
            from = wrong.iter().filter_map(|at| met.remove(at)).flatten().collect();
            from.retain(|at| at.is_none_or(|at| anchors.contains_key(&at)));
        }
        polls
    }

    fn polls(&self) -> Anchors {
        let polls = self.facts.polls.iter();
        polls
            .filter_map(|&(pc, offset)| Some((self.graph.at(offset)?, (pc, Proof::Poll))))
            .collect()
    }

    /// The boundary that an instruction marks.
    fn mark(&self, pc: u32) -> Option<usize> {
        let inst = self.native.insts.get(&pc)?;
        if let Some(&offset) = self.facts.traps.get(&pc) {
            let at = self.graph.at(offset)?;
            // A trap of another instruction is a way out of it.
            let is_own = self.graph.classes[at] == Class::Unreachable;
            return (inst.flow != Flow::Trap || is_own).then_some(at);
        }
        if let Some(offset) = self.facts.calls.get(&inst.next) {
            return self.graph.at(*offset);
        }
        let at = self.graph.at(location(self.facts, pc)?.2)?;
        let marks = match self.graph.classes[at] {
            Class::Branch => matches!(inst.flow, Flow::Branch(_)),
            Class::Table(_) => matches!(inst.flow, Flow::Table(_)),
            Class::Writes => inst.writes,
            Class::End => inst.is_return && self.graph.returns_at_end_only(),
            Class::Plain | Class::Unreachable | Class::TailCall => false,
        };
        marks.then_some(at)
    }

    fn find_marks(&mut self) {
        for number in 0..self.native.runs.len() {
            let run = &self.native.runs[number];
            let marks = run.iter().enumerate().filter_map(|(place, pc)| {
                let at = self.mark(*pc).filter(|at| self.graph.live[*at])?;
                Some((place, at))
            });
            self.marks[number] = marks.collect();
            self.marked.extend(self.marks[number].iter().map(|(_, at)| *at));
        }
    }

    /// The first mark of each boundary, and from there back to where its own
    /// code begins.
    fn marked(&self, anchors: &mut Anchors) {
        let mut first: BTreeMap<usize, (u32, usize, usize)> = BTreeMap::new();
        for (number, marks) in self.marks.iter().enumerate() {
            for &(place, at) in marks {
                let pc = self.native.runs[number][place];
                let known = first.entry(at).or_insert((pc, number, place));
                if pc < known.0 {
                    *known = (pc, number, place);
                }
            }
        }
        let mut taken: HashSet<u32> = anchors.values().map(|(pc, _)| *pc).collect();
        for (at, (pc, number, place)) in first {
            if anchors.contains_key(&at) {
                continue;
            }
            let Some((begin, ..)) = location(self.facts, pc) else { continue };
            let start = match self.native.place.get(&begin) {
                Some(&(run, from)) if run == number && from <= place => {
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
                anchors.insert(at, (pc, Proof::Mark));
            }
        }
    }

    /// The first boundary is where the function is entered. Anywhere in the
    /// first run will do; best is where the parameters have locations, surest
    /// the very first instruction.
    fn enter(&self, anchors: &mut Anchors) {
        if anchors.contains_key(&0) {
            return;
        }
        let Some(&(run, _)) = self.native.place.get(&0) else { return };
        let others = anchors.values().filter_map(|(pc, _)| self.native.place.get(pc));
        let others = others.filter(|(number, _)| *number == run).map(|(_, place)| *place);
        let marks = self.marks[run].iter().map(|(place, _)| *place);
        let limit = others.chain(marks).min().unwrap_or(usize::MAX);
        let named = self.facts.locations.iter().find(|(.., offset)| *offset != u32::MAX);
        let wanted = [self.facts.parameters, named.map(|(begin, ..)| *begin), Some(0)];
        let fits = |pc: &u32| {
            self.native.place.get(pc).is_some_and(|(number, at)| *number == run && *at < limit)
        };
        if let Some(pc) = wanted.into_iter().flatten().find(fits) {
            anchors.insert(0, (pc, Proof::Entry));
        }
    }

    /// Rule 2.
    fn fill(&self, anchors: &mut Anchors) {
        let mut taken: HashMap<u32, usize> =
            anchors.iter().map(|(at, (pc, _))| (*pc, *at)).collect();
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
                    let jumps = matches!(self.native.insts[pc].flow, Flow::Jump(_));
                    !jumps && self.facts.starts.contains(pc) && !taken.contains_key(pc)
                })
                .map(|(place, _)| place)
                .collect();
            let named: Vec<(usize, usize)> = free
                .iter()
                .filter_map(|&place| {
                    let (begin, _, offset) = location(self.facts, run[place])?;
                    let at = self.graph.at(offset)?;
                    (begin == run[place] && self.graph.live[at] && !anchors.contains_key(&at))
                        .then_some((place, at))
                })
                .collect();
            for (place, at) in self.in_order(&marks, &named) {
                if anchors.contains_key(&at) {
                    continue;
                }
                anchors.insert(at, (run[place], Proof::Place));
                taken.insert(run[place], at);
                marks.push((place, at));
            }
            marks.sort_unstable();
            // A poll or the entry is only where its boundary begins. If what the
            // boundary does lies in another run, nothing behind it is here.
            let own = &self.marks[number];
            let is_pending = |at: usize| {
                self.marked.contains(&at) && !own.iter().any(|(_, marked)| *marked == at)
            };
            for (place, at) in self.between(&marks, &free, anchors, is_pending) {
                anchors.insert(at, (run[place], Proof::Place));
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
            let unplaced = |at: &usize| !anchors.contains_key(at);
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

    /// Rule 3: the boundaries whose anchors contradict the native control flow, as
    /// seen from these, or the entry. Notes from where which anchor was met, or
    /// accused.
    fn contradictions(
        &self,
        anchors: &Anchors,
        from: &BTreeSet<Option<usize>>,
        met: &mut Met,
    ) -> BTreeSet<usize> {
        let by_pc: HashMap<u32, usize> = anchors.iter().map(|(at, (pc, _))| (*pc, *at)).collect();
        let mut wrong = BTreeSet::new();
        if by_pc.len() != anchors.len() {
            return anchors.keys().copied().collect();
        }
        for &from in from {
            let pc = match from {
                None => Some(0),
                Some(at) => anchors.get(&at).map(|(pc, _)| *pc),
            };
            let expected = self.frontier(from, anchors);
            let found = self.reach(from, pc, &by_pc);
            for at in found.nodes.union(&expected.nodes) {
                met.entry(*at).or_default().insert(from);
            }
            let mut unexpected: Vec<usize> =
                found.nodes.iter().copied().filter(|at| !expected.nodes.contains(at)).collect();
            let done =
                found.done.iter().filter(|at| Some(**at) != from && !expected.between.contains(at));
            unexpected.extend(done);
            if unexpected.is_empty() && (expected.returns || !found.returns) {
                continue;
            }
            let concerned = from.into_iter().chain(unexpected).chain(expected.nodes);
            let concerned: BTreeSet<usize> =
                concerned.filter(|at| anchors.contains_key(at)).collect();
            for at in &concerned {
                met.entry(*at).or_default().insert(from);
            }
            // The weakest of those concerned.
            let weakest = concerned.iter().map(|at| anchors[at].1).min();
            wrong.extend(concerned.into_iter().filter(|at| Some(anchors[at].1) == weakest));
        }
        wrong
    }

    /// What the Wasm reaches from a boundary, or from the entry.
    fn frontier(&self, from: Option<usize>, anchors: &Anchors) -> Frontier {
        let mut frontier = Frontier::default();
        let mut work = match from {
            None => vec![0],
            Some(at) => {
                frontier.returns = self.graph.next[at].returns;
                self.graph.next[at].nodes.clone()
            }
        };
        while let Some(at) = work.pop() {
            if anchors.contains_key(&at) {
                frontier.nodes.insert(at);
            } else if frontier.between.insert(at) {
                frontier.returns |= self.graph.next[at].returns;
                work.extend_from_slice(&self.graph.next[at].nodes);
            }
        }
        frontier
    }

    /// What the native code reaches from an anchor, or from the entry.
    fn reach(&self, from: Option<usize>, pc: Option<u32>, by_pc: &HashMap<u32, usize>) -> Reached {
        let mut reached = Reached::default();
        let mut seen = HashSet::new();
        let mut work: Vec<(u32, bool)> = pc.map(|pc| (pc, from.is_some())).into_iter().collect();
        while let Some((pc, is_start)) = work.pop() {
            if !is_start {
                if let Some(&at) = by_pc.get(&pc) {
                    reached.nodes.insert(at);
                    continue;
                }
                if !seen.insert(pc) {
                    continue;
                }
            }
            let trap = self.facts.traps.get(&pc).and_then(|offset| self.graph.at(*offset));
            reached.done.extend(trap.or_else(|| self.mark(pc)));
            if self.native.insts.get(&pc).is_some_and(|inst| inst.flow == Flow::Leave) {
                reached.returns = true;
            }
            work.extend(self.native.after(pc).into_iter().map(|next| (next, false)));
        }
        reached
    }
}

/// What the Wasm reaches.
#[derive(Default)]
struct Frontier {
    /// The next anchored boundaries.
    nodes: BTreeSet<usize>,
    /// Those without anchor on the way.
    between: BTreeSet<usize>,
    returns: bool,
}

/// What the native code reaches.
#[derive(Default)]
struct Reached {
    nodes: BTreeSet<usize>,
    /// Whose traps and marks lie on the way.
    done: BTreeSet<usize>,
    returns: bool,
}

/// The range of code with one source location that holds a PC.
fn location(facts: &CodeFacts<'_>, pc: u32) -> Option<(u32, u32, u32)> {
    let next = facts.locations.partition_point(|(begin, ..)| *begin <= pc);
    let range = facts.locations.get(next.checked_sub(1)?)?;
    (pc < range.1 && range.2 != u32::MAX).then_some(*range)
}
