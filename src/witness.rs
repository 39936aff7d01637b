//! The second witness: an interpreter that is not ours.
//!
//! Before a divergence is called the subject's fault, the oracle itself is
//! checked. It is run on from the diverging boundary to the next point that
//! the outside world can see (a host call, a trap, the end) and wasmi runs the
//! whole program to the same point, its host calls answered from the operation
//! log. There, the two must agree on what comes next and on every memory and
//! numeric global. Nothing is executed twice outside: the log ends where the
//! program stood.

use crate::program::Program;
use oracle_interp::{Event, Oracle, StopSet};
use reports::{Witness, WitnessVerdict};
use std::sync::{Arc, Mutex};
use wasi_host::{GuestMemory, HostError, OperationLog, OutOfBounds, Outcome, World};
use wasm_encoder::{ExportKind, ExportSection, RawSection, Section};
use wasm_view::{FuncIdx, InstanceId, RefType, Trap, ValType, Value};
use wasmi::{Config, Engine, Extern, Linker, Store, TrapCode, Val};

/// Instructions after which either side gives up.
const FUEL: u64 = 4_000_000_000;

/// One function called in the run, in order.
#[derive(Clone, Debug)]
pub struct Called {
    /// The function.
    pub func: FuncIdx,
    /// Its arguments.
    pub args: Vec<Value>,
}

/// The next thing that the outside world sees.
#[derive(Clone, Debug, PartialEq)]
enum Visible {
    HostCall(String, Vec<Value>),
    Trapped(Trap),
    Returned(Vec<Value>),
    Exited(u32),
}

/// Asks the witness about a run that diverged.
///
/// `calls` are the functions called so far, the last one unfinished; `event`
/// is what the oracle is about to do.
pub fn ask(
    program: &Program,
    log: &OperationLog,
    calls: &[Called],
    oracle: &mut Oracle,
    instance: InstanceId,
    event: Event,
) -> Witness {
    let answer = run_on(program, oracle, event).and_then(|expected| {
        let state = rerun(program, log, calls)?;
        compare(&expected, &state, oracle, instance)
    });
    let (verdict, reason) = match answer {
        Ok(()) => (WitnessVerdict::Agrees, None),
        Err(Answer::Contradicts(why)) => (WitnessVerdict::Contradicts, Some(why)),
        Err(Answer::Cannot(why)) => (WitnessVerdict::Cannot, Some(why)),
    };
    Witness { verdict, engine: format!("wasmi {}", "2.0.0"), reason }
}

enum Answer {
    Contradicts(String),
    Cannot(String),
}

fn cannot(why: impl ToString) -> Answer {
    Answer::Cannot(why.to_string())
}

/// Runs the oracle on to the next visible point.
fn run_on(program: &Program, oracle: &mut Oracle, event: Event) -> Result<Visible, Answer> {
    let event = match event {
        Event::Boundary => oracle.run(&StopSet::new(&program.module), FUEL),
        event => event,
    };
    match event {
        Event::HostCall(call) => {
            let import = program.module.function_import(call.func);
            let import = import.ok_or_else(|| cannot("a host call of no import"))?;
            Ok(Visible::HostCall(format!("{}.{}", import.module, import.name), call.args))
        }
        Event::Trapped(trap) => Ok(Visible::Trapped(trap)),
        Event::Thrown(exn) => Err(cannot(format_args!("the oracle threw {exn}"))),
        Event::Finished(values) => Ok(Visible::Returned(values)),
        Event::OutOfFuel => Err(cannot(format_args!(
            "nothing visible happens within {FUEL} instructions of the oracle"
        ))),
        Event::LimitReached(name) => Err(cannot(format_args!("the oracle's limit of {name}"))),
        Event::Boundary => Err(cannot("the oracle stopped at a boundary")),
    }
}

/// What wasmi found.
struct State {
    visible: Visible,
    memories: Vec<Vec<u8>>,
    globals: Vec<Option<Value>>,
}

