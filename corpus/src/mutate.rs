//! Damaged modules, reproducibly.
//!
//! Every reader of Wasm here must answer a hostile module with an error, never
//! with a panic. Random bytes would be refused at the first check; so a mutant
//! is a real module with one to three injuries of the kinds in [`Mutation`].
//! Most injuries first choose a section and then a place in it, because a
//! module with DWARF is mostly debugging information, and places drawn evenly
//! would hardly ever hit its types or its code. Some mutants stay valid; that
//! is intended, they are then ordinary programs that nobody wrote.

use crate::rng::SplitMix64;
use crate::sections::{CODE, Section, sections, write_leb};
use std::fmt;

/// What was done to the module. Offsets are bytes into the module as it was
/// just before this injury.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// One bit was inverted.
    FlipBit {
        /// Where.
        at: usize,
        /// Which, 0 is the lowest.
        bit: u8,
    },
    /// A byte was replaced.
    SetByte {
        /// Where.
        at: usize,
        /// By what.
        to: u8,
    },
    /// Everything from here on was cut off.
    Truncate {
        /// The new length.
        len: usize,
    },
    /// Bytes were inserted; the section's size was left wrong.
    Insert {
        /// Before which byte.
        at: usize,
        /// How many.
        len: usize,
    },
    /// Bytes were taken out; the section's size was left wrong.
    Remove {
        /// From where.
        at: usize,
        /// How many.
        len: usize,
    },
    /// Bytes of the same section were copied over others.
    Copy {
        /// From where.
        from: usize,
        /// To where.
        to: usize,
        /// How many.
        len: usize,
    },
    /// Two sections changed places; numbered from 0 as they stand in the file.
    SwapSections {
        /// The one.
        first: usize,
        /// The other.
        second: usize,
    },
    /// A section is there twice.
    DuplicateSection {
        /// Which.
        section: usize,
    },
    /// A section is gone.
    RemoveSection {
        /// Which.
        section: usize,
    },
    /// A section's size was changed.
    SectionSize {
        /// Which.
        section: usize,
        /// What it now claims.
        to: u64,
    },
    /// A section's number of elements was changed, without moving them.
    SectionCount {
        /// Which.
        section: usize,
        /// What it now claims.
        to: u64,
    },
    /// A LEB128 number was made to continue, to be redundantly long, or to
    /// exceed its type; the section's size was put right.
    Leb {
        /// Where it begins.
        at: usize,
        /// How many bytes now stand there.
        len: usize,
    },
    /// A byte in a function body was replaced by an opcode.
    Opcode {
        /// Where.
        at: usize,
        /// The opcode.
        to: u8,
    },
}

impl fmt::Display for Mutation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A damaged module.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// Its place in the sequence; [`mutants`] with the same seed and module
    /// meets it again as `.nth(index)`.
    pub index: u64,
    /// What was done, in order. Never empty.
    pub mutations: Vec<Mutation>,
    /// The damaged module; may be empty.
    pub bytes: Vec<u8>,
}

/// The endless sequence of mutants of a module. Mutant `n` depends on nothing
/// but the seed, `n` and the module.
pub fn mutants(seed: u64, module: &[u8]) -> Mutants<'_> {
    Mutants { seed, index: 0, module }
}

/// See [`mutants`].
#[derive(Clone, Debug)]
pub struct Mutants<'a> {
    seed: u64,
    index: u64,
    module: &'a [u8],
}

impl Mutants<'_> {
    fn make(&self, index: u64) -> Mutant {
        // A generator per mutant: any one of them can be made alone.
        let mut rng = SplitMix64::new(self.seed.rotate_left(32) ^ index);
        rng = SplitMix64::new(rng.next_u64());
        let mut bytes = self.module.to_vec();
        let injuries = [1, 1, 1, 2, 2, 3];
        let count = rng.pick(&injuries).copied().unwrap_or(1);
        let mutations = (0..count).map(|_| injure(&mut bytes, &mut rng)).collect();
        Mutant { index, mutations, bytes }
    }
}

