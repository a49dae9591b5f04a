//! What clients asked for and what they were told: the only thing black-box checkers read, so that they also judge real
//! clusters.
//!
//! A [`Send`] has three outcomes: ok, definite failure (over all its attempts), unknown. Every value written is unique
//! ([`Value`]), so a read tells which send it came from. [`ReadBack`] is the last word: all partitions, read by a fresh
//! consumer after everything has healed.

use std::collections::BTreeMap;

use protocol::{LeaderEpoch, Offset, TopicPartition};

/// The value of a record: which send wrote it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Value {
    /// The send with this [`Send::id`]; its bytes were intact.
    Of(u64),
    /// Bytes that no load wrote: another size or content than the send of that number had.
    Foreign,
}

/// How a send ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendOutcome {
    /// Acknowledged. With acks=0 the offset is [`Offset::NONE`].
    Ok(Offset),
    /// It is certain, over all attempts, that it was not written. The number is Kafka's error code.
    Failed(i16),
    /// It may have been written or not: a time-out, a lost connection. The number is Kafka's error code, or -1.
    Unknown(i16),
    /// The run ended first.
    Unresolved,
}

/// One record that a load sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Send {
    /// Unique in the run; the index in [`History::sends`].
    pub id: u64,
    /// Index into [`History::loads`].
    pub load: u16,
    /// The client of the load, from 0.
    pub client: u16,
    /// Where it was sent to.
    pub partition: TopicPartition,
    /// When the schedule wanted it sent, in ns. Latency counts from here.
    pub intended_ns: u64,
    /// When it was handed to the producer, in ns.
    pub sent_ns: u64,
    /// When its outcome was known, in ns; `u64::MAX` while unresolved.
    pub done_ns: u64,
    /// -1 is all.
    pub acks: i16,
    /// Bytes of the value.
    pub size: u32,
    /// How it ended.
    pub outcome: SendOutcome,
}

/// One record that a load's consumer returned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Read {
    /// Index into [`History::loads`].
    pub load: u16,
    /// The client of the load, from 0.
    pub client: u16,
    /// Which partition, as an index into [`History::partitions`].
    pub partition: u32,
    /// At which offset.
    pub offset: Offset,
    /// Which record.
    pub value: Value,
    /// When, in ns.
    pub at_ns: u64,
}

/// A load's name and promise, for checkers and reports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoadInfo {
    /// As in `[load.NAME]`.
    pub name: String,
    /// The topic.
    pub topic: String,
    /// Whether it produces; else it consumes.
    pub produces: bool,
    /// Whether its producer is idempotent, so that one record has one offset.
    pub idempotent: bool,
    /// How many requests of a producer may be in flight on one connection; 0 for a load that consumes.
    pub in_flight: u32,
}

/// An answer to ListOffsets(latest).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Latest {
    /// Which partition, as an index into [`History::partitions`].
    pub partition: u32,
    /// What it said.
    pub offset: Offset,
    /// In which leader epoch.
    pub leader_epoch: LeaderEpoch,
    /// When it was asked for, in ns.
    pub asked_ns: u64,
    /// When the answer came, in ns.
    pub at_ns: u64,
}

/// Everything clients did.
#[derive(Clone, Default, Debug)]
pub struct History {
    /// Who did it.
    pub loads: Vec<LoadInfo>,
    /// The partitions that [`Read::partition`] counts, in order.
    pub partitions: Vec<TopicPartition>,
    /// Every send, in order of its id.
    pub sends: Vec<Send>,
    /// Every record read, in the order in which consumers returned them.
    pub reads: Vec<Read>,
    /// What one client was told when it asked for the ends, again and again, in order of [`Latest::at_ns`].
    pub latest: Vec<Latest>,
}

impl History {
    /// A load's client as people call it.
    pub fn client(&self, load: u16, client: u16) -> String {
        let name = self.loads.get(usize::from(load)).map_or("?", |load| load.name.as_str());
        format!("{name}-{client}")
    }

    /// The send that wrote `value`.
    pub fn send_of(&self, value: Value) -> Option<&Send> {
        match value {
            Value::Of(id) => self.sends.get(usize::try_from(id).ok()?),
            Value::Foreign => None,
        }
    }

    /// The partition of a read.
    pub fn partition_of(&self, read: &Read) -> &TopicPartition {
        &self.partitions[read.partition as usize]
    }
}

/// One partition, read from its start to its end after everything has healed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionRead {
    /// The earliest offset, as ListOffsets answered.
    pub start: Offset,
    /// The latest offset (high watermark), as ListOffsets answered before the reading began.
    pub end: Offset,
    /// Every record, in the order read.
    pub records: Vec<(Offset, Value)>,
    /// Whether the reading reached `end`; if not, why.
    pub incomplete: Option<String>,
}

impl PartitionRead {
    /// What was read at an offset.
    pub fn at(&self, offset: Offset) -> Option<Value> {
        let (first, _) = self.records.first()?;
        // Without gaps, as nearly always, the place is known.
        let place = usize::try_from(offset.0 - first.0).ok()?;
        match self.records.get(place) {
            Some((at, value)) if *at == offset => Some(*value),
            _ => self.records.binary_search_by_key(&offset, |(at, _)| *at).ok().map(|index| self.records[index].1),
        }
    }
}

/// The final read-back of all partitions. A partition that is not in it could not be read at all.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct ReadBack {
    /// Every partition of every topic of the scenario.
    pub partitions: BTreeMap<TopicPartition, PartitionRead>,
}
