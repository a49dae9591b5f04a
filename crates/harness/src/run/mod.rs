//! Carries out a scenario in a world: builds the hosts, lets the loads run, hurts, heals, reads everything back, judges.
//!
//! [`run`] is a function of scenario, seed, plant and build. The world's time starts at 0; the phases begin at a whole
//! second, once the cluster has formed; the time before is a phase called `setup` in reports. After the last phase everything
//! is healed and the cluster gets the time it may take to be whole, computed from its time-outs; then a fresh consumer reads
//! every partition.

mod brokers;
pub mod budget;
pub mod cluster;
mod core;
mod echo;
mod ending;
mod ends;
mod fresh;
mod gauges;
mod load;
mod objective;
mod record;
mod resolve;
mod schedule;
mod start;
mod stuck;
mod timeline;
pub mod timers;
mod twins;
mod value;
mod verdict;
mod watch;

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use protocol::TopicPartition;
use serde::{Deserialize, Serialize};
use world::{Time, TraceHash, World};

use crate::checker::{self, Finding, RunEnd, Setup};
use crate::event::Stamped;
use crate::history::ReadBack;
use crate::measure::{FaultSpan, Gauge, Window};
use crate::report::{Build, CoreRow, Crash, ReachRow, RunResult, SkippedRow};
use crate::scenario::Scenario;

pub use watch::TraceOf;
pub use world::CHECKPOINT_EVERY;

/// How a scenario is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The scenario's file, as given.
    pub path: String,
    /// What `--set` changed.
    pub sets: Vec<String>,
    /// The seed.
    pub seed: u64,
    /// Whose events go into the trace; nothing: no trace.
    pub trace: Option<TraceOf>,
    /// Which program this is.
    pub build: Build,
    /// Events to keep by their numbers, to see where two runs part; nothing: none.
    pub record: Option<Range<u64>>,
}

/// What a run gave.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The result.
    pub result: RunResult,
    /// The lines of the trace, if one was wanted.
    pub trace: Vec<String>,
    /// The trace's hash after every thousandth event.
    pub checkpoints: Vec<TraceHash>,
    /// The events of [`Options::record`].
    pub recorded: Vec<Recorded>,
}

/// An event of the world as the trace's hash saw it, for the place where two runs part.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Recorded {
    /// Its number in the run, from 1.
    pub id: u64,
    /// True time, ns.
    pub at_ns: u64,
    /// Where: a host's name, or `world`.
    pub host: String,
    /// What, in a few words.
    pub text: String,
    /// The number of the event that led to it; 0 where that is not known.
    pub cause: u64,
    /// The trace's hash before it.
    pub before: String,
}

impl Recorded {
    fn of(event: &world::Recorded, world: &World) -> Self {
        Self {
            id: event.id,
            at_ns: event.at.0,
            host: event.host.map_or("world".to_owned(), |host| world.name(host).to_string()),
            text: event.what.as_ref().map_or_else(|| event.text.clone(), crate::event::describe),
            cause: event.cause.0,
            before: event.before.to_string(),
        }
    }
}

/// What the world's part of a run leaves behind.
struct Lived {
    windows: Vec<Window>,
    faults: Vec<FaultSpan>,
    controller_lost: Vec<bool>,
    misses: Vec<String>,
    skipped: Vec<SkippedRow>,
    core: Option<CoreRow>,
    end: RunEnd,
    trace_hash: String,
    events: u64,
    gauges: Vec<Gauge>,
    elections: Vec<u64>,
    candidacies: Vec<u64>,
    milestones: Vec<Stamped>,
    crashes: Vec<Crash>,
    stops: Vec<Crash>,
    reached: Vec<ReachRow>,
    findings: Vec<Finding>,
    trace: Vec<String>,
    checkpoints: Vec<TraceHash>,
    recorded: Vec<Recorded>,
    produce_requests: u64,
    requests: u64,
}

/// Runs the plan that the seed makes of a scenario. `progress` is told the world's time, now and then.
pub fn run(scenario: &Scenario, options: &Options, progress: &mut dyn FnMut(u64)) -> Result<Outcome, String> {
    let scenario = &scenario.derive(options.seed);
    let config = cluster::world_config(scenario);
    let lived = World::run_with(options.seed, config, |world| live(world, scenario, options, progress));
    let lived = lived.map_err(|stalled| stalled.to_string())??;
    Ok(verdict::judge(scenario, options, lived))
}

