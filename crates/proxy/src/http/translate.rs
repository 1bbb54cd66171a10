//! Heads between versions of HTTP.
//!
//! Whatever version a head comes in, it is written down as HTTP/1.1 writes it and read by the strict codec of that: what
//! is refused, what belongs to one hop only, what this hop adds is so decided once for all versions.
//!
//! ```text
//! HTTP/2, HTTP/3 request ── request_text ──▶ RequestHead ── write_request ──▶ next hop's text ──▶ request ──▶ HTTP/2, HTTP/3
//! HTTP/2, HTTP/3 response ─ response_text ─▶ ResponseHead ─ write_response ─▶ next hop's text ──▶ response ─▶ HTTP/2, HTTP/3
//! ```
//!
//! What asks for a WebSocket, or agrees to one, is said otherwise in each version: see `websocket`.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header, request, response};
use proxima_http1::{Fault, MAX_TRAILERS, check_trailers, field_lines};

/// The longest head of HTTP/2 and HTTP/3, in bytes as their header lists are counted (RFC 9113 §10.5.1).
pub(super) const MAX_LIST: usize = 64 * 1024;
/// The longest text that such a head becomes: each field grows by less than it counts for, and the framing is added.
pub(super) const MAX_TEXT: usize = MAX_LIST + 1024;

