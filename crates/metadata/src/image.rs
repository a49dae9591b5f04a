//! [`Image`]: an immutable copy of everything the metadata records say.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::{LeaderEpoch, NodeId, Offset, Str, TopicIdPartition, TopicPartition, Uuid};

use protocol::MetadataRecord as Record;

use crate::broker::{BrokerRegistration, ControllerRegistration};
use crate::configs::Inherited;
use crate::delta::{Change, Changed, Delta};
use crate::partition::PartitionRegistration;

/// What a configuration belongs to, by Kafka's numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(i8)]
pub enum ResourceKind {
    /// A topic.
    Topic = 2,
    /// A broker; with an empty name all brokers.
    Broker = 4,
    /// A connection's metrics subscription.
    ClientMetrics = 16,
    /// A group.
    Group = 32,
}

impl ResourceKind {
    /// The kind of a number.
    pub const fn from_code(code: i8) -> Option<Self> {
        match code {
            2 => Some(Self::Topic),
            4 => Some(Self::Broker),
            16 => Some(Self::ClientMetrics),
            32 => Some(Self::Group),
            _ => None,
        }
    }
}

/// Something that has a configuration.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConfigResource {
    /// What it is.
    pub kind: ResourceKind,
    /// Its name.
    pub name: Str,
}

impl ConfigResource {
    /// A topic's configuration.
    pub fn topic(name: Str) -> Self {
        Self { kind: ResourceKind::Topic, name }
    }

    /// A broker's configuration.
    pub fn broker(id: NodeId) -> Self {
        Self { kind: ResourceKind::Broker, name: Str::from(id.0.to_string()) }
    }

    /// The configuration of all brokers, which topics inherit.
    pub const fn cluster() -> Self {
        Self { kind: ResourceKind::Broker, name: Str::EMPTY }
    }
}

/// Values by key: only what was set.
pub type Configs = BTreeMap<Str, Str>;

/// A topic and its partitions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicImage {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: Str,
    /// Its partitions by number.
    pub partitions: BTreeMap<i32, Arc<PartitionRegistration>>,
}

/// Everything the metadata records up to [`Image::offset`] say. Cloning costs a few reference counts; [`Image::apply`]
/// copies only the maps that a batch touches.
#[derive(Clone, PartialEq, Debug)]
pub struct Image {
    offset: Offset,
    epoch: LeaderEpoch,
    brokers: Arc<BTreeMap<NodeId, Arc<BrokerRegistration>>>,
    controllers: Arc<BTreeMap<NodeId, Arc<ControllerRegistration>>>,
    /// Invariant: the same topics as `names`.
    topics: Arc<BTreeMap<Uuid, Arc<TopicImage>>>,
    names: Arc<BTreeMap<Str, Uuid>>,
    configs: Arc<BTreeMap<ConfigResource, Arc<Configs>>>,
    features: Arc<BTreeMap<Str, i16>>,
    /// The first producer id that no broker was given.
    next_producer_id: i64,
    /// Records of a metadata transaction (KIP-868) that has not ended: they count when it does.
    transaction: Option<Arc<Vec<Record>>>,
}

impl Default for Image {
    fn default() -> Self {
        Self {
            offset: Offset::NONE,
            epoch: LeaderEpoch::NONE,
            brokers: Arc::default(),
            controllers: Arc::default(),
            topics: Arc::default(),
            names: Arc::default(),
            configs: Arc::default(),
            features: Arc::default(),
            next_producer_id: 0,
            transaction: None,
        }
    }
}

impl Image {
    /// The image of an empty log.
    pub fn new() -> Self {
        Self::default()
    }

    /// The image after a committed batch whose first record stands at `base`, and what it changed. While a metadata
    /// transaction is open the offset stands still and nothing changes.
    ///
    /// # Panics
    /// If a record contradicts what came before (a change of an unknown partition, say): the log is broken.
    pub fn apply(&self, base: Offset, epoch: LeaderEpoch, records: &[Record]) -> (Self, Delta) {
        let mut next = self.clone();
        let mut delta = Delta::default();
        for (offset, record) in (base.0..).map(Offset).zip(records) {
            next.replay(offset, record, &mut delta);
        }
        let last = base.plus(records.len() as i64 - 1);
        next.pass(last, epoch);
        (next, delta)
    }

    /// The image after a batch that holds no metadata records (a new quorum leader's first) and ends at `last`.
    #[must_use]
    pub fn advance(&self, last: Offset, epoch: LeaderEpoch) -> Self {
        let mut next = self.clone();
        next.pass(last, epoch);
        next
    }

