//! How far a run of the fuzzer is, and what it has seen.
//!
//! Figures and position are written down together, so that a run which was
//! killed goes on from the last place written with figures that fit it: at most
//! the modules since then are tried twice, and counted once.

use super::execute::Outcome;
use crate::error::CommandError;
use crate::lockstep::stats::Seen;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Sums over all cases so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// The options that decide what the seeds stand for.
    pub options: String,
    /// Seeds tried.
    pub tried: u64,
    /// Modules that came of them.
    pub modules: u64,
    /// Of these, by where they come from.
    pub sources: BTreeMap<String, u64>,
    /// Modules with something that is not supported.
    pub unsupported: u64,
    /// Modules with something wrong.
    pub failed: u64,
    /// Executions by how they ended.
    pub endings: BTreeMap<String, u64>,
    /// Stops at boundaries.
    pub stops: u64,
    /// Choices of the subject that the oracle adopted.
    pub adopted: u64,
    /// Slots located, derived, constant, unavailable.
    pub all: [u64; 4],
    /// Live ones likewise.
    pub live: [u64; 4],
    /// What is wrong, numbers left out, and with how many modules.
    pub findings: BTreeMap<String, u64>,
}

impl Progress {
    /// Takes up where `path` says, if it exists.
    ///
    /// # Errors
    /// A file that is none of ours, or was written with other options.
    pub fn open(path: Option<&Path>, options: String) -> Result<Progress, CommandError> {
        let fresh = Progress { options, ..Progress::default() };
        let Some(path) = path else { return Ok(fresh) };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(fresh),
            Err(error) => return Err(CommandError::file("read", path, error)),
        };
        let found: Progress = serde_json::from_str(&text).map_err(|error| {
            CommandError::input(format_args!(
                "{}: no state of `wdiff fuzz`: {error}",
                path.display()
            ))
        })?;
        if found.options != fresh.options {
            return Err(CommandError::input(format_args!(
                "{}: written by `wdiff fuzz {}`, not by `wdiff fuzz {}`",
                path.display(),
                found.options,
                fresh.options
            )));
        }
        Ok(found)
    }

    /// Writes it down, all or nothing.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), CommandError> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let beside = Path::new(&beside);
        let text = serde_json::to_string_pretty(self).map_err(CommandError::bug)?;
        std::fs::write(beside, text).map_err(|e| CommandError::file("write", beside, e))?;
        std::fs::rename(beside, path).map_err(|e| CommandError::file("write", path, e))
    }

    /// Adds an outcome; answers how often what is wrong with it was seen before.
    pub fn add(&mut self, source: &str, outcome: &Outcome) -> Option<u64> {
        self.modules += 1;
        *self.sources.entry(source.to_owned()).or_default() += 1;
        self.unsupported += u64::from(outcome.unsupported.is_some());
        for (how, count) in &outcome.endings {
            *self.endings.entry((*how).to_owned()).or_default() += count;
        }
        self.stops += outcome.stops;
        self.adopted += outcome.adopted;
        for (sum, seen) in [(&mut self.all, &outcome.all), (&mut self.live, &outcome.live)] {
            let Seen { located, derived, constant, unavailable } = *seen;
            for (sum, more) in sum.iter_mut().zip([located, derived, constant, unavailable]) {
                *sum += more;
            }
        }
        let first = outcome.wrong.first()?;
        self.failed += 1;
        let times = self.findings.entry(signature(first)).or_default();
        *times += 1;
        Some(*times - 1)
    }

    /// For people.
    pub fn summary(&self) -> String {
        let seen = |[located, derived, constant, unavailable]: [u64; 4]| {
            format!(
                "{located} located, {derived} derived, {constant} constant, {unavailable} unavailable"
            )
        };
        let list = |counts: &BTreeMap<String, u64>| {
            let each = counts.iter().map(|(what, count)| format!("{count} {what}"));
            each.collect::<Vec<_>>().join(", ")
        };
        let mut text = format!(
            "{} seeds: {} modules, {} with something unsupported, {} wrong\n\
             sources: {}\nexecutions: {}\n{} stops, {} choices adopted\nslots: {}\nlive:  {}",
            self.tried,
            self.modules,
            self.unsupported,
            self.failed,
            list(&self.sources),
            list(&self.endings),
            self.stops,
            self.adopted,
            seen(self.all),
            seen(self.live)
        );
        for (what, count) in &self.findings {
            text.push_str(&format!("\nwrong, {count} times: {what}"));
        }
        text
    }
}

/// What two findings of one cause have in common: the words, not the numbers.
fn signature(what: &str) -> String {
    let words = what.split(|c: char| !c.is_alphabetic() && c != '_' && c != '.');
    let is_number = |word: &str| word.chars().all(|c| c.is_ascii_hexdigit() || c == 'x');
    let words: Vec<&str> = words.filter(|word| word.len() > 1 && !is_number(word)).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> Outcome {
        Outcome { wrong: vec![text.to_owned()], stops: 3, ..Outcome::default() }
    }

    #[test]
    fn findings_of_one_cause_are_one() {
        let mut progress = Progress::default();
        let one = "operand, function 3 at 0x1f2: stack0 is 0xdead, expected 7; rax";
        let other = "operand, function 0 at 0x99: stack4 is 12, expected 0xbeef; rax";
        assert_eq!(progress.add("smith", &wrong(one)), Some(0));
        assert_eq!(progress.add("smith", &wrong(other)), Some(1));
        assert_eq!(progress.add("corpus", &wrong("trap, function 3 at 0x1f2: none")), Some(0));
        assert_eq!(progress.add("corpus", &Outcome::default()), None);
        assert_eq!((progress.modules, progress.failed, progress.findings.len()), (4, 3, 2));
    }

    #[test]
    fn what_was_saved_is_taken_up() {
        let scratch = tempfile::tempdir().expect("a directory");
        let path = scratch.path().join("state");
        let open = |options: &str| Progress::open(Some(&path), options.to_owned());
        let mut progress = open("--seed 1").expect("a fresh one");
        progress.add("smith", &wrong("an exit"));
        progress.tried = 9;
        progress.save(&path).expect("writable");
        assert_eq!(open("--seed 1").expect("written just now"), progress);
        assert!(open("--seed 2").is_err());
        std::fs::write(&path, "{}").expect("writable");
        assert!(open("--seed 1").is_err());
    }
}
