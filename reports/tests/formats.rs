//! The forms for other tools, judged by tools that know nothing of wdiff:
//! xmllint for JUnit XML, Python's jsonschema for SARIF (by its official schema) and for
//! our own schema, the crate serde-sarif for SARIF once more.

mod samples;

use reports::{Report, json, junit, markdown, sarif};
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn here(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn sarif_of(report: &Report) -> String {
    sarif::render(report, &|_, file| Some(file.trim_start_matches("./").to_owned())).unwrap()
}

/// What xmllint says about a text; `Ok` if it is valid.
fn xmllint(xml: &str) -> Result<(), String> {
    let mut child = Command::new("xmllint")
        .args(["--noout", "--nonet", "--schema"])
        .arg(here("tests/junit.xsd"))
        .arg("-")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("xmllint is installed (Debian package libxml2-utils)");
    child.stdin.take().unwrap().write_all(xml.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(said) }
}

/// Validates documents, one a line; answers for each whether it is valid and
/// else why not.
fn jsonschema(schema: &Path, documents: &[Value]) -> Vec<Result<(), String>> {
    const SCRIPT: &str = "\
import json, sys, jsonschema
schema = json.load(open(sys.argv[1]))
kind = jsonschema.validators.validator_for(schema)
kind.check_schema(schema)
check = kind(schema)
for line in sys.stdin:
    error = next(iter(check.iter_errors(json.loads(line))), None)
    where = '' if error is None else '/'.join(map(str, error.absolute_path))
    print('ok' if error is None else json.dumps(where + ': ' + error.message[:300]))
";
    let mut child = Command::new("python3")
        .args(["-W", "ignore", "-c", SCRIPT])
        .arg(schema)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is installed");
    let mut stdin = child.stdin.take().unwrap();
    let lines: String = documents.iter().map(|document| format!("{document}\n")).collect();
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "jsonschema is installed (Debian package python3-jsonschema)");
    writer.join().unwrap().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let results: Vec<Result<(), String>> =
        text.lines().map(|line| if line == "ok" { Ok(()) } else { Err(line.to_owned()) }).collect();
    assert_eq!(results.len(), documents.len());
    results
}

fn value(report: &Report) -> Value {
    serde_json::from_str(&json::to_string(report).unwrap()).unwrap()
}

/// The official schema of SARIF, where cargo has put the crate.
fn sarif_schema() -> PathBuf {
    // Crates for other systems were not fetched to build this.
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--locked"])
        .args(["--filter-platform", &host])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages.iter().find(|package| package["name"] == "serde-sarif").unwrap();
    let manifest = Path::new(package["manifest_path"].as_str().unwrap());
    manifest.with_file_name("src").join("schema.json")
}

#[test]
fn junit_is_valid() {
    for (name, report) in samples::all() {
        let xml = junit::render(&report);
        assert_eq!(xmllint(&xml), Ok(()), "{name}\n{xml}");
    }
    // The judge can say no.
    let xml = junit::render(&samples::matching());
    assert!(xmllint(&xml.replace(" classname=", " class=")).is_err());
    assert!(xmllint(&xml.replace("</testsuite>", "")).is_err());
}

#[test]
fn junit_says_what_failed() {
    let xml = junit::render(&samples::gate());
    for words in [
        "<testsuites name=\"wdiff\" tests=\"6\" failures=\"3\" errors=\"0\"",
        "<failure type=\"divergence\" message=\"divergence: operand in #12 fib at 0x1a4, i32.add",
        "stack1          i32   0x00000007",
        "(and 3 more)\">",
        "unavailable: #12 fib at 0x1a5: newly unavailable: local3 (no_longer_live)",
        "code_size: 200 bytes of code, 163 in the baseline",
        "<skipped message=\"the time budget\"/>",
        "<testcase name=\"gone.wasm [cranelift none]\"",
    ] {
        assert!(xml.contains(words), "{words}\n{xml}");
    }
    let alone = junit::render(&samples::inconclusive());
    assert!(alone.contains("<error type=\"inconclusive\" message=\"the time limit"), "{alone}");
}

#[test]
fn sarif_is_valid() {
    let all = samples::all();
    let logs: Vec<Value> = all
        .iter()
        .map(|(name, report)| {
            let text = sarif_of(report);
            let log: serde_sarif::sarif::Sarif =
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(log.runs.len(), 1);
            serde_json::from_str(&text).unwrap()
        })
        .collect();
    let schema = sarif_schema();
    for ((name, _), result) in all.iter().zip(jsonschema(&schema, &logs)) {
        assert_eq!(result, Ok(()), "{name}");
    }
    let mut bad = logs[3].clone();
    bad["runs"][0]["results"] = serde_json::json!([{"level": "fatal"}]);
    assert!(jsonschema(&schema, &[bad])[0].is_err());
}

