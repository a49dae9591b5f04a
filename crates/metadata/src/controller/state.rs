//! [`State`]: what the controller replicates. Every change of it is the replay of a record.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::{MetadataRecord as Record, NodeId, Offset, Str, TopicIdPartition, Uuid};
use timeline::{TimelineMap, TimelineValue};

use crate::broker::{BrokerRegistration, ControllerRegistration};
use crate::configs::Inherited;
use crate::digest::Digest;
use crate::image::{ConfigResource, Configs, ResourceKind};
use crate::partition::PartitionRegistration;

/// The controller's hard state: ahead of what is committed while it leads, and revertible.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) brokers: TimelineMap<NodeId, Arc<BrokerRegistration>>,
    pub(super) controllers: TimelineMap<NodeId, Arc<ControllerRegistration>>,
    /// Names by id. Invariant: the same topics as `ids`.
    pub(super) topics: TimelineMap<Uuid, Str>,
    pub(super) ids: TimelineMap<Str, Uuid>,
    /// Invariant: every topic id is in `topics`.
    pub(super) partitions: TimelineMap<TopicIdPartition, Arc<PartitionRegistration>>,
    pub(super) configs: TimelineMap<ConfigResource, Arc<Configs>>,
    pub(super) features: TimelineMap<Str, i16>,
    /// The first producer id that no broker was given.
    pub(super) next_producer_id: TimelineValue<i64>,
    /// Records of a metadata transaction that has not ended: they count when it does.
    transaction: TimelineValue<Option<Arc<Vec<Record>>>>,
    committed: Offset,
    /// How often any of it has changed; and the offset of the newest change.
    changes: u64,
    changed: Offset,
}

impl State {
    /// The state of an empty log.
    pub(super) fn new() -> Self {
        Self {
            brokers: TimelineMap::new(),
            controllers: TimelineMap::new(),
            topics: TimelineMap::new(),
            ids: TimelineMap::new(),
            partitions: TimelineMap::new(),
            configs: TimelineMap::new(),
            features: TimelineMap::new(),
            next_producer_id: TimelineValue::new(0),
            transaction: TimelineValue::new(None),
            committed: Offset::NONE,
            changes: 0,
            changed: Offset::NONE,
        }
    }

    /// How often it has changed. The same number, the same state.
    pub(super) const fn changes(&self) -> u64 {
        self.changes
    }

    /// Up to where everything is final.
    pub(super) const fn committed(&self) -> Offset {
        self.committed
    }

    /// Makes everything at or below `offset` final.
    pub(super) fn commit(&mut self, offset: Offset) {
        if offset > self.committed {
            // What was not final before is now.
            self.changes += u64::from(self.changed > self.committed);
            self.committed = offset;
            self.brokers.commit(offset);
            self.controllers.commit(offset);
            self.topics.commit(offset);
            self.ids.commit(offset);
            self.partitions.commit(offset);
            self.configs.commit(offset);
            self.features.commit(offset);
            self.next_producer_id.commit(offset);
            self.transaction.commit(offset);
        }
    }

    /// Forgets everything that is not committed.
    pub(super) fn revert(&mut self) {
        let to = self.committed;
        self.changes += 1;
        self.brokers.revert(to);
        self.controllers.revert(to);
        self.topics.revert(to);
        self.ids.revert(to);
        self.partitions.revert(to);
        self.configs.revert(to);
        self.features.revert(to);
        self.next_producer_id.revert(to);
        self.transaction.revert(to);
    }

    /// Whether a metadata transaction is open.
    pub(super) fn in_transaction(&self) -> bool {
        self.transaction.get().is_some()
    }

