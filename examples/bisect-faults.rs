//! Faults drawn by a seed, each put into a program and bisected: what is found,
//! how small the script is, how long it takes.
//!
//! ```text
//! cargo run --release --example bisect-faults -- COUNT SEED PROG [OPTIONS] [-- ARGS]
//! cargo run --release --example bisect-faults -- 10 1 lua.wasm --opt speed --dir scripts::/s -- /s/a.lua
//! ```
//!
//! From PROG on everything is what `wdiff bisect` takes. Faults are drawn as
//! `wdiff selftest` draws them, at instructions that the program executes: the
//! kind of fault first, then the Wasm instruction, then the function, so that
//! they spread. A fault that changes nothing (`bisect` ends with 0) is drawn
//! again. Each script is run with the fault and without: it must fail, and pass.

use clap::Parser;
use reports::Bisection;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;
use wdiff::bisect::replay::Replay;
use wdiff::cli::{self, Cli};
use wdiff::error::CommandError;
use wdiff::lockstep::follow::Requests;
use wdiff::lockstep::plan::BoundaryId;
use wdiff::lockstep::stops::{Control, Where};
use wdiff::selftest::draw::{self, Draw};
use wdiff::selftest::prepare::{Candidate, Prepared, each_once};
use wdiff::session::Session;
use wdiff::{invoke, program, run, world};

/// Faults without effect drawn in a row until no more are looked for.
const MOST_BARREN: usize = 60;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let numbers: Vec<Option<u64>> = words.iter().take(2).map(|word| word.parse().ok()).collect();
    let ([Some(count), Some(seed)], [_, _, _, ..]) = (&numbers[..], &words[..]) else {
        eprintln!("usage: bisect-faults COUNT SEED PROG [OPTIONS] [-- ARGS]");
        return ExitCode::from(2);
    };
    match all(*count, *seed, &words[2..]) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bisect-faults: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// A program, and which boundaries it comes to.
fn prepare(words: &[String]) -> Result<Prepared, CommandError> {
    let line = ["wdiff", "run"].into_iter().chain(words.iter().map(String::as_str));
    let cli = Cli::try_parse_from(line).map_err(CommandError::input)?;
    let cli::Command::Run(args) = cli.command else {
        return Err(CommandError::bug("`run` is not run"));
    };
    let program = program::load(&args.program)?;
    let image = run::compile_program(&program, &args.backend, false)?;
    let calls = invoke::calls(&args.world, &program)?;
    let mut config = world::config(&args.world, &program.path)?;
    (config.stdout, config.stderr) = (wasi_host::Output::Discard, wasi_host::Output::Discard);
    let mut world = wasi_host::World::live(config).map_err(CommandError::input)?;
    let session = Session { program: &program, image: &image, calls: &calls };
    let entries = Requests { places: vec![Where::Entries], ..Requests::default() };
    session.execute(&mut world, entries, &Control::new())?;
    let log = world.log().clone();
    let executed = Replay { session: &session, log: &log }.executed()?;
    let functions: HashMap<_, _> =
        (0..).zip(&image.map.functions).map(|(at, map)| (map.func, at)).collect();
    let trace: Vec<BoundaryId> = executed
        .into_iter()
        .filter_map(|boundary| {
            let function = *functions.get(&boundary.func)?;
            let map = &image.map.functions[function as usize];
            let index = map.boundaries.iter().position(|each| each.offset == boundary.offset)?;
            Some(BoundaryId { function, index: index as u32 })
        })
        .collect();
    let candidate = Candidate::of_path(&args.program, &args.world);
    // Only drawn from: nothing is judged, so nothing has to end in time.
    let patience = std::time::Duration::ZERO;
    let executed = each_once(&trace);
    Ok(Prepared { candidate, program, image, calls, log, trace, executed, adoptions: 0, patience })
}

/// What became of one fault.
struct Row {
    func: bool,
    instruction: bool,
    /// Bytes of the script's module, and whether it fails and passes as it must.
    script: Option<(u64, bool)>,
    seconds: f64,
}

