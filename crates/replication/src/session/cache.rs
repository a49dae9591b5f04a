//! All sessions of a broker.

use protocol::{BrokerEpoch, ErrorCode, Monotonic, Offset};

use super::held::Session;
use super::shard::Shard;
use super::{Due, FINAL_EPOCH, INITIAL_EPOCH, Place, SessionId, SessionRequest, Told, next_epoch};

/// As many as Kafka's (`NumFetchSessionCacheShards`): eviction looks at one of them only.
const SHARDS: usize = 8;
/// How many ids each shard has.
const IDS: i32 = i32::MAX / SHARDS as i32;

/// The sessions of a broker. `K` names a partition the way its client does.
#[derive(Clone, Debug)]
pub struct SessionCache<K> {
    shards: Vec<Shard<K>>,
    /// How many were asked for: they go to the shards in turn.
    opened: u64,
}

/// What a Fetch is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Begun {
    /// A full one: read what it lists. No session is made, the answer has id 0.
    Sessionless,
    /// A full one that begins a session: all of it is due, all of it is answered.
    Full(Held),
    /// The next of a session.
    Incremental(Held),
    /// Refused as a whole, with id 0 in the answer.
    Refused(ErrorCode),
}

/// A Fetch's hold on its session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// Which session.
    pub id: SessionId,
    /// What the next Fetch must have: if it has come before this one is answered, this one's answer is void.
    pub next_epoch: i32,
}

impl<K: Clone + Ord> SessionCache<K> {
    /// Without sessions, with room for `slots` (`max.incremental.fetch.session.cache.slots`).
    pub fn new(slots: usize) -> Self {
        Self { shards: (0..SHARDS).map(|_| Shard::new(slots / SHARDS)).collect(), opened: 0 }
    }

