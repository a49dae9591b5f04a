//! What the runner knows from the stream: leaders, the controller, the cluster's state, what was reached, what went wrong.
//!
//! [`Watch`] receives every event of the world, stamps it, hands it to the checkers and keeps what faults, reports and
//! stories need. It never looks into a process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use protocol::{LeaderEpoch, NodeId, Offset, TopicPartition};
use runtime::observation::{ProcessEnd, QuorumRole};
use runtime::{Observation, cause::Cause};

use crate::checker::{Checker, HostDisk, Loss, Setup};
use crate::event::{Stamped, is_milestone};
use crate::report::Crash;
use crate::scenario::{Reach, ReachKind};

use super::budget::Budget;
use super::cluster::twin_of;
use super::gauges::Gauges;
use super::twins::{Twins, Voice};

/// A partition as the controller committed it last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionState {
    /// Who leads.
    pub leader: NodeId,
    /// Since which epoch.
    pub leader_epoch: LeaderEpoch,
    /// The state's number.
    pub partition_epoch: i32,
    /// Who is in sync.
    pub isr: Vec<NodeId>,
    /// Who has a copy, preferred leader first.
    pub replicas: Vec<NodeId>,
}

/// How often something was reached, and when first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reached {
    /// How often.
    pub times: u64,
    /// When first, ns.
    pub first_ns: Option<u64>,
}

impl Reached {
    fn hit(&mut self, at_ns: u64) {
        self.times += 1;
        self.first_ns.get_or_insert(at_ns);
    }
}

/// Which hosts' events go into the trace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TraceOf {
    /// All.
    All,
    /// These.
    Hosts(Vec<String>),
}

/// A process of a node, since it started.
#[derive(Default)]
struct Life {
    /// It had an IO error by a fault.
    failing: bool,
    /// It had no space.
    full: bool,
    /// It has given up.
    given_up: bool,
    /// It has come so far as to take part in the quorum.
    started: bool,
}

/// Follows the stream.
pub struct Watch {
    /// Numbers events.
    next_id: u64,
    /// Names of hosts by the world's number, with their node ids.
    hosts: BTreeMap<u32, (Arc<str>, NodeId)>,
    world_name: Arc<str>,
    checkers: Vec<Box<dyn Checker>>,
    /// What faults may still do.
    pub budget: Budget,
    /// Every partition that the controller has committed.
    pub partitions: BTreeMap<TopicPartition, PartitionState>,
    /// The quorum's leader with the highest epoch seen.
    pub controller: Option<(LeaderEpoch, NodeId)>,
    /// Brokers whose last committed state is unfenced.
    pub unfenced: BTreeMap<NodeId, bool>,
    /// When each broker last began to serve, and each node of the quorum to follow a leader or to lead.
    serves: BTreeMap<(NodeId, bool), u64>,
    twins: Twins,
    /// Offset of the last record of a broker that was told.
    brokers_told: Offset,
    /// Quorum elections: one entry for each new leader, ns.
    pub elections: Vec<u64>,
    /// Candidacies: (epoch, ns), to tell split votes.
    pub candidacies: Vec<u64>,
    /// The cluster's state over time.
    pub gauges: Gauges,
    /// What the scenario wants to reach.
    reach: Vec<(Reach, Reached)>,
    /// From when on reaching counts, ns: what happens while the cluster forms does not.
    counts_from_ns: u64,
    /// How often each probe had been reached when counting began.
    probes_before: BTreeMap<&'static str, u64>,
    /// Rare events, for stories.
    pub milestones: Vec<Stamped>,
    /// Processes that ended by themselves.
    pub crashes: Vec<Crash>,
    /// Processes that stopped because their disk failed them: as they should.
    pub stops: Vec<Crash>,
    /// Nodes that are down because their disk failed them, and have not been started again.
    pub given_up_by_disk: BTreeSet<NodeId>,
    /// What became of each node's process since it started.
    lives: BTreeMap<NodeId, Life>,
    /// Nodes whose disk holds, or held, what nobody wrote, or has lost what was called durable.
    hurt: BTreeSet<NodeId>,
    /// Losses by power failures.
    pub losses: Vec<Loss>,
    /// Log ends by node and partition, to see what a power failure took.
    ends: BTreeMap<(NodeId, TopicPartition), Offset>,
    /// Nodes that lost power, or their disk, and the logs that they have opened since: a process may end before it opens any.
    lost_power: BTreeMap<NodeId, BTreeSet<TopicPartition>>,
    /// Lines of the trace, if wanted.
    trace: Option<(TraceOf, Vec<String>)>,
    /// Acknowledged produce requests seen at leaders, with any acks.
    pub acknowledged_batches: u64,
}

