//! What the records of the metadata log say, replayed by the checkers' own hand: nothing here is shared with the images and
//! controllers that are judged by it.
//!
//! The digest follows the definition at the head of `metadata/src/digest.rs`.

use std::collections::{BTreeMap, BTreeSet};

use protocol::messages::broker_registration_change_record::BrokerRegistrationChangeRecord;
use protocol::messages::partition_change_record::PartitionChangeRecord;
use protocol::messages::partition_record::PartitionRecord;
use protocol::messages::register_broker_record::RegisterBrokerRecord;
use protocol::messages::register_controller_record::RegisterControllerRecord;
use protocol::{MetadataRecord as Record, Uuid};

/// One registration of a broker.
#[derive(Clone, Debug)]
pub struct Broker {
    /// Its epoch.
    pub epoch: i64,
    /// Whether it is fenced.
    pub fenced: bool,
    /// Whether it is in controlled shutdown.
    pub leaving: bool,
    record: RegisterBrokerRecord,
}

/// A partition.
#[derive(Clone, Debug)]
pub struct Partition {
    /// Who has a copy.
    pub replicas: Vec<i32>,
    /// Who is in sync, with the epoch that each had when it came in.
    pub isr: Vec<(i32, i64)>,
    /// Who leads, or -1.
    pub leader: i32,
    /// In which epoch.
    pub leader_epoch: i32,
    /// The state's number.
    pub partition_epoch: i32,
    removing: Vec<i32>,
    adding: Vec<i32>,
    directories: Vec<Uuid>,
    recovery: i8,
}

/// A topic.
#[derive(Clone, Debug, Default)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its partitions.
    pub partitions: BTreeMap<i32, Partition>,
}

/// Everything that the records so far say.
#[derive(Default, Debug)]
pub struct State {
    /// By id.
    pub brokers: BTreeMap<i32, Broker>,
    /// By id.
    pub topics: BTreeMap<Uuid, Topic>,
    controllers: BTreeMap<i32, RegisterControllerRecord>,
    /// Kind, resource and key, and the value.
    configs: BTreeMap<(i8, String, String), String>,
    features: BTreeMap<String, i16>,
    /// The first producer id that no broker was given.
    next_producer_id: i64,
    /// Records of an open metadata transaction.
    transaction: Option<Vec<Record>>,
    /// The sum of all things' hashes.
    digest: u64,
    /// Partitions that the last batch created or changed.
    pub touched: BTreeSet<(Uuid, i32)>,
    /// Whether the last batch changed a broker.
    pub brokers_changed: bool,
}

impl State {
    /// What it holds.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Whether a metadata transaction is open: nothing changes until it ends, and no image moves.
    pub fn in_transaction(&self) -> bool {
        self.transaction.is_some()
    }

    /// A batch begins.
    pub fn begin(&mut self) {
        self.touched.clear();
        self.brokers_changed = false;
    }

