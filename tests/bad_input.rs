//! Bad input of every kind: one clear line, the right exit code, no panic.
//!
//! Each case is a command line as a stranger might type it. A refusal says
//! what is wrong, at which byte where there is one, and what would do; it is
//! exit code 2 for what is wrong and 3 for what is right but not supported.

mod common;

use libtest_mimic::{Arguments, Failed, Trial};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

/// What is given to `wdiff`: words, with `@NAME` for a file of the scratch
/// directory and `%NAME` for one of the corpus.
struct Case {
    name: &'static str,
    line: &'static str,
    code: i32,
    says: &'static [&'static str],
}

const fn case(
    name: &'static str,
    line: &'static str,
    code: i32,
    says: &'static [&'static str],
) -> Case {
    Case { name, line, code, says }
}

/// A program with a function `_start`, one to invoke, and two of one name.
const PROGRAM: &str = r#"(module
  (memory (export "memory") 1)
  (func $twin (result i32) i32.const 1)
  (func $other (param i32 i64) (result i32) local.get 0 i32.const 1000 i32.add)
  (func (export "_start"))
  (export "other" (func $other)))"#;

const CASES: &[Case] = &[
    // Files.
    case("missing file", "run @missing.wasm", 2, &["cannot read", "missing.wasm", "No such file"]),
    case("directory", "run @dir", 2, &["is a directory", "expected a .wasm"]),
    case("empty file", "run @empty.wasm", 2, &["the file is empty"]),
    case("random text", "run @text.txt", 2, &["neither a Wasm module", "byte offset 0"]),
    case("binary rubbish", "run @rubbish", 2, &["neither a Wasm module"]),
    case("broken text format", "run @broken.wat", 2, &["broken.wat:1:9", "expected"]),
    case("invalid text format", "run @invalid.wat", 2, &["byte offset 0x", "type mismatch"]),
    case("map of a missing file", "map @missing.wasm", 2, &["cannot read"]),
    case("compile a missing file", "compile @missing.wasm -o @x", 2, &["cannot read"]),
    case("compile into nowhere", "compile @good.wasm -o @no/x", 2, &["cannot write"]),
    case("compile an image", "compile @good.img -o @x", 2, &["is an image already"]),
    // Modules.
    case("cut in the header", "run @cut5.wasm", 2, &["byte offset 0x4", "unexpected end"]),
    case("cut in a section", "run @cut20.wasm", 2, &["byte offset 0x", "unexpected end"]),
    case("a version that is none", "run @version.wasm", 2, &["byte offset 0x4", "version"]),
    case("a component", "run @component.wasm", 3, &["byte offset 0x0", "component model"]),
    case("a section beyond the file", "run @section.wasm", 2, &["byte offset 0x", "unexpected"]),
    case("locals without end", "run @locals4g.wasm", 2, &["byte offset 0x", "too many locals"]),
    case("more operands than anyone", "run @operands.wasm", 3, &["too large", "slots"]),
    case("a memory beyond 4 GiB", "run @mem65537.wasm", 2, &["byte offset 0x15", "0x10000"]),
    case("a table beyond room", "run @table11m.wasm", 3, &["byte offset 0x", "10000000"]),
    case("a table of 2^32 - 1", "run @table4g.wasm", 3, &["byte offset 0x", "4294967295"]),
    case("GC", "run @gc.wat", 3, &["GC", "byte offset 0x"]),
    case(
        "unknown import",
        "run @import.wat",
        2,
        &["unknown import env.f", "wasi_snapshot_preview1"],
    ),
    case("import of a wrong type", "run @import-type.wat", 2, &["fd_close", "[i32] -> [i32]"]),
    case(
        "import of a memory",
        "run @import-memory.wat",
        2,
        &["env.memory", "memory", "only functions"],
    ),
    case("no _start", "run @no-start.wat", 2, &["no function `_start`", "--invoke", "run"]),
    case("no export at all", "run @nothing.wat", 2, &["no function `_start`", "(none)"]),
    // Images.
    case("an ELF that is no image", "run @elf", 2, &["not an image", "wdiff compile"]),
    case("half an image", "run @half.img", 2, &["half.img", "not an image", "wdiff compile"]),
    case("an image without its map", "run @no-map.img", 2, &["no-map.img", ".wasm_map"]),
    case("an image of a later version", "run @later.img", 2, &["later.img", "version"]),
    case("only a header", "run @header.img", 2, &["header.img", "not an image"]),
    // Calls.
    case("unknown export", "run @good.wasm --invoke nope", 2, &["--invoke nope", "other"]),
    case(
        "too few parameters",
        "run @good.wasm --invoke other -- 1",
        2,
        &["1 parameters", "2 needed"],
    ),
    case("too many parameters", "run @good.wasm --invoke other -- 1 2 3", 2, &["3 parameters"]),
    case("a parameter that is none", "run @good.wasm --invoke other -- 1 x", 2, &["x is no i64"]),
    case("a parameter too large", "run @good.wasm --invoke other -- 4294967296 1", 2, &["no i32"]),
    // Places.
    case("break at an unknown name", "run @good.wasm --break nope", 2, &["--break nope", "#N"]),
    case("break at an unknown index", "run @good.wasm --break #99", 2, &["#99", "3 functions"]),
    case("break at no index", "run @good.wasm --break #x", 2, &["#x", "function index"]),
    case("break inside an instruction", "run @good.wasm --break other:0x40", 2, &["nearest is 0x"]),
    case("break at no offset", "run @good.wasm --break other:here", 2, &["here", "byte offset"]),
    case("break at an ambiguous name", "run @twins.wasm --break twin", 2, &["ambiguous", "#1"]),
    case("break in an import", "run @wasi.wat --break #0:0x10", 2, &["is imported"]),
    case("core without a place", "run @good.wasm --core @x", 2, &["--at"]),
    case("place without a core", "run @good.wasm --at other:1", 2, &["--core"]),
    case(
        "core at no boundary",
        "run @good.wasm --core @x --at other:1",
        2,
        &["--at", "nearest is"],
    ),
    case("core at no count", "run @good.wasm --core @x --at other:1#z", 2, &["count from 1"]),
    case("core never reached", "run @good.wasm --core @x --at other:#OTHER", 2, &["that often"]),
    case("map of an unknown function", "map @good.wasm --func nope", 2, &["nope"]),
    case("inject nonsense", "run @good.wasm --inject nonsense", 2, &["code:FUNC:OFFSET:KIND"]),
    case("inject nowhere", "run @good.wasm --inject map:nope:1:local0", 2, &["nope"]),
    // Options.
    case("no program", "run", 2, &["<PROG>", "--help"]),
    case("unknown option", "run @good.wasm --bogus", 2, &["--bogus", "--help"]),
    case("unknown subcommand", "walk @good.wasm", 2, &["walk", "no such subcommand", "--help"]),
    case(
        "unknown value",
        "run @good.wasm --engine magic",
        2,
        &["--engine magic", "int3, probe, rsp"],
    ),
    case("unknown format", "run @good.wasm --format xml", 2, &["xml", "text, json"]),
    case("unknown CPU feature", "run @good.wasm --cpu +magic", 2, &["magic", "avx2"]),
    case("timeout 0", "run @good.wasm --timeout 0", 2, &["'0'", "--timeout", "above 0"]),
    case("timeout -1", "run @good.wasm --timeout=-1", 2, &["'-1'", "--timeout", "above 0"]),
    case("timeout nan", "run @good.wasm --timeout nan", 2, &["'nan'", "--timeout"]),
    case("timeout inf", "run @good.wasm --timeout inf", 2, &["'inf'", "--timeout"]),
    case("timeout 1e400", "run @good.wasm --timeout 1e400", 2, &["--timeout"]),
    case("max-stops 0", "run @good.wasm --max-stops 0", 2, &["'0'", "--max-stops"]),
    case("max-stops 2^64", "run @good.wasm --max-stops 18446744073709551616", 2, &["--max-stops"]),
    case("missing directory", "run @good.wasm --dir @no::/", 2, &["no", "directory"]),
    case("a file for a directory", "run @good.wasm --dir @good.wasm::/", 2, &["not a directory"]),
    case("a directory without a name", "run @good.wasm --dir @dir::", 2, &["HOST::GUEST"]),
    case("a variable without a value", "run @good.wasm --env HOME", 2, &["--env HOME", "K=V"]),
    case("missing input", "run @good.wasm --stdin @no", 2, &["standard input", "No such file"]),
    case("output into nowhere", "run @good.wasm --output @no/x", 2, &["cannot write"]),
    case("log into nowhere", "run @good.wasm --record @no/x", 2, &["cannot write"]),
    case("missing log", "run @good.wasm --replay @no", 2, &["cannot read"]),
    case("a log that is none", "run @good.wasm --replay @text.txt", 2, &["text.txt", "line 1"]),
    case("an empty log", "run @good.wasm --replay @empty.wasm", 2, &["empty"]),
    case(
        "record and replay",
        "run @good.wasm --record @a --replay @b",
        2,
        &["--record", "--replay"],
    ),
    // The contract's options that are not built.
    case("probe", "run @good.wasm --engine probe", 3, &["--engine probe is not built yet", "int3"]),
    case("rsp", "run @good.wasm --engine rsp", 3, &["--engine rsp is not built yet"]),
    case("stable", "run @good.wasm --stable some", 2, &["--stable", "off, entry, loops, calls"]),
    case("paranoid", "run @good.wasm --paranoid", 2, &["--paranoid", "see --stable"]),
    case("anchors", "run @good.wasm --anchors none", 2, &["--anchors none: no such value"]),
    case(
        "target",
        "run @good.wasm --target mips",
        2,
        &["--target mips", "aarch64, riscv64, s390x"],
    ),
    case("foreign wast", "wast @text.txt --target s390x", 3, &["wast for s390x is not built yet"]),
    case(
        "foreign selftest",
        "selftest --target aarch64",
        3,
        &["selftest for aarch64 is not built yet"],
    ),
    case(
        "foreign srcloc",
        "compile @good.wasm -o @no/x --anchors srcloc --target riscv64",
        3,
        &["--anchors srcloc for riscv64 is not built yet"],
    ),
    case("changed", "run @good.wasm --compare changed", 3, &["--compare changed is not built yet"]),
    case("sample", "run @good.wasm --sample 2", 3, &["--sample is not built yet"]),
    case("from-boundary", "run @good.wasm --from-boundary 2", 3, &["--from-boundary is not built"]),
    case("wamr", "run @good.wasm --backend wamr", 3, &["--backend wamr is not built yet"]),
    case("migrate without relay", "migrate @good.wasm", 2, &["--relay"]),
    case(
        "migrate to nowhere",
        "migrate @good.wasm --relay oracle,mips:none",
        2,
        &["--relay mips:none: no such side", "aarch64|riscv64|s390x"],
    ),
    case(
        "hand-over srcloc",
        "migrate @good.wasm --relay oracle,x86_64:none --anchors srcloc --break hand-over",
        3,
        &["--break hand-over with --anchors srcloc is not built yet"],
    ),
    case("bisect srcloc", "bisect @good.wasm --anchors srcloc", 3, &["srcloc is not built yet"]),
    case("bisect a core", "bisect @good.wasm --core x --at f:1", 2, &["--core", "wdiff run"]),
    case("bisect nothing", "bisect nowhere", 2, &["cannot read nowhere"]),
    case(
        "level of a function",
        "run @good.wasm --opt-of f",
        2,
        &["--opt-of f: expected FUNC:LEVEL"],
    ),
    case("bug everywhere", "run @good.wasm --inject every:i32.add:x", 2, &["no kind x"]),
    case("gate of nothing", "gate nowhere", 2, &["nowhere"]),
    case(
        "gate without baseline",
        "gate @good.wasm --baseline none.json",
        2,
        &["none.json", "--update-baseline"],
    ),
    case("gate, bad shard", "gate @good.wasm --shard 3/2", 2, &["I/N"]),
    case("merge of no report", "report merge @good.wasm", 2, &["good.wasm"]),
    case("explain nonsense", "explain nonsense", 2, &["wdiff explain"]),
    case("snapshot of nothing", "snapshot show nowhere", 2, &["cannot read nowhere"]),
    case("no snapshot", "snapshot show @good.wasm", 2, &["not a snapshot"]),
    case("resume of what", "snapshot resume x", 2, &["--module"]),
    case("resume", "snapshot resume nowhere --module @good.wasm", 2, &["cannot read nowhere"]),
    case("debug", "debug @good.wasm", 3, &["wdiff debug is not built yet"]),
];

