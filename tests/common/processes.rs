//! Processes as `/proc` shows them: whose child, what state, gone or not.

use rustix::process::{Pid, Signal, kill_process};
use std::time::{Duration, Instant};

/// One process, whatever becomes of its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    id: u32,
    /// When it began, in the kernel's ticks: no two of one number have the same.
    began: String,
}

/// Fields of `/proc/ID/stat` behind the name, which may hold anything.
fn fields(id: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_string).collect())
}

const STATE: usize = 0;
const PARENT: usize = 1;
const BEGAN: usize = 19;

impl Process {
    /// The process of that number now.
    pub fn of(id: u32) -> Option<Process> {
        Some(Process { id, began: fields(id)?.get(BEGAN)?.clone() })
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Its state's letter; `None` once it is gone.
    pub fn state(&self) -> Option<String> {
        let fields = fields(self.id)?;
        (fields.get(BEGAN) == Some(&self.began)).then(|| fields[STATE].clone())
    }

    /// Its children.
    pub fn children(&self) -> Vec<Process> {
        let parent = self.id.to_string();
        let ids = std::fs::read_dir("/proc")
            .expect("/proc")
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
        ids.filter(|id| fields(*id).is_some_and(|fields| fields[PARENT] == parent))
            .filter_map(Process::of)
            .collect()
    }

    /// Whether it executes an image: no file that has a name.
    pub fn is_subject(&self) -> bool {
        std::fs::read_link(format!("/proc/{}/exe", self.id))
            .is_ok_and(|exe| exe.to_string_lossy().contains("memfd:wdiff-subject"))
    }

    /// Waits until it is in a state.
    pub fn wait_for(&self, state: &str) {
        self.wait_until(|now| now.is_none_or(|now| now == state || now == "Z"));
    }

    /// Fails if it is still there, other than as a corpse, after a while.
    #[track_caller]
    pub fn assert_gone(&self) {
        let gone = self.wait_until(|now| now.is_none_or(|now| now == "Z" || now == "X"));
        assert!(gone, "process {} is still there, in state {:?}", self.id, self.state());
    }

    fn wait_until(&self, holds: impl Fn(Option<&str>) -> bool) -> bool {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(5) {
            if holds(self.state().as_deref()) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        false
    }
}

/// Sends a signal to a process by its number, if there is one.
pub fn signal(id: u32, which: Signal) {
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw).expect("a process number");
    let _ = kill_process(pid, which);
}
