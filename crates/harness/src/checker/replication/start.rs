//! C-START: a replica's log start never goes back, and never above its high watermark.
//!
//! A log that begins anew (its leader's begins elsewhere) may begin anywhere; so may one whose process did not stop in good
//! order, since the start is written down every minute only; and one whose disk was emptied.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{NodeId, Offset, TopicPartition};

use super::Memory;
use crate::checker::{HostDisk, Violation};
use crate::event::{Stamped, grouped};

/// What is known of the starts of all logs.
#[derive(Default, Debug)]
pub(super) struct Starts {
    known: BTreeMap<NodeId, BTreeMap<TopicPartition, Offset>>,
    /// Nodes whose last process stopped in good order.
    clean: BTreeSet<NodeId>,
    /// A start that went back at this instant, from where: legal if the log is cut to nothing at the same instant.
    back: Option<(Offset, Stamped)>,
    /// The log that was cut to nothing last, on which node and when.
    anew: Option<(NodeId, TopicPartition, u64)>,
}

impl Starts {
    pub(super) fn ended(&mut self, node: NodeId, clean: bool) {
        if clean {
            self.clean.insert(node);
        } else {
            self.clean.remove(&node);
            self.known.remove(&node);
        }
    }

    /// The node's disk has another content.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.known.remove(&node);
    }

    /// The log is about to be cut; to 0 if it begins anew.
    pub(super) fn cut(&mut self, event: &Stamped, partition: &TopicPartition, to: Offset) {
        let excused = |(_, back): &mut (Offset, Stamped)| {
            back.node == event.node && crate::event::partition_of(&back.what) == Some(partition)
        };
        if to == Offset::ZERO {
            self.back.take_if(excused);
            self.anew = Some((event.node, partition.clone(), event.at_ns));
        }
    }
}

impl Memory {
    /// What is not on the disk any more, or not what was written, is forgotten.
    pub(super) fn before_start(&mut self, disk: &HostDisk) {
        if !disk.damage.is_empty() {
            self.starts.forget(disk.node);
        }
        if let Some(starts) = self.starts.known.get_mut(&disk.node) {
            starts.retain(|partition, _| {
                let dir = format!("{}-{}/", partition.topic, partition.partition);
                disk.files.keys().any(|path| path.starts_with(&dir) || path.contains(&format!("/{dir}")))
            });
        }
    }

    /// A process begins, and opens a log that starts there.
    pub(super) fn start_opened(&mut self, event: &Stamped, partition: &TopicPartition, start: Offset, clean: bool) {
        self.log_start.judged += 1;
        let before = self.starts.known.entry(event.node).or_default().insert(partition.clone(), start);
        if let Some(before) = before.filter(|before| start < *before)
            && clean
            && self.starts.clean.contains(&event.node)
        {
            self.log_start.breach(|| {
                Violation::new("a log start went back over a stop in good order")
                    .with("log", format!("{partition} on {}", event.host))
                    .with("start", format!("{} -> {}", grouped(before.0), grouped(start.0)))
                    .at(event)
            });
        }
    }

    /// A log's start moved.
    pub(super) fn start_moved(&mut self, event: &Stamped, partition: &TopicPartition, from: Offset, to: Offset) {
        self.log_start.judged += 1;
        let high_watermark =
            self.shadow.replica(partition, event.node).map_or(Offset::NONE, |replica| replica.high_watermark);
        if to > high_watermark {
            self.log_start.breach(|| {
                Violation::new("a log start lies above the replica's high watermark")
                    .with("log", format!("{partition} on {}", event.host))
                    .with("start", format!("{}, high watermark {}", grouped(to.0), grouped(high_watermark.0)))
                    .at(event)
            });
        }
        let known = self.starts.known.entry(event.node).or_default().insert(partition.clone(), to);
        let before = known.map_or(from, |known| known.max(from));
        let anew = self.starts.anew.as_ref();
        let anew = anew.is_some_and(|(node, of, at)| (*node, of, *at) == (event.node, partition, event.at_ns));
        if to < before && !anew {
            self.starts.back = Some((before, event.clone()));
        }
    }

    /// Time has gone on to `now_ns`: a start that went back was not that of a log that begins anew.
    pub(super) fn start_went_back(&mut self, now_ns: u64) {
        if let Some((before, event)) = self.starts.back.take_if(|(_, event)| event.at_ns < now_ns) {
            self.log_start.breach(|| {
                Violation::new("a log start went back")
                    .with("start", format!("it was {}", grouped(before.0)))
                    .at(&event)
            });
        }
    }
}
