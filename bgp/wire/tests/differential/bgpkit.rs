//! bgpkit-parser's types, from and to ours.

use std::net::{IpAddr, Ipv4Addr};

use bgpkit_parser::{
    ParserError,
    models::{
        Afi, AsPathSegment, Asn as TheirAsn, AsnLength, AttrFlags, AttrRaw, Attribute, AttributeValue,
        BgpMessage, BgpNotificationMessage, BgpOpenMessage, BgpRouteRefreshMessage, BgpUpdateMessage,
        Capability as TheirCapability, CapabilityValue, Community, ExtendedCommunity, LargeCommunity,
        NetworkPrefix, NextHopAddress, Nlri as TheirNlri, OptParam, ParamValue, Safi,
        capabilities::{
            AddPathAddressFamily, AddPathCapability, AddPathSendReceive, BgpCapabilityType,
            BgpExtendedMessageCapability, BgpRole, BgpRoleCapability, ExtendedNextHopCapability,
            ExtendedNextHopEntry, FourOctetAsCapability, GracefulRestartAddressFamily,
            GracefulRestartCapability, MultiprotocolExtensionsCapability, RouteRefreshCapability,
        },
        error::BgpError,
    },
    parser::bgp::parse_bgp_message,
};
use bytes::Bytes;
use ipnet::IpNet;
use proxima_bgp_wire as wire;
use proxima_bgp_wire::{
    AfiSafi, Aggregator, Capability, Families, Message, Negotiated, NextHop, Nlri, Notification, Open,
    Origin, RareAttributes, RawAttribute, Reach, RefreshKind, Role, RouteRefresh, Segment, SegmentKind,
    Update,
};
use proxima_types::{Asn, Family, Prefix};

use crate::two_octets;

pub(crate) fn read(octets: &[u8], negotiated: Negotiated) -> Message {
    let message = parse(octets, negotiated).unwrap_or_else(|error| panic!("{error}: {octets:02x?}"));
    if let BgpMessage::Update(update) = &message {
        assert_eq!(update.attributes.validation_warnings(), []);
    }
    from_theirs(message)
}

pub(crate) fn write(message: &Message, negotiated: Negotiated) -> Vec<u8> {
    to_theirs(message, negotiated).encode(asn_length(negotiated)).unwrap().to_vec()
}

/// Faults of an UPDATE are warnings in what it returns.
pub(crate) fn parse(octets: &[u8], negotiated: Negotiated) -> Result<BgpMessage, ParserError> {
    let add_path = negotiated.add_path_receive != Families::NONE;
    assert!(
        !add_path || negotiated.add_path_receive == Families::ALL,
        "they have one switch for all families"
    );
    parse_bgp_message(&mut Bytes::copy_from_slice(octets), add_path, &asn_length(negotiated))
}

fn asn_length(negotiated: Negotiated) -> AsnLength {
    if negotiated.four_octet_as { AsnLength::Bits32 } else { AsnLength::Bits16 }
}

fn from_theirs(message: BgpMessage) -> Message {
    match message {
        BgpMessage::Open(open) => Message::Open(open_from(open)),
        BgpMessage::Update(update) => Message::Update(update_from(update)),
        BgpMessage::Notification(BgpNotificationMessage { error, data }) => {
            let (code, subcode) = error.get_codes();
            Message::Notification(Notification { code, subcode, data })
        }
        BgpMessage::KeepAlive => Message::Keepalive,
        BgpMessage::RouteRefresh(BgpRouteRefreshMessage { afi, subtype, safi, .. }) => {
            let kind = match subtype {
                0 => RefreshKind::Request,
                1 => RefreshKind::Begin,
                2 => RefreshKind::End,
                other => RefreshKind::Unknown(other),
            };
            Message::RouteRefresh(RouteRefresh { family: AfiSafi { afi, safi }, kind })
        }
    }
}

