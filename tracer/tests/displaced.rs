//! Traps over instructions of code as it ships: where the subject halts, and that
//! it goes on as if they had not been there.

mod support;

use dwarf_map::{COPY_BYTES, CodeOffset, SubjectAddr};
use support::*;
use tracer::{FaultSignal, Stop, Subject};

/// Puts traps over instructions of a program, given by their bytes' positions.
fn plant(subject: &mut Subject, program: Program, bytes: &[u32]) {
    for (number, byte) in (0..).zip(bytes) {
        let pc = CodeOffset::new(program.offset().get() + byte);
        let place = CodeOffset::new(Program::Copies.offset().get() + number * COPY_BYTES);
        subject.plant(pc, place).unwrap();
    }
}

fn trap(program: Program, byte: u32) -> Stop {
    Stop::Trap { pc: program.at(byte) }
}

/// A subject with a stack: the end of its data region.
fn with_stack() -> Bare {
    let mut subject = Bare::spawn();
    let mut regs = *subject.regs();
    regs.set_rsp(DATA + DATA_LENGTH - 64);
    subject.set_regs(&regs);
    subject
}

fn stack(subject: &Bare) -> u64 {
    subject.read_u64(SubjectAddr::new(subject.regs().rsp())).unwrap()
}

#[test]
fn memory_operands_conditions_addresses_and_direct_calls() {
    for (value, taken) in [(4, true), (5, false)] {
        let mut subject = with_stack();
        plant(&mut subject, Program::Plain, &[0, 3, 7, 9, 12, 19, 25]);
        assert_eq!(subject.run(Program::Plain, DATA, value), trap(Program::Plain, 0));
        assert_eq!(subject.read_u64(SubjectAddr::new(DATA)), Some(0));
        assert_eq!(subject.resume().unwrap(), trap(Program::Plain, 3));
        assert_eq!(subject.read_u64(SubjectAddr::new(DATA)), Some(value));
        assert_eq!(subject.resume().unwrap(), trap(Program::Plain, 7));
        if !taken {
            assert_eq!(subject.resume().unwrap(), trap(Program::Plain, 9));
        }
        assert_eq!(subject.resume().unwrap(), trap(Program::Plain, 12));
        assert_eq!(subject.regs().dwarf(1), Some(if taken { 0 } else { DATA }));
        assert_eq!(subject.resume().unwrap(), trap(Program::Plain, 19));
        // The address of the original, not of the copy.
        assert_eq!(subject.regs().dwarf(0), Some(Program::Plain.at(19).get()));
        let before = subject.regs().rsp();
        assert_eq!(subject.resume().unwrap(), trap(Program::Plain, 25));
        assert_eq!(subject.regs().rsp(), before - 8);
        assert_eq!(stack(&subject), Program::Plain.at(24).get());
        // The return goes back to where the original call is.
        assert_eq!(subject.resume().unwrap(), trap(Program::Plain, 24));
        assert_eq!(subject.regs().rsp(), before);
    }
}

#[test]
fn indirect_calls() {
    let mut subject = with_stack();
    plant(&mut subject, Program::Calls, &[0, 2, 5, 9]);
    let target = Program::Calls.at(9).get();
    subject.region(subject.data).write_u64(0, target).unwrap();
    subject.enter(Program::Calls, DATA, 0);
    let mut regs = *subject.regs();
    regs.set_dwarf(0, target);
    subject.set_regs(&regs);
    let before = subject.regs().rsp();
    assert_eq!(subject.resume().unwrap(), trap(Program::Calls, 0));
    for (after, pushed) in [(2, 0), (4, 0), (8, 8)] {
        assert_eq!(subject.resume().unwrap(), trap(Program::Calls, 9));
        assert_eq!(stack(&subject), Program::Calls.at(after).get());
        assert_eq!(subject.regs().rsp(), before - 8 - pushed);
        let next = if after == 4 { 5 } else { after };
        assert_eq!(subject.resume().unwrap(), trap(Program::Calls, next));
    }
    assert_eq!(subject.regs().rsp(), before - 8);
}

/// A fault is the original's, whichever copy it happened in.
#[test]
fn faults_of_copies() {
    let mut subject = with_stack();
    plant(&mut subject, Program::Store, &[0]);
    let beyond = MEMORY + MEMORY_LENGTH;
    assert_eq!(subject.run(Program::Store, beyond, 1), trap(Program::Store, 0));
    let Stop::Fault { signal, pc, address, .. } = subject.resume().unwrap() else {
        panic!("no fault");
    };
    assert_eq!((signal, pc), (FaultSignal::Bus, Program::Store.at(0)));
    assert_eq!(address, Some(SubjectAddr::new(beyond)));

    let mut subject = with_stack();
    plant(&mut subject, Program::Divide, &[2]);
    assert_eq!(subject.run(Program::Divide, 0, 0), trap(Program::Divide, 2));
    let stop = subject.resume().unwrap();
    assert!(
        matches!(stop, Stop::Fault { signal: FaultSignal::Fpe, pc, .. } if pc == Program::Divide.at(2)),
        "{stop:?}"
    );

    let mut subject = with_stack();
    plant(&mut subject, Program::Undefined, &[0]);
    assert_eq!(subject.run(Program::Undefined, 0, 0), trap(Program::Undefined, 0));
    let stop = subject.resume().unwrap();
    assert!(
        matches!(stop, Stop::Fault { signal: FaultSignal::Ill, pc, .. } if pc == Program::Undefined.at(0)),
        "{stop:?}"
    );
}

/// A call whose return address cannot be pushed faults as a call does.
#[test]
fn a_call_without_a_stack() {
    let mut subject = with_stack();
    plant(&mut subject, Program::Plain, &[19]);
    subject.enter(Program::Plain, DATA, 0);
    let mut regs = *subject.regs();
    regs.set_rsp(DATA);
    subject.set_regs(&regs);
    assert_eq!(subject.resume().unwrap(), trap(Program::Plain, 19));
    let Stop::Fault { pc, address, .. } = subject.resume().unwrap() else { panic!("no fault") };
    assert_eq!((pc, address), (Program::Plain.at(19), Some(SubjectAddr::new(DATA - 8))));
}

/// Tail calls and jump tables jump through a register; a loop of one
/// instruction meets its trap each time.
#[test]
fn jumps() {
    let mut subject = with_stack();
    plant(&mut subject, Program::Jump, &[0]);
    subject.enter(Program::Jump, 0, 0);
    let mut regs = *subject.regs();
    regs.set_dwarf(0, Program::Clock.at(2).get());
    subject.set_regs(&regs);
    assert_eq!(subject.resume().unwrap(), trap(Program::Jump, 0));
    assert_eq!(subject.resume().unwrap(), trap(Program::Clock, 2));

    let mut subject = with_stack();
    plant(&mut subject, Program::Spin, &[0]);
    assert_eq!(subject.run(Program::Spin, 0, 0), trap(Program::Spin, 0));
    for _ in 0..3 {
        assert_eq!(subject.resume().unwrap(), trap(Program::Spin, 0));
    }
}

#[test]
fn what_cannot_be_planted() {
    let mut subject = with_stack();
    let place = Program::Copies.offset();
    assert!(subject.plant(Program::Loop.offset(), place).is_err());
    assert!(subject.plant(CodeOffset::new(TEXT_SIZE as u32), place).is_err());
    assert!(subject.plant(Program::Plain.offset(), CodeOffset::new(TEXT_SIZE as u32)).is_err());
}
