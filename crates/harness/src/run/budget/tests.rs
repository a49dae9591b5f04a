//! The sequences that break simpler budgets, and random ones against a model of a cluster that really loses data.

use proptest::prelude::*;
use protocol::{BrokerEpoch, PartitionEpoch};
use runtime::Observation;
use runtime::observation::ProcessEnd;

use super::*;
use crate::checker::{NodeInfo, TopicInfo};
use crate::event::Stamped;

const SETTLE: u64 = 2_000;

fn setup(keep: Keep, brokers: i32, controllers: bool) -> Setup {
    let node =
        |id: i32| NodeInfo { host: host_of(NodeId(id)).into(), id: NodeId(id), broker: true, controller: controllers };
    Setup {
        nodes: (1..=brokers).map(node).collect(),
        topics: vec![TopicInfo { name: "t".to_owned(), partitions: 1, replicas: 3, min_isr: 2 }],
        keep,
    }
}

fn tp() -> TopicPartition {
    TopicPartition::new("t", 0)
}

fn on(node: i32, at_ns: u64, what: Observation) -> Stamped {
    Stamped { id: 1, at_ns, host: host_of(NodeId(node)).into(), node: NodeId(node), cause: 0, what }
}

fn ids(nodes: &[i32]) -> Vec<NodeId> {
    nodes.iter().map(|id| NodeId(*id)).collect()
}

/// A budget with its clock and its epochs.
struct Told {
    budget: Budget,
    now: u64,
    partition_epoch: i32,
    broker_epoch: i64,
    keys: usize,
}

impl Told {
    fn new(keep: Keep) -> Self {
        let budget = Budget::new(&Config { setup: setup(keep, 3, true), settle_ns: SETTLE });
        let mut told = Self { budget, now: 0, partition_epoch: 0, broker_epoch: 0, keys: 0 };
        for node in 1..=3 {
            told.start(node);
        }
        told.controller(1, 1);
        (1..=3).for_each(|node| told.register(node));
        told.isr(1, 1, &[1, 2, 3]);
        told.now += 2 * SETTLE;
        told
    }

    fn tell(&mut self, node: i32, what: Observation) {
        self.now += 1;
        self.budget.observe(&on(node, self.now, what));
    }

    fn start(&mut self, node: i32) {
        self.tell(node, Observation::ProcessStarted);
    }

    fn ended(&mut self, node: i32, how: ProcessEnd) {
        self.tell(node, Observation::ProcessEnded { how, why: String::new() });
    }

    fn register(&mut self, node: i32) {
        self.broker_epoch += 1;
        self.tell(node, Observation::BrokerRunning { epoch: BrokerEpoch(self.broker_epoch) });
    }

    fn isr(&mut self, leader: i32, epoch: i32, isr: &[i32]) {
        self.partition_epoch += 1;
        let what = Observation::PartitionCommitted {
            partition: tp(),
            leader: NodeId(leader),
            leader_epoch: LeaderEpoch(epoch),
            partition_epoch: PartitionEpoch(self.partition_epoch),
            isr: ids(isr),
            replicas: ids(&[1, 2, 3]),
            offset: Offset(0),
        };
        self.tell(1, what);
    }

    fn expanding(&mut self, leader: i32, epoch: i32, committed: &[i32], maximal: &[i32]) {
        let what = Observation::Isr {
            partition: tp(),
            leader_epoch: LeaderEpoch(epoch),
            partition_epoch: PartitionEpoch(self.partition_epoch),
            committed: ids(committed),
            maximal: ids(maximal),
        };
        self.tell(leader, what);
    }

    /// `leader` leads the quorum, all others follow.
    fn controller(&mut self, leader: i32, epoch: i32) {
        for node in 1..=3 {
            let role = if node == leader { QuorumRole::Leader } else { QuorumRole::Follower };
            let (epoch, leader, voted) = (LeaderEpoch(epoch), NodeId(leader), NodeId::NONE);
            self.tell(node, Observation::QuorumState { role, epoch, leader, voted });
        }
    }

    fn quorum_appends(&mut self, node: i32, end: i64) {
        let (base, last) = (Offset(end - 1), Offset(end - 1));
        self.tell(node, Observation::QuorumAppended { base, last, epoch: LeaderEpoch(1), crc: 0 });
        self.tell(node, Observation::QuorumFlushed { end: Offset(end) });
    }

