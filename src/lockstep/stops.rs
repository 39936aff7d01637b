//! Which boundaries halt the subject, and how others can ask it to halt.

use super::shipped::Shipped;
use super::sparse::Sparse;
use crate::error::CommandError;
use crate::program::Program;
use dwarf_map::{Anchor, ImageMap};
use oracle_interp::{Module, StopSet};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tracer::{Interrupter, Subject};
use wasi_host::Cancel;
use wasm_view::{FuncIdx, WasmOffset};

/// A place named on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// Every stable point.
    Stable,
    /// The first boundary of every function.
    Entries,
    /// Every boundary of a function.
    Function(FuncIdx),
    /// One boundary.
    Boundary(FuncIdx, WasmOffset),
    /// Nowhere but at the stable points where the run is to pause.
    Pauses,
}

/// Reads `FUNC`: `#N` or a name.
///
/// # Errors
/// Unknown and ambiguous names, with the candidates.
pub fn parse_function(text: &str, module: &Module) -> Result<FuncIdx, CommandError> {
    if let Some(number) = text.strip_prefix('#') {
        let index: u32 = number
            .parse()
            .map_err(|_| CommandError::input(format_args!("{text}: `#` wants a function index")))?;
        let count = module.num_funcs();
        if index >= count {
            return Err(CommandError::input(format_args!(
                "{text}: the module has {count} functions"
            )));
        }
        return Ok(FuncIdx::new(index));
    }
    match module.find_func(text).as_slice() {
        [one] => Ok(*one),
        [] => Err(CommandError::input(format_args!(
            "{text}: no function has this name; `wdiff map PROG` lists them, #N names one by index"
        ))),
        many => {
            let list: Vec<String> = many.iter().map(ToString::to_string).collect();
            Err(CommandError::input(format_args!(
                "{text}: the name is ambiguous; it is that of {}",
                list.join(", ")
            )))
        }
    }
}

/// Reads `OFFSET`: decimal or 0x.
///
/// # Errors
/// Anything else.
pub fn parse_offset(text: &str) -> Result<WasmOffset, CommandError> {
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map(WasmOffset::new).map_err(|_| {
        CommandError::input(format_args!(
            "{text}: not a byte offset in the module file (decimal or 0x)"
        ))
    })
}

/// Reads `FUNC:OFFSET`, and checks that a boundary is there.
///
/// # Errors
/// Unknown functions, and offsets at which no reachable instruction begins,
/// with the nearest one.
pub fn parse_boundary(
    text: &str,
    module: &Module,
    map: &ImageMap,
) -> Result<(FuncIdx, WasmOffset), CommandError> {
    let (func, offset) = text
        .rsplit_once(':')
        .ok_or_else(|| CommandError::input(format_args!("{text}: expected FUNC:OFFSET")))?;
    let (func, offset) = (parse_function(func, module)?, parse_offset(offset)?);
    let boundaries = map
        .functions
        .iter()
        .find(|function| function.func == func)
        .map(|function| &function.boundaries)
        .ok_or_else(|| CommandError::input(format_args!("{text}: function {func} is imported")))?;
    if boundaries.iter().any(|boundary| boundary.offset == offset) {
        return Ok((func, offset));
    }
    let nearest = boundaries.iter().min_by_key(|b| b.offset.get().abs_diff(offset.get()));
    let hint = nearest.map(|b| format!("; the nearest is {}", b.offset)).unwrap_or_default();
    Err(CommandError::input(format_args!(
        "{text}: no reachable instruction of function {func} begins at {offset}{hint}"
    )))
}

/// Reads the `--break` options.
///
/// # Errors
/// As [`parse_function`] and [`parse_boundary`].
pub fn parse_breaks(
    breaks: &[String],
    program: &Program,
    map: &ImageMap,
) -> Result<Vec<Where>, CommandError> {
    let module = &program.module;
    let parse = |text: &String| {
        if text == "stable" {
            return Ok(Where::Stable);
        }
        // A name may hold colons: the whole text as a function comes first.
        if text.starts_with('#') && !text.contains(':') || !module.find_func(text).is_empty() {
            return parse_function(text, module).map(Where::Function);
        }
        if text.contains(':') {
            let (func, offset) = parse_boundary(text, module, map)?;
            return Ok(Where::Boundary(func, offset));
        }
        parse_function(text, module).map(Where::Function)
    };
    breaks.iter().map(|text| parse(text).map_err(|error| error.about("--break"))).collect()
}

