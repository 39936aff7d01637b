//! What a gate is held against: a JSON file that its users commit.
//!
//! A run that matches can still be worse than yesterday's: a value that the map
//! gave is gone, a boundary lost its anchor, the code grew. The baseline
//! remembers what was there. It is to be read in a diff by people, so it holds
//! what is *missing*, function by function and boundary by boundary, not what is
//! there; a program of which everything is available takes a few lines.
//!
//! Rules, for a job and its entry (the program's bytes and the CPU features
//! being the same):
//!
//! - a live value is unavailable at a boundary where the entry does not list
//!   it: fails, by function, boundary and slot;
//! - a function has more dead values unavailable: fails, by function;
//! - a boundary has no anchor and the entry does not list it: fails;
//! - there are fewer stable points: fails. So does a stable point that was compiled in
//!   and lacks a live value, whatever the baseline says;
//! - code or compile time exceed the entry's by more than the bounds: fails;
//! - the verdict is another one: fails, unless it is a match now. A divergence
//!   always fails; what has no answer is accepted if the entry has none for
//!   the same reason.

use crate::functions::FunctionFigures;
use crate::gate::{Failure, FailureKind, GateJob, JobOutcome};
use crate::model::Report;
use crate::printable::escape_json;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A baseline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// Name and version of the format: [`Baseline::SCHEMA`].
    pub schema: String,
    /// What may grow, and by how much.
    pub bounds: Bounds,
    /// By [`GateJob::key`].
    pub jobs: BTreeMap<String, Entry>,
}

/// What may grow, and by how much.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Bounds {
    /// Per cent by which a program's native code may grow; `None` for any.
    #[serde(deserialize_with = "Option::deserialize")]
    pub code_size: Option<f64>,
    /// Per cent by which compiling may take longer; `None` for any.
    #[serde(deserialize_with = "Option::deserialize")]
    pub compile_time: Option<f64>,
}

/// One job as it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// What came of it.
    pub outcome: JobOutcome,
    /// Why there was no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// SHA-256 of the program; `None` if there was no report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// CPU features that its code could use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cpu_features: Vec<String>,
    /// Bytes of its functions' code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_bytes: Option<u64>,
    /// Milliseconds of processor time to compile it, where that has a bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compile_ms: Option<f64>,
    /// Stops that it took: what progress is reckoned by.
    #[serde(default)]
    pub stops: u64,
    /// Stable points in its code.
    #[serde(default)]
    pub stable_points: u64,
    /// Functions of which something is unavailable, by [`function_key`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub functions: BTreeMap<String, Missing>,
}

/// What a function lacks.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Missing {
    /// Its name, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Boundaries without an anchor: offsets with `0x`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unanchored: BTreeSet<String>,
    /// Live slots that are unavailable, by boundary.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unavailable: BTreeMap<String, BTreeSet<String>>,
    /// How many dead slots are, over all boundaries.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dead: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What a baseline calls a function: `#7`, in scripts with its instance, `1#7`.
pub fn function_key(function: &FunctionFigures) -> String {
    match function.instance {
        0 => format!("#{}", function.func),
        instance => format!("{instance}#{}", function.func),
    }
}

/// Why a text is no baseline.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// Not JSON, or of another form.
    #[error("not a baseline: {0}")]
    Form(#[from] serde_json::Error),
    /// Of another version.
    #[error("schema {0:?}, this version reads \"{schema}\"", schema = Baseline::SCHEMA)]
    Schema(String),
}

/// Growth of code that a fresh baseline allows, in per cent.
pub const CODE_SIZE: f64 = 2.0;

/// Milliseconds of compile time below which a difference is noise.
const NOISE_MS: f64 = 20.0;

impl Baseline {
    /// What the key `schema` holds.
    pub const SCHEMA: &'static str = "wdiff-baseline/1";

    /// Reads a baseline.
    ///
    /// # Errors
    /// A text that is none.
    pub fn parse(text: &str) -> Result<Baseline, BaselineError> {
        let baseline: Baseline = serde_json::from_str(text)?;
        if baseline.schema != Baseline::SCHEMA {
            return Err(BaselineError::Schema(baseline.schema.chars().take(60).collect()));
        }
        Ok(baseline)
    }

    /// The baseline as text that ends in a newline. The same baseline is the
    /// same text.
    ///
    /// # Errors
    /// None that is known.
    pub fn to_text(&self) -> Result<String, BaselineError> {
        Ok(escape_json(serde_json::to_string_pretty(self)? + "\n"))
    }

