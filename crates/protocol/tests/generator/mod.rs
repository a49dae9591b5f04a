//! Random instances of every generated message, from a seed.

use protocol::codec::RawTaggedField;
use protocol::{Bytes, Chunks, Message, Str, Uuid};

/// A stream of random numbers (splitmix64), and how deep in a message it is.
pub struct Generator {
    state: u64,
}

impl Generator {
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// Any number, edges more often.
    fn number(&mut self) -> i64 {
        match self.below(6) {
            0 => 0,
            1 => -1,
            2 => i64::MAX,
            3 => i64::MIN,
            4 => self.below(300) as i64,
            _ => self.next() as i64,
        }
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        let length = match self.below(8) {
            0 => 0,
            1 => 127,
            2 => 128,
            _ => self.below(most),
        };
        (0..length).map(|_| self.next() as u8).collect()
    }

    /// Unknown tagged fields, seldom, with tags above all known ones.
    pub fn tags(&mut self) -> Vec<RawTaggedField> {
        let count = if self.below(4) == 0 { self.below(3) } else { 0 };
        let mut tag = 100;
        (0..count)
            .map(|_| {
                tag += 1 + self.below(200) as u32;
                RawTaggedField { tag, data: self.bytes(9).into() }
            })
            .collect()
    }
}

pub trait Random: Sized {
    fn random(g: &mut Generator, v: i16) -> Self;
}

macro_rules! numbers {
    ($($ty:ty)*) => { $(impl Random for $ty {
        fn random(g: &mut Generator, _v: i16) -> Self {
            g.number() as Self
        }
    })* };
}
numbers!(i8 i16 u16 i32 u32 i64 f64);

impl Random for bool {
    fn random(g: &mut Generator, _v: i16) -> Self {
        g.below(2) == 1
    }
}

impl Random for Uuid {
    fn random(g: &mut Generator, _v: i16) -> Self {
        if g.below(3) == 0 { Self::ZERO } else { Self::from_halves(g.next(), g.next()) }
    }
}

impl Random for Str {
    fn random(g: &mut Generator, _v: i16) -> Self {
        String::from_utf8_lossy(&g.bytes(20)).as_ref().into()
    }
}

impl Random for Bytes {
    fn random(g: &mut Generator, _v: i16) -> Self {
        g.bytes(1200).into()
    }
}

impl Random for Chunks {
    fn random(g: &mut Generator, _v: i16) -> Self {
        (0..g.below(3)).map(|_| Bytes::from(g.bytes(1200))).collect()
    }
}

impl<T: Random> Random for Vec<T> {
    fn random(g: &mut Generator, v: i16) -> Self {
        (0..g.below(3)).map(|_| T::random(g, v)).collect()
    }
}

impl<T: Random> Random for Option<T> {
    fn random(g: &mut Generator, v: i16) -> Self {
        (g.below(4) > 0).then(|| T::random(g, v))
    }
}

/// Called with the type of every generated message.
pub trait EveryMessage {
    fn visit<M: Message + Random + PartialEq + std::fmt::Debug>(&mut self);
}

mod generated {
    #![allow(unused, clippy::all, reason = "generated")]

    use super::*;

    include!(concat!(env!("OUT_DIR"), "/random.rs"));
}

pub use generated::with_every_message;
