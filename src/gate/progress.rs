//! Progress on a terminal: one bar for all with an estimate, one line per job
//! that is running.
//!
//! Programs differ by factors of a thousand, so jobs are not counted but
//! weighed: by the stops they took for the baseline, else by their size.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;

/// The bars of a gate.
pub struct Progress {
    bars: MultiProgress,
    total: ProgressBar,
}

impl Progress {
    /// Bars for so much work; hidden unless standard error is a terminal.
    pub fn new(weight: u64, jobs: usize) -> Progress {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr_with_hz(8)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bars = MultiProgress::with_draw_target(target);
        let total = bars.add(ProgressBar::new(weight.max(1)));
        let template = "{elapsed_precise} [{bar:32}] {percent:>3} %, about {eta} left  {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            total.set_style(style.progress_chars("=> "));
        }
        total.set_message(format!("0 of {jobs}"));
        total.enable_steady_tick(Duration::from_millis(250));
        Progress { bars, total }
    }

    /// A line for a job.
    pub fn begin(&self, name: &str) -> ProgressBar {
        let bar = self.bars.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("  {spinner} {elapsed:>4} {msg}") {
            bar.set_style(style);
        }
        bar.set_message(name.escape_debug().to_string());
        bar.enable_steady_tick(Duration::from_millis(250));
        bar
    }

    /// Takes a job's line away and counts it.
    pub fn end(&self, bar: &ProgressBar, weight: u64, message: String) {
        bar.finish_and_clear();
        self.bars.remove(bar);
        self.total.inc(weight);
        self.total.set_message(message);
    }

    /// Takes everything away.
    pub fn finish(&self) {
        self.total.finish_and_clear();
    }
}
