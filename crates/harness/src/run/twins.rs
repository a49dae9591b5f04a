//! Which of two processes under one `node.id` is the node, for those who follow the stream.
//!
//! The original is, until its twin opens a partition's log or serves: a broker does so only after it has registered. From
//! then on the twin is, with its own disk, until the original, started again, does the same in turn. What the other one says
//! is nobody's word: it goes into the trace and to no checker.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::NodeId;
use runtime::Observation;

use crate::checker::HostDisk;

/// Twins and their originals.
#[derive(Default)]
pub struct Twins {
    pairs: Vec<Pair>,
    /// The disks of processes without a twin, as they found them, until they have registered: one may get a twin before.
    starting: BTreeMap<String, HostDisk>,
}

struct Pair {
    /// The original's host and the twin's.
    hosts: [String; 2],
    /// The world's number of the twin's host.
    twin: u32,
    node: NodeId,
    /// Which of the two is the node.
    is_node: usize,
    /// The disk of each as its process found it, until that process has registered. Whoever is the node when he starts may
    /// have lost that before he registers.
    found: [Option<HostDisk>; 2],
}

/// Who speaks.
pub enum Voice {
    /// The node itself, or a host that has no twin.
    Node(NodeId),
    /// Not the node, though it has its id.
    Other,
    /// Who was not the node is it from now on, with the disk that its process found.
    TakesOver(NodeId, HostDisk),
}

impl Twins {
    /// A host has a twin now.
    pub fn add(&mut self, twin: u32, original: &str, twin_name: String, node: NodeId) {
        if !self.pairs.iter().any(|pair| pair.twin == twin) {
            let found = [self.starting.remove(original), None];
            self.pairs.push(Pair { hosts: [original.to_owned(), twin_name], twin, node, is_node: 0, found });
        }
    }

    fn pair(&mut self, host: &str) -> Option<(&mut Pair, usize)> {
        self.pairs.iter_mut().find_map(|pair| {
            let which = pair.hosts.iter().position(|name| name == host)?;
            Some((pair, which))
        })
    }

    /// Whether the host is one of two under an id.
    pub fn has(&self, host: &str) -> bool {
        self.pairs.iter().any(|pair| pair.hosts.iter().any(|name| name == host))
    }

    /// Who says this.
    pub fn voice(&mut self, host: &Arc<str>, node: NodeId, what: &Observation) -> Voice {
        let registered = matches!(what, Observation::LogOpened { .. } | Observation::BrokerRunning { .. });
        let Some((pair, which)) = self.pair(host) else {
            if registered {
                self.starting.remove(&**host);
            }
            return Voice::Node(node);
        };
        let found = pair.found[which].take_if(|_| registered);
        match found {
            _ if which == pair.is_node => Voice::Node(pair.node),
            Some(disk) => {
                pair.is_node = which;
                Voice::TakesOver(pair.node, disk)
            }
            None => Voice::Other,
        }
    }

    /// A process is about to start on this disk; whether it is the node's.
    pub fn starts(&mut self, disk: &HostDisk) -> bool {
        let Some((pair, which)) = self.pair(&disk.host) else {
            self.starting.insert(disk.host.to_string(), disk.clone());
            return true;
        };
        pair.found[which] = Some(HostDisk { node: pair.node, ..disk.clone() });
        which == pair.is_node
    }
}

#[cfg(test)]
mod tests {
    use protocol::BrokerEpoch;

    use super::*;

    const SERVES: Observation = Observation::BrokerRunning { epoch: BrokerEpoch(7) };

    fn disk(host: &str) -> HostDisk {
        HostDisk { host: host.into(), node: NodeId(3), files: std::collections::BTreeMap::new(), damage: Vec::new() }
    }

    fn says(twins: &mut Twins, host: &str, what: &Observation) -> &'static str {
        match twins.voice(&host.into(), NodeId::NONE, what) {
            Voice::Node(NodeId(3)) => "node",
            Voice::TakesOver(NodeId(3), _) => "takes over",
            Voice::Other => "other",
            Voice::Node(_) | Voice::TakesOver(..) => "somebody else",
        }
    }

    #[test]
    fn the_id_is_whose_process_registered_last_and_a_start_alone_changes_nothing() {
        let mut twins = Twins::default();
        twins.add(9, "b3", "b3-twin".to_owned(), NodeId(3));
        assert!(!twins.starts(&disk("b3-twin")));
        assert_eq!(says(&mut twins, "b3-twin", &Observation::ProcessStarted), "other");
        assert_eq!(says(&mut twins, "b3", &SERVES), "node");
        assert_eq!(says(&mut twins, "b3-twin", &SERVES), "takes over");
        assert_eq!(says(&mut twins, "b3", &SERVES), "other", "it was not started since: it cannot have registered");
        assert!(!twins.starts(&disk("b3")), "the twin lives, and the original asks in vain");
        assert_eq!(says(&mut twins, "b3", &Observation::ProcessStarted), "other");
        assert_eq!(says(&mut twins, "b3-twin", &SERVES), "node");
        assert_eq!(says(&mut twins, "b3", &SERVES), "takes over", "now it was let in");
        assert_eq!(says(&mut twins, "b3-twin", &Observation::ProcessStarted), "other");
        assert_eq!(says(&mut twins, "b1", &SERVES), "somebody else");
    }

    #[test]
    fn who_was_the_node_at_his_start_and_lost_that_before_he_registered_may_take_it_back() {
        let mut twins = Twins::default();
        twins.add(9, "b3", "b3-twin".to_owned(), NodeId(3));
        twins.starts(&disk("b3-twin"));
        assert!(twins.starts(&disk("b3")), "nobody has taken its id yet");
        assert_eq!(says(&mut twins, "b3-twin", &SERVES), "takes over");
        assert_eq!(says(&mut twins, "b3", &SERVES), "takes over");
        assert_eq!(says(&mut twins, "b3", &SERVES), "node");
        assert_eq!(says(&mut twins, "b3-twin", &SERVES), "other", "it has not started since");
        // Also if it had no twin when it started.
        let mut twins = Twins::default();
        assert!(twins.starts(&disk("b3")));
        twins.add(9, "b3", "b3-twin".to_owned(), NodeId(3));
        twins.starts(&disk("b3-twin"));
        assert_eq!(says(&mut twins, "b3-twin", &SERVES), "takes over");
        assert_eq!(says(&mut twins, "b3", &SERVES), "takes over");
        // But not if it had registered before: then it must know better.
        let mut twins = Twins::default();
        twins.starts(&disk("b3"));
        twins.voice(&"b3".into(), NodeId(3), &SERVES);
        twins.add(9, "b3", "b3-twin".to_owned(), NodeId(3));
        twins.starts(&disk("b3-twin"));
        assert_eq!(says(&mut twins, "b3-twin", &SERVES), "takes over");
        assert_eq!(says(&mut twins, "b3", &SERVES), "other");
    }
}
