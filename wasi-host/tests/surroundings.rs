//! Arguments, environment, streams, clocks, waiting, chance, the end.

mod common;

use common::*;
use std::time::Instant;
use wasi_host::dispatch::{PREVIEW0, PREVIEW1};
use wasi_host::{HostError, Outcome, Output, Stdin, World, WorldConfig, WorldError};
use wasm_view::Value;

#[test]
fn arguments_and_environment_are_terminated_and_counted() {
    let mut guest = Guest::new(WorldConfig {
        args: vec!["prog".into(), "".into(), "grün".into()],
        env: vec![("A".into(), "1".into()), ("B".into(), "x=y".into())],
        ..quiet()
    });
    assert_eq!(guest.call("args_sizes_get", &[0x10, 0x20]), SUCCESS);
    assert_eq!((guest.u32(0x10), guest.u32(0x20)), (3, 5 + 1 + 6));
    assert_eq!(guest.call("args_get", &[0x30, 0x80]), SUCCESS);
    assert_eq!(guest.bytes(0x80, 12), "prog\0\0grün\0".as_bytes());
    assert_eq!([guest.u32(0x30), guest.u32(0x34), guest.u32(0x38)], [0x80, 0x85, 0x86]);
    assert_eq!(guest.call("environ_sizes_get", &[0x10, 0x20]), SUCCESS);
    assert_eq!((guest.u32(0x10), guest.u32(0x20)), (2, 10));
    assert_eq!(guest.call("environ_get", &[0x30, 0x80]), SUCCESS);
    assert_eq!(guest.bytes(0x80, 10), b"A=1\0B=x=y\0");
    let before = guest.memory.clone();
    assert_eq!(guest.call("args_get", &[0x30, 0xfffe]), FAULT);
    assert_eq!(guest.call("args_get", &[0x30, u32::MAX.into()]), FAULT);
    assert_eq!(guest.call("args_sizes_get", &[0x10, 0xfffe]), FAULT);
    assert_eq!(guest.memory, before, "a failed call writes nothing");
}

#[test]
fn what_cannot_be_set_up_is_named() {
    let failed = |config| World::live(config).err().map(|error| error.to_string());
    let dir = |path: &str| WorldConfig { dirs: vec![(path.into(), "/".into())], ..quiet() };
    assert!(failed(dir("/no/such/place")).is_some_and(|text| text.contains("/no/such/place")));
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = World::live(dir(file.path().to_str().unwrap())).err();
    assert!(matches!(error, Some(WorldError::NotADirectory { .. })));
    let stdin = WorldConfig { stdin: Stdin::File("/no/input".into()), ..quiet() };
    assert!(failed(stdin).is_some_and(|text| text.contains("/no/input")));
    let nul = WorldConfig { args: vec!["a\0b".into()], ..quiet() };
    assert!(failed(nul).is_some_and(|text| text.contains("NUL")));
    let name = WorldConfig { env: vec![("A=B".into(), "".into())], ..quiet() };
    assert!(failed(name).is_some_and(|text| text.contains("A=B")));
}

#[test]
fn directories_are_found_under_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = vec![(dir.path().to_owned(), "/data".into()), (dir.path().to_owned(), ".".into())];
    let mut guest = Guest::new(WorldConfig { dirs, ..quiet() });
    assert_eq!(guest.call("fd_prestat_get", &[3, 0x10]), SUCCESS);
    assert_eq!(guest.bytes(0x10, 8), [0, 0, 0, 0, 5, 0, 0, 0]);
    assert_eq!(guest.call("fd_prestat_dir_name", &[3, 0x20, 5]), SUCCESS);
    assert_eq!(guest.bytes(0x20, 6), b"/data\0");
    assert_eq!(guest.call("fd_prestat_dir_name", &[3, 0x20, 4]), NAMETOOLONG);
    assert_eq!(guest.call("fd_prestat_get", &[4, 0x10]), SUCCESS);
    assert_eq!(guest.u32(0x14), 1);
    assert_eq!(guest.call("fd_prestat_get", &[5, 0x10]), BADF);
    assert_eq!(guest.call("fd_prestat_get", &[0, 0x10]), BADF);
    assert_eq!(guest.call("fd_prestat_dir_name", &[1, 0x20, 9]), NOTDIR);
}

