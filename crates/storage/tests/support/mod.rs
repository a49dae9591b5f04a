//! What the tests of this crate share: a disk in memory that crashes, a driver of one log, and batches.

#![allow(dead_code, reason = "each test uses a part")]

pub mod disk;
pub mod driver;
pub mod model;
pub mod oracle;
pub mod producers;

use protocol::batch::{Batch, BatchBuilder, Codec};
use protocol::{LeaderEpoch, Offset, Timestamp};

/// A small generator of its own, so that a printed seed is all that a case needs.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0xd1b5_4a32_d192_ed03)
    }

    /// splitmix64
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    pub fn chance(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }

    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len() as u64) as usize]
    }
}

/// The host's time.
pub const NOW: Timestamp = Timestamp(1_700_000_000_500);

/// A batch of `records` records with values of `bytes` bytes, for offset `base`; of one of a few producers, or of none.
pub fn batch(base: i64, epoch: i32, records: usize, bytes: usize, seed: u64) -> Batch {
    // Within a second, in no order; now and then without.
    let time = if seed.is_multiple_of(29) { -1 } else { 1_700_000_000_000 + (seed % 1000).cast_signed() };
    batch_at(time, base, epoch, records, bytes, seed)
}

/// With all timestamps `time`.
pub fn batch_at(time: i64, base: i64, epoch: i32, records: usize, bytes: usize, seed: u64) -> Batch {
    let mut random = Random::new(seed);
    let mut builder = BatchBuilder::new(Codec::None).at(Offset(base), LeaderEpoch(epoch));
    let mut chosen = Random::new(!seed);
    if !chosen.chance(3) {
        let (id, epoch) = (chosen.below(3), u64::from(chosen.chance(8)));
        builder = builder.producer(id as i64, epoch as i16, (chosen.next() >> 33) as i32);
    }
    for _ in 0..records {
        let value: Vec<u8> = (0..bytes).map(|_| random.next() as u8).collect();
        builder.append(Timestamp(time), None, Some(value.into()), &[]);
    }
    builder.build().expect("small batches can be built")
}
