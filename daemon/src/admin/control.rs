//! Commands to the control task, and the handle that sends them.

use std::time::Duration;

use proxima_api::{
    AdvertisedRoutes, Backends, DrainRequest, DrainStatus, Peers, ReceivedRoutes, RouteFilter, Status,
};
use proxima_proxy::Stats;
use tokio::{
    sync::{
        mpsc::{self, Receiver, Sender},
        oneshot,
    },
    time::timeout,
};

const QUEUED_COMMANDS: usize = 64;
const PATIENCE: Duration = Duration::from_secs(5);

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
    /// Routes the peers sent.
    Received(RouteFilter, Reply<ReceivedRoutes>),
    /// All backends.
    Backends(Reply<Backends>),
    /// What the data plane counted.
    Traffic(Reply<Stats>),
    /// Take this PoP out of anycast.
    Drain(DrainRequest, Reply<DrainStatus>),
    /// Put it back.
    Undrain(Reply<DrainStatus>),
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ControlError {
    /// The control task takes no commands any more.
    #[error("the daemon is stopping")]
    Stopping,
    /// The control task neither answers nor ends.
    #[error("the control task has not answered for {} s", PATIENCE.as_secs())]
    Stuck,
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

    pub(crate) async fn received(&self, filter: RouteFilter) -> Result<ReceivedRoutes, ControlError> {
        self.ask(|reply| Command::Received(filter, reply)).await
    }

    pub(crate) async fn backends(&self) -> Result<Backends, ControlError> {
        self.ask(Command::Backends).await
    }

    pub(crate) async fn traffic(&self) -> Result<Stats, ControlError> {
        self.ask(Command::Traffic).await
    }

    pub(crate) async fn drain(&self, request: DrainRequest) -> Result<DrainStatus, ControlError> {
        self.ask(|reply| Command::Drain(request, reply)).await
    }

    pub(crate) async fn undrain(&self) -> Result<DrainStatus, ControlError> {
        self.ask(Command::Undrain).await
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, ControlError> {
        let asked = async {
            let (reply, answer) = oneshot::channel();
            self.queue.send(command(reply)).await.map_err(|_| ControlError::Stopping)?;
            answer.await.map_err(|_| ControlError::Stopping)
        };
        timeout(PATIENCE, asked).await.unwrap_or(Err(ControlError::Stuck))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stuck_control_task_is_told_apart_from_a_stopping_one() {
        let (client, commands) = commands();
        assert_eq!(client.undrain().await, Err(ControlError::Stuck));
        drop(commands);
        assert_eq!(client.undrain().await, Err(ControlError::Stopping));
    }
}
