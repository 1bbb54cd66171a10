//! netgauze-bgp-pkt's types, from and to ours.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
};

use ipnet::{Ipv4Net, Ipv6Net};
use netgauze_bgp_pkt::{
    BgpMessage,
    capabilities::{
        AddPathAddressFamily, AddPathCapability, BgpCapability, BgpRoleCapability, ExtendedNextHopEncoding,
        ExtendedNextHopEncodingCapability, FourOctetAsCapability, GracefulRestartAddressFamily,
        GracefulRestartCapability, MultiProtocolExtensionsCapability, UnrecognizedCapability,
    },
    community::{Community, ExtendedCommunity, LargeCommunity},
    iana::{BgpRoleValue, RouteRefreshSubcode},
    nlri::{Ipv4Unicast, Ipv4UnicastAddress, Ipv6Unicast, Ipv6UnicastAddress},
    notification::BgpNotificationMessage,
    open::{BgpOpenMessage, BgpOpenMessageParameter},
    path_attribute::{
        As2Aggregator, As2PathSegment, As4Aggregator, As4Path, As4PathSegment, AsPath, AsPathSegmentType,
        AtomicAggregate, ClusterId, ClusterList, Communities, ExtendedCommunities, LargeCommunities,
        LocalPreference, MpReach, MpUnreach, MultiExitDiscriminator, OnlyToCustomer, Originator,
        PathAttribute, PathAttributeValue, UnknownAttribute,
    },
    route_refresh::BgpRouteRefreshMessage,
    update::BgpUpdateMessage,
    wire::deserializer::{BgpMessageParsingError, BgpParsingContext},
};
use netgauze_iana::address_family::{AddressFamily, AddressType, SubsequentAddressFamily};
use netgauze_parse_utils::{
    WritablePdu,
    reader::SliceReader,
    traits::{ParseFrom, ParseFromWithOneInput},
};
use proxima_bgp_wire as wire;
use proxima_bgp_wire::{
    AfiSafi, Aggregator, Capability, Message, Negotiated, NextHop, Nlri, Notification, Open, Origin,
    RareAttributes, RawAttribute, Reach, RefreshKind, Role, RouteRefresh, Segment, SegmentKind, Update,
};
use proxima_types::{Asn, Family, Prefix};

use crate::two_octets;

pub(crate) fn read(octets: &[u8], negotiated: Negotiated) -> Message {
    from_theirs(parse(octets, negotiated).unwrap_or_else(|error| panic!("{error}: {octets:02x?}")))
}

pub(crate) fn write(message: &Message, negotiated: Negotiated) -> Vec<u8> {
    let mut octets = Vec::new();
    to_theirs(message, negotiated).write(&mut octets).unwrap();
    octets
}

/// Any fault is an error.
pub(crate) fn parse(octets: &[u8], negotiated: Negotiated) -> Result<BgpMessage, BgpMessageParsingError> {
    let types = [(AddressType::Ipv4Unicast, Family::Ipv4), (AddressType::Ipv6Unicast, Family::Ipv6)];
    let add_path = types.map(|(their, family)| (their, negotiated.add_path_receive.contains(family)));
    let mut context = BgpParsingContext::new(
        negotiated.four_octet_as,
        HashMap::new(),
        HashMap::from(add_path),
        true,
        true,
        true,
        true,
    );
    BgpMessage::parse(&mut SliceReader::new(octets), &mut context)
}

fn from_theirs(message: BgpMessage) -> Message {
    match message {
        BgpMessage::Open(open) => Message::Open(open_from(&open)),
        BgpMessage::Update(update) => Message::Update(update_from(&update)),
        BgpMessage::Notification(notification) => Message::Notification(notification_from(&notification)),
        BgpMessage::KeepAlive => Message::Keepalive,
        BgpMessage::RouteRefresh(refresh) => Message::RouteRefresh(RouteRefresh {
            family: family_from(refresh.address_type()),
            kind: match refresh.operation_type() {
                RouteRefreshSubcode::NormalRequest => RefreshKind::Request,
                RouteRefreshSubcode::BeginningOfRouteRefresh => RefreshKind::Begin,
                RouteRefreshSubcode::EndOfRouteRefresh => RefreshKind::End,
            },
        }),
    }
}

