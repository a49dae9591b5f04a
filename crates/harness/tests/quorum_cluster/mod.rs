//! Metadata quorums in a world: nodes that are nothing but a quorum, a host that writes while it leads, and the quorum's
//! checkers on the stream.
#![allow(dead_code, reason = "each test binary uses some of it")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use broker::Config;
use broker::quorum::{self, Committed, Ended, HostEvent};
use bytes::Bytes;
use harness::checker::{self, HostDisk, Judgement, NodeInfo, RunEnd, Setup};
use harness::event::Stamped;
use protocol::messages::ApiVersionsResponse;
use protocol::messages::api_versions_response::ApiVersion;
use protocol::{ApiKey, LeaderEpoch, NodeId, Offset, Uuid};
use rand::RngExt;
use runtime::observation::ProcessEnd;
use runtime::{Env, Observation, Post, inbox};
use storage::{LogDir, MetaProperties};
use transport::ApiRanges;
use transport::server::{self, Answer, RequestContext, RequestFrame, ServerConfig, Service};
use world::{DiskFault, Drive, FaultId, HostId, Link, Lose, NetworkFault, ProcessFault, World};

pub const VOTERS: i32 = 3;
const OBSERVER: i32 = 9;

/// What a node's image has: the values of all records, by offset. Begins anew with every process.
type Image = BTreeMap<Offset, Bytes>;

#[derive(Default)]
pub struct Seen {
    pub images: BTreeMap<NodeId, Image>,
    pub status: BTreeMap<NodeId, quorum::Status>,
    /// Values that a leading host heard to be committed.
    pub acknowledged: Vec<Bytes>,
    /// Processes that panicked or gave up.
    pub broken: Vec<String>,
    handles: BTreeMap<NodeId, quorum::Handle>,
}

#[derive(Clone)]
pub struct Cluster {
    pub world: World,
    pub hosts: Vec<(NodeId, HostId)>,
    pub seen: Arc<Mutex<Seen>>,
    events: Arc<Mutex<Vec<Stamped>>>,
    setup: Setup,
}

struct Controllers(quorum::Handle);

impl Service for Controllers {
    fn call(&self, context: RequestContext, frame: RequestFrame) -> Answer {
        if context.api_key != ApiKey::ApiVersions {
            return self.0.call(context, frame);
        }
        let api = |(api_key, (min_version, max_version))| ApiVersion {
            api_key,
            min_version,
            max_version,
            ..ApiVersion::default()
        };
        let api_keys = ApiRanges::stable().iter().map(api).collect();
        context.answer(&ApiVersionsResponse { api_keys, ..ApiVersionsResponse::default() })
    }
}

fn config(id: i32) -> Config {
    let voters: Vec<String> = (1..=VOTERS).map(|id| format!("{id}@c{id}:9093")).collect();
    let (node, voters) = (id.to_string(), voters.join(","));
    Config::from_properties([
        ("node.id", node.as_str()),
        ("process.roles", if id <= VOTERS { "controller" } else { "broker" }),
        ("controller.quorum.voters", voters.as_str()),
        ("listeners", "CONTROLLER://:9093"),
        ("controller.quorum.fetch.timeout.ms", "600"),
        ("controller.quorum.election.timeout.ms", "300"),
        ("controller.quorum.election.backoff.max.ms", "300"),
        ("controller.quorum.request.timeout.ms", "600"),
        ("controller.quorum.append.linger.ms", "5"),
    ])
    .expect("a good configuration")
}

