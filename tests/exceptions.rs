//! Exceptions: whatever goes wrong between a throw and its handler is found.

mod common;

use aot_backend::Image;
use clap::Parser;
use dwarf_map::{FunctionMap, Handler};
use reports::DivergenceKind;
use wasi_host::{World, WorldConfig};
use wasm_view::Value;
use wdiff::cli::{Cli, Command};
use wdiff::lockstep::follow::Requests;
use wdiff::lockstep::stops::Control;
use wdiff::lockstep::{Ending, Finding};
use wdiff::session::Session;
use wdiff::{invoke, program, run, watch};

/// What is thrown is one more for tag $a, three times as much for tag $b.
const PROGRAM: &str = r#"(module
  (tag $a (param i32 i32))
  (tag $b (param i32))
  (func $throws (param $which i32) (param $x i32)
    (if (local.get $which) (then (throw $a (local.get $x) (local.get $which))))
    (throw $b (local.get $x)))
  (func (export "f") (param $x i32) (param $which i32) (result i32)
    (block $b (result i32)
      (block $a (result i32 i32)
        (try_table (catch $a $a) (catch $b $b)
          (call $throws (local.get $which) (local.get $x)))
        (unreachable))
      (drop)
      (return (i32.add (i32.const 1))))
    (i32.mul (i32.const 3))))"#;

const LEVELS: [&str; 2] = ["none", "speed"];

/// Calls `f(7, which)` of an image that was changed first.
fn call(opt: &str, which: &str, change: impl FnOnce(&mut Image) + Send) -> Ending {
    let scratch = common::scratch();
    let path = scratch.path().join("f.wat");
    std::fs::write(&path, PROGRAM).expect("a file");
    let words = ["wdiff", "run", "--opt", opt, "--invoke", "f"];
    let words = words.into_iter().chain([path.to_str().expect("UTF-8"), "--", "7", which]);
    let Ok(Cli { command: Command::Run(args) }) = Cli::try_parse_from(words) else {
        panic!("a command line");
    };
    let control = Control::new();
    let ended = watch::supervise(&control, None, || {
        let loaded = program::load(&path)?;
        let mut image = run::compile_program(&loaded, &args.backend, false)?;
        change(&mut image);
        let calls = invoke::calls(&args.world, &loaded)?;
        let session = Session { program: &loaded, image: &image, calls: &calls };
        let mut world = World::live(WorldConfig::default()).expect("a world");
        let requests = Requests { every: true, ..Requests::default() };
        Ok(session.execute(&mut world, requests, &control)?.ending)
    });
    ended.expect("a verdict")
}

fn found(ending: Ending) -> Finding {
    match ending {
        Ending::Diverged(finding) => *finding,
        other => panic!("{other:?}"),
    }
}

fn catching(image: &mut Image) -> &mut FunctionMap {
    &mut image.map.functions[1]
}

fn handlers(image: &mut Image) -> &mut Vec<Handler> {
    let sites = catching(image).call_sites.iter_mut();
    let mut with = sites.map(|site| &mut site.handlers).filter(|handlers| !handlers.is_empty());
    let found = with.next().expect("a call with handlers");
    assert!(with.next().is_none(), "the only one");
    found
}

