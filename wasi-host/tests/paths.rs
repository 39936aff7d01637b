//! Paths: opening, making and removing, links, listings, and no way out.

mod common;

use common::*;
use std::fs;
use std::os::unix::fs::symlink;

/// A directory `inside` beside a directory `outside` that holds a secret.
fn guest() -> (tempfile::TempDir, Guest) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("inside/sub")).unwrap();
    fs::create_dir(dir.path().join("outside")).unwrap();
    fs::write(dir.path().join("outside/secret"), b"secret").unwrap();
    fs::write(dir.path().join("inside/text"), b"text").unwrap();
    fs::write(dir.path().join("inside/sub/deep"), b"deep").unwrap();
    let guest = Guest::with_dir(&dir.path().join("inside"));
    (dir, guest)
}

#[test]
fn no_path_leads_out() {
    let (dir, mut guest) = guest();
    let inside = dir.path().join("inside");
    symlink("../outside", inside.join("up")).unwrap();
    symlink(dir.path().join("outside"), inside.join("absolute")).unwrap();
    symlink("../outside/secret", inside.join("file")).unwrap();
    symlink("sub/../../outside/secret", inside.join("winding")).unwrap();
    let absolute = dir.path().join("outside/secret");
    let paths = [
        "../outside/secret",
        "sub/../../outside/secret",
        "up/secret",
        "absolute/secret",
        "file",
        "winding",
        "..",
        "/etc/passwd",
        "/",
        absolute.to_str().unwrap(),
    ];
    for path in paths {
        assert_eq!(guest.open_at(3, path, true, 0, FD_READ, 0), Err(PERM), "{path}");
        let [address, length] = guest.path(path);
        let stat = [3, 1, address, length, BUFFER.into()];
        assert_eq!(guest.call("path_filestat_get", &stat), PERM, "{path}");
        let times = [3, 1, address, length, 0, 0, 1 | 4];
        assert_eq!(guest.call("path_filestat_set_times", &times), PERM, "{path}");
    }
    for path in ["../outside/new", "up/new", "absolute/new", "/tmp/wasi-host-escape"] {
        assert_eq!(guest.open(path, CREAT), Err(PERM), "{path}");
        assert_eq!(guest.on_path("path_create_directory", 3, path), PERM, "{path}");
        let [from, from_length] = guest.path("text");
        let [to, to_length] = guest.path2(path);
        let rename = [3, from, from_length, 3, to, to_length];
        assert_eq!(guest.call("path_rename", &rename), PERM, "{path}");
        let link = [3, 0, from, from_length, 3, to, to_length];
        assert_eq!(guest.call("path_link", &link), PERM, "{path}");
        assert_eq!(guest.call("path_symlink", &[from, from_length, 3, to, to_length]), PERM);
    }
    for path in ["../outside/secret", "up/secret", "absolute/secret"] {
        assert_eq!(guest.on_path("path_unlink_file", 3, path), PERM, "{path}");
        assert_eq!(guest.on_path("path_remove_directory", 3, path), PERM, "{path}");
    }
    // A link to an absolute path can be neither made nor read.
    let [target, target_length] = guest.path("/etc/passwd");
    let [link, link_length] = guest.path2("made");
    let args = [target, target_length, 3, link, link_length];
    assert_eq!(guest.call("path_symlink", &args), PERM);
    let [link, link_length] = guest.path("absolute");
    let args = [3, link, link_length, BUFFER.into(), 100, RESULT.into()];
    assert_eq!(guest.call("path_readlink", &args), PERM);
    assert_eq!(fs::read(dir.path().join("outside/secret")).unwrap(), b"secret");
    assert_eq!(fs::read_dir(dir.path().join("outside")).unwrap().count(), 1);
    // A subdirectory is its own jail.
    let sub = guest.open("sub", DIRECTORY).err();
    assert_eq!(sub, Some(ISDIR), "directories are not opened for writing");
    let sub = guest.open_at(3, "sub", true, DIRECTORY, ALL & !(FD_WRITE | 3 << 22 | 1 << 8), 0);
    let sub = sub.unwrap();
    assert_eq!(guest.open_at(sub, "../text", true, 0, FD_READ, 0), Err(PERM));
    assert!(guest.open_at(sub, "deep", true, 0, FD_READ, 0).is_ok());
}

