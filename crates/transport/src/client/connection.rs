//! One connection and its handle.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use protocol::{ApiKey, Chunks, Message, Request};
use runtime::{Address, Env, Post, inbox};

use super::driver::{Driver, InFlightQueue, Order};
use super::request::{self, Done, EncodedRequest, Response};
use super::{ClientOptions, Reason, RpcError, driver, negotiate};
use crate::frame::FrameDecoder;
use crate::ranges::{ApiRanges, VersionRange};

/// A connection to one node. Clones share it; when the last is dropped, what is in flight is still answered, then it ends.
#[derive(Clone)]
pub struct Connection {
    orders: Post<Order>,
    shared: Arc<Shared>,
}

struct Shared {
    address: Address,
    request_timeout: Duration,
    speaks: ApiRanges,
    /// What the other end speaks.
    peer_speaks: ApiRanges,
    closed: Arc<AtomicBool>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({})", self.shared.address)
    }
}

impl Connection {
    /// Connects, and asks which versions the other end speaks unless the options say so.
    pub async fn open(env: &Env, address: Address, options: &ClientOptions) -> Result<Self, RpcError> {
        let failed = |reason| RpcError::Connect { address: address.clone(), reason };
        let stream = match env.timeout(options.connect_timeout, env.connect(address.clone())).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(failed(error.into())),
            Err(_) => return Err(failed(Reason::Timeout)),
        };
        // Unbounded posts only: callers bound what they have in flight.
        let (orders, inbox) = inbox(usize::MAX);
        let closed = Arc::new(AtomicBool::new(false));
        let driver = Driver {
            env: env.clone(),
            client_id: options.client_id.clone(),
            reader: stream.reader,
            writer: stream.writer,
            orders: inbox,
            open: true,
            frames: FrameDecoder::new(options.frame_bytes_max),
            pieces: VecDeque::new(),
            out: VecDeque::new(),
            queued: 0,
            next_correlation: 0,
            in_flight: InFlightQueue::default(),
            timer: None,
            closed: Arc::clone(&closed),
        };
        env.spawn_detached("rpc-connection", driver.run());
        let mut shared = Shared {
            address: address.clone(),
            request_timeout: options.request_timeout,
            speaks: options.speaks.clone(),
            peer_speaks: ApiRanges::new(),
            closed,
        };
        shared.peer_speaks = match &options.peer_speaks {
            Some(ranges) => ranges.clone(),
            None => {
                let asked = negotiate::ask(&options.speaks, &orders, options.request_timeout).await;
                asked.map_err(|error| match error {
                    RpcError::Lost(reason) | RpcError::NotSent(reason) => failed(reason),
                    error => error,
                })?
            }
        };
        Ok(Self { orders, shared: Arc::new(shared) })
    }

    /// Sends a request in the newest version that both ends speak. The request is on its way when this returns, before
    /// the future is polled.
    pub fn send<R: Request>(&self, request: &R) -> Response<R::Response> {
        match self.version(R::KEY) {
            Ok(version) => self.send_version(request, version),
            Err(error) => Response::failed(error),
        }
    }

    /// Sends a request in this version.
    pub fn send_version<R: Request>(&self, request: &R, version: i16) -> Response<R::Response> {
        self.send_within(request, version, self.shared.request_timeout)
    }

    /// Sends a request in this version, to be answered within `timeout`: for requests that wait on purpose.
    pub fn send_within<R: Request>(&self, request: &R, version: i16, timeout: Duration) -> Response<R::Response> {
        match EncodedRequest::new(request, version) {
            Ok(request) => {
                let (response, done) = Response::waiting(version);
                self.post(request, timeout, done);
                response
            }
            Err(error) => Response::failed(error),
        }
    }

    /// Sends a request that is never answered: Produce with acks=0. An error only says that it was not sent.
    pub fn send_unanswered<R: Request>(&self, request: &R) -> Result<(), RpcError> {
        let request = EncodedRequest { answered: false, ..EncodedRequest::new(request, self.version(R::KEY)?)? };
        if self.closed() {
            return Err(RpcError::NotSent(Reason::Closed));
        }
        self.post(request, self.shared.request_timeout, Done::new(|_| ()));
        Ok(())
    }

    /// Sends a request and calls `done` with its outcome: from the connection's task, or before this returns if there is
    /// no version to send it in, or it cannot be written.
    pub fn submit<R: Request>(&self, request: &R, done: impl FnOnce(Result<R::Response, RpcError>) + Send + 'static) {
        if let Err((error, done)) = self.try_submit(request, done) {
            done(Err(error));
        }
    }

    /// As [`Connection::submit`], but gives `done` back if the request cannot be sent.
    pub(super) fn try_submit<R, F>(&self, request: &R, done: F) -> Result<(), (RpcError, F)>
    where
        R: Request,
        F: FnOnce(Result<R::Response, RpcError>) + Send + 'static,
    {
        let encoded = self.version(R::KEY).and_then(|version| EncodedRequest::new(request, version));
        match encoded {
            Ok(encoded) => {
                let version = encoded.api_version;
                let done = Done::new(move |outcome| done(outcome.and_then(|body| request::decode(body, version))));
                self.post(encoded, self.shared.request_timeout, done);
                Ok(())
            }
            Err(error) => Err((error, done)),
        }
    }

    /// Sends an encoded request; gives the body of the response.
    pub async fn send_encoded(&self, request: EncodedRequest) -> Result<Chunks, RpcError> {
        driver::ask(&self.orders, request, self.shared.request_timeout).await
    }

    /// The body of a response as a message of this version.
    pub fn decode<M: Message>(body: Chunks, version: i16) -> Result<M, RpcError> {
        request::decode(body, version)
    }

    /// The newest version that both ends speak.
    pub fn version(&self, key: ApiKey) -> Result<i16, RpcError> {
        let (ours, theirs) = (self.shared.speaks.get(key), self.shared.peer_speaks.get(key));
        match (ours, theirs) {
            (Some(a), Some(b)) if a.0.max(b.0) <= a.1.min(b.1) => Ok(a.1.min(b.1)),
            _ => Err(RpcError::UnsupportedVersion { api: key, ours, theirs }),
        }
    }

    /// What the other end speaks of an API.
    pub fn peer_range(&self, key: ApiKey) -> Option<VersionRange> {
        self.shared.peer_speaks.get(key)
    }

    /// Whether it has ended: all further requests fail.
    pub fn closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire)
    }

    /// Ends it at once; what is in flight fails.
    pub fn close(&self) {
        self.orders.post(Order::Close);
    }

    /// The other end's address.
    pub fn address(&self) -> &Address {
        &self.shared.address
    }

    fn post(&self, request: EncodedRequest, timeout: Duration, done: Done) {
        self.orders.post(Order::Send { request, timeout, done });
    }
}