    /// Carries out one record. `Err` says what is wrong with it.
    pub fn apply(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::BeginTransaction(_) if self.transaction.is_some() => Err("a transaction within another".to_owned()),
            Record::BeginTransaction(_) => {
                self.transaction = Some(Vec::new());
                Ok(())
            }
            Record::EndTransaction(_) => {
                let records = self.transaction.take().ok_or("the end of a transaction that never began")?;
                records.iter().try_for_each(|record| self.change(record))
            }
            Record::AbortTransaction(_) => self
                .transaction
                .take()
                .map(drop)
                .ok_or_else(|| "the abort of a transaction that never began".to_owned()),
            _ => match &mut self.transaction {
                Some(records) => {
                    records.push(record.clone());
                    Ok(())
                }
                None => self.change(record),
            },
        }
    }

    fn change(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::RegisterBroker(it) => {
                let (epoch, fenced, leaving) = (it.broker_epoch, it.fenced, it.in_controlled_shutdown);
                let broker = Broker { epoch, fenced, leaving, record: it.clone() };
                self.set_broker(it.broker_id, Some(broker));
            }
            Record::UnregisterBroker(it) => self.set_broker(it.broker_id, None),
            Record::BrokerRegistrationChange(it) => {
                let changed = self.broker(it.broker_id)?.changed(it);
                self.set_broker(it.broker_id, Some(changed?));
            }
            Record::FenceBroker(it) => {
                let broker = Broker { fenced: true, ..self.broker(it.id)?.clone() };
                self.set_broker(it.id, Some(broker));
            }
            Record::UnfenceBroker(it) => {
                let broker = Broker { fenced: false, ..self.broker(it.id)?.clone() };
                self.set_broker(it.id, Some(broker));
            }
            Record::RegisterController(it) => {
                let old = self.controllers.insert(it.controller_id, it.clone());
                let hash = |it: &RegisterControllerRecord| controller_hash(it);
                self.replace(old.as_ref().map(hash), Some(hash(it)));
            }
            Record::Topic(it) => {
                let name = it.name.to_string();
                if self.topics.contains_key(&it.topic_id) || self.topics.values().any(|topic| topic.name == name) {
                    return Err(format!("topic {name} is created twice"));
                }
                self.replace(None, Some(topic_hash(it.topic_id, &name)));
                self.topics.insert(it.topic_id, Topic { name, partitions: BTreeMap::new() });
            }
            Record::Partition(it) => self.set_partition(it.topic_id, it.partition_id, |old, epochs| match old {
                Some(_) => Err("is created twice".to_owned()),
                None => Ok(Partition::created(it, epochs)),
            })?,
            Record::PartitionChange(it) => {
                self.set_partition(it.topic_id, it.partition_id, |old, epochs| match old {
                    None => Err("is changed before it was created".to_owned()),
                    Some(old) => Ok(old.changed(it, epochs)),
                })?
            }
            Record::RemoveTopic(it) => {
                let topic = self.topics.remove(&it.topic_id).ok_or("an unknown topic is removed")?;
                self.replace(Some(topic_hash(it.topic_id, &topic.name)), None);
                for (number, partition) in &topic.partitions {
                    self.replace(Some(partition_hash(it.topic_id, *number, partition)), None);
                }
                let of_topic = |key: &(i8, String, String)| key.0 == 2 && key.1 == topic.name;
                let keys: Vec<_> = self.configs.keys().filter(|key| of_topic(key)).cloned().collect();
                for key in keys {
                    self.set_config(key, None);
                }
            }
            Record::Config(it) if matches!(it.resource_type, 2 | 4 | 16 | 32) => {
                let key = (it.resource_type, it.resource_name.to_string(), it.name.to_string());
                self.set_config(key, it.value.as_ref().map(ToString::to_string));
            }
            Record::FeatureLevel(it) => {
                let name = it.name.to_string();
                let old = match it.feature_level {
                    0 => self.features.remove(&name),
                    level => self.features.insert(name.clone(), level),
                };
                let hash = |level: i16| Some(feature_hash(&name, level)).filter(|_| level != 0);
                self.replace(old.and_then(hash), hash(it.feature_level));
            }
            Record::ProducerIds(it) => {
                let (before, next) = (self.next_producer_id, it.next_producer_id);
                if next <= before {
                    return Err(format!("producer ids below {next} are given out, after those below {before}"));
                }
                let hash = |next: i64| Some(Hash(7).n(next).0).filter(|_| next > 0);
                self.replace(hash(before), hash(next));
                self.next_producer_id = next;
            }
            _ => {}
        }
        Ok(())
    }

    fn replace(&mut self, old: Option<u64>, new: Option<u64>) {
        self.digest = self.digest.wrapping_sub(old.unwrap_or(0)).wrapping_add(new.unwrap_or(0));
    }

    fn broker(&self, id: i32) -> Result<&Broker, String> {
        self.brokers.get(&id).ok_or_else(|| format!("the unknown broker {id} is changed"))
    }

    fn set_broker(&mut self, id: i32, new: Option<Broker>) {
        self.brokers_changed = true;
        let hash = new.as_ref().map(broker_hash);
        let old = match new {
            Some(new) => self.brokers.insert(id, new),
            None => self.brokers.remove(&id),
        };
        self.replace(old.as_ref().map(broker_hash), hash);
    }

    fn set_config(&mut self, key: (i8, String, String), value: Option<String>) {
        let hash = value.as_ref().map(|value| config_hash(&key, value));
        let old = match value {
            Some(value) => self.configs.insert(key.clone(), value),
            None => self.configs.remove(&key),
        };
        self.replace(old.map(|value| config_hash(&key, &value)), hash);
    }

    fn set_partition(
        &mut self,
        topic: Uuid,
        number: i32,
        make: impl FnOnce(Option<&Partition>, &dyn Fn(i32) -> i64) -> Result<Partition, String>,
    ) -> Result<(), String> {
        let Some(known) = self.topics.get_mut(&topic) else {
            return Err(format!("partition {number} of the unknown topic {topic}"));
        };
        let brokers = &self.brokers;
        let epoch = |id: i32| brokers.get(&id).map_or(-1, |broker| broker.epoch);
        let old = known.partitions.get(&number);
        let new = make(old, &epoch).map_err(|why| format!("partition {number} of {} {why}", known.name))?;
        let hashes = (old.map(|old| partition_hash(topic, number, old)), partition_hash(topic, number, &new));
        known.partitions.insert(number, new);
        self.replace(hashes.0, Some(hashes.1));
        self.touched.insert((topic, number));
        Ok(())
    }
}

