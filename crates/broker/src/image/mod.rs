//! The copy of the metadata that everybody on this node reads.
//!
//! One task applies committed batches in order, puts each new [`Image`] into the [`ImageCell`], where handlers read it, and
//! tells the subscribers (shards) what changed. As in Kafka nothing is published before the node has once reached the high
//! watermark that it learnt first; and a broker's image is [held back](ImageCell::held_back) until it knows of its own
//! registration. Without that a broker that lost its unsynced records in a power failure and is back before its session
//! has ended would lead in its old epoch with what is left, and its followers would cut their logs to it:
//!
//! ```text
//!   b3 leads orders/2 in epoch 0, log end 80; power fails; back after 1 s, session 1.5 s, log end 0
//!   the metadata still says: b3 leads epoch 0.  b1, b2 fetch, learn that epoch 0 ends at 0, truncate 80 -> 0
//! ```
//!
//! On the node that leads the quorum the task also tells the world what was committed of partitions and brokers. A leader
//! that was restarted before tells its whole past again, since it learns only then that it is committed: who listens goes by
//! the offsets.

use std::sync::{Arc, Mutex, PoisonError};

use metadata::{Change, Changed, Delta, Digest, Image, Sampling};
use protocol::{MetadataRecord, NodeId, Offset, TopicPartition};
use runtime::{Env, Inbox, Observation, Post, inbox};

use crate::quorum::{self, Committed, CommittedBatch, CommittedCallback};

/// Holds the newest image. Cheap to clone; all clones see the same.
#[derive(Clone, Default)]
pub struct ImageCell(Arc<Mutex<Cell>>);

#[derive(Default)]
struct Cell {
    image: Arc<Image>,
    /// Offset of the newest image, published or not; `None` before there is one.
    applied: Option<Offset>,
    held_back: bool,
    publisher: Option<Post<Message>>,
}

impl std::fmt::Debug for ImageCell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ImageCell(offset {})", self.load().offset())
    }
}

impl ImageCell {
    /// A cell with the empty image.
    pub fn new() -> Self {
        Self::default()
    }

    /// A cell with the empty image, which stays until [`ImageCell::release`].
    pub fn held_back() -> Self {
        Self(Arc::new(Mutex::new(Cell { held_back: true, ..Cell::default() })))
    }

    fn with<R>(&self, f: impl FnOnce(&mut Cell) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The newest image.
    pub fn load(&self) -> Arc<Image> {
        self.with(|cell| Arc::clone(&cell.image))
    }

    /// How far this node's copy of the metadata is, published or not.
    pub fn applied(&self) -> Offset {
        self.with(|cell| cell.applied.unwrap_or(Offset::NONE))
    }

    /// Lets the image out that was held back; the subscribers hear of it soon.
    pub fn release(&self) {
        let publisher = self.with(|cell| std::mem::take(&mut cell.held_back).then(|| cell.publisher.clone()).flatten());
        if let Some(publisher) = publisher {
            publisher.post(Message::Released);
        }
    }

    /// Puts a newer one in: the publisher's right, and that of tests.
    pub fn store(&self, image: Arc<Image>) {
        self.with(|cell| {
            cell.applied = Some(image.offset());
            cell.image = image;
        });
    }
}

/// There is a new image.
#[derive(Clone, Debug)]
pub struct ImageChanged {
    /// It.
    pub image: Arc<Image>,
    /// What changed since the one before; for the first one everything.
    pub delta: Arc<Delta>,
}

/// Hears of every image, in order, in the publisher's task: it must not wait, and usually posts to an inbox.
pub type Subscriber = Box<dyn FnMut(&ImageChanged) + Send>;

/// Starts the publisher. The callback is for the quorum; `status` tells who leads it, as soon as it is known.
pub fn start(env: &Env, node: NodeId, cell: ImageCell, subscribers: Vec<Subscriber>) -> (CommittedCallback, Leads) {
    // Unbounded: the quorum may not wait, and bounds what it reads ahead by its fetches.
    let (post, inbox) = inbox(usize::MAX);
    let leads = Leads { node, quorum: Arc::default() };
    cell.with(|cell| cell.publisher = Some(post.clone()));
    let publisher = Publisher {
        env: env.clone(),
        cell,
        subscribers,
        image: Arc::default(),
        unpublished: Delta::default(),
        published: None,
        high_watermark: Offset::ZERO,
        sampling: Sampling::default(),
    };
    env.spawn_detached("image", publisher.run(inbox));
    // Whether to tell is decided when the high watermark moves: every other node learns of that move from the leader.
    let asked = leads.clone();
    (Box::new(move |committed| post.post(Message::Committed(committed, asked.now()))), leads)
}

/// Whether this node leads the quorum. The quorum starts after the publisher, so its handle comes later.
#[derive(Clone, Debug)]
pub struct Leads {
    node: NodeId,
    quorum: Arc<Mutex<Option<quorum::Handle>>>,
}

impl Leads {
    /// Says where to ask.
    pub fn ask(&self, quorum: quorum::Handle) {
        *self.quorum.lock().unwrap_or_else(PoisonError::into_inner) = Some(quorum);
    }

