//! Requests: nearest first, inside the fence.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    process::Command,
    time::Instant,
};

use proxima_api::{Backends, Distance, EventKind, Peer, Status, paths};
use proxima_types::{Health, ReachState};

use crate::support::{
    App, Client, Daemon, PATIENCE, Pop, Port, Router, exchange, get, inside, ip, message, update,
};

const FENCED: &str = r#"
  [[services.web.routes]]
  match = { path-prefix = "/fenced" }
  pool = "app"
  residency = { allow = ["EU"] }
  [[services.web.routes]]
  pool = "app"
"#;

#[test]
fn requests_go_to_the_own_region_and_to_the_next_one_when_it_is_down() {
    let router = Router::polite();
    let (mut eu, us) = (App::healthy("eu-1"), App::healthy("us-1"));
    let pop = Pop::new().peer("router", &router).backend("us", &us).backend("eu", &eu);
    let daemon = pop.start_announced(&router);
    daemon.wait_verdict("app/us-1", Health::Up);
    for _ in 0..10 {
        assert_eq!(get(pop.web(), "/near").body, "eu-1 /near");
    }
    let head = eu.wait_request("/near").to_lowercase();
    assert!(head.contains("\r\nhost: example.com\r\n"), "{head}");
    assert!(head.contains("\r\nx-forwarded-for: 127.0.0.1\r\n"), "{head}");
    assert!(head.contains("\r\nvia: 1.1 eu1\r\n"), "{head}");
    assert_eq!(us.paths(), [""; 0]);

    eu.kill();
    assert_eq!(get(pop.web(), "/far").body, "us-1 /far", "at once, before any verdict");
    daemon.wait_verdict("app/eu-1", Health::Down);
    assert_eq!(get(pop.web(), "/far").body, "us-1 /far", "and after it");
}

/// An announcement among internal peers of the address alone.
fn internal_route(to: IpAddr, local_pref: u8, as_path: &[u8]) -> Vec<u8> {
    let hops = u8::try_from(as_path.len()).unwrap();
    let asns = as_path.iter().flat_map(|last| [0, 0, 0xfd, *last]);
    let path: Vec<u8> = [0x40, 2, 2 + 4 * hops, 2, hops].into_iter().chain(asns).collect();
    let preference = [0x40, 5, 4, 0, 0, 0, local_pref];
    let attributes = [&[0x40, 1, 1, 0][..], &path, &[0x40, 3, 4, 127, 0, 0, 1], &preference];
    update(&attributes, &nlri(to))
}

fn withdrawal(of: IpAddr) -> Vec<u8> {
    message(2, &[&[0, 5][..], &nlri(of), &[0, 0]].concat())
}

fn nlri(of: IpAddr) -> Vec<u8> {
    let IpAddr::V4(address) = of else { panic!("{of} is not IPv4") };
    [&[32][..], &address.octets()].concat()
}

#[test]
fn by_bgp_requests_go_where_the_better_route_leads_and_move_when_routes_change() {
    if !inside("serve::by_bgp_requests_go_where_the_better_route_leads_and_move_when_routes_change") {
        return;
    }
    ip(&["link", "set", "lo", "up"]);
    let at = |last: u8| {
        let address = Ipv4Addr::new(10, 9, 0, last);
        ip(&["address", "add", &format!("{address}/32"), "dev", "lo"]);
        IpAddr::V4(address)
    };
    let router = Router::polite();
    let (us, ap) = (App::at(at(1), "us-1"), App::at(at(2), "ap-1"));
    let mut pop = Pop::new().peer("router", &router).backend("us", &us).backend("ap", &ap);
    pop.group = String::new();
    pop.more = "[regions.ap]\njurisdiction = \"SG\"\n".to_owned();
    let path = pop.write();
    let text = pop.text().replacen("local-as = 64512", "local-as = 65001", 1);
    let text = text.replacen("[data-plane]", "[data-plane]\ndistance = \"bgp\"", 1);
    std::fs::write(&path, text).unwrap();
    let daemon = Daemon::start(&path, &pop.socket());
    router.wait_complete(0);
    daemon.wait_verdict("app/us-1", Health::Up);
    daemon.wait_verdict("app/ap-1", Health::Up);
    let (to_us, to_ap) = (us.address().ip(), ap.address().ip());
    let moves_to = |name: &str| {
        let deadline = Instant::now() + PATIENCE;
        while !get(pop.web(), "/").body.starts_with(name) {
            assert!(Instant::now() < deadline, "requests never went to {name}");
        }
        for _ in 0..10 {
            assert!(get(pop.web(), "/").body.starts_with(name), "and stay there");
        }
        let told: Backends = daemon.ask(paths::BACKENDS);
        told.backends.into_iter().map(|backend| backend.distance.unwrap()).collect::<Vec<_>>()
    };

    router.say(&internal_route(to_ap, 100, &[0xf2]));
    assert_eq!(moves_to("ap-1")[0], Distance::NoRoute, "no route is the farthest");
    router.say(&internal_route(to_us, 200, &[0xf2, 0xf3]));
    let distances = moves_to("us-1").iter().map(Distance::to_string).collect::<Vec<_>>();
    assert_eq!(
        distances,
        [
            format!("1 by bgp: local-pref 200, path 65010 65011, {to_us}/32 of router"),
            format!("2 by bgp: local-pref 100, path 65010, {to_ap}/32 of router")
        ]
    );
    router.say(&internal_route(to_us, 100, &[0xf2, 0xf3]));
    moves_to("ap-1");
    router.say(&withdrawal(to_ap));
    assert_eq!(moves_to("us-1")[1], Distance::NoRoute);
}

