//! Maps made wrong: a slot that is said to be elsewhere, a boundary that is not where
//! the map has it, a frame that is found in the wrong place.

use super::{boundary_mut, function};
use crate::error::CommandError;
use aot_backend::Image;
use dwarf_map::unwind::{CfaRule, Unwinder};
use dwarf_map::{Anchor, CodeOffset, DwarfReg, Expression, Input, Location};
use gimli::{BaseAddresses, CieOrFde, DebugFrame, LittleEndian, UnwindSection};
use wasm_view::{Cell, FuncIdx, WasmOffset};

/// What is wrong with a boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BoundaryFault {
    /// The map says that the compiler eliminated it.
    Missing,
    /// Its anchor and that of the next one change places.
    Swapped,
}

impl BoundaryFault {
    /// Every kind.
    pub const ALL: [BoundaryFault; 2] = [BoundaryFault::Missing, BoundaryFault::Swapped];

    /// The spelling on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            BoundaryFault::Missing => "missing",
            BoundaryFault::Swapped => "swapped",
        }
    }

    /// Puts the fault into an image; answers what changed.
    ///
    /// # Errors
    /// A boundary without an anchor, or without one that it could be taken for.
    pub fn inject(
        self,
        image: &mut Image,
        func: FuncIdx,
        offset: WasmOffset,
    ) -> Result<String, CommandError> {
        let none = |what: &str| {
            let kind = self.name();
            CommandError::input(format_args!("--inject boundary:{func}:{offset}:{kind}: {what}"))
        };
        let other = anchored_after(image, func, offset);
        let boundary = boundary_mut(image, func, offset)?;
        let pc = boundary.anchor.pc().ok_or_else(|| none("it has no anchor"))?;
        let old = boundary.anchor;
        match self {
            BoundaryFault::Missing => {
                boundary.anchor = Anchor::Eliminated;
                Ok(format!("its anchor {pc} -> eliminated"))
            }
            BoundaryFault::Swapped => {
                let (next, anchor) = other.ok_or_else(|| none("no other has an anchor behind"))?;
                boundary.anchor = anchor;
                boundary_mut(image, func, next)?.anchor = old;
                Ok(format!("its anchor {pc} and that of {next} changed places"))
            }
        }
    }
}

/// The next boundary of a function, in the order of the bytecode, that has an anchor.
pub fn anchored_after(
    image: &Image,
    func: FuncIdx,
    offset: WasmOffset,
) -> Option<(WasmOffset, Anchor)> {
    let behind = function(image, func).ok()?.boundaries.iter().filter(|b| b.offset > offset);
    let mut anchored = behind.filter(|boundary| boundary.anchor.pc().is_some());
    anchored.next().map(|boundary| (boundary.offset, boundary.anchor))
}

/// What the frame address is wrong by.
const FRAME_DISTANCE: u8 = 8;

/// Where the call frame information of a function gives its frame address as the usual
/// 16 bytes (return address and frame pointer) above a register: the place of that
/// number in the section.
pub fn frame_size(image: &Image, func: FuncIdx) -> Option<usize> {
    /// `DW_CFA_def_cfa_offset` and its operand (DWARF 5, 6.4.2.2 and 7.24).
    const OFFSET_16: [u8; 2] = [0x0e, 16];
    /// Length, pointer to the common entry, address and size of the code.
    const HEADER: usize = 4 + 4 + 8 + 8;
    let code = function(image, func).ok()?.code.clone();
    let start = code.start.at(image.text_address).get();
    let section = DebugFrame::new(&image.frames, LittleEndian);
    let bases = BaseAddresses::default();
    let mut entries = section.entries(&bases);
    while let Ok(Some(entry)) = entries.next() {
        let CieOrFde::Fde(partial) = entry else { continue };
        let entry = partial.parse(DebugFrame::cie_from_offset).ok()?;
        if entry.initial_address() != start {
            continue;
        }
        let from = entry.offset() + HEADER;
        let end = entry.offset() + 4 + entry.entry_len();
        let program = image.frames.get(from..end)?;
        let found = program.windows(2).position(|bytes| bytes == OFFSET_16)?;
        return Some(from + found + 1);
    }
    None
}

/// Gives every boundary of a function a frame address eight bytes too high; answers
/// what changed at one of them.
///
/// # Errors
/// A boundary without an anchor, and frame information of another form than is usual.
pub fn inject_frame(
    image: &mut Image,
    func: FuncIdx,
    offset: WasmOffset,
) -> Result<String, CommandError> {
    let none = |what: &str| {
        CommandError::input(format_args!("--inject frame:{func}:{offset}:cfa: {what}"))
    };
    let pc = boundary_mut(image, func, offset)?.anchor.pc();
    let pc = pc.ok_or_else(|| none("it has no anchor"))?;
    let right = frame_rule(image, pc)?;
    let place = frame_size(image, func).and_then(|place| image.frames.get_mut(place));
    *place.ok_or_else(|| none("the frame address is not 16 bytes above a register"))? +=
        FRAME_DISTANCE;
    let wrong = frame_rule(image, pc)?;
    if wrong != displaced_frame(right) {
        return Err(none("the frame address there has a rule of its own"));
    }
    let text = |rule: CfaRule| format!("register {} {:+}", rule.reg.0, rule.offset);
    Ok(format!("frame address {} -> {}", text(right), text(wrong)))
}

/// The rule that [`inject_frame`] makes of one.
pub fn displaced_frame(rule: CfaRule) -> CfaRule {
    CfaRule { offset: rule.offset + i64::from(FRAME_DISTANCE), ..rule }
}

fn frame_rule(image: &Image, pc: CodeOffset) -> Result<CfaRule, CommandError> {
    let text = image.text.len() as u32;
    let unwinder = Unwinder::new(&image.frames, image.text_address, text);
    unwinder.and_then(|unwinder| unwinder.cfa_rule(pc)).map_err(CommandError::input)
}

/// Another location for a slot, as a wrong map of a function with these
/// expressions would have it; `None` when it has none.
pub fn displaced(location: Location, expressions: &[Expression]) -> Option<Location> {
    Some(match location {
        // Not rsp and not rbp: their neighbours instead.
        Location::Register(DwarfReg(number)) if number < 16 => {
            let next = (number + 1) % 16;
            Location::Register(DwarfReg(if matches!(next, 6 | 7) { 8 } else { next }))
        }
        Location::Register(DwarfReg(number)) => {
            Location::Register(DwarfReg(17 + (number - 17 + 1) % 16))
        }
        Location::CfaOffset(offset) => Location::CfaOffset(offset - 8),
        Location::Constant(cell) => Location::Constant(Cell(cell.0 ^ 1)),
        // Where something is that it is computed from.
        Location::Derived(index) => match expressions.get(index.index())?.inputs().next()? {
            Input::Register(register) => Location::Register(register),
            Input::Frame(offset) => Location::CfaOffset(offset),
        },
        Location::Unavailable(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_displaced_location_is_another_one() {
        for number in (0..16).chain(17..33).filter(|n| !matches!(n, 6 | 7)) {
            let old = Location::Register(DwarfReg(number));
            let new = displaced(old, &[]);
            assert!(new.is_some() && new != Some(old));
        }
    }
}
