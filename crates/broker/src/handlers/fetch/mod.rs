//! Fetch, of consumers and of followers.
//!
//! A request without a session reads all that it lists, and watches it while it waits. One of a session (KIP-227) reads only
//! what is due there, and waits for the session. A consumer that says its rack is sent to a replica there, if this broker
//! knows of racks (KIP-392). Absent until they come: aborted transactions.

mod hold;
mod reply;

use std::sync::Arc;
use std::time::Duration;

use ::metadata::Image;
use protocol::messages::FetchRequest;
use protocol::messages::fetch_request::FetchPartition;
use protocol::{BrokerEpoch, ErrorCode, LeaderEpoch, NodeId, Offset, Str, TopicIdPartition, Uuid};
use replication::{
    Asked, Begun, FINAL_EPOCH, FetchFrom, FetchGather, FetchGatherEffect, FetchGatherEvent, Place, SessionRequest,
};
use runtime::{Inbox, Post, inbox};
use transport::server::{Answer, Reply, RequestContext, RequestFrame};

use super::lookup::find;
use super::{Serving, read};
use crate::sessions::SessionKey;
use crate::shard::{Fetch, FetchPart, FetchReply, PartData, ShardMessage};
use hold::{SessionHold, Watches};

/// Starts a fetch request.
pub fn call(serving: &Serving, context: &RequestContext, frame: &RequestFrame) -> Answer {
    let Some(request) = read::<FetchRequest>(context, frame) else { return Answer::CLOSE };
    let mut fetching = Fetching::new(serving.clone(), context.clone(), &request);
    if let Err(error) = fetching.begin(request) {
        return context.answer(&reply::refused(error, 0));
    }
    if fetching.is_done() {
        return fetching.reply().into();
    }
    let gather = FetchGather::new(fetching.sent.len(), fetching.min_bytes, fetching.deadline());
    let (reply, inbox) = inbox(usize::MAX);
    fetching.park(&reply);
    fetching.post(&reply, true);
    Answer::later(async move {
        if fetching.gather(gather, inbox, reply).await.is_none() {
            return Reply::Close;
        }
        fetching.reply()
    })
}

/// A fetch request on its way.
struct Fetching {
    serving: Serving,
    context: RequestContext,
    session: Option<SessionHold>,
    parts: Vec<Part>,
    /// The places in `parts` of what was sent to shards, in the order of the gather.
    sent: Vec<usize>,
    /// By shard.
    sorted: Vec<Vec<FetchPart>>,
    max_wait: Duration,
    max_bytes: usize,
    min_bytes: usize,
    read_committed: bool,
    /// Live brokers in the consumer's rack, where this one is not.
    near: Arc<[NodeId]>,
    replica: NodeId,
    broker_epoch: BrokerEpoch,
    watches: Watches,
}

struct Part {
    /// As the request names it.
    key: SessionKey,
    /// Where its session has it.
    place: Option<Place>,
    /// As the metadata know it.
    id: Option<TopicIdPartition>,
    error: ErrorCode,
    max_bytes: usize,
    /// Which shard reads it.
    shard: usize,
    read: Option<PartData>,
}

