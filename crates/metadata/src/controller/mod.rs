//! [`Controller`]: the replicated machine that owns the cluster's metadata.
//!
//! It lives on the metadata quorum by the host contract ([`Event`]): while it leads it turns requests into records,
//! replays each at once into its state and asks for their append; the answer leaves when they are committed. While it
//! does not, it replays what others wrote. State ahead of the log is taken back on [`Event::Lost`].
//!
//! | file | what |
//! |---|---|
//! | `cluster` | brokers: registration, heartbeats, sessions, fencing, controlled shutdown |
//! | `topics`, `placement` | CreateTopics |
//! | `deletion`, `partitions`, `alter_configs` | DeleteTopics, CreatePartitions, changes of configurations |
//! | `alter_partition` | ISR changes asked by leaders |
//! | `producer_ids` | blocks of producer ids |
//! | `elections`, `leaders` | who leads a partition when brokers come and go; ElectLeaders |
//! | `bootstrap` | the first records of a cluster |
//! | `state` | what is replicated |
//! | `replies` | the host's queue of answers that wait |
//!
//! Soft state (sessions, periodic tasks) is built when elected and dropped when lost: every unfenced broker starts with a
//! fresh session at a new controller.

mod alter_configs;
mod alter_partition;
pub mod bootstrap;
mod cluster;
mod deletion;
mod elections;
mod leaders;
mod partitions;
mod placement;
mod producer_ids;
mod replies;
mod request;
mod state;
#[cfg(test)]
mod tests;
mod topics;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use protocol::messages::abort_transaction_record::AbortTransactionRecord;
use protocol::messages::no_op_record::NoOpRecord;
use protocol::{ErrorCode, LeaderEpoch, MetadataRecord as Record, Monotonic, NodeId, Now, Offset, Str, Uuid};
use rand_chacha::ChaCha8Rng;

use cluster::Session;
pub use producer_ids::PRODUCER_IDS_BLOCK;
pub use replies::Replies;
pub use request::{Request, Response};
use state::State;

use crate::digest::Digest;

/// What the controller is told at its start; Kafka's property names beside the fields.
#[derive(Clone, Debug)]
pub struct Config {
    /// `cluster.id`: brokers of another cluster are refused.
    pub cluster_id: Str,
    /// `broker.session.timeout.ms`.
    pub session_timeout: Duration,
    /// `metadata.max.idle.interval.ms`; `None` for 0: no NoOp records.
    pub idle_interval: Option<Duration>,
    /// `leader.imbalance.check.interval.seconds`; `None` without `auto.leader.rebalance.enable`.
    pub leader_imbalance_check_interval: Option<Duration>,
    /// `unclean.leader.election.interval.ms`.
    pub unclean_election_interval: Duration,
    /// `num.partitions`.
    pub num_partitions: i32,
    /// `default.replication.factor`.
    pub default_replication_factor: i16,
    /// `delete.topic.enable`.
    pub delete_topic_enable: bool,
    /// Values in this node's file that topics inherit, by the broker's property names.
    pub topic_defaults: BTreeMap<Str, Str>,
    /// Of a quorum with this node as its only voter: the broker in this very process, and its incarnation. Another one that
    /// is registered under this id has no session to wait for: its process is dead, since this one has its directory.
    pub lone_broker: Option<(NodeId, Uuid)>,
    /// The records that open an empty log; see [`bootstrap::records`].
    pub bootstrap: Vec<Record>,
}

impl Default for Config {
    /// Kafka's defaults.
    fn default() -> Self {
        Self {
            cluster_id: Str::EMPTY,
            session_timeout: Duration::from_secs(9),
            idle_interval: Some(Duration::from_millis(500)),
            leader_imbalance_check_interval: Some(Duration::from_secs(300)),
            unclean_election_interval: Duration::from_secs(300),
            num_partitions: 1,
            default_replication_factor: 1,
            delete_topic_enable: true,
            topic_defaults: BTreeMap::new(),
            lone_broker: None,
            bootstrap: bootstrap::records(),
        }
    }
}

/// The number a host gives a request to know its answer by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub u64);

/// The number the controller gives an append to know its fate by. Rises, over leaderships too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(pub u64);

