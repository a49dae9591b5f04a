//! Tests of the controller: a cluster told as a script, with the quorum played by the test.

mod admin;
mod alter_partition;
mod brokers;
mod leadership;
mod random;
mod topics;

use std::collections::BTreeMap;

use protocol::messages::alter_partition_request::{self, AlterPartitionRequest};
use protocol::messages::alter_partition_response::{self, AlterPartitionResponse};
use protocol::messages::broker_heartbeat_request::BrokerHeartbeatRequest;
use protocol::messages::broker_heartbeat_response::BrokerHeartbeatResponse;
use protocol::messages::broker_registration_request::{self, BrokerRegistrationRequest};
use protocol::messages::broker_registration_response::BrokerRegistrationResponse;
use protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use protocol::messages::create_topics_response::CreateTopicsResponse;
use protocol::{BrokerEpoch, Timestamp, TopicIdPartition, Uuid};
use rand::SeedableRng;

use super::*;
use crate::image::{ConfigResource, Image};
use crate::partition::PartitionRegistration;

const SESSION: Duration = Duration::from_millis(1_500);

fn config() -> Config {
    Config { cluster_id: Str::from_static("wave"), session_timeout: SESSION, idle_interval: None, ..Config::default() }
}

/// A controller and its quorum.
struct Cluster {
    controller: Controller,
    /// By offset; `None` is a control record.
    log: Vec<Option<Record>>,
    high_watermark: Offset,
    epoch: i32,
    now: Monotonic,
    replies: Replies<(RequestId, Response)>,
    answered: BTreeMap<RequestId, Response>,
    next_id: u64,
    /// Sizes of the batches appended.
    batches: Vec<usize>,
    /// Ends of the batches in the log.
    ends: Vec<usize>,
    /// Commits at once when nothing else is said.
    commits_at_once: bool,
}

impl Cluster {
    fn with(config: Config) -> Self {
        let mut cluster = Self {
            controller: Controller::new(config, ChaCha8Rng::seed_from_u64(1)),
            log: Vec::new(),
            high_watermark: Offset(0),
            epoch: 0,
            now: Monotonic(1_000_000_000),
            replies: Replies::default(),
            answered: BTreeMap::new(),
            next_id: 0,
            batches: Vec::new(),
            ends: Vec::new(),
            commits_at_once: true,
        };
        cluster.elect();
        cluster
    }

    /// A cluster whose controller leads, with brokers 1 to `brokers`, unfenced.
    fn new(brokers: i32) -> Self {
        let mut cluster = Self::with(config());
        for id in 1..=brokers {
            cluster.start(id);
        }
        cluster
    }

    fn now(&self) -> Now {
        Now { mono: self.now, wall: Timestamp(0) }
    }

    fn step(&mut self, event: Event) {
        let mut effects = Effects::new();
        self.controller.step(self.now(), event, &mut effects);
        self.controller.check_invariants();
        for effect in effects {
            match effect {
                Effect::Append { ticket, epoch, base, records, replies } => {
                    assert_eq!(epoch.0, self.epoch);
                    assert_eq!(base.0 as usize, self.log.len(), "the machine counts offsets as the quorum does");
                    assert!(!records.is_empty());
                    self.batches.push(records.len());
                    self.log.extend(records.into_iter().map(Some));
                    self.ends.push(self.log.len());
                    let last = Offset(self.log.len() as i64 - 1);
                    replies.into_iter().for_each(|reply| self.replies.push(last, reply));
                    self.controller.step(self.now(), Event::Appended { ticket, last }, &mut Effects::new());
                }
                Effect::Reply { to, response, after } if after.is_none() => {
                    self.answered.insert(to, response);
                }
                Effect::Reply { to, response, after } => self.replies.push(after, (to, response)),
            }
        }
        if self.commits_at_once {
            self.commit(Offset(self.log.len() as i64));
        }
    }

    fn leads(&self) -> bool {
        self.controller.view().epoch.is_some()
    }

    fn commit(&mut self, high_watermark: Offset) {
        if high_watermark <= self.high_watermark || !self.leads() {
            return;
        }
        self.high_watermark = high_watermark;
        self.controller.step(self.now(), Event::Committed { offset: high_watermark }, &mut Effects::new());
        self.controller.check_invariants();
        self.answered.extend(self.replies.committed(high_watermark));
    }