    fn pass(&mut self, last: Offset, epoch: LeaderEpoch) {
        assert!(last >= self.offset, "the image went back from offset {} to {last}", self.offset);
        if self.transaction.is_none() {
            self.offset = last;
            self.epoch = epoch;
        }
    }

    fn replay(&mut self, offset: Offset, record: &Record, delta: &mut Delta) {
        match record {
            Record::BeginTransaction(_) => {
                assert!(self.transaction.is_none(), "offset {offset}: a metadata transaction begins inside another");
                self.transaction = Some(Arc::default());
            }
            Record::EndTransaction(_) => {
                let records = self.transaction.take().expect("a metadata transaction ends that never began");
                records.iter().for_each(|record| self.replay(offset, record, delta));
            }
            Record::AbortTransaction(_) => {
                assert!(self.transaction.take().is_some(), "offset {offset}: no metadata transaction to abort");
            }
            _ if self.transaction.is_some() => {
                Arc::make_mut(self.transaction.as_mut().expect("looked at just now")).push(record.clone());
            }
            _ => {
                if let Some(change) = self.change(offset, record) {
                    delta.changes.push(Changed { offset, change });
                }
            }
        }
    }

    /// Carries out one record and says what it changed.
    fn change(&mut self, offset: Offset, record: &Record) -> Option<Change> {
        match record {
            Record::RegisterBroker(record) => {
                let new = Arc::new(BrokerRegistration::registered(record, offset));
                Some(self.set_broker(new.id, Some(new)))
            }
            Record::UnregisterBroker(record) => Some(self.set_broker(NodeId(record.broker_id), None)),
            Record::BrokerRegistrationChange(record) => {
                let id = NodeId(record.broker_id);
                let new = self.known_broker(id).changed(record);
                Some(self.set_broker(id, Some(Arc::new(new))))
            }
            Record::FenceBroker(record) => {
                let new = self.known_broker(NodeId(record.id)).with_fenced(true);
                Some(self.set_broker(new.id, Some(Arc::new(new))))
            }
            Record::UnfenceBroker(record) => {
                let new = self.known_broker(NodeId(record.id)).with_fenced(false);
                Some(self.set_broker(new.id, Some(Arc::new(new))))
            }
            Record::RegisterController(record) => {
                let new = Arc::new(ControllerRegistration::registered(record));
                Arc::make_mut(&mut self.controllers).insert(new.id, Arc::clone(&new));
                Some(Change::Controller { new })
            }
            Record::Topic(record) => {
                let (id, name) = (record.topic_id, record.name.detached());
                let topic = TopicImage { id, name: name.clone(), partitions: BTreeMap::new() };
                let before = Arc::make_mut(&mut self.topics).insert(id, Arc::new(topic));
                let named = Arc::make_mut(&mut self.names).insert(name.clone(), id);
                assert!(before.is_none() && named.is_none(), "offset {offset}: topic {name} {id} exists");
                Some(Change::TopicCreated { id, name })
            }
            Record::Partition(record) => {
                let new = PartitionRegistration::created(record);
                Some(self.set_partition(record.topic_id, record.partition_id, |_| new))
            }
            Record::PartitionChange(record) => Some(self.set_partition(record.topic_id, record.partition_id, |old| {
                old.unwrap_or_else(|| panic!("offset {offset}: change of an unknown partition")).changed(record)
            })),
            Record::RemoveTopic(record) => {
                let id = record.topic_id;
                let topic = Arc::make_mut(&mut self.topics).remove(&id);
                let topic = topic.unwrap_or_else(|| panic!("offset {offset}: removal of the unknown topic {id}"));
                Arc::make_mut(&mut self.names).remove(&topic.name);
                Arc::make_mut(&mut self.configs).remove(&ConfigResource::topic(topic.name.clone()));
                Some(Change::TopicRemoved { id, name: topic.name.clone(), partitions: topic.partitions.clone() })
            }
            Record::Config(record) => {
                let resource = ConfigResource {
                    kind: ResourceKind::from_code(record.resource_type)?,
                    name: record.resource_name.detached(),
                };
                let (name, value) = (record.name.detached(), record.value.as_ref().map(Str::detached));
                let all = Arc::make_mut(&mut self.configs);
                let configs = Arc::make_mut(all.entry(resource.clone()).or_default());
                match &value {
                    Some(value) => drop(configs.insert(name.clone(), value.clone())),
                    None => drop(configs.remove(&name)),
                }
                if configs.is_empty() {
                    all.remove(&resource);
                }
                Some(Change::Config { resource, name, value })
            }
            Record::FeatureLevel(record) => {
                let (name, level) = (record.name.detached(), record.feature_level);
                let features = Arc::make_mut(&mut self.features);
                if level == 0 {
                    features.remove(&name);
                } else {
                    features.insert(name.clone(), level);
                }
                Some(Change::Feature { name, level })
            }
            Record::ProducerIds(record) => {
                self.next_producer_id = record.next_producer_id;
                None
            }
            _ => None,
        }
    }

