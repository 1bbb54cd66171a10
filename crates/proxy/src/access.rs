//! The access log: a line of JSON for each request, or relayed connection, of a client.
//!
//! ```text
//! Access: filled as its request goes on ── dropped ──▶ a line in the worker's buffer ── 16 KiB, or a beat ──▶ AccessLog
//! ```
//!
//! Nothing here waits or makes a system call: whole lines are handed over in batches, and what takes them says when it has no
//! room, so that they are dropped and counted. Without a log a request costs a look at a cell.

use std::{
    cell::{Cell, RefCell},
    fmt,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use proxima_balance::Candidate;
use proxima_http1::RequestHead;
use proxima_types::{BackendId, RegionName, ServiceName};
use serde::Serialize;

use crate::stats::{Handshake, WorkerCounters};

/// So much is handed over at once, or what there is at a beat.
const BATCH: usize = 16 * 1024;
/// A text from a client is cut at so many octets.
const LONGEST_TEXT: usize = 4096;

/// Where the lines of all workers go. Part of a [`Snapshot`](crate::Snapshot).
#[derive(Clone)]
pub struct AccessLog(Arc<Inner>);

struct Inner {
    options: AccessLogOptions,
    put: Box<dyn Fn(Vec<u8>) -> bool + Send + Sync>,
}

/// What is logged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AccessLogOptions {
    /// Queries too, which may hold secrets.
    pub query: bool,
    /// The share, above 0 to 1, of the requests and connections that ended well. All others are logged.
    pub sample: f64,
}

impl AccessLog {
    /// `put` gets whole lines, some at a time, on the workers' threads: it must not wait. It returns whether it has taken
    /// them; those it has no room for are counted as lost.
    pub fn new(options: AccessLogOptions, put: impl Fn(Vec<u8>) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner { options, put: Box::new(put) }))
    }
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AccessLog").field(&self.0.options).finish()
    }
}

/// What one worker logs, and to where.
pub(crate) struct Recorder {
    log: RefCell<Option<AccessLog>>,
    lines: RefCell<Vec<u8>>,
    /// How many they are.
    count: Cell<u64>,
    /// The state of the generator that chooses samples.
    random: Cell<u64>,
    counters: Arc<WorkerCounters>,
}

impl Recorder {
    pub(crate) fn new(seed: u64, counters: Arc<WorkerCounters>) -> Rc<Self> {
        let (log, lines) = (RefCell::default(), RefCell::default());
        Rc::new(Self { log, lines, count: Cell::new(0), random: Cell::new(seed), counters })
    }

    /// Logs to `log` from now on.
    pub(crate) fn follow(&self, log: Option<&AccessLog>) {
        let is_same = match (&*self.log.borrow(), log) {
            (Some(own), Some(log)) => Arc::ptr_eq(&own.0, &log.0),
            (None, None) => true,
            _ => false,
        };
        if !is_same {
            self.flush();
            self.log.replace(log.cloned());
        }
    }

    /// The line of a request, or connection, that begins now.
    pub(crate) fn begin(self: &Rc<Self>, who: &Who<'_>) -> Access {
        if self.log.borrow().is_none() {
            return Access(None);
        }
        Access(Some(Box::new(Entry {
            recorder: self.clone(),
            begun: Instant::now(),
            heads: 0,
            line: Line {
                time: Time(SystemTime::now()),
                client: who.client,
                service: who.service.clone(),
                protocol: who.protocol,
                tls: who.tls,
                route: None,
                method: None,
                host: None,
                path: None,
                status: None,
                received: 0,
                sent: 0,
                backend: None,
                region: None,
                retries: None,
                first_byte_ms: None,
                total_ms: 0.0,
                end: "stopped",
                why: None,
            },
        })))
    }

    fn add(&self, line: &Line) {
        let log = self.log.borrow();
        let Some(AccessLog(log)) = &*log else { return };
        if line.ended_well() && !self.samples(log.options.sample) {
            return;
        }
        let mut lines = self.lines.borrow_mut();
        // A Vec takes everything, and all of a line can be told in JSON.
        if serde_json::to_writer(&mut *lines, line).is_err() {
            return;
        }
        lines.push(b'\n');
        self.count.set(self.count.get() + 1);
        let is_batch = lines.len() >= BATCH;
        drop(lines);
        if is_batch {
            self.flush_to(log);
        }
    }

    /// Whether one of so many is taken. By splitmix64: which ones need not be secret.
    fn samples(&self, share: f64) -> bool {
        if share >= 1.0 {
            return true;
        }
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let uniform = ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64;
        uniform < share
    }

    /// Hands over what there is.
    pub(crate) fn flush(&self) {
        if let Some(AccessLog(log)) = &*self.log.borrow() {
            self.flush_to(log);
        }
    }

