//! Whether the kernel has a connection for a flow: sock_diag(7), one exact look-up.

use std::{cell::Cell, io};

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_TCP, TCP_LISTEN, TCP_TIME_WAIT},
    inet::{ExtensionFlags, InetRequest, SocketId, StateFlags},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};
use proxima_catchment::Flow;

pub(crate) struct Connections {
    netlink: Socket,
    asked: Cell<u32>,
}

/// "Any socket": the kernel compares no cookie.
const NO_COOKIE: [u8; 8] = [0xff; 8];

impl Connections {
    pub(crate) fn open() -> io::Result<Self> {
        let mut netlink = Socket::new(NETLINK_SOCK_DIAG)?;
        netlink.bind_auto()?;
        netlink.connect(&SocketAddr::new(0, 0))?;
        // The answer is there when the question is sent; should it not be, nobody waits for it.
        netlink.set_non_blocking(true)?;
        Ok(Self { netlink, asked: Cell::new(0) })
    }

    /// Whether there is a connection that still has something to do: neither listening nor waiting out its time. The kernel answers within the call.
    pub(crate) fn has(&self, flow: &Flow) -> io::Result<bool> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST;
        header.sequence_number = self.asked.get().wrapping_add(1);
        self.asked.set(header.sequence_number);
        let request = InetRequest {
            family: if flow.vip.is_ipv4() { AF_INET } else { AF_INET6 },
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::empty(),
            states: StateFlags::all(),
            socket_id: SocketId {
                source_port: flow.vip.port(),
                destination_port: flow.client.port(),
                source_address: flow.vip.ip(),
                destination_address: flow.client.ip(),
                interface_id: 0,
                cookie: NO_COOKIE,
            },
        };
        let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
        message.finalize();
        let mut octets = vec![0; message.buffer_len()];
        message.serialize(&mut octets);
        self.netlink.send(&octets, 0)?;
        let answer = loop {
            let (answer, _) = self.netlink.recv_from_full()?;
            let answer = NetlinkMessage::<SockDiagMessage>::deserialize(&answer).map_err(io::Error::other)?;
            if answer.header.sequence_number == header.sequence_number {
                break answer;
            }
        };
        match answer.payload {
            NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(found)) => {
                Ok(!matches!(found.header.state, TCP_LISTEN | TCP_TIME_WAIT))
            }
            NetlinkPayload::Error(error) => match error.to_io() {
                error if error.kind() == io::ErrorKind::NotFound => Ok(false),
                error => Err(error),
            },
            _ => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_is_found_and_a_listener_alone_is_none() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let flow = Flow { client: client.local_addr().unwrap(), vip: listener.local_addr().unwrap() };
            let connections = Connections::open().unwrap();
            assert!(connections.has(&flow).unwrap(), "{flow}");
            let other = Flow { client: std::net::SocketAddr::new(flow.client.ip(), 1), ..flow };
            assert!(!connections.has(&other).unwrap(), "{other}");
        }
    }
}
