//! Frames on one interface of one host, by a packet socket (packet(7)), each with the kernel's time of capture.
//!
//! One thread per capture reads frames and hands them to the sink. A packet socket needs CAP_NET_RAW in the host's own
//! namespace only, so captures work without root where user namespaces do.

use std::{
    io::{self, IoSliceMut},
    os::fd::{AsRawFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::{
    cmsg_space,
    errno::Errno,
    ifaddrs::getifaddrs,
    sys::{
        socket::{
            AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind,
            recvmsg, setsockopt, socket, sockopt,
        },
        time::{TimeSpec, TimeVal},
    },
};
use socket2::{SockFilter, SockRef};

use super::clock::WallClock;
use crate::{
    error::{Error, Result},
    netns::NetNs,
};

/// Room for the largest frame a virtual link hands over at once, which may be 64 KiB of segments.
const LARGEST_FRAME: usize = 128 * 1024;
/// What may wait to be read; the kernel grants less without privileges outside.
const BUFFER: usize = 16 << 20;
/// How soon a capture notices that it shall end.
const PATIENCE: TimeVal = TimeVal::new(0, 50_000);
/// How often both clocks are compared.
const RESAMPLE: Duration = Duration::from_millis(100);

/// Which frames are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Every frame.
    Everything,
    /// TCP from or to this port, IPv4 and IPv6; the kernel leaves out the rest.
    TcpPort(u16),
}

/// A running capture. Dropping it ends it.
#[derive(Debug)]
pub struct Capture {
    interface: String,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<Summary>>>,
}

/// What a capture came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Frames read.
    pub frames: u64,
    /// Frames the kernel dropped because the reader was too slow; anything but zero weakens a claim of absence.
    pub dropped: u64,
}

impl Capture {
    /// Captures on `interface` of `host` from now on.
    ///
    /// `sink` gets each frame, Ethernet header first, and when it was captured, on a thread of its own.
    pub fn start(
        host: &NetNs,
        interface: &str,
        wanted: Wanted,
        sink: impl FnMut(&[u8], Instant) + Send + 'static,
    ) -> Result<Self> {
        let doing = format!("capturing on {interface} of {}", host.name());
        let (socket, index) = host.run(|| open(interface, wanted))?.map_err(Error::io(&doing))?;
        let ended = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&ended);
        let thread = thread::Builder::new()
            .name(format!("capture-{interface}"))
            .spawn(move || follow(&socket, index, &end, sink))
            .map_err(Error::io(doing))?;
        Ok(Self { interface: interface.to_owned(), ended, thread: Some(thread) })
    }

    /// Ends the capture once everything captured until now has reached the sink.
    pub fn finish(mut self) -> Result<Summary> {
        self.ended.store(true, Ordering::Relaxed);
        let outcome = self.thread.take().map_or(Ok(Ok(Summary::default())), JoinHandle::join);
        let outcome = outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        outcome.map_err(Error::io(format!("capturing on {}", self.interface)))
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Nobody waits for its figures any more.
            let _ = thread.join();
        }
    }
}

/// A packet socket bound to the interface, and the interface's index.
fn open(interface: &str, wanted: Wanted) -> io::Result<(OwnedFd, usize)> {
    let address = getifaddrs()?
        .filter(|known| known.interface_name == interface)
        .find_map(|known| known.address.and_then(|address| address.as_link_addr().copied()))
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "there is no such interface"))?;
    let socket =
        socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, Some(SockProtocol::EthAll))?;
    if let Wanted::TcpPort(port) = wanted {
        SockRef::from(&socket).attach_filter(&tcp_port_filter(port).map(Instruction::for_kernel))?;
    }
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    setsockopt(&socket, sockopt::RxqOvfl, &1)?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &PATIENCE)?;
    if setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).is_err() {
        setsockopt(&socket, sockopt::RcvBuf, &BUFFER)?;
    }
    bind(socket.as_raw_fd(), &address)?;
    Ok((socket, address.ifindex()))
}

/// An instruction of classic BPF: code, how far to jump when true and when false, operand.
#[derive(Debug, Clone, Copy)]
struct Instruction(u16, u8, u8, u32);

impl Instruction {
    fn for_kernel(self) -> SockFilter {
        SockFilter::new(self.0, self.1, self.2, self.3)
    }
}

