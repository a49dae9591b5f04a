//! Which of two processes under one `node.id` is the node, for those who follow the stream.
//!
//! The original is, until its twin opens a partition's log: a broker does so only after it has registered. From then on the
//! twin is, with its own disk, until the original is started again. What the other one says is nobody's word: it goes into
//! the trace and to no checker.

use std::sync::Arc;

use protocol::NodeId;
use runtime::Observation;

use crate::checker::HostDisk;

/// Twins and their originals.
#[derive(Default)]
pub struct Twins(Vec<Pair>);

struct Pair {
    original: String,
    /// The world's number of the twin's host.
    twin: u32,
    twin_name: String,
    node: NodeId,
    /// Whether the twin is the node.
    taken: bool,
    /// The twin's disk as its process found it.
    disk: Option<HostDisk>,
}

/// Who speaks.
pub enum Voice {
    /// The node itself, or a host that has no twin.
    Node(NodeId),
    /// Not the node, though it has its id.
    Other,
    /// The twin, which is the node from now on. Its disk as it found it.
    TakesOver(NodeId, Option<HostDisk>),
}

/// What a start means for the identity of a host's node.
pub enum Starts {
    /// Nothing.
    AsEver,
    /// The twin's process starts: not the node yet.
    Twin,
    /// The original is the node again, with its own disk.
    Again,
}

impl Twins {
    /// A host has a twin now.
    pub fn add(&mut self, twin: u32, original: &str, twin_name: String, node: NodeId) {
        if !self.0.iter().any(|pair| pair.twin == twin) {
            let original = original.to_owned();
            self.0.push(Pair { original, twin, twin_name, node, taken: false, disk: None });
        }
    }

    /// Whether the host is one of two under an id.
    pub fn has(&self, host: &str) -> bool {
        self.0.iter().any(|pair| pair.original == host || pair.twin_name == host)
    }

    /// Who says this.
    pub fn voice(&mut self, host: &Arc<str>, node: NodeId, what: &Observation) -> Voice {
        for pair in &mut self.0 {
            if *pair.twin_name == **host {
                if !pair.taken && matches!(what, Observation::LogOpened { .. }) {
                    pair.taken = true;
                    return Voice::TakesOver(pair.node, pair.disk.take());
                }
                return if pair.taken { Voice::Node(pair.node) } else { Voice::Other };
            }
            if *pair.original == **host {
                return if pair.taken { Voice::Other } else { Voice::Node(node) };
            }
        }
        Voice::Node(node)
    }

    /// A process is about to start on this disk.
    pub fn starts(&mut self, disk: &HostDisk) -> Starts {
        for pair in &mut self.0 {
            if *pair.twin_name == *disk.host {
                pair.disk = Some(HostDisk { node: pair.node, ..disk.clone() });
                return Starts::Twin;
            }
            if *pair.original == *disk.host && std::mem::take(&mut pair.taken) {
                return Starts::Again;
            }
        }
        Starts::AsEver
    }
}
