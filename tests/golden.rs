//! What people read, word for word: the text of a divergence and of a map.
//!
//! The expected texts lie in `tests/expected`; `WDIFF_BLESS=1` writes them
//! anew. Times are masked, and the CPU is fixed by `--cpu baseline`: the rest
//! is the same on every machine.

mod common;

use std::path::Path;
use std::process::Output;

fn wdiff(args: &[&str]) -> Output {
    common::wdiff()
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(args)
        .output()
        .expect("wdiff starts")
}

/// Figures that differ from run to run.
fn masked(text: &str) -> String {
    let mask = |line: &str| match line.trim_start() {
        timed if timed.starts_with("time ") => "  time          (masked)".to_string(),
        _ => line.to_string(),
    };
    text.lines().map(mask).map(|line| line + "\n").collect()
}

fn compare(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/expected").join(name);
    if std::env::var_os("WDIFF_BLESS").is_some() {
        std::fs::write(&path, actual).expect("tests/expected is writable");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    if expected != actual {
        let diff = similar::TextDiff::from_lines(&expected, actual);
        panic!(
            "{name} differs; WDIFF_BLESS=1 accepts the new text\n{}",
            diff.unified_diff().context_radius(3)
        );
    }
}

fn divergence(name: &str, args: &[&str]) {
    let mut all = vec!["run"];
    all.extend(args);
    let output = wdiff(&all);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    compare(name, &masked(&String::from_utf8_lossy(&output.stderr)));
}

#[test]
fn a_wrong_operation_in_recursion() {
    divergence(
        "fib-operation.txt",
        &[
            "corpus/programs/fib/fib.wasm",
            "--cpu",
            "baseline",
            "--inject",
            "code:fib:0x3b:operation",
            "--invoke",
            "fib",
            "--",
            "5",
        ],
    );
}

#[test]
fn a_wrong_condition_in_c() {
    divergence(
        "quicksort-condition.txt",
        &[
            "corpus/programs/quicksort/quicksort.wasm",
            "--cpu",
            "baseline",
            "--inject",
            "code:sort:0x361:condition",
        ],
    );
}

#[test]
fn a_wrong_map() {
    divergence(
        "fib-map.txt",
        &[
            "corpus/programs/fib/fib.wasm",
            "--cpu",
            "baseline",
            "--inject",
            "map:fib:0x31:local0",
            "--invoke",
            "fib",
            "--",
            "5",
        ],
    );
}

#[test]
fn the_map_of_a_function() {
    let args = ["map", "corpus/programs/fib/fib.wasm", "--cpu", "baseline", "--func", "fib"];
    let output = wdiff(&args);
    assert_eq!(output.status.code(), Some(0));
    compare("fib-map-func.txt", &String::from_utf8_lossy(&output.stdout));
}
