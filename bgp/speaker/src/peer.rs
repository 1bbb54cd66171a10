//! The task of one peer: owns its session, its attempt to connect and its connections.
//!
//! ```text
//!  wait for one thing ─▶ hand it to the session ─▶ pump: outputs, UPDATEs, writes ─▶ RIB ─▶ publish the status ─▶ again
//! ```
//!
//! | module      | part of the task                                             |
//! |-------------|--------------------------------------------------------------|
//! | `transport` | attempts, accepted connections, reading and writing          |
//! | `routes`    | what goes to the RIB, and when reading has to wait for it    |
//! | `tell`      | log, events, status                                          |

mod routes;
mod tell;
mod transport;

use std::{
    future::{pending, poll_fn},
    sync::{Arc, Weak},
    task::Poll,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use proxima_bgp_rib::PeerId;
use proxima_bgp_session::{Announced, Desired, Input, Leave, MaxPrefixes, Output, Problem, Session, Status};
use proxima_types::{Family, Prefix};
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::timeout_at,
};

use crate::{
    BfdState, Effect, PeerConfig, PeerStatus, Remote,
    carried::Question,
    config::Common,
    connection::Connection,
    detach::{Before, DetachedPeer, Down, Handed},
    discovery::{Conflict, Discovery, Neighbour, Sighted},
    event::EventSink,
    rib::RibQueue,
    roster::Roster,
    socket,
};
use routes::{News, Routes};
use transport::Attempt;

/// No more UPDATEs are made while this many octets wait to be written.
pub(crate) const WATERMARK: usize = 64 * 1024;

/// How long a peer's last words may take.
pub(crate) const LEAVE_TIME: Duration = Duration::from_secs(2);

/// What all peers are to hold. The latest wins.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) desired: Desired,
    pub(crate) end_of_rib: bool,
}

/// What can be asked of a peer's task.
#[derive(Debug)]
pub(crate) enum Command {
    Reset,
    Up,
    Shutdown {
        reason: String,
        drain: Duration,
    },
    Refresh(Family),
    Bfd(BfdState),
    Reconfigure(Box<PeerConfig>, oneshot::Sender<()>),
    Advertised(oneshot::Sender<Vec<(Prefix, Arc<Announced>)>>),
    /// Ends the task, once the last words are out.
    Leave(Leave),
    /// Hands the established connection over and stands still until the second is closed; there is a successor where the task
    /// is ended before.
    HandOver(oneshot::Sender<Handed>, watch::Receiver<()>),
}

/// The task's ends of what connects it to the speaker.
pub(crate) struct Ports {
    pub(crate) id: PeerId,
    pub(crate) wanted: watch::Receiver<Wanted>,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) accepted: mpsc::Receiver<TcpStream>,
    pub(crate) events: EventSink,
    pub(crate) status: watch::Sender<PeerStatus>,
    pub(crate) rib: RibQueue,
    pub(crate) roster: Weak<Roster>,
}

pub(crate) struct Peer {
    config: PeerConfig,
    common: Common,
    session: Session,
    ports: Ports,
    routes: Routes,
    discovery: Option<Discovery>,
    attempt: Option<Attempt>,
    connections: Vec<Connection>,
    lingering: JoinSet<()>,
    buffer: BytesMut,
    created: Instant,
    /// The failure that was logged last; told again only when it changes or the session was up in between.
    warned: Option<String>,
    /// A member of a range is forgotten then, if it has no connection by then.
    forget_at: Option<Instant>,
    /// What the process before has left.
    before: Left,
}

/// What a task begins with, beside a connection.
#[derive(Default)]
struct Left {
    has_routes: bool,
    reopen: bool,
    down: Option<Down>,
    overruled: Option<String>,
}

/// The one thing that happened.
enum Happening {
    Wanted,
    Command(Command),
    Accepted(TcpStream),
    Attempt(Result<TcpStream, String>),
    Ready,
    Rib(News),
    Neighbour(Sighted),
    Deadline,
    Forget,
    /// Every handle is gone: nobody steers any more.
    Abandoned,
}

