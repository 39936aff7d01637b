//! Error numbers: preview 1 has its own numbering, the host has another.
//!
//! What a guest sees is part of what two engines must agree on, so the mapping
//! is a table, and a host error without a row is reported as `io`, never as
//! success. An escape from a directory has no host number: cap-std reports it
//! as permission denied, and the guest sees `perm`, as in Wasmtime.

use std::fmt;
use std::io;

use rustix::io::Errno as Host;

/// An error number of preview 1 (`errno` in `typenames.witx`); 0 is success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Errno(pub u16);

impl Errno {
    /// No error.
    pub const SUCCESS: Errno = Errno(0);
    /// Resource unavailable, or the operation would block.
    pub const AGAIN: Errno = Errno(6);
    /// Bad file descriptor.
    pub const BADF: Errno = Errno(8);
    /// File exists.
    pub const EXIST: Errno = Errno(20);
    /// Bad address.
    pub const FAULT: Errno = Errno(21);
    /// Illegal byte sequence: a path that is not UTF-8.
    pub const ILSEQ: Errno = Errno(25);
    /// Interrupted.
    pub const INTR: Errno = Errno(27);
    /// Invalid argument.
    pub const INVAL: Errno = Errno(28);
    /// I/O error, and host errors without a number in preview 1.
    pub const IO: Errno = Errno(29);
    /// Is a directory.
    pub const ISDIR: Errno = Errno(31);
    /// Too many levels of symbolic links.
    pub const LOOP: Errno = Errno(32);
    /// File descriptor value too large.
    pub const MFILE: Errno = Errno(33);
    /// Name too long.
    pub const NAMETOOLONG: Errno = Errno(37);
    /// No such file or directory.
    pub const NOENT: Errno = Errno(44);
    /// Not a directory or a symbolic link to a directory.
    pub const NOTDIR: Errno = Errno(54);
    /// Directory not empty.
    pub const NOTEMPTY: Errno = Errno(55);
    /// Not supported.
    pub const NOTSUP: Errno = Errno(58);
    /// Value too large to be stored in data type.
    pub const OVERFLOW: Errno = Errno(61);
    /// Operation not permitted; a path that leads out of its directory.
    pub const PERM: Errno = Errno(63);
    /// Invalid seek.
    pub const SPIPE: Errno = Errno(70);
    /// The descriptor lacks a right.
    pub const NOTCAPABLE: Errno = Errno(76);

    /// The name in the specification, without a prefix.
    pub fn name(self) -> &'static str {
        NAMES.get(usize::from(self.0)).copied().unwrap_or("unknown")
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.0)
    }
}

impl From<Host> for Errno {
    fn from(error: Host) -> Errno {
        HOST.iter().find(|(host, _)| *host == error).map_or(Errno::IO, |&(_, number)| Errno(number))
    }
}

impl From<io::Error> for Errno {
    fn from(error: io::Error) -> Errno {
        if let Some(host) = Host::from_io_error(&error) {
            return host.into();
        }
        match error.kind() {
            io::ErrorKind::PermissionDenied => Errno::PERM,
            io::ErrorKind::NotFound => Errno::NOENT,
            io::ErrorKind::AlreadyExists => Errno::EXIST,
            io::ErrorKind::InvalidInput => Errno::INVAL,
            io::ErrorKind::NotADirectory => Errno::NOTDIR,
            io::ErrorKind::IsADirectory => Errno::ISDIR,
            io::ErrorKind::DirectoryNotEmpty => Errno::NOTEMPTY,
            io::ErrorKind::Unsupported => Errno::NOTSUP,
            io::ErrorKind::WouldBlock => Errno::AGAIN,
            _ => Errno::IO,
        }
    }
}

/// Names by number, in the order of the specification.
const NAMES: [&str; 77] = [
    "success",
    "2big",
    "acces",
    "addrinuse",
    "addrnotavail",
    "afnosupport",
    "again",
    "already",
    "badf",
    "badmsg",
    "busy",
    "canceled",
    "child",
    "connaborted",
    "connrefused",
    "connreset",
    "deadlk",
    "destaddrreq",
    "dom",
    "dquot",
    "exist",
    "fault",
    "fbig",
    "hostunreach",
    "idrm",
    "ilseq",
    "inprogress",
    "intr",
    "inval",
    "io",
    "isconn",
    "isdir",
    "loop",
    "mfile",
    "mlink",
    "msgsize",
    "multihop",
    "nametoolong",
    "netdown",
    "netreset",
    "netunreach",
    "nfile",
    "nobufs",
    "nodev",
    "noent",
    "noexec",
    "nolck",
    "nolink",
    "nomem",
    "nomsg",
    "noprotoopt",
    "nospc",
    "nosys",
    "notconn",
    "notdir",
    "notempty",
    "notrecoverable",
    "notsock",
    "notsup",
    "notty",
    "nxio",
    "overflow",
    "ownerdead",
    "perm",
    "pipe",
    "proto",
    "protonosupport",
    "prototype",
    "range",
    "rofs",
    "spipe",
    "srch",
    "stale",
    "timedout",
    "txtbsy",
    "xdev",
    "notcapable",
];

