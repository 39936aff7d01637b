//! Damaged snapshots: each one is refused, or resumed exactly.
//!
//! A snapshot comes from another machine, so nothing in it may be believed. Four
//! kinds of damage are drawn by a seed: bytes of the file; bytes of a record whose
//! checksum is then made right; records left out, doubled, exchanged; and changes
//! of the state itself, which yield a well-formed file of a state that the
//! program perhaps cannot be in.
//!
//! ```text
//!   reader --> check --> what is open --> restore, every frame compared --> captured again
//!      |         |            |                     |                           == ?
//!      '---------'------------'--------> refused <--'
//! ```
//! What is resumed goes on to its next stable point beside the oracle: both must
//! still agree. A panic, a bug of ours, a difference after an exact restore: each is
//! a failure.

use crate::cli::MigrateArgs;
use crate::error::CommandError;
use crate::invoke;
use crate::lockstep::follow::{Host, Requests};
use crate::lockstep::handover::Progress;
use crate::lockstep::stops::Control;
use crate::lockstep::{Ending, Lockstep};
use crate::migrate::relay::{Asked, Relay, Standing};
use crate::migrate::{Gaps, Setup, Side};
use crate::program;
use crate::session::Session;
use crate::snapshot::fit;
use crate::world;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use wasi_host::{Output, Stdin, World, WorldConfig, WorldState};
use wasm_view::snapshot::{self, Snapshot};
use wasm_view::{FuncIdx, InstanceId, ValType, Value, WasmOffset};

/// Most bytes of memory in a snapshot that is tried.
const MOST_MEMORY: u64 = 32 << 20;
/// Boundaries that a resumed program is followed for.
const FOLLOWED: u64 = 2_000;
/// Snapshots of a program that are damaged.
const ORIGINALS: u64 = 8;
/// The last stable point at which one is taken.
const LATEST: u64 = 3_000;
/// Bytes of a snapshot before its first record, and of a record before its
/// payload (see `docs/snapshot.md`).
const HEADER: usize = 16;
const RECORD: usize = 20;

/// What became of damaged snapshots.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// How many came to which end.
    pub fates: BTreeMap<&'static str, u64>,
    /// What must not be.
    pub failures: Vec<String>,
}

impl Tally {
    /// Adds another one.
    pub fn add(&mut self, other: Tally) {
        for (fate, count) in other.fates {
            *self.fates.entry(fate).or_default() += count;
        }
        self.failures.extend(other.failures);
    }
}

