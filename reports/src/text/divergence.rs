//! The evidence of a divergence: place, instruction, wrong values, machine
//! code, call stack, states.
//!
//! Everything is bounded: a runaway recursion has a hundred thousand frames and
//! a wiped memory a million wrong bytes, and neither helps anybody at a
//! terminal. What is left out is counted; the JSON form has all of it.

use super::page::{Page, TableCell};
use crate::divergence::{Divergence, Frame, StateDiff, WitnessVerdict};
use crate::number::{counted, grouped};
use crate::printable::clean;
use crate::slot::{Slot, SlotType};
use crate::style::Role;
use similar::{ChangeTag, TextDiff};

/// Most wrong slots shown.
const SLOTS: usize = 24;
/// Frames shown of a deep call stack, from its innermost and outermost end.
const FRAMES: (usize, usize) = (16, 4);
/// Most lines of either state that are compared, and most lines of their
/// difference that are shown: comparing costs time in the product of both.
const STATE: (usize, usize) = (4000, 120);
/// Lines of equal state around a difference.
const CONTEXT: usize = 3;
/// Most characters of a value shown: a vector, or 16 bytes and three dots.
const VALUE: usize = 37;
/// Most characters of a name or of a line that came with the divergence.
const LINE: usize = 200;

/// The divergence in half a line.
pub(crate) fn in_short(d: &Divergence) -> String {
    let mut text = d.kind.to_string();
    if let Some(func) = d.func {
        text.push_str(&format!(" in {}", function(func, d.name.as_deref())));
    }
    if let Some(offset) = d.offset {
        text.push_str(&format!(" at {offset:#x}"));
    }
    if let Some(instruction) = &d.instruction {
        text.push_str(&format!(", {}", shown(instruction)));
    }
    if let Some(slot) = d.slots.first() {
        let side =
            |value: &str| slot.ty.brief(value).unwrap_or_else(|| shortened(&clean(value), VALUE));
        let actual = slot.actual.as_deref().map_or("none".to_owned(), side);
        text.push_str(&format!("; {} is {actual}", slot.slot));
        if let Some(expected) = &slot.expected {
            text.push_str(&format!(", expected {}", side(expected)));
        }
        if d.slots.len() > 1 {
            text.push_str(&format!(" (and {} more)", grouped(d.slots.len() as u64 - 1)));
        }
    }
    text
}

/// Writes the evidence.
pub(super) fn write(d: &Divergence, page: &mut Page) {
    place(d, page);
    listing(d, page);
    slots(&d.slots, page);
    native(d, page);
    frames(&d.frames, page);
    if let Some(states) = &d.state_diff {
        state(states, page);
    }
    witness(d, page);
}

fn function(func: u32, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("#{func} {}", shown(name)),
        None => format!("#{func}"),
    }
}

fn place(d: &Divergence, page: &mut Page) {
    page.title("Where");
    if let Some(func) = d.func {
        let instance = d.instance.map(|n| format!(", instance {n}")).unwrap_or_default();
        page.row("function", &format!("{}{instance}", function(func, d.name.as_deref())));
    }
    if let Some(offset) = d.offset {
        page.row("offset", &format!("{offset:#x} ({offset})"));
    }
    page.row("source", &shown(d.source_line.as_deref().unwrap_or_default()));
    if !d.summary.is_empty() {
        page.row("what", &shown(&d.summary));
    }
    if let Some(after) = &d.after {
        let text = shown(after.instruction.as_deref().unwrap_or("?"));
        let line = after.source_line.as_deref().map(|line| format!(" ({})", shown(line)));
        let line = line.unwrap_or_default();
        page.row("executed last", &format!("{:#x} {text}{line}, in #{}", after.offset, after.func));
    }
    let before = counted(d.boundary_index, "boundary", "boundaries");
    page.row("reached after", &before);
    if let Some(pc) = d.native_pc {
        page.row("native pc", &pc.to_string());
    }
}

fn listing(d: &Divergence, page: &mut Page) {
    // Without neighbours the verdict's line has said it all.
    if d.listing.is_empty() {
        return;
    }
    page.title("Wasm");
    let rows: Vec<Vec<TableCell>> = d
        .listing
        .iter()
        .map(|line| {
            let here = d.offset == Some(line.offset);
            let offset = format!("{:#x}", line.offset);
            marked(here, [TableCell::right(offset), TableCell::left(shown(&line.text))])
        })
        .collect();
    page.table(2, &rows);
}

/// Cells with a marker before them if they are the ones to look at.
fn marked<const N: usize>(here: bool, cells: [TableCell; N]) -> Vec<TableCell> {
    let marker = TableCell::left(if here { ">" } else { " " });
    let cells = std::iter::once(marker).chain(cells);
    cells.map(|cell| if here { cell.role(Role::Bad) } else { cell }).collect()
}

