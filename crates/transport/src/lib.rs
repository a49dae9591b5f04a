//! Both ends of a connection that speaks Kafka's protocol.
//!
//! [`server::serve`] accepts connections and hands each request to a [`server::Service`], in order; [`client::Connection`]
//! sends requests and matches their answers, [`client::Channel`] keeps such a connection to one node alive. Frames are
//! ropes from the socket to the log and back ([`frame`]); nothing here copies what records they carry.
//!
//! One task a connection on either end, never a task a request. Deliberately absent: TLS and SASL (a context names
//! `User:ANONYMOUS`), and what requests mean.

pub mod client;
pub mod frame;
pub mod header;
mod ranges;
pub mod server;

pub use frame::{FRAME_BYTES_MAX, FrameDecoder, FrameError};
pub use header::{HeaderError, RequestHeader};
pub use ranges::{ApiRanges, VersionRange};
