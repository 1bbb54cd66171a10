//! What the service manager is told, by sd_notify(3): datagrams to the socket that `NOTIFY_SOCKET` names.
//!
//! | when | what |
//! |---|---|
//! | listeners are bound, BGP runs, every gating service has its first verdict | `READY=1` |
//! | that takes its time, or a stop does | `EXTEND_TIMEOUT_USEC=` every five seconds, while the control task turns |
//! | a reload begins; ends, taken or refused | `RELOADING=1` with `MONOTONIC_USEC=`; `READY=1` |
//! | a stop begins | `STOPPING=1` |
//! | it begins anew in the same process | `RELOADING=1`, and `READY=1` when it has its first verdicts |
//! | another process takes over | `MAINPID=` |
//! | `WatchdogSec=` is set, the control task turns and all workers beat | `WATCHDOG=1`, four times as often as asked for or more |
//! | what is announced changes | `STATUS=`, once a second at most |
//!
//! Nothing here waits: a manager that does not read loses messages and holds nobody up. The socket is made once and kept, so
//! that a process that is out of file descriptors still shows that it lives.

use std::{
    env,
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::{Duration, Instant},
};

use nix::time::{ClockId, clock_gettime};
use proxima_api::Phase;
use proxima_types::{GroupName, ReachState};

/// From one change of the status to the next, at least.
const STATUS_EVERY: Duration = Duration::from_secs(1);
/// From one request for more time to the next.
const EXTEND_EVERY: Duration = Duration::from_secs(5);
/// How much is asked for.
const EXTENSION: Duration = Duration::from_secs(15);
/// The longest time from ping to ping.
const PING_EVERY: Duration = Duration::from_secs(2);

/// Tells the service manager; silent where there is none.
#[derive(Debug)]
pub(crate) struct Supervisor {
    socket: Option<Socket>,
    told: Told,
}

impl Supervisor {
    /// The one that started this process, by its environment.
    pub(crate) fn from_env() -> Self {
        let socket = env::var_os("NOTIFY_SOCKET").and_then(|name| {
            Socket::open(&name)
                .map_err(|error| {
                    tracing::warn!(
                        socket = %name.display(), %error,
                        "NOTIFY_SOCKET can't be used; the service manager is told nothing"
                    );
                })
                .ok()
        });
        let own = env::var("WATCHDOG_PID").map_or(true, |pid| pid.parse() == Ok(std::process::id()));
        let limit = env::var("WATCHDOG_USEC").ok().and_then(|usec| usec.parse().ok());
        let limit = limit.filter(|usec| own && *usec > 0).map(Duration::from_micros);
        Self { socket, told: Told::new(limit) }
    }

    /// To be called in every turn of the control task: that it turns is the sign of life.
    pub(crate) fn turn(&mut self, now: Instant, phase: Phase, status: impl FnOnce() -> String) {
        if self.socket.is_some() {
            let messages = self.told.turn(now, phase, status);
            self.send(messages);
        }
    }

    /// A reload begins. One that begins before the first verdicts is not told: its end would look like readiness.
    pub(crate) fn reloading(&mut self) {
        let messages = self.told.reloading("reloading", monotonic());
        self.send(messages);
    }

    /// The reload has ended; a refusal is for the status.
    pub(crate) fn reloaded(&mut self, refusal: Option<&str>) {
        let messages = self.told.reloaded(refusal);
        self.send(messages);
    }

    /// The process is going to begin anew.
    pub(crate) fn restarting(&mut self) {
        let messages = self.told.reloading("restarting", monotonic());
        self.send(messages);
    }

    /// What follows comes from another process: it is the main one from now on.
    pub(crate) fn hand_over(&mut self, pid: u32) {
        self.send([format!("MAINPID={pid}\n")]);
    }

    fn send(&mut self, messages: impl IntoIterator<Item = String>) {
        if let Some(socket) = &mut self.socket {
            messages.into_iter().for_each(|message| socket.send(&message));
        }
    }
}

#[derive(Debug)]
struct Socket {
    datagrams: UnixDatagram,
    manager: SocketAddr,
    /// Whether the last message was lost; told once.
    failing: bool,
}

impl Socket {
    /// `name` is a path, or an abstract name after `@`.
    fn open(name: &OsStr) -> io::Result<Self> {
        let manager = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            _ => {
                let words = "neither an absolute path nor an abstract name after `@`";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, words));
            }
        };
        let datagrams = UnixDatagram::unbound()?;
        datagrams.set_nonblocking(true)?;
        Ok(Self { datagrams, manager, failing: false })
    }

    fn send(&mut self, message: &str) {
        let sent = self.datagrams.send_to_addr(message.as_bytes(), &self.manager);
        if let Err(error) = &sent
            && !self.failing
        {
            tracing::warn!(%error, "the service manager does not take what it is told");
        }
        self.failing = sent.is_err();
    }
}

/// CLOCK_MONOTONIC in microseconds, as `MONOTONIC_USEC=` wants it.
fn monotonic() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default()
}

