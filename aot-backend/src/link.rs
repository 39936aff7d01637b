//! Text: pieces of code one after the other, calls between them resolved.
//!
//! All pieces are in one image, so every reference is a 32-bit displacement.

use crate::abi::Symbol;
use crate::cfi;
use crate::error::CompileError;
use crate::lower::{FixupForm, Piece, Target};
use cranelift_codegen::isa::unwind::systemv::UnwindInfo;
use dwarf_map::{CodeOffset, Isa, SubjectAddr};
use gimli::Register;
use gimli::write::{Address, CallFrameInstruction, FrameTable};
use std::collections::HashMap;
use std::ops::Range;

/// Alignment of functions: what Cranelift prefers on x86-64, and enough elsewhere.
const ALIGNMENT: usize = 16;

/// Most bytes of text; displacements reach no further.
const MAX_TEXT: usize = i32::MAX as usize;

/// Text under construction.
#[derive(Default)]
pub(crate) struct Text {
    isa: Isa,
    /// Bytes by which each piece lies behind where it would, as far as its own
    /// alignment allows.
    shift: u32,
    bytes: Vec<u8>,
    places: HashMap<Key, CodeOffset>,
    fixups: Vec<(u32, Target, i64, FixupForm)>,
    unwind: Vec<(CodeOffset, Target, UnwindInfo, u32)>,
}

#[derive(PartialEq, Eq, Hash, Clone, Copy)]
enum Key {
    Symbol(Symbol),
    Library(usize),
}

impl From<Target> for Key {
    fn from(target: Target) -> Self {
        match target {
            Target::Symbol(symbol) => Key::Symbol(symbol),
            Target::Library(index) => Key::Library(index),
        }
    }
}

impl Text {
    /// An empty text, whose pieces all lie some bytes behind where they would.
    pub fn new(isa: Isa, shift: u32) -> Text {
        Text { isa, shift, ..Text::default() }
    }

    /// Fills up to an offset with traps: running into one stops at once.
    fn fill(&mut self, end: usize) {
        let missing = end.saturating_sub(self.bytes.len());
        self.bytes.extend(self.isa.filler(missing));
    }

    /// Appends a piece and says where it lies.
    pub fn add(&mut self, target: Target, piece: Piece) -> Result<Range<CodeOffset>, CompileError> {
        let shift = self.shift - self.shift % piece.alignment.max(1);
        let start = self.bytes.len().next_multiple_of(ALIGNMENT).saturating_add(shift as usize);
        let end = start.saturating_add(piece.code.len());
        if end > MAX_TEXT {
            return Err(CompileError::too_large("over 2 GiB of machine code"));
        }
        let [start, end] = [start, end].map(|at| at as u32);
        self.fill(start as usize);
        self.bytes.extend_from_slice(&piece.code);
        let fixups = piece.fixups.into_iter();
        self.fixups
            .extend(fixups.map(|fixup| (start + fixup.at, fixup.target, fixup.addend, fixup.form)));
        self.unwind.push((CodeOffset::new(start), target, piece.unwind, piece.moved));
        self.places.insert(target.into(), CodeOffset::new(start));
        Ok(CodeOffset::new(start)..CodeOffset::new(end))
    }

    /// Extends the text to this offset.
    pub fn reserve(&mut self, end: u32) -> Result<(), CompileError> {
        if end as usize > MAX_TEXT {
            return Err(CompileError::too_large("over 2 GiB of machine code"));
        }
        self.fill(end as usize);
        Ok(())
    }

    /// Library functions that are referred to, by position.
    pub fn libraries(&self) -> Vec<usize> {
        let mut used: Vec<usize> = self
            .fixups
            .iter()
            .filter_map(|&(_, target, ..)| match target {
                Target::Library(index) => Some(index),
                Target::Symbol(_) => None,
            })
            .collect();
        used.sort_unstable();
        used.dedup();
        used
    }

    /// Call frame information of all pieces, for text loaded at `text`.
    ///
    /// Nobody called an entry: its return address is undefined, which ends
    /// every debugger's walk of the stack there.
    pub fn frames(
        &self,
        text: SubjectAddr,
        isa: &dyn cranelift_codegen::isa::TargetIsa,
    ) -> Result<FrameTable, CompileError> {
        let mut table = FrameTable::default();
        let common = isa
            .create_systemv_cie()
            .ok_or_else(|| CompileError::bug("no common frame information"))?;
        let mut outermost = common.clone();
        let column = Register(self.isa.return_column());
        outermost.add_instruction(CallFrameInstruction::Undefined(column));
        let plain = common.clone();
        let [common, outermost] = [common, outermost].map(|cie| table.add_cie(cie));
        for (start, target, unwind, moved) in &self.unwind {
            let cie = match target {
                Target::Symbol(Symbol::Entry(_)) => outermost,
                _ => common,
            };
            let address = Address::Constant(start.at(text).get());
            let entry = unwind.to_fde(address);
            table.add_fde(cie, cfi::corrected(entry, address, &plain, (self.isa, *moved))?);
        }
        Ok(table)
    }

