//! Faults of processes and of whole machines: [`ProcessFault`].

use super::FaultId;
use crate::disk::Lose;
use crate::inner::{End, HostId, Inner};

/// What processes and machines do wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProcessFault {
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
}

impl ProcessFault {
    /// Its word.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Kill(_) => "kill",
            Self::Stop(_) => "stop",
            Self::Pause(_) => "pause",
            Self::PowerOff { .. } => "power_off",
        }
    }

    /// What it acts on, as a scenario would say it.
    pub(super) fn target(&self, inner: &Inner) -> String {
        match self {
            Self::Kill(host) | Self::Stop(host) | Self::Pause(host) => inner.names(&[*host]),
            Self::PowerOff { hosts, .. } => inner.names(hosts),
        }
    }
}

impl Inner {
    pub(super) fn apply_process(&mut self, id: FaultId, fault: ProcessFault) {
        match fault {
            ProcessFault::Kill(host) => self.end_by(id, host, End::Killed),
            ProcessFault::Stop(host) => self.end_by(id, host, End::Exited),
            ProcessFault::Pause(host) => {
                if let Some(process) = &self.host(host).process {
                    let start = process.start;
                    self.faults.paused.push((id, start));
                    self.faults.hit(id);
                    self.pause(host);
                }
            }
            ProcessFault::PowerOff { hosts, lose, torn_write } => {
                for host in hosts {
                    let loss = self.power_off(host, lose, torn_write);
                    let report = &mut self.faults.all[id.0 as usize];
                    report.hits += 1;
                    report.losses.push((host, loss));
                }
            }
        }
    }

    pub(super) fn heal_process(&mut self, id: FaultId, fault: ProcessFault) {
        match fault {
            ProcessFault::Pause(host) => {
                let start = self.faults.paused.iter().find(|(fault, _)| *fault == id).map(|(_, start)| *start);
                if start.is_some_and(|start| self.is_running(host, start)) {
                    self.resume(host);
                }
            }
            ProcessFault::Kill(_) | ProcessFault::Stop(_) | ProcessFault::PowerOff { .. } => {}
        }
    }

    fn end_by(&mut self, id: FaultId, host: HostId, end: End) {
        if self.host(host).process.is_some() {
            self.faults.hit(id);
            self.end(host, end, true);
        }
    }
}
