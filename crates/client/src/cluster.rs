//! The ways to a cluster's nodes, and the view of it that a client's parts share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use protocol::messages::MetadataRequest;
use protocol::messages::metadata_request::MetadataRequestTopic;
use protocol::{ErrorCode, LeaderEpoch, NodeId, Request, Str};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use runtime::{Address, Env};
use transport::client::{Channel, RpcError};

use crate::config::ClientConfig;
use crate::metadata::Metadata;

/// Why no node answered.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClusterError {
    /// There is no node to ask.
    #[error("no node is known")]
    NoNodes,
    /// The last one asked did not answer.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// The last one asked answered with an error.
    #[error("{0}")]
    Code(ErrorCode),
}

/// The ways to a cluster's nodes. Clones share them.
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

struct Inner {
    env: Env,
    config: ClientConfig,
    state: Mutex<State>,
}

struct State {
    metadata: Arc<Metadata>,
    channels: BTreeMap<NodeId, Channel>,
    bootstrap: Vec<Channel>,
    random: ChaCha8Rng,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cluster({})", self.0.config.client_id)
    }
}

impl Cluster {
    /// Nothing is connected before the first request.
    pub fn new(env: &Env, config: ClientConfig) -> Self {
        let channel = |address: &Address| Channel::new(env, address.clone(), config.channel_options());
        let bootstrap = config.bootstrap_servers.iter().map(channel).collect();
        let random = env.rng(&format!("client {}", config.client_id));
        let state = State { metadata: Arc::default(), channels: BTreeMap::new(), bootstrap, random };
        Self(Arc::new(Inner { env: env.clone(), config, state: Mutex::new(state) }))
    }

    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.0.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The machine.
    pub fn env(&self) -> &Env {
        &self.0.env
    }

    /// How the client behaves.
    pub fn config(&self) -> &ClientConfig {
        &self.0.config
    }

    /// The view at this moment.
    pub fn metadata(&self) -> Arc<Metadata> {
        self.with(|state| Arc::clone(&state.metadata))
    }

    /// The way to a node, if its address is known.
    pub fn channel(&self, node: NodeId) -> Option<Channel> {
        self.with(|state| self.channel_in(state, node))
    }

    fn channel_in(&self, state: &mut State, node: NodeId) -> Option<Channel> {
        let address = state.metadata.brokers.get(&node)?.clone();
        let channel = state
            .channels
            .entry(node)
            .or_insert_with(|| Channel::new(&self.0.env, address.clone(), self.0.config.channel_options()));
        channel.set_address(address);
        Some(channel.clone())
    }

    /// Everybody who may be asked what any broker knows: connected ones first, then the other brokers, then the
    /// bootstrap servers, each group from a random place on.
    pub fn anybody(&self) -> Vec<Channel> {
        self.with(|state| {
            let nodes: Vec<NodeId> = state.metadata.brokers.keys().copied().collect();
            let mut brokers: Vec<Channel> = nodes.into_iter().filter_map(|node| self.channel_in(state, node)).collect();
            rotate(&mut brokers, &mut state.random);
            brokers.sort_by_key(|channel| !channel.connected());
            let mut bootstrap = state.bootstrap.clone();
            rotate(&mut bootstrap, &mut state.random);
            bootstrap.retain(|server| brokers.iter().all(|broker| broker.address() != server.address()));
            brokers.extend(bootstrap);
            brokers
        })
    }

    /// Asks anybody: each node once, until one answers.
    pub async fn ask_anybody<R: Request + Clone>(&self, request: &R) -> Result<R::Response, ClusterError> {
        let mut last = ClusterError::NoNodes;
        for channel in self.anybody() {
            match channel.send(request.clone()).await {
                Ok(response) => return Ok(response),
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }

    /// Asks for the cluster and these topics, and shares what was learnt. One round through the nodes.
    pub async fn refresh(&self, topics: &[Str]) -> Result<Arc<Metadata>, ClusterError> {
        let topic = |name: &Str| MetadataRequestTopic { name: Some(name.clone()), ..MetadataRequestTopic::default() };
        let request = MetadataRequest {
            topics: Some(topics.iter().map(topic).collect()),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        let response = self.ask_anybody(&request).await?;
        let error = ErrorCode::from_code(response.error_code);
        if !error.is_ok() {
            return Err(ClusterError::Code(error));
        }
        Ok(self.with(|state| {
            let next = Arc::new(state.metadata.updated(&response));
            state.channels.retain(|node, _| next.brokers.contains_key(node));
            state.metadata = Arc::clone(&next);
            next
        }))
    }

    /// Takes a newer leader from a response that names one. Says whether it was news.
    pub fn learn_leader(
        &self,
        topic: &str,
        partition: i32,
        leader: NodeId,
        epoch: LeaderEpoch,
        endpoint: Option<Address>,
    ) -> bool {
        self.with(|state| {
            let news = state.metadata.is_newer_leader(topic, partition, leader, epoch, endpoint.as_ref());
            if news {
                // Copied only if somebody else holds it.
                Arc::make_mut(&mut state.metadata).set_leader(topic, partition, leader, epoch, endpoint);
            }
            news
        })
    }
}

fn rotate(list: &mut [Channel], random: &mut ChaCha8Rng) {
    if list.len() > 1 {
        let by = random.random_range(0..list.len());
        list.rotate_left(by);
    }
}
