//! One direction of a connection, from the writer's hands to the reader's.
//!
//! `write -> unsent -> flights -> received -> read`, and credits back. Invariant: `used` is what lies between the writer and
//! the reader, plus credits on their way; never above the window.

use std::collections::VecDeque;
use std::task::Waker;

use bytes::Bytes;

use crate::heap::{Key, Scheduled};
use crate::inner::{HostId, Inner, Kind};
use crate::net::{ConnId, Net};
use crate::time::nanos;

/// The direction of `conn` in which the end `side` writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PipeId {
    pub conn: ConnId,
    pub side: usize,
}

/// What the network card takes at once when a link has a limit: streams share it in turns of this.
const QUANTUM: usize = 64 * 1024;

/// A piece on its way. An empty one is the FIN.
pub(crate) struct Flight {
    bytes: Bytes,
    depart: u64,
    arrive: u64,
    /// Chance loses it on its way.
    lost: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fin {
    No,
    /// Behind all that is unsent.
    Queued,
    Sent,
}

/// The sender retransmits.
#[derive(Debug)]
pub(crate) struct Recovery {
    tries: u32,
    rto: u64,
    key: Key,
}

pub(crate) struct Pipe {
    pub from: HostId,
    pub to: HostId,
    pub unsent: VecDeque<Bytes>,
    pub fin: Fin,
    pub flights: VecDeque<Flight>,
    /// When this pipe's last quantum will have left.
    card_free: u64,
    last_arrive: u64,
    transmit: Option<Key>,
    deliver: Option<Key>,
    pub received: VecDeque<Bytes>,
    /// The FIN has arrived.
    pub eof: bool,
    pub reader: Option<Waker>,
    pub writer: Option<Waker>,
    used: usize,
    /// When how many bytes of the window come back; sorted.
    credits: VecDeque<(u64, usize)>,
    credit: Option<Key>,
    /// Read, but the acknowledgement was lost.
    lost_credit: usize,
    pub recovery: Option<Recovery>,
    /// The head of the flights was lost: nothing arrives before it is sent again.
    stalled: bool,
}

impl Pipe {
    pub fn new(from: HostId, to: HostId) -> Self {
        Self {
            from,
            to,
            unsent: VecDeque::new(),
            fin: Fin::No,
            flights: VecDeque::new(),
            card_free: 0,
            last_arrive: 0,
            transmit: None,
            deliver: None,
            received: VecDeque::new(),
            eof: false,
            reader: None,
            writer: None,
            used: 0,
            credits: VecDeque::new(),
            credit: None,
            lost_credit: 0,
            recovery: None,
            stalled: false,
        }
    }

    /// Takes pieces from `list` as far as there is room; returns how many bytes.
    pub fn accept(&mut self, now: u64, window: usize, list: &mut VecDeque<Bytes>) -> usize {
        while let Some(&(at, bytes)) = self.credits.front()
            && at <= now
        {
            self.used -= bytes;
            self.credits.pop_front();
        }
        let mut room = window.saturating_sub(self.used);
        let before = room;
        while let Some(first) = list.front_mut() {
            if first.len() <= room {
                room -= first.len();
                let piece = list.pop_front().expect("there is a first piece");
                if !piece.is_empty() {
                    self.unsent.push_back(piece);
                }
            } else if room == 0 {
                break;
            } else {
                self.unsent.push_back(first.split_to(room));
                room = 0;
            }
        }
        self.used += before - room;
        before - room
    }

    /// Moves what has arrived to `into`, at most `max` bytes.
    pub fn take(&mut self, into: &mut VecDeque<Bytes>, max: usize) -> usize {
        let mut room = max;
        while room > 0
            && let Some(first) = self.received.front_mut()
        {
            if first.len() <= room {
                room -= first.len();
                into.extend(self.received.pop_front());
            } else {
                into.push_back(first.split_to(room));
                room = 0;
            }
        }
        max - room
    }

    /// Forgets all that is not with the reader yet, and everything that is armed.
    pub fn silence(&mut self, cancelled: &mut Vec<Key>) -> (VecDeque<Bytes>, VecDeque<Flight>) {
        cancelled.extend(self.transmit.take());
        cancelled.extend(self.deliver.take());
        cancelled.extend(self.credit.take());
        cancelled.extend(self.recovery.take().map(|recovery| recovery.key));
        (std::mem::take(&mut self.unsent), std::mem::take(&mut self.flights))
    }

