//! The JSON form as a contract: its keys and their order, what a reader
//! accepts, and what it makes of a text that somebody tampered with.

mod samples;

use reports::json::{self, JsonError};
use reports::{DivergenceKind, Report, SlotType, Verdict};
use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// The objects of the format and their keys, as published. `[]` stands for the
/// elements of an array.
const CONTRACT: &[(&str, &str)] = &[
    (
        "",
        "schema verdict inconclusive tool program subject boundaries values adoptions \
         stable_points memory host_calls time divergence",
    ),
    ("inconclusive", "reason detail"),
    ("tool", "version cranelift cpu_features"),
    ("program", "path sha256 functions exit_code trap"),
    ("subject", "backend opt stable target engine anchors sandbox"),
    ("boundaries", "static anchored merged threaded eliminated executed stops longest_merged_run"),
    ("values", "compared equal wrong located derived constant unavailable reasons live"),
    ("values.live", "located derived constant unavailable"),
    ("stable_points", "static executed full unavailable_live"),
    ("memory", "bytes_compared deferred"),
    ("time", "wall_s stops_per_s boundaries_per_s"),
    (
        "divergence",
        "kind instance func name offset instruction boundary_index slots native_pc \
         native_disassembly source_line frames witness",
    ),
    ("divergence.slots[]", "slot type expected actual location"),
    ("divergence.frames[]", "instance func name offset source_line"),
    ("divergence.witness", "verdict engine reason"),
];

/// Keys that this version adds after those of the contract.
const ADDED: &[(&str, &str)] = &[
    ("", "code functions wast selftest gate migration bisect"),
    ("divergence", "listing state_diff rerun summary after timeline"),
    ("time", "compile_s"),
    ("divergence.timeline[]", "instance func offset instruction"),
    ("code", "bytes"),
    (
        "functions[]",
        "instance func name code_bytes boundaries stops live_compared live_unavailable first steps \
         heat unanchored unavailable dead_unavailable",
    ),
    ("functions[].unavailable[]", "offset stable slots"),
    ("gate", "plan paths programs_sha256 planned shard baseline gone counts jobs"),
    ("gate.counts", "match divergence inconclusive error not_run failed accepted new"),
    ("gate.jobs[]", "index program config outcome detail accepted new failures report"),
    ("gate.jobs[].config", "backend opt stable anchors target engine cpu"),
    ("gate.jobs[].failures[]", "kind instance func name offset detail"),
    (
        "migration",
        "relay stable hand_overs frames deepest snapshot_bytes largest_snapshot capture_s \
         transfer_s restore_s fault choices faults unmigrated",
    ),
    (
        "bisect",
        "title axes code settings reproducer native history executions wall_s no_reproducer",
    ),
    ("bisect.axes[]", "axis applies answer"),
    ("bisect.code", "func name block_start block_end offset instruction executed confirmed mixes"),
    ("bisect.code.mixes[]", "func how result detail"),
    ("bisect.settings[]", "setting result detail"),
    (
        "bisect.reproducer",
        "file wasm_bytes module_bytes instructions span candidates wall_s expected actual witness \
         good command text",
    ),
    ("bisect.native[]", "bad good"),
    ("migration.faults[]", "kind drawn effective caught"),
    ("stable_points", "walks walked witnessed restored"),
    ("divergence.slots[]", "name"),
    ("divergence.listing[]", "offset text"),
    ("divergence.state_diff", "expected actual"),
    (
        "wast",
        "scripts instances lockstep validation text_format superseded not_run failures ended_at",
    ),
    ("selftest", "injected reached effective caught masked delay seed kinds faults"),
    ("selftest.kinds[]", "kind injected reached effective caught masked delay"),
    (
        "selftest.faults[]",
        "fault kind program instruction change outcome delay effect report rerun",
    ),
];

/// Objects whose keys are data.
const OPEN: [&str; 5] = [
    "values.reasons",
    "adoptions",
    "wast.not_run",
    "functions[].unavailable[].slots",
    "migration.choices",
];

/// Where a whole report stands in another one.
const NESTED: &str = "gate.jobs[].report";

