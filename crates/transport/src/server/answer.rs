//! A request as a service sees it, and what it may answer.

use std::future::Future;
use std::pin::Pin;

use protocol::{ApiKey, Chunks, DecodeError, Decoder, EncodeError, Encoder, Message, Monotonic, Now, Request, Str};
use runtime::Address;

use super::ConnectionId;

/// Who asks what, and when it arrived.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// The connection it came on.
    pub connection: ConnectionId,
    /// That connection's listener.
    pub listener: Str,
    /// Who asks: `User:ANONYMOUS` as long as nobody proves who they are.
    pub principal: Str,
    /// What the client calls itself; empty if it does not say.
    pub client_id: Str,
    /// Which API.
    pub api_key: ApiKey,
    /// Which version of it.
    pub api_version: i16,
    /// The client's number of this request.
    pub correlation_id: i32,
    /// The other end.
    pub peer: Address,
    /// When the request was taken off the connection.
    pub arrival: Now,
    /// When the asker stops waiting, where that is known: for what a broker asks on a client's behalf. `None` for what
    /// comes from a connection.
    pub deadline: Option<Monotonic>,
}

impl RequestContext {
    /// The principal of connections that prove nothing.
    pub const ANONYMOUS: Str = Str::from_static("User:ANONYMOUS");

    /// The body of a response in this request's version.
    pub fn encode<M: Message>(&self, response: &M) -> Result<Chunks, EncodeError> {
        let mut encoder = Encoder::for_frame();
        response.encode(&mut encoder, self.api_version)?;
        Ok(encoder.finish())
    }

    /// The answer with this response.
    pub fn answer<M: Message>(&self, response: &M) -> Answer {
        self.reply(response).into()
    }

    /// The reply with this response. One that its version cannot express is a defect of the service: the connection is
    /// closed, as it is in Kafka.
    pub fn reply<M: Message>(&self, response: &M) -> Reply {
        match self.encode(response) {
            Ok(body) => Reply::Response(body),
            Err(error) => {
                tracing::error!(api = ?self.api_key, version = self.api_version, %error, "response cannot be written");
                Reply::Close
            }
        }
    }
}

/// A request's bytes.
#[derive(Clone, Debug)]
pub struct RequestFrame {
    frame: Chunks,
    /// Where the body begins. Invariant: at most the frame's length.
    body_at: usize,
}

impl RequestFrame {
    /// A frame whose first `body_at` bytes are its header.
    pub(crate) fn new(frame: Chunks, body_at: usize) -> Self {
        assert!(body_at <= frame.len(), "a header of {body_at} bytes in a frame of {}", frame.len());
        Self { frame, body_at }
    }

    /// Header and body: what an Envelope carries.
    pub fn whole(&self) -> &Chunks {
        &self.frame
    }

    /// The body, shared.
    pub fn body(&self) -> Chunks {
        self.frame.slice(self.body_at, self.frame.len())
    }

    /// The body as a message. Bytes behind it are ignored, as Kafka does (formats.md, trap 16).
    pub fn decode<R: Request>(&self, version: i16) -> Result<R, DecodeError> {
        R::decode(&mut Decoder::new(self.body()), version)
    }
}

/// Where the answer to a request comes from.
pub enum Answer {
    /// It is here.
    Now(Reply),
    /// It comes later. The future only waits, and is asked once the answers before it have left.
    Later(Pin<Box<dyn Future<Output = Reply> + Send>>),
}

impl Answer {
    /// No response is due: Produce with acks=0.
    pub const NO_RESPONSE: Self = Self::Now(Reply::NoResponse);
    /// The connection is to be closed once the answers before it have left.
    pub const CLOSE: Self = Self::Now(Reply::Close);

    /// An answer that comes later.
    pub fn later(reply: impl Future<Output = Reply> + Send + 'static) -> Self {
        Self::Later(Box::pin(reply))
    }
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self::Now(reply)
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Now(reply) => write!(f, "Now({reply:?})"),
            Self::Later(_) => f.write_str("Later"),
        }
    }
}

/// An answer.
#[derive(Debug)]
pub enum Reply {
    /// The encoded body of a response.
    Response(Chunks),
    /// Nothing is sent: Produce with acks=0.
    NoResponse,
    /// The connection is closed once the answers before it have left.
    Close,
}
