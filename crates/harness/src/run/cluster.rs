//! The hosts of a run and what runs on them.
//!
//! [`Cluster`] starts, stops and restarts processes; which is which (`b1`, `c2`, a client) and which node id it has is
//! decided here once. A scenario of echo loads runs echo servers instead of brokers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use protocol::NodeId;
use runtime::Env;
use tokio::sync::Notify;
use world::{DiskProfile, HostId, LinkProfile, World};

use crate::checker::{HostDisk, Kept, NodeInfo, Setup, TopicInfo};
use crate::scenario::{DiskSpec, LinkSpec, Scenario, Topic};

use super::timers;

/// The node id of c1 less one: controllers that are no brokers count from here.
const CONTROLLERS_FROM: i32 = 100;

/// The node id of a host of the cluster: b2 is 2, c1 is 101. Clients have none.
pub fn node_id(host: &str) -> NodeId {
    let number = |text: &str| text.parse::<i32>().ok();
    match (host.strip_prefix('b').and_then(number), host.strip_prefix('c').and_then(number)) {
        (Some(broker), _) => NodeId(broker),
        (_, Some(controller)) => NodeId(CONTROLLERS_FROM + controller),
        _ => NodeId::NONE,
    }
}

/// The host of a node id: the other way of [`node_id`].
pub fn host_of(node: NodeId) -> String {
    if node.0 > CONTROLLERS_FROM { format!("c{}", node.0 - CONTROLLERS_FROM) } else { format!("b{}", node.0) }
}

/// The host of a node id, or `nobody`.
pub fn node_name(node: NodeId) -> String {
    if node.is_none() { "nobody".to_owned() } else { host_of(node) }
}

/// Whether a host of the cluster is a broker.
pub fn is_broker(host: &str) -> bool {
    host.starts_with('b')
}

/// The host of a second process under a host's id.
pub fn twin_of(host: &str) -> String {
    format!("{host}{TWIN}")
}

/// The host whose id a twin has; nothing if this is no twin's host.
pub fn original_of(twin: &str) -> Option<&str> {
    twin.strip_suffix(TWIN)
}

const TWIN: &str = "-twin";

/// What a scenario builds.
pub fn setup(scenario: &Scenario) -> Setup {
    let voters = scenario.cluster.controller_hosts();
    let nodes = scenario.cluster.hosts().into_iter().map(|host| NodeInfo {
        id: node_id(&host),
        broker: is_broker(&host),
        controller: voters.contains(&host),
        host: host.into(),
    });
    let topics = scenario.topics.iter().map(|topic| {
        let own = topic.config.get("min.insync.replicas").and_then(|text| text.parse().ok());
        let min_isr =
            own.unwrap_or_else(|| i32::try_from(timers::number(scenario, "min.insync.replicas")).unwrap_or(1));
        TopicInfo {
            name: topic.name.value.clone(),
            partitions: topic.partitions.cast_signed(),
            replicas: i16::try_from(topic.replicas.value).unwrap_or(i16::MAX),
            min_isr,
        }
    });
    let (nodes, topics) =
        if scenario.needs_cluster() { (nodes.collect(), topics.collect()) } else { Default::default() };
    let clocks_lie = scenario.faults.iter().map(|fault| fault.action.word()).any(is_of_clocks)
        || scenario.chaos.iter().flat_map(|chaos| &chaos.menu).any(|(word, _)| is_of_clocks(word.word()));
    Setup { nodes, topics, keep: scenario.expect.keep, kept: kept(scenario), clocks_lie }
}

fn is_of_clocks(word: &str) -> bool {
    word.starts_with("clock_")
}

/// What topics keep, of those that say so.
fn kept(scenario: &Scenario) -> BTreeMap<String, Kept> {
    let of = |topic: &Topic| {
        let number = |name| topic.config.get(name).and_then(|text| text.parse().ok());
        Kept { ms: number("retention.ms"), bytes: number("retention.bytes") }
    };
    scenario
        .topics
        .iter()
        .map(|topic| (topic.name.value.clone(), of(topic)))
        .filter(|(_, kept)| *kept != Kept::default())
        .collect()
}