    fn flush_to(&self, log: &Inner) {
        let lines = self.lines.take();
        let count = self.count.take();
        if !lines.is_empty() && !(log.put)(lines) {
            self.counters.access_lines_lost.add(count);
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Whose request it is.
pub(crate) struct Who<'a> {
    pub(crate) client: SocketAddr,
    pub(crate) service: &'a ServiceName,
    pub(crate) protocol: &'static str,
    pub(crate) tls: Option<Tls>,
}

/// The TLS of a client's connection.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Tls {
    version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    resumed: Option<bool>,
}

impl From<Handshake> for Tls {
    fn from(handshake: Handshake) -> Self {
        Self { version: handshake.version(), resumed: Some(handshake.is_resumed()) }
    }
}

impl Tls {
    /// Of QUIC, which does not tell how the session began.
    pub(crate) const QUIC: Self = Self { version: "1.3", resumed: None };
}

/// The line of a request under way, if there is a log. Dropped, it is written.
#[derive(Default)]
pub(crate) struct Access(Option<Box<Entry>>);

struct Entry {
    recorder: Rc<Recorder>,
    begun: Instant,
    /// Octets of what was sent that are heads.
    heads: u64,
    line: Line,
}

/// The fields, in the order in which they are written.
#[derive(Serialize)]
struct Line {
    time: Time,
    client: SocketAddr,
    service: ServiceName,
    protocol: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<Tls>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    received: u64,
    sent: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    backend: Option<BackendId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<RegionName>,
    /// Attempts after the first; `None` before that.
    #[serde(skip_serializing_if = "Option::is_none")]
    retries: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_byte_ms: Option<f64>,
    total_ms: f64,
    end: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'static str>,
}

impl Line {
    fn ended_well(&self) -> bool {
        self.end == DONE && self.status.is_none_or(|status| status < 500)
    }
}

const DONE: &str = "done";

/// A moment as RFC 3339 has it, in UTC, with microseconds.
struct Time(SystemTime);

impl Serialize for Time {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let time = jiff::Timestamp::try_from(self.0).map_err(serde::ser::Error::custom)?;
        serializer.collect_str(&format_args!("{time:.6}"))
    }
}

impl Access {
    /// What is asked for.
    pub(crate) fn request(&mut self, head: &RequestHead, bytes: &[u8]) {
        let Some(entry) = &mut self.0 else { return };
        let with_query = entry.recorder.log.borrow().as_ref().is_some_and(|log| log.0.options.query);
        let path = if with_query { head.path_and_query(bytes) } else { head.path(bytes).into() };
        entry.line.method = Some(text(head.method_name(bytes)));
        entry.line.host = Some(text(head.host(bytes))).filter(|host| !host.is_empty());
        entry.line.path = Some(text(&path));
    }

    /// The route that takes it, counted from 1.
    pub(crate) fn route(&mut self, number: u32) {
        if let Some(entry) = &mut self.0 {
            entry.line.route = Some(number);
        }
    }

    /// It is tried there.
    pub(crate) fn attempt(&mut self, candidate: &Candidate) {
        if let Some(entry) = &mut self.0 {
            entry.line.retries = Some(entry.line.retries.map_or(0, |retries| retries + 1));
            entry.line.backend = Some(candidate.backend.clone());
            entry.line.region = Some(candidate.region.clone());
        }
    }

    /// The response's status, the backend's or our own.
    pub(crate) fn status(&mut self, status: u16) {
        if let Some(entry) = &mut self.0 {
            entry.line.status = Some(status);
        }
    }

    /// The backend has begun to answer, so long after the request.
    pub(crate) fn answered(&mut self, status: u16, first_byte: Duration) {
        if let Some(entry) = &mut self.0 {
            entry.line.status = Some(status);
            entry.line.first_byte_ms = Some(millis(first_byte));
        }
    }

    /// So many octets of the body came.
    pub(crate) fn received(&mut self, count: usize) {
        if let Some(entry) = &mut self.0 {
            entry.line.received += count as u64;
        }
    }

    /// So many octets went to the client.
    pub(crate) fn sent(&mut self, count: usize) {
        if let Some(entry) = &mut self.0 {
            entry.line.sent += count as u64;
        }
    }

    /// So many of those that go to the client are a head.
    pub(crate) fn head(&mut self, count: usize) {
        if let Some(entry) = &mut self.0 {
            entry.heads += count as u64;
        }
    }

    /// How it ended, and why so.
    pub(crate) fn end(&mut self, end: &'static str, why: Option<&'static str>) {
        if let Some(entry) = &mut self.0 {
            (entry.line.end, entry.line.why) = (end, why);
        }
    }

    /// It ended as it should.
    pub(crate) fn done(&mut self) {
        self.end(DONE, None);
    }

