//! What to do with the result: commands to copy.
//!
//! They are put together from the report alone. Where the report does not say
//! how it was made (arguments, directories), the command that made it can: it
//! leaves a complete one in `divergence.rerun`.

use super::page::Page;
use crate::divergence::Divergence;
use crate::model::{InconclusiveReason, Report};
use crate::printable::shell_word;

/// Writes the hints for a report; a match needs none.
pub(super) fn write(report: &Report, page: &mut Page) {
    let hints = match (&report.divergence, &report.inconclusive) {
        (Some(_), _) if report.contradicted() => {
            vec![("report it", "the program and this report in JSON (--format json)".to_owned())]
        }
        (Some(divergence), _) => after_divergence(report, divergence),
        (None, Some(why)) => after_nothing(why.reason),
        (None, None) => Vec::new(),
    };
    if hints.is_empty() {
        return;
    }
    page.title("Next");
    for (label, command) in hints {
        page.labelled(label, &command);
    }
}

fn after_divergence(report: &Report, d: &Divergence) -> Vec<(&'static str, String)> {
    // A name that cannot be typed is left for the reader to fill in.
    let path = shell_word(&report.program.path).unwrap_or("PROG".into());
    let options = options(report);
    let command = d.rerun.as_ref().and_then(|arguments| {
        let words: Option<Vec<_>> = arguments.iter().map(|word| shell_word(word)).collect();
        words.map(|words| words.join(" "))
    });
    let rerun = match command {
        Some(command) => command,
        None => format!("wdiff run {path}{options}"),
    };
    let mut hints = vec![("again", rerun)];
    if let Some(func) = d.func {
        hints.push(("its map", format!("wdiff map {path}{options} --func '#{func}'")));
    }
    hints
}

/// The options that made this subject, where they are not the defaults.
fn options(report: &Report) -> String {
    let s = &report.subject;
    let mut text = String::new();
    for (option, value, default) in [
        ("--backend", &s.backend, "cranelift"),
        ("--opt", &s.opt, "none"),
        ("--stable", &s.stable, "off"),
        ("--anchors", &s.anchors, "trap"),
        ("--target", &s.target, "x86_64"),
        // Another target is only ever reached in one way.
        ("--engine", &s.engine, if s.target == "x86_64" { "int3" } else { "rsp" }),
    ] {
        if value != default
            && let Some(word) = shell_word(value)
        {
            text.push_str(&format!(" {option} {word}"));
        }
    }
    text
}

fn after_nothing(reason: InconclusiveReason) -> Vec<(&'static str, String)> {
    let hint = match reason {
        InconclusiveReason::Limit => "a higher limit, for example --max-stops",
        InconclusiveReason::Timeout => "a higher --timeout",
        InconclusiveReason::Unsupported
        | InconclusiveReason::Interrupted
        | InconclusiveReason::Replay
        | InconclusiveReason::Environment => return Vec::new(),
    };
    vec![("try", hint.to_owned())]
}
