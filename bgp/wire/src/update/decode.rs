//! Reading an UPDATE, attribute by attribute, with the dispositions of RFC 7606.

use std::net::{IpAddr, Ipv4Addr};

use proxima_types::{Asn, Community, Family, LargeCommunity};

use super::{
    Aggregator, AsPath, AttributeProblem, Attributes, Disposition, Fault, NextHop, Nlri, RawAttribute, Reach,
    Update, UpdateError,
    attributes::{code, flag, without_repetitions},
    nlri,
    value::{
        afi_safi, aggregator, can_be_a_host, class, disposition, fixed, list, mp_next_hop, next_hop, number,
        origin,
    },
};
use crate::{AfiSafi, Families, Negotiated, PeerKind, reader::Reader};

impl Update {
    pub(crate) fn decode(body: &[u8], negotiated: Negotiated) -> Result<Self, UpdateError> {
        let mut reader = Reader::new(body);
        let withdrawn = section(&mut reader).ok_or(UpdateError::Lengths)?;
        let attributes = section(&mut reader).ok_or(UpdateError::Lengths)?;
        let nlri = reader.rest();
        if withdrawn.is_empty() && attributes.is_empty() && nlri.is_empty() {
            return Ok(Self { end_of_rib: Some(Family::Ipv4), ..Self::default() });
        }
        let add_path = negotiated.add_path_receive.contains(Family::Ipv4);
        let field =
            |bytes| nlri::decode(bytes, Family::Ipv4, add_path).ok_or(UpdateError::InvalidNetworkField);
        let classic = Classic { withdrawn: field(withdrawn)?, announced: field(nlri)? };
        let mut list = AttributeList::new(negotiated);
        list.read(attributes)?;
        list.finish(classic)
    }
}

/// A two-octet length and that many octets.
fn section<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let length = reader.u16()?;
    reader.take(usize::from(length))
}

/// The fields of RFC 4271, which hold IPv4 only.
struct Classic {
    withdrawn: Vec<Nlri>,
    announced: Vec<Nlri>,
}

/// One attribute as it stands in the message.
#[derive(Clone, Copy)]
pub(crate) struct Attribute<'a> {
    pub(crate) flags: u8,
    pub(crate) code: u8,
    pub(crate) value: &'a [u8],
    /// Header and value.
    octets: &'a [u8],
}

/// A set of type codes.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Codes([u64; 4]);

impl Codes {
    fn contains(self, code: u8) -> bool {
        self.0[usize::from(code >> 6)] & 1 << (code & 63) != 0
    }

    /// Whether `code` is new to the set.
    fn insert(&mut self, code: u8) -> bool {
        let new = !self.contains(code);
        self.0[usize::from(code >> 6)] |= 1 << (code & 63);
        new
    }

    fn has_other_than(mut self, code: u8) -> bool {
        self.0[usize::from(code >> 6)] &= !(1 << (code & 63));
        self != Self::default()
    }
}

/// What has been read of the attributes so far.
struct AttributeList {
    negotiated: Negotiated,
    attributes: Attributes,
    next_hop: Option<Ipv4Addr>,
    as4_path: Option<AsPath>,
    as4_aggregator: Option<Aggregator>,
    unknown: Vec<RawAttribute>,
    reach: Option<Reach>,
    /// MP_REACH_NLRI had prefixes, of whatever family, as far as can be told.
    announces: bool,
    unreach: Option<(Family, Vec<Nlri>)>,
    /// The family whose routes could not be read ([`Disposition::DisableFamily`]).
    disabled: Option<Family>,
    seen: Codes,
    problems: Vec<AttributeProblem>,
}

impl AttributeList {
    fn new(negotiated: Negotiated) -> Self {
        Self {
            negotiated,
            attributes: Attributes::default(),
            next_hop: None,
            as4_path: None,
            as4_aggregator: None,
            unknown: Vec::new(),
            reach: None,
            announces: false,
            unreach: None,
            disabled: None,
            seen: Codes::default(),
            problems: Vec::new(),
        }
    }