    fn now(&self) -> bool {
        let quorum = self.quorum.lock().unwrap_or_else(PoisonError::into_inner);
        quorum.as_ref().is_some_and(|quorum| quorum.status().leader == Some(self.node))
    }
}

enum Message {
    /// From the quorum, and whether this node led it then.
    Committed(Committed, bool),
    /// The image is no longer held back.
    Released,
}

struct Publisher {
    env: Env,
    cell: ImageCell,
    subscribers: Vec<Subscriber>,
    image: Arc<Image>,
    /// Changes since the image in the cell.
    unpublished: Delta,
    /// Offset of the image in the cell, once one was published.
    published: Option<Offset>,
    /// The highest that was heard of.
    high_watermark: Offset,
    sampling: Sampling,
}

impl Publisher {
    async fn run(mut self, mut inbox: Inbox<Message>) {
        while let Some(first) = inbox.recv().await {
            self.hear(first);
            while let Some(next) = inbox.try_recv() {
                self.hear(next);
            }
            self.cell.with(|cell| cell.applied = Some(self.image.offset()));
            self.publish();
        }
    }

    fn hear(&mut self, message: Message) {
        if let Message::Committed(committed, leads) = message {
            self.take(&committed, leads);
            self.high_watermark = self.high_watermark.max(committed.high_watermark);
        }
    }

    fn take(&mut self, committed: &Committed, leads: bool) {
        for batch in committed.batches.iter() {
            let (image, delta) = apply(&self.image, batch);
            self.image = Arc::new(image);
            if leads && self.env.observed() {
                delta.changes.iter().filter_map(observation).for_each(|what| self.env.observe(what));
            }
            self.unpublished.changes.extend(delta.changes);
        }
    }

    fn publish(&mut self) {
        let offset = self.image.offset();
        if offset.is_none() || self.published == Some(offset) || self.cell.with(|cell| cell.held_back) {
            return;
        }
        if self.published.is_none() && offset < self.high_watermark.plus(-1) {
            return;
        }
        self.published = Some(offset);
        self.cell.store(Arc::clone(&self.image));
        if self.env.observed() && !self.unpublished.is_empty() && self.sampling.due() {
            let digest = Digest::of(&self.cell.load());
            self.sampling.paid(digest.things);
            self.env.observe(Observation::ImageApplied { offset, digest: digest.sum });
        }
        let changed =
            ImageChanged { image: Arc::clone(&self.image), delta: Arc::new(std::mem::take(&mut self.unpublished)) };
        for subscriber in &mut self.subscribers {
            subscriber(&changed);
        }
    }
}

/// The image after a committed batch.
///
/// # Panics
/// If a record cannot be read, or contradicts what came before: a node that went on would act on another cluster than
/// the rest does.
pub fn apply(image: &Image, batch: &CommittedBatch) -> (Image, Delta) {
    if batch.records.is_empty() {
        return (image.advance(batch.last, batch.epoch), Delta::default());
    }
    let records: Vec<_> = batch.records.iter().map(|(offset, value)| decode(*offset, value)).collect();
    image.apply(batch.base, batch.epoch, &records)
}

/// Reads a record of the metadata log.
pub(crate) fn decode(offset: Offset, value: &bytes::Bytes) -> MetadataRecord {
    match MetadataRecord::decode_framed(value.clone()) {
        Ok((record, _)) => record,
        Err(error) => panic!("metadata record at offset {offset}: {error}"),
    }
}

fn observation(changed: &Changed) -> Option<Observation> {
    match &changed.change {
        Change::Partition { id, topic, new, .. } => Some(Observation::PartitionCommitted {
            partition: TopicPartition::new(topic.clone(), id.partition),
            leader: new.leader,
            leader_epoch: new.leader_epoch,
            partition_epoch: new.partition_epoch,
            isr: new.isr.clone(),
            replicas: new.replicas.clone(),
            offset: changed.offset,
        }),
        Change::Broker { id, new: Some(new), .. } => Some(Observation::BrokerCommitted {
            broker: *id,
            epoch: new.epoch,
            fenced: new.fenced,
            offset: changed.offset,
        }),
        _ => None,
    }
}
