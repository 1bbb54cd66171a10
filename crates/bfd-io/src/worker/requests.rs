//! What handles ask, and the answers.

use std::{
    sync::mpsc::{SyncSender, TryRecvError},
    time::Instant,
};

use super::Worker;
use crate::{
    handover::HandedOver,
    settings::{BfdError, BfdStatus, HostStatus, SessionConfig},
};

/// Where an answer goes.
pub(crate) type Reply<T> = SyncSender<T>;

/// What a handle asks.
#[derive(Debug)]
pub(crate) enum Request {
    Add(Box<SessionConfig>, Reply<Result<(), BfdError>>),
    Remove(String, Reply<Result<(), BfdError>>),
    AdminDown(String, bool, Reply<Result<(), BfdError>>),
    Reconfigure(Box<SessionConfig>, Reply<Result<(), BfdError>>),
    Sessions(Reply<Vec<BfdStatus>>),
    Host(Reply<HostStatus>),
    Farewell(Reply<Result<(), BfdError>>),
    HandOver(Reply<Result<HandedOver, BfdError>>),
    TakeBack(Reply<()>),
    EndUnclaimed(Reply<Result<Vec<String>, BfdError>>),
    End(Reply<()>),
}

impl Worker {
    /// Answers what was asked; false when that was the end, or nobody can ask any more.
    pub(super) fn serve(&mut self, now: Instant) -> bool {
        // Taken back before the requests are, so that none stays behind. Fails when nothing was asked.
        let _ = self.wake.read();
        loop {
            match self.requests.try_recv() {
                Ok(request) => self.answer(now, request),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return false,
            }
            if self.ended {
                return false;
            }
        }
        true
    }

    fn answer(&mut self, now: Instant, request: Request) {
        match request {
            Request::Add(config, reply) => {
                answer(&reply, self.ours().and_then(|()| self.add(now, *config)));
            }
            Request::Remove(name, reply) => {
                answer(&reply, self.ours().and_then(|()| self.remove(now, &name)));
            }
            Request::AdminDown(name, down, reply) => {
                answer(&reply, self.ours().and_then(|()| self.set_admin_down(now, &name, down)));
            }
            Request::Reconfigure(config, reply) => {
                answer(&reply, self.ours().and_then(|()| self.reconfigure(now, *config)));
            }
            Request::Sessions(reply) => answer(&reply, self.statuses()),
            Request::Host(reply) => answer(&reply, self.host()),
            Request::Farewell(reply) => {
                answer(&reply, self.ours().map(|()| self.farewell(now)));
            }
            Request::HandOver(reply) => match self.ours() {
                Ok(()) => self.to_hand_over = Some(reply),
                Err(error) => answer(&reply, Err(error)),
            },
            Request::TakeBack(reply) => {
                self.to_hand_over = None;
                self.take_back(now);
                answer(&reply, ());
            }
            Request::EndUnclaimed(reply) => {
                answer(&reply, self.ours().map(|()| self.end_unclaimed(now)));
            }
            Request::End(reply) => {
                self.ended = true;
                answer(&reply, ());
            }
        }
    }
}

/// Whoever asked and does not wait for the answer does not need it.
pub(super) fn answer<T>(reply: &Reply<T>, value: T) {
    let _ = reply.send(value);
}
