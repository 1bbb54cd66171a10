//! Redis's protocol (RESP, version 2), as far as a probe needs it: commands out, values in, all within bounds.

use super::{Failure, wrong};

/// The longest value that is read, in bytes. `INFO replication` grows with the replicas: some hundred bytes each.
pub(super) const MAX_VALUE: usize = 64 * 1024;
/// The longest line: a simple string, an error, a number.
const MAX_LINE: usize = 4 * 1024;
/// How deep arrays may lie in arrays; `ROLE` has two levels.
const MAX_DEPTH: u8 = 4;

/// A value of a server's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// A simple string or a bulk string.
    Text(Vec<u8>),
    /// An error, whose first word is its code.
    Error(Vec<u8>),
    Integer(i64),
    Null,
    Array(Vec<Value>),
}

/// A command, appended to `output`.
pub(super) fn command(output: &mut Vec<u8>, words: &[&[u8]]) {
    output.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        output.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        output.extend_from_slice(word);
        output.extend_from_slice(b"\r\n");
    }
}

/// The first value of `buffer` and its length; `None` while it is incomplete.
pub(super) fn parse(buffer: &[u8]) -> Result<Option<(Value, usize)>, Failure> {
    let mut input = Input { rest: buffer };
    let value = input.value(MAX_DEPTH)?;
    let length = buffer.len() - input.rest.len();
    match value {
        Some(value) => Ok(Some((value, length))),
        None if buffer.len() >= MAX_VALUE => {
            Err(wrong(format!("its answer is longer than {MAX_VALUE} bytes")))
        }
        None => Ok(None),
    }
}

struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    fn value(&mut self, depth: u8) -> Result<Option<Value>, Failure> {
        let Some(line) = self.line()? else { return Ok(None) };
        let Some((kind, content)) = line.split_first() else { return Err(wrong("an empty line".to_owned())) };
        match kind {
            b'+' => Ok(Some(Value::Text(content.to_owned()))),
            b'-' => Ok(Some(Value::Error(content.to_owned()))),
            b':' => Ok(Some(Value::Integer(integer(content)?))),
            b'$' => self.bulk(length(content)?),
            b'*' => self.array(length(content)?, depth),
            other => Err(wrong(format!("a value that begins with `{}`", other.escape_ascii()))),
        }
    }

    fn bulk(&mut self, length: Option<usize>) -> Result<Option<Value>, Failure> {
        let Some(length) = length else { return Ok(Some(Value::Null)) };
        let Some((bulk, rest)) = self.rest.split_at_checked(length) else { return Ok(None) };
        let Some((end, rest)) = rest.split_at_checked(2) else { return Ok(None) };
        if end != b"\r\n" {
            return Err(wrong("a string longer than its length".to_owned()));
        }
        self.rest = rest;
        Ok(Some(Value::Text(bulk.to_owned())))
    }

    fn array(&mut self, length: Option<usize>, depth: u8) -> Result<Option<Value>, Failure> {
        let Some(length) = length else { return Ok(Some(Value::Null)) };
        let Some(depth) = depth.checked_sub(1) else {
            return Err(wrong(format!("arrays more than {MAX_DEPTH} deep")));
        };
        // An element has four bytes at least (`:1\r\n`): no room is made on the word of a length alone.
        let mut values = Vec::with_capacity(length.min(self.rest.len() / 4));
        for _ in 0..length {
            let Some(value) = self.value(depth)? else { return Ok(None) };
            values.push(value);
        }
        Ok(Some(Value::Array(values)))
    }

    /// The next line without its end.
    fn line(&mut self) -> Result<Option<&'a [u8]>, Failure> {
        let looked_at = &self.rest[..self.rest.len().min(MAX_LINE)];
        let Some(end) = looked_at.windows(2).position(|bytes| bytes == b"\r\n") else {
            let is_too_long = looked_at.len() == MAX_LINE;
            return if is_too_long {
                Err(wrong(format!("a line of more than {MAX_LINE} bytes")))
            } else {
                Ok(None)
            };
        };
        let line = &self.rest[..end];
        self.rest = &self.rest[end + 2..];
        Ok(Some(line))
    }
}

/// The length of a string or an array; `None` for the null of that kind.
fn length(digits: &[u8]) -> Result<Option<usize>, Failure> {
    match integer(digits)? {
        -1 => Ok(None),
        length => match usize::try_from(length) {
            Ok(length) if length <= MAX_VALUE => Ok(Some(length)),
            _ => Err(wrong(format!("a length of {length}"))),
        },
    }
}

fn integer(digits: &[u8]) -> Result<i64, Failure> {
    let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    number.ok_or_else(|| wrong("a number that is none".to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    #[test]
    fn commands_are_arrays_of_strings() {
        let mut output = Vec::new();
        command(&mut output, &[b"PING"]);
        command(&mut output, &[b"AUTH", b"", b"p\r\nw"]);
        assert_eq!(output, b"*1\r\n$4\r\nPING\r\n*3\r\n$4\r\nAUTH\r\n$0\r\n\r\n$4\r\np\r\nw\r\n");
    }

    #[test]
    fn values_are_read_and_what_follows_is_left() {
        for (bytes, expected) in [
            ("+PONG\r\n", text("PONG")),
            ("-NOAUTH Authentication required.\r\n", Value::Error("NOAUTH Authentication required.".into())),
            (":-42\r\n", Value::Integer(-42)),
            ("$5\r\nab\r\nc\r\n", text("ab\r\nc")),
            ("$0\r\n\r\n", text("")),
            ("$-1\r\n", Value::Null),
            ("*-1\r\n", Value::Null),
            ("*0\r\n", Value::Array(vec![])),
            (
                "*3\r\n$6\r\nmaster\r\n:14\r\n*1\r\n*1\r\n$1\r\nx\r\n",
                Value::Array(vec![
                    text("master"),
                    Value::Integer(14),
                    Value::Array(vec![Value::Array(vec![text("x")])]),
                ]),
            ),
        ] {
            let followed = [bytes.as_bytes(), b"+rest"].concat();
            assert_eq!(parse(&followed), Ok(Some((expected, bytes.len()))), "{bytes:?}");
            for cut in 0..bytes.len() {
                assert_eq!(parse(&bytes.as_bytes()[..cut]), Ok(None), "{cut} bytes of {bytes:?}");
            }
        }
    }

    #[test]
    fn what_is_not_resp_is_said_to_be_wrong() {
        let deep = b"*1\r\n".repeat(5);
        let endless = vec![b'a'; MAX_LINE];
        let huge = [b"$65536\r\n".as_slice(), &vec![b'a'; MAX_VALUE]].concat();
        for bytes in [
            b"HTTP/1.1 400 Bad Request\r\n".as_slice(),
            b"\r\n",
            b":\r\n",
            b":1 \r\n",
            b":99999999999999999999\r\n",
            b"$-2\r\n",
            b"$65537\r\n",
            b"$9223372036854775807\r\n",
            b"*1000000\r\n",
            b"$1\r\nabc",
            b"*2\r\n:1\r\nx\r\n",
            b"%1\r\n+a\r\n+b\r\n",
            &deep,
            &endless,
            &huge,
        ] {
            let parsed = parse(bytes);
            assert!(
                matches!(parsed, Err(Failure::Protocol { .. })),
                "{}: {parsed:?}",
                bytes[..8.min(bytes.len())].escape_ascii()
            );
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn nearly_values_are_read_within_what_there_is(
            bytes in prop::collection::vec(prop::sample::select(&b"+-:$*0123\r\na"[..]), 0..64)
        ) {
            if let Ok(Some((_, length))) = parse(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }
    }
}
