//! What can go wrong, in the words of the table in `docs/world.md`.

use std::time::Duration;

use runtime::{Observation, cause::Cause};

use crate::disk::{Lose, PowerLoss, SlowDisk};
use crate::inner::{End, HostId, Inner, Kind};
use crate::net::LinkProfile;
use crate::time::Time;
use crate::world::World;

/// A fault that was applied.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FaultId(pub u32);

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

/// A fault. [`World::apply`] makes it so, [`World::heal`] ends it where it lasts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
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
    /// `kill`: the process exits at once; its sockets close, the page cache stays. Nothing to heal: start it again.
    Kill(HostId),
    /// `stop`: the process has been asked to end, and has; what is left of it goes. Nothing to heal: start it again.
    Stop(HostId),
    /// `pause`: the process stands still, its machine goes on; timers fire after.
    Pause(HostId),
    /// `power_off`: the hosts are silent from now on, and unsynced data is lost. Nothing to heal: start them again.
    PowerOff {
        /// Which.
        hosts: Vec<HostId>,
        /// What is lost.
        lose: Lose,
        /// The unit that a drive writes whole, in bytes: what is under way tears between two of them.
        torn_write: Option<u64>,
    },
    /// `slow_disk`.
    SlowDisk {
        /// Whose.
        host: HostId,
        /// Which of its disks; all if none is named.
        device: Option<String>,
        /// What a read takes instead.
        read: Option<Duration>,
        /// What a write takes instead.
        write: Option<Duration>,
        /// What a sync takes instead.
        fsync: Option<Duration>,
        /// What all this takes times more.
        x: u32,
    },
}

/// A row of the table of faults.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Word {
    /// The word in a scenario.
    pub word: &'static str,
    /// The issue that brings it; `A` is here.
    pub issue: &'static str,
}

const fn word(word: &'static str, issue: &'static str) -> Word {
    Word { word, issue }
}

/// Every word of the table, in its order. Those of issue `A` are the variants of [`Fault`].
pub const VOCABULARY: &[Word] = &[
    word("cut", "A"),
    word("isolate", "A"),
    word("slow_link", "A"),
    word("loss", "B"),
    word("flap", "B"),
    word("delay_messages", "B"),
    word("reset_connections", "B"),
    word("refuse_connections", "B"),
    word("swizzle", "B"),
    word("kill", "A"),
    word("stop", "A"),
    word("roll", "B"),
    word("pause", "A"),
    word("hang", "B"),
    word("slow_cpu", "F"),
    word("crash_at", "B"),
    word("power_off", "A"),
    word("wipe", "B"),
    word("twin", "B"),
    word("slow_disk", "A"),
    word("stall_disk", "B"),
    word("read_error", "B"),
    word("write_error", "B"),
    word("fsync_error", "B"),
    word("fsync_lie", "B"),
    word("disk_full", "B"),
    word("short_write", "B"),
    word("lost_rename", "B"),
    word("bit_rot", "B"),
    word("misdirected_write", "B"),
    word("zero_tail", "B"),
    word("clock_offset", "B"),
    word("clock_drift", "B"),
    word("clock_jump", "B"),
    word("clock_freeze", "B"),
    word("create_topic", "C"),
    word("delete_topic", "C"),
    word("recreate_topic", "C"),
    word("alter_config", "C"),
    word("elect_leaders", "C"),
    word("reassign", "later"),
    word("add_voter", "later"),
    word("remove_voter", "later"),
    word("unclean_election", "later"),
];

impl Fault {
    /// Its word.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Cut(_) => "cut",
            Self::Isolate(_) => "isolate",
            Self::SlowLink { .. } => "slow_link",
            Self::Kill(_) => "kill",
            Self::Stop(_) => "stop",
            Self::Pause(_) => "pause",
            Self::PowerOff { .. } => "power_off",
            Self::SlowDisk { .. } => "slow_disk",
        }
    }
}

/// What became of a fault.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FaultReport {
    /// Which.
    pub id: FaultId,
    /// What it is called in reports.
    pub label: String,
    /// What it was.
    pub fault: Fault,
    /// When it began.
    pub began: Time,
    /// When it was healed.
    pub ended: Option<Time>,
    /// How often it had an effect: flights, acknowledgements and handshakes it lost or slowed, operations it slowed,
    /// processes it ended or paused, files that lost data. 0: it did not matter.
    pub hits: u64,
    /// What was lost, by host.
    pub losses: Vec<(HostId, PowerLoss)>,
}

#[derive(Default)]
pub(crate) struct Faults {
    all: Vec<FaultReport>,
    /// The process start that a pause concerned.
    paused: Vec<(FaultId, u32)>,
}

impl Faults {
    pub fn hit(&mut self, id: FaultId) {
        if let Some(report) = self.all.get_mut(id.0 as usize) {
            report.hits += 1;
        }
    }
}

impl Faults {
    /// What slows a disk.
    pub fn of_disk(&self, host: HostId, name: &str) -> Vec<(FaultId, SlowDisk)> {
        let mut slowed = Vec::new();
        for report in self.all.iter().filter(|report| report.ended.is_none()) {
            if let Fault::SlowDisk { host: of, device, read, write, fsync, x } = &report.fault
                && *of == host
                && device.as_deref().is_none_or(|device| device == name)
            {
                let slow = SlowDisk { read: *read, write: *write, sync: *fsync, x: (*x).max(1) };
                slowed.push((report.id, slow));
            }
        }
        slowed
    }
}

impl World {
    /// Makes a fault happen now.
    pub fn apply(&self, fault: Fault) -> FaultId {
        let label = fault.word().to_owned();
        self.apply_as(label, fault)
    }

