//! Calls that wait are given up when somebody asks for it.

mod common;

use common::{BUFFER, Guest, RESULT, SUCCESS, quiet, values};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};
use wasi_host::dispatch::PREVIEW1;
use wasi_host::{Cancel, HostError, Stdin, WorldConfig};

/// A call that would wait for ever, cancelled from another thread.
#[track_caller]
fn is_given_up(guest: &mut Guest, cancel: &Cancel, name: &str, args: &[u64]) {
    let (began, canceller) = (Instant::now(), cancel.clone());
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        canceller.cancel();
    });
    let calls = guest.world.calls();
    let answer = guest.world.call(PREVIEW1, name, &values(name, args), &mut guest.memory);
    assert!(matches!(answer, Err(HostError::Cancelled)), "{answer:?}");
    let took = began.elapsed();
    assert!((Duration::from_millis(90)..Duration::from_secs(5)).contains(&took), "{took:?}");
    // It has no answer, so it is not in the log.
    assert_eq!(guest.world.calls(), calls);
    thread.join().unwrap();
}

#[test]
fn waiting_for_a_clock() {
    let cancel = Cancel::default();
    let mut guest = Guest::new(WorldConfig { cancel: cancel.clone(), ..quiet() });
    // Clock 1 in an hour.
    guest.put(BUFFER + 16, &1u32.to_le_bytes());
    guest.put(BUFFER + 24, &3_600_000_000_000u64.to_le_bytes());
    let (events, count) = (u64::from(BUFFER) + 64, 1);
    let args = [u64::from(BUFFER), events, count, RESULT.into()];
    is_given_up(&mut guest, &cancel, "poll_oneoff", &args);
    // What does not wait is still answered.
    assert_eq!(guest.call("sched_yield", &[]), SUCCESS);
}

#[test]
fn waiting_for_input() {
    let cancel = Cancel::default();
    let (reader, writer) = std::io::pipe().unwrap();
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
    let stdin = Stdin::File(path.into());
    let config = WorldConfig { cancel: cancel.clone(), stdin, ..quiet() };
    let mut guest = Guest::new(config);
    std::io::Write::write_all(&mut &writer, b"some").unwrap();
    assert_eq!(guest.read(0, 16), Ok(b"some".to_vec()));
    let [address, count] = guest.iovecs(&[(BUFFER, 16)]);
    is_given_up(&mut guest, &cancel, "fd_read", &[0, address, count, RESULT.into()]);
    drop(OwnedFd::from(writer));
}
