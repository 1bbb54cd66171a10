//! What may be announced at all: an exact-match list, and the only door through it.
//!
//! An UPDATE that announces is built from [`Exportable`]s alone, and only an [`AllowList`] makes those. What holds
//! by the types:
//! - A bare prefix and received routes are of other types, and nothing in this crate turns a [`ReceivedUpdate`]
//!   into an [`Exportable`]: taking routes in can't lead to announcing them (a route leak, RFC 7908).
//! - A list never changes once it is made.
//!
//! What the types can't know is where a list came from: [`AllowList::new`] takes any prefixes. That it is made from the
//! configuration alone, at the start and anew when that is read again, is up to the program that uses this crate.
//!
//! [`ReceivedUpdate`]: crate::ReceivedUpdate
//!
//! These do not compile:
//!
//! ```compile_fail,E0451
//! use proxima_bgp_session::Exportable;
//! let leak = Exportable { prefix: "0.0.0.0/0".parse().unwrap() }; // the field is private
//! ```
//!
//! ```compile_fail,E0277
//! use proxima_bgp_session::{Exportable, ReceivedUpdate};
//! fn leak(routes: ReceivedUpdate) -> Exportable {
//!     routes.into() // no such conversion exists
//! }
//! ```
//!
//! ```compile_fail,E0308
//! use proxima_bgp_session::Desired;
//! use proxima_types::{Prefix, RouteAttributes};
//! fn leak(prefix: Prefix) -> Desired {
//!     Desired::from_iter([(prefix, RouteAttributes::default())]) // wants an `Exportable`
//! }
//! ```
//!
//! The way through:
//!
//! ```
//! use proxima_bgp_session::{AllowList, Desired};
//! use proxima_types::{Prefix, RouteAttributes};
//! let ours: Prefix = "203.0.113.0/24".parse().unwrap();
//! let allow = AllowList::new([ours]);
//! let route = allow.exportable(ours).expect("on the list");
//! let desired = Desired::from_iter([(route, RouteAttributes::default())]);
//! assert_eq!(desired.len(), 1);
//! assert!(allow.exportable("203.0.113.0/25".parse().unwrap()).is_none(), "more specific, so not listed");
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    sync::Arc,
};

use proxima_types::{Announcement, Prefix, RouteAttributes};

/// The prefixes that may be announced, in the daemon those of the configuration, matched exactly: neither a more specific nor a
/// less specific prefix passes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowList {
    prefixes: BTreeSet<Prefix>,
}

impl AllowList {
    /// The list of exactly these prefixes. An empty list allows nothing.
    pub fn new(prefixes: impl IntoIterator<Item = Prefix>) -> Self {
        Self { prefixes: prefixes.into_iter().collect() }
    }

    /// `prefix` as something that may be announced, when it is listed.
    pub fn exportable(&self, prefix: Prefix) -> Option<Exportable> {
        self.prefixes.contains(&prefix).then_some(Exportable { prefix })
    }

    /// A listed prefix that `address` is in. A default route is no part of this: all addresses are.
    pub fn covering(&self, address: IpAddr) -> Option<Prefix> {
        self.iter().find(|prefix| prefix.length() > 0 && prefix.contains(address))
    }

    /// The listed prefixes in order.
    pub fn iter(&self) -> impl Iterator<Item = Prefix> + '_ {
        self.prefixes.iter().copied()
    }
}

/// A prefix that an [`AllowList`] let through. There is no other way to make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Exportable {
    prefix: Prefix,
}

impl Exportable {
    /// The prefix.
    pub fn prefix(self) -> Prefix {
        self.prefix
    }
}

impl fmt::Display for Exportable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.prefix.fmt(f)
    }
}

/// Prefixes that were to be announced and are not on the allow-list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "refused to announce {list}: not on the allow-list; list the exact prefix under an [announce.*] group \
     (nothing was changed)",
    list = .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
)]
pub struct NotAllowed(pub Vec<Prefix>);

/// The whole set of routes the peers are to hold: each prefix with its attributes. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    routes: Arc<BTreeMap<Exportable, Arc<RouteAttributes>>>,
}

