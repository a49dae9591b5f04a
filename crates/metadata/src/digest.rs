//! One number that says what an [`Image`] or the controller's state holds, so that somebody who replays the same records
//! himself can compare.
//!
//! The digest is the sum (mod 2^64) of one hash for each thing: broker, controller, topic, partition, configuration value,
//! feature, the producer ids given so far. A thing's hash folds words into `h`, which begins as the thing's kind (1 to 7 in that order):
//! `h = (h ^ word) * 0x9e3779b97f4a7c15; h ^= h >> 29`. A number is one word (sign-extended), a bool 0 or 1, a uuid two
//! (big-endian halves), a text or list its length and then its elements; a text's elements are its bytes, eight to a word,
//! little-endian, zeros behind; an absent text is the word -1. The words of each kind stand beside the functions below.

use protocol::{Str, Uuid};

use crate::broker::{BrokerRegistration, ControllerRegistration, Endpoint, VersionRange};
use crate::image::{ConfigResource, Configs, Image};
use crate::partition::PartitionRegistration;

/// What something holds, and how many things that are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Digest {
    /// The sum of the things' hashes.
    pub sum: u64,
    /// How many things: what computing this costs.
    pub things: usize,
}

impl Digest {
    /// Of an image.
    pub fn of(image: &Image) -> Self {
        let mut digest = Self::default();
        image.brokers().for_each(|it| digest.broker(it));
        image.controllers().for_each(|it| digest.controller(it));
        for topic in image.topics() {
            digest.topic(topic.id, &topic.name);
            topic.partitions.iter().for_each(|(number, it)| digest.partition(topic.id, *number, it));
        }
        image.all_configs().iter().for_each(|(resource, configs)| digest.configs(resource, configs));
        image.features().iter().for_each(|(name, level)| digest.feature(name, *level));
        digest.producer_ids(image.next_producer_id());
        digest
    }

    fn add(&mut self, thing: Thing) {
        self.sum = self.sum.wrapping_add(thing.0);
        self.things += 1;
    }

    /// id, epoch, incarnation, fenced, in controlled shutdown, directories, rack, endpoints, features.
    pub(crate) fn broker(&mut self, it: &BrokerRegistration) {
        let mut thing = Thing(1);
        thing.word(it.id.0.into()).word(it.epoch.0).uuid(it.incarnation);
        thing.word(it.fenced.into()).word(it.in_controlled_shutdown.into());
        thing.word(it.log_dirs.len() as i64);
        for dir in &it.log_dirs {
            thing.uuid(*dir);
        }
        match &it.rack {
            Some(rack) => thing.text(rack),
            None => thing.word(-1),
        };
        thing.endpoints(&it.endpoints).features(&it.features);
        self.add(thing);
    }

    /// id, incarnation, endpoints, features.
    pub(crate) fn controller(&mut self, it: &ControllerRegistration) {
        let mut thing = Thing(2);
        thing.word(it.id.0.into()).uuid(it.incarnation).endpoints(&it.endpoints).features(&it.features);
        self.add(thing);
    }

    /// id, name.
    pub(crate) fn topic(&mut self, id: Uuid, name: &str) {
        let mut thing = Thing(3);
        thing.uuid(id).text(name);
        self.add(thing);
    }

    /// Topic id, number, replicas, ISR, removing, adding, directories, leader, leader epoch, partition epoch, recovery.
    pub(crate) fn partition(&mut self, topic: Uuid, number: i32, it: &PartitionRegistration) {
        let mut thing = Thing(4);
        thing.uuid(topic).word(number.into());
        for nodes in [&it.replicas, &it.isr, &it.removing, &it.adding] {
            thing.word(nodes.len() as i64);
            for node in nodes {
                thing.word(node.0.into());
            }
        }
        thing.word(it.directories.len() as i64);
        for dir in &it.directories {
            thing.uuid(*dir);
        }
        thing.word(it.leader.0.into()).word(it.leader_epoch.0.into()).word(it.partition_epoch.0.into());
        thing.word(it.recovery.code().into());
        self.add(thing);
    }

    /// Each value: kind, resource, key, value.
    pub(crate) fn configs(&mut self, resource: &ConfigResource, configs: &Configs) {
        for (key, value) in configs {
            let mut thing = Thing(5);
            thing.word(resource.kind as i64).text(&resource.name).text(key).text(value);
            self.add(thing);
        }
    }

    /// The first producer id that no broker was given; nothing while that is 0.
    pub(crate) fn producer_ids(&mut self, next: i64) {
        if next > 0 {
            let mut thing = Thing(7);
            thing.word(next);
            self.add(thing);
        }
    }

    /// Name, level.
    pub(crate) fn feature(&mut self, name: &str, level: i16) {
        let mut thing = Thing(6);
        thing.text(name).word(level.into());
        self.add(thing);
    }
}

struct Thing(u64);

impl Thing {
    fn word(&mut self, word: i64) -> &mut Self {
        self.0 = (self.0 ^ word as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 29;
        self
    }

    fn uuid(&mut self, id: Uuid) -> &mut Self {
        let bits = u128::from_be_bytes(id.0);
        self.word((bits >> 64) as i64).word(bits as i64)
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.word(text.len() as i64);
        for piece in text.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..piece.len()].copy_from_slice(piece);
            self.word(i64::from_le_bytes(word));
        }
        self
    }

    /// Count, then for each: name, host, port, security protocol.
    fn endpoints(&mut self, endpoints: &std::collections::BTreeMap<Str, Endpoint>) -> &mut Self {
        self.word(endpoints.len() as i64);
        for (name, end) in endpoints {
            self.text(name).text(&end.host).word(end.port.into()).word(end.security_protocol.into());
        }
        self
    }

    /// Count, then for each: name, lowest, highest level.
    fn features(&mut self, features: &std::collections::BTreeMap<Str, VersionRange>) -> &mut Self {
        self.word(features.len() as i64);
        for (name, range) in features {
            self.text(name).word(range.min.into()).word(range.max.into());
        }
        self
    }
}

/// Spreads the cost of digests: one that takes longer than its share is computed for every n-th change only.
#[derive(Clone, Copy, Default, Debug)]
pub struct Sampling {
    credit: usize,
    /// What the last one cost.
    last: usize,
}

impl Sampling {
    /// Things that one change may cost on average.
    const SHARE: usize = 64;

    /// There was a change: whether a digest is due.
    pub fn due(&mut self) -> bool {
        self.credit += Self::SHARE;
        self.credit >= self.last
    }

    /// A digest was computed.
    pub fn paid(&mut self, things: usize) {
        (self.credit, self.last) = (0, things);
    }
}
