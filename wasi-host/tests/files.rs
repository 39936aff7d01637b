//! Open files: reading, writing, positions, attributes, descriptors, rights.

mod common;

use common::*;
use std::fs;

fn guest() -> (tempfile::TempDir, Guest) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("text"), b"0123456789").unwrap();
    fs::create_dir(dir.path().join("sub")).unwrap();
    let guest = Guest::with_dir(dir.path());
    (dir, guest)
}

#[test]
fn reading_spreads_over_vectors_and_stops_at_the_end() {
    let (_dir, mut guest) = guest();
    let fd = guest.open("text", 0).unwrap();
    assert_eq!(fd, 4);
    let [address, count] = guest.iovecs(&[(0x2000, 3), (0x3000, 0), (0x4000, 100)]);
    let answer = guest.full("fd_read", &[fd.into(), address, count, RESULT.into()]);
    assert_eq!(guest.u32(RESULT), 10);
    assert_eq!(guest.bytes(0x2000, 3), b"012");
    assert_eq!(guest.bytes(0x4000, 7), b"3456789");
    // What was written is reported, and nothing beyond the bytes read.
    let written: Vec<_> =
        answer.writes.iter().map(|write| (write.address, write.bytes.len())).collect();
    assert_eq!(written, [(0x2000, 3), (0x4000, 7), (u64::from(RESULT), 4)]);
    assert_eq!(guest.read(fd, 5).unwrap(), b"");
}

#[test]
fn positions_and_positioned_access() {
    let (_dir, mut guest) = guest();
    let fd = guest.open("text", 0).unwrap();
    assert_eq!(guest.seek(fd, 4, 0), Ok(4));
    assert_eq!(guest.read(fd, 2).unwrap(), b"45");
    assert_eq!(guest.seek(fd, -1, 1), Ok(5));
    assert_eq!(guest.seek(fd, -2, 2), Ok(8));
    assert_eq!(guest.seek(fd, -1, 0), Err(INVAL));
    assert_eq!(guest.seek(fd, -100, 1), Err(INVAL));
    assert_eq!(guest.seek(fd, 0, 3), Err(INVAL));
    assert_eq!(guest.call("fd_tell", &[fd.into(), RESULT.into()]), SUCCESS);
    assert_eq!(guest.u64(RESULT), 8);

    let [address, count] = guest.iovecs(&[(BUFFER, 3)]);
    assert_eq!(guest.call("fd_pread", &[fd.into(), address, count, 1, RESULT.into()]), SUCCESS);
    assert_eq!(guest.bytes(BUFFER, 3), b"123");
    guest.put(BUFFER, b"xyz");
    assert_eq!(guest.call("fd_pwrite", &[fd.into(), address, count, 2, RESULT.into()]), SUCCESS);
    assert_eq!(guest.seek(fd, 0, 1), Ok(8), "positioned access keeps the position");
    assert_eq!(guest.seek(fd, 0, 0), Ok(0));
    assert_eq!(guest.read(fd, 100).unwrap(), b"01xyz56789");
    let huge = [fd.into(), address, count, u64::MAX, RESULT.into()];
    assert_eq!(guest.call("fd_pread", &huge), INVAL);
    assert_eq!(guest.call("fd_pwrite", &huge), INVAL);
}

#[test]
fn append_mode_appends_but_positioned_writes_do_not() {
    let (dir, mut guest) = guest();
    let fd = guest.open_at(3, "text", true, 0, ALL, APPEND).unwrap();
    assert_eq!(guest.write(fd, b"ab"), Ok(2));
    guest.put(BUFFER, b"Z");
    let [address, count] = guest.iovecs(&[(BUFFER, 1)]);
    assert_eq!(guest.call("fd_pwrite", &[fd.into(), address, count, 0, RESULT.into()]), SUCCESS);
    guest.seek(fd, 0, 0).unwrap();
    assert_eq!(guest.write(fd, b"c"), Ok(1));
    assert_eq!(fs::read(dir.path().join("text")).unwrap(), b"Z123456789abc");
    // Leaving append mode makes the position count.
    assert_eq!(guest.call("fd_fdstat_set_flags", &[fd.into(), 0]), SUCCESS);
    guest.seek(fd, 1, 0).unwrap();
    assert_eq!(guest.write(fd, b"-"), Ok(1));
    assert_eq!(fs::read(dir.path().join("text")).unwrap(), b"Z-23456789abc");
    assert_eq!(guest.call("fd_fdstat_set_flags", &[fd.into(), 2]), INVAL, "dsync is fixed");
    assert_eq!(guest.call("fd_fdstat_set_flags", &[fd.into(), 32]), INVAL);
}

