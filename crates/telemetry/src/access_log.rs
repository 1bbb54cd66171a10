//! Where the access log is written: a thread that writes, and the bounded queue before it.
//!
//! Overflow rule: when the queue is full, because the disk or whoever reads standard output is stuck, nothing more is taken and
//! whoever has lines counts them as lost. Nobody waits.
//!
//! A file is opened anew when it has another name or is gone, which is looked at once a second, and when that is asked for.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver, SyncSender, TrySendError},
    thread,
    time::{Duration, Instant},
};

use crate::metrics::table;

/// How many batches of lines may wait.
const QUEUED_BATCHES: usize = 256;
const FLUSH_PATIENCE: Duration = Duration::from_secs(1);
const ROOM_POLL: Duration = Duration::from_millis(1);
/// From one look at whether a file is still the one to the next.
const LOOKED_EVERY: Duration = Duration::from_secs(1);
/// From one word in the log about what can't be written to the next.
const TOLD_EVERY: Duration = Duration::from_secs(30);
/// Clients' addresses and what they ask for are nobody's business but the operators'.
const MODE: u32 = 0o640;

/// Where an access log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessLogTarget {
    /// Standard output, which is the journal where the service manager says so.
    Stdout,
    /// The end of this file, which is made if need be.
    File(PathBuf),
}

/// Why there is no access log. The system's words are part of the message, and so no source.
#[derive(Debug, thiserror::Error)]
pub enum AccessLogError {
    /// The file can't be opened.
    #[error("access log: can't open {file}: {error}; make its directory, and let the daemon's user write there", file = .file.display())]
    Open {
        /// The file.
        file: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The writing thread can't be started.
    #[error(
        "can't start the access log's thread: {0}; is the limit of threads (TasksMax=, ulimit -u) reached?"
    )]
    Thread(io::Error),
}

enum Message {
    Lines(Vec<u8>),
    Reopen,
    Flush(SyncSender<()>),
}

/// Puts lines into the queue. The thread ends with the last copy.
#[derive(Debug, Clone)]
pub struct AccessLogWriter {
    queue: SyncSender<Message>,
}

impl AccessLogWriter {
    /// Starts to write there.
    ///
    /// # Errors
    /// When the file can't be opened, or the thread not be started.
    pub fn start(target: AccessLogTarget) -> Result<Self, AccessLogError> {
        match target {
            AccessLogTarget::Stdout => Self::writing_to(io::stdout()),
            AccessLogTarget::File(path) => {
                let file = Rotated::open(path)?;
                Self::writing_to(file)
            }
        }
    }

    fn writing_to(sink: impl Sink) -> Result<Self, AccessLogError> {
        let (queue, messages) = mpsc::sync_channel(QUEUED_BATCHES);
        let writing = move || write(&messages, sink);
        thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(writing)
            .map_err(AccessLogError::Thread)?;
        Ok(Self { queue })
    }

    /// Takes whole lines, if there is room for them.
    pub fn put(&self, lines: Vec<u8>) -> bool {
        self.queue.try_send(Message::Lines(lines)).is_ok()
    }

    /// Has the file opened anew, as after a rotation.
    pub fn reopen(&self) {
        // Where there is no room the thread is behind, and looks by itself before it writes on.
        let _ = self.queue.try_send(Message::Reopen);
    }

    /// Waits until what was put before is written, for about a second at most.
    pub fn flush(&self) {
        let deadline = Instant::now() + FLUSH_PATIENCE;
        let (done, written) = mpsc::sync_channel(1);
        let mut request = Message::Flush(done);
        while let Err(TrySendError::Full(refused)) = self.queue.try_send(request) {
            if Instant::now() >= deadline {
                return;
            }
            request = refused;
            thread::sleep(ROOM_POLL);
        }
        let _ = written.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

/// What lines are written to.
trait Sink: Write + Send + 'static {
    /// To be called before lines are written, and, `now` being none, when it was asked for.
    fn look(&mut self, now: Option<Instant>) -> io::Result<()>;
}

impl Sink for io::Stdout {
    fn look(&mut self, _now: Option<Instant>) -> io::Result<()> {
        Ok(())
    }
}

/// A file that may be renamed or removed by others.
struct Rotated {
    path: PathBuf,
    file: File,
    looked_at: Instant,
}

impl Rotated {
    fn open(path: PathBuf) -> Result<Self, AccessLogError> {
        match open(&path) {
            Ok(file) => Ok(Self { path, file, looked_at: Instant::now() }),
            Err(error) => Err(AccessLogError::Open { file: path, error }),
        }
    }

