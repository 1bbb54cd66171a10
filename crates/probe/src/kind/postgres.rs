//! Logs in to PostgreSQL (10 or later) and asks what it is: primary or replica, and how far behind.
//!
//! ```text
//! connect ─▶ SSLRequest, TLS? ─▶ login ─▶ SELECT pg_is_in_recovery() ─▶ judge ─▶ the session stays, for the next probe
//! ```
//!
//! A login costs the server a process and both sides a key derivation, so a session carries [`USES`] probes. A new one from time
//! to time shows that logins still work. When the server is killed its processes end, and so does the session.
//!
//! ## How far a replica is behind
//!
//! `now() - pg_last_xact_replay_timestamp()`, the age of the last commit that was replayed, is the usual measure, and a wrong
//! one: while the primary is idle it grows without end on a replica that lacks nothing. So a replica that receives from its
//! primary (`pg_stat_wal_receiver` has a row, which every user may count) and has replayed all that it received is not
//! behind at all. That alone would be wrong too: even an idle primary writes now and then, and between receiving and replaying
//! such a record the replica would for an instant be hours behind. Nor does the age mean much once the stream is cut. But a
//! replica that lacked nothing a second ago can't be more than a second behind now. So the lag is the age, or the time since
//! the prober last saw the replica lack nothing, whichever is less.
//!
//! The age is the difference of two clocks, the replica's and the primary's. A stream that hangs counts as one until the
//! replica gives it up (`wal_receiver_timeout`, a minute). Where no limit is set the lag is not asked for: some servers
//! that speak the protocol don't know these functions.

use std::{
    error::Error as _,
    fmt, io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use proxima_health::{Failure, Findings, Loss, Phase};
use proxima_probe_kind::{Postgres, Role};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    time::Instant,
};
use tokio_postgres::{
    Client, Config, Error, NoTls, SimpleQueryMessage, SimpleQueryRow,
    config::SslMode,
    error::{DbError, Severity, SqlState},
};

use super::{Check, Checked};
use crate::{
    password::password,
    path::{Deadline, Path, failure},
    said::said,
    standing::{Link, Standing},
    wire::Wire,
};

/// How many probes a session carries.
const USES: u32 = 60;
/// The most a server may send from one probe to the next, in bytes.
const MOST_RECEIVED: usize = 256 * 1024;

const ROLE: &str = "SELECT pg_is_in_recovery()";
/// What was received is looked at before what was replayed: what arrives in between doesn't make the replica late.
const ROLE_AND_LAG: &str = "SELECT pg_is_in_recovery(), \
     pg_last_wal_receive_lsn() <= pg_last_wal_replay_lsn(), \
     EXISTS (SELECT FROM pg_stat_wal_receiver), \
     (extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) * 1000)::bigint";

/// What is asked of a server, and what is remembered of it.
pub(crate) struct Question {
    settings: Postgres,
    /// When the replica was last seen to lack nothing, over whichever session.
    complete_at: Mutex<Option<Instant>>,
}

impl Question {
    pub(crate) fn new(settings: Postgres) -> Self {
        Self { settings, complete_at: Mutex::default() }
    }

    async fn anew(&self, path: &Path, deadline: Deadline) -> Checked {
        let (stream, connected_in) = match path.connect(deadline).await {
            Ok((stream, took)) => (stream, Some(took)),
            Err(failure) => return failure.into(),
        };
        let asked = async {
            let mut session = Session::open(&self.settings, path, stream, deadline).await?;
            let seen = deadline.run(Phase::Answer, session.ask(&self.settings)).await?;
            Ok((session, seen))
        };
        match asked.await {
            Ok((session, seen)) => Checked::Done {
                outcome: self.judge(&session, seen),
                standing: Some(Standing { link: Link::Postgres(Box::new(session)), uses_left: USES }),
                connected_in,
            },
            Err(failure) => Checked::Done { outcome: Err(failure), standing: None, connected_in },
        }
    }

