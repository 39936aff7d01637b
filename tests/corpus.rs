//! Every program of the corpus runs in lockstep to its expected end.
//!
//! The expected results were made by other engines (see `corpus/`), so this
//! tests both sides at once: they agree with each other at every boundary, and
//! with the rest of the world at the end.

mod common;

use corpus::{Expected, Program};
use libtest_mimic::{Arguments, Failed, Trial};
use reports::Verdict;

fn main() {
    let arguments = Arguments::from_args();
    let trials = corpus::manifest()
        .into_iter()
        .map(|program| Trial::test(program.name.clone(), move || check(&program)))
        .collect();
    libtest_mimic::run(&arguments, trials).exit();
}

fn check(program: &Program) -> Result<(), Failed> {
    let scratch = common::scratch();
    let mut args = vec!["--break-every-insn".into()];
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
    let live = &report.values.live;
    let all = live.located + live.constant + live.unavailable;
    // 99 in a hundred executed live slots must really have been looked at.
    if live.unavailable * 100 > all {
        return Err(format!("{} of {all} live slots unavailable", live.unavailable).into());
    }
    Ok(())
}
