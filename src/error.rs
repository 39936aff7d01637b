//! How the command ends when it cannot say match or divergence.
//!
//! Four things can go wrong and each has its exit code: the input or the
//! command line is bad (2), something is not supported or a limit was met (3),
//! or wdiff itself is at fault (4). A divergence (1) is none of them: it is a
//! result, carried by a report.

use std::fmt::Display;
use std::path::Path;

/// Why a command ended without a verdict.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Bad usage or input: exit code 2.
    #[error("{what}")]
    Input {
        /// What is wrong, where, and what to do.
        what: String,
    },
    /// Not supported, not built, or not possible on this host: exit code 3.
    #[error("{detail}")]
    Inconclusive {
        /// A key for scripts: `unsupported`, `limit`, `host`, ...
        reason: &'static str,
        /// What, where, and what to do.
        detail: String,
    },
    /// A bug in wdiff: exit code 4.
    #[error(
        "{what}\nThis is a bug in wdiff, not in the compiler under test. Please report it with the program."
    )]
    Bug {
        /// What was found.
        what: String,
    },
}

impl CommandError {
    /// Bad input, with what is wrong.
    pub fn input(what: impl Display) -> Self {
        CommandError::Input { what: what.to_string() }
    }
    /// Bad input from a file that could not be read or written.
    pub fn file(doing: &str, path: &Path, error: impl Display) -> Self {
        Self::input(format_args!("cannot {doing} {}: {error}", path.display()))
    }
    /// Something beyond this version.
    pub fn unsupported(detail: impl Display) -> Self {
        CommandError::Inconclusive { reason: "unsupported", detail: detail.to_string() }
    }
    /// Something that this host does not allow.
    pub fn host(detail: impl Display) -> Self {
        CommandError::Inconclusive { reason: "host", detail: detail.to_string() }
    }
    /// A broken assumption of ours.
    pub fn bug(what: impl Display) -> Self {
        CommandError::Bug { what: what.to_string() }
    }
    /// The same, of an option whose value is bad.
    pub fn about(self, option: &str) -> Self {
        match self {
            CommandError::Input { what } => Self::input(format_args!("{option} {what}")),
            other => other,
        }
    }
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            CommandError::Input { .. } => 2,
            CommandError::Inconclusive { .. } => 3,
            CommandError::Bug { .. } => 4,
        }
    }
}