    fn read(&mut self, bytes: &[u8]) -> Result<(), UpdateError> {
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            let rest = reader.rest();
            let Some(attribute) = attribute(&mut reader) else {
                return self.overrun(rest);
            };
            self.take(attribute)?;
        }
        Ok(())
    }

    /// The list ends within an attribute (RFC 7606 §4): the NLRI field can still be found, the routes of a
    /// multiprotocol attribute can't.
    fn overrun(&mut self, rest: &[u8]) -> Result<(), UpdateError> {
        let attribute = rest.get(1).copied().unwrap_or(0);
        if matches!(attribute, code::MP_REACH | code::MP_UNREACH) {
            return Err(UpdateError::MultiprotocolMalformed { attribute, octets: rest.to_vec() });
        }
        self.seen.insert(attribute);
        self.problem(attribute, Fault::Overrun, Disposition::TreatAsWithdraw, rest);
        Ok(())
    }

    fn take(&mut self, attribute: Attribute<'_>) -> Result<(), UpdateError> {
        if !self.seen.insert(attribute.code) {
            return self.duplicate(attribute);
        }
        if let Some(fault) = self.not_for_us(attribute.code) {
            self.problem(attribute.code, fault, Disposition::AttributeDiscard, attribute.octets);
            return Ok(());
        }
        let Some(expected) = class(attribute.code) else { return self.unknown(attribute) };
        if attribute.flags & (flag::OPTIONAL | flag::TRANSITIVE) != expected {
            self.fault(attribute, Fault::Flags(attribute.flags));
            if !matches!(attribute.code, code::MP_REACH | code::MP_UNREACH) {
                return Ok(());
            }
        }
        match attribute.code {
            code::MP_REACH => self.mp_reach(attribute),
            code::MP_UNREACH => self.mp_unreach(attribute),
            _ => {
                if let Err(fault) = self.value(attribute) {
                    self.fault(attribute, fault);
                }
                Ok(())
            }
        }
    }

    /// RFC 7606 §3 (g).
    fn duplicate(&mut self, attribute: Attribute<'_>) -> Result<(), UpdateError> {
        if matches!(attribute.code, code::MP_REACH | code::MP_UNREACH) {
            return Err(UpdateError::Repeated(attribute.code));
        }
        self.problem(attribute.code, Fault::Duplicate, Disposition::AttributeDiscard, attribute.octets);
        Ok(())
    }

    /// Attributes to be dropped unread on this kind of session.
    fn not_for_us(&self, attribute: u8) -> Option<Fault> {
        match attribute {
            code::LOCAL_PREF | code::ORIGINATOR_ID | code::CLUSTER_LIST => {
                (self.negotiated.peer == PeerKind::External).then_some(Fault::FromExternalPeer)
            }
            code::AS4_PATH | code::AS4_AGGREGATOR => {
                self.negotiated.four_octet_as.then_some(Fault::FromFourOctetPeer)
            }
            _ => None,
        }
    }

    fn unknown(&mut self, attribute: Attribute<'_>) -> Result<(), UpdateError> {
        let Attribute { flags, code, octets, .. } = attribute;
        if flags & flag::OPTIONAL == 0 {
            return Err(UpdateError::UnrecognizedWellKnown { attribute: code, octets: octets.to_vec() });
        }
        if flags & flag::TRANSITIVE != 0 {
            self.keep_raw(attribute);
        }
        Ok(())
    }

    fn keep_raw(&mut self, Attribute { flags, code, value, .. }: Attribute<'_>) {
        let flags = flags & !flag::EXTENDED_LENGTH;
        self.unknown.push(RawAttribute { flags, code, value: value.into() });
    }

    fn value(&mut self, attribute: Attribute<'_>) -> Result<(), Fault> {
        let value = attribute.value;
        let wide = self.negotiated.four_octet_as;
        let into = &mut self.attributes;
        match attribute.code {
            code::ORIGIN => into.origin = origin(value)?,
            code::AS_PATH => into.as_path = self.negotiated.check_sets(AsPath::decode(value, wide)?)?,
            code::NEXT_HOP => self.next_hop = Some(next_hop(value)?),
            code::MED => into.med = Some(number(value)?),
            code::LOCAL_PREF => into.local_pref = Some(number(value)?),
            code::ATOMIC_AGGREGATE => {
                fixed::<0>(value)?;
                into.atomic_aggregate = true;
            }
            code::AGGREGATOR => into.rare.aggregator = Some(aggregator(value, wide)?),
            code::COMMUNITIES => {
                into.communities =
                    list(value)?.iter().map(|octets| Community(u32::from_be_bytes(*octets))).collect();
            }
            code::ORIGINATOR_ID => into.rare.originator_id = Some(fixed::<4>(value)?.into()),
            code::CLUSTER_LIST => {
                into.rare.cluster_list =
                    list::<4>(value)?.iter().map(|octets| Ipv4Addr::from(*octets)).collect();
            }
            code::EXTENDED_COMMUNITIES => into.rare.extended_communities = list(value)?.into(),
            code::IPV6_EXTENDED_COMMUNITIES => {
                list::<20>(value)?;
                self.keep_raw(attribute);
            }
            code::AS4_PATH => {
                self.as4_path = Some(self.negotiated.check_sets(AsPath::decode_as4(value)?)?);
            }
            code::AS4_AGGREGATOR => self.as4_aggregator = Some(aggregator(value, true)?),
            code::LARGE_COMMUNITIES => {
                let listed: Box<[_]> = list(value)?.iter().copied().map(LargeCommunity::from).collect();
                into.large_communities = without_repetitions(&listed).unwrap_or(listed);
            }
            code::ONLY_TO_CUSTOMER => into.only_to_customer = Some(Asn(number(value)?)),
            _ => {}
        }
        Ok(())
    }

    /// RFC 4760 §3, RFC 7606 §7.11.
    fn mp_reach(&mut self, attribute: Attribute<'_>) -> Result<(), UpdateError> {
        let mut reader = Reader::new(attribute.value);
        let afi_safi = afi_safi(&mut reader).ok_or_else(|| misshapen(attribute))?;
        self.announces = true;
        let Some(family) = self.exchanged(afi_safi, attribute) else { return Ok(()) };
        let Some((next_hop, nlri)) = self.routes(&mut reader, family) else {
            return self.unreadable(attribute, family);
        };
        self.announces = !nlri.is_empty();
        if !can_be_a_host(next_hop.address) {
            self.problem(attribute.code, Fault::Value, Disposition::TreatAsWithdraw, attribute.octets);
        }
        self.reach = Some(Reach { next_hop, nlri });
        Ok(())
    }

    /// Next hop and prefixes of MP_REACH_NLRI.
    fn routes(&self, reader: &mut Reader<'_>, family: Family) -> Option<(NextHop, Vec<Nlri>)> {
        let length = reader.u8()?;
        let next_hop = reader.take(usize::from(length))?;
        let _reserved = reader.u8()?;
        let next_hop = mp_next_hop(family, next_hop, self.negotiated.extended_next_hop_receive)?;
        Some((next_hop, self.nlri(reader.rest(), family)?))
    }

    /// RFC 4760 §4, RFC 7606 §7.12.
    fn mp_unreach(&mut self, attribute: Attribute<'_>) -> Result<(), UpdateError> {
        let mut reader = Reader::new(attribute.value);
        let afi_safi = afi_safi(&mut reader).ok_or_else(|| misshapen(attribute))?;
        let Some(family) = self.exchanged(afi_safi, attribute) else { return Ok(()) };
        let Some(nlri) = self.nlri(reader.rest(), family) else {
            return self.unreadable(attribute, family);
        };
        self.unreach = Some((family, nlri));
        Ok(())
    }

    /// The family by these numbers if its routes are exchanged; otherwise the attribute is dropped unread.
    fn exchanged(&mut self, afi_safi: AfiSafi, attribute: Attribute<'_>) -> Option<Family> {
        let family = afi_safi.family().filter(|family| self.negotiated.families.contains(*family));
        if family.is_none() {
            let fault = Fault::FamilyNotNegotiated(afi_safi);
            self.problem(attribute.code, fault, Disposition::AttributeDiscard, attribute.octets);
        }
        family
    }

    fn nlri(&self, bytes: &[u8], family: Family) -> Option<Vec<Nlri>> {
        nlri::decode(bytes, family, self.negotiated.add_path_receive.contains(family))
    }

    /// The routes of `family` can't be told any more: the session ends, or does without the family.
    fn unreadable(&mut self, attribute: Attribute<'_>, family: Family) -> Result<(), UpdateError> {
        let left = self.negotiated.families.without(family).is_empty();
        if !self.negotiated.disable_families || left || self.disabled.is_some_and(|other| other != family) {
            return Err(misshapen(attribute));
        }
        self.disabled = Some(family);
        let disposition = Disposition::DisableFamily(family);
        self.problem(attribute.code, Fault::Value, disposition, attribute.octets);
        Ok(())
    }

    fn finish(&mut self, classic: Classic) -> Result<Update, UpdateError> {
        let end_of_rib = self.end_of_rib(&classic);
        self.require_mandatory(&classic);
        let families = match self.disabled {
            Some(family) => self.negotiated.families.without(family),
            None => self.negotiated.families,
        };
        let fatal = self.problems.iter().find(|problem| problem.disposition == Disposition::TreatAsWithdraw);
        let announces = self.announces || !classic.announced.is_empty();
        if let Some(problem) = fatal
            && !announces
            && self.seen.has_other_than(code::MP_UNREACH)
        {
            return Err(UpdateError::NothingToWithdraw(problem.clone()));
        }
        let treat_as_withdraw = fatal.is_some();

        if !families.contains(Family::Ipv4) && self.disabled.is_none() && !classic.announced.is_empty() {
            let fault = Fault::FamilyNotNegotiated(Family::Ipv4.into());
            self.problem(code::NEXT_HOP, fault, Disposition::AttributeDiscard, &[]);
        }
        let mut withdrawn = self.withdrawn(classic.withdrawn, families);
        let reach = self.reach(classic.announced, families);
        if treat_as_withdraw {
            withdrawn.extend(reach.into_iter().flat_map(|reach| reach.nlri));
            let problems = std::mem::take(&mut self.problems);
            return Ok(Update { withdrawn, problems, ..Update::default() });
        }
        self.complete_attributes();
        Ok(Update {
            withdrawn,
            reach,
            attributes: std::mem::take(&mut self.attributes),
            end_of_rib,
            problems: std::mem::take(&mut self.problems),
        })
    }

    /// Notes mandatory attributes that are missing (those that are there and faulty have been noted), and forgives
    /// a NEXT_HOP that no route needs (RFC 4760 §3).
    fn require_mandatory(&mut self, classic: &Classic) {
        let multiprotocol = self.reach.as_ref().is_some_and(|reach| !reach.nlri.is_empty());
        if classic.announced.is_empty() {
            if self.announces {
                for problem in &mut self.problems {
                    if problem.attribute == code::NEXT_HOP && problem.fault != Fault::Overrun {
                        problem.disposition = Disposition::AttributeDiscard;
                    }
                }
            }
        } else {
            self.require(code::NEXT_HOP);
        }
        if multiprotocol || !classic.announced.is_empty() {
            self.require(code::ORIGIN);
            self.require(code::AS_PATH);
        }
    }

    fn require(&mut self, attribute: u8) {
        if !self.seen.contains(attribute) {
            self.problem(attribute, Fault::Missing, Disposition::TreatAsWithdraw, &[]);
        }
    }

    /// What both fields withdraw.
    fn withdrawn(&mut self, classic: Vec<Nlri>, families: Families) -> Vec<Nlri> {
        let mut withdrawn = if families.contains(Family::Ipv4) { classic } else { Vec::new() };
        if let Some((_, nlri)) = self.unreach.take().filter(|(family, _)| families.contains(*family)) {
            if withdrawn.is_empty() {
                return nlri;
            }
            withdrawn.extend(nlri);
        }
        withdrawn
    }

    /// What both fields announce.
    fn reach(&mut self, classic: Vec<Nlri>, families: Families) -> Vec<Reach> {
        let ipv4 = (!classic.is_empty() && families.contains(Family::Ipv4)).then(|| {
            // Without a next hop the message is a withdrawal, and the address does not matter.
            let address = IpAddr::V4(self.next_hop.unwrap_or(Ipv4Addr::UNSPECIFIED));
            Reach { next_hop: address.into(), nlri: classic }
        });
        let multiprotocol = self
            .reach
            .take()
            .filter(|reach| reach.nlri.first().is_some_and(|first| families.contains(first.prefix.family())));
        match (ipv4, multiprotocol) {
            (None, None) => Vec::new(),
            (Some(reach), None) | (None, Some(reach)) => vec![reach],
            (Some(ipv4), Some(multiprotocol)) => vec![ipv4, multiprotocol],
        }
    }

    /// The family whose End-of-RIB this is: nothing but an MP_UNREACH_NLRI without prefixes.
    fn end_of_rib(&self, classic: &Classic) -> Option<Family> {
        let (family, prefixes) = self.unreach.as_ref()?;
        let nothing_else = classic.withdrawn.is_empty()
            && classic.announced.is_empty()
            && !self.seen.has_other_than(code::MP_UNREACH);
        (prefixes.is_empty() && nothing_else).then_some(*family)
    }

    /// Adds the attributes we do not know, and makes those of a two-octet peer whole (RFC 6793 §4.2.3).
    fn complete_attributes(&mut self) {
        let attributes = &mut self.attributes;
        if !self.unknown.is_empty() {
            attributes.rare.unknown = std::mem::take(&mut self.unknown).into();
        }
        if self.as4_path.is_none() && self.as4_aggregator.is_none() {
            return;
        }
        // An old speaker that aggregated later left the AS4 attributes of before; they no longer hold then.
        let aggregator = attributes.rare.aggregator;
        let outdated = self.as4_aggregator.is_some() && aggregator.is_some_and(|by| by.asn != Asn::TRANS);
        if outdated {
            return;
        }
        if let (Some(as4_aggregator), Some(_)) = (self.as4_aggregator, aggregator) {
            attributes.rare.aggregator = Some(as4_aggregator);
        }
        if let Some(as4_path) = &self.as4_path {
            attributes.as_path = std::mem::take(&mut attributes.as_path).merged_with(as4_path);
        }
    }

    #[cold]
    fn fault(&mut self, attribute: Attribute<'_>, fault: Fault) {
        self.problem(attribute.code, fault, disposition(attribute.code, fault), attribute.octets);
    }

    #[cold]
    fn problem(&mut self, attribute: u8, fault: Fault, disposition: Disposition, octets: &[u8]) {
        self.problems.push(AttributeProblem { attribute, fault, disposition, octets: octets.to_vec() });
    }
}

