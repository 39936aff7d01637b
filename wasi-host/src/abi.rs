//! The binary interface: constants and memory layouts of preview 1
//! (`typenames.witx`), and nothing that acts.
//!
//! A structure in guest memory is a little-endian byte array with fixed
//! offsets; each has one function here that writes or reads the whole of it,
//! so that an offset stands in one place. Padding is written as zeros, which
//! keeps runs comparable.

use bitflags::bitflags;

use crate::errno::Errno;

bitflags! {
    /// What may be done with a descriptor (`rights`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Rights: u64 {
        const FD_DATASYNC = 1 << 0;
        const FD_READ = 1 << 1;
        const FD_SEEK = 1 << 2;
        const FD_FDSTAT_SET_FLAGS = 1 << 3;
        const FD_SYNC = 1 << 4;
        const FD_TELL = 1 << 5;
        const FD_WRITE = 1 << 6;
        const FD_ADVISE = 1 << 7;
        const FD_ALLOCATE = 1 << 8;
        const PATH_CREATE_DIRECTORY = 1 << 9;
        const PATH_CREATE_FILE = 1 << 10;
        const PATH_LINK_SOURCE = 1 << 11;
        const PATH_LINK_TARGET = 1 << 12;
        const PATH_OPEN = 1 << 13;
        const FD_READDIR = 1 << 14;
        const PATH_READLINK = 1 << 15;
        const PATH_RENAME_SOURCE = 1 << 16;
        const PATH_RENAME_TARGET = 1 << 17;
        const PATH_FILESTAT_GET = 1 << 18;
        const PATH_FILESTAT_SET_SIZE = 1 << 19;
        const PATH_FILESTAT_SET_TIMES = 1 << 20;
        const FD_FILESTAT_GET = 1 << 21;
        const FD_FILESTAT_SET_SIZE = 1 << 22;
        const FD_FILESTAT_SET_TIMES = 1 << 23;
        const PATH_SYMLINK = 1 << 24;
        const PATH_REMOVE_DIRECTORY = 1 << 25;
        const PATH_UNLINK_FILE = 1 << 26;
        const POLL_FD_READWRITE = 1 << 27;
        const SOCK_SHUTDOWN = 1 << 28;
        const SOCK_ACCEPT = 1 << 29;
    }

    /// State of an open descriptor (`fdflags`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct FdFlags: u16 {
        const APPEND = 1 << 0;
        const DSYNC = 1 << 1;
        const NONBLOCK = 1 << 2;
        const RSYNC = 1 << 3;
        const SYNC = 1 << 4;
    }

    /// How `path_open` opens (`oflags`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct OpenFlags: u16 {
        const CREAT = 1 << 0;
        const DIRECTORY = 1 << 1;
        const EXCL = 1 << 2;
        const TRUNC = 1 << 3;
    }

    /// Which times to set (`fstflags`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct SetTimes: u16 {
        const ATIM = 1 << 0;
        const ATIM_NOW = 1 << 1;
        const MTIM = 1 << 2;
        const MTIM_NOW = 1 << 3;
    }

    /// How a path is resolved (`lookupflags`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Lookup: u32 {
        const SYMLINK_FOLLOW = 1 << 0;
    }
}

impl Rights {
    /// Rights that mean something for a regular file.
    pub(crate) const REGULAR: Rights = Rights::FD_DATASYNC
        .union(Rights::FD_READ)
        .union(Rights::FD_SEEK)
        .union(Rights::FD_FDSTAT_SET_FLAGS)
        .union(Rights::FD_SYNC)
        .union(Rights::FD_TELL)
        .union(Rights::FD_WRITE)
        .union(Rights::FD_ADVISE)
        .union(Rights::FD_ALLOCATE)
        .union(Rights::FD_FILESTAT_GET)
        .union(Rights::FD_FILESTAT_SET_SIZE)
        .union(Rights::FD_FILESTAT_SET_TIMES)
        .union(Rights::POLL_FD_READWRITE);

    /// Rights that mean something for a directory.
    pub(crate) const DIRECTORY: Rights = Rights::FD_DATASYNC
        .union(Rights::FD_SYNC)
        .union(Rights::FD_FDSTAT_SET_FLAGS)
        .union(Rights::PATH_CREATE_DIRECTORY)
        .union(Rights::PATH_CREATE_FILE)
        .union(Rights::PATH_LINK_SOURCE)
        .union(Rights::PATH_LINK_TARGET)
        .union(Rights::PATH_OPEN)
        .union(Rights::FD_READDIR)
        .union(Rights::PATH_READLINK)
        .union(Rights::PATH_RENAME_SOURCE)
        .union(Rights::PATH_RENAME_TARGET)
        .union(Rights::PATH_FILESTAT_GET)
        .union(Rights::PATH_FILESTAT_SET_SIZE)
        .union(Rights::PATH_FILESTAT_SET_TIMES)
        .union(Rights::FD_FILESTAT_GET)
        .union(Rights::FD_FILESTAT_SET_TIMES)
        .union(Rights::PATH_SYMLINK)
        .union(Rights::PATH_REMOVE_DIRECTORY)
        .union(Rights::PATH_UNLINK_FILE)
        .union(Rights::POLL_FD_READWRITE);

