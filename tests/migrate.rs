//! Programs handed from one executor to the next: they do what they did, every
//! view is the same before and after, and what is done wrong while restoring is
//! seen at that hand-over. Sides of other instruction sets are run by qemu's user mode.

mod common;

use corpus::{Expected, Program};
use libtest_mimic::{Arguments, Failed, Trial};
use reports::{Report, Verdict};
use std::ffi::OsString;
use std::process::Output;

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for (seed, program) in corpus::quick().into_iter().enumerate() {
        let name = format!("{} relay", program.name);
        let relay = "oracle,x86_64:speed,x86_64:none";
        trials.push(Trial::test(name, move || check(&program, relay, seed)));
    }
    for (seed, program) in FOREIGN.into_iter().enumerate() {
        for relay in [
            "oracle,x86_64:speed,aarch64:none,s390x:speed",
            "aarch64:speed,riscv64:speed,s390x:none",
        ] {
            // Its module has vectors, which riscv64 has not.
            if program == "throw-frames" && relay.contains("riscv64") {
                continue;
            }
            let name = format!("{program} {relay}");
            let program = corpus::manifest().into_iter().find(|each| each.name == program);
            let program = program.expect("a program of the corpus");
            trials.push(Trial::test(name, move || check(&program, relay, seed)));
        }
    }
    trials.push(Trial::test("every stable point", every));
    trials.push(Trial::test("faults are caught at the hand-over", faults));
    trials.push(Trial::test("snapshots", snapshots));
    trials.push(Trial::test("what is not built is named", refused));
    libtest_mimic::run(&arguments, trials).exit();
}

/// Programs that are handed across instruction sets.
const FOREIGN: [&str; 7] =
    ["abort", "control", "tables", "multi-results", "many-params", "throw-frames", "typed-refs"];

fn demand(holds: bool, what: impl FnOnce() -> String) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(what().into()) }
}

/// `wdiff migrate` with a report.
fn migrate(args: &[OsString]) -> Result<(Output, Report), Failed> {
    let scratch = common::scratch();
    let file = scratch.path().join("report.json");
    let mut command = common::wdiff();
    command.arg("migrate").args(["--format", "json", "--output"]).arg(&file).args(args);
    let output = command.output()?;
    let text = std::fs::read_to_string(&file).map_err(|error| {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        format!("{args:?}: no report ({error}), exit {:?}: {said}", output.status.code())
    })?;
    Ok((output, reports::json::from_str(&text)?))
}

fn check(program: &Program, relay: &str, seed: usize) -> Result<(), Failed> {
    let scratch = common::scratch();
    let mut args: Vec<OsString> = ["--relay", relay, "--random"].map(Into::into).to_vec();
    args.push(seed.to_string().into());
    args.extend(common::arguments(program, &scratch));
    let (output, report) = migrate(&args)?;
    let section = report.migration.as_ref().ok_or("no section migration")?;
    let early = section.hand_overs == 0 && report.verdict == Verdict::Inconclusive;
    if report.verdict != Verdict::Match && !early {
        return Err(reports::text::render(&report, reports::Style::plain()).into());
    }
    let instantiation = report.program.trap.is_some() && section.unmigrated.is_none();
    demand(section.unmigrated == Some(true) || instantiation, || format!("{section:?}"))?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    match &program.expected {
        Expected::ExitCode(code) => {
            demand(report.program.exit_code == Some(*code), || {
                format!("exit code {:?}", report.program.exit_code)
            })?;
            let expected = program.expected_stdout().map_err(|error| error.to_string())?;
            demand(stdout == String::from_utf8_lossy(&expected), || stdout.to_string())
        }
        Expected::Trap(trap) => demand(report.program.trap.as_ref() == Some(trap), || {
            format!("trap {:?}", report.program.trap)
        }),
        Expected::Results(values) => {
            let lines: String = values.iter().map(|value| format!("{value}\n")).collect();
            demand(stdout == lines, || stdout.to_string())
        }
    }
}

fn named(name: &str, scratch: &tempfile::TempDir) -> Vec<OsString> {
    let program = corpus::manifest().into_iter().find(|program| program.name == name);
    common::arguments(&program.expect("a program of the corpus"), scratch)
}

/// Not one of them is passed by.
fn every() -> Result<(), Failed> {
    let scratch = common::scratch();
    let (_, plain) = {
        let mut args: Vec<OsString> =
            ["--stable", "calls", "--opt", "speed"].map(Into::into).to_vec();
        args.extend(named("abort", &scratch));
        let ran = common::run(&args, scratch.path());
        (ran.code, ran.report.ok_or("no report")?)
    };
    let mut args: Vec<OsString> = ["--relay", "x86_64:speed,x86_64:none"].map(Into::into).to_vec();
    args.extend(named("abort", &common::scratch()));
    let (_, report) = migrate(&args)?;
    let section = report.migration.ok_or("no section")?;
    demand(section.hand_overs == plain.stable_points.executed, || {
        format!("{} hand-overs, {} stable points", section.hand_overs, plain.stable_points.executed)
    })
}

