//! A quorum in one queue of events: voters and observers whose messages are late, lost and out of order, whose disks take
//! their time, who are cut off, killed, and lose power. After every event the promises of the quorum are checked.
//!
//! [`Cluster::run`] is one life: chaos, then healing and a demand for progress. A broken promise is an `Err` that says
//! which, so that a planted bug can be counted.

mod disk;
mod promises;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use protocol::{LeaderEpoch, Monotonic, NodeId, Now, Offset, Timestamp};
use raft::{
    BatchHeader, Config, Content, Effect, Effects, Event, Failure, Quorum, Records, Request, Response, RoleName,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use disk::{Disk, Entry};
use promises::Promises;

pub type Verdict = Result<(), String>;

/// What a life looks like.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    pub voters: i32,
    pub observers: i32,
    pub chaos: Duration,
    /// Of a thousand messages.
    pub lost: u32,
    /// Time between two faults, on average; `None`: no faults.
    pub fault_every: Option<Duration>,
    /// Whether faults may take the power (else: processes only).
    pub power: bool,
}

#[derive(Debug)]
enum Happening {
    /// For one incarnation of a node.
    To {
        node: NodeId,
        incarnation: u64,
        what: Input,
    },
    Restart(NodeId),
    Heal(NodeId, NodeId),
    Fault,
}

#[derive(Debug)]
enum Input {
    Tick,
    Event(Event),
    Request {
        from: NodeId,
        incarnation: u64,
        correlation: u64,
        request: Request,
    },
    /// The barrier is down: the disk did it.
    Barrier,
    /// An append or flush has reached the disk.
    Disk(DiskDone),
    Propose,
}

#[derive(Debug)]
enum DiskDone {
    Appended { generation: u64, end: Offset },
    Flushed { generation: u64, entries: usize },
}

struct Process {
    quorum: Quorum,
    incarnation: u64,
    /// Effects behind a barrier, and the barrier.
    barrier: Option<(Effect, VecDeque<Effect>)>,
    /// Events that came while the barrier was up.
    held: VecDeque<Event>,
    /// Requests by the number this node gave them: who asked, in which incarnation, under which correlation.
    asked: BTreeMap<u64, (NodeId, u64, u64)>,
    next_request: u64,
    /// The host: which epoch it leads.
    leads: Option<LeaderEpoch>,
    tick_at: Option<Monotonic>,
    fatal: bool,
}

struct Node {
    disk: Disk,
    process: Option<Process>,
    incarnations: u64,
    /// When the disk is done with all it was asked.
    disk_free: Monotonic,
}

pub struct Cluster {
    life: Life,
    rng: ChaCha8Rng,
    now: Monotonic,
    queue: BinaryHeap<Reverse<(Monotonic, u64, usize)>>,
    happenings: Vec<Option<Happening>>,
    nodes: BTreeMap<NodeId, Node>,
    /// Directions that are cut.
    cut: BTreeSet<(NodeId, NodeId)>,
    chaos: bool,
    next_value: u64,
    promises: Promises,
}

impl Cluster {
    /// One life of a cluster.
    pub fn run(seed: u64, life: Life) -> Verdict {
        let mut cluster = Self::new(seed, life);
        cluster.live().map_err(|why| format!("seed {seed} at {:?}: {why}; {life:?}", cluster.now))
    }

    fn new(seed: u64, life: Life) -> Self {
        let ids = (1..=life.voters).chain(101..101 + life.observers).map(NodeId);
        let node = || Node { disk: Disk::default(), process: None, incarnations: 0, disk_free: Monotonic(0) };
        Self {
            life,
            rng: ChaCha8Rng::seed_from_u64(seed),
            now: Monotonic(1_000_000),
            queue: BinaryHeap::new(),
            happenings: Vec::new(),
            nodes: ids.map(|id| (id, node())).collect(),
            cut: BTreeSet::new(),
            chaos: true,
            next_value: 0,
            promises: Promises::new((1..=life.voters).map(NodeId).collect()),
        }
    }

