//! What a backend says of the request it has read: one line, the same words from every maker.
//!
//! `METHOD TARGET HOST X BODY`, the field `X` and the body in hexadecimal digits, `-` where there is none.

use std::{convert::Infallible, fmt::Write as _};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, header::HOST, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// The same in Node.js; its argument is the port.
pub(super) const NODE: &str = r"
const hex = (octets) => octets.length ? octets.toString('hex') : '-';
require('http').createServer((request, response) => {
  const body = [];
  request.on('data', (octets) => body.push(octets));
  request.on('end', () => {
    const x = Buffer.from(request.headers.x || '', 'latin1');
    response.end([request.method, request.url, request.headers.host || '-', hex(x), hex(Buffer.concat(body))].join(' ') + '\n');
  });
}).listen(Number(process.argv[1]), '127.0.0.1');
";

/// The line for a request.
pub(super) fn line(method: &str, target: &str, host: &str, x: &[u8], body: &[u8]) -> String {
    let host = if host.is_empty() { "-" } else { host };
    format!("{method} {target} {host} {} {}\n", hex(x), hex(body))
}

fn hex(bytes: &[u8]) -> String {
    let mut digits = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(digits, "{byte:02x}");
    }
    if digits.is_empty() { "-".to_owned() } else { digits }
}

/// Serves with hyper for as long as its runtime lives.
pub(super) async fn serve(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
        // The proxies close idle connections as they like.
        tokio::spawn(async move { drop(connection.await) });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let field =
        |name| head.headers.get(name).map_or(&[][..], |value: &hyper::header::HeaderValue| value.as_bytes());
    let text = match body.collect().await {
        Ok(body) => {
            let host = String::from_utf8_lossy(field(HOST.as_str())).into_owned();
            line(head.method.as_str(), &head.uri.to_string(), &host, field("x"), &body.to_bytes())
        }
        Err(error) => format!("hyper could not read the body: {error}\n"),
    };
    Ok(Response::new(Full::new(text.into())))
}
