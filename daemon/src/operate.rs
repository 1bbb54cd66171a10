//! What operators order: groups, drain, commands to peers, restart.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use proxima_announce::Override;
use proxima_api::{
    By, DrainRequest, DrainStatus, Drained, EventKind, Order, OrderRequest, OrderVerb, Ordered, OrderedGroup,
    PeerCommanded, RestartRequest, Restarting,
};
use proxima_bgp_speaker::{CommandError, SpeakerHandle, State};
use proxima_types::{Family, GroupName, PeerName};

use crate::{
    admin::{CommandRefusal, PeerVerb, Reply},
    control::Control,
    orders::{self, core_order},
    upgrade::UNDER_WAY,
    words,
};

impl Control {
    /// Orders something for groups, or for all.
    ///
    /// # Errors
    /// When there is no such group, or the daemon stops.
    pub(crate) fn order(
        &mut self,
        now: Instant,
        request: OrderRequest,
        by: By,
    ) -> Result<Ordered, CommandRefusal> {
        if self.is_stopping() {
            return Err(CommandRefusal::Stopping);
        }
        let OrderRequest { verb, groups, reason, for_ms, only_where } = request;
        let named = self.known_groups(groups)?;
        let is_meant = |name: &&GroupName| {
            let order = self.groups.group(name).map(|group| orders::verb(group.order().verb));
            only_where.is_none_or(|only| order == Some(only))
        };
        let groups: Vec<GroupName> = named.iter().filter(is_meant).cloned().collect();
        let until = for_ms.map(|ms| now + Duration::from_millis(ms));
        let order = self.new_order(now, verb, (by, reason), until);
        if !groups.is_empty() {
            self.journal.publish(EventKind::OrderGiven { groups: groups.clone(), order: order.clone() });
        }
        for group in &groups {
            self.give(now, group, &order, until);
        }
        let draining = self.groups.iter().any(|(group, _)| group.is_draining());
        if !draining {
            self.orders.undrain();
        }
        self.announce();
        let words = self.group_words();
        let ordered = named.into_iter().filter_map(|name| {
            let group = self.groups.group(&name)?;
            Some(OrderedGroup { name, state: group.state(), order: words.order(group) })
        });
        Ok(Ordered { groups: ordered.collect() })
    }

    /// The groups of these names, sorted, each once; all where none is named.
    fn known_groups(&self, named: Vec<GroupName>) -> Result<Vec<GroupName>, CommandRefusal> {
        let all: Vec<GroupName> = self.groups.names().cloned().collect();
        let known = all.iter().map(GroupName::as_str).collect::<Vec<_>>().join(", ");
        let hint = if all.is_empty() { "none is configured".to_owned() } else { format!("groups: {known}") };
        if let Some(unknown) = named.iter().find(|name| !all.contains(name)) {
            return Err(CommandRefusal::unknown(format!("there is no group `{unknown}`"), hint));
        }
        if all.is_empty() {
            return Err(CommandRefusal::unknown("there is no group to order anything for", hint));
        }
        if named.is_empty() {
            return Ok(all);
        }
        Ok(named.into_iter().collect::<BTreeSet<_>>().into_iter().collect())
    }

    fn new_order(
        &self,
        now: Instant,
        verb: OrderVerb,
        (by, reason): (By, Option<String>),
        until: Option<Instant>,
    ) -> Order {
        let until = until.map(|until| self.wall(until));
        Order { verb, by, reason, since: self.wall(now), until }
    }

    fn give(&mut self, now: Instant, group: &GroupName, order: &Order, until: Option<Instant>) {
        let core = core_order(order, until, self.config.drain.graceful_shutdown);
        self.orders.give(group, order.clone());
        self.groups.order(now, group, core);
    }