    /// The sender's machine is gone: what has left goes on its way, nothing follows.
    pub fn orphan(&mut self, now: u64, cancelled: &mut Vec<Key>) -> VecDeque<Bytes> {
        cancelled.extend(self.transmit.take());
        cancelled.extend(self.credit.take());
        cancelled.extend(self.recovery.take().map(|recovery| recovery.key));
        self.flights.retain(|flight| flight.depart <= now);
        std::mem::take(&mut self.unsent)
    }
}

impl Inner {
    /// Sends what a pipe has to send.
    pub fn transmit(&mut self, id: PipeId) {
        let now = self.now;
        let Net { conns, links, .. } = &mut self.net;
        let Some(conn) = conns[id.conn.slot()].get(id.conn) else { return };
        let pipe = &mut conn.pipes[id.side];
        let waits = pipe.stalled || pipe.recovery.as_ref().is_some_and(|recovery| recovery.tries > 0);
        if waits || (pipe.unsent.is_empty() && pipe.fin != Fin::Queued) {
            return;
        }
        let link = links.get(self.streams, &self.hosts, pipe.from, pipe.to);
        let mut room = usize::MAX;
        if link.effective().bytes_per_second.is_some() {
            if pipe.card_free > now {
                if pipe.transmit.is_none() {
                    pipe.transmit = Some(self.heap.push(pipe.card_free, Scheduled::Transmit(id)));
                }
                return;
            }
            room = QUANTUM;
        }
        if let Some((fault, _)) = link.slowed.last() {
            self.faults.hit(*fault);
        }
        let first_new = pipe.flights.len();
        let mut bytes_sent = 0;
        while room > 0
            && let Some(first) = pipe.unsent.front_mut()
        {
            let bytes = if first.len() <= room {
                pipe.unsent.pop_front().expect("there is a first piece")
            } else {
                first.split_to(room)
            };
            room -= bytes.len();
            bytes_sent += bytes.len();
            pipe.flights.push_back(Flight { bytes, depart: 0, arrive: 0, lost: false });
        }
        if pipe.unsent.is_empty() && pipe.fin == Fin::Queued {
            pipe.fin = Fin::Sent;
            pipe.flights.push_back(Flight { bytes: Bytes::new(), depart: 0, arrive: 0, lost: false });
        }
        let depart = link.occupy(now, bytes_sent);
        pipe.card_free = depart;
        let (late, loss) = (link.late.draw(), link.loss.draw());
        let by = late.map_or(0, |(_, by)| by);
        let arrive = depart.saturating_add(link.draw_latency()).saturating_add(by).max(pipe.last_arrive);
        pipe.last_arrive = arrive;
        for flight in pipe.flights.range_mut(first_new..) {
            (flight.depart, flight.arrive, flight.lost) = (depart, arrive, loss.is_some());
        }
        for (fault, _) in late.into_iter().chain(loss) {
            self.faults.hit(fault);
        }
        if !pipe.unsent.is_empty() && pipe.transmit.is_none() {
            pipe.transmit = Some(self.heap.push(pipe.card_free, Scheduled::Transmit(id)));
        }
        if pipe.deliver.is_none() {
            pipe.deliver = Some(self.heap.push(arrive, Scheduled::Deliver(id)));
        }
    }

    /// Sends again what was lost, once it is known to get through. It leaves in one go.
    fn send_again(&mut self, id: PipeId) {
        let now = self.now;
        let Net { conns, links, .. } = &mut self.net;
        let Some(conn) = conns[id.conn.slot()].get(id.conn) else { return };
        let pipe = &mut conn.pipes[id.side];
        if !std::mem::take(&mut pipe.stalled) {
            return;
        }
        let link = links.get(self.streams, &self.hosts, pipe.from, pipe.to);
        let depart = link.occupy(now, pipe.flights.iter().map(|flight| flight.bytes.len()).sum());
        let late = link.late.draw();
        let by = late.map_or(0, |(_, by)| by);
        let arrive = depart.saturating_add(link.draw_latency()).saturating_add(by);
        (pipe.card_free, pipe.last_arrive) = (depart, arrive);
        for flight in &mut pipe.flights {
            (flight.depart, flight.arrive, flight.lost) = (depart, arrive, false);
        }
        if let Some((fault, _)) = late {
            self.faults.hit(fault);
        }
        if pipe.deliver.is_none() {
            pipe.deliver = Some(self.heap.push(arrive, Scheduled::Deliver(id)));
        }
    }

    pub fn transmit_due(&mut self, id: PipeId) {
        let Some(conn) = self.net.get(id.conn) else { return };
        conn.pipes[id.side].transmit = None;
        let host = conn.pipes[id.side].from;
        self.begin(Some(host), Kind::Transmit, 0);
        self.transmit(id);
    }

