//! Forwarding: requests of clients that only the controller may answer travel to it in an Envelope, one at a time; and so
//! do the topics that brokers create because somebody asked for them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metadata::controller::Request;
use protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use protocol::messages::{EnvelopeRequest, ResponseHeader};
use protocol::{ApiKey, Chunks, Decoder, ErrorCode, Monotonic, Str};
use runtime::{Env, Inbox};
use tokio::sync::oneshot;
use transport::server::{Reply, RequestContext, RequestFrame};

use super::channel::{ChannelError, ControllerChannel};
use crate::controller::rpc::{self, write_principal};

/// Kafka gives up forwarding after a minute.
const GIVE_UP: Duration = Duration::from_secs(60);

/// Why a forwarded request has no answer of the controller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ForwardError {
    /// No controller answered in time: REQUEST_TIMED_OUT. It may have acted on the request.
    TimedOut,
    /// The controller does not speak this version: the client's connection is closed.
    UnsupportedVersion,
    /// Anything else: UNKNOWN_SERVER_ERROR.
    Refused,
}

impl ForwardError {
    /// The code that stands for the answer.
    pub(super) const fn code(self) -> ErrorCode {
        match self {
            Self::TimedOut => ErrorCode::RequestTimedOut,
            Self::UnsupportedVersion => ErrorCode::UnsupportedVersion,
            Self::Refused => ErrorCode::UnknownServerError,
        }
    }
}

/// A request on its way.
pub(super) struct Forward {
    pub(super) api_key: ApiKey,
    pub(super) api_version: i16,
    pub(super) envelope: EnvelopeRequest,
    pub(super) give_up: Monotonic,
    pub(super) reply: oneshot::Sender<Result<Chunks, ForwardError>>,
}

impl Forward {
    /// `data` is a whole frame, header and body.
    pub(super) fn new(
        context: &RequestContext,
        data: Chunks,
        reply: oneshot::Sender<Result<Chunks, ForwardError>>,
    ) -> Self {
        let host = match context.peer.host.parse::<IpAddr>() {
            Ok(IpAddr::V4(ip)) => ip.octets().to_vec(),
            Ok(IpAddr::V6(ip)) => ip.octets().to_vec(),
            // A name, as in the world.
            Err(_) => vec![0; 4],
        };
        let give_up = context.arrival.mono + GIVE_UP;
        Self {
            api_key: context.api_key,
            api_version: context.api_version,
            envelope: EnvelopeRequest {
                request_data: data.into_contiguous(),
                request_principal: Some(write_principal(&context.principal)),
                client_host_address: host.into(),
                ..Default::default()
            },
            give_up: context.deadline.map_or(give_up, |deadline| deadline.min(give_up)),
            reply,
        }
    }
}

/// What comes into the task's inbox.
pub(super) enum Message {
    /// Of a client.
    Forward(Box<Forward>),
    /// Of this broker: topics that somebody asked for.
    Create(Vec<Str>),
}

/// Names whose creation is on its way: no second one is sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Creating(Arc<Mutex<BTreeSet<Str>>>);

impl Creating {
    /// Those of `names` that nobody else creates now; marked as being created.
    pub(super) fn begin(&self, names: Vec<Str>) -> Vec<Str> {
        let mut creating = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.into_iter().filter(|name| creating.insert(name.detached())).collect()
    }

    fn end(&self, names: &[Str]) {
        let mut creating = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for name in names {
            creating.remove(name);
        }
    }
}

/// What this broker asks for when it creates topics by itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct AutoTopics {
    pub(super) num_partitions: i32,
    pub(super) replication_factor: i16,
    pub(super) timeout: Duration,
}

/// Forwards what comes in, as long as anything may come.
pub(super) async fn run(
    env: Env,
    mut channel: ControllerChannel,
    creating: Creating,
    auto: AutoTopics,
    mut inbox: Inbox<Message>,
) {
    while let Some(message) = inbox.recv().await {
        let forward = match message {
            Message::Forward(forward) => forward,
            Message::Create(names) => {
                create(&env, &mut channel, auto, &names).await;
                creating.end(&names);
                continue;
            }
        };
        let result = if env.now().mono >= forward.give_up {
            Err(ForwardError::TimedOut)
        } else {
            let not_controller = ErrorCode::NotController.code();
            channel
                .ask(&forward.envelope, forward.give_up, |response| response.error_code == not_controller)
                .await
                .map_err(|error| match error {
                    ChannelError::GaveUp => ForwardError::TimedOut,
                    ChannelError::Rpc(_) => ForwardError::Refused,
                })
                .and_then(|response| match ErrorCode::from_code(response.error_code) {
                    ErrorCode::None => {
                        let data = response.response_data.ok_or(ForwardError::Refused)?;
                        body(forward.api_key, forward.api_version, data).ok_or(ForwardError::Refused)
                    }
                    ErrorCode::UnsupportedVersion => Err(ForwardError::UnsupportedVersion),
                    _ => Err(ForwardError::Refused),
                })
        };
        // The client may be gone.
        drop(forward.reply.send(result));
    }
}

/// Creates topics with the controller's defaults; what goes wrong is only logged, for whoever asked will ask again.
async fn create(env: &Env, channel: &mut ControllerChannel, auto: AutoTopics, names: &[Str]) {
    let topics = names.iter().map(|name| CreatableTopic {
        name: name.clone(),
        num_partitions: auto.num_partitions,
        replication_factor: auto.replication_factor,
        ..Default::default()
    });
    let request = CreateTopicsRequest {
        topics: topics.collect(),
        timeout_ms: i32::try_from(auto.timeout.as_millis()).unwrap_or(i32::MAX),
        ..Default::default()
    };
    let give_up = env.now().mono + auto.timeout;
    let not_controller = ErrorCode::NotController.code();
    let refused = |it: &protocol::messages::CreateTopicsResponse| {
        it.topics.first().is_some_and(|topic| topic.error_code == not_controller)
    };
    match channel.ask(&request, give_up, refused).await {
        Ok(response) => {
            for topic in response.topics.iter().filter(|topic| topic.error_code != 0) {
                let code = ErrorCode::from_code(topic.error_code);
                tracing::info!(topic = %topic.name, %code, "topic not created");
            }
        }
        Err(error) => tracing::info!(%error, "topics not created"),
    }
}

/// What a client is told.
pub(super) fn reply(context: &RequestContext, frame: &RequestFrame, result: Result<Chunks, ForwardError>) -> Reply {
    let code = match result {
        Ok(body) => return Reply::Response(body),
        Err(ForwardError::UnsupportedVersion) => return Reply::Close,
        Err(error) => error.code(),
    };
    match Request::decode(context.api_key, &mut Decoder::new(frame.body()), context.api_version) {
        Some(Ok(request)) => rpc::reply(context, &request.refused(code)),
        _ => Reply::Close,
    }
}

/// The response without its header: the client's connection writes its own.
fn body(api_key: ApiKey, api_version: i16, data: bytes::Bytes) -> Option<Chunks> {
    let mut input = Decoder::new(Chunks::from(data));
    ResponseHeader::decode_for(&mut input, api_key, api_version).ok()?;
    Some(input.take_rest())
}
