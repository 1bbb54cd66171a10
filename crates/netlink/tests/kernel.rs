//! VIPs in a real kernel, in a network namespace of their own.

#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    process::Command,
};

use proxima_netlink::{KernelVips, VipError, Vips};
use proxima_types::Prefix;
use rtnetlink::LinkUnspec;

/// Set in the environment of this test program when it runs within the namespace.
const INSIDE: &str = "PROXIMA_NETLINK_TEST_INSIDE";

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

fn prefixes(texts: &[&str]) -> Vec<Prefix> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

async fn raise_loopback() {
    let (connection, handle, _) = rtnetlink::new_connection().unwrap();
    let connection = tokio::spawn(connection);
    handle.link().set(LinkUnspec::new_with_index(1).up().build()).execute().await.unwrap();
    connection.abort();
}

fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn bind(address: &str) -> Result<TcpListener, ErrorKind> {
    TcpListener::bind((address.parse::<IpAddr>().unwrap(), 0)).map_err(|error| error.kind())
}

/// Whether a packet to `address` arrives at a listener on the wildcard address of its family.
fn arrives(address: &str) -> bool {
    let listener = TcpListener::bind("[::]:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    TcpStream::connect(SocketAddr::new(address.parse().unwrap(), port)).is_ok()
}

#[tokio::test]
async fn addresses_of_a_prefix_are_local_while_it_is_added() {
    if !in_own_namespace("addresses_of_a_prefix_are_local_while_it_is_added") {
        return;
    }
    raise_loopback().await;
    let vips = KernelVips::open().unwrap();
    let wanted = prefixes(&["203.0.113.0/24", "2001:db8:ac::/48"]);
    assert_eq!(bind("203.0.113.77").unwrap_err(), ErrorKind::AddrNotAvailable);
    assert!(!arrives("2001:db8:ac::77"));

    let changes = vips.set(&wanted).await;
    assert!(changes.errors.is_empty() && changes.added == wanted, "{changes:?}");
    assert!(bind("203.0.113.77").is_ok() && arrives("203.0.113.1"));
    assert!(arrives("2001:db8:ac::77"));
    assert!(ip("-4 route show table local proto 117").contains("local 203.0.113.0/24 dev lo"));
    assert!(ip("-6 route show table local proto 117").contains("local 2001:db8:ac::/48 dev lo"));

    for prefix in &wanted {
        vips.add(*prefix).await.unwrap();
    }
    assert_eq!(vips.present().await.unwrap(), wanted, "adding twice is adding once");

    let changes = vips.set(&[]).await;
    assert!(changes.errors.is_empty() && changes.removed == wanted, "{changes:?}");
    assert_eq!(bind("203.0.113.77").unwrap_err(), ErrorKind::AddrNotAvailable);
    assert!(!arrives("2001:db8:ac::77"));
    for prefix in &wanted {
        vips.remove(*prefix).await.unwrap();
    }
}

#[tokio::test]
async fn leftovers_are_recognised_and_foreign_routes_left_alone() {
    if !in_own_namespace("leftovers_are_recognised_and_foreign_routes_left_alone") {
        return;
    }
    raise_loopback().await;
    let [left, kept, foreign] = prefixes(&["192.0.2.0/24", "2001:db8:1::/48", "198.51.100.0/24"])[..] else {
        unreachable!("three prefixes");
    };
    let crashed = KernelVips::open().unwrap();
    for prefix in [left, kept] {
        crashed.add(prefix).await.unwrap();
    }
    drop(crashed);
    ip("route add local 198.51.100.0/24 dev lo");

    let vips = KernelVips::open().unwrap();
    let changes = vips.set(&[kept, foreign]).await;
    assert_eq!((changes.added.as_slice(), changes.removed.as_slice()), (&[][..], &[left][..]));
    assert!(
        matches!(changes.errors.as_slice(), [VipError::Foreign { prefix }] if *prefix == foreign),
        "{changes:?}"
    );
    vips.remove(foreign).await.unwrap();
    assert!(
        ip("route show table local").contains("local 198.51.100.0/24 dev lo"),
        "it is not ours to remove"
    );
    assert_eq!(vips.present().await.unwrap(), [kept]);
}

#[tokio::test]
async fn errors_name_the_remedy() {
    if !in_own_namespace("errors_name_the_remedy") {
        return;
    }
    let vips = KernelVips::open().unwrap();
    let [v6, all] = prefixes(&["2001:db8:1::/48", "0.0.0.0/0"])[..] else {
        unreachable!("two prefixes");
    };
    let error = vips.add(v6).await.unwrap_err();
    assert!(matches!(error, VipError::LoopbackDown { .. }), "{error}");
    raise_loopback().await;
    std::fs::write("/proc/sys/net/ipv6/conf/lo/disable_ipv6", "1").unwrap();
    let error = vips.add(v6).await.unwrap_err();
    assert!(matches!(error, VipError::Ipv6Disabled { .. }), "{error}");
    assert!(matches!(vips.add(all).await, Err(VipError::WholeFamily { .. })));

    let program = std::env::current_exe().unwrap();
    let unprivileged = Command::new("setpriv")
        .args(["--bounding-set=-net_admin", "--inh-caps=-net_admin", "--"])
        .arg(program)
        .args(["--exact", "without_the_capability", "--nocapture"])
        .output()
        .unwrap();
    assert!(unprivileged.status.success(), "{}", String::from_utf8_lossy(&unprivileged.stdout));
}

#[tokio::test]
async fn without_the_capability() {
    if std::env::var_os(INSIDE).is_none() {
        return;
    }
    let vips = KernelVips::open().unwrap();
    let error = vips.add("192.0.2.0/24".parse().unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("AmbientCapabilities=CAP_NET_ADMIN"), "{error}");
}
