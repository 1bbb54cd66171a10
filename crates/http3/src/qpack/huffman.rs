//! The Huffman code of RFC 7541, appendix B.
//!
//! It is canonical: codes of one length are consecutive, in the order of their octets, and shorter codes come first. So the
//! lengths say all. The longest one, of thirty ones, ends a string, which nobody does: padding is a part of it.

/// The bits of each octet's code.
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7,
    8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7,
    15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24,
    23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23,
    23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26,
    26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20,
    21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27,
    27, 27, 26,
];

/// The longest code.
const LONGEST: usize = 30;
/// Codes up to this length are found by one look.
const QUICK: u32 = 9;

/// Each octet's code.
const CODES: [u32; 256] = codes();
/// The octets in the order of their codes.
const OCTETS: [u8; 256] = octets();
/// For each length: the first code beyond those of that length, at the left end of 32 bits.
const LIMITS: [u64; LONGEST + 1] = limits();
/// For each length: what has to be added to a code, around the end of 32 bits, for its place in [`OCTETS`].
const OFFSETS: [u32; LONGEST + 1] = offsets();
/// What the next [`QUICK`] bits begin with: octet and length, which is 0 for a longer code.
static QUICK_CODES: [(u8, u8); 1 << QUICK] = quick_codes();

const fn counts() -> [u32; LONGEST + 1] {
    let mut counts = [0; LONGEST + 1];
    let mut octet = 0;
    while octet < 256 {
        counts[LENGTHS[octet] as usize] += 1;
        octet += 1;
    }
    counts
}

/// The first code of each length.
const fn firsts() -> [u32; LONGEST + 1] {
    let counts = counts();
    let mut firsts = [0; LONGEST + 1];
    let mut length = 1;
    while length <= LONGEST {
        firsts[length] = (firsts[length - 1] + counts[length - 1]) << 1;
        length += 1;
    }
    firsts
}

const fn codes() -> [u32; 256] {
    let mut next = firsts();
    let mut codes = [0; 256];
    let mut octet = 0;
    while octet < 256 {
        let length = LENGTHS[octet] as usize;
        codes[octet] = next[length];
        next[length] += 1;
        octet += 1;
    }
    codes
}

const fn octets() -> [u8; 256] {
    let mut octets = [0; 256];
    let mut at = 0;
    let mut length = 1;
    while length <= LONGEST {
        let mut octet = 0;
        while octet < 256 {
            if LENGTHS[octet] as usize == length {
                octets[at] = octet as u8;
                at += 1;
            }
            octet += 1;
        }
        length += 1;
    }
    octets
}

const fn limits() -> [u64; LONGEST + 1] {
    let (firsts, counts) = (firsts(), counts());
    let mut limits = [0; LONGEST + 1];
    let mut length = 1;
    while length <= LONGEST {
        limits[length] = ((firsts[length] + counts[length]) as u64) << (32 - length);
        length += 1;
    }
    limits
}

const fn offsets() -> [u32; LONGEST + 1] {
    let (firsts, counts) = (firsts(), counts());
    let mut offsets = [0; LONGEST + 1];
    let mut before = 0u32;
    let mut length = 1;
    while length <= LONGEST {
        offsets[length] = before.wrapping_sub(firsts[length]);
        before += counts[length];
        length += 1;
    }
    offsets
}

const fn quick_codes() -> [(u8, u8); 1 << QUICK] {
    let mut quick = [(0, 0); 1 << QUICK];
    let mut octet = 0;
    while octet < 256 {
        let length = LENGTHS[octet] as u32;
        if length <= QUICK {
            let spare = QUICK - length;
            let mut at = CODES[octet] << spare;
            let end = (CODES[octet] + 1) << spare;
            while at < end {
                quick[at as usize] = (octet as u8, length as u8);
                at += 1;
            }
        }
        octet += 1;
    }
    quick
}

/// Octets of `text` when it is coded.
pub(super) fn length(text: &[u8]) -> usize {
    let bits: usize = text.iter().map(|octet| usize::from(LENGTHS[usize::from(*octet)])).sum();
    bits.div_ceil(8)
}