    /// The baseline that these jobs are. A divergence is no part of it: it
    /// could never be accepted.
    pub fn of(jobs: &[GateJob], bounds: Bounds) -> Baseline {
        let kept = jobs
            .iter()
            .filter(|job| !matches!(job.outcome, JobOutcome::Divergence | JobOutcome::NotRun));
        let jobs = kept.map(|job| (job.key(), Entry::of(job, bounds))).collect();
        Baseline { schema: Baseline::SCHEMA.to_owned(), bounds, jobs }
    }

    /// Jobs that it has and a plan does not.
    pub fn gone(&self, plan: &BTreeSet<String>) -> Vec<String> {
        self.jobs.keys().filter(|key| !plan.contains(*key)).cloned().collect()
    }

    /// Notes in a job what the rules above say. `None` for a gate without a
    /// baseline.
    pub fn judge(baseline: Option<&Baseline>, job: &mut GateJob) {
        let entry = baseline.and_then(|baseline| baseline.jobs.get(&job.key()));
        let bounds = baseline.map(|baseline| baseline.bounds).unwrap_or_default();
        job.new = baseline.is_some() && entry.is_none();
        let mut failures = std::mem::take(&mut job.failures);
        match job.outcome {
            JobOutcome::Divergence => failures.push(divergence(job)),
            JobOutcome::Inconclusive | JobOutcome::Error => {
                let same = entry.is_some_and(|entry| {
                    entry.outcome == job.outcome && entry.detail == job.detail
                });
                job.accepted = same;
                let why = job.detail.as_deref().unwrap_or("no reason given");
                match entry {
                    Some(entry) if !same => failures.push(Failure::new(
                        FailureKind::Verdict,
                        format!(
                            "{} in the baseline, now {}: {why}",
                            entry.outcome.key(),
                            job.outcome.key()
                        ),
                    )),
                    None if job.outcome == JobOutcome::Error => {
                        failures.push(Failure::new(FailureKind::Error, why));
                    }
                    _ => {}
                }
            }
            JobOutcome::Match | JobOutcome::NotRun => {}
        }
        if let Some(report) = &job.report {
            incomplete(report, &mut failures);
            if let Some(entry) = entry {
                entry.compare(bounds, report, &mut failures);
            }
        }
        job.failures = failures;
    }
}

fn divergence(job: &GateJob) -> Failure {
    let found = job.report.as_ref().and_then(|report| report.divergence.as_ref());
    let Some(found) = found else {
        return Failure::new(FailureKind::Divergence, "a divergence without a place");
    };
    Failure {
        kind: FailureKind::Divergence,
        instance: found.instance,
        func: found.func,
        name: found.name.clone(),
        offset: found.offset,
        detail: crate::text::in_short(found),
    }
}

fn at(
    kind: FailureKind,
    function: &FunctionFigures,
    offset: Option<u32>,
    detail: String,
) -> Failure {
    Failure {
        kind,
        instance: Some(function.instance),
        func: Some(function.func),
        name: function.name.clone(),
        offset,
        detail,
    }
}

/// Stable points that were compiled in and lack something.
fn incomplete(report: &Report, failures: &mut Vec<Failure>) {
    for function in report.functions.iter().flatten() {
        for lack in function.unavailable.iter().filter(|lack| lack.stable) {
            let slots: Vec<String> =
                lack.slots.iter().map(|(slot, reason)| format!("{slot} ({reason})")).collect();
            let detail = format!("a stable point lacks {}", slots.join(", "));
            failures.push(at(FailureKind::StablePoint, function, Some(lack.offset), detail));
        }
    }
}

