//! The corpus is what it says it is: complete, supported, typed as declared,
//! and built from its sources.

mod builder;

use corpus::{Expected, Program, manifest, path};
use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use wasm_view::{Trap, ValType};
use wasmparser::{ExternalKind, FuncType, Parser, Payload, TypeRef, Validator, WasmFeatures};

/// What `wdiff` supports; a program that needs more has no place here.
fn supported() -> WasmFeatures {
    WasmFeatures::MUTABLE_GLOBAL
        | WasmFeatures::SATURATING_FLOAT_TO_INT
        | WasmFeatures::SIGN_EXTENSION
        | WasmFeatures::MULTI_VALUE
        | WasmFeatures::BULK_MEMORY
        | WasmFeatures::REFERENCE_TYPES
        | WasmFeatures::EXTENDED_CONST
        | WasmFeatures::SIMD
        | WasmFeatures::FUNCTION_REFERENCES
        | WasmFeatures::MULTI_MEMORY
        | WasmFeatures::WIDE_ARITHMETIC
        | WasmFeatures::CUSTOM_PAGE_SIZES
        | WasmFeatures::MEMORY64
        | WasmFeatures::THREADS
        | WasmFeatures::TAIL_CALL
        | WasmFeatures::EXCEPTIONS
        | WasmFeatures::LEGACY_EXCEPTIONS
        | WasmFeatures::FLOATS
        | WasmFeatures::GC_TYPES
}

/// Says something even though the test passes: the test harness does not
/// capture what is written this way.
fn loudly(message: &str) {
    let _ = writeln!(std::io::stderr(), "\n*** {message}\n");
}

#[test]
fn names_are_unique_and_every_file_is_there() {
    let mut names = HashSet::new();
    for program in manifest() {
        assert!(names.insert(program.name.clone()), "{} is listed twice", program.name);
        assert!(program.source_path().is_file(), "{}", program.source);
        assert!(!program.wasm().unwrap().is_empty(), "{}", program.wasm);
        program.stdin_bytes().unwrap();
        program.expected_stdout().unwrap();
        for dir in &program.dirs {
            assert!(dir.from.as_ref().is_none_or(|from| path(from).is_dir()), "{}", program.name);
        }
        assert!(program.env.iter().all(|entry| entry.contains('=')), "{}", program.name);
        let uncounted =
            program.name == "traps/endless-recursion" || program.name.starts_with("legacy-");
        assert_eq!(program.instructions.is_none(), uncounted, "{}", program.name);
        if let Expected::Trap(text) = &program.expected {
            let known = Trap::ALL.iter().any(|trap| trap.text() == text);
            assert!(known || text == "uncaught exception", "{}: {text}", program.name);
        }
    }
    assert!(names.len() >= 100);
    assert!(corpus::quick().len() >= 90);
}

/// Traps of proposals that no compiler here has: objects, exceptions.
const WITHOUT_PROGRAM: &[Trap] = &[
    Trap::NullStructureReference,
    Trap::NullArrayReference,
    Trap::NullI31Reference,
    Trap::NullExceptionReference,
    Trap::CastFailure,
    Trap::ArrayOutOfBounds,
];

#[test]
fn every_trap_has_a_program() {
    let programs = manifest();
    for trap in Trap::ALL.iter().filter(|trap| !WITHOUT_PROGRAM.contains(trap)) {
        let expected = Expected::Trap(trap.text().to_owned());
        assert!(programs.iter().any(|program| program.expected == expected), "{trap}");
    }
}

#[test]
fn every_module_is_listed_and_all_are_small() {
    let listed: HashSet<_> = manifest().iter().map(Program::wasm_path).collect();
    let mut total = 0;
    for directory in std::fs::read_dir(path("programs")).unwrap() {
        for file in std::fs::read_dir(directory.unwrap().path()).unwrap() {
            let file = file.unwrap().path();
            if file.extension().is_some_and(|extension| extension == "wasm") {
                assert!(listed.contains(&file), "{} is not in the manifest", file.display());
                total += file.metadata().unwrap().len();
            }
        }
    }
    assert!(total < 3_000_000, "{total} bytes of modules");
}

