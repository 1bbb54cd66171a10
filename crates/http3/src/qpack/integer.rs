//! Integers and strings with a prefix (RFC 7541 §5.1, RFC 9204 §4.1).

use super::huffman;

/// The integer whose first part is the `prefix` low bits of the first octet, and what follows it. `None` if it is not whole,
/// or beyond 2^62, which nothing here needs.
pub(super) fn take(octets: &[u8], prefix: u32) -> Option<(u64, &[u8])> {
    let (&first, mut rest) = octets.split_first()?;
    let most = (1u64 << prefix) - 1;
    let mut value = u64::from(first) & most;
    if value < most {
        return Some((value, rest));
    }
    let mut shift = 0;
    loop {
        let (&octet, behind) = rest.split_first()?;
        rest = behind;
        let part = u64::from(octet & 0x7f);
        if shift > 55 {
            return None;
        }
        value = value.checked_add(part << shift)?;
        if octet & 0x80 == 0 {
            return (value < 1 << 62).then_some((value, rest));
        }
        shift += 7;
    }
}

/// Appends an integer; `high` are the bits above the prefix.
pub(super) fn put(out: &mut Vec<u8>, high: u8, prefix: u32, value: u64) {
    let most = (1u64 << prefix) - 1;
    if value < most {
        return out.push(high | value as u8);
    }
    out.push(high | most as u8);
    let mut left = value - most;
    while left >= 0x80 {
        out.push(0x80 | (left & 0x7f) as u8);
        left >>= 7;
    }
    out.push(left as u8);
}

/// The string whose length has `prefix` bits, with the bit for Huffman coding above them. Decoded ones are appended to
/// `room`. `None` if it is not whole, or not well coded.
pub(super) fn take_string<'a>(
    octets: &'a [u8],
    prefix: u32,
    room: &mut Vec<u8>,
) -> Option<(Text<'a>, &'a [u8])> {
    let is_coded = octets.first()? >> prefix & 1 == 1;
    let (length, rest) = take(octets, prefix)?;
    let (text, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    if !is_coded {
        return Some((Text::Plain(text), rest));
    }
    let start = room.len();
    huffman::decode(text, room)?;
    Some((Text::Decoded(start..room.len()), rest))
}

/// A string where it came, or decoded.
pub(super) enum Text<'a> {
    Plain(&'a [u8]),
    Decoded(std::ops::Range<usize>),
}

impl<'a> Text<'a> {
    pub(super) fn of<'b>(&self, room: &'b [u8]) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Self::Plain(text) => text,
            Self::Decoded(range) => &room[range.clone()],
        }
    }
}

/// Appends a string, Huffman coded if that is shorter.
pub(super) fn put_string(out: &mut Vec<u8>, high: u8, prefix: u32, text: &[u8]) {
    let coded = huffman::length(text);
    if coded < text.len() {
        put(out, high | 1 << prefix, prefix, coded as u64);
        huffman::encode(text, out);
    } else {
        put(out, high, prefix, text.len() as u64);
        out.extend_from_slice(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_those_of_rfc_7541() {
        // RFC 7541 §C.1.
        let examples: [(&[u8], u32, u64); 3] =
            [(&[0b01010], 5, 10), (&[31, 154, 10], 5, 1337), (&[42], 8, 42)];
        for (octets, prefix, value) in examples {
            assert_eq!(take(octets, prefix), Some((value, &[][..])));
            let mut out = Vec::new();
            put(&mut out, 0, prefix, value);
            assert_eq!(out, octets);
        }
        assert_eq!(take(&[31, 154], 5), None, "not whole");
        assert_eq!(take(&[&[0xff; 12][..], &[0]].concat(), 7), None, "beyond 2^62");
        assert_eq!(take(&[0x7f, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0], 7), None);
    }
}
