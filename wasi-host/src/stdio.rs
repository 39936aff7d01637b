//! The standard streams.
//!
//! Input is read without a buffer of ours, so that waiting for it tells the
//! truth. Output is written at once, so that the guest's bytes and the caller's
//! own messages keep their order. To a guest a stream is a character device if
//! it is a terminal and "unknown" otherwise, wherever it really leads: outputs
//! of two engines can then be compared.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno as Host;

use crate::abi::FileType;
use crate::cancel::Cancel;
use crate::config::{Output, Stdin};
use crate::errno::Errno;
use crate::error::WorldError;
use crate::log::Stream;

/// Most bytes taken from standard input at once.
const INPUT_CHUNK: usize = 1 << 20;

/// Where descriptor 0 reads.
#[derive(Debug)]
pub(crate) enum Input {
    Inherit,
    File(File),
    Bytes { bytes: Vec<u8>, position: usize },
}

impl Input {
    pub(crate) fn open(stdin: Stdin) -> Result<Input, WorldError> {
        Ok(match stdin {
            Stdin::Inherit => Input::Inherit,
            Stdin::File(path) => match File::open(&path) {
                Ok(file) => Input::File(file),
                Err(source) => return Err(WorldError::Stdin { path, source }),
            },
            Stdin::Bytes(bytes) => Input::Bytes { bytes, position: 0 },
            Stdin::Empty => Input::Bytes { bytes: Vec::new(), position: 0 },
        })
    }

    pub(crate) fn kind(&self) -> FileType {
        let terminal = match self {
            Input::Inherit => io::stdin().is_terminal(),
            Input::File(file) => file.is_terminal(),
            Input::Bytes { .. } => false,
        };
        stream_kind(terminal)
    }

    /// The host's descriptor to wait for, if reading can block.
    pub(crate) fn host(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Input::Inherit => Some(rustix::stdio::stdin()),
            Input::File(file) => Some(file.as_fd()),
            Input::Bytes { .. } => None,
        }
    }

    /// Where it stands, if it is a file.
    pub(crate) fn position(&self) -> Option<u64> {
        if let Input::Bytes { position, .. } = self {
            return Some(*position as u64);
        }
        let host = self.host()?;
        let stat = rustix::fs::fstat(host).ok()?;
        let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
        (kind == rustix::fs::FileType::RegularFile).then(|| rustix::fs::tell(host).ok())?
    }

    /// Goes on from a position; `None` if it has none.
    pub(crate) fn seek(&mut self, to: u64) -> Option<()> {
        self.position()?;
        if let Input::Bytes { bytes, position } = self {
            *position = usize::try_from(to).ok().filter(|to| *to <= bytes.len())?;
            return Some(());
        }
        let host = self.host()?;
        rustix::fs::seek(host, rustix::fs::SeekFrom::Start(to)).ok().map(drop)
    }

    /// Bytes left, where that is known without asking the host.
    pub(crate) fn left(&self) -> Option<u64> {
        match self {
            Input::Bytes { bytes, position } => Some((bytes.len() - position) as u64),
            _ => None,
        }
    }

    /// Reads at most `most` bytes; none at the end. `again` if `nonblocking`
    /// and there are none yet, `intr` if cancelled while waiting for some.
    pub(crate) fn read(
        &mut self,
        most: usize,
        nonblocking: bool,
        cancel: &Cancel,
    ) -> Result<Vec<u8>, Errno> {
        if let Input::Bytes { bytes, position } = self {
            let rest = bytes.get(*position..).unwrap_or_default();
            let taken = rest.get(..most).unwrap_or(rest).to_vec();
            *position += taken.len();
            return Ok(taken);
        }
        if nonblocking && let Some(host) = self.host() {
            let mut fds = [PollFd::new(&host, PollFlags::IN)];
            if poll(&mut fds, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 }))? == 0 {
                return Err(Errno::AGAIN);
            }
        }
        if let Some(host) = self.host()
            && !cancel.wait_readable(host)?
        {
            return Err(Errno::INTR);
        }
        let mut buffer = vec![0; most.min(INPUT_CHUNK)];
        let count = loop {
            let result = match self {
                Input::File(file) => file.read(&mut buffer),
                _ => rustix::io::read(rustix::stdio::stdin(), &mut buffer).map_err(io::Error::from),
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => break other?,
            }
        };
        buffer.truncate(count);
        Ok(buffer)
    }
}

