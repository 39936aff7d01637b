//! Recording and replaying: the same results without the world, the first
//! difference named, and no log that breaks anything.

mod common;

use common::*;
use std::fs;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use wasi_host::dispatch::PREVIEW1;
use wasi_host::{
    Difference, HostError, HostReturn, LogError, OperationLog, Outcome, Output, Stdin, World,
    WorldConfig, function_names,
};

/// A sink that can be looked into afterwards.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const HASH: [u8; 32] = [0xab; 32];

fn config(dir: &std::path::Path) -> WorldConfig {
    WorldConfig {
        args: vec!["prog".into()],
        dirs: vec![(dir.to_owned(), "/".into())],
        stdin: Stdin::Bytes(b"typed".to_vec()),
        ..quiet()
    }
}

/// A program that uses everything that is not the same twice.
fn program(guest: &mut Guest) -> Vec<HostReturn> {
    let mut seen = Vec::new();
    let mut step = |guest: &mut Guest, name: &str, args: &[u64]| {
        seen.push(guest.full(name, args));
    };
    step(guest, "args_get", &[0x10, 0x20]);
    step(guest, "clock_time_get", &[0, 0, 0x5000]);
    step(guest, "random_get", &[0x5008, 32]);
    let [path, length] = guest.path("data");
    let all = ALL;
    step(guest, "path_open", &[3, 1, path, length, 0, all, all, 0, RESULT.into()]);
    let fd = u64::from(guest.u32(RESULT));
    let [vectors, count] = guest.iovecs(&[(0x6000, 400), (0x7000, 400)]);
    step(guest, "fd_read", &[fd, vectors, count, RESULT.into()]);
    step(guest, "fd_filestat_get", &[fd, 0x5100]);
    step(guest, "fd_readdir", &[3, 0x8000, 300, 0, RESULT.into()]);
    step(guest, "fd_read", &[0, vectors, count, RESULT.into()]);
    step(guest, "fd_close", &[77]);
    let [vectors, count] = guest.iovecs(&[(0x6000, 100), (0x5000, 40)]);
    step(guest, "fd_write", &[1, vectors, count, RESULT.into()]);
    step(guest, "fd_write", &[fd, vectors, count, RESULT.into()]);
    step(guest, "fd_write", &[2, vectors, 1, RESULT.into()]);
    let [path, length] = guest.path("data");
    step(guest, "path_unlink_file", &[3, path, length]);
    step(guest, "proc_exit", &[7]);
    seen
}

/// Runs the program for real and returns the guest, what it saw, and the log.
fn record() -> (Guest, Vec<HostReturn>, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("data"), vec![b'd'; 500]).unwrap();
    let sink = Shared::default();
    let world = World::recording(config(dir.path()), sink.clone(), HASH).unwrap();
    let mut guest = Guest::of(world);
    let seen = program(&mut guest);
    assert_eq!(seen.last().unwrap().outcome, Outcome::Exit(7));
    let text = sink.0.lock().unwrap().clone();
    // The directory is gone before anyone replays.
    drop(dir);
    (guest, seen, text)
}

fn replayed(log: OperationLog) -> Guest {
    Guest::of(World::replaying_into(log, Output::Capture, Output::Capture))
}

#[test]
fn a_replay_needs_no_world() {
    let (live, seen, text) = record();
    let from_file = OperationLog::read(text.as_slice()).unwrap();
    assert_eq!(from_file.module_sha256(), Some(HASH));
    assert!(from_file.check_module(&HASH).is_ok());
    let error = from_file.check_module(&[0; 32]).unwrap_err();
    assert!(matches!(error, LogError::OtherModule { .. }));
    for log in [live.world.log().clone(), from_file] {
        let mut guest = replayed(log);
        assert_eq!(guest.world.remaining(), seen.len() as u64);
        assert_eq!(program(&mut guest), seen);
        assert_eq!(guest.memory, live.memory);
        assert_eq!(guest.world.captured_stdout(), live.world.captured_stdout());
        assert_eq!(guest.world.captured_stderr(), live.world.captured_stderr());
        assert_eq!((guest.world.calls(), guest.world.remaining()), (seen.len() as u64, 0));
    }
    assert_eq!(live.world.captured_stdout().len(), 140);
    // Written again, the log is the same text.
    let mut again = Vec::new();
    live.world.log().write(&mut again).unwrap();
    assert_eq!(again, text);
}

#[test]
fn output_is_re_emitted_only_where_asked() {
    let (_, _, text) = record();
    let mut guest =
        Guest::of(World::replaying(OperationLog::read(text.as_slice()).unwrap(), false));
    program(&mut guest);
    assert_eq!(guest.world.captured_stdout(), b"");
}

