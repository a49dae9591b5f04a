//! What one batch of records changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::{NodeId, Offset, Str, TopicIdPartition, Uuid};

use crate::broker::{BrokerRegistration, ControllerRegistration};
use crate::image::ConfigResource;
use crate::partition::PartitionRegistration;

/// One change, by one record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A topic was created; its partitions follow as changes of their own.
    TopicCreated {
        /// Its id.
        id: Uuid,
        /// Its name.
        name: Str,
    },
    /// A topic is gone, with all its partitions.
    TopicRemoved {
        /// Its id.
        id: Uuid,
        /// Its name.
        name: Str,
        /// What its partitions were.
        partitions: BTreeMap<i32, Arc<PartitionRegistration>>,
    },
    /// A partition was created (`old` is `None`) or changed.
    Partition {
        /// Its topic's id and its number.
        id: TopicIdPartition,
        /// Its topic's name.
        topic: Str,
        /// Before.
        old: Option<Arc<PartitionRegistration>>,
        /// After.
        new: Arc<PartitionRegistration>,
    },
    /// A broker was registered, changed, or unregistered (`new` is `None`).
    Broker {
        /// Which.
        id: NodeId,
        /// Before.
        old: Option<Arc<BrokerRegistration>>,
        /// After.
        new: Option<Arc<BrokerRegistration>>,
    },
    /// A controller told of itself.
    Controller {
        /// After.
        new: Arc<ControllerRegistration>,
    },
    /// A configuration value was set, or removed (`value` is `None`).
    Config {
        /// Of what.
        resource: ConfigResource,
        /// Which key.
        name: Str,
        /// After.
        value: Option<Str>,
    },
    /// A feature was given a level; 0 takes it away.
    Feature {
        /// Its name.
        name: Str,
        /// After.
        level: i16,
    },
}

/// A change and where its record stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Changed {
    /// Offset of the record. For records of a metadata transaction: of its end.
    pub offset: Offset,
    /// What it changed.
    pub change: Change,
}

/// All changes of one batch, in the order of their records.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Delta {
    /// One entry a record that changed something.
    pub changes: Vec<Changed>,
}

impl Delta {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The partitions created or changed, each with its state *after the whole batch*, and the topic's name.
    pub fn partitions(&self) -> BTreeMap<TopicIdPartition, (&Str, &Arc<PartitionRegistration>)> {
        let mut last = BTreeMap::new();
        for Changed { change, .. } in &self.changes {
            match change {
                Change::Partition { id, topic, new, .. } => {
                    last.insert(*id, (topic, new));
                }
                Change::TopicRemoved { id, .. } => last.retain(|partition, _| partition.topic_id != *id),
                _ => {}
            }
        }
        last
    }

    /// The topics removed.
    pub fn removed_topics(&self) -> impl Iterator<Item = (Uuid, &Str, &BTreeMap<i32, Arc<PartitionRegistration>>)> {
        self.changes.iter().filter_map(|changed| match &changed.change {
            Change::TopicRemoved { id, name, partitions } => Some((*id, name, partitions)),
            _ => None,
        })
    }

    /// The brokers registered, changed or gone.
    pub fn brokers(&self) -> impl Iterator<Item = NodeId> {
        self.changes.iter().filter_map(|changed| match &changed.change {
            Change::Broker { id, .. } => Some(*id),
            _ => None,
        })
    }
}
