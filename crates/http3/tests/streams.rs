//! Streams of one direction.

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};
use proxima_http3::{
    Code, Control, DecoderStream, EncoderStream, Event, Frames, GOAWAY_MAX, StreamKind, Wrong,
    control_stream, goaway, server_control_stream,
};

fn control(octets: &[u8], size: usize) -> Result<(), Wrong> {
    let mut control = Control::default();
    octets.chunks(size).try_for_each(|piece| control.take(Bytes::copy_from_slice(piece)))
}

#[test]
fn our_own_settings_are_the_limit_of_a_head() {
    // Type 0; SETTINGS of five octets: 6 (MAX_FIELD_SECTION_SIZE) is 65536; of a server also 8 (ENABLE_CONNECT_PROTOCOL).
    assert_eq!(control_stream(), [0, 4, 5, 6, 0x80, 1, 0, 0]);
    assert_eq!(server_control_stream(), [0, 4, 7, 6, 0x80, 1, 0, 0, 8, 1]);
    assert_eq!(goaway(4), [7, 1, 4]);
}

#[test]
fn what_clients_usually_say_is_taken_in_any_pieces() {
    // SETTINGS with a table, blocked streams and a grease; PRIORITY_UPDATE; MAX_PUSH_ID; GOAWAY; a grease frame.
    let octets = [
        &[4, 8, 1, 0x50, 0, 7, 0x40, 100, 0x21, 5][..],
        &[0x80, 0x0f, 0x07, 0x00, 4, 0],
        b"u=1",
        &[13, 1, 8],
        &[7, 1, 0],
        &[0x21, 2, 0, 0],
    ]
    .concat();
    for size in 1..=octets.len() {
        assert_eq!(control(&octets, size), Ok(()), "in pieces of {size}");
    }
}

#[test]
fn what_must_not_come_ends_the_connection_each_for_its_reason() {
    let cases: [(&[u8], Code); 16] = [
        (&[7, 1, 0], Code::MissingSettings),
        (&[0x21, 0], Code::MissingSettings),
        (&[4, 0, 4, 0], Code::FrameUnexpected),
        (&[4, 0, 0, 0], Code::FrameUnexpected),
        (&[4, 0, 1, 0], Code::FrameUnexpected),
        (&[4, 0, 5, 0], Code::FrameUnexpected),
        (&[4, 0, 6, 0], Code::FrameUnexpected),
        (&[4, 2, 0, 0], Code::SettingsError),
        (&[4, 2, 2, 0], Code::SettingsError),
        (&[4, 4, 6, 0, 6, 1], Code::SettingsError),
        (&[4, 1, 6], Code::FrameError),
        (&[4, 0x44, 1], Code::ExcessiveLoad),
        (&[4, 0, 7, 1, 4, 7, 1, 8], Code::IdError),
        (&[4, 0, 13, 1, 4, 13, 1, 0], Code::IdError),
        (&[4, 0, 3, 1, 0], Code::IdError),
        (&[4, 0, 7, 2, 0, 0], Code::FrameError),
    ];
    for (octets, code) in cases {
        assert_eq!(control(octets, 100), Err(Wrong::Connection(code)), "{octets:?}");
    }
}

#[test]
fn a_server_may_say_goaway_of_requests_and_nothing_of_pushes() {
    let server = |octets: &'static [u8]| {
        let mut control = Control::of_server();
        control.take(Bytes::from_static(octets)).map(|()| control.goaway())
    };
    assert_eq!(server(&[4, 0]), Ok(None));
    // First that a GOAWAY will follow, then from stream 8 on.
    let first = [4, 0, 7, 8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfc];
    assert_eq!(server(&[4, 0, 7, 8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfc, 7, 1, 8]), Ok(Some(8)));
    assert_eq!(first[2..], goaway(GOAWAY_MAX));
    for (octets, code) in [
        (&[4, 0, 7, 1, 8, 7, 1, 12][..], Code::IdError),
        (&[4, 0, 7, 1, 2], Code::IdError),
        (&[4, 0, 13, 1, 0], Code::FrameUnexpected),
        (&[4, 0, 3, 1, 0], Code::IdError),
        (&[7, 1, 0], Code::MissingSettings),
    ] {
        assert_eq!(server(octets), Err(Wrong::Connection(code)), "{octets:?}");
    }
}

