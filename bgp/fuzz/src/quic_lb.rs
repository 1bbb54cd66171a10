//! What holds for whatever datagram comes, and whatever connection ID is in it.
//!
//! - No octets make a decoder panic, and an ID lies within its datagram.
//! - What is decoded is what was issued: octets of ours, read as a server ID and written again, are the same octets.

use proxima_quic_lb::{Address, Config, ConfigId, Destination, Form, LengthBits, Rotation};

/// The target `quic_lb`: the first octet says how IDs are written, the rest is a datagram.
pub fn datagram(input: &[u8]) {
    let Some((&kind, datagram)) = input.split_first() else { return };
    let config = config(kind);
    let issued = config.length();
    let rotation = Rotation::new(config);
    let Some(destination) = Destination::of(datagram, issued) else { return };
    let (Destination::Long(id) | Destination::Short(id)) = destination;
    assert!(id.is_empty() || datagram.windows(id.len()).any(|octets| octets == id));
    if let Destination::Short(id) = destination {
        assert_eq!(id.len(), issued);
    }
    let Ok(server_id) = rotation.decode(id) else { return };
    let Form { server_id: length, nonce, .. } = rotation.active().form();
    assert_eq!(server_id.len(), usize::from(length));
    if let Some(address) = Address::from_server_id(&server_id) {
        assert_eq!(*address.server_id(), *server_id);
    }
    let nonce = vec![kind; usize::from(nonce)];
    let again = rotation.active().encode(&server_id, &nonce, kind).expect("the lengths are its own");
    assert_eq!(*rotation.decode(&again).expect("it was just written"), *server_id);
}

/// Every form there is, in the clear and encrypted, with the code points in turn.
fn config(kind: u8) -> Config {
    let server_id = 1 + kind % 15;
    let nonce = 4 + kind / 15 % (19 - server_id - 3);
    let bits = if kind & 0x40 == 0 { LengthBits::Length } else { LengthBits::Random };
    let form = Form { server_id, nonce, bits };
    let id = ConfigId::new(kind % 7).expect("there are seven");
    let made =
        if kind & 0x80 == 0 { Config::encrypted(id, form, &[kind; 16]) } else { Config::plaintext(id, form) };
    made.expect("the lengths are within their bounds")
}
