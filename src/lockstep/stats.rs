//! What a run has looked at, counted.
//!
//! A stop adds one to the counter of its boundary and nothing else. What that
//! means in slots (located, derived, constant, unavailable and why, live or dead) is
//! the same each time, so it is worked out once, at the end, for the
//! boundaries that were executed.

use super::plan::BoundaryId;
use dwarf_map::{Anchor, ImageMap, Location, Reason};
use oracle_interp::{Module, liveness::Liveness};
use std::collections::BTreeMap;

/// Stops that are remembered.
const RECENT: usize = 64;
/// Of these, how many are told.
const SHOWN: u64 = 50;

/// Counters of one run.
pub struct Stats {
    /// Executions per boundary: by function position, then boundary index.
    executed: Vec<Vec<u64>>,
    /// Stops at boundaries.
    pub stops: u64,
    /// The last of them: stop number `n` is at `n` modulo the length.
    recent: [BoundaryId; RECENT],
    /// Boundaries that the oracle executed.
    pub boundaries: u64,
    /// Slots found wrong, at the boundary that ended the run.
    pub wrong: u64,
    /// Bytes of linear memory compared.
    pub memory_bytes: u64,
    /// Calls of host functions.
    pub host_calls: u64,
    /// Choices of the subject that the oracle adopted, by predicate.
    pub adoptions: BTreeMap<&'static str, u64>,
    /// Suspended frames compared.
    pub frames: u64,
    /// Stable points at which the whole stack was unwound.
    pub walks: u64,
    /// Suspended frames compared in doing so.
    pub walked: u64,
    /// Cold paths run and compared.
    pub witnessed: u64,
    /// Stable points at which the whole state was captured, destroyed and restored.
    pub restored: u64,
    /// Bytes written that were compared later than at the next stop.
    pub deferred: u64,
    /// Most boundaries executed between two stops.
    pub longest_run: u64,
}

/// Slots of executed boundaries by how they were seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Read from the subject.
    pub located: u64,
    /// Computed from what was read from the subject.
    pub derived: u64,
    /// The map's constant.
    pub constant: u64,
    /// Not seen.
    pub unavailable: u64,
}

/// The figures of a report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Boundaries of the map.
    pub boundaries: u64,
    /// Those with a PC.
    pub anchored: u64,
    /// Those that share the place of the next one.
    pub merged: u64,
    /// Those that the code may pass by.
    pub threaded: u64,
    /// Those that the compiler proved unreachable.
    pub eliminated: u64,
    /// All slots.
    pub all: Seen,
    /// Live slots.
    pub live: Seen,
    /// Unavailable slots by reason, dead ones included.
    pub reasons: BTreeMap<String, u64>,
    /// Stable points in the map.
    pub stable: u64,
    /// Executions of stable points.
    pub stable_executed: u64,
    /// Those at which every live slot was seen.
    pub stable_full: u64,
    /// Live slots not seen at stable points.
    pub stable_unavailable: u64,
}

impl Stats {
    /// Counters for the boundaries of a map.
    pub fn new(map: &ImageMap) -> Stats {
        Stats {
            executed: map.functions.iter().map(|f| vec![0; f.boundaries.len()]).collect(),
            stops: 0,
            recent: [BoundaryId { function: 0, index: 0 }; RECENT],
            boundaries: 0,
            wrong: 0,
            memory_bytes: 0,
            host_calls: 0,
            adoptions: BTreeMap::new(),
            frames: 0,
            walks: 0,
            walked: 0,
            witnessed: 0,
            restored: 0,
            deferred: 0,
            longest_run: 0,
        }
    }

    /// Adds the counters of another run of the same image.
    pub fn add(&mut self, other: &Stats) {
        for (own, theirs) in self.executed.iter_mut().zip(&other.executed) {
            own.iter_mut().zip(theirs).for_each(|(own, theirs)| *own += theirs);
        }
        self.stops += other.stops;
        self.boundaries += other.boundaries;
        self.wrong += other.wrong;
        self.memory_bytes += other.memory_bytes;
        self.host_calls += other.host_calls;
        for (predicate, count) in &other.adoptions {
            *self.adoptions.entry(predicate).or_default() += count;
        }
        self.frames += other.frames;
        self.walks += other.walks;
        self.walked += other.walked;
        self.witnessed += other.witnessed;
        self.restored += other.restored;
        self.deferred += other.deferred;
        self.longest_run = self.longest_run.max(other.longest_run);
    }

