//! C-LIVE: once every fault has ended and every host is up, the cluster gets well within the bound.
//!
//! Well means: every partition has a leader and a full ISR, every send has an outcome, and every partition could be read
//! to its end. Nodes that refuse to start because a fault has spoilt their disks ([`RunEnd::spoilt`]) are not missed.

use std::collections::BTreeMap;

use protocol::{NodeId, TopicPartition};
use runtime::Observation;

use super::{Checker, CoreEnd, Judgement, RunEnd, Stuck, Violation};
use crate::event::{Stamped, nodes};
use crate::history::SendOutcome;

/// A committed state of a partition.
struct State {
    at_ns: u64,
    leader: NodeId,
    isr: Vec<NodeId>,
    replicas: Vec<NodeId>,
}

impl State {
    /// It has a leader, and all its replicas are in sync but those that are not missed.
    fn is_well(&self, spoilt: &[NodeId]) -> bool {
        !self.leader.is_none() && self.replicas.iter().all(|id| self.isr.contains(id) || spoilt.contains(id))
    }
}

/// Since when a partition has been well without a break. Another leader is no break: the balancer chooses one now and then,
/// and may do so at any moment (`leader.imbalance.check.interval.seconds`).
fn well_since(states: &[State], spoilt: &[NodeId]) -> Option<u64> {
    states.iter().rev().take_while(|state| state.is_well(spoilt)).last().map(|state| state.at_ns)
}

/// See the module.
#[derive(Default)]
pub struct Progress {
    /// All committed states, in order.
    states: BTreeMap<TopicPartition, Vec<State>>,
    /// The last state by partition epoch: every controller tells its own commits, so an older one may come late.
    epochs: BTreeMap<TopicPartition, i32>,
}

impl Checker for Progress {
    fn id(&self) -> &'static str {
        "C-LIVE"
    }

    fn slug(&self) -> &'static str {
        "progress"
    }

    fn unit(&self) -> &'static str {
        "partitions and sends"
    }

    fn observe(&mut self, event: &Stamped) {
        if let Observation::PartitionCommitted { partition, leader, partition_epoch, isr, replicas, .. } = &event.what {
            let known = self.epochs.get(partition).copied().unwrap_or(-1);
            if partition_epoch.0 > known {
                self.epochs.insert(partition.clone(), partition_epoch.0);
                let state = State { at_ns: event.at_ns, leader: *leader, isr: isr.clone(), replicas: replicas.clone() };
                self.states.entry(partition.clone()).or_default().push(state);
            }
        }
    }

    fn finish(&mut self, run: &RunEnd) -> Judgement {
        let due = run.healed_ns + run.progress_bound_ns;
        if run.ended_ns < due {
            return Judgement::NothingToJudge {
                why: format!(
                    "the run ended {:.1}s after all was healed; the cluster may take {:.1}s",
                    run.ended_ns.saturating_sub(run.healed_ns) as f64 / 1e9,
                    run.progress_bound_ns as f64 / 1e9
                ),
            };
        }
        let mut judged = 0;
        let mut problems: Vec<(Option<TopicPartition>, String)> = Vec::new();
        if let Some(core) = &run.core {
            judged += 1;
            if let Some(violation) = stuck_core(core) {
                return Judgement::Violated(Box::new(violation));
            }
        }
        // A partition whose class the budget allows is told by the report, and no more is owed of it.
        let class = |partition: &TopicPartition| run.stuck.iter().find(|it| it.partition.as_ref() == Some(partition));
        let excused = |partition: &TopicPartition| class(partition).is_some_and(|stuck| stuck.allowed);
        for partition in run.setup.partitions().filter(|partition| !excused(partition)) {
            judged += 1;
            let states = self.states.get(&partition).map_or(&[][..], Vec::as_slice);
            let problem = match states.last() {
                None => Some("was never created".to_owned()),
                Some(state) if state.leader.is_none() => {
                    Some(format!("has had no leader since {:.3}s", state.at_ns as f64 / 1e9))
                }
                Some(state) => match (well_since(states, &run.spoilt), run.read_back.partitions.get(&partition)) {
                    (None, _) => Some(format!("has ISR {} of replicas {}", nodes(&state.isr), nodes(&state.replicas))),
                    (Some(at_ns), _) if at_ns > due => Some(format!("got well only at {:.3}s", at_ns as f64 / 1e9)),
                    (Some(_), None) => Some("could not be read at the end".to_owned()),
                    (Some(_), Some(read)) => {
                        read.incomplete.as_ref().map(|why| format!("could not be read to its end: {why}"))
                    }
                },
            };
            problems.extend(problem.map(|problem| (Some(partition), problem)));
        }
        for send in run.history.sends.iter().filter(|send| !excused(&send.partition)) {
            judged += 1;
            let age = run.ended_ns.saturating_sub(send.sent_ns.max(run.healed_ns));
            if send.outcome == SendOutcome::Unresolved && age > run.progress_bound_ns {
                let problem = format!("a send of {:.3}s has no outcome", send.sent_ns as f64 / 1e9);
                problems.push((Some(send.partition.clone()), problem));
            }
        }
        match problems.first() {
            None => Judgement::held(judged, "there was no topic and no send"),
            Some((partition, problem)) => {
                let mut violation = Violation::new("the cluster did not get well after the faults")
                    .with(
                        "stuck",
                        match partition {
                            Some(partition) => format!("{partition} {problem}"),
                            None => problem.clone(),
                        },
                    )
                    .with(
                        "bound",
                        format!(
                            "healed at {:.3}s, bound {:.1}s, run ended at {:.3}s",
                            run.healed_ns as f64 / 1e9,
                            run.progress_bound_ns as f64 / 1e9,
                            run.ended_ns as f64 / 1e9
                        ),
                    );
                if let Some(stuck) = partition.as_ref().and_then(class) {
                    violation = violation.with("class", format!("{}: {}", stuck.class, stuck.why));
                }
                violation.count = problems.len() as u64;
                violation.partition = partition.clone();
                Judgement::Violated(Box::new(violation))
            }
        }
    }
}

/// A core that suffices was healed and did not get well, for no reason that is allowed.
fn stuck_core(core: &CoreEnd) -> Option<Violation> {
    let wrong: Vec<&Stuck> = core.stuck.iter().filter(|stuck| !stuck.allowed).collect();
    let first = wrong.first()?;
    let mut violation = Violation::new("a core that suffices did not get well while the rest was frozen")
        .with("stuck", first.partition.as_ref().map_or("the cluster".to_owned(), ToString::to_string))
        .with("class", format!("{}: {}", first.class, first.why))
        .with(
            "bound",
            format!("healed at {:.3}s, bound {:.1}s", core.healed_ns as f64 / 1e9, core.bound_ns as f64 / 1e9),
        );
    violation.count = wrong.len() as u64;
    violation.partition = first.partition.clone();
    violation.at_ns = Some(core.healed_ns + core.bound_ns);
    Some(violation)
}