fn all(count: u64, seed: u64, words: &[String]) -> Result<(), CommandError> {
    let prepared = prepare(words)?;
    let module_bytes = prepared.program.wasm.len() as u64;
    let wdiff = beside()?;
    let mut draw = Draw::new(seed);
    let mut rows: Vec<Row> = Vec::new();
    let mut barren = 0;
    println!("{} executed places, {module_bytes} bytes", prepared.trace.len());
    while (rows.len() as u64) < count && barren < MOST_BARREN {
        let Some(drawn) = draw.code(&prepared) else { break };
        let fault = drawn.fault.to_string();
        let instruction = draw::instruction(&prepared, drawn.at);
        let map = &prepared.image.map.functions[drawn.at.function as usize];
        let place = (map.func.get(), map.boundaries[drawn.at.index as usize].offset.get());
        let scratch = tempfile::tempdir().map_err(CommandError::host)?;
        let began = Instant::now();
        let (code, section, said) = bisect(&wdiff, words, &fault, scratch.path())?;
        let seconds = began.elapsed().as_secs_f64();
        let Some(section) = section.filter(|_| code == Some(1)) else {
            barren += 1;
            let outcome = code.map_or("a signal".to_owned(), |code| code.to_string());
            println!("     {seconds:6.1} s  {instruction:22} {fault}: ended with {outcome} {said}");
            continue;
        };
        barren = 0;
        let found = section.code.as_ref().map(|code| (code.func, code.offset));
        let script = section.reproducer.as_ref().map(|reproducer| {
            let holds = shows(&wdiff, scratch.path(), &reproducer.command);
            (reproducer.wasm_bytes, holds)
        });
        let row = Row {
            func: found.is_some_and(|found| found.0 == place.0),
            instruction: found == Some(place),
            script,
            seconds,
        };
        let place = match (row.func, row.instruction) {
            (_, true) => "exact".to_owned(),
            (true, _) => format!("at {:#x}", found.map_or(0, |found| found.1)),
            _ => format!("in {}", found.map_or("nothing".to_owned(), |f| f.0.to_string())),
        };
        let what = match (&row.script, &section.reproducer) {
            (Some((bytes, holds)), Some(reproducer)) => format!(
                "{bytes} bytes, {} instructions for {} executed ones, {} tried{}",
                reproducer.instructions,
                reproducer.span,
                reproducer.candidates,
                if *holds { "" } else { " BUT DOES NOT HOLD" }
            ),
            _ => format!("none: {}", section.no_reproducer.unwrap_or_default()),
        };
        println!(
            "{:3}  {seconds:6.1} s  {instruction:22} {fault}: {place}; {what}",
            rows.len() + 1
        );
        rows.push(row);
    }
    summary(&rows, module_bytes);
    Ok(())
}

/// The `wdiff` built with this.
fn beside() -> Result<PathBuf, CommandError> {
    let own = std::env::current_exe().map_err(CommandError::host)?;
    let found = own.parent().and_then(Path::parent).map(|dir| dir.join("wdiff"));
    found.filter(|path| path.is_file()).ok_or_else(|| {
        CommandError::input(
            "there is no `wdiff` beside this example; build it with the same profile",
        )
    })
}

type Ran = (Option<i32>, Option<Bisection>, String);

fn bisect(
    wdiff: &Path,
    words: &[String],
    fault: &str,
    scratch: &Path,
) -> Result<Ran, CommandError> {
    let report = scratch.join("report.json");
    let output = Command::new(wdiff)
        .args(["bisect", "--format", "json", "--inject", fault, "--output"])
        .arg(&report)
        .arg("--reproducer")
        .arg(scratch.join("found.wast"))
        .args(words)
        .output()
        .map_err(CommandError::host)?;
    let section = std::fs::read_to_string(&report)
        .ok()
        .and_then(|text| reports::json::from_str(&text).ok())
        .and_then(|report| report.bisect);
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().last().unwrap_or_default().to_owned();
    Ok((output.status.code(), section, said))
}

/// Whether a script fails with the fault and passes without.
fn shows(wdiff: &Path, scratch: &Path, command: &[String]) -> bool {
    let run = |words: &[String]| {
        let output = Command::new(wdiff).current_dir(scratch).args(words).output();
        output.ok().and_then(|output| output.status.code())
    };
    let words = &command[1..];
    let Some(at) = words.iter().position(|word| word == "--inject") else { return false };
    run(words) == Some(1) && run(&[&words[..at], &words[at + 2..]].concat()) == Some(0)
}

fn summary(rows: &[Row], module_bytes: u64) {
    let count = |which: &dyn Fn(&Row) -> bool| rows.iter().filter(|row| which(row)).count();
    let median = |mut list: Vec<f64>| {
        list.sort_by(f64::total_cmp);
        list.get(list.len() / 2).copied().unwrap_or_default()
    };
    let bytes = |row: &Row| row.script.map_or(f64::INFINITY, |script| script.0 as f64);
    let middle = median(rows.iter().map(bytes).collect());
    println!("{} faults", rows.len());
    println!("  function     {}", count(&|row| row.func));
    println!("  instruction  {}", count(&|row| row.instruction));
    println!("  script       {}", count(&|row| row.script.is_some_and(|script| script.1)));
    println!("  <= 1 KiB     {}", count(&|row| bytes(row) <= 1024.0));
    println!(
        "  bytes        {middle} in the median, {:.4} % of the module",
        100.0 * middle / module_bytes as f64
    );
    println!(
        "  seconds      {:.1} in the median, {:.1} at most; {} within 60",
        median(rows.iter().map(|row| row.seconds).collect()),
        rows.iter().map(|row| row.seconds).fold(0.0, f64::max),
        count(&|row| row.seconds <= 60.0)
    );
}