    /// The head of the flights is due.
    pub fn deliver(&mut self, id: PipeId) {
        let now = self.now;
        let Some(conn) = self.net.get(id.conn) else { return };
        let pipe = &mut conn.pipes[id.side];
        pipe.deliver = None;
        let (from, to) = (pipe.from, pipe.to);
        let Some((depart, lost)) = pipe.flights.front().map(|flight| (flight.depart, flight.lost)) else { return };
        if lost || self.is_lost(from, to, depart) {
            self.begin(Some(to), Kind::Deliver, 0);
            self.lose_head(id, depart);
            return;
        }
        if id.side == 0 {
            self.data_completes_handshake(id.conn);
        }
        let Some(conn) = self.net.get(id.conn) else { return };
        if conn.ends[1 - id.side].is_closed() {
            self.begin(Some(to), Kind::Deliver, 0);
            self.refuse_data(id, depart);
            return;
        }
        let Some(conn) = self.net.get(id.conn) else { return };
        let pipe = &mut conn.pipes[id.side];
        let mut bytes = 0;
        while let Some(first) = pipe.flights.front()
            && first.arrive <= now
            && !first.lost
        {
            let piece = pipe.flights.pop_front().expect("there is a first flight").bytes;
            if piece.is_empty() {
                pipe.eof = true;
            } else {
                bytes += piece.len();
                pipe.received.push_back(piece);
            }
        }
        if let Some(next) = pipe.flights.front() {
            pipe.deliver = Some(self.heap.push(next.arrive, Scheduled::Deliver(id)));
        }
        let reader = pipe.reader.take();
        self.counters.deliveries += 1;
        self.counters.bytes_delivered += bytes as u64;
        self.begin(Some(to), Kind::Deliver, bytes as u64);
        self.wake(reader);
        if self.is_hung(id.conn, 1 - id.side) {
            let hung = self.host(to).net.hung.clone();
            hung.iter().for_each(|(fault, _)| self.faults.hit(*fault));
        }
        if self.drops(to, from) {
            self.start_recovery(id, depart);
        } else {
            self.acknowledged(id);
        }
    }

    /// Data of who opened the connection acknowledges the handshake as well as a bare ACK would.
    fn data_completes_handshake(&mut self, id: ConnId) {
        if let Some(key) = self.net.get(id).and_then(|conn| conn.handshake.take()) {
            self.heap.cancel(key);
            self.enter_backlog(id);
        }
    }

    fn lose_head(&mut self, id: PipeId, depart: u64) {
        if let Some(conn) = self.net.get(id.conn) {
            conn.pipes[id.side].stalled = true;
        }
        self.start_recovery(id, depart);
    }

    /// Data for an end that is no more: its machine answers with RST.
    fn refuse_data(&mut self, id: PipeId, depart: u64) {
        let Some(conn) = self.net.get(id.conn) else { return };
        let (from, to) = (conn.pipes[id.side].from, conn.pipes[id.side].to);
        if self.drops(to, from) {
            self.lose_head(id, depart);
            return;
        }
        let at = self.now + self.latency(to, from);
        self.heap.push(at, Scheduled::Reset(id.conn, id.side));
        self.silence(id);
    }

    /// Drops what is under way and unsent.
    pub fn silence(&mut self, id: PipeId) {
        let Some(conn) = self.net.get(id.conn) else { return };
        let mut cancelled = Vec::new();
        let dropped = conn.pipes[id.side].silence(&mut cancelled);
        conn.pipes[id.side].stalled = false;
        for key in cancelled {
            self.heap.cancel(key);
        }
        drop(dropped);
    }

    /// The sender will wait for an acknowledgement in vain.
    fn start_recovery(&mut self, id: PipeId, depart: u64) {
        let tcp = self.net.tcp;
        let Some(conn) = self.net.get(id.conn) else { return };
        if conn.pipes[id.side].recovery.is_some() || conn.ends[id.side].is_lost() {
            return;
        }
        let (from, to) = (conn.pipes[id.side].from, conn.pipes[id.side].to);
        let round_trip = self.latency(from, to) + self.latency(to, from);
        let rto = nanos(tcp.rto_min).max(2 * round_trip);
        let key = self.heap.push((depart + rto).max(self.now), Scheduled::Retransmit(id));
        if let Some(conn) = self.net.get(id.conn) {
            conn.pipes[id.side].recovery = Some(Recovery { tries: 0, rto, key });
        }
    }

    /// An acknowledgement gets through: it tells all that was lost before.
    fn acknowledged(&mut self, id: PipeId) {
        let Some(conn) = self.net.get(id.conn) else { return };
        let pipe = &mut conn.pipes[id.side];
        if pipe.recovery.is_none() && pipe.lost_credit == 0 {
            return;
        }
        if pipe.stalled {
            return;
        }
        let recovery = pipe.recovery.take();
        let lost = std::mem::take(&mut pipe.lost_credit);
        let (from, to) = (pipe.from, pipe.to);
        if let Some(recovery) = recovery {
            self.heap.cancel(recovery.key);
        }
        if lost > 0 {
            let at = self.now + self.latency(to, from);
            self.give_credit(id, at, lost);
        }
        self.transmit(id);
    }

