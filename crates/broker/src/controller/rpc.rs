//! The requests that the controllers' listener hands to the controller, and their answers.
//!
//! An answer comes when its records are committed. Some requests name the time their sender waits; after it the answer is
//! REQUEST_TIMED_OUT, and what was asked for may still happen.

use std::time::Duration;

use metadata::controller::{Request, Response};
use protocol::messages::default_principal_data::DefaultPrincipalData;
use protocol::messages::describe_cluster_response::DescribeClusterBroker;
use protocol::messages::{
    DescribeClusterRequest, DescribeClusterResponse, DescribeQuorumRequest, EnvelopeRequest, EnvelopeResponse,
    ResponseHeader,
};
use protocol::{ApiKey, Chunks, Decoder, EncodeError, Encoder, ErrorCode, Message, NodeId, Str, Uuid};
use runtime::Env;
use transport::RequestHeader;
use transport::server::{Answer, Reply, RequestContext, RequestFrame};

use super::Handle;
use crate::config::Voter;
use crate::quorum;

/// Answers requests of the controllers' listener. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Rpc {
    /// The process.
    pub env: Env,
    /// This node's controller, active or not.
    pub controller: Handle,
    /// The quorum it lives on.
    pub quorum: quorum::Handle,
    /// `cluster.id`.
    pub cluster_id: Uuid,
    /// `controller.quorum.voters`.
    pub voters: Vec<Voter>,
}

impl Rpc {
    /// Starts the work of a request, in order; `None` if it is none of the controller's.
    pub fn call(&self, context: &RequestContext, frame: &RequestFrame) -> Option<Answer> {
        Some(match context.api_key {
            ApiKey::Envelope => match frame.decode::<EnvelopeRequest>(context.api_version) {
                Ok(envelope) => self.envelope(context, envelope),
                Err(_) => Answer::CLOSE,
            },
            ApiKey::DescribeCluster => match frame.decode::<DescribeClusterRequest>(context.api_version) {
                Ok(request) => context.answer(&self.describe_cluster(&request, context.api_version)),
                Err(_) => Answer::CLOSE,
            },
            api => match Request::decode(api, &mut Decoder::new(frame.body()), context.api_version)? {
                Ok(request) => {
                    let (context, asked) = (context.clone(), self.ask(request));
                    Answer::later(async move {
                        match asked.await {
                            Some(response) => reply(&context, &response),
                            None => Reply::Close,
                        }
                    })
                }
                Err(error) => {
                    tracing::warn!(api = ?context.api_key, peer = %context.peer, %error, "request cannot be read");
                    Answer::CLOSE
                }
            },
        })
    }

    /// Asks at once; the future waits for the answer, as long as the request allows. `None` if the process ends.
    fn ask(&self, request: Request) -> impl Future<Output = Option<Response>> + Send + 'static {
        let patience = request.patience_ms();
        let late = patience.map(|_| request.refused(ErrorCode::RequestTimedOut));
        // A sender that does not wait at all gets nothing done either.
        let answer = patience.is_none_or(|ms| ms > 0).then(|| self.controller.ask(request));
        let env = self.env.clone();
        async move {
            match (answer, patience) {
                (None, _) => late,
                (Some(answer), None) => answer.await.ok(),
                (Some(answer), Some(ms)) => {
                    match env.timeout(Duration::from_millis(ms.unsigned_abs().into()), answer).await {
                        Ok(answer) => answer.ok(),
                        Err(_) => late,
                    }
                }
            }
        }
    }

    /// A client's request that a broker forwards. It is judged as the client's; what cannot be read or is not for the
    /// controller fails as an envelope.
    fn envelope(&self, context: &RequestContext, envelope: EnvelopeRequest) -> Answer {
        let failed = |code| context.answer(&envelope_failed(code));
        let frame = Chunks::from(envelope.request_data);
        let Ok((header, body_at)) = RequestHeader::parse(&frame) else {
            return failed(ErrorCode::UnsupportedVersion);
        };
        if !header.api_key.is_forwardable() {
            return failed(ErrorCode::InvalidRequest);
        }
        if read_principal(envelope.request_principal.as_ref()).is_none() {
            return failed(ErrorCode::PrincipalDeserializationFailure);
        }
        let body = frame.slice(body_at, frame.len());
        if header.api_key == ApiKey::DescribeQuorum {
            return self.describe_quorum(context, header, body);
        }
        let Some(request) = Request::decode(header.api_key, &mut Decoder::new(body), header.api_version) else {
            // Forwardable, but not of this release.
            return failed(ErrorCode::UnsupportedVersion);
        };
        let Ok(request) = request else { return failed(ErrorCode::UnsupportedVersion) };
        let (context, asked) = (context.clone(), self.ask(request));
        Answer::later(async move {
            let Some(response) = asked.await else { return Reply::Close };
            let elsewhere = response.is_not_controller();
            enveloped(&context, &header, elsewhere, |out| response.encode(out, header.api_version))
        })
    }

    /// The quorum answers this one, and says at the partition that it is not led here.
    fn describe_quorum(&self, context: &RequestContext, header: RequestHeader, body: Chunks) -> Answer {
        let Ok(request) = DescribeQuorumRequest::decode(&mut Decoder::new(body), header.api_version) else {
            return context.answer(&envelope_failed(ErrorCode::UnsupportedVersion));
        };
        let (context, asked) = (context.clone(), self.quorum.describe(&request));
        Answer::later(async move {
            let Some(response) = asked.await else { return Reply::Close };
            let mut partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
            let elsewhere = partitions.any(|it| it.error_code == ErrorCode::NotLeaderOrFollower.code());
            enveloped(&context, &header, elsewhere, |out| response.encode(out, header.api_version))
        })
    }

    fn describe_cluster(&self, request: &DescribeClusterRequest, version: i16) -> DescribeClusterResponse {
        const BROKERS: i8 = 1;
        const CONTROLLERS: i8 = 2;
        let refused = |code: ErrorCode, why: &'static str| DescribeClusterResponse {
            error_code: code.code(),
            error_message: Some(Str::from_static(why)),
            ..Default::default()
        };
        match request.endpoint_type {
            CONTROLLERS => {}
            _ if version == 0 => return refused(ErrorCode::InvalidRequest, "a controller does not list brokers"),
            BROKERS => return refused(ErrorCode::MismatchedEndpointType, "this is a controller's listener"),
            _ => return refused(ErrorCode::UnsupportedEndpointType, "unknown endpoint type"),
        }
        let mut controllers: Vec<_> = (self.voters.iter())
            .map(|voter| DescribeClusterBroker {
                broker_id: voter.id.0,
                host: Str::from(&*voter.address.host),
                port: i32::from(voter.address.port),
                ..Default::default()
            })
            .collect();
        controllers.sort_by_key(|controller| controller.broker_id);
        DescribeClusterResponse {
            endpoint_type: CONTROLLERS,
            cluster_id: Str::from(self.cluster_id.to_string()),
            controller_id: self.quorum.status().leader.unwrap_or(NodeId::NONE).0,
            brokers: controllers,
            ..Default::default()
        }
    }
}

