//! From an execution to the smallest cut of it that shows the fault.
//!
//! The cut of one instruction is tried first, then of more and more that were
//! executed before it, until one shows the fault: what a compiler gets wrong may
//! need the instruction's neighbours. That span is made as short as it can be.
//! Of what is left, runs of instructions are left out wherever the module stays
//! valid and still shows the fault (delta debugging, over instructions).
//! Validation rejects nearly everything that cannot be, in microseconds, before
//! anything is compiled.

use super::cut::{Cut, Cutter, NoCut, Observe, Plan};
use super::judge::{Judge, Shown};
use super::replay::Replay;
use crate::error::CommandError;
use std::collections::BTreeSet;

/// Spans tried, in instructions.
const SPANS: [usize; 20] =
    [1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 128, 192, 256, 400];
/// Longest span of which a loop is tried too.
const LOOPED: usize = 8;
/// Lengths of the runs that are left out.
const RUNS: [usize; 8] = [32, 16, 8, 6, 4, 3, 2, 1];

/// What was found.
pub struct Found {
    /// The cut.
    pub cut: Cut,
    /// What it shows.
    pub shown: Shown,
    /// Instructions of the program that were executed from where it begins to
    /// the one at fault.
    pub span: u64,
    /// Whether it is a function with its branches and loops, and no line.
    pub whole: bool,
    /// Whether there was time for all that could make it smaller.
    pub finished: bool,
}

/// A cut that shows the fault, and how it is made.
struct Line {
    cut: Cut,
    plan: Plan,
    shown: Shown,
}

/// A search.
pub struct Search<'a> {
    /// What is cut.
    pub cutter: &'a Cutter<'a>,
    /// Who says whether a cut shows the fault.
    pub judge: &'a Judge<'a>,
    /// What may be returned, the likeliest first.
    pub observes: &'a [Observe],
    /// Where the state before a step comes from.
    pub replay: &'a Replay<'a>,
}

/// What a cut came to.
enum Tried {
    Shows(Box<Line>),
    Not,
    /// No cut with this step in it can be made.
    Blocked(usize),
}