    /// Carries out the record at `offset`. Panics if it contradicts what came before: the log is broken, or this machine
    /// is (KAFKA-14275).
    pub(super) fn replay(&mut self, offset: Offset, record: &Record) {
        if matches!(record, Record::NoOp(_)) && !self.in_transaction() {
            return;
        }
        self.changes += 1;
        self.changed = offset;
        match record {
            Record::BeginTransaction(_) => {
                assert!(!self.in_transaction(), "offset {offset}: a metadata transaction begins inside another");
                self.transaction.set(offset, Some(Arc::default()));
            }
            Record::EndTransaction(_) => {
                let records = self.transaction.get().clone().expect("a metadata transaction ends that never began");
                self.transaction.set(offset, None);
                records.iter().for_each(|record| self.change(offset, record));
            }
            Record::AbortTransaction(_) => {
                assert!(self.in_transaction(), "offset {offset}: no metadata transaction to abort");
                self.transaction.set(offset, None);
            }
            _ => match self.transaction.get() {
                Some(records) => {
                    let mut records = Vec::clone(records);
                    records.push(record.clone());
                    self.transaction.set(offset, Some(Arc::new(records)));
                }
                None => self.change(offset, record),
            },
        }
    }

    fn change(&mut self, offset: Offset, record: &Record) {
        match record {
            Record::RegisterBroker(record) => {
                let new = BrokerRegistration::registered(record, offset);
                self.brokers.insert(offset, new.id, Arc::new(new));
            }
            Record::UnregisterBroker(record) => self.brokers.remove(offset, NodeId(record.broker_id)),
            Record::BrokerRegistrationChange(record) => {
                let new = self.known_broker(NodeId(record.broker_id)).changed(record);
                self.brokers.insert(offset, new.id, Arc::new(new));
            }
            Record::FenceBroker(record) => {
                let new = self.known_broker(NodeId(record.id)).with_fenced(true);
                self.brokers.insert(offset, new.id, Arc::new(new));
            }
            Record::UnfenceBroker(record) => {
                let new = self.known_broker(NodeId(record.id)).with_fenced(false);
                self.brokers.insert(offset, new.id, Arc::new(new));
            }
            Record::RegisterController(record) => {
                let new = ControllerRegistration::registered(record);
                self.controllers.insert(offset, new.id, Arc::new(new));
            }
            Record::Topic(record) => {
                let (id, name) = (record.topic_id, record.name.detached());
                assert!(!self.topics.contains_key(&id), "offset {offset}: topic id {id} exists");
                assert!(!self.ids.contains_key(&name), "offset {offset}: topic {name} exists");
                self.topics.insert(offset, id, name.clone());
                self.ids.insert(offset, name, id);
            }
            Record::Partition(record) => {
                assert!(self.topics.contains_key(&record.topic_id), "offset {offset}: a partition of an unknown topic");
                let id = TopicIdPartition { topic_id: record.topic_id, partition: record.partition_id };
                self.partitions.insert(offset, id, Arc::new(PartitionRegistration::created(record)));
            }
            Record::PartitionChange(record) => {
                let id = TopicIdPartition { topic_id: record.topic_id, partition: record.partition_id };
                let old = self.partitions.get(&id);
                let new =
                    old.unwrap_or_else(|| panic!("offset {offset}: change of an unknown partition")).changed(record);
                self.partitions.insert(offset, id, Arc::new(new));
            }
            Record::RemoveTopic(record) => {
                let id = record.topic_id;
                let name = self.topics.get(&id).cloned();
                let name = name.unwrap_or_else(|| panic!("offset {offset}: removal of the unknown topic {id}"));
                for partition in self.partitions_of(id) {
                    self.partitions.remove(offset, partition);
                }
                self.topics.remove(offset, id);
                self.configs.remove(offset, ConfigResource::topic(name.clone()));
                self.ids.remove(offset, name);
            }
            Record::Config(record) => {
                let Some(kind) = ResourceKind::from_code(record.resource_type) else { return };
                let resource = ConfigResource { kind, name: record.resource_name.detached() };
                let mut configs =
                    self.configs.get(&resource).map(|configs| Configs::clone(configs)).unwrap_or_default();
                match &record.value {
                    Some(value) => drop(configs.insert(record.name.detached(), value.detached())),
                    None => drop(configs.remove(&record.name)),
                }
                if configs.is_empty() {
                    self.configs.remove(offset, resource);
                } else {
                    self.configs.insert(offset, resource, Arc::new(configs));
                }
            }
            Record::FeatureLevel(record) if record.feature_level == 0 => {
                self.features.remove(offset, record.name.detached());
            }
            Record::FeatureLevel(record) => {
                self.features.insert(offset, record.name.detached(), record.feature_level);
            }
            Record::ProducerIds(record) => {
                let before = *self.next_producer_id.get();
                assert!(record.next_producer_id > before, "offset {offset}: producer ids go back from {before}");
                self.next_producer_id.set(offset, record.next_producer_id);
            }
            _ => {}
        }
    }

