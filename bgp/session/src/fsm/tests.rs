//! The whole table of states and events.

use std::{net::IpAddr, time::Duration};

use proxima_types::Asn;

use super::*;
use crate::{GracefulRestart, Local, Output, RETRY_CEILING, Settings, terms::our_open};

/// Rows are events, columns the states they meet. A cell is the state that follows, and what is done: `connect`,
/// `open`, `keepalive`, a NOTIFICATION as `code/subcode`, `close` of a connection or an attempt. `Stopped` is Idle
/// that no timer ends. Words behind an event say which kind of it.
const TABLE: &str = "
ManualStart              | Connect connect | Connect               | Active          | OpenSent                 | OpenConfirm           | Established
ManualStop               | Stopped         | Stopped close         | Stopped         | Stopped 6/2 close        | Stopped 6/2 close     | Stopped 6/2 close
ManualStop silently      | Stopped         | Stopped close         | Stopped         | Stopped close            | Stopped close         | Stopped close
AutomaticStop            | Idle            | Idle close            | Idle            | Idle 6/1 close           | Idle 6/1 close        | Idle 6/1 close
AutomaticStop for good   | Idle            | Stopped close         | Stopped         | Stopped 6/1 close        | Stopped 6/1 close     | Stopped 6/1 close
ConnectRetryTimer_Expires| Idle            | Connect close connect | Connect connect | Idle 5/0 close           | Idle 5/0 close        | Idle 5/0 close
HoldTimer_Expires        | Idle            | Idle close            | Idle            | Idle 4/0 close           | Idle 4/0 close        | Idle 4/0 close
KeepaliveTimer_Expires   | Idle            | Idle close            | Idle            | Idle 5/0 close           | OpenConfirm keepalive | Established keepalive
IdleHoldTimer_Expires    | Connect connect | Idle close            | Idle            | Idle 5/0 close           | Idle 5/0 close        | Idle 5/0 close
Tcp_CR_Acked             | Idle close      | OpenSent open         | OpenSent open   | OpenSent close           | OpenConfirm close     | Established close
TcpConnectionConfirmed   | Idle close      | OpenSent close open   | OpenSent open   | OpenSent close           | OpenConfirm close     | Established close
TcpConnectionFails       | Idle            | Active                | Idle            | Active close             | Idle close            | Idle close
BGPOpen                  | Idle            | Idle close            | Idle            | OpenConfirm keepalive    | Idle 5/2 close        | Idle 5/3 close
BGPMsgErr                | Idle            | Idle close            | Idle            | Idle 1/2 close           | Idle 1/2 close        | Idle 1/2 close
OpenCollisionDump        | Idle            | Idle close            | Idle            | Idle 6/7 close           | Idle 6/7 close        | Idle 6/7 close
NotifMsg                 | Idle            | Idle close            | Idle            | Idle close               | Idle close            | Idle close
KeepAliveMsg             | Idle            | Idle close            | Idle            | Idle 5/1 close           | Established           | Established
UpdateMsg                | Idle            | Idle close            | Idle            | Idle 5/1 close           | Idle 5/2 close        | Established
RouteRefreshMsg          | Idle            | Idle close            | Idle            | Idle 5/1 close           | Idle 5/2 close        | Established
SendHoldTimer_Expires    | Idle            | Idle close            | Idle            | Idle 8/0 close           | Idle 8/0 close        | Idle 8/0 close
MessageSent              | Idle            | Idle close            | Idle            | OpenSent                 | OpenConfirm           | Established
";

