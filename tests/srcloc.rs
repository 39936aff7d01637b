//! Code as it ships (`--anchors srcloc`), in lockstep.

mod common;

use reports::Verdict;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;
use wdiff::inject::code::CodeFault;

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

/// Offsets of the boundaries of a function that have a place in the code.
fn anchored(file: &Path, func: &str, options: &[&str]) -> Vec<String> {
    let mut command = common::wdiff();
    command.arg("map").arg(file).args(["--anchors", "srcloc", "--func", func]).args(options);
    let map = String::from_utf8(command.output().expect("a map").stdout).expect("text");
    let lines = map.lines().filter(|line| line.starts_with("0x"));
    let words = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    let placed = words.filter(|words| !["merged", "threaded", "eliminated"].contains(&words[1]));
    placed.map(|words| words[0].to_owned()).collect()
}

/// Faults in the native code between two anchors show at the second one, or at
/// a call, a trap or the end.
#[test]
fn faults_in_the_code_are_caught() {
    let file = common::corpus_file("programs/quicksort/quicksort.wasm");
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
        let offsets = anchored(&file, "sort", &["--opt", opt]);
        for (number, offset) in offsets.iter().enumerate() {
            // Each kind in turn, or the next one that can be done there.
            for turn in number..number + kinds.len() {
                let kind = kinds[turn % kinds.len()].name();
                let mut command = common::wdiff();
                command.args(["run", "--anchors", "srcloc", "--opt", opt, "--max-stops", "20000"]);
                command.arg("--inject").arg(format!("code:sort:{offset}:{kind}")).arg(&file);
                match common::within(command, Duration::from_secs(60)).code {
                    Some(2) => continue,
                    Some(1) => caught += 1,
                    _ => println!("opt {opt}: {kind} at {offset} was not caught"),
                }
                injected += 1;
                break;
            }
        }
        println!("opt {opt}: {caught} of {injected} faults caught");
        assert!(injected >= 15 && caught * 10 >= injected * 8, "{opt}: {caught} of {injected}");
    }
}

/// A place that has no anchor cannot be stopped at, and that is said.
#[test]
fn breaks() {
    let file = common::corpus_file("programs/quicksort/quicksort.wasm");
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

/// Every value that is live at a stable point is compared, and what the cold
/// path stores is the same, in code without traps too.
#[test]
fn stable_points_are_full() {
    for (number, program) in corpus::quick().into_iter().enumerate() {
        let choices =
            [("none", "calls"), ("speed", "labels"), ("speed", "calls"), ("none", "loops")];
        let (opt, stable) = choices[number % choices.len()];
        let scratch = common::scratch();
        let options = ["--anchors", "srcloc", "--opt", opt, "--stable", stable, "--paranoid"];
        let mut args: Vec<OsString> = options.map(OsString::from).into();
        args.extend(common::arguments(&program, &scratch));
        let ran = common::run(&args, scratch.path());
        let name = &program.name;
        let report = ran.report.unwrap_or_else(|| panic!("{name} {opt}: {}", ran.stderr));
        let text = reports::text::render(&report, reports::Style::plain());
        assert_eq!(report.verdict, Verdict::Match, "{name} {opt} {stable}\n{text}");
        let s = &report.stable_points;
        assert!(s.executed == s.full && s.unavailable_live == 0, "{name} {opt} {stable}: {s:?}");
        assert!(s.witnessed * 2 >= s.executed, "{name} {opt} {stable}: {s:?}");
    }
}

/// Runs an export of a module in the text format.
fn invoke(text: &str, options: &[&str], call: &[&str]) -> (Option<i32>, reports::Report) {
    let scratch = common::scratch();
    let file = scratch.path().join("module.wat");
    std::fs::write(&file, text).expect("written");
    let mut args: Vec<OsString> = ["--anchors", "srcloc"].map(OsString::from).into();
    args.extend(options.iter().map(OsString::from));
    args.extend(["--invoke".into(), call[0].into(), file.into(), "--".into()]);
    args.extend(call[1..].iter().map(OsString::from));
    let ran = common::run(&args, scratch.path());
    (ran.code, ran.report.unwrap_or_else(|| panic!("{}", ran.stderr)))
}

/// A NaN that nobody saw is counted.
#[test]
fn nans_that_nobody_sees_are_counted() {
    let text = r#"(module (func (export "f") (param f64) (result f64)
        local.get 0 f64.const inf f64.sub f64.const 1 f64.add f64.neg))"#;
    for opt in LEVELS {
        let (code, report) = invoke(text, &["--opt", opt], &["f", "inf"]);
        assert_eq!((code, report.verdict), (Some(0), Verdict::Match), "{opt}");
        let seen = report.adoptions.keys().any(|name| name.starts_with("nan_"));
        assert!(seen, "{opt}: {:?}", report.adoptions);
    }
}