/// A link as a scenario wants it, `over` another.
pub fn link(spec: &LinkSpec, over: LinkProfile) -> LinkProfile {
    LinkProfile {
        latency: spec.latency.map_or(over.latency, Duration::from_nanos),
        jitter: spec.jitter.map_or(over.jitter, Duration::from_nanos),
        bytes_per_second: spec.mbit_s.map(|mbit_s| mbit_s * 125_000).or(over.bytes_per_second),
    }
}

/// A disk as a scenario wants it, `over` another.
pub fn disk(spec: &DiskSpec, over: DiskProfile) -> DiskProfile {
    DiskProfile {
        read: spec.read.map_or(over.read, Duration::from_nanos),
        write: spec.write.map_or(over.write, Duration::from_nanos),
        sync: spec.fsync.map_or(over.sync, Duration::from_nanos),
    }
}

/// The world's configuration.
pub fn world_config(scenario: &Scenario) -> world::Config {
    let base = world::Config::default();
    world::Config {
        link: link(&scenario.hardware.link, base.link),
        disk: disk(&scenario.hardware.disk, base.disk),
        ..base
    }
}

/// The disk of a host, without faults.
pub fn disk_of(scenario: &Scenario, host: &str) -> DiskProfile {
    let all = disk(&scenario.hardware.disk, DiskProfile::default());
    scenario.hardware.hosts.get(host).map_or(all, |(_, spec)| disk(spec, all))
}

/// The machines of a run.
pub struct Cluster {
    world: World,
    /// Hosts of the cluster by name.
    nodes: BTreeMap<String, HostId>,
    /// Hosts of twins by name.
    twins: BTreeMap<String, HostId>,
    /// Hosts of clients by name.
    clients: BTreeMap<String, HostId>,
    envs: BTreeMap<String, Env>,
    program: Box<dyn Program>,
    before_start: Box<dyn FnMut(&HostDisk)>,
}

/// What runs on the hosts of a cluster.
pub trait Program {
    /// A process of `host` has started.
    fn start(&mut self, host: &str, env: Env);

    /// Asks the process of `host` to stop in good order.
    fn stop(&mut self, host: &str);

    /// Whether the process of `host` has stopped in good order.
    fn has_stopped(&self, host: &str) -> bool;

    /// Whether the process of `host` cannot go on and should end.
    fn has_failed(&self, host: &str) -> bool;

    /// Notified when a process cannot go on, so that it ends at once.
    fn failures(&self) -> Arc<Notify>;

    /// Requests answered by all processes so far.
    fn responses(&self) -> u64;
}

impl Cluster {
    /// Adds the hosts of a scenario; nothing runs yet. `named` is told every host.
    pub fn new(
        world: &World,
        scenario: &Scenario,
        program: Box<dyn Program>,
        clients: &[String],
        mut named: impl FnMut(HostId, &str, NodeId),
    ) -> Self {
        let mut nodes = BTreeMap::new();
        for host in scenario.cluster.hosts() {
            let id = world.add_host(&host);
            named(id, &host, node_id(&host));
            nodes.insert(host, id);
        }
        let clients = clients
            .iter()
            .map(|name| {
                let id = world.add_host(name);
                named(id, name, NodeId::NONE);
                (name.clone(), id)
            })
            .collect();
        let cluster = Self {
            world: world.clone(),
            nodes,
            twins: BTreeMap::new(),
            clients,
            envs: BTreeMap::new(),
            program,
            before_start: Box::new(|_| {}),
        };
        cluster.hardware(scenario);
        cluster
    }

    /// What differs from host to host. A link between two hosts is as slow as the slower of them says.
    fn hardware(&self, scenario: &Scenario) {
        let all = link(&scenario.hardware.link, LinkProfile::default());
        for (name, (spec, disk_spec)) in &scenario.hardware.hosts {
            let Some(host) = self.nodes.get(name) else { continue };
            let profile = link(spec, all);
            for other in self.nodes.values().chain(self.clients.values()).filter(|other| *other != host) {
                self.world.set_link(*host, *other, profile);
                self.world.set_link(*other, *host, profile);
            }
            if *disk_spec != DiskSpec::default() {
                self.world.set_disk(*host, DEVICE, disk_of(scenario, name));
            }
        }
    }

