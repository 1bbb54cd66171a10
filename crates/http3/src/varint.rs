//! Integers of variable length (RFC 9000 §16).

/// The integer at the beginning of `octets`, and what follows it; `None` if it is not whole.
pub fn take_varint(octets: &[u8]) -> Option<(u64, &[u8])> {
    let (&first, _) = octets.split_first()?;
    let length = 1 << (first >> 6);
    let (own, rest) = octets.split_at_checked(length)?;
    let value = own[1..].iter().fold(u64::from(first & 0x3f), |value, octet| value << 8 | u64::from(*octet));
    Some((value, rest))
}

/// Appends an integer below 2^62 in its shortest form.
pub fn put_varint(out: &mut Vec<u8>, value: u64) {
    let octets = value.to_be_bytes();
    let (length, prefix) = match value {
        0..0x40 => (1, 0),
        0x40..0x4000 => (2, 0x40),
        0x4000..0x4000_0000 => (4, 0x80),
        _ => (8, 0xc0),
    };
    let at = out.len();
    out.extend_from_slice(&octets[8 - length..]);
    out[at] |= prefix;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_those_of_rfc_9000() {
        // RFC 9000 §A.1.
        let examples: [(&[u8], u64); 4] = [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
        ];
        for (octets, value) in examples {
            assert_eq!(take_varint(octets), Some((value, &[][..])));
            let mut written = Vec::new();
            put_varint(&mut written, value);
            assert_eq!(written, octets);
            assert_eq!(take_varint(&octets[..octets.len() - 1]), None);
        }
        assert_eq!(take_varint(&[0x40, 0x25, 9]), Some((37, &[9][..])), "longer than needed is well-formed");
        assert_eq!(take_varint(&[]), None);
    }
}
