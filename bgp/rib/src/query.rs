//! What the table answers.

use std::{
    net::{IpAddr, Ipv4Addr},
    ops::Bound,
};

use proxima_types::{Family, Prefix};

use crate::{
    Page, PeerId, Rib, Route, Summary, Verdict, Watch,
    key::{AnyKey, Key},
    paths::Node,
    select::{Candidate, select},
    table::{NONE, Table},
};

/// How many prefixes one page looks at; a peer may have but a few of a million.
const SCAN: usize = 50_000;

impl Rib {
    /// The best path to exactly this prefix.
    pub fn best(&self, prefix: Prefix) -> Option<Route> {
        let node = self.best_of(self.head(prefix), prefix.family())?;
        self.route(prefix, node)
    }

    /// The best path of the longest prefix that holds `address` and has a usable path.
    pub fn lookup(&self, address: IpAddr) -> Option<Route> {
        self.best_covering(Prefix::host(address))
    }

    /// All paths to exactly this prefix, usable or not, by peer and path identifier: evidence of who else announces it.
    pub fn paths(&self, prefix: Prefix) -> impl Iterator<Item = Route> + '_ {
        let nodes = self.paths.live(self.head(prefix), prefix.family());
        nodes.filter_map(move |node| self.route(prefix, node))
    }

    /// All paths to exactly this prefix, the best first, and why each of the others is not; those that lost late stand
    /// before those that lost early.
    pub fn explain(&self, prefix: Prefix) -> Vec<(Route, Verdict)> {
        let nodes: Vec<&Node> = self.paths.live(self.head(prefix), prefix.family()).collect();
        let mut verdicts = vec![Verdict::Best; nodes.len()];
        for (verdict, node) in verdicts.iter_mut().zip(&nodes) {
            if let Some(why) = self.route(prefix, node).and_then(|route| route.unusable) {
                *verdict = Verdict::Unusable(why);
            }
        }
        let usable = |at: &usize| verdicts[*at] == Verdict::Best;
        let candidates = (0..nodes.len()).filter(usable).map(|at| self.candidate(nodes[at], at)).collect();
        select(&self.rules, candidates, |candidate, step| {
            verdicts[candidate.index] = Verdict::Lost(step);
        });
        let mut explained: Vec<_> = nodes
            .into_iter()
            .zip(verdicts)
            .filter_map(|(node, verdict)| Some((self.route(prefix, node)?, verdict)))
            .collect();
        explained.sort_by_key(|(_, verdict)| match verdict {
            Verdict::Best => (0, None),
            Verdict::Lost(step) => (1, Some(std::cmp::Reverse(*step))),
            Verdict::Unusable(_) => (2, None),
        });
        explained
    }

    /// The prefixes with paths that cover `prefix`, itself included, the longest first.
    pub fn covering(&self, prefix: Prefix) -> impl Iterator<Item = Prefix> + '_ {
        let alive = move |(_, head): &(Prefix, u32)| self.paths.live(*head, prefix.family()).next().is_some();
        self.heads_covering(prefix).filter(alive).map(|(prefix, _)| prefix)
    }

    /// The paths of `peer` (its Adj-RIB-In) in order of prefix, those to `after` and before left out, about `limit` of
    /// them.
    pub fn received(&self, peer: PeerId, after: Option<Prefix>, limit: usize) -> Page {
        self.page(Scan { peer: Some(peer), within: None, after, limit })
    }

    /// The paths of all peers, likewise.
    pub fn table(&self, after: Option<Prefix>, limit: usize) -> Page {
        self.page(Scan { peer: None, within: None, after, limit })
    }

    /// The paths to prefixes within `prefix`, itself included, of one peer or of all, likewise.
    pub fn within(&self, prefix: Prefix, peer: Option<PeerId>, after: Option<Prefix>, limit: usize) -> Page {
        self.page(Scan { peer, within: Some(prefix), after, limit })
    }

    /// Chooses the best path of each prefix after `after` and counts them; looks at a bounded part of the table.
    pub fn summary(&self, after: Option<Prefix>) -> Summary {
        let mut summary = Summary::default();
        let scan = Scan { peer: None, within: None, after, limit: usize::MAX };
        let mut budget = SCAN;
        summary.next = self.sum_up(&self.ipv4, &scan, &mut budget, &mut summary);
        if summary.next.is_none() {
            summary.next = self.sum_up(&self.ipv6, &scan, &mut budget, &mut summary);
        }
        summary
    }

    /// The best path now and all paths, as a watch tells them.
    pub(crate) fn watched(&self, watch: Watch) -> (Option<Route>, Vec<Route>) {
        let prefix = match watch {
            Watch::Exact(prefix) => prefix,
            Watch::Covering(prefix) => match self.best_covering(prefix) {
                Some(best) => best.prefix,
                None => return (None, Vec::new()),
            },
        };
        (self.best(prefix), self.paths(prefix).collect())
    }

    fn best_covering(&self, prefix: Prefix) -> Option<Route> {
        self.heads_covering(prefix).find_map(|(prefix, head)| {
            let node = self.best_of(head, prefix.family())?;
            self.route(prefix, node)
        })
    }

    fn heads_covering(&self, prefix: Prefix) -> impl Iterator<Item = (Prefix, u32)> + '_ {
        fn covering<K: Key>(table: &Table<K>, key: K) -> impl Iterator<Item = (Prefix, u32)> + '_ {
            table.covering(key).map(|(key, head)| (key.prefix(), head))
        }
        let (ipv4, ipv6) = match AnyKey::from(prefix) {
            AnyKey::V4(key) => (Some(covering(&self.ipv4, key)), None),
            AnyKey::V6(key) => (None, Some(covering(&self.ipv6, key))),
        };
        ipv4.into_iter().flatten().chain(ipv6.into_iter().flatten())
    }

    fn head(&self, prefix: Prefix) -> u32 {
        let head = match AnyKey::from(prefix) {
            AnyKey::V4(key) => self.ipv4.find(key),
            AnyKey::V6(key) => self.ipv6.find(key),
        };
        head.unwrap_or(NONE)
    }

    fn route(&self, prefix: Prefix, node: &Node) -> Option<Route> {
        self.paths.route(prefix, node, self.next_hop_usable(node))
    }

    fn next_hop_usable(&self, node: &Node) -> bool {
        let next_hop = self.paths.sets.shared(node.shared).next_hop;
        let source = &self.paths.peers.peer(node.peer()).source;
        source.subnet.is_none_or(|subnet| next_hop.is_on(subnet)) && (self.next_hops.0)(next_hop)
    }

    fn candidate<'a>(&'a self, node: &Node, index: usize) -> Candidate<'a> {
        Candidate {
            shared: self.paths.sets.shared(node.shared),
            source: &self.paths.peers.peer(node.peer()).source,
            received: node.received,
            path_id: node.path_id,
            index,
        }
    }

    /// The best path of a list. Where there is but one there is nothing to compare.
    fn best_of(&self, head: u32, family: Family) -> Option<&Node> {
        let usable = |node: &&Node| node.standing().is_none() && self.next_hop_usable(node);
        let mut nodes = self.paths.live(head, family).filter(usable);
        let first = nodes.next()?;
        let Some(second) = nodes.next() else { return Some(first) };
        let nodes: Vec<&Node> = [first, second].into_iter().chain(nodes).collect();
        let candidates = nodes.iter().enumerate().map(|(at, node)| self.candidate(node, at)).collect();
        select(&self.rules, candidates, |_, _| {}).map(|best| nodes[best.index])
    }

    /// Adds what there is of one family; returns the prefix after which to go on if it does not get to the end.
    fn sum_up<K: Key>(
        &self,
        table: &Table<K>,
        scan: &Scan,
        budget: &mut usize,
        summary: &mut Summary,
    ) -> Option<Prefix> {
        let (from, _) = scan.range::<K>()?;
        let mut last = scan.after.filter(|after| after.family() == K::FAMILY);
        for (key, head) in table.iter_from(from) {
            if *budget == 0 {
                return last.or(Some(Prefix::host(Ipv4Addr::BROADCAST.into())));
            }
            *budget -= 1;
            let paths = self.paths.live(head, K::FAMILY).count();
            summary.paths += paths;
            summary.prefixes += usize::from(paths > 0);
            summary.selected += usize::from(self.best_of(head, K::FAMILY).is_some());
            last = Some(key.prefix());
        }
        None
    }

    fn page(&self, scan: Scan) -> Page {
        let mut page = Page::default();
        let peer = match scan.peer.map(|peer| self.paths.peers.number(peer)) {
            Some(None) => return page,
            Some(number) => number,
            None => None,
        };
        let mut budget = SCAN;
        page.next = self.scan(&self.ipv4, &scan, peer, &mut budget, &mut page.routes);
        if page.next.is_none() {
            page.next = self.scan(&self.ipv6, &scan, peer, &mut budget, &mut page.routes);
        }
        page
    }

    /// Adds the paths of one family that `scan` asks for; returns the prefix after which to go on if it does not get to
    /// the end.
    fn scan<K: Key>(
        &self,
        table: &Table<K>,
        scan: &Scan,
        peer: Option<u32>,
        budget: &mut usize,
        routes: &mut Vec<Route>,
    ) -> Option<Prefix> {
        let (from, within) = scan.range::<K>()?;
        let mut last = scan.after.filter(|after| after.family() == K::FAMILY);
        for (key, head) in table.iter_from(from).take_while(|(key, _)| within.covers(*key)) {
            if routes.len() >= scan.limit.max(1) || *budget == 0 {
                // With nothing looked at yet, the other family has used up the page.
                return last.or(Some(Prefix::host(Ipv4Addr::BROADCAST.into())));
            }
            *budget -= 1;
            let prefix = key.prefix();
            let nodes = self.paths.live(head, K::FAMILY);
            let nodes = nodes.filter(|node| peer.is_none_or(|peer| node.peer() == peer));
            routes.extend(nodes.filter_map(|node| self.route(prefix, node)));
            last = Some(prefix);
        }
        None
    }
}

/// What a page is asked for.
struct Scan {
    peer: Option<PeerId>,
    within: Option<Prefix>,
    after: Option<Prefix>,
    limit: usize,
}

impl Scan {
    /// Where to begin in the table of a family and what to stay within; `None` if there is nothing for us in it.
    fn range<K: Key>(&self) -> Option<(Bound<K>, K)> {
        let within = match self.within {
            Some(within) => K::of(within)?,
            None => K::LEAST,
        };
        let from = match self.after {
            Some(after) if after.family() > K::FAMILY => return None,
            Some(after) => K::of(after).filter(|after| *after >= within),
            None => None,
        };
        Some((from.map_or(Bound::Included(within), Bound::Excluded), within))
    }
}
