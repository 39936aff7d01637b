//! The section of a run of scripts: what became of their assertions.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Assertions of scripts of the specification's test suite.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Wast {
    /// Scripts run.
    pub scripts: u64,
    /// Instances made on both sides.
    pub instances: u64,
    /// Assertions about what code does that hold, the code having been executed
    /// in lockstep.
    pub lockstep: u64,
    /// Assertions that hold and execute nothing: that a module is invalid,
    /// malformed or does not link.
    pub validation: u64,
    /// Assertions about the text format, which test nothing of wdiff's.
    pub text_format: u64,
    /// Assertions that a module is invalid which it no longer is.
    pub superseded: u64,
    /// Assertions and modules that were not run, by reason.
    pub not_run: BTreeMap<String, u64>,
    /// Assertions that do not hold although both sides agree, each with its
    /// place in its script.
    pub failures: Vec<String>,
    /// Where a script ended early, `FILE:LINE:COLUMN`; `None` if none did.
    #[serde(deserialize_with = "Option::deserialize")]
    pub ended_at: Option<String>,
}

impl Wast {
    /// Adds another script's.
    pub fn add(&mut self, other: Wast) {
        self.scripts = self.scripts.saturating_add(other.scripts);
        self.instances = self.instances.saturating_add(other.instances);
        self.lockstep = self.lockstep.saturating_add(other.lockstep);
        self.validation = self.validation.saturating_add(other.validation);
        self.text_format = self.text_format.saturating_add(other.text_format);
        self.superseded = self.superseded.saturating_add(other.superseded);
        for (reason, count) in other.not_run {
            let sum = self.not_run.entry(reason).or_default();
            *sum = sum.saturating_add(count);
        }
        self.failures.extend(other.failures);
        if self.ended_at.is_none() {
            self.ended_at = other.ended_at;
        }
    }

    /// Assertions and modules that were not run.
    pub fn left_out(&self) -> u64 {
        self.not_run.values().fold(0, |sum, count| sum.saturating_add(*count))
    }
}