    /// Takes the whole PoP out of anycast. A group that an operator has withdrawn stays under that order.
    pub(crate) fn drain(&mut self, now: Instant, request: DrainRequest, by: By) -> DrainStatus {
        let changed = self.orders.drained().is_none() && !self.is_stopping();
        if changed {
            let DrainRequest { reason, for_ms } = request;
            let until = for_ms.map(|ms| now + Duration::from_millis(ms));
            let order = self.new_order(now, OrderVerb::Drain, (by, reason.clone()), until);
            let (by, told_until) = (Some(by), order.until);
            let event =
                self.journal.publish(EventKind::Drain { reason: reason.clone(), by, until: told_until });
            for group in self.ordered_groups(|verb| verb != Override::Withdraw) {
                self.give(now, &group, &order, until);
            }
            self.orders.drain(Drained { since: event.at, reason, by, until: told_until }, until);
        }
        DrainStatus { changed, drained: self.orders.drained().cloned() }
    }

    /// Puts the PoP back: every group that is drained, whoever ordered it.
    pub(crate) fn undrain(&mut self, now: Instant, by: By) -> DrainStatus {
        let drained = self.ordered_groups(|verb| matches!(verb, Override::Drain { .. }));
        let changed = (self.orders.drained().is_some() || !drained.is_empty()) && !self.is_stopping();
        if changed {
            self.orders.undrain();
            self.journal.publish(EventKind::Undrain);
            let order = self.new_order(now, OrderVerb::Auto, (by, None), None);
            for group in drained {
                self.give(now, &group, &order, None);
            }
        }
        DrainStatus { changed, drained: self.orders.drained().cloned() }
    }

    /// Has every group drained until the end, but those that are already.
    pub(crate) fn order_stop(&mut self, now: Instant) {
        let order = self.new_order(now, OrderVerb::Drain, (By::Daemon, None), None);
        let drained = |group: &proxima_announce::Group| {
            matches!(group.order().verb, Override::Drain { .. }) && group.order().until.is_none()
        };
        let groups = self.groups.iter().filter(|(group, _)| !drained(group));
        let groups: Vec<GroupName> = groups.map(|(group, _)| group.name().clone()).collect();
        for group in groups {
            self.give(now, &group, &order, None);
        }
    }

    /// A group that comes with a new configuration is under the orders that are for all.
    pub(crate) fn order_newcomers(&mut self, now: Instant, newcomers: &[GroupName]) {
        if self.is_stopping() {
            return self.order_stop(now);
        }
        let Some(Drained { reason, by, .. }) = self.orders.drained().cloned() else { return };
        let until = self.orders.drained_until();
        let by = by.unwrap_or(By::Operator { uid: None, pid: None });
        let order = self.new_order(now, OrderVerb::Drain, (by, reason), until);
        for group in newcomers {
            self.give(now, group, &order, until);
        }
    }

    fn ordered_groups(&self, which: impl Fn(Override) -> bool) -> Vec<GroupName> {
        let groups = self.groups.iter().filter(|(group, _)| which(group.order().verb));
        groups.map(|(group, _)| group.name().clone()).collect()
    }

    /// Hands a command to a peer's session, beside the control task: its task may be busy.
    pub(crate) fn command_peer(
        &mut self,
        peer: PeerName,
        verb: PeerVerb,
        reply: Reply<Result<PeerCommanded, CommandRefusal>>,
    ) {
        let known = self.speaker.peers();
        let concerned: Vec<_> = known
            .iter()
            .filter(|status| status.name == peer || status.range.as_ref() == Some(&peer))
            .collect();
        let state = concerned.iter().find(|status| status.name == peer).map(|status| status.session.state);
        if concerned.is_empty() && !self.config.bgp.peers.iter().any(|config| config.name == peer) {
            let known = self.config.bgp.peers.iter().map(|config| config.name.to_string()).collect();
            reply.send(Err(CommandError::UnknownPeer { name: peer.to_string(), known }.into())).ok();
            return;
        }
        if let (PeerVerb::Refresh, Some(state)) = (&verb, state)
            && state != State::Established
        {
            let (error, hint) =
                (format!("`{peer}` has no session to ask for routes on"), "see `proxima peers NAME`");
            reply.send(Err(CommandRefusal::conflict(error, hint))).ok();
            return;
        }
        match &verb {
            PeerVerb::Shutdown(_) => {
                // A session that stands is drained first, and watched meanwhile: its end says when BFD is over.
                let resting = concerned.iter().filter(|status| status.session.state != State::Established);
                for status in resting {
                    self.bfd.hold_down(&status.name, true);
                }
            }
            PeerVerb::Up | PeerVerb::Reset => self.bfd.hold_down(&peer, false),
            PeerVerb::Refresh => {}
        }
        self.journal.publish(told(&peer, &verb));
        let (speaker, drain) = (self.speaker.clone(), self.config.drain.graceful_shutdown);
        tokio::spawn(async move {
            let done = match verb {
                PeerVerb::Reset => speaker.reset(peer.as_str()).await,
                PeerVerb::Up => speaker.up(peer.as_str()).await,
                PeerVerb::Shutdown(reason) => speaker.shutdown(peer.as_str(), &reason, drain).await,
                PeerVerb::Refresh => refresh(&speaker, &peer).await,
            };
            let answer = match done {
                Ok(()) => Ok(PeerCommanded { peer, state: state.map(words::session_state) }),
                Err(error) => Err(error.into()),
            };
            reply.send(answer).ok();
        });
    }

