//! How often is often enough: what stable points of each kind cost, and how soon a
//! program halts that is asked to.
//!
//! ```text
//!   -----o----------o---o--------------------------------o----->  instructions
//!                   |   ^ asked here                     ^ halts there
//!                   '- stable points
//! ```
//! What a kind costs is timed. How soon the program halts is counted, by the oracle:
//! it is asked at an instruction drawn from all that it executes, and runs to the
//! next stable point, or to its end. What is counted in instructions is said in microseconds
//! too, by what an instruction of the program takes on average without stable points.
//! An instruction may take longer than that: `memory.fill` is one, and a host call that waits is.

use crate::programs::Bench;
use crate::statistics::{self, median, percent};
use crate::text;
use crate::timing::{self, Version};
use aot_backend::StablePoints;
use wasi_host::World;
use wdiff::lockstep::Ending;
use wdiff::lockstep::stops::Control;
use wdiff::migrate::{self, alone};
use wdiff::session::Session;

/// The kinds; each has the points of those before it.
const KINDS: [StablePoints; 4] =
    [StablePoints::Entry, StablePoints::Loops, StablePoints::Calls, StablePoints::Labels];

/// Instructions from one stable point to the next, over a run.
#[derive(Clone, Copy, Default)]
struct Stretches {
    /// Stable points executed.
    points: u64,
    /// Instructions up to the end of the last stretch.
    instructions: u64,
    /// The longest one.
    longest: u64,
    /// The sum of their squares.
    squares: f64,
}

impl Stretches {
    /// Up to where `instructions` have been executed.
    fn end(&mut self, instructions: u64) {
        let length = instructions - self.instructions;
        self.instructions = instructions;
        self.longest = self.longest.max(length);
        self.squares += (length as f64).powi(2);
    }

    /// Instructions to the next stable point from one drawn at random: a stretch is met
    /// as often as it is long, and in the middle, on average.
    fn wait(&self) -> f64 {
        self.squares / (2.0 * self.instructions as f64)
    }
}

/// Measures all programs and prints a table.
pub fn report(benches: &[Bench], rounds: usize) -> Result<(), String> {
    let mut versions = vec![Version::OFF];
    versions.extend(KINDS.map(|kind| Version::silent(kind.name(), kind)));
    versions.extend(KINDS.map(|kind| Version::armed(kind.name(), kind)));
    println!(
        "{:<12} {:<7} {:>7} {:>7} {:>5} {:>12} {:>12} {:>12} {:>12}",
        "program",
        "stable",
        "silent",
        "armed",
        "code",
        "executed",
        "a ms",
        "halts in us",
        "at most us"
    );
    let mut ratios = vec![Vec::new(); versions.len() - 1];
    for bench in benches {
        let times = timing::measure(bench, &versions, rounds)?;
        for (at, kind) in KINDS.iter().enumerate() {
            let stretches = count(bench, *kind)?;
            let microseconds = 1e6 * times.first / stretches.instructions as f64;
            println!(
                "{:<12} {:<7} {:>+6.1}% {:>+6.1}% {:>5.2} {:>12} {:>12.1} {:>12.3} {:>12.3}",
                bench.name,
                kind.name(),
                percent(median(times.ratios[at].clone())),
                percent(median(times.ratios[KINDS.len() + at].clone())),
                times.size(1 + at),
                stretches.points,
                1e-3 * stretches.points as f64 / times.first,
                stretches.wait() * microseconds,
                stretches.longest as f64 * microseconds,
            );
        }
        for (all, own) in ratios.iter_mut().zip(times.ratios) {
            all.push(own);
        }
    }
    for (version, ratios) in versions[1..].iter().zip(&ratios) {
        let polls = if version.armed { "armed" } else { "silent" };
        println!("{} {polls}: {}", version.name, statistics::line(ratios));
    }
    Ok(())
}

/// Runs the program on the oracle alone.
fn count(bench: &Bench, kind: StablePoints) -> Result<Stretches, String> {
    let image = timing::image(bench, &Version::OFF, 0)?;
    let session = Session { program: &bench.program, image: &image, calls: &bench.calls };
    let stops = migrate::stops(&bench.program, kind).map_err(text)?;
    let mut stretches = Stretches::default();
    let mut world = World::replaying(bench.log.clone(), false);
    let run = alone::whole(&session, &mut world, &stops, &Control::new(), |oracle, _| {
        stretches.points += 1;
        stretches.end(oracle.instructions_executed());
        Ok(())
    });
    let run = run.map_err(text)?;
    let (Ending::Returned(_) | Ending::Exited(_)) = run.ending else {
        return Err(format!("{}: does not end on the oracle", bench.name));
    };
    stretches.end(run.instructions);
    Ok(stretches)
}