/// A program over an Ethernet frame that accepts TCP with this source or destination port.
fn tcp_port_filter(port: u16) -> [Instruction; 20] {
    const LOAD_HALF: u16 = 0x28;
    const LOAD_BYTE: u16 = 0x30;
    const LOAD_HALF_INDEXED: u16 = 0x48;
    const LOAD_IPV4_HEADER_LENGTH: u16 = 0xb1;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const JUMP_IF_ANY_BIT: u16 = 0x45;
    const RETURN: u16 = 0x06;
    const TCP: u32 = 6;
    let port = u32::from(port);
    [
        Instruction(LOAD_HALF, 0, 0, 12),
        Instruction(JUMP_IF_EQUAL, 0, 6, 0x86dd),
        // IPv6: next header, then the ports behind the fixed header.
        Instruction(LOAD_BYTE, 0, 0, 20),
        Instruction(JUMP_IF_EQUAL, 0, 15, TCP),
        Instruction(LOAD_HALF, 0, 0, 54),
        Instruction(JUMP_IF_EQUAL, 12, 0, port),
        Instruction(LOAD_HALF, 0, 0, 56),
        Instruction(JUMP_IF_EQUAL, 10, 11, port),
        // IPv4: protocol, no later fragment, then the ports behind a header of variable length.
        Instruction(JUMP_IF_EQUAL, 0, 10, 0x0800),
        Instruction(LOAD_BYTE, 0, 0, 23),
        Instruction(JUMP_IF_EQUAL, 0, 8, TCP),
        Instruction(LOAD_HALF, 0, 0, 20),
        Instruction(JUMP_IF_ANY_BIT, 6, 0, 0x1fff),
        Instruction(LOAD_IPV4_HEADER_LENGTH, 0, 0, 14),
        Instruction(LOAD_HALF_INDEXED, 0, 0, 14),
        Instruction(JUMP_IF_EQUAL, 2, 0, port),
        Instruction(LOAD_HALF_INDEXED, 0, 0, 16),
        Instruction(JUMP_IF_EQUAL, 0, 1, port),
        Instruction(RETURN, 0, 0, u32::MAX),
        Instruction(RETURN, 0, 0, 0),
    ]
}

/// Reads frames until the end is asked for and nothing is left.
fn follow(
    socket: &OwnedFd,
    index: usize,
    ended: &AtomicBool,
    mut sink: impl FnMut(&[u8], Instant),
) -> io::Result<Summary> {
    let mut buffer = vec![0; LARGEST_FRAME];
    let mut control = cmsg_space!(TimeSpec, u32);
    let (mut clock, mut sampled) = (WallClock::sample(), Instant::now());
    let mut summary = Summary::default();
    loop {
        let ending = ended.load(Ordering::Relaxed);
        let flags = if ending { MsgFlags::MSG_DONTWAIT } else { MsgFlags::empty() };
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let (length, of, at) =
            match recvmsg::<LinkAddr>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags) {
                Ok(message) => {
                    let mut at = None;
                    for control in message.cmsgs()? {
                        match control {
                            ControlMessageOwned::ScmTimestampns(time) => at = Some(Duration::from(time)),
                            // The counter is the kernel's own and runs on.
                            ControlMessageOwned::RxqOvfl(dropped) => summary.dropped = u64::from(dropped),
                            _ => {}
                        }
                    }
                    (message.bytes, message.address.map(|address| address.ifindex()), at)
                }
                Err(Errno::EAGAIN) if ending => return Ok(summary),
                // The interface went away, or was down for a moment: with the world, or for a scenario.
                Err(Errno::EAGAIN | Errno::EINTR | Errno::ENETDOWN) => continue,
                Err(errno) => return Err(errno.into()),
            };
        // Until it was bound the socket may have taken in frames of other interfaces.
        if of != Some(index) {
            continue;
        }
        if sampled.elapsed() > RESAMPLE {
            (clock, sampled) = (WallClock::sample(), Instant::now());
        }
        summary.frames += 1;
        sink(&buffer[..length], at.map_or_else(Instant::now, |wall| clock.instant(wall)));
    }
}

#[cfg(test)]
mod tests {
    use super::{super::packet::tests::frame, *};

    /// Runs the filter as the kernel would, for the few instructions it uses; whether it accepts.
    fn accepts(filter: &[Instruction], frame: &[u8]) -> bool {
        let half = |at: usize| u32::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
        let (mut a, mut x, mut at) = (0_u32, 0_usize, 0_usize);
        loop {
            let Instruction(code, yes, no, k) = filter[at];
            at += 1;
            match code {
                0x28 => a = half(k as usize),
                0x30 => a = u32::from(frame[k as usize]),
                0x48 => a = half(x + k as usize),
                0xb1 => x = usize::from(frame[k as usize] & 0xf) * 4,
                0x15 => at += usize::from(if a == k { yes } else { no }),
                0x45 => at += usize::from(if a & k != 0 { yes } else { no }),
                0x06 => return k != 0,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    #[test]
    fn the_filter_takes_bgp_of_both_families_either_way_and_nothing_else() {
        let filter = tcp_port_filter(179);
        for (from, to, expected) in [
            ("10.0.0.1:179", "10.0.0.2:40000", true),
            ("10.0.0.1:40000", "10.0.0.2:179", true),
            ("10.0.0.1:80", "10.0.0.2:40000", false),
            ("[fd00::1]:179", "[fd00::2]:40000", true),
            ("[fd00::1]:40000", "[fd00::2]:179", true),
            ("[fd00::1]:80", "[fd00::2]:40000", false),
        ] {
            let frame = frame(from.parse().unwrap(), to.parse().unwrap(), 1, 0x10, b"");
            assert_eq!(accepts(&filter, &frame), expected, "{from} -> {to}");
        }
        let mut udp = frame("10.0.0.1:179".parse().unwrap(), "10.0.0.2:179".parse().unwrap(), 1, 0x10, b"");
        udp[23] = 17;
        assert!(!accepts(&filter, &udp));
        let mut arp = udp.clone();
        arp[12..14].copy_from_slice(&[0x08, 0x06]);
        assert!(!accepts(&filter, &arp));
    }
}