fn slots(slots: &[Slot], page: &mut Page) {
    if slots.is_empty() {
        return;
    }
    page.title("Wrong");
    let titles = ["slot", "type", "expected", "", "actual", "", "read from"];
    let titles = titles.map(|title| TableCell::left(title).role(Role::Faint));
    let mut rows: Vec<Vec<TableCell>> = vec![titles.into()];
    for slot in slots.iter().take(SLOTS) {
        let name = match &slot.name {
            Some(name) => format!("{} ({})", slot.slot, shown(name)),
            None => slot.slot.to_string(),
        };
        let [expected, expected_decimal] = value(slot.ty, slot.expected.as_deref());
        let [actual, actual_decimal] = value(slot.ty, slot.actual.as_deref());
        rows.push(vec![
            TableCell::left(name),
            TableCell::left(slot.ty.key()),
            TableCell::left(expected).role(Role::Good),
            TableCell::left(expected_decimal).role(Role::Good),
            TableCell::left(actual).role(Role::Bad),
            TableCell::left(actual_decimal).role(Role::Bad),
            TableCell::left(shown(slot.location.as_deref().unwrap_or("-"))),
        ]);
    }
    page.table(2, &rows);
    left_out(slots.len().saturating_sub(SLOTS), "slot", "slots", page);
}

/// A value's digits, and what a person would write beside them.
fn value(ty: SlotType, value: Option<&str>) -> [String; 2] {
    match value {
        Some(text) => [shortened(&clean(text), VALUE), ty.decimal(text).unwrap_or_default()],
        None => ["none".to_owned(), String::new()],
    }
}

/// The text, with dots for what goes beyond `limit` characters.
fn shortened(text: &str, limit: usize) -> String {
    if text.chars().nth(limit).is_none() {
        return text.to_owned();
    }
    text.chars().take(limit.saturating_sub(3)).chain("...".chars()).collect()
}

/// A name or a line that came with the divergence, fit to be shown.
fn shown(text: &str) -> String {
    shortened(&clean(text), LINE)
}

fn left_out(count: usize, one: &str, many: &str, page: &mut Page) {
    if count > 0 {
        let text = format!("  ... and {} more", counted(count as u64, one, many));
        page.line(&page.paint(Role::Faint, &text));
    }
}

fn native(d: &Divergence, page: &mut Page) {
    if d.native_disassembly.is_empty() {
        return;
    }
    page.title("Native");
    for line in &d.native_disassembly {
        let here = d.is_native_pc(line);
        let text = format!("  {}  {}", if here { ">" } else { " " }, shown(line));
        if here {
            page.line(&page.paint(Role::Bad, &text));
        } else {
            page.line(&text);
        }
    }
}

fn frames(frames: &[Frame], page: &mut Page) {
    if frames.is_empty() {
        return;
    }
    page.title("Call stack");
    let (inner, outer) = FRAMES;
    let row = |(number, frame): (usize, &Frame)| {
        vec![
            TableCell::right(number.to_string()),
            TableCell::left(function(frame.func, frame.name.as_deref())),
            TableCell::left(format!("instance {}", frame.instance)),
            TableCell::right(format!("{:#x}", frame.offset)),
            TableCell::left(shown(frame.source_line.as_deref().unwrap_or_default())),
        ]
    };
    let hidden = frames.len().saturating_sub(inner + outer);
    let all = || frames.iter().enumerate();
    let mut rows: Vec<Vec<TableCell>> = all().take(inner).map(row).collect();
    if hidden > 0 {
        let text = format!("{} left out", counted(hidden as u64, "frame", "frames"));
        rows.push(["...", &text].map(|text| TableCell::right(text).role(Role::Faint)).into());
    }
    rows.extend(all().skip(inner + hidden).map(row));
    page.table(2, &rows);
}

fn state(states: &StateDiff, page: &mut Page) {
    let side = |lines: &'_ [String]| -> Vec<String> {
        lines.iter().take(STATE.0).map(|line| shown(line)).collect()
    };
    let (expected, actual) = (side(&states.expected), side(&states.actual));
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    let actual: Vec<&str> = actual.iter().map(String::as_str).collect();
    page.title("State (- expected, + actual)");
    let diff = TextDiff::from_slices(&expected, &actual);
    let mut lines = Vec::new();
    for (number, group) in diff.grouped_ops(CONTEXT).iter().enumerate() {
        if number > 0 {
            lines.push((Role::Faint, "    ...".to_owned()));
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let (role, sign) = match change.tag() {
                ChangeTag::Equal => (Role::Faint, ' '),
                ChangeTag::Delete => (Role::Good, '-'),
                ChangeTag::Insert => (Role::Bad, '+'),
            };
            lines.push((role, format!("  {sign} {}", change.value())));
        }
    }
    if lines.is_empty() {
        lines.push((Role::Faint, "    no difference".to_owned()));
    }
    for (role, line) in lines.iter().take(STATE.1) {
        page.line(&page.paint(*role, line));
    }
    left_out(lines.len().saturating_sub(STATE.1), "line", "lines", page);
    let longest = states.expected.len().max(states.actual.len());
    let unread = longest.saturating_sub(STATE.0);
    if unread > 0 {
        let text = format!("  ... the last {} of state not compared here", grouped(unread as u64));
        page.line(&page.paint(Role::Faint, &text));
    }
}

fn witness(d: &Divergence, page: &mut Page) {
    page.title("Witness");
    let Some(witness) = &d.witness else {
        page.row("", "none was asked");
        return;
    };
    let verdict = match witness.verdict {
        WitnessVerdict::Agrees => "agrees with the oracle",
        WitnessVerdict::Contradicts => "contradicts the oracle: this is a bug in wdiff",
        WitnessVerdict::Cannot => "cannot tell",
    };
    let reason = witness.reason.as_deref().map(|why| format!(" ({})", clean(why)));
    page.row(&clean(&witness.engine), &format!("{verdict}{}", reason.unwrap_or_default()));
}
