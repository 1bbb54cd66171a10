//! Probes of every kind.

use std::{num::NonZeroU16, time::Duration};

use proxima_config::{ProbeKind, Via};
use proxima_probe_kind::{
    Agent, Dns, DnsRecord, DnsTransport, Exec, Expect, ExpectHeader, Grpc, Http, HttpVersion, Notice,
    NoticeSource, Postgres, Quic, Redis, Statuses, Tls, TlsHandshake, Trust,
};

use crate::{common::with, parse};

#[test]
fn every_kind_of_probe_means_what_it_says() {
    let tls = Tls { server_name: None, trust: Trust::System, min_validity: None };
    let http = |path: &str| Http {
        path: path.to_owned(),
        host: None,
        version: HttpVersion::Http1,
        tls: None,
        expect: Expect { status: Statuses::ok(), body: None, header: None },
    };
    let full_tls = Tls {
        server_name: Some("api.example.com".to_owned()),
        trust: Trust::File("/etc/ca.pem".into()),
        min_validity: Some(Duration::from_hours(14 * 24)),
    };
    let host = Some("app.example.com:8443".to_owned());
    let redis = Redis { user: None, password_file: None, tls: None, role: None, max_lag: None };
    let dns = Dns {
        name: "www.example.com".to_owned(),
        record: DnsRecord::A,
        transport: DnsTransport::Udp,
        expect: Vec::new(),
    };
    let grpc = Grpc { service: String::new(), host: None, tls: None };
    for (probe, kind) in [
        ("tcp = true", ProbeKind::Tcp),
        ("tls = true", ProbeKind::Tls(TlsHandshake { tls: tls.clone(), alpn: Vec::new() })),
        (
            "tls = { server-name = \"api.example.com\", ca-file = \"/etc/ca.pem\", min-valid-days = 14, alpn = [\"h2\"] }",
            ProbeKind::Tls(TlsHandshake { tls: full_tls, alpn: vec!["h2".to_owned()] }),
        ),
        ("http = \"/\"", ProbeKind::Http(http("/"))),
        (
            "http = \"/\", version = \"2\", expect = [200, \"300-399\"], expect-body = 'v\\d', expect-header = \"X-Ready: yes\"",
            ProbeKind::Http(Http {
                version: HttpVersion::Http2,
                expect: Expect {
                    status: Statuses::new(vec![200..=200, 300..=399]).unwrap(),
                    body: Some("v\\d".to_owned()),
                    header: Some(ExpectHeader { name: "x-ready".to_owned(), value: Some("yes".to_owned()) }),
                },
                ..http("/")
            }),
        ),
        // The certificate is for whom the request is for.
        (
            "https = \"/\", host = \"app.example.com:8443\", version = \"3\"",
            ProbeKind::Http(Http {
                version: HttpVersion::Http3,
                host,
                tls: Some(Tls { server_name: Some("app.example.com".to_owned()), ..tls.clone() }),
                ..http("/")
            }),
        ),
        (
            "https = \"/\", host = \"10.0.0.1\", tls = { verify = false }",
            ProbeKind::Http(Http {
                host: Some("10.0.0.1".to_owned()),
                tls: Some(Tls { trust: Trust::Anyone, ..tls.clone() }),
                ..http("/")
            }),
        ),
        ("quic = true", ProbeKind::Quic(Quic { tls: tls.clone(), alpn: vec!["h3".to_owned()] })),
        ("grpc = true", ProbeKind::Grpc(grpc.clone())),
        (
            "grpc = \"llm.v1.Chat\"",
            ProbeKind::Grpc(Grpc { service: "llm.v1.Chat".to_owned(), ..grpc.clone() }),
        ),
        (
            "grpc = { host = \"llm.example\", tls = true }",
            ProbeKind::Grpc(Grpc {
                host: Some("llm.example".to_owned()),
                tls: Some(Tls { server_name: Some("llm.example".to_owned()), ..tls.clone() }),
                ..grpc
            }),
        ),
        (
            "postgres = { user = \"probe\", database = \"app\", password-file = \"/p\", role = \"replica\", max-lag = \"10s\", tls = true }",
            ProbeKind::Postgres(Postgres {
                user: "probe".to_owned(),
                database: Some("app".to_owned()),
                password_file: Some("/p".into()),
                tls: Some(tls),
                role: Some(proxima_probe_kind::Role::Replica),
                max_lag: Some(Duration::from_secs(10)),
            }),
        ),
        ("redis = true", ProbeKind::Redis(redis.clone())),
        (
            "redis = { role = \"primary\" }",
            ProbeKind::Redis(Redis { role: Some(proxima_probe_kind::Role::Primary), ..redis }),
        ),
        ("dns = \"www.example.com.\"", ProbeKind::Dns(dns.clone())),
        ("dns = \".\"", ProbeKind::Dns(Dns { name: String::new(), ..dns.clone() })),
        (
            "dns = { name = \"www.example.com\", record = \"AAAA\", transport = \"tcp\", expect = [\"fd00::1\"] }",
            ProbeKind::Dns(Dns {
                record: DnsRecord::Aaaa,
                transport: DnsTransport::Tcp,
                expect: vec!["fd00::1".parse().unwrap()],
                ..dns
            }),
        ),
        (
            "exec = [\"/bin/check\", \"--quick\"]",
            ProbeKind::Exec(Exec { command: vec!["/bin/check".to_owned(), "--quick".to_owned()] }),
        ),
        ("agent = true", ProbeKind::Agent(Agent { port: None, send: None })),
        ("agent = 9999", ProbeKind::Agent(Agent { port: NonZeroU16::new(9999), send: None })),
        (
            "agent = { port = 9999, send = \"app\\n\" }",
            ProbeKind::Agent(Agent { port: NonZeroU16::new(9999), send: Some("app\n".to_owned()) }),
        ),
    ] {
        let config = parse(&with("probe = { tcp = true }", &format!("probe = {{ {probe} }}")));
        assert_eq!(config.pools[&"raw".parse().unwrap()].probe.kind, kind, "{probe}");
    }
}

