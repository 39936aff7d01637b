//! Native code as text, around a PC.

use aot_backend::Image;
use capstone::Capstone;
use capstone::arch::{self, BuildsCapstone, BuildsCapstoneExtraMode};
use dwarf_map::{CodeOffset, FunctionMap, Isa, SubjectAddr};
use iced_x86::{Decoder, DecoderOptions, Formatter, Instruction, IntelFormatter};
use std::ops::Range;

/// Instructions shown before and after the PC.
const AROUND: usize = 6;

/// One instruction.
pub struct Line {
    /// Its address in the subject.
    pub address: SubjectAddr,
    /// Its text; of x86-64 in Intel syntax.
    pub text: String,
}

/// Disassembles code from an instruction boundary on.
pub fn disassemble(image: &Image, range: Range<CodeOffset>) -> Vec<Line> {
    let bytes = image.text.get(range.start.get() as usize..range.end.get() as usize);
    let start = range.start.at(image.text_address).get();
    if image.map.isa() != Isa::X86_64 {
        return foreign(image.map.isa(), bytes.unwrap_or_default(), start);
    }
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

/// Likewise, of another instruction set. What is no instruction (constants lie among
/// the code) is shown as bytes.
fn foreign(isa: Isa, code: &[u8], start: u64) -> Vec<Line> {
    let capstone = match isa {
        Isa::X86_64 => return Vec::new(),
        Isa::Aarch64 => Capstone::new().arm64().mode(arch::arm64::ArchMode::Arm).build(),
        Isa::Riscv64 => Capstone::new()
            .riscv()
            .mode(arch::riscv::ArchMode::RiscV64)
            .extra_mode([arch::riscv::ArchExtraMode::RiscVC].into_iter())
            .build(),
        Isa::S390x => Capstone::new().sysz().mode(arch::sysz::ArchMode::Default).build(),
    };
    let mut lines = Vec::new();
    let mut at = 0;
    while let Some(rest) = code.get(at..).filter(|rest| !rest.is_empty()) {
        let length = isa.instruction_length(rest).unwrap_or(rest.len());
        let bytes = rest.get(..length).unwrap_or(rest);
        let address = start + at as u64;
        let found = capstone.as_ref().ok().and_then(|it| it.disasm_count(bytes, address, 1).ok());
        let text = match found.as_ref().and_then(|found| found.iter().next()) {
            Some(instruction) => {
                let (name, operands) = (instruction.mnemonic(), instruction.op_str());
                format!("{} {}", name.unwrap_or("?"), operands.unwrap_or("")).trim().to_owned()
            }
            None => format!(".byte {bytes:02x?}"),
        };
        lines.push(Line { address: SubjectAddr::new(address), text });
        at += length;
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
    let mut all = functions.chain(others).chain(entries).chain(&image.instantiate);
    let Some(code) = all.find(|code| inside(code)) else {
        return Vec::new();
    };
    let mut lines = disassemble(image, code.clone());
    let at = lines.iter().position(|line| line.address >= pc).unwrap_or(lines.len());
    let to = (at + AROUND + 1).min(lines.len());
    lines.truncate(to);
    lines.drain(..at.saturating_sub(AROUND));
    lines
}
