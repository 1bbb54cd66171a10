//! A peer by script: bytes on a TCP connection, nothing of our own code.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use proxima_bgp_speaker::SpeakerConfig;
use proxima_types::Asn;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
};

use super::{OUR_AS, peer, within};

pub const THEIR_AS: u32 = 65000;
pub const KEEPALIVE: &[u8] = b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x13\x04";

/// An OPEN of AS 65000, hold time 0 since a raw peer sends no KEEPALIVEs, identifier 192.0.2.22, no parameters.
pub const OPEN: &[u8] = b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x1d\x01\
    \x04\xfd\xe8\x00\x00\xc0\x00\x02\x16\x00";

/// Multiprotocol IPv4 unicast (RFC 4760), route refresh (RFC 2918), graceful restart for IPv4 with 120 s and the N bit
/// (RFC 4724, RFC 8538).
pub const MP_IPV4: &[u8] = &[1, 4, 0, 1, 0, 1];
pub const ROUTE_REFRESH: &[u8] = &[2, 0];
pub const GRACEFUL_RESTART: &[u8] = &[64, 6, 0x40, 120, 0, 1, 1, 0x80];

/// An OPEN with this hold time and these capabilities.
pub fn open(hold: u16, capabilities: &[&[u8]]) -> Vec<u8> {
    let capabilities = capabilities.concat();
    let mut bytes = OPEN.to_vec();
    bytes[22..24].copy_from_slice(&hold.to_be_bytes());
    if !capabilities.is_empty() {
        bytes.truncate(28);
        let length = u8::try_from(capabilities.len()).unwrap();
        bytes.extend([length + 2, 2, length]);
        bytes.extend(capabilities);
    }
    let length = u16::try_from(bytes.len()).unwrap();
    bytes[16..18].copy_from_slice(&length.to_be_bytes());
    bytes
}

/// An OPEN of our AS, as a member of a range has it.
pub fn member_open() -> Vec<u8> {
    let mut bytes = OPEN.to_vec();
    bytes[20..22].copy_from_slice(&u16::try_from(OUR_AS.0).unwrap().to_be_bytes());
    bytes
}

/// An UPDATE that announces /24s by AS 65000 with next hop 192.0.2.22 (two-octet path).
pub fn announce(prefixes: impl IntoIterator<Item = [u8; 3]>) -> Vec<u8> {
    let attributes = b"\x40\x01\x01\x00\x40\x02\x04\x02\x01\xfd\xe8\x40\x03\x04\xc0\x00\x02\x16";
    let mut body = vec![0, 0, 0, u8::try_from(attributes.len()).unwrap()];
    body.extend(attributes);
    for [a, b, c] in prefixes {
        body.extend([24, a, b, c]);
    }
    message(2, &body)
}

pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xff; 16];
    bytes.extend(u16::try_from(19 + body.len()).unwrap().to_be_bytes());
    bytes.push(kind);
    bytes.extend(body);
    bytes
}

/// One message from a raw connection; None at its end.
pub async fn read_message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut message = vec![0; 19];
    within("a message", stream.read_exact(&mut message)).await.ok()?;
    let length = usize::from(u16::from_be_bytes([message[16], message[17]]));
    message.resize(length, 0);
    within("its body", stream.read_exact(&mut message[19..])).await.ok()?;
    Some(message)
}

/// The next message of a type, others skipped.
pub async fn read_kind(stream: &mut TcpStream, kind: u8) -> Vec<u8> {
    loop {
        let message = read_message(stream).await.expect("a message before the end");
        if message[18] == kind {
            return message;
        }
    }
}

/// Reads until a NOTIFICATION, and asserts that the end of the stream follows it.
pub async fn read_notification(stream: &mut TcpStream) -> Vec<u8> {
    let message = read_kind(stream, 3).await;
    assert_eq!(read_message(stream).await, None, "the connection ends with it");
    message[19..].to_vec()
}

pub async fn connect_from(source: IpAddr, remote: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(source, 0)).unwrap();
    within("connect", socket.connect(remote)).await.unwrap()
}

/// A raw peer that completes the handshake on a connection.
pub async fn handshake(stream: &mut TcpStream) {
    handshake_with(stream, OPEN).await;
}

pub async fn handshake_with(stream: &mut TcpStream, open: &[u8]) {
    stream.write_all(open).await.unwrap();
    assert_eq!(read_message(stream).await.expect("OPEN")[18], 1);
    stream.write_all(KEEPALIVE).await.unwrap();
    assert_eq!(read_message(stream).await.expect("KEEPALIVE"), KEEPALIVE);
}

/// A raw router that waits for us.
pub async fn listening(address: IpAddr) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(SocketAddr::new(address, 0)).await.unwrap();
    let at = listener.local_addr().unwrap();
    (listener, at)
}

pub async fn accept(listener: &TcpListener) -> TcpStream {
    within("an attempt", listener.accept()).await.unwrap().0
}

/// The other side: AS 65000, passive, listening at `listen` for peers at `us`, named pop0, pop1, …
pub fn router(listen: SocketAddr, us: &[IpAddr]) -> SpeakerConfig {
    let towards = |(index, address): (usize, &IpAddr)| {
        let mut peer = peer(&format!("pop{index}"), SocketAddr::new(*address, 179), OUR_AS.0, listen.ip());
        peer.passive = true;
        peer
    };
    SpeakerConfig {
        local_as: Asn(THEIR_AS),
        router_id: std::net::Ipv4Addr::new(192, 0, 2, 22),
        listen: vec![listen],
        peers: us.iter().enumerate().map(towards).collect(),
        ..super::speaker(Vec::new())
    }
}

/// The shortest hold time there is.
pub const SHORT_HOLD: Duration = Duration::from_secs(3);
