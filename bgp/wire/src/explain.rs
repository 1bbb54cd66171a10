//! What a message says and what is wrong with it, for people and for programs that tell people.
//!
//! [`explain`] never fails: what can't be read is explained as such, with the NOTIFICATION it is answered with. The
//! structs here hold words and numbers ready to be shown as text or written as JSON; the decoded message is beside them.
//!
//! ```text
//!  bytes ─▶ stream() ─▶ message by message ─▶ explain() ─▶ Explanation
//!                                                            ├ content: OPEN and its capabilities, UPDATE and its
//!                                                            │          attributes (value, flags, problem), …
//!                                                            └ refusal: why the session would end, and with what
//! ```

mod attribute;

use std::fmt;

use bytes::Bytes;
use proxima_types::Asn;

pub use attribute::extended_community;

use crate::{
    AttributeProblem, Capability, DecodeError, HEADER_LEN, HeaderError, Message, MessageType, Negotiated,
    Notification, Open, RouteRefresh, Update,
    header::{self, type_of},
    update::{self, Fault},
};

/// One message, explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The message as it came, header included.
    pub octets: Bytes,
    /// Its type, if the header has a known one.
    pub kind: Option<MessageType>,
    /// What it says, as far as that can be read.
    pub content: Content,
    /// Why it ends the session, if it does.
    pub refusal: Option<Refusal>,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// OPEN; shown even if a field of it is refused.
    Open(OpenContent),
    /// UPDATE; its attributes are shown even if it is refused.
    Update(UpdateContent),
    /// NOTIFICATION. Its `Display` is a full sentence; see also [`Notification::error`],
    /// [`Notification::shutdown_message`] and [`Notification::hard_reset_reason`].
    Notification(Notification),
    /// KEEPALIVE.
    Keepalive,
    /// ROUTE-REFRESH.
    RouteRefresh(RouteRefresh),
    /// Nothing that could be read: the refusal says why.
    Unreadable,
}

/// What an OPEN says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenContent {
    /// The message as it was read.
    pub open: Open,
    /// The AS number in the field of two octets; 23456 stands for one that does not fit.
    pub two_octet_as: Asn,
    /// The optional parameters have lengths of two octets (RFC 9072).
    pub extended_parameters: bool,
    /// Its capabilities, in the order given.
    pub capabilities: Vec<CapabilityContent>,
}

/// One capability.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapabilityContent {
    /// Capability code.
    pub code: u8,
    /// Its registered name.
    pub name: Option<&'static str>,
    /// What its value says; empty if it has none. Octets in hexadecimal where we can't tell.
    pub details: String,
    /// The session takes note of it; others are ignored (RFC 5492 §3).
    pub understood: bool,
}

/// What an UPDATE says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateContent {
    /// The attributes in the order they stand.
    pub attributes: Vec<AttributeContent>,
    /// What a session makes of it: routes gone and come, End-of-RIB, all problems (those of attributes that are
    /// missing included). Absent when it ends the session.
    pub outcome: Option<Update>,
}

/// One path attribute as it stands in the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributeContent {
    /// Type code.
    pub code: u8,
    /// Its registered name.
    pub name: Option<&'static str>,
    /// Flags octet; [`flag_names`] are its words.
    pub flags: u8,
    /// Octets of the value that are there.
    pub length: usize,
    /// What the value says; octets in hexadecimal where we can't tell.
    pub value: String,
    /// What is wrong with it, if the session survives that.
    pub problem: Option<AttributeProblem>,
}

/// Why a message ends the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The error; its `Display` tells a person.
    pub error: DecodeError,
    /// What the peer is told.
    pub notification: Notification,
    /// The RFC, and its section, that asks for it.
    pub rule: &'static str,
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        Self { notification: error.to_notification(), rule: error.rule(), error }
    }
}

/// Explains every message of `bytes`, as one side of a session sends them, each as long as it says it is: a session ends with one
/// of a length that its type may not have, and what follows is told all the same. Octets that can't be framed, or that are too few
/// for the message they begin, end the list as one unreadable message.
pub fn stream(bytes: &[u8], negotiated: Negotiated) -> Vec<Explanation> {
    let mut rest = bytes;
    let mut explanations = Vec::new();
    while !rest.is_empty() {
        let length = header::own_end(rest).unwrap_or(rest.len());
        let (message, behind) = rest.split_at(length);
        explanations.push(explain(message, negotiated));
        rest = behind;
    }
    explanations
}

