//! `wdiff wast`: scripts of the specification's test suite.
//!
//! Each file is run in a store of its own, one instruction at a time with the
//! interpreter's invariants checked at every boundary. An assertion that does
//! not hold is a difference between the oracle and the specification: exit
//! code 1. What could not be tried makes the run inconclusive.

use crate::cli::WastArgs;
use crate::error::CommandError;
use oracle_interp::Module;
use oracle_interp::script::{self, Stepping, Tally};
use std::io::Write;
use std::path::Path;
use wasmparser::WasmFeatures;

/// Runs the subcommand.
///
/// # Errors
/// Files that cannot be read, and everything but `--oracle-only`.
pub fn main(args: &WastArgs) -> Result<u8, CommandError> {
    if !args.oracle_only {
        return Err(CommandError::unsupported(
            "scripts in lockstep are not built yet; with --oracle-only they run on the oracle",
        ));
    }
    let features = match args.standard {
        Some(1) => WasmFeatures::WASM1,
        Some(2) => WasmFeatures::WASM2,
        Some(_) => WasmFeatures::WASM3,
        None => Module::FEATURES,
    };
    let mut total = Tally::default();
    for path in &args.files {
        let tally = run_file(path, features)?;
        say(&format!("{}: {}", path.display(), summary(&tally)))?;
        for failure in &tally.failures {
            say(&format!("  {failure}"))?;
        }
        for (what, count) in &tally.unsupported {
            say(&format!("  not tried: {count} with {what}"))?;
        }
        total.add(tally);
    }
    if args.files.len() > 1 {
        say(&format!("{} files: {}", args.files.len(), summary(&total)))?;
    }
    Ok(if !total.failures.is_empty() {
        1
    } else if !total.unsupported.is_empty() {
        3
    } else {
        0
    })
}

fn run_file(path: &Path, features: WasmFeatures) -> Result<Tally, CommandError> {
    let bytes = std::fs::read(path).map_err(|e| CommandError::file("read", path, e))?;
    let script = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        CommandError::input(format_args!(
            "{}: not a script: no UTF-8 text at byte offset {at}",
            path.display()
        ))
    })?;
    script::parse(&script)
        .map_err(|error| CommandError::input(format_args!("{}{error}", path.display())))?;
    Ok(script::run(&mut Stepping, features, &path.display().to_string(), &script))
}

fn summary(tally: &Tally) -> String {
    let mut parts = vec![format!("{} assertions hold", tally.passed)];
    let mut part = |count: usize, what: &str| {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    };
    part(tally.failures.len(), "fail");
    part(tally.unsupported.values().map(|count| *count as usize).sum(), "not tried");
    part(tally.text_format as usize, "about the text format");
    part(tally.superseded as usize, "superseded by later versions");
    parts.join(", ")
}

fn say(line: &str) -> Result<(), CommandError> {
    writeln!(std::io::stdout(), "{line}").map_err(CommandError::host)
}
