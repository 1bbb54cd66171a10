//! When a certificate is valid, and what its authority knows it by, found in its DER without reading the rest (RFC 5280 §4.1).
//!
//! ```text
//! Certificate SEQUENCE { tbs SEQUENCE { [0] version?, serial, algorithm, issuer, validity SEQUENCE { from, until },
//!     subject, key, [1] …?, [2] …?, [3] { SEQUENCE { SEQUENCE { OID, BOOLEAN?, OCTET STRING } … } }? } … }
//! ```

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;
const EXTENSIONS: u8 = 0xa3;
/// `keyIdentifier` of the extension below (RFC 5280 §4.2.1.1).
const KEY_IDENTIFIER: u8 = 0x80;
/// 2.5.29.35.
const AUTHORITY_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 0x23];
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// From when until when a certificate is valid, both included; in seconds since the Unix epoch, 0 for what was before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// `notBefore`.
    pub from: u64,
    /// `notAfter`.
    pub until: u64,
}

/// What an authority knows a certificate of its own by (RFC 9773 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownBy<'d> {
    /// `keyIdentifier` of the authority key identifier.
    pub authority_key: &'d [u8],
    /// The octets of the serial number, as encoded.
    pub serial: &'d [u8],
}

/// The validity of a certificate. `None` where `der` is none.
pub fn validity(der: &[u8]) -> Option<Validity> {
    let mut tbs = tbs(der)?;
    // Serial number, algorithm and issuer.
    for _ in 0..3 {
        tbs.next()?;
    }
    let mut validity = Reader(tbs.expect(SEQUENCE)?);
    let mut time = || validity.next().and_then(|(tag, text)| time(tag, text));
    Some(Validity { from: time()?, until: time()? })
}

/// What the authority knows a certificate by. `None` where `der` is none, or names no key of its authority.
pub fn known_by(der: &[u8]) -> Option<KnownBy<'_>> {
    let mut tbs = tbs(der)?;
    let serial = tbs.expect(INTEGER)?;
    let mut extensions = loop {
        if let (EXTENSIONS, content) = tbs.next()? {
            break Reader(Reader(content).expect(SEQUENCE)?);
        }
    };
    loop {
        let mut extension = Reader(extensions.expect(SEQUENCE)?);
        if extension.expect(OID)? != AUTHORITY_KEY_IDENTIFIER {
            continue;
        }
        let mut value = loop {
            if let (OCTET_STRING, content) = extension.next()? {
                break Reader(Reader(content).expect(SEQUENCE)?);
            }
        };
        return Some(KnownBy { authority_key: value.expect(KEY_IDENTIFIER)?, serial });
    }
}

/// `tbsCertificate` after its version.
fn tbs(der: &[u8]) -> Option<Reader<'_>> {
    let mut certificate = Reader(Reader(der).expect(SEQUENCE)?);
    let mut tbs = Reader(certificate.expect(SEQUENCE)?);
    if tbs.0.first() == Some(&VERSION) {
        tbs.next()?;
    }
    Some(tbs)
}

/// Elements of DER, one after the other.
struct Reader<'d>(&'d [u8]);

impl<'d> Reader<'d> {
    /// The next element: its tag and what is in it.
    fn next(&mut self) -> Option<(u8, &'d [u8])> {
        let (tag, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match usize::from(*first) {
            short @ ..0x80 => (short, rest),
            long => {
                let (octets, rest) = rest.split_at_checked(long - 0x80)?;
                if !(1..=4).contains(&octets.len()) {
                    return None;
                }
                (octets.iter().fold(0, |length, octet| length << 8 | usize::from(*octet)), rest)
            }
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, content))
    }

    fn expect(&mut self, tag: u8) -> Option<&'d [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` (RFC 5280 §4.1.2.5).
fn time(tag: u8, text: &[u8]) -> Option<u64> {
    let digits = text.strip_suffix(b"Z").filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
    let number =
        |digits: &[u8]| digits.iter().fold(0i64, |number, digit| number * 10 + i64::from(digit - b'0'));
    let (year, rest) = match (tag, digits.len()) {
        (UTC_TIME, 12) => {
            let (year, rest) = digits.split_at(2);
            let year = number(year);
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        (GENERALIZED_TIME, 14) => {
            let (year, rest) = digits.split_at(4);
            (number(year), rest)
        }
        _ => return None,
    };
    let [month, day, hour, minute, second] = [0, 2, 4, 6, 8].map(|at| number(&rest[at..at + 2]));
    let sound =
        (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    sound.then(|| u64::try_from(seconds).unwrap_or(0))
}

/// Days from 1970-01-01 to this day of the Gregorian calendar. Years are counted from March, so that the leap day is the last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let before_month = (153 * month + 2) / 5;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + before_month + day
        - 719_469
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted_from_the_epoch() {
        // From `date -u -d … +%s`.
        for (tag, text, seconds) in [
            (UTC_TIME, "700101000000Z", 0),
            (UTC_TIME, "000229120000Z", 951_825_600),
            (UTC_TIME, "491231235959Z", 2_524_607_999),
            (UTC_TIME, "500101000000Z", 0),
            (GENERALIZED_TIME, "20500101000000Z", 2_524_608_000),
            (GENERALIZED_TIME, "20261122201500Z", 1_795_378_500),
            (GENERALIZED_TIME, "99991231235959Z", 253_402_300_799),
        ] {
            assert_eq!(time(tag, text.as_bytes()), Some(seconds), "{text}");
        }
        for text in
            ["", "Z", "2611222015Z", "261322201500Z", "261122241500Z", "26112220150aZ", "261122201500"]
        {
            assert_eq!(time(UTC_TIME, text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn the_validity_of_a_real_certificate_is_found_and_of_a_broken_one_is_not() {
        // Made with Python's `cryptography`, and read with `openssl x509 -dates`.
        for (der, seconds) in [
            (&include_bytes!("../certificates/until-2031.der")[..], 1_928_361_600),
            (include_bytes!("../certificates/until-2051.der"), 2_559_513_600),
        ] {
            assert_eq!(validity(der), Some(Validity { from: 951_782_400, until: seconds }));
            for cut in 0..der.len() {
                assert_eq!(validity(&der[..cut]), None);
            }
        }
        assert_eq!(validity(&[SEQUENCE, 0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), None);
    }

    #[test]
    fn an_authority_knows_a_certificate_by_its_key_and_the_serial_number() {
        // Made with OpenSSL, of the numbers in RFC 9773 §4.1.
        let der = &include_bytes!("../certificates/rfc9773.der")[..];
        let authority_key = &[
            0x69, 0x88, 0x5b, 0x6b, 0x87, 0x46, 0x40, 0x41, 0xe1, 0xb3, 0x7b, 0x84, 0x7b, 0xa0, 0xae, 0x2c,
            0xde, 0x01, 0xc8, 0xd4,
        ];
        let serial = &[0x00, 0x87, 0x65, 0x43, 0x21];
        assert_eq!(known_by(der), Some(KnownBy { authority_key, serial }));
        for cut in 0..der.len() {
            assert_eq!(known_by(&der[..cut]), None);
        }
        // Signed by itself, without the extension.
        assert_eq!(known_by(include_bytes!("../certificates/until-2031.der")), None);
    }
}
