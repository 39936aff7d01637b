//! Giving up a host call that waits.
//!
//! A program may wait for input or for a clock, for ever if it likes, but its
//! user may not want to. Whoever runs it keeps a [`Cancel`]; once that is used,
//! a call that waits ends in [`HostError::Cancelled`](crate::HostError) instead
//! of being answered. Waiting is therefore done in slices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno as Host;

/// Longest wait between two looks, in nanoseconds.
pub(crate) const SLICE: u64 = 50_000_000;

/// A switch that ends waiting in host calls; clones are the same switch.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Ends the wait under way and all later ones.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether waiting was ended.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Waits until `fd` can be read, or is at its end, or broken; answers false
    /// if cancelled before.
    pub(crate) fn wait_readable(&self, fd: std::os::fd::BorrowedFd<'_>) -> Result<bool, Host> {
        let slice = Timespec { tv_sec: 0, tv_nsec: SLICE as i64 };
        loop {
            if self.is_cancelled() {
                return Ok(false);
            }
            match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&slice)) {
                Ok(0) | Err(Host::INTR) => {}
                Ok(_) => return Ok(true),
                Err(error) => return Err(error),
            }
        }
    }
}
