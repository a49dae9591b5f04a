//! CreatePartitions: more partitions for topics that exist. The new ones have as many replicas as the first; the old ones
//! stay where they are.

use std::collections::BTreeMap;

use protocol::messages::create_partitions_request::{CreatePartitionsRequest, CreatePartitionsTopic};
use protocol::messages::create_partitions_response::{CreatePartitionsResponse, CreatePartitionsTopicResult};
use protocol::{ErrorCode, MetadataRecord as Record, NodeId, Str};

use super::topics::Refusal;
use super::{BATCH_RECORDS_MAX, Work, placement};

impl Work<'_> {
    pub(super) fn create_partitions(&mut self, request: &CreatePartitionsRequest) -> CreatePartitionsResponse {
        let mut named: BTreeMap<&Str, usize> = BTreeMap::new();
        for topic in &request.topics {
            *named.entry(&topic.name).or_insert(0) += 1;
        }
        let mut results = Vec::new();
        for (name, _) in named.iter().filter(|(_, times)| **times > 1) {
            results.push(refused(name, (ErrorCode::InvalidRequest, "duplicate topic name".to_owned())));
        }
        let mut records = Vec::new();
        for topic in request.topics.iter().filter(|topic| named[&topic.name] == 1) {
            results.push(match self.add_partitions(topic, &mut records) {
                Ok(()) => CreatePartitionsTopicResult { name: topic.name.clone(), ..Default::default() },
                Err(refusal) => refused(&topic.name, refusal),
            });
        }
        if !request.validate_only {
            records.into_iter().for_each(|record| self.push(record));
        }
        CreatePartitionsResponse { results, ..Default::default() }
    }

    /// Judges one topic and adds its records.
    fn add_partitions(&mut self, topic: &CreatePartitionsTopic, records: &mut Vec<Record>) -> Result<(), Refusal> {
        let unknown = || (ErrorCode::UnknownTopicOrPartition, format!("no topic has the name '{}'", topic.name));
        let topic_id = *self.state.ids.get(&topic.name).ok_or_else(unknown)?;
        let present = self.state.partitions_of(topic_id);
        let (first, count) = (present.first().copied().ok_or_else(unknown)?, present.len());
        let wanted = usize::try_from(topic.count).unwrap_or(0);
        if wanted <= count {
            let why = if wanted == count {
                format!("the topic has {count} partition(s) already")
            } else {
                format!("the topic has {count} partition(s): {} would be fewer", topic.count)
            };
            return Err((ErrorCode::InvalidPartitions, why));
        }
        let more = wanted - count;
        if let Some(assignments) = &topic.assignments
            && assignments.len() != more
        {
            let why = format!("{more} partition(s) are to be added, {} are assigned", assignments.len());
            return Err((ErrorCode::InvalidReplicaAssignment, why));
        }
        if records.len() + more > BATCH_RECORDS_MAX {
            let why = format!("the request makes more than {BATCH_RECORDS_MAX} partitions");
            return Err((ErrorCode::PolicyViolation, why));
        }
        let factor = self.state.partitions.get(&first).expect("listed just now").replicas.len();
        let placed = match &topic.assignments {
            Some(assignments) => {
                let mut placed = Vec::with_capacity(more);
                for (partition, assignment) in (count as i32..).zip(assignments) {
                    let brokers: Vec<NodeId> = assignment.broker_ids.iter().copied().map(NodeId).collect();
                    self.check_replicas(partition, &brokers, factor)?;
                    placed.push(brokers);
                }
                placed
            }
            None => placement::place(self.usable_brokers(), more, factor, self.rng)
                .map_err(|problem| (ErrorCode::InvalidReplicationFactor, problem.to_string()))?,
        };
        let partitions = (count as i32..).zip(&placed);
        records.extend(partitions.map(|(partition, replicas)| self.new_partition(topic_id, partition, replicas)));
        Ok(())
    }
}

fn refused(name: &Str, (code, why): Refusal) -> CreatePartitionsTopicResult {
    CreatePartitionsTopicResult {
        name: name.clone(),
        error_code: code.code(),
        error_message: Some(Str::from(why)),
        ..Default::default()
    }
}
