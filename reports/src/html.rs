//! One HTML file to look at: overview, heat maps, a divergence side by side.
//!
//! The file is complete: style, script and data are in it, and nothing is
//! fetched, which a content security policy in it enforces. What is on the page
//! is put there by the script as text, so that a function's name stays a name.
//!
//! A large gate has hundreds of thousands of boundaries, and the page is to
//! stay below [`LIMIT`]. Functions are arrays of numbers and of references to a
//! table of texts in which each text is once: programs share their libraries, and
//! configurations share everything about the Wasm. Where that is not enough,
//! detail is left out in steps, and the page says which.

use crate::cases::{Case, cases};
use crate::functions::FunctionFigures;
use crate::gate::JobOutcome;
use crate::model::{Report, Verdict};
use crate::number::{duration, grouped, percent};
use crate::printable::clean;
use serde_json::{Value, json};
use std::collections::HashMap;

/// Bytes that a page does not exceed, as long as leaving out detail of
/// functions and divergences can help.
pub const LIMIT: usize = 5_000_000;

/// Divergences that are shown in full.
const IN_FULL: usize = 40;
/// Lines of state and frames of a divergence.
const STATE: usize = 400;

const STYLE: &str = include_str!("html/page.css");
const SCRIPT: &str = include_str!("html/page.js");

/// What is on the page. Each step leaves out more.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Detail {
    /// Everything.
    Full,
    /// Functions that were executed or lack something.
    Executed,
    /// These without the offsets of their boundaries.
    NoOffsets,
    /// Functions that lack something.
    Lacking,
    /// No functions.
    None,
}

impl Detail {
    const ALL: [Detail; 5] =
        [Detail::Full, Detail::Executed, Detail::NoOffsets, Detail::Lacking, Detail::None];

    fn note(self) -> Option<&'static str> {
        match self {
            Detail::Full => None,
            Detail::Executed => Some("functions that were not executed and lack nothing"),
            Detail::NoOffsets => {
                Some("functions that were not executed and lack nothing, and offsets in heat maps")
            }
            Detail::Lacking => Some("functions that lack nothing, and offsets in heat maps"),
            Detail::None => Some("all functions"),
        }
    }

    fn wants(self, function: &FunctionFigures) -> bool {
        let lacks = !function.unavailable.is_empty() || !function.unanchored.is_empty();
        match self {
            Detail::Full => true,
            Detail::Executed | Detail::NoOffsets => lacks || function.stops > 0,
            Detail::Lacking => lacks,
            Detail::None => false,
        }
    }
}

/// The report as an HTML page.
///
/// # Errors
/// None that is known.
pub fn render(report: &Report) -> Result<String, serde_json::Error> {
    let mut text = String::new();
    for detail in Detail::ALL {
        text = page(report, &data(report, detail))?;
        if text.len() < LIMIT {
            break;
        }
    }
    Ok(text)
}

fn page(report: &Report, data: &Value) -> Result<String, serde_json::Error> {
    // In JSON this character occurs in strings only, and there it may end the
    // element or begin a comment.
    let data = serde_json::to_string(data)?.replace('<', "\\u003c");
    let title = crate::xml::escaped_line(&format!(
        "wdiff: {} {}",
        head(report),
        report.program.path.chars().take(120).collect::<String>()
    ));
    Ok(format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <header><b>wdiff</b><span id=\"verdict\" class=\"pill\"></span><span id=\"subtitle\" class=\"grow\"></span>\
         <input type=\"search\" id=\"search\" placeholder=\"Search programs and functions ( / )\" aria-label=\"Search\">\
         <button id=\"theme\" title=\"light or dark (t)\" aria-label=\"light or dark\">&#9680;</button></header>\n\
         <main>\n<section id=\"tiles\"></section>\n<section id=\"notes\" class=\"card\" hidden></section>\n\
         <section id=\"overview\" class=\"card\"><h2>Programs and configurations</h2><div id=\"chips\" class=\"chips\"></div>\
         <div class=\"scroll\"><table id=\"matrix\"></table></div><p id=\"empty\" class=\"note\" hidden>Nothing matches.</p>\
         <p class=\"note\"><kbd>&larr;</kbd> <kbd>&uarr;</kbd> <kbd>&darr;</kbd> <kbd>&rarr;</kbd> move, <kbd>Enter</kbd> open, \
         <kbd>n</kbd> <kbd>p</kbd> next and previous failure, <kbd>/</kbd> search, <kbd>t</kbd> light or dark, <kbd>Esc</kbd> close. \
         A match shows the share of live values that were available.</p></section>\n\
         <section id=\"detail\" class=\"card\" hidden></section>\n</main>\n<div id=\"tip\"></div>\n\
         <noscript><p>This page needs JavaScript; the text, JSON and Markdown reports do not.</p></noscript>\n\
         <script type=\"application/json\" id=\"data\">{data}</script>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n"
    ))
}