/// The answer in the asker's version. One that the version cannot express is a defect: the connection is closed.
pub(crate) fn reply(context: &RequestContext, response: &Response) -> Reply {
    let mut out = Encoder::new();
    match response.encode(&mut out, context.api_version) {
        Ok(()) => Reply::Response(out.finish()),
        Err(error) => {
            tracing::error!(api = ?context.api_key, version = context.api_version, %error, "response cannot be written");
            Reply::Close
        }
    }
}

fn envelope_failed(code: ErrorCode) -> EnvelopeResponse {
    EnvelopeResponse { error_code: code.code(), response_data: None, ..Default::default() }
}

/// The answer to an envelope: the client's response in it, unless the active controller is `elsewhere`.
fn enveloped(
    context: &RequestContext,
    header: &RequestHeader,
    elsewhere: bool,
    response: impl FnOnce(&mut Encoder) -> Result<(), EncodeError>,
) -> Reply {
    if elsewhere {
        return context.reply(&envelope_failed(ErrorCode::NotController));
    }
    context.reply(&match inner(header, response) {
        Some(data) => EnvelopeResponse { response_data: Some(data), ..Default::default() },
        None => envelope_failed(ErrorCode::UnknownServerError),
    })
}

/// The client's response as the envelope carries it: header and body.
fn inner(
    header: &RequestHeader,
    response: impl FnOnce(&mut Encoder) -> Result<(), EncodeError>,
) -> Option<bytes::Bytes> {
    let mut out = Encoder::new();
    ResponseHeader::new(header.correlation_id).encode_for(&mut out, header.api_key, header.api_version).ok()?;
    response(&mut out).ok()?;
    Some(out.finish().into_contiguous())
}

/// The client's principal: a version, then the data (Kafka's `KafkaPrincipalSerde`).
fn read_principal(bytes: Option<&bytes::Bytes>) -> Option<DefaultPrincipalData> {
    let mut input = Decoder::new(Chunks::from(bytes?.clone()));
    let version = input.i16().ok()?;
    DefaultPrincipalData::decode(&mut input, version).ok()
}

/// A principal as an envelope carries it. `principal` is `Type:Name`.
pub(crate) fn write_principal(principal: &str) -> bytes::Bytes {
    let (kind, name) = principal.split_once(':').unwrap_or(("User", principal));
    let data = DefaultPrincipalData { r#type: Str::from(kind), name: Str::from(name), ..Default::default() };
    let mut out = Encoder::new();
    out.i16(0);
    data.encode(&mut out, 0).expect("version 0 has all of these fields");
    out.finish().into_contiguous()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_is_read_as_it_was_written() {
        let bytes = write_principal("User:ANONYMOUS");
        let data = read_principal(Some(&bytes)).expect("readable");
        assert_eq!((&*data.r#type, &*data.name), ("User", "ANONYMOUS"));
        assert_eq!(bytes[..2], [0, 0], "the version stands in front");
        assert!(read_principal(Some(&bytes.slice(..4))).is_none());
        assert!(read_principal(None).is_none());
    }
}
