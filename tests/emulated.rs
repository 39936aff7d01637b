//! Programs of other instruction sets in lockstep, run by qemu's user mode.
//!
//! Each program of the corpus runs to its expected end with a stop at every
//! boundary, nothing wrong; what cannot be run is refused by the name of what it
//! uses. In a plain run each program takes its turn on one of the targets and levels,
//! with `WDIFF_WHOLE=1` each on all of them. A wrong location in the map is found there as it is on x86-64, and what
//! is built for x86-64 alone is refused.

mod common;

use aot_backend::Isa;
use corpus::{Expected, Program};
use libtest_mimic::{Arguments, Failed, Trial};
use reports::{DivergenceKind, Verdict};
use std::ffi::OsString;

/// Those that run, with the optimisation levels that do.
const TARGETS: &[(Isa, &[&str])] = &[
    (Isa::Aarch64, &["none", "speed"]),
    (Isa::Riscv64, &["none", "speed"]),
    (Isa::S390x, &["none", "speed"]),
];

/// Instructions that a program executes at most to be run here: each takes an
/// emulator some ten times what it takes elsewhere.
const MOST_INSTRUCTIONS: u64 = 2000;

/// A store that straddles the end of a memory is executed in part before it
/// faults: qemu makes two of it, as processors may. The trap is the same, the
/// memory is not, and that is found.
const STORED_IN_PART: &[&str] = &["traps/v128-store-straddling"];

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    let ways = TARGETS.iter().map(|(_, levels)| levels.len()).sum();
    let mut way = 0;
    for &(isa, levels) in TARGETS {
        for &opt in levels {
            let short = |program: &Program| {
                program.instructions.is_some_and(|count| count <= MOST_INSTRUCTIONS)
            };
            let programs = corpus::manifest().into_iter().filter(short).enumerate();
            for (number, program) in programs {
                if !common::is_drawn(number, way, ways) {
                    continue;
                }
                let name = format!("{} {opt} {}", isa.name(), program.name);
                trials.push(Trial::test(name, move || runs(&program, isa, opt)));
            }
            way += 1;
        }
        for (program, opt, stable) in [
            ("abort", "speed", "calls"),
            ("control", "speed", "labels"),
            ("typed-refs", "speed", "calls"),
            ("throw-frames", "none", "labels"),
            ("throw-loop", "speed", "labels"),
            // Vectors that are kept on the stack.
            ("vectors", "none", "calls"),
            ("vectors", "speed", "calls"),
        ] {
            let name = format!("{} {opt} {stable} {program}", isa.name());
            let program = corpus::program(program).expect("a program of the corpus");
            trials.push(Trial::test(name, move || {
                holds_its_stable_points(&program, isa, opt, stable)
            }));
        }
        trials.push(Trial::test(format!("{} wrong map", isa.name()), move || wrong_map(isa)));
        trials.push(Trial::test(format!("{} image", isa.name()), move || an_image_runs(isa)));
        trials.push(Trial::test(format!("{} breaks", isa.name()), move || breaks(isa)));
        trials.push(Trial::test(format!("{} refusals", isa.name()), move || refusals(isa)));
    }
    trials.push(Trial::test("a defect of Cranelift", a_defect_of_cranelift));
    trials.push(Trial::test("a defect of the emulator", a_defect_of_the_emulator));
    trials.push(Trial::test("vectors without the extension", vectors_are_an_extension));
    libtest_mimic::run(&arguments, trials).exit();
}

/// What `corpus/found/README.md` says of a compare-and-swap without LSE.
fn a_defect_of_cranelift() -> Result<(), Failed> {
    let program = corpus::path("found/aarch64-cas-loop/aarch64-cas-loop.wat");
    for (cpu, expected) in [("native", 1), ("native,+lse", 0)] {
        for opt in ["none", "speed"] {
            let mut args = vec![program.clone().into_os_string()];
            let options = ["--target", "aarch64", "--opt", opt, "--cpu", cpu, "--invoke", "run"];
            args.extend(options.into_iter().chain(["--", "4294967296"]).map(OsString::from));
            let ran = common::run(&args, common::scratch().path());
            if ran.code != Some(expected) {
                return Err(format!("{cpu} {opt}: {:?} {}", ran.code, ran.stderr).into());
            }
        }
    }
    Ok(())
}

