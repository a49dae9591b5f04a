//! Three replicas of one partition, a model of the controller, and a schedule that orders everything that can happen:
//! completions of disks, fetches and their answers, metadata, AlterPartition and its answers, kills and restarts of
//! processes. After every action the promises are judged from outside, by the logs and not by what the machines believe.

mod controller;
mod node;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use protocol::{Monotonic, NodeId, Now, Offset, Timestamp};
use replication::{AlterAnswer, Effect, Event, FetchFrom, FetchPlan, Fetched, Fired, FollowerFetch, Role, Token};

use controller::Controller;
use node::{Batch, Node, Request};

pub const LAG_TIME_MAX: Duration = Duration::from_millis(100);

/// One thing that happens; the numbers choose among what is possible.
#[derive(Clone, Copy, Debug)]
pub struct Action {
    pub kind: u8,
    pub node: u8,
    pub arg: u8,
}

pub fn schedule(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Action>> {
    let action = (0..100u8, 0..3u8, any::<u8>()).prop_map(|(kind, node, arg)| Action { kind, node, arg });
    prop::collection::vec(action, length)
}

/// The whole of it.
pub struct Simulation {
    now: Monotonic,
    nodes: Vec<Node>,
    controller: Controller,
    next_value: u64,
    /// What each acknowledged append with acks=all must have left: value by first offset.
    acknowledged: BTreeMap<Offset, u64>,
    /// What some leader's high watermark has passed.
    committed: BTreeMap<Offset, Batch>,
}

pub type Verdict = Result<(), TestCaseError>;

/// Runs a schedule, then heals everything and demands that all replicas agree and hold what was acknowledged.
pub fn run(min_isr: usize, actions: &[Action]) -> Verdict {
    let mut simulation = Simulation::new(min_isr);
    for action in actions {
        simulation.act(*action)?;
        simulation.judge()?;
    }
    simulation.heal()
}

impl Simulation {
    fn new(min_isr: usize) -> Self {
        let controller = Controller::new();
        let nodes = (1..=3).map(|id| Node::new(NodeId(id), min_isr, &controller)).collect();
        Self {
            now: Monotonic(1),
            nodes,
            controller,
            next_value: 0,
            acknowledged: BTreeMap::new(),
            committed: BTreeMap::new(),
        }
    }

    fn now(&self) -> Now {
        Now { mono: self.now, wall: Timestamp(0) }
    }

    fn act(&mut self, action: Action) -> Verdict {
        let index = usize::from(action.node);
        match action.kind {
            0..=14 => self.produce(index, action.arg),
            15..=34 => self.complete(index),
            35..=49 => self.fetch_arrives(index),
            50..=64 => self.answer_arrives(index),
            65..=67 => self.nodes[index].exchange = None,
            68..=76 => self.metadata_arrives(index),
            77..=82 => self.alter_arrives(index),
            83..=86 => self.alter_answer_arrives(index, action.arg.is_multiple_of(4)),
            87..=90 => {
                self.now = self.now + LAG_TIME_MAX / (1 + u32::from(action.arg % 8));
                for node in 0..3 {
                    if self.nodes[node].is_due(self.now) {
                        self.step(node, Event::Tick);
                    }
                }
            }
            91 => self.nodes[index].checkpoint(),
            92..=93 => self.nodes[index].kill(action.arg.is_multiple_of(2)),
            94..=95 => self.restart(index),
            96 => self.controller.fence(self.nodes[index].id),
            _ => self.unfence(index),
        }
        Ok(())
    }

    fn step(&mut self, index: usize, event: Event) {
        let now = self.now();
        let Some(mut effects) = self.nodes[index].step(now, event) else { return };
        for effect in effects.drain(..) {
            match effect {
                Effect::Fire { token, why: Fired::Reached } => {
                    if let Some((base, value)) = self.nodes[index].produced.remove(&token) {
                        self.acknowledged.insert(base, value);
                    }
                }
                Effect::Fire { token, .. } | Effect::Refuse { token, .. } => {
                    self.nodes[index].produced.remove(&token);
                }
                Effect::AlterPartition(request) => self.nodes[index].alter = Some((request, None)),
                disk => self.nodes[index].disk.push_back(disk),
            }
        }
    }

    fn produce(&mut self, index: usize, arg: u8) {
        self.next_value += 1;
        let (value, records) = (self.next_value, 1 + u32::from(arg % 2));
        let token = Token(value);
        let node = &mut self.nodes[index];
        if !node.is_alive() {
            return;
        }
        let base = node.view().next_offset;
        node.produced.insert(token, (base, value));
        node.incoming.push_back(vec![value]);
        let queued = node.disk.len();
        self.step(index, Event::Produce { token, acks: -1, records });
        let node = &mut self.nodes[index];
        if node.disk.len() == queued {
            node.incoming.pop_back();
        }
    }

    /// The disk finishes its oldest operation.
    fn complete(&mut self, index: usize) {
        if let Some(event) = self.nodes[index].complete() {
            self.step(index, event);
        }
    }

    fn fetch_arrives(&mut self, index: usize) {
        let node = &self.nodes[index];
        if !node.is_alive() || node.exchange.is_some() {
            return;
        }
        let Some(position) = node.view().fetch else { return };
        let (replica, broker_epoch) = (node.id, node.broker_epoch);
        let leader = (position.leader.0 - 1) as usize;
        if !self.nodes[leader].is_alive() {
            return;
        }
        let from = FetchFrom {
            replica,
            broker_epoch,
            current_leader_epoch: position.leader_epoch,
            last_fetched_epoch: position.last_fetched_epoch,
            offset: position.offset,
            leader_only: true,
        };
        let source = &self.nodes[leader];
        let event = match source.partition().plan_fetch(&from, true) {
            Ok(FetchPlan::Read { limit, high_watermark, log_start_offset, .. }) => {
                let batches = source.read(position.offset, limit);
                let fetch = FollowerFetch { replica, broker_epoch, offset: position.offset, log_start_offset };
                let facts = batches.iter().map(Batch::facts).collect();
                self.step(leader, Event::FollowerFetch(fetch));
                let fetched = Fetched {
                    offset: position.offset,
                    leader_epoch: position.leader_epoch,
                    high_watermark,
                    log_start_offset,
                    diverging: None,
                    batches: facts,
                };
                Some((Event::Fetched(fetched), batches))
            }
            Ok(FetchPlan::Diverging { diverging, high_watermark, log_start_offset }) => {
                let fetched = Fetched {
                    offset: position.offset,
                    leader_epoch: position.leader_epoch,
                    high_watermark,
                    log_start_offset,
                    diverging: Some(diverging),
                    batches: Vec::new(),
                };
                Some((Event::Fetched(fetched), Vec::new()))
            }
            Err(protocol::ErrorCode::OffsetOutOfRange) => {
                let view = source.view();
                let range = Event::LeaderRange {
                    leader_epoch: position.leader_epoch,
                    start: view.log_start_offset,
                    end: view.log_end_offset,
                };
                Some((range, Vec::new()))
            }
            Err(_) => None,
        };
        self.nodes[index].exchange = event.map(|(event, batches)| Request { event, batches });
    }

    fn answer_arrives(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        if !node.is_alive() {
            return;
        }
        let Some(answer) = node.exchange.take() else { return };
        let queued = node.disk.len();
        let all: Vec<Batch> = answer.batches;
        self.step(index, answer.event);
        let appended = self.nodes[index].disk.iter().skip(queued).find_map(|effect| match effect {
            Effect::Append { batches, .. } => Some(*batches),
            _ => None,
        });
        if let Some(count) = appended {
            self.nodes[index].copied.push_back(all[..count].to_vec());
        }
    }

    fn metadata_arrives(&mut self, index: usize) {
        if !self.nodes[index].is_alive() {
            return;
        }
        let seen = self.nodes[index].seen + 1;
        let Some((state, brokers)) = self.controller.history.get(seen).cloned() else { return };
        self.nodes[index].seen = seen;
        self.step(index, Event::Brokers(Arc::new(brokers)));
        self.step(index, Event::Metadata(state));
    }

    fn alter_arrives(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let (id, broker_epoch) = (node.id, node.broker_epoch);
        if let Some((request, answer @ None)) = &mut node.alter {
            *answer = Some(self.controller.alter_partition(id, broker_epoch, request));
        }
    }

    fn alter_answer_arrives(&mut self, index: usize, lost: bool) {
        let node = &mut self.nodes[index];
        if !node.is_alive() || !matches!(node.alter, Some((_, Some(_)))) {
            return;
        }
        let Some((request, Some(answer))) = node.alter.take() else { return };
        let answer = if lost { AlterAnswer::Unknown } else { answer };
        let (leader_epoch, partition_epoch) = (request.leader_epoch, request.partition_epoch);
        self.step(index, Event::Altered { leader_epoch, partition_epoch, answer });
    }

    fn restart(&mut self, index: usize) {
        if self.nodes[index].is_alive() {
            return;
        }
        let epoch = self.controller.register(self.nodes[index].id);
        self.nodes[index].restart(epoch, self.controller.history.len() - 1);
        let (state, brokers) = self.controller.history.last().cloned().expect("never empty");
        self.step(index, Event::Brokers(Arc::new(brokers)));
        self.step(index, Event::Metadata(state));
    }

    fn unfence(&mut self, index: usize) {
        if self.nodes[index].is_alive() {
            self.controller.unfence(self.nodes[index].id);
        }
    }

    /// Everything that must hold after every action.
    fn judge(&mut self) -> Verdict {
        for index in 0..3 {
            let Some(partition) = self.nodes[index].partition.as_ref() else { continue };
            partition.check_invariants();
            let view = partition.view();
            if view.role == Role::Leader && view.serving {
                self.judge_leader(index)?;
            }
        }
        self.judge_logs()
    }

    fn judge_leader(&mut self, index: usize) -> Verdict {
        let view = self.nodes[index].view();
        let (state, _) = self.controller.history.last().expect("never empty");
        // C-ISR: the maximal ISR of the current leader is a superset of what the controller has committed.
        if state.leader == self.nodes[index].id && state.leader_epoch == view.leader_epoch {
            if state.partition_epoch >= view.partition_epoch {
                for member in &state.isr {
                    let known = view.maximal_isr.contains(member);
                    prop_assert!(
                        known || probe::chosen().is_some(),
                        "C-ISR: {member} is in sync for the controller, not for leader {}: {view:?}",
                        self.nodes[index].id
                    );
                }
            }
            // C-LEADERCOMP, for what is committed.
            for (base, batch) in &self.committed {
                let own = self.nodes[index].batch_at(*base);
                prop_assert!(
                    own == Some(batch),
                    "C-LEADERCOMP: leader {} in epoch {} lacks committed {batch:?}, has {own:?}",
                    self.nodes[index].id,
                    view.leader_epoch
                );
            }
        }
        // C-HWSAFE: every member of the maximal ISR in this epoch has what is below the high watermark.
        for member in view.maximal_isr.iter() {
            let node = &self.nodes[(member.0 - 1) as usize];
            if node.is_alive() && node.view().leader_epoch == view.leader_epoch {
                prop_assert!(
                    node.log_end() >= view.high_watermark,
                    "C-HWSAFE: {member} ends at {}, high watermark of {} is {}",
                    node.log_end(),
                    self.nodes[index].id,
                    view.high_watermark
                );
            }
        }
        let below: Vec<Batch> = self.nodes[index].read(Offset::ZERO, view.high_watermark);
        for batch in below {
            if let Some(known) = self.committed.get(&batch.base) {
                prop_assert_eq!(known, &batch, "two values committed at one offset");
            }
            self.committed.insert(batch.base, batch);
        }
        Ok(())
    }

    /// C-LOGMATCH: an equal (offset, epoch) means an equal prefix; below both high watermarks all is equal.
    fn judge_logs(&self) -> Verdict {
        for (one, other) in [(0, 1), (0, 2), (1, 2)] {
            let (one, other) = (&self.nodes[one], &self.nodes[other]);
            let same = |(a, b): &(&Batch, &Batch)| a == b;
            let agree = one.log.iter().zip(&other.log).take_while(same).count();
            if let (Some(a), Some(b)) = (one.log.get(agree), other.log.get(agree)) {
                prop_assert!(
                    a.base != b.base || a.epoch != b.epoch,
                    "C-LOGMATCH: {} has {a:?}, {} has {b:?}",
                    one.id,
                    other.id
                );
                for later in &one.log[agree..] {
                    let twin = other.log.iter().find(|batch| batch.base == later.base && batch.epoch == later.epoch);
                    prop_assert!(twin.is_none(), "C-LOGMATCH: {later:?} above a difference at {}", a.base);
                }
                if one.is_alive() && other.is_alive() {
                    let below = one.view().high_watermark.min(other.view().high_watermark);
                    prop_assert!(a.base >= below, "C-LOGMATCH: {a:?} and {b:?} lie below both high watermarks");
                }
            }
        }
        Ok(())
    }

    /// All come back, nothing is lost any more: the logs must become equal and hold what was acknowledged.
    fn heal(mut self) -> Verdict {
        for index in 0..3 {
            self.restart(index);
        }
        for round in 0..60u8 {
            self.now = self.now + LAG_TIME_MAX / 4;
            for index in 0..3 {
                self.unfence(index);
                while self.nodes[index].seen + 1 < self.controller.history.len() {
                    self.metadata_arrives(index);
                }
                for _ in 0..1000 {
                    if self.nodes[index].disk.is_empty() {
                        break;
                    }
                    self.complete(index);
                }
                if self.nodes[index].is_due(self.now) {
                    self.step(index, Event::Tick);
                }
                self.alter_arrives(index);
                self.alter_answer_arrives(index, false);
                self.fetch_arrives(index);
                self.answer_arrives(index);
                self.judge()?;
            }
            if round == 30 {
                for index in 0..3 {
                    self.produce(index, round);
                }
            }
        }
        let (state, _) = self.controller.history.last().expect("never empty");
        prop_assert_eq!(state.isr.len(), 3, "C-LIVE: the ISR is {:?}", &state.isr);
        let leader = self.nodes[(state.leader.0 - 1) as usize].view();
        for node in &self.nodes {
            let view = node.view();
            prop_assert_eq!(view.high_watermark, leader.log_end_offset, "C-LIVE: {:?} {:?}", node.id, view);
            prop_assert_eq!(&node.log, &self.nodes[0].log, "C-LIVE: logs differ");
        }
        for (base, value) in &self.acknowledged {
            let found = self.nodes[0].batch_at(*base).map(|batch| batch.value);
            prop_assert_eq!(found, Some(*value), "C-ACK: acknowledged at {}", base);
        }
        Ok(())
    }
}