    fn ask(&mut self, impact: &Impact) -> Result<(), Refusal> {
        self.budget.ask(self.now, impact)
    }

    fn begin(&mut self, impact: &Impact) -> FaultKey {
        self.keys += 1;
        self.budget.begin(self.now, self.keys, impact);
        self.keys
    }

    /// Power fails at a node, whatever the budget says.
    fn lose_power(&mut self, node: i32) -> FaultKey {
        let key = self.begin(&power_off(&[node]));
        self.ended(node, ProcessEnd::PowerLost);
        key
    }

    /// A fault ends, its host starts again.
    fn restart(&mut self, node: i32, key: FaultKey) {
        self.budget.end(self.now, key, true);
        self.start(node);
    }
}

fn power_off(nodes: &[i32]) -> Impact {
    let away: BTreeSet<NodeId> = ids(nodes).into_iter().collect();
    let harm = away.iter().map(|id| (*id, Harm::Unsynced)).collect();
    Impact { harm, ended: away.clone(), away, ..Impact::default() }
}

fn kill(nodes: &[i32]) -> Impact {
    Impact { ended: ids(nodes).into_iter().collect(), ..pause(nodes) }
}

fn pause(nodes: &[i32]) -> Impact {
    Impact { away: ids(nodes).into_iter().collect(), ..Impact::default() }
}

fn harm(node: i32, harm: Harm) -> Impact {
    Impact { harm: BTreeSet::from([(NodeId(node), harm)]), ..Impact::default() }
}

fn refused_for_partition(answer: &Result<(), Refusal>) -> bool {
    matches!(answer, Err(Refusal::Partition { .. }))
}

#[test]
fn one_of_three_may_lose_its_data_and_all_three_at_once_may_not() {
    let mut told = Told::new(Keep::Committed);
    assert_eq!(told.ask(&power_off(&[2])), Ok(()));
    assert_eq!(told.ask(&power_off(&[2, 3])), Ok(()));
    assert!(refused_for_partition(&told.ask(&power_off(&[1, 2, 3]))));
}

#[test]
fn with_nothing_to_keep_everything_is_allowed() {
    let mut told = Told::new(Keep::Nothing);
    assert_eq!(told.ask(&power_off(&[1, 2, 3])), Ok(()));
    assert_eq!(told.ask(&harm(1, Harm::Wiped)), Ok(()));
}

#[test]
fn the_leader_of_followers_that_were_just_damaged_is_spared() {
    let mut told = Told::new(Keep::Committed);
    told.lose_power(2);
    told.lose_power(3);
    assert!(refused_for_partition(&told.ask(&power_off(&[1]))));
    // Not even a kill: it would be taken out of the ISR, and a damaged one be left last.
    assert!(refused_for_partition(&told.ask(&kill(&[1]))));
    // Once the controller has noticed, the leader is alone in its ISR: it may go, but not lose data.
    told.isr(1, 1, &[1]);
    assert_eq!(told.ask(&kill(&[1])), Ok(()));
    assert!(refused_for_partition(&told.ask(&power_off(&[1]))));
}

#[test]
fn a_damaged_replica_that_the_controller_still_lists_is_not_whole() {
    let mut told = Told::new(Keep::Committed);
    let key = told.lose_power(2);
    told.restart(2, key);
    // Another member's change is told with b2 still in the ISR.
    told.isr(1, 1, &[1, 2]);
    assert!(told.budget.is_damaged(&tp(), NodeId(2)));
    // It registers and is taken out; then it joins anew.
    told.isr(1, 1, &[1]);
    told.register(2);
    assert!(told.budget.is_damaged(&tp(), NodeId(2)));
    told.isr(1, 1, &[1, 2]);
    assert!(!told.budget.is_damaged(&tp(), NodeId(2)));
}

#[test]
fn an_expansion_under_way_at_the_time_of_the_damage_makes_nobody_whole() {
    let mut told = Told::new(Keep::Committed);
    told.isr(1, 1, &[1, 3]);
    told.expanding(1, 1, &[1, 3], &[1, 2, 3]);
    let key = told.lose_power(2);
    told.isr(1, 1, &[1, 2, 3]);
    assert!(told.budget.is_damaged(&tp(), NodeId(2)));
    // And it counts as a member already while it is on its way in.
    told.restart(2, key);
    told.now += SETTLE;
    assert!(refused_for_partition(&told.ask(&power_off(&[1, 3]))));
}

