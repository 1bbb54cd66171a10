//! `grpc.health.v1.Health/Check` over HTTP/2: whether a gRPC server, or one of its services, says that it serves.
//!
//! ```text
//! message  = compressed (1 byte, 0) length (4 bytes) protobuf
//! request  = { service: string = 1 }         answer = { status: enum = 1 }
//! trailers = grpc-status, grpc-message       (or headers, where there is no answer)
//! ```

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use proxima_health::Failure;
use proxima_probe_kind::{Grpc, Tls};

use super::{
    Check, Checked,
    http2::{self, Answer, Exchange},
};
use crate::{
    path::{Deadline, Path},
    said::said,
    standing::Standing,
};

/// The longest answer, in bytes: the message takes seven.
const MAX_ANSWER: usize = 1024;
const METHOD: &str = "/grpc.health.v1.Health/Check";

/// What is asked of a gRPC server.
#[derive(Debug)]
pub(crate) struct Question {
    address: Result<Uri, String>,
    message: Bytes,
    tls: Option<Tls>,
}

impl Question {
    pub(crate) fn new(grpc: Grpc, path: &Path) -> Self {
        let address = http2::address(grpc.host.as_deref(), METHOD, grpc.tls.is_some(), path);
        Self {
            address: address.map_err(|error| error.to_string()),
            message: question(&grpc.service),
            tls: grpc.tls,
        }
    }
}

impl Exchange for Question {
    fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    fn request(&self) -> Result<Request<()>, Failure> {
        let headers = [(header::CONTENT_TYPE, "application/grpc"), (header::TE, "trailers")];
        http2::request(&self.address, Method::POST, &headers)
    }

    fn body(&self) -> Option<Bytes> {
        Some(self.message.clone())
    }

    fn wants(&self, status: StatusCode) -> usize {
        if status == StatusCode::OK { MAX_ANSWER } else { 0 }
    }

    fn judge(&self, answer: &Answer) -> Result<(), Failure> {
        if answer.status != StatusCode::OK {
            return Err(Failure::Status { expected: 200, received: answer.status.as_u16() });
        }
        judge(&answer.body, answer.trailers.as_ref().unwrap_or(&answer.headers))
    }
}

impl Check for Question {
    async fn check(&self, path: &Path, standing: Option<Standing>, deadline: Deadline) -> Checked {
        http2::check(self, path, standing, deadline).await
    }
}

/// The message that asks about `service`.
fn question(service: &str) -> Bytes {
    let mut protobuf = Vec::new();
    if !service.is_empty() {
        // Field 1, length-delimited; the length as a varint.
        protobuf.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            protobuf.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        protobuf.push(length as u8);
        protobuf.extend_from_slice(service.as_bytes());
    }
    let mut message = BytesMut::with_capacity(5 + protobuf.len());
    message.extend_from_slice(&[0]);
    message.extend_from_slice(&u32::try_from(protobuf.len()).unwrap_or(u32::MAX).to_be_bytes());
    message.extend_from_slice(&protobuf);
    message.freeze()
}

/// What the answer says, and the trailers that followed it.
fn judge(body: &[u8], trailers: &HeaderMap) -> Result<(), Failure> {
    let text = |name: &str| trailers.get(name).map(|value| said(value.as_bytes()));
    match text("grpc-status").as_deref() {
        Some("0") => {}
        None => return Err(Failure::Protocol { detail: "no `grpc-status` in the answer".to_owned() }),
        Some(status) => {
            let name = status.parse().ok().and_then(|number: usize| STATUSES.get(number)).unwrap_or(&"?");
            let message = text("grpc-message").filter(|message| !message.is_empty());
            let detail = message.map_or_else(String::new, |message| format!(": {message}"));
            return Err(Failure::Refusal { detail: format!("gRPC status {status} {name}{detail}") });
        }
    }
    match answer(body)? {
        1 => Ok(()),
        2 => Err(Failure::Refusal { detail: "NOT_SERVING".to_owned() }),
        3 => Err(Failure::Refusal { detail: "SERVICE_UNKNOWN".to_owned() }),
        _ => Err(Failure::Refusal { detail: "UNKNOWN".to_owned() }),
    }
}

