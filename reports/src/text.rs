//! The report for a person at a terminal.
//!
//! One line with the verdict, so that it can be read in passing; for a
//! divergence then the evidence (`divergence`); then, for every verdict, what
//! the verdict rests on (`summary`), because a match that looked at nothing
//! must not look like one that looked at everything; last, what to do next
//! (`next`). Text from modules and files is cleaned of everything that a
//! terminal would obey.

mod bisect;
mod divergence;
mod gate;
mod migration;
mod next;
mod page;
mod selftest;
mod summary;
mod wast;

pub(crate) use divergence::in_short;

use crate::model::{Report, Verdict};
use crate::number::counted;
use crate::printable::clean;
use crate::style::{Role, Style};
use page::Page;

/// The report as text that ends in a newline.
pub fn render(report: &Report, style: Style) -> String {
    let mut page = Page::new(style);
    if let Some(section) = &report.gate {
        gate::write(report, section, style, &mut page);
        return page.finish();
    }
    verdict_line(report, &mut page);
    if let Some(found) = &report.divergence {
        divergence::write(found, &mut page);
    }
    if let Some(section) = &report.bisect {
        bisect::write(section, &mut page);
    }
    summary::write(report, &mut page);
    next::write(report, &mut page);
    page.finish()
}

/// The verdict in one line.
fn verdict_line(report: &Report, page: &mut Page) {
    if let Some(section) = &report.selftest {
        let role = match report.verdict {
            Verdict::Match => Role::Good,
            Verdict::Divergence => Role::Bad,
            Verdict::Inconclusive => Role::Unsure,
        };
        let head = page.paint(role, if section.failed() { "failed" } else { report.verdict.key() });
        page.line(&format!("{head}: {}", selftest::in_short(section)));
        return;
    }
    let (role, head, rest) = match report.verdict {
        Verdict::Match => (Role::Good, "match", match_rest(report)),
        Verdict::Divergence => {
            let rest = report.divergence.as_ref().map(divergence::in_short).unwrap_or_default();
            let head = if report.contradicted() {
                "divergence, but the witness contradicts the oracle (a bug in wdiff)"
            } else {
                "divergence"
            };
            (Role::Bad, head, rest)
        }
        Verdict::Inconclusive => {
            let rest = report
                .inconclusive
                .as_ref()
                .map(|why| format!("{}: {}", why.reason.key(), clean(&why.detail)));
            (Role::Unsure, "inconclusive", rest.unwrap_or_default())
        }
    };
    page.line(&format!("{}: {rest}", page.paint(role, head)));
}

fn match_rest(report: &Report) -> String {
    if let Some(section) = &report.wast
        && report.boundaries.stops == 0
    {
        let held = counted(section.validation, "assertion", "assertions");
        return format!("{held} held, none of which executes code");
    }
    if report.boundaries.stops == 0 {
        return "but the subject was not stopped at any boundary".to_owned();
    }
    let stops = counted(report.boundaries.stops, "stop", "stops");
    if let Some(drawn) = report.migration.as_ref().and_then(migration::in_short) {
        return drawn;
    }
    if let Some(migration) = &report.migration {
        let count = counted(migration.hand_overs, "hand-over", "hand-overs");
        return format!(
            "{count} between {}, every view equal before and after; {stops}",
            migration.relay.join(", ")
        );
    }
    match report.values.compared {
        0 => format!("{stops}, no value to compare"),
        n => format!("{stops}, {} compared, all equal", counted(n, "value", "values")),
    }
}
