//! Switches for planted bugs, and counters of branches worth reaching.
//!
//! [`planted!`] is `false` unless this build has the feature `planted` *and* the bug was chosen for this process
//! ([`plant`]). [`sometimes!`] counts a branch that a good sweep should reach; [`PROBES`] lists them all, [`reached`] and
//! [`never_reached`] say which were. Both are statics of the process, set before the world starts: one process runs one seed.
//!
//! Deliberately absent: anything that a broker's conduct could depend on besides the chosen plants.

mod disorder;
mod probes;

use std::sync::{Mutex, PoisonError};

pub use disorder::disorder;
pub use probes::{PROBES, Probe, count, index_of, never_reached, reached, same, times};

/// A historical bug that can be planted. `bugs.md` and the list in `simctl run --help` have the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Plant {
    /// The switch, as typed after `--plant`.
    pub name: &'static str,
    /// Where the bug is known from: a KIP or a JIRA.
    pub source: &'static str,
    /// What goes wrong, in one sentence.
    pub about: &'static str,
}

/// All bugs that can be planted.
pub const PLANTS: &[Plant] = &[
    Plant {
        name: "trunc_to_hw",
        source: "KIP-101, KAFKA-1211",
        about: "a new follower truncates to its own high watermark instead of asking the leader where its epoch ended",
    },
    Plant {
        name: "hw_uses_committed_isr",
        source: "KIP-497",
        about: "the high watermark ignores a replica whose way into the ISR is still in flight",
    },
    Plant {
        name: "restart_as_leader",
        source: "KAFKA-10527",
        about: "a quorum leader that restarts goes on leading the same epoch with whatever log its disk kept",
    },
    Plant {
        name: "latest_goes_back",
        source: "KIP-207, KAFKA-2334",
        about: "a new leader answers ListOffsets(latest) before its high watermark has reached its epoch's start",
    },
    Plant {
        name: "fenced_joins_isr",
        source: "KIP-841, KAFKA-13916",
        about: "leader and controller take a fenced broker, or one that shuts down, into the ISR",
    },
    Plant {
        name: "hw_at_epoch_start",
        source: "KAFKA-12619",
        about: "a quorum leader calls committed what lies below its epoch's start, before a record of its own is",
    },
    Plant {
        name: "vote_not_persisted",
        source: "KIP-595",
        about: "a voter of the quorum answers before its vote is durable",
    },
    Plant {
        name: "no_flush_before_fetch",
        source: "KAFKA-10533",
        about: "a voter of the quorum fetches on from records that it has not synced",
    },
    Plant {
        name: "recovery_skips_crc",
        source: "the class of NATS 2.12.1",
        about: "recovery believes batches whose length is right without looking at their checksum",
    },
    Plant {
        name: "state_before_append",
        source: "KAFKA-6683",
        about: "a leader's memory of a producer keeps batches whose append has failed",
    },
    Plant {
        name: "no_dedup_window",
        source: "Redpanda #3039",
        about: "a leader remembers one batch of a producer instead of five",
    },
    Plant {
        name: "truncate_keeps_state",
        source: "KAFKA-5003's rule",
        about: "a replica that cuts its log keeps in memory what producers had written there",
    },
    Plant {
        name: "no_fsync_producer_snapshot",
        source: "KAFKA-9892",
        about: "snapshots of producers are not synced, and one that is damaged is taken for an empty one",
    },
    Plant {
        name: "order_by_address",
        source: "nondeterminism",
        about: "a shard takes in what a Fetch gave in the order of the partitions' addresses in memory",
    },
    Plant {
        name: "default_hasher",
        source: "nondeterminism",
        about: "a shard takes in what a Fetch gave as a map with hashbrown's default hasher has it",
    },
    Plant {
        name: "stray_entropy",
        source: "nondeterminism",
        about: "a shard takes in what a Fetch gave from a place on that the kernel's entropy chooses",
    },
];

static PLANTED: Mutex<Option<&'static str>> = Mutex::new(None);

/// Chooses the planted bug of this process. `Err` names what this build could plant.
pub fn plant(name: &str) -> Result<(), String> {
    let known = || PLANTS.iter().map(|plant| plant.name).collect::<Vec<_>>().join(", ");
    if !cfg!(feature = "planted") {
        return Err("this build cannot plant bugs (feature `planted` is off)".to_owned());
    }
    let plant = PLANTS
        .iter()
        .find(|plant| plant.name == name)
        .ok_or_else(|| format!("unknown bug `{name}`; known: {}", known()))?;
    *PLANTED.lock().unwrap_or_else(PoisonError::into_inner) = Some(plant.name);
    Ok(())
}

/// The planted bug of this process, if any.
pub fn chosen() -> Option<&'static str> {
    *PLANTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the bug `name` is on; use [`planted!`].
pub fn is_planted(name: &'static str) -> bool {
    cfg!(feature = "planted") && {
        debug_assert!(PLANTS.iter().any(|plant| plant.name == name), "unknown plant {name}");
        chosen() == Some(name)
    }
}

/// `true` if the bug of this name is planted in this run: `if planted!(trunc_to_hw) { wrong } else { right }`.
#[macro_export]
macro_rules! planted {
    ($name:ident) => {
        $crate::is_planted(stringify!($name))
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_unknown_bug_is_refused_and_names_the_known_ones() {
        let error = super::plant("no_such_bug").unwrap_err();
        assert!(error.contains("feature `planted` is off") || error.contains("trunc_to_hw"), "{error}");
    }
}