fn to_theirs(message: &Message, negotiated: Negotiated) -> BgpMessage {
    match message {
        Message::Open(open) => BgpMessage::Open(open_to(open)),
        Message::Update(update) => BgpMessage::Update(update_to(update, negotiated)),
        Message::Notification(it) => BgpMessage::Notification(BgpNotificationMessage {
            error: BgpError::new(it.code, it.subcode),
            data: it.data.clone(),
        }),
        Message::Keepalive => BgpMessage::KeepAlive,
        Message::RouteRefresh(RouteRefresh { family, kind }) => {
            let subtype = match kind {
                RefreshKind::Request => 0,
                RefreshKind::Begin => 1,
                RefreshKind::End => 2,
                RefreshKind::Unknown(octet) => *octet,
            };
            BgpMessage::RouteRefresh(BgpRouteRefreshMessage {
                afi: family.afi,
                subtype,
                safi: family.safi,
                data: Vec::new(),
            })
        }
    }
}

fn family_from(afi: Afi, safi: Safi) -> AfiSafi {
    AfiSafi { afi: afi as u16, safi: safi as u8 }
}

fn family_to(family: AfiSafi) -> (Afi, Safi) {
    (Afi::try_from(family.afi).unwrap(), Safi::try_from(family.safi).unwrap())
}

fn open_from(their: BgpOpenMessage) -> Open {
    let mut capabilities = Vec::new();
    for OptParam { param_value, .. } in their.opt_params {
        let ParamValue::Capacities(of_one) = param_value else { panic!("{param_value:?}") };
        capabilities.extend(of_one.into_iter().map(capability_from));
    }
    let mut open = Open::new(Asn(their.asn.to_u32()), their.hold_time, their.bgp_identifier, capabilities);
    open.version = their.version;
    open.asn = open.four_octet_as().unwrap_or(open.asn);
    open
}

fn open_to(open: &Open) -> BgpOpenMessage {
    let parameter = |capability| OptParam {
        param_type: 2,
        param_value: ParamValue::Capacities(vec![capability_to(capability)]),
    };
    BgpOpenMessage {
        version: open.version,
        asn: TheirAsn::new_16bit(open.asn.two_octets()),
        hold_time: open.hold_time,
        bgp_identifier: open.router_id,
        extended_length: false,
        opt_params: open.capabilities.iter().map(parameter).collect(),
    }
}

fn capability_from(their: TheirCapability) -> Capability {
    match their.value {
        CapabilityValue::MultiprotocolExtensions(it) => {
            Capability::Multiprotocol(family_from(it.afi, it.safi))
        }
        CapabilityValue::RouteRefresh(_) => Capability::RouteRefresh,
        CapabilityValue::BgpExtendedMessage(_) => Capability::ExtendedMessage,
        CapabilityValue::FourOctetAs(it) => Capability::FourOctetAs(Asn(it.asn)),
        CapabilityValue::BgpRole(it) => Capability::Role(match it.role {
            BgpRole::Provider => Role::Provider,
            BgpRole::RouteServer => Role::RouteServer,
            BgpRole::RouteServerClient => Role::RouteServerClient,
            BgpRole::Customer => Role::Customer,
            BgpRole::Peer => Role::Peer,
        }),
        CapabilityValue::GracefulRestart(it) => {
            let family = |it: GracefulRestartAddressFamily| wire::GracefulRestartFamily {
                family: family_from(it.afi, it.safi),
                forwarding: it.forwarding_state,
            };
            Capability::GracefulRestart(wire::GracefulRestart {
                restarted: it.restart_state,
                notification: false,
                restart_time: it.restart_time,
                families: it.address_families.into_iter().map(family).collect(),
            })
        }
        CapabilityValue::AddPath(it) => {
            let family = |it: AddPathAddressFamily| wire::AddPath {
                family: family_from(it.afi, it.safi),
                mode: match it.send_receive {
                    AddPathSendReceive::Receive => wire::AddPathMode::Receive,
                    AddPathSendReceive::Send => wire::AddPathMode::Send,
                    AddPathSendReceive::SendReceive => wire::AddPathMode::Both,
                },
            };
            Capability::AddPath(it.address_families.into_iter().map(family).collect())
        }
        CapabilityValue::ExtendedNextHop(it) => {
            let entry = |it: ExtendedNextHopEntry| wire::ExtendedNextHop {
                afi: it.nlri_afi as u16,
                safi: it.nlri_safi as u16,
                next_hop_afi: it.nexthop_afi as u16,
            };
            Capability::ExtendedNextHop(it.entries.into_iter().map(entry).collect())
        }
        // They keep this one as it came, like those they do not know.
        CapabilityValue::Raw(value) => match (u8::from(their.ty), value.as_slice()) {
            (70, []) => Capability::EnhancedRouteRefresh,
            (code, _) => Capability::Unknown { code, value },
        },
    }
}

