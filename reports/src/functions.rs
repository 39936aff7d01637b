//! What a map makes available, function by function.
//!
//! The sums of a report say how much was looked at; this says where. A function
//! has thousands of boundaries and a report hundreds of functions, so a function
//! is a few short texts: a *heat* letter per boundary, with a count behind it where
//! it repeats, and the distances between the boundaries' offsets. What is
//! missing is spelt out, boundary by boundary, since that is what somebody
//! will want to fix, and what a baseline is compared with.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One function of the native code.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FunctionFigures {
    /// The instance that it is compiled for.
    pub instance: u32,
    /// The function, in that instance's index space.
    pub func: u32,
    /// Its name, where the module gives one.
    #[serde(deserialize_with = "Option::deserialize")]
    pub name: Option<String>,
    /// Bytes of its code.
    pub code_bytes: u64,
    /// Its boundaries.
    pub boundaries: u64,
    /// Stops at them.
    pub stops: u64,
    /// Live values at executed boundaries that were compared, each as often.
    pub live_compared: u64,
    /// Live values at executed boundaries that the map cannot give, likewise.
    pub live_unavailable: u64,
    /// Offset of the first boundary.
    pub first: u32,
    /// Distances from each boundary to the next, see [`steps`].
    pub steps: String,
    /// A letter per boundary, see [`Heat`].
    pub heat: String,
    /// Boundaries without an anchor, by offset.
    pub unanchored: Vec<u32>,
    /// Live slots that the map cannot give, executed or not, by boundary.
    pub unavailable: Vec<Lack>,
    /// How many dead slots, over all boundaries, the map cannot give.
    pub dead_unavailable: u64,
}

/// What is missing at one boundary.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Lack {
    /// The boundary.
    pub offset: u32,
    /// Whether it is a stable point that was compiled in.
    pub stable: bool,
    /// The live slots that the map cannot give, and the reasons.
    pub slots: BTreeMap<String, String>,
}

/// Writes the heat of a function: a letter per boundary, then how often it
/// repeats if it does.
///
/// `-` has no anchor. Letters say how many of the boundary's live slots the
/// map can give, in tenths rounded down: `a` none, `k` all. They are
/// capitals where the boundary was stopped at.
#[derive(Clone, Debug, Default)]
pub struct Heat {
    text: String,
    last: Option<(char, u64)>,
}

impl Heat {
    /// Adds a boundary with an anchor.
    pub fn add(&mut self, available: u64, live: u64, executed: bool) {
        let tenths = (available.min(live) * 10).checked_div(live).unwrap_or(10) as u8;
        let first = if executed { b'A' } else { b'a' };
        self.push(char::from(first + tenths));
    }

    /// Adds a boundary without one.
    pub fn add_unanchored(&mut self) {
        self.push('-');
    }

    fn push(&mut self, letter: char) {
        match &mut self.last {
            Some((last, count)) if *last == letter => *count += 1,
            _ => {
                self.flush();
                self.last = Some((letter, 1));
            }
        }
    }

    fn flush(&mut self) {
        if let Some((letter, count)) = self.last.take() {
            self.text.push(letter);
            if count > 1 {
                self.text.push_str(&count.to_string());
            }
        }
    }

    /// The text.
    pub fn finish(mut self) -> String {
        self.flush();
        self.text
    }

    /// How many boundaries a text is about; `None` if it is none.
    pub fn length(text: &str) -> Option<u64> {
        let mut sum = 0u64;
        let mut rest = text.chars().peekable();
        while let Some(letter) = rest.next() {
            if !matches!(letter, '-' | 'a'..='k' | 'A'..='K') {
                return None;
            }
            let mut count = String::new();
            while let Some(digit) = rest.next_if(char::is_ascii_digit) {
                count.push(digit);
            }
            let count = if count.is_empty() { 1 } else { count.parse().ok()? };
            sum = sum.checked_add(count)?;
        }
        Some(sum)
    }
}

/// The distances between offsets in ascending order: a base-36 digit each, and
/// those above 35 as decimal number between `(` and `)`.
pub fn steps(offsets: impl IntoIterator<Item = u32>) -> String {
    let mut text = String::new();
    let mut last = None;
    for offset in offsets {
        if let Some(last) = last.replace(offset) {
            let step = offset.saturating_sub(last);
            match char::from_digit(step, 36) {
                Some(digit) if step < 36 => text.push(digit),
                _ => text.push_str(&format!("({step})")),
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heat_repeats_are_counted() {
        let mut heat = Heat::default();
        for _ in 0..12 {
            heat.add(3, 3, true);
        }
        heat.add(0, 0, true);
        heat.add(0, 4, false);
        heat.add(9, 10, false);
        heat.add_unanchored();
        heat.add_unanchored();
        // 99 of 100 are not all.
        heat.add(99, 100, true);
        let text = heat.finish();
        assert_eq!(text, "K13aj-2J");
        assert_eq!(Heat::length(&text), Some(18));
        assert_eq!(Heat::length(""), Some(0));
        for bad in ["z", "3", "K99999999999999999999", "K18446744073709551615K"] {
            assert_eq!(Heat::length(bad), None, "{bad}");
        }
    }

    #[test]
    fn steps_are_short() {
        assert_eq!(steps([7, 8, 18, 53, 89, 1089]), "1az(36)(1000)");
        assert_eq!(steps([5]), "");
        assert_eq!(steps([]), "");
    }
}
