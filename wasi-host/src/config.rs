//! What a guest is given: arguments, environment, directories, standard
//! streams. Nothing that is not named here can be reached.

use std::path::PathBuf;

use crate::cancel::Cancel;
use crate::error::WorldError;

/// The world to set up. The default has no arguments, no environment and no
/// directories, and inherits the standard streams.
#[derive(Clone, Debug, Default)]
pub struct WorldConfig {
    /// The arguments; by convention the first is the program's name.
    pub args: Vec<String>,
    /// Names and values of environment variables, in the guest's order.
    pub env: Vec<(String, String)>,
    /// Host directories and the names under which the guest finds them; their
    /// descriptors are 3, 4 and so on.
    pub dirs: Vec<(PathBuf, String)>,
    /// Where descriptor 0 reads.
    pub stdin: Stdin,
    /// Where descriptor 1 writes.
    pub stdout: Output,
    /// Where descriptor 2 writes.
    pub stderr: Output,
    /// What ends waiting in host calls.
    pub cancel: Cancel,
}

/// Where standard input comes from.
#[derive(Clone, Debug, Default)]
pub enum Stdin {
    /// This process's own.
    #[default]
    Inherit,
    /// A file's content.
    File(PathBuf),
    /// These bytes.
    Bytes(Vec<u8>),
    /// At its end from the beginning.
    Empty,
}

/// Where standard output or error goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Output {
    /// This process's own.
    #[default]
    Inherit,
    /// Kept, for [`World::captured_stdout`](crate::World::captured_stdout).
    Capture,
    /// Nowhere.
    Discard,
}

impl WorldConfig {
    /// Refuses strings that cannot be handed over NUL-terminated.
    pub(crate) fn check(&self) -> Result<(), WorldError> {
        let nul = |what, text: &String| {
            if text.contains('\0') {
                return Err(WorldError::NulByte { what, text: text.clone() });
            }
            Ok(())
        };
        for argument in &self.args {
            nul("argument", argument)?;
        }
        for (name, value) in &self.env {
            nul("environment variable", name)?;
            nul("environment variable", value)?;
            if name.is_empty() || name.contains('=') {
                return Err(WorldError::VariableName { name: name.clone() });
            }
        }
        for (_, guest) in &self.dirs {
            nul("directory name", guest)?;
        }
        Ok(())
    }
}
