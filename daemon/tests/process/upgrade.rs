//! Another process takes over, and nobody notices; or it can't, and nobody notices either.

use std::{env, fs, io::Write, os::unix::fs::PermissionsExt, path::Path, process::Command, thread};

use nix::sys::signal::Signal;
use proxima_api::{
    Backends, EventKind, GroupReason, OrderVerb, Peers, SessionState, Status, Upgraded, paths,
};
use proxima_types::{Health, ReachState};

use crate::support::{App, Client, Daemon, Fails, Load, Mood, Pop, Router, get, proxima};

/// What a router has heard beside keepalives.
fn heard(router: &Router) -> Vec<String> {
    let lines = router.heard().into_iter().map(|heard| heard.line);
    lines.filter(|line| line != "keepalive").collect()
}

fn group(daemon: &Daemon) -> proxima_api::Group {
    daemon.ask::<Status>(paths::STATUS).groups.remove(0)
}

/// A program that does this in the daemon's place, when it is started to succeed another: in that of the successor's parent.
fn program(directory: &Path, instead: &str) -> std::path::PathBuf {
    let path = directory.join("proximad");
    let daemon = env!("CARGO_BIN_EXE_proximad");
    let script = format!(
        "#!/bin/bash\nif [ -n \"$PROXIMA_UPGRADE_DETACH\" ]; then {instead}; fi\nexec -a \"$0\" {daemon} \"$@\"\n"
    );
    // A file that is being executed can't be written.
    let new = directory.join("proximad.new");
    fs::write(&new, script).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&new, &path).unwrap();
    path
}

/// The same in that of the successor itself.
fn as_successor(instead: &str) -> String {
    // What is left to itself has no standard input otherwise.
    format!("exec 3<&0; ({instead}) <&3 3<&- & exit 0")
}

#[test]
fn peers_hear_nothing_but_keepalives_and_the_new_process_announces_on_their_connections() {
    let (router, mut app) = (Router::polite(), App::healthy("eu-1"));
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let mut daemon = pop.start_announced(&router);
    let (before, announced) = (heard(&router), group(&daemon));
    let first = daemon.pid();
    let Upgraded { pid, from_pid, peers, still_us, .. } = daemon.upgrade();
    assert_eq!((from_pid, peers), (first, vec!["router".parse().unwrap()]));
    assert!(still_us > 0);
    assert_eq!(daemon.wait_first_exit().code(), Some(0));
    assert_eq!(daemon.ask::<Status>(paths::STATUS).pid, pid);
    let after = group(&daemon);
    assert_eq!(
        (after.state, after.since, after.reason),
        (announced.state, announced.since, announced.reason)
    );
    let taken = daemon.wait_event("the new process", |event| match &event.kind {
        EventKind::TookOver { pid, peers } => Some((*pid, peers.len())),
        _ => None,
    });
    assert_eq!(taken, (first, 1));
    // It keeps the session alive.
    let so_far = router.heard().len();
    router.wait_after(so_far, "keepalive");
    assert_eq!(heard(&router), before);
    let Peers { peers } = daemon.ask(paths::PEERS);
    assert_eq!((peers[0].state, peers[0].flaps), (SessionState::Established, 0));
    // It is the one that decides, on the same connection.
    app.kill();
    let withdrawn = router.wait_after(so_far, "withdraw");
    assert_eq!(withdrawn.connection, 0);
}

