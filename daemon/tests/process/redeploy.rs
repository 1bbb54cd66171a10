//! Services, routes, pools and backends that a reload changes: who notices, and that nobody is failed.

use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use proxima_api::{Backends, ErrorBody, EventKind, Reloaded, Reloads, Status, paths};
use proxima_types::{Health, ReachState};

use crate::support::{App, Client, Daemon, Load, Pop, Port, Router, get, message};

fn reload(daemon: &Daemon) -> Reloaded {
    daemon.post(paths::RELOAD, "")
}

fn refused(daemon: &Daemon) -> ErrorBody {
    let (status, body) = daemon.refused("POST", paths::RELOAD, "");
    assert_eq!(status, 422, "{body:?}");
    body
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

/// What a router has heard beside keepalives. It asks for everything again (RFC 2918), so that nothing is still on its way: the
/// answer to that, one announcement, is the last it has heard.
fn heard(router: &Router) -> Vec<String> {
    let before = router.heard().len();
    router.say(&message(5, &[0, 1, 0, 1]));
    router.wait_after(before, "announce 203.0.113.0/24");
    let lines = router.heard().into_iter().map(|heard| heard.line);
    lines.filter(|line| line != "keepalive").collect()
}

/// A backend in the file.
fn backend(app: &App, weight: u32) -> String {
    let (name, address) = (app.name, app.address());
    format!(
        "[[pools.app.backends]]\nname = \"{name}\"\nregion = \"eu\"\naddress = \"{address}\"\nweight = {weight}\n"
    )
}

/// The file of `pop` with other backends.
fn write(pop: &Pop, path: &Path, backends: &str) {
    let text = pop.text();
    let at = text.find("[data-plane]").unwrap();
    fs::write(path, format!("{}{backends}{}", &text[..at], &text[at..])).unwrap();
}

#[test]
fn routes_and_deadlines_are_new_for_the_next_request_and_no_route_is_announced_anew() {
    let (router, app) = (Router::polite(), App::healthy("eu-1"));
    let mut pop = Pop::new().peer("router", &router).backend("eu", &app);
    let path = pop.write();
    let daemon = pop.start_announced(&router);
    let before = heard(&router);
    let mut client = Client::connect(pop.web());
    assert_eq!(client.get("/a").unwrap().status, 200);
    pop.routes = "[[services.web.routes]]\npool = \"app\"\nmatch = { path-prefix = \"/b\" }\n".to_owned();
    fs::write(&path, pop.text()).unwrap();
    let reloaded = reload(&daemon);
    assert_eq!((reloaded.services.changed, reloaded.pools), (names(&["web"]), Reloads::default()));
    assert_eq!(client.get("/a").unwrap().status, 404);
    assert_eq!(client.get("/b").unwrap().status, 200);
    let after = heard(&router);
    assert_eq!(after[..before.len()], before);
    assert_eq!(after.len(), before.len() + 1, "the answer to its question, and nothing else: {after:?}");
}

#[test]
fn a_new_backend_gets_nothing_and_takes_no_score_down_before_its_first_verdict() {
    let (router, known, new) = (Router::polite(), App::healthy("eu-1"), App::undecided("eu-2"));
    let mut pop = Pop::new().peer("router", &router);
    // No first verdict comes of itself while the test runs.
    pop.probe = r#"{ http = "/healthz", interval = "60s", timeout = "60s", rise = 1, fall = 10 }"#.to_owned();
    let path = pop.write();
    write(&pop, &path, &backend(&known, 100));
    let daemon = Daemon::start(&path, &pop.socket());
    router.wait_complete(0);
    let before = heard(&router);
    write(&pop, &path, &(backend(&known, 100) + &backend(&new, 900)));
    let reloaded = reload(&daemon);
    assert_eq!(reloaded.backends, Reloads { added: names(&["app/eu-2"]), ..Reloads::default() });
    let health = |id: &str| {
        let Backends { backends } = daemon.ask(paths::BACKENDS);
        backends.into_iter().find(|backend| backend.id.as_str() == id).unwrap().health
    };
    assert_eq!((health("app/eu-1"), health("app/eu-2")), (Health::Up, Health::Unknown));
    for _ in 0..20 {
        assert_eq!(get(pop.web(), "/").body, "eu-1 /");
    }
    assert_eq!(heard(&router).len(), before.len() + 1, "a tenth of the weight is up, of what is known all");

    new.answer_probes();
    daemon.wait_verdict("app/eu-2", Health::Up);
    while get(pop.web(), "/").body != "eu-2 /" {}
    assert_eq!(heard(&router).len(), before.len() + 2);
}

#[test]
fn a_new_backend_that_is_probed_through_the_workers_is_so_before_it_is_taken_over() {
    let (router, known, new) = (Router::polite(), App::healthy("eu-1"), App::healthy("eu-2"));
    let mut pop = Pop::new().peer("router", &router);
    pop.probe = r#"{ http = "/healthz", via = "service", interval = "200ms", timeout = "200ms" }"#.to_owned();
    let path = pop.write();
    write(&pop, &path, &backend(&known, 100));
    let daemon = Daemon::start(&path, &pop.socket());
    router.wait_complete(0);
    for backends in [backend(&new, 100), backend(&known, 100).replace("eu-1", "eu-2")] {
        write(&pop, &path, &backends);
        reload(&daemon);
        let Backends { backends } = daemon.ask(paths::BACKENDS);
        let health: Vec<_> = backends.iter().map(|it| (it.id.to_string(), it.health)).collect();
        assert_eq!(health, [("app/eu-2".to_owned(), Health::Up)]);
    }
    assert!(new.wait_request("/healthz").to_lowercase().contains("\r\nvia: "), "it came through a worker");
    assert_eq!(get(pop.web(), "/").body, "eu-1 /", "the name is new, and the app is not");
}

#[test]
fn a_backend_that_goes_is_forgotten_with_its_metrics_and_one_that_stays_goes_on_counting() {
    let (router, stays, goes) = (Router::polite(), App::healthy("eu-1"), App::healthy("eu-2"));
    let pop = Pop::new().peer("router", &router);
    let path = pop.write();
    write(&pop, &path, &(backend(&stays, 100) + &backend(&goes, 100)));
    let daemon = Daemon::start(&path, &pop.socket());
    router.wait_complete(0);
    for app in [&stays, &goes] {
        daemon.wait_verdict(&format!("app/{}", app.name), Health::Up);
        while get(pop.web(), "/").body != format!("{} /", app.name) {}
    }
    let of = |id: &str| -> Vec<String> {
        let text = get(pop.metrics(), "/metrics").body;
        let label = format!("backend=\"{id}\"");
        text.lines().filter(|line| line.contains(&label)).map(str::to_owned).collect()
    };
    let attempts = |id: &str| -> u64 {
        let line = of(id).into_iter().find(|line| line.starts_with("proxima_backend_attempts_total"));
        line.expect("a counter").rsplit(' ').next().unwrap().parse().unwrap()
    };
    let before = attempts("app/eu-1");
    assert!(of("app/eu-2").len() > 3);
    write(&pop, &path, &backend(&stays, 50));
    let reloaded = reload(&daemon);
    let expected =
        Reloads { removed: names(&["app/eu-2"]), changed: names(&["app/eu-1"]), ..Reloads::default() };
    assert_eq!((reloaded.backends, reloaded.pools.changed), (expected, names(&["app"])));
    for _ in 0..3 {
        assert_eq!(get(pop.web(), "/").body, "eu-1 /");
    }
    assert!(attempts("app/eu-1") >= before + 3);
    // What nobody sets any more is left out after a second.
    while !of("app/eu-2").is_empty() {}
    let verdicts = |events: &[proxima_api::Event]| {
        events.iter().filter(|event| matches!(event.kind, EventKind::BackendVerdict { .. })).count()
    };
    assert_eq!(daemon.wait_events("verdicts", |events| Some(verdicts(events))), 2, "it was up all the time");
    // Added again, it begins anew.
    write(&pop, &path, &(backend(&stays, 50) + &backend(&goes, 100)));
    assert_eq!(reload(&daemon).backends.added, ["app/eu-2"]);
    while get(pop.web(), "/").body != "eu-2 /" {}
    assert!(attempts("app/eu-2") < 50);
}

#[test]
fn backends_that_are_all_down_are_refused_where_nothing_would_be_announced_and_changed_otherwise() {
    let (router, app, dead) = (Router::polite(), App::healthy("eu-1"), Port::reserve());
    let pop = Pop::new().peer("router", &router);
    let path = pop.write();
    write(&pop, &path, &backend(&app, 100));
    let daemon = Daemon::start(&path, &pop.socket());
    router.wait_complete(0);
    let alive = app.address().to_string();
    write(&pop, &path, &backend(&app, 100).replace(&alive, &dead.address.to_string()));
    let body = refused(&daemon);
    assert!(body.error.contains("nothing would be announced any more"), "{body:?}");
    assert_eq!(get(pop.web(), "/").body, "eu-1 /");
    let forced: Reloaded = daemon.post(paths::RELOAD, r#"{"force": true}"#);
    assert_eq!(forced.backends.changed, ["app/eu-1"]);
    daemon.wait_transition("web", ReachState::Withdrawn, 0);
    assert_eq!(get(pop.web(), "/").status, 503);
    write(&pop, &path, &backend(&app, 100));
    reload(&daemon);
    assert_eq!(get(pop.web(), "/").body, "eu-1 /", "it was probed before it was taken over");
}

#[test]
fn probes_that_change_leave_the_verdict_as_it_is_until_they_decide_otherwise() {
    let (router, app) = (Router::polite(), App::healthy("eu-1"));
    let mut pop = Pop::new().peer("router", &router).backend("eu", &app);
    let path = pop.write();
    let daemon = pop.start_announced(&router);
    let before = heard(&router);
    pop.probe =
        r#"{ http = "/ready", interval = "100ms", timeout = "100ms", rise = 3, fall = 10 }"#.to_owned();
    fs::write(&path, pop.text()).unwrap();
    let reloaded = reload(&daemon);
    assert_eq!((reloaded.pools.changed, reloaded.backends), (names(&["app"]), Reloads::default()));
    app.wait_request("/ready");
    assert_eq!(get(pop.web(), "/").status, 200);
    assert_eq!(heard(&router).len(), before.len() + 1);
    pop.probe =
        r#"{ http = "/ready", expect = 204, interval = "50ms", timeout = "50ms", fall = 2 }"#.to_owned();
    fs::write(&path, pop.text()).unwrap();
    reload(&daemon);
    daemon.wait_verdict("app/eu-1", Health::Down);
}

#[test]
fn listeners_come_and_go_and_one_that_cannot_be_had_refuses_the_file() {
    let (router, app) = (Router::polite(), App::healthy("eu-1"));
    let mut pop = Pop::new().peer("router", &router).backend("eu", &app);
    let path = pop.write();
    let daemon = pop.start_announced(&router);
    let mut kept = Client::connect(pop.web());
    assert_eq!(kept.get("/").unwrap().status, 200);
    let extra = Port::reserve();
    let service = |address: SocketAddr| {
        format!(
            "[services.extra]\nlisten = [\"{address}\"]\nprotocol = \"http\"\n[[services.extra.routes]]\npool = \"app\"\n"
        )
    };
    pop.more = service(extra.address);
    fs::write(&path, pop.text()).unwrap();
    assert_eq!(reload(&daemon).services.added, ["extra"]);
    let address = extra.address;
    daemon.wait_event("the listener", |event| match &event.kind {
        EventKind::ListenerBound { service, address: at } => {
            (service.as_str() == "extra" && *at == address).then_some(())
        }
        _ => None,
    });
    let mut leaves = Client::connect(extra.address);
    assert_eq!(leaves.get("/").unwrap().body, "eu-1 /");
    assert_eq!(daemon.ask::<Status>(paths::STATUS).services.len(), 2);

    // Somebody else is there: nothing of the file is applied.
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    pop.more = service(taken.local_addr().unwrap());
    pop.routes = "[[services.web.routes]]\npool = \"app\"\nmatch = { path-prefix = \"/b\" }\n".to_owned();
    fs::write(&path, pop.text()).unwrap();
    let body = refused(&daemon);
    assert!(body.error.contains("service `extra`") && body.error.contains("is taken"), "{body:?}");
    assert_eq!((leaves.get("/").unwrap().status, kept.get("/").unwrap().status), (200, 200));

    pop.more = String::new();
    fs::write(&path, pop.text()).unwrap();
    assert_eq!(reload(&daemon).services.removed, ["extra"]);
    assert!(leaves.is_closed());
    assert!(TcpStream::connect(extra.address).is_err());
    daemon.wait_event("the end of the listener", |event| match &event.kind {
        EventKind::ListenerClosed { service, .. } => (service.as_str() == "extra").then_some(()),
        _ => None,
    });
    assert_eq!((kept.get("/b").unwrap().status, kept.get("/").unwrap().status), (200, 404));
}

/// How many reloads the test below does; `PROXIMA_RELOADS` has another number.
const RELOADS: usize = 20;

#[test]
fn no_request_fails_and_no_update_is_sent_while_certificates_routes_and_pools_are_reloaded() {
    let reloads = env::var("PROXIMA_RELOADS").map_or(RELOADS, |count| count.parse().unwrap());
    let router = Router::polite();
    let apps = ["eu-1", "eu-2", "eu-3"].map(App::healthy);
    let mut pop = Pop::new().peer("router", &router);
    let directory = pop.directory().to_owned();
    let renew = || {
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
        fs::write(directory.join("web.pem"), cert.pem()).unwrap();
        fs::write(directory.join("web.key"), signing_key.serialize_pem()).unwrap();
        fs::set_permissions(directory.join("web.key"), fs::Permissions::from_mode(0o600)).unwrap();
    };
    renew();
    let place = directory.display();
    pop.protocol = format!(
        "protocol = \"https\"\ntls = {{ certificate = \"{place}/web.pem\", key = \"{place}/web.key\" }}"
    );
    let path = pop.write();
    write(&pop, &path, &apps.each_ref().map(|app| backend(app, 100)).concat());
    let daemon = Daemon::start(&path, &pop.socket());
    router.wait_complete(0);
    let before = heard(&router);
    let load = Load::begin(pop.web(), NAME);
    load.wait(20);
    for number in 0..reloads {
        renew();
        let total = 10 + number;
        pop.routes = format!(
            "[[services.web.routes]]\nmatch = {{ path-prefix = \"/{number}\" }}\npool = \"app\"\n\
             [[services.web.routes]]\npool = \"app\"\ntimeouts = {{ total = \"{total}s\" }}\n"
        );
        // One of the three is away, another has a new name, the weights are others, or nothing is there that was.
        let [one, other, third] = [0, 1, 2].map(|turn| &apps[(number + turn) % 3]);
        let moved = backend(other, 70).replace(other.name, "eu-9");
        let backends = match number % 4 {
            0 => backend(one, 30) + &backend(other, 70),
            1 => backend(one, 10) + &moved,
            2 => moved + &backend(third, 50),
            _ => backend(one, 100).replace(one.name, "eu-8"),
        };
        write(&pop, &path, &backends);
        let reloaded = reload(&daemon);
        assert_eq!((reloaded.tls.len(), reloaded.services.changed), (1, names(&["web"])), "{number}");
        assert!(!reloaded.backends.is_empty(), "{number}");
        load.wait(5);
    }
    let (answered, failures) = load.end();
    println!(
        "{reloads} reloads, answered over HTTP/1.1, HTTP/2, HTTP/3: {answered:?}, failed: {}",
        failures.len()
    );
    assert_eq!(failures, [""; 0], "of {answered:?}");
    let after = heard(&router);
    assert_eq!(after[..before.len()], before);
    assert_eq!(after.len(), before.len() + 1, "the answer to its question, and nothing else: {after:?}");
    assert!(apps.iter().all(|app| !app.paths().is_empty()), "each had its share");
}

const NAME: &str = "web.example";
