//! Hosts `metadata::Controller` on the quorum: one task with one inbox, fed by the quorum's host contract and by requests.
//!
//! The task steps the machine, proposes its records, and keeps every answer until its records are committed
//! ([`metadata::controller::Replies`]: the one place where that rule is carried out). [`rpc`] decodes the requests that
//! come in on the controllers' listener. Deliberately absent: any state of its own but the answers that wait.

pub mod rpc;

use std::collections::BTreeMap;

use bytes::Bytes;
use metadata::controller::{self as machine, Effect, Effects, Event, Replies, Request, RequestId, Response, bootstrap};
use metadata::{Controller, Sampling};
use protocol::{ErrorCode, MetadataRecord, Monotonic, Str, Uuid};
use runtime::{Env, Inbox, Observation, Post, effect, inbox};
use tokio::sync::oneshot;

use crate::Config;
use crate::image::decode;
use crate::quorum::{self, HostCallback, HostEvent};

/// The way to this node's controller. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle(Post<Message>);

impl Handle {
    /// Says which quorum the controller lives on. Nothing is done before.
    pub fn attach(&self, quorum: quorum::Handle) {
        self.0.post(Message::Quorum(quorum));
    }

    /// Asks; the request is in the controller's inbox when this returns. The receiver fails if the process ends.
    pub fn ask(&self, request: Request) -> oneshot::Receiver<Response> {
        let (reply, answer) = oneshot::channel();
        self.0.post(Message::Request { request, reply });
        answer
    }
}

enum Message {
    Quorum(quorum::Handle),
    Host(HostEvent),
    Request { request: Request, reply: oneshot::Sender<Response> },
}

/// What the machine is told, from this node's properties and those of its log directory.
pub fn machine_config(config: &Config, cluster_id: Uuid) -> machine::Config {
    let numbers = &config.numbers;
    let positive = |ms: i64| (ms > 0).then(|| Config::ms(ms));
    machine::Config {
        cluster_id: Str::from(cluster_id.to_string()),
        session_timeout: Config::ms(numbers.broker_session_timeout_ms),
        idle_interval: positive(numbers.metadata_max_idle_interval_ms),
        leader_imbalance_check_interval: positive(
            numbers.leader_imbalance_check_interval_seconds.saturating_mul(1_000),
        ),
        num_partitions: i32::try_from(numbers.num_partitions).unwrap_or(i32::MAX),
        default_replication_factor: i16::try_from(numbers.default_replication_factor).unwrap_or(i16::MAX),
        delete_topic_enable: config.delete_topic_enable,
        topic_defaults: config.topic_defaults.clone(),
        ..machine::Config::default()
    }
}

/// Starts the controller's task. The callback is for the quorum, whose handle must then be [attached](Handle::attach).
pub fn start(env: &Env, config: &Config, cluster_id: Uuid, incarnation: Option<Uuid>) -> (Handle, HostCallback) {
    // Unbounded: the quorum may not wait, and each connection bounds its own requests.
    let (post, inbox) = inbox(usize::MAX);
    let mut machine = machine_config(config, cluster_id);
    // The broker of this process, if there is one and no other controller.
    machine.lone_broker = incarnation.filter(|_| config.voters.len() == 1).map(|own| (config.node_id, own));
    let driver = Driver {
        env: env.clone(),
        machine: Controller::new(machine, env.rng("controller")),
        quorum: None,
        askers: BTreeMap::new(),
        next_id: 0,
        replies: Replies::default(),
        effects: Effects::new(),
        changed: false,
        sampling: Sampling::default(),
        checked: None,
    };
    env.spawn_detached("controller", driver.run(inbox));
    let news = post.clone();
    (Handle(post), Box::new(move |event| news.post(Message::Host(event))))
}

struct Driver {
    env: Env,
    machine: Controller,
    quorum: Option<quorum::Handle>,
    /// Who waits for which answer.
    askers: BTreeMap<RequestId, oneshot::Sender<Response>>,
    next_id: u64,
    replies: Replies<(RequestId, Response)>,
    effects: Effects,
    /// Its state has changed since the world was told of it.
    changed: bool,
    sampling: Sampling,
    /// Which of its states had its invariants checked last.
    checked: Option<u64>,
}

