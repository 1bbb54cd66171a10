//! What the next hop gets, byte for byte.

#![allow(clippy::unwrap_used, clippy::format_push_string, reason = "test helpers")]

use proxima_http1::{
    ConnectionOption, Fault, Framing, Hop, Method, RequestHead, ResponseHead, write_request, write_response,
};

fn hop() -> Hop {
    Hop::new("fra1", "192.0.2.7".parse().unwrap(), "http")
}

fn upstream_head_by(hop: &Hop, bytes: &str) -> String {
    let mut head = RequestHead::default();
    assert_eq!(head.parse(bytes.as_bytes()), Ok(Some(bytes.len())), "{bytes}");
    let mut out = Vec::new();
    write_request(&mut out, &head, bytes.as_bytes(), hop);
    let mut again = RequestHead::default();
    assert_eq!(again.parse(&out), Ok(Some(out.len())), "what is sent must itself be good");
    assert_eq!(again.framing(), head.framing());
    String::from_utf8(out).unwrap()
}

fn upstream_head(bytes: &str) -> String {
    upstream_head_by(&hop(), bytes)
}

fn downstream_head(bytes: &str, method: Method, connection: ConnectionOption, keeps_chunks: bool) -> String {
    let mut head = ResponseHead::default();
    assert_eq!(head.parse(bytes.as_bytes(), method), Ok(Some(bytes.len())), "{bytes}");
    let mut out = Vec::new();
    write_response(&mut out, &head, bytes.as_bytes(), &hop(), connection, keeps_chunks);
    String::from_utf8(out).unwrap()
}

const ADDED: &str = "Via: 1.1 fra1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-For: 192.0.2.7\r\n\
    Forwarded: for=192.0.2.7;proto=http;by=_fra1;host=\"a:80\"\r\nX-Forwarded-Host: a:80\r\n\r\n";

#[test]
fn a_plain_request_is_copied_and_the_proxys_fields_follow() {
    let head = "GET /x?y=1 HTTP/1.1\r\nHost: a:80\r\naccept:  */* \r\nCookie: c=d\r\n";
    assert_eq!(upstream_head(&format!("{head}\r\n")), format!("{head}{ADDED}"));
    assert_eq!(upstream_head(&format!("\r\n{head}\r\n")), format!("{head}{ADDED}"));
}

#[test]
fn fields_for_one_hop_end_here() {
    let out = upstream_head(
        "GET / HTTP/1.1\r\nConnection: close, X-Hop ,keep-alive\r\nHost: a:80\r\nX-Hop: 1\r\nx-HOP: 2\r\n\
         Keep-Alive: 5\r\nProxy-Connection: x\r\nProxy-Authorization: x\r\nProxy: evil\r\nUpgrade: websocket\r\n\
         HTTP2-Settings: x\r\nX-Kept: 1\r\nConnection: x-other\r\nX-Other: 1\r\n\r\n",
    );
    assert_eq!(out, format!("GET / HTTP/1.1\r\nHost: a:80\r\nX-Kept: 1\r\n{ADDED}"));
}

#[test]
fn connection_cannot_name_away_what_frames_and_routes() {
    let out = upstream_head(
        "POST / HTTP/1.1\r\nHost: a:80\r\nContent-Length: 3\r\n\
         Connection: host, content-length, x-forwarded-for, via\r\n\r\n",
    );
    assert_eq!(out, format!("POST / HTTP/1.1\r\nHost: a:80\r\nContent-Length: 3\r\n{ADDED}"));
}

#[test]
fn te_passes_only_its_trailers() {
    let out = upstream_head("GET / HTTP/1.1\r\nHost: a:80\r\nTE: gzip, Trailers\r\nConnection: TE\r\n\r\n");
    assert_eq!(out, format!("GET / HTTP/1.1\r\nHost: a:80\r\nTE: trailers\r\nConnection: TE\r\n{ADDED}"));
    let out = upstream_head("GET / HTTP/1.1\r\nHost: a:80\r\nTE: gzip\r\nConnection: TE\r\n\r\n");
    assert_eq!(out, format!("GET / HTTP/1.1\r\nHost: a:80\r\n{ADDED}"));
}