#[test]
fn no_idempotent_request_fails_while_all_apps_of_the_region_are_killed_and_come_back() {
    const EACH: usize = 400;
    let router = Router::polite();
    let (mut first, mut second, us) = (App::healthy("eu-1"), App::healthy("eu-2"), App::healthy("us-1"));
    let pop =
        Pop::new().peer("router", &router).backend("eu", &first).backend("eu", &second).backend("us", &us);
    let daemon = pop.start_announced(&router);
    daemon.wait_verdict("app/us-1", Health::Up);
    let web = pop.web();
    let clients = [(); 6].map(|()| {
        std::thread::spawn(move || {
            let mut client = Client::connect(web);
            let mut served_far = 0;
            // Goes on until the far region has served some, and the near one again after it.
            for number in 0.. {
                let answer = client.get("/work").unwrap_or_else(|error| panic!("request {number}: {error}"));
                assert_eq!(answer.status, 200, "request {number}: {answer:?}");
                served_far += usize::from(answer.body.starts_with("us-1"));
                if number >= EACH && served_far > 0 && answer.body.starts_with("eu-") {
                    return served_far;
                }
            }
            unreachable!("numbers do not end")
        })
    });
    first.wait_request("/work");
    first.kill();
    second.kill();
    us.wait_request("/work");
    daemon.wait_verdict("app/eu-1", Health::Down);
    daemon.wait_verdict("app/eu-2", Health::Down);
    first.restore();
    second.restore();
    let far: usize = clients.map(|client| client.join().unwrap()).into_iter().sum();
    eprintln!("the other region served {far} requests meanwhile");
}

#[test]
fn ipv6_clients_are_served_like_ipv4_ones() {
    let port = Port::reserve_at(Ipv6Addr::LOCALHOST.into()).expect(
        "a port of ::1: the tests need IPv6 on the loopback (sysctl net.ipv6.conf.lo.disable_ipv6=0)",
    );
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let mut pop = Pop::new().peer("router", &router).backend("eu", &app);
    pop.more = format!(
        r#"
[services.six]
listen = ["{}"]
protocol = "http"
  [[services.six.routes]]
  pool = "app"
"#,
        port.address
    );
    let _daemon = pop.start_announced(&router);
    assert_eq!(get(port.address, "/six").body, "eu-1 /six");
    let head = app.wait_request("/six").to_lowercase();
    assert!(head.contains("\r\nx-forwarded-for: ::1\r\n") && head.contains("for=\"[::1]\""), "{head}");
}

#[test]
fn a_fenced_route_answers_503_when_its_jurisdiction_is_down_and_no_byte_leaves_it() {
    let router = Router::polite();
    let (mut eu, us) = (App::healthy("eu-1"), App::healthy("us-1"));
    let mut pop = Pop::new().peer("router", &router).backend("us", &us).backend("eu", &eu);
    pop.routes = FENCED.to_owned();
    let daemon = pop.start_announced(&router);
    daemon.wait_verdict("app/us-1", Health::Up);
    assert_eq!(get(pop.web(), "/fenced/secret").body, "eu-1 /fenced/secret");

    let ask = |number: u32| {
        let answer = get(pop.web(), &format!("/fenced/secret-{number}"));
        assert!(matches!(answer.status, 502 | 503), "{answer:?}");
        assert!(!answer.body.contains("us-1"), "{answer:?}");
        answer
    };
    eu.kill();
    // Before the verdict the app is still a candidate, the only one, and it refuses; after it there is none.
    (0..20).for_each(|number| drop(ask(number)));
    daemon.wait_verdict("app/eu-1", Health::Down);
    let answer = ask(20);
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("EU"), "the fence is named: {answer:?}");
    assert!(answer.head.contains("Proxy-Status: eu1; error=destination_unavailable"), "{answer:?}");

    assert_eq!(get(pop.web(), "/free").body, "us-1 /free", "other routes may leave");
    us.wait_probes(3);
    assert!(!us.received("secret") && !us.received("/fenced"));

    eu.restore();
    daemon.wait_verdict("app/eu-1", Health::Up);
    assert_eq!(get(pop.web(), "/fenced/secret").status, 200);
}

