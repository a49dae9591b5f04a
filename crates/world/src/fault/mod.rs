//! What can go wrong, in the words of the table in `docs/world.md`: [`Fault`], a file for each family, and what became of it
//! ([`FaultReport`]).
//!
//! A family's file has its enum, how it begins and how it ends. What a fault then does to each operation stands where
//! the operation is: in `net`, `disk`, `clock`, `process`.

mod clock;
mod disk;
mod network;
mod process;
mod vocabulary;

use runtime::{Observation, cause::Cause};

pub(crate) use self::process::CrashPoint;
pub use self::{
    clock::ClockFault,
    disk::{DiskFault, Drive},
    network::{Link, NetworkFault, ResetOf},
    process::ProcessFault,
    vocabulary::{VOCABULARY, Word},
};
use crate::disk::PowerLoss;
use crate::inner::{HostId, Inner, Kind};
use crate::time::Time;
use crate::world::World;

/// A fault that was applied.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FaultId(pub u32);

/// A fault. [`World::apply`] makes it so, [`World::heal`] ends it where it lasts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Of links.
    Network(NetworkFault),
    /// Of processes and machines.
    Process(ProcessFault),
    /// Of disks.
    Disk(DiskFault),
    /// Of clocks.
    Clock(ClockFault),
}

impl Fault {
    /// Its word.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Network(fault) => fault.word(),
            Self::Process(fault) => fault.word(),
            Self::Disk(fault) => fault.word(),
            Self::Clock(fault) => fault.word(),
        }
    }
}

impl From<NetworkFault> for Fault {
    fn from(fault: NetworkFault) -> Self {
        Self::Network(fault)
    }
}

impl From<ProcessFault> for Fault {
    fn from(fault: ProcessFault) -> Self {
        Self::Process(fault)
    }
}

impl From<DiskFault> for Fault {
    fn from(fault: DiskFault) -> Self {
        Self::Disk(fault)
    }
}

impl From<ClockFault> for Fault {
    fn from(fault: ClockFault) -> Self {
        Self::Clock(fault)
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
    /// How often it had an effect: flights, acknowledgements and handshakes it lost, slowed or kept from a process,
    /// connections it reset or refused, operations it slowed, processes it ended or paused, files that lost data, readings
    /// of a wrong clock. 0: it did not matter.
    pub hits: u64,
    /// What was lost, by host.
    pub losses: Vec<(HostId, PowerLoss)>,
}

#[derive(Default)]
pub(crate) struct Faults {
    all: Vec<FaultReport>,
    /// The process start that a pause concerned.
    paused: Vec<(FaultId, u32)>,
    /// Faults that come and go by themselves.
    steps: Vec<network::Steps>,
    /// Clocks that are wrong now.
    wrong_clocks: Vec<clock::WrongClock>,
}

impl Faults {
    pub fn hit(&mut self, id: FaultId) {
        if let Some(report) = self.all.get_mut(id.0 as usize) {
            report.hits += 1;
        }
    }

    fn label(&self, id: FaultId) -> &str {
        self.all.get(id.0 as usize).map_or("", |report| &report.label)
    }

    /// The word of a fault.
    pub fn word(&self, id: FaultId) -> &'static str {
        self.all.get(id.0 as usize).map_or("", |report| report.fault.word())
    }
}

impl World {
    /// Makes a fault happen now.
    pub fn apply(&self, fault: impl Into<Fault>) -> FaultId {
        let fault = fault.into();
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
        self.with(|inner| {
            inner.count_readings();
            inner.faults.all.clone()
        })
    }

    /// Counts effects of a fault that is carried out from outside.
    pub fn count_hits(&self, id: FaultId, hits: u64) {
        self.with(|inner| (0..hits).for_each(|_| inner.faults.hit(id)));
    }

    /// One fault.
    pub fn fault(&self, id: FaultId) -> FaultReport {
        self.with(|inner| {
            inner.count_readings();
            inner.faults.all[id.0 as usize].clone()
        })
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
            Fault::Network(fault) => self.apply_network(id, fault),
            Fault::Process(fault) => self.apply_process(id, fault),
            Fault::Disk(fault) => self.apply_disk(id, fault),
            Fault::Clock(fault) => self.apply_clock(id, fault),
        }
        id
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
            Fault::Network(fault) => self.heal_network(id, fault),
            Fault::Process(fault) => self.heal_process(id, fault),
            Fault::Disk(fault) => self.heal_disk(id, fault),
            Fault::Clock(fault) => self.heal_clock(id, fault),
        }
    }

    /// A fault as a scenario would say it.
    fn describe(&self, fault: &Fault) -> String {
        let target = match fault {
            Fault::Network(fault) => fault.target(self),
            Fault::Process(fault) => fault.target(self),
            Fault::Disk(fault) => fault.target(self),
            Fault::Clock(fault) => fault.target(self),
        };
        format!("{} {target}", fault.word())
    }

    /// The names of hosts, in braces if there are several.
    fn names(&self, hosts: &[HostId]) -> String {
        let names: Vec<&str> = hosts.iter().map(|host| &*self.host(*host).name).collect();
        if let [name] = names[..] { name.to_owned() } else { format!("{{{}}}", names.join(", ")) }
    }
}
