//! Lines of the original source, as gdb finds them in the image.
//!
//! The program's own DWARF, read by `addr2line`, says which line each Wasm
//! instruction comes from; the map says where the instruction's boundary is.
//! Asked for a line, gdb must answer with such a place, and asked for an
//! address, with the listing, as ever.

use crate::common;
use aot_backend::Image;
use libtest_mimic::Failed;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use wdiff::program;
use wdiff::source::Source;

/// Fewest lines of the source that have code.
const FEWEST: usize = 20;

/// Compares all lines of a C program's main file.
pub fn compare(opt: &str) -> Result<(), Failed> {
    let scratch = common::scratch();
    let path = scratch.path().join("image");
    let entry = corpus::program("quicksort")?;
    let mut compile = common::wdiff();
    compile.arg("compile").arg(entry.wasm_path()).args(["--opt", opt, "-o"]).arg(&path);
    let compiled = compile.output()?;
    if !compiled.status.success() {
        return Err(String::from_utf8_lossy(&compiled.stderr).into_owned().into());
    }
    let program = program::load(&path).map_err(|error| error.to_string())?;
    let source = Source::of(&program).ok_or("the program has no DWARF")?;
    let image = program.image.as_ref().ok_or("not an image")?;
    let lines = lines(image, &source);
    if lines.len() < FEWEST {
        return Err(format!("only {} lines have code", lines.len()).into());
    }

    let mut commands: Vec<String> = Vec::new();
    for line in lines.keys() {
        commands.push(format!("info line quicksort.c:{line}"));
        commands.push(format!("break quicksort.c:{line}"));
    }
    // Any of these places is a line of the listing.
    let listed = lines.values().flatten().next().copied().unwrap_or_default();
    commands.push(format!("info line *{listed:#x}"));
    let said = gdb(&path, &commands)?;
    let mut answers = said.lines();
    for (line, places) in &lines {
        let mut answer = || answers.next().ok_or("gdb says too little");
        let (info, broken) = (answer()?, answer()?);
        // The address is looked up again, as one of the listing's: that is why gdb
        // adds "but contains no code".
        let named = format!("Line {line} of \"");
        if !info.starts_with(&named) || !info.contains("quicksort.c\" is at address ") {
            return Err(format!("line {line}: {info}").into());
        }
        let at = address(info, "is at address ").filter(|at| places.contains(at));
        at.ok_or_else(|| format!("line {line} is at {places:x?}: {info}"))?;
        // With several locations gdb names none of them.
        let many = broken.contains("locations)") && places.len() > 1;
        let one = broken.contains(&format!("quicksort.c, line {line}."))
            && address(broken, " at ").is_some_and(|at| places.contains(&at));
        if !broken.starts_with("Breakpoint ") || !(many || one) {
            return Err(format!("line {line} is at {places:x?}: {broken}").into());
        }
    }
    match answers.next() {
        Some(listing) if listing.contains("image.lst\" starts at address") => Ok(()),
        other => Err(format!("{listed:#x} is no line of the listing: {other:?}").into()),
    }
}

/// Addresses of the boundaries that come from each line of the main file.
fn lines(image: &Image, source: &Source) -> BTreeMap<u32, BTreeSet<u64>> {
    let mut lines: BTreeMap<u32, BTreeSet<u64>> = BTreeMap::new();
    for boundary in image.map.functions.iter().flat_map(|function| &function.boundaries) {
        let place = source.line(boundary.offset);
        let line = place.as_deref().and_then(|place| place.rsplit_once("quicksort.c:"));
        if let (Some((_, line)), Some(pc)) = (line, boundary.anchor.pc())
            && let Ok(line @ 1..) = line.parse()
        {
            lines.entry(line).or_default().insert(pc.at(image.text_address).get());
        }
    }
    lines
}

fn gdb(image: &Path, commands: &[String]) -> Result<String, Failed> {
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-batch"]);
    for command in commands {
        gdb.args(["-ex", command]);
    }
    let output = gdb.arg(image).output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() || !stderr.trim().is_empty() {
        return Err(format!("gdb, {}: {stderr}", output.status).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The hexadecimal number behind some words.
fn address(text: &str, behind: &str) -> Option<u64> {
    let (_, rest) = text.split_once(behind)?;
    let digits = rest.strip_prefix("0x")?;
    let end = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
    u64::from_str_radix(&digits[..end], 16).ok()
}
