//! The task of one peer: owns its session, its attempt to connect and its connections.
//!
//! ```text
//!  wait for one thing ─▶ hand it to the session ─▶ pump: outputs, UPDATEs, writes ─▶ publish the status ─▶ again
//! ```

use std::{future::poll_fn, pin::Pin, sync::Arc, task::Poll, time::Instant};

use bytes::BytesMut;
use proxima_bgp_session::{ConnectionId, Desired, Input, Output, Problem, ReceivedRoute, Session, State};
use proxima_types::{Prefix, RouteAttributes};
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};

use crate::{
    PeerConfig, PeerStatus, SpeakerEvent,
    connect::{self, connect},
    connection::{Connection, Read},
    event::EventSink,
};

/// No more UPDATEs are made while this many octets wait to be written.
pub(crate) const WATERMARK: usize = 64 * 1024;

/// Closed connections whose last words may be under way at once; beyond that, what can't be written now is dropped.
const MAX_LINGERING: usize = 16;

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
    Received(oneshot::Sender<Vec<(Prefix, ReceivedRoute)>>),
    Advertised(oneshot::Sender<Vec<(Prefix, Arc<RouteAttributes>)>>),
    /// Ends the task, once the last words are out.
    Stop(String),
}

/// The task's ends of what connects it to the speaker.
#[derive(Debug)]
pub(crate) struct Ports {
    pub(crate) wanted: watch::Receiver<Wanted>,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) accepted: mpsc::Receiver<TcpStream>,
    pub(crate) events: EventSink,
    pub(crate) status: watch::Sender<PeerStatus>,
}

/// An attempt under way.
struct Attempt {
    id: ConnectionId,
    outcome: Pin<Box<dyn Future<Output = Result<TcpStream, String>> + Send>>,
}

pub(crate) struct Peer {
    config: PeerConfig,
    session: Session,
    ports: Ports,
    attempt: Option<Attempt>,
    connections: Vec<Connection>,
    lingering: JoinSet<()>,
    buffer: BytesMut,
    created: Instant,
    /// The failure that was logged last; told again only when it changes or the session was up in between.
    warned: Option<String>,
}

/// The one thing that happened.
enum Happening {
    Wanted,
    Command(Command),
    Accepted(TcpStream),
    Attempt(Result<TcpStream, String>),
    Ready,
    Deadline,
    /// Every handle is gone: nobody steers any more.
    Abandoned,
}

impl Peer {
    pub(crate) fn new(config: PeerConfig, session: Session, ports: Ports, created: Instant) -> Self {
        Self {
            config,
            session,
            ports,
            attempt: None,
            connections: Vec::new(),
            lingering: JoinSet::new(),
            buffer: BytesMut::new(),
            created,
            warned: None,
        }
    }

    pub(crate) async fn run(mut self) {
        self.take_wanted();
        self.session.handle(Instant::now(), Input::ManualStart);
        loop {
            self.pump();
            match self.next().await {
                Happening::Wanted => self.take_wanted(),
                Happening::Command(Command::Stop(reason)) => return self.stop(reason).await,
                Happening::Abandoned => return,
                Happening::Command(command) => self.command(command),
                Happening::Accepted(stream) => self.accepted(stream),
                Happening::Attempt(outcome) => self.attempt_ended(outcome),
                Happening::Ready => self.read(),
                Happening::Deadline => {
                    // What the peer sent in time counts, even if this task is late.
                    self.read();
                    self.session.handle_timeout(Instant::now());
                }
            }
        }
    }

