//! The first of the two phases at the end of a run: a core is healed, everybody else stays as it is, or is frozen.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use rand::{Rng, RngExt};
use runtime::Observation;
use world::{ClockSetting, Fault, NetworkFault, ProcessFault, Stop};

use super::super::budget::{Harm, Impact};
use super::super::cluster::node_id;
use super::{Driver, TICK};

/// Keys of the budget for what is frozen: beyond those of faults.
const FROM: usize = 1_000_000;

/// How many ticks a stop may take before it is forced: 10 s.
const PATIENCE: u32 = 200;

/// Faults that leave their hosts as good as frozen.
const STILL: &[&str] = &["isolate", "pause", "hang"];

impl Driver<'_> {
    /// Nothing planned begins or ends any more. Returns once nothing is stopping: whoever cannot stop in good order, for want
    /// of a controller say, is killed after a while, as its operator would do.
    pub async fn quiet(&mut self) {
        self.todo.clear();
        self.await_stops(PATIENCE).await;
        for (host, _) in std::mem::take(&mut self.stopping) {
            if let Some(id) = self.cluster.id(&host) {
                self.world.stop(id, Stop::Kill);
            }
        }
    }

    /// Waits until nobody is stopping any more, for so many ticks at most.
    pub(super) async fn await_stops(&mut self, ticks: u32) {
        for _ in 0..ticks {
            self.reap();
            if self.stopping.is_empty() {
                break;
            }
            self.world.sleep(TICK).await;
        }
    }

    /// Freezes whoever is not of the core and still moves, then heals the core. Returns what became of the others.
    pub fn heal_core(&mut self, core: &BTreeSet<String>, rng: &mut impl Rng) -> Vec<(String, &'static str)> {
        let rest: Vec<String> = self.cluster.names().filter(|host| !core.contains(*host)).cloned().collect();
        let mut became = Vec::new();
        for host in rest {
            let still = self.active.iter().zip(&self.faults).find(|(active, span)| {
                let of_the_rest = span.hosts.iter().all(|host| !core.contains(host));
                !active.ended && of_the_rest && STILL.contains(&span.kind.as_str()) && span.hosts.contains(&host)
            });
            let how = match (self.cluster.is_up(&host), still.map(|(_, span)| span.kind.clone())) {
                (false, _) => "down",
                (true, Some(kind)) => STILL.iter().copied().find(|word| *word == kind).unwrap_or("down"),
                (true, None) => self.freeze(&host, rng),
            };
            became.push((host, how));
        }
        for index in 0..self.active.len() {
            if self.faults[index].hosts.iter().any(|host| core.contains(host)) {
                // Whoever it took down and is not of the core stays down.
                self.active[index].down.retain(|host| core.contains(host));
                self.end(index);
            }
        }
        for host in core {
            self.set_clock_right(host);
            self.cluster.start(host);
        }
        let list = core.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        self.world.observe(None, Observation::Note { what: format!("the core is healed: {list}") });
        became
    }

    /// A host joins the core after all.
    pub fn thaw(&mut self, host: &str) {
        let now = self.now();
        for (number, (of, id)) in self.frozen.iter_mut().enumerate() {
            if of == host
                && let Some(id) = id.take()
            {
                self.world.heal(id);
                let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
                watch.budget.end(now, FROM + number, true);
            }
        }
        for index in 0..self.active.len() {
            if self.faults[index].hosts.iter().any(|of| of == host) {
                self.active[index].down.retain(|of| of == host);
                self.end(index);
            }
        }
        self.set_clock_right(host);
        self.cluster.start(host);
        self.world.observe(None, Observation::Note { what: format!("{host} is looked after") });
    }

    fn freeze(&mut self, host: &str, rng: &mut impl Rng) -> &'static str {
        let Some(id) = self.cluster.id(host) else { return "down" };
        let rotten = self.with_watch(|watch| watch.budget.is_rotten(node_id(host)));
        // A rotten log would be cut at its next opening: that is left for the end.
        let (how, fault) = match rng.random_range(0..if rotten { 2 } else { 3 }) {
            0 => ("isolate", Fault::from(NetworkFault::Isolate(id))),
            1 => ("pause", Fault::from(ProcessFault::Pause(id))),
            _ => ("kill", Fault::from(ProcessFault::Kill(id))),
        };
        self.hold(host, "frozen", fault, None);
        how
    }

    /// A node goes down before its disk is replaced.
    pub fn take_down(&mut self, host: &str) {
        if let Some(id) = self.cluster.id(host).filter(|_| self.cluster.is_up(host)) {
            self.hold(host, "replaced", Fault::from(ProcessFault::Kill(id)), None);
        }
    }

    /// The host is away from now on, with what else happens to it, until it is thawed.
    fn hold(&mut self, host: &str, label: &str, fault: Fault, harm: Option<Harm>) {
        let node = node_id(host);
        let harm = harm.map(|harm| (node, harm)).into_iter().collect();
        let impact = Impact { away: BTreeSet::from([node]), harm, ..Impact::default() };
        let (now, key) = (self.now(), FROM + self.frozen.len());
        self.with_watch(|watch| watch.budget.begin(now, key, &impact));
        let id = self.world.apply_as(label.to_owned(), fault);
        self.frozen.push((host.to_owned(), Some(id)));
    }

    /// Somebody looks after a wall clock that was set wrong.
    pub(super) fn set_clock_right(&self, host: &str) {
        if let Some(id) = self.cluster.id(host) {
            self.world.set_clock(id, ClockSetting::default());
        }
    }

    /// A disk whose bytes cannot be trusted is replaced by an empty one.
    pub fn replace_disk(&mut self, host: &str) {
        let Some(id) = self.cluster.id(host) else { return };
        self.hold(host, "replaced", Fault::from(ProcessFault::Wipe(id)), Some(Harm::Wiped));
        self.thaw(host);
    }

    /// Nobody is frozen any more.
    pub(super) fn thaw_all(&mut self) {
        for host in self.frozen.iter().map(|(host, _)| host.clone()).collect::<Vec<_>>() {
            self.thaw(&host);
        }
    }
}
