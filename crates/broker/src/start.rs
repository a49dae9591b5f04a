//! One process start of a node: what it opens, in which order, and how it ends.

use std::sync::Arc;
use std::time::Duration;

use protocol::{BrokerEpoch, NodeId, Uuid};
use runtime::{Address, Env, Inbox, Observation, Post, inbox};
use storage::{LogDir, MetaProperties, Startup};
use transport::server::{Server, ServerConfig, Service, serve};

use crate::config::{Config, ListenerConfig};
use crate::handlers::Serving;
use crate::identity::{Identity, IdentityError};
use crate::image::{self, ImageCell};
use crate::release::Release;
use crate::service::{BrokerService, Common, ControllerService, ranges};
use crate::shard::{Settings, Shards, Storage};
use crate::vitals::Watcher;
use crate::{controller, lifecycle, quorum};

/// How long requests in flight may go on while a server stops.
const GRACE: Duration = Duration::from_millis(500);

/// Between two looks at who else is on its way out.
const OTHERS_LOOK: Duration = Duration::from_millis(10);

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its log directory cannot be read.
    #[error("the log directory cannot be opened: {0}")]
    LogDir(#[from] storage::OpenError),
    /// The log directory is not this node's.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The metadata log cannot be read.
    #[error("the metadata log cannot be opened: {0}")]
    Quorum(#[from] quorum::OpenError),
    /// It cannot listen.
    #[error("cannot listen at {address}: {error}")]
    Listen {
        /// Where.
        address: Address,
        /// Why not.
        error: std::io::Error,
    },
    /// A role has no listener.
    #[error("`process.roles` has `{role}`, but no listener of `listeners` serves it")]
    NoListener {
        /// Which role.
        role: &'static str,
    },
}

/// A running node: a broker, a controller, or both.
pub struct Broker {
    env: Env,
    node: NodeId,
    cluster_id: Uuid,
    is_controller: bool,
    /// `broker.session.timeout.ms`.
    session: Duration,
    image: ImageCell,
    dir: LogDir,
    serves: Vec<Server>,
    controller_listener: String,
    quorum: quorum::Handle,
    broker: Option<(lifecycle::Handle, Shards)>,
    failed: Inbox<String>,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Broker({})", self.node)
    }
}

impl Broker {
    /// Starts a node. It serves when this returns; its broker is unfenced when the controller says so.
    pub async fn start(env: Env, config: Config, release: Release) -> Result<Self, StartError> {
        let (config, release) = (Arc::new(config), Arc::new(release));
        let node = config.node_id;
        let (dir, startup) = LogDir::open(env.disk(&config.log_dir)).await?;
        for note in &startup.notes {
            tracing::warn!(%node, "{note}");
        }
        let identity = Identity::of(&env, &config, &dir, &startup).await?;
        let properties = MetaProperties {
            cluster_id: identity.cluster_id.to_string(),
            node_id: node,
            directory_id: Some(identity.directory_id),
        };
        let opened = quorum::open(&env, &config, &dir, &properties).await?;
        let quorum = opened.handle();
        // A broker acts on no image that is older than its own registration.
        let cell = if config.is_broker { ImageCell::held_back() } else { ImageCell::new() };
        let common = Common { release: Arc::clone(&release), cluster_id: identity.cluster_id, image: cell.clone() };
        let (fatal, failed) = inbox(usize::MAX);
        let mut parts = Parts { env: &env, config: &config, fatal, listeners: Vec::new() };

        let broker = if config.is_broker {
            Some(parts.broker(&release, identity, dir.clone(), startup, quorum.clone(), cell.clone()))
        } else {
            None
        };
        let subscribers = broker
            .iter()
            .map(|(lifecycle, shards)| unless_superseded(node, lifecycle, parts.fatal.clone(), shards.subscriber()))
            .collect();
        let (committed, leads) = image::start(&env, node, cell.clone(), subscribers);
        leads.ask(quorum.clone());
        let host = if config.is_controller {
            let incarnation = broker.as_ref().map(|(lifecycle, _)| lifecycle.incarnation());
            Some(parts.controller(&common, quorum.clone(), incarnation)?)
        } else {
            None
        };
        if let Some((lifecycle, shards)) = &broker {
            parts.serve_clients(&common, cell, lifecycle.clone(), shards.clone())?;
        }
        parts.watch(opened.run(host, committed));
        let serves = parts.listen().await?;
        Ok(Self {
            env,
            node,
            cluster_id: common.cluster_id,
            is_controller: config.is_controller,
            session: Config::ms(config.numbers.broker_session_timeout_ms),
            image: common.image,
            dir,
            serves,
            controller_listener: config.controller_listener_name.clone(),
            quorum,
            broker,
            failed,
        })
    }