    async fn again(&self, mut session: Box<Session>, uses_left: u32, deadline: Deadline) -> Checked {
        match deadline.run(Phase::Answer, session.ask(&self.settings)).await {
            Ok(seen) => Checked::Done {
                outcome: self.judge(&session, seen),
                standing: Some(Standing::again(Link::Postgres(session), uses_left)),
                connected_in: None,
            },
            // The server's farewell (57P01 and its like) is no answer.
            Err(Failure::Closed | Failure::Refusal { .. }) if session.has_ended => {
                Checked::Stale(Loss::Closed)
            }
            Err(Failure::Reset) if session.has_ended => Checked::Stale(Loss::Reset),
            Err(failure) => failure.into(),
        }
    }

    fn judge(&self, session: &Session, seen: Seen) -> Result<Findings, Failure> {
        let mut complete_at = self.complete_at.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.lacks_nothing() {
            *complete_at = Some(Instant::now());
        }
        let findings = judge(&self.settings, seen, complete_at.map(|at| at.elapsed()))?;
        Ok(Findings { certificate_ends: session.certificate_ends, ..findings })
    }
}

impl Check for Question {
    async fn check(&self, path: &Path, standing: Option<Standing>, deadline: Deadline) -> Checked {
        match standing {
            Some(Standing { link: Link::Postgres(session), uses_left }) => {
                self.again(session, uses_left, deadline).await
            }
            _ => self.anew(path, deadline).await,
        }
    }
}

/// A session that is logged in.
pub(crate) struct Session {
    client: Client,
    /// Does the session's input and output while it is polled; ends with it.
    connection: Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>,
    has_ended: bool,
    budget: Budget,
    certificate_ends: Option<u64>,
}

impl Session {
    async fn open(
        settings: &Postgres,
        path: &Path,
        mut stream: TcpStream,
        deadline: Deadline,
    ) -> Result<Self, Failure> {
        let password = match &settings.password_file {
            Some(file) => Some(deadline.run(Phase::Connect, password(file)).await?),
            None => None,
        };
        let wire = match &settings.tls {
            Some(tls) => {
                deadline.run(Phase::Handshake, request_tls(&mut stream)).await?;
                path.secure(stream, tls, &[], deadline).await?
            }
            None => Wire::Plain(stream),
        };
        let ends = wire.certificate_ends();
        let session = deadline.run(Phase::Answer, Self::login(wire, settings, password.as_deref())).await?;
        Ok(Self { certificate_ends: ends, ..session })
    }

