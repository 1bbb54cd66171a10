//! Answers of our own: what went wrong, for people in the body, for machines in `Proxy-Status` (RFC 9209). And what ACME servers
//! ask for, where nothing did.

use std::borrow::Cow;

use proxima_http1::{Fault, Hop};

use crate::stats::Reason;

const VEC: &str = "a Vec takes everything";

/// A response that no backend gave.
pub(super) struct Answer {
    pub(super) status: u16,
    /// The error type of RFC 9209 §2.3; `None`: there is none.
    error: Option<&'static str>,
    details: Cow<'static, str>,
}

impl Answer {
    pub(super) fn refusal(fault: Fault) -> Self {
        Self { status: fault.status(), error: Some("http_request_error"), details: fault.to_string().into() }
    }

    /// What proves to an ACME server that the name is ours (RFC 8555 §8.3).
    pub(super) fn key_authorization(content: &str) -> Self {
        Self { status: 200, error: None, details: content.to_owned().into() }
    }

    pub(super) fn slow_client() -> Self {
        Self {
            status: 408,
            error: Some("http_request_error"),
            details: "the request did not arrive in time".into(),
        }
    }

    pub(super) fn unrouted() -> Self {
        Self {
            status: 404,
            error: Some("destination_not_found"),
            details: "no route takes this request".into(),
        }
    }

    pub(super) fn unserved(why: String) -> Self {
        Self { status: 503, error: Some("destination_unavailable"), details: why.into() }
    }

    pub(super) fn overloaded() -> Self {
        Self {
            status: 503,
            error: Some("proxy_internal_response"),
            details: "too many clients at once".into(),
        }
    }

    /// Every attempt failed, the last one for `reason`.
    pub(super) fn failure(reason: Reason) -> Self {
        let (status, error, details) = match reason {
            Reason::Connect => (502, "connection_refused", "no backend could be reached"),
            Reason::ConnectTimeout => (504, "connection_timeout", "no backend took the connection in time"),
            Reason::Tls => (502, "tls_protocol_error", "no backend could be reached over TLS"),
            Reason::Stale | Reason::Closed | Reason::Broken => {
                (502, "connection_terminated", "the backend closed the connection before it had answered")
            }
            Reason::Refused => (503, "connection_limit_reached", "the backend did not take the request"),
            Reason::Upgrade => {
                (502, "http_upgrade_failed", "no backend takes WebSockets over its version of HTTP")
            }
            Reason::FirstByte => (504, "connection_read_timeout", "the backend did not answer in time"),
            Reason::Malformed => (502, "http_protocol_error", "the backend's answer is malformed"),
            Reason::Idle => (504, "connection_write_timeout", "the backend did not take the request in time"),
            Reason::Total => (504, "http_response_timeout", "the request took too long"),
        };
        Self { status, error: Some(error), details: details.into() }
    }

    /// Returns how much of it is the head. `hop` is what is said of this one, `pop` its name there.
    pub(super) fn write(&self, out: &mut Vec<u8>, hop: &Hop, pop: &str, keep: bool, to_head: bool) -> usize {
        use std::io::Write;

        let Self { status, error, details } = self;
        let reason = reason_phrase(*status);
        let retry = if *status == 503 { "Retry-After: 1\r\n" } else { "" };
        let close = if keep { "" } else { "Connection: close\r\n" };
        let (kind, end) = match error {
            Some(_) => ("text/plain; charset=utf-8", "\n"),
            None => ("application/octet-stream", ""),
        };
        let length = details.len() + end.len();
        write!(
            out,
            "HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nCache-Control: no-store\r\n"
        )
        .expect(VEC);
        if let Some(error) = error {
            // `details` holds neither quotes nor backslashes nor line ends, but may one day.
            let quoted = details.replace(['"', '\\', '\r', '\n'], "'");
            write!(out, "Proxy-Status: {pop}; error={error}; details=\"{quoted}\"\r\n").expect(VEC);
        }
        write!(out, "{retry}{close}Via: 1.1 {pop}\r\n").expect(VEC);
        out.extend_from_slice(hop.alt_svc());
        out.extend_from_slice(b"\r\n");
        let head = out.len();
        if !to_head {
            out.extend_from_slice(details.as_bytes());
            out.extend_from_slice(end.as_bytes());
        }
        head
    }
}

fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        408 => "Request Timeout",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_answers_offer_http3_where_it_is_spoken() {
        let text = |hop: &Hop| {
            let mut out = Vec::new();
            Answer::unrouted().write(&mut out, hop, "fra1", true, false);
            String::from_utf8(out).unwrap()
        };
        let hop = Hop::new("fra1", [192, 0, 2, 1].into(), "https");
        let plain = text(&hop);
        assert!(plain.starts_with("HTTP/1.1 404 ") && !plain.contains("Alt-Svc"), "{plain}");
        let offering = text(&hop.with_http3_at(8443));
        assert!(
            offering.contains("\r\nVia: 1.1 fra1\r\nAlt-Svc: h3=\":8443\"; ma=86400\r\n\r\n"),
            "{offering}"
        );
    }
}
