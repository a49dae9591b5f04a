//! One session: its partitions, which of them are due, and what the client was told last.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{BrokerEpoch, Monotonic, Offset};

use super::{Asked, Due, SessionRequest, Told};

/// One session.
#[derive(Clone, Debug)]
pub(super) struct Session<K> {
    pub epoch: i32,
    pub uses_topic_ids: bool,
    pub is_follower: bool,
    pub created: Monotonic,
    pub last_used: Monotonic,
    /// The partitions when the session was last used: what the sets of the shard are ordered by.
    pub size: usize,
    pub broker_epoch: BrokerEpoch,
    entries: BTreeMap<K, Entry>,
    /// Invariant: every entry's rank, and nothing else.
    ranks: BTreeMap<u64, K>,
    /// Invariant: the ranks of the entries that are not quiet.
    due: BTreeSet<u64>,
    next_rank: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    asked: Asked,
    rank: u64,
    /// What the client knows; [`Offset::NONE`] is nothing.
    told: (Offset, Offset),
    watched: Option<Watched>,
}

/// The owner of the partition says when something changes.
#[derive(Clone, Copy, Debug)]
struct Watched {
    /// High watermark and log start when it began.
    ends: (Offset, Offset),
    /// Nothing else is to be done for it at each Fetch.
    may_rest: bool,
}

impl Entry {
    fn is_quiet(&self) -> bool {
        self.watched.is_some_and(|watched| watched.may_rest && watched.ends == self.told)
    }
}

impl<K: Clone + Ord> Session<K> {
    pub(super) fn new(now: Monotonic, request: SessionRequest<K>) -> Self {
        let mut session = Self {
            epoch: super::next_epoch(super::INITIAL_EPOCH),
            uses_topic_ids: request.uses_topic_ids,
            is_follower: request.is_follower,
            created: now,
            last_used: now,
            size: 0,
            broker_epoch: request.broker_epoch,
            entries: BTreeMap::new(),
            ranks: BTreeMap::new(),
            due: BTreeSet::new(),
            next_rank: 0,
        };
        session.update(request.listed, Vec::new());
        session
    }

    /// Takes what a Fetch lists and what it wants forgotten.
    pub(super) fn update(&mut self, listed: Vec<(K, Asked)>, forgotten: Vec<K>) {
        for (key, asked) in listed {
            let rank = self.next_rank;
            self.next_rank += 1;
            let told = match self.entries.get(&key) {
                Some(known) => {
                    self.ranks.remove(&known.rank);
                    self.due.remove(&known.rank);
                    known.told
                }
                None => (Offset::NONE, Offset::NONE),
            };
            self.ranks.insert(rank, key.clone());
            self.due.insert(rank);
            self.entries.insert(key, Entry { asked, rank, told, watched: None });
        }
        for key in forgotten {
            if let Some(entry) = self.entries.remove(&key) {
                self.ranks.remove(&entry.rank);
                self.due.remove(&entry.rank);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn has(&self, rank: u64) -> bool {
        self.ranks.contains_key(&rank)
    }

    pub(super) fn due(&self) -> Vec<Due<K>> {
        self.due.iter().map(|rank| self.at(*rank)).collect()
    }

    pub(super) fn all(&self) -> Vec<Due<K>> {
        self.ranks.keys().map(|rank| self.at(*rank)).collect()
    }

    fn at(&self, rank: u64) -> Due<K> {
        let key = self.ranks[&rank].clone();
        let asked = self.entries[&key].asked;
        Due { key, rank, asked }
    }

    pub(super) fn watched(&mut self, rank: u64, ends: (Offset, Offset), may_rest: bool) {
        self.change(rank, |entry| entry.watched = Some(Watched { ends, may_rest }));
    }

    pub(super) fn mark(&mut self, rank: u64) {
        self.change(rank, |entry| entry.watched = None);
    }

    /// Whether the answer must have the partition, which the client then knows.
    pub(super) fn tell(&mut self, rank: u64, told: Told) -> bool {
        let mut must = told.is_error || told.has_data;
        self.change(rank, |entry| {
            let ends = (told.high_watermark, told.log_start_offset);
            if told.is_error {
                // So that its recovery is told.
                entry.told = (Offset::NONE, Offset::NONE);
            } else if entry.told != ends {
                entry.told = ends;
                must = true;
            }
        });
        must
    }

    fn change(&mut self, rank: u64, change: impl FnOnce(&mut Entry)) {
        let Some(key) = self.ranks.get(&rank) else { return };
        let entry = self.entries.get_mut(key).expect("a rank is an entry's");
        change(entry);
        if entry.is_quiet() {
            self.due.remove(&rank);
        } else {
            self.due.insert(rank);
        }
    }

    pub(super) fn check_invariants(&self) {
        assert_eq!(self.entries.len(), self.ranks.len(), "a rank without its entry");
        for (key, entry) in &self.entries {
            assert!(self.ranks.get(&entry.rank) == Some(key), "an entry without its rank {}", entry.rank);
            assert_eq!(self.due.contains(&entry.rank), !entry.is_quiet(), "{entry:?}");
        }
        assert!(self.due.len() <= self.entries.len(), "something due that is not there");
    }
}