    /// Logs in over `stream`, which is protected already if it is to be.
    async fn login<S>(stream: S, settings: &Postgres, password: Option<&[u8]>) -> Result<Self, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut config = Config::new();
        config
            .user(&settings.user)
            .dbname(settings.database.as_deref().unwrap_or(&settings.user))
            .application_name("proxima-probe")
            .ssl_mode(SslMode::Disable);
        if let Some(password) = password {
            config.password(password);
        }
        let budget = Budget::default();
        let stream = Metered { stream, budget: budget.clone() };
        let (client, connection) = config.connect_raw(stream, NoTls).await.map_err(|error| told(&error))?;
        Ok(Self {
            client,
            connection: Box::pin(connection),
            has_ended: false,
            budget,
            certificate_ends: None,
        })
    }

    /// Asks once. After a failure the session is of no more use.
    async fn ask(&mut self, settings: &Postgres) -> Result<Seen, Failure> {
        self.budget.renew();
        let query = if settings.max_lag.is_some() { ROLE_AND_LAG } else { ROLE };
        let answer = tokio::select! {
            biased;
            answer = self.client.simple_query(query) => answer.map_err(|error| {
                self.has_ended = is_fatal(&error);
                told(&error)
            }),
            end = &mut self.connection => {
                self.has_ended = true;
                Err(end.map_or_else(|error| told(&error), |()| Failure::Closed))
            }
        };
        Seen::read(&answer?)
    }

    /// Waits for its end. Cancel-safe; not to be called again after it returned.
    pub(crate) async fn ended(&mut self) -> Loss {
        match (&mut self.connection).await {
            Ok(()) => Loss::Closed,
            Err(error) => match told(&error) {
                Failure::Reset => Loss::Reset,
                Failure::Unreachable { .. } => Loss::TimedOut,
                _ => Loss::Closed,
            },
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

/// Asks for TLS on a new connection. Exactly one byte is read: what a stranger may have put behind it was not protected,
/// and must not be taken for what comes under TLS.
async fn request_tls(stream: &mut TcpStream) -> Result<(), Failure> {
    const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
    let mut answer = [0];
    let asked = async {
        stream.write_all(&SSL_REQUEST).await?;
        stream.read_exact(&mut answer).await
    };
    asked.await.map_err(|error| failure(&error))?;
    match answer {
        [b'S'] => Ok(()),
        [b'N'] => Err(Failure::Refusal { detail: "it offers no TLS".to_owned() }),
        [other] => Err(wrong(&format!("`{}` in answer to an SSLRequest", other.escape_ascii()))),
    }
}

/// What a server says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    role: Role,
    /// All that was received has been replayed.
    is_replayed: bool,
    /// It receives from its primary.
    is_receiving: bool,
    /// How long ago the last commit that was replayed happened.
    age: Option<Duration>,
}

impl Seen {
    fn read(answer: &[SimpleQueryMessage]) -> Result<Self, Failure> {
        let row = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let row = row.ok_or_else(|| wrong("an answer without a row"))?;
        Self::of(|column| text(row, column))
    }

    /// From the columns' text; `None`: NULL, or not asked for.
    fn of<'a>(column: impl Fn(usize) -> Option<&'a str>) -> Result<Self, Failure> {
        let role = match column(0) {
            Some("t") => Role::Replica,
            Some("f") => Role::Primary,
            other => {
                return Err(wrong(&format!("pg_is_in_recovery() is `{}`", said(other.unwrap_or("NULL")))));
            }
        };
        // A clock that is behind the primary's sees its commits in the future.
        let age = column(3).and_then(|age| age.parse::<i64>().ok());
        let age = age.map(|age| Duration::from_millis(u64::try_from(age).unwrap_or_default()));
        Ok(Self { role, is_replayed: column(1) == Some("t"), is_receiving: column(2) == Some("t"), age })
    }

    fn lacks_nothing(self) -> bool {
        self.role == Role::Replica && self.is_replayed && self.is_receiving
    }

    /// `None` while nothing tells.
    fn lag(self, since_complete: Option<Duration>) -> Option<Duration> {
        [self.age, since_complete].into_iter().flatten().min()
    }
}

fn text(row: &SimpleQueryRow, column: usize) -> Option<&str> {
    if column < row.len() { row.try_get(column).ok().flatten() } else { None }
}

fn judge(settings: &Postgres, seen: Seen, since_complete: Option<Duration>) -> Result<Findings, Failure> {
    let found = seen.role;
    if let Some(expected) = settings.role.filter(|expected| *expected != found) {
        return Err(Failure::Role { expected, found });
    }
    let mut findings = Findings { role: Some(found), ..Findings::default() };
    if let (Role::Replica, Some(limit)) = (found, settings.max_lag) {
        let lag = seen.lag(since_complete).ok_or_else(|| Failure::Refusal {
            detail: "a replica that has replayed nothing since it started".to_owned(),
        })?;
        if lag > limit {
            return Err(Failure::Lag { limit, lag });
        }
        findings.lag = Some(lag);
    }
    Ok(findings)
}

/// Whether the server ends the session with it.
fn is_fatal(error: &Error) -> bool {
    let severity = error.as_db_error().and_then(DbError::parsed_severity);
    error.is_closed() || matches!(severity, Some(Severity::Fatal | Severity::Panic))
}

