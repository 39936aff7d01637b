//! The section of a gate: programs x configurations, and what failed.
//!
//! A *job* is one program run in one configuration; it ends with a report of its
//! own, which is kept whole. The gate's report is made from its jobs alone
//! ([`Report::of_gate`]): whoever has all jobs, in one run or from the shards
//! of many machines, gets the same report. What failed and why is a list of
//! [`Failure`]s per job, each with the place it is about.

use crate::model::{
    Inconclusive, InconclusiveReason, Outcome, Program, Report, Subject, Time, Tool, Verdict,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

/// A gate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// Digest of the plan: programs, configurations, options.
    pub plan: String,
    /// The paths that were asked for.
    pub paths: Vec<String>,
    /// Digest of all programs.
    pub programs_sha256: String,
    /// Jobs of the plan.
    pub planned: u64,
    /// The shard that this is, `I/N`; `None` if it is the whole.
    #[serde(deserialize_with = "Option::deserialize")]
    pub shard: Option<String>,
    /// The baseline; `None` if there was none.
    #[serde(deserialize_with = "Option::deserialize")]
    pub baseline: Option<String>,
    /// Jobs of the baseline that the plan does not have.
    pub gone: Vec<String>,
    /// Jobs by what became of them.
    pub counts: GateCounts,
    /// The jobs, in the order of the plan.
    pub jobs: Vec<GateJob>,
}

/// Jobs by what became of them; the first five sum up to all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GateCounts {
    /// Everything compared was equal.
    pub r#match: u64,
    /// Subject and oracle differ.
    pub divergence: u64,
    /// No answer.
    pub inconclusive: u64,
    /// No report: bad input, or a bug in wdiff.
    pub error: u64,
    /// Not run.
    pub not_run: u64,
    /// Jobs with a failure.
    pub failed: u64,
    /// Jobs without a match that the baseline has too.
    pub accepted: u64,
    /// Jobs that the baseline does not have.
    pub new: u64,
}

/// One program in one configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateJob {
    /// Its position in the plan.
    pub index: u64,
    /// The program's name: its path, or what its manifest calls it.
    pub program: String,
    /// The configuration.
    pub config: Config,
    /// What became of it.
    pub outcome: JobOutcome,
    /// Why it has no answer, no report or was not run.
    #[serde(deserialize_with = "Option::deserialize")]
    pub detail: Option<String>,
    /// Without a match, and the baseline says the same.
    pub accepted: bool,
    /// The baseline does not have it.
    pub new: bool,
    /// What makes the gate fail.
    pub failures: Vec<Failure>,
    /// Its report; `None` if there is none.
    #[serde(deserialize_with = "Option::deserialize")]
    pub report: Option<Box<Report>>,
}

impl GateJob {
    /// What a baseline calls it.
    pub fn key(&self) -> String {
        format!("{} [{}]", self.program, self.config)
    }
}

/// How a program is compiled and run, by the names of the command line.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Config {
    /// The compiler.
    pub backend: String,
    /// Its optimisation level.
    pub opt: String,
    /// Which stable points it compiles in.
    pub stable: String,
    /// Where it can be halted.
    pub anchors: String,
    /// Instruction set.
    pub target: String,
    /// How it is halted.
    pub engine: String,
    /// CPU features.
    pub cpu: String,
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Config { backend, opt, stable, anchors, target, engine, cpu } = self;
        write!(f, "{backend} {opt}, stable {stable}, {anchors}, {target} {cpu}, {engine}")
    }
}

/// What became of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobOutcome {
    /// Everything compared was equal.
    Match,
    /// Subject and oracle differ.
    Divergence,
    /// No answer.
    Inconclusive,
    /// No report: bad input, or a bug in wdiff.
    Error,
    /// Not run.
    NotRun,
}

