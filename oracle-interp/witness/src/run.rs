//! One module: instantiation, start function, calls.
//!
//! Both sides are given the same module, the same imports and the same calls,
//! one after the other on the same instance, so that later calls find what
//! earlier ones left. A call that exceeds its budget is abandoned on both sides
//! at the same instruction, and the next one is made. After a difference the
//! module is not run on: what follows would only be its consequences.

use crate::copies::Copies;
use crate::imports;
use crate::lockstep::{Halt, Host, Session, Stepper};
use crate::outcome::{Difference, Outcome, count};
use crate::value;
use corpus::SplitMix64;
use oracle_interp::{DecodeError, ExportKind, InstantiateError, Limits, Module, Oracle};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use wasi_host::{Output, Stdin, World, WorldConfig};
use wasm_view::{FuncAddr, FuncIdx, HeapType, RefType, ValType, Value};
use wasmtime::{AsContextMut, Engine, Func, Instance, Store, Val};

/// A call to make.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The export's name.
    pub function: String,
    /// Its arguments.
    pub args: Vec<Value>,
}

/// What a program that imports WASI is given. The world is asked once; both
/// sides get its answer.
pub type Wasi = WorldConfig;

/// Damage done to the oracle, to see that it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Perturbation {
    /// A bit of the innermost frame's last number.
    Slot,
    /// A bit of the last byte of the first memory.
    Memory,
}

/// How to compare.
#[derive(Clone, Debug)]
pub struct Options {
    /// Draws the arguments.
    pub seed: u64,
    /// The calls to make; `None` for every exported function, with drawn
    /// arguments.
    pub calls: Option<Vec<Invocation>>,
    /// How often each exported function is called, if `calls` is `None`.
    pub draws: u32,
    /// Instructions of the oracle's after which a call is abandoned.
    pub instructions_per_call: u64,
    /// Stops between comparisons of all memories and tables in full.
    pub whole_state_every: u64,
    /// For programs that import it.
    pub wasi: Wasi,
    /// Damage to do once, at the first possible stop after so many.
    pub perturbation: Option<(Perturbation, u64)>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            seed: 0,
            calls: None,
            draws: 2,
            instructions_per_call: 20_000,
            whole_state_every: 512,
            wasi: Wasi {
                args: vec!["program".to_string()],
                stdin: Stdin::Empty,
                stdout: Output::Discard,
                stderr: Output::Discard,
                ..Wasi::default()
            },
            perturbation: None,
        }
    }
}

/// Room for what Wasmtime is allowed (see `lockstep`), and a deeper stack.
const LIMITS: Limits = Limits {
    max_frames: 1 << 20,
    max_value_cells: 1 << 24,
    max_memory_pages: 8 << 10,
    max_table_elements: 1_000_000,
    max_heap_bytes: 1 << 28,
};

/// Runs a module on both sides in lockstep. Never fails: what goes wrong is
/// part of the outcome.
pub fn compare(engine: &Engine, wasm: &[u8], options: &Options) -> Outcome {
    let theirs = wasmtime::Module::new(engine, wasm);
    let module = match (Module::decode(wasm), &theirs) {
        (Ok(module), _) => Arc::new(module),
        (Err(DecodeError::Invalid { message, .. }), Ok(_)) => {
            let difference = Difference {
                place: None,
                what: "validity".to_string(),
                oracle: message,
                wasmtime: "valid".to_string(),
            };
            return Outcome { differences: vec![difference], ..Outcome::default() };
        }
        (Err(error), _) => return Outcome::refused(&oracle_refusal(&error)),
    };
    let theirs = match theirs {
        Ok(theirs) => theirs,
        Err(error) => return Outcome::refused(&wasmtime_refusal(&error)),
    };
    match Run::start(engine, module, &theirs, options) {
        Ok(run) => run.calls(options),
        Err(outcome) => *outcome,
    }
}

/// Without offset and instruction, so that equal reasons have equal names.
fn oracle_refusal(error: &DecodeError) -> String {
    match error {
        DecodeError::Invalid { .. } => "invalid on both sides".to_string(),
        DecodeError::Unsupported { feature, .. } => {
            let proposal = feature.split(" (").next().unwrap_or(feature);
            format!("oracle: unsupported, {proposal}")
        }
        DecodeError::Limit { message, .. } => format!("oracle: limit, {message}"),
    }
}

fn wasmtime_refusal(error: &wasmtime::Error) -> String {
    let text = error.root_cause().to_string();
    let text = text.split(" (at offset").next().unwrap_or(&text);
    format!("Wasmtime: {text}")
}

/// A module instantiated on both sides.
struct Run {
    store: Store<Host>,
    instance: Option<Instance>,
}

/// Polls once. Nothing but our own debug handler ever makes a future of
/// Wasmtime's wait, and that means the end: the caller drops it.
pub(crate) fn drive<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