impl Fetching {
    fn new(serving: Serving, context: RequestContext, request: &FetchRequest) -> Self {
        let (replica, broker_epoch) = if context.api_version >= 15 {
            (request.replica_state.replica_id, BrokerEpoch(request.replica_state.replica_epoch))
        } else {
            (request.replica_id, BrokerEpoch::NONE)
        };
        // -2 is for debugging, and reads like a consumer.
        let replica = if replica >= 0 { NodeId(replica) } else { NodeId::NONE };
        let limit = if replica.is_none() { serving.config.numbers.fetch_max_bytes } else { i64::MAX };
        let max_bytes = size(i64::from(request.max_bytes).min(limit));
        let near = if replica.is_none() && context.api_version >= 11 {
            near(&serving, &request.rack_id)
        } else {
            Arc::default()
        };
        Self {
            near,
            watches: Watches::new(&serving),
            session: None,
            sorted: (0..serving.shards.count()).map(|_| Vec::new()).collect(),
            serving,
            context,
            parts: Vec::new(),
            sent: Vec::new(),
            max_wait: Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)),
            max_bytes,
            min_bytes: size(i64::from(request.min_bytes)).min(max_bytes),
            read_committed: request.isolation_level == 1,
            replica,
            broker_epoch,
        }
    }

    fn deadline(&self) -> protocol::Monotonic {
        self.context.arrival.mono + self.max_wait
    }

    fn may_wait(&self) -> bool {
        self.min_bytes > 0 && !self.max_wait.is_zero()
    }

    /// Whether the request waits for its session, not for each of its partitions: any byte will do.
    fn waits_for_session(&self) -> bool {
        self.session.is_some() && self.min_bytes <= 1
    }

    /// Finds out what is to be read.
    fn begin(&mut self, request: FetchRequest) -> Result<(), ErrorCode> {
        let by_id = self.context.api_version >= 13;
        let image = self.serving.image.load();
        let key = |topic_id: Uuid, topic: &Str, partition: i32| {
            let topic = if by_id { Str::default() } else { topic.clone() };
            SessionKey { topic_id, topic, partition }
        };
        let listed = request.topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(move |part| (key(topic.topic_id, &topic.topic, part.partition), asked(part)))
        });
        if request.session_id == 0 && request.session_epoch == FINAL_EPOCH {
            listed.for_each(|(key, asked)| self.add(&image, key, &asked, None));
            return Ok(());
        }
        let forgotten = request.forgotten_topics_data.iter().flat_map(|topic| {
            topic.partitions.iter().map(move |partition| key(topic.topic_id, &topic.topic, *partition))
        });
        let mut session = SessionRequest {
            id: request.session_id,
            epoch: request.session_epoch,
            uses_topic_ids: by_id,
            is_follower: !self.replica.is_none(),
            broker_epoch: self.broker_epoch,
            listed: listed.collect(),
            forgotten: forgotten.collect(),
        };
        let sessions = self.serving.shards.sessions();
        let begun = sessions.begin(self.context.arrival.mono, &mut session);
        match begun {
            Begun::Refused(error) => return Err(error),
            Begun::Sessionless => {
                session.listed.into_iter().for_each(|(key, asked)| self.add(&image, key, &asked, None))
            }
            Begun::Full(held) | Begun::Incremental(held) => {
                let is_new = matches!(begun, Begun::Full(_));
                self.session = Some(SessionHold::new(sessions, held, is_new));
                self.add_due();
            }
        }
        Ok(())
    }

    /// Takes what the session has to be read.
    fn add_due(&mut self) {
        let Some(hold) = &self.session else { return };
        let image = self.serving.image.load();
        let (id, all) = (hold.held.id, self.min_bytes > 1);
        let due = hold.sessions.cache(|cache| if all { cache.all(id) } else { cache.due(id) });
        for part in due {
            self.add(&image, part.key, &part.asked, Some(Place { session: id, rank: part.rank }));
        }
    }

    fn add(&mut self, image: &Image, key: SessionKey, asked: &Asked, place: Option<Place>) {
        let version = self.context.api_version;
        let waits_for_session = self.waits_for_session();
        let found = find(image, version >= 13, &key.topic, key.topic_id, key.partition);
        let mut part = Part {
            key,
            place,
            id: found.as_ref().ok().map(|named| named.id),
            error: ErrorCode::None,
            max_bytes: size(i64::from(asked.max_bytes)),
            shard: 0,
            read: None,
        };
        match found {
            Err(error) => part.error = error,
            Ok(_) if asked.max_bytes < 0 => part.error = ErrorCode::UnknownServerError,
            Ok(named) => {
                let shard = self.serving.shards.owner(&named.name, named.id.partition);
                part.shard = shard;
                self.sorted[shard].push(FetchPart {
                    part: self.sent.len(),
                    partition: named.id,
                    from: FetchFrom {
                        replica: self.replica,
                        broker_epoch: self.broker_epoch,
                        current_leader_epoch: asked.current_leader_epoch,
                        last_fetched_epoch: asked.last_fetched_epoch,
                        offset: asked.offset,
                        leader_only: !self.replica.is_none() || version <= 10,
                    },
                    log_start_offset: asked.log_start_offset,
                    max_bytes: part.max_bytes,
                    place: place.filter(|_| waits_for_session),
                });
                self.sent.push(self.parts.len());
            }
        }
        self.parts.push(part);
    }

    /// Whether it can be answered without anybody being asked.
    fn is_done(&self) -> bool {
        if !self.sent.is_empty() {
            return false;
        }
        // What the metadata do not know does not wait.
        !self.may_wait() || self.session.as_ref().is_none_or(|hold| hold.len() == self.parts.len())
    }

    /// The session tells `reply` of what comes.
    fn park(&self, reply: &Post<FetchReply>) {
        if let Some(hold) = self.session.as_ref().filter(|_| self.may_wait() && self.waits_for_session()) {
            hold.sessions.park(hold.held, reply.clone());
        }
    }

    /// Sends the parts to their shards: the first time, or to be read anew.
    fn post(&mut self, reply: &Post<FetchReply>, arrives: bool) {
        let (may_wait, watches) = (self.may_wait(), !self.waits_for_session());
        for (shard, parts) in self.sorted.iter().enumerate() {
            if !parts.is_empty() {
                let fetch = Fetch {
                    request: self.watches.request,
                    parts: parts.clone(),
                    max_bytes: self.max_bytes,
                    min_bytes: self.min_bytes,
                    near: Arc::clone(&self.near),
                    arrives,
                    may_wait,
                    reply: reply.clone(),
                };
                self.serving.shards.post(shard, ShardMessage::Fetch(fetch));
                if arrives && may_wait && watches {
                    self.watches.asked.insert(shard);
                    self.watches.unread += parts.len();
                }
            }
        }
        if !arrives {
            // Reading anew ends them.
            self.watches.shards.clear();
        }
    }

    /// Waits until the answer is due; `None` if the shards are gone.
    async fn gather(
        &mut self,
        mut gather: FetchGather,
        mut inbox: Inbox<FetchReply>,
        reply: Post<FetchReply>,
    ) -> Option<()> {
        let env = self.serving.env.clone();
        loop {
            let next = match gather.deadline() {
                None => Ok(inbox.recv().await),
                Some(at) => env.timeout_at(at, inbox.recv()).await,
            };
            let event = match next {
                Ok(None) => return None,
                Ok(Some(FetchReply::Read(data))) => {
                    let (part, read) = (data.part, data.read);
                    self.keep(data);
                    FetchGatherEvent::Read { part, read }
                }
                Ok(Some(FetchReply::Moved { part, readable })) => FetchGatherEvent::Moved { part, readable },
                Ok(Some(FetchReply::Changed)) => FetchGatherEvent::Changed,
                Err(_) => FetchGatherEvent::Tick,
            };
            match gather.step(env.now(), event) {
                None => {}
                Some(FetchGatherEffect::ReadAnew) => {
                    if self.waits_for_session() {
                        self.begin_anew();
                        if self.sent.is_empty() {
                            return Some(());
                        }
                        gather.read_others(self.sent.len());
                    }
                    self.post(&reply, false);
                }
                Some(FetchGatherEffect::Answer) => return Some(()),
            }
        }
    }

    /// What is due now, be it more than it was.
    fn begin_anew(&mut self) {
        self.parts.clear();
        self.sent.clear();
        self.sorted.iter_mut().for_each(Vec::clear);
        self.add_due();
    }

    fn keep(&mut self, data: PartData) {
        let place = self.sent[data.part];
        self.watches.unread = self.watches.unread.saturating_sub(1);
        if data.watched {
            self.watches.shards.insert(self.parts[place].shard);
        }
        self.parts[place].read = Some(data);
    }
}

fn asked(part: &FetchPartition) -> Asked {
    Asked {
        offset: Offset(part.fetch_offset),
        log_start_offset: Offset(part.log_start_offset),
        current_leader_epoch: LeaderEpoch(part.current_leader_epoch),
        last_fetched_epoch: LeaderEpoch(part.last_fetched_epoch),
        max_bytes: part.partition_max_bytes,
    }
}

/// The live brokers in a rack; none if this one is among them, or knows nothing of racks (`replica.selector.class`).
fn near(serving: &Serving, rack: &Str) -> Arc<[NodeId]> {
    let config = &serving.config;
    if !config.rack_aware_reads || rack.is_empty() || config.rack.as_deref() == Some(rack.as_str()) {
        return Arc::default();
    }
    let image = serving.image.load();
    let there = image.brokers().filter(|broker| !broker.fenced && broker.rack.as_ref() == Some(rack));
    there.map(|broker| broker.id).collect()
}

fn size(number: i64) -> usize {
    usize::try_from(number.max(0)).unwrap_or(usize::MAX)
}