    /// Makes a fault happen now, under a name for reports.
    pub fn apply_as(&self, label: String, fault: Fault) -> FaultId {
        self.with(|inner| inner.apply(label, fault))
    }

    /// Ends a fault that lasts. Does nothing if it is over.
    pub fn heal(&self, id: FaultId) {
        self.with(|inner| inner.heal(id));
    }

    /// Every fault so far.
    pub fn faults(&self) -> Vec<FaultReport> {
        self.with(|inner| inner.faults.all.clone())
    }

    /// One fault.
    pub fn fault(&self, id: FaultId) -> FaultReport {
        self.with(|inner| inner.faults.all[id.0 as usize].clone())
    }
}

impl Inner {
    fn apply(&mut self, label: String, fault: Fault) -> FaultId {
        let id = FaultId(self.faults.all.len() as u32);
        let kind = VOCABULARY.iter().position(|word| word.word == fault.word()).unwrap_or_default();
        let cause = Cause(self.begin(None, Kind::Fault, kind as u64));
        let what = self.describe(&fault);
        self.observe(None, cause, Observation::FaultBegan { label: label.clone(), what });
        let began = Time(self.now);
        let report = FaultReport { id, label, fault: fault.clone(), began, ended: None, hits: 0, losses: Vec::new() };
        self.faults.all.push(report);
        match fault {
            Fault::Cut(link) => {
                for (from, to) in link.pairs() {
                    self.net.links.get(self.streams, &self.hosts, from, to).cuts.push(id);
                }
            }
            Fault::Isolate(host) => {
                for (from, to) in self.all_links_of(host) {
                    self.net.links.get(self.streams, &self.hosts, from, to).cuts.push(id);
                }
                self.net.links.isolated.push((id, host));
            }
            Fault::SlowLink { link, latency, jitter, mbit_s } => {
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
            Fault::Kill(host) => self.end_by(id, host, End::Killed),
            Fault::Stop(host) => self.end_by(id, host, End::Exited),
            Fault::Pause(host) => {
                if let Some(process) = &self.host(host).process {
                    let start = process.start;
                    self.faults.paused.push((id, start));
                    self.faults.hit(id);
                    self.pause(host);
                }
            }
            Fault::PowerOff { hosts, lose, torn_write } => {
                for host in hosts {
                    let loss = self.power_off(host, lose, torn_write);
                    let report = &mut self.faults.all[id.0 as usize];
                    report.hits += 1;
                    report.losses.push((host, loss));
                }
            }
            Fault::SlowDisk { host, device, read, write, fsync, x } => {
                let slow = SlowDisk { read, write, sync: fsync, x: x.max(1) };
                // A disk that is first used later finds its faults itself.
                for (name, of_host) in &mut self.host_mut(host).devices {
                    if device.as_deref().is_none_or(|device| device == &**name) {
                        of_host.slowed.push((id, slow));
                    }
                }
            }
        }
        id
    }

    fn end_by(&mut self, id: FaultId, host: HostId, end: End) {
        if self.host(host).process.is_some() {
            self.faults.hit(id);
            self.end(host, end, true);
        }
    }

    fn heal(&mut self, id: FaultId) {
        let now = self.now;
        let Some(report) = self.faults.all.get_mut(id.0 as usize) else { return };
        if report.ended.is_some() {
            return;
        }
        report.ended = Some(Time(now));
        let (fault, label) = (report.fault.clone(), report.label.clone());
        let cause = Cause(self.begin(None, Kind::Healed, u64::from(id.0)));
        self.observe(None, cause, Observation::FaultEnded { label });
        match fault {
            Fault::Cut(link) => self.uncut(id, link.pairs()),
            Fault::Isolate(host) => {
                self.net.links.isolated.retain(|(fault, _)| *fault != id);
                let pairs = self.all_links_of(host);
                self.uncut(id, pairs);
            }
            Fault::SlowLink { link, .. } => {
                for (from, to) in link.pairs() {
                    self.net.links.get(self.streams, &self.hosts, from, to).slowed.retain(|(fault, _)| *fault != id);
                }
            }
            Fault::Pause(host) => {
                let start = self.faults.paused.iter().find(|(fault, _)| *fault == id).map(|(_, start)| *start);
                if start.is_some_and(|start| self.is_running(host, start)) {
                    self.resume(host);
                }
            }
            Fault::SlowDisk { host, .. } => {
                for device in self.host_mut(host).devices.values_mut() {
                    device.slowed.retain(|(fault, _)| *fault != id);
                }
            }
            Fault::Kill(_) | Fault::Stop(_) | Fault::PowerOff { .. } => {}
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

    /// A fault as a scenario would say it.
    fn describe(&self, fault: &Fault) -> String {
        let names = |hosts: &[HostId]| {
            let names: Vec<&str> = hosts.iter().map(|host| &*self.host(*host).name).collect();
            if let [name] = names[..] { name.to_owned() } else { format!("{{{}}}", names.join(", ")) }
        };
        let link =
            |link: &Link| format!("{} {} {}", names(&link.from), if link.both { "|" } else { "->" }, names(&link.to));
        let word = fault.word();
        match fault {
            Fault::Cut(on) | Fault::SlowLink { link: on, .. } => format!("{word} {}", link(on)),
            Fault::PowerOff { hosts, .. } => format!("{word} {}", names(hosts)),
            Fault::SlowDisk { host, device: Some(device), .. } => format!("{word} {}:{device}", names(&[*host])),
            Fault::Isolate(host)
            | Fault::Kill(host)
            | Fault::Stop(host)
            | Fault::Pause(host)
            | Fault::SlowDisk { host, .. } => format!("{word} {}", names(&[*host])),
        }
    }
}
