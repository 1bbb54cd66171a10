//! Peers at the two ends of a link that have nothing but link-local addresses, in network namespaces of their own.
//!
//! Each test runs itself again under unshare(1), so that nothing outlives it.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod common;

use std::{
    fs::File,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU8,
    process::Command,
    sync::mpsc,
};

use common::{OUR_AS, V4, event, plain, prefix, received, speaker, until, until_received, within};
use nix::sched::{CloneFlags, setns};
use proxima_bgp_speaker::{
    Distance, Password, PeerConfig, Problem, Remote, Speaker, SpeakerConfig, SpeakerEvent, SpeakerHandle,
    State,
};
use proxima_types::{Asn, Family};

const INSIDE: &str = "PROXIMA_TEST_INSIDE_NAMESPACES";
const THEIR_AS: Asn = Asn(65000);

/// Two namespaces, ours and `router`, with a link between them that comes up with the script's second half.
const LINK: &str = r"
mount -t tmpfs tmpfs /run
mkdir /run/netns
ip netns add router
ip link set dev lo up
ip -n router link set dev lo up
ip link add eth0 type veth peer name eth0 netns router
ip link set dev eth0 addrgenmode none
ip -n router link set dev eth0 addrgenmode none
ip addr add fe80::a/64 dev eth0 nodad
ip -n router addr add fe80::b/64 dev eth0 nodad
";
const UP: &str = "ip link set dev eth0 up; ip -n router link set dev eth0 up";

/// True in the run inside the namespaces.
fn inside(name: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        shell(LINK);
        return true;
    }
    let mut unshare = Command::new("unshare");
    unshare.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    if !nix::unistd::geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    let output = unshare
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare(1), of the package util-linux");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    false
}

fn shell(script: &str) {
    let output = Command::new("sh").args(["-ec", script]).output().unwrap();
    assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
}

fn config(router: bool, remote: Remote) -> SpeakerConfig {
    let (own, theirs) = if router { (THEIR_AS, OUR_AS) } else { (OUR_AS, THEIR_AS) };
    let peer =
        PeerConfig { extended_next_hop: true, ..PeerConfig::new("link".parse().unwrap(), remote, theirs) };
    SpeakerConfig {
        local_as: own,
        router_id: Ipv4Addr::new(192, 0, 2, if router { 22 } else { 11 }),
        listen: vec!["[::]:179".parse().unwrap()],
        ..speaker(vec![peer])
    }
}

fn unnumbered() -> Remote {
    Remote::Interface { interface: "eth0".to_owned() }
}

/// Runs a speaker in the router's namespace, in a thread of its own, and gives it back from there.
fn in_router(config: SpeakerConfig) -> SpeakerHandle {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        setns(File::open("/run/netns/router").unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (handle, _events) = Speaker::start(config).unwrap();
            handle.set_desired(vec![plain(V4)]).unwrap();
            sender.send(handle).unwrap();
            std::future::pending::<()>().await;
        });
    });
    receiver.recv().unwrap()
}

#[tokio::test]
async fn routers_at_the_ends_of_a_link_find_each_other() {
    if !inside("routers_at_the_ends_of_a_link_find_each_other") {
        return;
    }
    let mut theirs = config(true, unnumbered());
    theirs.peers[0].families = vec![Family::Ipv4];
    theirs.peers[0].distance = Distance::Security(NonZeroU8::MIN);
    theirs.peers[0].password = Some(Password::new(b"link").unwrap());
    let mut ours = config(false, unnumbered());
    ours.peers[0].families = vec![Family::Ipv4];
    ours.peers[0].distance = Distance::Security(NonZeroU8::MIN);
    ours.peers[0].password = Some(Password::new(b"link").unwrap());
    let _router = in_router(theirs);
    let (pop, _events) = Speaker::start(ours).unwrap();
    // The link comes up later than the daemons.
    shell(UP);
    until(&pop, "link", State::Established).await;
    until_received(&pop, "link", 1).await;
    let status = pop.peers().remove(0);
    let address = |end: Option<SocketAddr>| end.unwrap().ip().to_string();
    assert_eq!((address(status.local), address(status.remote)), ("fe80::a".to_owned(), "fe80::b".to_owned()));
    let route = received(&pop, "link").await.remove(0).route;
    assert_eq!(route.prefix, prefix(V4));
    let next_hop = route.shared.next_hop;
    assert_eq!(
        next_hop.address,
        "fe80::b".parse::<IpAddr>().unwrap(),
        "an IPv4 route by way of IPv6 (RFC 8950)"
    );

    // The link goes and comes back, with another address at its end.
    shell("ip -n router link del dev eth0");
    within("its loss", pop.wait_for("link", |status| status.session.state != State::Established))
        .await
        .unwrap();
    shell(
        "ip link add eth0 type veth peer name eth0 netns router
         ip link set dev eth0 addrgenmode none; ip -n router link set dev eth0 addrgenmode none
         ip addr add fe80::a/64 dev eth0 nodad; ip -n router addr add fe80::c/64 dev eth0 nodad",
    );
    shell(UP);
    until(&pop, "link", State::Established).await;
    assert_eq!(address(pop.peers()[0].remote), "fe80::c");
}

