//! Checking anchors, by rule 3 of the module above.
//!
//! From an anchor something else is seen only when one that was met from there, or
//! accused, is given up. So each round looks again only from where that is so.

use super::native::{Flow, Native};
use super::wasm::Graph;
use std::collections::BTreeSet;

/// How an anchor was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Proof {
    /// By its place between marks.
    Place,
    /// By a mark.
    Mark,
    /// The function's entry.
    Entry,
    /// The poll of a stable point, which is never given up.
    Poll,
}

/// PC and proof of each boundary that has an anchor, by position in the graph.
#[derive(Clone)]
pub(super) struct Anchors(Vec<Option<(u32, Proof)>>);

impl Anchors {
    /// For so many boundaries none.
    pub fn none(boundaries: usize) -> Self {
        Anchors(vec![None; boundaries])
    }

    pub fn get(&self, at: usize) -> Option<(u32, Proof)> {
        self.0.get(at).copied().flatten()
    }

    pub fn has(&self, at: usize) -> bool {
        self.get(at).is_some()
    }

    pub fn insert(&mut self, at: usize, pc: u32, proof: Proof) {
        self.0[at] = Some((pc, proof));
    }

    /// In the order of the boundaries.
    pub fn iter(&self) -> impl Iterator<Item = (usize, u32, Proof)> {
        let all = self.0.iter().enumerate();
        all.filter_map(|(at, anchor)| anchor.map(|(pc, proof)| (at, pc, proof)))
    }

    pub fn retain(&mut self, keep: impl Fn(usize, Proof) -> bool) {
        for (at, anchor) in self.0.iter_mut().enumerate() {
            anchor.take_if(|(_, proof)| !keep(at, *proof));
        }
    }
}

/// What a walk has come by, of things that have numbers.
struct Visited {
    /// The walk that came by last.
    walks: Vec<u32>,
    current: u32,
}

impl Visited {
    fn new(things: usize) -> Self {
        Visited { walks: vec![0; things], current: 0 }
    }

    /// Begins another walk.
    fn begin(&mut self) {
        self.current += 1;
    }

    /// Whether this walk has not been there before.
    fn insert(&mut self, thing: usize) -> bool {
        std::mem::replace(&mut self.walks[thing], self.current) != self.current
    }

    fn contains(&self, thing: usize) -> bool {
        self.walks[thing] == self.current
    }
}

/// Where a walk begins: at the anchor of a boundary, or at the entry.
type From = Option<usize>;

/// What is needed to follow control flow.
pub(super) struct Check<'a> {
    graph: &'a Graph,
    native: &'a Native,
    /// The boundary whose trap or mark each instruction is, by number.
    done: Vec<Option<usize>>,
    /// The boundary whose anchor each instruction is, by number.
    anchored: Vec<Option<usize>>,
    /// From where the anchor of each boundary was met, or accused.
    met: Vec<Vec<From>>,
    /// Boundaries without anchor that the walk through the Wasm has come by.
    between: Visited,
    /// Instructions that the walk through the code has come by.
    seen: Visited,
}

impl<'a> Check<'a> {
    pub fn new(graph: &'a Graph, native: &'a Native, done: Vec<Option<usize>>) -> Self {
        let (boundaries, insts) = (graph.offsets.len(), native.insts.len());
        Check {
            graph,
            native,
            done,
            anchored: vec![None; insts],
            met: vec![Vec::new(); boundaries],
            between: Visited::new(boundaries),
            seen: Visited::new(insts),
        }
    }

