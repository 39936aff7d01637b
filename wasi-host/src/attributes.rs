//! What is known about a descriptor: its state and rights, the attributes of
//! what it stands for, and the names of the directories a guest starts with.

use rustix::fs::{OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};

use crate::abi::{FdFlags, FileStat, FileType, Rights, SetTimes, encode_fdstat, encode_prestat};
use crate::call::{Call, Done};
use crate::errno::Errno;
use crate::fd::{Descriptor, Node};
use crate::system::System;

type Answer = Result<Done, Errno>;

pub(crate) fn fd_fdstat_get(system: &mut System, call: &mut Call<'_>) -> Answer {
    let it = system.table.get(call.u32(0))?;
    call.write(call.u32(1), encode_fdstat(it.kind, it.flags, it.base, it.inheriting))?;
    Ok(Done::Success)
}

pub(crate) fn fd_fdstat_set_flags(system: &mut System, call: &mut Call<'_>) -> Answer {
    let descriptor = system.table.get_mut(call.u32(0))?;
    descriptor.need(Rights::FD_FDSTAT_SET_FLAGS)?;
    let flags = FdFlags::from_bits(call.u16(1)?).ok_or(Errno::INVAL)?;
    // The host cannot change how an open file is synchronised.
    let fixed = FdFlags::DSYNC | FdFlags::RSYNC | FdFlags::SYNC;
    if flags & fixed != descriptor.flags & fixed {
        return Err(Errno::INVAL);
    }
    // The standard streams are shared with other processes: for them the flags
    // are kept here and never told to the host.
    if let Node::File(file) = &descriptor.node {
        let mut host = rustix::fs::fcntl_getfl(file)?;
        host.set(OFlags::APPEND, flags.contains(FdFlags::APPEND));
        host.set(OFlags::NONBLOCK, flags.contains(FdFlags::NONBLOCK));
        rustix::fs::fcntl_setfl(file, host)?;
    }
    descriptor.flags = flags;
    Ok(Done::Success)
}

pub(crate) fn fd_fdstat_set_rights(system: &mut System, call: &mut Call<'_>) -> Answer {
    let descriptor = system.table.get_mut(call.u32(0))?;
    let base = Rights::from_bits(call.u64(1)).ok_or(Errno::NOTCAPABLE)?;
    let inheriting = Rights::from_bits(call.u64(2)).ok_or(Errno::NOTCAPABLE)?;
    // Rights can only be given up.
    if !descriptor.base.contains(base) || !descriptor.inheriting.contains(inheriting) {
        return Err(Errno::NOTCAPABLE);
    }
    descriptor.base = base;
    descriptor.inheriting = inheriting;
    Ok(Done::Success)
}

pub(crate) fn fd_filestat_get(system: &mut System, call: &mut Call<'_>) -> Answer {
    let descriptor = system.table.get(call.u32(0))?;
    descriptor.need(Rights::FD_FILESTAT_GET)?;
    let stat = match descriptor.node.host() {
        Some(host) => {
            let stat = rustix::fs::fstat(host)?;
            FileStat {
                device: stat.st_dev,
                inode: stat.st_ino,
                kind: rustix::fs::FileType::from_raw_mode(stat.st_mode).into(),
                links: stat.st_nlink as u64,
                size: u64::try_from(stat.st_size).unwrap_or(0),
                accessed: since_epoch(stat.st_atime, stat.st_atime_nsec),
                modified: since_epoch(stat.st_mtime, stat.st_mtime_nsec),
                changed: since_epoch(stat.st_ctime, stat.st_ctime_nsec),
            }
        }
        None => stream_stat(descriptor),
    };
    call.write(call.u32(1), stat.encode())?;
    Ok(Done::Success)
}

/// The attributes of a standard stream: its kind, and otherwise zeros, so that
/// they say nothing of where it leads.
fn stream_stat(descriptor: &Descriptor) -> FileStat {
    FileStat {
        device: 0,
        inode: 0,
        kind: descriptor.kind,
        links: 0,
        size: 0,
        accessed: 0,
        modified: 0,
        changed: 0,
    }
}

/// Nanoseconds since 1970. Preview 1 has no earlier times: they become 1970.
pub(crate) fn since_epoch(seconds: i64, nanoseconds: impl TryInto<u64>) -> u64 {
    crate::clock::nanoseconds(seconds, nanoseconds.try_into().unwrap_or(0)).unwrap_or(0)
}

pub(crate) fn fd_filestat_set_size(system: &mut System, call: &mut Call<'_>) -> Answer {
    let (_, file) = system.table.file(call.u32(0), Rights::FD_FILESTAT_SET_SIZE)?;
    rustix::fs::ftruncate(file, call.u64(1))?;
    Ok(Done::Success)
}

/// A time to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NewTime {
    Keep,
    Now,
    /// Nanoseconds since 1970.
    At(u64),
}

/// The times to set, accessed and modified, from three arguments in a row.
pub(crate) fn new_times(call: &Call<'_>, first: usize) -> Result<(NewTime, NewTime), Errno> {
    let flags = SetTimes::from_bits(call.u16(first + 2)?).ok_or(Errno::INVAL)?;
    let choose = |set, now, time| match (flags.contains(set), flags.contains(now)) {
        (true, true) => Err(Errno::INVAL),
        (true, false) => Ok(NewTime::At(time)),
        (false, true) => Ok(NewTime::Now),
        (false, false) => Ok(NewTime::Keep),
    };
    Ok((
        choose(SetTimes::ATIM, SetTimes::ATIM_NOW, call.u64(first))?,
        choose(SetTimes::MTIM, SetTimes::MTIM_NOW, call.u64(first + 1))?,
    ))
}

pub(crate) fn fd_filestat_set_times(system: &mut System, call: &mut Call<'_>) -> Answer {
    let descriptor = system.table.get(call.u32(0))?;
    let host = descriptor.node.host().ok_or(Errno::BADF)?;
    descriptor.need(Rights::FD_FILESTAT_SET_TIMES)?;
    let (accessed, modified) = new_times(call, 1)?;
    let host_time = |time| match time {
        NewTime::Keep => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        NewTime::Now => Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        NewTime::At(time) => crate::clock::timespec(time),
    };
    let times =
        Timestamps { last_access: host_time(accessed), last_modification: host_time(modified) };
    rustix::fs::futimens(host, &times)?;
    Ok(Done::Success)
}

pub(crate) fn fd_prestat_get(system: &mut System, call: &mut Call<'_>) -> Answer {
    let descriptor = system.table.get(call.u32(0))?;
    // C libraries ask for 3, 4, ... until they get `badf`.
    let name = descriptor.preopen.as_ref().ok_or(Errno::BADF)?;
    let length = u32::try_from(name.len()).map_err(|_| Errno::OVERFLOW)?;
    call.write(call.u32(1), encode_prestat(length))?;
    Ok(Done::Success)
}

pub(crate) fn fd_prestat_dir_name(system: &mut System, call: &mut Call<'_>) -> Answer {
    let descriptor = system.table.get(call.u32(0))?;
    let name = match (&descriptor.preopen, descriptor.kind) {
        (Some(name), _) => name,
        (None, FileType::Directory) => return Err(Errno::BADF),
        (None, _) => return Err(Errno::NOTDIR),
    };
    if name.len() > call.u32(2) as usize {
        return Err(Errno::NAMETOOLONG);
    }
    call.write(call.u32(1), name.as_bytes())?;
    Ok(Done::Success)
}
