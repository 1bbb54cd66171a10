//! An app that writes down every octet that reaches it, and answers each connection once.

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use super::HOST;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n";

/// What has reached the app. Clones are the same record.
#[derive(Debug, Clone, Default)]
pub(super) struct Record(Arc<Mutex<Vec<u8>>>);

impl Record {
    /// Listens on `port` from now on.
    pub(super) fn listen(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((HOST, port))?;
        let record = Self::default();
        let written = record.clone();
        thread::Builder::new().name(format!("recorder-{port}")).spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let record = written.clone();
                // A connection that breaks has been written down as far as it went.
                thread::spawn(move || record.serve(stream));
            }
        })?;
        Ok(record)
    }

    /// All there is, which is then forgotten.
    pub(super) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.bytes())
    }

    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut own = Vec::new();
        let mut answered = false;
        let mut chunk = [0; 16384];
        loop {
            let count = stream.read(&mut chunk)?;
            if count == 0 {
                return Ok(());
            }
            own.extend_from_slice(&chunk[..count]);
            // Before the answer, so that whoever has it finds the request written down.
            self.bytes().extend_from_slice(&chunk[..count]);
            if !answered && own.windows(4).any(|window| window == b"\r\n\r\n") {
                answered = true;
                stream.write_all(ANSWER)?;
                stream.shutdown(std::net::Shutdown::Write)?;
            }
        }
    }
}
