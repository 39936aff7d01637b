//! Branches past silent polls: the code does what it did, and does not come to the
//! NOPs; led back it does.

use aot_backend::{Anchors, CompileOptions, Image, OptLevel, StablePoints};
use clap::Parser;
use dwarf_map::{CodeOffset, StableKind, SubjectAddr, detour};
use std::sync::Arc;
use wasi_host::OperationLog;
use wdiff::cli::{BackendArgs, Cli, Command};
use wdiff::invoke::{self, Calls};
use wdiff::lockstep::plan::Plan;
use wdiff::lockstep::stops::Control;
use wdiff::program::{self, Program};
use wdiff::selftest::machine::{End, Machine, Seen, store_difference};
use wdiff::selftest::prepare::{Candidate, prepare};
use wdiff::session::Session;

fn image(program: &Program, opt: OptLevel, stable: StablePoints) -> Image {
    let options =
        CompileOptions { opt, stable, anchors: Anchors::Srcloc, ..CompileOptions::default() };
    aot_backend::compile(&program.wasm, &options).expect("compiled")
}

type Displacement = (CodeOffset, [u8; detour::DISPLACEMENT]);

fn write(machine: &Machine<'_>, displacements: impl Iterator<Item = Displacement>) {
    for (way, displacement) in displacements {
        machine.subject.text().write_code(way, &displacement).expect("a way in the code");
    }
}

fn backend() -> BackendArgs {
    let cli = Cli::try_parse_from(["wdiff", "run", "any.wasm"]).expect("a command line");
    let Command::Run(args) = cli.command else { panic!("another command") };
    args.backend
}

/// As many loops as can be, of each way to leave and to begin one.
const PROGRAMS: [&str; 14] = [
    "quicksort",
    "n-queens",
    "sha256",
    "vm",
    "word-count",
    "printf",
    "simd-c",
    "dispatch",
    "br-table",
    "string-hash",
    "tail-calls",
    "throw-loop",
    "throw-nested",
    "gemm-kernel-small",
];

/// The jump of a tail call leads to what lies behind it until it is linked, and that may
/// be a poll.
#[test]
fn the_jump_of_a_tail_call_is_no_way_to_a_poll() {
    let text = r#"(module
      (func $one (param i32) (result i32) local.get 0)
      (func $two (param i32) (result i32) local.get 0)
      (func (export "hops") (param $x i32) (result i32)
        (if (i32.and (local.get $x) (i32.const 1))
          (then (return_call $two (local.get $x))))
        (return_call $one (local.get $x))))"#;
    let wasm = wat::parse_str(text).expect("a module");
    for opt in [OptLevel::None, OptLevel::Speed] {
        let (stable, anchors) = (StablePoints::Calls, Anchors::Srcloc);
        let debug_info = true;
        let options =
            CompileOptions { opt, stable, anchors, debug_info, ..CompileOptions::default() };
        let image = aot_backend::compile(&wasm, &options).expect("compiled");
        let wrong = wdiff::map::violations(&image, true).expect("an image");
        assert!(wrong.is_empty(), "{opt:?}: {wrong:?}");
    }
}

#[test]
fn programs_do_what_they_did() {
    let all = Arc::new(Control::default());
    let mut ways = 0;
    for name in PROGRAMS {
        let known = corpus::program(name).expect("a program of the corpus");
        let candidate = Candidate::of_corpus(&known).expect("without directories");
        let prepared = prepare(&candidate, &backend(), &all).expect("a match");
        for (opt, stable) in [
            (OptLevel::Speed, StablePoints::Calls),
            (OptLevel::None, StablePoints::Labels),
            (OptLevel::Speed, StablePoints::Loops),
        ] {
            let image = image(&prepared.program, opt, stable);
            let (program, calls) = (&prepared.program, &prepared.calls);
            let session = Session { program, image: &image, calls };
            let plan = Plan::new(&image).expect("a plan");
            let control = Control::new();
            let machine = || Machine::new(&session, &prepared.log, &control).expect("a subject");
            let (mut with, mut without) = (machine(), machine());
            write(&with, detour::past(&image.map, &image.text));
            ways += detour::past(&image.map, &image.text).count();
            let ends = [&mut with, &mut without].map(|machine| machine.run_on(&plan).expect("run"));
            assert!(matches!(ends[0], Seen::Over(_)), "{name}: {:?}", ends[0]);
            assert_eq!(ends[0], ends[1], "{name}");
            assert_eq!(store_difference(&with, &without).expect("read"), None, "{name}");
        }
    }
    // Else nothing was tried.
    assert!(ways > 1000, "{ways}");
}

const LOOP: &str = r#"(module (func (export "run") (param i32) (result i32) (local i32)
  (loop $again
    (local.set 1 (i32.add (local.get 1) (local.get 0)))
    (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
  (local.get 1)))"#;

/// How often a machine comes to an instruction until the program ends.
fn passes(machine: &mut Machine<'_>, plan: &Plan, at: SubjectAddr) -> u32 {
    let mut passes = 0;
    loop {
        match machine.step(plan).expect("a step") {
            Seen::Stepped => passes += u32::from(machine.subject.regs().rip() == at.get()),
            Seen::Over(End::Returned(_)) => return passes,
            seen => panic!("{seen:?}"),
        }
    }
}

#[test]
fn a_loop_goes_round_without_its_poll() {
    let scratch = tempfile::tempdir().expect("a directory");
    let path = scratch.path().join("loop.wat");
    std::fs::write(&path, LOOP).expect("a file");
    let path = path.to_str().expect("a path in UTF-8");
    let line = ["wdiff", "run", path, "--invoke", "run", "--", "20"];
    let Command::Run(args) = Cli::try_parse_from(line).expect("a command line").command else {
        panic!("another command")
    };
    let program = program::load(&args.program).expect("a program");
    let calls: Calls = invoke::calls(&args.world, &program).expect("calls");
    let image = image(&program, OptLevel::Speed, StablePoints::Calls);
    let session = Session { program: &program, image: &image, calls: &calls };
    let function = &image.map.functions[0];
    let header = function.boundaries.iter().find(|at| at.stable == Some(StableKind::LoopHeader));
    let header = header.and_then(|at| function.stable_point(at.offset)).expect("a loop header");
    assert_eq!((header.detour.idle, header.detour.ways.len()), (10, 1));
    let plan = Plan::new(&image).expect("a plan");
    let control = Control::new();
    let log = OperationLog::default();
    let count = |changes: &[Displacement]| {
        let mut machine = Machine::new(&session, &log, &control).expect("a subject");
        write(&machine, changes.iter().copied());
        passes(&mut machine, &plan, header.poll.at(image.text_address))
    };
    let past: Vec<Displacement> = detour::past(&image.map, &image.text).collect();
    let back: Vec<Displacement> = detour::back(&image.map, &image.text).collect();
    assert_eq!(count(&[]), 20);
    assert_eq!(count(&past), 1);
    assert_eq!(count(&[past, back].concat()), 20);
}
