//! How many file descriptors a worker may hold, so that the rest of the process always finds some.
//!
//! | who | holds | is promised |
//! |---|---|---|
//! | client | its connection | 2: an exchange may need a connection to a backend |
//! | client at rest | its connection | 1, until others need it: see below |
//! | client over UDP | nothing | 1, of which the same is true |
//! | client that is sent away, also if it has asked for something meanwhile and is told 503 | its connection | nothing: what it holds is set aside ([`Descriptors::set_limit`]) |
//! | stream of an HTTP/2 connection | nothing | 1 where others of its client are open: the only one has its client's |
//! | attempt | a connection to a backend | nothing: its client has counted for it |
//! | resting connection to a backend | itself | nothing: it is closed when its place is needed |
//! | pipe | 2 | 2 |
//! | refusal | its connection | 1, for as many as there may be at once |
//!
//! A client is admitted, and begins an exchange after a rest, if every client with one could still open a connection to a backend;
//! pipes must leave a quarter free. Where there is no place, the client that has rested longest is sent away for it
//! ([`seats`]). Everything here belongs to one worker's thread: no atomics.

mod seats;

use std::{cell::Cell, rc::Rc};

use self::seats::Seats;
pub(crate) use self::seats::{Over, Seat};

/// Clients that are told why they are not served; those beyond are closed without a word.
const REFUSALS: usize = 4;

/// The account of one worker.
#[derive(Debug)]
pub(crate) struct Descriptors {
    limit: Cell<usize>,
    /// Of the limit: for clients that are sent away and not gone yet.
    aside: Cell<usize>,
    held: [Cell<usize>; 10],
    seats: Seats,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    Client,
    ClientAtRest,
    ClientOverUdp,
    ClientSentAway,
    ClientOverdue,
    Refusal,
    Attempt,
    Resting,
    Pipe,
    Stream,
}

impl Descriptors {
    /// An account of `limit` descriptors at most.
    pub(crate) fn new(limit: usize) -> Rc<Self> {
        let account = Self {
            limit: Cell::default(),
            aside: Cell::default(),
            held: Default::default(),
            seats: Seats::default(),
        };
        account.set_limit(limit);
        Rc::new(account)
    }

    /// From now on there are so many, of which one in 32, and 32 at most, is set aside. Whoever has a place keeps it.
    pub(crate) fn set_limit(&self, limit: usize) {
        self.limit.set(limit);
        self.aside.set((limit / 32).min(32));
    }

    /// A place for the backend of one more stream of a client.
    pub(crate) fn stream(self: &Rc<Self>) -> Option<Lease> {
        let fits = self.has_room(1) || self.held(Holder::Stream) == 0;
        fits.then(|| self.lease(Holder::Stream))
    }

    /// A place for telling one more client that there is none for it.
    pub(crate) fn refusal(self: &Rc<Self>) -> Option<Lease> {
        (self.held(Holder::Refusal) < REFUSALS).then(|| self.lease(Holder::Refusal))
    }

    /// A place for one more pipe.
    pub(crate) fn pipe(self: &Rc<Self>) -> Option<Lease> {
        let fits = self.promised() + 2 <= self.limit.get() / 4 * 3;
        fits.then(|| self.lease(Holder::Pipe))
    }

    /// An attempt of a client that has its place.
    pub(crate) fn attempt(self: &Rc<Self>) -> Lease {
        self.lease(Holder::Attempt)
    }

    /// A connection to a backend that rests.
    pub(crate) fn resting(self: &Rc<Self>) -> Lease {
        self.lease(Holder::Resting)
    }

    /// Connections at rest hold what others have a right to.
    pub(crate) fn is_crowded(&self) -> bool {
        self.held(Holder::Resting) > 0 && self.open() > self.limit.get()
    }

    fn has_room(&self, for_more: usize) -> bool {
        self.promised() + for_more <= self.limit.get() - self.aside.get()
    }

    /// What is open and may be opened without asking again, but for what is set aside.
    fn promised(&self) -> usize {
        use Holder as H;

        let two = self.held(H::Client) + self.held(H::Pipe);
        let one = self.held(H::ClientAtRest) + self.held(H::ClientOverUdp) + self.held(H::Stream);
        2 * two + one + REFUSALS
    }

