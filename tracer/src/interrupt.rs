//! Halting a running subject from any thread.
//!
//! Only the thread that traces the subject may make ptrace calls, and that
//! thread sleeps until the subject halts. So whoever wants it to halt sends it
//! a signal that means nothing: the tracing thread meets it, suppresses it and
//! reports [`Stop::Interrupted`](crate::Stop::Interrupted).
//!
//! The signal goes through a descriptor for the process, so it can never hit
//! another one that was given the same number later.

use crate::sys;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// The signal used: ignored by default, and used by no one else here.
pub(crate) const INTERRUPT_SIGNAL: i32 = libc::SIGURG;

/// The one for an emulator: it hands on to its code what would end that, and only
/// that.
pub(crate) const EMULATOR_SIGNAL: i32 = libc::SIGUSR1;

/// Halts one subject; may be kept and used anywhere, also after its end.
#[derive(Clone, Debug)]
pub struct Interrupter {
    process: Arc<OwnedFd>,
    signal: i32,
}

impl Interrupter {
    pub(crate) fn new(process: Arc<OwnedFd>, signal: i32) -> Self {
        Self { process, signal }
    }

    /// Has the resumption under way, or else the next one, end in
    /// [`Stop::Interrupted`](crate::Stop::Interrupted); several requests may
    /// become one. Does nothing once the subject is dead. Makes one system
    /// call and takes no lock, so a signal handler may call it.
    pub fn interrupt(&self) {
        // The one expected failure is ESRCH, a subject that has ended: then
        // there is nothing left to halt.
        let _ = sys::pidfd_send_signal(&self.process, self.signal);
    }
}
