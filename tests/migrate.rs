//! Programs handed from one executor to the next: they do what they did, every
//! view is the same before and after, and what is done wrong while restoring is
//! seen at that hand-over. Sides of other instruction sets are run by qemu's user mode.

mod common;

use corpus::{Expected, Program};
use libtest_mimic::{Arguments, Failed, Trial};
use reports::{Report, Verdict};
use std::ffi::OsString;
use std::process::Output;

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for (seed, program) in corpus::quick().into_iter().enumerate() {
        let name = format!("{} relay", program.name);
        let relay = "oracle,x86_64:speed,x86_64:none";
        let shipped = program.clone();
        trials.push(Trial::test(name, move || check(&program, relay, &[], seed)));
        let name = format!("{} relay, as it ships", shipped.name);
        let srcloc = &["--anchors", "srcloc"];
        trials.push(Trial::test(name, move || check(&shipped, relay, srcloc, seed)));
    }
    for (seed, program) in FOREIGN.into_iter().enumerate() {
        for relay in [
            "oracle,x86_64:speed,aarch64:none,s390x:speed",
            "aarch64:speed,riscv64:speed,s390x:none",
        ] {
            // Its module has vectors, which riscv64 has not.
            if program == "throw-frames" && relay.contains("riscv64") {
                continue;
            }
            let name = format!("{program} {relay}");
            let program = corpus::manifest().into_iter().find(|each| each.name == program);
            let program = program.expect("a program of the corpus");
            // Each in one way; the emulator's stops take their time.
            let place = ["hand-over", "stable"][seed % 2];
            trials
                .push(Trial::test(name, move || check(&program, relay, &["--break", place], seed)));
        }
    }
    trials.push(Trial::test("every stable point", every));
    trials.push(Trial::test("faults are caught at the hand-over", faults));
    trials.push(Trial::test("snapshots", snapshots));
    trials.push(Trial::test("a halted program goes on in another process", resumed));
    trials.push(Trial::test("descriptors, append mode, pipes", journal));
    trials.push(Trial::test("damaged snapshots", mutants));
    trials.push(Trial::test("cells of interpreters", converted));
    trials.push(Trial::test("scripts restored at every stable point", scripts));
    trials.push(Trial::test("what is not built is named", refused));
    libtest_mimic::run(&arguments, trials).exit();
}

/// Programs that are handed across instruction sets.
const FOREIGN: [&str; 7] =
    ["abort", "control", "tables", "multi-results", "many-params", "throw-frames", "typed-refs"];

fn demand(holds: bool, what: impl FnOnce() -> String) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(what().into()) }
}

/// `wdiff migrate` with a report.
fn migrate(args: &[OsString]) -> Result<(Output, Report), Failed> {
    let scratch = common::scratch();
    let file = scratch.path().join("report.json");
    let mut command = common::wdiff();
    command.arg("migrate").args(["--format", "json", "--output"]).arg(&file).args(args);
    let output = command.output()?;
    let text = std::fs::read_to_string(&file).map_err(|error| {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        format!("{args:?}: no report ({error}), exit {:?}: {said}", output.status.code())
    })?;
    Ok((output, reports::json::from_str(&text)?))
}

