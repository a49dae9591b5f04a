//! Faults of processes and of whole machines: [`ProcessFault`].

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use runtime::{EffectPoint, Observation, Side, cause::Cause};

use super::FaultId;
use crate::disk::{Device, Lose};
use crate::inner::{End, HostId, Inner, Kind};

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
    /// `roll`: the processes have been asked to end one after the other, each started again before the next; whoever carries
    /// it out counts them ([`World::count_hits`](crate::World::count_hits)).
    Roll(Vec<HostId>),
    /// `crash_at`: the process that runs on the host, or the next one, ends between two effects of a machine, as if it had
    /// been killed. Healing it calls off what has not happened yet.
    CrashAt {
        /// Where.
        host: HostId,
        /// At which effect.
        effect: EffectPoint,
        /// On which side of it.
        side: Side,
        /// The how-manieth from now, from 1.
        nth: u32,
    },
    /// `wipe`: the process is killed, and all disks of the host are empty. Nothing to heal: start it again.
    Wipe(HostId),
    /// `twin`: the disks of one host are copied to another, as a process there would read them; what the other had is gone.
    /// Whoever started a process there ends it.
    Twin {
        /// Whose disks.
        of: HostId,
        /// The other machine. No process runs there.
        on: HostId,
    },
}

/// A `crash_at` that has not happened yet.
pub(crate) struct CrashPoint {
    fault: FaultId,
    effect: EffectPoint,
    side: Side,
    /// How many more times the effect must come, this one included. Invariant: > 0.
    left: u32,
}

impl ProcessFault {
    /// Its word.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Kill(_) => "kill",
            Self::Stop(_) => "stop",
            Self::Pause(_) => "pause",
            Self::PowerOff { .. } => "power_off",
            Self::Roll(_) => "roll",
            Self::CrashAt { .. } => "crash_at",
            Self::Wipe(_) => "wipe",
            Self::Twin { .. } => "twin",
        }
    }

    /// What it acts on, as a scenario would say it.
    pub(super) fn target(&self, inner: &Inner) -> String {
        match self {
            Self::Kill(host) | Self::Stop(host) | Self::Pause(host) | Self::Wipe(host) => inner.names(&[*host]),
            Self::PowerOff { hosts, .. } | Self::Roll(hosts) => inner.names(hosts),
            Self::CrashAt { host, effect, side, nth } => {
                let side = if *side == Side::Before { "before" } else { "after" };
                format!("{} {side} {} #{nth}", inner.names(&[*host]), effect.name())
            }
            Self::Twin { of, on } => format!("{} on {}", inner.names(&[*of]), inner.names(&[*on])),
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
            // Each host's stop counts.
            ProcessFault::Roll(_) => {}
            ProcessFault::CrashAt { host, effect, side, nth } => {
                let state = self.host_mut(host);
                state.crash_points.push(CrashPoint { fault: id, effect, side, left: nth.max(1) });
                if let Some(process) = &state.process {
                    process.armed.store(true, Relaxed);
                }
            }
            ProcessFault::Wipe(host) => self.wipe(id, host),
            ProcessFault::Twin { of, on } => self.copy_disks(id, of, on),
        }
    }

    /// Whether the process of `host` ends here. If so, it has.
    pub fn crashes_at(&mut self, host: HostId, effect: EffectPoint, side: Side) -> bool {
        let points = &mut self.host_mut(host).crash_points;
        let mut due = None;
        for (index, point) in points.iter_mut().enumerate() {
            if (point.effect, point.side) == (effect, side) {
                point.left -= 1;
                if point.left == 0 && due.is_none() {
                    due = Some(index);
                }
                point.left = point.left.max(1);
            }
        }
        let Some(index) = due else { return false };
        let fault = points.remove(index).fault;
        self.faults.hit(fault);
        self.end(host, End::Killed, true);
        true
    }

    fn wipe(&mut self, id: FaultId, host: HostId) {
        let had = self.host(host).devices.values().any(|device| device.names.files().next().is_some());
        if had || self.host(host).process.is_some() {
            self.faults.hit(id);
        }
        self.end(host, End::Killed, true);
        self.host_mut(host).devices.values_mut().for_each(Device::wipe);
        let cause = Cause(self.begin(Some(host), Kind::Wiped, 0));
        self.observe(Some(host), cause, Observation::DiskReplaced);
    }

    fn copy_disks(&mut self, id: FaultId, of: HostId, on: HostId) {
        assert!(self.host(on).process.is_none(), "a process runs on {}", self.host(on).name);
        self.host_mut(on).devices.values_mut().for_each(Device::wipe);
        let disks: Vec<_> =
            self.host(of).devices.iter().map(|(name, device)| (Arc::clone(name), device.contents())).collect();
        let now = self.now;
        for (name, files) in disks {
            let profile = self.host(of).devices[&name].profile;
            let device = self.device_mut(on, &name);
            device.profile = profile;
            files.into_iter().for_each(|(path, content)| device.put(now, &path, content));
        }
        self.faults.hit(id);
        let cause = Cause(self.begin(Some(on), Kind::Wiped, 1));
        self.observe(Some(on), cause, Observation::DiskReplaced);
    }

    pub(super) fn heal_process(&mut self, id: FaultId, fault: ProcessFault) {
        match fault {
            ProcessFault::Pause(host) => {
                let start = self.faults.paused.iter().find(|(fault, _)| *fault == id).map(|(_, start)| *start);
                if start.is_some_and(|start| self.is_running(host, start)) {
                    self.resume(host);
                }
            }
            ProcessFault::CrashAt { host, .. } => {
                let state = self.host_mut(host);
                state.crash_points.retain(|point| point.fault != id);
                if let (Some(process), true) = (&state.process, state.crash_points.is_empty()) {
                    process.armed.store(false, Relaxed);
                }
            }
            ProcessFault::Kill(_)
            | ProcessFault::Stop(_)
            | ProcessFault::PowerOff { .. }
            | ProcessFault::Roll(_)
            | ProcessFault::Wipe(_)
            | ProcessFault::Twin { .. } => {}
        }
    }

    fn end_by(&mut self, id: FaultId, host: HostId, end: End) {
        if self.host(host).process.is_some() {
            self.faults.hit(id);
            self.end(host, end, true);
        }
    }
}
