//! The rules about one function.

use super::{Findings, Rule, byte_at, frames};
use crate::locate::{in_vector_register, width_mask};
use crate::unwind::Unwinder;
use crate::{
    Anchor, COPY_BYTES, CallSite, CodeOffset, DwarfReg, FunctionMap, Input, Isa, Location,
    StableKind,
};
use std::collections::HashMap;
use wasm_view::{ValType, WasmOffset};

pub(super) fn check(
    function: &FunctionMap,
    isa: Isa,
    text: &[u8],
    unwinder: &Unwinder,
    findings: &mut Findings,
) {
    let mut checker = Checker { function, isa, text, unwinder, findings };
    checker.header();
    checker.boundaries();
    checker.anchors();
    checker.copies();
    checker.stable();
    checker.call_sites();
    checker.traps();
    // Elsewhere nobody follows the code: see `undecided`.
    if isa == Isa::X86_64 {
        frames::check(function, text, unwinder, findings);
    }
}

struct Checker<'a> {
    function: &'a FunctionMap,
    isa: Isa,
    text: &'a [u8],
    unwinder: &'a Unwinder,
    findings: &'a mut Findings,
}

impl Checker<'_> {
    fn broken(&mut self, rule: Rule, offset: Option<WasmOffset>, message: String) {
        self.findings.add(rule, Some(self.function.func), offset, message);
    }

    fn header(&mut self) {
        let function = self.function;
        let locals = function.locals.len();
        if function.params as usize > locals || function.local_names.len() > locals {
            let (params, names) = (function.params, function.local_names.len());
            let message = format!("{params} parameters and {names} names for {locals} locals");
            self.broken(Rule::Params, None, message);
        }
        let size = function.frame_size;
        if i64::from(size) < self.isa.linkage() || !size.is_multiple_of(8) {
            self.broken(Rule::FrameSize, None, format!("the frame has {size} bytes"));
        }
        if let Some(gap) = self.unwinder.first_gap(function.code.clone()) {
            self.broken(Rule::CfiCoverage, None, format!("there is none at {gap}"));
        }
    }

    fn boundaries(&mut self) {
        let function = self.function;
        for pair in function.boundaries.windows(2) {
            if let [before, after] = pair
                && before.offset >= after.offset
            {
                let message = format!("it follows the one at {}", before.offset);
                self.broken(Rule::BoundaryOrder, Some(after.offset), message);
            }
        }
        let mut types = Vec::new();
        for boundary in &function.boundaries {
            let offset = Some(boundary.offset);
            if !function.body.contains(&boundary.offset) {
                let (start, end) = (function.body.start, function.body.end);
                let message = format!("the function's body is {start}..{end}");
                self.broken(Rule::BoundaryInBody, offset, message);
            }
            types.clear();
            types.extend(function.locals.iter().chain(&boundary.operands).copied());
            if boundary.locations.len() != types.len() {
                let message =
                    format!("{} locations for {} slots", boundary.locations.len(), types.len());
                self.broken(Rule::LocationCount, offset, message);
            }
            self.locations(boundary.offset, &types, &boundary.locations);
        }
    }

    fn anchors(&mut self) {
        let function = self.function;
        let mut anchors = HashMap::new();
        for boundary in &function.boundaries {
            let Some(pc) = boundary.anchor.pc() else { continue };
            let is_patched = matches!(boundary.anchor, Anchor::Instruction(_));
            let offset = Some(boundary.offset);
            if !function.code.contains(&pc) {
                let (start, end) = (function.code.start, function.code.end);
                let message = format!("anchor {pc} lies outside the code {start}..{end}");
                self.broken(Rule::AnchorInCode, offset, message);
            } else if is_patched {
                if byte_at(self.text, pc).is_none() || self.isa.is_trap(self.text, pc) {
                    let message = format!("there is no instruction to halt at at {pc}");
                    self.broken(Rule::AnchorIsInstruction, offset, message);
                }
            } else if !self.isa.is_trap(self.text, pc) {
                let trap = self.isa.trap();
                let at = pc.get() as usize;
                let found = self.text.get(at..(at + trap.len()).min(self.text.len()));
                let message = match found {
                    Some(bytes) => format!("the code at {pc} is {bytes:02x?}, not {trap:02x?}"),
                    None => format!("there is no byte at {pc}"),
                };
                self.broken(Rule::AnchorIsTrap, offset, message);
            }
            if let Some(other) = anchors.insert(pc, boundary.offset) {
                let message = format!("{pc} is the anchor of {other} too");
                self.broken(Rule::AnchorDistinct, offset, message);
            }
            if let Ok(rule) = self.unwinder.cfa_rule(pc)
                && !is_patched
                && rule.reg == self.isa.stack_pointer()
                && rule.offset != i64::from(function.frame_size)
            {
                let (cfi, map) = (rule.offset, function.frame_size);
                let message = format!("{cfi} bytes by CFI at {pc}, {map} by the map");
                self.broken(Rule::FrameSize, offset, message);
            }
        }
    }

    /// What lies behind the code must be free for copies.
    fn copies(&mut self) {
        let function = self.function;
        let anchors = function.boundaries.iter();
        let patched = anchors.filter(|each| matches!(each.anchor, Anchor::Instruction(_))).count();
        let mut copies = 0;
        for (pc, place) in function.copies() {
            let begin = place.get() as usize;
            let room = self.text.get(begin..begin + COPY_BYTES as usize);
            let filler = |room: &[u8]| room.iter().copied().eq(self.isa.filler(room.len()));
            if !room.is_some_and(filler) {
                let message = format!("no room at {place} for a copy of the instruction at {pc}");
                self.broken(Rule::CopyRoom, None, message);
            }
            copies += 1;
        }
        if copies != patched {
            let message = format!("room for {copies} copies, {patched} are needed");
            self.broken(Rule::CopyRoom, None, message);
        }
    }

    fn stable(&mut self) {
        let function = self.function;
        if function.boundaries.iter().all(|boundary| boundary.stable.is_none()) {
            return;
        }
        for (position, boundary) in function.boundaries.iter().enumerate() {
            let is_entry = boundary.stable == Some(StableKind::Entry);
            if is_entry != (position == 0) {
                let message = match position {
                    0 => "the first boundary is not a stable point of kind entry".to_owned(),
                    _ => format!("boundary {position} is of kind entry"),
                };
                self.broken(Rule::StableEntry, Some(boundary.offset), message);
            }
        }
    }

    fn call_sites(&mut self) {
        let function = self.function;
        for pair in function.call_sites.windows(2) {
            if let [before, after] = pair
                && before.return_address >= after.return_address
            {
                let message = format!("{} follows {}", after.return_address, before.return_address);
                self.broken(Rule::CallOrder, Some(after.offset), message);
            }
        }
        let mut types = Vec::new();
        for site in &function.call_sites {
            let offset = Some(site.offset);
            let at = site.return_address;
            if at <= function.code.start || at > function.code.end {
                let message = format!("return address {at} lies outside the function's code");
                self.broken(Rule::CallInCode, offset, message);
            } else if !follows_call(self.isa, self.text, at) {
                let message = format!("no call instruction ends at {at}");
                self.broken(Rule::CallInstruction, offset, message);
            }
            self.handlers(site);
            let boundary =
                function.boundaries.binary_search_by_key(&site.offset, |each| each.offset);
            let Some(boundary) = boundary.ok().and_then(|at| function.boundaries.get(at)) else {
                let message = format!("return address {at} belongs to no boundary");
                self.broken(Rule::CallBoundary, offset, message);
                continue;
            };
            types.clear();
            types.extend(function.locals.iter().chain(&boundary.operands).copied());
            let count = site.locations.len();
            if count < function.locals.len() || count > types.len() {
                let least = function.locals.len();
                let message =
                    format!("{count} locations at {at}, expected {least} to {}", types.len());
                self.broken(Rule::LocationCount, offset, message);
            }
            self.locations(site.offset, &types, &site.locations);
            for location in &site.locations {
                let mut registers = registers(function, *location);
                if let Some(register) =
                    registers.find(|register| !self.isa.is_callee_saved(*register))
                {
                    let number = register.0;
                    let message = format!("a value is in DWARF register {number} at {at}");
                    self.broken(Rule::CalleeSaved, offset, message);
                }
            }
        }
    }

    fn handlers(&mut self, site: &CallSite) {
        let (code, offset) = (&self.function.code, Some(site.offset));
        // The call itself ends one byte lower at the latest.
        let call = CodeOffset::new(site.return_address.get().saturating_sub(1));
        let rule = self.unwinder.cfa_rule(call).ok();
        for (position, handler) in site.handlers.iter().enumerate() {
            let at = handler.pc;
            if !code.contains(&at) {
                let message =
                    format!("handler {at} lies outside the code {}..{}", code.start, code.end);
                self.broken(Rule::HandlerInCode, offset, message);
            } else if self.unwinder.cfa_rule(at).ok() != rule {
                let message = format!("the frame at handler {at} is not the one at {call}");
                self.broken(Rule::HandlerFrame, offset, message);
            }
            let earlier = &site.handlers[..position];
            if earlier.iter().any(|other| other.tag.is_none() || other.tag == handler.tag) {
                let message = format!("handler {at} comes after one for the same");
                self.broken(Rule::HandlerUnique, offset, message);
            }
        }
    }

    fn traps(&mut self) {
        let function = self.function;
        for pair in function.traps.windows(2) {
            if let [before, after] = pair
                && before.pc >= after.pc
            {
                let message = format!("{} follows {}", after.pc, before.pc);
                self.broken(Rule::TrapOrder, Some(after.offset), message);
            }
        }
        for site in &function.traps {
            if !function.code.contains(&site.pc) || !function.body.contains(&site.offset) {
                let message = format!("trap site {} lies outside", site.pc);
                self.broken(Rule::TrapInCode, Some(site.offset), message);
            }
        }
    }

    fn locations(&mut self, offset: WasmOffset, types: &[ValType], locations: &[Location]) {
        for (slot, (&ty, &location)) in types.iter().zip(locations).enumerate() {
            let Err(rule) = fits(self.isa, self.function, ty, location) else {
                continue;
            };
            let message = format!("slot {slot}, {ty}: {location:?}");
            self.broken(rule, Some(offset), message);
        }
    }
}

