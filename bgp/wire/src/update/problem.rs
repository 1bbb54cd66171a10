//! Faults of an UPDATE and what becomes of it (RFC 7606).

use std::fmt;

use proxima_types::Family;

use super::attributes::{code, name};
use crate::{AfiSafi, ErrorCode, Notification};

/// What becomes of an UPDATE with a faulty attribute (RFC 7606 §2), the mildest first. The hardest, a session
/// reset, is an [`UpdateError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Disposition {
    /// The attribute is dropped, the rest stands.
    AttributeDiscard,
    /// All routes the message announces are taken as withdrawn.
    TreatAsWithdraw,
    /// The peer's routes of this family go, and those still to come are ignored for as long as the session lasts
    /// ("AFI/SAFI disable"). Only where [`Negotiated::disable_families`](crate::Negotiated::disable_families) asks for it.
    DisableFamily(Family),
}

/// A fault the session survives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributeProblem {
    /// Type code of the attribute.
    pub attribute: u8,
    /// What is wrong with it.
    pub fault: Fault,
    /// What became of the message.
    pub disposition: Disposition,
    /// The attribute as it came, header included; empty when it is missing.
    pub octets: Vec<u8>,
}

/// What is wrong with an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Fault {
    /// The optional or transitive bit is not as the RFC of the attribute says.
    #[error("has the wrong flags 0x{0:02x}")]
    Flags(u8),
    /// A length its type can't have.
    #[error("has a bad length of {0} octets")]
    Length(usize),
    /// A value its type can't have.
    #[error("has a bad value")]
    Value,
    /// AS 0 is in it (RFC 7607).
    #[error("has AS 0 in it, which is reserved")]
    AsZero,
    /// An unordered segment, of an aggregate (RFC 9774).
    #[error("has an AS_SET, which no route may have any more")]
    AsSet,
    /// A segment of a confederation, of which we are no member (RFC 5065).
    #[error("has a confederation segment, and we are in no confederation")]
    Confederation,
    /// It, or its header, goes beyond the attribute list.
    #[error("runs beyond the end of the attribute list")]
    Overrun,
    /// It came a second time.
    #[error("came more than once")]
    Duplicate,
    /// Routes need it and it is not there.
    #[error("is missing")]
    Missing,
    /// It is of no concern between different ASes.
    #[error("came from an external peer")]
    FromExternalPeer,
    /// Only two-octet speakers may send it.
    #[error("came from a peer that sends four-octet AS numbers")]
    FromFourOctetPeer,
    /// Its family is not exchanged on the session.
    #[error("is for {0}, which is not negotiated")]
    FamilyNotNegotiated(AfiSafi),
}

impl Disposition {
    /// What RFC 7606 §2 calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::AttributeDiscard => "attribute discard",
            Self::TreatAsWithdraw => "treat-as-withdraw",
            Self::DisableFamily(_) => "AFI/SAFI disable",
        }
    }
}

impl AttributeProblem {
    /// The RFC, and its section, that says so.
    pub fn rule(&self) -> &'static str {
        if self.attribute == code::NEXT_HOP
            && self.disposition == Disposition::AttributeDiscard
            && matches!(self.fault, Fault::Length(_) | Fault::Value | Fault::Flags(_))
        {
            return "RFC 4760 §3";
        }
        match (self.fault, self.attribute) {
            (Fault::Flags(_), _) => "RFC 7606 §3 c",
            (Fault::Missing, _) => "RFC 7606 §3 d",
            (Fault::Duplicate, _) => "RFC 7606 §3 g",
            (Fault::Overrun, _) => "RFC 7606 §4",
            (Fault::AsZero, _) => "RFC 7607 §2",
            (Fault::AsSet, _) => "RFC 9774",
            (Fault::Confederation, _) => "RFC 5065 §5",
            (Fault::FromFourOctetPeer, _) => "RFC 6793 §4.1",
            (Fault::FamilyNotNegotiated(_), _) => "RFC 4760 §8",
            (Fault::FromExternalPeer | Fault::Length(_) | Fault::Value, attribute) => {
                rule_for_value(attribute)
            }
        }
    }

    /// The NOTIFICATION of RFC 4271 §6.3, for when the fault can't be handled more gently.
    fn to_notification(&self) -> Notification {
        let with_octets = |error| Notification::new(error, self.octets.as_slice());
        match (self.fault, self.attribute) {
            (Fault::Overrun | Fault::Duplicate, _) => {
                Notification::new(ErrorCode::MALFORMED_ATTRIBUTE_LIST, [])
            }
            (Fault::Missing, attribute) => {
                Notification::new(ErrorCode::MISSING_WELL_KNOWN_ATTRIBUTE, [attribute])
            }
            (Fault::Flags(_), _) => with_octets(ErrorCode::ATTRIBUTE_FLAGS_ERROR),
            (_, code::AS_PATH) => Notification::new(ErrorCode::MALFORMED_AS_PATH, []),
            (Fault::Length(_), _) => with_octets(ErrorCode::ATTRIBUTE_LENGTH_ERROR),
            (_, code::ORIGIN) => with_octets(ErrorCode::INVALID_ORIGIN),
            (_, code::NEXT_HOP) => with_octets(ErrorCode::INVALID_NEXT_HOP),
            _ => with_octets(ErrorCode::OPTIONAL_ATTRIBUTE_ERROR),
        }
    }
}

