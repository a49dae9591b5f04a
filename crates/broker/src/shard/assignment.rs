//! Which partitions are here, as the metadata says: opened, told their state, taken out of service.

use std::sync::Arc;

use metadata::{Change, Image, PartitionRegistration};
use protocol::{Str, TopicIdPartition, TopicPartition, Uuid};
use rand::Rng;
use replication::{BrokerState, Event, FetcherEvent, Partition, PartitionState};

use super::checkpoint::Report;
use super::hosted::Hosted;
use super::opening::{Opened, Opening, remove};
use super::source::address;
use super::task::{Shard, Slot};
use super::{owner, rules};
use crate::image::ImageChanged;
use crate::quorum::METADATA_TOPIC;

impl Shard {
    pub(super) fn image_changed(&mut self, changed: &ImageChanged) {
        if self.stopping.is_some() {
            return;
        }
        let image = Arc::clone(&changed.image);
        let first = self.image.replace(Arc::clone(&image)).is_none();
        if first {
            self.sweep(&image);
        }
        if first || changed.delta.brokers().next().is_some() {
            self.brokers_changed(&image);
        }
        if changed.delta.changes.iter().any(|changed| matches!(changed.change, Change::Config { .. })) {
            self.configs_changed(&image);
        }
        for (topic_id, name, partitions) in changed.delta.removed_topics() {
            for partition in partitions.keys() {
                self.remove(TopicIdPartition { topic_id, partition: *partition }, name);
            }
        }
        // Leaders first, then followers.
        let changes = changed.delta.partitions();
        for leads in [true, false] {
            for (partition, (topic, registration)) in &changes {
                if (registration.leader == self.ctx.node) == leads {
                    self.partition_changed(*partition, topic, registration);
                }
            }
        }
    }

    pub(super) fn brokers_changed(&mut self, image: &Image) {
        let state = |broker: &metadata::BrokerRegistration| BrokerState {
            epoch: broker.epoch,
            fenced: broker.fenced,
            shutting_down: broker.in_controlled_shutdown,
        };
        self.brokers = Arc::new(image.brokers().map(|broker| (broker.id, state(broker))).collect());
        for slot in self.slots.values_mut() {
            if let Slot::Open(hosted, _) = slot {
                hosted.run(&mut self.ctx, Event::Brokers(Arc::clone(&self.brokers)));
            }
        }
        for (node, source) in &self.sources {
            source.moved(address(image, &self.ctx.config, *node));
        }
    }

    pub(super) fn configs_changed(&mut self, image: &Image) {
        for slot in self.slots.values_mut() {
            if let Slot::Open(hosted, _) = slot {
                let topic = hosted.name.topic.clone();
                hosted.log.configure(rules::log_config(image, &self.ctx.config, &topic));
                hosted.keeping = rules::keeping(image, &self.ctx.config, &topic);
                hosted.unflushed(self.ctx.now.mono);
                let config = rules::partition_config(image, &self.ctx.config, &topic);
                hosted.run(&mut self.ctx, Event::Configured(config));
            }
        }
    }

    pub(super) fn partition_changed(
        &mut self,
        id: TopicIdPartition,
        topic: &Str,
        registration: &PartitionRegistration,
    ) {
        if owner(topic, id.partition, self.count) != self.index {
            return;
        }
        if !registration.replicas.contains(&self.ctx.node) {
            self.remove(id, topic);
            return;
        }
        match self.slots.get_mut(&id) {
            Some(Slot::Open(hosted, _)) => hosted.run(&mut self.ctx, Event::Metadata(state(registration))),
            Some(Slot::Opening { .. } | Slot::Failed) => {}
            None => self.open(id, TopicPartition::new(topic.clone(), id.partition)),
        }
    }

    pub(super) fn open(&mut self, id: TopicIdPartition, name: TopicPartition) {
        self.openings += 1;
        let opening = self.openings;
        self.slots.insert(id, Slot::Opening { opening, name: name.clone(), waiting: Vec::new() });
        if let Some(waits) = self.leaving.get_mut(&name) {
            *waits = Some(id);
            return;
        }
        let image = self.image.as_ref().expect("an image assigned the partition");
        let found = &self.storage.startup.partitions;
        let found = !self.spent.contains(&name)
            && found.iter().any(|found| found.partition == name && found.topic_id == Some(id.topic_id));
        let config = rules::log_config(image, &self.ctx.config, &name.topic);
        let opening = Opening { partition: id, name, opening, config, found };
        opening.start(&self.ctx.env, &self.storage, self.ctx.post.clone());
    }

