//! `wdiff snapshot`: looking at a program that was halted.

pub mod convert;
pub mod mutants;

use crate::cli::SnapshotCommand;
use crate::error::CommandError;
use crate::migrate::relay::dead_slots;
use crate::migrate::{MOST_MEMORY, resume};
use crate::program::{self, Program};
use crate::session::limits;
use dwarf_map::erased;
use oracle_interp::{Liveness, Oracle};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use wasi_host::WorldState;
use wasi_host::state::NodeState;
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
        SnapshotCommand::Resume(args) => return resume::main(args),
        SnapshotCommand::Convert(args) => return convert::main(args),
    };
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| CommandError::host(format_args!("cannot write: {error}")))?;
    Ok(code)
}

/// Reads a snapshot.
///
/// # Errors
/// Files that are none.
pub fn load(path: &Path) -> Result<Snapshot, CommandError> {
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
    for (func, args) in &snapshot.next {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        line(format!("to come      call of function {} ({})", func.func, args.join(", ")));
    }
    if let Ok(state) = WorldState::decode(&snapshot.host) {
        opened(&state).into_iter().for_each(&mut line);
    }
    for (depth, (frame, dead)) in store.frames.iter().zip(&snapshot.dead).enumerate().rev() {
        let at = frame.boundary;
        line(format!("frame {depth}      function {} at {}", at.func, at.offset));
        slots(frame, dead).into_iter().for_each(|slot| line(format!("  {slot}")));
    }
    text
}

/// What a program has open, a line each.
fn opened(state: &WorldState) -> Vec<String> {
    let mut lines = vec![format!("arguments    {}", state.args.join(" "))];
    lines.extend(state.env.iter().map(|pair| format!("environment  {pair}")));
    for each in &state.descriptors {
        let guest = |at: &u32| {
            state.directories.get(*at as usize).map(String::as_str).unwrap_or("?").to_owned()
        };
        let what = match &each.node {
            NodeState::Input { offset: None } => "standard input".to_owned(),
            NodeState::Input { offset: Some(offset) } => format!("standard input, at {offset}"),
            NodeState::Stdout => "standard output".to_owned(),
            NodeState::Stderr => "standard error".to_owned(),
            NodeState::File { directory, path, offset, size } => {
                format!("{}/{path}, at {offset} of {size}", guest(directory))
            }
            NodeState::Directory { directory, path, listing, .. } => {
                let listed = if listing.is_some() { ", being listed" } else { "" };
                let below = if path == "." { String::new() } else { format!("/{path}") };
                format!("directory {}{below}{listed}", guest(directory))
            }
        };
        lines.push(format!("descriptor {} {what}", each.fd));
    }
    lines
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
    if let (Ok(own), Ok(other)) = (WorldState::decode(&a.host), WorldState::decode(&b.host))
        && let Some(what) = own.difference(&other)
    {
        lines.push(what);
    }
    if lines.is_empty() && (s != t || a.next != b.next || a.host_calls != b.host_calls) {
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
    fit(&program, &snapshot)
        .map_err(|what| CommandError::input(format_args!("{}: {what}", file.display())))?;
    let frames = snapshot.store.frames.len();
    Ok(format!("fits {}: {frames} frames can be resumed\n", path.display()))
}

/// An oracle that stands where a snapshot was taken, if that is a state which the
/// program can be in and go on from.
///
/// # Errors
/// What does not fit, by name.
pub fn fit(program: &Program, snapshot: &Snapshot) -> Result<Oracle, String> {
    let Snapshot { modules, store, dead, next, host, .. } = snapshot;
    if modules.iter().any(|module| *module != program.sha256) {
        let path = program.path.display();
        return Err(format!("a snapshot of another program than {path}"));
    }
    if modules.len() != 1 {
        return Err(format!("{} instances; a program has one", modules.len()));
    }
    if store.frames.is_empty() {
        return Err("it has no frame to go on from".to_owned());
    }
    if store.host_call.is_some() {
        return Err("it waits for a host call, which nobody answers".to_owned());
    }
    let module = &program.module;
    let mut oracle = Oracle::load(limits(), &[Arc::clone(module)], store)
        .map_err(|error| format!("it does not fit {}: {error}", program.path.display()))?;
    if oracle.view() != *store {
        return Err("it holds more than the program can be in".to_owned());
    }
    let mut liveness = HashMap::new();
    for (depth, (frame, dead)) in store.frames.iter().zip(dead).enumerate() {
        let func = frame.boundary.func;
        let known = liveness.entry(func).or_insert_with(|| Liveness::compute(module, func));
        let known = known.as_ref();
        let allowed = dead_slots(known, frame);
        if known.is_some() && dead.iter().zip(allowed).any(|(dead, allowed)| *dead && !allowed) {
            return Err(format!("frame {depth} lacks a slot that is needed"));
        }
    }
    for (func, args) in next {
        let ty = module.func_type(func.func).filter(|_| func.instance.index() == 0);
        let fits = ty.is_some_and(|ty| {
            let given = args.iter().map(|value| value.ty());
            ty.params.len() == args.len() && given.zip(&ty.params).all(|(a, b)| a == erased(*b))
        });
        if !fits || module.function_import(func.func).is_some() {
            return Err(format!("a call to come, of function {}, that cannot be made", func.func));
        }
    }
    if !host.is_empty() {
        WorldState::decode(host).map_err(|error| error.to_string())?;
    }
    Ok(oracle)
}
