//! Reads values from a rope of bytes.
//!
//! Strings, byte arrays and records are slices that share the rope's buffers. A count or a length is compared with the
//! bytes left *before* anything is allocated, so that no input asks for more memory than a small multiple of its size.
//! Nothing here panics, whatever the bytes say.

use bytes::Bytes;

use super::{RawTaggedField, varint};
use crate::{Chunks, Str, Uuid};

/// Why bytes are not the message they should be: which message, which field, where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message} version {version}: {problem} at {field}, byte {position}")]
pub struct DecodeError {
    /// The message that was read.
    pub message: &'static str,
    /// Its version.
    pub version: i16,
    /// The field, as `Struct.Field`.
    pub field: &'static str,
    /// Bytes from the start of the decoder's input.
    pub position: usize,
    /// What was wrong.
    pub problem: DecodeProblem,
}

/// What is wrong with the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeProblem {
    /// The bytes end too early.
    #[error("{needed} bytes needed, {left} left")]
    Short {
        /// Bytes that the value needs at least.
        needed: u64,
        /// Bytes that are left.
        left: usize,
    },
    /// A variable-length integer that does not end.
    #[error("a variable-length integer that is too long")]
    Varint,
    /// A length or count below -1, or a string beyond 32767 bytes.
    #[error("the length {0} is not possible")]
    Length(i64),
    /// A null where the version has none.
    #[error("null is not possible here")]
    Null,
    /// A string that is not UTF-8.
    #[error("not UTF-8")]
    Utf8,
    /// A tagged field whose value takes more or fewer bytes than its size says.
    #[error("the tagged field's size is wrong")]
    TagSize,
    /// A version that the message does not have.
    #[error("no such version")]
    Version,
    /// A frame version of a metadata record other than 1.
    #[error("frame version {0}")]
    Frame(u32),
    /// A metadata record id that the schemas do not know.
    #[error("unknown record id {0}")]
    Record(i16),
    /// Bytes behind the last field, where none may be.
    #[error("{0} bytes left over")]
    LeftOver(usize),
}

/// A cursor over a rope of bytes.
#[derive(Debug)]
pub struct Decoder {
    /// The piece at hand; read up to `at`. Invariant: `at <= front.len()`.
    front: Bytes,
    at: usize,
    /// The pieces behind it.
    rest: Chunks,
    /// Bytes of the pieces before `front`.
    passed: usize,
    message: &'static str,
    version: i16,
    field: &'static str,
}

type Read<T> = Result<T, DecodeError>;

impl Decoder {
    /// Reads from the start of `input`.
    pub fn new(input: Chunks) -> Self {
        Self { front: Bytes::new(), at: 0, rest: input, passed: 0, message: "bytes", version: 0, field: "start" }
    }

    /// Bytes left.
    pub fn remaining(&self) -> usize {
        self.front.len() - self.at + self.rest.len()
    }

    /// Bytes read so far.
    pub const fn position(&self) -> usize {
        self.passed + self.at
    }

    /// The next `N` bytes, which stay unread; `None` if there are fewer.
    pub fn peek<const N: usize>(&self) -> Option<[u8; N]> {
        if self.remaining() < N {
            return None;
        }
        let mut out = [0; N];
        let pieces = [&self.front[self.at..]].into_iter().chain(self.rest.iter().map(|piece| &piece[..]));
        let mut from = pieces.flatten();
        out.iter_mut().zip(&mut from).for_each(|(to, byte)| *to = *byte);
        Some(out)
    }

    /// Takes everything that is left.
    pub fn take_rest(&mut self) -> Chunks {
        let mut all = Chunks::new();
        all.push(self.front.slice(self.at..));
        self.passed += self.front.len() + self.rest.len();
        self.front = Bytes::new();
        self.at = 0;
        all.append(std::mem::take(&mut self.rest));
        all
    }

    /// Says which message is read from here on.
    pub fn begin(&mut self, message: &'static str, version: i16) {
        self.message = message;
        self.version = version;
        self.field = "start";
    }

