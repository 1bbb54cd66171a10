//! The TUN device between the kernel and the core, and the raw sockets that send a reset after all.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use proxima_catchment::Segment;
use socket2::{Domain, Protocol, Socket, Type};
use tun_rs::{AsyncDevice, DeviceBuilder, Layer};

/// The device's name.
pub(crate) const DEVICE: &str = "proxima0";
/// The device's own address, link-local and never used.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 112, 121);
/// The firewall mark of resets that the packet filter has to let pass.
pub(crate) const RELEASE_MARK: u32 = 0x7078;

/// IPPROTO_RAW: whole packets, headers included.
const WHOLE_PACKETS: i32 = 255;

pub(crate) struct Tunnel {
    device: AsyncDevice,
    raw_v4: Socket,
    raw_v6: Socket,
}

impl Tunnel {
    /// Makes the device and brings it up. It goes with this process.
    pub(crate) fn open() -> io::Result<Self> {
        let device = DeviceBuilder::new()
            .name(DEVICE)
            .layer(Layer::L3)
            .packet_information(false)
            .mtu(9000)
            .ipv4(ADDRESS, 32, None)
            .build_async()?;
        // Carried packets come from clients, whose addresses are routed elsewhere: the loose check (2) lets them in, if
        // the device has an address. The kernel takes the larger of this and `all`.
        if let Err(error) = fs::write(format!("/proc/sys/net/ipv4/conf/{DEVICE}/rp_filter"), "2") {
            tracing::warn!(
                %error,
                "rp_filter of {DEVICE} stays as it is; if carried packets are lost, set net.ipv4.conf.default.rp_filter=2"
            );
        }
        let raw_v4 = raw_socket(Domain::IPV4)?;
        raw_v4.set_header_included_v4(true)?;
        let raw_v6 = raw_socket(Domain::IPV6)?;
        raw_v6.set_header_included_v6(true)?;
        Ok(Self { device, raw_v4, raw_v6 })
    }

    /// The next packet the packet filter hands over.
    pub(crate) async fn receive(&self, packet: &mut [u8]) -> io::Result<usize> {
        self.device.recv(packet).await
    }

    /// A packet that is there already.
    pub(crate) fn try_receive(&self, packet: &mut [u8]) -> io::Result<usize> {
        self.device.try_recv(packet)
    }

    /// Hands a packet to the own kernel as if it had arrived.
    pub(crate) async fn inject(&self, packet: &[u8]) -> io::Result<()> {
        self.device.send(packet).await.map(drop)
    }

    /// Sends a reset that the packet filter took, past it.
    pub(crate) fn release(&self, reset: &[u8]) -> io::Result<()> {
        let Some(segment) = Segment::parse(reset) else { return Ok(()) };
        let to = segment.destination.ip();
        let socket = match to {
            IpAddr::V4(_) => &self.raw_v4,
            IpAddr::V6(_) => &self.raw_v6,
        };
        socket.send_to(reset, &SocketAddr::new(to, 0).into()).map(drop)
    }
}

fn raw_socket(domain: Domain) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(WHOLE_PACKETS)))?;
    socket.set_mark(RELEASE_MARK)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