    /// Where it listens, in order of the listeners' names in the configuration.
    pub fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.serves.iter().map(Server::local)
    }

    /// The cluster that its directory belongs to.
    pub const fn cluster_id(&self) -> Uuid {
        self.cluster_id
    }

    /// Resolves when it serves clients: the controller has unfenced it. A node that is a controller only does so at once.
    pub fn ready(&self) -> impl Future<Output = ()> + Send + use<> {
        let running = self.broker.as_ref().map(|(lifecycle, _)| lifecycle.running());
        async move {
            if let Some(running) = running {
                running.await;
            }
        }
    }

    /// A way to look at it, for metrics.
    pub fn watcher(&self) -> Watcher {
        let counters = |server: &Server| (server.listener().to_string(), Arc::clone(server.counters()));
        Watcher {
            env: self.env.clone(),
            node: self.node,
            image: self.image.clone(),
            quorum: self.quorum.clone(),
            broker: self.broker.clone(),
            listeners: self.serves.iter().map(counters).collect(),
        }
    }

    /// Requests answered so far, on all listeners.
    pub fn responses(&self) -> u64 {
        self.serves.iter().map(|server| server.counters().responses_total()).sum()
    }

    /// Resolves when the node cannot go on, with the reason: the process should end.
    pub async fn failed(&mut self) -> String {
        match self.failed.recv().await {
            Some(why) => {
                self.env.observe(Observation::Fatal { why: why.clone() });
                why
            }
            None => std::future::pending().await,
        }
    }

    /// Stops in good order: hands leadership over, closes the logs, and says on disk that it did.
    pub async fn stop(mut self) {
        if let Some((lifecycle, _)) = &self.broker {
            lifecycle.controlled_shutdown().await;
        }
        // The controllers' listener stays until the quorum has a new leader, which could not tell this node otherwise.
        let (controllers, clients): (Vec<_>, Vec<_>) = std::mem::take(&mut self.serves)
            .into_iter()
            .partition(|server| *server.listener() == *self.controller_listener);
        for server in clients {
            server.stop(GRACE).await;
        }
        let mut epoch = BrokerEpoch::NONE;
        if let Some((lifecycle, shards)) = &self.broker {
            shards.stop().await;
            epoch = lifecycle.status().epoch;
        }
        self.see_others_off().await;
        self.quorum.shutdown().await;
        for server in controllers {
            server.stop(GRACE).await;
        }
        if self.broker.is_some()
            && let Err(error) = self.dir.mark_clean(epoch).await
        {
            tracing::warn!(node = %self.node, %error, "the clean shutdown could not be marked: the next start recovers");
        }
        self.env.observe(Observation::BrokerStopped);
    }

    /// A cluster is often stopped all at once. Its last brokers can be relieved only as long as a majority of the
    /// controllers runs: so a controller stays while others are in controlled shutdown, for a session's time at most.
    async fn see_others_off(&self) {
        if !self.is_controller {
            return;
        }
        let until = self.env.now().mono + self.session;
        let leaving = || {
            let image = self.image.load();
            image.brokers().any(|it| it.id != self.node && it.in_controlled_shutdown && !it.fenced)
        };
        while leaving() && self.env.now().mono < until {
            self.env.sleep(OTHERS_LOOK).await;
        }
    }
}

/// Hands images on until one says that another process has this node's id. Acting on it, this one would lead the other's
/// partitions, in the other's epoch, with its own log: two logs that differ in one epoch are never reconciled.
fn unless_superseded(
    node: NodeId,
    lifecycle: &lifecycle::Handle,
    fatal: Post<String>,
    mut hand_on: image::Subscriber,
) -> image::Subscriber {
    let own = lifecycle.incarnation();
    let mut superseded = false;
    Box::new(move |changed| {
        let registered = changed.image.broker(node).map_or(own, |broker| broker.incarnation);
        if registered == own && !superseded {
            hand_on(changed);
        } else if !std::mem::replace(&mut superseded, true) {
            probe::sometimes!("broker_superseded");
            fatal.post(format!("another process has registered under node.id {node}"));
        }
    })
}

