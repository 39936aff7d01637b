//! Images: made by `wdiff compile`, checked by `wdiff map`, run by `wdiff run`.

mod common;

use aot_backend::Image;
use clap::Parser;
use dwarf_map::check::Rule;
use reports::DivergenceKind;
use std::fs;
use std::process::Output;
use wasi_host::{World, WorldConfig};
use wasm_view::{Trap, Value};
use wdiff::cli::{Cli, Command};
use wdiff::lockstep::follow::Requests;
use wdiff::lockstep::space::text_file_offset;
use wdiff::lockstep::stops::Control;
use wdiff::lockstep::{Ending, Finding};
use wdiff::session::Session;
use wdiff::{invoke, map, program, run, watch};

const PROGRAMS: &[&str] = &[
    "fib",
    "quicksort",
    "float-ops",
    "tables",
    "br-table",
    "control",
    "bulk",
    "many-params",
    "throw-all",
    "legacy-throw",
];

fn ok(output: &Output) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{:?}\n{out}\n{err}", output.status);
}

/// Both optimisation levels and both ends of the range of CPUs make images
/// whose map agrees with code, CFI and DWARF.
#[test]
fn every_image_passes_the_static_checker() {
    let scratch = common::scratch();
    for name in PROGRAMS {
        let program = corpus::program(name).expect("a program of the corpus");
        for options in
            [["--opt", "none", "--cpu", "native"], ["--opt", "speed", "--cpu", "baseline"]]
        {
            let image = scratch.path().join("image.elf");
            let mut compile = common::wdiff();
            compile.arg("compile").arg(program.wasm_path()).arg("-o").arg(&image).args(options);
            ok(&compile.output().expect("wdiff starts"));
            let check = common::wdiff().args(["map", "--check"]).arg(&image).output();
            let check = check.expect("wdiff starts");
            ok(&check);
            let out = String::from_utf8_lossy(&check.stdout).into_owned();
            assert!(out.contains(", 0 violations"), "{out}");
            let listing = scratch.path().join("image.elf.lst");
            assert!(fs::read_to_string(listing).expect("a listing").contains("(module"));
        }
    }
}

/// The same bytes each time, and an image runs like the module in it.
#[test]
fn an_image_is_reproducible_and_runs() {
    let scratch = common::scratch();
    let program = corpus::program("fib").expect("a program of the corpus");
    let (one, two) = (scratch.path().join("image"), scratch.path().join("other/image"));
    fs::create_dir(scratch.path().join("other")).expect("a directory");
    for image in [&one, &two] {
        let mut command = common::wdiff();
        command.arg("compile").arg(program.wasm_path()).arg("-o").arg(image);
        ok(&command.current_dir(image.parent().expect("a parent")).output().expect("wdiff starts"));
    }
    let code = |path| {
        let bytes = fs::read(path).expect("an image");
        let image = aot_backend::Image::from_elf(&bytes).expect("an image of ours");
        (image.text, image.map)
    };
    assert!(code(&one) == code(&two));
    let args = [one.into_os_string(), "--invoke".into(), "fib".into(), "--".into(), "12".into()];
    let ran = common::run(&args, scratch.path());
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(ran.stdout, b"144\n");
    let report = ran.report.expect("a report");
    assert_eq!(report.boundaries.executed, report.boundaries.stops);
}

/// Calls `f` of a module, of whose image something was changed first.
fn call(text: &str, options: &[&str], change: impl FnOnce(&mut Image) + Send) -> Ending {
    let scratch = common::scratch();
    let path = scratch.path().join("f.wat");
    fs::write(&path, text).expect("a file");
    let words = ["wdiff", "run", "--invoke", "f"].into_iter().chain(options.iter().copied());
    let words = words.chain([path.to_str().expect("UTF-8")]);
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

const WAYS: [&[&str]; 4] = [
    &["--opt", "none"],
    &["--opt", "speed"],
    &["--opt", "speed", "--anchors", "srcloc"],
    &["--opt", "none", "--stable", "labels"],
];

/// However a start function ends, it ends so on both sides; a segment that does
/// not fit ends the program before.
#[test]
fn a_program_may_end_where_it_begins() {
    for options in WAYS {
        let ends = |rest: &str| {
            let text = format!(r#"(module (memory 1) (tag $t (param i32)) {rest})"#);
            call(&text, options, |_| {})
        };
        let start = |body: &str| {
            let f = r#"(func (export "f") (result i32) (i32.load8_u (i32.const 3)))"#;
            ends(&format!(
                r#"(data (i32.const 3) "x") (func $in {body}) (func $s call $in) (start $s) {f}"#
            ))
        };
        let ended = start("nop");
        assert!(matches!(&ended, Ending::Returned(values) if **values == [Value::I32(120)]));
        let ended = start("(throw $t (i32.const 4))");
        assert!(matches!(ended, Ending::Thrown(_)), "{options:?}: {ended:?}");
        let ended = start("unreachable");
        assert!(matches!(ended, Ending::Trapped(Trap::Unreachable, Some(_))), "{ended:?}");
        let ended = ends(
            r#"(data (i32.const 65535) "x") (data (i32.const 65535) "xy") (func (export "f"))"#,
        );
        assert!(matches!(ended, Ending::Trapped(Trap::MemoryOutOfBounds, None)), "{ended:?}");
    }
}

/// It is the code of the image that calls the start function: when that call is
/// not there, the checker says so, and nobody else makes it.
#[test]
fn nobody_calls_the_start_function_but_the_image() {
    const PROGRAM: &str = r#"(module (global $n (mut i32) (i32.const 3))
        (func $s (global.set $n (i32.const 4))) (start $s)
        (func (export "f") (result i32) global.get $n))"#;
    for options in WAYS {
        let ended = call(PROGRAM, options, |image| {
            assert_eq!(map::violations(image, false).expect("it can be checked"), []);
            let code = image.instantiate.clone().expect("there is such code");
            let start = image.map.functions[0].code.start.get();
            let calls = |at: &u32| {
                let (from, next) = (*at as usize, at + 5);
                let distance = start.wrapping_sub(next).to_le_bytes();
                image.text[from] == 0xe8 && image.text[from + 1..from + 5] == distance
            };
            let at = (code.start.get()..code.end.get() - 4).find(calls).expect("a call") as usize;
            image.text[at..at + 5].fill(0x90);
            let file = text_file_offset(image).expect("a text") as usize + at;
            image.elf[file..file + 5].fill(0x90);
            let found = map::violations(image, false).expect("it can be checked");
            let rules: Vec<Rule> = found.iter().map(|violation| violation.rule).collect();
            assert_eq!(rules, [Rule::InstantiationCalls]);
        });
        let Ending::Diverged(finding) = ended else { panic!("{options:?}: {ended:?}") };
        let Finding { kind, what, .. } = *finding;
        assert_eq!(kind, DivergenceKind::ControlFlow, "{what}");
        assert!(what.contains("the subject returned from the function"), "{what}");
    }
}
