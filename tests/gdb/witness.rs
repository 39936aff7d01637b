//! What gdb says, held against the oracle.

use crate::oracle::{Moment, moments};
use crate::{MANY, Subject, common};
use aot_backend::{CompileOptions, Image, OptLevel};
use clap::Parser;
use dwarf_map::dwarf::variables::{self, Slot};
use dwarf_map::{Anchor, FunctionMap, InstanceLayout, Location};
use libtest_mimic::Failed;
use oracle_interp::Module;
use oracle_interp::liveness::Liveness;
use serde_json::{Value as Json, json};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use wasi_host::{Output, World};
use wasm_view::{Frame, ValType, Value};
use wdiff::cli::{Cli, Command as Subcommand};
use wdiff::core_file::CoreRequest;
use wdiff::lockstep::Ending;
use wdiff::lockstep::follow::Requests;
use wdiff::lockstep::space::INSTANCE_DATA;
use wdiff::lockstep::stops::{Control, Where};
use wdiff::session::Session;
use wdiff::{compile, invoke, program, run, world};

/// Frames whose variables are compared; names are compared of all.
const FRAMES: usize = 6;

/// Slots of the frames that were looked at.
#[derive(Default)]
struct Tally {
    /// gdb shows the oracle's bits.
    equal: usize,
    /// gdb says optimised out.
    hidden: usize,
    /// Both have a NaN, and not the same one: the specification leaves its
    /// bits open, and an oracle that runs alone adopts nobody's choice.
    nans: usize,
    /// The map has a location.
    located: usize,
    /// Read again by the program before it is set: these matter.
    live: usize,
    /// Of those, not optimised out.
    live_shown: usize,
    /// Frames.
    frames: usize,
}

/// Compares one program.
pub fn compare(subject: &Subject) -> Result<(), Failed> {
    let scratch = common::scratch();
    let entry = corpus::program(subject.name).map_err(|error| error.to_string())?;
    let mut words = vec!["wdiff".into(), "run".into()];
    words.extend(common::arguments(&entry, &scratch));
    let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
    let Subcommand::Run(args) = cli.command else {
        return Err("not a run".into());
    };
    let program = program::load(&args.program).map_err(|error| error.to_string())?;
    let first = scratch.path().join("core");
    let mut options =
        CompileOptions { opt: subject.opt, debug_info: true, ..CompileOptions::default() };
    compile::set_listing(&mut options, &CoreRequest::listing_path(&first));
    let image = run::compile_with(&program, &options).map_err(|error| error.to_string())?;
    let calls = invoke::calls(&args.world, &program).map_err(|error| error.to_string())?;
    let mut config =
        world::config(&args.world, &args.program).map_err(|error| error.to_string())?;
    (config.stdout, config.stderr) = (Output::Discard, Output::Discard);

    let (moments, log) = moments(&program, &calls, config, subject.boundaries)?;
    let paths: Vec<PathBuf> =
        (0..moments.len()).map(|index| scratch.path().join(format!("core{index}"))).collect();
    CoreRequest::new(first, moments[0].at, 1).write_image(&image).map_err(|e| e.to_string())?;
    let cores: Vec<CoreRequest> = moments
        .iter()
        .zip(&paths)
        .map(|(moment, path)| CoreRequest::new(path.clone(), moment.at, moment.occurrence))
        .collect();
    let requests = Requests {
        places: moments.iter().map(|moment| Where::Boundary(moment.at.0, moment.at.1)).collect(),
        every: subject.every,
        cores,
        ..Requests::default()
    };
    let session = Session { program: &program, image: &image, calls: &calls };
    let executed = session
        .execute(&mut World::replaying(log, false), requests, &Control::new())
        .map_err(|error| error.to_string())?;
    if executed.core_missing || !matches!(executed.ending, Ending::Returned(_) | Ending::Exited(_))
    {
        return Err(format!("the run wrote not all cores: {:?}", executed.ending).into());
    }

    let seen = ask_gdb(scratch.path(), &paths)?;
    let source = Source { image: &image, module: &program.module };
    let (mut inner, mut outer) = (Tally::default(), Tally::default());
    for (moment, seen) in moments.iter().zip(&seen) {
        look(&source, moment, seen, &mut inner, &mut outer).map_err(|problem| {
            let (func, offset) = moment.at;
            format!("function {func} at {offset}, execution {}: {problem}", moment.occurrence)
        })?;
    }
    println!(
        "{}: {} boundaries: {} slots equal, {} other NaNs, {} optimised out, {} of {} live ones shown; {} outer frames: {} equal, {} other NaNs, {} optimised out",
        subject.name,
        inner.frames,
        inner.equal,
        inner.nans,
        inner.hidden,
        inner.live_shown,
        inner.live,
        outer.frames,
        outer.equal,
        outer.nans,
        outer.hidden
    );
    // Few programs are short; of those looked at often none is.
    let wanted = match subject.boundaries {
        MANY => MANY,
        few => few.min(moments.len()),
    };
    if inner.frames != wanted || seen.len() != wanted {
        return Err(format!("{} of {wanted} boundaries looked at", inner.frames).into());
    }
    // Whatever the map locates gdb must show, and of what matters nearly all.
    for (which, tally) in [("innermost", &inner), ("outer", &outer)] {
        if tally.equal + tally.nans != tally.located || tally.equal == 0 && tally.located > 0 {
            return Err(format!(
                "{which} frames: {} shown of {} located slots",
                tally.equal + tally.nans,
                tally.located
            )
            .into());
        }
    }
    // Optimised code computes some floats late, and a vector whose boundary comes
    // before its computation follows from nothing: expressions are of words.
    // Without optimisation, all that matters is there.
    let floor = match (subject.opt, subject.name) {
        (OptLevel::None, _) => 99,
        (_, "vectors") => 60,
        _ => 90,
    };
    if inner.live == 0 || inner.live_shown * 100 < inner.live * floor {
        return Err(format!("{} of {} live slots shown", inner.live_shown, inner.live).into());
    }
    Ok(())
}

