//! Module bytes to [`Module`], validating on the way.
//!
//! One pass over the file. Each section first goes to the validator, then is
//! taken over into our form. Validation runs to the end of the file even after
//! something unsupported was found: "unsupported" is said of valid modules only.
//!
//! ```text
//! bytes -> wasmparser::Parser -> Validator (all finished proposals)
//!                            \-> sections.rs: types, imports, .. segments
//!                             \-> take.rs: instructions, one after the other
//!                                 function.rs: control flow of a body
//!                                 instruction.rs, rare.rs: the rest -> ops
//! ```

mod function;
mod handlers;
mod instruction;
mod rare;
mod sections;
mod take;
mod types;
mod unsupported;

pub(crate) use unsupported::instruction_name;

use crate::error::DecodeError;
use crate::module::{Code, Module};
use crate::shapes::ShapeBuilder;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use wasm_view::WasmOffset;
use wasmparser::{
    Encoding, FuncValidatorAllocations, Parser, Payload, ValidPayload, Validator, WasmFeatures,
};

/// Why decoding stopped or will be refused.
#[derive(Debug)]
pub(crate) enum Problem {
    /// The validator or parser objects.
    Wasm(wasmparser::Error),
    /// Valid, but not for us: position and name.
    Unsupported(usize, String),
    /// Too large for this implementation: position and which limit.
    Limit(usize, &'static str),
}

impl From<wasmparser::Error> for Problem {
    fn from(error: wasmparser::Error) -> Self {
        Problem::Wasm(error)
    }
}

type Result<T> = std::result::Result<T, Problem>;

impl Module {
    /// What is validated and executed: WebAssembly 3.0, threads, and the
    /// finished or widely used proposals besides.
    pub const FEATURES: WasmFeatures = WasmFeatures::WASM3
        .union(WasmFeatures::THREADS)
        .union(WasmFeatures::LEGACY_EXCEPTIONS)
        .union(WasmFeatures::WIDE_ARITHMETIC)
        .union(WasmFeatures::CUSTOM_PAGE_SIZES);

    /// Validates and decodes a module in the binary format. What is decoded
    /// holds a copy of the file, for its data segments; see
    /// [`Module::decode_shared`] for one without.
    ///
    /// # Errors
    ///
    /// See [`DecodeError`]; every error names a byte offset.
    pub fn decode(bytes: &[u8]) -> std::result::Result<Module, DecodeError> {
        Module::decode_shared(Arc::new(bytes.to_vec()))
    }