/// JSON with its objects' keys in the order of the text.
enum Node {
    Object(Vec<(String, Node)>),
    Array(Vec<Node>),
    Leaf,
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Node;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Node::Object(entries))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Node::Array(items))
            }
            fn visit_unit<E: Error>(self) -> Result<Node, E> {
                Ok(Node::Leaf)
            }
            fn visit_bool<E: Error>(self, _: bool) -> Result<Node, E> {
                Ok(Node::Leaf)
            }
            fn visit_u64<E: Error>(self, _: u64) -> Result<Node, E> {
                Ok(Node::Leaf)
            }
            fn visit_f64<E: Error>(self, _: f64) -> Result<Node, E> {
                Ok(Node::Leaf)
            }
            fn visit_str<E: Error>(self, _: &str) -> Result<Node, E> {
                Ok(Node::Leaf)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl Node {
    /// Notes the keys of every object below this one by its path.
    fn collect(&self, path: &str, found: &mut BTreeMap<String, Vec<String>>) {
        match self {
            Node::Object(entries) => {
                if OPEN.contains(&path) {
                    return;
                }
                let path = if path == NESTED { "" } else { path };
                let keys: Vec<String> = entries.iter().map(|(key, _)| key.clone()).collect();
                let known = found.entry(path.to_owned()).or_insert_with(|| keys.clone());
                // The top level has keys that are not always there; no report has all.
                for key in keys {
                    if !known.contains(&key) {
                        known.push(key);
                    }
                }
                for (key, node) in entries {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    node.collect(&path, found);
                }
            }
            Node::Array(items) => {
                for item in items {
                    item.collect(&format!("{path}[]"), found);
                }
            }
            Node::Leaf => {}
        }
    }
}

/// The objects that the samples have, with their keys as written.
fn written() -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    for (_, report) in samples::all() {
        let text = json::to_string(&report).unwrap();
        serde_json::from_str::<Node>(&text).unwrap().collect("", &mut found);
    }
    found
}

fn published() -> BTreeMap<String, Vec<String>> {
    let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, list) in CONTRACT.iter().chain(ADDED) {
        let entry = keys.entry((*path).to_owned()).or_default();
        entry.extend(list.split_whitespace().map(str::to_owned));
    }
    keys
}

#[test]
fn keys_are_those_of_the_contract_in_its_order() {
    assert_eq!(written(), published());
}

/// The documentation has a heading for every object, its path in backquotes,
/// and below it a table whose first column holds the keys.
#[test]
fn the_documentation_lists_the_same_keys() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/report.md");
    let text = std::fs::read_to_string(path).unwrap();
    let mut documented: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut object = None;
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix('#') {
            object = match heading.split('`').nth(1) {
                Some(path) => Some(path.to_owned()),
                None if heading.ends_with(" The report") => Some(String::new()),
                None => None,
            };
        } else if let (Some(object), Some(row)) = (&object, line.strip_prefix("| `")) {
            let key = row.split('`').next().unwrap();
            documented.entry(object.clone()).or_default().push(key.to_owned());
        }
    }
    assert_eq!(documented, published());
    for kind in DivergenceKind::ALL {
        assert!(text.contains(&format!("- `{kind}`: ")), "kind {kind} is not documented");
    }
}

/// If this fails, copy `tests/expected/operand.json` into the documentation.
#[test]
fn the_documentation_shows_a_real_report() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/report.md");
    let text = std::fs::read_to_string(path).unwrap();
    let example = json::to_string(&samples::operand()).unwrap();
    assert!(text.ends_with(&format!("```json\n{example}```\n")));
}

#[test]
fn names_in_json_are_the_keys_of_the_code() {
    for kind in DivergenceKind::ALL {
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.key());
    }
    for ty in [
        SlotType::I32,
        SlotType::I64,
        SlotType::F32,
        SlotType::F64,
        SlotType::V128,
        SlotType::Funcref,
        SlotType::Externref,
        SlotType::Bytes,
        SlotType::U64,
        SlotType::Offset,
        SlotType::Address,
        SlotType::Text,
    ] {
        assert_eq!(serde_json::to_value(ty).unwrap(), ty.key());
    }
    for verdict in [Verdict::Match, Verdict::Divergence, Verdict::Inconclusive] {
        assert_eq!(serde_json::to_value(verdict).unwrap(), verdict.key());
    }
}

#[test]
fn what_is_written_is_read() {
    for (name, report) in samples::all() {
        let text = json::to_string(&report).unwrap();
        let back = json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(back, report, "{name}");
        assert_eq!(json::to_string(&back).unwrap(), text, "{name}");
    }
}