/// The rows that differ with a peer with which NOTIFICATIONs are graceful (RFC 8538): what is meant for good goes as a Hard
/// Reset once the session is established.
const GRACEFUL_TABLE: &str = "
ManualStop               | Stopped         | Stopped close         | Stopped         | Stopped 6/2 close        | Stopped 6/2 close     | Stopped 6/9 close
AutomaticStop            | Idle            | Idle close            | Idle            | Idle 6/1 close           | Idle 6/1 close        | Idle 6/1 close
AutomaticStop for good   | Idle            | Stopped close         | Stopped         | Stopped 6/1 close        | Stopped 6/1 close     | Stopped 6/9 close
BGPMsgErr                | Idle            | Idle close            | Idle            | Idle 1/2 close           | Idle 1/2 close        | Idle 1/2 close
HoldTimer_Expires        | Idle            | Idle close            | Idle            | Idle 4/0 close           | Idle 4/0 close        | Idle 4/0 close
";

const LOCAL: Local =
    Local { address: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), link_local: None, subnet: None };

fn settings() -> Settings {
    Settings {
        hold_time: Duration::from_secs(9),
        connect_retry: Duration::from_secs(1),
        ..Settings::new(Asn(64512), [192, 0, 2, 1].into(), Asn(65000))
    }
}

fn graceful() -> Settings {
    let restart_time = Duration::from_mins(1);
    let restart = GracefulRestart { restart_time, stale_time: restart_time, forwarding: true };
    Settings { graceful_restart: Some(restart), ..settings() }
}

/// What these settings agree on with a peer that has the like.
fn terms_of(settings: &Settings) -> Arc<Terms> {
    let theirs = Settings { local_as: Asn(65000), router_id: [192, 0, 2, 2].into(), ..settings.clone() };
    let (ours, theirs) = (our_open(settings, false, false), our_open(&theirs, false, false));
    Arc::new(Terms::agree(settings, &Arc::new(ours), &theirs, bytes::Bytes::new()).unwrap())
}

fn terms() -> Arc<Terms> {
    terms_of(&settings())
}

fn link(shared: &mut Shared, initiator: Initiator) -> Link {
    Link { id: shared.next_connection(), initiator, local: LOCAL }
}

/// The clock of these tests begins anywhere.
#[allow(clippy::disallowed_methods, reason = "a point to count from")]
fn epoch() -> Instant {
    Instant::now()
}

fn in_state(state: State, now: Instant) -> (Fsm, Shared) {
    in_state_with(settings(), state, now)
}

fn in_state_with(settings: Settings, state: State, now: Instant) -> (Fsm, Shared) {
    let terms = terms_of(&settings);
    let mut shared = Shared::new(settings, now, 1);
    let mut fsm = Fsm::new();
    let mut step = |event: Event, shared: &mut Shared| fsm.handle(now, event, shared);
    let path = State::ALL.iter().position(|s| *s == state).unwrap();
    if state == State::Idle {
        step(Event::ManualStart, &mut shared);
        step(automatic_stop(Then::Pause, false), &mut shared);
    } else {
        step(Event::ManualStart, &mut shared);
    }
    if state == State::Active {
        step(Event::TcpConnectionFails(String::new()), &mut shared);
    } else if path > 2 {
        let Some(Output::Connect { connection }) = shared.outputs.pop_front() else { panic!("no attempt") };
        let link = Link { id: connection, initiator: Initiator::Local, local: LOCAL };
        step(Event::TcpCrAcked(link), &mut shared);
    }
    if path > 3 {
        step(Event::BgpOpen(terms), &mut shared);
    }
    if path > 4 {
        step(Event::KeepAliveMsg, &mut shared);
    }
    assert_eq!(fsm.state(), state);
    shared.outputs.clear();
    (fsm, shared)
}

fn automatic_stop(then: Then, hard: bool) -> Event {
    let notification = error(ErrorCode::MAXIMUM_PREFIXES);
    Event::AutomaticStop(Stop { notification, why: "why".to_owned(), hard, then })
}

