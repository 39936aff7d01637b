//! Images: made by `wdiff compile`, checked by `wdiff map`, run by `wdiff run`.

mod common;

use std::fs;
use std::process::Output;

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