    fn live(&mut self) -> Verdict {
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for id in &ids {
            self.start(*id)?;
        }
        if let Some(every) = self.life.fault_every {
            let first = self.around(every);
            self.at(first, Happening::Fault);
        }
        let end = self.now + self.life.chaos;
        self.run_until(end)?;
        // Heal: everybody up, nothing lost.
        self.chaos = false;
        self.cut.clear();
        for id in &ids {
            if self.nodes[id].process.is_none() {
                self.start(*id)?;
            }
        }
        let committed = self.promises.committed_end();
        let end = self.now + Duration::from_secs(20);
        self.run_until(end)?;
        self.demand_progress(committed)
    }

    fn demand_progress(&self, before: Offset) -> Verdict {
        let leaders: Vec<_> = self.views().filter(|(_, view)| view.role == RoleName::Leader).collect();
        if leaders.len() != 1 {
            return Err(format!("after healing {} nodes lead", leaders.len()));
        }
        if self.promises.committed_end() <= before {
            return Err(format!("nothing was committed after healing: still {before}"));
        }
        for (id, view) in self.views() {
            let Some(known) = view.high_watermark else {
                return Err(format!("node {id} knows no high watermark after healing"));
            };
            if known <= before {
                return Err(format!("node {id} has heard of nothing since healing: {known} <= {before}"));
            }
        }
        Ok(())
    }