    fn is_current(&self) -> bool {
        let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
        let own = self.file.metadata().map(identity);
        matches!((own, self.path.metadata().map(identity)), (Ok(own), Ok(found)) if own == found)
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(MODE).open(path)
}

impl Sink for Rotated {
    fn look(&mut self, now: Option<Instant>) -> io::Result<()> {
        match now {
            Some(now) if now < self.looked_at + LOOKED_EVERY => return Ok(()),
            Some(now) => self.looked_at = now,
            None => {}
        }
        if !self.is_current() {
            self.file = open(&self.path)?;
        }
        Ok(())
    }
}

impl Write for Rotated {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn write(messages: &Receiver<Message>, mut sink: impl Sink) {
    let mut told_at: Option<Instant> = None;
    let mut is_torn = false;
    while let Ok(message) = messages.recv() {
        let now = Instant::now();
        let mut tell = |error: io::Error, what: &str| {
            if told_at.is_none_or(|told| now >= told + TOLD_EVERY) {
                told_at = Some(now);
                tracing::warn!(%error, "access log: {what}");
            }
        };
        let looked = match &message {
            Message::Lines(_) => sink.look(Some(now)),
            Message::Reopen => sink.look(None),
            Message::Flush(_) => Ok(()),
        };
        if let Err(error) = looked {
            tell(error, "the file can't be opened anew; lines go to the one before");
        }
        match message {
            Message::Lines(lines) => {
                if let Err(error) = write_lines(&mut sink, &lines, &mut is_torn) {
                    let lost = lines.split(|byte| *byte == b'\n').count() - 1;
                    table::ACCESS_LINES_LOST.add(&[("reason", "write-error")], lost as u64);
                    tell(error, "lines are lost, as they can't be written");
                }
            }
            Message::Reopen => {}
            // Whoever waited may have given up.
            Message::Flush(done) => drop(done.send(())),
        }
    }
}

/// Writes whole lines. `is_torn`: what was written last may be a part of one.
fn write_lines(sink: &mut impl Sink, lines: &[u8], is_torn: &mut bool) -> io::Result<()> {
    if *is_torn {
        sink.write_all(b"\n")?;
    }
    *is_torn = true;
    sink.write_all(lines)?;
    sink.flush()?;
    *is_torn = false;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::PermissionsExt,
        sync::{Arc, Mutex},
    };

    use super::*;

    fn log_in(directory: &Path) -> (PathBuf, AccessLogWriter) {
        let path = directory.join("access.log");
        let writer = AccessLogWriter::start(AccessLogTarget::File(path.clone())).unwrap();
        (path, writer)
    }

    fn put(writer: &AccessLogWriter, lines: &str) {
        assert!(writer.put(lines.as_bytes().to_vec()));
        writer.flush();
    }

    #[test]
    fn lines_go_to_the_end_of_the_file_which_others_may_not_read() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("access.log"), "before\n").unwrap();
        let (path, writer) = log_in(directory.path());
        put(&writer, "one\ntwo\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "before\none\ntwo\n");
        fs::remove_file(&path).unwrap();
        writer.reopen();
        writer.flush();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o027, 0);
    }

    #[test]
    fn a_file_that_was_renamed_is_opened_anew_when_that_is_asked_for_and_by_itself() {
        let directory = tempfile::tempdir().unwrap();
        let (path, writer) = log_in(directory.path());
        put(&writer, "one\n");
        fs::rename(&path, directory.path().join("first")).unwrap();
        writer.reopen();
        put(&writer, "two\n");
        fs::rename(&path, directory.path().join("second")).unwrap();
        let begun = Instant::now();
        while !path.exists() {
            put(&writer, "more\n");
            assert!(begun.elapsed() < Duration::from_secs(20));
        }
        assert_eq!(fs::read_to_string(directory.path().join("first")).unwrap(), "one\n");
        assert!(fs::read_to_string(directory.path().join("second")).unwrap().starts_with("two\n"));
        assert!(fs::read_to_string(&path).unwrap().starts_with("more\n"));
    }

    #[test]
    fn a_file_that_cant_be_had_is_an_error_with_its_remedy() {
        let path = PathBuf::from("/proc/nowhere/access.log");
        let error = AccessLogWriter::start(AccessLogTarget::File(path)).unwrap_err();
        assert!(
            error.to_string().starts_with("access log: can't open /proc/nowhere/access.log: "),
            "{error}"
        );
        assert!(error.to_string().ends_with("let the daemon's user write there"), "{error}");
    }

    /// Fails in the middle of a line, as a full disk does, while it is told to; or waits until it is let go.
    struct Trouble {
        text: Arc<Mutex<Vec<u8>>>,
        fails: Arc<Mutex<bool>>,
        let_go: Option<Receiver<()>>,
    }

    impl Write for Trouble {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Some(let_go) = self.let_go.take() {
                let_go.recv().map_err(io::Error::other)?;
            }
            let mut text = self.text.lock().unwrap();
            if *self.fails.lock().unwrap() {
                if text.last().is_none_or(|last| *last == b'\n') && bytes.len() > 2 {
                    text.extend_from_slice(&bytes[..2]);
                    return Ok(2);
                }
                return Err(io::ErrorKind::StorageFull.into());
            }
            text.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Sink for Trouble {
        fn look(&mut self, _now: Option<Instant>) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_costs_lines_and_tears_no_later_one() {
        let (text, fails) = (Arc::default(), Arc::new(Mutex::new(true)));
        let sink = Trouble { text: Arc::clone(&text), fails: Arc::clone(&fails), let_go: None };
        let writer = AccessLogWriter::writing_to(sink).unwrap();
        put(&writer, "{\"lost\":1}\n");
        *fails.lock().unwrap() = false;
        put(&writer, "{\"kept\":1}\n");
        assert_eq!(String::from_utf8(text.lock().unwrap().clone()).unwrap(), "{\"\n{\"kept\":1}\n");
    }

    #[test]
    fn a_stuck_disk_costs_lines_never_time() {
        let (go, let_go) = mpsc::channel();
        let sink = Trouble { text: Arc::default(), fails: Arc::default(), let_go: Some(let_go) };
        let text = Arc::clone(&sink.text);
        let writer = AccessLogWriter::writing_to(sink).unwrap();
        let taken = (0..3 * QUEUED_BATCHES).filter(|_| writer.put(b"line\n".to_vec())).count();
        assert!((QUEUED_BATCHES..=QUEUED_BATCHES + 1).contains(&taken), "{taken}");
        go.send(()).unwrap();
        writer.flush();
        assert_eq!(text.lock().unwrap().len(), taken * b"line\n".len());
    }
}
