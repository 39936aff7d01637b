//! The world: one object that answers a program's host calls, from the real
//! thing or from a log.

use std::fmt;
use std::io::Write;

use wasm_view::{FuncType, ValType, Value};

use crate::call::{Call, Done};
use crate::config::{Output, WorldConfig};
use crate::dispatch::{self, Function, Handler, Serve};
use crate::errno::Errno;
use crate::error::{HostError, StateError, WorldError};
use crate::log::{Entry, OperationLog, Outcome, Replayer, Stream, Writer};
use crate::memory::{GuestMemory, MemoryWrite};
use crate::state::WorldState;
use crate::stdio::Outputs;
use crate::system::System;

/// What a host call returns to the program's engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostReturn {
    /// Results, or the end of the program.
    pub outcome: Outcome,
    /// What was written into the guest's memory, in order: already applied to
    /// the memory handed in, to be mirrored into any other copy of it.
    pub writes: Vec<MemoryWrite>,
}

/// Answers host calls. See the crate's documentation.
pub struct World {
    mode: Mode,
}

enum Mode {
    Live(Box<Live>),
    Replay(Replayer),
}

struct Live {
    system: System,
    /// Calls answered in other processes.
    before: u64,
    log: OperationLog,
    record: Option<Writer<Box<dyn Write + Send>>>,
}

impl World {
    /// A world that acts for real. It keeps its log in memory.
    ///
    /// # Errors
    /// A directory or file of the configuration cannot be opened, or a string
    /// cannot be handed to a guest.
    pub fn live(config: WorldConfig) -> Result<World, WorldError> {
        Ok(World::acting(System::new(config)?, None, None))
    }

    /// A world that acts for real and also writes its log to `sink`, a line at
    /// a time and flushed, under the SHA-256 of the program's module.
    ///
    /// # Errors
    /// Those of [`World::live`], and failure to write the log's header.
    pub fn recording(
        config: WorldConfig,
        sink: impl Write + Send + 'static,
        module_sha256: [u8; 32],
    ) -> Result<World, WorldError> {
        let system = System::new(config)?;
        let sink: Box<dyn Write + Send> = Box::new(sink);
        let writer = Writer::new(sink, Some(module_sha256)).map_err(WorldError::Log)?;
        Ok(World::acting(system, Some(module_sha256), Some(writer)))
    }

    /// A world that goes on from a state; directories and streams are the
    /// configuration's.
    ///
    /// # Errors
    /// What cannot be had again, by name.
    pub fn resumed(state: &WorldState, config: WorldConfig) -> Result<World, StateError> {
        let mut world = World::acting(System::resume(state, config)?, None, None);
        if let Mode::Live(live) = &mut world.mode {
            live.before = state.calls;
        }
        Ok(world)
    }

    /// Everything that the program has open is closed and opened again as the
    /// state says; the log goes on.
    ///
    /// # Errors
    /// As [`World::resumed`]; a world that replays has no state.
    pub fn reopen(&mut self, state: &WorldState, config: WorldConfig) -> Result<(), StateError> {
        if let Mode::Live(live) = &mut self.mode {
            let mut system = System::resume(state, config)?;
            // What was captured is not to be lost.
            std::mem::swap(&mut system.outputs, &mut live.system.outputs);
            live.system = system;
        }
        Ok(())
    }

    /// What the program has open; `None` if the world replays a log, which needs
    /// nothing else.
    ///
    /// # Errors
    /// What cannot be carried to another process, by name.
    pub fn state(&self) -> Result<Option<WorldState>, StateError> {
        match &self.mode {
            Mode::Live(live) => live.system.state(self.calls()).map(Some),
            Mode::Replay(_) => Ok(None),
        }
    }

    fn acting(
        system: System,
        module_sha256: Option<[u8; 32]>,
        record: Option<Writer<Box<dyn Write + Send>>>,
    ) -> World {
        let log = OperationLog::new(module_sha256);
        World { mode: Mode::Live(Box::new(Live { system, before: 0, log, record })) }
    }

    /// A world that answers from a log and touches no file, clock or random
    /// source. With `passthrough` the bytes that the program writes to standard
    /// output and error go there again, otherwise nowhere.
    pub fn replaying(log: OperationLog, passthrough: bool) -> World {
        let output = if passthrough { Output::Inherit } else { Output::Discard };
        World::replaying_into(log, output, output)
    }

    /// As [`World::replaying`], with a choice for each stream.
    pub fn replaying_into(log: OperationLog, stdout: Output, stderr: Output) -> World {
        let outputs = Outputs::new(stdout, stderr);
        World { mode: Mode::Replay(Replayer { log, next: 0, outputs }) }
    }

