//! What halts a subject, and what is seen of it then.

mod support;

use dwarf_map::{CodeOffset, SubjectAddr};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill};
use nix::unistd::Pid;
use std::process::Command;
use std::time::{Duration, Instant};
use support::*;
use tracer::{FaultSignal, OutOfRegion, Stop, Subject, TracerError};

fn trap(program: Program, byte: u32) -> Stop {
    Stop::Trap { pc: program.at(byte) }
}

#[test]
fn starts_halted_with_clear_registers() {
    let subject = Bare::spawn();
    for register in 0..16 {
        assert_eq!(subject.regs().dwarf(register), Some(0));
    }
    assert_eq!(subject.regs().dwarf(16), Some(LOAD + 1));
    assert_eq!(subject.regs().dwarf(17), None);
    assert_eq!(subject.regs().rflags(), 0x202);
}

#[test]
fn halts_at_each_int3() {
    let mut subject = Bare::spawn();
    let mut regs = *subject.regs();
    regs.set_dwarf(2, 3);
    subject.set_regs(&regs);
    assert_eq!(subject.run(Program::Loop, DATA, 0), trap(Program::Loop, 0));
    for turn in 1..3 {
        assert_eq!(subject.resume().unwrap(), trap(Program::Loop, 0));
        assert_eq!(subject.regs().rip(), Program::Loop.at(1).get());
        assert_eq!(subject.regs().dwarf(2), Some(3 - turn));
        assert_eq!(subject.region(subject.data).read_u64(0), Ok(turn));
    }
    assert_eq!(subject.resume().unwrap(), trap(Program::Loop, 9));
    assert_eq!(subject.read_u64(SubjectAddr::new(DATA)), Some(3));
}

/// What stands for a silent trap does nothing, and the next turn halts again.
#[test]
fn a_trap_can_be_silenced_and_set_again() {
    let mut subject = Bare::spawn();
    let at = Program::Loop.offset();
    let mut regs = *subject.regs();
    regs.set_dwarf(2, 5);
    subject.set_regs(&regs);
    assert_eq!(subject.run(Program::Loop, DATA, 0), trap(Program::Loop, 0));
    subject.set_trap(at, false).unwrap();
    assert_eq!(subject.resume().unwrap(), trap(Program::Loop, 9));
    assert_eq!(subject.read_u64(SubjectAddr::new(DATA)), Some(5));
    subject.set_trap(at, true).unwrap();
    let mut regs = *subject.regs();
    regs.set_dwarf(2, 2);
    subject.set_regs(&regs);
    assert_eq!(subject.run(Program::Loop, DATA, 0), trap(Program::Loop, 0));
    assert_eq!(subject.resume().unwrap(), trap(Program::Loop, 0));
    assert_eq!(subject.resume().unwrap(), trap(Program::Loop, 9));
    assert_eq!(subject.read_u64(SubjectAddr::new(DATA)), Some(7));
    let beyond = CodeOffset::new(u32::MAX);
    assert!(subject.set_trap(beyond, true).is_err());
}

/// Traps with nothing between them are stops like any others, though the subject
/// does not execute all of them.
#[test]
fn traps_side_by_side() {
    let mut subject = Bare::spawn();
    subject.run(Program::Quiet, DATA, 0);
    let count = |subject: &Bare| subject.read_u64(SubjectAddr::new(DATA)).unwrap();
    let before = count(&subject);
    for byte in [1, 15] {
        let stop = subject.resume().unwrap();
        assert_eq!(stop, trap(Program::Quiet, byte));
        assert_eq!(subject.regs().rip(), Program::Quiet.at(byte + 1).get());
        assert_eq!(count(&subject), before);
    }
    // What does something is executed, once.
    assert_eq!(subject.resume().unwrap(), trap(Program::Quiet, 20));
    assert_eq!(count(&subject), before + 1);
    let Stop::Fault { signal: FaultSignal::Ill, pc, .. } = subject.resume().unwrap() else {
        panic!("no fault")
    };
    assert_eq!(pc, Program::Quiet.at(24));
}

/// With the trap flag on even an instruction that does nothing is a stop.
#[test]
fn nothing_is_executed_where_it_is_seen() {
    let mut subject = Bare::spawn();
    subject.run(Program::Quiet, DATA, 0);
    assert_eq!(subject.resume().unwrap(), trap(Program::Quiet, 1));
    let mut regs = *subject.regs();
    regs.set_rflags(regs.rflags() | 1 << 8);
    subject.set_regs(&regs);
    let stop = subject.resume().unwrap();
    assert!(matches!(stop, Stop::Fault { signal: FaultSignal::Trap, .. }), "{stop:?}");
}

