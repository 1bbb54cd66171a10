//! Name servers: dnsmasq.

use std::net::SocketAddr;

use proxima_health::{Failure, Reason};
use proxima_probe::ProbeKind;
use proxima_probe_kind::{Dns, DnsRecord, DnsTransport};
use proxima_types::Health;

use crate::support::{
    Probing, fails,
    server::{As, Server, address, program},
};

/// A name server that knows `app.test`.
fn dnsmasq() -> (Server, SocketAddr) {
    let address = address();
    let mut command = As::Me.command(&program("dnsmasq", "dnsmasq-base"));
    command.args([
        "--keep-in-foreground",
        "--log-facility=-",
        "--no-hosts",
        "--no-resolv",
        "--conf-file=/dev/null",
    ]);
    command.args(["--bind-interfaces", "--pid-file", "--user=root", "--local=/test/"]);
    command.args([&format!("--listen-address={}", address.ip()), &format!("--port={}", address.port())]);
    command.args(["--host-record=app.test,10.0.0.7,fd00::7", "--txt-record=app.test,ready"]);
    (Server::start(command, "started, version"), address)
}

fn ask(name: &str, record: DnsRecord, expect: &[&str]) -> Dns {
    let expect = expect.iter().map(|address| address.parse().unwrap()).collect();
    Dns { name: name.to_owned(), record, transport: DnsTransport::Udp, expect }
}

#[tokio::test]
async fn a_name_server_is_up_while_it_answers_as_expected_over_udp_and_tcp() {
    let (_server, address) = dnsmasq();
    for transport in [DnsTransport::Udp, DnsTransport::Tcp] {
        for question in [
            ask("app.test", DnsRecord::A, &[]),
            ask("app.test", DnsRecord::A, &["10.0.0.9", "10.0.0.7"]),
            ask("app.test", DnsRecord::Aaaa, &["fd00::7"]),
            ask("app.test", DnsRecord::Txt, &[]),
        ] {
            Probing::often(address, ProbeKind::Dns(Dns { transport, ..question })).up().await;
        }
    }
}

#[tokio::test]
async fn a_wrong_answer_is_told_with_what_it_says() {
    let (_server, address) = dnsmasq();
    for (question, words) in [
        (ask("none.test", DnsRecord::A, &[]), &["NXDOMAIN"][..]),
        (ask("app.example", DnsRecord::A, &[]), &["REFUSED"]),
        (ask("app.test", DnsRecord::A, &["10.0.0.8"]), &["10.0.0.7", "10.0.0.8"]),
    ] {
        let failure = fails(address, ProbeKind::Dns(question)).await;
        assert!(words.iter().all(|word| failure.contains(word)), "{failure}");
    }
}

#[tokio::test]
async fn where_no_name_server_is_any_more_the_kernel_says_so() {
    let (mut server, address) = dnsmasq();
    let kind = ProbeKind::Dns(ask("app.test", DnsRecord::A, &[]));
    Probing::often(address, kind.clone()).up().await;
    server.kill();
    let (to, reason) = Probing::often(address, kind).verdict().await;
    assert_eq!(
        (to, reason),
        (Health::Down, Reason::Refused { probe: Failure::Refused, confirm: Failure::Refused })
    );
}