/// What the first call that a program makes differently is reported as.
fn first_difference(change: impl FnOnce(&mut Guest)) -> (u64, Difference, String) {
    let (live, _, _) = record();
    let mut guest = replayed(live.world.log().clone());
    guest.call("args_get", &[0x10, 0x20]);
    guest.call("clock_time_get", &[0, 0, 0x5000]);
    guest.call("random_get", &[0x5008, 32]);
    change(&mut guest);
    let path = [3, 1, PATH.into(), 4, 0, ALL, ALL, 0, RESULT.into()];
    let before = guest.memory.clone();
    let args = values("path_open", &path);
    let error = guest.world.call(PREVIEW1, "path_open", &args, &mut guest.memory).unwrap_err();
    assert_eq!(guest.memory, before, "a call that differs changes nothing");
    let text = error.to_string();
    match error {
        HostError::Diverged { index, what, .. } => (index, what, text),
        other => panic!("{other}"),
    }
}

#[test]
fn the_first_difference_is_named() {
    let (index, what, text) = first_difference(|guest| {
        guest.path("date");
    });
    let bytes = Difference::Memory { address: PATH.into(), length: 4 };
    assert_eq!((index, what), (3, bytes));
    assert!(text.contains("64617461") && text.contains("64617465"), "{text}");

    let (live, _, _) = record();
    let mut guest = replayed(live.world.log().clone());
    let args = values("args_get", &[0x10, 0x24]);
    let error = guest.world.call(PREVIEW1, "args_get", &args, &mut guest.memory).unwrap_err();
    let HostError::Diverged { index: 0, what: Difference::Argument { index: 1 }, .. } = error
    else {
        panic!("{error}");
    };
    let args = values("args_sizes_get", &[0x10, 0x20]);
    let error = guest.world.call(PREVIEW1, "args_sizes_get", &args, &mut guest.memory).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("args_get(") && text.contains("args_sizes_get("), "{text}");
    // Neither counts: the program may still make the right call.
    assert_eq!(guest.call("args_get", &[0x10, 0x20]), SUCCESS);
}

#[test]
fn digested_memory_is_compared_too() {
    let (live, seen, _) = record();
    let mut guest = replayed(live.world.log().clone());
    let index = live.world.log().entries().position(|one| one.function() == "fd_write").unwrap();
    for entry in live.world.log().entries().take(index) {
        for read in &entry.reads {
            let from = read.address as usize;
            // The program's own writes come from the recorded memory.
            if let wasi_host::log::Content::Bytes(bytes) = &read.content {
                guest.memory[from..from + bytes.len()].copy_from_slice(bytes);
            }
        }
        let args = entry.args.clone();
        guest.world.call(PREVIEW1, entry.function(), &args, &mut guest.memory).unwrap();
    }
    guest.iovecs(&[(0x6000, 100), (0x5000, 40)]);
    guest.memory[0x6000 + 99] ^= 1;
    let args = live.world.log().get(index as u64).unwrap().args.clone();
    let error = guest.world.call(PREVIEW1, "fd_write", &args, &mut guest.memory).unwrap_err();
    let HostError::Diverged { what, .. } = error else { panic!("{error}") };
    assert_eq!(what, Difference::Memory { address: 0x6000, length: 100 });
    assert_eq!(guest.world.captured_stdout(), b"");
    assert!(seen.len() > index);
}

#[test]
fn the_log_ends_before_the_program() {
    let (live, _, _) = record();
    let mut guest = replayed(live.world.log().clone());
    program(&mut guest);
    let error = guest.world.call(PREVIEW1, "sched_yield", &[], &mut guest.memory).unwrap_err();
    assert!(matches!(error, HostError::LogExhausted { index: 14, .. }), "{error}");
}

#[test]
fn an_entry_that_does_not_fit_the_memory_is_named() {
    let log = concat!(
        r#"{"format":"wdiff-operation-log","version":1,"module_sha256":null}"#,
        "\n",
        r#"{"index":0,"module":"wasi_snapshot_preview1","function":"sched_yield","args":[],"#,
        r#""results":["0x00000000"],"writes":[{"address":65535,"bytes":"0102"}]}"#,
        "\n",
    );
    let mut guest = replayed(OperationLog::read(log.as_bytes()).unwrap());
    let error = guest.world.call(PREVIEW1, "sched_yield", &[], &mut guest.memory).unwrap_err();
    assert!(matches!(error, HostError::BadEntry { index: 0, .. }), "{error}");
    assert_eq!(guest.memory[65535], 0);
}

