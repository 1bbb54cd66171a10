//! The access log as it is configured, for the workers and for who has it opened anew.

use proxima_config::{AccessLog as Wanted, AccessLogTarget as To};
use proxima_proxy::{AccessLog, AccessLogOptions};
use proxima_telemetry::{AccessLogError, AccessLogTarget, AccessLogWriter};

/// The access log in use, if there is one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Access(Option<Open>);

#[derive(Debug, Clone)]
struct Open {
    wanted: Wanted,
    writer: AccessLogWriter,
    log: AccessLog,
}

impl Access {
    /// What is to be used from now on. What goes where it went before goes on in the same file.
    ///
    /// # Errors
    /// When the file can't be opened.
    pub(crate) fn again(&self, wanted: Option<&Wanted>) -> Result<Self, AccessLogError> {
        let Some(wanted) = wanted else { return Ok(Self::default()) };
        let writer = match &self.0 {
            Some(open) if open.wanted == *wanted => return Ok(self.clone()),
            Some(open) if open.wanted.to == wanted.to => open.writer.clone(),
            _ => AccessLogWriter::start(match &wanted.to {
                To::Stdout => AccessLogTarget::Stdout,
                To::File(path) => AccessLogTarget::File(path.clone()),
            })?,
        };
        let options = AccessLogOptions { query: wanted.query, sample: wanted.sample };
        let queue = writer.clone();
        let log = AccessLog::new(options, move |lines| queue.put(lines));
        Ok(Self(Some(Open { wanted: wanted.clone(), writer, log })))
    }

    /// For the workers.
    pub(crate) fn log(&self) -> Option<AccessLog> {
        self.0.as_ref().map(|open| open.log.clone())
    }

    /// Has the file opened anew, as after a rotation.
    pub(crate) fn reopen(&self) {
        if let Some(open) = &self.0 {
            open.writer.reopen();
        }
    }

    /// Waits until what the workers have handed over is written, for about a second at most.
    pub(crate) fn flush(&self) {
        if let Some(open) = &self.0 {
            open.writer.flush();
        }
    }
}