/// One gdb looks at all cores of a program.
fn ask_gdb(scratch: &Path, cores: &[PathBuf]) -> Result<Vec<Json>, String> {
    let (job, answer) = (scratch.join("job.json"), scratch.join("answer.json"));
    let content = json!({
        "image": scratch.join("core.image"),
        "cores": cores,
        "frames": FRAMES,
        "answer": answer,
    });
    std::fs::write(&job, content.to_string()).map_err(|error| error.to_string())?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gdb/look.py");
    let output = Command::new("gdb")
        .args(["-nx", "-batch", "-ex"])
        .arg(format!("python job_file = {:?}", job.display().to_string()))
        .arg("-x")
        .arg(script)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // gdb has nothing to complain of in image and cores.
    if !said.trim().is_empty() || !output.status.success() {
        return Err(format!("gdb, {}: {said}", output.status));
    }
    let text = std::fs::read_to_string(&answer).map_err(|error| error.to_string())?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

/// What a frame is looked up in.
struct Source<'a> {
    image: &'a Image,
    module: &'a Module,
}

/// Compares one core: the frames, and in the innermost ones the variables.
fn look(
    source: &Source<'_>,
    moment: &Moment,
    seen: &Json,
    inner: &mut Tally,
    outer: &mut Tally,
) -> Result<(), String> {
    let image = source.image;
    let shown = seen["frames"].as_array().ok_or("no frames")?;
    // Below the outermost function lies the entry that the tracer called.
    if shown.len() != moment.frames.len() + 1 {
        return Err(format!(
            "gdb shows {} frames ({}), the oracle has {} and an entry",
            shown.len(),
            seen["end"],
            moment.frames.len()
        ));
    }
    let bottom = shown.last().and_then(|frame| frame["name"].as_str()).unwrap_or_default();
    if !bottom.starts_with("entry_") {
        return Err(format!("the outermost frame is {bottom}"));
    }
    for (depth, (shown, frame)) in shown.iter().zip(moment.frames.iter().rev()).enumerate() {
        let problem = |what: String| format!("frame {depth}: {what}");
        let function = image.map.functions.iter().find(|f| f.func == frame.boundary.func);
        let function = function.ok_or("a frame of no function")?;
        place(image, function, frame, shown, depth).map_err(problem)?;
        if depth < FRAMES {
            let tally = if depth == 0 { &mut *inner } else { &mut *outer };
            tally.frames += 1;
            variables_of(source, function, frame, shown, depth, tally).map_err(problem)?;
        }
    }
    Ok(())
}

