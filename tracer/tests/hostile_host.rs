//! A host that is short of something. One test only: limits and signal
//! dispositions are the whole process's.

mod support;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use support::*;
use tracer::{Stop, Subject, TracerError};

/// Runs something with a limit lowered.
fn limited<T>(resource: Resource, limit: u64, work: impl FnOnce() -> T) -> T {
    let (soft, hard) = getrlimit(resource).unwrap();
    setrlimit(resource, limit, hard).unwrap();
    let result = work();
    setrlimit(resource, soft, hard).unwrap();
    result
}

#[test]
fn shortages_are_named() {
    // Files may not grow: an error, and no SIGXFSZ.
    let mut subject = Bare::spawn();
    let memory = subject.memory;
    let grown = limited(Resource::RLIMIT_FSIZE, 1 << 20, || subject.resize(memory, 2 << 20));
    let text = grown.unwrap_err().to_string();
    assert_eq!(
        text,
        "region `memory` cannot have 0x200000 bytes: the file size limit is 0x100000 (raise it, `ulimit -f`)"
    );
    assert_eq!(subject.region(memory).len(), MEMORY_LENGTH);
    subject.resize(memory, 2 << 20).unwrap();

    drop(subject);

    // No address space.
    let image = image();
    let spawned = limited(Resource::RLIMIT_AS, 1 << 30, || Subject::spawn(config(&image)));
    let text = spawned.unwrap_err().to_string();
    assert!(
        text.starts_with("region `memory` at 0x200000000: mapping 0x102000000 bytes: ENOMEM"),
        "{text}"
    );
    assert!(text.ends_with("`ulimit -v`)"), "{text}");

    // No descriptors.
    let spawned = limited(Resource::RLIMIT_NOFILE, 6, || Subject::spawn(config(&image)));
    let text = spawned.unwrap_err().to_string();
    assert!(text.contains("EMFILE"), "{text}");

    // Exit statuses are thrown away, but not those of traced children.
    // SAFETY: ignores a signal that nothing in this process handles.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    let mut subject = Bare::spawn();
    let pid = subject.pid() as i32;
    let stop = subject.run(Program::Load, DATA, 0);
    assert!(matches!(stop, Stop::Trap { .. }));
    // SAFETY: a signal to a living child of this process.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
    assert_eq!(subject.resume().unwrap(), Stop::Killed { signal: libc::SIGKILL });
    drop(subject);

    // Somebody else takes the exit status.
    let mut subject = Bare::spawn();
    let pid = subject.pid() as i32;
    let mut status = 0;
    // SAFETY: as above, and waits for that child.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
    // SAFETY: `status` is a valid place for the integer written.
    let waited = unsafe { libc::waitpid(pid, &mut status, libc::__WALL) };
    assert_eq!(waited, pid);
    assert!(matches!(subject.resume(), Err(TracerError::Unwaited)));
    assert!(matches!(subject.resume(), Err(TracerError::Ended)));
}
