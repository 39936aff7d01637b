//! Medians, means, and how far chance reaches.

use corpus::SplitMix64;

/// The geometric mean of the programs' medians.
fn mean(programs: &[Vec<f64>]) -> f64 {
    let logarithms = programs.iter().map(|ratios| median(ratios.clone()).ln());
    (logarithms.sum::<f64>() / programs.len() as f64).exp()
}

/// Between what 95 of 100 such means lie, by drawing the rounds anew.
fn bounds(programs: &[Vec<f64>]) -> [f64; 2] {
    const DRAWS: usize = 2000;
    let mut random = SplitMix64::new(1);
    let mut draw = |ratios: &Vec<f64>| -> Vec<f64> {
        ratios.iter().map(|_| ratios[random.below(ratios.len())]).collect()
    };
    let mut means: Vec<f64> =
        (0..DRAWS).map(|_| mean(&programs.iter().map(&mut draw).collect::<Vec<_>>())).collect();
    means.sort_by(f64::total_cmp);
    [means[DRAWS / 40], means[DRAWS - 1 - DRAWS / 40]]
}

/// What is said of all programs.
pub fn line(programs: &[Vec<f64>]) -> String {
    let [low, high] = bounds(programs).map(percent);
    let (count, mean) = (programs.len(), percent(mean(programs)));
    format!(
        "geometric mean of {count} programs {mean:+.1} %, 95 % within {low:+.1} .. {high:+.1} %"
    )
}

/// By how much in a hundred.
pub fn percent(ratio: f64) -> f64 {
    100.0 * (ratio - 1.0)
}

/// The value in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
