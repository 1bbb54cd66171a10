//! How the rest of the daemon steers a speaker.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use proxima_bgp_rib::{Change, PeerId, Summary, Verdict, Watch};
use proxima_bgp_session::{AllowList, Announced, Desired, Leave, NotAllowed};
use proxima_types::{Announcement, Family, PeerName, Prefix};
use tokio::{
    sync::{Mutex, oneshot, watch},
    task::JoinSet,
};

use crate::{
    BfdState, BmpConfig, CommandError, DumpError, Effect, MrtConfig, PeerConfig, PeerRoute, PeerStatus,
    RoutePage, carried,
    detach::{Detached, HandOver, Handed, Resumed},
    mrt,
    peer::Command,
    rib::RibQueue,
    roster::{Named, PeerPort, Roster},
    watchers::Watchers,
};

/// The handle of a running speaker; cheap to clone.
#[derive(Clone)]
pub struct SpeakerHandle {
    inner: Arc<Inner>,
}

struct Inner {
    roster: Arc<Roster>,
    router_id: Ipv4Addr,
    /// The listeners' tasks.
    listeners: Mutex<JoinSet<()>>,
    watchers: Mutex<Watchers>,
}

impl std::fmt::Debug for SpeakerHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpeakerHandle").finish_non_exhaustive()
    }
}

/// Routes and sessions as they are.
impl SpeakerHandle {
    pub(crate) fn new(
        router_id: Ipv4Addr,
        roster: Arc<Roster>,
        listeners: JoinSet<()>,
        watchers: Watchers,
    ) -> Self {
        let (listeners, watchers) = (Mutex::new(listeners), Mutex::new(watchers));
        Self { inner: Arc::new(Inner { roster, router_id, listeners, watchers }) }
    }

    /// The routes every peer is to hold from now on: all of them, not a change. Equal state sends nothing.
    ///
    /// # Errors
    /// When a prefix is not on the allow-list; the error names all such prefixes, and nothing is changed.
    pub fn set_desired(&self, announcements: Vec<Announcement>) -> Result<(), NotAllowed> {
        let allow_list = self.allow_list();
        let desired = Desired::new(&allow_list, announcements)?;
        self.inner.roster.wanted().send_if_modified(|wanted| {
            let changed = wanted.desired != desired;
            wanted.desired = desired;
            changed
        });
        Ok(())
    }

    /// Replaces the list of what may be announced at all, when the configuration has changed. First widen it, then have the
    /// new routes desired, then narrow it: nothing is withdrawn behind the back of who desires it.
    ///
    /// # Errors
    /// When a prefix that is desired now is not on the new list; the error names all such prefixes, and nothing is changed.
    pub fn set_allow_list(&self, list: AllowList) -> Result<(), NotAllowed> {
        let mut allow_list = self.allow_list();
        let desired = self.inner.roster.wanted().borrow().desired.clone();
        let prefixes = desired.iter().map(|(exportable, _)| exportable.prefix());
        let missing: Vec<Prefix> = prefixes.filter(|prefix| list.exportable(*prefix).is_none()).collect();
        if missing.is_empty() {
            *allow_list = list;
            Ok(())
        } else {
            Err(NotAllowed(missing))
        }
    }

    fn allow_list(&self) -> std::sync::MutexGuard<'_, AllowList> {
        self.inner.roster.allow_list()
    }

    /// The desired state is complete for the first time: End-of-RIB may follow it, on this and every later session.
    pub fn release_end_of_rib(&self) {
        let wanted = self.inner.roster.wanted();
        wanted.send_if_modified(|wanted| !std::mem::replace(&mut wanted.end_of_rib, true));
    }

    /// Every peer in the order of the configuration, then the members of ranges.
    pub fn peers(&self) -> Vec<PeerStatus> {
        self.inner.roster.ports().iter().map(|peer| peer.status.borrow().clone()).collect()
    }

    /// Waits until `condition` holds for the peer's status; for orderly starts and for tests.
    ///
    /// # Errors
    /// When there is no such peer, or it ends first.
    pub async fn wait_for(
        &self,
        peer: &str,
        condition: impl FnMut(&PeerStatus) -> bool,
    ) -> Result<PeerStatus, CommandError> {
        let mut status = self.inner.roster.session(peer)?.status;
        let status = status.wait_for(condition).await.map_err(|_| CommandError::Stopped)?;
        Ok(status.clone())
    }

    /// The routes the peer holds from us, as they were sent, in order of prefix.
    ///
    /// # Errors
    /// When there is no such peer, or the speaker was stopped.
    pub async fn advertised(&self, peer: &str) -> Result<Vec<(Prefix, Arc<Announced>)>, CommandError> {
        ask(&self.inner.roster.session(peer)?, Command::Advertised).await
    }

    /// Where it listens, with the ports the kernel chose.
    pub fn listening(&self) -> Vec<SocketAddr> {
        self.inner.roster.listening()
    }
}

