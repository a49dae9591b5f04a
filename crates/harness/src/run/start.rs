//! How a run begins: the hosts of its clients, the cluster that forms, the loads that start.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use protocol::TopicPartition;
use world::World;

use crate::checker::Setup;
use crate::history::LoadInfo;
use crate::scenario::{Scenario, Work, client_host};

use super::record::Recorder;
use super::{SECOND, brokers, cluster, echo, ends, load, schedule, timeline, watch};

/// The load's one "partition" in a history of echoes.
pub(super) fn echo_partition(load: &str) -> TopicPartition {
    TopicPartition::new(format!("echo-{load}"), 0)
}

/// The loads, for the history.
pub(super) fn load_infos(scenario: &Scenario) -> Vec<LoadInfo> {
    let info = |name: &str, topic: &str, produces, in_flight| LoadInfo {
        name: name.to_owned(),
        topic: topic.to_owned(),
        produces,
        idempotent: false,
        in_flight,
    };
    // Behind them all, the sends of the core: no load to be measured.
    let core = scenario.core_first.then(|| info("core", "", false, 0));
    scenario
        .loads
        .iter()
        .map(|load| {
            let name = load.name.value.as_str();
            match &load.work {
                Work::Produce(produce) => info(name, &produce.topic.value, true, produce.in_flight),
                Work::Consume { topic } => info(name, &topic.value, false, 0),
                Work::Echo { .. } => info(name, &echo_partition(name).topic, true, 0),
            }
        })
        .chain(core)
        .collect()
}

/// Starts the loads that need no brokers.
pub(super) fn start_echo_loads(
    world: &World,
    scenario: &Scenario,
    hosts: &cluster::Cluster,
    recorder: &Recorder,
    origin: u64,
) {
    for (index, load) in scenario.loads.iter().enumerate() {
        let Work::Echo { from, to, pace, timeout } = &load.work else { continue };
        let Some(env) = hosts.env(&from.value) else { continue };
        for client in 0..load.clients {
            let rng = world.rng(&format!("load/{}/{client}", load.name.value));
            let schedule = schedule::Schedule::new(origin, pace.rate, load.clients, client, pace.arrivals, rng);
            let echo = echo::Echo {
                load: u16::try_from(index).expect("fewer loads than that"),
                client: u16::try_from(client).expect("fewer clients than that"),
                partition: echo_partition(&load.name.value),
                to: to.value.clone(),
                pace: *pace,
                timeout: Duration::from_nanos(*timeout),
            };
            env.spawn_detached("echo client", echo.run(env.clone(), recorder.clone(), schedule));
        }
    }
}

/// The host of the fresh consumer at the end, and of the admin client at the beginning.
pub(super) const READER: &str = "reader";

/// The hosts of all clients.
pub(super) fn client_hosts(scenario: &Scenario) -> Vec<String> {
    if !scenario.needs_cluster() {
        return Vec::new();
    }
    let mut hosts = vec![READER.to_owned()];
    hosts.extend(scenario.client_hosts());
    hosts
}

/// Waits until the brokers serve and the topics are there, whole. `Err` says what was missing.
pub(super) async fn form(
    world: &World,
    scenario: &Scenario,
    setup: &Setup,
    watch: &Arc<Mutex<watch::Watch>>,
    driver: &mut timeline::Driver<'_>,
) -> Result<(), String> {
    if !scenario.needs_cluster() {
        return Ok(());
    }
    let lock = || watch.lock().unwrap_or_else(PoisonError::into_inner);
    let brokers = usize::try_from(scenario.cluster.brokers).unwrap_or(0);
    let serving = || lock().unfenced.values().filter(|unfenced| **unfenced).count();
    while serving() < brokers {
        if world.now().0 > FORM_NS {
            return Err(format!("no cluster within 60s: {} of {brokers} brokers serve", serving()));
        }
        world.sleep(Duration::from_millis(10)).await;
        driver.tell_progress();
    }
    let env = driver.cluster().env(READER).cloned().ok_or("no host for the admin client")?;
    if !scenario.topics.is_empty() {
        load::create_topics(scenario, &env, brokers::bootstrap(scenario)).await?;
    }
    while !watch::is_whole(&lock(), setup) {
        if world.now().0 > FORM_NS {
            return Err("the topics were not whole within 60s".to_owned());
        }
        world.sleep(Duration::from_millis(10)).await;
        driver.tell_progress();
    }
    Ok(())
}

/// How long a cluster may take to form.
const FORM_NS: u64 = 60 * SECOND;

/// Starts the loads of a cluster, and who asks for its ends.
pub(super) fn start_loads(
    world: &World,
    scenario: &Scenario,
    hosts: &cluster::Cluster,
    recorder: &Recorder,
    origin: u64,
    producers: &load::Producers,
) {
    let partitions: Vec<TopicPartition> = cluster::setup(scenario).partitions().collect();
    // A cluster that nobody uses is left alone.
    if !partitions.is_empty()
        && !scenario.loads.is_empty()
        && let Some(env) = hosts.env(READER)
    {
        let config = load::config(scenario, "ends", brokers::bootstrap(scenario));
        let ends = ends::Ends::new(env, config, recorder.clone(), &partitions);
        env.spawn_detached("asking for ends", ends.run());
    }
    for (index, load) in scenario.loads.iter().enumerate() {
        let name = &load.name.value;
        let index = u16::try_from(index).expect("fewer loads than that");
        let clients = u16::try_from(load.clients).expect("at most 1,000");
        for client in 0..clients {
            let host = client_host(name, u32::from(client));
            let Some(env) = hosts.env(&host) else { continue };
            let config = load::config(scenario, &host, brokers::bootstrap(scenario));
            match &load.work {
                Work::Produce(produce) => {
                    let rng = |what: &str| world.rng(&format!("load/{name}/{client}/{what}"));
                    let schedule = schedule::Schedule::new(
                        origin,
                        produce.pace.rate,
                        load.clients,
                        u32::from(client),
                        produce.pace.arrivals,
                        rng("arrivals"),
                    );
                    let count = scenario.topic(&produce.topic.value).map_or(1, |topic| topic.partitions);
                    let producing = load::Producing {
                        load: index,
                        client,
                        produce: produce.clone(),
                        partitions: count,
                        config,
                        rng: rng("keys"),
                    };
                    let run = producing.run(env.clone(), recorder.clone(), schedule, Arc::clone(producers));
                    env.spawn_detached("producing", run);
                }
                Work::Consume { topic } => {
                    let own = partitions
                        .iter()
                        .zip(0u32..)
                        .filter(|(partition, _)| partition.topic == topic.value.as_str())
                        .filter(|(partition, _)| partition.partition % i32::from(clients) == i32::from(client))
                        .map(|(partition, index)| (partition.clone(), index))
                        .collect();
                    let consuming = load::Consuming { load: index, client, clients, partitions: own, config };
                    env.spawn_detached("consuming", consuming.run(env.clone(), recorder.clone()));
                }
                Work::Echo { .. } => {}
            }
        }
    }
}