impl Desired {
    /// The announcements as desired state. A prefix named twice takes the last attributes; communities are
    /// sorted and freed of duplicates.
    ///
    /// # Errors
    /// When a prefix is not on the list; the error names every such prefix.
    pub fn new(
        allow: &AllowList,
        announcements: impl IntoIterator<Item = Announcement>,
    ) -> Result<Self, NotAllowed> {
        let mut refused = BTreeSet::new();
        let mut routes = Vec::new();
        for Announcement { prefix, attributes } in announcements {
            match allow.exportable(prefix) {
                Some(exportable) => routes.push((exportable, attributes)),
                None => {
                    refused.insert(prefix);
                }
            }
        }
        if refused.is_empty() {
            Ok(routes.into_iter().collect())
        } else {
            Err(NotAllowed(refused.into_iter().collect()))
        }
    }

    /// The routes in order of prefix.
    pub fn iter(&self) -> impl Iterator<Item = (Exportable, &Arc<RouteAttributes>)> + '_ {
        self.routes.iter().map(|(prefix, attributes)| (*prefix, attributes))
    }

    /// How many routes.
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether nothing is to be announced.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }
}

impl FromIterator<(Exportable, RouteAttributes)> for Desired {
    fn from_iter<I: IntoIterator<Item = (Exportable, RouteAttributes)>>(routes: I) -> Self {
        let canonical = |(prefix, mut attributes): (Exportable, RouteAttributes)| {
            attributes.communities.sort_unstable();
            attributes.communities.dedup();
            attributes.large_communities.sort_unstable();
            attributes.large_communities.dedup();
            (prefix, Arc::new(attributes))
        };
        Self { routes: Arc::new(routes.into_iter().map(canonical).collect()) }
    }
}

#[cfg(test)]
mod tests {
    use proxima_types::Community;

    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    fn announcement(text: &str) -> Announcement {
        Announcement { prefix: prefix(text), attributes: RouteAttributes::default() }
    }

    #[test]
    fn only_the_exact_prefix_passes() {
        let allow = AllowList::new([prefix("203.0.113.0/24"), prefix("2001:db8::/32")]);
        assert!(allow.exportable(prefix("203.0.113.0/24")).is_some());
        for other in ["203.0.113.0/25", "203.0.112.0/23", "0.0.0.0/0", "::/0", "2001:db8::/48"] {
            assert!(allow.exportable(prefix(other)).is_none(), "{other}");
        }
        assert!(AllowList::default().exportable(prefix("0.0.0.0/0")).is_none(), "an empty list is not `all`");
    }

    #[test]
    fn every_prefix_outside_the_list_is_named() {
        let allow = AllowList::new([prefix("203.0.113.0/24")]);
        let wanted = ["0.0.0.0/0", "203.0.113.0/24", "10.0.0.0/8"].map(announcement);
        let error = Desired::new(&allow, wanted).unwrap_err();
        assert_eq!(error.0, [prefix("0.0.0.0/0"), prefix("10.0.0.0/8")]);
        assert!(error.to_string().starts_with("refused to announce 0.0.0.0/0, 10.0.0.0/8"), "{error}");
    }

    #[test]
    fn equal_attributes_written_in_another_order_are_the_same_state() {
        let allow = AllowList::new([prefix("203.0.113.0/24")]);
        let with = |communities: &[u32]| {
            let communities = communities.iter().copied().map(Community).collect();
            let attributes = RouteAttributes { communities, ..RouteAttributes::default() };
            Desired::new(&allow, [Announcement { prefix: prefix("203.0.113.0/24"), attributes }]).unwrap()
        };
        assert_eq!(with(&[2, 1, 2]), with(&[1, 2]));
        let with_large = |communities: &[&str]| {
            let large_communities = communities.iter().map(|text| text.parse().unwrap()).collect();
            let attributes = RouteAttributes { large_communities, ..RouteAttributes::default() };
            Desired::new(&allow, [Announcement { prefix: prefix("203.0.113.0/24"), attributes }]).unwrap()
        };
        assert_eq!(with_large(&["1:2:4", "1:2:3", "1:2:4"]), with_large(&["1:2:3", "1:2:4"]));
    }
}