/// What an error says about the server.
fn told(error: &Error) -> Failure {
    if let Some(refused) = error.as_db_error() {
        let mut detail = said(refused.message());
        if [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION]
            .contains(refused.code())
        {
            detail.push_str("; check `user`, `password-file` and the server's pg_hba.conf");
        }
        return Failure::Refusal { detail };
    }
    if error.is_closed() {
        return Failure::Closed;
    }
    let cause = error.source();
    match cause.and_then(|cause| cause.downcast_ref::<io::Error>()) {
        Some(error) if is_of_the_network(error) => failure(error),
        Some(error) => wrong(&said(error.to_string())),
        _ if cause.is_some_and(|cause| cause.to_string() == "password missing") => {
            Failure::Refusal { detail: "it asks for a password; set `password-file`".to_owned() }
        }
        _ => wrong(&said(error.to_string())),
    }
}

/// Whether it is the connection's and not the codec's.
fn is_of_the_network(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let ends = [BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof];
    error.raw_os_error().is_some() || ends.contains(&error.kind())
}

fn wrong(detail: &str) -> Failure {
    Failure::Protocol { detail: format!("PostgreSQL: {detail}") }
}

/// How much a server may yet send.
#[derive(Debug, Clone)]
struct Budget(Arc<AtomicUsize>);

impl Default for Budget {
    fn default() -> Self {
        Self(Arc::new(MOST_RECEIVED.into()))
    }
}

impl Budget {
    fn renew(&self) {
        self.0.store(MOST_RECEIVED, Ordering::Relaxed);
    }

    fn left(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn spend(&self, received: usize) {
        self.0.store(self.left().saturating_sub(received), Ordering::Relaxed);
    }
}

/// A stream that fails when more comes than the budget allows: a message may claim to be 2 GiB long, and would be collected
/// in memory.
struct Metered<S> {
    stream: S,
    budget: Budget,
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.budget.left() == 0 {
            let error = format!("it sends more than {MOST_RECEIVED} bytes");
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.budget.spend(buffer.filled().len() - before);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(role: Option<Role>, max_lag: Option<u64>) -> Postgres {
        Postgres {
            user: "probe".to_owned(),
            database: None,
            password_file: None,
            tls: None,
            role,
            max_lag: max_lag.map(Duration::from_secs),
        }
    }

    fn seen(columns: [Option<&'static str>; 4]) -> Result<Seen, Failure> {
        Seen::of(|column| columns[column])
    }

    #[test]
    fn a_replica_is_behind_by_the_least_that_is_certain() {
        let hours = Some("10800000");
        for (replayed, receiving, age, since_complete, lag) in [
            // An idle primary: the last commit is hours old, and nothing is missing.
            (Some("t"), "t", hours, Some(0), Some(0)),
            // One record is on its way through: as far behind as the last look is ago.
            (Some("f"), "t", hours, Some(1), Some(1)),
            // A busy primary, a slow replica.
            (Some("f"), "t", Some("7000"), Some(60), Some(7)),
            // The first look at a replica that is catching up.
            (Some("f"), "t", Some("7000"), None, Some(7)),
            // The stream is cut: nobody knows what the primary does.
            (Some("t"), "f", hours, Some(30), Some(30)),
            (Some("t"), "f", hours, None, Some(10800)),
            // Logs are shipped as files, there is no stream.
            (None, "f", Some("5000"), None, Some(5)),
            // A replica's clock that is behind the primary's.
            (Some("f"), "t", Some("-2000"), None, Some(0)),
            (Some("f"), "f", None, None, None),
        ] {
            let seen = seen([Some("t"), replayed, Some(receiving), age]).unwrap();
            let lag = lag.map(Duration::from_secs);
            assert_eq!(seen.lag(since_complete.map(Duration::from_secs)), lag, "{seen:?}");
        }
    }

    #[test]
    fn role_and_lag_are_judged_by_what_is_asked_for() {
        let primary = seen([Some("f"), None, Some("f"), None]).unwrap();
        let replica = seen([Some("t"), Some("f"), Some("t"), Some("9000")]).unwrap();
        let unknown = seen([Some("t"), None, Some("f"), None]).unwrap();
        let (expected, found) = (Role::Primary, Role::Replica);
        let (limit, lag) = (Duration::from_secs(5), Duration::from_secs(9));
        let ok = |role, lag| Ok(Findings { role: Some(role), lag, ..Findings::default() });
        for (seen, role, max_lag, judged) in [
            (primary, None, None, ok(Role::Primary, None)),
            (primary, Some(Role::Primary), Some(5), ok(Role::Primary, None)),
            (primary, Some(Role::Replica), None, Err(Failure::Role { expected: found, found: expected })),
            (replica, None, None, ok(Role::Replica, None)),
            (replica, Some(Role::Replica), Some(10), ok(Role::Replica, Some(lag))),
            (replica, Some(Role::Replica), Some(5), Err(Failure::Lag { limit, lag })),
            (replica, Some(Role::Primary), Some(5), Err(Failure::Role { expected, found })),
        ] {
            assert_eq!(judge(&settings(role, max_lag), seen, None), judged, "{seen:?} {role:?} {max_lag:?}");
        }
        assert!(matches!(judge(&settings(None, Some(5)), unknown, None), Err(Failure::Refusal { .. })));
    }

    #[test]
    fn an_answer_that_is_none_is_not_believed() {
        for column in [None, Some(""), Some("true"), Some("1"), Some("t\0")] {
            assert!(matches!(seen([column, None, None, None]), Err(Failure::Protocol { .. })), "{column:?}");
        }
    }

    /// What a login to a server that sends `bytes` ends with.
    async fn login(bytes: Vec<u8>) -> Failure {
        let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
        let server = async {
            // The prober may hang up first.
            let _ = theirs.write_all(&bytes).await;
            let _ = theirs.shutdown().await;
            let _ = theirs.read_to_end(&mut Vec::new()).await;
        };
        let settings = settings(None, None);
        let (login, ()) = tokio::join!(Session::login(ours, &settings, None), server);
        login.unwrap_err()
    }

    /// A message of the server's.
    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[kind][..], &length.to_be_bytes(), body].concat()
    }

