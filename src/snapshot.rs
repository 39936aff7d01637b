//! `wdiff snapshot`: looking at a program that was halted.

use crate::cli::SnapshotCommand;
use crate::error::CommandError;
use crate::migrate::MOST_MEMORY;
use crate::program;
use crate::session::limits;
use oracle_interp::Oracle;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use wasm_view::Frame;
use wasm_view::snapshot::{self, Snapshot};

/// Most lines of single differences.
const LISTED: usize = 20;

/// Runs the subcommand.
///
/// # Errors
/// Files that are no snapshots, or of another program.
pub fn main(command: &SnapshotCommand) -> Result<u8, CommandError> {
    let (text, code) = match command {
        SnapshotCommand::Show { file } => (show(&load(file)?), 0),
        SnapshotCommand::Diff { file, other } => {
            let lines = diff(&load(file)?, &load(other)?);
            match lines.as_slice() {
                [] => ("the snapshots hold the same state\n".to_owned(), 0),
                lines => (lines.join("\n") + "\n", 1),
            }
        }
        SnapshotCommand::Check { file, program } => (check(file, program.as_deref())?, 0),
        SnapshotCommand::Resume { .. } => return Err(not_built("resume")),
        SnapshotCommand::Convert { .. } => return Err(not_built("convert")),
    };
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| CommandError::host(format_args!("cannot write: {error}")))?;
    Ok(code)
}

fn not_built(name: &str) -> CommandError {
    CommandError::unsupported(format_args!(
        "wdiff snapshot {name} is not built yet; this version has show, diff, check"
    ))
}

fn load(path: &Path) -> Result<Snapshot, CommandError> {
    let bytes = std::fs::read(path).map_err(|e| CommandError::file("read", path, e))?;
    snapshot::read(&bytes, MOST_MEMORY)
        .map_err(|error| CommandError::input(format_args!("{}: {error}", path.display())))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The values of a frame, a line each.
fn slots(frame: &Frame, dead: &[bool]) -> Vec<String> {
    let locals = frame.locals.iter().enumerate().map(|(at, slot)| (format!("local{at}"), slot));
    let operands = frame.operands.iter().enumerate().map(|(at, slot)| (format!("stack{at}"), slot));
    locals
        .chain(operands)
        .zip(dead)
        .map(|((name, (ty, value)), dead)| match dead {
            true => format!("{name} {ty} dead"),
            false => format!("{name} {ty} {} {value}", value.hex()),
        })
        .collect()
}

fn show(snapshot: &Snapshot) -> String {
    let mut text = String::new();
    let mut line = |content: String| {
        text.push_str(&content);
        text.push('\n');
    };
    let store = &snapshot.store;
    line(format!("taken by     {}", snapshot.taken_by));
    line(format!("host calls   {} before", snapshot.host_calls));
    for (index, module) in snapshot.modules.iter().enumerate() {
        line(format!("instance {index}   module {}", hex(module)));
    }
    for (index, memory) in store.memories.iter().enumerate() {
        let used = memory.bytes.chunks(snapshot::PAGE).filter(|p| p.iter().any(|b| *b != 0));
        let used = used.count() * snapshot::PAGE;
        line(format!("memory {index}     {} bytes, {used} in use", memory.bytes.len()));
    }
    for (index, table) in store.tables.iter().enumerate() {
        line(format!(
            "table {index}      {} elements of {}",
            table.elements.len(),
            table.ty.element
        ));
    }
    for (index, (ty, value)) in store.globals.iter().enumerate() {
        let kind = if ty.mutable { "mut " } else { "" };
        line(format!("global {index}     {kind}{} {} {value}", ty.content, value.hex()));
    }
    if !store.exceptions.is_empty() || !store.objects.is_empty() {
        line(format!(
            "heap         {} exceptions, {} objects",
            store.exceptions.len(),
            store.objects.len()
        ));
    }
    for (depth, (frame, dead)) in store.frames.iter().zip(&snapshot.dead).enumerate().rev() {
        let at = frame.boundary;
        line(format!("frame {depth}      function {} at {}", at.func, at.offset));
        slots(frame, dead).into_iter().for_each(|slot| line(format!("  {slot}")));
    }
    text
}

fn diff(a: &Snapshot, b: &Snapshot) -> Vec<String> {
    let mut lines = Vec::new();
    if a.modules != b.modules {
        lines.push("they are of different programs".to_owned());
        return lines;
    }
    let (s, t) = (&a.store, &b.store);
    if s.frames.len() != t.frames.len() {
        lines.push(format!("{} frames, {} frames", s.frames.len(), t.frames.len()));
    }
    let frames = s.frames.iter().zip(&a.dead).zip(t.frames.iter().zip(&b.dead)).enumerate();
    for (depth, ((own, own_dead), (other, other_dead))) in frames {
        if own.boundary != other.boundary {
            let at =
                |frame: &Frame| format!("{} at {}", frame.boundary.func, frame.boundary.offset);
            lines.push(format!("frame {depth}: {} | {}", at(own), at(other)));
            continue;
        }
        for (own, other) in slots(own, own_dead).into_iter().zip(slots(other, other_dead)) {
            if own != other {
                lines.push(format!("frame {depth}: {own} | {other}"));
            }
        }
    }
    for (index, (own, other)) in s.memories.iter().zip(&t.memories).enumerate() {
        if own.bytes.len() != other.bytes.len() {
            let (own, other) = (own.bytes.len(), other.bytes.len());
            lines.push(format!("memory {index}: {own} bytes | {other} bytes"));
        }
        let differ = own.bytes.iter().zip(&other.bytes).enumerate().filter(|(_, (a, b))| a != b);
        for (at, (own, other)) in differ.take(LISTED) {
            lines.push(format!("memory {index} byte {at:#x}: {own:02x} | {other:02x}"));
        }
    }
    for (index, (own, other)) in s.globals.iter().zip(&t.globals).enumerate() {
        if own != other {
            lines.push(format!("global {index}: {} | {}", own.1.hex(), other.1.hex()));
        }
    }
    for (index, (own, other)) in s.tables.iter().zip(&t.tables).enumerate() {
        if own != other {
            lines.push(format!("table {index} differs"));
        }
    }
    if lines.is_empty() && (s != t || a.host_calls != b.host_calls) {
        lines.push("the stores differ in what is not listed one by one".to_owned());
    }
    lines
}

fn check(file: &Path, program: Option<&Path>) -> Result<String, CommandError> {
    let snapshot = load(file)?;
    let Some(path) = program else {
        return Ok("whole and readable; name the program to check it against\n".to_owned());
    };
    let program = program::load(path)?;
    let bad = |what: String| CommandError::input(format_args!("{}: {what}", file.display()));
    if snapshot.modules.iter().any(|module| *module != program.sha256) {
        return Err(bad(format!("a snapshot of another program than {}", path.display())));
    }
    let modules = vec![Arc::clone(&program.module); snapshot.modules.len()];
    let mut oracle = Oracle::load(limits(), &modules, &snapshot.store)
        .map_err(|error| bad(format!("it does not fit {}: {error}", path.display())))?;
    if oracle.view() != snapshot.store {
        return Err(bad("it holds more than the program can be in".to_owned()));
    }
    Ok(format!("fits {}: {} frames can be resumed\n", path.display(), snapshot.store.frames.len()))
}
