//! The story of a run as it is carried out: phases one after the other, faults at their times, then everything healed.
//!
//! [`Driver`] is the only one that starts, ends and hurts hosts. What it did is in [`Driver::windows`] and
//! [`Driver::faults`]; what it could not do (a leader that was not there) in [`Driver::misses`].

mod apply;
mod freeze;
mod process;

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::select;
use runtime::Observation;
use world::{FaultId, Stop, Time, World};

use crate::measure::{FaultSpan, Window};
use crate::report::SkippedRow;
use crate::scenario::{Action, At, FaultLine, Heal, Phase, Scenario, Target};

use apply::Sides;

use super::budget::{Impact, Refusal};
use super::cluster::{Cluster, node_id};
use super::record::Recorder;
use super::resolve::Resolver;
use super::watch::Watch;

/// What is to be done at some time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Todo {
    /// A fault line of the scenario begins.
    Begin(usize),
    /// A fault that lasts, or the time that its hosts are down, ends.
    End(usize),
    /// Hosts that stopped because of a fault are started again.
    Restart(usize),
}

/// A fault that was begun: same index as its span.
struct Active {
    ids: Vec<FaultId>,
    /// Hosts that it took down.
    down: Vec<String>,
    ended: bool,
    /// It counts for `max_concurrent` while it lasts.
    counted: bool,
    /// Of its line.
    within_budget: bool,
}

/// How often an `until` is looked at, and hosts that were asked to stop.
const TICK: Duration = Duration::from_millis(50);

/// Carries out a timeline.
pub struct Driver<'a> {
    world: World,
    scenario: &'a Scenario,
    watch: Arc<Mutex<Watch>>,
    recorder: Recorder,
    cluster: Cluster,
    progress: &'a mut dyn FnMut(u64),
    /// By time and order of planning.
    todo: BTreeMap<(u64, usize), Todo>,
    planned: usize,
    active: Vec<Active>,
    stopping: Vec<(String, usize)>,
    processes: process::Processes,
    /// Hosts that were frozen for the first phase at the end, with what is still to be healed.
    frozen: Vec<(String, Option<FaultId>)>,
    /// The phases as they ran.
    pub windows: Vec<Window>,
    /// The faults as they happened.
    pub faults: Vec<FaultSpan>,
    /// For each fault: whether it hit the active controller.
    pub controller_lost: Vec<bool>,
    /// Faults that found nobody.
    pub misses: Vec<String>,
    /// Faults of a random plan that were left out.
    pub skipped: Vec<SkippedRow>,
}

impl<'a> Driver<'a> {
    /// A driver of hosts that run already.
    pub fn new(
        world: &World,
        scenario: &'a Scenario,
        watch: Arc<Mutex<Watch>>,
        recorder: Recorder,
        cluster: Cluster,
        progress: &'a mut dyn FnMut(u64),
    ) -> Self {
        Self {
            world: world.clone(),
            scenario,
            watch,
            recorder,
            cluster,
            progress,
            todo: BTreeMap::new(),
            planned: 0,
            active: Vec::new(),
            stopping: Vec::new(),
            processes: process::Processes::default(),
            frozen: Vec::new(),
            windows: Vec::new(),
            faults: Vec::new(),
            controller_lost: Vec::new(),
            misses: Vec::new(),
            skipped: Vec::new(),
        }
    }

    /// The hosts.
    pub fn cluster(&mut self) -> &mut Cluster {
        &mut self.cluster
    }

    /// Hosts of the cluster on which a process runs.
    pub fn up(&self) -> BTreeSet<String> {
        self.cluster.names().filter(|host| self.cluster.is_up(host)).cloned().collect()
    }

    /// Tells that the run has come so far.
    pub fn tell_progress(&mut self) {
        self.cluster.bury();
        let now = self.now();
        (self.progress)(now);
    }

    fn now(&self) -> u64 {
        self.world.now().0
    }

    fn plan(&mut self, at: u64, todo: Todo) {
        self.planned += 1;
        self.todo.insert((at, self.planned), todo);
    }

    /// Runs all phases, from now on.
    pub async fn phases(&mut self) {
        let origin = self.now();
        let scenario = self.scenario;
        for (index, fault) in scenario.faults.iter().enumerate() {
            if let At::Absolute(at) = fault.at.value {
                self.plan(origin.saturating_add(at), Todo::Begin(index));
            }
        }
        for phase in &scenario.phases {
            self.phase(phase).await;
        }
    }

