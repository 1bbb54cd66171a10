//! One exchange of HTTP/1.1 on one connection, as a client sees it (RFC 9112).
//!
//! Small on purpose, and not the product's codec: it reads status, headers and the three kinds of body framing, and
//! is exact about how an answer ended.

use std::{io, time::Instant};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

const MAX_HEAD: usize = 16 * 1024;

/// An open connection with the bytes read ahead of use.
#[derive(Debug)]
pub struct Connection<S = TcpStream> {
    stream: S,
    buffer: Vec<u8>,
    /// Requests sent on it.
    pub requests: u32,
}

/// Why an exchange ended without a whole answer.
#[derive(Debug)]
pub enum ExchangeError {
    /// The connection died before the first byte of an answer.
    BeforeAnswer(io::Error),
    /// It died within the answer.
    WithinAnswer(io::Error),
    /// The answer is not HTTP/1.1.
    Malformed(String),
}

/// The head of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// Names in lower case, values as they came (without invalid UTF-8).
    pub headers: Vec<(String, String)>,
    /// When its first byte was read.
    pub first_byte: Instant,
}

impl Head {
    /// The first value of a header; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn has_token(&self, name: &str, token: &str) -> bool {
        let values = self.headers.iter().filter(|(known, _)| known == name);
        values.flat_map(|(_, value)| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case(token))
    }
}

/// How a body's end is told (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

impl Connection {
    /// The local port.
    pub fn local_port(&self) -> u16 {
        self.stream.local_addr().map_or(0, |address| address.port())
    }

    /// Whether an idle connection still looks usable: not closed, and silent.
    pub fn is_idle(&self) -> bool {
        let mut probe = [0];
        let silent =
            matches!(self.stream.try_read(&mut probe), Err(e) if e.kind() == io::ErrorKind::WouldBlock);
        silent && self.buffer.is_empty()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Takes over a fresh connection.
    pub fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new(), requests: 0 }
    }

    /// Sends a request and reads the answer, its body piece by piece to `body`.
    ///
    /// Returns the head and whether the connection may carry another request. The head is also put into `head` as soon
    /// as it is read, for the case that the body fails.
    pub async fn exchange(
        &mut self,
        request: &[u8],
        head: &mut Option<Head>,
        mut body: impl FnMut(&[u8]),
    ) -> Result<bool, ExchangeError> {
        self.requests += 1;
        self.stream.write_all(request).await.map_err(ExchangeError::BeforeAnswer)?;
        // TLS may have taken it and not yet sent it.
        self.stream.flush().await.map_err(ExchangeError::BeforeAnswer)?;
        let read = self.read_head().await?;
        let reusable = !read.has_token("connection", "close");
        let framing = framing(&read)?;
        *head = Some(read);
        match framing {
            Framing::Length(length) => self.read_length(length, &mut body).await?,
            Framing::Chunked => self.read_chunked(&mut body).await?,
            Framing::UntilClose => {
                self.read_until_close(&mut body).await?;
                return Ok(false);
            }
        }
        Ok(reusable && self.buffer.is_empty())
    }

    async fn read_head(&mut self) -> Result<Head, ExchangeError> {
        let mut first_byte = None;
        loop {
            if !self.buffer.is_empty() {
                let at = *first_byte.get_or_insert_with(Instant::now);
                if let Some(head) = self.parse_head(at)? {
                    if (100..200).contains(&head.status) {
                        continue;
                    }
                    return Ok(head);
                }
            }
            match self.fill().await {
                Ok(()) => {}
                Err(error) if first_byte.is_none() => return Err(ExchangeError::BeforeAnswer(error)),
                Err(error) => return Err(ExchangeError::WithinAnswer(error)),
            }
        }
    }

    fn parse_head(&mut self, first_byte: Instant) -> Result<Option<Head>, ExchangeError> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(&self.buffer).map_err(|e| ExchangeError::Malformed(e.to_string()))?;
        let httparse::Status::Complete(length) = parsed else {
            if self.buffer.len() > MAX_HEAD {
                return Err(ExchangeError::Malformed(format!("a head of more than {MAX_HEAD} octets")));
            }
            return Ok(None);
        };
        let status = response.code.unwrap_or_default();
        let headers = response.headers.iter().map(|header| {
            (header.name.to_ascii_lowercase(), String::from_utf8_lossy(header.value).into_owned())
        });
        let head = Head { status, headers: headers.collect(), first_byte };
        self.buffer.drain(..length);
        Ok(Some(head))
    }

    async fn read_length(
        &mut self,
        mut left: u64,
        body: &mut impl FnMut(&[u8]),
    ) -> Result<(), ExchangeError> {
        while left > 0 {
            if self.buffer.is_empty() {
                self.fill().await.map_err(ExchangeError::WithinAnswer)?;
            }
            let take = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            body(&self.buffer[..take]);
            self.buffer.drain(..take);
            left -= take as u64;
        }
        Ok(())
    }

    async fn read_chunked(&mut self, body: &mut impl FnMut(&[u8])) -> Result<(), ExchangeError> {
        loop {
            let line = self.read_line().await?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(digits, 16)
                .map_err(|_| ExchangeError::Malformed(format!("chunk size `{digits}`")))?;
            if size == 0 {
                break;
            }
            self.read_length(size, body).await?;
            if !self.read_line().await?.is_empty() {
                return Err(ExchangeError::Malformed("a chunk longer than its size".to_owned()));
            }
        }
        // Trailer fields, up to the empty line.
        while !self.read_line().await?.is_empty() {}
        Ok(())
    }

    async fn read_until_close(&mut self, body: &mut impl FnMut(&[u8])) -> Result<(), ExchangeError> {
        loop {
            body(&self.buffer);
            self.buffer.clear();
            match self.fill().await {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(ExchangeError::WithinAnswer(error)),
            }
        }
    }

    async fn read_line(&mut self) -> Result<String, ExchangeError> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                self.buffer.drain(..end + 2);
                return Ok(line);
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(ExchangeError::Malformed("a line without end".to_owned()));
            }
            self.fill().await.map_err(ExchangeError::WithinAnswer)?;
        }
    }

    /// Reads more; the end of the stream is an error of its own kind.
    async fn fill(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

fn framing(head: &Head) -> Result<Framing, ExchangeError> {
    if matches!(head.status, 204 | 304) {
        return Ok(Framing::Length(0));
    }
    if head.has_token("transfer-encoding", "chunked") {
        return Ok(Framing::Chunked);
    }
    match head.header("content-length") {
        None => Ok(Framing::UntilClose),
        Some(text) => text
            .trim()
            .parse()
            .map(Framing::Length)
            .map_err(|_| ExchangeError::Malformed(format!("content-length `{text}`"))),
    }
}
