//! Certificates that are ordered from an ACME server (Pebble): by either challenge, renewed, kept, and what happens when none can
//! be had.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use nix::sys::signal::Signal;
use proxima_api::{Certificate, Certificates, EventKind, Reloaded, Renewing, SessionState, Status, paths};

use crate::support::{App, Client, Daemon, Pebble, PebbleManner, Pop, Port, Router, get, proxima};

const NAME: &str = "web.example";

/// A PoP whose service `secure` speaks HTTPS with a certificate from Pebble; `web` speaks plain HTTP.
struct Managed {
    pop: Pop,
    secure: Port,
    pebble: Pebble,
    app: App,
    router: Router,
    challenge: &'static str,
    /// Lines of `[acme.pebble]`.
    more: String,
}

impl Managed {
    fn new(challenge: &'static str, manner: PebbleManner) -> Self {
        let mut managed = Self::without_server(challenge, manner);
        managed.pebble.run();
        managed
    }

    fn without_server(challenge: &'static str, manner: PebbleManner) -> Self {
        let (router, app, secure) = (Router::polite(), App::healthy("eu-1"), Port::reserve());
        let pop = Pop::new().peer("router", &router).backend("eu", &app);
        let manner = PebbleManner { http: Some(pop.web()), tls: Some(secure.address), ..manner };
        let pebble = Pebble::absent(manner);
        Self { pop, secure, pebble, app, router, challenge, more: String::new() }
    }

    fn write(&mut self) -> PathBuf {
        let (directory, ca, state) = (self.pebble.directory_url(), self.pebble.ca_file(), self.state());
        let (ca, state, secure) = (ca.display(), state.display(), self.secure.address);
        let (challenge, more) = (self.challenge, &self.more);
        self.pop.more = format!(
            r#"
[acme.pebble]
directory = "{directory}"
accept-terms-of-service = true
ca-file = "{ca}"
state-directory = "{state}"
challenge = "{challenge}"
{more}
[services.secure]
listen = ["{secure}"]
protocol = "https"
tls = {{ acme = "pebble", names = ["{NAME}", "www.{NAME}"] }}
routes = [{{ pool = "app" }}]
"#
        );
        self.pop.write()
    }

    fn start(&mut self) -> Daemon {
        self.write();
        self.pop.start_announced(&self.router)
    }

    fn state(&self) -> PathBuf {
        self.pop.directory().join("acme")
    }

    /// The only file of this name below the state directory.
    fn stored(&self, name: &str) -> PathBuf {
        let servers = fs::read_dir(self.state().join("pebble")).unwrap();
        let found: Vec<_> =
            servers.map(|server| server.unwrap().path().join(name)).filter(|path| path.exists()).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].clone()
    }

    fn curl(&self, more: &[&str]) -> Output {
        let mut command = Command::new("curl");
        let SocketAddr::V4(secure) = self.secure.address else { panic!("IPv4") };
        command.args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--max-time", "30"]);
        command.args(["--resolve", &format!("{NAME}:{}:{}", secure.port(), secure.ip())]).args(more);
        command.arg(format!("https://{NAME}:{}/", secure.port())).output().unwrap()
    }

    fn is_trusted(&self, root: &Path) -> bool {
        self.curl(&["--cacert", root.to_str().unwrap()]).status.success()
    }

    /// The serial number of the certificate that clients get.
    fn serial(&self) -> String {
        let script = format!(
            "openssl s_client -connect {} -servername {NAME} </dev/null 2>/dev/null | openssl x509 -noout -serial",
            self.secure.address
        );
        let said = Command::new("sh").args(["-c", &script]).output().unwrap();
        String::from_utf8(said.stdout).unwrap()
    }
}

/// The only certificate of the daemon.
fn certificate(daemon: &Daemon) -> Certificate {
    let mut certificates = daemon.ask::<Certificates>(paths::CERTIFICATES).certificates;
    assert_eq!(certificates.len(), 1);
    certificates.remove(0)
}

