//! Unwinding: the fixture's frames, and frames that lie.

use crate::arbitrary::Random;
use crate::fixture::{self, TEXT, TEXT_SIZE};
use dwarf_map::unwind::{CfaRule, Registers, UnwindError, Unwinder};
use dwarf_map::{CodeOffset, DwarfReg, SubjectAddr};
use std::collections::HashMap;

const STACK: u64 = 0x7000_0000;

fn unwinder() -> Unwinder {
    Unwinder::new(&fixture::debug_frame(), TEXT, TEXT_SIZE).expect("the fixture's CFI is good")
}

fn address(offset: u32) -> SubjectAddr {
    CodeOffset::new(offset).at(TEXT)
}

/// The process stopped in function 1, called by function 0, by the entry, by
/// nobody.
fn stopped() -> (Registers, HashMap<u64, u64>) {
    let mut gpr = [0_u64; 16];
    gpr[3] = 42; // rbx, which function 0 keeps a local in
    let memory = HashMap::from([
        (STACK + 8, 0),                  // entry: return address
        (STACK, 0xbeef),                 // entry: rbp saved
        (STACK - 8, address(115).get()), // function 0: return address
        (STACK - 16, STACK),             // rbp
        (STACK - 32, 0x1234),            // rbx
        (STACK - 40, address(35).get()), // function 1: return address
        (STACK - 48, STACK - 16),        // rbp
    ]);
    gpr[6] = STACK - 48;
    gpr[7] = STACK - 48;
    (Registers::innermost(address(69), gpr), memory)
}

#[test]
fn rules_change_with_the_prologue() {
    let unwinder = unwinder();
    let rule = |pc| unwinder.cfa_rule(CodeOffset::new(pc));
    assert_eq!(
        rule(0),
        Ok(CfaRule {
            reg: DwarfReg(7),
            offset: 8
        })
    );
    assert_eq!(
        rule(1),
        Ok(CfaRule {
            reg: DwarfReg(7),
            offset: 16
        })
    );
    assert_eq!(
        rule(23),
        Ok(CfaRule {
            reg: DwarfReg(6),
            offset: 16
        })
    );
    assert_eq!(
        rule(50),
        Err(UnwindError::NoRule {
            pc: CodeOffset::new(50)
        })
    );
    assert_eq!(
        unwinder.first_gap(CodeOffset::new(0)..CodeOffset::new(46)),
        None
    );
    let gap = unwinder.first_gap(CodeOffset::new(0)..CodeOffset::new(64));
    assert_eq!(gap, Some(CodeOffset::new(46)));
}

#[test]
fn walks_to_the_entry() {
    let unwinder = unwinder();
    let (innermost, memory) = stopped();
    let mut read = |at: SubjectAddr| memory.get(&at.get()).copied();
    let caller = unwinder
        .step(&innermost, &mut read)
        .expect("a frame")
        .expect("a caller");
    assert_eq!(caller.pc, address(35));
    assert_eq!(caller.gpr[3], Some(42), "rbx is untouched by function 1");
    assert_eq!(caller.gpr[7], Some(STACK - 32));
    assert_eq!(caller.gpr[0], None, "rax belongs to the callee");
    assert_eq!(unwinder.cfa(&caller), Ok(SubjectAddr::new(STACK)));
    let entry = unwinder
        .step(&caller, &mut read)
        .expect("a frame")
        .expect("a caller");
    assert_eq!(entry.pc, address(115));
    assert_eq!(
        entry.gpr[3],
        Some(0x1234),
        "rbx restored from function 0's frame"
    );
    assert_eq!(
        unwinder.step(&entry, &mut read),
        Ok(None),
        "return address 0"
    );
}

#[test]
fn lying_stacks_are_errors() {
    let unwinder = unwinder();
    let (innermost, memory) = stopped();
    let nothing = unwinder.step(&innermost, &mut |_| None);
    assert!(matches!(nothing, Err(UnwindError::NoStack { .. })));

    let mut backwards = innermost;
    backwards.gpr[6] = Some(STACK - 4096);
    let mut read = |at: SubjectAddr| memory.get(&at.get()).copied();
    assert!(matches!(
        unwinder.step(&backwards, &mut read),
        Err(UnwindError::NoProgress { .. })
    ));

    let mut unknown = innermost;
    unknown.gpr[6] = None;
    assert!(matches!(
        unwinder.step(&unknown, &mut read),
        Err(UnwindError::UnknownRegister { .. })
    ));

    // A saved rbp that points at its own frame: no round trips.
    let mut circle = memory.clone();
    circle.insert(STACK - 48, STACK - 48);
    circle.insert(STACK - 40, address(70).get());
    let mut read = |at: SubjectAddr| circle.get(&at.get()).copied();
    let again = unwinder
        .step(&innermost, &mut read)
        .expect("a frame")
        .expect("a caller");
    assert!(matches!(
        unwinder.step(&again, &mut read),
        Err(UnwindError::NoProgress { .. })
    ));
}

#[test]
fn outside_the_text_is_the_end() {
    let unwinder = unwinder();
    let (mut innermost, _) = stopped();
    innermost.pc = SubjectAddr::new(1);
    assert_eq!(unwinder.step(&innermost, &mut |_| None), Ok(None));
}

/// Recursion of 100,000 frames; every frame is found.
#[test]
fn deep_stacks_are_walked() {
    const DEPTH: u64 = 100_000;
    let unwinder = unwinder();
    let mut memory = HashMap::new();
    for frame in 0..DEPTH {
        let rbp = STACK + 16 * frame;
        memory.insert(rbp, rbp + 16);
        memory.insert(
            rbp + 8,
            if frame + 1 == DEPTH {
                0
            } else {
                address(70).get()
            },
        );
    }
    let mut gpr = [0; 16];
    gpr[6] = STACK;
    gpr[7] = STACK;
    let mut registers = Registers::innermost(address(69), gpr);
    let mut read = |at: SubjectAddr| memory.get(&at.get()).copied();
    let mut frames = 1;
    while let Some(caller) = unwinder.step(&registers, &mut read).expect("a good stack") {
        registers = caller;
        frames += 1;
    }
    assert_eq!(frames, DEPTH);
}

#[test]
fn damaged_cfi_does_no_harm() {
    let good = fixture::debug_frame();
    let (innermost, memory) = stopped();
    for seed in 0..20_000 {
        let mut random = Random::new(seed);
        let mut bytes = good.clone();
        for _ in 0..=random.below(3) {
            let at = (random.next() as usize) % bytes.len();
            bytes[at] = random.next() as u8;
        }
        let Ok(unwinder) = Unwinder::new(&bytes, TEXT, TEXT_SIZE) else {
            continue;
        };
        let mut registers = innermost;
        let mut read = |at: SubjectAddr| memory.get(&at.get()).copied();
        for _ in 0..100 {
            match unwinder.step(&registers, &mut read) {
                Ok(Some(caller)) => registers = caller,
                _ => break,
            }
        }
    }
}

#[test]
fn entries_outside_the_text_are_refused() {
    let outside = Unwinder::new(&fixture::debug_frame(), TEXT, 40);
    assert!(matches!(outside, Err(UnwindError::OutsideText { .. })));
    let twice = [fixture::debug_frame(), fixture::debug_frame()].concat();
    let twice = Unwinder::new(&twice, TEXT, TEXT_SIZE);
    assert!(
        matches!(twice, Err(UnwindError::Overlap { .. })),
        "{twice:?}"
    );
}