/// Absurd, but legal: these must end by themselves with a report.
const ABSURD: &[Case] = &[
    case("100,000 nested blocks", "run @nest.wasm --max-stops 2000", 3, &["2000 stops"]),
    case("100,000 nested loops", "run @nest-loop.wasm --max-stops 2000", 3, &["2000 stops"]),
    case("br_table of 100,000", "run @br-table.wasm", 0, &["match"]),
    case("49,000 locals", "run @locals49k.wasm", 0, &["match"]),
    case("100,000 functions", "run @functions.wasm", 0, &["match"]),
    case("a memory of 4 GiB", "run @mem65536.wasm", 0, &["match"]),
    case("a table of 10,000,000", "run @table10m.wasm", 0, &["match"]),
    case("the most stops", "run @good.wasm --max-stops 18446744073709551615", 0, &["match"]),
    case("the longest timeout", "run @good.wasm --timeout 1e9", 0, &["match"]),
    case("endless loop", "run @endless.wat --max-stops 5000", 3, &["5000 stops"]),
    case("endless loop, time", "run @endless.wat --timeout 0.3", 3, &["--timeout"]),
];

fn main() {
    let arguments = Arguments::from_args();
    let scratch = common::scratch();
    let root = scratch.path().to_owned();
    prepare(&root);
    let trial = |case: &'static Case, report: bool| {
        let root = root.clone();
        Trial::test(case.name, move || check(case, report, &root))
    };
    let mut trials: Vec<Trial> = CASES.iter().map(|case| trial(case, false)).collect();
    trials.extend(ABSURD.iter().map(|case| trial(case, true)));
    trials.push({
        let root = root.clone();
        Trial::test("damaged images", move || damaged_images(&root))
    });
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop(scratch);
    conclusion.exit();
}

