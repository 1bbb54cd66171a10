//! The thread that writes log lines, and the bounded queue before it.
//!
//! Overflow rule: when the queue is full, because whoever reads standard error is stuck, new lines are dropped and counted;
//! the count is written once there is room again. Whoever logs never waits.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, SyncSender, TrySendError},
    },
    thread,
    time::{Duration, Instant},
};

use tracing_subscriber::fmt::MakeWriter;

use super::LogFormat;
use crate::metrics::table;

const QUEUED_LINES: usize = 4096;
const FLUSH_PATIENCE: Duration = Duration::from_secs(1);
const ROOM_POLL: Duration = Duration::from_millis(1);

enum Message {
    Line(Box<[u8]>),
    Flush(SyncSender<()>),
}

/// Puts lines into the queue.
#[derive(Clone)]
pub(super) struct LineWriter {
    queue: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

impl LineWriter {
    /// Starts the thread; it ends with the last copy of the writer.
    pub(super) fn start(format: LogFormat, sink: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, lines) = mpsc::sync_channel(QUEUED_LINES);
        let lost = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&lost);
        let writing = move || write_lines(&lines, &counted, format, sink);
        thread::Builder::new().name("log".to_owned()).spawn(writing)?;
        Ok(Self { queue, lost })
    }

    /// Waits until what was logged before is written, for about a second at most.
    pub(super) fn flush(&self) {
        let deadline = Instant::now() + FLUSH_PATIENCE;
        let (done, written) = mpsc::sync_channel(1);
        let mut request = Message::Flush(done);
        // A full queue may only be behind: its reader gets the same time to make room as to write.
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

fn write_lines(lines: &Receiver<Message>, lost: &AtomicU64, format: LogFormat, mut sink: impl Write) {
    while let Ok(message) = lines.recv() {
        // An error of standard error has nowhere to be told.
        let _ = match message {
            Message::Line(line) => sink.write_all(&line),
            Message::Flush(done) => {
                let flushed = sink.flush();
                let _ = done.send(());
                flushed
            }
        };
        let missed = lost.swap(0, Ordering::Relaxed);
        if missed > 0 {
            let notice = format!("{missed} log lines were lost: nobody read them");
            let _ = match format {
                LogFormat::Text => writeln!(sink, "{notice}"),
                LogFormat::Json => writeln!(sink, r#"{{"level":"WARN","message":"{notice}"}}"#),
            };
        }
    }
}

impl Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Err(TrySendError::Full(_)) = self.queue.try_send(Message::Line(line.into())) {
            self.lost.fetch_add(1, Ordering::Relaxed);
            table::LOG_LINES_LOST.add(&[], 1);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LineWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Takes nothing until it is let.
    struct Stuck {
        let_go: Receiver<()>,
        open: bool,
        text: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if !self.open {
                self.let_go.recv().map_err(io::Error::other)?;
                self.open = true;
            }
            self.text.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const NOTICE: &str = " log lines were lost: nobody read them";

    #[test]
    fn a_stuck_reader_costs_lines_never_time_and_is_told_how_many() {
        let (go, let_go) = mpsc::channel();
        let text = Arc::new(Mutex::new(Vec::new()));
        let mut writer =
            LineWriter::start(LogFormat::Text, Stuck { let_go, open: false, text: Arc::clone(&text) })
                .unwrap();
        for number in 0..2 * QUEUED_LINES {
            writer.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        go.send(()).unwrap();
        while !String::from_utf8_lossy(&text.lock().unwrap()).contains(NOTICE) {
            thread::yield_now();
        }
        writer.flush();
        let text = String::from_utf8(text.lock().unwrap().clone()).unwrap();
        let kept = text.lines().filter(|line| !line.ends_with(NOTICE)).count();
        let lost = text.lines().find_map(|line| line.strip_suffix(NOTICE)?.parse().ok());
        assert_eq!(Some(2 * QUEUED_LINES - kept), lost, "kept {kept}");
    }
}