#[test]
fn registers_reach_the_subject_by_their_numbers() {
    let mut subject = Bare::spawn();
    let mut regs = *subject.regs();
    for register in 0..16 {
        assert!(regs.set_dwarf(register, 0x11 << (3 * register)));
    }
    assert!(!regs.set_dwarf(17, 0));
    subject.set_regs(&regs);
    assert_eq!(subject.run(Program::Registers, DATA, 0x11 << 12), trap(Program::Registers, 45));
    // The sum of all but rdi, which holds the address.
    let sum: u64 = (0..16).filter(|r| *r != 5).map(|r| 0x11u64 << (3 * r)).sum();
    assert_eq!(subject.region(subject.data).read_u64(0), Ok(sum));
    for register in (0..16).filter(|r| *r != 5) {
        assert_eq!(
            subject.regs().dwarf(register),
            Some(0x11 << (3 * register)),
            "register {register}"
        );
    }
}

#[test]
fn vector_registers() {
    let mut subject = Bare::spawn();
    let (low, high) = (0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210);
    assert_eq!(subject.run(Program::Vectors, low, high), trap(Program::Vectors, 17));
    let vectors = subject.vectors().unwrap();
    assert_eq!(vectors.dwarf(17), Some(u128::from(high) << 64 | u128::from(low)));
    assert_eq!(vectors.dwarf(32), Some(u128::from(high)));
    assert_eq!(vectors.dwarf_low(17), Some(low));
    assert_eq!(vectors.dwarf(18), Some(0));
    assert_eq!((vectors.dwarf(16), vectors.dwarf(33)), (None, None));
    assert_eq!(vectors.mxcsr(), 0x1f80);
    // They are fetched anew at the next stop.
    assert_eq!(subject.run(Program::Vectors, 1, 2), trap(Program::Vectors, 17));
    assert_eq!(subject.vectors().unwrap().dwarf(17), Some(2 << 64 | 1));
}

#[test]
fn beyond_the_length_is_a_bus_error_until_resized() {
    let mut subject = Bare::spawn();
    let end = MEMORY + MEMORY_LENGTH;
    let bus = |address: u64| Stop::Fault {
        signal: FaultSignal::Bus,
        pc: Program::Load.at(0),
        address: Some(SubjectAddr::new(address)),
        code: 2, // BUS_ADRERR
    };
    assert_eq!(subject.run(Program::Load, end - 8, 0), trap(Program::Load, 3));
    assert_eq!(subject.run(Program::Load, end, 0), bus(end));
    // It is the second page whose bytes are missing.
    assert_eq!(subject.run(Program::Load, end - 4, 0), bus(end));
    let last = MEMORY + MEMORY_RESERVE - 8;
    assert_eq!(subject.run(Program::Load, last, 0), bus(last));

    let memory = subject.memory;
    assert!(matches!(subject.region(memory).read_u64(MEMORY_LENGTH), Err(OutOfRegion { .. })));
    subject.resize(memory, 2 * MEMORY_LENGTH).unwrap();
    assert_eq!(subject.region(memory).len(), 2 * MEMORY_LENGTH);
    subject.region(memory).write_u64(MEMORY_LENGTH, 77).unwrap();
    assert_eq!(subject.run(Program::Load, end, 0), trap(Program::Load, 3));
    assert_eq!(subject.regs().dwarf(0), Some(77));

    assert!(matches!(subject.resize(memory, MEMORY_LENGTH), Err(TracerError::Resize { .. })));
    assert!(matches!(subject.resize(memory, MEMORY_RESERVE + 1), Err(TracerError::Resize { .. })));
    // The whole reservation costs nothing until it is touched.
    subject.resize(memory, MEMORY_RESERVE).unwrap();
    assert_eq!(subject.run(Program::Store, last, 5), trap(Program::Store, 3));
    assert_eq!(subject.read_u64(SubjectAddr::new(last)), Some(5));
    assert_eq!(subject.read_u64(SubjectAddr::new(last + 1)), None);
}

