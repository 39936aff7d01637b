//! The engines, behind one function: instantiate afresh, run, say how long the
//! run took and what came of it.

use crate::wasi::{Exit, GuestMemory, Wasi};
use oracle_interp::{Event, Extern, ImportKind, Limits, Module, Oracle, StopSet};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasm_view::{FuncAddr, FuncIdx, FuncType, MemoryId, ValType, Value};

/// A program and its input.
#[derive(Clone, Debug)]
pub struct Job {
    pub name: &'static str,
    pub bytes: Vec<u8>,
    pub export: &'static str,
    /// i32 arguments of the export.
    pub arguments: Vec<i32>,
    pub world: Wasi,
}

/// A run.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Of the call alone.
    pub time: Duration,
    pub outcome: Outcome,
}

/// What all engines must agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Results' bits.
    pub results: Vec<u64>,
    pub output: Vec<u8>,
}

/// Translated once, run many times.
pub trait Engine {
    fn run(&self, job: &Job) -> Ran;
}

/// The oracle, told to `execute` in one of several ways.
pub struct OracleEngine {
    module: Arc<Module>,
    execute: fn(&mut Oracle, &StopSet) -> Event,
    stops: StopSet,
}

impl OracleEngine {
    pub fn new(job: &Job, execute: fn(&mut Oracle, &StopSet) -> Event) -> Self {
        let module = Arc::new(Module::decode(&job.bytes).expect("the program is supported"));
        OracleEngine { stops: StopSet::new(&module), module, execute }
    }

    pub fn execute(&self, job: &Job) -> (Ran, u64) {
        let mut oracle = Oracle::new(Limits::default());
        let imports = vec![Extern::HostFunc; self.module.imports().len()];
        let instance =
            oracle.instantiate(Arc::clone(&self.module), &imports).expect("it instantiates");
        let export = self.module.export(job.export).expect("the export is there");
        let func = FuncAddr { instance, func: FuncIdx::new(export.index) };
        let arguments: Vec<Value> = job.arguments.iter().map(|&n| Value::I32(n as u32)).collect();
        let mut world = job.world.clone();
        oracle.begin_call(func, &arguments).expect("the arguments fit");
        let start = Instant::now();
        let results = loop {
            match (self.execute)(&mut oracle, &self.stops) {
                Event::HostCall(call) => {
                    let name = &self.module.imports()[call.func.index()].name;
                    let args: Vec<u64> = call.args.iter().map(|arg| arg.to_cell().0).collect();
                    let memory = MemoryId::new(0);
                    match world.call(name, &args, &mut OracleMemory(&mut oracle, memory)) {
                        Ok(errno) => {
                            oracle.finish_host_call(&[Value::I32(errno)]).expect("it has one");
                        }
                        Err(Exit(code)) => break vec![u64::from(code)],
                    }
                }
                Event::Finished(results) => {
                    break results.iter().map(|value| value.to_cell().0).collect();
                }
                other => panic!("{}: {other:?}", job.name),
            }
        };
        let time = start.elapsed();
        let outcome = Outcome { results, output: world.output };
        (Ran { time, outcome }, oracle.instructions_executed())
    }
}

impl Engine for OracleEngine {
    fn run(&self, job: &Job) -> Ran {
        self.execute(job).0
    }
}

struct OracleMemory<'a>(&'a mut Oracle, MemoryId);

impl GuestMemory for OracleMemory<'_> {
    fn read(&self, address: u32, into: &mut [u8]) {
        into.copy_from_slice(&self.0.memory(self.1)[address as usize..][..into.len()]);
    }

    fn write(&mut self, address: u32, bytes: &[u8]) {
        self.0.host_write(self.1, u64::from(address), bytes).expect("it is within the memory");
    }
}

/// The functions that a program imports, for the engines that need them named.
fn imports(job: &Job) -> Vec<(String, String, FuncType)> {
    let module = Module::decode(&job.bytes).expect("the program is supported");
    let functions = module.imports().iter().map(|import| {
        let ImportKind::Func(ty) = import.kind else { panic!("{import:?} is no function") };
        (
            import.module.clone(),
            import.name.clone(),
            module.func_type_of(ty).cloned().expect("it is a function type"),
        )
    });
    functions.collect()
}

/// wasmi as it comes.
pub struct WasmiEngine {
    engine: wasmi::Engine,
    module: wasmi::Module,
    imports: Vec<(String, String, FuncType)>,
}

impl WasmiEngine {
    pub fn new(job: &Job) -> Self {
        let engine = wasmi::Engine::default();
        let module = wasmi::Module::new(&engine, &job.bytes[..]).expect("wasmi takes the program");
        WasmiEngine { engine, module, imports: imports(job) }
    }
}

