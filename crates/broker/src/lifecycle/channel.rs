//! The way to the active controller: whoever leads the quorum, as far as this node knows.
//!
//! One request at a time. A lost connection, a silent controller and NOT_CONTROLLER are no outcomes: the request goes out
//! again, to whoever is known to lead then. A request that was not answered in time ends its connection, so that the next
//! one does not wait behind what TCP has backed off from.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::{Monotonic, NodeId, Request, Str};
use runtime::{Address, Env};
use transport::client::{Channel, ChannelOptions, ClientOptions, RpcError};

use crate::Config;
use crate::config::Voter;
use crate::quorum;

/// How channels to the controller behave.
#[derive(Clone, Debug)]
pub struct ControllerOptions {
    /// The controllers.
    pub voters: Vec<Voter>,
    /// `controller.socket.timeout.ms`: a silent controller's connection is given up after so long.
    pub request_timeout: Duration,
    /// How long to wait before asking again who leads, and before another attempt.
    pub retry_backoff: Duration,
    /// What this end calls itself.
    pub client_id: Str,
}

impl ControllerOptions {
    /// From this node's properties.
    pub fn new(config: &Config) -> Self {
        Self {
            voters: config.voters.clone(),
            request_timeout: Config::ms(config.numbers.controller_socket_timeout_ms),
            retry_backoff: Duration::from_millis(50),
            client_id: Str::from(format!("broker-{}-to-controller", config.node_id)),
        }
    }
}

/// Why a request has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ChannelError {
    /// The time was up; the controller may have acted on it.
    #[error("no answer from a controller in time")]
    GaveUp,
    /// It cannot be asked at all: it does not fit a version that both speak, or the answer makes no sense.
    #[error(transparent)]
    Rpc(RpcError),
}

/// What one attempt came to.
#[derive(Debug)]
pub(super) enum Attempt<M> {
    /// An answer of whoever was taken for the active controller.
    Answer(M),
    /// Nothing certain: try again.
    Again,
    /// Trying again would not help.
    Hopeless(RpcError),
}

/// A channel of its own to the active controller.
#[derive(Debug)]
pub struct ControllerChannel {
    env: Env,
    quorum: quorum::Handle,
    addresses: BTreeMap<NodeId, Address>,
    options: ControllerOptions,
    current: Option<(NodeId, Channel)>,
}

impl ControllerChannel {
    /// A channel that connects when it is first asked.
    pub fn new(env: &Env, quorum: quorum::Handle, options: ControllerOptions) -> Self {
        let addresses = options.voters.iter().map(|voter| (voter.id, voter.address.clone())).collect();
        Self { env: env.clone(), quorum, addresses, options, current: None }
    }

    /// Asks until there is an answer that `refused` does not take for NOT_CONTROLLER, at most until `give_up`.
    pub async fn ask<R: Request>(
        &mut self,
        request: &R,
        give_up: Monotonic,
        refused: impl Fn(&R::Response) -> bool,
    ) -> Result<R::Response, ChannelError> {
        loop {
            match self.attempt(request, give_up).await {
                Attempt::Answer(answer) if !refused(&answer) => return Ok(answer),
                Attempt::Hopeless(error) => return Err(ChannelError::Rpc(error)),
                Attempt::Answer(_) => probe::sometimes!("controller_moved"),
                Attempt::Again => {}
            }
            if !self.back_off(give_up).await {
                probe::sometimes!("controller_given_up");
                return Err(ChannelError::GaveUp);
            }
        }
    }

    /// Asks whoever is known to lead, once.
    pub(super) async fn attempt<R: Request>(&mut self, request: &R, give_up: Monotonic) -> Attempt<R::Response> {
        let Some(channel) = self.channel() else {
            probe::sometimes!("controller_unknown");
            return Attempt::Again;
        };
        let until = give_up.min(self.env.now().mono + self.options.request_timeout);
        let connection = match self.env.timeout_at(until, channel.connection()).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) if !error.is_disconnect() => return Attempt::Hopeless(error),
            Ok(Err(_)) | Err(_) => return Attempt::Again,
        };
        let version = match connection.version(R::KEY) {
            Ok(version) => version,
            Err(error) => return Attempt::Hopeless(error),
        };
        let patience = until.since(self.env.now().mono);
        match connection.send_within(request, version, patience).await {
            Ok(answer) => Attempt::Answer(answer),
            Err(error) if error.is_disconnect() => {
                probe::sometimes!("controller_request_lost");
                Attempt::Again
            }
            Err(error) => Attempt::Hopeless(error),
        }
    }

    /// Rests before the next attempt; `false` if there is no time left for one.
    pub(super) async fn back_off(&self, give_up: Monotonic) -> bool {
        let next = self.env.now().mono + self.options.retry_backoff;
        self.env.sleep_until(next.min(give_up)).await;
        next < give_up
    }

    /// The channel to whoever leads; `None` while nobody is known to.
    fn channel(&mut self) -> Option<Channel> {
        let leader = self.quorum.status().leader?;
        if let Some((node, channel)) = &self.current
            && *node == leader
        {
            return Some(channel.clone());
        }
        let address = self.addresses.get(&leader)?.clone();
        let connection = ClientOptions {
            request_timeout: self.options.request_timeout,
            connect_timeout: self.options.request_timeout,
            ..ClientOptions::new(self.options.client_id.clone())
        };
        let options =
            ChannelOptions { backoff: self.options.retry_backoff, backoff_max: self.options.retry_backoff, connection };
        if let Some((_, former)) = self.current.take() {
            former.disconnect();
        }
        let channel = Channel::new(&self.env, address, options);
        self.current = Some((leader, channel.clone()));
        Some(channel)
    }
}