/// qemu 7.2 for riscv64 ends where it meets a rounding conversion of vectors before any other
/// float operation of a block, and has the subject receive the signal. That is no fault of
/// the subject's. Later ones go on.
fn a_defect_of_the_emulator() -> Result<(), Failed> {
    let program = corpus::program("simd-floats")?;
    let scratch = common::scratch();
    let mut args: Vec<OsString> = ["--target", "riscv64"].map(OsString::from).to_vec();
    args.extend(common::arguments(&program, &scratch));
    let ran = common::run(&args, scratch.path());
    match ran.code {
        Some(3) if ran.stderr.contains("qemu-riscv64: a defect of its own:") => Ok(()),
        Some(0) => Ok(()),
        code => Err(format!("{code:?} {}", ran.stderr).into()),
    }
}

/// On riscv64 a CPU may have no vectors; that is said by name.
fn vectors_are_an_extension() -> Result<(), Failed> {
    let program = corpus::program("memories")?;
    let scratch = common::scratch();
    for (cpu, expected) in [("native", 0), ("baseline", 3), ("baseline,+v", 0), ("native,-v", 3)] {
        let options = ["--target", "riscv64", "--cpu", cpu];
        let mut args: Vec<OsString> = options.map(OsString::from).to_vec();
        args.extend(common::arguments(&program, &scratch));
        let ran = common::run(&args, scratch.path());
        let named = ran.stderr.contains("SIMD on riscv64 without the CPU feature v");
        if ran.code != Some(expected) || named != (expected == 3) {
            return Err(format!("{cpu}: {:?} {}", ran.code, ran.stderr).into());
        }
    }
    Ok(())
}

fn runs(program: &Program, isa: Isa, opt: &str) -> Result<(), Failed> {
    let scratch = common::scratch();
    let mut args: Vec<OsString> =
        ["--break-every-insn", "--target", isa.name(), "--opt", opt].map(OsString::from).to_vec();
    args.extend(common::arguments(program, &scratch));
    let ran = common::run(&args, scratch.path());
    if ran.code == Some(3) && ran.stderr.contains(&format!("SIMD on {}", isa.name())) {
        return Ok(());
    }
    let Some(report) = &ran.report else {
        return Err(format!("no report, exit {:?}: {}", ran.code, ran.stderr).into());
    };
    if ran.code == Some(1) && STORED_IN_PART.contains(&program.name.as_str()) {
        let kind = report.divergence.as_ref().map(|found| found.kind);
        return match kind {
            Some(DivergenceKind::Memory) => Ok(()),
            other => Err(format!("{other:?}").into()),
        };
    }
    if ran.code != Some(0) || report.verdict != Verdict::Match {
        let text = reports::text::render(report, reports::Style::plain());
        return Err(format!("exit {:?}\n{text}\n{}", ran.code, ran.stderr).into());
    }
    let stdout = String::from_utf8_lossy(&ran.stdout).into_owned();
    let ended_as_expected = match &program.expected {
        Expected::ExitCode(code) => {
            let expected = program.expected_stdout().map_err(|error| error.to_string())?;
            report.program.exit_code == Some(*code) && ran.stdout == expected
        }
        Expected::Trap(trap) => report.program.trap.as_ref() == Some(trap),
        Expected::Results(values) => {
            stdout == values.iter().map(|value| format!("{value}\n")).collect::<String>()
        }
    };
    if !ended_as_expected {
        return Err(
            format!("{:?} expected: {:?}\n{stdout}", program.expected, report.program).into()
        );
    }
    let subject = &report.subject;
    let is_said =
        subject.target == isa.name() && subject.engine == "rsp" && subject.sandbox == "none";
    if !is_said || report.values.wrong != 0 || report.boundaries.executed != report.boundaries.stops
    {
        return Err(format!("{subject:?} {:?}", report.boundaries).into());
    }
    Ok(())
}

