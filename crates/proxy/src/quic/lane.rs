//! The way of datagrams from a data plane to one before it on the same host, which owns their connections and drains.
//!
//! A pair of connected sockets (`SOCK_SEQPACKET`) for each place and worker: messages keep their bounds, the end of either side shows at the other,
//! and both can be handed to another process. A message is a run of datagrams of one sender, as the socket gave it:
//!
//! ```text
//! 0      1    2       4       6     8              24         28                  44
//! ┌──────┬────┬───────┬───────┬─────┬──────────────┬──────────┬───────────────────┬────────────
//! │flags │ECN │length │stride │port │peer, 4 or 16 │scope ID  │ours, 0, 4 or 16   │ datagrams …
//! └──────┴────┴───────┴───────┴─────┴──────────────┴──────────┴───────────────────┴────────────
//! ```
//!
//! All numbers are in network order; what is shorter than its field begins it. The queue is what the kernel buffers; a run that
//! finds no room is lost as on any link.

use std::{
    fmt,
    io::{self, IoSlice, IoSliceMut, Read},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    os::fd::{AsFd, OwnedFd},
    task::{Context, Poll},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::MsgFlags,
};
use quinn::udp::{EcnCodepoint, RecvMeta};
use socket2::{Domain, SockRef, Socket, Type};
use tokio::{io::Interest, net::UnixDatagram};

/// Octets that wait for the predecessor, with what the kernel needs for each message; `net.core.wmem_max` may be less.
const QUEUE: usize = 1024 * 1024;
const HEADER: usize = 44;

const PEER_IS_V4: u8 = 1;
const LOCAL_IS_KNOWN: u8 = 2;
const LOCAL_IS_V4: u8 = 4;

/// Where a lane begins: with the successor.
#[derive(Debug)]
pub(crate) struct LaneStart(Socket);

/// Where it ends: with the predecessor.
pub(crate) struct LaneEnd(Socket);

/// What became of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    Done,
    /// There was no room for it.
    Full,
    /// Nobody is at the other end any more.
    Gone,
}

/// A new lane.
///
/// # Errors
/// When there are no descriptors left.
pub(crate) fn lane() -> io::Result<(LaneStart, LaneEnd)> {
    let (start, end) = Socket::pair(Domain::UNIX, Type::SEQPACKET, None)?;
    start.set_nonblocking(true)?;
    end.set_nonblocking(true)?;
    start.set_send_buffer_size(QUEUE)?;
    Ok((LaneStart(start), LaneEnd(end)))
}

impl LaneStart {
    /// What another process has handed over.
    ///
    /// # Errors
    /// When it is something else.
    pub(crate) fn from_descriptor(descriptor: OwnedFd) -> io::Result<Self> {
        let socket = Socket::from(descriptor);
        if socket.domain()? == Domain::UNIX && socket.r#type()? == Type::SEQPACKET {
            socket.set_nonblocking(true)?;
            Ok(Self(socket))
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not where a lane begins"))
        }
    }

    pub(crate) fn into_descriptor(self) -> OwnedFd {
        self.0.into()
    }

    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// Whether somebody is at the other end.
    pub(crate) fn is_open(&self) -> bool {
        let mut polled = [PollFd::new(self.0.as_fd(), PollFlags::empty())];
        let ready = poll(&mut polled, PollTimeout::ZERO);
        // What can't be told is taken for open: a run that is sent finds out.
        ready.is_err() || polled[0].revents().is_none_or(|events| !events.contains(PollFlags::POLLHUP))
    }

    pub(super) fn send(&self, meta: &RecvMeta, run: &[u8]) -> Sent {
        let header = header(meta, run.len());
        let message = [IoSlice::new(&header), IoSlice::new(run)];
        match self.0.send_vectored_with_flags(&message, MsgFlags::MSG_NOSIGNAL.bits()) {
            Ok(_) => Sent::Done,
            Err(error) => match error.kind() {
                io::ErrorKind::BrokenPipe
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionRefused
                | io::ErrorKind::NotConnected => Sent::Gone,
                _ => Sent::Full,
            },
        }
    }
}

impl fmt::Debug for LaneEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LaneEnd(…)")
    }
}

/// A lane's end in an event loop, which has no type for such sockets: it reads this one by itself.
#[derive(Debug)]
pub(super) struct Receiving(UnixDatagram);

