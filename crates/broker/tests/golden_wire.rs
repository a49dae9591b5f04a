//! Frames that real clients sent to Kafka, sent to our broker: each API that it serves answers in the same shape, with the
//! same codes. And what becomes of frames that were damaged on the way.
//!
//! A *shape* is the set of the fields of an answer with the kind of their values; of some fields, codes above all, the value
//! counts as well. The clients' frames are replayed one after another on a broker of their own, ids of topics and of fetch
//! sessions put into ours; topics that were there before the recording are made. What coordinators answer, and what was
//! read of topics that transactions wrote to, is not compared: both are refused here.
//! `WAVETANK_GOLDEN` names another directory of recorded frames.

#[path = "golden_wire/raw.rs"]
mod raw;
#[path = "golden_wire/shape.rs"]
mod shape;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use broker::{Broker, Config, Release};
use bytes::Bytes;
use protocol::messages::create_partitions_request::CreatePartitionsTopic;
use protocol::messages::create_topics_request::CreatableTopic;
use protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use protocol::messages::metadata_request::MetadataRequestTopic;
use protocol::messages::metadata_response::MetadataResponseTopic;
use protocol::messages::produce_response::TopicProduceResponse;
use protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, CreateTopicsResponse, DeleteRecordsRequest, FetchRequest,
    FetchResponse, FindCoordinatorRequest, IncrementalAlterConfigsRequest, InitProducerIdRequest,
    InitProducerIdResponse, ListOffsetsRequest, MetadataRequest, MetadataResponse, ProduceRequest, ProduceResponse,
    RequestHeader, ResponseHeader,
};
use protocol::{ApiKey, Decoder, ErrorCode, Message, Request, Str, Uuid};
use rand::{RngExt, SeedableRng};
use raw::Raw;
use runtime::{Address, Env, os};
use shape::{Printed, Shape};

/// An answer that does not come.
const PATIENCE: Duration = Duration::from_secs(20);

#[expect(clippy::disallowed_methods, reason = "tests find and read their inputs")]
fn recorded() -> Vec<(String, Vec<Frame>)> {
    let root = std::env::var("WAVETANK_GOLDEN")
        .map_or_else(|_| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden"), PathBuf::from);
    let mut files: Vec<_> = std::fs::read_dir(root.join("wire"))
        .expect("recorded frames")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    files.sort();
    // Frames between nodes are not for a broker's listener.
    files.retain(|path| {
        !["kraft-", "broker-"].iter().any(|it| path.file_name().expect("a name").to_string_lossy().starts_with(it))
    });
    files
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("readable");
            let frames = text.lines().map(|line| Frame::read(&serde_json::from_str(line).expect("JSON"))).collect();
            (path.file_stem().expect("a name").to_string_lossy().into_owned(), frames)
        })
        .collect()
}

/// A request and its answer, without their sizes.
struct Frame {
    key: ApiKey,
    version: i16,
    request: Vec<u8>,
    response: Option<Vec<u8>>,
}

