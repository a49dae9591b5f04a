//! Streams that move lists of pieces.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use protocol::Chunks;

/// Where to connect to or listen at.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// A name or an address; in the world the name of a host. Empty or `0.0.0.0`: every interface (to listen only).
    pub host: Arc<str>,
    /// 0 lets the host choose (to listen only).
    pub port: u16,
}

impl Address {
    /// An address from its parts.
    pub fn new(host: impl Into<Arc<str>>, port: u16) -> Self {
        Self { host: host.into(), port }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Receives. Dropping it tells the peer nothing; it only stops reading.
pub trait RawReader: Send {
    /// Moves what is there, at most `max` bytes, to the end of `into`; returns how many. 0 is the end of the stream.
    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut VecDeque<Bytes>, max: usize) -> Poll<io::Result<usize>>;
}

/// Sends. Dropping it without [`RawWriter::shutdown`] closes the connection as a dropped socket does.
pub trait RawWriter: Send {
    /// Takes pieces from the front of `list` as far as there is room. Ready when the list is empty. Cancel-safe: what is
    /// left stays in the list.
    fn poll_write(&mut self, cx: &mut Context<'_>, list: &mut VecDeque<Bytes>) -> Poll<io::Result<()>>;

    /// No more will be written: the peer reads the rest, then the end of the stream (FIN).
    fn shutdown(&mut self);
}

/// Accepts connections. Dropping it refuses the next ones.
pub trait RawListener: Send {
    /// The next connection.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Connection>>;

    /// Where it really listens.
    fn local(&self) -> Address;
}

/// Both halves of a connection.
pub struct Connection {
    /// The receiving half.
    pub reader: ReadHalf,
    /// The sending half.
    pub writer: WriteHalf,
    /// This end.
    pub local: Address,
    /// The other end.
    pub peer: Address,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({} -> {})", self.local, self.peer)
    }
}

/// The receiving half of a connection.
pub struct ReadHalf(pub Box<dyn RawReader>);

impl ReadHalf {
    /// Moves what is there, at most `max` bytes, to the end of `into`; waits if nothing is. 0 is the end of the stream.
    pub async fn read(&mut self, into: &mut VecDeque<Bytes>, max: usize) -> io::Result<usize> {
        poll_fn(|cx| self.0.poll_read(cx, into, max)).await
    }
}

/// The sending half of a connection.
pub struct WriteHalf(pub Box<dyn RawWriter>);

impl WriteHalf {
    /// Writes all of `list`, waiting for room. Cancel-safe: what was not taken stays in `list`.
    pub async fn write(&mut self, list: &mut VecDeque<Bytes>) -> io::Result<()> {
        poll_fn(|cx| self.0.poll_write(cx, list)).await
    }

    /// Writes all of `chunks`.
    pub async fn write_chunks(&mut self, chunks: Chunks) -> io::Result<()> {
        self.write(&mut chunks.into_list()).await
    }

    /// No more will be written (FIN).
    pub fn shutdown(&mut self) {
        self.0.shutdown();
    }
}

/// Accepts connections.
pub struct Listener(pub Box<dyn RawListener>);

impl Listener {
    /// The next connection.
    pub async fn accept(&mut self) -> io::Result<Connection> {
        poll_fn(|cx| self.0.poll_accept(cx)).await
    }

    /// Where it really listens.
    pub fn local(&self) -> Address {
        self.0.local()
    }
}
