//! Does a script show the fault to whoever runs it?
//!
//! A cut is judged bare, in a process that has nothing else in it. A script is
//! run by `wdiff wast`, beside the suite's own module, with every boundary
//! compared, so that data lie elsewhere. Code that takes an address for a number
//! may be wrong in the one and right in the other. So what the judge would take
//! is run once more by the very command that the report names, and a script that
//! does not show the fault there is none.

use super::compiler::Compiler;
use super::cut::Cut;
use super::judge::Answer;
use super::script;
use crate::error::CommandError;
use std::path::Path;
use std::process::{Command, Stdio};

/// Seconds that a script may take: its code was done in two, or did not end.
const PATIENCE: &str = "10";
/// `wdiff wast` ends with it if all is well.
const MATCH: i32 = 0;
/// `wdiff wast` ends with it on a divergence.
const DIVERGENCE: i32 = 1;

/// The command line that runs a cut's script with a compiler, program first;
/// `None` if the compiler's fault has no place in the cut.
pub fn command(compiler: &Compiler, cut: &Cut, script: &Path) -> Option<Vec<String>> {
    let binary = match &compiler.binary {
        Some(binary) => binary.display().to_string(),
        None => "wdiff".to_owned(),
    };
    let mut words = vec![binary, "wast".to_owned(), script.display().to_string()];
    words.extend(compiler.words.iter().cloned());
    if let Some(fault) = compiler.fault_in(&cut.moved)? {
        // Instance 0 is the suite's own module.
        words.extend(["--inject".to_owned(), format!("1@{fault}")]);
    }
    Some(words)
}

/// Runs the script with the compiler at fault, with which it must fail, and with
/// the one that is not, if there is one, with which it must pass. The inner
/// result says what it did instead.
///
/// # Errors
/// What the host refuses.
pub fn confirm(
    cut: &Cut,
    right: &Answer,
    bad: &Compiler,
    good: Option<&Compiler>,
) -> Result<Result<(), String>, CommandError> {
    let scratch = tempfile::tempdir().map_err(CommandError::host)?;
    let path = scratch.path().join("cut.wast");
    std::fs::write(&path, script::write(cut, right, &[])).map_err(CommandError::host)?;
    let own = std::env::current_exe().map_err(CommandError::host)?;
    let expected = [(bad, DIVERGENCE)].into_iter().chain(good.map(|good| (good, MATCH)));
    for (compiler, code) in expected {
        let Some(words) = command(compiler, cut, &path) else {
            return Ok(Err("the fault has no place in its script".to_owned()));
        };
        let binary = compiler.binary.as_ref().unwrap_or(&own);
        let mut child = Command::new(binary);
        child.args(&words[1..]).args(["--timeout", PATIENCE]);
        child.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let status = child.status().map_err(|error| CommandError::file("run", binary, error))?;
        if status.code() != Some(code) {
            return Ok(Err(format!(
                "its script, run by {} wast with {}, ended with {status} and not with {code}",
                words[0], compiler.name
            )));
        }
    }
    Ok(Ok(()))
}
