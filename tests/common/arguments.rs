//! Programs of the corpus on the command line.

use corpus::Program;
use std::ffi::OsString;
use std::path::Path;
use tempfile::TempDir;

/// A program's options and arguments, with fresh copies of its directories.
pub fn arguments(program: &Program, scratch: &TempDir) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec![program.wasm_path().into()];
    for pair in &program.env {
        args.extend(["--env".into(), pair.into()]);
    }
    for (index, dir) in program.dirs.iter().enumerate() {
        let host = scratch.path().join(format!("dir{index}"));
        std::fs::create_dir(&host).expect("scratch directory");
        if let Some(from) = &dir.from {
            copy_files(&corpus::path(from), &host);
        }
        let mut option = host.into_os_string();
        option.push("::");
        option.push(&dir.guest);
        args.extend(["--dir".into(), option]);
    }
    if let Some(file) = &program.stdin {
        args.extend(["--stdin".into(), corpus::path(file).into_os_string()]);
    }
    match &program.invoke {
        Some(invoke) => {
            args.extend(["--invoke".into(), (&invoke.function).into(), "--".into()]);
            args.extend(invoke.params.iter().map(|value| value.hex_or_null()));
        }
        None if program.args.is_empty() => {}
        None => {
            args.push("--".into());
            args.extend(program.args.iter().map(OsString::from));
        }
    }
    args
}

trait Parameter {
    fn hex_or_null(&self) -> OsString;
}

impl Parameter for wasm_view::Value {
    fn hex_or_null(&self) -> OsString {
        use wasm_view::{InternalRef, Value};
        match self {
            Value::ExternRef(Some(InternalRef::Host(handle))) => handle.to_string().into(),
            Value::FuncRef(_) | Value::ExternRef(_) => "null".into(),
            number => number.hex().into(),
        }
    }
}

fn copy_files(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("corpus directory") {
        let entry = entry.expect("corpus file");
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copy");
    }
}
