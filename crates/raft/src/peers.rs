//! Who may be sent a request: one is in flight per node, one Fetch in all, and a node that failed rests.
//!
//! Every change of role forgets all of it (as Kafka does): an answer that arrives later finds no entry and is ignored.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::{Monotonic, NodeId};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::event::{Correlation, Effect, Effects};
use crate::message::Request;

#[derive(Debug)]
pub(crate) struct Peers {
    /// Nodes that are not ready.
    busy: BTreeMap<NodeId, Busy>,
    next: Correlation,
}

#[derive(Clone, Copy, Debug)]
enum Busy {
    InFlight { correlation: Correlation, fetch: bool },
    BackingOff { until: Monotonic },
}

impl Peers {
    pub(crate) fn new() -> Self {
        Self { busy: BTreeMap::new(), next: 1 }
    }

    /// Forgets what is in flight and who rests.
    pub(crate) fn forget(&mut self) {
        self.busy.clear();
    }

    pub(crate) fn is_ready(&self, node: NodeId, now: Monotonic) -> bool {
        match self.busy.get(&node) {
            None => true,
            Some(Busy::InFlight { .. }) => false,
            Some(Busy::BackingOff { until }) => *until <= now,
        }
    }

    pub(crate) fn is_backing_off(&self, node: NodeId, now: Monotonic) -> bool {
        matches!(self.busy.get(&node), Some(Busy::BackingOff { until }) if *until > now)
    }

    pub(crate) fn fetching(&self) -> bool {
        self.busy.values().any(|busy| matches!(busy, Busy::InFlight { fetch: true, .. }))
    }

    pub(crate) fn send(&mut self, node: NodeId, request: Request, out: &mut Effects) {
        let correlation = self.next;
        self.next += 1;
        let fetch = matches!(request, Request::Fetch(_));
        assert!(!fetch || !self.fetching(), "two fetches in flight");
        let former = self.busy.insert(node, Busy::InFlight { correlation, fetch });
        assert!(!matches!(former, Some(Busy::InFlight { .. })), "two requests to {node} in flight");
        out.push(Effect::Send { node, correlation, request });
    }

    /// An answer or a failure came: from whom, if anybody waits for it. The node is ready again.
    pub(crate) fn take(&mut self, correlation: Correlation) -> Option<NodeId> {
        let node = self.busy.iter().find_map(|(node, busy)| match busy {
            Busy::InFlight { correlation: known, .. } if *known == correlation => Some(*node),
            _ => None,
        })?;
        self.busy.remove(&node);
        Some(node)
    }

    pub(crate) fn back_off(&mut self, node: NodeId, now: Monotonic, rest: Duration) {
        self.busy.insert(node, Busy::BackingOff { until: now + rest });
    }

    /// One of the ready `nodes` at random.
    pub(crate) fn any_ready(
        &self,
        nodes: impl Iterator<Item = NodeId>,
        now: Monotonic,
        rng: &mut ChaCha8Rng,
    ) -> Option<NodeId> {
        let ready: Vec<NodeId> = nodes.filter(|node| self.is_ready(*node, now)).collect();
        if ready.is_empty() { None } else { Some(ready[rng.random_range(0..ready.len())]) }
    }

    /// When the next node has rested.
    pub(crate) fn deadline(&self, now: Monotonic) -> Option<Monotonic> {
        let rests = self.busy.values().filter_map(|busy| match busy {
            Busy::BackingOff { until } if *until > now => Some(*until),
            _ => None,
        });
        rests.min()
    }

    pub(crate) fn check_invariants(&self) {
        let fetches = self.busy.values().filter(|busy| matches!(busy, Busy::InFlight { fetch: true, .. })).count();
        assert!(fetches <= 1, "{fetches} fetches in flight");
    }
}
