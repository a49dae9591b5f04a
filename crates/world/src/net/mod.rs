//! TCP between simulated hosts, as streams.
//!
//! A connection is two [`pipe`]s, one each way. What a process writes is taken as far as the window has room, leaves through
//! the [`link`] (bandwidth, latency, cuts) as a flight and arrives as one event. Acknowledgements are not events: credits
//! for the window are a list that is looked at when a writer needs room. Only what goes wrong costs more: a flight or an
//! acknowledgement lost in a cut puts its pipe into recovery, with TCP's back-off.
//!
//! Deliberately absent: packets, congestion windows, Nagle and delayed acknowledgements; and fast retransmission: what is
//! lost is sent again when the retransmission timer says so, which is the worst that real TCP does.

mod connect;
mod end;
mod link;
mod pipe;
mod stream;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::fault::FaultId;
use crate::inner::{HostId, Inner};

pub(crate) use connect::{AttemptId, ConnectOutcome, connect, listen};
pub(crate) use end::{Conn, ConnId};
pub use link::LinkProfile;
pub(crate) use link::Links;
pub(crate) use pipe::PipeId;

/// TCP's constants. The defaults are Linux's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TcpProfile {
    /// Bytes that a writer may be ahead of the reader: send and receive buffer together.
    pub window: usize,
    /// The first retransmission comes after this, or twice the round trip if that is longer.
    pub rto_min: Duration,
    /// The time between two retransmissions doubles up to this.
    pub rto_max: Duration,
    /// After so many retransmissions the connection is given up (`tcp_retries2`).
    pub retries: u32,
    /// A SYN is sent again after this (RFC 6298).
    pub syn_rto: Duration,
    /// So many times at that interval (`tcp_syn_linear_timeouts`, Linux 6.5 and later; 0 before) ..
    pub syn_linear: u32,
    /// .. and then so many times more, the interval doubling (`tcp_syn_retries`).
    pub syn_retries: u32,
    /// Connections that may wait to be accepted, but for one (listen(2); Linux takes one more than it was told).
    pub backlog: usize,
}

impl Default for TcpProfile {
    fn default() -> Self {
        Self {
            window: 1 << 20,
            rto_min: Duration::from_millis(200),
            rto_max: Duration::from_secs(120),
            retries: 15,
            syn_rto: Duration::from_secs(1),
            syn_linear: 4,
            syn_retries: 6,
            backlog: 1024,
        }
    }
}

/// All connections and links.
pub(crate) struct Net {
    pub conns: Vec<Slot>,
    free: Vec<u32>,
    pub links: Links,
    pub attempts: BTreeMap<u64, connect::Attempt>,
    pub next_attempt: u64,
    pub tcp: TcpProfile,
}

/// A place for a connection, used again and again.
pub(crate) struct Slot {
    generation: u32,
    conn: Option<Box<Conn>>,
}

impl Slot {
    pub fn get(&mut self, id: ConnId) -> Option<&mut Conn> {
        if self.generation == id.generation { self.conn.as_deref_mut() } else { None }
    }
}

/// A host's ports.
#[derive(Default)]
pub(crate) struct HostNet {
    pub listeners: BTreeMap<u16, connect::Listening>,
    /// Ports of connections that were opened from here.
    pub ephemeral: BTreeSet<u16>,
    pub next_ephemeral: u16,
    pub next_listener: u64,
    /// Faults that refuse every new connection from other hosts.
    pub refusing: Vec<FaultId>,
    /// Faults that keep what arrives at accepted connections from their process, and which start of it they concern.
    pub hung: Vec<(FaultId, u32)>,
}

impl Net {
    pub fn new(link: LinkProfile, tcp: TcpProfile) -> Self {
        Self {
            conns: Vec::new(),
            free: Vec::new(),
            links: Links::new(link),
            attempts: BTreeMap::new(),
            next_attempt: 0,
            tcp,
        }
    }

    pub fn insert(&mut self, conn: Conn) -> ConnId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.conns.push(Slot { generation: 0, conn: None });
            self.conns.len() as u32 - 1
        });
        let slot = &mut self.conns[index as usize];
        slot.conn = Some(Box::new(conn));
        ConnId { index, generation: slot.generation }
    }

    pub fn get(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.conns.get_mut(id.slot())?.get(id)
    }

    pub fn remove(&mut self, id: ConnId) -> Option<Box<Conn>> {
        let slot = self.conns.get_mut(id.slot())?;
        if slot.generation != id.generation {
            return None;
        }
        let conn = slot.conn.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.index);
        Some(conn)
    }

    /// The connections that have an end on `host`.
    pub fn of_host(&self, host: HostId) -> Vec<ConnId> {
        self.select(|conn| conn.ends.iter().any(|end| end.host == host))
    }

    /// All connections.
    pub fn all(&self) -> Vec<ConnId> {
        self.select(|_| true)
    }

    fn select(&self, wanted: impl Fn(&Conn) -> bool) -> Vec<ConnId> {
        let mut list = Vec::new();
        for (index, slot) in self.conns.iter().enumerate() {
            if slot.conn.as_deref().is_some_and(&wanted) {
                list.push(ConnId { index: index as u32, generation: slot.generation });
            }
        }
        list
    }
}

impl Inner {
    /// Whether a flight that departed at `depart` and is due now is lost on its way.
    pub fn is_lost(&mut self, from: HostId, to: HostId, depart: u64) -> bool {
        if !self.hosts[to.index()].up {
            return true;
        }
        let link = self.net.links.get(self.streams, &self.hosts, from, to);
        if link.cuts.is_empty() && depart >= link.healed_at {
            return false;
        }
        for fault in &link.cuts {
            self.faults.hit(*fault);
        }
        true
    }

    /// Whether nothing gets from one host to the other at this moment.
    pub fn is_cut(&mut self, from: HostId, to: HostId) -> bool {
        let now = self.now;
        self.is_lost(from, to, now)
    }

    /// Whether chance loses what leaves now.
    pub fn is_struck(&mut self, from: HostId, to: HostId) -> bool {
        let struck = self.net.links.get(self.streams, &self.hosts, from, to).loss.draw();
        if let Some((fault, _)) = struck {
            self.faults.hit(fault);
        }
        struck.is_some()
    }

    /// Whether a segment without data (of a handshake, an acknowledgement, an RST) that leaves now gets lost.
    pub fn drops(&mut self, from: HostId, to: HostId) -> bool {
        self.is_cut(from, to) || self.is_struck(from, to)
    }

    /// Latency without jitter.
    pub fn latency(&mut self, from: HostId, to: HostId) -> u64 {
        self.net.links.get(self.streams, &self.hosts, from, to).latency()
    }

    pub fn set_link(&mut self, from: HostId, to: HostId, profile: LinkProfile) {
        self.net.links.get(self.streams, &self.hosts, from, to).profile = profile;
    }
}