#[test]
fn a_bad_pointer_is_found_before_anything_happens() {
    let (dir, mut guest) = guest();
    let fd = guest.open("text", 0).unwrap();
    let end = guest.memory.len() as u32;
    let before = guest.memory.clone();
    // The place for the count is bad, then one of the vectors, then their array.
    let [address, count] = guest.iovecs(&[(BUFFER, 4)]);
    for name in ["fd_read", "fd_write"] {
        assert_eq!(guest.call(name, &[fd.into(), address, count, u64::from(end - 3)]), FAULT);
        assert_eq!(guest.call(name, &[fd.into(), (end - 7).into(), 1, RESULT.into()]), FAULT);
        // A count whose bytes do not fit 32 bits must not wrap to a small one.
        assert_eq!(guest.call(name, &[fd.into(), 0, 0x2000_0001, RESULT.into()]), FAULT);
        assert_eq!(guest.call(name, &[fd.into(), 0, u32::MAX.into(), RESULT.into()]), FAULT);
        let [address, count] = guest.iovecs(&[(BUFFER, 4), (end - 1, 2)]);
        assert_eq!(guest.call(name, &[fd.into(), address, count, RESULT.into()]), FAULT);
        let [address, count] = guest.iovecs(&[(BUFFER, 4), (4, u32::MAX)]);
        assert_eq!(guest.call(name, &[fd.into(), address, count, RESULT.into()]), FAULT);
        guest.iovecs(&[(BUFFER, 4), (0, 0)]);
    }
    guest.memory[IOVEC as usize..IOVEC as usize + 16].fill(0);
    assert_eq!(before[..IOVEC as usize], guest.memory[..IOVEC as usize]);
    assert_eq!(before[BUFFER as usize..], guest.memory[BUFFER as usize..]);
    assert_eq!(guest.seek(fd, 0, 1), Ok(0), "nothing was read or written");
    assert_eq!(fs::read(dir.path().join("text")).unwrap(), b"0123456789");
    assert_eq!(guest.call("fd_seek", &[fd.into(), 5, 0, end.into()]), FAULT);
    assert_eq!(guest.seek(fd, 0, 1), Ok(0));
}

#[test]
fn many_vectors_make_a_short_transfer() {
    let (dir, mut guest) = guest();
    let fd = guest.open("long", CREAT).unwrap();
    let ranges: Vec<(u32, u32)> = (0..2000).map(|_| (BUFFER, 1)).collect();
    let bytes: Vec<u8> =
        ranges.iter().flat_map(|(a, l)| [a.to_le_bytes(), l.to_le_bytes()].concat()).collect();
    guest.put(0x2000, &bytes);
    let args = [fd.into(), 0x2000, 2000, RESULT.into()];
    assert_eq!(guest.call("fd_write", &args), SUCCESS);
    assert_eq!(guest.u32(RESULT), 1024);
    assert_eq!(fs::metadata(dir.path().join("long")).unwrap().len(), 1024);
}

#[test]
fn descriptors_close_renumber_and_take_the_lowest_number() {
    let (_dir, mut guest) = guest();
    let one = guest.open("text", 0).unwrap();
    let two = guest.open("other", CREAT).unwrap();
    assert_eq!((one, two), (4, 5));
    assert_eq!(guest.call("fd_renumber", &[one.into(), two.into()]), SUCCESS);
    assert_eq!(guest.read(two, 3).unwrap(), b"012");
    assert_eq!(guest.read(one, 3), Err(BADF));
    assert_eq!(guest.call("fd_renumber", &[two.into(), 77]), BADF);
    assert_eq!(guest.call("fd_renumber", &[77, two.into()]), BADF);
    assert_eq!(guest.call("fd_renumber", &[two.into(), two.into()]), SUCCESS);
    assert_eq!(guest.open("text", 0), Ok(4));
    assert_eq!(guest.call("fd_close", &[4]), SUCCESS);
    assert_eq!(guest.call("fd_close", &[4]), BADF);
    // A file can take a standard stream's place.
    assert_eq!(guest.call("fd_renumber", &[two.into(), 1]), SUCCESS);
    assert_eq!(guest.seek(1, 0, 0), Ok(0));
    assert_eq!(guest.write(1, b"!"), Ok(1));
    assert_eq!(guest.world.captured_stdout(), b"");
}

