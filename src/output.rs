//! Where reports and complaints go.

use crate::cli::Format;
use crate::error::CommandError;
use reports::{Report, Style};
use std::io::Write;
use std::path::Path;

/// One complaint on standard error.
pub fn complain(error: &CommandError) {
    let kind = match error {
        CommandError::Input { .. } => "error",
        CommandError::Inconclusive { .. } => "inconclusive",
        CommandError::Bug { .. } => "bug",
    };
    let _ = writeln!(std::io::stderr(), "wdiff: {kind}: {error}");
}

/// A remark on standard error.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "wdiff: {text}");
}

/// Writes a report to its place.
///
/// # Errors
/// A file that cannot be written.
pub fn report(report: &Report, format: Format, to: Option<&Path>) -> Result<(), CommandError> {
    let text = match format {
        Format::Json => reports::json::to_string(report).map_err(CommandError::bug)? + "\n",
        _ => {
            let style = match to {
                Some(_) => Style::plain(),
                None => Style::for_stream(&std::io::stderr()),
            };
            reports::text::render(report, style)
        }
    };
    match to {
        Some(path) => std::fs::write(path, text).map_err(|e| CommandError::file("write", path, e)),
        None => {
            // A closed standard error is nobody's error.
            let _ = std::io::stderr().write_all(text.as_bytes());
            Ok(())
        }
    }
}

/// Checks, before a long run, that the report can be written where it is to go.
///
/// # Errors
/// A directory that is not there or not writable.
pub fn probe(to: Option<&Path>) -> Result<(), CommandError> {
    let Some(path) = to else { return Ok(()) };
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map(drop)
        .map_err(|e| CommandError::file("write", path, e))
}
