//! What a process holds of a connection.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use runtime::{Address, Connection, RawReader, RawWriter, ReadHalf, WriteHalf};

use crate::inner::Inner;
use crate::net::end::ConnId;
use crate::net::pipe::PipeId;
use crate::world::World;

/// Both halves of the end `side`; `None` if the connection is gone altogether.
pub(crate) fn connection(world: &World, inner: &mut Inner, conn: ConnId, side: usize) -> Option<Connection> {
    let ends = &inner.net.get(conn)?.ends;
    let places = [(ends[side].host, ends[side].port), (ends[1 - side].host, ends[1 - side].port)];
    let [local, peer] = places.map(|(host, port)| Address { host: Arc::clone(&inner.host(host).name), port });
    Some(Connection {
        reader: ReadHalf(Box::new(Reader { world: world.clone(), conn, side })),
        writer: WriteHalf(Box::new(Writer { world: world.clone(), pipe: PipeId { conn, side } })),
        local,
        peer,
    })
}

struct Reader {
    world: World,
    conn: ConnId,
    side: usize,
}

impl RawReader for Reader {
    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut VecDeque<Bytes>, max: usize) -> Poll<io::Result<usize>> {
        assert!(max > 0, "a read of nothing cannot tell the end of the stream");
        self.world.with(|inner| inner.poll_read(self.conn, self.side, cx, into, max))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.world.with(|inner| inner.let_go(self.conn, self.side, false));
    }
}

struct Writer {
    world: World,
    pipe: PipeId,
}

impl RawWriter for Writer {
    fn poll_write(&mut self, cx: &mut Context<'_>, list: &mut VecDeque<Bytes>) -> Poll<io::Result<()>> {
        while list.front().is_some_and(Bytes::is_empty) {
            list.pop_front();
        }
        if list.is_empty() {
            return Poll::Ready(Ok(()));
        }
        self.world.with(|inner| inner.poll_write(self.pipe, cx, list))
    }

    fn shutdown(&mut self) {
        self.world.with(|inner| inner.shutdown(self.pipe));
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.world.with(|inner| inner.let_go(self.pipe.conn, self.pipe.side, true));
    }
}
