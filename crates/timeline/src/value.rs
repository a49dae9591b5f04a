//! [`TimelineValue`]: one value whose uncommitted writes can be taken back.

use std::collections::VecDeque;

use protocol::Offset;

/// One value that can be read as of now and as of its committed offset.
#[derive(Clone, Debug)]
pub struct TimelineValue<T> {
    /// As of `committed`.
    stable: T,
    /// Writes above `committed`, oldest first.
    /// Invariant: offsets strictly rise and are all above `committed`.
    pending: VecDeque<(Offset, T)>,
    committed: Offset,
}

impl<T: Default> Default for TimelineValue<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> TimelineValue<T> {
    /// A value that was `initial` before every offset.
    pub fn new(initial: T) -> Self {
        Self { stable: initial, pending: VecDeque::new(), committed: Offset::NONE }
    }

    /// Sets it by the record at offset `at`.
    ///
    /// # Panics
    /// If `at` is committed already or below an earlier write.
    pub fn set(&mut self, at: Offset, value: T) {
        assert!(at > self.committed, "write at offset {at}, committed already: {}", self.committed);
        match self.pending.back_mut() {
            Some((newest, last)) if *newest == at => *last = value,
            Some((newest, _)) if *newest > at => panic!("write at offset {at} after one at {newest}"),
            _ => self.pending.push_back((at, value)),
        }
    }

    /// What it is now, committed or not.
    pub fn get(&self) -> &T {
        self.pending.back().map_or(&self.stable, |(_, value)| value)
    }

    /// What it was as of the committed offset.
    pub fn get_committed(&self) -> &T {
        &self.stable
    }

    /// Makes everything at or below `offset` final. An offset below the committed one changes nothing.
    pub fn commit(&mut self, offset: Offset) {
        self.committed = self.committed.max(offset);
        while self.pending.front().is_some_and(|(at, _)| *at <= offset) {
            self.stable = self.pending.pop_front().expect("looked at just now").1;
        }
    }

    /// Forgets every write above `to`.
    ///
    /// # Panics
    /// If `to` is below the committed offset.
    pub fn revert(&mut self, to: Offset) {
        assert!(to >= self.committed, "revert to offset {to}, below what is committed: {}", self.committed);
        while self.pending.back().is_some_and(|(at, _)| *at > to) {
            self.pending.pop_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_goes_back_to_what_it_was_at_the_offset() {
        let mut value = TimelineValue::new(0);
        value.set(Offset(1), 1);
        value.set(Offset(4), 4);
        value.commit(Offset(2));
        assert_eq!((*value.get(), *value.get_committed()), (4, 1));
        value.revert(Offset(3));
        assert_eq!((*value.get(), *value.get_committed()), (1, 1));
        value.set(Offset(3), 3);
        value.commit(Offset(9));
        assert_eq!((*value.get(), *value.get_committed()), (3, 3));
    }

    #[test]
    #[should_panic(expected = "committed already")]
    fn a_committed_offset_takes_no_write() {
        let mut value = TimelineValue::new(0);
        value.commit(Offset(2));
        value.set(Offset(2), 1);
    }
}
