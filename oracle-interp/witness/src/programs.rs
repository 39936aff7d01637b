//! Files, and the corpus.
//!
//! A module of the corpus's manifest is run as the manifest says: with its
//! arguments, environment, input and copies of its directories. Other files are
//! run by calling all their exports.

use crate::run::{Invocation, Options, Wasi};
use corpus::{CorpusError, Program};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use wasi_host::{Output, Stdin};

/// Why a program was not prepared.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// A file or directory cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A text module is malformed.
    #[error("{path}: {message}")]
    Text {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// The corpus is not as its manifest says.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
}

/// Modules under a directory, sorted. A text module is left out where its
/// binary form lies beside it.
///
/// # Errors
/// A directory cannot be read.
pub fn modules_under(dir: &Path) -> Result<Vec<PathBuf>, ProgramError> {
    let read = |source| ProgramError::Read { path: dir.to_owned(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(read)? {
        let entry = entry.map_err(read)?;
        let path = entry.path();
        if entry.file_type().map_err(read)?.is_dir() {
            found.extend(modules_under(&path)?);
        } else if is(&path, "wasm") || (is(&path, "wat") && !path.with_extension("wasm").exists()) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn is(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

/// A module file, binary or text.
///
/// # Errors
/// It cannot be read, or is no text module.
pub fn load(path: &Path) -> Result<Vec<u8>, ProgramError> {
    let read = |source| ProgramError::Read { path: path.to_owned(), source };
    if is(path, "wat") {
        let text = |error: wat::Error| ProgramError::Text {
            path: path.to_owned(),
            message: error.to_string(),
        };
        wat::parse_file(path).map_err(text)
    } else {
        fs::read(path).map_err(read)
    }
}

/// A way to run a module; its directories live as long as this.
pub struct Prepared {
    /// A name for reports.
    pub name: String,
    /// Its calls and its world.
    pub options: Options,
    _dirs: Vec<TempDir>,
}

/// The ways in which a module file is run.
///
/// # Errors
/// The corpus's files cannot be read or copied.
pub fn prepare(path: &Path, options: &Options) -> Result<Vec<Prepared>, ProgramError> {
    let canonical = fs::canonicalize(path)
        .map_err(|source| ProgramError::Read { path: path.to_owned(), source })?;
    let listed: Vec<Program> = corpus::manifest()
        .into_iter()
        .filter(|program| fs::canonicalize(program.wasm_path()).is_ok_and(|p| p == canonical))
        .collect();
    let mut prepared = Vec::new();
    for program in &listed {
        prepared.push(from_manifest(program, options)?);
    }
    // A command is run once; what only has exports is also run with drawn
    // arguments.
    if listed.iter().all(|program| program.invoke.is_some()) {
        prepared.push(Prepared {
            name: path.display().to_string(),
            options: options.clone(),
            _dirs: Vec::new(),
        });
    }
    Ok(prepared)
}

fn from_manifest(program: &Program, options: &Options) -> Result<Prepared, ProgramError> {
    let mut guards = Vec::new();
    let mut dirs = Vec::new();
    for dir in &program.dirs {
        let failed = |source| ProgramError::Read { path: PathBuf::from(&dir.guest), source };
        let copy = TempDir::new().map_err(failed)?;
        if let Some(from) = &dir.from {
            copy_dir(&corpus::path(from), copy.path()).map_err(failed)?;
        }
        dirs.push((copy.path().to_owned(), dir.guest.clone()));
        guards.push(copy);
    }
    let env = program.env.iter().filter_map(|pair| pair.split_once('='));
    let call = match &program.invoke {
        Some(invoke) => {
            Invocation { function: invoke.function.clone(), args: invoke.params.clone() }
        }
        None => Invocation { function: "_start".to_string(), args: Vec::new() },
    };
    let wasi = Wasi {
        args: program.argv(),
        env: env.map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        dirs,
        stdin: Stdin::Bytes(program.stdin_bytes()?),
        stdout: Output::Discard,
        stderr: Output::Discard,
        ..Wasi::default()
    };
    Ok(Prepared {
        name: program.name.clone(),
        options: Options { calls: Some(vec![call]), wasi, ..options.clone() },
        _dirs: guards,
    })
}

fn copy_dir(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir(&target)?;
            copy_dir(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
