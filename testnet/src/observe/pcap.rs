//! Reader of the classic pcap file format, as tcpdump writes it to a pipe.
//!
//! Global header of 24 octets, then per packet a header of 16 octets and the captured octets. The magic number tells
//! byte order and whether the sub-second part counts micro- or nanoseconds.

use std::{
    io::{self, Read},
    time::Duration,
};

const MAGIC_MICROS: u32 = 0xa1b2_c3d4;
const MAGIC_NANOS: u32 = 0xa1b2_3c4d;
/// More than any capture length tcpdump uses; a larger one means that the stream is out of step.
const MAX_CAPTURED: u32 = 1 << 20;

/// What a frame starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkType {
    /// `LINKTYPE_ETHERNET`: 14 octets of Ethernet header.
    Ethernet,
    /// `LINKTYPE_RAW`: an IPv4 or IPv6 header.
    Raw,
    /// `LINKTYPE_LINUX_SLL`: 16 octets of cooked header.
    LinuxCooked,
    /// `LINKTYPE_LINUX_SLL2`: 20 octets of cooked header.
    LinuxCooked2,
}

/// Why a capture can't be read.
#[derive(Debug, thiserror::Error)]
pub enum PcapError {
    /// The stream ended within a record, or reading failed.
    #[error("reading the capture: {0}")]
    Read(#[from] io::Error),
    /// Not a pcap stream.
    #[error("not a pcap stream: it starts with {0:#010x}; is `-w -` given to tcpdump?")]
    Magic(u32),
    /// A link type that isn't understood here.
    #[error("link type {0} is not understood; capture on an Ethernet or IP interface")]
    LinkType(u32),
    /// A captured length beyond any sense.
    #[error("a record claims {0} octets; the capture is damaged")]
    Length(u32),
}

/// One captured frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Wall-clock time of capture, since the Unix epoch.
    pub at: Duration,
    /// The frame, from its link header on.
    pub frame: Vec<u8>,
    /// Length on the wire; more than `frame` holds when it was cut short.
    pub wire_length: u32,
}

/// Reads records one by one from a blocking stream.
#[derive(Debug)]
pub struct Reader<R> {
    stream: R,
    link: LinkType,
    big_endian: bool,
    nanos: bool,
}

impl<R: Read> Reader<R> {
    /// Reads the global header.
    pub fn new(mut stream: R) -> Result<Self, PcapError> {
        let mut header = [0; 24];
        stream.read_exact(&mut header)?;
        let magic = [header[0], header[1], header[2], header[3]];
        let (big_endian, nanos) = match (u32::from_le_bytes(magic), u32::from_be_bytes(magic)) {
            (MAGIC_MICROS, _) => (false, false),
            (MAGIC_NANOS, _) => (false, true),
            (_, MAGIC_MICROS) => (true, false),
            (_, MAGIC_NANOS) => (true, true),
            (other, _) => return Err(PcapError::Magic(other)),
        };
        // The upper bits of the field say whether frames carry a check sequence.
        let link = match u32_at(&header, 20, big_endian) & 0xffff {
            1 => LinkType::Ethernet,
            101 | 12 => LinkType::Raw,
            113 => LinkType::LinuxCooked,
            276 => LinkType::LinuxCooked2,
            other => return Err(PcapError::LinkType(other)),
        };
        Ok(Self { stream, link, big_endian, nanos })
    }

    /// What the frames start with.
    pub fn link(&self) -> LinkType {
        self.link
    }

    /// The next record; `None` when the stream ended between two records.
    pub fn next_record(&mut self) -> Result<Option<Record>, PcapError> {
        let mut header = [0; 16];
        if !fill_or_end(&mut self.stream, &mut header)? {
            return Ok(None);
        }
        let field = |offset| u32_at(&header, offset, self.big_endian);
        let nanos = if self.nanos { field(4) } else { field(4).saturating_mul(1000) };
        let captured = field(8);
        if captured > MAX_CAPTURED {
            return Err(PcapError::Length(captured));
        }
        let mut frame = vec![0; captured as usize];
        self.stream.read_exact(&mut frame)?;
        let at = Duration::from_secs(u64::from(field(0))) + Duration::from_nanos(u64::from(nanos));
        Ok(Some(Record { at, frame, wire_length: field(12) }))
    }
}

fn u32_at(bytes: &[u8], offset: usize, big_endian: bool) -> u32 {
    let field = [bytes[offset], bytes[offset + 1], bytes[offset + 2], bytes[offset + 3]];
    if big_endian { u32::from_be_bytes(field) } else { u32::from_le_bytes(field) }
}

/// Fills `buffer`; false when the stream ended before its first octet.
fn fill_or_end(stream: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    let first = loop {
        match stream.read(buffer) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => break other?,
        }
    };
    if first == 0 {
        return Ok(false);
    }
    stream.read_exact(&mut buffer[first..])?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by hand from the format's description: little endian, microseconds, Ethernet, one frame of 3 octets.
    const LITTLE_MICROS: &[u8] = &[
        0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0,
        0, // global header
        0x10, 0, 0, 0, 0x05, 0, 0, 0, 3, 0, 0, 0, 60, 0, 0, 0, // 16 s + 5 µs, 3 of 60 octets
        0xaa, 0xbb, 0xcc,
    ];
    const BIG_NANOS: &[u8] = &[
        0xa1, 0xb2, 0x3c, 0x4d, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 101, //
        0, 0, 0, 0x10, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0, 1, 0x45,
    ];

    #[test]
    fn both_byte_orders_and_both_resolutions_are_read() {
        let mut reader = Reader::new(LITTLE_MICROS).unwrap();
        assert_eq!(reader.link(), LinkType::Ethernet);
        let record = reader.next_record().unwrap().unwrap();
        assert_eq!(record.at, Duration::new(16, 5_000));
        assert_eq!((record.frame.as_slice(), record.wire_length), (&[0xaa, 0xbb, 0xcc][..], 60));
        assert!(reader.next_record().unwrap().is_none());

        let mut reader = Reader::new(BIG_NANOS).unwrap();
        assert_eq!(reader.link(), LinkType::Raw);
        assert_eq!(reader.next_record().unwrap().unwrap().at, Duration::new(16, 5));
    }

    #[test]
    fn a_stream_cut_inside_a_record_is_an_error_not_an_end() {
        for cut in 25..LITTLE_MICROS.len() {
            let mut reader = Reader::new(&LITTLE_MICROS[..cut]).unwrap();
            assert!(matches!(reader.next_record(), Err(PcapError::Read(_))), "cut at {cut}");
        }
    }

    #[test]
    fn what_is_not_pcap_is_refused() {
        let text = b"tcpdump: eth9: No such device exists";
        assert!(matches!(Reader::new(&text[..]), Err(PcapError::Magic(_))));
        let mut damaged = LITTLE_MICROS.to_vec();
        damaged[24 + 8..24 + 12].fill(0xff);
        assert!(matches!(Reader::new(damaged.as_slice()).unwrap().next_record(), Err(PcapError::Length(_))));
    }
}
