//! The fetch sessions of this broker (KIP-227), shared by the handlers of Fetch and the shards.
//!
//! Handlers begin and answer Fetches, shards say what changed at partitions that have nothing to give. A Fetch that waits
//! is woken by that; nobody looks at partitions to which nothing happens. What a session is, and who is evicted, is
//! [`replication::SessionCache`]'s.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use protocol::{BrokerEpoch, Monotonic, Offset, Str, Uuid};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use replication::{Begun, Held, Place, SessionCache, SessionId, SessionRequest};
use runtime::Post;

use crate::shard::FetchReply;

/// A partition as a client names it: by id (v13 and later, then the name is empty) or by name (then the id is zero).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SessionKey {
    /// The topic's id.
    pub topic_id: Uuid,
    /// Its name.
    pub topic: Str,
    /// Which partition.
    pub partition: i32,
}

/// The sessions. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Sessions(Arc<Mutex<Inner>>);

struct Inner {
    cache: SessionCache<SessionKey>,
    random: ChaCha8Rng,
    /// The Fetch of each session that waits, by the epoch after it.
    parked: BTreeMap<SessionId, (i32, Post<FetchReply>)>,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sessions({})", self.with(|inner| inner.cache.sessions()))
    }
}

impl Sessions {
    /// With room for `slots`; ids are drawn from `random`.
    pub fn new(slots: usize, random: ChaCha8Rng) -> Self {
        Self(Arc::new(Mutex::new(Inner { cache: SessionCache::new(slots), random, parked: BTreeMap::new() })))
    }

    fn with<R>(&self, f: impl FnOnce(&mut Inner) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// See [`SessionCache::begin`].
    pub fn begin(&self, now: Monotonic, request: &mut SessionRequest<SessionKey>) -> Begun {
        self.with(|inner| inner.cache.begin(now, request, || inner.random.next_u32()))
    }

    /// Asks the cache something, or tells it something, all at once.
    pub fn cache<R>(&self, f: impl FnOnce(&mut SessionCache<SessionKey>) -> R) -> R {
        self.with(|inner| f(&mut inner.cache))
    }

    /// A Fetch waits: `reply` hears when one of its partitions has something.
    pub fn park(&self, held: Held, reply: Post<FetchReply>) {
        self.with(|inner| inner.parked.insert(held.id, (held.next_epoch, reply)));
    }

    /// It waits no more.
    pub fn unpark(&self, held: Held) {
        self.with(|inner| {
            if inner.parked.get(&held.id).is_some_and(|(epoch, _)| *epoch == held.next_epoch) {
                inner.parked.remove(&held.id);
            }
        });
    }

    /// See [`SessionCache::watched`]; `ends` are high watermark and log start.
    pub fn watched(&self, place: Place, ends: (Offset, Offset), may_rest: bool) {
        self.with(|inner| inner.cache.watched(place, ends.0, ends.1, may_rest));
    }

    /// Something changed at a partition; `wakes` if a Fetch need wait no longer.
    pub fn changed(&self, place: Place, wakes: bool) {
        let parked = self.with(|inner| {
            inner.cache.mark(place);
            if wakes { inner.parked.remove(&place.session) } else { None }
        });
        if let Some((_, reply)) = parked {
            reply.post(FetchReply::Changed);
        }
    }

    /// See [`SessionCache::last_asked`].
    pub fn last_asked(&self, place: Place) -> Option<(Monotonic, BrokerEpoch)> {
        self.with(|inner| inner.cache.last_asked(place))
    }
}
