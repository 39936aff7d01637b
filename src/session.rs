//! One execution of a program in lockstep, from instantiation to its ending.
//!
//! A run may execute its program more than once: a difference in memory that
//! is found late is replayed, over the operation log, to the boundary at which
//! it arose. What stays the same between executions is the [`Session`].

use crate::error::CommandError;
use crate::invoke::Calls;
use crate::lockstep::follow::{Host, Requests};
use crate::lockstep::space::MAX_TABLE_ELEMENTS;
use crate::lockstep::stats::{Stats, Summary};
use crate::lockstep::stops::Control;
use crate::lockstep::{Ending, Lockstep};
use crate::program::Program;
use crate::witness::Called;
use aot_backend::Image;
use oracle_interp::{Event, Extern, ImportKind, InstantiateError, Limits, Oracle};
use std::sync::Arc;
use wasi_host::{OperationLog, World};
use wasm_view::{FuncAddr, InstanceId, MemoryType, Trap};

/// A program, its image and the calls to make.
pub struct Session<'a> {
    /// The program.
    pub program: &'a Program,
    /// Its native code.
    pub image: &'a Image,
    /// What to call.
    pub calls: &'a Calls,
}

/// What an execution came to.
pub struct Executed {
    /// How the last call ended.
    pub ending: Ending,
    /// Its counters.
    pub stats: Stats,
    /// Figures worked out of the counters.
    pub summary: Summary,
    /// The calls begun, the last one perhaps unfinished.
    pub calls: Vec<Called>,
    /// The oracle where it ended.
    pub oracle: Oracle,
    /// What the oracle was about to do there.
    pub event: Event,
    /// The instance.
    pub instance: InstanceId,
    /// A core was asked for and its boundary not met that often.
    pub core_missing: bool,
    /// Cold paths were run.
    pub paranoid: bool,
}

/// A module instantiated in an oracle.
pub struct Instantiated {
    /// The oracle.
    pub oracle: Oracle,
    /// The instance.
    pub instance: InstanceId,
    /// The trap that instantiation ended with, if one did.
    pub trap: Option<Trap>,
}

/// Most repetitions of a run to find where a divergence began. Each ends
/// earlier than the one before it; two are enough where one fault is at work.
const MOST_REPETITIONS: usize = 8;

/// Limits of the oracle: beyond what the subject can reach, so that whatever
/// runs out does so in the subject and is adopted.
pub fn limits() -> Limits {
    Limits {
        max_frames: 4 << 20,
        max_value_cells: 64 << 20,
        max_memory_pages: MemoryType::MAX_PAGES,
        max_table_elements: MAX_TABLE_ELEMENTS,
        ..Limits::default()
    }
}

/// An execution traced back to its earliest divergence.
pub struct Traced {
    /// The execution that found it.
    pub executed: Executed,
    /// Set when a repetition did not diverge at all: the freedoms of the
    /// specification that it adopted.
    pub lost: Option<Vec<&'static str>>,
}