impl Negotiated {
    fn check_sets(self, path: AsPath) -> Result<AsPath, Fault> {
        if self.refuse_as_sets && path.has_set() { Err(Fault::AsSet) } else { Ok(path) }
    }
}

#[cold]
fn misshapen(attribute: Attribute<'_>) -> UpdateError {
    UpdateError::MultiprotocolMalformed { attribute: attribute.code, octets: attribute.octets.to_vec() }
}

/// The next attribute; `None` when the list ends within it.
fn attribute<'a>(reader: &mut Reader<'a>) -> Option<Attribute<'a>> {
    let whole = reader.rest();
    let [flags, code] = reader.array()?;
    let length = if flags & flag::EXTENDED_LENGTH == 0 {
        usize::from(reader.u8()?)
    } else {
        usize::from(reader.u16()?)
    };
    let value = reader.take(length)?;
    Some(Attribute { flags, code, value, octets: &whole[..whole.len() - reader.remaining()] })
}

/// The attributes of an UPDATE's body as they stand, as far as they can be told apart; a last one that is cut short
/// has what is there of its value.
pub(crate) fn raw_attributes(body: &[u8]) -> impl Iterator<Item = Attribute<'_>> {
    let mut reader = Reader::new(body);
    let attributes = section(&mut reader).and_then(|_| {
        let length = usize::from(reader.u16()?);
        Some(&reader.rest()[..length.min(reader.remaining())])
    });
    let mut reader = Reader::new(attributes.unwrap_or_default());
    std::iter::from_fn(move || {
        let rest = reader.rest();
        let &[flags, code, ..] = rest else { return None };
        attribute(&mut reader).or_else(|| {
            reader = Reader::new(&[]);
            let header = if flags & flag::EXTENDED_LENGTH == 0 { 3 } else { 4 };
            Some(Attribute { flags, code, value: rest.get(header..).unwrap_or_default(), octets: rest })
        })
    })
}