    /// Validates and decodes a module file that others may hold too.
    ///
    /// # Errors
    ///
    /// As [`Module::decode`].
    pub fn decode_shared(file: Arc<Vec<u8>>) -> std::result::Result<Module, DecodeError> {
        let bytes = file.as_slice();
        if u32::try_from(bytes.len()).is_err() {
            return Err(DecodeError::Limit {
                offset: WasmOffset::new(u32::MAX),
                message: "a module file of 4 GiB or more".to_string(),
            });
        }
        decode(&file).map_err(|problem| match problem {
            Problem::Wasm(error) => from_wasmparser(bytes, &error),
            Problem::Unsupported(at, feature) => {
                DecodeError::Unsupported { offset: wasm_offset(at), feature }
            }
            Problem::Limit(at, which) => {
                DecodeError::Limit { offset: wasm_offset(at), message: which.to_string() }
            }
        })
    }
}

impl Module {
    /// The first thing in the module that these features do not include: where
    /// it is, the proposal it is of and, in parentheses, the construct. For
    /// whoever executes less than this interpreter.
    pub fn first_beyond(&self, features: WasmFeatures) -> Option<(WasmOffset, String)> {
        let check =
            |features| Validator::new_with_features(features).validate_all(self.bytes()).err();
        let error = check(features)?;
        // Where the validator does not say what it misses, it is what removes
        // this very error.
        let removes = |more: &WasmFeatures| {
            check(features | *more).is_none_or(|other| other.offset() != error.offset())
        };
        let missing = error
            .missing_wasm_feature()
            .or_else(|| Self::FEATURES.difference(features).iter().find(removes))?;
        let offset = wasm_offset(error.offset());
        let instruction = self.func_at(offset).and_then(|func| self.operator(func, offset));
        let construct = match &instruction {
            Some(operator) => instruction_name(operator),
            None => error.message().to_string(),
        };
        Some((offset, unsupported::feature(missing, &construct)))
    }
}

/// Offsets are below the file's length, which fits 32 bits.
fn wasm_offset(position: usize) -> WasmOffset {
    WasmOffset::new(u32::try_from(position).unwrap_or(u32::MAX))
}

/// Whether a module that lacks these features only lacks features.
fn is_valid_with(bytes: &[u8], missing: WasmFeatures) -> bool {
    let mut features = Module::FEATURES | missing;
    loop {
        match Validator::new_with_features(features).validate_all(bytes) {
            Ok(_) => return true,
            Err(error) => match error.missing_wasm_feature() {
                Some(more) if !features.contains(more) => features |= more,
                _ => return false,
            },
        }
    }
}

fn from_wasmparser(bytes: &[u8], error: &wasmparser::Error) -> DecodeError {
    let offset = wasm_offset(error.offset());
    let message = error.message().to_string();
    if let Some(features) = error.missing_wasm_feature()
        && is_valid_with(bytes, features)
    {
        DecodeError::Unsupported { offset, feature: unsupported::feature(features, &message) }
    } else if message.contains("exceeds limit") || message.contains("implementation limit") {
        DecodeError::Limit { offset, message }
    } else {
        DecodeError::Invalid { offset, message }
    }
}

/// A module in the making.
struct Decoder {
    module: Module,
    shapes: ShapeBuilder,
    /// The first thing found that is valid but unsupported; from then on
    /// bodies are validated only.
    unsupported: Option<Problem>,
    allocations: FuncValidatorAllocations,
    scratch: function::Scratch,
}

impl Decoder {
    /// Remembers the first unsupported thing and lets other problems through.
    fn note<T: Default>(&mut self, result: Result<T>) -> Result<T> {
        match result {
            Err(problem @ Problem::Unsupported(..)) => {
                self.unsupported.get_or_insert(problem);
                Ok(T::default())
            }
            other => other,
        }
    }
}

fn decode(file: &Arc<Vec<u8>>) -> Result<Module> {
    let bytes = file.as_slice();
    static NEXT_IDENTITY: AtomicU64 = AtomicU64::new(0);
    let features = Module::FEATURES;
    let mut validator = Validator::new_with_features(features);
    let mut parser = Parser::new(0);
    parser.set_features(features);
    let mut decoder = Decoder {
        module: sections::empty_module(NEXT_IDENTITY.fetch_add(1, Ordering::Relaxed)),
        shapes: ShapeBuilder::new(),
        unsupported: None,
        allocations: FuncValidatorAllocations::default(),
        scratch: function::Scratch::default(),
    };
    for payload in parser.parse_all(bytes) {
        let payload = payload?;
        if let Payload::Version { encoding: Encoding::Component, range, .. } = &payload {
            return Err(Problem::Unsupported(
                range.start,
                "component model (component)".to_string(),
            ));
        }
        if let Payload::CodeSectionStart { range, .. } = &payload {
            reserve(&mut decoder.module.code, range.len().min(bytes.len()));
        }
        match validator.payload(&payload)? {
            ValidPayload::Func(to_validate, body) => decoder.function(to_validate, &body)?,
            ValidPayload::Ok | ValidPayload::End(_) => decoder.section(payload)?,
            ValidPayload::Parser(_) => {}
        }
    }
    if let Some(problem) = decoder.unsupported {
        return Err(problem);
    }
    let Decoder { mut module, shapes, .. } = decoder;
    module.code.shapes = shapes.finish();
    module.bytes = Arc::clone(file);
    module.finish_names();
    shrink(&mut module.code);
    Ok(module)
}

/// Makes room for the instructions of `bytes` bytes of code, of which few have
/// less than two bytes on average. Growing by and by would copy everything
/// several times. A refusal shows when the room is really needed.
fn reserve(code: &mut Code, bytes: usize) {
    let ops = bytes / 2;
    let _ = code.ops.try_reserve_exact(ops);
    let _ = code.offsets.try_reserve_exact(ops);
    let _ = code.shapes_at.try_reserve_exact(ops);
}

fn shrink(code: &mut Code) {
    code.ops.shrink_to_fit();
    code.offsets.shrink_to_fit();
    code.shapes_at.shrink_to_fit();
    code.branches.shrink_to_fit();
    code.rare.shrink_to_fit();
    code.constants.shrink_to_fit();
}
