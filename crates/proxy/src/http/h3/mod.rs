//! HTTP/3 connections of clients (RFC 9114), over the endpoints of [`crate::quic`].
//!
//! ```text
//! connection task: accept, GOAWAY, rest ─┬─ one task per request (`stream`, `relay`): its stream, its backend
//!                                        └─ one task per stream of the client's in one direction (`uni`): settings, QPACK
//! ```
//!
//! All of them are tasks of the connection's worker. What a client may have us hold is bounded by the windows of its
//! connection (`quic`): a stream is read only as fast as its backend takes what comes. Frames and field sections are the
//! business of `proxima-http3`. A message on a stream (`message`), and streams in one direction, are the same towards backends
//! that speak HTTP/3 (`origin`, [`crate::multiplexed`]).

mod message;
mod stream;
mod uni;

use std::{
    cell::Cell,
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use proxima_http1::Hop;
use proxima_http3::{Code, GOAWAY_MAX, goaway, server_control_stream};
use quinn::{Connection, RecvStream, SendStream, VarInt};
use rustls::pki_types::CertificateDer;

pub(in crate::http) use self::message::{Broken, Next};
pub(crate) use self::{
    message::{Receiving, Sending},
    uni::OneWay,
};
use super::{LINGER, cancels::Cancels, streams::Streams};
use crate::{
    entry::{Entry, Open},
    quic::Handshake,
    stats::{Misuse, ServiceCounters},
    timer::{Deadline, Timer},
    tls::Patience,
    worker::Worker,
};

/// From the word that a GOAWAY will follow to that: requests on their way until then are served.
const GRACE: Duration = Duration::from_millis(500);
/// The same where nobody is in a hurry: a successor takes new connections.
const SUCCEEDED_GRACE: Duration = Duration::from_secs(2);
/// Control frames that a request earns: clients say, and change, how urgent each is (RFC 9218).
const CONTROL_PER_REQUEST: u32 = 4;

/// What the tasks of one connection share.
struct Link {
    worker: Rc<Worker>,
    entry: Rc<Entry>,
    counters: Arc<ServiceCounters>,
    hop: Hop,
    connection: Connection,
    one_way: OneWay,
    cancels: Cell<Cancels>,
    next_second: Cell<Deadline>,
    streams: Rc<Streams>,
    open: Open,
}

impl Link {
    /// Closes the connection for what the client has done.
    fn fail(&self, code: Code) {
        if self.connection.close_reason().is_none() {
            self.counters.misused(misuse(code));
            tracing::debug!(peer = %self.connection.remote_address(), ?code, "HTTP/3 connection closed");
            self.connection.close(code.into_varint(), b"");
        }
    }

    /// A client has cancelled a request: that costs it, for what it has cost us.
    fn note_cancel(&self) {
        let timers = &self.worker.timers;
        let mut cancels = self.cancels.get();
        if timers.is_past(self.next_second.get()) {
            self.next_second.set(timers.deadline(Duration::from_secs(1)));
            cancels.next_second();
        }
        let is_affordable = cancels.spend();
        self.cancels.set(cancels);
        if !is_affordable && self.connection.close_reason().is_none() {
            self.counters.misused(Misuse::H3RapidReset);
            self.connection.close(Code::ExcessiveLoad.into_varint(), b"");
        }
    }

    fn note_whole(&self) {
        let mut cancels = self.cancels.get();
        cancels.earn();
        self.cancels.set(cancels);
    }
}

/// What a code of ours says of the client.
fn misuse(code: Code) -> Misuse {
    match code {
        Code::ExcessiveLoad => Misuse::H3Excess,
        Code::QpackDecompressionFailed | Code::QpackEncoderStreamError | Code::QpackDecoderStreamError => {
            Misuse::H3Compression
        }
        _ => Misuse::H3Protocol,
    }
}

/// Reads a stream in one direction.
async fn read(link: Rc<Link>, mut stream: RecvStream) {
    let streams = &link.streams;
    if let Err(code) = link.one_way.read(&mut stream, || streams.wake_connection()).await {
        link.fail(code);
    }
}

pub(crate) trait IntoVarInt {
    fn into_varint(self) -> VarInt;
}

impl IntoVarInt for Code {
    fn into_varint(self) -> VarInt {
        VarInt::from_u32(self.value())
    }
}

/// Serves the requests of one client from its handshake on, until the connection ends.
pub(crate) async fn serve(worker: Rc<Worker>, mut open: Open, handshake: Handshake) {
    let entry = open.entry().clone();
    let counters = entry.counters.clone();
    let timer = poll_fn(|cx| Poll::Ready(worker.timers.timer(cx))).await;
    let mut patience = Patience::new(&worker, &entry, &timer);
    let deadline = poll_fn(|_| if patience.is_over() { Poll::Ready(()) } else { Poll::Pending });
    let Ok(connection) = handshake.finish(deadline).await else { return };
    if open.count(connection.remote_address().ip()).is_err() {
        return connection.close(Code::ExcessiveLoad.into_varint(), b"");
    }
    // RFC 9114 §6.2: a client grants three at least, with its handshake; one that does not is not waited for.
    let control = match poll_fn(|cx| Poll::Ready(pin!(connection.open_uni()).poll(cx))).await {
        Poll::Ready(Ok(control)) => control,
        Poll::Ready(Err(_)) => return,
        Poll::Pending => {
            counters.misused(Misuse::H3Protocol);
            return connection.close(Code::GeneralProtocolError.into_varint(), b"");
        }
    };
    let peer = connection.remote_address().ip();
    let shown = connection.peer_identity().and_then(|shown| shown.downcast().ok());
    let shown: Vec<CertificateDer<'static>> = shown.map(|shown| *shown).unwrap_or_default();
    let hop = worker.hop(&entry, peer, "https", "3", &shown);
    let link = Rc::new(Link {
        worker,
        entry,
        streams: Streams::new(counters.clone()),
        counters,
        hop,
        connection,
        one_way: OneWay::of_client(),
        cancels: Cell::new(Cancels::new()),
        next_second: Cell::new(Deadline::PAST),
        open,
    });
    Driver::new(link.clone(), timer, control).run().await;
    link.connection.close(Code::NoError.into_varint(), b"");
}

/// What the connection does, and with it what its timer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Requests are open.
    Busy,
    /// None is open.
    Resting,
    /// A GOAWAY will follow.
    Leaving,
    /// It has followed; requests go on to their ends.
    Left,
    /// And none is open any more: what was sent last is on its way.
    Ending,
}

