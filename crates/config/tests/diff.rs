//! What a reload is told.

use proxima_config::{Config, Diff};

mod common;

use common::{SOUND, with};

fn diff(new: &str) -> Diff {
    Config::diff(&sound(SOUND), &sound(new))
}

#[test]
fn the_same_meaning_in_other_words_is_no_difference() {
    let reworded = with("\"9s\"", "\"9000ms\"")
        .replacen("[pop]", "# a comment\n[pop]", 1)
        .replacen("weight = 100\n", "", 1)
        .replacen("mode = \"0660\"\n", "mode = \"660\"\nsocket = \"/run/proximad/admin.sock\"\n", 1)
        .replacen(
            "[\"203.0.113.0/24\", \"2001:db8:ac::/48\"]",
            "[\"2001:0db8:00ac::/48\", \"203.0.113.0/24\"]",
            1,
        );
    let diff = diff(&reworded);
    assert!(diff.is_empty(), "{diff}");
    assert_eq!(diff.to_string(), "nothing changes");
}

#[test]
fn each_change_is_named_where_it_belongs() {
    for (from, to, expected) in [
        ("remote-as = 65000", "remote-as = 65001", "peers: ~tor1"),
        ("name = \"tor1\"", "name = \"tor2\"", "peers: +tor2 -tor1"),
        // A default of `[bgp]` is a setting of each peer that has none of its own.
        ("hold-time = \"9s\"", "hold-time = \"3s\"", "peers: ~tor1"),
        ("remote-as = 65000", "remote-as = 65000\nbfd = { interval = \"50ms\" }", "peers: ~tor1"),
        ("remote-as = 65000", "remote-as = 65000\nshutdown = \"maintenance\"", "peers: ~tor1"),
        ("remote-as = 65000", "remote-as = 65000\npassive = true", "peers: ~tor1\nother: ~bgp.listen"),
        ("local-as = 64512", "local-as = 64513", "other: ~bgp.local-as"),
        ("local-as = 64512", "local-as = 64512\nlisten = [\"10.0.0.11:179\"]", "other: ~bgp.listen"),
        (
            "local-as = 64512",
            "local-as = 64512\nbest-path = { prefer-oldest = true }",
            "other: ~bgp.best-path",
        ),
        (
            "[announce.web]",
            "[[bgp.bmp]]\nname = \"collector\"\naddress = \"192.0.2.50:11019\"\n[announce.web]",
            "bmp: +collector",
        ),
        (
            "[announce.web]",
            "[bgp.mrt]\ndirectory = \"/var/lib/proximad/mrt\"\n[announce.web]",
            "other: ~bgp.mrt",
        ),
        ("prepend = 2", "prepend = 3", "groups: ~web"),
        ("hold-down = \"2s\"", "hold-down = \"2s\"\nmin-up = \"1s\"", "groups: ~web"),
        ("[services.api]", "[announce.web.guard]\nobserve = [\"tor1\"]\n[services.api]", "groups: ~web"),
        ("[admin]\n", "[limits]\nwithdrawals = { most = 2, within = \"60s\" }\n[admin]\n", "other: ~limits"),
        ("[services.raw]", "[services.row]", "services: +row -raw"),
        ("first-byte = \"10s\"", "first-byte = \"11s\"", "services: ~api"),
        ("tier = 1", "tier = 2", "pools: ~app\nbackends: ~app/us-1"),
        ("tier = 1", "tier = 1\nshared = true", "pools: ~app\nbackends: ~app/us-1"),
        ("weight = 100", "weight = 50", "pools: ~app\nbackends: ~app/eu-1"),
        ("10.1.0.10:8080", "10.1.0.11:8080", "pools: ~app\nbackends: ~app/eu-1"),
        ("name = \"us-1\"", "name = \"us-2\"", "pools: ~app\nbackends: +app/us-2 -app/us-1"),
        ("balance = \"least-request\"", "tls = true", "pools: ~app"),
        ("[pools.raw]\n", "[pools.raw]\npassive = { error-limit = 5 }\n", "pools: ~raw"),
        ("interval = \"1s\"", "interval = \"2s\"", "pools: ~app"),
        ("name = \"fra1\"", "name = \"fra2\"", "other: ~pop.name"),
        ("router-id = \"192.0.2.11\"", "router-id = \"192.0.2.12\"", "other: ~pop.router-id"),
        ("level = \"info\"", "level = \"warn\"", "other: ~log.level"),
        ("level = \"info\"", "level = \"info\"\nformat = \"json\"", "other: ~log.format"),
        ("[metrics]\nlisten = \"127.0.0.1:9179\"\n", "[drain]\nstreams = \"1s\"\n", "other: ~drain ~metrics"),
        (
            "[admin]\n",
            "[data-plane]\nworkers = 3\n[admin]\ngroup = \"ops\"\n",
            "other: ~data-plane.workers ~admin",
        ),
        ("[admin]\n", "[data-plane]\ndistance = \"bgp\"\n[admin]\n", "other: ~data-plane.distance"),
        (
            "[admin]\n",
            "[acme.le]\ndirectory = \"https://a/d\"\naccept-terms-of-service = true\nchallenge = \"http-01\"\n[admin]\n",
            "other: ~acme",
        ),
        // A region's jurisdiction is part of every backend in it.
        (
            "jurisdiction = \"US\"",
            "jurisdiction = \"CA\"",
            "pools: ~app\nbackends: ~app/us-1\nregions: ~us-east",
        ),
    ] {
        assert_eq!(diff(&with(from, to)).to_string(), expected, "{to}");
    }
}

