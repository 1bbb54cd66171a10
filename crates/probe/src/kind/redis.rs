//! Asks Redis, or what speaks its protocol: PING, and its place in the replication.
//!
//! ```text
//! connect ─▶ TLS? ─▶ [AUTH] PING [INFO replication] in one write ─▶ judge ─▶ the connection stays, for the next probe
//!                                       └─ not allowed or not known: ROLE, which tells no times
//! ```
//!
//! INFO comes before ROLE because only it says how long a replica has heard nothing. That is the lag it is judged by: a
//! replica doesn't know how much it lacks. A primary says something every ten seconds even when nothing changes
//! (`repl-ping-replica-period`), so a limit below that finds fault with an idle one.
//!
//! What a server says instead of an answer (LOADING, MASTERDOWN, NOAUTH, …) is told in words and is soft evidence: the
//! process is there.

mod replication;
mod resp;

use std::time::Duration;

use proxima_health::{Failure, Findings, Loss, Phase};
use proxima_probe_kind::{Redis, Role};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use self::{
    replication::{Link as ToMaster, Replication},
    resp::{MAX_VALUE, Value, command, parse},
};
use super::{Check, Checked};
use crate::{
    password::password,
    path::{Deadline, Path, failure},
    said::said,
    standing::{Link, Standing},
    wire::Wire,
};

impl Check for Redis {
    async fn check(&self, path: &Path, standing: Option<Standing>, deadline: Deadline) -> Checked {
        match standing {
            Some(Standing { link: Link::Wire(wire), uses_left }) => {
                again(self, wire, uses_left, deadline).await
            }
            _ => anew(self, path, deadline).await,
        }
    }
}

async fn anew(redis: &Redis, path: &Path, deadline: Deadline) -> Checked {
    let login = match deadline.run(Phase::Connect, Login::of(redis)).await {
        Ok(login) => login,
        Err(failure) => return failure.into(),
    };
    let (wire, connected_in) = path.wire(redis.tls.as_ref(), &[], deadline).await;
    let mut wire = match wire {
        Ok(wire) => wire,
        Err(failure) => return Checked::Done { outcome: Err(failure), standing: None, connected_in },
    };
    match ask(&mut wire, login.as_ref(), deadline).await {
        Ok(replication) => {
            let outcome = judge(redis, replication, &wire);
            Checked::Done {
                outcome,
                standing: Some(Standing::kept_alive(Link::Wire(wire), path)),
                connected_in,
            }
        }
        Err(Interrupted { failure, .. }) => {
            Checked::Done { outcome: Err(failure), standing: None, connected_in }
        }
    }
}

async fn again(redis: &Redis, mut wire: Wire, uses_left: u32, deadline: Deadline) -> Checked {
    match ask(&mut wire, None, deadline).await {
        Ok(replication) => {
            let outcome = judge(redis, replication, &wire);
            let standing = Some(Standing::again(Link::Wire(wire), uses_left));
            Checked::Done { outcome, standing, connected_in: None }
        }
        Err(Interrupted { failure: Failure::Closed, answer_begun: false }) => Checked::Stale(Loss::Closed),
        Err(Interrupted { failure: Failure::Reset, answer_begun: false }) => Checked::Stale(Loss::Reset),
        Err(Interrupted { failure, .. }) => failure.into(),
    }
}

/// Asks once over `stream`; logs in first when there is a `login`. `None`: the user may not know.
async fn ask<S>(
    stream: &mut S,
    login: Option<&Login>,
    deadline: Deadline,
) -> Result<Option<Replication>, Interrupted>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut session = Session { stream, buffer: Vec::with_capacity(512), answer_begun: false };
    let answer = deadline.run(Phase::Answer, session.ask(login)).await;
    answer.map_err(|failure| Interrupted { failure, answer_begun: session.answer_begun })
}

/// An exchange that came to nothing.
#[derive(Debug, PartialEq, Eq)]
struct Interrupted {
    failure: Failure,
    /// Whether any byte of an answer had come.
    answer_begun: bool,
}

/// Who logs in.
struct Login {
    user: Option<String>,
    password: Vec<u8>,
}

impl Login {
    async fn of(redis: &Redis) -> Result<Option<Self>, Failure> {
        let Some(file) = &redis.password_file else { return Ok(None) };
        Ok(Some(Self { user: redis.user.clone(), password: password(file).await? }))
    }
}

