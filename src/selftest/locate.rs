//! When a fault first changes the state of the program.
//!
//! The judge says that a fault has an effect; a report must come no later than
//! the first boundary whose state the fault changes. To find that boundary two
//! machines, without the fault and with it, run side by side with all traps in
//! place and are compared at each: the frame's slots (where the unchanged map
//! says they are), and the store. Comparing whole memories at each boundary
//! would take longer than everything else together, so that is done at every
//! `STRIDE`th; when they differ, a second pass looks at each since the last
//! time they did not.
//!
//! Before the fault is come to for the first time there is nothing to compare. As the order
//! of boundaries is known, the machines run up to the faulty instruction without a halt.
//!
//! Positions count boundaries executed, from 0.

use super::machine::{End, Machine, Seen, store_difference};
use super::stepper::{self, Change, Places};
use crate::error::CommandError;
use crate::lockstep::plan::{BoundaryId, Site};
use dwarf_map::CodeOffset;

/// Boundaries between two comparisons of whole stores.
const STRIDE: u64 = 512;

/// Boundaries that take longer to halt at than to run past without traps.
const WORTH_SKIPPING: u64 = 5_000;

/// Where a fault first shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct When {
    /// The last boundary before the fault is executed for the first time.
    pub reached: u64,
    /// The first boundary whose state it changes; `None` when none is seen to.
    pub first: Option<u64>,
}

/// What a pass found.
#[derive(Debug, PartialEq, Eq)]
enum Pass {
    /// State is first different at this position.
    At(u64),
    /// Stores differ; they did not before this position.
    After(u64),
    /// All the same.
    Nowhere,
}

/// The faulty native instruction, and the boundary that it belongs to.
#[derive(Clone, Copy, Debug)]
pub struct FaultyCode {
    /// The instruction.
    pub at: CodeOffset,
    /// The boundary.
    pub boundary: BoundaryId,
    /// Where execution first comes to it.
    pub first: u64,
}

/// Where a code fault first shows. `change` is the judge's word, if there is an effect.
///
/// `start` makes a fresh pair of machines, clean and faulty.
///
/// # Errors
/// What the host refuses.
pub fn locate<'a>(
    mut start: impl FnMut() -> Result<(Machine<'a>, Machine<'a>), CommandError>,
    places: &Places<'_>,
    fault: FaultyCode,
    change: Option<&Change>,
) -> Result<When, CommandError> {
    let mut begin = |exact| {
        let (clean, faulty) = start()?;
        let mut walk = Walk::new(clean, faulty, fault.at, change, exact)?;
        if fault.first >= WORTH_SKIPPING && !walk.skip(places, fault)? {
            // Come to from elsewhere: every boundary counts.
            drop(walk);
            let (clean, faulty) = start()?;
            walk = Walk::new(clean, faulty, fault.at, change, exact)?;
        }
        Ok::<_, CommandError>(walk)
    };
    let mut walk = begin(u64::MAX)?;
    let mut found = walk.run(places)?;
    if let Pass::After(exact) = found {
        // The first pair is gone before the second one is made.
        let reached = walk.reached;
        drop(walk);
        walk = begin(exact)?;
        found = walk.run(places)?;
        walk.reached = walk.reached.or(reached);
    }
    let first = match found {
        Pass::At(position) | Pass::After(position) => Some(position),
        Pass::Nowhere => None,
    };
    Ok(When { reached: walk.reached.unwrap_or(0), first })
}

/// Two machines on their way, all traps in place.
struct Walk<'a> {
    clean: Machine<'a>,
    faulty: Machine<'a>,
    at: CodeOffset,
    /// Executions of the fault still to be counted.
    hits: u64,
    /// Boundaries between the last of those and the effect.
    boundaries: Option<u64>,
    /// The position at which the effect shows by these counts.
    limit: Option<u64>,
    /// The position before the first execution of the fault.
    reached: Option<u64>,
    /// Boundaries halted at so far.
    position: u64,
    /// Where the stores were last found equal.
    same_store: u64,
    /// Stores are compared at each boundary from this position on.
    exact: u64,
}

