//! The client's side of a fetch session (KIP-227): what the leader has, and the number of the next Fetch.

use std::collections::{BTreeMap, BTreeSet};

use super::{FetchOrder, FetchPart};
use crate::partition::FetchPosition;
use crate::session::{INITIAL_EPOCH, SessionId, next_epoch};

/// A session at one leader, or the wish for one.
#[derive(Clone, Debug)]
pub(super) struct Session<K> {
    /// 0 while there is none.
    id: SessionId,
    /// Of the next Fetch.
    epoch: i32,
    /// What the leader has, once it has taken the last Fetch.
    has: BTreeMap<K, FetchPosition>,
    /// Whether the last Fetch was a full one.
    full: bool,
}

impl<K: Copy + Ord> Session<K> {
    pub(super) const fn new() -> Self {
        Self { id: 0, epoch: INITIAL_EPOCH, has: BTreeMap::new(), full: true }
    }

    pub(super) fn position(&self, partition: K) -> Option<FetchPosition> {
        self.has.get(&partition).copied()
    }

    pub(super) fn partitions(&self) -> impl Iterator<Item = K> {
        self.has.keys().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.has.len()
    }

    /// Whether the Fetch in flight is a full one, which is answered for each of its partitions.
    pub(super) const fn is_full(&self) -> bool {
        self.full
    }

    /// The next Fetch.
    pub(super) fn order(&mut self, parts: Vec<FetchPart<K>>, forgotten: BTreeSet<K>) -> FetchOrder<K> {
        for partition in &forgotten {
            self.has.remove(partition);
        }
        self.has.extend(parts.iter().map(|part| (part.partition, part.position)));
        self.full = self.epoch == INITIAL_EPOCH;
        FetchOrder { session: self.id, epoch: self.epoch, parts, forgotten: forgotten.into_iter().collect() }
    }

    /// The Fetch was answered in session `id`. Whether that goes on; else the leader has nothing any more.
    pub(super) fn answered(&mut self, id: SessionId) -> bool {
        if id == 0 {
            self.lost();
            return false;
        }
        if self.full {
            self.id = id;
        }
        self.epoch = next_epoch(self.epoch);
        true
    }

    /// The leader does not know it. What it was thought to have.
    pub(super) fn lost(&mut self) -> BTreeMap<K, FetchPosition> {
        self.id = 0;
        self.reopen()
    }

    /// The next Fetch is a full one, which ends the session that there may be. What the leader was thought to have.
    pub(super) fn reopen(&mut self) -> BTreeMap<K, FetchPosition> {
        self.epoch = INITIAL_EPOCH;
        std::mem::take(&mut self.has)
    }
}
