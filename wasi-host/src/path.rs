//! Calls that name a file by a path below a directory.
//!
//! Resolution is cap-std's: no path, no `..` and no symbolic link leads out of
//! the directory it starts from, nor does an absolute path; the guest gets
//! `perm`. Paths are UTF-8, as preview 1 has it.

use std::io;
use std::time::{Duration, SystemTime};

use cap_fs_ext::{
    DirExt, FollowSymlinks, MetadataExt, OpenOptionsFollowExt, OpenOptionsMaybeDirExt,
    SystemTimeSpec,
};
use cap_std::fs::{Dir, FileTypeExt, Metadata, OpenOptions, OpenOptionsExt};
use rustix::fs::OFlags;

use crate::abi::{FdFlags, FileStat, FileType, Lookup, OpenFlags, Rights};
use crate::attributes::{NewTime, new_times, since_epoch};
use crate::call::{Call, Done};
use crate::errno::Errno;
use crate::fd::{Descriptor, Node};
use crate::system::System;

type Answer = Result<Done, Errno>;

/// Longest path accepted, in bytes. Hosts allow less, and say so themselves;
/// this bounds what resolution is asked to do.
const LONGEST: u32 = 1 << 16;

/// The path whose address and length are the arguments from `index` on.
fn path(call: &mut Call<'_>, index: usize) -> Result<String, Errno> {
    let range = call.check(call.u32(index), call.u32(index + 1))?;
    if range.length > LONGEST {
        return Err(Errno::NAMETOOLONG);
    }
    let bytes = call.read(range.address, range.length)?;
    String::from_utf8(bytes).map_err(|_| Errno::ILSEQ)
}

/// Whether the flags in argument `index` ask to follow a final symbolic link.
fn follow(call: &Call<'_>, index: usize) -> Result<bool, Errno> {
    let flags = Lookup::from_bits(call.u32(index)).ok_or(Errno::INVAL)?;
    Ok(flags.contains(Lookup::SYMLINK_FOLLOW))
}

pub(crate) fn path_create_directory(system: &mut System, call: &mut Call<'_>) -> Answer {
    let (_, dir) = system.table.directory(call.u32(0), Rights::PATH_CREATE_DIRECTORY)?;
    dir.create_dir(path(call, 1)?)?;
    Ok(Done::Success)
}

pub(crate) fn path_filestat_get(system: &mut System, call: &mut Call<'_>) -> Answer {
    let (_, dir) = system.table.directory(call.u32(0), Rights::PATH_FILESTAT_GET)?;
    let follow = follow(call, 1)?;
    let path = path(call, 2)?;
    let metadata = if follow { dir.metadata(path)? } else { dir.symlink_metadata(path)? };
    call.write(call.u32(4), stat(&metadata).encode())?;
    Ok(Done::Success)
}

fn stat(metadata: &Metadata) -> FileStat {
    use cap_std::fs::MetadataExt as Unix;
    let kind = metadata.file_type();
    FileStat {
        device: MetadataExt::dev(metadata),
        inode: MetadataExt::ino(metadata),
        kind: if kind.is_file() {
            FileType::RegularFile
        } else if kind.is_dir() {
            FileType::Directory
        } else if kind.is_symlink() {
            FileType::SymbolicLink
        } else if FileTypeExt::is_char_device(&kind) {
            FileType::CharacterDevice
        } else if FileTypeExt::is_block_device(&kind) {
            FileType::BlockDevice
        } else if FileTypeExt::is_socket(&kind) {
            FileType::SocketStream
        } else {
            FileType::Unknown
        },
        links: MetadataExt::nlink(metadata),
        size: metadata.len(),
        accessed: since_epoch(Unix::atime(metadata), Unix::atime_nsec(metadata)),
        modified: since_epoch(Unix::mtime(metadata), Unix::mtime_nsec(metadata)),
        changed: since_epoch(Unix::ctime(metadata), Unix::ctime_nsec(metadata)),
    }
}

