//! Observers, brokers as a rule: nodes outside the voter set. They are Unattached or Follower, have no time-outs, do not
//! flush before they fetch, and are counted for nothing; a follower leaves its leader only when an answer shows another.

use protocol::Now;

use crate::event::Effects;
use crate::message::{FetchRequest, Request};
use crate::quorum::Quorum;

impl Quorum {
    /// Whether the log is as this node will vouch for it in its next fetch: at a voter flushed (KAFKA-10533).
    pub(crate) fn log_is_settled(&self) -> bool {
        // KAFKA-10533: a voter's fetch says that it has everything below, so that must be durable.
        let votes = self.config.is_voter() && !probe::planted!(no_flush_before_fetch);
        let settled = if votes { self.log.flushed() } else { self.log.appended() };
        settled == self.log.end()
    }

    /// Fetches from any voter that is ready: the way to find the leader.
    pub(crate) fn fetch_from_anybody(&mut self, now: Now, out: &mut Effects) {
        if self.peers.fetching() || !self.log_is_settled() {
            return;
        }
        let others: Vec<_> = self.config.others().map(|voter| voter.id).collect();
        if let Some(node) = self.peers.any_ready(others.into_iter(), now.mono, &mut self.rng) {
            self.send_fetch(node, out);
        }
    }

    pub(crate) fn send_fetch(&mut self, node: protocol::NodeId, out: &mut Effects) {
        let request = FetchRequest {
            replica: self.config.key(),
            epoch: self.election.epoch,
            offset: self.log.end(),
            last_epoch: self.log.last_epoch(),
            high_watermark: self.high_watermark,
            max_wait_ms: u32::try_from(self.config.fetch_wait_max.as_millis()).unwrap_or(u32::MAX),
            max_bytes: self.config.fetch_bytes_max,
        };
        self.peers.send(node, Request::Fetch(request), out);
    }
}
