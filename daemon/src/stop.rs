//! The order of a stop: GRACEFUL_SHUTDOWN, withdrawn, streams end.
//!
//! The groups' own drain is the first stage; this takes over when nothing is announced any more. Connections that
//! still arrive meanwhile are served: routers need a moment to forget the way.

use std::{sync::Arc, time::Instant};

use proxima_config::Drain;
use proxima_proxy::DataPlane;
use tokio::task::JoinHandle;

/// Where a stop stands.
pub(crate) enum Stage {
    /// The groups announce GRACEFUL_SHUTDOWN.
    Graceful,
    /// Nothing is announced; still accepting until then.
    Withdrawn(Instant),
    /// No longer accepting; exchanges end by themselves.
    Streams(JoinHandle<()>, Instant),
}

/// A stop under way.
pub(crate) struct Stop {
    stage: Stage,
}

impl Stop {
    pub(crate) fn new(stage: Stage) -> Self {
        Self { stage }
    }

    /// Goes on to the next stage when its time has come.
    pub(crate) fn advance(
        &mut self,
        now: Instant,
        pace: &Drain,
        withdrawn: bool,
        data_plane: &Arc<DataPlane>,
    ) {
        match &self.stage {
            Stage::Graceful if withdrawn => self.stage = Stage::Withdrawn(now + pace.withdrawn),
            Stage::Withdrawn(until) if *until <= now => {
                let (data_plane, deadline) = (Arc::clone(data_plane), pace.streams);
                let drain = tokio::spawn(async move {
                    let open = data_plane.drain(deadline).await;
                    if open > 0 {
                        tracing::warn!(open, "connections were still open when their time was over");
                    }
                });
                // The drain keeps to its deadline; this only looks whether it is over.
                self.stage = Stage::Streams(drain, now + LOOK);
            }
            Stage::Streams(_, look) if *look <= now => {
                if let Stage::Streams(_, look) = &mut self.stage {
                    *look = now + LOOK;
                }
            }
            Stage::Graceful | Stage::Withdrawn(_) | Stage::Streams(..) => {}
        }
    }

    /// When [`advance`](Self::advance) has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Graceful => None,
            Stage::Withdrawn(until) => Some(*until),
            Stage::Streams(_, look) => Some(*look),
        }
    }

    /// Whether the last exchange has ended, or its time is over.
    pub(crate) fn is_over(&self) -> bool {
        matches!(&self.stage, Stage::Streams(drain, _) if drain.is_finished())
    }
}

const LOOK: std::time::Duration = std::time::Duration::from_millis(20);
