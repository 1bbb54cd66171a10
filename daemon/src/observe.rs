//! Who else announces a guarded group, by the routes of its observing sessions.
//!
//! ```text
//! routing table ─▶ a watch per prefix ─────────────────────────┐
//! sessions' states, ten times a second ─▶ a watch, when others ┴▶ a task per guarded group ─▶ View ─▶ bounded queue ─▶ guard
//! ```
//!
//! Another PoP announces the group when it is seen to announce each of its prefixes; a route tells its PoP by the mark it bears
//! ([`Sighting`]). Routes that are looped or lead nowhere from here count as well: PoPs of one AS see each other's routes that
//! way. What a session had before it was lost (RFC 4724) does not; what a refresh (RFC 7313) has not brought again yet does, as
//! the session that would withdraw it is up.
//!
//! Whether a session is complete is asked before the table is, and once more after: what a session that fell in between no
//! longer has is never taken for a withdrawal.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures_util::future::select_all;
use proxima_announce::{Origin, Sighting, View};
use proxima_bgp_speaker::{Change, PeerRoute, PeerStatus, SpeakerHandle, Stale, State, Unusable, Watch};
use proxima_config::Config;
use proxima_types::{Asn, Family, GroupName, PeerName, Prefix};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

/// How many views may wait for the control task.
const QUEUE: usize = 64;
/// How often sessions are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What is seen of a group now.
pub(crate) type Seen = (GroupName, View);

/// The tasks that observe; dropping it ends them.
#[derive(Debug)]
pub(crate) struct Observers {
    tasks: JoinSet<()>,
    views: mpsc::Sender<Seen>,
}

impl Observers {
    /// Nobody observes yet.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Seen>) {
        let (views, seen) = mpsc::channel(QUEUE);
        (Self { tasks: JoinSet::new(), views }, seen)
    }

    /// From now on the guarded groups of `config` are observed, and no others.
    pub(crate) fn follow(&mut self, config: &Config, speaker: &SpeakerHandle) {
        self.tasks = JoinSet::new();
        let (sessions, told) = watch::channel(Vec::new());
        if config.groups.values().any(|group| group.guard.is_some()) {
            self.tasks.spawn(look_at_sessions(speaker.clone(), sessions));
        }
        for (name, group) in &config.groups {
            let Some(guard) = &group.guard else { continue };
            let watched = Watched {
                local_as: config.bgp.local_as,
                prefixes: group.prefixes.clone(),
                observe: guard.observe.clone(),
            };
            let observer = observe(name.clone(), watched, speaker.clone(), told.clone(), self.views.clone());
            self.tasks.spawn(async move {
                observer.await; // None: the speaker is gone, or nobody listens
            });
        }
    }
}

/// What is looked for, and where.
#[derive(Debug)]
struct Watched {
    local_as: Asn,
    prefixes: Vec<Prefix>,
    observe: Vec<PeerName>,
}

/// A session that is established, and of which families all its routes are known.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Session {
    peer: PeerName,
    /// The range that the peer is a member of.
    range: Option<PeerName>,
    /// Since when, which tells it from others of the peer.
    since: Instant,
    complete: Vec<Family>,
}

/// Tells when other sessions are established or complete than before. Until nobody listens.
async fn look_at_sessions(speaker: SpeakerHandle, told: watch::Sender<Vec<Session>>) {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !told.is_closed() {
        looks.tick().await;
        let sessions = established(&speaker);
        told.send_if_modified(|before| {
            let others = *before != sessions;
            *before = sessions;
            others
        });
    }
}

fn established(speaker: &SpeakerHandle) -> Vec<Session> {
    let session = |peer: PeerStatus| Session {
        peer: peer.name,
        range: peer.range,
        since: peer.since,
        complete: peer.session.complete,
    };
    let peers = speaker.peers().into_iter();
    peers.filter(|peer| peer.session.state == State::Established).map(session).collect()
}

