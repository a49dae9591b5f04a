//! Fetch sessions that wait at a partition (KIP-227): they are told of changes, and nothing walks over them meanwhile.

use protocol::{NodeId, Offset};
use replication::{Effects, Event, Place, View, WatchKind};

use super::hosted::{Context, Hosted};

/// So many sessions at one partition, and those that have ended are looked for.
const STANDING_MANY: usize = 8;

/// A session's fetch of this partition that found nothing to give.
pub(super) struct Standing {
    pub place: Place,
    /// [`NodeId::NONE`] for a consumer.
    pub replica: NodeId,
    /// Which end it reads to.
    pub kind: WatchKind,
}

impl Hosted {
    /// What sessions have asked for again and again counts before the log's end moves away from it.
    pub(super) fn recall_fetches(&mut self, ctx: &Context, effects: &mut Effects) {
        for standing in self.standing.iter().filter(|standing| !standing.replica.is_none()) {
            if let Some((at, broker_epoch)) = ctx.sessions.last_asked(standing.place) {
                let event = Event::StillFetched { replica: standing.replica, broker_epoch, at };
                self.machine.step(ctx.now, event, effects);
            }
        }
    }

    /// A fetch of a session has found nothing to give: the session is told when that changes. `ends` are the high watermark
    /// and the log start that it read.
    pub(super) fn stand(
        &mut self,
        ctx: &Context,
        place: Place,
        replica: NodeId,
        kind: WatchKind,
        ends: (Offset, Offset),
    ) {
        let other = |standing: &Standing| {
            standing.place.session != place.session && (replica.is_none() || standing.replica != replica)
        };
        self.standing.retain(other);
        if self.standing.len() >= STANDING_MANY {
            self.standing.retain(|standing| ctx.sessions.last_asked(standing.place).is_some());
        }
        self.standing.push(Standing { place, replica, kind });
        // A follower that may come into the ISR is looked at with each fetch.
        let may_rest = ends == (self.view.high_watermark, self.view.log_start_offset)
            && (replica.is_none() || self.view.isr.contains(&replica));
        ctx.sessions.watched(place, ends, may_rest);
    }

    /// Tells the sessions that stand here what changed; those that have something to read now stand no more.
    pub(super) fn tell_sessions(&mut self, ctx: &Context, before: &View) {
        if self.standing.is_empty() {
            return;
        }
        let now = &self.view;
        let role = (before.role, before.serving, before.leader_epoch) != (now.role, now.serving, now.leader_epoch);
        let end = before.log_end_offset != now.log_end_offset;
        let high_watermark = before.high_watermark != now.high_watermark;
        let other = before.log_start_offset != now.log_start_offset || before.isr != now.isr;
        if !(role || end || high_watermark || other) {
            return;
        }
        self.standing.retain(|standing| {
            let wakes = role
                || match standing.kind {
                    WatchKind::LogEnd => end,
                    WatchKind::HighWatermark | WatchKind::Replicated | WatchKind::LowWatermark => high_watermark,
                };
            ctx.sessions.changed(standing.place, wakes);
            !wakes
        });
    }
}
