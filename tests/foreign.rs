//! Images for other instruction sets than this machine's.
//!
//! Every program of the corpus compiles for each of them, without optimisation and
//! with, and its map agrees with code, CFI, DWARF and module; or it is refused by
//! the name of what it uses: in a plain run for each target at one level, with or
//! without stable points, in turn; all of it with `WDIFF_WHOLE=1`. Nothing is run: that is
//! `tests/emulated.rs`.

mod common;

use aot_backend::Isa;
use libtest_mimic::{Arguments, Failed, Trial};

const FOREIGN: [Isa; 3] = [Isa::Aarch64, Isa::Riscv64, Isa::S390x];

/// What is refused there, and has to be named.
const REFUSED: &[&str] = &["relaxed SIMD"];

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    let ways = [("none", "off"), ("speed", "labels"), ("speed", "off"), ("none", "labels")];
    for isa in FOREIGN {
        for (number, program) in corpus::manifest().into_iter().enumerate() {
            for (way, (opt, stable)) in ways.into_iter().enumerate() {
                if !common::is_drawn(number, way, ways.len()) {
                    continue;
                }
                let name = format!("{} {opt} {}, stable points {stable}", isa.name(), program.name);
                let program = program.clone();
                trials.push(Trial::test(name, move || {
                    passes_the_checker(&program, isa, opt, stable)
                }));
            }
        }
        let name = format!("disassembly {}", isa.name());
        trials.push(Trial::test(name, move || shows_native_code(isa)));
    }
    libtest_mimic::run(&arguments, trials).exit();
}

fn passes_the_checker(
    program: &corpus::Program,
    isa: Isa,
    opt: &str,
    stable: &str,
) -> Result<(), Failed> {
    let mut command = common::wdiff();
    command.arg("map").arg(program.wasm_path()).args(["--check", "--opt", opt, "--stable", stable]);
    let output = command.args(["--target", isa.name()]).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    match output.status.code() {
        Some(0) if out.contains(", 0 violations") => {
            // Rules that nobody decides are named, with their places.
            let said = out.contains("cfi-frame: not decided at ")
                && out.contains("cfi-saved: not decided at ");
            if said { Ok(()) } else { Err(out.into()) }
        }
        Some(3) if REFUSED.iter().any(|feature| err.contains(&format!("{feature} on"))) => Ok(()),
        code => Err(format!("exit {code:?}\n{out}\n{err}").into()),
    }
}

/// The listing of a function has native code in the terms of its instruction set.
fn shows_native_code(isa: Isa) -> Result<(), Failed> {
    let program = corpus::program("fib")?;
    let mut command = common::wdiff();
    command.arg("map").arg(program.wasm_path()).args(["--target", isa.name(), "--func", "fib"]);
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (trap, add) = match isa {
        Isa::Aarch64 => ("brk #0xf000", "add x"),
        Isa::Riscv64 => ("ebreak", "add a"),
        _ => (".byte [00, 01]", "agrk %r"),
    };
    if output.status.success()
        && text.contains(trap)
        && text.contains(add)
        && text.contains("local0 i32")
    {
        Ok(())
    } else {
        Err(format!("{:?}\n{text}", output.status).into())
    }
}