/// Name, listing line and, innermost, PC of a frame.
fn place(
    image: &Image,
    function: &FunctionMap,
    frame: &Frame,
    shown: &Json,
    depth: usize,
) -> Result<(), String> {
    let name = match function.name.as_deref() {
        Some(name) if !name.is_empty() => name.to_string(),
        _ => format!("wasm_func_{}", function.func.get()),
    };
    if shown["name"] != json!(name) {
        return Err(format!("gdb calls it {}, it is {name}", shown["name"]));
    }
    if depth == 0 {
        let boundary = function.boundaries.iter().find(|b| b.offset == frame.boundary.offset);
        let pc = match boundary.map(|boundary| boundary.anchor) {
            Some(Anchor::Trap(pc)) => pc.at(image.text_address).get(),
            _ => return Err("a boundary without a PC".into()),
        };
        if shown["pc"] != json!(pc) {
            return Err(format!("gdb is at {}, the boundary at {pc}", shown["pc"]));
        }
    }
    // The line that gdb would list, read as gdb would, against the module.
    let file = shown["file"].as_str().ok_or("no source file")?;
    let text = std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
    let number = shown["line"].as_u64().unwrap_or_default() as usize;
    let line = text.lines().nth(number.wrapping_sub(1)).unwrap_or_default().trim();
    let expected = image.listing.text_at(frame.boundary.offset).unwrap_or_default();
    // The listing's comment on a label is no part of the instruction, and a
    // function's last `end` is written as its closing parenthesis.
    let shows = line.split(" ;;").next().unwrap_or_default().trim_end();
    let same = shows == expected || shows == ")" && expected == "end";
    if !same || image.listing.line_of(frame.boundary.offset) != Some(number as u32) {
        return Err(format!("gdb shows line {number}, {line}; the instruction is {expected}"));
    }
    Ok(())
}

/// The variables of a frame.
fn variables_of(
    source: &Source<'_>,
    function: &FunctionMap,
    frame: &Frame,
    shown: &Json,
    depth: usize,
    tally: &mut Tally,
) -> Result<(), String> {
    let values = shown["values"].as_object().ok_or("no variables")?;
    let locations = locations(function, frame, depth)?;
    let liveness = Liveness::compute(source.module, function.func).ok_or("no liveness")?;
    let live: Vec<bool> = liveness.slots(frame.boundary.offset).collect();
    let mut expected: HashMap<String, (ValType, Value, Location, bool)> = HashMap::new();
    let variables = variables::of(function);
    for variable in &variables {
        let (slot, at) = match variable.slot {
            Slot::Local(index) => (frame.locals.get(index), index),
            Slot::Operand(index) => (frame.operands.get(index), frame.locals.len() + index),
        };
        if let (Some((ty, value)), Some(location)) = (slot, locations.get(at))
            && *ty == variable.ty
        {
            expected.insert(
                variable.name.clone(),
                (*ty, *value, *location, live.get(at) == Some(&true)),
            );
        }
    }
    if expected.len() != frame.locals.len() + frame.operands.len() {
        return Err("not every slot has a variable".into());
    }
    for (name, value) in values {
        let value = value.as_str();
        let Some((ty, right, location, is_live)) = expected.remove(name) else {
            match value {
                Some(bits) => return Err(format!("{name} is {bits}; the oracle has no such slot")),
                None => continue,
            }
        };
        tally.located += usize::from(!matches!(location, Location::Unavailable(_)));
        tally.live += usize::from(is_live);
        let Some(bits) = value else {
            tally.hidden += 1;
            continue;
        };
        tally.live_shown += usize::from(is_live);
        let native = native(source.image, right);
        let digits = ty.bytes() * 2;
        if bits != format!("{native:#0width$x}", width = digits + 2) {
            if is_nan(ty, native) && parse(bits).is_some_and(|shown| is_nan(ty, shown)) {
                tally.nans += 1;
                continue;
            }
            return Err(format!("{name} {ty} is {bits}, the oracle has {native:#x}"));
        }
        tally.equal += 1;
    }
    match expected.keys().next() {
        Some(name) => Err(format!("gdb knows no {name}")),
        None => Ok(()),
    }
}

/// What the map says of a frame: at its boundary, or waiting at its call.
fn locations<'a>(
    function: &'a FunctionMap,
    frame: &Frame,
    depth: usize,
) -> Result<&'a [Location], String> {
    let offset = frame.boundary.offset;
    let boundary = function.boundaries.iter().find(|boundary| boundary.offset == offset);
    let site = function.call_sites.iter().find(|site| site.offset == offset);
    match (depth, boundary, site) {
        (0, Some(boundary), _) => Ok(&boundary.locations),
        (_, _, Some(site)) if depth > 0 => Ok(&site.locations),
        _ => Err(format!("the map has nothing at {offset}")),
    }
}

/// A value as native code holds it.
fn native(image: &Image, value: Value) -> u128 {
    match value {
        Value::V128(bits) => bits,
        Value::FuncRef(Some(address)) => {
            let layout: InstanceLayout = image.map.layout;
            u128::from(INSTANCE_DATA + u64::from(layout.descriptor(address.func)))
        }
        other => u128::from(other.to_cell().0),
    }
}

fn parse(bits: &str) -> Option<u128> {
    u128::from_str_radix(bits.strip_prefix("0x")?, 16).ok()
}

fn is_nan(ty: ValType, bits: u128) -> bool {
    match ty {
        ValType::F32 => f32::from_bits(bits as u32).is_nan(),
        ValType::F64 => f64::from_bits(bits as u64).is_nan(),
        _ => false,
    }
}
