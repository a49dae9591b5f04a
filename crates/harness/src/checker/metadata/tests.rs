//! C-META and C-ISR find each breach in a log made for it, and accuse nobody where there is none.

use std::sync::Arc;

use protocol::batch::{BatchBuilder, Codec};
use protocol::messages::broker_registration_change_record::BrokerRegistrationChangeRecord;
use protocol::messages::partition_change_record::PartitionChangeRecord;
use protocol::messages::partition_record::PartitionRecord;
use protocol::messages::register_broker_record::RegisterBrokerRecord;
use protocol::messages::topic_record::TopicRecord;
use protocol::{
    BrokerEpoch, LeaderEpoch, MetadataRecord as Record, NodeId, Offset, PartitionEpoch, Timestamp, TopicPartition, Uuid,
};
use runtime::Observation;
use runtime::observation::{ProcessEnd, ReplicaRole};

use super::replay::State;
use crate::checker::{Checker, HostDisk, Judgement, NodeInfo, RunEnd, Setup, TopicInfo};
use crate::event::Stamped;

const TOPIC: Uuid = Uuid([7; 16]);

fn orders() -> TopicPartition {
    TopicPartition::new("orders", 0)
}

fn broker(id: i32, epoch: i64, fenced: bool) -> Record {
    RegisterBrokerRecord { broker_id: id, broker_epoch: epoch, fenced, ..Default::default() }.into()
}

fn changed(id: i32, epoch: i64, fenced: i8, leaving: i8) -> Record {
    BrokerRegistrationChangeRecord {
        broker_id: id,
        broker_epoch: epoch,
        fenced,
        in_controlled_shutdown: leaving,
        ..Default::default()
    }
    .into()
}

fn topic() -> Record {
    TopicRecord { name: "orders".into(), topic_id: TOPIC, ..Default::default() }.into()
}

fn partition(number: i32) -> Record {
    PartitionRecord {
        partition_id: number,
        topic_id: TOPIC,
        replicas: vec![1, 2, 3],
        isr: vec![1, 2, 3],
        leader: 1,
        leader_epoch: 0,
        partition_epoch: 0,
        ..Default::default()
    }
    .into()
}

fn isr(members: &[i32]) -> Record {
    PartitionChangeRecord { partition_id: 0, topic_id: TOPIC, isr: Some(members.to_vec()), ..Default::default() }.into()
}

fn elect(leader: i32, members: &[i32]) -> Record {
    PartitionChangeRecord {
        partition_id: 0,
        topic_id: TOPIC,
        isr: Some(members.to_vec()),
        leader,
        ..Default::default()
    }
    .into()
}

/// A log of batches, a stream and a checker.
struct Told {
    checkers: [Box<dyn Checker>; 2],
    bytes: Vec<u8>,
    next: i64,
    state: State,
    clock: u64,
}

impl Told {
    /// Three brokers, a topic of one partition.
    fn new() -> Self {
        let mut told = Self {
            checkers: [Box::<super::Same>::default(), Box::<super::isr::IsrSound>::default()],
            bytes: Vec::new(),
            next: 0,
            state: State::default(),
            clock: 0,
        };
        for id in 1..=3 {
            told.tell(id, Observation::ProcessStarted);
            told.batch(&[broker(id, i64::from(id), false)]);
            told.tell(id, Observation::BrokerRunning { epoch: BrokerEpoch(id.into()) });
        }
        told.batch(&[topic(), partition(0)]);
        told
    }

    /// Appends a batch to the log; it is committed.
    fn batch(&mut self, records: &[Record]) -> &mut Self {
        let mut builder = BatchBuilder::new(Codec::None).at(Offset(self.next), LeaderEpoch(1));
        self.state.begin();
        for record in records {
            let version = match record {
                Record::RegisterBroker(_) => 4,
                Record::BrokerRegistrationChange(_) => 3,
                Record::Partition(_) | Record::PartitionChange(_) => 2,
                _ => 0,
            };
            let value = record.encode_framed(version).expect("a record of this version");
            builder.append(Timestamp(0), None, Some(value), &[]);
            let _ = self.state.apply(record); // some tests write what cannot be applied
        }
        self.bytes.extend(builder.build().expect("a batch").bytes.to_vec());
        self.next += records.len() as i64;
        self.tell(101, Observation::QuorumHighWatermark { offset: Offset(self.next) })
    }

