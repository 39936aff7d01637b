//! `wdiff migrate`: a program handed from one executor to the next.
//!
//! ```text
//!   side A: lockstep, or the oracle alone  -- n-th stable point -->  capture
//!      capture == the oracle's view --> snapshot: written, read, loaded
//!   side B: restore --> every frame compared --> capture again == snapshot --> goes on
//! ```
//! Sides take turns until the program ends ([`relay`]). The oracle that goes on is
//! always one that was loaded from the snapshot, so that what the file cannot carry
//! is lost to both. So it is with the world outside: everything that the program has
//! open is closed and opened again as the snapshot says. At the end the program is
//! run once more, on an oracle that nobody ever stopped, over the log of its host
//! calls ([`alone`]): arguments, output and ending must be the same.
//!
//! [`faults`] does things wrong on purpose while restoring, [`resume`] goes on from a
//! snapshot in another process.

pub mod alone;
pub mod faults;
pub mod relay;
pub mod resume;

use crate::cli::{BackendArgs, MigrateArgs, Opt};
use crate::error::CommandError;
use crate::invoke;
use crate::lockstep::Ending;
use crate::lockstep::handover::RestoreFault;
use crate::lockstep::shipped::SRCLOC;
use crate::lockstep::stops::{Control, Phase, Where};
use crate::output;
use crate::program::{self, Program};
use crate::refuse;
use crate::run;
use crate::session::Session;
use crate::watch;
use crate::world;
use aot_backend::{Image, Isa, Restorable, StablePoints};
use dwarf_map::check::stable_kinds;
use oracle_interp::StopSet;
use relay::{Asked, Relay, Standing};
use reports::Report;
use std::cell::{OnceCell, RefCell};
use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;
use wasi_host::{World, WorldConfig};
use wasm_view::{FuncIdx, Value};

/// Most bytes of linear memory in a snapshot that is read.
pub const MOST_MEMORY: u64 = 4 << 30;

/// Where a program can be executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Side {
    /// By the oracle alone.
    Oracle,
    /// By AOT code for this instruction set, of this level, in lockstep.
    Native(Isa, Opt),
}

impl Side {
    /// Reads what `--relay` takes.
    ///
    /// # Errors
    /// Anything else; what is not built.
    pub fn parse(text: &str) -> Result<Side, CommandError> {
        if text == "oracle" {
            return Ok(Side::Oracle);
        }
        let native = text.split_once(':').and_then(|(target, opt)| {
            let isa = Isa::from_name(target)?;
            let opt = [Opt::None, Opt::Speed, Opt::SpeedAndSize]
                .into_iter()
                .find(|each| each.as_str() == opt)?;
            Some(Side::Native(isa, opt))
        });
        native.ok_or_else(|| {
            let targets = Isa::ALL.map(Isa::name).join("|");
            CommandError::input(format_args!(
                "{text}: no such side; expected oracle or TARGET:none|speed, TARGET one of {targets}"
            ))
        })
    }

    /// The spelling on the command line.
    pub fn name(&self) -> String {
        match self {
            Side::Oracle => "oracle".to_owned(),
            Side::Native(isa, opt) => format!("{}:{}", isa.name(), opt.as_str()),
        }
    }
}

/// After how many stable points the next hand-over comes.
#[derive(Clone, Copy, Debug)]
pub enum Gaps {
    /// At every so many.
    Every(u64),
    /// Once.
    At(u64),
    /// After 1 to 32, drawn each time.
    Random(u64),
    /// Not at all.
    Never,
}

impl Gaps {
    fn of(args: &MigrateArgs) -> Gaps {
        match (args.every, args.at, args.random) {
            (_, Some(at), _) => Gaps::At(at),
            (_, _, Some(seed)) => Gaps::Random(seed ^ 0x9e37_79b9_7f4a_7c15),
            (every, ..) => Gaps::Every(every.unwrap_or(1)),
        }
    }

    fn next(&mut self) -> u64 {
        match self {
            Gaps::Every(every) => *every,
            Gaps::At(at) => std::mem::replace(at, u64::MAX),
            Gaps::Random(state) => 1 + xorshift(state) % 32,
            Gaps::Never => u64::MAX,
        }
    }
}

