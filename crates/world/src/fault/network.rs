//! Faults of links and connections: [`NetworkFault`].
//!
//! What loses or holds back some of what a link carries is drawn where it leaves (`net::link`); here is how each begins
//! and ends, and the steps of those that come and go by themselves ([`Inner::fault_step`]).

use std::time::Duration;

use runtime::{Observation, cause::Cause};

use super::FaultId;
use crate::heap::{Key, Scheduled};
use crate::inner::{HostId, Inner, Kind};
use crate::net::LinkProfile;
use crate::streams::below;
use crate::time::nanos;

/// Links between hosts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// Senders.
    pub from: Vec<HostId>,
    /// Receivers.
    pub to: Vec<HostId>,
    /// `|` instead of `->`: the other way too.
    pub both: bool,
}

impl Link {
    /// `a | b`
    pub fn between(a: HostId, b: HostId) -> Self {
        Self { from: vec![a], to: vec![b], both: true }
    }

    /// `a -> b`
    pub fn one_way(a: HostId, b: HostId) -> Self {
        Self { from: vec![a], to: vec![b], both: false }
    }

    /// Every pair of different hosts, by sender and receiver.
    fn pairs(&self) -> Vec<(HostId, HostId)> {
        let mut pairs = std::collections::BTreeSet::new();
        for &from in &self.from {
            for &to in self.to.iter().filter(|to| **to != from) {
                pairs.insert((from, to));
                if self.both {
                    pairs.insert((to, from));
                }
            }
        }
        pairs.into_iter().collect()
    }
}

/// What links do wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NetworkFault {
    /// `cut`: silence on the links. What is sent is sent again, with back-off, until it gets through or is given up.
    Cut(Link),
    /// `isolate`: the host is cut from all others.
    Isolate(HostId),
    /// `slow_link`.
    SlowLink {
        /// Where.
        link: Link,
        /// The latency instead of the link's own.
        latency: Option<Duration>,
        /// The jitter instead of the link's own.
        jitter: Option<Duration>,
        /// The bandwidth instead of the link's own, in Mbit/s.
        mbit_s: Option<u64>,
    },
    /// `loss`: some of what is sent gets lost, data, acknowledgements and handshakes alike, and is sent again.
    Loss {
        /// Where.
        link: Link,
        /// How much, in parts per million.
        share: u32,
    },
    /// `flap`: the link is cut, whole, cut again.
    Flap {
        /// Where.
        link: Link,
        /// How long it is cut, and how long it is whole then.
        every: Duration,
    },
    /// `delay_messages`: some of what is sent arrives late, and what follows it in its stream not before.
    DelayMessages {
        /// Where.
        link: Link,
        /// How much, in parts per million.
        share: u32,
        /// How late.
        by: Duration,
    },
    /// `reset_connections`: RST to both ends of every connection there, now. Nothing to heal.
    ResetConnections(ResetOf),
    /// `refuse_connections`: a new connection from another host is refused, as if nobody listened.
    RefuseConnections(HostId),
    /// `swizzle`: in the first half of its time the hosts are cut from all others one after the other, in the second half
    /// they come back, in another order.
    Swizzle {
        /// Which.
        hosts: Vec<HostId>,
        /// Its time.
        lasts: Duration,
    },
    /// `hang`: the process accepts and never answers. What arrives on connections that it accepted is taken by the kernel's
    /// buffers, acknowledged as far as they have room, and does not reach the process; what it had read before, it may
    /// still answer. Its own connections to others and its timers go on, so that others believe that it is well.
    Hang(HostId),
}

/// Whose connections are reset.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ResetOf {
    /// Those of a link; `a -> b`: those that a opened to b.
    Link(Link),
    /// Those between a host and any other.
    Host(HostId),
}

/// A fault that comes and goes by itself.
pub(crate) struct Steps {
    id: FaultId,
    what: Plan,
    /// The events to come.
    keys: Vec<Key>,
}

#[derive(Clone)]
enum Plan {
    /// Cut at each even step, whole at each odd one.
    Flap(Link, u64),
    /// At each step a host is cut off, or back.
    Swizzle(Vec<(HostId, bool)>),
}

