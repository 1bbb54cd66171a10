//! The task of one backend. It owns the tracker and does what the tracker asks for.
//!
//! Waits for, first of them first: the confirming connect, the probe, the end of the standing connection, the next
//! probe's time. Each is cancel-safe: the first two are futures kept across turns, the others lose nothing.

use std::{net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use proxima_health::{BackendTracker, Failure, Input, Loss, Output, Phase, Settings, Verdict};
use proxima_types::BackendId;
use tokio::{
    net::TcpStream,
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tracing::debug;

use crate::{
    Checks, ProbeEvent, ProbeKind, ProbeTarget,
    connect::{Deadline, confirm, connect},
    http::{self, Answer, Interrupted},
    rtt::Rtt,
    shortage::{Shortage, Sight},
    standing::Standing,
};

type Running<T> = Option<Pin<Box<dyn Future<Output = T> + Send>>>;

pub(crate) struct Task {
    backend: BackendId,
    address: SocketAddr,
    timeout: Duration,
    /// `None`: a connection is all that is asked for.
    question: Option<Arc<Question>>,
    tracker: BackendTracker,
    standing: Option<Standing>,
    probe: Running<Probed>,
    confirm: Running<Result<(), Failure>>,
    rtt: Rtt,
    shortage: Shortage,
    sight: Sight,
    /// When the running probe was asked for.
    asked_at: std::time::Instant,
    checks: Checks,
    events: mpsc::Sender<ProbeEvent>,
}

/// What an HTTP probe asks.
struct Question {
    request: Vec<u8>,
    expect: u16,
}

/// How a probe ended.
enum Probed {
    /// With an outcome.
    Done {
        outcome: Result<(), Failure>,
        /// The connection to leave standing.
        standing: Option<Standing>,
        /// How long a new connection took.
        connected_in: Option<Duration>,
    },
    /// The standing connection was lost before any answer: nothing is known yet.
    Stale { loss: Loss, deadline: Deadline },
}

/// Nobody receives events any more.
struct Deserted;

impl Task {
    pub(crate) fn new(
        target: ProbeTarget,
        settings: Settings,
        seed: u64,
        shortage: Shortage,
        checks: Checks,
        events: mpsc::Sender<ProbeEvent>,
    ) -> Self {
        let ProbeTarget { backend, address, kind, timeout, .. } = target;
        let question = match kind {
            ProbeKind::Tcp => None,
            ProbeKind::Http { path, host, expect } => {
                Some(Arc::new(Question { request: http::request(&path, host.as_deref(), address), expect }))
            }
        };
        Self {
            backend,
            address,
            timeout,
            question,
            tracker: BackendTracker::new(settings, seed, now()),
            standing: None,
            probe: None,
            confirm: None,
            rtt: Rtt::default(),
            shortage,
            sight: Sight::default(),
            asked_at: now(),
            checks,
            events,
        }
    }

    /// Probes until nobody receives the events.
    pub(crate) async fn run(mut self) {
        while self.act().await.is_ok() {
            tokio::select! {
                biased;
                outcome = finish(&mut self.confirm) => {
                    self.confirm = None;
                    self.note_sight(&outcome);
                    self.tracker.handle(now(), Input::Confirmed(outcome));
                }
                probed = finish(&mut self.probe) => {
                    self.probe = None;
                    self.probed(probed);
                }
                loss = lost(&mut self.standing) => {
                    self.standing = None;
                    self.standing_lost(loss);
                }
                () = due(self.tracker.poll_timeout()) => self.tracker.handle_timeout(now()),
                () = self.events.closed() => break,
            }
        }
    }

    /// Does what the tracker asks for.
    async fn act(&mut self) -> Result<(), Deserted> {
        while let Some(output) = self.tracker.poll_output() {
            match output {
                Output::Probe => {
                    let standing = self.standing.take_if(|standing| standing.is_usable());
                    self.asked_at = now();
                    self.start_probe(standing, Deadline::after(self.timeout));
                }
                Output::Confirm => {
                    let deadline = Deadline::after(self.timeout);
                    self.confirm = Some(Box::pin(confirm(self.address, deadline)));
                }
                Output::Abandon => self.probe = None,
                Output::Verdict(verdict) => self.tell(verdict).await?,
            }
        }
        Ok(())
    }

    fn start_probe(&mut self, standing: Option<Standing>, deadline: Deadline) {
        let address = self.address;
        self.probe = Some(match (self.question.clone(), standing) {
            (None, _) => Box::pin(probe_tcp(address, deadline)),
            (Some(question), None) => Box::pin(probe_http(address, question, deadline)),
            (Some(question), Some(standing)) => Box::pin(probe_again(standing, question, deadline)),
        });
    }

    fn probed(&mut self, probed: Probed) {
        match probed {
            Probed::Done { outcome, standing, connected_in } => {
                if let Err(failure) = &outcome {
                    debug!(backend = %self.backend, %failure, "probe failed");
                }
                self.note_sight(&outcome);
                self.note_end(&outcome);
                self.standing = standing.or(self.standing.take());
                self.tracker.handle(now(), Input::Probed(outcome));
                if let Some(sample) = connected_in {
                    self.measured(sample);
                }
            }
            Probed::Stale { loss, deadline } => {
                self.standing_lost(loss);
                self.start_probe(None, deadline);
            }
        }
    }

    fn note_sight(&mut self, outcome: &Result<(), Failure>) {
        self.shortage.note(now(), &mut self.sight, &self.backend, outcome);
    }

    /// What this host could not do is no end of a probe.
    fn note_end(&self, outcome: &Result<(), Failure>) {
        if !outcome.as_ref().is_err_and(Failure::is_local) {
            self.checks.note(&self.backend, self.asked_at, now(), outcome.is_ok());
        }
    }

    fn standing_lost(&mut self, loss: Loss) {
        debug!(backend = %self.backend, "{loss}");
        self.tracker.handle(now(), Input::StandingLost(loss));
    }

    fn measured(&mut self, sample: Duration) {
        if let Some(rtt) = self.rtt.sample(sample) {
            let event = ProbeEvent::Rtt { backend: self.backend.clone(), rtt };
            if self.events.try_send(event).is_ok() {
                self.rtt.told(rtt);
            }
        }
    }

    async fn tell(&mut self, verdict: Verdict) -> Result<(), Deserted> {
        let Verdict { from, to, reason, at, evidence_at } = verdict;
        let backend = self.backend.clone();
        let event = ProbeEvent::Verdict { backend, from, to, reason, at, evidence_at };
        self.events.send(event).await.map_err(|_| Deserted)
    }
}

async fn probe_tcp(address: SocketAddr, deadline: Deadline) -> Probed {
    match connect(address, deadline).await {
        Ok((stream, took)) => Probed::Done {
            outcome: Ok(()),
            standing: Some(Standing::silent(stream)),
            connected_in: Some(took),
        },
        Err(failure) => Probed::Done { outcome: Err(failure), standing: None, connected_in: None },
    }
}

async fn probe_http(address: SocketAddr, question: Arc<Question>, deadline: Deadline) -> Probed {
    match connect(address, deadline).await {
        Ok((stream, took)) => {
            let (result, stream) = ask(stream, &question, deadline).await;
            Probed::Done {
                outcome: result.map_err(|interrupted| interrupted.failure),
                standing: stream.map(Standing::kept_alive),
                connected_in: Some(took),
            }
        }
        Err(failure) => Probed::Done { outcome: Err(failure), standing: None, connected_in: None },
    }
}

async fn probe_again(standing: Standing, question: Arc<Question>, deadline: Deadline) -> Probed {
    let (stream, uses_left) = standing.into_stream();
    let (result, stream) = ask(stream, &question, deadline).await;
    match result {
        Err(Interrupted { failure: Failure::Closed, answer_begun: false }) => {
            Probed::Stale { loss: Loss::Closed, deadline }
        }
        Err(Interrupted { failure: Failure::Reset, answer_begun: false }) => {
            Probed::Stale { loss: Loss::Reset, deadline }
        }
        result => Probed::Done {
            outcome: result.map_err(|interrupted| interrupted.failure),
            standing: stream.map(|stream| Standing::again(stream, uses_left)),
            connected_in: None,
        },
    }
}

/// Asks once over `stream`; gives it back if it can be used again.
async fn ask(
    mut stream: TcpStream,
    question: &Question,
    deadline: Deadline,
) -> (Result<(), Interrupted>, Option<TcpStream>) {
    let exchange = async { Ok(http::exchange(&mut stream, &question.request).await) };
    let answer = match deadline.run(Phase::Answer, exchange).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(interrupted)) => return (Err(interrupted), None),
        Err(failure) => return (Err(Interrupted { failure, answer_begun: true }), None),
    };
    let Answer { status: received, reusable } = answer;
    let outcome = if received == question.expect {
        Ok(())
    } else {
        let failure = Failure::Status { expected: question.expect, received };
        Err(Interrupted { failure, answer_begun: true })
    };
    (outcome, reusable.then_some(stream))
}

async fn finish<T>(running: &mut Running<T>) -> T {
    match running {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

async fn lost(standing: &mut Option<Standing>) -> Loss {
    match standing {
        Some(standing) => standing.lost().await,
        None => std::future::pending().await,
    }
}

async fn due(at: Option<std::time::Instant>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

pub(crate) fn now() -> std::time::Instant {
    Instant::now().into_std()
}
