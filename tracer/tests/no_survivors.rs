//! However wdiff dies, no subject survives it.
//!
//! This program runs itself again as a tracer, kills that at a random moment of
//! a given phase, and, being the reaper of all its descendants, sees each of
//! them end. One test only: it waits for whatever child there is.

mod support;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::*;

/// Names the phase to the program run as a tracer.
const PHASE: &str = "TRACER_PHASE";

/// What the tracer is doing when it is killed.
const PHASES: [(&str, usize); 4] =
    [("spawning", 160), ("halted", 60), ("spinning", 60), ("stops", 60)];

/// All descendants must be dead this long after the tracer was killed.
const LIMIT: Duration = Duration::from_secs(5);

#[test]
fn no_subject_survives_its_tracer() {
    if let Ok(phase) = std::env::var(PHASE) {
        be_tracer(&phase);
    }
    // SAFETY: takes integers only.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) }, 0);
    let mut subjects_seen = 0;
    for (phase, times) in PHASES {
        let mut worst = Duration::ZERO;
        for _ in 0..times {
            let (seen, took) = kill_a_tracer(phase);
            worst = worst.max(took);
            subjects_seen += seen;
            assert!(phase == "spawning" || seen == 1, "{phase}: {seen} subjects");
        }
        println!("{phase}: {times} tracers killed, all dead after {worst:?} at worst");
    }
    assert!(subjects_seen > 180);

    // Or its tracing thread ends, and leaves it behind.
    for _ in 0..20 {
        let pid = std::thread::spawn(|| {
            let subject = Bare::spawn();
            let pid = subject.pid();
            std::mem::forget(subject);
            pid
        });
        let pid = pid.join().unwrap() as i32;
        let (mut reaped, start) = (0, Instant::now());
        while reaped == 0 && start.elapsed() < LIMIT {
            reaped = reap(pid);
        }
        assert_eq!(reaped, pid);
    }
}

/// Takes the exit status of a dead child: its pid, 0 if none is dead yet, -1 if
/// there is no such child.
fn reap(pid: i32) -> i32 {
    let mut status = 0;
    // SAFETY: `status` is a valid place for the integer written.
    unsafe { libc::waitpid(pid, &mut status, libc::__WALL | libc::WNOHANG) }
}

/// Starts a tracer, kills it in its phase. Answers how many other descendants
/// there were, and how long the last took to die.
#[expect(clippy::zombie_processes, reason = "the loop waits for whatever child there is")]
fn kill_a_tracer(phase: &str) -> (usize, Duration) {
    let mut tracer = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "no_subject_survives_its_tracer", "--nocapture"])
        .env(PHASE, phase)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = tracer.stdout.take().unwrap();
    // The test harness prints a line or two of its own first.
    let mut byte = [0];
    while byte != [b'@'] {
        assert_eq!(out.read(&mut byte).unwrap(), 1, "{phase}: no tracer");
    }
    let random = RandomState::new().hash_one(phase);
    std::thread::sleep(Duration::from_nanos(random % 3_000_000));
    tracer.kill().unwrap();
    let killed = Instant::now();
    let mut dead = 0;
    loop {
        match reap(-1) {
            -1 => break,
            0 => assert!(killed.elapsed() < LIMIT, "{phase}: a process survives"),
            _ => dead += 1,
        }
    }
    (dead - 1, killed.elapsed())
}

/// Does what the phase says until killed; `@` says when it has begun.
fn be_tracer(phase: &str) -> ! {
    let begin = || {
        let mut out = std::io::stdout();
        out.write_all(b"@").unwrap();
        out.flush().unwrap();
    };
    if phase == "spawning" {
        begin();
        loop {
            drop(Bare::spawn());
        }
    }
    let mut subject = Bare::spawn();
    begin();
    match phase {
        "spinning" => {
            let stop = subject.run(Program::Spin, 0, 0);
            panic!("{stop:?}");
        }
        "stops" => {
            let stop = subject.run(Program::Loop, DATA, 0);
            println!("{stop:?}");
            loop {
                subject.resume().unwrap();
            }
        }
        _ => loop {
            std::thread::sleep(Duration::from_secs(60));
        },
    }
}
