//! The places of clients, and whose is given to another when there is none left.
//!
//! ```text
//!          rest                    its place is needed, and none has rested longer
//!  Busy ─────────► AtRest ─────────────────────────────────► SentAway ───► dropped: it leaves
//!    ▲                │ a request comes, and there is room      │ a request had come: served if there is room
//!    └────────────────┴─────────────────────────────────────────┘
//! ```
//!
//! Where there is none for that request it is answered 503 meanwhile: `Insisting`, or `Overdue` for one that was sent away, for which
//! nobody waits.
//!
//! Resting and going on are stores in cells: that is what requests pay. Who has rested longest is looked for when somebody has to
//! leave, several at a time, so that no newcomer pays for a look at everybody.

use std::{
    cell::{Cell, RefCell},
    cmp::Reverse,
    fmt,
    rc::Rc,
    task::Waker,
};

use super::{Descriptors, Holder};

/// How many of those that have rested longest are found by one look.
const FOUND: usize = 64;

/// What a client's connection is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// A socket of its own.
    Tcp,
    /// A socket that it shares with others.
    Udp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Busy,
    /// From its `turn`th rest on, of all there were: who has rested longer has the smaller number.
    AtRest {
        turn: u64,
    },
    /// It would go on, and finds no room: no longer at rest, so not sent away for what it needs itself.
    Insisting,
    SentAway,
    /// The same of one that was sent away.
    Overdue,
}

/// Everybody who has a place.
#[derive(Default)]
pub(super) struct Seats {
    all: RefCell<Vec<Rc<Sitter>>>,
    /// Those that had rested longest at the last look, and their turns; the longest is last.
    longest: RefCell<Vec<(u64, Rc<Sitter>)>>,
    /// How many rests there were.
    rests: Cell<u64>,
    /// How many are at rest.
    at_rest: Cell<usize>,
}

struct Sitter {
    over: Over,
    state: Cell<State>,
    /// Where it is among all.
    index: Cell<usize>,
    waker: RefCell<Waker>,
}

/// The place of one client, until it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    of: Rc<Descriptors>,
    sitter: Rc<Sitter>,
}

impl Descriptors {
    /// A place for one more client, with one for its backend.
    pub(crate) fn client(self: &Rc<Self>, over: Over) -> Option<Seat> {
        // One client is always served: a daemon that serves nobody is of no use.
        let fits = self.has_room(over.needs()) || self.clients() == 0;
        fits.then(|| self.seat(over))
    }

    fn seat(self: &Rc<Self>, over: Over) -> Seat {
        let mut all = self.seats.all.borrow_mut();
        let sitter = Rc::new(Sitter {
            over,
            state: State::Busy.into(),
            index: all.len().into(),
            waker: Waker::noop().clone().into(),
        });
        all.push(sitter.clone());
        self.add(over.busy());
        Seat { of: self.clone(), sitter }
    }

    /// Gives up the place of the client that has rested longest, and wakes it so that it leaves. Whether there was one, and room for
    /// it among those that leave.
    pub(crate) fn send_one_away(&self) -> bool {
        if self.leaving() >= self.aside.get() {
            return false;
        }
        let Some(sitter) = self.seats.longest_at_rest() else { return false };
        sitter.enter(State::SentAway, self);
        sitter.waker.borrow().wake_by_ref();
        true
    }

    /// No more can be sent away before some of those that were have left.
    pub(crate) fn is_clearing(&self) -> bool {
        self.held(Holder::ClientSentAway) > 0 && self.leaving() >= self.aside.get()
    }

    /// How many of the descriptors that are set aside are in use.
    fn leaving(&self) -> usize {
        self.held(Holder::ClientSentAway) + self.held(Holder::ClientOverdue)
    }

    /// How many have a place.
    fn clients(&self) -> usize {
        [Holder::Client, Holder::ClientAtRest, Holder::ClientOverUdp].map(|it| self.held(it)).iter().sum()
    }
}

impl Seats {
    fn longest_at_rest(&self) -> Option<Rc<Sitter>> {
        // Where everybody is busy, nobody who finds no place pays for a look.
        while self.at_rest.get() > 0 {
            let next = self.longest.borrow_mut().pop();
            match next {
                Some((turn, sitter)) if sitter.state.get() == State::AtRest { turn } => {
                    return Some(sitter);
                }
                Some(_) => {}
                None => self.look(),
            }
        }
        None
    }

