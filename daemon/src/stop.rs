//! The order of a stop: GRACEFUL_SHUTDOWN, withdrawn, streams end.
//!
//! The groups' own drain is the first stage; this takes over when nothing is announced any more. Connections that
//! still arrive meanwhile are served: routers need a moment to forget the way.

use std::{future::pending, pin::Pin, sync::Arc, time::Instant};

use proxima_config::Drain;
use proxima_proxy::DataPlane;

/// A stop under way.
pub(crate) enum Stop {
    /// The groups announce GRACEFUL_SHUTDOWN.
    Graceful,
    /// Nothing is announced; still accepting until then.
    Withdrawn(Instant),
    /// No longer accepting; exchanges end by themselves, for a limited time. Tells how many were left; no task of its
    /// own, so that nothing holds the data plane when a second signal ends the stop.
    Streams(Pin<Box<dyn Future<Output = u64>>>),
}

impl Stop {
    /// Goes on to the next stage when its time has come.
    pub(crate) fn advance(
        &mut self,
        now: Instant,
        pace: &Drain,
        withdrawn: bool,
        data_plane: &Arc<DataPlane>,
    ) {
        match self {
            Self::Graceful if withdrawn => *self = Self::Withdrawn(now + pace.withdrawn),
            Self::Withdrawn(until) if *until <= now => {
                let (data_plane, deadline) = (Arc::clone(data_plane), pace.streams);
                *self = Self::Streams(Box::pin(async move { data_plane.drain(deadline).await }));
            }
            Self::Graceful | Self::Withdrawn(_) | Self::Streams(_) => {}
        }
    }

    /// When [`advance`](Self::advance) has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Withdrawn(until) => Some(*until),
            Self::Graceful | Self::Streams(_) => None,
        }
    }

    /// Whether connections are still accepted.
    pub(crate) fn accepts(&self) -> bool {
        !matches!(self, Self::Streams(_))
    }
}

/// Returns when the last exchange of a stop has ended, or its time is over. Cancel-safe.
pub(crate) async fn over(stop: Option<&mut Stop>) {
    match stop {
        Some(Stop::Streams(drain)) => {
            let open = drain.await;
            if open > 0 {
                tracing::warn!(open, "connections were still open when their time was over");
            }
        }
        Some(Stop::Graceful | Stop::Withdrawn(_)) | None => pending().await,
    }
}