    async fn phase(&mut self, phase: &Phase) {
        let start = self.now();
        let name = &phase.name.value;
        self.world.observe(None, Observation::Note { what: format!("phase {name} begins") });
        for (list, paused) in [(&phase.pause, true), (&phase.resume, false)] {
            for load in list {
                if let Some(index) = self.scenario.loads.iter().position(|known| known.name.value == load.value) {
                    self.recorder.set_paused(index, paused);
                }
            }
        }
        for (index, fault) in self.scenario.faults.iter().enumerate() {
            if let At::Phase(of, offset) = &fault.at.value
                && of == name
            {
                self.plan(start.saturating_add(*offset), Todo::Begin(index));
            }
        }
        let end = start.saturating_add(phase.length);
        self.windows.push(Window { name: name.clone(), start_ns: start, end_ns: end, measured: phase.measure });
        loop {
            self.due();
            let now = self.now();
            if now >= end || (phase.until_no_lag && self.recorder.lag() == 0) {
                break;
            }
            let mut next = end;
            if let Some(((at, _), _)) = self.todo.first_key_value() {
                next = next.min(*at);
            }
            if phase.until_no_lag || !self.stopping.is_empty() || self.processes.are_busy() {
                next = next.min(now + TICK.as_nanos() as u64);
            }
            // So that somebody who watches sees it move.
            next = next.min(now + 1_000_000_000);
            self.rest_until(next).await;
            self.tell_progress();
        }
        self.windows.last_mut().expect("pushed above").end_ns = self.now();
    }

    /// Until then, or until a process cannot go on: it ends at once.
    async fn rest_until(&self, at: u64) {
        let failures = self.cluster.failures();
        let (failed, slept) = (pin!(failures.notified()), pin!(self.world.sleep_until(Time(at))));
        select(failed, slept).await;
    }

    /// Lets time pass.
    pub async fn wait_until(&mut self, at: u64) {
        while self.now() < at {
            let next = at.min(self.now() + 1_000_000_000);
            self.rest_until(next).await;
            self.tell_progress();
        }
    }

    /// Does what is due.
    fn due(&mut self) {
        self.reap();
        self.processes_go_on();
        while let Some(((at, number), todo)) = self.todo.first_key_value().map(|(key, todo)| (*key, *todo)) {
            if at > self.now() {
                break;
            }
            self.todo.remove(&(at, number));
            match todo {
                Todo::Begin(index) => self.begin(&self.scenario.faults[index]),
                Todo::End(index) if self.calls_off(index) => {}
                Todo::End(index) => self.end(index),
                Todo::Restart(index) => self.restart(index),
            }
        }
    }

    /// Hosts that have stopped in good order are down now.
    fn reap(&mut self) {
        let stopping = std::mem::take(&mut self.stopping);
        for (host, index) in stopping {
            if !self.cluster.has_stopped(&host) {
                self.stopping.push((host, index));
                continue;
            }
            if let Some(id) = self.cluster.id(&host) {
                // A `stop` is no fault of the world: what it did is counted here.
                if self.active[index].ids.is_empty() {
                    self.faults[index].hits += 1;
                }
                self.world.stop(id, Stop::Exit);
            }
        }
    }