/// Appends a request's head. `has_body`: more follows. Extended CONNECT for a WebSocket (RFC 8441) becomes the request that
/// HTTP/1.1 has for it, with `key` as its nonce.
///
/// # Errors
/// For CONNECT otherwise, and where Host and `:authority` disagree (RFC 9113 §8.3.1). All else is found by parsing the text.
pub(super) fn request_text(
    out: &mut Vec<u8>,
    parts: &request::Parts,
    has_body: bool,
    key: Option<&str>,
) -> Result<(), Fault> {
    if parts.method == http::Method::CONNECT && key.is_none() {
        return Err(Fault::Connect);
    }
    let method = if key.is_some() { "GET" } else { parts.method.as_str() };
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    line(out, &[method.as_bytes(), b" ", target(parts).as_bytes(), b" HTTP/1.1"]);
    if let Some(authority) = authority {
        line(out, &[b"Host: ", authority.as_bytes()]);
    }
    for (name, value) in &parts.headers {
        if *name == header::HOST && authority.is_some() {
            if !authority.is_some_and(|authority| value.as_bytes().eq_ignore_ascii_case(authority.as_bytes()))
            {
                return Err(Fault::HostMismatch);
            }
        } else if *name != header::COOKIE && (key.is_none() || *name != header::SEC_WEBSOCKET_KEY) {
            line(out, &[name.as_str().as_bytes(), b": ", value.as_bytes()]);
        }
    }
    join_cookies(out, &parts.headers);
    if let Some(key) = key {
        line(out, &[b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: ", key.as_bytes()]);
    } else if !parts.headers.contains_key(header::CONTENT_LENGTH) {
        if has_body {
            line(out, &[b"Transfer-Encoding: chunked"]);
        } else if matches!(parts.method, http::Method::POST | http::Method::PUT | http::Method::PATCH) {
            // RFC 9110 §8.6: a method that has a body, and none came.
            line(out, &[b"Content-Length: 0"]);
        }
    }
    line(out, &[]);
    Ok(())
}

fn target(parts: &request::Parts) -> &str {
    parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str)
}

/// RFC 9113 §8.2.3: a cookie that was split to compress better is one field again.
fn join_cookies(out: &mut Vec<u8>, headers: &HeaderMap) {
    let mut crumbs = headers.get_all(header::COOKIE).iter();
    let Some(first) = crumbs.next() else { return };
    out.extend_from_slice(b"Cookie: ");
    out.extend_from_slice(first.as_bytes());
    for crumb in crumbs {
        out.extend_from_slice(b"; ");
        out.extend_from_slice(crumb.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

fn line(out: &mut Vec<u8>, pieces: &[&[u8]]) {
    for piece in pieces {
        out.extend_from_slice(piece);
    }
    out.extend_from_slice(b"\r\n");
}

/// The request of a head as [`proxima_http1::write_request`] writes it, for a backend at `address` that is
/// spoken to by `scheme`.
///
/// # Errors
/// When it holds what HTTP/2 can't carry.
pub(super) fn request(text: &[u8], scheme: &str, address: SocketAddr) -> Result<Request<()>, Fault> {
    let (first, section) = first_line(text);
    let mut words = first.split(|byte| *byte == b' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let method = http::Method::from_bytes(method).map_err(|_| Fault::RequestLine)?;
    let mut headers = fields(section)?;
    let host = headers.remove(header::HOST).filter(|host| !host.is_empty());
    // HTTP/1.0 may name no host.
    let authority = host.map_or_else(|| address.to_string().into_bytes(), |host| host.as_bytes().to_vec());
    headers.remove(header::CONNECTION);
    headers.remove(header::TRANSFER_ENCODING);
    headers.remove(header::UPGRADE);
    let uri = http::Uri::builder().scheme(scheme).authority(authority.as_slice()).path_and_query(target);
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri.build().map_err(|_| Fault::Target)?;
    *request.version_mut() = http::Version::HTTP_2;
    *request.headers_mut() = headers;
    Ok(request)
}

/// Makes a request for a WebSocket, as HTTP/1.1 has it, extended CONNECT (RFC 8441 §4), which has no nonce (§5).
pub(super) fn into_connect(request: &mut Request<()>) {
    *request.method_mut() = http::Method::CONNECT;
    request.headers_mut().remove(header::SEC_WEBSOCKET_KEY);
    request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
}

/// Appends a response's head.
pub(super) fn response_text(out: &mut Vec<u8>, parts: &response::Parts) {
    line(out, &[b"HTTP/1.1 ", parts.status.as_str().as_bytes(), b" "]);
    for (name, value) in &parts.headers {
        line(out, &[name.as_str().as_bytes(), b": ", value.as_bytes()]);
    }
    let is_bare = parts.status.is_informational() || matches!(parts.status.as_u16(), 204 | 304);
    if !is_bare && !parts.headers.contains_key(header::CONTENT_LENGTH) {
        line(out, &[b"Transfer-Encoding: chunked"]);
    }
    line(out, &[]);
}

/// The response of a head as [`proxima_http1::write_response`] writes it.
///
/// # Errors
/// When it holds what HTTP/2 can't carry.
pub(super) fn response(text: &[u8]) -> Result<Response<()>, Fault> {
    let (first, section) = first_line(text);
    let status = first.get(9..12).and_then(|code| StatusCode::from_bytes(code).ok());
    let mut response = Response::new(());
    *response.status_mut() = status.ok_or(Fault::StatusLine)?;
    *response.headers_mut() = fields(section)?;
    Ok(response)
}

/// The response to extended CONNECT (RFC 8441 §5.1) that says what one of HTTP/1.1 says by 101.
pub(super) fn connected(mut response: Response<()>) -> Response<()> {
    *response.status_mut() = StatusCode::OK;
    for name in [header::UPGRADE, header::CONNECTION, header::SEC_WEBSOCKET_ACCEPT] {
        response.headers_mut().remove(name);
    }
    response
}

/// The first line without its end, and what follows.
fn first_line(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| *byte == b'\r').unwrap_or(text.len());
    (&text[..end], text.get(end + 2..).unwrap_or_default())
}

/// The fields of a section that is whole and well-formed.
///
/// # Errors
/// When it holds what HTTP/2 can't carry.
pub(super) fn fields(section: &[u8]) -> Result<HeaderMap, Fault> {
    let mut map = HeaderMap::with_capacity(16);
    for (name, value) in field_lines(section) {
        let name = HeaderName::from_bytes(name).map_err(|_| Fault::FieldLine)?;
        let value = HeaderValue::from_bytes(value).map_err(|_| Fault::FieldLine)?;
        map.try_append(name, value).map_err(|_| Fault::TooManyFields)?;
    }
    Ok(map)
}

/// The trailer section of `trailers`, with its final empty line.
///
/// # Errors
/// When it is too long, or holds what must not stand there.
pub(super) fn trailer_text(trailers: &HeaderMap) -> Result<Vec<u8>, Fault> {
    let mut text = Vec::new();
    for (name, value) in trailers {
        line(&mut text, &[name.as_str().as_bytes(), b": ", value.as_bytes()]);
    }
    line(&mut text, &[]);
    if text.len() > MAX_TRAILERS {
        return Err(Fault::TrailersTooLong);
    }
    check_trailers(&text)?;
    Ok(text)
}