impl NetworkFault {
    /// Its word.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Cut(_) => "cut",
            Self::Isolate(_) => "isolate",
            Self::SlowLink { .. } => "slow_link",
            Self::Loss { .. } => "loss",
            Self::Flap { .. } => "flap",
            Self::DelayMessages { .. } => "delay_messages",
            Self::ResetConnections(_) => "reset_connections",
            Self::RefuseConnections(_) => "refuse_connections",
            Self::Swizzle { .. } => "swizzle",
            Self::Hang(_) => "hang",
        }
    }

    /// What it acts on, as a scenario would say it.
    pub(super) fn target(&self, inner: &Inner) -> String {
        match self {
            Self::Cut(on)
            | Self::SlowLink { link: on, .. }
            | Self::Loss { link: on, .. }
            | Self::Flap { link: on, .. }
            | Self::DelayMessages { link: on, .. }
            | Self::ResetConnections(ResetOf::Link(on)) => on.describe(inner),
            Self::Isolate(host)
            | Self::ResetConnections(ResetOf::Host(host))
            | Self::RefuseConnections(host)
            | Self::Hang(host) => inner.names(&[*host]),
            Self::Swizzle { hosts, .. } => inner.names(hosts),
        }
    }
}

impl Link {
    fn describe(&self, inner: &Inner) -> String {
        // One set on both sides: every pair of it.
        if self.both && self.from == self.to && self.from.len() > 1 {
            return match self.from[..] {
                [one, two] => format!("{} | {}", inner.names(&[one]), inner.names(&[two])),
                _ => format!("among {}", inner.names(&self.from)),
            };
        }
        format!("{} {} {}", inner.names(&self.from), if self.both { "|" } else { "->" }, inner.names(&self.to))
    }
}

impl Inner {
    pub(super) fn apply_network(&mut self, id: FaultId, fault: NetworkFault) {
        match fault {
            NetworkFault::Cut(link) => self.cut(id, link.pairs()),
            NetworkFault::Isolate(host) => self.cut_off(id, host),
            NetworkFault::SlowLink { link, latency, jitter, mbit_s } => {
                for (from, to) in link.pairs() {
                    let link = self.net.links.get(self.streams, &self.hosts, from, to);
                    let own = *link.effective();
                    let slow = LinkProfile {
                        latency: latency.unwrap_or(own.latency),
                        jitter: jitter.unwrap_or(own.jitter),
                        bytes_per_second: mbit_s.map(|mbit| mbit * 125_000).or(own.bytes_per_second),
                    };
                    link.slowed.push((id, slow));
                }
            }
            NetworkFault::Loss { link, share } => {
                for (from, to) in link.pairs() {
                    self.net.links.get(self.streams, &self.hosts, from, to).loss.begin(id, share, 0);
                }
            }
            NetworkFault::DelayMessages { link, share, by } => {
                for (from, to) in link.pairs() {
                    self.net.links.get(self.streams, &self.hosts, from, to).late.begin(id, share, nanos(by));
                }
            }
            NetworkFault::Flap { link, every } => {
                let every = nanos(every).max(1);
                self.cut(id, link.pairs());
                let key = self.heap.push(self.now.saturating_add(every), Scheduled::Fault(id, 1));
                self.faults.steps.push(Steps { id, what: Plan::Flap(link, every), keys: vec![key] });
            }
            NetworkFault::Swizzle { hosts, lasts } => self.plan_swizzle(id, hosts, nanos(lasts)),
            NetworkFault::ResetConnections(of) => {
                let count = match of {
                    ResetOf::Host(host) => self.reset_where(|a, b| a != b && (a == host || b == host)),
                    ResetOf::Link(link) => {
                        let pairs = link.pairs();
                        self.reset_where(|a, b| pairs.contains(&(a, b)))
                    }
                };
                (0..count).for_each(|_| self.faults.hit(id));
            }
            NetworkFault::RefuseConnections(host) => self.host_mut(host).net.refusing.push(id),
            NetworkFault::Hang(host) => {
                if let Some(start) = self.host(host).process.as_ref().map(|process| process.start) {
                    self.host_mut(host).net.hung.push((id, start));
                }
            }
        }
    }

    /// Draws when each host is cut off and when it is back.
    fn plan_swizzle(&mut self, id: FaultId, hosts: Vec<HostId>, lasts: u64) {
        let mut rng = self.streams.get(&format!("swizzle/{}", self.faults.label(id)));
        let count = hosts.len() as u64;
        let cuts = shuffled(hosts, &mut rng);
        let mut heals = shuffled(cuts.clone(), &mut rng);
        if heals == cuts && count > 1 {
            heals.rotate_left(1);
        }
        let half = lasts / 2;
        let mut steps = Vec::new();
        let mut keys = Vec::new();
        for (list, start, cut) in [(cuts, 0, true), (heals, half, false)] {
            for (index, host) in list.into_iter().enumerate() {
                // Each in its own part of the half, so that the order is the drawn one.
                let slot = half / count;
                let at = self.now + start + slot * index as u64 + below(&mut rng, slot.max(1));
                keys.push(self.heap.push(at, Scheduled::Fault(id, steps.len() as u32)));
                steps.push((host, cut));
            }
        }
        self.faults.steps.push(Steps { id, what: Plan::Swizzle(steps), keys });
    }