/// The boundaries to stop at.
pub enum Selection {
    /// All of them.
    Every,
    /// Some; the traps of all others are NOPs.
    Some(Box<Sparse>),
    /// Those that code without traps can be halted at.
    Shipped(Box<Shipped>),
}

impl Selection {
    /// What code without traps needs.
    #[inline]
    pub(super) fn shipped_mut(&mut self) -> Option<&mut Shipped> {
        match self {
            Selection::Shipped(shipped) => Some(shipped),
            _ => None,
        }
    }
}

/// Plants the selected stops: traps at all other boundaries become NOPs.
///
/// # Errors
/// A map that names code outside the text.
pub fn plant(
    places: &[Where],
    every: bool,
    module: &Arc<Module>,
    map: &ImageMap,
    subject: &Subject,
) -> Result<Selection, CommandError> {
    if every || places.is_empty() {
        return Ok(Selection::Every);
    }
    let isa = map.isa();
    let [mut set, mut points] = [(); 2].map(|()| StopSet::new(module));
    for function in &map.functions {
        for (number, boundary) in function.boundaries.iter().enumerate() {
            let wanted = places.iter().any(|place| match *place {
                Where::Stable => boundary.stable.is_some(),
                Where::Entries => number == 0,
                Where::Function(func) => func == function.func,
                Where::Boundary(func, offset) => func == function.func && offset == boundary.offset,
                Where::Pauses => false,
            });
            if boundary.stable.is_some() && matches!(boundary.anchor, Anchor::Trap(_)) {
                points.insert(function.func, boundary.offset);
            }
            match boundary.anchor {
                Anchor::Trap(_) if wanted => {
                    set.insert(function.func, boundary.offset);
                }
                Anchor::Trap(pc) => {
                    let silent = isa.silent_trap();
                    subject.text().write_code(pc, silent).map_err(CommandError::input)?;
                }
                Anchor::Instruction(_) | Anchor::Merged | Anchor::Threaded | Anchor::Eliminated => {
                }
            }
        }
    }
    let pauses_only = places.contains(&Where::Pauses);
    Ok(Selection::Some(Box::new(Sparse::new(set, pauses_only.then_some(points), module))))
}

/// What a run is doing, for the message of one that does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Reading and compiling the program.
    Preparing,
    /// Comparing.
    Comparing,
    /// In a host call.
    HostCall,
    /// Looking into a divergence.
    Concluding,
}

/// Why a run was asked to end early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// `--timeout` ran out.
    Timeout,
    /// Ctrl-C or a termination signal.
    Interrupted,
}

/// What other threads share with a run: they ask it to end, it tells them how
/// far it is.
#[derive(Default)]
pub struct Control {
    request: AtomicU8,
    phase: AtomicU8,
    finished: AtomicBool,
    /// Ends waiting in host calls.
    pub cancel: Cancel,
    /// Stops so far.
    pub stops: AtomicU64,
    interrupter: Mutex<Option<Interrupter>>,
}

impl Control {
    /// A control that nobody has used yet.
    pub fn new() -> Arc<Control> {
        Arc::new(Control::default())
    }
    /// Asks the run to end; the first request counts.
    pub fn ask(&self, request: Request) {
        let code = match request {
            Request::Timeout => 1,
            Request::Interrupted => 2,
        };
        let _ = self.request.compare_exchange(0, code, Ordering::AcqRel, Ordering::Acquire);
        self.cancel.cancel();
        self.repeat();
    }
    /// The run is over; only its report is still to be written.
    pub fn finish(&self) {
        self.finished.store(true, Ordering::Release);
    }
    /// Whether [`Control::finish`] was called.
    pub fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }
    /// Says what the run does now.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }
    /// What the run does now.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Preparing,
            1 => Phase::Comparing,
            2 => Phase::HostCall,
            _ => Phase::Concluding,
        }
    }
    /// Halts the subject, once more, for a request already made.
    pub fn repeat(&self) {
        if let Ok(guard) = self.interrupter.lock()
            && let Some(interrupter) = guard.as_ref()
        {
            interrupter.interrupt();
        }
    }
    /// The request, if there is one.
    #[inline]
    pub fn request(&self) -> Option<Request> {
        match self.request.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(Request::Timeout),
            _ => Some(Request::Interrupted),
        }
    }
    /// Names the subject that a request halts.
    pub fn attach(&self, interrupter: Interrupter) {
        if let Ok(mut guard) = self.interrupter.lock() {
            *guard = Some(interrupter);
        }
    }
}
