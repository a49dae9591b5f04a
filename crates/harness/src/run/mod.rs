//! Carries out a scenario in a world: builds the hosts, lets the loads run, hurts, heals, reads everything back, judges.
//!
//! [`run`] is a function of scenario, seed, plant and build. The world's time starts at 0; the phases begin at a whole
//! second, once the cluster has formed; the time before is a phase called `setup` in reports. After the last phase everything
//! is healed and the cluster gets the time it may take to be whole, computed from its time-outs; then a fresh consumer reads
//! every partition.

mod brokers;
pub mod budget;
pub mod cluster;
mod echo;
mod ends;
mod load;
mod objective;
mod record;
mod resolve;
mod schedule;
mod timeline;
pub mod timers;
mod value;
mod watch;

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use protocol::TopicPartition;
use serde::{Deserialize, Serialize};
use world::{Time, TraceHash, World};

use crate::checker::{self, Finding, RunEnd, Setup};
use crate::event::Stamped;
use crate::history::{LoadInfo, ReadBack};
use crate::measure::{FaultSpan, Gauge, Input, Window, measure};
use crate::report::{Bound, Build, CheckOutcome, Crash, ReachRow, RunResult, SloVerdict, Verdict, check_rows};
use crate::scenario::{Scenario, Work};

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
    end: RunEnd,
    trace_hash: String,
    events: u64,
    gauges: Vec<Gauge>,
    elections: Vec<u64>,
    candidacies: Vec<u64>,
    milestones: Vec<Stamped>,
    crashes: Vec<Crash>,
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
    Ok(judge(scenario, options, lived))
}

/// The load's one "partition" in a history of echoes.
fn echo_partition(load: &str) -> TopicPartition {
    TopicPartition::new(format!("echo-{load}"), 0)
}

fn load_infos(scenario: &Scenario) -> Vec<LoadInfo> {
    let info = |name: &str, topic: &str, produces, in_flight| LoadInfo {
        name: name.to_owned(),
        topic: topic.to_owned(),
        produces,
        idempotent: false,
        in_flight,
    };
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
        .collect()
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
    let watch =
        Arc::new(Mutex::new(watch::Watch::new(checker::all(&setup), &scenario.expect.reach, options.trace.clone())));
    let lock = || watch.lock().unwrap_or_else(PoisonError::into_inner);
    world.on_event(Box::new({
        let watch = Arc::clone(&watch);
        move |event| watch.lock().unwrap_or_else(PoisonError::into_inner).event(event)
    }));
    let partitions = if scenario.needs_cluster() {
        setup.partitions().collect()
    } else {
        scenario.loads.iter().map(|load| echo_partition(&load.name.value)).collect()
    };
    let recorder = record::Recorder::new(load_infos(scenario), partitions);
    let program: Box<dyn cluster::Program> = if scenario.needs_cluster() {
        Box::new(brokers::Brokers::new(scenario)?)
    } else {
        Box::new(cluster::EchoServers)
    };
    let clients = client_hosts(scenario);
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
    let formed = form(&world, scenario, &setup, &watch, &mut driver).await;
    // Phases begin at a whole second.
    let origin = (world.now().0 / SECOND + 1) * SECOND;
    world.sleep_until(Time(origin)).await;
    lock().count_from(origin);
    driver.windows.push(Window { name: "setup".to_owned(), start_ns: 0, end_ns: origin, measured: false });
    match formed {
        Ok(()) => {
            start_echo_loads(&world, scenario, driver.cluster(), &recorder, origin);
            start_loads(&world, scenario, driver.cluster(), &recorder, origin, &producers);
            driver.phases().await;
        }
        Err(message) => lock().crashes.push(Crash { at_ns: origin, host: "cluster".to_owned(), message }),
    }

    let loads_ended_ns = world.now().0;
    recorder.end();
    driver.heal_all().await;
    let healed_ns = world.now().0;
    let bound = timers::progress_bound(scenario);
    settle(&world, scenario, &mut driver, &recorder, healed_ns, &bound).await;
    let mut read_back = ReadBack::default();
    if scenario.needs_cluster()
        && let Some(env) = driver.cluster().env(READER).cloned()
    {
        let partitions: Vec<TopicPartition> = setup.partitions().collect();
        let patience = Duration::from_secs(60);
        let bootstrap = brokers::bootstrap(scenario);
        read_back = load::read_back(scenario, &env, bootstrap, &recorder, &partitions, patience).await;
    }
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
        disks,
        healed_ns,
        progress_bound_ns: bound.total_ns,
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
        end,
        trace_hash: world.trace_hash().to_string(),
        events: world.counters().events,
        gauges: watch.gauges.clone(),
        elections: watch.elections.clone(),
        candidacies: watch.candidacies.clone(),
        milestones: std::mem::take(&mut watch.milestones),
        crashes: watch.crashes.clone(),
        reached,
        findings,
        trace: watch.take_trace(),
        checkpoints: world.checkpoints().iter().map(|checkpoint| checkpoint.hash).collect(),
        recorded: world.recorded().iter().map(|event| Recorded::of(event, &world)).collect(),
        produce_requests,
        requests,
    })
}

