//! `wdiff manual DIR`: man pages and shell completions, made from the command
//! line's own definition, so that they cannot say anything else.

use crate::cli::{Cli, ManualArgs};
use crate::error::CommandError;
use clap::CommandFactory;
use clap_complete::Shell;
use std::path::Path;

/// Shells that completions are written for.
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

/// Runs the subcommand.
///
/// # Errors
/// A directory that cannot be written.
pub fn main(args: &ManualArgs) -> Result<u8, CommandError> {
    let (pages, completions) = (args.directory.join("man1"), args.directory.join("completions"));
    for directory in [&pages, &completions] {
        std::fs::create_dir_all(directory)
            .map_err(|error| CommandError::file("create", directory, error))?;
    }
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error: std::io::Error| CommandError::file("write", &path, error)
    };
    clap_mangen::generate_to(Cli::command(), &pages).map_err(failed(&pages))?;
    for shell in SHELLS {
        clap_complete::generate_to(shell, &mut Cli::command(), "wdiff", &completions)
            .map_err(failed(&completions))?;
    }
    Ok(0)
}
