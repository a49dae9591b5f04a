//! From a scenario's action, its hosts resolved, to the world's faults: a function for each family.

use std::time::Duration;

use runtime::Observation;
use world::{ClockFault, DiskFault, Drive, Fault, Glob, Link, NetworkFault, ProcessFault, ResetOf};

use crate::scenario::{Action, ClockAction, DiskAction, FaultLine, LinkTerm, NetworkAction, ProcessAction, Slower};

use super::super::cluster::disk_of;
use super::{Active, Driver};

/// Both sides of a link, as host names.
pub(super) type Sides = (Vec<String>, Vec<String>);

impl Driver<'_> {
    /// Makes it happen to these hosts or links now. `index` is what the fault will have in [`Driver::faults`].
    pub(super) fn apply(&mut self, line: &FaultLine, hosts: &[String], links: Option<&Sides>, index: usize) -> Active {
        let mut down = Vec::new();
        let faults = match &line.action {
            Action::Network(action) => self.network(action, line, hosts, links),
            Action::Process(action) => self.process(action, line, hosts, index, &mut down),
            Action::Disk(action) => self.disk(action, hosts),
            Action::Clock(action) => self.clock(action, hosts),
            Action::Heal(_) => Vec::new(),
        };
        let ids = faults.into_iter().map(|fault| self.world.apply_as(line.label.clone(), fault)).collect();
        Active { ids, down, ended: false, counted: false, within_budget: line.within_budget }
    }

    fn network(&self, action: &NetworkAction, line: &FaultLine, hosts: &[String], links: Option<&Sides>) -> Vec<Fault> {
        let faults = match (action, links) {
            (NetworkAction::Cut(term), Some(sides)) => vec![NetworkFault::Cut(self.link(&term.value, sides))],
            (NetworkAction::SlowLink { link: term, latency, jitter, mbit_s }, Some(sides)) => {
                vec![NetworkFault::SlowLink {
                    link: self.link(&term.value, sides),
                    latency: latency.map(Duration::from_nanos),
                    jitter: jitter.map(Duration::from_nanos),
                    mbit_s: *mbit_s,
                }]
            }
            (NetworkAction::Isolate(_), _) => self.ids(hosts).into_iter().map(NetworkFault::Isolate).collect(),
            (NetworkAction::Loss { link: term, share }, Some(sides)) => {
                vec![NetworkFault::Loss { link: self.link(&term.value, sides), share: *share }]
            }
            (NetworkAction::Flap { link: term, every }, Some(sides)) => {
                let link = self.link(&term.value, sides);
                vec![NetworkFault::Flap { link, every: Duration::from_nanos(*every) }]
            }
            (NetworkAction::DelayMessages { link: term, share, by }, Some(sides)) => {
                let link = self.link(&term.value, sides);
                vec![NetworkFault::DelayMessages { link, share: *share, by: Duration::from_nanos(*by) }]
            }
            (NetworkAction::ResetLink(term), Some(sides)) => {
                vec![NetworkFault::ResetConnections(ResetOf::Link(self.link(&term.value, sides)))]
            }
            (NetworkAction::ResetHosts(_), _) => {
                let of = self.ids(hosts).into_iter().map(ResetOf::Host);
                of.map(NetworkFault::ResetConnections).collect()
            }
            (NetworkAction::RefuseConnections(_), _) => {
                self.ids(hosts).into_iter().map(NetworkFault::RefuseConnections).collect()
            }
            (NetworkAction::Swizzle(_), _) => {
                let lasts = Duration::from_nanos(line.lasts.unwrap_or_default());
                vec![NetworkFault::Swizzle { hosts: self.ids(hosts), lasts }]
            }
            (NetworkAction::Hang(_), _) => self.ids(hosts).into_iter().map(NetworkFault::Hang).collect(),
            (
                NetworkAction::Cut(_)
                | NetworkAction::SlowLink { .. }
                | NetworkAction::Loss { .. }
                | NetworkAction::Flap { .. }
                | NetworkAction::DelayMessages { .. }
                | NetworkAction::ResetLink(_),
                None,
            ) => Vec::new(),
        };
        faults.into_iter().map(Fault::from).collect()
    }

    fn process(
        &mut self,
        action: &ProcessAction,
        line: &FaultLine,
        hosts: &[String],
        index: usize,
        down: &mut Vec<String>,
    ) -> Vec<Fault> {
        let faults = match action {
            ProcessAction::Pause(_) => self.ids(hosts).into_iter().map(ProcessFault::Pause).collect(),
            ProcessAction::Kill(_) => {
                *down = hosts.to_vec();
                self.ids(hosts).into_iter().map(ProcessFault::Kill).collect()
            }
            ProcessAction::PowerOff { lose, torn_write, .. } => {
                *down = hosts.to_vec();
                vec![ProcessFault::PowerOff { hosts: self.ids(hosts), lose: *lose, torn_write: *torn_write }]
            }
            ProcessAction::Roll { pause, .. } => {
                self.roll(index, hosts, *pause);
                vec![ProcessFault::Roll(self.ids(hosts))]
            }
            ProcessAction::CrashAt { effect, side, nth, .. } => {
                hosts.iter().for_each(|host| self.arm(index, host, line.restart_after));
                let of = |host| ProcessFault::CrashAt { host, effect: *effect, side: *side, nth: *nth };
                self.ids(hosts).into_iter().map(of).collect()
            }
            ProcessAction::Wipe(_) => {
                *down = hosts.to_vec();
                self.ids(hosts).into_iter().map(ProcessFault::Wipe).collect()
            }
            ProcessAction::Twin(_) => {
                let mut faults = Vec::new();
                for host in hosts {
                    if let (Some(of), Some(on)) = (self.cluster.id(host), self.add_twin(index, host)) {
                        faults.push(ProcessFault::Twin { of, on });
                    }
                }
                faults
            }
            ProcessAction::Stop(_) => {
                *down = hosts.to_vec();
                let what = format!("stop {}", hosts.join(", "));
                self.world.observe(None, Observation::FaultBegan { label: line.label.clone(), what });
                for host in hosts {
                    self.cluster.ask_to_stop(host);
                    self.stopping.push((host.clone(), index));
                }
                Vec::new()
            }
        };
        faults.into_iter().map(Fault::from).collect()
    }

    fn disk(&self, action: &DiskAction, hosts: &[String]) -> Vec<Fault> {
        let mut faults = Vec::new();
        for host in hosts {
            let Some(id) = self.cluster.id(host) else { continue };
            let disk = Drive::all_of(id);
            faults.push(match action {
                DiskAction::Slow { read, write, fsync, .. } => {
                    let own = disk_of(self.scenario, host);
                    DiskFault::Slow {
                        disk,
                        read: slower(read.as_ref(), own.read),
                        write: slower(write.as_ref(), own.write),
                        fsync: slower(fsync.as_ref(), own.sync),
                        x: 1,
                    }
                }
                DiskAction::Stall(_) => DiskFault::Stall { disk },
                DiskAction::ReadError(_, of) => DiskFault::ReadError { disk, which: *of },
                DiskAction::WriteError(_, of) => DiskFault::WriteError { disk, which: *of },
                DiskAction::SyncError(_, of) => DiskFault::SyncError { disk, which: *of },
                DiskAction::SyncLie(_) => DiskFault::SyncLie { disk },
                DiskAction::Full(_, after) => DiskFault::Full { disk, after: *after },
                DiskAction::ShortWrite(_, of) => DiskFault::ShortWrite { disk, which: *of },
                DiskAction::LostRename(_) => DiskFault::LostRename { disk },
                DiskAction::BitRot { files, share, .. } => {
                    DiskFault::BitRot { disk, files: Glob::new(files.as_str()), share: *share }
                }
                DiskAction::MisdirectedWrite(_, of) => DiskFault::MisdirectedWrite { disk, which: *of },
                DiskAction::ZeroTail(_) => DiskFault::ZeroTail { disk },
            });
        }
        faults.into_iter().map(Fault::from).collect()
    }

    fn clock(&self, action: &ClockAction, hosts: &[String]) -> Vec<Fault> {
        let fault = |host| match action {
            ClockAction::Offset { by, .. } => ClockFault::Offset { host, by: *by },
            ClockAction::Drift { ppm, .. } => ClockFault::Drift { host, ppm: *ppm },
            ClockAction::Jump { by, .. } => ClockFault::Jump { host, by: *by },
            ClockAction::Freeze(_) => ClockFault::Freeze(host),
        };
        self.ids(hosts).into_iter().map(fault).map(Fault::from).collect()
    }

    fn ids(&self, hosts: &[String]) -> Vec<world::HostId> {
        hosts.iter().filter_map(|host| self.cluster.id(host)).collect()
    }

    fn link(&self, term: &LinkTerm, sides: &Sides) -> Link {
        Link { from: self.ids(&sides.0), to: self.ids(&sides.1), both: !term.one_way }
    }
}

/// What an operation takes that took `own`.
fn slower(slower: Option<&Slower>, own: Duration) -> Option<Duration> {
    slower.map(|slower| match *slower {
        Slower::Takes(nanos) => Duration::from_nanos(nanos),
        Slower::Times(thousandths) => {
            let nanos = own.as_nanos() * u128::from(thousandths) / 1_000;
            Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
        }
    })
}
