//! Maps that know their committed past.
//!
//! A machine that replicates its state through a log acts on what it has written, answers with what is committed, and
//! goes back when it loses the log. [`TimelineMap`] and [`TimelineValue`] hold such state: each write carries the offset
//! of the record that made it; [`TimelineMap::get`] reads the newest, [`TimelineMap::get_committed`] the state as of the
//! last committed offset; [`TimelineMap::commit`] moves that offset, [`TimelineMap::revert`] forgets what is above one.
//!
//! ```text
//!   offset      3        5        6        9
//!   key a     a = 1             a = 2    removed
//!                       ^ committed               get(a) = none, get_committed(a) = 1
//! ```
//!
//! A map costs a plain B-tree plus one journal entry for each uncommitted write. Deliberately absent: snapshots at
//! arbitrary offsets below the committed one (nobody reads them), and interior mutability.

mod map;
mod value;

pub use map::TimelineMap;
pub use value::TimelineValue;
