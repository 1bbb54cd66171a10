//! A client's view of a token stream: server-sent events with `[DONE]` at the end, as OpenAI-compatible servers send.

/// Counts events as the body comes, in pieces of any size.
#[derive(Debug, Default)]
pub struct Events {
    line: Vec<u8>,
    count: u32,
    done: bool,
}

impl Events {
    /// Takes the next piece of the body.
    pub fn push(&mut self, piece: &[u8]) {
        for octet in piece {
            match octet {
                b'\n' => {
                    self.end_line();
                    self.line.clear();
                }
                b'\r' => {}
                other => self.line.push(*other),
            }
        }
    }

    /// Data events before `[DONE]`.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether `[DONE]` came.
    pub fn is_done(&self) -> bool {
        self.done
    }

    fn end_line(&mut self) {
        if let Some(data) = self.line.strip_prefix(b"data:") {
            if data.trim_ascii() == b"[DONE]" {
                self.done = true;
            } else {
                self.count += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_however_the_body_is_cut() {
        let body = b"data: {\"t\":1}\n\n: comment\n\ndata: {\"t\":2}\r\n\r\ndata: [DONE]\n\n";
        for size in 1..body.len() {
            let mut events = Events::default();
            for piece in body.chunks(size) {
                events.push(piece);
            }
            assert_eq!((events.count(), events.is_done()), (2, true), "in pieces of {size}");
        }
    }

    #[test]
    fn a_body_without_done_is_not_done() {
        let mut events = Events::default();
        events.push(b"data: 1\n\ndata: [DO");
        assert!(!events.is_done());
    }
}
