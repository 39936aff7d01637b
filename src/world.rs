//! The oracle's memory as host functions see it, and a world from the options.

use crate::cli::WorldArgs;
use crate::error::CommandError;
use crate::witness::range;
use oracle_interp::Oracle;
use std::path::{Path, PathBuf};
use wasi_host::{GuestMemory, OutOfBounds, Output, Stdin, WorldConfig};
use wasm_view::MemoryId;

/// A memory of the oracle's; a module without one has none to read or write.
pub struct OracleMemory<'a> {
    oracle: &'a mut Oracle,
    memory: Option<MemoryId>,
}

impl<'a> OracleMemory<'a> {
    /// The memory that host functions work on.
    pub fn new(oracle: &'a mut Oracle, memory: Option<MemoryId>) -> Self {
        Self { oracle, memory }
    }
    fn bytes(&self) -> &[u8] {
        self.memory.map(|memory| self.oracle.memory(memory)).unwrap_or_default()
    }
}

impl GuestMemory for OracleMemory<'_> {
    fn len(&self) -> u64 {
        self.bytes().len() as u64
    }
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), OutOfBounds> {
        let range = range(self.bytes().len(), address, into.len())?;
        into.copy_from_slice(&self.bytes()[range]);
        Ok(())
    }
    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), OutOfBounds> {
        let out = OutOfBounds { address, length: bytes.len() as u64 };
        range(self.bytes().len(), address, bytes.len())?;
        let memory = self.memory.ok_or(out)?;
        self.oracle.host_write(memory, address, bytes).map_err(|_| out)
    }
}

/// The world that the options describe.
///
/// # Errors
/// Malformed `--dir` and `--env`.
pub fn config(args: &WorldArgs, program: &Path) -> Result<WorldConfig, CommandError> {
    let name = program.file_name().map(|name| name.to_string_lossy().into_owned());
    let mut argv = vec![name.unwrap_or_else(|| "program".to_string())];
    if args.invoke.is_none() {
        argv.extend(args.args.iter().cloned());
    }
    let dirs = directories(&args.dir)?;
    let mut env = Vec::new();
    for pair in &args.env {
        let (key, value) = pair
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| CommandError::input(format_args!("--env {pair}: expected K=V")))?;
        env.push((key.to_string(), value.to_string()));
    }
    Ok(WorldConfig {
        args: argv,
        env,
        dirs,
        stdin: match &args.stdin {
            Some(path) => Stdin::File(path.clone()),
            None => Stdin::Inherit,
        },
        stdout: Output::Inherit,
        stderr: Output::Inherit,
        ..WorldConfig::default()
    })
}

/// Reads `--dir`: host's and guest's path of each.
///
/// # Errors
/// Anything but `HOST::GUEST`, or one path for both.
pub fn directories(options: &[String]) -> Result<Vec<(PathBuf, String)>, CommandError> {
    let parse = |dir: &String| {
        let (host, guest) = dir.split_once("::").unwrap_or((dir, dir));
        if host.is_empty() || guest.is_empty() {
            return Err(CommandError::input(format_args!("--dir {dir}: expected HOST::GUEST")));
        }
        Ok((PathBuf::from(host), guest.to_string()))
    };
    options.iter().map(parse).collect()
}
