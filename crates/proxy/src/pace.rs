//! Whether a client moves its bodies fast enough: a credit that time uses up while nothing but the client is waited for.
//!
//! ```text
//! credit ─ grace × rate at first
//!        ─ rate × the time that only the client is waited for
//!        + what it moves                                        gone: the client is too slow
//! ```
//!
//! Of what a client sends, no more is kept as credit than there was at first: whoever was fast may pause for `grace`, and
//! not for an hour. What a client takes is known in the chunks in which the system takes it to send, so there as much is kept as
//! the system may hold ([`SEND_BUFFER`]): the next chunk may be due only when a slow client has read the last one.

use std::{rc::Rc, task::Context};

use crate::{
    BodyRate,
    stats::Slow,
    timer::{BEAT, Deadline, Timer, Timers},
};

/// What the system takes to send before the client has read it, in octets, at most: the last of `net.ipv4.tcp_wmem`, which is 4 MiB where
/// nobody has changed it, and 16 on hosts that are set up for long lines.
const SEND_BUFFER: u64 = 16 * 1024 * 1024;

/// Both ways of one exchange.
#[derive(Debug)]
pub(crate) struct Pace {
    up: Option<Meter>,
    down: Option<Meter>,
    /// Made when the client is first waited for.
    timer: Option<Timer>,
    /// The request's body may be a stream.
    is_stream: bool,
}

/// One way. Credit is in thousandths of octets: a millisecond costs `rate` of them.
#[derive(Debug)]
struct Meter {
    rate: u64,
    credit: u64,
    most: u64,
    waiting_since: Option<u64>,
}

/// What is known of a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// There is none.
    None,
    Known,
    Unknown,
}

impl Pace {
    pub(crate) fn new(rate: BodyRate, body: Length) -> Self {
        let up = match body {
            Length::None => 0,
            Length::Unknown if !rate.streams => 0,
            Length::Known | Length::Unknown => rate.request,
        };
        // The clock may be a beat ahead of when a wait began.
        let grace = u64::try_from((rate.grace + BEAT).as_millis()).unwrap_or(u64::MAX);
        let meter = |rate: u32, more: u64| {
            let rate = u64::from(rate);
            let credit = rate.saturating_mul(grace);
            let most = credit.saturating_add(1000 * more);
            (rate > 0).then_some(Meter { rate, credit, most, waiting_since: None })
        };
        let (up, down) = (meter(up, 0), meter(rate.response, SEND_BUFFER));
        Self { up, down, timer: None, is_stream: body == Length::Unknown }
    }

    /// Whether anything is measured.
    pub(crate) fn is_kept(&self) -> bool {
        self.up.is_some() || self.down.is_some()
    }

    /// So many octets of the body came.
    pub(crate) fn sent(&mut self, count: usize, timers: &Timers) {
        if let Some(up) = &mut self.up {
            up.moved(count, timers.now().millis());
        }
    }

    /// So many octets of the response went to the client.
    pub(crate) fn taken(&mut self, count: usize, timers: &Timers) {
        if let Some(down) = &mut self.down {
            down.moved(count, timers.now().millis());
        }
    }

    /// The response has begun: what is still sent may be one half of a conversation.
    pub(crate) fn answered(&mut self) {
        if self.is_stream {
            self.up = None;
        }
    }

    /// What follows is a tunnel, which is held to nothing.
    pub(crate) fn lift(&mut self) {
        (self.up, self.down) = (None, None);
    }

    /// To be asked before the task of `cx` waits, which is woken when a client is too slow. Whether it is. `sends`: more of the
    /// body is waited for; `takes`: the client has not taken what there is of the response.
    pub(crate) fn check(
        &mut self,
        timers: &Rc<Timers>,
        cx: &Context<'_>,
        sends: bool,
        takes: bool,
    ) -> Option<Slow> {
        let now = timers.now().millis();
        let due = |meter: &mut Option<Meter>, waits| match meter {
            Some(meter) => meter.due(now, waits),
            None => Deadline::NEVER,
        };
        let (up, down) = (due(&mut self.up, sends), due(&mut self.down, takes));
        if timers.is_past(up) {
            return Some(Slow::RequestRate);
        }
        if timers.is_past(down) {
            return Some(Slow::ResponseRate);
        }
        let due = up.min(down);
        match &self.timer {
            Some(timer) => timer.arm(due),
            None if due == Deadline::NEVER => {}
            None => self.timer.insert(timers.timer(cx)).arm(due),
        }
        None
    }
}

impl Meter {
    fn spend(&mut self, now: u64) {
        if let Some(since) = &mut self.waiting_since {
            self.credit = self.credit.saturating_sub((now - *since).saturating_mul(self.rate));
            *since = now;
        }
    }

    fn moved(&mut self, count: usize, now: u64) {
        self.spend(now);
        self.credit = self.credit.saturating_add(1000 * count as u64).min(self.most);
    }

    /// When the credit is used up, if nothing but the client `waits` from now on.
    fn due(&mut self, now: u64, waits: bool) -> Deadline {
        self.spend(now);
        self.waiting_since = waits.then_some(now);
        if waits { Deadline::at_millis(now.saturating_add(self.credit / self.rate)) } else { Deadline::NEVER }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        task::Waker,
        time::{Duration, Instant},
    };

    use proptest::prelude::*;

    use super::*;

    const RATE: BodyRate =
        BodyRate { request: 100, response: 200, grace: Duration::from_secs(2), streams: false };

