//! A router played by the test: accepts BGP sessions, says what it is told to say, and records what it hears.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::Instant,
};

use socket2::{SockRef, Socket};

use super::{
    KEEPALIVE, Port,
    bgp::{self, describe, frame},
    record::Record,
};

/// How a router behaves on one connection.
#[derive(Debug, Clone)]
pub(crate) enum Manner {
    /// As RFC 4271 asks.
    Polite,
    /// Listens only.
    Silent,
    /// Answers an OPEN with these bytes.
    Answers(Vec<u8>),
    /// Polite, with this OPEN.
    Opens(Vec<u8>),
    /// Polite until established; then says these bytes, and is polite again.
    Established(Vec<u8>),
    /// Resets the connection when it hears the OPEN.
    Resets,
}

/// Something that happened on a session.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    /// Which connection, from 0.
    pub(crate) connection: usize,
    pub(crate) at: Instant,
    /// The message in one line; `connected`, `closed` or `reset` for the connection itself.
    pub(crate) line: String,
    /// The message, header included.
    pub(crate) bytes: Vec<u8>,
}

impl Heard {
    pub(crate) fn is_update(&self) -> bool {
        ["announce", "withdraw", "end-of-rib"].iter().any(|word| self.line.starts_with(word))
    }
}

/// A router with an address of its own.
#[derive(Debug)]
pub(crate) struct Router {
    pub(crate) address: SocketAddr,
    heard: Arc<Record<Heard>>,
    current: Arc<Mutex<Option<TcpStream>>>,
    listener: Socket,
    thread: Option<JoinHandle<()>>,
}

impl Router {
    pub(crate) fn polite() -> Self {
        Self::with([])
    }

    /// Behaves so on the first connections, politely on the later ones.
    pub(crate) fn with(manners: impl Into<Vec<Manner>>) -> Self {
        Self::at(&Port::reserve_apart(), manners)
    }

    /// The same at a port that is reserved already.
    pub(crate) fn at(port: &Port, manners: impl Into<Vec<Manner>>) -> Self {
        let listener = port.listen();
        let address = listener.local_addr().unwrap();
        let socket = Socket::from(listener.try_clone().unwrap());
        let (heard, current) = (Arc::<Record<Heard>>::default(), Arc::default());
        let thread = thread::spawn({
            let (heard, current, manners) = (Arc::clone(&heard), Arc::clone(&current), manners.into());
            move || accept(&listener, &manners, &heard, &current)
        });
        Self { address, heard, current, listener: socket, thread: Some(thread) }
    }

    /// Everything heard, in order.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.snapshot()
    }

    /// The UPDATEs heard so far, in order.
    pub(crate) fn updates(&self) -> Vec<String> {
        self.heard().into_iter().filter(Heard::is_update).map(|heard| heard.line).collect()
    }

    /// Waits for the first message whose line begins so.
    pub(crate) fn wait_for(&self, beginning: &str) -> Heard {
        self.wait_after(0, beginning)
    }

    /// The same, leaving out the first `skip` entries.
    pub(crate) fn wait_after(&self, skip: usize, beginning: &str) -> Heard {
        self.heard.wait(beginning, |heard| {
            heard.iter().skip(skip).find(|heard| heard.line.starts_with(beginning)).cloned()
        })
    }

    /// The same, on the connection of this number only.
    pub(crate) fn wait_on(&self, connection: usize, beginning: &str) -> Heard {
        self.heard.wait(beginning, |heard| {
            let mut on = heard.iter().filter(|heard| heard.connection == connection);
            on.find(|heard| heard.line.starts_with(beginning)).cloned()
        })
    }

    /// Waits until both End-of-RIBs have come on the connection of this number.
    pub(crate) fn wait_complete(&self, connection: usize) {
        self.wait_on(connection, "end-of-rib ipv4");
        self.wait_on(connection, "end-of-rib ipv6");
    }

    /// Sends bytes on the latest connection.
    pub(crate) fn say(&self, bytes: &[u8]) {
        self.current.lock().unwrap().as_mut().expect("a connection").write_all(bytes).unwrap();
    }

    /// Closes the latest connection.
    pub(crate) fn hang_up(&self) {
        if let Some(stream) = self.current.lock().unwrap().take() {
            // It may be closed already.
            stream.shutdown(Shutdown::Both).ok();
        }
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.listener.shutdown(Shutdown::Both).ok();
        self.hang_up();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn accept(
    listener: &TcpListener,
    manners: &[Manner],
    heard: &Record<Heard>,
    current: &Mutex<Option<TcpStream>>,
) {
    for connection in 0.. {
        let Ok((stream, _)) = listener.accept() else { return };
        stream.set_nodelay(true).unwrap();
        *current.lock().unwrap() = Some(stream.try_clone().unwrap());
        let manner = manners.get(connection).unwrap_or(&Manner::Polite);
        let note = |line: &str, bytes: &[u8]| {
            let (line, bytes) = (line.to_owned(), bytes.to_vec());
            heard.push(Heard { connection, at: Instant::now(), line, bytes });
        };
        note("connected", &[]);
        converse(stream, manner, &note);
        *current.lock().unwrap() = None;
    }
}

fn converse(mut stream: TcpStream, manner: &Manner, note: &impl Fn(&str, &[u8])) {
    let mut inbox = Vec::new();
    let mut chunk = [0; 4096];
    let mut keepalives = 0;
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return note("closed", &[]),
            Ok(count) => inbox.extend_from_slice(&chunk[..count]),
            Err(_) => return note("reset", &[]),
        }
        while let Some(message) = frame(&inbox).map(<[u8]>::to_vec) {
            inbox.drain(..message.len());
            let kind = message[18];
            keepalives += usize::from(kind == 4);
            if matches!((manner, kind), (Manner::Resets, 1)) {
                SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
                return note("reset by us", &[]);
            }
            note(&describe(&message), &message);
            // Writing fails where the daemon has hung up; the next read tells.
            stream.write_all(&reply(manner, kind, keepalives)).ok();
        }
    }
}

fn reply(manner: &Manner, kind: u8, keepalives: usize) -> Vec<u8> {
    match (manner, kind) {
        (Manner::Answers(bytes), 1) => bytes.clone(),
        (Manner::Established(bytes), 4) if keepalives == 1 => bytes.clone(),
        (Manner::Opens(open), 1) => [open.clone(), KEEPALIVE.to_vec()].concat(),
        (Manner::Polite | Manner::Established(_), 1) => [bgp::open(), KEEPALIVE.to_vec()].concat(),
        (Manner::Polite | Manner::Established(_) | Manner::Opens(_), 4) => KEEPALIVE.to_vec(),
        _ => Vec::new(),
    }
}