/// What the peers have announced: answers of the routing table.
impl SpeakerHandle {
    /// The routes of a peer in order of prefix, those of `after` and before left out, about `limit` of them.
    ///
    /// # Errors
    /// When there is no such peer, or the speaker was stopped.
    pub async fn received(
        &self,
        peer: &str,
        after: Option<Prefix>,
        limit: usize,
    ) -> Result<RoutePage, CommandError> {
        let PeerPort { id, .. } = self.inner.roster.session(peer)?;
        let page =
            self.rib().ask(move |rib| rib.received(id, after, limit)).await.ok_or(CommandError::Stopped)?;
        Ok(self.page(page))
    }

    /// The routes of all peers, or of one, to `prefix` and all more specific ones, likewise.
    ///
    /// # Errors
    /// When there is no such peer, or the speaker was stopped.
    pub async fn within(
        &self,
        prefix: Prefix,
        peer: Option<&str>,
        after: Option<Prefix>,
        limit: usize,
    ) -> Result<RoutePage, CommandError> {
        let of = peer.map(|peer| self.inner.roster.session(peer)).transpose()?.map(|port| port.id);
        let page = self.rib().ask(move |rib| rib.within(prefix, of, after, limit)).await;
        Ok(self.page(page.ok_or(CommandError::Stopped)?))
    }

    /// How much there is in the table, after a best path has been chosen for every prefix: in parts, so that what comes meanwhile
    /// is not held up, and may or may not be counted.
    ///
    /// # Errors
    /// When the speaker was stopped.
    pub async fn summary(&self) -> Result<Summary, CommandError> {
        let mut sum = Summary::default();
        loop {
            let after = sum.next;
            let part = self.rib().ask(move |rib| rib.summary(after)).await.ok_or(CommandError::Stopped)?;
            sum.prefixes += part.prefixes;
            sum.selected += part.selected;
            sum.paths += part.paths;
            sum.next = part.next;
            if part.next.is_none() {
                return Ok(sum);
            }
        }
    }

    /// The best route to exactly this prefix.
    ///
    /// # Errors
    /// When the speaker was stopped.
    pub async fn best(&self, prefix: Prefix) -> Result<Option<PeerRoute>, CommandError> {
        let best = self.rib().ask(move |rib| rib.best(prefix)).await.ok_or(CommandError::Stopped)?;
        Ok(best.map(|route| self.named(route)))
    }

    /// The route to an address: the best one to the longest prefix that holds it and has a usable route.
    ///
    /// # Errors
    /// When the speaker was stopped.
    pub async fn lookup(&self, address: IpAddr) -> Result<Option<PeerRoute>, CommandError> {
        let found = self.rib().ask(move |rib| rib.lookup(address)).await.ok_or(CommandError::Stopped)?;
        Ok(found.map(|route| self.named(route)))
    }

    /// All routes to exactly this prefix, the best first, and why each of the others is not the best.
    ///
    /// # Errors
    /// When the speaker was stopped.
    pub async fn explain(&self, prefix: Prefix) -> Result<Vec<(PeerRoute, Verdict)>, CommandError> {
        let routes = self.rib().ask(move |rib| rib.explain(prefix)).await.ok_or(CommandError::Stopped)?;
        Ok(routes.into_iter().map(|(route, verdict)| (self.named(route), verdict)).collect())
    }

    /// The prefixes with routes that cover `prefix`, itself included, the longest first.
    ///
    /// # Errors
    /// When the speaker was stopped.
    pub async fn covering(&self, prefix: Prefix) -> Result<Vec<Prefix>, CommandError> {
        let covering = self.rib().ask(move |rib| rib.covering(prefix).collect()).await;
        covering.ok_or(CommandError::Stopped)
    }

    /// Watches a prefix: the receiver holds the last change, and None before there were routes. Several changes may be one;
    /// the watch ends when the receiver is dropped.
    ///
    /// # Errors
    /// When the speaker was stopped.
    pub async fn watch(&self, what: Watch) -> Result<watch::Receiver<Option<Change>>, CommandError> {
        self.rib().watch(what).await.ok_or(CommandError::Stopped)
    }