impl Watch {
    /// A watch over a cluster. `hosts` are added as they are made.
    pub fn new(checkers: Vec<Box<dyn Checker>>, budget: Budget, reach: &[Reach], trace: Option<TraceOf>) -> Self {
        Self {
            next_id: 0,
            hosts: BTreeMap::new(),
            world_name: Arc::from("world"),
            checkers,
            budget,
            partitions: BTreeMap::new(),
            controller: None,
            unfenced: BTreeMap::new(),
            serves: BTreeMap::new(),
            twins: Twins::default(),
            brokers_told: Offset::NONE,
            elections: Vec::new(),
            candidacies: Vec::new(),
            gauges: Gauges::default(),
            reach: reach.iter().map(|reach| (reach.clone(), Reached::default())).collect(),
            counts_from_ns: u64::MAX,
            probes_before: BTreeMap::new(),
            milestones: Vec::new(),
            crashes: Vec::new(),
            stops: Vec::new(),
            given_up_by_disk: BTreeSet::new(),
            lives: BTreeMap::new(),
            hurt: BTreeSet::new(),
            losses: Vec::new(),
            ends: BTreeMap::new(),
            lost_power: BTreeMap::new(),
            trace: trace.map(|of| (of, Vec::new())),
            acknowledged_batches: 0,
        }
    }

    /// Says what a host is called and which node it is.
    pub fn name_host(&mut self, number: u32, name: &str, node: NodeId) {
        self.hosts.insert(number, (Arc::from(name), node));
    }

    /// From `at_ns` on, what is reached counts.
    pub fn count_from(&mut self, at_ns: u64) {
        self.counts_from_ns = at_ns;
        self.probes_before = probe::reached();
    }

    /// What was reached, in the scenario's order.
    pub fn reached(&self) -> impl Iterator<Item = (&Reach, Reached)> {
        self.reach.iter().map(|(reach, reached)| match reach.kind {
            ReachKind::Probe(name) => {
                let before = self.probes_before.get(name).copied().unwrap_or(0);
                let times = probe::times(name).unwrap_or(0) - before;
                (reach, Reached { times, first_ns: None })
            }
            _ => (reach, *reached),
        })
    }

    /// A process is about to start.
    pub fn before_start(&mut self, disk: &HostDisk) {
        if !self.twins.starts(disk) {
            return;
        }
        self.checkers.iter_mut().for_each(|checker| checker.before_start(disk));
    }

    /// Takes the checkers out, to let them judge.
    pub fn take_checkers(&mut self) -> Vec<Box<dyn Checker>> {
        std::mem::take(&mut self.checkers)
    }

    /// Takes the trace.
    pub fn take_trace(&mut self) -> Vec<String> {
        self.trace.take().map_or_else(Vec::new, |(_, lines)| lines)
    }

    /// The leader of a partition, if it has one.
    pub fn leader(&self, partition: &TopicPartition) -> Option<NodeId> {
        self.partitions.get(partition).map(|state| state.leader).filter(|leader| !leader.is_none())
    }

    /// A host has a second process under its id, on the host of this number.
    pub fn add_twin(&mut self, number: u32, host: &str, node: NodeId) {
        let name = twin_of(host);
        self.name_host(number, &name, NodeId::NONE);
        self.twins.add(number, host, name, node);
    }

    /// Whether a node has begun to serve since then: a broker unfenced, another node with a leader of the quorum.
    pub fn serves_since(&self, node: NodeId, broker: bool, since_ns: u64) -> bool {
        let since = self.serves.get(&(node, broker)).is_some_and(|at| *at >= since_ns);
        since && (!broker || self.unfenced.get(&node).copied().unwrap_or(false))
    }

    /// Another process is the node from now on: as if the one before had ended, and this one had started on another disk.
    fn takes_over(&mut self, first: &Stamped, disk: &HostDisk) {
        let ended = Observation::ProcessEnded { how: ProcessEnd::Killed, why: String::new() };
        self.tell(&Stamped { what: ended, ..first.clone() });
        self.tell(&Stamped { what: Observation::DiskReplaced, ..first.clone() });
        self.checkers.iter_mut().for_each(|checker| checker.before_start(disk));
        self.tell(&Stamped { what: Observation::ProcessStarted, ..first.clone() });
    }

