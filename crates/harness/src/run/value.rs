//! The value of a record: the number of its send, then bytes that follow from the number.
//!
//! ```text
//!   0..8   the send's id, big-endian
//!   8..    bytes of a generator seeded by the id: a cut, shifted or mixed value does not read back
//! ```

use bytes::Bytes;

use crate::history::Value;

/// The smallest value.
pub const SIZE_MIN: usize = 16;

/// The value of send `id` with `size` bytes.
pub fn make(id: u64, size: usize) -> Bytes {
    let mut out = vec![0; size.max(SIZE_MIN)];
    let (words, tail) = out.as_chunks_mut::<8>();
    let (head, words) = words.split_first_mut().expect("no value is smaller");
    *head = id.to_be_bytes();
    let mut state = id;
    for word in words {
        *word = next(&mut state).to_be_bytes();
    }
    let last = next(&mut state).to_be_bytes();
    tail.copy_from_slice(&last[..tail.len()]);
    Bytes::from(out)
}

/// Which send wrote these bytes; `size_of` says how large the value of a send was.
pub fn read(bytes: &[u8], size_of: impl FnOnce(u64) -> Option<usize>) -> Value {
    // Word by word: this is done several times with every record.
    let (words, tail) = bytes.as_chunks::<8>();
    let Some((head, words)) = words.split_first() else { return Value::Foreign };
    let id = u64::from_be_bytes(*head);
    if size_of(id).map(|size| size.max(SIZE_MIN)) != Some(bytes.len()) {
        return Value::Foreign;
    }
    let mut state = id;
    if words.iter().any(|word| u64::from_be_bytes(*word) != next(&mut state)) {
        return Value::Foreign;
    }
    let last = next(&mut state).to_be_bytes();
    if *tail == last[..tail.len()] { Value::Of(id) } else { Value::Foreign }
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
