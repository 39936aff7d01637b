//! Programs of the corpus handed round, and how often that went well.
//!
//! ```text
//! cargo run --release --example hand-overs -- [MOST [RELAY [BREAK]]]
//! ```
//! Each program is run by `wdiff migrate --relay RELAY` (default
//! `oracle,x86_64:speed,x86_64:none`) and handed over at every stable point, or
//! at every n-th where there are more than MOST (default 20,000); BREAK is what
//! `--break` is given. Prints a line for each and the total, names those that use
//! what a side does not support, and ends with 1 if a view differed or an output
//! was another than the unmigrated run's.

#[path = "../tests/common/arguments.rs"]
mod arguments;

use corpus::Program;
use reports::{Report, Verdict};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let most = words.next().map_or(Ok(20_000), |word| word.parse::<u64>());
    let relay = words.next().unwrap_or_else(|| "oracle,x86_64:speed,x86_64:none".to_owned());
    let breaks = words.next();
    let (Ok(most), Some(wdiff)) = (most, wdiff()) else {
        eprintln!("usage: hand-overs [MOST [RELAY [BREAK]]], with wdiff built beside it");
        return ExitCode::from(2);
    };
    let began = Instant::now();
    let (mut programs, mut total, mut frames, mut failed, mut refused) = (0, 0, 0, 0, 0);
    let options = Options { relay: &relay, breaks: breaks.as_deref(), most };
    println!(
        "{:>9} {:>7} {:>9} {:>8} {:>9}  program",
        "points", "every", "hand-overs", "frames", "ms each"
    );
    for program in corpus::quick() {
        match one(&wdiff, &program, &options) {
            Ok(Handed::Round(line)) => {
                println!("{} {}", line.text, program.name);
                programs += 1;
                total += line.hand_overs;
                frames += line.frames;
            }
            Ok(Handed::Short) => {}
            Ok(Handed::Refused(why)) => {
                println!("refused {}: {}", program.name, why.trim());
                refused += 1;
            }
            Err(what) => {
                println!("FAILED {}: {what}", program.name);
                failed += 1;
            }
        }
    }
    println!(
        "{total} hand-overs of {frames} frames in {programs} programs, {failed} programs failed, {refused} refused; relay {relay}, {:.0} s",
        began.elapsed().as_secs_f64()
    );
    ExitCode::from(u8::from(failed > 0))
}

/// What is printed of a program.
struct Line {
    text: String,
    hand_overs: u64,
    frames: u64,
}

/// What is asked for.
struct Options<'a> {
    relay: &'a str,
    breaks: Option<&'a str>,
    most: u64,
}

/// What came of a program.
enum Handed {
    Round(Line),
    /// Too short to be handed over even once.
    Short,
    /// A side does not support what it uses.
    Refused(String),
}

fn one(wdiff: &Path, program: &Program, options: &Options<'_>) -> Result<Handed, String> {
    let plain = ["run", "--stable", "calls", "--break", "stable"].map(OsString::from);
    let points = match report(wdiff, &plain, program)? {
        Ok(report) => report.stable_points.executed,
        Err(why) => return Err(why),
    };
    if points == 0 {
        return Ok(Handed::Short);
    }
    let every = points.div_ceil(options.most);
    let every = every.to_string();
    let mut words = vec!["migrate", "--relay", options.relay, "--every", &every];
    words.extend(options.breaks.iter().flat_map(|place| ["--break", place]));
    let words: Vec<OsString> = words.into_iter().map(OsString::from).collect();
    let report = match report(wdiff, &words, program)? {
        Ok(report) => report,
        Err(why) => return Ok(Handed::Refused(why)),
    };
    let section = report.migration.as_ref().ok_or("no section `migration`")?;
    let short = section.hand_overs == 0 && report.verdict == Verdict::Inconclusive;
    if report.verdict != Verdict::Match && !short {
        return Err(reports::text::render(&report, reports::Style::plain()));
    }
    if section.unmigrated != Some(true) {
        return Err("it was not run once more unmigrated, or behaved otherwise".to_owned());
    }
    let seconds = section.capture_s + section.transfer_s + section.restore_s;
    let each = 1e3 * seconds / section.hand_overs.max(1) as f64;
    let text =
        format!("{points:9} {every:>7} {:9} {:8} {each:9.3} ", section.hand_overs, section.frames);
    Ok(Handed::Round(Line { text, hand_overs: section.hand_overs, frames: section.frames }))
}

/// The exit code of what is not supported.
const UNSUPPORTED: i32 = 3;

/// A report, or why there is none but a refusal.
fn report(
    wdiff: &Path,
    options: &[OsString],
    program: &Program,
) -> Result<Result<Report, String>, String> {
    let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
    let file = scratch.path().join("report.json");
    let mut command = Command::new(wdiff);
    command.args(options).args(["--format", "json", "--output"]).arg(&file);
    command.args(arguments::arguments(program, &scratch));
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    // Where a report was to go there is a file from the beginning.
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    if text.is_empty() {
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        return if output.status.code() == Some(UNSUPPORTED) { Ok(Err(why)) } else { Err(why) };
    }
    reports::json::from_str(&text).map(Ok).map_err(|error| error.to_string())
}

/// The command, built beside this example.
fn wdiff() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    Some(own.parent()?.parent()?.join("wdiff")).filter(|path| path.exists())
}