impl Run {
    /// Instantiates on both sides and runs the start function.
    fn start(
        engine: &Engine,
        module: Arc<Module>,
        theirs: &wasmtime::Module,
        options: &Options,
    ) -> Result<Run, Box<Outcome>> {
        let refuse = |reason: String| Box::new(Outcome::refused(&reason));
        let mut store = Store::new(engine, Host::default());
        store.limiter(|host| host);
        store.set_debug_handler(Stepper);
        let mut oracle = Oracle::new(LIMITS);
        let given = imports::provide(engine, &module, theirs, &mut oracle, &mut store);
        let given = given.map_err(|why| refuse(format!("imports: {why}")))?;
        let single = store.edit_breakpoints().map(|mut edit| edit.single_step(true));
        if !matches!(single, Some(Ok(()))) {
            return Err(refuse("Wasmtime does not single-step".to_string()));
        }

        let (id, trap) = match oracle.instantiate(Arc::clone(&module), &given.oracle) {
            Ok(id) => (id, None),
            Err(InstantiateError::Trap { instance, trap }) => (instance, Some(trap)),
            Err(error) => return Err(refuse(format!("oracle: {error}"))),
        };
        let uses_wasi = module.imports().iter().any(|import| import.module.starts_with("wasi"));
        let world = match uses_wasi.then(|| World::live(options.wasi.clone())) {
            Some(Err(error)) => return Err(refuse(format!("world: {error}"))),
            Some(Ok(world)) => Some(world),
            None => None,
        };
        let start = module.start();
        let copies = Copies::of(module.bytes());
        let copies = copies.map_err(|error| refuse(format!("the second validation: {error}")))?;
        let mut session = Session::new(options.clone(), module, oracle, id, world, copies);
        if let Some(trap) = trap {
            session.outcome.calls += 1;
            session.event = oracle_interp::Event::Trapped(trap);
            session.fresh = true;
            session.unmade = true;
        } else if let Some(start) = start
            && let Err(halt) = session.begin(start, &[])
        {
            session.close(halt);
            return Err(Box::new(session.into_outcome()));
        }
        session.starting = true;
        store.data_mut().session = Some(Box::new(session));

        let made = drive(Instance::new_async(&mut store, theirs, &given.wasmtime));
        let mut run = Run { store, instance: None };
        let called = trap.is_some() || start.is_some();
        let instance = match &made {
            Some(Ok(instance)) => Some(*instance),
            // Also a failed instantiation leaves an instance behind.
            _ => run.store.debug_all_instances().pop(),
        };
        if let (Some(Err(error)), false) = (&made, error_is_end(&made)) {
            return Err(refuse(wasmtime_refusal(error)));
        }
        run.instance = instance;
        run.with_session(|session, store| {
            session.starting = false;
            if let Some(instance) = instance
                && session.native.is_none()
            {
                session.know_instance(instance, store);
            }
        });
        if called || !matches!(made, Some(Ok(_))) {
            let whole = matches!(made, Some(Ok(_)));
            if !run.finish(made.map(|made| made.map(|_| Vec::new()))) || !whole {
                return Err(Box::new(run.into_outcome()));
            }
        } else {
            let compared = run.with_session(|session, store| session.compare_everything(store));
            if let Some(Err(halt)) = compared {
                run.with_session(|session, _| session.close(halt));
                return Err(Box::new(run.into_outcome()));
            }
        }
        Ok(run)
    }

    /// Makes the calls.
    fn calls(mut self, options: &Options) -> Outcome {
        let calls = match &options.calls {
            Some(calls) => calls.clone(),
            None => self.drawn_calls(options),
        };
        for call in calls {
            if !self.call(&call) {
                break;
            }
        }
        self.into_outcome()
    }

    fn drawn_calls(&mut self, options: &Options) -> Vec<Invocation> {
        let mut rng = SplitMix64::new(options.seed);
        let drawn = self.with_session(|session, _| {
            let module = &session.module;
            let functions: Vec<_> = module
                .exports()
                .iter()
                .filter(|export| export.kind == ExportKind::Func)
                .map(|export| (export.name.clone(), FuncIdx::new(export.index)))
                .collect();
            let resolve = |func| session.oracle.instance(session.instance).resolve(func);
            let exported: Vec<FuncAddr> = functions.iter().map(|(_, f)| resolve(*f)).collect();
            let mut calls = Vec::new();
            for _ in 0..options.draws {
                for (name, func) in &functions {
                    let params = module.func_type(*func).map(|ty| ty.params.as_slice());
                    let params = params.unwrap_or_default();
                    let draw = |ty| match (value::draw(ty, &mut rng, &exported), ty) {
                        // Null of a defined type is one of its hierarchy.
                        (
                            Value::AnyRef(None),
                            ValType::Ref(RefType { heap: HeapType::Concrete(index), .. }),
                        ) if module.func_type_of(index).is_some() => Value::FuncRef(None),
                        (value, _) => value,
                    };
                    let args = params.iter().copied().map(draw).collect();
                    calls.push(Invocation { function: name.clone(), args });
                }
            }
            calls
        });
        drawn.unwrap_or_default()
    }