fn capability_to(capability: &Capability) -> TheirCapability {
    let value = match capability {
        Capability::Multiprotocol(family) => {
            let (afi, safi) = family_to(*family);
            CapabilityValue::MultiprotocolExtensions(MultiprotocolExtensionsCapability::new(afi, safi))
        }
        Capability::RouteRefresh => CapabilityValue::RouteRefresh(RouteRefreshCapability::new()),
        Capability::ExtendedMessage => {
            CapabilityValue::BgpExtendedMessage(BgpExtendedMessageCapability::new())
        }
        Capability::FourOctetAs(asn) => CapabilityValue::FourOctetAs(FourOctetAsCapability::new(asn.0)),
        Capability::Role(role) => CapabilityValue::BgpRole(BgpRoleCapability::new(match role {
            Role::Provider => BgpRole::Provider,
            Role::RouteServer => BgpRole::RouteServer,
            Role::RouteServerClient => BgpRole::RouteServerClient,
            Role::Customer => BgpRole::Customer,
            Role::Peer => BgpRole::Peer,
        })),
        Capability::GracefulRestart(it) => {
            assert!(!it.notification, "they have no N bit");
            let family = |it: &wire::GracefulRestartFamily| {
                let (afi, safi) = family_to(it.family);
                GracefulRestartAddressFamily { afi, safi, forwarding_state: it.forwarding }
            };
            CapabilityValue::GracefulRestart(GracefulRestartCapability::new(
                it.restarted,
                it.restart_time,
                it.families.iter().map(family).collect(),
            ))
        }
        Capability::AddPath(families) => {
            let family = |it: &wire::AddPath| {
                let (afi, safi) = family_to(it.family);
                let send_receive = match it.mode {
                    wire::AddPathMode::Receive => AddPathSendReceive::Receive,
                    wire::AddPathMode::Send => AddPathSendReceive::Send,
                    wire::AddPathMode::Both => AddPathSendReceive::SendReceive,
                };
                AddPathAddressFamily { afi, safi, send_receive }
            };
            CapabilityValue::AddPath(AddPathCapability::new(families.iter().map(family).collect()))
        }
        Capability::ExtendedNextHop(entries) => {
            let entry = |it: &wire::ExtendedNextHop| {
                let (nlri_afi, nlri_safi) = family_to(AfiSafi { afi: it.afi, safi: it.safi as u8 });
                let nexthop_afi = Afi::try_from(it.next_hop_afi).unwrap();
                ExtendedNextHopEntry { nlri_afi, nlri_safi, nexthop_afi }
            };
            CapabilityValue::ExtendedNextHop(ExtendedNextHopCapability::new(
                entries.iter().map(entry).collect(),
            ))
        }
        Capability::EnhancedRouteRefresh => CapabilityValue::Raw(Vec::new()),
        Capability::Unknown { value, .. } => CapabilityValue::Raw(value.clone()),
    };
    TheirCapability { ty: BgpCapabilityType::from(capability.code()), value }
}

fn nlri_from(their: &NetworkPrefix) -> Nlri {
    let prefix = Prefix::truncating(their.prefix.addr(), their.prefix.prefix_len());
    Nlri { prefix, path_id: their.path_id.unwrap_or(0) }
}

/// Those of a family.
fn nlri_to(nlri: &[Nlri], family: Family, negotiated: Negotiated) -> Vec<NetworkPrefix> {
    let add_path = negotiated.add_path_send.contains(family);
    let of_family = nlri.iter().filter(|nlri| nlri.prefix.family() == family);
    of_family
        .map(|nlri| {
            let net = IpNet::new(nlri.prefix.address(), nlri.prefix.length()).unwrap();
            NetworkPrefix::new(net, add_path.then_some(nlri.path_id))
        })
        .collect()
}

