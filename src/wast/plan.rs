//! What a script will need, found out before it runs in lockstep.
//!
//! A subject can map nothing once it is sealed, so code and memory of every
//! instance must be known when it starts. They follow from the script alone,
//! except that whether a module links may depend on what code did before. So
//! the script runs once on the oracle, at full speed, with every module
//! compiled as it comes by. The instances that this run makes are the plan;
//! the run in lockstep makes the same ones or is refused.

use super::drive;
use crate::error::CommandError;
use crate::inject::Fault;
use crate::lockstep::blueprint::{Blueprint, Planned};
use crate::lockstep::kernel::MEMORY_CAPACITY;
use crate::output;
use aot_backend::{CompileError, CompileOptions, Image, Part, combine, compile};
use oracle_interp::script::{self, Driver, Outcome, Running};
use oracle_interp::{Limits, Module, Oracle};
use std::collections::HashMap;
use std::sync::Arc;
use wasm_view::{FuncAddr, InstanceId, MemoryType, Trap, Value};
use wasmparser::WasmFeatures;

/// Bytes of native stack: Wasmtime's default (`max_wasm_stack`). Scripts
/// exhaust it on purpose, and every frame is a stop or more.
const STACK_SIZE: u64 = 512 << 10;

/// Everything that a script's subject is made of.
pub struct Plan {
    /// The instances, `spectest` first.
    pub blueprint: Blueprint,
    /// The image of each instance's module.
    pub images: Vec<Arc<Image>>,
    /// All of them in one.
    pub image: Image,
    /// Where each one is in it.
    pub parts: Vec<Part>,
    /// Modules that cannot be instantiated, by their bytes, and why.
    pub refused: HashMap<Vec<u8>, String>,
}

/// A fault to put into one instance's code.
pub struct Injection<'a> {
    /// The instance.
    pub instance: u32,
    /// The fault, as `wdiff run --inject` takes it.
    pub fault: &'a str,
}

impl<'a> Injection<'a> {
    /// Reads `INSTANCE@FAULT`.
    ///
    /// # Errors
    /// Anything else.
    pub fn parse(text: &'a str) -> Result<Self, CommandError> {
        let parsed = text.split_once('@').and_then(|(instance, fault)| {
            Some(Injection { instance: instance.parse().ok().filter(|n| *n > 0)?, fault })
        });
        parsed.ok_or_else(|| {
            CommandError::input(format_args!(
                "--inject {text}: in scripts it is INSTANCE@FAULT, with the number of an instance from 1"
            ))
        })
    }
}

/// Plans a script.
///
/// # Errors
/// An image that cannot be made; a fault that fits nowhere.
pub fn plan(
    options: &CompileOptions,
    features: WasmFeatures,
    file: &str,
    text: &str,
    injection: Option<&Injection<'_>>,
) -> Result<Plan, CommandError> {
    let mut planning = Planning {
        options,
        compiled: HashMap::new(),
        blueprint: Blueprint { instances: Vec::new(), stack_size: STACK_SIZE },
        images: Vec::new(),
        failure: None,
    };
    script::run(&mut planning, features, file, text);
    let Planning { compiled, blueprint, mut images, failure, .. } = planning;
    if let Some(error) = failure {
        return Err(error);
    }
    if let Some(Injection { instance, fault: text }) = injection {
        let at = *instance as usize;
        let (Some(image), Some(planned)) = (images.get_mut(at), blueprint.instances.get(at)) else {
            return Err(CommandError::input(format_args!(
                "--inject {instance}@{text}: {file} makes {} instances",
                blueprint.instances.len().saturating_sub(1)
            )));
        };
        let mut faulty = Image::clone(image);
        let fault = Fault::parse(text, &planned.module, &faulty)?;
        let injected = fault.inject(&mut faulty)?;
        output::note(&format!("injected {fault} into instance {instance}: {}", injected.change));
        *image = Arc::new(faulty);
    }
    let each: Vec<&Image> = images.iter().map(Arc::as_ref).collect();
    let (image, parts) = combine(&each).map_err(CommandError::bug)?;
    let refused = compiled.into_iter().filter_map(|(bytes, made)| Some((bytes, made.err()?)));
    Ok(Plan { blueprint, images, image, parts, refused: refused.collect() })
}

struct Planning<'a> {
    options: &'a CompileOptions,
    /// By module; `Err` says what it would need.
    compiled: HashMap<Vec<u8>, Result<Arc<Image>, String>>,
    blueprint: Blueprint,
    images: Vec<Arc<Image>>,
    failure: Option<CommandError>,
}

impl Driver for Planning<'_> {
    fn call(
        &mut self,
        oracle: &mut Oracle,
        func: FuncAddr,
        args: &[Value],
    ) -> Result<Outcome, String> {
        Running.call(oracle, func, args)
    }

    fn limits(&self) -> Limits {
        let Limits { max_memory_pages, max_table_elements, .. } = drive::limits();
        Limits { max_memory_pages, max_table_elements, ..Running.limits() }
    }

    fn accept(&mut self, module: &Module) -> Result<(), String> {
        let bytes = module.bytes();
        if !self.compiled.contains_key(bytes) {
            let defined = module.memories().iter().skip(module.num_imported_memories() as usize);
            let bytes_of = |ty: &MemoryType| ty.minimum.saturating_mul(ty.page_bytes());
            let largest = defined.map(bytes_of).max().unwrap_or(0);
            let made = match compile(bytes, self.options) {
                Ok(_) if largest > MEMORY_CAPACITY => {
                    Err("a memory of more than 4 GiB".to_string())
                }
                Ok(image) => Ok(Arc::new(image)),
                Err(error @ CompileError::Codegen(_)) => {
                    let message = error.to_string();
                    self.failure.get_or_insert(CommandError::bug(&message));
                    Err(message)
                }
                Err(CompileError::Unsupported { feature, .. }) => Err(feature),
                Err(other) => Err(other.to_string()),
            };
            self.compiled.insert(bytes.to_vec(), made);
        }
        match self.compiled.get(bytes) {
            Some(Err(reason)) => Err(reason.clone()),
            _ => Ok(()),
        }
    }

    fn instantiated(
        &mut self,
        oracle: &mut Oracle,
        instance: InstanceId,
        _trap: Option<Trap>,
    ) -> Result<(), String> {
        let planned = Planned::of(oracle.instance(instance));
        // `spectest`, the first one, and a module that the script expects not to
        // link were not asked for before.
        if let Err(reason) = self.accept(&planned.module) {
            let error = CommandError::unsupported(format_args!(
                "a module that is not asked for is instantiated, and needs {reason}"
            ));
            self.failure.get_or_insert(error);
        }
        match self.compiled.get(planned.module.bytes()) {
            Some(Ok(image)) => self.images.push(image.clone()),
            _ => return Err("an instance of a module that was not compiled".to_string()),
        }
        self.blueprint.instances.push(planned);
        Ok(())
    }

    fn goes_on(&mut self, _line: usize, _column: usize) -> bool {
        self.failure.is_none()
    }
}
