//! When a segment ends and the next begins (Kafka: `LogSegment.shouldRoll`).

use protocol::{Offset, Timestamp};

/// What bounds a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RollLimits {
    /// `segment.bytes`.
    pub segment_bytes: u64,
    /// `segment.ms`, less the segment's share of `segment.jitter.ms`.
    pub segment_ms: i64,
}

/// The segment that is appended to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ActiveSegment {
    /// Its first offset.
    pub base: Offset,
    /// Bytes in it.
    pub size: u64,
    /// The largest timestamp of its first batch; [`Timestamp::NONE`] if that has none.
    pub first: Timestamp,
    /// When it was begun, by the host's clock.
    pub begun: Timestamp,
    /// Whether an index has no room for another entry.
    pub index_full: bool,
}

/// Batches that come together: they are not parted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Incoming {
    /// Bytes of all.
    pub bytes: u64,
    /// The last offset.
    pub last: Offset,
    /// Their largest timestamp; [`Timestamp::NONE`] if they have none.
    pub newest: Timestamp,
}

/// Why a segment ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Roll {
    /// It would become larger than `segment.bytes`.
    Size,
    /// By the records' time it is older than `segment.ms`.
    Time,
    /// An index is full.
    Index,
    /// The last offset would be too far from the base for four bytes.
    Offsets,
}

/// Whether a new segment must begin before `incoming` is appended. Time is that of the records: an idle segment never ends by it,
/// and a batch stamped far ahead ends it at once. Only segments and batches without timestamps go by the host's clock, `now`.
pub fn must_roll(limits: RollLimits, active: &ActiveSegment, incoming: &Incoming, now: Timestamp) -> Option<Roll> {
    if active.size > 0 && active.size.saturating_add(incoming.bytes) > limits.segment_bytes {
        return Some(Roll::Size);
    }
    let age = if active.first.0 >= 0 && incoming.newest.0 >= 0 {
        incoming.newest.0.saturating_sub(active.first.0)
    } else {
        now.0.saturating_sub(active.begun.0)
    };
    if active.size > 0 && age > limits.segment_ms {
        return Some(Roll::Time);
    }
    if active.size > 0 && active.index_full {
        return Some(Roll::Index);
    }
    let far = incoming.last.0 - active.base.0 > i64::from(i32::MAX);
    (active.size > 0 && far).then_some(Roll::Offsets)
}

/// The share of `segment.jitter.ms` (never more than `segment.ms`) that the segment of `base` in `log` ends earlier, so that many logs
/// begun together do not roll together. Kafka draws it; here it follows from the name, and is the same after a restart.
pub fn jitter(log: &str, base: Offset, segment_jitter_ms: i64, segment_ms: i64) -> i64 {
    let bound = segment_jitter_ms.min(segment_ms);
    if bound <= 0 {
        return 0;
    }
    // FNV-1a, and the finalizer of splitmix64.
    let named = log.bytes().chain(base.0.to_be_bytes());
    let hash =
        named.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((hash ^ (hash >> 31)) % bound.unsigned_abs()).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: RollLimits = RollLimits { segment_bytes: 1000, segment_ms: 100 };

    fn active(size: u64) -> ActiveSegment {
        ActiveSegment { base: Offset(10), size, first: Timestamp(500), begun: Timestamp(9_000), index_full: false }
    }

    fn incoming(bytes: u64, newest: i64) -> Incoming {
        Incoming { bytes, last: Offset(20), newest: Timestamp(newest) }
    }

    fn roll(active: ActiveSegment, incoming: Incoming, now: i64) -> Option<Roll> {
        must_roll(LIMITS, &active, &incoming, Timestamp(now))
    }

    #[test]
    fn an_append_does_not_straddle_two_segments() {
        assert_eq!(roll(active(900), incoming(100, 500), 0), None);
        assert_eq!(roll(active(900), incoming(101, 500), 0), Some(Roll::Size));
        assert_eq!(roll(active(0), incoming(2000, 500), 0), None, "an empty segment takes what there is");
    }

    #[test]
    fn time_is_that_of_the_records() {
        assert_eq!(roll(active(1), incoming(1, 600), 1 << 40), None, "however late it is");
        assert_eq!(roll(active(1), incoming(1, 601), 0), Some(Roll::Time));
        assert_eq!(roll(active(0), incoming(1, 601), 0), None);
    }

    #[test]
    fn without_timestamps_time_is_the_hosts() {
        assert_eq!(roll(active(1), incoming(1, -1), 9_100), None);
        assert_eq!(roll(active(1), incoming(1, -1), 9_101), Some(Roll::Time));
        let first = ActiveSegment { first: Timestamp::NONE, ..active(1) };
        assert_eq!(roll(first, incoming(1, 1 << 40), 9_100), None);
    }

    #[test]
    fn a_full_index_and_a_far_offset_end_a_segment() {
        let full = ActiveSegment { index_full: true, ..active(1) };
        assert_eq!(roll(full, incoming(1, 500), 0), Some(Roll::Index));
        let last = |last| Incoming { last: Offset(last), ..incoming(1, 500) };
        assert_eq!(roll(active(1), last(10 + i64::from(i32::MAX)), 0), None);
        assert_eq!(roll(active(1), last(11 + i64::from(i32::MAX)), 0), Some(Roll::Offsets));
    }

    #[test]
    fn jitter_differs_between_logs_and_segments_and_keeps_below_its_bound() {
        let draw = |log: &str, base| jitter(log, Offset(base), 1000, 5000);
        let draws: std::collections::BTreeSet<_> = (0..50).map(|n| draw(&format!("t-{n}"), 0)).collect();
        assert!(draws.len() > 40, "{draws:?}");
        assert_ne!(draw("t-0", 0), draw("t-0", 1));
        assert!(draws.iter().all(|draw| (0..1000).contains(draw)));
        assert!((0..50).all(|base| jitter("t-0", Offset(base), 1000, 7) < 7));
        assert_eq!(jitter("t-0", Offset(0), 0, 5000), 0);
    }
}