#[test]
fn streams_read_and_write() {
    let mut guest = Guest::new(WorldConfig { stdin: Stdin::Bytes(b"input".to_vec()), ..quiet() });
    assert_eq!(guest.read(0, 3).unwrap(), b"inp");
    assert_eq!(guest.read(0, 100).unwrap(), b"ut");
    assert_eq!(guest.read(0, 100).unwrap(), b"");
    guest.put(0x2000, b"hello ");
    guest.put(0x3000, b"world");
    let [address, count] = guest.iovecs(&[(0x2000, 6), (0x3000, 5)]);
    assert_eq!(guest.call("fd_write", &[1, address, count, RESULT.into()]), SUCCESS);
    assert_eq!(guest.u32(RESULT), 11);
    assert_eq!(guest.write(2, b"oops"), Ok(4));
    assert_eq!(guest.world.captured_stdout(), b"hello world");
    assert_eq!(guest.world.captured_stderr(), b"oops");
    assert_eq!(guest.call("fd_close", &[1]), SUCCESS);
    assert_eq!(guest.write(1, b"x"), Err(BADF));

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"from a file").unwrap();
    let stdin = Stdin::File(file.path().to_owned());
    let mut guest = Guest::new(WorldConfig { stdin, stdout: Output::Discard, ..quiet() });
    assert_eq!(guest.read(0, 4).unwrap(), b"from");
    assert_eq!(guest.write(1, b"gone"), Ok(4));
    assert_eq!(guest.world.captured_stdout(), b"");
}

#[test]
fn clocks_tell_and_know_their_resolution() {
    let mut guest = Guest::new(quiet());
    for clock in 0..4 {
        assert_eq!(guest.call("clock_res_get", &[clock, 0x10]), SUCCESS);
        assert!((1..=1_000_000_000).contains(&guest.u64(0x10)));
        assert_eq!(guest.call("clock_time_get", &[clock, 0, 0x18]), SUCCESS);
        assert_eq!(guest.call("clock_time_get", &[clock, 0, 0x20]), SUCCESS);
        assert!(guest.u64(0x20) >= guest.u64(0x18));
    }
    assert_eq!(guest.call("clock_time_get", &[0, 0, 0x18]), SUCCESS);
    assert!(guest.u64(0x18) > 1_600_000_000_000_000_000);
    assert_eq!(guest.call("clock_time_get", &[4, 0, 0x10]), INVAL);
    assert_eq!(guest.call("clock_res_get", &[4, 0x10]), INVAL);
    assert_eq!(guest.call("clock_time_get", &[0, 0, 0xfffc]), FAULT);
}

/// A subscription to a clock.
fn clock(user: u64, id: u32, timeout: u64, absolute: bool) -> [u8; 48] {
    let mut bytes = [0; 48];
    bytes[..8].copy_from_slice(&user.to_le_bytes());
    bytes[16..20].copy_from_slice(&id.to_le_bytes());
    bytes[24..32].copy_from_slice(&timeout.to_le_bytes());
    bytes[40] = absolute.into();
    bytes
}

/// A subscription to a descriptor: 1 to read, 2 to write.
fn descriptor(user: u64, kind: u8, fd: u32) -> [u8; 48] {
    let mut bytes = [0; 48];
    bytes[..8].copy_from_slice(&user.to_le_bytes());
    bytes[8] = kind;
    bytes[16..20].copy_from_slice(&fd.to_le_bytes());
    bytes
}

/// Polls, and returns user data, error, kind and available bytes of the events.
fn poll(guest: &mut Guest, subscriptions: &[[u8; 48]]) -> Vec<(u64, u16, u8, u64)> {
    guest.put(BUFFER, &subscriptions.concat());
    let args = [BUFFER.into(), 0x8000, subscriptions.len() as u64, RESULT.into()];
    assert_eq!(guest.call("poll_oneoff", &args), SUCCESS);
    (0..guest.u32(RESULT))
        .map(|number| {
            let at = 0x8000 + 32 * number;
            let error = u16::from_le_bytes(guest.bytes(at + 8, 2).try_into().unwrap());
            (guest.u64(at), error, guest.memory[at as usize + 10], guest.u64(at + 16))
        })
        .collect()
}

#[test]
fn waiting_for_clocks() {
    let mut guest = Guest::new(quiet());
    let start = Instant::now();
    let events =
        poll(&mut guest, &[clock(1, 1, 3_600_000_000_000, false), clock(2, 0, 20_000_000, false)]);
    assert_eq!(events, [(2, 0, 0, 0)]);
    assert!(start.elapsed().as_millis() >= 20);
    // Moments in the past have come.
    assert_eq!(poll(&mut guest, &[clock(3, 0, 1, true), clock(4, 1, 1, true)]).len(), 2);
    // Clocks that cannot be waited for.
    assert_eq!(poll(&mut guest, &[clock(5, 2, 1, false)]), [(5, NOTSUP as u16, 0, 0)]);
    assert_eq!(poll(&mut guest, &[clock(6, 9, 1, false)]), [(6, INVAL as u16, 0, 0)]);
    // The farthest deadline does not wrap around.
    let events = poll(&mut guest, &[clock(7, 1, u64::MAX, false), clock(8, 1, 0, false)]);
    assert_eq!(events, [(8, 0, 0, 0)]);
}

