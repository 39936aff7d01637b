//! SARIF 2.1.0: what code hosts show beside the source.
//!
//! A *rule* per kind of failure, a *result* per failure. A result's place is
//! the line of the original source where the Wasm has DWARF and the caller can
//! find the file, else the module with the instruction's byte offset; the other one is a
//! related location. What has no answer is a notification of the invocation, so
//! that nobody takes it for a clean result.

use crate::cases::{Case, cases};
use crate::divergence::{Divergence, DivergenceKind};
use crate::gate::{Failure, FailureKind, JobOutcome};
use crate::model::{Report, Verdict};
use crate::printable::{clean, escape_json};
use serde_json::{Value, json};

/// Where the schema of the format is published.
const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// Finds a source file that debug information names: given the program's path
/// and the name, answers the path by which readers will know it.
pub type FindSource<'a> = &'a dyn Fn(&str, &str) -> Option<String>;

/// The report as SARIF that ends in a newline.
///
/// # Errors
/// None that is known.
pub fn render(report: &Report, find: FindSource<'_>) -> Result<String, serde_json::Error> {
    let cases = cases(report);
    let mut rules = Rules::default();
    let mut results = Vec::new();
    for case in &cases {
        for failure in &case.failures {
            results.push(result(case, failure, &mut rules, find));
        }
    }
    for key in report.gate.iter().flat_map(|gate| &gate.gone) {
        let rule = rules.index("gate/gone", "A job of the baseline is not in this gate.");
        results.push(json!({
            "ruleId": "gate/gone", "ruleIndex": rule, "level": "error",
            "message": {"text": format!("{}: in the baseline, not in this gate", clean(key))},
        }));
    }
    let mut notifications = Vec::new();
    for case in cases.iter().filter(|case| case.failures.is_empty()) {
        let answered = matches!(case.outcome, JobOutcome::Match | JobOutcome::Divergence);
        if !answered {
            let why = clean(case.detail.unwrap_or("no reason given"));
            let text = format!("{}: {}: {why}", clean(case.program), case.outcome.key());
            let level = if case.accepted { "note" } else { "warning" };
            notifications.push(json!({"level": level, "message": {"text": text}}));
        }
    }
    let driver = json!({
        "name": "wdiff",
        "version": report.tool.version,
        "semanticVersion": report.tool.version,
        "shortDescription": {"text": "Checks AOT-compiled WebAssembly against an interpreter"},
        "rules": rules.list,
    });
    let log = json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": driver},
            "columnKind": "unicodeCodePoints",
            "invocations": [{
                "executionSuccessful": report.verdict != Verdict::Inconclusive,
                "exitCode": report.exit_code(),
                "toolExecutionNotifications": notifications,
            }],
            "results": results,
        }],
    });
    Ok(escape_json(serde_json::to_string_pretty(&log)? + "\n"))
}

/// The rules used, each once.
#[derive(Default)]
struct Rules {
    names: Vec<String>,
    list: Vec<Value>,
}

impl Rules {
    fn index(&mut self, id: &str, meaning: &str) -> usize {
        if let Some(at) = self.names.iter().position(|known| known == id) {
            return at;
        }
        self.names.push(id.to_owned());
        let name: String =
            id.split(['/', '_']).map(|word| word[..1].to_uppercase() + &word[1..]).collect();
        self.list.push(json!({
            "id": id,
            "name": name,
            "shortDescription": {"text": meaning},
            "defaultConfiguration": {"level": "error"},
        }));
        self.names.len() - 1
    }
}

fn meaning(kind: DivergenceKind) -> &'static str {
    crate::explain::divergence(kind).title
}

