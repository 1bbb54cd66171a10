//! Two PoPs, a router and a client in network namespaces: a TCP connection outlives the route it began on.
//!
//! The test runs itself again under unshare(1), so that the namespaces, the TUN devices and the nftables tables
//! vanish with it, and so that it needs no privilege where user namespaces are allowed. It needs the Debian
//! packages iproute2, nftables and util-linux.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test")]

use std::{
    fs::File,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use nix::sched::{CloneFlags, setns};
use proxima_catchment::Key;
use proxima_catchment_io::{CatchmentConfig, CatchmentHandle};
use socket2::{Domain, Socket, Type};

const INSIDE: &str = "PROXIMA_TEST_INSIDE_NAMESPACES";
const NAME: &str = "a_connection_outlives_the_route_it_began_on_and_a_flow_nobody_owns_is_reset";
const WORLD: &str = r"
mount -t tmpfs tmpfs /run
mkdir /run/netns
for n in client router a b; do
  ip netns add $n
  ip -n $n link set dev lo up
done
ip netns exec router sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
join() {
  ip link add eth0 netns $1 type veth peer name $1 netns router
  ip -n $1 addr add 10.0.$2.2/24 dev eth0
  ip -n $1 addr add fd00:$2::2/64 dev eth0 nodad
  ip -n router addr add 10.0.$2.1/24 dev $1
  ip -n router addr add fd00:$2::1/64 dev $1 nodad
  ip -n $1 link set dev eth0 up
  ip -n router link set dev $1 up
  ip -n $1 route add default via 10.0.$2.1
  ip -n $1 -6 route add default via fd00:$2::1
}
for n in a b; do
  ip netns exec $n sysctl -qw net.ipv4.conf.all.rp_filter=1
done
join client 1
join a 2
join b 3
for n in a b; do
  ip -n $n route add local 203.0.113.0/24 dev lo
  ip -n $n -6 route add local 2001:db8:ac::/48 dev lo
done
";

#[test]
fn a_connection_outlives_the_route_it_began_on_and_a_flow_nobody_owns_is_reset() {
    if std::env::var_os(INSIDE).is_some() {
        inside();
        return;
    }
    let mut unshare = Command::new("unshare");
    unshare.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    if !nix::unistd::geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    let status = unshare
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .expect("unshare(1), of the package util-linux");
    assert!(status.success(), "the test inside the namespaces failed: {status}");
}

fn inside() {
    shell(WORLD);
    route_to("2");
    let (a, b) = (catchment("a", "10.0.2.2", "10.0.3.2"), catchment("b", "10.0.3.2", "10.0.2.2"));
    let vips: [SocketAddr; 2] =
        ["203.0.113.1:7000".parse().unwrap(), "[2001:db8:ac::1]:7000".parse().unwrap()];
    for vip in vips {
        within("a", move || serve_echo(vip));
    }

    let mut kept = vips.map(connect);
    for connection in &mut kept {
        exchange(connection, b"before");
    }
    assert_eq!(
        (a.counters().read().asked, b.counters().read().asked),
        (0, 0),
        "nobody is asked before the change"
    );

    route_to("3");
    for connection in &mut kept {
        exchange(connection, b"after the first change");
        exchange(connection, &vec![7; 100_000]);
    }
    let (at_a, at_b) = (a.counters().read(), b.counters().read());
    assert_eq!((at_b.diverted, at_b.released), (2, 0), "{at_b:?}");
    assert!(at_b.carried > 2 && at_a.injected > 2, "{at_b:?} {at_a:?}");

    route_to("2");
    for connection in &mut kept {
        exchange(connection, b"back home");
    }

    shell("ip netns exec b nft list tables | grep proxima && kill -9 $(ip netns pids b)");
    until("nft runs again in b", || {
        shell("ip netns exec b nft list ruleset").matches("oifname").count() == 2
    });
    route_to("3");
    for connection in &mut kept {
        exchange(connection, b"by the filter's second process");
    }
    let orphans = {
        route_to("2");
        vips.map(connect)
    };
    route_to("3");

    drop(a);
    for mut orphan in orphans.into_iter().chain(kept) {
        orphan.write_all(b"to a PoP that has fallen silent").unwrap();
        let error = orphan.read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    drop(b);
    for namespace in ["a", "b"] {
        let left =
            shell(&format!("ip netns exec {namespace} nft list ruleset; ip -n {namespace} -o link show"));
        assert!(!left.contains("table") && !left.contains("proxima0"), "left behind in {namespace}: {left}");
    }
}

fn catchment(namespace: &'static str, own: &str, other: &str) -> CatchmentHandle {
    let config = CatchmentConfig {
        listen: format!("{own}:7078").parse().unwrap(),
        peers: vec![format!("{other}:7078").parse().unwrap()],
        key: Key::from_hex(&"5a".repeat(32)).unwrap(),
        vips: vec!["203.0.113.0/24".parse().unwrap(), "2001:db8:ac::/48".parse().unwrap()],
        answer_within: Duration::from_millis(300),
    };
    within(namespace, move || proxima_catchment_io::start(config, Box::new(|_, _| {})))
        .expect("the driver starts")
}

/// Serves every connection on its own thread, forever: the threads end with the process.
fn serve_echo(address: SocketAddr) {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    if address.is_ipv6() {
        socket.set_freebind_v6(true).unwrap();
    }
    socket.bind(&address.into()).unwrap();
    socket.listen(16).unwrap();
    let listener = TcpListener::from(socket);
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            thread::spawn(move || {
                let mut back = connection.try_clone().unwrap();
                let _ = io::copy(&mut connection, &mut back);
            });
        }
    });
}

fn connect(vip: SocketAddr) -> TcpStream {
    let connection =
        within("client", move || TcpStream::connect_timeout(&vip, Duration::from_secs(5))).unwrap();
    connection.set_nodelay(true).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    connection
}

fn exchange(connection: &mut TcpStream, bytes: &[u8]) {
    let began = Instant::now();
    let mut sender = connection.try_clone().unwrap();
    let sent = bytes.to_vec();
    let sending = thread::spawn(move || sender.write_all(&sent).unwrap());
    let mut echo = vec![0; bytes.len()];
    connection
        .read_exact(&mut echo)
        .unwrap_or_else(|error| panic!("no echo after {:?}: {error}", began.elapsed()));
    sending.join().unwrap();
    assert_eq!(echo, bytes);
}

fn route_to(pop: &str) {
    shell(&format!(
        "ip -n router route replace 203.0.113.0/24 via 10.0.{pop}.2 &&
         ip -n router -6 route replace 2001:db8:ac::/48 via fd00:{pop}::2"
    ));
}

fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let began = Instant::now();
    while !reached() {
        assert!(began.elapsed() < Duration::from_secs(20), "waited in vain: {what}");
        thread::yield_now();
    }
}

fn shell(script: &str) -> String {
    let output = Command::new("sh").args(["-ec", script]).output().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{script}\n{}", text(&output.stderr));
    text(&output.stdout)
}

fn within<T: Send + 'static>(namespace: &'static str, body: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = thread::spawn(move || {
        let file = File::open(format!("/run/netns/{namespace}")).unwrap();
        setns(file, CloneFlags::CLONE_NEWNET).unwrap();
        body()
    });
    thread.join().unwrap()
}