impl Receiving {
    /// To be called within the runtime.
    ///
    /// # Errors
    /// When the event loop does not take the socket.
    pub(super) fn new(end: LaneEnd) -> io::Result<Self> {
        let descriptor: OwnedFd = end.0.into();
        UnixDatagram::from_std(descriptor.into()).map(Self)
    }

    /// Fills buffers with a run each, and tells how many; `None` when nobody is at the other end any more.
    pub(super) fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<Option<usize>> {
        loop {
            match self.0.poll_recv_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
            let (mut taken, mut is_over) = (0, false);
            while taken < bufs.len() && !is_over {
                let socket = SockRef::from(&self.0);
                match self.0.try_io(Interest::READABLE, || receive(&socket, &mut bufs[taken])) {
                    Ok(Message::Run(received)) => {
                        meta[taken] = received;
                        taken += 1;
                    }
                    Ok(Message::Malformed) => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Ok(Message::End) | Err(_) => is_over = true,
                }
            }
            if taken > 0 {
                return Poll::Ready(Some(taken));
            }
            if is_over {
                return Poll::Ready(None);
            }
        }
    }
}

/// What a lane gave.
enum Message {
    /// Its datagrams are in the buffer.
    Run(RecvMeta),
    Malformed,
    End,
}

fn receive(mut socket: &Socket, room: &mut IoSliceMut<'_>) -> io::Result<Message> {
    let mut header = [0; HEADER];
    let count = socket.read_vectored(&mut [IoSliceMut::new(&mut header), IoSliceMut::new(room)])?;
    if count == 0 {
        return Ok(Message::End);
    }
    let run = count.checked_sub(HEADER).and_then(|length| meta(&header, length));
    Ok(run.map_or(Message::Malformed, Message::Run))
}

fn header(meta: &RecvMeta, length: usize) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[1] = meta.ecn.map_or(0, |ecn| ecn as u8);
    // A run came in one datagram of at most 65535 octets.
    header[2..4].copy_from_slice(&(length as u16).to_be_bytes());
    header[4..6].copy_from_slice(&(meta.stride as u16).to_be_bytes());
    header[6..8].copy_from_slice(&meta.addr.port().to_be_bytes());
    if write_ip(&mut header[8..24], meta.addr.ip()) {
        header[0] |= PEER_IS_V4;
    }
    if let SocketAddr::V6(peer) = meta.addr {
        header[24..28].copy_from_slice(&peer.scope_id().to_be_bytes());
    }
    if let Some(local) = meta.dst_ip {
        header[0] |= LOCAL_IS_KNOWN;
        if write_ip(&mut header[28..44], local) {
            header[0] |= LOCAL_IS_V4;
        }
    }
    header
}

/// Whether it is one of IPv4.
fn write_ip(field: &mut [u8], ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => field[..4].copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => field.copy_from_slice(&ip.octets()),
    }
    ip.is_ipv4()
}

/// What `header` says of the run of so many octets that follows; `None` when that is not true.
fn meta(header: &[u8; HEADER], length: usize) -> Option<RecvMeta> {
    let (flags, number) = (header[0], |at: usize| u16::from_be_bytes([header[at], header[at + 1]]));
    let stride = usize::from(number(4));
    if usize::from(number(2)) != length || stride == 0 || length == 0 {
        return None;
    }
    let addr = match read_ip(&header[8..24], flags & PEER_IS_V4 != 0)? {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), number(6)),
        IpAddr::V6(ip) => {
            let scope = u32::from_be_bytes(*header[24..28].first_chunk()?);
            SocketAddrV6::new(ip, number(6), 0, scope).into()
        }
    };
    let dst_ip = match flags & LOCAL_IS_KNOWN {
        0 => None,
        _ => Some(read_ip(&header[28..44], flags & LOCAL_IS_V4 != 0)?),
    };
    Some(RecvMeta { addr, len: length, stride, ecn: EcnCodepoint::from_bits(header[1]), dst_ip })
}