fn sound(text: &str) -> Config {
    Config::parse(text, "f.toml").unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn a_list_that_loses_its_last_entry_is_named() {
    let emptied = |old: &str, new: &str| Config::diff(&sound(old), &sound(new)).emptied;
    for (from, to, key) in [
        ("communities = [\"64512:100\"]\n", "", "announce.web.communities"),
        ("residency = { allow = [\"EU\"] }\n", "", "services.api.routes[1].residency"),
    ] {
        assert_eq!(emptied(SOUND, &with(from, to)), [key], "{to}");
        assert_eq!(emptied(&with(from, to), SOUND), [""; 0], "filling one is nothing to ask about");
    }
    let also_degraded = with("prepend = 2", "prepend = 2\ncommunities = [\"64512:666\"]");
    assert_eq!(emptied(&also_degraded, SOUND), ["announce.web.degraded.communities"]);
    let begin = SOUND.find("[announce.web]").unwrap();
    let end = SOUND.find("[services.api]").unwrap();
    let alone = SOUND.replace(&SOUND[begin..end], "");
    assert_eq!(emptied(SOUND, &alone), ["announce"]);
    let begin = alone.find("[[bgp.peers]]").unwrap();
    let end = alone.find("[services.api]").unwrap();
    assert_eq!(emptied(&alone, &alone.replace(&alone[begin..end], "")), ["bgp.peers"]);
    let tls =
        "protocol = \"https\"\ntls = { certificate = \"/a.pem\", key = \"/a.key\", client-ca = \"/ca.pem\" }";
    let guarded = with("protocol = \"http\"", tls);
    let open = guarded.replace(", client-ca = \"/ca.pem\"", "");
    assert_eq!(emptied(&guarded, &open), ["services.api.tls.client-ca"]);
    assert_eq!(emptied(&open, &guarded), [""; 0]);
    let one_less = with("communities = [\"64512:100\"]", "communities = [\"64512:100\", \"64512:101\"]");
    assert_eq!(emptied(&one_less, SOUND), [""; 0], "not the last one");
}

#[test]
fn requests_that_leave_their_fence_are_noticed_whichever_route_takes_them_now() {
    let emptied = |new: &str| Config::diff(&sound(SOUND), &sound(new)).emptied;
    let open = ["services.api.routes[1].residency"];
    // The fenced route is gone, and the open one behind it takes its requests.
    let fenced_at = SOUND.find("[[services.api.routes]]").unwrap();
    let open_at = SOUND.rfind("[[services.api.routes]]").unwrap();
    let alone = SOUND.replacen(&SOUND[fenced_at..open_at], "", 1);
    assert_eq!(emptied(&alone), open);
    // So it is where it moved, as others are where it was.
    assert_eq!(emptied(&with("\"/v1\"", "\"/v2\"")), ["services.api.routes[2].residency"]);
    let elsewhere = |matches: &str| {
        alone.replacen(
            "[[services.api.routes]]\n",
            &format!("[[services.api.routes]]\nmatch = {matches}\n"),
            1,
        )
    };
    for (matches, taken) in [
        ("{ path-prefix = \"/v1/chat\" }", true),
        ("{ path-prefix = \"/v12\" }", false),
        ("{ host = \"www.example.com\" }", false),
        ("{ host = \"api.example.com\", methods = [\"GET\"] }", false),
        ("{ host = \"api.example.com\", methods = [\"GET\", \"POST\"] }", true),
    ] {
        assert_eq!(!emptied(&elsewhere(matches)).is_empty(), taken, "{matches}");
    }
    let tcp = "protocol = \"tcp\"\npool = \"app\"\n";
    let at = SOUND.find("protocol = \"http\"").unwrap();
    let end = SOUND.find("[services.raw]").unwrap();
    let relayed = SOUND.replacen(&SOUND[at..end], tcp, 1);
    assert_eq!(emptied(&relayed), ["services.api.residency"]);
    let fenced = relayed.replacen(tcp, &format!("{tcp}residency = {{ allow = [\"EU\"] }}\n"), 1);
    assert_eq!(emptied(&fenced), [""; 0]);
    assert_eq!(Config::diff(&sound(&fenced), &sound(&alone)).emptied, open);
}

#[test]
fn a_diff_is_readable_by_programs() {
    let json = serde_json::to_value(diff(&with("name = \"tor1\"", "name = \"tor2\""))).unwrap();
    assert_eq!(json["peers"], serde_json::json!({ "added": ["tor2"], "removed": ["tor1"], "changed": [] }));
    assert_eq!(json["other"], serde_json::json!([]));
}
