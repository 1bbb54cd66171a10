//! Peers and their sessions.

use std::{collections::BTreeMap, time::Instant};

use proxima_api as api;
use proxima_bgp_speaker::{Held, PeerStatus, Remote, Stamped, State, Timers};
use proxima_bgp_wire::{Capability, Open};
use proxima_types::{Family, PeerName};

use super::milliseconds;
use crate::{control::Control, words};

impl Control {
    pub(crate) fn peers(&self, now: Instant) -> api::Peers {
        let (peers, bfd) = (self.speaker.peers(), self.bfd_by_peer(now));
        api::Peers { peers: peers.iter().map(|peer| self.peer(now, peer, &bfd)).collect() }
    }

    fn peer(&self, now: Instant, peer: &PeerStatus, bfd: &BTreeMap<PeerName, api::BfdSession>) -> api::Peer {
        let (session, terms) = (&peer.session, peer.terms());
        // A member has the settings of its range.
        let configured = peer.range.as_ref().unwrap_or(&peer.name);
        let configured = self.config.bgp.peers.iter().find(|config| config.name == *configured);
        let families = match (terms, configured) {
            (Some(_), _) => peer.families(),
            (None, Some(configured)) => configured.families.clone(),
            (None, None) => Vec::new(),
        };
        let limit = configured.map(|configured| configured.max_prefixes.limit.get());
        let prefixes = families.iter().map(|family| api::PrefixCount {
            family: *family,
            received: (*session.received.of(*family)).into(),
            limit,
            stale: session.stale.contains(family),
        });
        let counters = &session.counters;
        api::Peer {
            name: peer.name.clone(),
            configured: peer.configured.to_string(),
            address: match &peer.configured {
                Remote::Address { address, .. } => Some(*address),
                Remote::Range { .. } | Remote::Interface { .. } => peer.remote.map(|remote| remote.ip()),
            },
            port: peer.port,
            remote_as: peer.remote_as,
            internal: peer.remote_as == self.config.bgp.local_as,
            state: words::session_state(session.state),
            since: self.wall(peer.since),
            since_ms: milliseconds(now.saturating_duration_since(peer.since)),
            held: session.held.as_ref().and_then(|held| held_words(now, held)),
            last_error: last_error(peer),
            last_sent: self.stamped(now, session.last_sent.as_ref(), words::session_reason),
            last_received: self
                .stamped(now, session.last_received.as_ref(), |n| Some(words::notification_received(n))),
            last_transport_error: self.stamped(now, session.last_transport_error.as_ref(), |error| {
                Some(api::SessionReason::Transport { error: error.clone() })
            }),
            local: peer.local,
            remote: peer.remote,
            remote_router_id: terms.map(|terms| terms.peer.router_id),
            hold_time_s: terms.map(|terms| {
                terms.hold_time.map_or(0, |hold| u16::try_from(hold.as_secs()).unwrap_or(u16::MAX))
            }),
            timers: timers(now, &session.timers),
            capabilities: capabilities(session.sent_open.as_deref(), terms.map(|terms| &terms.peer)),
            prefixes: prefixes.collect(),
            families,
            roles: roles(peer),
            bfd: bfd.get(&peer.name).cloned(),
            advertised: session.advertised as u64,
            received: Family::ALL.iter().map(|family| u64::from(*session.received.of(*family))).sum(),
            messages: api::Messages {
                sent: counters.messages_sent,
                received: counters.messages_received,
                refreshes_sent: counters.refreshes_sent,
                refreshes_received: counters.refreshes_received,
                treated_as_withdrawn: counters.treated_as_withdrawn,
                martians: counters.martians,
                own_next_hops: counters.own_next_hops,
                discarded: counters.discarded,
                loops: counters.loops,
                leaks: counters.leaks,
            },
            updates_sent: counters.updates_sent,
            updates_received: counters.updates_received,
            established_count: counters.flaps + u64::from(session.state == State::Established),
            flaps: counters.flaps,
        }
    }

    fn stamped<T>(
        &self,
        now: Instant,
        stamped: Option<&Stamped<T>>,
        say: impl Fn(&T) -> Option<api::SessionReason>,
    ) -> Option<api::Stamped> {
        let Stamped { at, what } = stamped?;
        let ago_ms = milliseconds(now.saturating_duration_since(*at));
        Some(api::Stamped { at: self.wall(*at), ago_ms, reason: say(what)? })
    }
}

fn last_error(peer: &PeerStatus) -> Option<api::SessionReason> {
    let session = &peer.session;
    words::session_reason(&session.cause)
        .or_else(|| session.last_sent.as_ref().and_then(|sent| words::session_reason(&sent.what)))
        .or_else(|| session.last_received.as_ref().map(|n| words::notification_received(&n.what)))
        .or_else(|| {
            let error = session.last_transport_error.as_ref()?.what.clone();
            Some(api::SessionReason::Transport { error })
        })
}

