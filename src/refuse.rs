//! Options of the contract that this version has not built.
//!
//! They are refused by name before anything runs, so that no run silently does
//! less than its command line says.

use crate::cli::{BackendArgs, Format, MigrateArgs, Opt, RunArgs, WastArgs};
use crate::error::CommandError;
use aot_backend::StablePoints;
use dwarf_map::ImageMap;

/// Accepts the one value that is built, refuses the contract's other values as
/// unsupported and anything else as a usage error.
fn only(option: &str, value: &str, built: &[&str], contract: &[&str]) -> Result<(), CommandError> {
    if built.contains(&value) {
        Ok(())
    } else if contract.contains(&value) {
        Err(CommandError::unsupported(format_args!(
            "--{option} {value} is not built yet; this version has --{option} {}",
            built.join("|")
        )))
    } else {
        Err(CommandError::input(format_args!(
            "--{option} {value}: no such value; expected one of {}, {}",
            built.join(", "),
            contract.join(", ")
        )))
    }
}

/// Checks the options that select a compiler.
pub fn backend(args: &BackendArgs) -> Result<(), CommandError> {
    only("backend", &args.backend, &["cranelift"], &["wasmtime", "wamr", "wanco", "llvm"])?;
    only("anchors", &args.anchors, &["trap", "srcloc"], &[])?;
    only("target", &args.target, &["x86_64"], &["aarch64", "riscv64", "s390x"])
}

/// Checks that there is something for `--paranoid` to run.
pub fn paranoid(asked: bool, stable: &str) -> Result<(), CommandError> {
    if asked && stable == StablePoints::Off.name() {
        return Err(CommandError::input(
            "--paranoid runs the cold paths of stable points; this has none, see --stable",
        ));
    }
    Ok(())
}

/// Checks that the cold paths of an image store what `--paranoid` compares.
pub fn paranoid_image(asked: bool, map: &ImageMap) -> Result<(), CommandError> {
    let mut points = map.functions.iter().flat_map(|function| &function.stable_points);
    match points.find(|point| !point.stores) {
        Some(point) if asked => Err(CommandError::input(format_args!(
            "--paranoid compares what cold paths store, and the one of {} in this image stores only \
             what its map could not tell without; give the program instead of the image",
            point.offset
        ))),
        _ => Ok(()),
    }
}

/// Checks the options of a self-test: its faults are found with a trap at every
/// boundary.
pub fn selftest(args: &BackendArgs) -> Result<(), CommandError> {
    backend(args)?;
    only("anchors", &args.anchors, &["trap"], &["srcloc"])
}

/// Checks the format of a self-test's report, which is about faults and not about
/// a program.
pub fn selftest_format(format: Format) -> Result<(), CommandError> {
    match format {
        Format::Text | Format::Json => Ok(()),
        Format::Html | Format::Junit | Format::Sarif | Format::Markdown => {
            Err(CommandError::unsupported(format_args!(
                "--format {} is not built yet for selftest; it has --format text|json",
                format!("{format:?}").to_lowercase()
            )))
        }
    }
}

/// Checks the options of a relay: its sides have traps and a level each.
///
/// # Errors
/// What is not built.
pub fn migrate(args: &MigrateArgs) -> Result<(), CommandError> {
    sides(&args.backend)
}

/// Checks the options of programs that are restored.
///
/// # Errors
/// What is not built.
pub fn sides(args: &BackendArgs) -> Result<(), CommandError> {
    backend(args)?;
    only("anchors", &args.anchors, &["trap"], &["srcloc"])?;
    only("target", &args.target, &["x86_64"], &["aarch64", "riscv64", "s390x"])?;
    if args.opt != Opt::None {
        return Err(CommandError::input("--opt: the sides say it, as in x86_64:speed"));
    }
    Ok(())
}

/// Checks the options of a run of scripts.
///
/// # Errors
/// What is not built.
pub fn wast(args: &WastArgs) -> Result<(), CommandError> {
    backend(&args.backend)?;
    paranoid(args.paranoid, args.backend.stable.name())?;
    if args.restore {
        if args.backend.stable < StablePoints::Calls {
            return Err(CommandError::input(
                "--restore: frames that wait in a call are restored at it; use --stable calls or labels",
            ));
        }
        only("anchors", &args.backend.anchors, &["trap"], &["srcloc"])?;
    }
    only("engine", &args.engine, &["int3"], &["probe", "rsp"])?;
    only("compare", &args.compare, &["full"], &["changed"])
}

/// Checks the options of a run.
pub fn run(args: &RunArgs) -> Result<(), CommandError> {
    backend(&args.backend)?;
    only("engine", &args.engine, &["int3"], &["probe", "rsp"])?;
    only("compare", &args.compare, &["full"], &["changed"])?;
    if args.sample.is_some() {
        return Err(CommandError::unsupported(
            "--sample is not built yet; every boundary is compared",
        ));
    }
    if args.from_boundary.is_some() {
        return Err(CommandError::unsupported(
            "--from-boundary is not built yet; comparison begins at the first boundary",
        ));
    }
    Ok(())
}