fn check(program: &Program, relay: &str, more: &[&'static str], seed: usize) -> Result<(), Failed> {
    let scratch = common::scratch();
    let mut args: Vec<OsString> = ["--relay", relay, "--random"].map(Into::into).to_vec();
    args.push(seed.to_string().into());
    args.extend(more.iter().map(OsString::from));
    args.extend(common::arguments(program, &scratch));
    let (output, report) = migrate(&args)?;
    let section = report.migration.as_ref().ok_or("no section migration")?;
    let early = section.hand_overs == 0 && report.verdict == Verdict::Inconclusive;
    if report.verdict != Verdict::Match && !early {
        return Err(reports::text::render(&report, reports::Style::plain()).into());
    }
    let instantiation = report.program.trap.is_some() && section.unmigrated.is_none();
    demand(section.unmigrated == Some(true) || instantiation, || format!("{section:?}"))?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    match &program.expected {
        Expected::ExitCode(code) => {
            demand(report.program.exit_code == Some(*code), || {
                format!("exit code {:?}", report.program.exit_code)
            })?;
            let expected = program.expected_stdout().map_err(|error| error.to_string())?;
            demand(stdout == String::from_utf8_lossy(&expected), || stdout.to_string())
        }
        Expected::Trap(trap) => demand(report.program.trap.as_ref() == Some(trap), || {
            format!("trap {:?}", report.program.trap)
        }),
        Expected::Results(values) => {
            let lines: String = values.iter().map(|value| format!("{value}\n")).collect();
            demand(stdout == lines, || stdout.to_string())
        }
    }
}

fn named(name: &str, scratch: &tempfile::TempDir) -> Vec<OsString> {
    let program = corpus::manifest().into_iter().find(|program| program.name == name);
    common::arguments(&program.expect("a program of the corpus"), scratch)
}

/// Not one of them is passed by; and some states are there only once.
fn every() -> Result<(), Failed> {
    for name in ["abort", "tail-calls", "multi-results"] {
        let scratch = common::scratch();
        let mut args: Vec<OsString> =
            ["--stable", "calls", "--opt", "speed"].map(Into::into).to_vec();
        args.extend(named(name, &scratch));
        let plain = common::run(&args, scratch.path()).report.ok_or("no report")?;
        let mut args: Vec<OsString> =
            ["--relay", "x86_64:speed,x86_64:none"].map(Into::into).to_vec();
        args.extend(named(name, &common::scratch()));
        let (_, report) = migrate(&args)?;
        demand(report.verdict == Verdict::Match, || {
            reports::text::render(&report, reports::Style::plain())
        })?;
        let section = report.migration.ok_or("no section")?;
        demand(section.hand_overs == plain.stable_points.executed, || {
            let executed = plain.stable_points.executed;
            format!("{name}: {} hand-overs, {executed} stable points", section.hand_overs)
        })?;
    }
    Ok(())
}

/// What is done wrong while restoring is seen before anything is executed.
fn faults() -> Result<(), Failed> {
    let (mut drawn, mut effective) = (0, 0);
    for (seed, name) in
        ["n-queens", "linked-list", "vm", "files", "simd-ops"].into_iter().enumerate()
    {
        let options =
            ["--relay", "oracle,x86_64:speed,x86_64:none", "--inject-random", "48", "--seed"];
        let mut args: Vec<OsString> = options.map(Into::into).to_vec();
        args.push(seed.to_string().into());
        let scratch = common::scratch();
        args.extend(named(name, &scratch));
        let (output, report) = migrate(&args)?;
        let section = report.migration.as_ref().ok_or("no section")?;
        demand(output.status.code() == Some(0), || format!("{name}: {section:?}"))?;
        for row in &section.faults {
            demand(row.caught == row.effective, || format!("{name}: {row:?}"))?;
            drawn += row.drawn;
            effective += row.effective;
        }
        let of_files = section.faults.iter().any(|row| row.kind == "fd" && row.effective > 0);
        demand(of_files == (name == "files"), || format!("{name}: {section:?}"))?;
    }
    demand(drawn == 240 && effective >= 120, || format!("{effective} of {drawn} effective"))?;
    // One by one, as the report of a missed one would have it run again.
    let options =
        ["--relay", "x86_64:speed,x86_64:none", "--at", "40", "--inject", "restore:flip:5"];
    let mut args: Vec<OsString> = options.map(Into::into).to_vec();
    args.extend(named("n-queens", &common::scratch()));
    let (output, report) = migrate(&args)?;
    let section = report.migration.as_ref().ok_or("no section")?;
    let found = report.divergence.as_ref().ok_or("no divergence")?;
    demand(
        output.status.code() == Some(1)
            && section.fault.is_some()
            && section.hand_overs == 1
            && found.boundary_index == 0,
        || format!("{section:?} {found:?}"),
    )
}

/// A program that is halted goes on in another process: what it prints and
/// leaves behind is what it always does.
fn resumed() -> Result<(), Failed> {
    let program = corpus::manifest().into_iter().find(|program| program.name == "files");
    let program = program.ok_or("no such program")?;
    let expected = program.expected_stdout().map_err(|error| error.to_string())?;
    for (at, side, on) in [
        ("30", "x86_64:speed", "x86_64:none"),
        ("400", "x86_64:none", "oracle"),
        ("900", "oracle,x86_64:none", "x86_64:speed"),
        ("1500", "x86_64:speed", "x86_64:speed"),
    ] {
        let scratch = common::scratch();
        let file = scratch.path().join("snapshot");
        let mut args: Vec<OsString> =
            ["--relay", side, "--at", at, "--halt", "--save"].map(Into::into).to_vec();
        args.push(file.clone().into());
        args.extend(common::arguments(&program, &scratch));
        let (output, report) = migrate(&args)?;
        demand(report.verdict == Verdict::Match, || format!("{at}: {report:?}"))?;
        let mut printed = output.stdout;
        let mut dir = scratch.path().join("dir0").into_os_string();
        dir.push("::/data");
        let mut command = common::wdiff();
        command.args(["snapshot", "resume"]).arg(&file).arg("--module").arg(program.wasm_path());
        let output = command.args(["--on", on, "--dir"]).arg(&dir).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        demand(output.status.code() == Some(0) && said.starts_with("match"), || {
            format!("{at} {on}: {said}")
        })?;
        printed.extend(&output.stdout);
        demand(printed == expected, || {
            format!("{at} {on}: {} | {said}", String::from_utf8_lossy(&printed))
        })?;
        // Where its directory is not given, it is missed by name.
        let mut command = common::wdiff();
        command.args(["snapshot", "resume"]).arg(&file).arg("--module").arg(program.wasm_path());
        let output = command.output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        demand(output.status.code() == Some(2) && said.contains("--dir HOST::/data"), || said)?;
    }
    Ok(())
}

/// Appends lines to a file through a descriptor that was renumbered, and reads
/// as many from its input.
const JOURNAL: &str = r#"(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_unlink_file" (func $unlink (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_renumber" (func $renumber (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "log.txt")
  (data (i32.const 32) "\40\00\00\00\02\00\00\00")
  (func $check (param i32) (if (local.get 0) (then unreachable)))
  (func $line (param $fd i32)
    (call $check (call $read (i32.const 0) (i32.const 32) (i32.const 1) (i32.const 80)))
    (call $check (call $write (local.get $fd) (i32.const 32) (i32.const 1) (i32.const 80))))
  (func (export "_start") (local $left i32)
    ;; 4 without, 5 with append mode; then 4 is what 5 was.
    (call $check (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 7)
      (i32.const 1) (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 80)))
    (call $check (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 7)
      (i32.const 1) (i64.const 64) (i64.const 0) (i32.const 1) (i32.const 80)))
    (call $check (call $renumber (i32.const 5) (i32.const 4)))
    DELETE
    (local.set $left (i32.const 9))
    (loop $again
      (call $line (i32.const 4))
      (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))))"#;

