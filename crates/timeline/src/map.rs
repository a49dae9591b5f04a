//! [`TimelineMap`]: an ordered map whose uncommitted writes can be taken back.

use std::borrow::Borrow;
use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeBounds;

use protocol::Offset;

/// An ordered map that can be read as of now and as of its committed offset.
///
/// Writes come in the order of their offsets; several may share one.
#[derive(Clone, Debug)]
pub struct TimelineMap<K, V> {
    /// Invariant: no entry is empty, and none begins with a removal that is final.
    entries: BTreeMap<K, Versions<V>>,
    /// Every write above `committed`, oldest first.
    /// Invariant: offsets never decrease and are all above `committed`.
    journal: VecDeque<(Offset, K)>,
    /// Everything at or below is final. [`Offset::NONE`] before the first commit.
    committed: Offset,
    /// How many keys are present now.
    len: usize,
}

/// The versions of one key, oldest first: the committed one if there is one, then those above it.
#[derive(Clone, Debug)]
struct Versions<V>(Vec<(Offset, Option<V>)>);

impl<V> Versions<V> {
    fn newest(&self) -> Option<&V> {
        self.0.last().and_then(|(_, value)| value.as_ref())
    }

    fn as_of(&self, offset: Offset) -> Option<&V> {
        self.0.iter().rev().find(|(at, _)| *at <= offset).and_then(|(_, value)| value.as_ref())
    }
}

impl<K, V> Default for TimelineMap<K, V> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), journal: VecDeque::new(), committed: Offset::NONE, len: 0 }
    }
}

impl<K: Ord + Clone, V> TimelineMap<K, V> {
    /// An empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key by the record at offset `at`.
    ///
    /// # Panics
    /// If `at` is committed already or below an earlier write.
    pub fn insert(&mut self, at: Offset, key: K, value: V) {
        self.write(at, key, Some(value));
    }

    /// Removes a key by the record at offset `at`; nothing happens if it is absent. Panics as [`Self::insert`] does.
    pub fn remove(&mut self, at: Offset, key: K) {
        if self.get(&key).is_some() {
            self.write(at, key, None);
        }
    }

    fn write(&mut self, at: Offset, key: K, value: Option<V>) {
        assert!(at > self.committed, "write at offset {at}, committed already: {}", self.committed);
        if let Some((newest, _)) = self.journal.back() {
            assert!(at >= *newest, "write at offset {at} after one at {newest}");
        }
        let present = value.is_some();
        let versions = self.entries.entry(key.clone()).or_insert_with(|| Versions(Vec::with_capacity(1)));
        let was_present = versions.newest().is_some();
        match versions.0.last_mut() {
            // Two writes by one record: the journal has the key already.
            Some((newest, last)) if *newest == at => *last = value,
            _ => {
                versions.0.push((at, value));
                self.journal.push_back((at, key));
            }
        }
        self.len = self.len + usize::from(present) - usize::from(was_present);
    }

