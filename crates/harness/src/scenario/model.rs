//! A scenario as values: what is built, what is done to it, what is expected.
//!
//! Times are ns, rates thousandths of an operation a second, sizes bytes. Values that a later mistake may point at keep
//! their place ([`Spanned`]).

use std::collections::BTreeMap;

use crate::checker::Keep;

use super::chaos::{Chaos, SwarmLine};
use super::diagnostic::Spanned;
use super::fault::FaultLine;
use super::slo::Slo;

/// One scenario file, read and found good.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scenario {
    /// `name`: names the folder of its results.
    pub name: String,
    /// `about`: one sentence.
    pub about: String,
    /// `tags`.
    pub tags: Vec<String>,
    /// `[cluster]`.
    pub cluster: Cluster,
    /// `[hardware]`.
    pub hardware: Hardware,
    /// `[topics.NAME]`, in order of the file.
    pub topics: Vec<Topic>,
    /// `[load.NAME]`, in order of the file.
    pub loads: Vec<Load>,
    /// `phases` of `[timeline]`.
    pub phases: Vec<Phase>,
    /// `faults` of `[timeline]`, in order of the file.
    pub faults: Vec<FaultLine>,
    /// `max_concurrent` of `[timeline]`: how many of the fault lines that are `within_budget` may act at a time.
    pub max_concurrent: Option<u32>,
    /// `core_first` of `[timeline]`: after the last phase a random core that suffices is healed and the rest frozen, and
    /// progress is demanded; only then is the rest healed.
    pub core_first: bool,
    /// `[chaos]`: faults that a seed draws; none in a plan.
    pub chaos: Option<Chaos>,
    /// `[swarm]`: what else a seed draws, in order of the file; nothing in a plan.
    pub swarm: Vec<SwarmLine>,
    /// `[expect]`.
    pub expect: Expect,
}

/// Which set of time-outs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Timers {
    /// Kafka's time-outs, all scaled down together, their order kept.
    #[default]
    Fast,
    /// Kafka's defaults.
    Kafka,
}

/// `[cluster]`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cluster {
    /// `brokers`: b1..bn.
    pub brokers: u32,
    /// `controllers`: 0 = the brokers are controllers too, n = c1..cn.
    pub controllers: u32,
    /// `timers`.
    pub timers: Timers,
    /// `config`: Kafka's property names; they win over `timers`.
    pub config: BTreeMap<String, String>,
    /// `config_b3`: by host; they win over `config`.
    pub host_config: BTreeMap<String, BTreeMap<String, String>>,
}

impl Cluster {
    /// b1..bn.
    pub fn broker_hosts(&self) -> Vec<String> {
        (1..=self.brokers).map(|n| format!("b{n}")).collect()
    }

    /// The voters of the quorum: c1..cn, or the brokers if they are controllers too.
    pub fn controller_hosts(&self) -> Vec<String> {
        if self.controllers == 0 {
            self.broker_hosts()
        } else {
            (1..=self.controllers).map(|n| format!("c{n}")).collect()
        }
    }

    /// Every host of the cluster.
    pub fn hosts(&self) -> Vec<String> {
        let mut hosts = self.broker_hosts();
        hosts.extend((1..=self.controllers).map(|n| format!("c{n}")));
        hosts
    }
}

/// `[hardware]`: profile `ideal` and what differs from it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Hardware {
    /// `link`, for all hosts.
    pub link: LinkSpec,
    /// `disk`, for all hosts.
    pub disk: DiskSpec,
    /// `[hardware.bN]`.
    pub hosts: BTreeMap<String, (LinkSpec, DiskSpec)>,
}

/// What a link is like; what is not said is as in the profile or for all hosts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LinkSpec {
    /// One way, in ns.
    pub latency: Option<u64>,
    /// Added to the latency, at most, in ns.
    pub jitter: Option<u64>,
    /// Bandwidth in Mbit/s.
    pub mbit_s: Option<u64>,
}

/// What a disk is like; each operation takes so long, in ns.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DiskSpec {
    /// A read.
    pub read: Option<u64>,
    /// A write into the page cache.
    pub write: Option<u64>,
    /// A sync.
    pub fsync: Option<u64>,
}

/// `[topics.NAME]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topic {
    /// Its name and where the table's title stands.
    pub name: Spanned<String>,
    /// `partitions`, default 1.
    pub partitions: u32,
    /// `replicas`, default 1.
    pub replicas: Spanned<u32>,
    /// `config`: Kafka's topic properties.
    pub config: BTreeMap<String, String>,
}

/// `[load.NAME]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Load {
    /// Its name and where the table's title stands.
    pub name: Spanned<String>,
    /// `clients`, default 1.
    pub clients: u32,
    /// What it does.
    pub work: Work,
}

/// What a load does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Work {
    /// `produce = "topic"`.
    Produce(Produce),
    /// `consume = "topic"`: assigned partitions, partition p by client p mod clients.
    Consume {
        /// The topic.
        topic: Spanned<String>,
    },
    /// `echo = "b2 -> b1"`: a process on one host sends, one on the other sends back. No brokers are needed.
    Echo {
        /// Who asks.
        from: Spanned<String>,
        /// Who answers.
        to: Spanned<String>,
        /// How often and how much.
        pace: Pace,
        /// How long an answer may take, in ns.
        timeout: u64,
    },
}