#[test]
fn a_group_that_stays_is_announced_with_everything_down_and_the_pop_answers_itself() {
    let router = Router::polite();
    let mut eu = App::healthy("eu-1");
    let mut pop = Pop::new().peer("router", &router).backend("eu", &eu);
    pop.group = r#"
[announce.web]
prefixes = ["198.51.100.0/24", "2001:db8:e::/48"]
services = ["web"]
when-down = "stay"
vip = "none"
"#
    .to_owned();
    pop.routes = FENCED.to_owned();
    let daemon = pop.start_announced(&router);
    let before = router.updates();
    eu.kill();
    daemon.wait_verdict("app/eu-1", Health::Down);
    assert_eq!(get(pop.web(), "/fenced").status, 503);
    let status: Status = daemon.ask(paths::STATUS);
    assert_eq!(status.groups[0].state, ReachState::Announced);
    eu.restore();
    daemon.wait_verdict("app/eu-1", Health::Up);
    assert_eq!(router.updates(), before);
}

#[test]
fn bytes_are_relayed_to_the_nearest_app_and_never_out_of_the_fence() {
    let (mut eu, us) = (App::healthy("eu-1"), App::healthy("us-1"));
    let router = Router::polite();
    let raw = Port::reserve();
    let mut pop = Pop::new().peer("router", &router).backend("us", &us).backend("eu", &eu);
    pop.more = format!(
        r#"
[services.raw]
listen = ["{}"]
protocol = "tcp"
pool = "app"
residency = {{ allow = ["EU"] }}
"#,
        raw.address
    );
    let daemon = pop.start_announced(&router);
    daemon.wait_verdict("app/us-1", Health::Up);
    let asked = b"GET /raw HTTP/1.1\r\nHost: as-it-is\r\n\r\n";
    let mut client = Client::connect(raw.address);
    client.send(asked);
    assert_eq!(client.response().unwrap().body, "eu-1 /raw");
    assert_eq!(eu.wait_request("/raw").as_bytes(), asked, "not a byte is changed");

    eu.kill();
    daemon.wait_verdict("app/eu-1", Health::Down);
    assert_eq!(exchange(raw.address, asked).0, "", "nobody inside the fence: the connection ends");
    us.wait_probes(3);
    assert!(!us.received("/raw"));
}

#[test]
fn a_client_that_leaves_cancels_its_request_at_the_app() {
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let _daemon = pop.start_announced(&router);
    let mut client = Client::connect(pop.web());
    client.send(b"GET /stream HTTP/1.1\r\nHost: example.com\r\n\r\n");
    app.wait_request("/stream");
    drop(client);
    app.wait_stream_end();
    assert_eq!(get(pop.web(), "/").status, 200);
}

#[test]
fn more_clients_than_descriptors_move_no_route_and_service_comes_back_when_they_leave() {
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 128 && exec \"$0\" --config \"$1\"", env!("CARGO_BIN_EXE_proximad")]);
    command.arg(pop.write());
    let daemon = Daemon::launch(command, &pop.socket());
    daemon.wait_log("limit=128");
    router.wait_complete(0);
    let updates = router.updates();
    let mut early = Client::connect(pop.web());
    assert_eq!(early.get("/").unwrap().status, 200);

    let crowd: Vec<_> = (0..150).filter_map(|_| Client::try_connect(pop.web()).ok()).collect();
    daemon.wait_log("more clients than file descriptors");
    // A probe takes a new connection every eleventh time.
    app.wait_probes(12);
    assert_eq!(daemon.ask::<Status>(paths::STATUS).groups[0].state, ReachState::Announced);
    let shed = get(pop.metrics(), "/metrics").body;
    assert!(
        shed.contains("proxima_service_shed_connections_total{service=\"web\",reason=\"descriptors\"} "),
        "{shed}"
    );
    assert!(shed.contains("proxima_accept_errors_total 0"), "{shed}");

    assert_eq!(early.get("/").unwrap().status, 200, "who was there before is served on");
    drop(crowd);
    let deadline = Instant::now() + PATIENCE;
    while !Client::try_connect(pop.web())
        .and_then(|mut late| late.get("/"))
        .is_ok_and(|got| got.status == 200)
    {
        assert!(Instant::now() < deadline, "nobody is served although the crowd has left");
    }
    app.wait_probes(3);
    assert_eq!(router.updates(), updates);
    let peer: Peer = daemon.ask(&format!("{}/router", paths::PEERS));
    assert_eq!(peer.established_count, 1);
    daemon.wait_verdict("app/eu-1", Health::Up);
    let changes = daemon.wait_events("all events", |events| {
        let changes = events.iter().filter(|event| {
            matches!(event.kind, EventKind::BackendVerdict { .. } | EventKind::GroupTransition { .. })
        });
        Some(changes.map(|event| event.kind.to_string()).collect::<Vec<_>>())
    });
    assert_eq!(changes.len(), 2, "up and announced, once: {changes:?}");
}

#[test]
fn a_service_says_where_it_listens() {
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let daemon = pop.start();
    let bound = daemon.wait_event("a listener", |event| match &event.kind {
        EventKind::ListenerBound { service, address } => Some((service.to_string(), *address)),
        _ => None,
    });
    assert_eq!(bound, ("web".to_owned(), pop.web()));
}
