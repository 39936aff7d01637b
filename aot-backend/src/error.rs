//! What can go wrong, sorted by whose fault it is.
//!
//! A module can be invalid (its author's business), use what is not supported
//! yet (ours, stated by name), or be too large; a message about code
//! generation is always a bug, here or in Cranelift.

use dwarf_map::section::SectionError;
use wasm_view::WasmOffset;

/// Why a module could not be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The bytes are no valid module.
    #[error("invalid module at {offset}: {message}")]
    Invalid {
        /// Where the first fault lies.
        offset: WasmOffset,
        /// What the validator says.
        message: String,
    },
    /// The module is valid but uses something not built yet.
    #[error("{feature} at {offset} is not supported")]
    Unsupported {
        /// Where it is used first.
        offset: WasmOffset,
        /// Its name, as the proposal calls it.
        feature: String,
    },
    /// A limit of this backend was reached.
    #[error("the module is too large: {what}")]
    TooLarge {
        /// Which limit.
        what: String,
    },
    /// The CPU description names a feature that x86-64 code does not have.
    #[error("unknown CPU feature `{name}`; known are {known}")]
    UnknownCpuFeature {
        /// The name.
        name: String,
        /// All names that would do, separated by spaces.
        known: String,
    },
    /// Code generation failed: a bug in this crate or in Cranelift.
    #[error("code generation failed (a bug): {0}")]
    Codegen(String),
}

impl CompileError {
    /// A bug, with what was being done.
    pub(crate) fn bug(what: impl std::fmt::Display) -> Self {
        CompileError::Codegen(what.to_string())
    }

    /// A limit.
    pub(crate) fn too_large(what: impl Into<String>) -> Self {
        CompileError::TooLarge { what: what.into() }
    }
}

/// Why a file is not an image that can be run.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Not a readable ELF file.
    #[error("not a readable ELF file: {0}")]
    Elf(#[from] object::read::Error),
    /// Readable, but not what this version writes.
    #[error("not an image: {0}")]
    NotAnImage(&'static str),
    /// A section that every image has is missing.
    #[error("the image has no section `{0}`")]
    MissingSection(&'static str),
    /// A compressed section that is not read.
    #[error("a section of the image is compressed {0}")]
    Compressed(&'static str),
    /// The map does not parse.
    #[error("the image's map is damaged: {0}")]
    Map(#[from] SectionError),
}
