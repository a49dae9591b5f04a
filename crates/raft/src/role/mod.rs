//! The states of a node, one file each: what a state remembers, what it does when it is its turn, and how one gets in.

pub mod candidate;
pub mod follower;
pub mod leader;
pub mod observer;
pub mod prospective;
pub mod resigned;
pub mod unattached;

use std::collections::BTreeSet;

use protocol::{Monotonic, NodeId};

/// The name of a state.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RoleName {
    /// Knows the epoch, perhaps its leader, has perhaps voted.
    Unattached,
    /// Asks whether it would be elected (KIP-996).
    Prospective,
    /// Asks to be elected.
    Candidate,
    /// Leads.
    Leader,
    /// Copies the leader's log.
    Follower,
    /// Led this epoch and gave it up.
    Resigned,
}

#[derive(Debug)]
pub(crate) enum Role {
    Unattached(unattached::Unattached),
    Prospective(prospective::Prospective),
    Candidate(candidate::Candidate),
    Leader(Box<leader::Leader>),
    Follower(follower::Follower),
    Resigned(resigned::Resigned),
}

impl Role {
    pub(crate) fn name(&self) -> RoleName {
        match self {
            Self::Unattached(_) => RoleName::Unattached,
            Self::Prospective(_) => RoleName::Prospective,
            Self::Candidate(_) => RoleName::Candidate,
            Self::Leader(_) => RoleName::Leader,
            Self::Follower(_) => RoleName::Follower,
            Self::Resigned(_) => RoleName::Resigned,
        }
    }

    /// When it is this state's turn at the latest, leaving out who rests.
    pub(crate) fn deadline(&self, now: Monotonic) -> Option<Monotonic> {
        match self {
            Self::Unattached(role) => role.deadline,
            Self::Prospective(role) => Some(role.deadline),
            Self::Candidate(role) => Some(role.deadline),
            Self::Leader(role) => role.deadline(now),
            Self::Follower(role) => role.deadline,
            Self::Resigned(role) => role.deadline,
        }
    }
}

/// The votes of one round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Invariant: no node is in both.
    pub(crate) granted: BTreeSet<NodeId>,
    pub(crate) refused: BTreeSet<NodeId>,
}

impl Tally {
    /// The node itself grants.
    pub(crate) fn begin(node: NodeId) -> Self {
        Self { granted: BTreeSet::from([node]), refused: BTreeSet::new() }
    }

    /// The first answer of a node counts.
    pub(crate) fn record(&mut self, node: NodeId, granted: bool) {
        if !self.granted.contains(&node) && !self.refused.contains(&node) {
            let side = if granted { &mut self.granted } else { &mut self.refused };
            side.insert(node);
        }
    }

    pub(crate) fn answered(&self, node: NodeId) -> bool {
        self.granted.contains(&node) || self.refused.contains(&node)
    }
}