/// What is put together at a start.
struct Parts<'a> {
    env: &'a Env,
    config: &'a Arc<Config>,
    /// Where failures go.
    fatal: Post<String>,
    /// What will listen once everything stands.
    listeners: Vec<(ListenerConfig, ServerConfig, Arc<dyn Service>)>,
}

impl Parts<'_> {
    fn broker(
        &self,
        release: &Release,
        identity: Identity,
        dir: LogDir,
        startup: Startup,
        quorum: quorum::Handle,
        image: ImageCell,
    ) -> (lifecycle::Handle, Shards) {
        let fatal = self.fatal.clone();
        let lifecycle = lifecycle::start(
            lifecycle::Start {
                env: self.env,
                config: self.config,
                release,
                cluster_id: identity.cluster_id,
                log_dirs: vec![identity.directory_id],
                previous_epoch: startup.clean.unwrap_or(BrokerEpoch::NONE),
                quorum,
                image,
            },
            Box::new(move |why| fatal.post(why)),
        );
        let fatal = self.fatal.clone();
        let shards = Shards::start(Settings {
            env: self.env.clone(),
            node: identity.node_id,
            config: Arc::clone(self.config),
            storage: Storage { dir, startup: Arc::new(startup) },
            lifecycle: lifecycle.clone(),
            fatal: Arc::new(move |why| fatal.post(why)),
        });
        (lifecycle, shards)
    }

    /// `incarnation` is that of the broker in this process.
    fn controller(
        &mut self,
        common: &Common,
        quorum: quorum::Handle,
        incarnation: Option<Uuid>,
    ) -> Result<quorum::HostCallback, StartError> {
        let (controller, host) = controller::start(self.env, self.config, common.cluster_id, incarnation);
        controller.attach(quorum.clone());
        let listener = self.config.controller_listener().ok_or(StartError::NoListener { role: "controller" })?;
        let rpc = controller::rpc::Rpc {
            env: self.env.clone(),
            controller,
            quorum: quorum.clone(),
            cluster_id: common.cluster_id,
            voters: self.config.voters.clone(),
        };
        let service = ControllerService { common: common.clone(), controller: rpc, quorum };
        let config = self.server_config(listener, &common.release.controller_apis);
        self.listeners.push((listener.clone(), config, Arc::new(service)));
        Ok(host)
    }

    fn serve_clients(
        &mut self,
        common: &Common,
        image: ImageCell,
        lifecycle: lifecycle::Handle,
        shards: Shards,
    ) -> Result<(), StartError> {
        let listener = self.config.broker_listener().ok_or(StartError::NoListener { role: "broker" })?;
        let serving = Serving { env: self.env.clone(), config: Arc::clone(self.config), image, shards };
        let service = BrokerService { common: common.clone(), serving, lifecycle };
        let config = self.server_config(listener, &common.release.broker_apis);
        self.listeners.push((listener.clone(), config, Arc::new(service)));
        Ok(())
    }

    fn server_config(&self, listener: &ListenerConfig, apis: &[crate::release::ServedApi]) -> ServerConfig {
        let numbers = &self.config.numbers;
        let size = |number: i64, least: usize| usize::try_from(number).unwrap_or(usize::MAX).max(least);
        ServerConfig {
            frame_bytes_max: size(numbers.socket_request_max_bytes, 1),
            requests_in_flight_max: size(numbers.connection_requests_max, 1),
            idle_max: Config::ms(numbers.connections_max_idle_ms),
            ..ServerConfig::new(listener.name.as_str(), ranges(apis))
        }
    }

    /// A quorum that fails takes the node with it.
    fn watch(&self, quorum: runtime::Task<quorum::Ended>) {
        let fatal = self.fatal.clone();
        self.env.spawn_detached("quorum-end", async move {
            if let Some(quorum::Ended::Failed { why }) = quorum.join().await {
                fatal.post(why);
            }
        });
    }

    async fn listen(self) -> Result<Vec<Server>, StartError> {
        let mut servers = Vec::new();
        for (listener, config, service) in self.listeners {
            let address = listener.address.clone();
            let bound = self.env.listen(address.clone()).await;
            let bound = bound.map_err(|error| StartError::Listen { address, error })?;
            servers.push(serve(self.env, bound, config, service));
        }
        Ok(servers)
    }
}