#[test]
fn who_joins_is_a_danger_as_soon_as_the_leader_asks_for_it() {
    let mut told = Told::new(Keep::Committed);
    told.isr(1, 1, &[1]);
    assert_eq!(told.ask(&power_off(&[2])), Ok(()), "b2 is out of the ISR");
    told.expanding(1, 1, &[1], &[1, 2]);
    told.begin(&kill(&[1]));
    assert!(refused_for_partition(&told.ask(&power_off(&[2]))), "b2 may be in it soon, and b1 is down");
}

#[test]
fn a_killed_member_is_no_anchor_before_it_has_been_well_for_a_while() {
    let mut told = Told::new(Keep::Committed);
    told.isr(1, 1, &[1, 2]);
    let key = told.begin(&kill(&[1]));
    told.ended(1, ProcessEnd::Killed);
    assert!(refused_for_partition(&told.ask(&power_off(&[2]))), "b1 may be fenced first");
    told.restart(1, key);
    assert!(refused_for_partition(&told.ask(&power_off(&[2]))), "b1 has not registered");
    told.register(1);
    assert!(refused_for_partition(&told.ask(&power_off(&[2]))), "b1 may be taken out of the ISR any moment");
    told.now += SETTLE;
    assert_eq!(told.ask(&power_off(&[2])), Ok(()));
}

#[test]
fn while_nobody_controls_nobody_becomes_steady() {
    let mut told = Told::new(Keep::Committed);
    told.isr(1, 1, &[2, 3]);
    let key = told.begin(&kill(&[1, 2]));
    told.ended(1, ProcessEnd::Killed);
    told.budget.end(told.now, key, true);
    told.now += 2 * SETTLE;
    assert!(refused_for_partition(&told.ask(&power_off(&[3]))), "nothing was committed meanwhile");
    told.controller(3, 2);
    told.now += SETTLE;
    assert_eq!(told.ask(&power_off(&[3])), Ok(()));
}

#[test]
fn a_leader_that_serves_nobody_leaves_no_follower_to_rely_on() {
    let mut told = Told::new(Keep::Committed);
    let hang = Impact { grey: BTreeSet::from([NodeId(1)]), ..pause(&[1]) };
    assert_eq!(told.ask(&hang), Ok(()));
    let key = told.begin(&hang);
    assert!(refused_for_partition(&told.ask(&power_off(&[2]))), "b1 may put b3 out of the ISR");
    told.budget.end(told.now, key, true);
    assert!(refused_for_partition(&told.ask(&power_off(&[2]))), "or have asked for it already");
    told.now += SETTLE;
    assert_eq!(told.ask(&power_off(&[2])), Ok(()));
    told.lose_power(2);
    assert!(refused_for_partition(&told.ask(&hang)), "b2 is still in the ISR");
}

#[test]
fn a_controller_that_stood_still_may_fence_everybody_so_nobody_is_an_anchor() {
    let mut told = Told::new(Keep::Committed);
    told.isr(2, 2, &[2, 3]);
    assert_eq!(told.ask(&power_off(&[3])), Ok(()));
    let key = told.begin(&pause(&[1]));
    assert!(refused_for_partition(&told.ask(&power_off(&[3]))), "b3 may be fenced last when b1 wakes");
    told.budget.end(told.now, key, true);
    assert!(refused_for_partition(&told.ask(&power_off(&[3]))), "b1 wakes just now");
    told.now += SETTLE;
    assert_eq!(told.ask(&power_off(&[3])), Ok(()));
    // And the other way round.
    told.lose_power(3);
    assert!(refused_for_partition(&told.ask(&pause(&[1]))));
    assert_eq!(told.ask(&kill(&[1])), Ok(()), "its successor begins all sessions anew");
}

#[test]
fn rot_stays_until_the_disk_is_wiped() {
    let mut told = Told::new(Keep::Committed);
    let key = told.begin(&harm(2, Harm::Rot));
    told.budget.end(told.now, key, true);
    told.ended(2, ProcessEnd::Killed);
    told.start(2);
    told.isr(1, 1, &[1, 3]);
    told.register(2);
    told.isr(1, 1, &[1, 2, 3]);
    told.quorum_appends(2, 10);
    assert!(told.budget.is_damaged(&tp(), NodeId(2)) && told.budget.is_forgetful(NodeId(2)));
    let key = told.begin(&harm(2, Harm::Wiped));
    told.ended(2, ProcessEnd::PowerLost);
    told.isr(1, 1, &[1, 3]);
    told.restart(2, key);
    told.register(2);
    told.isr(1, 1, &[1, 2, 3]);
    told.quorum_appends(2, 10);
    assert!(!told.budget.is_damaged(&tp(), NodeId(2)) && !told.budget.is_forgetful(NodeId(2)));
}