#[test]
fn only_a_websocket_is_offered_to_the_upstream() {
    let out =
        upstream_head("GET / HTTP/1.1\r\nHost: a:80\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n\r\n");
    let offer = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
    assert_eq!(out, format!("GET / HTTP/1.1\r\nHost: a:80\r\n{offer}{ADDED}"));
    for fields in [
        "Connection: upgrade\r\nUpgrade: h2c\r\n",
        "Connection: upgrade\r\nUpgrade: websocket, h2c\r\n",
        "Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: websocket\r\n",
        "Upgrade: websocket\r\n",
    ] {
        let out = upstream_head(&format!("GET / HTTP/1.1\r\nHost: a:80\r\n{fields}\r\n"));
        assert_eq!(out, format!("GET / HTTP/1.1\r\nHost: a:80\r\n{ADDED}"), "{fields}");
    }
    let body = "POST / HTTP/1.1\r\nHost: a:80\r\nContent-Length: 1\r\n";
    let out = upstream_head(&format!("{body}Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"));
    assert_eq!(out, format!("{body}{ADDED}"), "what would follow a body is not known");
}

#[test]
fn a_switch_is_a_final_response_only_to_who_asked_for_it() {
    let agreed = "HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let mut head = ResponseHead::default();
    assert_eq!(head.parse(agreed.as_bytes(), Method::Get), Err(Fault::Upgrade));
    assert_eq!(head.parse_switching(agreed.as_bytes()), Ok(Some(agreed.len())));
    assert!(head.switches() && !head.is_interim() && !head.keeps_alive());
    let hop = Hop::new("fra1", "192.0.2.7".parse().unwrap(), "http");
    let mut out = Vec::new();
    write_response(&mut out, &head, agreed.as_bytes(), &hop, ConnectionOption::Close, true);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nVia: 1.1 fra1\r\n\r\n"
    );
    for other in ["Connection: Upgrade\r\nUpgrade: h2c\r\n", "Upgrade: websocket\r\n", ""] {
        let bytes = format!("HTTP/1.1 101 Switching\r\n{other}\r\n");
        assert_eq!(head.parse_switching(bytes.as_bytes()), Err(Fault::Upgrade), "{other}");
    }
    assert_eq!(head.parse_switching(b"HTTP/1.1 100 Continue\r\n\r\n"), Ok(Some(25)));
    assert!(head.is_interim());
}

