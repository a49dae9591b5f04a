//! One promise of Kafka's each, judged: the trait, what a checker is given, and the list of all checkers.
//!
//! A white-box checker watches the stream in [`Checker::observe`]; a black-box checker reads only [`RunEnd::history`] and
//! [`RunEnd::read_back`]. Whoever saw nothing to judge says so: an empty check never passes. A checker never calls the
//! code that it judges and knows of no planted bug.

mod acknowledged;
pub mod disk;
mod known;
mod metadata;
mod observed;
mod order;
mod progress;
mod quorum;
mod replication;
mod shadow;
mod tally;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use protocol::{Chunks, NodeId, Offset, TopicPartition};

pub use world::Damage;

use crate::event::{Stamped, StoryLine};
use crate::history::{History, ReadBack};

/// Judges one promise.
pub trait Checker: Send {
    /// The id of `checkers.md`: `C-ACK`.
    fn id(&self) -> &'static str;

    /// The name that people read and type: `acked-durable`.
    fn slug(&self) -> &'static str;

    /// What is counted by [`Judgement::Held`]: `acknowledged records`.
    fn unit(&self) -> &'static str;

    /// A process is about to start on a host: what its disk holds at this moment.
    fn before_start(&mut self, disk: &HostDisk) {
        let _ = disk;
    }

    /// Something happened. Called in order of time, for every event of the run.
    fn observe(&mut self, event: &Stamped) {
        let _ = event;
    }

    /// The run is over. Called once.
    fn finish(&mut self, run: &RunEnd) -> Judgement;
}

/// What a checker found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Judgement {
    /// The promise held for everything there was to judge.
    Held {
        /// How many items were judged, in units of [`Checker::unit`]; never 0.
        judged: u64,
    },
    /// The promise was broken.
    Violated(Box<Violation>),
    /// There was nothing to judge, and why.
    NothingToJudge {
        /// Why: "no record was acknowledged with acks=all".
        why: String,
    },
}

impl Judgement {
    /// Held, or nothing to judge if `judged` is 0.
    pub fn held(judged: u64, nothing: &str) -> Self {
        if judged == 0 { Self::NothingToJudge { why: nothing.to_owned() } } else { Self::Held { judged } }
    }
}

/// A broken promise, told so that a person can follow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// One sentence fragment: "an acknowledged record is gone".
    pub claim: String,
    /// Labelled lines: ("record", "orders/3 offset 18 204, acked to writers-2 at 20.114s").
    pub evidence: Vec<(&'static str, String)>,
    /// How many items broke the promise in all; the evidence is about the first.
    pub count: u64,
    /// The partition it is about; the report adds what happened to it around the first wrong step.
    pub partition: Option<TopicPartition>,
    /// The id of the first event that was wrong, if it can be told.
    pub first_wrong: Option<u64>,
    /// When the first wrong step happened, in ns, if it can be told.
    pub at_ns: Option<u64>,
    /// The checker's own lines of the story; the report merges the run's milestones around them.
    pub story: Vec<StoryLine>,
}

impl Violation {
    /// A violation with nothing but its claim.
    pub fn new(claim: impl Into<String>) -> Self {
        Self {
            claim: claim.into(),
            evidence: Vec::new(),
            count: 1,
            partition: None,
            first_wrong: None,
            at_ns: None,
            story: Vec::new(),
        }
    }

    /// Adds a labelled line.
    #[must_use]
    pub fn with(mut self, label: &'static str, text: impl Into<String>) -> Self {
        self.evidence.push((label, text.into()));
        self
    }

    /// Says which event was the first wrong step, and puts it into the story.
    #[must_use]
    pub fn at(mut self, event: &Stamped) -> Self {
        self.first_wrong = Some(event.id);
        self.at_ns = Some(event.at_ns);
        if self.partition.is_none() {
            self.partition = crate::event::partition_of(&event.what).cloned();
        }
        self.story.push(StoryLine::of(event));
        self
    }
}

