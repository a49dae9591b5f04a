//! The task of a node's quorum: one event at a time into the machine, its effects out, in order.
//!
//! A barrier ([`Effect::Persist`], [`Effect::Truncate`]) is awaited in place: until it is done nothing is stepped and nothing
//! sent, and what arrives waits in the inbox. Everything else is submitted and comes back as a message.

mod room;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use protocol::{Chunks, NodeId, Offset};
use raft::{Effect, Event, Quorum, Records, RequestId, Response, RoleName, View};
use runtime::observation::QuorumRole;
use runtime::{EffectPoint, Env, Inbox, Observation, effect};
use storage::{Log, LogError, LogEvent, QuorumStateFile, Reading, Ticket};
use tokio::sync::oneshot;

use super::feed::Feed;
use super::host::{CommittedBatch, HostEvent};
use super::open::state_of;
use super::peers::Peers;
use super::{Ended, Message, Replied, Status, records};
use room::{Lot, Unwritten};

/// How much of what is committed is read at once.
const FEED_BYTES: u64 = 1 << 20;

pub struct Driver {
    env: Env,
    machine: Quorum,
    log: Log,
    file: QuorumStateFile,
    voters: Vec<NodeId>,
    peers: Peers,
    inbox: Inbox<Message>,
    /// Messages that came while a barrier was up.
    held: VecDeque<Message>,
    /// What the machine is to be told next.
    events: VecDeque<Event>,
    status: Arc<Mutex<Status>>,
    feed: Feed,
    /// The feed's read, if one is on its way.
    feeding: Option<Ticket>,
    asked: BTreeMap<RequestId, oneshot::Sender<Replied>>,
    next_request: RequestId,
    /// Answers that wait for their records.
    reading: BTreeMap<Ticket, (oneshot::Sender<Replied>, Response)>,
    /// Appends and flushes on their way, with the machine's generation.
    writing: BTreeMap<Ticket, u64>,
    /// Appends that have not completed, in order.
    unwritten: VecDeque<Unwritten>,
    /// A flush that failed for lack of space, with the machine's generation.
    unflushed: Option<u64>,
    /// How long a leader waits for its disk.
    patience: Duration,
    seen: Option<View>,
    stopping: Vec<oneshot::Sender<()>>,
    ended: Option<Ended>,
}

impl Driver {
    #[expect(clippy::too_many_arguments, reason = "made in one place, from parts that are its own")]
    pub fn new(
        env: Env,
        machine: Quorum,
        log: Log,
        file: QuorumStateFile,
        voters: Vec<NodeId>,
        peers: Peers,
        inbox: Inbox<Message>,
        status: Arc<Mutex<Status>>,
        feed: Feed,
        patience: Duration,
    ) -> Self {
        Self {
            env,
            machine,
            log,
            file,
            voters,
            peers,
            inbox,
            held: VecDeque::new(),
            events: VecDeque::new(),
            status,
            feed,
            feeding: None,
            asked: BTreeMap::new(),
            next_request: 0,
            reading: BTreeMap::new(),
            writing: BTreeMap::new(),
            unwritten: VecDeque::new(),
            unflushed: None,
            patience,
            seen: None,
            stopping: Vec::new(),
            ended: None,
        }
    }

    /// Runs until the process wants to stop, or must. `effects` are those of the machine's start.
    pub async fn run(mut self, effects: Vec<Effect>) -> Ended {
        self.carry_out(effects).await;
        self.settle().await;
        while self.ended.is_none() {
            match self.next_message().await {
                Some(message) => self.take(message),
                None => {
                    self.lose_patience();
                    self.events.push_back(Event::Tick);
                }
            }
            self.settle().await;
        }
        if self.ended == Some(Ended::Stopped) {
            self.close().await;
        }
        for stopped in self.stopping {
            let _ = stopped.send(()); // whoever asked may be gone
        }
        self.ended.expect("the loop ends with it")
    }

