//! Listening and connecting: a handshake of three flights.
//!
//! `SYN ->`, `<- SYN-ACK or RST`, `ACK ->`: connecting costs the client one round trip, and the listener has the connection
//! half a round trip later. A SYN that is lost, or finds a full backlog, is sent again with back-off.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use runtime::{Address, Connection, RawListener};

use crate::executor::BoxFuture;
use crate::heap::Scheduled;
use crate::inner::{Garbage, HostId, Inner, Kind};
use crate::net::end::{Conn, ConnId, End};
use crate::net::stream::connection;
use crate::process::{Process, dead};
use crate::time::nanos;
use crate::world::World;

/// A try to connect.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct AttemptId(pub u64);

/// The answer to a SYN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ConnectOutcome {
    Accepted(ConnId),
    Refused,
    TimedOut,
}

pub(crate) struct Attempt {
    from: HostId,
    start: u32,
    local_port: u16,
    to: HostId,
    port: u16,
    /// SYNs sent again.
    tries: u32,
    /// When the first SYN left.
    began: u64,
    /// When the last SYN left.
    depart: u64,
    waker: Option<Waker>,
    result: Option<io::Result<ConnId>>,
}

/// A port at which somebody listens.
pub(crate) struct Listening {
    /// Tells this listener from the next one at its port.
    number: u64,
    start: u32,
    /// Handshakes under way.
    half_open: usize,
    queue: VecDeque<ConnId>,
    waker: Option<Waker>,
}

const EPHEMERAL: std::ops::RangeInclusive<u16> = 32_768..=60_999;

/// Listens on behalf of `process`.
pub(crate) fn listen(process: &Process, at: &Address) -> io::Result<Box<dyn RawListener>> {
    let (host, start) = (process.host, process.start);
    process.world.with(|inner| {
        if !inner.is_running(host, start) {
            return Err(dead());
        }
        let state = inner.host_mut(host);
        let everywhere = matches!(&*at.host, "" | "0.0.0.0" | "127.0.0.1" | "localhost");
        if !everywhere && at.host != state.name {
            return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, format!("{} is not {}", at.host, state.name)));
        }
        let port = match at.port {
            0 => free_port(&mut state.net).ok_or(io::ErrorKind::AddrInUse)?,
            port => port,
        };
        if state.net.listeners.contains_key(&port) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        state.net.next_listener += 1;
        let number = state.net.next_listener;
        let listening = Listening { number, start, half_open: 0, queue: VecDeque::new(), waker: None };
        state.net.listeners.insert(port, listening);
        let local = Address { host: Arc::clone(&state.name), port };
        Ok(Box::new(SimListener { world: process.world.clone(), host, local, number }) as Box<dyn RawListener>)
    })
}

/// Connects on behalf of `process`.
pub(crate) fn connect(process: &Process, to: &Address) -> BoxFuture<io::Result<Connection>> {
    let (host, start) = (process.host, process.start);
    let id = process.world.with(|inner| {
        if !inner.is_running(host, start) {
            return Err(dead());
        }
        let target = match &*to.host {
            "" | "0.0.0.0" | "127.0.0.1" | "localhost" => host,
            name => *inner.by_name.get(name).ok_or_else(|| {
                io::Error::new(io::ErrorKind::NotFound, format!("failed to look up address: no host {name}"))
            })?,
        };
        let local_port = free_port(&mut inner.host_mut(host).net).ok_or(io::ErrorKind::AddrNotAvailable)?;
        inner.host_mut(host).net.ephemeral.insert(local_port);
        inner.net.next_attempt += 1;
        let id = AttemptId(inner.net.next_attempt);
        let attempt = Attempt {
            from: host,
            start,
            local_port,
            to: target,
            port: to.port,
            tries: 0,
            began: inner.now,
            depart: inner.now,
            waker: None,
            result: None,
        };
        inner.net.attempts.insert(id.0, attempt);
        let at = inner.now + inner.latency(host, target);
        inner.heap.push(at, Scheduled::Syn(id));
        Ok(id)
    });
    match id {
        Ok(id) => Box::pin(Connecting { world: process.world.clone(), id }),
        Err(error) => Box::pin(std::future::ready(Err(error))),
    }
}

/// The next port that nobody uses.
fn free_port(net: &mut super::HostNet) -> Option<u16> {
    for _ in EPHEMERAL {
        let port = net.next_ephemeral.max(*EPHEMERAL.start());
        net.next_ephemeral = if port == *EPHEMERAL.end() { *EPHEMERAL.start() } else { port + 1 };
        if !net.ephemeral.contains(&port) && !net.listeners.contains_key(&port) {
            return Some(port);
        }
    }
    None
}

/// Ends when the handshake does. Dropped, it gives up.
struct Connecting {
    world: World,
    id: AttemptId,
}

