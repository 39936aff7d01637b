//! Options of the contract that this version has not built.
//!
//! They are refused by name before anything runs, so that no run silently does
//! less than its command line says.

use crate::cli::{BackendArgs, BisectArgs, Format, MigrateArgs, Opt, RunArgs, WastArgs};
use crate::error::CommandError;
use aot_backend::{Anchors, Isa, StablePoints};
use dwarf_map::{ImageMap, Producer};

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
    let isa = target(args)?;
    if isa == Isa::X86_64 {
        return Ok(());
    }
    if args.anchors == Anchors::Srcloc.name() {
        foreign("--anchors srcloc", isa)?;
    }
    Ok(())
}

/// The instruction set that `--target` names.
///
/// # Errors
/// Any other name.
pub fn target(args: &BackendArgs) -> Result<Isa, CommandError> {
    Isa::from_name(&args.target).ok_or_else(|| {
        let known = Isa::ALL.map(Isa::name).join(", ");
        CommandError::input(format_args!(
            "--target {}: no such value; expected one of {known}",
            args.target
        ))
    })
}

/// Refuses what is made for x86-64 alone.
///
/// # Errors
/// Any other instruction set.
pub fn foreign(what: &str, isa: Isa) -> Result<(), CommandError> {
    if isa == Isa::X86_64 {
        return Ok(());
    }
    Err(CommandError::unsupported(format_args!(
        "{what} for {} is not built yet; this version has it for x86_64",
        isa.name()
    )))
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

/// Checks that there is something for `--opt-of` to compile.
pub fn opt_of(args: &RunArgs, compiled: bool) -> Result<(), CommandError> {
    match &args.opt_of {
        Some(text) if !compiled => Err(CommandError::input(format_args!(
            "--opt-of {text}: an image is compiled already; give the program instead"
        ))),
        _ => Ok(()),
    }
}

/// Checks the options of a bisection. It needs a trap at every boundary, and runs
/// from the beginning to the divergence and no further.
///
/// # Errors
/// What is not built, and what makes no sense.
pub fn bisect(args: &BisectArgs) -> Result<(), CommandError> {
    run(&args.run)?;
    only("anchors", &args.run.backend.anchors, &["trap"], &["srcloc"])?;
    if args.run.core.is_some() {
        return Err(CommandError::input("--core: bisect writes no core; `wdiff run` does"));
    }
    if args.run.opt_of.is_some() {
        return Err(CommandError::input("--opt-of: bisect tries functions apart by itself"));
    }
    Ok(())
}

/// Checks the options of a self-test: its faults are found with a trap at every
/// boundary.
pub fn selftest(args: &BackendArgs) -> Result<(), CommandError> {
    backend(args)?;
    foreign("selftest", target(args)?)?;
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
    sides(&args.backend)?;
    // Its stops are planted once, at the beginning.
    if args.breaks.as_deref() == Some("hand-over") && args.backend.anchors == Anchors::Srcloc.name()
    {
        return Err(CommandError::unsupported(
            "--break hand-over with --anchors srcloc is not built yet; --break stable halts such code at its stable points",
        ));
    }
    Ok(())
}

/// Checks the options of programs that are restored.
///
/// # Errors
/// What is not built.
pub fn sides(args: &BackendArgs) -> Result<(), CommandError> {
    backend(args)?;
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
    foreign("wast", target(&args.backend)?)?;
    paranoid(args.paranoid, args.backend.stable.name())?;
    if args.restore && args.backend.stable < StablePoints::Calls {
        return Err(CommandError::input(
            "--restore: frames that wait in a call are restored at it; use --stable calls or labels",
        ));
    }
    only("engine", &args.engine, &["int3"], &["probe", "rsp"])?;
    only("compare", &args.compare, &["full"], &["changed"])
}

/// CPU features that the emulator has and code may be compiled for, by
/// Cranelift's names; `None`: all that there are.
const fn emulated(isa: Isa) -> Option<&'static [&'static str]> {
    match isa {
        Isa::X86_64 | Isa::Aarch64 => None,
        Isa::Riscv64 => {
            Some(&["m", "a", "f", "d", "zicsr", "zifencei", "zba", "zbb", "zbc", "zbs", "v"])
        }
        Isa::S390x => Some(&["mie2", "vxrs_ext2"]),
    }
}

/// Checks what an image asks of the emulator.
///
/// # Errors
/// CPU features that are not emulated.
pub fn image(producer: &Producer) -> Result<(), CommandError> {
    let isa = producer.target;
    let lacks = |name: &&String| emulated(isa).is_some_and(|known| !known.contains(&name.as_str()));
    if let Some(feature) = producer.cpu_features.iter().find(lacks) {
        return Err(CommandError::unsupported(format_args!(
            "code with the CPU feature {feature} cannot be run: the emulator of {} lacks it",
            isa.name()
        )));
    }
    Ok(())
}

/// Checks what a run asks of an image's instruction set, and the image of the
/// emulator.
///
/// # Errors
/// What is built for x86-64 alone; CPU features that are not emulated.
pub fn run_of(args: &RunArgs, producer: &Producer) -> Result<(), CommandError> {
    image(producer)?;
    let isa = producer.target;
    if isa == Isa::X86_64 {
        return only("engine", &args.engine, &["int3"], &["probe", "rsp"]);
    }
    // A foreign target implies the engine; the default is not asked for.
    only("engine", &args.engine, &["int3", "rsp"], &["probe"])?;
    let code = args.inject.as_ref().is_some_and(|fault| !fault.starts_with("map:"));
    for (option, given) in [
        ("--core", args.core.is_some()),
        ("--inject of faults other than map:FUNC:OFFSET:SLOT", code),
    ] {
        if given {
            foreign(option, isa)?;
        }
    }
    Ok(())
}

/// Checks the options of a run.
pub fn run(args: &RunArgs) -> Result<(), CommandError> {
    backend(&args.backend)?;
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