impl Peer {
    pub(crate) fn new(
        config: PeerConfig,
        common: Common,
        session: Session,
        before: Before,
        ports: Ports,
        created: Instant,
    ) -> Self {
        let Before { connection, has_routes, reopen, down, overruled } = before;
        let discovery = match &config.remote {
            Remote::Interface { interface } => Some(Discovery::start(interface.clone(), config.port)),
            Remote::Address { .. } | Remote::Range { .. } => None,
        };
        Self {
            config,
            common,
            session,
            routes: Routes::new(ports.id, ports.rib.clone()),
            ports,
            discovery,
            attempt: None,
            connections: connection.into_iter().collect(),
            lingering: JoinSet::new(),
            buffer: BytesMut::new(),
            created,
            warned: None,
            forget_at: None,
            before: Left { has_routes, reopen, down, overruled },
        }
    }

    /// Where the router at the end of the link was found.
    pub(crate) fn neighbour(&self) -> Option<watch::Receiver<Neighbour>> {
        self.discovery.as_ref().map(Discovery::found)
    }

    pub(crate) async fn run(mut self) {
        self.take_wanted();
        self.go_on();
        loop {
            self.pump();
            match self.next().await {
                Happening::Command(Command::Leave(leave)) => return self.leave(leave).await,
                Happening::Command(Command::HandOver(answer, end)) => self.hand_over(answer, end).await,
                Happening::Abandoned => return,
                Happening::Forget => {
                    if self.may_be_forgotten() {
                        return self.farewell().await;
                    }
                }
                happening => self.happened(happening),
            }
        }
    }

    /// Begins, or goes on with the session of another process: under the configuration of this one, and asking for the routes
    /// that did not come with it.
    fn go_on(&mut self) {
        let Left { has_routes, reopen, down, overruled } = std::mem::take(&mut self.before);
        let Status { terms, disabled, .. } = self.session.status();
        if let Some(terms) = terms {
            self.connected(Instant::now());
            self.connections.iter().for_each(|connection| self.shape(connection, true));
            if reopen {
                self.handle(Input::Reset);
            } else if !has_routes {
                let families = terms.negotiated.families.iter().filter(|family| !disabled.contains(family));
                families.for_each(|family| self.handle(Input::Refresh(family)));
            }
        }
        let configured = self.config.shutdown.clone().filter(|reason| overruled.as_ref() != Some(reason));
        self.handle(match (down, configured) {
            (Some(Down { reason, drain, .. }), _) => Input::Shutdown { reason, drain },
            (None, Some(reason)) => Input::Shutdown { reason, drain: Duration::ZERO },
            (None, None) => Input::Up,
        });
    }

