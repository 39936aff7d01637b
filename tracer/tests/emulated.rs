//! Subjects that qemu emulates: memory, registers, faults, interruption, end.
//!
//! One program for each instruction set, of a few instructions each: store, trap,
//! move to a vector register, trap, an instruction that is none, a loop. They need
//! the emulators of the Debian package qemu-user.

use dwarf_map::{Isa, SubjectAddr};
use std::time::Duration;
use tracer::{FaultSignal, RegionSpec, Stop, Subject, SubjectConfig, TracerError};

const BASE: u64 = 0x40_0000;
const GADGETS: u64 = BASE + 0x1000;
const TEXT: u64 = BASE + 0x2000;
const REGION: u64 = 0x10_0000_0000;
const FOREIGN: [Isa; 3] = [Isa::Aarch64, Isa::Riscv64, Isa::S390x];

/// Instructions that differ.
struct Code {
    machine: u16,
    flags: u32,
    system_call: &'static [u8],
    /// Stores the second parameter of an entry where the first one points.
    store: &'static [u8],
    /// Moves the second parameter to the third float register.
    to_float: &'static [u8],
    nothing: &'static [u8],
    /// A jump to itself.
    spin: &'static [u8],
}

fn code(isa: Isa) -> Code {
    match isa {
        Isa::X86_64 => panic!("not emulated"),
        Isa::Aarch64 => Code {
            machine: 183,
            flags: 0,
            system_call: &[0x01, 0, 0, 0xd4],
            store: &[0x01, 0x00, 0x00, 0xf9],
            to_float: &[0x23, 0x00, 0x67, 0x9e],
            nothing: &[0x1f, 0xc1, 0, 0],
            spin: &[0, 0, 0, 0x14],
        },
        Isa::Riscv64 => Code {
            machine: 243,
            flags: 4,
            system_call: &[0x73, 0, 0, 0],
            store: &[0x23, 0x30, 0xb5, 0x00],
            to_float: &[0xd3, 0x81, 0x05, 0xf2],
            nothing: &[0, 0, 0, 0],
            spin: &[0x6f, 0, 0, 0],
        },
        Isa::S390x => Code {
            machine: 22,
            flags: 0,
            system_call: &[0x0a, 0],
            store: &[0xe3, 0x30, 0x20, 0x00, 0x00, 0x24],
            to_float: &[0xb3, 0xc1, 0x00, 0x33],
            nothing: &[0, 0],
            spin: &[0xa7, 0xf4, 0, 0],
        },
    }
}

