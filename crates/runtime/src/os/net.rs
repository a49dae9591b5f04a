//! TCP of the operating system: pieces leave by vectored writes and arrive in fresh buffers.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::AsyncWrite;
use tokio::net::TcpSocket;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::net::{Address, Connection, RawListener, RawReader, RawWriter, ReadHalf, WriteHalf};

/// How much a reader asks for at once. What arrives together shares a block of this size, so a small piece that is kept
/// pins at most this much.
const READ_BLOCK: usize = 64 * 1024;
/// A block with less room than this is left to its pieces, and a fresh one taken.
const READ_ROOM_MIN: usize = 4 * 1024;
/// Pieces in one vectored write.
const PIECES_MAX: usize = 64;
/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// Connects to the first address of the name that accepts.
pub(super) async fn connect(to: &Address) -> io::Result<Connection> {
    let mut refusal = None;
    for address in look_up(to).await? {
        match socket(address)?.connect(address).await {
            Ok(stream) => {
                let (local, peer) = (stream.local_addr()?, stream.peer_addr()?);
                return connection(stream, local, peer);
            }
            Err(error) => refusal = Some(error),
        }
    }
    Err(refusal.unwrap_or_else(|| io::Error::new(ErrorKind::NotFound, format!("{to} has no address"))))
}

/// Listens at the first address of the name.
pub(super) async fn listen(at: &Address) -> io::Result<Box<dyn RawListener>> {
    let mut at = at.clone();
    if at.host.is_empty() {
        at.host = "0.0.0.0".into();
    }
    let Some(address) = look_up(&at).await?.into_iter().next() else {
        return Err(io::Error::new(ErrorKind::NotFound, format!("{at} has no address")));
    };
    let socket = socket(address)?;
    // A port whose last connections linger in TIME_WAIT may be taken at once; one that somebody listens at may not.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    let local = seam_address(listener.local_addr()?);
    Ok(Box::new(OsListener { listener, local }))
}

/// This machine's name.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

async fn look_up(address: &Address) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((&*address.host, address.port)).await?.collect())
}

/// A socket as Kafka sets it up: keep-alive and no delay (accepted sockets inherit the former from their listener).
fn socket(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_keepalive(true)?;
    Ok(socket)
}

#[expect(clippy::disallowed_types, reason = "this is where the seam's streams come from")]
fn connection(stream: tokio::net::TcpStream, local: SocketAddr, peer: SocketAddr) -> io::Result<Connection> {
    stream.set_nodelay(true)?;
    let (reader, writer) = stream.into_split();
    let held = Arc::new(());
    Ok(Connection {
        reader: ReadHalf(Box::new(OsReader {
            half: reader,
            block: BytesMut::new(),
            error: None,
            _held: Arc::clone(&held),
        })),
        writer: WriteHalf(Box::new(OsWriter { half: Some(writer), reader: held })),
        local: seam_address(local),
        peer: seam_address(peer),
    })
}

fn seam_address(address: SocketAddr) -> Address {
    Address::new(address.ip().to_string(), address.port())
}

struct OsReader {
    half: OwnedReadHalf,
    /// Empty; its spare room is where the next bytes go.
    block: BytesMut,
    /// Met after some bytes were read; the socket tells it only once, the next read passes it on.
    error: Option<io::Error>,
    /// Tells the writer that there is a reader.
    _held: Arc<()>,
}

impl RawReader for OsReader {
    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut VecDeque<Bytes>, max: usize) -> Poll<io::Result<usize>> {
        assert!(max > 0, "a read of nothing cannot tell the end of the stream");
        if let Some(error) = self.error.take() {
            return Poll::Ready(Err(error));
        }
        let mut total = 0;
        loop {
            if total == 0 {
                ready!(self.half.as_ref().poll_read_ready(cx))?;
            }
            let room = self.block.capacity();
            if room < READ_ROOM_MIN && room < max - total {
                self.block = BytesMut::with_capacity(READ_BLOCK);
            }
            let limit = (max - total).min(self.block.capacity());
            match self.half.try_read_buf(&mut (&mut self.block).limit(limit)) {
                Ok(0) => return Poll::Ready(Ok(total)),
                Ok(read) => {
                    total += read;
                    into.push_back(self.block.split().freeze());
                    // A full block says that there may be more; a short one that there is not.
                    if read < limit || total == max {
                        return Poll::Ready(Ok(total));
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock && total == 0 => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if total == 0 => return Poll::Ready(Err(error)),
                Err(error) => {
                    self.error = (error.kind() != ErrorKind::WouldBlock).then_some(error);
                    return Poll::Ready(Ok(total));
                }
            }
        }
    }
}

struct OsWriter {
    /// Taken when it is dropped.
    half: Option<OwnedWriteHalf>,
    /// Held by the reader too.
    reader: Arc<()>,
}

impl Drop for OsWriter {
    fn drop(&mut self) {
        // With the reader gone already this is the close of the socket, which says by itself whether something stayed
        // unread (RST) or not (FIN). Otherwise the half says FIN.
        if Arc::strong_count(&self.reader) == 1
            && let Some(half) = self.half.take()
        {
            half.forget();
        }
    }
}

impl OsWriter {
    fn half(&mut self) -> Pin<&mut OwnedWriteHalf> {
        Pin::new(self.half.as_mut().expect("taken only when dropped"))
    }
}

impl RawWriter for OsWriter {
    fn poll_write(&mut self, cx: &mut Context<'_>, list: &mut VecDeque<Bytes>) -> Poll<io::Result<()>> {
        loop {
            while list.front().is_some_and(Bytes::is_empty) {
                list.pop_front();
            }
            if list.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let mut slices = [IoSlice::new(&[]); PIECES_MAX];
            let pieces = list.len().min(PIECES_MAX);
            for (slice, piece) in slices.iter_mut().zip(list.iter()) {
                *slice = IoSlice::new(piece);
            }
            let mut written = ready!(self.half().poll_write_vectored(cx, &slices[..pieces]))?;
            if written == 0 {
                return Poll::Ready(Err(ErrorKind::WriteZero.into()));
            }
            while written > 0 {
                let first = list.front_mut().expect("no more was written than there is");
                if first.len() > written {
                    first.advance(written);
                    break;
                }
                written -= first.len();
                list.pop_front();
            }
        }
    }

    fn shutdown(&mut self) {
        // On a socket this is one system call that never waits; an error means that the connection is gone already.
        drop(self.half().poll_shutdown(&mut Context::from_waker(Waker::noop())));
    }
}

#[expect(clippy::disallowed_types, reason = "this is where the seam's listeners come from")]
struct OsListener {
    listener: tokio::net::TcpListener,
    local: Address,
}

impl RawListener for OsListener {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Connection>> {
        let (stream, peer) = ready!(self.listener.poll_accept(cx))?;
        let local = stream.local_addr()?;
        Poll::Ready(connection(stream, local, peer))
    }

    fn local(&self) -> Address {
        self.local.clone()
    }
}
