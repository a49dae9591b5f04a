//! What a run found, for people (terminal, plots) and for programs (JSON, CSV).
//!
//! [`RunResult`] is all of it; the same seed on the same build gives the same bytes in every file but `env.json`, which
//! holds what differs from run to run ([`Cost`]).

mod files;
mod format;
mod plot;
mod terminal;
#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::checker::{Finding, Judgement, Loss, Stuck};
use crate::event::{Stamped, StoryLine, is_milestone, partition_of};
use crate::measure::{Measured, Window};

pub use files::{csv_line, env_json, files, seconds, trace_line};
pub use format::{bytes, count, duration, rate, words_of, wrap};
pub use terminal::{Style, closing, story_time, summary};

/// How a run is judged, worst last but for what only the command line can find.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Everything judged, all held.
    Pass,
    /// Nothing was judged, something was not reached, or an objective had no samples.
    Inconclusive,
    /// Safe, but an objective was missed.
    Slo,
    /// A promise was broken, or a process panicked.
    Safety,
    /// The same seed gave another trace.
    Nondeterminism,
    /// `simctl` itself failed.
    Bug,
}

impl Verdict {
    /// The exit code.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Safety => 1,
            Self::Slo => 3,
            Self::Inconclusive => 4,
            Self::Nondeterminism => 5,
            Self::Bug => 70,
        }
    }

    /// The word that opens the verdict.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Inconclusive => "INCONCLUSIVE",
            _ => "FAIL",
        }
    }
}

/// Which program ran.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Build {
    /// The version of the package.
    pub version: String,
    /// The commit, with `+` behind it if files were changed; empty if unknown.
    pub commit: String,
    /// `debug` or `release`.
    pub profile: String,
}

/// One check.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct CheckRow {
    /// `C-ACK`.
    pub id: String,
    /// `acked-durable`.
    pub slug: String,
    /// What it found.
    #[serde(flatten)]
    pub outcome: CheckOutcome,
}

/// What a check found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum CheckOutcome {
    /// It held for so many items.
    Held {
        /// How many.
        judged: u64,
        /// Of what.
        unit: String,
    },
    /// It was broken.
    Violated(Box<ViolationRow>),
    /// There was nothing to judge.
    NothingToJudge {
        /// Why.
        why: String,
    },
    /// The scenario did not ask for it, or it cannot be judged here.
    NotJudged {
        /// Why.
        why: String,
    },
}

/// A broken promise.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ViolationRow {
    /// "an acknowledged record is gone".
    pub claim: String,
    /// Labelled lines.
    pub evidence: Vec<(String, String)>,
    /// How many items broke it.
    pub count: u64,
    /// The id of the first wrong event.
    pub first_wrong: Option<u64>,
    /// Whether [`RunResult::allowed`] names it.
    pub allowed: bool,
    /// Five to eight lines.
    pub story: Vec<StoryRow>,
}

/// One line of a story.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct StoryRow {
    /// When, ns.
    pub at_ns: u64,
    /// Where.
    pub host: String,
    /// What.
    pub text: String,
    /// Whether this is the first wrong step.
    pub first_wrong: bool,
}

/// One objective.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct SloRow {
    /// As written.
    pub expr: String,
    /// Its value as people read it; `-` without samples.
    pub value: String,
    /// Its limit as people read it.
    pub limit: String,
    /// The comparison.
    pub op: String,
    /// The value in the unit of the metric: ns, operations a second, a count.
    pub value_raw: Option<f64>,
    /// The limit in the same unit.
    pub limit_raw: Option<f64>,
    /// How far the value is on the good side, as a share of the limit.
    pub margin: Option<f64>,
    /// Of how many samples.
    pub samples: u64,
    /// Whether it was met.
    pub verdict: SloVerdict,
    /// Why it was missed or not judged: for `unavailable`, the class of the overrun.
    pub why: Option<String>,
}

/// Whether an objective was met.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SloVerdict {
    /// It was.
    Met,
    /// It was not.
    Missed,
    /// It was not, and the scenario allows that.
    Allowed,
    /// There was nothing to measure.
    NoSamples,
    /// Safety failed, so it says nothing.
    NotJudged,
}

/// One line of `reach`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ReachRow {
    /// As written.
    pub what: String,
    /// How often it happened.
    pub times: u64,
    /// When first, ns.
    pub first_ns: Option<u64>,
}

/// The longest unavailability that the configuration explains, and its terms.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Bound {
    /// Their sum, ns.
    pub total_ns: u64,
    /// Each with its name, ns.
    pub terms: Vec<(String, u64)>,
}