    /// Rights that mean something for a terminal, a pipe or a device.
    pub(crate) const STREAM: Rights = Rights::REGULAR.difference(
        Rights::FD_SEEK
            .union(Rights::FD_TELL)
            .union(Rights::FD_ADVISE)
            .union(Rights::FD_ALLOCATE)
            .union(Rights::FD_FILESTAT_SET_SIZE),
    );

    /// Rights of standard input. C programs take a character device that can
    /// neither seek nor tell for a terminal, so these two are never among them.
    pub(crate) const STDIN: Rights = Rights::FD_READ
        .union(Rights::FD_FDSTAT_SET_FLAGS)
        .union(Rights::FD_FILESTAT_GET)
        .union(Rights::POLL_FD_READWRITE);

    /// Rights of standard output and standard error.
    pub(crate) const STDOUT: Rights = Rights::FD_WRITE
        .union(Rights::FD_FDSTAT_SET_FLAGS)
        .union(Rights::FD_FILESTAT_GET)
        .union(Rights::FD_SYNC)
        .union(Rights::FD_DATASYNC)
        .union(Rights::POLL_FD_READWRITE);

    /// The rights of `self` that mean something for a file of `kind`.
    pub(crate) fn applying_to(self, kind: FileType) -> Rights {
        self & match kind {
            FileType::RegularFile | FileType::BlockDevice => Rights::REGULAR,
            FileType::Directory => Rights::DIRECTORY,
            _ => Rights::STREAM,
        }
    }
}

/// Kind of a file (`filetype`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum FileType {
    Unknown = 0,
    BlockDevice = 1,
    CharacterDevice = 2,
    Directory = 3,
    RegularFile = 4,
    SocketStream = 6,
    SymbolicLink = 7,
}

impl FileType {
    /// The kind of a number; one that does not exist is unknown.
    pub(crate) fn of_number(number: u8) -> FileType {
        use FileType::{
            BlockDevice, CharacterDevice, Directory, RegularFile, SocketStream, SymbolicLink,
        };
        let all =
            [BlockDevice, CharacterDevice, Directory, RegularFile, SocketStream, SymbolicLink];
        let known = all.into_iter().find(|kind| *kind as u8 == number);
        known.unwrap_or(FileType::Unknown)
    }
}

impl From<rustix::fs::FileType> for FileType {
    fn from(kind: rustix::fs::FileType) -> FileType {
        use rustix::fs::FileType as Host;
        match kind {
            Host::RegularFile => FileType::RegularFile,
            Host::Directory => FileType::Directory,
            Host::Symlink => FileType::SymbolicLink,
            Host::CharacterDevice => FileType::CharacterDevice,
            Host::BlockDevice => FileType::BlockDevice,
            Host::Socket => FileType::SocketStream,
            // Preview 1 has no word for a pipe.
            _ => FileType::Unknown,
        }
    }
}

/// Bytes of an `iovec` and of a `ciovec`: address, then length.
pub(crate) const IOVEC: u32 = 8;
/// Bytes of a `subscription`.
pub(crate) const SUBSCRIPTION: u32 = 48;
/// Bytes of an `event`.
pub(crate) const EVENT: u32 = 32;
/// Bytes of a `filestat`.
pub(crate) const FILESTAT: u32 = 64;
/// Bytes of an `fdstat`.
pub(crate) const FDSTAT: u32 = 24;
/// Bytes of a `prestat`.
pub(crate) const PRESTAT: u32 = 8;
/// Bytes of a `dirent`, without the name that follows it.
pub(crate) const DIRENT: usize = 24;

/// Clock numbers (`clockid`).
pub(crate) mod clock_id {
    pub(crate) const REALTIME: u32 = 0;
    pub(crate) const MONOTONIC: u32 = 1;
    pub(crate) const PROCESS_CPUTIME: u32 = 2;
    pub(crate) const THREAD_CPUTIME: u32 = 3;
}

/// The attributes of a file (`filestat`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileStat {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) kind: FileType,
    pub(crate) links: u64,
    pub(crate) size: u64,
    /// Nanoseconds since 1970, as are the next two.
    pub(crate) accessed: u64,
    pub(crate) modified: u64,
    pub(crate) changed: u64,
}

impl FileStat {
    pub(crate) fn encode(&self) -> [u8; FILESTAT as usize] {
        let mut bytes = [0; FILESTAT as usize];
        put(&mut bytes, 0, &self.device.to_le_bytes());
        put(&mut bytes, 8, &self.inode.to_le_bytes());
        put(&mut bytes, 16, &[self.kind as u8]);
        put(&mut bytes, 24, &self.links.to_le_bytes());
        put(&mut bytes, 32, &self.size.to_le_bytes());
        put(&mut bytes, 40, &self.accessed.to_le_bytes());
        put(&mut bytes, 48, &self.modified.to_le_bytes());
        put(&mut bytes, 56, &self.changed.to_le_bytes());
        bytes
    }
}