enum Event {
    Request(SendStream, RecvStream),
    Uni(RecvStream),
    End,
}

struct Driver {
    link: Rc<Link>,
    timer: Timer,
    control: SendStream,
    /// What the control stream has not taken yet.
    unsent: Vec<u8>,
    state: State,
    /// When the connection has rested long enough, if it does.
    rest_until: Deadline,
    /// The first stream that no request came on.
    next_stream: u64,
}

impl Driver {
    fn new(link: Rc<Link>, timer: Timer, control: SendStream) -> Self {
        let (state, unsent) = (State::Busy, server_control_stream());
        let mut driver =
            Self { link, timer, control, unsent, state, rest_until: Deadline::NEVER, next_stream: 0 };
        driver.enter(State::Resting);
        driver
    }

    async fn run(mut self) {
        loop {
            match self.next().await {
                Event::Request(send, receive) => self.start(send, receive),
                Event::Uni(stream) => {
                    tokio::task::spawn_local(read(self.link.clone(), stream));
                }
                Event::End => return,
            }
        }
    }

    async fn next(&mut self) -> Event {
        let link = self.link.clone();
        let mut bi = pin!(link.connection.accept_bi());
        let mut uni = pin!(link.connection.accept_uni());
        poll_fn(|cx| {
            match bi.as_mut().poll(cx) {
                Poll::Ready(Ok((send, receive))) => return Poll::Ready(Event::Request(send, receive)),
                Poll::Ready(Err(_)) => return Poll::Ready(Event::End),
                Poll::Pending => {}
            }
            if let Poll::Ready(Ok(stream)) = uni.as_mut().poll(cx) {
                return Poll::Ready(Event::Uni(stream));
            }
            self.poll_state(cx)
        })
        .await
    }

