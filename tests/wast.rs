//! `wdiff wast`: figures, failures with their place, exit codes; linked modules
//! in lockstep, and faults in their code.

mod common;

use reports::{DivergenceKind, InconclusiveReason, Report, Verdict};
use std::path::Path;
use std::process::{Command, Output};

fn wast(args: &[&str], script: &str) -> (Output, String) {
    let scratch = common::scratch();
    let path = scratch.path().join("script.wast");
    std::fs::write(&path, script).expect("a file");
    let output = Command::new(env!("CARGO_BIN_EXE_wdiff"))
        .arg("wast")
        .args(args)
        .arg(&path)
        .output()
        .expect("wdiff runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, text)
}

const ADD: &str = r#"(module (func (export "add") (param v128 v128) (result v128)
  (i8x16.add (local.get 0) (local.get 1))))
(assert_return (invoke "add" (v128.const i64x2 1 0) (v128.const i64x2 255 3)) (v128.const i64x2 LOW 3))
(assert_malformed (module quote "(func") "unexpected end")"#;

#[test]
fn what_holds_is_counted() {
    let (output, text) = wast(&["--oracle-only"], &ADD.replace("LOW", "0"));
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("1 assertions hold, 1 about the text format"), "{text}");
}

#[test]
fn what_fails_is_named_with_its_place() {
    let (output, text) = wast(&["--oracle-only"], &ADD.replace("LOW", "256"));
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("script.wast:3:2: expected V128"), "{text}");
}

#[test]
fn what_cannot_be_tried_is_inconclusive() {
    let script = "(module (type $f (func)) (type (cont $f)))";
    let (output, text) = wast(&["--oracle-only"], script);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("not tried: 1 with stack switching"), "{text}");
}

#[test]
fn no_script_and_what_is_not_built_are_refused() {
    let (output, _) = wast(&["--oracle-only"], "(module (func)");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("script.wast:1:"));
    let (output, _) = wast(&["--engine", "probe"], "(module)");
    assert_eq!(output.status.code(), Some(3));
    let (output, _) = wast(&["--oracle-only", "--format", "json"], "(module)");
    assert_eq!(output.status.code(), Some(2));
    let missing = Path::new("nowhere.wast");
    let output = Command::new(env!("CARGO_BIN_EXE_wdiff"))
        .args(["wast", "--oracle-only"])
        .arg(missing)
        .output()
        .expect("wdiff runs");
    assert_eq!(output.status.code(), Some(2));
}

/// Runs a script in lockstep.
fn lockstep(args: &[&str], script: &str) -> (Option<i32>, Report) {
    let scratch = common::scratch();
    let path = scratch.path().join("report.json");
    let mut all = vec!["--format", "json", "--output", path.to_str().expect("UTF-8")];
    all.extend(args);
    let (output, _) = wast(&all, script);
    let json = std::fs::read_to_string(&path).unwrap_or_default();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = reports::json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {stderr}"));
    (output.status.code(), report)
}

/// Shares a memory, a table, a global and a function.
const PROVIDER: &str = r#"(module $provider
  (memory (export "memory") 1 3)
  (table (export "table") 4 funcref)
  (global (export "count") (mut i32) (i32.const 5))
  (func $double (export "double") (param i32) (result i32)
    (global.set 0 (i32.add (global.get 0) (i32.const 1)))
    (i32.mul (local.get 0) (i32.const 2)))
  (func (export "at") (param i32) (result i32) (i32.load (local.get 0)))
  (func (export "size") (result i32) (memory.size))
  (elem (i32.const 0) $double))"#;

/// Calls across instances, directly and through a table; calls the host.
const USER: &str = r#"(register "provider")
(module $user
  (import "provider" "memory" (memory 1 3))
  (import "provider" "table" (table 4 funcref))
  (import "provider" "count" (global $count (mut i32)))
  (import "provider" "double" (func $double (param i32) (result i32)))
  (import "spectest" "print_i32" (func $print (param i32)))
  (type $unary (func (param i32) (result i32)))
  (func $triple (param i32) (result i32) (i32.mul (local.get 0) (i32.const 3)))
  (elem (i32.const 1) $triple $print)
  (func (export "both") (param i32) (result i32)
    (call $print (local.get 0))
    (i32.store (i32.const 8) (call $double (local.get 0)))
    (i32.add (i32.load (i32.const 8))
      (call_indirect (type $unary) (local.get 0) (i32.const 0))))
  (func (export "grow") (result i32) (memory.grow (i32.const 1)))
  (func (export "count") (result i32) (global.get $count)))
(assert_return (invoke $user "both" (i32.const 21)) (i32.const 84))
(assert_return (invoke $user "count") (i32.const 7))
(assert_return (get $provider "count") (i32.const 7))
(assert_return (invoke $provider "at" (i32.const 8)) (i32.const 42))
(assert_return (invoke $user "grow") (i32.const 1))
(assert_return (invoke $provider "size") (i32.const 2))"#;

#[test]
fn linked_instances_run_in_one_subject() {
    let (code, report) = lockstep(&[], &format!("{PROVIDER}\n{USER}"));
    let section = report.wast.expect("a section");
    assert_eq!((code, report.verdict), (Some(0), Verdict::Match));
    assert_eq!((section.scripts, section.instances, section.lockstep), (1, 2, 6));
    assert_eq!(report.host_calls, 1);
    assert_eq!(report.boundaries.executed, report.boundaries.stops);
    // 12 instructions of `both`, 2 calls of `double` with 8, and 11 of the rest.
    assert_eq!(report.boundaries.stops, 39);
}

