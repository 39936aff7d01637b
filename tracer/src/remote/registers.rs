//! Where registers are in the stub's answers.
//!
//! `g` gives the general registers in one block, whose order gdb has fixed for each
//! instruction set. The others have numbers that depend on what the emulated
//! CPU has; the stub's own description, in XML, says in which order they come.

use crate::regs::Foreign;
use dwarf_map::Isa;
use std::collections::HashMap;

/// Bytes before the first general register, as `g` has them.
const fn general_start(isa: Isa) -> usize {
    match isa {
        // The program status word: mask, address.
        Isa::S390x => 16,
        _ => 0,
    }
}

/// Where the program counter is.
const fn pc_start(isa: Isa) -> usize {
    match isa {
        Isa::S390x => 8,
        _ => 256,
    }
}

fn general_count(isa: Isa) -> usize {
    usize::from(isa.general_registers().end)
}

fn word(isa: Isa, bytes: [u8; 8]) -> u64 {
    if isa.is_big_endian() { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) }
}

/// The registers of a `g` block; `None` if it is too short.
pub fn read(isa: Isa, block: &[u8]) -> Option<Foreign> {
    let at = |start: usize| block.get(start..)?.first_chunk::<8>().map(|bytes| word(isa, *bytes));
    let mut general = [0; Isa::MOST_GENERAL];
    for (number, place) in general.iter_mut().enumerate().take(general_count(isa)) {
        *place = at(general_start(isa) + 8 * number)?;
    }
    Some(Foreign { isa, general, pc: at(pc_start(isa))? })
}

/// Puts registers into a `g` block, whose other content stays.
pub fn write(registers: &Foreign, block: &mut [u8]) {
    let isa = registers.isa;
    let mut put = |start: usize, value: u64| {
        if let Some(place) = block.get_mut(start..).and_then(|rest| rest.first_chunk_mut::<8>()) {
            *place = if isa.is_big_endian() { value.to_be_bytes() } else { value.to_le_bytes() };
        }
    };
    for (number, value) in registers.general.iter().enumerate().take(general_count(isa)) {
        put(general_start(isa) + 8 * number, *value);
    }
    put(pc_start(isa), registers.pc);
}

/// The files that a target description includes, in order.
pub fn included(xml: &str) -> impl Iterator<Item = &str> {
    elements(xml, "<xi:include").filter_map(|element| attribute(element, "href"))
}

/// Numbers registers as they come; `next` is the number of the next one without
/// a number of its own.
pub fn number(xml: &str, next: &mut u32, numbers: &mut HashMap<String, u32>) {
    for element in elements(xml, "<reg ") {
        let own = attribute(element, "regnum").and_then(|text| text.parse().ok());
        let number = own.unwrap_or(*next);
        *next = number + 1;
        if let Some(name) = attribute(element, "name") {
            numbers.entry(name.to_owned()).or_insert(number);
        }
    }
}

fn elements<'a>(xml: &'a str, start: &'a str) -> impl Iterator<Item = &'a str> {
    xml.split(start).skip(1).filter_map(|rest| rest.split('>').next())
}

fn attribute<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    let (before, rest) = element.split_once(&format!("{name}=\""))?;
    let whole = before.is_empty() || before.ends_with(|c: char| c.is_whitespace());
    whole.then(|| rest.split('"').next())?
}

/// What the stub calls a vector register's parts, the leftmost first.
pub fn vector_names(isa: Isa, number: u8) -> Vec<String> {
    match isa {
        Isa::X86_64 => vec![format!("xmm{number}")],
        Isa::Aarch64 => vec![format!("v{number}")],
        Isa::Riscv64 => vec![match number {
            0..=7 => format!("ft{number}"),
            8 | 9 => format!("fs{}", number - 8),
            10..=17 => format!("fa{}", number - 10),
            18..=27 => format!("fs{}", number - 16),
            28..=31 => format!("ft{}", number - 20),
            _ => format!("v{}", number - 32),
        }],
        // The float is the left half.
        Isa::S390x if number < 16 => vec![format!("f{number}"), format!("v{number}l")],
        Isa::S390x => vec![format!("v{number}")],
    }
}

/// How many registers for floats and vectors there are.
pub const fn vector_count(isa: Isa) -> u8 {
    match isa {
        Isa::X86_64 => 16,
        Isa::Aarch64 | Isa::S390x => 32,
        // Floats have registers of their own.
        Isa::Riscv64 => 64,
    }
}

/// A number of up to 16 bytes in the instruction set's order.
pub fn vector(isa: Isa, bytes: &[u8]) -> u128 {
    let fold = |value: u128, byte: &u8| value << 8 | u128::from(*byte);
    if isa.is_big_endian() { bytes.iter().fold(0, fold) } else { bytes.iter().rev().fold(0, fold) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_reads_as_it_was_written() {
        for isa in [Isa::Aarch64, Isa::Riscv64, Isa::S390x] {
            let mut block = vec![0x5a; 280];
            let general = std::array::from_fn(|number| match number < general_count(isa) {
                true => 0x0102_0304_0506_0700 + number as u64,
                false => 0,
            });
            let registers = Foreign { isa, general, pc: 0x0040_2000 };
            write(&registers, &mut block);
            assert_eq!(read(isa, &block), Some(registers), "{isa:?}");
            assert_eq!(read(isa, &block[..100]), None);
        }
    }

    #[test]
    fn registers_are_numbered_as_they_come() {
        let target =
            r#"<target><xi:include href="core.xml"/><xi:include href="fpu.xml"/></target>"#;
        assert_eq!(included(target).collect::<Vec<_>>(), ["core.xml", "fpu.xml"]);
        let (mut next, mut numbers) = (0, HashMap::new());
        number(
            r#"<reg name="x0" bitsize="64"/><reg name="pc" bitsize="64"/>"#,
            &mut next,
            &mut numbers,
        );
        number(
            r#"<reg name="v0" regnum="34" bitsize="128"/><reg name="v1"/>"#,
            &mut next,
            &mut numbers,
        );
        let number = |name: &str| numbers.get(name).copied();
        assert_eq!((number("pc"), number("v0"), number("v1")), (Some(1), Some(34), Some(35)));
    }

    #[test]
    fn vectors_have_their_order() {
        assert_eq!(vector(Isa::Aarch64, &[1, 2]), 0x0201);
        assert_eq!(vector(Isa::S390x, &[1, 2]), 0x0102);
        assert_eq!(vector_names(Isa::Riscv64, 31), ["ft11"]);
        assert_eq!(vector_names(Isa::Riscv64, 63), ["v31"]);
        assert_eq!(vector_names(Isa::S390x, 3), ["f3", "v3l"]);
    }
}