/// The host's numbers and ours.
const HOST: [(Host, u16); 75] = [
    (Host::TOOBIG, 1),
    (Host::ACCESS, 2),
    (Host::ADDRINUSE, 3),
    (Host::ADDRNOTAVAIL, 4),
    (Host::AFNOSUPPORT, 5),
    (Host::AGAIN, 6),
    (Host::ALREADY, 7),
    (Host::BADF, 8),
    (Host::BADMSG, 9),
    (Host::BUSY, 10),
    (Host::CANCELED, 11),
    (Host::CHILD, 12),
    (Host::CONNABORTED, 13),
    (Host::CONNREFUSED, 14),
    (Host::CONNRESET, 15),
    (Host::DEADLK, 16),
    (Host::DESTADDRREQ, 17),
    (Host::DOM, 18),
    (Host::DQUOT, 19),
    (Host::EXIST, 20),
    (Host::FAULT, 21),
    (Host::FBIG, 22),
    (Host::HOSTUNREACH, 23),
    (Host::IDRM, 24),
    (Host::ILSEQ, 25),
    (Host::INPROGRESS, 26),
    (Host::INTR, 27),
    (Host::INVAL, 28),
    (Host::IO, 29),
    (Host::ISCONN, 30),
    (Host::ISDIR, 31),
    (Host::LOOP, 32),
    (Host::MFILE, 33),
    (Host::MLINK, 34),
    (Host::MSGSIZE, 35),
    (Host::MULTIHOP, 36),
    (Host::NAMETOOLONG, 37),
    (Host::NETDOWN, 38),
    (Host::NETRESET, 39),
    (Host::NETUNREACH, 40),
    (Host::NFILE, 41),
    (Host::NOBUFS, 42),
    (Host::NODEV, 43),
    (Host::NOENT, 44),
    (Host::NOEXEC, 45),
    (Host::NOLCK, 46),
    (Host::NOLINK, 47),
    (Host::NOMEM, 48),
    (Host::NOMSG, 49),
    (Host::NOPROTOOPT, 50),
    (Host::NOSPC, 51),
    (Host::NOSYS, 52),
    (Host::NOTCONN, 53),
    (Host::NOTDIR, 54),
    (Host::NOTEMPTY, 55),
    (Host::NOTRECOVERABLE, 56),
    (Host::NOTSOCK, 57),
    (Host::OPNOTSUPP, 58),
    (Host::NOTTY, 59),
    (Host::NXIO, 60),
    (Host::OVERFLOW, 61),
    (Host::OWNERDEAD, 62),
    (Host::PERM, 63),
    (Host::PIPE, 64),
    (Host::PROTO, 65),
    (Host::PROTONOSUPPORT, 66),
    (Host::PROTOTYPE, 67),
    (Host::RANGE, 68),
    (Host::ROFS, 69),
    (Host::SPIPE, 70),
    (Host::SRCH, 71),
    (Host::STALE, 72),
    (Host::TIMEDOUT, 73),
    (Host::TXTBSY, 74),
    (Host::XDEV, 75),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_belong_together() {
        for (number, name) in [
            (Errno::AGAIN, "again"),
            (Errno::BADF, "badf"),
            (Errno::EXIST, "exist"),
            (Errno::FAULT, "fault"),
            (Errno::ILSEQ, "ilseq"),
            (Errno::INVAL, "inval"),
            (Errno::IO, "io"),
            (Errno::ISDIR, "isdir"),
            (Errno::LOOP, "loop"),
            (Errno::MFILE, "mfile"),
            (Errno::NAMETOOLONG, "nametoolong"),
            (Errno::NOENT, "noent"),
            (Errno::NOTDIR, "notdir"),
            (Errno::NOTEMPTY, "notempty"),
            (Errno::NOTSUP, "notsup"),
            (Errno::OVERFLOW, "overflow"),
            (Errno::PERM, "perm"),
            (Errno::SPIPE, "spipe"),
            (Errno::NOTCAPABLE, "notcapable"),
        ] {
            assert_eq!(number.name(), name);
        }
        assert_eq!(Errno(500).name(), "unknown");
    }

    #[test]
    fn host_errors_keep_their_meaning() {
        assert_eq!(Errno::from(Host::NOENT), Errno::NOENT);
        assert_eq!(Errno::from(Host::XDEV).name(), "xdev");
        assert_eq!(Errno::from(Host::NOTUNIQ), Errno::IO);
        let escape = io::Error::new(io::ErrorKind::PermissionDenied, "a path led outside");
        assert_eq!(Errno::from(escape), Errno::PERM);
        // Rows are in order, so that a missing one would be seen.
        assert!(HOST.iter().zip(1u16..).all(|(&(_, number), index)| number == index));
    }
}