fn to_theirs(message: &Message, negotiated: Negotiated) -> BgpMessage {
    match message {
        Message::Open(open) => BgpMessage::Open(open_to(open)),
        Message::Update(update) => BgpMessage::Update(update_to(update, negotiated)),
        Message::Notification(notification) => BgpMessage::Notification(notification_to(notification)),
        Message::Keepalive => BgpMessage::KeepAlive,
        Message::RouteRefresh(refresh) => BgpMessage::RouteRefresh(BgpRouteRefreshMessage::new(
            family_to(refresh.family),
            match refresh.kind {
                RefreshKind::Request => RouteRefreshSubcode::NormalRequest,
                RefreshKind::Begin => RouteRefreshSubcode::BeginningOfRouteRefresh,
                RefreshKind::End => RouteRefreshSubcode::EndOfRouteRefresh,
                RefreshKind::Unknown(octet) => panic!("they have no subtype {octet}"),
            },
        )),
    }
}

fn family_from(their: AddressType) -> AfiSafi {
    AfiSafi { afi: their.address_family().into(), safi: their.subsequent_address_family().into() }
}

fn family_to(family: AfiSafi) -> AddressType {
    let afi = AddressFamily::try_from(family.afi).unwrap();
    AddressType::from_afi_safi(afi, SubsequentAddressFamily::try_from(family.safi).unwrap()).unwrap()
}

/// Codes, subcodes and data stand for themselves on the wire.
fn notification_from(their: &BgpNotificationMessage) -> Notification {
    let mut body = Vec::new();
    their.write(&mut body).unwrap();
    Notification { code: body[0], subcode: body[1], data: body[2..].to_vec() }
}

fn notification_to(notification: &Notification) -> BgpNotificationMessage {
    let body = [&[notification.code, notification.subcode], notification.data.as_slice()].concat();
    BgpNotificationMessage::parse(&mut SliceReader::new(&body)).unwrap()
}

fn open_from(their: &BgpOpenMessage) -> Open {
    let capabilities = their.capabilities().into_iter().map(capability_from).collect();
    let asn = Asn(their.my_asn4());
    Open { version: their.version(), ..Open::new(asn, their.hold_time(), their.bgp_id(), capabilities) }
}

fn open_to(open: &Open) -> BgpOpenMessage {
    let parameters: Vec<_> = open
        .capabilities
        .iter()
        .map(|capability| BgpOpenMessageParameter::new_capabilities(vec![capability_to(capability)]))
        .collect();
    BgpOpenMessage::new(open.asn.two_octets(), open.hold_time, open.router_id, parameters)
}

