//! What an ACME server says about when to come again, by a server that the test plays over real TLS: renewal information (RFC 9773),
//! and `Retry-After`.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use proxima_acme::Held;
use proxima_acme_io::{
    Acme, AcmeEvent, ChallengeKind, Issuer, IssuerConfig, KeyType, Stored, certificate_file,
};
use proxima_types::ServiceName;
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

const PATIENCE: Duration = Duration::from_secs(30);
/// Of the certificate below (RFC 9773 §4.1).
const IDENTIFIER: &str = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE";
const CERTIFICATE: &[u8] = include_bytes!("../../x509/certificates/rfc9773.der");

/// A request: method, path and body.
type Asked = (String, String, String);

/// A server that answers by the path.
struct Server {
    address: std::net::SocketAddr,
    root: CertificateDer<'static>,
    asked: mpsc::UnboundedReceiver<Asked>,
}

impl Server {
    /// With these answers, whole; `ADDRESS` stands for its own.
    async fn start(answers: &'static [(&'static str, &'static str)]) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
        let root = certificate.der().clone();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![root.clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, asked) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let mut tls = acceptor.accept(tcp).await.unwrap();
                let asked = request(&mut tls).await;
                let answer = answers.iter().find(|(path, _)| asked.1 == *path);
                let answer = answer
                    .map_or("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", |(_, answer)| answer);
                tell.send(asked).unwrap();
                let answer = answer.replace("ADDRESS", &address.to_string());
                tls.write_all(answer.as_bytes()).await.unwrap();
                tls.shutdown().await.ok(); // the client may have closed
            }
        });
        Self { address, root, asked }
    }

    /// The next request, which has to be for this.
    async fn expect(&mut self, method: &str, path: &str) -> String {
        let asked = timeout(PATIENCE, self.asked.recv()).await.expect(path).unwrap();
        assert_eq!((asked.0.as_str(), asked.1.as_str()), (method, path));
        asked.2
    }

    /// An issuer that has an account here, and a certificate that is valid for long.
    fn issuer(&self, state: &Path) -> Issuer {
        let directory = format!("https://{}/dir", self.address);
        let service: ServiceName = "web".parse().unwrap();
        let certificates = [(service.clone(), vec!["example.com".to_owned()])].into();
        let files = certificate_file(state, &directory, &service).parent().unwrap().to_owned();
        fs::create_dir_all(&files).unwrap();
        let key = URL_SAFE_NO_PAD.encode(KeyPair::generate().unwrap().serialize_der());
        let account = format!(
            r#"{{"contact":[],"credentials":{{"id":"https://{}/account/1","key_pkcs8":"{key}","directory":"{directory}"}}}}"#,
            self.address
        );
        fs::write(files.join("account.json"), account).unwrap();
        let now = SystemTime::now();
        let held = Held {
            not_before: now - Duration::from_hours(1),
            not_after: now + Duration::from_hours(24 * 90),
            names: ["example.com".to_owned()].into(),
        };
        let stored = Stored { held, certificate: CertificateDer::from(CERTIFICATE.to_vec()) };
        let config = IssuerConfig {
            name: "test".parse().unwrap(),
            directory,
            contact: Vec::new(),
            external_account: None,
            roots: Some(vec![self.root.clone()]),
            challenge: ChallengeKind::Http01,
            key_type: KeyType::P256,
            state: state.to_owned(),
            certificates,
        };
        Issuer { config, stored: [(service, stored)].into() }
    }
}

async fn request(stream: &mut (impl AsyncReadExt + Unpin)) -> Asked {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().unwrap())
            });
            if body.len() >= length.unwrap_or_default() {
                let mut words = head.split(' ');
                let mut word = || words.next().unwrap().to_owned();
                return (word(), word(), body.to_owned());
            }
        }
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "{text}");
    }
}