/// The names of gRPC's status codes.
const STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The `status` of an answer; 0 where it is left out.
fn answer(body: &[u8]) -> Result<u64, Failure> {
    let malformed = |detail: &str| Err(Failure::Malformed { detail: detail.to_owned() });
    let Some((head, message)) = body.split_at_checked(5) else { return malformed("no gRPC message in it") };
    if head[0] != 0 {
        return malformed("its gRPC message is compressed");
    }
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    let Some(mut message) = message.get(..length) else { return malformed("its gRPC message is cut") };
    let mut status = 0;
    while !message.is_empty() {
        let Some(tag) = varint(&mut message) else { return malformed("its gRPC message is no protobuf") };
        let value = match tag & 7 {
            0 => varint(&mut message),
            1 => skip(&mut message, 8),
            2 => varint(&mut message).and_then(|length| skip(&mut message, usize::try_from(length).ok()?)),
            5 => skip(&mut message, 4),
            _ => None,
        };
        let Some(value) = value else { return malformed("its gRPC message is no protobuf") };
        if tag == 0x08 {
            status = value;
        }
    }
    Ok(status)
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn skip(message: &mut &[u8], length: usize) -> Option<u64> {
    *message = message.get(length..)?;
    Some(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trailers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn the_question_is_what_protobuf_says() {
        // From `protoc --encode grpc.health.v1.HealthCheckRequest`, with gRPC's five bytes before it.
        assert_eq!(&question("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&question("chat")[..], [0, 0, 0, 0, 6, 0x0a, 4, b'c', b'h', b'a', b't']);
        let long = "s".repeat(200);
        assert_eq!(question(&long)[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 0x01]);
    }

    #[test]
    fn only_a_server_that_says_serving_serves() {
        let ok = trailers(&[("grpc-status", "0")]);
        assert_eq!(judge(&[0, 0, 0, 0, 2, 8, 1], &ok), Ok(()));
        // Fields of a later version are passed over.
        assert_eq!(judge(&[0, 0, 0, 0, 6, 0x12, 2, b'h', b'i', 8, 1], &ok), Ok(()));
        for (body, words) in [
            (&[0, 0, 0, 0, 2, 8, 2][..], "the app refuses: NOT_SERVING"),
            (&[0, 0, 0, 0, 2, 8, 3], "the app refuses: SERVICE_UNKNOWN"),
            (&[0, 0, 0, 0, 0], "the app refuses: UNKNOWN"),
            (&[], "malformed answer: no gRPC message in it"),
            (&[1, 0, 0, 0, 2, 8, 1], "malformed answer: its gRPC message is compressed"),
            (&[0, 0, 0, 0, 9, 8, 1], "malformed answer: its gRPC message is cut"),
            (&[0, 0, 0, 0, 2, 8, 0x80], "malformed answer: its gRPC message is no protobuf"),
            (&[0, 0, 0, 0, 2, 0x12, 9], "malformed answer: its gRPC message is no protobuf"),
        ] {
            assert_eq!(judge(body, &ok).unwrap_err().to_string(), words, "{body:?}");
        }
        let not_found = trailers(&[("grpc-status", "5"), ("grpc-message", "unknown service")]);
        let words = "the app refuses: gRPC status 5 NOT_FOUND: unknown service";
        assert_eq!(judge(&[], &not_found).unwrap_err().to_string(), words);
        let words = "protocol error: no `grpc-status` in the answer";
        assert_eq!(judge(&[0, 0, 0, 0, 2, 8, 1], &trailers(&[])).unwrap_err().to_string(), words);
    }
}