impl Iterator for Mutants<'_> {
    type Item = Mutant;

    fn next(&mut self) -> Option<Mutant> {
        let mutant = self.make(self.index);
        self.index = self.index.checked_add(1)?;
        Some(mutant)
    }

    /// Goes to the `n`th without making those before it.
    fn nth(&mut self, n: usize) -> Option<Mutant> {
        self.index = self.index.checked_add(n as u64)?;
        self.next()
    }
}

/// Bytes that are worth more than random ones: ends of LEB128 numbers, type
/// codes, prefixes.
const TELLING: &[u8] = &[
    0x00, 0x01, 0x0b, 0x40, 0x5e, 0x60, 0x6f, 0x70, 0x7b, 0x7c, 0x7d, 0x7e, 0x7f, 0x80, 0xc0, 0xd0,
    0xfb, 0xfc, 0xfd, 0xfe, 0xff,
];

/// Sizes and counts at the limits of something.
const EXTREME: &[u64] = &[
    0,
    1,
    0x7f,
    0x80,
    0xffff,
    0x1_0000,
    50_000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    u64::MAX,
];

/// Damages `bytes` once and says how. An injury that does not apply (a module
/// without sections has none to swap) becomes an insertion.
fn injure(bytes: &mut Vec<u8>, rng: &mut SplitMix64) -> Mutation {
    let found = sections(bytes);
    let done = match rng.below(16) {
        0 | 1 => flip(bytes, &found, rng),
        2 | 3 => set(bytes, &found, rng),
        4 => {
            let len = place(bytes, &found, rng).unwrap_or(0);
            bytes.truncate(len);
            Some(Mutation::Truncate { len })
        }
        5 => None,
        6 => remove(bytes, &found, rng),
        7 => copy(bytes, &found, rng),
        8 => swap_sections(bytes, &found, rng),
        9 => repeat_or_remove_section(bytes, &found, rng),
        10 => section_size(bytes, &found, rng),
        11 => section_count(bytes, &found, rng),
        12 | 13 => leb(bytes, &found, rng),
        _ => opcode(bytes, &found, rng),
    };
    done.unwrap_or_else(|| insert(bytes, &found, rng))
}

/// A byte's offset: three times of four in an evenly chosen section, else
/// anywhere. `None` if there are no bytes.
fn place(bytes: &[u8], found: &[Section], rng: &mut SplitMix64) -> Option<usize> {
    if bytes.is_empty() {
        return None;
    }
    match rng.pick(found) {
        Some(section) if rng.below(4) > 0 => {
            Some(section.whole.start + rng.below(section.whole.len()))
        }
        _ => Some(rng.below(bytes.len())),
    }
}

fn flip(bytes: &mut [u8], found: &[Section], rng: &mut SplitMix64) -> Option<Mutation> {
    let at = place(bytes, found, rng)?;
    let bit = rng.below(8) as u8;
    *bytes.get_mut(at)? ^= 1 << bit;
    Some(Mutation::FlipBit { at, bit })
}

fn set(bytes: &mut [u8], found: &[Section], rng: &mut SplitMix64) -> Option<Mutation> {
    let at = place(bytes, found, rng)?;
    let to = telling(rng);
    *bytes.get_mut(at)? = to;
    Some(Mutation::SetByte { at, to })
}

fn telling(rng: &mut SplitMix64) -> u8 {
    let random = rng.next_u64() as u8;
    if rng.below(2) == 0 { random } else { rng.pick(TELLING).copied().unwrap_or(random) }
}

fn insert(bytes: &mut Vec<u8>, found: &[Section], rng: &mut SplitMix64) -> Mutation {
    let at = place(bytes, found, rng).unwrap_or(0);
    let len = 1 + rng.below(8);
    let new: Vec<u8> = (0..len).map(|_| telling(rng)).collect();
    bytes.splice(at..at, new);
    Mutation::Insert { at, len }
}

fn remove(bytes: &mut Vec<u8>, found: &[Section], rng: &mut SplitMix64) -> Option<Mutation> {
    let at = place(bytes, found, rng)?;
    let len = (1 + rng.below(8)).min(bytes.len() - at);
    bytes.drain(at..at + len);
    Some(Mutation::Remove { at, len })
}