pub(crate) fn path_filestat_set_times(system: &mut System, call: &mut Call<'_>) -> Answer {
    let (_, dir) = system.table.directory(call.u32(0), Rights::PATH_FILESTAT_SET_TIMES)?;
    let follow = follow(call, 1)?;
    let (accessed, modified) = new_times(call, 4)?;
    let path = path(call, 2)?;
    let (accessed, modified) = (time_spec(accessed)?, time_spec(modified)?);
    if follow {
        dir.set_times(path, accessed, modified)?;
    } else {
        dir.set_symlink_times(path, accessed, modified)?;
    }
    Ok(Done::Success)
}

fn time_spec(time: NewTime) -> Result<Option<SystemTimeSpec>, Errno> {
    Ok(match time {
        NewTime::Keep => None,
        NewTime::Now => Some(SystemTimeSpec::SymbolicNow),
        NewTime::At(time) => {
            let time = SystemTime::UNIX_EPOCH
                .checked_add(Duration::from_nanos(time))
                .ok_or(Errno::OVERFLOW)?;
            Some(SystemTimeSpec::Absolute(cap_std::time::SystemTime::from_std(time)))
        }
    })
}

pub(crate) fn path_link(system: &mut System, call: &mut Call<'_>) -> Answer {
    let (_, from) = system.table.directory(call.u32(0), Rights::PATH_LINK_SOURCE)?;
    let (_, to) = system.table.directory(call.u32(4), Rights::PATH_LINK_TARGET)?;
    // Linking to what a symbolic link names is not offered.
    if follow(call, 1)? {
        return Err(Errno::INVAL);
    }
    let (source, target) = (path(call, 2)?, path(call, 5)?);
    from.hard_link(source, to, target)?;
    Ok(Done::Success)
}

pub(crate) fn path_readlink(system: &mut System, call: &mut Call<'_>) -> Answer {
    let (_, dir) = system.table.directory(call.u32(0), Rights::PATH_READLINK)?;
    let path = path(call, 1)?;
    let buffer = call.check(call.u32(3), call.u32(4))?;
    let used = call.check(call.u32(5), 4)?;
    // An absolute target says where things lie on the host: `perm`.
    let target = dir.read_link(path)?;
    let target = target.into_os_string().into_string().map_err(|_| Errno::ILSEQ)?;
    let mut bytes = target.into_bytes();
    bytes.truncate(buffer.length as usize);
    call.write_u32(used.address, u32::try_from(bytes.len()).map_err(|_| Errno::OVERFLOW)?)?;
    call.write(buffer.address, bytes)?;
    Ok(Done::Success)
}

pub(crate) fn path_remove_directory(system: &mut System, call: &mut Call<'_>) -> Answer {
    let (_, dir) = system.table.directory(call.u32(0), Rights::PATH_REMOVE_DIRECTORY)?;
    dir.remove_dir(path(call, 1)?)?;
    Ok(Done::Success)
}

pub(crate) fn path_rename(system: &mut System, call: &mut Call<'_>) -> Answer {
    let (_, from) = system.table.directory(call.u32(0), Rights::PATH_RENAME_SOURCE)?;
    let (_, to) = system.table.directory(call.u32(3), Rights::PATH_RENAME_TARGET)?;
    let (source, target) = (path(call, 1)?, path(call, 4)?);
    from.rename(source, to, target)?;
    Ok(Done::Success)
}

pub(crate) fn path_symlink(system: &mut System, call: &mut Call<'_>) -> Answer {
    let (_, dir) = system.table.directory(call.u32(2), Rights::PATH_SYMLINK)?;
    let (target, link) = (path(call, 0)?, path(call, 3)?);
    DirExt::symlink(dir, target, link)?;
    Ok(Done::Success)
}

pub(crate) fn path_unlink_file(system: &mut System, call: &mut Call<'_>) -> Answer {
    let (_, dir) = system.table.directory(call.u32(0), Rights::PATH_UNLINK_FILE)?;
    dir.remove_file(path(call, 1)?)?;
    Ok(Done::Success)
}

