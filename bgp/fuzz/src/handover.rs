//! What holds for whatever is in a session that another process hands over.
//!
//! - No snapshot makes the successor panic, nor what comes on the connection afterwards, nor the timers.
//! - What is resumed is established on the connection that was handed over, or ends at once.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use bytes::Bytes;
use proxima_bgp_session::{GracefulRestart, Input, Leave, Session, Settings, Snapshot, State};
use proxima_types::{Asn, Family, Prefix, RouteAttributes};

/// The target `handover`: flags (one octet); the times left on the hold, keepalive and send hold timers in seconds and how
/// long the session has been up (eight octets each); our OPEN, the peer's and a part of a message (each after its length in
/// two octets); then what comes on the connection.
pub fn handover(input: &[u8]) {
    let Some((snapshot, comes)) = snapshot(input) else { return };
    let now = Instant::now();
    let words = Session::last_words(now, snapshot.clone(), Leave::Deconfigured);
    let Ok((mut session, connection)) = Session::resume(settings(), 7, now, snapshot) else {
        return assert!(words.is_err(), "a session that can't be resumed can't be ended");
    };
    assert!(words.is_ok_and(|words| !words.is_empty()));
    // It ends at once where the settings are not those it was made under.
    match session.established() {
        Some(on) => assert_eq!((session.state(), on), (State::Established, connection)),
        None => assert_eq!(session.state(), State::Idle),
    }
    carry_out(&mut session);
    session.handle(now, Input::ReleaseEndOfRib);
    session.handle(now, Input::Received { connection, bytes: Bytes::copy_from_slice(comes) });
    carry_out(&mut session);
    for _ in 0..32 {
        let Some(at) = session.poll_timeout() else { break };
        session.handle_timeout(at.max(now));
        carry_out(&mut session);
    }
}

fn settings() -> Settings {
    let restart = GracefulRestart {
        restart_time: Duration::from_mins(2),
        stale_time: Duration::from_mins(6),
        forwarding: false,
    };
    Settings {
        graceful_restart: Some(restart),
        add_path: true,
        ..Settings::new(Asn(64512), Ipv4Addr::new(192, 0, 2, 1), Asn(65000))
    }
}

fn carry_out(session: &mut Session) {
    while session.poll_output().is_some() || session.poll_update().is_some() {}
}

fn snapshot(input: &[u8]) -> Option<(Snapshot, &[u8])> {
    let (flags, mut rest) = input.split_first()?;
    let flag = |bit: u8| flags & 1 << bit != 0;
    let mut seconds = [Duration::ZERO; 4];
    for span in &mut seconds {
        let (octets, after) = rest.split_first_chunk()?;
        *span = Duration::from_secs(u64::from_be_bytes(*octets));
        rest = after;
    }
    let mut parts = [&[][..]; 3];
    for part in &mut parts {
        let (length, after) = rest.split_first_chunk()?;
        (*part, rest) = after.split_at_checked(u16::from_be_bytes(*length).into())?;
    }
    let ([hold, keepalive, send_hold, established_for], [sent_open, received_open, partial]) =
        (seconds, parts);
    let families = if flag(4) { Family::ALL.to_vec() } else { Vec::new() };
    // One, both or none, as the hold time has it.
    let disabled = Family::ALL.into_iter().zip([1, 2]).filter(|(_, bit)| hold.as_secs() & bit != 0);
    let prefix = "203.0.113.0/24".parse().ok()?;
    let snapshot = Snapshot {
        settings: Settings { add_path: !flag(7), ..settings() },
        sent_open: sent_open.to_vec(),
        received_open: received_open.to_vec(),
        local: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
        link_local: None,
        subnet: flag(0).then(|| Prefix::truncating(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)), 24)),
        initiated: flag(0),
        established_for,
        hold: flag(1).then_some(hold),
        keepalive: flag(2).then_some(keepalive),
        send_hold: flag(3).then_some(send_hold),
        partial_message: partial.to_vec(),
        // The same octets once more: whole messages, or the beginning of one.
        received: flag(6).then(|| partial.to_vec()),
        sent: if flag(5) { vec![(prefix, RouteAttributes::default())] } else { Vec::new() },
        end_of_rib_due: families.clone(),
        refresh_due: families,
        disabled: disabled.map(|(family, _)| family).collect(),
        counters: proxima_bgp_session::Counters::default(),
    };
    Some((snapshot, rest))
}
