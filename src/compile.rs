//! `wdiff compile`: an image, and its listing beside it.

use crate::cli::CompileArgs;
use crate::error::CommandError;
use crate::{program, refuse, run};
use std::path::PathBuf;

/// Runs the subcommand.
///
/// # Errors
/// Bad input; what is not supported; files that cannot be written.
pub fn main(args: &CompileArgs) -> Result<u8, CommandError> {
    refuse::backend(&args.backend)?;
    let program = program::load(&args.program)?;
    if program.image.is_some() {
        return Err(CommandError::input(format_args!(
            "{} is an image already",
            args.program.display()
        )));
    }
    let listing = listing_path(&args.output);
    let mut options = run::options(&program, &args.backend, true)?;
    options.set_listing_path(&listing);
    let image = run::compile_with(&program, &options)?;
    write(&args.output, &image.elf)?;
    write(&listing, image.listing_text(&program.wasm).as_bytes())?;
    Ok(0)
}

/// Where the listing of an image goes.
pub fn listing_path(image: &std::path::Path) -> PathBuf {
    let mut name = image.as_os_str().to_owned();
    name.push(".lst");
    PathBuf::from(name)
}

fn write(path: &std::path::Path, bytes: &[u8]) -> Result<(), CommandError> {
    std::fs::write(path, bytes).map_err(|e| CommandError::file("write", path, e))
}