/// Takes snapshots of a program and tries `count` damaged ones.
///
/// # Errors
/// A program that cannot be migrated as it is.
pub fn try_all(args: &MigrateArgs, count: u64, seed: u64) -> Result<Tally, CommandError> {
    let program = program::load(&args.program)?;
    let sides: Vec<Side> =
        args.relay.iter().map(|side| Side::parse(side)).collect::<Result<_, _>>()?;
    let setup = Setup::new(&program, sides, &args.backend)?;
    let calls = invoke::calls(&args.world, &program)?;
    let config = WorldConfig {
        stdin: Stdin::Empty,
        stdout: Output::Discard,
        stderr: Output::Discard,
        ..world::config(&args.world, &program.path)?
    };
    let control = Control::new();
    let Some((side, image)) =
        setup.images.iter().enumerate().find_map(|(at, image)| Some((at, image.as_ref()?)))
    else {
        return Err(CommandError::input("a relay without native code"));
    };
    let session = Session { program: &program, image, calls: &calls };
    let originals = originals(&setup, &session, &config, &control)?;
    if originals.is_empty() {
        return Err(CommandError::input("the program executes no stable point"));
    }
    let world = RefCell::new(World::live(config.clone()).map_err(CommandError::input)?);
    let mut tally = Tally::default();
    let mut bench =
        Bench { setup: &setup, side, world: &world, config, control: &control, ready: None };
    let mut draw = Draw(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    for number in 0..count {
        let original = &originals[draw.below(originals.len())];
        let bytes = damage(original, &mut draw);
        let fate = catch_unwind(AssertUnwindSafe(|| bench.attempt(&bytes)));
        let fate = match fate {
            Ok(Ok(fate)) => fate,
            Ok(Err(what)) => {
                tally.failures.push(format!("mutant {number} of seed {seed}: {what}"));
                "failed"
            }
            Err(_) => {
                bench.ready = None;
                tally.failures.push(format!("mutant {number} of seed {seed}: a panic"));
                "panicked"
            }
        };
        *tally.fates.entry(fate).or_default() += 1;
    }
    Ok(tally)
}

/// Snapshots of a program, at stable points spread over its beginning.
fn originals(
    setup: &Setup<'_>,
    session: &Session<'_>,
    config: &WorldConfig,
    control: &Arc<Control>,
) -> Result<Vec<Vec<u8>>, CommandError> {
    let directory = tempfile::tempdir().map_err(CommandError::host)?;
    let file = directory.path().join("snapshot");
    let mut originals = Vec::new();
    let mut at = 1;
    for _ in 0..ORIGINALS {
        let world = RefCell::new(World::live(config.clone()).map_err(CommandError::input)?);
        let asked =
            Asked { gaps: Gaps::At(at), save: Some(file.clone()), halt: true, ..Asked::default() };
        let mut relay = Relay::new(setup, &world, config.clone(), control, asked);
        let standing = Standing::Fresh(Box::new(session.instantiate()?));
        match relay.run(standing, 0, &session.calls.list)? {
            None => originals.push(std::fs::read(&file).map_err(CommandError::host)?),
            // It has ended before.
            Some(_) => break,
        }
        at = (at * 3 + 1).min(LATEST - originals.len() as u64);
    }
    Ok(originals)
}

/// Where damaged snapshots are tried.
struct Bench<'a> {
    setup: &'a Setup<'a>,
    side: usize,
    world: &'a RefCell<World>,
    config: WorldConfig,
    control: &'a Arc<Control>,
    /// A subject that stands somewhere, exactly.
    ready: Option<Lockstep<'a>>,
}

impl Bench<'_> {
    /// What becomes of one; `Err` is what must not be.
    fn attempt(&mut self, bytes: &[u8]) -> Result<&'static str, String> {
        let Ok(snapshot) = snapshot::read(bytes, MOST_MEMORY) else {
            return Ok("refused by the reader");
        };
        let Ok(oracle) = fit(self.setup.program, &snapshot) else {
            return Ok("refused by the check");
        };
        if !snapshot.host.is_empty() {
            let state = WorldState::decode(&snapshot.host).map_err(|error| error.to_string())?;
            let Ok(world) = World::resumed(&state, self.config.clone()) else {
                return Ok("refused: what is open cannot be had");
            };
            let actual = world.state().map_err(|error| error.to_string())?;
            let difference = actual.and_then(|actual| state.difference(&actual));
            if let Some(what) = difference {
                return Err(format!("opened again, it differs: {what}"));
            }
            *self.world.borrow_mut() = world;
        }
        match self.resume(oracle, &snapshot) {
            Ok(fate) => fate,
            Err(CommandError::Bug { what }) => Err(what),
            Err(_) => Ok("refused when restored"),
        }
    }

    fn resume(
        &mut self,
        mut oracle: oracle_interp::Oracle,
        snapshot: &Snapshot,
    ) -> Result<Result<&'static str, String>, CommandError> {
        let image = self.setup.images[self.side].as_ref();
        let image = image.ok_or_else(|| CommandError::bug("a side without an image"))?;
        let ready = self.ready.take().filter(|ready| ready.has_room_for(&oracle));
        let mut lockstep = match ready {
            Some(mut ready) => {
                ready.exchange_oracle(&mut oracle);
                ready
            }
            None => Lockstep::new(
                image,
                oracle,
                InstanceId::new(0),
                Host::Shared(self.world),
                Requests::default(),
                self.control.clone(),
            )?,
        };
        lockstep.limit_boundaries(u64::MAX);
        match lockstep.restore()? {
            Progress::Paused => {}
            // It says what differs, before anything has been executed.
            Progress::Ended(_) => return Ok(Ok("refused at the hand-over")),
        }
        if let Some(Ending::Diverged(finding)) = lockstep.recapture(snapshot)? {
            return Ok(Err(finding.what));
        }
        lockstep.stats.boundaries = 0;
        lockstep.limit_boundaries(FOLLOWED);
        match lockstep.proceed(1)? {
            Progress::Ended(Ending::Diverged(finding)) => {
                return Ok(Err(format!("resumed, it diverges: {}", finding.what)));
            }
            Progress::Ended(_) => {}
            Progress::Paused => self.ready = Some(lockstep),
        }
        Ok(Ok("resumed exactly"))
    }
}

