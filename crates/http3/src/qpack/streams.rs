//! The streams of QPACK (RFC 9204 §4.3, §4.4), where no dynamic table is in use: next to nothing may come.

use super::integer::{Bad, take};
use crate::{Code, Wrong};

/// What a client would put into its dynamic table, of which it was allowed none.
#[derive(Debug, Default)]
pub struct EncoderStream(Vec<u8>);

/// What a client says of our sections, none of which has used a dynamic table.
#[derive(Debug, Default)]
pub struct DecoderStream(Vec<u8>);

impl EncoderStream {
    /// Takes in what came.
    ///
    /// # Errors
    /// For all but a capacity of nothing.
    pub fn take(&mut self, octets: &[u8]) -> Result<(), Wrong> {
        const WRONG: Wrong = Wrong::Connection(Code::QpackEncoderStreamError);
        read(&mut self.0, octets, |octets| {
            if octets[0] & 0xe0 != 0x20 {
                return Err(WRONG);
            }
            match take(octets, 5) {
                Ok((0, rest)) => Ok(Some(rest)),
                Err(Bad::Short) => Ok(None),
                Ok(_) | Err(Bad::Wrong) => Err(WRONG),
            }
        })
    }
}

impl DecoderStream {
    /// Takes in what came.
    ///
    /// # Errors
    /// For all but cancelled streams.
    pub fn take(&mut self, octets: &[u8]) -> Result<(), Wrong> {
        const WRONG: Wrong = Wrong::Connection(Code::QpackDecoderStreamError);
        read(&mut self.0, octets, |octets| {
            if octets[0] & 0xc0 != 0x40 {
                return Err(WRONG);
            }
            match take(octets, 6) {
                Ok((_, rest)) => Ok(Some(rest)),
                Err(Bad::Short) => Ok(None),
                Err(Bad::Wrong) => Err(WRONG),
            }
        })
    }
}

/// Reads instructions, and keeps one that is not whole: less than the octets of an integer.
fn read(
    kept: &mut Vec<u8>,
    octets: &[u8],
    one: impl Fn(&[u8]) -> Result<Option<&[u8]>, Wrong>,
) -> Result<(), Wrong> {
    kept.extend_from_slice(octets);
    let mut rest = &kept[..];
    while !rest.is_empty()
        && let Some(behind) = one(rest)?
    {
        rest = behind;
    }
    let taken = kept.len() - rest.len();
    kept.drain(..taken);
    Ok(())
}
