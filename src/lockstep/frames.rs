//! Frames: where each one lies, and that suspended ones keep their values.
//!
//! The oracle knows how deep the stack is; this module keeps beside it where
//! each native frame is. When a function is entered, three things are proven
//! about the call that led there: the return address is that of the call site
//! that the map has for the caller's instruction; the new frame begins where
//! the caller's frame, by the map's frame size, ends; and what the map says
//! about the suspended caller's slots is what the oracle's caller holds. When
//! the stack shrinks, the frame returned to must be where it was.
//!
//! A tail call puts another frame in the place of its own, below the same
//! caller. Its address may differ, since arguments on the stack lie above it;
//! but whoever returns removes those, and so
//!
//! ```text
//!   frame address + argument area of its function = stack pointer after return
//! ```
//! is the same for all frames that take each other's place.

use super::compare::{SlotReader, describe_location, difference, native_vector, native_word};
use super::follow::Lockstep;
use super::plan::{BoundaryId, Check, Width, check_of};
use crate::error::CommandError;
use dwarf_map::unwind::Registers;
use dwarf_map::{CallSite, CodeOffset, Expression, FunctionMap, Input, SubjectAddr};
use reports::{DivergenceKind, Slot, SlotName};
use wasm_view::{Boundary, Cell, SlotIdx, ValType, Value};
use wasmparser::Operator;

/// A native frame of a Wasm function.
#[derive(Clone, Copy, Debug)]
pub struct NativeFrame {
    /// Its canonical frame address.
    pub cfa: SubjectAddr,
    /// Position of its function in the map.
    pub function: u32,
    /// The stack pointer when it has returned.
    pub end: SubjectAddr,
}

/// The checks of one call site.
pub struct CallPlan {
    checks: Vec<Check>,
    constants: Vec<u64>,
    needs_registers: bool,
    /// Slots that are needed behind the call and cannot be recovered, where the
    /// image promises that they can.
    lost: Vec<SlotIdx>,
}

/// A frame that is not as it must be.
pub struct FrameFinding {
    /// `sandbox` for a broken stack, `local` or `operand` for values,
    /// `stable_point` for those that are out of reach.
    pub kind: DivergenceKind,
    /// What is wrong.
    pub what: String,
    /// Values that differ.
    pub slots: Vec<Slot>,
}

impl FrameFinding {
    /// A stack that is not as it must be.
    pub fn of_stack(what: String) -> FrameFinding {
        FrameFinding { kind: DivergenceKind::Sandbox, what, slots: Vec::new() }
    }
    fn stack(what: String) -> Option<FrameFinding> {
        Some(FrameFinding::of_stack(what))
    }
}