    fn known_broker(&self, id: NodeId) -> &BrokerRegistration {
        self.brokers.get(&id).unwrap_or_else(|| panic!("change of the unknown broker {id}"))
    }

    fn set_broker(&mut self, id: NodeId, new: Option<Arc<BrokerRegistration>>) -> Change {
        let brokers = Arc::make_mut(&mut self.brokers);
        let old = match &new {
            Some(new) => brokers.insert(id, Arc::clone(new)),
            None => brokers.remove(&id),
        };
        Change::Broker { id, old, new }
    }

    fn set_partition(
        &mut self,
        topic_id: Uuid,
        partition: i32,
        make: impl FnOnce(Option<&PartitionRegistration>) -> PartitionRegistration,
    ) -> Change {
        let topic = Arc::make_mut(&mut self.topics).get_mut(&topic_id);
        let topic = Arc::make_mut(topic.unwrap_or_else(|| panic!("a partition of the unknown topic {topic_id}")));
        let old = topic.partitions.get(&partition).cloned();
        let new = Arc::new(make(old.as_deref()));
        topic.partitions.insert(partition, Arc::clone(&new));
        Change::Partition { id: TopicIdPartition { topic_id, partition }, topic: topic.name.clone(), old, new }
    }

    /// Offset of the last record that counts; [`Offset::NONE`] for the empty image.
    pub const fn offset(&self) -> Offset {
        self.offset
    }

    /// Epoch of the quorum's leader that wrote it.
    pub const fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// All brokers, fenced ones too.
    pub fn brokers(&self) -> impl ExactSizeIterator<Item = &Arc<BrokerRegistration>> {
        self.brokers.values()
    }

    /// A broker.
    pub fn broker(&self, id: NodeId) -> Option<&Arc<BrokerRegistration>> {
        self.brokers.get(&id)
    }

    /// A broker that is registered and not fenced.
    pub fn live_broker(&self, id: NodeId) -> Option<&Arc<BrokerRegistration>> {
        self.broker(id).filter(|broker| !broker.fenced)
    }

    /// All controllers that told of themselves.
    pub fn controllers(&self) -> impl ExactSizeIterator<Item = &Arc<ControllerRegistration>> {
        self.controllers.values()
    }

    /// All topics in the order of their names.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<TopicImage>> {
        self.names.values().map(|id| &self.topics[id])
    }

    /// A topic by its id.
    pub fn topic(&self, id: Uuid) -> Option<&Arc<TopicImage>> {
        self.topics.get(&id)
    }

    /// A topic by its name.
    pub fn topic_named(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.names.get(name).map(|id| &self.topics[id])
    }

    /// A partition by its topic's id.
    pub fn partition(&self, id: TopicIdPartition) -> Option<&Arc<PartitionRegistration>> {
        self.topic(id.topic_id)?.partitions.get(&id.partition)
    }

    /// A partition by its topic's name.
    pub fn partition_named(&self, id: &TopicPartition) -> Option<&Arc<PartitionRegistration>> {
        self.topic_named(&id.topic)?.partitions.get(&id.partition)
    }

    /// What was set for a resource.
    pub fn configs(&self, resource: &ConfigResource) -> Option<&Arc<Configs>> {
        self.configs.get(resource)
    }

    /// Everything that has a configuration, with what was set for it.
    pub fn all_configs(&self) -> &BTreeMap<ConfigResource, Arc<Configs>> {
        &self.configs
    }

    /// What topics inherit at one broker, with what stands in its file.
    pub fn inherited<'a>(&'a self, node: NodeId, file: &'a Configs) -> Inherited<'a> {
        // The usual case, asked with each batch of a producer: no key is made for nothing.
        if self.configs.is_empty() {
            return Inherited { broker: None, cluster: None, file };
        }
        let of = |resource| self.configs.get(&resource).map(AsRef::as_ref);
        Inherited { broker: of(ConfigResource::broker(node)), cluster: of(ConfigResource::cluster()), file }
    }

    /// The first producer id that no broker was given.
    pub const fn next_producer_id(&self) -> i64 {
        self.next_producer_id
    }

    /// The finalized features: level by name, none at 0.
    pub fn features(&self) -> &BTreeMap<Str, i16> {
        &self.features
    }
}
