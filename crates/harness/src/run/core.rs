//! The first of the two phases at the end of a run: a random core that suffices is healed, the rest is frozen, and progress is
//! owed within a bound that follows from the time-outs.
//!
//! Progress means: every partition has a leader in the core and acknowledges a fresh send with acks=all, and the controller
//! counts every broker of the core in. Who cannot make it is told by [`stuck`](super::stuck).
//!
//! A core may need a node whose bytes at rest have changed: with as many replicas as `min.insync.replicas` it needs all. Such
//! a node refuses to start, or serves what it cannot vouch for. Healing it means what its operator would do: its disk is
//! replaced by an empty one, as soon as the others can do without it, and from then on progress is owed.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use protocol::{NodeId, TopicPartition};
use world::World;

use crate::checker::{CoreEnd, Setup};
use crate::report::CoreRow;
use crate::scenario::Scenario;

use super::cluster::{host_of, is_broker};
use super::fresh::Fresh;
use super::record::Recorder;
use super::stuck::{Place, Scene};
use super::watch::Watch;
use super::{start, timeline, timers};

/// How often it is looked whether the core is well.
const TICK: Duration = Duration::from_millis(20);

/// Heals a core and waits until it is well, or the bound is over.
pub(super) async fn phase(
    world: &World,
    scenario: &Scenario,
    setup: &Setup,
    watch: &Arc<Mutex<Watch>>,
    driver: &mut timeline::Driver<'_>,
    recorder: &Recorder,
) -> Option<(CoreEnd, CoreRow)> {
    let env = driver.cluster().env(start::READER).cloned()?;
    let lock = || watch.lock().unwrap_or_else(PoisonError::into_inner);
    driver.quiet().await;
    let mut rng = world.rng("core");
    let mut core = lock().budget.draw_core(world.now().0, &mut rng);
    let hosts = |core: &BTreeSet<NodeId>| core.iter().map(|id| host_of(*id)).collect::<BTreeSet<String>>();
    let mut rest = driver.heal_core(&hosts(&core), &mut rng);
    let bound = timers::progress_bound(scenario, recorder.written(world.now().0));
    let mut replaced = Vec::new();
    let mut healed_ns = world.now().0;
    let partitions: Vec<TopicPartition> = setup.partitions().collect();
    let load = u16::try_from(scenario.loads.len()).expect("fewer loads than that");
    let mut fresh = Fresh::new(&env, scenario, recorder, load, Duration::from_nanos(bound.total_ns));
    let mut took_ns = None;
    while world.now().0 <= healed_ns + bound.total_ns {
        for partition in &partitions {
            fresh.send(partition);
        }
        if is_well(&lock(), &core, &partitions, &fresh) {
            took_ns = Some(world.now().0 - healed_ns);
            break;
        }
        // Of several members that were down together, the last to be fenced stays in the ISR; nobody knows before who it is.
        // (The driver locks what is asked here: an `if let` would hold the lock until its end.)
        let more = missing(&mut lock(), &core, &partitions, &mut rng);
        if let Some(more) = more {
            core.insert(more);
            driver.thaw(&host_of(more));
            rest.retain(|(host, _)| *host != host_of(more));
            healed_ns = world.now().0;
        }
        let node = replaceable(&mut lock(), world.now().0, &core);
        if let Some(node) = node {
            let leads = lock().controller.is_some_and(|(_, leader)| leader == node);
            if leads && setup.voters() > 1 && driver.up().contains(&host_of(node)) {
                // The others must not believe that a node leads which has forgotten it.
                driver.take_down(&host_of(node));
            } else if !leads || setup.voters() == 1 {
                driver.replace_disk(&host_of(node));
                replaced.push(host_of(node));
                healed_ns = world.now().0;
            }
        }
        world.sleep(TICK).await;
        driver.tell_progress();
    }
    let mut stuck = Vec::new();
    if took_ns.is_none() {
        let (watch, nodes) = (lock(), hosts(&core));
        let scene = Scene { scenario, setup, watch: &watch, within: &nodes, up: &driver.up() };
        stuck = partitions
            .iter()
            .filter(|partition| !fresh.is_acknowledged(partition) || !leads_in(&watch, &core, partition))
            .map(|partition| {
                let mut stuck = scene.classify(Place::Core, partition);
                if let Some(why) = fresh.failure(partition) {
                    stuck.why.push_str(&format!("; the last send failed: {why}"));
                }
                stuck
            })
            .collect();
        if stuck.is_empty() {
            stuck.push(scene.not_counted_in(Place::Core));
        }
    }
    let row = CoreRow {
        hosts: hosts(&core).into_iter().collect(),
        rest: rest.into_iter().map(|(host, how)| (host, how.to_owned())).collect(),
        replaced,
        healed_ns,
        took_ns,
        bound: bound.clone(),
    };
    Some((CoreEnd { healed_ns, bound_ns: bound.total_ns, took_ns, stuck }, row))
}

fn leads_in(watch: &Watch, core: &BTreeSet<NodeId>, partition: &TopicPartition) -> bool {
    watch.leader(partition).is_some_and(|leader| core.contains(&leader))
}

fn is_well(watch: &Watch, core: &BTreeSet<NodeId>, partitions: &[TopicPartition], fresh: &Fresh) -> bool {
    // Controllers that are no brokers are in no list of sessions.
    let counted_in = core.iter().all(|id| watch.unfenced.get(id).copied().unwrap_or(!is_broker(&host_of(*id))));
    counted_in
        && partitions.iter().all(|partition| leads_in(watch, core, partition) && fresh.is_acknowledged(partition))
}

/// A member of the core whose disk must be replaced, and may be now.
fn replaceable(watch: &mut Watch, now: u64, core: &BTreeSet<NodeId>) -> Option<NodeId> {
    let rotten = watch.budget.rotten();
    rotten.into_iter().find(|node| core.contains(node) && watch.budget.may_replace(now, *node))
}

/// Somebody whom a partition cannot do without.
fn missing(
    watch: &mut Watch,
    core: &BTreeSet<NodeId>,
    partitions: &[TopicPartition],
    rng: &mut rand_chacha::ChaCha8Rng,
) -> Option<NodeId> {
    partitions.iter().find_map(|partition| {
        let isr = watch.budget.isr(partition);
        let lost = !isr.is_empty() && !isr.iter().any(|id| core.contains(id));
        if lost { watch.budget.eligible(partition, rng) } else { None }
    })
}
