//! The log on disk: JSON, one line a call, after a line that says what it is.
//! `docs/operation-log.md` describes it.
//!
//! What is read may have been written by anyone: a line must name a known
//! function, its arguments and results must have that function's types, its
//! number must be the next one, and nothing unknown may be in it. Then a replay
//! needs no further checks but those against the program.

use std::io::{self, BufRead, Read, Write};

use serde::{Deserialize, Serialize};
use wasm_view::{Cell, ValType, Value};

use super::{Content, Emitted, Entry, LogError, MemoryRead, OperationLog, Outcome, Stream, hex};
use crate::call::MAX_TRANSFER;
use crate::dispatch::{self, Function};
use crate::memory::MemoryWrite;

/// What the first line says the file is.
const FORMAT: &str = "wdiff-operation-log";

/// Longest line read: twice the most that a call transfers, and the rest of
/// the entry, in which every vector can be a range of its own.
const LONGEST_LINE: u64 = 1 << 30;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderLine {
    format: String,
    version: u64,
    module_sha256: Option<String>,
}

/// The line of a call.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryLine {
    index: u64,
    module: String,
    function: String,
    args: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    reads: Vec<ReadLine>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    results: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exit: Option<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    writes: Vec<WriteLine>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    output: Vec<OutputLine>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadLine {
    address: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    length: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WriteLine {
    address: u64,
    bytes: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OutputLine {
    stream: StreamName,
    address: u64,
    length: u64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StreamName {
    Stdout,
    Stderr,
}

/// Writes a log as it comes to be: a line is complete and flushed before the
/// program learns what the call returned, so the log of a run that was killed
/// ends with its last call.
#[derive(Debug)]
pub(crate) struct Writer<W> {
    output: W,
    next: u64,
}

impl<W: Write> Writer<W> {
    pub(crate) fn new(output: W, module_sha256: Option<[u8; 32]>) -> io::Result<Writer<W>> {
        let mut writer = Writer { output, next: 0 };
        writer.line(&HeaderLine {
            format: FORMAT.to_owned(),
            version: u64::from(OperationLog::VERSION),
            module_sha256: module_sha256.map(|hash| hex::encode(&hash)),
        })?;
        Ok(writer)
    }

    pub(crate) fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        let texts = |values: &[Value]| values.iter().map(|value| value.hex()).collect();
        let (results, exit) = match &entry.outcome {
            Outcome::Return(values) => (Some(texts(values)), None),
            Outcome::Exit(code) => (None, Some(*code)),
        };
        self.line(&EntryLine {
            index: self.next,
            module: entry.module.to_owned(),
            function: entry.function.name.to_owned(),
            args: texts(&entry.args),
            reads: entry.reads.iter().map(ReadLine::from).collect(),
            results,
            exit,
            writes: entry
                .writes
                .iter()
                .map(|write| WriteLine { address: write.address, bytes: hex::encode(&write.bytes) })
                .collect(),
            output: entry
                .emitted
                .iter()
                .map(|emitted| OutputLine {
                    stream: match emitted.stream {
                        Stream::Stdout => StreamName::Stdout,
                        Stream::Stderr => StreamName::Stderr,
                    },
                    address: emitted.address,
                    length: emitted.length,
                })
                .collect(),
        })?;
        self.next += 1;
        Ok(())
    }

    fn line(&mut self, line: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.output.write_all(&text)?;
        self.output.flush()
    }
}

impl From<&MemoryRead> for ReadLine {
    fn from(read: &MemoryRead) -> ReadLine {
        let (bytes, length, sha256) = match &read.content {
            Content::Bytes(bytes) => (Some(hex::encode(bytes)), None, None),
            Content::Sha256(hash) => (None, Some(read.length), Some(hex::encode(hash))),
        };
        ReadLine { address: read.address, bytes, length, sha256 }
    }
}

/// Reads a whole log.
pub(crate) fn read(mut input: impl BufRead) -> Result<OperationLog, LogError> {
    let mut text = Vec::new();
    if !next_line(&mut input, &mut text, 1)? {
        let what = "the log is empty".to_owned();
        return Err(LogError::Malformed { line: 1, what });
    }
    let mut log = OperationLog::new(header(&text)?);
    for line in 2.. {
        if !next_line(&mut input, &mut text, line)? {
            break;
        }
        let entry = entry(&text, log.len()).map_err(|what| LogError::Malformed { line, what })?;
        log.push(entry);
    }
    Ok(log)
}

/// Reads a line into `text`, without its end; false at the end of the log.
fn next_line(input: &mut impl BufRead, text: &mut Vec<u8>, line: u64) -> Result<bool, LogError> {
    text.clear();
    let read = input
        .by_ref()
        .take(LONGEST_LINE)
        .read_until(b'\n', text)
        .map_err(|source| LogError::Io { line, source })?;
    if read == 0 {
        return Ok(false);
    }
    if text.last() == Some(&b'\n') {
        text.pop();
        return Ok(true);
    }
    if read as u64 >= LONGEST_LINE {
        return Err(LogError::TooLong { line });
    }
    let what = "the line does not end: the log was cut off".to_owned();
    Err(LogError::Malformed { line, what })
}

fn header(text: &[u8]) -> Result<Option<[u8; 32]>, LogError> {
    let malformed = |what: String| LogError::Malformed { line: 1, what };
    // A later version may have a header with more in it: look at what this one
    // knows before refusing the rest.
    let loose: serde_json::Value =
        serde_json::from_slice(text).map_err(|error| malformed(error.to_string()))?;
    if loose.get("format").and_then(serde_json::Value::as_str) != Some(FORMAT) {
        return Err(malformed(format!("not the header of a log: no format {FORMAT:?}")));
    }
    match loose.get("version").and_then(serde_json::Value::as_u64) {
        Some(version) if version == u64::from(OperationLog::VERSION) => {}
        Some(found) => {
            return Err(LogError::Version { found, known: OperationLog::VERSION });
        }
        None => return Err(malformed("the version is not a number".to_owned())),
    }
    let header: HeaderLine =
        serde_json::from_slice(text).map_err(|error| malformed(error.to_string()))?;
    header
        .module_sha256
        .map(|hash| digest(&hash).ok_or_else(|| malformed("module_sha256 is no SHA-256".into())))
        .transpose()
}

fn digest(text: &str) -> Option<[u8; 32]> {
    hex::decode(text)?.try_into().ok()
}

/// The entry on a line that should be the one of call `index`.
fn entry(text: &[u8], index: u64) -> Result<Entry, String> {
    let line: EntryLine = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if line.index != index {
        return Err(format!("index {} where {index} should be", line.index));
    }
    let (module, function) = dispatch::find(&line.module, &line.function)
        .map_err(|why| format!("function {}.{}: {why}", line.module, line.function))?;
    Ok(Entry {
        module,
        function,
        args: values("arguments", &line.args, function.params)?,
        reads: line.reads.into_iter().map(memory_read).collect::<Result<_, _>>()?,
        outcome: outcome(function, line.results, line.exit)?,
        writes: line
            .writes
            .into_iter()
            .map(|write| {
                Ok(MemoryWrite {
                    address: write.address,
                    bytes: hex::decode(&write.bytes).ok_or("written bytes are not hexadecimal")?,
                })
            })
            .collect::<Result<_, String>>()?,
        emitted: output(&line.output)?,
    })
}

fn outcome(
    function: &Function,
    results: Option<Vec<String>>,
    exit: Option<u32>,
) -> Result<Outcome, String> {
    match (results, exit) {
        // The only function without a result is the one that does not return.
        (None, Some(code)) if function.results.is_empty() => Ok(Outcome::Exit(code)),
        (Some(results), None) if !function.results.is_empty() => {
            Ok(Outcome::Return(values("results", &results, function.results)?))
        }
        _ => Err(format!("{} ends in another way", function.name)),
    }
}

fn values(what: &str, texts: &[String], types: &[ValType]) -> Result<Vec<Value>, String> {
    if texts.len() != types.len() {
        return Err(format!("{} {what} where {} should be", texts.len(), types.len()));
    }
    texts
        .iter()
        .zip(types)
        .map(|(text, &ty)| {
            text.strip_prefix("0x")
                .filter(|digits| digits.len() == 2 * ty.bytes())
                .and_then(hex::decode)
                .map(|bytes| {
                    let bits = bytes.iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte));
                    Value::from_cell(ty, Cell(bits))
                })
                .ok_or_else(|| format!("{text:?} among the {what} is no {ty}"))
        })
        .collect()
}

fn memory_read(line: ReadLine) -> Result<MemoryRead, String> {
    let (length, content) = match (line.bytes, line.length, line.sha256) {
        (Some(bytes), None, None) => {
            let bytes = hex::decode(&bytes).ok_or("bytes read are not hexadecimal")?;
            (bytes.len() as u64, Content::Bytes(bytes))
        }
        (None, Some(length), Some(hash)) => {
            (length, Content::Sha256(digest(&hash).ok_or("sha256 is no SHA-256")?))
        }
        _ => return Err("a read has either bytes, or length and sha256".to_owned()),
    };
    Ok(MemoryRead { address: line.address, length, content })
}

fn output(lines: &[OutputLine]) -> Result<Vec<Emitted>, String> {
    let total = lines.iter().try_fold(0u64, |sum, line| sum.checked_add(line.length));
    if total.is_none_or(|total| total > u64::from(MAX_TRANSFER)) {
        return Err("more output than a call can make".to_owned());
    }
    Ok(lines
        .iter()
        .map(|line| Emitted {
            stream: match line.stream {
                StreamName::Stdout => Stream::Stdout,
                StreamName::Stderr => Stream::Stderr,
            },
            address: line.address,
            length: line.length,
        })
        .collect())
}
