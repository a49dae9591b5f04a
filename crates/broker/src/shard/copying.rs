//! What a shard copies from other brokers: its fetchers, and their answers on the way to the partitions.

use protocol::messages::FetchResponse;
use protocol::{ErrorCode, NodeId, TopicIdPartition};
use replication::{Answer, Event, FetcherEvent, Role};
use transport::client::RpcError;

use super::hosted::Incoming;
use super::source::{Asker, PartAnswer, Source, address};
use super::task::{Shard, Slot};

impl Shard {
    /// Tells the fetchers where a partition stands.
    pub(super) fn follow(&mut self, id: TopicIdPartition) {
        let Some(Slot::Open(hosted, _)) = self.slots.get_mut(&id) else { return };
        let view = &hosted.view;
        let follows = view.role == Role::Follower && !view.leader.is_none() && self.stopping.is_none();
        let wanted = follows.then_some(view.leader);
        if hosted.following != wanted {
            if let Some(source) = hosted.following.and_then(|from| self.sources.get_mut(&from)) {
                source.step(self.ctx.now, FetcherEvent::Unfollow { partition: id });
            }
            hosted.following = wanted;
        }
        let Some(leader) = wanted else { return };
        let source = self.sources.entry(leader).or_insert_with(|| {
            self.generations += 1;
            Source::new(leader, &self.ctx.config, self.generations)
        });
        let event = FetcherEvent::Follow { partition: id, leader_epoch: view.leader_epoch, position: view.fetch };
        source.step(self.ctx.now, event);
        if std::mem::take(&mut hosted.starved) {
            // Asking at once would copy the same again and again.
            source.step(self.ctx.now, FetcherEvent::Rest { partition: id });
        }
        if hosted.mistrusted {
            source.step(self.ctx.now, FetcherEvent::Mistrusted { partition: id });
        }
    }

    pub(super) fn fetched(&mut self, from: NodeId, generation: u64, result: Result<FetchResponse, RpcError>) {
        let Some(source) = self.sources.get_mut(&from).filter(|known| known.is_current(generation)) else { return };
        let response = match result {
            Ok(response) if response.error_code == 0 => response,
            Ok(response) => {
                let error = ErrorCode::from_code(response.error_code);
                tracing::debug!(source = %from, ?error, "fetch refused");
                return source.step(self.ctx.now, FetcherEvent::Refused(error));
            }
            Err(error) => {
                tracing::debug!(source = %from, %error, "fetch failed");
                return source.step(self.ctx.now, FetcherEvent::Failed);
            }
        };
        let (session, mut answers) = (response.session_id, Vec::new());
        let mut parts = source.parts(response);
        let address = |id: &TopicIdPartition| match self.slots.get(id) {
            Some(Slot::Open(hosted, _)) => std::ptr::from_ref(&**hosted).addr(),
            _ => 0,
        };
        probe::disorder(&mut parts, |(id, _)| *id, |(id, _)| address(id));
        for (partition, part) in parts {
            let mut answer = part.summary();
            if let (PartAnswer::Fetched { fetched, records }, Some(Slot::Open(hosted, _))) =
                (part, self.slots.get_mut(&partition))
            {
                hosted.traffic.replication_bytes_in += records.len() as u64;
                hosted.incoming = Some(Incoming::Copied(records));
                hosted.append_error = None;
                hosted.run(&mut self.ctx, Event::Fetched(fetched));
                hosted.incoming = None;
                if let Some(error) = hosted.append_error.take() {
                    answer = Answer::Error(error);
                }
            }
            answers.push((partition, answer));
        }
        // Positions first: a partition whose log is busy now must not be asked for where it was.
        self.follow_touched();
        if let Some(source) = self.sources.get_mut(&from) {
            source.step(self.ctx.now, FetcherEvent::Answered { session, answers });
        }
    }

    pub(super) fn follow_touched(&mut self) {
        for index in 0..self.ctx.touched.len() {
            self.follow(self.ctx.touched[index]);
        }
    }

    pub(super) fn act(&mut self) {
        let Some(image) = &self.image else { return };
        let broker_epoch = self.ctx.lifecycle.broker_epoch();
        let slots = &self.slots;
        let name = |id: TopicIdPartition| match slots.get(&id) {
            Some(Slot::Open(hosted, _)) => Some(hosted.name.topic.clone()),
            _ => None,
        };
        for (node, source) in &mut self.sources {
            source.step(self.ctx.now, FetcherEvent::Tick);
            if source.wants() {
                let asker = Asker {
                    env: &self.ctx.env,
                    config: &self.ctx.config,
                    node: self.ctx.node,
                    broker_epoch,
                    address: address(image, &self.ctx.config, *node),
                    post: &self.ctx.post,
                    name: &name,
                };
                source.act(&asker, self.ctx.now);
            }
        }
        // A source of nothing is closed; its late answers are of an old generation.
        self.sources.retain(|_, source| !source.fetcher.is_empty());
    }
}
