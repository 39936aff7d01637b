//! The stack of frames.
//!
//! A vector may grow at every push, and code that could grow one sets up a
//! stack frame of its own and saves what it has in registers, at each call that
//! a program makes. So places are made beforehand and by the slow path only;
//! the fast loop fills one, and leaves to the slow path when there is none.

use super::FrameRecord;
use std::ops::{Deref, DerefMut};

/// Frames, outermost first.
#[derive(Clone, Debug, Default)]
pub(super) struct Frames {
    /// Those in use, then places for more, whose contents mean nothing.
    places: Vec<FrameRecord>,
    depth: usize,
}

impl Frames {
    /// Adds the innermost frame, and places for more if this was the last.
    pub(super) fn push(&mut self, frame: FrameRecord) {
        if !self.push_in_place(frame) {
            self.places.resize((2 * self.places.len()).max(8), frame);
            self.push_in_place(frame);
        }
    }

    /// Adds the innermost frame if there is a place for it.
    #[inline(always)]
    pub(super) fn push_in_place(&mut self, frame: FrameRecord) -> bool {
        match self.places.get_mut(self.depth) {
            Some(place) => {
                *place = frame;
                self.depth += 1;
                true
            }
            None => false,
        }
    }

    /// Whether there is no place for one more.
    #[inline(always)]
    pub(super) fn is_full(&self) -> bool {
        self.depth >= self.places.len()
    }

    /// Takes the innermost frame off.
    #[inline(always)]
    pub(super) fn pop(&mut self) -> Option<FrameRecord> {
        let innermost = self.last().copied()?;
        self.depth -= 1;
        Some(innermost)
    }

    pub(super) fn clear(&mut self) {
        self.depth = 0;
    }
}

impl Deref for Frames {
    type Target = [FrameRecord];

    #[inline(always)]
    fn deref(&self) -> &[FrameRecord] {
        self.places.get(..self.depth).unwrap_or_default()
    }
}

impl DerefMut for Frames {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [FrameRecord] {
        self.places.get_mut(..self.depth).unwrap_or_default()
    }
}
