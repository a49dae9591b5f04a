//! Named streams of random numbers: one seed, one stream a name, none disturbed by the others.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The seed of a world; gives every name its stream.
#[derive(Clone, Copy)]
pub(crate) struct Streams {
    pub seed: u64,
}

impl Streams {
    /// The stream called `name`, from its start.
    pub fn get(self, name: &str) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(hash(name));
        rng
    }
}

/// The stream called `name` of a seed, from its start: for plans that are drawn before there is a world.
pub fn stream(seed: u64, name: &str) -> ChaCha8Rng {
    Streams { seed }.get(name)
}

/// A number below `n`, from one draw (multiply and shift: the bias is below 2^-64 · n).
pub fn below(rng: &mut ChaCha8Rng, n: u64) -> u64 {
    ((u128::from(rng.next_u64()) * u128::from(n)) >> 64) as u64
}

/// Whether something with a chance of `share` parts per million happens.
pub(crate) fn strikes(rng: &mut ChaCha8Rng, share: u32) -> bool {
    below(rng, 1_000_000) < u64::from(share)
}

/// FNV-1a with a finalizer. Pinned: changing it changes what every seed means.
pub(crate) fn hash(name: &str) -> u64 {
    let mut h: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in name.bytes() {
        h = (h ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    h = (h ^ (h >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    h = (h ^ (h >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    h ^ (h >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_always_means_the_same_stream() {
        assert_eq!(hash("net/a/b"), 2_928_849_341_093_152_680);
        let streams = Streams { seed: 42 };
        let mut rng = streams.get("net/a/b");
        assert_eq!(rng.next_u64(), streams.get("net/a/b").next_u64());
        assert_ne!(streams.get("net/a/b").next_u64(), streams.get("net/b/a").next_u64());
    }
}
