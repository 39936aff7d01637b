//! DWARF for debuggers: the map in the words that gdb understands.
//!
//! DWARF 5, one compilation unit for the whole image, everything at absolute
//! addresses, since an image is static and is never relocated:
//!
//! | section | content |
//! |---|---|
//! | `.debug_info` | a subprogram per function, thunk and entry; in functions a parameter or variable per local, and a variable `stackN_TYPE` per operand depth and type that occurs |
//! | `.debug_loclists` | where each of them is, at boundaries and while suspended in a call |
//! | `.debug_line` | the line of the generated listing for each boundary; in a unit of its own, that of the original source |
//! | `.debug_frame` | call frame information, from the compiler |
//!
//! What is claimed is what the map knows and no more: a variable has a
//! location for the one or two bytes from a boundary's trap on (see
//! [`points`]), and from there to the next point if it is there too and the code
//! in between leaves the place alone ([`quiet`]). It is otherwise "optimized
//! out": anything more would be a guess.

mod entries;
mod lines;
mod loclists;
pub mod points;
pub mod quiet;
mod source;
pub mod variables;

pub use source::SourceLines;

use crate::unwind::endian;
use crate::{ImageMap, SubjectAddr};
use gimli::write::{DwarfUnit, EndianVec, FrameTable, Sections};
use gimli::{Encoding, Format};
use std::collections::BTreeMap;
use wasm_view::WasmOffset;

/// Why no DWARF could be written.
#[derive(Debug, thiserror::Error)]
pub enum DwarfError {
    /// A path is empty or holds a zero byte.
    #[error("the {0} cannot be named in DWARF: it is empty or holds a zero byte")]
    Path(&'static str),
    /// A function's code does not lie in the image's text.
    #[error("code {start:#x}..{end:#x} lies outside the text of {text_size:#x} bytes")]
    OutsideText {
        /// Its first byte.
        start: u32,
        /// The byte after its last.
        end: u32,
        /// Bytes of text.
        text_size: u32,
    },
    /// A section passed the 4 GiB that 32-bit DWARF can address.
    #[error("{0} is larger than 4 GiB")]
    TooLarge(&'static str),
    /// The writer library refused.
    #[error("writing DWARF: {0}")]
    Write(#[from] gimli::write::Error),
}

/// What an image's DWARF is made from.
#[derive(Debug)]
pub struct DwarfInput<'a> {
    /// The map.
    pub map: &'a ImageMap,
    /// Where `.text` is loaded.
    pub text: SubjectAddr,
    /// Bytes of `.text`.
    pub text_size: u32,
    /// The bytes themselves. Of what is missing nothing is said but at the points.
    pub code: &'a [u8],
    /// The module's file name, for the compilation unit's name.
    pub program: &'a str,
    /// Directory of the listing.
    pub listing_dir: &'a str,
    /// File name of the listing, one Wasm instruction a line.
    pub listing_file: &'a str,
    /// Line of each instruction in the listing, from 1.
    pub lines: &'a BTreeMap<WasmOffset, u32>,
    /// Lines of the original source.
    pub source: &'a SourceLines,
    /// Call frame information at absolute addresses.
    pub frames: FrameTable,
}

/// DWARF 5 in its 32-bit format, 64-bit addresses.
const ENCODING: Encoding = Encoding { format: Format::Dwarf32, version: 5, address_size: 8 };

/// Writes the sections, each with its ELF name.
pub fn write(input: DwarfInput<'_>) -> Result<Vec<(&'static str, Vec<u8>)>, DwarfError> {
    for (what, path) in [
        ("program", input.program),
        ("listing's directory", input.listing_dir),
        ("listing", input.listing_file),
    ] {
        if path.is_empty() || path.contains('\0') {
            return Err(DwarfError::Path(what));
        }
    }
    check_ranges(&input)?;

    let mut unit = DwarfUnit::new(ENCODING);
    let file = lines::write(&mut unit, &input);
    let loclists = entries::write(&mut unit, &input, file)?;
    let mut sections = Sections::new(EndianVec::new(endian(input.map.isa())));
    unit.write(&mut sections)?;
    if let Some(mut unit) = source::unit(&input) {
        unit.write(&mut sections)?;
    }
    input.frames.write_debug_frame(&mut sections.debug_frame)?;

    let mut written = Vec::new();
    sections.for_each_mut(|id, content| {
        let bytes = content.take();
        if u32::try_from(bytes.len()).is_err() {
            return Err(DwarfError::TooLarge(id.name()));
        }
        if !bytes.is_empty() {
            written.push((id.name(), bytes));
        }
        Ok(())
    })?;
    if let Some(bytes) = loclists {
        written.push((gimli::SectionId::DebugLocLists.name(), bytes));
    }
    Ok(written)
}

/// Everything below relies on code ranges within the text: addresses are sums
/// that then cannot overflow.
fn check_ranges(input: &DwarfInput<'_>) -> Result<(), DwarfError> {
    let map = input.map;
    let functions = map.functions.iter().map(|each| &each.code);
    let thunks = map.thunks.iter().map(|each| &each.code);
    let entries = map.entries.iter().map(|each| &each.code);
    for code in functions.chain(thunks).chain(entries) {
        let (start, end) = (code.start.get(), code.end.get());
        if start > end || end > input.text_size {
            return Err(DwarfError::OutsideText { start, end, text_size: input.text_size });
        }
    }
    Ok(())
}
