//! What the controller is asked and answers.
//!
//! One line of [`asked`] a request; beside it stands what refuses it as a whole, made of the request or, when its records
//! were lost, of the answer that waited for them.

use protocol::messages::alter_configs_response::AlterConfigsResourceResponse as LegacyResult;
use protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use protocol::messages::create_topics_response::CreatableTopicResult;
use protocol::messages::delete_topics_response::DeletableTopicResult;
use protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use protocol::messages::{
    AllocateProducerIdsRequest, AllocateProducerIdsResponse, AlterConfigsRequest, AlterConfigsResponse,
    AlterPartitionRequest, AlterPartitionResponse, BrokerHeartbeatRequest, BrokerHeartbeatResponse,
    BrokerRegistrationRequest, BrokerRegistrationResponse, ControllerRegistrationRequest,
    ControllerRegistrationResponse, CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest,
    CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse, ElectLeadersRequest, ElectLeadersResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse,
};
use protocol::{ApiKey, DecodeError, Decoder, EncodeError, Encoder, ErrorCode, Message, Str, Uuid};

/// What refuses a request.
pub(super) trait Ask {
    /// The answer.
    type Answer;
    /// The answer that refuses all of it.
    fn refused(&self, code: ErrorCode) -> Self::Answer;
}

/// What refuses the request of an answer.
trait Answered {
    fn refused(&self, code: ErrorCode) -> Self;
    /// The code that says whether it was refused as a whole.
    fn code(&self) -> i16;
}

