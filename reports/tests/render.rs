//! The text and the JSON of every sample, compared with files beside this one.
//!
//! `WDIFF_BLESS=1 cargo test -p reports` rewrites the files; read the change
//! before keeping it.

mod samples;

use reports::{Report, Style, json, text};
use similar::TextDiff;
use std::path::{Path, PathBuf};

fn compare(file: &str, actual: &str) -> Result<(), String> {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/expected").join(file);
    if std::env::var_os("WDIFF_BLESS").is_some_and(|value| value == "1") {
        return std::fs::write(&path, actual).map_err(|error| format!("{file}: {error}"));
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    if expected == actual {
        return Ok(());
    }
    let diff = TextDiff::from_lines(expected.as_str(), actual);
    let diff = diff.unified_diff().header("expected", "actual").to_string();
    Err(format!("tests/expected/{file} differs; WDIFF_BLESS=1 rewrites it\n{diff}"))
}

/// Renders every sample and reports all differences together.
fn check_all(extension: &str, render: impl Fn(&Report) -> String) {
    let failures: Vec<String> = samples::all()
        .iter()
        .filter_map(|(name, report)| compare(&format!("{name}.{extension}"), &render(report)).err())
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn text_is_as_expected() {
    check_all("txt", |report| text::render(report, Style::plain()));
}

#[test]
fn json_is_as_expected() {
    let short = |(name, _): &(&str, Report)| *name != "deep";
    let failures: Vec<String> = samples::all()
        .iter()
        .filter(|sample| short(sample))
        .filter_map(|(name, report)| {
            compare(&format!("{name}.json"), &json::to_string(report).unwrap()).err()
        })
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_samples_keep_the_rules() {
    for (name, report) in samples::all() {
        assert_eq!(report.check_invariants(), Ok(()), "{name}");
    }
}

#[test]
fn colour_adds_escapes_and_nothing_else() {
    for (name, report) in samples::all() {
        let colored = text::render(&report, Style::colored());
        let mut bare = String::new();
        let mut rest = colored.as_str();
        while let Some((before, after)) = rest.split_once("\u{1b}[") {
            bare.push_str(before);
            rest = after.split_once('m').unwrap().1;
        }
        bare.push_str(rest);
        let trimmed: Vec<&str> = bare.lines().map(str::trim_end).collect();
        assert_eq!(trimmed.join("\n") + "\n", text::render(&report, Style::plain()), "{name}");
        assert!(colored.contains("\u{1b}["), "{name}");
    }
}

#[test]
fn nothing_foreign_reaches_the_terminal() {
    let (_, hostile) = samples::all().into_iter().find(|(name, _)| *name == "hostile").unwrap();
    let text = text::render(&hostile, Style::plain());
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
    assert!(!text.contains('\u{202e}'));
    let json = json::to_string(&hostile).unwrap();
    assert!(json.chars().all(|c| c == '\n' || !c.is_control()));
}

#[test]
fn prose_keeps_to_the_width() {
    let text = text::render(&samples::inconclusive(), Style::plain().with_width(72));
    // The verdict's line and the commands are for copying.
    let prose = text.lines().skip(1).filter(|line| !line.contains("--"));
    for line in prose {
        assert!(line.chars().count() <= 72, "{line}");
    }
}

#[test]
fn exit_codes() {
    for (report, code) in [
        (samples::matching(), 0),
        (samples::operand(), 1),
        (samples::inconclusive(), 3),
        (samples::contradicted(), 4),
    ] {
        assert_eq!(report.exit_code(), code);
    }
}
