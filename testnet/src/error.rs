//! What can go wrong in the harness, told to the person who ran it.

use std::{fmt, io, time::Duration};

/// The harness's result.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a world could not be built, or did not become what it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call or file operation failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done, with its object.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
    /// The kernel refused a netlink request.
    #[error("{doing}: {source}")]
    Netlink {
        /// What was being done, with its object.
        doing: String,
        /// What the kernel said.
        source: rtnetlink::Error,
    },
    /// The private namespaces could not be made.
    #[error("no sandbox on this machine: {reason}\nhint: {remedy}")]
    Sandbox {
        /// What `unshare` or the kernel said.
        reason: String,
        /// What to change.
        remedy: String,
    },
    /// A program or device the harness needs is not here.
    #[error("{what} is missing\nhint: {remedy}")]
    Missing {
        /// The program or device.
        what: String,
        /// How to get it.
        remedy: String,
    },
    /// A world's description does not hold together.
    #[error("the world's description is wrong: {0}")]
    Spec(String),
    /// A name that the world does not have.
    #[error("there is no {kind} `{name}` in this world; it has {known}")]
    Unknown {
        /// What was looked for: region, app, WAN link.
        kind: &'static str,
        /// The name asked for.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// Something did not happen in time.
    #[error("not within {}: {missing}", Millis(*.within))]
    Late {
        /// How long was waited.
        within: Duration,
        /// What was still missing, with the ends of the logs that explain it.
        missing: String,
    },
    /// A program of the world ended although nobody ended it.
    #[error("{program} ended on its own ({status}); its log ends with:\n{log}")]
    Ended {
        /// The program's name in the world.
        program: String,
        /// How it ended.
        status: String,
        /// The last lines it wrote.
        log: String,
    },
    /// BIRD did not understand or do what was asked of it.
    #[error("BIRD of {router} answered `{command}` with: {answer}")]
    Bird {
        /// The router asked.
        router: String,
        /// The command.
        command: String,
        /// The answer.
        answer: String,
    },
    /// Another router did not.
    #[error("{make} answered `{command}` with: {answer}")]
    Router {
        /// Whose router it is.
        make: String,
        /// The command.
        command: String,
        /// The answer.
        answer: String,
    },
    /// A check did not hold.
    #[error("{0}")]
    Claim(String),
}

impl Error {
    /// Wraps an I/O error (or a bare errno) with what was being done.
    pub fn io<E: Into<io::Error>>(doing: impl Into<String>) -> impl FnOnce(E) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source: source.into() }
    }

    /// Wraps a netlink error with what was being done.
    pub fn netlink(doing: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Netlink { doing, source }
    }
}

struct Millis(Duration);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 >= Duration::from_secs(1) {
            write!(f, "{:.1} s", self.0.as_secs_f64())
        } else {
            write!(f, "{} ms", self.0.as_millis())
        }
    }
}
