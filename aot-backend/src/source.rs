//! Lines of the original source, from the module's own DWARF.
//!
//! DWARF in a Wasm module lives in custom sections, and its code addresses
//! count from the start of the code section's content (DWARF for WebAssembly,
//! "Code section offsets"). Only the line programs are read. A module's
//! debugging information is whatever its producer left there: what is broken
//! is left out, for it is a help and never a condition.

use dwarf_map::dwarf::SourceLines;
use gimli::{AttributeValue, Dwarf, EndianSlice, LittleEndian};
use std::collections::{BTreeMap, HashMap};
use wasm_view::WasmOffset;
use wasmparser::{Parser, Payload};

type Reader<'a> = EndianSlice<'a, LittleEndian>;

/// The lines that a module names; none if it has no DWARF.
pub(crate) fn lines(wasm: &[u8]) -> SourceLines {
    let mut sections: HashMap<&str, &[u8]> = HashMap::new();
    let mut code = None;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload {
            Ok(Payload::CodeSectionStart { range, .. }) => code = Some(range),
            Ok(Payload::CustomSection(section)) if section.name().starts_with(".debug_") => {
                sections.insert(section.name(), section.data());
            }
            _ => {}
        }
    }
    let mut found = SourceLines::default();
    let (Some(code), true) = (code, sections.contains_key(".debug_line")) else { return found };
    let load = |id: gimli::SectionId| {
        let bytes = sections.get(id.name()).copied().unwrap_or_default();
        Ok::<_, gimli::Error>(Reader::new(bytes, LittleEndian))
    };
    let Ok(dwarf) = Dwarf::load(load) else { return found };
    let mut files = HashMap::new();
    let mut sequences = Vec::new();
    let mut units = dwarf.units();
    while let Ok(Some(header)) = units.next() {
        if let Ok(unit) = dwarf.unit(header) {
            // What was read before a fault stays.
            let _ = program(&dwarf, &unit, &mut found.files, &mut files, &mut sequences);
        }
    }
    // A linker that drops functions leaves their sequences at address 0 or at
    // its largest.
    let length = code.end.saturating_sub(code.start) as u64;
    sequences.retain(|rows: &Vec<Row>| {
        let span = rows.first().zip(rows.last());
        span.is_some_and(|(first, last)| first.0 > 0 && last.0 <= length)
    });
    sequences.sort_by_key(|rows| rows.first().map(|row| row.0));
    for (address, place) in sequences.into_iter().flatten() {
        if let Some(offset) = u32::try_from(code.start as u64 + address).ok().map(WasmOffset::new) {
            found.starts.insert(offset, place);
        }
    }
    found
}

/// An address and the file and line from there on.
type Row = (u64, Option<(u32, u32)>);

/// Reads a unit's line program.
fn program<'a>(
    dwarf: &Dwarf<Reader<'a>>,
    unit: &gimli::Unit<Reader<'a>>,
    files: &mut Vec<(String, String)>,
    known: &mut HashMap<(String, String), u32>,
    sequences: &mut Vec<Vec<Row>>,
) -> Result<(), gimli::Error> {
    let Some(program) = unit.line_program.clone() else { return Ok(()) };
    let compiled_in = unit.comp_dir.map(text).unwrap_or_default();
    let mut by_index: BTreeMap<u64, Option<u32>> = BTreeMap::new();
    let mut rows = program.rows();
    let mut sequence: Vec<Row> = Vec::new();
    while let Some((header, row)) = rows.next_row()? {
        if row.end_sequence() {
            sequence.push((row.address(), None));
            sequences.push(std::mem::take(&mut sequence));
            continue;
        }
        let index = row.file_index();
        let file = match by_index.get(&index) {
            Some(file) => *file,
            None => {
                let path = header.file(index).and_then(|entry| {
                    let name = string(dwarf, unit, entry.path_name())?;
                    let directory = entry.directory(header);
                    let directory = directory.and_then(|path| string(dwarf, unit, path));
                    place(&compiled_in, &directory.unwrap_or_default(), &name)
                });
                let file = path.and_then(|path| {
                    if let Some(known) = known.get(&path) {
                        return Some(*known);
                    }
                    let number = u32::try_from(files.len()).ok()?;
                    files.push(path.clone());
                    known.insert(path, number);
                    Some(number)
                });
                by_index.insert(index, file);
                file
            }
        };
        let line = row.line().and_then(|line| u32::try_from(line.get()).ok());
        sequence.push((row.address(), file.zip(line)));
    }
    Ok(())
}

fn text(bytes: Reader<'_>) -> String {
    bytes.to_string_lossy().into_owned()
}

fn string<'a>(
    dwarf: &Dwarf<Reader<'a>>,
    unit: &gimli::Unit<Reader<'a>>,
    value: AttributeValue<Reader<'a>>,
) -> Option<String> {
    dwarf.attr_string(unit, value).ok().map(text)
}

/// A path without what stands for the present directory at its start.
fn plain(mut path: &str) -> &str {
    while let Some(rest) = path.strip_prefix("./") {
        path = rest;
    }
    if path == "." { "" } else { path }
}

/// Directory and name, neither of them empty.
fn place(compiled_in: &str, directory: &str, name: &str) -> Option<(String, String)> {
    let (compiled_in, directory, name) = (plain(compiled_in), plain(directory), plain(name));
    if name.is_empty() || [compiled_in, directory, name].iter().any(|part| part.contains('\0')) {
        return None;
    }
    let join = |base: &str, path: &str| match (path.starts_with('/'), base, path) {
        (true, _, _) | (_, "", _) => path.to_owned(),
        (_, base, "") => base.to_owned(),
        _ => format!("{}/{path}", base.trim_end_matches('/')),
    };
    let directory = join(compiled_in, directory);
    let directory = if directory.is_empty() { ".".to_owned() } else { directory };
    match name.rsplit_once('/') {
        None => Some((directory, name.to_owned())),
        Some((inner, last)) if !last.is_empty() => Some((join(&directory, inner), last.to_owned())),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_come_apart() {
        let place = |a, b, c| place(a, b, c).map(|(directory, name)| format!("{directory}|{name}"));
        assert_eq!(place("/home", "", "./a.c").as_deref(), Some("/home|a.c"));
        assert_eq!(place("/home", "src", "a.c").as_deref(), Some("/home/src|a.c"));
        assert_eq!(place("/home", "/usr", "b/a.c").as_deref(), Some("/usr/b|a.c"));
        assert_eq!(place("", "", "a.c").as_deref(), Some(".|a.c"));
        assert_eq!(place(".", "./", "././a.c").as_deref(), Some(".|a.c"));
        assert_eq!(place("./b", ".", "a.c").as_deref(), Some("b|a.c"));
        assert_eq!(place("/home", "", ""), None);
        assert_eq!(place("/home", "", "a/"), None);
    }

    #[test]
    fn a_module_without_dwarf_names_nothing() {
        assert_eq!(lines(b"\0asm\x01\0\0\0"), SourceLines::default());
        assert_eq!(lines(b"no module"), SourceLines::default());
    }
}