    /// Says which field is read next.
    #[inline]
    pub fn at(&mut self, field: &'static str) {
        self.field = field;
    }

    /// An error at this place.
    #[cold]
    pub fn error(&self, problem: DecodeProblem) -> DecodeError {
        DecodeError {
            message: self.message,
            version: self.version,
            field: self.field,
            position: self.position(),
            problem,
        }
    }

    /// The error for a record id that no schema has.
    #[cold]
    pub fn unknown_record(&self, id: i16) -> DecodeError {
        self.error(DecodeProblem::Record(id))
    }

    /// Error unless everything was read.
    pub fn finish(&self) -> Read<()> {
        match self.remaining() {
            0 => Ok(()),
            left => Err(self.error(DecodeProblem::LeftOver(left))),
        }
    }

    #[cold]
    fn short(&self, needed: u64) -> DecodeError {
        self.error(DecodeProblem::Short { needed, left: self.remaining() })
    }

    /// `N` bytes, from one piece or from several.
    #[inline]
    fn fixed<const N: usize>(&mut self) -> Read<[u8; N]> {
        if let Some(bytes) = self.front.get(self.at..self.at + N) {
            let mut out = [0; N];
            out.copy_from_slice(bytes);
            self.at += N;
            return Ok(out);
        }
        self.fixed_across()
    }

    #[cold]
    fn fixed_across<const N: usize>(&mut self) -> Read<[u8; N]> {
        if self.remaining() < N {
            return Err(self.short(N as u64));
        }
        let mut out = [0; N];
        for byte in &mut out {
            if self.at == self.front.len() {
                self.next_piece();
            }
            *byte = self.front[self.at];
            self.at += 1;
        }
        Ok(out)
    }

    /// Moves to the next piece; the caller knows that there is one.
    fn next_piece(&mut self) {
        self.passed += self.front.len();
        self.front = self.rest.pop().unwrap_or_default();
        self.at = 0;
    }

    /// The next `n` bytes as a rope; the caller knows that they are there.
    fn rope(&mut self, n: usize) -> Chunks {
        let mut out = Chunks::new();
        let mut missing = n;
        while missing > 0 {
            if self.at == self.front.len() {
                self.next_piece();
            }
            let take = missing.min(self.front.len() - self.at);
            out.push(self.front.slice(self.at..self.at + take));
            self.at += take;
            missing -= take;
        }
        out
    }

    /// The next `n` bytes in one piece, shared if they lie in one.
    fn piece(&mut self, n: usize) -> Read<Bytes> {
        if self.at == self.front.len() && !self.rest.is_empty() {
            self.next_piece();
        }
        if n <= self.front.len() - self.at {
            let out = self.front.slice(self.at..self.at + n);
            self.at += n;
            return Ok(out);
        }
        if n > self.remaining() {
            return Err(self.short(n as u64));
        }
        Ok(self.rope(n).into_contiguous())
    }

    /// A byte that is 0 or not.
    pub fn bool(&mut self) -> Read<bool> {
        self.fixed::<1>().map(|[byte]| byte != 0)
    }

    /// A signed byte.
    pub fn i8(&mut self) -> Read<i8> {
        self.fixed().map(i8::from_be_bytes)
    }

    /// Two bytes, signed.
    pub fn i16(&mut self) -> Read<i16> {
        self.fixed().map(i16::from_be_bytes)
    }

    /// Two bytes, unsigned.
    pub fn u16(&mut self) -> Read<u16> {
        self.fixed().map(u16::from_be_bytes)
    }

    /// Four bytes, signed.
    pub fn i32(&mut self) -> Read<i32> {
        self.fixed().map(i32::from_be_bytes)
    }

    /// Four bytes, unsigned.
    pub fn u32(&mut self) -> Read<u32> {
        self.fixed().map(u32::from_be_bytes)
    }

    /// Eight bytes, signed.
    pub fn i64(&mut self) -> Read<i64> {
        self.fixed().map(i64::from_be_bytes)
    }

    /// Eight bytes, IEEE 754.
    pub fn f64(&mut self) -> Read<f64> {
        self.fixed().map(f64::from_be_bytes)
    }

