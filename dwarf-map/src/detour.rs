//! Branches past silent polls.
//!
//! What a silent poll costs is its NOPs. In a loop of a dozen instructions each of
//! them counts, and nobody needs them: while the poll is silent, a branch that leads
//! to it may as well lead behind the NOPs that it begins with. So a loop falls
//! through them once, and goes round without them.
//!
//! ```text
//!          watched, or armed                 running unwatched
//!   .----> poll:  nop (or test, jnz)      .-  poll:  nop
//!   |             mov ..                  '-> idle:  mov ..
//!   |             ..                      |          ..
//!   '----- jb poll                        '--------- jb idle
//! ```
//!
//! Nothing but displacements changes, so the map holds either way, but nobody who goes
//! round comes to what lies within the NOPs: not to an anchor there. The code of an image is the one on the left. Whoever
//! runs it unwatched writes [`past`] over it, and [`back`] before any poll is armed.

use crate::{CodeOffset, ImageMap};

/// How to get past one silent poll.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detour {
    /// Bytes at the poll's start that do nothing while it is silent; 0 without ways.
    pub idle: u32,
    /// The branches that lead to the poll: where each one's displacement lies, four
    /// bytes from the end of the branch. Ascending.
    pub ways: Vec<CodeOffset>,
}

/// Bytes of a displacement.
pub const DISPLACEMENT: usize = 4;

/// Displacements that lead past all silent polls, and where they belong in the text.
/// What the map says beyond the text is left out.
pub fn past<'a>(
    map: &'a ImageMap,
    text: &'a [u8],
) -> impl Iterator<Item = (CodeOffset, [u8; DISPLACEMENT])> + 'a {
    written(map, text, |detour| detour.idle)
}

/// The displacements as the text has them: that lead to the polls.
pub fn back<'a>(
    map: &'a ImageMap,
    text: &'a [u8],
) -> impl Iterator<Item = (CodeOffset, [u8; DISPLACEMENT])> + 'a {
    written(map, text, |_| 0)
}

fn written<'a>(
    map: &'a ImageMap,
    text: &'a [u8],
    further: impl Fn(&Detour) -> u32 + 'a,
) -> impl Iterator<Item = (CodeOffset, [u8; DISPLACEMENT])> + 'a {
    let points = map.functions.iter().flat_map(|function| &function.stable_points);
    points.flat_map(move |point| {
        let by = further(&point.detour);
        point.detour.ways.iter().filter_map(move |way| {
            let bytes = text.get(way.get() as usize..)?.first_chunk::<DISPLACEMENT>()?;
            Some((*way, u32::from_le_bytes(*bytes).wrapping_add(by).to_le_bytes()))
        })
    })
}

/// Bytes of the NOP that code begins with (Intel SDM volume 2, `NOP`): operand-size
/// prefixes, then 90, or 0f 1f /0 with what it would address.
pub(crate) fn nop(code: &[u8]) -> Option<usize> {
    let prefixes = code.iter().take_while(|byte| **byte == 0x66).count();
    let length = match *code.get(prefixes..)? {
        [0x90, ..] => 1,
        [0x0f, 0x1f, form, ref rest @ ..] if form & 0o070 == 0 => {
            let index = usize::from(form & 7 == 4 && form >> 6 != 3);
            let without_base = index == 1 && rest.first()? & 7 == 5;
            let displacement = match form >> 6 {
                0 if form & 7 == 5 || without_base => 4,
                1 => 1,
                2 => 4,
                _ => 0,
            };
            3 + index + displacement
        }
        _ => return None,
    };
    (code.len() >= prefixes + length).then_some(prefixes + length)
}

#[cfg(test)]
mod tests {
    use super::nop;

    #[test]
    fn nops_have_their_length() {
        for (code, length) in [
            (&[0x90, 0xc3][..], Some(1)),
            (&[0x66, 0x90], Some(2)),
            (&[0x0f, 0x1f, 0x00], Some(3)),
            (&[0x0f, 0x1f, 0x40, 0x00], Some(4)),
            (&[0x0f, 0x1f, 0x44, 0x00, 0x00], Some(5)),
            (&[0x0f, 0x1f, 0x80, 0, 0, 0, 0], Some(7)),
            (&[0x66, 0x66, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0, 0x90], Some(10)),
            (&[0x0f, 0x1f, 0x05, 0, 0, 0, 0], Some(7)),
            (&[0x0f, 0x1f, 0x04, 0x05, 0, 0, 0, 0], Some(8)),
            (&[0x0f, 0x1f, 0xc0], Some(3)),
            // Cut short, another operation of the group, a move, nothing.
            (&[0x0f, 0x1f, 0x44, 0x00], None),
            (&[0x0f, 0x1f, 0x08], None),
            (&[0x89, 0xc0], None),
            (&[0x66], None),
            (&[], None),
        ] {
            assert_eq!(nop(code), length, "{code:02x?}");
        }
    }
}