fn capability_from(their: &BgpCapability) -> Capability {
    match their {
        BgpCapability::MultiProtocolExtensions(it) => {
            Capability::Multiprotocol(family_from(it.address_type()))
        }
        BgpCapability::RouteRefresh => Capability::RouteRefresh,
        BgpCapability::EnhancedRouteRefresh => Capability::EnhancedRouteRefresh,
        BgpCapability::ExtendedMessage => Capability::ExtendedMessage,
        BgpCapability::FourOctetAs(it) => Capability::FourOctetAs(Asn(it.asn4())),
        BgpCapability::BgpRole(it) => Capability::Role(match it.role() {
            BgpRoleValue::Provider => Role::Provider,
            BgpRoleValue::Peer => Role::Peer,
            other => panic!("{other:?} has another number with them"),
        }),
        BgpCapability::GracefulRestartCapability(it) => {
            let family = |it: &GracefulRestartAddressFamily| wire::GracefulRestartFamily {
                family: family_from(it.address_type()),
                forwarding: it.forwarding_state(),
            };
            Capability::GracefulRestart(wire::GracefulRestart {
                restarted: it.restart(),
                notification: it.graceful_notification(),
                restart_time: it.time(),
                families: it.address_families().iter().map(family).collect(),
            })
        }
        BgpCapability::AddPath(it) => {
            let family = |it: &AddPathAddressFamily| wire::AddPath {
                family: family_from(it.address_type()),
                mode: match (it.send(), it.receive()) {
                    (true, true) => wire::AddPathMode::Both,
                    (true, false) => wire::AddPathMode::Send,
                    (false, true) => wire::AddPathMode::Receive,
                    (false, false) => panic!("neither"),
                },
            };
            Capability::AddPath(it.address_families().iter().map(family).collect())
        }
        BgpCapability::ExtendedNextHopEncoding(it) => {
            let entry = |it: &ExtendedNextHopEncoding| {
                let AfiSafi { afi, safi } = family_from(it.address_type());
                wire::ExtendedNextHop { afi, safi: safi.into(), next_hop_afi: it.next_hop_afi().into() }
            };
            Capability::ExtendedNextHop(it.encodings().iter().map(entry).collect())
        }
        BgpCapability::Unrecognized(it) => {
            Capability::Unknown { code: *it.code(), value: it.value().to_vec() }
        }
        other => panic!("{other:?} is not among ours"),
    }
}

fn capability_to(capability: &Capability) -> BgpCapability {
    match capability {
        Capability::Multiprotocol(family) => {
            BgpCapability::MultiProtocolExtensions(MultiProtocolExtensionsCapability::new(family_to(*family)))
        }
        Capability::RouteRefresh => BgpCapability::RouteRefresh,
        Capability::EnhancedRouteRefresh => BgpCapability::EnhancedRouteRefresh,
        Capability::ExtendedMessage => BgpCapability::ExtendedMessage,
        Capability::FourOctetAs(asn) => BgpCapability::FourOctetAs(FourOctetAsCapability::new(asn.0)),
        Capability::Role(role) => BgpCapability::BgpRole(BgpRoleCapability::new(match role {
            Role::Provider => BgpRoleValue::Provider,
            Role::Peer => BgpRoleValue::Peer,
            other => panic!("{other} has another number with them"),
        })),
        Capability::GracefulRestart(it) => {
            let family = |it: &wire::GracefulRestartFamily| {
                GracefulRestartAddressFamily::new(it.forwarding, family_to(it.family))
            };
            let families: Vec<_> = it.families.iter().map(family).collect();
            BgpCapability::GracefulRestartCapability(GracefulRestartCapability::new(
                it.restarted,
                it.notification,
                it.restart_time,
                families,
            ))
        }
        Capability::AddPath(families) => {
            let family = |it: &wire::AddPath| {
                let (send, receive) = match it.mode {
                    wire::AddPathMode::Both => (true, true),
                    wire::AddPathMode::Send => (true, false),
                    wire::AddPathMode::Receive => (false, true),
                };
                AddPathAddressFamily::new(family_to(it.family), send, receive)
            };
            BgpCapability::AddPath(AddPathCapability::new(families.iter().map(family).collect::<Vec<_>>()))
        }
        Capability::ExtendedNextHop(entries) => {
            let entry = |it: &wire::ExtendedNextHop| {
                let family = AfiSafi { afi: it.afi, safi: it.safi as u8 };
                let next_hop = AddressFamily::try_from(it.next_hop_afi).unwrap();
                ExtendedNextHopEncoding::new(family_to(family), next_hop)
            };
            BgpCapability::ExtendedNextHopEncoding(ExtendedNextHopEncodingCapability::new(
                entries.iter().map(entry).collect::<Vec<_>>(),
            ))
        }
        Capability::Unknown { code, value } => {
            BgpCapability::Unrecognized(UnrecognizedCapability::new(*code, value.as_slice()))
        }
    }
}