impl Broker {
    fn changed(&self, it: &BrokerRegistrationChangeRecord) -> Result<Self, String> {
        if it.broker_epoch != self.epoch {
            return Err(format!("broker {} has epoch {}, changed is {}", it.broker_id, self.epoch, it.broker_epoch));
        }
        let mut next = self.clone();
        match it.fenced {
            1 => next.fenced = true,
            -1 => next.fenced = false,
            _ => {}
        }
        next.leaving |= it.in_controlled_shutdown == 1;
        if !it.log_dirs.is_empty() {
            next.record.log_dirs.clone_from(&it.log_dirs);
        }
        Ok(next)
    }
}

impl Partition {
    fn created(it: &PartitionRecord, epoch: &dyn Fn(i32) -> i64) -> Self {
        let mut directories = it.directories.clone();
        directories.resize(it.replicas.len(), Uuid::ZERO);
        Self {
            replicas: it.replicas.clone(),
            isr: it.isr.iter().map(|id| (*id, epoch(*id))).collect(),
            leader: it.leader,
            leader_epoch: it.leader_epoch,
            partition_epoch: it.partition_epoch,
            removing: it.removing_replicas.clone(),
            adding: it.adding_replicas.clone(),
            directories,
            recovery: it.leader_recovery_state,
        }
    }

    fn changed(&self, it: &PartitionChangeRecord, epoch: &dyn Fn(i32) -> i64) -> Self {
        let mut next = self.clone();
        if let Some(replicas) = &it.replicas {
            next.replicas.clone_from(replicas);
            next.directories.resize(replicas.len(), Uuid::ZERO);
        }
        if let Some(directories) = &it.directories {
            next.directories.clone_from(directories);
        }
        if let Some(isr) = &it.isr {
            let since =
                |id: i32| self.isr.iter().find(|(member, _)| *member == id).map_or(epoch(id), |(_, since)| *since);
            next.isr = isr.iter().map(|id| (*id, since(*id))).collect();
        }
        if let Some(removing) = &it.removing_replicas {
            next.removing.clone_from(removing);
        }
        if let Some(adding) = &it.adding_replicas {
            next.adding.clone_from(adding);
        }
        if it.leader != -2 {
            next.leader = it.leader;
            next.leader_epoch += 1;
            // Who is elected is in sync as what it is now: the last member that came back.
            for (id, since) in &mut next.isr {
                if *id == it.leader {
                    *since = epoch(*id);
                }
            }
        }
        if matches!(it.leader_recovery_state, 0 | 1) {
            next.recovery = it.leader_recovery_state;
        }
        next.partition_epoch += 1;
        next
    }

