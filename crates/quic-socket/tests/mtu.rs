//! A connection over a path that takes shorter datagrams than the link it begins with: real routers' messages, in network namespaces of
//! their own.
//!
//! ```text
//! client ── 1500 ── router ── 1400 ── server
//! ```

#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

use std::{
    fs,
    net::{SocketAddr, UdpSocket},
    process::Command,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use nix::{
    sched::{CloneFlags, unshare},
    unistd::gettid,
};
use proxima_quic_socket::Connected;
use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, ServerConfig, TokioRuntime};
use rustls::{RootCertStore, pki_types::PrivatePkcs8KeyDer};

/// Set in the environment of this test program when it runs within the client's namespace.
const INSIDE: &str = "PROXIMA_QUIC_SOCKET_TEST_INSIDE";
/// Of the second link, with headers of IP.
const MTU: u16 = 1400;

/// Runs the test `name` of this program again in a new network namespace, as root of a new user namespace where that is
/// needed. True: this is that run.
fn in_own_namespace(name: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    for namespaces in [["--net"].as_slice(), &["--user", "--map-root-user", "--net"]] {
        let can = Command::new("unshare").args(namespaces).arg("true").output().unwrap();
        if can.status.success() {
            let program = std::env::current_exe().unwrap();
            let output = Command::new("unshare")
                .args(namespaces)
                .arg(program)
                .args(["--exact", name, "--nocapture"])
                .env(INSIDE, "1")
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && said.contains("1 passed"), "{said}");
            return false;
        }
    }
    panic!("this test needs root or unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone)");
}

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace, which lasts as long as its thread: until this is dropped.
struct Host {
    jobs: mpsc::Sender<Job>,
    /// The thread's.
    id: i32,
}

impl Host {
    fn new() -> Self {
        let (jobs, taken) = mpsc::channel::<Job>();
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            tell.send(gettid().as_raw()).unwrap();
            for job in taken {
                job();
            }
        });
        Self { jobs, id: told.recv().unwrap() }
    }

    /// Runs `job` in the namespace.
    fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = mpsc::channel();
        self.jobs.send(Box::new(move || tell.send(job()).unwrap())).unwrap();
        told.recv().unwrap()
    }
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Addresses are there at once, and what is for others goes on.
fn prepare() {
    for (key, value) in [
        ("ipv4/ip_forward", "1"),
        ("ipv6/conf/all/forwarding", "1"),
        ("ipv6/conf/default/forwarding", "1"),
        ("ipv6/conf/all/accept_dad", "0"),
        ("ipv6/conf/default/accept_dad", "0"),
    ] {
        fs::write(format!("/proc/sys/net/{key}"), value).unwrap();
    }
    ip("link set lo up");
}

fn address(link: &str, v4: &str, v6: &str) {
    ip(&format!("link set {link} up"));
    ip(&format!("addr add {v4}/24 dev {link}"));
    ip(&format!("addr add {v6}/64 dev {link} nodad"));
}

fn ways(v4: &str, v6: &str) {
    ip(&format!("route add default via {v4}"));
    ip(&format!("-6 route add default via {v6}"));
}

/// Router and server; the client is where the test runs.
fn network() -> (Host, Host) {
    let (router, server) = (Host::new(), Host::new());
    prepare();
    ip("link add client type veth peer name near");
    ip(&format!("link set near netns {}", router.id));
    let id = server.id;
    router.run(move || {
        prepare();
        ip("link add far type veth peer name server");
        ip(&format!("link set server mtu {MTU} netns {id}"));
        ip(&format!("link set far mtu {MTU}"));
        address("near", "192.0.2.2", "2001:db8:1::2");
        address("far", "198.51.100.2", "2001:db8:2::2");
    });
    address("client", "192.0.2.1", "2001:db8:1::1");
    ways("192.0.2.2", "2001:db8:1::2");
    server.run(|| {
        prepare();
        address("server", "198.51.100.1", "2001:db8:2::1");
        ways("198.51.100.2", "2001:db8:2::2");
    });
    (router, server)
}

/// Says again what it is told, over one connection, and ends with that.
async fn echo(server: Endpoint) {
    let connection = server.accept().await.unwrap().await.unwrap();
    while let Ok((mut send, mut receive)) = connection.accept_bi().await {
        let told = receive.read_to_end(64 * 1024).await.unwrap();
        send.write_all(&told).await.unwrap();
        send.finish().unwrap();
    }
}

async fn exchange(connection: &Connection) {
    let (mut send, mut receive) = connection.open_bi().await.expect("the connection lives");
    let said = vec![7; 20_000];
    send.write_all(&said).await.unwrap();
    send.finish().unwrap();
    assert_eq!(receive.read_to_end(64 * 1024).await.unwrap(), said);
}

#[tokio::test]
async fn a_connection_outlives_its_routers_word_that_a_datagram_was_too_long() {
    if !in_own_namespace("a_connection_outlives_its_routers_word_that_a_datagram_was_too_long") {
        return;
    }
    let (_router, server) = network();
    let certified = rcgen::generate_simple_self_signed(["server".to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certified.cert.der().clone()).unwrap();
    let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
    let serves = ServerConfig::with_single_cert(vec![certified.cert.der().clone()], key.into()).unwrap();
    let asks = ClientConfig::with_root_certificates(Arc::new(roots)).unwrap();

    for (host, headers) in [("198.51.100.1:0", 28), ("[2001:db8:2::1]:0", 48)] {
        let socket = server.run(move || UdpSocket::bind(host).unwrap());
        let address: SocketAddr = socket.local_addr().unwrap();
        let runtime = Arc::new(TokioRuntime);
        let serving =
            Endpoint::new(EndpointConfig::default(), Some(serves.clone()), socket, runtime.clone()).unwrap();
        let echo = tokio::spawn(echo(serving));
        let socket = Arc::new(Connected::to(address, None).unwrap());
        let client =
            Endpoint::new_with_abstract_socket(EndpointConfig::default(), None, socket.clone(), runtime)
                .unwrap();
        let whole = async {
            let connecting = client.connect_with(asks.clone(), address, "server").unwrap();
            let connection = connecting.await.unwrap();
            while connection.stats().path.lost_plpmtud_probes == 0 {
                exchange(&connection).await;
            }
            exchange(&connection).await;
            let mtu = connection.stats().path.current_mtu;
            assert!((1200..=MTU - headers).contains(&mtu), "{mtu}");
        };
        tokio::time::timeout(Duration::from_secs(30), whole).await.expect("a probe of the MTU was lost");
        assert!(socket.error().is_none(), "{:?}", socket.error());
        drop(client);
        echo.await.unwrap();
    }
}
