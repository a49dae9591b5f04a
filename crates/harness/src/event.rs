//! What happened, when, on which host, and because of what: the stream that the trace, the checkers and the reports read.
//!
//! [`Stamped`] is an [`Observation`] with its place and time. [`describe`] puts it into one line of a story.

use std::sync::Arc;

use protocol::{NodeId, TopicPartition};
use runtime::Observation;
use runtime::observation::{ProcessEnd, QuorumRole, ReplicaRole};

use crate::run::cluster::node_name as name;

/// An observation with its place and time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stamped {
    /// Its number in the run, from 1, in order of time.
    pub id: u64,
    /// When, in ns of the world's time since the run began.
    pub at_ns: u64,
    /// The host: `b1`, `c2`, a client's host, or `world` for faults.
    pub host: Arc<str>,
    /// The host's `node.id`; [`NodeId::NONE`] for hosts that are no nodes of the cluster.
    pub node: NodeId,
    /// The event of the world that caused it; 0 if none is known.
    pub cause: u64,
    /// What happened.
    pub what: Observation,
}

/// One line of the causal story of a violation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoryLine {
    /// The event's id.
    pub id: u64,
    /// When, in ns.
    pub at_ns: u64,
    /// The host.
    pub host: Arc<str>,
    /// What happened, in a few words.
    pub text: String,
}

impl StoryLine {
    /// The line of an event.
    pub fn of(event: &Stamped) -> Self {
        Self { id: event.id, at_ns: event.at_ns, host: Arc::clone(&event.host), text: describe(&event.what) }
    }
}

/// The partition that an observation is about, if it is about one.
pub fn partition_of(what: &Observation) -> Option<&TopicPartition> {
    match what {
        Observation::PartitionCommitted { partition, .. }
        | Observation::ReplicaRole { partition, .. }
        | Observation::Appended { partition, .. }
        | Observation::Truncating { partition, .. }
        | Observation::Truncated { partition, .. }
        | Observation::LogOpened { partition, .. }
        | Observation::LogFlushed { partition, .. }
        | Observation::HighWatermark { partition, .. }
        | Observation::Isr { partition, .. }
        | Observation::Acknowledged { partition, .. }
        | Observation::Served { partition, .. }
        | Observation::EpochEnd { partition, .. }
        | Observation::LogStart { partition, .. }
        | Observation::EpochRefused { partition, .. } => Some(partition),
        _ => None,
    }
}

/// Whether this belongs to the thread of a story about partitions: rare events that change who may do what, not the
/// traffic itself.
pub fn is_milestone(what: &Observation) -> bool {
    match what {
        Observation::ProcessStarted
        | Observation::ProcessEnded { .. }
        | Observation::FaultBegan { .. }
        | Observation::FaultEnded { .. }
        | Observation::DiskReplaced
        | Observation::BrokerRunning { .. }
        | Observation::BrokerFenced { .. }
        | Observation::BrokerStopped
        | Observation::Fatal { .. }
        | Observation::PartitionCommitted { .. }
        | Observation::ReplicaRole { .. }
        | Observation::Truncated { .. }
        | Observation::LogOpened { .. }
        | Observation::QuorumTruncated { .. }
        | Observation::Isr { .. } => true,
        Observation::QuorumState { role, .. } => *role == QuorumRole::Leader,
        // Reads fail by the hundred.
        Observation::DiskFault { fault, .. } => fault != "read_error",
        _ => false,
    }
}

/// Nodes as people call them: `{b1,b3}`.
pub fn nodes(list: &[NodeId]) -> String {
    let names: Vec<String> = list.iter().map(|node| name(*node)).collect();
    format!("{{{}}}", names.join(","))
}

fn role_name(role: ReplicaRole) -> &'static str {
    match role {
        ReplicaRole::Leader => "leads",
        ReplicaRole::Follower => "follows",
        ReplicaRole::Offline => "is offline for",
    }
}