    /// Counts a stop.
    #[inline]
    pub fn stop(&mut self, at: BoundaryId) {
        self.recent[self.stops as usize % RECENT] = at;
        self.stops += 1;
        self.executed[at.function as usize][at.index as usize] += 1;
    }

    /// The last stops, up to 50, oldest first, of those after the first `from`.
    pub fn recent(&self, from: u64) -> impl Iterator<Item = BoundaryId> {
        let first = self.stops.saturating_sub(SHOWN).max(from);
        (first..self.stops).map(|stop| self.recent[stop as usize % RECENT])
    }

    /// Executions of each boundary: by function position, then boundary index.
    pub fn executed(&self) -> &[Vec<u64>] {
        &self.executed
    }

    /// Takes a stop back whose values prove nothing.
    pub fn forget(&mut self, at: BoundaryId) {
        let count = &mut self.executed[at.function as usize][at.index as usize];
        *count = count.saturating_sub(1);
        self.wrong = 0;
    }

    /// How often a boundary was stopped at.
    pub fn executions(&self, at: BoundaryId) -> u64 {
        self.executed[at.function as usize][at.index as usize]
    }

    /// Counts an adoption.
    pub fn adopt(&mut self, predicate: &'static str) {
        *self.adoptions.entry(predicate).or_default() += 1;
    }

    /// Works out the figures.
    ///
    /// `module` says whose the function at a position in the map is.
    pub fn summary<'m>(&self, map: &ImageMap, module: impl Fn(usize) -> &'m Module) -> Summary {
        let mut summary = Summary::default();
        let functions = map.functions.iter().zip(&self.executed).enumerate();
        for (position, (function, executed)) in functions {
            let liveness = executed
                .iter()
                .any(|count| *count > 0)
                .then(|| Liveness::compute(module(position), function.func))
                .flatten();
            for (boundary, &count) in function.boundaries.iter().zip(executed) {
                summary.boundaries += 1;
                summary.stable += u64::from(boundary.stable.is_some());
                match boundary.anchor {
                    Anchor::Trap(_) | Anchor::Instruction(_) => summary.anchored += 1,
                    Anchor::Merged => summary.merged += 1,
                    Anchor::Threaded => summary.threaded += 1,
                    Anchor::Eliminated => summary.eliminated += 1,
                }
                if count == 0 {
                    continue;
                }
                let (mut all, mut live) = (Seen::default(), Seen::default());
                let mut is_live = liveness.iter().flat_map(|l| l.slots(boundary.offset));
                for location in &boundary.locations {
                    let (seen, reason) = see(*location);
                    all.add(seen, 1);
                    // A slot that liveness says nothing of counts as live.
                    if is_live.next().unwrap_or(true) {
                        live.add(seen, 1);
                    }
                    if let Some(reason) = reason {
                        *summary.reasons.entry(reason.key().to_string()).or_default() += count;
                    }
                }
                summary.all.add(all, count);
                summary.live.add(live, count);
                if boundary.stable.is_some() {
                    summary.stable_executed += count;
                    summary.stable_unavailable += live.unavailable * count;
                    if live.unavailable == 0 {
                        summary.stable_full += count;
                    }
                }
            }
        }
        summary
    }
}

impl Seen {
    /// Adds others, so many times.
    pub fn add(&mut self, other: Seen, times: u64) {
        self.located += other.located * times;
        self.derived += other.derived * times;
        self.constant += other.constant * times;
        self.unavailable += other.unavailable * times;
    }
    /// Slots compared.
    pub fn compared(&self) -> u64 {
        self.located + self.derived + self.constant
    }
}

fn see(location: Location) -> (Seen, Option<Reason>) {
    let mut seen = Seen::default();
    let mut why = None;
    match location {
        Location::Register(_) | Location::CfaOffset(_) => seen.located = 1,
        Location::Derived(_) => seen.derived = 1,
        Location::Constant(_) => seen.constant = 1,
        Location::Unavailable(reason) => {
            seen.unavailable = 1;
            why = Some(reason);
        }
    }
    (seen, why)
}
