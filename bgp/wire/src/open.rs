//! OPEN: who a speaker is and what it offers (RFC 4271 §4.2, §6.2; RFC 5492; RFC 6793; RFC 9072).

use std::net::Ipv4Addr;

use bytes::{BufMut, BytesMut};
use proxima_types::{Asn, Family};

use crate::{
    AddPathMode, AfiSafi, Capability, EncodeError, ErrorCode, ExtendedNextHop, Families, GracefulRestart,
    HEADER_LEN, MAX_LEN, MessageType, Notification, Role, header::write_message, reader::Reader,
};

/// The version of BGP.
const VERSION: u8 = 4;
/// The optional parameter that holds capabilities (RFC 5492).
const PARAMETER_CAPABILITIES: u8 = 2;
/// The first parameter type, and length, that announces parameters with two-octet lengths (RFC 9072).
const PARAMETER_EXTENDED: u8 = 255;
/// Octets of an OPEN's body before its parameters.
const FIXED_LEN: usize = 10;

/// An OPEN message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// Always 4 in an OPEN that was decoded.
    pub version: u8,
    /// The speaker's AS: the one of the four-octet capability if it was offered. Never 0 in a decoded OPEN.
    pub asn: Asn,
    /// Proposed hold time in seconds: 0 for none, otherwise at least 3.
    pub hold_time: u16,
    /// BGP identifier; never 0.0.0.0 in a decoded OPEN.
    pub router_id: Ipv4Addr,
    /// What is offered, in the order given, duplicates kept. Encoding writes exactly these.
    pub capabilities: Vec<Capability>,
}

/// An OPEN that ends the session (RFC 4271 §6.2).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// A version other than 4.
    #[error("the peer speaks BGP version {0}; only 4 is supported")]
    UnsupportedVersion(u8),
    /// AS 0 (RFC 7607).
    #[error("the peer says its AS is 0, which is reserved")]
    AsZero,
    /// 0.0.0.0 (RFC 6286).
    #[error("the peer's BGP identifier is 0.0.0.0; give it a router ID")]
    BadIdentifier,
    /// An optional parameter other than capabilities.
    #[error("the peer sent optional parameter {0}, which is unknown")]
    UnsupportedParameter(u8),
    /// 1 or 2 seconds.
    #[error("the peer proposes a hold time of {0} s; it must be 0 or at least 3")]
    UnacceptableHoldTime(u16),
    /// The roles of the two sides do not fit together, or the peer names more than one (RFC 9234 §4.2).
    #[error("{0}")]
    RoleMismatch(RoleMismatch),
    /// Lengths that do not add up.
    #[error("the optional parameters or capabilities of the peer's OPEN are malformed")]
    Malformed,
}

/// Roles that do not go together (RFC 9234 §4.2).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoleMismatch {
    /// Both name one.
    #[error("our role is {ours}, so the peer's must be {}, but it says {theirs}", ours.counterpart())]
    Pair {
        /// Ours.
        ours: Role,
        /// The peer's.
        theirs: Role,
    },
    /// The peer names none, and we insist.
    #[error("our role is {ours} and strict, but the peer names no role; it must be {}", ours.counterpart())]
    Missing {
        /// Ours.
        ours: Role,
    },
    /// The peer names different ones.
    #[error("the peer names more than one role")]
    Several,
    /// A value that is no role.
    #[error("the peer's role {0:02x?} does not exist")]
    NotARole(Vec<u8>),
}

impl OpenError {
    /// The RFC, and its section, that ends the session for it.
    pub fn rule(&self) -> &'static str {
        match self {
            Self::AsZero => "RFC 7607 §2",
            Self::BadIdentifier => "RFC 6286 §2.2",
            Self::RoleMismatch(_) => "RFC 9234 §4.2",
            Self::UnsupportedVersion(_)
            | Self::UnsupportedParameter(_)
            | Self::UnacceptableHoldTime(_)
            | Self::Malformed => "RFC 4271 §6.2",
        }
    }

    /// The NOTIFICATION for it.
    pub fn to_notification(&self) -> Notification {
        match self {
            Self::UnsupportedVersion(_) => {
                Notification::new(ErrorCode::UNSUPPORTED_VERSION_NUMBER, u16::from(VERSION).to_be_bytes())
            }
            Self::AsZero => Notification::new(ErrorCode::BAD_PEER_AS, []),
            Self::BadIdentifier => Notification::new(ErrorCode::BAD_BGP_IDENTIFIER, []),
            Self::UnsupportedParameter(_) => Notification::new(ErrorCode::UNSUPPORTED_OPTIONAL_PARAMETER, []),
            Self::UnacceptableHoldTime(_) => Notification::new(ErrorCode::UNACCEPTABLE_HOLD_TIME, []),
            Self::RoleMismatch(_) => Notification::new(ErrorCode::ROLE_MISMATCH, []),
            Self::Malformed => Notification::new(ErrorCode::OPEN_UNSPECIFIC, []),
        }
    }
}