fn head(report: &Report) -> &'static str {
    match (report.verdict, report.gate.is_some()) {
        (Verdict::Match, true) => "passed",
        (Verdict::Divergence, true) => "failed",
        (verdict, _) => verdict.key(),
    }
}

/// Texts, each once.
#[derive(Default)]
struct Strings {
    list: Vec<String>,
    known: HashMap<String, usize>,
}

impl Strings {
    fn index(&mut self, text: &str) -> usize {
        if let Some(at) = self.known.get(text) {
            return *at;
        }
        self.list.push(text.to_owned());
        self.known.insert(text.to_owned(), self.list.len() - 1);
        self.list.len() - 1
    }
}

fn data(report: &Report, detail: Detail) -> Value {
    let cases = cases(report);
    let (mut strings, mut programs, mut configs) =
        (Strings::default(), Strings::default(), Strings::default());
    let mut in_full = IN_FULL;
    let list: Vec<Value> = cases
        .iter()
        .map(|case| {
            let program = programs.index(case.program);
            let config = configs.index(&case.config.to_string());
            entry(case, (program, config), detail, &mut in_full, &mut strings)
        })
        .collect();
    let mut notes: Vec<String> = Vec::new();
    if let Some(why) = &report.inconclusive {
        notes.push(format!("{}: {}", why.reason.key(), why.detail));
    }
    if let Some(gate) = &report.gate {
        notes.extend(gate.gone.iter().map(|key| format!("gone: {key} is in the baseline only")));
    }
    if let Some(what) = detail.note() {
        notes.push(format!(
            "To keep this page small it leaves out {what}; the JSON report has them."
        ));
    }
    let version = &report.tool.version;
    let compiler = report.tool.cranelift.as_ref().map(|v| format!(", cranelift {v}"));
    let shard = report.gate.as_ref().and_then(|gate| gate.shard.as_ref());
    let subtitle = format!(
        "{}{}   wdiff {version}{}",
        report.program.path,
        shard.map(|shard| format!(", shard {shard}")).unwrap_or_default(),
        compiler.unwrap_or_default()
    );
    let verdict = if report.gate.is_some() && report.verdict == Verdict::Divergence {
        "failed"
    } else {
        report.verdict.key()
    };
    cleaned(json!({
        "verdict": verdict, "head": head(report), "subtitle": subtitle,
        "tiles": tiles(report, &cases, programs.list.len(), configs.list.len()),
        "notes": notes, "programs": programs.list, "configs": configs.list,
        "strings": strings.list, "cases": list, "bisect": bisected(report),
    }))
}

/// The script line by line: in texts a line feed is shown and not obeyed.
fn bisected(report: &Report) -> Value {
    let mut section = json!(report.bisect);
    if let Some(text) = section.pointer_mut("/reproducer/text") {
        let lines: Vec<&str> = text.as_str().unwrap_or_default().lines().collect();
        *text = json!(lines);
    }
    section
}

