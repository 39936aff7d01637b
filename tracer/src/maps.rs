//! What a process has mapped: `/proc/PID/maps`, proc(5).

use nix::unistd::Pid;
use std::io;
use std::ops::Range;

/// One mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapEntry {
    /// Its addresses.
    pub range: Range<u64>,
    /// Its permissions as in the file: `r-xp`, `rw-s`.
    pub permissions: String,
    /// What it is of: a file's path, `[stack]`, nothing.
    pub name: String,
}

/// Every mapping of a process that a program could use. The vsyscall page is
/// left out: it is the kernel's, the same in every process, cannot be
/// unmapped, and calls through it meet the system call filter.
pub fn mappings(pid: Pid) -> io::Result<Vec<MapEntry>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let odd = |line: &str| {
        io::Error::new(io::ErrorKind::InvalidData, format!("odd line in maps: `{line}`"))
    };
    let entries = text.lines().map(|line| parse(line).ok_or_else(|| odd(line)));
    entries.filter(|entry| !matches!(entry, Ok(entry) if entry.name == "[vsyscall]")).collect()
}

fn parse(line: &str) -> Option<MapEntry> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let hex = |digits| u64::from_str_radix(digits, 16).ok();
    let permissions = rest.split(' ').next()?.to_string();
    // Offset, device and inode follow, then the name, padded.
    let name = rest.splitn(5, ' ').nth(4).unwrap_or_default().trim().to_string();
    Some(MapEntry { range: hex(start)?..hex(end)?, permissions, name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_every_kind() {
        let file =
            parse("00400000-00402000 r-xp 00001000 00:01 2058   /memfd:wdiff-subject (deleted)")
                .unwrap();
        assert_eq!(file.range, 0x400000..0x402000);
        assert_eq!(file.permissions, "r-xp");
        assert_eq!(file.name, "/memfd:wdiff-subject (deleted)");
        let anonymous = parse("7f0000000000-7f0000001000 rw-p 00000000 00:00 0 ").unwrap();
        assert_eq!((anonymous.permissions.as_str(), anonymous.name.as_str()), ("rw-p", ""));
        assert_eq!(parse("not a line"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn our_own() {
        let ours = mappings(Pid::this()).unwrap();
        assert!(ours.iter().any(|entry| entry.name == "[stack]"));
        assert!(ours.iter().all(|entry| entry.range.start < entry.range.end));
    }
}
