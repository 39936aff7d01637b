//! `wdiff explain`: what a name in a report means.

use crate::cli::ExplainArgs;
use crate::error::CommandError;
use reports::explain;
use std::io::Write;

/// Columns of prose.
const WIDTH: usize = 92;

/// Runs the subcommand.
///
/// # Errors
/// A name that is in no report.
pub fn main(args: &ExplainArgs) -> Result<u8, CommandError> {
    let mut out = std::io::stdout().lock();
    let Some(code) = &args.code else {
        let mut family = "";
        for entry in explain::all() {
            if entry.family != family {
                family = entry.family;
                let _ = writeln!(out, "{family}");
            }
            let _ = writeln!(out, "  {:<22} {}", entry.code, entry.title);
        }
        return Ok(0);
    };
    let found = explain::find(code);
    if found.is_empty() {
        return Err(CommandError::input(format_args!(
            "{}: no such name; `wdiff explain` lists them",
            code.escape_debug()
        )));
    }
    for (number, entry) in found.iter().enumerate() {
        let gap = if number > 0 { "\n" } else { "" };
        let _ = writeln!(out, "{gap}{}: {}", entry.code, entry.family);
        for text in [entry.title, entry.text] {
            let _ = writeln!(out);
            for line in wrapped(text) {
                let _ = writeln!(out, "  {line}");
            }
        }
    }
    Ok(0)
}

fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("begins with a line");
        if !line.is_empty() && line.len() + 1 + word.len() > WIDTH {
            lines.push(word.to_string());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}
