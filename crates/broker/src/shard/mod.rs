//! The owners of partitions. A broker has a few shards (`wavetank.shards`); each is one task with one inbox, which owns
//! its partitions' machines and logs, one timer queue, and the fetchers of what it copies.
//!
//! [`Shards`] is the way to them: requests post at most one message to each shard, metadata comes through
//! [`Shards::subscriber`]. Partitions answer at once and keep watches; who waits are the gathers of the handlers.
//!
//! Deliberately absent: locks on a partition's state, a task a partition, anything that waits for a disk.

mod assignment;
mod checkpoint;
mod copying;
mod deletion;
mod hosted;
mod message;
mod offsets;
mod opening;
mod requests;
mod retention;
pub mod rules;
mod serve;
mod source;
mod standing;
mod task;
mod vitals;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use protocol::{BrokerEpoch, NodeId};
use runtime::{Env, Post, inbox};
use tokio::sync::oneshot;

pub use message::{
    Deletion, DeletionReply, EpochEnd, EpochEndReply, Fetch, FetchPart, FetchReply, ListOffset, LogSize, OffsetReply,
    PartData, Produce, ProducePart, ProduceReply, RequestId, ShardMessage,
};
pub use opening::{Opened, Storage};

use crate::config::Config;
use crate::image::Subscriber;
use crate::lifecycle;
use crate::sessions::Sessions;

/// Called when this broker cannot go on, with the reason.
pub type FatalCallback = Arc<dyn Fn(String) + Send + Sync>;

/// What shards need of the broker's lifecycle.
pub trait Lifecycle: Send + Sync + 'static {
    /// Of this broker's registration; none before it.
    fn broker_epoch(&self) -> BrokerEpoch;

    /// Asks the controller to change an ISR.
    fn alter_partition(&self, alter: lifecycle::Alter);

    /// The logs that the first image assigns are open.
    fn ready(&self);
}

impl Lifecycle for lifecycle::Handle {
    fn broker_epoch(&self) -> BrokerEpoch {
        self.status().epoch
    }

    fn alter_partition(&self, alter: lifecycle::Alter) {
        Self::alter_partition(self, alter);
    }

    fn ready(&self) {
        Self::ready(self);
    }
}

/// What shards are started with.
pub struct Settings<L = lifecycle::Handle> {
    /// The process.
    pub env: Env,
    /// Who this broker is.
    pub node: NodeId,
    /// Its configuration.
    pub config: Arc<Config>,
    /// Its log directory.
    pub storage: Storage,
    /// Its ways to the controller, and its broker epoch.
    pub lifecycle: L,
    /// Called when a log fails.
    pub fatal: FatalCallback,
}

impl<L> std::fmt::Debug for Settings<L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Settings of node {}", self.node)
    }
}

/// The way to a broker's shards. Cheap to clone.
#[derive(Clone)]
pub struct Shards {
    posts: Arc<[Post<ShardMessage>]>,
    checkpoints: Post<checkpoint::Report>,
    requests: Arc<AtomicU64>,
    sessions: Sessions,
}

impl std::fmt::Debug for Shards {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Shards({})", self.posts.len())
    }
}

impl Shards {
    /// Starts the shards. They do nothing before the first image; once all logs that it assigns are open, the lifecycle hears
    /// that the broker is ready.
    pub fn start(settings: Settings<impl Lifecycle>) -> Self {
        let Settings { env, node, config, storage, lifecycle, fatal } = settings;
        let lifecycle: Arc<dyn Lifecycle> = Arc::new(lifecycle);
        let count = usize::try_from(config.numbers.shards).unwrap_or(1).max(1);
        let checkpoints = checkpoint::start(&env, &storage, Arc::clone(&fatal));
        let slots = config.numbers.max_incremental_fetch_session_cache_slots;
        let sessions = Sessions::new(usize::try_from(slots).unwrap_or(usize::MAX), env.rng("fetch-sessions"));
        let unready = Arc::new(AtomicUsize::new(count));
        let posts: Vec<_> = (0..count)
            .map(|index| {
                // Unbounded: connections bound what they have in flight, completions and answers are bounded by it.
                let (post, inbox) = inbox(usize::MAX);
                let shard = task::Shard::new(task::Start {
                    index,
                    count,
                    env: env.clone(),
                    node,
                    config: Arc::clone(&config),
                    storage: storage.clone(),
                    lifecycle: Arc::clone(&lifecycle),
                    fatal: Arc::clone(&fatal),
                    post: post.clone(),
                    checkpoints: checkpoints.clone(),
                    unready: Arc::clone(&unready),
                    sessions: sessions.clone(),
                });
                env.spawn_detached("shard", shard.run(inbox));
                post
            })
            .collect();
        Self { posts: posts.into(), checkpoints, requests: Arc::default(), sessions }
    }

    /// Hears of every image.
    pub fn subscriber(&self) -> Subscriber {
        let posts = Arc::clone(&self.posts);
        Box::new(move |changed| {
            for post in posts.iter() {
                post.post(ShardMessage::Image(changed.clone()));
            }
        })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.posts.len()
    }

    /// Which one owns a partition. By its name, so that a topic that is made again under its name finds the shard that
    /// still has to remove the old one.
    pub fn owner(&self, topic: &str, partition: i32) -> usize {
        owner(topic, partition, self.posts.len())
    }

    /// Tells shard `index` something.
    pub fn post(&self, index: usize, message: ShardMessage) {
        self.posts[index].post(message);
    }

    /// The fetch sessions.
    pub const fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// A number for a fetch.
    pub fn request_id(&self) -> RequestId {
        RequestId(self.requests.fetch_add(1, Ordering::Relaxed))
    }

    /// Stops in good order: nothing is served any more, logs are flushed and closed, checkpoints are written. What is left
    /// to do is [`storage::LogDir::mark_clean`].
    pub async fn stop(&self) {
        let mut stopped = Vec::new();
        for post in self.posts.iter() {
            let (sender, receiver) = oneshot::channel();
            post.post(ShardMessage::Stop(sender));
            stopped.push(receiver);
        }
        for receiver in stopped {
            drop(receiver.await);
        }
        let (sender, receiver) = oneshot::channel();
        self.checkpoints.post(checkpoint::Report::Stop(sender));
        drop(receiver.await);
    }
}

fn owner(topic: &str, partition: i32, count: usize) -> usize {
    // As Kafka spreads partitions over its fetchers: 31 x hash(topic) + partition.
    let hash = topic.bytes().fold(0_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let mixed = hash.wrapping_mul(31).wrapping_add(partition as u32);
    (mixed & 0x7fff_ffff) as usize % count
}