    fn known_broker(&self, id: NodeId) -> &BrokerRegistration {
        self.brokers.get(&id).unwrap_or_else(|| panic!("change of the unknown broker {id}"))
    }

    /// The partitions of a topic.
    pub(super) fn partitions_of(&self, topic_id: Uuid) -> Vec<TopicIdPartition> {
        let first = TopicIdPartition { topic_id, partition: i32::MIN };
        let last = TopicIdPartition { topic_id, partition: i32::MAX };
        self.partitions.range(first..=last).map(|(id, _)| *id).collect()
    }

    /// Whether a broker may lead and be in an ISR.
    pub(super) fn is_active(&self, id: NodeId) -> bool {
        self.brokers.get(&id).is_some_and(|broker| broker.is_active())
    }

    /// What all topics inherit, with what stands in this node's file.
    pub(super) fn inherited<'a>(&'a self, file: &'a BTreeMap<Str, Str>) -> Inherited<'a> {
        Inherited { broker: None, cluster: self.configs.get(&ConfigResource::cluster()).map(AsRef::as_ref), file }
    }

    /// What it holds.
    pub(super) fn digest(&self) -> Digest {
        let mut digest = Digest::default();
        self.brokers.iter().for_each(|(_, it)| digest.broker(it));
        self.controllers.iter().for_each(|(_, it)| digest.controller(it));
        self.topics.iter().for_each(|(id, name)| digest.topic(*id, name));
        self.partitions.iter().for_each(|(id, it)| digest.partition(id.topic_id, id.partition, it));
        self.configs.iter().for_each(|(resource, configs)| digest.configs(resource, configs));
        self.features.iter().for_each(|(name, level)| digest.feature(name, *level));
        digest.producer_ids(*self.next_producer_id.get());
        digest
    }

    /// Panics where a promise about the state does not hold (C-ISR without eligible leader replicas).
    pub(super) fn check_invariants(&self) {
        self.brokers.check_invariants();
        self.topics.check_invariants();
        self.partitions.check_invariants();
        assert_eq!(self.topics.len(), self.ids.len(), "topics and their names disagree");
        for (id, partition) in self.partitions.iter() {
            let context = || format!("{id:?}: {partition:?}");
            assert!(self.topics.contains_key(&id.topic_id), "a partition without a topic: {}", context());
            assert!(!partition.isr.is_empty(), "an empty ISR: {}", context());
            let mut sorted = partition.isr.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), partition.isr.len(), "a member twice in the ISR: {}", context());
            assert!(partition.isr.iter().all(|member| partition.replicas.contains(member)), "ISR: {}", context());
            assert_eq!(partition.directories.len(), partition.replicas.len(), "directories: {}", context());
            if probe::planted!(fenced_joins_isr) {
                continue; // a checker is to find it
            }
            if partition.leader.is_none() {
                // Without eligible leader replicas the last member stays, fenced or not; it alone.
                let inactive = partition.isr.iter().filter(|member| !self.is_active(**member)).count();
                assert!(inactive == 0 || partition.isr.len() == 1, "an inactive member among others: {}", context());
                assert!(inactive == 1, "leaderless though a member could lead: {}", context());
            } else {
                assert!(partition.isr.contains(&partition.leader), "a leader outside the ISR: {}", context());
                for member in &partition.isr {
                    assert!(self.is_active(*member), "{member} is inactive and in the ISR: {}", context());
                }
            }
        }
    }
}