    async fn next(&mut self) -> Happening {
        let Self { session, ports, attempt, connections, .. } = self;
        let deadline = session.poll_timeout();
        let expired = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        let ready = poll_fn(|cx| {
            let any = connections.iter().any(|connection| connection.poll_ready(cx).is_ready());
            if any { Poll::Ready(()) } else { Poll::Pending }
        });
        let attempted = poll_fn(|cx| match attempt {
            Some(attempt) => attempt.outcome.as_mut().poll(cx),
            None => Poll::Pending,
        });
        tokio::select! {
            changed = ports.wanted.changed() => changed.map_or(Happening::Abandoned, |()| Happening::Wanted),
            command = ports.commands.recv() => command.map_or(Happening::Abandoned, Happening::Command),
            Some(stream) = ports.accepted.recv() => Happening::Accepted(stream),
            outcome = attempted => Happening::Attempt(outcome),
            () = ready => Happening::Ready,
            () = expired => Happening::Deadline,
        }
    }

    fn take_wanted(&mut self) {
        let wanted = self.ports.wanted.borrow_and_update().clone();
        let now = Instant::now();
        self.session.handle(now, Input::SetDesired(wanted.desired));
        if wanted.end_of_rib {
            self.session.handle(now, Input::ReleaseEndOfRib);
        }
    }

    /// An asker who went away is no error.
    fn command(&mut self, command: Command) {
        match command {
            Command::Reset => self.session.handle(Instant::now(), Input::Reset),
            Command::Received(answer) => {
                let routes = self.session.adj_rib_in().iter().map(|(prefix, route)| (prefix, route.clone()));
                answer.send(routes.collect()).ok();
            }
            Command::Advertised(answer) => {
                let routes = self.session.adj_rib_out().sent().map(|(prefix, route)| (prefix, route.clone()));
                answer.send(routes.collect()).ok();
            }
            Command::Stop(reason) => self.session.handle(Instant::now(), Input::ManualStop { reason }),
        }
    }

    fn accepted(&mut self, stream: TcpStream) {
        connect::set_up(&stream);
        let connection = Connection::new(self.session.next_connection(), stream);
        let Some(local) = connection.local else { return };
        let connection_id = connection.id;
        self.connections.push(connection);
        let input = Input::Accepted { connection: connection_id, local: local.ip() };
        self.session.handle(Instant::now(), input);
    }

    fn attempt_ended(&mut self, outcome: Result<TcpStream, String>) {
        let Some(Attempt { id, .. }) = self.attempt.take() else { return };
        let outcome = outcome.map(|stream| Connection::new(id, stream)).and_then(|connection| {
            let local = connection.local.ok_or("the connection broke at once")?;
            Ok((connection, local.ip()))
        });
        let input = match outcome {
            Ok((connection, local)) => {
                self.connections.push(connection);
                Input::Connected { connection: id, local }
            }
            Err(error) => Input::ConnectFailed { connection: id, error },
        };
        self.session.handle(Instant::now(), input);
    }

