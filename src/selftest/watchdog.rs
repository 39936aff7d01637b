//! Ends what does not end by itself.
//!
//! A fault may make a program run for ever. A subject is halted through the
//! [`Control`] of its run; the watchdog asks all controls it was given once
//! their time is over, or once the user wants the whole self-test to end.

use crate::lockstep::stops::{Control, Request};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the clock and the user's wish are looked at.
const TICK: Duration = Duration::from_millis(50);

/// A clock over some runs; it stops when dropped.
pub struct Watchdog {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Gives the runs of `controls` so much time, or less if `all` is asked to
    /// end.
    pub fn new(all: &Arc<Control>, controls: &[&Arc<Control>], time: Duration) -> Watchdog {
        let all = all.clone();
        let controls: Vec<Arc<Control>> = controls.iter().map(|&control| control.clone()).collect();
        let (stop, stopped) = channel();
        let end = Instant::now() + time;
        let watch = move || {
            while matches!(stopped.recv_timeout(TICK), Err(RecvTimeoutError::Timeout)) {
                let request = all.request().or((Instant::now() >= end).then_some(Request::Timeout));
                let Some(request) = request else { continue };
                // Again and again: a subject may have been halted in between.
                controls.iter().for_each(|control| control.ask(request));
            }
        };
        // Without the thread a run merely has no limit.
        let thread = std::thread::Builder::new().name("watchdog".into()).spawn(watch).ok();
        Watchdog { stop: Some(stop), thread }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_asked_to_end_in_time_and_no_sooner() {
        let (all, one) = (Control::new(), Control::new());
        let long = Watchdog::new(&all, &[&one], Duration::from_secs(3600));
        std::thread::sleep(2 * TICK);
        assert_eq!(one.request(), None);
        all.ask(Request::Interrupted);
        let began = Instant::now();
        while one.request().is_none() && began.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(TICK);
        }
        assert_eq!(one.request(), Some(Request::Interrupted));
        drop(long);
        let two = Control::new();
        let short = Watchdog::new(&Control::new(), &[&two], Duration::ZERO);
        let began = Instant::now();
        while two.request().is_none() && began.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(TICK);
        }
        drop(short);
        assert_eq!(two.request(), Some(Request::Timeout));
    }
}