    fn poll_state(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        self.link.streams.register(cx);
        if self.link.entry.is_cut() {
            return Poll::Ready(Event::End);
        }
        if self.has_to_end() {
            self.leave();
        }
        self.watch();
        if self.state == State::Resting {
            if self.link.open.is_sent_away() {
                // With a GOAWAY: it holds no descriptor that others wait for.
                self.link.open.note_evicted();
                self.leave();
            } else {
                self.link.open.rest(cx);
            }
        }
        if self.timer.has_expired() {
            match self.state {
                State::Busy | State::Left => {}
                State::Resting => self.leave(),
                State::Leaving => {
                    self.unsent.extend(goaway(self.next_stream));
                    self.enter(State::Left);
                    self.watch();
                }
                State::Ending => return Poll::Ready(Event::End),
            }
        }
        self.poll_control(cx)
    }

    /// Sends what the control stream has to say.
    fn poll_control(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        while !self.unsent.is_empty() {
            match Pin::new(&mut self.control).poll_write(cx, &self.unsent) {
                Poll::Ready(Ok(count)) => drop(self.unsent.drain(..count)),
                Poll::Ready(Err(_)) => {
                    // RFC 9114 §6.2.1: nobody may stop it.
                    self.link.fail(Code::ClosedCriticalStream);
                    return Poll::Ready(Event::End);
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Pending
    }

    /// Moves on when requests have begun or ended.
    fn watch(&mut self) {
        let is_active = self.link.streams.are_active();
        match self.state {
            // RFC 9114 §5.2: the client has left, and waits for nothing.
            State::Busy | State::Resting if !is_active && self.link.one_way.goaway().is_some() => {
                self.enter(State::Ending);
            }
            State::Busy if !is_active => self.enter(State::Resting),
            State::Resting if is_active => self.enter(State::Busy),
            State::Left if !is_active => self.enter(State::Ending),
            _ => {}
        }
    }

    fn enter(&mut self, state: State) {
        if self.state == State::Busy {
            self.rest_until = self.link.worker.timers.deadline(self.link.worker.config.keep_alive);
        }
        self.state = state;
        match state {
            State::Busy | State::Left => self.timer.arm(Deadline::NEVER),
            State::Resting => self.timer.arm(self.rest_until),
            State::Leaving if self.link.worker.is_succeeded() => self.timer.arm_after(SUCCEEDED_GRACE),
            State::Leaving => self.timer.arm_after(GRACE),
            State::Ending => self.timer.arm_after(LINGER),
        }
    }

    /// Says that GOAWAY will follow, once.
    fn leave(&mut self) {
        if matches!(self.state, State::Busy | State::Resting) {
            self.unsent.extend(goaway(GOAWAY_MAX));
            self.enter(State::Leaving);
        }
    }

    /// Whether the client does better with its next request on another connection.
    fn has_to_end(&self) -> bool {
        let Link { worker, entry, streams, connection, .. } = &*self.link;
        worker.has_to_leave(entry)
            || (streams.are_active() && worker.config.displaced.contains(&connection.remote_address()))
    }

    fn start(&mut self, mut send: SendStream, mut receive: RecvStream) {
        let id = u64::from(VarInt::from(send.id()));
        if matches!(self.state, State::Left | State::Ending) && id >= self.next_stream {
            // RFC 9114 §5.2: nothing was done with it. Both fail only on a stream that is closed.
            let _ = send.reset(Code::RequestRejected.into_varint());
            let _ = receive.stop(Code::RequestRejected.into_varint());
            return;
        }
        self.next_stream = self.next_stream.max(id + 4);
        self.link.one_way.earn(CONTROL_PER_REQUEST);
        self.link.open.begin();
        let active = self.link.streams.begin();
        let link = self.link.clone();
        // Boxed as in HTTP/2.
        tokio::task::spawn_local(Box::pin(async move {
            let _active = active;
            stream::serve(link, send, receive).await;
        }));
    }
}