/// Where descriptors 1 and 2 write.
#[derive(Debug)]
pub(crate) struct Outputs {
    stdout: Sink,
    stderr: Sink,
}

#[derive(Debug)]
enum Sink {
    Inherit,
    Capture(Vec<u8>),
    Discard,
}

impl From<Output> for Sink {
    fn from(output: Output) -> Sink {
        match output {
            Output::Inherit => Sink::Inherit,
            Output::Capture => Sink::Capture(Vec::new()),
            Output::Discard => Sink::Discard,
        }
    }
}

impl Outputs {
    pub(crate) fn new(stdout: Output, stderr: Output) -> Outputs {
        Outputs { stdout: stdout.into(), stderr: stderr.into() }
    }

    fn sink(&self, stream: Stream) -> &Sink {
        match stream {
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
        }
    }

    /// What has been kept of a stream; nothing if it is not captured.
    pub(crate) fn captured(&self, stream: Stream) -> &[u8] {
        match self.sink(stream) {
            Sink::Capture(bytes) => bytes,
            Sink::Inherit | Sink::Discard => &[],
        }
    }

    /// Whether bytes written to the stream are of interest to anyone.
    pub(crate) fn wants(&self, stream: Stream) -> bool {
        !matches!(self.sink(stream), Sink::Discard)
    }

    pub(crate) fn kind(&self, stream: Stream) -> FileType {
        stream_kind(match (self.sink(stream), stream) {
            (Sink::Inherit, Stream::Stdout) => io::stdout().is_terminal(),
            (Sink::Inherit, Stream::Stderr) => io::stderr().is_terminal(),
            _ => false,
        })
    }

    /// The host's descriptor to wait for, if writing can block.
    pub(crate) fn host(&self, stream: Stream) -> Option<BorrowedFd<'static>> {
        match (self.sink(stream), stream) {
            (Sink::Inherit, Stream::Stdout) => Some(rustix::stdio::stdout()),
            (Sink::Inherit, Stream::Stderr) => Some(rustix::stdio::stderr()),
            _ => None,
        }
    }

    /// Writes all of `bytes`, or as many as can be written: an error is
    /// reported only when none could.
    pub(crate) fn write(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<usize> {
        let host = match self.host(stream) {
            Some(host) => host,
            None => {
                let sink = match stream {
                    Stream::Stdout => &mut self.stdout,
                    Stream::Stderr => &mut self.stderr,
                };
                if let Sink::Capture(kept) = sink {
                    kept.extend_from_slice(bytes);
                }
                return Ok(bytes.len());
            }
        };
        // What this process printed earlier comes first.
        io::stdout().flush()?;
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match rustix::io::write(host, rest) {
                Ok(0) => break,
                Ok(count) => written += count,
                Err(Host::INTR) => {}
                // The descriptor is shared with others, one of whom may have
                // made it non-blocking; the guest did not ask for that.
                Err(Host::AGAIN) => match poll(&mut [PollFd::new(&host, PollFlags::OUT)], None) {
                    Ok(_) | Err(Host::INTR) => {}
                    Err(error) => return Err(error.into()),
                },
                Err(error) if written == 0 => return Err(error.into()),
                Err(_) => break,
            }
        }
        Ok(written)
    }
}

fn stream_kind(terminal: bool) -> FileType {
    if terminal { FileType::CharacterDevice } else { FileType::Unknown }
}