/// Where the disposition of a bad value or length is laid down.
fn rule_for_value(attribute: u8) -> &'static str {
    match attribute {
        code::ORIGIN => "RFC 7606 §7.1",
        code::AS_PATH => "RFC 7606 §7.2",
        code::NEXT_HOP => "RFC 7606 §7.3",
        code::MED => "RFC 7606 §7.4",
        code::LOCAL_PREF => "RFC 7606 §7.5",
        code::ATOMIC_AGGREGATE => "RFC 7606 §7.6",
        code::AGGREGATOR => "RFC 7606 §7.7",
        code::COMMUNITIES => "RFC 7606 §7.8",
        code::ORIGINATOR_ID => "RFC 7606 §7.9",
        code::CLUSTER_LIST => "RFC 7606 §7.10",
        code::MP_REACH => "RFC 7606 §7.11",
        code::MP_UNREACH => "RFC 7606 §7.12",
        code::EXTENDED_COMMUNITIES => "RFC 7606 §7.14",
        code::IPV6_EXTENDED_COMMUNITIES => "RFC 7606 §7.15",
        code::AS4_PATH | code::AS4_AGGREGATOR => "RFC 6793 §6",
        code::LARGE_COMMUNITIES => "RFC 8092 §6",
        code::ONLY_TO_CUSTOMER => "RFC 9234 §5",
        _ => "RFC 7606 §8",
    }
}

/// An attribute by its name, or by its number.
struct Named(u8);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match name(self.0) {
            Some(name) => f.write_str(name),
            None => write!(f, "attribute {}", self.0),
        }
    }
}

impl fmt::Display for AttributeProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", Named(self.attribute), self.fault)?;
        match self.disposition {
            Disposition::AttributeDiscard => f.write_str("; ignored"),
            Disposition::TreatAsWithdraw => f.write_str("; its routes are taken as withdrawn"),
            Disposition::DisableFamily(family) => {
                write!(f, "; {family} routes of the peer are dropped and ignored from now on")
            }
        }
    }
}

/// An UPDATE that ends the session (RFC 4271 §6.3 as revised by RFC 7606).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpdateError {
    /// The lengths of withdrawn routes and attributes do not fit the message.
    #[error("the lengths of the peer's UPDATE do not add up")]
    Lengths,
    /// MP_REACH_NLRI or MP_UNREACH_NLRI came twice.
    #[error("{} came more than once", Named(*.0))]
    Repeated(u8),
    /// An attribute every speaker must know, and we don't.
    #[error("attribute {attribute} is marked well-known but is unknown")]
    UnrecognizedWellKnown {
        /// Type code.
        attribute: u8,
        /// The attribute as it came.
        octets: Vec<u8>,
    },
    /// The withdrawn routes or the NLRI can't be read.
    #[error("the prefixes of the peer's UPDATE are malformed")]
    InvalidNetworkField,
    /// MP_REACH_NLRI or MP_UNREACH_NLRI can't be read.
    #[error("{} is malformed", Named(*.attribute))]
    MultiprotocolMalformed {
        /// Type code.
        attribute: u8,
        /// The attribute as it came.
        octets: Vec<u8>,
    },
    /// The fault asks for a withdrawal, but the message announces nothing that could be withdrawn (RFC 7606 §5.2).
    #[error("{} {}, in a message without routes", Named(.0.attribute), .0.fault)]
    NothingToWithdraw(AttributeProblem),
}

impl UpdateError {
    /// The attribute at fault, if it is one.
    pub fn attribute(&self) -> Option<u8> {
        match self {
            Self::Lengths | Self::InvalidNetworkField => None,
            Self::Repeated(attribute)
            | Self::UnrecognizedWellKnown { attribute, .. }
            | Self::MultiprotocolMalformed { attribute, .. } => Some(*attribute),
            Self::NothingToWithdraw(problem) => Some(problem.attribute),
        }
    }

    /// The RFC, and its section, that ends the session for it.
    pub fn rule(&self) -> &'static str {
        match self {
            Self::Lengths => "RFC 7606 §3 b",
            Self::Repeated(_) => "RFC 7606 §3 g",
            Self::UnrecognizedWellKnown { .. } => "RFC 4271 §6.3",
            Self::InvalidNetworkField => "RFC 7606 §5.3",
            Self::MultiprotocolMalformed { attribute: code::MP_REACH, .. } => "RFC 7606 §7.11",
            Self::MultiprotocolMalformed { .. } => "RFC 7606 §7.12",
            Self::NothingToWithdraw(_) => "RFC 7606 §5.2",
        }
    }

    /// The NOTIFICATION for it.
    pub fn to_notification(&self) -> Notification {
        match self {
            Self::Lengths | Self::Repeated(_) => Notification::new(ErrorCode::MALFORMED_ATTRIBUTE_LIST, []),
            Self::UnrecognizedWellKnown { octets, .. } => {
                Notification::new(ErrorCode::UNRECOGNIZED_WELL_KNOWN_ATTRIBUTE, octets.as_slice())
            }
            Self::InvalidNetworkField => Notification::new(ErrorCode::INVALID_NETWORK_FIELD, []),
            Self::MultiprotocolMalformed { octets, .. } => {
                Notification::new(ErrorCode::OPTIONAL_ATTRIBUTE_ERROR, octets.as_slice())
            }
            Self::NothingToWithdraw(problem) => problem.to_notification(),
        }
    }
}
