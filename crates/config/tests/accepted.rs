//! What is unusual but right is accepted, and means what it says.

use std::time::Duration;

use proxima_config::{Config, ProbeKind, Protocol, Vip, WhenDown};

mod common;

use common::with;

fn parse(text: &str) -> Config {
    Config::parse(text, "f.toml").unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn unusual_files_are_accepted() {
    for (why, from, to) in [
        ("iBGP", "remote-as = 65000", "remote-as = 64512"),
        ("no hold time", "\"9s\"", "\"0s\""),
        ("the longest hold time", "\"9s\"", "\"65535s\""),
        (
            "a listener of any address is inside each prefix",
            "[\"203.0.113.1:80\", \"[2001:db8:ac::1]:80\"]",
            "[\"0.0.0.0:80\", \"[::]:80\"]",
        ),
        ("a prefix others serve", "communities =", "vip = \"none\"\ncommunities ="),
        (
            "a more specific prefix in the same group",
            "\"203.0.113.0/24\"",
            "\"203.0.113.0/24\", \"203.0.113.0/25\"",
        ),
        ("the same port on another address", "\"203.0.113.1:5000\"", "\"203.0.113.2:80\""),
        ("thresholds without hysteresis", "below = 0.8\nabove = 0.9", "below = 1\nabove = 1.0"),
        (
            "a backend being emptied",
            "weight = 100",
            "weight = 0\n[[pools.app.backends]]\nname = \"eu-2\"\nregion = \"eu\"\naddress = \"10.1.0.11:8080\"",
        ),
        (
            "no metrics, no admin, no log",
            "[admin]\nmode = \"0660\"\n[metrics]\nlisten = \"127.0.0.1:9179\"\n[log]\nlevel = \"info\"\n",
            "",
        ),
        ("a region without backends", "[bgp]", "[regions.apac]\njurisdiction = \"SG\"\n[bgp]"),
        ("a fence wider than the pool", "allow = [\"EU\"]", "allow = [\"EU\", \"US\"]"),
        (
            "a route for what has no path",
            "match = { host = \"api.example.com\", path-prefix = \"/v1\", methods = [\"POST\"] }",
            "match = { path-prefix = \"/\" }",
        ),
        (
            "two peers at one address, told apart by the port we connect to",
            "[announce.web]",
            "[[bgp.peers]]\nname = \"tor2\"\naddress = \"10.0.0.1\"\nport = 1790\nremote-as = 65000\n[announce.web]",
        ),
    ] {
        let text = with(from, to);
        assert!(
            Config::parse(&text, "f.toml").is_ok(),
            "{why}:\n{}",
            Config::parse(&text, "f.toml").unwrap_err()
        );
    }
}

#[test]
fn a_group_that_heeds_no_health_needs_no_backend_of_the_own_region() {
    let without = with("region = \"eu\"\nrouter-id", "region = \"apac\"\nrouter-id").replacen(
        "[bgp]",
        "[regions.apac]\njurisdiction = \"SG\"\n[bgp]",
        1,
    );
    assert!(Config::parse(&without, "f.toml").is_err());
    let (before, rest) = without.split_once("[announce.web.degraded]").unwrap();
    let (_, after) = rest.split_once("[services.api]").unwrap();
    parse(&format!("{before}when-down = \"stay\"\n[services.api]{after}"));
}

#[test]
fn a_pop_may_proxy_without_announcing() {
    let config = parse(
        "[pop]\nname = \"a\"\nregion = \"r\"\nrouter-id = \"192.0.2.1\"\n[regions.r]\njurisdiction = \"EU\"\n\
         [bgp]\nlocal-as = 64512\n[services.s]\nlisten = [\"127.0.0.1:80\"]\nprotocol = \"tcp\"\npool = \"p\"\n\
         [pools.p]\nprobe = { tcp = true }\nbackends = [{ name = \"b\", region = \"r\", address = \"127.0.0.1:81\" }]\n",
    );
    assert!(config.bgp.peers.is_empty() && config.prefixes().is_empty());
    assert_eq!(config.bgp.hold_time, Duration::from_secs(90));
    let probe = &config.pools[&"p".parse().unwrap()].probe;
    assert_eq!(
        (&probe.kind, probe.interval, probe.timeout),
        (&ProbeKind::Tcp, Duration::from_secs(1), Duration::from_millis(500))
    );
    assert_eq!((probe.rise.get(), probe.fall.get()), (2, 3));
    assert_eq!((config.data_plane.workers, config.metrics), (None, None));
    assert_eq!(config.admin.socket.to_str(), Some("/run/proximad/admin.sock"));
}

#[test]
fn a_passive_peer_makes_the_speaker_listen() {
    let config = parse(&with("remote-as = 65000", "remote-as = 65000\npassive = true"));
    let listen: Vec<String> = config.bgp.listen.iter().map(ToString::to_string).collect();
    assert_eq!(listen, ["[::]:179", "0.0.0.0:179"]);
    let passive = with("remote-as = 65000", "remote-as = 65000\npassive = true");
    let config = parse(&passive.replacen("hold-time", "listen = [\"10.0.0.11:1790\"]\nhold-time", 1));
    assert_eq!(config.bgp.listen, ["10.0.0.11:1790".parse().unwrap()]);
}

#[test]
fn a_session_of_one_family_needs_no_next_hop_and_carries_only_that() {
    let config = parse(
        &with("families = [\"ipv4\", \"ipv6\"]\nnext-hop-ipv6 = \"fd00::11\"\n", "")
            .replacen(", \"2001:db8:ac::/48\"", "", 1)
            .replacen(", \"[2001:db8:ac::1]:80\"", "", 1),
    );
    let peer = &config.bgp.peers[0];
    assert_eq!(peer.families, [proxima_types::Family::Ipv4]);
    assert_eq!((peer.next_hop_ipv4, peer.next_hop_ipv6), (None, None));
}

#[test]
fn a_short_probe_interval_shortens_the_default_timeout() {
    let config = parse(&with("probe = { tcp = true }", "probe = { tcp = true, interval = \"100ms\" }"));
    assert_eq!(config.pools[&"raw".parse().unwrap()].probe.timeout, Duration::from_millis(100));
}

#[test]
fn a_group_that_stays_has_no_thresholds_and_the_default_is_to_withdraw_at_nothing() {
    let thresholds = "[announce.web.withdrawn]\nbelow = 0.4\nabove = 0.6\nhold-down = \"2s\"\n";
    let web = |config: &Config| config.groups[&"web".parse().unwrap()].clone();
    let stays = web(&parse(&with(thresholds, "").replacen(
        "communities =",
        "when-down = \"stay\"\ncommunities =",
        1,
    )));
    assert_eq!((stays.when_down, stays.vip), (WhenDown::Stay, Vip::AnyIp));
    let WhenDown::Withdraw(withdrawn) = web(&parse(&with(thresholds, ""))).when_down else {
        panic!("withdraws")
    };
    assert_eq!((withdrawn.below.share(), withdrawn.above.share()), (0.01, 0.02));
    assert_eq!(withdrawn.hold_down, Duration::from_secs(10));
}

#[test]
fn the_degraded_state_keeps_what_it_does_not_change() {
    let config = parse(&with("communities =", "prepend = 1\nmed = 50\ncommunities =").replacen(
        "prepend = 2\n",
        "med = 60\ncommunities = [\"64512:666\", \"no-export\"]\n",
        1,
    ));
    let degraded = config.groups[&"web".parse().unwrap()].degraded.clone().unwrap().attributes;
    assert_eq!((degraded.prepend, degraded.med), (1, Some(60)));
    let communities: Vec<String> = degraded.communities.iter().map(ToString::to_string).collect();
    assert_eq!(communities, ["64512:100", "64512:666", "65535:65281"]);
}

#[test]
fn a_tcp_service_may_have_a_fence_and_deadlines() {
    let config = parse(&with(
        "pool = \"raw\"\n",
        "pool = \"raw\"\nresidency = { allow = [\"EU\"] }\ntimeouts = { connect = \"200ms\", idle = \"1h\" }\n",
    ));
    let Protocol::Tcp(tcp) = &config.services[&"raw".parse().unwrap()].protocol else { panic!("TCP") };
    assert_eq!(tcp.residency.as_ref().map(std::collections::BTreeSet::len), Some(1));
    assert_eq!(
        (tcp.timeouts.connect, tcp.timeouts.idle),
        (Duration::from_millis(200), Duration::from_hours(1))
    );
}

#[test]
fn connections_of_a_group_that_stays_are_not_handed_over_unless_the_file_says_so() {
    let hands_over =
        |text: &str| parse(text).groups.values().map(|group| group.hand_over).collect::<Vec<_>>();
    let file = "[pop]\nname = \"a\"\nregion = \"eu\"\nrouter-id = \"10.0.0.1\"\n[regions.eu]\njurisdiction = \"EU\"\n\
        [bgp]\nlocal-as = 64512\n[[bgp.peers]]\nname = \"r\"\naddress = \"10.0.0.2\"\nremote-as = 65000\n\
        [announce.g]\nprefixes = [\"203.0.113.0/24\"]\nservices = [\"s\"]\n# more\n\
        [services.s]\nlisten = [\"203.0.113.1:80\"]\nprotocol = \"tcp\"\npool = \"p\"\n\
        [pools.p]\nprobe = { tcp = true }\n[[pools.p.backends]]\nname = \"b\"\nregion = \"eu\"\naddress = \"10.0.1.1:1\"\n";
    for (more, expected) in [
        ("", true),
        ("when-down = \"stay\"", false),
        ("when-down = \"stay\"\nhand-over = true", true),
        ("hand-over = false", false),
    ] {
        assert_eq!(hands_over(&file.replace("# more", more)), [expected], "{more}");
    }
}