    /// Sixteen bytes.
    pub fn uuid(&mut self) -> Read<Uuid> {
        self.fixed().map(Uuid)
    }

    /// An unsigned variable-length integer.
    pub fn uvarint(&mut self) -> Read<u32> {
        match varint::read_u32(&self.front[self.at..]) {
            Ok((value, size)) => {
                self.at += size;
                Ok(value)
            }
            Err(varint::VarintError::TooLong) => Err(self.error(DecodeProblem::Varint)),
            Err(varint::VarintError::Short) => self.uvarint_across(),
        }
    }

    /// A zigzag variable-length integer of 32 bits.
    pub fn varint(&mut self) -> Read<i32> {
        self.uvarint().map(varint::unzigzag32)
    }

    /// A zigzag variable-length integer of 64 bits.
    pub fn varlong(&mut self) -> Read<i64> {
        if let Ok((value, size)) = varint::read_i64(&self.front[self.at..]) {
            self.at += size;
            return Ok(value);
        }
        let mut value = 0u64;
        for index in 0..10 {
            let [byte] = self.fixed::<1>()?;
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                return Ok(varint::unzigzag64(value));
            }
        }
        Err(self.error(DecodeProblem::Varint))
    }

    /// The next `n` bytes in one piece: shared if they lie in one, else a copy.
    pub fn take(&mut self, n: usize) -> Read<Bytes> {
        self.piece(n)
    }

    #[cold]
    fn uvarint_across(&mut self) -> Read<u32> {
        let mut value = 0u32;
        for index in 0..5 {
            let [byte] = self.fixed::<1>()?;
            value |= u32::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.error(DecodeProblem::Varint))
    }

    /// A length or count: `None` is null. At most the bytes left.
    #[inline]
    fn length(&mut self, flexible: bool, short_form: bool) -> Read<Option<usize>> {
        let length = if flexible {
            i64::from(self.uvarint()?) - 1
        } else if short_form {
            i64::from(self.i16()?)
        } else {
            i64::from(self.i32()?)
        };
        match length {
            -1 => Ok(None),
            _ if length < 0 => Err(self.error(DecodeProblem::Length(length))),
            _ if length as u64 > self.remaining() as u64 => Err(self.short(length as u64)),
            _ => Ok(Some(length as usize)),
        }
    }

    fn or_null<T>(&self, value: Option<T>, nullable: bool) -> Read<Option<T>> {
        if value.is_none() && !nullable { Err(self.error(DecodeProblem::Null)) } else { Ok(value) }
    }

    fn never_null<T>(&self, value: Option<T>) -> Read<T> {
        value.ok_or_else(|| self.error(DecodeProblem::Null))
    }

    /// A string.
    pub fn string(&mut self, flexible: bool) -> Read<Str> {
        let value = self.nullable_string(flexible, true)?;
        self.never_null(value)
    }

    /// A string or null.
    pub fn nullable_string(&mut self, flexible: bool, nullable: bool) -> Read<Option<Str>> {
        let Some(length) = self.length(flexible, true)? else { return self.or_null(None, nullable) };
        if length > i16::MAX as usize {
            return Err(self.error(DecodeProblem::Length(length as i64)));
        }
        let bytes = self.piece(length)?;
        Str::from_utf8(bytes).map(Some).map_err(|_| self.error(DecodeProblem::Utf8))
    }

    /// A byte array.
    pub fn bytes(&mut self, flexible: bool) -> Read<Bytes> {
        let value = self.nullable_bytes(flexible, true)?;
        self.never_null(value)
    }

    /// A byte array or null.
    pub fn nullable_bytes(&mut self, flexible: bool, nullable: bool) -> Read<Option<Bytes>> {
        let Some(length) = self.length(flexible, false)? else { return self.or_null(None, nullable) };
        self.piece(length).map(Some)
    }

    /// Record batches, or null.
    pub fn nullable_records(&mut self, flexible: bool, nullable: bool) -> Read<Option<Chunks>> {
        let Some(length) = self.length(flexible, false)? else { return self.or_null(None, nullable) };
        Ok(Some(self.rope(length)))
    }

    /// An array.
    pub fn array<T>(&mut self, flexible: bool, element: impl FnMut(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        let value = self.nullable_array(flexible, true, element)?;
        self.never_null(value)
    }

    /// An array or null. An element is at least a byte, so a count beyond the bytes left is an error at once.
    pub fn nullable_array<T>(
        &mut self,
        flexible: bool,
        nullable: bool,
        mut element: impl FnMut(&mut Self) -> Read<T>,
    ) -> Read<Option<Vec<T>>> {
        let Some(count) = self.length(flexible, false)? else { return self.or_null(None, nullable) };
        let mut out = Vec::with_capacity(count.min(affordable::<T>(self.remaining())));
        for _ in 0..count {
            out.push(element(self)?);
        }
        Ok(Some(out))
    }

    /// A struct, or null: a byte tells which. Among tagged fields 0 is null, elsewhere -1.
    pub fn nullable_struct<T>(
        &mut self,
        tagged: bool,
        nullable: bool,
        read: impl FnOnce(&mut Self) -> Read<T>,
    ) -> Read<Option<T>> {
        let mark = self.i8()?;
        if mark < 0 || (tagged && mark == 0) {
            return self.or_null(None, nullable);
        }
        read(self).map(Some)
    }

    /// How many tagged fields follow.
    pub fn tag_count(&mut self) -> Read<u32> {
        let count = self.uvarint()?;
        if u64::from(count) * 2 > self.remaining() as u64 {
            return Err(self.short(u64::from(count) * 2));
        }
        Ok(count)
    }

    /// The next tagged field: its tag, and the position of its end.
    pub fn tag(&mut self) -> Read<(u32, usize)> {
        let tag = self.uvarint()?;
        let size = self.uvarint()?;
        if u64::from(size) > self.remaining() as u64 {
            return Err(self.short(u64::from(size)));
        }
        Ok((tag, self.position() + size as usize))
    }

    /// Error unless the tagged field ends here.
    pub fn tag_end(&self, end: usize) -> Read<()> {
        if self.position() == end { Ok(()) } else { Err(self.error(DecodeProblem::TagSize)) }
    }

    /// Keeps a tagged field as it is.
    pub fn unknown_tag(&mut self, tag: u32, end: usize) -> Read<RawTaggedField> {
        let data = self.piece(end - self.position())?;
        Ok(RawTaggedField { tag, data })
    }
}