impl Bound {
    /// With more terms.
    #[must_use]
    pub fn and(mut self, more: impl IntoIterator<Item = (String, u64)>) -> Self {
        self.terms.extend(more);
        self.total_ns = self.terms.iter().map(|(_, nanos)| nanos).sum();
        self
    }
}

/// A process that ended by itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Crash {
    /// When, ns.
    pub at_ns: u64,
    /// Where.
    pub host: String,
    /// Its last words.
    pub message: String,
}

/// How the core did that was healed first, while the rest was frozen.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct CoreRow {
    /// Its hosts.
    pub hosts: Vec<String>,
    /// All others, and how they were frozen or what they were.
    pub rest: Vec<(String, String)>,
    /// Hosts of it whose disks were replaced by empty ones, since bytes at rest had changed there.
    pub replaced: Vec<String>,
    /// When it was healed, ns: after the last disk was replaced.
    pub healed_ns: u64,
    /// How long it took to get well, ns; nothing if it did not.
    pub took_ns: Option<u64>,
    /// How long it may take.
    pub bound: Bound,
}

/// Something that did not get well in time, and why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct StuckRow {
    /// `core` or `end`.
    pub phase: String,
    /// The partition; nothing: the cluster.
    pub partition: Option<String>,
    /// `no quorum`, `no eligible leader`, `rotten data` or `bug`.
    pub class: String,
    /// Whether the budget or the scenario allows it.
    pub allowed: bool,
    /// Why, in full.
    pub why: String,
}

impl From<&Stuck> for StuckRow {
    fn from(stuck: &Stuck) -> Self {
        Self {
            phase: if stuck.in_core { "core" } else { "end" }.to_owned(),
            partition: stuck.partition.as_ref().map(ToString::to_string),
            class: stuck.class.to_string(),
            allowed: stuck.allowed,
            why: stuck.why.clone(),
        }
    }
}

/// A fault of a random plan that did not happen.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct SkippedRow {
    /// Its label.
    pub label: String,
    /// What it would have been, hosts resolved: `power_off b2`.
    pub what: String,
    /// When, ns.
    pub at_ns: u64,
    /// `budget`, `concurrent` or `nobody`.
    pub reason: String,
    /// The reason in full.
    pub why: String,
}

/// Records lost in a power failure.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LossRow {
    /// The node.
    pub node: i32,
    /// The partition.
    pub partition: String,
    /// First offset lost.
    pub from: i64,
    /// End of the log before.
    pub to: i64,
    /// When the log was opened again, ns.
    pub at_ns: u64,
}

impl From<&Loss> for LossRow {
    fn from(loss: &Loss) -> Self {
        Self {
            node: loss.node.0,
            partition: loss.partition.to_string(),
            from: loss.from.0,
            to: loss.to.0,
            at_ns: loss.at_ns,
        }
    }
}

/// All that one run found.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct RunResult {
    /// The form of this file.
    pub schema_version: u32,
    /// Its name.
    pub scenario: String,
    /// Its sentence.
    pub about: String,
    /// Its file, as given.
    pub path: String,
    /// What `--set` changed.
    pub sets: Vec<String>,
    /// The planted bug; nothing means that none was on.
    pub plant: Option<String>,
    /// The seed.
    pub seed: u64,
    /// `sim`.
    pub target: String,
    /// `ideal`.
    pub hardware: String,
    /// Which program ran.
    pub build: Build,
    /// 32 hexadecimal digits.
    pub trace_hash: String,
    /// How it is judged.
    pub verdict: Verdict,
    /// Why, in a few words, where the tables do not say it.
    pub why: Vec<String>,
    /// World time of the run, ns.
    pub virtual_ns: u64,
    /// World events.
    pub events: u64,
    /// Acknowledged Produce requests, as the clients count them.
    pub produce_requests: u64,
    /// Requests answered by brokers and controllers.
    pub requests: u64,
    /// The fault budget.
    pub keep: String,
    /// What the scenario allows to be missed.
    pub allowed: Vec<String>,
    /// The phases as they ran.
    pub windows: Vec<Window>,
    /// All numbers.
    pub measured: Measured,
    /// All checks.
    pub checks: Vec<CheckRow>,
    /// All objectives.
    pub slo: Vec<SloRow>,
    /// All that was to be reached.
    pub reached: Vec<ReachRow>,
    /// What follows from the configuration.
    pub bound: Option<Bound>,
    /// Processes that panicked or gave up.
    pub crashes: Vec<Crash>,
    /// Processes that stopped because a fault of their disk made them, as they should.
    pub stops: Vec<Crash>,
    /// Faults of a random plan that did not happen.
    pub skipped: Vec<SkippedRow>,
    /// The core that was healed first, if the scenario asks for two phases.
    pub core: Option<CoreRow>,
    /// What did not get well in time.
    pub stuck: Vec<StuckRow>,
    /// Records lost in power failures.
    pub losses: Vec<LossRow>,
    /// Every branch worth reaching, with how often it was.
    pub sometimes: Vec<(String, u64)>,
}

