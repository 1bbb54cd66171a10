//! A request on a stream of HTTP/2 or HTTP/3, from its parsed head on: where it goes, and what its client is told at the end.

use std::{future::poll_fn, rc::Rc, sync::Arc, task::Poll};

use bytes::Bytes;
use proxima_http1::{Fault, Hop, write_request};

use super::{
    Answer, LINGER, Scratch,
    attempts::{self, Refusal, Stop, Verdict, conclude},
    relay::{Client, Relay},
    streams::Streams,
};
use crate::{
    entry::{Entry, Open},
    stats::ServiceCounters,
    worker::Worker,
};

/// What the streams of one connection share.
pub(super) trait Link {
    fn worker(&self) -> &Rc<Worker>;
    fn entry(&self) -> &Rc<Entry>;
    fn counters(&self) -> &Arc<ServiceCounters>;
    /// What requests are told of this hop.
    fn hop(&self) -> &Hop;
    fn streams(&self) -> &Streams;
    fn open(&self) -> &Open;
}

/// A client's stream.
pub(super) trait OnStream: Client {
    type Link: Link;

    fn link(&self) -> &Rc<Self::Link>;
    /// What is said of this hop in responses from now on, where that is not what is said in those of HTTP/1.1 backends.
    fn answers_on(&mut self, hop: Option<Hop>);
    /// Sends the head of an answer of our own, as HTTP/1.1 writes it. `last`: nothing follows. Whether it is on its way.
    fn send_own_head(&mut self, text: &[u8], last: bool) -> bool;
    /// There is nothing more to do for it.
    fn conclude(&mut self, how: Conclusion);
}

/// How it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conclusion {
    /// The response is on its way as a whole.
    Whole,
    /// The client has left.
    Gone,
    /// What the client sends is malformed, and its response has begun.
    Malformed,
    /// As a connection of TCP ends by a reset (RFC 8441 §5, RFC 9220 §3): a tunnel, or what the client does not take.
    Cancelled,
    /// The response can't be whole.
    BrokenOff,
}

/// Serves the request whose head is parsed in `scratch`, from the text in its `response`. `to_head`: its method is HEAD.
pub(super) async fn serve<S: OnStream>(stream: &mut S, scratch: &mut Scratch, to_head: bool) {
    let link = stream.link().clone();
    let (worker, counters) = (link.worker().clone(), link.counters());
    // A place for the connection to the backend: with the client, if it does not rest, came one for the only stream.
    let has_place = link.open().resume().await;
    let place = (has_place && link.streams().are_several()).then(|| worker.admit_stream());
    if !has_place || matches!(place, Some(None)) {
        counters.shed.add(1);
        worker.tell_shed(link.entry());
        scratch.access.end("shed", None);
        return answer(stream, scratch, &Answer::overloaded(), to_head).await;
    }
    counters.requests.add(1);
    worker.retries.earn();
    let text = &scratch.response;
    let admitted = attempts::admit(&worker, link.entry(), &scratch.request_head, text, &mut scratch.access);
    let upstream = match admitted {
        Ok(upstream) => upstream,
        Err(Refusal::Fault(fault)) => return refuse(stream, scratch, fault, to_head).await,
        Err(Refusal::Answer(own)) => return answer(stream, scratch, &own, to_head).await,
    };
    scratch.request.clear();
    write_request(&mut scratch.request, &scratch.request_head, text, link.hop());
    scratch.response.clear();
    stream.answers_on(upstream.protocol.answers_on(link.hop()));
    let mut relay = Relay::new(stream, scratch, worker, counters, upstream);
    let Err(stop) = relay.run().await else {
        scratch.access.done();
        return stream.conclude(Conclusion::Whole);
    };
    let (committed, is_tunnel) = (relay.committed, relay.is_tunnel);
    match conclude(stop, committed, is_tunnel, counters, &mut scratch.access) {
        Verdict::Answer(own) => answer(stream, scratch, &own, to_head).await,
        Verdict::Reset if matches!(stop, Stop::ClientFault(_)) => stream.conclude(Conclusion::Malformed),
        Verdict::Reset if is_tunnel => stream.conclude(Conclusion::Cancelled),
        Verdict::Reset => stream.conclude(Conclusion::BrokenOff),
        Verdict::Gone => stream.conclude(Conclusion::Gone),
    }
}

/// Answers a request that is malformed.
pub(super) async fn refuse(stream: &mut impl OnStream, scratch: &mut Scratch, fault: Fault, to_head: bool) {
    let link = stream.link();
    link.counters().refused(fault);
    scratch.access.end("refused", Some(fault.name()));
    tracing::debug!(listener = %link.entry(), fault = fault.name(), "request refused");
    answer(stream, scratch, &Answer::refusal(fault), to_head).await;
}

/// Sends an answer of our own.
pub(super) async fn answer(stream: &mut impl OnStream, scratch: &mut Scratch, own: &Answer, to_head: bool) {
    let link = stream.link().clone();
    link.counters().response(own.status);
    scratch.access.status(own.status);
    let mut text = Vec::new();
    let length = own.write(&mut text, link.hop(), link.worker().config.pop.as_str(), true, to_head);
    if !stream.send_own_head(&text[..length], to_head) {
        return;
    }
    if !to_head {
        scratch.access.sent(text.len() - length);
        stream.data(&mut scratch.response, Bytes::from(text).slice(length..), true);
    }
    stream.timer().arm_after(LINGER);
    let sent = poll_fn(|cx| match stream.poll_ready(cx, scratch) {
        Poll::Pending if stream.timer().has_expired() => Poll::Ready(false),
        polled => polled.map(|sent| sent.is_ok()),
    })
    .await;
    if !sent {
        stream.conclude(Conclusion::Cancelled);
    }
}
