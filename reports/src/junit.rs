//! JUnit XML: what CI systems show as a list of tests.
//!
//! A suite per configuration, a test case per program. What makes a gate fail
//! is a `failure` of its case, with the text report as its content; what has no
//! answer is an `error`, or `skipped` where a baseline accepts it or nothing
//! was run. Of the many dialects this is the common core: the elements and
//! attributes of the schema in `tests/junit.xsd`.

use crate::cases::{Case, cases};
use crate::gate::JobOutcome;
use crate::model::Report;
use crate::style::Style;
use crate::xml::{escaped, escaped_line};
use std::fmt::Write;

/// The report as JUnit XML that ends in a newline.
pub fn render(report: &Report) -> String {
    let cases = cases(report);
    let mut suites: Vec<(String, Vec<&Case<'_>>)> = Vec::new();
    for case in &cases {
        let name = case.config.to_string();
        match suites.iter_mut().find(|(known, _)| *known == name) {
            Some((_, list)) => list.push(case),
            None => suites.push((name, vec![case])),
        }
    }
    let gone = report.gate.as_ref().map(|gate| gate.gone.as_slice()).unwrap_or_default();
    let all = Totals::of(cases.iter());
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        out,
        "<testsuites name=\"wdiff\" tests=\"{}\" failures=\"{}\" errors=\"{}\" time=\"{:.3}\">",
        all.tests + gone.len(),
        all.failures + gone.len(),
        all.errors,
        report.time.wall_s()
    );
    for (name, cases) in &suites {
        suite(name, cases, &mut out);
    }
    if !gone.is_empty() {
        let count = gone.len();
        let _ = writeln!(
            out,
            "  <testsuite name=\"baseline\" tests=\"{count}\" failures=\"{count}\" errors=\"0\" skipped=\"0\" time=\"0.000\">"
        );
        for key in gone {
            let _ = writeln!(
                out,
                "    <testcase name=\"{}\" classname=\"baseline\" time=\"0.000\">\n      \
                 <failure type=\"gone\" message=\"in the baseline, not in this gate\"/>\n    </testcase>",
                escaped_line(key)
            );
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

/// How a case is counted.
#[derive(PartialEq)]
enum Status {
    Passed,
    Failed,
    Error,
    Skipped,
}

fn status(case: &Case<'_>) -> Status {
    match case.outcome {
        _ if !case.failures.is_empty() => Status::Failed,
        // A self-test that failed has no section `divergence`.
        JobOutcome::Divergence => Status::Failed,
        JobOutcome::Match => Status::Passed,
        JobOutcome::NotRun => Status::Skipped,
        JobOutcome::Inconclusive | JobOutcome::Error if case.accepted => Status::Skipped,
        JobOutcome::Inconclusive | JobOutcome::Error => Status::Error,
    }
}

#[derive(Default)]
struct Totals {
    tests: usize,
    failures: usize,
    errors: usize,
    skipped: usize,
    seconds: f64,
}

impl Totals {
    fn of<'a>(cases: impl Iterator<Item = &'a Case<'a>>) -> Totals {
        let mut totals = Totals::default();
        for case in cases {
            totals.tests += 1;
            totals.seconds += seconds(case);
            match status(case) {
                Status::Passed => {}
                Status::Failed => totals.failures += 1,
                Status::Error => totals.errors += 1,
                Status::Skipped => totals.skipped += 1,
            }
        }
        totals
    }
}

fn seconds(case: &Case<'_>) -> f64 {
    case.report.map_or(0.0, |report| report.time.wall_s())
}

fn suite(name: &str, cases: &[&Case<'_>], out: &mut String) {
    let totals = Totals::of(cases.iter().copied());
    let name = escaped_line(name);
    let _ = writeln!(
        out,
        "  <testsuite name=\"{name}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{:.3}\">",
        totals.tests, totals.failures, totals.errors, totals.skipped, totals.seconds
    );
    for case in cases {
        let _ = write!(
            out,
            "    <testcase name=\"{}\" classname=\"{name}\" time=\"{:.3}\"",
            escaped_line(case.program),
            seconds(case)
        );
        let why = escaped_line(case.detail.unwrap_or(case.outcome.key()));
        match status(case) {
            Status::Passed => {
                out.push_str("/>\n");
                continue;
            }
            Status::Skipped => {
                let _ = writeln!(out, ">\n      <skipped message=\"{why}\"/>");
            }
            Status::Error => {
                let kind = case.outcome.key();
                let _ = writeln!(out, ">\n      <error type=\"{kind}\" message=\"{why}\"/>");
            }
            Status::Failed => failed(case, out),
        }
        out.push_str("    </testcase>\n");
    }
    out.push_str("  </testsuite>\n");
}

/// One `failure`: most consumers show the first only.
fn failed(case: &Case<'_>, out: &mut String) {
    let lines: Vec<String> = case
        .failures
        .iter()
        .map(|failure| format!("{}: {}", failure.kind.key(), failure.sentence()))
        .collect();
    let first = case.failures.first();
    let kind = first.map_or("divergence", |failure| failure.kind.key());
    let message = lines.first().map_or(case.outcome.key(), String::as_str);
    let more = match lines.len() {
        0 | 1 => String::new(),
        n => format!(" (and {} more)", n - 1),
    };
    let mut text = lines.join("\n");
    if let Some(report) = case.report.filter(|_| case.outcome == JobOutcome::Divergence) {
        text.push_str("\n\n");
        text.push_str(&crate::text::render(report, Style::plain()));
    }
    let _ = writeln!(
        out,
        ">\n      <failure type=\"{kind}\" message=\"{}{more}\">{}</failure>",
        escaped_line(message),
        escaped(text.trim_end())
    );
}