impl Search<'_> {
    /// Searches. `Err` of the inner result says why nothing was found.
    ///
    /// # Errors
    /// What the host refuses; bugs of ours.
    pub fn run(&self) -> Result<Result<Found, String>, CommandError> {
        let count = self.cutter.steps.len();
        let mut before = 0;
        let mut blocked = None;
        let mut found = None;
        let whole = SPANS.last().filter(|most| count <= **most).map(|_| count);
        for span in SPANS.into_iter().filter(|span| *span <= count).chain(whole) {
            if found.is_some() || span <= before || !self.judge.has_time() {
                continue;
            }
            if blocked.is_some_and(|step| count - span <= step) {
                break;
            }
            match self.span(span)? {
                Tried::Shows(cut) => found = Some((span, *cut)),
                Tried::Not => before = span,
                Tried::Blocked(step) => {
                    // Up to right behind it everything can still be tried.
                    blocked = Some(step);
                    let widest = count - 1 - step;
                    if widest > before
                        && let Tried::Shows(cut) = self.span(widest)?
                    {
                        found = Some((widest, *cut));
                    }
                }
            }
        }
        let Some((span, mut found)) = found else {
            return Ok(Err(self.why(before, blocked)));
        };
        self.judge.deadline.set(self.judge.end);
        // Shorter, between the last that did not show it and this one.
        for shorter in before + 1..span {
            if !self.judge.has_time() {
                break;
            }
            if let Tried::Shows(cut) = self.span(shorter)? {
                found = *cut;
                break;
            }
        }
        let line = self.shrink(found)?;
        let span = (count - line.plan.first) as u64;
        let finished = self.judge.has_time();
        Ok(Ok(Found { cut: line.cut, shown: line.shown, span, whole: false, finished }))
    }

    fn why(&self, before: usize, blocked: Option<usize>) -> String {
        let tried = match before {
            0 => "the instruction at fault cannot be cut out".to_owned(),
            1 => "the instruction at fault alone is compiled well".to_owned(),
            _ => format!(
                "the {before} instructions executed before the divergence are compiled well on their own"
            ),
        };
        let more = match blocked {
            Some(step) => {
                let at = self.cutter.steps[step].at.offset;
                format!("; the one at {at} cannot be in a cut")
            }
            None if !self.judge.has_time() => "; there was no time for more".to_owned(),
            None if before < self.cutter.steps.len() => "; more were not tried".to_owned(),
            None => "; the activation of the function begins there".to_owned(),
        };
        tried + &more
    }

    fn memory(&self, first: usize) -> Result<Vec<u8>, CommandError> {
        let standing = self.replay.to(self.cutter.steps[first].executed)?;
        let standing = standing.ok_or_else(|| CommandError::bug("a step that is not executed"))?;
        let memories = &standing.oracle.instance(standing.instance).memories;
        Ok(memories.first().map(|id| standing.oracle.memory(*id).to_vec()).unwrap_or_default())
    }

    /// Tries the cut of so many instructions, with each value that it could
    /// return.
    fn span(&self, span: usize) -> Result<Tried, CommandError> {
        let first = self.cutter.steps.len() - span;
        let memory = self.memory(first)?;
        let mut blocked = None;
        let mut any = false;
        for (looped, observe) in [false, true]
            .into_iter()
            .flat_map(|looped| self.observes.iter().map(move |observe| (looped, *observe)))
        {
            if looped && span > LOOPED {
                continue;
            }
            let plan = Plan { first, skip: BTreeSet::new(), drop: 0, observe, looped };
            match self.cut(plan, &memory)? {
                Ok(Some(found)) => return Ok(Tried::Shows(Box::new(found))),
                Ok(None) => any = true,
                Err(NoCut::Step(step)) => blocked = Some(step),
                Err(NoCut::Invalid) => {}
            }
        }
        Ok(match blocked {
            Some(step) if !any => Tried::Blocked(step),
            _ => Tried::Not,
        })
    }

    /// Makes a cut and tries it.
    fn cut(&self, plan: Plan, memory: &[u8]) -> Result<Result<Option<Line>, NoCut>, CommandError> {
        let cut = match self.cutter.cut(&plan, memory) {
            Ok(cut) => cut,
            Err(no) => return Ok(Err(no)),
        };
        let shown = self.judge.judge(&cut)?;
        Ok(Ok(shown.map(|shown| Line { cut, plan, shown })))
    }

    /// Leaves out what is not needed.
    fn shrink(&self, mut found: Line) -> Result<Line, CommandError> {
        let memory = self.memory(found.plan.first)?;
        let last = self.cutter.steps.len() - 1;
        loop {
            let size = found.cut.program.wasm.len();
            for run in RUNS {
                let kept: Vec<usize> =
                    (found.plan.first..last).filter(|at| !found.plan.skip.contains(at)).collect();
                let mut from = 0;
                let mut kept = kept;
                while from + run <= kept.len() && self.judge.has_time() {
                    let mut plan = found.plan.clone();
                    plan.skip.extend(&kept[from..from + run]);
                    match self.smaller(plan, &memory, &found)? {
                        Some(better) => {
                            found = better;
                            kept.drain(from..from + run);
                        }
                        None => from += 1,
                    }
                }
            }
            let most = found.cut.args.len();
            for drop in (found.plan.drop + 1..=most).rev() {
                let plan = Plan { drop, ..found.plan.clone() };
                if self.judge.has_time()
                    && let Some(better) = self.smaller(plan, &memory, &found)?
                {
                    found = better;
                    break;
                }
            }
            if found.cut.program.wasm.len() >= size || !self.judge.has_time() {
                return Ok(found);
            }
        }
    }

    /// The cut, if it shows the fault and is not larger.
    fn smaller(
        &self,
        plan: Plan,
        memory: &[u8],
        than: &Line,
    ) -> Result<Option<Line>, CommandError> {
        let Ok(cut) = self.cutter.cut(&plan, memory) else { return Ok(None) };
        if cut.program.wasm.len() > than.cut.program.wasm.len() {
            return Ok(None);
        }
        let shown = self.judge.judge(&cut)?;
        Ok(shown.map(|shown| Line { cut, plan, shown }))
    }
}