#[test]
fn paths_of_every_shape() {
    let (_dir, mut guest) = guest();
    let read = |guest: &mut Guest, path: &str| guest.open_at(3, path, true, 0, FD_READ, 0);
    for path in
        ["text", "./text", "sub/../text", "sub//./../sub/deep", "sub", "sub/", ".", "sub///"]
    {
        assert!(read(&mut guest, path).is_ok(), "{path}");
    }
    assert_eq!(read(&mut guest, "text/"), Err(NOTDIR));
    assert_eq!(read(&mut guest, "text/x"), Err(NOTDIR));
    assert_eq!(read(&mut guest, "none"), Err(NOENT));
    assert_eq!(read(&mut guest, ""), Err(NOENT));
    assert_eq!(read(&mut guest, "text\0"), Err(INVAL));
    assert_eq!(read(&mut guest, &"x".repeat(255)), Err(NOENT));
    guest.put(0x2000, &[b'y'; 300]);
    let open = |address: u64, length: u64| [3, 0, address, length, 0, FD_READ, 0, 0, RESULT.into()];
    assert_eq!(guest.call("path_open", &open(0x2000, 300)), NAMETOOLONG);
    assert_eq!(guest.call("path_open", &open(0x2000, u32::MAX.into())), FAULT);
    guest.memory.resize(0x40000, b'z');
    assert_eq!(guest.call("path_open", &open(0x10000, 0x20000)), NAMETOOLONG);
    guest.put(PATH, &[0xff, 0xfe]);
    assert_eq!(guest.call("path_open", &open(PATH.into(), 2)), ILSEQ);
    let mut flags = open(PATH.into(), 2);
    flags[4] = 16;
    assert_eq!(guest.call("path_open", &flags), INVAL);
    flags[4] = 0;
    flags[1] = 2;
    assert_eq!(guest.call("path_open", &flags), INVAL);
}

#[test]
fn opening_creates_truncates_and_excludes() {
    let (dir, mut guest) = guest();
    let inside = dir.path().join("inside");
    let fd = guest.open("new", CREAT | EXCL).unwrap();
    assert_eq!(guest.write(fd, b"hello"), Ok(5));
    assert_eq!(guest.open("new", CREAT | EXCL), Err(EXIST));
    assert!(guest.open("new", CREAT).is_ok());
    assert_eq!(fs::read(inside.join("new")).unwrap(), b"hello");
    // Truncating needs no right to write through the descriptor.
    assert!(guest.open_at(3, "new", true, TRUNC, FD_READ, 0).is_ok());
    assert_eq!(fs::read(inside.join("new")).unwrap(), b"");
    assert!(guest.open_at(3, "created", true, CREAT, FD_READ, 0).is_ok());
    assert!(inside.join("created").exists());
    assert_eq!(guest.open("x", CREAT | DIRECTORY), Err(INVAL));
    assert_eq!(guest.open_at(3, "text", true, DIRECTORY, FD_READ, 0), Err(NOTDIR));
    assert_eq!(guest.open("sub", 0), Err(ISDIR));
    let fd = guest.open_at(3, "appended", true, CREAT | TRUNC, ALL, APPEND).unwrap();
    assert_eq!(guest.write(fd, b"1"), Ok(1));
    // Rights that do not exist ask for nothing.
    assert!(guest.open_at(3, "text", true, 0, u64::MAX, 0).is_ok());
}

#[test]
fn links_are_followed_only_when_asked() {
    let (dir, mut guest) = guest();
    let [target, target_length] = guest.path("text");
    let [link, link_length] = guest.path2("link");
    let args = [target, target_length, 3, link, link_length];
    assert_eq!(guest.call("path_symlink", &args), SUCCESS);
    assert_eq!(guest.call("path_symlink", &args), EXIST);
    assert_eq!(guest.open_at(3, "link", false, 0, FD_READ, 0), Err(LOOP));
    assert!(guest.open_at(3, "link", true, 0, FD_READ, 0).is_ok());
    for (follow, kind) in [(0, 7), (1, 4)] {
        let [address, length] = guest.path("link");
        let args = [3, follow, address, length, BUFFER.into()];
        assert_eq!(guest.call("path_filestat_get", &args), SUCCESS);
        assert_eq!(guest.memory[BUFFER as usize + 16], kind);
    }
    let [address, length] = guest.path("link");
    let read = |most| [3, address, length, u64::from(BUFFER), most, u64::from(RESULT)];
    assert_eq!(guest.call("path_readlink", &read(100)), SUCCESS);
    assert_eq!((guest.u32(RESULT), guest.bytes(BUFFER, 5)), (4, &b"text\0"[..]));
    assert_eq!(guest.call("path_readlink", &read(2)), SUCCESS);
    assert_eq!(guest.u32(RESULT), 2, "cut to the buffer");
    let [address, length] = guest.path("text");
    let args = [3, address, length, BUFFER.into(), 9, RESULT.into()];
    assert_eq!(guest.call("path_readlink", &args), INVAL);

    // Times of the link itself, and of what it names.
    let [address, length] = guest.path("link");
    let times = |follow| [3, follow, address, length, 1_000_000_000, 2_000_000_000, 5];
    assert_eq!(guest.call("path_filestat_set_times", &times(0)), SUCCESS);
    let text = dir.path().join("inside/text");
    let modified = |path: &std::path::Path| {
        let time = fs::metadata(path).unwrap().modified().unwrap();
        time.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
    };
    assert_ne!(modified(&text), 2);
    assert_eq!(guest.call("path_filestat_set_times", &times(1)), SUCCESS);
    assert_eq!(modified(&text), 2);

    let [from, from_length] = guest.path("text");
    let [to, to_length] = guest.path2("hard");
    let args = |flags| [3, flags, from, from_length, 3, to, to_length];
    assert_eq!(guest.call("path_link", &args(1)), INVAL);
    assert_eq!(guest.call("path_link", &args(0)), SUCCESS);
    assert_eq!(fs::read(dir.path().join("inside/hard")).unwrap(), b"text");
}

