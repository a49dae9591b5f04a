//! Carries out a scenario in a world: builds the hosts, lets the loads run, hurts, heals, reads everything back, judges.
//!
//! [`run`] is a function of scenario, seed, plant and build. The world's time starts at 0; the phases begin at a whole
//! second, once the cluster has formed; the time before is a phase called `setup` in reports. After the last phase everything
//! is healed and the cluster gets the time it may take to be whole, computed from its time-outs; then a fresh consumer reads
//! every partition.

pub mod cluster;
mod echo;
mod objective;
mod record;
mod resolve;
mod schedule;
mod timeline;
pub mod timers;
mod value;
mod watch;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use protocol::TopicPartition;
use runtime::Observation;
use world::{Time, World};

use crate::checker::{self, Finding, RunEnd, Setup};
use crate::event::Stamped;
use crate::history::{LoadInfo, ReadBack};
use crate::measure::{FaultSpan, Gauge, Input, Window, measure};
use crate::report::{Bound, Build, CheckOutcome, Crash, ReachRow, RunResult, SloVerdict, Verdict, check_rows};
use crate::scenario::{Scenario, Work};

pub use watch::TraceOf;

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
}

/// What a run gave.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The result.
    pub result: RunResult,
    /// The lines of the trace, if one was wanted.
    pub trace: Vec<String>,
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
    produce_requests: u64,
    requests: u64,
}

/// Runs a scenario. `progress` is told the world's time, now and then.
pub fn run(scenario: &Scenario, options: &Options, progress: &mut dyn FnMut(u64)) -> Result<Outcome, String> {
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
    let info = |name: &str, topic: &str, produces| LoadInfo {
        name: name.to_owned(),
        topic: topic.to_owned(),
        produces,
        idempotent: false,
    };
    scenario
        .loads
        .iter()
        .map(|load| {
            let name = load.name.value.as_str();
            match &load.work {
                Work::Produce(produce) => info(name, &produce.topic.value, true),
                Work::Consume { topic } => info(name, &topic.value, false),
                Work::Echo { .. } => info(name, &echo_partition(name).topic, true),
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
    if scenario.needs_cluster() {
        return Err("this build runs echo loads only: clusters come next".to_owned());
    }
    let program = Box::new(cluster::EchoServers);
    let mut hosts = cluster::Cluster::new(&world, scenario, program, &[], |id, name, node| {
        lock().name_host(id.0, name, node);
    });
    for name in scenario.cluster.hosts() {
        hosts.start(&name);
    }
    let mut driver = timeline::Driver::new(&world, scenario, Arc::clone(&watch), recorder.clone(), hosts, progress);
    world.sleep_until(Time(1_000_000_000)).await;
    let origin = world.now().0;
    lock().count_from(origin);
    start_echo_loads(&world, scenario, driver.cluster(), &recorder, origin);
    let setup_window = Window { name: "setup".to_owned(), start_ns: 0, end_ns: origin, measured: false };
    driver.windows.push(setup_window);
    driver.phases().await;

    let loads_ended_ns = world.now().0;
    recorder.end();
    driver.heal_all().await;
    let healed_ns = world.now().0;
    let bound = timers::progress_bound(scenario);
    settle(&world, &recorder, healed_ns, &bound).await;

    let faults = std::mem::take(&mut driver.faults);
    let windows = std::mem::take(&mut driver.windows);
    let mut watch = lock();
    let history = recorder.take();
    let end = RunEnd {
        setup: setup.clone(),
        history,
        read_back: ReadBack::default(),
        losses: watch.losses.clone(),
        disks: Vec::new(),
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
        produce_requests: 0,
        requests: 0,
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

/// Waits until every send has its outcome and the cluster had the time that it may take.
async fn settle(world: &World, recorder: &record::Recorder, healed_ns: u64, bound: &Bound) {
    world.observe(None, Observation::Note { what: "waits for progress".to_owned() });
    let due = healed_ns + bound.total_ns;
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
    Outcome { result, trace: lived.trace }
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