fn event(name: &str, state: State, fsm: &Fsm, shared: &mut Shared) -> Event {
    match name {
        "ManualStart" => Event::ManualStart,
        "ManualStop" => Event::ManualStop(Farewell::Cease(Notification::shutdown("why"))),
        "ManualStop silently" => Event::ManualStop(Farewell::Silence("why")),
        "AutomaticStop" => automatic_stop(Then::Retry, false),
        "AutomaticStop for good" => automatic_stop(Then::Stay, true),
        "ConnectRetryTimer_Expires" => Event::ConnectRetryTimerExpires,
        "HoldTimer_Expires" => Event::HoldTimerExpires,
        "KeepaliveTimer_Expires" => Event::KeepaliveTimerExpires,
        "IdleHoldTimer_Expires" => Event::IdleHoldTimerExpires,
        "Tcp_CR_Acked" => {
            let id = match (state, fsm.phase()) {
                (State::Connect, Phase::Connect { attempt, .. }) => *attempt,
                _ => shared.next_connection(),
            };
            Event::TcpCrAcked(Link { id, initiator: Initiator::Local, local: LOCAL })
        }
        "TcpConnectionConfirmed" => Event::TcpConnectionConfirmed(link(shared, Initiator::Remote)),
        "TcpConnectionFails" => Event::TcpConnectionFails("reset".to_owned()),
        "BGPOpen" => Event::BgpOpen(terms()),
        "BGPMsgErr" => Event::MessageErr(error(ErrorCode::BAD_MESSAGE_LENGTH), "why".to_owned()),
        "OpenCollisionDump" => Event::OpenCollisionDump,
        "NotifMsg" => Event::NotifMsg(error(ErrorCode::CEASE_UNSPECIFIC)),
        "KeepAliveMsg" => Event::KeepAliveMsg,
        "UpdateMsg" => Event::UpdateMsg,
        "RouteRefreshMsg" => Event::RouteRefreshMsg,
        "SendHoldTimer_Expires" => Event::SendHoldTimerExpires,
        "MessageSent" => Event::MessageSent,
        other => panic!("{other}"),
    }
}

fn outcome(fsm: &Fsm, shared: &mut Shared) -> String {
    let state = match fsm.phase() {
        Phase::Idle { restart: None } => "Stopped",
        _ => fsm.state().as_str(),
    };
    let mut words = vec![state.to_owned()];
    for output in shared.outputs.drain(..) {
        words.push(match output {
            Output::Connect { .. } => "connect".to_owned(),
            Output::Close { .. } => "close".to_owned(),
            Output::Send { bytes, .. } => match bytes[18] {
                1 => "open".to_owned(),
                3 => format!("{}/{}", bytes[19], bytes[20]),
                4 => "keepalive".to_owned(),
                other => panic!("message type {other}"),
            },
            other => panic!("{other:?}"),
        });
    }
    words.join(" ")
}

fn check(table: &str, settings: &Settings) -> usize {
    let now = epoch();
    let rows: Vec<_> = table.trim().lines().collect();
    for row in &rows {
        let mut cells = row.split('|').map(str::trim);
        let name = cells.next().unwrap();
        for state in State::ALL {
            let (mut fsm, mut shared) = in_state_with(settings.clone(), state, now);
            let event = event(name, state, &fsm, &mut shared);
            assert!(name.starts_with(event.name()));
            fsm.handle(now, event, &mut shared);
            assert_eq!(outcome(&fsm, &mut shared), cells.next().unwrap(), "{name} in {state}");
        }
        assert_eq!(cells.next(), None);
    }
    rows.len()
}

#[test]
fn every_event_in_every_state_does_what_the_rfc_says() {
    assert_eq!(check(TABLE, &settings()), 21, "every event has its row");
    check(GRACEFUL_TABLE, &graceful());
}

