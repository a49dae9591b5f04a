//! Random sequences against a model of a cluster that loses data for real: one partition, a controller that notices late,
//! changes in flight.

use proptest::prelude::*;

use super::*;

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