fn held_words(now: Instant, held: &Held) -> Option<api::Held> {
    let left = |until: Instant| milliseconds(until.saturating_duration_since(now));
    Some(match held {
        Held::NotStarted => return None,
        Held::Shutdown(reason) => api::Held::Shutdown { reason: reason.clone() },
        Held::Left => api::Held::Waiting { reason: "the daemon stops".to_owned() },
        Held::PrefixLimit { until } => api::Held::PrefixLimit { retry_ms: until.map(left) },
        Held::Capability => api::Held::Capability,
        Held::Bfd { until } => api::Held::Bfd { retry_ms: left(*until) },
    })
}

/// What runs, the soonest first.
fn timers(now: Instant, timers: &Timers) -> Vec<api::Timer> {
    let Timers {
        connect_retry,
        idle_hold,
        hold,
        keepalive,
        send_hold,
        drain,
        restart,
        stale,
        restart_window,
        refresh,
    } = *timers;
    let mut running: Vec<api::Timer> = [
        ("connect-retry", connect_retry),
        ("idle-hold", idle_hold),
        ("hold", hold),
        ("keepalive", keepalive),
        ("send-hold", send_hold),
        ("drain", drain),
        ("restart", restart),
        ("stale", stale),
        ("restart-window", restart_window),
        ("refresh", refresh),
    ]
    .into_iter()
    .filter_map(|(name, deadline)| {
        let left_ms = milliseconds(deadline?.saturating_duration_since(now));
        Some(api::Timer { name: name.to_owned(), left_ms })
    })
    .collect();
    running.sort_by_key(|timer| timer.left_ms);
    running
}

/// What each side offered, by code; several of one code are one here.
fn capabilities(sent: Option<&Open>, received: Option<&Open>) -> Vec<api::Capability> {
    let mut offered: BTreeMap<u8, api::Capability> = BTreeMap::new();
    let mut note = |open: Option<&Open>, side: fn(&mut api::Capability) -> &mut Option<String>| {
        for capability in open.into_iter().flat_map(|open| &open.capabilities) {
            let entry = offered.entry(capability.code()).or_insert_with(|| named(capability));
            let details = capability.details();
            match side(entry) {
                Some(said) if said.split(", ").any(|part| part == details) => {}
                Some(said) => *said = format!("{said}, {details}"),
                none => *none = Some(details),
            }
        }
    };
    note(sent, |capability| &mut capability.sent);
    note(received, |capability| &mut capability.received);
    offered.into_values().collect()
}

fn named(capability: &Capability) -> api::Capability {
    let code = capability.code();
    let name = capability.name().map_or_else(|| format!("capability {code}"), str::to_owned);
    api::Capability { code, name, sent: None, received: None }
}

fn roles(peer: &PeerStatus) -> Option<api::Roles> {
    let local = peer.session.role.map(|role| role.to_string());
    let remote = peer.terms().and_then(|terms| terms.peer_role).map(|role| role.to_string());
    (local.is_some() || remote.is_some()).then_some(api::Roles { local, remote })
}

#[cfg(test)]
mod tests {
    use proxima_types::Asn;

    use super::*;

    #[test]
    fn capabilities_of_one_code_are_one_line_and_each_side_is_told_apart() {
        let open = |capabilities| Open::new(Asn(64512), 9, [10, 0, 0, 1].into(), capabilities);
        let family = Capability::multiprotocol;
        let ours = open(vec![family(Family::Ipv4), family(Family::Ipv6), Capability::RouteRefresh]);
        let theirs = open(vec![
            family(Family::Ipv4),
            family(Family::Ipv4),
            Capability::Unknown { code: 200, value: vec![1, 2] },
        ]);
        let told: Vec<_> = capabilities(Some(&ours), Some(&theirs))
            .into_iter()
            .map(|capability| (capability.code, capability.sent, capability.received))
            .collect();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            told,
            [(1, some("ipv4, ipv6"), some("ipv4")), (2, some(""), None), (200, None, some("01 02"))]
        );
        assert!(capabilities(None, None).is_empty());
    }

    #[test]
    fn timers_are_told_with_what_is_left_the_soonest_first() {
        let now = Instant::now();
        let in_ms = |ms| Some(now + std::time::Duration::from_millis(ms));
        let running = Timers { hold: in_ms(9000), keepalive: in_ms(1500), ..Timers::default() };
        let told: Vec<_> =
            timers(now, &running).into_iter().map(|timer| (timer.name, timer.left_ms)).collect();
        assert_eq!(told, [("keepalive".to_owned(), 1500), ("hold".to_owned(), 9000)]);
    }
}
