//! `.debug_line`: from addresses to lines of the generated listing.
//!
//! A sequence per function, so that nothing is claimed about the code between
//! functions. It opens at the function's first byte with the line of its first
//! instruction, which makes a breakpoint by function name land in the listing,
//! and has a row at the trap of every boundary.

use super::{DwarfInput, ENCODING};
use crate::FunctionMap;
use gimli::LineEncoding;
use gimli::write::{Address, DwarfUnit, FileId, LineProgram, LineString};

/// Gives the unit its line program. Returns the listing's file.
pub(super) fn write(unit: &mut DwarfUnit, input: &DwarfInput<'_>) -> FileId {
    let strings = &mut unit.line_strings;
    let directory = LineString::new(input.listing_dir, ENCODING, strings);
    // File 0 is by definition the unit itself, file 1 what the rows name.
    let program = LineString::new(input.program, ENCODING, strings);
    let listing = LineString::new(input.listing_file, ENCODING, strings);
    let mut lines =
        LineProgram::new(ENCODING, LineEncoding::default(), directory, None, program, None);
    let listing = lines.add_file(listing, lines.default_directory(), None);
    for function in &input.map.functions {
        sequence(&mut lines, input, function, listing);
    }
    unit.unit.line_program = lines;
    listing
}

fn sequence(
    lines: &mut LineProgram,
    input: &DwarfInput<'_>,
    function: &FunctionMap,
    listing: FileId,
) {
    let line = |offset| input.lines.get(&offset).map(|line| u64::from(*line));
    let code = function.code.start.get()..function.code.end.get();
    let mut rows: Vec<(u32, u64)> = Vec::new();
    for boundary in &function.boundaries {
        if let (Some(pc), Some(line)) = (boundary.anchor.pc(), line(boundary.offset))
            && code.contains(&pc.get())
        {
            rows.push((pc.get(), line));
        }
    }
    let first = function.boundaries.first().and_then(|boundary| line(boundary.offset));
    if let Some(first) = first {
        rows.push((code.start, first));
    }
    rows.sort_unstable();
    rows.dedup_by_key(|(pc, _)| *pc);
    if rows.is_empty() {
        return;
    }
    lines.begin_sequence(Some(Address::Constant(function.code.start.at(input.text).get())));
    for (pc, line) in rows {
        let row = lines.row();
        row.address_offset = u64::from(pc - code.start);
        row.file = listing;
        row.line = line;
        row.is_statement = true;
        lines.generate_row();
    }
    lines.end_sequence(u64::from(code.end - code.start));
}
