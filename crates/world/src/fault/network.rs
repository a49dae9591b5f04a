//! Faults of links: [`NetworkFault`].

use std::time::Duration;

use super::FaultId;
use crate::inner::{HostId, Inner};
use crate::net::LinkProfile;

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
}

impl NetworkFault {
    /// Its word.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Cut(_) => "cut",
            Self::Isolate(_) => "isolate",
            Self::SlowLink { .. } => "slow_link",
        }
    }

    /// What it acts on, as a scenario would say it.
    pub(super) fn target(&self, inner: &Inner) -> String {
        match self {
            Self::Cut(on) | Self::SlowLink { link: on, .. } => on.describe(inner),
            Self::Isolate(host) => inner.names(&[*host]),
        }
    }
}

impl Link {
    fn describe(&self, inner: &Inner) -> String {
        format!("{} {} {}", inner.names(&self.from), if self.both { "|" } else { "->" }, inner.names(&self.to))
    }
}

impl Inner {
    pub(super) fn apply_network(&mut self, id: FaultId, fault: NetworkFault) {
        match fault {
            NetworkFault::Cut(link) => {
                for (from, to) in link.pairs() {
                    self.net.links.get(self.streams, &self.hosts, from, to).cuts.push(id);
                }
            }
            NetworkFault::Isolate(host) => {
                for (from, to) in self.all_links_of(host) {
                    self.net.links.get(self.streams, &self.hosts, from, to).cuts.push(id);
                }
                self.net.links.isolated.push((id, host));
            }
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
        }
    }

    pub(super) fn heal_network(&mut self, id: FaultId, fault: NetworkFault) {
        match fault {
            NetworkFault::Cut(link) => self.uncut(id, link.pairs()),
            NetworkFault::Isolate(host) => {
                self.net.links.isolated.retain(|(fault, _)| *fault != id);
                let pairs = self.all_links_of(host);
                self.uncut(id, pairs);
            }
            NetworkFault::SlowLink { link, .. } => {
                for (from, to) in link.pairs() {
                    self.net.links.get(self.streams, &self.hosts, from, to).slowed.retain(|(fault, _)| *fault != id);
                }
            }
        }
    }

    fn uncut(&mut self, id: FaultId, pairs: Vec<(HostId, HostId)>) {
        let now = self.now;
        for (from, to) in pairs {
            let link = self.net.links.get(self.streams, &self.hosts, from, to);
            let was = link.cuts.len();
            link.cuts.retain(|fault| *fault != id);
            if link.cuts.is_empty() && was > 0 {
                link.healed_at = now;
            }
        }
    }

    fn all_links_of(&self, host: HostId) -> Vec<(HostId, HostId)> {
        let others = (0..self.hosts.len() as u32).map(HostId).filter(|other| *other != host);
        others.flat_map(|other| [(host, other), (other, host)]).collect()
    }
}
