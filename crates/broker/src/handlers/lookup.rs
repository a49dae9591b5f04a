//! What requests name, looked up in the image; who leads it, for those who asked the wrong broker.

use ::metadata::{Endpoint, Image};
use protocol::{ErrorCode, LeaderEpoch, NodeId, Str, TopicIdPartition, Uuid};
use transport::server::RequestContext;

/// A partition that a request names, as far as the metadata know it.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub name: Str,
    pub id: TopicIdPartition,
}

/// Finds what a request names: by id where `id` is not zero (as of the version that has ids), else by name.
pub(super) fn find(image: &Image, by_id: bool, name: &Str, id: Uuid, partition: i32) -> Result<Named, ErrorCode> {
    let topic = if by_id {
        image.topic(id).ok_or(ErrorCode::UnknownTopicId)?
    } else {
        image.topic_named(name).ok_or(ErrorCode::UnknownTopicOrPartition)?
    };
    if !topic.partitions.contains_key(&partition) {
        return Err(ErrorCode::UnknownTopicOrPartition);
    }
    Ok(Named { name: topic.name.clone(), id: TopicIdPartition { topic_id: topic.id, partition } })
}

/// Who leads a partition now (KIP-951), and where he is reached on the asker's listener.
pub(super) struct CurrentLeader {
    pub id: NodeId,
    pub epoch: LeaderEpoch,
    pub endpoint: Option<(Endpoint, Option<Str>)>,
}

pub(super) fn current_leader(image: &Image, context: &RequestContext, id: TopicIdPartition) -> Option<CurrentLeader> {
    let registration = image.partition(id)?;
    let broker = image.broker(registration.leader);
    let endpoint =
        broker.and_then(|broker| Some((broker.endpoints.get(&context.listener)?.clone(), broker.rack.clone())));
    Some(CurrentLeader { id: registration.leader, epoch: registration.leader_epoch, endpoint })
}