    fn life(&mut self, node: NodeId) -> &mut Life {
        self.lives.entry(node).or_default()
    }

    fn tell(&mut self, event: &Stamped) {
        self.budget.observe(event);
        self.checkers.iter_mut().for_each(|checker| checker.observe(event));
    }

    /// How many partitions `node` leads.
    pub fn led_by(&self, node: NodeId) -> usize {
        self.partitions.values().filter(|state| state.leader == node).count()
    }

    /// Takes an event of the world.
    pub fn event(&mut self, event: &world::Event) {
        self.next_id += 1;
        let (host, node) = match event.host.and_then(|host| self.hosts.get(&host.0)) {
            Some((name, node)) => (Arc::clone(name), *node),
            None => (Arc::clone(&self.world_name), NodeId::NONE),
        };
        let Cause(cause) = event.cause;
        let mut stamped = Stamped { id: event.id, at_ns: event.at.0, host, node, cause, what: event.what.clone() };
        let is_node = match self.twins.voice(&stamped.host, node, &stamped.what) {
            Voice::Node(node) => {
                stamped.node = node;
                true
            }
            Voice::TakesOver(node, disk) => {
                stamped.node = node;
                self.takes_over(&stamped, &disk);
                true
            }
            Voice::Other => {
                stamped.node = NodeId::NONE;
                false
            }
        };
        if is_node {
            self.follow(&stamped);
            self.tell(&stamped);
        }
        if let Some((of, lines)) = &mut self.trace
            && match of {
                TraceOf::All => true,
                TraceOf::Hosts(hosts) => hosts.iter().any(|host| **host == *stamped.host),
            }
        {
            lines.push(crate::report::trace_line(&stamped));
        }
        if is_milestone(&stamped.what) {
            self.milestones.push(stamped);
        }
    }

    fn hit(&mut self, kind: ReachKind, partition: Option<&TopicPartition>, at_ns: u64) {
        if at_ns < self.counts_from_ns {
            return;
        }
        for (reach, reached) in &mut self.reach {
            let here = reach.kind == kind
                && match (partition, &reach.topic) {
                    (_, None) => true,
                    (None, Some(_)) => false,
                    (Some(partition), Some(topic)) => {
                        partition.topic == topic.as_str()
                            && reach.partition.is_none_or(|number| number == partition.partition)
                    }
                };
            if here {
                reached.hit(at_ns);
            }
        }
    }

