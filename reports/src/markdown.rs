//! A summary in Markdown, for a pull request or a job's page.
//!
//! The verdict, a table per configuration, what failed, and for the first
//! divergences the text report, folded. Names come from anybody's module: in
//! prose they are code spans, and a fence is longer than any run of backquotes inside.

use crate::cases::{Case, cases};
use crate::gate::{Config, JobOutcome};
use crate::model::{Live, Report, Verdict};
use crate::number::{counted, duration, grouped, percent};
use crate::printable::clean;
use crate::style::Style;
use std::fmt::Write;

/// Failures that are listed: what is posted to a pull request has a limit.
const FAILURES: usize = 50;
/// Divergences that are shown in full.
const IN_FULL: usize = 5;
/// Lines of each.
const LINES: usize = 120;

/// The summary, ending in a newline.
pub fn render(report: &Report) -> String {
    let cases = cases(report);
    let mut out = String::new();
    let head = match (report.verdict, &report.gate) {
        (Verdict::Match, None) => "match",
        (Verdict::Match, Some(_)) => "passed",
        (Verdict::Divergence, None) => "divergence",
        (Verdict::Divergence, Some(_)) => "failed",
        (Verdict::Inconclusive, _) => "inconclusive",
    };
    let _ = writeln!(out, "## wdiff: {head}\n");
    if let Some(why) = &report.inconclusive {
        let _ = writeln!(out, "{}: {}\n", why.reason.key(), span(&why.detail));
    }
    table(&cases, &mut out);
    failures(report, &cases, &mut out);
    open(&cases, &mut out);
    in_full(&cases, &mut out);
    let tool = &report.tool;
    let _ = writeln!(
        out,
        "\n{} executed, {} compared, {}; wdiff {}{}",
        counted(report.boundaries.executed, "boundary", "boundaries"),
        counted(report.values.compared, "value", "values"),
        duration(report.time.wall_s()),
        plain(&tool.version),
        tool.cranelift.as_ref().map(|v| format!(", cranelift {}", plain(v))).unwrap_or_default()
    );
    out
}

fn table(cases: &[Case<'_>], out: &mut String) {
    let mut configs: Vec<&Config> = Vec::new();
    for case in cases {
        if !configs.contains(&&case.config) {
            configs.push(&case.config);
        }
    }
    out.push_str(
        "| configuration | programs | match | diverge | no answer | failed | stops | live values located | unavailable |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for config in configs {
        let of: Vec<&Case<'_>> = cases.iter().filter(|case| case.config == *config).collect();
        let count =
            |which: fn(&&&Case<'_>) -> bool| grouped(of.iter().filter(which).count() as u64);
        let mut live = Live::default();
        let mut stops = 0u64;
        for report in of.iter().filter_map(|case| case.report) {
            let add = |sum: &mut u64, part: u64| *sum = sum.saturating_add(part);
            add(&mut live.located, report.values.live.located);
            add(&mut live.derived, report.values.live.derived);
            add(&mut live.constant, report.values.live.constant);
            add(&mut live.unavailable, report.values.live.unavailable);
            add(&mut stops, report.boundaries.stops);
        }
        let all = [live.located, live.derived, live.constant, live.unavailable]
            .into_iter()
            .fold(0, u64::saturating_add);
        let share = |part| percent(part, all).unwrap_or_default();
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            plain(&config.to_string()),
            grouped(of.len() as u64),
            count(|case| case.outcome == JobOutcome::Match),
            count(|case| case.outcome == JobOutcome::Divergence),
            count(|case| !matches!(case.outcome, JobOutcome::Match | JobOutcome::Divergence)),
            count(|case| !case.failures.is_empty()),
            grouped(stops),
            share(live.located),
            share(live.unavailable),
        );
    }
}

fn failures(report: &Report, cases: &[Case<'_>], out: &mut String) {
    let gone = report.gate.as_ref().map(|gate| gate.gone.as_slice()).unwrap_or_default();
    let all: usize = cases.iter().map(|case| case.failures.len()).sum::<usize>() + gone.len();
    if all == 0 {
        return;
    }
    out.push_str(
        "\n### Failed\n\n| program | configuration | what | where | |\n|---|---|---|---|---|\n",
    );
    let mut left = FAILURES;
    for case in cases {
        for failure in case.failures.iter().take(left) {
            let place = failure.place();
            let _ = writeln!(
                out,
                "| {} | {} | {} | {} | {} |",
                span(case.program),
                plain(&case.config.to_string()),
                failure.kind.key().replace('_', " "),
                if place.is_empty() { String::new() } else { span(&place) },
                span(&failure.detail)
            );
        }
        left = left.saturating_sub(case.failures.len());
    }
    for key in gone.iter().take(left) {
        let _ = writeln!(out, "| {} | | gone | | in the baseline, not in this gate |", span(key));
    }
    if all > FAILURES {
        let _ = writeln!(out, "\nand {} more", grouped((all - FAILURES) as u64));
    }
}

fn open(cases: &[Case<'_>], out: &mut String) {
    let open: Vec<&Case<'_>> = cases
        .iter()
        .filter(|case| !matches!(case.outcome, JobOutcome::Match | JobOutcome::Divergence))
        .filter(|case| case.failures.is_empty() && !case.accepted)
        .collect();
    if open.is_empty() || cases.len() == 1 {
        return;
    }
    let count = grouped(open.len() as u64);
    let _ = writeln!(out, "\n<details><summary>{count} without an answer</summary>\n");
    for case in open.iter().take(FAILURES) {
        let why = case.detail.map(span).unwrap_or_default();
        let outcome = case.outcome.key().replace('_', " ");
        let config = plain(&case.config.to_string());
        let _ = writeln!(out, "- {outcome}: {} ({config}): {why}", span(case.program));
    }
    if open.len() > FAILURES {
        let _ = writeln!(out, "- and {} more", grouped((open.len() - FAILURES) as u64));
    }
    out.push_str("\n</details>\n");
}

fn in_full(cases: &[Case<'_>], out: &mut String) {
    let diverged = cases.iter().filter(|case| case.outcome == JobOutcome::Divergence);
    for case in diverged.take(IN_FULL) {
        let Some(report) = case.report else { continue };
        let text = crate::text::render(report, Style::plain());
        let shown: Vec<&str> = text.lines().take(LINES).collect();
        let fence = "`".repeat(3.max(longest_run(&text) + 1));
        let title = crate::xml::escaped_line(case.program);
        let _ = writeln!(
            out,
            "\n<details><summary>{title}, {}</summary>\n\n{fence}text\n{}\n{fence}\n\n</details>",
            plain(&case.config.to_string()),
            shown.join("\n")
        );
    }
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

/// Foreign text as a code span that also fits into a table's cell.
fn span(text: &str) -> String {
    let text = clean(text).replace('|', "\\|");
    let fence = "`".repeat(longest_run(&text) + 1);
    if fence.len() > 1 || text.starts_with(' ') {
        return format!("{fence} {text} {fence}");
    }
    format!("{fence}{text}{fence}")
}

/// Foreign text in prose, where it is not supposed to have anything special.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for c in clean(text).chars() {
        if c.is_ascii_punctuation() && !"+-,.:=/_()".contains(c) {
            out.push_str(&format!("&#{};", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}