pub(crate) fn path_open(system: &mut System, call: &mut Call<'_>) -> Answer {
    let follow = follow(call, 1)?;
    let how = OpenFlags::from_bits(call.u16(4)?).ok_or(Errno::INVAL)?;
    // Bits that name no right ask for nothing that exists.
    let base = Rights::from_bits_truncate(call.u64(5));
    let inheriting = Rights::from_bits_truncate(call.u64(6));
    let flags = FdFlags::from_bits(call.u16(7)?).ok_or(Errno::INVAL)?;

    let mut needed = Rights::PATH_OPEN;
    needed.set(Rights::PATH_CREATE_FILE, how.contains(OpenFlags::CREAT));
    needed.set(Rights::PATH_FILESTAT_SET_SIZE, how.contains(OpenFlags::TRUNC));
    let (parent, dir) = system.table.directory(call.u32(0), needed)?;
    if !parent.inheriting.contains(base | inheriting) {
        return Err(Errno::NOTCAPABLE);
    }
    let path = path(call, 2)?;
    let result = call.check(call.u32(8), 4)?;
    system.table.has_room()?;

    let opened = open(dir, &path, how, base, flags, follow)?;
    let stat = rustix::fs::fstat(&opened)?;
    let kind = FileType::from(rustix::fs::FileType::from_raw_mode(stat.st_mode));
    let descriptor = Descriptor {
        node: match kind {
            FileType::Directory => {
                Node::Directory { dir: Dir::from_std_file(opened), listing: None }
            }
            _ => Node::File(opened),
        },
        kind,
        base: base.applying_to(kind),
        inheriting: if kind == FileType::Directory { inheriting } else { Rights::empty() },
        flags,
        preopen: None,
    };
    let fd = system.table.insert(descriptor)?;
    call.write_u32(result.address, fd)?;
    Ok(Done::Success)
}

/// Opens a file or directory with no more access than the rights need.
pub(crate) fn open(
    dir: &Dir,
    path: &str,
    how: OpenFlags,
    base: Rights,
    flags: FdFlags,
    follow: bool,
) -> Result<std::fs::File, Errno> {
    let creating = how.contains(OpenFlags::CREAT);
    if creating && how.contains(OpenFlags::DIRECTORY) {
        return Err(Errno::INVAL);
    }
    let writing = Rights::FD_WRITE | Rights::FD_ALLOCATE | Rights::FD_FILESTAT_SET_SIZE;
    let write = base.intersects(writing) || how.contains(OpenFlags::TRUNC);
    let read = base.intersects(Rights::FD_READ | Rights::FD_READDIR) || !write;

    let mut custom = OFlags::empty();
    custom.set(OFlags::DIRECTORY, how.contains(OpenFlags::DIRECTORY));
    custom.set(OFlags::APPEND, flags.contains(FdFlags::APPEND));
    custom.set(OFlags::NONBLOCK, flags.contains(FdFlags::NONBLOCK));
    custom.set(OFlags::DSYNC, flags.contains(FdFlags::DSYNC));
    custom.set(OFlags::SYNC, flags.contains(FdFlags::SYNC));
    custom.set(OFlags::RSYNC, flags.contains(FdFlags::RSYNC));
    // A terminal must not become this process's controlling one.
    custom |= OFlags::NOCTTY;

    let mut options = OpenOptions::new();
    options
        .read(read)
        .write(write)
        .truncate(how.contains(OpenFlags::TRUNC))
        .maybe_dir(true)
        .follow(if follow { FollowSymlinks::Yes } else { FollowSymlinks::No })
        .custom_flags(i32::from_ne_bytes(custom.bits().to_ne_bytes()));
    // The library creates only what it opens for writing, which a file that
    // exists and may only be read would refuse: try that one first.
    let exclusive = how.contains(OpenFlags::EXCL);
    if creating && !write && !exclusive {
        match dir.open_with(path, &options) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return Ok(other?.into_std()),
        }
    }
    if creating {
        options.write(true).create(!exclusive).create_new(exclusive);
    }
    Ok(dir.open_with(path, &options)?.into_std())
}