/// The exported functions' types.
fn exports(module: &[u8]) -> BTreeMap<String, FuncType> {
    let (mut types, mut functions, mut found) = (Vec::new(), Vec::new(), BTreeMap::new());
    for payload in Parser::new(0).parse_all(module) {
        match payload.unwrap() {
            Payload::TypeSection(section) => {
                types = section.into_iter_err_on_gc_types().map(Result::unwrap).collect();
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    if let TypeRef::Func(ty) = import.unwrap().ty {
                        functions.push(ty);
                    }
                }
            }
            Payload::FunctionSection(section) => {
                functions.extend(section.into_iter().map(Result::unwrap));
            }
            Payload::ExportSection(section) => {
                for export in section.into_iter().map(Result::unwrap) {
                    if export.kind == ExternalKind::Func {
                        let ty = functions[export.index as usize] as usize;
                        found.insert(export.name.to_owned(), types[ty].clone());
                    }
                }
            }
            _ => {}
        }
    }
    found
}

fn types(values: &[wasm_view::Value]) -> Vec<ValType> {
    values.iter().map(|value| value.ty()).collect()
}

fn ours(types: &[wasmparser::ValType]) -> Vec<ValType> {
    types
        .iter()
        .map(|ty| match *ty {
            wasmparser::ValType::I32 => ValType::I32,
            wasmparser::ValType::I64 => ValType::I64,
            wasmparser::ValType::F32 => ValType::F32,
            wasmparser::ValType::F64 => ValType::F64,
            wasmparser::ValType::FUNCREF => ValType::FUNCREF,
            wasmparser::ValType::EXTERNREF => ValType::EXTERNREF,
            other => panic!("not supported: {other}"),
        })
        .collect()
}

#[test]
fn modules_are_supported_and_typed_as_the_manifest_says() {
    for program in manifest() {
        let module = program.wasm().unwrap();
        Validator::new_with_features(supported())
            .validate_all(&module)
            .unwrap_or_else(|error| panic!("{}: {error}", program.name));
        let exports = exports(&module);
        let Some(invoke) = &program.invoke else {
            let start = exports.get("_start").expect("a command has a _start");
            assert!(start.params().is_empty() && start.results().is_empty());
            continue;
        };
        let function = exports
            .get(&invoke.function)
            .unwrap_or_else(|| panic!("{}: no export `{}`", program.name, invoke.function));
        assert_eq!(ours(function.params()), types(&invoke.params), "{}", program.name);
        if let Expected::Results(results) = &program.expected {
            assert_eq!(ours(function.results()), types(results), "{}", program.name);
        }
    }
}

#[test]
fn modules_from_c_have_debugging_information() {
    for program in manifest().iter().filter(|program| builder::needs_clang(program)) {
        let module = program.wasm().unwrap();
        let has_lines = Parser::new(0).parse_all(&module).any(|payload| {
            matches!(payload, Ok(Payload::CustomSection(section)) if section.name() == ".debug_line")
        });
        assert!(has_lines, "{}", program.name);
    }
}

#[test]
fn modules_are_what_their_sources_give() {
    let programs = manifest();
    let clang = std::process::Command::new("clang-14").arg("--version").output();
    let sysroot = std::path::Path::new("/usr/include/wasm32-wasi").is_dir();
    let can_build_c = clang.is_ok_and(|done| done.status.success()) && sysroot;
    if !can_build_c {
        loudly(
            "NOT CHECKED: clang-14 or wasi-libc is missing, the modules from C were not rebuilt",
        );
    }
    for program in builder::modules(&programs) {
        if builder::needs_clang(program) && !can_build_c {
            continue;
        }
        let built = builder::build(program).unwrap_or_else(|e| panic!("{}: {e}", program.name));
        assert!(
            built == program.wasm().unwrap(),
            "{} is not what {} gives; run `cargo run -p corpus --example build`",
            program.wasm,
            program.source,
        );
    }
}

/// The generator is of use: most mutants are invalid, each for its own
/// reason, but some are valid.
#[test]
fn mutants_of_real_modules_are_of_every_sort() {
    for (name, most_valid) in [("tables", 60), ("sha256", 90)] {
        let module = corpus::program(name).unwrap().wasm().unwrap();
        let mut valid = 0;
        let mut errors = HashSet::new();
        for mutant in corpus::mutants(11, &module).take(1000) {
            match Validator::new_with_features(supported()).validate_all(&mutant.bytes) {
                Ok(_) => valid += 1,
                Err(error) => {
                    errors.insert(error.message().to_owned());
                }
            }
        }
        assert!(valid > 20 && valid < most_valid * 10, "{name}: {valid} of 1000 are valid");
        assert!(errors.len() > 50, "{name}: only {} different errors", errors.len());
    }
}
