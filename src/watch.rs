//! Time, signals and progress around a run.
//!
//! A dedicated thread makes all ptrace calls. This one watches it: it asks the
//! run to end when `--timeout` is over or the user interrupts, and shows
//! progress on a terminal once a run takes more than a second. A run that does
//! not answer a request (a host call that blocks for good, a compilation) is
//! abandoned: the subject dies with this process.

use crate::error::CommandError;
use crate::lockstep::stops::{Control, Phase, Request};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How often progress is shown and the clock is looked at.
const TICK: Duration = Duration::from_millis(100);
/// How long a run may take to answer a request to end.
const GRACE: Duration = Duration::from_secs(3);
/// Bytes of the tracing thread's stack: it compiles too.
const STACK: usize = 64 << 20;

/// Runs `work` on the tracing thread.
///
/// # Errors
/// Those of `work`; a panic there is a bug of ours.
pub fn supervise<T: Send>(
    control: &Arc<Control>,
    timeout: Option<f64>,
    work: impl FnOnce() -> Result<T, CommandError> + Send,
) -> Result<T, CommandError> {
    let for_signals = control.clone();
    // Fails only when another handler is installed, as in tests that run twice.
    let _ = ctrlc::try_set_handler(move || {
        // A report that nobody reads is all that is left to wait for then.
        if for_signals.is_finished() {
            std::process::exit(3);
        }
        for_signals.ask(Request::Interrupted);
    });
    let began = Instant::now();
    let deadline = timeout.map(|seconds| began + Duration::from_secs_f64(seconds));
    std::thread::scope(|scope| {
        let (send, receive) = channel();
        let builder = std::thread::Builder::new().name("tracer".into()).stack_size(STACK);
        let worker = builder.spawn_scoped(scope, move || {
            let result = work();
            let _ = send.send(());
            result
        });
        let worker = worker.map_err(|error| {
            CommandError::host(format_args!("cannot start the tracing thread: {error}"))
        })?;
        let mut bar = None;
        let mut asked: Option<Instant> = None;
        loop {
            let wait =
                deadline.map_or(TICK, |at| at.saturating_duration_since(Instant::now()).min(TICK));
            match receive.recv_timeout(wait.max(Duration::from_millis(1))) {
                Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if deadline.is_some_and(|at| Instant::now() >= at) {
                control.ask(Request::Timeout);
            }
            if let Some(request) = control.request() {
                let since = *asked.get_or_insert_with(Instant::now);
                // A subject halted in between is asked again.
                control.repeat();
                // There is nothing to be lost before the first comparison.
                if since.elapsed() > GRACE || control.phase() == Phase::Preparing {
                    abandon(control, request);
                }
            }
            if began.elapsed() > Duration::from_secs(1) && std::io::stderr().is_terminal() {
                show(bar.get_or_insert_with(spinner), control);
            }
        }
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        control.finish();
        worker.join().unwrap_or_else(|_| Err(CommandError::bug("the tracing thread panicked")))
    })
}

fn spinner() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
        bar.set_style(style);
    }
    bar
}

fn show(bar: &ProgressBar, control: &Control) {
    bar.set_message(format!("{} stops", control.stops.load(Ordering::Relaxed)));
    bar.tick();
}

/// The run does not answer: ends the process, and with it the subject.
fn abandon(control: &Control, request: Request) -> ! {
    let why = match request {
        Request::Timeout => "the time of --timeout ran out",
        Request::Interrupted => "interrupted",
    };
    let stops = control.stops.load(Ordering::Relaxed);
    let detail = match control.phase() {
        Phase::Preparing => format!("{why} while the program was read and compiled"),
        Phase::Comparing => {
            format!("{why} in a comparison, after about {stops} stops; no further figures")
        }
        Phase::HostCall => {
            format!("{why} in a host call that blocks, after {stops} stops; no further figures")
        }
        Phase::Concluding => format!(
            "{why} while a divergence, found after about {stops} stops, was looked into; run again with more time"
        ),
    };
    crate::output::complain(&CommandError::Inconclusive { reason: "interrupted", detail });
    std::process::exit(3)
}