impl<'a> Walk<'a> {
    fn new(
        clean: Machine<'a>,
        faulty: Machine<'a>,
        at: CodeOffset,
        change: Option<&Change>,
        exact: u64,
    ) -> Result<Walk<'a>, CommandError> {
        let boundaries = change.and_then(|change| change.boundaries);
        let hits = change.filter(|_| boundaries.is_some()).map_or(1, |change| change.hit);
        clean.plant(at)?;
        Ok(Walk {
            clean,
            faulty,
            at,
            hits,
            boundaries,
            limit: None,
            reached: None,
            position: 0,
            same_store: 0,
            exact,
        })
    }

    /// Runs both to the first execution of the fault's boundary without halting before;
    /// false if they come to the fault sooner.
    fn skip(&mut self, places: &Places<'_>, fault: FaultyCode) -> Result<bool, CommandError> {
        let pc = places.trap(fault.boundary)?;
        for machine in [&mut self.clean, &mut self.faulty] {
            machine.silence()?;
            machine.plant(pc)?;
            machine.plant(fault.at)?;
            if machine.run_on(&places.plan)? != Seen::Trap(pc) {
                return Ok(false);
            }
            machine.sound()?;
        }
        self.faulty.take_back(fault.at)?;
        (self.position, self.same_store) = (fault.first + 1, fault.first);
        Ok(true)
    }

    /// Runs both until their states differ.
    fn run(&mut self, places: &Places<'_>) -> Result<Pass, CommandError> {
        loop {
            let ours = self.clean_stop(places)?;
            let theirs = self.faulty.run(&places.plan)?;
            let stuck = Seen::Over(End::Stuck);
            if ours == stuck || theirs == stuck {
                return Err(stepper::stuck());
            }
            if ours != theirs {
                return self.differ();
            }
            let pc = match ours {
                Seen::Trap(pc) => pc.at(self.clean.text_address()),
                Seen::Served(_) => continue,
                _ if self.stores_differ()? => return self.differ(),
                _ => return Ok(Pass::Nowhere),
            };
            let Some(Site::Boundary(id)) = places.plan.site(pc) else {
                return Err(CommandError::bug("a machine halted at no boundary"));
            };
            let due = self.position >= self.exact || self.position.is_multiple_of(STRIDE);
            if places.frames_differ(&self.clean, &self.faulty, id)?
                || self.limit.is_some_and(|limit| self.position >= limit)
                || due && self.stores_differ()?
            {
                return self.differ();
            }
            if due {
                self.same_store = self.position;
            }
            self.position += 1;
        }
    }

    /// The clean machine's next stop; executions of the fault are counted on
    /// the way.
    fn clean_stop(&mut self, places: &Places<'_>) -> Result<Seen, CommandError> {
        loop {
            let seen = self.clean.run(&places.plan)?;
            if seen != Seen::Trap(self.at) || self.hits == 0 {
                return Ok(seen);
            }
            // Boundaries halted at so far are those before the fault.
            self.reached.get_or_insert(self.position.saturating_sub(1));
            self.hits -= 1;
            self.clean.back_to(self.at)?;
            if self.hits == 0 {
                let last = |boundaries: u64| self.position + boundaries.max(1) - 1;
                self.limit = self.boundaries.map(last);
                continue;
            }
            let seen = self.clean.step(&places.plan)?;
            self.clean.plant(self.at)?;
            if seen != Seen::Stepped {
                return Ok(seen);
            }
        }
    }

    fn stores_differ(&self) -> Result<bool, CommandError> {
        Ok(store_difference(&self.clean, &self.faulty)?.is_some())
    }

    /// The two differ here. If their stores do, and those were not compared at
    /// each boundary, they may have differed before.
    fn differ(&self) -> Result<Pass, CommandError> {
        if self.position < self.exact && self.stores_differ()? {
            return Ok(Pass::After(self.same_store));
        }
        Ok(Pass::At(self.position))
    }
}
