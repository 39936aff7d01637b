//! Every program of the corpus runs in lockstep to its expected end, without
//! optimisation and with.
//!
//! The expected results were made by other engines (see `corpus/`), so this
//! tests both sides at once: they agree with each other at every boundary, and
//! with the rest of the world at the end.
//!
//! How much was looked at is demanded too: without optimisation of each program
//! nearly all that is live, with it 95 in a hundred live slots of the whole
//! corpus, 60 of them not just derived from others.

mod common;

use corpus::{Expected, Program};
use libtest_mimic::{Arguments, Failed, Trial};
use reports::{Live, Verdict};
use std::sync::Mutex;

/// Live slots seen at speed: by how many programs, and how.
static SPEED: Mutex<(usize, Live)> =
    Mutex::new((0, Live { located: 0, derived: 0, constant: 0, unavailable: 0 }));

fn main() {
    let arguments = Arguments::from_args();
    let programs = corpus::manifest();
    let count = programs.len();
    let trials = programs
        .into_iter()
        .flat_map(|program| {
            ["none", "speed"].map(|opt| {
                let program = program.clone();
                let name = format!("{} {opt}", program.name);
                Trial::test(name, move || check(&program, opt))
            })
        })
        .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    conclusion.exit_if_failed();
    let (ran, live) = *SPEED.lock().expect("no trial panics while it counts");
    let all = live.located + live.derived + live.constant + live.unavailable;
    println!(
        "live slots at speed, {ran} of {count} programs: {} located, {} derived, {} constant, {} \
         unavailable",
        live.located, live.derived, live.constant, live.unavailable
    );
    // Of a few chosen programs it may be otherwise.
    if ran == count {
        assert!(live.unavailable * 100 <= all * 5, "too many are unavailable");
        assert!((live.located + live.constant) * 100 >= all * 60, "too many are derived");
    }
}

fn check(program: &Program, opt: &str) -> Result<(), Failed> {
    let scratch = common::scratch();
    let mut args = vec!["--break-every-insn".into(), "--opt".into(), opt.into()];
    args.extend(common::arguments(program, &scratch));
    let ran = common::run(&args, scratch.path());
    let Some(report) = &ran.report else {
        return Err(format!("no report, exit {:?}: {}", ran.code, ran.stderr).into());
    };
    if ran.code != Some(0) || report.verdict != Verdict::Match {
        let text = reports::text::render(report, reports::Style::plain());
        return Err(format!("exit {:?}\n{text}\n{}", ran.code, ran.stderr).into());
    }
    let same = |what: &str, expected: String, actual: String| {
        if expected == actual {
            Ok(())
        } else {
            Err(Failed::from(format!("{what}: expected {expected}, got {actual}")))
        }
    };
    let stdout = String::from_utf8_lossy(&ran.stdout).into_owned();
    match &program.expected {
        Expected::ExitCode(code) => {
            same(
                "exit code",
                format!("{:?}", Some(*code)),
                format!("{:?}", report.program.exit_code),
            )?;
            let expected = program.expected_stdout().map_err(|error| error.to_string())?;
            same("stdout", String::from_utf8_lossy(&expected).into_owned(), stdout)?;
        }
        Expected::Trap(trap) => {
            same("trap", trap.clone(), report.program.trap.clone().unwrap_or_default())?;
        }
        Expected::Results(values) => {
            let lines: String = values.iter().map(|value| format!("{value}\n")).collect();
            same("results", lines, stdout)?;
        }
    }
    same("wrong values", "0".into(), report.values.wrong.to_string())?;
    let boundaries = &report.boundaries;
    same("executed = stops", boundaries.executed.to_string(), boundaries.stops.to_string())?;
    let live = report.values.live;
    if opt == "speed" {
        let mut speed = SPEED.lock().expect("no trial panics while it counts");
        let (ran, sum) = &mut *speed;
        *ran += 1;
        sum.located += live.located;
        sum.derived += live.derived;
        sum.constant += live.constant;
        sum.unavailable += live.unavailable;
        return Ok(());
    }
    let all = live.located + live.derived + live.constant + live.unavailable;
    // 99 in a hundred executed live slots must really have been looked at.
    if live.unavailable * 100 > all {
        return Err(format!("{} of {all} live slots unavailable", live.unavailable).into());
    }
    Ok(())
}