    fn tell(&mut self, node: i32, what: Observation) -> &mut Self {
        self.clock += 1;
        let (id, host) = (self.clock, Arc::from(format!("b{node}")));
        let event = Stamped { id, at_ns: id, host, node: NodeId(node), cause: 0, what };
        self.checkers.iter_mut().for_each(|checker| checker.observe(&event));
        self
    }

    /// A node says what it has at the log's end.
    fn image(&mut self, wrong: u64) -> &mut Self {
        let (offset, digest) = (Offset(self.next - 1), self.state.digest() + wrong);
        self.tell(2, Observation::ImageApplied { offset, digest })
    }

    fn committed(&mut self, leader: i32, epochs: (i32, i32), members: &[i32]) -> &mut Self {
        self.tell(
            101,
            Observation::PartitionCommitted {
                partition: orders(),
                leader: NodeId(leader),
                leader_epoch: LeaderEpoch(epochs.0),
                partition_epoch: PartitionEpoch(epochs.1),
                isr: nodes(members),
                replicas: nodes(&[1, 2, 3]),
                offset: Offset(self.next - 1),
            },
        )
    }

    fn counts(&mut self, node: i32, epochs: (i32, i32), committed: &[i32], maximal: &[i32]) -> &mut Self {
        self.tell(
            node,
            Observation::Isr {
                partition: orders(),
                leader_epoch: LeaderEpoch(epochs.0),
                partition_epoch: PartitionEpoch(epochs.1),
                committed: nodes(committed),
                maximal: nodes(maximal),
            },
        )
    }

    fn role(&mut self, node: i32, role: ReplicaRole, epoch: i32) -> &mut Self {
        self.tell(
            node,
            Observation::ReplicaRole {
                partition: orders(),
                role,
                leader_epoch: LeaderEpoch(epoch),
                log_end_offset: Offset(0),
                high_watermark: Offset(0),
                epoch_start: Offset(0),
            },
        )
    }

    fn judge(&mut self) -> [Judgement; 2] {
        let path = "data/__cluster_metadata-0/00000000000000000000.log".to_owned();
        let files = [(path, self.bytes.clone().into())].into();
        let disk = HostDisk { host: Arc::from("c1"), node: NodeId(101), files, damage: Vec::new() };
        let node = NodeInfo { host: Arc::from("c1"), id: NodeId(101), broker: false, controller: true };
        let topic = TopicInfo { name: "orders".to_owned(), partitions: 1, replicas: 3, min_isr: 2 };
        let setup = Setup { nodes: vec![node], topics: vec![topic], ..Setup::default() };
        let run = RunEnd { setup, disks: vec![disk], ..RunEnd::default() };
        [self.checkers[0].finish(&run), self.checkers[1].finish(&run)]
    }

    fn claims(&mut self) -> [Option<String>; 2] {
        self.judge().map(|judgement| match judgement {
            Judgement::Violated(violation) => Some(violation.claim),
            _ => None,
        })
    }

    fn meta(&mut self) -> Option<String> {
        self.claims()[0].take()
    }

    fn isr(&mut self) -> Option<String> {
        self.claims()[1].take()
    }
}