fn check(case: &Case, report: bool, root: &Path) -> Result<(), Failed> {
    let words = case.line.split_whitespace().map(|word| -> OsString {
        match word.strip_prefix('@').map(|name| root.join(name)) {
            Some(path) => path.into(),
            None => word.replace(":#OTHER", &format!(":{}", other_offset(root))).into(),
        }
    });
    let mut command = common::wdiff();
    command.args(words);
    let ran = common::within(command, LIMIT);
    let said = &ran.stderr;
    let fail =
        |what: &str| Err(Failed::from(format!("{what}; exit {:?}, said:\n{said}", ran.code)));
    if ran.code != Some(case.code) {
        return fail(&format!("expected exit {}", case.code));
    }
    if said.contains("panicked") {
        return fail("it panicked");
    }
    for word in case.says {
        if !said.contains(word) {
            return fail(&format!("nothing is said of {word:?}"));
        }
    }
    let kind = if case.code == 2 { "wdiff: error: " } else { "wdiff: inconclusive: " };
    if !report && (said.trim_end().lines().count() != 1 || !said.starts_with(kind)) {
        return fail("a refusal is one line that says its kind");
    }
    Ok(())
}

/// The first boundary of `other`, which `_start` never calls.
fn other_offset(root: &Path) -> String {
    let mut command = common::wdiff();
    command.arg("map").arg(root.join("good.wasm")).args(["--func", "other"]);
    let text = String::from_utf8(common::within(command, LIMIT).stdout).expect("text");
    let line = text.lines().find(|line| line.contains("local.get")).expect("a first instruction");
    line.split_whitespace().next().expect("an offset").to_string()
}