fn copy(bytes: &mut [u8], found: &[Section], rng: &mut SplitMix64) -> Option<Mutation> {
    let within = rng.pick(found)?.payload.clone();
    let len = (1 + rng.below(16)).min(within.len());
    let room = within.len() - len + 1;
    let from = within.start + rng.below(room);
    let to = within.start + rng.below(room);
    bytes.copy_within(from..from + len, to);
    Some(Mutation::Copy { from, to, len })
}

fn swap_sections(bytes: &mut Vec<u8>, found: &[Section], rng: &mut SplitMix64) -> Option<Mutation> {
    let (a, b) = (rng.below(found.len()), rng.below(found.len()));
    let (first, second) = (a.min(b), a.max(b));
    if first == second {
        return None;
    }
    let (low, high) = (found.get(first)?.whole.clone(), found.get(second)?.whole.clone());
    let mut swapped = bytes.get(high.clone())?.to_vec();
    swapped.extend_from_slice(bytes.get(low.end..high.start)?);
    swapped.extend_from_slice(bytes.get(low.clone())?);
    bytes.splice(low.start..high.end, swapped);
    Some(Mutation::SwapSections { first, second })
}

fn repeat_or_remove_section(
    bytes: &mut Vec<u8>,
    found: &[Section],
    rng: &mut SplitMix64,
) -> Option<Mutation> {
    let section = rng.below(found.len());
    let whole = found.get(section)?.whole.clone();
    if rng.below(2) == 0 {
        let again = bytes.get(whole.clone())?.to_vec();
        bytes.splice(whole.end..whole.end, again);
        Some(Mutation::DuplicateSection { section })
    } else {
        bytes.drain(whole);
        Some(Mutation::RemoveSection { section })
    }
}

fn section_size(bytes: &mut Vec<u8>, found: &[Section], rng: &mut SplitMix64) -> Option<Mutation> {
    let section = rng.below(found.len());
    let chosen = found.get(section)?;
    let to = near_or_extreme(chosen.payload.len() as u64, rng);
    bytes.splice(chosen.size.clone(), write_leb(to, rng.below(6)));
    Some(Mutation::SectionSize { section, to })
}

fn section_count(bytes: &mut Vec<u8>, found: &[Section], rng: &mut SplitMix64) -> Option<Mutation> {
    let section = rng.below(found.len());
    let chosen = found.get(section)?;
    let old = leb_at(bytes, chosen.payload.start, chosen.payload.end);
    let now = bytes.get(old.clone())?.first().map_or(0, |&byte| u64::from(byte & 0x7f));
    let to = near_or_extreme(now, rng);
    replace_in_section(bytes, chosen, old, &write_leb(to, 0));
    Some(Mutation::SectionCount { section, to })
}

fn near_or_extreme(now: u64, rng: &mut SplitMix64) -> u64 {
    match rng.below(4) {
        0 => now.wrapping_add(1),
        1 => now.wrapping_sub(1) & 0xffff_ffff,
        _ => rng.pick(EXTREME).copied().unwrap_or(0),
    }
}

fn leb(bytes: &mut Vec<u8>, found: &[Section], rng: &mut SplitMix64) -> Option<Mutation> {
    let section = rng.pick(found)?;
    let at = section.payload.start + rng.below(section.payload.len());
    let old = leb_at(bytes, at, section.payload.end);
    let mut new = bytes.get(old.clone())?.to_vec();
    match rng.below(4) {
        // The number swallows what follows it.
        0 => new.last_mut().map(|last| *last |= 0x80)?,
        // The same number, redundantly long: legal up to the type's length.
        1 => {
            *new.last_mut()? |= 0x80;
            new.resize(new.len() + rng.below(9), 0x80);
            new.push(0);
        }
        // Bits beyond the type's width.
        2 => new = vec![0xff, 0xff, 0xff, 0xff, 0x7f],
        _ => new = write_leb(rng.pick(EXTREME).copied().unwrap_or(0), 0),
    }
    let len = new.len();
    replace_in_section(bytes, section, old, &new);
    Some(Mutation::Leb { at, len })
}

