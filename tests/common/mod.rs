//! Running the built command, as a stranger would.
#![allow(dead_code)]

pub mod arguments;
pub mod processes;

#[allow(unused_imports, reason = "not every test runs the corpus")]
pub use arguments::arguments;

use reports::Report;
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The command.
pub fn wdiff() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wdiff"));
    command.stdin(Stdio::null()).env("NO_COLOR", "1");
    command
}

/// The command, to be sent signals: whoever runs the tests in the background of a
/// script has SIGINT ignored, in all that it starts.
pub fn wdiff_for_signals() -> Command {
    let mut command = Command::new("env");
    command.arg("--default-signal=INT,QUIT,TERM,HUP").arg(env!("CARGO_BIN_EXE_wdiff"));
    command.stdin(Stdio::null()).env("NO_COLOR", "1");
    command
}

/// Whether to run a case of a cross product that takes an hour as a whole: the
/// `way`th of `ways` that are tried of the `number`th subject. A plain run takes
/// each subject one way, in turn, so that all ways are taken by some; all of it
/// is run with `WDIFF_WHOLE=1`.
pub fn is_drawn(number: usize, way: usize, ways: usize) -> bool {
    std::env::var_os("WDIFF_WHOLE").is_some() || number % ways == way
}

/// What a run left behind.
pub struct Ran {
    /// Exit code; `None` when killed.
    pub code: Option<i32>,
    /// What the program printed.
    pub stdout: Vec<u8>,
    /// What wdiff and the program said.
    pub stderr: String,
    /// The JSON report, where there is one.
    pub report: Option<Report>,
}

/// A run of `wdiff run ARGS` with a JSON report to a file.
pub fn run(args: &[OsString], scratch: &Path) -> Ran {
    let file = scratch.join("report.json");
    let _ = std::fs::remove_file(&file);
    let mut command = wdiff();
    command.arg("run").args(["--format", "json", "--output"]).arg(&file).args(args);
    finish(command.output().expect("wdiff starts"), &file)
}

/// Runs a command that must end by itself within a time.
pub fn within(mut command: Command, limit: Duration) -> Ran {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("wdiff starts");
    // Both pipes are drained meanwhile, or the child could block on a full one.
    let drain = |mut pipe: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = pipe.read_to_end(&mut bytes);
            bytes
        })
    };
    let stdout = child.stdout.take().map(|pipe| drain(Box::new(pipe)));
    let stderr = child.stderr.take().map(|pipe| drain(Box::new(pipe)));
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child of ours") {
            break status;
        }
        if began.elapsed() > limit {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{command:?} did not end within {limit:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let text = |handle: Option<JoinHandle<Vec<u8>>>| {
        handle.map(|handle| handle.join().expect("a reader")).unwrap_or_default()
    };
    Ran {
        code: status.code(),
        stdout: text(stdout),
        stderr: String::from_utf8_lossy(&text(stderr)).into_owned(),
        report: None,
    }
}

fn finish(output: Output, report: &Path) -> Ran {
    let text = std::fs::read_to_string(report).unwrap_or_default();
    Ran {
        code: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        report: (!text.is_empty()).then(|| {
            reports::json::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
        }),
    }
}

/// A scratch directory for one test.
pub fn scratch() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// A file of the corpus.
pub fn corpus_file(relative: &str) -> PathBuf {
    corpus::path(relative)
}