    /// The next message; `None` when the machine's time has come.
    async fn next_message(&mut self) -> Option<Message> {
        let now = self.env.now().mono;
        let deadline = [self.machine.deadline(now), self.patience_ends()].into_iter().flatten().min();
        if deadline.is_some_and(|deadline| deadline <= now) {
            return None;
        }
        if let Some(message) = self.held.pop_front() {
            return Some(message);
        }
        if let Some(message) = self.inbox.try_recv() {
            return Some(message);
        }
        let received = match deadline {
            Some(deadline) => self.env.timeout_at(deadline, self.inbox.recv()).await.ok()?,
            None => self.inbox.recv().await,
        };
        Some(received.expect("the peers hold a way to this inbox"))
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Propose { epoch, ticket, records } => {
                self.events.push_back(Event::Propose { epoch, ticket, records });
            }
            Message::Resign { epoch } => self.events.push_back(Event::Resign { epoch }),
            Message::Shutdown { done } => {
                self.stopping.push(done);
                self.events.push_back(Event::Shutdown);
            }
            Message::Request { request, reply } => {
                let from = self.next_request;
                self.next_request += 1;
                self.asked.insert(from, reply);
                self.events.push_back(Event::Request { from, request });
            }
            Message::Describe { reply } => {
                let _ = reply.send(self.machine.describe(self.env.now())); // whoever asked may be gone
            }
            Message::Outcome { correlation, result } => self.events.push_back(Event::Response { correlation, result }),
            Message::Disk(token, result) => self.log.on_completion(token, result),
        }
    }

    /// Does all that can be done without another message.
    async fn settle(&mut self) {
        while self.ended.is_none() {
            self.take_log_events();
            if self.is_starved() {
                self.wait_for_room().await;
            } else if let Some(event) = self.events.pop_front() {
                self.step(event).await;
            } else if !self.feed_on() {
                break;
            }
        }
    }

    fn take_log_events(&mut self) {
        while let Some(event) = self.log.next_event() {
            self.take_log_event(event);
        }
    }

    async fn step(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.machine.step(self.env.now(), event, &mut effects);
        self.carry_out(effects).await;
        if self.ended.is_none() && self.env.observed() {
            self.machine.check_invariants();
        }
    }

    async fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            let point = point(&effect);
            point.inspect(|point| self.env.before(*point));
            self.carry_out_one(effect).await;
            point.inspect(|point| self.env.after(*point));
            if self.ended.is_some() {
                return;
            }
        }
        self.notice_changes();
    }

    async fn carry_out_one(&mut self, effect: Effect) {
        match effect {
            Effect::Persist(election) => {
                let state = state_of(&election, &self.voters);
                self.persist(&state).await;
                if self.ended.is_some() {
                    return;
                }
                let (epoch, leader, voted) = (state.epoch, state.leader, state.voted);
                self.env.observe(Observation::QuorumPersisted { epoch, leader, voted });
            }
            Effect::Truncate { to } => {
                let ticket = self.log.truncate(to);
                self.wait_for(|event| match event {
                    LogEvent::Truncated { ticket: Some(done), end, .. } if *done == ticket => {
                        Some(Event::Truncated { end: *end })
                    }
                    _ => None,
                })
                .await;
                // What had failed is gone, and the machine knows where the log ends.
                self.unwritten.clear();
                self.unflushed = None;
            }
            Effect::AssignEpoch { epoch, .. } => {
                // Every batch names its epoch too, so nobody waits for the file.
                let _ = self.log.assign_epoch(epoch);
            }
            Effect::Append { generation, batches } => {
                let (base, epoch) = (batches[0].base, batches[0].epoch);
                let batches = batches.iter().map(records::encode).collect();
                self.append(generation, base, Lot::Led(epoch, batches));
            }
            Effect::AppendFetched { generation, batches, bytes } => {
                let epoch = self.machine.view().epoch;
                self.append(generation, batches[0].base, Lot::Copied(epoch, bytes));
            }
            Effect::Flush { generation } => {
                let ticket = self.log.flush();
                self.writing.insert(ticket, generation);
            }
            Effect::Send { node, correlation, request } => self.peers.send(node, correlation, request),
            Effect::Reply { to, response } => self.reply(to, response),
            Effect::Elected { epoch, start } => self.feed.elected(epoch, start),
            Effect::Lost { epoch } => self.feed.lost(epoch),
            Effect::Proposed { ticket, last } => self.feed.tell(HostEvent::Appended { ticket, last }),
            Effect::Refused { ticket } => self.feed.tell(HostEvent::Refused { ticket }),
            Effect::Committed { offset } => {
                self.env.observe(Observation::QuorumHighWatermark { offset });
                self.feed.raise(offset);
            }
            Effect::Fatal { why } => self.fail(why),
            Effect::Stopped => self.ended = Some(Ended::Stopped),
        }
    }

    fn reply(&mut self, to: RequestId, response: Response) {
        let reply = self.asked.remove(&to).expect("every request is answered once");
        if let Response::Fetch(fetch) = &response
            && let Records::From { offset, end, max_bytes } = fetch.records
        {
            match self.log.read(offset, end, max_bytes.into(), true) {
                Ok(Reading::Ready(data)) => answer(reply, response, data.records),
                Ok(Reading::Pending(ticket)) => drop(self.reading.insert(ticket, (reply, response))),
                Err(error) => self.fail(format!("the metadata log cannot be read: {error}")),
            }
        } else {
            answer(reply, response, Chunks::new());
        }
    }

    /// What the log says, told to the world and to the machine.
    fn take_log_event(&mut self, event: LogEvent) {
        match event {
            LogEvent::Appended { ticket, end, batches, .. } => {
                for batch in batches {
                    let (base, last, epoch, crc) = (batch.base, batch.last, batch.epoch, batch.crc);
                    self.env.observe(Observation::QuorumAppended { base, last, epoch, crc });
                }
                let generation = self.writing.remove(&ticket).expect("only the quorum appends");
                self.written(ticket);
                self.events.push_back(Event::Appended { generation, end });
            }
            LogEvent::Flushed { tickets, end } => {
                self.env.observe(Observation::QuorumFlushed { end });
                for ticket in tickets {
                    if let Some(generation) = self.writing.remove(&ticket) {
                        self.events.push_back(Event::Flushed { generation, end });
                    }
                }
            }
            LogEvent::Truncated { end, .. } => self.env.observe(Observation::QuorumTruncated { end }),
            LogEvent::Read { ticket, data } => {
                if self.feeding == Some(ticket) {
                    self.feeding = None;
                    self.hand_on(data.records);
                } else if let Some((reply, response)) = self.reading.remove(&ticket) {
                    answer(reply, response, data.records);
                }
            }
            LogEvent::Failed { ticket, error } => self.log_failed(ticket, &error),
            LogEvent::Broken { error } => self.fail(format!("the metadata log is broken: {error}")),
            // Nothing takes away of the metadata log yet.
            LogEvent::EpochStored { .. } | LogEvent::Closed { .. } | LogEvent::Trimmed { .. } => {}
        }
    }

    fn log_failed(&mut self, ticket: Ticket, error: &LogError) {
        if self.reading.remove(&ticket).is_some() {
            // Cut meanwhile: the asker's connection is closed, and it asks again.
        } else if self.feeding == Some(ticket) {
            self.fail(format!("committed metadata cannot be read: {error}"));
        } else if let Some(generation) = self.writing.remove(&ticket) {
            if matches!(error, LogError::Disk(error) if error.is_full()) {
                return self.starve(ticket, generation);
            }
            self.fail(format!("the metadata log failed: {error}"));
        }
    }

    /// Waits until the log says what `done` waits for; the machine hears of that before anything else.
    async fn wait_for(&mut self, done: impl Fn(&LogEvent) -> Option<Event>) {
        while self.ended.is_none() {
            while let Some(event) = self.log.next_event() {
                let first = done(&event);
                self.take_log_event(event);
                if let Some(first) = first {
                    self.events.push_front(first);
                    return;
                }
            }
            match self.inbox.recv().await.expect("the peers hold a way to this inbox") {
                Message::Disk(token, result) => self.log.on_completion(token, result),
                message => self.held.push_back(message),
            }
        }
    }

    /// Reads and hands on what is committed; whether anything was done.
    fn feed_on(&mut self) -> bool {
        let Some((from, to)) = self.feed.wants() else { return false };
        if self.feeding.is_some() {
            return false;
        }
        match self.log.read(from, to, FEED_BYTES, true) {
            Ok(Reading::Ready(data)) => self.hand_on(data.records),
            Ok(Reading::Pending(ticket)) => self.feeding = Some(ticket),
            Err(error) => self.fail(format!("committed metadata cannot be read: {error}")),
        }
        true
    }

    fn hand_on(&mut self, bytes: Chunks) {
        match records::decode(bytes, self.feed.next()) {
            // No CRC covers a base offset: a disk may have spoilt one and nothing else.
            Ok(batches) if !is_whole(&batches, self.feed.next()) => {
                self.fail("committed metadata is not in the log where it should be".to_owned());
            }
            Ok(batches) if !batches.is_empty() => {
                self.feed.hand_on(batches);
                self.events.push_back(Event::Replayed { end: self.feed.replayed() });
            }
            Ok(_) => self.fail("committed metadata is missing from the log".to_owned()),
            Err(error) => self.fail(format!("committed metadata is corrupt: {error}")),
        }
    }

    /// Tells the world, the host and the holders of handles what has changed.
    fn notice_changes(&mut self) {
        let view = self.machine.view();
        let former = self.seen.replace(view);
        if former == Some(view) {
            return;
        }
        // One who has resigned leads nobody.
        let leader = view.leader.filter(|_| view.role != RoleName::Resigned);
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) =
            Status { epoch: view.epoch, leader, high_watermark: view.high_watermark, log_end: view.log_end };
        let state = |view: &View| (view.role, view.epoch, view.leader, view.voted);
        if former.as_ref().map(state) == Some(state(&view)) {
            return;
        }
        self.env.observe(Observation::QuorumState {
            role: role_of(view.role),
            epoch: view.epoch,
            leader: view.leader.unwrap_or(NodeId::NONE),
            voted: view.voted.unwrap_or(NodeId::NONE),
        });
        let led = former.map(|view| (view.epoch, view.leader.filter(|_| view.role != RoleName::Resigned)));
        if led != Some((view.epoch, leader)) {
            match leader {
                Some(leader) => {
                    let here = view.role == RoleName::Leader;
                    tracing::info!(epoch = view.epoch.0, leader = leader.0, here, "the active controller is known");
                }
                None => tracing::info!(epoch = view.epoch.0, "no active controller is known"),
            }
            self.feed.tell(HostEvent::Leader { epoch: view.epoch, leader });
        }
    }

    /// Flushes and closes the log.
    async fn close(&mut self) {
        self.ended = None;
        let ticket = self.log.close();
        self.wait_for(|event| match event {
            // Without room for an index it stays unclean, and the next start recovers.
            LogEvent::Closed { ticket: done } | LogEvent::Failed { ticket: done, .. } if *done == ticket => {
                Some(Event::Tick)
            }
            _ => None,
        })
        .await;
        self.ended.get_or_insert(Ended::Stopped);
    }

    fn fail(&mut self, why: String) {
        tracing::error!(why, "the quorum gives up");
        self.env.observe(Observation::Fatal { why: why.clone() });
        self.ended = Some(Ended::Failed { why });
    }
}

