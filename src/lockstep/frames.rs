//! Frames: where each one lies, and that suspended ones keep their values.
//!
//! The oracle knows how deep the stack is; this module keeps beside it where
//! each native frame is. When a function is entered, three things are proven
//! about the call that led there: the return address is that of the call site
//! that the map has for the caller's instruction; the new frame begins where
//! the caller's frame, by the map's frame size, ends; and what the map says
//! about the suspended caller's slots is what the oracle's caller holds. When
//! the stack shrinks, the frame returned to must be where it was.

use super::compare::{SlotReader, describe_location, difference};
use super::follow::Lockstep;
use super::plan::{BoundaryId, Check, Width, check_of};
use crate::error::CommandError;
use dwarf_map::unwind::Registers;
use dwarf_map::{CallSite, CodeOffset, SubjectAddr};
use reports::{DivergenceKind, Slot, SlotName};
use wasm_view::Value;

/// A native frame of a Wasm function.
#[derive(Clone, Copy, Debug)]
pub struct NativeFrame {
    /// Its canonical frame address.
    pub cfa: SubjectAddr,
    /// Position of its function in the map.
    pub function: u32,
}

/// The checks of one call site.
pub struct CallPlan {
    checks: Vec<Check>,
    constants: Vec<u64>,
    needs_registers: bool,
}

/// A frame that is not as it must be.
pub struct FrameFinding {
    /// `sandbox` for a broken stack, `local` or `operand` for values.
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
            let finding = self.entered(cfa)?;
            self.frames.push(NativeFrame { cfa, function: at.function });
            return Ok(finding);
        }
        self.frames.truncate(depth);
        match self.frames.last() {
            Some(frame) if frame.cfa == cfa => Ok(None),
            Some(frame) => Ok(FrameFinding::stack(format!(
                "the frame returned to lies at {cfa}, it was entered at {}",
                frame.cfa
            ))),
            None => Ok(FrameFinding::stack("a boundary without a frame".into())),
        }
    }

    /// Checks the call that led to a function's first boundary.
    fn entered(&mut self, cfa: SubjectAddr) -> Result<Option<FrameFinding>, CommandError> {
        let Some(caller) = self.frames.last().copied() else { return Ok(None) };
        let image = self.image;
        let function = &image.map.functions[caller.function as usize];
        let expected = caller.cfa.offset(-i64::from(function.frame_size));
        if cfa != expected {
            return Ok(FrameFinding::stack(format!(
                "the frame entered lies at {cfa}; the caller's ends at {expected}"
            )));
        }
        let returns_to = self.read_stack(cfa.offset(-8)).map(SubjectAddr::new);
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
        let mut rest = frame.slots;
        for (index, check) in plan.checks.iter().enumerate() {
            let Some((expected, after)) = rest.split_at_checked(check.width().cells()) else {
                break;
            };
            rest = after;
            let native = match *check {
                Check::Gpr(reg, _) => registers
                    .as_ref()
                    .and_then(|registers| registers.gpr[usize::from(reg)])
                    .map(u128::from),
                Check::Xmm(..) | Check::None(..) => None,
                Check::Cfa(offset, width) => {
                    self.read_slot(caller.cfa.offset(i64::from(offset)), width)
                }
                Check::Constant(at, _) => plan.constants.get(at as usize).copied().map(u128::from),
            };
            let Some(native) = native else { continue };
            let same = match (check.width(), expected) {
                (Width::Word, [cell]) => u64::from(native as u32) == cell.0,
                (Width::Double, [cell]) => native as u64 == cell.0,
                (Width::FuncRef, [cell]) => self.space().funcref(native as u64) == Some(*cell),
                (_, cells) => Value::V128(native).to_cells().eq(cells.iter().copied()),
            };
            if !same && let Some(ty) = types.get(index) {
                let name = match index.checked_sub(function.locals.len()) {
                    None => SlotName::Local { frame: number, index: index as u32 },
                    Some(depth) => SlotName::Stack { frame: number, index: depth as u32 },
                };
                slots.push(difference(
                    name,
                    Value::from_cells(*ty, expected),
                    Some(self.space().value(*ty, native)),
                    site.locations
                        .get(index)
                        .map(|location| describe_location(*location, caller.cfa))
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
        let locals = self.image.map.functions[caller.function as usize].locals.len();
        let types = self.suspended_types(site, locals, caller);
        let mut constants = Vec::new();
        let checks: Vec<Check> = site
            .locations
            .iter()
            .zip(&types)
            .map(|(location, ty)| check_of(*location, *ty, &mut constants))
            .collect();
        let needs_registers = checks.iter().any(|check| matches!(check, Check::Gpr(..)));
        self.calls.insert(site.return_address, CallPlan { checks, constants, needs_registers });
        Ok(())
    }

    /// Registers of the innermost frame.
    pub(super) fn innermost(&self) -> Registers {
        let regs = self.subject.regs();
        let gpr = std::array::from_fn(|number| regs.dwarf(number as u16).unwrap_or_default());
        Registers::innermost(self.pc, gpr)
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
        self.subject.region(self.space().stack).read_u64(offset).ok()
    }

    /// A slot of this width on the native stack.
    fn read_slot(&self, address: SubjectAddr, width: Width) -> Option<u128> {
        match width {
            Width::Vector => {
                let (low, high) = (self.read_stack(address)?, self.read_stack(address.offset(8))?);
                Some(u128::from(high) << 64 | u128::from(low))
            }
            _ => self.read_stack(address).map(u128::from),
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
                let name = super::follow::slot_name(index, function.locals.len());
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

pub(super) fn find_site(sites: &[CallSite], offset: CodeOffset) -> Option<&CallSite> {
    let at = sites.binary_search_by_key(&offset, |site| site.return_address).ok()?;
    sites.get(at)
}