fn update_from(their: BgpUpdateMessage) -> Update {
    let mut update = Update::default();
    if their.is_end_of_rib() {
        let unreach = their.attributes.get_unreachable_nlri();
        update.end_of_rib =
            Some(unreach.map_or(Family::Ipv4, |it| family_from(it.afi, it.safi).family().unwrap()));
    }
    update.withdrawn = their.withdrawn_prefixes.iter().map(nlri_from).collect();
    let (mut next_hop, mut as4_path, mut as4_aggregator) = (None, None, None);
    let into = &mut update.attributes;
    let mut rare = RareAttributes::default();
    for Attribute { value, flag } in their.attributes.into_attributes_iter() {
        match value {
            AttributeValue::Origin(it) => {
                into.origin = [Origin::Igp, Origin::Egp, Origin::Incomplete][it as usize];
            }
            AttributeValue::AsPath(it) => into.as_path = as_path_from(&it),
            AttributeValue::As4Path(it) => as4_path = Some(as_path_from(&it)),
            AttributeValue::NextHop(it) => next_hop = Some(NextHop::from(it)),
            AttributeValue::MultiExitDiscriminator(it) => into.med = Some(it),
            AttributeValue::LocalPreference(it) => into.local_pref = Some(it),
            AttributeValue::OnlyToCustomer(it) => into.only_to_customer = Some(Asn(it.to_u32())),
            AttributeValue::AtomicAggregate => into.atomic_aggregate = true,
            AttributeValue::Aggregator { asn, id } => {
                rare.aggregator = Some(Aggregator { asn: Asn(asn.to_u32()), router_id: id });
            }
            AttributeValue::As4Aggregator { asn, id } => {
                as4_aggregator = Some(Aggregator { asn: Asn(asn.to_u32()), router_id: id });
            }
            AttributeValue::Communities(it) => into.communities = it.iter().map(community_from).collect(),
            AttributeValue::ExtendedCommunities(it) => {
                rare.extended_communities = it.iter().map(extended_community_from).collect();
            }
            AttributeValue::LargeCommunities(it) => {
                let one = |it: &LargeCommunity| proxima_types::LargeCommunity {
                    global: it.global_admin,
                    local1: it.local_data[0],
                    local2: it.local_data[1],
                };
                into.large_communities = it.iter().map(one).collect();
            }
            AttributeValue::OriginatorId(it) => rare.originator_id = Some(it),
            AttributeValue::Clusters(it) => {
                rare.cluster_list = it.into_iter().map(Ipv4Addr::from).collect();
            }
            AttributeValue::MpReachNlri(it) => update.reach.push(reach_from(&it)),
            AttributeValue::MpUnreachNlri(it) => update.withdrawn.extend(it.prefixes.iter().map(nlri_from)),
            AttributeValue::Unknown(it) => {
                let flags = (flag - AttrFlags::EXTENDED).bits();
                let raw = RawAttribute { flags, code: it.code, value: it.bytes.as_ref().into() };
                rare.unknown = rare.unknown.iter().cloned().chain([raw]).collect();
            }
            other => panic!("{other:?} is not among ours"),
        }
    }
    let as_path = std::mem::take(&mut into.as_path);
    into.as_path = two_octets::widen(as_path, as4_path);
    rare.aggregator = two_octets::widen_aggregator(rare.aggregator, as4_aggregator);
    into.rare = rare.into();
    if !their.announced_prefixes.is_empty() {
        let nlri = their.announced_prefixes.iter().map(nlri_from).collect();
        update.reach.push(Reach { next_hop: next_hop.unwrap(), nlri });
    }
    update
}