/// An observation in a few words, in Kafka's terms. Numbers are grouped by thousands.
pub fn describe(what: &Observation) -> String {
    match what {
        Observation::ProcessStarted => "process starts".to_owned(),
        Observation::ProcessEnded { how, why } => match how {
            ProcessEnd::Exited => "process exits".to_owned(),
            ProcessEnd::Killed => "process is killed".to_owned(),
            ProcessEnd::PowerLost => "loses power".to_owned(),
            ProcessEnd::Panicked => format!("panics: {why}"),
        },
        Observation::FaultBegan { what, .. } => what.clone(),
        Observation::FaultEnded { label } => format!("{label} ends"),
        Observation::DiskReplaced => "disks replaced".to_owned(),
        Observation::BrokerRunning { epoch } => format!("unfenced, broker epoch {epoch}"),
        Observation::BrokerFenced { epoch } => format!("fenced, broker epoch {epoch}"),
        Observation::BrokerStopped => "stopped in good order".to_owned(),
        Observation::Fatal { why } => format!("gives up: {why}"),
        Observation::QuorumState { role, epoch, leader, voted } => {
            let role = format!("{role:?}").to_lowercase();
            format!("quorum {role} epoch {epoch} leader {} voted {}", name(*leader), name(*voted))
        }
        Observation::QuorumPersisted { epoch, voted, .. } => {
            format!("quorum state durable: epoch {epoch} voted {}", name(*voted))
        }
        Observation::QuorumOpened { end } => format!("quorum log opened, end {}", grouped(end.0)),
        Observation::QuorumAppended { base, last, epoch, .. } => {
            format!("quorum log {} epoch {epoch}", range(base.0, last.0))
        }
        Observation::QuorumFlushed { end } => format!("quorum log durable below {}", grouped(end.0)),
        Observation::QuorumTruncated { end } => format!("quorum log truncated to {}", grouped(end.0)),
        Observation::QuorumHighWatermark { offset } => format!("quorum high watermark {}", grouped(offset.0)),
        Observation::PartitionCommitted { partition, leader, leader_epoch, isr, .. } => {
            format!("{partition} leader {} epoch {leader_epoch} isr {}", name(*leader), nodes(isr))
        }
        Observation::BrokerCommitted { broker, epoch, fenced, .. } => {
            let state = if *fenced { "is fenced" } else { "is unfenced" };
            format!("broker {} (epoch {epoch}) {state}", name(*broker))
        }
        Observation::ReplicaRole { partition, role, leader_epoch, log_end_offset, high_watermark, .. } => format!(
            "{} {partition} epoch {leader_epoch}, log end {}, high watermark {}",
            role_name(*role),
            grouped(log_end_offset.0),
            grouped(high_watermark.0)
        ),
        Observation::Appended { partition, base, last, leader_epoch, producer, .. } => {
            let producer = producer.map_or(String::new(), |it| {
                format!(", producer {} epoch {} from record {}", it.id, it.epoch, it.base_sequence)
            });
            format!("append {partition} {} epoch {leader_epoch}{producer}", range(base.0, last.0))
        }
        Observation::ProducerIdGiven { id } => format!("gives producer id {id}"),
        Observation::Truncating { partition, to } => format!("truncates {partition} to {}", grouped(to.0)),
        Observation::Truncated { partition, from, to, leader_epoch } => {
            format!("truncate {partition} {} -> {} (epoch {leader_epoch})", grouped(from.0), grouped(to.0))
        }
        Observation::LogOpened { partition, end, clean, .. } => {
            format!(
                "opens {partition}, log end {}{}",
                grouped(end.0),
                if *clean { "" } else { " after an unclean stop" }
            )
        }
        Observation::LogFlushed { partition, end } => format!("{partition} durable below {}", grouped(end.0)),
        Observation::HighWatermark { partition, from, to, maximal_isr, .. } => {
            let isr = if maximal_isr.is_empty() { String::new() } else { format!(" with isr {}", nodes(maximal_isr)) };
            format!("high watermark {partition} {} -> {}{isr}", grouped(from.0), grouped(to.0))
        }
        Observation::Isr { partition, committed, maximal, .. } => {
            if committed == maximal {
                format!("isr {partition} {}", nodes(committed))
            } else {
                format!("isr {partition} {}, proposed {}", nodes(committed), nodes(maximal))
            }
        }
        Observation::Acknowledged { partition, base, last, acks, leader_epoch } => {
            let acks = if *acks == -1 { "all".to_owned() } else { acks.to_string() };
            format!("ack {partition} {} (acks={acks}, epoch {leader_epoch})", range(base.0, last.0))
        }
        Observation::Served { partition, from, to, leader_epoch } => {
            format!("serves {partition} {} (epoch {leader_epoch})", range(from.0, to.0 - 1))
        }
        Observation::EpochEnd { partition, asked, epoch, end } => {
            format!("diverging {partition}: asked for epoch {asked}, has {epoch} up to {}", grouped(end.0))
        }
        Observation::LogStart { partition, from, to } => {
            format!("log start {partition} {} -> {}", grouped(from.0), grouped(to.0))
        }
        Observation::ImageApplied { offset, .. } => format!("metadata image at {}", grouped(offset.0)),
        Observation::ControllerApplied { offset, .. } => format!("controller state at {}", grouped(offset.0)),
        Observation::EpochRefused { partition, asked, known } => {
            format!("refuses {partition} epoch {asked}, knows {known}")
        }
        Observation::DiskFault { fault, path, error: true } if fault == "disk_full" => format!("no space for {path}"),
        Observation::DiskFault { fault, path, error: true } => format!("{fault}: EIO for {path}"),
        Observation::DiskFault { fault, path, error: false } => format!("{fault}: {path} is not what was written"),
        Observation::Client { what } | Observation::Note { what } => what.clone(),
    }
}

fn range(first: i64, last: i64) -> String {
    if first == last { grouped(first) } else { format!("{}..{}", grouped(first), grouped(last)) }
}

/// A number with a thin gap between thousands: `18 204`.
pub fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if number < 0 {
        out.push('-');
    }
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{LeaderEpoch, Offset};

    #[test]
    fn thousands_are_grouped() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(18_204), "18 204");
        assert_eq!(grouped(-1_000_000), "-1 000 000");
    }

    #[test]
    fn an_acknowledgement_reads_as_one_line() {
        let partition = TopicPartition::new("orders", 3);
        let what = Observation::Acknowledged {
            partition,
            base: Offset(18_190),
            last: Offset(18_204),
            acks: -1,
            leader_epoch: LeaderEpoch(7),
        };
        assert_eq!(describe(&what), "ack orders/3 18 190..18 204 (acks=all, epoch 7)");
    }
}
