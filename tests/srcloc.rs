//! Code as it ships (`--anchors srcloc`), in lockstep.

mod common;

use reports::Verdict;
use std::ffi::OsString;
use std::time::Duration;
use wdiff::inject::CodeFault;

const LEVELS: [&str; 2] = ["none", "speed"];

/// Every program of the corpus ends as other engines say, both sides agree at
/// every anchor, and one executed boundary in five has one.
#[test]
fn the_corpus_agrees() {
    for (opt, least) in LEVELS.into_iter().zip([25, 15]) {
        let (mut executed, mut stops, mut programs) = (0, 0, 0);
        for program in corpus::manifest() {
            let scratch = common::scratch();
            let mut args: Vec<OsString> =
                ["--anchors", "srcloc", "--opt", opt].map(OsString::from).into();
            args.extend(common::arguments(&program, &scratch));
            let ran = common::run(&args, scratch.path());
            if ran.code == Some(3) && ran.stderr.contains("exceptions in code as it ships") {
                continue;
            }
            let name = &program.name;
            let report = ran.report.unwrap_or_else(|| panic!("{name} {opt}: {}", ran.stderr));
            let text = reports::text::render(&report, reports::Style::plain());
            assert_eq!(report.verdict, Verdict::Match, "{name} {opt}\n{text}");
            if program.invoke.is_none() {
                let expected = program.expected_stdout().expect("in the corpus");
                assert!(ran.stdout == expected, "{name} {opt}: another output");
            }
            executed += report.boundaries.executed;
            stops += report.boundaries.stops;
            programs += 1;
        }
        println!(
            "opt {opt}: {programs} programs, {executed} boundaries executed, {:.1} % of them anchored",
            100.0 * stops as f64 / executed as f64
        );
        assert!(stops * 100 >= executed * least);
    }
}

/// Faults in the native code between two anchors show at the second one, or at
/// a call, a trap or the end.
#[test]
fn faults_in_the_code_are_caught() {
    let file = common::corpus_file("quicksort/quicksort.wasm");
    for opt in LEVELS {
        let (mut injected, mut caught) = (0, 0);
        let kinds = [
            CodeFault::Operation,
            CodeFault::Condition,
            CodeFault::Operand,
            CodeFault::Constant,
            CodeFault::Displacement,
        ];
        // Instructions of the function that sorts.
        for offset in (0x35b_u32..0x3d0).step_by(3) {
            let kind = kinds[(offset / 3) as usize % kinds.len()].name();
            let mut command = common::wdiff();
            command.args(["run", "--anchors", "srcloc", "--opt", opt, "--max-stops", "20000"]);
            command.arg("--inject").arg(format!("code:sort:{offset:#x}:{kind}")).arg(&file);
            let ran = common::within(command, Duration::from_secs(60));
            match ran.code {
                // No such instruction, or none that can be changed so.
                Some(2) => continue,
                Some(1) => caught += 1,
                _ => {}
            }
            injected += 1;
        }
        println!("opt {opt}: {caught} of {injected} faults caught");
        assert!(injected >= 3 && caught * 10 >= injected * 6, "{opt}: {caught} of {injected}");
    }
}

/// A place that has no anchor cannot be stopped at, and that is said.
#[test]
fn breaks() {
    let file = common::corpus_file("quicksort/quicksort.wasm");
    let run = |place: &str| {
        let mut command = common::wdiff();
        command.args(["run", "--anchors", "srcloc", "--break", place]).arg(&file);
        common::within(command, Duration::from_secs(60))
    };
    let ran = run("sort");
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stderr.contains("match: "), "{}", ran.stderr);
    // `block`, of which there is no code.
    let ran = run("sort:0x35b");
    let says = ran.stderr.contains("has no place in this code") || ran.stderr.contains("match: ");
    assert!(says, "{}", ran.stderr);
    let ran = run("sort:0x35d");
    assert!(ran.stderr.contains("has no place in this code"), "{}", ran.stderr);
    assert_eq!(ran.code, Some(2));
}

/// A NaN that nobody saw is counted.
#[test]
fn nans_that_nobody_sees_are_counted() {
    let scratch = common::scratch();
    let file = scratch.path().join("nan.wat");
    let text = r#"(module (func (export "f") (param f64) (result f64)
        local.get 0 f64.const inf f64.sub f64.const 1 f64.add f64.neg))"#;
    std::fs::write(&file, text).expect("written");
    for opt in LEVELS {
        let args = ["--anchors", "srcloc", "--opt", opt, "--invoke", "f"];
        let mut args: Vec<OsString> = args.map(OsString::from).into();
        args.extend([file.clone().into(), "--".into(), "inf".into()]);
        let ran = common::run(&args, scratch.path());
        let report = ran.report.unwrap_or_else(|| panic!("{}", ran.stderr));
        assert_eq!(report.verdict, Verdict::Match, "{opt}: {}", ran.stderr);
        let seen = report.adoptions.keys().any(|name| name.starts_with("nan_"));
        assert!(seen, "{opt}: {:?}", report.adoptions);
    }
}