    fn begin(&mut self, line: &FaultLine) {
        let rng = self.world.rng(&format!("fault/{}", line.label));
        let (applied, hosts, links, lost_controller, led) = {
            let watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
            let mut resolver = Resolver { cluster: &self.scenario.cluster, watch: &watch, rng };
            let hosts = match line.action.target() {
                Target::Hosts(terms) => resolver.all(terms.iter().map(|term| &term.value)),
                Target::Link(_) | Target::Nobody => Vec::new(),
            };
            let links = match line.action.target() {
                Target::Link(link) => Some(resolver.link(&link.value)),
                Target::Hosts(_) | Target::Nobody => None,
            };
            let involved: Vec<&String> = match &links {
                Some((from, to)) => from.iter().chain(to).collect(),
                None => hosts.iter().collect(),
            };
            let lost = watch.controller.is_some_and(|(_, node)| involved.iter().any(|host| node_id(host) == node));
            let led: usize = hosts.iter().map(|host| watch.led_by(node_id(host))).sum();
            let nobody = hosts.is_empty() && links.as_ref().is_none_or(|(from, to)| from.is_empty() || to.is_empty());
            (!nobody || matches!(line.action, Action::Heal(_)), hosts, links, lost, (led, watch.partitions.len()))
        };
        if !applied && line.within_budget {
            self.skip(line, line.action.word().to_owned(), "nobody", "there is no such host now".to_owned());
            return;
        }
        if !applied {
            self.misses.push(format!("the fault {} found nobody at {:.3}s", line.label, self.now() as f64 / 1e9));
            return;
        }
        if let Action::Heal(heal) = &line.action {
            self.heal(heal, links.as_ref());
            return;
        }
        let mut what = describe(line, &hosts, links.as_ref());
        let impact = Impact::of(&line.action, &hosts, links.as_ref(), &self.scenario.cluster);
        if line.within_budget && !self.may_begin(line, &what, &hosts, &impact) {
            return;
        }
        let index = self.active.len();
        let start = self.now();
        // The budget first: what the fault makes happen at once is told while it is applied.
        self.with_watch(|watch| watch.budget.begin(start, index, &impact));
        let mut active = self.apply(line, &hosts, links.as_ref(), index);
        // What has no length is over at once.
        let goes_on = matches!(&line.action, Action::Process(action) if action.goes_on());
        let instant = active.down.is_empty() && !line.action.has_length() && !goes_on;
        active.counted = line.within_budget && !instant;
        if instant {
            let mattered = self.mattered(&active);
            self.with_watch(|watch| watch.budget.end(start, index, mattered));
        }
        if !line.action.downs().is_empty() && led.1 > 0 {
            what.push_str(&format!(" (led {}/{})", led.0, led.1));
        }
        let mut restarts = None;
        let lasts = match line.restart_after.filter(|_| !goes_on) {
            // Nobody is down by it yet: a process may stop itself.
            Some(after) if active.down.is_empty() => {
                restarts = Some(after);
                line.lasts.or(Some(after))
            }
            Some(after) => Some(after),
            None => line.lasts,
        };
        if let Some(lasts) = lasts {
            self.plan(start.saturating_add(lasts), Todo::End(index));
        }
        if let Some(after) = restarts {
            self.plan(start.saturating_add(after), Todo::Restart(index));
        }
        let ids = active.ids.clone();
        self.active.push(active);
        self.controller_lost.push(lost_controller);
        let involved = match &links {
            Some((from, to)) => from.iter().chain(to.iter().filter(|host| !from.contains(host))).cloned().collect(),
            None => hosts,
        };
        self.faults.push(FaultSpan {
            label: line.label.clone(),
            kind: line.action.word().to_owned(),
            what,
            start_ns: start,
            end_ns: u64::MAX,
            hosts: involved,
            partitions: led.0 as u64,
            hits: 0,
        });
        self.applied(index, &ids);
    }

