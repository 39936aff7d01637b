//! Runs the versions of a program by turns, and says what each takes.
//!
//! In each round all run one after the other, in an order that rotates, so
//! that whatever else the machine is doing weighs on all of them; and from round
//! to round the code lies elsewhere, because a loop may take half as long again
//! only for the bytes it lies at (a branch that meets the end of a 32-byte line,
//! on Intel's processors before Ice Lake), and that is nobody's cost.

use crate::programs::Bench;
use crate::statistics::median;
use crate::text;
use aot_backend::{Anchors, CompileOptions, Image, OptLevel, Restorable, StablePoints};
use dwarf_map::detour;
use wdiff::lockstep::plan::Plan;
use wdiff::lockstep::stops::Control;
use wdiff::selftest::machine::{End, Machine, Seen};
use wdiff::session::Session;

/// Where the code lies: bytes behind where it would.
const SHIFTS: [u32; 15] = [0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56];

/// How a program is compiled and run.
#[derive(Clone, Copy)]
pub struct Version {
    /// What it is called in messages.
    pub name: &'static str,
    /// Its stable points.
    pub stable: StablePoints,
    /// Whether every function can be entered there.
    pub restorable: bool,
    /// Whether the polls look at the flag.
    pub armed: bool,
}

impl Version {
    /// The program as it ships: what the others are divided by.
    pub const OFF: Version = Version::silent("off", StablePoints::Off);

    /// With polls that are NOPs, past which branches lead.
    pub const fn silent(name: &'static str, stable: StablePoints) -> Version {
        Version { name, stable, restorable: false, armed: false }
    }

    /// With polls that look.
    pub const fn armed(name: &'static str, stable: StablePoints) -> Version {
        Version { armed: true, ..Version::silent(name, stable) }
    }

    /// Whether both run the same image.
    fn same_image(&self, other: &Version) -> bool {
        (self.stable, self.restorable) == (other.stable, other.restorable)
    }
}

/// What the versions of a program took.
pub struct Times {
    /// Seconds of the first version, the median.
    pub first: f64,
    /// By version but the first: how many times as long as the first, by round.
    pub ratios: Vec<Vec<f64>>,
    /// By version: bytes of the functions' code.
    pub sizes: Vec<f64>,
}

impl Times {
    /// How many times as much code as the first version's.
    pub fn size(&self, version: usize) -> f64 {
        self.sizes[version] / self.sizes[0]
    }
}

/// Measures `versions` of a program.
pub fn measure(bench: &Bench, versions: &[Version], rounds: usize) -> Result<Times, String> {
    let mut times = vec![Vec::new(); versions.len()];
    let mut sizes = Vec::new();
    // The rounds of one place follow each other: an image of a large program
    // has a map of hundreds of megabytes.
    for (place, shift) in SHIFTS.iter().enumerate().take(rounds) {
        let images = images(bench, versions, *shift)?;
        let image = |version: &Version| -> &Image {
            let found = images.iter().find(|(of, _)| of.same_image(version));
            &found.expect("each version has an image").1
        };
        sizes = versions.iter().map(|version| code_size(image(version)) as f64).collect();
        for round in (place..rounds).step_by(SHIFTS.len()) {
            for turn in 0..versions.len() {
                let at = (round + turn) % versions.len();
                times[at].push(time(bench, &versions[at], image(&versions[at]))?);
            }
        }
    }
    let (first, others) = times.split_first().ok_or("no version to measure")?;
    let ratios = others.iter().map(|with| {
        let pairs = with.iter().zip(first);
        pairs.map(|(with, without)| with / without).collect()
    });
    Ok(Times { first: median(first.clone()), ratios: ratios.collect(), sizes })
}

/// The images of all versions, each with one that it is for.
fn images(
    bench: &Bench,
    versions: &[Version],
    shift: u32,
) -> Result<Vec<(Version, Image)>, String> {
    let mut images: Vec<(Version, Image)> = Vec::new();
    for version in versions {
        if images.iter().any(|(of, _)| of.same_image(version)) {
            continue;
        }
        let image = image(bench, version, shift)?;
        images.push((*version, image));
    }
    Ok(images)
}

/// The image of a version, `shift` bytes behind where it would lie.
pub fn image(bench: &Bench, version: &Version, shift: u32) -> Result<Image, String> {
    let options = CompileOptions {
        opt: OptLevel::Speed,
        anchors: Anchors::Srcloc,
        stable: version.stable,
        restorable: if version.restorable { Restorable::All } else { Restorable::None },
        shift,
        ..CompileOptions::default()
    };
    aot_backend::compile(&bench.program.wasm, &options).map_err(text)
}

/// Seconds of the processor that one run of a version takes, from its first
/// instruction on.
fn time(bench: &Bench, version: &Version, image: &Image) -> Result<f64, String> {
    let session = Session { program: &bench.program, image, calls: &bench.calls };
    let control = Control::new();
    let plan = Plan::new(image).map_err(text)?;
    let mut machine = Machine::new(&session, &bench.log, &control).map_err(text)?;
    machine.silence().map_err(text)?;
    if version.armed {
        for point in image.map.functions.iter().flat_map(|function| &function.stable_points) {
            machine.subject.text().write_code(point.poll, &point.armed).map_err(text)?;
        }
    } else {
        for (way, displacement) in detour::past(&image.map, &image.text) {
            machine.subject.text().write_code(way, &displacement).map_err(text)?;
        }
    }
    let pid = machine.subject.pid();
    let began = on_cpu(pid)?;
    let seen = machine.run_on(&plan).map_err(text)?;
    let elapsed = on_cpu(pid)? - began;
    match seen {
        Seen::Over(End::Returned(_) | End::Exited(_)) => Ok(elapsed),
        other => Err(format!("{}, {}: {other:?}", bench.name, version.name)),
    }
}

/// Seconds that a process has been executed for, which do not include those in
/// which another one was (proc(5), `schedstat`).
fn on_cpu(pid: u32) -> Result<f64, String> {
    let path = format!("/proc/{pid}/schedstat");
    let line = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let nanoseconds: f64 =
        line.split_whitespace().next().and_then(|n| n.parse().ok()).ok_or(path)?;
    Ok(nanoseconds * 1e-9)
}

/// Bytes of the functions' code, without what is reserved between them.
fn code_size(image: &Image) -> u64 {
    let sizes = image.map.functions.iter();
    sizes.map(|function| u64::from(function.code.end.get() - function.code.start.get())).sum()
}