/// Images with single bytes changed all over: whatever they do, they do it in
/// the sandbox, and wdiff ends by itself with a verdict or a refusal.
fn damaged_images(root: &Path) -> Result<(), Failed> {
    let image = std::fs::read(root.join("good.img")).map_err(|error| error.to_string())?;
    let file = root.join("damaged.img");
    let mut codes = std::collections::BTreeMap::<i32, u32>::new();
    let mut rng = corpus::SplitMix64::new(7);
    for round in 0..400 {
        let mut bytes = image.clone();
        let mut places = Vec::new();
        for _ in 0..1 + round % 3 {
            let at = rng.below(bytes.len());
            places.push(at);
            bytes[at] = match rng.below(3) {
                0 => bytes[at] ^ 1 << rng.below(8),
                1 => 0xff,
                _ => rng.next_u64() as u8,
            };
        }
        if round % 10 == 9 {
            bytes.truncate(rng.below(bytes.len()));
        }
        std::fs::write(&file, &bytes).map_err(|error| error.to_string())?;
        let mut command = common::wdiff();
        if round % 4 == 0 {
            command.args(["map", "--check"]).arg(&file);
        } else {
            command.arg("run").arg(&file).args(["--max-stops", "500", "--timeout", "5"]);
        }
        let ran = common::within(command, LIMIT);
        let code = ran.code.unwrap_or(-1);
        *codes.entry(code).or_default() += 1;
        if !(0..=3).contains(&code) || ran.stderr.contains("panicked") {
            return Err(format!("bytes {places:?}: exit {code}\n{}", ran.stderr).into());
        }
    }
    if codes.get(&2).is_none_or(|refused| *refused < 50) {
        return Err(format!("hardly any damaged image was refused: {codes:?}").into());
    }
    Ok(())
}

