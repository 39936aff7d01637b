//! Damaged modules through the whole of wdiff, as many as are wanted.
//!
//! ```text
//! cargo run --release --example mutants -- [COUNT [SEED [FIRST]]]
//! ```
//!
//! Prints how many ended how, by exit code and reason, and ends with 1 if one
//! panicked, hung, diverged or met a bug. The test `mutants` does the same
//! within a budget of time.

#[path = "../tests/common/mutants.rs"]
mod mutants;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut numbers = std::env::args().skip(1).map(|word| word.parse::<usize>());
    let mut next = |default| match numbers.next() {
        None => Some(default),
        Some(number) => number.ok(),
    };
    let (Some(count), Some(seed), Some(first)) = (next(10_000), next(1), next(0)) else {
        eprintln!("usage: mutants [COUNT [SEED [FIRST]]]");
        return ExitCode::from(2);
    };
    let began = std::time::Instant::now();
    let mut shown = 0;
    let tally = mutants::try_all(
        seed as u64,
        first..first + count,
        |_| true,
        |index, tally| {
            for failure in &tally.failures[shown..] {
                println!("{failure}");
            }
            shown = tally.failures.len();
            if (index + 1 - first).is_multiple_of(1000) {
                eprintln!("{} tried, {:.0} s", index + 1 - first, began.elapsed().as_secs_f64());
            }
        },
    );
    println!("{count} mutants of {} modules, seed {seed}", mutants::programs().len());
    for (fate, number) in &tally.fates {
        println!("{number:8}  {fate}");
    }
    println!(
        "{} run in lockstep; the slowest took {:.2} s; {} failures; {:.0} s in all",
        tally.executed,
        tally.slowest.as_secs_f64(),
        tally.failures.len(),
        began.elapsed().as_secs_f64()
    );
    ExitCode::from(u8::from(!tally.failures.is_empty()))
}