    fn views(&self) -> impl Iterator<Item = (NodeId, raft::View)> + '_ {
        self.nodes.iter().filter_map(|(id, node)| node.process.as_ref().map(|process| (*id, process.quorum.view())))
    }

    // Time.

    fn run_until(&mut self, end: Monotonic) -> Verdict {
        while let Some(Reverse((at, _, index))) = self.queue.peek().copied() {
            if at > end {
                break;
            }
            self.queue.pop();
            self.now = at;
            let happening = self.happenings[index].take().expect("happens once");
            self.happen(happening)?;
        }
        self.now = end;
        Ok(())
    }

    fn at(&mut self, delay: Duration, happening: Happening) {
        self.at_instant(self.now + delay, happening);
    }

    fn at_instant(&mut self, at: Monotonic, happening: Happening) {
        let index = self.happenings.len();
        self.happenings.push(Some(happening));
        self.queue.push(Reverse((at, index as u64, index)));
    }

    fn around(&mut self, mean: Duration) -> Duration {
        Duration::from_nanos(self.rng.random_range(0..2 * mean.as_nanos() as u64 + 1))
    }

    fn micros(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_micros(self.rng.random_range(range))
    }

    fn clock(&self) -> Now {
        Now { mono: self.now, wall: Timestamp((self.now.0 / 1_000_000) as i64) }
    }

    fn happen(&mut self, happening: Happening) -> Verdict {
        match happening {
            Happening::To { node, incarnation, what } => {
                let alive = |process: &Process| process.incarnation == incarnation && !process.fatal;
                if self.nodes[&node].process.as_ref().is_some_and(alive) {
                    self.deliver(node, what)?;
                }
                Ok(())
            }
            Happening::Restart(node) => {
                if self.nodes[&node].process.is_none() {
                    self.start(node)
                } else {
                    Ok(())
                }
            }
            Happening::Heal(from, to) => {
                self.cut.remove(&(from, to));
                Ok(())
            }
            Happening::Fault => self.fault(),
        }
    }

    // Processes.

    fn config(&self, id: NodeId) -> Config {
        let mut config = Config::new(id, (1..=self.life.voters).map(NodeId));
        config.election_timeout = Duration::from_millis(300);
        config.fetch_timeout = Duration::from_millis(600);
        config.append_linger = Duration::from_millis(5);
        config.election_backoff_max = Duration::from_millis(300);
        config
    }

    fn start(&mut self, id: NodeId) -> Verdict {
        let config = self.config(id);
        let rng = ChaCha8Rng::seed_from_u64(self.rng.random());
        let clock = self.clock();
        let node = self.nodes.get_mut(&id).expect("known");
        node.incarnations += 1;
        let mut out = Effects::new();
        let quorum = Quorum::new(config, node.disk.restored(), rng, clock, &mut out);
        node.disk_free = self.now;
        node.process = Some(Process {
            quorum,
            incarnation: node.incarnations,
            barrier: None,
            held: VecDeque::new(),
            asked: BTreeMap::new(),
            next_request: 0,
            leads: None,
            tick_at: None,
            fatal: false,
        });
        self.promises.started(id);
        self.carry_out(id, out.into())
    }

    fn stop(&mut self, id: NodeId, power: bool) {
        let node = self.nodes.get_mut(&id).expect("known");
        if node.process.take().is_some() && power {
            node.disk.power_loss(&mut self.rng);
        }
    }

    fn process(&mut self, id: NodeId) -> &mut Process {
        self.nodes.get_mut(&id).and_then(|node| node.process.as_mut()).expect("runs")
    }

    fn deliver(&mut self, id: NodeId, what: Input) -> Verdict {
        let event = match what {
            Input::Tick => {
                let now = self.now;
                let process = self.process(id);
                if process.tick_at.is_some_and(|at| at <= now) {
                    process.tick_at = None;
                }
                Event::Tick
            }
            Input::Event(event) => event,
            Input::Request { from, incarnation, correlation, request } => {
                let process = self.process(id);
                let number = process.next_request;
                process.next_request += 1;
                process.asked.insert(number, (from, incarnation, correlation));
                Event::Request { from: number, request }
            }
            Input::Barrier => {
                let (done, rest) = self.process(id).barrier.take().expect("a barrier is up");
                let node = self.nodes.get_mut(&id).expect("known");
                match done {
                    Effect::Persist(election) => {
                        self.promises.persisted(id, election)?;
                        node.disk.election = Some(election);
                    }
                    Effect::Truncate { to } => {
                        let end = node.disk.truncate(to);
                        self.process(id).held.push_front(Event::Truncated { end });
                    }
                    other => unreachable!("{other:?} is no barrier"),
                }
                self.carry_out(id, rest)?;
                while let Some(event) = self.next_held(id) {
                    self.step(id, event)?;
                }
                return Ok(());
            }
            Input::Disk(done) => {
                let node = self.nodes.get_mut(&id).expect("known");
                match done {
                    DiskDone::Appended { generation, end } => Event::Appended { generation, end },
                    DiskDone::Flushed { generation, entries } => {
                        let end = node.disk.flushed(entries);
                        Event::Flushed { generation, end }
                    }
                }
            }
            Input::Propose => return self.propose(id),
        };
        if self.process(id).barrier.is_some() {
            self.process(id).held.push_back(event);
            return Ok(());
        }
        self.step(id, event)
    }

    fn next_held(&mut self, id: NodeId) -> Option<Event> {
        let process = self.nodes.get_mut(&id)?.process.as_mut()?;
        if process.barrier.is_some() { None } else { process.held.pop_front() }
    }

    fn step(&mut self, id: NodeId, event: Event) -> Verdict {
        let clock = self.clock();
        let mut out = Effects::new();
        let process = self.process(id);
        process.quorum.step(clock, event, &mut out);
        if !out.iter().any(|effect| matches!(effect, Effect::Fatal { .. })) {
            process.quorum.check_invariants();
        }
        self.carry_out(id, out.into())
    }

    /// As a driver does: in order, stopping at a barrier.
    fn carry_out(&mut self, id: NodeId, mut effects: VecDeque<Effect>) -> Verdict {
        while let Some(effect) = effects.pop_front() {
            if matches!(effect, Effect::Persist(_) | Effect::Truncate { .. }) {
                let done = self.disk_time(id, 100..20_000);
                let process = self.process(id);
                process.barrier = Some((effect, effects));
                self.input_at(id, done, Input::Barrier);
                break;
            }
            self.do_one(id, effect)?;
            if self.nodes[&id].process.is_none() {
                return Ok(());
            }
        }
        let view = self.process(id).quorum.view();
        self.promises.seen(id, view)?;
        self.schedule_tick(id);
        Ok(())
    }

    fn schedule_tick(&mut self, id: NodeId) {
        let now = self.now;
        let process = self.process(id);
        if let Some(at) = process.quorum.deadline(now)
            && process.tick_at.is_none_or(|known| at < known)
        {
            process.tick_at = Some(at);
            self.input_at(id, at.max(now), Input::Tick);
        }
    }

    fn input_at(&mut self, id: NodeId, at: Monotonic, what: Input) {
        let incarnation = self.process(id).incarnation;
        self.at_instant(at, Happening::To { node: id, incarnation, what });
    }

    fn disk_time(&mut self, id: NodeId, micros: std::ops::Range<u64>) -> Monotonic {
        let takes = self.micros(micros);
        let node = self.nodes.get_mut(&id).expect("known");
        node.disk_free = node.disk_free.max(self.now) + takes;
        node.disk_free
    }

    fn do_one(&mut self, id: NodeId, effect: Effect) -> Verdict {
        match effect {
            Effect::Persist(_) | Effect::Truncate { .. } => unreachable!("barriers are handled before"),
            Effect::AssignEpoch { .. } => {}
            Effect::Append { generation, batches } => {
                let entries = batches.into_iter().map(|batch| Entry {
                    header: BatchHeader { base: batch.base, last: batch.last, epoch: batch.epoch, bytes: 8 },
                    value: match batch.content {
                        Content::LeaderChange { leader, .. } => leader.0 as u64 | 1 << 63,
                        Content::Records(records) => u64::from_le_bytes(records[0][..].try_into().expect("8 bytes")),
                    },
                });
                self.append(id, generation, entries.collect());
            }
            Effect::AppendFetched { generation, batches, bytes } => {
                let bytes = bytes.into_contiguous();
                let entries = batches.into_iter().enumerate().map(|(index, header)| Entry {
                    header,
                    value: u64::from_le_bytes(bytes[8 * index..8 * index + 8].try_into().expect("8 bytes")),
                });
                self.append(id, generation, entries.collect());
            }
            Effect::Flush { generation } => {
                let done = self.disk_time(id, 500..30_000);
                let entries = self.nodes[&id].disk.file.len();
                self.input_at(id, done, Input::Disk(DiskDone::Flushed { generation, entries }));
            }
            Effect::Send { node, correlation, request } => self.send(id, node, correlation, request),
            Effect::Reply { to, response } => self.reply(id, to, response)?,
            Effect::Elected { epoch, start } => {
                let end = self.process(id).quorum.view().log_end;
                if start != end {
                    return Err(format!("node {id} elected at {start}, its log ends at {end}"));
                }
                self.process(id).leads = Some(epoch);
                let delay = self.micros(0..5_000);
                let at = self.now + delay;
                self.input_at(id, at, Input::Propose);
            }
            Effect::Lost { epoch } => {
                if self.process(id).leads.take() != Some(epoch) {
                    return Err(format!("node {id} lost an epoch {epoch} that it did not lead"));
                }
            }
            Effect::Proposed { .. } | Effect::Refused { .. } => {}
            Effect::Stopped => self.stop(id, false),
            Effect::Committed { offset } => {
                let logs: BTreeMap<NodeId, &Disk> = self.nodes.iter().map(|(id, node)| (*id, &node.disk)).collect();
                self.promises.committed(id, offset, &logs)?;
                let takes = self.micros(0..3_000);
                let at = self.now + takes;
                self.input_at(id, at, Input::Event(Event::Replayed { end: offset }));
            }
            Effect::Fatal { why } => {
                self.process(id).fatal = true;
                return Err(format!("node {id} stops: {why}"));
            }
        }
        Ok(())
    }

    fn append(&mut self, id: NodeId, generation: u64, entries: Vec<Entry>) {
        let done = self.disk_time(id, 10..2_000);
        let end = entries.last().expect("an append has batches").header.last.plus(1);
        self.nodes.get_mut(&id).expect("known").disk.append(entries);
        self.input_at(id, done, Input::Disk(DiskDone::Appended { generation, end }));
    }

    /// An event from within: waits while a barrier is up.
    fn tell(&mut self, id: NodeId, event: Event) -> Verdict {
        let process = self.process(id);
        if process.barrier.is_some() {
            process.held.push_back(event);
            return Ok(());
        }
        self.step(id, event)
    }

    fn propose(&mut self, id: NodeId) -> Verdict {
        let Some(epoch) = self.process(id).leads else { return Ok(()) };
        for _ in 0..self.rng.random_range(1..4) {
            self.next_value += 1;
            let value = Bytes::copy_from_slice(&self.next_value.to_le_bytes());
            let records = vec![value; self.rng.random_range(1..4)];
            let ticket = self.next_value;
            let event = Event::Propose { epoch, ticket, records };
            self.tell(id, event)?;
        }
        let delay = self.micros(1_000..100_000);
        let at = self.now + delay;
        self.input_at(id, at, Input::Propose);
        Ok(())
    }

    // Network.

    fn arrives(&mut self, from: NodeId, to: NodeId) -> bool {
        let lost = self.chaos && self.rng.random_range(0..1000) < self.life.lost;
        !lost && !self.cut.contains(&(from, to))
    }

    fn latency(&mut self) -> Duration {
        if self.chaos && self.rng.random_bool(0.02) { self.micros(1_000..400_000) } else { self.micros(50..2_000) }
    }

    fn send(&mut self, from: NodeId, to: NodeId, correlation: u64, request: Request) {
        let incarnation = self.process(from).incarnation;
        // Without an answer the connection is given up; an answer before it makes this a late failure, which is ignored.
        let failure = Event::Response { correlation, result: Err(Failure::TimedOut) };
        let at = self.now + Duration::from_millis(600);
        self.input_at(from, at, Input::Event(failure));
        if self.arrives(from, to) {
            let delay = self.latency();
            if let Some(process) = &self.nodes[&to].process {
                let target = process.incarnation;
                let what = Input::Request { from, incarnation, correlation, request };
                self.at(delay, Happening::To { node: to, incarnation: target, what });
            } else {
                let refused = Event::Response { correlation, result: Err(Failure::Disconnected) };
                let at = self.now + delay;
                self.input_at(from, at, Input::Event(refused));
            }
        }
    }

    fn reply(&mut self, id: NodeId, to: u64, mut response: Response) -> Verdict {
        let (node, incarnation, correlation) = self.process(id).asked.remove(&to).expect("asked, and answered once");
        self.promises.replied(id, node, &response)?;
        if let Response::Fetch(fetch) = &mut response
            && let Records::From { offset, end, .. } = fetch.records
        {
            fetch.records = self.nodes[&id].disk.read(offset, end, self.rng.random_range(1..20));
        }
        if self.arrives(id, node) {
            let delay = self.latency();
            let what = Input::Event(Event::Response { correlation, result: Ok(response) });
            self.at(delay, Happening::To { node, incarnation, what });
        }
        Ok(())
    }

    // Faults.

    fn fault(&mut self) -> Verdict {
        if !self.chaos {
            return Ok(());
        }
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        let victim = if self.rng.random_bool(0.5) {
            let leader = self.views().find(|(_, view)| view.role == RoleName::Leader).map(|(id, _)| id);
            leader.unwrap_or(ids[0])
        } else {
            ids[self.rng.random_range(0..ids.len())]
        };
        match self.rng.random_range(0..12) {
            0..5 => {
                let power = self.life.power && self.rng.random_bool(0.6);
                self.stop(victim, power);
                let away =
                    if self.rng.random_bool(0.5) { self.micros(1_000..150_000) } else { self.micros(0..4_000_000) };
                self.at(away, Happening::Restart(victim));
            }
            5..8 => {
                let other = ids[self.rng.random_range(0..ids.len())];
                let both = self.rng.random_bool(0.7);
                let (forth, back) = (self.micros(0..3_000_000), self.micros(0..3_000_000));
                self.cut.insert((victim, other));
                self.at(forth, Happening::Heal(victim, other));
                if both {
                    self.cut.insert((other, victim));
                    self.at(back, Happening::Heal(other, victim));
                }
            }
            8 => {
                // Alone.
                let away = self.micros(0..4_000_000);
                for other in ids.into_iter().filter(|other| *other != victim) {
                    for pair in [(victim, other), (other, victim)] {
                        self.cut.insert(pair);
                        self.at(away, Happening::Heal(pair.0, pair.1));
                    }
                }
            }
            9 => {
                // The host of a leader gives up.
                if let Some(epoch) = self.nodes[&victim].process.as_ref().and_then(|process| process.leads) {
                    self.tell(victim, Event::Resign { epoch })?;
                }
            }
            10 => {
                // Asked to stop; comes back some time after.
                if self.nodes[&victim].process.is_some() {
                    self.tell(victim, Event::Shutdown)?;
                    let away = self.micros(5_500_000..7_000_000);
                    self.at(away, Happening::Restart(victim));
                }
            }
            _ => {
                // All at once.
                let power = self.life.power;
                for id in ids {
                    self.stop(id, power);
                    let away = self.micros(1_000..500_000);
                    self.at(away, Happening::Restart(id));
                }
            }
        }
        let next = self.life.fault_every.map(|every| self.around(every)).expect("there are faults");
        self.at(next, Happening::Fault);
        Ok(())
    }
}