#[test]
fn sound_code_ends_as_it_must() {
    for opt in LEVELS {
        for (which, expected) in [("1", 8), ("0", 21)] {
            match call(opt, which, |_| {}) {
                Ending::Returned(values) => assert_eq!(values, [Value::I32(expected)], "{opt}"),
                other => panic!("{opt}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_handler_of_another_clause_is_found() {
    for opt in LEVELS {
        let places = found(call(opt, "1", |image| {
            let handlers = handlers(image);
            (handlers[0].pc, handlers[1].pc) = (handlers[1].pc, handlers[0].pc);
        }));
        let tags = found(call(opt, "0", |image| {
            let handlers = handlers(image);
            (handlers[0].tag, handlers[1].tag) = (handlers[1].tag, handlers[0].tag);
        }));
        for finding in [places, tags] {
            assert_eq!(finding.kind, DivergenceKind::ControlFlow, "{opt}: {}", finding.what);
            // The throw is the last instruction on which both agree.
            assert_eq!(finding.at.func.get(), 0, "{opt}: {:?}", finding.at);
        }
    }
}

#[test]
fn a_handler_that_is_not_there_is_found() {
    for opt in LEVELS {
        let finding = found(call(opt, "1", |image| {
            handlers(image).remove(0);
        }));
        assert_eq!(finding.kind, DivergenceKind::ControlFlow, "{opt}");
        assert!(finding.what.contains("nobody in the subject catches"), "{}", finding.what);
        // One that catches too much.
        let finding = found(call(opt, "0", |image| handlers(image)[0].tag = None));
        assert_eq!(finding.kind, DivergenceKind::ControlFlow, "{opt}");
    }
}

#[test]
fn a_handler_elsewhere_in_the_code_is_found() {
    for opt in LEVELS {
        let finding = found(call(opt, "1", |image| {
            let start = catching(image).code.start;
            handlers(image)[0].pc = start;
        }));
        assert_eq!(finding.kind, DivergenceKind::ControlFlow, "{opt}: {}", finding.what);
    }
}

#[test]
fn a_stack_that_cannot_be_unwound_is_found() {
    for opt in LEVELS {
        let finding = found(call(opt, "1", |image| {
            // No call is known to return there.
            image.map.functions[0].call_sites.clear();
        }));
        assert_eq!(finding.kind, DivergenceKind::Sandbox, "{opt}: {}", finding.what);
        assert!(finding.what.contains("unwinding"), "{opt}: {}", finding.what);
    }
}

/// The handler reads the exception's argument eight bytes further on.
#[test]
fn a_wrong_argument_in_a_handler_is_found() {
    for opt in LEVELS {
        let finding = found(call(opt, "1", |image| {
            let pc = handlers(image)[0].pc.get() as usize;
            // mov reg, [reg + offset]: the first cell of the argument area.
            let offset = image.map.layout.argument(0) as u8;
            let displacement = image.text[pc..]
                .windows(3)
                .position(|code| code[0] == 0x8b && code[1] >> 6 == 1 && code[2] == offset)
                .map(|at| pc + at + 2)
                .expect("a load of the argument");
            let in_file = image.elf.windows(image.text.len());
            let text = in_file.into_iter().position(|bytes| bytes == image.text).expect("the text");
            image.text[displacement] += 8;
            image.elf[text + displacement] += 8;
        }));
        assert_eq!(finding.kind, DivergenceKind::Operand, "{opt}: {}", finding.what);
        assert_eq!(finding.at.func.get(), 1, "{opt}");
    }
}

/// The code that throws passes another register than the one that holds the
/// argument.
#[test]
fn a_wrong_argument_of_a_throw_is_found() {
    let scratch = common::scratch();
    let path = scratch.path().join("f.wat");
    std::fs::write(&path, PROGRAM).expect("a file");
    let bytes = wat::parse_str(PROGRAM).expect("a module");
    // throw 0: the opcode and the tag.
    let throw = bytes.windows(2).position(|code| code == [0x08, 0x00]).expect("a throw");
    let mut args: Vec<std::ffi::OsString> = vec!["--inject".into()];
    args.push(format!("code:throws:{throw}:operand").into());
    args.push(path.into());
    args.extend(["--invoke", "f", "--", "7", "1"].map(Into::into));
    let ran = common::run(&args, scratch.path());
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let found = ran.report.and_then(|report| report.divergence).expect("a divergence");
    assert_eq!((found.kind, found.offset), (DivergenceKind::Operand, Some(throw as u32)));
    assert!(matches!(found.slots[0].slot, reports::SlotName::Argument(0 | 1)));
}

/// Exceptions between instances, and the legacy instructions, as scripts.
#[test]
fn scripts_hold() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in
        ["tests/scripts/exceptions.wast", "oracle-interp/tests/scripts/legacy-exceptions.wast"]
    {
        for opt in LEVELS {
            let output = common::wdiff().args(["wast", "--opt", opt]).arg(root.join(file)).output();
            let output = output.expect("wdiff starts");
            let text = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(0), "{file}, {opt}: {text}");
        }
    }
}