fn journal() -> Result<(), Failed> {
    let scratch = common::scratch();
    let path = |name: &str| scratch.path().join(name);
    let dir = |name: &str| -> Result<OsString, Failed> {
        std::fs::create_dir(path(name))?;
        std::fs::write(path(name).join("log.txt"), "begun\n")?;
        let mut option = path(name).into_os_string();
        option.push("::/");
        Ok(option)
    };
    std::fs::write(path("journal.wat"), JOURNAL.replace("DELETE", ""))?;
    std::fs::write(path("input"), "1\n2\n3\n4\n5\n6\n7\n8\n9\n")?;
    let whole = "begun\n1\n2\n3\n4\n5\n6\n7\n8\n9\n";
    let written = |name: &str| std::fs::read_to_string(path(name).join("log.txt"));
    // At every stable point, input from a file.
    let mut args: Vec<OsString> =
        ["--relay", "x86_64:speed,oracle,x86_64:none", "--stdin"].map(Into::into).to_vec();
    args.extend([path("input").into(), "--dir".into(), dir("every")?, path("journal.wat").into()]);
    let (_, report) = migrate(&args)?;
    demand(report.verdict == Verdict::Match, || format!("{report:?}"))?;
    demand(written("every")? == whole, || format!("{:?}", written("every")))?;
    // Halted, resumed and read from a pipe: the second process gets what is left of it.
    let given = dir("halted")?;
    let halt = ["migrate", "--relay", "x86_64:none", "--at", "12", "--halt", "--save"];
    let mut first = common::wdiff();
    first.args(halt).arg(path("snapshot")).arg("--dir").arg(&given).arg(path("journal.wat"));
    let resume = ["snapshot", "resume", "--on", "x86_64:speed", "--module"];
    let mut second = common::wdiff();
    second.args(resume).arg(path("journal.wat")).arg("--dir").arg(&given).arg(path("snapshot"));
    let (reads, mut writes) = std::io::pipe()?;
    std::io::Write::write_all(&mut writes, &whole.as_bytes()["begun\n".len()..])?;
    drop(writes);
    for command in [&mut first, &mut second] {
        let output = command.stdin(reads.try_clone()?).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        demand(output.status.code() == Some(0), || said)?;
    }
    let halted = written("halted")?;
    demand(halted == whole, || halted.clone())?;
    // The snapshot is of an earlier state: the file is longer than it was.
    let output = second.stdin(std::process::Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    demand(output.status.code() == Some(2) && said.contains("now it has"), || said)?;
    // A file that is deleted while it is open cannot be carried.
    let unlink = "(call $check (call $unlink (i32.const 3) (i32.const 0) (i32.const 7)))";
    std::fs::write(path("deleted.wat"), JOURNAL.replace("DELETE", unlink))?;
    let mut args: Vec<OsString> =
        ["--relay", "x86_64:speed,oracle", "--dir"].map(Into::into).to_vec();
    args.extend([dir("deleted")?, path("deleted.wat").into()]);
    let (output, report) = migrate(&args)?;
    let why = report.inconclusive.ok_or("not inconclusive")?;
    demand(output.status.code() == Some(3) && why.detail.contains("deleted"), || why.detail)
}

/// A function that calls itself: an i64 and a vector wait in the outer frame.
const COUNTS: &str = r#"(module
  (global $g (mut f32) (f32.const 0))
  (memory 1)
  (func $f (export "f") (param $n i32) (result i64) (local $v v128) (local $r funcref)
    (local.set $v (i64x2.splat (i64.extend_i32_u (local.get $n))))
    (if (result i64) (local.get $n)
      (then
        (i64.extend_i32_u (local.get $n))
        (call $f (i32.sub (local.get $n) (i32.const 1)))
        (i64.add)
        (i64x2.extract_lane 1 (local.get $v))
        (i64.add))
      (else (i64.load (i32.const 16))))))"#;