impl Entry {
    fn of(job: &GateJob, bounds: Bounds) -> Entry {
        let report = job.report.as_deref();
        let functions = report.and_then(|report| report.functions.as_deref()).unwrap_or_default();
        let functions = functions.iter().filter_map(|function| {
            let missing = Missing::of(function);
            let nothing = Missing { name: missing.name.clone(), ..Missing::default() };
            (missing != nothing).then(|| (function_key(function), missing))
        });
        let compile = report.and_then(|report| report.time.compile_s());
        Entry {
            outcome: job.outcome,
            detail: job.detail.clone(),
            sha256: report.map(|report| report.program.sha256.clone()),
            cpu_features: report.map(|r| r.tool.cpu_features.clone()).unwrap_or_default(),
            code_bytes: report.and_then(|report| report.code).map(|code| code.bytes),
            compile_ms: compile
                .filter(|_| bounds.compile_time.is_some())
                .map(|seconds| (seconds * 1e4).round() / 10.0),
            stops: report.map_or(0, |report| report.boundaries.stops),
            stable_points: report.map_or(0, |report| report.stable_points.r#static),
            functions: functions.collect(),
        }
    }

    /// Compares a report with this entry.
    fn compare(&self, bounds: Bounds, report: &Report, failures: &mut Vec<Failure>) {
        let other = |what: &str| {
            let detail = format!("the baseline is of {what}; --update-baseline makes a new one");
            Failure::new(FailureKind::Baseline, detail)
        };
        if self.sha256.as_ref().is_some_and(|sha256| *sha256 != report.program.sha256) {
            return failures.push(other("other bytes of this program"));
        }
        if self.sha256.is_some() && self.cpu_features != report.tool.cpu_features {
            return failures.push(other("a machine with other CPU features"));
        }
        let before = self.stable_points;
        let now = report.stable_points.r#static;
        if now < before {
            let detail = format!("{now} stable points, {before} in the baseline");
            failures.push(Failure::new(FailureKind::StablePoint, detail));
        }
        for function in report.functions.iter().flatten() {
            let none = Missing::default();
            let known = self.functions.get(&function_key(function)).unwrap_or(&none);
            known.compare(function, failures);
        }
        self.compare_cost(bounds, report, failures);
    }

    fn compare_cost(&self, bounds: Bounds, report: &Report, failures: &mut Vec<Failure>) {
        let beyond = |now: f64, before: f64, bound: f64| now > before * (1.0 + bound / 100.0);
        if let (Some(bound), Some(before), Some(now)) =
            (bounds.code_size, self.code_bytes, report.code.map(|code| code.bytes))
            && beyond(now as f64, before as f64, bound)
        {
            let detail = format!(
                "{now} bytes of code, {before} in the baseline: {} more, the bound is {bound} %",
                growth(now as f64, before as f64)
            );
            failures.push(Failure::new(FailureKind::CodeSize, detail));
        }
        let now = report.time.compile_s().map(|seconds| seconds * 1e3);
        if let (Some(bound), Some(before), Some(now)) = (bounds.compile_time, self.compile_ms, now)
            && beyond(now, before, bound)
            && now - before > NOISE_MS
        {
            let detail = format!(
                "{now:.1} ms to compile, {before:.1} in the baseline: {} more, the bound is {bound} %",
                growth(now, before)
            );
            failures.push(Failure::new(FailureKind::CompileTime, detail));
        }
    }
}

fn growth(now: f64, before: f64) -> String {
    if before > 0.0 {
        format!("{:.1} %", (now - before) / before * 100.0)
    } else {
        "infinitely".to_owned()
    }
}

impl Missing {
    fn of(function: &FunctionFigures) -> Missing {
        Missing {
            name: function.name.clone(),
            unanchored: function.unanchored.iter().map(|offset| hex(*offset)).collect(),
            unavailable: function
                .unavailable
                .iter()
                .map(|lack| (hex(lack.offset), lack.slots.keys().cloned().collect()))
                .collect(),
            dead: function.dead_unavailable,
        }
    }

    /// Compares a function with what it lacked.
    fn compare(&self, function: &FunctionFigures, failures: &mut Vec<Failure>) {
        for offset in &function.unanchored {
            if !self.unanchored.contains(&hex(*offset)) {
                let detail = "the boundary has no anchor; it has one in the baseline".to_owned();
                failures.push(at(FailureKind::Anchors, function, Some(*offset), detail));
            }
        }
        for lack in &function.unavailable {
            let known = self.unavailable.get(&hex(lack.offset));
            let fresh: Vec<String> = lack
                .slots
                .iter()
                .filter(|(slot, _)| !known.is_some_and(|known| known.contains(*slot)))
                .map(|(slot, reason)| format!("{slot} ({reason})"))
                .collect();
            if !fresh.is_empty() {
                let detail = format!("newly unavailable: {}", fresh.join(", "));
                failures.push(at(FailureKind::Unavailable, function, Some(lack.offset), detail));
            }
        }
        if function.dead_unavailable > self.dead {
            let detail = format!(
                "{} dead values are unavailable, {} in the baseline",
                function.dead_unavailable, self.dead
            );
            failures.push(at(FailureKind::Unavailable, function, None, detail));
        }
    }
}

fn hex(offset: u32) -> String {
    format!("{offset:#x}")
}
