//! Forwarding: requests of clients that only the controller may answer travel to it in an Envelope, one at a time.

use std::net::IpAddr;
use std::time::Duration;

use protocol::messages::{EnvelopeRequest, ResponseHeader};
use protocol::{ApiKey, Chunks, Decoder, ErrorCode, Monotonic};
use runtime::{Env, Inbox};
use tokio::sync::oneshot;
use transport::server::{RequestContext, RequestFrame};

use super::channel::{ChannelError, ControllerChannel};
use crate::controller::rpc::write_principal;

/// Kafka gives up forwarding after a minute.
const GIVE_UP: Duration = Duration::from_secs(60);

/// Why a forwarded request has no answer of the controller.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ForwardError {
    /// No controller answered in time: answer REQUEST_TIMED_OUT. It may have acted on the request.
    #[error("no controller answered in time")]
    TimedOut,
    /// The controller does not speak this version: close the client's connection.
    #[error("the controller does not speak the request's version")]
    UnsupportedVersion,
    /// Anything else: answer UNKNOWN_SERVER_ERROR.
    #[error("the controller refused the envelope")]
    Refused,
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
    pub(super) fn new(
        context: &RequestContext,
        frame: &RequestFrame,
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
                request_data: frame.whole().clone().into_contiguous(),
                request_principal: Some(write_principal(&context.principal)),
                client_host_address: host.into(),
                ..Default::default()
            },
            give_up: context.deadline.map_or(give_up, |deadline| deadline.min(give_up)),
            reply,
        }
    }
}

/// Forwards what comes in, as long as anything may come.
pub(super) async fn run(env: Env, mut channel: ControllerChannel, mut inbox: Inbox<Forward>) {
    while let Some(forward) = inbox.recv().await {
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

/// The response without its header: the client's connection writes its own.
fn body(api_key: ApiKey, api_version: i16, data: bytes::Bytes) -> Option<Chunks> {
    let mut input = Decoder::new(Chunks::from(data));
    ResponseHeader::decode_for(&mut input, api_key, api_version).ok()?;
    Some(input.take_rest())
}