#[test]
fn each_state_runs_the_timers_of_the_rfc() {
    let now = epoch();
    let wait = |state| {
        let (fsm, _) = in_state(state, now);
        let (at, event) = fsm.next_timer().unwrap();
        (event.name(), at - now)
    };
    assert_eq!(wait(State::Idle).0, "IdleHoldTimer_Expires");
    assert_eq!(wait(State::Connect).0, "ConnectRetryTimer_Expires");
    assert_eq!(wait(State::Active).0, "ConnectRetryTimer_Expires");
    assert_eq!(wait(State::OpenSent), ("HoldTimer_Expires", Duration::from_mins(4)));
    for state in [State::OpenConfirm, State::Established] {
        let (event, wait) = wait(state);
        assert_eq!(event, "KeepaliveTimer_Expires");
        assert!((Duration::from_millis(2250)..=Duration::from_secs(3)).contains(&wait), "{wait:?}");
    }
}

/// The waits between KEEPALIVEs with this hold time.
fn keepalive_waits(hold: Duration) -> Vec<Duration> {
    let mut now = epoch();
    let (mut fsm, mut shared) = in_state(State::OpenSent, now);
    let terms = Terms { hold_time: Some(hold), ..Terms::clone(&terms()) };
    fsm.handle(now, Event::BgpOpen(Arc::new(terms)), &mut shared);
    let mut wait = || {
        let (at, event) = fsm.next_timer().unwrap();
        assert_eq!(event.name(), "KeepaliveTimer_Expires");
        let wait = at - now;
        now = at;
        fsm.handle(now, event, &mut shared);
        fsm.handle(now, Event::KeepAliveMsg, &mut shared);
        fsm.handle(now, Event::MessageSent, &mut shared);
        wait
    };
    (0..50).map(|_| wait()).collect()
}

#[test]
fn keepalives_are_jittered_and_never_closer_than_a_second() {
    let waits = keepalive_waits(Duration::from_secs(90));
    let (least, most) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
    assert!(*least >= Duration::from_millis(22_500) && *most <= Duration::from_secs(30), "{waits:?}");
    assert!(most.abs_diff(*least) > Duration::from_secs(2), "{waits:?}");
    assert!(keepalive_waits(Duration::from_secs(3)).iter().all(|wait| *wait == Duration::from_secs(1)));
}

#[test]
fn an_attempt_that_loses_to_the_peers_connection_is_no_failure() {
    let now = epoch();
    let (mut fsm, mut shared) = in_state(State::Connect, now);
    for _ in 0..4 {
        fsm.handle(now, Event::OpenCollisionDump, &mut shared);
        fsm.handle(now, Event::IdleHoldTimerExpires, &mut shared);
    }
    assert!(shared.backoff.after_failure() <= Duration::from_secs(1));
}

#[test]
fn a_hold_time_of_zero_runs_no_timer() {
    let now = epoch();
    let (mut fsm, mut shared) = in_state(State::OpenSent, now);
    let terms = Terms { hold_time: None, ..Terms::clone(&terms()) };
    fsm.handle(now, Event::BgpOpen(Arc::new(terms)), &mut shared);
    assert!(fsm.next_timer().is_none());
    fsm.handle(now, Event::KeepAliveMsg, &mut shared);
    assert_eq!(fsm.state(), State::Established);
    assert!(fsm.next_timer().is_none());
}

/// How long Idle lasts after the session was lost.
fn idle_after_loss(fsm: &mut Fsm, shared: &mut Shared, now: Instant) -> Duration {
    fsm.handle(now, Event::TcpConnectionFails(String::new()), shared);
    fsm.next_timer().unwrap().0 - now
}

fn reestablish(fsm: &mut Fsm, shared: &mut Shared, now: Instant) {
    fsm.handle(now, Event::IdleHoldTimerExpires, shared);
    let link = link(shared, Initiator::Remote);
    fsm.handle(now, Event::TcpConnectionConfirmed(link), shared);
    fsm.handle(now, Event::BgpOpen(terms()), shared);
    fsm.handle(now, Event::KeepAliveMsg, shared);
    assert_eq!(fsm.state(), State::Established);
}

