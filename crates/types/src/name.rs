//! Names: of regions, jurisdictions, PoPs, peers, groups, services, pools, backends and providers.
//!
//! Each kind has its own type, so that a region can't be handed where a jurisdiction is asked for. All are
//! cheap to clone: they are copied into events, metrics and snapshots.

use std::{fmt, net::IpAddr, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text that can't be a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` can't be a name: use 1 to 63 letters, digits, `-`, `_` and `.`, beginning with a letter or a digit"
)]
pub struct NameError(String);

fn checked(text: &str) -> Result<Arc<str>, NameError> {
    let fits = (1..=63).contains(&text.len())
        && text.as_bytes()[0].is_ascii_alphanumeric()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if fits { Ok(text.into()) } else { Err(NameError(text.to_owned())) }
}

/// A name, or that of a member of a range: `range/10.0.0.7`.
fn checked_peer(text: &str) -> Result<Arc<str>, NameError> {
    let Some((range, member)) = text.split_once('/') else { return checked(text) };
    let fits =
        checked(range).is_ok() && member.parse::<IpAddr>().is_ok_and(|address| address.to_string() == member);
    if fits { Ok(text.into()) } else { Err(NameError(text.to_owned())) }
}

macro_rules! names {
    ($check:ident: $($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                $check(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

names! { checked:
    /// A region such as `eu` or `us-east`: one place, one fate.
    RegionName;
    /// A jurisdiction such as `EU`: data may be bound to it.
    Jurisdiction;
    /// A point of presence such as `fra1`.
    PopName;
    /// A monitoring station (RFC 7854).
    StationName;
    /// An announcement group: prefixes that share a fate.
    GroupName;
    /// A service: listeners and what they serve.
    ServiceName;
    /// A pool of backends.
    PoolName;
    /// A provider of backends, such as an LLM vendor.
    ProviderName;
    /// An issuer of certificates: an ACME server and the account there.
    IssuerName;
}

names! { checked_peer:
    /// A BGP peer; `range/10.0.0.7` where it is one of those that a range of addresses has made.
    PeerName;
}

impl PeerName {
    /// The peer at `address`, made by `range`.
    #[must_use]
    pub fn member(range: &Self, address: IpAddr) -> Self {
        Self(format!("{range}/{address}").into())
    }

    /// The range that made it, and its address.
    pub fn as_member(&self) -> Option<(Self, IpAddr)> {
        let (range, address) = self.0.split_once('/')?;
        Some((Self(range.into()), address.parse().ok()?))
    }
}

/// A backend, named within its pool and written `pool/backend`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendId {
    text: Arc<str>,
    pool: PoolName,
}

impl BackendId {
    /// The backend `name` of `pool`.
    ///
    /// # Errors
    /// When `name` can't be a name.
    pub fn new(pool: &PoolName, name: &str) -> Result<Self, NameError> {
        let name = checked(name)?;
        Ok(Self { text: format!("{pool}/{name}").into(), pool: pool.clone() })
    }

    /// The pool.
    pub fn pool(&self) -> &PoolName {
        &self.pool
    }

    /// The name within the pool.
    pub fn name(&self) -> &str {
        &self.text[self.pool.as_str().len() + 1..]
    }

    /// `pool/backend`.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for BackendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for BackendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl Serialize for BackendId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for BackendId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl FromStr for BackendId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (pool, name) = text.split_once('/').ok_or_else(|| NameError(text.to_owned()))?;
        Self::new(&pool.parse()?, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        for good in ["eu", "us-east", "fra1", "a.b_c", "1"] {
            assert_eq!(good.parse::<RegionName>().unwrap().as_str(), good);
        }
        let long = "x".repeat(64);
        for bad in ["", "-a", ".", "a b", "a/b", "é", "a\n", long.as_str()] {
            assert!(bad.parse::<RegionName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_member_of_a_range_is_named_by_its_address() {
        let range: PeerName = "leaves".parse().unwrap();
        for address in ["10.0.0.7", "2001:db8::7"] {
            let address: IpAddr = address.parse().unwrap();
            let member = PeerName::member(&range, address);
            assert_eq!(member.as_str(), format!("leaves/{address}"));
            assert_eq!(member.as_str().parse::<PeerName>().unwrap(), member);
            assert_eq!(member.as_member(), Some((range.clone(), address)));
        }
        assert_eq!(range.as_member(), None);
        for bad in ["leaves/", "leaves/x", "/10.0.0.7", "leaves/10.0.0.7/8", "leaves/2001:0db8::7"] {
            assert!(bad.parse::<PeerName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_backend_is_named_within_its_pool() {
        let id: BackendId = "llm/openai-eu".parse().unwrap();
        assert_eq!((id.pool().as_str(), id.name(), id.as_str()), ("llm", "openai-eu", "llm/openai-eu"));
        assert!("llm".parse::<BackendId>().is_err());
        assert!("llm/a/b".parse::<BackendId>().is_err());
    }
}
