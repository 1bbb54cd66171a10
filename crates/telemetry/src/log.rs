//! The log: `tracing` to standard error.

mod writer;

use std::io::{self, IsTerminal};

use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer, Registry, fmt::MakeWriter, layer::SubscriberExt, registry::LookupSpan, reload,
};

use self::writer::LineWriter;

/// Overrides the configured filter when set.
pub const FILTER_VARIABLE: &str = "PROXIMA_LOG";

/// Libraries that warn of what clients and peers send: with that anyone could fill the log. What is refused is counted, and a filter that
/// names them brings the warnings back.
const TALKATIVE: &str = "h2=error,quinn_proto=error";

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people; colours on a terminal unless `NO_COLOR` is set.
    Text,
    /// One JSON object a line.
    Json,
}

/// How to log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOptions {
    /// How a line looks.
    pub format: LogFormat,
    /// A level such as `info`, or directives such as `info,proxima_probe=debug`.
    pub filter: String,
}

/// Why the log can't be set up. The system's words are part of the message, and so no source.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter can't be understood.
    #[error(
        "`{filter}` is not a log filter ({error}); write a level (error, warn, info, debug, trace), or directives as in \
         `info,proxima_probe=debug`, in `log.level` or {FILTER_VARIABLE}"
    )]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        error: tracing_subscriber::filter::ParseError,
    },
    /// The writing thread can't be started.
    #[error("can't start the log's thread: {0}; is the limit of threads (TasksMax=, ulimit -u) reached?")]
    Thread(io::Error),
    /// The process has a log already.
    #[error("the log is set up already")]
    Installed,
}

/// Writes out what is logged until it is dropped; keep it until the process ends.
#[must_use = "lines logged last are lost when it is dropped early"]
pub struct LogGuard {
    writer: LineWriter,
    filter: LogFilter,
}

impl LogGuard {
    /// What changes the filter while the process runs.
    pub fn filter(&self) -> LogFilter {
        self.filter.clone()
    }
}

/// Changes what is logged from now on.
#[derive(Debug, Clone)]
pub struct LogFilter {
    /// None where [`FILTER_VARIABLE`] outranks the configuration.
    handle: Option<reload::Handle<EnvFilter, Registry>>,
}

impl LogFilter {
    /// Logs by `filter` from now on. Returns whether it does: [`FILTER_VARIABLE`] outranks it where that is set.
    ///
    /// # Errors
    /// When the filter can't be understood; the log stays as it is.
    pub fn set(&self, filter: &str) -> Result<bool, LogError> {
        let filter = parse_filter(filter.to_owned())?;
        // An error means that the log has ended, and the process with it.
        Ok(self.handle.as_ref().is_some_and(|handle| handle.reload(filter).is_ok()))
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.writer.flush();
    }
}

/// Sets up the process's log on standard error.
pub fn install(options: &LogOptions) -> Result<LogGuard, LogError> {
    let outranked = std::env::var(FILTER_VARIABLE).ok().filter(|text| !text.is_empty());
    let fixed = outranked.is_some();
    let filter = parse_filter(outranked.unwrap_or_else(|| options.filter.clone()))?;
    let (filter, handle) = reload::Layer::new(filter);
    let colours =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let writer = LineWriter::start(options.format, io::stderr()).map_err(LogError::Thread)?;
    let subscriber =
        tracing_subscriber::registry().with(filter).with(layer(options.format, colours, writer.clone()));
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Installed)?;
    Ok(LogGuard { writer, filter: LogFilter { handle: (!fixed).then_some(handle) } })
}

fn parse_filter(filter: String) -> Result<EnvFilter, LogError> {
    // Without any directive errors are logged.
    let wanted = if filter.trim().is_empty() { "error" } else { &filter };
    let directives = format!("{TALKATIVE},{wanted}");
    EnvFilter::builder().parse(directives).map_err(|error| LogError::Filter { filter, error })
}

fn layer<S, W>(format: LogFormat, colours: bool, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    match format {
        LogFormat::Text => layer.with_ansi(colours).boxed(),
        LogFormat::Json => {
            layer.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, colours: bool, filter: &str) -> String {
        let captured = Captured::default();
        let writer = LineWriter::start(format, captured.clone()).unwrap();
        let subscriber = tracing_subscriber::registry()
            .with(parse_filter(filter.to_owned()).unwrap())
            .with(layer(format, colours, writer.clone()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(backend = "app/eu-1", "probing");
            tracing::warn!(backend = "app/eu-1", "down");
            tracing::warn!(target: "h2::proto::streams::recv", "client resets streams");
        });
        writer.flush();
        let bytes = captured.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn text_has_no_colours_off_a_terminal() {
        let text = logged(LogFormat::Text, false, "info");
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(
            text.contains("WARN") && text.contains("down") && text.contains(r#"backend="app/eu-1""#),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(logged(LogFormat::Text, true, "info").contains('\u{1b}'));
    }

    #[test]
    fn what_clients_do_fills_no_log_unless_it_is_asked_for() {
        for (filter, lines) in [("info", 2), ("debug", 2), ("info,h2=warn", 3), ("h2=debug", 1), ("", 0)] {
            let text = logged(LogFormat::Text, false, filter);
            assert_eq!(text.lines().count(), lines, "{filter}: {text}");
        }
    }

    #[test]
    fn json_is_one_object_a_line() {
        let text = logged(LogFormat::Json, true, "warn");
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(
            (&line["level"], &line["message"], &line["backend"]),
            (&"WARN".into(), &"down".into(), &"app/eu-1".into())
        );
    }

    #[test]
    fn a_filter_that_is_set_holds_from_the_next_line_on_and_a_bad_one_changes_nothing() {
        let captured = Captured::default();
        let writer = LineWriter::start(LogFormat::Text, captured.clone()).unwrap();
        let (filter, handle) = reload::Layer::new(parse_filter("info".to_owned()).unwrap());
        let subscriber =
            tracing_subscriber::registry().with(filter).with(layer(LogFormat::Text, false, writer.clone()));
        tracing::subscriber::with_default(subscriber, || {
            let filter = LogFilter { handle: Some(handle) };
            let say = |word: &str| tracing::debug!("{word}");
            say("before");
            assert!(filter.set("debug").unwrap());
            say("while");
            assert!(filter.set("proxima=loud").is_err());
            say("still");
            assert!(filter.set("info").unwrap());
            say("after");
            assert!(!LogFilter { handle: None }.set("debug").unwrap(), "the variable outranks it");
        });
        writer.flush();
        let text = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
        let said: Vec<_> = text.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
        assert_eq!(said, ["while", "still"], "{text}");
    }

    #[test]
    fn a_bad_filter_is_named_with_the_remedy() {
        let error = parse_filter("proxima=loud".to_owned()).unwrap_err().to_string();
        assert!(
            error.contains("`proxima=loud` is not a log filter") && error.contains("log.level"),
            "{error}"
        );
    }
}
