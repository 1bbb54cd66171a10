//! What of a QUIC packet is the same in all versions (RFC 8999): whether its header is long, and whom it is for.
//!
//! ```text
//! long    1xxxxxxx  version, 4 octets  length  destination connection ID  …
//! short   0xxxxxxx  destination connection ID, as long as its owner issues them  …
//! ```

/// Whom a packet is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination<'a> {
    /// A long header: the client may have made up the connection ID, if it has not heard of the server's yet.
    Long(&'a [u8]),
    /// A short header: the server has issued the connection ID.
    Short(&'a [u8]),
}

impl<'a> Destination<'a> {
    /// Reads the destination of the first packet of a datagram. The others have the same one (RFC 9000 §12.2). `issued` is
    /// the length of the server's connection IDs. `None`: too short, no version of QUIC has such a packet.
    pub fn of(datagram: &'a [u8], issued: usize) -> Option<Self> {
        let (&first, rest) = datagram.split_first()?;
        if first & 0x80 == 0 {
            return rest.get(..issued).map(Self::Short);
        }
        let (&length, rest) = rest.get(4..)?.split_first()?;
        rest.get(..usize::from(length)).map(Self::Long)
    }
}
