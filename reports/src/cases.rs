//! A report as a list of cases: one for a run, one per job for a gate.
//!
//! Other tools know test suites: lists of named things that pass or fail. All
//! renderers for them go over the same list.

use crate::gate::{Config, Failure, FailureKind, JobOutcome};
use crate::model::Report;

/// One program in one configuration.
pub(crate) struct Case<'a> {
    /// The program's name.
    pub(crate) program: &'a str,
    /// The configuration.
    pub(crate) config: Config,
    /// What became of it.
    pub(crate) outcome: JobOutcome,
    /// Why it has no answer.
    pub(crate) detail: Option<&'a str>,
    /// Whether a baseline accepts that it has none.
    pub(crate) accepted: bool,
    /// What makes it fail.
    pub(crate) failures: Vec<Failure>,
    /// Its own report.
    pub(crate) report: Option<&'a Report>,
}

/// The cases of a report.
pub(crate) fn cases(report: &Report) -> Vec<Case<'_>> {
    if let Some(gate) = &report.gate {
        let jobs = gate.jobs.iter().map(|job| Case {
            program: &job.program,
            config: job.config.clone(),
            outcome: job.outcome,
            detail: job.detail.as_deref(),
            accepted: job.accepted,
            failures: job.failures.clone(),
            report: job.report.as_deref(),
        });
        return jobs.collect();
    }
    let subject = &report.subject;
    let config = Config {
        backend: subject.backend.clone(),
        opt: subject.opt.clone(),
        stable: subject.stable.clone(),
        anchors: subject.anchors.clone(),
        target: subject.target.clone(),
        engine: subject.engine.clone(),
        cpu: String::new(),
    };
    let failures = report.divergence.iter().map(|found| Failure {
        kind: FailureKind::Divergence,
        instance: found.instance,
        func: found.func,
        name: found.name.clone(),
        offset: found.offset,
        detail: crate::text::in_short(found),
    });
    vec![Case {
        program: &report.program.path,
        config,
        outcome: report.verdict.into(),
        detail: report.inconclusive.as_ref().map(|why| why.detail.as_str()),
        accepted: false,
        failures: failures.collect(),
        report: Some(report),
    }]
}
