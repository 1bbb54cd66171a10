//! Every file in `configs/` is one that can be used.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use proxima_config::{
    Balance, Config, PoolProtocol, PrefixAction, ProbeKind, Protocol, Remote, Role, Vip, WhenDown,
};

fn configs() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../configs")
}

fn read(file: &str) -> String {
    std::fs::read_to_string(configs().join(file)).expect("the file is in configs/")
}

fn parse(file: &str) -> Config {
    Config::parse(&read(file), file).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn every_example_parses() {
    let mut seen = BTreeSet::new();
    for entry in std::fs::read_dir(configs()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        // `proxima check configs/*.toml`: what is for another program has another extension.
        if path.extension().is_some_and(|extension| extension == "toml") {
            parse(name);
            seen.insert(name.to_owned());
        }
    }
    assert!(
        seen.is_superset(
            &["acme.toml", "example.toml", "https.toml", "peers.toml", "probes.toml", "two-regions.toml"]
                .map(str::to_owned)
                .into()
        ),
        "{seen:?}"
    );
}

/// `example.toml` claims that what is commented out shows a default or an option: it has to parse as well.
#[test]
fn what_the_example_comments_out_is_valid() {
    let mut text = String::new();
    for line in read("example.toml").lines() {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        let setting =
            bare.starts_with('[') || bare.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '));
        text.push_str(if setting { bare } else { line });
        text.push('\n');
    }
    let config = Config::parse(&text, "example.toml").unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(config.data_plane.workers.map(u32::from), Some(4));
    assert_eq!(config.admin.group.as_deref(), Some("proxima"));
    assert_eq!(config.bgp.listen.len(), 1);
}

#[test]
fn the_example_resolves_to_what_its_comments_say() {
    let config = parse("example.toml");
    assert_eq!(config.own_jurisdiction().as_str(), "EU");
    let prefixes: Vec<String> = config.prefixes().iter().map(ToString::to_string).collect();
    assert_eq!(prefixes, ["203.0.113.0/24", "2001:db8:ac::/48"]);

    let peer = &config.bgp.peers[0];
    assert_eq!((peer.port, peer.passive, peer.source), (179, false, None));
    assert_eq!((peer.max_prefixes.limit.get(), peer.max_prefixes.warn_at), (10_000, 80));
    assert_eq!(peer.families.len(), 2);
    assert_eq!(config.bgp.connect_retry, Duration::from_secs(5));
    assert!(config.bgp.listen.is_empty());

    let web = &config.groups[&"web".parse().unwrap()];
    assert_eq!((web.vip, web.attributes.prepend, web.attributes.med), (Vip::AnyIp, 0, None));
    let degraded = web.degraded.as_ref().unwrap();
    assert_eq!((degraded.attributes.prepend, degraded.attributes.med), (2, Some(200)));
    let communities: Vec<String> = degraded.attributes.communities.iter().map(ToString::to_string).collect();
    assert_eq!(communities, ["64512:100", "64512:666"]);
    assert!(
        matches!(web.when_down, WhenDown::Withdraw(withdrawn) if withdrawn.hold_down == Duration::from_secs(10))
    );

    let api = &config.services[&"api".parse().unwrap()];
    let pools: Vec<String> = api.pools().iter().map(ToString::to_string).collect();
    assert_eq!(pools, ["app", "llm"]);
    let Protocol::Http(http) = &api.protocol else { panic!("api is HTTP") };
    assert_eq!(http.routes[0].matches.path_prefix.as_deref(), Some("/v1/chat"));
    assert_eq!(http.routes[1].timeouts.connect, Duration::from_millis(500));
    assert_eq!(http.routes[1].timeouts.first_byte, Duration::from_secs(30));
    assert_eq!(http.routes[1].timeouts.total, Some(Duration::from_secs(30)));

    let llm = &config.pools[&"llm".parse().unwrap()];
    assert_eq!(llm.balance, Balance::LeastRequest);
    assert_eq!(llm.protocol, PoolProtocol::Http1);
    assert!(
        matches!(&llm.probe.kind, ProbeKind::Http(http) if http.path == "/health" && http.expect.status.single() == Some(200))
    );
    assert_eq!(llm.backends.iter().map(|backend| backend.tier).collect::<Vec<_>>(), [0, 1]);
    let weights: Vec<u16> =
        config.pools[&"app".parse().unwrap()].backends.iter().map(|backend| backend.weight.0).collect();
    assert_eq!(weights, [100, 100, 50]);
    assert_eq!(config.admin.mode, 0o660);
}

/// The router's sample takes what the example announces, from the address and AS the example has.
#[test]
fn the_router_sample_is_the_other_side_of_the_example() {
    let (config, router) = (parse("example.toml"), read("router-bird.conf"));
    for prefix in config.prefixes() {
        assert!(router.contains(&format!("[ {prefix} ]")), "{prefix}");
    }
    let peer = &config.bgp.peers[0];
    assert!(router.contains(&format!("local {} as {};", peer.remote, peer.remote_as)), "{router}");
    assert!(router.contains(&format!("as {};", config.bgp.local_as)), "{router}");
    assert!(router.contains(&format!("hold time {};", config.bgp.hold_time.as_secs())), "{router}");
}

/// So do those of other routers, for the peer that `peers.toml` calls tor1.
#[test]
fn the_other_router_samples_are_the_other_side_of_the_kinds_of_peers() {
    let config = parse("peers.toml");
    let peer = &config.bgp.peers[0];
    assert_eq!((peer.name.as_str(), peer.role), ("tor1", Some(Role::Customer)));
    let (router_id, asn, pop_as) = (peer.remote.to_string(), peer.remote_as, config.bgp.local_as);
    let hold = peer.hold_time.as_secs();
    for (file, lines) in [
        (
            "router-frr.conf",
            vec![
                format!("router bgp {asn}"),
                format!("bgp router-id {router_id}"),
                format!("neighbor {} remote-as {pop_as}", config.pop.router_id),
                format!("timers {} {hold}", hold / 3),
                "ttl-security hops 1".to_owned(),
                "local-role provider".to_owned(),
                "transmit-interval 50".to_owned(),
                "detect-multiplier 3".to_owned(),
            ],
        ),
        (
            "router-openbgpd.conf",
            vec![
                format!("AS {asn}"),
                format!("router-id {router_id}"),
                format!("neighbor {} {{", config.pop.router_id),
                format!("remote-as {pop_as}"),
                format!("holdtime {hold}"),
                "ttl-security yes".to_owned(),
                "announce policy provider".to_owned(),
            ],
        ),
        (
            "router-gobgp.conf",
            vec![
                format!("as = {asn}"),
                format!("router-id = \"{router_id}\""),
                format!("neighbor-address = \"{}\"", config.pop.router_id),
                format!("peer-as = {pop_as}"),
                format!("hold-time = {hold}"),
                "ttl-min = 255".to_owned(),
            ],
        ),
    ] {
        let router = read(file);
        let prefixes = config.prefixes().into_iter().map(|prefix| prefix.to_string());
        for line in lines.into_iter().chain(prefixes) {
            assert!(router.contains(&line), "`{line}` is not in {file}");
        }
    }
    let bfd = peer.bfd.as_ref().unwrap();
    assert_eq!((bfd.interval, bfd.multiplier.get()), (Duration::from_millis(50), 3));
    assert_eq!((peer.ttl_security.map(u8::from), peer.password_file.is_some()), (Some(1), true));
}

/// Each kind of peer is in `peers.toml`.
#[test]
fn the_kinds_of_peers_are_all_shown() {
    let config = parse("peers.toml");
    let peers = &config.bgp.peers;
    for (kind, there) in [
        ("a range", peers.iter().any(|peer| matches!(peer.remote, Remote::Range { .. }))),
        ("unnumbered", peers.iter().any(|peer| matches!(peer.remote, Remote::Interface(_)))),
        (
            "link-local",
            peers.iter().any(|peer| matches!(&peer.remote, Remote::Address { interface: Some(_), .. })),
        ),
        ("internal", peers.iter().any(|peer| peer.remote_as == config.bgp.local_as)),
        ("multihop", peers.iter().any(|peer| peer.multihop.is_some())),
        ("graceful restart", peers.iter().any(|peer| peer.graceful_restart.is_some())),
        ("shut down", peers.iter().any(|peer| peer.shutdown.is_some())),
        ("a warning limit", peers.iter().any(|peer| peer.max_prefixes.action == PrefixAction::Warn)),
        (
            "authenticated BFD",
            peers.iter().any(|peer| peer.bfd.as_ref().is_some_and(|bfd| bfd.auth.is_some())),
        ),
        ("BMP and MRT", !config.bgp.bmp.is_empty() && config.bgp.mrt.is_some()),
    ] {
        assert!(there, "{kind}");
    }
}

/// The unit gives a drain the time that `[drain]` takes by default.
#[test]
fn the_unit_waits_for_a_drain() {
    let drain = parse("two-regions.toml").drain;
    let unit = read("proximad.service");
    let stop = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")?.strip_suffix('s')).unwrap();
    let waits = drain.graceful_shutdown + drain.withdrawn + drain.streams;
    assert!(Duration::from_secs(stop.parse().unwrap()) > waits + Duration::from_secs(10));
}

/// The unit lets BFD have the priority it asks for, and reloads so that a refusal is told.
#[test]
fn the_unit_lets_bfd_run_first_and_reloads_by_the_command_line() {
    let unit = read("proximad.service");
    let lines: Vec<&str> = unit.lines().collect();
    for line in ["LimitRTPRIO=40", "RestrictRealtime=no", "ExecReload=/usr/bin/proxima reload"] {
        assert!(lines.contains(&line), "{line}");
    }
    assert!(
        lines.iter().any(|line| line.starts_with("SystemCallFilter=") && line.contains("sched_setscheduler"))
    );
    let dumps = parse("peers.toml").bgp.mrt.unwrap().directory;
    let state = lines.iter().find_map(|line| line.strip_prefix("StateDirectory=")).unwrap();
    assert!(state.split(' ').any(|name| dumps.ends_with(name) && dumps.starts_with("/var/lib")), "{state}");
}

/// The unit hears from the daemon: that it is ready, and that it lives.
#[test]
fn the_unit_is_told_of_readiness_and_of_life() {
    let unit = read("proximad.service");
    let lines: Vec<&str> = unit.lines().collect();
    for line in ["Type=notify", "NotifyAccess=main", "Restart=on-failure"] {
        assert!(lines.contains(&line), "{line}");
    }
    let limit = lines.iter().find_map(|line| line.strip_prefix("WatchdogSec=")?.strip_suffix('s')).unwrap();
    // Longer than the control thread may stand still before the process ends by itself.
    assert!(limit.parse::<u64>().unwrap() > 10);
}