impl JobOutcome {
    /// Its name, as in JSON.
    pub const fn key(self) -> &'static str {
        match self {
            JobOutcome::Match => "match",
            JobOutcome::Divergence => "divergence",
            JobOutcome::Inconclusive => "inconclusive",
            JobOutcome::Error => "error",
            JobOutcome::NotRun => "not_run",
        }
    }
}

impl From<Verdict> for JobOutcome {
    fn from(verdict: Verdict) -> JobOutcome {
        match verdict {
            Verdict::Match => JobOutcome::Match,
            Verdict::Divergence => JobOutcome::Divergence,
            Verdict::Inconclusive => JobOutcome::Inconclusive,
        }
    }
}

/// Something that makes a gate fail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What it is.
    pub kind: FailureKind,
    /// The instance; `None` where it is about no function.
    #[serde(deserialize_with = "Option::deserialize")]
    pub instance: Option<u32>,
    /// The function.
    #[serde(deserialize_with = "Option::deserialize")]
    pub func: Option<u32>,
    /// Its name.
    #[serde(deserialize_with = "Option::deserialize")]
    pub name: Option<String>,
    /// The boundary.
    #[serde(deserialize_with = "Option::deserialize")]
    pub offset: Option<u32>,
    /// In one sentence, what is wrong.
    pub detail: String,
}

impl Failure {
    /// A failure that is about no function.
    pub fn new(kind: FailureKind, detail: impl Into<String>) -> Failure {
        let detail = detail.into();
        Failure { kind, instance: None, func: None, name: None, offset: None, detail }
    }

    /// The place in words: `#7 sort at 0x362`; empty if there is none.
    pub fn place(&self) -> String {
        let Some(func) = self.func else { return String::new() };
        let mut text = format!("#{func}");
        if let Some(name) = &self.name {
            text.push_str(&format!(" {}", crate::printable::clean(name)));
        }
        if let Some(instance) = self.instance.filter(|instance| *instance > 0) {
            text.push_str(&format!(" of instance {instance}"));
        }
        if let Some(offset) = self.offset {
            text.push_str(&format!(" at {offset:#x}"));
        }
        text
    }

    /// Place and detail; a divergence's detail has its place in it.
    pub fn sentence(&self) -> String {
        let place = self.place();
        if place.is_empty() || self.kind == FailureKind::Divergence {
            return self.detail.clone();
        }
        format!("{place}: {}", self.detail)
    }
}

/// What makes a gate fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// Subject and oracle differ.
    Divergence,
    /// A value that the baseline has is unavailable.
    Unavailable,
    /// A boundary that has an anchor in the baseline has none.
    Anchors,
    /// A stable point lacks a live value, or is gone.
    StablePoint,
    /// The code grew beyond the bound.
    CodeSize,
    /// Compiling takes longer than the bound.
    CompileTime,
    /// The baseline has another verdict.
    Verdict,
    /// The program did not do what its manifest expects.
    Expectation,
    /// There is no report.
    Error,
    /// The baseline is of another program or CPU, so that nothing can be
    /// compared with it.
    Baseline,
}

impl FailureKind {
    /// Every kind, in the order of the documentation.
    pub const ALL: [FailureKind; 10] = [
        FailureKind::Divergence,
        FailureKind::Unavailable,
        FailureKind::Anchors,
        FailureKind::StablePoint,
        FailureKind::CodeSize,
        FailureKind::CompileTime,
        FailureKind::Verdict,
        FailureKind::Expectation,
        FailureKind::Error,
        FailureKind::Baseline,
    ];

