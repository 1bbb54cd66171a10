//! HTTPS: certificates from files, read again by a reload, and what is refused.

use std::{
    fs,
    net::{SocketAddr, UdpSocket},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Instant,
};

use nix::sys::signal::Signal;
use proxima_api::{EventKind, Protocol, Reloaded, Reloads, Status, paths};
use rcgen::{CertificateParams, KeyPair};

use crate::support::{App, Daemon, PATIENCE, Pop, Router, get, proxima};

const NAME: &str = "web.example";

/// A PoP whose service speaks HTTPS, with the files of its certificate.
struct Secure {
    pop: Pop,
    _app: App,
    router: Router,
}

impl Secure {
    /// With these keys in `tls` besides the certificate's.
    fn new(more: &str) -> Self {
        let (router, app) = (Router::polite(), App::healthy("eu-1"));
        let mut pop = Pop::new().peer("router", &router).backend("eu", &app);
        let directory = pop.directory().display();
        pop.protocol = format!(
            "protocol = \"https\"\ntls = {{ certificate = \"{directory}/web.pem\", key = \"{directory}/web.key\"{more} }}"
        );
        let secure = Self { pop, _app: app, router };
        secure.renew();
        secure
    }

    fn path(&self, file: &str) -> PathBuf {
        self.pop.directory().join(file)
    }

    /// A new certificate, signed by itself, in place of the one before. Its copy for clients that are to trust it.
    fn renew(&self) -> PathBuf {
        self.renew_with(|_| {})
    }

    fn renew_with(&self, change: impl FnOnce(&mut CertificateParams)) -> PathBuf {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        change(&mut parameters);
        let certificate = parameters.self_signed(&key).unwrap().pem();
        fs::write(self.path("web.pem"), &certificate).unwrap();
        secret(&self.path("web.key"), &key.serialize_pem());
        let number = fs::read_dir(self.pop.directory()).unwrap().count();
        let trusted = self.path(&format!("trusted.{number}"));
        fs::write(&trusted, certificate).unwrap();
        trusted
    }

    fn curl(&self, trusted: &Path, more: &[&str]) -> Output {
        let SocketAddr::V4(web) = self.pop.web() else { panic!("IPv4") };
        let mut command = Command::new("curl");
        command.args([
            "--silent",
            "--show-error",
            "--fail",
            "--noproxy",
            "*",
            "--max-time",
            "30",
            "--cacert",
        ]);
        command.arg(trusted).args(["--resolve", &format!("{NAME}:{}:{}", web.port(), web.ip())]).args(more);
        command.arg(format!("https://{NAME}:{}/", web.port())).output().unwrap()
    }

    fn is_trusted(&self, trusted: &Path) -> bool {
        self.curl(trusted, &[]).status.success()
    }

    fn start(&self) -> Daemon {
        self.pop.start_announced(&self.router)
    }
}

/// Writes a file that nobody else may read.
fn secret(path: &Path, text: &str) {
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
    std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
}

fn reload(daemon: &Daemon) -> Reloaded {
    daemon.post(paths::RELOAD, "")
}

#[test]
fn a_reload_takes_new_certificates_though_the_file_says_the_same() {
    let secure = Secure::new("");
    let first = secure.renew();
    let daemon = secure.start();
    assert!(secure.is_trusted(&first));
    assert_eq!(daemon.ask::<Status>(paths::STATUS).services[0].protocol, Protocol::Https);

    let second = secure.renew();
    assert!(secure.is_trusted(&first), "files that nobody has asked to read again");
    let changes = reload(&daemon);
    assert_eq!(
        (changes.tls.as_slice(), changes.services),
        (&["services.web.tls".to_owned()][..], Reloads::default())
    );
    assert!(secure.is_trusted(&second) && !secure.is_trusted(&first));
    assert_eq!(reload(&daemon), Reloaded::default(), "nothing is another");

    let third = secure.renew();
    daemon.signal(Signal::SIGHUP);
    daemon.wait_events("the third reload", |events| {
        let reloads = events.iter().filter(|event| matches!(event.kind, EventKind::Reloaded { .. }));
        (reloads.count() == 3).then_some(())
    });
    assert!(secure.is_trusted(&third));
    let said = proxima(&secure.pop.socket(), &["reload"]);
    assert_eq!(String::from_utf8_lossy(&said.stdout), "nothing changes\n");
}

