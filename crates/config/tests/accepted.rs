//! What is unusual but right is accepted, and means what it says.

use std::{num::NonZeroU16, time::Duration};

use proxima_config::{
    Bfd, ClientAuth, ClientTls, Config, Damping, Distance, Group, KeyPair, MaxPrefixes, Passive, Peer,
    PrefixAction, ProbeKind, Protocol, Remote, Role, Slo, TlsVersion, Via, Vip, WhenDown, Withdrawals,
    Withdrawn,
};
use proxima_probe_kind::{
    Agent, Dns, DnsRecord, DnsTransport, Exec, Expect, ExpectHeader, Grpc, Http, HttpVersion, Notice,
    NoticeSource, Postgres, Quic, Redis, Statuses, Tls, TlsHandshake, Trust,
};

mod common;

use common::with;

fn parse(text: &str) -> Config {
    Config::parse(text, "f.toml").unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn unusual_files_are_accepted() {
    for (why, from, to) in [
        ("iBGP", "remote-as = 65000", "remote-as = 64512"),
        ("a peer on the same link of another port", "\"10.0.0.1\"", "\"10.0.0.1\"\ninterface = \"eth0\""),
        (
            "a router found by its advertisements",
            "address = \"10.0.0.1\"",
            "interface = \"eth0\"\nextended-next-hop = true",
        ),
        (
            "a link-local peer",
            "address = \"10.0.0.1\"",
            "address = \"fe80::1\"\ninterface = \"eth0\"\nextended-next-hop = true",
        ),
        (
            "whoever connects",
            "address = \"10.0.0.1\"",
            "range = \"10.0.0.0/24\"\npassive = true\nmax-peers = 4",
        ),
        (
            "the same link-local address on two links",
            "[announce.web]",
            "[[bgp.peers]]\nname = \"a\"\naddress = \"fe80::1\"\ninterface = \"eth0\"\nremote-as = 65000\n\
             [[bgp.peers]]\nname = \"b\"\naddress = \"fe80::1\"\ninterface = \"eth1\"\nremote-as = 65000\n[announce.web]",
        ),
        (
            "one host set apart from a range",
            "[announce.web]",
            "[[bgp.peers]]\nname = \"all\"\nrange = \"10.0.0.0/24\"\nremote-as = 65000\n[announce.web]",
        ),
        ("multihop BFD in one AS", "remote-as = 65000", "remote-as = 64512\nbfd = { multihop = true }"),
        (
            "a role that is not insisted on",
            "remote-as = 65000",
            "remote-as = 65000\nrole = \"customer\"\nrole-strict = false",
        ),
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
    assert_eq!(config.data_plane.distance, Distance::Rtt);
    assert_eq!(config.admin.socket.to_str(), Some("/run/proximad/admin.sock"));
}

#[test]
fn the_distance_of_regions_is_by_round_trip_time_by_bgp_or_by_their_order_in_the_file() {
    let of = |text: &str| parse(text).data_plane.distance;
    let by = |word: &str| with("[admin]", &format!("[data-plane]\ndistance = \"{word}\"\n[admin]"));
    assert_eq!(of(&by("rtt")), Distance::Rtt);
    assert_eq!(of(&by("bgp")), Distance::Bgp);
    let order = |text: &str| match of(text) {
        Distance::Configured(order) => order.iter().map(ToString::to_string).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let text = by("configured");
    let own = order(&text);
    let added = "[regions.zz]\njurisdiction = \"Z\"\n[regions.aa]\njurisdiction = \"A\"\n[bgp]";
    let more = text.replacen("[bgp]", added, 1);
    assert_eq!(order(&more), [own, vec!["zz".to_owned(), "aa".to_owned()]].concat());
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
    let config =
        parse(&with("communities =", "prepend = 1\nmed = 50\nlocal-pref = 150\ncommunities =").replacen(
            "prepend = 2\n",
            "med = 60\nlocal-pref = 80\ncommunities = [\"64512:666\", \"no-export\"]\nlarge-communities = [\"64512:7:1\"]\n",
            1,
        ));
    let degraded = config.groups[&"web".parse().unwrap()].degraded.clone().unwrap().attributes;
    assert_eq!((degraded.prepend, degraded.med, degraded.local_pref), (1, Some(60), Some(80)));
    let communities: Vec<String> = degraded.communities.iter().map(ToString::to_string).collect();
    assert_eq!(communities, ["64512:100", "64512:666", "65535:65281"]);
    let large: Vec<String> = degraded.large_communities.iter().map(ToString::to_string).collect();
    assert_eq!(large, ["64512:7:1"]);
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
fn an_https_service_has_one_certificate_in_short_or_several_in_a_list() {
    let tls = |tls: &str| {
        let config = parse(&with("protocol = \"http\"", &format!("protocol = \"https\"\ntls = {tls}")));
        let Protocol::Http(http) = &config.services[&"api".parse().unwrap()].protocol else { panic!("HTTP") };
        http.tls.clone().unwrap()
    };
    let pair = |name: &str| KeyPair {
        certificate: format!("/{name}.pem").into(),
        key: format!("/{name}.key").into(),
    };
    let short = tls("{ certificate = \"/a.pem\", key = \"/a.key\" }");
    assert_eq!(short.certificates, [pair("a")]);
    assert_eq!((short.min_version, short.clients, short.ticket_keys), (TlsVersion::Tls12, None, None));
    let long = tls(
        "{ certificates = [{ certificate = \"/a.pem\", key = \"/a.key\" }, { certificate = \"/b.pem\", key = \"/b.key\" }], \
         min-version = \"1.3\", client-ca = \"/ca.pem\", ticket-keys = \"/tickets\" }",
    );
    assert_eq!(long.certificates, [pair("a"), pair("b")]);
    assert_eq!((long.min_version, long.ticket_keys), (TlsVersion::Tls13, Some("/tickets".into())));
    assert_eq!(long.clients, Some(ClientAuth { ca: "/ca.pem".into(), required: true }));
    let optional = tls(
        "{ certificate = \"/a.pem\", key = \"/a.key\", client-ca = \"/ca.pem\", client-auth = \"optional\" }",
    );
    assert_eq!(optional.clients, Some(ClientAuth { ca: "/ca.pem".into(), required: false }));
}

#[test]
fn an_https_service_speaks_http3_unless_it_says_no() {
    let http3 = |spoken: &str| {
        let config = parse(&with("protocol = \"http\"", spoken));
        let Protocol::Http(http) = &config.services[&"api".parse().unwrap()].protocol else { panic!("HTTP") };
        http.http3
    };
    let https = "protocol = \"https\"\ntls = { certificate = \"/a.pem\", key = \"/a.key\" }";
    assert!(http3(https));
    assert!(http3(&format!("http3 = true\n{https}")));
    assert!(!http3(&format!("http3 = false\n{https}")));
    assert!(!http3("protocol = \"http\""));
}

#[test]
fn a_pool_may_speak_tls_with_the_systems_authorities_or_its_own() {
    let tls = |tls: &str| {
        let config = parse(&with("balance = \"least-request\"", tls));
        config.pools[&"app".parse().unwrap()].tls.clone()
    };
    assert_eq!(tls(""), None);
    let plain = ClientTls { ca_file: None, server_name: None, identity: None };
    assert_eq!(tls("tls = true"), Some(plain.clone()));
    assert_eq!(tls("tls = {}"), Some(plain));
    let whole = tls(
        "tls = { ca-file = \"/ca.pem\", server-name = \"app.internal\", certificate = \"/a.pem\", key = \"/a.key\" }",
    );
    let identity = Some(KeyPair { certificate: "/a.pem".into(), key: "/a.key".into() });
    let server_name = Some("app.internal".to_owned());
    assert_eq!(whole, Some(ClientTls { ca_file: Some("/ca.pem".into()), server_name, identity }));
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
    let restart = Some(Duration::from_mins(5));
    let (limit, action) = (10_000.try_into().unwrap(), PrefixAction::Close);
    assert_eq!(peer.max_prefixes, MaxPrefixes { limit, warn_at: 80, action, restart });
    let internal = parse(&with("remote-as = 65000", "remote-as = 64512")).bgp.peers.swap_remove(0);
    assert!(!internal.enforce_first_as);
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
        action: PrefixAction::Close,
        restart: None,
    };
    for (text, expected) in [
        ("100", plain),
        ("{ limit = 100 }", plain),
        ("{ limit = 100, warn-at = 50 }", MaxPrefixes { warn_at: 50, ..plain }),
        ("{ limit = 100, action = \"warn\" }", MaxPrefixes { action: PrefixAction::Warn, ..plain }),
        ("{ limit = 100, restart = \"5m\" }", MaxPrefixes { restart: Some(Duration::from_mins(5)), ..plain }),
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
        auth: None,
    };
    assert_eq!(bfd("bfd = {}"), plain);
    assert_eq!(bfd("multihop = 4\nbfd = {}"), Bfd { multihop: true, ..plain.clone() });
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

fn web(text: &str) -> Group {
    let group = parse(text).groups.into_values().find(|group| group.name.as_str() == "web");
    group.expect("the sound file has it")
}

#[test]
fn a_group_that_asks_for_nothing_is_neither_damped_nor_guarded_and_heeds_no_traffic() {
    let group = web(&with("hold-down = \"2s\"\n", ""));
    assert_eq!((group.damping, &group.guard), (None, &None));
    assert_eq!(group.degraded.unwrap().slo, None);
    let WhenDown::Withdraw(Withdrawn { hold_down, min_up, .. }) = group.when_down else {
        panic!("withdraws")
    };
    assert_eq!((hold_down, min_up), (Duration::from_secs(10), Duration::ZERO));
    assert_eq!(parse(common::SOUND).limits.withdrawals, None);
}

#[test]
fn damping_has_defaults_of_its_own() {
    let damping = |more: &str| {
        web(&with("[services.api]", &format!("[announce.web.damping]\n{more}\n[services.api]")))
            .damping
            .unwrap()
    };
    let (minute, default) = (Duration::from_mins(1), damping(""));
    let expected = Damping { half_life: minute, suppress: 3.0, reuse: 1.0, max_suppress: 4 * minute };
    assert_eq!(default, expected);
    assert_eq!(damping("half-life = \"30s\"").max_suppress, 2 * minute);
    assert_eq!(damping("half-life = \"24h\"").max_suppress, Duration::from_hours(24));
    let own = damping("suppress = 2\nreuse = 0.5\nmax-suppress = \"60s\"");
    assert_eq!(own, Damping { suppress: 2.0, reuse: 0.5, max_suppress: minute, ..expected });
}

#[test]
fn a_guard_names_those_who_tell_and_waits_for_ten_seconds() {
    let guard = |more: &str| {
        let section = format!("[announce.web.guard]\nobserve = [\"tor1\"]\n{more}\n[services.api]");
        web(&with("[services.api]", &section)).guard.unwrap()
    };
    let plain = guard("");
    assert_eq!((plain.min_announcers.get(), plain.quiet), (1, Duration::from_secs(10)));
    assert_eq!(plain.observe, ["tor1".parse().unwrap()]);
    let own = guard("min-announcers = 2\nquiet = \"500ms\"");
    assert_eq!((own.min_announcers.get(), own.quiet), (2, Duration::from_millis(500)));
}

#[test]
fn an_slo_has_a_limit_or_two() {
    let slo = |text: &str| {
        web(&with("prepend = 2\n", &format!("prepend = 2\nslo = {text}\n"))).degraded.unwrap().slo.unwrap()
    };
    let plain = Slo {
        p95: Some(Duration::from_millis(100)),
        error_rate: None,
        window: Duration::from_secs(30),
        min_requests: 100.try_into().unwrap(),
    };
    assert_eq!(slo("{ p95 = \"100ms\" }"), plain);
    let rate = Some(proxima_types::Score::new(0.02));
    assert_eq!(slo("{ error-rate = 0.02 }"), Slo { p95: None, error_rate: rate, ..plain });
    assert_eq!(
        slo("{ p95 = \"100ms\", error-rate = 0.02, window = \"1m\", min-requests = 10 }"),
        Slo {
            error_rate: rate,
            window: Duration::from_mins(1),
            min_requests: 10.try_into().unwrap(),
            ..plain
        }
    );
}

#[test]
fn real_traffic_is_evidence_unless_the_file_says_otherwise() {
    let passive = |keys: &str| {
        let text = with("[pools.raw]\n", &format!("[pools.raw]\n{keys}\n"));
        parse(&text)
            .pools
            .into_values()
            .find(|pool| pool.name.as_str() == "raw")
            .expect("it is there")
            .passive
    };
    let usual = Passive { error_limit: 10.try_into().unwrap(), first_byte: None, mark_down: None };
    assert_eq!((passive(""), passive("passive = {}")), (Some(usual), Some(usual)));
    assert_eq!(passive("passive = { observe = false }"), None);
    let first_byte = Some(Duration::from_millis(500));
    let own = Passive { error_limit: 3.try_into().unwrap(), first_byte, mark_down: None };
    assert_eq!(passive("passive = { error-limit = 3, first-byte = \"500ms\" }"), Some(own));
    let marking =
        |keys: &str| passive(&format!("passive = {{ on-error = \"mark-down\"{keys} }}")).unwrap().mark_down;
    assert_eq!(marking(""), Some(Duration::from_secs(30)));
    assert_eq!(marking(", hold-down = \"5s\""), Some(Duration::from_secs(5)));
    assert_eq!(passive("passive = { on-error = \"fail-check\" }"), Some(usual));
}

#[test]
fn a_shared_backend_gates_what_has_no_backend_in_the_own_region() {
    let shared = |text: &str| {
        let backends = parse(text).pools.into_values().flat_map(|pool| pool.backends);
        backends.filter(|backend| backend.shared).map(|backend| backend.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(shared(common::SOUND), [""; 0]);
    let elsewhere = with(
        "name = \"eu-1\"\nregion = \"eu\"\naddress = \"10.1.0.10:8080\"",
        "name = \"eu-1\"\nregion = \"us-east\"\naddress = \"10.1.0.10:8080\"\nshared = true",
    );
    let anywhere = elsewhere.replace("residency = { allow = [\"EU\"] }", "residency = { allow = [\"US\"] }");
    assert_eq!(shared(&anywhere), ["app/eu-1"]);
}

#[test]
fn a_dead_checker_withdraws_after_30_s_or_three_of_the_quickest_probes_unless_the_file_says_otherwise() {
    let after = |text: &str| web(text).dead_man;
    assert_eq!(after(common::SOUND), Some(Duration::from_secs(30)));
    let slow = with("interval = \"1s\", timeout = \"500ms\"", "interval = \"20s\", timeout = \"2s\"");
    assert_eq!(after(&slow), Some(Duration::from_secs(72)));
    let given = |wait: &str| after(&with("communities =", &format!("dead-man = \"{wait}\"\ncommunities =")));
    assert_eq!((given("5s"), given("0s")), (Some(Duration::from_secs(5)), None));
}

#[test]
fn withdrawals_of_all_groups_together_may_be_limited() {
    let config = parse(&with("[admin]", "[limits]\nwithdrawals = { most = 2, within = \"60s\" }\n[admin]"));
    let limit = Withdrawals { most: 2.try_into().unwrap(), within: Duration::from_mins(1) };
    assert_eq!(config.limits.withdrawals, Some(limit));
}

#[test]
fn every_kind_of_probe_means_what_it_says() {
    let tls = Tls { server_name: None, trust: Trust::System, min_validity: None };
    let http = |path: &str| Http {
        path: path.to_owned(),
        host: None,
        version: HttpVersion::Http1,
        tls: None,
        expect: Expect { status: Statuses::ok(), body: None, header: None },
    };
    let full_tls = Tls {
        server_name: Some("api.example.com".to_owned()),
        trust: Trust::File("/etc/ca.pem".into()),
        min_validity: Some(Duration::from_hours(14 * 24)),
    };
    let host = Some("app.example.com:8443".to_owned());
    let redis = Redis { user: None, password_file: None, tls: None, role: None, max_lag: None };
    let dns = Dns {
        name: "www.example.com".to_owned(),
        record: DnsRecord::A,
        transport: DnsTransport::Udp,
        expect: Vec::new(),
    };
    let grpc = Grpc { service: String::new(), host: None, tls: None };
    for (probe, kind) in [
        ("tcp = true", ProbeKind::Tcp),
        ("tls = true", ProbeKind::Tls(TlsHandshake { tls: tls.clone(), alpn: Vec::new() })),
        (
            "tls = { server-name = \"api.example.com\", ca-file = \"/etc/ca.pem\", min-valid-days = 14, alpn = [\"h2\"] }",
            ProbeKind::Tls(TlsHandshake { tls: full_tls, alpn: vec!["h2".to_owned()] }),
        ),
        ("http = \"/\"", ProbeKind::Http(http("/"))),
        (
            "http = \"/\", version = \"2\", expect = [200, \"300-399\"], expect-body = 'v\\d', expect-header = \"X-Ready: yes\"",
            ProbeKind::Http(Http {
                version: HttpVersion::Http2,
                expect: Expect {
                    status: Statuses::new(vec![200..=200, 300..=399]).unwrap(),
                    body: Some("v\\d".to_owned()),
                    header: Some(ExpectHeader { name: "x-ready".to_owned(), value: Some("yes".to_owned()) }),
                },
                ..http("/")
            }),
        ),
        // The certificate is for whom the request is for.
        (
            "https = \"/\", host = \"app.example.com:8443\", version = \"3\"",
            ProbeKind::Http(Http {
                version: HttpVersion::Http3,
                host,
                tls: Some(Tls { server_name: Some("app.example.com".to_owned()), ..tls.clone() }),
                ..http("/")
            }),
        ),
        (
            "https = \"/\", host = \"10.0.0.1\", tls = { verify = false }",
            ProbeKind::Http(Http {
                host: Some("10.0.0.1".to_owned()),
                tls: Some(Tls { trust: Trust::Anyone, ..tls.clone() }),
                ..http("/")
            }),
        ),
        ("quic = true", ProbeKind::Quic(Quic { tls: tls.clone(), alpn: vec!["h3".to_owned()] })),
        ("grpc = true", ProbeKind::Grpc(grpc.clone())),
        (
            "grpc = \"llm.v1.Chat\"",
            ProbeKind::Grpc(Grpc { service: "llm.v1.Chat".to_owned(), ..grpc.clone() }),
        ),
        (
            "grpc = { host = \"llm.example\", tls = true }",
            ProbeKind::Grpc(Grpc {
                host: Some("llm.example".to_owned()),
                tls: Some(Tls { server_name: Some("llm.example".to_owned()), ..tls.clone() }),
                ..grpc
            }),
        ),
        (
            "postgres = { user = \"probe\", database = \"app\", password-file = \"/p\", role = \"replica\", max-lag = \"10s\", tls = true }",
            ProbeKind::Postgres(Postgres {
                user: "probe".to_owned(),
                database: Some("app".to_owned()),
                password_file: Some("/p".into()),
                tls: Some(tls),
                role: Some(proxima_probe_kind::Role::Replica),
                max_lag: Some(Duration::from_secs(10)),
            }),
        ),
        ("redis = true", ProbeKind::Redis(redis.clone())),
        (
            "redis = { role = \"primary\" }",
            ProbeKind::Redis(Redis { role: Some(proxima_probe_kind::Role::Primary), ..redis }),
        ),
        ("dns = \"www.example.com.\"", ProbeKind::Dns(dns.clone())),
        ("dns = \".\"", ProbeKind::Dns(Dns { name: String::new(), ..dns.clone() })),
        (
            "dns = { name = \"www.example.com\", record = \"AAAA\", transport = \"tcp\", expect = [\"fd00::1\"] }",
            ProbeKind::Dns(Dns {
                record: DnsRecord::Aaaa,
                transport: DnsTransport::Tcp,
                expect: vec!["fd00::1".parse().unwrap()],
                ..dns
            }),
        ),
        (
            "exec = [\"/bin/check\", \"--quick\"]",
            ProbeKind::Exec(Exec { command: vec!["/bin/check".to_owned(), "--quick".to_owned()] }),
        ),
        ("agent = true", ProbeKind::Agent(Agent { port: None, send: None })),
        ("agent = 9999", ProbeKind::Agent(Agent { port: NonZeroU16::new(9999), send: None })),
        (
            "agent = { port = 9999, send = \"app\\n\" }",
            ProbeKind::Agent(Agent { port: NonZeroU16::new(9999), send: Some("app\n".to_owned()) }),
        ),
    ] {
        let config = parse(&with("probe = { tcp = true }", &format!("probe = {{ {probe} }}")));
        assert_eq!(config.pools[&"raw".parse().unwrap()].probe.kind, kind, "{probe}");
    }
}

#[test]
fn a_probe_goes_straight_unless_it_says_via_the_service() {
    let via = |probe: &str| {
        let config = parse(&with("probe = { tcp = true }", &format!("probe = {{ {probe} }}")));
        config.pools[&"raw".parse().unwrap()].probe.via
    };
    assert_eq!(via("tcp = true"), Via::Direct);
    assert_eq!(via("tcp = true, via = \"direct\", source = \"10.0.0.11\""), Via::Direct);
    for kind in [
        "tcp = true",
        "tls = true",
        "http = \"/\"",
        "http = \"/\", version = \"2\"",
        "https = \"/\"",
        "grpc = true",
        "postgres = { user = \"probe\" }",
        "redis = true",
    ] {
        assert_eq!(via(&format!("{kind}, via = \"service\"")), Via::Service, "{kind}");
    }
}

#[test]
fn the_pace_of_a_probe_and_where_it_comes_from_are_as_written() {
    let pace = |settings: &str| {
        let config = parse(&with("probe = { tcp = true }", &format!("probe = {{ tcp = true{settings} }}")));
        let probe = config.pools[&"raw".parse().unwrap()].probe.clone();
        (probe.fast_interval.as_millis(), probe.jitter, probe.source.map(|source| source.to_string()))
    };
    assert_eq!(pace(""), (50, 10, None));
    assert_eq!(pace(", interval = \"20ms\", jitter = 0"), (20, 0, None));
    let of_program =
        parse(&with("probe = { tcp = true }", "probe = { exec = [\"/bin/true\"], interval = \"5s\" }"));
    let fast_interval = of_program.pools[&"raw".parse().unwrap()].probe.fast_interval;
    assert_eq!(fast_interval, Duration::from_secs(1), "each costs a process");
    let source = Some("10.0.0.11".to_owned());
    assert_eq!(pace(", fast-interval = \"500ms\", jitter = 0.5, source = \"10.0.0.11\""), (500, 50, source));
}

#[test]
fn a_notice_comes_from_a_directory_or_the_backend_itself() {
    let notice = |settings: &str| {
        let text = with("probe = { tcp = true }", &format!("probe = {{ tcp = true }}\n{settings}"));
        parse(&text).pools[&"raw".parse().unwrap()].notice.clone()
    };
    assert_eq!(notice(""), None);
    let source = NoticeSource::Directory("/run/leaving".into());
    let (lead, interval) = (Duration::from_secs(30), Duration::from_secs(5));
    assert_eq!(notice("notice = { directory = \"/run/leaving\" }"), Some(Notice { source, lead, interval }));
    let source = NoticeSource::Http { path: "/leaving".to_owned(), port: NonZeroU16::new(9708) };
    let (lead, interval) = (Duration::from_mins(2), Duration::from_secs(1));
    let written = "notice = { http = \"/leaving\", port = 9708, lead = \"2m\", interval = \"1s\" }";
    assert_eq!(notice(written), Some(Notice { source, lead, interval }));
}