fn as_value(report: &Report) -> Value {
    serde_json::from_str(&json::to_string(report).unwrap()).unwrap()
}

fn read(value: &Value) -> Result<Report, JsonError> {
    json::from_str(&value.to_string())
}

/// The object at one of the contract's paths; of an array, the first element.
fn object_at<'a>(root: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    let mut value = root;
    for part in path.split('.').filter(|part| !part.is_empty()) {
        value = value.get_mut(part.trim_end_matches("[]"))?;
        if part.ends_with("[]") {
            value = value.get_mut(0)?;
        }
    }
    value.is_object().then_some(value)
}

#[test]
fn a_missing_key_of_the_contract_is_an_error() {
    for (path, keys) in CONTRACT {
        for key in keys.split_whitespace() {
            let mut checked = false;
            for sample in [samples::operand(), samples::inconclusive()] {
                let mut value = as_value(&sample);
                let Some(object) = object_at(&mut value, path) else {
                    continue;
                };
                object.as_object_mut().unwrap().remove(key).unwrap();
                let error = read(&value).expect_err(&format!("{path}.{key}"));
                assert!(error.to_string().contains(&format!("missing field `{key}`")), "{error}");
                checked = true;
            }
            assert!(checked, "{path}.{key}");
        }
    }
}

#[test]
fn keys_that_this_version_adds_may_be_missing_or_unknown() {
    let mut value = as_value(&samples::operand());
    for (path, keys) in ADDED {
        for key in keys.split_whitespace() {
            if let Some(object) = object_at(&mut value, path) {
                object.as_object_mut().unwrap().remove(key);
            }
            // A state_diff without its lines would be a broken one.
            if *path == "divergence" {
                value["divergence"].as_object_mut().unwrap().remove("state_diff");
            }
        }
    }
    value["divergence"].as_object_mut().unwrap().remove("listing");
    value["of_a_later_version"] = Value::from(1);
    value["tool"]["of_a_later_version"] = Value::from(1);
    let report = read(&value).unwrap();
    let divergence = report.divergence.unwrap();
    assert!(divergence.listing.is_empty() && divergence.state_diff.is_none());
}

/// Applies `change` to every value of a document in turn and looks at each
/// result.
fn with_each_changed(root: &Value, change: &Value, look: &mut impl FnMut(&str, &Value)) {
    fn pointers(value: &Value, at: String, into: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                map.iter().for_each(|(key, v)| pointers(v, format!("{at}/{key}"), into));
            }
            Value::Array(list) => {
                list.iter().enumerate().for_each(|(n, v)| pointers(v, format!("{at}/{n}"), into));
            }
            _ => {}
        }
        into.push(at);
    }
    let mut all = Vec::new();
    pointers(root, String::new(), &mut all);
    for pointer in all {
        let mut changed = root.clone();
        *changed.pointer_mut(&pointer).unwrap() = change.clone();
        look(&pointer, &changed);
    }
}

/// Whatever is put wherever: an error, or a report that can be shown.
#[test]
fn tampered_reports_do_not_panic() {
    let changes = [
        Value::Null,
        Value::from(-1),
        Value::from(u64::MAX),
        Value::from(1e300),
        Value::from(""),
        Value::from("0x"),
        Value::from("\u{1b}[2J"),
        Value::from("é".repeat(300)),
        Value::Array(vec![Value::Null]),
        Value::Object(serde_json::Map::new()),
    ];
    let mut readable = 0;
    for sample in [samples::operand(), samples::inconclusive()] {
        let value = as_value(&sample);
        for change in &changes {
            with_each_changed(&value, change, &mut |_, changed| {
                // Not only what passes the checks: the command shows its own
                // reports before anybody has checked them.
                if let Ok(report) = serde_json::from_value::<Report>(changed.clone()) {
                    readable += 1;
                    reports::text::render(&report, reports::Style::plain());
                    let _ = (report.check_invariants(), report.exit_code());
                }
                let _ = read(changed);
            });
        }
    }
    assert!(readable > 100, "{readable}");
}

#[test]
fn every_truncation_is_an_error() {
    let text = json::to_string(&samples::operand()).unwrap();
    let text = text.trim_end();
    for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
        assert!(matches!(json::from_str(&text[..end]), Err(JsonError::Form(_))), "{end}");
    }
}

