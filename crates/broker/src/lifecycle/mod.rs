//! A broker's life in its cluster: registration, heartbeats, fencing, controlled shutdown; and its ways to the active
//! controller.
//!
//! Others hold a [`Handle`]: shards change ISRs through it, handlers forward clients' requests, everybody may ask for the
//! [`BrokerStatus`]. Four tasks stand behind it, each with a connection of its own, so that a slow request of one kind
//! holds up no other: `lifecycle` (registration and heartbeats), `alter-partition`, `forwarding` and
//! `producer-ids`.

mod alter;
mod broker;
pub mod channel;
mod forward;
mod producer_ids;

use std::sync::{Arc, Mutex, PoisonError};

use metadata::LeaderRecovery;
use protocol::{BrokerEpoch, Decoder, ErrorCode, Message, Request, Str, TopicIdPartition, Uuid};
use replication::{AlterAnswer, AlterPartition};
use runtime::{Env, Observation, Post, inbox};
use tokio::sync::oneshot;
use transport::server::{Answer, RequestContext, RequestFrame};

pub use channel::{ChannelError, ControllerChannel, ControllerOptions};

use crate::image::ImageCell;
use crate::{Config, Release, quorum};

/// Where a broker is in its life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum BrokerState {
    /// Not registered yet.
    Starting,
    /// Registered, fenced, and not ready or not caught up yet.
    Recovery,
    /// Unfenced.
    Running,
    /// Was unfenced; the controller has fenced it since.
    Fenced,
    /// Asked the controller to be relieved.
    PendingControlledShutdown,
    /// May stop.
    ShuttingDown,
}

/// What anybody may know of the broker; a moment old.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BrokerStatus {
    /// See [`BrokerState`].
    pub state: BrokerState,
    /// Of the registration; [`BrokerEpoch::NONE`] before it.
    pub epoch: BrokerEpoch,
}

/// A wish of a shard: change the ISR of a partition led here.
pub struct Alter {
    /// Which.
    pub partition: TopicIdPartition,
    /// To what. An entry for this broker itself need not know its epoch.
    pub change: AlterPartition,
    /// Whether the leader has recovered from an unclean election.
    pub recovery: LeaderRecovery,
    /// Called exactly once with the outcome, in the task of the channel: it must not wait.
    pub done: Box<dyn FnOnce(AlterAnswer) + Send>,
}

impl std::fmt::Debug for Alter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Alter({:?} {:?})", self.partition, self.change)
    }
}

/// The status, shared by the tasks.
#[derive(Clone, Debug)]
struct Shared(Arc<Mutex<Known>>);

#[derive(Debug)]
struct Known {
    status: BrokerStatus,
    /// Who waits for the broker to be unfenced. Invariant: empty while it is.
    waiting: Vec<oneshot::Sender<()>>,
}

impl Shared {
    fn new(status: BrokerStatus) -> Self {
        Self(Arc::new(Mutex::new(Known { status, waiting: Vec::new() })))
    }

    fn with<R>(&self, f: impl FnOnce(&mut Known) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn status(&self) -> BrokerStatus {
        self.with(|known| known.status)
    }

    fn set(&self, status: BrokerStatus) {
        self.with(|known| {
            known.status = status;
            if status.state == BrokerState::Running {
                known.waiting.drain(..).for_each(|waiting| waiting.send(()).unwrap_or_default());
            }
        });
    }
}

/// The way to a broker's lifecycle. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Shared,
    broker: Post<broker::Message>,
    alters: Post<Alter>,
    forwards: Post<forward::Message>,
    creating: forward::Creating,
    producer_ids: producer_ids::ProducerIds,
    env: Env,
    incarnation: Uuid,
}

impl Handle {
    /// What this process is registered as: another one under the same id has another.
    pub const fn incarnation(&self) -> Uuid {
        self.incarnation
    }

    /// State and epoch as of a moment ago.
    pub fn status(&self) -> BrokerStatus {
        self.shared.status()
    }

    /// Resolves when the broker is unfenced; never if the process gives up before.
    pub fn running(&self) -> impl Future<Output = ()> + Send + use<> {
        let (running, told) = oneshot::channel();
        self.shared.with(|known| match known.status.state {
            BrokerState::Running => running.send(()).unwrap_or_default(),
            _ => known.waiting.push(running),
        });
        async move {
            if told.await.is_err() {
                std::future::pending().await
            }
        }
    }

    /// Says that the logs are open and recovered, and the first image is acted on: the broker may be unfenced.
    pub fn ready(&self) {
        self.broker.post(broker::Message::Ready);
    }

    /// Asks the controller to change an ISR. All that wait travel in one request; one request is in flight.
    pub fn alter_partition(&self, alter: Alter) {
        self.alters.post(alter);
    }

    /// Sends a client's request to the active controller, in an Envelope; the answer is the controller's, or the request's
    /// error response when there is none. The request is on its way when this returns.
    pub fn forward(&self, context: &RequestContext, frame: &RequestFrame) -> Answer {
        let (reply, answer) = oneshot::channel();
        let forward = forward::Forward::new(context, frame.whole().clone(), reply);
        self.forwards.post(forward::Message::Forward(Box::new(forward)));
        let (context, frame) = (context.clone(), frame.clone());
        Answer::later(async move {
            let result = answer.await.unwrap_or(Err(forward::ForwardError::TimedOut));
            forward::reply(&context, &frame, result)
        })
    }

