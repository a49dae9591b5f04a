//! The end that asks.
//!
//! [`Connection`] is one connection: requests leave in the order of the calls, answers are matched by their order and
//! correlation ids, a request that is not answered in time ends the connection. [`Channel`] is the way to one node: it
//! makes a new connection when the old one has ended. Both have a call that waits and one that posts ([`Connection::submit`],
//! [`Channel::submit`]), for drivers of machines that keep no future a request.

mod channel;
mod connection;
mod driver;
mod negotiate;
mod request;

use std::io;
use std::time::Duration;

use protocol::{ApiKey, DecodeError, EncodeError, Str};
use runtime::Address;

pub use channel::{Channel, ChannelOptions};
pub use connection::Connection;
pub use request::{EncodedRequest, Response};

use crate::frame::{FRAME_BYTES_MAX, FrameError};
use crate::header::HeaderError;
use crate::ranges::ApiRanges;

/// How a connection behaves.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// What this end calls itself.
    pub client_id: Option<Str>,
    /// `socket.connection.setup.timeout.ms`: the longest wait for the TCP connection.
    pub connect_timeout: Duration,
    /// `request.timeout.ms`: a request that is not answered for so long ends the connection.
    pub request_timeout: Duration,
    /// The largest response that is taken.
    pub frame_bytes_max: usize,
    /// The versions that this end speaks.
    pub speaks: ApiRanges,
    /// What the other end speaks, if that is known: then it is not asked (ApiVersions).
    pub peer_speaks: Option<ApiRanges>,
}

impl ClientOptions {
    /// Kafka's default time-outs, every version this build has.
    pub fn new(client_id: impl Into<Str>) -> Self {
        Self {
            client_id: Some(client_id.into()),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            frame_bytes_max: FRAME_BYTES_MAX,
            speaks: ApiRanges::stable(),
            peer_speaks: None,
        }
    }
}

/// Why a request has no response.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RpcError {
    /// No connection could be made.
    #[error("failed to connect to {address}: {reason}")]
    Connect {
        /// To whom.
        address: Address,
        /// Why not.
        reason: Reason,
    },
    /// The connection ended before any byte of the request was sent.
    #[error("connection ended before the request was sent: {0}")]
    NotSent(Reason),
    /// The connection ended; the other end may have acted on the request.
    #[error("connection ended before the response: {0}")]
    Lost(Reason),
    /// No version of the API is spoken by both.
    #[error("no common version of {api:?}: {ours:?} here, {theirs:?} there")]
    UnsupportedVersion {
        /// The API.
        api: ApiKey,
        /// The range here, or the one version that was wanted.
        ours: Option<(i16, i16)>,
        /// The range there.
        theirs: Option<(i16, i16)>,
    },
    /// The request cannot be written in its version.
    #[error("request cannot be written: {0}")]
    Encode(#[from] EncodeError),
    /// The response cannot be read. (It was answered.)
    #[error("response cannot be read: {0}")]
    Decode(#[from] DecodeError),
}

impl RpcError {
    /// Whether the other end may have acted on the request.
    pub const fn may_have_been_sent(&self) -> bool {
        matches!(self, Self::Lost(_) | Self::Decode(_))
    }

    /// Whether the connection is gone, or never was, so that a new one may do better.
    pub const fn is_disconnect(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::NotSent(_) | Self::Lost(_))
    }

    /// Whether the connection ended because some request was not answered in time.
    pub const fn is_timeout(&self) -> bool {
        matches!(
            self,
            Self::Connect { reason: Reason::Timeout, .. }
                | Self::NotSent(Reason::Timeout)
                | Self::Lost(Reason::Timeout)
        )
    }
}

/// Why a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Reason {
    /// It broke, or could not be made.
    #[error("{0}")]
    Io(io::ErrorKind),
    /// The other end closed it.
    #[error("closed by the other end")]
    Eof,
    /// A request, or the connection itself, took too long.
    #[error("time-out")]
    Timeout,
    /// This end closed it.
    #[error("closed")]
    Closed,
    /// The other end sent no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The other end sent a frame without a header.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The other end answered another request than the oldest.
    #[error("correlation id {got} instead of {expected}")]
    Correlation {
        /// Of the oldest request.
        expected: i32,
        /// Of the response.
        got: i32,
    },
    /// The other end answered though nothing was asked.
    #[error("a response that nobody asked for")]
    Unasked,
    /// The other end's answer to ApiVersions makes no sense.
    #[error("versions could not be agreed on")]
    Negotiation,
}

impl From<io::Error> for Reason {
    fn from(error: io::Error) -> Self {
        Self::Io(error.kind())
    }
}
