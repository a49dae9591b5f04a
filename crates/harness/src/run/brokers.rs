//! The program of a cluster's hosts: a broker, a controller, or both, of the code that serves real clients.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use broker::{Broker, Config, Release};
use futures_util::future::{Either, select};
use runtime::{Address, Env, Observation};
use tokio::sync::Notify;

use crate::scenario::Scenario;

use super::cluster::{DEVICE, Program, is_broker, node_id, original_of};
use super::timers;

/// Where brokers listen for clients and for each other.
pub const PORT: u16 = 9092;
/// Where controllers listen.
const CONTROLLER_PORT: u16 = 9093;
/// The simulated cluster's id: 22 characters as Kafka prints a UUID.
const CLUSTER_ID: &str = "wavetank-simulated-000";

/// How often a process tells how many requests it has answered.
const TELL: Duration = Duration::from_secs(1);

/// One process, as the harness sees it.
#[derive(Debug, Default)]
struct Process {
    stop: Notify,
    stopped: AtomicBool,
    failed: AtomicBool,
    responses: AtomicU64,
}

/// Starts and stops brokers.
pub struct Brokers {
    configs: BTreeMap<String, Config>,
    processes: BTreeMap<String, Arc<Process>>,
    /// Requests answered by processes that have ended.
    before: u64,
    /// Told when a process cannot go on.
    failures: Arc<Notify>,
}

impl Brokers {
    /// The brokers of a scenario. `Err` names what is wrong with its configuration.
    pub fn new(scenario: &Scenario) -> Result<Self, String> {
        let mut configs = BTreeMap::new();
        for host in scenario.cluster.hosts() {
            let config = config(scenario, &host).map_err(|why| format!("the configuration of {host}: {why}"))?;
            configs.insert(host, config);
        }
        Ok(Self { configs, processes: BTreeMap::new(), before: 0, failures: Arc::default() })
    }

    /// A twin has its original's configuration, but for its address.
    fn config_of(&self, host: &str) -> Option<Config> {
        let Some(original) = original_of(host) else { return self.configs.get(host).cloned() };
        let mut config = self.configs.get(original)?.clone();
        for listener in config.listeners.iter_mut().chain(&mut config.advertised_listeners) {
            listener.address.host = host.into();
        }
        Some(config)
    }
}

/// The addresses that clients are told.
pub fn bootstrap(scenario: &Scenario) -> Vec<Address> {
    scenario.cluster.broker_hosts().into_iter().map(|host| Address::new(host, PORT)).collect()
}

/// The configuration of a host, from property names alone, as a real node's.
fn config(scenario: &Scenario, host: &str) -> Result<Config, String> {
    let mut properties = timers::properties(scenario, host);
    let voters: Vec<String> = scenario.cluster.controller_hosts();
    let (broker, controller) = (is_broker(host), voters.iter().any(|voter| voter == host));
    let mut listeners = Vec::new();
    let mut roles = Vec::new();
    if broker {
        listeners.push(format!("PLAINTEXT://{host}:{PORT}"));
        roles.push("broker");
    }
    if controller {
        listeners.push(format!("CONTROLLER://{host}:{CONTROLLER_PORT}"));
        roles.push("controller");
    }
    let voters: Vec<String> =
        voters.iter().map(|voter| format!("{}@{voter}:{CONTROLLER_PORT}", node_id(voter))).collect();
    let mut set = |name: &str, value: String| properties.insert(name.to_owned(), value);
    set("node.id", node_id(host).to_string());
    set("cluster.id", CLUSTER_ID.to_owned());
    set("process.roles", roles.join(","));
    set("listeners", listeners.join(","));
    set("controller.listener.names", "CONTROLLER".to_owned());
    set("controller.quorum.voters", voters.join(","));
    set("log.dirs", DEVICE.to_owned());
    let pairs = properties.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    Config::from_properties(pairs)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

impl Program for Brokers {
    fn start(&mut self, host: &str, env: Env) {
        let Some(config) = self.config_of(host) else { return };
        let process = Arc::new(Process::default());
        if let Some(old) = self.processes.insert(host.to_owned(), Arc::clone(&process)) {
            self.before += old.responses.load(Relaxed);
        }
        env.spawn_detached("main", main(env.clone(), config, process, Arc::clone(&self.failures)));
    }

    fn stop(&mut self, host: &str) {
        if let Some(process) = self.processes.get(host) {
            process.stop.notify_one();
        }
    }

    fn has_stopped(&self, host: &str) -> bool {
        self.processes.get(host).is_none_or(|process| process.stopped.load(Relaxed) || process.failed.load(Relaxed))
    }

    fn has_failed(&self, host: &str) -> bool {
        self.processes.get(host).is_some_and(|process| process.failed.load(Relaxed))
    }

    fn failures(&self) -> Arc<Notify> {
        Arc::clone(&self.failures)
    }

    fn responses(&self) -> u64 {
        self.before + self.processes.values().map(|process| process.responses.load(Relaxed)).sum::<u64>()
    }
}

/// The process: starts, serves until it is asked to stop or cannot go on.
async fn main(env: Env, config: Config, process: Arc<Process>, failures: Arc<Notify>) {
    let mut broker = match Broker::start(env.clone(), config, Release::current()).await {
        Ok(broker) => broker,
        Err(error) => {
            env.observe(Observation::Fatal { why: error.to_string() });
            process.failed.store(true, Relaxed);
            failures.notify_one();
            return;
        }
    };
    loop {
        let woken = {
            let asked = pin!(process.stop.notified());
            let failed = pin!(broker.failed());
            env.timeout(TELL, select(asked, failed)).await.map(|either| matches!(either, Either::Left(_)))
        };
        process.responses.store(broker.responses(), Relaxed);
        match woken {
            Err(_) => {}
            Ok(true) => break,
            Ok(false) => {
                process.failed.store(true, Relaxed);
                failures.notify_one();
                return;
            }
        }
    }
    broker.stop().await;
    process.stopped.store(true, Relaxed);
}