fn ipv4_from(their: &Ipv4UnicastAddress) -> Nlri {
    let net = their.network().address();
    let prefix = Prefix::truncating(net.addr().into(), net.prefix_len());
    Nlri { prefix, path_id: their.path_id().unwrap_or(0) }
}

fn ipv6_from(their: &Ipv6UnicastAddress) -> Nlri {
    let net = their.network().address();
    let prefix = Prefix::truncating(net.addr().into(), net.prefix_len());
    Nlri { prefix, path_id: their.path_id().unwrap_or(0) }
}

fn ipv4_to(nlri: &[Nlri], negotiated: Negotiated) -> Vec<Ipv4UnicastAddress> {
    let add_path = negotiated.add_path_send.contains(Family::Ipv4);
    let one = |nlri: &Nlri| {
        let IpAddr::V4(address) = nlri.prefix.address() else { return None };
        let net = Ipv4Net::new(address, nlri.prefix.length()).unwrap();
        let net = Ipv4Unicast::from_net(net).unwrap();
        Some(Ipv4UnicastAddress::new(add_path.then_some(nlri.path_id), net))
    };
    nlri.iter().filter_map(one).collect()
}

fn ipv6_to(nlri: &[Nlri], negotiated: Negotiated) -> Vec<Ipv6UnicastAddress> {
    let add_path = negotiated.add_path_send.contains(Family::Ipv6);
    let one = |nlri: &Nlri| {
        let IpAddr::V6(address) = nlri.prefix.address() else { return None };
        let net = Ipv6Net::new(address, nlri.prefix.length()).unwrap();
        let net = Ipv6Unicast::from_net(net).unwrap();
        Some(Ipv6UnicastAddress::new(add_path.then_some(nlri.path_id), net))
    };
    nlri.iter().filter_map(one).collect()
}

fn update_from(their: &BgpUpdateMessage) -> Update {
    let mut update = Update {
        end_of_rib: their.end_of_rib().map(|their| family_from(their).family().unwrap()),
        withdrawn: their.withdraw_routes().iter().map(ipv4_from).collect(),
        ..Update::default()
    };
    let (mut next_hop, mut as4_path) = (None, None);
    let into = &mut update.attributes;
    let mut rare = RareAttributes::default();
    for attribute in their.path_attributes() {
        match attribute.value() {
            PathAttributeValue::Origin(it) => into.origin = origin_from(u8::from(*it)),
            PathAttributeValue::AsPath(it) => into.as_path = as_path_from(it),
            PathAttributeValue::As4Path(it) => as4_path = Some(as4_path_from(it.segments())),
            PathAttributeValue::NextHop(it) => next_hop = Some(NextHop::from(IpAddr::V4(it.next_hop()))),
            PathAttributeValue::MultiExitDiscriminator(it) => into.med = Some(it.metric()),
            PathAttributeValue::LocalPreference(it) => into.local_pref = Some(it.metric()),
            PathAttributeValue::AtomicAggregate(_) => into.atomic_aggregate = true,
            PathAttributeValue::Aggregator(it) => rare.aggregator = Some(aggregator_from(it)),
            PathAttributeValue::Communities(it) => {
                into.communities =
                    it.communities().iter().map(|it| proxima_types::Community(it.value())).collect();
            }
            PathAttributeValue::ExtendedCommunities(it) => {
                rare.extended_communities = it.communities().iter().map(extended_community_from).collect();
            }
            PathAttributeValue::LargeCommunities(it) => {
                let one = |it: &LargeCommunity| proxima_types::LargeCommunity {
                    global: it.global_admin(),
                    local1: it.local_data1(),
                    local2: it.local_data2(),
                };
                into.large_communities = it.communities().iter().map(one).collect();
            }
            PathAttributeValue::Originator(it) => rare.originator_id = Some(it.id()),
            PathAttributeValue::ClusterList(it) => {
                rare.cluster_list = it.cluster_list().iter().map(ClusterId::id).collect();
            }
            PathAttributeValue::OnlyToCustomer(it) => into.only_to_customer = Some(Asn(it.asn())),
            PathAttributeValue::MpReach(it) => update.reach.push(reach_from(it)),
            PathAttributeValue::MpUnreach(it) => update.withdrawn.extend(unreach_from(it)),
            PathAttributeValue::UnknownAttribute(it) => {
                take_unknown(it, attribute, &mut rare);
            }
            other => panic!("{other:?} is not among ours"),
        }
    }
    let as_path = std::mem::take(&mut into.as_path);
    into.as_path = two_octets::widen(as_path, as4_path);
    into.rare = rare.into();
    if !their.nlri().is_empty() {
        let nlri = their.nlri().iter().map(ipv4_from).collect();
        update.reach.push(Reach { next_hop: next_hop.unwrap(), nlri });
    }
    update
}

