//! The JSON form of a report, schema `wdiff-report/1` (`docs/report.md`).
//!
//! What is written is what the model says, keys in the documented order, two
//! spaces of indentation, a final newline. What is read may come from anybody:
//! a report that is not JSON, lacks a key, has a value of another form or
//! contradicts itself is an error. Keys that are not known are skipped, so that
//! a later wdiff may add some.

use crate::check;
use crate::model::Report;
use crate::printable::escape_json;

/// Why a text is not a report, or a report cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// Not JSON, or not of the schema's form. The message ends in line and
    /// column.
    #[error("not a report of schema wdiff-report/1: {0}")]
    Form(#[source] serde_json::Error),
    /// Of the right form, but its parts contradict each other.
    #[error("the report contradicts itself: {0}")]
    Contradiction(String),
    /// The report could not be written as JSON.
    #[error("the report cannot be written as JSON: {0}")]
    Write(#[source] serde_json::Error),
}

/// The report as JSON text that ends in a newline.
pub fn to_string(report: &Report) -> Result<String, JsonError> {
    let mut text = serde_json::to_string_pretty(report).map_err(JsonError::Write)?;
    text.push('\n');
    Ok(escape_json(text))
}

/// Reads a report and checks it (see [`crate::check`]).
pub fn from_str(text: &str) -> Result<Report, JsonError> {
    let report: Report = serde_json::from_str(text).map_err(JsonError::Form)?;
    check::report(&report).map_err(JsonError::Contradiction)?;
    Ok(report)
}