fn update_to(update: &Update, negotiated: Negotiated) -> BgpUpdateMessage {
    let mut values = Vec::new();
    let mut announced_prefixes = Vec::new();
    let unreached = nlri_to(&update.withdrawn, Family::Ipv6, negotiated);
    if !unreached.is_empty() || update.end_of_rib == Some(Family::Ipv6) {
        values.push(AttributeValue::MpUnreachNlri(mp_nlri(Family::Ipv6, None, unreached)));
    }
    if !update.reach.is_empty() {
        attributes_to(&update.attributes, negotiated, &mut values);
    }
    for reach in &update.reach {
        let family = reach.nlri[0].prefix.family();
        let prefixes = nlri_to(&reach.nlri, family, negotiated);
        let next_hop = match (reach.next_hop.address, reach.next_hop.link_local) {
            (address @ IpAddr::V4(_), _) => {
                announced_prefixes = prefixes;
                values.push(AttributeValue::NextHop(address));
                continue;
            }
            (IpAddr::V6(global), Some(link_local)) => NextHopAddress::Ipv6LinkLocal(global, link_local),
            (IpAddr::V6(global), None) => NextHopAddress::Ipv6(global),
        };
        values.push(AttributeValue::MpReachNlri(mp_nlri(family, Some(next_hop), prefixes)));
    }
    BgpUpdateMessage {
        withdrawn_prefixes: nlri_to(&update.withdrawn, Family::Ipv4, negotiated),
        attributes: values.into_iter().map(|value| attribute(value, negotiated)).collect(),
        announced_prefixes,
    }
}

fn mp_nlri(family: Family, next_hop: Option<NextHopAddress>, prefixes: Vec<NetworkPrefix>) -> TheirNlri {
    let (afi, safi) = family_to(family.into());
    TheirNlri {
        afi,
        safi,
        next_hop,
        prefixes,
        labeled_prefixes: None,
        link_state_nlris: None,
        flowspec_nlris: None,
    }
}

fn attributes_to(from: &wire::Attributes, negotiated: Negotiated, into: &mut Vec<AttributeValue>) {
    use bgpkit_parser::models::Origin as Theirs;
    into.push(AttributeValue::Origin([Theirs::IGP, Theirs::EGP, Theirs::INCOMPLETE][from.origin as usize]));
    if negotiated.four_octet_as {
        into.push(AttributeValue::AsPath(as_path_to(&from.as_path)));
    } else {
        into.push(AttributeValue::AsPath(as_path_to(&two_octets::narrow(&from.as_path))));
        if two_octets::needs_as4(&from.as_path) {
            into.push(AttributeValue::As4Path(as_path_to(&from.as_path)));
        }
    }
    into.extend(from.med.map(AttributeValue::MultiExitDiscriminator));
    into.extend(from.local_pref.map(AttributeValue::LocalPreference));
    into.extend(from.atomic_aggregate.then_some(AttributeValue::AtomicAggregate));
    let communities: Vec<_> = from.communities.iter().map(|it| community_to(it.0)).collect();
    into.extend((!communities.is_empty()).then_some(AttributeValue::Communities(communities)));
    let large = |it: &proxima_types::LargeCommunity| LargeCommunity::new(it.global, [it.local1, it.local2]);
    let large: Vec<_> = from.large_communities.iter().map(large).collect();
    into.extend((!large.is_empty()).then_some(AttributeValue::LargeCommunities(large)));
    let otc = from.only_to_customer.map(|asn| AttributeValue::OnlyToCustomer(TheirAsn::new_32bit(asn.0)));
    into.extend(otc);
    rare_to(&from.rare, negotiated, into);
}

fn rare_to(from: &RareAttributes, negotiated: Negotiated, into: &mut Vec<AttributeValue>) {
    if let Some(Aggregator { asn, router_id: id }) = from.aggregator {
        let wide = TheirAsn::new_32bit(asn.0);
        let narrow = TheirAsn::new_32bit(two_octets::narrow_asn(asn).0);
        if negotiated.four_octet_as {
            into.push(AttributeValue::Aggregator { asn: wide, id });
        } else {
            into.push(AttributeValue::Aggregator { asn: narrow, id });
            into.extend((asn.0 > 65535).then_some(AttributeValue::As4Aggregator { asn: wide, id }));
        }
    }
    let extended: Vec<_> = from.extended_communities.iter().map(|it| ExtendedCommunity::Raw(*it)).collect();
    into.extend((!extended.is_empty()).then_some(AttributeValue::ExtendedCommunities(extended)));
    into.extend(from.originator_id.map(AttributeValue::OriginatorId));
    let clusters: Vec<u32> = from.cluster_list.iter().map(|id| u32::from(*id)).collect();
    into.extend((!clusters.is_empty()).then_some(AttributeValue::Clusters(clusters)));
    for raw in &from.unknown {
        let bytes = Bytes::copy_from_slice(&raw.value);
        into.push(AttributeValue::Unknown(AttrRaw { code: raw.code, bytes }));
    }
}