async fn observe(
    group: GroupName,
    watched: Watched,
    speaker: SpeakerHandle,
    mut others: watch::Receiver<Vec<Session>>,
    views: mpsc::Sender<Seen>,
) -> Option<()> {
    let mut changes = Vec::new();
    for prefix in &watched.prefixes {
        changes.push(speaker.watch(Watch::Exact(*prefix)).await.ok()?);
    }
    let (mut told, mut seen) = (None, None);
    loop {
        let sessions = watched.observing(established(&speaker));
        if seen.as_ref() != Some(&sessions) {
            let view = watched.look(&speaker, &sessions).await?;
            if watched.observing(established(&speaker)) != sessions {
                continue;
            }
            seen = Some(sessions);
            if told.as_ref() != Some(&view) {
                views.send((group.clone(), view.clone())).await.ok()?;
                told = Some(view);
            }
        }
        tokio::select! {
            changed = any(&mut changes) => {
                changed?;
                seen = None;
            }
            changed = others.changed() => changed.ok()?,
        }
    }
}

/// Waits until one of them changes; None when the speaker is gone. Cancel-safe.
async fn any(changes: &mut [watch::Receiver<Option<Change>>]) -> Option<()> {
    let changes = changes.iter_mut().map(|change| Box::pin(change.changed()));
    let (changed, _, _) = select_all(changes).await;
    changed.ok()
}

impl Watched {
    /// Those of the sessions that observe. A range stands for its members.
    fn observing(&self, sessions: Vec<Session>) -> Vec<Session> {
        let observes = |session: &Session| {
            let range = session.range.as_ref();
            self.observe.contains(&session.peer) || range.is_some_and(|range| self.observe.contains(range))
        };
        sessions.into_iter().filter(observes).collect()
    }

    async fn look(&self, speaker: &SpeakerHandle, sessions: &[Session]) -> Option<View> {
        let mut routes = Vec::new();
        for prefix in &self.prefixes {
            let paths = speaker.explain(*prefix).await.ok()?;
            routes.push((*prefix, paths.into_iter().map(|(route, _)| route).collect()));
        }
        Some(self.view(sessions, &routes))
    }

    /// Who is seen to announce all of the prefixes. One who is leaving with any of them is leaving.
    fn view(&self, sessions: &[Session], routes: &[(Prefix, Vec<PeerRoute>)]) -> View {
        let complete = |family: Family| sessions.iter().any(|session| session.complete.contains(&family));
        let observing = self.prefixes.iter().all(|prefix| complete(prefix.family()));
        let mut everywhere: Option<BTreeMap<Origin, bool>> = None;
        for (prefix, paths) in routes {
            let mut here = BTreeMap::new();
            for Sighting { origin, leaving } in
                paths.iter().filter_map(|path| self.sighting(sessions, prefix.family(), path))
            {
                *here.entry(origin).or_default() |= leaving;
            }
            everywhere = Some(match everywhere {
                None => here,
                Some(before) => {
                    let both = |(origin, leaving)| Some((origin, leaving | here.get(&origin)?));
                    before.into_iter().filter_map(both).collect()
                }
            });
        }
        let others = everywhere.unwrap_or_default();
        let sighting = |(origin, leaving)| Sighting { origin, leaving };
        View { observing, others: others.into_iter().map(sighting).collect() }
    }

