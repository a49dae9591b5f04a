//! The value of a record: the number of its send, then bytes that follow from the number.
//!
//! ```text
//!   0..8   the send's id, big-endian
//!   8..    bytes of a generator seeded by the id: a cut, shifted or mixed value does not read back
//! ```

use bytes::{BufMut, Bytes, BytesMut};

use crate::history::Value;

/// The smallest value.
pub const SIZE_MIN: usize = 16;

/// The value of send `id` with `size` bytes.
pub fn make(id: u64, size: usize) -> Bytes {
    let mut out = BytesMut::with_capacity(size.max(SIZE_MIN));
    out.put_u64(id);
    let mut state = id;
    while out.len() < size.max(SIZE_MIN) {
        let word = next(&mut state).to_be_bytes();
        let room = size.max(SIZE_MIN) - out.len();
        out.put_slice(&word[..room.min(8)]);
    }
    out.freeze()
}

/// Which send wrote these bytes; `size_of` says how large the value of a send was.
pub fn read(bytes: &[u8], size_of: impl FnOnce(u64) -> Option<usize>) -> Value {
    let Some((head, mut rest)) = bytes.split_first_chunk::<8>() else { return Value::Foreign };
    let id = u64::from_be_bytes(*head);
    if size_of(id).map(|size| size.max(SIZE_MIN)) != Some(bytes.len()) {
        return Value::Foreign;
    }
    let mut state = id;
    while !rest.is_empty() {
        let word = next(&mut state).to_be_bytes();
        let (here, more) = rest.split_at(rest.len().min(8));
        if *here != word[..here.len()] {
            return Value::Foreign;
        }
        rest = more;
    }
    Value::Of(id)
}

/// SplitMix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_value_reads_back_and_a_changed_one_does_not(id in 0u64..1_000_000, size in 1usize..200, at in 0usize..200, bit in 0u8..8) {
            let value = make(id, size);
            prop_assert_eq!(value.len(), size.max(SIZE_MIN));
            prop_assert_eq!(read(&value, |_| Some(size)), Value::Of(id));
            let mut spoilt = value.to_vec();
            let at = at % spoilt.len();
            spoilt[at] ^= 1 << bit;
            prop_assert_eq!(read(&spoilt, |other| (other == id).then_some(size)), Value::Foreign);
            prop_assert_eq!(read(&value[..value.len() - 1], |_| Some(size)), Value::Foreign);
        }
    }
}