    /// What `key` is now, committed or not.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.entries.get(key).and_then(Versions::newest)
    }

    /// What `key` was when everything up to the committed offset, and nothing above, had been written.
    pub fn get_committed<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.entries.get(key).and_then(|versions| versions.as_of(self.committed))
    }

    /// Whether `key` is present now.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// Everything as it is now, in the order of keys.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.entries.iter().filter_map(|(key, versions)| Some((key, versions.newest()?)))
    }

    /// What lies in `range` now, in the order of keys.
    pub fn range<Q: Ord + ?Sized, R: RangeBounds<Q>>(&self, range: R) -> impl DoubleEndedIterator<Item = (&K, &V)>
    where
        K: Borrow<Q>,
    {
        self.entries.range(range).filter_map(|(key, versions)| Some((key, versions.newest()?)))
    }

    /// Everything as of the committed offset, in the order of keys.
    pub fn iter_committed(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.entries.iter().filter_map(|(key, versions)| Some((key, versions.as_of(self.committed)?)))
    }

    /// How many keys are present now.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no key is present now.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Up to where everything is final.
    pub fn committed(&self) -> Offset {
        self.committed
    }

    /// Makes everything at or below `offset` final. An offset below the committed one changes nothing.
    pub fn commit(&mut self, offset: Offset) {
        if offset <= self.committed {
            return;
        }
        self.committed = offset;
        while self.journal.front().is_some_and(|(at, _)| *at <= offset) {
            let (_, key) = self.journal.pop_front().expect("looked at just now");
            let Some(versions) = self.entries.get_mut(&key) else {
                continue; // an earlier round of this loop dropped the removed key
            };
            let kept_from = versions.0.iter().rposition(|(at, _)| *at <= offset).unwrap_or(0);
            versions.0.drain(..kept_from);
            // A final removal says nothing that absence does not.
            if versions.0.first().is_some_and(|(at, value)| *at <= offset && value.is_none()) {
                versions.0.remove(0);
            }
            if versions.0.is_empty() {
                self.entries.remove(&key);
            }
        }
    }

    /// Forgets every write above `to`.
    ///
    /// # Panics
    /// If `to` is below the committed offset.
    pub fn revert(&mut self, to: Offset) {
        assert!(to >= self.committed, "revert to offset {to}, below what is committed: {}", self.committed);
        while self.journal.back().is_some_and(|(at, _)| *at > to) {
            let (at, key) = self.journal.pop_back().expect("looked at just now");
            let versions = self.entries.get_mut(&key).expect("a write in the journal has a version");
            let (version, value) = versions.0.pop().expect("a write in the journal has a version");
            assert_eq!(version, at, "the journal and the versions of a key disagree");
            self.len = self.len + usize::from(versions.newest().is_some()) - usize::from(value.is_some());
            if versions.0.is_empty() {
                self.entries.remove(&key);
            }
        }
    }

    /// Panics where a written invariant does not hold.
    pub fn check_invariants(&self) {
        let mut last = self.committed;
        for (at, key) in &self.journal {
            assert!(*at > self.committed, "a committed write is still in the journal");
            assert!(*at >= last, "the journal is out of order");
            last = *at;
            assert!(self.entries.get(key).is_some_and(|versions| versions.0.iter().any(|(version, _)| version == at)));
        }
        for versions in self.entries.values() {
            assert!(!versions.0.is_empty(), "an entry without versions");
            assert!(versions.0.is_sorted_by(|a, b| a.0 < b.0), "versions out of order");
            let final_ones = versions.0.iter().filter(|(at, _)| *at <= self.committed).count();
            assert!(final_ones <= 1, "a superseded version is kept");
            assert!(!matches!(versions.0[0], (at, None) if at <= self.committed), "a final removal is kept");
        }
        assert_eq!(self.len, self.iter().count(), "len is wrong");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_read_sees_the_newest_write_and_a_committed_read_does_not() {
        let mut map = TimelineMap::new();
        map.insert(Offset(3), "a", 1);
        map.commit(Offset(5));
        map.insert(Offset(6), "a", 2);
        map.remove(Offset(9), "a");
        assert_eq!(map.get("a"), None);
        assert_eq!(map.get_committed("a"), Some(&1));
        map.commit(Offset(6));
        assert_eq!(map.get_committed("a"), Some(&2));
        map.revert(Offset(6));
        assert_eq!(map.get("a"), Some(&2));
    }

    #[test]
    #[should_panic(expected = "below what is committed")]
    fn what_is_committed_cannot_be_reverted() {
        let mut map = TimelineMap::new();
        map.insert(Offset(3), "a", 1);
        map.commit(Offset(3));
        map.revert(Offset(2));
    }

    #[test]
    #[should_panic(expected = "committed already")]
    fn nothing_is_written_below_the_committed_offset() {
        let mut map = TimelineMap::new();
        map.commit(Offset(3));
        map.insert(Offset(3), "a", 1);
    }

    /// The naive model: a full copy of the map after every offset.
    struct Model {
        snapshots: BTreeMap<Offset, BTreeMap<u8, u32>>,
        committed: Offset,
    }

    impl Model {
        fn as_of(&self, offset: Offset) -> BTreeMap<u8, u32> {
            self.snapshots.range(..=offset).next_back().map(|(_, map)| map.clone()).unwrap_or_default()
        }
    }

    #[derive(Clone, Debug)]
    enum Op {
        Insert { step: i64, key: u8, value: u32 },
        Remove { step: i64, key: u8 },
        Commit { back: i64 },
        Revert { back: i64 },
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => (0..3_i64, 0..6_u8, any::<u32>()).prop_map(|(step, key, value)| Op::Insert { step, key, value }),
            3 => (0..3_i64, 0..6_u8).prop_map(|(step, key)| Op::Remove { step, key }),
            2 => (0..6_i64).prop_map(|back| Op::Commit { back }),
            1 => (0..6_i64).prop_map(|back| Op::Revert { back }),
        ]
    }

    proptest! {
        #[test]
        fn the_map_reads_as_a_pile_of_full_copies_does(ops in prop::collection::vec(op(), 1..120)) {
            let mut map = TimelineMap::new();
            let mut model = Model { snapshots: BTreeMap::new(), committed: Offset::NONE };
            let mut end = Offset(0);
            for op in ops {
                match op {
                    Op::Insert { step, key, value } => {
                        end = Offset((end.0 + step).max(model.committed.0 + 1));
                        map.insert(end, key, value);
                        let mut now = model.as_of(end);
                        now.insert(key, value);
                        model.snapshots.insert(end, now);
                    }
                    Op::Remove { step, key } => {
                        end = Offset((end.0 + step).max(model.committed.0 + 1));
                        map.remove(end, key);
                        let mut now = model.as_of(end);
                        now.remove(&key);
                        model.snapshots.insert(end, now);
                    }
                    Op::Commit { back } => {
                        let offset = Offset(end.0 - back);
                        map.commit(offset);
                        model.committed = model.committed.max(offset);
                    }
                    Op::Revert { back } => {
                        let to = Offset((end.0 - back).max(model.committed.0));
                        map.revert(to);
                        model.snapshots.split_off(&to.plus(1));
                        end = end.min(to.max(Offset(0)));
                    }
                }
                map.check_invariants();
                let now: BTreeMap<_, _> = map.iter().map(|(k, v)| (*k, *v)).collect();
                prop_assert_eq!(now, model.as_of(Offset(i64::MAX)));
                let committed: BTreeMap<_, _> = map.iter_committed().map(|(k, v)| (*k, *v)).collect();
                prop_assert_eq!(committed, model.as_of(model.committed));
                for key in 0..6 {
                    prop_assert_eq!(map.get(&key).copied(), model.as_of(Offset(i64::MAX)).get(&key).copied());
                    prop_assert_eq!(map.get_committed(&key).copied(), model.as_of(model.committed).get(&key).copied());
                }
            }
        }
    }
}
