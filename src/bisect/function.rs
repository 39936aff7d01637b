//! Candidates that are whole functions: which, and what is looked at.
//!
//! ```text
//!   the divergence is seen      the activation that is cut out
//!   in the function at fault    its own, looked at right there
//!   in what it calls            its own, looked at in what it passes
//!   in what called it           the caller's, with the function at fault in it:
//!                               its results, or what it did to the caller's
//!                               registers, show behind the call
//! ```
//! If the value is looked at there, the code around that place is a bit other
//! code than before. Where that hides the fault, the function's results are
//! looked at instead, or the memory that it leaves.

use super::Case;
use super::body::Body;
use super::cut::Observe;
use super::judge::Judge;
use super::replay::{Replay, Step};
use super::search::Found;
use super::shrink::{Shrinker, Small};
use super::trace::{self, Trace, Wanted};
use super::whole::{Look, Parts, Whole};
use crate::error::CommandError;
use reports::SlotName;
use std::collections::HashSet;
use wasm_view::{Boundary, FuncIdx, WasmOffset};

/// A plan, the bodies that it takes as they are, and what was seen of them.
type Followed<'a> = (Plan, Vec<(FuncIdx, Body<'a>)>, Trace);

/// An activation, and where the wrong value is looked at.
#[derive(Clone, Debug, PartialEq)]
struct Plan {
    /// The functions that are there, the activation's own first.
    real: Vec<FuncIdx>,
    /// Frames on the stack while it is the innermost one.
    depth: usize,
    /// Where; `None` is in the end.
    place: Option<WasmOffset>,
    observe: Observe,
}

/// Why there is no candidate, for people.
const TOO_LONG: &str =
    "the whole function cannot be cut out: it runs too long, or does what a script cannot";

