//! The manifest: which programs there are, how each is built and run, and what
//! must come out.
//!
//! `manifest.json` is the one list. Tests, the self-test, the builder and the
//! independent witness all read it, so a program added there is tried
//! everywhere. It is compiled in; the programs themselves are read from this
//! package's directory as it was at build time.

use serde::Deserialize;
use std::path::{Path, PathBuf};
use wasm_view::{InternalRef, Value};

/// Something is wrong with the corpus on disk or with a manifest's text.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// A file of the corpus cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The manifest is not of the documented form; the cause has line and column.
    #[error("bad manifest: {0}")]
    Manifest(#[from] serde_json::Error),
    /// The manifest lists no program of this name.
    #[error("the corpus has no program `{0}`")]
    NoSuchProgram(String),
}

/// A program, how it was built, how to run it and what must come out.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Unique; `traps/..` for the programs that only trap.
    pub name: String,
    /// The source, relative to the package's directory.
    pub source: String,
    /// The module, relative to the package's directory. Several programs may
    /// be the same module, invoked differently.
    pub wasm: String,
    /// What the program is there for, in one line.
    pub exercises: String,
    /// The command that builds it, run in the source's directory.
    /// `["wat", SOURCE, "-o", WASM]` stands for the `wat` crate.
    pub build: Vec<String>,
    /// `argv[1..]`. `argv[0]` is the module's file name.
    #[serde(default)]
    pub args: Vec<String>,
    /// The whole environment, `KEY=VALUE` each.
    #[serde(default)]
    pub env: Vec<String>,
    /// Preopened directories, in order.
    #[serde(default)]
    pub dirs: Vec<Dir>,
    /// A file to read standard input from, relative to the package's
    /// directory; empty input if absent.
    #[serde(default)]
    pub stdin: Option<String>,
    /// The function to call; absent for a WASI command (`_start`).
    #[serde(default)]
    pub invoke: Option<Invoke>,
    /// How it must end.
    pub expected: Expected,
    /// A file with the exact standard output, relative to the package's
    /// directory; no output if absent.
    #[serde(default)]
    pub stdout: Option<String>,
    /// About how many instructions it executes: Wasmtime's fuel, which counts
    /// neither `block`, `loop`, `else`, `end`, `nop` nor `drop`. Absent where
    /// it depends on the engine (endless recursion).
    #[serde(default)]
    pub instructions: Option<u64>,
}

/// A directory given to the program.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dir {
    /// Its name for the program.
    pub guest: String,
    /// The directory whose copy it is, relative to the package's directory; a
    /// fresh empty one if absent. Programs write into their directories: give
    /// them a copy, never the original.
    #[serde(default)]
    pub from: Option<String>,
}

/// An exported function and what to call it with.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invoke {
    /// The export's name.
    pub function: String,
    /// Written `TYPE:NUMBER`: decimal, or the bits after `0x`.
    #[serde(default, deserialize_with = "values")]
    pub params: Vec<Value>,
}

/// How a program must end.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expected {
    /// A WASI command ends with this code; 0 is also returning from `_start`.
    ExitCode(u32),
    /// It traps; the text is that of [`wasm_view::Trap::text`], or `uncaught
    /// exception`.
    Trap(String),
    /// The invoked function returns exactly these values, floats bit for bit.
    #[serde(deserialize_with = "values")]
    Results(Vec<Value>),
}

/// Most instructions of a program that is quick enough to be run hundreds of
/// times over, with a fault injected each time.
const QUICK: u64 = 200_000;

impl Program {
    /// Whether it executes at most 200,000 instructions.
    pub fn is_quick(&self) -> bool {
        self.instructions.is_some_and(|n| n <= QUICK)
    }

    /// The module's path.
    pub fn wasm_path(&self) -> PathBuf {
        path(&self.wasm)
    }

    /// The module.
    pub fn wasm(&self) -> Result<Vec<u8>, CorpusError> {
        read(&self.wasm_path())
    }

    /// The source's path.
    pub fn source_path(&self) -> PathBuf {
        path(&self.source)
    }

    /// The whole argument vector, `argv[0]` included.
    pub fn argv(&self) -> Vec<String> {
        let file = self.wasm.rsplit('/').next().unwrap_or(&self.wasm);
        std::iter::once(file.to_owned()).chain(self.args.iter().cloned()).collect()
    }