#[test]
fn a_fault_without_effect_has_harmed_nothing() {
    let mut told = Told::new(Keep::Committed);
    let key = told.begin(&harm(2, Harm::DropsPages));
    assert!(told.budget.is_damaged(&tp(), NodeId(2)));
    told.budget.end(told.now, key, false);
    assert!(!told.budget.is_damaged(&tp(), NodeId(2)));
}

#[test]
fn a_voter_is_wiped_only_while_all_others_have_what_it_acknowledged() {
    let mut told = Told::new(Keep::Committed);
    for node in 1..=3 {
        told.quorum_appends(node, 5);
    }
    told.isr(1, 1, &[1, 3]);
    assert_eq!(told.ask(&harm(2, Harm::Wiped)), Ok(()));
    told.quorum_appends(1, 6);
    told.quorum_appends(2, 6);
    assert!(matches!(told.ask(&harm(2, Harm::Wiped)), Err(Refusal::Quorum { .. })), "b3 lacks offset 5");
    told.quorum_appends(3, 6);
    assert_eq!(told.ask(&harm(2, Harm::Wiped)), Ok(()));
    let key = told.begin(&harm(2, Harm::Wiped));
    assert!(matches!(told.ask(&harm(3, Harm::Wiped)), Err(Refusal::Quorum { .. })), "one of three is a minority");
    told.ended(2, ProcessEnd::PowerLost);
    told.restart(2, key);
    told.quorum_appends(2, 5);
    assert!(told.budget.is_forgetful(NodeId(2)));
    told.quorum_appends(2, 6);
    assert!(!told.budget.is_forgetful(NodeId(2)));
}

#[test]
fn a_vote_is_not_forgotten_during_an_election() {
    let mut told = Told::new(Keep::Committed);
    told.isr(1, 1, &[1, 3]);
    let (role, epoch, leader) = (QuorumRole::Candidate, LeaderEpoch(2), NodeId::NONE);
    told.tell(3, Observation::QuorumState { role, epoch, leader, voted: NodeId(3) });
    assert!(matches!(told.ask(&harm(2, Harm::Wiped)), Err(Refusal::Quorum { .. })));
}

#[test]
fn a_power_loss_harms_a_voter_only_if_its_disk_has_lied() {
    let mut told = Told::new(Keep::Committed);
    told.lose_power(2);
    assert!(!told.budget.is_forgetful(NodeId(2)));
    told.begin(&harm(3, Harm::Lies));
    told.lose_power(3);
    assert!(told.budget.is_forgetful(NodeId(3)));
}

#[test]
fn service_keeps_enough_members_and_a_controller_majority_reachable() {
    let mut told = Told::new(Keep::Service);
    assert_eq!(told.ask(&kill(&[2])), Ok(()));
    assert_eq!(told.ask(&kill(&[2, 3])), Err(Refusal::NoMajority));
    told.isr(1, 1, &[1, 2]);
    assert!(matches!(told.ask(&kill(&[2])), Err(Refusal::Unavailable { .. })), "min.insync.replicas is 2");
    assert_eq!(told.ask(&kill(&[3])), Ok(()));
    let key = told.begin(&kill(&[3]));
    told.ended(3, ProcessEnd::Killed);
    told.restart(3, key);
    assert_eq!(told.ask(&kill(&[1])), Err(Refusal::NoMajority), "b3 is not back before it has registered");
    told.register(3);
    assert!(matches!(told.ask(&kill(&[1])), Err(Refusal::Unavailable { .. })), "but out of the ISR");
    told.isr(1, 1, &[1, 2, 3]);
    assert_eq!(told.ask(&kill(&[1])), Ok(()));
}

// ---------------------------------------------------------------------------------------------------------------------
// A model of a cluster that loses data for real: one partition, a controller that notices late, in-flight changes.

