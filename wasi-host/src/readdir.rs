//! `fd_readdir`: a directory, in pieces of any size.
//!
//! Problem: the guest comes back with a cookie, perhaps one from long ago, and
//! the directory may have changed. Idea: a call with cookie 0 takes a listing
//! and keeps it with the descriptor; a cookie is a position in that listing, so
//! it stays valid until the guest begins anew. Entries are sorted by name,
//! because the host's order differs from one file system to the next.
//!
//! The buffer is filled to its last byte, the last entry cut where it ends: a
//! result shorter than the buffer is how the guest knows that all has been said.

use cap_std::fs::Dir;
use rustix::fs::Dir as HostDir;
use serde::{Deserialize, Serialize};

use crate::abi::{DIRENT, FileType, Rights, encode_dirent};
use crate::call::{Call, Done};
use crate::errno::Errno;
use crate::fd::Node;
use crate::system::System;

/// One name in a directory.
#[derive(Debug)]
struct Entry {
    name: Vec<u8>,
    inode: u64,
    kind: FileType,
}

/// A name of a listing, for another process to go on with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Name {
    /// The name.
    pub name: String,
    /// The host's number of the file.
    pub inode: u64,
    /// `filetype` of preview 1.
    pub kind: u8,
}

/// A directory as it was when a guest began to read it.
#[derive(Debug)]
pub(crate) struct Listing {
    entries: Vec<Entry>,
}

impl Listing {
    /// Its names; `None` if one is not UTF-8.
    pub(crate) fn names(&self) -> Option<Vec<Name>> {
        let names = self.entries.iter().map(|Entry { name, inode, kind }| {
            let name = String::from_utf8(name.clone()).ok()?;
            Some(Name { name, inode: *inode, kind: *kind as u8 })
        });
        names.collect()
    }

    /// The listing of these names.
    pub(crate) fn of(names: &[Name]) -> Listing {
        let entries = names.iter().map(|Name { name, inode, kind }| Entry {
            name: name.clone().into_bytes(),
            inode: *inode,
            kind: FileType::of_number(*kind),
        });
        Listing { entries: entries.collect() }
    }

    fn take(dir: &Dir) -> Result<Listing, Errno> {
        let own = rustix::fs::fstat(dir)?.st_ino;
        let mut entries = Vec::new();
        for entry in HostDir::read_from(dir)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            entries.push(Entry {
                name: name.to_vec(),
                inode: entry.ino(),
                kind: entry.file_type().into(),
            });
        }
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        // The parent may lie outside of what the guest may know: it gets the
        // directory's own number.
        let dots = [&b"."[..], b".."].map(|name| Entry {
            name: name.to_vec(),
            inode: own,
            kind: FileType::Directory,
        });
        Ok(Listing { entries: dots.into_iter().chain(entries).collect() })
    }

    /// At most `most` bytes of entries from position `cookie` on.
    fn encode(&self, cookie: u64, most: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let Ok(start) = usize::try_from(cookie) else {
            return bytes;
        };
        for (entry, next) in self.entries.iter().zip(1u64..).skip(start) {
            if bytes.len() >= most {
                break;
            }
            let name_length = u32::try_from(entry.name.len()).unwrap_or(u32::MAX);
            bytes.reserve(DIRENT + entry.name.len());
            bytes.extend_from_slice(&encode_dirent(next, entry.inode, name_length, entry.kind));
            bytes.extend_from_slice(&entry.name);
        }
        bytes.truncate(most);
        bytes
    }
}

pub(crate) fn fd_readdir(system: &mut System, call: &mut Call<'_>) -> Result<Done, Errno> {
    let fd = call.u32(0);
    system.table.directory(fd, Rights::FD_READDIR)?;
    let buffer = call.check(call.u32(1), call.u32(2))?;
    let used = call.check(call.u32(4), 4)?;
    let cookie = call.u64(3);
    let Node::Directory { dir, listing } = &mut system.table.get_mut(fd)?.node else {
        return Err(Errno::NOTDIR);
    };
    let fresh = match listing.take() {
        Some(kept) if cookie != 0 => kept,
        _ => Listing::take(dir)?,
    };
    let bytes = listing.insert(fresh).encode(cookie, buffer.length as usize);
    call.write_u32(used.address, u32::try_from(bytes.len()).map_err(|_| Errno::OVERFLOW)?)?;
    call.write(buffer.address, bytes)?;
    Ok(Done::Success)
}