/// Live slots have locations at stable points, all frames unwind, and what the cold
/// paths store is right.
fn holds_its_stable_points(
    program: &Program,
    isa: Isa,
    opt: &str,
    stable: &str,
) -> Result<(), Failed> {
    let scratch = common::scratch();
    let target = ["--target", isa.name(), "--opt", opt, "--stable", stable, "--paranoid"];
    let mut args = target.map(OsString::from).to_vec();
    args.extend(common::arguments(program, &scratch));
    let ran = common::run(&args, scratch.path());
    if ran.code == Some(3) && ran.stderr.contains(&format!("SIMD on {}", isa.name())) {
        return Ok(());
    }
    let Some(report) = &ran.report else {
        return Err(format!("no report, exit {:?}: {}", ran.code, ran.stderr).into());
    };
    let points = &report.stable_points;
    let is_full = points.full == points.executed && points.unavailable_live == 0;
    if report.verdict != Verdict::Match || !is_full || points.witnessed == 0 || points.walks == 0 {
        let text = reports::text::render(report, reports::Style::plain());
        return Err(format!("{points:?}\n{text}\n{}", ran.stderr).into());
    }
    Ok(())
}

fn fib(isa: Isa, more: &[&str]) -> Result<common::Ran, Failed> {
    let program = corpus::program("fib")?;
    let scratch = common::scratch();
    let mut args = vec![program.wasm_path().into_os_string()];
    args.extend(["--target", isa.name()].map(OsString::from));
    args.extend(more.iter().map(OsString::from));
    args.extend(["--invoke", "fib", "--", "7"].map(OsString::from));
    Ok(common::run(&args, scratch.path()))
}

/// A map that names another place for a local is found out.
fn wrong_map(isa: Isa) -> Result<(), Failed> {
    let program = corpus::program("fib")?;
    let module = fs_read(&program)?;
    let options = aot_backend::CompileOptions { isa, ..Default::default() };
    let image = aot_backend::compile(&module, &options).map_err(|error| error.to_string())?;
    let function = image.map.functions.first().ok_or("no function")?;
    let boundary = function.boundaries.get(1).ok_or("no boundary")?;
    let fault = format!("map:#{}:{}:local0", function.func.get(), boundary.offset);
    let ran = fib(isa, &["--inject", &fault])?;
    if ran.code == Some(1) { Ok(()) } else { Err(format!("{:?} {}", ran.code, ran.stderr).into()) }
}

fn fs_read(program: &Program) -> Result<Vec<u8>, Failed> {
    Ok(std::fs::read(program.wasm_path())?)
}

/// Emulated code that halts at some boundaries only.
fn breaks(isa: Isa) -> Result<(), Failed> {
    for place in ["stable", "fib"] {
        let ran = fib(isa, &["--stable", "entry", "--break", place])?;
        let report = ran.report.as_ref().ok_or("no report")?;
        let counts = &report.boundaries;
        if ran.code != Some(0) || counts.stops == 0 || counts.stops > counts.executed {
            return Err(format!("{place}: {:?} {}", ran.code, ran.stderr).into());
        }
        if place == "stable" && counts.stops * 4 > counts.executed {
            return Err(format!("{} of {} halted", counts.stops, counts.executed).into());
        }
    }
    Ok(())
}

/// An image says by itself what it is for.
fn an_image_runs(isa: Isa) -> Result<(), Failed> {
    let program = corpus::program("fib")?;
    let scratch = common::scratch();
    let image = scratch.path().join("image");
    let mut compile = common::wdiff();
    compile.arg("compile").arg(program.wasm_path()).arg("-o").arg(&image);
    compile.args(["--target", isa.name()]);
    let output = compile.output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let args = [image.into_os_string(), "--invoke".into(), "fib".into(), "--".into(), "7".into()];
    let ran = common::run(&args, scratch.path());
    if ran.code == Some(0) && ran.stdout == b"13\n" {
        Ok(())
    } else {
        Err(format!("{:?} {}", ran.code, ran.stderr).into())
    }
}

fn refusals(isa: Isa) -> Result<(), Failed> {
    for (args, name) in [
        (&["--anchors", "srcloc"][..], "--anchors srcloc"),
        (&["--core", "/nowhere/core", "--at", "fib:0x1"], "--core"),
        (&["--inject", "code:fib:0x1:condition"], "--inject"),
        (&["--engine", "probe"], "--engine probe"),
    ] {
        let ran = fib(isa, args)?;
        if ran.code != Some(3) || !ran.stderr.contains(name) {
            return Err(format!("{args:?}: {:?} {}", ran.code, ran.stderr).into());
        }
    }
    Ok(())
}
