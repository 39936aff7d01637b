//! One CPU for the tracing thread and its subjects.
//!
//! A wake-up across CPUs costs some twenty times one on the same CPU, so the
//! thread stays where its subjects are while it has any, and gets its freedom
//! back with the end of the last.

use crate::error::TracerError;
use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;
use std::cell::RefCell;
use std::marker::PhantomData;

/// What a pinned thread remembers.
struct Pinned {
    cpu: usize,
    subjects: usize,
    before: CpuSet,
}

thread_local! {
    static PINNED: RefCell<Option<Pinned>> = const { RefCell::new(None) };
}

/// A subject's claim on its thread's CPU, given up on drop.
#[derive(Debug)]
pub struct Pin {
    cpu: usize,
    /// The claim is the thread's own.
    here: PhantomData<*const ()>,
}

/// The calling thread, in the scheduler's calls.
const THIS_THREAD: Pid = Pid::from_raw(0);

impl Pin {
    /// Pins the calling thread to `cpu`, or to where it is.
    pub fn new(cpu: Option<usize>) -> Result<Self, TracerError> {
        PINNED.with_borrow_mut(|pinned| {
            let cpu = match pinned {
                Some(pinned) => {
                    let cpu = cpu.unwrap_or(pinned.cpu);
                    if cpu != pinned.cpu {
                        let problem =
                            format!("the thread already has a subject on CPU {}", pinned.cpu);
                        return Err(TracerError::Cpu { cpu, problem });
                    }
                    pinned.subjects += 1;
                    cpu
                }
                None => {
                    let fresh = Pinned::new(cpu)?;
                    pinned.insert(fresh).cpu
                }
            };
            Ok(Self { cpu, here: PhantomData })
        })
    }

    /// The CPU.
    pub fn cpu(&self) -> usize {
        self.cpu
    }
}

impl Pinned {
    fn new(cpu: Option<usize>) -> Result<Self, TracerError> {
        let host = |call| move |errno| TracerError::Host { call, errno, hint: "" };
        let before =
            sched_getaffinity(THIS_THREAD).map_err(host("asking for the thread's CPUs"))?;
        let cpu = match cpu {
            Some(cpu) => cpu,
            None => sched_getcpu().map_err(host("asking for the current CPU"))?,
        };
        let mut only = CpuSet::new();
        only.set(cpu).map_err(|errno| TracerError::Cpu { cpu, problem: errno.to_string() })?;
        sched_setaffinity(THIS_THREAD, &only).map_err(|errno| {
            let problem = match errno {
                Errno::EINVAL => "there is no such CPU, or this process may not use it".to_string(),
                errno => errno.to_string(),
            };
            TracerError::Cpu { cpu, problem }
        })?;
        Ok(Self { cpu, subjects: 1, before })
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        // A thread that is ending may have lost its memory already, and has no
        // more use for its freedom either.
        let _ = PINNED.try_with(|pinned| {
            let mut pinned = pinned.borrow_mut();
            if let Some(state) = pinned.as_mut() {
                state.subjects -= 1;
                if state.subjects == 0 {
                    // The thread works as well where it is, should this fail.
                    let _ = sched_setaffinity(THIS_THREAD, &state.before);
                    *pinned = None;
                }
            }
        });
    }
}