impl Future for Connecting {
    type Output = io::Result<Connection>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let world = &self.world;
        world.with(|inner| {
            let Some(attempt) = inner.net.attempts.get_mut(&self.id.0) else { return Poll::Ready(Err(dead())) };
            let Some(result) = attempt.result.take() else {
                Inner::set_waker(&mut attempt.waker, cx.waker(), &mut inner.out.garbage);
                return Poll::Pending;
            };
            inner.net.attempts.remove(&self.id.0);
            Poll::Ready(result.and_then(|conn| connection(world, inner, conn, 0).ok_or_else(dead)))
        })
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        self.world.with(|inner| inner.give_up(self.id));
    }
}

impl Inner {
    fn give_up(&mut self, id: AttemptId) {
        let Some(attempt) = self.net.attempts.remove(&id.0) else { return };
        match attempt.result {
            // Made, but nobody took it: closed as any socket.
            Some(Ok(conn)) => self.close(conn, 0),
            _ => drop(self.host_mut(attempt.from).net.ephemeral.remove(&attempt.local_port)),
        }
        self.out.garbage.extend(attempt.waker.map(Garbage::Waker));
    }

    pub fn forget_attempts(&mut self, host: HostId, start: u32) {
        let of_process = |attempt: &Attempt| attempt.from == host && attempt.start == start;
        let ids: Vec<u64> =
            self.net.attempts.iter().filter(|(_, attempt)| of_process(attempt)).map(|(id, _)| *id).collect();
        for id in ids {
            self.give_up(AttemptId(id));
        }
    }

    pub fn syn_arrives(&mut self, id: AttemptId) {
        let Some(attempt) = self.net.attempts.get(&id.0) else { return };
        let (from, to, port, depart) = (attempt.from, attempt.to, attempt.port, attempt.depart);
        let client = End::new(from, attempt.start, attempt.local_port);
        self.begin(Some(to), Kind::Syn, u64::from(port));
        let backlog = self.net.tcp.backlog;
        // The SYN, or the answer to it.
        if self.is_lost(from, to, depart) || self.is_struck(from, to) || self.drops(to, from) {
            self.syn_unanswered(id);
            return;
        }
        let refusing = if from == to { Vec::new() } else { self.host(to).net.refusing.clone() };
        if !refusing.is_empty() {
            refusing.iter().for_each(|fault| self.faults.hit(*fault));
            let at = self.now + self.latency(to, from);
            self.heap.push(at, Scheduled::Answer(id, ConnectOutcome::Refused));
            return;
        }
        let outcome = match self.host_mut(to).net.listeners.get_mut(&port) {
            None => ConnectOutcome::Refused,
            Some(listening) if listening.half_open + listening.queue.len() > backlog => {
                self.syn_unanswered(id);
                return;
            }
            Some(listening) => {
                listening.half_open += 1;
                let (server, number) = (End::new(to, listening.start, port), listening.number);
                ConnectOutcome::Accepted(self.net.insert(Conn::new(client, server, number)))
            }
        };
        let at = self.now + self.latency(to, from);
        self.heap.push(at, Scheduled::Answer(id, outcome));
    }

    fn syn_unanswered(&mut self, id: AttemptId) {
        let tcp = self.net.tcp;
        let Some(attempt) = self.net.attempts.get_mut(&id.0) else { return };
        let wait = nanos(tcp.syn_rto) << attempt.tries.saturating_sub(tcp.syn_linear).min(30);
        let next = attempt.depart + wait;
        let (from, to) = (attempt.from, attempt.to);
        // Both as Linux has it: so many tries, or so long as they would take with back-off from the first on.
        let patience = nanos(tcp.syn_rto).saturating_mul((2 << tcp.syn_retries.min(30)) - 1);
        if attempt.tries >= tcp.syn_linear + tcp.syn_retries || next - attempt.began >= patience {
            self.heap.push(next, Scheduled::Answer(id, ConnectOutcome::TimedOut));
            return;
        }
        attempt.tries += 1;
        attempt.depart = next;
        self.counters.retransmissions += 1;
        let at = next + self.latency(from, to);
        self.heap.push(at, Scheduled::Syn(id));
    }

    pub fn answer_arrives(&mut self, id: AttemptId, outcome: ConnectOutcome) {
        let Some(attempt) = self.net.attempts.get_mut(&id.0) else {
            // The client is gone: its machine answers the SYN-ACK with RST, and the handshake is forgotten.
            if let ConnectOutcome::Accepted(conn) = outcome {
                self.forget_half_open(conn);
            }
            return;
        };
        let (from, to, port) = (attempt.from, attempt.to, attempt.local_port);
        let waker = attempt.waker.take();
        attempt.result = Some(match outcome {
            ConnectOutcome::Accepted(conn) => Ok(conn),
            ConnectOutcome::Refused => Err(io::ErrorKind::ConnectionRefused.into()),
            ConnectOutcome::TimedOut => Err(io::ErrorKind::TimedOut.into()),
        });
        self.begin(Some(from), Kind::Answer, 0);
        match outcome {
            ConnectOutcome::Accepted(conn) => {
                self.counters.connections += 1;
                let at = self.now + self.latency(from, to);
                let key = self.heap.push(at, Scheduled::Established(conn, 0));
                if let Some(conn) = self.net.get(conn) {
                    conn.handshake = Some(key);
                }
            }
            _ => drop(self.host_mut(from).net.ephemeral.remove(&port)),
        }
        self.wake(waker);
    }