    async fn next(&mut self) -> Happening {
        let Self { session, ports, routes, discovery, attempt, connections, forget_at, .. } = self;
        let deadline = session.poll_timeout();
        let established = session.established();
        let reading = routes.may_read();
        let ready = poll_fn(|cx| {
            let mut any = false;
            for connection in connections.iter() {
                any |= connection.poll_ready(cx, reading || Some(connection.id) != established).is_ready();
            }
            if any { Poll::Ready(()) } else { Poll::Pending }
        });
        let attempted = poll_fn(|cx| match attempt {
            Some(attempt) => attempt.outcome.as_mut().poll(cx),
            None => Poll::Pending,
        });
        let neighbour = async {
            match discovery {
                Some(discovery) => discovery.sighted().await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            changed = ports.wanted.changed() => match changed {
                Ok(()) => Happening::Wanted,
                Err(_) => Happening::Abandoned,
            },
            command = ports.commands.recv() => match command {
                Some(command) => Happening::Command(command),
                None => Happening::Abandoned,
            },
            () = until(deadline) => Happening::Deadline,
            outcome = attempted => Happening::Attempt(outcome),
            Some(stream) = ports.accepted.recv() => Happening::Accepted(stream),
            sighted = neighbour => Happening::Neighbour(sighted),
            news = routes.news() => Happening::Rib(news),
            () = ready => Happening::Ready,
            () = until(*forget_at) => Happening::Forget,
        }
    }

    fn happened(&mut self, happening: Happening) {
        match happening {
            Happening::Wanted => self.take_wanted(),
            Happening::Command(command) => self.command(command),
            Happening::Accepted(stream) => self.accepted(stream),
            Happening::Attempt(outcome) => self.attempt_ended(outcome),
            Happening::Ready => self.read(false),
            Happening::Rib(News::Place(place)) => {
                self.routes.take_place(place);
                self.read(false);
            }
            Happening::Rib(News::Counts) => self.take_counts(),
            Happening::Neighbour(Sighted::Neighbour) => self.neighbour_found(),
            Happening::Neighbour(Sighted::Conflict(Conflict { known, other })) => {
                self.problem(Problem::AnotherRouter { known, other });
            }
            Happening::Deadline => {
                // What the peer sent in time counts, even if this task, or the RIB, is late.
                self.read(true);
                self.session.handle_timeout(Instant::now());
            }
            Happening::Forget | Happening::Abandoned => {}
        }
    }

    fn handle(&mut self, input: Input) {
        self.session.handle(Instant::now(), input);
    }

    fn take_wanted(&mut self) {
        let Wanted { desired, end_of_rib } = self.ports.wanted.borrow_and_update().clone();
        self.handle(Input::SetDesired(desired));
        if end_of_rib {
            self.handle(Input::ReleaseEndOfRib);
        }
    }

    fn command(&mut self, command: Command) {
        // An answer that nobody waits for any more is nobody's loss.
        match command {
            Command::Reset => self.handle(Input::Reset),
            Command::Up => self.handle(Input::Up),
            Command::Shutdown { reason, drain } => self.handle(Input::Shutdown { reason, drain }),
            Command::Refresh(family) => self.handle(Input::Refresh(family)),
            Command::Bfd(BfdState::Up) => self.handle(Input::BfdUp),
            Command::Bfd(BfdState::Down { diagnostic, independent }) => {
                self.handle(Input::BfdDown { diagnostic, independent });
            }
            Command::Bfd(BfdState::AdminDown) => self.handle(Input::BfdAdminDown),
            Command::Reconfigure(config, done) => {
                self.reconfigure(*config);
                done.send(()).ok();
            }
            Command::Advertised(answer) => {
                let routes = self.session.adj_rib_out().sent();
                answer.send(routes.map(|(prefix, route)| (prefix, route.clone())).collect()).ok();
            }
            Command::Leave(_) | Command::HandOver(..) => {}
        }
    }

    /// As [`Effect`] says.
    fn reconfigure(&mut self, new: PeerConfig) {
        let old = std::mem::replace(&mut self.config, new);
        let effect = self.common.effect(&old, &self.config);
        let settings = self.common.settings(&self.config);
        if old.max_prefixes != self.config.max_prefixes {
            self.routes.limit(self.config.max_prefixes.and_then(MaxPrefixes::most_taken));
        }
        let session_reopens =
            self.common.settings(&old).change_to(&settings) == proxima_bgp_session::Change::Reopen;
        self.handle(Input::Reconfigure(Box::new(settings)));
        if effect == Effect::Reopened && !session_reopens {
            self.handle(Input::Reset);
        }
        for connection in &self.connections {
            self.shape(connection, old.distance != self.config.distance);
        }
        if old.shutdown != self.config.shutdown {
            match self.config.shutdown.clone() {
                Some(reason) => self.handle(Input::Shutdown { reason, drain: Duration::ZERO }),
                None => self.handle(Input::Up),
            }
        }
        if matches!(self.config.remote, Remote::Interface { .. }) {
            self.guard_neighbour();
        }
    }

    /// What of the configuration is set on live connections.
    fn shape(&self, connection: &Connection, distance: bool) {
        let (stream, internal) = (connection.stream(), self.common.internal(&self.config));
        let ipv6 = connection.local.is_some_and(|local| local.is_ipv6());
        if distance && let Err(error) = socket::apply_distance(stream, ipv6, self.config.distance, internal) {
            tracing::warn!(peer = %self.config.name, "BGP: cannot set the TTL: {error}");
        }
        socket::apply_timers(stream, &self.config);
    }

    /// The router at the end of the link has shown itself: no reason to wait any longer.
    fn neighbour_found(&mut self) {
        self.guard_neighbour();
        self.handle(Input::PeerFound);
    }

    fn guard_neighbour(&self) {
        let found = self.discovery.as_ref().and_then(Discovery::now);
        if let (Some(found), Some(roster)) = (found, self.ports.roster.upgrade()) {
            roster.guard_neighbour(&self.config, found.ip());
        }
    }

    /// Does what the session wants, until it wants nothing that can be done now.
    fn pump(&mut self) {
        loop {
            self.carry_out();
            self.make_updates();
            self.carry_out();
            if !self.write() {
                break;
            }
        }
        while self.lingering.try_join_next().is_some() {}
        self.routes.hand_over();
        self.watch_over_member();
        self.publish();
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Connect { connection } => self.connect(connection),
                Output::Send { connection, bytes } => {
                    if let Some(connection) = self.connections.iter_mut().find(|c| c.id == connection) {
                        connection.queue(&bytes);
                    }
                }
                Output::Close { connection } => self.close(connection),
                Output::StateChanged { from, to, cause } => self.state_changed(from, to, cause),
                Output::Rib(change) => self.route_change(change),
                Output::Problem(problem) => self.problem(problem),
            }
        }
    }

    /// Members of ranges are forgotten some time after their last connection.
    fn watch_over_member(&mut self) {
        let member = self.config.name.as_member().is_some();
        if !member || !self.connections.is_empty() {
            self.forget_at = None;
        } else if self.forget_at.is_none() {
            self.forget_at = Some(Instant::now() + self.config.forget_after);
        }
    }

    fn may_be_forgotten(&mut self) -> bool {
        self.forget_at = None;
        let roster = self.ports.roster.upgrade();
        // Routes that are kept for a peer that restarts keep the peer too.
        self.routes.none_held()
            && roster.is_some_and(|roster| roster.retire(&self.config.name, &self.ports.accepted))
    }

    /// Takes leave, and waits until the last words are delivered or their time is over.
    async fn leave(mut self, leave: Leave) {
        self.ports.accepted.close();
        self.handle(Input::Stop(leave));
        let deadline = Instant::now() + LEAVE_TIME;
        self.pump();
        while !self.connections.is_empty() {
            match timeout_at(deadline.into(), self.next()).await {
                Err(_) | Ok(Happening::Abandoned) => break,
                Ok(Happening::Command(_) | Happening::Accepted(_)) => {}
                Ok(happening) => self.happened(happening),
            }
            self.pump();
        }
        while timeout_at(deadline.into(), self.lingering.join_next()).await.is_ok_and(|ended| ended.is_some())
        {
        }
        self.farewell().await;
    }

    /// The last the RIB hears of the peer.
    async fn farewell(self) {
        self.publish();
        let Self { routes, ports, .. } = self;
        drop(ports); // from here on, the peer is gone for everybody else
        routes.farewell().await;
    }

    /// Hands out what a successor needs and stands still until it is known that there is none.
    async fn hand_over(&mut self, answer: oneshot::Sender<Handed>, mut end: watch::Receiver<()>) {
        let ends = self.session.status().timers.drain;
        let down = self.session.shutdown_reason().map(|reason| Down {
            name: self.config.name.clone(),
            reason: reason.to_owned(),
            drain: ends.map(|at| at.saturating_duration_since(Instant::now())).unwrap_or_default(),
        });
        // Whom the configuration has shut down, that of the successor may have up.
        let by_order = down.clone().filter(|down| self.config.shutdown.as_ref() != Some(&down.reason));
        let session = self.detached();
        let established = session.is_some();
        let routes = self.question();
        // Nobody who waits for it is nobody who takes it.
        answer.send(Handed { session, routes, down: by_order }).ok();
        while end.changed().await.is_ok() {}
        if established {
            self.handle(Input::Up);
            if let Some(Down { reason, .. }) = down {
                let left = ends.map(|at| at.saturating_duration_since(Instant::now()));
                self.handle(Input::Shutdown { reason, drain: left.unwrap_or_default() });
            }
        }
    }

    /// What to ask the table for, where it has all that the peer has sent.
    fn question(&self) -> Option<Question> {
        let Status { terms, complete, .. } = self.session.status();
        let negotiated = terms.filter(|_| !self.routes.pending())?.negotiated;
        Some(Question { peer: self.ports.id, negotiated, complete })
    }

    /// The established session, for another process; it stands still from now on. None where there is none, or where its
    /// connection can't be shared: then it goes on as it is.
    fn detached(&mut self) -> Option<DetachedPeer> {
        // A session that stands still hears of no connection that breaks, so what has to be written is written before.
        self.pump();
        let established = self.session.established()?;
        let connection = self.connections.iter().find(|connection| connection.id == established)?;
        let shared = connection
            .duplicate()
            .inspect_err(|error| tracing::warn!(peer = %self.config.name, "BGP: not handed over: {error}"))
            .ok()?;
        self.handle(Input::Stop(Leave::Upgrade));
        self.carry_out();
        let snapshot = self.session.detach(Instant::now())?;
        Some(DetachedPeer::new(&self.config, shared, snapshot))
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests;