/// The minimum of two NaNs: the code makes it of the other one than the oracle
/// does. It is made where nobody looks, and what comes of it is moved, stored,
/// passed, kept in a global, compared.
const NANS: &str = r#"(module (memory 1) (global $g (mut f64) (f64.const 0))
    (data (i32.const 0) "\01\00\00\00\00\00\f8\7f")
    (func $pass (param f64) (result f64) local.get 0 f64.neg)
    (func (export "f") (param $x f64) (result f64) (local $n f64) (local $i i64)
        (local.set $n (f64.min (f64.load (i32.const 0)) (local.get $x)))
        (local.set $i (i64.reinterpret_f64 (local.get $n)))
        (f64.store (i32.const 8) (call $pass (local.get $n)))
        (global.set $g (f64.add (f64.load (i32.const 8)) (f64.const 1)))
        (i64.store (i32.const 24) (i64.shl (local.get $i) (i64.const 1)))
        (i32.store8 (i32.const 40)
            (i64.gt_u (i64.and (local.get $i) (i64.const 0x7fffffffffffffff))
                (i64.const 0x7ff0000000000000)))
        (i32.store8 (i32.const 41) (f64.lt (local.get $n) (f64.const 1)))
        (f64.copysign (local.get $n) (local.get $x))))"#;
/// A NaN with another payload.
const OTHER_NAN: &str = "0x7ff8000000000002";

#[test]
fn open_bits_are_no_difference() {
    let mut adopted = 0;
    for opt in LEVELS {
        let (code, report) = invoke(NANS, &["--opt", opt], &["f", OTHER_NAN]);
        let text = reports::text::render(&report, reports::Style::plain());
        assert_eq!((code, report.verdict), (Some(0), Verdict::Match), "{opt}\n{text}");
        println!("opt {opt}: {:?}", report.adoptions);
        assert!(report.adoptions.contains_key("nan_unseen"), "{opt}: {:?}", report.adoptions);
        adopted += report.adoptions.get("nan_payload").copied().unwrap_or_default();
    }
    assert!(adopted > 0);
}

/// Lanes that are NaNs in the lower half of a vector only.
#[test]
fn open_lanes_are_followed_in_each_half() {
    for operation in ["i8x16.neg", "i16x8.neg", "i32x4.abs", "i64x2.neg", "v128.not", "f32x4.neg"] {
        let text = format!(
            "(module (memory 1) (func (export \"f\") (param v128) (result i32)
                (v128.store (i32.const 8)
                    ({operation} (f32x4.min (local.get 0) (local.get 0))))
                (i32.load (i32.const 40))))"
        );
        for lanes in ["0x9b28d2064af4a6c9fffffffffffffff9", "0xfffffffffffffff99b28d2064af4a6c9"] {
            for opt in LEVELS {
                let (code, report) = invoke(&text, &["--opt", opt], &["f", lanes]);
                let text = reports::text::render(&report, reports::Style::plain());
                assert_eq!((code, report.verdict), (Some(0), Verdict::Match), "{opt}\n{text}");
            }
        }
    }
}

