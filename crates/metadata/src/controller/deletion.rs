//! DeleteTopics: by name, and since version 6 by id (KIP-516). What is deleted is gone from the metadata at once; brokers
//! remove the logs when they hear of it.

use std::collections::BTreeMap;

use protocol::messages::delete_topics_request::DeleteTopicsRequest;
use protocol::messages::delete_topics_response::{DeletableTopicResult, DeleteTopicsResponse};
use protocol::messages::remove_topic_record::RemoveTopicRecord;
use protocol::{ErrorCode, Str, Uuid};

use super::Work;
use super::request::Ask;

impl Work<'_> {
    pub(super) fn delete_topics(&mut self, request: &DeleteTopicsRequest) -> DeleteTopicsResponse {
        if !self.config.delete_topic_enable {
            return request.refused(ErrorCode::TopicDeletionDisabled);
        }
        let mut asked = Asked::default();
        request.topic_names.iter().for_each(|name| asked.name(name));
        for topic in &request.topics {
            match (&topic.name, topic.topic_id.is_zero()) {
                (Some(name), true) => asked.name(name),
                (None, false) => asked.id(topic.topic_id),
                (None, true) => asked.refuse(None, Uuid::ZERO, "a topic needs its name or its id"),
                (Some(name), false) => {
                    asked.refuse(Some(name.clone()), topic.topic_id, "a topic has its name or its id, not both");
                }
            }
        }
        let Asked { names, mut ids, mut refused } = asked;
        let mut doomed = BTreeMap::new();
        for (name, times) in names {
            match self.state.ids.get(&name).copied() {
                _ if times > 1 => refused.push(invalid(Some(name), Uuid::ZERO, "duplicate topic name")),
                None => {
                    let why = format!("no topic has the name '{name}'");
                    refused.push(answer(Some(name), Uuid::ZERO, ErrorCode::UnknownTopicOrPartition, why));
                }
                Some(id) if ids.contains_key(&id) => {
                    // One answer for both, but where the id has faults of its own.
                    ids.retain(|other, times| *other != id || *times > 1);
                    refused.push(invalid(Some(name), id, "the topic is asked for by its id as well"));
                }
                Some(id) => drop(doomed.insert(id, name)),
            }
        }
        for (id, times) in ids {
            match self.state.topics.get(&id) {
                _ if times > 1 => refused.push(invalid(None, id, "duplicate topic id")),
                None => {
                    let why = format!("no topic has the id {id}");
                    refused.push(answer(None, id, ErrorCode::UnknownTopicId, why));
                }
                Some(name) => drop(doomed.insert(id, name.clone())),
            }
        }
        let mut response = DeleteTopicsResponse::default();
        for (topic_id, name) in doomed {
            self.push(RemoveTopicRecord { topic_id, ..Default::default() }.into());
            response.responses.push(DeletableTopicResult { name: Some(name), topic_id, ..Default::default() });
        }
        response.responses.extend(refused);
        response
    }
}

/// What a request names, and how often.
#[derive(Default)]
struct Asked {
    names: BTreeMap<Str, usize>,
    ids: BTreeMap<Uuid, usize>,
    refused: Vec<DeletableTopicResult>,
}

impl Asked {
    fn name(&mut self, name: &Str) {
        *self.names.entry(name.clone()).or_insert(0) += 1;
    }

    fn id(&mut self, id: Uuid) {
        *self.ids.entry(id).or_insert(0) += 1;
    }

    fn refuse(&mut self, name: Option<Str>, id: Uuid, why: &str) {
        self.refused.push(invalid(name, id, why));
    }
}

fn invalid(name: Option<Str>, topic_id: Uuid, why: impl Into<String>) -> DeletableTopicResult {
    answer(name, topic_id, ErrorCode::InvalidRequest, why.into())
}

fn answer(name: Option<Str>, topic_id: Uuid, code: ErrorCode, why: String) -> DeletableTopicResult {
    DeletableTopicResult {
        name,
        topic_id,
        error_code: code.code(),
        error_message: Some(Str::from(why)),
        ..Default::default()
    }
}
