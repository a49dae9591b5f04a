//! What two runs of one seed must agree on: a rolling hash over everything that happened.
//!
//! Where two runs part is found in two steps: [`Checkpoint`]s bracket the place, then a second pair of runs keeps every
//! event of that window ([`Recorded`]).

use std::fmt;
use std::hash::Hasher;
use std::ops::Range;

use runtime::Observation;
use runtime::cause::Cause;

use crate::inner::HostId;
use crate::time::Time;

/// 128 bits over (time, host, kind, sizes, batch CRCs, draws) of all events so far.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceHash(pub u128);

impl fmt::Display for TraceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TraceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The hash as it was after some number of events: two lists of these tell where two runs parted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// True time, ns.
    pub at: u64,
    /// How many events had happened.
    pub events: u64,
    /// The hash then.
    pub hash: TraceHash,
}

/// Events between two checkpoints.
pub const CHECKPOINT_EVERY: u64 = 1_000;

/// One event of a recorded window: all that the trace hash saw of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recorded {
    /// Its number in the run, from 1.
    pub id: u64,
    /// True time.
    pub at: Time,
    /// Where; `None` for what concerns the world as a whole.
    pub host: Option<HostId>,
    /// What, in a few words; empty for an observation.
    pub text: String,
    /// The observation, if it is one.
    pub what: Option<Observation>,
    /// The event that led to it, where that is known.
    pub cause: Cause,
    /// The hash before it. It differs between two runs if something differed earlier.
    pub before: TraceHash,
}

/// The rolling hash. Two lanes of multiply-and-fold; a word costs two multiplications.
pub(crate) struct Trace {
    a: u64,
    b: u64,
    pub events: u64,
    pub checkpoints: Vec<Checkpoint>,
    /// Numbers of the events that are kept.
    pub window: Range<u64>,
    pub recorded: Vec<Recorded>,
}

impl Trace {
    pub fn new(seed: u64) -> Self {
        let mut trace = Self {
            a: 0x243f_6a88_85a3_08d3,
            b: 0x1319_8a2e_0370_7344,
            events: 0,
            checkpoints: Vec::new(),
            window: 0..0,
            recorded: Vec::new(),
        };
        trace.word(seed);
        trace
    }

    /// Takes in an event; returns its number, from 1.
    #[inline]
    pub fn event(&mut self, at: u64, host: u32, kind: u8, size: u64) -> u64 {
        if self.window.contains(&(self.events + 1)) {
            self.record(at, host, kind, size);
        }
        self.word(at);
        self.word((u64::from(host) << 48) | (u64::from(kind) << 40) | (size & 0xff_ffff_ffff));
        self.events += 1;
        if self.events.is_multiple_of(CHECKPOINT_EVERY) {
            self.checkpoints.push(Checkpoint { at, events: self.events, hash: self.hash() });
        }
        self.events
    }

    #[cold]
    fn record(&mut self, at: u64, host: u32, kind: u8, size: u64) {
        let host = (host != crate::inner::NOBODY).then_some(HostId(host));
        let text = crate::words::words(kind, size);
        let (id, before) = (self.events + 1, self.hash());
        self.recorded.push(Recorded { id, at: Time(at), host, text, what: None, cause: Cause::NONE, before });
    }

    /// Says what the event was that was taken in last, if it is kept.
    pub fn was(&mut self, cause: Cause, what: &Observation) {
        if let Some(last) = self.recorded.last_mut()
            && last.id == self.events
        {
            last.cause = cause;
            last.what = Some(what.clone());
        }
    }

    #[inline]
    pub fn word(&mut self, x: u64) {
        self.a = fold(self.a ^ x, 0xa076_1d64_78bd_642f);
        self.b = fold(self.b.rotate_left(29) ^ x.wrapping_add(0x9e37_79b9_7f4a_7c15), 0xe703_7ed1_a0b4_28db);
    }

    pub fn hash(&self) -> TraceHash {
        TraceHash((u128::from(self.a) << 64) | u128::from(self.b))
    }
}

#[inline]
fn fold(x: u64, k: u64) -> u64 {
    let product = u128::from(x) * u128::from(k);
    ((product >> 64) as u64) ^ (product as u64) ^ x.rotate_left(17)
}

/// Lets a derived `Hash` feed the trace: the same on every machine of one word size and byte order.
impl Hasher for Trace {
    fn finish(&self) -> u64 {
        self.a ^ self.b
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut pieces = bytes.chunks_exact(8);
        for piece in &mut pieces {
            self.word(u64::from_le_bytes(piece.try_into().expect("eight bytes")));
        }
        let rest = pieces.remainder();
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.word(u64::from_le_bytes(last) ^ ((rest.len() as u64) << 56));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_keeps_its_events_and_changes_no_hash() {
        let of = |window: Range<u64>| {
            let mut trace = Trace::new(1);
            trace.window = window;
            (1..=5).for_each(|at| {
                trace.event(at, 0, 1, 0);
            });
            trace
        };
        let (kept, plain) = (of(2..4), of(0..0));
        assert_eq!(kept.hash(), plain.hash());
        assert_eq!(kept.recorded.iter().map(|event| (event.id, event.at.0)).collect::<Vec<_>>(), [(2, 2), (3, 3)]);
        assert!(plain.recorded.is_empty());
    }

    #[test]
    fn the_hash_sees_order_and_every_field() {
        let of = |events: &[(u64, u32, u8, u64)]| {
            let mut trace = Trace::new(1);
            events.iter().for_each(|&(at, host, kind, size)| {
                trace.event(at, host, kind, size);
            });
            trace.hash()
        };
        let base = of(&[(1, 2, 3, 4), (5, 6, 7, 8)]);
        for other in [
            of(&[(5, 6, 7, 8), (1, 2, 3, 4)]),
            of(&[(2, 2, 3, 4), (5, 6, 7, 8)]),
            of(&[(1, 1, 3, 4), (5, 6, 7, 8)]),
            of(&[(1, 2, 2, 4), (5, 6, 7, 8)]),
            of(&[(1, 2, 3, 5), (5, 6, 7, 8)]),
            of(&[(1, 2, 3, 4)]),
        ] {
            assert_ne!(base, other);
        }
    }
}