/// What the model's random walk tries.
#[derive(Clone, Debug)]
enum Step {
    /// A fault is asked for and, if allowed, begins.
    Fault(FaultKind, Vec<i32>),
    /// The oldest fault that goes on ends.
    End,
    /// Time passes, in tenths of a session.
    Pass(u64),
    /// A record is written and, if the maximal ISR can, committed.
    Write,
    /// The leader asks for what its ISR should be.
    Ask,
    /// What was asked for arrives.
    Arrive,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum FaultKind {
    Kill,
    Pause,
    PowerOff,
    Rot,
    Wipe,
}

const SESSION: u64 = 1_000;

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![
        1 => Just(FaultKind::Kill),
        1 => Just(FaultKind::Pause),
        3 => Just(FaultKind::PowerOff),
        1 => Just(FaultKind::Rot),
        1 => Just(FaultKind::Wipe)
    ];
    let nodes = prop_oneof![4 => (1..4i32).prop_map(|node| vec![node]), 1 => Just(vec![1, 2]), 1 => Just(vec![2, 3])];
    prop_oneof![
        3 => (kind, nodes).prop_map(|(kind, nodes)| Step::Fault(kind, nodes)),
        3 => Just(Step::End),
        4 => (1..30u64).prop_map(Step::Pass),
        4 => Just(Step::Write),
        3 => Just(Step::Ask),
        3 => Just(Step::Arrive),
    ]
}

#[derive(Clone, Debug)]
struct Replica {
    up: bool,
    paused: bool,
    /// Registered in this incarnation.
    serving: bool,
    /// When the controller heard of it last.
    heard: u64,
    /// The controller counts it in.
    active: bool,
    /// Its log: which of the records 0.. it has. A copy is sound if it has all that are committed.
    has: BTreeSet<u64>,
    synced: BTreeSet<u64>,
    rotten: bool,
}

/// A change of the ISR on its way to the controller.
struct Asked {
    leader: i32,
    epoch: i32,
    isr: Vec<i32>,
    /// Of which state: the controller takes no change of an older one.
    partition_epoch: i32,
    /// Of which incarnations.
    incarnations: Vec<u64>,
    /// No request outlives its time-out.
    until: u64,
}

struct World {
    told: Told,
    replicas: BTreeMap<i32, Replica>,
    leader: Option<i32>,
    epoch: i32,
    isr: Vec<i32>,
    /// What the leader knows to be the ISR, as of which state, and what it asked for.
    leader_isr: Vec<i32>,
    leader_knows: i32,
    asked: Option<Asked>,
    incarnation: BTreeMap<i32, u64>,
    next: u64,
    committed: BTreeSet<u64>,
    faults: Vec<(FaultKey, FaultKind, Vec<i32>)>,
    allowed: usize,
}

impl World {
    fn new() -> Self {
        let replica = Replica {
            up: true,
            paused: false,
            serving: true,
            heard: 0,
            active: true,
            has: BTreeSet::new(),
            synced: BTreeSet::new(),
            rotten: false,
        };
        let told = Told::new(Keep::Committed);
        let heard = told.now;
        Self {
            told,
            replicas: (1..=3).map(|id| (id, Replica { heard, ..replica.clone() })).collect(),
            leader: Some(1),
            epoch: 1,
            isr: vec![1, 2, 3],
            leader_isr: vec![1, 2, 3],
            leader_knows: 1,
            asked: None,
            incarnation: (1..=3).map(|id| (id, 0)).collect(),
            next: 0,
            committed: BTreeSet::new(),
            faults: Vec::new(),
            allowed: 0,
        }
    }

    fn well(&self, id: i32) -> bool {
        let replica = &self.replicas[&id];
        replica.up && !replica.paused && replica.serving
    }

    /// The controller writes a partition's state, at once committed and told.
    fn commit(&mut self, isr: Vec<i32>, elect: bool) {
        self.isr = isr;
        let mut elected = false;
        if elect {
            let alive = self.isr.iter().copied().find(|id| self.replicas[id].active);
            if alive != self.leader {
                self.leader = alive;
                self.epoch += 1;
                self.asked = None;
                elected = alive.is_some();
                if elected {
                    self.leader_isr = self.isr.clone();
                }
            }
        }
        let (leader, epoch, isr) = (self.leader.unwrap_or(-1), self.epoch, self.isr.clone());
        self.told.isr(leader, epoch, &isr);
        if elected {
            self.leader_knows = self.told.partition_epoch;
        }
    }

    fn leave(&mut self, id: i32) {
        self.replicas.get_mut(&id).unwrap().active = false;
        let mut isr = self.isr.clone();
        if isr.len() > 1 {
            isr.retain(|member| *member != id);
        }
        self.commit(isr, true);
    }

