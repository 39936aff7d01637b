//! The assertions of scripts.

use super::page::Page;
use crate::number::{counted, grouped};
use crate::printable::clean;
use crate::style::Role;
use crate::wast::Wast;

/// Most failures listed.
const LISTED: usize = 20;

/// Writes the section of a run of scripts.
pub(super) fn write(s: &Wast, page: &mut Page) {
    page.row(
        "scripts",
        &format!(
            "{}, {} made",
            counted(s.scripts, "script", "scripts"),
            counted(s.instances, "instance", "instances")
        ),
    );
    let mut parts = vec![
        format!("{} hold in lockstep", grouped(s.lockstep)),
        format!("{} hold of invalid or unlinkable modules", grouped(s.validation)),
    ];
    for (count, what) in
        [(s.text_format, "about the text format"), (s.superseded, "superseded by later versions")]
    {
        if count > 0 {
            parts.push(format!("{} {what}", grouped(count)));
        }
    }
    page.row("assertions", &parts.join(", "));
    for (reason, count) in &s.not_run {
        page.row("  not run", &format!("{} with {}", grouped(*count), clean(reason)));
    }
    for failure in s.failures.iter().take(LISTED) {
        page.labelled("  failed", &page.paint(Role::Bad, &clean(failure)));
    }
    if let Some(more) = s.failures.len().checked_sub(LISTED).filter(|more| *more > 0) {
        page.row("", &format!("and {more} more"));
    }
    if let Some(at) = &s.ended_at {
        page.row("  ended at", &clean(at));
    }
}