/// Cells without types become a snapshot that goes on.
fn converted() -> Result<(), Failed> {
    let scratch = common::scratch();
    let path = |name: &str| scratch.path().join(name);
    std::fs::write(path("counts.wat"), COUNTS)?;
    let wasm = wat::parse_str(COUNTS)?;
    // The call is the instruction 10 00; the entry, the first one, sets the vector.
    let find = |bytes: &[u8]| wasm.windows(bytes.len()).position(|each| each == bytes);
    let call = find(&[0x10, 0x00, 0x7c]).ok_or("no call")?;
    let entry = find(&[0x20, 0x00, 0xad, 0xfd, 0x12]).ok_or("no entry")?;
    let word = |n: u32| n.to_le_bytes().iter().map(|b| format!("{b:02x}")).collect::<String>();
    let long = |n: u32| word(n) + &word(0);
    let vector = |n: u32| long(n) + &long(n);
    let wide = |text: String| format!("{text:0<32}");
    // The outer frame: n = 7, v = 7 7, r = null, operand 7. The inner one: n = 6.
    let wamr = [word(7) + &vector(7) + "ffffffff" + &long(7), word(6) + &vector(0) + "ffffffff"];
    let wasmedge = [
        wide(word(7)) + &vector(7) + &wide(String::new()) + &wide(long(7)),
        wide(word(6)) + &vector(0) + &wide(String::new()),
    ];
    // Slots in another order, as its compiler gives them: v, n, operand, r.
    let wasm3 = [
        vector(7) + &word(7) + &word(0) + &long(7) + &long(0),
        vector(0) + &word(6) + &word(0) + &long(0) + &long(0),
    ];
    for (runtime, frames, slots) in [
        ("wamr", wamr, ["", ""]),
        ("wasmedge", wasmedge, ["", ""]),
        ("wasm3", wasm3, [", \"slots\": [4, 0, 8, 6]", ", \"slots\": [4, 0, 8]"]),
    ] {
        let frame = |depth: usize, offset: usize| {
            let (cells, slots) = (&frames[depth], slots[depth]);
            format!("{{\"func\": 0, \"offset\": {offset}, \"cells\": \"{cells}\"{slots}}}")
        };
        let text = format!(
            "{{\"frames\": [{}, {}], \"memories\": [{{\"bytes\": 65536, \"runs\": [[16, \"e803\"]]}}], \"globals\": [\"{}\"]}}",
            frame(0, call),
            frame(1, entry),
            wide(word(0)),
        );
        std::fs::write(path("recorded.json"), &text)?;
        let convert = |output: &str| {
            let mut command = common::wdiff();
            command.args(["snapshot", "convert", "--from", runtime]).arg(path("recorded.json"));
            command.arg("--module").arg(path("counts.wat")).arg("-o").arg(path(output)).output()
        };
        let output = convert("snapshot")?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        demand(output.status.code() == Some(0), || format!("{runtime}: {said}"))?;
        // 1000 + 2 * (1 + .. + 7): what f(7) is, whoever goes on.
        for on in ["oracle", "x86_64:speed"] {
            let mut command = common::wdiff();
            command.args(["snapshot", "resume", "--on", on]).arg(path("snapshot"));
            let output = command.arg("--module").arg(path("counts.wat")).output()?;
            let printed = String::from_utf8_lossy(&output.stdout).into_owned();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            demand(output.status.code() == Some(0) && printed == "1056\n", || {
                format!("{runtime} on {on}: {printed} {said}")
            })?;
        }
        // A cell too many is none of its locals or operands.
        let longer = text.replacen("\"cells\": \"", &format!("\"cells\": \"{}", long(9)), 1);
        let longer = longer.replacen("\"slots\": [4,", "\"slots\": [99,", 1);
        std::fs::write(path("recorded.json"), longer)?;
        let output = convert("another")?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        demand(output.status.code() == Some(2) && said.contains("cell"), || {
            format!("{runtime}: {said}")
        })?;
    }
    Ok(())
}

