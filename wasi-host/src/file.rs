//! Reading, writing and positioning open files, and the other calls that act
//! on a descriptor as it is.
//!
//! Positions are the host's: a file opened by the guest is an open file of ours
//! that nobody else shares.

use std::fs::File;
use std::num::NonZeroU64;

use rustix::fs::{Advice, FallocateFlags, OFlags, SeekFrom};
use rustix::io::Errno as Host;

use crate::abi::{FdFlags, Rights};
use crate::call::{Call, Done, MAX_TRANSFER, Range, limited};
use crate::errno::Errno;
use crate::fd::Node;
use crate::system::System;

type Answer = Result<Done, Errno>;

/// Bytes read from a file at once.
const CHUNK: usize = 1 << 20;

pub(crate) fn fd_read(system: &mut System, call: &mut Call<'_>) -> Answer {
    let descriptor = system.table.get_mut(call.u32(0))?;
    let nonblocking = descriptor.flags.contains(FdFlags::NONBLOCK);
    let readable = descriptor.need(Rights::FD_READ);
    match &mut descriptor.node {
        Node::Input(input) => {
            readable?;
            fill(call, 3, |most| input.read(most, nonblocking, &system.cancel))
        }
        Node::File(file) => {
            readable?;
            fill(call, 3, |most| read_file(file, None, most))
        }
        Node::Output(_) | Node::Directory { .. } => Err(Errno::BADF),
    }
}

pub(crate) fn fd_pread(system: &mut System, call: &mut Call<'_>) -> Answer {
    let (_, file) = system.table.seekable(call.u32(0), Rights::FD_READ | Rights::FD_SEEK)?;
    let offset = call.u64(3);
    fill(call, 4, |most| read_file(file, Some(offset), most))
}

/// Reads as many bytes as the vectors in arguments 1 and 2 hold, spreads them
/// over the vectors, and stores their number where argument `count` points.
fn fill(
    call: &mut Call<'_>,
    count: usize,
    read: impl FnOnce(usize) -> Result<Vec<u8>, Errno>,
) -> Answer {
    let ranges = call.iovecs(call.u32(1), call.u32(2))?;
    let count = call.check(call.u32(count), 4)?;
    let ranges = limited(&ranges, MAX_TRANSFER);
    let wanted = ranges.iter().map(|range| range.length as usize).sum();
    let bytes = if wanted == 0 { Vec::new() } else { read(wanted)? };
    let mut rest = bytes.as_slice();
    for range in ranges {
        let (now, later) = rest.split_at(rest.len().min(range.length as usize));
        call.write(range.address, now)?;
        rest = later;
    }
    call.write_u32(count.address, u32::try_from(bytes.len()).map_err(|_| Errno::OVERFLOW)?)?;
    Ok(Done::Success)
}

/// Reads until `wanted` bytes are there, the file ends, or the host gives less
/// than asked for. Memory grows with what is read, not with what is wanted.
fn read_file(file: &File, offset: Option<u64>, wanted: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = Vec::new();
    loop {
        let start = bytes.len();
        let chunk = CHUNK.min(wanted - start);
        if chunk == 0 {
            return Ok(bytes);
        }
        bytes.resize(start + chunk, 0);
        let fresh = bytes.get_mut(start..).unwrap_or_default();
        let result = match offset {
            None => rustix::io::read(file, fresh),
            Some(offset) => {
                let at = offset.checked_add(start as u64).ok_or(Errno::INVAL)?;
                rustix::io::pread(file, fresh, at)
            }
        };
        let count = match result {
            Ok(count) => count,
            Err(Host::INTR) => 0,
            Err(_) if start > 0 => {
                bytes.truncate(start);
                return Ok(bytes);
            }
            Err(error) => return Err(error.into()),
        };
        bytes.truncate(start + count);
        if count < chunk && !matches!(result, Err(Host::INTR)) {
            return Ok(bytes);
        }
    }
}

pub(crate) fn fd_write(system: &mut System, call: &mut Call<'_>) -> Answer {
    let descriptor = system.table.get(call.u32(0))?;
    match &descriptor.node {
        Node::Output(stream) => {
            descriptor.need(Rights::FD_WRITE)?;
            let (ranges, bytes, count) = gather(call, 3)?;
            let written = system.outputs.write(*stream, &bytes)?;
            let written = u32::try_from(written).map_err(|_| Errno::OVERFLOW)?;
            for range in limited(&ranges, written) {
                call.emit(*stream, range);
            }
            call.write_u32(count, written)?;
            Ok(Done::Success)
        }
        Node::File(file) => {
            descriptor.need(Rights::FD_WRITE)?;
            let (_, bytes, count) = gather(call, 3)?;
            call.write_u32(count, write_file(file, None, &bytes)?)?;
            Ok(Done::Success)
        }
        Node::Input(_) | Node::Directory { .. } => Err(Errno::BADF),
    }
}

pub(crate) fn fd_pwrite(system: &mut System, call: &mut Call<'_>) -> Answer {
    let (descriptor, file) =
        system.table.seekable(call.u32(0), Rights::FD_WRITE | Rights::FD_SEEK)?;
    let (_, bytes, count) = gather(call, 4)?;
    let offset = call.u64(3);
    // Linux appends whatever the offset says if the file is in append mode;
    // preview 1 means the offset. The open file is ours alone, so its mode can
    // be changed for the moment.
    let appending = descriptor.flags.contains(FdFlags::APPEND);
    let flags = rustix::fs::fcntl_getfl(file)?;
    if appending {
        rustix::fs::fcntl_setfl(file, flags - OFlags::APPEND)?;
    }
    let written = write_file(file, Some(offset), &bytes);
    if appending {
        rustix::fs::fcntl_setfl(file, flags | OFlags::APPEND)?;
    }
    call.write_u32(count, written?)?;
    Ok(Done::Success)
}