#[test]
fn a_probe_goes_straight_unless_it_says_via_the_service() {
    let via = |probe: &str| {
        let config = parse(&with("probe = { tcp = true }", &format!("probe = {{ {probe} }}")));
        config.pools[&"raw".parse().unwrap()].probe.via
    };
    assert_eq!(via("tcp = true"), Via::Direct);
    assert_eq!(via("tcp = true, via = \"direct\", source = \"10.0.0.11\""), Via::Direct);
    for kind in [
        "tcp = true",
        "tls = true",
        "http = \"/\"",
        "http = \"/\", version = \"2\"",
        "https = \"/\"",
        "grpc = true",
        "postgres = { user = \"probe\" }",
        "redis = true",
    ] {
        assert_eq!(via(&format!("{kind}, via = \"service\"")), Via::Service, "{kind}");
    }
}

#[test]
fn the_pace_of_a_probe_and_where_it_comes_from_are_as_written() {
    let pace = |settings: &str| {
        let config = parse(&with("probe = { tcp = true }", &format!("probe = {{ tcp = true{settings} }}")));
        let probe = config.pools[&"raw".parse().unwrap()].probe.clone();
        let paces = (probe.fast_interval.as_millis(), probe.down_interval.as_millis());
        (paces, probe.jitter, probe.source.map(|source| source.to_string()))
    };
    assert_eq!(pace(""), ((50, 250), 10, None));
    assert_eq!(pace(", interval = \"20ms\", jitter = 0"), ((20, 20), 0, None));
    assert_eq!(pace(", interval = \"5s\", down-interval = \"2s\""), ((50, 2000), 10, None));
    assert_eq!(pace(", fast-interval = \"400ms\", down-interval = \"20ms\""), ((400, 20), 10, None));
    let of_program =
        parse(&with("probe = { tcp = true }", "probe = { exec = [\"/bin/true\"], interval = \"5s\" }"));
    let probe = &of_program.pools[&"raw".parse().unwrap()].probe;
    let second = Duration::from_secs(1);
    assert_eq!((probe.fast_interval, probe.down_interval), (second, second), "each costs a process");
    let source = Some("10.0.0.11".to_owned());
    assert_eq!(
        pace(", fast-interval = \"500ms\", jitter = 0.5, source = \"10.0.0.11\""),
        ((500, 500), 50, source)
    );
}

#[test]
fn a_notice_comes_from_a_directory_or_the_backend_itself() {
    let notice = |settings: &str| {
        let text = with("probe = { tcp = true }", &format!("probe = {{ tcp = true }}\n{settings}"));
        parse(&text).pools[&"raw".parse().unwrap()].notice.clone()
    };
    assert_eq!(notice(""), None);
    let source = NoticeSource::Directory("/run/leaving".into());
    let (lead, interval) = (Duration::from_secs(30), Duration::from_secs(5));
    assert_eq!(notice("notice = { directory = \"/run/leaving\" }"), Some(Notice { source, lead, interval }));
    let source = NoticeSource::Http { path: "/leaving".to_owned(), port: NonZeroU16::new(9708) };
    let (lead, interval) = (Duration::from_mins(2), Duration::from_secs(1));
    let written = "notice = { http = \"/leaving\", port = 9708, lead = \"2m\", interval = \"1s\" }";
    assert_eq!(notice(written), Some(Notice { source, lead, interval }));
}