    /// Looks who has rested longest.
    fn look(&self) {
        let all = self.all.borrow();
        let at_rest = all.iter().filter_map(|sitter| match sitter.state.get() {
            State::AtRest { turn } => Some((turn, sitter.clone())),
            _ => None,
        });
        let mut longest: Vec<_> = at_rest.collect();
        if longest.len() > FOUND {
            longest.select_nth_unstable_by_key(FOUND, |(turn, _)| *turn);
            longest.truncate(FOUND);
        }
        longest.sort_unstable_by_key(|(turn, _)| Reverse(*turn));
        self.longest.replace(longest);
    }
}

impl fmt::Debug for Seats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seats").field("all", &self.all.borrow().len()).finish_non_exhaustive()
    }
}

impl Sitter {
    fn enter(&self, state: State, account: &Descriptors) {
        let at_rest = &account.seats.at_rest;
        self.leave(account);
        self.state.set(state);
        if let Some(holder) = self.holder() {
            account.add(holder);
        }
        at_rest.set(at_rest.get() + usize::from(matches!(state, State::AtRest { .. })));
    }

    /// Holds nothing from now on.
    fn leave(&self, account: &Descriptors) {
        let at_rest = &account.seats.at_rest;
        if let Some(holder) = self.holder() {
            account.remove(holder);
        }
        at_rest.set(at_rest.get() - usize::from(matches!(self.state.get(), State::AtRest { .. })));
    }

    fn holder(&self) -> Option<Holder> {
        match (self.state.get(), self.over) {
            (State::Busy, over) => Some(over.busy()),
            (State::AtRest { .. } | State::Insisting, Over::Tcp) => Some(Holder::ClientAtRest),
            (State::AtRest { .. } | State::Insisting, Over::Udp) => Some(Holder::ClientOverUdp),
            (State::SentAway, Over::Tcp) => Some(Holder::ClientSentAway),
            (State::Overdue, Over::Tcp) => Some(Holder::ClientOverdue),
            (State::SentAway | State::Overdue, Over::Udp) => None,
        }
    }
}

impl fmt::Debug for Sitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sitter").field(&self.over).field(&self.state.get()).finish()
    }
}

impl Seat {
    /// Nothing is under way from now on. `waker` is that of the task that asks [`Seat::is_sent_away`]. Whether something was before.
    pub(crate) fn rest(&self, waker: &Waker) -> bool {
        if !matches!(self.sitter.state.get(), State::Busy | State::Insisting) {
            return false;
        }
        let mut kept = self.sitter.waker.borrow_mut();
        if !kept.will_wake(waker) {
            kept.clone_from(waker);
        }
        drop(kept);
        let turn = self.of.seats.rests.get();
        self.of.seats.rests.set(turn + 1);
        self.sitter.enter(State::AtRest { turn }, &self.of);
        true
    }

    /// A request has begun: from now on it is not sent away for others. Whether it was at rest.
    pub(crate) fn insist(&self) -> bool {
        let was_at_rest = matches!(self.sitter.state.get(), State::AtRest { .. });
        if was_at_rest {
            self.sitter.enter(State::Insisting, &self.of);
        }
        was_at_rest
    }

    /// Something is under way from now on; whether there is room for that.
    pub(crate) fn resume(&self) -> bool {
        let Sitter { over, state, .. } = &*self.sitter;
        let (more, others) = match state.get() {
            State::Busy => return true,
            State::AtRest { .. } | State::Insisting => (over.needs() - 1, self.of.clients() - 1),
            State::SentAway | State::Overdue => (over.needs(), self.of.clients()),
        };
        let fits = more == 0 || self.of.has_room(more) || others == 0;
        let next = match state.get() {
            _ if fits => State::Busy,
            State::SentAway | State::Overdue => State::Overdue,
            State::Busy | State::AtRest { .. } | State::Insisting => State::Insisting,
        };
        self.sitter.enter(next, &self.of);
        fits
    }

    /// Whether another has its place.
    pub(crate) fn is_sent_away(&self) -> bool {
        matches!(self.sitter.state.get(), State::SentAway | State::Overdue)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.sitter.leave(&self.of);
        let index = self.sitter.index.get();
        let mut all = self.of.seats.all.borrow_mut();
        all.swap_remove(index);
        if let Some(moved) = all.get(index) {
            moved.index.set(index);
        }
        // It may be among those that have rested longest yet, and is not at rest.
        self.sitter.state.set(State::Busy);
    }
}

impl Over {
    fn busy(self) -> Holder {
        match self {
            Self::Tcp => Holder::Client,
            Self::Udp => Holder::ClientOverUdp,
        }
    }