/// The fault budget of a scenario: what may legally be lost.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Keep {
    /// A controller majority and one member of each maximal ISR keep their data: nothing acknowledged may vanish.
    #[default]
    Committed,
    /// Also min.insync.replicas members stay reachable: progress is owed throughout.
    Service,
    /// Loss of unsynced data is legal, and counted in [`RunEnd::losses`].
    Nothing,
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Committed => "committed",
            Self::Service => "service",
            Self::Nothing => "nothing",
        })
    }
}

/// A node of the cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeInfo {
    /// Its host: `b1`.
    pub host: Arc<str>,
    /// Its `node.id`.
    pub id: NodeId,
    /// Whether it has the role of a broker.
    pub broker: bool,
    /// Whether it votes in the quorum.
    pub controller: bool,
}

/// A topic of the scenario.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicInfo {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: i32,
    /// How many replicas.
    pub replicas: i16,
    /// Its min.insync.replicas.
    pub min_isr: i32,
}

/// What was built, known before the run starts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Setup {
    /// The nodes.
    pub nodes: Vec<NodeInfo>,
    /// The topics.
    pub topics: Vec<TopicInfo>,
    /// The budget.
    pub keep: Keep,
    /// What topics keep, of those that say so themselves.
    pub kept: BTreeMap<String, Kept>,
    /// Whether faults set clocks wrong.
    pub clocks_lie: bool,
}

/// How much a topic keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Kept {
    /// `retention.ms`, if it is set and is no "for ever".
    pub ms: Option<u64>,
    /// `retention.bytes`, likewise.
    pub bytes: Option<u64>,
}

impl Setup {
    /// How many nodes vote.
    pub fn voters(&self) -> usize {
        self.nodes.iter().filter(|node| node.controller).count()
    }

    /// Every partition of every topic, in order.
    pub fn partitions(&self) -> impl Iterator<Item = TopicPartition> + '_ {
        self.topics.iter().flat_map(|topic| (0..topic.partitions).map(|n| TopicPartition::new(topic.name.as_str(), n)))
    }
}

/// Records that a host lost in a power failure: its log ended at `to` before, at `from` after.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loss {
    /// Which node.
    pub node: NodeId,
    /// Of which partition.
    pub partition: TopicPartition,
    /// The first offset lost.
    pub from: Offset,
    /// The end of the log before.
    pub to: Offset,
    /// When the log was opened again, in ns.
    pub at_ns: u64,
}

/// Why something did not get well.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum StuckClass {
    /// Fewer controllers than a majority can act.
    NoQuorum,
    /// Every member of the last in-sync replicas is frozen or gone.
    NoEligibleLeader,
    /// Bytes at rest changed where they are needed.
    RottenData,
    /// None of these.
    Bug,
}

impl fmt::Display for StuckClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoQuorum => "no quorum",
            Self::NoEligibleLeader => "no eligible leader",
            Self::RottenData => "rotten data",
            Self::Bug => "bug",
        })
    }
}

/// Something that did not get well in time, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stuck {
    /// While only a core was healed; else at the end.
    pub in_core: bool,
    /// Which partition; nothing: the cluster.
    pub partition: Option<TopicPartition>,
    /// Why, in a word.
    pub class: StuckClass,
    /// Whether the budget or the scenario allows this.
    pub allowed: bool,
    /// Why, in full.
    pub why: String,
}

/// How the first of the two phases ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CoreEnd {
    /// When the core was healed, in ns.
    pub healed_ns: u64,
    /// How long it may take to get well, in ns.
    pub bound_ns: u64,
    /// How long it took, in ns; nothing if it did not.
    pub took_ns: Option<u64>,
    /// What did not get well.
    pub stuck: Vec<Stuck>,
}

/// The files of one host at the end of the run, as a process on it would read them.
#[derive(Clone, Debug)]
pub struct HostDisk {
    /// The host.
    pub host: Arc<str>,
    /// Its node.
    pub node: NodeId,
    /// Path on the disk → content. Shared with the world, not copied.
    pub files: BTreeMap<String, Chunks>,
    /// Bytes of them that are not what was written and called durable, by the doing of faults.
    pub damage: Vec<Damage>,
}

