//! The role that copies the leader's log.
//!
//! A follower reconciles before it copies (KIP-101, KIP-279, KIP-320): it asks for its own log's end and names the epoch of
//! its last batch; a leader whose log parts from it below answers where, and nothing of that answer counts but the place.

use protocol::{LeaderEpoch, Offset};

use super::event::{Diverging, Fetched, WatchKind};
use super::{Effect, Effects, FetchPosition, PendingAppend, Replica, Token};

/// The role of a follower, in one leader epoch.
#[derive(Clone, Debug)]
pub(super) struct Follower {
    /// The log was busy when the role began: the first truncation is still to be decided.
    settling: bool,
    /// What the leader said last, to be taken (within the own log) when the append it came with has completed.
    leader_high_watermark: Option<Offset>,
    leader_log_start: Offset,
    /// The leader's answers make no sense: nothing more in this epoch.
    mistrusted: bool,
}

impl Follower {
    pub(super) fn new(replica: &mut Replica, out: &mut Effects) -> Self {
        let mut follower =
            Self { settling: true, leader_high_watermark: None, leader_log_start: Offset::ZERO, mistrusted: false };
        follower.log_moved(replica, out);
        follower
    }

    /// Where to go on, if the log is ready and there is a leader.
    pub(super) fn position(&self, replica: &Replica) -> Option<FetchPosition> {
        let ready = !self.settling && !self.mistrusted && replica.is_idle() && !replica.leader.is_none();
        ready.then(|| FetchPosition {
            leader: replica.leader,
            leader_epoch: replica.leader_epoch,
            offset: replica.log_end_offset,
            last_fetched_epoch: replica.epochs.latest_epoch(),
            log_start_offset: replica.log_start_offset,
        })
    }

    /// An append or a truncation completed.
    pub(super) fn log_moved(&mut self, replica: &mut Replica, out: &mut Effects) {
        if !replica.is_idle() {
            return;
        }
        if self.settling {
            self.settling = false;
            if probe::planted!(trunc_to_hw) {
                // KIP-101: "what I know to be committed" is one fetch behind what is; if this replica is elected before it
                // has copied the rest again, an acknowledged record is gone.
                if replica.high_watermark < replica.log_end_offset {
                    replica.truncate(replica.high_watermark, out);
                }
            } else if replica.epochs.is_empty() && replica.high_watermark < replica.log_end_offset {
                // Batches that no epoch is known for cannot be reconciled.
                replica.truncate(replica.high_watermark, out);
            }
            return;
        }
        self.take_leader_facts(replica, out);
    }

    pub(super) fn fetched(&mut self, replica: &mut Replica, fetched: Fetched, out: &mut Effects) {
        // It counts only if it answers what would be asked now (KAFKA-13207).
        let asked = self.position(replica);
        if asked.is_none_or(|now| now.offset != fetched.offset || now.leader_epoch != fetched.leader_epoch) {
            return;
        }
        if let Some(diverging) = fetched.diverging {
            // First, and nothing else of it: its high watermark may lie in the part that goes (KAFKA-14704).
            probe::sometimes!("follower_diverged");
            let to = truncation_offset(replica, diverging);
            replica.truncate(to, out);
            return;
        }
        self.leader_high_watermark = Some(fetched.high_watermark);
        self.leader_log_start = fetched.log_start_offset;

        // A batch of an epoch newer than the one asked in is left for the next fetch (KAFKA-18723).
        let batches = fetched.batches.iter().take_while(|batch| batch.leader_epoch <= fetched.leader_epoch).count();
        let batches = &fetched.batches[..batches];
        let Some(first) = batches.first() else {
            self.take_leader_facts(replica, out);
            return;
        };
        if first.base < replica.log_end_offset {
            let is_empty = replica.log_start_offset == replica.log_end_offset;
            if is_empty && first.last >= replica.log_end_offset {
                // The leader's log starts inside this batch; a copy of it is whole, so it starts with the batch.
                replica.restart(first.base, out);
            } else {
                self.mistrust("a batch below the log's end", out);
                return;
            }
        }
        let mut next = replica.next_offset;
        for batch in batches {
            if batch.base < next || batch.last < batch.base {
                self.mistrust("offsets that do not rise", out);
                return;
            }
            next = batch.last.plus(1);
        }
        for batch in batches {
            replica.epochs.assign(batch.leader_epoch, batch.base);
        }
        replica.next_offset = next;
        replica.appends.push_back(PendingAppend { token: Token::NONE, acks: 0, next });
        out.push(Effect::Append { token: Token::NONE, base: first.base, next, stamp: None, batches: batches.len() });
    }

    /// The leader refused the offset; this is what its log spans.
    pub(super) fn leader_range(
        &mut self,
        replica: &mut Replica,
        leader_epoch: LeaderEpoch,
        start: Offset,
        end: Offset,
        out: &mut Effects,
    ) {
        if self.position(replica).is_none_or(|now| now.leader_epoch != leader_epoch) {
            return;
        }
        if end < replica.log_end_offset {
            replica.truncate(end, out);
        } else if start > replica.log_end_offset {
            replica.restart(start, out);
        }
    }

    /// Takes the leader's high watermark, bounded by the own log (it may go down), and its log start, if committed here.
    fn take_leader_facts(&mut self, replica: &mut Replica, out: &mut Effects) {
        let Some(offset) = self.leader_high_watermark.take() else { return };
        let offset = offset.clamp(replica.log_start_offset, replica.log_end_offset);
        if offset != replica.high_watermark {
            if offset < replica.high_watermark {
                probe::sometimes!("follower_high_watermark_fell");
            }
            replica.high_watermark = offset;
            replica.fire_reached(WatchKind::HighWatermark, offset, out);
        }
        if self.leader_log_start > replica.log_start_offset && self.leader_log_start <= replica.high_watermark {
            replica.raise_log_start(self.leader_log_start);
            out.push(Effect::RaiseLogStart { to: self.leader_log_start });
        }
    }

    fn mistrust(&mut self, why: &'static str, out: &mut Effects) {
        self.mistrusted = true;
        out.push(Effect::Mistrust { why });
    }
}

/// Where to cut (KIP-279): if the leader's epoch is known here, at the smaller of both ends of it; if only smaller ones
/// are, at the end of the largest of them, and the next fetch asks again; if none is, at the leader's end.
fn truncation_offset(replica: &Replica, leader: Diverging) -> Offset {
    let own_end = replica.log_end_offset;
    match replica.epochs.end_offset_for(leader.epoch, own_end) {
        Some((epoch, end)) if epoch == leader.epoch => end.min(leader.end).min(own_end),
        Some((epoch, end)) if epoch < leader.epoch => end.min(own_end),
        _ => leader.end.min(own_end),
    }
}