    pub fn retransmit(&mut self, id: PipeId) {
        let tcp = self.net.tcp;
        let Some(conn) = self.net.get(id.conn) else { return };
        let gone = conn.ends[1 - id.side].is_closed();
        let pipe = &mut conn.pipes[id.side];
        let (from, to, resends) = (pipe.from, pipe.to, pipe.stalled);
        let Some(recovery) = &mut pipe.recovery else { return };
        recovery.tries += 1;
        let tries = recovery.tries;
        self.counters.retransmissions += 1;
        self.begin(Some(from), Kind::Retransmit, u64::from(tries));
        if tries > tcp.retries {
            self.time_out(id.conn, id.side);
            return;
        }
        let there = !self.drops(from, to);
        // The acknowledgement of what is sent again meets its own chance when that arrives.
        let back = !self.is_cut(to, from) && (resends || !self.is_struck(to, from));
        if there && back {
            if gone {
                let at = self.now + self.latency(from, to) + self.latency(to, from);
                self.heap.push(at, Scheduled::Reset(id.conn, id.side));
                self.silence(id);
                return;
            }
            let round_trip = self.latency(from, to) + self.latency(to, from);
            let Some(conn) = self.net.get(id.conn) else { return };
            let pipe = &mut conn.pipes[id.side];
            pipe.recovery = None;
            let lost = std::mem::take(&mut pipe.lost_credit);
            if lost > 0 {
                let at = self.now + round_trip;
                self.give_credit(id, at, lost);
            }
            self.send_again(id);
            self.transmit(id);
            return;
        }
        if there && !gone {
            // The data gets through, its acknowledgement does not.
            self.send_again(id);
        }
        let Some(conn) = self.net.get(id.conn) else { return };
        let Some(recovery) = &mut conn.pipes[id.side].recovery else { return };
        recovery.rto = (recovery.rto * 2).min(nanos(tcp.rto_max));
        let at = self.now + recovery.rto;
        recovery.key = self.heap.push(at, Scheduled::Retransmit(id));
    }

    /// `bytes` of the window come back at `at`.
    fn give_credit(&mut self, id: PipeId, at: u64, bytes: usize) {
        let Some(conn) = self.net.get(id.conn) else { return };
        let pipe = &mut conn.pipes[id.side];
        match pipe.credits.back_mut() {
            Some(last) if last.0 >= at => last.1 += bytes,
            _ => pipe.credits.push_back((at, bytes)),
        }
        self.arm_credit(id);
    }

    /// A writer waits: the next credit becomes an event.
    pub fn arm_credit(&mut self, id: PipeId) {
        let now = self.now;
        let Some(conn) = self.net.get(id.conn) else { return };
        let pipe = &mut conn.pipes[id.side];
        if pipe.writer.is_some()
            && pipe.credit.is_none()
            && let Some(&(at, _)) = pipe.credits.front()
        {
            pipe.credit = Some(self.heap.push(at.max(now), Scheduled::Credit(id)));
        }
        // Nothing is under way whose acknowledgement could tell of lost window updates: only a probe can.
        let silent = pipe.flights.is_empty() && pipe.unsent.is_empty() && pipe.credits.is_empty();
        if silent && pipe.writer.is_some() && pipe.lost_credit > 0 {
            self.start_recovery(id, now);
        }
    }

    pub fn credit(&mut self, id: PipeId) {
        let Some(conn) = self.net.get(id.conn) else { return };
        let pipe = &mut conn.pipes[id.side];
        pipe.credit = None;
        let (host, writer) = (pipe.from, pipe.writer.take());
        self.begin(Some(host), Kind::Credit, 0);
        self.wake(writer);
    }

    /// The reader took `bytes`: tells the writer.
    pub fn consumed(&mut self, id: PipeId, bytes: usize) {
        let now = self.now;
        let Some(conn) = self.net.get(id.conn) else { return };
        if conn.ends[id.side].is_closed() {
            return;
        }
        let (from, to) = (conn.pipes[id.side].from, conn.pipes[id.side].to);
        let cut = self.is_cut(to, from);
        if cut || self.is_struck(to, from) {
            let Some(conn) = self.net.get(id.conn) else { return };
            conn.pipes[id.side].lost_credit += bytes;
            // One update lost among others stops only a writer who waits for it; the next acknowledgement tells all.
            if cut {
                self.start_recovery(id, now);
            } else {
                self.arm_credit(id);
            }
            return;
        }
        let at = now + self.latency(to, from);
        self.give_credit(id, at, bytes);
        self.acknowledged(id);
    }
}