    /// The end of the last whole batch at or below `offset`.
    fn batch_end(&self, offset: usize) -> usize {
        self.ends.iter().copied().filter(|end| *end <= offset).max().unwrap_or(0)
    }

    /// Another node leads: the log is cut to the whole batches among `keep` records beyond the high watermark.
    fn lose(&mut self, keep: usize) {
        self.step(Event::Lost { epoch: LeaderEpoch(self.epoch) });
        for (id, response) in self.replies.lost() {
            self.answered.insert(id, response.refused(ErrorCode::NotController));
        }
        self.log.truncate(self.batch_end(self.high_watermark.0 as usize + keep));
        self.ends.retain(|end| *end <= self.log.len());
    }

    /// This node is elected: what is in the log becomes committed, as far as it was not, and is replayed.
    fn elect(&mut self) {
        let first = self.controller.view().committed.0 + 1;
        for offset in first..self.log.len() as i64 {
            if let Some(record) = &self.log[offset as usize] {
                self.controller.replay(Offset(offset), record);
            }
        }
        self.log.push(None);
        self.ends.push(self.log.len());
        self.high_watermark = Offset(self.log.len() as i64);
        self.epoch += 1;
        self.step(Event::Elected { epoch: LeaderEpoch(self.epoch), start: self.high_watermark });
    }

    fn ask(&mut self, request: Request) -> RequestId {
        self.next_id += 1;
        let id = RequestId(self.next_id);
        self.step(Event::Request { id, request });
        id
    }

    fn answer(&self, id: RequestId) -> &Response {
        self.answered.get(&id).unwrap_or_else(|| panic!("{id:?} has no answer"))
    }

    fn advance(&mut self, duration: Duration) {
        self.now = self.now + duration;
    }

    fn tick(&mut self) {
        self.step(Event::Tick);
    }

    fn registration(id: i32, incarnation: u64) -> BrokerRegistrationRequest {
        BrokerRegistrationRequest {
            broker_id: id,
            cluster_id: Str::from_static("wave"),
            incarnation_id: Uuid::from_halves(id as u64, incarnation),
            features: vec![broker_registration_request::Feature {
                name: Str::from_static("metadata.version"),
                min_supported_version: 7,
                max_supported_version: 30,
                ..Default::default()
            }],
            log_dirs: vec![Uuid::from_halves(id as u64, 1 << 20)],
            ..Default::default()
        }
    }

