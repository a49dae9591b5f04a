//! What a node's disk knows of the quorum, and the start of its task.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use protocol::{NodeId, Str, TopicPartition, Uuid};
use raft::{Election, Quorum, Restored, RestoredLog, VoterKey};
use runtime::{Env, Inbox, Observation, Post, Task, inbox};
use storage::{Log, LogConfig, LogDir, MetaProperties, OpenHow, QuorumState, QuorumStateFile};

use super::driver::Driver;
use super::feed::Feed;
use super::host::{CommittedCallback, HostCallback};
use super::peers::Peers;
use super::wire::{Identity, METADATA_TOPIC};
use super::{Ended, Handle, Message, Status};
use crate::config::Config;

/// Why a quorum cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its log, or its file, cannot be read.
    #[error(transparent)]
    Storage(#[from] storage::OpenError),
}

/// A quorum whose disk is read and whose task is not started.
pub struct Opened {
    env: Env,
    config: raft::Config,
    identity: Arc<Identity>,
    request_timeout: Duration,
    restored: Restored,
    log: Log,
    file: QuorumStateFile,
    post: Post<Message>,
    inbox: Inbox<Message>,
    handle: Handle,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Opened({:?})", self.handle)
    }
}

/// Opens the metadata log in `log_dir`, begun if it is not there, and reads `quorum-state`. The directory's
/// `meta.properties` names the cluster and the directory.
pub async fn open(
    env: &Env,
    config: &Config,
    log_dir: &LogDir,
    properties: &MetaProperties,
) -> Result<Opened, OpenError> {
    let (post, inbox) = inbox(usize::MAX);
    let partition = TopicPartition::new(METADATA_TOPIC, 0);
    let dir = log_dir.create_partition(&partition, Uuid::METADATA_TOPIC).await?;
    let file = QuorumStateFile::new(log_dir.disk().clone(), &dir);
    let election = file.read().await?.map(|state| election_of(&state));
    let log_config = LogConfig {
        segment_bytes: u64::try_from(config.numbers.metadata_log_segment_bytes).unwrap_or(1 << 30),
        contiguous: true,
        ..LogConfig::default()
    };
    let completions = {
        let post = post.clone();
        move |token, result| post.post(Message::Disk(token, result))
    };
    // As after an unclean stop, every time: all of it is checked.
    let (log, recovery) = Log::open(log_dir.disk().clone(), &dir, log_config, OpenHow::UNKNOWN, completions).await?;
    if let Some(cut) = &recovery.cut {
        tracing::warn!(?cut, "the metadata log was cut while it was opened");
    }
    env.observe(Observation::QuorumOpened { end: log.log_end_offset() });
    let restored = Restored {
        election,
        log: RestoredLog { end: Some(log.log_end_offset()), flushed: None, epochs: log.epochs().clone() },
    };
    let identity = Arc::new(Identity {
        cluster_id: Str::from(properties.cluster_id.as_str()),
        node: config.node_id,
        voters: config.voters.clone(),
        listener: Str::from(config.controller_listener_name.as_str()),
    });
    let status = Status {
        epoch: election.unwrap_or(Election::NONE).epoch,
        leader: None,
        high_watermark: None,
        log_end: log.log_end_offset(),
    };
    let handle = Handle { post: post.clone(), status: Arc::new(Mutex::new(status)), identity: Arc::clone(&identity) };
    Ok(Opened {
        env: env.clone(),
        config: raft_config(config, properties.directory_id.unwrap_or(Uuid::ZERO)),
        identity,
        request_timeout: Config::ms(config.numbers.controller_quorum_request_timeout_ms),
        restored,
        log,
        file,
        post,
        inbox,
        handle,
    })
}

impl Opened {
    /// The way to it; what is posted before the start waits.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Starts the task. It ends when it was asked to, or when the process must stop.
    pub fn run(self, host: Option<HostCallback>, committed: CommittedCallback) -> Task<Ended> {
        let env = self.env;
        let mut out = Vec::new();
        let backoff = self.config.retry_backoff;
        let random = env.rng("quorum");
        let voters: Vec<NodeId> = self.config.voters.iter().map(|voter| voter.id).collect();
        let patience = self.config.fetch_timeout;
        let machine = Quorum::new(self.config, self.restored, random, env.now(), &mut out);
        let peers = Peers::new(&env, (*self.identity).clone(), self.post, self.request_timeout, backoff);
        let driver = Driver::new(
            env.clone(),
            machine,
            self.log,
            self.file,
            voters,
            peers,
            self.inbox,
            self.handle.status,
            Feed::new(host, committed),
            patience,
        );
        env.spawn("quorum", driver.run(out))
    }
}

fn raft_config(config: &Config, directory: Uuid) -> raft::Config {
    let numbers = &config.numbers;
    let voters = config.voters.iter().map(|voter| voter.id);
    raft::Config {
        directory,
        election_timeout: Config::ms(numbers.controller_quorum_election_timeout_ms),
        fetch_timeout: Config::ms(numbers.controller_quorum_fetch_timeout_ms),
        election_backoff_max: Config::ms(numbers.controller_quorum_election_backoff_max_ms),
        retry_backoff: Config::ms(numbers.controller_quorum_retry_backoff_ms),
        append_linger: Config::ms(numbers.controller_quorum_append_linger_ms),
        fetch_bytes_max: u32::try_from(numbers.controller_quorum_fetch_max_bytes).unwrap_or(u32::MAX),
        ..raft::Config::new(config.node_id, voters)
    }
}

fn election_of(state: &QuorumState) -> Election {
    let known = |node: NodeId| (!node.is_none()).then_some(node);
    Election {
        epoch: state.epoch,
        leader: known(state.leader),
        voted: known(state.voted).map(|id| VoterKey { id, directory: state.voted_directory }),
    }
}

/// In the form of version 0, which lists the voters and forgets the directory of a vote.
pub fn state_of(election: &Election, voters: &[NodeId]) -> QuorumState {
    QuorumState {
        leader: election.leader.unwrap_or(NodeId::NONE),
        epoch: election.epoch,
        voted: election.voted.map_or(NodeId::NONE, |voter| voter.id),
        voted_directory: Uuid::ZERO,
        voters: Some(voters.to_vec()),
    }
}
