//! Which of a log's oldest segments go (Kafka: `UnifiedLog.deleteOldSegments`).

use protocol::{Offset, Timestamp};

/// What a log may keep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention {
    /// `cleanup.policy` has `delete`. If not, only what lies below the log's start goes.
    pub delete: bool,
    /// `retention.ms`; negative: for ever.
    pub ms: i64,
    /// `retention.bytes`; negative: without bound.
    pub bytes: i64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { delete: true, ms: 7 * 24 * 3_600_000, bytes: -1 }
    }
}

/// One segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentFacts {
    /// The offset after its last.
    pub end: Offset,
    /// Bytes.
    pub size: u64,
    /// The largest timestamp of its records; where they have none, when it was last known to be written.
    pub newest: Timestamp,
}

/// Why the log's start moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expiry {
    /// More than `retention.bytes` are left without the segment.
    Size,
    /// Its newest record is older than `retention.ms`.
    Time,
}

/// Where the log begins once all that is too much or too old is gone, and why the last segment of it went; `None` if nothing
/// goes. `segments` are all of the log, oldest first; the answer is the end of one of them.
///
/// The oldest go first, and the first that stays ends it: one record stamped ahead keeps its segment and all behind. What lies at
/// or above `high_watermark` stays, so that the log's start cannot pass it. The last segment goes too, unless it is empty. Size is
/// looked at first; whole segments go, so as much as `retention.bytes` stays.
pub fn expired(
    segments: &[SegmentFacts],
    retention: Retention,
    log_start: Offset,
    high_watermark: Offset,
    now: Timestamp,
) -> Option<(Offset, Expiry)> {
    if !retention.delete {
        return None;
    }
    // What lies below the start already takes room until it is removed, and is removed first.
    let gone = segments.iter().take_while(|segment| segment.end <= log_start && segment.size > 0).count();
    let deletable = |segment: &SegmentFacts| segment.end <= high_watermark && segment.size > 0;
    let mut left = segments[gone.min(segments.len())..].iter().peekable();
    let mut found = None;
    if let Ok(bytes_max) = u64::try_from(retention.bytes) {
        let mut size: u64 = left.clone().map(|segment| segment.size).sum();
        while let Some(segment) = left.next_if(|segment| deletable(segment) && size - segment.size >= bytes_max) {
            size -= segment.size;
            found = Some((segment.end, Expiry::Size));
        }
    }
    if retention.ms >= 0 {
        let old = |segment: &SegmentFacts| now.0.saturating_sub(segment.newest.0) > retention.ms;
        while let Some(segment) = left.next_if(|segment| deletable(segment) && old(segment)) {
            found = Some((segment.end, Expiry::Time));
        }
    }
    found.filter(|(start, _)| *start > log_start)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);
    const KEEP: Retention = Retention { delete: true, ms: -1, bytes: -1 };

    /// Segments of ten offsets and 100 bytes, each with the age of its newest record.
    fn segments(ages: &[i64]) -> Vec<SegmentFacts> {
        let facts = |(number, age): (usize, &i64)| SegmentFacts {
            end: Offset(10 * (number as i64 + 1)),
            size: 100,
            newest: Timestamp(NOW.0 - age),
        };
        ages.iter().enumerate().map(facts).collect()
    }

    fn start(segments: &[SegmentFacts], retention: Retention, high_watermark: i64) -> Option<i64> {
        expired(segments, retention, Offset(0), Offset(high_watermark), NOW).map(|found| found.0.0)
    }

    #[test]
    fn what_is_older_goes_and_the_first_that_is_not_keeps_all_behind() {
        let ms = |ms| Retention { ms, ..KEEP };
        let logs = segments(&[900, 800, -50, 700, 0]);
        assert_eq!(start(&logs, ms(799), 50), Some(20), "one record in the future pins what is behind");
        assert_eq!(start(&logs, ms(800), 50), Some(10), "as old as retention.ms is not older");
        assert_eq!(start(&logs, ms(900), 50), None);
        assert_eq!(start(&logs, ms(-1), 50), None, "for ever");
    }

    #[test]
    fn the_segment_that_is_appended_to_goes_too() {
        assert_eq!(start(&segments(&[900, 900]), Retention { ms: 0, ..KEEP }, 20), Some(20));
        let mut empty = segments(&[900, 0]);
        empty[1].size = 0;
        assert_eq!(start(&empty, Retention { ms: 0, ..KEEP }, 10), Some(10), "unless it is empty");
    }

    #[test]
    fn at_least_as_many_bytes_as_retention_bytes_stay() {
        let bytes = |bytes| Retention { bytes, ..KEEP };
        let logs = segments(&[0, 0, 0, 0]);
        assert_eq!(start(&logs, bytes(400), 40), None);
        assert_eq!(start(&logs, bytes(301), 40), None);
        assert_eq!(start(&logs, bytes(300), 40), Some(10));
        assert_eq!(start(&logs, bytes(0), 40), Some(40));
    }

    #[test]
    fn nothing_goes_that_is_not_committed() {
        let logs = segments(&[900, 900, 900]);
        assert_eq!(start(&logs, Retention { ms: 0, ..KEEP }, 29), Some(20));
        assert_eq!(start(&logs, Retention { ms: 0, bytes: 0, ..KEEP }, 9), None);
    }

    #[test]
    fn time_goes_on_where_size_has_ended() {
        let logs = segments(&[0, 900, 0]);
        let both = Retention { ms: 800, bytes: 200, ..KEEP };
        assert_eq!(expired(&logs, both, Offset(0), Offset(30), NOW), Some((Offset(20), Expiry::Time)));
    }

    #[test]
    fn a_compacted_log_keeps_what_is_old() {
        assert_eq!(start(&segments(&[900]), Retention { delete: false, ms: 0, bytes: 0 }, 10), None);
    }

    #[test]
    fn what_lies_below_the_start_is_not_counted_again() {
        let logs = segments(&[900, 0, 0, 0]);
        let bytes = Retention { bytes: 300, ..KEEP };
        assert_eq!(expired(&logs, bytes, Offset(10), Offset(40), NOW), None, "300 bytes are left without it");
        assert_eq!(expired(&logs, Retention { ms: 800, ..KEEP }, Offset(15), Offset(40), NOW), None);
    }
}