impl Open {
    /// An OPEN of version 4. `capabilities` should hold [`Capability::FourOctetAs`] with the same `asn`.
    pub fn new(asn: Asn, hold_time: u16, router_id: Ipv4Addr, capabilities: Vec<Capability>) -> Self {
        Self { version: VERSION, asn, hold_time, router_id, capabilities }
    }

    /// Whether exactly this capability is offered.
    pub fn offers(&self, capability: &Capability) -> bool {
        self.capabilities.contains(capability)
    }

    /// The families offered; IPv4 when there is no multiprotocol capability at all (RFC 4760 §8).
    pub fn families(&self) -> Families {
        let mut offered = self.capabilities.iter().filter_map(|capability| match capability {
            Capability::Multiprotocol(family) => Some(*family),
            _ => None,
        });
        let Some(first) = offered.next() else { return Families::IPV4 };
        std::iter::once(first).chain(offered).filter_map(AfiSafi::family).collect()
    }

    /// The AS number of the four-octet capability, if it is offered.
    pub fn four_octet_as(&self) -> Option<Asn> {
        self.capabilities.iter().find_map(|capability| match capability {
            Capability::FourOctetAs(asn) => Some(*asn),
            _ => None,
        })
    }

    /// The families in which the speaker would send or receive several paths (RFC 7911 §4). A family listed more
    /// than once counts as it is listed last.
    pub(crate) fn add_path_families(&self, wanted: impl Fn(AddPathMode) -> bool) -> Families {
        let listed = self.capabilities.iter().filter_map(|capability| match capability {
            Capability::AddPath(families) => Some(families),
            _ => None,
        });
        let listed: Vec<_> = listed.flatten().collect();
        Family::ALL
            .into_iter()
            .filter(|family| {
                let entry = listed.iter().rev().find(|entry| entry.family == AfiSafi::from(*family));
                entry.is_some_and(|entry| wanted(entry.mode))
            })
            .collect()
    }

    pub(crate) fn offers_ipv6_next_hop_for_ipv4(&self) -> bool {
        self.capabilities.iter().any(|capability| match capability {
            Capability::ExtendedNextHop(families) => families.contains(&ExtendedNextHop::IPV4_OVER_IPV6),
            _ => false,
        })
    }

    /// The graceful restart offered: of several the last (RFC 4724 §3).
    pub fn graceful_restart(&self) -> Option<&GracefulRestart> {
        self.capabilities.iter().rev().find_map(|capability| match capability {
            Capability::GracefulRestart(restart) => Some(restart),
            _ => None,
        })
    }

    /// The speaker's role, if it names one. The same role twice is one role.
    ///
    /// # Errors
    /// When it names several, or one that does not exist: no role of ours fits these (RFC 9234 §4.2).
    pub fn role(&self) -> Result<Option<Role>, RoleMismatch> {
        let mut named = None;
        for capability in &self.capabilities {
            match capability {
                Capability::Role(role) if named.is_none_or(|other| other == *role) => named = Some(*role),
                Capability::Role(_) => return Err(RoleMismatch::Several),
                Capability::Unknown { code, value } if *code == Role::CAPABILITY => {
                    return Err(RoleMismatch::NotARole(value.clone()));
                }
                _ => {}
            }
        }
        Ok(named)
    }

    /// Whether the peer's `theirs` goes with our role (RFC 9234 §4.2). Of no concern between speakers of one AS.
    ///
    /// # Errors
    /// When the roles do not fit together, or, if `strict`, the peer names none.
    pub fn check_roles(ours: Option<Role>, theirs: &Self, strict: bool) -> Result<(), OpenError> {
        let Some(ours) = ours else { return Ok(()) };
        match theirs.role() {
            Ok(Some(theirs)) if ours.goes_with(theirs) => Ok(()),
            Ok(None) if !strict => Ok(()),
            Ok(Some(theirs)) => Err(RoleMismatch::Pair { ours, theirs }),
            Ok(None) => Err(RoleMismatch::Missing { ours }),
            Err(mismatch) => Err(mismatch),
        }
        .map_err(OpenError::RoleMismatch)
    }

    pub(crate) fn decode(body: &[u8]) -> Result<Self, OpenError> {
        let open = Self::parse(body)?;
        open.check(body)?;
        Ok(open)
    }

    /// Reads what stands there, lawful or not.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, OpenError> {
        let mut reader = Reader::new(body);
        let version = reader.u8().ok_or(OpenError::Malformed)?;
        if version != VERSION {
            return Err(OpenError::UnsupportedVersion(version));
        }
        let two_octet_as = reader.u16().ok_or(OpenError::Malformed)?;
        let hold_time = reader.u16().ok_or(OpenError::Malformed)?;
        let router_id = reader.array::<4>().map(Ipv4Addr::from).ok_or(OpenError::Malformed)?;
        let capabilities = capabilities(parameters(reader.rest())?)?;

