//! A request ready to leave, and the wait for its answer.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use protocol::{ApiKey, Chunks, Decoder, Encoder, Message, Request};
use tokio::sync::oneshot;

use super::{Reason, RpcError};

/// The outcome of a request: the body of its response.
pub(super) type Outcome = Result<Chunks, RpcError>;

/// Called exactly once with the outcome of a request, also when it is dropped on the way.
pub(super) struct Done {
    call: Option<Box<dyn FnOnce(Outcome) + Send>>,
    /// Whether the request may have been sent.
    pub(super) sent: bool,
}

impl Done {
    pub(super) fn new(call: impl FnOnce(Outcome) + Send + 'static) -> Self {
        Self { call: Some(Box::new(call)), sent: false }
    }

    pub(super) fn call(mut self, outcome: Outcome) {
        (self.call.take().expect("called once"))(outcome);
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            let reason = Reason::Closed;
            call(Err(if self.sent { RpcError::Lost(reason) } else { RpcError::NotSent(reason) }));
        }
    }
}

/// An encoded request, without a header.
#[derive(Clone, Debug)]
pub struct EncodedRequest {
    /// Which API.
    pub api_key: ApiKey,
    /// Which version.
    pub api_version: i16,
    /// The body.
    pub body: Chunks,
    /// Whether there will be a response: not to Produce with acks=0.
    pub answered: bool,
}

impl EncodedRequest {
    /// Encodes a request.
    pub fn new<R: Request>(request: &R, api_version: i16) -> Result<Self, RpcError> {
        let mut encoder = Encoder::for_frame();
        request.encode(&mut encoder, api_version)?;
        Ok(Self { api_key: R::KEY, api_version, body: encoder.finish(), answered: true })
    }
}

/// The body of a response as a message.
pub(super) fn decode<M: Message>(body: Chunks, version: i16) -> Result<M, RpcError> {
    Ok(M::decode(&mut Decoder::new(body), version)?)
}

/// Waits for a response. Dropping it gives up on the answer, not on the request.
#[must_use = "the request is sent, but nobody waits for the answer"]
pub struct Response<M> {
    state: State,
    message: PhantomData<fn() -> M>,
}

enum State {
    Failed(Option<RpcError>),
    Waiting { version: i16, receiver: oneshot::Receiver<Outcome> },
}

impl<M> Response<M> {
    pub(super) const fn failed(error: RpcError) -> Self {
        Self { state: State::Failed(Some(error)), message: PhantomData }
    }

    /// A wait, and what ends it.
    pub(super) fn waiting(version: i16) -> (Self, Done) {
        let (sender, receiver) = oneshot::channel();
        let done = Done::new(move |outcome| drop(sender.send(outcome)));
        (Self { state: State::Waiting { version, receiver }, message: PhantomData }, done)
    }
}

impl<M> std::fmt::Debug for Response<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Response")
    }
}

impl<M: Message> Future for Response<M> {
    type Output = Result<M, RpcError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.state {
            State::Failed(error) => Poll::Ready(Err(error.take().expect("polled after its end"))),
            State::Waiting { version, receiver } => {
                let version = *version;
                Pin::new(receiver).poll(cx).map(|outcome| match outcome {
                    Ok(outcome) => decode(outcome?, version),
                    // The driver's task was ended, with the process.
                    Err(_) => Err(RpcError::Lost(Reason::Closed)),
                })
            }
        }
    }
}
