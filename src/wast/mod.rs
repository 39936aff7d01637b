//! `wdiff wast`: scripts of the specification's test suite.
//!
//! Each file is run in a store of its own. In lockstep, the modules of a script
//! are instances of one subject that call and share as the script links them
//! (`plan`), and every call is executed by AOT code beside the oracle
//! (`drive`). The report adds up all files; the first difference between
//! the two sides ends the run, and so does nothing else: assertions that fail
//! although both sides agree are listed with their places and are a divergence
//! of kind `exit` in the end. What was not run makes the run inconclusive.
//!
//! With `--oracle-only` the oracle runs alone, one instruction at a time, with
//! its invariants checked at every boundary; an assertion that does not hold is
//! a difference between the oracle and the specification: exit code 1.

mod drive;
mod plan;
mod report;

use crate::cli::{Format, WastArgs};
use crate::error::CommandError;
use crate::lockstep::stops::{Control, Phase};
use crate::{output, refuse, run, watch};
use aot_backend::Restorable;
use oracle_interp::Module;
use oracle_interp::script::{self, Stepping, Tally};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use wasmparser::WasmFeatures;

/// Runs the subcommand.
///
/// # Errors
/// Files that cannot be read, and what is not built.
pub fn main(args: &WastArgs) -> Result<u8, CommandError> {
    let features = match args.standard {
        Some(1) => WasmFeatures::WASM1,
        Some(2) => WasmFeatures::WASM2,
        Some(_) => WasmFeatures::WASM3,
        None => Module::FEATURES,
    };
    if args.oracle_only {
        return oracle_only(args, features);
    }
    refuse::wast(args)?;
    output::probe(args.output.as_deref())?;
    let control = Control::new();
    let report = watch::supervise(&control, args.timeout, || lockstep(args, features, &control))?;
    output::report(&report, args.format, args.output.as_deref())?;
    Ok(report.exit_code())
}

/// All files in lockstep, on the tracing thread.
fn lockstep(
    args: &WastArgs,
    features: WasmFeatures,
    control: &Arc<Control>,
) -> Result<reports::Report, CommandError> {
    let injection = args.inject.as_deref().map(plan::Injection::parse).transpose()?;
    let mut collected = report::Collected::new(args);
    for path in &args.files {
        let text = read(path)?;
        let file = path.display().to_string();
        let mut options = run::options_for(path, &args.backend, false)?;
        options.dump_state = args.paranoid;
        if args.restore {
            options.restorable = Restorable::All;
        }
        control.enter(Phase::Preparing);
        let plan = plan::plan(&options, features, &file, &text, injection.as_ref())?;
        let script = drive::Script {
            file: &file,
            text: &text,
            features,
            plan: &plan,
            max_stops: args.max_stops,
            paranoid: args.paranoid,
            restore: args.restore,
            functions: args.functions || args.format == Format::Html,
        };
        control.enter(Phase::Comparing);
        if !collected.run(path, &script, control)? {
            break;
        }
    }
    Ok(collected.finish())
}

fn oracle_only(args: &WastArgs, features: WasmFeatures) -> Result<u8, CommandError> {
    let mut total = Tally::default();
    for path in &args.files {
        let script = read(path)?;
        let tally = script::run(&mut Stepping, features, &path.display().to_string(), &script);
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

/// The text of a script.
fn read(path: &Path) -> Result<String, CommandError> {
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
    Ok(script)
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