#[test]
fn directories_are_made_renamed_and_removed() {
    let (dir, mut guest) = guest();
    let inside = dir.path().join("inside");
    assert_eq!(guest.on_path("path_create_directory", 3, "made"), SUCCESS);
    assert_eq!(guest.on_path("path_create_directory", 3, "made"), EXIST);
    assert_eq!(guest.on_path("path_create_directory", 3, "no/made"), NOENT);
    let [from, from_length] = guest.path("made");
    let [to, to_length] = guest.path2("moved");
    assert_eq!(guest.call("path_rename", &[3, from, from_length, 3, to, to_length]), SUCCESS);
    assert!(inside.join("moved").is_dir());
    assert_eq!(guest.on_path("path_unlink_file", 3, "moved"), ISDIR);
    assert_eq!(guest.on_path("path_remove_directory", 3, "text"), NOTDIR);
    assert_eq!(guest.on_path("path_remove_directory", 3, "sub"), NOTEMPTY);
    assert_eq!(guest.on_path("path_remove_directory", 3, "moved"), SUCCESS);
    assert_eq!(guest.on_path("path_remove_directory", 3, "moved"), NOENT);
    assert_eq!(guest.on_path("path_unlink_file", 3, "text"), SUCCESS);
    assert_eq!(guest.on_path("path_unlink_file", 3, "text"), NOENT);
    assert!(!inside.join("text").exists());
}

/// Reads a directory with a buffer of `size` bytes, and the names seen.
fn list(guest: &mut Guest, fd: u32, size: u32) -> Vec<String> {
    let mut names = Vec::new();
    let mut cookie = 0;
    loop {
        let args = [fd.into(), BUFFER.into(), size.into(), cookie, RESULT.into()];
        assert_eq!(guest.call("fd_readdir", &args), SUCCESS);
        let used = guest.u32(RESULT);
        assert!(used <= size);
        let mut at = 0;
        // Whole entries are taken; the one cut at the end is asked for again.
        while at + 24 <= used {
            let length = guest.u32(BUFFER + at + 16);
            if at + 24 + length > used {
                break;
            }
            let name = guest.bytes(BUFFER + at + 24, length).to_vec();
            names.push(String::from_utf8(name).unwrap());
            cookie = guest.u64(BUFFER + at);
            at += 24 + length;
        }
        if used < size {
            return names;
        }
    }
}

#[test]
fn a_listing_is_the_same_for_every_buffer() {
    let (dir, mut guest) = guest();
    for number in 0..20 {
        fs::write(dir.path().join(format!("inside/file{number:02}")), b"").unwrap();
    }
    let whole = list(&mut guest, 3, 8000);
    assert_eq!(whole.len(), 24);
    assert_eq!(whole[..3], [".", "..", "file00"]);
    assert_eq!(whole[22..], ["sub", "text"]);
    for size in [30, 31, 32, 60, 100, 715] {
        assert_eq!(list(&mut guest, 3, size), whole, "{size}");
    }
    // A buffer smaller than an entry is filled, to say that there is more.
    let args = [3, BUFFER.into(), 10, 0, RESULT.into()];
    assert_eq!(guest.call("fd_readdir", &args), SUCCESS);
    assert_eq!(guest.u32(RESULT), 10);
    // Cookies beyond the end, and at it.
    for cookie in [24, 25, u64::MAX] {
        let args = [3, BUFFER.into(), 100, cookie, RESULT.into()];
        assert_eq!(guest.call("fd_readdir", &args), SUCCESS);
        assert_eq!(guest.u32(RESULT), 0);
    }
}

#[test]
fn cookies_outlive_changes_until_the_guest_rewinds() {
    let (dir, mut guest) = guest();
    let inside = dir.path().join("inside");
    let next = |guest: &mut Guest, cookie: u64| {
        let args = [3, BUFFER.into(), 200, cookie, RESULT.into()];
        assert_eq!(guest.call("fd_readdir", &args), SUCCESS);
        let length = guest.u32(BUFFER + 16);
        String::from_utf8(guest.bytes(BUFFER + 24, length).to_vec()).unwrap()
    };
    assert_eq!(next(&mut guest, 0), ".");
    assert_eq!(next(&mut guest, 2), "sub");
    fs::write(inside.join("a"), b"").unwrap();
    fs::remove_file(inside.join("text")).unwrap();
    assert_eq!(next(&mut guest, 3), "text");
    assert_eq!(next(&mut guest, 0), ".");
    assert_eq!(next(&mut guest, 2), "a");
    assert_eq!(guest.memory[BUFFER as usize + 20], 4);
    assert_eq!(next(&mut guest, 3), "sub");
    assert_eq!(guest.memory[BUFFER as usize + 20], 3);
}
