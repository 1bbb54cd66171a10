//! The streams of QPACK (RFC 9204 §4.3, §4.4), where no dynamic table is in use: next to nothing may come.

use super::integer::take;
use crate::{Code, Wrong};

/// The longest instruction that is kept until it is whole.
const MAX_INSTRUCTION: usize = 16;

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
        read(&mut self.0, octets, WRONG, |octets| {
            if octets[0] & 0xe0 != 0x20 {
                return Err(WRONG);
            }
            match take(octets, 5) {
                Some((0, rest)) => Ok(Some(rest)),
                Some(_) => Err(WRONG),
                None => Ok(None),
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
        read(&mut self.0, octets, WRONG, |octets| {
            if octets[0] & 0xc0 != 0x40 {
                return Err(WRONG);
            }
            Ok(take(octets, 6).map(|(_, rest)| rest))
        })
    }
}

/// Reads instructions, and keeps one that is not whole.
fn read(
    kept: &mut Vec<u8>,
    octets: &[u8],
    wrong: Wrong,
    one: impl Fn(&[u8]) -> Result<Option<&[u8]>, Wrong>,
) -> Result<(), Wrong> {
    kept.extend_from_slice(octets);
    let mut rest = &kept[..];
    while !rest.is_empty()
        && let Some(behind) = one(rest)?
    {
        rest = behind;
    }
    if rest.len() > MAX_INSTRUCTION {
        return Err(wrong);
    }
    let taken = kept.len() - rest.len();
    kept.drain(..taken);
    Ok(())
}