#[test]
fn rights_are_checked_inherited_and_given_up() {
    let (_dir, mut guest) = guest();
    let fd = guest.open_at(3, "text", true, 0, FD_READ | FD_TELL, 0).unwrap();
    assert_eq!(guest.write(fd, b"x"), Err(NOTCAPABLE));
    assert_eq!(guest.seek(fd, 1, 0), Err(NOTCAPABLE));
    assert_eq!(guest.seek(fd, 0, 1), Ok(0), "telling is enough to ask");
    assert_eq!(guest.call("fd_filestat_get", &[fd.into(), BUFFER.into()]), NOTCAPABLE);
    assert_eq!(guest.call("fd_filestat_set_size", &[fd.into(), 0]), NOTCAPABLE);
    let set = "fd_fdstat_set_rights";
    assert_eq!(guest.call(set, &[fd.into(), FD_READ | FD_SEEK, 0]), NOTCAPABLE);
    assert_eq!(guest.call(set, &[fd.into(), FD_TELL, 0]), SUCCESS);
    assert_eq!(guest.read(fd, 1), Err(NOTCAPABLE));
    assert_eq!(guest.call(set, &[fd.into(), 1 << 40, 0]), NOTCAPABLE);

    // What a directory cannot pass on, nothing below it can have.
    let rights = ALL & !FD_WRITE;
    assert_eq!(guest.call(set, &[3, (1 << 13) | (1 << 10), rights]), SUCCESS);
    assert_eq!(guest.open("text", 0), Err(NOTCAPABLE));
    assert!(guest.open_at(3, "text", true, 0, FD_READ, 0).is_ok());
    assert_eq!(guest.open_at(3, "text", true, TRUNC, FD_READ, 0), Err(NOTCAPABLE));
    assert_eq!(guest.on_path("path_unlink_file", 3, "text"), NOTCAPABLE);
}

#[test]
fn the_state_of_a_descriptor_has_its_layout() {
    let (_dir, mut guest) = guest();
    let fd = guest.open_at(3, "text", true, 0, ALL, APPEND).unwrap();
    assert_eq!(guest.call("fd_fdstat_get", &[fd.into(), BUFFER.into()]), SUCCESS);
    assert_eq!(guest.bytes(BUFFER, 8), [4, 0, 1, 0, 0, 0, 0, 0]);
    // Rights of a directory mean nothing for a file and are not granted.
    assert_eq!(guest.u64(BUFFER + 8) & (1 << 13), 0);
    assert_ne!(guest.u64(BUFFER + 8) & FD_SEEK, 0);
    assert_eq!(guest.call("fd_fdstat_get", &[3, BUFFER.into()]), SUCCESS);
    assert_eq!(guest.memory[BUFFER as usize], 3);
    assert_eq!(guest.u64(BUFFER + 8) & FD_SEEK, 0);
    assert_eq!(guest.u64(BUFFER + 16), ALL);
    for fd in 0..3 {
        assert_eq!(guest.call("fd_fdstat_get", &[fd, BUFFER.into()]), SUCCESS);
        assert_eq!(guest.memory[BUFFER as usize], 0, "no terminal");
        assert_eq!(guest.u64(BUFFER + 8) & (FD_SEEK | FD_TELL), 0);
    }
    assert_eq!(guest.call("fd_fdstat_get", &[99, BUFFER.into()]), BADF);
    assert_eq!(guest.call("fd_fdstat_get", &[0, 0xfff0]), FAULT);
}