        let mut open = Self::new(Asn(u32::from(two_octet_as)), hold_time, router_id, capabilities);
        if let Some(asn) = open.four_octet_as() {
            open.asn = asn;
        }
        Ok(open)
    }

    /// The number in the field of two octets: AS_TRANS or the AS itself.
    pub(crate) fn two_octet_as(body: &[u8]) -> u16 {
        body.get(1..3).and_then(|octets| octets.try_into().ok()).map_or(0, u16::from_be_bytes)
    }

    /// Whether the optional parameters in `body` have lengths of two octets.
    pub(crate) fn has_extended_parameters(body: &[u8]) -> bool {
        body.get(FIXED_LEN) == Some(&PARAMETER_EXTENDED)
    }

    fn check(&self, body: &[u8]) -> Result<(), OpenError> {
        if self.asn == Asn(0) || Self::two_octet_as(body) == 0 {
            return Err(OpenError::AsZero);
        }
        if self.router_id.is_unspecified() {
            return Err(OpenError::BadIdentifier);
        }
        if matches!(self.hold_time, 1 | 2) {
            return Err(OpenError::UnacceptableHoldTime(self.hold_time));
        }
        Ok(())
    }

    /// Appends the message: one parameter holds all capabilities, with extended lengths only above 255 octets.
    pub(crate) fn encode(&self, buf: &mut BytesMut) -> Result<(), EncodeError> {
        let too_long = self.capabilities.iter().find(|capability| capability.value_len() > 255);
        if let Some(capability) = too_long {
            return Err(EncodeError::CapabilityTooLong {
                code: capability.code(),
                len: capability.value_len(),
            });
        }
        let capabilities: usize = self.capabilities.iter().map(|capability| 2 + capability.value_len()).sum();
        let extended = capabilities + 2 > 255;
        let parameters = match (capabilities, extended) {
            (0, _) => 0,
            (_, false) => 2 + capabilities,
            (_, true) => 3 + 3 + capabilities,
        };
        let len = HEADER_LEN + FIXED_LEN + parameters;
        if len > MAX_LEN {
            return Err(EncodeError::OpenTooLong { len });
        }
        write_message(buf, MessageType::Open, |buf| {
            buf.put_u8(self.version);
            buf.put_u16(self.asn.two_octets());
            buf.put_u16(self.hold_time);
            buf.put_slice(&self.router_id.octets());
            if capabilities == 0 {
                buf.put_u8(0);
            } else if extended {
                buf.put_slice(&[255, PARAMETER_EXTENDED]);
                buf.put_u16(capabilities as u16 + 3);
                buf.put_u8(PARAMETER_CAPABILITIES);
                buf.put_u16(capabilities as u16);
            } else {
                buf.put_slice(&[capabilities as u8 + 2, PARAMETER_CAPABILITIES, capabilities as u8]);
            }
            for capability in &self.capabilities {
                capability.encode(buf);
            }
        });
        Ok(())
    }
}

/// The optional parameters as they stand, with the width of their length fields settled.
struct Parameters<'a> {
    reader: Reader<'a>,
    extended: bool,
}

/// Reads the length before the optional parameters, which must be all that is left of the message.
fn parameters(bytes: &[u8]) -> Result<Parameters<'_>, OpenError> {
    let mut reader = Reader::new(bytes);
    let mut length = usize::from(reader.u8().ok_or(OpenError::Malformed)?);
    // Of the one-octet length nothing counts then, not even zero (RFC 9072 §2).
    let extended = reader.rest().first() == Some(&PARAMETER_EXTENDED);
    if extended {
        reader.u8();
        length = usize::from(reader.u16().ok_or(OpenError::Malformed)?);
    }
    if length == reader.remaining() { Ok(Parameters { reader, extended }) } else { Err(OpenError::Malformed) }
}

/// All capabilities of all parameters.
fn capabilities(Parameters { mut reader, extended }: Parameters<'_>) -> Result<Vec<Capability>, OpenError> {
    let mut found = Vec::new();
    while let Some(kind) = reader.u8() {
        let length = if extended { reader.u16().map(usize::from) } else { reader.u8().map(usize::from) };
        let value = length.and_then(|length| reader.take(length)).ok_or(OpenError::Malformed)?;
        if kind != PARAMETER_CAPABILITIES {
            return Err(OpenError::UnsupportedParameter(kind));
        }
        let mut value = Reader::new(value);
        while let Some(code) = value.u8() {
            let octets =
                value.u8().and_then(|length| value.take(usize::from(length))).ok_or(OpenError::Malformed)?;
            found.push(Capability::decode(code, octets).map_err(|_| OpenError::Malformed)?);
        }
    }
    Ok(found)
}