    /// Fences who was silent, takes in who is back.
    fn controller(&mut self) {
        let now = self.told.now;
        for id in 1..=3 {
            if self.replicas[&id].up && !self.replicas[&id].paused {
                let registers = !self.replicas[&id].serving;
                let silent = now >= self.replicas[&id].heard + SESSION;
                // A new incarnation is refused while the session of the old one lasts.
                if registers && (silent || !self.replicas[&id].active) {
                    self.leave(id);
                    *self.incarnation.get_mut(&id).unwrap() += 1;
                    let replica = self.replicas.get_mut(&id).unwrap();
                    (replica.serving, replica.active, replica.heard) = (true, true, now);
                    self.told.register(id);
                    let isr = self.isr.clone();
                    self.commit(isr, true);
                } else if !registers && !silent {
                    self.replicas.get_mut(&id).unwrap().heard = now;
                } else if !registers {
                    // It wakes up, is fenced and comes back in the same incarnation.
                    if self.replicas[&id].active {
                        self.leave(id);
                    }
                    let replica = self.replicas.get_mut(&id).unwrap();
                    (replica.active, replica.heard) = (true, now);
                    let isr = self.isr.clone();
                    self.commit(isr, true);
                }
            } else if self.replicas[&id].active && now >= self.replicas[&id].heard + SESSION {
                self.leave(id);
            }
        }
    }

    /// Followers that are well copy the leader's log.
    fn replicate(&mut self) {
        let Some(leader) = self.leader.filter(|leader| self.well(*leader)) else { return };
        let log = self.replicas[&leader].has.clone();
        for id in (1..=3).filter(|id| *id != leader) {
            if self.well(id) {
                self.replicas.get_mut(&id).unwrap().has = log.clone();
            }
        }
        let mut maximal: BTreeSet<i32> = self.leader_isr.iter().copied().collect();
        if let Some(asked) = &self.asked {
            maximal.extend(&asked.isr);
        }
        let common = maximal.iter().map(|id| self.replicas[id].has.clone()).reduce(|all, has| &all & &has);
        self.committed.extend(common.unwrap_or_default());
    }

    fn go(&mut self, step: &Step) {
        match step {
            Step::Fault(kind, nodes) => self.fault(*kind, nodes),
            Step::End => self.end(),
            Step::Pass(tenths) => {
                for _ in 0..*tenths {
                    self.told.now += SESSION / 10;
                    self.controller();
                }
            }
            Step::Write => {
                let Some(leader) = self.leader.filter(|leader| self.well(*leader)) else { return };
                self.next += 1;
                self.replicas.get_mut(&leader).unwrap().has.insert(self.next);
                self.replicate();
            }
            Step::Ask => {
                let Some(leader) = self.leader.filter(|leader| self.well(*leader)) else { return };
                self.replicate();
                if self.asked.is_none() {
                    let isr: Vec<i32> = (1..=3).filter(|id| *id == leader || self.well(*id)).collect();
                    if isr != self.leader_isr {
                        let incarnations = isr.iter().map(|id| self.incarnation[id]).collect();
                        let until = self.told.now + SETTLE - SESSION;
                        self.asked = Some(Asked {
                            leader,
                            epoch: self.epoch,
                            isr: isr.clone(),
                            partition_epoch: self.leader_knows,
                            incarnations,
                            until,
                        });
                        let committed = self.leader_isr.clone();
                        let mut maximal = committed.clone();
                        maximal.extend(isr.iter().filter(|id| !committed.contains(id)));
                        let epoch = self.epoch;
                        self.told.expanding(leader, epoch, &committed, &maximal);
                    }
                }
            }
            Step::Arrive => {
                let Some(Asked { leader, epoch, isr, partition_epoch, incarnations, until }) = self.asked.take() else {
                    return;
                };
                let newest = partition_epoch == self.told.partition_epoch;
                let same = isr.iter().zip(&incarnations).all(|(id, number)| self.incarnation[id] == *number);
                let active = isr.iter().all(|id| self.replicas[id].active);
                if self.leader == Some(leader)
                    && self.epoch == epoch
                    && newest
                    && same
                    && active
                    && self.told.now <= until
                {
                    self.commit(isr.clone(), false);
                }
                if self.leader == Some(leader) && self.epoch == epoch {
                    self.leader_isr = self.isr.clone();
                    self.leader_knows = self.told.partition_epoch;
                }
            }
        }
    }