/// What happens to the controller.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// This node leads `epoch`, and everything below `start` was replayed (KAFKA-15345); the first record this machine
    /// appends gets the offset `start`, and nobody else appends until [`Event::Lost`].
    Elected {
        /// The controller epoch.
        epoch: LeaderEpoch,
        /// See above.
        start: Offset,
    },
    /// An append has its offsets; `last` is that of its last record.
    Appended {
        /// Which.
        ticket: Ticket,
        /// See above.
        last: Offset,
    },
    /// Everything below `offset` is committed (the high watermark, exclusive).
    Committed {
        /// See above.
        offset: Offset,
    },
    /// This node no longer leads `epoch`.
    Lost {
        /// The epoch of the matching [`Event::Elected`].
        epoch: LeaderEpoch,
    },
    /// Somebody asks.
    Request {
        /// To answer by.
        id: RequestId,
        /// What.
        request: Request,
    },
    /// [`Controller::deadline`] has come.
    Tick,
}

/// What the host must do, in order.
#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    /// Append `records` as one atomic batch in `epoch`; the first gets the offset `base`. The replies leave when the last
    /// record is committed.
    Append {
        /// For [`Event::Appended`].
        ticket: Ticket,
        /// Which leadership writes.
        epoch: LeaderEpoch,
        /// Offset of the first record.
        base: Offset,
        /// Not empty.
        records: Vec<Record>,
        /// Whom to answer, and what.
        replies: Vec<(RequestId, Response)>,
    },
    /// Answer when everything up to `after` is committed: the answer has read it. [`Offset::NONE`]: at once.
    Reply {
        /// Whom.
        to: RequestId,
        /// What.
        response: Response,
        /// See above.
        after: Offset,
    },
}

/// Effects in order.
pub type Effects = Vec<Effect>;

/// A summary of the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct View {
    /// The epoch it leads, if it does.
    pub epoch: Option<LeaderEpoch>,
    /// Offset of the next record it appends; meaningful while it leads.
    pub next_offset: Offset,
    /// Up to where (inclusive) its state is final.
    pub committed: Offset,
    /// Registered brokers.
    pub brokers: usize,
    /// Those of them that are fenced.
    pub fenced: usize,
    /// Topics.
    pub topics: usize,
}

/// No more records than this in one batch.
const BATCH_RECORDS_MAX: usize = 10_000;

/// The controller of one node. See the module.
#[derive(Debug)]
pub struct Controller {
    config: Config,
    /// Hard state.
    state: State,
    /// Soft state; there while this node leads.
    active: Option<Active>,
    rng: ChaCha8Rng,
    next_ticket: u64,
}

/// What a leading controller has and a follower has not.
#[derive(Debug)]
struct Active {
    epoch: LeaderEpoch,
    next_offset: Offset,
    /// Records of the operation at work, replayed already.
    batch: Vec<Record>,
    /// Appends without their [`Event::Appended`] yet, with the last offset each must get.
    appends: VecDeque<(Ticket, Offset)>,
    /// By broker. Only heartbeats make a session.
    sessions: BTreeMap<NodeId, Session>,
    next_idle: Monotonic,
    next_balance: Monotonic,
    next_unclean: Monotonic,
}

impl Controller {
    /// A controller with an empty log, not leading.
    pub fn new(config: Config, rng: ChaCha8Rng) -> Self {
        Self { config, state: State::new(), active: None, rng, next_ticket: 0 }
    }

    /// Carries out a committed record that this leadership did not write. [`Event::Committed`] may follow whenever it likes:
    /// such a record is final.
    ///
    /// # Panics
    /// While leading, and where the record contradicts the state.
    pub fn replay(&mut self, offset: Offset, record: &Record) {
        assert!(self.active.is_none(), "replay at offset {offset} while leading");
        self.state.replay(offset, record);
        self.state.commit(offset);
    }

    /// Handles one event.
    pub fn step(&mut self, now: Now, event: Event, out: &mut Effects) {
        match event {
            Event::Elected { epoch, start } => self.elected(now, epoch, start, out),
            Event::Lost { epoch } => self.lost(epoch),
            Event::Committed { offset } => {
                if let Some(active) = &self.active {
                    assert!(offset <= active.next_offset, "offset {offset} is committed, never written");
                }
                self.state.commit(offset.plus(-1));
            }
            Event::Appended { ticket, last } => {
                let Some(active) = &mut self.active else { return };
                if active.appends.front().is_some_and(|(next, _)| *next <= ticket) {
                    let (expected, offset) = active.appends.pop_front().expect("looked at just now");
                    assert_eq!((ticket, last), (expected, offset), "an append got other offsets than were replayed");
                }
            }
            Event::Request { id, request } => match self.work(now) {
                Some(mut work) => work.request(id, request, out),
                None => {
                    let response = request.refused(ErrorCode::NotController);
                    out.push(Effect::Reply { to: id, response, after: Offset::NONE });
                }
            },
            Event::Tick => {
                if let Some(mut work) = self.work(now) {
                    work.tick(out);
                }
            }
        }
    }