    fn with_watch<R>(&self, f: impl FnOnce(&mut Watch) -> R) -> R {
        f(&mut self.watch.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a fault of a random plan may begin; if not, it is told and counted.
    fn may_begin(&mut self, line: &FaultLine, what: &str, hosts: &[String], impact: &Impact) -> bool {
        let down = hosts.iter().find(|host| !line.action.downs().is_empty() && !self.cluster.is_up(host));
        let counted = self.active.iter().filter(|active| active.counted && !active.ended).count();
        let limit = self.scenario.max_concurrent.map_or(usize::MAX, |limit| limit as usize);
        let now = self.now();
        let (reason, why) = if let Some(host) = down {
            ("nobody", format!("{host} is down already"))
        } else {
            let refusal = if counted >= limit {
                Some(Refusal::Concurrent { active: counted })
            } else {
                self.with_watch(|watch| watch.budget.ask(now, impact)).err()
            };
            match refusal {
                None => return true,
                Some(refusal) => (refusal.word(), refusal.to_string()),
            }
        };
        self.skip(line, what.to_owned(), reason, why);
        false
    }

    fn skip(&mut self, line: &FaultLine, what: String, reason: &str, why: String) {
        self.world.observe(None, Observation::Note { what: format!("{} is left out ({reason}): {why}", line.label) });
        let (label, at_ns) = (line.label.clone(), self.now());
        self.skipped.push(SkippedRow { label, what, at_ns, reason: reason.to_owned(), why });
    }

    /// Whether a fault had any effect, as far as the world can tell.
    fn mattered(&self, active: &Active) -> bool {
        active.ids.is_empty() || active.ids.iter().any(|id| self.world.fault(*id).hits > 0)
    }

    /// Ends a fault: heals it, starts its hosts again.
    fn end(&mut self, index: usize) {
        if self.active[index].ended {
            return;
        }
        // A host that has not finished stopping is not started over it; look again later.
        if self.stopping.iter().any(|(_, of)| *of == index) {
            let later = self.now() + TICK.as_nanos() as u64;
            self.plan(later, Todo::End(index));
            return;
        }
        self.active[index].ended = true;
        self.processes_end(index);
        self.faults[index].end_ns = self.now();
        for id in self.active[index].ids.clone() {
            self.world.heal(id);
        }
        let mattered = self.mattered(&self.active[index]);
        let now = self.now();
        self.with_watch(|watch| watch.budget.end(now, index, mattered));
        self.start_again(&self.active[index].down.clone());
    }

    /// Starts the hosts again that a fault made stop.
    fn restart(&mut self, index: usize) {
        self.cluster.bury();
        self.start_again(&self.faults[index].hosts.clone());
    }

    /// Starts hosts, as far as no other fault keeps them down for longer.
    fn start_again(&mut self, hosts: &[String]) {
        for host in hosts {
            if !self.active.iter().any(|active| !active.ended && active.down.contains(host)) {
                self.cluster.start(host);
            }
        }
    }

    fn heal(&mut self, heal: &Heal, links: Option<&Sides>) {
        for index in 0..self.active.len() {
            let span = &self.faults[index];
            let wanted = match heal {
                Heal::All => true,
                Heal::Label(label) => span.label == label.value,
                Heal::Link(_) => {
                    OF_LINKS.contains(&span.kind.as_str())
                        && links.is_some_and(|(from, to)| {
                            span.hosts.iter().all(|host| from.contains(host) || to.contains(host))
                        })
                }
            };
            if wanted {
                self.end(index);
            }
        }
    }

    /// The faults as they happened, each with the number of its effects so far.
    pub fn take_faults(&mut self) -> Vec<FaultSpan> {
        let reports = self.world.faults();
        for (span, active) in self.faults.iter_mut().zip(&self.active) {
            span.hits += active.ids.iter().map(|id| reports[id.0 as usize].hits).sum::<u64>();
        }
        std::mem::take(&mut self.faults)
    }

    /// Ends every fault and starts every host that is down. Returns once nothing is stopping any more.
    pub async fn heal_all(&mut self) {
        self.todo.clear();
        self.thaw_all();
        // A stop in good order needs the others: first they are healed. Then whoever was stopping is started again.
        for _ in 0..2 {
            for index in 0..self.active.len() {
                self.end(index);
            }
            // A stop that hangs for a minute is one for the checkers, not for us.
            self.await_stops(1_200).await;
            self.stopping.clear();
        }
        self.todo.clear();
        let names: Vec<String> = self.cluster.names().cloned().collect();
        for host in names {
            self.set_clock_right(&host);
            self.cluster.start(&host);
        }
        self.world.observe(None, Observation::Note { what: "everything is healed".to_owned() });
    }
}

/// What `heal` of a link ends.
const OF_LINKS: &[&str] = &["cut", "slow_link", "loss", "flap", "delay_messages"];

/// A fault as a scenario would say it, hosts resolved.
fn describe(line: &FaultLine, hosts: &[String], links: Option<&Sides>) -> String {
    let word = line.action.word();
    let side = |list: &[String]| match list {
        [one] => one.clone(),
        many => format!("{{{}}}", many.join(", ")),
    };
    let way = match line.action.target() {
        Target::Link(link) if link.value.one_way => "->",
        _ => "|",
    };
    match links {
        // One set on both sides: every pair of it.
        Some((from, to)) if way == "|" && from == to && from.len() > 1 => match &from[..] {
            [one, two] => format!("{word} {one} | {two}"),
            many => format!("{word} among {}", side(many)),
        },
        Some((from, to)) => format!("{word} {} {way} {}", side(from), side(to)),
        None => format!("{word} {}", side(hosts)),
    }
}
