//! One connection of a client that sends octets as they are.

use std::{
    fmt,
    io::{self, Read, Write},
    net::TcpStream,
    time::Duration,
};

use super::HOST;

/// How long a proxy may take to answer and close.
const PATIENCE: Duration = Duration::from_secs(10);
/// The beginning of every status line.
const VERSION: &[u8] = b"HTTP/1.1 ";

/// What came back on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// Everything, up to the end or until nothing more came.
    pub(super) bytes: Vec<u8>,
    /// The other side ended the connection.
    pub(super) closed: bool,
}

impl Answer {
    /// The statuses of all responses, in order.
    pub(super) fn statuses(&self) -> Vec<u16> {
        let lines = self.bytes.windows(VERSION.len() + 3).filter(|window| window.starts_with(VERSION));
        lines.filter_map(|line| std::str::from_utf8(&line[VERSION.len()..]).ok()?.parse().ok()).collect()
    }
}

/// `400, closed`.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let statuses = self.statuses();
        if statuses.is_empty() {
            f.write_str(if self.bytes.is_empty() { "no answer" } else { "no status line" })?;
        }
        for (n, status) in statuses.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{status}")?;
        }
        if self.closed { Ok(()) } else { f.write_str(", open") }
    }
}

/// Sends `bytes` on a new connection and reads to its end.
pub(super) fn exchange(port: u16, bytes: &[u8]) -> io::Result<Answer> {
    let mut stream = TcpStream::connect((HOST, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // A proxy may close before it has read everything.
    let _ = stream.write_all(bytes);
    let mut answer = Answer { bytes: Vec::new(), closed: false };
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => answer.closed = true,
            Ok(count) => {
                answer.bytes.extend_from_slice(&chunk[..count]);
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => answer.closed = true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        return Ok(answer);
    }
}
