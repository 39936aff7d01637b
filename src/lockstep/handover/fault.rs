//! What can be done wrong on purpose while a program is restored.
//!
//! A hand-over that nobody has seen fail proves little. A fault is drawn by a
//! seed and done once; what makes no difference (a bit of a slot that the stable
//! point does not load) is not done, and the report does not name it.

use super::nothing;
use crate::error::CommandError;
use crate::lockstep::follow::Lockstep;
use dwarf_map::StablePoint;
use wasm_view::{Frame, ValType};

/// Something done wrong on purpose while a frame is restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoreFault {
    /// What.
    pub kind: RestoreFaultKind,
    /// Which frame, slot and bit is drawn by.
    pub seed: u64,
}

/// See [`RestoreFault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreFaultKind {
    /// A bit of a slot is flipped.
    Flip,
    /// Two slots of one type change places.
    Swap,
    /// A slot is not written: it holds what lay in the buffer before.
    Stale,
    /// The bytes of a slot are in the other order.
    Order,
    /// The innermost frame is left out.
    Frame,
    /// A file that the program has open goes on elsewhere.
    Fd,
}

impl RestoreFaultKind {
    /// All of them.
    pub const ALL: [RestoreFaultKind; 6] = [
        RestoreFaultKind::Flip,
        RestoreFaultKind::Swap,
        RestoreFaultKind::Stale,
        RestoreFaultKind::Order,
        RestoreFaultKind::Frame,
        RestoreFaultKind::Fd,
    ];

    /// The spelling on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            RestoreFaultKind::Flip => "flip",
            RestoreFaultKind::Swap => "swap",
            RestoreFaultKind::Stale => "stale",
            RestoreFaultKind::Order => "order",
            RestoreFaultKind::Frame => "frame",
            RestoreFaultKind::Fd => "fd",
        }
    }
}

impl RestoreFault {
    /// Reads `restore:KIND:SEED`.
    pub fn parse(text: &str) -> Option<RestoreFault> {
        let (kind, seed) = text.strip_prefix("restore:")?.split_once(':')?;
        let kind = RestoreFaultKind::ALL.into_iter().find(|each| each.name() == kind)?;
        Some(RestoreFault { kind, seed: seed.parse().ok()? })
    }

    /// Reads what `--inject` takes.
    ///
    /// # Errors
    /// Anything else.
    pub fn read(text: &str) -> Result<RestoreFault, CommandError> {
        RestoreFault::parse(text).ok_or_else(|| {
            let kinds = RestoreFaultKind::ALL.map(RestoreFaultKind::name).join(", ");
            CommandError::input(format_args!(
                "--inject {text}: expected restore:KIND:SEED, KIND one of {kinds}"
            ))
        })
    }

    /// Which of so many.
    pub(super) fn draw(self, salt: u64, count: usize) -> usize {
        let mixed = (self.seed ^ salt << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((mixed >> 20) % count.max(1) as u64) as usize
    }

    /// Changes the values of a frame, each with its bits; answers what was done,
    /// if that makes a difference.
    fn spoil(self, values: &mut [(u128, u32)], before: impl Fn(usize) -> u128) -> Option<String> {
        let count = values.len();
        let slot = self.draw(1, count);
        let (old, bits) = *values.get(slot)?;
        let mask = if bits == 128 { u128::MAX } else { (1 << bits) - 1 };
        let what = match self.kind {
            RestoreFaultKind::Frame | RestoreFaultKind::Fd => return None,
            RestoreFaultKind::Flip => {
                let bit = self.draw(2, bits as usize);
                values[slot].0 ^= 1 << bit;
                format!("bit {bit} of slot {slot} flipped")
            }
            RestoreFaultKind::Swap => {
                let other = (1..count).map(|step| (slot + step) % count);
                let mut other = other.filter(|other| values[*other].1 == bits);
                let other = other.find(|other| values[*other].0 & mask != old & mask)?;
                values[slot].0 = values[other].0;
                values[other].0 = old;
                format!("slots {slot} and {other} swapped")
            }
            RestoreFaultKind::Stale => {
                values[slot].0 = before(slot);
                format!("slot {slot} not written")
            }
            RestoreFaultKind::Order => {
                values[slot].0 = (old & mask).swap_bytes() >> (128 - bits);
                format!("the bytes of slot {slot} in the other order")
            }
        };
        (values[slot].0 & mask != old & mask).then_some(what)
    }
}

impl Lockstep<'_> {
    /// Whether the innermost frame stands at its function's entry with nothing but zeros
    /// that matter: its restored caller, whose arguments are zeros, calls it so. Left
    /// out it is there all the same.
    pub(super) fn innermost_is_as_called(&self) -> bool {
        let frame = self.oracle.depth().checked_sub(1).and_then(|last| self.oracle.frame(last));
        let Some(frame) = frame.map(|frame| frame.to_frame()) else { return false };
        let Some(place) = self.plan.boundary(frame.boundary, &self.image.map) else {
            return false;
        };
        let function = &self.image.map.functions[place.function as usize];
        let Some(point) = function.stable_point(frame.boundary.offset) else { return false };
        place.index == 0
            && point.slots.iter().all(|(slot, _)| {
                let value = frame.locals.get(slot.index()).map(|(_, value)| *value);
                value.is_some_and(|value| value == nothing(value))
            })
    }

    /// Spoils what a frame holds and its stable point loads.
    pub(super) fn spoil(
        &mut self,
        fault: RestoreFault,
        frame: &Frame,
        point: &StablePoint,
        values: &mut [u128],
    ) -> Result<(), CommandError> {
        let types: Vec<ValType> =
            frame.locals.iter().chain(&frame.operands).map(|(ty, _)| *ty).collect();
        let carried: Vec<(usize, u32)> = point
            .slots
            .iter()
            .filter(|(slot, _)| slot.index() < types.len())
            .map(|(slot, offset)| (slot.index(), *offset))
            .collect();
        let width = |slot: usize| 8 * types[slot].bytes() as u32;
        let mut chosen: Vec<(u128, u32)> =
            carried.iter().map(|(slot, _)| (values[*slot], width(*slot))).collect();
        let space = &self.spaces[frame.boundary.instance.index()];
        let before: Vec<u128> = carried
            .iter()
            .map(|(slot, offset)| {
                let word = space.state_word(&self.subject, *offset)?;
                Ok(u128::from(word) & u128::MAX >> (128 - width(*slot)))
            })
            .collect::<Result<_, _>>()?;
        let what = fault.spoil(&mut chosen, |slot| before.get(slot).copied().unwrap_or_default());
        if let Some(what) = what {
            for ((slot, _), (value, _)) in carried.iter().zip(chosen) {
                values[*slot] = value;
            }
            self.fault = None;
            self.spoilt = Some(format!("at {}: {what}", frame.boundary.offset));
        }
        Ok(())
    }
}