    /// Who is in sync.
    pub fn members(&self) -> Vec<i32> {
        self.isr.iter().map(|(id, _)| *id).collect()
    }
}

/// A thing's hash in the making.
struct Hash(u64);

impl Hash {
    fn n(mut self, word: impl Into<i64>) -> Self {
        self.0 = (self.0 ^ word.into() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 29;
        self
    }

    fn id(self, id: Uuid) -> Self {
        let half = |from: usize| i64::from_be_bytes(id.0[from..from + 8].try_into().expect("eight bytes"));
        self.n(half(0)).n(half(8))
    }

    fn text(self, text: &str) -> Self {
        let mut hash = self.n(text.len() as i64);
        for piece in text.as_bytes().chunks(8) {
            let word = piece.iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
            hash = hash.n(word as i64);
        }
        hash
    }

    /// Of a registration, by name: host, port, security protocol.
    fn ends(self, mut ends: Vec<(&str, &str, u16, i16)>) -> Self {
        ends.sort_by_key(|(name, ..)| *name);
        self.all(&ends, |hash, (name, host, port, protocol)| hash.text(name).text(host).n(*port).n(*protocol))
    }

    /// Of a registration, by name: lowest and highest level.
    fn features(self, mut features: Vec<(&str, i16, i16)>) -> Self {
        features.sort_by_key(|(name, ..)| *name);
        self.all(&features, |hash, (name, lowest, highest)| hash.text(name).n(*lowest).n(*highest))
    }

    fn all<T>(self, list: &[T], one: impl Fn(Self, &T) -> Self) -> Self {
        let hash = self.n(list.len() as i64);
        list.iter().fold(hash, one)
    }
}

fn broker_hash(it: &Broker) -> u64 {
    let r = &it.record;
    let hash = Hash(1).n(r.broker_id).n(it.epoch).id(r.incarnation_id).n(it.fenced).n(it.leaving);
    let hash = hash.all(&r.log_dirs, |hash, dir| hash.id(*dir));
    let hash = match &r.rack {
        Some(rack) => hash.text(rack),
        None => hash.n(-1),
    };
    let ends = r.end_points.iter().map(|end| (&*end.name, &*end.host, end.port, end.security_protocol));
    let features = r.features.iter().map(|it| (&*it.name, it.min_supported_version, it.max_supported_version));
    hash.ends(ends.collect()).features(features.collect()).0
}

fn controller_hash(it: &RegisterControllerRecord) -> u64 {
    let hash = Hash(2).n(it.controller_id).id(it.incarnation_id);
    let ends = it.end_points.iter().map(|end| (&*end.name, &*end.host, end.port, end.security_protocol));
    let features = it.features.iter().map(|it| (&*it.name, it.min_supported_version, it.max_supported_version));
    hash.ends(ends.collect()).features(features.collect()).0
}

fn topic_hash(id: Uuid, name: &str) -> u64 {
    Hash(3).id(id).text(name).0
}

fn partition_hash(topic: Uuid, number: i32, it: &Partition) -> u64 {
    let node = |hash: Hash, node: &i32| hash.n(*node);
    let hash = Hash(4).id(topic).n(number).all(&it.replicas, node).all(&it.isr, |hash, (id, _)| hash.n(*id));
    let hash = hash.all(&it.removing, node).all(&it.adding, node).all(&it.directories, |hash, dir| hash.id(*dir));
    hash.n(it.leader).n(it.leader_epoch).n(it.partition_epoch).n(it.recovery).0
}

fn config_hash((kind, resource, key): &(i8, String, String), value: &str) -> u64 {
    Hash(5).n(*kind).text(resource).text(key).text(value).0
}

fn feature_hash(name: &str, level: i16) -> u64 {
    Hash(6).text(name).n(level).0
}