    /// What standard input holds.
    pub fn stdin_bytes(&self) -> Result<Vec<u8>, CorpusError> {
        self.stdin.as_ref().map_or(Ok(Vec::new()), |file| read(&path(file)))
    }

    /// What must come out of standard output.
    pub fn expected_stdout(&self) -> Result<Vec<u8>, CorpusError> {
        self.stdout.as_ref().map_or(Ok(Vec::new()), |file| read(&path(file)))
    }
}

/// A path inside this package, e.g. `path("scripts/workout.lua")`.
pub fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

/// Every program, in the manifest's order.
pub fn manifest() -> Vec<Program> {
    parse_manifest(include_str!("../manifest.json"))
        .expect("the manifest is compiled in and this package's tests parse it")
}

/// The programs that [`Program::is_quick`] says are quick.
pub fn quick() -> Vec<Program> {
    manifest().into_iter().filter(Program::is_quick).collect()
}

/// The program of that name.
pub fn program(name: &str) -> Result<Program, CorpusError> {
    manifest()
        .into_iter()
        .find(|program| program.name == name)
        .ok_or_else(|| CorpusError::NoSuchProgram(name.to_owned()))
}

/// Reads a manifest's text; the form is that of `manifest.json`.
pub fn parse_manifest(json: &str) -> Result<Vec<Program>, CorpusError> {
    Ok(serde_json::from_str(json)?)
}

fn read(path: &Path) -> Result<Vec<u8>, CorpusError> {
    std::fs::read(path).map_err(|source| CorpusError::Read { path: path.to_owned(), source })
}

/// `["i32:-1", "f64:0x3ff0000000000000"]`.
fn values<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Value>, D::Error> {
    Vec::<String>::deserialize(deserializer)?
        .iter()
        .map(|text| {
            value(text).ok_or_else(|| serde::de::Error::custom(format!("not a value: `{text}`")))
        })
        .collect()
}

/// A value written `TYPE:NUMBER`. Integers may be written signed or unsigned.
fn value(text: &str) -> Option<Value> {
    let (ty, number) = text.split_once(':')?;
    let bits = number.strip_prefix("0x").map(|hex| u64::from_str_radix(hex, 16));
    Some(match (ty, bits) {
        ("i32", Some(bits)) => Value::I32(u32::try_from(bits.ok()?).ok()?),
        ("i64", Some(bits)) => Value::I64(bits.ok()?),
        ("f32", Some(bits)) => Value::F32(u32::try_from(bits.ok()?).ok()?),
        ("f64", Some(bits)) => Value::F64(bits.ok()?),
        ("i32", None) => {
            let signed = number.parse::<i32>().map(|n| n as u32);
            Value::I32(signed.or_else(|_| number.parse()).ok()?)
        }
        ("i64", None) => {
            let signed = number.parse::<i64>().map(|n| n as u64);
            Value::I64(signed.or_else(|_| number.parse()).ok()?)
        }
        ("f32", None) => Value::F32(number.parse::<f32>().ok()?.to_bits()),
        ("f64", None) => Value::F64(number.parse::<f64>().ok()?.to_bits()),
        ("externref", None) => Value::ExternRef(match number {
            "null" => None,
            handle => Some(InternalRef::Host(handle.parse().ok()?)),
        }),
        ("funcref", None) if number == "null" => Value::FuncRef(None),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_in_every_notation() {
        for (text, expected) in [
            ("i32:-1", Value::I32(u32::MAX)),
            ("i32:4294967295", Value::I32(u32::MAX)),
            ("i32:0xffffffff", Value::I32(u32::MAX)),
            ("i64:-9223372036854775808", Value::I64(1 << 63)),
            ("f32:1.5", Value::F32(0x3fc0_0000)),
            ("f64:0x8000000000000000", Value::F64(1 << 63)),
            ("externref:null", Value::ExternRef(None)),
            ("externref:3", Value::host(3)),
            ("funcref:null", Value::FuncRef(None)),
        ] {
            assert_eq!(value(text), Some(expected), "{text}");
        }
        for text in ["", "i32", "i32:", "i32:0x100000000", "i32:4294967296", "v128:0", "funcref:1"]
        {
            assert_eq!(value(text), None, "{text}");
        }
    }

    #[test]
    fn a_bad_manifest_is_an_error_with_its_place() {
        let error = parse_manifest("[\n{\"name\": 3}]").unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
        assert!(matches!(program("no such"), Err(CorpusError::NoSuchProgram(_))));
    }
}