/// A static executable with gadgets and text, and where its instructions are.
fn image(isa: Isa) -> (Vec<u8>, u64, Vec<u64>) {
    let code = code(isa);
    let mut text = Vec::new();
    let mut at = Vec::new();
    for part in [code.store, isa.trap(), code.to_float, isa.trap(), code.nothing, code.spin] {
        at.push(TEXT + text.len() as u64);
        text.extend_from_slice(part);
    }
    let mut gadgets: Vec<u8> = isa.filler(16).collect();
    gadgets.extend([code.system_call, isa.trap()].concat());
    let big = isa.is_big_endian();
    let ordered = |bytes: &[u8]| -> Vec<u8> {
        if big { bytes.iter().rev().copied().collect() } else { bytes.to_vec() }
    };
    let (half, word, long) = (
        |value: u16| ordered(&value.to_le_bytes()),
        |value: u32| ordered(&value.to_le_bytes()),
        |value: u64| ordered(&value.to_le_bytes()),
    );
    let size = 0x2000 + text.len() as u64;
    let mut file = b"\x7fELF".to_vec();
    file.extend([2, if big { 2 } else { 1 }, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    file.extend([half(2), half(code.machine), word(1), long(GADGETS), long(64), long(0)].concat());
    file.extend(
        [word(code.flags), half(64), half(56), half(1), half(0), half(0), half(0)].concat(),
    );
    file.extend([word(1), word(5), long(0), long(BASE), long(BASE)].concat());
    file.extend([long(size), long(size), long(0x1000)].concat());
    file.resize(0x1000, 0);
    file.extend(gadgets);
    file.resize(0x2000, 0);
    file.extend(&text);
    (file, text.len() as u64, at)
}

fn start(isa: Isa) -> (Subject, Vec<u64>) {
    let (file, size, at) = image(isa);
    let config = SubjectConfig {
        image: &file,
        start: SubjectAddr::new(GADGETS),
        syscall_gadget: SubjectAddr::new(GADGETS + 16),
        text: SubjectAddr::new(TEXT),
        text_file_offset: 0x2000,
        text_size: size,
        regions: vec![RegionSpec {
            name: "data".into(),
            address: SubjectAddr::new(REGION),
            reserve: 1 << 32,
            length: 4096,
        }],
        cpu: None,
    };
    let subject = Subject::emulate(config, isa).expect("the package qemu-user is installed");
    (subject, at)
}

fn go_to(subject: &mut Subject, isa: Isa, pc: u64, parameters: [u64; 2]) {
    let mut regs = *subject.regs();
    for (register, value) in isa.parameters().into_iter().zip(parameters) {
        assert!(regs.set_dwarf(register.0, value));
    }
    regs.set_rip(pc);
    subject.set_regs(&regs);
}

const VALUE: u64 = 0x0123_4567_89ab_cdef;

#[test]
fn memory_and_registers_are_shared() {
    for isa in FOREIGN {
        let (mut subject, at) = start(isa);
        let id = subject.region_ids().next().expect("a region");
        go_to(&mut subject, isa, at[0], [REGION + 8, VALUE]);
        let stop = subject.resume().expect("it runs");
        assert_eq!(stop, Stop::Trap { pc: SubjectAddr::new(at[1]) }, "{isa:?}");
        let mut bytes = [0; 8];
        subject.region(id).read(8, &mut bytes).expect("in the region");
        let stored =
            if isa.is_big_endian() { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) };
        assert_eq!(stored, VALUE, "{isa:?}");
        // Going on behind the trap needs nobody's help.
        let stop = subject.resume().expect("it runs");
        assert_eq!(stop, Stop::Trap { pc: SubjectAddr::new(at[3]) }, "{isa:?}");
        let vectors = subject.vectors_among(1 << 3).expect("it is there");
        assert_eq!(vectors.float(3, 8), Some(VALUE), "{isa:?}");
        assert_eq!(vectors.float(4, 8), None, "not asked for");
        let all = subject.vectors().expect("it is there");
        assert_eq!(all.float(3, 8), Some(VALUE), "{isa:?}");
        let low = subject.regs().dwarf(isa.parameters()[1].0);
        assert_eq!(low, Some(VALUE), "{isa:?}");
        let short = if isa == Isa::S390x { VALUE >> 32 } else { VALUE & 0xffff_ffff };
        assert_eq!(all.float(3, 4).map(|bits| bits & 0xffff_ffff), Some(short), "{isa:?}");
    }
}

#[test]
fn faults_have_their_place() {
    for isa in FOREIGN {
        let (mut subject, at) = start(isa);
        let fault =
            |signal, pc| Stop::Fault { signal, pc: SubjectAddr::new(pc), address: None, code: 0 };
        let id = subject.region_ids().next().expect("a region");
        let pattern: Vec<u8> = (0..64).collect();
        subject.region(id).write(0, &pattern).expect("inside");
        // In the reservation but beyond the length, where it is mapped and where it is
        // not; after growing both are there, and what was there is as it was.
        for (place, signal) in [(0xf_0000, FaultSignal::Bus), (0x1f_fff8, FaultSignal::Segv)] {
            go_to(&mut subject, isa, at[0], [REGION + place, VALUE]);
            assert_eq!(subject.resume().expect("it runs"), fault(signal, at[0]), "{isa:?}");
        }
        subject.resize(id, 0x20_0000).expect("it grows");
        let stop = subject.resume().expect("it runs");
        assert_eq!(stop, Stop::Trap { pc: SubjectAddr::new(at[1]) }, "{isa:?}");
        let mut found = vec![0; 64];
        subject.region(id).read(0, &mut found).expect("inside");
        assert_eq!(found, pattern, "{isa:?}");
        // Nothing at all.
        go_to(&mut subject, isa, at[0], [8, VALUE]);
        assert_eq!(subject.resume().expect("it runs"), fault(FaultSignal::Segv, at[0]), "{isa:?}");
        go_to(&mut subject, isa, at[4], [0, 0]);
        let behind = u64::from(isa == Isa::S390x);
        let stop = subject.resume().expect("it runs");
        assert_eq!(stop, fault(FaultSignal::Ill, at[4] + behind), "{isa:?}");
    }
}

#[test]
fn it_is_interrupted_and_ends_with_its_owner() {
    for isa in FOREIGN {
        let (mut subject, at) = start(isa);
        go_to(&mut subject, isa, at[5], [0, 0]);
        let interrupter = subject.interrupter();
        let other = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            interrupter.interrupt();
        });
        assert_eq!(subject.resume().expect("it runs"), Stop::Interrupted, "{isa:?}");
        other.join().expect("it does not panic");
        assert!(matches!(subject.step(), Err(TracerError::NotEmulated(_))));
        let process = format!("/proc/{}", subject.pid());
        assert!(std::path::Path::new(&process).exists());
        drop(subject);
        assert!(!std::path::Path::new(&process).exists());
    }
}

#[test]
fn one_that_is_killed_has_ended() {
    let (mut subject, at) = start(Isa::Aarch64);
    go_to(&mut subject, Isa::Aarch64, at[5], [0, 0]);
    let pid = subject.pid().to_string();
    let other = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        std::process::Command::new("kill").args(["-9", &pid]).status().expect("kill runs");
    });
    assert!(matches!(subject.resume().expect("it runs"), Stop::Killed { .. }));
    assert!(matches!(subject.resume(), Err(TracerError::Ended)));
    other.join().expect("it does not panic");
}
