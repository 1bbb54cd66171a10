//! Workers that echo what clients send on their streams, and clients.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use proxima_proxy::{
    QuicStats,
    quic::{self, Admission, ConnectionIds, Counters, Crypto, Handshake, Limits, Port},
};
use quinn::{ClientConfig, Connection, Endpoint, TransportConfig, crypto::rustls::QuicClientConfig};
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tokio::{sync::watch, task::LocalSet};

/// Long enough for anything that happens at all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not happen"))
}

/// A certificate for `localhost` and as many other names as asked for, and those who trust it.
pub(crate) struct Identity {
    server: Arc<rustls::ServerConfig>,
    client: rustls::ClientConfig,
}

impl Identity {
    pub(crate) fn new(more_names: usize) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut names = vec!["localhost".to_owned()];
        names.extend((0..more_names).map(|n| format!("a-name-to-make-the-certificate-long-{n}.example.com")));
        let params = CertificateParams::new(names).unwrap();
        let certificate = CertifiedIssuer::self_signed(params, key).unwrap();
        let key = PrivateKeyDer::Pkcs8(certificate.key().serialize_der().into());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut server = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        server.alpn_protocols = vec![b"echo".to_vec()];
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        let mut client = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.alpn_protocols = vec![b"echo".to_vec()];
        Self { server: Arc::new(server), client }
    }

    /// A client that sends its first packets again soon.
    pub(crate) fn client(&self, of: SocketAddr) -> Endpoint {
        let mut config =
            ClientConfig::new(Arc::new(QuicClientConfig::try_from(self.client.clone()).unwrap()));
        let mut transport = TransportConfig::default();
        transport.initial_rtt(Duration::from_millis(20));
        config.transport_config(Arc::new(transport));
        let mut endpoint = Endpoint::client(any(of)).unwrap();
        endpoint.set_default_client_config(config);
        endpoint
    }
}

/// Any port of the loopback interface, in the family of `of`.
pub(crate) fn any(of: SocketAddr) -> SocketAddr {
    SocketAddr::new(of.ip(), 0)
}

#[derive(Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) listen: &'static str,
    pub(crate) workers: usize,
    pub(crate) limits: Limits,
    /// How long a handshake may take.
    pub(crate) deadline: Duration,
}

impl Default for Setup {
    fn default() -> Self {
        Self { listen: "127.0.0.1:0", workers: 4, limits: Limits::default(), deadline: PATIENCE }
    }
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) counters: Vec<Arc<Counters>>,
    pub(crate) handshakes: Arc<AtomicUsize>,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(identity: &Identity, setup: Setup) -> Self {
        let ids = Arc::new(ConnectionIds::private().unwrap());
        let (address, ports) = quic::bind(setup.listen.parse().unwrap(), setup.workers, &ids).unwrap();
        let counters = ports.iter().map(Port::counters).collect();
        let crypto = Crypto::new(identity.server.clone()).unwrap();
        let (stop, stopped) = watch::channel(false);
        let handshakes = Arc::<AtomicUsize>::default();
        let threads = ports
            .into_iter()
            .map(|port| {
                let (crypto, stopped, handshakes) = (crypto.clone(), stopped.clone(), handshakes.clone());
                std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    LocalSet::new().block_on(&runtime, serve(port, crypto, setup, stopped, handshakes));
                })
            })
            .collect();
        Self { address, counters, handshakes, stop, threads }
    }

    /// How many workers have handed datagrams to others.
    pub(crate) fn forwarding_workers(&self) -> usize {
        let has_forwarded = |counters: &&Arc<Counters>| {
            let mut own = QuicStats::default();
            counters.add_to(&mut own);
            own.forwarded > 0
        };
        self.counters.iter().filter(has_forwarded).count()
    }

    /// Over all workers.
    pub(crate) fn stats(&self) -> QuicStats {
        let mut sum = QuicStats::default();
        self.counters.iter().for_each(|counters| counters.add_to(&mut sum));
        sum
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "a worker panicked");
        }
    }
}

async fn serve(
    port: Port,
    crypto: Crypto,
    setup: Setup,
    mut stopped: watch::Receiver<bool>,
    handshakes: Arc<AtomicUsize>,
) {
    let mut gate = port.open(setup.limits).unwrap();
    loop {
        tokio::select! {
            next = gate.next(|_| Admission::Taken(crypto.clone(), ())) => {
                let handshakes = handshakes.clone();
                tokio::task::spawn_local(echo(next.unwrap().0, setup.deadline, handshakes));
            }
            _ = stopped.wait_for(|stopped| *stopped) => break,
        }
    }
    gate.close(0, Duration::from_millis(200)).await;
}

async fn echo(handshake: Handshake, deadline: Duration, handshakes: Arc<AtomicUsize>) {
    let Ok(connection) = handshake.finish(tokio::time::sleep(deadline)).await else { return };
    handshakes.fetch_add(1, Ordering::Relaxed);
    while let Ok((mut send, mut receive)) = connection.accept_bi().await {
        tokio::task::spawn_local(async move {
            let Ok(said) = receive.read_to_end(1 << 20).await else { return };
            if send.write_all(&said).await.is_ok() {
                let _ = send.finish();
            }
        });
    }
}

/// Sends something and gets it back.
pub(crate) async fn ask(connection: &Connection, said: &[u8]) {
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(said).await.unwrap();
    send.finish().unwrap();
    assert_eq!(receive.read_to_end(1 << 20).await.unwrap(), said);
}