/// The registers that a location needs.
fn registers(function: &FunctionMap, location: Location) -> impl Iterator<Item = DwarfReg> {
    let (place, expression) = match location {
        Location::Register(register) => (Some(register), None),
        Location::Derived(index) => (None, function.expressions.get(index.index())),
        _ => (None, None),
    };
    let inputs = expression.into_iter().flat_map(|expression| expression.inputs());
    place.into_iter().chain(inputs.filter_map(|input| match input {
        Input::Register(register) => Some(register),
        Input::Frame(_) => None,
    }))
}

/// Whether this many bytes can be a value's place in a frame of this function.
fn in_frame(isa: Isa, function: &FunctionMap, offset: i32, bytes: usize) -> bool {
    let begin = i64::from(offset);
    // At most 16: no overflow.
    let end = begin + bytes as i64;
    let own = begin >= -i64::from(function.frame_size) && end <= -isa.linkage();
    let arguments = i64::from(function.argument_area);
    let callers = begin >= 0 && end <= arguments;
    own || callers
}

/// Whether a value of this type can be at this place in a frame of this
/// function; else the rule that it breaks.
fn fits(isa: Isa, function: &FunctionMap, ty: ValType, location: Location) -> Result<(), Rule> {
    let (holds, rule) = match location {
        Location::Register(register) => {
            let vector = isa.vector_register(register).is_some();
            let holds = if in_vector_register(ty) { vector } else { isa.is_general(register) };
            (holds, Rule::RegisterClass)
        }
        Location::Constant(cell) => {
            let null = !matches!(ty, ValType::Ref(_)) || cell.0 == 0;
            (cell.0 & !width_mask(ty) == 0 && null, Rule::ConstantWidth)
        }
        Location::CfaOffset(offset) => {
            (in_frame(isa, function, offset, ty.bytes()), Rule::FrameOffset)
        }
        Location::Derived(_) if ty == ValType::V128 => (false, Rule::DerivedType),
        Location::Derived(index) => match function.expressions.get(index.index()) {
            None => (false, Rule::ExpressionKnown),
            Some(expression) => {
                let can_be_read = |input| match input {
                    Input::Register(register) => isa.is_general(register),
                    Input::Frame(offset) => in_frame(isa, function, offset, 8),
                };
                (expression.inputs().all(can_be_read), Rule::ExpressionInput)
            }
        },
        Location::Unavailable(_) => return Ok(()),
    };
    if holds { Ok(()) } else { Err(rule) }
}

