//! Look-ups by time: from a timestamp to where a scan begins.

use protocol::{Offset, Timestamp};

use super::Log;

/// Where the newest record is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Newest {
    /// No record has a timestamp.
    Nowhere,
    /// In the batch that ends with `offset`, and in none before; it may be assigned only, not written yet.
    At {
        /// The largest timestamp.
        timestamp: Timestamp,
        /// The batch's last offset.
        offset: Offset,
    },
    /// The newest of the first segment lies below the log's start: only a scan can tell.
    Hidden,
}

impl Log {
    /// Where to look for the first record at or above `from` that is not older than `timestamp`: an offset at or above `from`, with no
    /// such record before it. `None` if there is none at all. To be asked again at the end of a segment.
    pub fn seek(&self, timestamp: Timestamp, from: Offset) -> Option<Offset> {
        let has = |largest: Option<::log::TimeEntry>| largest.is_some_and(|entry| entry.timestamp >= timestamp);
        let later = self.segments.iter().skip_while(|segment| segment.end <= from);
        let segment = later.into_iter().find(|segment| has(segment.time.largest()))?;
        Some(from.max(segment.time.lookup(timestamp)))
    }

    /// Where the first of the newest records is.
    pub fn newest(&self) -> Newest {
        let largest = |segment: &crate::segment::Segment| segment.time.largest();
        if let Some(first) = largest(&self.segments[0])
            && first.offset < self.log_start_offset
        {
            return Newest::Hidden;
        }
        let mut newest: Option<::log::TimeEntry> = None;
        for entry in self.segments.iter().filter_map(largest) {
            if newest.is_none_or(|newest| entry.timestamp > newest.timestamp) {
                newest = Some(entry);
            }
        }
        newest.map_or(Newest::Nowhere, |entry| Newest::At { timestamp: entry.timestamp, offset: entry.offset })
    }
}