#[tokio::test]
async fn a_link_local_address_with_its_interface_needs_no_discovery() {
    if !inside("a_link_local_address_with_its_interface_needs_no_discovery") {
        return;
    }
    shell(UP);
    let at = |address: &str| Remote::Address {
        address: address.parse().unwrap(),
        interface: Some("eth0".to_owned()),
    };
    let mut theirs = config(true, at("fe80::a"));
    theirs.peers[0].passive = true;
    let _router = in_router(theirs);
    let (pop, _events) = Speaker::start(config(false, at("fe80::b"))).unwrap();
    until(&pop, "link", State::Established).await;
    until_received(&pop, "link", 1).await;
}

#[tokio::test]
async fn a_stranger_on_the_link_is_not_the_router_that_was_found() {
    if !inside("a_stranger_on_the_link_is_not_the_router_that_was_found") {
        return;
    }
    shell(UP);
    let _router = in_router(config(true, unnumbered()));
    let (pop, mut events) = Speaker::start(config(false, unnumbered())).unwrap();
    until(&pop, "link", State::Established).await;
    shell("ip -n router addr add fe80::bad/64 dev eth0 nodad");
    // It says that it is a router, loudly.
    std::thread::spawn(|| advertise("fe80::bad")).join().unwrap();
    let (known, other) = event("the stranger", &mut events, |event| match event {
        SpeakerEvent::Problem { problem: Problem::AnotherRouter { known, other }, .. } => {
            Some((known, other))
        }
        _ => None,
    })
    .await;
    assert_eq!((known.to_string(), other.to_string()), ("fe80::b".to_owned(), "fe80::bad".to_owned()));
    let refused = std::thread::spawn(|| call("fe80::bad", None).unwrap());
    let refused = tokio::task::spawn_blocking(|| refused.join().unwrap());
    let bytes = within("the answer", refused).await.unwrap();
    assert_eq!(bytes[18..21], [3, 6, 5], "connection rejected");
    let status = pop.peers().remove(0);
    assert_eq!(status.session.state, State::Established);
    assert_eq!(status.remote.unwrap().ip().to_string(), "fe80::b");
}

#[tokio::test]
async fn nobody_on_the_link_is_heard_without_the_password_before_or_after_the_router_is_found() {
    if !inside("nobody_on_the_link_is_heard_without_the_password_before_or_after_the_router_is_found") {
        return;
    }
    shell(UP);
    let mut ours = config(false, unnumbered());
    ours.peers[0].password = Some(Password::new(b"link").unwrap());
    let (pop, _events) = Speaker::start(ours).unwrap();
    // No router has advertised itself: nobody knows where a key would hold.
    let calls = async |from: &'static str, key: Option<&'static [u8]>| {
        let call =
            tokio::task::spawn_blocking(move || std::thread::spawn(move || call(from, key)).join().unwrap());
        within("the answer", call).await.unwrap()
    };
    assert_eq!(calls("fe80::b", None).await.unwrap()[18..21], [3, 6, 5], "connection rejected");
    assert_eq!(pop.peers()[0].remote, None, "and it is not the neighbour for it");

    std::thread::spawn(|| advertise("fe80::b")).join().unwrap();
    within("the router", pop.wait_for("link", |status| status.remote.is_some())).await.unwrap();
    assert_eq!(calls("fe80::b", Some(b"link")).await.unwrap()[18], 1, "an OPEN");
    // No SYN is answered without the key, nor with another.
    for key in [None, Some(b"knil".as_slice())] {
        assert_eq!(calls("fe80::b", key).await.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    }
    shell("ip -n router addr add fe80::bad/64 dev eth0 nodad");
    assert_eq!(calls("fe80::bad", None).await.unwrap()[18..21], [3, 6, 5], "it is not the router");
}

/// What the daemon says first to a caller in the router's namespace, whose segments are signed with `key`; at its end, if that
/// comes first, what it has said.
fn call(from: &str, key: Option<&[u8]>) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    setns(File::open("/run/netns/router").unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
    let scope = nix::net::if_::if_nametoindex("eth0").unwrap();
    let end = |address: &str, port| std::net::SocketAddrV6::new(address.parse().unwrap(), port, 0, scope);
    let pop = SocketAddr::from(end("fe80::a", 179));
    let socket = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None)?;
    socket.bind(&end(from, 0).into())?;
    if let Some(key) = key {
        proxima_sys::set_tcp_md5(&socket, proxima_sys::Md5Scope::host(pop.ip()), key)?;
    }
    socket.connect_timeout(&pop.into(), std::time::Duration::from_secs(3))?;
    let mut bytes = Vec::new();
    std::net::TcpStream::from(socket).take(29).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Sends a router advertisement from an address in the router's namespace: lifetime 1800 s, no options.
fn advertise(from: &str) {
    setns(File::open("/run/netns/router").unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
    let scope = nix::net::if_::if_nametoindex("eth0").unwrap();
    let end = |address: &str| std::net::SocketAddrV6::new(address.parse().unwrap(), 0, 0, scope);
    let (domain, protocol) = (socket2::Domain::IPV6, socket2::Protocol::ICMPV6);
    let socket = socket2::Socket::new(domain, socket2::Type::RAW, Some(protocol)).unwrap();
    socket.bind(&end(from).into()).unwrap();
    socket.set_multicast_hops_v6(255).unwrap();
    let message = [134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
    // The multicast route comes with the carrier, a moment after the link is up.
    while let Err(error) = socket.send_to(&message, &end("ff02::1").into()) {
        assert_eq!(error.kind(), std::io::ErrorKind::NetworkUnreachable);
        std::thread::yield_now();
    }
}
