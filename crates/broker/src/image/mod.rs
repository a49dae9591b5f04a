//! The copy of the metadata that everybody on this node reads.
//!
//! One task applies committed batches in order, puts each new [`Image`] into the [`ImageCell`], where handlers read it, and
//! tells the subscribers (shards, lifecycle) what changed. As in Kafka nothing is published before the node has once
//! reached the high watermark that it learnt first: a restarted broker does not act on its past step by step.
//!
//! On the node that leads the quorum the task also tells the world what was committed of partitions and brokers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use metadata::{Change, Changed, Delta, Image};
use protocol::{MetadataRecord, NodeId, Offset, TopicPartition};
use runtime::{Env, Inbox, Observation, inbox};

use crate::quorum::{self, Committed, CommittedBatch, CommittedCallback};

/// Holds the newest image. Cheap to clone; all clones see the same.
#[derive(Clone, Default)]
pub struct ImageCell(Arc<Mutex<Arc<Image>>>);

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

    /// The newest image.
    pub fn load(&self) -> Arc<Image> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts a newer one in: the publisher's right, and that of tests.
    pub fn store(&self, image: Arc<Image>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = image;
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
    let publisher = Publisher {
        env: env.clone(),
        cell,
        subscribers,
        leads: leads.clone(),
        image: Arc::default(),
        unpublished: Delta::default(),
        published: None,
        untold: VecDeque::new(),
    };
    env.spawn_detached("image", publisher.run(inbox));
    (Box::new(move |committed| post.post(committed)), leads)
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

struct Publisher {
    env: Env,
    cell: ImageCell,
    subscribers: Vec<Subscriber>,
    leads: Leads,
    image: Arc<Image>,
    /// Changes since the image in the cell.
    unpublished: Delta,
    /// Offset of the image in the cell, once one was published.
    published: Option<Offset>,
    /// The latest changes that this node has not told the world of, since it does not lead: should it be elected before
    /// the former leader told of them, it will.
    untold: VecDeque<Observation>,
}

/// So many changes may be committed by a leader that dies before it tells of them.
const UNTOLD_MAX: usize = 256;

impl Publisher {
    async fn run(mut self, mut inbox: Inbox<Committed>) {
        while let Some(first) = inbox.recv().await {
            let mut high_watermark = self.take(&first);
            while let Some(next) = inbox.try_recv() {
                high_watermark = high_watermark.max(self.take(&next));
            }
            self.publish(high_watermark);
        }
    }

    fn take(&mut self, committed: &Committed) -> Offset {
        for batch in committed.batches.iter() {
            let (image, delta) = apply(&self.image, batch);
            self.image = Arc::new(image);
            self.observe(&delta);
            self.unpublished.changes.extend(delta.changes);
        }
        committed.high_watermark
    }

    fn publish(&mut self, high_watermark: Offset) {
        let offset = self.image.offset();
        if offset.is_none() || self.published == Some(offset) {
            return;
        }
        if self.published.is_none() && offset < high_watermark.plus(-1) {
            return;
        }
        self.published = Some(offset);
        self.cell.store(Arc::clone(&self.image));
        let changed =
            ImageChanged { image: Arc::clone(&self.image), delta: Arc::new(std::mem::take(&mut self.unpublished)) };
        for subscriber in &mut self.subscribers {
            subscriber(&changed);
        }
    }

    fn observe(&mut self, delta: &Delta) {
        if !self.env.observed() {
            return;
        }
        self.untold.extend(delta.changes.iter().filter_map(observation));
        if self.leads.now() {
            self.untold.drain(..).for_each(|what| self.env.observe(what));
        } else {
            let excess = self.untold.len().saturating_sub(UNTOLD_MAX);
            self.untold.drain(..excess);
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
