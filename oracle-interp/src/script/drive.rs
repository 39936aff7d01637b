//! Ways of executing a call to its end.

use super::{Driver, Outcome};
use crate::{Event, Limits, Liveness, Module, Oracle, StopSet, selfcheck};
use std::collections::HashMap;
use std::sync::Arc;
use wasm_view::{FuncAddr, FuncIdx, MemoryId, TableId, ValType, Value};

/// One instruction at a time, checking each boundary.
#[derive(Debug)]
pub struct Stepping;

impl Driver for Stepping {
    fn call(
        &mut self,
        oracle: &mut Oracle,
        func: FuncAddr,
        args: &[Value],
    ) -> Result<Outcome, String> {
        let mut event = begin(oracle, func, args)?;
        loop {
            selfcheck::check(oracle, &event).map_err(|error| error.to_string())?;
            if let Some(outcome) = outcome(oracle, &event)? {
                return Ok(outcome);
            }
            event = step(oracle)?;
        }
    }
}

/// One instruction at a time, with other bits in every dead slot, which must not
/// change anything if liveness is right.
#[derive(Debug, Default)]
pub struct Scrambling {
    liveness: HashMap<(*const u8, FuncIdx), Option<Arc<Liveness>>>,
    /// State of the generator of bits.
    bits: u64,
}

impl Scrambling {
    fn scramble(&mut self, oracle: &mut Oracle) -> Result<(), String> {
        let Some(top) = oracle.top() else { return Ok(()) };
        let (func, offset) = (top.boundary.func, top.boundary.offset);
        let key = (top.module.bytes().as_ptr(), func);
        let liveness = self
            .liveness
            .entry(key)
            .or_insert_with(|| Liveness::compute(top.module, func).map(Arc::new));
        let Some(liveness) = liveness.clone() else {
            return Ok(());
        };
        let mut live = liveness.slots(offset);
        let scrambled = oracle.set_slots(|_, ty| match (live.next(), ty) {
            // A reference that may not be null stays as it is.
            (Some(false), ValType::Ref(ty)) if !ty.nullable => None,
            (Some(false), ty) => Some(self.value(ty)),
            _ => None,
        });
        scrambled.map_err(|error| error.to_string())
    }

    fn value(&mut self, ty: ValType) -> Value {
        // Knuth's multiplier; the quality of the bits does not matter.
        self.bits = self.bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        match ty {
            ValType::I32 => Value::I32((self.bits >> 32) as u32),
            ValType::I64 => Value::I64(self.bits),
            ValType::F32 => Value::F32((self.bits >> 32) as u32),
            ValType::F64 => Value::F64(self.bits),
            ValType::V128 => Value::V128(u128::from(self.bits) << 64 | u128::from(!self.bits)),
            ValType::Ref(_) => Value::default_of(ty),
        }
    }
}

impl Driver for Scrambling {
    fn call(
        &mut self,
        oracle: &mut Oracle,
        func: FuncAddr,
        args: &[Value],
    ) -> Result<Outcome, String> {
        let mut event = begin(oracle, func, args)?;
        loop {
            if let Some(outcome) = outcome(oracle, &event)? {
                return Ok(outcome);
            }
            self.scramble(oracle)?;
            event = step(oracle)?;
        }
    }
}

/// Without stopping.
#[derive(Debug)]
pub struct Running;

impl Driver for Running {
    fn call(
        &mut self,
        oracle: &mut Oracle,
        func: FuncAddr,
        args: &[Value],
    ) -> Result<Outcome, String> {
        let mut event = begin(oracle, func, args)?;
        let stops = StopSet::new(&oracle.instance(func.instance).module);
        while event == Event::Boundary {
            event = oracle.run(&stops, u64::MAX);
            event = answered(oracle, event)?;
        }
        selfcheck::check(oracle, &event).map_err(|error| error.to_string())?;
        outcome(oracle, &event)?.ok_or_else(|| format!("{event:?}"))
    }
}

fn begin(oracle: &mut Oracle, func: FuncAddr, args: &[Value]) -> Result<Event, String> {
    let event = oracle.begin_call(func, args).map_err(|error| error.to_string())?;
    answered(oracle, event)
}

/// Executes one instruction.
fn step(oracle: &mut Oracle) -> Result<Event, String> {
    let event = oracle.step();
    answered(oracle, event)
}

/// What follows an event: functions of the host's return at once, with nothing.
fn answered(oracle: &mut Oracle, mut event: Event) -> Result<Event, String> {
    while let Event::HostCall(_) = event {
        event = oracle.finish_host_call(&[]).map_err(|error| error.to_string())?;
    }
    Ok(event)
}

/// What a call came to, if it is over.
fn outcome(oracle: &mut Oracle, event: &Event) -> Result<Option<Outcome>, String> {
    Ok(match event {
        Event::Boundary => None,
        Event::Finished(results) => Some(Outcome::Returned(results.clone())),
        Event::Trapped(trap) => Some(Outcome::Trapped(*trap)),
        Event::Thrown(exn) => Some(Outcome::Thrown(*exn)),
        Event::LimitReached(Limits::FRAMES | Limits::VALUE_CELLS) => {
            oracle.abandon();
            Some(Outcome::Exhausted)
        }
        other => return Err(format!("unexpected {other:?}")),
    })
}

/// One instruction at a time; now and then the oracle is replaced by another
/// one that was loaded from its view.
#[derive(Debug, Default)]
pub struct Reloading {
    steps: u64,
    reloads: u32,
}

impl Reloading {
    /// Instructions between two replacements: coprime to the length of most
    /// loops, so that each of their boundaries has its turn.
    const PERIOD: u64 = 7;
    /// Most replacements: some scripts have millions of instructions.
    const MOST: u32 = 1000;
    /// Largest store that is copied each time, in bytes of memory and elements
    /// of tables.
    const LARGEST: usize = 1 << 20;

    fn reload(oracle: &mut Oracle) -> Result<(), String> {
        let view = oracle.view();
        let modules: Vec<Arc<Module>> =
            oracle.instances().iter().map(|instance| Arc::clone(&instance.module)).collect();
        let mut loaded = Oracle::load(*oracle.limits(), &modules, &view)
            .map_err(|error| format!("a view cannot be loaded: {error}"))?;
        if loaded.view() != view {
            return Err("a loaded view is another one".to_string());
        }
        *oracle = loaded;
        Ok(())
    }

    fn is_small(oracle: &Oracle) -> bool {
        let bytes: usize = (0..oracle.num_memories())
            .map(|index| oracle.memory(MemoryId::from_index(index)).len())
            .sum();
        let elements: usize = (0..oracle.num_tables())
            .map(|index| oracle.table(TableId::from_index(index)).len())
            .sum();
        bytes + elements <= Self::LARGEST && oracle.depth() < 100
    }
}

impl Driver for Reloading {
    fn call(
        &mut self,
        oracle: &mut Oracle,
        func: FuncAddr,
        args: &[Value],
    ) -> Result<Outcome, String> {
        let mut event = begin(oracle, func, args)?;
        loop {
            if let Some(outcome) = outcome(oracle, &event)? {
                return Ok(outcome);
            }
            self.steps += 1;
            let due = self.reloads < Self::MOST && self.steps.is_multiple_of(Self::PERIOD);
            if due && Self::is_small(oracle) {
                Self::reload(oracle)?;
                self.reloads += 1;
            }
            event = step(oracle)?;
        }
    }
}
