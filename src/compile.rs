//! `wdiff compile`: an image, and its listing beside it.

use crate::cli::{CompileArgs, Opt, Stored};
use crate::error::CommandError;
use crate::inject::Fault;
use crate::lockstep::stops::parse_function;
use crate::program::Program;
use crate::{output, program, refuse, run};
use aot_backend::{CompileOptions, OptLevel};
use clap::ValueEnum;
use std::path::{Path, PathBuf};
use wasm_view::FuncIdx;

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
    options.compress = args.compress_debug_sections == Stored::Zlib;
    options.apart = apart(args.opt_of.as_deref(), &program)?;
    let mut image = run::compile_with(&program, &options)?;
    if let Some(text) = &args.inject {
        let fault = Fault::parse(text, &program.module, &image)?;
        if !matches!(fault, Fault::Code { .. } | Fault::Every { .. } | Fault::Instantiate { .. }) {
            return Err(CommandError::input(format_args!(
                "--inject {text}: an image has room for faults in its code; `wdiff run` takes this one"
            )));
        }
        let injected = fault.inject(&mut image)?;
        output::note(&format!("injected {fault}: {}", injected.change));
    }
    write(&args.output, &image.elf)?;
    write(&listing, image.listing.text().as_bytes())?;
    Ok(0)
}

/// Reads `--opt-of`.
///
/// # Errors
/// Unknown functions and levels.
pub fn apart(
    text: Option<&str>,
    program: &Program,
) -> Result<Option<(FuncIdx, OptLevel)>, CommandError> {
    let Some(text) = text else { return Ok(None) };
    let level = text.rsplit_once(':').and_then(|(func, level)| {
        let level = Opt::value_variants().iter().find(|opt| opt.as_str() == level)?;
        Some((func, level.level()))
    });
    let Some((func, level)) = level else {
        return Err(CommandError::input(format_args!(
            "--opt-of {text}: expected FUNC:LEVEL with LEVEL one of none, speed, speed_and_size"
        )));
    };
    let func = parse_function(func, &program.module).map_err(|error| error.about("--opt-of"))?;
    Ok(Some((func, level)))
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