impl Session<'_> {
    /// Executes the program once.
    ///
    /// # Errors
    /// Whatever has no verdict.
    pub fn execute(
        &self,
        world: &mut World,
        requests: Requests,
        control: &Arc<Control>,
    ) -> Result<Executed, CommandError> {
        let module = &self.program.module;
        let paranoid = requests.paranoid;
        let Instantiated { oracle, instance, trap } = self.instantiate()?;
        let mut lockstep = Lockstep::new(
            self.image,
            oracle,
            instance,
            Host::Wasi(world),
            requests,
            control.clone(),
        )?;
        let mut begun = Vec::new();
        let instantiated = lockstep.instantiate(instance, trap)?;
        let calls = if instantiated.is_some() { &[][..] } else { &self.calls.list };
        let mut ending = instantiated.unwrap_or(Ending::Returned(Vec::new()));
        for call in calls {
            begun.push(call.clone());
            let address = FuncAddr { instance, func: call.func };
            ending = lockstep.call(address, &call.args)?;
            if !matches!(ending, Ending::Returned(_)) {
                break;
            }
        }
        let core_missing = lockstep.core_missing();
        let (stats, oracle, event) = lockstep.into_parts();
        let summary = stats.summary(&self.image.map, |_| module);
        Ok(Executed {
            ending,
            stats,
            summary,
            calls: begun,
            oracle,
            event,
            instance,
            core_missing,
            paranoid,
        })
    }

    /// The module, instantiated in a fresh oracle.
    ///
    /// # Errors
    /// Imports that have no definition; limits.
    pub fn instantiate(&self) -> Result<Instantiated, CommandError> {
        Session::oracle_of(self.program)
    }

    /// A program, instantiated in a fresh oracle: it needs no code.
    ///
    /// # Errors
    /// As [`Session::instantiate`].
    pub fn oracle_of(program: &Program) -> Result<Instantiated, CommandError> {
        let mut oracle = Oracle::new(limits());
        let imports = imports(program)?;
        let (instance, trap) = match oracle.instantiate(program.module.clone(), &imports) {
            Ok(instance) => (instance, None),
            Err(InstantiateError::Trap { instance, trap }) => (instance, Some(trap)),
            Err(InstantiateError::Limit(limit)) => return Err(too_large(program, limit)),
            Err(error) => {
                let path = program.path.display();
                return Err(CommandError::input(format_args!("{path}: {error}")));
            }
        };
        Ok(Instantiated { oracle, instance, trap })
    }

    /// Finds the exact boundary of a divergence. When one is found, the store may
    /// have been wrong for a while, where nobody looked, and a run
    /// that skips stops passes by what is wrong between them: the run is
    /// repeated over its log, with every stop and a look at those places, until
    /// that leads no further back. Answers the execution with the earliest
    /// finding.
    ///
    /// # Errors
    /// As [`Session::execute`].
    pub fn trace_back(
        &self,
        mut executed: Executed,
        mut sparse: bool,
        log: &OperationLog,
        control: &Arc<Control>,
    ) -> Result<Traced, CommandError> {
        for _ in 0..MOST_REPETITIONS {
            let Ending::Diverged(finding) = &mut executed.ending else { break };
            let (index, watch) = (finding.index, std::mem::take(&mut finding.watch));
            if watch.is_empty() && !sparse {
                break;
            }
            let mut replay = World::replaying(log.clone(), false);
            let paranoid = executed.paranoid;
            let requests = Requests { watch, every: true, paranoid, ..Requests::default() };
            let again = self.execute(&mut replay, requests, control)?;
            match &again.ending {
                Ending::Diverged(earlier) if sparse || earlier.index < index => executed = again,
                // The same place: what it says there may be more exact.
                Ending::Diverged(_) => return Ok(Traced { executed: again, lost: None }),
                _ => {
                    let freedoms = again.stats.adoptions.keys().copied().collect();
                    return Ok(Traced { executed, lost: Some(freedoms) });
                }
            }
            sparse = false;
        }
        Ok(Traced { executed, lost: None })
    }
}

/// A module whose memories or tables begin larger than is supported.
fn too_large(program: &Program, limit: &str) -> CommandError {
    let path = program.path.display();
    let module = &program.module;
    let elements: u64 = module.tables().iter().map(|table| table.minimum).sum();
    let at = table_section(&program.wasm);
    CommandError::Inconclusive {
        reason: "limit",
        detail: if limit == Limits::TABLE_ELEMENTS {
            format!(
                "{path}: tables of {elements} elements, at byte offset {at:#x}; wdiff has room for {MAX_TABLE_ELEMENTS}"
            )
        } else {
            format!("{path}: instantiation reaches wdiff's limit of {limit}")
        },
    }
}

/// Every import is a function of WASI's; anything else has no definition.
fn imports(program: &Program) -> Result<Vec<Extern>, CommandError> {
    let path = program.path.display();
    let module = &program.module;
    module
            .imports()
            .iter()
            .map(|import| {
                let name = format!("{}.{}", import.module, import.name);
                match &import.kind {
                    ImportKind::Func(ty) => {
                        let expected = wasi_host::signature(&import.module, &import.name)
                            .ok_or_else(|| {
                                CommandError::input(format_args!(
                                    "{path}: unknown import {name}; wdiff provides the functions of wasi_snapshot_preview1"
                                ))
                            })?;
                        match module.func_type_of(*ty) {
                            Some(actual) if *actual == expected => Ok(Extern::HostFunc),
                            Some(actual) => Err(CommandError::input(format_args!(
                                "{path}: import {name} has type {actual}; WASI defines it as {expected}"
                            ))),
                            None => Err(CommandError::bug("an import without a type")),
                        }
                    }
                    other => Err(CommandError::input(format_args!(
                        "{path}: import {name} is a {}; only functions of WASI can be imported",
                        other.name()
                    ))),
                }
            })
            .collect()
}

/// Byte offset of the table section's contents.
fn table_section(wasm: &[u8]) -> usize {
    wasmparser::Parser::new(0)
        .parse_all(wasm)
        .find_map(|payload| match payload {
            Ok(wasmparser::Payload::TableSection(tables)) => Some(tables.range().start),
            _ => None,
        })
        .unwrap_or_default()
}