/// Everything a checker may read once the run is over.
#[derive(Clone, Debug, Default)]
pub struct RunEnd {
    /// What was built.
    pub setup: Setup,
    /// What clients did.
    pub history: History,
    /// All partitions, read by a fresh consumer after everything has healed.
    pub read_back: ReadBack,
    /// Losses by power failures; legal only if the budget is [`Keep::Nothing`].
    pub losses: Vec<Loss>,
    /// What is on the disks.
    pub disks: Vec<HostDisk>,
    /// Nodes that cannot come back, since a fault has spoilt their disks: an operator would have to see to them.
    pub spoilt: Vec<NodeId>,
    /// When every fault had ended and every host was up, in ns.
    pub healed_ns: u64,
    /// How long after [`Self::healed_ns`] the cluster may take to make progress, in ns; computed from its time-outs.
    pub progress_bound_ns: u64,
    /// How the core got well that was healed first, if the scenario asks for two phases.
    pub core: Option<CoreEnd>,
    /// Partitions that were not well at the end, each with its class.
    pub stuck: Vec<Stuck>,
    /// When the loads ended, in ns.
    pub loads_ended_ns: u64,
    /// When the run ended, in ns.
    pub ended_ns: u64,
}

/// A checker and what it found, for the report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// [`Checker::id`].
    pub id: &'static str,
    /// [`Checker::slug`].
    pub slug: &'static str,
    /// [`Checker::unit`].
    pub unit: &'static str,
    /// What it found.
    pub judgement: Judgement,
}

/// Ids and slugs of the checks that scenarios may name.
pub const NAMES: &[(&str, &str)] = &[
    ("C-ACK", "acked-durable"),
    ("C-OFF", "one-value-per-offset"),
    ("C-CONT", "no-gap-no-step-back"),
    ("C-PHANTOM", "no-phantom"),
    ("C-HWSAFE", "high-watermark-safe"),
    ("C-LOGMATCH", "log-matching"),
    ("C-LEADERCOMP", "leader-complete"),
    ("C-DISK", "recovery-sound"),
    ("C-LIVE", "progress"),
    ("C-ORD", "producer-order"),
    ("C-ACK1", "acks-one"),
    ("C-READ-HW", "reads-below-high-watermark"),
    ("C-HWMONO", "latest-never-back"),
    ("C-START", "log-start-monotone"),
    ("C-ISR", "isr-sound"),
    ("C-EPOCH", "epoch-cache-sound"),
    ("C-META", "metadata-same"),
    ("C-RAFT-ELECT", "one-quorum-leader"),
    ("C-RAFT-HW", "quorum-high-watermark"),
    ("C-RAFT-MATCH", "quorum-logs-equal"),
    ("C-RAFT-DUR", "quorum-durable"),
];

/// Every checker there is, in the order of the report. Add yours here.
pub fn all(setup: &Setup) -> Vec<Box<dyn Checker>> {
    let mut checkers: Vec<Box<dyn Checker>> = vec![
        Box::<acknowledged::Acknowledged>::default(),
        Box::<observed::OneValuePerOffset>::default(),
        Box::<observed::NoGapNoStepBack>::default(),
        Box::<observed::NoPhantom>::default(),
        Box::<order::ProducerOrder>::default(),
    ];
    checkers.extend(replication::checkers(setup.keep));
    checkers.extend(metadata::checkers());
    let recovery_sound = disk::RecoverySound::default();
    let epochs = recovery_sound.epochs();
    checkers.push(Box::new(recovery_sound));
    checkers.push(Box::new(epochs));
    checkers.push(Box::<progress::Progress>::default());
    checkers.extend(quorum::checkers(setup));
    checkers
}

/// Lets every checker judge.
pub fn judge(checkers: &mut [Box<dyn Checker>], run: &RunEnd) -> Vec<Finding> {
    checkers
        .iter_mut()
        .map(|checker| Finding {
            id: checker.id(),
            slug: checker.slug(),
            unit: checker.unit(),
            judgement: checker.finish(run),
        })
        .collect()
}
