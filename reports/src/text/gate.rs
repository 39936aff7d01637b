//! A gate for a person at a terminal: short when all is well, and otherwise
//! what failed, first in a line each, then in full.

use super::page::{Page, TableCell};
use crate::gate::{Gate, GateJob, JobOutcome};
use crate::model::{Report, Verdict};
use crate::number::{counted, duration, grouped, percent};
use crate::printable::clean;
use crate::style::{Role, Style};

/// Failures of a job that are listed.
const FAILURES: usize = 20;
/// Divergences that are shown in full.
const IN_FULL: usize = 3;
/// Jobs without an answer that are listed.
const OPEN: usize = 30;

/// Writes the whole report.
pub(super) fn write(report: &Report, gate: &Gate, style: Style, page: &mut Page) {
    let (role, head) = match report.verdict {
        Verdict::Match => (Role::Good, "passed"),
        Verdict::Divergence => (Role::Bad, "failed"),
        Verdict::Inconclusive => (Role::Unsure, "inconclusive"),
    };
    let head = page.paint(role, head);
    page.line(&format!("{head}: {}", in_short(report, gate)));
    failures(gate, page);
    open(gate, page);
    figures(report, gate, page);
    let diverged = gate.jobs.iter().filter(|job| job.outcome == JobOutcome::Divergence);
    for job in diverged.take(IN_FULL) {
        if let Some(report) = &job.report {
            page.title(&format!("== {} ==", clean(&job.key())));
            for line in super::render(report, style).lines() {
                page.line(line);
            }
        }
    }
}

/// The result in half a line.
pub(crate) fn in_short(report: &Report, gate: &Gate) -> String {
    let c = gate.counts;
    let mut text = counted(gate.jobs.len() as u64, "job", "jobs");
    if let Some(shard) = &gate.shard {
        text.push_str(&format!(" of shard {}", clean(shard)));
    }
    for (count, words) in [
        (c.r#match, "match"),
        (c.divergence, "diverge"),
        (c.inconclusive, "inconclusive"),
        (c.error, "without a report"),
        (c.not_run, "not run"),
        (c.failed, "failed"),
        (gate.gone.len() as u64, "gone since the baseline"),
    ] {
        if count > 0 {
            text.push_str(&format!(", {} {words}", grouped(count)));
        }
    }
    if let Some(why) = &report.inconclusive {
        text.push_str(&format!("; {}", clean(&why.detail)));
    }
    text
}

fn failures(gate: &Gate, page: &mut Page) {
    let failed: Vec<&GateJob> = gate.jobs.iter().filter(|job| !job.failures.is_empty()).collect();
    if failed.is_empty() && gate.gone.is_empty() {
        return;
    }
    page.title("Failed");
    for key in &gate.gone {
        page.row("gone", &format!("{}: in the baseline, not in this gate", clean(key)));
    }
    for job in failed {
        page.line(&format!("  {}", clean(&job.key())));
        for failure in job.failures.iter().take(FAILURES) {
            let kind = format!("  {}", failure.kind.key().replace('_', " "));
            page.row(&kind, &clean(&failure.sentence()));
        }
        if let Some(more) = job.failures.len().checked_sub(FAILURES).filter(|more| *more > 0) {
            page.row("", &format!("and {} more", grouped(more as u64)));
        }
    }
}

fn open(gate: &Gate, page: &mut Page) {
    let open: Vec<&GateJob> = gate.open().filter(|job| job.failures.is_empty()).collect();
    if open.is_empty() {
        return;
    }
    page.title("Without an answer");
    for job in open.iter().take(OPEN) {
        let outcome = job.outcome.key().replace('_', " ");
        let why = job.detail.as_deref().map(clean).unwrap_or_default();
        page.row(&outcome, &format!("{}: {why}", clean(&job.key())));
    }
    if let Some(more) = open.len().checked_sub(OPEN).filter(|more| *more > 0) {
        page.row("", &format!("and {} more", grouped(more as u64)));
    }
}

fn figures(report: &Report, gate: &Gate, page: &mut Page) {
    page.title("What was looked at");
    let mut rows = vec![
        ["", "jobs", "match", "failed", "stops", "values compared", "live unavailable"]
            .map(|title| TableCell::right(title).role(Role::Faint))
            .into(),
    ];
    for config in gate.configs() {
        let jobs = || gate.jobs.iter().filter(|job| job.config == *config);
        let sum = |of: fn(&Report) -> u64| {
            jobs().filter_map(|job| job.report.as_deref()).map(of).fold(0, u64::saturating_add)
        };
        let count = |which: fn(&&GateJob) -> bool| jobs().filter(which).count() as u64;
        let failed = count(|job| !job.failures.is_empty());
        let missing = sum(|report| report.values.live.unavailable);
        let live = sum(|r| {
            let live = r.values.live;
            live.located
                .saturating_add(live.derived)
                .saturating_add(live.constant)
                .saturating_add(live.unavailable)
        });
        let cell = TableCell::right(grouped(failed));
        rows.push(vec![
            TableCell::left(clean(&config.to_string())),
            TableCell::right(grouped(jobs().count() as u64)),
            TableCell::right(grouped(count(|job| job.outcome == JobOutcome::Match))),
            if failed > 0 { cell.role(Role::Bad) } else { cell },
            TableCell::right(grouped(sum(|report| report.boundaries.stops))),
            TableCell::right(grouped(sum(|report| report.values.compared))),
            TableCell::right(percent(missing, live).unwrap_or_default()),
        ]);
    }
    page.table(2, &rows);
    match &gate.baseline {
        Some(path) => {
            let mut text = clean(path).into_owned();
            if gate.counts.new > 0 {
                text.push_str(&format!(", without {} of the jobs", grouped(gate.counts.new)));
            }
            if gate.counts.accepted > 0 {
                let accepted = grouped(gate.counts.accepted);
                text.push_str(&format!(", accepts {accepted} without an answer"));
            }
            page.row("baseline", &text);
        }
        None => page.row("baseline", "none: only divergences and incomplete stable points fail"),
    }
    page.row("time", &duration(report.time.wall_s()));
}
