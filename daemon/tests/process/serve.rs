//! Requests: nearest first, inside the fence.

use proxima_api::{EventKind, Status, paths};
use proxima_types::{Health, ReachState};

use crate::support::{App, Pop, Port, Router, exchange, get};

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
    let mut client = crate::support::Client::connect(raw.address);
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
