//! hyper's server on octets in memory: what it makes of them.

use std::{
    cell::RefCell,
    convert::Infallible,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
};

use hyper::{
    HeaderMap, Request, Response, Uri,
    body::{Body, Incoming},
    rt::{Read, ReadBufCursor, Write},
    server::conn::http1,
    service::service_fn,
};

use super::Message;

/// A request whose head hyper has accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Theirs {
    Whole(Message),
    /// Its body was not.
    Broken,
}

/// Every request that hyper finds in `bytes`, up to their end or what it refuses.
pub(crate) fn read(bytes: &[u8]) -> Vec<Theirs> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let service = service_fn(|request| {
        let seen = seen.clone();
        async move {
            let theirs = message(request).await;
            seen.borrow_mut().push(theirs);
            Ok::<_, Infallible>(Response::new(String::new()))
        }
    });
    let input = Input(bytes.to_vec().into());
    let mut connection = pin!(http1::Builder::new().half_close(true).serve_connection(input, service));
    let mut cx = Context::from_waker(Waker::noop());
    // All there is can be read at once, so a few polls for each step are enough.
    for _ in 0..1000 {
        if connection.as_mut().poll(&mut cx).is_ready() {
            let found = seen.borrow().clone();
            return found;
        }
    }
    panic!("hyper waits for something: {}", bytes.escape_ascii());
}

async fn message(request: Request<Incoming>) -> Theirs {
    let (parts, mut body) = request.into_parts();
    let mut message = Message {
        method: parts.method.as_str().to_owned(),
        target: target(&parts.uri),
        fields: super::BTreeMap::new(),
        ..Message::default()
    };
    message.fields = by_name(&parts.headers);
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let Ok(frame) = frame else { return Theirs::Broken };
        match frame.into_data() {
            Ok(data) => message.content.extend_from_slice(&data),
            Err(frame) => message.trailers = frame.trailers_ref().map(by_name).unwrap_or_default(),
        }
    }
    Theirs::Whole(message)
}

/// Path and query. Those of `http://a?b` are `/` and `b` (RFC 9110 §4.2.3).
fn target(uri: &Uri) -> String {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}{query}", uri.path())
}

fn by_name(headers: &HeaderMap) -> super::BTreeMap<String, Vec<Vec<u8>>> {
    let values = |name| headers.get_all(name).iter().map(|value| value.as_bytes().to_vec()).collect();
    headers.keys().map(|name| (name.as_str().to_owned(), values(name))).collect()
}

/// A connection that brings these octets and ends, and takes whatever is written.
struct Input(std::collections::VecDeque<u8>);

impl Read for Input {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let count = into.remaining().min(self.0.len());
        let bytes: Vec<u8> = self.0.drain(..count).collect();
        into.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl Write for Input {
    fn poll_write(self: Pin<&mut Self>, _cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