#[test]
fn outside_every_region_is_a_segment_violation() {
    let mut subject = Bare::spawn();
    let segv = |program: Program, address: Option<u64>, code| Stop::Fault {
        signal: FaultSignal::Segv,
        pc: program.at(0),
        address: address.map(SubjectAddr::new),
        code,
    };
    for address in [0, DATA - 8, DATA + DATA_LENGTH, MEMORY + MEMORY_RESERVE, 0x7fff_ffff_e000] {
        assert_eq!(subject.run(Program::Load, address, 0), segv(Program::Load, Some(address), 1));
    }
    // Code is not writable: SEGV_ACCERR.
    assert_eq!(subject.run(Program::Store, TEXT, 0), segv(Program::Store, Some(TEXT), 2));
    // Not an address at all: SI_KERNEL.
    assert_eq!(subject.run(Program::Load, 1 << 63, 0), segv(Program::Load, None, 0x80));
}

#[test]
fn data_is_not_code() {
    let mut subject = Bare::spawn();
    let mut regs = *subject.regs();
    regs.set_dwarf(0, DATA);
    subject.set_regs(&regs);
    let data = SubjectAddr::new(DATA);
    let stop = subject.run(Program::Jump, 0, 0);
    assert_eq!(
        stop,
        Stop::Fault { signal: FaultSignal::Segv, pc: data, address: Some(data), code: 2 }
    );
}

#[test]
fn arithmetic_and_undefined_instructions() {
    let mut subject = Bare::spawn();
    let fault = |signal, pc, code| Stop::Fault { signal, pc, address: None, code };
    assert_eq!(
        subject.run(Program::Divide, 0, 0),
        fault(FaultSignal::Fpe, Program::Divide.at(2), 1)
    );
    assert_eq!(
        subject.run(Program::Undefined, 0, 0),
        fault(FaultSignal::Ill, Program::Undefined.at(0), 2)
    );
    // The clock is out of bounds.
    assert_eq!(
        subject.run(Program::Clock, 0, 0),
        fault(FaultSignal::Segv, Program::Clock.at(0), 0x80)
    );
}

#[test]
fn other_traps_are_not_taken_for_int3() {
    let mut subject = Bare::spawn();
    let pc_of = |stop| match stop {
        Stop::Fault { signal: FaultSignal::Trap, pc, .. } => pc,
        other => panic!("{other:?}"),
    };
    assert_eq!(pc_of(subject.run(Program::LongTrap, 0, 0)), Program::LongTrap.at(2));
    assert_eq!(pc_of(subject.run(Program::Int1, 0, 0)), Program::Int1.at(1));
    // The subject sets its own trap flag, and halts after the next instruction.
    let stack = DATA + 0x800;
    subject.region(subject.data).write_u64(0x800, 0x302).unwrap();
    let mut regs = *subject.regs();
    regs.set_rsp(stack);
    subject.set_regs(&regs);
    assert_eq!(pc_of(subject.run(Program::PopFlags, 0, 0)), Program::PopFlags.at(2));
}

