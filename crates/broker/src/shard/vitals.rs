//! What a shard tells of its partitions when somebody looks.

use super::task::{Shard, Slot};
use crate::vitals::{PartitionVitals, ShardVitals};

impl Shard {
    pub(super) fn vitals(&self) -> ShardVitals {
        let mut vitals = ShardVitals {
            isr_shrinks: self.ctx.isr_shrinks,
            isr_expands: self.ctx.isr_expands,
            gone: self.gone,
            ..ShardVitals::default()
        };
        for (id, slot) in &self.slots {
            let hosted = match slot {
                Slot::Open(hosted, _) => hosted,
                Slot::Opening { .. } => continue,
                Slot::Failed => {
                    vitals.offline += 1;
                    continue;
                }
            };
            let view = &hosted.view;
            let registered = self.image.as_ref().and_then(|image| image.partition(*id));
            vitals.partitions.push(PartitionVitals {
                name: hosted.name.clone(),
                leads: view.role == replication::Role::Leader,
                leader_epoch: view.leader_epoch,
                log_start_offset: view.log_start_offset,
                log_end_offset: view.log_end_offset,
                high_watermark: view.high_watermark,
                isr: view.isr.len(),
                replicas: registered.map_or(view.isr.len(), |partition| partition.replicas.len()),
                min_isr: view.min_isr,
                size: hosted.log.size(),
                segments: hosted.log.segment_bases().count(),
                traffic: hosted.traffic,
            });
        }
        vitals
    }
}