    /// Takes a Fetch as it arrives: its epoch is used up from now on, whether or not the answer reaches the client. For
    /// [`Begun::Sessionless`] the request keeps its list, in every other case it is taken. `draw` gives random numbers.
    pub fn begin(&mut self, now: Monotonic, request: &mut SessionRequest<K>, mut draw: impl FnMut() -> u32) -> Begun {
        if matches!(request.epoch, INITIAL_EPOCH | FINAL_EPOCH) {
            self.close(request.id);
            return if request.epoch == INITIAL_EPOCH {
                self.open(now, request, &mut draw)
            } else {
                Begun::Sessionless
            };
        }
        let Some(session) = self.session(request.id) else {
            probe::sometimes!("fetch_session_not_found");
            return Begun::Refused(ErrorCode::FetchSessionIdNotFound);
        };
        if session.epoch != request.epoch {
            probe::sometimes!("fetch_session_epoch_refused");
            return Begun::Refused(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.uses_topic_ids != request.uses_topic_ids {
            return Begun::Refused(ErrorCode::FetchSessionTopicIdError);
        }
        session.update(std::mem::take(&mut request.listed), std::mem::take(&mut request.forgotten));
        if session.len() == 0 {
            self.close(request.id);
            return Begun::Sessionless;
        }
        session.epoch = next_epoch(session.epoch);
        session.broker_epoch = request.broker_epoch;
        let held = Held { id: request.id, next_epoch: session.epoch };
        self.shard(request.id).touch(request.id, now);
        Begun::Incremental(held)
    }

    fn open(&mut self, now: Monotonic, request: &mut SessionRequest<K>, draw: &mut impl FnMut() -> u32) -> Begun {
        let index = (self.opened % SHARDS as u64) as usize;
        self.opened += 1;
        let shard = &mut self.shards[index];
        if !shard.make_room(now, request.is_follower, request.listed.len()) {
            probe::sometimes!("fetch_session_refused");
            return Begun::Sessionless;
        }
        let first = index as i32 * IDS;
        let id = loop {
            let id = first + (draw() % IDS as u32) as i32;
            if id > 0 && !shard.sessions.contains_key(&id) {
                break id;
            }
        };
        let request = SessionRequest { listed: std::mem::take(&mut request.listed), forgotten: Vec::new(), ..*request };
        let session = Session::new(now, request);
        let held = Held { id, next_epoch: session.epoch };
        shard.insert(id, session);
        Begun::Full(held)
    }

    /// Ends a session, if there is one of this id.
    pub fn close(&mut self, id: SessionId) {
        self.shard(id).remove(id);
    }

    /// What the Fetch must read, in order.
    pub fn due(&self, id: SessionId) -> Vec<Due<K>> {
        self.find(id).map(Session::due).unwrap_or_default()
    }

    /// All partitions, quiet ones too, in order.
    pub fn all(&self, id: SessionId) -> Vec<Due<K>> {
        self.find(id).map(Session::all).unwrap_or_default()
    }

    /// How many partitions a session has; 0 if there is none of this id.
    pub fn len(&self, id: SessionId) -> usize {
        self.find(id).map_or(0, Session::len)
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.shards.iter().map(|shard| shard.sessions.len()).sum()
    }

    /// The owner of a partition has read it, found nothing to give, and from now on says when that changes
    /// ([`mark`](Self::mark)). `high_watermark` and `log_start_offset` are what he read; `may_rest` unless he wants to see
    /// every Fetch.
    pub fn watched(&mut self, place: Place, high_watermark: Offset, log_start_offset: Offset, may_rest: bool) {
        if let Some(session) = self.session(place.session) {
            session.watched(place.rank, (high_watermark, log_start_offset), may_rest);
        }
    }

    /// Something changed at a partition: it is due.
    pub fn mark(&mut self, place: Place) {
        if let Some(session) = self.session(place.session) {
            session.mark(place.rank);
        }
    }

    /// When a Fetch last asked for this, and by which registration; `None` if none does any more.
    pub fn last_asked(&self, place: Place) -> Option<(Monotonic, BrokerEpoch)> {
        let session = self.find(place.session)?;
        session.has(place.rank).then_some((session.last_used, session.broker_epoch))
    }

    /// Whether a Fetch's answer still counts.
    ///
    /// # Errors
    /// INVALID_FETCH_SESSION_EPOCH if the client has gone on.
    pub fn check(&self, held: Held) -> Result<(), ErrorCode> {
        match self.find(held.id) {
            Some(session) if session.epoch != held.next_epoch => Err(ErrorCode::InvalidFetchSessionEpoch),
            // Evicted meanwhile: the answer is good, the next Fetch learns of it.
            _ => Ok(()),
        }
    }

    /// Whether the answer of an incremental Fetch must have a partition; the client knows of it then.
    pub fn tell(&mut self, place: Place, told: Told) -> bool {
        match self.session(place.session) {
            Some(session) => session.tell(place.rank, told),
            None => true,
        }
    }

    /// Whether all invariants hold.
    ///
    /// # Panics
    /// If one does not.
    pub fn check_invariants(&self) {
        self.shards.iter().for_each(Shard::check_invariants);
    }

    #[cfg(test)]
    pub(super) fn all_sessions(&self) -> Vec<SessionId> {
        self.shards.iter().flat_map(|shard| shard.sessions.keys().copied()).collect()
    }

    #[cfg(test)]
    pub(super) fn skip_turn(&mut self) {
        self.opened += 1;
    }

    fn shard(&mut self, id: SessionId) -> &mut Shard<K> {
        &mut self.shards[index(id)]
    }

    fn session(&mut self, id: SessionId) -> Option<&mut Session<K>> {
        self.shards[index(id)].sessions.get_mut(&id)
    }

    fn find(&self, id: SessionId) -> Option<&Session<K>> {
        self.shards[index(id)].sessions.get(&id)
    }
}

/// Which shard an id belongs to.
fn index(id: SessionId) -> usize {
    usize::try_from(id / IDS).unwrap_or(0).min(SHARDS - 1)
}
