//! `wdiff run --inject`: a fault on purpose is a divergence with its place.

mod common;

use common::{Ran, run};
use reports::{DivergenceKind, Verdict};
use std::ffi::OsString;
use std::path::Path;
use std::process::Output;

/// fac, the only function, computed in a loop; offsets are those of the module
/// that the `wat` crate makes of it.
const PROGRAM: &str = r#"(module
  (memory 1)
  (func $fac (export "fac") (param $n i32) (result i32) (local $r i32)
    i32.const 1
    local.set $r
    (loop $again
      local.get $r
      local.get $n
      i32.mul
      local.set $r
      (i32.store (i32.const 64) (local.get $r))
      local.get $n
      i32.const 1
      i32.sub
      local.tee $n
      br_if $again)
    i32.const 64
    i32.load))"#;

fn program(scratch: &Path) -> OsString {
    let path = scratch.join("fac.wat");
    std::fs::write(&path, PROGRAM).expect("a file");
    path.into()
}

/// Offset of the instruction of [`PROGRAM`] whose name begins so.
fn offset_of(text: &str) -> u32 {
    offset_in(PROGRAM, text)
}

/// Offset of the first instruction of a module whose name begins so.
fn offset_in(program: &str, text: &str) -> u32 {
    let bytes = wat::parse_str(program).expect("a module");
    for payload in wasmparser::Parser::new(0).parse_all(&bytes) {
        let wasmparser::Payload::CodeSectionEntry(body) = payload.expect("a module") else {
            continue;
        };
        for item in body.get_operators_reader().expect("a body").into_iter_with_offsets() {
            let (operator, offset) = item.expect("an operator");
            if format!("{operator:?}").starts_with(text) {
                return offset as u32;
            }
        }
    }
    panic!("no {text} in {program}")
}

fn inject(fault: &str, scratch: &Path) -> Ran {
    let args = ["--inject", fault].map(OsString::from).into_iter();
    let call = ["--invoke", "fac", "--", "5"].map(OsString::from);
    let args: Vec<OsString> = args.chain([program(scratch)]).chain(call).collect();
    run(&args, scratch)
}

#[test]
fn a_code_fault_is_reported_behind_its_instruction() {
    let scratch = common::scratch();
    let at = offset_of("I32Sub");
    for kind in ["operation", "drop", "constant"] {
        let ran = inject(&format!("code:fac:{at:#x}:{kind}"), scratch.path());
        assert_eq!(ran.code, Some(1), "{kind}: {}", ran.stderr);
        assert!(ran.stderr.contains("injected code:"), "{}", ran.stderr);
        let report = ran.report.expect("a report");
        assert_eq!(report.verdict, Verdict::Divergence);
        let found = report.divergence.expect("a divergence");
        assert_eq!(found.kind, DivergenceKind::Operand);
        assert_eq!(found.name.as_deref(), Some("fac"));
        assert_eq!(found.func, Some(0));
        // The boundary after the instruction, with the instruction named.
        assert_eq!(found.after.map(|after| after.offset), Some(at));
        assert!(found.offset > Some(at) && found.offset < Some(at + 3), "{:?}", found.offset);
        assert!(!found.slots.is_empty());
    }
}

#[test]
fn a_store_gone_wrong_is_reported_at_it_or_behind_it() {
    let scratch = common::scratch();
    let at = offset_of("I32Store");
    let mut kinds = Vec::new();
    for kind in ["displacement", "destination", "drop"] {
        let ran = inject(&format!("code:#0:{at}:{kind}"), scratch.path());
        assert_eq!(ran.code, Some(1), "{kind}: {}", ran.stderr);
        let found = ran.report.and_then(|report| report.divergence).expect("a divergence");
        let after = found.after.map(|after| after.offset);
        assert!(found.offset == Some(at) || after == Some(at), "{kind}: {:?}", found.offset);
        kinds.push(found.kind);
    }
    // An address outside of the memory, or other bytes in it.
    let expected = [DivergenceKind::Memory, DivergenceKind::Sandbox, DivergenceKind::Trap];
    assert!(kinds.iter().all(|kind| expected.contains(kind)), "{kinds:?}");
}

