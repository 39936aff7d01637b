//! What a gate has done so far, so that one that was killed can go on.
//!
//! A line of JSON per finished job, appended and flushed before the next one
//! begins. The file's name has the digest of the plan, of the shard and of the command
//! itself, so that nothing is taken over from a gate of anything else. A line
//! that a kill cut short is not JSON and is left out.

use super::plan::Plan;
use crate::cli::GateArgs;
use crate::error::CommandError;
use reports::GateJob;
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Mutex;

/// A gate's journal, open and locked.
pub struct Journal {
    path: PathBuf,
    file: Mutex<File>,
}

impl Journal {
    /// Opens the journal of a plan, and reads it if asked to.
    ///
    /// # Errors
    /// A directory that cannot be written; another gate that is at it.
    pub fn open(plan: &Plan, args: &GateArgs) -> Result<(Journal, Vec<GateJob>), CommandError> {
        let directory = directory();
        std::fs::create_dir_all(&directory)
            .map_err(|error| CommandError::file("create", &directory, error))?;
        let path = directory.join(format!("gate-{}.jsonl", digest(plan, args)));
        let failed = |doing| {
            let path = path.clone();
            move |error: std::io::Error| CommandError::file(doing, &path, error)
        };
        let mut options = OpenOptions::new();
        options.create(true).read(true).append(true);
        let file = options.open(&path).map_err(failed("open"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(CommandError::host(format_args!(
                    "another `wdiff gate` of the same programs and options is running (it holds {})",
                    path.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(failed("lock")(error)),
        }
        let mut done = Vec::new();
        if args.resume {
            let text = std::fs::read_to_string(&path).map_err(failed("read"))?;
            done = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        }
        // What was cut short must not run into the next line.
        file.set_len(0).map_err(failed("write"))?;
        let journal = Journal { path, file: Mutex::new(file) };
        for job in &done {
            journal.add(job)?;
        }
        Ok((journal, done))
    }

    /// Notes a finished job.
    ///
    /// # Errors
    /// A disk that is full, for example.
    pub fn add(&self, job: &GateJob) -> Result<(), CommandError> {
        let mut line = serde_json::to_string(job).map_err(CommandError::bug)?;
        line.push('\n');
        let mut file = self.file.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        file.write_all(line.as_bytes())
            .and_then(|()| file.sync_data())
            .map_err(|error| CommandError::file("write", &self.path, error))
    }

    /// Removes the file: everything was run.
    pub fn remove(self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Where journals are kept.
fn directory() -> PathBuf {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
    cache.unwrap_or_else(std::env::temp_dir).join("wdiff")
}

fn digest(plan: &Plan, args: &GateArgs) -> String {
    let mut digest = Sha256::new();
    digest.update(&plan.digest);
    digest.update(format!("{:?}", args.shard));
    let here = std::env::current_dir().unwrap_or_default();
    digest.update(here.as_os_str().as_encoded_bytes());
    if let Ok(metadata) = std::env::current_exe().and_then(std::fs::metadata) {
        digest.update(metadata.len().to_le_bytes());
        digest.update(format!("{:?}", metadata.modified().ok()));
    }
    digest.finalize().iter().take(10).map(|byte| format!("{byte:02x}")).collect()
}