/// With the flags its type has, and a length of two octets where one is not enough.
fn attribute(value: AttributeValue, negotiated: Negotiated) -> Attribute {
    let short = Attribute::from(value);
    let mut octets = bytes::BytesMut::new();
    match short.encode_to(asn_length(negotiated), &mut octets) {
        Ok(()) => short,
        Err(_) => Attribute { flag: short.flag | AttrFlags::EXTENDED, value: short.value },
    }
}

fn as_path_from(their: &bgpkit_parser::models::AsPath) -> wire::AsPath {
    let numbers = |asns: &[TheirAsn]| asns.iter().map(|asn| Asn(asn.to_u32())).collect::<Vec<_>>();
    let segments: Vec<_> = their
        .iter_segments()
        .map(|segment| match segment {
            AsPathSegment::AsSequence(asns) => (SegmentKind::Sequence, numbers(asns)),
            AsPathSegment::AsSet(asns) => (SegmentKind::Set, numbers(asns)),
            other => panic!("{other:?}"),
        })
        .collect();
    wire::AsPath::from_segments(segments.iter().map(|(kind, asns)| Segment { kind: *kind, asns }))
}

fn as_path_to(from: &wire::AsPath) -> bgpkit_parser::models::AsPath {
    let mut path = bgpkit_parser::models::AsPath::new();
    for segment in from.segments() {
        let numbers: Vec<u32> = segment.asns.iter().map(|asn| asn.0).collect();
        path.append_segment(match segment.kind {
            SegmentKind::Sequence => AsPathSegment::sequence(numbers),
            SegmentKind::Set => AsPathSegment::set(numbers),
        });
    }
    path
}

fn community_from(their: &Community) -> proxima_types::Community {
    proxima_types::Community(match their {
        Community::NoExport => 0xffff_ff01,
        Community::NoAdvertise => 0xffff_ff02,
        Community::NoExportSubConfed => 0xffff_ff03,
        Community::Custom(asn, value) => asn.to_u32() << 16 | u32::from(*value),
    })
}

fn community_to(value: u32) -> Community {
    match value {
        0xffff_ff01 => Community::NoExport,
        0xffff_ff02 => Community::NoAdvertise,
        0xffff_ff03 => Community::NoExportSubConfed,
        _ => Community::Custom(TheirAsn::new_16bit((value >> 16) as u16), value as u16),
    }
}

/// In the octets of its type, by hand: their own encoder is what the other direction tests.
fn extended_community_from(their: &ExtendedCommunity) -> [u8; 8] {
    let join = |kind: u8, subtype: u8, rest: &[u8]| [&[kind, subtype], rest].concat().try_into().unwrap();
    match their {
        ExtendedCommunity::TransitiveTwoOctetAs(it) => {
            let asn = u16::try_from(it.global_admin.to_u32()).unwrap().to_be_bytes();
            join(0, it.subtype, &[&asn[..], &it.local_admin].concat())
        }
        ExtendedCommunity::TransitiveIpv4Addr(it) => {
            join(1, it.subtype, &[&it.global_admin.octets()[..], &it.local_admin].concat())
        }
        ExtendedCommunity::TransitiveFourOctetAs(it) => {
            join(2, it.subtype, &[&it.global_admin.to_u32().to_be_bytes()[..], &it.local_admin].concat())
        }
        ExtendedCommunity::Raw(octets) => *octets,
        other => panic!("{other:?}"),
    }
}

fn reach_from(their: &TheirNlri) -> Reach {
    let next_hop = match their.next_hop.unwrap() {
        NextHopAddress::Ipv4(address) => NextHop::from(IpAddr::V4(address)),
        NextHopAddress::Ipv6(address) => NextHop::from(IpAddr::V6(address)),
        NextHopAddress::Ipv6LinkLocal(global, link_local) => {
            NextHop { address: IpAddr::V6(global), link_local: Some(link_local) }
        }
        other => panic!("{other:?}"),
    };
    Reach { next_hop, nlri: their.prefixes.iter().map(nlri_from).collect() }
}
