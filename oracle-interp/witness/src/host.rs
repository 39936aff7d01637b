//! Imported functions: called once, their effects mirrored to both sides.
//!
//! A host function of Wasmtime's does not compute anything. It steps the oracle
//! into the call, checks that it calls the same function with the same
//! arguments, asks the world (or answers with zeros), and returns the answer
//! to both. What WASI writes into memory is written into both memories.

use crate::lockstep::{Halt, Host, Session};
use crate::outcome::count;
use crate::value;
use oracle_interp::{Event, HostCall, Oracle};
use wasi_host::{GuestMemory, OutOfBounds, Outcome};
use wasm_view::{FuncIdx, MemoryId, Value};
use wasmtime::{AsContextMut, Caller, Func, FuncType, Store, StoreContextMut, Val};

/// What a host function returns to Wasmtime so as to end the program.
#[derive(Debug, thiserror::Error)]
#[error("halted by the witness")]
pub(crate) struct Halted;

/// The function that stands for the import of this index.
pub(crate) fn function(store: &mut Store<Host>, ty: FuncType, index: FuncIdx) -> Func {
    Func::new(store, ty, move |mut caller: Caller<'_, Host>, params, results| {
        let Some(mut session) = caller.data_mut().session.take() else {
            return Err(Halted.into());
        };
        let served = session.host_call(index, params, results, &mut caller.as_context_mut());
        let served = served.map_err(|halt| {
            session.halt = Some(halt);
            wasmtime::Error::from(Halted)
        });
        caller.data_mut().halted |= served.is_err();
        caller.data_mut().session = Some(session);
        served
    })
}

impl Session {
    fn host_call(
        &mut self,
        func: FuncIdx,
        params: &[Val],
        results: &mut [Val],
        store: &mut StoreContextMut<'_, Host>,
    ) -> Result<(), Halt> {
        self.advance(None, store)?;
        let call = match self.event.clone() {
            Event::HostCall(call) if call.func == func => call,
            event => {
                let ours = format!("{event:?}");
                return self.differ("next event", ours, format!("a call of import {func}"));
            }
        };
        self.compare_values("argument", &call.args, params, store)?;
        self.compare_changes(store)?;
        let answer = self.serve(&call, store)?;
        for (slot, value) in results.iter_mut().zip(&answer) {
            *slot = value::to_wasmtime(*value, &self.functions, store)
                .map_err(|error| Halt::Cannot(format!("a host function's result: {error}")))?;
        }
        self.event = self
            .oracle
            .finish_host_call(&answer)
            .map_err(|error| Halt::Cannot(format!("a host function's result: {error}")))?;
        self.fresh = true;
        count(&mut self.outcome.ends, "(host calls returned)");
        Ok(())
    }

    fn serve(
        &mut self,
        call: &HostCall,
        store: &mut StoreContextMut<'_, Host>,
    ) -> Result<Vec<Value>, Halt> {
        let import = self.module.function_import(call.func).cloned();
        let Some(import) = import else {
            return Err(Halt::Cannot("a host call of no import".to_string()));
        };
        let Some(world) = self.world.as_mut().filter(|_| import.module.starts_with("wasi")) else {
            let results = self.module.func_type(call.func).map(|ty| ty.results.as_slice());
            return Ok(results
                .unwrap_or_default()
                .iter()
                .map(|ty| Value::default_of(*ty))
                .collect());
        };
        let memory = self.oracle.instance(self.instance).memories.first().copied();
        let mut guest = OracleMemory { oracle: &mut self.oracle, memory };
        let returned = world
            .call(&import.module, &import.name, &call.args, &mut guest)
            .map_err(|error| Halt::Cannot(format!("a host call: {error}")))?;
        for write in &returned.writes {
            let memory = self.native.as_ref().and_then(|native| native.memory(0));
            let written = memory.map(|memory| {
                memory.write(store.as_context_mut(), write.address as usize, &write.bytes)
            });
            if !matches!(written, Some(Ok(()))) {
                return Err(Halt::Cannot("a host call's write is not in memory".to_string()));
            }
        }
        match returned.outcome {
            Outcome::Exit(_) => Err(Halt::Exit),
            Outcome::Return(values) => Ok(values),
        }
    }
}

/// The oracle's memory as the world sees it.
struct OracleMemory<'a> {
    oracle: &'a mut Oracle,
    memory: Option<MemoryId>,
}

impl OracleMemory<'_> {
    fn bytes(&self) -> &[u8] {
        self.memory.map(|memory| self.oracle.memory(memory)).unwrap_or_default()
    }
}

impl GuestMemory for OracleMemory<'_> {
    fn len(&self) -> u64 {
        self.bytes().len() as u64
    }

    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), OutOfBounds> {
        let out = OutOfBounds { address, length: into.len() as u64 };
        let end = address.checked_add(into.len() as u64).ok_or(out)?;
        let bytes = self.bytes().get(address as usize..end as usize).ok_or(out)?;
        into.copy_from_slice(bytes);
        Ok(())
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), OutOfBounds> {
        let out = OutOfBounds { address, length: bytes.len() as u64 };
        let memory = self.memory.ok_or(out)?;
        self.oracle.host_write(memory, address, bytes).map_err(|_| out)
    }
}
