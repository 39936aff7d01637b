//! `.debug_line` of the original source, where the module names one.
//!
//! A debugger that asks by address shall get the line of the listing: variables
//! are those of the Wasm, and it is executed one instruction at a time. Asked
//! for `file.c:18`, it shall find the code. One line table cannot have two lines
//! for one address, so this is a unit of its own, whose code lies behind the text's
//! last byte and so is nobody's: an address is looked up in the unit that has
//! it, a line in all of them.
//!
//! A row stands at the trap of a boundary, like those of the listing, and only
//! where the line is another than that of the code before it. Where the module
//! names no line the table says nothing: a sequence ends.

use super::{DwarfInput, ENCODING};
use crate::FunctionMap;
use gimli::write::{Address, AttributeValue, DwarfUnit, FileId, LineProgram, LineString};
use gimli::{
    DW_AT_comp_dir, DW_AT_high_pc, DW_AT_language, DW_AT_low_pc, DW_AT_name, DW_AT_producer,
    DW_LANG_C99, LineEncoding,
};
use std::collections::{BTreeMap, HashMap};
use wasm_view::WasmOffset;

/// Which line of which original source each instruction comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceLines {
    /// Directory and name of each file; neither is empty or holds a zero byte.
    pub files: Vec<(String, String)>,
    /// From each of these instructions on: a position in `files` and a line from
    /// 1, or nothing.
    pub starts: BTreeMap<WasmOffset, Option<(u32, u32)>>,
}

impl SourceLines {
    /// File and line of the instruction at an offset.
    pub fn at(&self, offset: WasmOffset) -> Option<(u32, u32)> {
        self.starts.range(..=offset).next_back().and_then(|(_, place)| *place)
    }
}

/// The unit; `None` when no code comes from a known line.
pub(super) fn unit(input: &DwarfInput<'_>) -> Option<DwarfUnit> {
    let sequences: Vec<_> = input.map.functions.iter().flat_map(|f| sequences(input, f)).collect();
    let (_, _, first) = sequences.first()?;
    let first = first.first()?.1;
    let mut unit = DwarfUnit::new(ENCODING);
    let (directory, name) = input.source.files.get(first as usize)?.clone();
    let mut lines = LineProgram::new(
        ENCODING,
        LineEncoding::default(),
        inline(&directory),
        None,
        inline(&name),
        None,
    );
    let mut files: HashMap<u32, FileId> = HashMap::new();
    for (begin, end, rows) in sequences {
        lines.begin_sequence(Some(Address::Constant(input.text.offset(i64::from(begin)).get())));
        for (pc, file, line) in rows {
            let id = match files.get(&file) {
                Some(id) => *id,
                None => {
                    let (directory, name) = input.source.files.get(file as usize)?;
                    let directory = lines.add_directory(inline(directory));
                    let id = lines.add_file(inline(name), directory, None);
                    files.insert(file, id);
                    id
                }
            };
            let row = lines.row();
            row.address_offset = u64::from(pc - begin);
            row.file = id;
            row.line = u64::from(line);
            row.is_statement = true;
            lines.generate_row();
        }
        lines.end_sequence(u64::from(end - begin));
    }
    unit.unit.line_program = lines;
    let end = input.text.offset(i64::from(input.text_size)).get();
    // Tables of strings are the other unit's.
    let producer = AttributeValue::String(b"wdiff, lines of the original source".to_vec());
    let (name, directory) =
        (AttributeValue::String(name.into()), AttributeValue::String(directory.into()));
    let root = unit.unit.root();
    let entry = unit.unit.get_mut(root);
    entry.set(DW_AT_producer, producer);
    entry.set(DW_AT_language, AttributeValue::Language(DW_LANG_C99));
    entry.set(DW_AT_name, name);
    entry.set(DW_AT_comp_dir, directory);
    entry.set(DW_AT_low_pc, AttributeValue::Address(Address::Constant(end)));
    entry.set(DW_AT_high_pc, AttributeValue::Udata(1));
    Some(unit)
}

fn inline(text: &str) -> LineString {
    LineString::String(text.as_bytes().to_vec())
}

/// First byte, byte after the last, and rows of address, file and line.
type Sequence = (u32, u32, Vec<(u32, u32, u32)>);

/// Pieces of a function's code that come from known lines.
fn sequences(input: &DwarfInput<'_>, function: &FunctionMap) -> Vec<Sequence> {
    let (start, end) = (function.code.start.get(), function.code.end.get());
    let mut anchors: Vec<(u32, Option<(u32, u32)>)> = function
        .boundaries
        .iter()
        .filter_map(|boundary| {
            let pc = boundary.anchor.pc()?.get();
            (start..end).contains(&pc).then(|| (pc, input.source.at(boundary.offset)))
        })
        .collect();
    anchors.sort_unstable();
    anchors.dedup_by_key(|(pc, _)| *pc);
    let mut done: Vec<Sequence> = Vec::new();
    let mut open: Option<Sequence> = None;
    for (pc, place) in anchors {
        match (place, &mut open) {
            (Some((file, line)), Some((_, _, rows))) => {
                if rows.last().is_none_or(|last| (last.1, last.2) != (file, line)) {
                    rows.push((pc, file, line));
                }
            }
            (Some((file, line)), None) => open = Some((pc, end, vec![(pc, file, line)])),
            (None, _) => {
                done.extend(open.take().map(|(begin, _, rows)| (begin, pc, rows)));
            }
        }
    }
    done.extend(open);
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_holds_until_the_next() {
        let at = WasmOffset::new;
        let starts = [(at(10), Some((0, 3))), (at(14), Some((1, 9))), (at(20), None)];
        let lines = SourceLines { files: Vec::new(), starts: starts.into() };
        assert_eq!(lines.at(at(9)), None);
        assert_eq!(lines.at(at(10)), Some((0, 3)));
        assert_eq!(lines.at(at(13)), Some((0, 3)));
        assert_eq!(lines.at(at(19)), Some((1, 9)));
        assert_eq!(lines.at(at(20)), None);
    }
}