fn read_ip(field: &[u8], is_v4: bool) -> Option<IpAddr> {
    if is_v4 {
        field.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets).into())
    } else {
        field.first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets).into())
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn run(addr: &str, local: Option<&str>, ecn: u8, len: usize, stride: usize) -> RecvMeta {
        let (addr, dst_ip) = (addr.parse().unwrap(), local.map(|local| local.parse().unwrap()));
        RecvMeta { addr, len, stride, ecn: EcnCodepoint::from_bits(ecn), dst_ip }
    }

    fn same(one: &RecvMeta, other: &RecvMeta) -> bool {
        (one.addr, one.dst_ip, one.ecn, one.len, one.stride)
            == (other.addr, other.dst_ip, other.ecn, other.len, other.stride)
    }

    async fn receive_some(end: &Receiving, at_once: usize) -> Option<Vec<(RecvMeta, Vec<u8>)>> {
        let mut rooms = vec![vec![0; 70_000]; at_once];
        let mut bufs: Vec<_> = rooms.iter_mut().map(|room| IoSliceMut::new(room)).collect();
        let mut meta = vec![RecvMeta::default(); at_once];
        let count = poll_fn(|cx| end.poll_recv(cx, &mut bufs, &mut meta)).await?;
        drop(bufs);
        Some((0..count).map(|at| (meta[at], rooms[at][..meta[at].len].to_vec())).collect())
    }

    #[tokio::test]
    async fn what_is_known_of_a_run_arrives_with_it_and_the_end_after_all_of_them() {
        let (start, end) = lane().unwrap();
        let end = Receiving::new(end).unwrap();
        let runs = [
            run("192.0.2.7:4433", Some("198.51.100.1"), 0b10, 1200, 1200),
            run("192.0.2.7:1", None, 0, 30, 1400),
            run("[2001:db8::7]:65535", Some("2001:db8::1"), 0b11, 65_000, 1350),
            run("[fe80::7%9]:443", Some("::ffff:192.0.2.1"), 0b01, 3, 2),
        ];
        for (number, meta) in runs.iter().enumerate() {
            assert_eq!(start.send(meta, &vec![number as u8; meta.len]), Sent::Done);
        }
        let second = start.try_clone().unwrap();
        drop(start);
        let mut received = receive_some(&end, 3).await.unwrap();
        received.extend(receive_some(&end, 3).await.unwrap());
        for (number, (sent, (meta, octets))) in runs.iter().zip(&received).enumerate() {
            assert!(same(sent, meta), "{sent:?} {meta:?}");
            assert_eq!(*octets, vec![number as u8; sent.len]);
        }
        assert_eq!(received.len(), runs.len());
        assert_eq!(second.send(&runs[0], &[9; 1200]), Sent::Done);
        drop(second);
        assert_eq!(receive_some(&end, 3).await.unwrap().len(), 1);
        assert!(receive_some(&end, 3).await.is_none());
    }

    #[tokio::test]
    async fn a_full_lane_drops_and_one_without_an_end_says_so() {
        let (start, end) = lane().unwrap();
        let meta = run("192.0.2.7:4433", None, 0, 1200, 1200);
        let mut sent = 0;
        while start.send(&meta, &[0; 1200]) == Sent::Done {
            sent += 1;
        }
        assert!(sent > 50, "{sent}");
        assert_eq!(start.send(&meta, &[0; 1200]), Sent::Full);
        assert!(start.is_open());
        let end = Receiving::new(end).unwrap();
        assert!(!receive_some(&end, 8).await.unwrap().is_empty());
        assert_eq!(start.send(&meta, &[0; 1200]), Sent::Done);
        drop(end);
        assert!(!start.is_open());
        assert_eq!(start.send(&meta, &[0; 1200]), Sent::Gone);
    }

    #[tokio::test]
    async fn what_is_no_run_is_passed_over() {
        let (start, end) = lane().unwrap();
        let meta = run("192.0.2.7:4433", None, 0, 4, 4);
        let good = [&header(&meta, 4)[..], &[7; 4]].concat();
        for malformed in
            [&good[..HEADER - 1], &good[..HEADER], &good[..HEADER + 3], &[&good[..], &[0]].concat()]
        {
            start.0.send(malformed).unwrap();
        }
        start.0.send(&good).unwrap();
        let end = Receiving::new(end).unwrap();
        let received = receive_some(&end, 8).await.unwrap();
        assert_eq!(received.len(), 1);
        assert_eq!(received[0].1, [7; 4]);
    }

    #[test]
    fn only_a_lane_is_taken_for_one() {
        let (start, _end) = lane().unwrap();
        LaneStart::from_descriptor(start.into_descriptor()).unwrap();
        let stream = std::os::unix::net::UnixStream::pair().unwrap().0;
        LaneStart::from_descriptor(stream.into()).unwrap_err();
        LaneStart::from_descriptor(std::fs::File::open("/dev/null").unwrap().into()).unwrap_err();
    }
}
