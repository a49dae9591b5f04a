//! Writes values into a rope of bytes.
//!
//! Small values gather in one buffer; large byte arrays and records become pieces of their own, shared with the caller.

use bytes::{BufMut, Bytes, BytesMut};

use super::{RawTaggedField, varint};
use crate::{Chunks, Str, Uuid};

/// Byte arrays from this size on are shared instead of copied.
const SHARED_FROM: usize = 512;

/// Why a message cannot be written in the version wanted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EncodeError {
    /// A field is set that the version does not have, and that may not be dropped in silence.
    #[error("{field} is set, which version {version} does not have")]
    Absent {
        /// The field, as `Struct.Field`.
        field: &'static str,
        /// The version wanted.
        version: i16,
    },
    /// A null where the version has none.
    #[error("{field} is null, which it may not be")]
    Null {
        /// The field, as `Struct.Field`.
        field: &'static str,
    },
    /// Longer than its length field can say.
    #[error("{field} is too long: {length}")]
    TooLong {
        /// The field, as `Struct.Field`.
        field: &'static str,
        /// Bytes or elements.
        length: usize,
    },
    /// Unknown tagged fields that do not rise, or that bear the tag of a known one.
    #[error("the unknown tagged fields before or after {field} are out of order")]
    TagOrder {
        /// The field, as `Struct.Field`.
        field: &'static str,
    },
    /// A version that the message does not have.
    #[error("{message} has no version {version}")]
    Version {
        /// The message.
        message: &'static str,
        /// The version wanted.
        version: i16,
    },
}

/// Builds a rope of bytes.
#[derive(Debug, Default)]
pub struct Encoder {
    out: Chunks,
    buffer: BytesMut,
    field: &'static str,
}

type Written = Result<(), EncodeError>;

impl Encoder {
    /// Nothing written yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// For a frame, which is short-lived and seldom smaller: with room enough that writing most of them moves nothing.
    pub fn for_frame() -> Self {
        Self { buffer: BytesMut::with_capacity(256), ..Self::default() }
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.out.len() + self.buffer.len()
    }

    /// Whether nothing is written yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What was written.
    pub fn finish(mut self) -> Chunks {
        self.out.push(self.buffer.freeze());
        self.out
    }

    /// Adds bytes without copying them.
    pub fn share(&mut self, bytes: Bytes) {
        if bytes.len() < SHARED_FROM {
            self.buffer.extend_from_slice(&bytes);
        } else {
            self.push(bytes);
        }
    }

    /// Adds bytes as a piece of their own.
    fn push(&mut self, bytes: Bytes) {
        self.out.push(self.buffer.split().freeze());
        self.out.push(bytes);
    }

    /// Adds a rope without copying its large pieces.
    pub fn share_rope(&mut self, rope: Chunks) {
        rope.into_list().into_iter().for_each(|piece| self.share(piece));
    }

    /// Says which field is written next.
    #[inline]
    pub fn at(&mut self, field: &'static str) {
        self.field = field;
    }

    /// The error for a field that the version does not have.
    #[cold]
    pub fn absent(&self, version: i16) -> EncodeError {
        EncodeError::Absent { field: self.field, version }
    }

    /// A byte that is 0 or 1.
    pub fn bool(&mut self, value: bool) {
        self.buffer.put_u8(u8::from(value));
    }

    /// A signed byte.
    pub fn i8(&mut self, value: i8) {
        self.buffer.put_i8(value);
    }

    /// Two bytes, signed.
    pub fn i16(&mut self, value: i16) {
        self.buffer.put_i16(value);
    }

    /// Two bytes, unsigned.
    pub fn u16(&mut self, value: u16) {
        self.buffer.put_u16(value);
    }

    /// Four bytes, signed.
    pub fn i32(&mut self, value: i32) {
        self.buffer.put_i32(value);
    }

    /// Four bytes, unsigned.
    pub fn u32(&mut self, value: u32) {
        self.buffer.put_u32(value);
    }

    /// Eight bytes, signed.
    pub fn i64(&mut self, value: i64) {
        self.buffer.put_i64(value);
    }

    /// Eight bytes, IEEE 754.
    pub fn f64(&mut self, value: f64) {
        self.buffer.put_f64(value);
    }

    /// Sixteen bytes.
    pub fn uuid(&mut self, value: Uuid) {
        self.buffer.extend_from_slice(&value.0);
    }

    /// An unsigned variable-length integer.
    pub fn uvarint(&mut self, value: u32) {
        varint::put_u32(&mut self.buffer, value);
    }

    /// A zigzag variable-length integer of 32 bits.
    pub fn varint(&mut self, value: i32) {
        varint::put_i32(&mut self.buffer, value);
    }

    /// A zigzag variable-length integer of 64 bits.
    pub fn varlong(&mut self, value: i64) {
        varint::put_i64(&mut self.buffer, value);
    }

    /// A length, a count, or null.
    fn length(&mut self, flexible: bool, short_form: bool, length: Option<usize>) -> Written {
        let limit = if short_form { i16::MAX as usize } else { i32::MAX as usize - 1 };
        if let Some(length) = length.filter(|length| *length > limit) {
            return Err(EncodeError::TooLong { field: self.field, length });
        }
        match (flexible, short_form) {
            (true, _) => self.uvarint(length.map_or(0, |length| length as u32 + 1)),
            (false, true) => self.i16(length.map_or(-1, |length| length as i16)),
            (false, false) => self.i32(length.map_or(-1, |length| length as i32)),
        }
        Ok(())
    }