    /// Serves one host call. The guest's memory is read as it is and changed
    /// only if the call succeeds; an error number is a success of this method.
    ///
    /// # Errors
    /// The function is not offered, the arguments are not of its types, the
    /// call differs from the log that is replayed, or the log cannot be written.
    pub fn call(
        &mut self,
        module: &str,
        name: &str,
        args: &[Value],
        memory: &mut dyn GuestMemory,
    ) -> Result<HostReturn, HostError> {
        let full_name = || format!("{module}.{name}");
        let (module, function) = dispatch::find(module, name)
            .map_err(|why| HostError::Unsupported { name: full_name(), why })?;
        if !args.iter().map(|value| value.ty()).eq(function.params.iter().copied()) {
            return Err(HostError::Arguments {
                name: full_name(),
                expected: function.ty().to_string(),
                actual: types(args),
            });
        }
        let handler = match function.serve {
            Serve::By(handler) => handler,
            Serve::Refused(why) => {
                return Err(HostError::Unsupported { name: full_name(), why: why.to_owned() });
            }
        };
        match &mut self.mode {
            Mode::Live(live) => live.call(module, function, handler, args, memory),
            Mode::Replay(replayer) => {
                let (outcome, writes) = replayer.call(module, function, args, memory)?;
                Ok(HostReturn { outcome, writes })
            }
        }
    }

    /// The log so far of a live world, or the whole log that is replayed.
    /// Cloning it is cheap: entries are shared.
    pub fn log(&self) -> &OperationLog {
        match &self.mode {
            Mode::Live(live) => &live.log,
            Mode::Replay(replayer) => &replayer.log,
        }
    }

    /// Number of calls answered.
    pub fn calls(&self) -> u64 {
        match &self.mode {
            Mode::Live(live) => live.before + live.log.len(),
            Mode::Replay(replayer) => replayer.next,
        }
    }

    /// Calls of the log that are still to come; 0 for a live world. A replayed
    /// program that ends before this is 0 has made fewer calls than recorded.
    pub fn remaining(&self) -> u64 {
        match &self.mode {
            Mode::Live(_) => 0,
            Mode::Replay(replayer) => replayer.log.len() - replayer.next,
        }
    }

    /// What the program wrote to standard output, if it is captured.
    pub fn captured_stdout(&self) -> &[u8] {
        self.outputs().captured(Stream::Stdout)
    }

    /// What the program wrote to standard error, if it is captured.
    pub fn captured_stderr(&self) -> &[u8] {
        self.outputs().captured(Stream::Stderr)
    }

    fn outputs(&self) -> &Outputs {
        match &self.mode {
            Mode::Live(live) => &live.system.outputs,
            Mode::Replay(replayer) => &replayer.outputs,
        }
    }
}

impl Live {
    fn call(
        &mut self,
        module: &'static str,
        function: &'static Function,
        handler: Handler,
        args: &[Value],
        memory: &mut dyn GuestMemory,
    ) -> Result<HostReturn, HostError> {
        let index = self.log.len();
        let mut call = Call::new(args, memory);
        let answer = handler(&mut self.system, &mut call);
        if matches!(answer, Err(Errno::INTR)) && self.system.cancel.is_cancelled() {
            return Err(HostError::Cancelled);
        }
        let Call { reads, mut writes, emitted, .. } = call;
        let outcome = match answer {
            Ok(Done::Exit(code)) => Outcome::Exit(code),
            Ok(Done::Success) => number(Errno::SUCCESS),
            Err(error) => {
                // What was held back is dropped: a failed call writes nothing.
                writes.clear();
                number(error)
            }
        };
        for write in &writes {
            memory
                .write(write.address, &write.bytes)
                .map_err(|source| HostError::Memory { index, source })?;
        }
        let returned = HostReturn { outcome: outcome.clone(), writes: writes.clone() };
        let entry =
            Entry { module, function, args: args.to_vec(), reads, outcome, writes, emitted };
        if let Some(record) = &mut self.record {
            record
                .entry(&entry)
                .map_err(|source| HostError::Io { doing: "write the operation log", source })?;
        }
        self.log.push(entry);
        Ok(returned)
    }
}

fn number(error: Errno) -> Outcome {
    Outcome::Return(vec![Value::I32(u32::from(error.0))])
}

fn types(args: &[Value]) -> String {
    let params: Vec<ValType> = args.iter().map(|value| value.ty()).collect();
    let ty = FuncType { params, results: Vec::new() }.to_string();
    ty.trim_end_matches(" -> []").to_owned()
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match &self.mode {
            Mode::Live(_) => "live",
            Mode::Replay(_) => "replay",
        };
        f.debug_struct("World").field("mode", &mode).field("calls", &self.calls()).finish()
    }
}