    /// A clock that a test moves.
    struct Clock {
        start: Instant,
        millis: u64,
        timers: Rc<Timers>,
    }

    impl Clock {
        fn new() -> Self {
            let start = Instant::now();
            Self { start, millis: 0, timers: Timers::new(start) }
        }

        fn pass(&mut self, millis: u64) {
            self.millis += millis;
            self.timers.beat(self.start + Duration::from_millis(self.millis));
        }

        fn check(&self, pace: &mut Pace, sends: bool, takes: bool) -> Option<Slow> {
            pace.check(&self.timers, &Context::from_waker(Waker::noop()), sends, takes)
        }
    }

    #[test]
    fn a_body_that_stops_coming_is_too_slow_after_the_grace_and_one_at_the_rate_never_is() {
        let (mut clock, mut pace) = (Clock::new(), Pace::new(RATE, Length::Known));
        for _ in 0..100 {
            assert_eq!(clock.check(&mut pace, true, false), None);
            clock.pass(1000);
            pace.sent(100, &clock.timers);
        }
        // Half the rate uses up the grace in twice its time.
        for _ in 0..3 {
            assert_eq!(clock.check(&mut pace, true, false), None);
            clock.pass(1000);
            pace.sent(50, &clock.timers);
        }
        assert_eq!(clock.check(&mut pace, true, false), None);
        clock.pass(500);
        assert_eq!(clock.check(&mut pace, true, false), None);
        clock.pass(50);
        assert_eq!(clock.check(&mut pace, true, false), Some(Slow::RequestRate));
    }

    #[test]
    fn what_came_fast_buys_no_more_than_the_grace() {
        let (mut clock, mut pace) = (Clock::new(), Pace::new(RATE, Length::Known));
        pace.sent(1_000_000, &clock.timers);
        assert_eq!(clock.check(&mut pace, true, false), None);
        clock.pass(2000);
        assert_eq!(clock.check(&mut pace, true, false), None);
        clock.pass(50);
        assert_eq!(clock.check(&mut pace, true, false), Some(Slow::RequestRate));
    }

    #[test]
    fn time_that_the_backend_takes_is_not_the_clients() {
        let (mut clock, mut pace) = (Clock::new(), Pace::new(RATE, Length::Known));
        for _ in 0..10 {
            assert_eq!(clock.check(&mut pace, false, false), None);
            clock.pass(10_000);
        }
        assert_eq!(clock.check(&mut pace, true, false), None);
        clock.pass(1000);
        assert_eq!(clock.check(&mut pace, false, false), None);
        clock.pass(10_000);
        assert_eq!(clock.check(&mut pace, true, false), None);
        clock.pass(1050);
        assert_eq!(clock.check(&mut pace, true, false), Some(Slow::RequestRate));
    }

    #[test]
    fn a_reader_gets_the_time_for_every_chunk_that_the_system_took() {
        let (mut clock, mut pace) = (Clock::new(), Pace::new(RATE, Length::None));
        pace.taken(20_000, &clock.timers);
        assert_eq!(clock.check(&mut pace, false, true), None);
        clock.pass(101_000);
        assert_eq!(clock.check(&mut pace, false, true), None);
        clock.pass(1050);
        assert_eq!(clock.check(&mut pace, false, true), Some(Slow::ResponseRate));
    }

    #[test]
    fn what_a_reader_took_long_ago_buys_no_more_than_a_full_buffer() {
        let (mut clock, mut pace) = (Clock::new(), Pace::new(RATE, Length::None));
        for _ in 0..100 {
            pace.taken(SEND_BUFFER as usize, &clock.timers);
        }
        assert_eq!(clock.check(&mut pace, false, true), None);
        clock.pass(1000 * SEND_BUFFER / 200 + 2000);
        assert_eq!(clock.check(&mut pace, false, true), None);
        clock.pass(60);
        assert_eq!(clock.check(&mut pace, false, true), Some(Slow::ResponseRate));
    }

    #[test]
    fn streams_are_held_to_it_only_where_that_is_asked_for_and_until_they_are_answered() {
        let (mut clock, all) = (Clock::new(), BodyRate { streams: true, ..RATE });
        let mut exempt = Pace::new(RATE, Length::Unknown);
        let mut held = Pace::new(all, Length::Unknown);
        let mut answered = Pace::new(all, Length::Unknown);
        answered.answered();
        for pace in [&mut exempt, &mut held, &mut answered] {
            assert_eq!(clock.check(pace, true, false), None);
        }
        clock.pass(10_000);
        assert_eq!(clock.check(&mut exempt, true, false), None);
        assert_eq!(clock.check(&mut answered, true, false), None);
        assert_eq!(clock.check(&mut held, true, false), Some(Slow::RequestRate));
    }

    #[test]
    fn without_a_rate_nothing_is_measured() {
        assert!(!Pace::new(BodyRate::default(), Length::Known).is_kept());
        assert!(!Pace::new(BodyRate { response: 0, ..RATE }, Length::None).is_kept());
        assert!(Pace::new(RATE, Length::None).is_kept());
    }

    proptest! {
        #[test]
        fn whoever_keeps_the_rate_is_never_too_slow(pauses in proptest::collection::vec(1..1900u64, 1..50)) {
            let (mut clock, mut pace) = (Clock::new(), Pace::new(RATE, Length::Known));
            for pause in pauses {
                prop_assert_eq!(clock.check(&mut pace, true, false), None);
                clock.pass(pause);
                pace.sent(usize::try_from(pause.div_ceil(10)).unwrap(), &clock.timers);
            }
        }
    }
}
