//! Produce and Fetch at a partition.

use log::{BatchProducer, Verdict};
use protocol::{Chunks, ErrorCode, NodeId, Offset};
use replication::{Event, FetchEnd, FetchPlan, FollowerFetch, PartRead, ReadLimit, Role, WatchKind};
use runtime::{Observation, Post};
use storage::{ReadData, Reading};

use super::hosted::{Context, FetchWait, Hosted, Incoming, ProduceWait, Purpose, ReadWait, Waiter};
use super::message::{Fetch, FetchPart, FetchReply, PartData, ProducePart, ProduceReply};

impl Hosted {
    /// Whether requests should rather wait a moment: this node was made leader, and its epoch is not durable yet.
    pub(super) fn is_about_to_lead(&self) -> bool {
        self.view.role == Role::Leader && !self.view.serving
    }

    pub(super) fn produce(&mut self, ctx: &mut Context, acks: i16, part: ProducePart, reply: &Post<ProduceReply>) {
        let refuse = |error, log_start_offset| {
            reply.post(ProduceReply {
                part: part.part,
                error: Some(error),
                base: Offset::NONE,
                end: Offset::NONE,
                log_start_offset,
                leader_epoch: self.view.leader_epoch,
                repeated: None,
            });
        };
        if self.view.role != Role::Leader || !self.view.serving {
            return refuse(ErrorCode::NotLeaderOrFollower, Offset::NONE);
        }
        let log_start = self.view.log_start_offset;
        if acks == -1 && self.view.isr.len() < self.view.min_isr {
            // The machine has the rule too; asked here, since Kafka answers so before it looks at the batch.
            probe::sometimes!("produce_refused_below_min_isr");
            return refuse(ErrorCode::NotEnoughReplicas, log_start);
        }
        let batch = match part.batch {
            Ok(batch) => batch,
            Err(error) => return refuse(error, log_start),
        };
        if batch.bytes.len() as u64 > self.log.config().segment_bytes {
            return refuse(ErrorCode::RecordListTooLarge, Offset::NONE);
        }
        if self.log.available().is_err() {
            return refuse(ErrorCode::KafkaStorageError, Offset::NONE);
        }
        let token = ctx.token();
        let records =
            u32::try_from(batch.header.last_offset_delta).expect("a validated batch ends behind its base") + 1;
        let verdict = BatchProducer::of(&batch.header).map(|producer| self.log.producers().judge(producer, records));
        let (base, end, repeated) = match verdict {
            Some(Verdict::Refused(error)) => {
                if error == ErrorCode::OutOfOrderSequenceNumber {
                    probe::sometimes!("produce_out_of_order");
                }
                return refuse(error, log_start);
            }
            Some(Verdict::Repeats(span)) => (span.base, span.end.plus(1), Some(span.timestamp)),
            Some(Verdict::Follows) | None => {
                let base = self.view.next_offset;
                (base, base.plus(i64::from(records)), None)
            }
        };
        let leader_epoch = self.view.leader_epoch;
        self.traffic.messages_in += u64::from(records);
        self.traffic.bytes_in += batch.bytes.len() as u64;
        let wait = ProduceWait { part: part.part, acks, base, end, leader_epoch, repeated, reply: reply.clone() };
        self.waiters.insert(token, Waiter::Produce(wait));
        if repeated.is_some() {
            self.run(ctx, Event::Repeat { token, acks, next: end });
        } else {
            self.incoming = Some(Incoming::Produced(batch));
            self.run(ctx, Event::Produce { token, acks, records });
            self.incoming = None;
        }
        if let Some(Waiter::Produce(wait)) = self.waiters.get(&token)
            && wait.acks == -1
        {
            wait.reply.post(ProduceReply {
                part: wait.part,
                error: None,
                base,
                end,
                log_start_offset: log_start,
                leader_epoch,
                repeated,
            });
        }
    }