    /// Makes a call. Answers whether another one can be made.
    fn call(&mut self, call: &Invocation) -> bool {
        let begun = self.with_session(|session, store| {
            let export = session.module.export(&call.function);
            let func = export.filter(|export| export.kind == ExportKind::Func);
            let Some(func) = func.map(|export| FuncIdx::new(export.index)) else {
                let why = format!("there is no exported function {}", call.function);
                return Err(Halt::Cannot(why));
            };
            session.begin(func, &call.args)?;
            let results = session.module.func_type(func).map_or(0, |ty| ty.results.len());
            let args: wasmtime::Result<Vec<Val>> = call
                .args
                .iter()
                .map(|value| value::to_wasmtime(*value, &session.functions, store))
                .collect();
            let args = args.map_err(|error| Halt::Cannot(format!("an argument: {error}")))?;
            Ok((args, results))
        });
        let (args, results) = match begun {
            Some(Ok(begun)) => begun,
            Some(Err(halt)) => {
                let more = matches!(halt, Halt::Limit(_));
                self.with_session(|session, _| session.close(halt));
                return more;
            }
            None => return false,
        };
        let instance = self.instance;
        let func: Option<Func> =
            instance.and_then(|instance| instance.get_func(&mut self.store, &call.function));
        let Some(func) = func else {
            let why = Halt::Cannot("an export that Wasmtime does not have".to_string());
            self.with_session(|session, _| session.close(why));
            return false;
        };
        let mut results = vec![Val::I32(0); results];
        let returned = drive(func.call_async(&mut self.store, &args, &mut results));
        self.finish(returned.map(|returned| returned.map(|()| results)))
    }

    /// Compares how a call ended. Answers whether another one can be made.
    fn finish(&mut self, returned: Option<wasmtime::Result<Vec<Val>>>) -> bool {
        let ended = self.with_session(|session, store| {
            let ended = match (session.halt.take(), returned) {
                (Some(halt), _) => Err(halt),
                (None, Some(Ok(results))) => session.returned(&results, store),
                (None, Some(Err(error))) => match error.downcast_ref::<wasmtime::Trap>() {
                    Some(trap) => session.trapped(*trap, store),
                    None if error.is::<wasmtime::ThrownException>() => session.threw(store),
                    None => {
                        let text = error.root_cause();
                        Err(Halt::Cannot(format!("Wasmtime ended with `{text}`")))
                    }
                },
                (None, None) => Err(Halt::Cannot("Wasmtime waits".to_string())),
            };
            let Err(halt) = ended else { return true };
            // Both sides stand at the same instruction.
            if matches!(halt, Halt::Budget | Halt::Exit)
                && let Err(halt) = session.compare_everything(store)
            {
                session.close(halt);
                return false;
            }
            let more = matches!(halt, Halt::Budget);
            session.close(halt);
            more
        });
        // A handler that was dropped while it waited is lost to the store.
        if std::mem::take(&mut self.store.data_mut().halted) {
            self.store.set_debug_handler(Stepper);
        }
        ended.unwrap_or(false)
    }

    /// Works on the session and the store.
    fn with_session<R>(
        &mut self,
        work: impl FnOnce(&mut Session, &mut wasmtime::StoreContextMut<'_, Host>) -> R,
    ) -> Option<R> {
        let mut session = self.store.data_mut().session.take()?;
        let result = work(&mut session, &mut self.store.as_context_mut());
        self.store.data_mut().session = Some(session);
        Some(result)
    }

    fn into_outcome(mut self) -> Outcome {
        match self.store.data_mut().session.take() {
            Some(session) => session.into_outcome(),
            None => Outcome::refused("the session was lost"),
        }
    }
}

/// Whether an instantiation that failed did so as a program may.
fn error_is_end(made: &Option<wasmtime::Result<Instance>>) -> bool {
    match made {
        Some(Err(error)) => {
            error.is::<wasmtime::Trap>()
                || error.is::<wasmtime::ThrownException>()
                || error.is::<crate::host::Halted>()
        }
        _ => true,
    }
}

impl Session {
    /// Ends a call that did not end by itself.
    fn close(&mut self, halt: Halt) {
        match halt {
            Halt::Difference => count(&mut self.outcome.ends, "difference"),
            Halt::Budget => count(&mut self.outcome.ends, "budget of instructions"),
            Halt::Exit => count(&mut self.outcome.ends, "exit"),
            Halt::Limit(name) => {
                count(&mut self.outcome.ends, &format!("limit of {name}"));
            }
            Halt::Cannot(why) => {
                count(&mut self.outcome.ends, "not comparable");
                count(&mut self.outcome.not_compared, &why);
            }
        }
        self.oracle.abandon();
        self.fresh = false;
    }
}
