//! What went wrong, and how it is told.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use proxima_api::ErrorBody;

use crate::{client::ClientError, output};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The daemon can't be asked, or refuses.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What was asked for makes no sense.
    #[error("{0}")]
    Usage(String),
    /// What was to be read can't be.
    #[error("{message}")]
    Input {
        /// What is wrong.
        message: String,
        /// The remedy.
        hint: String,
    },
    /// Standard output, or what the runtime needs of the system.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Failure {
    /// Whoever read our output has seen enough.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// What the program exits with.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Client(_) | Self::Input { .. } | Self::Io(_) => ExitCode::FAILURE,
        }
    }

    /// Prints it to standard error, as [`tell`] does.
    pub(crate) fn tell(&self, json: bool) {
        let hint = match self {
            Self::Client(error) => error.hint(),
            Self::Input { hint, .. } => Some(hint.clone()),
            Self::Usage(_) | Self::Io(_) => None,
        };
        let details = match self {
            Self::Client(ClientError::Refused(body)) => body.details.as_slice(),
            _ => &[],
        };
        tell_all(&self.to_string(), details, hint.as_deref(), json);
    }
}

/// Prints a whole report to standard error.
pub(crate) fn print(report: &impl Display) {
    let _ = writeln!(io::stderr().lock(), "{report}");
}

/// Prints an error and its remedy to standard error: a line each, or both in one JSON object.
pub(crate) fn tell(message: &str, hint: Option<&str>, json: bool) {
    tell_all(message, &[], hint, json);
}

fn tell_all(message: &str, details: &[String], hint: Option<&str>, json: bool) {
    let mut stderr = io::stderr().lock();
    if json {
        let (error, details, hint) = (message.to_owned(), details.to_vec(), hint.map(str::to_owned));
        let body = ErrorBody { error, details, hint };
        let _ = writeln!(stderr, "{}", serde_json::to_string(&body).expect("an error is strings"));
        return;
    }
    for detail in details {
        let _ = writeln!(stderr, "{detail}\n");
    }
    let (red, reset) =
        if output::colours_wanted(stderr.is_terminal()) { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
    // Nobody is left to tell when standard error fails.
    let _ = writeln!(stderr, "{red}error:{reset} {message}");
    if let Some(hint) = hint {
        let _ = writeln!(stderr, "  hint: {hint}");
    }
}