/// Byte offset of the first instruction of a kind in a module.
fn offset_of(module: &str, wanted: &str) -> usize {
    let bytes = wat::parse_str(module).expect("a module");
    for payload in wasmparser::Parser::new(0).parse_all(&bytes) {
        let Ok(wasmparser::Payload::CodeSectionEntry(body)) = payload else { continue };
        for item in body.get_operators_reader().expect("operators").into_iter_with_offsets() {
            let (operator, offset) = item.expect("an operator");
            if format!("{operator:?}").starts_with(wanted) {
                return offset;
            }
        }
    }
    panic!("no {wanted}")
}

#[test]
fn a_fault_is_found_in_the_instance_that_has_it() {
    let at = offset_of(PROVIDER, "I32Mul");
    let fault = format!("1@code:#0:{at:#x}:constant");
    let (code, report) = lockstep(&["--inject", &fault], &format!("{PROVIDER}\n{USER}"));
    let found = report.divergence.expect("a divergence");
    assert_eq!((code, found.kind), (Some(1), DivergenceKind::Operand));
    assert_eq!((found.instance, found.func), (Some(1), Some(0)));
    assert_eq!(found.offset, Some(at as u32 + 1));
    // The caller is the other instance.
    assert_eq!(found.frames.iter().map(|frame| frame.instance).collect::<Vec<_>>(), [1, 2]);
    let line =
        1 + PROVIDER.lines().count() + USER.lines().position(|l| l.contains("assert")).unwrap();
    assert!(
        found.summary.contains(&format!("script.wast:{line}:2, instance 1:")),
        "{}",
        found.summary
    );

    let at = offset_of(PROVIDER, "GlobalSet");
    let fault = format!("1@code:#0:{at:#x}:drop");
    let (code, report) = lockstep(&["--inject", &fault], &format!("{PROVIDER}\n{USER}"));
    assert_eq!(code, Some(1));
    assert_eq!(report.divergence.expect("a divergence").kind, DivergenceKind::Global);
}

#[test]
fn both_sides_agreeing_is_not_enough() {
    let script = r#"(module (func (export "one") (result i32) (i32.const 1)))
(assert_return (invoke "one") (i32.const 1))
(assert_return (invoke "one") (i32.const 2))"#;
    let (code, report) = lockstep(&[], script);
    assert_eq!((code, report.verdict), (Some(1), Verdict::Divergence));
    let section = report.wast.expect("a section");
    assert_eq!((section.lockstep, section.failures.len()), (1, 1));
    assert!(section.failures[0].contains("script.wast:3:2"), "{:?}", section.failures);
    assert_eq!(report.divergence.expect("a divergence").kind, DivergenceKind::Exit);
}

#[test]
fn failed_instantiation_keeps_what_it_did() {
    let script = r#"(module (memory (export "memory") 1) (table (export "table") 2 funcref)
  (func (export "at") (param i32) (result i32) (i32.load8_u (local.get 0)))
  (func (export "call") (param i32) (result i32) (call_indirect (result i32) (local.get 0))))
(register "m")
(assert_trap
  (module (memory (import "m" "memory") 1) (table (import "m" "table") 2 funcref)
    (func $f (result i32) (i32.const 7))
    (elem (i32.const 1) $f)
    (data (i32.const 5) "a")
    (data (i32.const 65536) "b"))
  "out of bounds memory access")
(assert_return (invoke "at" (i32.const 5)) (i32.const 97))
(assert_return (invoke "call" (i32.const 1)) (i32.const 7))
(assert_trap (invoke "call" (i32.const 0)) "uninitialized element")
(assert_trap (module (func $f unreachable) (start $f)) "unreachable")
(module (memory 1)
  (func $f (i32.store (i32.const 0) (i32.const 9))) (start $f)
  (func $runaway (export "runaway") (call $runaway))
  (func (export "at") (result i32) (i32.load (i32.const 0))))
(assert_return (invoke "at") (i32.const 9))
(assert_exhaustion (invoke "runaway") "call stack exhausted")
(assert_return (invoke "at") (i32.const 9))"#;
    let (code, report) = lockstep(&[], script);
    let section = report.wast.clone().expect("a section");
    let text = reports::text::render(&report, reports::Style::plain());
    assert_eq!((code, section.lockstep), (Some(0), 8), "{text}");
    assert_eq!(report.adoptions.get("stack_exhaustion"), Some(&1));
}

#[test]
fn what_the_backend_lacks_is_named_and_the_rest_runs() {
    let script = r#"(module $a (func (export "f") (result i32) (i32.const 1)))
(module $b (type $s (struct)) (func (export "f") (result i32) (i32.const 2)))
(assert_return (invoke $a "f") (i32.const 1))
(assert_return (invoke $b "f") (i32.const 2))"#;
    let (code, report) = lockstep(&[], script);
    assert_eq!(code, Some(3));
    let why = report.inconclusive.expect("a reason");
    assert_eq!(why.reason, InconclusiveReason::Unsupported);
    let section = report.wast.expect("a section");
    assert_eq!((section.lockstep, section.left_out()), (1, 2), "{:?}", section.not_run);
}

#[test]
fn several_files_are_one_report() {
    let scratch = common::scratch();
    let report = scratch.path().join("report.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_wdiff"));
    command.args(["wast", "--format", "json", "--output"]).arg(&report);
    for name in ["a.wast", "b.wast"] {
        let path = scratch.path().join(name);
        std::fs::write(&path, format!("{PROVIDER}\n{USER}")).expect("a file");
        command.arg(path);
    }
    assert_eq!(command.output().expect("wdiff runs").status.code(), Some(0));
    let json = std::fs::read_to_string(&report).expect("a report");
    let report: Report = reports::json::from_str(&json).expect("a report");
    assert_eq!(report.boundaries.stops, 78);
    assert_eq!(report.wast.map(|section| (section.scripts, section.lockstep)), Some((2, 12)));
}