fn nodes(ids: &[i32]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

#[test]
fn a_sound_log_and_those_who_follow_it_are_judged_and_held() {
    let mut told = Told::new();
    told.image(0);
    told.committed(1, (0, 0), &[1, 2, 3]).role(1, ReplicaRole::Leader, 0).role(2, ReplicaRole::Follower, 0);
    told.counts(1, (0, 0), &[1, 2, 3], &[1, 2, 3]);
    told.batch(&[isr(&[1, 2])]).image(0).committed(1, (0, 1), &[1, 2]).counts(1, (0, 1), &[1, 2], &[1, 2]);
    told.counts(1, (0, 1), &[1, 2], &[1, 2, 3]);
    told.batch(&[isr(&[1, 2, 3])]).committed(1, (0, 2), &[1, 2, 3]).counts(1, (0, 2), &[1, 2, 3], &[1, 2, 3]);
    told.batch(&[elect(2, &[2, 3]), changed(1, 1, 1, 0)]).role(2, ReplicaRole::Leader, 1).image(0);
    for judgement in told.judge() {
        assert!(matches!(judgement, Judgement::Held { judged } if judged > 2), "{judgement:?}");
    }
}

#[test]
fn an_image_or_a_state_that_is_not_the_replay_is_found() {
    let differs = "a node's metadata are not what the log says";
    assert_eq!(Told::new().image(1).meta().as_deref(), Some(differs));
    let mut told = Told::new();
    let (offset, digest) = (Offset(told.next - 1), told.state.digest() ^ 1);
    told.tell(101, Observation::ControllerApplied { offset, digest });
    assert_eq!(told.meta().as_deref(), Some(differs));
    let mut told = Told::new();
    let digest = told.state.digest();
    let offset = Offset(told.next);
    told.batch(&[isr(&[1, 2])]).tell(2, Observation::ImageApplied { offset, digest });
    assert_eq!(told.meta().as_deref(), Some(differs), "an image that missed a change");
    let mut told = Told::new();
    let offset = Offset(told.next - 2);
    told.tell(2, Observation::ImageApplied { offset, digest });
    assert_eq!(told.meta().as_deref(), Some("a node's metadata end inside a batch"));
}

#[test]
fn a_topic_without_all_its_partitions_in_its_batch_is_found() {
    let half = Some("a topic is half created");
    let told = || {
        let mut told = Told::new();
        told.image(0);
        told
    };
    let other = || TopicRecord { name: "other".into(), topic_id: Uuid([9; 16]), ..Default::default() }.into();
    assert_eq!(told().batch(&[other()]).meta().as_deref(), half);
    assert_eq!(told().batch(&[partition(1)]).meta().as_deref(), half, "one more than was asked for");
    assert_eq!(told().batch(&[topic()]).meta().as_deref(), Some("a metadata record contradicts those before it"));
}

#[test]
fn an_isr_that_the_controller_must_not_commit_is_found() {
    let unsound = Some("the controller committed an ISR that is not sound");
    let after = |records: &[Record]| {
        let mut told = Told::new();
        told.batch(records);
        told.isr()
    };
    assert_eq!(after(&[isr(&[])]).as_deref(), unsound, "empty");
    assert_eq!(after(&[isr(&[1, 4])]).as_deref(), unsound, "a stranger");
    assert_eq!(after(&[isr(&[1, 1])]).as_deref(), unsound, "twice");
    assert_eq!(after(&[isr(&[2, 3])]).as_deref(), unsound, "without its leader");
    assert_eq!(after(&[changed(3, 3, 1, 0)]).as_deref(), unsound, "fenced");
    assert_eq!(after(&[changed(3, 3, 0, 1)]).as_deref(), unsound, "shutting down");
    assert_eq!(after(&[broker(3, 9, false)]).as_deref(), unsound, "registered anew");
    assert_eq!(after(&[isr(&[1, 2]), changed(3, 3, 1, 0)]), None);
    assert_eq!(after(&[isr(&[1, 2]), broker(3, 9, false), isr(&[1, 2, 3])]), None, "it came in as what it is");
}

#[test]
fn the_last_member_of_a_leaderless_partition_may_be_fenced_and_be_elected_when_it_is_back() {
    let mut told = Told::new();
    told.batch(&[isr(&[1])]).batch(&[elect(-1, &[1]), changed(1, 1, 1, 0)]);
    told.batch(&[broker(1, 9, true)]).batch(&[changed(1, 9, -1, 0), elect(1, &[1])]);
    assert_eq!(told.isr(), None);
    let mut told = Told::new();
    told.batch(&[isr(&[1, 2])]).batch(&[elect(-1, &[1, 2]), changed(1, 1, 1, 0)]);
    assert_eq!(told.isr().as_deref(), Some("the controller committed an ISR that is not sound"), "not among others");
}

#[test]
fn two_leaders_in_one_epoch_are_found() {
    let mut told = Told::new();
    told.role(1, ReplicaRole::Leader, 0).role(2, ReplicaRole::Leader, 0);
    assert_eq!(told.isr().as_deref(), Some("two brokers lead a partition in one epoch"));
}

#[test]
fn a_broker_that_goes_back_to_an_older_state_is_found_unless_it_was_restarted() {
    let back = Some("a broker went back to an older state of a partition");
    let told = || {
        let mut told = Told::new();
        told.batch(&[elect(2, &[2, 3]), elect(1, &[1, 2, 3])]);
        told.role(3, ReplicaRole::Follower, 1);
        told
    };
    assert_eq!(told().role(3, ReplicaRole::Follower, 0).isr().as_deref(), back);
    assert_eq!(told().role(3, ReplicaRole::Follower, 2).isr(), None);
    let ended = Observation::ProcessEnded { how: ProcessEnd::Killed, why: String::new() };
    assert_eq!(told().tell(3, ended).role(3, ReplicaRole::Follower, 0).isr(), None);
    let mut states = Told::new();
    states.batch(&[isr(&[1, 2])]).counts(1, (0, 1), &[1, 2], &[1, 2]).counts(1, (0, 0), &[1, 2, 3], &[1, 2, 3]);
    assert_eq!(states.isr().as_deref(), back);
}

#[test]
fn a_member_that_its_leader_does_not_count_is_found_in_either_order() {
    let uncounted = Some("a leader does not count a member of the controller's ISR");
    let told = || {
        let mut told = Told::new();
        told.batch(&[isr(&[1, 2])]).batch(&[isr(&[1, 2, 3])]);
        told
    };
    let mut first = told();
    first.counts(1, (0, 1), &[1, 2], &[1, 2]).committed(1, (0, 2), &[1, 2, 3]);
    assert_eq!(first.isr().as_deref(), uncounted);
    let mut then = told();
    then.committed(1, (0, 2), &[1, 2, 3]).counts(1, (0, 1), &[1, 2], &[1, 2]);
    assert_eq!(then.isr().as_deref(), uncounted);
    let mut ahead = told();
    ahead.committed(1, (0, 0), &[1, 2, 3]).counts(1, (0, 1), &[1, 2], &[1, 2]);
    assert_eq!(ahead.isr(), None, "the leader may know more than has been told");
}

#[test]
fn a_state_that_was_never_committed_is_found() {
    let never = Some("a broker applied a state of a partition that the controller never committed");
    assert_eq!(Told::new().role(2, ReplicaRole::Leader, 0).isr().as_deref(), never, "another leader");
    assert_eq!(Told::new().role(2, ReplicaRole::Follower, 1).isr().as_deref(), never, "another epoch");
    assert_eq!(Told::new().counts(1, (0, 0), &[1, 2], &[1, 2]).isr().as_deref(), never, "another ISR");
}

#[test]
fn who_comes_in_for_what_his_former_process_had_is_found() {
    let restarted = |asked_again: bool| {
        let mut told = Told::new();
        told.batch(&[isr(&[1, 2])]).counts(1, (0, 1), &[1, 2], &[1, 2]);
        told.counts(1, (0, 1), &[1, 2], &[1, 2, 3]);
        told.tell(3, Observation::ProcessEnded { how: ProcessEnd::PowerLost, why: String::new() });
        told.tell(3, Observation::ProcessStarted).batch(&[broker(3, 20, true)]).batch(&[changed(3, 20, -1, 0)]);
        told.tell(3, Observation::BrokerRunning { epoch: BrokerEpoch(20) });
        if asked_again {
            told.counts(1, (0, 1), &[1, 2], &[1, 2]).counts(1, (0, 1), &[1, 2], &[1, 2, 3]);
        }
        told.batch(&[isr(&[1, 2, 3])]).counts(1, (0, 2), &[1, 2, 3], &[1, 2, 3]);
        told.isr()
    };
    assert_eq!(restarted(false).as_deref(), Some("a broker came into an ISR for what its former process had"));
    assert_eq!(restarted(true), None);
}
