//! gdb as an independent witness of what the image's DWARF and the cores say.
//!
//! The oracle runs a program alone and, at boundaries spread over the run,
//! notes all its frames. A lockstep run writes a core at each of them. gdb,
//! knowing nothing but image and core, shows frames, lines and variables:
//! whatever value it shows must be the oracle's, bit for bit, or be optimised
//! out; and it must show every value for which the map has a location.

#[path = "../common/mod.rs"]
mod common;
mod oracle;
mod source;
mod witness;

use aot_backend::OptLevel;
use libtest_mimic::{Arguments, Failed, Trial};
use std::process::Command;

/// A program of the corpus and how it is looked at.
struct Subject {
    name: &'static str,
    opt: OptLevel,
    /// Whether the run stops everywhere, or only where cores are written.
    /// Between distant stops a deep stack is unwound anew each time.
    every: bool,
    /// Boundaries at which it is looked at, spread over the run.
    boundaries: usize,
}

/// Boundaries at which most programs are looked at.
const FEW: usize = 20;
/// Boundaries of optimised code, whose variables come and go.
const MANY: usize = 1000;

const fn subject(name: &'static str, opt: OptLevel) -> Subject {
    Subject { name, opt, every: false, boundaries: FEW }
}

/// A program at speed, stopped everywhere, and looked at often.
const fn at_length(name: &'static str) -> Subject {
    Subject { name, opt: OptLevel::Speed, every: true, boundaries: MANY }
}

/// C without and with optimisation, floats and NaNs, deep recursion, calls
/// through tables, vectors, many results, parameters and locals, references,
/// names that need care.
const SUBJECTS: &[Subject] = &[
    subject("quicksort-o0", OptLevel::None),
    subject("n-body", OptLevel::None),
    at_length("n-body"),
    at_length("quicksort"),
    at_length("sha256"),
    at_length("string-hash"),
    at_length("vm"),
    // NaNs: only a run that stops everywhere adopts the subject's.
    Subject { name: "floats", opt: OptLevel::None, every: true, boundaries: FEW },
    Subject { name: "floats", opt: OptLevel::Speed, every: true, boundaries: FEW },
    Subject { name: "chain", opt: OptLevel::None, every: true, boundaries: FEW },
    subject("dispatch", OptLevel::None),
    subject("dispatch", OptLevel::Speed),
    subject("vectors", OptLevel::None),
    subject("vectors", OptLevel::Speed),
    subject("multi-results", OptLevel::None),
    subject("many-params", OptLevel::Speed),
    subject("many-locals", OptLevel::None),
    subject("tables", OptLevel::None),
    subject("names", OptLevel::None),
    // Frames that exceptions have passed, references to exceptions.
    subject("throw-frames", OptLevel::Speed),
    subject("throw-rethrow", OptLevel::None),
];

const _: () = assert!(SUBJECTS.len() >= 5 && SUBJECTS.len() * FEW >= 100);

fn main() {
    let arguments = Arguments::from_args();
    let mut trials: Vec<Trial> = SUBJECTS
        .iter()
        .map(|subject| {
            let opt = if subject.opt == OptLevel::None { "none" } else { "speed" };
            let name = format!("{} {opt}", subject.name);
            Trial::test(name, move || have_gdb().and_then(|()| witness::compare(subject)))
        })
        .collect();
    for opt in ["none", "speed"] {
        let name = format!("original source {opt}");
        trials.push(Trial::test(name, move || have_gdb().and_then(|()| source::compare(opt))));
    }
    trials.push(Trial::test("by hand", || have_gdb().and_then(|()| by_hand())));
    libtest_mimic::run(&arguments, trials).exit();
}

fn have_gdb() -> Result<(), Failed> {
    match Command::new("gdb").arg("--version").output() {
        Ok(output) if output.status.success() => Ok(()),
        _ => Err("gdb is missing, and nothing is shown without it: apt-get install gdb".into()),
    }
}

/// What a person would type: a core from the command, then gdb on both files.
fn by_hand() -> Result<(), Failed> {
    let scratch = common::scratch();
    let core = scratch.path().join("core");
    let mut args: Vec<std::ffi::OsString> = vec!["--core".into(), core.clone().into()];
    args.extend(["--at", "chain:0x91#5"].map(Into::into));
    let program = corpus::program("chain").map_err(|error| error.to_string())?;
    args.extend(common::arguments(&program, &scratch));
    let ran = common::run(&args, scratch.path());
    if ran.code != Some(0) {
        return Err(format!("exit {:?}: {}", ran.code, ran.stderr).into());
    }
    let image = scratch.path().join("core.image");
    let output = Command::new("gdb")
        .args(["-nx", "-batch", "-ex", "bt", "-ex", "info args", "-ex", "info locals"])
        .args(["-ex", "list", "-ex", "up", "-ex", "info locals"])
        // A word of zeroes, which the core holds as a hole.
        .args(["-ex", "x/1gx 0x1000000018"])
        .arg(&image)
        .arg(&core)
        .output()?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let listing = format!("{}.lst", image.display());
    let expected = [
        format!("#0  chain (n=1996) at {listing}:48\n"),
        format!("in chain (n=<optimized out>) at {listing}:61\n"),
        "x = 0\n".into(),
        "stack0_i64 = 1996\n".into(),
        "stack1_i64 = 4294967297\n".into(),
        "48\t    i64.mul\n".into(),
        "61\t    call $chain\n".into(),
        "stack0_f64 = 1997\n".into(),
        "stack1_f64 = 499.25\n".into(),
        "0x1000000018:\t0x0000000000000000\n".into(),
    ];
    let missing: Vec<&String> = expected.iter().filter(|line| !stdout.contains(*line)).collect();
    if !missing.is_empty() || !stderr.trim().is_empty() || stdout.contains("warning") {
        return Err(format!("missing {missing:?} in\n{stdout}\n{stderr}").into());
    }
    Ok(())
}