    /// Sends `request` to the active controller in the place of the one that a client sent, in the client's version. The
    /// receiver gets the controller's answer, or the code that stands for none.
    ///
    /// # Panics
    /// If the client's version cannot express `request`.
    pub fn forward_instead<R: Request>(
        &self,
        context: &RequestContext,
        request: &R,
    ) -> impl Future<Output = Result<R::Response, ErrorCode>> + Send + 'static {
        let (version, client_id) = (context.api_version, Some(context.client_id.clone()));
        let frame = request.to_frame(version, context.correlation_id, client_id).expect("a part of what was read");
        let (reply, answer) = oneshot::channel();
        self.forwards.post(forward::Message::Forward(Box::new(forward::Forward::new(context, frame, reply))));
        async move {
            let body = answer.await.unwrap_or(Err(forward::ForwardError::TimedOut)).map_err(|error| error.code())?;
            R::Response::decode(&mut Decoder::new(body), version).map_err(|_| ErrorCode::UnknownServerError)
        }
    }

    /// Creates topics that somebody asked for (`auto.create.topics.enable`), with the defaults; one creation of a name at a
    /// time. Whether it succeeds is seen in the metadata.
    pub fn create_topics_in_background(&self, names: Vec<Str>) {
        let names = self.creating.begin(names);
        if !names.is_empty() {
            self.forwards.post(forward::Message::Create(names));
        }
    }

    /// A producer id that nobody has. `None` while none is at hand: a block of them is on its way from the controller.
    pub fn take_producer_id(&self) -> Option<i64> {
        let id = self.producer_ids.take();
        if let Some(id) = id {
            self.env.observe(Observation::ProducerIdGiven { id });
        }
        id
    }

    /// Controlled shutdown: waits until the controller has relieved this broker of its partitions, or five minutes. After
    /// it the broker may stop; its heartbeats have ended.
    pub async fn controlled_shutdown(&self) {
        let (done, over) = oneshot::channel();
        self.broker.post(broker::Message::Shutdown(done));
        drop(over.await);
    }
}

/// Called when the broker could not register in time: in Kafka the process ends.
pub type OnFatal = Box<dyn Fn(String) + Send>;

/// What a lifecycle is made from.
#[derive(Debug)]
pub struct Start<'a> {
    /// The process.
    pub env: &'a Env,
    /// This node's properties.
    pub config: &'a Config,
    /// What this build speaks.
    pub release: &'a Release,
    /// The cluster that the log directory belongs to.
    pub cluster_id: Uuid,
    /// Ids of the log directories (`directory.id` of their `meta.properties`).
    pub log_dirs: Vec<Uuid>,
    /// The epoch of the last registration if the broker was stopped cleanly, else [`BrokerEpoch::NONE`].
    pub previous_epoch: BrokerEpoch,
    /// Where to find the active controller.
    pub quorum: quorum::Handle,
    /// How far this node's metadata is. Held back, it is released when the broker has read its own registration.
    pub image: ImageCell,
}

/// Starts a broker's life: it registers at once, and is unfenced once it has caught up and is [`Handle::ready`].
pub fn start(start: Start<'_>, on_fatal: OnFatal) -> Handle {
    let env = start.env;
    let options = ControllerOptions::new(start.config);
    let channel = || ControllerChannel::new(env, start.quorum.clone(), options.clone());
    let shared = Shared::new(BrokerStatus { state: BrokerState::Starting, epoch: BrokerEpoch::NONE });

    // Unbounded: at most one wish a partition, one request a connection's pipeline slot, and a few words.
    let (alters, alter_inbox) = inbox(usize::MAX);
    let (forwards, forward_inbox) = inbox(usize::MAX);
    let (broker, broker_inbox) = inbox(usize::MAX);
    let node = start.config.node_id;
    env.spawn_detached("alter-partition", alter::run(node, shared.clone(), channel(), alter_inbox));
    let numbers = &start.config.numbers;
    let creating = forward::Creating::default();
    let auto = forward::AutoTopics {
        // A default of this broker's own file counts, Kafka's own (1) leaves it to the controller.
        num_partitions: i32::try_from(numbers.num_partitions).ok().filter(|count| *count > 1).unwrap_or(-1),
        replication_factor: i16::try_from(numbers.default_replication_factor).ok().filter(|it| *it > 1).unwrap_or(-1),
        timeout: Config::ms(numbers.request_timeout_ms),
    };
    env.spawn_detached("forwarding", forward::run(env.clone(), channel(), creating.clone(), auto, forward_inbox));
    let (asker, askers) = inbox(usize::MAX);
    let producer_ids = producer_ids::ProducerIds::new(asker);
    env.spawn_detached(
        "producer-ids",
        producer_ids::run(env.clone(), node, shared.clone(), channel(), producer_ids.clone(), askers),
    );
    let life = broker::Life::new(&start, shared.clone(), channel(), on_fatal);
    let incarnation = life.incarnation();
    env.spawn_detached("lifecycle", life.run(broker_inbox));
    Handle { shared, broker, alters, forwards, creating, producer_ids, env: env.clone(), incarnation }
}