    pub(super) fn opened(&mut self, opened: Opened) {
        let Opened { partition: id, opening, result } = opened;
        let (name, waiting) = match self.slots.get_mut(&id) {
            Some(Slot::Opening { opening: current, name, waiting }) if *current == opening => {
                (name.clone(), std::mem::take(waiting))
            }
            // Removed meanwhile.
            _ => {
                if let Some(name) = self.doomed.remove(&id) {
                    drop(result);
                    self.take_out(name, false);
                }
                return;
            }
        };
        let (log, high_watermark) = match result {
            Ok(opened) => opened,
            Err(error) => {
                tracing::error!(partition = %name, %error, "log not opened");
                self.ctx.fatal.get_or_insert(format!("log of {name}: {error}"));
                self.slots.insert(id, Slot::Failed);
                return self.again(waiting);
            }
        };
        let image = Arc::clone(self.image.as_ref().expect("an image assigned the partition"));
        let config = rules::partition_config(&image, &self.ctx.config, &name.topic);
        let keeping = rules::keeping(&image, &self.ctx.config, &name.topic);
        let (node, brokers) = (self.ctx.node, Arc::clone(&self.brokers));
        let make = |facts| Partition::new(node, config, brokers, facts);
        let mut hosted = Hosted::new(id, name, opening, log, keeping, make, high_watermark);
        // It may have changed since the opening began.
        hosted.log.configure(rules::log_config(&image, &self.ctx.config, &hosted.name.topic));
        self.slots.insert(id, Slot::Open(Box::new(hosted), waiting));
        if self.stopping.is_some() {
            if let Some(Slot::Open(hosted, _)) = self.slots.get_mut(&id) {
                hosted.close(&mut self.ctx);
            }
        } else if let Some(registration) = image.partition(id) {
            self.tell(id, Event::Metadata(state(registration)));
        }
    }

    /// Directories that the metadata does not assign here go out of service.
    pub(super) fn sweep(&mut self, image: &Image) {
        let storage = self.storage.clone();
        for found in &storage.startup.partitions {
            if owner(&found.partition.topic, found.partition.partition, self.count) != self.index {
                continue;
            }
            // The quorum's log lies beside the partitions and is no shard's.
            if found.partition.topic == METADATA_TOPIC {
                continue;
            }
            let assigned = image.topic_named(&found.partition.topic).is_some_and(|topic| {
                Some(topic.id) == found.topic_id
                    && topic
                        .partitions
                        .get(&found.partition.partition)
                        .is_some_and(|registration| registration.replicas.contains(&self.ctx.node))
            });
            if !assigned {
                tracing::warn!(partition = %found.partition, "stray log");
                self.take_out(found.partition.clone(), true);
            }
        }
        if self.index == 0 {
            for dir in storage.startup.to_delete.clone() {
                let log_dir = storage.dir.clone();
                self.ctx.env.spawn_detached("remove-deleted", async move {
                    if let Err(error) = log_dir.remove(&dir).await {
                        tracing::warn!(%dir, %error, "a deleted directory stays");
                    }
                });
            }
        }
    }

    pub(super) fn remove(&mut self, id: TopicIdPartition, topic: &Str) {
        let name = TopicPartition::new(topic.clone(), id.partition);
        match self.slots.remove(&id) {
            None => {}
            Some(Slot::Failed) => self.take_out(name, false),
            Some(Slot::Opening { waiting, .. }) => {
                match self.leaving.get_mut(&name) {
                    // It waited for the name, nobody does now.
                    Some(waits) => *waits = None,
                    // It is taken out once it is open.
                    None => {
                        self.leaving.insert(name.clone(), None);
                        self.doomed.insert(id, name);
                    }
                }
                self.again(waiting);
            }
            Some(Slot::Open(mut hosted, waiting)) => {
                self.gone += hosted.traffic;
                hosted.run(&mut self.ctx, Event::Deleted);
                if let Some(source) = hosted.following.and_then(|from| self.sources.get_mut(&from)) {
                    source.step(self.ctx.now, FetcherEvent::Unfollow { partition: id });
                }
                if let Some(at) = hosted.timer {
                    self.timers.remove(&(at, id));
                }
                drop(hosted);
                self.take_out(name, false);
                self.again(waiting);
            }
        }
    }

    pub(super) fn take_out(&mut self, name: TopicPartition, stray: bool) {
        self.checkpoints.post(Report::Gone(name.clone()));
        self.leaving.entry(name.clone()).or_insert(None);
        self.spent.insert(name.clone());
        let mut id = [0; 16];
        self.random.fill_bytes(&mut id);
        remove(&self.ctx.env, &self.storage, name, Uuid(id), stray, self.ctx.post.clone());
    }

    pub(super) fn removed(&mut self, name: &TopicPartition, error: Option<storage::DiskError>) {
        if let Some(error) = error {
            self.ctx.fatal.get_or_insert(format!("directory of {name}: {error}"));
        }
        if let Some(Some(id)) = self.leaving.remove(name)
            && let Some(Slot::Opening { waiting, .. }) = self.slots.remove(&id)
        {
            self.open(id, name.clone());
            if let Some(Slot::Opening { waiting: slot, .. }) = self.slots.get_mut(&id) {
                *slot = waiting;
            }
        }
    }
}

fn state(registration: &PartitionRegistration) -> PartitionState {
    PartitionState {
        leader: registration.leader,
        leader_epoch: registration.leader_epoch,
        partition_epoch: registration.partition_epoch,
        isr: registration.isr.clone(),
        replicas: registration.replicas.clone(),
    }
}