#[test]
fn system_calls_are_never_executed() {
    let mut subject = Bare::spawn();
    let asked = Stop::Syscall { number: libc::SYS_getpid, pc: Program::Syscall.at(5) };
    assert_eq!(subject.run(Program::Syscall, 0, 0), asked);
    assert_eq!(subject.regs().dwarf(0), Some(libc::SYS_getpid as u64));
    assert_eq!(subject.resume().unwrap(), trap(Program::Syscall, 7));
    assert_eq!(subject.regs().dwarf(0), Some(libc::SYS_getpid as u64));

    match subject.run(Program::Int80, 0, 0) {
        Stop::Syscall { number, pc } => assert_eq!((number, pc), (20, Program::Int80.at(5))),
        // A kernel without 32-bit calls.
        Stop::Fault { signal: FaultSignal::Segv, pc, .. } => assert_eq!(pc, Program::Int80.at(5)),
        other => panic!("{other:?}"),
    }
    // Where this 32-bit entry works at all, it comes back to the vdso, which
    // is not there.
    match subject.run(Program::Sysenter, 0, 0) {
        Stop::Syscall { .. } | Stop::Fault { signal: FaultSignal::Segv | FaultSignal::Ill, .. } => {
        }
        other => panic!("{other:?}"),
    }
    // gettimeofday through the page that cannot be unmapped.
    let mut regs = *subject.regs();
    regs.set_rsp(DATA + 0x800);
    subject.set_regs(&regs);
    match subject.run(Program::Vsyscall, DATA, 0) {
        Stop::Syscall { number, .. } => assert_eq!(number, libc::SYS_gettimeofday),
        Stop::Fault { signal: FaultSignal::Segv, .. } => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(subject.read_u64(SubjectAddr::new(DATA)), Some(0));
}

/// A call number that the kernel would, at another kind of stop, read as "this
/// call was interrupted, restart it".
#[test]
fn a_call_number_is_not_taken_for_a_restart() {
    let mut subject = Bare::spawn();
    let mut regs = *subject.regs();
    for restart in [-512i64, -513, -514, -516] {
        regs.set_dwarf(0, restart as u64);
        regs.set_rip(Program::Syscall.at(5).get());
        subject.set_regs(&regs);
        assert_eq!(
            subject.resume().unwrap(),
            Stop::Syscall { number: restart, pc: Program::Syscall.at(5) }
        );
        assert_eq!(subject.resume().unwrap(), trap(Program::Syscall, 7));
    }
}

#[test]
fn traps_come_and_go() {
    let mut subject = Bare::spawn();
    let at = Program::Loop.offset();
    assert_eq!(subject.text().read_code(at, 2), Ok(vec![0xcc, 0x48]));
    let mut regs = *subject.regs();
    regs.set_dwarf(2, 1000);
    subject.set_regs(&regs);
    subject.text().write_code(at, &[0x90]).unwrap();
    assert_eq!(subject.run(Program::Loop, DATA, 0), trap(Program::Loop, 9));
    assert_eq!(subject.region(subject.data).read_u64(0), Ok(1000));
    regs.set_dwarf(2, 1000);
    subject.set_regs(&regs);
    subject.text().write_code(at, &[0xcc]).unwrap();
    assert_eq!(subject.run(Program::Loop, DATA, 0), trap(Program::Loop, 0));

    let end = CodeOffset::new(TEXT_SIZE as u32);
    assert!(subject.text().write_code(end, &[0x90]).is_err());
    assert!(subject.text().write_code(CodeOffset::new(u32::MAX), &[0x90]).is_err());
    assert!(subject.text().read_code(Program::Loop.offset(), TEXT_SIZE as usize + 1).is_err());
    assert_eq!(subject.text().read_code(end, 0), Ok(vec![]));
}

#[test]
fn an_interrupt_halts_a_spinning_subject() {
    let mut subject = Bare::spawn();
    let interrupter = subject.interrupter();
    let mut best = Duration::MAX;
    for _ in 0..20 {
        let interrupter = interrupter.clone();
        let other = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(5));
            let asked = Instant::now();
            interrupter.interrupt();
            asked
        });
        assert_eq!(subject.run(Program::Spin, 0, 0), Stop::Interrupted);
        let halted = Instant::now();
        assert_eq!(subject.regs().rip(), Program::Spin.at(0).get());
        best = best.min(halted - other.join().unwrap());
    }
    // How soon at best says how it works, at worst how busy the machine is.
    assert!(best < Duration::from_millis(10), "{best:?}");

    // While it is halted: the next resumption ends at once, the one after not.
    interrupter.interrupt();
    interrupter.interrupt();
    assert_eq!(subject.run(Program::Load, DATA, 0), Stop::Interrupted);
    assert_eq!(subject.resume().unwrap(), trap(Program::Load, 3));

    subject.kill();
    interrupter.interrupt();
    drop(subject);
    interrupter.interrupt();
}

/// The subject does not inherit what its thread blocks.
#[test]
fn an_interrupt_gets_through_a_blocked_signal() {
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK).unwrap();
    let blocked = SigSet::thread_get_mask().unwrap();
    let mut subject = Bare::spawn();
    assert_eq!(SigSet::thread_get_mask().unwrap(), blocked);
    before.thread_set_mask().unwrap();
    subject.interrupter().interrupt();
    assert_eq!(subject.run(Program::Spin, 0, 0), Stop::Interrupted);
}

#[test]
fn signals_from_outside_are_dropped() {
    let mut subject = Bare::spawn();
    let pid = Pid::from_raw(subject.pid() as i32);
    let stray = [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGSTOP,
        Signal::SIGTSTP,
        Signal::SIGCONT,
        Signal::SIGWINCH,
        Signal::SIGSEGV,
        Signal::SIGBUS,
        Signal::SIGSYS,
        Signal::SIGTRAP,
        Signal::SIGABRT,
    ];
    for signal in stray {
        // While halted, then while running.
        kill(pid, signal).unwrap();
        assert_eq!(subject.run(Program::Load, DATA, 0), trap(Program::Load, 3), "{signal}");
        let interrupter = subject.interrupter();
        let other = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(3));
            kill(pid, signal).unwrap();
            std::thread::sleep(Duration::from_millis(3));
            interrupter.interrupt();
        });
        assert_eq!(subject.run(Program::Spin, 0, 0), Stop::Interrupted, "{signal}");
        other.join().unwrap();
    }
    // A real-time signal too.
    // SAFETY: sends a signal to a child of this process.
    assert_eq!(unsafe { libc::kill(pid.as_raw(), libc::SIGRTMIN() + 3) }, 0);
    assert_eq!(subject.run(Program::Load, DATA, 0), trap(Program::Load, 3));
}