/// What `crash_at` calls an effect; the end of the process by itself has no name.
fn point(effect: &Effect) -> Option<EffectPoint> {
    Some(match effect {
        Effect::Persist(_) => effect!("quorum.persist"),
        Effect::Truncate { .. } => effect!("quorum.truncate"),
        Effect::AssignEpoch { .. } => effect!("quorum.assign_epoch"),
        Effect::Append { .. } => effect!("quorum.append"),
        Effect::AppendFetched { .. } => effect!("quorum.append_fetched"),
        Effect::Flush { .. } => effect!("quorum.flush"),
        Effect::Send { .. } => effect!("quorum.send"),
        Effect::Reply { .. } => effect!("quorum.reply"),
        Effect::Elected { .. } => effect!("quorum.elected"),
        Effect::Lost { .. } => effect!("quorum.lost"),
        Effect::Proposed { .. } => effect!("quorum.proposed"),
        Effect::Refused { .. } => effect!("quorum.refused"),
        Effect::Committed { .. } => effect!("quorum.committed"),
        Effect::Fatal { .. } | Effect::Stopped => return None,
    })
}

/// Whether batches follow each other from `next` on.
fn is_whole(batches: &[CommittedBatch], mut next: Offset) -> bool {
    batches.iter().all(|batch| batch.base == std::mem::replace(&mut next, batch.last.plus(1)))
}

fn answer(reply: oneshot::Sender<Replied>, response: Response, records: Chunks) {
    let _ = reply.send(Replied { response, records }); // the asker's connection may be gone
}

const fn role_of(role: RoleName) -> QuorumRole {
    match role {
        RoleName::Unattached => QuorumRole::Unattached,
        RoleName::Prospective => QuorumRole::Prospective,
        RoleName::Candidate => QuorumRole::Candidate,
        RoleName::Leader => QuorumRole::Leader,
        RoleName::Follower => QuorumRole::Follower,
        RoleName::Resigned => QuorumRole::Resigned,
    }
}