#[test]
fn a_map_fault_is_reported_at_its_boundary() {
    let scratch = common::scratch();
    let at = offset_of("I32Mul");
    for slot in ["local0", "stack0", "2"] {
        let ran = inject(&format!("map:fac:{at}:{slot}"), scratch.path());
        assert_eq!(ran.code, Some(1), "{slot}: {}", ran.stderr);
        let found = ran.report.and_then(|report| report.divergence).expect("a divergence");
        assert_eq!((found.func, found.offset), (Some(0), Some(at)), "{slot}");
        assert_eq!(found.slots.len(), 1, "{:?}", found.slots);
    }
}

#[test]
fn an_anchor_that_is_wrong_is_reported_where_execution_comes_to_it() {
    let scratch = common::scratch();
    let [mul, store] = ["I32Mul", "I32Store"].map(offset_of);
    for (fault, kind) in [
        (format!("boundary:fac:{mul}:missing"), DivergenceKind::Sandbox),
        (format!("boundary:fac:{mul}:swapped"), DivergenceKind::ControlFlow),
    ] {
        let ran = inject(&fault, scratch.path());
        assert_eq!(ran.code, Some(1), "{fault}: {}", ran.stderr);
        let found = ran.report.and_then(|report| report.divergence).expect("a divergence");
        assert_eq!(found.kind, kind, "{fault}");
        // The last boundary at which both were.
        assert!(found.offset < Some(mul) && found.offset > Some(mul - 4), "{:?}", found.offset);
    }
    // Opt none keeps what is not wanted at once in the frame.
    let ran = inject(&format!("frame:fac:{store}:cfa"), scratch.path());
    let divergence = ran.report.and_then(|report| report.divergence);
    assert!(ran.code == Some(0) || divergence.is_some(), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("frame address register 6 +16 -> register 6 +24"),
        "{}",
        ran.stderr
    );
}

const SHAPES: &str = "code:FUNC:OFFSET:KIND, every:INSTRUCTION:KIND, map:FUNC:OFFSET:SLOT, label:FUNC:OFFSET:SLOT, boundary:FUNC:OFFSET:KIND, frame:FUNC:OFFSET:cfa, stable:FUNC:OFFSET:KIND or instantiate:NUMBER:KIND";

#[test]
fn a_fault_that_is_none_is_refused_with_what_would_be_one() {
    let scratch = common::scratch();
    let at = offset_of("I32Mul");
    let refused = |fault: &str| -> (Option<i32>, String) {
        let Output { status, stderr, .. } = common::wdiff()
            .args(["run", "--inject", fault])
            .arg(program(scratch.path()))
            .args(["--invoke", "fac", "--", "5"])
            .output()
            .expect("wdiff starts");
        (status.code(), String::from_utf8_lossy(&stderr).into_owned())
    };
    for (fault, says) in [
        ("", SHAPES),
        ("code", SHAPES),
        ("data:fac:64:drop", SHAPES),
        (&format!("frame:fac:{at}:size"), SHAPES),
        (&format!("boundary:fac:{at}:gone"), "missing, swapped"),
        (&format!("code:fac:{at}:explode"), "operand, destination, drop, extension"),
        (&format!("code:fac:{at}:scale"), "possible there: "),
        (&format!("code:fac:{}:drop", at + 1000), "the nearest is"),
        (&format!("code:nobody:{at}:drop"), "no function has this name"),
        (&format!("stable:fac:{at}:explode"), "dropped, unpolled, missing, suspended, store, poll"),
        (&format!("stable:fac:{at}:dropped"), "nothing is compiled in there, see --stable"),
        (&format!("map:fac:{at}:local9"), "is no slot of that boundary; it has 2 locals"),
        (&format!("map:fac:{at}:stack2"), "is no slot of that boundary"),
        (&format!("map:fac:{at}:99999999999"), "is no slot of that boundary"),
    ] {
        let (code, text) = refused(fault);
        assert_eq!(code, Some(2), "{fault}: {text}");
        assert!(text.contains(says), "{fault}: {text}");
        assert_eq!(text.lines().count(), 1, "{fault}: {text}");
    }
}