#[test]
fn not_reports() {
    let deep = "[".repeat(100_000);
    let in_unknown = format!("{{\"x\": {deep}");
    for text in ["", "null", "[]", "{}", "{\"schema\": \"wdiff-report/1\"}", &deep, &in_unknown] {
        assert!(matches!(json::from_str(text), Err(JsonError::Form(_))));
    }
    let mut value = as_value(&samples::matching());
    value["schema"] = Value::from("wdiff-report/2");
    let error = read(&value).unwrap_err().to_string();
    assert!(error.contains("schema \"wdiff-report/2\", this version reads \"wdiff-report/1\""));
    // The same key twice: which one counts would be the reader's whim.
    let twice = json::to_string(&samples::matching()).unwrap();
    let twice = twice.replacen("\"verdict\"", "\"verdict\": \"divergence\", \"verdict\"", 1);
    assert!(json::from_str(&twice).unwrap_err().to_string().contains("duplicate field"));
    assert!(serde_json::from_str::<IgnoredAny>(&twice).is_ok());
}

#[test]
fn contradictions_are_errors() {
    let cases: &[(&str, Value, &str)] = &[
        ("/values/compared", 1.into(), "values.compared is 1"),
        ("/values/equal", 1.into(), "equal 1 + wrong 2"),
        ("/values/located", u64::MAX.into(), "values.compared"),
        ("/values/unavailable", 0.into(), "values.unavailable is 0"),
        ("/values/live/derived", 5000.into(), "values.live.derived is 5000"),
        ("/boundaries/static", 0.into(), "boundaries.static is 0"),
        ("/stable_points/full", 1.into(), "stable_points.full is 1"),
        ("/stable_points/executed", 1.into(), "1 stable points are not full"),
        ("/stable_points/unavailable_live", 1.into(), "0 stable points are not full"),
        ("/verdict", "match".into(), "verdict match"),
        ("/divergence", Value::Null, "verdict divergence"),
        ("/program/sha256", "E3".into(), "program.sha256"),
        ("/divergence/instance", Value::Null, "func without an instance"),
        ("/divergence/offset", Value::Null, "instruction without an offset"),
        ("/divergence/slots", Value::Array(Vec::new()), "names no slot"),
        ("/divergence/slots/0/actual", "0x7".into(), "slot stack1: a value of type i32"),
        ("/divergence/slots/0/actual", "0x00000007".into(), "the same value on both sides"),
        ("/divergence/witness/verdict", "cannot".into(), "gives no reason"),
    ];
    let value = as_value(&samples::operand());
    for (pointer, change, message) in cases {
        let mut changed = value.clone();
        *changed.pointer_mut(pointer).unwrap() = change.clone();
        match read(&changed) {
            Err(JsonError::Contradiction(why)) => assert!(why.contains(message), "{why}"),
            other => panic!("{pointer}: {other:?}"),
        }
    }
    let sample = |wanted: &str| {
        let all = samples::all();
        let (_, report) = all.into_iter().find(|(name, _)| *name == wanted).unwrap();
        as_value(&report)
    };
    let value = sample("gate");
    let cases: &[(&str, Value, &str)] = &[
        ("/verdict", "match".into(), "verdict match"),
        ("/gate/counts/match", 4.into(), "gate.counts"),
        ("/gate/planned", 1.into(), "5 jobs of 1"),
        ("/gate/jobs/0/failures", Value::Array(Vec::new()), "gate.counts"),
        ("/gate/jobs/1/outcome", "inconclusive".into(), "gate.counts"),
        ("/gate/jobs/4/detail", Value::Null, "neither a report nor a reason"),
        ("/gate/jobs/0/report/values/equal", 1.into(), "fib.wasm [cranelift none"),
        ("/gate/jobs/1/report/functions/1/heat", "K".into(), "function #12 has 7 boundaries"),
    ];
    for (pointer, change, message) in cases {
        let mut changed = value.clone();
        *changed.pointer_mut(pointer).unwrap() = change.clone();
        match read(&changed) {
            Err(JsonError::Contradiction(why)) => assert!(why.contains(message), "{why}"),
            other => panic!("{pointer}: {other:?}"),
        }
    }
    let value = sample("selftest");
    for pointer in ["/selftest/caught", "/selftest/kinds/0/injected", "/selftest/reached"] {
        let mut changed = value.clone();
        *changed.pointer_mut(pointer).unwrap() = Value::from(1);
        assert!(matches!(read(&changed), Err(JsonError::Contradiction(_))), "{pointer}");
    }
}
