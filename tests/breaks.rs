//! Stops at some boundaries only: the same results, fewer stops.

mod common;

use corpus::{Expected, Program};
use libtest_mimic::{Arguments, Failed, Trial};
use reports::{Report, Verdict};
use std::ffi::OsString;

fn main() {
    let arguments = Arguments::from_args();
    let mut trials: Vec<Trial> = corpus::quick()
        .into_iter()
        .map(|program| Trial::test(program.name.clone(), move || check(&program)))
        .collect();
    trials.push(Trial::test("frames left and entered between stops", frames));
    trials.push(Trial::test("a free NaN between stops", free_nan));
    trials.push(Trial::test("a fault found between stops", exact));
    trials.push(Trial::test("endless recursion", recursion));
    libtest_mimic::run(&arguments, trials).exit();
}

/// A run with these stops; it must match and end as the program must.
fn run(program: &Program, breaks: &[String]) -> Result<Report, Failed> {
    let scratch = common::scratch();
    let mut args: Vec<OsString> = Vec::new();
    for place in breaks {
        args.extend(["--break".into(), place.into()]);
    }
    args.extend(common::arguments(program, &scratch));
    let ran = common::run(&args, scratch.path());
    let who = format!("{} with --break {breaks:?}", program.name);
    let Some(report) = ran.report else {
        return Err(format!("{who}: exit {:?}: {}", ran.code, ran.stderr).into());
    };
    if ran.code != Some(0) || report.verdict != Verdict::Match {
        let text = reports::text::render(&report, reports::Style::plain());
        return Err(format!("{who}: exit {:?}\n{text}\n{}", ran.code, ran.stderr).into());
    }
    let stdout = String::from_utf8_lossy(&ran.stdout).into_owned();
    let (expected, actual) = match &program.expected {
        Expected::ExitCode(code) => {
            let text = program.expected_stdout().map_err(|error| error.to_string())?;
            let text = String::from_utf8_lossy(&text).into_owned();
            ((Some(*code), None, text), (report.program.exit_code, None, stdout))
        }
        Expected::Trap(trap) => (
            (None, Some(trap.clone()), String::new()),
            (None, report.program.trap.clone(), String::new()),
        ),
        Expected::Results(values) => {
            let lines = values.iter().map(|value| format!("{value}\n")).collect();
            ((None, None, lines), (None, None, stdout))
        }
    };
    if expected != actual {
        return Err(format!("{who}: expected {expected:?}, got {actual:?}").into());
    }
    Ok(report)
}