/// Explains one message as a session that has agreed on `negotiated` reads it.
pub fn explain(message: &[u8], negotiated: Negotiated) -> Explanation {
    let decoded = Message::decode(message, negotiated);
    let kind = type_of(message);
    let body = message.get(HEADER_LEN..).unwrap_or_default();
    let framed = !matches!(decoded, Err(DecodeError::Header(_)));
    let content = match (&decoded, kind) {
        (Ok(Message::Open(open)), _) => Content::Open(open_content(open.clone(), body)),
        (Ok(Message::Update(update)), _) => {
            Content::Update(update_content(body, Some(update.clone()), negotiated))
        }
        (Ok(Message::Notification(notification)), _) => Content::Notification(notification.clone()),
        (Ok(Message::Keepalive), _) => Content::Keepalive,
        (Ok(Message::RouteRefresh(refresh)), _) => Content::RouteRefresh(*refresh),
        (Err(_), Some(MessageType::Open)) if framed => {
            Open::parse(body).map_or(Content::Unreadable, |open| Content::Open(open_content(open, body)))
        }
        (Err(_), Some(MessageType::Update)) if framed => {
            Content::Update(update_content(body, None, negotiated))
        }
        (Err(_), _) => Content::Unreadable,
    };
    Explanation {
        octets: Bytes::copy_from_slice(message),
        kind,
        content,
        refusal: decoded.err().map(Refusal::from),
    }
}

fn open_content(open: Open, body: &[u8]) -> OpenContent {
    OpenContent {
        two_octet_as: Asn(Open::two_octet_as(body).into()),
        extended_parameters: Open::has_extended_parameters(body),
        capabilities: open.capabilities.iter().map(CapabilityContent::from).collect(),
        open,
    }
}

impl From<&Capability> for CapabilityContent {
    fn from(capability: &Capability) -> Self {
        Self {
            code: capability.code(),
            name: capability.name(),
            details: capability.details(),
            understood: !matches!(capability, Capability::Unknown { .. }),
        }
    }
}

fn update_content(body: &[u8], outcome: Option<Update>, negotiated: Negotiated) -> UpdateContent {
    let problems = outcome.as_ref().map_or(&[][..], |update| &update.problems);
    let mut seen = Vec::new();
    let attributes = update::raw_attributes(body)
        .map(|raw| {
            let again = seen.contains(&raw.code);
            seen.push(raw.code);
            let problem = problems.iter().find(|problem| {
                problem.attribute == raw.code && (problem.fault == Fault::Duplicate) == again
            });
            AttributeContent {
                code: raw.code,
                name: update::attribute_name(raw.code),
                flags: raw.flags,
                length: raw.value.len(),
                value: attribute::text(raw.code, raw.value, negotiated).unwrap_or_else(|| octets(raw.value)),
                problem: problem.cloned(),
            }
        })
        .collect();
    UpdateContent { attributes, outcome }
}

/// The words for an attribute's flags (RFC 4271 §4.3), `well-known` for one that is not optional.
pub fn flag_names(flags: u8) -> Vec<&'static str> {
    let flag = |bit, set, unset| if flags & bit == 0 { unset } else { set };
    [
        flag(0x80, "optional", "well-known"),
        flag(0x40, "transitive", "non-transitive"),
        flag(0x20, "partial", ""),
        flag(0x10, "extended length", ""),
    ]
    .into_iter()
    .filter(|name| !name.is_empty())
    .collect()
}

impl Explanation {
    /// The name of the message's type as the RFCs write it: `ROUTE-REFRESH`.
    pub fn name(&self) -> Option<&'static str> {
        self.kind.map(MessageType::name)
    }

    /// How long it says it is, where that is shorter than a header: where it ends can't be told, and its octets are all there are.
    pub fn endless(&self) -> Option<usize> {
        match self.refusal.as_ref()?.error {
            DecodeError::Header(HeaderError::BadLength(length)) => {
                Some(usize::from(length)).filter(|length| *length < HEADER_LEN)
            }
            _ => None,
        }
    }

    /// What is there of a message whose octets end before it does. A session would wait for the rest.
    pub fn truncated(&self) -> Option<Truncated> {
        let DecodeError::Header(HeaderError::CutShort(octets)) = self.refusal.as_ref()?.error else {
            return None;
        };
        Some(Truncated { octets, of: header::announced_length(&self.octets) })
    }
}

/// A message that ends too early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truncated {
    /// How many octets are there.
    pub octets: usize,
    /// How many there should be; absent where not even the header is there in full.
    pub of: Option<usize>,
}

impl fmt::Display for Truncated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.of {
            Some(of) => write!(f, "{} of {of} octets", self.octets),
            None => write!(f, "{} of the {HEADER_LEN} octets of a header", self.octets),
        }
    }
}

/// Octets in hexadecimal, parted by spaces.
pub(crate) fn octets(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().join(" ")
}