#[test]
fn settings_say_whether_websockets_are_taken() {
    let said = |octets: &'static [u8]| {
        let mut control = Control::of_server();
        control.take(Bytes::from_static(octets)).map(|()| control.takes_websockets())
    };
    for (octets, expected) in [
        (&[][..], None),
        (&[4, 2, 8], None),
        (&[4, 0], Some(false)),
        (&[4, 2, 8, 0], Some(false)),
        (&[4, 4, 6, 5, 8, 1], Some(true)),
    ] {
        assert_eq!(said(octets), Ok(expected), "{octets:?}");
    }
    // RFC 8441 §3: nothing but 0 and 1.
    assert_eq!(said(&[4, 2, 8, 2]), Err(Wrong::Connection(Code::SettingsError)));
}

#[test]
fn a_response_may_have_several_heads_and_no_promise() {
    let mut frames = Frames::of_response();
    let mut octets = Bytes::from_static(&[1, 1, b'a', 1, 1, b'b', 0, 1, b'c', 1, 1, b'd', 0, 0]);
    let head = frames.take(&mut octets);
    assert_eq!(head, Ok(Some(Event::Section(b"a".to_vec()))));
    frames.expect_head();
    assert_eq!(frames.end(), Err(Wrong::Stream(Code::RequestIncomplete)));
    for expected in [Event::Section(b"b".to_vec()), Event::Data("c".into()), Event::Section(b"d".to_vec())] {
        assert_eq!(frames.take(&mut octets), Ok(Some(expected)));
    }
    assert_eq!(frames.take(&mut octets), Err(Wrong::Connection(Code::FrameUnexpected)));
    for (mut frames, code) in
        [(Frames::of_response(), Code::IdError), (Frames::default(), Code::FrameUnexpected)]
    {
        let promise = frames.take(&mut Bytes::from_static(&[5, 1, 0]));
        assert_eq!(promise, Err(Wrong::Connection(code)));
    }
}

#[test]
fn frames_that_bring_nothing_forward_have_to_be_earned() {
    let mut control = Control::default();
    let frames = |count: usize| Bytes::from([0x21, 0].repeat(count));
    control.take(Bytes::from_static(&[4, 0])).unwrap();
    control.take(frames(999)).unwrap();
    control.earn(1);
    control.take(frames(1)).unwrap();
    assert_eq!(control.take(frames(1)), Err(Wrong::Connection(Code::ExcessiveLoad)));
}

#[test]
fn streams_are_told_apart_by_their_first_integer() {
    let kinds = [StreamKind::Control, StreamKind::Push, StreamKind::QpackEncoder, StreamKind::QpackDecoder];
    for (number, kind) in kinds.into_iter().enumerate() {
        assert_eq!(StreamKind::of(number as u64), kind);
    }
    assert_eq!(StreamKind::of(0x21), StreamKind::Unknown);
}

#[test]
fn a_table_that_was_not_allowed_is_not_filled() {
    let taken = |octets: &[u8]| EncoderStream::default().take(octets);
    assert_eq!(taken(&[0x20, 0x20]), Ok(()), "a capacity of nothing");
    for octets in [&[0x21][..], &[0xc0, 1, 0], &[0x41, 0], &[0]] {
        assert_eq!(taken(octets), Err(Wrong::Connection(Code::QpackEncoderStreamError)), "{octets:?}");
    }
}

#[test]
fn of_our_sections_only_that_their_streams_were_cancelled_can_be_said() {
    let mut stream = DecoderStream::default();
    // The stream 1000, in two pieces.
    assert_eq!(stream.take(&[0x44, 0x7f, 0x80 | 0x29]), Ok(()));
    assert_eq!(stream.take(&[0x07]), Ok(()));
    // 2^62 - 4, the last that a client may open (RFC 9000 §2.1), and behind it another one.
    let last = [0x7f, 0xbd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f];
    assert_eq!(stream.take(&last), Ok(()));
    assert_eq!(stream.take(&[0x40; 32]), Ok(()));
    // Another side; an increment; more than 62 bits, in value and in octets.
    let beyond = [0x7f, 0xc1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f];
    let longer = [0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    for octets in [&[0x80][..], &[0x01], &beyond, &longer] {
        assert_eq!(
            DecoderStream::default().take(octets),
            Err(Wrong::Connection(Code::QpackDecoderStreamError)),
            "{octets:?}"
        );
    }
}

proptest! {
    #[test]
    fn any_octets_are_taken_or_refused(octets in vec(any::<u8>(), 0..200), size in 1usize..20) {
        prop_assert_eq!(control(&octets, octets.len().max(1)), control(&octets, size));
        for piece in octets.chunks(size) {
            let _ = EncoderStream::default().take(piece);
            let _ = DecoderStream::default().take(piece);
        }
    }
}