fn faults() -> Result<(), Failed> {
    let (mut effective, mut caught) = (0, 0);
    for (number, name) in ["n-queens", "linked-list", "vm", "floats"].into_iter().enumerate() {
        for kind in ["flip", "swap", "stale", "order", "frame"] {
            for seed in 0..4_u32 {
                let scratch = common::scratch();
                let seed = seed * 31 + number as u32;
                let at = format!("{}", 40 + 17 * seed);
                let fault = format!("restore:{kind}:{seed}");
                let relay = if seed.is_multiple_of(2) {
                    "x86_64:speed,x86_64:none"
                } else {
                    "oracle,x86_64:speed"
                };
                let options = ["--relay", relay, "--at", &at, "--inject", &fault];
                let mut args: Vec<OsString> = options.map(Into::into).to_vec();
                args.extend(named(name, &scratch));
                let (output, report) = migrate(&args)?;
                let section = report.migration.as_ref().ok_or("no section")?;
                if section.fault.is_none() {
                    continue;
                }
                effective += 1;
                let found = report.divergence.as_ref();
                let found = found.ok_or_else(|| format!("{name} {fault}: {section:?} missed"))?;
                demand(output.status.code() == Some(1) && section.hand_overs == 1, || {
                    format!("{name} {fault}: {:?} {section:?}", output.status.code())
                })?;
                // At the very boundary that was restored.
                demand(found.boundary_index == 0, || format!("{name} {fault}: {found:?}"))?;
                caught += 1;
            }
        }
    }
    demand(effective >= 40 && caught == effective, || format!("{caught} of {effective}"))
}

fn snapshots() -> Result<(), Failed> {
    let scratch = common::scratch();
    let file = |name: &str| scratch.path().join(name);
    for (at, name) in [("50", "a"), ("51", "b"), ("50", "c")] {
        let mut args: Vec<OsString> =
            ["--relay", "x86_64:speed,oracle", "--at", at, "--save"].map(Into::into).to_vec();
        args.push(file(name).into());
        args.extend(named("n-queens", &common::scratch()));
        migrate(&args)?;
    }
    let ask = |args: &[&std::ffi::OsStr]| -> Result<(Option<i32>, String), Failed> {
        let output = common::wdiff().arg("snapshot").args(args).output()?;
        let text = [output.stdout, output.stderr].concat();
        Ok((output.status.code(), String::from_utf8_lossy(&text).into_owned()))
    };
    let (a, b, c) = (file("a"), file("b"), file("c"));
    let (code, text) = ask(&["show".as_ref(), a.as_ref()])?;
    demand(code == Some(0) && text.contains("frame 0"), || text.clone())?;
    let (code, text) = ask(&["diff".as_ref(), a.as_ref(), c.as_ref()])?;
    demand(code == Some(0), || text.clone())?;
    let (code, text) = ask(&["diff".as_ref(), a.as_ref(), b.as_ref()])?;
    demand(code == Some(1), || text.clone())?;
    let own = corpus::path("programs/n-queens/n-queens.wasm");
    let other = corpus::path("programs/fib/fib.wasm");
    let (code, text) = ask(&["check".as_ref(), a.as_ref(), own.as_ref()])?;
    demand(code == Some(0) && text.contains("can be resumed"), || text.clone())?;
    let (code, text) = ask(&["check".as_ref(), a.as_ref(), other.as_ref()])?;
    demand(code == Some(2) && text.contains("another program"), || text.clone())?;
    let mut bytes = std::fs::read(&a)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&b, &bytes)?;
    let (code, text) = ask(&["check".as_ref(), b.as_ref()])?;
    demand(code == Some(2) && text.contains("damaged"), || text.clone())
}

fn refused() -> Result<(), Failed> {
    let quicksort = corpus::path("programs/quicksort/quicksort.wasm");
    for (relay, code, what) in [
        ("x86_64:speed,mips:none", 2, "no such side"),
        ("oracle,oracle", 2, "hands nothing over"),
        ("x86_64:fast", 2, "no such side"),
    ] {
        let mut command = common::wdiff();
        let output = command.args(["migrate", "--relay", relay]).arg(&quicksort).output()?;
        let text = String::from_utf8_lossy(&output.stderr);
        demand(output.status.code() == Some(code) && text.contains(what), || text.to_string())?;
    }
    Ok(())
}