struct Host {
    world: World,
    /// The call that the log has no answer for.
    pending: Option<(String, Vec<Value>)>,
    failure: Option<String>,
    exit: Option<u32>,
}

#[derive(Debug)]
struct Halt;
impl std::fmt::Display for Halt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("halted by the witness")
    }
}
impl wasmi::errors::HostError for Halt {}

struct WitnessMemory<'a>(&'a mut [u8]);

impl GuestMemory for WitnessMemory<'_> {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), OutOfBounds> {
        let range = range(self.0.len(), address, into.len())?;
        into.copy_from_slice(&self.0[range]);
        Ok(())
    }
    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), OutOfBounds> {
        let range = range(self.0.len(), address, bytes.len())?;
        self.0[range].copy_from_slice(bytes);
        Ok(())
    }
}

/// The range of `length` bytes at `address` in a memory of `size` bytes.
pub fn range(
    size: usize,
    address: u64,
    length: usize,
) -> Result<std::ops::Range<usize>, OutOfBounds> {
    let out = OutOfBounds { address, length: length as u64 };
    let start = usize::try_from(address).map_err(|_| out)?;
    let end = start.checked_add(length).filter(|end| *end <= size).ok_or(out)?;
    Ok(start..end)
}

/// Names under which everything inside is exported for the witness.
const MEMORY: &str = "wdiff memory ";
const GLOBAL: &str = "wdiff global ";
const FUNCTION: &str = "wdiff function ";

fn rerun(program: &Program, log: &OperationLog, calls: &[Called]) -> Result<State, Answer> {
    let module = &program.module;
    let wasm = open_up(program, calls).map_err(cannot)?;
    let mut config = Config::default();
    config.consume_fuel(true).wasm_custom_page_sizes(true).wasm_wide_arithmetic(true);
    let engine = Engine::new(&config);
    let compiled = wasmi::Module::new(&engine, &wasm).map_err(cannot)?;
    let host = Arc::new(Mutex::new(Host {
        world: World::replaying(log.clone(), false),
        pending: None,
        failure: None,
        exit: None,
    }));
    let mut store = Store::new(&engine, ());
    store.set_fuel(FUEL).map_err(cannot)?;
    let mut linker: Linker<()> = Linker::new(&engine);
    for index in 0..module.num_imported_funcs() {
        let func = FuncIdx::new(index);
        let (Some(import), Some(ty)) = (module.function_import(func), module.func_type(func))
        else {
            return Err(cannot("an import without a type"));
        };
        let (space, name) = (import.module.clone(), import.name.clone());
        let wasmi_ty = wasmi::FuncType::new(
            ty.params.iter().map(|ty| wasmi_type(*ty)),
            ty.results.iter().map(|ty| wasmi_type(*ty)),
        );
        let host = host.clone();
        // A module may import one function twice; the first definition serves both.
        let _ = linker.func_new(
            &import.module,
            &import.name,
            wasmi_ty,
            move |mut caller, params, results| {
                let halt = || wasmi::Error::host(Halt);
                let mut host = host.lock().map_err(|_| halt())?;
                let args: Option<Vec<Value>> = params.iter().map(value).collect();
                let args = args.ok_or_else(halt)?;
                let memory = caller.get_export(&format!("{MEMORY}0")).and_then(Extern::into_memory);
                let bytes = memory.map(|memory| memory.data_mut(&mut caller)).unwrap_or_default();
                match host.world.call(&space, &name, &args, &mut WitnessMemory(bytes)) {
                    Ok(returned) => match returned.outcome {
                        Outcome::Exit(code) => {
                            host.exit = Some(code);
                            Err(halt())
                        }
                        Outcome::Return(values) => {
                            for (slot, value) in results.iter_mut().zip(values) {
                                *slot = wasmi_value(value);
                            }
                            Ok(())
                        }
                    },
                    Err(HostError::LogExhausted { .. }) => {
                        host.pending = Some((format!("{space}.{name}"), args));
                        Err(halt())
                    }
                    Err(error) => {
                        host.failure = Some(error.to_string());
                        Err(halt())
                    }
                }
            },
        );
    }
    let instance = linker.instantiate_and_start(&mut store, &compiled).map_err(cannot)?;
    let mut visible = Visible::Returned(Vec::new());
    for call in calls {
        let name = format!("{FUNCTION}{}", call.func.get());
        let func = instance.get_func(&store, &name).ok_or_else(|| cannot("no such function"))?;
        let args: Vec<Val> = call.args.iter().map(|value| wasmi_value(*value)).collect();
        let results =
            module.func_type(call.func).map(|ty| ty.results.as_slice()).unwrap_or_default();
        let mut out: Vec<Val> =
            results.iter().map(|ty| wasmi_value(Value::default_of(*ty))).collect();
        visible = match func.call(&mut store, &args, &mut out) {
            Ok(()) => Visible::Returned(out.iter().map_while(value).collect()),
            Err(error) => ended(&error, &host)?,
        };
        if !matches!(visible, Visible::Returned(_)) {
            break;
        }
    }
    let memories = (0..module.memories().len())
        .filter_map(|index| instance.get_memory(&store, &format!("{MEMORY}{index}")))
        .map(|memory| memory.data(&store).to_vec())
        .collect();
    let globals = (0..module.globals().len())
        .map(|index| {
            let global = instance.get_global(&store, &format!("{GLOBAL}{index}"))?;
            value(&global.get(&store))
        })
        .collect();
    Ok(State { visible, memories, globals })
}

