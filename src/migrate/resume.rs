//! `wdiff snapshot resume`: going on from a snapshot in another process.
//!
//! The snapshot is checked against the program, what the program had open is
//! opened again, and one side goes on to the end. A subject is compared with
//! an oracle that was loaded from the same snapshot, frame by frame where it
//! begins and at every boundary from there on.

use super::relay::{Asked, Relay, Standing};
use super::{Setup, Side, compile, print};
use crate::cli::{Opt, ResumeArgs};
use crate::error::CommandError;
use crate::lockstep::Ending;
use crate::lockstep::stops::{Control, Phase};
use crate::output;
use crate::program;
use crate::refuse;
use crate::snapshot;
use crate::watch;
use crate::witness::Called;
use crate::world;
use aot_backend::{Isa, Restorable};
use reports::Report;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Instant;
use wasi_host::{Output, Stdin, World, WorldConfig, WorldState};
use wasm_view::{InstanceId, Value};

/// Runs the subcommand.
///
/// # Errors
/// Whatever ends without a report.
pub fn main(args: &ResumeArgs) -> Result<u8, CommandError> {
    refuse::sides(&args.backend)?;
    output::probe(args.output.as_deref())?;
    let control = Control::new();
    let (report, results) = watch::supervise(&control, args.timeout, || execute(args, &control))?;
    print(&results);
    output::report(&report, args.format, args.output.as_deref())?;
    Ok(report.exit_code())
}

fn execute(
    args: &ResumeArgs,
    control: &Arc<Control>,
) -> Result<(Report, Vec<Value>), CommandError> {
    let side = Side::parse(&args.on).map_err(|error| error.about("--on"))?;
    let program = program::load(&args.module)?;
    let snapshot = snapshot::load(&args.file)?;
    let oracle = snapshot::fit(&program, &snapshot)
        .map_err(|what| CommandError::input(format_args!("{}: {what}", args.file.display())))?;
    let setup = Setup::new(&program, vec![side], &args.backend)?;
    let calls: Vec<Called> = snapshot
        .next
        .iter()
        .map(|(func, args)| Called { func: func.func, args: args.clone() })
        .collect();
    let config = WorldConfig {
        dirs: world::directories(&args.dir)?,
        stdin: match &args.stdin {
            Some(path) => Stdin::File(path.clone()),
            None => Stdin::Inherit,
        },
        stdout: Output::Inherit,
        stderr: Output::Inherit,
        cancel: control.cancel.clone(),
        ..WorldConfig::default()
    };
    let bad = |error| CommandError::input(format_args!("{}: {error}", args.file.display()));
    let state = match snapshot.host.as_slice() {
        [] => None,
        bytes => Some(WorldState::decode(bytes).map_err(bad)?),
    };
    let opened = match &state {
        None => World::live(config.clone()).map_err(CommandError::input)?,
        Some(state) => World::resumed(state, config.clone()).map_err(bad)?,
    };
    if let (Some(state), Ok(Some(actual))) = (&state, opened.state())
        && let Some(what) = state.difference(&actual)
    {
        return Err(CommandError::bug(format_args!("opened again, descriptors differ: {what}")));
    }
    let world = RefCell::new(opened);
    // A report names a compiler, whoever executes.
    let spare = match setup.first_image() {
        Some(_) => None,
        None => {
            let side = (Isa::X86_64, Opt::None);
            Some(compile(&program, side, setup.stable, &args.backend, Restorable::All)?)
        }
    };
    let image = setup.first_image().or(spare.as_ref());
    let image = image.ok_or_else(|| CommandError::bug("no image"))?;
    control.enter(Phase::Comparing);
    let mut relay = Relay::new(&setup, &world, config, control, Asked::default());
    relay.figures.relay.insert(0, snapshot.taken_by.clone());
    relay.figures.hand_overs = 1;
    relay.figures.frames = snapshot.store.frames.len() as u64;
    relay.figures.deepest = relay.figures.frames;
    let began = Instant::now();
    let standing = Standing::Halted(Box::new(oracle), InstanceId::new(0), Box::new(snapshot));
    let ending = relay.run(standing, 0, &calls)?;
    let results = match &ending {
        Some(Ending::Returned(values)) => values.clone(),
        _ => Vec::new(),
    };
    let shows_results = !results.is_empty();
    Ok((relay.report(ending.as_ref(), image, began.elapsed(), shows_results), results))
}