#[test]
fn a_reload_with_a_bad_file_is_refused_whole_and_the_certificate_before_stays() {
    let secure = Secure::new("");
    let good = secure.renew();
    let daemon = secure.start();
    let (pem, key) = (secure.path("web.pem"), secure.path("web.key"));
    let (sound_pem, sound_key) = (fs::read_to_string(&pem).unwrap(), fs::read_to_string(&key).unwrap());
    let refused = |words: &[&str]| {
        let (status, body) = daemon.refused("POST", paths::RELOAD, "");
        assert_eq!(status, 422);
        for word in words {
            assert!(body.error.contains(word), "{body:?}");
        }
        assert!(body.hint.unwrap().contains("the certificates before stay in use"));
        assert!(secure.is_trusted(&good));
    };
    let (pem_name, key_name) = (pem.display().to_string(), key.display().to_string());
    secure.renew();
    secret(&key, &sound_key);
    refused(&["services.web.tls", &key_name, "does not match the certificate", &pem_name]);
    fs::remove_file(&key).unwrap();
    refused(&["services.web.tls", "can't be read", &key_name]);
    secret(&key, &sound_key);
    fs::write(&pem, "").unwrap();
    refused(&["services.web.tls", &pem_name, "no certificate in it"]);
    fs::write(&pem, &sound_pem).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    refused(&["services.web.tls", &key_name, "mode 0640", "chmod 0600"]);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o400)).unwrap();
    assert_eq!(reload(&daemon), Reloaded::default());
}

#[test]
fn what_keeps_https_from_starting_is_told_with_file_and_remedy() {
    let secure = Secure::new(", ticket-keys = \"/nonexistent/tickets\"");
    let fails = |words: &[&str]| {
        let failed = Daemon::fail(Daemon::command(&secure.pop.write()));
        assert_eq!(failed.code, Some(1));
        for word in words {
            assert!(failed.stderr.contains(word), "`{word}` is not in\n{}", failed.stderr);
        }
    };
    fails(&["services.web.tls", "/nonexistent/tickets: can't be read"]);
    fs::write(secure.path("web.key"), "a secret").unwrap();
    fails(&["services.web.tls", "web.key", "no private key in it"]);
    assert!(!secure.pop.socket().exists());
}

#[test]
fn keys_from_the_service_managers_directory_may_have_its_mode() {
    let secure = Secure::new("");
    let trusted = secure.renew();
    fs::set_permissions(secure.path("web.key"), fs::Permissions::from_mode(0o440)).unwrap();
    let path = secure.pop.write();
    assert_eq!(Daemon::fail(Daemon::command(&path)).code, Some(1));
    let mut command = Daemon::command(&path);
    command.env("CREDENTIALS_DIRECTORY", secure.pop.directory());
    let _daemon = Daemon::launch(command, &secure.pop.socket());
    secure.router.wait_complete(0);
    assert!(secure.is_trusted(&trusted));
}

#[test]
fn http3_is_offered_and_listened_for_unless_the_file_says_no() {
    for (more, offered) in [("", true), ("\nhttp3 = false", false)] {
        let mut secure = Secure::new("");
        secure.pop.protocol += more;
        let trusted = secure.renew();
        let _daemon = secure.start();
        let answer = secure.curl(&trusted, &["--include"]);
        let head = String::from_utf8_lossy(&answer.stdout).to_lowercase();
        let offer = format!("alt-svc: h3=\":{}\"; ma=86400\r\n", secure.pop.web().port());
        assert_eq!(head.contains(&offer), offered, "{head}");
        assert_eq!(UdpSocket::bind(secure.pop.web()).is_err(), offered, "UDP at the same address");
    }
}

#[test]
fn http3_is_turned_off_and_on_by_a_reload() {
    let mut secure = Secure::new("");
    let trusted = secure.renew();
    let daemon = secure.start();
    let usual = secure.pop.protocol.clone();
    for (more, offered) in [("\nhttp3 = false", false), ("", true)] {
        secure.pop.protocol = format!("{usual}{more}");
        secure.pop.write();
        assert_eq!(reload(&daemon).services.changed, ["web"]);
        let answer = secure.curl(&trusted, &["--include"]);
        let head = String::from_utf8_lossy(&answer.stdout).to_lowercase();
        assert_eq!(head.contains("\nalt-svc: h3="), offered, "{head}");
        let begun = Instant::now();
        while UdpSocket::bind(secure.pop.web()).is_err() != offered {
            assert!(begun.elapsed() < PATIENCE, "{offered}");
            thread::yield_now();
        }
    }
}

#[test]
fn a_certificate_that_has_ended_is_used_with_a_warning() {
    let secure = Secure::new("");
    let ended = secure.renew_with(|parameters| parameters.not_after = rcgen::date_time_ymd(2020, 1, 1));
    let daemon = secure.start();
    daemon.wait_log("the certificate has ended");
    assert!(!secure.is_trusted(&ended));
    assert!(secure.curl(&ended, &["--insecure"]).status.success());
}

