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
        Format::Html => reports::html::render(report).map_err(CommandError::bug)?,
        Format::Junit => reports::junit::render(report),
        Format::Sarif => reports::sarif::render(report, &find_source).map_err(CommandError::bug)?,
        Format::Markdown => reports::markdown::render(report),
        Format::Text => {
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

/// A source file that debug information names: as it is, or beside the program,
/// where compilers that are called there have it.
fn find_source(program: &str, file: &str) -> Option<String> {
    let beside = Path::new(program).parent()?.join(file.trim_start_matches("./"));
    let found = [Path::new(file), beside.as_path()].into_iter().find(|path| path.is_file())?;
    Some(found.to_str()?.to_string())
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
