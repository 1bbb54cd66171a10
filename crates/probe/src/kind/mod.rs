//! The kinds of probes, one file each.

pub(crate) mod agent;
pub(crate) mod answer;
pub(crate) mod dns;
pub(crate) mod exec;
pub(crate) mod grpc;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod http3;
pub(crate) mod postgres;
pub(crate) mod quic;
pub(crate) mod redis;
pub(crate) mod tcp;
pub(crate) mod tls;

use std::{pin::Pin, sync::Arc, time::Duration};

use proxima_health::{Failure, Findings, Loss};
use proxima_probe_kind::{Http, HttpVersion, ProbeKind};
use tokio::{sync::Semaphore, time::Instant};

use crate::{
    path::{Deadline, Path},
    slots::Slots,
    standing::Standing,
};

/// What a kind of probe does. Implemented by what is asked, made ready once for a backend.
pub(crate) trait Check: Send + Sync + 'static {
    /// Asks once, over `standing` if there is one and it will do, else over a new connection. Has to end by `deadline`.
    /// Dropped when newer evidence has decided.
    fn check(
        &self,
        path: &Path,
        standing: Option<Standing>,
        deadline: Deadline,
    ) -> impl Future<Output = Checked> + Send;

    /// Where it waits for its turn.
    fn slots(call: &Call) -> &Slots {
        &call.slots
    }

    /// Whether the app still listens, asked after hard evidence: refused, reset, closed, a standing connection lost. Must
    /// not be deceived by an app that is just dying.
    fn confirm(&self, path: &Path, deadline: Deadline) -> impl Future<Output = Result<(), Failure>> + Send {
        path.confirm(deadline)
    }
}

/// How a probe ended.
#[derive(Debug)]
pub(crate) enum Checked {
    /// With an outcome.
    Done {
        outcome: Result<Findings, Failure>,
        /// The connection to leave standing in place of the one before.
        standing: Option<Standing>,
        /// How long a new TCP connection took.
        connected_in: Option<Duration>,
    },
    /// The standing connection was lost before any answer: nothing is known yet, and the probe begins anew without it.
    Stale(Loss),
}

impl From<Result<Findings, Failure>> for Checked {
    fn from(outcome: Result<Findings, Failure>) -> Self {
        Self::Done { outcome, standing: None, connected_in: None }
    }
}

impl From<Failure> for Checked {
    fn from(failure: Failure) -> Self {
        Err(failure).into()
    }
}

/// Something that runs apart from its task.
pub(crate) type Running<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// [`Check`] without its type, so that each probe's future is no larger than its kind needs.
pub(crate) trait Ask: Send + Sync {
    /// Waits for a slot, then asks once, by the deadline of `call`, or one from then on.
    fn ask(self: Arc<Self>, call: Call, standing: Option<Standing>) -> Running<Asked>;

    /// Asks whether the app still listens.
    fn ask_again(self: Arc<Self>, call: Call) -> Running<Result<(), Failure>>;
}

/// A probe that has ended.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) checked: Checked,
    /// By when it had to end.
    pub(crate) deadline: Deadline,
    /// When it had its slot.
    pub(crate) begun: Instant,
}

/// What all probes of a backend have in common.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) path: Arc<Path>,
    pub(crate) slots: Slots,
    pub(crate) confirming: Arc<Semaphore>,
    pub(crate) timeout: Duration,
    /// When it has to end, where it has begun already.
    pub(crate) deadline: Option<Deadline>,
    /// The probe before was a slow one.
    pub(crate) is_slow: bool,
}

impl<C: Check> Ask for C {
    fn ask(self: Arc<Self>, call: Call, standing: Option<Standing>) -> Running<Asked> {
        Box::pin(async move {
            let check = async {
                let deadline = call.deadline.unwrap_or_else(|| Deadline::after(call.timeout));
                (self.check(&call.path, standing, deadline).await, deadline)
            };
            let anew = async {
                let deadline = Deadline::after(call.timeout);
                (self.check(&call.path, None, deadline).await, deadline)
            };
            let ((checked, deadline), begun) = C::slots(&call).run(call.is_slow, check, anew).await;
            Asked { checked, deadline, begun }
        })
    }

    fn ask_again(self: Arc<Self>, call: Call) -> Running<Result<(), Failure>> {
        Box::pin(async move {
            // An error would mean that the semaphore is closed, which nobody does.
            let _slot = call.confirming.acquire().await;
            self.confirm(&call.path, Deadline::after(call.timeout)).await
        })
    }
}

/// What is asked of the backend at `path`, made ready.
pub(crate) fn question(kind: ProbeKind, path: &Path) -> Arc<dyn Ask> {
    match kind {
        ProbeKind::Tcp => Arc::new(tcp::Tcp),
        ProbeKind::Tls(handshake) => Arc::new(handshake),
        ProbeKind::Http(http) => http_question(http, path),
        ProbeKind::Quic(quic) => Arc::new(quic),
        ProbeKind::Grpc(grpc) => Arc::new(grpc::Question::new(grpc, path)),
        ProbeKind::Postgres(postgres) => Arc::new(postgres::Question::new(postgres)),
        ProbeKind::Redis(redis) => Arc::new(redis),
        ProbeKind::Dns(dns) => Arc::new(dns),
        ProbeKind::Exec(exec) => Arc::new(exec),
        ProbeKind::Agent(agent) => Arc::new(agent),
    }
}

fn http_question(http: Http, path: &Path) -> Arc<dyn Ask> {
    match http.version {
        HttpVersion::Http1 => Arc::new(http1::Question::new(http, path)),
        HttpVersion::Http2 => Arc::new(http2::Question::new(http, path)),
        HttpVersion::Http3 => Arc::new(http3::Question::new(http, path)),
    }
}
