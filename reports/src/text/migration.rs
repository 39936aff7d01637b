//! The section of a migration: hand-overs, and faults put into restoring.

use super::page::{Page, TableCell};
use crate::model::{Migration, RestoreFaults};
use crate::number::{counted, grouped, percent};
use crate::printable::clean;
use crate::style::Role;

/// What the verdict of faults that were drawn says; `None` if none were.
pub(super) fn in_short(section: &Migration) -> Option<String> {
    let all = sum(&section.faults)?;
    let drawn = counted(all.drawn, "fault", "faults");
    Some(match all.effective {
        n if n == all.caught => {
            format!("{drawn} drawn, {} effective, all noticed at the hand-over", grouped(n))
        }
        n => format!(
            "{drawn} drawn, {} of {} effective ones noticed at the hand-over",
            grouped(all.caught),
            grouped(n)
        ),
    })
}

/// Writes the section.
pub(super) fn write(section: &Migration, page: &mut Page) {
    let mut parts = vec![counted(section.hand_overs, "hand-over", "hand-overs")];
    if section.hand_overs > 0 {
        let each = |seconds: f64| format!("{:.2} ms", 1e3 * seconds / section.hand_overs as f64);
        parts.push(format!("{} frames, {} at most", grouped(section.frames), section.deepest));
        parts.push(format!(
            "capture {}, snapshot {}, restore {} each",
            each(section.capture_s),
            each(section.transfer_s),
            each(section.restore_s)
        ));
        parts.push(format!("largest snapshot {} bytes", grouped(section.largest_snapshot)));
    }
    page.row("migration", &parts.join(", "));
    if let Some(fault) = &section.fault {
        page.row("", &clean(&format!("fault: {fault}")));
    }
    if !section.choices.is_empty() {
        let choices = section.choices.iter();
        let list: Vec<String> =
            choices.map(|(name, count)| format!("{} {}", grouped(*count), clean(name))).collect();
        page.row("", &format!("the oracle alone chose {}", list.join(", ")));
    }
}

/// Writes the table of faults that were drawn, if some were.
pub(super) fn faults(section: &Migration, page: &mut Page) {
    let Some(all) = sum(&section.faults) else { return };
    page.title("Faults in restoring");
    let titles = ["", "drawn", "effective", "noticed", ""];
    let mut rows: Vec<Vec<TableCell>> =
        vec![titles.map(|title| TableCell::right(title).role(Role::Faint)).into()];
    rows.extend(section.faults.iter().chain([&all]).map(row));
    page.table(2, &rows);
}

fn sum(rows: &[RestoreFaults]) -> Option<RestoreFaults> {
    let empty = RestoreFaults { kind: "all".to_owned(), ..RestoreFaults::default() };
    (!rows.is_empty()).then(|| {
        rows.iter().fold(empty, |mut all, row| {
            all.drawn += row.drawn;
            all.effective += row.effective;
            all.caught += row.caught;
            all
        })
    })
}

fn row(row: &RestoreFaults) -> Vec<TableCell> {
    let share = TableCell::right(percent(row.caught, row.effective).unwrap_or_default());
    vec![
        TableCell::left(clean(&row.kind)),
        TableCell::right(grouped(row.drawn)),
        TableCell::right(grouped(row.effective)),
        TableCell::right(grouped(row.caught)),
        if row.caught < row.effective { share.role(Role::Bad) } else { share },
    ]
}