    /// The next step of a fault that comes and goes.
    pub fn fault_step(&mut self, id: FaultId, step: u32) {
        let cause = Cause(self.begin(None, Kind::Fault, u64::from(step)));
        let Some(plan) = self.faults.steps.iter().find(|steps| steps.id == id).map(|steps| steps.what.clone()) else {
            return;
        };
        match plan {
            Plan::Flap(link, every) => {
                if step.is_multiple_of(2) {
                    self.cut(id, link.pairs());
                } else {
                    self.uncut(id, link.pairs());
                }
                let key = self.heap.push(self.now.saturating_add(every), Scheduled::Fault(id, step.wrapping_add(1)));
                if let Some(steps) = self.faults.steps.iter_mut().find(|steps| steps.id == id) {
                    steps.keys = vec![key];
                }
            }
            Plan::Swizzle(steps) => {
                let (host, cut) = steps[step as usize];
                let name = std::sync::Arc::clone(&self.host(host).name);
                let what = if cut {
                    self.cut_off(id, host);
                    format!("{name} is cut off")
                } else {
                    self.put_back(id, host);
                    format!("{name} is back")
                };
                self.observe(None, cause, Observation::Note { what });
            }
        }
    }

    pub(super) fn heal_network(&mut self, id: FaultId, fault: NetworkFault) {
        match fault {
            NetworkFault::Cut(link) => self.uncut(id, link.pairs()),
            NetworkFault::Isolate(host) => self.put_back(id, host),
            NetworkFault::SlowLink { link, .. } => {
                for (from, to) in link.pairs() {
                    self.net.links.get(self.streams, &self.hosts, from, to).slowed.retain(|(fault, _)| *fault != id);
                }
            }
            NetworkFault::Loss { link, .. } => {
                for (from, to) in link.pairs() {
                    self.net.links.get(self.streams, &self.hosts, from, to).loss.end(id);
                }
            }
            NetworkFault::DelayMessages { link, .. } => {
                for (from, to) in link.pairs() {
                    self.net.links.get(self.streams, &self.hosts, from, to).late.end(id);
                }
            }
            NetworkFault::Flap { link, .. } => {
                self.end_steps(id);
                self.uncut(id, link.pairs());
            }
            NetworkFault::Swizzle { hosts, .. } => {
                self.end_steps(id);
                for host in hosts {
                    if self.net.links.isolated.contains(&(id, host)) {
                        self.put_back(id, host);
                    }
                }
            }
            NetworkFault::ResetConnections(_) => {}
            NetworkFault::RefuseConnections(host) => self.host_mut(host).net.refusing.retain(|fault| *fault != id),
            NetworkFault::Hang(host) => {
                self.host_mut(host).net.hung.retain(|(fault, _)| *fault != id);
                self.unhang(host);
            }
        }
    }

    fn end_steps(&mut self, id: FaultId) {
        let Some(index) = self.faults.steps.iter().position(|steps| steps.id == id) else { return };
        for key in self.faults.steps.swap_remove(index).keys {
            self.heap.cancel(key);
        }
    }

    fn cut(&mut self, id: FaultId, pairs: Vec<(HostId, HostId)>) {
        for (from, to) in pairs {
            self.net.links.get(self.streams, &self.hosts, from, to).cuts.push(id);
        }
    }

    fn uncut(&mut self, id: FaultId, pairs: Vec<(HostId, HostId)>) {
        let now = self.now;
        for (from, to) in pairs {
            let link = self.net.links.get(self.streams, &self.hosts, from, to);
            // Once only: a swizzle may have cut off both ends.
            let Some(index) = link.cuts.iter().position(|fault| *fault == id) else { continue };
            link.cuts.remove(index);
            if link.cuts.is_empty() {
                link.healed_at = now;
            }
        }
    }

    /// Cuts a host from all others, those included that come later.
    fn cut_off(&mut self, id: FaultId, host: HostId) {
        let pairs = self.all_links_of(host);
        self.cut(id, pairs);
        self.net.links.isolated.push((id, host));
    }

    fn put_back(&mut self, id: FaultId, host: HostId) {
        self.net.links.isolated.retain(|isolated| *isolated != (id, host));
        let pairs = self.all_links_of(host);
        self.uncut(id, pairs);
    }

    fn all_links_of(&self, host: HostId) -> Vec<(HostId, HostId)> {
        let others = (0..self.hosts.len() as u32).map(HostId).filter(|other| *other != host);
        others.flat_map(|other| [(host, other), (other, host)]).collect()
    }
}

/// The list in a drawn order.
fn shuffled(mut list: Vec<HostId>, rng: &mut rand_chacha::ChaCha8Rng) -> Vec<HostId> {
    for index in (1..list.len()).rev() {
        list.swap(index, below(rng, index as u64 + 1) as usize);
    }
    list
}
