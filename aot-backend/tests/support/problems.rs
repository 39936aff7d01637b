//! Everything that can be found wrong with an image without running it.
#![allow(dead_code)] // each user needs a part of it

use super::machine_flow;
use aot_backend::Image;
use dwarf_map::check::{check, check_dwarf};
use dwarf_map::unwind::Unwinder;
use dwarf_map::{Anchor, FunctionMap};
use iced_x86::InstructionInfoFactory;
use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpAccess, OpKind};
use std::collections::BTreeSet;
use wasm_view::Trap;

/// One line per problem.
pub fn of(image: &Image) -> Vec<String> {
    let mut problems = Vec::new();
    if let Err(problem) = machine_flow::check(image) {
        problems.push(problem);
    }
    anchors(image, &mut problems);
    traps(image, &mut problems);
    match Unwinder::new(&image.frames, image.text_address, image.text.len() as u32) {
        Ok(unwinder) => {
            let violations = check(&image.map, &image.text, &unwinder);
            problems.extend(violations.iter().map(ToString::to_string));
        }
        Err(error) => problems.push(error.to_string()),
    }
    match image.sections() {
        Ok(sections) if sections.contains_key(".debug_info") => {
            let section = |name: &str| sections.get(name).map(Vec::as_slice).unwrap_or_default();
            let violations = check_dwarf(&image.map, image.text_address, &section);
            problems.extend(violations.iter().map(ToString::to_string));
        }
        Ok(_) => {}
        Err(error) => problems.push(error.to_string()),
    }
    match Image::from_elf(&image.elf) {
        Ok(read) => {
            let same = read.map == image.map && read.text == image.text;
            if !same || read.frames != image.frames || read.wasm != image.wasm {
                problems.push("the image does not read back as it was written".into());
            }
        }
        Err(error) => problems.push(format!("the image does not read back: {error}")),
    }
    problems
}

/// Each anchor its own, and a trap instruction.
fn anchors(image: &Image, problems: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for function in &image.map.functions {
        for boundary in &function.boundaries {
            let Anchor::Trap(pc) = boundary.anchor else {
                continue;
            };
            if image.text.get(pc.get() as usize) != Some(&0xcc) {
                problems.push(format!("no trap instruction for {}", boundary.offset));
            }
            if !seen.insert(pc) {
                problems.push(format!("{} shares its anchor", boundary.offset));
            }
        }
    }
}

/// Each trap site an instruction that can fault the way the trap says.
fn traps(image: &Image, problems: &mut Vec<String>) {
    let mut info = InstructionInfoFactory::new();
    for function in &image.map.functions {
        for site in &function.traps {
            let instruction = decode(image, function, site.pc.get());
            let fits = match instruction.mnemonic() {
                Mnemonic::Ud2 => true,
                Mnemonic::Div | Mnemonic::Idiv => {
                    matches!(site.trap, Trap::IntegerDivideByZero | Trap::IntegerOverflow)
                }
                _ => {
                    site.trap == Trap::MemoryOutOfBounds && touches_memory(&instruction, &mut info)
                }
            };
            if !fits {
                problems.push(format!("{:?} at {} cannot be `{instruction}`", site.trap, site.pc));
            }
        }
    }
}

fn touches_memory(instruction: &Instruction, info: &mut InstructionInfoFactory) -> bool {
    let info = info.info(instruction);
    (0..instruction.op_count()).any(|operand| {
        instruction.op_kind(operand) == OpKind::Memory
            && !matches!(info.op_access(operand), OpAccess::None | OpAccess::NoMemAccess)
    })
}

fn decode(image: &Image, function: &FunctionMap, pc: u32) -> Instruction {
    let bytes = &image.text[pc as usize..function.code.end.get() as usize];
    Decoder::with_ip(64, bytes, u64::from(pc), DecoderOptions::NONE).decode()
}
