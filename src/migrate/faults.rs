//! `wdiff migrate --inject-random`: is what is done wrong while restoring seen at
//! that hand-over?
//!
//! ```text
//!   the program on the oracle alone: how many stable points? log of its host calls
//!     for each fault, over the log:
//!        side A to the drawn stable point --> snapshot --> side B, spoilt once
//!                                                             | not effective
//!                         caught: a divergence before B has executed anything
//!                         missed: B stands there as if nothing had happened
//! ```
//! A fault that is caught later, or shows in the result alone, is missed. Faults in what
//! the program has open are drawn while it runs for the first time: another world is
//! opened from a spoilt state beside its own.

use super::alone;
use super::relay::{Asked, Relay, Standing};
use super::{Gaps, Setup, Side, xorshift};
use crate::error::CommandError;
use crate::lockstep::Ending;
use crate::lockstep::handover::{RestoreFault, RestoreFaultKind};
use crate::lockstep::stops::Control;
use crate::run;
use crate::session::Session;
use reports::{Divergence, DivergenceKind, Outcome, Report, RestoreFaults};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use wasi_host::{World, WorldConfig};

/// The last stable point at which a fault is drawn: each one is a run up to there.
const LATEST: u64 = 2_000;

/// What came of the faults of each kind, and of those that nobody noticed.
#[derive(Default)]
struct Tally {
    kinds: BTreeMap<&'static str, RestoreFaults>,
    missed: Vec<String>,
}

impl Tally {
    fn add(&mut self, fault: RestoreFault, at: u64, done: Option<&str>, caught: bool) {
        let kind = fault.kind.name();
        let row = self
            .kinds
            .entry(kind)
            .or_insert_with(|| RestoreFaults { kind: kind.to_owned(), ..RestoreFaults::default() });
        row.drawn += 1;
        let Some(done) = done else { return };
        row.effective += 1;
        row.caught += u64::from(caught);
        if !caught {
            self.missed.push(format!("restore:{kind}:{} at stable point {at}: {done}", fault.seed));
        }
    }
}

/// Draws `count` faults by a seed, and reports what became of them.
///
/// # Errors
/// What has no verdict: a program that diverges without a fault, too.
pub fn run<'a>(
    setup: &'a Setup<'a>,
    session: &Session<'a>,
    world: &'a RefCell<World>,
    config: &WorldConfig,
    (count, seed): (u64, u64),
    control: &'a Arc<Control>,
) -> Result<Report, CommandError> {
    let began = Instant::now();
    let mut random = seed.wrapping_mul(2).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut tally = Tally::default();
    let mut points = 0;
    let kinds = RestoreFaultKind::ALL;
    let of_files = count / kinds.len() as u64;
    let mut files = 0;
    let alone::Whole { ending, .. } = {
        let mut world = world.borrow_mut();
        alone::whole(session, &mut world, &setup.stops, control, |_, world| {
            points += 1;
            if files < of_files && xorshift(&mut random).is_multiple_of(8) {
                let seed = xorshift(&mut random) >> 40;
                let fault = RestoreFault { kind: RestoreFaultKind::Fd, seed };
                if let Some((done, caught)) = misplace(world, config, seed)? {
                    files += 1;
                    tally.add(fault, points, Some(&done), caught);
                }
            }
            Ok(())
        })?
    };
    if let Ending::Inconclusive { detail, .. } = ending {
        return Err(CommandError::Inconclusive { reason: "environment", detail });
    }
    if points == 0 {
        return Err(CommandError::input("the program executes no stable point to restore at"));
    }
    let log = world.borrow().log().clone();
    let mut relay = Relay::new(setup, world, config.clone(), control, Asked::default());
    let natives: Vec<usize> = (0..setup.sides.len())
        .filter(|side| setup.sides[(side + 1) % setup.sides.len()] != Side::Oracle)
        .collect();
    let mut drawn = files;
    while drawn < count {
        if control.request().is_some() {
            return Err(CommandError::Inconclusive {
                reason: "timeout",
                detail: format!("ended after {drawn} of {count} faults"),
            });
        }
        drawn += 1;
        let frames = kinds.iter().filter(|kind| **kind != RestoreFaultKind::Fd);
        let frames: Vec<RestoreFaultKind> = frames.copied().collect();
        let kind = frames[(drawn % frames.len() as u64) as usize];
        let fault = RestoreFault { kind, seed: xorshift(&mut random) >> 40 };
        let at = 1 + xorshift(&mut random) % points.min(LATEST);
        let from = natives[(xorshift(&mut random) % natives.len() as u64) as usize];
        *world.borrow_mut() = World::replaying(log.clone(), false);
        relay.ask(Asked {
            gaps: Gaps::At(at),
            fault: Some(fault),
            ends_restored: true,
            ..Asked::default()
        });
        let standing = Standing::Fresh(Box::new(session.instantiate()?));
        let ended = relay.run(standing, from, &session.calls.list)?;
        let done = relay.figures.fault.take();
        match (&ended, &done) {
            (None, _) => tally.add(fault, at, done.as_deref(), false),
            (Some(Ending::Diverged(finding)), Some(_)) => {
                tally.add(fault, at, done.as_deref(), finding.index == 0);
            }
            (Some(Ending::Diverged(finding)), None) => {
                return Err(CommandError::Inconclusive {
                    reason: "environment",
                    detail: format!("without a fault, the program diverges: {}", finding.what),
                });
            }
            (Some(Ending::Inconclusive { reason, detail }), _) => {
                return Err(CommandError::Inconclusive {
                    reason: reason.key(),
                    detail: detail.clone(),
                });
            }
            // A native side may adopt another way to the end: no hand-over, no fault.
            (Some(_), _) => tally.add(fault, at, None, false),
        }
    }
    let mut report = relay.report(None, session.image, began.elapsed(), false);
    // Some of the values compared were made wrong.
    report.values = reports::Values::default();
    report.set_outcome(match tally.missed.as_slice() {
        [] => Outcome::Match,
        missed => {
            let mut divergence = Divergence::new(DivergenceKind::Snapshot);
            divergence.summary = format!(
                "{} faults were not noticed at the hand-over, first {}",
                missed.len(),
                missed[0]
            );
            divergence.rerun = Some(run::rerun_command());
            Outcome::Divergence(Box::new(divergence))
        }
    });
    if let Some(section) = &mut report.migration {
        section.fault = None;
        section.faults = tally.kinds.into_values().collect();
    }
    Ok(report)
}

/// Opens another world from a spoilt state of this one's; answers what was done
/// and whether the state that world has shows it. `None` if no file is open.
fn misplace(
    world: &World,
    config: &WorldConfig,
    seed: u64,
) -> Result<Option<(String, bool)>, CommandError> {
    let Some(expected) = world.state().map_err(CommandError::unsupported)? else {
        return Ok(None);
    };
    let mut given = expected.clone();
    let Some(done) = given.misplace(seed) else { return Ok(None) };
    let other = World::resumed(&given, config.clone()).map_err(CommandError::unsupported)?;
    let actual = other.state().map_err(CommandError::host)?;
    let caught = actual.is_some_and(|actual| expected.difference(&actual).is_some());
    Ok(Some((done, caught)))
}