fn result(case: &Case<'_>, failure: &Failure, rules: &mut Rules, find: FindSource<'_>) -> Value {
    let found = case.report.and_then(|report| report.divergence.as_ref());
    let found = found.filter(|_| failure.kind == FailureKind::Divergence);
    let (id, text) = match found {
        Some(found) => (format!("divergence/{}", found.kind), meaning(found.kind)),
        None => (format!("gate/{}", failure.kind.key()), failure.kind.meaning()),
    };
    let rule = rules.index(&id, text);
    let text = format!(
        "{} ({}): {}",
        clean(case.program),
        clean(&case.config.to_string()),
        clean(&failure.sentence())
    );
    // The program's file; its name in a manifest is no path.
    let module = case.report.map_or(case.program, |report| report.program.path.as_str());
    let logical = failure.func.map(|func| {
        let name = failure.name.as_deref().map(clean);
        let name = name.map_or(format!("#{func}"), |name| format!("#{func} {name}"));
        json!({"fullyQualifiedName": name, "kind": "function"})
    });
    let in_module = |offset: Option<u32>| match offset {
        Some(offset) => json!({
            "artifactLocation": {"uri": uri(module)},
            "region": {"byteOffset": offset, "byteLength": 1},
        }),
        None => json!({"artifactLocation": {"uri": uri(module)}}),
    };
    let source = found.and_then(|found| source(module, found.source_line.as_deref()?, find));
    let mut location = json!({"physicalLocation": match &source {
        Some(source) => source.clone(),
        None => in_module(failure.offset),
    }});
    if let Some(logical) = logical {
        location["logicalLocations"] = json!([logical]);
    }
    let print = format!(
        "{}|{}|{id}|{}|{}",
        case.program,
        case.config,
        failure.func.unwrap_or(u32::MAX),
        failure.offset.unwrap_or(u32::MAX)
    );
    let mut result = json!({
        "ruleId": id,
        "ruleIndex": rule,
        "level": "error",
        "message": {"text": text},
        "locations": [location],
        "partialFingerprints": {"place/v1": fingerprint(&print)},
    });
    if source.is_some() {
        result["relatedLocations"] = json!([{
            "id": 1,
            "message": {"text": "the Wasm instruction"},
            "physicalLocation": in_module(failure.offset),
        }]);
    }
    if let Some(found) = found {
        result["stacks"] = json!([stack(module, found, find)]);
        result["properties"] = json!({"boundaryIndex": found.boundary_index,
            "instruction": found.instruction, "nativePc": found.native_pc});
    }
    result
}

fn stack(module: &str, found: &Divergence, find: FindSource<'_>) -> Value {
    let frames: Vec<Value> = found
        .frames
        .iter()
        .map(|frame| {
            let name = frame.name.as_deref().map(clean).unwrap_or_default();
            let physical = frame.source_line.as_deref().and_then(|line| source(module, line, find));
            let physical = physical.unwrap_or_else(|| {
                json!({
                    "artifactLocation": {"uri": uri(module)},
                    "region": {"byteOffset": frame.offset, "byteLength": 1},
                })
            });
            let text = format!("#{} {name} at {:#x}", frame.func, frame.offset);
            json!({"location": {"message": {"text": text}, "physicalLocation": physical}})
        })
        .collect();
    json!({"message": {"text": "call stack, innermost first"}, "frames": frames})
}

/// `file:line` or `file:line:column` as a place in a file that exists.
fn source(module: &str, line: &str, find: FindSource<'_>) -> Option<Value> {
    let (rest, last) = line.rsplit_once(':')?;
    let last: u32 = last.parse().ok()?;
    let (file, line, column) = match rest.rsplit_once(':') {
        Some((file, line)) => match line.parse::<u32>() {
            Ok(line) => (file, line, Some(last)),
            Err(_) => (rest, last, None),
        },
        None => (rest, last, None),
    };
    let file = find(module, file)?;
    // SARIF counts from 1; DWARF has 0 for what it does not know.
    let mut region = json!({"startLine": line.max(1)});
    if let Some(column) = column.filter(|column| *column > 0) {
        region["startColumn"] = json!(column);
    }
    Some(json!({"artifactLocation": {"uri": uri(&file)}, "region": region}))
}

/// A path as a URI reference (RFC 3986).
fn uri(path: &str) -> String {
    let mut out = String::new();
    if path.starts_with('/') {
        out.push_str("file://");
    }
    let path = path.strip_prefix("./").unwrap_or(path);
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/+@,=".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// FNV-1a, 64 bits: it only has to stay the same from run to run.
fn fingerprint(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_references() {
        assert_eq!(uri("a/b c.wasm"), "a/b%20c.wasm");
        assert_eq!(uri("./x.c"), "x.c");
        assert_eq!(uri("/tmp/é:1"), "file:///tmp/%C3%A9%3A1");
    }

    #[test]
    fn source_lines_have_one_or_two_numbers() {
        let find: FindSource<'_> = &|_, file| Some(file.to_owned());
        let place = source("m", "./a.c:18", find).unwrap();
        assert_eq!(place["region"], json!({"startLine": 18}));
        let place = source("m", "a.c:18:3", find).unwrap();
        assert_eq!(place["region"], json!({"startLine": 18, "startColumn": 3}));
        assert_eq!(place["artifactLocation"]["uri"], "a.c");
        assert!(source("m", "a.c", find).is_none());
        assert!(source("m", "a.c:1", &|_, _| None).is_none());
    }
}
