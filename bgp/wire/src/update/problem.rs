//! Faults of an UPDATE and what becomes of it (RFC 7606).

use std::fmt;

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

impl fmt::Display for AttributeProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match name(self.attribute) {
            Some(name) => write!(f, "{name} {}", self.fault)?,
            None => write!(f, "attribute {} {}", self.attribute, self.fault)?,
        }
        f.write_str(match self.disposition {
            Disposition::AttributeDiscard => "; ignored",
            Disposition::TreatAsWithdraw => "; its routes are taken as withdrawn",
        })
    }
}

/// An UPDATE that ends the session (RFC 4271 §6.3 as revised by RFC 7606).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpdateError {
    /// The lengths of withdrawn routes and attributes do not fit the message.
    #[error("the lengths of the peer's UPDATE do not add up")]
    Lengths,
    /// MP_REACH_NLRI or MP_UNREACH_NLRI came twice.
    #[error("{} came more than once", name(*.0).unwrap_or("an attribute"))]
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
    #[error("{} is malformed", name(*.attribute).unwrap_or("an attribute"))]
    MultiprotocolMalformed {
        /// Type code.
        attribute: u8,
        /// The attribute as it came.
        octets: Vec<u8>,
    },
    /// The fault asks for a withdrawal, but the message announces nothing that could be withdrawn (RFC 7606 §5.2).
    #[error("{} {}, in a message without routes", name(.0.attribute).unwrap_or("an attribute"), .0.fault)]
    NothingToWithdraw(AttributeProblem),
}

impl UpdateError {
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

impl AttributeProblem {
    /// The NOTIFICATION of RFC 4271 §6.3, for when the fault can't be handled more gently.
    fn to_notification(&self) -> Notification {
        match (self.fault, self.attribute) {
            (Fault::Overrun, _) => Notification::new(ErrorCode::MALFORMED_ATTRIBUTE_LIST, []),
            (Fault::Missing, attribute) => {
                Notification::new(ErrorCode::MISSING_WELL_KNOWN_ATTRIBUTE, [attribute])
            }
            (Fault::Flags(_), _) => {
                Notification::new(ErrorCode::ATTRIBUTE_FLAGS_ERROR, self.octets.as_slice())
            }
            (_, code::AS_PATH) => Notification::new(ErrorCode::MALFORMED_AS_PATH, []),
            (Fault::Length(_), _) => {
                Notification::new(ErrorCode::ATTRIBUTE_LENGTH_ERROR, self.octets.as_slice())
            }
            (_, code::ORIGIN) => Notification::new(ErrorCode::INVALID_ORIGIN, self.octets.as_slice()),
            (_, code::NEXT_HOP) => Notification::new(ErrorCode::INVALID_NEXT_HOP, self.octets.as_slice()),
            _ => Notification::new(ErrorCode::OPTIONAL_ATTRIBUTE_ERROR, self.octets.as_slice()),
        }
    }
}