/// Whether the bytes before a return address can be a call instruction: on
/// x86-64 a direct one (`E8`, 32-bit displacement) to an address in the text, or an
/// indirect one (`FF /2`) of just this length.
fn follows_call(isa: Isa, text: &[u8], return_address: CodeOffset) -> bool {
    if let Some(decided) = isa.follows_call(text, return_address) {
        return decided;
    }
    let end = return_address.get() as usize;
    let Some(before) = text.get(..end) else {
        return false;
    };
    if let Some((_, &[0xe8, a, b, c, d])) = before.split_last_chunk() {
        let distance = i64::from(i32::from_le_bytes([a, b, c, d]));
        let target = i64::from(return_address.get()) + distance;
        if usize::try_from(target).is_ok_and(|target| target < text.len()) {
            return true;
        }
    }
    (2..=7).any(|length| {
        let start = end.checked_sub(length);
        let instruction = start.and_then(|start| before.get(start..));
        instruction.and_then(indirect_call_length) == Some(length)
    })
}

/// Bytes of the `FF /2` instruction at the start of `code` (Intel SDM volume
/// 2, tables 2-2 and 2-3).
fn indirect_call_length(code: &[u8]) -> Option<usize> {
    let [0xff, operand, rest @ ..] = code else {
        return None;
    };
    let (mode, digit, base) = (operand >> 6, operand >> 3 & 7, operand & 7);
    if digit != 2 {
        return None;
    }
    if mode == 3 {
        return Some(2);
    }
    let index_byte = base == 4;
    let displacement = match (mode, base) {
        (0, 4) if rest.first()? & 7 == 5 => 4,
        (0, 5) => 4,
        (0, _) => 0,
        (1, _) => 1,
        _ => 4,
    };
    Some(2 + usize::from(index_byte) + displacement)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_call_instructions() {
        let after = |code: &[u8]| {
            let padded = [&[0x90; 8], code].concat();
            follows_call(Isa::X86_64, &padded, CodeOffset::new(padded.len() as u32))
        };
        assert!(after(&[0xe8, 0xf8, 0xff, 0xff, 0xff]), "call -8");
        assert!(!after(&[0xe8, 0xff, 0xff, 0xff, 0x7f]), "call far outside");
        assert!(after(&[0xff, 0xd0]), "call rax");
        assert!(after(&[0x41, 0xff, 0xd3]), "call r11");
        assert!(after(&[0xff, 0x50, 0x10]), "call [rax+16]");
        assert!(after(&[0xff, 0x15, 0, 1, 0, 0]), "call [rip+256]");
        assert!(after(&[0xff, 0x54, 0x24, 8]), "call [rsp+8]");
        assert!(after(&[0xff, 0x94, 0x24, 0, 1, 0, 0]), "call [rsp+256]");
        assert!(!after(&[0xff, 0xe0]), "jmp rax");
        assert!(!after(&[0xff, 0xd0, 0x90]), "call rax, then nop");
        assert!(!follows_call(Isa::X86_64, &[], CodeOffset::new(0)));
        assert!(!follows_call(Isa::X86_64, &[0xff], CodeOffset::new(9)));
    }
}
