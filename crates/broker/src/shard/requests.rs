//! Requests at a shard: to the partition that serves them, or waiting a moment until it does.

use protocol::{Chunks, ErrorCode, LeaderEpoch, NodeId, Offset, TopicIdPartition};
use replication::{FetchEnd, PartRead};
use runtime::Post;

use super::message::{
    Deletion, DeletionReply, EpochEnd, EpochEndReply, Fetch, FetchPart, FetchReply, ListOffset, LogSize, OffsetReply,
    PartData, Produce, ProducePart, ProduceReply, RequestId,
};
use super::task::{Shard, Slot, Waiting};

impl Shard {
    pub(super) fn produce(&mut self, produce: Produce) {
        for part in produce.parts {
            self.produce_part(produce.acks, part, &produce.reply);
        }
    }

    pub(super) fn produce_part(&mut self, acks: i16, part: ProducePart, reply: &Post<ProduceReply>) {
        match self.slots.get_mut(&part.partition) {
            _ if self.stopping.is_some() => {}
            Some(Slot::Opening { waiting, .. }) => {
                return waiting.push(Waiting::Produce { acks, part, reply: reply.clone() });
            }
            Some(Slot::Open(hosted, waiting)) if hosted.is_about_to_lead() => {
                return waiting.push(Waiting::Produce { acks, part, reply: reply.clone() });
            }
            Some(Slot::Open(hosted, _)) => return hosted.produce(&mut self.ctx, acks, part, reply),
            Some(Slot::Failed) | None => {}
        }
        let error = self.absent(part.partition);
        reply.post(ProduceReply {
            part: part.part,
            error: Some(error),
            base: Offset::NONE,
            end: Offset::NONE,
            log_start_offset: Offset::NONE,
            leader_epoch: LeaderEpoch::NONE,
            repeated: None,
        });
    }

    /// What a request for a partition that is not served here is told.
    pub(super) fn absent(&self, partition: TopicIdPartition) -> ErrorCode {
        match self.slots.get(&partition) {
            Some(Slot::Failed) => ErrorCode::KafkaStorageError,
            _ => ErrorCode::NotLeaderOrFollower,
        }
    }

    pub(super) fn fetch(&mut self, mut fetch: Fetch) {
        if !fetch.arrives {
            self.unwatch(fetch.request);
        }
        let mut left = fetch.max_bytes;
        let mut given = false;
        for part in std::mem::take(&mut fetch.parts) {
            let taken = self.fetch_part(&fetch, part, left, !given);
            given |= taken > 0;
            left = left.saturating_sub(taken);
        }
    }

    pub(super) fn fetch_part(&mut self, fetch: &Fetch, part: FetchPart, left: usize, min_one: bool) -> usize {
        match self.slots.get_mut(&part.partition) {
            _ if self.stopping.is_some() => {}
            Some(Slot::Opening { waiting, .. }) => {
                waiting.push(Waiting::Fetch(Fetch { parts: vec![part], ..fetch.clone() }));
                return 0;
            }
            Some(Slot::Open(hosted, waiting)) if hosted.is_about_to_lead() => {
                waiting.push(Waiting::Fetch(Fetch { parts: vec![part], ..fetch.clone() }));
                return 0;
            }
            Some(Slot::Open(hosted, _)) => {
                let (taken, watch) = hosted.fetch(&mut self.ctx, fetch, &part, left, min_one);
                if let Some(token) = watch {
                    self.ctx.watches.push((fetch.request, part.partition, token));
                }
                self.list_watches();
                return taken;
            }
            Some(Slot::Failed) | None => {}
        }
        fetch.reply.post(FetchReply::Read(PartData {
            part: part.part,
            read: PartRead { end: FetchEnd::AtOnce, readable: 0 },
            error: self.absent(part.partition),
            high_watermark: Offset::NONE,
            log_start_offset: Offset::NONE,
            diverging: None,
            preferred: NodeId::NONE,
            records: Chunks::new(),
            watched: false,
        }));
        0
    }

    /// Notes which request each new watch is of.
    pub(super) fn list_watches(&mut self) {
        for (request, partition, token) in self.ctx.watches.drain(..) {
            self.watching.entry(request).or_default().push((partition, token));
        }
    }

    pub(super) fn unwatch(&mut self, request: RequestId) {
        self.list_watches();
        for (partition, token) in self.watching.remove(&request).unwrap_or_default() {
            if let Some(Slot::Open(hosted, _)) = self.slots.get_mut(&partition) {
                hosted.unwatch(&mut self.ctx, token);
            }
        }
    }

    pub(super) fn list_offset(&mut self, part: ListOffset, reply: &Post<OffsetReply>) {
        match self.slots.get_mut(&part.partition) {
            _ if self.stopping.is_some() => {}
            Some(Slot::Opening { waiting, .. }) => return waiting.push(Waiting::ListOffset(part, reply.clone())),
            Some(Slot::Open(hosted, waiting)) if hosted.is_about_to_lead() => {
                return waiting.push(Waiting::ListOffset(part, reply.clone()));
            }
            Some(Slot::Open(hosted, _)) => {
                hosted.list_offset(&part, reply);
                return hosted.settle(&mut self.ctx);
            }
            Some(Slot::Failed) | None => {}
        }
        reply.post((part.part, Err(self.absent(part.partition))));
    }

    pub(super) fn epoch_end(&mut self, part: &EpochEnd, reply: &Post<EpochEndReply>) {
        let found = match self.slots.get(&part.partition) {
            Some(Slot::Open(hosted, _)) if self.stopping.is_none() => {
                hosted.end_of_epoch(part.current_leader_epoch, part.leader_epoch)
            }
            _ => Err(self.absent(part.partition)),
        };
        reply.post((part.part, found));
    }

    pub(super) fn delete_records(&mut self, request: RequestId, part: &Deletion, reply: &Post<DeletionReply>) {
        match self.slots.get_mut(&part.partition) {
            Some(Slot::Open(hosted, _)) if self.stopping.is_none() => {
                hosted.delete_records(&mut self.ctx, request, part, reply);
            }
            _ => reply.post((part.part, Err((self.absent(part.partition), Offset::NONE)))),
        }
    }

    pub(super) fn end_deletions(&mut self, request: RequestId) {
        for slot in self.slots.values_mut() {
            if let Slot::Open(hosted, _) = slot {
                hosted.end_deletions(&mut self.ctx, request);
            }
        }
    }

    pub(super) fn log_sizes(&self) -> Vec<LogSize> {
        let size = |slot: &Slot| match slot {
            Slot::Open(hosted, _) => {
                let lag = hosted.view.high_watermark.0 - hosted.view.log_end_offset.0;
                Some(LogSize { name: hosted.name.clone(), bytes: hosted.log.size(), lag: lag.max(0) })
            }
            Slot::Opening { name, .. } => Some(LogSize { name: name.clone(), bytes: 0, lag: -1 }),
            Slot::Failed => None,
        };
        self.slots.values().filter_map(size).collect()
    }

    pub(super) fn again(&mut self, waiting: Vec<Waiting>) {
        for waiting in waiting {
            match waiting {
                Waiting::Produce { acks, part, reply } => self.produce_part(acks, part, &reply),
                Waiting::Fetch(fetch) => self.fetch(fetch),
                Waiting::ListOffset(part, reply) => self.list_offset(part, &reply),
            }
        }
    }
}
