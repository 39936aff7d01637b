//! The table of a self-test: what became of the faults put in.

use super::page::{Page, TableCell};
use crate::model::{Selftest, SelftestFault, SelftestKind, SelftestOutcome};
use crate::number::{counted, grouped, percent};
use crate::printable::{clean, shell_word};
use crate::style::Role;

/// What the verdict of a self-test says.
pub(super) fn in_short(s: &Selftest) -> String {
    let faults = counted(s.injected, "fault", "faults");
    let count = |outcome| s.faults.iter().filter(|fault| fault.outcome == outcome).count() as u64;
    let mut text = match s.effective {
        n if n == s.caught => format!("{faults} put in, {} effective, all caught", grouped(n)),
        n => format!(
            "{faults} put in, {} of {} effective ones caught",
            grouped(s.caught),
            grouped(n)
        ),
    };
    for (outcome, words) in [
        (SelftestOutcome::Missed, "missed"),
        (SelftestOutcome::Late, "reported late"),
        (SelftestOutcome::FalseAlarm, "reported without reason"),
        (SelftestOutcome::Allowed, "within what the specification allows"),
        (SelftestOutcome::Unknown, "undecided"),
    ] {
        if count(outcome) > 0 {
            text.push_str(&format!(", {} {words}", grouped(count(outcome))));
        }
    }
    text
}

/// Writes the section of a self-test.
pub(super) fn write(s: &Selftest, page: &mut Page) {
    if let Some(seed) = s.seed {
        page.row("seed", &seed.to_string());
    }
    page.title("Faults put in");
    let titles = ["", "injected", "reached", "effective", "caught", "", "masked", "delay"];
    let mut rows = vec![titles.map(|t| TableCell::right(t).role(Role::Faint)).into()];
    rows.extend(s.kinds.iter().map(row));
    rows.push(row(&SelftestKind {
        kind: "all".to_owned(),
        injected: s.injected,
        reached: s.reached,
        effective: s.effective,
        caught: s.caught,
        masked: s.masked,
        delay: s.delay,
    }));
    page.table(2, &rows);
    let failed = |fault: &&SelftestFault| {
        fault.outcome.is_failure()
            || matches!(fault.outcome, SelftestOutcome::Allowed | SelftestOutcome::Unknown)
    };
    let failed: Vec<&SelftestFault> = s.faults.iter().filter(failed).collect();
    if failed.is_empty() {
        return;
    }
    page.title("Not caught");
    for fault in failed {
        let outcome = match (fault.outcome, fault.delay) {
            (outcome, Some(delay)) if delay > 0 => {
                format!("{} by {}", outcome.key(), counted(delay, "boundary", "boundaries"))
            }
            (outcome, _) => outcome.key().replace('_', " "),
        };
        page.row(
            &outcome,
            &format!(
                "{} in {} ({}), {}",
                clean(&fault.fault),
                clean(&fault.program),
                clean(&fault.instruction),
                clean(&fault.change)
            ),
        );
        if let Some(effect) = &fault.effect {
            page.row("  effect", &clean(effect));
        }
        if let Some(report) = &fault.report {
            page.row("  report", &clean(report));
        }
        let words: Option<Vec<_>> = fault.rerun.iter().map(|word| shell_word(word)).collect();
        if let Some(words) = words {
            page.labelled("  again", &words.join(" "));
        }
    }
}

fn row(kind: &SelftestKind) -> Vec<TableCell> {
    let share = TableCell::right(percent(kind.caught, kind.effective).unwrap_or_default());
    vec![
        TableCell::left(clean(&kind.kind)),
        TableCell::right(grouped(kind.injected)),
        TableCell::right(grouped(kind.reached)),
        TableCell::right(grouped(kind.effective)),
        TableCell::right(grouped(kind.caught)),
        if kind.caught < kind.effective { share.role(Role::Bad) } else { share },
        TableCell::right(grouped(kind.masked)),
        TableCell::right(grouped(kind.delay)),
    ]
}