macro_rules! asked {
    ($($(#[$doc:meta])* $name:ident($request:ty, $response:ty);)*) => {
        /// What the controller is asked.
        #[derive(Clone, PartialEq, Debug)]
        pub enum Request {
            $($(#[$doc])* $name($request),)*
        }

        /// What it answers.
        #[derive(Clone, PartialEq, Debug)]
        pub enum Response {
            $(#[doc = concat!("To [`Request::", stringify!($name), "`].")] $name($response),)*
        }

        impl Request {
            /// Reads the request of an API; `None` if it is none of the controller's.
            pub fn decode(api: ApiKey, input: &mut Decoder, version: i16) -> Option<Result<Self, DecodeError>> {
                match api {
                    $(ApiKey::$name => Some(<$request>::decode(input, version).map(Self::$name)),)*
                    _ => None,
                }
            }

            /// The answer that refuses all of it.
            pub fn refused(&self, code: ErrorCode) -> Response {
                match self {
                    $(Self::$name(request) => Response::$name(request.refused(code)),)*
                }
            }
        }

        impl Response {
            /// The answer that refuses all of the request instead.
            #[must_use]
            pub fn refused(&self, code: ErrorCode) -> Self {
                match self {
                    $(Self::$name(response) => Self::$name(response.refused(code)),)*
                }
            }

            /// Whether it says that this node is not the active controller.
            pub fn is_not_controller(&self) -> bool {
                let code = match self {
                    $(Self::$name(response) => response.code(),)*
                };
                code == ErrorCode::NotController.code()
            }

            /// Writes it.
            ///
            /// # Errors
            /// The version cannot express it.
            pub fn encode(&self, out: &mut Encoder, version: i16) -> Result<(), EncodeError> {
                match self {
                    // Before TOPIC_DELETION_DISABLED was known.
                    Self::DeleteTopics(response)
                        if version < 3 && response.code() == ErrorCode::TopicDeletionDisabled.code() =>
                    {
                        response.refused(ErrorCode::InvalidRequest).encode(out, version)
                    }
                    // Version 0 names codes at partitions only.
                    Self::ElectLeaders(response) if version == 0 => {
                        ElectLeadersResponse { error_code: 0, ..response.clone() }.encode(out, version)
                    }
                    $(Self::$name(response) => response.encode(out, version),)*
                }
            }
        }
    };
}

asked! {
    /// A broker starts.
    BrokerRegistration(BrokerRegistrationRequest, BrokerRegistrationResponse);
    /// A broker lives.
    BrokerHeartbeat(BrokerHeartbeatRequest, BrokerHeartbeatResponse);
    /// A leader changes ISRs.
    AlterPartition(AlterPartitionRequest, AlterPartitionResponse);
    /// Somebody wants topics.
    CreateTopics(CreateTopicsRequest, CreateTopicsResponse);
    /// A controller tells of itself.
    ControllerRegistration(ControllerRegistrationRequest, ControllerRegistrationResponse);
    /// Somebody wants topics no more.
    DeleteTopics(DeleteTopicsRequest, DeleteTopicsResponse);
    /// Somebody wants more partitions of topics.
    CreatePartitions(CreatePartitionsRequest, CreatePartitionsResponse);
    /// Somebody changes single values of configurations (KIP-339).
    IncrementalAlterConfigs(IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse);
    /// Somebody replaces configurations.
    AlterConfigs(AlterConfigsRequest, AlterConfigsResponse);
    /// Somebody wants other leaders (KIP-460).
    ElectLeaders(ElectLeadersRequest, ElectLeadersResponse);
    /// Somebody asks which replicas are moving (KIP-455).
    ListPartitionReassignments(ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse);
    /// A broker wants producer ids to give.
    AllocateProducerIds(AllocateProducerIdsRequest, AllocateProducerIdsResponse);
}

impl Request {
    /// How long its sender waits, in milliseconds, for those that say so. Without any patience nothing is done.
    pub const fn patience_ms(&self) -> Option<i32> {
        match self {
            Self::CreateTopics(request) => Some(request.timeout_ms),
            Self::DeleteTopics(request) => Some(request.timeout_ms),
            Self::CreatePartitions(request) => Some(request.timeout_ms),
            Self::ElectLeaders(request) => Some(request.timeout_ms),
            _ => None,
        }
    }
}

/// Requests whose answer has one code for all.
macro_rules! one_code {
    ($($request:ty => $response:ty;)*) => {$(
        impl Ask for $request {
            type Answer = $response;
            fn refused(&self, code: ErrorCode) -> $response {
                <$response>::default().refused(code)
            }
        }

        impl Answered for $response {
            fn refused(&self, code: ErrorCode) -> Self {
                Self { error_code: code.code(), ..Default::default() }
            }

            fn code(&self) -> i16 {
                self.error_code
            }
        }
    )*};
}

one_code! {
    BrokerRegistrationRequest => BrokerRegistrationResponse;
    BrokerHeartbeatRequest => BrokerHeartbeatResponse;
    AlterPartitionRequest => AlterPartitionResponse;
    ControllerRegistrationRequest => ControllerRegistrationResponse;
    ListPartitionReassignmentsRequest => ListPartitionReassignmentsResponse;
    AllocateProducerIdsRequest => AllocateProducerIdsResponse;
}

/// Requests whose answer has a code for each thing they name; both name it by the same fields.
macro_rules! code_for_each {
    ($($request:ident, $things:ident => $response:ident, $results:ident: |$it:ident, $code:ident| $result:expr;)*) => {$(
        impl Ask for $request {
            type Answer = $response;
            fn refused(&self, $code: ErrorCode) -> $response {
                let $results = self.$things.iter().map(|$it| $result).collect();
                $response { $results, ..Default::default() }
            }
        }

        impl Answered for $response {
            fn refused(&self, $code: ErrorCode) -> Self {
                let $results = self.$results.iter().map(|$it| $result).collect();
                Self { $results, ..Default::default() }
            }

            fn code(&self) -> i16 {
                self.$results.first().map_or(0, |it| it.error_code)
            }
        }
    )*};
}

code_for_each! {
    CreateTopicsRequest, topics => CreateTopicsResponse, topics: |it, code| topic_refused(it.name.clone(), code, None);
    CreatePartitionsRequest, topics => CreatePartitionsResponse, results: |it, code| CreatePartitionsTopicResult {
        name: it.name.clone(),
        error_code: code.code(),
        ..Default::default()
    };
    IncrementalAlterConfigsRequest, resources => IncrementalAlterConfigsResponse, responses: |it, code| {
        AlterConfigsResourceResponse {
            resource_type: it.resource_type,
            resource_name: it.resource_name.clone(),
            error_code: code.code(),
            ..Default::default()
        }
    };
    AlterConfigsRequest, resources => AlterConfigsResponse, responses: |it, code| LegacyResult {
        resource_type: it.resource_type,
        resource_name: it.resource_name.clone(),
        error_code: code.code(),
        ..Default::default()
    };
}

impl Ask for DeleteTopicsRequest {
    type Answer = DeleteTopicsResponse;
    fn refused(&self, code: ErrorCode) -> DeleteTopicsResponse {
        let named = self.topic_names.iter().map(|name| (Some(name.clone()), Uuid::ZERO));
        let listed = self.topics.iter().map(|topic| (topic.name.clone(), topic.topic_id));
        let refused = named.chain(listed).map(|(name, topic_id)| deletion_refused(name, topic_id, code));
        DeleteTopicsResponse { responses: refused.collect(), ..Default::default() }
    }
}

impl Answered for DeleteTopicsResponse {
    fn refused(&self, code: ErrorCode) -> Self {
        let refused = self.responses.iter().map(|it| deletion_refused(it.name.clone(), it.topic_id, code));
        Self { responses: refused.collect(), ..Default::default() }
    }

    fn code(&self) -> i16 {
        self.responses.first().map_or(0, |it| it.error_code)
    }
}

impl Ask for ElectLeadersRequest {
    type Answer = ElectLeadersResponse;
    fn refused(&self, code: ErrorCode) -> ElectLeadersResponse {
        let topics = self.topic_partitions.iter().flatten();
        elections_refused(topics.map(|it| (it.topic.clone(), it.partitions.clone())), code)
    }
}

impl Answered for ElectLeadersResponse {
    fn refused(&self, code: ErrorCode) -> Self {
        let topics = self.replica_election_results.iter();
        let partitions = |it: &ReplicaElectionResult| it.partition_result.iter().map(|it| it.partition_id).collect();
        elections_refused(topics.map(|it| (it.topic.clone(), partitions(it))), code)
    }

    fn code(&self) -> i16 {
        self.error_code
    }
}

fn elections_refused(topics: impl Iterator<Item = (Str, Vec<i32>)>, code: ErrorCode) -> ElectLeadersResponse {
    let partition = |partition_id| PartitionResult { partition_id, error_code: code.code(), ..Default::default() };
    let topic = |(topic, partitions): (Str, Vec<i32>)| ReplicaElectionResult {
        topic,
        partition_result: partitions.into_iter().map(partition).collect(),
        ..Default::default()
    };
    ElectLeadersResponse {
        error_code: code.code(),
        replica_election_results: topics.map(topic).collect(),
        ..Default::default()
    }
}

fn deletion_refused(name: Option<Str>, topic_id: Uuid, code: ErrorCode) -> DeletableTopicResult {
    DeletableTopicResult { name, topic_id, error_code: code.code(), ..Default::default() }
}

pub(super) fn registration_refused(code: ErrorCode) -> BrokerRegistrationResponse {
    BrokerRegistrationResponse::default().refused(code)
}

pub(super) fn heartbeat_refused(code: ErrorCode) -> BrokerHeartbeatResponse {
    BrokerHeartbeatResponse::default().refused(code)
}

pub(super) fn alter_partition_refused(code: ErrorCode) -> AlterPartitionResponse {
    AlterPartitionResponse::default().refused(code)
}

pub(super) fn topic_refused(name: Str, code: ErrorCode, why: Option<String>) -> CreatableTopicResult {
    CreatableTopicResult { name, error_code: code.code(), error_message: why.map(Str::from), ..Default::default() }
}