#[test]
fn killed_from_outside() {
    let killed = Stop::Killed { signal: libc::SIGKILL };
    // While running.
    let mut subject = Bare::spawn();
    let pid = Pid::from_raw(subject.pid() as i32);
    let other = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(5));
        kill(pid, Signal::SIGKILL).unwrap();
    });
    assert_eq!(subject.run(Program::Spin, 0, 0), killed);
    other.join().unwrap();
    assert!(matches!(subject.resume(), Err(TracerError::Ended)));
    assert!(matches!(subject.vectors(), Err(TracerError::Ended)));
    assert!(!exists(subject.pid()));

    // While halted.
    let mut subject = Bare::spawn();
    kill(Pid::from_raw(subject.pid() as i32), Signal::SIGKILL).unwrap();
    assert_eq!(subject.run(Program::Load, DATA, 0), killed);
    // What it left can still be looked at.
    assert_eq!(subject.read_u64(SubjectAddr::new(DATA)), Some(0));

    // By its tracer.
    let mut subject = Bare::spawn();
    let pid = subject.pid();
    subject.kill();
    assert!(!exists(pid));
    assert!(matches!(subject.step(), Err(TracerError::Ended)));
    subject.kill();
}

#[test]
fn steps() {
    let mut subject = Bare::spawn();
    let int3 = CodeOffset::new(Program::Steps.offset().get() + 2);
    subject.enter(Program::Steps, MEMORY + MEMORY_LENGTH, 0);
    let at = |subject: &Bare| subject.regs().rip() - Program::Steps.at(0).get();
    assert_eq!((subject.step().unwrap(), at(&subject)), (Stop::Stepped, 1));
    assert_eq!((subject.step().unwrap(), at(&subject)), (Stop::Stepped, 2));
    assert_eq!((subject.step().unwrap(), at(&subject)), (trap(Program::Steps, 2), 3));
    assert_eq!((subject.step().unwrap(), at(&subject)), (Stop::Stepped, 4));
    // A fault while stepping, cured.
    let fault = subject.step().unwrap();
    assert!(
        matches!(fault, Stop::Fault { signal: FaultSignal::Bus, pc, .. } if pc == Program::Steps.at(4))
    );
    let memory = subject.memory;
    subject.resize(memory, 2 * MEMORY_LENGTH).unwrap();
    assert_eq!((subject.step().unwrap(), at(&subject)), (Stop::Stepped, 7));
    assert_eq!(subject.step().unwrap(), trap(Program::Steps, 7));

    // Over a trap patched away, and one instruction past one still there.
    subject.text().write_code(int3, &[0x90]).unwrap();
    subject.enter(Program::Steps, DATA, 0);
    for byte in 1..=4 {
        assert_eq!((subject.step().unwrap(), at(&subject)), (Stop::Stepped, byte));
    }
    // From stepping to running and back.
    assert_eq!(subject.resume().unwrap(), trap(Program::Steps, 7));
    subject.enter(Program::Steps, DATA, 0);
    assert_eq!(subject.step().unwrap(), Stop::Stepped);
    assert_eq!(subject.resume().unwrap(), trap(Program::Steps, 7));
    assert_eq!(subject.regs().rflags() & 0x100, 0);

    // A system call is not executed by a step either.
    subject.enter(Program::Syscall, 0, 0);
    assert_eq!(subject.step().unwrap(), Stop::Stepped);
    assert_eq!(subject.step().unwrap(), Stop::Syscall { number: 39, pc: Program::Syscall.at(5) });
    assert_eq!(subject.step().unwrap(), trap(Program::Syscall, 7));

    subject.enter(Program::Syscall, 0, 0);
    assert_eq!(subject.step().unwrap(), Stop::Stepped);
    assert!(matches!(subject.step().unwrap(), Stop::Syscall { .. }));
    assert_eq!(subject.run(Program::Load, DATA, 0), trap(Program::Load, 3));

    // An interrupt takes the step's place.
    subject.enter(Program::Steps, DATA, 0);
    subject.interrupter().interrupt();
    assert_eq!((subject.step().unwrap(), at(&subject)), (Stop::Interrupted, 0));
    kill(Pid::from_raw(subject.pid() as i32), Signal::SIGTERM).unwrap();
    assert_eq!((subject.step().unwrap(), at(&subject)), (Stop::Stepped, 1));
}