impl Engine for WasmiEngine {
    fn run(&self, job: &Job) -> Ran {
        let mut store = wasmi::Store::new(&self.engine, job.world.clone());
        let mut linker = wasmi::Linker::<Wasi>::new(&self.engine);
        for (module, name, ty) in &self.imports {
            let types =
                |types: &[ValType]| types.iter().copied().map(wasmi_type).collect::<Vec<_>>();
            let ty = wasmi::FuncType::new(types(&ty.params), types(&ty.results));
            let function = name.clone();
            linker
                .func_new(module, name, ty, move |mut caller, params, results| {
                    let memory = caller.get_export("memory").and_then(wasmi::Extern::into_memory);
                    let memory = memory.expect("a WASI program exports its memory");
                    let args: Vec<u64> = params.iter().map(wasmi_bits).collect();
                    let (mut bytes, world) = memory.data_and_store_mut(&mut caller);
                    let errno = world
                        .call(&function, &args, &mut bytes)
                        .map_err(|Exit(code)| wasmi::Error::i32_exit(code as i32))?;
                    if let Some(result) = results.first_mut() {
                        *result = wasmi::Val::I32(errno as i32);
                    }
                    Ok(())
                })
                .expect("each import is defined once");
        }
        let instance =
            linker.instantiate_and_start(&mut store, &self.module).expect("it instantiates");
        let func = instance.get_func(&store, job.export).expect("the export is there");
        let arguments: Vec<_> = job.arguments.iter().map(|&n| wasmi::Val::I32(n)).collect();
        let mut results: Vec<_> =
            func.ty(&store).results().iter().map(|&ty| wasmi::Val::default_for_ty(ty)).collect();
        let start = Instant::now();
        let called = func.call(&mut store, &arguments, &mut results);
        let time = start.elapsed();
        let results = match called {
            Ok(()) => results.iter().map(wasmi_bits).collect(),
            Err(error) => {
                let code = error.i32_exit_status();
                vec![u64::from(code.unwrap_or_else(|| panic!("{}: {error}", job.name)) as u32)]
            }
        };
        Ran { time, outcome: Outcome { results, output: store.into_data().output } }
    }
}

fn wasmi_type(ty: ValType) -> wasmi::ValType {
    match ty {
        ValType::I32 => wasmi::ValType::I32,
        ValType::I64 => wasmi::ValType::I64,
        other => panic!("WASI has no {other:?}"),
    }
}

fn wasmi_bits(value: &wasmi::Val) -> u64 {
    match value {
        wasmi::Val::I32(n) => u64::from(*n as u32),
        wasmi::Val::I64(n) => *n as u64,
        wasmi::Val::F32(x) => u64::from(x.to_bits()),
        wasmi::Val::F64(x) => x.to_bits(),
        other => panic!("no program has a {other:?}"),
    }
}

/// tinywasm as it comes.
pub struct TinywasmEngine {
    module: tinywasm::Module,
    imports: Vec<(String, String, FuncType)>,
}

impl TinywasmEngine {
    pub fn new(job: &Job) -> Self {
        let module = tinywasm::parse_bytes(&job.bytes).expect("tinywasm takes the program");
        TinywasmEngine { module, imports: imports(job) }
    }
}

impl Engine for TinywasmEngine {
    fn run(&self, job: &Job) -> Ran {
        let mut store = tinywasm::Store::default();
        let world = Rc::new(RefCell::new(job.world.clone()));
        let mut imports = tinywasm::Imports::new();
        for (module, name, ty) in &self.imports {
            let types =
                |types: &[ValType]| types.iter().copied().map(tiny_type).collect::<Vec<_>>();
            let results = ty.results.len();
            let ty = tinywasm::types::FuncType::new(&types(&ty.params), &types(&ty.results));
            let (function, world) = (name.clone(), Rc::clone(&world));
            let host = tinywasm::HostFunction::from_untyped(
                &mut store,
                &ty,
                move |mut context, params| {
                    let memory = context.memory("memory")?;
                    let args: Vec<u64> = params.iter().map(tiny_bits).collect();
                    let mut memory = TinyMemory(memory, context.store_mut());
                    match world.borrow_mut().call(&function, &args, &mut memory) {
                        Ok(errno) => {
                            let errno = tinywasm::types::WasmValue::I32(errno as i32);
                            Ok(vec![errno; results])
                        }
                        Err(Exit(code)) => Err(tinywasm::Error::Other(format!("exit {code}"))),
                    }
                },
            );
            imports.define(module, name, host);
        }
        let instance =
            tinywasm::ModuleInstance::instantiate(&mut store, &self.module, Some(imports))
                .expect("it instantiates");
        let func = instance.func_untyped(&store, job.export).expect("the export is there");
        let arguments: Vec<_> =
            job.arguments.iter().map(|&n| tinywasm::types::WasmValue::I32(n)).collect();
        let start = Instant::now();
        let called = func.call(&mut store, &arguments);
        let time = start.elapsed();
        let results = match called {
            Ok(results) => results.iter().map(tiny_bits).collect(),
            Err(tinywasm::Error::Other(text)) => {
                let code = text.strip_prefix("exit ").and_then(|code| code.parse().ok());
                vec![code.unwrap_or_else(|| panic!("{}: {text}", job.name))]
            }
            Err(error) => panic!("{}: {error}", job.name),
        };
        Ran { time, outcome: Outcome { results, output: world.take().output } }
    }
}

struct TinyMemory<'a>(tinywasm::Memory, &'a mut tinywasm::Store);

impl GuestMemory for TinyMemory<'_> {
    fn read(&self, address: u32, into: &mut [u8]) {
        self.0.read_exact(self.1, address as usize, into).expect("it is within the memory");
    }

    fn write(&mut self, address: u32, bytes: &[u8]) {
        let copied = self.0.copy_from_slice(self.1, address as usize, bytes);
        copied.expect("it is within the memory");
    }
}

fn tiny_type(ty: ValType) -> tinywasm::types::WasmType {
    match ty {
        ValType::I32 => tinywasm::types::WasmType::I32,
        ValType::I64 => tinywasm::types::WasmType::I64,
        other => panic!("WASI has no {other:?}"),
    }
}

fn tiny_bits(value: &tinywasm::types::WasmValue) -> u64 {
    use tinywasm::types::WasmValue;
    match value {
        WasmValue::I32(n) => u64::from(*n as u32),
        WasmValue::I64(n) => *n as u64,
        WasmValue::F32(x) => u64::from(x.to_bits()),
        WasmValue::F64(x) => x.to_bits(),
        other => panic!("no program has a {other:?}"),
    }
}