    /// Resolves everything.
    pub fn finish(mut self) -> Result<Vec<u8>, CompileError> {
        for (at, target, addend, form) in self.fixups {
            let place = self
                .places
                .get(&target.into())
                .ok_or_else(|| CompileError::bug(format!("{target:?} was not compiled")))?;
            let displacement = i64::from(place.get()) + addend - i64::from(at);
            let displacement = i32::try_from(displacement).map_err(CompileError::bug)?;
            let code = self.bytes.get_mut(at as usize..).unwrap_or_default();
            fill_in(code, form, displacement).ok_or_else(|| {
                CompileError::bug(format!("a displacement of {displacement} as {form:?}"))
            })?;
        }
        Ok(self.bytes)
    }
}

/// Writes a displacement into the code; `None` where it does not fit.
fn fill_in(code: &mut [u8], form: FixupForm, displacement: i32) -> Option<()> {
    let word = code.first_chunk_mut::<4>()?;
    match form {
        FixupForm::Bytes => *word = displacement.to_le_bytes(),
        FixupForm::Words26 => {
            let words = displacement / 4;
            if displacement % 4 != 0 || !(-(1 << 25)..1 << 25).contains(&words) {
                return None;
            }
            let old = u32::from_le_bytes(*word) & !0x03ff_ffff;
            *word = (old | words.cast_unsigned() & 0x03ff_ffff).to_le_bytes();
        }
        FixupForm::Pair => {
            // The lower part is signed: the upper one makes up for it.
            let upper = displacement.checked_add(0x800)? & !0xfff;
            let old = u32::from_le_bytes(*word) & 0xfff;
            *word = (old | upper.cast_unsigned()).to_le_bytes();
            let second = code.get_mut(4..)?.first_chunk_mut::<4>()?;
            let old = u32::from_le_bytes(*second) & 0x000f_ffff;
            let lower = displacement.wrapping_sub(upper).cast_unsigned() << 20;
            *second = (old | lower).to_le_bytes();
        }
        FixupForm::Halfwords => {
            (displacement % 2 == 0).then_some(())?;
            *word = (displacement / 2).to_be_bytes();
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displacements_are_written_in_each_form() {
        let filled = |form, code: &[u8], displacement| {
            let mut code = code.to_vec();
            fill_in(&mut code, form, displacement).map(|()| code)
        };
        let bl = 0x9400_0000_u32.to_le_bytes();
        assert_eq!(filled(FixupForm::Words26, &bl, -4), Some(0x97ff_ffff_u32.to_le_bytes().into()));
        assert_eq!(filled(FixupForm::Words26, &bl, 2), None);
        assert_eq!(filled(FixupForm::Words26, &bl, 1 << 27), None);
        // auipc ra, 0; jalr ra, 0(ra)
        let pair = [0x0000_0097_u32.to_le_bytes(), 0x0000_80e7_u32.to_le_bytes()].concat();
        for (displacement, upper, lower) in
            [(0x1234, 0x1000, 0x234), (0x1800, 0x2000, -0x800), (-4, 0, -4)]
        {
            let code = filled(FixupForm::Pair, &pair, displacement).expect("fits");
            let word = |at: usize| u32::from_le_bytes(*code[at..].first_chunk().expect("there"));
            assert_eq!((word(0) & 0xfff, word(4) & 0xf_ffff), (0x97, 0x80e7));
            let parts = ((word(0) & !0xfff).cast_signed(), word(4).cast_signed() >> 20);
            assert_eq!(parts, (upper, lower), "{displacement:#x}");
        }
        assert_eq!(filled(FixupForm::Halfwords, &[0; 4], 0x204), Some(vec![0, 0, 1, 2]));
        assert_eq!(filled(FixupForm::Halfwords, &[0; 4], 3), None);
        assert_eq!(filled(FixupForm::Bytes, &[0; 4], -2), Some(vec![0xfe, 0xff, 0xff, 0xff]));
        assert_eq!(filled(FixupForm::Bytes, &[0; 3], 0), None);
    }
}