impl Frame {
    fn read(line: &serde_json::Value) -> Self {
        let hex = |name: &str| {
            line[name].as_str().map(|text| {
                (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
            })
        };
        let number = |name: &str| i16::try_from(line[name].as_i64().expect("a number")).expect("small");
        Self {
            key: ApiKey::from_code(number("key")).expect("a key"),
            version: number("version"),
            request: hex("request").expect("a request"),
            response: hex("response"),
        }
    }

    /// The body of the request.
    fn body<R: Request>(&self) -> R {
        let mut input = Decoder::from(Bytes::from(self.request.clone()));
        RequestHeader::decode_frame(&mut input).expect("a header");
        R::decode(&mut input, self.version).expect("a request")
    }

    fn is_served(&self) -> bool {
        let served = Release::current().broker_apis;
        served.iter().any(|api| api.key == self.key && api.served.contains(&self.version))
    }

    /// Partitions that were told of, or written to, by their topics' names.
    fn partitions(&self) -> Vec<(Str, i32)> {
        let Some(response) = &self.response else { return Vec::new() };
        match self.key {
            ApiKey::Metadata => {
                let told: MetadataResponse = answer(response, self.key, self.version);
                let there = told.topics.into_iter().filter(|topic| topic.error_code == 0 && !topic.is_internal);
                let partition = |topic: MetadataResponseTopic| {
                    let name = topic.name.unwrap_or_default();
                    topic.partitions.into_iter().map(move |it| (name.clone(), it.partition_index))
                };
                there.flat_map(partition).collect()
            }
            ApiKey::Produce if self.version < 13 => {
                let told: ProduceResponse = answer(response, self.key, self.version);
                let parts = |topic: TopicProduceResponse| {
                    let good = topic.partition_responses.into_iter().filter(|it| it.error_code == 0);
                    good.map(move |it| (topic.name.clone(), it.index))
                };
                told.responses.into_iter().flat_map(parts).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Whether what it asks about does not exist here, so that the answer must be another one: groups and transactions.
    fn is_of_coordinators(&self) -> bool {
        match self.key {
            ApiKey::FindCoordinator => drop_body::<FindCoordinatorRequest>(self),
            ApiKey::InitProducerId => self.body::<InitProducerIdRequest>().transactional_id.is_some(),
            ApiKey::Produce => self.body::<ProduceRequest>().transactional_id.is_some(),
            ApiKey::ListGroups => true,
            _ => false,
        }
    }
}

/// It must be readable all the same.
fn drop_body<R: Request>(frame: &Frame) -> bool {
    let _: R = frame.body();
    true
}

/// The body of an answer, which must be read to its end.
fn answer<M: Message>(frame: &[u8], key: ApiKey, version: i16) -> M {
    let mut input = Decoder::from(Bytes::copy_from_slice(frame));
    ResponseHeader::decode_for(&mut input, key, version).expect("a header");
    M::decode_exact(input, version).unwrap_or_else(|error| panic!("{key} v{version}: {error}"))
}

macro_rules! shapes {
    ($($name:ident),* $(,)?) => {
        fn shape_of(frame: &[u8], key: ApiKey, version: i16) -> Option<Shape> {
            match key {
                $(ApiKey::$name => {
                    Some(Printed::shape(&answer::<<requests::$name as Request>::Response>(frame, key, version)))
                })*
                _ => None,
            }
        }
    };
}

mod requests {
    pub(super) use protocol::messages::{
        AlterConfigsRequest as AlterConfigs, CreatePartitionsRequest as CreatePartitions,
        CreateTopicsRequest as CreateTopics, DeleteRecordsRequest as DeleteRecords,
        DeleteTopicsRequest as DeleteTopics, DescribeAclsRequest as DescribeAcls,
        DescribeClusterRequest as DescribeCluster, DescribeConfigsRequest as DescribeConfigs,
        DescribeLogDirsRequest as DescribeLogDirs, DescribeQuorumRequest as DescribeQuorum,
        DescribeTopicPartitionsRequest as DescribeTopicPartitions, ElectLeadersRequest as ElectLeaders,
        FetchRequest as Fetch, FindCoordinatorRequest as FindCoordinator,
        IncrementalAlterConfigsRequest as IncrementalAlterConfigs, InitProducerIdRequest as InitProducerId,
        ListConfigResourcesRequest as ListConfigResources, ListGroupsRequest as ListGroups,
        ListOffsetsRequest as ListOffsets, ListPartitionReassignmentsRequest as ListPartitionReassignments,
        MetadataRequest as Metadata, OffsetForLeaderEpochRequest as OffsetForLeaderEpoch, ProduceRequest as Produce,
    };
}

shapes!(
    AlterConfigs,
    CreatePartitions,
    CreateTopics,
    DeleteRecords,
    DeleteTopics,
    DescribeAcls,
    DescribeCluster,
    DescribeConfigs,
    DescribeLogDirs,
    DescribeQuorum,
    DescribeTopicPartitions,
    ElectLeaders,
    Fetch,
    FindCoordinator,
    IncrementalAlterConfigs,
    InitProducerId,
    ListConfigResources,
    ListGroups,
    ListOffsets,
    ListPartitionReassignments,
    Metadata,
    OffsetForLeaderEpoch,
    Produce,
);

/// Topic ids and fetch sessions that were recorded, and ours.
#[derive(Default)]
struct Ids {
    topics: BTreeMap<Uuid, Uuid>,
    /// The recorded ids by name.
    names: BTreeMap<String, Uuid>,
    sessions: BTreeMap<i32, i32>,
    /// Names and ids of topics that transactions wrote to, and sessions that read them.
    tainted: BTreeSet<String>,
}

impl Ids {
    /// Whether the records that it reads are others than they were; learns from what it names.
    fn is_tainted(&mut self, frame: &Frame) -> bool {
        let named: Vec<String> = match frame.key {
            ApiKey::Produce => {
                let request: ProduceRequest = frame.body();
                let topics = request.topic_data.iter();
                let topics: Vec<String> =
                    topics.flat_map(|it| [it.name.to_string(), it.topic_id.to_string()]).collect();
                if request.transactional_id.is_some() {
                    let ids = topics.iter().filter_map(|name| Some(self.names.get(name)?.to_string()));
                    self.tainted.extend(ids.chain(topics.iter().cloned()).collect::<Vec<_>>());
                }
                topics
            }
            ApiKey::Fetch => {
                let request: FetchRequest = frame.body();
                let session = format!("session {}", request.session_id);
                let topics = request.topics.iter().flat_map(|it| [it.topic.to_string(), it.topic_id.to_string()]);
                topics.chain([session]).collect()
            }
            ApiKey::ListOffsets => {
                frame.body::<ListOffsetsRequest>().topics.iter().map(|topic| topic.name.to_string()).collect()
            }
            ApiKey::DeleteRecords => {
                frame.body::<DeleteRecordsRequest>().topics.iter().map(|topic| topic.name.to_string()).collect()
            }
            _ => return false,
        };
        let nothing = ["".to_owned(), Uuid::ZERO.to_string()];
        let is_tainted = named.iter().any(|name| !nothing.contains(name) && self.tainted.contains(name));
        if let (true, ApiKey::Fetch, Some(theirs)) = (is_tainted, frame.key, &frame.response) {
            let session = answer::<FetchResponse>(theirs, frame.key, frame.version).session_id;
            self.tainted.extend((session != 0).then(|| format!("session {session}")));
        }
        is_tainted
    }

    /// Learns from two answers to one request.
    fn learn(&mut self, frame: &Frame, theirs: &[u8], ours: &[u8]) {
        let named = |bytes: &[u8]| -> BTreeMap<String, Uuid> {
            match frame.key {
                ApiKey::CreateTopics => answer::<CreateTopicsResponse>(bytes, frame.key, frame.version)
                    .topics
                    .iter()
                    .map(|topic| (topic.name.to_string(), topic.topic_id))
                    .collect(),
                ApiKey::Metadata => answer::<MetadataResponse>(bytes, frame.key, frame.version)
                    .topics
                    .iter()
                    .filter_map(|topic| Some((topic.name.as_ref()?.to_string(), topic.topic_id)))
                    .collect(),
                _ => BTreeMap::new(),
            }
        };
        if frame.key == ApiKey::Fetch {
            let session = |bytes: &[u8]| answer::<FetchResponse>(bytes, frame.key, frame.version).session_id;
            self.sessions.insert(session(theirs), session(ours));
        }
        let ours = named(ours);
        for (name, id) in named(theirs) {
            if let Some(our) = ours.get(&name)
                && !id.is_zero()
                && !our.is_zero()
            {
                self.topics.insert(id, *our);
                self.names.insert(name.clone(), id);
                if self.tainted.contains(&name) {
                    self.tainted.insert(id.to_string());
                }
            }
        }
    }

    /// The request as one of ours.
    fn translate(&self, frame: &Frame) -> Vec<u8> {
        let mut request = frame.request.clone();
        if frame.key == ApiKey::Fetch {
            let mut fetch: FetchRequest = frame.body();
            fetch.session_id = self.sessions.get(&fetch.session_id).copied().unwrap_or(fetch.session_id);
            request = fetch.to_frame(frame.version, 7, Some("replay".into())).expect("what was read").to_vec();
        }
        for (theirs, ours) in &self.topics {
            let mut at = 0;
            while let Some(found) = request[at..].windows(16).position(|window| *window == theirs.0) {
                request[at + found..at + found + 16].copy_from_slice(&ours.0);
                at += found + 16;
            }
        }
        request
    }
}

/// One node on ports of its own, and what ends it.
struct Node {
    address: Address,
    broker: Broker,
}

impl Node {
    #[expect(clippy::disallowed_types, reason = "asks the system for ports that are free")]
    async fn start(env: &Env) -> Self {
        let taken: Vec<_> =
            (0..2).map(|_| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port")).collect();
        let ports: Vec<u16> = taken.iter().map(|it| it.local_addr().expect("an address").port()).collect();
        drop(taken);
        let listeners = format!("PLAINTEXT://127.0.0.1:{},CONTROLLER://127.0.0.1:{}", ports[0], ports[1]);
        let voters = format!("1@127.0.0.1:{}", ports[1]);
        let config = Config::from_properties([
            ("node.id", "1"),
            ("listeners", &*listeners),
            ("controller.quorum.voters", &*voters),
            ("wavetank.shards", "2"),
        ])
        .expect("a good configuration");
        let broker = Broker::start(env.clone(), config, Release::current()).await.expect("a good start");
        let node = Self { address: Address::new("127.0.0.1", ports[0]), broker };
        while !node.is_well(env).await {
            env.sleep(Duration::from_millis(20)).await;
        }
        node
    }

    /// Asks as a client of good will.
    async fn ask<R: Request>(&self, env: &Env, request: &R, version: i16) -> R::Response {
        let mut client = Raw::open(env, &self.address).await;
        client.send(&request.to_frame(version, 1, None).expect("a frame").to_vec()).await;
        let frame = env.timeout(PATIENCE, client.receive()).await.expect("in time").expect("an answer");
        answer(&frame, R::KEY, version)
    }

    /// Makes the topics that somebody was told of, or wrote to (repeats of Metadata were not recorded), and waits until this
    /// broker knows them.
    async fn has_topics(&self, env: &Env, frame: &Frame, counts: &BTreeMap<Str, i32>) {
        let there: BTreeSet<Str> = frame.partitions().into_iter().map(|(name, _)| name).collect();
        for name in there {
            // Those that the recording made itself have the partitions that it gave them.
            let count = counts.get(&name).copied().unwrap_or(1);
            let topic = CreatableTopic {
                name: name.clone(),
                num_partitions: count,
                replication_factor: 1,
                ..Default::default()
            };
            let create = CreateTopicsRequest { topics: vec![topic], timeout_ms: 5_000, ..Default::default() };
            self.ask(env, &create, 7).await;
            // Somebody's question may have made it, with another number of partitions.
            let topic = CreatePartitionsTopic { name: name.clone(), count, assignments: None, ..Default::default() };
            let grow = CreatePartitionsRequest { topics: vec![topic], timeout_ms: 5_000, ..Default::default() };
            if counts.contains_key(&name) {
                self.ask(env, &grow, 3).await;
            }
            let asked = MetadataRequestTopic { name: Some(name), ..Default::default() };
            let known = MetadataRequest { topics: Some(vec![asked]), ..Default::default() };
            let is_led = |response: MetadataResponse| {
                let topic = &response.topics[0];
                let led = topic.partitions.iter().filter(|partition| partition.leader_id >= 0);
                topic.error_code == 0 && led.count() as i32 >= count
            };
            while !is_led(self.ask(env, &known, 12).await) {
                env.sleep(Duration::from_millis(5)).await;
            }
        }
    }

    /// A directory that Kafka 4.3 formats has this value set for all brokers. And the broker has been asked before.
    async fn formatted_as_kafkas(&self, env: &Env) {
        let config =
            AlterableConfig { name: "min.insync.replicas".into(), value: Some("1".into()), ..Default::default() };
        let resource = AlterConfigsResource { resource_type: 4, configs: vec![config], ..Default::default() };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
        assert_eq!(self.ask(env, &request, 1).await.responses[0].error_code, 0);
        // Who asks a broker for its first producer id is told to come again: it has none at hand yet.
        let producer = InitProducerIdRequest { transactional_id: None, ..Default::default() };
        while self.ask(env, &producer, 4).await.error_code == ErrorCode::CoordinatorLoadInProgress.code() {
            env.sleep(Duration::from_millis(5)).await;
        }
    }

    /// Whether a client of good will learns of one broker.
    async fn is_well(&self, env: &Env) -> bool {
        let request = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
        let frame = request.to_frame(12, 1, None).expect("a frame");
        let mut client = Raw::open(env, &self.address).await;
        client.send(&frame.to_vec()).await;
        match env.timeout(PATIENCE, client.receive()).await {
            Ok(Some(frame)) => answer::<MetadataResponse>(&frame, ApiKey::Metadata, 12).brokers.len() == 1,
            _ => false,
        }
    }
}

fn run<F: Future<Output = ()>>(body: impl FnOnce(Env) -> F) {
    let root = tempfile::tempdir().expect("a temporary directory");
    os::run(root.path(), Some(1), |env| async move {
        let Env::Os(process) = &env else { unreachable!("this arm") };
        let process = std::sync::Arc::clone(process);
        body(env).await;
        assert_eq!(process.panics(), [], "a task panicked");
    });
}

/// The lines of each that the other has not, without what must differ.
fn difference(frame: &Frame, theirs: &Shape, ours: &Shape) -> Vec<String> {
    let must_differ = |line: &str| {
        let field = line.split('=').next().unwrap_or_default();
        // The words of messages are ours, and say something where Kafka's say nothing.
        field.ends_with("error_message")
            // Topics of groups and transactions.
            || line.ends_with("is_internal=true")
            // Not asked of the disk.
            || (frame.key == ApiKey::DescribeLogDirs && field.ends_with("_bytes"))
            // What only some nodes of Kafka tell.
            || field.ends_with("unknown_tagged_fields")
    };
    let side = |sign: &str, a: &Shape, b: &Shape| -> Vec<String> {
        a.difference(b).filter(|line| !must_differ(line)).map(|line| format!("{sign} {line}")).collect()
    };
    let mut lines = side("-", theirs, ours);
    lines.extend(side("+", ours, theirs));
    lines
}

#[test]
fn recorded_requests_are_answered_in_kafkas_shape() {
    let mut wrong = Vec::new();
    let mut done: BTreeMap<&'static str, usize> = BTreeMap::new();
    for (file, frames) in recorded() {
        run(|env| {
            let (wrong, done) = (&mut wrong, &mut done);
            async move {
                let node = Node::start(&env).await;
                node.formatted_as_kafkas(&env).await;
                let mut counts: BTreeMap<Str, i32> = BTreeMap::new();
                for (name, partition) in frames.iter().flat_map(Frame::partitions) {
                    let count = counts.entry(name).or_default();
                    *count = (*count).max(partition + 1);
                }
                let made = frames.iter().filter(|frame| frame.key == ApiKey::CreateTopics);
                for topic in made.flat_map(|frame| frame.body::<CreateTopicsRequest>().topics) {
                    counts.remove(&topic.name);
                }
                let mut ids = Ids::default();
                let mut client = Raw::open(&env, &node.address).await;
                for (index, frame) in frames.iter().enumerate() {
                    let is_tainted = ids.is_tainted(frame);
                    let Some(theirs) = &frame.response else { continue };
                    if !frame.is_served() || shape_of(theirs, frame.key, frame.version).is_none() {
                        continue;
                    }
                    node.has_topics(&env, frame, &counts).await;
                    client.send(&ids.translate(frame)).await;
                    let Ok(Some(ours)) = env.timeout(PATIENCE, client.receive()).await else {
                        wrong.push(format!("{file}:{} {} v{} has no answer", index + 1, frame.key, frame.version));
                        client = Raw::open(&env, &node.address).await;
                        continue;
                    };
                    ids.learn(frame, theirs, &ours);
                    let ours = shape_of(&ours, frame.key, frame.version).expect("as theirs");
                    // Theirs had no producer id at hand yet.
                    let was_empty = frame.key == ApiKey::InitProducerId
                        && answer::<InitProducerIdResponse>(theirs, frame.key, frame.version).error_code == 14;
                    if frame.is_of_coordinators() || is_tainted || was_empty {
                        continue;
                    }
                    let theirs = shape_of(theirs, frame.key, frame.version).expect("looked at above");
                    let lines = difference(frame, &theirs, &ours);
                    if !lines.is_empty() {
                        let text = lines.join("\n    ");
                        wrong.push(format!("{file}:{} {} v{}\n    {text}", index + 1, frame.key, frame.version));
                    }
                    *done.entry(frame.key.name()).or_default() += 1;
                }
                drop(node.broker);
            }
        });
    }
    assert!(wrong.is_empty(), "{} of {done:?} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(done.len() > 10, "{done:?}");
}

#[test]
fn a_damaged_frame_closes_at_most_its_connection() {
    let mut seen = BTreeSet::new();
    let frames: Vec<Frame> =
        recorded().into_iter().flat_map(|(_, frames)| frames).filter(|it| seen.insert((it.key, it.version))).collect();
    run(|env| async move {
        let node = Node::start(&env).await;
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        for size in [i32::MAX, 0, -1, i32::MIN] {
            let mut client = Raw::open(&env, &node.address).await;
            client.write(size.to_be_bytes().to_vec()).await;
            assert_eq!(env.timeout(PATIENCE, client.receive()).await.ok(), Some(None), "a size of {size}");
        }
        for frame in &frames {
            // A request with a size that is smaller than it was.
            for _ in 0..4 {
                let cut = random.random_range(0..frame.request.len());
                let mut client = Raw::open(&env, &node.address).await;
                client.send(&frame.request[..cut]).await;
            }
            // The stream ends inside the frame.
            let mut client = Raw::open(&env, &node.address).await;
            let size = i32::try_from(frame.request.len()).expect("small");
            client.write([&size.to_be_bytes()[..], &frame.request[..frame.request.len() / 2]].concat()).await;
            drop(client);
            // Counts and codes of all kinds; but not more topics and partitions than the machine has room for.
            if matches!(frame.key, ApiKey::CreateTopics | ApiKey::CreatePartitions) {
                continue;
            }
            for _ in 0..12 {
                let mut damaged = frame.request.clone();
                let at = random.random_range(8..damaged.len());
                damaged[at] ^= 1 << random.random_range(0..8);
                let mut client = Raw::open(&env, &node.address).await;
                client.send(&damaged).await;
            }
        }
        assert!(node.is_well(&env).await, "it serves the others");
        drop(node.broker);
    });
}
