//! QPACK (RFC 9204) without a dynamic table.

mod decode;
mod encode;
mod huffman;
mod integer;
mod static_table;
mod streams;

pub use self::streams::{DecoderStream, EncoderStream};
pub(crate) use self::{
    decode::decode,
    encode::{begin_section, put_field},
};