/// Numbers by a seed (splitmix64).
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, count: usize) -> usize {
        (self.next() % count.max(1) as u64) as usize
    }
}

fn damage(original: &[u8], draw: &mut Draw) -> Vec<u8> {
    match draw.below(10) {
        0 => of_bytes(original, draw),
        1..4 => of_payloads(original, draw),
        4 => of_records(original, draw),
        _ => match snapshot::read(original, MOST_MEMORY) {
            Ok(mut state) => {
                for _ in 0..=draw.below(2) {
                    of_state(&mut state, draw);
                }
                snapshot::write(&state)
            }
            Err(_) => of_bytes(original, draw),
        },
    }
}

/// The file cut short, or some of its bits flipped.
fn of_bytes(original: &[u8], draw: &mut Draw) -> Vec<u8> {
    let mut bytes = original.to_vec();
    if draw.below(4) == 0 {
        bytes.truncate(draw.below(original.len()));
        return bytes;
    }
    for _ in 0..=draw.below(4) {
        let at = draw.below(bytes.len());
        bytes[at] ^= 1 << draw.below(8);
    }
    bytes
}

/// Where the records of a whole file begin and end.
fn records(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut records = Vec::new();
    let mut at = HEADER;
    while let Some(stored) = bytes.get(at + 8..at + 12) {
        let stored = u32::from_le_bytes([stored[0], stored[1], stored[2], stored[3]]) as usize;
        records.push(at..at + RECORD + stored);
        at += RECORD + stored;
    }
    records
}

/// Bytes of a record changed, and its checksum made right.
fn of_payloads(original: &[u8], draw: &mut Draw) -> Vec<u8> {
    let mut bytes = original.to_vec();
    let records = records(original);
    let record = records[draw.below(records.len())].clone();
    let payload = record.start + RECORD..record.end;
    for _ in 0..=draw.below(3) {
        let at = payload.start + draw.below(payload.len());
        match draw.below(3) {
            0 => bytes[at] = draw.next() as u8,
            1 => bytes[at] = bytes[at].wrapping_add(1),
            _ => bytes[at] ^= 1 << draw.below(8),
        }
    }
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes[record.start..record.start + RECORD - 4]);
    crc.update(&bytes[payload]);
    let crc = crc.finalize().to_le_bytes();
    bytes[record.start + RECORD - 4..record.start + RECORD].copy_from_slice(&crc);
    bytes
}

/// A record left out, doubled, or in another's place.
fn of_records(original: &[u8], draw: &mut Draw) -> Vec<u8> {
    let mut records = records(original);
    let victim = draw.below(records.len());
    match draw.below(3) {
        0 => drop(records.remove(victim)),
        1 => records.insert(victim, records[victim].clone()),
        _ => {
            let other = draw.below(records.len());
            records.swap(victim, other);
        }
    }
    let mut bytes = original[..HEADER].to_vec();
    records.into_iter().for_each(|record| bytes.extend_from_slice(&original[record]));
    bytes
}

