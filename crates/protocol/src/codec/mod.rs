//! The wire's small forms. [`Decoder`] reads a rope of bytes and shares its pieces, [`Encoder`] builds one; `varint` has
//! the variable-length integers. Messages are generated on top of these two (`messages`), record batches are not
//! (`batch` reads in place).

mod decode;
mod encode;
pub mod varint;

pub use decode::{DecodeError, DecodeProblem, Decoder};
pub use encode::{EncodeError, Encoder};

use bytes::Bytes;

/// A tagged field that the schemas do not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawTaggedField {
    /// Its number; rising within a struct.
    pub tag: u32,
    /// Its bytes, without the size before them.
    pub data: Bytes,
}