    #[tokio::test]
    async fn what_is_not_postgresql_fails_within_bounds() {
        let endless = [&b"S\x7f\xff\xff\xff"[..], &vec![b'a'; 2 * MOST_RECEIVED]].concat();
        for (bytes, expected) in [
            (b"R\0\0\0\0".to_vec(), ""),
            (b"R\xff\xff\xff\xff".to_vec(), ""),
            (message(b'R', &[0, 0, 0, 99]), ""),
            (message(b'Z', b"I"), ""),
            (endless, "more than"),
        ] {
            let failed = login(bytes.clone()).await;
            let start = bytes[..bytes.len().min(12)].escape_ascii();
            assert!(
                matches!(&failed, Failure::Protocol { detail } if detail.contains(expected)),
                "{start}: {failed:?}"
            );
        }
        // `HTTP` claims a message of 1.4 GB, and the stream ends before; so does an error without its end.
        for bytes in [b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), message(b'E', b"not an error")] {
            let failed = login(bytes).await;
            assert!(matches!(failed, Failure::Protocol { .. } | Failure::Closed), "{failed:?}");
        }
        assert_eq!(login(Vec::new()).await, Failure::Closed);
    }

    #[tokio::test]
    async fn a_server_s_no_is_told_in_its_words() {
        let error = |code: &str, text: &str| {
            message(b'E', format!("SFATAL\0VFATAL\0C{code}\0M{text}\0\0").as_bytes())
        };
        for (bytes, expected) in [
            (error("57P03", "the database system is starting up"), "the database system is starting up"),
            (error("28P01", "no"), "no; check `user`, `password-file` and the server's pg_hba.conf"),
            (error("53300", "sorry, too many clients already"), "sorry, too many clients already"),
            (message(b'R', &[0, 0, 0, 3]), "it asks for a password; set `password-file`"),
        ] {
            assert_eq!(login(bytes).await, Failure::Refusal { detail: expected.to_owned() });
        }
    }
}
