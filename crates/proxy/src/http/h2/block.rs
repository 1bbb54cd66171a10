//! Blocks of header fields that pass by (RFC 7541 §6): how many fields they hold.
//!
//! ```text
//! field:   1 index | 01 index [name] value | 001 size | 000x index [name] value        a name where the index is 0
//! string:  H length octets
//! ```
//!
//! Fields are told apart by their first octets and the lengths of their strings. Neither the table nor Huffman's code is needed for that, so
//! that it costs a fraction of decoding them: what is too much is known before anything is decoded.

/// A block, as far as it has passed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Block {
    fields: u32,
    next: Next,
}

/// What the next octet is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Next {
    /// The first of a field, or of an update of the table's size, which counts as one.
    #[default]
    Field,
    /// The rest of an integer (§5.1).
    Integer { what: Integer, value: u32, shift: u32 },
    /// The first of a string's length.
    Length(Part),
    /// A string.
    String { part: Part, left: u32 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Integer {
    /// Nothing follows it.
    Whole,
    /// Of a name in the table.
    Name,
    Length(Part),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Name,
    Value,
}

impl Block {
    /// How many fields have begun.
    pub(super) fn fields(&self) -> u32 {
        self.fields
    }

    /// More of it. What can't be decoded is left to those who decode.
    pub(super) fn see(&mut self, mut bytes: &[u8]) {
        while let [first, rest @ ..] = bytes {
            bytes = rest;
            self.next = match self.next {
                Next::Field => {
                    self.fields = self.fields.saturating_add(1);
                    field(*first)
                }
                Next::Integer { what, value, shift } => more(what, value, shift, *first),
                Next::Length(part) => integer(Integer::Length(part), *first, 7),
                Next::String { part, left } => {
                    let skipped = rest.len().min(left as usize - 1);
                    bytes = &rest[skipped..];
                    string(part, left - 1 - skipped as u32)
                }
            };
        }
    }
}

/// What follows the first octet of a field (§6).
fn field(first: u8) -> Next {
    match first {
        0x80.. => integer(Integer::Whole, first, 7),
        0x40 | 0x00 | 0x10 => Next::Length(Part::Name),
        0x41..0x80 => integer(Integer::Name, first, 6),
        0x20..0x40 => integer(Integer::Whole, first, 5),
        0x01..0x20 => integer(Integer::Name, first, 4),
    }
}

/// What follows the first octet of an integer in its last `bits`.
fn integer(what: Integer, first: u8, bits: u32) -> Next {
    let most = u32::from(u8::MAX >> (8 - bits));
    let value = u32::from(first) & most;
    if value == most { Next::Integer { what, value, shift: 0 } } else { end(what, value) }
}

/// Of integers beyond 32 bits, which nobody decodes, the value is any.
fn more(what: Integer, value: u32, shift: u32, octet: u8) -> Next {
    let part = u32::from(octet & 0x7f).checked_shl(shift).unwrap_or(u32::MAX);
    let value = value.saturating_add(part);
    if octet & 0x80 == 0 {
        end(what, value)
    } else {
        Next::Integer { what, value, shift: (shift + 7).min(u32::BITS) }
    }
}

fn end(what: Integer, value: u32) -> Next {
    match what {
        Integer::Whole => Next::Field,
        Integer::Name => Next::Length(Part::Value),
        Integer::Length(part) => string(part, value),
    }
}

fn string(part: Part, left: u32) -> Next {
    match (part, left) {
        (Part::Name, 0) => Next::Length(Part::Value),
        (Part::Value, 0) => Next::Field,
        _ => Next::String { part, left },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pieces: &[&[u8]]) -> u32 {
        let mut block = Block::default();
        for piece in pieces {
            block.see(piece);
        }
        assert_eq!(block.next, Next::Field, "it is whole");
        block.fields()
    }

    fn bytes(text: &str) -> Vec<u8> {
        let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
        digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
    }

    /// RFC 7541 appendix C: the examples, and how many fields each holds.
    const EXAMPLES: [(&str, u32); 12] = [
        ("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572", 1),
        ("040c 2f73 616d 706c 652f 7061 7468", 1),
        ("1008 7061 7373 776f 7264 0673 6563 7265 74", 1),
        ("82", 1),
        ("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", 4),
        ("8286 84be 5808 6e6f 2d63 6163 6865", 5),
        ("8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65", 5),
        ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", 4),
        ("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", 5),
        (
            "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 \
          474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            4,
        ),
        ("4803 3330 37c1 c0bf", 4),
        (
            "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 \
          666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 \
          3630 303b 2076 6572 7369 6f6e 3d31",
            6,
        ),
    ];

    #[test]
    fn fields_are_counted_as_rfc_7541_has_them_however_they_come() {
        for (text, count) in EXAMPLES {
            let bytes = bytes(text);
            assert_eq!(fields(&[&bytes]), count, "{text}");
            for cut in 0..=bytes.len() {
                assert_eq!(fields(&[&bytes[..cut], &bytes[cut..]]), count, "{text} cut at {cut}");
            }
            assert_eq!(fields(&bytes.chunks(1).collect::<Vec<_>>()), count, "{text} by octets");
        }
    }

    #[test]
    fn an_update_of_the_tables_size_counts_for_a_field() {
        // 4096: 31, and 4065 by seven bits.
        assert_eq!(fields(&[&[0x3f, 0xe1, 0x1f], &[0x20], &[0x82]]), 3);
    }

    #[test]
    fn strings_may_be_empty_or_long() {
        assert_eq!(fields(&[&[0, 0, 0], &[0x40, 0, 0], &[0x7f, 0x00, 0]]), 3);
        // 1337 as in RFC 7541 §C.1.2, by seven bits: 127, and 1210.
        let value = [&[0x04, 0x7f, 0xba, 0x09][..], &[0x82; 1337]].concat();
        assert_eq!(fields(&[&value, &[0x82]]), 2);
    }

    #[test]
    fn integers_beyond_all_bounds_are_no_fields() {
        let mut block = Block::default();
        block.see(&[0x04, 0x7f]);
        block.see(&[0xff; 1000]);
        block.see(&[0x7f]);
        block.see(&[0x82; 1000]);
        assert_eq!(block.fields(), 1);
    }
}
