//! A source of tokens: `GET /tokens?count=N&interval=MS` is answered with N server-sent events as chat completions have them, the
//! first at once and the others so many milliseconds apart, each with the nanoseconds of the machine's clock when it was sent.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{MissedTickBehavior, interval},
};

use super::now;
use crate::error::{Error, Result};

/// How it is started.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Where it listens.
    #[arg(long)]
    listen: SocketAddr,
}

/// What stands before the time in each event.
pub(super) const TIME: &[u8] = b"\"sent\":";

const HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";
const OTHERWISE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const MOST_HEAD: usize = 16 * 1024;

/// Serves until the process is ended.
pub(super) async fn serve(options: Options) -> Result<()> {
    let doing = || format!("listening on {}", options.listen);
    let listener = TcpListener::bind(options.listen).await.map_err(Error::io(doing()))?;
    loop {
        let (stream, _) = listener.accept().await.map_err(Error::io(doing()))?;
        tokio::spawn(async move {
            if let Err(error) = answer_all(stream).await {
                tracing::debug!(%error, "a client has left");
            }
        });
    }
}

async fn answer_all(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    loop {
        let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else {
            if buffer.len() > MOST_HEAD || stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        buffer.drain(..end + 4);
        match tokens(&head) {
            Some((count, every)) => stream_tokens(&mut stream, count, every).await?,
            None => stream.write_all(OTHERWISE).await?,
        }
    }
}

async fn stream_tokens(stream: &mut TcpStream, count: u64, every: Duration) -> io::Result<()> {
    // A token that is late is not made up for: a burst would measure itself. Nor does it put off those after it: streams that were
    // late together once would send together ever after.
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut chunk = Vec::with_capacity(512);
    stream.write_all(HEAD).await?;
    for _ in 0..count {
        ticks.tick().await;
        chunk.clear();
        token(&mut chunk)?;
        // The client may have gone, which a stream this small is told of by the next write.
        stream.write_all(&chunk).await?;
    }
    stream.write_all(b"0\r\n\r\n").await
}

/// A chunk with one event.
fn token(chunk: &mut Vec<u8>) -> io::Result<()> {
    let sent = now().as_nanos();
    let event = format!(
        "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"source\",\"sent\":{sent},\
         \"choices\":[{{\"index\":0,\"delta\":{{\"content\":\" token\"}},\"finish_reason\":null}}]}}\n\n"
    );
    write!(chunk, "{:x}\r\n{event}\r\n", event.len())
}

/// How many tokens a request asks for, and how far apart.
fn tokens(head: &str) -> Option<(u64, Duration)> {
    let query = head.split(' ').nth(1)?.strip_prefix("/tokens?")?;
    let value = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name)?.1.parse::<u64>().ok()
    };
    Some((value("count")?, Duration::from_millis(value("interval")?.max(1))))
}

/// Finds the times in a stream of events, however it is cut.
#[derive(Debug, Default)]
pub(super) struct Times {
    /// The end of what came, where a time may have begun.
    rest: Vec<u8>,
}

impl Times {
    /// Takes the next piece, and tells of each whole time in it.
    pub(super) fn push(&mut self, piece: &[u8], mut of: impl FnMut(Duration)) {
        self.rest.extend_from_slice(piece);
        let mut from = 0;
        while let Some(at) = find(&self.rest[from..], TIME) {
            let digits = from + at + TIME.len();
            let Some(length) = self.rest[digits..].iter().position(|octet| !octet.is_ascii_digit()) else {
                break;
            };
            let nanos = self.rest[digits..digits + length]
                .iter()
                .fold(0_u64, |sum, digit| sum.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')));
            of(Duration::from_nanos(nanos));
            from = digits + length;
        }
        // A time that has begun, or its mark.
        let keep = find(&self.rest[from..], TIME)
            .map_or(self.rest.len().saturating_sub(TIME.len() - 1).max(from), |at| from + at);
        self.rest.drain(..keep);
    }
}

fn find(within: &[u8], what: &[u8]) -> Option<usize> {
    within.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_however_the_stream_is_cut() {
        let mut stream = Vec::new();
        let before = now();
        for _ in 0..3 {
            token(&mut stream).unwrap();
        }
        let all = |size: usize| {
            let (mut times, mut found) = (Times::default(), Vec::new());
            for piece in stream.chunks(size) {
                times.push(piece, |time| found.push(time));
            }
            found
        };
        let whole = all(stream.len());
        assert!(
            whole.len() == 3 && whole.is_sorted() && whole[0] >= before && whole[2] <= now(),
            "{whole:?}"
        );
        for size in 1..100 {
            assert_eq!(all(size), whole, "in pieces of {size}");
        }
    }

    #[test]
    fn a_request_says_how_many_tokens_and_how_far_apart() {
        let asked = tokens("GET /tokens?count=3&interval=50 HTTP/1.1\r\nHost: a");
        assert_eq!(asked, Some((3, Duration::from_millis(50))));
        assert_eq!(tokens("GET / HTTP/1.1"), None);
        assert_eq!(tokens("GET /tokens?count=3 HTTP/1.1"), None);
    }
}
