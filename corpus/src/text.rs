//! Text of any length that compresses like prose.
//!
//! Compressors and word counters need input of tens of kilobytes; committing
//! it would be a waste, so it is made. Words are drawn from a fixed list with
//! falling frequency (squaring a uniform number favours the early ones, as
//! Zipf's law would), put into sentences and lines of about 70 columns.

use crate::SplitMix64;

const WORDS: &[&str] = &[
    "the",
    "of",
    "and",
    "a",
    "to",
    "in",
    "is",
    "that",
    "it",
    "as",
    "for",
    "with",
    "be",
    "by",
    "on",
    "not",
    "are",
    "at",
    "from",
    "this",
    "value",
    "stack",
    "frame",
    "memory",
    "function",
    "block",
    "branch",
    "table",
    "index",
    "local",
    "global",
    "number",
    "machine",
    "register",
    "instruction",
    "boundary",
    "compiler",
    "signal",
    "pointer",
    "offset",
    "address",
    "module",
    "constant",
    "operand",
    "result",
    "page",
    "window",
    "garden",
    "river",
    "mountain",
    "evening",
    "winter",
    "silence",
    "distance",
    "quarter",
    "hundred",
    "thousand",
    "ordinary",
    "remarkable",
    "transparent",
    "counterpart",
    "observation",
    "approximately",
    "correspondence",
];

/// `len` bytes of ASCII text determined by `seed`: sentences, in lines of
/// about 70 columns, ended by `\n` (the last line may be cut short).
pub fn text(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = SplitMix64::new(seed);
    let mut out = Vec::with_capacity(len + 80);
    let mut column = 0;
    let mut left_in_sentence = 0;
    while out.len() < len {
        let starts = left_in_sentence == 0;
        if starts {
            left_in_sentence = 4 + rng.below(14);
        }
        left_in_sentence -= 1;

        let rank = rng.below(WORDS.len()) * rng.below(WORDS.len()) / WORDS.len();
        let word = WORDS.get(rank).copied().unwrap_or("the").as_bytes();
        let from = out.len();
        out.extend_from_slice(word);
        if starts && let Some(first) = out.get_mut(from) {
            first.make_ascii_uppercase();
        }
        if left_in_sentence == 0 {
            out.push(b'.');
        } else if rng.below(12) == 0 {
            out.push(b',');
        }
        column += out.len() - from + 1;
        if column >= 70 {
            out.push(b'\n');
            column = 0;
        } else {
            out.push(b' ');
        }
    }
    out.truncate(len);
    out
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn is_reproducible_and_of_the_length_asked_for() {
        for len in [0, 1, 79, 50_000] {
            assert_eq!(text(7, len).len(), len);
            assert_eq!(text(7, len), text(7, len));
        }
        assert_ne!(text(7, 500), text(8, 500));
        assert_eq!(text(7, 50_000)[..100], text(7, 100)[..]);
    }

    #[test]
    fn is_lines_of_printable_ascii() {
        let text = text(1, 20_000);
        assert!(text.iter().all(|&b| b == b'\n' || (b' '..=b'~').contains(&b)));
        assert!(text.split(|&b| b == b'\n').all(|line| line.len() < 100));
    }
}
