//! What keeps the daemon from starting: each with a message that names the remedy, and nothing left behind.

use std::fs;

use crate::support::{App, Daemon, Pop, Port, Router, get};

/// A PoP that could start.
fn sound() -> (Pop, App, Router) {
    let (router, app) = (Router::polite(), App::healthy("eu-1"));
    (Pop::new().peer("router", &router).backend("eu", &app), app, router)
}

#[track_caller]
fn assert_says(stderr: &str, words: &[&str]) {
    for word in words {
        assert!(stderr.contains(word), "`{word}` is not in\n{stderr}");
    }
}

/// Where `needle` stands in `text`, as `line:column`.
fn place(text: &str, needle: &str) -> String {
    let at = text.find(needle).unwrap();
    let line = text[..at].matches('\n').count() + 1;
    let column = at - text[..at].rfind('\n').unwrap();
    format!("{line}:{column}")
}

#[test]
fn all_mistakes_of_a_configuration_are_reported_at_once_with_their_places() {
    let (pop, _app, _router) = sound();
    let mistakes = [
        ("router-id = \"192.0.2.11\"", "router-id = \"192.0.2.311\"", "\"192.0.2.311\"", ""),
        ("hold-time = \"9s\"", "hold-time = \"2s\"", "\"2s\"", ""),
        ("203.0.113.0/24", "203.0.113.1/24", "\"203.0.113.1/24\"", "203.0.113.0/24"),
        ("pool = \"app\"", "pool = \"apps\"", "\"apps\"", "app"),
        ("workers = 2", "wrokers = 2", "wrokers", "workers"),
    ];
    let text = mistakes.iter().fold(pop.text(), |text, (right, wrong, ..)| {
        assert_eq!(text.matches(right).count(), 1, "{right}");
        text.replace(right, wrong)
    });
    let path = pop.directory().join("proxima.toml");
    fs::write(&path, &text).unwrap();
    let failed = Daemon::fail(Daemon::command(&path));
    assert_eq!(failed.code, Some(2));
    for (.., offending, hint) in mistakes {
        let place = format!("{}:{}: error: ", path.display(), place(&text, offending));
        assert_says(&failed.stderr, &[&place, hint]);
    }
    assert_says(&failed.stderr, &["5 errors in", "help: "]);
    assert!(!pop.socket().exists());
}

#[test]
fn wrong_arguments_are_explained() {
    let mut command = Daemon::command("unused".as_ref());
    command.arg("--confg");
    let failed = Daemon::fail(command);
    assert_eq!(failed.code, Some(2));
    assert_says(&failed.stderr, &["--confg", "--config"]);
}

#[test]
fn a_missing_configuration_is_named_with_the_option_that_names_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("absent.toml");
    let failed = Daemon::fail(Daemon::command(&path));
    assert_eq!(failed.code, Some(1));
    assert_says(&failed.stderr, &[path.to_str().unwrap(), "No such file", "--config FILE"]);
}

#[test]
fn a_taken_port_is_named_with_the_remedy_and_nothing_is_left_behind() {
    let (pop, _app, router) = sound();
    let owner = std::net::TcpListener::bind(pop.web()).unwrap();
    let failed = Daemon::fail(Daemon::command(&pop.write()));
    assert_eq!(failed.code, Some(1));
    let port = pop.web().port();
    let address = pop.web().to_string();
    assert_says(&failed.stderr, &["web", &address, "taken", &format!("ss -ltunp 'sport = :{port}'")]);
    assert!(!pop.socket().exists());
    assert!(router.heard().is_empty());

    drop(owner);
    let _daemon = pop.start_announced(&router);
    assert_eq!(get(pop.web(), "/").status, 200, "the remedy works");
}

#[test]
fn a_second_daemon_does_not_share_the_port_of_the_first() {
    let (first, _app, router) = sound();
    let (second, _other_app, other_router) = sound();
    let _daemon = first.start_announced(&router);
    let path = second.write();
    fs::write(&path, second.text().replace(&second.web().to_string(), &first.web().to_string())).unwrap();
    let failed = Daemon::fail(Daemon::command(&path));
    assert_eq!(failed.code, Some(1));
    assert_says(&failed.stderr, &[&first.web().to_string(), "taken", "choose another port"]);
    assert!(other_router.heard().is_empty(), "what can't serve does not announce");
    for _ in 0..20 {
        assert_eq!(get(first.web(), "/").status, 200);
    }
}

#[test]
fn a_taken_metrics_port_is_named_with_the_remedy_and_nothing_is_left_behind() {
    let (pop, _app, _router) = sound();
    let _owner = std::net::TcpListener::bind(pop.metrics()).unwrap();
    let failed = Daemon::fail(Daemon::command(&pop.write()));
    assert_eq!(failed.code, Some(1));
    assert_says(&failed.stderr, &[&pop.metrics().to_string(), "ss -ltnp", "metrics.listen"]);
    assert!(!pop.socket().exists());
}

#[test]
fn a_taken_bgp_port_is_named_with_the_remedy_and_nothing_is_left_behind() {
    let (pop, _app, _router) = sound();
    let bgp = Port::reserve();
    let _owner = bgp.listen();
    let address = bgp.address.to_string();
    let listen = format!("connect-retry = \"50ms\"\nlisten = [\"{address}\"]");
    let path = pop.directory().join("proxima.toml");
    fs::write(&path, pop.text().replace("connect-retry = \"50ms\"", &listen)).unwrap();
    let failed = Daemon::fail(Daemon::command(&path));
    assert_eq!(failed.code, Some(1));
    assert_says(&failed.stderr, &[&address, "another BGP daemon", "bgp.listen"]);
    assert_eq!(failed.stderr.matches("os error 98").count(), 1, "said once: {}", failed.stderr);
    assert!(!pop.socket().exists());
}