    fn forget_half_open(&mut self, id: ConnId) {
        if let Some(listening) = self.listening_of(id) {
            listening.half_open -= 1;
        }
        drop(self.net.remove(id));
    }

    fn listening_of(&mut self, id: ConnId) -> Option<&mut Listening> {
        let conn = self.net.get(id)?;
        let (host, port, number) = (conn.ends[1].host, conn.ends[1].port, conn.listener);
        self.host_mut(host).net.listeners.get_mut(&port).filter(|listening| listening.number == number)
    }

    pub fn established(&mut self, id: ConnId, tries: u32) {
        let Some(conn) = self.net.get(id) else { return };
        conn.handshake = None;
        let (from, to) = (conn.ends[0].host, conn.ends[1].host);
        self.begin(Some(to), Kind::Established, 0);
        if self.drops(from, to) {
            // The ACK is lost: the listener's machine sends its SYN-ACK again (`tcp_synack_retries` 5), then forgets.
            // Data that gets through before says the same as the ACK.
            if tries < 5 {
                let at = self.now + (nanos(self.net.tcp.syn_rto) << tries);
                let key = self.heap.push(at, Scheduled::Established(id, tries + 1));
                if let Some(conn) = self.net.get(id) {
                    conn.handshake = Some(key);
                }
            } else {
                if let Some(listening) = self.listening_of(id) {
                    listening.half_open -= 1;
                }
                self.close(id, 1);
            }
            return;
        }
        self.enter_backlog(id);
    }

    /// The handshake is complete: the connection waits to be accepted.
    pub fn enter_backlog(&mut self, id: ConnId) {
        let Some(listening) = self.listening_of(id) else {
            self.refuse(id);
            return;
        };
        listening.half_open -= 1;
        listening.queue.push_back(id);
        let waker = listening.waker.take();
        self.wake(waker);
    }

    /// The listener has gone: RST to the client.
    fn refuse(&mut self, id: ConnId) {
        let Some(conn) = self.net.get(id) else { return };
        let (from, to) = (conn.ends[0].host, conn.ends[1].host);
        if !self.drops(to, from) {
            let at = self.now + self.latency(to, from);
            self.heap.push(at, Scheduled::Reset(id, 0));
        }
        let Some(conn) = self.net.get(id) else { return };
        conn.pipes[1].fin = super::pipe::Fin::Sent;
        self.close(id, 1);
    }

    pub fn close_listeners(&mut self, host: HostId, machine_stays: bool) {
        let listeners = std::mem::take(&mut self.host_mut(host).net.listeners);
        for (_, listening) in listeners {
            self.close_listening(listening, machine_stays);
        }
    }

    fn close_listening(&mut self, listening: Listening, machine_stays: bool) {
        self.out.garbage.extend(listening.waker.map(Garbage::Waker));
        if machine_stays {
            listening.queue.into_iter().for_each(|conn| self.refuse(conn));
        }
    }
}

struct SimListener {
    world: World,
    host: HostId,
    local: Address,
    number: u64,
}

impl SimListener {
    fn listening<'a>(&self, inner: &'a mut Inner) -> Option<&'a mut Listening> {
        let listening = inner.host_mut(self.host).net.listeners.get_mut(&self.local.port);
        listening.filter(|listening| listening.number == self.number)
    }
}

impl RawListener for SimListener {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Connection>> {
        self.world.with(|inner| {
            loop {
                let Some(listening) = self.listening(inner) else { return Poll::Ready(Err(dead())) };
                let Some(conn) = listening.queue.pop_front() else {
                    let mut slot = listening.waker.take();
                    Inner::set_waker(&mut slot, cx.waker(), &mut inner.out.garbage);
                    if let Some(listening) = self.listening(inner) {
                        listening.waker = slot;
                    }
                    return Poll::Pending;
                };
                if let Some(connection) = connection(&self.world, inner, conn, 1) {
                    return Poll::Ready(Ok(connection));
                }
            }
        })
    }

    fn local(&self) -> Address {
        self.local.clone()
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        self.world.with(|inner| {
            if self.listening(inner).is_some()
                && let Some(listening) = inner.host_mut(self.host).net.listeners.remove(&self.local.port)
            {
                inner.close_listening(listening, true);
            }
        });
    }
}
