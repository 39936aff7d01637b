//! Time, signals and progress around a run.
//!
//! A dedicated thread makes all ptrace calls. This one watches it: it asks the
//! run to end when `--timeout` is over or the user interrupts, and shows
//! progress on a terminal once a run takes more than a second. A run that does
//! not answer a request (a host call that blocks) is abandoned: the subject
//! dies with this process.

use crate::error::CommandError;
use crate::lockstep::stops::{Control, Request};
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
    let _ = ctrlc::try_set_handler(move || for_signals.ask(Request::Interrupted));
    let began = Instant::now();
    let deadline = timeout.map(|seconds| began + Duration::from_secs_f64(seconds));
    std::thread::scope(|scope| {
        let (send, receive) = channel();
        let worker =
            std::thread::Builder::new().name("tracer".into()).spawn_scoped(scope, move || {
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
            if control.request().is_some() {
                let since = *asked.get_or_insert_with(Instant::now);
                // A subject halted in between is asked again.
                control.repeat();
                if since.elapsed() > GRACE {
                    abandon(control);
                }
            }
            if began.elapsed() > Duration::from_secs(1) && std::io::stderr().is_terminal() {
                show(bar.get_or_insert_with(spinner), control);
            }
        }
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
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
fn abandon(control: &Control) -> ! {
    let stops = control.stops.load(Ordering::Relaxed);
    crate::output::complain(&CommandError::Inconclusive {
        reason: "interrupted",
        detail: format!(
            "ended while a host call was blocked, after about {stops} stops; no further figures"
        ),
    });
    std::process::exit(3)
}
