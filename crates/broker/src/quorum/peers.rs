//! The connections to the voters: one channel each, made when first needed. Outcomes come back to the quorum's inbox.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::NodeId;
use raft::{Correlation, Failure, Request, Response};
use runtime::{Env, Post};
use transport::client::{Channel, ChannelOptions, ClientOptions, RpcError};

use super::Message;
use super::wire::Identity;

/// The ways to the voters.
pub struct Peers {
    identity: Identity,
    post: Post<Message>,
    channels: BTreeMap<NodeId, Channel>,
}

impl Peers {
    /// Channels to every other voter. A request that is not answered within `request_timeout` closes its connection.
    pub fn new(
        env: &Env,
        identity: Identity,
        post: Post<Message>,
        request_timeout: Duration,
        backoff: Duration,
    ) -> Self {
        let others = identity.voters.iter().filter(|voter| voter.id != identity.node);
        let channel = |voter: &crate::config::Voter| {
            let connection = ClientOptions {
                connect_timeout: request_timeout,
                request_timeout,
                ..ClientOptions::new(format!("raft-client-{}", identity.node))
            };
            let options = ChannelOptions { connection, backoff, backoff_max: backoff * 10 };
            (voter.id, Channel::new(env, voter.address.clone(), options))
        };
        let channels = others.map(channel).collect();
        Self { identity, post, channels }
    }

    /// Sends a request; exactly one [`Message::Outcome`] follows.
    pub fn send(&self, node: NodeId, correlation: Correlation, request: Request) {
        let post = self.post.clone();
        let Some(channel) = self.channels.get(&node) else {
            return post.post(Message::Outcome { correlation, result: Err(Failure::Disconnected) });
        };
        match request {
            Request::Vote(request) => {
                let request = self.identity.vote_request(&request);
                channel.submit(request, move |outcome| {
                    answered(&post, correlation, outcome, |response| Identity::read_vote_response(&response));
                });
            }
            Request::Begin(request) => {
                let request = self.identity.begin_request(&request);
                channel.submit(request, move |outcome| {
                    answered(&post, correlation, outcome, |response| Identity::read_begin_response(&response));
                });
            }
            Request::End(request) => {
                let request = self.identity.end_request(&request);
                channel.submit(request, move |outcome| {
                    answered(&post, correlation, outcome, |response| Identity::read_end_response(&response));
                });
            }
            Request::Fetch(request) => {
                let request = self.identity.fetch_request(&request);
                channel.submit(request, move |outcome| {
                    answered(&post, correlation, outcome, Identity::read_fetch_response);
                });
            }
        }
    }
}

fn answered<R>(
    post: &Post<Message>,
    correlation: Correlation,
    outcome: Result<R, RpcError>,
    read: impl Fn(R) -> Result<Response, Failure>,
) {
    let result = match outcome {
        Ok(response) => read(response),
        Err(RpcError::UnsupportedVersion { .. } | RpcError::Encode(_)) => Err(Failure::UnsupportedVersion),
        Err(error) if error.is_timeout() => Err(Failure::TimedOut),
        Err(_) => Err(Failure::Disconnected),
    };
    post.post(Message::Outcome { correlation, result });
}
