//! How many file descriptors a worker may hold, so that the rest of the process always finds some.
//!
//! | who | holds | is promised |
//! |---|---|---|
//! | client | its connection | 2: an exchange may need a connection to a backend |
//! | stream of an HTTP/2 connection | nothing | 1 where others of its client are open: the only one has its client's |
//! | attempt | a connection to a backend | nothing: its client has counted for it |
//! | resting connection to a backend | itself | nothing: it is closed when its place is needed |
//! | pipe | 2 | 2 |
//! | refusal | its connection | 1, for as many as there may be at once |
//!
//! A client is admitted if every client could still open a connection to a backend; pipes must leave a quarter free.
//! Everything here belongs to one worker's thread: no atomics.

use std::{cell::Cell, rc::Rc};

/// Clients that are told why they are not served; those beyond are closed without a word.
const REFUSALS: usize = 4;

/// The account of one worker.
#[derive(Debug)]
pub(crate) struct Descriptors {
    limit: Cell<usize>,
    held: [Cell<usize>; 6],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    Client,
    Refusal,
    Attempt,
    Resting,
    Pipe,
    Stream,
}

impl Descriptors {
    /// An account of `limit` descriptors at most.
    pub(crate) fn new(limit: usize) -> Rc<Self> {
        Rc::new(Self { limit: limit.into(), held: Default::default() })
    }

    /// From now on there are so many. Whoever has a place keeps it.
    pub(crate) fn set_limit(&self, limit: usize) {
        self.limit.set(limit);
    }

    /// A place for one more client, with one for its backend.
    pub(crate) fn client(self: &Rc<Self>) -> Option<Lease> {
        // One client is always served: a daemon that serves nobody is of no use.
        let fits = self.promised() + 2 <= self.limit.get() || self.held(Holder::Client) == 0;
        fits.then(|| self.lease(Holder::Client))
    }

    /// A place for the backend of one more stream of a client.
    pub(crate) fn stream(self: &Rc<Self>) -> Option<Lease> {
        let fits = self.promised() < self.limit.get() || self.held(Holder::Stream) == 0;
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

    /// What is open and may be opened without asking again.
    fn promised(&self) -> usize {
        2 * self.held(Holder::Client) + self.held(Holder::Stream) + 2 * self.held(Holder::Pipe) + REFUSALS
    }

    fn open(&self) -> usize {
        use Holder as H;

        let one: usize =
            [H::Client, H::Refusal, H::Attempt, H::Resting].map(|holder| self.held(holder)).iter().sum();
        one + 2 * self.held(H::Pipe)
    }

    fn held(&self, holder: Holder) -> usize {
        self.held[holder as usize].get()
    }

    fn lease(self: &Rc<Self>, holder: Holder) -> Lease {
        let held = &self.held[holder as usize];
        held.set(held.get() + 1);
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
        let held = &self.of.held[self.holder as usize];
        held.set(held.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn clients_beyond_the_limit_are_told_so_a_few_at_a_time_and_admitted_when_others_leave() {
        let account = Descriptors::new(REFUSALS + 20);
        let mut clients: Vec<_> = std::iter::from_fn(|| account.client()).collect();
        assert_eq!(clients.len(), 10);
        let refusals: Vec<_> = std::iter::from_fn(|| account.refusal()).collect();
        assert_eq!(refusals.len(), REFUSALS);
        drop(refusals);
        clients.pop();
        assert!(account.client().is_some());
    }

    #[test]
    fn one_client_is_served_whatever_the_limit() {
        let account = Descriptors::new(0);
        let client = account.client();
        assert!(client.is_some() && account.client().is_none());
        drop(client);
        assert!(account.client().is_some());
    }

    proptest! {
        #[test]
        fn with_crowded_connections_closed_no_more_is_open_than_the_limit(
            limit in REFUSALS + 2..64,
            steps in proptest::collection::vec((0..6u8, any::<prop::sample::Index>()), 1..300),
        ) {
            let account = Descriptors::new(limit);
            // A client with the attempt it may have under way.
            let mut clients: Vec<(Lease, Option<Lease>)> = Vec::new();
            let (mut others, mut resting) = (Vec::new(), Vec::new());
            for (step, index) in steps {
                match step {
                    0 => clients.extend(account.client().map(|client| (client, None))),
                    1 => others.extend(account.pipe()),
                    2 => others.extend(account.refusal()),
                    3 if !clients.is_empty() => {
                        let (_, attempt) = index.get_mut(&mut clients);
                        if attempt.take().is_some() {
                            resting.push(account.resting());
                        } else {
                            *attempt = Some(account.attempt());
                        }
                    }
                    4 if !clients.is_empty() => drop(clients.swap_remove(index.index(clients.len()))),
                    5 if !others.is_empty() => drop(others.swap_remove(index.index(others.len()))),
                    _ => {}
                }
                while account.is_crowded() {
                    resting.pop();
                }
                prop_assert!(account.open() <= limit);
            }
        }
    }
}
