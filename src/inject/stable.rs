//! Faults at stable points: what a compiler with checkpoints gets wrong.
//!
//! They are put into the map, into a cold path, or into a poll, and leave what
//! the program computes as it is. So nothing but the rules about stable points
//! can notice them.

use super::{boundary_mut, decode, function, pad, patch};
use crate::error::CommandError;
use aot_backend::Image;
use dwarf_map::{CodeOffset, Location, Reason, StablePoint};
use iced_x86::{Encoder, Instruction, Mnemonic, OpKind};
use wasm_view::{FuncIdx, WasmOffset};

/// What is wrong with a stable point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StableFault {
    /// The map does not have it.
    Dropped,
    /// Nothing was compiled in for it.
    Unpolled,
    /// A value that is live there has no location.
    Missing,
    /// A value that is live behind the call has no location while it runs.
    Suspended,
    /// The cold path does not store a value.
    Store,
    /// The poll goes into the cold path although nobody asks it to.
    Poll,
}

impl StableFault {
    /// Every kind.
    pub const ALL: [StableFault; 6] = [
        StableFault::Dropped,
        StableFault::Unpolled,
        StableFault::Missing,
        StableFault::Suspended,
        StableFault::Store,
        StableFault::Poll,
    ];

    /// The spelling on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            StableFault::Dropped => "dropped",
            StableFault::Unpolled => "unpolled",
            StableFault::Missing => "missing",
            StableFault::Suspended => "suspended",
            StableFault::Store => "store",
            StableFault::Poll => "poll",
        }
    }

    /// Puts the fault into an image; answers what changed.
    ///
    /// # Errors
    /// No stable point there, or none with which this can be wrong.
    pub fn inject(
        self,
        image: &mut Image,
        func: FuncIdx,
        offset: WasmOffset,
    ) -> Result<String, CommandError> {
        let none = |what: &str| {
            let kind = self.name();
            CommandError::input(format_args!("--inject stable:{func}:{offset}:{kind}: {what}"))
        };
        let point = function(image, func)?.stable_point(offset).cloned();
        let point = point.ok_or_else(|| none("nothing is compiled in there, see --stable"))?;
        let gone = Location::Unavailable(Reason::NoLongerLive);
        match self {
            StableFault::Dropped => {
                forget(image, func, offset);
                boundary_mut(image, func, offset)?.stable = None;
                Ok("the map has no stable point there".into())
            }
            StableFault::Unpolled => {
                forget(image, func, offset);
                Ok("the map has no poll there".into())
            }
            StableFault::Missing => {
                let boundary = boundary_mut(image, func, offset)?;
                let slot = point.slots.last().map(|(slot, _)| slot.index());
                let place = slot.and_then(|slot| boundary.locations.get_mut(slot));
                let place = place.ok_or_else(|| none("nothing is live there"))?;
                let change = format!("{place:?} -> {gone:?}");
                *place = gone;
                Ok(change)
            }
            StableFault::Suspended => {
                let functions = &mut image.map.functions;
                let map = functions.iter_mut().find(|function| function.func == func);
                let site = map
                    .and_then(|map| map.call_sites.iter_mut().find(|site| site.offset == offset));
                let site = site.ok_or_else(|| none("no call returns to there"))?;
                site.locations.fill(gone);
                Ok("all slots of the suspended frame are unavailable".into())
            }
            StableFault::Store => {
                let (at, old) = last_store(image, &point)
                    .ok_or_else(|| none("its cold path stores no value"))?;
                patch(image, at, &pad(Vec::new(), old.len()))?;
                Ok(format!("{old} -> nothing"))
            }
            StableFault::Poll => {
                let armed = decode_bytes(&point).last();
                let mut branch = armed.ok_or_else(|| none("its poll is empty"))?;
                let old = branch;
                branch.negate_condition_code();
                let mut encoder = Encoder::new(64);
                let length = old.len();
                let encoded = encoder.encode(&branch, old.ip());
                let bytes = encoder.take_buffer();
                if encoded.is_err() || bytes.len() != length {
                    return Err(none("its branch cannot be inverted"));
                }
                let mut poll = point.armed.clone();
                let from = poll.len() - length;
                poll[from..].copy_from_slice(&bytes);
                patch(image, point.poll, &poll)?;
                Ok(format!("{old} -> {branch}, armed"))
            }
        }
    }
}

/// Takes a stable point's code out of the map.
fn forget(image: &mut Image, func: FuncIdx, offset: WasmOffset) {
    if let Some(map) = image.map.functions.iter_mut().find(|function| function.func == func) {
        map.stable_points.retain(|point| point.offset != offset);
    }
}

/// The last instruction of a cold path that stores to the state buffer: the
/// frame is the only other memory that such a path writes.
fn last_store(image: &Image, point: &StablePoint) -> Option<(CodeOffset, Instruction)> {
    point.slots.last()?;
    let length = (point.trap.get() - point.cold.get()) as usize;
    let store = |instruction: &Instruction| {
        instruction.op0_kind() == OpKind::Memory
            && !instruction.memory_base().full_register().eq(&iced_x86::Register::RSP)
            && !instruction.memory_base().full_register().eq(&iced_x86::Register::RBP)
            && !matches!(instruction.mnemonic(), Mnemonic::Cmp | Mnemonic::Test)
    };
    let found = decode(image, point.cold, length).filter(store).last()?;
    let at = CodeOffset::new((found.ip() - image.text_address.get()) as u32);
    Some((at, found))
}

/// The instructions of an armed poll.
fn decode_bytes(point: &StablePoint) -> impl Iterator<Item = Instruction> + '_ {
    let ip = u64::from(point.poll.get());
    let options = iced_x86::DecoderOptions::NONE;
    let mut decoder = iced_x86::Decoder::with_ip(64, &point.armed, ip, options);
    std::iter::from_fn(move || decoder.can_decode().then(|| decoder.decode()))
}
