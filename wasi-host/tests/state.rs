//! What a program has open, carried to another world: everything goes on where
//! it was, or is refused by name.

mod common;

use common::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use wasi_host::state::NodeState;
use wasi_host::{StateError, Stdin, World, WorldConfig, WorldState};

fn config(path: &Path) -> WorldConfig {
    WorldConfig { dirs: vec![(path.to_owned(), "/data".to_owned())], ..quiet() }
}

fn guest() -> (tempfile::TempDir, Guest) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("text"), b"0123456789").unwrap();
    fs::create_dir(dir.path().join("sub")).unwrap();
    let guest = Guest::new(config(dir.path()));
    (dir, guest)
}

/// Another world with what this one has, through bytes.
fn moved(guest: &Guest, dir: &Path) -> Guest {
    let state = guest.world.state().unwrap().unwrap();
    let read = WorldState::decode(&state.encode()).unwrap();
    assert_eq!(read, state);
    let world = World::resumed(&read, config(dir)).unwrap();
    assert_eq!(state.difference(&world.state().unwrap().unwrap()), None);
    assert_eq!(world.calls(), guest.world.calls());
    Guest::of(world)
}

fn refused(guest: &Guest) -> StateError {
    guest.world.state().expect_err("refused")
}

#[test]
fn files_go_on_at_their_offset_under_their_number() {
    let (dir, mut guest) = guest();
    let text = guest.open("text", 0).unwrap();
    let other = guest.open("sub/other", CREAT).unwrap();
    assert_eq!((text, other), (4, 5));
    assert_eq!(guest.read(text, 3).unwrap(), b"012");
    assert_eq!(guest.write(other, b"abc"), Ok(3));
    // A gap in the numbers, and one number that stands for another file.
    let third = guest.open("text", 0).unwrap();
    assert_eq!(guest.call("fd_renumber", &[third.into(), text.into()]), SUCCESS);
    assert_eq!(guest.read(text, 5).unwrap(), b"01234");
    let fourth = guest.open("text", 0).unwrap();
    let fifth = guest.open("text", 0).unwrap();
    assert_eq!(guest.call("fd_close", &[fourth.into()]), SUCCESS);

    let mut there = moved(&guest, dir.path());
    assert_eq!(there.read(text, 2).unwrap(), b"56");
    assert_eq!(there.write(other, b"def"), Ok(3));
    assert_eq!(fs::read(dir.path().join("sub/other")).unwrap(), b"abcdef");
    assert_eq!(there.read(fourth, 1), Err(BADF));
    assert_eq!(there.read(fifth, 1).unwrap(), b"0");
    // The lowest free number comes next, as it would have.
    assert_eq!(there.open("text", 0), Ok(fourth));
}

#[test]
fn append_mode_and_rights_stay() {
    let (dir, mut guest) = guest();
    let fd = guest.open_at(3, "text", true, 0, FD_WRITE | FD_READ | FD_SEEK, APPEND).unwrap();
    assert_eq!(guest.write(fd, b"a"), Ok(1));
    let reads = guest.open_at(3, "text", true, 0, FD_READ, 0).unwrap();
    let mut there = moved(&guest, dir.path());
    assert_eq!(there.seek(fd, 0, 0), Ok(0));
    assert_eq!(there.write(fd, b"b"), Ok(1));
    assert_eq!(fs::read(dir.path().join("text")).unwrap(), b"0123456789ab");
    assert_eq!(there.call("fd_tell", &[reads.into(), RESULT.into()]), NOTCAPABLE);
    assert_eq!(there.write(reads, b"x"), Err(NOTCAPABLE));
}

#[test]
fn directories_and_their_listings_go_on() {
    let (dir, mut guest) = guest();
    fs::write(dir.path().join("sub/inside"), b"in").unwrap();
    let sub =
        guest.open_at(3, "sub", true, DIRECTORY, ALL & !(FD_WRITE | 3 << 22 | 1 << 8), 0).unwrap();
    let next = |guest: &mut Guest, cookie: u64| {
        let args = [3, BUFFER.into(), 200, cookie, RESULT.into()];
        assert_eq!(guest.call("fd_readdir", &args), SUCCESS);
        let length = guest.u32(BUFFER + 16);
        String::from_utf8(guest.bytes(BUFFER + 24, length).to_vec()).unwrap()
    };
    assert_eq!(next(&mut guest, 0), ".");
    fs::write(dir.path().join("new"), b"").unwrap();
    let mut there = moved(&guest, dir.path());
    // A cookie of the listing that was begun: `new` is not in it.
    assert_eq!(next(&mut there, 2), "sub");
    assert_eq!(next(&mut there, 0), ".");
    assert_eq!(next(&mut there, 2), "new");
    let inside = there.open_at(sub, "inside", true, 0, FD_READ, 0).unwrap();
    assert_eq!(there.read(inside, 9).unwrap(), b"in");
    assert_eq!(there.call("fd_prestat_get", &[3, RESULT.into()]), SUCCESS);
    assert_eq!(there.u32(RESULT + 4), "/data".len() as u32);
    assert_eq!(there.call("fd_prestat_get", &[sub.into(), RESULT.into()]), BADF);
}

#[test]
fn a_renamed_file_is_found_and_a_deleted_one_refused() {
    let (dir, mut guest) = guest();
    let fd = guest.open("text", 0).unwrap();
    guest.read(fd, 4).unwrap();
    fs::rename(dir.path().join("text"), dir.path().join("sub/moved")).unwrap();
    // Something else under the old name does not mislead anybody.
    fs::write(dir.path().join("text"), b"xxxxxxxxxx").unwrap();
    let mut there = moved(&guest, dir.path());
    assert_eq!(there.read(fd, 4).unwrap(), b"4567");
    fs::remove_file(dir.path().join("sub/moved")).unwrap();
    assert!(matches!(refused(&guest), StateError::Deleted { fd: 4 }));
}

