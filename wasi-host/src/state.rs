//! A world between two processes: what a program has open, as data.
//!
//! Problem: a program that is halted and goes on elsewhere must find its files
//! where it left them, but a host's descriptors cannot leave their process.
//! Idea: a file or directory is written down as the place where it lies *now*,
//! below one of the directories that the guest was given, and opened again
//! there. Where it lies the host says (`/proc/self/fd`), so that one that was
//! renamed meanwhile is found; and that the place leads to it is checked before
//! anything is written down.
//!
//! ```text
//!   descriptor -- readlink --> host's path -- longest given directory --> (directory, path)
//!        '------------- same device and inode? <---- looked up again ---------'
//! ```
//! What cannot be had again is refused by name: a file that was deleted or
//! moved out of reach, anything that is neither a file nor a directory.
//! The standard streams are those of the new process; only where input is a
//! file does its position count.
//!
//! The realtime clock is the host's. The monotonic one never goes back: where
//! the new host's shows less, it is moved on by the difference.
//!
//! Invariant: a world made from a state has that state.

use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};

use cap_fs_ext::MetadataExt;
use serde::{Deserialize, Serialize};

use crate::abi::{FdFlags, FileType, OpenFlags, Rights, clock_id};
use crate::clock;
use crate::config::WorldConfig;
use crate::error::StateError;
use crate::fd::{Descriptor, Node, Table};
use crate::log::Stream;
use crate::path;
use crate::readdir::Listing;
use crate::system::{Root, System, stream};

pub use crate::readdir::Name;

/// What a program has open, and what it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorldState {
    /// The arguments.
    pub args: Vec<String>,
    /// Environment variables, `NAME=value`.
    pub env: Vec<String>,
    /// The guest's names of the directories that it was given.
    pub directories: Vec<String>,
    /// What the monotonic clock showed, in nanoseconds.
    pub clock: u64,
    /// Host calls answered before.
    pub calls: u64,
    /// What is open, by number.
    pub descriptors: Vec<DescriptorState>,
}

/// One open descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DescriptorState {
    /// Its number.
    pub fd: u32,
    /// Rights of preview 1 to it.
    pub base: u64,
    /// Rights to what is opened through it.
    pub inheriting: u64,
    /// `fdflags` of preview 1.
    pub flags: u16,
    /// What it stands for.
    pub node: NodeState,
}

/// What a descriptor stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum NodeState {
    /// Standard input.
    Input {
        /// Where it stands, if it is a file.
        offset: Option<u64>,
    },
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file.
    File {
        /// Position among [`WorldState::directories`].
        directory: u32,
        /// Below that.
        path: String,
        /// Where reading and writing go on.
        offset: u64,
        /// Bytes of the file.
        size: u64,
    },
    /// A directory.
    Directory {
        /// Position among [`WorldState::directories`].
        directory: u32,
        /// Below that; `.` for itself.
        path: String,
        /// The guest's name, if it was there from the beginning.
        preopen: Option<String>,
        /// The listing that is being read.
        listing: Option<Vec<Name>>,
    },
}

impl WorldState {
    /// Reads what [`WorldState::encode`] wrote.
    ///
    /// # Errors
    /// Anything else.
    pub fn decode(bytes: &[u8]) -> Result<WorldState, StateError> {
        let state: WorldState = serde_json::from_slice(bytes).map_err(StateError::NotAState)?;
        if state.descriptors.len() > Table::MOST {
            return Err(StateError::TooMany { most: Table::MOST });
        }
        if !state.descriptors.is_sorted_by(|one, next| one.fd < next.fd) {
            return Err(StateError::Order);
        }
        Ok(state)
    }

    /// As JSON.
    pub fn encode(&self) -> Vec<u8> {
        // Of strings, numbers and lists there is nothing that could fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The first difference from another state, the clock apart, in words.
    pub fn difference(&self, other: &WorldState) -> Option<String> {
        if (&self.args, &self.env) != (&other.args, &other.env) {
            return Some("other arguments or another environment".to_owned());
        }
        if self.directories != other.directories {
            return Some("other directories".to_owned());
        }
        if self.calls != other.calls {
            return Some(format!("{} host calls before, {}", self.calls, other.calls));
        }
        let numbers = |state: &WorldState| -> Vec<u32> {
            state.descriptors.iter().map(|each| each.fd).collect()
        };
        if numbers(self) != numbers(other) {
            return Some(format!("descriptors {:?}, {:?}", numbers(self), numbers(other)));
        }
        let pairs = self.descriptors.iter().zip(&other.descriptors);
        let mut differ = pairs.filter(|(own, other)| own != other);
        differ.next().map(|(own, other)| {
            format!("descriptor {}: {:?}, {:?}", own.fd, Brief(own), Brief(other))
        })
    }

    /// Moves the position of an open file, for seeing that somebody notices;
    /// answers what was done, if a file is open.
    pub fn misplace(&mut self, seed: u64) -> Option<String> {
        let files = self.descriptors.iter_mut().filter_map(|each| match &mut each.node {
            NodeState::File { offset, .. } => Some((each.fd, offset)),
            _ => None,
        });
        let mut files: Vec<(u32, &mut u64)> = files.collect();
        let chosen = usize::try_from(seed.checked_rem(files.len() as u64)?).ok()?;
        let (fd, offset) = files.get_mut(chosen)?;
        let moved = 1 + (seed >> 8) % 64;
        **offset += moved;
        Some(format!("the offset of descriptor {fd} moved by {moved}"))
    }
}

/// A descriptor without its listing.
struct Brief<'a>(&'a DescriptorState);

