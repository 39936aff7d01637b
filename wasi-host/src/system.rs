//! The live world: everything a handler may touch.

use std::fs::File;
use std::path::PathBuf;

use cap_std::fs::Dir;

use crate::abi::{FdFlags, FileType, Rights, clock_id};
use crate::cancel::Cancel;
use crate::clock;
use crate::config::WorldConfig;
use crate::errno::Errno;
use crate::error::WorldError;
use crate::fd::{Descriptor, Node, Table};
use crate::log::Stream;
use crate::stdio::{Input, Outputs};

/// State behind the host functions.
#[derive(Debug)]
pub(crate) struct System {
    /// Arguments, each with its terminating NUL.
    pub(crate) args: Vec<Vec<u8>>,
    /// `NAME=value` strings, each with its terminating NUL.
    pub(crate) env: Vec<Vec<u8>>,
    pub(crate) table: Table,
    pub(crate) outputs: Outputs,
    /// Ends waiting.
    pub(crate) cancel: Cancel,
    /// The directories that the guest was given, whether or not it still has
    /// them open.
    pub(crate) roots: Vec<Root>,
    /// Nanoseconds that the monotonic clock is ahead of the host's.
    pub(crate) clock_shift: u64,
}

/// A directory that the guest was given.
#[derive(Debug)]
pub(crate) struct Root {
    /// The guest's name of it.
    pub(crate) guest: String,
    pub(crate) dir: Dir,
}

impl System {
    pub(crate) fn new(config: WorldConfig) -> Result<System, WorldError> {
        config.check()?;
        let terminated = |text: String| {
            let mut bytes = text.into_bytes();
            bytes.push(0);
            bytes
        };
        let outputs = Outputs::new(config.stdout, config.stderr);
        let input = Input::open(config.stdin)?;
        let mut rows = vec![stream(input.kind(), Node::Input(input), Rights::STDIN)];
        for which in [Stream::Stdout, Stream::Stderr] {
            rows.push(stream(outputs.kind(which), Node::Output(which), Rights::STDOUT));
        }
        let mut roots = Vec::new();
        for (host, guest) in config.dirs {
            let (row, dir) = preopen(host, guest.clone())?;
            rows.push(row);
            roots.push(Root { guest, dir });
        }
        let mut table = Table::default();
        for row in rows {
            table.insert(row).map_err(|_| WorldError::TooManyDirectories { most: Table::MOST })?;
        }
        Ok(System {
            args: config.args.into_iter().map(terminated).collect(),
            env: config
                .env
                .into_iter()
                .map(|(name, value)| terminated(format!("{name}={value}")))
                .collect(),
            table,
            outputs,
            cancel: config.cancel,
            roots,
            clock_shift: 0,
        })
    }

    /// What a clock shows the guest.
    pub(crate) fn now(&self, id: u32) -> Result<u64, Errno> {
        let shift = if id == clock_id::MONOTONIC { self.clock_shift } else { 0 };
        clock::now(id)?.checked_add(shift).ok_or(Errno::OVERFLOW)
    }
}

pub(crate) fn stream(kind: FileType, node: Node, base: Rights) -> Descriptor {
    Descriptor {
        node,
        kind,
        base,
        inheriting: Rights::empty(),
        flags: FdFlags::empty(),
        preopen: None,
    }
}

/// The row of a directory that is there from the beginning, and the directory
/// once more.
fn preopen(path: PathBuf, guest: String) -> Result<(Descriptor, Dir), WorldError> {
    // Opened as a readable file, not as a mere path, so that it can also be
    // listed, synchronised and given times.
    let (file, metadata) = match File::open(&path).and_then(|file| {
        let metadata = file.metadata()?;
        Ok((file, metadata))
    }) {
        Ok(opened) => opened,
        Err(source) => return Err(WorldError::Directory { path, source }),
    };
    if !metadata.is_dir() {
        return Err(WorldError::NotADirectory { path });
    }
    let again = match file.try_clone() {
        Ok(again) => again,
        Err(source) => return Err(WorldError::Directory { path, source }),
    };
    let row = Descriptor {
        node: Node::Directory { dir: Dir::from_std_file(file), listing: None },
        kind: FileType::Directory,
        base: Rights::DIRECTORY,
        inheriting: Rights::all(),
        flags: FdFlags::empty(),
        preopen: Some(guest),
    };
    Ok((row, Dir::from_std_file(again)))
}
