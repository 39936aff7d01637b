//! Native code as text, around a PC.

use aot_backend::Image;
use dwarf_map::{CodeOffset, FunctionMap, SubjectAddr};
use iced_x86::{Decoder, DecoderOptions, Formatter, Instruction, IntelFormatter};
use std::ops::Range;

/// Instructions shown before and after the PC.
const AROUND: usize = 6;

/// One instruction.
pub struct Line {
    /// Its address in the subject.
    pub address: SubjectAddr,
    /// Its text, Intel syntax.
    pub text: String,
}

/// Disassembles code from an instruction boundary on.
pub fn disassemble(image: &Image, range: Range<CodeOffset>) -> Vec<Line> {
    let bytes = image.text.get(range.start.get() as usize..range.end.get() as usize);
    let start = range.start.at(image.text_address).get();
    let mut decoder = Decoder::with_ip(64, bytes.unwrap_or_default(), start, DecoderOptions::NONE);
    let mut formatter = IntelFormatter::new();
    formatter.options_mut().set_space_after_operand_separator(true);
    formatter.options_mut().set_hex_prefix("0x");
    formatter.options_mut().set_hex_suffix("");
    formatter.options_mut().set_small_hex_numbers_in_decimal(true);
    let mut instruction = Instruction::default();
    let mut lines = Vec::new();
    while decoder.can_decode() {
        decoder.decode_out(&mut instruction);
        let mut text = String::new();
        formatter.format(&instruction, &mut text);
        lines.push(Line { address: SubjectAddr::new(instruction.ip()), text });
    }
    lines
}

/// The instructions around a PC, in whatever function it lies.
pub fn around(image: &Image, pc: SubjectAddr) -> Vec<Line> {
    let Some(offset) = pc.since(image.text_address) else { return Vec::new() };
    let inside = |code: &Range<CodeOffset>| {
        u64::from(code.start.get()) <= offset && offset < u64::from(code.end.get())
    };
    let functions = image.map.functions.iter().map(|f: &FunctionMap| &f.code);
    let others = image.map.thunks.iter().map(|t| &t.code);
    let entries = image.map.entries.iter().map(|e| &e.code);
    let Some(code) = functions.chain(others).chain(entries).find(|code| inside(code)) else {
        return Vec::new();
    };
    let mut lines = disassemble(image, code.clone());
    let at = lines.iter().position(|line| line.address >= pc).unwrap_or(lines.len());
    let to = (at + AROUND + 1).min(lines.len());
    lines.truncate(to);
    lines.drain(..at.saturating_sub(AROUND));
    lines
}
