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
    /// By rank: the order of the answers, and what the work of every Fetch is found by.
    entries: BTreeMap<u64, Entry<K>>,
    /// By partition, which only a Fetch that lists or forgets it looks for. Invariant: every entry's rank, and nothing else.
    ranks: BTreeMap<K, u64>,
    /// Invariant: the ranks of the entries that are not quiet.
    due: BTreeSet<u64>,
    next_rank: u64,
}

#[derive(Clone, Debug)]
struct Entry<K> {
    key: K,
    asked: Asked,
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

impl<K> Entry<K> {
    fn is_quiet(&self) -> bool {
        self.watched.is_some_and(|watched| watched.may_rest && watched.ends == self.told)
    }

    fn due(&self, rank: u64) -> Due<K>
    where
        K: Clone,
    {
        Due { key: self.key.clone(), rank, asked: self.asked }
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
            let told = match self.ranks.get_mut(&key) {
                Some(known) => {
                    let before = std::mem::replace(known, rank);
                    self.due.remove(&before);
                    self.entries.remove(&before).expect("a rank is an entry's").told
                }
                None => {
                    self.ranks.insert(key.clone(), rank);
                    (Offset::NONE, Offset::NONE)
                }
            };
            self.due.insert(rank);
            self.entries.insert(rank, Entry { key, asked, told, watched: None });
        }
        for key in forgotten {
            if let Some(rank) = self.ranks.remove(&key) {
                self.entries.remove(&rank);
                self.due.remove(&rank);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn has(&self, rank: u64) -> bool {
        self.entries.contains_key(&rank)
    }

    pub(super) fn due(&self) -> Vec<Due<K>> {
        self.due.iter().map(|rank| self.entries[rank].due(*rank)).collect()
    }

    pub(super) fn all(&self) -> Vec<Due<K>> {
        self.entries.iter().map(|(rank, entry)| entry.due(*rank)).collect()
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

    fn change(&mut self, rank: u64, change: impl FnOnce(&mut Entry<K>)) {
        let Some(entry) = self.entries.get_mut(&rank) else { return };
        change(entry);
        if entry.is_quiet() {
            self.due.remove(&rank);
        } else {
            self.due.insert(rank);
        }
    }

    pub(super) fn check_invariants(&self) {
        assert_eq!(self.entries.len(), self.ranks.len(), "a rank without its entry");
        for (rank, entry) in &self.entries {
            assert!(self.ranks.get(&entry.key) == Some(rank), "an entry without its rank {rank}");
            assert_eq!(self.due.contains(rank), !entry.is_quiet(), "rank {rank}");
        }
        assert!(self.due.len() <= self.entries.len(), "something due that is not there");
    }
}