/// They do not know AS4_AGGREGATOR.
fn take_unknown(it: &UnknownAttribute, attribute: &PathAttribute, rare: &mut RareAttributes) {
    const AS4_AGGREGATOR: u8 = 18;
    if it.code() == AS4_AGGREGATOR {
        let octets: [u8; 8] = it.value().try_into().unwrap();
        let [a, b, c, d, router_id @ ..] = octets;
        let as4 =
            Aggregator { asn: Asn(u32::from_be_bytes([a, b, c, d])), router_id: Ipv4Addr::from(router_id) };
        rare.aggregator = two_octets::widen_aggregator(rare.aggregator, Some(as4));
        return;
    }
    let bit = |set: bool, bit: u8| if set { bit } else { 0 };
    let flags =
        bit(attribute.optional(), 0x80) | bit(attribute.transitive(), 0x40) | bit(attribute.partial(), 0x20);
    let raw = RawAttribute { flags, code: it.code(), value: it.value().into() };
    rare.unknown = rare.unknown.iter().cloned().chain([raw]).collect();
}

fn update_to(update: &Update, negotiated: Negotiated) -> BgpUpdateMessage {
    let mut attributes = Vec::new();
    let mut nlri = Vec::new();
    let unreached = ipv6_to(&update.withdrawn, negotiated);
    if !unreached.is_empty() || update.end_of_rib == Some(Family::Ipv6) {
        let unreach = MpUnreach::Ipv6Unicast { nlri: unreached.into() };
        attributes.push(attribute(false, PathAttributeValue::MpUnreach(unreach)));
    }
    if !update.reach.is_empty() {
        attributes_to(&update.attributes, negotiated, &mut attributes);
    }
    for reach in &update.reach {
        let local = reach.next_hop.link_local;
        match (reach.next_hop.address, reach.nlri[0].prefix.family()) {
            (IpAddr::V4(address), _) => {
                nlri = ipv4_to(&reach.nlri, negotiated);
                let next_hop = netgauze_bgp_pkt::path_attribute::NextHop::new(address);
                attributes.push(attribute(false, PathAttributeValue::NextHop(next_hop)));
            }
            (next_hop, Family::Ipv4) => {
                let nlri = ipv4_to(&reach.nlri, negotiated).into();
                let reach = MpReach::Ipv4Unicast { next_hop, next_hop_local: local, nlri };
                attributes.push(attribute(false, PathAttributeValue::MpReach(reach)));
            }
            (IpAddr::V6(next_hop_global), Family::Ipv6) => {
                let nlri = ipv6_to(&reach.nlri, negotiated).into();
                let reach = MpReach::Ipv6Unicast { next_hop_global, next_hop_local: local, nlri };
                attributes.push(attribute(false, PathAttributeValue::MpReach(reach)));
            }
        }
    }
    BgpUpdateMessage::new(ipv4_to(&update.withdrawn, negotiated), attributes, nlri)
}