async fn live(
    world: World,
    scenario: &Scenario,
    options: &Options,
    progress: &mut dyn FnMut(u64),
) -> Result<Lived, String> {
    if let Some(window) = &options.record {
        world.record(window.clone());
    }
    let setup = cluster::setup(scenario);
    let watch = Arc::new(Mutex::new(watch::Watch::new(
        checker::all(&setup),
        budget(scenario, &setup),
        &scenario.expect.reach,
        options.trace.clone(),
    )));
    let lock = || watch.lock().unwrap_or_else(PoisonError::into_inner);
    world.on_event(Box::new({
        let watch = Arc::clone(&watch);
        move |event| watch.lock().unwrap_or_else(PoisonError::into_inner).event(event)
    }));
    let partitions = if scenario.needs_cluster() {
        setup.partitions().collect()
    } else {
        scenario.loads.iter().map(|load| start::echo_partition(&load.name.value)).collect()
    };
    let recorder = record::Recorder::new(start::load_infos(scenario), partitions);
    let program: Box<dyn cluster::Program> = if scenario.needs_cluster() {
        Box::new(brokers::Brokers::new(scenario)?)
    } else {
        Box::new(cluster::EchoServers)
    };
    let clients = start::client_hosts(scenario);
    let mut hosts = cluster::Cluster::new(&world, scenario, program, &clients, |id, name, node| {
        lock().name_host(id.0, name, node);
    });
    hosts.before_start({
        let watch = Arc::clone(&watch);
        move |disk| watch.lock().unwrap_or_else(PoisonError::into_inner).before_start(disk)
    });
    for name in scenario.cluster.hosts().iter().chain(&clients) {
        hosts.start(name);
    }
    let mut driver = timeline::Driver::new(&world, scenario, Arc::clone(&watch), recorder.clone(), hosts, progress);
    let producers = load::Producers::default();
    let formed = start::form(&world, scenario, &setup, &watch, &mut driver).await;
    // Phases begin at a whole second.
    let origin = (world.now().0 / SECOND + 1) * SECOND;
    world.sleep_until(Time(origin)).await;
    lock().count_from(origin);
    driver.windows.push(Window { name: "setup".to_owned(), start_ns: 0, end_ns: origin, measured: false });
    match formed {
        Ok(()) => {
            start::start_echo_loads(&world, scenario, driver.cluster(), &recorder, origin);
            start::start_loads(&world, scenario, driver.cluster(), &recorder, origin, &producers);
            driver.phases().await;
        }
        Err(message) => lock().crashes.push(Crash { at_ns: origin, host: "cluster".to_owned(), message }),
    }

    let loads_ended_ns = world.now().0;
    recorder.end();
    let mut core = None;
    if scenario.core_first && scenario.needs_cluster() {
        core = core::phase(&world, scenario, &setup, &watch, &mut driver, &recorder).await;
    }
    let (core, core_row) = core.unzip();
    driver.heal_all().await;
    let bound = timers::progress_bound(scenario, recorder.written(world.now().0));
    if core.is_some() {
        ending::replace_disks(&world, &watch, &mut driver, &setup, &bound).await;
    }
    let healed_ns = world.now().0;
    ending::settle(&world, scenario, &mut driver, &recorder, healed_ns, &bound).await;
    let mut read_back = ReadBack::default();
    if scenario.needs_cluster()
        && let Some(env) = driver.cluster().env(start::READER).cloned()
    {
        let partitions: Vec<TopicPartition> = setup.partitions().collect();
        let patience = Duration::from_secs(60);
        let bootstrap = brokers::bootstrap(scenario);
        read_back = load::read_back(scenario, &env, bootstrap, &recorder, &partitions, patience).await;
    }
    let stuck = stuck::at_the_end(scenario, &setup, &lock(), &driver.up(), &read_back);
    let disks = if scenario.needs_cluster() { driver.cluster().disks() } else { Vec::new() };
    let requests = driver.cluster().responses();
    let produce_requests = producers
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .iter()
        .map(|producer| producer.counters())
        .map(|counters| counters.requests.saturating_sub(counters.retries))
        .sum();

    let faults = driver.take_faults();
    let windows = std::mem::take(&mut driver.windows);
    let mut watch = lock();
    let history = recorder.take();
    let end = RunEnd {
        setup: setup.clone(),
        history,
        read_back,
        losses: watch.losses.clone(),
        spoilt: watch.given_up_by_disk.iter().copied().collect(),
        disks,
        healed_ns,
        progress_bound_ns: bound.total_ns,
        core,
        stuck,
        loads_ended_ns,
        ended_ns: world.now().0,
    };
    let findings = judge_promises(&mut watch, &setup, &end);
    let reached = watch
        .reached()
        .map(|(reach, reached)| ReachRow {
            what: reach.text.value.clone(),
            times: reached.times,
            first_ns: reached.first_ns,
        })
        .collect();
    Ok(Lived {
        windows,
        faults,
        controller_lost: std::mem::take(&mut driver.controller_lost),
        misses: std::mem::take(&mut driver.misses),
        skipped: std::mem::take(&mut driver.skipped),
        core: core_row,
        end,
        trace_hash: world.trace_hash().to_string(),
        events: world.counters().events,
        gauges: watch.gauges.over_time().to_vec(),
        elections: watch.elections.clone(),
        candidacies: watch.candidacies.clone(),
        milestones: std::mem::take(&mut watch.milestones),
        crashes: watch.crashes.clone(),
        stops: watch.stops.clone(),
        reached,
        findings,
        trace: watch.take_trace(),
        checkpoints: world.checkpoints().iter().map(|checkpoint| checkpoint.hash).collect(),
        recorded: world.recorded().iter().map(|event| Recorded::of(event, &world)).collect(),
        produce_requests,
        requests,
    })
}

/// What the faults of a run are measured by. A fencing that is on its way comes within a session; a change of an ISR within
/// a request's time-out; both are committed after a linger.
fn budget(scenario: &Scenario, setup: &Setup) -> budget::Budget {
    let ms = |name: &str| u64::try_from(timers::number(scenario, name)).unwrap_or(0) * 1_000_000;
    let settle_ns =
        ms("broker.session.timeout.ms") + ms("request.timeout.ms") + ms("controller.quorum.request.timeout.ms");
    budget::Budget::new(&budget::Config { setup: setup.clone(), settle_ns })
}

/// Lets the checkers judge. Without a cluster there is nothing that they could say.
fn judge_promises(watch: &mut watch::Watch, setup: &Setup, end: &RunEnd) -> Vec<Finding> {
    let mut checkers = watch.take_checkers();
    if setup.nodes.is_empty() { Vec::new() } else { checker::judge(&mut checkers, end) }
}

const SECOND: u64 = 1_000_000_000;