    fn null(&mut self, flexible: bool, short_form: bool, nullable: bool) -> Written {
        if !nullable {
            return Err(EncodeError::Null { field: self.field });
        }
        self.length(flexible, short_form, None)
    }

    /// A string.
    pub fn string(&mut self, flexible: bool, value: &Str) -> Written {
        self.length(flexible, true, Some(value.as_bytes().len()))?;
        self.buffer.extend_from_slice(value.as_bytes());
        Ok(())
    }

    /// A string or null.
    pub fn nullable_string(&mut self, flexible: bool, nullable: bool, value: Option<&Str>) -> Written {
        match value {
            Some(value) => self.string(flexible, value),
            None => self.null(flexible, true, nullable),
        }
    }

    /// A byte array.
    pub fn bytes(&mut self, flexible: bool, value: &Bytes) -> Written {
        self.length(flexible, false, Some(value.len()))?;
        self.share(value.clone());
        Ok(())
    }

    /// A byte array or null.
    pub fn nullable_bytes(&mut self, flexible: bool, nullable: bool, value: Option<&Bytes>) -> Written {
        match value {
            Some(value) => self.bytes(flexible, value),
            None => self.null(flexible, false, nullable),
        }
    }

    /// Record batches, or null.
    pub fn nullable_records(&mut self, flexible: bool, nullable: bool, value: Option<&Chunks>) -> Written {
        match value {
            Some(value) => {
                self.length(flexible, false, Some(value.len()))?;
                // Small pieces too: a batch's own prefix, copied here, would pin this buffer in the log of whoever keeps it.
                value.iter().for_each(|piece| self.push(piece.clone()));
                Ok(())
            }
            None => self.null(flexible, false, nullable),
        }
    }

    /// An array.
    pub fn array<T>(
        &mut self,
        flexible: bool,
        value: &[T],
        mut element: impl FnMut(&mut Self, &T) -> Written,
    ) -> Written {
        self.length(flexible, false, Some(value.len()))?;
        value.iter().try_for_each(|x| element(self, x))
    }

    /// An array or null.
    pub fn nullable_array<T>(
        &mut self,
        flexible: bool,
        nullable: bool,
        value: Option<&[T]>,
        element: impl FnMut(&mut Self, &T) -> Written,
    ) -> Written {
        match value {
            Some(value) => self.array(flexible, value, element),
            None => self.null(flexible, false, nullable),
        }
    }

    /// A struct, or null: a byte tells which. Among tagged fields 0 is null, elsewhere -1.
    pub fn nullable_struct<T>(
        &mut self,
        tagged: bool,
        nullable: bool,
        value: Option<&T>,
        write: impl FnOnce(&mut Self, &T) -> Written,
    ) -> Written {
        match value {
            Some(value) => {
                self.i8(1);
                write(self, value)
            }
            None if nullable => {
                self.i8(if tagged { 0 } else { -1 });
                Ok(())
            }
            None => Err(EncodeError::Null { field: self.field }),
        }
    }

    /// How many tagged fields follow.
    pub fn tag_count(&mut self, count: usize) {
        self.uvarint(count as u32);
    }

    /// One tagged field with the size of what `write` writes.
    pub fn tagged(&mut self, tag: u32, write: impl FnOnce(&mut Self) -> Written) -> Written {
        let mut inner = Self { field: self.field, ..Self::new() };
        write(&mut inner)?;
        self.raw(tag, inner.finish())
    }

    fn raw(&mut self, tag: u32, data: Chunks) -> Written {
        self.uvarint(tag);
        if data.len() > i32::MAX as usize {
            return Err(EncodeError::TooLong { field: self.field, length: data.len() });
        }
        self.uvarint(data.len() as u32);
        self.share_rope(data);
        Ok(())
    }

    /// Writes the unknown tagged fields below `tag` and returns the others.
    pub fn unknown_tags_below<'a>(
        &mut self,
        fields: &'a [RawTaggedField],
        tag: u32,
    ) -> Result<&'a [RawTaggedField], EncodeError> {
        let cut = fields.partition_point(|field| field.tag < tag);
        if fields.get(cut).is_some_and(|field| field.tag == tag) {
            return Err(EncodeError::TagOrder { field: self.field });
        }
        self.unknown_tags(&fields[..cut])?;
        Ok(&fields[cut..])
    }

    /// Writes unknown tagged fields.
    pub fn unknown_tags(&mut self, fields: &[RawTaggedField]) -> Written {
        if !fields.is_sorted_by(|a, b| a.tag < b.tag) {
            return Err(EncodeError::TagOrder { field: self.field });
        }
        fields.iter().try_for_each(|field| self.raw(field.tag, field.data.clone().into()))
    }

    /// Error if there are unknown tagged fields, for a version that has no place for them.
    pub fn no_unknown_tags(&mut self, fields: &[RawTaggedField], version: i16) -> Written {
        if fields.is_empty() { Ok(()) } else { Err(EncodeError::Absent { field: "unknown tagged fields", version }) }
    }
}