/// Damaged snapshots are refused, or resumed exactly.
fn mutants() -> Result<(), Failed> {
    let mut tally = wdiff::snapshot::mutants::Tally::default();
    for (name, relay) in [("n-queens", "x86_64:speed"), ("throw-references", "x86_64:none")] {
        let mut words: Vec<OsString> =
            ["wdiff", "migrate", "--relay", relay].map(Into::into).to_vec();
        words.extend(named(name, &common::scratch()));
        let parsed = <wdiff::cli::Cli as clap::Parser>::try_parse_from(words)?;
        let wdiff::cli::Command::Migrate(args) = parsed.command else {
            return Err("`migrate` is not migrate".into());
        };
        let tried = wdiff::snapshot::mutants::try_all(&args, 600, 3);
        tally.add(tried.map_err(|error| error.to_string())?);
    }
    demand(tally.failures.is_empty(), || tally.failures.join("\n"))?;
    let exact = tally.fates.get("resumed exactly").copied().unwrap_or_default();
    demand(exact >= 100 && tally.fates.len() >= 3, || format!("{tally:?}"))
}

/// Scripts whose state is destroyed and restored at every stable point.
fn scripts() -> Result<(), Failed> {
    let scratch = common::scratch();
    let script = scratch.path().join("linked.wast");
    std::fs::write(&script, LINKED)?;
    for (opt, anchors) in
        [("none", "trap"), ("speed", "trap"), ("none", "srcloc"), ("speed", "srcloc")]
    {
        let file = scratch.path().join("report.json");
        let options = ["--restore", "--stable", "calls", "--opt", opt, "--anchors", anchors];
        let mut command = common::wdiff();
        command.arg("wast").args(options).args(["--format", "json", "--output"]).arg(&file);
        let output = command.arg(&script).output()?;
        let report = reports::json::from_str(&std::fs::read_to_string(&file)?)?;
        demand(output.status.code() == Some(0), || {
            reports::text::render(&report, reports::Style::plain())
        })?;
        let restored = report.stable_points.restored;
        demand(restored >= 20 && 2 * restored == report.stable_points.executed, || {
            format!("{:?}", report.stable_points)
        })?;
    }
    let output = common::wdiff().args(["wast", "--restore"]).arg(&script).output()?;
    demand(output.status.code() == Some(2), || format!("{output:?}"))
}

/// Two instances that share a memory, a table and a global and call each other.
const LINKED: &str = r#"
(module $a
  (memory (export "m") 1)
  (table (export "t") 4 funcref)
  (global $g (export "g") (mut i64) (i64.const 7))
  (tag $e (export "e") (param i32))
  (func (export "step") (param i32) (result i32)
    (i32.store (i32.const 8) (local.get 0))
    (global.set $g (i64.add (global.get $g) (i64.extend_i32_u (local.get 0))))
    (if (i32.eq (local.get 0) (i32.const 3)) (then (throw $e (i32.const 40))))
    (i32.add (local.get 0) (i32.const 1))))