    /// Writes the line, if there is one.
    pub(crate) fn write(&mut self) {
        self.0 = None;
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.line.total_ms = millis(self.begun.elapsed());
        self.line.sent = self.line.sent.saturating_sub(self.heads);
        self.recorder.add(&self.line);
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

/// What a client has sent, as text.
fn text(bytes: &[u8]) -> String {
    let cut = bytes.get(..LONGEST_TEXT).unwrap_or(bytes);
    let mut text = String::from_utf8_lossy(cut).into_owned();
    if cut.len() < bytes.len() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    type Batches = Arc<Mutex<Vec<Vec<u8>>>>;

    /// A log, and what it gets; it takes batches while there are fewer than `room`.
    fn log(sample: f64, room: usize) -> (AccessLog, Batches) {
        let batches = Batches::default();
        let taken = batches.clone();
        let put = move |batch: Vec<u8>| {
            assert_eq!(batch.last(), Some(&b'\n'), "whole lines");
            let mut taken = taken.lock().unwrap();
            let fits = taken.len() < room;
            if fits {
                taken.push(batch);
            }
            fits
        };
        (AccessLog::new(AccessLogOptions { query: false, sample }, put), batches)
    }

    fn recorder(log: &AccessLog) -> (Rc<Recorder>, Arc<WorkerCounters>) {
        let counters = Arc::<WorkerCounters>::default();
        let recorder = Recorder::new(7, counters.clone());
        recorder.follow(Some(log));
        (recorder, counters)
    }

    fn begin(recorder: &Rc<Recorder>) -> Access {
        let service = "web".parse().unwrap();
        let client = "192.0.2.1:5".parse().unwrap();
        recorder.begin(&Who { client, service: &service, protocol: "HTTP/1.1", tls: None })
    }

    fn lines(batches: &Batches) -> Vec<serde_json::Value> {
        let text = batches.lock().unwrap().concat();
        String::from_utf8(text).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn lines_are_handed_over_by_the_batch_and_what_finds_no_room_is_counted() {
        let (log, batches) = log(1.0, 2);
        let (recorder, counters) = recorder(&log);
        let write = || begin(&recorder).done();
        write();
        assert_eq!(batches.lock().unwrap().len(), 0, "it waits for more");
        recorder.flush();
        assert_eq!(lines(&batches).len(), 1);
        let mut written = 1;
        while counters.access_lines_lost.read() == 0 {
            write();
            written += 1;
        }
        assert_eq!(lines(&batches).len() as u64 + counters.access_lines_lost.read(), written);
        assert!(batches.lock().unwrap()[1].len() >= BATCH);
    }

    #[test]
    fn samples_leave_out_a_share_of_what_ended_well_and_nothing_else() {
        let (log, batches) = log(0.25, usize::MAX);
        let (recorder, _counters) = recorder(&log);
        for _ in 0..4000 {
            begin(&recorder).done();
        }
        recorder.flush();
        let sampled = lines(&batches).len();
        assert!((800..1200).contains(&sampled), "{sampled}");
        for _ in 0..10 {
            let mut failed = begin(&recorder);
            failed.status(503);
            failed.done();
            begin(&recorder).end("client-gone", None);
        }
        drop(recorder);
        assert_eq!(lines(&batches).len(), sampled + 20);
    }

    #[test]
    fn another_log_gets_what_ends_from_then_on_and_the_one_before_what_waited() {
        let (first, first_batches) = log(1.0, usize::MAX);
        let (second, second_batches) = log(1.0, usize::MAX);
        let (recorder, _counters) = recorder(&first);
        begin(&recorder).done();
        let under_way = begin(&recorder);
        recorder.follow(Some(&second));
        assert_eq!(lines(&first_batches).len(), 1);
        drop(under_way);
        recorder.follow(None);
        assert_eq!(lines(&second_batches)[0]["end"], "stopped");
        begin(&recorder).done();
        drop(recorder);
        assert_eq!((lines(&first_batches).len(), lines(&second_batches).len()), (1, 1));
    }

    #[test]
    fn what_a_client_sends_breaks_no_line_and_is_cut_where_it_is_too_long() {
        let (log, batches) = log(1.0, usize::MAX);
        let (recorder, _counters) = recorder(&log);
        let request = "GET /a\"b\\?secret HTTP/1.1\r\nHost: a\r\n\r\n".to_owned();
        let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(5000));
        for request in [request, long] {
            let mut head = RequestHead::default();
            head.parse(request.as_bytes()).unwrap().unwrap();
            begin(&recorder).request(&head, request.as_bytes());
        }
        recorder.flush();
        let lines = lines(&batches);
        assert_eq!(lines[0]["path"], "/a\"b\\");
        let path = lines[1]["path"].as_str().unwrap();
        assert!(path.len() < 4200 && path.ends_with("x…"), "{path}");
    }
}
