//! The configuration read again: what changes, what is refused, and who notices.

use std::{fs, io::Read, net::TcpListener, path::Path, time::Instant};

use nix::sys::signal::Signal;
use proxima_api::{ErrorBody, EventKind, Peer, Peers, Reloaded, Reloads, SessionState, paths};

use crate::support::{App, Client, Daemon, PATIENCE, Pop, Port, Router, get, proxima};

/// The file of `pop` with the first `from` replaced.
fn rewrite(pop: &Pop, path: &Path, from: &str, to: &str) {
    let text = pop.text();
    assert!(text.contains(from), "`{from}` is not in the file");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

fn reload(daemon: &Daemon) -> Reloaded {
    daemon.post(paths::RELOAD, "")
}

fn changed(names: &[&str]) -> Reloads {
    Reloads { changed: names.iter().map(ToString::to_string).collect(), ..Reloads::default() }
}

fn refused(daemon: &Daemon) -> ErrorBody {
    let (status, body) = daemon.refused("POST", paths::RELOAD, "");
    assert_eq!(status, 422, "{body:?}");
    daemon.wait_event("the refusal", |event| match &event.kind {
        EventKind::ReloadRefused { error } => (*error == body.error).then_some(()),
        _ => None,
    });
    body
}

/// What a router heard beside keepalives.
fn said(router: &Router) -> Vec<String> {
    let lines = router.heard().into_iter().map(|heard| heard.line);
    lines.filter(|line| line != "keepalive").collect()
}

#[test]
fn a_peer_that_changed_begins_anew_and_the_others_session_is_not_touched() {
    let (one, other) = (Router::polite(), Router::polite());
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("one", &one).peer("other", &other).backend("eu", &app);
    let path = pop.write();
    let daemon = pop.start_announced(&one);
    other.wait_complete(0);
    let before = said(&other);

    rewrite(&pop, &path, "name = \"one\"", "name = \"one\"\nhold-time = \"30s\"");
    daemon.signal(Signal::SIGHUP);
    // RFC 4486 §4: other configuration change.
    assert!(one.wait_on(0, "notification").line.starts_with("notification 6/6"));
    assert_eq!(one.wait_on(1, "open").line, "open as 64512 hold 30");
    one.wait_complete(1);
    daemon.wait_event("the reload", |event| match &event.kind {
        EventKind::Reloaded { changes } => (changes.peers == changed(&["one"])).then_some(()),
        _ => None,
    });
    // Whoever had been sent something would have heard it before this.
    other.say(&crate::support::message(5, &[0, 1, 0, 1]));
    other.wait_after(before.len(), "announce 203.0.113.0/24");
    let after = said(&other);
    assert_eq!(after[..before.len()], before);
    assert_eq!(
        after[before.len()..],
        ["announce 203.0.113.0/24 path 64512 via 127.0.0.1 communities 64512:100"]
    );
    let peer: Peer = daemon.ask(&format!("{}/other", paths::PEERS));
    assert_eq!((peer.state, peer.flaps, peer.established_count), (SessionState::Established, 0, 1));
    assert_eq!(get(pop.web(), "/").status, 200);
}

#[test]
fn what_can_take_effect_on_a_session_does_not_end_it() {
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let path = pop.write();
    let daemon = pop.start_announced(&router);
    rewrite(
        &pop,
        &path,
        "name = \"router\"",
        "name = \"router\"\nmax-prefixes = 7\ntcp-user-timeout = \"5s\"",
    );
    assert_eq!(reload(&daemon).peers, changed(&["router"]));
    let peer: Peer = daemon.ask(&format!("{}/router", paths::PEERS));
    assert_eq!((peer.state, peer.flaps), (SessionState::Established, 0));
    assert!(peer.prefixes.iter().all(|count| count.limit == Some(7)), "{:?}", peer.prefixes);
    assert!(reload(&daemon).is_empty(), "the same file again");
    assert!(router.heard().iter().all(|heard| heard.connection == 0));
}

#[test]
fn a_default_that_changes_is_a_change_of_each_peer_without_a_setting_of_its_own() {
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let path = pop.write();
    let daemon = pop.start_announced(&router);
    rewrite(&pop, &path, "hold-time = \"9s\"", "hold-time = \"12s\"");
    assert_eq!(reload(&daemon).peers, changed(&["router"]));
    assert_eq!(router.wait_on(1, "open").line, "open as 64512 hold 12");
}

#[test]
fn peers_come_and_go_with_the_file() {
    let (one, other) = (Router::polite(), Router::polite());
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("one", &one).backend("eu", &app);
    let path = pop.write();
    let daemon = pop.start_announced(&one);
    let names = || {
        let Peers { peers } = daemon.ask(paths::PEERS);
        peers.into_iter().map(|peer| peer.name.to_string()).collect::<Vec<_>>()
    };

    let both = pop.peer("other", &other);
    fs::write(&path, both.text()).unwrap();
    let come = Reloads { added: vec!["other".to_owned()], ..Reloads::default() };
    assert_eq!(reload(&daemon).peers, come);
    other.wait_complete(0);
    assert_eq!(names(), ["one", "other"]);

    let alone = both.text().replacen("[[bgp.peers]]\nname = \"one\"", "[[bgp.peers]]\nname = \"uno\"", 1);
    fs::write(&path, alone).unwrap();
    let renamed = reload(&daemon).peers;
    assert_eq!((renamed.added, renamed.removed), (vec!["uno".to_owned()], vec!["one".to_owned()]));
    // RFC 4486 §4: peer de-configured. What it held is withdrawn before.
    let farewell = one.wait_on(0, "notification");
    assert!(farewell.line.starts_with("notification 6/3"), "{}", farewell.line);
    one.wait_complete(1);
    assert_eq!(names().len(), 2);
    assert!(other.heard().iter().all(|heard| heard.connection == 0));
}

#[test]
fn two_peers_that_exchange_their_addresses_are_both_taken_over() {
    let (one, other) = (Router::polite(), Router::polite());
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("one", &one).peer("other", &other).backend("eu", &app);
    let path = pop.write();
    let daemon = pop.start_announced(&one);
    other.wait_complete(0);
    let text =
        pop.text().replace("name = \"one\"", "name = \"x\"").replace("name = \"other\"", "name = \"one\"");
    fs::write(&path, text.replace("name = \"x\"", "name = \"other\"")).unwrap();
    assert_eq!(reload(&daemon).peers, changed(&["one", "other"]));
    one.wait_complete(1);
    other.wait_complete(1);
    let peer: Peer = daemon.ask(&format!("{}/one", paths::PEERS));
    assert_eq!(peer.address, Some(other.address.ip()));
}

#[test]
fn a_bad_file_is_refused_whole_with_every_error_and_the_last_good_one_stays() {
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let path = pop.write();
    let daemon = pop.start_announced(&router);
    let broken = pop.text().replacen("remote-as = 65001", "remote-as = 65002\nhold-tme = \"9s\"", 1);
    fs::write(&path, broken.replacen("router-id = \"192.0.2.11\"", "router-id = \"0.0.0.0\"", 1)).unwrap();
    let body = refused(&daemon);
    assert!(body.error.contains("proxima.toml:") && body.error.ends_with("and 1 more"), "{body:?}");
    assert!(body.details[0].contains("`0.0.0.0` can't be a BGP identifier"), "{body:?}");
    assert!(body.details[1].contains("did you mean `hold-time`?"), "{body:?}");
    let told = proxima(&pop.socket(), &["reload"]);
    let stderr = String::from_utf8(told.stderr).unwrap();
    assert!(told.status.code() == Some(1) && stderr.contains("did you mean `hold-time`?"), "{stderr}");

    fs::remove_file(&path).unwrap();
    assert!(refused(&daemon).error.contains("can't read"));
    let peer: Peer = daemon.ask(&format!("{}/router", paths::PEERS));
    assert_eq!((peer.state, peer.flaps, peer.remote_as.0), (SessionState::Established, 0, 65001));
    assert_eq!(get(pop.web(), "/").status, 200);
}

#[test]
fn what_needs_a_restart_is_named_and_nothing_of_the_file_is_applied() {
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let path = pop.write();
    let daemon = pop.start_announced(&router);
    for (from, to, named) in [
        ("local-as = 64512", "local-as = 64513", "bgp.local-as"),
        ("jurisdiction = \"US\"", "jurisdiction = \"CA\"", "regions.us.jurisdiction"),
        ("workers = 2", "workers = 1", "data-plane"),
        ("router-id = \"192.0.2.11\"", "router-id = \"192.0.2.12\"", "pop"),
        ("hold-time = \"9s\"", "listen = [\"127.0.0.1:1790\"]\nhold-time = \"9s\"", "bgp.listen"),
    ] {
        let text = pop.text().replacen(from, to, 1).replacen("remote-as = 65001", "remote-as = 65002", 1);
        assert_ne!(text, pop.text().replacen("remote-as = 65001", "remote-as = 65002", 1), "{from}");
        fs::write(&path, text).unwrap();
        let body = refused(&daemon);
        assert!(
            body.error.contains("a restart is needed") && body.error.contains(named),
            "{named}: {body:?}"
        );
        assert!(body.hint.unwrap().contains("systemctl restart"));
    }
    let peer: Peer = daemon.ask(&format!("{}/router", paths::PEERS));
    assert_eq!((peer.state, peer.flaps, peer.remote_as.0), (SessionState::Established, 0, 65001));
}

#[test]
fn an_emptied_list_of_peers_is_refused_unless_forced() {
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let mut pop = Pop::new().peer("router", &router).backend("eu", &app);
    pop.group = String::new();
    let path = pop.write();
    let daemon = pop.start();
    daemon.wait_established("router");
    let mut empty = pop.text();
    let begin = empty.find("[[bgp.peers]]").unwrap();
    let end = empty.find("[services.web]").unwrap();
    empty.replace_range(begin..end, "");
    fs::write(&path, empty).unwrap();
    assert!(refused(&daemon).error.ends_with("bgp.peers"));
    let peer: Peer = daemon.ask(&format!("{}/router", paths::PEERS));
    assert_eq!(peer.state, SessionState::Established);
    let reloaded: Reloaded = daemon.post(paths::RELOAD, r#"{"force": true}"#);
    assert_eq!(reloaded.peers.removed, ["router"]);
    assert!(router.wait_on(0, "notification").line.starts_with("notification 6/3"));
}

#[test]
fn keys_in_files_are_read_again_and_a_missing_one_refuses_the_file() {
    let (router, nobody) = (Router::polite(), Port::reserve());
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("router", &router).peer_at("signed", nobody.address).backend("eu", &app);
    let key = pop.directory().join("signed.md5");
    fs::write(&key, "open-sesame\n").unwrap();
    let path = pop.write();
    let setting = format!("name = \"signed\"\npassword-file = \"{}\"", key.display());
    rewrite(&pop, &path, "name = \"signed\"", &setting);
    let daemon = Daemon::start(&path, &pop.socket());
    router.wait_complete(0);
    daemon.wait_log("everyone on this host can read the TCP MD5 password");
    assert!(reload(&daemon).is_empty());
    fs::write(&key, "another\n").unwrap();
    assert_eq!(reload(&daemon).peers, changed(&["signed"]));
    fs::remove_file(&key).unwrap();
    let body = refused(&daemon);
    assert!(
        body.error.contains("can't read the TCP MD5 password in") && !body.error.contains("another"),
        "{body:?}"
    );
    assert!(router.heard().iter().all(|heard| heard.connection == 0));
    assert!(!daemon.log().contains("sesame") && !daemon.log().contains("another"), "{}", daemon.log());
}

#[test]
fn a_peer_that_the_file_shuts_down_goes_down_and_comes_up_with_it() {
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let path = pop.write();
    let daemon = pop.start_announced(&router);
    rewrite(&pop, &path, "name = \"router\"", "name = \"router\"\nshutdown = \"new line card\"");
    assert_eq!(reload(&daemon).peers, changed(&["router"]));
    let farewell = router.wait_on(0, "notification");
    assert_eq!(farewell.line, "notification 6/2 \\rnew line card");
    fs::write(&path, pop.text()).unwrap();
    reload(&daemon);
    router.wait_complete(1);
}

#[test]
fn stations_come_and_go_and_one_that_stays_the_same_is_not_told_anew() {
    let (router, app) = (Router::polite(), App::healthy("eu-1"));
    let mut pop = Pop::new().peer("router", &router).backend("eu", &app);
    let (first, second) =
        (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let station = |name: &str, listener: &TcpListener| {
        let address = listener.local_addr().unwrap();
        format!("[[bgp.bmp]]\nname = \"{name}\"\naddress = \"{address}\"\n")
    };
    pop.more = station("first", &first);
    let path = pop.write();
    let daemon = pop.start_announced(&router);
    let (mut told, _) = first.accept().unwrap();
    // RFC 7854 §4.1: version 3; §4.3: Initiation.
    let mut header = [0; 6];
    told.read_exact(&mut header).unwrap();
    assert_eq!((header[0], header[5]), (3, 4));

    pop.more = station("first", &first) + &station("second", &second);
    fs::write(&path, pop.text()).unwrap();
    assert_eq!(reload(&daemon).bmp.added, ["second"]);
    let (mut new, _) = second.accept().unwrap();
    new.read_exact(&mut header).unwrap();
    assert_eq!((header[0], header[5]), (3, 4));

    pop.more = station("first", &first)
        + &format!("[bgp.mrt]\ndirectory = \"{}\"\ninterval = \"1s\"\n", pop.directory().display());
    fs::write(&path, pop.text()).unwrap();
    let reloaded = reload(&daemon);
    assert_eq!(
        (reloaded.bmp.removed, reloaded.other),
        (vec!["second".to_owned()], vec!["bgp.mrt".to_owned()])
    );
    // It is told that this is the end (§4.5), and the other one goes on.
    let mut rest = Vec::new();
    new.read_to_end(&mut rest).unwrap();
    let mut last = rest.as_slice();
    let mut kinds = vec![];
    last = &last[usize::try_from(u32::from_be_bytes(header[1..5].try_into().unwrap())).unwrap() - 6..];
    while let [3, a, b, c, d, kind, ..] = *last {
        kinds.push(kind);
        last = &last[usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap()..];
    }
    assert_eq!(kinds.last(), Some(&5), "{kinds:?}");
    told.set_nonblocking(true).unwrap();
    let mut more = [0; 4096];
    loop {
        match told.read(&mut more) {
            Ok(0) => panic!("the first station was left"),
            Ok(_) => {}
            Err(error) => break assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
    }

    let begun = Instant::now();
    let dump = loop {
        let found = fs::read_dir(pop.directory()).unwrap().find_map(|entry| {
            let path = entry.unwrap().path();
            path.extension().is_some_and(|extension| extension == "mrt").then_some(path)
        });
        if let Some(found) = found {
            break found;
        }
        assert!(begun.elapsed() < PATIENCE, "no dump");
        std::thread::yield_now();
    };
    let shown = proxima(&pop.socket(), &["bgp", "dump", dump.to_str().unwrap()]);
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.status.success() && text.contains("table of 192.0.2.11"), "{text}");
}

#[test]
fn the_level_of_the_log_changes_while_it_runs() {
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let mut pop = Pop::new().peer("router", &router).backend("eu", &app);
    let path = pop.write();
    let daemon = pop.start_announced(&router);
    pop.more = "[log]\nlevel = \"error\"\n".to_owned();
    fs::write(&path, pop.text()).unwrap();
    assert_eq!(reload(&daemon).other, ["log.level"]);
    daemon.post::<serde_json::Value>(paths::DRAIN, r#"{"reason": "unheard"}"#);
    pop.more = "[log]\nlevel = \"info\"\n".to_owned();
    fs::write(&path, pop.text()).unwrap();
    reload(&daemon);
    daemon.post::<serde_json::Value>(paths::UNDRAIN, "");
    daemon.wait_log("undrained");
    assert!(!daemon.log().contains("unheard"), "{}", daemon.log());
}

#[test]
fn clients_are_held_to_a_new_limit_from_their_next_connection_on() {
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let mut pop = Pop::new().peer("router", &router).backend("eu", &app);
    let path = pop.write();
    let daemon = pop.start_announced(&router);
    let before = said(&router);
    let mut early = Client::connect(pop.web());
    assert_eq!(early.get("/").unwrap().status, 200);
    pop.more = "[limits]\nconnections-per-ip = { most = 1 }\n".to_owned();
    fs::write(&path, pop.text()).unwrap();
    assert_eq!(reload(&daemon).other, ["limits"]);
    let mut counted = Client::connect(pop.web());
    assert_eq!(counted.get("/").unwrap().status, 200);
    assert!(Client::try_connect(pop.web()).and_then(|mut client| client.get("/")).is_err());
    let counter = "proxima_service_shed_connections_total{service=\"web\",reason=\"per-ip\"} 1";
    let metrics = get(pop.metrics(), "/metrics").body;
    assert!(metrics.contains(counter), "{metrics}");
    assert_eq!((early.get("/").unwrap().status, said(&router)), (200, before));
}

#[test]
fn the_access_log_is_turned_on_and_off_and_opened_anew_after_a_rotation() {
    let router = Router::polite();
    let app = App::healthy("eu-1");
    let mut pop = Pop::new().peer("router", &router).backend("eu", &app);
    let path = pop.write();
    let daemon = pop.start_announced(&router);
    let mut client = Client::connect(pop.web());
    assert_eq!(client.get("/before").unwrap().status, 200);

    let log = pop.directory().join("access.log");
    pop.more = format!("[access-log]\nto = \"{}\"\n", log.display());
    fs::write(&path, pop.text()).unwrap();
    assert_eq!(reload(&daemon).other, ["access-log"]);
    assert_eq!(client.get("/first?token=secret").unwrap().status, 200);
    let line = wait_line(&log, "/first");
    assert!(line.contains(r#""end":"done""#) && !line.contains("secret"), "{line}");

    let rotated = pop.directory().join("access.log.1");
    fs::rename(&log, &rotated).unwrap();
    daemon.signal(Signal::SIGHUP);
    // It is there before anything is written.
    wait_for(|| log.exists());
    assert_eq!(client.get("/second").unwrap().status, 200);
    wait_line(&log, "/second");
    assert!(!fs::read_to_string(&rotated).unwrap().contains("/second"));

    pop.more = "[access-log]\nto = \"/proc/nowhere/access.log\"\n".to_owned();
    fs::write(&path, pop.text()).unwrap();
    assert!(refused(&daemon).error.starts_with("access log: can't open /proc/nowhere/access.log: "));
    assert_eq!(client.get("/third").unwrap().status, 200);
    wait_line(&log, "/third");

    pop.more = String::new();
    fs::write(&path, pop.text()).unwrap();
    assert_eq!(reload(&daemon).other, ["access-log"]);
    assert_eq!(client.get("/after").unwrap().status, 200);
    drop(daemon);
    let told = fs::read_to_string(&log).unwrap();
    assert!(!told.contains("/after") && !told.contains("/healthz"), "{told}");
}

fn wait_for(holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "it did not happen");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// The line of the access log that has `text`, when it is there.
fn wait_line(log: &Path, text: &str) -> String {
    let find = || fs::read_to_string(log).ok()?.lines().find(|line| line.contains(text)).map(str::to_owned);
    wait_for(|| find().is_some());
    find().unwrap()
}
