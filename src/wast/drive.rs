//! A script's calls, executed by AOT code beside the oracle.
//!
//! The script runner owns the oracle and decides what is called and what should
//! come of it. This driver lends its oracle to the lockstep for the length of
//! a call, and has each module instantiated in the subject when the oracle has
//! instantiated it. The first difference ends the script.

use super::plan::Plan;
use crate::availability;
use crate::error::CommandError;
use crate::lockstep::finding::Watch;
use crate::lockstep::follow::{Host, Requests};
use crate::lockstep::stats::{Stats, Summary};
use crate::lockstep::stops::Control;
use crate::lockstep::{Ending, Finding, Lockstep};
use crate::session;
use oracle_interp::script::{self, Driver, Outcome, Tally};
use oracle_interp::{Limits, Module, Oracle};
use reports::{FunctionFigures, InconclusiveReason};
use std::collections::HashMap;
use std::sync::Arc;
use wasm_view::{FuncAddr, InstanceId, MemoryType, Trap, Value};
use wasmparser::WasmFeatures;

/// Limits of the oracle in lockstep: four whole memories, else those of a run.
pub fn limits() -> Limits {
    Limits { max_memory_pages: 4 * MemoryType::MAX_PAGES, ..session::limits() }
}

/// Why a script ended early.
pub enum Early {
    /// The two sides differ.
    Diverged(Box<Finding>),
    /// It cannot go on.
    Inconclusive(InconclusiveReason, String),
    /// No verdict at all.
    Failed(CommandError),
}

/// What came of a script.
pub struct Ran {
    /// Its assertions. What ended the script early is not among the failures.
    pub tally: Tally,
    /// What was looked at.
    pub stats: Stats,
    /// Figures worked out of that.
    pub summary: Summary,
    /// Functions that lack something; empty unless asked for.
    pub functions: Vec<FunctionFigures>,
    /// Why it ended early, if it did, and at which line and column.
    pub early: Option<(Early, (usize, usize))>,
}

/// What stays the same however often a script is run.
#[derive(Clone, Copy)]
pub struct Script<'a> {
    /// Its name in messages.
    pub file: &'a str,
    /// Its text.
    pub text: &'a str,
    /// What WebAssembly it was written for.
    pub features: WasmFeatures,
    /// What it needs.
    pub plan: &'a Plan,
    /// Most stops.
    pub max_stops: Option<u64>,
    /// Whether cold paths are run.
    pub paranoid: bool,
    /// Whether the state is destroyed and restored at each stable point.
    pub restore: bool,
    /// Whether functions are reported one by one.
    pub functions: bool,
}

impl Script<'_> {
    /// Runs it, with a look at some bytes at each stop.
    ///
    /// # Errors
    /// A subject that cannot be started.
    pub fn run(&self, watch: Watch, control: &Arc<Control>) -> Result<Ran, CommandError> {
        let plan = self.plan;
        let (max_stops, paranoid) = (self.max_stops, self.paranoid);
        let requests = Requests { watch, every: true, max_stops, paranoid, ..Requests::default() };
        let limits = limits();
        let lockstep = Lockstep::linked(
            &plan.image,
            &plan.parts,
            plan.blueprint.clone(),
            Oracle::new(limits),
            Host::Spectest,
            requests,
            control.clone(),
        )?;
        let mut driver = Beside {
            lockstep,
            refused: &plan.refused,
            limits,
            restore: self.restore,
            at: (0, 0),
            early: None,
        };
        let mut tally = script::run(&mut driver, self.features, self.file, self.text);
        if driver.early.is_some() {
            // The driver's own message.
            tally.failures.pop();
        }
        let (stats, _, _) = driver.lockstep.into_parts();
        let owner = |position: usize| {
            let of = plan.parts.iter().position(|part| part.functions.contains(&position));
            let of = of.unwrap_or_default();
            (of as u32, plan.blueprint.instances[of].module.as_ref())
        };
        let summary = stats.summary(&plan.image.map, |position| owner(position).1);
        let functions = if self.functions {
            let mut all = availability::functions(&plan.image.map, &stats, owner);
            all.retain(availability::lacks);
            all
        } else {
            Vec::new()
        };
        Ok(Ran { tally, stats, summary, functions, early: driver.early })
    }
}

struct Beside<'a> {
    lockstep: Lockstep<'a>,
    refused: &'a HashMap<Vec<u8>, String>,
    limits: Limits,
    restore: bool,
    at: (usize, usize),
    early: Option<(Early, (usize, usize))>,
}

impl Beside<'_> {
    /// Lends the oracle to the lockstep.
    fn lend<T>(
        &mut self,
        oracle: &mut Oracle,
        work: impl FnOnce(&mut Lockstep<'_>) -> Result<T, CommandError>,
    ) -> Result<T, String> {
        self.lockstep.exchange_oracle(oracle);
        let done = work(&mut self.lockstep);
        self.lockstep.exchange_oracle(oracle);
        done.map_err(|error| match error {
            CommandError::Inconclusive { detail, .. } => {
                self.end(Early::Inconclusive(InconclusiveReason::Environment, detail))
            }
            error => self.end(Early::Failed(error)),
        })
    }

    fn end(&mut self, early: Early) -> String {
        self.early.get_or_insert((early, self.at));
        "ended early".to_string()
    }

    fn ending(&mut self, ending: Ending) -> Result<Outcome, String> {
        Err(match ending {
            Ending::Returned(values) => return Ok(Outcome::Returned(values)),
            Ending::Trapped(Trap::CallStackExhausted, _) => return Ok(Outcome::Exhausted),
            Ending::Trapped(trap, _) => return Ok(Outcome::Trapped(trap)),
            Ending::Thrown(exn) => return Ok(Outcome::Thrown(exn)),
            Ending::Diverged(finding) => self.end(Early::Diverged(finding)),
            Ending::Inconclusive { reason, detail } => {
                self.end(Early::Inconclusive(reason, detail))
            }
            Ending::Exited(code) => self.end(Early::Failed(CommandError::bug(format_args!(
                "a script's call ended the program with code {code}"
            )))),
        })
    }
}

impl Driver for Beside<'_> {
    fn call(
        &mut self,
        oracle: &mut Oracle,
        func: FuncAddr,
        args: &[Value],
    ) -> Result<Outcome, String> {
        let (restore, limits) = (self.restore, self.limits);
        let ending = self.lend(oracle, |lockstep| match restore {
            true => lockstep.call_restoring(func, args, &limits),
            false => lockstep.call(func, args),
        })?;
        self.ending(ending)
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn accept(&mut self, module: &Module) -> Result<(), String> {
        self.refused.get(module.bytes()).map_or(Ok(()), |reason| Err(reason.clone()))
    }

    fn instantiated(
        &mut self,
        oracle: &mut Oracle,
        instance: InstanceId,
        trap: Option<Trap>,
    ) -> Result<(), String> {
        match self.lend(oracle, |lockstep| lockstep.instantiate(instance, trap))? {
            None | Some(Ending::Trapped(..)) => Ok(()),
            Some(ending) => self.ending(ending).map(|_| ()),
        }
    }

    fn goes_on(&mut self, line: usize, column: usize) -> bool {
        self.at = (line, column);
        self.early.is_none()
    }
}
