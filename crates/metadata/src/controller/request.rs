//! What the controller is asked and answers.

use protocol::messages::alter_partition_request::AlterPartitionRequest;
use protocol::messages::alter_partition_response::AlterPartitionResponse;
use protocol::messages::broker_heartbeat_request::BrokerHeartbeatRequest;
use protocol::messages::broker_heartbeat_response::BrokerHeartbeatResponse;
use protocol::messages::broker_registration_request::BrokerRegistrationRequest;
use protocol::messages::broker_registration_response::BrokerRegistrationResponse;
use protocol::messages::controller_registration_request::ControllerRegistrationRequest;
use protocol::messages::controller_registration_response::ControllerRegistrationResponse;
use protocol::messages::create_topics_request::CreateTopicsRequest;
use protocol::messages::create_topics_response::{CreatableTopicResult, CreateTopicsResponse};
use protocol::{ErrorCode, Str};

/// What the controller is asked.
#[derive(Clone, PartialEq, Debug)]
pub enum Request {
    /// A broker starts.
    BrokerRegistration(BrokerRegistrationRequest),
    /// A broker lives.
    BrokerHeartbeat(BrokerHeartbeatRequest),
    /// A leader changes ISRs.
    AlterPartition(AlterPartitionRequest),
    /// Somebody wants topics.
    CreateTopics(CreateTopicsRequest),
    /// A controller tells of itself.
    ControllerRegistration(ControllerRegistrationRequest),
}

/// What it answers.
#[derive(Clone, PartialEq, Debug)]
pub enum Response {
    /// To [`Request::BrokerRegistration`].
    BrokerRegistration(BrokerRegistrationResponse),
    /// To [`Request::BrokerHeartbeat`].
    BrokerHeartbeat(BrokerHeartbeatResponse),
    /// To [`Request::AlterPartition`].
    AlterPartition(AlterPartitionResponse),
    /// To [`Request::CreateTopics`].
    CreateTopics(CreateTopicsResponse),
    /// To [`Request::ControllerRegistration`].
    ControllerRegistration(ControllerRegistrationResponse),
}

impl Request {
    /// The answer that refuses all of it.
    pub fn refused(&self, code: ErrorCode) -> Response {
        match self {
            Self::BrokerRegistration(_) => Response::BrokerRegistration(registration_refused(code)),
            Self::BrokerHeartbeat(_) => Response::BrokerHeartbeat(heartbeat_refused(code)),
            Self::AlterPartition(_) => Response::AlterPartition(alter_partition_refused(code)),
            Self::CreateTopics(request) => Response::CreateTopics(create_topics_refused(
                request.topics.iter().map(|topic| topic.name.clone()),
                code,
            )),
            Self::ControllerRegistration(_) => Response::ControllerRegistration(controller_refused(code)),
        }
    }
}

impl Response {
    /// The same answer, had the request been refused as a whole: for answers whose records were never committed.
    #[must_use]
    pub fn refused(&self, code: ErrorCode) -> Self {
        match self {
            Self::BrokerRegistration(_) => Self::BrokerRegistration(registration_refused(code)),
            Self::BrokerHeartbeat(_) => Self::BrokerHeartbeat(heartbeat_refused(code)),
            Self::AlterPartition(_) => Self::AlterPartition(alter_partition_refused(code)),
            Self::CreateTopics(response) => {
                Self::CreateTopics(create_topics_refused(response.topics.iter().map(|topic| topic.name.clone()), code))
            }
            Self::ControllerRegistration(_) => Self::ControllerRegistration(controller_refused(code)),
        }
    }

    /// Whether it says that this node is not the active controller.
    pub fn is_not_controller(&self) -> bool {
        let code = match self {
            Self::BrokerRegistration(response) => response.error_code,
            Self::BrokerHeartbeat(response) => response.error_code,
            Self::AlterPartition(response) => response.error_code,
            Self::CreateTopics(response) => response.topics.first().map_or(0, |topic| topic.error_code),
            Self::ControllerRegistration(response) => response.error_code,
        };
        code == ErrorCode::NotController.code()
    }
}

pub(super) fn registration_refused(code: ErrorCode) -> BrokerRegistrationResponse {
    BrokerRegistrationResponse { error_code: code.code(), ..Default::default() }
}

pub(super) fn heartbeat_refused(code: ErrorCode) -> BrokerHeartbeatResponse {
    BrokerHeartbeatResponse { error_code: code.code(), ..Default::default() }
}

pub(super) fn alter_partition_refused(code: ErrorCode) -> AlterPartitionResponse {
    AlterPartitionResponse { error_code: code.code(), ..Default::default() }
}

pub(super) fn create_topics_refused(names: impl Iterator<Item = Str>, code: ErrorCode) -> CreateTopicsResponse {
    let topics = names.map(|name| topic_refused(name, code, None)).collect();
    CreateTopicsResponse { topics, ..Default::default() }
}

pub(super) fn topic_refused(name: Str, code: ErrorCode, why: Option<String>) -> CreatableTopicResult {
    CreatableTopicResult { name, error_code: code.code(), error_message: why.map(Str::from), ..Default::default() }
}

fn controller_refused(code: ErrorCode) -> ControllerRegistrationResponse {
    ControllerRegistrationResponse { error_code: code.code(), error_message: None, ..Default::default() }
}