    /// Who keeps our routes over a restart, and who does not.
    ///
    /// # Errors
    /// When nobody would, or not everybody and it is not forced; and, forced or not, when the new process could not begin by the
    /// file as it is now.
    pub(crate) fn restart(&mut self, request: RestartRequest) -> Result<Restarting, CommandRefusal> {
        if self.is_stopping() {
            return Err(CommandRefusal::Stopping);
        }
        if self.upgrading.is_some() {
            return Err(CommandRefusal::conflict(UNDER_WAY, "wait for it, then try again"));
        }
        // Whoever begins by a file that is wrong ends at once, while peers keep the routes of a PoP that serves nobody.
        self.check_file().map_err(CommandRefusal::Unprocessable)?;
        let established =
            self.speaker.peers().into_iter().filter(|peer| peer.session.state == State::Established);
        let (helpers, others): (Vec<_>, Vec<_>) =
            established.partition(|peer| peer.terms().is_some_and(|terms| terms.graceful_restart.is_some()));
        let names = |peers: Vec<proxima_bgp_speaker::PeerStatus>| {
            peers.into_iter().map(|peer| peer.name).collect::<Vec<_>>()
        };
        let restarting = Restarting { helped_by: names(helpers), dropped_by: names(others) };
        if !request.force && restarting.helped_by.is_empty() {
            return Err(CommandRefusal::conflict(
                "no established peer keeps our routes over a restart",
                "set `graceful-restart` for peers that know RFC 4724, or restart with --force; `systemctl restart` drains first",
            ));
        }
        if !request.force && !restarting.dropped_by.is_empty() {
            let names = restarting.dropped_by.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return Err(CommandRefusal::conflict(
                format!("{names} would drop our routes during the restart"),
                "restart with --force if the others are enough; `systemctl restart` drains first",
            ));
        }
        let Restarting { helped_by, dropped_by } = restarting.clone();
        self.journal.publish(EventKind::Restarting { helped_by, dropped_by });
        Ok(restarting)
    }
}

fn told(peer: &PeerName, verb: &PeerVerb) -> EventKind {
    let peer = peer.clone();
    match verb {
        PeerVerb::Reset => EventKind::PeerReset { peer },
        PeerVerb::Refresh => EventKind::PeerRefresh { peer },
        PeerVerb::Shutdown(reason) => EventKind::PeerShutdown { peer, reason: reason.clone() },
        PeerVerb::Up => EventKind::PeerUp { peer },
    }
}

/// Every family that the session carries.
async fn refresh(speaker: &SpeakerHandle, peer: &PeerName) -> Result<(), CommandError> {
    let carried =
        speaker.peers().into_iter().find(|status| status.name == *peer).map(|status| status.families());
    for family in carried.unwrap_or_else(|| Family::ALL.to_vec()) {
        speaker.refresh(peer.as_str(), family).await?;
    }
    Ok(())
}
