//! DescribeTopicPartitions (KIP-966): topics and partitions in order of their names, a page at a time.

use std::collections::BTreeSet;

use metadata::{Image, TopicImage};
use protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use protocol::messages::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};
use protocol::{ErrorCode, NodeId, Str, Uuid};

use super::metadata::{INTERNAL, TOPIC_OPERATIONS, is_topic_name};

/// Answers from `image`; `limit` is `max.request.partition.size.limit`.
pub fn handle(
    image: &Image,
    listener: &str,
    limit: usize,
    request: &DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let all = request.topics.is_empty();
    let from = request.cursor.as_ref();
    let at_or_behind = |name: &&Str| from.is_none_or(|cursor| **name >= cursor.topic_name);
    let names: BTreeSet<Str> = if all {
        image.topics().map(|topic| &topic.name).filter(at_or_behind).cloned().collect()
    } else {
        request.topics.iter().map(|topic| &topic.name).filter(at_or_behind).cloned().collect()
    };
    if let Some(cursor) = from
        && (cursor.partition_index < 0 || !all && !names.contains(&cursor.topic_name))
    {
        return refused(request);
    }
    let asked = usize::try_from(request.response_partition_limit).unwrap_or(0);
    let mut left = limit.min(asked).max(1);
    let mut response = DescribeTopicPartitionsResponse::default();
    for name in names {
        let first = from.filter(|cursor| cursor.topic_name == name).map_or(0, |cursor| cursor.partition_index);
        let Some(topic) = image.topic_named(&name) else {
            if !all {
                let code = if is_topic_name(&name) {
                    ErrorCode::UnknownTopicOrPartition
                } else {
                    ErrorCode::InvalidTopicException
                };
                response.topics.push(failed(&name, code));
            }
            continue;
        };
        if left == 0 {
            response.next_cursor = Some(Cursor { topic_name: name, partition_index: first, ..Default::default() });
            break;
        }
        let page: Vec<_> = topic.partitions.range(first..).take(left + 1).map(|(index, _)| *index).collect();
        let (shown, next) = (page.len().min(left), page.get(left).copied());
        left -= shown;
        response.topics.push(described(image, listener, topic, &page[..shown]));
        if let Some(partition_index) = next {
            response.next_cursor = Some(Cursor { topic_name: name, partition_index, ..Default::default() });
            break;
        }
    }
    response
}

fn refused(request: &DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let topics = request.topics.iter().map(|topic| failed(&topic.name, ErrorCode::InvalidRequest)).collect();
    DescribeTopicPartitionsResponse { topics, ..Default::default() }
}

fn failed(name: &Str, code: ErrorCode) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        error_code: code.code(),
        name: Some(name.clone()),
        topic_id: Uuid::ZERO,
        is_internal: INTERNAL.contains(&name.as_str()),
        topic_authorized_operations: TOPIC_OPERATIONS,
        ..Default::default()
    }
}