    /// The boundaries whose anchors contradict the native control flow, as seen from
    /// these places.
    pub fn contradictions(&mut self, anchors: &Anchors, from: &[From]) -> BTreeSet<usize> {
        self.anchored.fill(None);
        for (at, pc, _) in anchors.iter() {
            let place = self.native.number(pc).map(|number| &mut self.anchored[number]);
            if place.is_some_and(|place| place.replace(at).is_some()) {
                return anchors.iter().map(|(at, ..)| at).collect();
            }
        }
        let mut wrong = BTreeSet::new();
        for &from in from {
            let pc = match from {
                None => Some(0),
                Some(at) => anchors.get(at).map(|(pc, _)| pc),
            };
            let expected = self.frontier(from, anchors);
            let found = self.reach(from, pc);
            for at in found.nodes.iter().chain(&expected.nodes) {
                self.met[*at].push(from);
            }
            let mut unexpected = found.nodes;
            unexpected.retain(|at| expected.nodes.binary_search(at).is_err());
            let done = found.done.into_iter();
            unexpected.extend(done.filter(|at| Some(*at) != from && !self.between.contains(*at)));
            if unexpected.is_empty() && (expected.returns || !found.returns) {
                continue;
            }
            let concerned = from.into_iter().chain(unexpected).chain(expected.nodes);
            let concerned: BTreeSet<(usize, Proof)> =
                concerned.filter_map(|at| anchors.get(at).map(|(_, proof)| (at, proof))).collect();
            for (at, _) in &concerned {
                self.met[*at].push(from);
            }
            // The weakest of those concerned.
            let weakest = concerned.iter().map(|(_, proof)| *proof).min();
            let weak = concerned.into_iter().filter(|(_, proof)| Some(*proof) == weakest);
            wrong.extend(weak.map(|(at, _)| at));
        }
        wrong
    }

    /// From where to look again once these are given up, as far as there are still
    /// anchors.
    pub fn concerned(&mut self, wrong: &BTreeSet<usize>, anchors: &Anchors) -> Vec<From> {
        let met = wrong.iter().flat_map(|at| std::mem::take(&mut self.met[*at]));
        let mut from: Vec<From> =
            met.filter(|from| from.is_none_or(|at| anchors.has(at))).collect();
        from.sort_unstable();
        from.dedup();
        from
    }

    /// What the Wasm reaches from a boundary, or from the entry. Leaves the boundaries
    /// without anchor on the way in `between`.
    fn frontier(&mut self, from: From, anchors: &Anchors) -> Reached {
        let mut frontier = Reached::default();
        self.between.begin();
        let mut work = match from {
            None => vec![0],
            Some(at) => {
                frontier.returns = self.graph.next[at].returns;
                self.graph.next[at].nodes.to_vec()
            }
        };
        while let Some(at) = work.pop() {
            if anchors.has(at) {
                frontier.nodes.push(at);
            } else if self.between.insert(at) {
                frontier.returns |= self.graph.next[at].returns;
                work.extend_from_slice(&self.graph.next[at].nodes);
            }
        }
        frontier.nodes.sort_unstable();
        frontier.nodes.dedup();
        frontier
    }

    /// What the native code reaches from an anchor, or from the entry.
    fn reach(&mut self, from: From, pc: Option<u32>) -> Reached {
        let mut reached = Reached::default();
        self.seen.begin();
        let mut work: Vec<usize> = Vec::new();
        let Some(first) = pc.and_then(|pc| self.native.number(pc)) else { return reached };
        if from.is_some() {
            self.pass(first, &mut reached, &mut work);
        } else {
            work.push(first);
        }
        while let Some(number) = work.pop() {
            if let Some(at) = self.anchored[number] {
                reached.nodes.push(at);
            } else if self.seen.insert(number) {
                self.pass(number, &mut reached, &mut work);
            }
        }
        reached.nodes.sort_unstable();
        reached.nodes.dedup();
        reached
    }

    /// Goes on behind an instruction.
    fn pass(&self, number: usize, reached: &mut Reached, work: &mut Vec<usize>) {
        let inst = &self.native.insts[number];
        reached.done.extend(self.done[number]);
        reached.returns |= inst.flow == Flow::Leave;
        work.extend(inst.after().filter_map(|pc| self.native.number(pc)));
    }
}

/// What is reached from somewhere.
#[derive(Default)]
struct Reached {
    /// The next boundaries with anchors, ascending, each once.
    nodes: Vec<usize>,
    /// Those whose traps and marks lie on the way.
    done: Vec<usize>,
    /// Whether the function may return.
    returns: bool,
}