/// Fills nothing, so that a wrong argument changes nothing that could be seen
/// later.
const FILL: &str = r#"(module
  (memory 1)
  (func (export "f") (param $a i32) (param $b i32) (result i32)
    (memory.fill (local.get $b) (local.get $a) (i32.const 0))
    (i32.add (local.get $a) (local.get $b))))"#;

#[test]
fn a_wrong_argument_of_an_operation_is_found_though_it_changes_nothing() {
    let scratch = common::scratch();
    let path = scratch.path().join("fill.wat");
    std::fs::write(&path, FILL).expect("a file");
    let call = ["--invoke", "f", "--", "5", "3"].map(OsString::from);
    let sound: Vec<OsString> = [path.clone().into()].into_iter().chain(call.clone()).collect();
    assert_eq!(run(&sound, scratch.path()).code, Some(0));
    // The offset of `memory.fill`.
    let fault = ["--inject", "code:f:0x2c:operand"].map(OsString::from);
    let args: Vec<OsString> = fault.into_iter().chain(sound).collect();
    let ran = run(&args, scratch.path());
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let found = ran.report.and_then(|report| report.divergence).expect("a divergence");
    assert_eq!((found.kind, found.offset), (DivergenceKind::Operand, Some(0x2c)));
    assert_eq!(found.slots[0].slot, reports::SlotName::Argument(1));
}

/// All that instantiation does: each kind of global, table, segment.
const STORE: &str = r#"(module
  (type $t (func (result i32)))
  (memory 1)
  (memory $m 1)
  (global i32 (i32.const 1234))
  (global $b (mut i64) (i64.const -1))
  (global f64 (f64.const 1.5))
  (global funcref (ref.func $g))
  (table 10 20 funcref (ref.func $g))
  (table $tab 10 20 funcref)
  (elem (table $tab) (i32.const 5) func $g $h $g)
  (elem (table $tab) (i32.const 1) funcref (ref.null func) (ref.func $h))
  (elem declare func $h)
  (elem funcref (ref.func $h))
  (data (i32.const 300) "hello")
  (data "passive")
  (data (memory $m) (i32.const 0x1234) "world")
  (func $g (result i32) i32.const 300 i32.load)
  (func $h (result i32) i32.const 5)
  (func $start (global.set $b (i64.const 7)) (drop (call_indirect $tab (type $t) (i32.const 5))))
  (start $start)
  (func (export "f") (result i32) call $g))"#;

/// Each constant and each place in the code that instantiates a module, made
/// another one: what it asks for then differs, or the store does, before anything
/// of the module's own has been executed.
#[test]
fn a_wrong_instantiation_is_found_before_the_first_instruction() {
    let scratch = common::scratch();
    let path = scratch.path().join("store.wat");
    std::fs::write(&path, STORE).expect("a file");
    for opt in ["none", "speed"] {
        for kind in ["constant", "displacement"] {
            let mut kinds = Vec::new();
            for number in 0.. {
                let fault = format!("instantiate:{number}:{kind}");
                let args = ["--inject", &fault, "--opt", opt, "--invoke", "f"].map(OsString::from);
                let args: Vec<OsString> = args.into_iter().chain([path.clone().into()]).collect();
                let Ran { code, stderr, report, .. } = run(&args, scratch.path());
                if code == Some(2) {
                    assert!(stderr.contains("instructions can be changed so"), "{stderr}");
                    break;
                }
                // What is the entry's is saved for nobody: it ends with the call.
                if stderr.contains("[rsp") {
                    continue;
                }
                assert_eq!(code, Some(1), "{fault} at {opt}: {stderr}");
                let report = report.expect("a report");
                assert_eq!(report.boundaries.executed, 0, "{fault} at {opt}: {stderr}");
                kinds.push(report.divergence.expect("a divergence").kind);
            }
            assert!(kinds.len() >= 5, "{kind} at {opt}: {kinds:?}");
            let wanted = match kind {
                "constant" => DivergenceKind::Operand,
                _ => DivergenceKind::Global,
            };
            assert!(kinds.contains(&wanted), "{kind} at {opt}: {kinds:?}");
        }
    }
}
