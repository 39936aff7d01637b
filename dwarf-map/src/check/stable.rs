//! The rules about what is compiled in at stable points.

use super::{Findings, Rule, byte_at};
use crate::detour::{DISPLACEMENT, nop};
use crate::{
    Anchor, BoundaryMap, CodeOffset, Detour, FunctionMap, Isa, Location, StablePoint, buffer_bytes,
};
use std::collections::HashSet;
use wasm_view::ValType;

/// `compiled`: whether the image has stable points at all.
pub(super) fn check(
    function: &FunctionMap,
    isa: Isa,
    compiled: bool,
    text: &[u8],
    findings: &mut Findings,
) {
    for boundary in &function.boundaries {
        if boundary.anchor == Anchor::Eliminated {
            continue;
        }
        let wanted = compiled && boundary.stable.is_some();
        let point = function.stable_point(boundary.offset);
        let message = match (wanted, point) {
            (true, None) => "a stable point without poll",
            (false, Some(_)) => "a poll where no stable point is",
            _ => continue,
        };
        findings.add(
            Rule::StablePresent,
            Some(function.func),
            Some(boundary.offset),
            message.to_owned(),
        );
    }
    let mut traps: HashSet<CodeOffset> =
        function.boundaries.iter().filter_map(|boundary| boundary.anchor.pc()).collect();
    for point in &function.stable_points {
        let mut broken = |rule, message: String| {
            findings.add(rule, Some(function.func), Some(point.offset), message);
        };
        let boundary = function.boundaries.iter().find(|each| each.offset == point.offset);
        let Some(boundary) = boundary.filter(|boundary| boundary.anchor.pc().is_some()) else {
            broken(Rule::StablePresent, "a poll at no boundary with code".to_owned());
            continue;
        };
        if let Err(message) = poll(function, isa, point, boundary.anchor, text) {
            broken(Rule::StablePoll, message);
        }
        if let Err(message) = detour(function, isa, point, text) {
            broken(Rule::StableDetour, message);
        }
        let own = function.code.contains(&point.cold)
            && function.code.contains(&point.trap)
            // What stores nothing may be the trap alone.
            && (point.cold < point.trap || !point.stores && point.cold == point.trap);
        let alone = !point.stores && point.cold == point.trap;
        let trap = match alone {
            false => isa.is_trap(text, point.trap),
            true => isa.is_lone_trap(text, point.trap),
        };
        if !own || !trap || !traps.insert(point.trap) {
            let message = format!("cold path {}, trap {}", point.cold, point.trap);
            broken(Rule::StableTrap, message);
        }
        if let Err(message) = layout(function, boundary, point) {
            broken(Rule::StableLayout, message);
        }
        for &(slot, _) in &point.slots {
            if let Some(Location::Unavailable(_)) = boundary.locations.get(slot.index()) {
                broken(Rule::StablePresent, format!("live slot {} has no location", slot.get()));
            }
        }
    }
}

/// Bytes of x86-64 conditional branches (Intel SDM volume 2, `Jcc`): a
/// displacement of 32 bits, or of 8.
fn branch(armed: &[u8]) -> Option<(usize, i64)> {
    if let Some((before, &[0x0f, opcode, a, b, c, d])) = armed.split_last_chunk()
        && opcode & 0xf0 == 0x80
    {
        return Some((before.len(), i64::from(i32::from_le_bytes([a, b, c, d]))));
    }
    match armed.split_last_chunk() {
        Some((before, &[opcode, distance])) if opcode & 0xf0 == 0x70 => {
            Some((before.len(), i64::from(distance.cast_signed())))
        }
        _ => None,
    }
}

/// Where the conditional branch leads that a poll at an offset ends with.
fn target(isa: Isa, poll: CodeOffset, armed: &[u8]) -> Option<i64> {
    if isa == Isa::X86_64 {
        let end = i64::from(poll.get()) + armed.len() as i64;
        return branch(armed).map(|(_, distance)| end + distance);
    }
    let mut at = 0;
    loop {
        let rest = armed.get(at..)?;
        let length = isa.instruction_length(rest)?;
        if length == rest.len() {
            let distance = isa.conditional_branch(rest)?;
            return Some(i64::from(poll.get()) + at as i64 + i64::from(distance));
        }
        at += length;
    }
}