#[test]
fn sarif_points_at_source_and_module() {
    let log: Value = serde_json::from_str(&sarif_of(&samples::operand())).unwrap();
    let result = &log["runs"][0]["results"][0];
    assert_eq!(result["ruleId"], "divergence/operand");
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "fib.c");
    assert_eq!(place["region"], serde_json::json!({"startLine": 12, "startColumn": 5}));
    let wasm = &result["relatedLocations"][0]["physicalLocation"];
    assert_eq!(wasm["artifactLocation"]["uri"], "fib.wasm");
    assert_eq!(wasm["region"]["byteOffset"], 0x1a4);
    // Without a file to point at, the module is the place.
    let log = sarif::render(&samples::operand(), &|_, _| None).unwrap();
    let log: Value = serde_json::from_str(&log).unwrap();
    let place = &log["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
    assert_eq!(place["region"]["byteOffset"], 0x1a4);
    let log: Value = serde_json::from_str(&sarif_of(&samples::gate())).unwrap();
    let ids: Vec<&str> = log["runs"][0]["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| result["ruleId"].as_str().unwrap())
        .collect();
    let expected = [
        "divergence/operand",
        "gate/expectation",
        "gate/unavailable",
        "gate/unavailable",
        "gate/code_size",
        "gate/gone",
    ];
    assert_eq!(ids, expected);
    let notes = &log["runs"][0]["invocations"][0]["toolExecutionNotifications"];
    assert_eq!(notes.as_array().unwrap().len(), 3);
}

#[test]
fn markdown_says_what_failed_and_keeps_names_in_their_place() {
    let text = markdown::render(&samples::gate());
    for words in [
        "## wdiff: failed",
        "| `fib.wasm` | cranelift speed, stable calls, trap, x86_64 baseline, int3 | unavailable | `#12 fib at 0x1a5` |",
        "| gone |",
        "stack1          i32   0x00000007",
        "not run: `late.wasm`",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    let (_, mut hostile) = samples::all().into_iter().find(|(name, _)| *name == "hostile").unwrap();
    hostile.program.path = "a|b`c``d</summary><script>".to_owned();
    let text = markdown::render(&hostile);
    assert!(text.contains("| ``` a\\|b`c``d</summary><script> ``` |"), "{text}");
    assert!(text.contains("<summary>a|b`c``d&lt;/summary&gt;&lt;script&gt;,"), "{text}");
    // Outside of code spans and the fence there is no markup of others.
    let fenced = text.find("```text").or_else(|| text.find("`````")).unwrap_or(text.len());
    assert!(!text[..fenced].lines().any(|line| line.trim_start().starts_with("<script")));
}

#[test]
fn reports_are_valid_by_our_schema() {
    let schema = here("../docs/wdiff-report-1.schema.json");
    let all = samples::all();
    let documents: Vec<Value> = all.iter().map(|(_, report)| value(report)).collect();
    for ((name, _), result) in all.iter().zip(jsonschema(&schema, &documents)) {
        assert_eq!(result, Ok(()), "{name}");
    }
    // What the reader refuses for its form, the schema refuses too.
    let good = value(&samples::operand());
    let mut bad = Vec::new();
    for (pointer, change) in [
        ("/schema", Value::from("wdiff-report/2")),
        ("/verdict", "fine".into()),
        ("/divergence", Value::Null),
        ("/inconclusive", serde_json::json!({"reason": "limit", "detail": ""})),
        ("/program/sha256", "xyz".into()),
        ("/values/compared", Value::from(-1)),
        ("/values/reasons", serde_json::json!({"folded": "many"})),
        ("/divergence/kind", "other".into()),
        ("/divergence/slots/0/actual", "0x7".into()),
        ("/divergence/native_pc", "0x40".into()),
        ("/time/wall_s", Value::from(-0.5)),
    ] {
        let mut changed = good.clone();
        *changed.pointer_mut(pointer).unwrap() = change;
        bad.push(changed);
    }
    let mut without = good.clone();
    without.as_object_mut().unwrap().remove("values");
    bad.push(without);
    for (document, result) in bad.iter().zip(jsonschema(&schema, &bad)) {
        assert!(result.is_err(), "{document}");
        assert!(json::from_str(&document.to_string()).is_err());
    }
}

/// The schema has the keys of the documentation: every key that the samples have
/// is named in it, with its object.
#[test]
fn our_schema_knows_every_key() {
    let text = std::fs::read_to_string(here("../docs/wdiff-report-1.schema.json")).unwrap();
    let mut schema: Value = serde_json::from_str(&text).unwrap();
    // With no other keys allowed, the samples must still be valid.
    fn close(value: &mut Value) {
        if let Value::Object(map) = value {
            if map.contains_key("required") && map.contains_key("properties") {
                map.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
            map.values_mut().for_each(close);
        } else if let Value::Array(list) = value {
            list.iter_mut().for_each(close);
        }
    }
    close(&mut schema);
    let scratch = tempfile::tempdir().unwrap();
    let closed = scratch.path().join("closed.json");
    std::fs::write(&closed, schema.to_string()).unwrap();
    let all = samples::all();
    let mut documents: Vec<Value> = all.iter().map(|(_, report)| value(report)).collect();
    for ((name, _), result) in all.iter().zip(jsonschema(&closed, &documents)) {
        assert_eq!(result, Ok(()), "{name}");
    }
    documents[0]["tool"]["unheard_of"] = Value::from(1);
    assert!(jsonschema(&closed, &documents[..1])[0].is_err());
}
