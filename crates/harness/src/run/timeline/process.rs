//! Faults of processes that take their time: rolling restarts, crashes that wait for an effect, twins.
//!
//! The driver looks at them ([`Driver::processes_go_on`]) as often as at hosts that were asked to stop.

use std::collections::VecDeque;

use world::{FaultId, Stop};

use super::super::cluster::{is_broker, node_id, twin_of};
use super::Driver;

/// What is under way.
#[derive(Default)]
pub(super) struct Processes {
    rolls: Vec<Roll>,
    armed: Vec<Armed>,
    twins: Vec<Twin>,
}

impl Processes {
    /// Whether there is anything to look at.
    pub(super) fn are_busy(&self) -> bool {
        !self.rolls.is_empty() || !self.armed.is_empty()
    }
}

/// A rolling restart.
struct Roll {
    /// The fault's index.
    index: usize,
    /// Those that are still to be restarted.
    rest: VecDeque<String>,
    /// Between one that serves and the next, ns.
    pause: u64,
    step: Step,
}

enum Step {
    /// It has been asked to stop.
    Stopping(String),
    /// It was started again then.
    Starting(String, u64),
    /// Until then.
    Resting(u64),
}

/// A host that crashes at an effect.
struct Armed {
    index: usize,
    id: FaultId,
    host: String,
    restart_after: Option<u64>,
    /// Since when it is down.
    down: Option<u64>,
}

/// A second process of a host's id.
struct Twin {
    index: usize,
    host: String,
    started: bool,
}

impl Driver<'_> {
    /// A rolling restart begins.
    pub(super) fn roll(&mut self, index: usize, hosts: &[String], pause: u64) {
        let step = Step::Resting(self.now());
        self.processes.rolls.push(Roll { index, rest: hosts.iter().cloned().collect(), pause, step });
    }

    /// A host waits for the effect at which it ends.
    pub(super) fn arm(&mut self, index: usize, host: &str, restart_after: Option<u64>) {
        // The fault's id comes with `applied`.
        let id = FaultId(u32::MAX);
        self.processes.armed.push(Armed { index, id, host: host.to_owned(), restart_after, down: None });
    }

    /// A host gets a twin; the machine's number.
    pub(super) fn add_twin(&mut self, index: usize, host: &str) -> Option<world::HostId> {
        let on = self.cluster.add_twin(host)?;
        self.with_watch(|watch| watch.add_twin(on.0, host, node_id(host)));
        self.processes.twins.push(Twin { index, host: host.to_owned(), started: false });
        Some(on)
    }

    /// The world's faults of `index` are there.
    pub(super) fn applied(&mut self, index: usize, ids: &[FaultId]) {
        let mut ids = ids.iter();
        for armed in self.processes.armed.iter_mut().filter(|armed| armed.index == index) {
            armed.id = *ids.next().expect("a fault for each host");
        }
        for twin in self.processes.twins.iter_mut().filter(|twin| twin.index == index && !twin.started) {
            twin.started = self.cluster.start(&twin_of(&twin.host));
        }
    }

    /// Looks at what is under way.
    pub(super) fn processes_go_on(&mut self) {
        self.crashes_go_on();
        for mut roll in std::mem::take(&mut self.processes.rolls) {
            if self.rolls_on(&mut roll) {
                self.processes.rolls.push(roll);
            } else {
                self.end(roll.index);
            }
        }
    }

    fn crashes_go_on(&mut self) {
        let now = self.now();
        let mut over = Vec::new();
        for mut armed in std::mem::take(&mut self.processes.armed) {
            let index = armed.index;
            match armed.down {
                None if self.world.fault(armed.id).hits > 0 => {
                    armed.down = Some(now);
                    let active = &mut self.active[index];
                    if active.down.is_empty() {
                        self.faults[index].start_ns = now;
                    }
                    active.down.push(armed.host.clone());
                }
                Some(since) if armed.restart_after.is_some_and(|after| since.saturating_add(after) <= now) => {
                    self.cluster.start(&armed.host);
                    self.active[index].down.retain(|host| *host != armed.host);
                    over.push(index);
                    continue;
                }
                _ => {}
            }
            self.processes.armed.push(armed);
        }
        for index in over {
            if !self.processes.armed.iter().any(|armed| armed.index == index) {
                self.end(index);
            }
        }
    }

    /// Takes a rolling restart on; `false` if it is over.
    fn rolls_on(&mut self, roll: &mut Roll) -> bool {
        let now = self.now();
        match &roll.step {
            Step::Stopping(host) if !self.stopping.iter().any(|(of, index)| of == host && *index == roll.index) => {
                let host = host.clone();
                self.cluster.start(&host);
                self.active[roll.index].down.clear();
                let ids = self.active[roll.index].ids.clone();
                ids.into_iter().for_each(|id| self.world.count_hits(id, 1));
                roll.step = Step::Starting(host, now);
            }
            // It crashed, or another fault took it: that one's business.
            Step::Starting(host, _) if !self.cluster.is_up(host) => roll.step = Step::Resting(now),
            Step::Starting(host, since) => {
                if self.with_watch(|watch| watch.serves_since(node_id(host), is_broker(host), *since)) {
                    roll.step = Step::Resting(now.saturating_add(roll.pause));
                }
            }
            Step::Resting(until) if *until <= now => {
                let next = loop {
                    match roll.rest.pop_front() {
                        // Who is down already is left alone.
                        Some(host) if !self.cluster.is_up(&host) => {}
                        other => break other,
                    }
                };
                let Some(host) = next else { return false };
                self.cluster.ask_to_stop(&host);
                self.stopping.push((host.clone(), roll.index));
                self.active[roll.index].down = vec![host.clone()];
                roll.step = Step::Stopping(host);
            }
            Step::Stopping(_) | Step::Resting(_) => {}
        }
        true
    }

    /// The time of `for` is over: crashes that have not happened will not. `true` if the fault goes on, since hosts that
    /// crashed are to be started again.
    pub(super) fn calls_off(&mut self, index: usize) -> bool {
        for armed in std::mem::take(&mut self.processes.armed) {
            if armed.index == index && armed.down.is_none() {
                self.world.heal(armed.id);
                self.missed(index, &armed.host);
            } else {
                self.processes.armed.push(armed);
            }
        }
        self.processes.armed.iter().any(|armed| armed.index == index && armed.restart_after.is_some())
    }

    fn missed(&mut self, index: usize, host: &str) {
        if !self.active[index].within_budget {
            let label = &self.faults[index].label;
            self.misses.push(format!("the fault {label} waited for an effect on {host} that did not come"));
        }
    }

    /// The fault ends: what has not happened yet will not.
    pub(super) fn processes_end(&mut self, index: usize) {
        self.processes.rolls.retain(|roll| roll.index != index);
        for armed in std::mem::take(&mut self.processes.armed) {
            if armed.index != index {
                self.processes.armed.push(armed);
            } else if armed.down.is_none() {
                self.missed(index, &armed.host);
            }
        }
        for twin in std::mem::take(&mut self.processes.twins) {
            if twin.index != index {
                self.processes.twins.push(twin);
                continue;
            }
            if let Some(id) = self.cluster.id(&twin_of(&twin.host)) {
                self.world.stop(id, Stop::Kill);
            }
            // The original may have given up: whoever looks after it starts it again.
            self.active[index].down.push(twin.host);
        }
    }
}