    /// Its name, as in JSON.
    pub const fn key(self) -> &'static str {
        match self {
            FailureKind::Divergence => "divergence",
            FailureKind::Unavailable => "unavailable",
            FailureKind::Anchors => "anchors",
            FailureKind::StablePoint => "stable_point",
            FailureKind::CodeSize => "code_size",
            FailureKind::CompileTime => "compile_time",
            FailureKind::Verdict => "verdict",
            FailureKind::Expectation => "expectation",
            FailureKind::Error => "error",
            FailureKind::Baseline => "baseline",
        }
    }

    /// What it means, in one sentence.
    pub const fn meaning(self) -> &'static str {
        match self {
            FailureKind::Divergence => "Subject and oracle differ.",
            FailureKind::Unavailable => "A value that was available in the baseline is not.",
            FailureKind::Anchors => "A boundary that had an anchor in the baseline has none.",
            FailureKind::StablePoint => "A stable point lacks a live value, or is gone.",
            FailureKind::CodeSize => "The native code grew beyond the bound.",
            FailureKind::CompileTime => "Compiling takes longer than the bound allows.",
            FailureKind::Verdict => "The baseline has another verdict.",
            FailureKind::Expectation => "The program did not do what its manifest expects.",
            FailureKind::Error => "There is no report: bad input, or a bug in wdiff.",
            FailureKind::Baseline => "The baseline is of another program or CPU.",
        }
    }
}

impl Gate {
    /// Whether the gate fails.
    pub fn failed(&self) -> bool {
        !self.gone.is_empty() || self.jobs.iter().any(|job| !job.failures.is_empty())
    }

    /// Jobs that have no answer and nobody's consent.
    pub fn open(&self) -> impl Iterator<Item = &GateJob> {
        self.jobs.iter().filter(|job| {
            let answered = matches!(job.outcome, JobOutcome::Match | JobOutcome::Divergence);
            !answered && !job.accepted
        })
    }

    /// Counts the jobs.
    pub fn count(jobs: &[GateJob]) -> GateCounts {
        let mut counts = GateCounts::default();
        for job in jobs {
            *match job.outcome {
                JobOutcome::Match => &mut counts.r#match,
                JobOutcome::Divergence => &mut counts.divergence,
                JobOutcome::Inconclusive => &mut counts.inconclusive,
                JobOutcome::Error => &mut counts.error,
                JobOutcome::NotRun => &mut counts.not_run,
            } += 1;
            counts.failed += u64::from(!job.failures.is_empty());
            counts.accepted += u64::from(job.accepted);
            counts.new += u64::from(job.new);
        }
        counts
    }

    /// The configurations, in the order of the plan.
    pub fn configs(&self) -> Vec<&Config> {
        let mut seen = BTreeSet::new();
        self.jobs.iter().map(|job| &job.config).filter(|config| seen.insert(*config)).collect()
    }

    /// The verdict, with why there is none.
    fn verdict(&self) -> (Verdict, Option<Inconclusive>) {
        if self.failed() {
            return (Verdict::Divergence, None);
        }
        let open: Vec<&GateJob> = self.open().collect();
        let missing = self.planned.saturating_sub(self.jobs.len() as u64);
        if self.shard.is_none() && missing > 0 {
            let detail = format!("{missing} of {} jobs are in none of the shards", self.planned);
            let reason = InconclusiveReason::Limit;
            return (Verdict::Inconclusive, Some(Inconclusive { reason, detail }));
        }
        let Some(first) = open.first() else { return (Verdict::Match, None) };
        let reason = if open.iter().any(|job| job.outcome == JobOutcome::NotRun) {
            InconclusiveReason::Limit
        } else {
            let why = open.iter().find_map(|job| job.report.as_ref()?.inconclusive.as_ref());
            why.map_or(InconclusiveReason::Unsupported, |why| why.reason)
        };
        let detail = format!(
            "{} of {} jobs have no answer, first {}: {}",
            open.len(),
            self.jobs.len(),
            first.key(),
            first.detail.as_deref().unwrap_or(first.outcome.key())
        );
        (Verdict::Inconclusive, Some(Inconclusive { reason, detail }))
    }
}