struct Session<'a, S> {
    stream: &'a mut S,
    /// Received and not yet taken.
    buffer: Vec<u8>,
    answer_begun: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<'_, S> {
    async fn ask(&mut self, login: Option<&Login>) -> Result<Option<Replication>, Failure> {
        let mut commands = Vec::with_capacity(256);
        match login {
            Some(Login { user: Some(user), password }) => {
                command(&mut commands, &[b"AUTH", user.as_bytes(), password]);
            }
            Some(Login { user: None, password }) => command(&mut commands, &[b"AUTH", password]),
            None => {}
        }
        command(&mut commands, &[b"PING"]);
        command(&mut commands, &[b"INFO", b"replication"]);
        self.send(&commands).await?;
        if login.is_some() {
            accepted(&self.value().await?, b"OK")?;
        }
        accepted(&self.value().await?, b"PONG")?;
        let replication = match self.value().await? {
            Value::Text(info) => Some(Replication::from_info(&info)?),
            Value::Error(error) if is_denied(&error) => self.role().await?,
            other => return Err(refusal(&other)),
        };
        if !self.buffer.is_empty() {
            return Err(wrong("more than was asked for".to_owned()));
        }
        Ok(replication)
    }

    /// `None` where the user may not ask that either.
    async fn role(&mut self) -> Result<Option<Replication>, Failure> {
        let mut commands = Vec::new();
        command(&mut commands, &[b"ROLE"]);
        self.send(&commands).await?;
        match self.value().await? {
            Value::Error(error) if is_denied(&error) => Ok(None),
            error @ Value::Error(_) => Err(refusal(&error)),
            value => Replication::from_role(&value).map(Some),
        }
    }

    async fn send(&mut self, commands: &[u8]) -> Result<(), Failure> {
        self.stream.write_all(commands).await.map_err(|error| failure(&error))
    }

    async fn value(&mut self) -> Result<Value, Failure> {
        loop {
            if let Some((value, length)) = parse(&self.buffer)? {
                self.buffer.drain(..length);
                return Ok(value);
            }
            self.receive().await?;
        }
    }

    /// Receives until a line ends: every value ends with a line's end, so there is nothing to look at before.
    async fn receive(&mut self) -> Result<(), Failure> {
        loop {
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) => return Err(Failure::Closed),
                Ok(_) => self.answer_begun = true,
                Err(error) => return Err(failure(&error)),
            }
            if self.buffer.ends_with(b"\r\n") || self.buffer.len() >= MAX_VALUE {
                return Ok(());
            }
        }
    }
}

/// Whether a command is one that this user may not give or this server doesn't know: rename-command, an ACL, or a
/// server that is not quite Redis.
fn is_denied(error: &[u8]) -> bool {
    [b"NOPERM".as_slice(), b"ERR unknown command"].iter().any(|denied| error.starts_with(denied))
}

fn accepted(value: &Value, expected: &[u8]) -> Result<(), Failure> {
    match value {
        Value::Text(text) if text == expected => Ok(()),
        other => Err(refusal(other)),
    }
}

/// What a value says that is not the one asked for.
fn refusal(value: &Value) -> Failure {
    let Value::Error(error) = value else {
        return wrong(match value {
            Value::Text(text) => format!("`{}` is no answer to what was asked", said(text)),
            _ => "its answer is of another type".to_owned(),
        });
    };
    let (code, text) = match error.iter().position(|byte| *byte == b' ') {
        Some(end) => (&error[..end], &error[end + 1..]),
        None => (error.as_slice(), b"".as_slice()),
    };
    let detail = match code {
        b"LOADING" => "it is loading its data into memory".to_owned(),
        b"MASTERDOWN" => "a replica that has lost its primary and may not serve old data".to_owned(),
        b"NOAUTH" => "it asks for a password; set `password-file`".to_owned(),
        b"WRONGPASS" => "it refuses user or password; check `user` and `password-file`".to_owned(),
        b"NOPERM" => format!("the user may not ask: {}", said(text)),
        b"DENIED" => "its protected mode takes no connections from other hosts".to_owned(),
        _ => said(error),
    };
    Failure::Refusal { detail }
}

fn judge(settings: &Redis, replication: Option<Replication>, wire: &Wire) -> Result<Findings, Failure> {
    let findings = Findings { certificate_ends: wire.certificate_ends(), ..Findings::default() };
    match replication {
        Some(replication) => place(settings, replication, findings),
        None if settings.role.is_none() && settings.max_lag.is_none() => Ok(findings),
        None => Err(Failure::Refusal {
            detail: "the user may ask neither INFO nor ROLE; allow one of them: ACL SETUSER … +info"
                .to_owned(),
        }),
    }
}

fn place(settings: &Redis, replication: Replication, findings: Findings) -> Result<Findings, Failure> {
    let (found, lag) = match replication {
        Replication::Master => (Role::Primary, None),
        Replication::Replica(ToMaster::Up { heard }) => (Role::Replica, heard),
        Replication::Replica(ToMaster::Down { since }) => (Role::Replica, since),
        Replication::Sentinel => return Err(wrong("a sentinel, which has no data".to_owned())),
    };
    if let Some(expected) = settings.role.filter(|expected| *expected != found) {
        return Err(Failure::Role { expected, found });
    }
    if let (Some(limit), Replication::Replica(link)) = (settings.max_lag, replication) {
        within(limit, link)?;
    }
    Ok(Findings { role: Some(found), lag, ..findings })
}

fn within(limit: Duration, link: ToMaster) -> Result<(), Failure> {
    match link {
        ToMaster::Up { heard: Some(lag) } | ToMaster::Down { since: Some(lag) } if lag > limit => {
            Err(Failure::Lag { limit, lag })
        }
        ToMaster::Down { since: None } => {
            Err(Failure::Refusal { detail: "a replica whose link to its primary is down".to_owned() })
        }
        // A link that is up counts where the server tells no times.
        ToMaster::Up { .. } | ToMaster::Down { .. } => Ok(()),
    }
}

fn wrong(detail: String) -> Failure {
    Failure::Protocol { detail: format!("Redis: {detail}") }
}