#[test]
fn what_no_directory_leads_to_is_refused() {
    let (dir, mut guest) = guest();
    let outside = tempfile::tempdir().unwrap();
    guest.open("text", 0).unwrap();
    fs::rename(dir.path().join("text"), outside.path().join("text")).unwrap();
    assert!(matches!(refused(&guest), StateError::OutOfReach { fd: 4, .. }));
    let fifo = dir.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let mut guest = Guest::new(config(dir.path()));
    guest.open_at(3, "fifo", true, 0, ALL, 0).unwrap();
    assert!(matches!(refused(&guest), StateError::Special { fd: 4 }));
}

#[test]
fn what_is_not_there_is_refused() {
    let (dir, mut guest) = guest();
    guest.open("text", 0).unwrap();
    let state = guest.world.state().unwrap().unwrap();
    let error = World::resumed(&state, quiet()).expect_err("no directory");
    assert!(error.to_string().contains("--dir HOST::/data"), "{error}");
    fs::write(dir.path().join("text"), b"longer than it was").unwrap();
    let error = World::resumed(&state, config(dir.path())).expect_err("changed");
    assert_eq!(error.to_string(), "descriptor 4, /data/text, had 10 bytes; now it has 18");
    fs::remove_file(dir.path().join("text")).unwrap();
    assert!(matches!(
        World::resumed(&state, config(dir.path())),
        Err(StateError::Open { fd: 4, .. })
    ));
    // A path that leads out is no path.
    let mut bad = state.clone();
    if let Some(NodeState::File { path, .. }) =
        bad.descriptors.last_mut().map(|each| &mut each.node)
    {
        *path = "../../etc/passwd".to_owned();
    }
    assert!(matches!(World::resumed(&bad, config(dir.path())), Err(StateError::Open { .. })));
    assert!(WorldState::decode(b"{}").is_err());
    let mut bad = state;
    bad.descriptors.swap(0, 1);
    assert!(matches!(WorldState::decode(&bad.encode()), Err(StateError::Order)));
}

#[test]
fn standard_input_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("input");
    fs::write(&file, b"first second").unwrap();
    let from = || WorldConfig { stdin: Stdin::File(file.clone()), ..quiet() };
    let mut guest = Guest::new(from());
    assert_eq!(guest.read(0, 6).unwrap(), b"first ");
    let state = guest.world.state().unwrap().unwrap();
    let mut there = Guest::of(World::resumed(&state, from()).unwrap());
    assert_eq!(there.read(0, 9).unwrap(), b"second");
    // Bytes that are too few are no input to go on with.
    let short = WorldConfig { stdin: Stdin::Bytes(b"abc".to_vec()), ..quiet() };
    assert!(matches!(World::resumed(&state, short), Err(StateError::Stdin { offset: 6 })));
    // Who has closed it does not get it back.
    assert_eq!(guest.call("fd_close", &[0]), SUCCESS);
    let state = guest.world.state().unwrap().unwrap();
    let mut there = Guest::of(World::resumed(&state, from()).unwrap());
    assert_eq!(there.read(0, 1), Err(BADF));
}

#[test]
fn arguments_and_clocks() {
    let strings = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
    let given = WorldConfig {
        args: strings(&["program", "one"]),
        env: vec![("K".to_owned(), "v".to_owned())],
        ..quiet()
    };
    let guest = Guest::new(given);
    let mut state = guest.world.state().unwrap().unwrap();
    assert_eq!((&state.args, &state.env), (&strings(&["program", "one"]), &strings(&["K=v"])));
    // A machine that was started later: the clock does not go back.
    let ahead = 1_000_000_000_000_000;
    state.clock += ahead;
    let mut there = Guest::of(World::resumed(&state, quiet()).unwrap());
    assert_eq!(there.call("clock_time_get", &[1, 0, RESULT.into()]), SUCCESS);
    assert!(there.u64(RESULT) >= state.clock && there.u64(RESULT) < state.clock + 60_000_000_000);
    assert_eq!(there.call("args_sizes_get", &[RESULT.into(), (RESULT + 4).into()]), SUCCESS);
    assert_eq!((there.u32(RESULT), there.u32(RESULT + 4)), (2, 12));
    state.args.push("a\0b".to_owned());
    assert!(matches!(World::resumed(&state, quiet()), Err(StateError::NulByte)));
}

#[test]
fn a_moved_offset_shows() {
    let (dir, mut guest) = guest();
    let mut plain = guest.world.state().unwrap().unwrap();
    assert_eq!(plain.misplace(3), None);
    guest.open("text", 0).unwrap();
    let state = guest.world.state().unwrap().unwrap();
    let mut bad = state.clone();
    assert!(bad.misplace(3).is_some());
    let world = World::resumed(&bad, config(dir.path())).unwrap();
    let difference = state.difference(&world.state().unwrap().unwrap());
    assert!(difference.is_some_and(|what| what.starts_with("descriptor 4")));
}

#[test]
fn a_file_that_may_no_longer_be_opened_is_named() {
    let (dir, mut guest) = guest();
    let file = dir.path().join("text");
    guest.open("text", 0).unwrap();
    let state = guest.world.state().unwrap().unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o0)).unwrap();
    match World::resumed(&state, config(dir.path())) {
        Err(StateError::Open { fd: 4, path, .. }) => assert_eq!(path, "/data/text"),
        // Nothing is closed to root.
        Ok(_) => assert!(fs::File::open(&file).is_ok()),
        Err(other) => panic!("{other}"),
    }
}