    fn follow(&mut self, event: &Stamped) {
        let at_ns = event.at_ns;
        match &event.what {
            Observation::PartitionCommitted {
                partition, leader, leader_epoch, partition_epoch, isr, replicas, ..
            } => {
                let old = self.partitions.get(partition);
                if old.is_some_and(|old| old.partition_epoch >= partition_epoch.0) {
                    return;
                }
                let (changed, shrunk, expanded) = match old {
                    None => (false, false, false),
                    Some(old) => (
                        old.leader != *leader && !leader.is_none(),
                        old.isr.iter().any(|node| !isr.contains(node)),
                        isr.iter().any(|node| !old.isr.contains(node)),
                    ),
                };
                for (kind, hit) in [
                    (ReachKind::LeaderChanged, changed),
                    (ReachKind::IsrShrunk, shrunk),
                    (ReachKind::IsrExpanded, expanded),
                ] {
                    if hit {
                        self.hit(kind, Some(partition), at_ns);
                    }
                }
                let state = PartitionState {
                    leader: *leader,
                    leader_epoch: *leader_epoch,
                    partition_epoch: partition_epoch.0,
                    isr: isr.clone(),
                    replicas: replicas.clone(),
                };
                self.gauges.change(at_ns, self.partitions.get(partition), &state);
                self.partitions.insert(partition.clone(), state);
            }
            Observation::BrokerCommitted { broker, fenced, offset, .. } => {
                // A leader of the quorum that was restarted tells the past again.
                if *offset <= self.brokers_told {
                    return;
                }
                self.brokers_told = *offset;
                let was_unfenced = self.unfenced.insert(*broker, !*fenced).unwrap_or(false);
                if *fenced && was_unfenced {
                    self.hit(ReachKind::Fenced, None, at_ns);
                }
            }
            Observation::QuorumOpened { .. } => self.life(event.node).started = true,
            Observation::QuorumState { role: QuorumRole::Follower, .. } => {
                self.serves.insert((event.node, false), at_ns);
            }
            Observation::QuorumState { role, epoch, .. } => match role {
                QuorumRole::Leader if self.controller.is_none_or(|(known, _)| *epoch > known) => {
                    if self.controller.is_some_and(|(_, node)| node != event.node) {
                        self.hit(ReachKind::ControllerChanged, None, at_ns);
                    }
                    self.controller = Some((*epoch, event.node));
                    self.serves.insert((event.node, false), at_ns);
                    self.elections.push(at_ns);
                }
                QuorumRole::Candidate => self.candidacies.push(at_ns),
                _ => {}
            },
            Observation::Truncated { partition, from, to, .. } => {
                if to < from {
                    self.hit(ReachKind::Truncated, Some(partition), at_ns);
                }
                self.ends.insert((event.node, partition.clone()), *to);
            }
            Observation::Appended { partition, last, .. } => self.appended(event.node, partition, last.plus(1)),
            Observation::LogOpened { partition, end, .. } => {
                let key = (event.node, partition.clone());
                let before = self.ends.insert(key, *end);
                let opened = self.lost_power.get_mut(&event.node);
                let first = opened.is_some_and(|opened| opened.insert(partition.clone()));
                if let Some(before) = before
                    && (first || self.hurt.contains(&event.node))
                    && *end < before
                {
                    let (from, to) = (*end, before);
                    self.losses.push(Loss { node: event.node, partition: partition.clone(), from, to, at_ns });
                }
            }
            Observation::DiskReplaced => {
                self.lost_power.insert(event.node, BTreeSet::new());
            }
            Observation::BrokerRunning { .. } => {
                self.serves.insert((event.node, true), at_ns);
            }
            Observation::ProcessEnded { how, why } => match how {
                ProcessEnd::PowerLost => {
                    self.lost_power.insert(event.node, BTreeSet::new());
                }
                ProcessEnd::Panicked => {
                    let (host, message) = (event.host.to_string(), format!("panicked: {why}"));
                    self.crashes.push(Crash { at_ns, host, message });
                }
                ProcessEnd::Killed | ProcessEnd::Exited => {}
            },
            Observation::ProcessStarted => {
                self.lives.remove(&event.node);
                self.given_up_by_disk.remove(&event.node);
            }
            Observation::DiskFault { fault, error, .. } => {
                match (*error, fault.as_str()) {
                    (true, "disk_full") => self.life(event.node).full = true,
                    (true, _) => self.life(event.node).failing = true,
                    (false, _) => {}
                }
                // A failed sync has lost what it covered, as much as a power failure would.
                if !*error || fault == "fsync_error" {
                    self.hurt.insert(event.node);
                }
            }
            // One of two under an id gives up: it should.
            Observation::Fatal { .. } if self.twins.has(&event.host) => {}
            Observation::Fatal { why } => {
                let crash = Crash { at_ns, host: event.host.to_string(), message: format!("gave up: {why}") };
                let life = self.life(event.node);
                let (failing, lacks_room) = (life.failing, life.full && !life.started);
                if std::mem::replace(&mut life.given_up, true) {
                    // Told by who saw it first, and by who ends the process.
                } else if failing || self.hurt.contains(&event.node) || lacks_room {
                    // By what the world did to its disk, not by what it says. Space may be missing only at a start.
                    self.given_up_by_disk.insert(event.node);
                    self.stops.push(crash);
                } else {
                    self.crashes.push(crash);
                }
            }
            Observation::Acknowledged { .. } => self.acknowledged_batches += 1,
            _ => {}
        }
    }

    /// Without a copy of the key for each batch.
    fn appended(&mut self, node: NodeId, partition: &TopicPartition, end: Offset) {
        match self.ends.get_mut(&(node, partition.clone())) {
            Some(known) => *known = end,
            None => {
                self.ends.insert((node, partition.clone()), end);
            }
        }
    }
}

/// Whether every partition of the setup has a leader and a full ISR.
pub fn is_whole(watch: &Watch, setup: &Setup) -> bool {
    setup.partitions().all(|partition| {
        watch
            .partitions
            .get(&partition)
            .is_some_and(|state| !state.leader.is_none() && state.isr.len() == state.replicas.len())
    })
}