(register "a")
(module $b
  (import "a" "m" (memory 1))
  (import "a" "t" (table 4 funcref))
  (import "a" "g" (global $g (mut i64)))
  (import "a" "e" (tag $e (param i32)))
  (import "a" "step" (func $step (param i32) (result i32)))
  (type $u (func (param i32) (result i32)))
  (elem (i32.const 1) $own $step)
  (func $own (param i32) (result i32) (local v128 exnref)
    (local.set 1 (i32x4.splat (local.get 0)))
    (i32.add (call $step (i32.const 5)) (i32x4.extract_lane 2 (local.get 1))))
  (func (export "run") (param $n i32) (result i32) (local $sum i32)
    (loop $l
      (local.set $sum (i32.add (local.get $sum)
        (call_indirect (type $u) (local.get $n) (i32.add (i32.const 1) (i32.and (local.get $n) (i32.const 1))))))
      (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $sum))
  (func (export "catches") (result i32)
    (block $h (result i32)
      (try_table (catch $e $h) (drop (call $step (i32.const 3))))
      (i32.const 0)))
  (func (export "g") (result i64) (global.get $g)))
(assert_return (invoke "run" (i32.const 2)) (i32.const 10))
(assert_return (invoke "catches") (i32.const 40))
(assert_return (invoke "g") (i64.const 16))
(assert_exception (invoke "run" (i32.const 6)))
"#;

fn snapshots() -> Result<(), Failed> {
    let scratch = common::scratch();
    let file = |name: &str| scratch.path().join(name);
    for (at, name) in [("50", "a"), ("51", "b"), ("50", "c")] {
        let mut args: Vec<OsString> =
            ["--relay", "x86_64:speed,oracle", "--at", at, "--save"].map(Into::into).to_vec();
        args.push(file(name).into());
        args.extend(named("n-queens", &common::scratch()));
        migrate(&args)?;
    }
    let ask = |args: &[&std::ffi::OsStr]| -> Result<(Option<i32>, String), Failed> {
        let output = common::wdiff().arg("snapshot").args(args).output()?;
        let text = [output.stdout, output.stderr].concat();
        Ok((output.status.code(), String::from_utf8_lossy(&text).into_owned()))
    };
    let (a, b, c) = (file("a"), file("b"), file("c"));
    let (code, text) = ask(&["show".as_ref(), a.as_ref()])?;
    demand(code == Some(0) && text.contains("frame 0"), || text.clone())?;
    let (code, text) = ask(&["diff".as_ref(), a.as_ref(), c.as_ref()])?;
    demand(code == Some(0), || text.clone())?;
    let (code, text) = ask(&["diff".as_ref(), a.as_ref(), b.as_ref()])?;
    demand(code == Some(1), || text.clone())?;
    let own = corpus::path("programs/n-queens/n-queens.wasm");
    let other = corpus::path("programs/fib/fib.wasm");
    let (code, text) = ask(&["check".as_ref(), a.as_ref(), own.as_ref()])?;
    demand(code == Some(0) && text.contains("can be resumed"), || text.clone())?;
    let (code, text) = ask(&["check".as_ref(), a.as_ref(), other.as_ref()])?;
    demand(code == Some(2) && text.contains("another program"), || text.clone())?;
    let mut bytes = std::fs::read(&a)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&b, &bytes)?;
    let (code, text) = ask(&["check".as_ref(), b.as_ref()])?;
    demand(code == Some(2) && text.contains("damaged"), || text.clone())
}

fn refused() -> Result<(), Failed> {
    let quicksort = corpus::path("programs/quicksort/quicksort.wasm");
    for (relay, code, what) in [
        ("x86_64:speed,mips:none", 2, "no such side"),
        ("oracle,oracle", 2, "hands nothing over"),
        ("x86_64:fast", 2, "no such side"),
    ] {
        let mut command = common::wdiff();
        let output = command.args(["migrate", "--relay", relay]).arg(&quicksort).output()?;
        let text = String::from_utf8_lossy(&output.stderr);
        demand(output.status.code() == Some(code) && text.contains(what), || text.to_string())?;
    }
    Ok(())
}