fn attributes_to(from: &wire::Attributes, negotiated: Negotiated, into: &mut Vec<PathAttribute>) {
    use PathAttributeValue as Value;
    let mut add = |value| into.push(attribute(false, value));
    add(Value::Origin(netgauze_bgp_pkt::path_attribute::Origin::try_from(from.origin as u8).unwrap()));
    if negotiated.four_octet_as {
        add(Value::AsPath(AsPath::As4PathSegments(as4_path_to(&from.as_path))));
    } else {
        add(Value::AsPath(AsPath::As2PathSegments(as2_path_to(&two_octets::narrow(&from.as_path)))));
        if two_octets::needs_as4(&from.as_path) {
            add(Value::As4Path(As4Path::new(as4_path_to(&from.as_path))));
        }
    }
    from.med.into_iter().for_each(|it| add(Value::MultiExitDiscriminator(MultiExitDiscriminator::new(it))));
    from.local_pref.into_iter().for_each(|it| add(Value::LocalPreference(LocalPreference::new(it))));
    if from.atomic_aggregate {
        add(Value::AtomicAggregate(AtomicAggregate));
    }
    let communities: Vec<_> = from.communities.iter().map(|it| Community::new(it.0)).collect();
    if !communities.is_empty() {
        add(Value::Communities(Communities::new(communities)));
    }
    let large = |it: &proxima_types::LargeCommunity| LargeCommunity::new(it.global, it.local1, it.local2);
    let large: Vec<_> = from.large_communities.iter().map(large).collect();
    if !large.is_empty() {
        add(Value::LargeCommunities(LargeCommunities::new(large)));
    }
    from.only_to_customer.into_iter().for_each(|it| add(Value::OnlyToCustomer(OnlyToCustomer::new(it.0))));
    rare_to(&from.rare, negotiated, into);
}

fn rare_to(from: &RareAttributes, negotiated: Negotiated, into: &mut Vec<PathAttribute>) {
    use PathAttributeValue as Value;
    use netgauze_bgp_pkt::path_attribute::Aggregator as Theirs;
    if let Some(Aggregator { asn, router_id }) = from.aggregator {
        let their = if negotiated.four_octet_as {
            Theirs::As4Aggregator(As4Aggregator::new(asn.0, router_id))
        } else {
            let narrow = u16::try_from(two_octets::narrow_asn(asn).0).unwrap();
            Theirs::As2Aggregator(As2Aggregator::new(narrow, router_id))
        };
        into.push(attribute(false, Value::Aggregator(their)));
        if !negotiated.four_octet_as && asn.0 > 65535 {
            let value = [asn.0.to_be_bytes(), router_id.octets()].concat();
            into.push(attribute(false, Value::UnknownAttribute(UnknownAttribute::new(18, value))));
        }
    }
    let extended: Vec<_> = from.extended_communities.iter().copied().map(extended_community_to).collect();
    if !extended.is_empty() {
        into.push(attribute(false, Value::ExtendedCommunities(ExtendedCommunities::new(extended))));
    }
    if let Some(id) = from.originator_id {
        into.push(attribute(false, Value::Originator(Originator::new(id))));
    }
    let clusters: Vec<_> = from.cluster_list.iter().map(|id| ClusterId::new(*id)).collect();
    if !clusters.is_empty() {
        into.push(attribute(false, Value::ClusterList(ClusterList::new(clusters))));
    }
    for raw in &from.unknown {
        let unknown = UnknownAttribute::new(raw.code, &*raw.value);
        into.push(attribute(true, Value::UnknownAttribute(unknown)));
    }
}

/// With the flags its type has, and a length of two octets where one is not enough.
fn attribute(partial: bool, value: PathAttributeValue) -> PathAttribute {
    let optional = value.can_be_optional().unwrap_or(true);
    let transitive = value.can_be_transitive().unwrap_or(true);
    let with = |extended, value| PathAttribute::from(optional, transitive, partial, extended, value).unwrap();
    let long = with(true, value.clone());
    if long.len() - 4 > 255 { long } else { with(false, value) }
}

fn origin_from(octet: u8) -> Origin {
    [Origin::Igp, Origin::Egp, Origin::Incomplete][usize::from(octet)]
}