#[test]
fn one_upgrade_after_another_under_load_fails_no_request() {
    let (router, app) = (Router::polite(), App::healthy("eu-1"));
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let mut daemon = pop.start_announced(&router);
    let (web, before) = (pop.web(), heard(&router));
    let over = std::sync::atomic::AtomicBool::new(false);
    let answered = std::sync::atomic::AtomicU64::new(0);
    thread::scope(|scope| {
        let ask_on = |kept: bool| {
            let (over, answered) = (&over, &answered);
            move || {
                let mut client = Client::connect(web);
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    let response =
                        client.get("/").expect("an answer on a connection that was not told to end");
                    assert_eq!((response.status, response.body.as_str()), (200, "eu-1 /"));
                    answered.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if !kept || response.head.to_ascii_lowercase().contains("connection: close") {
                        client = Client::connect(web);
                    }
                }
            }
        };
        let clients: Vec<_> = [true, true, false, false].map(|kept| scope.spawn(ask_on(kept))).into();
        for _ in 0..5 {
            let so_far = answered.load(std::sync::atomic::Ordering::Relaxed);
            daemon.upgrade();
            while answered.load(std::sync::atomic::Ordering::Relaxed) < so_far + 50 {
                assert!(clients.iter().all(|client| !client.is_finished()), "a client has failed");
                thread::yield_now();
            }
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(heard(&router), before);
}

#[test]
fn a_response_that_is_under_way_comes_whole_from_the_process_that_began_it() {
    let app = App::healthy("eu-1");
    let mut pop = Pop::new().backend("eu", &app);
    pop.group.clear();
    let mut daemon = pop.start();
    daemon.wait_verdict("app/eu-1", Health::Up);
    let mut client = Client::connect(pop.web());
    client.send(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.head().unwrap().0, 200);
    app.release();
    assert_eq!(client.chunk().unwrap(), "data: 1\n\n");
    let upgraded = daemon.upgrade();
    assert_eq!(get(pop.web(), "/").body, "eu-1 /", "the new process serves");
    (0..3).for_each(|_| app.release());
    let rest: Vec<_> = std::iter::from_fn(|| client.chunk()).collect();
    assert_eq!(rest, ["data: 2\n\n", "data: 3\n\n", "data: 4\n\n"]);
    assert_eq!(daemon.wait_first_exit().code(), Some(0));
    assert_eq!(daemon.ask::<Status>(paths::STATUS).pid, upgraded.pid);
}

#[test]
fn what_is_known_and_ordered_goes_over_verdicts_holds_damping_and_orders() {
    let (router, mut one, other) = (Router::polite(), App::healthy("eu-1"), App::healthy("eu-2"));
    let mut pop = Pop::new().peer("router", &router).backend("eu", &one).backend("eu", &other);
    pop.group = "[announce.web]\nprefixes = [\"203.0.113.0/24\", \"2001:db8:ac::/48\"]\nservices = [\"web\"]\nvip = \"none\"\n\
                 [announce.web.degraded]\nbelow = 0.8\nabove = 0.9\nprepend = 2\n\
                 [announce.web.withdrawn]\nbelow = 0.4\nabove = 0.5\nhold-down = \"1h\"\n\
                 [announce.web.damping]\nhalf-life = \"1h\"\nsuppress = 2.5\nreuse = 1.0\n"
        .to_owned();
    let mut daemon = pop.start_announced(&router);
    one.kill();
    daemon.wait_transition("web", ReachState::DePreferred, 0);
    router.wait_for("announce 203.0.113.0/24 path 64512 64512 64512");
    router.wait_for("announce 2001:db8:ac::/48 via 2001:db8:ffff::2 path 64512 64512 64512");
    let (before, held, told) = (group(&daemon), heard(&router), daemon.ask::<Backends>(paths::BACKENDS));
    assert_eq!(before.state, ReachState::DePreferred);
    daemon.upgrade();
    let after = group(&daemon);
    assert_eq!((after.state, after.since, &after.reason), (before.state, before.since, &before.reason));
    let penalty = |group: &proxima_api::Group| group.penalty.unwrap();
    assert!((penalty(&after) - penalty(&before)).abs() < 0.01 && penalty(&after) > 0.9, "{after:?}");
    let verdicts = |backends: Backends| {
        backends.backends.into_iter().map(|it| (it.id, it.health, it.since, it.reason)).collect::<Vec<_>>()
    };
    assert_eq!(verdicts(daemon.ask(paths::BACKENDS)), verdicts(told));
    assert_eq!(heard(&router), held);

    daemon.post::<proxima_api::Ordered>(
        paths::ORDERS,
        r#"{"verb":"withdraw","groups":["web"],"reason":"a new line card","for_ms":3600000}"#,
    );
    router.wait_for("withdraw 203.0.113.0/24");
    router.wait_for("withdraw 2001:db8:ac::/48");
    let (ordered, held) = (group(&daemon), heard(&router));
    daemon.upgrade();
    let order = group(&daemon).order.unwrap();
    assert_eq!(Some(&order), ordered.order.as_ref());
    assert_eq!((order.verb, order.reason.as_deref()), (OrderVerb::Withdraw, Some("a new line card")));
    assert_eq!(heard(&router), held);
}

#[test]
fn a_backend_that_is_announced_to_leave_gets_no_requests_from_the_next_process_either() {
    let (router, app, leaving) = (Router::polite(), App::healthy("eu-1"), App::healthy("eu-2"));
    let notices = tempfile::tempdir().unwrap();
    let put = |text: &str| {
        let new = notices.path().join("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, notices.path().join("eu-2")).unwrap();
    };
    let mut pop = Pop::new().peer("router", &router).backend("eu", &app).backend("eu", &leaving);
    pop.probe =
        format!("{}\nnotice = {{ directory = {:?}, interval = \"100ms\" }}", pop.probe, notices.path());
    let mut daemon = pop.start_announced(&router);
    put("2020-01-01T00:00:00Z");
    daemon.wait_verdict("app/eu-2", Health::Down);
    // Nobody who looks from now on learns when.
    put("never mind");
    let backends = |daemon: &Daemon| {
        let Backends { backends, .. } = daemon.ask(paths::BACKENDS);
        backends.into_iter().map(|it| (it.id, it.health, it.since, it.reason)).collect::<Vec<_>>()
    };
    let before = backends(&daemon);
    daemon.upgrade();
    leaving.wait_probes(4);
    assert_eq!(backends(&daemon), before);
    fs::remove_file(notices.path().join("eu-2")).unwrap();
    daemon.wait_verdict("app/eu-2", Health::Up);
}

#[test]
fn a_successor_that_comes_to_nothing_changes_nothing_and_says_why() {
    let (router, app) = (Router::polite(), App::healthy("eu-1"));
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let path = program(pop.directory(), "exit 7");
    let mut command = Command::new(&path);
    command.arg("--config").arg(pop.write()).env("NO_COLOR", "1").env_remove("PROXIMA_LOG");
    let mut daemon = Daemon::launch(command, &pop.socket());
    router.wait_complete(0);
    let (before, pid) = (heard(&router), daemon.ask::<Status>(paths::STATUS).pid);
    // Crashes at once; says nonsense; says nothing and goes; speaks too early.
    for (instead, why) in [
        ("exit 7", "exit status: 7"),
        (&as_successor("printf 'nonsense and more of it' >&0; cat > /dev/null"), "can't be read"),
        (&as_successor("exit 7"), "the other process has ended"),
        ("kill -9 $$", "signal: 9"),
    ] {
        program(pop.directory(), instead);
        let (status, refusal) = daemon.refused("POST", paths::UPGRADE, "");
        assert_eq!(status, 409, "{refusal:?}");
        assert!(refusal.error.contains(why), "{instead}: {refusal:?}");
        assert!(refusal.hint.unwrap().contains("goes on as before"));
    }
    // A file that is not sound is told with its line; the daemon that runs has read it before.
    program(pop.directory(), "true");
    fs::write(pop.directory().join("proxima.toml"), pop.text() + "nonsense = true\n").unwrap();
    let (_, refusal) = daemon.refused("POST", paths::UPGRADE, "");
    assert!(refusal.error.contains("nonsense") && refusal.error.contains("proxima.toml:"), "{refusal:?}");
    daemon.wait_event("the failure", |event| match &event.kind {
        EventKind::UpgradeFailed { error } if error.contains("nonsense") => Some(()),
        _ => None,
    });
    // So is what this host does not have, and what only a restart can do.
    for (from, to, why) in [
        (
            "protocol = \"http\"",
            "protocol = \"https\"\ntls = { certificate = \"/none.pem\", key = \"/none.key\" }",
            "/none.pem",
        ),
        ("workers = 2", "workers = 3", "the running proximad has 2 workers, this one is to have 3"),
    ] {
        let text = pop.text();
        assert!(text.contains(from), "{text}");
        fs::write(pop.directory().join("proxima.toml"), text.replace(from, to)).unwrap();
        let (_, refusal) = daemon.refused("POST", paths::UPGRADE, "");
        assert!(refusal.error.contains(why), "{refusal:?}");
    }
    assert_eq!(daemon.ask::<Status>(paths::STATUS).pid, pid);
    assert_eq!(get(pop.web(), "/").body, "eu-1 /");
    // All is as it was, so that the next one can.
    pop.write();
    daemon.upgrade();
    assert_eq!(get(pop.web(), "/").body, "eu-1 /");
    assert_eq!(heard(&router), before);
}

/// A successor that has everything, is handed the state, and then does this.
const PREPARED: &str = r#"
import array, json, os, signal, socket, struct
stream = socket.socket(fileno=0)
def receive():
    length, descriptors = struct.unpack(">II", stream.recv(8, socket.MSG_WAITALL))
    while descriptors:
        _, control, _, _ = stream.recvmsg(1, socket.CMSG_SPACE(253 * 4))
        for _, _, data in control:
            for descriptor in array.array("i", data):
                os.close(descriptor)
                descriptors -= 1
    return json.loads(stream.recv(length, socket.MSG_WAITALL))
def say(message):
    text = json.dumps(message).encode()
    stream.sendall(struct.pack(">II", len(text), 0) + text)
say({"Begun": {"pid": os.getpid()}})
assert "Offer" in receive()
say({"Prepared": {"version": "9.9", "adopts_admin_socket": True}})
assert len(receive()["State"]["bgp"]["sessions"]) == 1
"#;

#[test]
fn a_successor_that_fails_while_sessions_stand_still_leaves_them_as_they_were() {
    let (router, mut app) = (Router::polite(), App::healthy("eu-1"));
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let script = pop.directory().join("successor.py");
    let path = program(pop.directory(), &as_successor(&format!("exec python3 {}", script.display())));
    let mut command = Command::new(&path);
    command.arg("--config").arg(pop.write()).env("NO_COLOR", "1").env_remove("PROXIMA_LOG");
    let daemon = Daemon::launch(command, &pop.socket());
    router.wait_complete(0);
    let before = heard(&router);
    for (then, why) in [
        ("os._exit(3)", "the other process has ended"),
        ("signal.pause()", "has said nothing for 1."),
        ("say({'Failed': 'no room'}); os._exit(1)", "the new process could not start: no room"),
        (
            "say({'Prepared': {'version': '', 'adopts_admin_socket': True}}); signal.pause()",
            "the order of an upgrade",
        ),
    ] {
        fs::write(&script, format!("{PREPARED}{then}\n")).unwrap();
        let (status, refusal) = daemon.refused("POST", paths::UPGRADE, "");
        assert_eq!(status, 409, "{refusal:?}");
        assert!(refusal.error.contains(why), "{then}: {refusal:?}");
        let so_far = router.heard().len();
        router.wait_after(so_far, "keepalive");
        assert_eq!(get(pop.web(), "/").body, "eu-1 /");
    }
    assert_eq!(heard(&router), before);
    let Peers { peers } = daemon.ask(paths::PEERS);
    assert_eq!((peers[0].state, peers[0].flaps), (SessionState::Established, 0));
    let so_far = router.heard().len();
    app.kill();
    assert_eq!(router.wait_after(so_far, "withdraw").connection, 0);
}

/// Goes on from [`PREPARED`]: waits for a word of the test, and accepts.
const ACCEPTS: &str = r#"
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
open("STILL", "w").write("still\n")
open("GO").readline()
say("Accepted")
"#;

/// An upgrade whose successor has all and does this, up to the moment in which sessions stand still; this signal comes then.
fn signalled_while_sessions_stand_still(
    (pop, router): (&Pop, &Router),
    signal: Signal,
    then: &str,
) -> (Daemon, fs::File) {
    let [still, go] = ["still", "go"].map(|name| pop.directory().join(name));
    for fifo in [&still, &go] {
        nix::unistd::mkfifo(fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    }
    let script = pop.directory().join("successor.py");
    let accepts = ACCEPTS.replace("STILL", still.to_str().unwrap()).replace("GO", go.to_str().unwrap());
    fs::write(&script, format!("{PREPARED}{accepts}{then}\n")).unwrap();
    let path = program(pop.directory(), &as_successor(&format!("exec python3 {}", script.display())));
    let mut command = Command::new(&path);
    command.arg("--config").arg(pop.write()).env("NO_COLOR", "1").env_remove("PROXIMA_LOG");
    let daemon = Daemon::launch(command, &pop.socket());
    router.wait_complete(0);
    // Whether or not there is still somebody who reads.
    let mut go = fs::File::options().read(true).write(true).open(&go).unwrap();
    daemon.signal(Signal::SIGUSR2);
    assert_eq!(fs::read_to_string(&still).unwrap(), "still\n");
    daemon.signal(signal);
    daemon.wait_signal_taken(signal);
    writeln!(go, "go").unwrap();
    (daemon, go)
}

#[test]
fn a_stop_while_sessions_stand_still_stops_this_process() {
    let (router, app) = (Router::polite(), App::healthy("eu-1"));
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let then = "signal.pause()";
    let (mut daemon, _go) = signalled_while_sessions_stand_still((&pop, &router), Signal::SIGTERM, then);
    router.wait_for("withdraw 203.0.113.0/24");
    router.wait_for("notification 6/2");
    assert_eq!(daemon.wait_first_exit().code(), Some(0));
}

#[test]
fn a_reload_while_sessions_stand_still_is_for_the_successor() {
    let (router, app) = (Router::polite(), App::healthy("eu-1"));
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let told = pop.directory().join("told");
    nix::unistd::mkfifo(&told, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let then = format!(
        "assert receive() == 'Commit'\ntold = signal.sigtimedwait([signal.SIGHUP], 15)\n\
         open('{}', 'w').write('told' if told else 'not told')",
        told.display()
    );
    let (mut daemon, _go) = signalled_while_sessions_stand_still((&pop, &router), Signal::SIGHUP, &then);
    assert_eq!(fs::read_to_string(&told).unwrap(), "told");
    assert_eq!(daemon.wait_first_exit().code(), Some(0));
}

#[test]
fn what_the_new_file_asks_for_is_so_in_the_new_process() {
    let (router, app) = (Router::polite(), App::healthy("eu-1"));
    let mut pop = Pop::new().peer("router", &router).backend("eu", &app);
    let mut daemon = pop.start_announced(&router);
    let before = heard(&router);
    pop.routes = "[[services.web.routes]]\npool = \"app\"\nmatch = { path-prefix = \"/b\" }\n".to_owned();
    pop.write();
    daemon.upgrade();
    assert_eq!((get(pop.web(), "/a").status, get(pop.web(), "/b").status), (404, 200));
    assert_eq!(heard(&router), before);
}

#[test]
fn a_file_that_a_reload_would_refuse_an_upgrade_refuses_too_unless_it_is_forced() {
    let (router, app, mut dies) = (Router::polite(), App::healthy("eu-1"), App::healthy("eu-2"));
    let mut pop = Pop::new().peer("router", &router).backend("eu", &app).backend("eu", &dies);
    let mut daemon = pop.start_announced(&router);
    dies.kill();
    daemon.wait_transition("web", ReachState::DePreferred, 0);
    router.wait_for("announce 2001:db8:ac::/48 via 2001:db8:ffff::2 path 64512 64512 64512");
    let (before, group) = (heard(&router), pop.group.clone());
    let refused = |daemon: &Daemon, why: &str| {
        let (status, refusal) = daemon.refused("POST", paths::UPGRADE, "");
        assert_eq!(status, 409, "{refusal:?}");
        assert!(refusal.error.contains(why) && refusal.error.contains("--force"), "{refusal:?}");
    };
    pop.group = String::new();
    pop.write();
    refused(&daemon, "leaves empty what was not before: announce");
    // Half of its capacity is no longer enough.
    pop.group = group.replace("below = 0.4", "below = 0.6");
    pop.write();
    refused(&daemon, "nothing would be announced any more");
    assert_eq!(heard(&router), before);
    let upgraded: Upgraded = daemon.post(paths::UPGRADE, r#"{"force":true}"#);
    assert_eq!(daemon.adopt(), upgraded.pid);
    router.wait_for("withdraw 203.0.113.0/24");
}

#[test]
fn a_backend_at_another_address_is_a_new_one_and_a_new_group_of_a_drained_pop_is_drained() {
    let (router, app, other) = (Router::polite(), App::healthy("eu-1"), App::undecided("eu-1"));
    let mut pop = Pop::new().peer("router", &router).backend("eu", &app);
    // No first verdict comes of itself while the test runs.
    pop.probe = r#"{ http = "/healthz", interval = "60s", timeout = "60s", rise = 1, fall = 10 }"#.to_owned();
    let mut daemon = pop.start_announced(&router);
    daemon.post::<proxima_api::DrainStatus>(paths::DRAIN, r#"{"reason":"new line card"}"#);
    router.wait_for("withdraw 2001:db8:ac::/48");
    let before = heard(&router);
    pop.group += "[announce.more]\nprefixes = [\"198.51.100.0/24\"]\nservices = [\"web\"]\nvip = \"none\"\n";
    let text = pop.text().replace(&app.address().to_string(), &other.address().to_string());
    fs::write(pop.directory().join("proxima.toml"), text).unwrap();
    daemon.upgrade();
    let Backends { backends } = daemon.ask(paths::BACKENDS);
    assert_eq!(backends[0].health, Health::Unknown, "nothing is known of what is there");
    other.answer_probes();
    daemon.wait_verdict("app/eu-1", Health::Up);
    let groups = daemon.ask::<Status>(paths::STATUS).groups;
    assert_eq!(groups.len(), 2);
    for group in groups {
        assert_eq!(group.order.map(|order| order.verb), Some(OrderVerb::Drain), "{}", group.name);
        assert_eq!(group.state, ReachState::Withdrawn, "{}", group.name);
    }
    assert_eq!(heard(&router), before);
}

#[test]
fn signals_during_an_upgrade_are_for_whoever_goes_on() {
    let (router, app) = (Router::polite(), App::healthy("eu-1"));
    let mut pop = Pop::new().peer("router", &router).backend("eu", &app);
    let go = pop.directory().join("go");
    nix::unistd::mkfifo(&go, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let wait = format!("read word < {}", go.display());
    let path = program(pop.directory(), &wait);
    let mut command = Command::new(&path);
    command.arg("--config").arg(pop.write()).env("NO_COLOR", "1").env_remove("PROXIMA_LOG");
    let mut daemon = Daemon::launch(command, &pop.socket());
    router.wait_complete(0);
    let reloaded = |daemon: &Daemon| {
        daemon.wait_event("a reload", |event| match &event.kind {
            EventKind::Reloaded { changes } => Some(changes.services.changed.clone()),
            _ => None,
        })
    };
    // A reload is done by this process, as the other comes to nothing.
    program(pop.directory(), &format!("{wait}; exit 7"));
    daemon.signal(Signal::SIGUSR2);
    daemon.wait_event("its begin", |event| matches!(event.kind, EventKind::UpgradeBegun).then_some(()));
    let first = "[[services.web.routes]]\npool = \"app\"\nmatch = { path-prefix = \"/b\" }\n";
    pop.routes.insert_str(0, first);
    pop.write();
    daemon.signal(Signal::SIGHUP);
    fs::write(&go, "go\n").unwrap();
    assert_eq!(reloaded(&daemon), ["web"]);
    // It is done by the other, where there is one.
    program(pop.directory(), &wait);
    let began = |events: &[proxima_api::Event]| {
        let begun = events.iter().filter(|event| matches!(event.kind, EventKind::UpgradeBegun));
        (begun.count() == 2).then_some(())
    };
    daemon.signal(Signal::SIGUSR2);
    daemon.wait_events("the second begin", began);
    daemon.signal(Signal::SIGHUP);
    fs::write(&go, "go\n").unwrap();
    daemon.wait_followed();
    daemon.adopt();
    assert_eq!(reloaded(&daemon), [""; 0], "it has read the file itself");
    // A stop is the end of it: the process that was to take over finds nobody to succeed.
    let so_far = router.heard().len();
    daemon.signal(Signal::SIGUSR2);
    daemon.wait_event("its begin", |event| matches!(event.kind, EventKind::UpgradeBegun).then_some(()));
    daemon.signal(Signal::SIGTERM);
    router.wait_after(so_far, "withdraw 203.0.113.0/24");
    router.wait_after(so_far, "notification 6/2");
    fs::write(&go, "go\n").unwrap();
}

#[test]
fn an_upgrade_by_signal_and_by_the_command_line() {
    let (router, app) = (Router::polite(), App::healthy("eu-1"));
    let pop = Pop::new().peer("router", &router).backend("eu", &app);
    let mut daemon = pop.start_announced(&router);
    let first = daemon.pid();
    let output = proxima(&pop.socket(), &["upgrade"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("has taken over from") && said.contains("with router"), "{said}");
    assert_eq!(daemon.wait_first_exit().code(), Some(0));
    let second = daemon.adopt();
    assert_ne!(first, second);
    daemon.signal(Signal::SIGUSR2);
    daemon.wait_followed(); // its interface is another process's now
    let third = daemon.adopt();
    assert_ne!(second, third);
    let reason = group(&daemon).reason;
    assert!(matches!(reason, GroupReason::FirstVerdicts { .. }), "{reason:?}");
}

#[test]
fn while_an_upgrade_is_under_way_there_is_no_other_and_no_reload() {
    let app = App::healthy("eu-1");
    let mut pop = Pop::new().backend("eu", &app);
    pop.group.clear();
    // It waits until it is told, by a file that nobody else has.
    let go = pop.directory().join("go");
    nix::unistd::mkfifo(&go, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let path = program(pop.directory(), &format!("read word < {}", go.display()));
    let mut command = Command::new(&path);
    command.arg("--config").arg(pop.write()).env("NO_COLOR", "1").env_remove("PROXIMA_LOG");
    let mut daemon = Daemon::launch(command, &pop.socket());
    daemon.wait_verdict("app/eu-1", Health::Up);
    daemon.wait_event("readiness", |event| matches!(event.kind, EventKind::DaemonReady { .. }).then_some(()));
    daemon.signal(Signal::SIGUSR2);
    daemon.wait_event("its begin", |event| matches!(event.kind, EventKind::UpgradeBegun).then_some(()));
    for path in [paths::UPGRADE, paths::RELOAD] {
        let (status, refusal) = daemon.refused("POST", path, "");
        assert_eq!((status, refusal.error.as_str()), (409, "an upgrade is under way"));
    }
    fs::write(&go, "go\n").unwrap();
    daemon.wait_followed();
    daemon.adopt();
    assert_eq!(daemon.ask::<Backends>(paths::BACKENDS).backends[0].health, Health::Up);
    app.turn(Mood { fails: Fails::Everything, ..Mood::default() });
    daemon.wait_verdict("app/eu-1", Health::Down);
}

/// How many upgrades the test below does; `PROXIMA_UPGRADES` has another number.
const UPGRADES: usize = 5;

#[test]
fn no_request_of_any_version_fails_and_no_update_is_sent_while_one_process_succeeds_another() {
    const NAME: &str = "web.example";
    let upgrades = env::var("PROXIMA_UPGRADES").map_or(UPGRADES, |count| count.parse().unwrap());
    let (router, app) = (Router::polite(), App::healthy("eu-1"));
    let mut pop = Pop::new().peer("router", &router).backend("eu", &app);
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    let [pem, key] = ["web.pem", "web.key"].map(|name| pop.directory().join(name));
    fs::write(&pem, cert.pem()).unwrap();
    fs::write(&key, signing_key.serialize_pem()).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    pop.protocol = format!(
        "protocol = \"https\"\ntls = {{ certificate = \"{}\", key = \"{}\" }}",
        pem.display(),
        key.display()
    );
    let mut daemon = pop.start_announced(&router);
    let before = heard(&router);
    let load = Load::begin_following(pop.web(), NAME);
    load.wait(20);
    for _ in 0..upgrades {
        daemon.upgrade();
        load.wait(5);
    }
    let (answered, failures) = load.end();
    println!(
        "{upgrades} upgrades, answered over HTTP/1.1, HTTP/2, HTTP/3: {answered:?}, failed: {}",
        failures.len()
    );
    assert_eq!(failures, [""; 0], "of {answered:?}");
    assert_eq!(heard(&router), before, "keepalives, and nothing else");
}
