//! One client that asks for the ends of all partitions, again and again, as consumers do now and then: what clients are
//! told must never go back (KIP-207).
//!
//! Each round asks every leader at once, for a window of partitions. After an error, or a new leader, it asks again soon:
//! the moments after an election are the ones that matter.

use std::collections::BTreeMap;
use std::time::Duration;

use client::{ClientConfig, Cluster};
use futures_util::future::join_all;
use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use protocol::{ErrorCode, LeaderEpoch, NodeId, Offset, Str, TopicPartition};
use runtime::Env;

use crate::history::Latest;

use super::record::Recorder;

/// How long a client waits before it asks again.
const PAUSE: Duration = Duration::from_millis(250);
/// The same, when something has changed.
const SOON: Duration = Duration::from_millis(20);
/// How long it waits for answers, and for metadata.
const PATIENCE: Duration = Duration::from_secs(1);
/// Rounds between two looks at the metadata, while nothing fails.
const REFRESH: u32 = 20;
/// Partitions in one round.
const WINDOW: usize = 64;
/// ListOffsets: the end.
const LATEST: i64 = -1;

/// See the module.
pub struct Ends {
    cluster: Cluster,
    recorder: Recorder,
    /// With their indexes in the history.
    partitions: Vec<(TopicPartition, u32)>,
    topics: Vec<Str>,
    /// The leader epoch last known of each.
    epochs: BTreeMap<u32, LeaderEpoch>,
}

/// A leader's share of a round: partitions with their indexes, and the epoch that it is asked in.
type Share = Vec<(TopicPartition, u32, LeaderEpoch)>;

impl Ends {
    /// A client that asks for these.
    pub fn new(env: &Env, config: ClientConfig, recorder: Recorder, partitions: &[TopicPartition]) -> Self {
        let mut topics: Vec<Str> = partitions.iter().map(|partition| partition.topic.clone()).collect();
        topics.dedup();
        Self {
            cluster: Cluster::new(env, config),
            recorder,
            partitions: partitions.iter().cloned().zip(0..).collect(),
            topics,
            epochs: BTreeMap::new(),
        }
    }

    /// Asks until the loads end.
    pub async fn run(mut self) {
        let env = self.cluster.env().clone();
        let (mut from, mut good) = (0, REFRESH);
        while !self.recorder.is_ended() && !self.partitions.is_empty() {
            if good >= REFRESH {
                good = 0;
                let _ = env.timeout(PATIENCE, self.cluster.refresh(&self.topics)).await; // else with what is known
            }
            let window: Vec<_> =
                self.partitions.iter().cycle().skip(from).take(WINDOW.min(self.partitions.len())).collect();
            let window = window.into_iter().cloned().collect();
            from = (from + WINDOW) % self.partitions.len();
            let calm = self.round(window).await;
            good = if calm { good + 1 } else { REFRESH };
            env.sleep(if calm { PAUSE } else { SOON }).await;
        }
    }

    /// Asks once; whether all leaders answered, and were those of the round before.
    async fn round(&mut self, window: Vec<(TopicPartition, u32)>) -> bool {
        let metadata = self.cluster.metadata();
        let mut shares: BTreeMap<NodeId, Share> = BTreeMap::new();
        let mut calm = true;
        for (partition, index) in window {
            match metadata.leader(&partition.topic, partition.partition) {
                Some((leader, epoch)) => {
                    shares.entry(leader).or_default().push((partition, index, epoch));
                }
                None => calm = false,
            }
        }
        let env = self.cluster.env().clone();
        let asked_ns = env.now().mono.0;
        let answers = join_all(shares.into_iter().map(|(leader, share)| self.ask(leader, share))).await;
        let mut latest = Vec::new();
        for answer in answers {
            let Some((share, response, at_ns)) = answer else {
                calm = false;
                continue;
            };
            for (topic, answer) in
                response.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |it| (topic, it)))
            {
                let Some((_, index, _)) = share.iter().find(|(partition, ..)| {
                    partition.partition == answer.partition_index && partition.topic == topic.name
                }) else {
                    continue;
                };
                if !ErrorCode::from_code(answer.error_code).is_ok() {
                    calm = false;
                    continue;
                }
                let leader_epoch = LeaderEpoch(answer.leader_epoch);
                calm &= self.epochs.insert(*index, leader_epoch).is_none_or(|known| known == leader_epoch);
                let offset = Offset(answer.offset);
                latest.push(Latest { partition: *index, offset, leader_epoch, asked_ns, at_ns });
            }
        }
        latest.sort_by_key(|latest| latest.at_ns);
        self.recorder.latest(latest);
        calm
    }

    /// Asks a leader; what it was asked and what it said, and when.
    async fn ask(&self, leader: NodeId, share: Share) -> Option<(Share, ListOffsetsResponse, u64)> {
        let channel = self.cluster.channel(leader)?;
        let mut request = ListOffsetsRequest { replica_id: NodeId::NONE.0, ..ListOffsetsRequest::default() };
        for (partition, _, epoch) in &share {
            let part = ListOffsetsPartition {
                partition_index: partition.partition,
                current_leader_epoch: epoch.0,
                timestamp: LATEST,
                ..ListOffsetsPartition::default()
            };
            match request.topics.last_mut() {
                Some(last) if last.name == partition.topic => last.partitions.push(part),
                _ => request.topics.push(ListOffsetsTopic {
                    name: partition.topic.clone(),
                    partitions: vec![part],
                    ..ListOffsetsTopic::default()
                }),
            }
        }
        let env = self.cluster.env();
        let response = env.timeout(PATIENCE, channel.send(request)).await.ok()?.ok()?;
        Some((share, response, env.now().mono.0))
    }
}
