//! A broker's life in its cluster: registration, heartbeats, fencing, controlled shutdown; and its ways to the active
//! controller.
//!
//! Others hold a [`Handle`]: shards change ISRs through it, handlers forward clients' requests, everybody may ask for the
//! [`BrokerStatus`]. Three tasks stand behind it, each with a connection of its own, so that a slow request of one kind
//! holds up no other: `lifecycle` (registration and heartbeats), `alter-partition` and `forwarding`.

use std::sync::{Arc, Mutex, PoisonError};

use metadata::LeaderRecovery;
use protocol::{BrokerEpoch, TopicIdPartition};
use replication::{AlterAnswer, AlterPartition};
use runtime::Post;

/// Where a broker is in its life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum BrokerState {
    /// Not registered yet.
    Starting,
    /// Registered, fenced, and not ready or not caught up yet.
    Recovery,
    /// Unfenced.
    Running,
    /// Was unfenced; the controller has fenced it since.
    Fenced,
    /// Asked the controller to be relieved.
    PendingControlledShutdown,
    /// May stop.
    ShuttingDown,
}

/// What anybody may know of the broker; a moment old.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BrokerStatus {
    /// See [`BrokerState`].
    pub state: BrokerState,
    /// Of the registration; [`BrokerEpoch::NONE`] before it.
    pub epoch: BrokerEpoch,
}

/// A wish of a shard: change the ISR of a partition led here.
pub struct Alter {
    /// Which.
    pub partition: TopicIdPartition,
    /// To what. An entry for this broker itself need not know its epoch.
    pub change: AlterPartition,
    /// Whether the leader has recovered from an unclean election.
    pub recovery: LeaderRecovery,
    /// Called exactly once with the outcome, in the task of the channel: it must not wait.
    pub done: Box<dyn FnOnce(AlterAnswer) + Send>,
}

impl std::fmt::Debug for Alter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Alter({:?} {:?})", self.partition, self.change)
    }
}

/// The way to a broker's lifecycle. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    status: Arc<Mutex<BrokerStatus>>,
    alters: Post<Alter>,
}

impl Handle {
    /// State and epoch as of a moment ago.
    pub fn status(&self) -> BrokerStatus {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the controller to change an ISR. All that wait travel in one request; one request is in flight.
    pub fn alter_partition(&self, alter: Alter) {
        self.alters.post(alter);
    }
}