    /// The world's number of a host.
    pub fn id(&self, host: &str) -> Option<HostId> {
        let clients = || self.clients.get(host);
        self.nodes.get(host).or_else(|| self.twins.get(host)).or_else(clients).copied()
    }

    /// Every host of the cluster.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.nodes.keys()
    }

    /// Starts a process on a host, if none runs there.
    pub fn start(&mut self, host: &str) -> bool {
        let Some(id) = self.id(host) else { return false };
        if self.world.is_running(id) {
            return false;
        }
        let serves = self.nodes.contains_key(host) || self.twins.contains_key(host);
        if serves {
            let disk = self.disk(host, id);
            (self.before_start)(&disk);
        }
        let env = self.world.start(id);
        self.envs.insert(host.to_owned(), env.clone());
        if serves {
            self.program.start(host, env);
        }
        true
    }

    /// Whether a process runs on a host.
    pub fn is_up(&self, host: &str) -> bool {
        self.id(host).is_some_and(|id| self.world.is_running(id))
    }

    /// The environment of the process that was started last on a host.
    pub fn env(&self, host: &str) -> Option<&Env> {
        self.envs.get(host)
    }

    /// The machine of a host's twin; nothing if a process runs there already.
    pub fn add_twin(&mut self, host: &str) -> Option<HostId> {
        let name = twin_of(host);
        let world = &self.world;
        let id = *self.twins.entry(name).or_insert_with_key(|name| world.add_host(name));
        (!self.world.is_running(id)).then_some(id)
    }

    /// Asks a process to stop in good order.
    pub fn ask_to_stop(&mut self, host: &str) {
        self.program.stop(host);
    }

    /// Whether a process has stopped in good order; its host is free for the next.
    pub fn has_stopped(&self, host: &str) -> bool {
        !self.is_up(host) || self.program.has_stopped(host)
    }
}

impl Cluster {
    /// Notified when a process cannot go on.
    pub fn failures(&self) -> Arc<Notify> {
        self.program.failures()
    }

    /// Ends the processes that cannot go on, as their program would by returning.
    pub fn bury(&self) {
        for (host, id) in self.nodes.iter().chain(&self.twins) {
            if self.world.is_running(*id) && self.program.has_failed(host) {
                self.world.stop(*id, world::Stop::Exit);
            }
        }
    }

    /// Requests answered by all processes so far.
    pub fn responses(&self) -> u64 {
        self.program.responses()
    }

    /// Calls `f` with a node's disk right before each start of a process there.
    pub fn before_start(&mut self, f: impl FnMut(&HostDisk) + 'static) {
        self.before_start = Box::new(f);
    }

    /// Every file of every node's disk. Shared with the world, not copied.
    pub fn disks(&self) -> Vec<HostDisk> {
        self.nodes.iter().map(|(host, id)| self.disk(host, *id)).collect()
    }

    fn disk(&self, host: &str, id: HostId) -> HostDisk {
        let (files, damage) = (self.world.files(id, DEVICE), self.world.damage(id, DEVICE));
        HostDisk { host: host.into(), node: node_id(host), files, damage }
    }
}

/// The disk device of every node.
pub const DEVICE: &str = "data";

/// Echo servers.
#[derive(Debug, Default)]
pub struct EchoServers;

impl Program for EchoServers {
    fn start(&mut self, _host: &str, env: Env) {
        env.spawn_detached("server", super::echo::serve(env.clone()));
    }

    fn stop(&mut self, _host: &str) {}

    fn has_stopped(&self, _host: &str) -> bool {
        true
    }

    fn has_failed(&self, _host: &str) -> bool {
        false
    }

    fn failures(&self) -> Arc<Notify> {
        Arc::default()
    }

    fn responses(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_node_ids_go_both_ways() {
        for host in ["b1", "b12", "c1", "c3"] {
            assert_eq!(host_of(node_id(host)), host);
        }
        assert!(node_id("writers-1").is_none());
        assert!(node_id("clients").is_none());
    }
}
