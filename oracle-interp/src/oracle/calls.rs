//! Calls: of any instance's functions, of the host's, through references, and
//! in place of the caller.
//!
//! A tail call gives its arguments the place of the caller's locals. The
//! caller's frame is gone before the callee's is there, so a chain of tail
//! calls takes no room (core spec, "Function Invocation", tail calls).

use super::{Event, HostCall, Limits, Oracle, State};
use crate::rare::Rare;
use wasm_view::{FuncAddr, FuncIdx, InstanceId, Trap, TypeIdx, ValType};

/// Whether a call returns to the caller or in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Return {
    ToCaller,
    InPlace,
}

impl Oracle {
    pub(super) fn rare_call(
        &mut self,
        instance: InstanceId,
        rare: Rare,
    ) -> Result<Option<Event>, Trap> {
        let (target, extra, mode) = match rare {
            Rare::ReturnCall(defined) => {
                let module = &self.instance(instance).module;
                let func = FuncIdx::new(module.num_imported_funcs() + defined);
                (FuncAddr { instance, func }, 0, Return::InPlace)
            }
            Rare::ReturnCallImport(func) => {
                (self.instance(instance).resolve(FuncIdx::new(func)), 0, Return::InPlace)
            }
            Rare::ReturnCallIndirect { table, ty } => {
                let target = self.indirect_target(instance, table.get(), ty)?;
                (target, 1, Return::InPlace)
            }
            Rare::CallRef(_) => (self.referenced_target()?, 1, Return::ToCaller),
            _ => (self.referenced_target()?, 1, Return::InPlace),
        };
        Ok(self.call(target, extra, mode))
    }

    fn referenced_target(&self) -> Result<FuncAddr, Trap> {
        FuncAddr::from_cell(self.top_cell()).ok_or(Trap::NullFunctionReference)
    }

    /// What `call_indirect` calls. Checked in the order bounds, null, type.
    pub(super) fn indirect_target(
        &self,
        instance: InstanceId,
        table: u32,
        ty: TypeIdx,
    ) -> Result<FuncAddr, Trap> {
        let [index] = self.operands();
        let elements = self.table(self.table_of(instance, table));
        let element = usize::try_from(index).ok().and_then(|index| elements.get(index));
        let element = *element.ok_or(Trap::UndefinedElement)?;
        let target = FuncAddr::from_cell(element).ok_or(Trap::UninitializedElement)?;
        let expected = self.instance(instance).type_ids[ty.index()];
        match self.store.func_type_id(target) {
            Some(actual) if self.store.types.is_sub(actual, expected) => Ok(target),
            _ => Err(Trap::IndirectCallTypeMismatch),
        }
    }

    /// Calls a function of any instance or of the host, after dropping `extra`
    /// topmost cells: an index or reference.
    pub(super) fn call(&mut self, target: FuncAddr, extra: usize, mode: Return) -> Option<Event> {
        let params = self.store.func_type(target).map_or(&[][..], |ty| &ty.params);
        let params = ValType::cells_of(params);
        if !self.is_host_function(target) {
            // Looked at before anything changes.
            let above = match (mode, self.frames.last()) {
                (Return::InPlace, Some(frame)) => frame.base + params,
                _ => self.sp - extra,
            };
            if let Err(limit) = self.check_frame(target, above, mode) {
                return Some(Event::LimitReached(limit));
            }
        }
        let pc = self.pc;
        self.sp -= extra;
        match mode {
            Return::ToCaller => {
                if let Some(frame) = self.frames.last_mut() {
                    frame.pc = pc;
                }
            }
            Return::InPlace => {
                let base = self.frames.pop().map_or(0, |frame| frame.base);
                self.lowest = self.frames.len().min(self.lowest);
                self.forget_caught();
                self.stack.copy_within(self.sp - params..self.sp, base);
                self.sp = base + params;
                if let Some(caller) = self.frames.last() {
                    self.pc = caller.pc;
                }
            }
        }
        if self.is_host_function(target) {
            return Some(self.call_host(target));
        }
        match self.push_frame(target) {
            Ok(()) => None,
            Err(limit) => {
                debug_assert!(false, "a limit that was checked before");
                Some(Event::LimitReached(limit))
            }
        }
    }

    /// Waits for the host, whose arguments are the topmost operands.
    fn call_host(&mut self, target: FuncAddr) -> Event {
        let params = self.store.func_type(target).map_or(Vec::new(), |ty| ty.params.clone());
        self.sp -= ValType::cells_of(&params);
        let args = self.take_out(&params, self.sp);
        let call = HostCall { instance: target.instance, func: target.func, args };
        self.state = State::HostCall(call.clone());
        Event::HostCall(call)
    }

    /// Whether a frame for a function whose parameters end at `above` would be
    /// within the limits.
    fn check_frame(
        &mut self,
        func: FuncAddr,
        above: usize,
        mode: Return,
    ) -> Result<(), &'static str> {
        let module = &self.instance(func.instance).module;
        let defined = (func.func.get() - module.num_imported_funcs()) as usize;
        let def = &module.functions[defined];
        let (params, cells) = (def.param_cells as usize, def.cells as usize);
        if mode == Return::ToCaller && self.frames.len() >= self.limits.max_frames {
            return Err(Limits::FRAMES);
        }
        // The arguments may have to be moved from above.
        self.reserve_cells((above - params + cells).max(self.sp))
    }
}
