//! Commands to the control task, and the handle that sends them.

use std::{net::IpAddr, time::Duration};

use proxima_api::{
    AdvertisedRoutes, Backends, BfdSessions, By, Certificates, DrainRequest, DrainStatus, ErrorBody,
    OrderRequest, Ordered, PeerCommanded, Peers, ReceivedQuery, ReceivedRoutes, ReloadRequest, Reloaded,
    Renewing, RestartRequest, Restarting, RouteFilter, RouteLookup, RoutesSummary, Status, UpgradeRequest,
    Upgraded, paths, patience,
};
use proxima_bgp_speaker::CommandError;
use proxima_types::{PeerName, ServiceName};
use tokio::{
    sync::{
        mpsc::{self, Receiver, Sender},
        oneshot,
    },
    time::timeout,
};

use crate::traffic::Counts;

const QUEUED_COMMANDS: usize = 64;

/// Where an answer goes. The asker may be gone by then.
pub(crate) type Reply<T> = oneshot::Sender<T>;

/// What the control task is asked.
#[derive(Debug)]
pub(crate) enum Command {
    /// The daemon at a glance.
    Status(Reply<Status>),
    /// All peers.
    Peers(Reply<Peers>),
    /// Routes the peers were sent.
    Advertised(RouteFilter, Reply<AdvertisedRoutes>),
    /// A page of the routes the peers sent.
    Received(ReceivedQuery, Reply<Result<ReceivedRoutes, CommandRefusal>>),
    /// The paths to an address.
    Lookup(IpAddr, Reply<Result<RouteLookup, CommandRefusal>>),
    /// How much peers sent.
    RoutesSummary(Reply<Result<RoutesSummary, CommandRefusal>>),
    /// All BFD sessions.
    Bfd(Reply<BfdSessions>),
    /// Something for one peer.
    Peer(PeerName, PeerVerb, Reply<Result<PeerCommanded, CommandRefusal>>),
    /// All backends.
    Backends(Reply<Backends>),
    /// All certificates of services.
    Certificates(Reply<Certificates>),
    /// Order the certificate of a service now.
    Renew(ServiceName, Reply<Result<Renewing, CommandRefusal>>),
    /// What the data plane counted.
    Traffic(Reply<Counts>),
    /// Order something for groups.
    Order(OrderRequest, By, Reply<Result<Ordered, CommandRefusal>>),
    /// Take this PoP out of anycast.
    Drain(DrainRequest, By, Reply<DrainStatus>),
    /// Put it back.
    Undrain(By, Reply<DrainStatus>),
    /// Read the configuration again.
    Reload(ReloadRequest, Reply<Result<Reloaded, CommandRefusal>>),
    /// Hand over to another process.
    Upgrade(UpgradeRequest, Reply<Result<Upgraded, CommandRefusal>>),
    /// Leave without a word and begin anew.
    Restart(RestartRequest, Reply<Result<Restarting, CommandRefusal>>),
}

/// What a peer's session can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PeerVerb {
    /// Begin anew.
    Reset,
    /// Have the routes sent again.
    Refresh,
    /// Down, with words for the peer's operator.
    Shutdown(String),
    /// Up again.
    Up,
}

/// Why something is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CommandRefusal {
    /// There is nothing of that name.
    Unknown(ErrorBody),
    /// Not as things stand.
    Conflict(ErrorBody),
    /// Not with such a configuration.
    Unprocessable(ErrorBody),
    /// The daemon takes no commands any more.
    Stopping,
}

impl std::fmt::Display for CommandRefusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown(body) | Self::Conflict(body) | Self::Unprocessable(body) => {
                f.write_str(&body.error)
            }
            Self::Stopping => f.write_str("the daemon is stopping"),
        }
    }
}

impl CommandRefusal {
    /// That there is nothing of the name.
    pub(crate) fn unknown(error: impl Into<String>, hint: impl Into<String>) -> Self {
        let (error, hint) = (error.into(), Some(hint.into()));
        Self::Unknown(ErrorBody { error, details: Vec::new(), hint })
    }

    /// That things stand otherwise.
    pub(crate) fn conflict(error: impl Into<String>, hint: impl Into<String>) -> Self {
        let (error, hint) = (error.into(), Some(hint.into()));
        Self::Conflict(ErrorBody { error, details: Vec::new(), hint })
    }
}