    fn elected(&mut self, now: Now, epoch: LeaderEpoch, start: Offset, out: &mut Effects) {
        assert!(self.active.is_none(), "elected in epoch {epoch} while leading");
        assert!(start > self.state.committed(), "elected at {start}, below what was replayed");
        let later = |interval: Option<Duration>| interval.map_or(Monotonic::NEVER, |interval| now.mono + interval);
        // Control records up to `start` carry nothing for this state, but they are committed.
        self.state.commit(start.plus(-1));
        let dead =
            |id: NodeId, incarnation| self.config.lone_broker.is_some_and(|own| own.0 == id && own.1 != incarnation);
        let brokers = self.state.brokers.iter();
        let unfenced = brokers.filter(|(id, broker)| !broker.fenced && !dead(**id, broker.incarnation));
        self.active = Some(Active {
            epoch,
            next_offset: start,
            batch: Vec::new(),
            appends: VecDeque::new(),
            sessions: unfenced.map(|(id, broker)| (*id, Session::new(broker.epoch, now.mono))).collect(),
            next_idle: later(self.config.idle_interval),
            next_balance: later(self.config.leader_imbalance_check_interval),
            next_unclean: later(Some(self.config.unclean_election_interval)),
        });
        let mut work = self.work(now).expect("active since just now");
        if work.state.in_transaction() {
            let reason = Some(Str::from_static("the controller that began it is gone"));
            work.push(AbortTransactionRecord { reason, ..Default::default() }.into());
        }
        if !work.state.features.contains_key(bootstrap::METADATA_VERSION) {
            for record in work.config.bootstrap.clone() {
                work.push(record);
            }
        }
        work.finish(None, out);
    }

    fn lost(&mut self, epoch: LeaderEpoch) {
        let active = self.active.take().expect("lost without having been elected");
        assert_eq!(active.epoch, epoch, "lost another epoch than was led");
        self.state.revert();
    }

    fn work(&mut self, now: Now) -> Option<Work<'_>> {
        Some(Work {
            now,
            config: &self.config,
            state: &mut self.state,
            active: self.active.as_mut()?,
            rng: &mut self.rng,
            next_ticket: &mut self.next_ticket,
        })
    }

    /// When [`Event::Tick`] is due.
    pub fn deadline(&self) -> Option<Monotonic> {
        let active = self.active.as_ref()?;
        let session = cluster::next_expiry(&self.state, active, self.config.session_timeout);
        let next = active.next_idle.min(active.next_balance).min(active.next_unclean);
        Some(session.map_or(next, |session| session.min(next))).filter(|at| *at != Monotonic::NEVER)
    }

    /// A summary.
    pub fn view(&self) -> View {
        View {
            epoch: self.active.as_ref().map(|active| active.epoch),
            next_offset: self.active.as_ref().map_or(Offset::NONE, |active| active.next_offset),
            committed: self.state.committed(),
            brokers: self.state.brokers.len(),
            fenced: self.state.brokers.iter().filter(|(_, broker)| broker.fenced).count(),
            topics: self.state.topics.len(),
        }
    }

    /// The offset of the last record in its state, if all of it is committed; [`Offset::NONE`] for the empty state.
    pub fn settled(&self) -> Option<Offset> {
        let committed = self.state.committed();
        let ahead = self.active.as_ref().is_some_and(|active| active.next_offset != committed.plus(1));
        (!ahead).then_some(committed)
    }

    /// What its state holds.
    pub fn digest(&self) -> Digest {
        self.state.digest()
    }

    /// Panics where a written invariant does not hold.
    pub fn check_invariants(&self) {
        self.check_changed(&mut None);
    }

    /// The same, except that a state which has not changed since `checked` is not looked through again: with many partitions
    /// that would cost more than all that a controller does for an idle cluster.
    pub fn check_changed(&self, checked: &mut Option<u64>) {
        let changes = Some(self.state.changes());
        if *checked != changes {
            self.state.check_invariants();
            *checked = changes;
        }
        if let Some(active) = &self.active {
            assert!(active.batch.is_empty(), "records of an operation were never appended");
            assert!(active.next_offset > self.state.committed(), "committed beyond what was written");
            for (id, session) in &active.sessions {
                assert!(
                    self.state.brokers.get(id).is_some_and(|broker| broker.epoch == session.epoch),
                    "session of {id}"
                );
            }
        }
    }
}