#[test]
fn a_hop_names_the_version_it_was_asked_and_answered_in() {
    let hop = Hop::of_version("fra1", "192.0.2.7".parse().unwrap(), "https", "2").answered_in("3");
    let out = upstream_head_by(&hop, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(out.contains("\r\nVia: 2 fra1\r\nX-Forwarded-Proto: https\r\n"), "{out}");
    let mut head = ResponseHead::default();
    let bytes = b"HTTP/1.1 200 OK\r\n\r\n";
    head.parse(bytes, Method::Get).unwrap();
    let mut out = Vec::new();
    write_response(&mut out, &head, bytes, &hop, ConnectionOption::Omit, true);
    assert_eq!(out, b"HTTP/1.1 200 OK\r\nVia: 3 fra1\r\n\r\n");
}

#[test]
fn the_clients_word_on_forwarding_stands_before_ours_or_is_replaced() {
    let out = upstream_head(
        "GET / HTTP/1.1\r\nX-Forwarded-For: 6.6.6.6\r\nHost: a:80\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Host: evil\r\nForwarded: for=7.7.7.7\r\nx-forwarded-for: 8.8.8.8\r\nVia: 1.0 other\r\n\r\n",
    );
    assert_eq!(
        out,
        "GET / HTTP/1.1\r\nHost: a:80\r\nVia: 1.0 other\r\nVia: 1.1 fra1\r\nX-Forwarded-Proto: http\r\n\
         X-Forwarded-For: 6.6.6.6, 8.8.8.8, 192.0.2.7\r\n\
         Forwarded: for=7.7.7.7, for=192.0.2.7;proto=http;by=_fra1;host=\"a:80\"\r\nX-Forwarded-Host: a:80\r\n\r\n"
    );
}

#[test]
fn the_absolute_form_becomes_the_origin_form() {
    for (target, origin) in [("http://a:80", "/"), ("http://a:80/p?q", "/p?q"), ("http://a:80?q", "/?q")] {
        let out = upstream_head(&format!("GET {target} HTTP/1.1\r\nX: 1\r\nhost: A:80\r\n\r\n"));
        assert_eq!(out, format!("GET {origin} HTTP/1.1\r\nHost: a:80\r\nX: 1\r\n{ADDED}"));
    }
}

#[test]
fn http_1_0_goes_on_as_http_1_1() {
    let out = upstream_head("GET /p HTTP/1.0\r\nConnection: keep-alive\r\nX: 1\r\n\r\n");
    assert!(out.starts_with("GET /p HTTP/1.1\r\nHost: \r\nX: 1\r\nVia: 1.1 fra1\r\n"), "{out}");
    assert!(out.ends_with("by=_fra1\r\n\r\n"), "{out}");
    let out =
        upstream_head("POST /p HTTP/1.0\r\nHost: a:80\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert_eq!(out, format!("POST /p HTTP/1.1\r\nHost: a:80\r\nContent-Length: 2\r\n{ADDED}"));
}

#[test]
fn addresses_of_ipv6_are_quoted_and_mapped_ones_are_ipv4() {
    let out = upstream_head_by(
        &Hop::new("fra1", "2001:db8::1".parse().unwrap(), "http"),
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    assert!(
        out.contains("X-Forwarded-For: 2001:db8::1\r\nForwarded: for=\"[2001:db8::1]\";proto=http;"),
        "{out}"
    );
    let out = upstream_head_by(
        &Hop::new("fra1", "::ffff:192.0.2.7".parse().unwrap(), "http"),
        "GET / HTTP/1.1\r\nHost: a:80\r\n\r\n",
    );
    assert!(out.ends_with(ADDED), "{out}");
}

#[test]
fn a_response_is_copied_and_via_follows() {
    let head =
        "HTTP/1.1 200 Fine\r\nServer: x\r\nContent-Length: 3\r\nProxy-Status: inner\r\nVia: 1.1 in\r\n";
    let out = downstream_head(&format!("{head}\r\n"), Method::Get, ConnectionOption::Omit, true);
    assert_eq!(out, format!("{head}Via: 1.1 fra1\r\n\r\n"));
}

#[test]
fn where_http3_is_spoken_too_each_response_offers_it() {
    let text = "HTTP/1.1 204 No Content\r\nA: b\r\n\r\n";
    let mut head = ResponseHead::default();
    head.parse(text.as_bytes(), Method::Get).unwrap().unwrap();
    let mut out = Vec::new();
    let hop = hop().with_http3_at(8443);
    write_response(&mut out, &head, text.as_bytes(), &hop, ConnectionOption::Omit, false);
    let out = String::from_utf8(out).unwrap();
    let added = "Via: 1.1 fra1\r\nAlt-Svc: h3=\":8443\"; ma=86400\r\n\r\n";
    assert_eq!(out, format!("HTTP/1.1 204 No Content\r\nA: b\r\n{added}"));
    assert!(!upstream_head_by(&hop, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").contains("Alt-Svc"));
}

#[test]
fn what_a_response_says_to_its_hop_ends_here() {
    let out = downstream_head(
        "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop\r\nKeep-Alive: timeout=5\r\nX-Hop: 1\r\nUpgrade: h2c\r\n\
         Proxy-Authenticate: x\r\nTransfer-Encoding: chunked\r\nA: b\r\n\r\n",
        Method::Get,
        ConnectionOption::Close,
        true,
    );
    assert_eq!(
        out,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nA: b\r\nConnection: close\r\nVia: 1.1 fra1\r\n\r\n"
    );
}

#[test]
fn a_response_of_http_1_0_or_without_a_reason_gets_a_status_line_of_its_own() {
    let out =
        downstream_head("HTTP/1.0 404 None\r\nA: b\r\n\r\n", Method::Get, ConnectionOption::KeepAlive, true);
    assert_eq!(out, "HTTP/1.1 404 None\r\nA: b\r\nConnection: keep-alive\r\nVia: 1.1 fra1\r\n\r\n");
    for line in ["HTTP/1.1 599", "HTTP/1.1 599 "] {
        let out = downstream_head(&format!("{line}\r\n\r\n"), Method::Get, ConnectionOption::Omit, true);
        assert_eq!(out, "HTTP/1.1 599 \r\nVia: 1.1 fra1\r\n\r\n");
    }
}

#[test]
fn chunking_is_not_announced_where_it_is_taken_off() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let out = downstream_head(head, Method::Get, ConnectionOption::Close, false);
    assert_eq!(out, "HTTP/1.1 200 OK\r\nConnection: close\r\nVia: 1.1 fra1\r\n\r\n");
}

#[test]
fn responses_without_content_carry_no_framing() {
    let out = downstream_head(
        "HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n",
        Method::Get,
        ConnectionOption::Omit,
        true,
    );
    assert_eq!(out, "HTTP/1.1 204 No\r\nVia: 1.1 fra1\r\n\r\n");
    let not_modified = "HTTP/1.1 304 Not\r\nContent-Length: 5\r\n";
    let out = downstream_head(&format!("{not_modified}\r\n"), Method::Get, ConnectionOption::Omit, true);
    assert_eq!(out, format!("{not_modified}Via: 1.1 fra1\r\n\r\n"));
}

#[test]
fn the_framing_of_a_response_depends_on_method_and_status() {
    let framing = |bytes: &str, method| {
        let mut head = ResponseHead::default();
        assert_eq!(head.parse(bytes.as_bytes(), method), Ok(Some(bytes.len())));
        (head.framing(), head.keeps_alive())
    };
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    assert_eq!(framing(length, Method::Get), (Framing::Length(5), true));
    assert_eq!(framing(length, Method::Head), (Framing::None, true));
    assert_eq!(framing("HTTP/1.1 304 X\r\nContent-Length: 5\r\n\r\n", Method::Get), (Framing::None, true));
    assert_eq!(framing("HTTP/1.1 200 OK\r\n\r\n", Method::Get), (Framing::UntilClose, false));
    assert_eq!(framing("HTTP/1.1 204 OK\r\nConnection: close\r\n\r\n", Method::Get), (Framing::None, false));
    assert_eq!(
        framing("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", Method::Get),
        (Framing::Length(1), false)
    );
    let old = "HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: Keep-Alive\r\n\r\n";
    assert_eq!(framing(old, Method::Get), (Framing::Length(1), true));
    assert_eq!(framing("HTTP/1.1 100 Continue\r\n\r\n", Method::Post), (Framing::None, true));
}

#[test]
fn the_parts_a_router_asks_for() {
    let parts = |bytes: &str| {
        let mut head = RequestHead::default();
        head.parse(bytes.as_bytes()).unwrap().unwrap();
        let text = |part: &[u8]| String::from_utf8(part.to_vec()).unwrap();
        (text(head.host(bytes.as_bytes())), text(head.path(bytes.as_bytes())), head.keeps_alive())
    };
    let get = |target: &str, host: &str| parts(&format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    assert_eq!(get("/a/b?c", "a.example:80"), ("a.example".into(), "/a/b".into(), true));
    assert_eq!(get("/?c/d", "[::1]:80"), ("[::1]".into(), "/".into(), true));
    assert_eq!(get("http://x?c", "x"), ("x".into(), "/".into(), true));
    assert_eq!(parts("GET / HTTP/1.0\r\n\r\n"), (String::new(), "/".into(), false));
    assert_eq!(parts("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"), (String::new(), "/".into(), true));
    assert_eq!(
        parts("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, CLOSE\r\n\r\n"),
        ("a".into(), "/".into(), false)
    );
}

#[test]
fn the_path_comes_with_its_query_whatever_the_form_of_the_target() {
    for (target, path, whole) in [
        ("/a/b?c=d", "/a/b", "/a/b?c=d"),
        ("/?", "/", "/?"),
        ("http://a/b?c", "/b", "/b?c"),
        ("http://a?c", "/", "/?c"),
        ("http://a", "/", "/"),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut head = RequestHead::default();
        head.parse(request.as_bytes()).unwrap().unwrap();
        assert_eq!(head.path(request.as_bytes()), path.as_bytes(), "{target}");
        assert_eq!(*head.path_and_query(request.as_bytes()), *whole.as_bytes(), "{target}");
    }
}

#[test]
fn what_a_client_says_of_its_certificate_over_tls_is_replaced_by_what_it_has_shown() {
    let request =
        "GET / HTTP/1.1\r\nHost: a\r\nclient-cert: :Zm9yZ2Vk:\r\nClient-Cert-Chain: :Zm9yZ2Vk:\r\n\r\n";
    let over = |scheme| Hop::new("fra1", "192.0.2.7".parse().unwrap(), scheme);
    let fields = |hop: &Hop, request: &str| -> Vec<String> {
        let sent = upstream_head_by(hop, request);
        let lines = sent.lines().filter(|line| line.to_ascii_lowercase().starts_with("client-cert"));
        lines.map(ToOwned::to_owned).collect()
    };
    assert_eq!(fields(&over("https"), request), Vec::<String>::new());
    assert_eq!(
        fields(&over("http"), request),
        ["client-cert: :Zm9yZ2Vk:", "Client-Cert-Chain: :Zm9yZ2Vk:"],
        "without TLS there is no certificate of ours to be taken for"
    );
    let bare = over("https").with_client_certificate("b3du", []);
    let chained = over("https").with_client_certificate("b3du", ["b25l", "dHdv"]);
    for more in ["", "X-Forwarded-For: 192.0.2.9\r\n"] {
        let request = request.replace("\r\n\r\n", &format!("\r\n{more}\r\n"));
        assert_eq!(fields(&bare, &request), ["Client-Cert: :b3du:"]);
        assert_eq!(fields(&chained, &request), ["Client-Cert: :b3du:", "Client-Cert-Chain: :b25l:, :dHdv:"]);
    }
}