/// Has another certificate ordered.
fn renew(daemon: &Daemon) {
    let renewing: Renewing = daemon.post(&paths::renew(&"secure".parse().unwrap()), "");
    assert_eq!(renewing.issuer.as_str(), "pebble");
}

/// Waits until so many certificates have come.
fn wait_obtained(daemon: &Daemon, count: usize) {
    daemon.wait_events(&format!("certificate {count}"), |events| {
        let obtained =
            |event: &&proxima_api::Event| matches!(event.kind, EventKind::CertificateObtained { .. });
        (events.iter().filter(obtained).count() >= count).then_some(())
    });
}

/// Waits until an order has failed; why, and whether there is a certificate all the same.
fn wait_failed(daemon: &Daemon) -> (String, bool) {
    daemon.wait_event("a failed order", |event| match &event.kind {
        EventKind::CertificateFailed { error, ends, .. } => Some((error.clone(), ends.is_some())),
        _ => None,
    })
}

fn is_missing_told(daemon: &Daemon) -> bool {
    daemon.wait_events("all events so far", |events| {
        Some(events.iter().any(|event| matches!(event.kind, EventKind::CertificateMissing { .. })))
    })
}

/// A connection of HTTPS that stays open.
struct Kept {
    client: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Kept {
    fn open(address: SocketAddr) -> Self {
        let mut client = Command::new("openssl")
            .args(["s_client", "-quiet", "-connect", &address.to_string(), "-servername", NAME])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let answers = BufReader::new(client.stdout.take().unwrap());
        Self { client, answers }
    }

    /// A request over it; the answer's body.
    fn get(&mut self) -> String {
        let stdin = self.client.stdin.as_mut().unwrap();
        stdin.write_all(b"GET / HTTP/1.1\r\nHost: web.example\r\n\r\n").unwrap();
        stdin.flush().unwrap();
        let mut length = 0;
        loop {
            let mut line = String::new();
            assert_ne!(self.answers.read_line(&mut line).unwrap(), 0, "the connection was closed");
            if let Some(found) = line.to_lowercase().strip_prefix("content-length: ") {
                length = found.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        self.answers.read_exact(&mut body).unwrap();
        String::from_utf8(body).unwrap()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.client.kill().ok();
        self.client.wait().ok();
    }
}

#[test]
fn by_tls_alpn_01_a_certificate_is_ordered_and_had_again_of_a_server_that_has_lost_the_account() {
    let mut managed = Managed::new("tls-alpn-01", PebbleManner::default());
    let daemon = managed.start();
    wait_obtained(&daemon, 1);
    assert!(is_missing_told(&daemon), "there was none at the start");
    assert!(managed.is_trusted(&managed.pebble.root()));
    let first = managed.serial();
    let shown = certificate(&daemon);
    assert_eq!(shown.names, [NAME, "www.web.example"]);
    assert_eq!(shown.file, managed.stored("secure.pem").display().to_string());

    managed.pebble.run();
    renew(&daemon);
    wait_obtained(&daemon, 2);
    assert!(managed.is_trusted(&managed.pebble.root()));
    assert_ne!(managed.serial(), first);
    let order = certificate(&daemon).order.unwrap();
    assert_eq!((order.issuer.as_str(), order.failures, order.error), ("pebble", 0, None));
    let metrics = get(managed.pop.metrics(), "/metrics").body;
    for line in [
        r#"proxima_acme_orders_total{service="secure",issuer="pebble",result="obtained"} 2"#,
        r#"proxima_acme_order_failures{service="secure",issuer="pebble"} 0"#,
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    let expiry =
        r#"proxima_service_certificate_expiry_timestamp_seconds{service="secure",name="web.example"} "#;
    assert!(metrics.contains(expiry), "{metrics}");
}

#[test]
fn a_certificate_is_renewed_when_two_thirds_of_its_life_are_over_and_an_open_connection_goes_on() {
    let mut managed = Managed::new("tls-alpn-01", PebbleManner { valid: 9, ..PebbleManner::default() });
    let daemon = managed.start();
    wait_obtained(&daemon, 1);
    let mut kept = Kept::open(managed.secure.address);
    assert!(kept.get().starts_with("eu-1"));
    wait_obtained(&daemon, 2);
    assert!(kept.get().starts_with("eu-1"), "the connection of before is not touched");
    let obtained = daemon.wait_events("two certificates", |events| {
        let ends = events.iter().filter_map(|event| match &event.kind {
            EventKind::CertificateObtained { ends, .. } => Some((event.at, *ends)),
            _ => None,
        });
        Some(ends.take(2).collect::<Vec<_>>())
    });
    let ((_, first_ends), (second_at, second_ends)) = (obtained[0], obtained[1]);
    let left = first_ends.unix_micros() - second_at.unix_micros();
    assert!(left < 3_000_000, "a third of the life, and a thirtieth by chance: {obtained:?}");
    assert!(first_ends < second_ends, "{obtained:?}");
}

#[test]
fn by_http_01_a_certificate_is_ordered_and_at_will_again_and_a_restart_without_a_server_serves_the_stored_one()
 {
    let mut managed = Managed::new("http-01", PebbleManner::default());
    let mut daemon = managed.start();
    wait_obtained(&daemon, 1);
    let root = managed.pebble.root();
    assert!(managed.is_trusted(&root));
    let path = "/.well-known/acme-challenge/unknown";
    assert!(get(managed.pop.web(), path).body.starts_with("eu-1"), "what is not pending goes to the routes");
    for file in ["secure.pem", "account.json"] {
        let mode = fs::metadata(managed.stored(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let (serial, listed) = (managed.serial(), proxima(&managed.pop.socket(), &["certificates"]));
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("web.example www.web.example  pebble"), "{listed}");
    let refused = proxima(&managed.pop.socket(), &["renew", "web"]);
    let refused = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.contains("no certificate is ordered for `web`"), "{refused}");
    assert!(refused.contains("services that have one: secure"), "{refused}");
    assert!(proxima(&managed.pop.socket(), &["renew", "secure"]).status.success());
    wait_obtained(&daemon, 2);
    assert_ne!(managed.serial(), serial, "an operator has asked for another");
    let serial = managed.serial();
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait_exit().success());

    managed.pebble.stop();
    let daemon = managed.pop.start();
    managed.router.wait_complete(1);
    assert!(managed.is_trusted(&root));
    assert_eq!(managed.serial(), serial);
    daemon.wait_event("readiness", |event| matches!(event.kind, EventKind::DaemonReady { .. }).then_some(()));
    assert!(!is_missing_told(&daemon));
    assert_eq!(certificate(&daemon).file, managed.stored("secure.pem").display().to_string());
}

#[test]
fn while_the_server_is_away_the_certificate_and_everything_else_stay() {
    let mut managed = Managed::new("tls-alpn-01", PebbleManner::default());
    let daemon = managed.start();
    wait_obtained(&daemon, 1);
    let (root, serial) = (managed.pebble.root(), managed.serial());
    managed.pebble.stop();
    renew(&daemon);
    let (error, has_one) = wait_failed(&daemon);
    assert!(error.contains("can't connect to 127.0.0.1") && has_one, "{error}");
    assert_eq!(managed.serial(), serial);
    assert!(managed.is_trusted(&root));
    assert!(Client::connect(managed.pop.web()).get("/").unwrap().body.starts_with("eu-1"));
    let status = daemon.ask::<Status>(paths::STATUS);
    assert_eq!(status.peers.established, 1);
    let lost = daemon.wait_events("all events so far", |events| {
        let lost = |event: &proxima_api::Event| {
            matches!(event.kind, EventKind::PeerState { from: SessionState::Established, .. })
        };
        Some(events.iter().any(lost))
    });
    assert!(!lost, "the session with the router");
    let order = certificate(&daemon).order.unwrap();
    assert_eq!((order.failures, order.next.is_some()), (1, true), "tried again later");
}

#[test]
fn without_any_certificate_clients_are_refused_until_one_comes_and_routes_are_announced() {
    let mut managed = Managed::without_server("tls-alpn-01", PebbleManner::default());
    // Waits until everything is announced.
    let daemon = managed.start();
    let (error, has_one) = wait_failed(&daemon);
    assert!(error.contains("can't connect to 127.0.0.1") && !has_one, "{error}");
    assert!(is_missing_told(&daemon));
    let said = managed.curl(&["--insecure"]);
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("alert access denied"), "{said}");
    let metrics = get(managed.pop.metrics(), "/metrics").body;
    let refused =
        r#"proxima_service_tls_handshake_failures_total{service="secure",reason="no-certificate"} 1"#;
    assert!(metrics.lines().any(|line| line == refused), "{metrics}");
    let listed = proxima(&managed.pop.socket(), &["certificates"]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("none yet") && listed.contains("failed once: "), "{listed}");

    // A changed issuer is asked at once.
    managed.pebble.run();
    managed.more = "contact = [\"mailto:ops@web.example\"]".to_owned();
    managed.write();
    let changes: Reloaded = daemon.post(paths::RELOAD, "");
    assert_eq!(changes.other, ["acme"]);
    wait_obtained(&daemon, 1);
    assert!(managed.is_trusted(&managed.pebble.root()));
    let before = managed.serial();
    assert_eq!(daemon.post::<Reloaded>(paths::RELOAD, ""), Reloaded::default(), "the file is what is in use");

    // Another contact, which the account is told of; and other names, which take another certificate.
    managed.more = "contact = [\"mailto:noc@web.example\"]\nkey-type = \"rsa2048\"".to_owned();
    managed.write();
    let text = fs::read_to_string(managed.pop.directory().join("proxima.toml")).unwrap();
    let text = text.replace(&format!("\"www.{NAME}\""), &format!("\"shop.{NAME}\""));
    fs::write(managed.pop.directory().join("proxima.toml"), text).unwrap();
    daemon.post::<Reloaded>(paths::RELOAD, "");
    wait_obtained(&daemon, 2);
    assert_ne!(managed.serial(), before);
    assert_eq!(certificate(&daemon).names, [NAME, "shop.web.example"]);
    assert!(fs::read_to_string(managed.stored("account.json")).unwrap().contains("noc@web.example"));
}

#[test]
fn nonces_that_are_not_taken_cost_attempts_and_no_certificate() {
    for challenge in ["http-01", "tls-alpn-01"] {
        let manner = PebbleManner { rejected_nonces: 25, ..PebbleManner::default() };
        let mut managed = Managed::new(challenge, manner);
        let daemon = managed.start();
        wait_obtained(&daemon, 1);
        assert!(managed.is_trusted(&managed.pebble.root()));
    }
}

#[test]
fn a_server_that_wants_an_account_elsewhere_gets_it_and_without_it_says_what_is_missing() {
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let manner = PebbleManner { external: Some(("kid-1", key)), ..PebbleManner::default() };
    let mut managed = Managed::new("tls-alpn-01", manner);
    let daemon = managed.start();
    let (error, _) = wait_failed(&daemon);
    assert!(
        error.contains("externalAccountRequired") && error.ends_with("set `external-account`"),
        "{error}"
    );

    let file = managed.pop.directory().join("eab.key");
    let path = file.display();
    managed.more = format!("external-account = {{ key-id = \"kid-1\", key-file = \"{path}\" }}");
    managed.write();
    fs::write(&file, "").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let (_, refused) = daemon.refused("POST", paths::RELOAD, "");
    assert!(refused.error.contains("eab.key: no key in base64url in it"), "{refused:?}");
    fs::write(&file, key).unwrap();
    daemon.post::<Reloaded>(paths::RELOAD, "");
    wait_obtained(&daemon, 1);
    assert!(managed.is_trusted(&managed.pebble.root()));
}

#[test]
fn a_name_that_is_not_proven_is_told_with_the_servers_reason() {
    let mut managed = Managed::without_server("http-01", PebbleManner::default());
    let nobody = Port::reserve();
    managed.pebble = Pebble::start(PebbleManner { http: Some(nobody.address), ..PebbleManner::default() });
    let daemon = managed.start();
    let (error, _) = wait_failed(&daemon);
    assert!(error.contains("web.example is not proven to be ours: ") && error.contains("refused"), "{error}");
    assert!(managed.app.name == "eu-1" && get(managed.pop.web(), "/").body.starts_with("eu-1"));
}

/// With anycast the server's question comes to whichever PoP is near to it.
#[test]
fn another_pop_passes_the_servers_question_on_and_serves_a_copy_of_the_certificate() {
    let (far_router, far_app) = (Router::polite(), App::healthy("us-1"));
    let mut far = Pop::new().peer("router", &far_router).backend("us", &far_app);
    let mut managed = Managed::without_server("http-01", PebbleManner::default());
    managed.pebble = Pebble::start(PebbleManner { http: Some(far.web()), ..PebbleManner::default() });

    // A certificate of files first, so that the other PoP has found out that this one is there before anything is ordered.
    let key = rcgen::KeyPair::generate().unwrap();
    let own = rcgen::CertificateParams::new(vec![NAME.to_owned()]).unwrap().self_signed(&key).unwrap();
    let (pem, key_file) = (managed.pop.directory().join("own.pem"), managed.pop.directory().join("own.key"));
    fs::write(&pem, own.pem()).unwrap();
    fs::write(&key_file, key.serialize_pem()).unwrap();
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).unwrap();
    let file = managed.write();
    let ordered = fs::read_to_string(&file).unwrap();
    let of_acme = format!("acme = \"pebble\", names = [\"{NAME}\", \"www.{NAME}\"]");
    let of_files = format!("certificate = \"{}\", key = \"{}\"", pem.display(), key_file.display());
    fs::write(&file, ordered.replace(&of_acme, &of_files)).unwrap();
    let daemon = Daemon::start(&file, &managed.pop.socket());
    managed.router.wait_complete(0);
    assert!(managed.is_trusted(&pem) && certificate(&daemon).order.is_none());

    far.routes = format!(
        "[[services.web.routes]]\nmatch = {{ path-prefix = \"/.well-known/acme-challenge\" }}\npool = \"acme\"\n{}",
        far.routes
    );
    far.more = format!(
        "[pools.acme]\nprobe = {{ tcp = true, interval = \"200ms\", timeout = \"200ms\" }}\n\
         [[pools.acme.backends]]\nname = \"eu1\"\nregion = \"eu\"\naddress = \"{}\"\n",
        managed.pop.web()
    );
    let passes_on = far.start_announced(&far_router);
    passes_on.wait_verdict("acme/eu1", proxima_types::Health::Up);

    fs::write(&file, &ordered).unwrap();
    let changes: Reloaded = daemon.post(paths::RELOAD, "");
    assert_eq!(changes.tls, ["services.secure.tls"]);
    wait_obtained(&daemon, 1);
    let root = managed.pebble.root();
    assert!(managed.is_trusted(&root));

    // Chain and key are in one file, which serves for both.
    let copy = far.directory().join("copy.pem");
    fs::copy(managed.stored("secure.pem"), &copy).unwrap();
    drop(daemon);
    let copy = copy.display();
    managed.pop.more = format!(
        "[services.secure]\nlisten = [\"{}\"]\nprotocol = \"https\"\ntls = {{ certificate = \"{copy}\", key = \"{copy}\" }}\n\
         routes = [{{ pool = \"app\" }}]\n",
        managed.secure.address
    );
    let daemon = managed.pop.start();
    managed.router.wait_complete(1);
    assert!(managed.is_trusted(&root) && certificate(&daemon).order.is_none());
}
