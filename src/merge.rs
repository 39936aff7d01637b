//! `wdiff report merge`: the shards of a gate in one report. A single report of
//! any kind is shown in another form.

use crate::cli::MergeArgs;
use crate::error::CommandError;
use crate::output;
use reports::Report;
use std::path::Path;

/// Runs the subcommand.
///
/// # Errors
/// Files that are no reports, and reports that do not belong together.
pub fn main(args: &MergeArgs) -> Result<u8, CommandError> {
    let mut all = args.files.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    let report = if all.len() == 1 && all[0].gate.is_none() {
        all.remove(0)
    } else {
        reports::gate::merge(all).map_err(|error| {
            let files: Vec<String> = args.files.iter().map(|f| f.display().to_string()).collect();
            CommandError::input(format_args!("{error} (of {})", files.join(", ")))
        })?
    };
    output::report(&report, args.format, args.output.as_deref())?;
    Ok(report.exit_code())
}

/// Reads a JSON report.
///
/// # Errors
/// A file that is none.
pub fn read(path: &Path) -> Result<Report, CommandError> {
    let text =
        std::fs::read_to_string(path).map_err(|error| CommandError::file("read", path, error))?;
    reports::json::from_str(&text)
        .map_err(|error| CommandError::input(format_args!("{}: {error}", path.display())))
}