/// xorshift64 (Marsaglia, "Xorshift RNGs", 2003).
fn xorshift(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Times that code is made for the functions of a hand-over. A program that is handed
/// over more often than it can be compiled then gets code for all that may come.
const MOST_LANDINGS: usize = 4;

/// Code in which some functions can be entered in the middle, and the next such code,
/// made when there was a frame of another one.
struct Landing {
    ways_in: Restorable,
    image: Image,
    next: OnceCell<Box<Landing>>,
}

/// What relays of one program have in common, however many there are.
pub struct Setup<'a> {
    /// The program.
    pub program: &'a Program,
    /// Who takes turns.
    pub sides: Vec<Side>,
    /// Their code, by side: where the program begins.
    pub images: Vec<Option<Image>>,
    /// The code that programs have landed in, by side; `None` where that is the code
    /// in which they begin.
    landings: Option<(BackendArgs, Vec<OnceCell<Box<Landing>>>)>,
    /// The program's stable points.
    pub stops: StopSet,
    /// Which those are.
    pub stable: StablePoints,
    /// Where a side is compared between two hand-overs; empty is every boundary.
    pub places: Vec<Where>,
}

impl<'a> Setup<'a> {
    /// Compiles a program for its sides.
    ///
    /// # Errors
    /// What the backend does not support.
    pub fn new(
        program: &'a Program,
        sides: Vec<Side>,
        backend: &BackendArgs,
    ) -> Result<Setup<'a>, CommandError> {
        if program.image.is_some() {
            return Err(CommandError::input(
                "migrate compiles its sides itself: it takes a .wasm or .wat, not an image",
            ));
        }
        let stable = match backend.stable {
            StablePoints::Off => StablePoints::Calls,
            chosen => chosen,
        };
        // As it ships, code goes on from where it began; what is handed to it lands in
        // other code.
        let lands = backend.anchors == SRCLOC;
        let ways_in = if lands { Restorable::None } else { Restorable::All };
        let first = |side: &Side| match side {
            Side::Oracle => Ok(None),
            Side::Native(isa, opt) => {
                compile(program, (*isa, *opt), stable, backend, ways_in.clone()).map(Some)
            }
        };
        let images = sides.iter().map(first).collect::<Result<_, _>>()?;
        let landings = sides.iter().map(|_| OnceCell::new()).collect();
        let landings = lands.then_some((backend.clone(), landings));
        let (stops, places) = (stops(program, stable)?, Vec::new());
        Ok(Setup { program, sides, images, landings, stops, stable, places })
    }

    /// The code of a side in which functions can be entered in the middle: where a
    /// program lands that has frames of them.
    ///
    /// # Errors
    /// What the backend does not support.
    pub fn landing(
        &self,
        side: usize,
        functions: &BTreeSet<FuncIdx>,
    ) -> Result<&Image, CommandError> {
        let bug = || CommandError::bug("a side without an image");
        let Some((backend, landings)) = &self.landings else {
            return self.images[side].as_ref().ok_or_else(bug);
        };
        let Side::Native(isa, opt) = self.sides[side] else { return Err(bug()) };
        let mut place = &landings[side];
        let mut wanted = functions.clone();
        let mut made = 0;
        while let Some(landing) = place.get() {
            if functions.iter().all(|func| landing.ways_in.has(*func)) {
                return Ok(&landing.image);
            }
            if let Restorable::Only(known) = &landing.ways_in {
                wanted.extend(known);
            }
            made += 1;
            place = &landing.next;
        }
        let ways_in = match made < MOST_LANDINGS {
            true => Restorable::Only(wanted),
            false => Restorable::All,
        };
        let image = compile(self.program, (isa, opt), self.stable, backend, ways_in.clone())?;
        let landing = Landing { ways_in, image, next: OnceCell::new() };
        Ok(&place.get_or_init(|| Box::new(landing)).image)
    }

    /// The first side's code that is not the oracle.
    fn first_image(&self) -> Option<&Image> {
        self.images.iter().flatten().next()
    }
}