/// Functions of the program and the boundaries of one of them, by `wdiff map`.
fn map(program: &Program, func: Option<&str>) -> Vec<String> {
    let mut command = common::wdiff();
    command.arg("map").arg(program.wasm_path());
    if let Some(func) = func {
        command.args(["--func", func]);
    }
    let output = command.output().expect("wdiff starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let first = |line: &str| line.split_whitespace().next().map(str::to_string);
    let lines = text.lines().filter(|line| !line.ends_with("eliminated"));
    if func.is_some() {
        lines.filter(|line| line.starts_with("0x")).filter_map(first).collect()
    } else {
        lines.skip_while(|line| !line.contains("boundaries")).skip(1).filter_map(first).collect()
    }
}

fn check(program: &Program) -> Result<(), Failed> {
    let every = run(program, &[])?;
    let executed = every.boundaries.executed;
    let stable = run(program, &["stable".into()])?;
    let fewer = |report: &Report, what: &str| {
        if report.boundaries.executed != executed {
            let got = report.boundaries.executed;
            return Err(Failed::from(format!("{what}: {got} executed, not {executed}")));
        }
        if report.boundaries.stops > executed {
            return Err(format!("{what}: {} stops", report.boundaries.stops).into());
        }
        if report.host_calls != every.host_calls || report.program != every.program {
            return Err(
                format!("{what}: {:?} instead of {:?}", report.program, every.program).into()
            );
        }
        Ok(())
    };
    fewer(&stable, "stable")?;
    // Every stable point that is executed is a stop, and a NaN is one too.
    let met = stable.boundaries.stops;
    let points = every.stable_points.executed;
    if met < points || stable.stable_points.executed != points || (executed > 20 && met >= executed)
    {
        return Err(format!("{met} stops for {points} stable points of {executed}").into());
    }

    let functions = map(program, None);
    if functions.is_empty() {
        return Err("the map lists no functions".into());
    }
    // The first, one in the middle, the last.
    let some = [&functions[0], &functions[functions.len() / 2], &functions[functions.len() - 1]];
    let mut places = Vec::new();
    for func in some {
        let offsets = map(program, Some(func));
        if let Some(offset) = offsets.get(offsets.len() / 2) {
            places.push(format!("{func}:{offset}"));
        }
    }
    let function = run(program, std::slice::from_ref(some[1]))?;
    fewer(&function, "a function")?;
    fewer(&run(program, &places)?, "boundaries")?;
    let mut all = vec!["stable".to_string(), some[1].clone()];
    all.extend(places);
    let together = run(program, &all)?;
    fewer(&together, "all of them")?;
    if together.boundaries.stops < met.max(function.boundaries.stops) {
        return Err("stops are lost when places are given together".into());
    }
    Ok(())
}

/// Runs a program in text form.
fn run_text(text: &str, options: &[&str]) -> common::Ran {
    let scratch = common::scratch();
    let file = scratch.path().join("program.wat");
    std::fs::write(&file, text).expect("a file");
    let mut args: Vec<OsString> = options.iter().map(OsString::from).collect();
    args.insert(0, file.into());
    common::run(&args, scratch.path())
}

#[track_caller]
fn expect(ran: &common::Ran, code: i32) -> Result<&Report, Failed> {
    match &ran.report {
        Some(report) if ran.code == Some(code) => Ok(report),
        report => {
            let text = report.as_ref().map(|r| reports::text::render(r, reports::Style::plain()));
            Err(format!("exit {:?}: {}\n{}", ran.code, ran.stderr, text.unwrap_or_default()).into())
        }
    }
}

/// `stop` is reached through frames of the same size and depth that are not the
/// same, directly and one call deeper.
fn frames() -> Result<(), Failed> {
    const TEXT: &str = r#"(module
      (func $stop (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
      (func $one (param i32) (result i32) (i32.mul (call $stop (local.get 0)) (i32.const 3)))
      (func $two (param i32) (result i32) (i32.mul (call $stop (local.get 0)) (i32.const 5)))
      (func $deep (param i32) (result i32) (call $one (call $two (local.get 0))))
      (func $down (param i32) (result i32)
        (if (result i32) (local.get 0)
          (then (i32.add (call $down (i32.sub (local.get 0) (i32.const 1))) (call $two (local.get 0))))
          (else (call $stop (i32.const 7)))))
      (func (export "_start")
        (drop (call $one (i32.const 1)))
        (drop (call $two (i32.const 2)))
        (drop (call $deep (i32.const 3)))
        (drop (call $down (i32.const 20)))
        (drop (call $stop (i32.const 4)))
        (drop (call $down (i32.const 3)))))"#;
    let wasm = wat::parse_str(TEXT).expect("a program");
    let body = [0x20, 0, 0x41, 1, 0x6a];
    let at = wasm.windows(body.len()).position(|bytes| bytes == body).expect("the function");
    // 30 calls, four boundaries.
    for (place, stops) in [("stop".to_string(), 120), (format!("stop:{at}"), 30)] {
        let options = ["--break", &place];
        let ran = run_text(TEXT, &options);
        let report = expect(&ran, 0)?;
        if report.boundaries.stops != stops {
            let got = report.boundaries.stops;
            return Err(format!("{got} stops with {options:?}, not {stops}").into());
        }
    }
    Ok(())
}

/// NaNs of whatever payload arise between stops, and are looked at.
fn free_nan() -> Result<(), Failed> {
    const TEXT: &str = r#"(module
      (memory 1)
      (func $idle)
      (func $sum (param f64 f64) (result f64) (f64.add (local.get 0) (local.get 1)))
      (func (export "_start") (local $i i32) (local $x f64)
        (loop
          ;; A number nineteen times, then NaNs of several kinds.
          (local.set $x (call $sum (f64.convert_i32_s (local.get $i)) (f64.const 0.5)))
          (if (i32.gt_s (local.get $i) (i32.const 18)) (then
            (local.set $x (call $sum (f64.const nan:0x4000000000001) (f64.const nan:0x8000000000002)))
            (f64.store (i32.const 0) (f64.div (f64.const 0) (f64.const 0)))
            (f64.store (i32.const 8) (f64.sqrt (f64.const -1)))
            (f64.store (i32.const 16) (f64.min (local.get $x) (f64.const nan:0x8000000000003)))))
          (f64.store (i32.const 24) (local.get $x))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br_if 0 (i32.lt_s (local.get $i) (i32.const 40))))))"#;
    let ran = run_text(TEXT, &["--break", "idle"]);
    let report = expect(&ran, 0)?;
    // Four NaNs in each of the last 21 rounds, and not one number.
    if report.boundaries.stops != 84 {
        return Err(format!("{} stops instead of 84 NaNs", report.boundaries.stops).into());
    }
    // The `end` behind the addition is come by without it thirty times.
    const JOINED: &str = r#"(module
      (func $idle)
      (func (export "_start") (local $i i32)
        (loop
          (f64.convert_i32_s (local.get $i))
          (if (param f64) (result f64) (i32.gt_s (local.get $i) (i32.const 29))
            (then (f64.add (f64.const nan))))
          (drop)
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br_if 0 (i32.lt_s (local.get $i) (i32.const 32))))))"#;
    let ran = run_text(JOINED, &["--break", "idle"]);
    let report = expect(&ran, 0)?;
    if report.boundaries.stops != 2 {
        return Err(format!("{} stops instead of 2 NaNs", report.boundaries.stops).into());
    }
    Ok(())
}