#[test]
fn open_bits_hide_nothing_else() {
    let offsets = |text: &str, name: &str| -> Vec<String> {
        let scratch = common::scratch();
        let file = scratch.path().join("module.wat");
        std::fs::write(&file, text).expect("written");
        let mut command = common::wdiff();
        command.arg("map").arg(&file).args(["--func", "#1"]);
        let map = String::from_utf8(command.output().expect("a map").stdout).expect("text");
        let lines = map.lines().filter(|line| line.contains(name));
        lines.filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect()
    };
    let (mut injected, mut caught) = (0, 0);
    for opt in LEVELS {
        for name in ["i64.gt_u", "f64.lt", "i64.and", "f64.store", "f64.add", "i32.store8"] {
            for offset in offsets(NANS, name) {
                for kind in [CodeFault::Operation, CodeFault::Condition, CodeFault::Displacement] {
                    let fault = format!("code:#1:{offset}:{}", kind.name());
                    let scratch = common::scratch();
                    let file = scratch.path().join("module.wat");
                    std::fs::write(&file, NANS).expect("written");
                    let mut command = common::wdiff();
                    command.args(["run", "--anchors", "srcloc", "--opt", opt, "--inject", &fault]);
                    command.args(["--invoke", "f"]).arg(&file).args(["--", OTHER_NAN]);
                    let ran = common::within(command, Duration::from_secs(60));
                    if ran.code == Some(2) {
                        continue;
                    }
                    injected += 1;
                    caught += u32::from(ran.code == Some(1));
                    assert_ne!(ran.code, Some(3), "{opt} {fault}: {}", ran.stderr);
                }
            }
        }
    }
    println!("{caught} of {injected} faults caught");
    assert!(injected >= 6 && caught * 2 >= injected, "{caught} of {injected}");
}

/// Where an open bit decides a branch the two may rightly part; that is said.
#[test]
fn open_bits_that_decide_are_named() {
    let text = r#"(module (memory 1) (func (export "f") (param $x f64) (result i32)
        (if (result i32) (i64.lt_s (i64.reinterpret_f64 (f64x2.extract_lane 1 (f64x2.sub
            (f64x2.splat (local.get $x)) (f64x2.splat (f64.const inf))))) (i64.const 0))
          (then (i32.store (i32.const 0) (i32.const 1)) (i32.const 1))
          (else (i32.store (i32.const 4) (i32.const 2)) (i32.const 2)))))"#;
    for opt in LEVELS {
        let (code, report) = invoke(text, &["--opt", opt], &["f", "inf"]);
        match &report.inconclusive {
            // The bits were seen before they decided.
            None => assert_eq!(code, Some(0), "{opt}"),
            Some(why) => {
                assert_eq!(code, Some(3), "{opt}");
                assert!(why.detail.contains("decided what happens"), "{opt}: {}", why.detail);
            }
        }
    }
}

/// A load that became part of the next one's address faults as itself, and so does the
/// next one.
#[test]
fn loads_through_loads() {
    let text = r#"(module (memory 1) (data (i32.const 8) "\00\00\01\00")
      (func (export "f") (param i32) (result i64) (i64.load (i32.load (local.get 0))))
      (func (export "g") (param i32) (result f64)
        (f64.convert_i32_s (i32.load (i32.load offset=4 (i32.load (local.get 0)))))))"#;
    for opt in LEVELS {
        for func in ["f", "g"] {
            for address in ["0", "4", "8", "65536", "65531"] {
                for cpu in ["native", "baseline"] {
                    let options = ["--opt", opt, "--cpu", cpu];
                    let (code, report) = invoke(text, &options, &[func, address]);
                    let text = reports::text::render(&report, reports::Style::plain());
                    assert_eq!((code, report.verdict), (Some(0), Verdict::Match), "{text}");
                }
            }
        }
    }
}

/// Who catches an exception, in code without traps.
#[test]
fn exceptions() {
    let text = r#"(module
      (tag $a (param i32)) (tag $b)
      (func $thrower (param i32)
        (if (i32.and (local.get 0) (i32.const 1)) (then (throw $a (local.get 0))))
        (if (i32.and (local.get 0) (i32.const 2)) (then (throw $b))))
      (func (export "run") (param $n i32) (result i32) (local $s i32)
        (loop $again
          (block $out
            (block $caught_b
              (local.set $s (i32.add (local.get $s) (block $caught (result i32)
                (try_table (catch $a $caught) (catch $b $caught_b)
                  (call $thrower (local.get $n)))
                (br $out)))))
            (local.set $s (i32.add (local.get $s) (i32.const 1000))))
          (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (local.get $s)))"#;
    for opt in LEVELS {
        for stable in ["off", "labels"] {
            let (code, report) = invoke(text, &["--opt", opt, "--stable", stable], &["run", "50"]);
            let text = reports::text::render(&report, reports::Style::plain());
            assert_eq!((code, report.verdict), (Some(0), Verdict::Match), "{opt} {stable}\n{text}");
            // All boundaries but those that have no place.
            assert!(report.boundaries.stops * 5 > report.boundaries.executed, "{text}");
        }
    }
}