/// One process: a quorum, its listener if it votes, and a host that writes while it leads.
async fn node(env: Env, id: i32, seen: Arc<Mutex<Seen>>) {
    let config = config(id);
    let (log_dir, startup) = LogDir::open(env.disk("data")).await.expect("a log directory");
    let properties = match startup.properties {
        Some(properties) => properties,
        None => {
            let properties = MetaProperties {
                cluster_id: "the-cluster".to_owned(),
                node_id: config.node_id,
                directory_id: Some(Uuid::from_halves(1, id as u64)),
            };
            log_dir.write_properties(&properties).await.expect("meta.properties");
            properties
        }
    };
    let opened = quorum::open(&env, &config, &log_dir, &properties).await.expect("a quorum");
    let handle = opened.handle();
    seen.lock().unwrap().images.insert(config.node_id, Image::new());
    seen.lock().unwrap().handles.insert(config.node_id, handle.clone());
    if id <= VOTERS {
        let listener = env.listen(runtime::Address::new("", 9093)).await.expect("a free port");
        let server = ServerConfig::new("CONTROLLER", ApiRanges::stable());
        let _ = server::serve(&env, listener, server, Arc::new(Controllers(handle.clone())));
    }
    let (post, inbox) = inbox(usize::MAX);
    env.spawn_detached("host", host(env.clone(), id, inbox, handle, Arc::clone(&seen)));
    let committed = {
        let (seen, id) = (Arc::clone(&seen), config.node_id);
        Box::new(move |committed: Committed| {
            let mut seen = seen.lock().unwrap();
            let image = seen.images.entry(id).or_default();
            for batch in committed.batches.iter() {
                image.extend(batch.records.iter().cloned());
            }
        })
    };
    let task = opened.run(Some(to(post)), committed);
    if let Some(Ended::Failed { why }) = task.join().await {
        seen.lock().unwrap().broken.push(format!("node {id} gives up: {why}"));
    }
}

fn to(post: Post<HostEvent>) -> quorum::HostCallback {
    Box::new(move |event| post.post(event))
}

/// The hosted machine: applies everything at most once and in order, and writes while it leads.
async fn host(env: Env, id: i32, mut inbox: runtime::Inbox<HostEvent>, handle: quorum::Handle, seen: Arc<Mutex<Seen>>) {
    let mut random = env.rng("host");
    let mut leads: Option<LeaderEpoch> = None;
    // Everything below is applied; what is pending was proposed and has no word yet.
    let (mut applied, mut next) = (Offset::ZERO, Offset::ZERO);
    let mut pending: Vec<(Offset, Bytes)> = Vec::new();
    let mut count = 0_u64;
    loop {
        let pause = Duration::from_micros(random.random_range(2_000..40_000));
        let event = match leads {
            Some(_) => env.timeout(pause, inbox.recv()).await.ok(),
            None => Some(inbox.recv().await),
        };
        match event {
            None => {
                let epoch = leads.expect("only a leader writes");
                count += 1;
                let value = Bytes::from(format!("{id}/{epoch}/{count}"));
                let records = vec![value.clone(); random.random_range(1..4)];
                next = next.plus(records.len() as i64);
                pending.push((next.plus(-1), value));
                handle.propose(epoch, count, records);
            }
            Some(None) => return,
            Some(Some(HostEvent::Replay(batches))) => {
                assert!(leads.is_none(), "a leader replays");
                for batch in batches.iter() {
                    assert_eq!(batch.base, applied, "a gap in the replay");
                    applied = batch.last.plus(1);
                }
            }
            Some(Some(HostEvent::Elected { epoch, start })) => {
                assert_eq!(start, applied, "elected before everything was replayed");
                leads = Some(epoch);
                next = start;
            }
            Some(Some(HostEvent::Appended { last, .. })) => {
                assert!(pending.iter().any(|(known, _)| *known == last), "an offset that nobody counted on");
            }
            Some(Some(HostEvent::Committed { offset })) => {
                assert!(leads.is_some() && offset >= applied && offset <= next, "a commit out of place");
                applied = offset;
                let mut seen = seen.lock().unwrap();
                let done = pending.iter().take_while(|(last, _)| *last < offset).count();
                seen.acknowledged.extend(pending.drain(..done).map(|(_, value)| value));
            }
            Some(Some(HostEvent::Lost { epoch })) => {
                assert_eq!(leads.take(), Some(epoch), "lost what was not led");
                pending.clear();
            }
            Some(Some(HostEvent::Refused { .. } | HostEvent::Leader { .. })) => {}
        }
    }
}