impl std::fmt::Debug for Brief<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let DescriptorState { base, inheriting, flags, node, .. } = self.0;
        write!(f, "rights {base:#x}, {inheriting:#x}, flags {flags:#x}, ")?;
        match node {
            NodeState::File { path, offset, size, .. } => {
                write!(f, "{path} at {offset} of {size}")
            }
            NodeState::Directory { path, .. } => write!(f, "directory {path}"),
            other => write!(f, "{other:?}"),
        }
    }
}

impl System {
    /// What is open now.
    pub(crate) fn state(&self, calls: u64) -> Result<WorldState, StateError> {
        let text = |bytes: &Vec<u8>| {
            let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
            String::from_utf8_lossy(bytes).into_owned()
        };
        let mut roots = Vec::with_capacity(self.roots.len());
        for root in &self.roots {
            roots
                .push(place_of(&root.dir).map_err(|source| StateError::Host { fd: None, source })?);
        }
        let mut descriptors = Vec::new();
        for (fd, descriptor) in self.table.iter() {
            let node = match &descriptor.node {
                Node::Input(input) => NodeState::Input { offset: input.position() },
                Node::Output(Stream::Stdout) => NodeState::Stdout,
                Node::Output(Stream::Stderr) => NodeState::Stderr,
                node => self.file_state(fd, node, descriptor, &roots)?,
            };
            descriptors.push(DescriptorState {
                fd,
                base: descriptor.base.bits(),
                inheriting: descriptor.inheriting.bits(),
                flags: descriptor.flags.bits(),
                node,
            });
        }
        Ok(WorldState {
            args: self.args.iter().map(text).collect(),
            env: self.env.iter().map(text).collect(),
            directories: self.roots.iter().map(|root| root.guest.clone()).collect(),
            clock: self.now(clock_id::MONOTONIC).unwrap_or_default(),
            calls,
            descriptors,
        })
    }

    fn file_state(
        &self,
        fd: u32,
        node: &Node,
        descriptor: &Descriptor,
        roots: &[PathBuf],
    ) -> Result<NodeState, StateError> {
        let Some(host) = node.host() else { return Err(StateError::Special { fd }) };
        let failed = |source: std::io::Error| StateError::Host { fd: Some(fd), source };
        let stat = rustix::fs::fstat(host).map_err(|error| failed(error.into()))?;
        let is_directory = matches!(node, Node::Directory { .. });
        if !is_directory && descriptor.kind != FileType::RegularFile {
            return Err(StateError::Special { fd });
        }
        if stat.st_nlink == 0 {
            return Err(StateError::Deleted { fd });
        }
        let place = place_of(&host).map_err(failed)?;
        let below = |root: &PathBuf| place.strip_prefix(root).ok().map(Path::to_owned);
        // The directory that lies deepest.
        let found = roots
            .iter()
            .enumerate()
            .filter_map(|(at, root)| Some((root.components().count(), at, below(root)?)));
        let Some((_, at, path)) = found.max_by_key(|(depth, at, _)| (*depth, usize::MAX - at))
        else {
            return Err(StateError::OutOfReach { fd, path: place });
        };
        let path = match path.to_str() {
            Some("") => ".".to_owned(),
            Some(path) => path.to_owned(),
            None => return Err(StateError::OutOfReach { fd, path: place }),
        };
        let again = self.roots[at].dir.symlink_metadata(&path);
        let same = again.is_ok_and(|again| {
            (MetadataExt::dev(&again), MetadataExt::ino(&again)) == (stat.st_dev, stat.st_ino)
        });
        if !same {
            return Err(StateError::OutOfReach { fd, path: place });
        }
        let directory = at as u32;
        Ok(match node {
            Node::Directory { listing, .. } => NodeState::Directory {
                directory,
                path,
                preopen: descriptor.preopen.clone(),
                listing: match listing {
                    None => None,
                    Some(listing) => Some(listing.names().ok_or(StateError::Listing { fd })?),
                },
            },
            _ => NodeState::File {
                directory,
                path,
                offset: rustix::fs::tell(host).map_err(|error| failed(error.into()))?,
                size: u64::try_from(stat.st_size).unwrap_or_default(),
            },
        })
    }