    /// Reads one part; returns how many bytes of the request's budget that may take, and the watch if one was placed.
    pub(super) fn fetch(
        &mut self,
        ctx: &mut Context,
        fetch: &Fetch,
        part: &FetchPart,
        budget: usize,
        min_one: bool,
    ) -> (usize, Option<replication::Token>) {
        let mut data = PartData {
            part: part.part,
            read: PartRead { end: FetchEnd::AtOnce, readable: 0 },
            error: ErrorCode::None,
            high_watermark: Offset::NONE,
            log_start_offset: Offset::NONE,
            diverging: None,
            preferred: NodeId::NONE,
            records: Chunks::new(),
            watched: false,
        };
        let (limit, kind) = match self.machine.plan_fetch(&part.from, fetch.arrives) {
            Err(error) => {
                if matches!(error, ErrorCode::FencedLeaderEpoch | ErrorCode::UnknownLeaderEpoch) {
                    ctx.env.observe(Observation::EpochRefused {
                        partition: self.name.clone(),
                        asked: part.from.current_leader_epoch,
                        known: self.view.leader_epoch,
                    });
                }
                data.error = error;
                fetch.reply.post(FetchReply::Read(data));
                return (0, None);
            }
            Ok(FetchPlan::Diverging { diverging, high_watermark, log_start_offset }) => {
                ctx.env.observe(Observation::EpochEnd {
                    partition: self.name.clone(),
                    asked: part.from.last_fetched_epoch,
                    epoch: diverging.epoch,
                    end: diverging.end,
                });
                data.high_watermark = high_watermark;
                data.log_start_offset = log_start_offset;
                data.diverging = Some(diverging);
                fetch.reply.post(FetchReply::Read(data));
                return (0, None);
            }
            Ok(FetchPlan::Read { limit, kind, high_watermark, log_start_offset }) => {
                data.high_watermark = high_watermark;
                data.log_start_offset = log_start_offset;
                (limit, kind)
            }
        };
        let offset = part.from.offset;
        if !fetch.near.is_empty()
            && let Some(preferred) = self.machine.preferred_replica(&fetch.near, offset)
        {
            data.preferred = preferred;
            fetch.reply.post(FetchReply::Read(data));
            return (0, None);
        }
        let max_bytes = part.max_bytes.min(budget);
        let reading = self.log.read(offset, limit, max_bytes as u64, min_one);
        if fetch.arrives && !part.from.replica.is_none() {
            let follower = FollowerFetch {
                replica: part.from.replica,
                broker_epoch: part.from.broker_epoch,
                offset,
                log_start_offset: part.log_start_offset,
            };
            self.run(ctx, Event::FollowerFetch(follower));
        }
        let may_wait = fetch.may_wait && fetch.arrives;
        let (taken, watched) = match reading {
            Err(error) => {
                tracing::warn!(partition = %self.name, %error, "read failed");
                data.error = ErrorCode::KafkaStorageError;
                fetch.reply.post(FetchReply::Read(data));
                return (0, None);
            }
            Ok(Reading::Pending(ticket)) => {
                data.watched = may_wait && fetch.min_bytes > 1 && part.place.is_none();
                let watched = data.watched;
                let consumer = part.from.replica.is_none();
                let read = ReadWait { data, consumer, limit, max_bytes: part.max_bytes, reply: fetch.reply.clone() };
                self.tickets.insert(ticket, Purpose::Read(Box::new(read)));
                // How much it will be is not known: the budget is kept for it.
                (max_bytes.max(1), watched)
            }
            Ok(Reading::Ready(read)) => {
                let bytes = read.records.len();
                self.served(ctx, &read, part.from.replica.is_none());
                data.filled(read, limit, part.max_bytes);
                if let Some(place) = part.place {
                    if bytes == 0 && data.read.end == FetchEnd::Waits {
                        let ends = (data.high_watermark, data.log_start_offset);
                        self.stand(ctx, place, part.from.replica, watch_kind(kind), ends);
                    }
                    fetch.reply.post(FetchReply::Read(data));
                    return (bytes, None);
                }
                data.watched = may_wait && data.read.end == FetchEnd::Waits && data.read.readable < fetch.min_bytes;
                let watched = data.watched;
                fetch.reply.post(FetchReply::Read(data));
                (bytes, watched)
            }
        };
        if !watched {
            return (taken, None);
        }
        let wait = FetchWait {
            request: fetch.request,
            part: part.part,
            offset,
            max_bytes: part.max_bytes,
            min_bytes: fetch.min_bytes,
            kind: watch_kind(kind),
            reply: fetch.reply.clone(),
        };
        (taken, Some(self.watch(ctx, wait, limit.plus(1))))
    }

