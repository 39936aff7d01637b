//! The oracle alone, over the log of the host's answers, to an exact point.
//!
//! A divergence is known by the number of instructions executed before it. The
//! oracle executes some hundred million of them a second, so no checkpoint is
//! kept: every question about an earlier state is answered by executing again
//! up to there. What led to the divergence within one activation of a function
//! is recorded step by step, with what the calls made there left behind.

use crate::error::CommandError;
use crate::session::{Instantiated, Session};
use crate::world::OracleMemory;
use oracle_interp::{Event, Oracle, StopSet};
use std::collections::{BTreeMap, BTreeSet};
use wasi_host::{OperationLog, Outcome, World};
use wasm_view::{Boundary, Cell, FuncAddr, FuncIdx, InstanceId, Value};

/// Most instructions recorded before a divergence.
pub const WINDOW: u64 = 20_000;
/// Instructions executed between two looks at what was asked.
const FUEL: u64 = 10_000_000;
/// Bytes that a call may have written for it to be replayed.
const WRITTEN: usize = 512;

/// A program's execution, to be repeated.
pub struct Replay<'a> {
    /// The program and its calls.
    pub session: &'a Session<'a>,
    /// The host's answers.
    pub log: &'a OperationLog,
}

/// The oracle in the middle of an execution.
pub struct Standing {
    /// The oracle.
    pub oracle: Oracle,
    /// The instance.
    pub instance: InstanceId,
    world: World,
    calls: usize,
    event: Event,
}

/// Where [`Standing::until`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// A boundary of the set.
    Stop,
    /// So many instructions were executed.
    Count,
    /// The end of the program.
    End,
}

/// One step of the activation in which a divergence arose.
#[derive(Clone, Debug)]
pub struct Step {
    /// The instruction.
    pub at: Boundary,
    /// Instructions executed before it.
    pub executed: u64,
    /// Locals and operands before it.
    pub cells: Vec<Cell>,
    /// Globals before it.
    pub globals: Vec<Value>,
    /// For a call: what it wrote to memory 0, by address; `None` if that is too
    /// much, or not all of it is known.
    pub wrote: Option<BTreeMap<u64, u8>>,
    /// What is next in the same activation.
    pub next: Option<Next>,
}

/// Where a step led to, in the same activation.
#[derive(Clone, Debug)]
pub struct Next {
    /// The instruction.
    pub at: Boundary,
    /// Locals and operands then.
    pub cells: Vec<Cell>,
    /// Globals then.
    pub globals: Vec<Value>,
}

