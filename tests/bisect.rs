//! `wdiff bisect`: the code at fault, and a script that shows it.

mod common;

use common::wdiff;
use reports::{Bisection, Report, Reproducer, Verdict};
use std::path::Path;
use std::process::{Command, Output};

/// A sum in memory over a loop, with a call in it.
const PROGRAM: &str = r#"(module
  (memory 1)
  (global $seen (mut i32) (i32.const 0))
  (data (i32.const 64) "\03\00\00\00\07\00\00\00\0b\00\00\00\11\00\00\00")
  (func $weigh (param $x i32) (param $by i64) (result i64)
    local.get $x
    i64.extend_i32_s
    local.get $by
    i64.mul
    i64.const 5
    i64.sub)
  (func $total (export "total") (param $n i32) (result i64) (local $sum i64) (local $i i32)
    (loop $next
      local.get $sum
      local.get $i
      i32.const 2
      i32.shl
      i32.load offset=64
      i64.const 1000003
      call $weigh
      i64.add
      local.set $sum
      global.get $seen
      i32.const 1
      i32.add
      global.set $seen
      (i64.store offset=128 (i32.shl (local.get $i) (i32.const 3)) (local.get $sum))
      local.get $i
      i32.const 1
      i32.add
      local.tee $i
      local.get $n
      i32.lt_u
      br_if $next)
    local.get $sum))"#;

/// Offset of the `nth` instruction with this name, in any function.
fn offset_of(name: &str, nth: usize) -> u32 {
    let bytes = wat::parse_str(PROGRAM).expect("a module");
    let mut found = Vec::new();
    for payload in wasmparser::Parser::new(0).parse_all(&bytes) {
        let wasmparser::Payload::CodeSectionEntry(body) = payload.expect("a module") else {
            continue;
        };
        for item in body.get_operators_reader().expect("a body").into_iter_with_offsets() {
            let (operator, offset) = item.expect("an operator");
            if format!("{operator:?}").split(' ').next() == Some(name) {
                found.push(offset as u32);
            }
        }
    }
    found[nth]
}

struct Ran {
    code: Option<i32>,
    stderr: String,
    report: Option<Report>,
}