/// The bytes of a LEB128 number that begins at `at`, or what there is of it
/// before `end`.
fn leb_at(bytes: &[u8], at: usize, end: usize) -> std::ops::Range<usize> {
    let body = bytes.get(at..end).unwrap_or_default();
    let len = body
        .iter()
        .take(10)
        .position(|byte| byte & 0x80 == 0)
        .map_or(body.len().min(10), |i| i + 1);
    at..at + len
}

/// Replaces bytes of a section and puts its size right, so that the injury is
/// met where it is and not at the section's header.
fn replace_in_section(
    bytes: &mut Vec<u8>,
    section: &Section,
    old: std::ops::Range<usize>,
    new: &[u8],
) {
    let size = section.payload.len() - old.len() + new.len();
    bytes.splice(old, new.iter().copied());
    bytes.splice(section.size.clone(), write_leb(size as u64, section.size.len()));
}

fn opcode(bytes: &mut [u8], found: &[Section], rng: &mut SplitMix64) -> Option<Mutation> {
    let code = found.iter().find(|section| section.id == CODE)?;
    if code.payload.is_empty() {
        return None;
    }
    let at = code.payload.start + rng.below(code.payload.len());
    // 0x00-0xc4 are the one-byte opcodes up to sign extension, 0xd0-0xd2 the
    // reference instructions, 0xfc.. the prefixes.
    let to = match rng.below(8) {
        0 => 0xd0 + rng.below(3) as u8,
        1 => 0xfb + rng.below(4) as u8,
        _ => rng.below(0xc5) as u8,
    };
    *bytes.get_mut(at)? = to;
    Some(Mutation::Opcode { at, to })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const MODULE: &[u8] = b"\0asm\x01\0\0\0\
        \x01\x05\x01\x60\x00\x01\x7f\
        \x03\x02\x01\x00\
        \x07\x05\x01\x01f\x00\x00\
        \x0a\x06\x01\x04\x00\x41\x2a\x0b";

    #[test]
    fn the_same_seed_gives_the_same_mutants() {
        let all: Vec<_> = mutants(3, MODULE).take(50).map(|m| m.bytes).collect();
        let again: Vec<_> = mutants(3, MODULE).take(50).map(|m| m.bytes).collect();
        assert_eq!(all, again);
        let alone = mutants(3, MODULE).nth(37).unwrap();
        assert_eq!((alone.index, &alone.bytes), (37, &all[37]));
        let other: Vec<_> = mutants(4, MODULE).take(50).map(|m| m.bytes).collect();
        assert_ne!(all, other);
    }

    /// The sequence is part of the interface: a seed and an index in a bug
    /// report must mean the same module next year.
    #[test]
    fn the_sequence_does_not_change() {
        let mut sum = 0xcbf2_9ce4_8422_2325_u64;
        for mutant in mutants(1, MODULE).take(1000) {
            for byte in mutant.bytes {
                sum = (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
            }
        }
        assert_eq!(sum, 0xa4c3_d773_3241_e0b9, "the mutants of seed 1 have changed: {sum:#x}");
    }

    #[test]
    fn every_kind_of_injury_occurs_and_hardly_any_mutant_is_unharmed() {
        let mut kinds = HashSet::new();
        let mut unharmed = 0;
        for mutant in mutants(0, MODULE).take(2000) {
            assert!(!mutant.mutations.is_empty());
            kinds.extend(mutant.mutations.iter().map(std::mem::discriminant));
            unharmed += usize::from(mutant.bytes == MODULE);
        }
        assert_eq!(kinds.len(), 13);
        assert!(unharmed < 200, "{unharmed}");
    }

    /// Nonsense in, nonsense out, and no panic.
    #[test]
    fn anything_can_be_mutated() {
        let mut rng = SplitMix64::new(9);
        for len in 0..64 {
            let mut bytes: Vec<u8> = (0..len).map(|_| telling(&mut rng)).collect();
            for _ in 0..50 {
                injure(&mut bytes, &mut rng);
            }
            assert_eq!(mutants(len, &bytes).take(100).count(), 100);
        }
    }
}
