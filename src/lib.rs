//! The command `wdiff`: everything that puts the crates of the workspace
//! together.
//!
//! [`lockstep`] holds the subject against the oracle; the other modules are
//! one per subcommand and what those share. The binary in `main.rs` only
//! calls [`main`].
#![forbid(unsafe_code)]

pub mod availability;
pub mod bisect;
pub mod cli;
pub mod compile;
pub mod core_file;
pub mod describe;
pub mod disasm;
pub mod error;
pub mod explain;
pub mod fuzz;
pub mod gate;
pub mod inject;
pub mod invoke;
pub mod lockstep;
pub mod manual;
pub mod map;
pub mod merge;
pub mod migrate;
pub mod output;
pub mod program;
pub mod refuse;
pub mod run;
pub mod selftest;
pub mod session;
pub mod snapshot;
pub mod source;
pub mod wast;
pub mod watch;
pub mod witness;
pub mod world;

use clap::Parser;
use clap::error::ErrorKind;
use cli::{Cli, Command, ReportCommand};
use error::CommandError;
use std::process::ExitCode;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    gate::die_with_parent();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output and are no error.
            if !error.use_stderr()
                || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            {
                let _ = error.print();
                return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
            }
            let error = usage(&error);
            output::complain(&error);
            return ExitCode::from(error.exit_code());
        }
    };
    let result = match cli.command {
        Command::Run(args) => run::main(&args),
        Command::Compile(args) => compile::main(&args),
        Command::Map(args) => map::main(&args),
        Command::Wast(args) => wast::main(&args),
        Command::Selftest(args) => selftest::main(&args),
        Command::Fuzz(args) => fuzz::main(&args),
        Command::Gate(args) => gate::main(&args),
        Command::Report(ReportCommand::Merge(args)) => merge::main(&args),
        Command::Explain(args) => explain::main(&args),
        Command::Manual(args) => manual::main(&args),
        Command::Migrate(args) => migrate::main(&args),
        Command::Bisect(args) => bisect::main(&args),
        Command::Snapshot(args) => snapshot::main(&args),
        Command::Other(words) => Err(other(&words)),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            output::complain(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// A usage error in one line: what the parser says in a paragraph, and its tip.
fn usage(error: &clap::Error) -> CommandError {
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with("Usage:") || line.starts_with("For more information") {
            break;
        }
        if !line.is_empty() {
            lines.push(line);
        }
    }
    CommandError::input(format_args!(
        "{}; `wdiff --help` and `wdiff run --help` list the options",
        lines.join("; ").replace(":; ", ": ").replace("; [", " [")
    ))
}

fn other(words: &[std::ffi::OsString]) -> CommandError {
    let name = words.first().map(|word| word.to_string_lossy()).unwrap_or_default();
    if cli::NOT_BUILT.contains(&name.as_ref()) {
        return CommandError::unsupported(format_args!(
            "wdiff {name} is not built yet; this version has run, compile, map, wast, gate, report, selftest, fuzz, migrate, bisect, snapshot, explain"
        ));
    }
    CommandError::input(format_args!("{name}: no such subcommand; `wdiff --help` lists them"))
}