/// What goes wrong far from any stop is found by a replay with all of them.
fn exact() -> Result<(), Failed> {
    const TEXT: &str = r#"(module
      (memory 1)
      (func $idle)
      (func $value (param i32) (result i32) (i32.add (local.get 0) (i32.const 5)))
      (func (export "_start") (local $i i32)
        (loop
          (i32.store (i32.const 16) (call $value (local.get $i)))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br_if 0 (i32.lt_s (local.get $i) (i32.const 40))))
        (call $idle)))"#;
    let wasm = wat::parse_str(TEXT).expect("a program");
    // local.get 0, i32.const 5, i32.add
    let at = wasm.windows(5).position(|bytes| bytes == [0x20, 0, 0x41, 5, 0x6a]);
    let at = at.expect("the function") + 4;
    let fault = format!("code:value:{at}:displacement");
    let ran = run_text(TEXT, &["--inject", &fault, "--break", "idle"]);
    let report = expect(&ran, 1)?;
    let found = report.divergence.as_ref().ok_or("no divergence")?;
    if found.name.as_deref() != Some("value") {
        let text = reports::text::render(report, reports::Style::plain());
        return Err(format!("not found where it arose\n{text}").into());
    }
    Ok(())
}

/// With a stop at each entry the stack's end is accounted for; without any it
/// cannot be, and that is said.
fn recursion() -> Result<(), Failed> {
    const TEXT: &str = r#"(module
      (func $idle)
      (func $again (param i32) (result i32)
        (i32.add (call $again (i32.add (local.get 0) (i32.const 1))) (local.get 0)))
      (func (export "_start") (drop (call $again (i32.const 0)))))"#;
    let ran = run_text(TEXT, &["--break", "stable"]);
    let report = expect(&ran, 0)?;
    if report.program.trap.as_deref() != Some("call stack exhausted") {
        return Err(format!("{:?}", report.program).into());
    }
    let ran = run_text(TEXT, &["--break", "idle"]);
    let report = expect(&ran, 3)?;
    let why = report.inconclusive.as_ref().ok_or("no reason")?;
    if !why.detail.contains("--break-every-insn") {
        return Err(why.detail.clone().into());
    }
    Ok(())
}