/// An `fdstat` in guest memory.
pub(crate) fn encode_fdstat(
    kind: FileType,
    flags: FdFlags,
    base: Rights,
    inheriting: Rights,
) -> [u8; FDSTAT as usize] {
    let mut bytes = [0; FDSTAT as usize];
    put(&mut bytes, 0, &[kind as u8]);
    put(&mut bytes, 2, &flags.bits().to_le_bytes());
    put(&mut bytes, 8, &base.bits().to_le_bytes());
    put(&mut bytes, 16, &inheriting.bits().to_le_bytes());
    bytes
}

/// A `prestat` of a directory whose guest name has `name_length` bytes.
pub(crate) fn encode_prestat(name_length: u32) -> [u8; PRESTAT as usize] {
    let mut bytes = [0; PRESTAT as usize];
    // Tag 0: a directory, the only kind there is.
    put(&mut bytes, 4, &name_length.to_le_bytes());
    bytes
}

/// A `dirent`; the name follows it in memory.
pub(crate) fn encode_dirent(next: u64, inode: u64, name: u32, kind: FileType) -> [u8; DIRENT] {
    let mut bytes = [0; DIRENT];
    put(&mut bytes, 0, &next.to_le_bytes());
    put(&mut bytes, 8, &inode.to_le_bytes());
    put(&mut bytes, 16, &name.to_le_bytes());
    put(&mut bytes, 20, &[kind as u8]);
    bytes
}

/// Kind of an event and of the subscription that asked for it (`eventtype`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum EventType {
    Clock = 0,
    Read = 1,
    Write = 2,
}

/// One answer of `poll_oneoff` (`event`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub(crate) user_data: u64,
    pub(crate) error: Errno,
    pub(crate) kind: EventType,
    /// Bytes that can be read or written without blocking, where known.
    pub(crate) available: u64,
    /// The peer is gone, or the file is at its end.
    pub(crate) hangup: bool,
}

impl Event {
    pub(crate) fn encode(&self) -> [u8; EVENT as usize] {
        let mut bytes = [0; EVENT as usize];
        put(&mut bytes, 0, &self.user_data.to_le_bytes());
        put(&mut bytes, 8, &self.error.0.to_le_bytes());
        put(&mut bytes, 10, &[self.kind as u8]);
        put(&mut bytes, 16, &self.available.to_le_bytes());
        put(&mut bytes, 24, &u16::from(self.hangup).to_le_bytes());
        bytes
    }
}

/// What a guest waits for in `poll_oneoff` (`subscription`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) user_data: u64,
    pub(crate) what: Awaited,
}

/// The union in a [`Subscription`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// A moment: nanoseconds of the clock, absolute or from now.
    Clock { id: u32, timeout: u64, absolute: bool },
    /// A descriptor to become readable.
    Read { fd: u32 },
    /// A descriptor to become writable.
    Write { fd: u32 },
}

impl Subscription {
    /// Reads one subscription; an unknown tag or flag is `inval`.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Subscription, Errno> {
        let user_data = get_u64(bytes, 0);
        let what = match bytes.get(8) {
            Some(0) => {
                let flags = get_u32(bytes, 40) & 0xffff;
                if flags > 1 {
                    return Err(Errno::INVAL);
                }
                Awaited::Clock {
                    id: get_u32(bytes, 16),
                    timeout: get_u64(bytes, 24),
                    absolute: flags == 1,
                }
            }
            Some(1) => Awaited::Read { fd: get_u32(bytes, 16) },
            Some(2) => Awaited::Write { fd: get_u32(bytes, 16) },
            _ => return Err(Errno::INVAL),
        };
        Ok(Subscription { user_data, what })
    }
}

/// The little-endian word at `offset`; bytes beyond the end read as zero.
pub(crate) fn get_u32(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(get(bytes, offset))
}

/// The little-endian double word at `offset`; bytes beyond the end read as zero.
pub(crate) fn get_u64(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(get(bytes, offset))
}

fn get<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    let mut out = [0; N];
    for (to, from) in out.iter_mut().zip(bytes.iter().skip(offset)) {
        *to = *from;
    }
    out
}

fn put(bytes: &mut [u8], offset: usize, field: &[u8]) {
    for (to, from) in bytes.iter_mut().skip(offset).zip(field) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_is_read_from_its_offsets() {
        let mut bytes = [0u8; SUBSCRIPTION as usize];
        put(&mut bytes, 0, &7u64.to_le_bytes());
        put(&mut bytes, 16, &1u32.to_le_bytes());
        put(&mut bytes, 24, &1000u64.to_le_bytes());
        put(&mut bytes, 40, &1u16.to_le_bytes());
        let clock = Awaited::Clock { id: 1, timeout: 1000, absolute: true };
        assert_eq!(Subscription::decode(&bytes), Ok(Subscription { user_data: 7, what: clock }));
        bytes[8] = 3;
        assert_eq!(Subscription::decode(&bytes), Err(Errno::INVAL));
        assert_eq!(Subscription::decode(&[]), Err(Errno::INVAL));
    }
}
