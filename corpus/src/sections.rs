//! Where a module's sections are, read so tolerantly that it also works on
//! modules that are already damaged.
//!
//! A parser that refuses bad input would be of no use to a generator of bad
//! input. This one reads (id, size, payload) triples as far as they go and
//! stops without complaint (core spec, "Modules", "Sections").

use std::ops::Range;

/// One section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    /// The id byte, the size and the payload.
    pub whole: Range<usize>,
    /// The size's LEB128 bytes.
    pub size: Range<usize>,
    /// What the size counts.
    pub payload: Range<usize>,
    /// The id byte.
    pub id: u8,
}

/// The section id of code.
pub(crate) const CODE: u8 = 10;

/// The sections up to the first that does not fit.
pub(crate) fn sections(bytes: &[u8]) -> Vec<Section> {
    let mut found = Vec::new();
    let mut at = 8; // the magic number and the version
    while let Some(&id) = bytes.get(at) {
        let Some((size, size_len)) = read_leb(bytes, at + 1) else {
            break;
        };
        let start = at + 1 + size_len;
        let Some(end) = start.checked_add(size as usize).filter(|&end| end <= bytes.len()) else {
            break;
        };
        found.push(Section { whole: at..end, size: at + 1..start, payload: start..end, id });
        at = end;
    }
    found
}

/// The unsigned 32-bit LEB128 number at `at`, and its length in bytes.
fn read_leb(bytes: &[u8], at: usize) -> Option<(u32, usize)> {
    let mut value = 0_u64;
    for i in 0..5 {
        let byte = *bytes.get(at + i)?;
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((u32::try_from(value).ok()?, i + 1));
        }
    }
    None
}

/// The LEB128 bytes of `value`, lengthened with redundant bytes to at least
/// `min_len`.
pub(crate) fn write_leb(mut value: u64, min_len: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 && out.len() + 1 >= min_len {
            out.push(byte);
            return out;
        }
        out.push(byte | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_sections_that_fit() {
        let bytes = b"\0asm\x01\0\0\0\x01\x02ab\x0a\x83\x00xyz\x0b\x7f";
        let found = sections(bytes);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].payload, 10..12);
        assert_eq!(
            (found[1].id, found[1].size.clone(), found[1].payload.clone()),
            (CODE, 13..15, 15..18)
        );
    }

    #[test]
    fn leb_round_trips() {
        for value in [0, 1, 127, 128, 624_485, u32::MAX] {
            for min in [0, 1, 5] {
                let bytes = write_leb(u64::from(value), min);
                assert!(bytes.len() >= min);
                assert_eq!(read_leb(&bytes, 0), Some((value, bytes.len())));
            }
        }
        assert_eq!(read_leb(&[0xff; 8], 0), None);
        assert_eq!(read_leb(&[0x80], 0), None);
    }
}
