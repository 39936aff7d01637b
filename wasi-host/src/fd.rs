//! The descriptor table: what each number stands for and what may be done
//! with it.
//!
//! A descriptor is a *node* (a stream, a file, a directory) with rights. A
//! handler asks for a descriptor of the kind it needs together with the right
//! it needs. A wrong kind is reported before a missing right: rights that mean
//! nothing for a kind are never granted, so the other order would call every
//! wrong kind "not capable" and hide what is wrong.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use cap_std::fs::Dir;

use crate::abi::{FdFlags, FileType, Rights};
use crate::errno::Errno;
use crate::log::Stream;
use crate::readdir::Listing;
use crate::stdio::Input;

/// What a descriptor stands for.
#[derive(Debug)]
pub(crate) enum Node {
    /// Standard input.
    Input(Input),
    /// Standard output or error.
    Output(Stream),
    /// A file opened in a directory.
    File(File),
    /// A directory.
    Directory {
        dir: Dir,
        /// The listing whose positions the guest holds as cookies.
        listing: Option<Listing>,
    },
}

impl Node {
    /// The host's descriptor of a file or directory.
    pub(crate) fn host(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Node::File(file) => Some(file.as_fd()),
            Node::Directory { dir, .. } => Some(dir.as_fd()),
            Node::Input(_) | Node::Output(_) => None,
        }
    }
}

/// One row of the table.
#[derive(Debug)]
pub(crate) struct Descriptor {
    pub(crate) node: Node,
    pub(crate) kind: FileType,
    /// What may be done with this descriptor.
    pub(crate) base: Rights,
    /// What may be done with descriptors opened through it.
    pub(crate) inheriting: Rights,
    pub(crate) flags: FdFlags,
    /// The guest's name of a directory that was there from the beginning.
    pub(crate) preopen: Option<String>,
}

impl Descriptor {
    /// `notcapable` unless all of `rights` are held.
    pub(crate) fn need(&self, rights: Rights) -> Result<(), Errno> {
        if self.base.contains(rights) { Ok(()) } else { Err(Errno::NOTCAPABLE) }
    }
}

/// All descriptors by number.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: BTreeMap<u32, Descriptor>,
}

impl Table {
    /// Most descriptors a guest can hold.
    pub(crate) const MOST: usize = 1 << 16;

    /// Puts a descriptor under the lowest free number.
    pub(crate) fn insert(&mut self, descriptor: Descriptor) -> Result<u32, Errno> {
        self.has_room()?;
        let mut fd = 0;
        for &used in self.rows.keys() {
            if used != fd {
                break;
            }
            fd += 1;
        }
        self.rows.insert(fd, descriptor);
        Ok(fd)
    }

    /// Puts a descriptor under a number.
    pub(crate) fn put(&mut self, fd: u32, descriptor: Descriptor) {
        self.rows.insert(fd, descriptor);
    }

    /// All descriptors, by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Descriptor)> {
        self.rows.iter().map(|(fd, descriptor)| (*fd, descriptor))
    }

    /// Takes standard input out of the table.
    pub(crate) fn take_input(&mut self) -> Option<Descriptor> {
        let is_input = |descriptor: &Descriptor| matches!(descriptor.node, Node::Input(_));
        let fd = self.iter().find(|(_, descriptor)| is_input(descriptor)).map(|(fd, _)| fd)?;
        self.rows.remove(&fd)
    }

    /// `mfile` if no descriptor can be added.
    pub(crate) fn has_room(&self) -> Result<(), Errno> {
        if self.rows.len() < Table::MOST { Ok(()) } else { Err(Errno::MFILE) }
    }

    /// The descriptor, whatever it stands for.
    pub(crate) fn get(&self, fd: u32) -> Result<&Descriptor, Errno> {
        self.rows.get(&fd).ok_or(Errno::BADF)
    }

    /// The descriptor, whatever it stands for.
    pub(crate) fn get_mut(&mut self, fd: u32) -> Result<&mut Descriptor, Errno> {
        self.rows.get_mut(&fd).ok_or(Errno::BADF)
    }

    /// The file behind `fd`, for which all of `rights` are needed; `badf` for
    /// anything but a file.
    pub(crate) fn file(&self, fd: u32, rights: Rights) -> Result<(&Descriptor, &File), Errno> {
        let descriptor = self.get(fd)?;
        let Node::File(file) = &descriptor.node else {
            return Err(Errno::BADF);
        };
        descriptor.need(rights)?;
        Ok((descriptor, file))
    }

    /// As [`Table::file`], for calls that need a position: `spipe` for the
    /// standard streams.
    pub(crate) fn seekable(&self, fd: u32, rights: Rights) -> Result<(&Descriptor, &File), Errno> {
        match self.get(fd)?.node {
            Node::Input(_) | Node::Output(_) => Err(Errno::SPIPE),
            _ => self.file(fd, rights),
        }
    }

    /// The directory behind `fd`, for which all of `rights` are needed;
    /// `notdir` for a file, `badf` for the standard streams.
    pub(crate) fn directory(&self, fd: u32, rights: Rights) -> Result<(&Descriptor, &Dir), Errno> {
        let descriptor = self.get(fd)?;
        match &descriptor.node {
            Node::Directory { dir, .. } => {
                descriptor.need(rights)?;
                Ok((descriptor, dir))
            }
            Node::File(_) => Err(Errno::NOTDIR),
            Node::Input(_) | Node::Output(_) => Err(Errno::BADF),
        }
    }

    /// Closes a descriptor.
    pub(crate) fn close(&mut self, fd: u32) -> Result<(), Errno> {
        self.rows.remove(&fd).map(drop).ok_or(Errno::BADF)
    }

    /// Closes `to` and gives its number to what `from` stood for. Both must be
    /// open, so that a guest cannot make up numbers.
    pub(crate) fn renumber(&mut self, from: u32, to: u32) -> Result<(), Errno> {
        self.get(from)?;
        self.get(to)?;
        if from != to
            && let Some(descriptor) = self.rows.remove(&from)
        {
            self.rows.insert(to, descriptor);
        }
        Ok(())
    }
}
