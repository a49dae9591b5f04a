//! Who is who in the quorum, and how long to wait.

use std::time::Duration;

use protocol::{NodeId, Uuid};

use crate::message::VoterKey;

/// What a node of the quorum is told at its start. Times in comments are Kafka's defaults.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// This node.
    pub node: NodeId,
    /// Its metadata directory's id; zero if it has none.
    pub directory: Uuid,
    /// Who votes, in the order of their ids, each once. A node that is not among them observes.
    pub voters: Vec<VoterKey>,
    /// `controller.quorum.election.timeout.ms` (1000); a random part of the same length is added.
    pub election_timeout: Duration,
    /// `controller.quorum.fetch.timeout.ms` (2000).
    pub fetch_timeout: Duration,
    /// `controller.quorum.election.backoff.max.ms` (1000): the longest wait of a successor after EndQuorumEpoch.
    pub election_backoff_max: Duration,
    /// `controller.quorum.retry.backoff.ms` (20): rest after an error of a node.
    pub retry_backoff: Duration,
    /// `controller.quorum.append.linger.ms` (25): how long the first proposal waits for company.
    pub append_linger: Duration,
    /// How long a leader may hold a fetch back (500 ms).
    pub fetch_wait_max: Duration,
    /// `controller.quorum.fetch.max.bytes` (1 MiB).
    pub fetch_bytes_max: u32,
    /// How long a leader that shuts down looks for a successor (5 s).
    pub shutdown_timeout: Duration,
    /// Waiting proposals are appended at once when there are so many bytes (8 MiB) …
    pub pending_bytes_max: usize,
    /// … or so many batches (10).
    pub pending_batches_max: usize,
}

impl Config {
    /// Kafka's defaults for a quorum of `voters`, known by their ids.
    pub fn new(node: NodeId, voters: impl IntoIterator<Item = NodeId>) -> Self {
        let mut voters: Vec<VoterKey> = voters.into_iter().map(VoterKey::of).collect();
        voters.sort();
        voters.dedup();
        Self {
            node,
            directory: Uuid::ZERO,
            voters,
            election_timeout: Duration::from_millis(1000),
            fetch_timeout: Duration::from_millis(2000),
            election_backoff_max: Duration::from_millis(1000),
            retry_backoff: Duration::from_millis(20),
            append_linger: Duration::from_millis(25),
            fetch_wait_max: Duration::from_millis(500),
            fetch_bytes_max: 1 << 20,
            shutdown_timeout: Duration::from_secs(5),
            pending_bytes_max: 8 << 20,
            pending_batches_max: 10,
        }
    }

    /// The key of this node.
    pub fn key(&self) -> VoterKey {
        VoterKey { id: self.node, directory: self.directory }
    }

    /// The voter of this id.
    pub fn voter(&self, node: NodeId) -> Option<VoterKey> {
        self.voters.iter().copied().find(|voter| voter.id == node)
    }

    /// Whether this node votes.
    pub fn is_voter(&self) -> bool {
        self.voters.iter().any(|voter| voter.matches(self.key()))
    }

    /// The other voters.
    pub fn others(&self) -> impl Iterator<Item = VoterKey> + '_ {
        self.voters.iter().copied().filter(|voter| voter.id != self.node)
    }

    /// How many voters make a majority.
    pub fn majority(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    /// After how long without fetches of a majority a leader resigns: 1.5 fetch time-outs, whole milliseconds.
    pub fn check_quorum_timeout(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.fetch_timeout.as_millis() * 3 / 2).unwrap_or(u64::MAX))
    }
}