impl Cluster {
    /// Three voters and an observer, started.
    pub fn start(world: &World) -> Self {
        let ids: Vec<i32> = (1..=VOTERS).chain([OBSERVER]).collect();
        let hosts: Vec<_> = ids.iter().map(|id| (NodeId(*id), world.add_host(&format!("c{id}")))).collect();
        let info = |(id, host): &(NodeId, HostId)| NodeInfo {
            host: world.name(*host),
            id: *id,
            broker: id.0 > VOTERS,
            controller: id.0 <= VOTERS,
        };
        let setup = Setup { nodes: hosts.iter().map(info).collect(), ..Setup::default() };
        let cluster = Self { world: world.clone(), hosts, seen: Arc::default(), events: Arc::default(), setup };
        world.on_event(Box::new(cluster.listener()));
        for (id, _) in cluster.hosts.clone() {
            cluster.up(id);
        }
        cluster
    }

    fn listener(&self) -> impl FnMut(&world::Event) + Send + use<> {
        let (events, seen, hosts) = (Arc::clone(&self.events), Arc::clone(&self.seen), self.hosts.clone());
        let names = self.setup.nodes.clone();
        move |event| {
            let node = hosts.iter().find(|(_, host)| Some(*host) == event.host).map_or(NodeId::NONE, |(id, _)| *id);
            let name = names.iter().find(|info| info.id == node).map(|info| Arc::clone(&info.host));
            if let Observation::ProcessEnded { how: ProcessEnd::Panicked, why } = &event.what {
                seen.lock().unwrap().broken.push(format!("node {node} panics: {why}"));
            }
            let stamped = Stamped {
                id: event.id,
                at_ns: event.at.0,
                host: name.unwrap_or_else(|| Arc::from("world")),
                node,
                cause: event.cause.0,
                what: event.what.clone(),
            };
            events.lock().unwrap().push(stamped);
        }
    }

    fn host(&self, id: NodeId) -> HostId {
        self.hosts.iter().find(|(known, _)| *known == id).expect("a node").1
    }

    /// Starts a node's process.
    pub fn up(&self, id: NodeId) {
        let env = self.world.start(self.host(id));
        env.spawn_detached("node", node(env.clone(), id.0, Arc::clone(&self.seen)));
    }

    pub fn is_up(&self, id: NodeId) -> bool {
        self.world.is_running(self.host(id))
    }

    /// Ends a node's process; `power`: its host loses what it had not synced.
    pub fn down(&self, id: NodeId, power: bool) {
        let host = self.host(id);
        self.world.apply(match power {
            true => ProcessFault::PowerOff { hosts: vec![host], lose: Lose::Mix, torn_write: Some(4096) },
            false => ProcessFault::Kill(host),
        });
        let mut seen = self.seen.lock().unwrap();
        seen.handles.remove(&id);
        seen.images.remove(&id);
    }

    pub fn cut(&self, a: NodeId, b: NodeId) -> FaultId {
        self.world.apply(NetworkFault::Cut(Link::between(self.host(a), self.host(b))))
    }

    /// From now on a sync takes so long.
    pub fn slow_disk(&self, id: NodeId, sync: Duration) -> FaultId {
        self.world.apply(DiskFault::Slow {
            disk: Drive::all_of(self.host(id)),
            read: None,
            write: None,
            fsync: Some(sync),
            x: 1,
        })
    }

    /// The node that most nodes call leader and that agrees.
    pub fn leader(&self) -> Option<NodeId> {
        let seen = self.seen.lock().unwrap();
        let leads = |id: NodeId| seen.handles.get(&id).is_some_and(|handle| handle.status().leader == Some(id));
        let led = seen.handles.iter().filter(|(id, _)| leads(**id)).max_by_key(|(_, handle)| handle.status().epoch);
        led.map(|(id, _)| *id)
    }

    pub fn epoch(&self) -> LeaderEpoch {
        let seen = self.seen.lock().unwrap();
        seen.handles.values().map(|handle| handle.status().epoch).max().unwrap_or(LeaderEpoch(0))
    }

    pub fn acknowledged(&self) -> usize {
        self.seen.lock().unwrap().acknowledged.len()
    }

    /// Waits until somebody leads.
    pub async fn wait_for_leader(&self) -> NodeId {
        for _ in 0..1_000 {
            if let Some(leader) = self.leader() {
                return leader;
            }
            self.world.sleep(Duration::from_millis(10)).await;
        }
        panic!("nobody leads after ten seconds at {:?}:\n{}", self.world.now(), self.story(40));
    }