impl Driver {
    async fn run(mut self, mut inbox: Inbox<Message>) {
        // The quorum may run, and tell news, before its handle has come.
        let mut early = Vec::new();
        while self.quorum.is_none() {
            match inbox.recv().await {
                Some(Message::Quorum(quorum)) => self.quorum = Some(quorum),
                Some(message) => early.push(message),
                None => return,
            }
        }
        early.into_iter().for_each(|message| self.handle(message));
        loop {
            let due = self.machine.deadline().unwrap_or(Monotonic::NEVER);
            // An inbox that always has something must not keep sessions from ending: look at the clock first.
            if self.env.now().mono >= due {
                self.step(Event::Tick);
                continue;
            }
            match self.env.timeout_at(due, inbox.recv()).await {
                Ok(Some(message)) => self.handle(message),
                Ok(None) => return,
                Err(_) => {}
            }
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Quorum(quorum) => self.quorum = Some(quorum),
            Message::Request { request, reply } => {
                let id = RequestId(self.next_id);
                self.next_id += 1;
                self.askers.insert(id, reply);
                self.step(Event::Request { id, request });
            }
            Message::Host(event) => self.news(event),
        }
    }

    fn news(&mut self, event: HostEvent) {
        match event {
            HostEvent::Replay(batches) => {
                for (offset, value) in batches.iter().flat_map(|batch| &batch.records) {
                    let record = decode(*offset, value);
                    self.changed |= !matches!(record, MetadataRecord::NoOp(_));
                    self.machine.replay(*offset, &record);
                }
                self.tell_state();
            }
            HostEvent::Elected { epoch, start } => self.step(Event::Elected { epoch, start }),
            HostEvent::Appended { ticket, last } => {
                self.step(Event::Appended { ticket: machine::Ticket(ticket), last });
            }
            HostEvent::Committed { offset } => {
                self.step(Event::Committed { offset });
                self.tell_state();
                for (id, response) in self.replies.committed(offset) {
                    self.answer(id, response);
                }
            }
            HostEvent::Lost { epoch } => {
                self.step(Event::Lost { epoch });
                // Their records may be committed by the next leader, or not: the askers must ask again.
                for (id, response) in self.replies.lost() {
                    self.answer(id, response.refused(ErrorCode::NotController));
                }
            }
            // `Lost` says all there is to do.
            HostEvent::Refused { .. } | HostEvent::Leader { .. } => {}
        }
    }

    fn step(&mut self, event: Event) {
        self.machine.step(self.env.now(), event, &mut self.effects);
        if self.effects.is_empty() {
            return;
        }
        if self.env.observed() {
            self.machine.check_changed(&mut self.checked);
        }
        for effect in std::mem::take(&mut self.effects) {
            let point = match &effect {
                Effect::Append { .. } => effect!("controller.append"),
                Effect::Reply { .. } => effect!("controller.reply"),
            };
            self.env.before(point);
            match effect {
                Effect::Append { ticket, epoch, base, records, replies } => {
                    self.changed |= records.iter().any(|record| !matches!(record, MetadataRecord::NoOp(_)));
                    let last = base.plus(records.len() as i64 - 1);
                    let values = records.iter().map(encode).collect();
                    let quorum = self.quorum.as_ref().expect("waited for at the start");
                    quorum.propose(epoch, ticket.0, values);
                    replies.into_iter().for_each(|reply| self.replies.push(last, reply));
                }
                Effect::Reply { to, response, after } if after.is_none() => self.answer(to, response),
                Effect::Reply { to, response, after } => self.replies.push(after, (to, response)),
            }
            self.env.after(point);
        }
    }

    /// Tells the world what the state holds, when all of it is committed.
    fn tell_state(&mut self) {
        if !self.changed || !self.env.observed() {
            return;
        }
        if let Some(offset) = self.machine.settled()
            && self.sampling.due()
        {
            let digest = self.machine.digest();
            self.sampling.paid(digest.things);
            self.changed = false;
            self.env.observe(Observation::ControllerApplied { offset, digest: digest.sum });
        }
    }

    fn answer(&mut self, id: RequestId, response: Response) {
        let asker = self.askers.remove(&id).expect("every request is answered once");
        // Whoever asked may have given up.
        drop(asker.send(response));
    }
}

fn encode(record: &MetadataRecord) -> Bytes {
    let version = bootstrap::record_version(record);
    record.encode_framed(version).unwrap_or_else(|error| panic!("{} cannot be written: {error}", record.name()))
}