/// How often a load sends, and how much.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    /// The whole load's, in thousandths of an operation a second.
    pub rate: u64,
    /// When within the second.
    pub arrivals: Arrivals,
    /// Bytes of a record's value.
    pub record: u64,
}

/// `produce = "topic"`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Produce {
    /// The topic.
    pub topic: Spanned<String>,
    /// How often and how much.
    pub pace: Pace,
    /// How keys are drawn.
    pub keys: Keys,
    /// -1 is all.
    pub acks: i16,
    /// The largest batch, in bytes.
    pub batch: u64,
    /// How long a record waits for company, in ns.
    pub linger: u64,
    /// The delivery time-out, in ns.
    pub timeout: u64,
    /// Requests in flight of one connection.
    pub in_flight: u32,
}

/// When a load sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrivals {
    /// At even distances.
    Uniform,
    /// At exponentially distributed distances.
    Poisson,
}

/// How keys are drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keys {
    /// No key: partitions take turns.
    None,
    /// Each record a key of its own.
    Seq,
    /// One of n keys.
    Uniform(u64),
}

/// One phase.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Phase {
    /// Its name.
    pub name: Spanned<String>,
    /// How long, in ns; at most so long if there is an `until`.
    pub length: u64,
    /// Whether its numbers count; default true.
    pub measure: bool,
    /// Loads that rest from here on.
    pub pause: Vec<Spanned<String>>,
    /// Loads that go on from here on.
    pub resume: Vec<Spanned<String>>,
    /// `until = "lag == 0"`: ends as soon as every consumer has read everything.
    pub until_no_lag: bool,
}

/// `[expect]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expect {
    /// The slugs of the checks asked for; empty means all that can be judged.
    pub safety: Vec<String>,
    /// Service-level objectives.
    pub slo: Vec<Slo>,
    /// The fault budget.
    pub keep: Keep,
    /// What must have happened, else the run is inconclusive.
    pub reach: Vec<Reach>,
    /// What may be missed without failing the run.
    pub allow: Vec<Allow>,
}

/// One line of `reach`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reach {
    /// As written.
    pub text: Spanned<String>,
    /// What.
    pub kind: ReachKind,
    /// Only this topic.
    pub topic: Option<String>,
    /// Only this partition of it.
    pub partition: Option<i32>,
}

/// What a run can be asked to reach.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ReachKind {
    /// A partition got another leader.
    LeaderChanged,
    /// An ISR lost a member.
    IsrShrunk,
    /// An ISR gained a member.
    IsrExpanded,
    /// A replica cut its log.
    Truncated,
    /// A broker was fenced.
    Fenced,
    /// The quorum got another leader.
    ControllerChanged,
    /// A branch of the code: a name of [`probe::PROBES`].
    Probe(&'static str),
}

impl ReachKind {
    /// All of them with their words, but for the probes.
    pub const ALL: &'static [(&'static str, Self)] = &[
        ("leader_changed", Self::LeaderChanged),
        ("isr_shrunk", Self::IsrShrunk),
        ("isr_expanded", Self::IsrExpanded),
        ("truncated", Self::Truncated),
        ("fenced", Self::Fenced),
        ("controller_changed", Self::ControllerChanged),
    ];

    /// What a word means.
    pub fn of(word: &str) -> Option<Self> {
        let event = Self::ALL.iter().find(|(known, _)| *known == word).map(|(_, kind)| *kind);
        let probe = || probe::PROBES.iter().find(|probe| probe.name == word);
        event.or_else(|| probe().map(|probe| Self::Probe(probe.name)))
    }

    /// Whether it is about partitions, so that it can have a scope.
    pub const fn has_scope(self) -> bool {
        !matches!(self, Self::Fenced | Self::ControllerChanged | Self::Probe(_))
    }
}

/// One line of `allow`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Allow {
    /// `quorum-loss`, `slo`, or a check's slug.
    pub what: String,
    /// Why it is right that this is missed.
    pub why: String,
}

/// The host of a load's client, from 0: `writers-1`.
pub fn client_host(load: &str, client: u32) -> String {
    format!("{load}-{}", client + 1)
}

impl Scenario {
    /// The hosts of all clients. Those of echo loads are hosts of the cluster.
    pub fn client_hosts(&self) -> Vec<String> {
        let loads = self.loads.iter().filter(|load| !matches!(load.work, Work::Echo { .. }));
        loads.flat_map(|load| (0..load.clients).map(|client| client_host(&load.name.value, client))).collect()
    }

    /// The topic of this name.
    pub fn topic(&self, name: &str) -> Option<&Topic> {
        self.topics.iter().find(|topic| topic.name.value == name)
    }

    /// When each phase begins, in ns from the start of the first, and the end of the last.
    pub fn phase_starts(&self) -> Vec<u64> {
        let mut at = 0u64;
        let mut starts = vec![0];
        for phase in &self.phases {
            at = at.saturating_add(phase.length);
            starts.push(at);
        }
        starts
    }

    /// Whether it needs a cluster: everything but echo loads does.
    pub fn needs_cluster(&self) -> bool {
        !self.loads.iter().any(|load| matches!(load.work, Work::Echo { .. }))
    }

    /// Whether breaking this is allowed by `[expect] allow`.
    pub fn allows(&self, what: &str) -> bool {
        self.expect.allow.iter().any(|allow| allow.what == what)
    }
}
