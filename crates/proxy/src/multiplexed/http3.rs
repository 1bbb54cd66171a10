//! Connections of HTTP/3 (RFC 9114), each over a QUIC endpoint of its own.

use std::{
    cell::RefCell,
    collections::HashMap,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use proxima_http3::{Code, control_stream};
use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::Notify;

use super::{Drive, Link, Multiplexed};
use crate::{
    backend::Backend,
    http::h3::{IntoVarInt, OneWay, Receiving, Sending},
    stats::Reason,
};

/// One connection. Dropped, it is closed.
#[derive(Debug)]
pub(crate) struct Http3Link {
    shared: Rc<Shared>,
    /// The first stream, by which it was seen that the backend takes any.
    first: RefCell<Option<(SendStream, RecvStream)>>,
}

/// What the tasks of a connection share.
#[derive(Debug)]
struct Shared {
    connection: Connection,
    one_way: OneWay,
    /// By their streams: who waits for a response, and has to hear of a GOAWAY.
    waiting: RefCell<HashMap<u64, Waker>>,
    /// The control stream has said something, or the connection has ended.
    told: Notify,
}

impl Link for Http3Link {
    type Stream = (Sending, Receiving);

    fn of(backend: &Backend) -> &Multiplexed<Self> {
        &backend.http3
    }

    async fn connect(backend: &Backend) -> Result<(Self, Drive), Reason> {
        let connection = backend.connect_quic().await?;
        let begin = async {
            let mut control = connection.open_uni().await?;
            control.write_all(&control_stream()).await?;
            Ok::<_, quinn::WriteError>((control, connection.open_bi().await?))
        };
        let (control, first) = begin.await.map_err(|error| {
            tracing::debug!(backend = %backend.id, %error, "no HTTP/3 connection");
            Reason::Connect
        })?;
        let (one_way, waiting, told) = (OneWay::of_server(), RefCell::default(), Notify::new());
        let shared = Rc::new(Shared { connection, one_way, waiting, told });
        let link = Self { shared: shared.clone(), first: RefCell::new(Some(first)) };
        Ok((link, Box::pin(drive(shared, control))))
    }

    fn is_usable(&self) -> bool {
        let Shared { connection, one_way, .. } = &*self.shared;
        connection.close_reason().is_none() && one_way.goaway().is_none()
    }

    /// The backend has told by MAX_STREAMS (RFC 9000 §4.6) how many it takes.
    fn open(&self, _streams: usize) -> Option<Self::Stream> {
        let (send, receive) = self.first.take().or_else(|| {
            let opening = pin!(self.shared.connection.open_bi());
            match opening.poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(stream)) => Some(stream),
                Poll::Ready(Err(_)) | Poll::Pending => None,
            }
        })?;
        Some((Sending::request(send), Receiving::response(receive)))
    }

    async fn takes_websockets(&self) -> Result<bool, Reason> {
        let Shared { connection, one_way, told, .. } = &*self.shared;
        loop {
            let told = told.notified();
            match one_way.takes_websockets() {
                Some(takes) => return Ok(takes),
                None if connection.close_reason().is_some() => return Err(Reason::Connect),
                None => told.await,
            }
        }
    }
}

impl Http3Link {
    /// Closes the connection for what the backend has done.
    pub(crate) fn fail(&self, code: Code) {
        self.shared.fail(code);
    }

    /// Ready when the backend has said that it does nothing with `stream` (RFC 9114 §5.2).
    pub(crate) fn poll_excluded(&self, stream: u64, cx: &Context<'_>) -> Poll<()> {
        if self.shared.one_way.goaway().is_some_and(|first| first <= stream) {
            return Poll::Ready(());
        }
        let mut waiting = self.shared.waiting.borrow_mut();
        match waiting.get_mut(&stream) {
            Some(waker) => waker.clone_from(cx.waker()),
            None => drop(waiting.insert(stream, cx.waker().clone())),
        }
        Poll::Pending
    }

    /// Nobody waits for the response of `stream` any more.
    pub(crate) fn forget(&self, stream: u64) {
        self.shared.waiting.borrow_mut().remove(&stream);
    }
}

impl Drop for Http3Link {
    fn drop(&mut self) {
        self.shared.connection.close(Code::NoError.into_varint(), b"");
    }
}

impl Shared {
    fn fail(&self, code: Code) {
        if self.connection.close_reason().is_none() {
            tracing::debug!(peer = %self.connection.remote_address(), ?code, "HTTP/3 connection closed");
            self.connection.close(code.into_varint(), b"");
        }
    }

    fn wake_all(&self) {
        self.told.notify_waiters();
        for waker in self.waiting.borrow().values() {
            waker.wake_by_ref();
        }
    }
}

/// Takes the backend's streams in one direction until the connection ends. `control` is ours, which has to stay open
/// (RFC 9114 §6.2.1).
async fn drive(shared: Rc<Shared>, control: SendStream) {
    let error = loop {
        match shared.connection.accept_uni().await {
            Ok(stream) => drop(tokio::task::spawn_local(read(shared.clone(), stream))),
            Err(error) => break error,
        }
    };
    drop(control);
    shared.told.notify_waiters();
    tracing::debug!(%error, "a connection to a backend ended");
}

async fn read(shared: Rc<Shared>, mut stream: RecvStream) {
    if let Err(code) = shared.one_way.read(&mut stream, || shared.wake_all()).await {
        shared.fail(code);
    }
}
