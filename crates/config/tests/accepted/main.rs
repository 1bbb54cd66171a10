//! What is unusual but right is accepted, and means what it says.

use std::time::Duration;

use proxima_config::{
    AccessLog, AccessLogTarget, ClientAuth, ClientTls, Config, Distance, ForwardedCertificate, KeyPair,
    ProbeKind, Protocol, TlsVersion, Vip, WhenDown,
};

#[path = "../common/mod.rs"]
mod common;
mod groups;
mod peers;
mod probes;

use common::{fits, with};

fn parse(text: &str) -> Config {
    let config = Config::parse(text, "f.toml").unwrap_or_else(|errors| panic!("{errors}"));
    fits(text).unwrap_or_else(|why| panic!("accepted, and not by the schema: {why}\n{text}"));
    config
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
        parse(&text);
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
    let (ca, forward) = (|| "/ca.pem".into(), ForwardedCertificate::None);
    assert_eq!(long.clients, Some(ClientAuth { ca: ca(), required: true, forward }));
    let optional = tls(
        "{ certificate = \"/a.pem\", key = \"/a.key\", client-ca = \"/ca.pem\", client-auth = \"optional\", \
         forward-client-cert = \"chain\" }",
    );
    let forward = ForwardedCertificate::Chain;
    assert_eq!(optional.clients, Some(ClientAuth { ca: ca(), required: false, forward }));
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

#[test]
fn requests_are_logged_only_where_that_is_asked_for() {
    assert_eq!(parse(common::SOUND).access_log, None);
    let log = |text: &str| parse(&with("[admin]", &format!("[access-log]\n{text}\n[admin]"))).access_log;
    let (to, query, sample) = (AccessLogTarget::Stdout, false, 1.0);
    assert_eq!(log("to = \"stdout\""), Some(AccessLog { to, query, sample }));
    let to = AccessLogTarget::File("/var/log/a.log".into());
    let given = log("to = \"/var/log/a.log\"\nquery = true\nsample = 0.25");
    assert_eq!(given, Some(AccessLog { to, query: true, sample: 0.25 }));
}
