//! What a fetch holds elsewhere while it is on its way, let go however it ends.

use std::collections::BTreeSet;

use replication::Held;

use crate::handlers::Serving;
use crate::sessions::Sessions;
use crate::shard::{RequestId, ShardMessage};

/// The shards where a request has watches.
pub(super) struct Watches {
    serving: Serving,
    pub request: RequestId,
    pub shards: BTreeSet<usize>,
    /// First reads that have not come back: who was asked for them may place a watch yet.
    pub unread: usize,
    pub asked: BTreeSet<usize>,
}

impl Watches {
    pub(super) fn new(serving: &Serving) -> Self {
        Self {
            request: serving.shards.request_id(),
            serving: serving.clone(),
            shards: BTreeSet::new(),
            unread: 0,
            asked: BTreeSet::new(),
        }
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        if self.unread > 0 {
            self.shards.append(&mut self.asked);
        }
        for shard in &self.shards {
            self.serving.shards.post(*shard, ShardMessage::Unwatch(self.request));
        }
    }
}

/// The session of a request.
pub(super) struct SessionHold {
    pub sessions: Sessions,
    pub held: Held,
    /// It began with this request: the client does not know of it before the answer.
    pub is_new: bool,
    pub answered: bool,
}

impl SessionHold {
    pub(super) fn new(sessions: &Sessions, held: Held, is_new: bool) -> Self {
        Self { sessions: sessions.clone(), held, is_new, answered: false }
    }

    /// How many partitions it has.
    pub(super) fn len(&self) -> usize {
        self.sessions.cache(|cache| cache.len(self.held.id))
    }
}

impl Drop for SessionHold {
    fn drop(&mut self) {
        self.sessions.unpark(self.held);
        if self.is_new && !self.answered {
            self.sessions.cache(|cache| cache.close(self.held.id));
        }
    }
}
