//! What a node becomes when it starts, from what it finds on its disk (kafka.md §2.2).

use protocol::{Now, Offset};
use rand_chacha::ChaCha8Rng;

use crate::config::Config;
use crate::event::{Effects, Election};
use crate::log::{LogView, RestoredLog};
use crate::peers::Peers;
use crate::quorum::Quorum;
use crate::role::Role;
use crate::role::unattached::Unattached;

/// What a node finds on its disk.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Restored {
    /// The content of `quorum-state`, if there is one.
    pub election: Option<Election>,
    /// The log.
    pub log: RestoredLog,
}

impl Quorum {
    /// A node that has just started. Its first effects are in `out`.
    pub fn new(config: Config, restored: Restored, rng: ChaCha8Rng, now: Now, out: &mut Effects) -> Self {
        let log = LogView::new(restored.log);
        let mut quorum = Self {
            config,
            rng,
            election: restored.election.unwrap_or(Election::NONE),
            persisted: restored.election,
            role: Role::Unattached(Unattached { deadline: None }),
            log,
            high_watermark: None,
            peers: Peers::new(),
            replayed: Offset::ZERO,
            elected: None,
            shutdown: None,
            stopped: false,
            transitions: 0,
        };
        quorum.start(now, out);
        quorum.drive(now, out);
        quorum
    }

    /// Never Leader: what a leader wrote last may be lost, and its epoch with other records must not exist twice.
    fn start(&mut self, now: Now, out: &mut Effects) {
        let Election { epoch, leader, voted } = self.election;
        let me = self.config.node;
        if epoch < self.log.latest_epoch() {
            // The file is older than the log, or missing.
            probe::sometimes!("quorum_state_behind_log");
            self.become_unattached(now, self.log.latest_epoch(), None, out);
        } else if leader == Some(me) && self.config.is_voter() {
            if probe::planted!(restart_as_leader) {
                // KAFKA-10527: leads the same epoch again, with whatever log the disk kept.
                self.become_leader(now, Vec::new(), out);
            } else {
                self.become_resigned(now, out);
            }
        } else if voted.is_some_and(|voter| self.is_me(voter)) && leader.is_none() && self.config.is_voter() {
            self.resume_candidate(now, out);
        } else if let Some(leader) = leader.filter(|leader| *leader != me) {
            self.become_follower(now, epoch, leader, out);
        } else {
            self.become_unattached(now, epoch, leader.filter(|leader| *leader != me), out);
        }
        // Nobody else can object.
        if self.config.is_voter() && self.config.voters.len() == 1 && !matches!(self.role, Role::Leader(_)) {
            self.become_candidate(now, out);
        }
    }
}
