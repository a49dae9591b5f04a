//! The second half of the producer's task: what an answer, or its absence, means for the batches of a request.

use std::collections::BTreeMap;

use protocol::messages::ProduceResponse;
use protocol::messages::produce_response::PartitionProduceResponse;
use protocol::{ErrorCode, LeaderEpoch, Monotonic, NodeId, Offset, Timestamp};
use transport::client::RpcError;

use super::accumulator::{Completion, PendingBatch};
use super::outcome::{Delivered, Outcome, SendError, is_retriable, proves_absence, rpc_proves_absence};
use super::sender::{InFlight, Sender, Sent};
use super::with;
use crate::metadata::address;

impl Sender {
    /// A request has an outcome.
    pub(super) fn produced(&mut self, id: u64, result: Result<Option<ProduceResponse>, RpcError>) {
        let Some(InFlight { node, batches }) = self.in_flight.remove(&id) else { return };
        if let Some(busy) = self.busy.get_mut(&node) {
            *busy -= 1;
        }
        match result {
            Ok(None) => {
                for sent in batches {
                    let partition = sent.partition;
                    let outcome = Outcome::Ok { partition, offset: Offset::NONE, log_append_time: Timestamp::NONE };
                    self.finish(sent, outcome);
                }
            }
            Ok(Some(response)) => {
                let endpoints: BTreeMap<NodeId, _> = response
                    .node_endpoints
                    .iter()
                    .map(|node| (NodeId(node.node_id), address(&node.host, node.port)))
                    .collect();
                for sent in batches {
                    let answer = answer(&response, &sent).cloned();
                    self.judge(sent, answer.as_ref(), &endpoints);
                }
            }
            Err(error) => {
                self.refresh.wanted |= error.is_disconnect();
                let retriable = error.is_disconnect() || matches!(error, RpcError::Decode(_));
                for mut sent in batches {
                    sent.batch.maybe_written |= !rpc_proves_absence(&error);
                    sent.batch.last_error = Some(SendError::Connection(error.to_string()));
                    if retriable { self.retry(sent) } else { self.give_up(sent) }
                }
            }
        }
    }

    /// A batch has an answer, or was left out of one.
    fn judge(
        &mut self,
        mut sent: Sent,
        answer: Option<&PartitionProduceResponse>,
        endpoints: &BTreeMap<NodeId, runtime::Address>,
    ) {
        let Some(answer) = answer else {
            sent.batch.maybe_written = true;
            sent.batch.last_error = Some(SendError::Code(ErrorCode::UnknownServerError));
            return self.retry(sent);
        };
        let code = ErrorCode::from_code(answer.error_code);
        if code.is_ok() {
            let (partition, log_append_time) = (sent.partition, Timestamp(answer.log_append_time_ms));
            let offset = Offset(answer.base_offset);
            return self.finish(sent, Outcome::Ok { partition, offset, log_append_time });
        }
        sent.batch.maybe_written |= !proves_absence(code, self.cluster.config().acks);
        sent.batch.last_error = Some(SendError::Code(code));
        let (leader, epoch) =
            (NodeId(answer.current_leader.leader_id), LeaderEpoch(answer.current_leader.leader_epoch));
        let endpoint = endpoints.get(&leader).cloned();
        let news = self.cluster.learn_leader(&sent.topic, sent.partition, leader, epoch, endpoint);
        self.refresh.wanted |= code.is_invalid_metadata() && !news;
        match (is_retriable(code), news) {
            // The answer says who leads: go there at once.
            (true, true) => {
                probe::sometimes!("producer_learned_leader");
                self.again(sent);
            }
            (true, false) => self.retry(sent),
            (false, _) => self.give_up(sent),
        }
    }

    /// Puts a batch back, to be sent after a back-off, unless its time is up.
    fn retry(&mut self, sent: Sent) {
        let (now, config) = (self.now(), self.cluster.config());
        if sent.batch.since + config.delivery_timeout <= now {
            probe::sometimes!("producer_gave_up");
            return self.give_up(sent);
        }
        probe::sometimes!("producer_retried");
        let not_before = now + config.backoff().after(sent.batch.attempts, &mut self.random);
        with(&self.shared, |accumulator| accumulator.partitions[sent.slot].not_before = not_before);
        self.again(sent);
    }

    /// Puts a batch back, before those made after it.
    pub(super) fn again(&mut self, sent: Sent) {
        with(&self.shared, |accumulator| {
            accumulator.active.insert(sent.slot);
            let queue = &mut accumulator.partitions[sent.slot];
            queue.in_flight -= 1;
            let at = queue.full.partition_point(|batch| batch.number < sent.batch.number);
            queue.full.insert(at, sent.batch);
        });
    }

    pub(super) fn give_up(&mut self, sent: Sent) {
        let outcome = given_up(&sent.batch, SendError::Closed);
        self.finish(sent, outcome);
    }

    /// Tells the records of a batch what became of them.
    pub(super) fn finish(&mut self, sent: Sent, outcome: Outcome) {
        let Sent { slot, batch, .. } = sent;
        with(&self.shared, |accumulator| {
            accumulator.partitions[slot].in_flight -= 1;
            accumulator.release(batch.completions.len(), batch.size - 61);
        });
        for (index, completion) in batch.completions.into_iter().enumerate() {
            let mut outcome = outcome.clone();
            if let Outcome::Ok { offset, .. } = &mut outcome
                && !offset.is_none()
            {
                *offset = offset.plus(index as i64);
            }
            self.tell(completion, outcome, batch.attempts, batch.first_sent);
        }
    }

    pub(super) fn tell(&mut self, to: Completion, outcome: Outcome, attempts: u32, first_sent: Option<Monotonic>) {
        with(&self.shared, |accumulator| {
            let counters = &mut accumulator.counters;
            match &outcome {
                Outcome::Ok { .. } => counters.ok += 1,
                Outcome::Failed { .. } => counters.failed += 1,
                Outcome::Unknown { .. } => counters.unknown += 1,
            }
        });
        let mut delivered = Delivered { tag: 0, outcome, attempts, first_sent, done: self.now() };
        match to {
            Completion::Once(sender) => drop(sender.send(delivered)),
            Completion::Tagged(tag) => {
                delivered.tag = tag;
                (self.sink)(delivered);
            }
        }
    }
}

/// The outcome of a batch that is not sent again.
pub(super) fn given_up(batch: &PendingBatch, reason: SendError) -> Outcome {
    let error = batch.last_error.clone().unwrap_or(reason);
    if batch.maybe_written { Outcome::Unknown { error } } else { Outcome::Failed { error } }
}

/// A batch's part of a response. Since v13 topics have ids there and no names.
fn answer<'a>(response: &'a ProduceResponse, sent: &Sent) -> Option<&'a PartitionProduceResponse> {
    let topics = response
        .responses
        .iter()
        .filter(|topic| if topic.name.is_empty() { topic.topic_id == sent.topic_id } else { topic.name == sent.topic });
    topics.flat_map(|topic| &topic.partition_responses).find(|answer| answer.index == sent.partition)
}