#[test]
fn a_tampered_log_is_refused_with_its_line() {
    let (_, _, text) = record();
    let text = String::from_utf8(text).unwrap();
    let cases = [
        ("\"version\":1", "\"version\":2", None),
        ("wdiff-operation-log", "other", Some(1)),
        ("\"module_sha256\":\"ab", "\"module_sha256\":\"xy", Some(1)),
        ("\"index\":2", "\"index\":3", Some(4)),
        ("\"function\":\"random_get\"", "\"function\":\"random\"", Some(4)),
        ("\"function\":\"random_get\"", "\"function\":\"poll_oneoff\"", Some(4)),
        ("wasi_snapshot_preview1", "env", Some(2)),
        ("\"exit\":7", "\"results\":[\"0x00000000\"]", Some(15)),
        ("\"results\":[\"0x00000000\"]", "\"exit\":0", Some(2)),
        ("\"results\":[\"0x00000000\"]", "\"results\":[\"0x000000\"]", Some(2)),
        ("\"args\":", "\"extra\":0,\"args\":", Some(2)),
        ("\"length\":100", "\"length\":-1", Some(11)),
        ("\"stream\":\"stdout\"", "\"stream\":\"stdin\"", Some(11)),
    ];
    for (from, to, line) in cases {
        assert!(text.contains(from), "{from}");
        let error = OperationLog::read(text.replacen(from, to, 1).as_bytes()).unwrap_err();
        match (&error, line) {
            (LogError::Version { found: 2, .. }, None) => {}
            (LogError::Malformed { line, .. }, Some(expected)) => {
                assert_eq!(*line, expected, "{from} -> {to}: {error}");
            }
            _ => panic!("{from} -> {to}: {error}"),
        }
    }
    let cut = &text.as_bytes()[..text.len() - 10];
    assert!(OperationLog::read(cut).unwrap_err().to_string().contains("cut off"));
    assert!(matches!(OperationLog::read(&b""[..]), Err(LogError::Malformed { line: 1, .. })));
}

/// A small generator of numbers, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 33
    }
}

#[test]
fn mutated_logs_are_errors_at_worst() {
    let (_, _, text) = record();
    let mut numbers = Numbers(1);
    let (mut refused, mut diverged) = (0, 0);
    for _ in 0..3000 {
        let mut mutated = text.clone();
        for _ in 0..=numbers.next() % 3 {
            let at = numbers.next() as usize % mutated.len();
            let other = numbers.next() as usize % text.len();
            match numbers.next() % 4 {
                0 => mutated[at] = numbers.next() as u8,
                1 => mutated[at] = text[other],
                2 => drop(mutated.drain(at..mutated.len().min(at + 1 + other % 40))),
                _ => mutated.insert(at, text[other]),
            }
        }
        let Ok(log) = OperationLog::read(mutated.as_slice()) else {
            refused += 1;
            continue;
        };
        // Replay what the log says the program did, as far as it goes.
        let mut guest = replayed(log.clone());
        for entry in log.entries() {
            let result =
                guest.world.call(entry.module(), entry.function(), &entry.args, &mut guest.memory);
            if result.is_err() {
                diverged += 1;
                break;
            }
        }
    }
    assert!(refused > 100 && diverged > 100, "{refused} refused, {diverged} diverged");
}

#[test]
fn any_arguments_are_answered_and_replayed() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("data"), b"0123456789").unwrap();
    fs::create_dir(dir.path().join("sub")).unwrap();
    let mut live = Guest::of(World::live(config(dir.path())).unwrap());
    let mut numbers = Numbers(7);
    let names: Vec<&str> = function_names()
        // These would wait, end, or take the disk; they have tests of their own.
        .filter(|name| !["poll_oneoff", "proc_raise", "fd_allocate"].contains(name))
        .collect();
    let mut calls = Vec::new();
    for _ in 0..20_000 {
        let name = names[numbers.next() as usize % names.len()];
        let ty = wasi_host::signature(PREVIEW1, name).unwrap();
        let args: Vec<u64> = ty
            .params
            .iter()
            .map(|_| match numbers.next() % 8 {
                0 => u64::from(u32::MAX) - numbers.next() % 9,
                1 => numbers.next() % 0x10100,
                2 => u64::MAX,
                3 => PATH.into(),
                4 => IOVEC.into(),
                _ => numbers.next() % 8,
            })
            .collect();
        let path = ["data", "sub", "a", "../b", "sub/x", "."][numbers.next() as usize % 6];
        let poke = (numbers.next() as usize % 0x600, numbers.next() as u8);
        calls.push((name, args, path, poke));
    }
    let run = |guest: &mut Guest| -> Vec<HostReturn> {
        calls
            .iter()
            .map(|(name, args, path, (at, byte))| {
                guest.path(path);
                guest.iovecs(&[(BUFFER, 5), (BUFFER + 3, 9)]);
                guest.memory[*at] = *byte;
                guest.full(name, args)
            })
            .collect()
    };
    let seen = run(&mut live);
    let number = |code| Outcome::Return(vec![wasm_view::Value::I32(code)]);
    let good = seen.iter().filter(|answer| answer.outcome == number(0)).count();
    assert!(good > 500, "{good} calls succeeded");
    let mut text = Vec::new();
    live.world.log().write(&mut text).unwrap();
    drop(dir);
    let mut guest = replayed(OperationLog::read(text.as_slice()).unwrap());
    assert!(run(&mut guest) == seen, "the replay answers the same");
    assert!(guest.memory == live.memory);
}