/// How many elements are made room for before any is read. What a lying count may cost in memory is not more than the
/// bytes that came with it, or one page.
fn affordable<T>(remaining: usize) -> usize {
    remaining.max(4096) / size_of::<T>().max(1)
}

impl From<Chunks> for Decoder {
    fn from(input: Chunks) -> Self {
        Self::new(input)
    }
}

impl From<Bytes> for Decoder {
    fn from(input: Bytes) -> Self {
        Self { front: input, ..Self::new(Chunks::new()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_never_costs_more_memory_than_its_bytes_or_a_page() {
        for remaining in [0, 20, 5000, 100 << 20] {
            assert!(affordable::<[u8; 300]>(remaining) * 300 <= remaining.max(4096));
            assert!(affordable::<()>(remaining) <= remaining.max(4096));
        }
    }

    #[test]
    fn values_lie_across_pieces_and_ropes_keep_their_place() {
        let bytes: Vec<u8> = (0..40).collect();
        let mut input = Decoder::new(bytes.chunks(3).map(Bytes::copy_from_slice).collect());
        assert_eq!(input.i32(), Ok(0x0001_0203));
        assert_eq!(input.peek::<3>(), Some([4, 5, 6]));
        assert_eq!(input.take(5).map(|piece| piece.to_vec()), Ok(vec![4, 5, 6, 7, 8]));
        assert_eq!((input.position(), input.remaining()), (9, 31));
        assert_eq!(input.take_rest().to_vec(), bytes[9..]);
        assert_eq!((input.position(), input.remaining(), input.peek::<1>()), (40, 0, None));
        assert!(input.i8().is_err());
    }
}