/// One operation of a leading controller: everything it may read and write.
struct Work<'a> {
    now: Now,
    config: &'a Config,
    state: &'a mut State,
    active: &'a mut Active,
    rng: &'a mut ChaCha8Rng,
    next_ticket: &'a mut u64,
}

impl Work<'_> {
    fn request(&mut self, id: RequestId, request: Request, out: &mut Effects) {
        let response = match request {
            Request::BrokerRegistration(request) => Response::BrokerRegistration(self.register_broker(&request)),
            Request::BrokerHeartbeat(request) => Response::BrokerHeartbeat(self.heartbeat(&request)),
            Request::AlterPartition(request) => Response::AlterPartition(self.alter_partitions(&request)),
            Request::CreateTopics(request) => Response::CreateTopics(self.create_topics(&request)),
            Request::AllocateProducerIds(request) => {
                Response::AllocateProducerIds(self.allocate_producer_ids(&request))
            }
            Request::ControllerRegistration(request) => {
                Response::ControllerRegistration(self.register_controller(&request))
            }
            Request::DeleteTopics(request) => Response::DeleteTopics(self.delete_topics(&request)),
            Request::CreatePartitions(request) => Response::CreatePartitions(self.create_partitions(&request)),
            Request::IncrementalAlterConfigs(request) => {
                Response::IncrementalAlterConfigs(self.incremental_alter_configs(&request))
            }
            Request::AlterConfigs(request) => Response::AlterConfigs(self.alter_configs(&request)),
            Request::ElectLeaders(request) => Response::ElectLeaders(self.elect_leaders(&request)),
            Request::ListPartitionReassignments(request) => {
                Response::ListPartitionReassignments(self.list_partition_reassignments(&request))
            }
        };
        self.finish(Some((id, response)), out);
    }

    /// Adds a record to the operation's batch and replays it: what follows in the same operation sees it (KAFKA-13173).
    fn push(&mut self, record: Record) {
        let offset = self.active.next_offset;
        self.state.replay(offset, &record);
        self.active.next_offset = offset.plus(1);
        self.active.batch.push(record);
    }

    /// Ends the operation: its records are appended, and the reply waits for them; without records it waits for everything
    /// that the operation may have read.
    fn finish(&mut self, reply: Option<(RequestId, Response)>, out: &mut Effects) {
        let mut records = std::mem::take(&mut self.active.batch);
        if records.is_empty() {
            if let Some((to, response)) = reply {
                let last = self.active.next_offset.plus(-1);
                let after = if last > self.state.committed() { last } else { Offset::NONE };
                out.push(Effect::Reply { to, response, after });
            }
            return;
        }
        let mut base = self.active.next_offset.plus(-(records.len() as i64));
        let mut reply = reply;
        while !records.is_empty() {
            // Only what need not be atomic grows beyond one batch: the partitions of a broker that comes or goes.
            let rest = records.split_off(records.len().min(BATCH_RECORDS_MAX));
            let ticket = Ticket(*self.next_ticket);
            *self.next_ticket += 1;
            let last = base.plus(records.len() as i64 - 1);
            self.active.appends.push_back((ticket, last));
            let replies = if rest.is_empty() { reply.take().into_iter().collect() } else { Vec::new() };
            out.push(Effect::Append { ticket, epoch: self.active.epoch, base, records, replies });
            base = last.plus(1);
            records = rest;
        }
    }

    fn tick(&mut self, out: &mut Effects) {
        let now = self.now.mono;
        while self.fence_one_expired() {
            self.finish(None, out);
        }
        if let Some(interval) = self.config.idle_interval
            && now >= self.active.next_idle
        {
            self.push(NoOpRecord::default().into());
            self.finish(None, out);
            self.active.next_idle = now + interval;
        }
        if let Some(interval) = self.config.leader_imbalance_check_interval
            && now >= self.active.next_balance
        {
            let more = self.elect_preferred_leaders();
            self.finish(None, out);
            self.active.next_balance = now + if more { Duration::from_millis(10) } else { interval };
        }
        if now >= self.active.next_unclean {
            self.elect_unclean_leaders();
            self.finish(None, out);
            self.active.next_unclean = now + self.config.unclean_election_interval;
        }
    }
}