#[test]
fn certificates_are_reloaded_under_load_and_no_request_fails() {
    let secure = Secure::new("");
    let daemon = secure.start();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut requests = 0;
                    while !over.load(Ordering::Relaxed) {
                        // Two requests on one connection.
                        let url = format!("https://{NAME}:{}/again", secure.pop.web().port());
                        let said = secure.curl(Path::new("/dev/null"), &["--insecure", &url]);
                        assert!(said.status.success(), "{said:?}");
                        requests += 2;
                    }
                    requests
                })
            })
            .collect();
        for _ in 0..30 {
            secure.renew();
            assert_eq!(reload(&daemon).tls.len(), 1);
        }
        over.store(true, Ordering::Relaxed);
        let requests: u32 = clients.into_iter().map(|client| client.join().unwrap()).sum();
        assert!(requests > 0);
    });
}

#[test]
fn settings_of_tls_and_the_protocol_itself_change_by_a_reload() {
    let mut secure = Secure::new("");
    let trusted = secure.renew();
    let daemon = secure.start();
    assert!(secure.curl(&trusted, &["--tls-max", "1.2"]).status.success());
    secure.pop.protocol = secure.pop.protocol.replace(".key\"", ".key\", min-version = \"1.3\"");
    secure.pop.write();
    assert_eq!(reload(&daemon).services.changed, ["web"]);
    assert!(!secure.curl(&trusted, &["--tls-max", "1.2"]).status.success());
    assert!(secure.is_trusted(&trusted));

    secure.pop.protocol = "protocol = \"http\"".to_owned();
    secure.pop.write();
    assert_eq!(reload(&daemon).services.changed, ["web"]);
    assert_eq!(get(secure.pop.web(), "/").status, 200);
    assert!(!secure.is_trusted(&trusted), "no TLS is spoken any more");
}

/// What OpenSSL says of a request.
fn s_client(secure: &Secure, arguments: &[&str; 3]) -> String {
    let script = r#"printf 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n' |
        openssl s_client -connect "$1" -servername web.example -ign_eof "$2" "$3" "$4""#;
    let address = secure.pop.web().to_string();
    let output = Command::new("bash").args(["-c", script, "bash", &address]).args(arguments).output();
    String::from_utf8_lossy(&output.unwrap().stdout).into_owned()
}

#[test]
fn a_session_goes_on_after_an_upgrade_though_no_file_has_the_keys() {
    let secure = Secure::new("");
    let mut daemon = secure.start();
    let directory = tempfile::tempdir().unwrap();
    let session = directory.path().join("session");
    let session = session.to_str().unwrap();
    let first = s_client(&secure, &["-sess_out", session, "-tls1_3"]);
    assert!(first.contains("New, TLSv1") && first.contains("200 OK"), "{first}");
    for _ in 0..2 {
        daemon.upgrade();
        let after = s_client(&secure, &["-sess_in", session, "-tls1_3"]);
        assert!(after.contains("Reused, TLSv1") && after.contains("200 OK"), "{after}");
    }
}

#[test]
fn a_session_that_began_at_one_daemon_goes_on_at_another_with_the_same_ticket_keys() {
    let key = "P8+mOF1+GLXW328dbMq06A94CPEcG5eO9FSnzTCX+fx5PI+D0h+zspvfrslXd+bB4fwOb6yAvZEp7LfrOR1q3/jLNVQaznRQkbimu9u+0hA=";
    let directory = tempfile::tempdir().unwrap();
    let tickets = directory.path().join("tickets");
    secret(&tickets, key);
    let more = format!(", ticket-keys = \"{}\"", tickets.display());
    let (here, there) = (Secure::new(&more), Secure::new(&more));
    let _daemons = (here.start(), there.start());
    let session = directory.path().join("session");
    let session = session.to_str().unwrap();
    let s_client = |secure: &Secure, flag, version| s_client(secure, &[flag, session, version]);
    for version in ["-tls1_2", "-tls1_3"] {
        let first = s_client(&here, "-sess_out", version);
        assert!(first.contains("New, TLSv1") && first.contains("200 OK"), "{first}");
        let second = s_client(&there, "-sess_in", version);
        assert!(second.contains("Reused, TLSv1") && second.contains("200 OK"), "{second}");
    }
    let metrics = get(there.pop.metrics(), "/metrics").body;
    for line in [
        r#"proxima_service_tls_handshakes_total{service="web",version="1.2",resumed="yes"} 1"#,
        r#"proxima_service_tls_handshakes_total{service="web",version="1.3",resumed="yes"} 1"#,
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
}
