//! Integers and strings with a prefix (RFC 7541 §5.1, RFC 9204 §4.1).

use super::huffman;

/// Integers up to 62 bits are read (RFC 9204 §4.1.1): behind a prefix they take nine octets at most.
const LAST_SHIFT: u32 = 56;

/// Why there is no integer, or no string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bad {
    /// It is not whole.
    Short,
    /// It is too large, longer than the largest needs, or not well coded.
    Wrong,
}

/// The integer whose first part is the `prefix` low bits of the first octet, and what follows it.
pub(super) fn take(octets: &[u8], prefix: u32) -> Result<(u64, &[u8]), Bad> {
    let (&first, mut rest) = octets.split_first().ok_or(Bad::Short)?;
    let most = (1u64 << prefix) - 1;
    let mut value = u64::from(first) & most;
    if value < most {
        return Ok((value, rest));
    }
    for shift in (0..=LAST_SHIFT).step_by(7) {
        let (&octet, behind) = rest.split_first().ok_or(Bad::Short)?;
        rest = behind;
        value += u64::from(octet & 0x7f) << shift;
        if octet & 0x80 == 0 {
            return if value < 1 << 62 { Ok((value, rest)) } else { Err(Bad::Wrong) };
        }
    }
    Err(Bad::Wrong)
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
/// `room`.
pub(super) fn take_string<'a>(
    octets: &'a [u8],
    prefix: u32,
    room: &mut Vec<u8>,
) -> Result<(Text<'a>, &'a [u8]), Bad> {
    let is_coded = octets.first().ok_or(Bad::Short)? >> prefix & 1 == 1;
    let (length, rest) = take(octets, prefix)?;
    let length = usize::try_from(length).map_err(|_| Bad::Wrong)?;
    let (text, rest) = rest.split_at_checked(length).ok_or(Bad::Short)?;
    if !is_coded {
        return Ok((Text::Plain(text), rest));
    }
    let start = room.len();
    huffman::decode(text, room).ok_or(Bad::Wrong)?;
    Ok((Text::Decoded(start..room.len()), rest))
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
            assert_eq!(take(octets, prefix), Ok((value, &[][..])));
            let mut out = Vec::new();
            put(&mut out, 0, prefix, value);
            assert_eq!(out, octets);
        }
        assert_eq!(take(&[31, 154], 5), Err(Bad::Short));
    }

    #[test]
    fn integers_have_62_bits_and_what_is_larger_is_told_from_what_is_not_whole() {
        for prefix in 3..=8 {
            for value in [1 << 55, 1 << 56, (1 << 62) - 4, (1 << 62) - 1] {
                let mut octets = Vec::new();
                put(&mut octets, 0, prefix, value);
                assert_eq!(take(&octets, prefix), Ok((value, &[][..])));
                for length in 0..octets.len() {
                    assert_eq!(take(&octets[..length], prefix), Err(Bad::Short), "{value} {length}");
                }
            }
            for value in [1 << 62, 1 << 63, u64::MAX] {
                let mut octets = Vec::new();
                put(&mut octets, 0, prefix, value);
                assert_eq!(take(&octets, prefix), Err(Bad::Wrong), "{value}");
            }
        }
        // As small as they are, longer than the largest.
        assert_eq!(take(&[&[0x7f][..], &[0x80; 9], &[0]].concat(), 7), Err(Bad::Wrong));
        assert_eq!(take(&[0xff; 13], 7), Err(Bad::Wrong));
    }
}
