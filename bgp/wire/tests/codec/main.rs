//! The codec against bytes of real routers and of hand, tables of errors, and properties.

mod attributes;
mod capabilities;
mod dispositions;
mod explained;
mod golden;
mod header_and_open;
mod notification;
mod properties;
mod update_faults;

use bytes::BytesMut;
use proxima_bgp_wire::{DecodeError, EncodeError, Families, Message, Negotiated, PeerKind, Update};

/// Bytes from hexadecimal digits; blanks are for the reader.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// A whole message from what comes after the marker: length, type and body.
fn after_marker(text: &str) -> Vec<u8> {
    [vec![0xff; 16], hex(text)].concat()
}

/// A whole message with a correct header.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = (19 + body.len()) as u16;
    [&[0xff; 16][..], &length.to_be_bytes(), &[kind], body].concat()
}

/// An UPDATE of these three parts.
fn update(withdrawn: &[u8], attributes: &[u8], nlri: &[u8]) -> Vec<u8> {
    let len = |part: &[u8]| (part.len() as u16).to_be_bytes();
    message(2, &[&len(withdrawn)[..], withdrawn, &len(attributes)[..], attributes, nlri].concat())
}

/// An eBGP session as we have it with any modern router.
fn modern() -> Negotiated {
    Negotiated {
        four_octet_as: true,
        families: Families::ALL,
        extended_messages_receive: false,
        extended_messages_send: false,
        extended_next_hop_receive: false,
        extended_next_hop_send: false,
        route_refresh: true,
        enhanced_refresh: true,
        ..Negotiated::default()
    }
}

fn two_octet() -> Negotiated {
    Negotiated { four_octet_as: false, ..modern() }
}

fn internal() -> Negotiated {
    Negotiated { peer: PeerKind::Internal, ..modern() }
}

fn decode_update(message: &[u8], negotiated: Negotiated) -> Result<Update, DecodeError> {
    match Message::decode(message, negotiated)? {
        Message::Update(update) => Ok(update),
        other => panic!("not an UPDATE: {other:?}"),
    }
}

fn encode(message: &Message, negotiated: Negotiated) -> Result<Vec<u8>, EncodeError> {
    let mut buf = BytesMut::new();
    message.encode(negotiated, &mut buf)?;
    Ok(buf.to_vec())
}

/// Cuts a stream into its messages.
fn frames(mut stream: &[u8], max_len: usize) -> Vec<&[u8]> {
    let mut messages = Vec::new();
    while let Some(length) = proxima_bgp_wire::frame(stream, max_len).expect("good headers") {
        let (message, rest) = stream.split_at(length);
        messages.push(message);
        stream = rest;
    }
    assert!(stream.is_empty(), "a message is cut short");
    messages
}