/// The state itself changed.
fn of_state(state: &mut Snapshot, draw: &mut Draw) {
    let frames = state.store.frames.len();
    if frames == 0 {
        return;
    }
    let depth = draw.below(frames);
    let frame = &mut state.store.frames[depth];
    let dead = &mut state.dead[depth];
    let locals = frame.locals.len();
    match draw.below(14) {
        // Values: most of these are states that the program could be in.
        0..4 => {
            let slots = locals + frame.operands.len();
            if slots == 0 {
                return;
            }
            let at = draw.below(slots);
            let slot = match at.checked_sub(locals) {
                None => &mut frame.locals[at],
                Some(at) => &mut frame.operands[at],
            };
            if !dead[at] {
                slot.1 = other_value(slot.1, draw);
            }
        }
        4 => {
            let at = draw.below(dead.len());
            let slot = match at.checked_sub(locals) {
                None => frame.locals.get_mut(at),
                Some(at) => frame.operands.get_mut(at),
            };
            if let Some((ty, value)) = slot {
                dead[at] = true;
                *value = match value {
                    Value::FuncRef(_) => Value::FuncRef(None),
                    Value::ExternRef(_) => Value::ExternRef(None),
                    Value::AnyRef(_) => Value::AnyRef(None),
                    Value::ExnRef(_) => Value::ExnRef(None),
                    _ => Value::default_of(*ty),
                };
            }
        }
        5 => {
            let moved = frame.boundary.offset.get().wrapping_add(draw.below(9) as u32);
            frame.boundary.offset = WasmOffset::new(moved.wrapping_sub(4));
        }
        6 => frame.boundary.func = FuncIdx::new(draw.below(12) as u32),
        7 => {
            state.store.frames.remove(depth);
            state.dead.remove(depth);
        }
        8 => {
            let (frame, dead) = (frame.clone(), dead.clone());
            state.store.frames.insert(depth, frame);
            state.dead.insert(depth, dead);
        }
        9 => {
            let other = draw.below(frames);
            state.store.frames.swap(depth, other);
            state.dead.swap(depth, other);
        }
        10 => {
            if frame.operands.pop().is_some() {
                dead.pop();
            } else {
                frame.operands.push((ValType::I32, Value::I32(1)));
                dead.push(false);
            }
        }
        11 => {
            let count = state.store.memories.len();
            if let Some(memory) = state.store.memories.get_mut(draw.below(count)) {
                let size = memory.bytes.len();
                match draw.below(3) {
                    0 => memory.bytes.resize(size + 65_536, 0),
                    1 => memory.bytes.truncate(size / 2),
                    _ if size > 0 => memory.bytes[draw.below(size)] ^= 1 << draw.below(8),
                    _ => {}
                }
            }
        }
        12 => {
            let count = state.store.globals.len();
            if let Some((_, value)) = state.store.globals.get_mut(draw.below(count)) {
                *value = other_value(*value, draw);
            }
            let count = state.store.tables.len();
            if let Some(table) = state.store.tables.get_mut(draw.below(count)) {
                let count = table.elements.len();
                if let Some(element) = table.elements.get_mut(draw.below(count)) {
                    *element = other_value(*element, draw);
                }
            }
        }
        _ => {
            let count = state.host.len();
            if let Some(byte) = state.host.get_mut(draw.below(count)) {
                *byte = match draw.below(3) {
                    0 => b'0' + draw.below(10) as u8,
                    1 => byte.wrapping_add(1),
                    _ => *byte ^ 1 << draw.below(8),
                };
            }
        }
    }
}

fn other_value(value: Value, draw: &mut Draw) -> Value {
    let bits = match draw.below(3) {
        0 => draw.next(),
        1 => u64::MAX << draw.below(64),
        _ => draw.below(5) as u64,
    };
    match value {
        Value::I32(_) => Value::I32(bits as u32),
        Value::I64(_) => Value::I64(bits),
        Value::F32(_) => Value::F32(bits as u32),
        Value::F64(_) => Value::F64(bits),
        Value::V128(_) => Value::V128(u128::from(bits) << 64 | u128::from(draw.next())),
        Value::FuncRef(Some(func)) if draw.below(2) == 0 => {
            let func = wasm_view::FuncAddr { func: FuncIdx::new(draw.below(16) as u32), ..func };
            Value::FuncRef(Some(func))
        }
        Value::FuncRef(_) => Value::FuncRef(None),
        Value::ExternRef(_) => Value::host(draw.below(4) as u32),
        Value::AnyRef(_) => Value::AnyRef(None),
        Value::ExnRef(_) => Value::ExnRef(None),
    }
}