fn ended(error: &wasmi::Error, host: &Mutex<Host>) -> Result<Visible, Answer> {
    let mut host = host.lock().map_err(|_| cannot("the witness panicked"))?;
    if let Some(code) = host.exit {
        return Ok(Visible::Exited(code));
    }
    if let Some((name, args)) = host.pending.take() {
        return Ok(Visible::HostCall(name, args));
    }
    if let Some(failure) = host.failure.take() {
        return Err(Answer::Contradicts(failure));
    }
    let trap = error.as_trap_code().ok_or_else(|| cannot(error))?;
    Ok(Visible::Trapped(match trap {
        TrapCode::UnreachableCodeReached => Trap::Unreachable,
        TrapCode::MemoryOutOfBounds => Trap::MemoryOutOfBounds,
        // The specification's texts tell the two apart, wasmi's codes do not.
        TrapCode::TableOutOfBounds => Trap::TableOutOfBounds,
        TrapCode::IndirectCallToNull => Trap::UninitializedElement,
        TrapCode::IntegerDivisionByZero => Trap::IntegerDivideByZero,
        TrapCode::IntegerOverflow => Trap::IntegerOverflow,
        TrapCode::BadConversionToInteger => Trap::InvalidConversionToInteger,
        // Engines differ in how deep they go.
        TrapCode::StackOverflow => return Err(cannot("wasmi's stack ran out")),
        TrapCode::BadSignature => Trap::IndirectCallTypeMismatch,
        other => return Err(cannot(format_args!("wasmi ended with {other:?}"))),
    }))
}

fn compare(
    expected: &Visible,
    state: &State,
    oracle: &Oracle,
    instance: InstanceId,
) -> Result<(), Answer> {
    if !same_visible(expected, &state.visible) {
        return Err(Answer::Contradicts(format!(
            "the oracle goes on to {expected:?}, wasmi to {:?}",
            state.visible
        )));
    }
    let view = oracle.instance(instance);
    for (index, (id, bytes)) in view.memories.iter().zip(&state.memories).enumerate() {
        let ours = oracle.memory(*id);
        if ours.len() != bytes.len() {
            return Err(Answer::Contradicts(format!(
                "memory {index} has {} bytes in the oracle, {} in wasmi",
                ours.len(),
                bytes.len()
            )));
        }
        if let Some(at) = ours.iter().zip(bytes).position(|(a, b)| a != b) {
            return Err(Answer::Contradicts(format!(
                "memory {index} at {at:#x} is {:#04x} in the oracle, {:#04x} in wasmi",
                ours[at], bytes[at]
            )));
        }
    }
    for (index, (id, theirs)) in view.globals.iter().zip(&state.globals).enumerate() {
        let ours = oracle.global_value(*id);
        if let Some(theirs) = theirs.filter(|theirs| *theirs != ours) {
            return Err(Answer::Contradicts(format!(
                "global {index} is {} in the oracle, {} in wasmi",
                ours.hex(),
                theirs.hex()
            )));
        }
    }
    Ok(())
}

