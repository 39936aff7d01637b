//! Text: pieces of code one after the other, calls between them resolved.
//!
//! All pieces are in one image, so every reference is a 32-bit displacement.

use crate::abi::Symbol;
use crate::cfi;
use crate::error::CompileError;
use crate::lower::{Piece, Target};
use cranelift_codegen::isa::unwind::systemv::UnwindInfo;
use dwarf_map::{CodeOffset, SubjectAddr};
use gimli::X86_64;
use gimli::write::{Address, CallFrameInstruction, FrameTable};
use std::collections::HashMap;
use std::ops::Range;

/// Alignment of functions: what Cranelift prefers on x86-64.
const ALIGNMENT: usize = 16;

/// Fills the gaps: running into one stops at once.
const FILLER: u8 = 0xcc;

/// Most bytes of text; displacements reach no further.
const MAX_TEXT: usize = i32::MAX as usize;

/// Text under construction.
#[derive(Default)]
pub(crate) struct Text {
    /// Bytes by which each piece lies behind where it would, as far as its own
    /// alignment allows.
    shift: u32,
    bytes: Vec<u8>,
    places: HashMap<Key, CodeOffset>,
    fixups: Vec<(u32, Target, i64)>,
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
    /// Text whose pieces all lie some bytes behind where they would.
    pub fn shifted(shift: u32) -> Text {
        Text { shift, ..Text::default() }
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
        self.bytes.resize(start as usize, FILLER);
        self.bytes.extend_from_slice(&piece.code);
        let fixups = piece.fixups.into_iter();
        self.fixups.extend(fixups.map(|fixup| (start + fixup.at, fixup.target, fixup.addend)));
        self.unwind.push((CodeOffset::new(start), target, piece.unwind, piece.moved));
        self.places.insert(target.into(), CodeOffset::new(start));
        Ok(CodeOffset::new(start)..CodeOffset::new(end))
    }

    /// Extends the text to this offset.
    pub fn reserve(&mut self, end: u32) -> Result<(), CompileError> {
        if end as usize > MAX_TEXT {
            return Err(CompileError::too_large("over 2 GiB of machine code"));
        }
        self.bytes.resize(self.bytes.len().max(end as usize), FILLER);
        Ok(())
    }

    /// Library functions that are referred to, by position.
    pub fn libraries(&self) -> Vec<usize> {
        let mut used: Vec<usize> = self
            .fixups
            .iter()
            .filter_map(|&(_, target, _)| match target {
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
        outermost.add_instruction(CallFrameInstruction::Undefined(X86_64::RA));
        let plain = common.clone();
        let [common, outermost] = [common, outermost].map(|cie| table.add_cie(cie));
        for (start, target, unwind, moved) in &self.unwind {
            let cie = match target {
                Target::Symbol(Symbol::Entry(_)) => outermost,
                _ => common,
            };
            let address = Address::Constant(start.at(text).get());
            let entry = unwind.to_fde(address);
            let entry =
                if *moved == 0 { entry } else { cfi::moved(entry, address, &plain, *moved)? };
            table.add_fde(cie, entry);
        }
        Ok(table)
    }

    /// Resolves everything.
    pub fn finish(mut self) -> Result<Vec<u8>, CompileError> {
        for (at, target, addend) in self.fixups {
            let place = self
                .places
                .get(&target.into())
                .ok_or_else(|| CompileError::bug(format!("{target:?} was not compiled")))?;
            let displacement = i64::from(place.get()) + addend - i64::from(at);
            let displacement = i32::try_from(displacement).map_err(CompileError::bug)?;
            let field = self
                .bytes
                .get_mut(at as usize..)
                .and_then(|bytes| bytes.first_chunk_mut::<4>())
                .ok_or_else(|| CompileError::bug("a relocation beyond the code"))?;
            *field = displacement.to_le_bytes();
        }
        Ok(self.bytes)
    }
}
