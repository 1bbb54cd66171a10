//! What holds for whatever an HTTP/3 client or server sends.
//!
//! - No octets make a decoder panic, and no text of a head is longer than it may be.
//! - What a stream says, and what is wrong with it, does not depend on the pieces it comes in.
//! - A head that is taken is one head to the codec of HTTP/1.1, or refused by it: nothing in a field ends it before.

use bytes::Bytes;
use proxima_http1::{Method, RequestHead, ResponseHead};
use proxima_http3::{
    Content, Control, DecoderStream, EncoderStream, Event, Frames, MAX_TEXT, RequestText, Wrong,
    response_text, trailer_text,
};

/// The target `http3`: the first octet says what follows.
pub fn streams(input: &[u8]) {
    let Some((kind, octets)) = input.split_first() else { return };
    match kind % 6 {
        0 => head(octets),
        1 => trailers(octets),
        2 => message(octets, Frames::default),
        3 => one_way(octets, Control::default),
        4 => response(octets),
        _ => {
            message(octets, Frames::of_response);
            one_way(octets, Control::of_server);
        }
    }
}

fn response(section: &[u8]) {
    let mut text = Vec::new();
    if response_text(&mut text, section).is_err() {
        return;
    }
    assert!(text.len() <= MAX_TEXT);
    for method in [Method::Get, Method::Head] {
        if let Ok(parsed) = ResponseHead::default().parse_within(&text, method, MAX_TEXT) {
            assert_eq!(parsed, Some(text.len()), "{}", text.escape_ascii());
        }
    }
}

fn head(section: &[u8]) {
    for content in [Content::None, Content::Some] {
        let mut text = Vec::new();
        let Ok(head) = RequestText::read(&mut text, section) else { return };
        if head.is_websocket() {
            head.end_websocket(&mut text, "dGhlIHNhbXBsZSBub25jZQ==");
        } else {
            head.end(&mut text, content);
        }
        assert!(text.len() <= MAX_TEXT);
        if let Ok(parsed) = RequestHead::default().parse_within(&text, MAX_TEXT) {
            assert_eq!(parsed, Some(text.len()), "{}", text.escape_ascii());
        }
    }
}

fn trailers(section: &[u8]) {
    let mut text = Vec::new();
    if trailer_text(&mut text, section).is_ok() {
        assert!(text.ends_with(b"\r\n"));
        let lines = text.split(|octet| *octet == b'\n').filter(|line| !line.is_empty());
        let empty = lines.filter(|line| *line == b"\r").count();
        assert_eq!(empty, 1, "{}", text.escape_ascii());
    }
}

fn message(stream: &[u8], frames: fn() -> Frames) {
    let whole = taken(frames(), stream, stream.len().max(1));
    for size in [1, 2, 7] {
        assert_eq!(taken(frames(), stream, size), whole);
    }
}

/// Sections, content, and what was wrong.
type Taken = (Vec<Vec<u8>>, Vec<u8>, Option<Wrong>);

fn taken(mut frames: Frames, stream: &[u8], size: usize) -> Taken {
    let (mut sections, mut content) = (Vec::new(), Vec::new());
    for piece in stream.chunks(size) {
        let mut piece = Bytes::copy_from_slice(piece);
        loop {
            match frames.take(&mut piece) {
                Ok(Some(Event::Section(section))) => sections.push(section),
                Ok(Some(Event::Data(data))) => content.extend_from_slice(&data),
                Ok(None) => break,
                Err(wrong) => return (sections, content, Some(wrong)),
            }
        }
    }
    (sections, content, frames.end().err())
}

fn one_way(stream: &[u8], control: fn() -> Control) {
    let said = |size: usize| {
        let (mut control, mut encoder, mut decoder) =
            (control(), EncoderStream::default(), DecoderStream::default());
        let pieces = || stream.chunks(size);
        (
            pieces().try_for_each(|piece| control.take(Bytes::copy_from_slice(piece))),
            pieces().try_for_each(|piece| encoder.take(piece)),
            pieces().try_for_each(|piece| decoder.take(piece)),
        )
    };
    assert_eq!(said(stream.len().max(1)), said(1));
}
