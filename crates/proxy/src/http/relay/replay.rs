//! What is kept of a request's body, so that it can be sent to another backend.
//!
//! It is copied. A piece is a part of what it came in, a datagram for one, and keeps all of that alive; and of content of so many octets
//! there can be as many pieces. Copied, it takes what it is long.

use bytes::Bytes;

use super::Piece;

/// How much of a request's body is kept, in octets.
const MOST: usize = 16 * 1024;

/// The body so far, and how much of it the present attempt has sent.
#[derive(Debug, Default)]
pub(super) struct Replay {
    content: Vec<u8>,
    end: Option<End>,
    /// Octets of the content that this attempt has sent.
    sent: usize,
    has_sent_end: bool,
    /// The body went beyond what is kept, or is not needed again.
    is_dropped: bool,
}

/// Behind the content.
#[derive(Debug)]
enum End {
    Plain,
    Trailers(Bytes),
}

impl Replay {
    /// Keeps what came and is sent by this attempt, as long as there is room for all of it.
    pub(super) fn keep(&mut self, piece: &Piece) {
        if self.is_dropped {
            return;
        }
        if self.content.len() + piece.len() > MOST {
            return self.drop_all();
        }
        match piece {
            Piece::Data { bytes, last } => {
                self.content.extend_from_slice(bytes);
                self.end = last.then_some(End::Plain);
            }
            Piece::Trailers(section) => self.end = Some(End::Trailers(section.clone())),
            Piece::End => self.end = Some(End::Plain),
        }
        self.sent = self.content.len();
        self.has_sent_end = self.end.is_some();
    }

    /// The request will not be sent again.
    pub(super) fn drop_all(&mut self) {
        *self = Self { is_dropped: true, ..Self::default() };
    }

    /// Whether all that came of the body can be sent again.
    pub(super) fn is_whole(&self) -> bool {
        !self.is_dropped
    }

    /// Another attempt begins, which has sent nothing.
    pub(super) fn rewind(&mut self) {
        (self.sent, self.has_sent_end) = (0, false);
    }

    /// What an earlier attempt took, and this one has not sent.
    pub(super) fn next(&mut self) -> Option<Piece> {
        let is_plain = matches!(self.end, Some(End::Plain));
        if self.sent < self.content.len() {
            let bytes = Bytes::copy_from_slice(&self.content[self.sent..]);
            self.sent = self.content.len();
            self.has_sent_end = is_plain;
            return Some(Piece::Data { bytes, last: is_plain });
        }
        if std::mem::replace(&mut self.has_sent_end, true) {
            return None;
        }
        let end = self.end.as_ref().map(|end| match end {
            End::Plain => Piece::End,
            End::Trailers(section) => Piece::Trailers(section.clone()),
        });
        self.has_sent_end = end.is_some();
        end
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    fn data(bytes: &'static [u8], last: bool) -> Piece {
        Piece::Data { bytes: Bytes::from_static(bytes), last }
    }

    /// What another attempt sends: the content, and what ends it.
    fn again(replay: &mut Replay) -> (Vec<u8>, Option<Piece>) {
        replay.rewind();
        let (mut content, mut end) = (Vec::new(), None);
        while let Some(piece) = replay.next() {
            assert!(end.is_none(), "nothing follows the end");
            if let Piece::Data { bytes, .. } = &piece {
                content.extend_from_slice(bytes);
            }
            if piece.is_last() {
                end = Some(piece);
            }
        }
        (content, end)
    }

    /// The allocation of a datagram, which counts those that there are.
    struct Datagram([u8; 1200], &'static AtomicUsize);

    impl Datagram {
        fn new(octet: u8, alive: &'static AtomicUsize) -> Self {
            alive.fetch_add(1, Relaxed);
            Self([octet; 1200], alive)
        }
    }

    impl AsRef<[u8]> for Datagram {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    impl Drop for Datagram {
        fn drop(&mut self) {
            self.1.fetch_sub(1, Relaxed);
        }
    }

    #[test]
    fn what_is_kept_holds_none_of_the_datagrams_that_its_pieces_came_in() {
        static ALIVE: AtomicUsize = AtomicUsize::new(0);
        let mut replay = Replay::default();
        let expected: Vec<u8> = (0..MOST).map(|number| number as u8).collect();
        for octet in &expected {
            let datagram = Bytes::from_owner(Datagram::new(*octet, &ALIVE));
            replay.keep(&Piece::Data { bytes: datagram.slice(600..601), last: false });
        }
        assert_eq!(ALIVE.load(Relaxed), 0);
        assert!(replay.content.capacity() <= 2 * MOST);
        assert!(replay.is_whole());
        let (content, end) = again(&mut replay);
        assert!(content == expected && end.is_none());
    }

    #[test]
    fn another_attempt_sends_what_came_before_and_goes_on_with_what_comes() {
        let mut replay = Replay::default();
        assert!(replay.next().is_none(), "nothing has come");
        replay.keep(&data(b"one ", false));
        assert!(replay.next().is_none(), "this attempt has sent it");
        replay.keep(&data(b"two ", false));
        replay.rewind();
        assert!(matches!(replay.next(), Some(Piece::Data { bytes, last: false }) if bytes == "one two "));
        assert!(replay.next().is_none());
        replay.keep(&data(b"three", true));
        assert!(replay.next().is_none());
        replay.rewind();
        // With its end: no backend is sent an empty frame for that.
        assert!(matches!(replay.next(), Some(Piece::Data { bytes, last: true }) if bytes == "one two three"));
        assert!(replay.next().is_none());
    }

    #[test]
    fn a_body_ends_again_as_it_has_ended() {
        let trailers = || Piece::Trailers(Bytes::from_static(b"a: b\r\n\r\n"));
        for (content, end, has_trailers) in [
            (&b"content"[..], Piece::End, false),
            (b"content", data(b"", true), false),
            (b"content", trailers(), true),
            (b"", trailers(), true),
        ] {
            let mut replay = Replay::default();
            replay.keep(&data(content, false));
            replay.keep(&end);
            for _ in 0..3 {
                let (sent, ended) = again(&mut replay);
                assert_eq!(sent, content);
                match ended.unwrap() {
                    Piece::Trailers(section) => assert!(has_trailers && section == "a: b\r\n\r\n"),
                    piece => assert!(!has_trailers && piece.is_last()),
                }
            }
        }
        let mut empty = Replay::default();
        empty.keep(&Piece::End);
        empty.rewind();
        assert!(matches!(empty.next(), Some(Piece::End)));
        assert!(empty.next().is_none());
    }

    #[test]
    fn a_body_beyond_what_is_kept_is_not_sent_again() {
        let mut replay = Replay::default();
        replay.keep(&data(&[1; MOST], false));
        assert!(replay.is_whole());
        replay.keep(&data(&[1], false));
        assert!(!replay.is_whole());
        assert_eq!(replay.content.capacity(), 0, "nor kept");
        replay.keep(&data(&[1], true));
        replay.rewind();
        assert!(!replay.is_whole() && replay.next().is_none());
    }
}