    fn fault(&mut self, kind: FaultKind, nodes: &[i32]) {
        let nodes: Vec<i32> =
            nodes.iter().copied().filter(|id| self.replicas[id].up && !self.replicas[id].paused).collect();
        if nodes.is_empty() {
            return;
        }
        let away: BTreeSet<NodeId> = ids(&nodes).into_iter().collect();
        let all = |harm: Harm| away.iter().map(|id| (*id, harm)).collect::<BTreeSet<_>>();
        let impact = match kind {
            FaultKind::Kill => kill(&nodes),
            FaultKind::Pause => pause(&nodes),
            FaultKind::PowerOff => power_off(&nodes),
            FaultKind::Rot => Impact { harm: all(Harm::Rot), ..Impact::default() },
            FaultKind::Wipe => Impact { harm: all(Harm::Wiped), ..kill(&nodes) },
        };
        if self.told.ask(&impact).is_err() {
            return;
        }
        self.allowed += 1;
        let key = self.told.begin(&impact);
        for id in &nodes {
            let replica = self.replicas.get_mut(id).unwrap();
            match kind {
                FaultKind::Pause => replica.paused = true,
                FaultKind::Rot => replica.rotten = true,
                FaultKind::Kill => (replica.up, replica.serving) = (false, false),
                FaultKind::PowerOff | FaultKind::Wipe => {
                    (replica.up, replica.serving) = (false, false);
                    replica.has = if kind == FaultKind::Wipe { BTreeSet::new() } else { replica.synced.clone() };
                    if kind == FaultKind::Wipe {
                        replica.rotten = false;
                    }
                }
            }
            if !matches!(kind, FaultKind::Pause | FaultKind::Rot) {
                self.told.ended(*id, ProcessEnd::Killed);
            }
        }
        self.faults.push((key, kind, nodes));
        self.sound();
    }

    fn end(&mut self) {
        if self.faults.is_empty() {
            return;
        }
        let (key, kind, nodes) = self.faults.remove(0);
        let now = self.told.now;
        self.told.budget.end(now, key, true);
        for id in nodes {
            let replica = self.replicas.get_mut(&id).unwrap();
            match kind {
                FaultKind::Pause => replica.paused = false,
                FaultKind::Rot => {}
                _ => {
                    replica.up = true;
                    self.told.start(id);
                }
            }
        }
    }

    /// The maximal ISR has a member whose data is whole, and who leads (not only on paper) lacks nothing.
    fn sound(&self) {
        if let Some(leader) = self.leader.filter(|leader| self.well(*leader)) {
            let replica = &self.replicas[&leader];
            let lacks: Vec<_> = self.committed.difference(&replica.has).collect();
            assert!(lacks.is_empty() || replica.rotten, "b{leader} leads without {lacks:?}");
        }
        let mut members = self.isr.clone();
        members.extend(self.leader_isr.iter().filter(|id| !self.isr.contains(id)));
        let whole = |id: &&i32| !self.replicas[id].rotten && self.committed.is_subset(&self.replicas[id].has);
        assert!(
            members.iter().any(|id| whole(&id)),
            "nobody of {members:?} has {:?}: {:?}",
            self.committed,
            self.replicas
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_leaves_a_partition_without_a_whole_member_or_elects_one_that_is_not(
        steps in proptest::collection::vec(step(), 1..80)
    ) {
        let mut world = World::new();
        for step in &steps {
            world.go(step);
            world.controller();
            world.sound();
        }
    }
}

#[test]
fn the_model_lets_many_faults_through() {
    // A budget that refuses everything would pass the test above.
    let mut world = World::new();
    for round in 0..60 {
        world.go(&Step::Fault(FaultKind::PowerOff, vec![round % 3 + 1]));
        world.go(&Step::Write);
        world.go(&Step::Pass(20));
        world.go(&Step::End);
        world.go(&Step::Pass(20));
        // The first request is refused as stale, and tells the leader of the state.
        let twice = [Step::Ask, Step::Arrive, Step::Ask, Step::Arrive];
        for step in twice.into_iter().chain([Step::Write, Step::Pass(25)]) {
            world.go(&step);
        }
    }
    assert!(world.allowed > 50, "{} of 60 power losses, one at a time, were allowed", world.allowed);
}