fn kind_from(their: AsPathSegmentType) -> SegmentKind {
    match their {
        AsPathSegmentType::AsSet => SegmentKind::Set,
        AsPathSegmentType::AsSequence => SegmentKind::Sequence,
    }
}

fn kind_to(kind: SegmentKind) -> AsPathSegmentType {
    match kind {
        SegmentKind::Set => AsPathSegmentType::AsSet,
        SegmentKind::Sequence => AsPathSegmentType::AsSequence,
    }
}

fn as_path_from(their: &AsPath) -> wire::AsPath {
    match their {
        AsPath::As4PathSegments(segments) => as4_path_from(segments),
        AsPath::As2PathSegments(segments) => {
            let numbers =
                |it: &As2PathSegment| it.as_numbers().iter().map(|asn| Asn((*asn).into())).collect();
            path(segments.iter().map(|it| (kind_from(it.segment_type()), numbers(it))).collect())
        }
    }
}

fn as4_path_from(segments: &[As4PathSegment]) -> wire::AsPath {
    let numbers = |it: &As4PathSegment| it.as_numbers().iter().map(|asn| Asn(*asn)).collect();
    path(segments.iter().map(|it| (kind_from(it.segment_type()), numbers(it))).collect())
}

fn path(segments: Vec<(SegmentKind, Vec<Asn>)>) -> wire::AsPath {
    wire::AsPath::from_segments(segments.iter().map(|(kind, asns)| Segment { kind: *kind, asns }))
}

fn as4_path_to(from: &wire::AsPath) -> Box<[As4PathSegment]> {
    let numbers = |segment: Segment<'_>| segment.asns.iter().map(|asn| asn.0).collect::<Vec<_>>();
    from.segments().map(|it| As4PathSegment::new(kind_to(it.kind), numbers(it))).collect()
}

fn as2_path_to(from: &wire::AsPath) -> Box<[As2PathSegment]> {
    let number = |asn: &Asn| u16::try_from(asn.0).unwrap();
    let numbers = |segment: Segment<'_>| segment.asns.iter().map(number).collect::<Vec<_>>();
    from.segments().map(|it| As2PathSegment::new(kind_to(it.kind), numbers(it))).collect()
}

fn aggregator_from(their: &netgauze_bgp_pkt::path_attribute::Aggregator) -> Aggregator {
    use netgauze_bgp_pkt::path_attribute::Aggregator as Theirs;
    match their {
        Theirs::As2Aggregator(it) => Aggregator { asn: Asn((*it.asn()).into()), router_id: it.origin() },
        Theirs::As4Aggregator(it) => Aggregator { asn: Asn(*it.asn()), router_id: it.origin() },
    }
}

fn extended_community_from(their: &ExtendedCommunity) -> [u8; 8] {
    let mut octets = Vec::new();
    their.write(&mut octets).unwrap();
    octets.try_into().unwrap()
}

fn extended_community_to(octets: [u8; 8]) -> ExtendedCommunity {
    ExtendedCommunity::parse(&mut SliceReader::new(&octets)).unwrap()
}

fn reach_from(their: &MpReach) -> Reach {
    match their {
        MpReach::Ipv4Unicast { next_hop, next_hop_local, nlri } => Reach {
            next_hop: NextHop { address: *next_hop, link_local: *next_hop_local },
            nlri: nlri.iter().map(ipv4_from).collect(),
        },
        MpReach::Ipv6Unicast { next_hop_global, next_hop_local, nlri } => Reach {
            next_hop: NextHop { address: IpAddr::V6(*next_hop_global), link_local: *next_hop_local },
            nlri: nlri.iter().map(ipv6_from).collect(),
        },
        other => panic!("{other:?}"),
    }
}

fn unreach_from(their: &MpUnreach) -> Vec<Nlri> {
    match their {
        MpUnreach::Ipv4Unicast { nlri } => nlri.iter().map(ipv4_from).collect(),
        MpUnreach::Ipv6Unicast { nlri } => nlri.iter().map(ipv6_from).collect(),
        other => panic!("{other:?}"),
    }
}