impl From<CommandError> for CommandRefusal {
    fn from(error: CommandError) -> Self {
        let body = |error: String, hint: String| ErrorBody { error, details: Vec::new(), hint: Some(hint) };
        match error {
            CommandError::UnknownPeer { name, known } => {
                let hint = match known.as_slice() {
                    [] => "none is configured".to_owned(),
                    known => format!("peers: {}", known.join(", ")),
                };
                Self::Unknown(body(format!("there is no peer `{name}`"), hint))
            }
            CommandError::Stopped => Self::Stopping,
            error => Self::Conflict(body(error.to_string(), "see `proxima peers`".to_owned())),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ControlError {
    /// The control task takes no commands any more.
    #[error("the daemon is stopping")]
    Stopping,
    /// The control task neither answers nor ends.
    #[error("the control task has not answered for {} s", .0.as_secs())]
    Stuck(Duration),
}

/// The queue to the control task. When it is full, askers wait their turn, and give up when their time is over.
pub(crate) fn commands() -> (ControlClient, Receiver<Command>) {
    let (queue, commands) = mpsc::channel(QUEUED_COMMANDS);
    (ControlClient { queue }, commands)
}

/// Asks the control task.
#[derive(Clone)]
pub(crate) struct ControlClient {
    queue: Sender<Command>,
}

impl ControlClient {
    pub(crate) async fn status(&self) -> Result<Status, ControlError> {
        self.ask(Command::Status).await
    }

    pub(crate) async fn peers(&self) -> Result<Peers, ControlError> {
        self.ask(Command::Peers).await
    }

    pub(crate) async fn advertised(&self, filter: RouteFilter) -> Result<AdvertisedRoutes, ControlError> {
        self.ask(|reply| Command::Advertised(filter, reply)).await
    }

    pub(crate) async fn received(
        &self,
        query: ReceivedQuery,
    ) -> Result<Result<ReceivedRoutes, CommandRefusal>, ControlError> {
        self.ask(|reply| Command::Received(query, reply)).await
    }

    pub(crate) async fn lookup(
        &self,
        address: IpAddr,
    ) -> Result<Result<RouteLookup, CommandRefusal>, ControlError> {
        self.ask(|reply| Command::Lookup(address, reply)).await
    }

    pub(crate) async fn routes_summary(&self) -> Result<Result<RoutesSummary, CommandRefusal>, ControlError> {
        self.ask(Command::RoutesSummary).await
    }

    pub(crate) async fn bfd(&self) -> Result<BfdSessions, ControlError> {
        self.ask(Command::Bfd).await
    }

    pub(crate) async fn peer(
        &self,
        peer: PeerName,
        verb: PeerVerb,
    ) -> Result<Result<PeerCommanded, CommandRefusal>, ControlError> {
        self.ask(|reply| Command::Peer(peer, verb, reply)).await
    }

    pub(crate) async fn reload(
        &self,
        request: ReloadRequest,
    ) -> Result<Result<Reloaded, CommandRefusal>, ControlError> {
        self.ask_within(patience(paths::RELOAD), |reply| Command::Reload(request, reply)).await
    }

    pub(crate) async fn upgrade(
        &self,
        request: UpgradeRequest,
    ) -> Result<Result<Upgraded, CommandRefusal>, ControlError> {
        self.ask_within(patience(paths::UPGRADE), |reply| Command::Upgrade(request, reply)).await
    }

    pub(crate) async fn restart(
        &self,
        request: RestartRequest,
    ) -> Result<Result<Restarting, CommandRefusal>, ControlError> {
        self.ask(|reply| Command::Restart(request, reply)).await
    }

    pub(crate) async fn backends(&self) -> Result<Backends, ControlError> {
        self.ask(Command::Backends).await
    }

    pub(crate) async fn certificates(&self) -> Result<Certificates, ControlError> {
        self.ask(Command::Certificates).await
    }

    pub(crate) async fn renew(
        &self,
        service: ServiceName,
    ) -> Result<Result<Renewing, CommandRefusal>, ControlError> {
        self.ask(|reply| Command::Renew(service, reply)).await
    }

    pub(crate) async fn traffic(&self) -> Result<Counts, ControlError> {
        self.ask(Command::Traffic).await
    }

    pub(crate) async fn order(
        &self,
        request: OrderRequest,
        by: By,
    ) -> Result<Result<Ordered, CommandRefusal>, ControlError> {
        self.ask(|reply| Command::Order(request, by, reply)).await
    }

    pub(crate) async fn drain(&self, request: DrainRequest, by: By) -> Result<DrainStatus, ControlError> {
        self.ask(|reply| Command::Drain(request, by, reply)).await
    }

    pub(crate) async fn undrain(&self, by: By) -> Result<DrainStatus, ControlError> {
        self.ask(|reply| Command::Undrain(by, reply)).await
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, ControlError> {
        self.ask_within(patience(""), command).await
    }

    async fn ask_within<T>(
        &self,
        patience: Duration,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<T, ControlError> {
        let asked = async {
            let (reply, answer) = oneshot::channel();
            self.queue.send(command(reply)).await.map_err(|_| ControlError::Stopping)?;
            answer.await.map_err(|_| ControlError::Stopping)
        };
        timeout(patience, asked).await.unwrap_or(Err(ControlError::Stuck(patience)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stuck_control_task_is_told_apart_from_a_stopping_one() {
        let (client, commands) = commands();
        assert_eq!(client.undrain(By::Daemon).await, Err(ControlError::Stuck(Duration::from_secs(5))));
        let reload = client.reload(ReloadRequest::default()).await.unwrap_err();
        assert_eq!(reload.to_string(), "the control task has not answered for 30 s");
        drop(commands);
        assert_eq!(client.undrain(By::Daemon).await, Err(ControlError::Stopping));
    }
}