fn ran(output: &Output, report: &Path) -> Ran {
    let text = std::fs::read_to_string(report).unwrap_or_default();
    Ran {
        code: output.status.code(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        report: (!text.is_empty()).then(|| {
            reports::json::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
        }),
    }
}

/// `wdiff bisect` with these options, in a directory that has the program.
fn bisect(scratch: &Path, options: &[&str]) -> Ran {
    std::fs::write(scratch.join("total.wat"), PROGRAM).expect("a file");
    let report = scratch.join("report.json");
    let _ = std::fs::remove_file(&report);
    let output = wdiff()
        .current_dir(scratch)
        .args(["bisect", "--format", "json", "--output", "report.json"])
        .args(options)
        .output()
        .expect("wdiff starts");
    ran(&output, &report)
}

const CALL: [&str; 5] = ["total.wat", "--invoke", "total", "--", "4"];

fn bisect_fault(scratch: &Path, fault: &str, options: &[&str]) -> Ran {
    let options: Vec<&str> =
        options.iter().copied().chain(["--inject", fault]).chain(CALL).collect();
    bisect(scratch, &options)
}

fn section(ran: Ran) -> Bisection {
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let report = ran.report.expect("a report");
    assert_eq!(report.verdict, Verdict::Divergence);
    report.bisect.expect("the section bisect")
}

/// Runs the command that a report says shows the fault; answers its exit code
/// with the fault, and without.
fn run_script(scratch: &Path, reproducer: &Reproducer) -> (Option<i32>, Option<i32>) {
    let words = &reproducer.command[1..];
    let run = |words: &[String]| {
        let output = wdiff().current_dir(scratch).args(words).output().expect("wdiff starts");
        output.status.code()
    };
    let at = words.iter().position(|word| word == "--inject").expect("a fault");
    let without = [&words[..at], &words[at + 2..]].concat();
    (run(words), run(&without))
}

#[test]
fn a_fault_is_found_cut_out_and_shown() {
    for (name, nth, func, kind, opt) in [
        ("I64Sub", 0, 0, "operation", "none"),
        ("I64Mul", 0, 0, "drop", "none"),
        ("I64ExtendI32S", 0, 0, "drop", "none"),
        ("I32Load", 0, 1, "displacement", "none"),
        ("I64Store", 0, 1, "displacement", "none"),
        ("I32Load", 0, 1, "displacement", "speed"),
        ("GlobalSet", 0, 1, "operation", "speed"),
        ("BrIf", 0, 1, "condition", "speed"),
    ] {
        let scratch = common::scratch();
        let at = offset_of(name, nth);
        let fault = format!("code:#{func}:{at:#x}:{kind}");
        let section = section(bisect_fault(scratch.path(), &fault, &["--opt", opt]));
        let code = section.code.expect("the code at fault");
        assert_eq!((code.func, code.offset), (func, at), "{fault}");
        assert!((code.block_start..code.block_end).contains(&at), "{fault}: {code:?}");
        assert_eq!(code.confirmed, Some(true), "{fault}: {:?}", code.mixes);
        let found =
            section.reproducer.unwrap_or_else(|| panic!("{fault}: {:?}", section.no_reproducer));
        assert!(found.wasm_bytes <= 160, "{fault}: {} bytes\n{}", found.wasm_bytes, found.text);
        assert!(found.witness.contains("agrees"), "{fault}: {}", found.witness);
        assert!(found.good.is_some() && found.expected != found.actual, "{fault}: {found:?}");
        let written = std::fs::read_to_string(scratch.path().join(&found.file)).expect("a script");
        assert_eq!(written, found.text);
        assert_eq!(written.matches("(assert_").count(), 1, "{written}");
        assert_eq!(run_script(scratch.path(), &found), (Some(1), Some(0)), "{fault}\n{written}");
        assert!(section.native.iter().any(|row| row.bad != row.good), "{fault}");
        let sound = section.settings.iter().find(|setting| setting.setting == "no fault injected");
        assert!(sound.is_some_and(|setting| setting.result == "good"), "{:?}", section.settings);
    }
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    let scratch = common::scratch();
    let ran = bisect(scratch.path(), &CALL);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let section = ran.report.and_then(|report| report.bisect).expect("a section");
    assert!(section.code.is_none() && section.reproducer.is_none() && section.title.is_none());
    assert!(!scratch.path().join("wdiff-bisect.wast").exists());
}

#[test]
fn a_wrong_map_has_no_script() {
    let scratch = common::scratch();
    let at = offset_of("I64Sub", 0);
    let section = section(bisect_fault(scratch.path(), &format!("map:#0:{at:#x}:stack0"), &[]));
    assert!(section.reproducer.is_none());
    let why = section.no_reproducer.expect("a reason");
    assert!(why.contains("map"), "{why}");
    assert!(!section.history.is_empty());
}

#[test]
fn a_failed_report_is_enough() {
    let scratch = common::scratch();
    std::fs::write(scratch.path().join("total.wat"), PROGRAM).expect("a file");
    let fault = format!("code:weigh:{:#x}:operation", offset_of("I64Sub", 0));
    let output = wdiff()
        .current_dir(scratch.path())
        .args(["run", "--format", "json", "--output", "failed.json", "--inject", &fault])
        .args(CALL)
        .output()
        .expect("wdiff starts");
    assert_eq!(output.status.code(), Some(1));
    let section = section(bisect(scratch.path(), &["failed.json", "--reproducer", "other.wast"]));
    assert_eq!(section.code.map(|code| code.func), Some(0));
    assert_eq!(section.reproducer.map(|found| found.file), Some("other.wast".to_owned()));
    // A report of a match has nothing to bisect.
    let clean = bisect(scratch.path(), &CALL);
    assert_eq!(clean.code, Some(0));
    std::fs::rename(scratch.path().join("report.json"), scratch.path().join("match.json"))
        .expect("renamed");
    let ran = bisect(scratch.path(), &["match.json"]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains("nothing to bisect"), "{}", ran.stderr);
}

#[test]
fn git_is_told_0_1_or_125() {
    let scratch = common::scratch();
    let git = |options: &[&str]| {
        let options: Vec<&str> =
            ["--git"].into_iter().chain(options.iter().copied()).chain(CALL).collect();
        bisect(scratch.path(), &options).code
    };
    assert_eq!(git(&[]), Some(0));
    assert_eq!(git(&["--inject", "every:i64.sub:operation"]), Some(1));
    assert_eq!(git(&["--max-stops", "3"]), Some(125));
    assert_eq!(git(&["--inject", "every:i64.sub:nonsense"]), Some(125));
    assert_eq!(git(&["--bad", "/nowhere/wdiff"]), Some(125));
    assert!(!scratch.path().join("wdiff-bisect.wast").exists());
}

/// A wdiff whose compiler gets one instruction wrong: what a build of a patched
/// backend would be.
fn planted(path: &Path, bug: Option<&str>) {
    let wdiff = env!("CARGO_BIN_EXE_wdiff");
    let with = |command: &str, instance: &str| {
        let inject = bug.map(|bug| format!("--inject {instance}{bug}")).unwrap_or_default();
        format!("{command}) shift; exec '{wdiff}' {command} {inject} \"$@\";;\n")
    };
    let text = format!(
        "#!/bin/sh\ncase $1 in\n{}{}*) exec '{wdiff}' \"$@\";;\nesac\n",
        with("compile", ""),
        with("wast", "1@")
    );
    std::fs::write(path, text).expect("a file");
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("executable");
}

#[test]
fn of_several_versions_the_first_bad_one_is_found() {
    let scratch = common::scratch();
    let bugs = [None, None, Some("every:i64.sub:operation"), Some("every:i64.sub:operation")];
    let mut options = vec!["--good".to_owned(), "./v0".to_owned()];
    planted(&scratch.path().join("v0"), None);
    for (version, bug) in (1..).zip(bugs) {
        planted(&scratch.path().join(format!("v{version}")), bug);
        options.extend(["--bad".to_owned(), format!("./v{version}")]);
    }
    let options: Vec<&str> = options.iter().map(String::as_str).chain(CALL).collect();
    let section = section(bisect(scratch.path(), &options));
    let versions = section.axes.iter().find(|axis| axis.axis == "versions").expect("an axis");
    let answer = &versions.answer;
    assert!(versions.applies && answer.starts_with("./v3 is the first one at fault"), "{answer}");
    assert!(answer.contains("./v2 is the last one without"), "{answer}");
    let found = section.reproducer.expect("a script");
    assert!(found.good.as_deref().is_some_and(|good| good.starts_with("./v0")), "{found:?}");
    assert_eq!(found.command[0], "./v4");
    let shows = |version: &str| {
        let mut command = std::process::Command::new(scratch.path().join(version));
        command.args(&found.command[1..]).current_dir(scratch.path());
        command.output().expect("it starts").status.code()
    };
    assert_eq!((shows("v4"), shows("v0")), (Some(1), Some(0)), "{}", found.text);
}

#[test]
fn git_bisect_run_finds_the_commit() {
    let scratch = common::scratch();
    let git = |args: &[&str]| {
        let output = Command::new("git")
            .current_dir(scratch.path())
            .args(["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"])
            .args(args)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .expect("git starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "git {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        text
    };
    std::fs::write(scratch.path().join("total.wat"), PROGRAM).expect("a file");
    git(&["init", "--quiet", "."]);
    let mut commits = Vec::new();
    for number in 0..9 {
        let bug = (number >= 6).then_some("every:i64.mul:drop");
        planted(&scratch.path().join("compiler"), bug);
        // One commit that does not build.
        if number == 4 {
            std::fs::write(scratch.path().join("compiler"), "#!/bin/sh\nexit 9\n").expect("a file");
        }
        std::fs::write(scratch.path().join("change"), number.to_string()).expect("a file");
        git(&["add", "."]);
        git(&["commit", "--quiet", "-m", &format!("change {number}")]);
        commits.push(git(&["rev-parse", "HEAD"]).trim().to_owned());
    }
    git(&["bisect", "start", &commits[8], &commits[0]]);
    let wdiff = env!("CARGO_BIN_EXE_wdiff");
    let mut run = vec!["bisect", "run", wdiff, "bisect", "--git", "--bad", "./compiler"];
    run.extend(["--output", "/dev/null"]);
    run.extend(CALL);
    let said = git(&run);
    let first = git(&["rev-parse", "refs/bisect/bad"]);
    // One on the way cannot be tested and is skipped.
    assert_eq!(first.trim(), commits[6], "{said}");
    let skipped = git(&["for-each-ref", "--format=%(objectname)", "refs/bisect/skip-*"]);
    assert_eq!(skipped.trim(), commits[4], "{said}");
}

/// A caller that keeps values across calls of a function with many values of
/// its own, so that registers are saved there and restored.
const CROWDED: &str = r#"(module
  (memory 1)
  (data (i32.const 64) "\03\00\00\00\07\00\00\00\0b\00\00\00\11\00\00\00\17\00\00\00")
  (func $leaf (param i32) (result i32) (i32.mul (local.get 0) (i32.const 7)))
  (func $crowd (param $x i32) (result i32) (local $a i32) (local $b i32) (local $c i32)
    (local.set $a (i32.load offset=64 (i32.shl (local.get $x) (i32.const 2))))
    (local.set $b (i32.xor (local.get $a) (i32.const 0x55)))
    (local.set $c (i32.add (local.get $b) (local.get $x)))
    (i32.add (call $leaf (local.get $a))
      (i32.add (call $leaf (local.get $b))
        (i32.add (call $leaf (local.get $c)) (i32.sub (local.get $a) (local.get $b)))))
    return)
  (func $sum (export "sum") (param $n i32) (result i32) (local $i i32) (local $sum i32)
    (loop $next
      (local.set $sum (i32.add (i32.mul (local.get $sum) (i32.const 31)) (call $crowd (local.get $i))))
      (if (i32.gt_u (local.get $i) (i32.const 1000)) (then (local.set $sum (i32.const 0))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $i) (local.get $n))))
    local.get $sum)
  (func $read (param $at i32) (result i32) (i32.load offset=64 (local.get $at)))
  (func (export "later") (param $n i32) (result i32)
    (drop (call $keep (local.get $n)))
    (call $read (i32.const 4)))
  (func $keep (param $x i32) (result i32)
    (i32.add (call $leaf (local.get $x)) (local.get $x))
    return))"#;

/// The `return` of a function of that.
fn return_of(func: usize) -> usize {
    let bytes = wat::parse_str(CROWDED).expect("a module");
    let place = wasmparser::Parser::new(0)
        .parse_all(&bytes)
        .filter_map(|payload| match payload.expect("a module") {
            wasmparser::Payload::CodeSectionEntry(body) => Some(body),
            _ => None,
        })
        .nth(func)
        .and_then(|body| {
            let items = body.get_operators_reader().expect("a body").into_iter_with_offsets();
            items
                .map(|item| item.expect("an operator"))
                .find(|(operator, _)| matches!(operator, wasmparser::Operator::Return))
        });
    place.expect("a return").1
}

#[test]
fn a_register_that_is_not_restored_has_a_script() {
    let at = return_of(1);
    for opt in ["none", "speed"] {
        let scratch = common::scratch();
        std::fs::write(scratch.path().join("crowded.wat"), CROWDED).expect("a file");
        let fault = format!("code:#1:{at:#x}:destination");
        let options =
            ["--opt", opt, "--inject", &fault, "crowded.wat", "--invoke", "sum", "--", "5"];
        let section = section(bisect(scratch.path(), &options));
        let code = section.code.expect("the code at fault");
        assert_eq!((code.func, code.offset as usize, code.confirmed), (1, at, Some(true)), "{opt}");
        let found =
            section.reproducer.unwrap_or_else(|| panic!("{opt}: {:?}", section.no_reproducer));
        assert!(found.wasm_bytes <= 400, "{opt}: {} bytes\n{}", found.wasm_bytes, found.text);
        assert!(found.witness.contains("agrees"), "{opt}: {}", found.witness);
        let shown = run_script(scratch.path(), &found);
        assert_eq!(shown, (Some(1), Some(0)), "{opt}\n{}", found.text);
        // Caller and callee are both there.
        assert!(found.text.matches("(func ").count() >= 3, "{opt}\n{}", found.text);
    }
}

/// What is spoilt is no Wasm value, but where the instance is: the two differ in a
/// function that the caller calls only afterwards.
#[test]
fn a_register_that_is_not_restored_is_found_from_elsewhere() {
    let at = return_of(5);
    for opt in ["none", "speed"] {
        let scratch = common::scratch();
        std::fs::write(scratch.path().join("crowded.wat"), CROWDED).expect("a file");
        let fault = format!("code:#5:{at:#x}:width");
        let options =
            ["--opt", opt, "--inject", &fault, "crowded.wat", "--invoke", "later", "--", "2"];
        let section = section(bisect(scratch.path(), &options));
        let code = section.code.expect("the code at fault");
        assert_eq!((code.func, code.offset as usize, code.confirmed), (5, at, Some(true)), "{opt}");
    }
}

/// Its fault tests the argument with the address of the instance, which is another
/// one beside the suite's own module.
const ADDRESSED: &str = r#"(module
  (func (export "f") (param i32) (result i32)
    block
      local.get 0
      br_if 0
      i32.const 0
      return
    end
    i32.const 1))"#;

#[test]
fn a_script_that_does_not_hold_is_none() {
    let scratch = common::scratch();
    std::fs::write(scratch.path().join("addressed.wat"), ADDRESSED).expect("a file");
    let options = ["--opt", "speed", "--inject", "code:#0:0x24:operand"];
    let call = ["addressed.wat", "--invoke", "f", "--", "0x3c60"];
    let section = section(bisect(scratch.path(), &[&options[..], &call[..]].concat()));
    let code = section.code.expect("the code at fault");
    assert_eq!((code.func, code.offset, code.confirmed), (0, 0x24, Some(true)));
    assert!(section.reproducer.is_none(), "{:?}", section.reproducer);
    let why = section.no_reproducer.expect("a reason");
    assert!(why.contains("an address may decide, but its script"), "{why}");
}