/// Lets the checkers judge. Without a cluster there is nothing that they could say.
fn judge_promises(watch: &mut watch::Watch, setup: &Setup, end: &RunEnd) -> Vec<Finding> {
    let mut checkers = watch.take_checkers();
    if setup.nodes.is_empty() { Vec::new() } else { checker::judge(&mut checkers, end) }
}

fn start_echo_loads(
    world: &World,
    scenario: &Scenario,
    hosts: &cluster::Cluster,
    recorder: &record::Recorder,
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
const READER: &str = "reader";

/// The hosts of all clients.
fn client_hosts(scenario: &Scenario) -> Vec<String> {
    if !scenario.needs_cluster() {
        return Vec::new();
    }
    let mut hosts = vec![READER.to_owned()];
    for load in &scenario.loads {
        hosts.extend((0..load.clients).map(|client| client_host(&load.name.value, client)));
    }
    hosts
}

/// The host of a load's client: `writers-1`.
fn client_host(load: &str, client: u32) -> String {
    format!("{load}-{}", client + 1)
}

/// Waits until the brokers serve and the topics are there, whole. `Err` says what was missing.
async fn form(
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
const SECOND: u64 = 1_000_000_000;

fn start_loads(
    world: &World,
    scenario: &Scenario,
    hosts: &cluster::Cluster,
    recorder: &record::Recorder,
    origin: u64,
    producers: &load::Producers,
) {
    let partitions: Vec<TopicPartition> = cluster::setup(scenario).partitions().collect();
    if !partitions.is_empty()
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

/// Waits until the cluster had the time that it may take, and every send has its outcome or had the time for one.
async fn settle(
    world: &World,
    scenario: &Scenario,
    driver: &mut timeline::Driver<'_>,
    recorder: &record::Recorder,
    healed_ns: u64,
    bound: &Bound,
) {
    if scenario.needs_cluster() {
        driver.wait_until(healed_ns + bound.total_ns).await;
    }
    let patience = scenario
        .loads
        .iter()
        .map(|load| match &load.work {
            Work::Produce(produce) => produce.timeout,
            Work::Echo { timeout, .. } => *timeout,
            Work::Consume { .. } => 0,
        })
        .max()
        .unwrap_or(0);
    // A send in flight when its delivery time-out comes is waited for until its request ends.
    let due = healed_ns + patience + 2 * SECOND;
    while recorder.pending() > 0 && world.now().0 < due {
        world.sleep(Duration::from_millis(100)).await;
    }
}

/// From what happened to how it is judged.
fn judge(scenario: &Scenario, options: &Options, lived: Lived) -> Outcome {
    let Lived { windows, mut faults, .. } = lived;
    let end_ns = lived.end.loads_ended_ns;
    for fault in &mut faults {
        fault.end_ns = fault.end_ns.min(lived.end.healed_ns);
    }
    let input =
        Input { history: &lived.end.history, windows: &windows, faults: &faults, gauges: &lived.gauges, end_ns };
    let measured = measure(&input);
    let allowed: Vec<String> = scenario.expect.allow.iter().map(|allow| allow.what.clone()).collect();
    let checks = check_rows(lived.findings, &lived.milestones, &scenario.expect.safety, &allowed);
    let broken = checks
        .iter()
        .filter(|check| matches!(&check.outcome, CheckOutcome::Violated(violation) if !violation.allowed))
        .count();
    let safe = broken == 0 && lived.crashes.is_empty();
    let grounds = objective::Grounds {
        scenario,
        history: &lived.end.history,
        measured: &measured,
        windows: &windows,
        faults: &faults,
        controller_lost: &lived.controller_lost,
        elections: &lived.elections,
        candidacies: &lived.candidacies,
        end_ns,
    };
    let slo = grounds.judge(safe);
    let bound = scenario.needs_cluster().then(|| grounds.bound());
    let mut result = RunResult {
        schema_version: 1,
        scenario: scenario.name.clone(),
        about: scenario.about.clone(),
        path: options.path.clone(),
        sets: options.sets.clone(),
        plant: probe::chosen().map(str::to_owned),
        seed: options.seed,
        target: "sim".to_owned(),
        hardware: "ideal".to_owned(),
        build: options.build.clone(),
        trace_hash: lived.trace_hash,
        verdict: Verdict::Pass,
        why: Vec::new(),
        virtual_ns: lived.end.ended_ns,
        events: lived.events,
        produce_requests: lived.produce_requests,
        requests: lived.requests,
        keep: scenario.expect.keep.to_string(),
        allowed,
        measured,
        windows,
        checks,
        slo,
        reached: lived.reached,
        bound,
        crashes: lived.crashes,
        losses: lived.end.losses.iter().map(Into::into).collect(),
        sometimes: probe::reached().into_iter().map(|(name, times)| (name.to_owned(), times)).collect(),
    };
    decide(&mut result, broken, lived.misses);
    Outcome { result, trace: lived.trace, checkpoints: lived.checkpoints, recorded: lived.recorded }
}

/// The verdict: safety before objectives before what was not reached; an empty run never passes.
fn decide(result: &mut RunResult, broken: usize, misses: Vec<String>) {
    let judged = result
        .checks
        .iter()
        .filter(|check| matches!(check.outcome, CheckOutcome::Held { .. } | CheckOutcome::Violated(_)))
        .count();
    let of = |verdict: SloVerdict| result.slo.iter().filter(|row| row.verdict == verdict).count();
    let (missed, unsampled, met) = (of(SloVerdict::Missed), of(SloVerdict::NoSamples), of(SloVerdict::Met));
    let unreached = result.reached.iter().filter(|row| row.times == 0).count();
    let mut why = Vec::new();
    let plural = |number: usize, one: &str, many: &str| format!("{number} {}", if number == 1 { one } else { many });
    if broken > 0 {
        why.push(plural(broken, "promise broken", "promises broken"));
    }
    if !result.crashes.is_empty() {
        why.push(plural(result.crashes.len(), "process crashed", "processes crashed"));
    }
    if !why.is_empty() {
        result.verdict = Verdict::Safety;
    } else if missed > 0 {
        why.push(plural(missed, "objective missed", "objectives missed"));
        result.verdict = Verdict::Slo;
    } else {
        if unsampled > 0 {
            why.push(plural(unsampled, "objective without samples", "objectives without samples"));
        }
        if unreached > 0 {
            why.push(format!("{unreached} of {} not reached", result.reached.len()));
        }
        if judged == 0 && met == 0 {
            why.push("nothing was judged".to_owned());
        }
        why.extend(misses);
        if !why.is_empty() {
            result.verdict = Verdict::Inconclusive;
        }
    }
    let last = why.len().saturating_sub(1);
    result.why =
        why.into_iter().enumerate().map(|(index, text)| if index < last { text + "," } else { text }).collect();
}