impl Replay<'_> {
    /// The oracle before the instruction of this number, counted from 0; `None`
    /// if the program ends before that.
    ///
    /// # Errors
    /// A host call that the log does not answer.
    pub fn to(&self, executed: u64) -> Result<Option<Standing>, CommandError> {
        let Instantiated { oracle, instance, trap } = self.session.instantiate()?;
        if trap.is_some() {
            return Ok(None);
        }
        let world = World::replaying(self.log.clone(), false);
        let event = Event::Finished(Vec::new());
        let mut standing = Standing { oracle, instance, world, calls: 0, event };
        let never = StopSet::new(&self.session.program.module);
        Ok(standing.go(self.session, Some(&never), executed)?.then_some(standing))
    }

    /// Instructions executed before the last entry of a function at this depth
    /// of the stack, counted from 1, up to the instruction of this number.
    ///
    /// # Errors
    /// As [`Replay::to`].
    pub fn entry(
        &self,
        func: FuncIdx,
        depth: usize,
        last: u64,
    ) -> Result<Option<u64>, CommandError> {
        let module = &self.session.program.module;
        let Some(first) = module.function(func).and_then(|func| func.boundaries().next()) else {
            return Ok(None);
        };
        let mut stops = StopSet::new(module);
        stops.insert(func, first);
        let Some(mut standing) = self.to(0)? else { return Ok(None) };
        let mut found = None;
        loop {
            if standing.oracle.depth() == depth && standing.oracle.is_at(&stops) {
                found = Some(standing.oracle.instructions_executed());
            }
            if standing.until(self.session, &stops, last + 1)? != Reached::Stop {
                return Ok(found);
            }
        }
    }

    /// How many functions are entered until so many instructions were executed.
    ///
    /// # Errors
    /// As [`Replay::to`].
    pub fn entries(&self, executed: u64) -> Result<Option<u64>, CommandError> {
        let module = &self.session.program.module;
        let mut stops = StopSet::new(module);
        for func in (module.num_imported_funcs()..).map(FuncIdx::new) {
            let Some(function) = module.function(func) else { break };
            if let Some(first) = function.boundaries().next() {
                stops.insert(func, first);
            }
        }
        let Some(mut standing) = self.to(0)? else { return Ok(None) };
        let mut entries = u64::from(standing.oracle.is_at(&stops));
        while standing.until(self.session, &stops, executed)? == Reached::Stop {
            entries += 1;
        }
        Ok(Some(entries))
    }

    /// Every instruction that is executed at all, up to where the log or the
    /// program ends.
    ///
    /// # Errors
    /// What the host refuses.
    pub fn executed(&self) -> Result<BTreeSet<Boundary>, CommandError> {
        let mut seen = BTreeSet::new();
        let Some(mut standing) = self.to(0)? else { return Ok(seen) };
        for executed in 0.. {
            match standing.go(self.session, None, executed) {
                Ok(true) => seen.extend(standing.oracle.top().map(|top| top.boundary)),
                Ok(false) | Err(CommandError::Inconclusive { .. }) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(seen)
    }

    /// The steps of the activation that executes the instruction of this
    /// number, up to that instruction; oldest first. Only as far back as the
    /// window goes.
    ///
    /// # Errors
    /// As [`Replay::to`].
    pub fn steps(&self, last: u64) -> Result<Vec<Step>, CommandError> {
        let first = last.saturating_sub(WINDOW);
        let Some(mut standing) = self.to(first)? else { return Ok(Vec::new()) };
        standing.oracle.set_write_log(true);
        let mut all: Vec<(usize, Step, BTreeMap<u64, u8>, bool)> = Vec::new();
        let mut end = None;
        for executed in first..=last + 1 {
            if !standing.go(self.session, None, executed)? {
                break;
            }
            let written = standing.written_bytes();
            if let Some((_, _, wrote, known)) = all.last_mut() {
                match written {
                    Some(bytes) => *wrote = bytes,
                    None => *known = false,
                }
            }
            let depth = standing.oracle.depth();
            let Some(step) = standing.step() else { break };
            if executed > last {
                end = Some((depth, step));
                break;
            }
            all.push((depth, step, BTreeMap::new(), true));
        }
        Ok(activation(all, end))
    }
}

/// Of all steps, those in the activation of the last one.
fn activation(
    mut all: Vec<(usize, Step, BTreeMap<u64, u8>, bool)>,
    end: Option<(usize, Step)>,
) -> Vec<Step> {
    let Some((depth, last, ..)) = all.last() else { return Vec::new() };
    let (depth, func) = (*depth, last.at.func);
    let mut steps: Vec<Step> = Vec::new();
    let mut next = end
        .filter(|(deep, step)| *deep == depth && step.at.func == func)
        .map(|(_, step)| Next { at: step.at, cells: step.cells, globals: step.globals });
    let (mut wrote, mut known) = (BTreeMap::new(), true);
    while let Some((deep, mut step, bytes, complete)) = all.pop() {
        if deep < depth || deep == depth && step.at.func != func {
            break;
        }
        // Later writes win.
        for (address, byte) in bytes {
            wrote.entry(address).or_insert(byte);
        }
        known &= complete && wrote.len() <= WRITTEN;
        if deep > depth {
            continue;
        }
        step.wrote = known.then(|| std::mem::take(&mut wrote));
        wrote.clear();
        known = true;
        step.next = next.take();
        next = Some(Next { at: step.at, cells: step.cells.clone(), globals: step.globals.clone() });
        steps.push(step);
    }
    steps.reverse();
    steps
}

impl Standing {
    /// Goes on to the next boundary of a set, or until so many instructions were
    /// executed in all.
    ///
    /// # Errors
    /// A host call that the log does not answer.
    pub fn until(
        &mut self,
        session: &Session<'_>,
        stops: &StopSet,
        executed: u64,
    ) -> Result<Reached, CommandError> {
        loop {
            let left = executed.saturating_sub(self.oracle.instructions_executed());
            let event = std::mem::replace(&mut self.event, Event::Boundary);
            let resumes = matches!(event, Event::HostCall(_) | Event::Finished(_));
            match event {
                Event::Boundary | Event::OutOfFuel if left == 0 => return Ok(Reached::Count),
                Event::Boundary | Event::OutOfFuel => {
                    self.event = self.oracle.run(stops, left.min(FUEL));
                    if self.event == Event::Boundary {
                        return Ok(Reached::Stop);
                    }
                }
                event => {
                    self.event = event;
                    if !self.resume(session)? {
                        return Ok(Reached::End);
                    }
                }
            }
            let standing = matches!(self.event, Event::Boundary);
            if resumes && standing && self.oracle.is_at(stops) {
                return Ok(Reached::Stop);
            }
        }
    }

    /// Answers the host call that is pending, or begins the next call; false if
    /// there is nothing more to execute.
    fn resume(&mut self, session: &Session<'_>) -> Result<bool, CommandError> {
        let event = std::mem::replace(&mut self.event, Event::Boundary);
        self.event = match event {
            Event::HostCall(_) => match self.serve()? {
                Some(event) => event,
                None => return Ok(false),
            },
            Event::Finished(_) => {
                let Some(call) = session.calls.list.get(self.calls) else { return Ok(false) };
                self.calls += 1;
                let func = FuncAddr { instance: self.instance, func: call.func };
                self.oracle.begin_call(func, &call.args).map_err(CommandError::input)?
            }
            event => {
                self.event = event;
                return Ok(matches!(self.event, Event::Boundary | Event::OutOfFuel));
            }
        };
        Ok(true)
    }

    /// Goes on until so many instructions were executed in all; false if that
    /// never comes. Without stops the oracle steps.
    ///
    /// # Errors
    /// A host call that the log does not answer.
    pub fn go(
        &mut self,
        session: &Session<'_>,
        stops: Option<&StopSet>,
        executed: u64,
    ) -> Result<bool, CommandError> {
        loop {
            match self.event {
                Event::Boundary | Event::OutOfFuel => {
                    let left = executed.saturating_sub(self.oracle.instructions_executed());
                    self.event = match (left, stops) {
                        (0, _) => return Ok(true),
                        (left, Some(stops)) => self.oracle.run(stops, left.min(FUEL)),
                        (_, None) => self.oracle.step(),
                    }
                }
                _ => {
                    if !self.resume(session)? {
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// Answers the pending host call; `None` if it ends the program.
    fn serve(&mut self) -> Result<Option<Event>, CommandError> {
        let Event::HostCall(call) = self.oracle.step() else {
            return Err(CommandError::bug("no host call to answer"));
        };
        let module = self.oracle.instance(call.instance).module.clone();
        let Some(import) = module.function_import(call.func) else {
            return Err(CommandError::bug("a host call of no import"));
        };
        let memory = self.oracle.instance(call.instance).memories.first().copied();
        let mut guest = OracleMemory::new(&mut self.oracle, memory);
        let returned = self
            .world
            .call(&import.module, &import.name, &call.args, &mut guest)
            .map_err(|error| CommandError::Inconclusive {
                reason: "replay",
                detail: format!("host call {}.{}, repeated: {error}", import.module, import.name),
            })?;
        match returned.outcome {
            Outcome::Exit(_) => Ok(None),
            Outcome::Return(values) => {
                Ok(Some(self.oracle.finish_host_call(&values).map_err(CommandError::bug)?))
            }
        }
    }

    /// The present boundary as a step.
    fn step(&self) -> Option<Step> {
        let top = self.oracle.top()?;
        Some(Step {
            at: top.boundary,
            executed: self.oracle.instructions_executed(),
            cells: top.slots.to_vec(),
            globals: self.globals(),
            wrote: None,
            next: None,
        })
    }

    /// The instance's globals.
    pub fn globals(&self) -> Vec<Value> {
        let globals = &self.oracle.instance(self.instance).globals;
        globals.iter().map(|id| self.oracle.global_value(*id)).collect()
    }

    /// What was written to memory 0 since this was last asked; `None` if too
    /// much was, or to something else.
    fn written_bytes(&mut self) -> Option<BTreeMap<u64, u8>> {
        let memory = self.oracle.instance(self.instance).memories.first().copied();
        let mut bytes = BTreeMap::new();
        let mut known = self.oracle.table_writes().next().is_none();
        for (id, address, length) in self.oracle.writes() {
            known &= Some(id) == memory && length <= WRITTEN as u64;
            if known {
                let contents = self.oracle.memory(id);
                let range = address as usize..(address + length) as usize;
                bytes.extend((address..).zip(contents[range].iter().copied()));
            }
        }
        self.oracle.clear_writes();
        known.then_some(bytes)
    }
}
