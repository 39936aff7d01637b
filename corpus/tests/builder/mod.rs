//! Builds a program of the corpus from its source by the manifest's command.
//!
//! Shared by the example that rebuilds the corpus and by the test that the
//! committed modules are what the sources give.

use corpus::Program;
use std::collections::HashSet;
use std::process::Command;

/// One program for each module: several may be the same module.
pub fn modules(programs: &[Program]) -> Vec<&Program> {
    let mut seen = HashSet::new();
    programs.iter().filter(|program| seen.insert(&program.wasm)).collect()
}

/// Whether the program needs the C compiler.
#[allow(dead_code)] // the example has no use for it
pub fn needs_clang(program: &Program) -> bool {
    program.build.first().is_some_and(|tool| tool != "wat")
}

/// The module that the source gives. The command runs in the source's
/// directory; only its output goes elsewhere.
pub fn build(program: &Program) -> Result<Vec<u8>, String> {
    let source = program.source_path();
    let directory = source.parent().ok_or("the source has no directory")?;
    let (tool, args) = program.build.split_first().ok_or("no build command")?;
    if tool == "wat" {
        return wat::parse_file(&source).map_err(|e| e.to_string());
    }
    let output = tempfile::NamedTempFile::new().map_err(|e| e.to_string())?;
    let wasm = program.wasm_path();
    let file = wasm.file_name().ok_or("the module has no file name")?;
    let mut command = Command::new(tool);
    for arg in args {
        if arg.as_str() == file {
            command.arg(output.path())
        } else {
            command.arg(arg)
        };
    }
    let done = command.current_dir(directory).output().map_err(|e| format!("{tool}: {e}"))?;
    if !done.status.success() {
        return Err(format!("{}\n{}", done.status, String::from_utf8_lossy(&done.stderr)));
    }
    std::fs::read(output.path()).map_err(|e| e.to_string())
}
