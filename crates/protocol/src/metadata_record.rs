//! Records of the metadata log: any of them, in the frame they have there.
//!
//! The frame is `uvarint 1, uvarint record id, uvarint version`, then the record. Nothing may follow.

use crate::codec::{DecodeError, DecodeProblem, Decoder, EncodeError, Encoder};
use crate::messages::{self, Message as _};
use crate::{Bytes, Chunks};

include!(concat!(env!("OUT_DIR"), "/metadata_record.rs"));

/// The only frame version there is.
const FRAME: u32 = 1;

impl MetadataRecord {
    /// Reads a record with its version; it is all of `value`.
    pub fn decode_framed(value: impl Into<Decoder>) -> Result<(Self, i16), DecodeError> {
        let mut input = value.into();
        input.begin("MetadataRecord", 0);
        input.at("frame");
        let frame = input.uvarint()?;
        if frame != FRAME {
            return Err(input.error(DecodeProblem::Frame(frame)));
        }
        let id = input.uvarint()?;
        let version = input.uvarint()?;
        let narrow =
            |value: u32| i16::try_from(value).map_err(|_| input.error(DecodeProblem::Length(i64::from(value))));
        let (id, version) = (narrow(id)?, narrow(version)?);
        let record = Self::decode_body(&mut input, id, version)?;
        input.finish()?;
        Ok((record, version))
    }

    /// Writes the record in `version`, framed.
    pub fn encode_framed(&self, version: i16) -> Result<Bytes, EncodeError> {
        let mut out = Encoder::new();
        out.uvarint(FRAME);
        out.uvarint(self.id() as u32);
        out.uvarint(version as u32);
        self.encode_body(&mut out, version)?;
        Ok(Chunks::into_contiguous(out.finish()))
    }
}