#[test]
fn waiting_for_descriptors() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("text"), b"0123456789").unwrap();
    let mut guest = Guest::new(WorldConfig {
        dirs: vec![(dir.path().to_owned(), "/".into())],
        stdin: Stdin::Bytes(b"abc".to_vec()),
        ..quiet()
    });
    let fd = guest.open("text", 0).unwrap();
    guest.seek(fd, 4, 0).unwrap();
    let read_only = guest.open_at(3, "text", true, 0, FD_READ | 1 << 27, 0).unwrap();
    let events = poll(
        &mut guest,
        &[
            descriptor(1, 1, 0),
            descriptor(2, 2, 1),
            descriptor(3, 1, fd),
            descriptor(4, 2, fd),
            descriptor(5, 1, 3),
            descriptor(6, 1, 77),
            descriptor(7, 2, read_only),
            clock(8, 1, 3_600_000_000_000, false),
        ],
    );
    assert_eq!(
        events,
        [
            (1, 0, 1, 3),
            (2, 0, 2, 1),
            (3, 0, 1, 6),
            (4, 0, 2, 1),
            (5, BADF as u16, 1, 0),
            (6, BADF as u16, 1, 0),
            (7, NOTCAPABLE as u16, 2, 0),
        ]
    );
    guest.seek(fd, 1000, 0).unwrap();
    assert_eq!(poll(&mut guest, &[descriptor(9, 1, fd)]), [(9, 0, 1, 0)]);
    assert_eq!(guest.memory[0x8000 + 24], 1, "beyond the end nothing will come");
}

#[test]
fn polls_that_make_no_sense() {
    let mut guest = Guest::new(quiet());
    let poll = |count: u64| [BUFFER.into(), 0x8000, count, RESULT.into()];
    assert_eq!(guest.call("poll_oneoff", &poll(0)), INVAL);
    assert_eq!(guest.call("poll_oneoff", &poll(2000)), FAULT);
    assert_eq!(guest.call("poll_oneoff", &poll(u32::MAX.into())), INVAL);
    guest.memory[BUFFER as usize + 8] = 9;
    assert_eq!(guest.call("poll_oneoff", &poll(1)), INVAL);
}

#[test]
fn chance_fills_what_is_asked() {
    let mut guest = Guest::new(quiet());
    assert_eq!(guest.call("random_get", &[0x100, 1000]), SUCCESS);
    assert!(guest.bytes(0x100, 1000).iter().any(|&byte| byte != guest.memory[0x100]));
    assert!(guest.bytes(0, 0x100).iter().all(|&byte| byte == 0));
    assert_eq!(guest.call("random_get", &[0x100, 0]), SUCCESS);
    assert_eq!(guest.call("random_get", &[0xffff, 2]), FAULT);
    assert_eq!(guest.call("random_get", &[0, u32::MAX.into()]), FAULT);
}

#[test]
fn the_end_and_what_is_refused() {
    let mut guest = Guest::new(quiet());
    assert_eq!(guest.call("sched_yield", &[]), SUCCESS);
    assert_eq!(guest.full("proc_exit", &[u32::MAX.into()]).outcome, Outcome::Exit(u32::MAX));
    let mut call = |module: &str, name: &str, args: &[Value]| {
        guest.world.call(module, name, args, &mut guest.memory)
    };
    for (module, name, args) in [
        (PREVIEW1, "proc_raise", &[Value::I32(6)][..]),
        (PREVIEW1, "fd_nothing", &[]),
        (PREVIEW0, "poll_oneoff", &[]),
        ("env", "abort", &[]),
    ] {
        match call(module, name, args) {
            Err(HostError::Unsupported { name: named, .. }) => {
                assert_eq!(named, format!("{module}.{name}"));
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    for args in [&[][..], &[Value::I64(0)], &[Value::I32(0), Value::I32(0)]] {
        let error = call(PREVIEW1, "fd_close", args).unwrap_err();
        assert!(matches!(error, HostError::Arguments { .. }), "{error}");
    }
    assert!(call(PREVIEW0, "fd_close", &[Value::I32(0)]).is_ok());
    assert_eq!(guest.world.calls(), 3);
}

#[test]
fn a_world_may_move_to_another_thread() {
    fn send<T: Send>(_: &T) {}
    send(&Guest::new(quiet()).world);
}