    /// The last `lines` of what happened.
    pub fn story(&self, lines: usize) -> String {
        let events = self.events.lock().unwrap();
        let last = events.iter().skip(events.len().saturating_sub(lines));
        let line =
            |event: &Stamped| format!("{:>14} {} {}", event.at_ns, event.host, harness::event::describe(&event.what));
        last.map(line).collect::<Vec<_>>().join("\n")
    }

    /// What the checkers say; first what broke without their help.
    pub fn violations(&self) -> Vec<String> {
        let disks = self.hosts.iter().map(|(id, host)| HostDisk {
            host: self.world.name(*host),
            node: *id,
            files: self.world.files(*host, "data"),
            damage: self.world.damage(*host, "data"),
        });
        let run = RunEnd { setup: self.setup.clone(), disks: disks.collect(), ..RunEnd::default() };
        let mut found = self.seen.lock().unwrap().broken.clone();
        let events = self.events.lock().unwrap();
        let checkers = checker::all(&self.setup).into_iter().filter(|checker| checker.id().starts_with("C-RAFT"));
        for mut checker in checkers {
            events.iter().for_each(|event| checker.observe(event));
            match checker.finish(&run) {
                Judgement::Held { .. } => {}
                Judgement::Violated(violation) => {
                    found.push(format!("{}: {} {:?}", checker.id(), violation.claim, violation.evidence));
                }
                Judgement::NothingToJudge { why } => found.push(format!("{}: {why}", checker.id())),
            }
        }
        found
    }

    /// All images agree as far as they go, and have all that was acknowledged.
    pub fn images_agree(&self) -> Result<(), String> {
        let seen = self.seen.lock().unwrap();
        let longest = seen.images.values().max_by_key(|image| image.len()).expect("nodes are up");
        for (id, image) in &seen.images {
            for (offset, value) in image {
                if longest.get(offset) != Some(value) {
                    return Err(format!("node {id} has {value:?} at {offset}, another {:?}", longest.get(offset)));
                }
            }
        }
        let values: std::collections::BTreeSet<&Bytes> = longest.values().collect();
        match seen.acknowledged.iter().find(|value| !values.contains(value)) {
            Some(lost) => Err(format!("{lost:?} was acknowledged and is gone")),
            None => Ok(()),
        }
    }

    /// Random faults for `duration`, then everybody is up and everything healed.
    pub async fn chaos(&self, duration: Duration, power: bool) {
        let mut random = self.world.rng("test/chaos");
        let end = self.world.now() + duration;
        let mut cuts: Vec<FaultId> = Vec::new();
        while self.world.now() < end {
            self.world.sleep(Duration::from_millis(random.random_range(50..1_000))).await;
            let victim = match self.leader() {
                Some(leader) if random.random_bool(0.6) => leader,
                _ => self.hosts[random.random_range(0..self.hosts.len())].0,
            };
            match random.random_range(0..4) {
                0..2 if self.is_up(victim) => {
                    self.down(victim, power && random.random_bool(0.7));
                    let away = if random.random_bool(0.5) { 1..150 } else { 150..3_000 };
                    self.world.sleep(Duration::from_millis(random.random_range(away))).await;
                    self.up(victim);
                }
                2 => {
                    let other = self.hosts[random.random_range(0..self.hosts.len())].0;
                    if other != victim {
                        cuts.push(self.cut(victim, other));
                    }
                }
                _ => cuts.drain(..).for_each(|cut| self.world.heal(cut)),
            }
        }
        cuts.into_iter().for_each(|cut| self.world.heal(cut));
    }

    /// A leader whose disk is slow to sync loses power, and is back before the others notice; eight times.
    pub async fn lose_leaders_with_slow_disks(&self) {
        let mut random = self.world.rng("test/leaders");
        for _ in 0..8 {
            if !self.seen.lock().unwrap().broken.is_empty() {
                return; // a node has seen what cannot be, and stopped
            }
            let leader = self.wait_for_leader().await;
            let slow = self.slow_disk(leader, Duration::from_millis(20));
            self.world.sleep(Duration::from_millis(random.random_range(300..900))).await;
            self.down(leader, true);
            self.world.heal(slow);
            self.world.sleep(Duration::from_millis(random.random_range(1..60))).await;
            self.up(leader);
            self.world.sleep(Duration::from_millis(1_500)).await;
        }
    }
}
