//! Loading PROG: a module in binary or text form, or an image that carries one.

use crate::error::CommandError;
use aot_backend::Image;
use oracle_interp::{DecodeError, Module};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Largest file that is read: the binary format's offsets are 32-bit.
const LARGEST_FILE: u64 = u32::MAX as u64;

/// A program, validated and decoded.
pub struct Program {
    /// The file it came from.
    pub path: PathBuf,
    /// The module's bytes: offsets everywhere count into these.
    pub wasm: Arc<Vec<u8>>,
    /// The decoded module.
    pub module: Arc<Module>,
    /// The image, when PROG was one.
    pub image: Option<Image>,
    /// SHA-256 of `wasm`.
    pub sha256: [u8; 32],
}

impl Program {
    /// The SHA-256 in hexadecimal.
    pub fn sha256_hex(&self) -> String {
        self.sha256.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Reads a program.
///
/// # Errors
/// Input errors name the file and, for a module, the byte offset; valid
/// modules that use what is not supported yet are inconclusive.
pub fn load(path: &Path) -> Result<Program, CommandError> {
    let bytes = read(path)?;
    let (wasm, image) = if bytes.starts_with(b"\0asm") {
        (bytes, None)
    } else if bytes.starts_with(b"\x7fELF") {
        let image = Image::from_elf(&bytes).map_err(|error| {
            CommandError::input(format_args!(
                "{}: not an image that this wdiff can use: {error}; make one with `wdiff compile`",
                path.display()
            ))
        })?;
        (image.wasm.to_vec(), Some(image))
    } else {
        (assemble(path, &bytes)?, None)
    };
    Ok(Program { image, ..from_wasm(path, wasm)? })
}

/// A program of a module's bytes; `path` is what messages call it.
///
/// # Errors
/// As [`load`].
pub fn from_wasm(path: &Path, wasm: Vec<u8>) -> Result<Program, CommandError> {
    let wasm = Arc::new(wasm);
    let module =
        Module::decode_shared(Arc::clone(&wasm)).map_err(|error| decode_error(path, error))?;
    let sha256 = Sha256::digest(wasm.as_slice()).into();
    Ok(Program { path: path.to_owned(), wasm, module: Arc::new(module), image: None, sha256 })
}

fn read(path: &Path) -> Result<Vec<u8>, CommandError> {
    let metadata = std::fs::metadata(path).map_err(|e| CommandError::file("read", path, e))?;
    if metadata.is_dir() {
        return Err(CommandError::input(format_args!(
            "{} is a directory; expected a .wasm, a .wat or an image",
            path.display()
        )));
    }
    if metadata.len() > LARGEST_FILE {
        return Err(CommandError::input(format_args!(
            "{}: {} bytes; a module has at most {LARGEST_FILE}",
            path.display(),
            metadata.len()
        )));
    }
    let bytes = std::fs::read(path).map_err(|e| CommandError::file("read", path, e))?;
    if bytes.is_empty() {
        return Err(CommandError::input(format_args!(
            "{}: the file is empty; expected a .wasm, a .wat or an image",
            path.display()
        )));
    }
    Ok(bytes)
}

fn assemble(path: &Path, bytes: &[u8]) -> Result<Vec<u8>, CommandError> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| looks_like_text_format(text));
    let Some(text) = text else {
        return Err(CommandError::input(format_args!(
            "{}: neither a Wasm module (no \\0asm at byte offset 0), nor its text format, nor an image",
            path.display()
        )));
    };
    wat::parse_str(text).map_err(|error| {
        let message = error.to_string();
        let message = message.lines().next().unwrap_or_default();
        let place = text_position(&error.to_string());
        CommandError::input(format_args!("{}{place}: {message}", path.display()))
    })
}

/// The text format begins, after blanks and comments, with a parenthesis.
fn looks_like_text_format(text: &str) -> bool {
    let start = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
    start.starts_with('(') || start.starts_with(";;")
}

/// The `:line:column` that the assembler's message carries in its second line.
fn text_position(message: &str) -> String {
    message
        .lines()
        .find_map(|line| line.trim().strip_prefix("--> <anon>"))
        .unwrap_or_default()
        .to_string()
}

fn decode_error(path: &Path, error: DecodeError) -> CommandError {
    let path = path.display();
    match error {
        DecodeError::Invalid { offset, message } => CommandError::input(format_args!(
            "{path}: invalid module at byte offset {offset}: {message}"
        )),
        DecodeError::Unsupported { offset, feature } => CommandError::unsupported(format_args!(
            "{path}: not supported yet, at byte offset {offset}: {feature}"
        )),
        other => CommandError::Inconclusive { reason: "limit", detail: format!("{path}: {other}") },
    }
}
