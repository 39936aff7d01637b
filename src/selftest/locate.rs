//! When a fault first changes the state of the program.
//!
//! The judge says that a fault has an effect; a report must come no later than
//! the first boundary whose state the fault changes. To find that boundary two
//! machines, without the fault and with it, run side by side with all traps in
//! place and are compared at each: the frame's slots (where the unchanged map
//! says they are), and the store. Comparing whole memories at each boundary
//! would take longer than everything else together, so that is done at every
//! [`STRIDE`]th; when they differ, a second pass looks at each since the last
//! time they did not.
//!
//! Positions count boundaries executed, from 0.

use super::machine::{Machine, Seen, store_difference};
use super::stepper::{Change, Places};
use crate::error::CommandError;
use crate::lockstep::plan::Site;
use dwarf_map::CodeOffset;
use dwarf_map::SubjectAddr;

/// Boundaries between two comparisons of whole stores.
const STRIDE: u64 = 512;

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

/// The position of the first boundary whose state the code fault at `at`
/// changes; `None` when none is seen to.
///
/// `start` makes a fresh pair of machines, clean and faulty.
///
/// # Errors
/// What the host refuses.
pub fn first_change<'a>(
    mut start: impl FnMut() -> Result<(Machine<'a>, Machine<'a>), CommandError>,
    places: &mut Places<'_>,
    at: CodeOffset,
    change: &Change,
) -> Result<Option<u64>, CommandError> {
    let (clean, faulty) = start()?;
    let found = pass(clean, faulty, places, at, change, u64::MAX)?;
    let found = match found {
        Pass::After(position) => {
            let (clean, faulty) = start()?;
            pass(clean, faulty, places, at, change, position)?
        }
        found => found,
    };
    Ok(match found {
        Pass::At(position) | Pass::After(position) => Some(position),
        Pass::Nowhere => None,
    })
}

/// Runs both machines until their states differ. Stores are compared at every
/// boundary from position `exact` on.
fn pass(
    mut clean: Machine<'_>,
    mut faulty: Machine<'_>,
    places: &mut Places<'_>,
    at: CodeOffset,
    change: &Change,
    exact: u64,
) -> Result<Pass, CommandError> {
    // The judge knows how many boundaries after which hit its effect shows.
    let mut hits = change.boundaries.map(|boundaries| (change.hit, boundaries));
    let mut limit = None;
    let mut same_store = 0;
    let mut position = 0;
    if hits.is_some() {
        clean.plant(at)?;
    }
    loop {
        let ours = loop {
            let seen = clean.run(&places.plan)?;
            let Seen::Trap(pc) = seen else { break seen };
            if pc != at || hits.is_none() {
                break seen;
            }
            if let Some((left, boundaries)) = &mut hits {
                *left -= 1;
                if *left == 0 {
                    // Boundaries halted at so far are those before the fault.
                    limit = Some(position + (*boundaries).max(1) - 1);
                    hits = None;
                }
            }
            clean.back_to(at)?;
            if hits.is_some() {
                let seen = clean.step(&places.plan)?;
                clean.plant(at)?;
                if seen != Seen::Stepped {
                    break seen;
                }
            }
        };
        let theirs = faulty.run(&places.plan)?;
        let boundary = match (&ours, &theirs) {
            (Seen::Trap(pc), Seen::Trap(other)) if pc == other => *pc,
            (ours, theirs) if ours != theirs => {
                return closer(&clean, &faulty, position, same_store, exact);
            }
            (Seen::Served(_), _) => continue,
            _ => {
                let differs = store_difference(&clean, &faulty)?.is_some();
                return if differs {
                    closer(&clean, &faulty, position, same_store, exact)
                } else {
                    Ok(Pass::Nowhere)
                };
            }
        };
        let pc: SubjectAddr = boundary.at(clean.text_address());
        let Some(Site::Boundary(id)) = places.plan.site(pc) else {
            return Err(CommandError::bug("a machine halted at no boundary"));
        };
        let due = position >= exact || position.is_multiple_of(STRIDE);
        let differs = places.frames_differ(&mut clean, &mut faulty, id)?
            || limit.is_some_and(|limit| position >= limit)
            || due && store_difference(&clean, &faulty)?.is_some();
        if differs {
            return closer(&clean, &faulty, position, same_store, exact);
        }
        if due {
            same_store = position;
        }
        position += 1;
    }
}

/// The two differ at a position. If their stores do, and those were not
/// compared at each boundary, they may have differed before.
fn closer(
    clean: &Machine<'_>,
    faulty: &Machine<'_>,
    position: u64,
    same_store: u64,
    exact: u64,
) -> Result<Pass, CommandError> {
    if position < exact && store_difference(clean, faulty)?.is_some() {
        return Ok(Pass::After(same_store));
    }
    Ok(Pass::At(position))
}
