//! Every file in `configs/` is one that can be used.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use proxima_config::{Balance, Config, ProbeKind, Protocol, Vip, WhenDown};

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
        if path.extension().is_some_and(|extension| extension == "toml") {
            let name = path.file_name().unwrap().to_str().unwrap();
            parse(name);
            seen.insert(name.to_owned());
        }
    }
    assert!(seen.is_superset(&["example.toml".to_owned(), "two-regions.toml".to_owned()].into()), "{seen:?}");
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
    assert!(matches!(&llm.probe.kind, ProbeKind::Http { path, expect: 200, .. } if path == "/health"));
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

/// The unit gives a drain the time that `[drain]` takes by default.
#[test]
fn the_unit_waits_for_a_drain() {
    let drain = parse("two-regions.toml").drain;
    let unit = read("proximad.service");
    let stop = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")?.strip_suffix('s')).unwrap();
    let waits = drain.graceful_shutdown + drain.withdrawn + drain.streams;
    assert!(Duration::from_secs(stop.parse().unwrap()) > waits + Duration::from_secs(10));
}
