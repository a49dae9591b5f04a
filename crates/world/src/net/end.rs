//! The two ends of a connection: who holds them, and how they end.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::heap::{Key, Scheduled};
use crate::inner::{HostId, Inner, Kind};
use crate::net::pipe::{Fin, Pipe, PipeId};

/// A connection. The generation tells a stale id from the next user of its slot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct ConnId {
    pub index: u32,
    pub generation: u32,
}

impl ConnId {
    pub const fn slot(self) -> usize {
        self.index as usize
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum EndState {
    /// A process holds it.
    Open,
    /// RST or time-out: the kernel has no such connection any more, the process still holds its socket.
    Broken,
    /// The process has let go; the kernel sends what is left.
    Closed,
    /// Its machine is gone.
    Lost,
}

/// One end of a connection.
pub(crate) struct End {
    pub host: HostId,
    /// The process start that holds it.
    pub start: u32,
    pub port: u16,
    pub state: EndState,
    pub reader_held: bool,
    pub writer_held: bool,
    /// To be told once.
    pub error: Option<io::ErrorKind>,
}

impl End {
    pub fn new(host: HostId, start: u32, port: u16) -> Self {
        Self { host, start, port, state: EndState::Open, reader_held: true, writer_held: true, error: None }
    }

    /// Whether data that arrives here finds nobody.
    pub fn is_closed(&self) -> bool {
        self.state != EndState::Open
    }

    pub fn is_lost(&self) -> bool {
        self.state == EndState::Lost
    }

    fn is_let_go(&self) -> bool {
        matches!(self.state, EndState::Closed | EndState::Lost)
    }
}

/// A connection: `ends[0]` opened it, `pipes[i]` carries what `ends[i]` writes.
pub(crate) struct Conn {
    pub ends: [End; 2],
    pub pipes: [Pipe; 2],
    /// The listener that it came through.
    pub listener: u64,
    /// The last part of the handshake is on its way to the listener.
    pub handshake: Option<Key>,
}

impl Conn {
    pub fn new(client: End, server: End, listener: u64) -> Self {
        let pipes = [Pipe::new(client.host, server.host), Pipe::new(server.host, client.host)];
        Self { ends: [client, server], pipes, listener, handshake: None }
    }
}

/// What the process gets of a connection that is no more.
fn no_connection() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

impl Inner {
    pub fn poll_write(&mut self, id: PipeId, cx: &mut Context<'_>, list: &mut VecDeque<Bytes>) -> Poll<io::Result<()>> {
        let (now, window) = (self.now, self.net.tcp.window);
        let Some(conn) = self.net.get(id.conn) else { return Poll::Ready(Err(no_connection())) };
        let end = &mut conn.ends[id.side];
        if let Some(error) = end.error.take() {
            return Poll::Ready(Err(error.into()));
        }
        let pipe = &mut conn.pipes[id.side];
        if end.state != EndState::Open || pipe.fin != Fin::No {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let accepted = pipe.accept(now, window, list);
        let result = if list.is_empty() {
            Poll::Ready(Ok(()))
        } else {
            Self::set_waker(&mut pipe.writer, cx.waker(), &mut self.out.garbage);
            Poll::Pending
        };
        if accepted > 0 {
            self.transmit(id);
        }
        if result.is_pending() {
            self.arm_credit(id);
        }
        result
    }

    /// `side` is the reader's.
    pub fn poll_read(
        &mut self,
        id: ConnId,
        side: usize,
        cx: &mut Context<'_>,
        into: &mut VecDeque<Bytes>,
        max: usize,
    ) -> Poll<io::Result<usize>> {
        let pipe_id = PipeId { conn: id, side: 1 - side };
        if self.is_hung(id, side) {
            if let Some(conn) = self.net.get(id) {
                Self::set_waker(&mut conn.pipes[1 - side].reader, cx.waker(), &mut self.out.garbage);
            }
            return Poll::Pending;
        }
        let Some(conn) = self.net.get(id) else { return Poll::Ready(Err(no_connection())) };
        let end = &mut conn.ends[side];
        let pipe = &mut conn.pipes[1 - side];
        let taken = pipe.take(into, max);
        if taken > 0 {
            self.consumed(pipe_id, taken);
            return Poll::Ready(Ok(taken));
        }
        // As Linux does: the end of the stream comes before an error, and an error is told once.
        if pipe.eof {
            return Poll::Ready(Ok(0));
        }
        if let Some(error) = end.error.take() {
            return Poll::Ready(Err(error.into()));
        }
        if end.state != EndState::Open {
            return Poll::Ready(Ok(0));
        }
        Self::set_waker(&mut pipe.reader, cx.waker(), &mut self.out.garbage);
        Poll::Pending
    }

    /// No more will be written by the end `side`.
    pub fn shutdown(&mut self, id: PipeId) {
        let Some(conn) = self.net.get(id.conn) else { return };
        let pipe = &mut conn.pipes[id.side];
        if conn.ends[id.side].state == EndState::Open && pipe.fin == Fin::No {
            pipe.fin = Fin::Queued;
            self.transmit(id);
        }
    }

    /// A process drops a half.
    pub fn let_go(&mut self, id: ConnId, side: usize, writer: bool) {
        let Some(conn) = self.net.get(id) else { return };
        let end = &mut conn.ends[side];
        if end.is_let_go() {
            return;
        }
        let waker = if writer {
            end.writer_held = false;
            conn.pipes[side].writer.take()
        } else {
            end.reader_held = false;
            conn.pipes[1 - side].reader.take()
        };
        let both = !end.reader_held && !end.writer_held;
        self.out.garbage.extend(waker.map(crate::inner::Garbage::Waker));
        if both {
            self.close(id, side);
        } else if writer {
            self.shutdown(PipeId { conn: id, side });
        }
    }

    /// A process closes its end: FIN behind what is unsent, or RST if something arrived that nobody read.
    pub fn close(&mut self, id: ConnId, side: usize) {
        let Some(conn) = self.net.get(id) else { return };
        if conn.ends[side].is_let_go() {
            return;
        }
        let was_open = conn.ends[side].state == EndState::Open;
        conn.ends[side].state = EndState::Closed;
        let incoming = &mut conn.pipes[1 - side];
        let unread = !incoming.received.is_empty();
        let (here, there) = (incoming.to, incoming.from);
        incoming.received.clear();
        let wakers = [incoming.reader.take(), conn.pipes[side].writer.take()];
        self.out.garbage.extend(wakers.into_iter().flatten().map(crate::inner::Garbage::Waker));
        self.release_port(id, side);
        let pipe = PipeId { conn: id, side };
        if was_open && unread {
            self.silence(pipe);
            if !self.drops(here, there) {
                let at = self.now + self.latency(here, there);
                self.heap.push(at, Scheduled::Reset(id, 1 - side));
            }
        } else if was_open {
            let Some(conn) = self.net.get(id) else { return };
            if conn.pipes[side].fin == Fin::No {
                conn.pipes[side].fin = Fin::Queued;
            }
            self.transmit(pipe);
        }
        self.free_if_done(id);
    }

    /// The end's machine is gone, in silence.
    fn lose(&mut self, id: ConnId, side: usize) {
        let now = self.now;
        let Some(conn) = self.net.get(id) else { return };
        if conn.ends[side].is_lost() {
            return;
        }
        conn.ends[side].state = EndState::Lost;
        conn.pipes[1 - side].received.clear();
        let mut cancelled = Vec::new();
        conn.pipes[side].orphan(now, &mut cancelled);
        let wakers = [conn.pipes[1 - side].reader.take(), conn.pipes[side].writer.take()];
        self.out.garbage.extend(wakers.into_iter().flatten().map(crate::inner::Garbage::Waker));
        for key in cancelled {
            self.heap.cancel(key);
        }
        self.release_port(id, side);
        self.free_if_done(id);
    }

    /// Closes or loses every connection of a process; refuses what waits at its listeners.
    pub fn close_all(&mut self, host: HostId, start: u32, machine_stays: bool) {
        self.close_listeners(host, machine_stays);
        self.forget_attempts(host, start);
        for id in self.net.of_host(host) {
            for side in 0..2 {
                let Some(conn) = self.net.get(id) else { break };
                let end = &conn.ends[side];
                if end.host != host {
                    continue;
                }
                if !machine_stays {
                    self.lose(id, side);
                } else if end.start == start {
                    self.close(id, side);
                }
            }
        }
    }

    fn free_if_done(&mut self, id: ConnId) {
        let Some(conn) = self.net.get(id) else { return };
        if !conn.ends.iter().all(End::is_let_go) {
            return;
        }
        let Some(mut conn) = self.net.remove(id) else { return };
        let mut cancelled = Vec::new();
        for pipe in &mut conn.pipes {
            drop(pipe.silence(&mut cancelled));
        }
        for key in cancelled {
            self.heap.cancel(key);
        }
    }

    /// RST to both ends of every connection that `chosen` takes by the hosts of its ends, who opened it first. How many.
    pub fn reset_where(&mut self, chosen: impl Fn(HostId, HostId) -> bool) -> u64 {
        let now = self.now;
        let mut count = 0;
        for id in self.net.all() {
            let Some(conn) = self.net.get(id) else { continue };
            if !conn.ends.iter().any(|end| end.state == EndState::Open) || !chosen(conn.ends[0].host, conn.ends[1].host)
            {
                continue;
            }
            count += 1;
            for side in 0..2 {
                self.heap.push(now, Scheduled::Reset(id, side));
            }
        }
        count
    }

    /// Whether what arrives at this end is kept from its process: it accepted the connection, and hangs.
    pub fn is_hung(&mut self, id: ConnId, side: usize) -> bool {
        if side == 0 {
            return false;
        }
        let Some(conn) = self.net.get(id) else { return false };
        let (host, start) = (conn.ends[1].host, conn.ends[1].start);
        self.host(host).net.hung.iter().any(|(_, of)| *of == start)
    }

    /// What arrived while a process hung is there for it now.
    pub fn unhang(&mut self, host: HostId) {
        for id in self.net.of_host(host) {
            let Some(conn) = self.net.get(id) else { continue };
            if conn.ends[1].host == host {
                let reader = conn.pipes[0].reader.take();
                self.wake(reader);
            }
        }
    }

    pub fn reset_arrives(&mut self, id: ConnId, side: usize) {
        let Some(conn) = self.net.get(id) else { return };
        let host = conn.ends[side].host;
        self.counters.resets += 1;
        self.begin(Some(host), Kind::Reset, 0);
        let Some(conn) = self.net.get(id) else { return };
        // Linux says EPIPE if the peer's FIN was there first (tcp_reset, CLOSE_WAIT).
        let error = if conn.pipes[1 - side].eof { io::ErrorKind::BrokenPipe } else { io::ErrorKind::ConnectionReset };
        self.break_end(id, side, error);
    }

    /// The sender gives up.
    pub fn time_out(&mut self, id: ConnId, side: usize) {
        self.counters.timeouts += 1;
        self.break_end(id, side, io::ErrorKind::TimedOut);
    }

    fn break_end(&mut self, id: ConnId, side: usize, error: io::ErrorKind) {
        let Some(conn) = self.net.get(id) else { return };
        let end = &mut conn.ends[side];
        let wakers = match end.state {
            EndState::Open => {
                end.state = EndState::Broken;
                end.error = Some(error);
                [conn.pipes[1 - side].reader.take(), conn.pipes[side].writer.take()]
            }
            _ => [None, None],
        };
        self.silence(PipeId { conn: id, side });
        wakers.into_iter().for_each(|waker| self.wake(waker));
    }

    fn release_port(&mut self, id: ConnId, side: usize) {
        let Some(conn) = self.net.get(id) else { return };
        if side == 0 {
            let (host, port) = (conn.ends[0].host, conn.ends[0].port);
            self.host_mut(host).net.ephemeral.remove(&port);
        }
    }
}