fn tiles(report: &Report, cases: &[Case<'_>], programs: usize, configs: usize) -> Vec<Value> {
    let live = report.values.live;
    let seen = live.located.saturating_add(live.derived).saturating_add(live.constant);
    let all = seen.saturating_add(live.unavailable);
    let count = |which: fn(&&Case<'_>) -> bool| cases.iter().filter(which).count() as u64;
    let failing = count(|case| !case.failures.is_empty());
    let open = count(|case| {
        let answered = matches!(case.outcome, JobOutcome::Match | JobOutcome::Divergence);
        !answered && !case.accepted
    });
    let marked = |n: u64, kind: &'static str| if n > 0 { kind } else { "" };
    let mut tiles = Vec::new();
    if report.gate.is_some() {
        tiles.push(json!(["programs", grouped(programs as u64), ""]));
        tiles.push(json!(["configurations", grouped(configs as u64), ""]));
        tiles.push(json!(["failing", grouped(failing), marked(failing, "bad")]));
        tiles.push(json!(["without an answer", grouped(open), marked(open, "unsure")]));
    }
    tiles.push(json!(["boundaries executed", grouped(report.boundaries.executed), ""]));
    tiles.push(json!(["values compared", grouped(report.values.compared), ""]));
    let wrong = report.values.wrong;
    tiles.push(json!(["wrong", grouped(wrong), marked(wrong, "bad")]));
    let share = percent(seen, all).unwrap_or_else(|| "none".to_owned());
    tiles.push(json!(["live values available", share, ""]));
    tiles.push(json!(["time", duration(report.time.wall_s()), ""]));
    tiles
}

fn entry(
    case: &Case<'_>,
    (program, config): (usize, usize),
    detail: Detail,
    in_full: &mut usize,
    strings: &mut Strings,
) -> Value {
    let failures: Vec<Value> = case
        .failures
        .iter()
        .map(|failure| json!([failure.kind.key(), failure.place(), failure.detail]))
        .collect();
    let mut entry = json!({
        "p": program, "c": config, "o": case.outcome.key(), "a": case.accepted, "f": failures,
    });
    let Some(report) = case.report else {
        entry["d"] = json!(case.detail);
        return entry;
    };
    entry["d"] = json!(case.detail.filter(|_| case.outcome != JobOutcome::Divergence));
    let code = report.code.map(|code| json!({"bytes": code.bytes}));
    let wast = report.wast.as_ref().map(|section| json!(section));
    entry["r"] = json!({
        "program": report.program, "boundaries": report.boundaries, "values": report.values,
        "stable_points": report.stable_points, "memory": report.memory, "host_calls": report.host_calls,
        "adoptions": report.adoptions, "time": report.time, "code": code, "wast": wast,
    });
    let features = report.tool.cpu_features.join(" ");
    entry["cpu"] = if features.is_empty() { json!(-1) } else { json!(strings.index(&features)) };
    if let Some(found) = &report.divergence {
        if *in_full > 0 {
            *in_full -= 1;
            let mut found = found.clone();
            if let Some(state) = &mut found.state_diff {
                state.expected.truncate(STATE);
                state.actual.truncate(STATE);
            }
            found.frames.truncate(STATE);
            found.slots.truncate(STATE);
            entry["x"] = json!(found);
        } else {
            entry["cut"] = json!(true);
        }
    }
    let functions: Vec<Value> = report
        .functions
        .iter()
        .flatten()
        .filter(|function| detail.wants(function))
        .map(|function| self::function(function, detail, strings))
        .collect();
    if !functions.is_empty() {
        entry["fn"] = Value::Array(functions);
    }
    entry
}

/// A function as the script's `functions` reads it, by position.
fn function(function: &FunctionFigures, detail: Detail, strings: &mut Strings) -> Value {
    let name = function.name.as_ref().map_or(json!(-1), |name| json!(strings.index(name)));
    let steps = match detail {
        Detail::Full | Detail::Executed => json!(strings.index(&function.steps)),
        _ => json!(-1),
    };
    let lacks: Vec<Value> = function
        .unavailable
        .iter()
        .map(|lack| {
            let slots: Vec<String> =
                lack.slots.iter().map(|(slot, why)| format!("{slot} ({why})")).collect();
            json!([lack.offset, lack.stable, slots.join(", ")])
        })
        .collect();
    json!([
        function.instance,
        function.func,
        name,
        function.code_bytes,
        function.boundaries,
        function.stops,
        function.live_compared,
        function.live_unavailable,
        function.first,
        steps,
        strings.index(&function.heat),
        lacks,
        function.unanchored,
    ])
}

/// The same with every text cleaned of what acts on its neighbours.
fn cleaned(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(clean(&text).into_owned()),
        Value::Array(list) => Value::Array(list.into_iter().map(cleaned).collect()),
        Value::Object(map) => Value::Object(
            map.into_iter()
                .map(|(key, value)| (clean(&key).into_owned(), cleaned(value)))
                .collect(),
        ),
        other => other,
    }
}
