//! Nothing of a subject is left once it is dropped. One test only: it counts
//! what the whole process has.

mod support;

use std::fs;
use support::*;
use tracer::{Stop, Subject, SubjectConfig};

/// Open descriptors, mappings of files in memory, children.
fn holdings() -> (usize, usize, String) {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let children = fs::read_to_string("/proc/thread-self/children").unwrap();
    (fs::read_dir("/proc/self/fd").unwrap().count(), maps.matches("memfd:").count(), children)
}

#[test]
fn two_hundred_subjects_leave_nothing() {
    let before = holdings();
    assert_eq!((before.1, before.2.as_str()), (0, ""));
    for round in 0..200 {
        let mut subject = Bare::spawn();
        let pid = subject.pid();
        match round % 4 {
            0 => {}
            1 => subject.kill(),
            2 => assert_eq!(
                subject.run(Program::Load, DATA, 0),
                Stop::Trap { pc: Program::Load.at(3) }
            ),
            _ => assert!(matches!(subject.run(Program::Undefined, 0, 0), Stop::Fault { .. })),
        }
        drop(subject);
        assert!(!exists(pid));
    }
    // Failures too: the last step but one of a spawn fails.
    for _ in 0..20 {
        let mut image = image();
        image[68] = 7;
        assert!(Subject::spawn(config(&image)).is_err());
        image[0] = 0;
        assert!(Subject::spawn(config(&image)).is_err());
        assert!(Subject::spawn(SubjectConfig { cpu: Some(1023), ..config(&image) }).is_err());
    }
    assert_eq!(holdings(), before);
}