/// Appends `text`, coded.
pub(super) fn encode(text: &[u8], out: &mut Vec<u8>) {
    let (mut held, mut bits) = (0u64, 0u32);
    for octet in text {
        let length = u32::from(LENGTHS[usize::from(*octet)]);
        held = held << length | u64::from(CODES[usize::from(*octet)]);
        bits += length;
        while bits >= 8 {
            bits -= 8;
            out.push((held >> bits) as u8);
        }
    }
    if bits > 0 {
        // RFC 7541 §5.2: padded with ones.
        out.push((held << (8 - bits)) as u8 | 0xff >> bits);
    }
}

/// Appends what `coded` says. `None`: a code that ends a string, or padding that is too long or has zeros
/// (RFC 7541 §5.2); something may have been appended by then.
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut coded = coded.iter();
    // The next bits, from the left; behind them there are ones.
    let (mut next, mut bits) = (u64::MAX, 0u32);
    loop {
        while bits <= 56
            && let Some(octet) = coded.next()
        {
            next &= !(0xff << (56 - bits)) | u64::from(*octet) << (56 - bits);
            bits += 8;
        }
        // All ones is no code of less than 30 bits.
        if bits < 8 && next == u64::MAX {
            return Some(());
        }
        let (octet, length) = match QUICK_CODES[(next >> (64 - QUICK)) as usize] {
            (_, 0) => long_code(next)?,
            (octet, length) => (octet, u32::from(length)),
        };
        bits = bits.checked_sub(length)?;
        next = !(!next << length);
        out.push(octet);
    }
}

fn long_code(next: u64) -> Option<(u8, u32)> {
    let window = next >> 32;
    let length = (QUICK as usize + 1..=LONGEST).find(|length| window < LIMITS[*length])?;
    let code = (window >> (32 - length)) as u32;
    let place = code.wrapping_add(OFFSETS[length]) as usize;
    Some((*OCTETS.get(place)?, length as u32))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn strings_are_those_of_rfc_7541() {
        // RFC 7541 §C.4, §C.6.
        let examples: [(&[u8], &[u8]); 4] = [
            (b"www.example.com", &[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff]),
            (b"no-cache", &[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]),
            (b"302", &[0x64, 0x02]),
            (b"private", &[0xae, 0xc3, 0x77, 0x1a, 0x4b]),
        ];
        for (text, coded) in examples {
            let mut out = Vec::new();
            encode(text, &mut out);
            assert_eq!(out, coded);
            out.clear();
            assert_eq!(decode(coded, &mut out), Some(()));
            assert_eq!(out, text);
        }
    }

    #[test]
    fn padding_is_short_and_of_ones() {
        let decoded = |coded: &[u8]| decode(coded, &mut Vec::new());
        assert_eq!(decoded(&[0xff]), None, "eight bits of padding");
        assert_eq!(decoded(&[0b0000_0111]), Some(()), "an octet of five bits, and three of padding");
        assert_eq!(decoded(&[0b0000_0110]), None, "a zero in the padding");
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xff]), None, "the end of a string is never coded");
        assert_eq!(decoded(&[]), Some(()));
    }

    proptest! {
        #[test]
        fn what_is_coded_is_decoded(text in vec(any::<u8>(), 0..80)) {
            let mut coded = Vec::new();
            encode(&text, &mut coded);
            prop_assert_eq!(coded.len(), length(&text));
            let mut decoded = Vec::new();
            prop_assert_eq!(decode(&coded, &mut decoded), Some(()));
            prop_assert_eq!(decoded, text);
        }

        /// Each text has one code: what is decoded at all is coded the same way again.
        #[test]
        fn anything_is_decoded_in_one_way_or_refused(coded in vec(any::<u8>(), 0..40)) {
            let mut decoded = Vec::new();
            if decode(&coded, &mut decoded).is_some() {
                let mut again = Vec::new();
                encode(&decoded, &mut again);
                prop_assert_eq!(again, coded);
            }
        }
    }
}
