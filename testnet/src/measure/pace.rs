//! Small requests at a given rate, by one thread that never sleeps: timers are late by more than a request takes.
//!
//! Arrivals are a Poisson process that is fixed in advance, and a latency counts from when a request was due: where all connections
//! are busy the next one waits, and is charged for it (no coordinated omission).

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use serde::Serialize;

use crate::{
    error::{Error, Result},
    load::{Latencies, arrivals::Arrivals, summary::Quantiles},
};

/// What to ask for.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Where it listens, in plain text.
    #[arg(long)]
    to: SocketAddr,
    /// Requests in a second, on average.
    #[arg(long)]
    rate: f64,
    /// Connections that are kept.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Seconds of measurement.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// The seed of the arrivals.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// How long it took.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Figures {
    /// From when a request was due to the end of its response.
    latency: Quantiles,
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// After the last request was due, for what is under way.
const LIMIT: Duration = Duration::from_secs(10);

pub(super) fn run(options: &Options) -> Result<Figures> {
    if options.rate <= 0.0 {
        return Err(Error::Claim(format!("--rate is {}; more than 0 is needed", options.rate)));
    }
    let mut run = Run::begin(options).map_err(Error::io(format!("connecting to {}", options.to)))?;
    run.ask(options).map_err(Error::io(format!("asking {} at {}/s", options.to, options.rate)))?;
    Ok(Figures { latency: run.latencies.quantiles() })
}

struct Run {
    epoll: Epoll,
    connections: Vec<Connection>,
    /// Those with nothing under way.
    idle: Vec<usize>,
    latencies: Latencies,
}

struct Connection {
    stream: TcpStream,
    /// When what is under way was due.
    due: Duration,
    answer: Answer,
}

impl Run {
    fn begin(options: &Options) -> std::io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mut connections = Vec::new();
        for number in 0..options.connections {
            let stream = TcpStream::connect(options.to)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, number.into()))?;
            connections.push(Connection { stream, due: Duration::ZERO, answer: Answer::default() });
        }
        let idle = (0..connections.len()).collect();
        Ok(Self { epoll, connections, idle, latencies: Latencies::default() })
    }

    fn ask(&mut self, options: &Options) -> std::io::Result<()> {
        let over = Duration::from_secs(options.seconds.into());
        let mut arrivals = Arrivals::new(options.rate, options.seed).take_while(|due| *due < over).peekable();
        let mut waiting = VecDeque::new();
        let mut events = [EpollEvent::empty(); 64];
        let begun = Instant::now();
        loop {
            let now = begun.elapsed();
            while let Some(due) = arrivals.next_if(|due| *due <= now) {
                waiting.push_back(due);
            }
            while !waiting.is_empty()
                && let Some(number) = self.idle.pop()
                && let Some(due) = waiting.pop_front()
            {
                let connection = &mut self.connections[number];
                connection.due = due;
                // So little always fits into a connection with nothing under way.
                connection.stream.write_all(REQUEST)?;
            }
            if waiting.is_empty() && arrivals.peek().is_none() && self.idle.len() == self.connections.len() {
                return Ok(());
            }
            if now > over + LIMIT {
                return Err(ErrorKind::TimedOut.into());
            }
            let count = self.epoll.wait(&mut events, EpollTimeout::ZERO)?;
            for event in &events[..count] {
                // The numbers given when they were added.
                self.read(event.data() as usize, begun)?;
            }
        }
    }

    fn read(&mut self, number: usize, begun: Instant) -> std::io::Result<()> {
        let connection = &mut self.connections[number];
        let mut piece = [0; 4096];
        let count = match connection.stream.read(&mut piece) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        if connection.answer.is_whole_with(&piece[..count])? {
            self.latencies.record(begun.elapsed().saturating_sub(connection.due));
            self.idle.push(number);
        }
        Ok(())
    }
}

/// An answer with status 200 and a Content-Length, as far as it has come.
#[derive(Debug, Default)]
struct Answer {
    octets: Vec<u8>,
}

impl Answer {
    /// Whether it has come to its end with this; the next one may begin then.
    fn is_whole_with(&mut self, piece: &[u8]) -> std::io::Result<bool> {
        self.octets.extend_from_slice(piece);
        let Some(end) = self.octets.windows(4).position(|window| window == b"\r\n\r\n") else {
            return Ok(false);
        };
        let head = String::from_utf8_lossy(&self.octets[..end]);
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        match length {
            Some(length) if head.starts_with("HTTP/1.1 200 ") => {
                let is_whole = self.octets.len() >= end + 4 + length;
                if is_whole {
                    self.octets.clear();
                }
                Ok(is_whole)
            }
            _ => Err(std::io::Error::other(format!("an answer that is none of 200 with a length: {head}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_with_its_last_octet() {
        let octets = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        let mut answer = Answer::default();
        for (at, octet) in octets.iter().enumerate() {
            assert_eq!(answer.is_whole_with(&[*octet]).unwrap(), at + 1 == octets.len());
        }
        assert!(answer.is_whole_with(octets).unwrap(), "and the next one");
        assert!(answer.is_whole_with(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n").is_err());
    }
}