/// The bytes that the vectors in arguments 1 and 2 name, the ranges they came
/// from, and the checked place for the count, argument `count`.
fn gather(call: &mut Call<'_>, count: usize) -> Result<(Vec<Range>, Vec<u8>, u32), Errno> {
    let ranges = call.iovecs(call.u32(1), call.u32(2))?;
    let count = call.check(call.u32(count), 4)?;
    let ranges = limited(&ranges, MAX_TRANSFER);
    let mut bytes = Vec::new();
    for range in &ranges {
        call.read_into(*range, &mut bytes)?;
    }
    Ok((ranges, bytes, count.address))
}

/// Writes all of `bytes`, or as many as can be: an error is reported only when
/// none could.
fn write_file(file: &File, offset: Option<u64>, bytes: &[u8]) -> Result<u32, Errno> {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        let result = match offset {
            None => rustix::io::write(file, rest),
            Some(offset) => {
                let at = offset.checked_add(written as u64).ok_or(Errno::INVAL)?;
                rustix::io::pwrite(file, rest, at)
            }
        };
        match result {
            Ok(0) => break,
            Ok(count) => written += count,
            Err(Host::INTR) => {}
            Err(_) if written > 0 => break,
            Err(error) => return Err(error.into()),
        }
    }
    u32::try_from(written).map_err(|_| Errno::OVERFLOW)
}

pub(crate) fn fd_seek(system: &mut System, call: &mut Call<'_>) -> Answer {
    let offset = call.u64(1) as i64;
    let target = match call.u32(2) {
        0 => u64::try_from(offset).map(SeekFrom::Start).map_err(|_| Errno::INVAL),
        1 => Ok(SeekFrom::Current(offset)),
        2 => Ok(SeekFrom::End(offset)),
        _ => Err(Errno::INVAL),
    };
    // Asking for the position needs no more than the right to tell it.
    let right = match target {
        Ok(SeekFrom::Current(0)) => Rights::FD_TELL,
        _ => Rights::FD_SEEK,
    };
    let fd = call.u32(0);
    let (_, file) = system.table.seekable(fd, right).or_else(|error| {
        if error == Errno::NOTCAPABLE {
            system.table.seekable(fd, Rights::FD_SEEK)
        } else {
            Err(error)
        }
    })?;
    let result = call.check(call.u32(3), 8)?;
    let position = rustix::fs::seek(file, target?)?;
    call.write_u64(result.address, position)?;
    Ok(Done::Success)
}

pub(crate) fn fd_tell(system: &mut System, call: &mut Call<'_>) -> Answer {
    let (_, file) = system.table.seekable(call.u32(0), Rights::FD_TELL)?;
    call.write_u64(call.u32(1), rustix::fs::tell(file)?)?;
    Ok(Done::Success)
}

pub(crate) fn fd_advise(system: &mut System, call: &mut Call<'_>) -> Answer {
    let (_, file) = system.table.file(call.u32(0), Rights::FD_ADVISE)?;
    let advice = match call.u32(3) {
        0 => Advice::Normal,
        1 => Advice::Sequential,
        2 => Advice::Random,
        3 => Advice::WillNeed,
        4 => Advice::DontNeed,
        5 => Advice::NoReuse,
        _ => return Err(Errno::INVAL),
    };
    let (offset, length) = (call.u64(1), call.u64(2));
    // The host takes both as signed numbers.
    if i64::try_from(offset).is_err() || i64::try_from(length).is_err() {
        return Err(Errno::INVAL);
    }
    rustix::fs::fadvise(file, offset, NonZeroU64::new(length), advice)?;
    Ok(Done::Success)
}

pub(crate) fn fd_allocate(system: &mut System, call: &mut Call<'_>) -> Answer {
    let (_, file) = system.table.file(call.u32(0), Rights::FD_ALLOCATE)?;
    rustix::fs::fallocate(file, FallocateFlags::empty(), call.u64(1), call.u64(2))?;
    Ok(Done::Success)
}

pub(crate) fn fd_datasync(system: &mut System, call: &mut Call<'_>) -> Answer {
    let descriptor = system.table.get(call.u32(0))?;
    let host = descriptor.node.host().ok_or(Errno::INVAL)?;
    descriptor.need(Rights::FD_DATASYNC)?;
    rustix::fs::fdatasync(host)?;
    Ok(Done::Success)
}

pub(crate) fn fd_sync(system: &mut System, call: &mut Call<'_>) -> Answer {
    let descriptor = system.table.get(call.u32(0))?;
    let host = descriptor.node.host().ok_or(Errno::INVAL)?;
    descriptor.need(Rights::FD_SYNC)?;
    rustix::fs::fsync(host)?;
    Ok(Done::Success)
}

pub(crate) fn fd_close(system: &mut System, call: &mut Call<'_>) -> Answer {
    system.table.close(call.u32(0))?;
    Ok(Done::Success)
}

pub(crate) fn fd_renumber(system: &mut System, call: &mut Call<'_>) -> Answer {
    system.table.renumber(call.u32(0), call.u32(1))?;
    Ok(Done::Success)
}
