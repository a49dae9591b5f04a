//! Variable-length integers: seven bits a byte, the low group first. Signed ones are zigzag encoded.
//!
//! Kafka's limits: a 32-bit one has at most five bytes, a 64-bit one at most ten. What the last byte has too many is
//! dropped, not judged.

use bytes::BufMut;

/// Why a variable-length integer could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum VarintError {
    /// The bytes end within it.
    #[error("the bytes end within a variable-length integer")]
    Short,
    /// It goes on past the last byte it may have.
    #[error("a variable-length integer that is too long")]
    TooLong,
}

/// Reads an unsigned 32-bit integer from the start of `bytes`; returns it and how many bytes it took.
pub fn read_u32(bytes: &[u8]) -> Result<(u32, usize), VarintError> {
    let mut value = 0u32;
    for index in 0..5 {
        let byte = *bytes.get(index).ok_or(VarintError::Short)?;
        value |= u32::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok((value, index + 1));
        }
    }
    Err(VarintError::TooLong)
}

/// Reads an unsigned 64-bit integer from the start of `bytes`; returns it and how many bytes it took.
pub fn read_u64(bytes: &[u8]) -> Result<(u64, usize), VarintError> {
    let mut value = 0u64;
    for index in 0..10 {
        let byte = *bytes.get(index).ok_or(VarintError::Short)?;
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok((value, index + 1));
        }
    }
    Err(VarintError::TooLong)
}

/// Reads a zigzag 32-bit integer.
pub fn read_i32(bytes: &[u8]) -> Result<(i32, usize), VarintError> {
    read_u32(bytes).map(|(value, size)| (unzigzag32(value), size))
}

/// Reads a zigzag 64-bit integer.
pub fn read_i64(bytes: &[u8]) -> Result<(i64, usize), VarintError> {
    read_u64(bytes).map(|(value, size)| (unzigzag64(value), size))
}

/// Writes an unsigned integer of at most 64 bits; returns how many bytes it took.
pub fn write_u64(out: &mut [u8; 10], mut value: u64) -> usize {
    let mut size = 0;
    while value >= 0x80 {
        out[size] = value as u8 | 0x80;
        value >>= 7;
        size += 1;
    }
    out[size] = value as u8;
    size + 1
}

/// Appends an unsigned integer of at most 64 bits.
pub fn put_u64(out: &mut impl BufMut, value: u64) {
    let mut bytes = [0; 10];
    let size = write_u64(&mut bytes, value);
    out.put_slice(&bytes[..size]);
}

/// Appends an unsigned 32-bit integer.
pub fn put_u32(out: &mut impl BufMut, value: u32) {
    put_u64(out, u64::from(value));
}

/// Appends a zigzag 32-bit integer.
pub fn put_i32(out: &mut impl BufMut, value: i32) {
    put_u32(out, zigzag32(value));
}

/// Appends a zigzag 64-bit integer.
pub fn put_i64(out: &mut impl BufMut, value: i64) {
    put_u64(out, zigzag64(value));
}

/// How many bytes an unsigned integer takes.
pub const fn size_u64(value: u64) -> usize {
    match value {
        0 => 1,
        _ => (70 - value.leading_zeros() as usize) / 7,
    }
}

/// How many bytes a zigzag 32-bit integer takes.
pub const fn size_i32(value: i32) -> usize {
    size_u64(zigzag32(value) as u64)
}

/// How many bytes a zigzag 64-bit integer takes.
pub const fn size_i64(value: i64) -> usize {
    size_u64(zigzag64(value))
}

const fn zigzag32(value: i32) -> u32 {
    ((value << 1) ^ (value >> 31)) as u32
}

const fn zigzag64(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

pub(crate) const fn unzigzag32(value: u32) -> i32 {
    (value >> 1) as i32 ^ -((value & 1) as i32)
}

pub(crate) const fn unzigzag64(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}