/// Compiles a program so that some of its functions can be restored.
///
/// # Errors
/// What the backend does not support.
pub fn compile(
    program: &Program,
    (isa, opt): (Isa, Opt),
    stable: StablePoints,
    backend: &BackendArgs,
    ways_in: Restorable,
) -> Result<Image, CommandError> {
    let target = isa.name().to_owned();
    let mut options =
        run::options(program, &BackendArgs { opt, stable, target, ..backend.clone() }, false)?;
    options.restorable = ways_in;
    let image = run::compile_with(program, &options)?;
    refuse::image(&image.map.producer)?;
    Ok(image)
}

/// The program's stable points, for the oracle.
///
/// # Errors
/// A module that is not valid.
pub fn stops(program: &Program, stable: StablePoints) -> Result<StopSet, CommandError> {
    let mut stops = StopSet::new(&program.module);
    for (func, offset) in
        stable_kinds(&program.wasm, stable).map_err(CommandError::input)?.into_keys()
    {
        stops.insert(func, offset);
    }
    Ok(stops)
}

/// Runs the subcommand.
///
/// # Errors
/// Whatever ends without a report.
pub fn main(args: &MigrateArgs) -> Result<u8, CommandError> {
    refuse::migrate(args)?;
    output::probe(args.output.as_deref())?;
    let control = Control::new();
    let (report, results) = watch::supervise(&control, args.timeout, || execute(args, &control))?;
    print(&results);
    output::report(&report, args.format, args.output.as_deref())?;
    Ok(report.exit_code())
}

/// Prints the results of an invoked function.
fn print(results: &[Value]) {
    let mut out = std::io::stdout().lock();
    for value in results {
        let _ = writeln!(out, "{value}");
    }
}

/// The report, and the results of an invoked function.
fn execute(
    args: &MigrateArgs,
    control: &Arc<Control>,
) -> Result<(Report, Vec<Value>), CommandError> {
    let sides: Vec<Side> = args
        .relay
        .iter()
        .map(|side| Side::parse(side))
        .collect::<Result<_, _>>()
        .map_err(|error: CommandError| error.about("--relay"))?;
    let fault = args.inject.as_deref().map(RestoreFault::read).transpose()?;
    let program = program::load(&args.program)?;
    let mut setup = Setup::new(&program, sides, &args.backend)?;
    setup.places = match args.breaks.as_deref() {
        Some("hand-over") => vec![Where::Pauses],
        Some(_) => vec![Where::Stable],
        None => Vec::new(),
    };
    let calls = invoke::calls(&args.world, &program)?;
    let config = WorldConfig {
        cancel: control.cancel.clone(),
        ..world::config(&args.world, &program.path)?
    };
    let world = RefCell::new(World::live(config.clone()).map_err(CommandError::input)?);
    control.enter(Phase::Comparing);
    let Some(first) = setup.first_image() else {
        return Err(CommandError::input(
            "--relay with the oracle alone hands nothing over; add x86_64:none or x86_64:speed",
        ));
    };
    let session = Session { program: &program, image: first, calls: &calls };
    if let Some(count) = args.inject_random {
        let report = faults::run(&setup, &session, &world, &config, (count, args.seed), control)?;
        return Ok((report, Vec::new()));
    }
    let asked = Asked {
        gaps: Gaps::of(args),
        most: args.most.unwrap_or(u64::MAX),
        save: args.save.clone(),
        halt: args.halt,
        fault,
        ..Asked::default()
    };
    let mut relay = Relay::new(&setup, &world, config, control, asked);
    let began = Instant::now();
    let standing = Standing::Fresh(Box::new(session.instantiate()?));
    let ending = relay.run(standing, 0, &calls.list)?;
    let wall = began.elapsed();
    if let Some(ending) = ending.as_ref().filter(|ending| has_ended(ending)) {
        let log = world.borrow().log().clone();
        let (again, rest) = alone::again(&session, log, control)?;
        relay.figures.unmigrated = Some(alone::alike(ending, &again) && rest == 0);
    }
    let report = relay.report(ending.as_ref(), first, wall, calls.shows_results);
    let results = match ending {
        Some(Ending::Returned(values)) if calls.shows_results => values,
        _ => Vec::new(),
    };
    Ok((report, results))
}

/// Whether an ending is the program's own.
fn has_ended(ending: &Ending) -> bool {
    matches!(
        ending,
        Ending::Returned(_) | Ending::Exited(_) | Ending::Trapped(..) | Ending::Thrown(_)
    )
}