    /// Counts what a consumer or a follower was given; tells the world of the consumer's.
    pub(super) fn served(&mut self, ctx: &Context, read: &ReadData, consumer: bool) {
        let bytes = read.records.len() as u64;
        if !consumer {
            self.traffic.replication_bytes_out += bytes;
            return;
        }
        self.traffic.bytes_out += bytes;
        if bytes > 0 && ctx.env.observed() {
            ctx.env.observe(Observation::Served {
                partition: self.name.clone(),
                from: read.start,
                to: read.end,
                leader_epoch: self.view.leader_epoch,
            });
        }
    }

    fn watch(&mut self, ctx: &mut Context, wait: FetchWait, offset: Offset) -> replication::Token {
        let token = ctx.token();
        let kind = wait.kind;
        self.waiters.insert(token, Waiter::Fetch(wait));
        self.run(ctx, Event::Watch { token, kind, offset });
        token
    }

    pub(super) fn unwatch(&mut self, ctx: &mut Context, token: replication::Token) {
        if self.waiters.remove(&token).is_some() {
            self.run(ctx, Event::Unwatch { token });
        }
    }

    /// The end that a parked fetch reads to has moved.
    pub(super) fn moved(&mut self, ctx: &mut Context, wait: FetchWait) {
        let limit = match wait.kind {
            WatchKind::LogEnd => self.view.log_end_offset,
            _ => self.view.high_watermark,
        };
        if wait.min_bytes <= 1 {
            wait.reply.post(FetchReply::Moved { part: wait.part, readable: 1 });
            return;
        }
        // What is not in memory any more is a lot.
        let readable = match self.log.read(wait.offset, limit, wait.max_bytes as u64, false) {
            Ok(Reading::Ready(data)) if data.end >= limit => data.records.len(),
            Ok(_) => wait.min_bytes,
            Err(_) => {
                wait.reply.post(FetchReply::Changed);
                return;
            }
        };
        wait.reply.post(FetchReply::Moved { part: wait.part, readable });
        if readable < wait.min_bytes {
            let token = ctx.token();
            let kind = wait.kind;
            ctx.watches.push((wait.request, self.id, token));
            self.waiters.insert(token, Waiter::Fetch(wait));
            self.later(Event::Watch { token, kind, offset: limit.plus(1) });
        }
    }
}

const fn watch_kind(limit: ReadLimit) -> WatchKind {
    match limit {
        ReadLimit::LogEnd => WatchKind::LogEnd,
        ReadLimit::HighWatermark => WatchKind::HighWatermark,
    }
}

impl PartData {
    /// Takes what was read. Data that stop short of the reader's end, at a limit or at the end of a segment, are answered
    /// at once: waiting brings no more.
    fn filled(&mut self, read: ReadData, limit: Offset, max_bytes: usize) {
        let whole = read.end >= limit || read.records.is_empty() && read.start >= limit;
        self.read = if whole {
            PartRead { end: FetchEnd::Waits, readable: read.records.len().min(max_bytes.max(1)) }
        } else {
            PartRead { end: FetchEnd::AtOnce, readable: read.records.len() }
        };
        self.records = read.records;
    }
}

impl ReadWait {
    pub(super) fn done(mut self, data: ReadData) {
        self.data.filled(data, self.limit, self.max_bytes);
        self.reply.post(FetchReply::Read(self.data));
    }

    pub(super) fn failed(mut self, error: ErrorCode) {
        self.data.error = error;
        self.data.high_watermark = Offset::NONE;
        self.data.log_start_offset = Offset::NONE;
        self.reply.post(FetchReply::Read(self.data));
    }
}