    /// What a path tells, if it is of an observing session and of today.
    fn sighting(&self, sessions: &[Session], family: Family, path: &PeerRoute) -> Option<Sighting> {
        let peer = path.peer.as_ref()?;
        let known = |session: &&Session| session.peer == *peer && session.complete.contains(&family);
        sessions.iter().find(known)?;
        let counts = match path.route.unusable {
            None | Some(Unusable::AsLoop | Unusable::NoPolicy | Unusable::NextHop) => {
                path.route.stale != Some(Stale::Restart)
            }
            Some(Unusable::ReflectionLoop | Unusable::Leak) => false,
        };
        let marks = path.route.shared.attributes.large_communities.iter().copied();
        Sighting::of(self.local_as, marks).filter(|_| counts)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proxima_bgp_speaker::{PeerId, Route, Shared};
    use proxima_bgp_wire::{Attributes, NextHop};
    use proxima_types::LargeCommunity;

    use super::*;

    const ORIGINS: [u32; 3] = [7, 8, 9];

    fn watched(prefixes: &[&str]) -> Watched {
        Watched {
            local_as: Asn(64512),
            prefixes: prefixes.iter().map(|prefix| prefix.parse().unwrap()).collect(),
            observe: vec!["rr1".parse().unwrap(), "rr2".parse().unwrap()],
        }
    }

    fn session(peer: &str, complete: &[Family]) -> Session {
        let (peer, since) = (peer.parse().unwrap(), Instant::now());
        Session { peer, range: None, since, complete: complete.to_vec() }
    }

    /// A route of `peer` with these marks: kind and origin.
    fn route(peer: &str, marks: &[(u32, u32)]) -> PeerRoute {
        let mark = |&(local1, local2): &(u32, u32)| LargeCommunity { global: 64512, local1, local2 };
        let attributes =
            Attributes { large_communities: marks.iter().map(mark).collect(), ..Attributes::default() };
        let next_hop = NextHop::from("192.0.2.9".parse::<std::net::IpAddr>().unwrap());
        let route = Route {
            prefix: "203.0.113.0/24".parse().unwrap(),
            peer: PeerId(0),
            path_id: 0,
            shared: Arc::new(Shared { attributes, next_hop }),
            received_at: Instant::now(),
            stale: None,
            unusable: None,
        };
        PeerRoute { peer: Some(peer.parse().unwrap()), route }
    }

    fn others(view: &View) -> Vec<(u32, bool)> {
        view.others.iter().map(|other| (other.origin.0, other.leaving)).collect()
    }

    #[test]
    fn who_announces_only_some_of_the_prefixes_does_not_count_and_who_leaves_with_one_is_leaving() {
        let [all, one, leaving] = ORIGINS;
        let watched = watched(&["203.0.113.0/24", "2001:db8::/32"]);
        let sessions = [session("rr1", &Family::ALL)];
        let routes = [
            (
                watched.prefixes[0],
                vec![route("rr1", &[(1, all)]), route("rr1", &[(1, one)]), route("rr1", &[(1, leaving)])],
            ),
            (
                watched.prefixes[1],
                vec![route("rr1", &[(1, all)]), route("rr1", &[(1, leaving), (2, leaving)])],
            ),
        ];
        let view = watched.view(&sessions, &routes);
        assert!(view.observing);
        assert_eq!(others(&view), [(all, false), (leaving, true)]);
    }

    #[test]
    fn each_family_needs_a_session_that_has_told_all_its_routes() {
        let watched = watched(&["203.0.113.0/24", "2001:db8::/32"]);
        for (sessions, observing) in [
            (vec![], false),
            (vec![session("rr1", &[])], false),
            (vec![session("rr1", &[Family::Ipv4])], false),
            (vec![session("rr1", &[Family::Ipv4]), session("rr2", &[Family::Ipv6])], true),
        ] {
            assert_eq!(watched.view(&sessions, &[]).observing, observing, "{sessions:?}");
        }
    }

    #[test]
    fn a_range_that_observes_stands_for_its_members() {
        let mut member = session("racks/10.1.0.7", &Family::ALL);
        member.range = Some("racks".parse().unwrap());
        let sessions = vec![member, session("rr2", &[]), session("tor1", &Family::ALL)];
        let mut watched = watched(&["203.0.113.0/24"]);
        watched.observe = vec!["racks".parse().unwrap(), "rr2".parse().unwrap()];
        assert_eq!(watched.observing(sessions.clone()), sessions[..2]);
    }

    #[test]
    fn only_routes_of_today_from_observing_sessions_count_looped_and_refreshed_ones_included() {
        let watched = watched(&["203.0.113.0/24"]);
        let sessions = [session("rr1", &[Family::Ipv4]), session("rr2", &[])];
        let mut kept = route("rr1", &[(1, 1)]);
        kept.route.stale = Some(Stale::Restart);
        let mut refreshed = route("rr1", &[(1, 9)]);
        refreshed.route.stale = Some(Stale::Refresh);
        let unusable = |origin, why| {
            let mut path = route("rr1", &[(1, origin)]);
            path.route.unusable = Some(why);
            path
        };
        let paths = vec![
            kept,
            route("rr2", &[(1, 2)]),
            route("tor1", &[(1, 3)]),
            unusable(4, Unusable::Leak),
            unusable(5, Unusable::ReflectionLoop),
            route("rr1", &[]),
            unusable(7, Unusable::AsLoop),
            unusable(8, Unusable::NextHop),
            unusable(10, Unusable::NoPolicy),
            refreshed,
        ];
        let view = watched.view(&sessions, &[(watched.prefixes[0], paths)]);
        assert_eq!(others(&view), [7, 8, 9, 10].map(|origin| (origin, false)));
    }
}
