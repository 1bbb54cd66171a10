//! Neighbours, BFD and those who watch.

use std::{num::NonZeroU8, time::Duration};

use proxima_config::{Bfd, Import, MaxPrefixes, Peer, PrefixAction, Remote, Role};

use crate::{common::with, parse};

fn first_peer(more: &str) -> Peer {
    let text = with("remote-as = 65000", &format!("remote-as = 65000\n{more}"));
    parse(&text).bgp.peers.swap_remove(0)
}

#[test]
fn a_peer_that_says_nothing_has_the_defaults() {
    let peer = first_peer("");
    assert_eq!(peer.remote, Remote::Address { address: "10.0.0.1".parse().unwrap(), interface: None });
    assert_eq!((peer.hold_time, peer.connect_retry), (Duration::from_secs(9), Duration::from_secs(5)));
    assert!(peer.tcp_keepalive && peer.extended_messages && peer.enforce_first_as);
    assert!(!peer.passive && !peer.add_path && !peer.extended_next_hop && !peer.role_strict);
    assert_eq!((peer.ttl_security, peer.multihop, peer.tcp_user_timeout), (None, None, None));
    assert_eq!((&peer.password_file, peer.role, peer.graceful_restart), (&None, None, None));
    assert_eq!((&peer.bfd, &peer.shutdown), (&None, &None));
    let (limit, action) = (10_000.try_into().unwrap(), PrefixAction::Discard);
    assert_eq!(peer.max_prefixes, MaxPrefixes { limit, warn_at: 80, action, restart: None });
    let internal = parse(&with("remote-as = 65000", "remote-as = 64512")).bgp.peers.swap_remove(0);
    assert!(!internal.enforce_first_as);
    assert_eq!((peer.import, internal.import), (Import::None, Import::All), "RFC 8212");
}

#[test]
fn a_peers_own_settings_win_over_those_of_bgp() {
    let peer = first_peer("hold-time = \"30s\"\nconnect-retry = \"1s\"");
    assert_eq!((peer.hold_time, peer.connect_retry), (Duration::from_secs(30), Duration::from_secs(1)));
}

#[test]
fn a_limit_is_a_number_or_a_table() {
    let limit = |text: &str| first_peer(&format!("max-prefixes = {text}")).max_prefixes;
    let plain = MaxPrefixes {
        limit: 100.try_into().unwrap(),
        warn_at: 80,
        action: PrefixAction::Discard,
        restart: None,
    };
    for (text, expected) in [
        ("100", plain),
        ("{ limit = 100 }", plain),
        ("{ limit = 100, warn-at = 50 }", MaxPrefixes { warn_at: 50, ..plain }),
        ("{ limit = 100, action = \"warn\" }", MaxPrefixes { action: PrefixAction::Warn, ..plain }),
        ("{ limit = 100, action = \"close\" }", MaxPrefixes { action: PrefixAction::Close, ..plain }),
        (
            "{ limit = 100, action = \"close\", restart = \"5m\" }",
            MaxPrefixes { action: PrefixAction::Close, restart: Some(Duration::from_mins(5)), ..plain },
        ),
    ] {
        assert_eq!(limit(text), expected, "{text}");
    }
}

#[test]
fn every_role_has_its_word() {
    for (word, role) in Role::ALL {
        assert_eq!(first_peer(&format!("role = \"{word}\"")).role, Some(role));
    }
}

#[test]
fn bfd_goes_as_far_as_its_session() {
    let bfd = |more: &str| first_peer(more).bfd.unwrap();
    let plain = Bfd {
        interval: Duration::from_millis(300),
        multiplier: 3.try_into().unwrap(),
        multihop: false,
        least_ttl: NonZeroU8::MIN,
        auth: None,
    };
    assert_eq!(bfd("bfd = {}"), plain);
    assert_eq!(bfd("multihop = 4\nbfd = {}"), Bfd { multihop: true, ..plain.clone() });
    let near = bfd("multihop = 4\nbfd = { least-ttl = 252 }");
    assert_eq!((near.multihop, near.least_ttl.get()), (true, 252));
    let signed = bfd("bfd = { interval = \"10ms\", multiplier = 5, auth-key-file = \"/k\" }");
    assert_eq!((signed.interval, signed.multiplier.get()), (Duration::from_millis(10), 5));
    assert_eq!(signed.auth.map(|auth| (auth.key_file, auth.key_id)), Some(("/k".into(), 1)));
}

#[test]
fn who_may_connect_makes_the_speaker_listen() {
    for (remote, listens) in [
        ("address = \"10.0.0.1\"", false),
        ("address = \"10.0.0.1\"\npassive = true", true),
        ("range = \"10.0.0.0/24\"", true),
        ("interface = \"eth0\"\nextended-next-hop = true", true),
    ] {
        let config = parse(&with("address = \"10.0.0.1\"", remote));
        assert_eq!(!config.bgp.listen.is_empty(), listens, "{remote}");
        assert_eq!(config.bgp.peers[0].passive, remote.contains("range") || remote.contains("passive"));
    }
}

#[test]
fn a_router_on_a_link_is_reached_over_ipv6() {
    let text = with("address = \"10.0.0.1\"", "interface = \"eth0\"\nextended-next-hop = true");
    let config = parse(&text);
    assert_eq!(config.bgp.peers[0].remote, Remote::Interface("eth0".to_owned()));
    assert_eq!((config.bgp.peers[0].next_hop_ipv4, config.bgp.peers[0].families.len()), (None, 2));
}

#[test]
fn those_who_watch_have_their_pace() {
    let config = parse(&with(
        "[announce.web]",
        "[[bgp.bmp]]\nname = \"c\"\naddress = \"192.0.2.50:11019\"\n\
         [[bgp.bmp]]\nname = \"quiet\"\naddress = \"192.0.2.51:11019\"\nstatistics = \"0s\"\nretry = \"1s\"\n\
         [bgp.mrt]\ndirectory = \"/var/lib/proximad/mrt\"\n[announce.web]",
    ));
    let paces: Vec<_> = config.bgp.bmp.iter().map(|bmp| (bmp.retry.as_secs(), bmp.statistics)).collect();
    assert_eq!(paces, [(30, Some(Duration::from_mins(1))), (1, None)]);
    let mrt = config.bgp.mrt.unwrap();
    assert_eq!(
        (mrt.directory.to_str(), mrt.interval),
        (Some("/var/lib/proximad/mrt"), Duration::from_mins(15))
    );
}