/// Writes the files that the cases name.
fn prepare(root: &Path) {
    let put = |name: &str, bytes: &[u8]| std::fs::write(root.join(name), bytes).expect("a file");
    std::fs::create_dir(root.join("dir")).expect("a directory");
    put("empty.wasm", b"");
    put("text.txt", b"Once upon a time\nthere was a module.\n");
    put("rubbish", &[0xde, 0xad, 0xbe, 0xef, 0, 1, 2, 3]);
    put("broken.wat", b"(module what)");
    put("invalid.wat", b"(module (func (result i32) i64.const 1))");

    let good = wat::parse_str(PROGRAM).expect("a program");
    put("good.wasm", &good);
    put("cut5.wasm", &good[..5]);
    put("cut20.wasm", &good[..20]);
    put("version.wasm", b"\0asm\x02\0\0\0");
    put("component.wasm", b"\0asm\x0d\0\x01\0");
    put("section.wasm", b"\0asm\x01\0\0\0\x01\xff\xff\xff\xff\x0f\x01\x60\0\0");
    modules(root);
    for (name, text) in TEXTS {
        put(&format!("{name}.wat"), text.as_bytes());
    }
    put("twins.wasm", &twins());
    images(root);
}

const TEXTS: &[(&str, &str)] = &[
    (
        "gc",
        r#"(module (type (struct (field i32))) (func (export "_start") i32.const 1 struct.new 0 drop))"#,
    ),
    ("import", r#"(module (import "env" "f" (func)) (func (export "_start")))"#),
    (
        "import-type",
        r#"(module (import "wasi_snapshot_preview1" "fd_close" (func (param i64))) (func (export "_start")))"#,
    ),
    ("import-memory", r#"(module (import "env" "memory" (memory 1)) (func (export "_start")))"#),
    ("no-start", r#"(module (func (export "run")))"#),
    ("nothing", "(module)"),
    (
        "wasi",
        r#"(module (import "wasi_snapshot_preview1" "fd_close" (func (param i32) (result i32))) (func (export "_start")))"#,
    ),
    ("endless", r#"(module (func (export "_start") (loop (br 0))))"#),
];

/// Two functions that the name section calls the same.
fn twins() -> Vec<u8> {
    let mut module = wat::parse_str(
        r#"(module (func (export "_start")) (func $twim (nop)) (func $twin (nop)))"#,
    )
    .expect("a program");
    let at = module.windows(4).position(|name| name == b"twim").expect("a name");
    module[at + 3] = b'n';
    module
}

fn leb(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        bytes.push(if value == 0 { low } else { low | 0x80 });
        if value == 0 {
            return bytes;
        }
    }
}

fn section(id: u8, payload: &[u8]) -> Vec<u8> {
    [&[id][..], &leb(payload.len() as u64), payload].concat()
}

/// A module whose `_start` is `body`, with a section before the exports.
fn module(locals: &[u8], body: &[u8], before: &[u8]) -> Vec<u8> {
    let function = [locals, body, &[0x0b]].concat();
    let code = [&[1][..], &leb(function.len() as u64), &function].concat();
    [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, &[1, 0x60, 0, 0]),
        section(3, &[1, 0]),
        before.to_vec(),
        section(7, b"\x01\x06_start\0\0"),
        section(10, &code),
    ]
    .concat()
}

/// Modules with large numbers in them.
fn modules(root: &Path) {
    let put = |name: &str, locals: &[u8], body: &[u8], before: &[u8]| {
        let bytes = module(locals, body, before);
        std::fs::write(root.join(format!("{name}.wasm")), bytes).expect("a file");
    };
    const DEEP: usize = 100_000;
    let none = &[0][..];
    let locals = |count: u64| [&[1][..], &leb(count), &[0x7f]].concat();
    let nest = |open: u8| [[open, 0x40].repeat(DEEP), vec![0x0b; DEEP]].concat();
    put("nest", none, &nest(0x02), &[]);
    put("nest-loop", none, &nest(0x03), &[]);
    let targets =
        [&[0x02, 0x40, 0x41, 5, 0x0e][..], &leb(DEEP as u64), &vec![0; DEEP + 1], &[0x0b]].concat();
    put("br-table", none, &targets, &[]);
    put("operands", none, &[[0x41, 0].repeat(20_000), vec![0x1a; 20_000]].concat(), &[]);
    put("locals49k", &locals(49_000), &[], &[]);
    put("locals4g", &locals(u64::from(u32::MAX)), &[], &[]);
    for pages in [65_536, 65_537] {
        let memory = section(5, &[&[1, 0][..], &leb(pages)].concat());
        put(&format!("mem{pages}"), none, &[], &memory);
    }
    for (name, elements) in
        [("table10m", 10_000_000), ("table11m", 10_000_001), ("table4g", u64::from(u32::MAX))]
    {
        let table = section(4, &[&[1, 0x70, 0][..], &leb(elements)].concat());
        put(name, none, &[], &table);
    }
    let count = leb(DEEP as u64);
    let functions = [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, &[1, 0x60, 0, 0]),
        section(3, &[&count[..], &vec![0; DEEP]].concat()),
        section(7, b"\x01\x06_start\0\0"),
        section(10, &[&count[..], &[2, 0, 0x0b].repeat(DEEP)].concat()),
    ];
    std::fs::write(root.join("functions.wasm"), functions.concat()).expect("a file");
}

/// An image, and damaged ones.
fn images(root: &Path) {
    let path = |name: &str| -> PathBuf { root.join(name) };
    let compile = |to: &str, options: &[&str]| -> Vec<u8> {
        let mut command = common::wdiff();
        command.arg("compile").arg(path("good.wasm")).arg("-o").arg(path(to)).args(options);
        let ran = common::within(command, LIMIT);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        std::fs::read(path(to)).expect("the image")
    };
    let image = compile("good.img", &[]);
    let put = |name: &str, bytes: &[u8]| std::fs::write(path(name), bytes).expect("a file");
    put("half.img", &image[..image.len() / 2]);
    put("header.img", &image[..64]);
    let edit = |from: &[u8], to: &[u8]| {
        let mut bytes = image.clone();
        let at = bytes.windows(from.len()).rposition(|window| window == from);
        let at = at.expect("the image holds this");
        bytes[at..at + to.len()].copy_from_slice(to);
        bytes
    };
    put("no-map.img", &edit(b".wasm_map\0", b".wasm_mop\0"));
    let mut later = compile("later.img", &["--compress-debug-sections", "none"]);
    let map = later.windows(8).position(|window| window == MAP_MAGIC).expect("a map");
    later[map + 8] = 0x7f;
    put("later.img", &later);
    std::fs::copy("/proc/self/exe", path("elf")).expect("this program");
}

/// How a map begins; its version follows.
const MAP_MAGIC: &[u8] = b"wasm_map";
