//! `wdiff wast --oracle-only`: figures, failures with their place, exit codes.

mod common;

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
fn no_script_and_no_mode_are_refused() {
    let (output, _) = wast(&["--oracle-only"], "(module (func)");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("script.wast:1:"));
    let (output, _) = wast(&[], "(module)");
    assert_eq!(output.status.code(), Some(3));
    let missing = Path::new("nowhere.wast");
    let output = Command::new(env!("CARGO_BIN_EXE_wdiff"))
        .args(["wast", "--oracle-only"])
        .arg(missing)
        .output()
        .expect("wdiff runs");
    assert_eq!(output.status.code(), Some(2));
}
