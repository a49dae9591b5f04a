//! Deletion of records (DeleteRecords), and who of the replicas a consumer should rather read from (KIP-392).
//!
//! The *low watermark* is the smallest log start among the replicas on live brokers: records below it are gone everywhere.
//! A leader raises its own start at once; followers learn of it by their fetches, and tell theirs with the next.

use protocol::{ErrorCode, NodeId, Offset};

use super::event::{Token, WatchKind};
use super::leader::Leader;
use super::{Effect, Effects, Partition, Replica, RoleState};

impl Leader {
    pub(super) fn delete_records(
        &self,
        replica: &mut Replica,
        token: Token,
        before: Option<Offset>,
        out: &mut Effects,
    ) {
        if !self.is_serving() {
            return out.push(Effect::Refuse { token, error: ErrorCode::NotLeaderOrFollower });
        }
        let before = before.unwrap_or(replica.high_watermark);
        if before < Offset::ZERO || before > replica.high_watermark {
            return out.push(Effect::Refuse { token, error: ErrorCode::OffsetOutOfRange });
        }
        if before > replica.log_start_offset {
            replica.raise_log_start(before);
            out.push(Effect::RaiseLogStart { to: before });
        }
        replica.watches.add(token, WatchKind::LowWatermark, before);
        self.low_watermark_moved(replica, out);
    }

    /// See the module; [`Offset::NONE`] while a live replica has not said where it begins.
    fn low_watermark(&self, replica: &Replica) -> Offset {
        let live = |id: &NodeId| replica.brokers.get(id).is_some_and(|broker| !broker.fenced);
        let followers = self.followers.iter().filter(|(id, _)| live(id));
        followers
            .map(|(_, follower)| follower.log_start_offset.unwrap_or(Offset::NONE))
            .fold(replica.log_start_offset, Offset::min)
    }

    /// Something it is made of may have changed: deletions that are done are told so.
    pub(super) fn low_watermark_moved(&self, replica: &mut Replica, out: &mut Effects) {
        if replica.watches.has_kind(WatchKind::LowWatermark) {
            replica.fire_reached(WatchKind::LowWatermark, self.low_watermark(replica), out);
        }
    }
}

impl Partition {
    /// Below which offset no replica on a live broker has records; [`Offset::NONE`] where this one does not lead, or one
    /// of them has not said.
    pub fn low_watermark(&self) -> Offset {
        match &self.role {
            RoleState::Leader(leader) => leader.low_watermark(&self.replica),
            _ => Offset::NONE,
        }
    }

    /// Which of `among` a consumer should read `offset` from: the one in sync that has it and is the furthest. `None` at
    /// whoever does not lead.
    pub fn preferred_replica(&self, among: &[NodeId], offset: Offset) -> Option<NodeId> {
        let RoleState::Leader(leader) = &self.role else { return None };
        let has = |id: &NodeId| {
            let follower = leader.followers.get(id)?;
            let (start, end) = (follower.log_start_offset?, follower.log_end_offset?);
            (self.replica.isr.contains(id) && start <= offset && offset <= end).then_some((end, follower.caught_up))
        };
        let mut candidates = among.iter().filter_map(|id| Some((has(id)?, *id)));
        candidates.by_ref().max_by_key(|(has, id)| (*has, std::cmp::Reverse(*id))).map(|(_, id)| id)
    }
}