    /// The system that a state describes; directories and standard streams are
    /// the configuration's.
    pub(crate) fn resume(state: &WorldState, config: WorldConfig) -> Result<System, StateError> {
        let mut system = System::new(WorldConfig { args: Vec::new(), env: Vec::new(), ..config })?;
        let mut roots = Vec::with_capacity(state.directories.len());
        for guest in &state.directories {
            let root = system.roots.iter().find(|root| root.guest == *guest);
            let root = root.ok_or_else(|| StateError::Directory { guest: guest.clone() })?;
            let dir = root.dir.try_clone();
            let dir = dir.map_err(|source| StateError::Host { fd: None, source })?;
            roots.push(Root { guest: guest.clone(), dir });
        }
        let terminated = |text: &String| text.bytes().chain([0]).collect::<Vec<u8>>();
        if state.args.iter().chain(&state.env).any(|text| text.contains('\0')) {
            return Err(StateError::NulByte);
        }
        system.args = state.args.iter().map(terminated).collect();
        system.env = state.env.iter().map(terminated).collect();
        system.roots = roots;
        let now = clock::now(clock_id::MONOTONIC).unwrap_or_default();
        system.clock_shift = state.clock.saturating_sub(now);
        // The streams of this process, for whom they are.
        let mut given = std::mem::take(&mut system.table);
        for each in &state.descriptors {
            let descriptor = system.open_again(each, &mut given)?;
            system.table.put(each.fd, descriptor);
        }
        Ok(system)
    }

    fn open_again(
        &self,
        state: &DescriptorState,
        given: &mut Table,
    ) -> Result<Descriptor, StateError> {
        let fd = state.fd;
        let (Some(base), Some(inheriting), Some(flags)) = (
            Rights::from_bits(state.base),
            Rights::from_bits(state.inheriting),
            FdFlags::from_bits(state.flags),
        ) else {
            return Err(StateError::Rights { fd });
        };
        let root = |directory: u32| {
            let root = self.roots.get(directory as usize);
            root.ok_or(StateError::NoDirectory { fd })
        };
        let mut descriptor = match &state.node {
            NodeState::Stdout => self.output(Stream::Stdout),
            NodeState::Stderr => self.output(Stream::Stderr),
            NodeState::Input { offset } => {
                // A guest has no way to have its input twice.
                let mut input = given.take_input().ok_or(StateError::Input { fd })?;
                if let (Node::Input(input), Some(offset)) = (&mut input.node, offset) {
                    input.seek(*offset).ok_or(StateError::Stdin { offset: *offset })?;
                }
                input
            }
            NodeState::File { directory, path, offset, size } => {
                let root = root(*directory)?;
                let name = || format!("{}/{path}", root.guest);
                let opened = path::open(&root.dir, path, OpenFlags::empty(), base, flags, false);
                let mut file = opened.map_err(|errno| StateError::Open {
                    fd,
                    path: name(),
                    errno: errno.to_string(),
                })?;
                let failed = |source| StateError::Host { fd: Some(fd), source };
                let metadata = file.metadata().map_err(failed)?;
                if !metadata.is_file() || metadata.len() != *size {
                    let is = metadata.is_file().then_some(metadata.len());
                    return Err(StateError::Changed { fd, path: name(), was: *size, is });
                }
                file.seek(SeekFrom::Start(*offset)).map_err(failed)?;
                Descriptor {
                    node: Node::File(file),
                    kind: FileType::RegularFile,
                    base,
                    inheriting,
                    flags,
                    preopen: None,
                }
            }
            NodeState::Directory { directory, path, preopen, listing } => {
                let root = root(*directory)?;
                let dir = if path == "." { root.dir.try_clone() } else { root.dir.open_dir(path) };
                let dir = dir.map_err(|source| StateError::Open {
                    fd,
                    path: format!("{}/{path}", root.guest),
                    errno: source.to_string(),
                })?;
                Descriptor {
                    node: Node::Directory {
                        dir,
                        listing: listing.as_ref().map(|names| Listing::of(names)),
                    },
                    kind: FileType::Directory,
                    base,
                    inheriting,
                    flags,
                    preopen: preopen.clone(),
                }
            }
        };
        (descriptor.base, descriptor.inheriting, descriptor.flags) = (base, inheriting, flags);
        Ok(descriptor)
    }

    fn output(&self, which: Stream) -> Descriptor {
        stream(self.outputs.kind(which), Node::Output(which), Rights::STDOUT)
    }
}

/// Where an open file lies on the host.
fn place_of(file: &impl std::os::fd::AsFd) -> std::io::Result<PathBuf> {
    use std::os::fd::AsRawFd;
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()))
}
