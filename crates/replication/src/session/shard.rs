//! An eighth of the cache's slots, and the order in which their sessions are evicted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use protocol::Monotonic;

use super::SessionId;
use super::held::Session;

/// How long a session is safe (`FetchSession.MIN_INCREMENTAL_FETCH_SESSION_EVICTION_MS` of Kafka).
pub(super) const EVICTION: Duration = Duration::from_millis(120_000);

/// Lower ones go first: consumers before followers, small before large.
type Rank = (bool, usize, SessionId);

/// A part of the cache.
#[derive(Clone, Debug)]
pub(super) struct Shard<K> {
    slots: usize,
    pub sessions: BTreeMap<SessionId, Session<K>>,
    /// Invariant: every session.
    last_used: BTreeSet<(Monotonic, SessionId)>,
    /// Who anybody of a higher rank may evict: sessions that were old enough when they were used last.
    evictable_by_all: BTreeSet<Rank>,
    /// Who a follower may evict: those, and every consumer.
    evictable_by_follower: BTreeSet<Rank>,
}

impl<K: Clone + Ord> Shard<K> {
    pub(super) const fn new(slots: usize) -> Self {
        Self {
            slots,
            sessions: BTreeMap::new(),
            last_used: BTreeSet::new(),
            evictable_by_all: BTreeSet::new(),
            evictable_by_follower: BTreeSet::new(),
        }
    }

    /// Makes room for a session; `false` if there is none to be had.
    pub(super) fn make_room(&mut self, now: Monotonic, is_follower: bool, size: usize) -> bool {
        if self.sessions.len() < self.slots {
            return true;
        }
        if let Some((at, id)) = self.last_used.first().copied()
            && now.since(at) > EVICTION
        {
            probe::sometimes!("fetch_session_evicted");
            self.remove(id);
            return true;
        }
        let evictable = if is_follower { &self.evictable_by_follower } else { &self.evictable_by_all };
        match evictable.first().copied() {
            // Ids are positive: of equal rank nobody goes.
            Some(lowest) if (is_follower, size, 0) > lowest => {
                probe::sometimes!("fetch_session_evicted");
                self.remove(lowest.2);
                true
            }
            _ => false,
        }
    }

    pub(super) fn insert(&mut self, id: SessionId, session: Session<K>) {
        self.last_used.insert((session.last_used, id));
        let now = session.last_used;
        self.sessions.insert(id, session);
        self.touch(id, now);
    }

    /// It is used now.
    pub(super) fn touch(&mut self, id: SessionId, now: Monotonic) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        self.last_used.remove(&(session.last_used, id));
        let before = (session.is_follower, session.size, id);
        self.evictable_by_all.remove(&before);
        self.evictable_by_follower.remove(&before);
        session.last_used = now;
        session.size = session.len();
        self.last_used.insert((now, id));
        let rank = (session.is_follower, session.size, id);
        let is_old = now.since(session.created) > EVICTION;
        if is_old {
            self.evictable_by_all.insert(rank);
        }
        if is_old || !session.is_follower {
            self.evictable_by_follower.insert(rank);
        }
    }

    pub(super) fn remove(&mut self, id: SessionId) -> Option<Session<K>> {
        let session = self.sessions.remove(&id)?;
        self.last_used.remove(&(session.last_used, id));
        let rank = (session.is_follower, session.size, id);
        self.evictable_by_all.remove(&rank);
        self.evictable_by_follower.remove(&rank);
        Some(session)
    }

    pub(super) fn check_invariants(&self) {
        assert!(self.sessions.len() <= self.slots, "more sessions than slots");
        assert_eq!(self.last_used.len(), self.sessions.len(), "sessions are not those that were used");
        for (at, id) in &self.last_used {
            assert_eq!(self.sessions[id].last_used, *at, "session {id} was used at another time");
        }
        for rank in self.evictable_by_all.iter().chain(&self.evictable_by_follower) {
            let session = &self.sessions[&rank.2];
            assert_eq!((rank.0, rank.1), (session.is_follower, session.size), "session {} has another rank", rank.2);
        }
        for session in self.sessions.values() {
            session.check_invariants();
        }
    }
}
