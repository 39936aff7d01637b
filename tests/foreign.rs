//! Images for other instruction sets than this machine's.
//!
//! Every program of the corpus compiles for each of them, without optimisation and
//! with, and its map agrees with code, CFI, DWARF and module; or it is refused by
//! the name of what it uses: in a plain run for each target at one level, with or
//! without stable points, in turn; all of it with `WDIFF_WHOLE=1`. What DWARF says is asked of gdb, which knows nothing
//! of the map. All of it without running anything: that is `tests/emulated.rs`.

mod common;

use aot_backend::{CompileOptions, Image, Isa, OptLevel, compile};
use dwarf_map::{Location, SubjectAddr};
use libtest_mimic::{Arguments, Failed, Trial};
use std::fmt::Write;
use std::fs;
use std::process::Command;

const FOREIGN: [Isa; 3] = [Isa::Aarch64, Isa::Riscv64, Isa::S390x];

/// What is refused there, and has to be named.
fn refused(isa: Isa) -> &'static [&'static str] {
    match isa {
        Isa::Riscv64 => &["SIMD", "relaxed SIMD"],
        _ => &["relaxed SIMD"],
    }
}

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    let ways = [("none", "off"), ("speed", "labels"), ("speed", "off"), ("none", "labels")];
    for isa in FOREIGN {
        for (number, program) in corpus::manifest().into_iter().enumerate() {
            for (way, (opt, stable)) in ways.into_iter().enumerate() {
                if !common::is_drawn(number, way, ways.len()) {
                    continue;
                }
                let name = format!("{} {opt} {}, stable points {stable}", isa.name(), program.name);
                let program = program.clone();
                trials.push(Trial::test(name, move || {
                    passes_the_checker(&program, isa, opt, stable)
                }));
            }
        }
        for (program, opt) in [("quicksort", OptLevel::Speed), ("floats", OptLevel::None)] {
            let name = format!("gdb {} {} {program}", isa.name(), opt.name());
            trials.push(Trial::test(name, move || gdb_reads_the_same(program, isa, opt)));
        }
        let name = format!("disassembly {}", isa.name());
        trials.push(Trial::test(name, move || shows_native_code(isa)));
    }
    libtest_mimic::run(&arguments, trials).exit();
}

fn passes_the_checker(
    program: &corpus::Program,
    isa: Isa,
    opt: &str,
    stable: &str,
) -> Result<(), Failed> {
    let mut command = common::wdiff();
    command.arg("map").arg(program.wasm_path()).args(["--check", "--opt", opt, "--stable", stable]);
    let output = command.args(["--target", isa.name()]).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    match output.status.code() {
        Some(0) if out.contains(", 0 violations") => {
            // Rules that nobody decides are named, with their places.
            let said = out.contains("cfi-frame: not decided at ")
                && out.contains("cfi-saved: not decided at ");
            if said { Ok(()) } else { Err(out.into()) }
        }
        Some(3) if refused(isa).iter().any(|feature| err.contains(&format!("{feature} on"))) => {
            Ok(())
        }
        code => Err(format!("exit {code:?}\n{out}\n{err}").into()),
    }
}

/// An image on disk, and what it was made of.
fn image(program: &str, isa: Isa, opt: OptLevel, path: &std::path::Path) -> Result<Image, Failed> {
    let program = corpus::program(program)?;
    let wasm = fs::read(program.wasm_path())?;
    let options = CompileOptions {
        isa,
        opt,
        debug_info: true,
        program: "program.wasm".into(),
        listing_dir: "/nowhere".into(),
        listing_file: "program.lst".into(),
        ..CompileOptions::default()
    };
    let image = compile(&wasm, &options).map_err(|error| error.to_string())?;
    fs::write(path, &image.elf)?;
    Ok(image)
}

/// Boundaries that gdb is asked about, spread over the program.
const BOUNDARIES: usize = 30;