    /// Writes the whole table to a file, in the format of MRT (RFC 6396): `bgpdump` and the like read it. The file is there
    /// when it is whole.
    ///
    /// # Errors
    /// When it can't be written, or the speaker was stopped.
    pub async fn dump_mrt(&self, path: PathBuf) -> Result<(), DumpError> {
        mrt::dump(path, self.inner.router_id, self.rib().clone(), self.inner.roster.ids()).await
    }

    /// The name of a peer by its number in the table; none when it is gone.
    pub fn peer_name(&self, id: PeerId) -> Option<PeerName> {
        self.inner.roster.name_of(id)
    }

    pub(crate) fn rib(&self) -> &RibQueue {
        self.inner.roster.rib()
    }

    fn page(&self, page: proxima_bgp_rib::Page) -> RoutePage {
        RoutePage {
            routes: page.routes.into_iter().map(|route| self.named(route)).collect(),
            next: page.next,
        }
    }

    fn named(&self, route: proxima_bgp_rib::Route) -> PeerRoute {
        PeerRoute { peer: self.inner.roster.name_of(route.peer), route }
    }
}

/// Commands. Those for a range go to all its members.
impl SpeakerHandle {
    /// Ends the session with Cease 6/4 and begins it anew, without what earlier failures have taught; one that is shut down
    /// comes up.
    ///
    /// # Errors
    /// When there is no such peer, or the speaker was stopped.
    pub async fn reset(&self, peer: &str) -> Result<(), CommandError> {
        self.tell(peer, || Command::Reset).await
    }

    /// Asks the peer for its routes of a family again (RFC 2918); what it then leaves out goes (RFC 7313).
    ///
    /// # Errors
    /// When there is no such peer, or the speaker was stopped.
    pub async fn refresh(&self, peer: &str, family: Family) -> Result<(), CommandError> {
        self.tell(peer, || Command::Refresh(family)).await
    }

    /// Takes the session down until [`Self::up`]: for the time of `drain` its routes are announced as about to go
    /// (GRACEFUL_SHUTDOWN, RFC 8326), then it ends with Cease 6/2 and `reason` (RFC 9003). Returns at once. A range lets nobody
    /// in any more.
    ///
    /// # Errors
    /// When there is no such peer, or the speaker was stopped.
    pub async fn shutdown(&self, peer: &str, reason: &str, drain: Duration) -> Result<(), CommandError> {
        self.inner.roster.set_down(peer, Some(reason.to_owned()));
        self.tell(peer, || Command::Shutdown { reason: reason.to_owned(), drain }).await
    }

    /// Lets a session come up again that was shut down or closed for too many prefixes, and ends every wait.
    ///
    /// # Errors
    /// When there is no such peer, or the speaker was stopped.
    pub async fn up(&self, peer: &str) -> Result<(), CommandError> {
        self.inner.roster.set_down(peer, None);
        self.tell(peer, || Command::Up).await
    }

    /// Tells a session how its BFD session stands (RFC 5882): its fall, if it was up, ends the session with Cease 6/10.
    ///
    /// # Errors
    /// When there is no such peer, or the speaker was stopped.
    pub async fn bfd(&self, peer: &str, state: BfdState) -> Result<(), CommandError> {
        self.tell(peer, || Command::Bfd(state.clone())).await
    }

    /// Begins a session with one more peer, or lets one more range in.
    ///
    /// # Errors
    /// When it contradicts itself or another peer; nothing is changed then.
    #[expect(clippy::unused_async, reason = "awaited like the other commands")]
    pub async fn add_peer(&self, peer: PeerConfig) -> Result<(), CommandError> {
        if self.inner.roster.add(peer, Resumed::default())? { Ok(()) } else { Err(CommandError::Stopped) }
    }

    /// Ends a peer, or a range with its members: withdrawals, then Cease 6/3 (peer deconfigured). Returns when the last words
    /// are delivered, at most two seconds later.
    ///
    /// # Errors
    /// When there is no such peer, or it is a member of a range.
    pub async fn remove_peer(&self, peer: &str) -> Result<(), CommandError> {
        leave(&self.inner.roster.remove(peer)?, &Leave::Deconfigured).await;
        Ok(())
    }

    /// Gives the peer of this name another configuration, and says what that meant for its session: see [`Effect`]. Returns
    /// when the session has taken it over. No other peer notices.
    ///
    /// # Errors
    /// When there is no such peer, or the new configuration contradicts itself or another peer; nothing is changed then.
    pub async fn reconfigure(&self, peer: PeerConfig) -> Result<Effect, CommandError> {
        let (effect, told) = self.inner.roster.reconfigure(peer.clone())?;
        if effect == Effect::Replaced {
            self.remove_peer(peer.name.as_str()).await?;
            self.add_peer(peer).await?;
            return Ok(effect);
        }
        let mut gone = Vec::new();
        for (port, config) in told {
            match config {
                // A task that has ended needs no configuration.
                Some(config) => {
                    ask(&port, |done| Command::Reconfigure(Box::new(config), done)).await.ok();
                }
                None => gone.push(port),
            }
        }
        leave(&gone, &Leave::Deconfigured).await;
        Ok(effect)
    }