    fn register(&mut self, request: BrokerRegistrationRequest) -> BrokerRegistrationResponse {
        let id = self.ask(Request::BrokerRegistration(request));
        match self.answer(id) {
            Response::BrokerRegistration(response) => response.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn try_register(&mut self, id: i32, incarnation: u64) -> Result<BrokerEpoch, ErrorCode> {
        let response = self.register(Self::registration(id, incarnation));
        match ErrorCode::from_code(response.error_code) {
            ErrorCode::None => Ok(BrokerEpoch(response.broker_epoch)),
            code => Err(code),
        }
    }

    /// A heartbeat of a broker that knows all that is committed.
    fn beat(&mut self, id: i32) -> BrokerHeartbeatResponse {
        self.beat_with(id, |_| ())
    }

    fn beat_with(&mut self, id: i32, change: impl FnOnce(&mut BrokerHeartbeatRequest)) -> BrokerHeartbeatResponse {
        let mut request = BrokerHeartbeatRequest {
            broker_id: id,
            broker_epoch: self.broker_epoch(id),
            current_metadata_offset: self.high_watermark.0 - 1,
            ..Default::default()
        };
        change(&mut request);
        let id = self.ask(Request::BrokerHeartbeat(request));
        match self.answer(id) {
            Response::BrokerHeartbeat(response) => response.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn broker_epoch(&self, id: i32) -> i64 {
        self.controller.state.brokers.get(&NodeId(id)).map_or(-1, |broker| broker.epoch.0)
    }

    /// Registers a new incarnation and unfences it.
    fn start(&mut self, id: i32) {
        self.next_id += 1;
        let incarnation = self.next_id;
        self.try_register(id, incarnation).expect("registered");
        assert!(!self.beat(id).is_fenced);
    }

    fn create_all(&mut self, request: CreateTopicsRequest) -> CreateTopicsResponse {
        let id = self.ask(Request::CreateTopics(request));
        match self.answer(id) {
            Response::CreateTopics(response) => response.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn create(&mut self, topic: CreatableTopic) -> ErrorCode {
        let response = self.create_all(CreateTopicsRequest { topics: vec![topic], ..Default::default() });
        ErrorCode::from_code(response.topics[0].error_code)
    }

    /// Creates a topic with one partition on these brokers.
    fn topic_on(&mut self, name: &str, brokers: &[i32]) -> TopicIdPartition {
        assert_eq!(self.create(assigned(name, &[(0, brokers)])), ErrorCode::None);
        self.partition_of(name)
    }

    fn partition_of(&self, name: &str) -> TopicIdPartition {
        TopicIdPartition { topic_id: *self.controller.state.ids.get(name).expect("a topic"), partition: 0 }
    }

    fn partition(&self, id: TopicIdPartition) -> PartitionRegistration {
        PartitionRegistration::clone(self.controller.state.partitions.get(&id).expect("a partition"))
    }

    /// Leader and ISR.
    fn state(&self, id: TopicIdPartition) -> (i32, Vec<i32>) {
        let partition = self.partition(id);
        (partition.leader.0, partition.isr.iter().map(|id| id.0).collect())
    }

    fn alter(&mut self, request: AlterPartitionRequest) -> AlterPartitionResponse {
        let id = self.ask(Request::AlterPartition(request));
        match self.answer(id) {
            Response::AlterPartition(response) => response.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// The wish of the partition's leader for this ISR, as it should be; changed by `change`.
    fn wish(
        &self,
        id: TopicIdPartition,
        isr: &[i32],
        change: impl FnOnce(&mut alter_partition_request::PartitionData),
    ) -> AlterPartitionRequest {
        let partition = self.partition(id);
        let mut wish = alter_partition_request::PartitionData {
            partition_index: id.partition,
            leader_epoch: partition.leader_epoch.0,
            partition_epoch: partition.partition_epoch.0,
            new_isr_with_epochs: isr
                .iter()
                .map(|id| alter_partition_request::BrokerState {
                    broker_id: *id,
                    broker_epoch: self.broker_epoch(*id),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        };
        change(&mut wish);
        AlterPartitionRequest {
            broker_id: partition.leader.0,
            broker_epoch: self.broker_epoch(partition.leader.0),
            topics: vec![alter_partition_request::TopicData {
                topic_id: id.topic_id,
                partitions: vec![wish],
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    fn set_isr(&mut self, id: TopicIdPartition, isr: &[i32]) -> alter_partition_response::PartitionData {
        let request = self.wish(id, isr, |_| ());
        self.alter(request).topics[0].partitions[0].clone()
    }

    /// The image that a broker would have that knows all that is committed.
    fn image(&self) -> Image {
        let mut image = Image::new();
        for offset in 0..self.high_watermark.0 {
            image = match &self.log[offset as usize] {
                Some(record) => image.apply(Offset(offset), LeaderEpoch(0), std::slice::from_ref(record)).0,
                None => image.advance(Offset(offset), LeaderEpoch(0)),
            };
        }
        image
    }
}

fn assigned(name: &str, partitions: &[(i32, &[i32])]) -> CreatableTopic {
    CreatableTopic {
        name: Str::from(name),
        num_partitions: -1,
        replication_factor: -1,
        assignments: (partitions.iter())
            .map(|(partition, brokers)| protocol::messages::create_topics_request::CreatableReplicaAssignment {
                partition_index: *partition,
                broker_ids: brokers.to_vec(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

fn topic(name: &str, partitions: i32, factor: i16) -> CreatableTopic {
    CreatableTopic {
        name: Str::from(name),
        num_partitions: partitions,
        replication_factor: factor,
        ..Default::default()
    }
}

fn with_config(mut topic: CreatableTopic, name: &str, value: Option<&str>) -> CreatableTopic {
    topic.configs.push(CreatableTopicConfig {
        name: Str::from(name),
        value: value.map(Str::from),
        ..Default::default()
    });
    topic
}