    /// How much it is promised while it is busy.
    fn needs(self) -> usize {
        match self {
            Self::Tcp => 2,
            Self::Udp => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    const LIMIT: usize = 128;

    fn rest(seat: &Seat) {
        assert!(seat.rest(Waker::noop()));
    }

    fn sent_away(seats: &[Seat]) -> Vec<usize> {
        (0..seats.len()).filter(|at| seats[*at].is_sent_away()).collect()
    }

    #[test]
    fn those_that_rest_make_room_for_as_many_again() {
        let account = Descriptors::new(LIMIT);
        let busy: Vec<_> = std::iter::from_fn(|| account.client(Over::Tcp)).collect();
        busy.iter().for_each(rest);
        let more: Vec<_> = std::iter::from_fn(|| account.client(Over::Tcp)).collect();
        assert_eq!((busy.len(), more.len()), (60, 30));
        assert!(more.iter().all(Seat::resume) && !busy[0].resume(), "all that is left is promised");
    }

    #[test]
    fn who_has_rested_longest_leaves_first_and_those_that_are_busy_never() {
        let account = Descriptors::new(LIMIT);
        let woken = Arc::new(Woken::default());
        let seats: Vec<_> = (0..4).map(|_| account.client(Over::Tcp).unwrap()).collect();
        seats[1].rest(&woken.clone().into());
        rest(&seats[2]);
        rest(&seats[0]);
        assert!(account.send_one_away());
        assert_eq!((sent_away(&seats), woken.0.load(Ordering::Relaxed)), (vec![1], 1));
        assert!(seats[2].resume(), "found at the last look, and busy since");
        assert!(account.send_one_away());
        assert_eq!(sent_away(&seats), [0, 1]);
        assert!(!account.send_one_away(), "two are busy");
    }

    #[test]
    fn no_more_leave_at_once_than_are_set_aside() {
        let account = Descriptors::new(LIMIT);
        let mut seats: Vec<_> = (0..10).map(|_| account.client(Over::Tcp).unwrap()).collect();
        seats.iter().for_each(rest);
        let sent = std::iter::from_fn(|| account.send_one_away().then_some(())).count();
        assert_eq!((sent, account.is_clearing()), (LIMIT / 32, true));
        seats.retain(|seat| !seat.is_sent_away());
        assert!(!account.is_clearing() && account.send_one_away());
    }

    #[test]
    fn one_that_was_sent_away_with_a_request_on_its_way_goes_on_where_there_is_room() {
        let account = Descriptors::new(LIMIT);
        let [seat, other] = [(); 2].map(|()| account.client(Over::Tcp).unwrap());
        rest(&seat);
        assert!(account.send_one_away() && seat.is_sent_away());
        assert!(seat.resume() && !seat.is_sent_away());
        let _others: Vec<_> = std::iter::from_fn(|| account.client(Over::Tcp)).collect();
        rest(&seat);
        assert!(account.send_one_away() && seat.is_sent_away());
        let _newcomer = account.client(Over::Tcp).unwrap();
        assert!(!seat.resume(), "its place is another's");
        assert!(seat.is_sent_away() && !account.is_clearing(), "nobody waits for it");
        drop(other);
        assert!(seat.resume());
    }

    #[test]
    fn one_that_finds_no_room_is_not_sent_away_for_itself() {
        let account = Descriptors::new(LIMIT);
        let seat = account.client(Over::Tcp).unwrap();
        rest(&seat);
        let others: Vec<_> = std::iter::from_fn(|| account.client(Over::Tcp)).collect();
        let _stream = account.stream().unwrap();
        assert!(!seat.resume() && !account.send_one_away() && !seat.is_sent_away());
        rest(&others[0]);
        assert!(account.send_one_away() && seat.resume());
        assert_eq!(sent_away(&others), [0]);
        rest(&seat);
        assert!(account.send_one_away() && seat.is_sent_away(), "after its next rest");
    }

    #[test]
    fn clients_over_udp_hold_nothing_and_leave_as_others_do() {
        let account = Descriptors::new(LIMIT);
        let seats: Vec<_> = std::iter::from_fn(|| account.client(Over::Udp)).collect();
        assert_eq!((seats.len(), account.open()), (120, 0));
        rest(&seats[7]);
        assert!(account.client(Over::Udp).is_none() && account.send_one_away());
        assert_eq!(sent_away(&seats), [7]);
        assert!(!account.is_clearing() && account.client(Over::Udp).is_some());
    }

    #[test]
    fn a_look_finds_the_longest_of_many() {
        let account = Descriptors::new(100_000);
        let seats: Vec<_> = (0..1000).map(|_| account.client(Over::Tcp).unwrap()).collect();
        let order: Vec<_> = (0..1000).map(|turn| turn * 617 % 1000).collect();
        for number in &order {
            rest(&seats[*number]);
        }
        let sent = std::iter::from_fn(|| account.send_one_away().then_some(())).count();
        let mut expected = order[..32].to_vec();
        expected.sort_unstable();
        assert_eq!((sent, sent_away(&seats)), (32, expected));
    }
}