#[test]
fn attributes_size_and_times() {
    let (dir, mut guest) = guest();
    let fd = guest.open("text", 0).unwrap();
    let stat = |guest: &mut Guest| {
        assert_eq!(guest.call("fd_filestat_get", &[fd.into(), BUFFER.into()]), SUCCESS);
    };
    stat(&mut guest);
    assert_eq!(guest.memory[BUFFER as usize + 16], 4);
    assert_eq!((guest.u64(BUFFER + 24), guest.u64(BUFFER + 32)), (1, 10));
    assert_eq!(guest.call("fd_filestat_set_size", &[fd.into(), 4]), SUCCESS);
    assert_eq!(guest.call("fd_filestat_set_size", &[fd.into(), u64::MAX]), INVAL);
    let set = "fd_filestat_set_times";
    assert_eq!(guest.call(set, &[fd.into(), 5_000_000_001, 7_000_000_002, 1 | 4]), SUCCESS);
    stat(&mut guest);
    assert_eq!(guest.u64(BUFFER + 32), 4);
    assert_eq!((guest.u64(BUFFER + 40), guest.u64(BUFFER + 48)), (5_000_000_001, 7_000_000_002));
    assert_eq!(guest.call(set, &[fd.into(), 0, 0, 2]), SUCCESS);
    stat(&mut guest);
    assert!(guest.u64(BUFFER + 40) > 1_600_000_000_000_000_000);
    assert_eq!(guest.u64(BUFFER + 48), 7_000_000_002, "not asked for, kept");
    assert_eq!(guest.call(set, &[fd.into(), 0, 0, 1 | 2]), INVAL);
    assert_eq!(guest.call(set, &[fd.into(), 0, 0, 16]), INVAL);
    assert_eq!(guest.call(set, &[0, 0, 0, 1]), BADF);

    assert_eq!(guest.call("fd_allocate", &[fd.into(), 0, 100]), SUCCESS);
    assert_eq!(fs::metadata(dir.path().join("text")).unwrap().len(), 100);
    assert_eq!(guest.call("fd_allocate", &[fd.into(), 0, 0]), INVAL);
    assert_eq!(guest.call("fd_advise", &[fd.into(), 0, 0, 3]), SUCCESS);
    assert_eq!(guest.call("fd_advise", &[fd.into(), 0, 0, 6]), INVAL);
    assert_eq!(guest.call("fd_advise", &[fd.into(), u64::MAX, 1, 0]), INVAL);
    for name in ["fd_sync", "fd_datasync"] {
        assert_eq!(guest.call(name, &[fd.into()]), SUCCESS);
        assert_eq!(guest.call(name, &[3]), SUCCESS);
        assert_eq!(guest.call(name, &[1]), INVAL);
        assert_eq!(guest.call(name, &[50]), BADF);
    }
}

#[test]
fn a_wrong_kind_is_named_before_a_missing_right() {
    let (_dir, mut guest) = guest();
    assert_eq!(guest.read(3, 1), Err(BADF));
    assert_eq!(guest.write(3, b"x"), Err(BADF));
    assert_eq!(guest.seek(3, 0, 0), Err(BADF));
    assert_eq!(guest.seek(1, 0, 1), Err(SPIPE));
    assert_eq!(guest.call("fd_tell", &[0, RESULT.into()]), SPIPE);
    assert_eq!(guest.call("fd_advise", &[3, 0, 0, 0]), BADF);
    assert_eq!(guest.call("fd_filestat_set_size", &[3, 0]), BADF);
    assert_eq!(guest.read(1, 1), Err(BADF));
    assert_eq!(guest.write(0, b"x"), Err(BADF));
    let fd = guest.open("text", 0).unwrap();
    assert_eq!(guest.open_at(fd, "x", true, 0, FD_READ, 0), Err(NOTDIR));
    assert_eq!(guest.open_at(1, "x", true, 0, FD_READ, 0), Err(BADF));
    let readdir = [fd.into(), BUFFER.into(), 100, 0, RESULT.into()];
    assert_eq!(guest.call("fd_readdir", &readdir), NOTDIR);
}

#[test]
fn sockets_are_not_there() {
    let (_dir, mut guest) = guest();
    for (name, args) in [
        ("sock_accept", &[3u64, 0, 0][..]),
        ("sock_recv", &[3, 0, 0, 0, 0, 0]),
        ("sock_send", &[3, 0, 0, 0, 0]),
        ("sock_shutdown", &[3, 0]),
    ] {
        assert_eq!(guest.call(name, args), NOTSUP, "{name}");
        let mut other = args.to_vec();
        other[0] = 90;
        assert_eq!(guest.call(name, &other), BADF, "{name}");
    }
}
