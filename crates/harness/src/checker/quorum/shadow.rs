//! What each node's metadata log must hold, folded from what the nodes told.

use std::collections::BTreeMap;

use protocol::{LeaderEpoch, NodeId, Offset};
use runtime::Observation;

use crate::event::Stamped;

/// A batch of the metadata log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Batch {
    /// Its first offset.
    pub base: Offset,
    /// Its last offset.
    pub last: Offset,
    /// Its leader's epoch.
    pub epoch: LeaderEpoch,
    /// Its CRC.
    pub crc: u32,
}

impl std::fmt::Display for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "offsets {}..{} of epoch {} (crc {:08x})", self.base, self.last, self.epoch, self.crc)
    }
}

/// One node's log.
#[derive(Clone, Debug)]
pub struct NodeLog {
    /// The batches whose appending was seen and which have not been cut since, by base. Invariant: none overlaps the next.
    batches: BTreeMap<Offset, Batch>,
    /// The end of the log.
    pub end: Offset,
    /// Everything below is durable.
    pub flushed: Offset,
    /// The high watermark; [`Offset::NONE`] while unknown.
    pub high_watermark: Offset,
}

impl Default for NodeLog {
    fn default() -> Self {
        Self { batches: BTreeMap::new(), end: Offset::ZERO, flushed: Offset::ZERO, high_watermark: Offset::NONE }
    }
}

impl NodeLog {
    /// The batch that holds `offset`, if its appending was seen.
    pub fn at(&self, offset: Offset) -> Option<Batch> {
        let (_, batch) = self.batches.range(..=offset).next_back()?;
        (batch.last >= offset).then_some(*batch)
    }

    /// The batches that begin in `from..to`.
    pub fn between(&self, from: Offset, to: Offset) -> impl Iterator<Item = Batch> + '_ {
        self.batches.range(from..to.max(from)).map(|(_, batch)| *batch)
    }

    fn cut(&mut self, end: Offset) {
        // From the end: each append comes by here, and a log may be long.
        while self.batches.last_key_value().is_some_and(|(_, batch)| batch.last >= end) {
            self.batches.pop_last();
        }
        self.end = end;
        self.flushed = self.flushed.min(end);
    }
}

/// All nodes' logs.
#[derive(Debug, Default)]
pub struct Shadow {
    nodes: BTreeMap<NodeId, NodeLog>,
}

impl Shadow {
    /// Takes an event; `true` if it was about a metadata log.
    pub fn observe(&mut self, event: &Stamped) -> bool {
        if event.what == Observation::DiskReplaced {
            self.nodes.remove(&event.node);
            return true;
        }
        let about_logs = matches!(
            event.what,
            Observation::QuorumOpened { .. }
                | Observation::QuorumAppended { .. }
                | Observation::QuorumTruncated { .. }
                | Observation::QuorumFlushed { .. }
                | Observation::QuorumHighWatermark { .. }
        );
        if !about_logs {
            return false;
        }
        let log = self.nodes.entry(event.node).or_default();
        match &event.what {
            Observation::QuorumOpened { end } => {
                log.cut(*end);
                log.high_watermark = Offset::NONE;
            }
            Observation::QuorumAppended { base, last, epoch, crc } => {
                log.cut(*base);
                log.batches.insert(*base, Batch { base: *base, last: *last, epoch: *epoch, crc: *crc });
                log.end = last.plus(1);
            }
            Observation::QuorumTruncated { end } => log.cut(*end),
            Observation::QuorumFlushed { end } => log.flushed = log.flushed.max(*end),
            Observation::QuorumHighWatermark { offset } => log.high_watermark = *offset,
            _ => unreachable!("sorted out above"),
        }
        true
    }

    /// A node's log.
    pub fn node(&self, node: NodeId) -> Option<&NodeLog> {
        self.nodes.get(&node)
    }
}