    fn open(&self) -> usize {
        use Holder as H;

        let clients = [H::Client, H::ClientAtRest, H::ClientSentAway, H::ClientOverdue];
        let others = [H::Refusal, H::Attempt, H::Resting];
        let one = clients.iter().chain(&others).map(|holder| self.held(*holder));
        one.sum::<usize>() + 2 * self.held(H::Pipe)
    }

    fn held(&self, holder: Holder) -> usize {
        self.held[holder as usize].get()
    }

    fn add(&self, holder: Holder) {
        let held = &self.held[holder as usize];
        held.set(held.get() + 1);
    }

    fn remove(&self, holder: Holder) {
        let held = &self.held[holder as usize];
        held.set(held.get() - 1);
    }

    fn lease(self: &Rc<Self>, holder: Holder) -> Lease {
        self.add(holder);
        Lease { of: self.clone(), holder }
    }
}

/// A place in the account, until it is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    of: Rc<Descriptors>,
    holder: Holder,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.of.remove(self.holder);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn clients_beyond_the_limit_are_told_so_a_few_at_a_time_and_admitted_when_others_leave() {
        let account = Descriptors::new(REFUSALS + 20);
        let mut clients: Vec<_> = std::iter::from_fn(|| account.client(Over::Tcp)).collect();
        assert_eq!(clients.len(), 10);
        let refusals: Vec<_> = std::iter::from_fn(|| account.refusal()).collect();
        assert_eq!(refusals.len(), REFUSALS);
        drop(refusals);
        clients.pop();
        assert!(account.client(Over::Tcp).is_some());
    }

    #[test]
    fn one_client_is_served_whatever_the_limit() {
        let account = Descriptors::new(0);
        for over in [Over::Tcp, Over::Udp] {
            let client = account.client(over).unwrap();
            assert!(account.client(Over::Tcp).is_none() && account.client(Over::Udp).is_none());
            client.rest(Waker::noop());
            assert!(client.resume(), "the only one");
        }
        assert!(account.client(Over::Tcp).is_some());
    }

    proptest! {
        #[test]
        fn with_crowded_connections_closed_no_more_is_open_than_the_limit(
            limit in REFUSALS + 2..200,
            steps in proptest::collection::vec((0..11u8, any::<prop::sample::Index>()), 1..300),
        ) {
            let account = Descriptors::new(limit);
            // A client with the attempt it may have under way.
            let mut clients: Vec<(Seat, Option<Lease>)> = Vec::new();
            let (mut others, mut resting) = (Vec::new(), Vec::new());
            for (step, index) in steps {
                match step {
                    0 => clients.extend(account.client(Over::Tcp).map(|client| (client, None))),
                    9 => clients.extend(account.client(Over::Udp).map(|client| (client, None))),
                    10 if !clients.is_empty() => {
                        index.get(&clients).0.insist();
                    }
                    1 => others.extend(account.pipe()),
                    2 => others.extend(account.refusal()),
                    3 if !clients.is_empty() => {
                        let (client, attempt) = index.get_mut(&mut clients);
                        if attempt.take().is_some() {
                            resting.push(account.resting());
                        } else if client.resume() {
                            *attempt = Some(account.attempt());
                        }
                    }
                    4 if !clients.is_empty() => drop(clients.swap_remove(index.index(clients.len()))),
                    5 if !others.is_empty() => drop(others.swap_remove(index.index(others.len()))),
                    6 if !clients.is_empty() => {
                        let (client, attempt) = index.get_mut(&mut clients);
                        if attempt.is_none() {
                            client.rest(Waker::noop());
                        }
                    }
                    7 => drop(account.send_one_away()),
                    8 => clients.retain(|(client, attempt)| attempt.is_some() || !client.is_sent_away()),
                    _ => {}
                }
                while account.is_crowded() {
                    resting.pop();
                }
                prop_assert!(account.open() <= limit);
            }
            drop((clients, others, resting));
            prop_assert_eq!((account.open(), account.promised()), (0, REFUSALS));
        }
    }
}