const DIRECTORY: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n\r\n\
    {\"newNonce\":\"https://ADDRESS/nonce\",\"newAccount\":\"https://ADDRESS/account\",\
    \"newOrder\":\"https://ADDRESS/order\",\"renewalInfo\":\"https://ADDRESS/renewal\"}";
const NONCE: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nReplay-Nonce: abc\r\n\r\n";
/// Busy for an hour.
const BUSY: &str = "HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nRetry-After: 3600\r\n\
    Content-Type: application/problem+json\r\n\r\n\
    {\"type\":\"urn:ietf:params:acme:error:rateLimited\",\"detail\":\"too many certificates\"}";
/// A window that is past: the server wants its certificate replaced now.
const AT_ONCE: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nRetry-After: 21600\r\nContent-Type: application/json\r\n\r\n\
    {\"suggestedWindow\":{\"start\":\"2025-01-02T04:00:00Z\",\"end\":\"2025-01-03T04:00:00Z\"}}";

async fn next(events: &mut mpsc::Receiver<AcmeEvent>) -> AcmeEvent {
    loop {
        match timeout(PATIENCE, events.recv()).await.expect("an event").unwrap() {
            AcmeEvent::Challenges { answered, .. } => answered.send(()).unwrap(),
            event => return event,
        }
    }
}

#[tokio::test]
async fn a_certificate_is_renewed_when_the_server_says_and_after_a_refusal_not_before_it_wants() {
    let mut server = Server::start(&[
        ("/dir", DIRECTORY),
        ("/renewal/aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE", AT_ONCE),
        ("/nonce", NONCE),
        ("/order", BUSY),
    ])
    .await;
    let state = tempfile::tempdir().unwrap();
    let (mut acme, mut events) = Acme::new(|| {});
    acme.set(vec![server.issuer(state.path())]).unwrap();
    server.expect("GET", "/dir").await;
    server.expect("GET", &format!("/renewal/{IDENTIFIER}")).await;
    server.expect("GET", "/dir").await;
    server.expect("HEAD", "/nonce").await;
    let order = server.expect("POST", "/order").await;
    let payload = order.split(r#""payload":""#).nth(1).unwrap().split('"').next().unwrap();
    let payload = String::from_utf8(URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    assert_eq!(
        payload,
        format!(r#"{{"replaces":"{IDENTIFIER}","identifiers":[{{"type":"dns","value":"example.com"}}]}}"#)
    );

    let planned = next(&mut events).await;
    let AcmeEvent::Planned { at: Some(by_lifetime), .. } = planned else { panic!("{planned:?}") };
    assert!(by_lifetime > SystemTime::now() + Duration::from_hours(24 * 50));
    let planned = next(&mut events).await;
    assert!(matches!(planned, AcmeEvent::Planned { at: None, .. }), "{planned:?}");
    let failed = next(&mut events).await;
    let AcmeEvent::Failed { error, retry_at, failures: 1, .. } = failed else { panic!("{failed:?}") };
    assert!(error.ends_with("/order answers 429: too many certificates"), "{error}");
    let pause = retry_at.duration_since(SystemTime::now()).unwrap();
    assert!(pause > Duration::from_mins(59) && pause <= Duration::from_hours(1), "{pause:?}");
}

#[tokio::test]
async fn a_server_without_renewal_information_is_asked_when_two_thirds_are_over() {
    const PLAIN: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n\r\n\
        {\"newNonce\":\"https://ADDRESS/n\",\"newAccount\":\"https://ADDRESS/a\",\"newOrder\":\"https://ADDRESS/o\"}";
    let mut server = Server::start(&[("/dir", PLAIN)]).await;
    let state = tempfile::tempdir().unwrap();
    let (mut acme, mut events) = Acme::new(|| {});
    let mut issuer = server.issuer(state.path());
    acme.set(vec![issuer.clone()]).unwrap();
    server.expect("GET", "/dir").await;
    let planned = next(&mut events).await;
    assert!(matches!(planned, AcmeEvent::Planned { at: Some(_), .. }), "{planned:?}");

    // As before: not disturbed. Another: asked anew, once the challenges of the one before are not answered any more.
    acme.set(vec![issuer.clone()]).unwrap();
    issuer.config.key_type = KeyType::P384;
    acme.set(vec![issuer]).unwrap();
    let planned = next(&mut events).await;
    assert!(matches!(planned, AcmeEvent::Planned { at: Some(_), .. }), "{planned:?}");
    server.expect("GET", "/dir").await;
}

#[tokio::test]
async fn a_window_without_retry_after_is_heeded_too() {
    const PLAIN: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n\r\n\
        {\"suggestedWindow\":{\"start\":\"2025-01-02T04:00:00Z\",\"end\":\"2025-01-03T04:00:00Z\"}}";
    let mut server = Server::start(&[
        ("/dir", DIRECTORY),
        ("/renewal/aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE", PLAIN),
        ("/nonce", NONCE),
        ("/order", BUSY),
    ])
    .await;
    let state = tempfile::tempdir().unwrap();
    let (mut acme, _events) = Acme::new(|| {});
    acme.set(vec![server.issuer(state.path())]).unwrap();
    server.expect("GET", "/dir").await;
    server.expect("GET", &format!("/renewal/{IDENTIFIER}")).await;
    server.expect("GET", "/dir").await;
    server.expect("HEAD", "/nonce").await;
    server.expect("POST", "/order").await;
}

#[tokio::test]
async fn a_retry_after_beyond_the_end_of_time_ends_nothing() {
    const HUGE: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nRetry-After: 18446744073709551615\r\n\
        Content-Type: application/json\r\n\r\n\
        {\"suggestedWindow\":{\"start\":\"2035-01-02T04:00:00Z\",\"end\":\"2035-01-03T04:00:00Z\"}}";
    let mut server = Server::start(&[
        ("/dir", DIRECTORY),
        ("/renewal/aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE", HUGE),
        ("/nonce", NONCE),
        ("/order", BUSY),
    ])
    .await;
    let state = tempfile::tempdir().unwrap();
    let (mut acme, mut events) = Acme::new(|| {});
    acme.set(vec![server.issuer(state.path())]).unwrap();
    server.expect("GET", "/dir").await;
    server.expect("GET", &format!("/renewal/{IDENTIFIER}")).await;
    next(&mut events).await;
    assert!(acme.renew(&"web".parse().unwrap()));
    server.expect("GET", "/dir").await;
    server.expect("HEAD", "/nonce").await;
    server.expect("POST", "/order").await;
}

#[tokio::test]
async fn a_reload_after_a_renewal_orders_nothing_and_a_file_put_there_by_hand_is_renewed_when_it_is_due() {
    let server = Server::start(&[("/dir", DIRECTORY), ("/nonce", NONCE), ("/order", BUSY)]).await;
    let state = tempfile::tempdir().unwrap();
    let (mut acme, mut events) = Acme::new(|| {});
    let mut issuer = server.issuer(state.path());
    // Another service has no certificate, and its order is refused for an hour.
    let (web, other): (ServiceName, ServiceName) = ("web".parse().unwrap(), "other".parse().unwrap());
    issuer.config.certificates.insert(other.clone(), vec!["other.example".to_owned()]);
    acme.set(vec![issuer.clone()]).unwrap();
    let (mut due, mut is_refused) = (None, false);
    while due.is_none() || !is_refused {
        match next(&mut events).await {
            AcmeEvent::Failed { service, failures: 1, .. } if service == other => is_refused = true,
            AcmeEvent::Planned { service, at: Some(at) } if service == web => due = Some(at),
            AcmeEvent::Planned { .. } => {}
            event => panic!("{event:?}"),
        }
    }

    // As after `web` was renewed: what is there differs, and the configuration does not.
    let stored = issuer.stored.get_mut(&web).unwrap();
    let mut der = stored.certificate.to_vec();
    *der.last_mut().unwrap() ^= 1;
    stored.certificate = der.into();
    stored.held.not_before += Duration::from_mins(30);
    stored.held.not_after += Duration::from_hours(24 * 9);
    acme.set(vec![issuer]).unwrap();
    loop {
        match next(&mut events).await {
            AcmeEvent::Planned { service, at: Some(at) } if service == web && at > due.unwrap() => break,
            // That the refused order waits for.
            AcmeEvent::Planned { service, at: Some(at) } if service == other => {
                assert!(at > SystemTime::now() + Duration::from_mins(50));
            }
            AcmeEvent::Planned { service, at: Some(_) } if service == web => {}
            event => panic!("{event:?}"),
        }
    }
    // Nor afterwards: what is told comes before a wish is heard, and the wish is the second to fail.
    assert!(acme.renew(&other));
    loop {
        match next(&mut events).await {
            AcmeEvent::Failed { service, failures, .. } => break assert_eq!((service, failures), (other, 2)),
            AcmeEvent::Planned { .. } => {}
            event => panic!("{event:?}"),
        }
    }
}
