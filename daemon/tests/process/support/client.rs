//! A client that sees exactly what comes over the connection.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
};

use socket2::{Domain, Socket, Type};

use super::PATIENCE;

/// A response that came in whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// A connection of a client.
#[derive(Debug)]
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap()
    }

    pub(crate) fn try_connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Connects from this address.
    pub(crate) fn from(source: IpAddr, address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
        socket.connect(&address.into()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream: BufReader::new(socket.into()) }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    /// Asks and reads the answer; the connection can be used again.
    pub(crate) fn get(&mut self, path: &str) -> std::io::Result<Response> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: example.com\r\n\r\n");
        self.stream.get_mut().write_all(request.as_bytes())?;
        self.response()
    }

    /// Reads an answer with Content-Length.
    pub(crate) fn response(&mut self) -> std::io::Result<Response> {
        let (status, head) = self.head()?;
        let length =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or_default()];
        self.stream.read_exact(&mut body)?;
        Ok(Response { status, head, body: String::from_utf8_lossy(&body).into_owned() })
    }

    /// Reads a head: status and the text.
    pub(crate) fn head(&mut self) -> std::io::Result<(u16, String)> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.stream.read_line(&mut head)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line");
        Ok((status, head))
    }

    /// Reads a chunk of a body; `None` for the last one.
    pub(crate) fn chunk(&mut self) -> Option<String> {
        let mut size = String::new();
        self.stream.read_line(&mut size).unwrap();
        let size = usize::from_str_radix(size.trim_end(), 16).expect("a chunk size");
        let mut data = vec![0; size + 2];
        self.stream.read_exact(&mut data).unwrap();
        assert!(data.ends_with(b"\r\n"));
        data.truncate(size);
        (size > 0).then(|| String::from_utf8(data).unwrap())
    }

    /// The next bytes.
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Whether the connection ends without a further byte.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.stream.read(&mut [0]).is_ok_and(|count| count == 0)
    }
}

/// One request over a connection of its own.
pub(crate) fn get(address: SocketAddr, path: &str) -> Response {
    Client::connect(address).get(path).unwrap()
}

/// Sends bytes as they are, and returns all that comes until the connection ends, and whether it ended in order.
pub(crate) fn exchange(address: SocketAddr, bytes: &[u8]) -> (String, bool) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The answer may come, and the connection end, before everything is sent.
    stream.write_all(bytes).ok();
    let mut answer = Vec::new();
    let end = stream.read_to_end(&mut answer);
    if let Err(error) = &end {
        assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "the connection stays open");
    }
    (String::from_utf8_lossy(&answer).into_owned(), end.is_ok())
}