#[test]
fn a_directory_for_dumps_that_is_not_there_is_told_at_once_and_the_rest_goes_on() {
    let (pop, _app, _router) = sound();
    let missing = pop.directory().join("missing");
    let mrt = format!("connect-retry = \"50ms\"\nmrt = {{ directory = {missing:?}, interval = \"15m\" }}");
    let path = pop.directory().join("proxima.toml");
    fs::write(&path, pop.text().replace("connect-retry = \"50ms\"", &mrt)).unwrap();
    let daemon = Daemon::start(&path, &pop.socket());
    daemon.wait_log(&format!("cannot write the table to {}", missing.display()));
    daemon.wait_established("router");
}

#[test]
fn a_second_daemon_is_refused_and_the_first_is_unharmed() {
    let (pop, _app, router) = sound();
    let _daemon = pop.start_announced(&router);
    let before = router.heard().iter().filter(|heard| heard.line != "keepalive").count();
    let failed = Daemon::fail(Daemon::command(&pop.write()));
    assert_eq!(failed.code, Some(1));
    assert_says(&failed.stderr, &["another daemon answers at", pop.socket().to_str().unwrap(), "stop it"]);
    assert!(pop.socket().exists());
    assert_eq!(get(pop.web(), "/").status, 200);
    let after = router.heard().iter().filter(|heard| heard.line != "keepalive").count();
    assert_eq!(after, before);
}

#[test]
fn an_admin_socket_that_is_another_file_is_left_alone() {
    let (pop, _app, _router) = sound();
    fs::write(pop.socket(), "precious").unwrap();
    let failed = Daemon::fail(Daemon::command(&pop.write()));
    assert_eq!(failed.code, Some(1));
    assert_says(&failed.stderr, &["is not a socket", "admin.socket"]);
    assert_eq!(fs::read_to_string(pop.socket()).unwrap(), "precious");
}

#[test]
fn a_low_port_without_the_capability_names_it() {
    let (pop, _app, _router) = sound();
    let path = pop.directory().join("proxima.toml");
    let listen = format!("listen = [\"{}\"]\nprotocol", pop.web());
    let text = pop.text().replace(&listen, "listen = [\"127.0.0.1:80\"]\nprotocol");
    fs::write(&path, text).unwrap();
    let failed = Daemon::fail(Daemon::unprivileged(&path));
    assert_eq!(failed.code, Some(1));
    assert_says(
        &failed.stderr,
        &["127.0.0.1:80", "CAP_NET_BIND_SERVICE", "AmbientCapabilities=CAP_NET_BIND_SERVICE"],
    );
    assert!(!pop.socket().exists());
}

#[test]
fn vips_without_the_capability_name_it_and_the_way_around() {
    let (mut pop, _app, router) = sound();
    pop.group = pop.group.replace("vip = \"none\"", "vip = \"anyip\"");
    let addresses = ["203.0.113.1:8080", "[2001:db8:ac::1]:8080"];
    let listen = format!("listen = [\"{}\", \"{}\"]", addresses[0], addresses[1]);
    let text = pop
        .text()
        .replace(&format!("listen = [\"{}\"]\nprotocol", pop.web()), &format!("{listen}\nprotocol"));
    let path = pop.directory().join("proxima.toml");
    fs::write(&path, text).unwrap();
    let failed = Daemon::fail(Daemon::unprivileged(&path));
    assert_eq!(failed.code, Some(1));
    assert_says(&failed.stderr, &["203.0.113.0/24", "CAP_NET_ADMIN", "vip = \"none\"", "ip route add local"]);
    assert!(!pop.socket().exists());
    assert!(router.heard().is_empty());
}

#[test]
fn a_password_that_can_t_be_read_is_named_with_its_file() {
    let (pop, _app, router) = sound();
    let path = pop.write();
    let file = pop.directory().join("router.md5");
    let setting = format!("name = \"router\"\npassword-file = \"{}\"", file.display());
    fs::write(&path, pop.text().replacen("name = \"router\"", &setting, 1)).unwrap();
    let failed = Daemon::fail(Daemon::command(&path));
    assert_eq!(failed.code, Some(1));
    assert_says(
        &failed.stderr,
        &["can't read the TCP MD5 password in", file.to_str().unwrap(), "No such file"],
    );
    fs::write(&file, "x".repeat(81)).unwrap();
    let failed = Daemon::fail(Daemon::command(&path));
    assert_says(&failed.stderr, &[file.to_str().unwrap(), "has 81 octets", "1 to 80"]);
    assert!(router.heard().is_empty() && !pop.socket().exists());
}

#[test]
fn what_a_probe_lacks_on_this_host_is_named_with_the_remedy_and_keeps_the_daemon_from_starting() {
    let (mut pop, _app, router) = sound();
    let missing = pop.directory().join("missing");
    let probes = [
        (format!("exec = [{missing:?}]"), "can't run the program", "correct `exec`"),
        (format!("https = \"/\", tls = {{ ca-file = {missing:?} }}"), "No such file", "correct `ca-file`"),
        (format!("redis = {{ password-file = {missing:?} }}"), "No such file", "correct `password-file`"),
        ("tcp = true, source = \"192.0.2.77\"".to_owned(), "can't probe from 192.0.2.77", "add the address"),
    ];
    for (probe, what, remedy) in probes {
        pop.probe = format!("{{ {probe} }}");
        let failed = Daemon::fail(Daemon::command(&pop.write()));
        assert_eq!(failed.code, Some(1), "{}", failed.stderr);
        assert_says(&failed.stderr, &["pools.app.probe: ", what, remedy]);
        assert!(!pop.socket().exists());
    }
    assert!(router.heard().is_empty());
}