    /// Takes one chunk from each connection.
    fn read(&mut self) {
        for connection in &self.connections {
            let input = match connection.read(&mut self.buffer) {
                Read::Bytes(bytes) => Input::Received { connection: connection.id, bytes },
                Read::Ended(error) => Input::Closed { connection: connection.id, error },
                Read::Nothing => continue,
            };
            self.session.handle(Instant::now(), input);
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
        self.publish();
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Connect { connection } => {
                    let outcome = Box::pin(connect(self.config.clone()));
                    self.attempt = Some(Attempt { id: connection, outcome });
                }
                Output::Send { connection, bytes } => {
                    if let Some(connection) = self.connections.iter_mut().find(|c| c.id == connection) {
                        connection.queue(&bytes);
                    }
                }
                Output::Close { connection } => self.close(connection),
                Output::StateChanged { from, to, cause } => {
                    self.log_state(from, to, &cause.to_string());
                    let peer = self.config.name.clone();
                    self.tell(SpeakerEvent::StateChanged { peer, from, to, cause, at: Instant::now() });
                }
                Output::RoutesReceived(routes) => {
                    let peer = self.config.name.clone();
                    self.tell(SpeakerEvent::RoutesReceived { peer, routes, at: Instant::now() });
                }
                Output::Problem(problem) => self.problem(problem),
            }
        }
    }

    fn close(&mut self, id: ConnectionId) {
        self.attempt.take_if(|attempt| attempt.id == id);
        if let Some(at) = self.connections.iter().position(|connection| connection.id == id) {
            let mut connection = self.connections.swap_remove(at);
            if self.lingering.len() < MAX_LINGERING {
                self.lingering.spawn(connection.linger());
            } else {
                connection.flush(|_| {}).ok(); // it is closed either way
            }
        }
    }

    fn make_updates(&mut self) {
        let Some(established) = self.session.established() else { return };
        let Some(connection) = self.connections.iter_mut().find(|c| c.id == established) else { return };
        while connection.backlog() < WATERMARK
            && let Some(batch) = self.session.poll_update()
        {
            connection.queue_update(&batch.bytes, batch.content);
        }
    }

    /// Writes on every connection; whether anything came of it.
    fn write(&mut self) -> bool {
        let mut moved = Vec::new();
        let mut broken = Vec::new();
        for connection in &mut self.connections {
            let (events, peer) = (&self.ports.events, &self.config.name);
            let written = connection.flush(|content| {
                let at = Instant::now();
                events.send(SpeakerEvent::UpdateSent { peer: peer.clone(), content, at });
            });
            match written {
                Ok(0) => {}
                Ok(_) => moved.push(connection.id),
                Err(error) => broken.push((connection.id, error.to_string())),
            }
        }
        let anything = !moved.is_empty() || !broken.is_empty();
        for connection in moved {
            self.session.handle(Instant::now(), Input::Written { connection });
        }
        for (connection, error) in broken {
            self.session.handle(Instant::now(), Input::Closed { connection, error });
        }
        anything
    }

    fn problem(&mut self, problem: Problem) {
        let text = problem.to_string();
        if matches!(problem, Problem::NoAnswer) {
            if self.warned.as_ref() == Some(&text) {
                return;
            }
            self.warned = Some(text.clone());
        }
        tracing::warn!(peer = %self.config.name, address = %self.config.remote, "BGP: {text}");
        let peer = self.config.name.clone();
        self.tell(SpeakerEvent::Problem { peer, problem, at: Instant::now() });
    }

    fn log_state(&mut self, from: State, to: State, cause: &str) {
        let (peer, address) = (&self.config.name, &self.config.remote);
        match (from, to) {
            (_, State::Established) => {
                self.warned = None;
                tracing::info!(%peer, %address, "BGP session established");
            }
            (State::Established, _) => {
                tracing::warn!(%peer, %address, "BGP session lost: {cause}");
            }
            // Failures end in Idle or Active; each is told once, not at every attempt.
            (_, State::Idle | State::Active)
                if from != State::Idle && self.warned.as_deref() != Some(cause) =>
            {
                self.warned = Some(cause.to_owned());
                tracing::warn!(%peer, %address, "no BGP session, retrying: {cause}");
            }
            _ => tracing::debug!(%peer, %address, %from, %to, "BGP: {cause}"),
        }
    }

    fn tell(&self, event: SpeakerEvent) {
        self.ports.events.send(event);
    }

    fn publish(&self) {
        let session = self.session.status();
        let connection = self.connections.iter().find(|connection| Some(connection.id) == session.connection);
        self.ports.status.send_replace(PeerStatus {
            name: self.config.name.clone(),
            configured: self.config.remote.clone(),
            port: self.config.port,
            remote_as: self.config.remote_as,
            since: session.since.unwrap_or(self.created),
            local: connection.and_then(|connection| connection.local),
            remote: connection.and_then(|connection| connection.remote),
            session,
        });
    }

    /// Cease, and wait until it is delivered or its deadline has passed.
    async fn stop(mut self, reason: String) {
        self.command(Command::Stop(reason));
        self.pump();
        while self.lingering.join_next().await.is_some() {}
        self.publish();
    }
}