impl Lockstep<'_> {
    /// Canonical frame address at a boundary, from CFI and registers.
    #[inline]
    pub(super) fn cfa(&mut self, at: BoundaryId) -> Result<SubjectAddr, CommandError> {
        let plan = self.plan.function(at.function, &self.image.map, &self.unwinder)?;
        let rule = plan.cfa(at.index);
        let base = SubjectAddr::new(self.subject.regs().dwarf(rule.reg.0).unwrap_or_default());
        Ok(base.offset(rule.offset))
    }

    /// Brings the native frames to the oracle's depth and checks the one that
    /// was entered or returned to.
    #[inline]
    pub(super) fn follow_frames(
        &mut self,
        at: BoundaryId,
        cfa: SubjectAddr,
    ) -> Result<Option<FrameFinding>, CommandError> {
        if self.sparse() {
            return self.follow_frames_sparse(at, cfa);
        }
        let depth = self.oracle.depth();
        if self.frames.len() == depth
            && let Some(frame) = self.frames.last()
            && frame.cfa == cfa
            && frame.function == at.function
        {
            return Ok(None);
        }
        self.frames_changed(at, cfa, depth)
    }

    fn frames_changed(
        &mut self,
        at: BoundaryId,
        cfa: SubjectAddr,
        depth: usize,
    ) -> Result<Option<FrameFinding>, CommandError> {
        if self.space().stack_offset(cfa.offset(-8)).is_none() {
            return Ok(FrameFinding::stack(format!(
                "the frame address {cfa} lies outside of the native stack"
            )));
        }
        if depth > self.frames.len() {
            if depth != self.frames.len() + 1 {
                return Ok(FrameFinding::stack(format!(
                    "the stack holds {} frames, the oracle's {depth}",
                    self.frames.len()
                )));
            }
            let (end, finding) = self.entered(at.function, cfa)?;
            self.frames.push(NativeFrame { cfa, function: at.function, end });
            return Ok(finding);
        }
        if depth == self.frames.len() && self.last.is_some_and(|last| self.is_tail_call(last)) {
            return self.replaced(at.function, cfa);
        }
        self.frames.truncate(depth);
        match self.frames.last() {
            Some(frame) if frame.cfa == cfa && frame.function == at.function => Ok(None),
            Some(frame) => Ok(FrameFinding::stack(format!(
                "the frame returned to lies at {cfa}, it was entered at {}",
                frame.cfa
            ))),
            None => Ok(FrameFinding::stack("a boundary without a frame".into())),
        }
    }

    /// Whether the instruction at a boundary calls in place of its function.
    pub(super) fn is_tail_call(&self, at: Boundary) -> bool {
        let module = &self.oracle.instance(at.instance).module;
        matches!(
            module.operator(at.func, at.offset),
            Some(
                Operator::ReturnCall { .. }
                    | Operator::ReturnCallIndirect { .. }
                    | Operator::ReturnCallRef { .. }
            )
        )
    }

    /// Where a frame of a function lies that leaves the stack pointer at `end`
    /// when it returns.
    pub(super) fn frame_below(&self, end: SubjectAddr, function: u32) -> SubjectAddr {
        let area = self.image.map.functions[function as usize].argument_area;
        end.offset(self.image.map.isa().cfa_above_stack() - i64::from(area))
    }

    /// Checks the frame that a tail call put in the place of the last one.
    fn replaced(
        &mut self,
        function: u32,
        cfa: SubjectAddr,
    ) -> Result<Option<FrameFinding>, CommandError> {
        let Some(end) = self.frames.pop().map(|frame| frame.end) else {
            return Err(CommandError::bug("a tail call without a frame"));
        };
        let finding = self.called(end, function, cfa)?;
        self.frames.push(NativeFrame { cfa, function, end });
        Ok(finding)
    }

    /// Checks the call that led to a function's first boundary. Answers where
    /// the stack will end when it has returned.
    fn entered(
        &mut self,
        function: u32,
        cfa: SubjectAddr,
    ) -> Result<(SubjectAddr, Option<FrameFinding>), CommandError> {
        let map = &self.image.map.functions;
        let Some(caller) = self.frames.last() else {
            let area = map[function as usize].argument_area;
            let above = self.image.map.isa().cfa_above_stack();
            return Ok((cfa.offset(i64::from(area) - above), None));
        };
        let arguments = map[function as usize].stack_arguments;
        let size = map[caller.function as usize].frame_size;
        let end = caller.cfa.offset(i64::from(arguments) - i64::from(size));
        Ok((end, self.called(end, function, cfa)?))
    }

    /// Checks the innermost frame, not yet among the others: that it lies where
    /// it leaves the stack at `end`, returns to the call that its caller
    /// executes, and that the caller holds its values.
    fn called(
        &mut self,
        end: SubjectAddr,
        function: u32,
        cfa: SubjectAddr,
    ) -> Result<Option<FrameFinding>, CommandError> {
        let Some(caller) = self.frames.last().copied() else { return Ok(None) };
        let expected = self.frame_below(end, function);
        if cfa != expected {
            return Ok(FrameFinding::stack(format!(
                "the frame entered lies at {cfa}; by the caller's it begins at {expected}"
            )));
        }
        let image = self.image;
        let function = &image.map.functions[caller.function as usize];
        let place = cfa.offset(image.map.isa().return_address_at());
        let returns_to = self.read_stack(place).map(SubjectAddr::new);
        let site = returns_to
            .and_then(|address| self.plan.code_offset(address))
            .and_then(|offset| find_site(&function.call_sites, offset));
        let outer = self.oracle.frame(self.oracle.depth().saturating_sub(2));
        let Some(outer) = outer else {
            return Err(CommandError::bug("the oracle's caller has no frame"));
        };
        let call = outer.boundary;
        match site {
            Some(site) if site.offset == call.offset => {
                let site = site.clone();
                let depth = self.oracle.depth();
                self.compare_suspended(&site, caller, depth - 2, None)
            }
            _ => Ok(FrameFinding::stack(format!(
                "the return address {} is not that of the call at {}",
                returns_to.map(|a| a.to_string()).unwrap_or_default(),
                call.offset
            ))),
        }
    }

    /// Compares the slots of a suspended frame, the oracle's frame `index`.
    /// Without `registers` it is the innermost one's caller.
    pub(super) fn compare_suspended(
        &mut self,
        site: &CallSite,
        caller: NativeFrame,
        index: usize,
        registers: Option<Registers>,
    ) -> Result<Option<FrameFinding>, CommandError> {
        let image = self.image;
        let function = &image.map.functions[caller.function as usize];
        let number = (self.oracle.depth() - 1 - index) as u32;
        self.stats.frames += 1;
        self.call_plan(site, caller)?;
        let needs_registers =
            self.calls.get(&site.return_address).is_some_and(|plan| plan.needs_registers);
        let registers = match registers {
            None if needs_registers => self.caller_registers()?,
            known => known,
        };
        let Some(plan) = self.calls.get(&site.return_address) else { return Ok(None) };
        let Some(frame) = self.oracle.frame(index) else { return Ok(None) };
        let cells: usize = plan.checks.iter().map(|check| check.width().cells()).sum();
        if cells != frame.slots.len() {
            return Err(CommandError::input(format_args!(
                "the image's map has {cells} cells at the call at {}, the oracle's suspended frame has {}",
                site.offset,
                frame.slots.len()
            )));
        }
        let mut slots = Vec::new();
        let types = self.suspended_types(site, function.locals.len(), caller);
        if !plan.lost.is_empty() {
            let (locals, expected) = (function.locals.len(), values_of(&types, frame.slots));
            let lost = plan.lost.iter().filter_map(|slot| {
                let name = super::stable::name(number, *slot, locals);
                let place = site.locations.get(slot.index())?;
                let place =
                    describe_location(image.map.isa(), *place, &function.expressions, caller.cfa);
                Some(difference(name, *expected.get(slot.index())?, None, place))
            });
            return Ok(Some(FrameFinding {
                kind: DivergenceKind::StablePoint,
                what: format!(
                    "live values of the caller suspended at {} cannot be recovered",
                    site.offset
                ),
                slots: lost.collect(),
            }));
        }
        let mut rest = frame.slots;
        for (slot, check) in plan.checks.iter().enumerate() {
            let first = frame.slots.len() - rest.len();
            let Some((expected, after)) = rest.split_at_checked(check.width().cells()) else {
                break;
            };
            rest = after;
            let native = self.read_suspended(*check, plan, caller, registers.as_ref());
            let Some(native) = native else { continue };
            let same = match (check.width(), expected) {
                (Width::Word, [cell]) => u64::from(native as u32) == cell.0,
                (Width::Double, [cell]) => native as u64 == cell.0,
                (Width::FuncRef, [cell]) => self.space().funcref(native as u64) == Some(*cell),
                (_, cells) => Value::V128(native).to_cells().eq(cells.iter().copied()),
            };
            if !same
                && let Some(ty) = types.get(slot)
                && !self.is_open(index, first, expected, self.space().value(*ty, native))
            {
                let name = match slot.checked_sub(function.locals.len()) {
                    None => SlotName::Local { frame: number, index: slot as u32 },
                    Some(depth) => SlotName::Stack { frame: number, index: depth as u32 },
                };
                slots.push(difference(
                    name,
                    Value::from_cells(*ty, expected),
                    Some(self.space().value(*ty, native)),
                    site.locations
                        .get(slot)
                        .map(|location| {
                            describe_location(
                                image.map.isa(),
                                *location,
                                &function.expressions,
                                caller.cfa,
                            )
                        })
                        .unwrap_or_default(),
                ));
            }
        }
        let kind = if slots.iter().any(|slot| matches!(slot.slot, SlotName::Stack { .. })) {
            DivergenceKind::Operand
        } else {
            DivergenceKind::Local
        };
        Ok((!slots.is_empty()).then(|| FrameFinding {
            kind,
            what: format!("the caller suspended at {} does not hold its values", site.offset),
            slots,
        }))
    }

    /// A slot of a suspended frame in native form, zero-extended, if it has a
    /// location.
    fn read_suspended(
        &self,
        check: Check,
        plan: &CallPlan,
        caller: NativeFrame,
        registers: Option<&Registers>,
    ) -> Option<u128> {
        let function = &self.image.map.functions[caller.function as usize];
        let register = |number: u16| registers?.gpr.get(usize::from(number)).copied().flatten();
        match check {
            Check::Gpr(reg, _) => register(u16::from(reg)).map(u128::from),
            Check::Derived(at, _) => {
                let expression = function.expressions.get(at as usize)?;
                let bits = expression.evaluate(|input| match input {
                    Input::Register(reg) => register(reg.0).ok_or(()),
                    Input::Frame(offset) => {
                        self.read_stack(caller.cfa.offset(i64::from(offset))).ok_or(())
                    }
                });
                bits.ok().map(u128::from)
            }
            Check::Xmm(..) | Check::None(..) => None,
            Check::Cfa(offset, width) => {
                self.read_slot(caller.cfa.offset(i64::from(offset)), width)
            }
            Check::Constant(at, _) => plan.constants.get(at as usize).copied().map(u128::from),
        }
    }

    /// All slots of a suspended frame, as [`Lockstep::read_suspended`].
    pub(super) fn suspended_values(
        &mut self,
        site: &CallSite,
        caller: NativeFrame,
        registers: &Registers,
    ) -> Result<Vec<Option<u128>>, CommandError> {
        self.call_plan(site, caller)?;
        let plan = self.calls.get(&site.return_address);
        let plan = plan.ok_or_else(|| CommandError::bug("a call without a plan"))?;
        let read = |check: &Check| self.read_suspended(*check, plan, caller, Some(registers));
        Ok(plan.checks.iter().map(read).collect())
    }

    fn suspended_types(
        &self,
        site: &CallSite,
        locals: usize,
        caller: NativeFrame,
    ) -> Vec<wasm_view::ValType> {
        let function = &self.image.map.functions[caller.function as usize];
        let operands = function
            .boundaries
            .binary_search_by_key(&site.offset, |boundary| boundary.offset)
            .ok()
            .map(|at| function.boundaries[at].operands.as_slice())
            .unwrap_or_default();
        let mut types = function.locals[..locals].to_vec();
        types.extend(operands);
        types
    }

    fn call_plan(&mut self, site: &CallSite, caller: NativeFrame) -> Result<(), CommandError> {
        if self.calls.contains_key(&site.return_address) {
            return Ok(());
        }
        let function: &FunctionMap = &self.image.map.functions[caller.function as usize];
        let types = self.suspended_types(site, function.locals.len(), caller);
        let mut constants = Vec::new();
        let checks: Vec<Check> = site
            .locations
            .iter()
            .zip(&types)
            .map(|(location, ty)| check_of(self.image.map.isa(), *location, *ty, &mut constants))
            .collect();
        let reads_register = |expression: &Expression| {
            expression.inputs().any(|input| matches!(input, Input::Register(_)))
        };
        let needs_registers = checks.iter().any(|check| match *check {
            Check::Gpr(..) => true,
            Check::Derived(at, _) => {
                function.expressions.get(at as usize).is_some_and(reads_register)
            }
            _ => false,
        });
        let lost = self.lost_while_suspended(site, caller.function)?;
        self.calls
            .insert(site.return_address, CallPlan { checks, constants, needs_registers, lost });
        Ok(())
    }

    /// Registers of the innermost frame.
    pub(super) fn innermost(&self) -> Registers {
        Registers::innermost(self.pc, self.subject.regs().general())
    }

    /// Registers of the innermost frame's caller, by CFI.
    fn caller_registers(&self) -> Result<Option<Registers>, CommandError> {
        let registers = self.innermost();
        let mut read = |address: SubjectAddr| self.read_stack(address);
        self.unwinder.step(&registers, &mut read).map_err(|error| {
            CommandError::input(format_args!("the image's frame information is broken: {error}"))
        })
    }

    /// Eight bytes of the native stack.
    pub(super) fn read_stack(&self, address: SubjectAddr) -> Option<u64> {
        let offset = self.space().stack_offset(address)?;
        let stack = self.subject.region(self.space().stack);
        native_word(stack, offset, Width::Double, self.image.map.isa()).ok()
    }

    /// A slot of this width on the native stack.
    fn read_slot(&self, address: SubjectAddr, width: Width) -> Option<u128> {
        let offset = self.space().stack_offset(address)?;
        let (stack, isa) = (self.subject.region(self.space().stack), self.image.map.isa());
        match width {
            Width::Vector => native_vector(stack, offset, isa).ok(),
            _ => native_word(stack, offset, width, isa).ok().map(u128::from),
        }
    }

    /// The subject's view of the innermost frame, one value a line, for reports.
    pub(super) fn native_state(
        &mut self,
        at: BoundaryId,
        cfa: SubjectAddr,
    ) -> Result<Vec<String>, CommandError> {
        let Self { subject, plan, image, unwinder, spaces, .. } = self;
        let space = &spaces[0];
        let function = &image.map.functions[at.function as usize];
        let boundary = &function.boundaries[at.index as usize];
        let plan = plan.function(at.function, &image.map, unwinder)?;
        let reader = SlotReader::new(subject, space, plan, at.index, cfa);
        let types = function.locals.iter().chain(&boundary.operands);
        Ok(plan
            .checks(at.index)
            .iter()
            .zip(types)
            .enumerate()
            .map(|(index, (check, ty))| {
                let name = super::finding::slot_name(index, function.locals.len());
                match reader.read_whole(*check) {
                    Ok(Some(native)) => {
                        let value = space.value(*ty, native);
                        format!("{name} {ty} {} {value}", value.hex())
                    }
                    Ok(None) => format!("{name} {ty} unavailable"),
                    Err(address) => format!("{name} {ty} unreadable at {address}"),
                }
            })
            .collect())
    }
}

/// The values that cells are of.
fn values_of(types: &[ValType], mut cells: &[Cell]) -> Vec<Value> {
    let value = |ty: &ValType| {
        let (mine, rest) = cells.split_at_checked(ty.cells())?;
        cells = rest;
        Some(Value::from_cells(*ty, mine))
    };
    types.iter().map_while(value).collect()
}

pub(super) fn find_site(sites: &[CallSite], offset: CodeOffset) -> Option<&CallSite> {
    let at = sites.binary_search_by_key(&offset, |site| site.return_address).ok()?;
    sites.get(at)
}