/// What was told, and from it what is to be told: no socket, no clock.
#[derive(Debug)]
struct Told {
    phase: Option<Phase>,
    reloading: bool,
    status: String,
    status_at: Option<Instant>,
    /// When more time was asked for, or the phase began.
    extended_at: Option<Instant>,
    ping_every: Option<Duration>,
    pinged_at: Option<Instant>,
}

impl Told {
    /// Nothing yet. `limit` is the time after which the manager takes a silent process for dead.
    fn new(limit: Option<Duration>) -> Self {
        Self {
            phase: None,
            reloading: false,
            status: String::new(),
            status_at: None,
            extended_at: None,
            ping_every: limit.map(|limit| (limit / 4).min(PING_EVERY)),
            pinged_at: None,
        }
    }

    fn turn(&mut self, now: Instant, phase: Phase, status: impl FnOnce() -> String) -> Vec<String> {
        let mut messages = Vec::new();
        let entered = self.phase.replace(phase) != Some(phase);
        if entered {
            self.extended_at = Some(now);
        }
        if entered || self.status_at.is_none_or(|at| now >= at + STATUS_EVERY) {
            self.status_at = Some(now);
            let status = one_line(&status());
            let state = match phase {
                Phase::Running if entered => "READY=1\n",
                Phase::Stopping if entered => "STOPPING=1\n",
                Phase::Starting | Phase::Running | Phase::Stopping => "",
            };
            if entered || (status != self.status && !self.reloading) {
                messages.push(format!("{state}STATUS={status}\n"));
                self.status = status;
            }
        }
        if phase != Phase::Running && self.extended_at.is_none_or(|at| now >= at + EXTEND_EVERY) {
            self.extended_at = Some(now);
            messages.push(format!("EXTEND_TIMEOUT_USEC={}\n", EXTENSION.as_micros()));
        }
        if let Some(every) = self.ping_every
            && self.pinged_at.is_none_or(|at| now >= at + every)
        {
            self.pinged_at = Some(now);
            messages.push("WATCHDOG=1\n".to_owned());
        }
        messages
    }

    fn reloading(&mut self, status: &str, monotonic: Duration) -> Option<String> {
        self.reloading = self.phase == Some(Phase::Running);
        let usec = monotonic.as_micros();
        self.reloading.then(|| format!("RELOADING=1\nMONOTONIC_USEC={usec}\nSTATUS={status}\n"))
    }

    fn reloaded(&mut self, refusal: Option<&str>) -> Option<String> {
        let status = match refusal {
            Some(refusal) => format!("{}; configuration refused: {}", self.status, one_line(refusal)),
            None => self.status.clone(),
        };
        // A stop that began meanwhile has the last word.
        let told = std::mem::take(&mut self.reloading) && self.phase == Some(Phase::Running);
        told.then(|| format!("READY=1\nSTATUS={status}\n"))
    }
}

/// What the daemon does, in one line: `announced: web, api; withdrawn: cache`.
pub(crate) fn status<'a>(phase: Phase, groups: impl Iterator<Item = (&'a GroupName, ReachState)>) -> String {
    let begin = match phase {
        Phase::Starting => "waiting for first verdicts",
        Phase::Running => "",
        Phase::Stopping => "stopping",
    };
    let groups: Vec<_> = groups.collect();
    let of = |state: ReachState, word: &str| {
        let names = groups.iter().filter(|(_, is)| *is == state).map(|(name, _)| name.as_str());
        let names = names.collect::<Vec<_>>().join(", ");
        (!names.is_empty()).then(|| format!("{word}: {names}"))
    };
    let parts = [
        (!begin.is_empty()).then(|| begin.to_owned()),
        of(ReachState::Announced, "announced"),
        of(ReachState::DePreferred, "de-preferred"),
        of(ReachState::Withdrawn, "withdrawn"),
    ];
    let line = parts.into_iter().flatten().collect::<Vec<_>>().join("; ");
    if line.is_empty() { "nothing to announce is configured".to_owned() } else { line }
}