impl Report {
    /// The report of a gate. Everything but `wall` follows from the section;
    /// its jobs are put in order and counted.
    pub fn of_gate(mut gate: Gate, wdiff: &str, wall: Duration) -> Report {
        gate.jobs.sort_by_key(|job| job.index);
        gate.counts = Gate::count(&gate.jobs);
        let reports = || gate.jobs.iter().filter_map(|job| job.report.as_deref());
        let tool = Tool {
            version: wdiff.to_owned(),
            cranelift: reports().find_map(|report| report.tool.cranelift.clone()),
            cpu_features: Vec::new(),
        };
        let mut counted = BTreeSet::new();
        let functions = gate
            .jobs
            .iter()
            .filter(|job| job.report.is_some() && counted.insert(&job.program))
            .filter_map(|job| Some(job.report.as_ref()?.program.functions))
            .fold(0, u32::saturating_add);
        let program = Program {
            path: gate.paths.join(" "),
            sha256: gate.programs_sha256.clone(),
            functions,
            exit_code: None,
            trap: None,
        };
        let each = |of: fn(&Config) -> &String| {
            let mut names: Vec<&str> = Vec::new();
            for config in gate.configs() {
                if !names.contains(&of(config).as_str()) {
                    names.push(of(config));
                }
            }
            names.join(",")
        };
        let sandbox: BTreeSet<&str> =
            reports().map(|report| report.subject.sandbox.as_str()).collect();
        let subject = Subject {
            backend: each(|config| &config.backend),
            opt: each(|config| &config.opt),
            stable: each(|config| &config.stable),
            target: each(|config| &config.target),
            engine: each(|config| &config.engine),
            anchors: each(|config| &config.anchors),
            sandbox: sandbox.into_iter().collect::<Vec<_>>().join(","),
        };
        let mut total = Report::new(tool, program, subject, Outcome::Match);
        for report in reports() {
            total.add_figures(report);
        }
        (total.verdict, total.inconclusive) = gate.verdict();
        let stops = total.boundaries.stops;
        total.time = Time::new(wall, stops, stops);
        total.gate = Some(gate);
        total
    }
}

/// Why shards do not make a whole.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MergeError {
    /// There is nothing to merge.
    #[error("no report to merge")]
    Nothing,
    /// A report of something else.
    #[error("report {0} is not that of a gate")]
    NoGate(usize),
    /// Shards of different gates.
    #[error(
        "report {0} is of another gate than the first: other programs, options, baseline or version"
    )]
    Other(usize),
    /// A job is there twice.
    #[error("job {0} is in more than one of the reports")]
    Twice(String),
}

/// Puts the shards of a gate together. Jobs that are in none of them make the
/// whole inconclusive.
///
/// # Errors
/// Reports that do not belong together.
pub fn merge(reports: Vec<Report>) -> Result<Report, MergeError> {
    let mut whole: Option<(Gate, String, Duration)> = None;
    for (number, mut report) in (1..).zip(reports) {
        let mut gate = report.gate.take().ok_or(MergeError::NoGate(number))?;
        let wall = Duration::try_from_secs_f64(report.time.wall_s()).unwrap_or_default();
        let version = report.tool.version;
        gate.shard = None;
        let Some((merged, first, time)) = &mut whole else {
            whole = Some((gate, version, wall));
            continue;
        };
        let same = merged.plan == gate.plan
            && merged.paths == gate.paths
            && merged.planned == gate.planned
            && merged.baseline == gate.baseline
            && merged.gone == gate.gone
            && merged.programs_sha256 == gate.programs_sha256
            && *first == version;
        if !same {
            return Err(MergeError::Other(number));
        }
        merged.jobs.append(&mut gate.jobs);
        *time = time.saturating_add(wall);
    }
    let (gate, version, wall) = whole.ok_or(MergeError::Nothing)?;
    let mut seen = BTreeSet::new();
    if let Some(job) = gate.jobs.iter().find(|job| !seen.insert(job.index)) {
        return Err(MergeError::Twice(job.key()));
    }
    Ok(Report::of_gate(gate, &version, wall))
}