impl RunResult {
    /// The command that repeats the run.
    pub fn command(&self) -> String {
        let mut command = format!("simctl run {} --seed {}", shell_word(&self.path), self.seed);
        command.push_str(&command_options(&self.sets, self.plant.as_deref()));
        command.push_str(" --expect trace:");
        command.push_str(&self.trace_hash[..self.trace_hash.len().min(8)]);
        command
    }

    /// The violation that is told first, of those that are not allowed. What follows from others comes last: a quorum that
    /// broke its promises leaves disks that disagree, and anything may leave a cluster that makes no progress.
    pub fn violation(&self) -> Option<(&CheckRow, &ViolationRow)> {
        let violations = self.checks.iter().filter_map(|check| match &check.outcome {
            CheckOutcome::Violated(violation) if !violation.allowed => Some((check, &**violation)),
            _ => None,
        });
        violations.min_by_key(|(check, _)| match check.id.as_str() {
            "C-DISK" => 1,
            "C-LIVE" => 2,
            _ => 0,
        })
    }
}

/// `--set` and `--plant` of a command that repeats a run, each behind a blank.
pub fn command_options(sets: &[String], plant: Option<&str>) -> String {
    let sets = sets.iter().map(|set| format!(" --set {}", shell_word(set)));
    sets.chain(plant.map(|plant| format!(" --plant {plant}"))).collect()
}

/// A word of a command as one types it in a shell.
pub fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// What a run cost: differs from run to run.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Cost {
    /// Seconds on the wall's clock.
    pub wall_s: f64,
    /// CPU seconds, user and system.
    pub cpu_s: f64,
    /// Most memory in use, bytes.
    pub peak_bytes: u64,
}

/// Puts findings into rows; `milestones` are the run's rare events, for the stories. `asked` are the slugs asked for (empty:
/// all), `allowed` those that may be broken.
pub fn check_rows(
    findings: Vec<Finding>,
    milestones: &[Stamped],
    asked: &[String],
    allowed: &[String],
) -> Vec<CheckRow> {
    findings
        .into_iter()
        .map(|finding| {
            let wanted = asked.is_empty() || asked.iter().any(|slug| slug == finding.slug);
            let outcome = match finding.judgement {
                _ if !wanted => CheckOutcome::NotJudged { why: "the scenario does not ask for it".to_owned() },
                Judgement::Held { judged } => CheckOutcome::Held { judged, unit: finding.unit.to_owned() },
                Judgement::NothingToJudge { why } => CheckOutcome::NothingToJudge { why },
                Judgement::Violated(violation) => {
                    let story = story(&violation, milestones);
                    CheckOutcome::Violated(Box::new(ViolationRow {
                        claim: violation.claim,
                        evidence: violation
                            .evidence
                            .into_iter()
                            .map(|(label, text)| (label.to_owned(), text))
                            .collect(),
                        count: violation.count,
                        first_wrong: violation.first_wrong,
                        allowed: allowed.iter().any(|slug| slug == finding.slug),
                        story,
                    }))
                }
            };
            CheckRow { id: finding.id.to_owned(), slug: finding.slug.to_owned(), outcome }
        })
        .collect()
}

/// At most this many lines in a story.
const STORY_LINES: usize = 8;

/// The checker's own lines and the milestones of the same partition nearest to the first wrong step.
fn story(violation: &crate::checker::Violation, milestones: &[Stamped]) -> Vec<StoryRow> {
    let mut lines: Vec<StoryLine> = violation.story.clone();
    let around = violation.at_ns.or_else(|| lines.first().map(|line| line.at_ns));
    if let Some(around) = around {
        let mut near: Vec<&Stamped> = milestones
            .iter()
            .filter(|event| is_milestone(&event.what))
            .filter(|event| match partition_of(&event.what) {
                None => true,
                partition => violation.partition.is_none() || partition == violation.partition.as_ref(),
            })
            .filter(|event| !lines.iter().any(|line| line.id == event.id))
            .collect();
        near.sort_by_key(|event| (event.at_ns.abs_diff(around), event.id));
        let room = STORY_LINES.saturating_sub(lines.len());
        lines.extend(near.into_iter().take(room).map(StoryLine::of));
    }
    lines.sort_by_key(|line| (line.at_ns, line.id));
    lines.dedup();
    lines
        .into_iter()
        .map(|line| StoryRow {
            at_ns: line.at_ns,
            host: line.host.to_string(),
            text: line.text,
            first_wrong: violation.first_wrong == Some(line.id),
        })
        .collect()
}
