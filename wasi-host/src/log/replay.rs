//! Replaying: answering a program's calls from a log.
//!
//! The program must make the same calls in the same order. A call is the same
//! if function, arguments and every byte the host had read of the guest's
//! memory are the same; the first that is not is the answer to "where did this
//! run part from the recorded one". Comparing comes first and changes nothing,
//! then output is re-emitted, then the logged writes are applied, all or none.

use sha2::{Digest, Sha256};
use wasm_view::Value;

use super::{Content, Entry, MemoryRead, OperationLog, Outcome, hex};
use crate::dispatch::Function;
use crate::error::{Difference, HostError};
use crate::memory::{GuestMemory, MemoryWrite, holds};
use crate::stdio::Outputs;

/// Bytes looked at or re-emitted at once.
const CHUNK: u64 = 1 << 16;

/// A log and how far it has been replayed.
#[derive(Debug)]
pub(crate) struct Replayer {
    pub(crate) log: OperationLog,
    pub(crate) next: u64,
    pub(crate) outputs: Outputs,
}

impl Replayer {
    /// Answers one call. A failed call is not counted.
    pub(crate) fn call(
        &mut self,
        module: &str,
        function: &Function,
        args: &[Value],
        memory: &mut dyn GuestMemory,
    ) -> Result<(Outcome, Vec<MemoryWrite>), HostError> {
        let index = self.next;
        let Some(entry) = self.log.get(index) else {
            let function = format!("{module}.{}", function.name);
            return Err(HostError::LogExhausted { index, function });
        };
        compare(index, entry, module, function, args, memory)?;
        let bad = |what: &str, address, length| HostError::BadEntry {
            index,
            what: format!("{what} {length} bytes at {address:#x}, beyond the program's memory"),
        };
        for write in &entry.writes {
            let length = write.bytes.len() as u64;
            if !holds(memory, write.address, length) {
                return Err(bad("it writes", write.address, length));
            }
        }
        for part in &entry.emitted {
            if !holds(memory, part.address, part.length) {
                return Err(bad("it outputs", part.address, part.length));
            }
        }
        for part in &entry.emitted {
            if !self.outputs.wants(part.stream) {
                continue;
            }
            each_chunk(memory, part.address, part.length, |bytes| {
                self.outputs.write(part.stream, bytes).map(drop)
            })
            .map_err(|source| HostError::Io { doing: "re-emit output", source })?;
        }
        for write in &entry.writes {
            memory
                .write(write.address, &write.bytes)
                .map_err(|source| HostError::Memory { index, source })?;
        }
        self.next += 1;
        Ok((entry.outcome.clone(), entry.writes.clone()))
    }
}

/// Whether the program's call is the one in the entry.
fn compare(
    index: u64,
    entry: &Entry,
    module: &str,
    function: &Function,
    args: &[Value],
    memory: &dyn GuestMemory,
) -> Result<(), HostError> {
    let differs =
        |what, expected, actual| Err(HostError::Diverged { index, expected, actual, what });
    if entry.function.name != function.name || entry.module != module {
        return differs(
            Difference::Function,
            describe(entry.module, entry.function, &entry.args),
            describe(module, function, args),
        );
    }
    for (at, (logged, given)) in entry.args.iter().zip(args).enumerate() {
        if logged != given {
            return differs(
                Difference::Argument { index: at },
                describe(entry.module, entry.function, &entry.args),
                describe(module, function, args),
            );
        }
    }
    for read in &entry.reads {
        if let Some(actual) = different(read, memory) {
            let what = Difference::Memory { address: read.address, length: read.length };
            let expected = format!("{} in {}", read.content, entry.function.name);
            return differs(what, expected, actual);
        }
    }
    Ok(())
}

/// What is in the memory instead of what was read, if it is something else.
fn different(read: &MemoryRead, memory: &dyn GuestMemory) -> Option<String> {
    if !holds(memory, read.address, read.length) {
        return Some("a memory that ends before".to_owned());
    }
    match &read.content {
        Content::Bytes(logged) => {
            let mut bytes = vec![0; logged.len()];
            match memory.read(read.address, &mut bytes) {
                Ok(()) if bytes == *logged => None,
                Ok(()) => Some(Content::Bytes(bytes).to_string()),
                Err(error) => Some(error.to_string()),
            }
        }
        Content::Sha256(logged) => {
            let mut digest = Sha256::new();
            let hashed = each_chunk(memory, read.address, read.length, |bytes| {
                digest.update(bytes);
                Ok(())
            });
            if let Err(error) = hashed {
                return Some(error.to_string());
            }
            let actual: [u8; 32] = digest.finalize().into();
            (actual != *logged).then(|| Content::Sha256(actual).to_string())
        }
    }
}

/// Hands over a range of memory piece by piece.
fn each_chunk(
    memory: &dyn GuestMemory,
    address: u64,
    length: u64,
    mut take: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; usize::try_from(length.min(CHUNK)).unwrap_or(0)];
    let mut done = 0;
    while done < length {
        let count = usize::try_from((length - done).min(CHUNK)).unwrap_or(0);
        let Some(piece) = buffer.get_mut(..count) else {
            break;
        };
        memory.read(address + done, piece).map_err(std::io::Error::other)?;
        take(piece)?;
        done += count as u64;
    }
    Ok(())
}

/// A call as a person would write it.
fn describe(module: &str, function: &Function, args: &[Value]) -> String {
    let args: Vec<String> = args.iter().map(|value| value.hex()).collect();
    format!("{module}.{}({})", function.name, args.join(", "))
}

impl std::fmt::Display for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Content::Bytes(bytes) => f.write_str(&hex::encode(bytes)),
            Content::Sha256(hash) => write!(f, "sha256 {}", hex::encode(hash)),
        }
    }
}
