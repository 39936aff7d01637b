//! `wdiff compile`: an image, and its listing beside it.

use crate::cli::CompileArgs;
use crate::error::CommandError;
use crate::{program, refuse, run};
use aot_backend::CompileOptions;
use std::path::{Path, PathBuf};

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
    set_listing(&mut options, &listing);
    let image = run::compile_with(&program, &options)?;
    write(&args.output, &image.elf)?;
    write(&listing, image.listing.text().as_bytes())?;
    Ok(0)
}

/// Tells the backend where the listing will lie, for the line table.
pub fn set_listing(options: &mut CompileOptions, listing: &Path) {
    let absolute = std::path::absolute(listing).unwrap_or_else(|_| listing.to_owned());
    let text = |part: Option<&std::ffi::OsStr>| {
        part.map(|part| part.to_string_lossy().into_owned()).unwrap_or_default()
    };
    options.listing_dir = text(absolute.parent().map(Path::as_os_str));
    options.listing_file = text(absolute.file_name());
}

/// Where the listing of an image goes.
pub fn listing_path(image: &Path) -> PathBuf {
    let mut name = image.as_os_str().to_owned();
    name.push(".lst");
    PathBuf::from(name)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), CommandError> {
    std::fs::write(path, bytes).map_err(|e| CommandError::file("write", path, e))
}