/// A line break would end the status and begin another field.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURN: Duration = Duration::from_millis(100);

    /// Turns for `long` in `phase`; what was told with the time of it in milliseconds.
    fn run(told: &mut Told, from: Instant, long: Duration, phase: Phase) -> Vec<(u128, String)> {
        let turns = long.as_millis() / TURN.as_millis();
        let mut messages = Vec::new();
        for turn in 0..turns {
            let at = TURN * u32::try_from(turn).unwrap();
            let said = told.turn(from + at, phase, || format!("{phase}"));
            messages.extend(said.into_iter().map(|message| (at.as_millis(), message)));
        }
        messages
    }

    #[test]
    fn a_life_in_messages() {
        let mut told = Told::new(None);
        let start = Instant::now();
        let second = Duration::from_secs(1);
        assert_eq!(
            run(&mut told, start, 11 * second, Phase::Starting),
            [
                (0, "STATUS=starting\n".to_owned()),
                (5000, "EXTEND_TIMEOUT_USEC=15000000\n".to_owned()),
                (10_000, "EXTEND_TIMEOUT_USEC=15000000\n".to_owned()),
            ]
        );
        let running = start + 11 * second;
        assert_eq!(
            run(&mut told, running, 30 * second, Phase::Running),
            [(0, "READY=1\nSTATUS=running\n".to_owned())],
            "an unchanged status is not told again"
        );
        let stopping = running + 30 * second;
        assert_eq!(
            run(&mut told, stopping, 6 * second, Phase::Stopping),
            [
                (0, "STOPPING=1\nSTATUS=stopping\n".to_owned()),
                (5000, "EXTEND_TIMEOUT_USEC=15000000\n".to_owned()),
            ]
        );
    }

    #[test]
    fn pings_come_often_enough() {
        let start = Instant::now();
        for (limit, expected) in [(60, vec![0, 2000, 4000]), (2, vec![0, 500, 1000, 1500, 2000])] {
            let mut told = Told::new(Some(Duration::from_secs(limit)));
            let said = run(&mut told, start, Duration::from_secs(5), Phase::Running);
            let pings: Vec<_> =
                said.iter().filter(|(_, said)| said == "WATCHDOG=1\n").map(|(at, _)| *at).collect();
            assert_eq!(pings[..expected.len()], expected, "limit {limit} s");
        }
    }

    #[test]
    fn a_status_that_changes_all_the_time_is_told_once_a_second() {
        let mut told = Told::new(None);
        let start = Instant::now();
        let mut count = 0;
        for turn in 0..100u32 {
            count += told.turn(start + TURN * turn, Phase::Running, || format!("{turn}")).len();
        }
        assert_eq!(count, 10);
    }

    #[test]
    fn a_reload_is_framed_and_its_refusal_is_in_the_status() {
        let mut told = Told::new(None);
        let now = Instant::now();
        told.turn(now, Phase::Running, || "web announced".to_owned());
        let begun = told.reloading("reloading", Duration::from_micros(1_234_567));
        assert_eq!(begun.as_deref(), Some("RELOADING=1\nMONOTONIC_USEC=1234567\nSTATUS=reloading\n"));
        assert_eq!(told.turn(now + TURN * 20, Phase::Running, || "web withdrawn".to_owned()), [""; 0]);
        let refused = told.reloaded(Some("line 3:\nno such key"));
        assert_eq!(
            refused.as_deref(),
            Some("READY=1\nSTATUS=web announced; configuration refused: line 3: no such key\n")
        );
        assert_eq!(told.reloaded(None), None, "there is none any more");
    }

    #[test]
    fn a_reload_before_the_first_verdicts_or_during_a_stop_claims_no_readiness() {
        let mut told = Told::new(None);
        let now = Instant::now();
        told.turn(now, Phase::Starting, String::new);
        assert_eq!(told.reloading("reloading", Duration::ZERO), None);
        assert_eq!(told.reloaded(None), None);
        told.turn(now, Phase::Running, String::new);
        assert!(told.reloading("reloading", Duration::ZERO).is_some());
        told.turn(now, Phase::Stopping, String::new);
        assert_eq!(told.reloaded(None), None);
    }

    #[test]
    fn the_status_names_each_group_by_its_state() {
        let groups: Vec<(GroupName, ReachState)> = [
            ("api", ReachState::Withdrawn),
            ("cache", ReachState::Announced),
            ("web", ReachState::Announced),
        ]
        .map(|(name, state)| (name.parse().unwrap(), state))
        .to_vec();
        let status = |phase| status(phase, groups.iter().map(|(name, state)| (name, *state)));
        assert_eq!(status(Phase::Running), "announced: cache, web; withdrawn: api");
        assert_eq!(status(Phase::Stopping), "stopping; announced: cache, web; withdrawn: api");
        let none = super::status(Phase::Running, std::iter::empty());
        assert_eq!(none, "nothing to announce is configured");
    }

    #[test]
    fn a_status_is_one_line() {
        let mut told = Told::new(None);
        let said = told.turn(Instant::now(), Phase::Running, || "a\nSTOPPING=1".to_owned());
        assert_eq!(said, ["READY=1\nSTATUS=a STOPPING=1\n"]);
    }

    #[test]
    fn a_manager_that_does_not_read_holds_nobody_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let _deaf = UnixDatagram::bind(&path).unwrap();
        let mut socket = Socket::open(path.as_os_str()).unwrap();
        for _ in 0..10_000 {
            socket.send("WATCHDOG=1\n");
        }
        assert!(socket.failing);
    }

    #[test]
    fn abstract_names_are_reached_and_others_refused() {
        let name = format!("proxima-notify-test-{}", std::process::id());
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        Socket::open(OsStr::new(&format!("@{name}"))).unwrap().send("READY=1\n");
        let mut message = [0; 64];
        let length = manager.recv(&mut message).unwrap();
        assert_eq!(&message[..length], b"READY=1\n");
        assert!(Socket::open(OsStr::new("vsock:2:1234")).is_err());
    }
}