    /// From now on these stations are told of sessions and routes, and the table is dumped so. What was the same before goes
    /// on; a station that is no longer among them is told that this is the end, at most two seconds long.
    pub async fn set_watchers(&self, bmp: Vec<BmpConfig>, mrt: Option<MrtConfig>) {
        let mut watchers = self.inner.watchers.lock().await;
        watchers.keep(&bmp, mrt.as_ref()).await;
        watchers.begin(bmp, mrt, &self.inner.roster);
    }

    /// Takes leave of every peer as `how` says, stops listening, and returns when the last words are delivered, at most two
    /// seconds later. A second call returns at once. For [`Leave::Upgrade`] there is [`Self::hand_over`].
    pub async fn stop(&self, how: Leave) {
        self.inner.listeners.lock().await.shutdown().await;
        leave(&self.inner.roster.close(), &how).await;
        self.inner.watchers.lock().await.end().await;
    }

    /// Has every session stand still and hands out what a successor needs to go on without the peers noticing:
    /// [`Speaker::start_with`](crate::Speaker::start_with). What becomes of this speaker is up to [`HandOver`].
    ///
    /// Commands wait meanwhile, as do connections that peers make. A session that is not established is none of a successor's:
    /// its connections close without a word when there is one.
    pub async fn hand_over(&self) -> HandOver {
        let (taken, outcome) = watch::channel(None);
        let mut answers = Vec::new();
        for port in self.inner.roster.ports() {
            let (answer, answered) = oneshot::channel();
            port.commands.send(Command::HandOver(answer, outcome.clone())).await.ok(); // its task has ended already
            answers.push((port.name, answered));
        }
        let (down, listeners) = (self.inner.roster.ranges_down(), self.inner.roster.duplicate_listeners());
        let mut detached = Detached { peers: Vec::new(), down, listeners };
        for (name, answered) in answers {
            let Handed { session, down } = answered.await.unwrap_or_default();
            if let Some(mut session) = session {
                session.session.received = self.carried(&name).await;
                detached.peers.push(session);
            }
            detached.down.extend(down.map(|reason| (name, reason)));
        }
        HandOver { detached, speaker: self.clone(), taken }
    }

    /// The routes of a peer whose session stands still.
    async fn carried(&self, peer: &PeerName) -> Option<Vec<u8>> {
        let PeerPort { id, status, .. } = self.inner.roster.session(peer.as_str()).ok()?;
        let status = status.borrow().session.clone();
        let negotiated = status.terms?.negotiated;
        self.rib().ask(move |rib| carried::routes(rib, id, negotiated, &status.complete)).await?
    }

    /// Ends every task that stands still, and all others, without a word.
    pub(crate) async fn end_as_taken(&self, taken: &watch::Sender<Option<bool>>) {
        let ports = self.inner.roster.close();
        taken.send_replace(Some(true));
        self.inner.listeners.lock().await.shutdown().await;
        for port in ports {
            port.commands.closed().await;
        }
        self.inner.watchers.lock().await.end().await;
    }

    async fn tell(&self, peer: &str, command: impl Fn() -> Command) -> Result<(), CommandError> {
        match self.inner.roster.named(peer)? {
            Named::Session(port) => port.commands.send(command()).await.map_err(|_| CommandError::Stopped),
            Named::Range(members) => {
                for port in members {
                    port.commands.send(command()).await.ok(); // a member may be gone by now
                }
                Ok(())
            }
        }
    }
}

/// Has sessions end, all at the same time.
async fn leave(ports: &[PeerPort], how: &Leave) {
    for port in ports {
        port.commands.send(Command::Leave(how.clone())).await.ok(); // its task has ended already
    }
    for port in ports {
        port.commands.closed().await;
    }
}

async fn ask<T>(
    port: &PeerPort,
    question: impl FnOnce(oneshot::Sender<T>) -> Command,
) -> Result<T, CommandError> {
    let (answer, answered) = oneshot::channel();
    port.commands.send(question(answer)).await.map_err(|_| CommandError::Stopped)?;
    answered.await.map_err(|_| CommandError::Stopped)
}
