//! HTTP/1.1 and HTTP/2 against nginx.

use proxima_health::Loss;
use proxima_probe::ProbeKind;
use proxima_probe_kind::{Expect, ExpectHeader, Http, HttpVersion, Statuses};

use crate::support::{Probing, fails, nginx::Nginx, tls};

fn get(path: &str, version: HttpVersion) -> Http {
    let expect = Expect { status: Statuses::ok(), body: None, header: None };
    Http { path: path.to_owned(), host: None, version, tls: None, expect }
}

#[tokio::test]
async fn nginx_is_up_over_every_version_with_tls_and_without() {
    let nginx = Nginx::start();
    let tls = tls(&nginx.authority.file);
    for (address, version, tls) in [
        (nginx.http1, HttpVersion::Http1, None),
        (nginx.http2, HttpVersion::Http2, None),
        (nginx.https, HttpVersion::Http1, Some(&tls)),
        (nginx.https, HttpVersion::Http2, Some(&tls)),
    ] {
        let kind = ProbeKind::Http(Http { tls: tls.cloned(), ..get("/healthz", version) });
        Probing::often(address, kind).up().await;
    }
}

#[tokio::test]
async fn an_answer_is_held_against_all_that_is_expected_of_it() {
    let nginx = Nginx::start();
    let redirects = || Statuses::new(vec![200..=200, 300..=399]).unwrap();
    let body = |pattern: &str| Some(pattern.to_owned());
    let header = |name: &str, value: Option<&str>| {
        Some(ExpectHeader { name: name.to_owned(), value: value.map(str::to_owned) })
    };
    for (address, version) in [(nginx.http1, HttpVersion::Http1), (nginx.http2, HttpVersion::Http2)] {
        for (path, status, body, header, failure) in [
            ("/moved", redirects(), None, None, None),
            ("/healthz", redirects(), body("(?m)^ready$"), header("x-ready", Some("yes")), None),
            ("/healthz", Statuses::ok(), body("^version [0-9]+"), header("x-ready", None), None),
            ("/gone", Statuses::ok(), None, None, Some("status 503 instead of 200")),
            ("/gone", redirects(), None, None, Some("status 503, which is not among 200, 300-399")),
            (
                "/healthz",
                Statuses::ok(),
                body("version 8"),
                None,
                Some("unexpected body: `version 7 ready` does not match `version 8`"),
            ),
            (
                "/healthz",
                Statuses::ok(),
                None,
                header("x-ready", Some("no")),
                Some("header `x-ready` is `yes` instead of `no`"),
            ),
            (
                "/healthz",
                Statuses::ok(),
                None,
                header("x-set", None),
                Some("no header `x-set` in the answer"),
            ),
        ] {
            let kind =
                ProbeKind::Http(Http { expect: Expect { status, body, header }, ..get(path, version) });
            match failure {
                None => Probing::often(address, kind).up().await,
                Some(failure) => assert_eq!(fails(address, kind).await, failure, "{version:?}"),
            }
        }
    }
}

#[tokio::test]
async fn what_speaks_another_version_is_told_from_an_app() {
    let nginx = Nginx::start();
    let over_http1 = fails(nginx.http1, ProbeKind::Http(get("/healthz", HttpVersion::Http2))).await;
    assert!(
        over_http1.starts_with("protocol error: HTTP/2: ") || over_http1.contains("closed"),
        "{over_http1}"
    );
    let tls = Http { tls: Some(tls(&nginx.authority.file)), ..get("/healthz", HttpVersion::Http1) };
    let plain = fails(nginx.http1, ProbeKind::Http(tls)).await;
    assert!(plain.contains("not TLS as it should be"), "{plain}");
    let secured = fails(nginx.https, ProbeKind::Http(get("/healthz", HttpVersion::Http1))).await;
    assert_eq!(secured, "status 400 instead of 200");
}

#[tokio::test]
async fn a_killed_nginx_is_noticed_by_the_standing_connection_of_each_version() {
    for version in [HttpVersion::Http1, HttpVersion::Http2] {
        for secured in [false, true] {
            let mut nginx = Nginx::start();
            let tls = secured.then(|| tls(&nginx.authority.file));
            let address = match (secured, version) {
                (true, _) => nginx.https,
                (false, HttpVersion::Http2) => nginx.http2,
                (false, _) => nginx.http1,
            };
            let kind = ProbeKind::Http(Http { tls, ..get("/healthz", version) });
            let mut probing = Probing::rarely(address, kind);
            probing.up().await;
            nginx.server.kill();
            let loss = probing.lost().await;
            assert!(matches!(loss, Loss::Closed | Loss::Reset), "{version:?} {secured}: {loss}");
        }
    }
}