#[test]
fn waits_grow_while_sessions_are_short_and_begin_again_after_a_stable_one() {
    let mut now = epoch();
    let (mut fsm, mut shared) = in_state(State::Established, now);
    let mut last = Duration::ZERO;
    let moment = Duration::from_millis(1);
    let short = STABLE_AFTER.checked_sub(moment).unwrap();
    for _ in 0..12 {
        let wait = idle_after_loss(&mut fsm, &mut shared, now);
        assert!(wait > last || wait >= RETRY_CEILING.mul_f64(0.75), "{wait:?} after {last:?}");
        last = wait;
        now += wait;
        reestablish(&mut fsm, &mut shared, now);
        now += short;
    }
    assert!(last >= RETRY_CEILING.mul_f64(0.75) && last <= RETRY_CEILING, "{last:?}");
    now += moment;
    assert!(idle_after_loss(&mut fsm, &mut shared, now) <= Duration::from_secs(1));
}

#[test]
fn a_peer_that_refuses_parameters_gets_an_open_without_capabilities() {
    let now = epoch();
    let (mut fsm, mut shared) = in_state(State::OpenSent, now);
    fsm.handle(now, Event::NotifMsg(error(ErrorCode::UNSUPPORTED_OPTIONAL_PARAMETER)), &mut shared);
    let (at, _) = fsm.next_timer().unwrap();
    assert!(at <= now + Duration::from_secs(1), "that was not the peer's failure");
    assert!(shared.without_capabilities);
    shared.outputs.clear();
    let link = link(&mut shared, Initiator::Local);
    assert!(shared.send_open(now, link.id).capabilities.is_empty());
}

#[test]
fn after_an_unsupported_capability_either_way_only_the_peer_may_connect() {
    let unsupported = || error(ErrorCode::UNSUPPORTED_CAPABILITY);
    for event in [Event::NotifMsg(unsupported()), Event::MessageErr(unsupported(), "why".to_owned())] {
        let now = epoch();
        let (mut fsm, mut shared) = in_state(State::OpenSent, now);
        fsm.handle(now, event, &mut shared);
        let (at, timer) = fsm.next_timer().unwrap();
        fsm.handle(at, timer, &mut shared);
        assert!(matches!(fsm.phase(), Phase::Active { retry: None }));
        let link = link(&mut shared, Initiator::Remote);
        fsm.handle(at, Event::TcpConnectionConfirmed(link), &mut shared);
        assert_eq!(fsm.state(), State::OpenSent);
        fsm.handle(at, Event::TcpConnectionFails(String::new()), &mut shared);
        assert!(matches!(fsm.phase(), Phase::Active { retry: None }), "and again it is the peer's turn");
    }
}

#[test]
fn idle_is_not_left_before_bfd_lets_go() {
    let now = epoch();
    let (mut fsm, mut shared) = in_state(State::Idle, now);
    let until = now + Duration::from_secs(20);
    shared.held_by_bfd = Some(until);
    fsm.handle(now + Duration::from_secs(1), Event::IdleHoldTimerExpires, &mut shared);
    assert!(matches!(fsm.phase(), Phase::Idle { restart: Some(at) } if *at == until));
    fsm.handle(until, Event::IdleHoldTimerExpires, &mut shared);
    assert_eq!(fsm.state(), State::Connect);
}

#[test]
fn an_end_of_its_own_choosing_waits_as_it_is_told() {
    for (then, least, most) in [
        (Then::Pause, 750, 1000),
        (Then::Retry, 750, 1000),
        (Then::After(Duration::from_mins(5)), 300_000, 300_000),
    ] {
        let now = epoch();
        let (mut fsm, mut shared) = in_state(State::Established, now);
        fsm.handle(now, automatic_stop(then, true), &mut shared);
        let wait = fsm.next_timer().unwrap().0 - now;
        assert!((Duration::from_millis(least)..=Duration::from_millis(most)).contains(&wait), "{wait:?}");
    }
}