/// gdb finds the line of each boundary, and each local where the map has it.
fn gdb_reads_the_same(program: &str, isa: Isa, opt: OptLevel) -> Result<(), Failed> {
    let scratch = common::scratch();
    let path = scratch.path().join("image");
    let image = image(program, isa, opt, &path)?;
    let all: Vec<_> = image
        .map
        .functions
        .iter()
        .flat_map(|function| function.boundaries.iter().map(move |boundary| (function, boundary)))
        .filter(|(_, boundary)| boundary.anchor.pc().is_some())
        .collect();
    let step = (all.len() / BOUNDARIES).max(1);
    let mut script = String::new();
    let mut asked = Vec::new();
    for (function, boundary) in all.into_iter().step_by(step) {
        let pc = boundary.anchor.pc().expect("filtered").at(image.text_address);
        writeln!(script, "echo @@@\\n\ninfo line *{pc}\ninfo scope *{pc}")?;
        asked.push((function, boundary, pc));
    }
    let commands = scratch.path().join("commands");
    fs::write(&commands, script)?;
    let output = Command::new("gdb-multiarch")
        .args(["--nx", "--batch", "-x"])
        .arg(&commands)
        .arg(&path)
        .output()
        .map_err(|error| format!("gdb-multiarch (Debian package gdb-multiarch): {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let answers: Vec<&str> = text.split("@@@\n").skip(1).collect();
    if answers.len() != asked.len() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{} answers for {}\n{errors}", answers.len(), asked.len()).into());
    }
    let mut compared = 0;
    for (answer, (function, boundary, pc)) in answers.into_iter().zip(asked) {
        let line = image.listing.line_of(boundary.offset).ok_or("a boundary without a line")?;
        if !answer.contains(&format!("Line {line} of \"program.lst\"")) {
            return Err(format!("{pc}: expected line {line}: {answer}").into());
        }
        for (index, location) in boundary.locations.iter().take(function.locals.len()).enumerate() {
            // Names that the module gives are looked at by the checker.
            let name = format!("Symbol local{index} is ");
            let Some((_, about)) = answer.split_once(&name) else { continue };
            let about = about.split("Symbol ").next().unwrap_or(about);
            compared += usize::from(agrees(isa, about, pc, *location)?);
        }
    }
    if compared < 10 {
        return Err(format!("only {compared} locations compared").into());
    }
    Ok(())
}

/// Whether gdb's words about a variable, at a PC, are the map's location; `false`
/// where the map has none or the words are of a kind that is not compared.
fn agrees(isa: Isa, about: &str, pc: SubjectAddr, location: Location) -> Result<bool, Failed> {
    let range = about.lines().find(|line| {
        let bounds = line.trim().strip_prefix("Range ").and_then(|rest| rest.split_once(':'));
        let bounds = bounds.and_then(|(bounds, _)| bounds.split_once('-'));
        let number =
            |text: &str| u64::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok();
        bounds.is_some_and(|(from, to)| {
            number(from).is_some_and(|from| from <= pc.get())
                && number(to).is_some_and(|to| pc.get() < to)
        })
    });
    let expected = match location {
        Location::Register(register) => {
            let name = isa.register_name(register).ok_or("a register without a name")?;
            // gdb has its own names for some.
            let name = match (isa, name.as_str()) {
                (Isa::Riscv64, "s0") => "fp".to_owned(),
                (Isa::Riscv64, float) if isa.vector_register(register).is_some() => {
                    let number: u8 = float[1..].parse()?;
                    match number {
                        0..=7 => format!("ft{number}"),
                        8 | 9 => format!("fs{}", number - 8),
                        10..=17 => format!("fa{}", number - 10),
                        18..=27 => format!("fs{}", number - 16),
                        _ => format!("ft{}", number - 20),
                    }
                }
                (Isa::S390x, float) if isa.vector_register(register).is_some_and(|n| n < 16) => {
                    format!("f{}", &float[1..])
                }
                _ => name,
            };
            format!("a variable in ${name}")
        }
        Location::CfaOffset(offset) => format!("{offset}"),
        Location::Unavailable(_) => {
            return match range {
                None => Ok(false),
                Some(range) => Err(format!("{pc}: nothing by the map, {range}").into()),
            };
        }
        _ => return Ok(false),
    };
    match range {
        Some(range) if range.contains(&expected) => Ok(true),
        found => Err(format!("{pc}: {location:?} by the map, by gdb {found:?} of {about}").into()),
    }
}

/// The listing of a function has native code in the terms of its instruction set.
fn shows_native_code(isa: Isa) -> Result<(), Failed> {
    let program = corpus::program("fib")?;
    let mut command = common::wdiff();
    command.arg("map").arg(program.wasm_path()).args(["--target", isa.name(), "--func", "fib"]);
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (trap, add) = match isa {
        Isa::Aarch64 => ("brk #0xf000", "add w"),
        Isa::Riscv64 => ("ebreak", "addw "),
        _ => (".byte [00, 01]", "ar %r"),
    };
    if output.status.success()
        && text.contains(trap)
        && text.contains(add)
        && text.contains("local0 i32")
    {
        Ok(())
    } else {
        Err(format!("{:?}\n{text}", output.status).into())
    }
}
