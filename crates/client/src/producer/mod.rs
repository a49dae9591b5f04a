//! Sends records, and says what became of each.
//!
//! [`Producer::send`] puts a record into the open batch of its partition and returns at once; the producer's task sends
//! full or lingering batches to the leaders and retries them (`sender`). Outcomes come as [`Delivery`] futures, or, for
//! callers with many records, through one sink ([`Producer::with_sink`], [`Producer::submit`]).

mod accumulator;
mod answers;
mod outcome;
mod sender;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use protocol::batch::RecordHeader;
use protocol::{Bytes, Str, Timestamp};
use runtime::{Env, Post, inbox};
use tokio::sync::oneshot;

use crate::cluster::Cluster;
use crate::config::ClientConfig;
use accumulator::{Accumulator, Completion};
pub use outcome::{Delivered, Outcome, SendError};
use sender::{Event, Sender};

/// A record to be sent.
#[derive(Clone, Debug)]
pub struct ProducerRecord {
    /// To which topic.
    pub topic: Str,
    /// To which partition; `None`: the partitioner chooses.
    pub partition: Option<i32>,
    /// When; `None`: now.
    pub timestamp: Option<Timestamp>,
    /// The key.
    pub key: Option<Bytes>,
    /// The value.
    pub value: Option<Bytes>,
    /// Headers.
    pub headers: Vec<RecordHeader>,
}

impl ProducerRecord {
    /// A value for a topic, without a key.
    pub fn new(topic: impl Into<Str>, value: impl Into<Bytes>) -> Self {
        Self {
            topic: topic.into(),
            partition: None,
            timestamp: None,
            key: None,
            value: Some(value.into()),
            headers: Vec::new(),
        }
    }

    /// The same to a chosen partition.
    #[must_use]
    pub fn to(self, partition: i32) -> Self {
        Self { partition: Some(partition), ..self }
    }

    /// The same with a key.
    #[must_use]
    pub fn keyed(self, key: impl Into<Bytes>) -> Self {
        Self { key: Some(key.into()), ..self }
    }
}

/// What a producer has done so far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ProducerCounters {
    /// Records handed over.
    pub records: u64,
    /// Records acknowledged.
    pub ok: u64,
    /// Records that surely failed.
    pub failed: u64,
    /// Records of which nobody knows.
    pub unknown: u64,
    /// Batches sent for the first time.
    pub batches: u64,
    /// Batches sent again.
    pub retries: u64,
    /// Requests sent.
    pub requests: u64,
    /// Bytes of batches sent, retries included.
    pub bytes: u64,
    /// Times the metadata were asked for.
    pub refreshes: u64,
}

/// Sends records. Clones share the producer; when the last is dropped, it stops: what was never sent fails, what is in
/// flight or was sent before becomes unknown. [`Producer::flush`] first, to avoid that.
#[derive(Clone)]
pub struct Producer(Arc<Handle>);

struct Handle {
    env: Env,
    cluster: Cluster,
    shared: Arc<Mutex<Accumulator>>,
    events: Post<Event>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        with(&self.shared, |accumulator| accumulator.open = false);
        self.events.post(Event::Wake);
    }
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Producer({})", self.0.cluster.config().client_id)
    }
}

fn with<R>(shared: &Mutex<Accumulator>, f: impl FnOnce(&mut Accumulator) -> R) -> R {
    f(&mut shared.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Producer {
    /// A producer whose sends are waited for one by one.
    pub fn new(env: &Env, config: ClientConfig) -> Self {
        Self::with_sink(env, config, |_| ())
    }

    /// A producer that tells the outcomes of [`Producer::submit`] to `sink`, from its task, in the order in which they
    /// are known.
    pub fn with_sink(env: &Env, config: ClientConfig, sink: impl FnMut(Delivered) + Send + 'static) -> Self {
        // Unbounded posts only: the buffer bounds the records, the requests in flight bound the answers.
        let (events, inbox) = inbox(usize::MAX);
        let cluster = Cluster::new(env, config.clone());
        let random = env.rng(&format!("partitioner {}", config.client_id));
        let shared = Arc::new(Mutex::new(Accumulator::new(config, random)));
        let sender = Sender::new(cluster.clone(), Arc::clone(&shared), events.clone(), inbox, Box::new(sink));
        env.spawn_detached("producer", sender.run());
        Self(Arc::new(Handle { env: env.clone(), cluster, shared, events }))
    }

    /// Sends a record. It is on its way, in order, when this returns.
    pub fn send(&self, record: ProducerRecord) -> Delivery {
        let (sender, receiver) = oneshot::channel();
        if let Err((error, Completion::Once(sender))) = self.push(record, Completion::Once(sender)) {
            drop(sender.send(Delivered::refused(error, 0, self.0.env.now().mono)));
        }
        Delivery(receiver)
    }

    /// Sends a record whose outcome goes to the sink under `tag`. An error is a definite failure, told at once and not to
    /// the sink.
    pub fn submit(&self, record: ProducerRecord, tag: u64) -> Result<(), SendError> {
        self.push(record, Completion::Tagged(tag)).map_err(|(error, _)| error)
    }

    fn push(&self, record: ProducerRecord, completion: Completion) -> Result<(), (SendError, Completion)> {
        let now = self.0.env.now();
        let wake = with(&self.0.shared, |accumulator| accumulator.push(record, completion, now))?;
        if wake {
            self.0.events.post(Event::Wake);
        }
        Ok(())
    }

    /// Sends what lingers and waits until everything handed over so far has an outcome.
    pub async fn flush(&self) {
        let (sender, receiver) = oneshot::channel();
        self.0.events.post(Event::Flush(sender));
        // An error: the producer's task is gone, and with it all that waited.
        let _gone = receiver.await;
    }

    /// Records without an outcome.
    pub fn pending(&self) -> usize {
        with(&self.0.shared, |accumulator| accumulator.pending)
    }

    /// What was done so far.
    pub fn counters(&self) -> ProducerCounters {
        with(&self.0.shared, |accumulator| accumulator.counters)
    }

    /// The view of the cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.0.cluster
    }
}

/// The outcome of a send, to come.
#[derive(Debug)]
#[must_use = "the record is sent, but nobody hears what became of it"]
pub struct Delivery(oneshot::Receiver<Delivered>);

impl Future for Delivery {
    type Output = Delivered;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Delivered> {
        // The sender's task completes all it holds, unless its process ends; then nobody polls this.
        match Pin::new(&mut self.0).poll(cx) {
            Poll::Ready(Ok(delivered)) => Poll::Ready(delivered),
            Poll::Ready(Err(_)) => Poll::Ready(Delivered::lost()),
            Poll::Pending => Poll::Pending,
        }
    }
}