fn poll(
    function: &FunctionMap,
    isa: Isa,
    point: &StablePoint,
    anchor: Anchor,
    text: &[u8],
) -> Result<(), String> {
    let end = u64::from(point.poll.get()) + point.armed.len() as u64;
    let is_placed = match anchor {
        Anchor::Trap(anchor) => anchor < point.poll,
        // The poll itself is halted at.
        Anchor::Instruction(anchor) => point.poll <= anchor && u64::from(anchor.get()) < end,
        Anchor::Merged | Anchor::Threaded | Anchor::Eliminated => false,
    };
    if !is_placed || end > u64::from(function.code.end.get()) {
        return Err(format!("the poll at {}, the anchor is {anchor:?}", point.poll));
    }
    let Some(target) = target(isa, point.poll, &point.armed) else {
        return Err(format!("{:02x?} ends with no conditional branch", point.armed));
    };
    let cold = i64::from(point.cold.get());
    if end.cast_signed() != cold && target != cold {
        return Err(format!("its branch does not lead to {}", point.cold));
    }
    let is_armed = (0..)
        .zip(&point.armed)
        .all(|(at, byte)| byte_at(text, CodeOffset::new(point.poll.get() + at)) == Some(*byte));
    match isa {
        Isa::X86_64 if is_armed => Err("it is armed".to_owned()),
        Isa::Aarch64 | Isa::Riscv64 | Isa::S390x if !is_armed => {
            Err("the code is not the armed poll".to_owned())
        }
        _ => Ok(()),
    }
}

fn detour(
    function: &FunctionMap,
    isa: Isa,
    point: &StablePoint,
    text: &[u8],
) -> Result<(), String> {
    let Detour { idle, ways } = &point.detour;
    if ways.is_empty() && *idle == 0 {
        return Ok(());
    }
    if isa != Isa::X86_64 || ways.is_empty() {
        return Err(format!("{idle} bytes, and no way there"));
    }
    let bytes = |from: usize, length: usize| text.get(from..from.checked_add(length)?);
    let poll = point.poll.get() as usize;
    let mut rest = bytes(poll, (*idle as usize).min(point.armed.len())).unwrap_or_default();
    if rest.is_empty() || rest.len() != *idle as usize {
        return Err(format!("{idle} bytes of a poll of {}", point.armed.len()));
    }
    while !rest.is_empty() {
        let length = nop(rest).ok_or_else(|| format!("{rest:02x?} is no NOP"))?;
        rest = &rest[length..];
    }
    let mut before = 0;
    for way in ways {
        let at = way.get() as usize;
        let is_branch = at
            .checked_sub(2)
            .and_then(|from| bytes(from, 2))
            .is_some_and(|code| code[1] == 0xe9 || code[0] == 0x0f && code[1] & 0xf0 == 0x80);
        let target = bytes(at, DISPLACEMENT)
            .and_then(|bytes| bytes.first_chunk())
            .map(|bytes| (at + DISPLACEMENT) as i64 + i64::from(i32::from_le_bytes(*bytes)));
        let own =
            *way >= function.code.start && at + DISPLACEMENT <= function.code.end.get() as usize;
        if !own || !is_branch || target != Some(poll as i64) || at <= before {
            return Err(format!("at {way} is no branch to the poll"));
        }
        before = at;
    }
    Ok(())
}

fn layout(
    function: &FunctionMap,
    boundary: &BoundaryMap,
    point: &StablePoint,
) -> Result<(), String> {
    let types: Vec<ValType> = function.locals.iter().chain(&boundary.operands).copied().collect();
    let mut free = StablePoint::HEADER;
    let mut next = 0;
    for &(slot, offset) in &point.slots {
        let Some(ty) = types.get(slot.index()) else {
            return Err(format!("there is no slot {}", slot.get()));
        };
        if slot.get() < next {
            return Err(format!("slot {} twice, or out of order", slot.get()));
        }
        if offset < free || !offset.is_multiple_of(buffer_bytes(*ty)) {
            return Err(format!("slot {}, {ty}, at {offset}", slot.get()));
        }
        next = slot.get() + 1;
        free = offset.saturating_add(buffer_bytes(*ty));
    }
    Ok(())
}