fn same_visible(ours: &Visible, theirs: &Visible) -> bool {
    match (ours, theirs) {
        (Visible::Trapped(Trap::UndefinedElement), Visible::Trapped(Trap::TableOutOfBounds)) => {
            true
        }
        _ => ours == theirs,
    }
}

/// The module with every memory and global, and the functions called, exported
/// under names of ours.
fn open_up(program: &Program, calls: &[Called]) -> Result<Vec<u8>, String> {
    let mut exports = ExportSection::new();
    for index in 0..program.module.memories().len() {
        exports.export(&format!("{MEMORY}{index}"), ExportKind::Memory, index as u32);
    }
    for index in 0..program.module.globals().len() {
        exports.export(&format!("{GLOBAL}{index}"), ExportKind::Global, index as u32);
    }
    let mut functions: Vec<u32> = calls.iter().map(|call| call.func.get()).collect();
    functions.dedup();
    for index in functions {
        exports.export(&format!("{FUNCTION}{index}"), ExportKind::Func, index);
    }
    let mut out = wasm_encoder::Module::new();
    let mut done = false;
    for payload in wasmparser::Parser::new(0).parse_all(&program.wasm) {
        let payload = payload.map_err(|error| error.to_string())?;
        let Some((id, range)) = payload.as_section() else { continue };
        // The start function is among the calls; custom sections say nothing here.
        if matches!(id, 0 | START_ID) {
            continue;
        }
        // Exports come before start, elements, data count, code and data.
        if !done && (id == exports.id() || id > exports.id()) {
            out.section(&exports);
            done = true;
        }
        if id != exports.id() {
            let data = program.wasm.get(range).ok_or("a section beyond the file")?;
            out.section(&RawSection { id, data });
        }
    }
    if !done {
        out.section(&exports);
    }
    Ok(out.finish())
}

/// Id of the start section.
const START_ID: u8 = 8;

fn wasmi_type(ty: ValType) -> wasmi::ValType {
    match ty {
        ValType::I32 => wasmi::ValType::I32,
        ValType::I64 => wasmi::ValType::I64,
        ValType::F32 => wasmi::ValType::F32,
        ValType::F64 => wasmi::ValType::F64,
        ValType::Ref(RefType::FUNC) => wasmi::ValType::FuncRef,
        ValType::V128 => wasmi::ValType::V128,
        // Others are refused by the backend; wasmi has none of them.
        ValType::Ref(_) => wasmi::ValType::ExternRef,
    }
}

fn wasmi_value(value: Value) -> Val {
    match value {
        Value::I32(bits) => Val::I32(bits as i32),
        Value::I64(bits) => Val::I64(bits as i64),
        Value::F32(bits) => Val::F32(wasmi::F32::from_bits(bits)),
        Value::F64(bits) => Val::F64(wasmi::F64::from_bits(bits)),
        Value::V128(bits) => Val::V128(wasmi::V128::from(bits)),
        Value::FuncRef(_) => Val::FuncRef(wasmi::Nullable::Null),
        Value::ExternRef(_) | Value::AnyRef(_) | Value::ExnRef(_) => {
            Val::ExternRef(wasmi::Nullable::Null)
        }
    }
}

/// A numeric value; references have no form that both engines share.
fn value(value: &Val) -> Option<Value> {
    Some(match value {
        Val::I32(number) => Value::I32(*number as u32),
        Val::I64(number) => Value::I64(*number as u64),
        Val::F32(float) => Value::F32(float.to_bits()),
        Val::F64(float) => Value::F64(float.to_bits()),
        Val::V128(bits) => Value::V128(bits.as_u128()),
        _ => return None,
    })
}