#[test]
fn regions_are_found_by_address() {
    let subject = Bare::spawn();
    let find = |address: u64, len: u64| subject.find_region(SubjectAddr::new(address), len);
    assert_eq!(find(DATA, 8), Some((subject.data, 0)));
    assert_eq!(find(MEMORY + 5, 8), Some((subject.memory, 5)));
    assert_eq!(find(DATA + DATA_LENGTH - 8, 8), Some((subject.data, DATA_LENGTH - 8)));
    assert_eq!(find(DATA + DATA_LENGTH - 7, 8), None);
    assert_eq!(find(DATA - 1, 8), None);
    assert_eq!(find(MEMORY, MEMORY_RESERVE), Some((subject.memory, 0)));
    assert_eq!(find(MEMORY, u64::MAX), None);
    assert_eq!(find(u64::MAX, 8), None);
}

#[test]
fn shared_memory_is_compared() {
    let subject = Bare::spawn();
    let memory = subject.region(subject.memory);
    let mut expected: Vec<u8> = (0..MEMORY_LENGTH).map(|i| (i % 251) as u8).collect();
    memory.write(0, &expected).unwrap();
    assert_eq!(memory.compare(0, &expected), Ok(None));
    let mut back = vec![0; 5000];
    memory.read(3000, &mut back).unwrap();
    assert_eq!(back, expected[3000..8000]);

    for at in [4095, 4096, 4097, 40_000, 65_535] {
        expected[at] ^= 1;
    }
    assert_eq!(memory.compare(0, &expected), Ok(Some(4095)));
    assert_eq!(memory.compare(4098, &expected[4098..]), Ok(Some(40_000)));
    let all = [4095..4098, 40_000..40_001, 65_535..65_536];
    assert_eq!(memory.differences(0, &expected, 10).unwrap(), all);
    assert_eq!(memory.differences(0, &expected, 2).unwrap(), all[..2]);
    assert_eq!(memory.differences(0, &expected, 0).unwrap(), []);
    assert_eq!(
        memory.differences(4096, &expected[4096..4100], 9).unwrap(),
        std::slice::from_ref(&(4096..4098))
    );

    let out = OutOfRegion { offset: 1, len: MEMORY_LENGTH, size: MEMORY_LENGTH };
    assert_eq!(memory.compare(1, &expected), Err(out));
    assert!(memory.differences(u64::MAX, &[0], 1).is_err());
    assert!(memory.write(u64::MAX, &[0]).is_err());
    assert!(memory.write_u64(MEMORY_LENGTH - 7, 0).is_err());
    assert!(memory.read(MEMORY_LENGTH, &mut []).is_ok());
}

#[test]
fn two_subjects_of_one_thread() {
    let (mut a, mut b) = (Bare::spawn(), Bare::spawn());
    assert_eq!(a.cpu(), b.cpu());
    assert_eq!(a.run(Program::Store, DATA, 1), trap(Program::Store, 3));
    assert_eq!(b.run(Program::Store, DATA, 2), trap(Program::Store, 3));
    assert_eq!(
        (a.read_u64(SubjectAddr::new(DATA)), b.read_u64(SubjectAddr::new(DATA))),
        (Some(1), Some(2))
    );
    let image = image();
    let other = tracer::SubjectConfig { cpu: Some(a.cpu() + 1), ..config(&image) };
    assert!(matches!(Subject::spawn(other), Err(TracerError::Cpu { .. })));
}

#[test]
fn subjects_of_several_threads() {
    let work = |number: u64| {
        for _ in 0..15 {
            let mut subject = Bare::spawn();
            assert_eq!(subject.run(Program::Store, DATA, number), trap(Program::Store, 3));
            assert_eq!(subject.read_u64(SubjectAddr::new(DATA)), Some(number));
            // Somebody else forks at the same time.
            assert!(Command::new("true").status().unwrap().success());
        }
    };
    std::thread::scope(|scope| {
        for number in 0..4 {
            scope.spawn(move || work(number));
        }
    });
}