fn described(
    image: &Image,
    listener: &str,
    topic: &TopicImage,
    partitions: &[i32],
) -> DescribeTopicPartitionsResponseTopic {
    let reachable =
        |node: &NodeId| image.live_broker(*node).is_some_and(|broker| broker.endpoints.contains_key(listener));
    let ids = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect::<Vec<i32>>();
    let partition = |index: &i32| {
        let state = &topic.partitions[index];
        let offline: Vec<NodeId> = state.replicas.iter().filter(|node| !reachable(node)).copied().collect();
        DescribeTopicPartitionsResponsePartition {
            partition_index: *index,
            leader_id: if reachable(&state.leader) { state.leader.0 } else { -1 },
            leader_epoch: state.leader_epoch.0,
            replica_nodes: ids(&state.replicas),
            isr_nodes: ids(&state.isr),
            eligible_leader_replicas: Some(Vec::new()),
            last_known_elr: Some(Vec::new()),
            offline_replicas: ids(&offline),
            ..Default::default()
        }
    };
    DescribeTopicPartitionsResponseTopic {
        name: Some(topic.name.clone()),
        topic_id: topic.id,
        is_internal: INTERNAL.contains(&topic.name.as_str()),
        partitions: partitions.iter().map(partition).collect(),
        topic_authorized_operations: TOPIC_OPERATIONS,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use protocol::messages::describe_topic_partitions_request::{self, TopicRequest};
    use protocol::messages::{PartitionRecord, TopicRecord};
    use protocol::{LeaderEpoch, MetadataRecord, Offset};

    use super::*;

    /// Topics a and c with three partitions each, that nobody leads.
    fn image() -> Image {
        let mut records = Vec::new();
        for (number, name) in [(1, "c"), (2, "a")] {
            let topic_id = Uuid::from_halves(7, number);
            records.push(MetadataRecord::Topic(TopicRecord { name: name.into(), topic_id, ..Default::default() }));
            records.extend((0..3).map(|partition_id| {
                let record =
                    PartitionRecord { partition_id, topic_id, replicas: vec![1], isr: vec![1], ..Default::default() };
                MetadataRecord::Partition(record)
            }));
        }
        Image::new().apply(Offset(0), LeaderEpoch(1), &records).0
    }

    /// Topics with their codes and partitions, and where the next page begins.
    type Page = (Vec<(String, i16, Vec<i32>)>, Option<(String, i32)>);

    fn ask(topics: &[&str], limit: i32, cursor: Option<(&str, i32)>) -> Page {
        let request = DescribeTopicPartitionsRequest {
            topics: topics.iter().map(|name| TopicRequest { name: (*name).into(), ..Default::default() }).collect(),
            response_partition_limit: limit,
            cursor: cursor.map(|(topic, partition_index)| describe_topic_partitions_request::Cursor {
                topic_name: topic.into(),
                partition_index,
                ..Default::default()
            }),
            ..Default::default()
        };
        let response = handle(&image(), "PLAINTEXT", 2000, &request);
        let topics = response.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| partition.partition_index).collect();
            (topic.name.as_deref().unwrap_or("").to_owned(), topic.error_code, partitions)
        });
        let next = response.next_cursor.map(|cursor| (cursor.topic_name.to_string(), cursor.partition_index));
        (topics.collect(), next)
    }

    #[test]
    fn pages_follow_one_another_through_all_topics_by_name() {
        let (mut seen, mut cursor, mut pages) = (Vec::new(), None, 0);
        loop {
            let (topics, next) =
                ask(&[], 2, cursor.as_ref().map(|(name, index): &(String, i32)| (name.as_str(), *index)));
            for (name, code, partitions) in topics {
                assert_eq!(code, 0);
                seen.extend(partitions.into_iter().map(|partition| (name.clone(), partition)));
            }
            pages += 1;
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
        let expected: Vec<_> = ["a", "c"].iter().flat_map(|name| (0..3).map(|it| ((*name).to_owned(), it))).collect();
        assert_eq!((seen, pages), (expected, 3));
    }

    #[test]
    fn what_is_unknown_is_told_of_where_it_was_named() {
        let (topics, next) = ask(&["b", "a", "x y"], 0, None);
        assert_eq!(topics, [("a".to_owned(), 0, vec![0])]);
        assert_eq!(next, Some(("a".to_owned(), 1)), "a limit of nothing still gives one");
        let (topics, _) = ask(&["b", "a", "x y"], 9, Some(("a", 2)));
        assert_eq!(topics[0], ("a".to_owned(), 0, vec![2]));
        assert_eq!((topics[1].1, topics[2].1), (3, 17));
    }

    #[test]
    fn a_cursor_that_fits_nothing_is_an_invalid_request() {
        assert_eq!(ask(&["a"], 9, Some(("c", 0))).0[0].1, 42);
        assert_eq!(ask(&["a"], 9, Some(("a", -1))).0[0].1, 42);
    }
}
