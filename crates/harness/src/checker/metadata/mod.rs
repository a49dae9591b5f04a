//! C-META and C-ISR: what the nodes make of the metadata, judged by a [replay] of the log's records.
//!
//! The records are read from the disks at the end of the run ([log]), up to what the quorum called committed. C-META
//! ([`Same`]): every image that a node put up, and every state that a controller had, is the replay up to its offset; no
//! topic is half created. C-ISR ([`isr`]): what the controller committed of partitions is sound, and what brokers make of
//! it is a part of that.

pub mod isr;
mod log;
mod replay;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use protocol::{NodeId, Offset};
use runtime::Observation;

use super::known::Offset0;
use super::tally::Tally;
use super::{Checker, Judgement, RunEnd, Violation};
use crate::event::{Stamped, grouped};
use log::Batch;
use replay::State;

/// The committed batches of the metadata log, and whether that is all of them. `Err`: why that cannot be told.
type CommittedLog = Result<(Vec<Batch>, bool), String>;

/// Read from the disk that has most of them.
fn committed(run: &RunEnd, high_watermark: Offset) -> CommittedLog {
    let voters: Vec<NodeId> = run.setup.nodes.iter().filter(|node| node.controller).map(|node| node.id).collect();
    let mut longest: Vec<Batch> = Vec::new();
    for disk in run.disks.iter().filter(|disk| voters.is_empty() || voters.contains(&disk.node)) {
        let batches = log::read(disk).map_err(|why| format!("the metadata log of {}: {why}", disk.host))?;
        let end = |batches: &[Batch]| batches.last().map_or(Offset::ZERO, |batch| batch.last.plus(1));
        if end(&batches) > end(&longest) {
            longest = batches;
        }
        if end(&longest) >= high_watermark {
            break;
        }
    }
    longest.retain(|batch| batch.last < high_watermark);
    let all = longest.last().map_or(Offset::ZERO, |batch| batch.last.plus(1)) == high_watermark;
    Ok((longest, all))
}

/// What [`committed`] says, found out once for both checkers, who see the same high watermark.
#[derive(Clone, Default, Debug)]
struct Committed(Arc<OnceLock<CommittedLog>>);

impl Committed {
    fn of(&self, run: &RunEnd, high_watermark: Offset) -> &CommittedLog {
        self.0.get_or_init(|| committed(run, high_watermark))
    }
}

/// C-ISR and C-META.
pub fn checkers() -> Vec<Box<dyn Checker>> {
    let log = Committed::default();
    vec![Box::new(isr::IsrSound::reading(log.clone())), Box::new(Same { log, ..Same::default() })]
}

/// What a node said that it has.
#[derive(Debug)]
struct Claim {
    offset: Offset,
    digest: u64,
    what: &'static str,
    event: Stamped,
}

/// C-META: one log, one meaning.
#[derive(Default, Debug)]
pub struct Same {
    log: Committed,
    high_watermark: Offset0,
    claims: Vec<Claim>,
}

impl Checker for Same {
    fn id(&self) -> &'static str {
        "C-META"
    }

    fn slug(&self) -> &'static str {
        "metadata-same"
    }

    fn unit(&self) -> &'static str {
        "images and states"
    }

    fn observe(&mut self, event: &Stamped) {
        let (offset, digest, what) = match event.what {
            Observation::QuorumHighWatermark { offset } => {
                self.high_watermark = self.high_watermark.max(Offset0(offset));
                return;
            }
            Observation::ImageApplied { offset, digest } => (offset, digest, "image"),
            Observation::ControllerApplied { offset, digest } => (offset, digest, "controller's state"),
            _ => return,
        };
        self.claims.push(Claim { offset, digest, what, event: event.clone() });
    }

    fn finish(&mut self, run: &RunEnd) -> Judgement {
        let nothing = "no node put up an image of the metadata";
        let mut tally = Tally::default();
        if self.claims.is_empty() || run.disks.is_empty() {
            return tally.verdict(nothing);
        }
        let log = self.log.clone();
        let batches = match log.of(run, self.high_watermark.0) {
            Ok((batches, _)) => batches,
            Err(why) => {
                tally.breach(|| Violation::new("the metadata log cannot be read").with("log", why.clone()));
                return tally.verdict(nothing);
            }
        };
        let mut claims: BTreeMap<Offset, Vec<&Claim>> = BTreeMap::new();
        for claim in &self.claims {
            claims.entry(claim.offset).or_default().push(claim);
        }
        let mut state = State::default();
        // Outside a metadata transaction, the state stands at the end of the last batch.
        for batch in batches {
            state.begin();
            for (offset, record) in &batch.records {
                if let Err(why) = state.apply(record) {
                    tally.breach(|| {
                        Violation::new("a metadata record contradicts those before it")
                            .with("record", format!("offset {}: {why}", grouped(offset.0)))
                    });
                    return tally.verdict(nothing);
                }
            }
            half_created(&state, batch, run, &mut tally);
            if state.in_transaction() {
                continue;
            }
            for claim in claims.remove(&batch.last).into_iter().flatten() {
                tally.judged += 1;
                if claim.digest != state.digest() {
                    tally.breach(|| differs(claim));
                }
            }
        }
        let end = batches.last().map_or(Offset::NONE, |batch| batch.last);
        for claim in claims.into_values().flatten().filter(|claim| claim.offset <= end) {
            tally.breach(|| {
                Violation::new("a node's metadata end inside a batch")
                    .with(
                        "node",
                        format!("{}: its {} ends at offset {}", claim.event.host, claim.what, grouped(claim.offset.0)),
                    )
                    .at(&claim.event)
            });
        }
        tally.verdict(nothing)
    }
}

fn differs(claim: &Claim) -> Violation {
    Violation::new("a node's metadata are not what the log says")
        .with("node", format!("{}: its {} at offset {}", claim.event.host, claim.what, grouped(claim.offset.0)))
        .with("not", "the replay of the log up to there".to_owned())
        .at(&claim.event)
}

/// A topic comes with all its partitions in one batch.
fn half_created(state: &State, batch: &Batch, run: &RunEnd, tally: &mut Tally) {
    for (id, _) in &state.touched {
        let Some(topic) = state.topics.get(id) else { continue };
        tally.judged += 1;
        let wanted = run.setup.topics.iter().find(|wanted| wanted.name == topic.name);
        let numbered = topic.partitions.keys().copied().eq(0..topic.partitions.len() as i32);
        let all = wanted.is_none_or(|wanted| topic.partitions.len() as i32 == wanted.partitions);
        if !numbered || !all {
            tally.breach(|| {
                Violation::new("a topic is half created").with(
                    "topic",
                    format!(
                        "{} has partitions {:?} at offset {}",
                        topic.name,
                        topic.partitions.keys().collect::<Vec<_>>(),
                        grouped(batch.last.0)
                    ),
                )
            });
        }
    }
    let empty = |topic: &&replay::Topic| topic.partitions.is_empty();
    if batch.records.iter().any(|(_, record)| matches!(record, protocol::MetadataRecord::Topic(_)))
        && !state.in_transaction()
        && let Some(topic) = state.topics.values().find(empty)
    {
        tally.breach(|| {
            Violation::new("a topic is half created")
                .with("topic", format!("{} has no partition at offset {}", topic.name, grouped(batch.last.0)))
        });
    }
}