impl Case<'_> {
    /// A whole function that shows the fault, as small as it can be made. `Err`
    /// of the inner result says why there is none.
    ///
    /// # Errors
    /// What the host refuses; bugs of ours.
    pub fn function(
        &self,
        replay: &Replay<'_>,
        guilty: Boundary,
        steps: &[Step],
        observes: &[Observe],
        judge: &Judge<'_>,
    ) -> Result<Result<Found, String>, CommandError> {
        let Some(last) = steps.last() else { return Ok(Err(TOO_LONG.to_owned())) };
        let plans = self.plans(replay, guilty, last, observes)?;
        let mut known = HashSet::new();
        let mut followed: Option<Followed<'_>> = None;
        let mut any = false;
        for plan in plans {
            if !judge.has_time() {
                break;
            }
            let same = followed.as_ref().is_some_and(|(before, ..)| {
                (&before.real, before.depth, before.place) == (&plan.real, plan.depth, plan.place)
                    && !matches!(plan.observe, Observe::Memory(_))
            });
            if !same {
                followed = self.followed(replay, &plan, last.executed)?;
            }
            let Some((_, real, trace)) = &followed else { continue };
            if plan.place.is_some() && trace.reached == 0 {
                continue;
            }
            let parts = Parts { program: self.program, real, trace };
            let Some(whole) = parts.candidate(plan.place, plan.observe) else { continue };
            any = true;
            let kept = match whole.look {
                Look::At(1, false) => Some(Whole { look: Look::At(1, true), ..whole.clone() }),
                _ => None,
            };
            for whole in [whole].into_iter().chain(kept) {
                let mut shrinker = Shrinker { judge, trace, known: std::mem::take(&mut known) };
                if let Some(small) = shrinker.first(whole)? {
                    let (Small { cut, shown, .. }, finished) = shrinker.shrink(small)?;
                    let span = trace.seen.values().map(|seen| seen.count).sum();
                    return Ok(Ok(Found { cut, shown, span, whole: true, finished }));
                }
                known = shrinker.known;
            }
        }
        Ok(Err(match (any, judge.has_time()) {
            (_, false) => "there was no time for the whole function".to_owned(),
            (true, _) => "the whole function, on its own, is compiled well".to_owned(),
            (false, _) => TOO_LONG.to_owned(),
        }))
    }

    fn followed<'b>(
        &'b self,
        replay: &Replay<'_>,
        plan: &Plan,
        last: u64,
    ) -> Result<Option<Followed<'b>>, CommandError> {
        let program = self.program;
        let bodies = plan
            .real
            .iter()
            .map(|func| Some((*func, Body::of(&program.wasm, &program.module, *func)?)));
        let Some(real) = bodies.collect::<Option<Vec<_>>>() else { return Ok(None) };
        let memory = match plan.observe {
            Observe::Memory(address) => Some(address),
            _ => None,
        };
        let wanted = Wanted { real: &real, depth: plan.depth, last, place: plan.place, memory };
        let trace = trace::follow(replay, &wanted)?;
        Ok(trace.map(|trace| (plan.clone(), real, trace)))
    }

    /// What is tried, the likeliest first.
    fn plans(
        &self,
        replay: &Replay<'_>,
        guilty: Boundary,
        last: &Step,
        observes: &[Observe],
    ) -> Result<Vec<Plan>, CommandError> {
        let depth = |executed| -> Result<usize, CommandError> {
            Ok(replay.to(executed)?.map_or(0, |standing| standing.oracle.depth()))
        };
        let (before, behind) = (depth(last.executed)?, depth(last.executed + 1)?);
        let at = self.finding.at;
        let next = last.next.as_ref().map(|next| next.at.offset);
        let mut plans = Vec::new();
        if behind != 0 && (behind < before || self.culprit.is_some()) {
            let chain = self.culprit.as_ref().map(|culprit| culprit.chain.as_slice());
            let mut real: Vec<FuncIdx> = chain.unwrap_or_default().iter().rev().copied().collect();
            real.insert(0, at.func);
            let mut once = Vec::new();
            real.retain(|func| {
                let new = !once.contains(func);
                once.push(*func);
                new
            });
            let short = vec![at.func, guilty.func];
            let sets = if self.culprit.is_some() { vec![real] } else { vec![short, real] };
            // What was executed last may itself be where it is seen.
            let seen = match next {
                Some(next) if at == last.at => next,
                _ => at.offset,
            };
            for real in sets {
                let here = self.seen_in_caller().into_iter().chain([Observe::Top(0)]);
                let here = here.map(|observe| (Some(seen), observe));
                let end = [Observe::Top(0), Observe::Nothing].map(|observe| (None, observe));
                for (place, observe) in here.chain(end) {
                    let plan = Plan { real: real.clone(), depth: behind, place, observe };
                    if !plans.contains(&plan) {
                        plans.push(plan);
                    }
                }
            }
        }
        let real = vec![guilty.func];
        for observe in observes {
            let place = match observe {
                Observe::Argument(_) => Some(guilty.offset),
                _ => next,
            };
            if let Some(place) = place {
                let plan = Plan {
                    real: real.clone(),
                    depth: before,
                    place: Some(place),
                    observe: *observe,
                };
                plans.push(plan);
            }
        }
        for observe in observes.iter().chain(&[Observe::Top(0), Observe::Nothing]) {
            let observe = *observe;
            if !matches!(observe, Observe::Local(_) | Observe::Argument(_)) {
                plans.push(Plan { real: real.clone(), depth: before, place: None, observe });
            }
        }
        Ok(plans)
    }

    /// What of the caller differs behind the call.
    fn seen_in_caller(&self) -> Vec<Observe> {
        let at = self.finding.at;
        let function = self.program.module.function(at.func);
        let height = function
            .and_then(|function| Some(function.operand_types(at.offset)?.len() as u32))
            .unwrap_or(0);
        let slots = self.finding.slots.iter().filter_map(|slot| match slot.slot {
            SlotName::Local { frame: 0, index } => Some(Observe::Local(index)),
            SlotName::Stack { frame: 0, index } if index < height => {
                Some(Observe::Top(height - 1 - index))
            }
            SlotName::Global(index) => Some(Observe::Global(index)),
            SlotName::Memory { memory: 0, address } => Some(Observe::Memory(address)),
            _ => None,
        });
        slots.chain([Observe::Nothing]).take(4).collect()
    }
}
